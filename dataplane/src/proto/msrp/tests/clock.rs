//! When time begins, and when it is up.

use std::time::Duration;

use super::{World, response, send_frame};
use crate::limits::MSRP_STALL_MS;
use crate::stats::DropReason;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_time_of_a_send_begins_when_its_last_octet_leaves() {
    let mut world = World::new();
    let (a, b) = world.pair();
    world.hold(b, 0);
    world.send(a, send_frame('a', "tid1", "", "hello"));
    world.raw(a);
    world.pass(20 * SECOND);
    world.sent();
    world.pass(20 * SECOND);
    assert!(world.raw(a).is_empty(), "it hasn't left yet");
    let whole = world.raw(b).len() as u64;
    world.hold(b, whole - 1);
    world.sent();
    world.pass(10 * SECOND);
    world.hold(b, 1);
    world.sent();
    world.pass(30 * SECOND - Duration::from_millis(1));
    assert!(world.raw(a).is_empty(), "too early");
    world.pass(Duration::from_millis(1));
    assert_eq!(world.read_one(a).header("Status"), Some("000 408"));
}

#[test]
fn each_send_of_a_slow_connection_has_its_own_time() {
    let mut world = World::new();
    let (a, b) = world.pair();
    world.hold(b, 0);
    let mut ends = Vec::new();
    for id in ["tid1", "tid2", "tid3"] {
        world.send(a, send_frame('a', id, "", "hello"));
        ends.push(world.raw(b).len() as u64);
    }
    world.raw(a);
    for end in ends {
        world.hold(b, end);
        world.sent();
        world.pass(10 * SECOND);
    }
    assert_eq!(world.read_one(a).header("Message-ID"), Some("m-tid1"));
    world.pass(10 * SECOND - Duration::from_millis(1));
    assert!(world.raw(a).is_empty());
    world.pass(Duration::from_millis(1));
    assert_eq!(world.read_one(a).header("Message-ID"), Some("m-tid2"));
    world.pass(10 * SECOND);
    assert_eq!(world.read_one(a).header("Message-ID"), Some("m-tid3"));
}

#[test]
fn an_answer_may_come_before_the_last_octet_is_known_to_have_left() {
    let mut world = World::new();
    let (a, b) = world.pair();
    world.hold(b, 0);
    world.send(a, send_frame('a', "tid1", "", "one"));
    world.send(a, send_frame('a', "tid2", "", "two"));
    let sent = world.read(b);
    world.raw(a);
    world.send(b, response(&sent[0], "200 OK"));
    assert_eq!(world.counts(), (1, 0, 1));
    world.send(b, response(&sent[1], "415 No"));
    assert_eq!(world.counts(), (1, 1, 0));
    assert_eq!(world.read(a).len(), 1);
    world.hold(b, 1 << 20);
    world.sent();
    world.pass(31 * SECOND);
    assert_eq!(world.counts(), (1, 1, 0));
}

#[test]
fn what_has_not_left_a_lost_connection_is_reported() {
    let mut world = World::new();
    let (a, b) = world.pair();
    world.hold(b, 0);
    world.send(a, send_frame('a', "tid1", "", "one"));
    world.raw(a);
    world.close(b);
    assert_eq!(world.read_one(a).header("Status"), Some("000 481"));
    assert_eq!(world.counts(), (0, 1, 0));
    world.sent();
}

#[test]
fn a_connection_that_takes_nothing_for_a_minute_is_given_up() {
    let mut world = World::new();
    let (a, b) = world.pair();
    world.hold(b, 0);
    world.send(a, send_frame('a', "tid1", "", "one"));
    world.sent();
    world.pass(Duration::from_millis(MSRP_STALL_MS - 1));
    world.sent();
    assert_eq!(world.relay.expired(world.now), None);
    world.hold(b, 1);
    world.sent();
    world.pass(Duration::from_millis(MSRP_STALL_MS - 1));
    world.sent();
    assert_eq!(world.relay.expired(world.now), None, "an octet left");
    world.pass(Duration::from_millis(1));
    world.sent();
    assert_eq!(world.relay.expired(world.now), Some(b));
    world.close(b);
    assert_eq!(world.stats.drops[DropReason::Stalled as usize], 1);
    assert_eq!(world.counts(), (0, 1, 0));
}
