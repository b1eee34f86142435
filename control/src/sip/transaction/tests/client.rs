//! Client transactions and CANCEL.

use std::time::Duration;

use super::{MINUTE, World, at, first_word};
use crate::sip::transaction::TxEvent;
use crate::sip::{Message, Method, Name, Protocol, Text};

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
fn a_request_that_no_datagram_can_carry_fails_alone() {
    let mut world = World::new(Protocol::Udp);
    let (small, _) = world.request(Method::Invite);
    let mut large = super::request(Method::Message);
    large.set_body("text/plain", vec![b'x'; 65_507].into());
    let flow = world.flow;
    let key = world.layer.request(world.now, large.clone(), flow).unwrap();
    assert!(matches!(world.events()[..], [TxEvent::TransportFailed { key: k }] if k == key));
    assert_eq!(world.layer.len(), 1, "{small:?} goes on");
    let mut world = World::new(Protocol::Tcp);
    let flow = world.flow;
    world.layer.request(world.now, large, flow).unwrap();
    assert_eq!((world.events().len(), world.layer.len()), (0, 1));
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
