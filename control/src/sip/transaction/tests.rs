//! The four state machines by transition, on UDP and TCP, with a clock of their own.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{ClientKey, Repeat, ServerKey, Timers, Transactions, TxEvent};
use crate::sip::{Flow, Message, Method, Name, Protocol, Text};

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
fn an_invite_is_resent_ever_more_slowly_until_timer_b() {
    let mut world = World::new(Protocol::Udp);
    let (key, _) = world.request(Method::Invite);
    assert_eq!(
        world.run(MINUTE),
        at("INVITE", &[500, 1500, 3500, 7500, 15500, 31500])
    );
    assert!(matches!(world.events()[..], [TxEvent::Timeout { key: k }] if k == key));
    assert!(world.layer.is_empty());
}

#[test]
fn another_request_is_resent_up_to_every_t2_until_timer_f() {
    let mut world = World::new(Protocol::Udp);
    world.request(Method::Bye);
    let times = [
        500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500,
    ];
    assert_eq!(world.run(MINUTE), at("BYE", &times));
    assert!(matches!(world.events()[..], [TxEvent::Timeout { .. }]));
}

#[test]
fn nothing_is_resent_on_tcp_and_the_time_is_the_same() {
    for method in [Method::Invite, Method::Bye] {
        let mut world = World::new(Protocol::Tcp);
        world.request(method);
        assert_eq!(world.run(Duration::from_millis(31_999)), []);
        assert_eq!(world.events().len(), 0);
        world.run(Duration::from_millis(1));
        assert!(matches!(world.events()[..], [TxEvent::Timeout { .. }]));
    }
}

#[test]
fn a_provisional_response_stops_the_invite_and_slows_the_others() {
    let mut world = World::new(Protocol::Udp);
    let (_, sent) = world.request(Method::Invite);
    world.answer(&sent, 100);
    world.answer(&sent, 180);
    assert_eq!(world.codes(), [180], "100 is for this hop");
    assert_eq!(world.run(4 * MINUTE), []);
    assert_eq!(world.layer.len(), 1, "the user decides how long it rings");

    let mut world = World::new(Protocol::Udp);
    let (_, sent) = world.request(Method::Options);
    world.answer(&sent, 100);
    let times = [500, 4500, 8500, 12500, 16500, 20500, 24500, 28500];
    assert_eq!(world.run(MINUTE), at("OPTIONS", &times));
}

#[test]
fn a_refused_invite_is_acknowledged_each_time_and_told_once() {
    let mut world = World::new(Protocol::Udp);
    let (_, sent) = world.request(Method::Invite);
    world.answer(&sent, 486);
    world.answer(&sent, 486);
    assert_eq!(world.codes(), [486]);
    let acks = world.sent();
    assert_eq!(
        acks.iter().map(first_word).collect::<Vec<_>>(),
        ["ACK", "ACK"]
    );
    let ack = &acks[0];
    assert_eq!(ack.headers.get(Name::Via), sent.headers.get(Name::Via));
    assert_eq!(ack.headers.get(Name::Route), sent.headers.get(Name::Route));
    assert_eq!(
        (ack.cseq(), ack.to_tag()),
        (Some((7, Method::Ack)), Some("theirs"))
    );
    assert_eq!(ack.request_uri(), sent.request_uri());
    world.run(Duration::from_secs(31));
    assert_eq!(world.layer.len(), 1, "timer D");
    world.run(Duration::from_secs(1));
    assert!(world.layer.is_empty());
}

#[test]
fn a_refused_invite_ends_at_once_on_tcp() {
    let mut world = World::new(Protocol::Tcp);
    let (_, sent) = world.request(Method::Invite);
    world.answer(&sent, 603);
    assert_eq!(
        (world.codes(), world.sent_lines()),
        (vec![603], vec!["ACK".to_owned()])
    );
    assert!(world.layer.is_empty());
    world.answer(&sent, 603);
    assert_eq!(world.layer.counters().stray_responses, 1);
}

#[test]
fn every_2xx_of_every_fork_is_told_until_timer_m() {
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let mut world = World::new(protocol);
        let (key, sent) = world.request(Method::Invite);
        world.answer(&sent, 200);
        world.answer(&sent, 200);
        let mut fork = Message::response(&sent, 200, "OK");
        fork.set_to_tag("fork-2");
        world.receive_message(&fork);
        world.answer(&sent, 180);
        world.answer(&sent, 486);
        assert_eq!(world.codes(), [200, 200, 200]);
        assert_eq!(world.sent_lines(), [""; 0], "the user acknowledges a 2xx");
        assert!(world.layer.invite_of(key).is_some());
        world.run(Duration::from_secs(32));
        assert!(world.layer.is_empty());
    }
}

