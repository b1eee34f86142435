//! What crosses the relay, and how.

use std::time::Duration;

use super::{World, bind, ours, paths, response, send_frame, send_head, theirs};
use crate::proto::msrp::{Leg, Verdict};

#[test]
fn a_send_crosses_with_new_paths_and_a_new_id_and_is_answered_here() {
    let mut world = World::new();
    let (a, b) = world.pair();
    let headers = "byte-range: 1-5/5\r\nX-Odd:  spelled so\r\nSuccess-Report: yes\r\n";
    world.send(a, send_frame('a', "tid1", headers, "hello"));
    let sent = world.read_one(b);
    assert_eq!(&*sent.what, "SEND");
    assert_ne!(&*sent.id, "tid1");
    assert!(sent.id.len() >= 13, "at least 64 random bits: {}", sent.id);
    let expected = [
        ("To-Path", &*theirs('b')),
        ("From-Path", &*ours('b')),
        ("Message-ID", "m-tid1"),
        ("byte-range", "1-5/5"),
        ("X-Odd", " spelled so"),
        ("Success-Report", "yes"),
        ("Content-Type", "text/plain"),
    ];
    let found: Vec<(&str, &str)> = sent.headers.iter().map(|(n, v)| (&**n, &**v)).collect();
    assert_eq!(found, expected);
    assert_eq!(sent.body.as_deref(), Some(&b"hello"[..]));
    assert_eq!(sent.flag, '$');
    let answer = world.read_one(a);
    assert_eq!((&*answer.id, &*answer.what), ("tid1", "200 OK"));
    assert_eq!(answer.header("To-Path"), Some(&*theirs('a')));
    assert_eq!(answer.header("From-Path"), Some(&*ours('a')));
    assert_eq!(world.counts(), (0, 0, 1));
    world.send(b, response(&sent, "200 OK"));
    assert_eq!(world.counts(), (1, 0, 0));
    assert!(world.raw(a).is_empty());
}

#[test]
fn the_body_passes_before_its_end_has_come() {
    let mut world = World::new();
    let (a, b) = world.pair();
    world.send(a, send_head('a', "tid1", "Byte-Range: 1-*/8\r\n"));
    world.send(a, "half");
    assert!(world.raw(b).ends_with(b"\r\n\r\nhalf"));
    assert!(world.raw(a).is_empty(), "answered before its end");
    world.send(a, "half\r\n-------tid1+\r\n");
    assert!(world.raw(b).starts_with(b"half\r\n-------"));
    assert_eq!(&*world.read_one(a).what, "200 OK");
}

#[test]
fn every_flag_is_kept() {
    for flag in ['$', '+', '#'] {
        let mut world = World::new();
        let (a, b) = world.pair();
        let head = send_head('a', "tid1", "Byte-Range: 1-*/8\r\n");
        world.send(a, format!("{head}half\r\n-------tid1{flag}\r\n"));
        assert_eq!(world.read_one(b).flag, flag);
    }
}

#[test]
fn an_empty_body_crosses_and_no_body_does_not() {
    let mut world = World::new();
    let (a, b) = world.pair();
    world.send(a, send_frame('a', "tid1", "Byte-Range: 1-0/0\r\n", ""));
    assert_eq!(world.read_one(b).body.as_deref(), Some(&b""[..]));
    world.raw(a);
    world.send(a, bind('a'));
    assert_eq!(&*world.read_one(a).what, "200 OK");
    assert!(world.raw(b).is_empty());
}

#[test]
fn only_a_send_that_wants_it_is_answered() {
    for (mode, answers, open) in [("yes", 1, 1), ("partial", 0, 1), ("no", 0, 0)] {
        let mut world = World::new();
        let (a, b) = world.pair();
        let header = format!("Failure-Report: {mode}\r\n");
        world.send(a, send_frame('a', "tid1", &header, "x"));
        assert_eq!(world.read(b).len(), 1);
        assert_eq!(world.read(a).len(), answers, "{mode}");
        assert_eq!(world.stats.msrp_open, open, "{mode}");
        assert_eq!(world.stats.msrp_acknowledged, 1);
    }
}

