//! Two Participating Functions between two clients, in every mixture of modes (001).

use super::*;
use crate::cpm::routing::Hop;
use crate::history::Told;

/// How a function takes part in the session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Proxy,
    Late,
    Early,
}

const MODES: [Mode; 3] = [Mode::Proxy, Mode::Late, Mode::Early];

/// A message on its way.
#[derive(Clone, Debug)]
struct Sent {
    from: SocketAddr,
    to: SocketAddr,
    text: String,
}

struct Chain {
    /// The caller's function, the called user's.
    functions: [Bench; 2],
    /// Every message, in the order in which it was sent.
    trace: Vec<Sent>,
    /// What clients got and have not looked at.
    inbox: Vec<Sent>,
    to_a: String,
    to_b: String,
}

impl Chain {
    /// A call through both functions.
    fn call(modes: [Mode; 2], stored: bool) -> Self {
        let function = |at: usize| {
            Bench::new(|settings| {
                settings.listen = vec![(Protocol::Udp, place(at))];
                settings.next_hop = (at == 0).then(|| Hop::of("sip:127.0.0.1:5070").unwrap());
                settings.role = [Role::Originating, Role::Terminating][at];
                settings.store_deadline = stored.then(|| Duration::from_secs(2));
                settings.bye_ack = match modes[at] {
                    Mode::Early => ByeAck::Immediate,
                    Mode::Proxy | Mode::Late => ByeAck::AfterFarEnd,
                };
                for_all(settings, |policy| {
                    policy.stay.media_charging = modes[at] != Mode::Proxy;
                    policy.allow_offline_storage = stored;
                });
            })
        };
        let mut chain = Self {
            functions: [function(0), function(1)],
            trace: Vec::new(),
            inbox: Vec::new(),
            to_a: String::new(),
            to_b: String::new(),
        };
        chain.say(a(), place(0), invite("1", OFFER));
        chain.to_b = chain.got(b(), "INVITE");
        chain.say(
            b(),
            came_from(&chain.to_b),
            answer(&chain.to_b, 200, "OK", ANSWER),
        );
        chain.to_a = chain.got(a(), "SIP/2.0 200");
        let ack = chain.request("ACK", a(), 1);
        chain.say(a(), ack.0, ack.1);
        assert!(chain.got(b(), "ACK").starts_with("ACK"));
        chain
    }

    /// A client sends something, and it and all that follows is carried.
    fn say(&mut self, from: SocketAddr, to: SocketAddr, text: String) {
        let mut queue = std::collections::VecDeque::from([Sent { from, to, text }]);
        while let Some(sent) = queue.pop_front() {
            self.trace.push(sent.clone());
            let Some(at) = (0..2).find(|at| place(*at) == sent.to) else {
                if !sent.text.starts_with("SIP/2.0 100") {
                    self.inbox.push(sent);
                }
                continue;
            };
            let flow = Flow {
                protocol: Protocol::Udp,
                local: sent.to,
                remote: sent.from,
                connection: 0,
            };
            let bench = &mut self.functions[at];
            bench
                .engine
                .handle_packet(bench.now, flow, Bytes::from(sent.text));
            queue.extend(self.settled(at));
        }
    }

    fn settled(&mut self, at: usize) -> Vec<Sent> {
        let sent = self.functions[at].settle().into_iter();
        sent.map(|(to, text)| Sent {
            from: place(at),
            to,
            text,
        })
        .collect()
    }

    /// A function's store has stored.
    fn stored(&mut self, at: usize, uid: &str) {
        let bench = &mut self.functions[at];
        let told = Told {
            session: 1,
            uid: Ok(uid.to_owned()),
        };
        bench.engine.handle_history(bench.now, told);
        for sent in self.settled(at) {
            self.say(sent.from, sent.to, sent.text);
        }
    }

    /// The only message of that kind that a client got.
    fn got(&mut self, at: SocketAddr, start: &str) -> String {
        let is_meant = |sent: &Sent| sent.to == at && sent.text.starts_with(start);
        let found: Vec<String> = self
            .inbox
            .iter()
            .filter(|sent| is_meant(sent))
            .map(|sent| sent.text.clone())
            .collect();
        self.inbox.retain(|sent| !is_meant(sent));
        assert_eq!(found.len(), 1, "{start} to {at}: {found:#?}");
        found[0].clone()
    }

    /// A request inside a client's dialog, along its route set; and where it goes first.
    fn request(&self, method: &str, from: SocketAddr, seq: u32) -> (SocketAddr, String) {
        let is_a = from == a();
        let learnt = if is_a { &self.to_a } else { &self.to_b };
        let routes = learnt
            .split("\r\n")
            .filter_map(|line| line.strip_prefix("Record-Route: "));
        let mut routes: Vec<&str> = routes.flat_map(|line| line.split(", ")).collect();
        if is_a {
            routes.reverse();
        }
        let target = uri_of(header(learnt, "Contact"));
        let lines: String = routes
            .iter()
            .map(|route| format!("Route: {route}\r\n"))
            .collect();
        let text = if is_a {
            in_dialog_of_a(method, seq, &self.to_a, &lines, "")
        } else {
            in_dialog_of_b(method, seq, &self.to_b, &lines, "")
        };
        let first = routes.first().map_or(target, |route| uri_of(route));
        (
            address_in(first),
            text.replace("sip:127.0.0.1:5060 SIP", &format!("{target} SIP")),
        )
    }