#[test]
fn another_final_response_is_told_once_and_waits_for_timer_k() {
    let mut world = World::new(Protocol::Udp);
    let (_, sent) = world.request(Method::Update);
    world.answer(&sent, 200);
    world.answer(&sent, 200);
    assert_eq!(world.codes(), [200]);
    assert_eq!(world.run(Duration::from_millis(4999)), []);
    assert_eq!(world.layer.len(), 1);
    world.run(Duration::from_millis(1));
    assert!(world.layer.is_empty());

    let mut world = World::new(Protocol::Tcp);
    let (_, sent) = world.request(Method::Update);
    world.answer(&sent, 200);
    assert!(world.layer.is_empty());
}

#[test]
fn a_response_of_another_method_or_branch_is_stray() {
    let mut world = World::new(Protocol::Udp);
    let (_, sent) = world.request(Method::Bye);
    let good = Message::response(&sent, 200, "OK");
    let mut other = good.clone();
    other.headers.set(Name::CSeq, "7 INVITE");
    world.receive_message(&other);
    let mut other = good.clone();
    let via = good
        .headers
        .get(Name::Via)
        .unwrap()
        .replace(";rport", "0;rport");
    other.headers.set(Name::Via, via);
    world.receive_message(&other);
    assert_eq!(world.events().len(), 0);
    assert_eq!(world.layer.counters().stray_responses, 2);
    world.receive_message(&good);
    assert_eq!(world.codes(), [200]);
}

#[test]
fn a_cancel_waits_for_the_first_provisional_response() {
    let mut world = World::new(Protocol::Udp);
    let (key, sent) = world.request(Method::Invite);
    let reason = Text::from("SIP;cause=200;text=\"Call completed elsewhere\"");
    world.layer.cancel(world.now, key, &[reason]);
    assert_eq!(world.sent_lines(), [""; 0]);
    world.answer(&sent, 100);
    let cancel = world.sent().remove(0);
    assert_eq!(first_word(&cancel), "CANCEL");
    assert_eq!(cancel.headers.get(Name::Via), sent.headers.get(Name::Via));
    assert_eq!(cancel.cseq(), Some((7, Method::Cancel)));
    assert_eq!(cancel.to_tag(), None);
    assert!(
        cancel
            .headers
            .get(Name::Reason)
            .unwrap()
            .contains("elsewhere")
    );
    assert_eq!(
        world.run(Duration::from_secs(2)),
        at("CANCEL", &[500, 1500])
    );
    world.answer(&cancel, 200);
    assert_eq!(world.run(Duration::from_secs(9)), []);
    world.answer(&sent, 487);
    assert_eq!(
        (world.codes(), world.sent_lines()),
        (vec![487], vec!["ACK".to_owned()])
    );
}

#[test]
fn a_cancel_after_a_provisional_response_is_sent_at_once_and_once() {
    let mut world = World::new(Protocol::Tcp);
    let (key, sent) = world.request(Method::Invite);
    world.answer(&sent, 180);
    world.layer.cancel(world.now, key, &[]);
    world.layer.cancel(world.now, key, &[]);
    assert_eq!(world.sent_lines(), ["CANCEL"]);
    assert_eq!(world.run(MINUTE), []);
    let events = world.events();
    assert!(
        matches!(
            events[..],
            [TxEvent::Response { .. }, TxEvent::Timeout { .. }]
        ),
        "{events:?}"
    );
    assert!(world.layer.is_empty());
}

#[test]
fn a_cancel_that_crosses_a_2xx_changes_nothing() {
    let mut world = World::new(Protocol::Udp);
    let (key, sent) = world.request(Method::Invite);
    world.layer.cancel(world.now, key, &[]);
    world.answer(&sent, 200);
    world.layer.cancel(world.now, key, &[]);
    assert_eq!((world.codes(), world.sent_lines().len()), (vec![200], 0));
}

#[test]
fn a_failed_transport_ends_who_has_heard_nothing() {
    let mut world = World::new(Protocol::Tcp);
    let (silent, _) = world.request(Method::Invite);
    let (_, ringing) = world.request(Method::Invite);
    world.answer(&ringing, 180);
    world.codes();
    let mut elsewhere = world.flow;
    elsewhere.remote.set_port(9);
    world.layer.handle_transport_error(world.now, elsewhere);
    assert_eq!(world.events().len(), 0);
    world.layer.handle_transport_error(world.now, world.flow);
    assert!(matches!(world.events()[..], [TxEvent::TransportFailed { key }] if key == silent));
    assert_eq!(world.layer.len(), 1);
    world.answer(&ringing, 200);
    assert_eq!(world.codes(), [200]);
}