#[test]
fn a_report_crosses_and_is_not_answered() {
    let mut world = World::new();
    let (a, b) = world.pair();
    let headers = "Message-ID: m-1\r\nByte-Range: 1-5/5\r\nStatus: 000 200 OK\r\n";
    let paths = paths('b');
    world.send(
        b,
        format!("MSRP rep1 REPORT\r\n{paths}{headers}-------rep1$\r\n"),
    );
    let report = world.read_one(a);
    assert_eq!(&*report.what, "REPORT");
    assert_eq!(report.header("To-Path"), Some(&*theirs('a')));
    assert_eq!(report.header("From-Path"), Some(&*ours('a')));
    assert_eq!(report.header("Status"), Some("000 200 OK"));
    assert!(world.raw(b).is_empty());
    world.send(a, response(&report, "481 Unknown"));
    assert!(world.raw(b).is_empty(), "a report's response went back");
}

#[test]
fn a_nickname_crosses_and_its_response_comes_back() {
    let mut world = World::new();
    let (a, b) = world.pair();
    for (id, method, code) in [
        ("nick", "NICKNAME", "425 Reserved"),
        ("odd1", "PROBE", "200 OK"),
    ] {
        let paths = paths('a');
        let frame = format!("MSRP {id} {method}\r\n{paths}Use-Nickname: \"A\"\r\n-------{id}$\r\n");
        world.send(a, frame);
        let request = world.read_one(b);
        assert_eq!(&*request.what, method);
        assert_eq!(request.header("Use-Nickname"), Some("\"A\""));
        assert!(world.raw(a).is_empty(), "answered here");
        world.send(b, response(&request, code));
        let answer = world.read_one(a);
        assert_eq!((&*answer.id, &*answer.what), (id, code));
        assert_eq!(answer.header("To-Path"), Some(&*theirs('a')));
    }
    assert_eq!(world.stats.msrp_acknowledged, 0);
}

#[test]
fn a_source_waits_for_the_far_leg_and_goes_on_once_it_is_bound() {
    let mut world = World::new();
    world.legs('a', 'b');
    let a = world.bound('a');
    assert!(!world.is_blocked(a));
    let two = [
        send_frame('a', "tid1", "", "one"),
        send_frame('a', "tid2", "", "two"),
    ]
    .concat();
    let (front, back) = two.split_at(90);
    world.send(a, front);
    world.send(a, back);
    assert!(world.is_blocked(a));
    assert!(
        world.raw(a).is_empty(),
        "answered though nothing was forwarded"
    );
    let b = world.relay.accept(world.now).unwrap();
    world.send(b, bind('b'));
    assert!(!world.is_blocked(a));
    let bodies: Vec<_> = world
        .read(b)
        .into_iter()
        .filter_map(|frame| frame.body)
        .collect();
    assert_eq!(bodies, [b"one", b"two"]);
    assert_eq!(world.read(a).len(), 2);
}

#[test]
fn the_active_side_binds_its_connection_with_a_bodiless_send() {
    let mut world = World::new();
    let (leg, _) = world.legs('a', 'b');
    let key = world
        .relay
        .connected(world.now, leg, &mut world.out)
        .unwrap();
    let binding = world.read_one(key);
    assert_eq!(&*binding.what, "SEND");
    assert_eq!(binding.header("To-Path"), Some(&*theirs('a')));
    assert_eq!(binding.header("From-Path"), Some(&*ours('a')));
    assert_eq!(binding.body, None);
    assert_eq!(world.relay.connection_of(leg), Some(key));
    assert_eq!(world.relay.bound_leg(key), Some(leg));
    world.send(key, response(&binding, "200 OK"));
    assert_eq!(world.stats.msrp_acknowledged, 0);
    let b = world.bound('b');
    world.send(b, send_frame('b', "tid1", "", "hello"));
    assert_eq!(world.read(key).len(), 1);
}

#[test]
fn a_full_sink_blocks_its_source_until_it_drains() {
    let mut world = World::new();
    let (a, b) = world.pair();
    world.out.full.push(b);
    assert!(world.is_blocked(a));
    assert!(!world.is_blocked(b), "its responses must still be read");
    world.out.full.clear();
    assert!(!world.is_blocked(a));
}