    fn leave(&mut self, who: SocketAddr) {
        let (to, bye) = self.request("BYE", who, 2);
        self.say(who, to, bye);
    }

    /// A client answers its BYE.
    fn accept(&mut self, who: SocketAddr) {
        let bye = self.got(who, "BYE");
        self.say(who, came_from(&bye), answer(&bye, 200, "OK", ""));
    }

    /// When something was sent, counted in messages.
    fn when(&self, from: SocketAddr, to: SocketAddr, start: &str) -> usize {
        self.trace
            .iter()
            .position(|sent| sent.from == from && sent.to == to && sent.text.starts_with(start))
            .unwrap_or_else(|| panic!("no {start} from {from} to {to}: {:#?}", self.trace))
    }

    fn is_over(&mut self) {
        for bench in &mut self.functions {
            bench.assert_nothing_left();
        }
        assert!(self.inbox.is_empty(), "{:#?}", self.inbox);
    }
}

fn place(at: usize) -> SocketAddr {
    ["127.0.0.1:5060", "127.0.0.1:5070"][at].parse().unwrap()
}

fn uri_of(value: &str) -> &str {
    let value = value.split('<').nth(1).unwrap();
    value.split('>').next().unwrap()
}

fn address_in(uri: &str) -> SocketAddr {
    let host = uri
        .trim_start_matches("sip:")
        .split('@')
        .next_back()
        .unwrap();
    host.split(';').next().unwrap().parse().unwrap()
}

/// Where a response to a message goes: its topmost Via.
fn came_from(request: &str) -> SocketAddr {
    let via = header(request, "Via");
    let sent_by = via.split(' ').nth(1).unwrap();
    sent_by.split(';').next().unwrap().parse().unwrap()
}

#[test]
fn clo_01_one_bye_goes_from_end_to_end_through_two_proxies() {
    for who in [a(), b()] {
        let mut chain = Chain::call([Mode::Proxy, Mode::Proxy], false);
        let other = if who == a() { b() } else { a() };
        chain.leave(who);
        let bye = chain
            .inbox
            .iter()
            .find(|sent| sent.to == other)
            .unwrap()
            .text
            .clone();
        assert_eq!(header(&bye, "CSeq"), "2 BYE");
        assert!(chain.inbox.iter().all(|sent| sent.to == other));
        chain.accept(other);
        let ok = chain.got(who, "SIP/2.0 200");
        assert_eq!(header(&ok, "CSeq"), "2 BYE");
        assert!(chain.functions.iter().all(|bench| bench.acts.is_empty()));
        chain.is_over();
    }
}

#[test]
fn clo_02_the_originating_function_answers_before_its_bye_leaves() {
    let mut chain = Chain::call([Mode::Early, Mode::Late], false);
    chain.leave(a());
    let answered = chain.when(
        place(0),
        a(),
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:5001;branch=z9hG4bK-BYE",
    );
    assert!(answered < chain.when(place(0), place(1), "BYE"));
    chain.got(a(), "SIP/2.0 200");
    chain.accept(b());
    chain.is_over();
}

#[test]
fn clo_03_the_terminating_function_answers_before_its_bye_leaves() {
    let mut chain = Chain::call([Mode::Late, Mode::Early], false);
    chain.leave(a());
    let to_b = chain.when(place(1), b(), "BYE");
    let answered = chain
        .trace
        .iter()
        .position(|sent| {
            sent.from == place(1) && sent.to == place(0) && sent.text.contains(" BYE\r\n")
        })
        .unwrap();
    assert!(answered < to_b);
    chain.got(a(), "SIP/2.0 200");
    chain.accept(b());
    chain.is_over();
}

#[test]
fn clo_04_every_mixture_of_modes_ends_without_a_dialog_left() {
    for first in MODES {
        for second in MODES {
            for who in [a(), b()] {
                let mut chain = Chain::call([first, second], false);
                let other = if who == a() { b() } else { a() };
                chain.leave(who);
                chain.accept(other);
                let ok = chain.got(who, "SIP/2.0 200");
                assert!(ok.contains("BYE"), "{first:?} {second:?}: {ok}");
                chain.is_over();
            }
        }
    }
}

#[test]
fn hst_06_each_function_stores_for_its_own_user_and_tells_nobody_else() {
    let mut chain = Chain::call([Mode::Late, Mode::Late], true);
    let users = chain
        .functions
        .each_ref()
        .map(|bench| match &bench.asks[0] {
            Ask::Begin(facts) => facts.served_user.clone(),
            other @ Ask::Finish { .. } => panic!("{other:?}"),
        });
    assert_eq!(users, ["sip:a@x", "sip:b@127.0.0.1:5002"]);
    chain.leave(a());
    assert!(chain.inbox.is_empty(), "{:?}", chain.inbox);
    chain.stored(1, "20");
    let bye = chain.inbox[0].text.clone();
    assert_eq!(header(&bye, "Message-UID"), "20");
    chain.accept(b());
    chain.stored(0, "10");
    let ok = chain.got(a(), "SIP/2.0 200");
    assert_eq!(header(&ok, "Message-UID"), "10");
    let between = chain.trace.iter().filter(|sent| {
        let ends = [sent.from, sent.to];
        ends == [place(0), place(1)] || ends == [place(1), place(0)]
    });
    for sent in between {
        assert_eq!(header(&sent.text, "Message-UID"), "", "{}", sent.text);
    }
    for bench in &chain.functions {
        assert_eq!(bench.asks.len(), 2, "{:?}", bench.asks);
    }
    chain.is_over();
}