#[test]
fn a_forgotten_transaction_tells_nothing_but_acknowledges() {
    let mut world = World::new(Protocol::Udp);
    let (key, sent) = world.request(Method::Invite);
    world.layer.forget(key);
    world.answer(&sent, 180);
    world.answer(&sent, 486);
    assert_eq!(
        (world.events().len(), world.sent_lines()),
        (0, vec!["ACK".to_owned()])
    );
}

#[test]
fn an_invite_is_answered_with_100_after_200_ms() {
    let mut world = World::new(Protocol::Udp);
    let (key, request) = world.arrive(&text("INVITE", BRANCH, ""));
    world.receive(&text("INVITE", BRANCH, ""));
    assert_eq!(world.run(Duration::from_millis(300)), at("100", &[200]));
    world.receive(&text("INVITE", BRANCH, ""));
    assert_eq!(world.sent_lines(), ["100"]);
    world.respond(key, &request, 183, Repeat::Ours);
    world.receive(&text("INVITE", BRANCH, ""));
    assert_eq!(world.sent_lines(), ["183", "183"]);
    assert_eq!(world.events().len(), 0);
    assert_eq!(world.layer.counters().retransmissions_in, 3);
}

#[test]
fn an_answer_before_200_ms_makes_100_needless() {
    let mut world = World::new(Protocol::Udp);
    let (key, request) = world.arrive(&text("INVITE", BRANCH, ""));
    world.respond(key, &request, 180, Repeat::Ours);
    assert_eq!(world.sent_lines(), ["180"]);
    assert_eq!(world.run(MINUTE), []);

    let mut world = World::new(Protocol::Udp);
    let (key, _) = world.arrive(&text("INVITE", BRANCH, ""));
    world.layer.trying(key);
    world.layer.trying(key);
    assert_eq!(world.sent_lines(), ["100"]);
}

#[test]
fn our_2xx_is_repeated_until_its_ack_on_any_transport() {
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let mut world = World::new(protocol);
        let (key, request) = world.arrive(&text("INVITE", BRANCH, ""));
        world.respond(key, &request, 200, Repeat::Ours);
        assert_eq!(world.sent_lines(), ["200"]);
        let sent = world.run(Duration::from_secs(12));
        assert_eq!(sent, at("200", &[500, 1500, 3500, 7500, 11500]));
        world.receive(&text("INVITE", BRANCH, ""));
        assert_eq!(world.sent_lines(), [""; 0], "a repeated INVITE is absorbed");
        world.receive(&text("ACK", "z9hG4bKx2", ";tag=ours"));
        let events = world.events();
        assert!(matches!(events[..], [TxEvent::Ack { key: Some(k), .. }] if k == key));
        assert_eq!(world.run(MINUTE), []);
        assert!(world.events().is_empty() && world.layer.is_empty());
    }
}

#[test]
fn a_lost_ack_is_told_after_64_t1() {
    let mut world = World::new(Protocol::Udp);
    let (key, request) = world.arrive(&text("INVITE", BRANCH, ""));
    world.respond(key, &request, 200, Repeat::Ours);
    world.receive(&text("ACK", "z9hG4bKx2", ";tag=another-dialog"));
    assert!(matches!(
        world.events()[..],
        [TxEvent::Ack { key: None, .. }]
    ));
    world.run(MINUTE);
    assert!(matches!(world.events()[..], [TxEvent::AckMissing { key: k }] if k == key));
    assert!(world.layer.is_empty());
}

#[test]
fn a_forwarded_2xx_is_not_repeated_by_us() {
    let mut world = World::new(Protocol::Udp);
    let (key, request) = world.arrive(&text("INVITE", BRANCH, ""));
    world.respond(key, &request, 200, Repeat::Theirs);
    world.respond(key, &request, 200, Repeat::Theirs);
    world.respond(key, &request, 486, Repeat::Theirs);
    assert_eq!(world.sent_lines(), ["200", "200"]);
    assert_eq!(world.run(MINUTE), []);
    assert!(world.events().is_empty() && world.layer.is_empty());
}

