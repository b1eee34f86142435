use std::net::SocketAddr;

use crate::api::{
    Act, Direction, Event, LegLocal, LegSpec, MsrpRemote, MsrpSetup, MsrpSpec, Outcome, Refusal,
    Remote, Side, StreamId, StreamSet,
};
use crate::frame::Class;
use crate::net::SocketId;

use super::fake::{LOCAL, World, address, config, open, release};

const A: &str = "192.0.2.1:7000";
pub(super) const A_PATH: &str = "msrp://192.0.2.1:7000/aaaa;tcp";
const B: &str = "192.0.2.2:8000";
pub(super) const B_PATH: &str = "msrp://192.0.2.2:8000/bbbb;tcp";

pub(super) struct Chat {
    pub(super) world: World,
    /// The relay's URI, per side.
    pub(super) path: [Vec<u8>; 2],
    pub(super) a: SocketId,
    pub(super) b: SocketId,
}

pub(super) fn spec(local_ip: &str) -> LegSpec {
    LegSpec::Msrp(MsrpSpec::plain(local_ip.parse().unwrap()))
}

fn connect(side: Side, path: &str, at: &str, setup: MsrpSetup) -> Act {
    Act::Connect {
        stream: StreamId(0),
        side,
        remote: Remote::Msrp(MsrpRemote {
            path: path.into(),
            address: address(at),
            setup,
            fingerprint: None,
            local_path: None,
        }),
        direction: Direction::BOTH,
    }
}

pub(super) fn listen() -> SocketAddr {
    address("10.0.0.1:2855")
}

/// A has connected and bound its leg; the relay has connected to B.
pub(super) fn chat() -> Chat {
    let world = World::new(&config(10_000, 10_099));
    chat_of(world, vec![open(0, &spec(LOCAL))])
}

/// The same in a world, with streams as they are opened, of which the first is the chat's.
pub(super) fn chat_of(mut world: World, opens: Vec<Act>) -> Chat {
    let opened = world.order(1, opens);
    let Act::Open(plan) = &opened.acts[0] else {
        panic!()
    };
    let path = plan.local.each_ref().map(|local| {
        let LegLocal::Msrp(local) = local else {
            panic!("{local:?}")
        };
        assert_eq!(local.listen, listen());
        [
            b"msrp://10.0.0.1:2855/",
            local.session_id.as_slice(),
            b";tcp",
        ]
        .concat()
    });
    let acts = vec![
        connect(Side::A, A_PATH, A, MsrpSetup::Passive),
        connect(Side::B, B_PATH, B, MsrpSetup::Active),
    ];
    assert_eq!(world.order(1, acts).outcome, Outcome::Done);
    let b = {
        let net = world.net.borrow();
        let found = net.sockets.iter().find(|(_, sock)| sock.remote.is_some());
        SocketId(*found.unwrap().0)
    };
    let a = world.net.borrow_mut().accept(listen(), address(A));
    world.net.borrow_mut().made(b, true);
    world.cycle();
    let mut chat = Chat { world, path, a, b };
    let bind = chat.send_from_a("bind0001", None);
    chat.feed(chat.a, &bind);
    chat
}

impl Chat {
    pub(super) fn send_from_a(&self, id: &str, body: Option<&str>) -> Vec<u8> {
        let to = str::from_utf8(&self.path[0]).unwrap();
        let mut frame = format!(
            "MSRP {id} SEND\r\nTo-Path: {to}\r\nFrom-Path: {A_PATH}\r\nMessage-ID: m{id}\r\n"
        );
        if let Some(body) = body {
            let len = body.len();
            frame +=
                &format!("Byte-Range: 1-{len}/{len}\r\nContent-Type: text/plain\r\n\r\n{body}\r\n");
        }
        frame += &format!("-------{id}$\r\n");
        frame.into_bytes()
    }

    pub(super) fn feed(&mut self, socket: SocketId, bytes: &[u8]) {
        self.world.net.borrow_mut().feed(socket, bytes);
        self.world.cycle();
        self.world.cycle();
    }

    /// What the worker wrote to a connection since this was asked last.
    pub(super) fn written(&self, socket: SocketId) -> std::borrow::Cow<'static, str> {
        let mut net = self.world.net.borrow_mut();
        let sock = net.sockets.get_mut(&socket.0).unwrap();
        let bytes = std::mem::take(&mut sock.written);
        str::from_utf8(&bytes).unwrap().to_owned().into()
    }
}

