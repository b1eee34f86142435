//! The four state machines by transition, on UDP and TCP, with a clock of their own.

mod client;
mod server;

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{ClientKey, Repeat, ServerKey, Timers, Transactions, TxEvent};
use crate::sip::{Flow, Message, Method, Name, Protocol};

/// A layer, its clock, and what it has put out.
struct World {
    layer: Transactions,
    start: Instant,
    now: Instant,
    flow: Flow,
}

impl World {
    #[expect(
        clippy::disallowed_methods,
        reason = "the only source of an Instant to count from"
    )]
    fn new(protocol: Protocol) -> Self {
        let now = Instant::now();
        let local = "192.0.2.1:5060".parse().unwrap();
        let remote = "192.0.2.2:5060".parse().unwrap();
        let flow = Flow {
            protocol,
            local,
            remote,
            connection: 0,
        };
        Self {
            layer: Transactions::new(Timers::default(), 7),
            start: now,
            now,
            flow,
        }
    }

    fn receive(&mut self, text: &str) {
        self.layer
            .handle_packet(self.now, self.flow, Bytes::copy_from_slice(text.as_bytes()));
    }

    fn receive_message(&mut self, message: &Message) {
        self.layer
            .handle_packet(self.now, self.flow, message.encode());
    }

    fn sent(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.layer.poll_transmit())
            .map(|transmit| Message::parse(transmit.bytes).unwrap())
            .collect()
    }

    /// First words of what was sent.
    fn sent_lines(&mut self) -> Vec<String> {
        self.sent().iter().map(first_word).collect()
    }

    fn events(&mut self) -> Vec<TxEvent> {
        std::iter::from_fn(|| self.layer.poll_event()).collect()
    }

    /// Lets time pass and says at which millisecond after the start what was sent.
    fn run(&mut self, time: Duration) -> Vec<(u128, String)> {
        let end = self.now + time;
        let mut sent = Vec::new();
        while let Some(at) = self.layer.poll_timeout().filter(|at| *at <= end) {
            self.now = at;
            self.layer.handle_timeout(at);
            let ms = (at - self.start).as_millis();
            sent.extend(self.sent_lines().into_iter().map(|line| (ms, line)));
        }
        self.now = end;
        sent
    }

    fn request(&mut self, method: Method) -> (ClientKey, Message) {
        let key = self
            .layer
            .request(self.now, request(method), self.flow)
            .unwrap();
        (key, self.sent().remove(0))
    }

    fn arrive(&mut self, text: &str) -> (ServerKey, Message) {
        self.receive(text);
        match self.events().remove(0) {
            TxEvent::Request { key, request, .. } => (key, request),
            event => panic!("{event:?}"),
        }
    }

    fn respond(&mut self, key: ServerKey, request: &Message, code: u16, repeat: Repeat) {
        let mut response = Message::response(request, code, "Text");
        response.set_to_tag("ours");
        self.layer.respond(self.now, key, response, repeat);
    }

    /// A response to what was sent, as the far side gives it.
    fn answer(&mut self, sent: &Message, code: u16) {
        let mut response = Message::response(sent, code, "Text");
        response.set_to_tag("theirs");
        self.receive_message(&response);
    }

    fn codes(&mut self) -> Vec<u16> {
        self.events()
            .into_iter()
            .map(|event| match event {
                TxEvent::Response { response, .. } => response.code().unwrap(),
                event => panic!("{event:?}"),
            })
            .collect()
    }
}

fn first_word(message: &Message) -> String {
    match message.code() {
        Some(code) => code.to_string(),
        None => message.method().unwrap().to_string(),
    }
}

fn request(method: Method) -> Message {
    let mut request = Message::request(method.clone(), "sip:bob@192.0.2.2");
    request
        .headers
        .push(Name::Route, "<sip:proxy.example.com;lr>");
    request
        .headers
        .push(Name::From, "<sip:alice@example.com>;tag=a1");
    request.headers.push(Name::To, "<sip:bob@example.com>");
    request.headers.push(Name::CallId, "call-1");
    request.headers.push(Name::CSeq, format!("7 {method}"));
    request.headers.push(Name::MaxForwards, "70");
    request
}

