use std::net::SocketAddr;

use crate::api::{
    Act, Direction, Event, LegSpec, MsrpSetup, Outcome, Remote, Side, StreamId, StreamSet,
};
use crate::frame::Class;
use crate::limits::{STREAM_FRAME_BYTES, STREAM_QUEUE_HIGH_BYTES};
use crate::net::SocketId;
use crate::stats::DropReason;

use super::fake::{LOCAL, World, address, config, locals, open, release};

const A: &str = "192.0.2.1:7000";
const B: &str = "192.0.2.2:8000";

fn connect(side: Side, remote: &str, setup: MsrpSetup) -> Act {
    Act::Connect {
        stream: StreamId(0),
        side,
        remote: Remote::Bytes {
            address: address(remote),
            setup,
        },
        direction: Direction::BOTH,
    }
}

fn world() -> (World, [SocketAddr; 2]) {
    let mut world = World::new(&config(10_000, 10_099));
    let spec = LegSpec::Bytes {
        local_ip: LOCAL.parse().unwrap(),
    };
    let opened = world.order(1, vec![open(0, &spec)]);
    let [a, b] = locals(&opened.acts[0]);
    (world, [a.0, b.0])
}

/// Side A has connected and the relay has connected to side B.
fn joined() -> (World, SocketId, SocketId) {
    let (mut world, [listen_a, _]) = world();
    let acts = vec![
        connect(Side::A, A, MsrpSetup::Passive),
        connect(Side::B, B, MsrpSetup::Active),
    ];
    assert_eq!(world.order(1, acts).outcome, Outcome::Done);
    let b = connecting(&world);
    let a = world.net.borrow_mut().accept(listen_a, address(A));
    world.net.borrow_mut().made(b, true);
    world.cycle();
    (world, a, b)
}

fn connecting(world: &World) -> SocketId {
    let net = world.net.borrow();
    let found = net.sockets.iter().find(|(_, sock)| sock.remote.is_some());
    SocketId(*found.unwrap().0)
}

fn written(world: &World, socket: SocketId) -> Vec<u8> {
    world.net.borrow().sockets[&socket.0].written.clone()
}

fn lost(world: &mut World) -> Vec<Side> {
    let news = world.news.drain(..).map(|event| match event {
        Event::ConnectionLost { side, .. } => side,
        other => panic!("{other:?}"),
    });
    news.collect()
}

#[test]
fn bytes_pass_both_ways_unchanged() {
    let (mut world, a, b) = joined();
    world.net.borrow_mut().feed(a, b"hello");
    world.net.borrow_mut().feed(b, b"good day");
    world.cycle();
    assert_eq!(written(&world, b), b"hello");
    assert_eq!(written(&world, a), b"good day");
    assert_eq!(world.worker.pool.free(Class::Stream), 256);
}

#[test]
fn what_came_before_the_other_side_was_there_goes_first() {
    let (mut world, [listen_a, listen_b]) = world();
    let a = world.net.borrow_mut().accept(listen_a, address(A));
    world.net.borrow_mut().feed(a, b"first ");
    world.net.borrow_mut().feed(a, b"second");
    world.cycle();
    // One read may have been on its way when reading stopped.
    let was = std::mem::take(&mut world.net.borrow_mut().sockets.get_mut(&a.0).unwrap().paused);
    assert!(was);
    world.cycle();
    world.net.borrow_mut().sockets.get_mut(&a.0).unwrap().paused = true;
    let b = world.net.borrow_mut().accept(listen_b, address(B));
    world.cycle();
    world.cycle();
    assert_eq!(written(&world, b), b"first second");
    assert_eq!(world.worker.pool.free(Class::Stream), 256);
}

