//! What goes wrong, and who is told.

use std::time::Duration;

use super::{World, bind, ours, paths, response, send_frame, send_head, theirs};
use crate::proto::msrp::Verdict;
use crate::stats::DropReason;

#[test]
fn a_failure_of_the_far_side_is_reported_with_the_real_range() {
    for mode in ["yes", "partial"] {
        let mut world = World::new();
        let (a, b) = world.pair();
        let headers = format!("Byte-Range: 11-*/25\r\nFailure-Report: {mode}\r\n");
        world.send(a, send_frame('a', "tid1", &headers, "hello"));
        let sent = world.read_one(b);
        world.raw(a);
        world.send(b, response(&sent, "415 No"));
        let report = world.read_one(a);
        assert_eq!(&*report.what, "REPORT");
        assert_eq!(report.header("To-Path"), Some(&*theirs('a')));
        assert_eq!(report.header("From-Path"), Some(&*ours('a')));
        assert_eq!(report.header("Message-ID"), Some("m-tid1"));
        assert_eq!(report.header("Byte-Range"), Some("11-15/25"));
        assert_eq!(report.header("Status"), Some("000 415"));
        assert_eq!(report.header("Failure-Report"), None);
        assert_eq!(world.counts(), (0, 1, 0));
        world.send(b, response(&sent, "415 No"));
        assert!(world.raw(a).is_empty(), "reported twice");
    }
}

#[test]
fn silence_is_reported_after_30_seconds_and_not_before() {
    let mut world = World::new();
    let (a, b) = world.pair();
    world.send(a, send_head('a', "tid1", ""));
    world.pass(Duration::from_secs(40));
    world.send(a, "slow\r\n-------tid1$\r\n");
    world.raw(a);
    let sent = world.read_one(b);
    world.pass(Duration::from_millis(29_999));
    assert!(world.raw(a).is_empty(), "too early");
    let due = world.relay.poll_timeout().unwrap();
    assert_eq!(due, world.now + Duration::from_millis(1));
    world.pass(Duration::from_millis(1));
    let report = world.read_one(a);
    assert_eq!(report.header("Status"), Some("000 408"));
    assert_eq!(report.header("Byte-Range"), Some("1-4/*"));
    world.send(b, response(&sent, "200 OK"));
    assert_eq!(world.counts(), (0, 1, 0), "a late response is ignored");
}

#[test]
fn silence_is_no_failure_where_only_failures_are_answered() {
    let mut world = World::new();
    let (a, _) = world.pair();
    world.send(
        a,
        send_frame('a', "tid1", "Failure-Report: partial\r\n", "x"),
    );
    world.pass(Duration::from_secs(31));
    assert!(world.raw(a).is_empty());
    assert_eq!(world.counts(), (1, 0, 0));
}

#[test]
fn a_slow_reader_that_lives_is_given_more_time() {
    let mut world = World::new();
    let (a, b) = world.pair();
    world.send(a, send_frame('a', "tid1", "", "one"));
    world.raw(a);
    world.out.full.push(b);
    world.pass(Duration::from_secs(20));
    world.send(b, bind('b'));
    world.pass(Duration::from_secs(20));
    assert!(
        world.raw(a).is_empty(),
        "its response may be behind what it reads"
    );
    world.pass(Duration::from_secs(30));
    assert_eq!(world.read(a).len(), 1, "it said nothing for 30 s");
}

#[test]
fn an_unknown_session_is_answered_with_481() {
    let mut world = World::new();
    let key = world.relay.accept(world.now).unwrap();
    world.send(key, send_frame('x', "tid1", "", "hello"));
    let answer = world.read_one(key);
    assert_eq!(&*answer.what, "481 No Such Session");
    assert_eq!(answer.header("To-Path"), Some(&*theirs('x')));
    assert_eq!(answer.header("From-Path"), Some(&*ours('x')));
    world.send(
        key,
        send_frame('x', "tid2", "Failure-Report: no\r\n", "hello"),
    );
    assert!(world.raw(key).is_empty());
    assert_eq!(world.stats.drops[DropReason::NotBound as usize], 2);
}

