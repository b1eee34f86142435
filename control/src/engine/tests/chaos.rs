//! Two clients and a worker that do anything at any time: whatever they do, nothing is left.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::history::{NotYet, Told};

struct Chaos {
    bench: Bench,
    random: StdRng,
    seq: u32,
    /// Requests that came to A and to B, and responses that A and B may take for a dialog.
    requests: [Vec<String>; 2],
    dialogs: [Vec<String>; 2],
    said: Vec<(SocketAddr, String)>,
    /// Its calls are chats of clients of which some know CEMA.
    chats: bool,
}

#[test]
fn whatever_clients_and_workers_do_nothing_is_left() {
    let mut again = 0;
    for seed in 0..3000 {
        let mut chaos = Chaos::new(seed);
        for _ in 0..80 {
            chaos.step();
        }
        again += chaos.end(seed);
    }
    assert!(again > 30, "only {again} offers were made anew");
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let chats = random.random();
        let bench = Bench::new(|settings| {
            settings.late_offer = if random.random() {
                LateOffer::Relay
            } else {
                LateOffer::Refuse
            };
            settings.bye_ack = match random.random_range(0..3) {
                0 => ByeAck::Immediate,
                1 => ByeAck::ImmediateAfterStore,
                _ => ByeAck::AfterFarEnd,
            };
            settings.store_deadline = Some(Duration::from_secs(2));
            settings.role = if random.random() {
                Role::Originating
            } else {
                Role::Terminating
            };
            if random.random_ratio(1, 5) {
                for_all(settings, |policy| policy.stay = Stay::default());
            }
            for_all(settings, |policy| {
                policy.streams.video = random.random();
                policy.allow_offline_storage = random.random_ratio(1, 4);
            });
        });
        Self {
            bench,
            random,
            seq: 1,
            requests: Default::default(),
            dialogs: Default::default(),
            said: Vec::new(),
            chats,
        }
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.random.random_range(0..from.len())].clone())
    }

    fn sdp(&mut self, sdp: &str) -> String {
        let port = self.random.random_range(2000..3000) * 2;
        if self.chats {
            let head = &sdp[..sdp.find("m=").unwrap_or(sdp.len())];
            let chat = format!(
                "{head}m=message {port} TCP/MSRP *\r\na=path:msrp://127.0.0.1:{port}/chat;tcp\r\n\
                 a=setup:active\r\n"
            );
            return match self.random.random_range(0..7) {
                0 => String::new(),
                1..3 => chat,
                _ => format!("{chat}a=msrp-cema\r\n"),
            };
        }
        match self.random.random_range(0..6) {
            0 => String::new(),
            1 => format!("{sdp}m=video {port} RTP/AVP 31\r\n"),
            2 => sdp.replace("m=audio 4000", &format!("m=audio {port}")),
            3 => format!("{sdp}m=audio {port} RTP/AVP 8\r\n"),
            4 => sdp.replace("t=0 0", "t=0 x"),
            _ => sdp.to_owned(),
        }
    }

    fn take(&mut self, sent: Vec<(SocketAddr, String)>) {
        for (to, text) in sent {
            let side = usize::from(to == b());
            if text.starts_with("SIP/2.0") {
                if text.contains("CSeq: 1 INVITE") && !tag_of(&text, "To").is_empty() && side == 0 {
                    self.dialogs[0].push(text);
                }
            } else {
                if text.starts_with("INVITE") && side == 1 && !header(&text, "To").contains("tag=")
                {
                    self.dialogs[1].push(text.clone());
                }
                self.requests[side].push(text);
            }
        }
    }

    fn say(&mut self, from: SocketAddr, text: String) {
        let sent = self.bench.give(from, &text);
        self.said.push((from, text));
        self.take(sent);
    }

    /// The store answers some of what it was asked, in time or much later; or never.
    fn tell_history(&mut self) {
        let finished = self.bench.asks.iter().filter_map(|ask| match ask {
            Ask::Finish { session, .. } => Some(*session),
            Ask::Begin(_) => None,
        });
        let finished: Vec<u64> = finished.collect();
        let Some(session) = self.pick(&finished) else {
            return;
        };
        let uid = if self.random.random_ratio(2, 3) {
            Ok(format!("uid-{session}"))
        } else {
            Err(NotYet::Queued)
        };
        let told = Told { session, uid };
        self.bench.engine.handle_history(self.bench.now, told);
        let sent = self.bench.settle();
        self.take(sent);
    }

    fn step(&mut self) {
        self.seq += 1;
        if self.random.random_ratio(1, 4) {
            self.tell_history();
        }
        match self.random.random_range(0..24) {
            0..3 => self.call(),
            3 => {
                let call = self.random.random_range(0..3);
                self.say(
                    a(),
                    named(&invite(&format!("c{call}"), ""), call).replace("INVITE", "CANCEL"),
                );
            }
            4..8 => self.ask(0),
            8..11 => self.ask(1),
            11..18 => self.respond(),
            18 => {
                let said = self.said.clone();
                if let Some((from, text)) = self.pick(&said) {
                    let sent = self.bench.give(from, &text);
                    self.take(sent);
                }
            }
            19 => {
                let time = Duration::from_millis(self.random.random_range(0..9_000));
                let sent = self.bench.wait(time);
                self.take(sent);
            }
            20 => self.bench.holds_orders = true,
            21 => {
                let sent = self.bench.do_orders();
                self.take(sent);
            }
            22 => {
                self.bench.refuse = self.random.random_ratio(1, 3);
                self.bench.refuse_connect = self.random.random_ratio(1, 5);
                self.bench.engine.ask_for_reports(self.bench.now);
            }
            _ => self.lose_worker(),
        }
    }

    fn lose_worker(&mut self) {
        if self.random.random_ratio(2, 3) {
            return;
        }
        self.bench.orders.clear();
        self.bench.streams.clear();
        self.bench.engine.handle_worker_lost(self.bench.now, 0);
        self.bench.engine.handle_worker_restarted(0);
        let sent = self.bench.settle();
        self.take(sent);
    }

    fn call(&mut self) {
        let call = self.random.random_range(0..3);
        let sdp = self.sdp(OFFER);
        let text = with(
            &invite(&format!("c{call}"), &sdp),
            "Supported: 100rel, timer\r\n",
        );
        self.say(a(), named(&text, call));
    }

    fn ask(&mut self, side: usize) {
        let methods = [
            "INVITE", "UPDATE", "PRACK", "INFO", "BYE", "ACK", "ACK", "CANCEL", "OPTIONS",
        ];
        let method = methods[self.random.random_range(0..methods.len())];
        let dialogs = self.dialogs[side].clone();
        let Some(dialog) = self.pick(&dialogs) else {
            return;
        };
        let sdp = if matches!(method, "INVITE" | "UPDATE" | "ACK") {
            self.sdp(OFFER)
        } else {
            String::new()
        };
        let seq = if method == "ACK" { 1 } else { self.seq };
        let extra = if method == "PRACK" {
            "RAck: 1 1 INVITE\r\n"
        } else {
            CONTACT_A
        };
        let text = if side == 0 {
            in_dialog_of_a(method, seq, &dialog, extra, &sdp)
                .replace("call-a", header(&dialog, "Call-ID"))
        } else {
            let fork = if self.random.random_ratio(1, 4) {
                "tag=b2\r\n"
            } else {
                "tag=b\r\n"
            };
            in_dialog_of_b(method, seq, &dialog, extra, &sdp).replace("tag=b\r\n", fork)
        };
        self.say(if side == 0 { a() } else { b() }, text);
    }

    fn respond(&mut self) {
        let side = usize::from(self.random.random_ratio(3, 4));
        let requests = self.requests[side].clone();
        let Some(request) = self.pick(&requests) else {
            return;
        };
        if request.starts_with("ACK") {
            return;
        }
        let codes = [
            180, 183, 183, 200, 200, 200, 200, 404, 408, 481, 486, 491, 302, 500,
        ];
        let code = codes[self.random.random_range(0..codes.len())];
        let sdp = if request.starts_with("INVITE") || request.starts_with("UPDATE") {
            self.sdp(ANSWER)
        } else {
            String::new()
        };
        let mut text = answer(&request, code, "Any", &sdp);
        if code < 200 && self.random.random() {
            text = with(&text, "Require: 100rel\r\nRSeq: 1\r\n");
        }
        if self.random.random_ratio(1, 5) {
            text = text.replace("tag=b\r\n", "tag=b2\r\n");
        }
        if self.random.random_ratio(1, 9) {
            text = text.replace("Contact", "X-Contact");
        }
        self.say(if side == 0 { a() } else { b() }, text);
    }

    /// Ends everything; how many offers were made anew.
    fn end(mut self, seed: u64) -> u64 {
        self.bench.refuse = false;
        self.bench.do_orders();
        self.bench.engine.end_all(self.bench.now);
        self.bench.settle();
        self.bench.wait(Duration::from_secs(400));
        let census = self.bench.engine.census();
        let states = self.bench.engine.sessions_by_state();
        assert_eq!(
            census,
            super::super::Census::default(),
            "seed {seed}: {states:?}"
        );
        assert!(self.bench.engine.is_idle(), "seed {seed}: {states:?}");
        assert_eq!(self.bench.open(), 0, "seed {seed}: {:?}", self.bench.acts);
        assert_eq!(self.bench.engine.reports_due(), 0, "seed {seed}");
        self.each_history_is_asked_for_once(seed);
        assert!(
            self.bench
                .engine
                .workers
                .iter()
                .all(|load| load.sessions == 0),
            "seed {seed}"
        );
        self.bench.engine.counters().offers_again
    }

    /// A history is begun before it is finished, and each is done once.
    fn each_history_is_asked_for_once(&self, seed: u64) {
        let mut open = BTreeSet::new();
        let mut begun = BTreeSet::new();
        for ask in &self.bench.asks {
            match ask {
                Ask::Begin(facts) => {
                    let was_open = !open.insert(facts.session);
                    let is_new = begun.insert(facts.session);
                    assert!(is_new || was_open, "seed {seed}: {ask:?}");
                }
                Ask::Finish { session, .. } => {
                    assert!(open.remove(session), "seed {seed}: {ask:?}");
                }
            }
        }
        assert!(open.is_empty(), "seed {seed}: {open:?}");
    }
}

fn named(text: &str, call: u32) -> String {
    text.replace("call-a", &format!("call-{call}"))
}