#[test]
fn a_slow_reader_stops_its_source_and_memory_stays_bounded() {
    let (mut world, a, b) = joined();
    world.net.borrow_mut().sockets.get_mut(&b.0).unwrap().window = 0;
    let total = 4 * 1024 * 1024;
    let piece = vec![7; STREAM_FRAME_BYTES];
    for _ in 0..total / STREAM_FRAME_BYTES {
        world.net.borrow_mut().feed(a, &piece);
    }
    for _ in 0..100 {
        world.cycle();
    }
    assert!(world.net.borrow().sockets[&a.0].paused);
    let most = STREAM_QUEUE_HIGH_BYTES + 2 * STREAM_FRAME_BYTES;
    assert!(written(&world, b).len() <= most);
    for _ in 0..10_000 {
        world.net.borrow_mut().open_window(b, 50_000);
        world.cycle();
        assert!(world.net.borrow().sockets[&b.0].queue <= most);
    }
    assert_eq!(written(&world, b).len(), total);
}

#[test]
fn only_who_the_sdp_names_may_connect_and_only_once() {
    let (mut world, [listen_a, _]) = world();
    world.order(1, vec![connect(Side::A, A, MsrpSetup::Passive)]);
    let before = world.net.borrow().sockets.len();
    world
        .net
        .borrow_mut()
        .accept(listen_a, address("203.0.113.9:7000"));
    world.cycle();
    assert_eq!(world.net.borrow().sockets.len(), before);
    assert_eq!(world.dropped(DropReason::Source), 1);
    world
        .net
        .borrow_mut()
        .accept(listen_a, address("192.0.2.1:9999"));
    world
        .net
        .borrow_mut()
        .accept(listen_a, address("192.0.2.1:9998"));
    world.cycle();
    assert_eq!(world.net.borrow().sockets.len(), before + 1);
}

#[test]
fn a_stranger_who_came_first_goes_when_the_far_end_is_named() {
    let (mut world, [listen_a, _]) = world();
    let stranger = world
        .net
        .borrow_mut()
        .accept(listen_a, address("203.0.113.9:1"));
    world.cycle();
    world.order(1, vec![connect(Side::A, A, MsrpSetup::Passive)]);
    assert!(!world.net.borrow().sockets.contains_key(&stranger.0));
    let client = world.net.borrow_mut().accept(listen_a, address(A));
    world.cycle();
    assert!(world.net.borrow().sockets.contains_key(&client.0));
}

#[test]
fn the_relay_connects_to_who_is_named_whoever_connected_before() {
    let (mut world, [listen_a, _]) = world();
    let stranger = world
        .net
        .borrow_mut()
        .accept(listen_a, address("203.0.113.9:1"));
    world.cycle();
    world.order(1, vec![connect(Side::A, A, MsrpSetup::Active)]);
    assert!(!world.net.borrow().sockets.contains_key(&stranger.0));
    let made = connecting(&world);
    let remote = world.net.borrow().sockets[&made.0].remote;
    assert_eq!(remote, Some(address(A)));
    assert_eq!(lost(&mut world), []);
}

#[test]
fn an_end_of_one_side_reaches_the_other_after_what_was_sent() {
    let (mut world, a, b) = joined();
    world.net.borrow_mut().sockets.get_mut(&b.0).unwrap().window = 0;
    world.net.borrow_mut().feed(a, b"the last words");
    world.cycle();
    world.net.borrow_mut().made(a, false);
    world.pass(300);
    assert!(
        world.net.borrow().sockets.contains_key(&b.0),
        "not written yet"
    );
    assert_eq!(lost(&mut world), []);
    world.net.borrow_mut().open_window(b, 1000);
    world.pass(300);
    assert!(!world.net.borrow().sockets.contains_key(&b.0));
    assert_eq!(lost(&mut world), [Side::A]);
}

#[test]
fn a_connection_that_can_not_be_made_is_told() {
    let (mut world, _) = world();
    world.order(1, vec![connect(Side::B, B, MsrpSetup::Active)]);
    let b = connecting(&world);
    world.net.borrow_mut().made(b, false);
    world.cycle();
    assert_eq!(lost(&mut world), [Side::B]);
    world.order(1, vec![connect(Side::B, B, MsrpSetup::Active)]);
    assert_ne!(connecting(&world), b, "a new order tries again");
}