#[test]
fn a_session_of_another_connection_is_answered_with_506() {
    let mut world = World::new();
    let (a, _) = world.pair();
    let other = world.relay.accept(world.now).unwrap();
    world.send(other, bind('a'));
    assert_eq!(&*world.read_one(other).what, "506 Session In Use");
    assert_eq!(world.relay.bound_leg(other), None);
    world.close(a);
    world.send(other, bind('a'));
    assert_eq!(&*world.read_one(other).what, "200 OK");
}

#[test]
fn a_lost_connection_fails_what_is_open_and_what_comes_later() {
    let mut world = World::new();
    let (a, b) = world.pair();
    world.send(a, send_frame('a', "tid1", "", "one"));
    world.send(a, send_frame('a', "tid2", "Failure-Report: no\r\n", "two"));
    world.send(a, send_head('a', "tid3", ""));
    world.raw(a);
    let leg = world.relay.bound_leg(b).unwrap();
    assert_eq!(world.close(b), [leg]);
    let report = world.read_one(a);
    assert_eq!(report.header("Status"), Some("000 481"));
    assert_eq!(report.header("Message-ID"), Some("m-tid1"));
    world.send(a, "three\r\n-------tid3$\r\n");
    assert_eq!(&*world.read_one(a).what, "481 No Such Session");
    world.send(a, send_frame('a', "tid4", "", "four"));
    assert_eq!(&*world.read_one(a).what, "481 No Such Session");
    assert_eq!(world.counts(), (1, 1, 0));
    assert_eq!(
        world.relay.facts(world.relay.bound_leg(a).unwrap()).dropped,
        1
    );
}

#[test]
fn a_chunk_whose_source_is_lost_is_given_up() {
    let mut world = World::new();
    let (a, b) = world.pair();
    world.send(a, send_head('a', "tid1", ""));
    world.send(a, "half");
    world.close(a);
    let sent = world.read_one(b);
    assert_eq!((sent.flag, sent.body.as_deref()), ('#', Some(&b"half"[..])));
    world.send(b, response(&sent, "200 OK"));
    assert_eq!(world.stats.msrp_acknowledged, 0);
    world.send(b, send_frame('b', "tid2", "", "x"));
    assert_eq!(&*world.read_one(b).what, "481 No Such Session");
}

#[test]
fn a_chunk_whose_leg_is_removed_is_given_up() {
    let mut world = World::new();
    let (a_leg, b_leg) = world.legs('a', 'b');
    let (a, b) = (world.bound('a'), world.bound('b'));
    world.send(a, send_head('a', "tid1", ""));
    world.relay.remove_leg(a_leg);
    world.relay.remove_leg(b_leg);
    world.pass(Duration::ZERO);
    assert_eq!(world.read_one(b).flag, '#');
    let again = world.leg('c');
    assert!(again == a_leg || again == b_leg, "places are used again");
    world.send(a, "more\r\n-------tid1$\r\n");
    world.send(a, send_frame('a', "tid2", "", "x"));
    let last = world.read(a).pop().unwrap();
    assert_eq!(&*last.what, "481 No Such Session");
    assert!(world.raw(b).is_empty());
    world.pass(Duration::from_secs(30));
    assert!(world.relay.expired(world.now).is_some());
}

#[test]
fn after_413_no_more_of_that_message_is_taken() {
    let mut world = World::new();
    let (a, b) = world.pair();
    let chunk = |id: &str, message: &str, range: &str| {
        let paths = paths('a');
        format!(
            "MSRP {id} SEND\r\n{paths}Message-ID: {message}\r\nByte-Range: {range}\r\n\
             Content-Type: text/plain\r\n\r\nabcde"
        )
    };
    world.send(a, chunk("tid1", "big1", "1-*/20") + "\r\n-------tid1+\r\n");
    let first = world.read_one(b);
    world.raw(a);
    world.send(a, chunk("tid2", "big1", "6-*/20"));
    world.send(b, response(&first, "413 Enough"));
    let told = world.read(a);
    assert_eq!(told[0].header("Status"), Some("000 413"));
    assert_eq!((&*told[1].id, &*told[1].what), ("tid2", "413 Stop Sending"));
    assert_eq!(world.read_one(b).flag, '#');
    world.send(a, "rest\r\n-------tid2#\r\n");
    world.send(a, chunk("tid3", "big1", "11-*/20") + "\r\n-------tid3$\r\n");
    assert_eq!(&*world.read_one(a).what, "413 Stop Sending");
    assert!(world.raw(b).is_empty());
    world.send(a, chunk("tid4", "big2", "1-5/5") + "\r\n-------tid4$\r\n");
    assert_eq!(world.read(b).len(), 1);
}