#[test]
fn who_does_not_read_its_responses_is_no_longer_read() {
    let mut world = World::new();
    let (a, _) = world.pair();
    world.out.full.push(a);
    let mut sent = 0;
    while !world.is_blocked(a) {
        world.send(a, bind('a'));
        sent += 1;
        assert!(sent < 1000, "never blocked");
    }
    world.out.full.clear();
    assert!(!world.is_blocked(a));
}

#[test]
fn another_uri_of_ours_is_used_where_the_far_end_was_told_it() {
    let mut world = World::new();
    let (a_leg, _) = world.legs('a', 'b');
    let told = "msrp://other.example:9/told-before;tcp";
    world.relay.set_remote(a_leg, &theirs('a'), Some(told));
    let b = world.bound('b');
    let a = world.relay.accept(world.now).unwrap();
    let from = theirs('a');
    let frame = format!(
        "MSRP bind1 SEND\r\nTo-Path: {told}\r\nFrom-Path: {from}\r\nMessage-ID: 1\r\n-------bind1$\r\n"
    );
    world.send(a, frame);
    assert_eq!(world.read_one(a).header("From-Path"), Some(told));
    world.send(b, send_frame('b', "tid1", "", "hello"));
    assert_eq!(world.read_one(a).header("From-Path"), Some(told));
}

#[test]
fn a_host_that_is_not_ours_is_taken_only_where_the_session_id_is_enough() {
    for (enough, code) in [(true, "200 OK"), (false, "481 No Such Session")] {
        let mut world = World::new();
        let path = ours('a');
        let leg = Leg {
            session_id: [b'a'; 32],
            local_path: &path,
            match_session_id_only: enough,
        };
        world.relay.add_leg(leg).unwrap();
        let key = world.relay.accept(world.now).unwrap();
        world.send(key, bind('a').replace("192.0.2.1:2855", "10.0.0.1:5"));
        assert_eq!(&*world.read_one(key).what, code);
    }
}

#[test]
fn an_unbound_connection_expires_and_a_bound_one_does_not() {
    let mut world = World::new();
    let (a, _) = world.pair();
    let idle = world.relay.accept(world.now).unwrap();
    world.pass(Duration::from_millis(29_999));
    assert_eq!(world.relay.expired(world.now), None);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.relay.expired(world.now), Some(idle));
    assert_eq!(world.relay.expired(world.now), None);
    assert!(world.close(idle).is_empty());
    let again = world.relay.accept(world.now).unwrap();
    assert_ne!(again, a);
}

#[test]
fn facts_count_what_came_from_a_leg() {
    let mut world = World::new();
    let (a, b) = world.pair();
    let leg = world.relay.bound_leg(a).unwrap();
    let frame = send_frame('a', "tid1", "", "hello");
    world.send(a, &frame);
    let sent = world.read_one(b);
    world.send(b, response(&sent, "200 OK"));
    let facts = world.relay.facts(leg);
    assert_eq!((facts.frames, facts.dropped), (2, 0));
    let least = (bind('a').len() + frame.len() - 60) as u64;
    assert!(facts.bytes >= least, "{facts:?}, {least}");
    assert_eq!((facts.sends, facts.messages, facts.reports), (1, 1, 0));
    let far = world.relay.facts(world.relay.bound_leg(b).unwrap());
    assert_eq!((far.responses[0], far.failures()), (1, 0));
}

#[test]
fn what_is_no_msrp_closes_the_connection() {
    let mut world = World::new();
    let (a, _) = world.pair();
    assert!(matches!(
        world.feed(a, b"GET / HTTP/1.1\r\n"),
        Verdict::Close(_)
    ));
}

#[test]
fn a_keep_alive_is_answered_only_where_all_responses_are_wanted() {
    for (mode, answers) in [("yes", 1), ("partial", 0), ("no", 0)] {
        let mut world = World::new();
        let (a, _) = world.pair();
        let header = format!("Failure-Report: {mode}\r\n-------");
        world.send(a, bind('a').replacen("-------", &header, 1));
        assert_eq!(world.read(a).len(), answers, "{mode}");
    }
}