#[test]
fn a_release_waits_for_the_queue_and_not_longer_than_it_may() {
    for drains in [true, false] {
        let (mut world, a, b) = joined();
        world.net.borrow_mut().sockets.get_mut(&b.0).unwrap().window = 0;
        world.net.borrow_mut().feed(a, b"on its way");
        world.cycle();
        world.send(1, vec![release(StreamSet::ALL, 1000)]);
        world.net.borrow_mut().feed(a, b"too late");
        world.pass(500);
        assert!(world.done().is_empty());
        assert!(
            world.worker.sessions.is_empty(),
            "the session is over at once"
        );
        if drains {
            world.net.borrow_mut().open_window(b, 1000);
            assert_eq!(written(&world, b), b"on its way");
        }
        world.pass(if drains { 50 } else { 520 });
        let released = world.done().pop().unwrap();
        assert_eq!(released.returned.len(), 1);
        let Act::Release { facts, .. } = &released.acts[0] else {
            panic!()
        };
        assert_eq!(facts[0].legs[0].bytes, 10);
        world.cycle();
        assert_eq!(world.net.borrow().sockets.len(), 1, "the listener for MSRP");
        assert_eq!(world.worker.pool.free(Class::Stream), 256);
    }
}

#[test]
fn an_end_of_one_direction_passes_and_the_other_one_goes_on() {
    let (mut world, a, b) = joined();
    world.net.borrow_mut().far_ends_linger = true;
    world.net.borrow_mut().feed(a, b"the question");
    world.cycle();
    world.net.borrow_mut().end(a);
    world.cycle();
    assert!(world.net.borrow().sockets[&b.0].ended, "B is told of it");
    assert_eq!(written(&world, b), b"the question");
    world.pass(60_000);
    world.net.borrow_mut().feed(b, b"the answer");
    world.cycle();
    assert_eq!(written(&world, a), b"the answer");
    assert_eq!(lost(&mut world), []);
    // Both halves of B's have ended; A's ends once it is written.
    world.net.borrow_mut().sockets.get_mut(&a.0).unwrap().window = 0;
    world.net.borrow_mut().feed(b, b"and that's it");
    world.cycle();
    world.net.borrow_mut().made(b, false);
    world.cycle();
    assert_eq!(lost(&mut world), [Side::A], "who ended first");
    assert!(!world.net.borrow().sockets[&a.0].ended);
    world.net.borrow_mut().open_window(a, 1000);
    world.pass(200);
    assert!(world.net.borrow().sockets[&a.0].ended);
}

#[test]
fn an_end_before_the_other_side_is_there_passes_after_what_was_sent() {
    let (mut world, [listen_a, listen_b]) = world();
    world.net.borrow_mut().far_ends_linger = true;
    let a = world.net.borrow_mut().accept(listen_a, address(A));
    world.net.borrow_mut().feed(a, b"all of it");
    world.cycle();
    // One read may have been on its way when reading stopped.
    world.net.borrow_mut().sockets.get_mut(&a.0).unwrap().paused = false;
    world.cycle();
    world.net.borrow_mut().end(a);
    world.pass(1000);
    assert_eq!(lost(&mut world), []);
    let b = world.net.borrow_mut().accept(listen_b, address(B));
    world.cycle();
    world.cycle();
    assert_eq!(written(&world, b), b"all of it");
    assert!(world.net.borrow().sockets[&b.0].ended);
    assert!(!world.net.borrow().sockets[&a.0].ended);
}

#[test]
fn a_sink_whose_direction_ended_is_not_read_while_its_own_sink_is_full() {
    let (mut world, a, b) = joined();
    world.net.borrow_mut().far_ends_linger = true;
    world.net.borrow_mut().sockets.get_mut(&a.0).unwrap().window = 0;
    for _ in 0..STREAM_QUEUE_HIGH_BYTES / STREAM_FRAME_BYTES + 2 {
        world.net.borrow_mut().feed(b, &[7; STREAM_FRAME_BYTES]);
        world.cycle();
    }
    assert!(world.net.borrow().sockets[&b.0].paused);
    world.net.borrow_mut().end(a);
    world.cycle();
    assert!(world.net.borrow().sockets[&b.0].ended);
    assert!(world.net.borrow().sockets[&b.0].paused);
}
