//! A call of the served client and its peer, in either role, and what each of them sees of its end.

use super::*;
use crate::history::{NotYet, Told};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Who {
    /// The client that the relay serves.
    Client,
    /// The other end.
    Peer,
}

pub(super) use Who::{Client, Peer};

pub(super) struct Scene {
    pub bench: Bench,
    pub role: Role,
    /// The INVITE as B got it, the 200 as A got it.
    to_b: String,
    to_a: String,
    /// The last BYE that A and B got.
    byes: [Option<String>; 2],
    seq: u32,
    seen: Vec<(SocketAddr, String)>,
}

impl Scene {
    /// A call that is established; `stored`: the user's history is kept, and there is a store.
    pub(super) fn of(role: Role, stored: bool) -> Self {
        Self::with(role, stored, |_| {}, str::to_owned)
    }

    /// The same with other settings, and another answer of B's.
    pub(super) fn with(
        role: Role,
        stored: bool,
        change: impl FnOnce(&mut Settings),
        answered: impl Fn(&str) -> String,
    ) -> Self {
        let mut bench = Bench::new(|settings| {
            settings.role = role;
            settings.store_deadline = Some(Duration::from_secs(2));
            for_all(settings, |policy| policy.allow_offline_storage = stored);
            change(settings);
        });
        let to_b = only(&bench.give(a(), &invite("1", OFFER)), b());
        let ok = answered(&answer(&to_b, 200, "OK", ANSWER));
        let to_a = only(&bench.give(b(), &ok), a());
        bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
        Self {
            bench,
            role,
            to_b,
            to_a,
            byes: [None, None],
            seq: 1,
            seen: Vec::new(),
        }
    }

    pub(super) fn address(&self, who: Who) -> SocketAddr {
        match (self.role, who) {
            (Role::Originating, Client) | (Role::Terminating, Peer) => a(),
            (Role::Originating, Peer) | (Role::Terminating, Client) => b(),
        }
    }

    /// What is new of what was sent: `client BYE`, `peer 200`, `client 200 uid=7`.
    pub(super) fn seen(&mut self, sent: Vec<(SocketAddr, String)>) -> Vec<String> {
        let mut seen = Vec::new();
        for (to, text) in sent {
            if self.seen.contains(&(to, text.clone())) {
                continue;
            }
            let who = if to == self.address(Client) {
                "client"
            } else {
                "peer"
            };
            let words: Vec<&str> = text.split(' ').take(2).collect();
            let what = if words[0] == "SIP/2.0" {
                words[1]
            } else {
                words[0]
            };
            let uid = header(&text, "Message-UID");
            let uid = if uid.is_empty() {
                String::new()
            } else {
                format!(" uid={uid}")
            };
            seen.push(format!("{who} {what}{uid}"));
            if what == "BYE" {
                self.byes[usize::from(to == b())] = Some(text.clone());
            }
            self.seen.push((to, text));
        }
        seen
    }

    pub(super) fn bye_text(&mut self, who: Who, headers: &str) -> String {
        self.seq += 1;
        if self.address(who) == a() {
            in_dialog_of_a("BYE", self.seq, &self.to_a, headers, "")
        } else {
            in_dialog_of_b("BYE", self.seq, &self.to_b, headers, "")
        }
    }

    /// Somebody leaves: nobody hears of it, and the store isn't asked, before the release.
    pub(super) fn bye(&mut self, who: Who) -> Vec<String> {
        self.bye_with(who, "")
    }

    pub(super) fn bye_with(&mut self, who: Who, headers: &str) -> Vec<String> {
        let finishes = self.finishes();
        self.bench.holds_orders = true;
        let bye = self.bye_text(who, headers);
        let from = self.address(who);
        let sent = self.bench.give(from, &bye);
        assert!(sent.is_empty(), "before the release: {sent:?}");
        assert_eq!(self.finishes(), finishes, "asked before the release");
        let sent = self.bench.do_orders();
        assert_eq!(self.bench.open(), 0, "{:?}", self.bench.acts);
        self.seen(sent)
    }

    /// A BYE that crosses ours.
    pub(super) fn crosses(&mut self, who: Who) -> Vec<String> {
        let bye = self.bye_text(who, "");
        let from = self.address(who);
        let sent = self.bench.give(from, &bye);
        self.seen(sent)
    }

    /// Somebody answers the BYE that it got.
    pub(super) fn answers(&mut self, who: Who, code: u16) -> Vec<String> {
        self.answers_with(who, code, "")
    }

    pub(super) fn answers_with(&mut self, who: Who, code: u16, headers: &str) -> Vec<String> {
        let from = self.address(who);
        let bye = self.byes[usize::from(from == b())].clone();
        let bye = bye.unwrap_or_else(|| panic!("{who:?} got no BYE"));
        let text = with(&answer(&bye, code, "Any", ""), headers);
        let sent = self.bench.give(from, &text);
        self.seen(sent)
    }

    pub(super) fn bye_at(&self, who: Who) -> &str {
        let at = usize::from(self.address(who) == b());
        self.byes[at].as_deref().unwrap_or_default()
    }

    /// The store has stored.
    pub(super) fn stored(&mut self, uid: &str) -> Vec<String> {
        self.told(Ok(uid.to_owned()))
    }

    /// The store can't be reached.
    pub(super) fn queued(&mut self) -> Vec<String> {
        self.told(Err(NotYet::Queued))
    }

    fn told(&mut self, uid: Result<String, NotYet>) -> Vec<String> {
        assert_eq!(self.finishes(), 1, "{:?}", self.bench.asks);
        let told = Told { session: 1, uid };
        self.bench.engine.handle_history(self.bench.now, told);
        let sent = self.bench.settle();
        self.seen(sent)
    }

    pub(super) fn wait(&mut self, millis: u64) -> Vec<String> {
        let sent = self.bench.wait(Duration::from_millis(millis));
        self.seen(sent)
    }

    /// How often the store was asked for this session.
    pub(super) fn finishes(&self) -> usize {
        let asks = self.bench.asks.iter();
        asks.filter(|ask| matches!(ask, Ask::Finish { .. })).count()
    }

    /// The session is over, nothing is left of it, and the store was asked `times` times.
    pub(super) fn is_over(&mut self, times: usize) {
        assert_eq!(
            self.bench.engine.sessions(),
            0,
            "{:?}",
            self.bench.engine.sessions_by_state()
        );
        self.bench.assert_nothing_left();
        assert_eq!(self.finishes(), times, "{:?}", self.bench.asks);
        assert_eq!(self.bench.asks.len(), times * 2, "{:?}", self.bench.asks);
        assert_eq!(self.bench.cdrs.len(), 1);
    }

    /// What the session's record says of its history.
    pub(super) fn record(&self) -> String {
        let record = self.bench.cdrs.last().unwrap();
        serde_json::to_string(&record.history).unwrap()
    }
}

/// Settings for one way of answering a BYE.
pub(super) fn acks(bye_ack: ByeAck) -> impl Fn(&mut Settings) {
    move |settings| settings.bye_ack = bye_ack
}

/// Both roles.
pub(super) const ROLES: [Role; 2] = [Role::Originating, Role::Terminating];