fn text(method: &str, branch: &str, to_tag: &str) -> String {
    format!(
        "{method} sip:us@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2;branch={branch}\r\n\
         From: <sip:bob@example.com>;tag=b1\r\nTo: <sip:us@example.com>{to_tag}\r\n\
         Call-ID: call-2\r\nCSeq: 3 {method}\r\nMax-Forwards: 70\r\n\r\n"
    )
}

const BRANCH: &str = "z9hG4bKx1";
const MINUTE: Duration = Duration::from_secs(60);

fn at(line: &str, times: &[u128]) -> Vec<(u128, String)> {
    times.iter().map(|ms| (*ms, line.to_owned())).collect()
}

#[test]
fn a_full_table_refuses_new_requests_only() {
    let mut world = World::new(Protocol::Udp);
    world.layer = Transactions::with_limit(Timers::default(), 7, 1);
    let (key, request) = world.arrive(&text("INVITE", BRANCH, ""));
    world.receive(&text("INVITE", "z9hG4bKother", ""));
    let refusal = world.sent().remove(0);
    assert_eq!(
        (refusal.code(), refusal.headers.get(Name::RetryAfter)),
        (Some(503), Some("5"))
    );
    let tag = format!(";tag={}", refusal.to_tag().unwrap());
    world.receive(&text("ACK", "z9hG4bKother", &tag));
    assert_eq!(world.events().len(), 0);
    world.request(Method::Bye);
    let more = self::request(Method::Bye);
    assert!(world.layer.request(world.now, more, world.flow).is_err());
    world.receive(&text("CANCEL", BRANCH, ""));
    assert_eq!(world.events().len(), 1);
    world.respond(key, &request, 487, Repeat::Ours);
    assert_eq!(world.layer.counters().refused, 2);
}

#[test]
fn responses_go_where_via_says_and_rport_goes_to_the_source() {
    let mut world = World::new(Protocol::Udp);
    world.flow.remote = "198.51.100.9:4711".parse().unwrap();
    let (key, request) = world.arrive(&text("BYE", BRANCH, ""));
    world.respond(key, &request, 200, Repeat::Ours);
    let transmit = world.layer.poll_transmit().unwrap();
    assert_eq!(transmit.flow.remote, "198.51.100.9:5060".parse().unwrap());
    let (key, request) = world.arrive(&text("BYE", "z9hG4bKx2;rport", ""));
    assert_eq!(
        request.headers.get(Name::Via).unwrap(),
        "SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKx2;received=198.51.100.9;rport=4711"
    );
    world.respond(key, &request, 200, Repeat::Ours);
    assert_eq!(
        world.layer.poll_transmit().unwrap().flow.remote,
        world.flow.remote
    );
}

#[test]
fn an_rfc_2543_client_is_matched_without_a_branch() {
    let plain = |method| text(method, "", "").replace(";branch=", "");
    let mut world = World::new(Protocol::Udp);
    let (key, request) = world.arrive(&plain("INVITE"));
    world.receive(&plain("INVITE"));
    world.receive(&plain("CANCEL"));
    assert!(matches!(world.events()[..], [TxEvent::Cancel { invite, .. }] if invite == key));
    world.respond(key, &request, 487, Repeat::Ours);
    world.receive(&plain("ACK"));
    world.sent();
    assert_eq!(world.run(Duration::from_secs(3)), []);
    assert_eq!(world.events().len(), 0);
}

#[test]
fn an_ack_is_sent_once_with_our_via() {
    let mut world = World::new(Protocol::Udp);
    world.layer.send_ack(request(Method::Ack), world.flow);
    let ack = world.sent().remove(0);
    assert!(
        ack.headers
            .get(Name::Via)
            .unwrap()
            .starts_with("SIP/2.0/UDP 192.0.2.1:5060;branch=z9")
    );
    assert!(world.layer.is_empty() && world.layer.poll_timeout().is_none());
}

#[test]
fn keep_alives_are_counted_and_nothing_else() {
    let mut world = World::new(Protocol::Udp);
    for text in ["", "\r\n\r\n", "\0\0\0\0"] {
        world.receive(text);
    }
    assert_eq!(
        (
            world.layer.counters().keep_alives,
            world.layer.counters().malformed
        ),
        (3, 0)
    );
    assert_eq!(world.sent_lines().len() + world.events().len(), 0);
}