#[test]
fn a_message_passes_and_both_ends_hear_what_they_are_owed() {
    let mut chat = chat();
    let (a, b) = (chat.a, chat.b);
    let bound = chat.written(b);
    assert!(
        bound.starts_with("MSRP ") && bound.contains(B_PATH),
        "{bound}"
    );
    assert!(chat.written(a).starts_with("MSRP bind0001 200"));

    let frame = chat.send_from_a("abcd1234", Some("hello"));
    // Cut in two on the way.
    chat.feed(a, &frame[..40]);
    chat.feed(a, &frame[40..]);
    let passed = chat.written(b);
    assert!(passed.contains("\r\n\r\nhello\r\n-------"), "{passed}");
    assert!(passed.contains("Message-ID: mabcd1234"), "{passed}");
    assert!(
        !passed.contains("MSRP abcd1234"),
        "a new transaction: {passed}"
    );
    let from = str::from_utf8(&chat.path[1]).unwrap();
    assert!(passed.contains(&format!("To-Path: {B_PATH}\r\nFrom-Path: {from}\r\n")));
    assert!(chat.written(a).starts_with("MSRP abcd1234 200"));
    assert_eq!(chat.world.worker.pool.free(Class::Stream), 256);
}

#[test]
fn a_lost_connection_is_told_for_its_side() {
    for loser in [Side::A, Side::B] {
        let mut chat = chat();
        let socket = [chat.a, chat.b][loser.index()];
        chat.world.net.borrow_mut().made(socket, false);
        chat.world.cycle();
        let news: Vec<_> = chat.world.news.drain(..).collect();
        assert!(
            matches!(news[..], [Event::ConnectionLost { side, .. }] if side == loser),
            "{news:?}"
        );
        assert!(!chat.world.net.borrow().sockets.contains_key(&socket.0));
    }
}

#[test]
fn a_release_closes_both_connections_and_tells_nothing() {
    let mut chat = chat();
    let (a, frame) = (chat.a, chat.send_from_a("abcd1234", Some("hello")));
    chat.feed(a, &frame);
    let released = chat.world.order(1, vec![release(StreamSet::ALL, 0)]);
    let Act::Release { facts, .. } = &released.acts[0] else {
        panic!()
    };
    assert_eq!(
        facts[0].legs[0].packets, 2,
        "the binding SEND and the message"
    );
    assert_eq!(facts[0].legs[0].source, Some(address(A)));
    chat.world.cycle();
    assert_eq!(chat.world.net.borrow().sockets.len(), 1, "the listener");
    assert_eq!(chat.world.worker.stats.sockets, 1);
    chat.world.pass(500);
    assert!(chat.world.news.is_empty());
}

#[test]
fn a_slow_reader_stops_the_sender_until_it_has_read() {
    let mut chat = chat();
    let (a, b) = (chat.a, chat.b);
    chat.written(b);
    chat.world
        .net
        .borrow_mut()
        .sockets
        .get_mut(&b.0)
        .unwrap()
        .window = 0;
    let body = "x".repeat(14_000);
    for number in 0..40 {
        let frame = chat.send_from_a(&format!("abcd{number:04}"), Some(&body));
        chat.world.net.borrow_mut().feed(a, &frame);
    }
    for _ in 0..60 {
        chat.world.cycle();
    }
    assert!(chat.world.net.borrow().sockets[&a.0].paused);
    let queued = chat.world.net.borrow().sockets[&b.0].queue;
    assert!(queued < 200_000, "{queued} octets wait");
    for _ in 0..100 {
        chat.world.net.borrow_mut().open_window(b, 20_000);
        chat.world.cycle();
    }
    assert!(!chat.world.net.borrow().sockets[&a.0].paused);
    let all = chat.written(b);
    assert_eq!(all.matches("Byte-Range: 1-14000/14000").count(), 40);
}

#[test]
fn garbage_ends_its_connection_and_no_other() {
    let mut chat = chat();
    let stranger = chat
        .world
        .net
        .borrow_mut()
        .accept(listen(), address("203.0.113.9:1"));
    chat.world.cycle();
    chat.feed(stranger, b"GET / HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n");
    assert!(!chat.world.net.borrow().sockets.contains_key(&stranger.0));
    assert!(chat.world.net.borrow().sockets.contains_key(&chat.a.0));
    assert!(chat.world.news.is_empty());
}

#[test]
fn a_connection_that_binds_to_nothing_is_closed_in_the_end() {
    let mut chat = chat();
    let idle = chat
        .world
        .net
        .borrow_mut()
        .accept(listen(), address("203.0.113.9:1"));
    chat.world.pass(29_000);
    assert!(chat.world.net.borrow().sockets.contains_key(&idle.0));
    chat.world.pass(2000);
    assert!(!chat.world.net.borrow().sockets.contains_key(&idle.0));
    assert!(chat.world.net.borrow().sockets.contains_key(&chat.a.0));
}

#[test]
fn an_address_that_nobody_listens_on_is_refused() {
    let mut world = World::new(&config(10_000, 10_099));
    let elsewhere = LegSpec::Msrp(MsrpSpec::plain("10.0.0.2".parse().unwrap()));
    let refused = world.order(1, vec![open(0, &spec(LOCAL)), open(1, &elsewhere)]);
    assert_eq!(refused.outcome, Outcome::Refused(Refusal::Socket));
    assert!(world.worker.streams.is_empty());
}
