//! Server transactions, and who repeats a 2xx.

use std::time::Duration;

use super::{BRANCH, MINUTE, World, at, first_word, text};
use crate::sip::transaction::{Repeat, TxEvent};
use crate::sip::{Method, Protocol};

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