#[test]
fn an_early_failure_stops_the_chunk_in_flight() {
    let mut world = World::new();
    let (a, b) = world.pair();
    world.send(a, send_head('a', "tid1", ""));
    world.send(a, "half");
    let head = text(&world.raw(b));
    let id = head.split(' ').nth(1).unwrap();
    let paths = paths('b');
    world.send(
        b,
        format!("MSRP {id} 413 Enough\r\n{paths}-------{id}$\r\n"),
    );
    assert_eq!(&*world.read_one(a).what, "413 Stop Sending");
    assert_eq!(world.raw(b), format!("\r\n-------{id}#\r\n").as_bytes());
    world.send(a, "rest\r\n-------tid1$\r\n");
    assert!(world.raw(a).is_empty() && world.raw(b).is_empty());
    assert_eq!(world.stats.msrp_acknowledged, 0);
}

fn text(bytes: &[u8]) -> Box<str> {
    std::str::from_utf8(bytes).unwrap().into()
}

#[test]
fn a_frozen_leg_finishes_its_chunk_and_begins_none() {
    let mut world = World::new();
    let (a_leg, _) = world.legs('a', 'b');
    let (a, b) = (world.bound('a'), world.bound('b'));
    world.send(a, send_head('a', "tid1", ""));
    world.relay.freeze(a_leg);
    world.send(a, "done\r\n-------tid1$\r\n");
    assert_eq!(world.read_one(b).flag, '$');
    assert_eq!(&*world.read_one(a).what, "200 OK");
    world.send(a, send_frame('a', "tid2", "", "no"));
    assert_eq!(&*world.read_one(a).what, "481 No Such Session");
    assert!(world.raw(b).is_empty());
    assert_eq!(world.stats.drops[DropReason::Frozen as usize], 1);
}

#[test]
fn content_needs_the_direction_of_both_legs_and_reports_do_not() {
    let mut world = World::new();
    let (a_leg, b_leg) = world.legs('a', 'b');
    let (a, b) = (world.bound('a'), world.bound('b'));
    for (leg, may) in [(a_leg, (false, true)), (b_leg, (true, false))] {
        world.relay.set_direction(leg, may.0, may.1);
        world.send(a, send_frame('a', "tid1", "", "no"));
        assert_eq!(&*world.read_one(a).what, "403 Forbidden");
        let paths = paths('a');
        world.send(
            a,
            format!("MSRP rep1 REPORT\r\n{paths}Status: 000 200\r\n-------rep1$\r\n"),
        );
        assert_eq!(&*world.read_one(b).what, "REPORT");
        world.relay.set_direction(leg, true, true);
    }
    world.send(a, send_frame('a', "tid1", "", "yes"));
    assert_eq!(world.read(b).len(), 1);
}

#[test]
fn a_malformed_head_is_answered_with_400_and_ends_the_connection() {
    let mut world = World::new();
    let (a, b) = world.pair();
    let frame = send_frame('a', "tid1", "Byte-Range: nonsense\r\n", "x");
    let verdict = world.feed(a, frame.as_bytes());
    assert_eq!(verdict, Verdict::Close(DropReason::NotMsrp));
    assert_eq!(&*world.read_one(a).what, "400 Bad Request");
    assert!(world.raw(b).is_empty());
}

