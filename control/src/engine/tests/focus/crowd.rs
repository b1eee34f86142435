//! Sessions of many: what is told to all of them stays bounded, and nothing is left of who has
//! come and gone.

use std::collections::VecDeque;

use super::*;

/// A client: its dialog, its subscription, and what it was told.
#[derive(Default)]
struct Client {
    dialog: Option<Dialog>,
    /// The state, by user, that its notifications add up to.
    users: BTreeMap<String, String>,
    /// The version of the last notification.
    version: u32,
    notifies: usize,
    /// What they said of the subscription.
    states: Vec<String>,
    /// Since when it watches.
    since: Option<Instant>,
}

/// A session, and everybody who may come to it.
struct Crowd {
    scene: Scene,
    clients: Vec<Client>,
    identity: String,
    notify_bytes_max: usize,
    begun: Instant,
    /// One who doesn't answer notifications, and those that it got, by their numbers.
    silent: Option<(usize, BTreeMap<String, String>)>,
}

fn place(at: usize) -> SocketAddr {
    let [_, _, high, low] = u32::try_from(at).unwrap().to_be_bytes();
    SocketAddr::new([10, 0, high, low].into(), 5060)
}

fn whose(address: SocketAddr) -> usize {
    let std::net::IpAddr::V4(ip) = address.ip() else {
        panic!("{address}")
    };
    let [_, _, high, low] = ip.octets();
    usize::from(high) * 256 + usize::from(low)
}

fn name(at: usize) -> String {
    format!("sip:user{at}@home.example")
}

impl Crowd {
    /// A session that the first client has begun alone.
    fn new(most: usize, change: impl FnOnce(&mut config::Controlling)) -> Self {
        let scene = Scene::with(&[], |base, group| {
            base.participants_max = most;
            base.notify_interval = Duration::from_secs(1);
            change(base);
            group.members = vec![name(0)];
            group.open = true;
            group.answer = Some(config::GroupAnswer::Immediate);
        });
        let begun = scene.bench.now;
        let mut crowd = Self {
            scene,
            clients: Vec::new(),
            identity: String::new(),
            notify_bytes_max: 0,
            begun,
            silent: None,
        };
        crowd.clients.resize_with(most * 2, Client::default);
        crowd.join(0);
        let dialog = crowd.clients[0].dialog.as_ref().unwrap();
        crowd.identity = dialog.contact.clone();
        crowd
    }

    fn give(&mut self, from: usize, text: &str) {
        let sent = self.scene.bench.give(place(from), text);
        self.take(sent);
    }