#[test]
fn a_refusal_is_repeated_until_its_ack_on_udp() {
    let mut world = World::new(Protocol::Udp);
    let (key, request) = world.arrive(&text("INVITE", BRANCH, ""));
    world.respond(key, &request, 486, Repeat::Ours);
    world.receive(&text("INVITE", BRANCH, ""));
    assert_eq!(world.sent_lines(), ["486", "486"]);
    assert_eq!(world.run(Duration::from_secs(2)), at("486", &[500, 1500]));
    world.receive(&text("ACK", BRANCH, ";tag=ours"));
    world.receive(&text("ACK", BRANCH, ";tag=ours"));
    assert_eq!(world.events().len(), 0, "this ACK is for the hop");
    assert_eq!(world.run(Duration::from_millis(4999)), []);
    assert_eq!(world.layer.len(), 1, "timer I");
    world.run(Duration::from_millis(1));
    assert!(world.layer.is_empty());
}

#[test]
fn a_refusal_without_ack_ends_with_timer_h() {
    let mut world = World::new(Protocol::Udp);
    let (key, request) = world.arrive(&text("INVITE", BRANCH, ""));
    world.respond(key, &request, 486, Repeat::Ours);
    world.sent();
    let times = [
        500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500,
    ];
    assert_eq!(world.run(MINUTE), at("486", &times));
    assert!(world.layer.is_empty());
}

#[test]
fn a_refusal_is_sent_once_on_tcp_and_ends_with_its_ack() {
    let mut world = World::new(Protocol::Tcp);
    let (key, request) = world.arrive(&text("INVITE", BRANCH, ""));
    world.respond(key, &request, 486, Repeat::Ours);
    world.sent();
    assert_eq!(world.run(Duration::from_secs(3)), []);
    world.receive(&text("ACK", BRANCH, ";tag=ours"));
    assert!(world.events().is_empty() && world.layer.is_empty());
}

#[test]
fn another_request_keeps_its_answer_for_timer_j() {
    let mut world = World::new(Protocol::Udp);
    let (key, request) = world.arrive(&text("BYE", BRANCH, ""));
    world.receive(&text("BYE", BRANCH, ""));
    assert_eq!(world.sent_lines(), [""; 0], "in Trying a repeat is dropped");
    world.respond(key, &request, 183, Repeat::Ours);
    world.receive(&text("BYE", BRANCH, ""));
    world.respond(key, &request, 200, Repeat::Ours);
    world.receive(&text("BYE", BRANCH, ""));
    world.respond(key, &request, 500, Repeat::Ours);
    assert_eq!(world.sent_lines(), ["183", "183", "200", "200"]);
    world.run(Duration::from_millis(31_999));
    assert_eq!(world.layer.len(), 1);
    world.run(Duration::from_millis(1));
    assert!(world.layer.is_empty());

    let mut world = World::new(Protocol::Tcp);
    let (key, request) = world.arrive(&text("BYE", BRANCH, ""));
    world.respond(key, &request, 200, Repeat::Ours);
    assert!(world.layer.is_empty());
}

#[test]
fn a_cancel_is_answered_here_and_told_once() {
    let mut world = World::new(Protocol::Udp);
    let (key, request) = world.arrive(&text("INVITE", BRANCH, ""));
    world.receive(&text("CANCEL", BRANCH, ""));
    world.receive(&text("CANCEL", BRANCH, ""));
    let answers = world.sent();
    assert_eq!(
        answers.iter().map(first_word).collect::<Vec<_>>(),
        ["200", "200"]
    );
    assert_eq!(answers[0].cseq(), Some((3, Method::Cancel)));
    assert!(answers[0].to_tag().is_some());
    assert_eq!(answers[0].to_tag(), answers[1].to_tag());
    let events = world.events();
    assert!(
        matches!(events[..], [TxEvent::Cancel { invite, .. }] if invite == key),
        "{events:?}"
    );
    world.respond(key, &request, 487, Repeat::Ours);
    assert_eq!(world.sent_lines(), ["487"]);
}

#[test]
fn a_cancel_after_the_final_response_changes_nothing() {
    let mut world = World::new(Protocol::Udp);
    let (key, request) = world.arrive(&text("INVITE", BRANCH, ""));
    world.respond(key, &request, 200, Repeat::Theirs);
    world.receive(&text("CANCEL", BRANCH, ""));
    assert_eq!(
        (world.sent_lines(), world.events().len()),
        (vec!["200".into(), "200".into()], 0)
    );
}

#[test]
fn a_cancel_for_nothing_gets_481_and_its_ack_like_tag_is_absorbed() {
    let mut world = World::new(Protocol::Udp);
    world.receive(&text("CANCEL", BRANCH, ""));
    let answer = world.sent().remove(0);
    assert_eq!(answer.code(), Some(481));
    let tag = format!(";tag={}", answer.to_tag().unwrap());
    world.receive(&text("ACK", BRANCH, &tag));
    assert!(world.events().is_empty() && world.layer.is_empty());
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
    let more = super::tests::request(Method::Bye);
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