#[test]
fn content_without_a_type_is_refused_and_auth_is_unknown() {
    let mut world = World::new();
    let (a, b) = world.pair();
    let paths = paths('a');
    world.send(
        a,
        format!("MSRP tid1 SEND\r\n{paths}Message-ID: 1\r\n\r\nx\r\n-------tid1$\r\n"),
    );
    assert_eq!(&*world.read_one(a).what, "400 Bad Request");
    world.send(a, format!("MSRP tid2 AUTH\r\n{paths}-------tid2$\r\n"));
    assert_eq!(&*world.read_one(a).what, "501 Unknown Method");
    assert!(world.raw(b).is_empty());
}

#[test]
fn a_full_table_refuses_and_recovers() {
    let mut world = World::with_transactions(2);
    let (a, b) = world.pair();
    for id in ["tid1", "tid2", "tid3"] {
        world.send(a, send_frame('a', id, "", "x"));
    }
    let codes: Vec<_> = world.read(a).into_iter().map(|frame| frame.what).collect();
    assert_eq!(
        codes,
        [
            "200 OK".into(),
            "200 OK".into(),
            Box::<str>::from("408 Timeout")
        ]
    );
    assert_eq!(world.stats.full_transactions, 1);
    let sent = world.read(b);
    assert_eq!(sent.len(), 2);
    world.send(b, response(&sent[0], "200 OK"));
    world.send(a, send_frame('a', "tid4", "", "x"));
    assert_eq!(&*world.read_one(a).what, "200 OK");
}

#[test]
fn a_response_nobody_waits_for_or_of_another_connection_is_ignored() {
    let mut world = World::new();
    let (a, b) = world.pair();
    world.send(a, send_frame('a', "tid1", "", "x"));
    let sent = world.read_one(b);
    world.raw(a);
    world.send(a, response(&sent, "481 Forged"));
    assert_eq!(world.counts(), (0, 0, 1));
    let mut forged = sent.clone();
    forged.id = "0000000000000000v".into();
    world.send(b, response(&forged, "481 Forged"));
    assert!(world.raw(a).is_empty());
    assert_eq!(world.counts(), (0, 0, 1));
}

#[test]
fn a_source_that_waits_goes_on_when_its_own_leg_or_the_far_one_is_removed() {
    for own in [true, false] {
        let mut world = World::new();
        let (a_leg, b_leg) = world.legs('a', 'b');
        let a = world.bound('a');
        world.send(a, send_frame('a', "tid1", "", "x"));
        assert!(world.is_blocked(a));
        world.relay.remove_leg(if own { a_leg } else { b_leg });
        assert!(world.relay.poll_timeout().unwrap() <= world.now);
        world.pass(Duration::ZERO);
        assert!(!world.is_blocked(a));
        assert_eq!(&*world.read_one(a).what, "481 No Such Session");
    }
}

#[test]
fn a_source_that_is_not_stopped_is_closed_at_the_limit() {
    let mut world = World::new();
    world.legs('a', 'b');
    let a = world.bound('a');
    world.send(a, send_head('a', "tid1", ""));
    let piece = vec![b'x'; 16 * 1024];
    let verdict = (0..20).map(|_| world.feed(a, &piece)).last().unwrap();
    assert_eq!(verdict, Verdict::Close(DropReason::PoolFull));
    world.close(a);
    assert_eq!(world.relay.waiting_octets, 0);
}

#[test]
fn what_breaks_while_another_connection_is_read_is_closed_later() {
    let mut world = World::new();
    world.legs('a', 'b');
    let a = world.bound('a');
    let good = send_frame('a', "tid1", "", "x");
    world.send(a, format!("{good}nonsense"));
    let b = world.relay.accept(world.now).unwrap();
    world.send(b, bind('b'));
    assert_eq!(world.read(b).len(), 2);
    assert!(world.relay.poll_timeout().unwrap() <= world.now);
    assert_eq!(world.relay.expired(world.now), Some(a));
    assert_eq!(world.relay.expired(world.now), None);
    world.close(a);
    let leg = world.relay.bound_leg(b).unwrap();
    assert_eq!(world.relay.connection_of(leg), Some(b));
}