    fn request(&mut self, method: &str, from: usize, to: &str, headers: &str) -> String {
        self.scene.seq += 1;
        let (at, seq, own) = (place(from), self.scene.seq, name(from));
        let body = if method == "INVITE" {
            sdp(&[CHAT])
        } else {
            String::new()
        };
        format!(
            "{method} {to} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK-{seq}\r\n\
             Max-Forwards: 70\r\nFrom: <{own}>;tag=t{seq}\r\nTo: <{to}>\r\nCall-ID: c{seq}\r\n\
             CSeq: 1 {method}\r\nContact: <sip:{at}>\r\n{headers}Content-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn join(&mut self, at: usize) {
        let invite = self.request("INVITE", at, TEAM, "");
        self.give(at, &invite);
    }

    fn watch(&mut self, at: usize) {
        let to = self.identity.clone();
        let headers = "Event: conference\r\nExpires: 3600\r\n";
        let subscribe = self.request("SUBSCRIBE", at, &to, headers);
        self.clients[at].since = Some(self.scene.bench.now);
        self.clients[at].version = 0;
        self.clients[at].users.clear();
        self.give(at, &subscribe);
    }

    fn leave(&mut self, at: usize) {
        let dialog = self.clients[at].dialog.take().unwrap();
        self.scene.seq += 1;
        let bye = self.inside(at, "BYE", &dialog, self.scene.seq);
        self.give(at, &bye);
    }

    fn inside(&self, at: usize, method: &str, dialog: &Dialog, seq: u32) -> String {
        let via = place(at).to_string();
        let parts = [dialog.local.as_str(), &dialog.remote, &dialog.call_id, &via];
        in_dialog(method, seq, parts, "", "")
    }

    /// Everybody answers at once what it was sent.
    fn take(&mut self, sent: Vec<(SocketAddr, String)>) {
        let mut waiting = VecDeque::from(sent);
        while let Some((to, text)) = waiting.pop_front() {
            let at = whose(to);
            if let Some((silent, numbers)) = &mut self.silent
                && *silent == at
                && text.starts_with("NOTIFY")
            {
                numbers.insert(header(&text, "CSeq").to_owned(), text);
                continue;
            }
            let reply = match text.split(' ').next() {
                Some("NOTIFY") => {
                    self.is_told(at, &text);
                    Some(answer(&text, 200, "OK", ""))
                }
                Some("BYE") => {
                    self.clients[at].dialog = None;
                    Some(answer(&text, 200, "OK", ""))
                }
                Some("SIP/2.0") if text.starts_with("SIP/2.0 200") => self.accepted(at, &text),
                _ => {
                    assert!(text.starts_with("SIP/2.0 100"), "{text}");
                    None
                }
            };
            if let Some(reply) = reply {
                waiting.extend(self.scene.bench.give(to, &reply));
            }
        }
    }

    fn accepted(&mut self, at: usize, text: &str) -> Option<String> {
        if header(text, "CSeq") != "1 INVITE" {
            return None;
        }
        let dialog = Dialog {
            call_id: header(text, "Call-ID").to_owned(),
            local: header(text, "From").to_owned(),
            remote: header(text, "To").to_owned(),
            contact: bare(header(text, "Contact")),
        };
        let ack = self.inside(at, "ACK", &dialog, 1);
        self.clients[at].dialog = Some(dialog);
        Some(ack)
    }

    /// Puts a notification to what is known (RFC 4575 §4.6).
    fn is_told(&mut self, at: usize, text: &str) {
        self.notify_bytes_max = self.notify_bytes_max.max(text.len());
        let client = &mut self.clients[at];
        client.notifies += 1;
        client
            .states
            .push(header(text, "Subscription-State").to_owned());
        let attribute = |tag: &str, name: &str| {
            let rest = tag.split(&format!(" {name}=\"")).nth(1).unwrap_or_default();
            rest.split('"').next().unwrap_or_default().to_owned()
        };
        let head = text.split("<conference-info").nth(1).unwrap();
        let head = head.split('>').next().unwrap();
        let version: u32 = attribute(head, "version").parse().unwrap();
        assert_eq!(version, client.version + 1, "of {at}");
        client.version = version;
        if attribute(head, "state") == "full" {
            client.users.clear();
        } else {
            assert!(version > 1, "the first one says everything: {text}");
        }
        for user in text.split("<user ").skip(1) {
            let entity = attribute(&format!(" {user}"), "entity");
            let status = user.split("<status>").nth(1).unwrap_or_default();
            let status = status.split('<').next().unwrap_or_default();
            if status == "disconnected" {
                client.users.remove(&entity);
            } else {
                client.users.insert(entity, status.to_owned());
            }
        }
        let count = text.split("<user-count>").nth(1).unwrap_or_default();
        assert!(!count.is_empty());
    }

    fn wait(&mut self, time: Duration) {
        let end = self.scene.bench.now + time;
        loop {
            let next = self.scene.bench.engine.poll_timeout();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            let bench = &mut self.scene.bench;
            bench.now = bench.now.max(next);
            let now = bench.now;
            bench.engine.handle_timeout(now);
            let sent = bench.settle();
            self.take(sent);
        }
        self.scene.bench.now = end;
    }

    fn present(&self) -> Vec<usize> {
        let all = 0..self.clients.len();
        all.filter(|at| self.clients[*at].dialog.is_some())
            .collect()
    }

    /// Everybody who watches knows everybody who is there, and nobody else.
    fn assert_all_know(&self) {
        let present: BTreeMap<String, String> = self
            .present()
            .into_iter()
            .map(|at| (name(at), "connected".to_owned()))
            .collect();
        for at in self.present() {
            let client = &self.clients[at];
            if client.since.is_some() {
                assert_eq!(client.users, present, "client {at}");
            }
        }
    }

    /// The notifications that could have been sent to those who watch: one a second, and those
    /// that everything takes at first.
    fn notifies_max(&self, pages: usize) -> usize {
        let now = self.scene.bench.now;
        let watching = self.clients.iter().filter_map(|client| client.since);
        let most =
            watching.map(|since| usize::try_from((now - since).as_secs()).unwrap() + 1 + pages);
        most.sum()
    }

    fn end(mut self) {
        let now = self.scene.bench.now;
        self.scene.bench.engine.end_all(now);
        let sent = self.scene.bench.settle();
        self.take(sent);
        self.wait(Duration::from_secs(1));
        self.scene.bench.assert_nothing_left();
    }
}

#[test]
fn a_thousand_who_all_watch_one_another_are_told_once_a_second_and_of_everything() {
    let mut crowd = Crowd::new(1000, |_| {});
    crowd.watch(0);
    for at in 1..1000 {
        crowd.join(at);
        crowd.watch(at);
        crowd.wait(Duration::from_millis(10));
    }
    crowd.wait(Duration::from_secs(3));
    assert_eq!(crowd.scene.bench.engine.participants(), 1000);
    crowd.assert_all_know();
    let told: usize = crowd.clients.iter().map(|client| client.notifies).sum();
    let most = crowd.notifies_max(12);
    assert!(told > 1000 && told <= most, "{told} of at most {most}");
    assert!(
        crowd.notify_bytes_max < 60_000,
        "{}",
        crowd.notify_bytes_max
    );
    eprintln!(
        "{told} notifications, the largest of {} bytes, in {:?}",
        crowd.notify_bytes_max,
        crowd.scene.bench.now - crowd.begun
    );
    crowd.end();
}

#[test]
fn nothing_is_left_of_a_hundred_who_come_and_go_every_second() {
    let mut crowd = Crowd::new(500, |_| {});
    crowd.watch(0);
    for at in 1..500 {
        crowd.join(at);
        if at % 5 == 0 {
            crowd.watch(at);
        }
    }
    // Each goes, and another one comes who was not there before, or was longest ago.
    for round in 0..2000 {
        let (goes, comes) = (1 + round % 999, 1 + (round + 499) % 999);
        crowd.leave(goes);
        crowd.clients[goes].since = None;
        crowd.join(comes);
        crowd.wait(Duration::from_millis(10));
    }
    crowd.wait(Duration::from_secs(3));
    assert_eq!(crowd.scene.bench.engine.participants(), 500);
    crowd.assert_all_know();
    crowd.end();
}

#[test]
fn one_who_does_not_answer_keeps_nobody_else_waiting_and_is_not_asked_twice() {
    let mut crowd = Crowd::new(20, |_| {});
    for at in 1..10 {
        crowd.join(at);
    }
    crowd.silent = Some((2, BTreeMap::new()));
    crowd.watch(1);
    crowd.watch(2);
    for at in 10..15 {
        crowd.join(at);
        crowd.wait(Duration::from_secs(2));
    }
    assert_eq!(crowd.clients[1].users.len(), 15);
    let (_, numbers) = crowd.silent.as_ref().unwrap();
    assert_eq!(numbers.len(), 1, "{numbers:?}");
    // Timer F: the subscription of who doesn't answer is gone.
    crowd.wait(Duration::from_secs(40));
    let dialogs = crowd.scene.bench.engine.census().dialogs;
    assert_eq!(dialogs, 15 + 1, "participants and a subscription");
    crowd.end();
}

#[test]
fn one_who_answers_after_too_much_has_changed_is_told_everything_anew() {
    let mut crowd = Crowd::new(600, |_| {});
    for at in 1..50 {
        crowd.join(at);
    }
    crowd.watch(1);
    crowd.wait(Duration::from_secs(2));
    crowd.silent = Some((1, BTreeMap::new()));
    // More go than anybody remembers.
    for round in 0..1_100 {
        let (goes, comes) = (2 + round % 1_100, 50 + round);
        crowd.leave(goes);
        crowd.join(comes);
        crowd.wait(Duration::from_millis(10));
    }
    let (_, waiting) = crowd.silent.take().unwrap();
    assert_eq!(waiting.len(), 1, "one at a time");
    crowd.take(waiting.into_values().map(|text| (place(1), text)).collect());
    crowd.wait(Duration::from_secs(3));
    crowd.assert_all_know();
    assert_eq!(crowd.clients[1].users.len(), 50);
    crowd.end();
}

#[test]
fn who_comes_late_is_told_of_all_who_are_there_even_where_not_all_who_left_are_remembered() {
    let mut crowd = Crowd::new(600, |_| {});
    for at in 1..300 {
        crowd.join(at);
    }
    crowd.watch(1);
    crowd.wait(Duration::from_secs(2));
    crowd.silent = Some((1, BTreeMap::new()));
    for round in 0..800 {
        crowd.join(300 + round);
        crowd.leave(300 + round);
        crowd.wait(Duration::from_millis(10));
        crowd.join(300 + round);
        crowd.leave(300 + round);
    }
    // Timer F: the one who doesn't answer is no subscriber any more.
    crowd.wait(Duration::from_secs(40));
    crowd.silent = None;
    crowd.clients[1].since = None;
    crowd.watch(2);
    crowd.wait(Duration::from_secs(10));
    crowd.assert_all_know();
    assert_eq!(crowd.clients[2].users.len(), 300);
    crowd.end();
}

#[test]
fn who_asks_once_is_told_of_all_and_then_no_more() {
    let mut crowd = Crowd::new(300, |_| {});
    for at in 1..300 {
        crowd.join(at);
    }
    let to = crowd.identity.clone();
    let fetch = crowd.request("SUBSCRIBE", 5, &to, "Event: conference\r\nExpires: 0\r\n");
    crowd.give(5, &fetch);
    crowd.wait(Duration::from_secs(5));
    assert_eq!(crowd.clients[5].users.len(), 300);
    assert_eq!(
        crowd.clients[5].states.last().unwrap(),
        "terminated;reason=timeout"
    );
    let others = crowd.clients[5].states.split_last().unwrap().1;
    assert!(
        others.iter().all(|state| state.starts_with("active")),
        "{others:?}"
    );
    let told = crowd.clients[5].notifies;
    crowd.leave(7);
    crowd.wait(Duration::from_secs(5));
    assert_eq!(crowd.clients[5].notifies, told);
    let dialogs = crowd.scene.bench.engine.census().dialogs;
    assert_eq!(dialogs, 299, "participants, and no subscription");
    crowd.end();
}

#[test]
fn one_user_takes_no_more_than_its_share_of_the_subscriptions() {
    let mut crowd = Crowd::new(3, |_| {});
    crowd.join(1);
    let to = crowd.identity.clone();
    let headers = "Event: conference\r\nExpires: 3600\r\n";
    for _ in 0..crate::limits::SUBSCRIPTIONS_PER_USER {
        let one = crowd.request("SUBSCRIBE", 1, &to, headers);
        let sent = crowd.scene.bench.give(place(1), &one);
        assert!(sent[0].1.starts_with("SIP/2.0 200"), "{sent:?}");
    }
    let more = crowd.request("SUBSCRIBE", 1, &to, headers);
    let sent = crowd.scene.bench.give(place(1), &more);
    let refused = sent.iter().any(|(_, text)| text.starts_with("SIP/2.0 503"));
    assert!(refused, "{sent:?}");
    assert_eq!(crowd.scene.bench.engine.counters.full_subscriptions, 1);
    crowd.watch(0);
    assert_eq!(crowd.clients[0].users.len(), 2, "another one may");
    // Nobody has answered the notifications of all these.
    crowd.silent = Some((1, BTreeMap::new()));
    crowd.wait(Duration::from_secs(40));
    let again = crowd.request("SUBSCRIBE", 1, &to, headers);
    let sent = crowd.scene.bench.give(place(1), &again);
    assert!(sent[0].1.starts_with("SIP/2.0 200"), "{sent:?}");
    crowd.silent = None;
    crowd.take(sent);
    crowd.end();
}

#[test]
fn an_address_in_xml_may_be_long_and_a_notification_is_one_datagram_all_the_same() {
    let mut crowd = Crowd::new(100, |_| {});
    for at in 1..40 {
        let invite = crowd.request("INVITE", at, TEAM, "");
        let long = format!("sip:{}@{}", "&".repeat(1000), place(at));
        let invite = invite.replace(
            &format!("Contact: <sip:{}>", place(at)),
            &format!("Contact: <{long}>"),
        );
        crowd.give(at, &invite);
    }
    crowd.watch(0);
    crowd.wait(Duration::from_secs(5));
    crowd.assert_all_know();
    assert_eq!(crowd.clients[0].users.len(), 40);
    assert!(
        crowd.notify_bytes_max < 40_000,
        "{}",
        crowd.notify_bytes_max
    );
    crowd.end();
}
