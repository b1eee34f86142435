//! What a far end may not ask for.

use std::time::Duration;

use super::{World, bind, response, send_frame, send_head};
use crate::api::{Chunking, MsrpBounds};
use crate::limits::{MSRP_SHARED_BYTES, STREAM_QUEUE_HIGH_BYTES};
use crate::stats::MSRP_CODES;

fn of_messages(message_octets: u64) -> MsrpBounds {
    MsrpBounds {
        message_octets,
        ..MsrpBounds::default()
    }
}

#[test]
fn a_message_that_says_it_is_too_long_is_refused() {
    for range in ["1-*/11", "1-11/*", "12-*/*"] {
        let mut world = World::new();
        let (a_leg, _) = world.legs('a', 'b');
        world.relay.set_bounds(a_leg, of_messages(10));
        let (a, b) = (world.bound('a'), world.bound('b'));
        world.send(
            a,
            send_frame('a', "tid1", &format!("Byte-Range: {range}\r\n"), "hello"),
        );
        assert_eq!(&*world.read_one(a).what, "413 Stop Sending", "{range}");
        assert!(world.raw(b).is_empty());
        world.send(
            a,
            send_frame('a', "tid2", "Byte-Range: 1-10/10\r\n", "0123456789"),
        );
        assert_eq!(&*world.read_one(a).what, "200 OK");
    }
}

#[test]
fn a_message_that_gets_too_long_is_stopped_in_flight() {
    let chunkings = [
        Chunking::AsTheyCome,
        Chunking::AtMost {
            octets: 4,
            exact: false,
        },
        Chunking::AtMost {
            octets: 4,
            exact: true,
        },
    ];
    for chunking in chunkings {
        let mut world = World::new();
        let (a_leg, b_leg) = world.legs('a', 'b');
        world.relay.set_bounds(a_leg, of_messages(10));
        world.relay.set_chunking(b_leg, chunking);
        let (a, b) = (world.bound('a'), world.bound('b'));
        world.send(a, send_head('a', "tid1", "Byte-Range: 1-*/*\r\n"));
        world.send(a, "0123456789");
        assert!(world.raw(a).is_empty());
        world.send(a, "x");
        assert_eq!(&*world.read_one(a).what, "413 Stop Sending");
        let read = world.read(b);
        assert_eq!(read.last().unwrap().flag, '#');
        let passed: usize = read
            .iter()
            .filter_map(|f| f.body.as_ref().map(Vec::len))
            .sum();
        assert!(passed <= 10);
        world.send(a, "y\r\n-------tid1#\r\n");
        world.send(a, send_frame('a', "tid1", "Byte-Range: 1-*/*\r\n", "again"));
        assert_eq!(
            &*world.read_one(a).what,
            "413 Stop Sending",
            "the same Message-ID"
        );
        assert!(world.raw(b).is_empty());
        assert_eq!(world.relay.waiting_octets, 0);
        let at = MSRP_CODES.iter().position(|code| *code == 413).unwrap();
        assert_eq!(world.stats.msrp_responses_out[at], 2);
    }
}

#[test]
fn a_far_end_that_is_ahead_of_its_rate_is_not_read() {
    let mut world = World::new();
    let (a_leg, _) = world.legs('a', 'b');
    let (a, b) = (world.bound('a'), world.bound('b'));
    let bounds = MsrpBounds {
        octets_per_s: 10_000,
        ..MsrpBounds::default()
    };
    world.relay.set_bounds(a_leg, bounds);
    let frame = send_frame('a', "tid1", "", &"x".repeat(4800));
    let mut sent = 0;
    for tenth in 0..100 {
        while !world.is_blocked(a) {
            world.send(a, &*frame);
            sent += frame.len();
            let passed = world.read_one(b);
            world.send(b, response(&passed, "200 OK"));
        }
        assert!(!world.is_blocked(b));
        let most = 10_000 + tenth * 1000 + 2 * frame.len();
        assert!(sent <= most, "{sent} after {tenth} tenths of a second");
        world.pass(Duration::from_millis(100));
    }
    assert!(sent >= 90_000, "{sent} in ten seconds");
}

#[test]
fn a_silent_connection_is_closed() {
    let mut world = World::new();
    let (a_leg, _) = world.legs('a', 'b');
    let bounds = MsrpBounds {
        idle_ms: 1000,
        ..MsrpBounds::default()
    };
    world.relay.set_bounds(a_leg, bounds);
    world.relay.sweep(world.now, 10);
    world.pass(Duration::from_secs(5));
    world.relay.sweep(world.now, 10);
    assert_eq!(world.relay.expired(world.now), None, "it isn't bound yet");
    let (a, _b) = (world.bound('a'), world.bound('b'));
    for _ in 0..5 {
        world.pass(Duration::from_millis(999));
        world.relay.sweep(world.now, 10);
        assert_eq!(world.relay.expired(world.now), None);
        world.send(a, bind('a'));
        world.raw(a);
    }
    world.pass(Duration::from_millis(1000));
    world.relay.sweep(world.now, 10);
    assert!(world.relay.poll_timeout().unwrap() <= world.now);
    assert_eq!(world.relay.expired(world.now), Some(a));
    assert_eq!(world.close(a), [a_leg]);
    world.pass(Duration::from_millis(5000));
    world.relay.sweep(world.now, 10);
    assert_eq!(world.relay.expired(world.now), None, "told twice");
    assert_eq!(world.stats.msrp_idle, 1);
}

#[test]
fn a_silent_session_leaves_a_shared_connection_to_the_others() {
    let mut world = World::new();
    let (a_leg, _) = world.legs('a', 'b');
    world.legs('c', 'd');
    let both = world.bound('a');
    world.send(both, bind('c'));
    world.raw(both);
    let d = world.bound('d');
    let bounds = MsrpBounds {
        idle_ms: 1000,
        ..MsrpBounds::default()
    };
    world.relay.set_bounds(a_leg, bounds);
    world.relay.sweep(world.now, 10);
    world.pass(Duration::from_millis(1000));
    world.relay.sweep(world.now, 10);
    assert_eq!(world.relay.expired(world.now), None);
    assert_eq!(world.relay.next_lost(), Some(a_leg));
    assert_eq!(world.relay.connection_of(a_leg), None);
    world.send(both, send_frame('c', "tid1", "", "on"));
    assert_eq!(world.read(d).len(), 1);
}

#[test]
fn a_full_sink_holds_up_the_sessions_beside_it_only_above_a_limit() {
    let mut world = World::with_transactions(1000);
    world.legs('a', 'b');
    world.legs('c', 'd');
    let both = world.bound('a');
    world.send(both, bind('c'));
    world.raw(both);
    let (b, d) = (world.bound('b'), world.bound('d'));
    world.raw(b);
    world.hold(b, 0);
    let body = "x".repeat(10_000);
    while world.out.waiting(b) <= STREAM_QUEUE_HIGH_BYTES as u64 {
        world.send(both, send_frame('a', "tid1", "", &body));
    }
    world.out.full.push(b);
    assert!(!world.is_blocked(both), "another session's frames may come");
    world.send(both, send_frame('c', "tid2", "", "beside"));
    assert_eq!(world.read(d).len(), 1);
    while !world.is_blocked(both) {
        world.send(both, send_frame('a', "tid1", "", &body));
    }
    let waiting = world.out.waiting(b);
    assert!(waiting <= MSRP_SHARED_BYTES + 11_000, "{waiting}");
    world.out.full.clear();
    assert!(!world.is_blocked(both));
}
