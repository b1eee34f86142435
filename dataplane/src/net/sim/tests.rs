//! The scenes that make sense without a kernel; see `net/tests.rs` for the others.

use std::net::SocketAddr;

use super::super::{Backend as _, RxBatch, RxItem, SocketId, SocketSpec, Token, TxBatch, TxItem};
use super::{Sim, SimHandle};
use crate::frame::{Class, Pool, PoolSize};
use crate::limits::{STREAM_QUEUE_HIGH_BYTES, STREAM_QUEUE_LOW_BYTES};

struct Rig {
    sim: Sim,
    world: SimHandle,
    pool: Pool,
    rx: RxBatch,
    tx: TxBatch,
}

impl Rig {
    fn new() -> Self {
        let (sim, world) = Sim::new();
        Self {
            sim,
            world,
            pool: Pool::new(PoolSize {
                datagrams: 8,
                streams: 64,
            }),
            rx: RxBatch::default(),
            tx: TxBatch::default(),
        }
    }

    fn open(&mut self, spec: &SocketSpec) -> (SocketId, SocketAddr) {
        self.sim.open(spec, Token(7)).unwrap()
    }

    fn receive(&mut self) -> Vec<RxItem> {
        self.sim.receive(&mut self.rx, &mut self.pool);
        std::mem::take(&mut self.rx.items)
    }

    fn write(&mut self, socket: SocketId, bytes: &[u8]) {
        let mut frame = self.pool.take(Class::Stream).unwrap();
        self.pool.append(&mut frame, bytes);
        self.tx.items.push(TxItem::Bytes { socket, frame });
        self.sim.send(&mut self.tx, &mut self.pool);
    }

    /// A connection that the world dialled and the worker adopted.
    fn pair(&mut self) -> (SocketId, super::Connection) {
        let (_, at) = self.open(&LISTEN);
        let far = self.world.dial(peer(), at).unwrap();
        let items = self.receive();
        let [
            RxItem::Accepted {
                socket, peer: p, ..
            },
        ] = items[..]
        else {
            panic!("{items:?}")
        };
        assert_eq!(p, peer());
        self.sim.adopt(socket, Token(8));
        (socket, far)
    }
}

const LOCAL: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    0,
);
const LISTEN: SocketSpec = SocketSpec::Listen { local: LOCAL };
const DATAGRAM: SocketSpec = SocketSpec::Datagram { local: LOCAL };

fn peer() -> SocketAddr {
    "198.51.100.1:4000".parse().unwrap()
}

#[test]
fn datagrams_go_both_ways_and_a_taken_port_says_so() {
    let mut rig = Rig::new();
    let (socket, at) = rig.open(&DATAGRAM);
    let again = rig.sim.open(&SocketSpec::Datagram { local: at }, Token(0));
    assert_eq!(again.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    assert!(rig.world.datagram(peer(), at, b"in"));
    assert!(rig.world.datagram(peer(), at, &[0; 1985]));
    assert!(!rig.world.datagram(peer(), peer(), b"to nobody"));
    let frame = match rig.receive().pop() {
        Some(RxItem::Datagram {
            token, from, frame, ..
        }) => {
            assert_eq!((token, from), (Token(7), peer()));
            frame
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(rig.rx.truncated, 1);
    assert_eq!(rig.pool.bytes(&frame), b"in");
    let to = peer();
    rig.tx.items.push(TxItem::Datagram { socket, to, frame });
    rig.sim.send(&mut rig.tx, &mut rig.pool);
    let sent = rig.world.sent().unwrap();
    assert_eq!((sent.from, sent.to, &sent.bytes[..]), (at, to, &b"in"[..]));
    rig.sim.close(socket, &mut rig.pool);
    assert!(!rig.world.is_bound(at));
    assert_eq!(rig.world.open_sockets(), 0);
}

#[test]
fn datagrams_wait_for_a_frame_and_keep_their_order() {
    let mut rig = Rig::new();
    let (_, at) = rig.open(&DATAGRAM);
    for number in 0..12_u8 {
        rig.world.datagram(peer(), at, &[number]);
    }
    let first = rig.receive();
    assert_eq!((first.len(), rig.rx.starved), (8, 1));
    for item in first {
        if let RxItem::Datagram { frame, .. } = item {
            rig.pool.give(frame);
        }
    }
    let second = rig.receive();
    let Some(RxItem::Datagram { frame, .. }) = second.first() else {
        panic!("{second:?}")
    };
    assert_eq!((second.len(), rig.pool.bytes(frame)), (4, &[8][..]));
}

#[test]
fn a_connection_is_read_and_written_and_its_end_is_told_once() {
    let mut rig = Rig::new();
    let (near, far) = rig.pair();
    assert_eq!(rig.world.feed(far, b"MSRP"), 4);
    rig.world.hang_up(far);
    let items = rig.receive();
    assert!(
        matches!(
            items[..],
            [RxItem::Bytes {
                token: Token(8),
                ..
            }]
        ),
        "{items:?}"
    );
    rig.write(near, b"answer");
    assert_eq!(rig.world.read(far, 100), b"answer");
    let items = rig.receive();
    assert!(matches!(items[..], [RxItem::Ended { .. }]), "{items:?}");
    rig.write(near, b"more");
    assert_eq!(rig.world.read(far, 100), b"more");
    assert!(rig.receive().is_empty());
    assert!(!rig.world.is_closed(far));
    rig.sim.shutdown(near);
    assert!(rig.world.is_closed(far));
    let items = rig.receive();
    assert!(matches!(items[..], [RxItem::Closed { .. }]), "{items:?}");
    assert!(rig.receive().is_empty());
    rig.sim.close(near, &mut rig.pool);
}

#[test]
fn a_dialled_connection_is_answered_or_refused() {
    let mut rig = Rig::new();
    let local = LOCAL.ip();
    let remote = peer();
    let (good, _) = rig.open(&SocketSpec::Connect { local, remote });
    let (bad, _) = rig.open(&SocketSpec::Connect { local, remote });
    rig.write(good, b"early");
    let (first, second) = (rig.world.dialled().unwrap(), rig.world.dialled().unwrap());
    assert_eq!((first.remote, rig.world.dialled()), (remote, None));
    rig.world.answer(first.connection);
    rig.world.refuse(second.connection);
    let items = rig.receive();
    assert!(
        matches!(items[..], [RxItem::Connected { socket: a, .. }, RxItem::Closed { socket: b, .. }]
            if (a, b) == (good, bad)),
        "{items:?}"
    );
    assert_eq!(rig.world.read(first.connection, 100), b"early");
}

#[test]
fn a_full_window_holds_the_worker_back_and_draining_is_told_once() {
    let mut rig = Rig::new();
    let (near, far) = rig.pair();
    rig.world.set_window(far, 1_000);
    while rig.sim.queued(near) <= STREAM_QUEUE_HIGH_BYTES {
        rig.write(near, &[1; 16_000]);
    }
    let mut drained = 0;
    while rig.sim.queued(near) > 0 {
        assert!(!rig.world.read(far, 1_000).is_empty());
        let items = rig.receive();
        drained += items.len();
        if let [RxItem::Drained { socket, .. }] = items[..] {
            assert_eq!(socket, near);
            assert!(rig.sim.queued(near) < STREAM_QUEUE_LOW_BYTES);
        }
    }
    assert_eq!(drained, 1);
}

#[test]
fn a_paused_connection_is_not_read_and_holds_the_world_back() {
    let mut rig = Rig::new();
    let (near, far) = rig.pair();
    rig.sim.pause(near);
    assert_eq!(rig.world.feed(far, &[2; 100_000]), 64 * 1024);
    assert_eq!(rig.world.feed(far, b"more"), 0);
    assert!(rig.receive().is_empty());
    rig.sim.resume(near);
    assert_eq!(rig.receive().len(), 1);
    assert_eq!(rig.world.unread(far), 48 * 1024);
}

#[test]
fn nothing_of_a_closed_socket_reaches_its_successor() {
    let mut rig = Rig::new();
    let (old, at) = rig.open(&DATAGRAM);
    rig.world.datagram(peer(), at, b"late");
    rig.sim.close(old, &mut rig.pool);
    let (new, _) = rig.open(&SocketSpec::Datagram { local: at });
    assert_ne!(old, new);
    assert!(rig.receive().is_empty());
    let (listener, at) = rig.open(&LISTEN);
    let far = rig.world.dial(peer(), at).unwrap();
    rig.sim.close(listener, &mut rig.pool);
    assert!(rig.receive().is_empty());
    assert!(rig.world.is_closed(far));
    assert!(rig.world.dial(peer(), at).is_none());
}

#[test]
fn a_half_closed_connection_is_written_out_and_read_to_its_end() {
    let mut rig = Rig::new();
    let (near, far) = rig.pair();
    rig.world.set_window(far, 4);
    rig.write(near, b"last words");
    rig.sim.pause(near);
    rig.world.feed(far, b"unread");
    rig.sim.shutdown(near);
    rig.write(near, b"too late");
    let items = rig.receive();
    assert!(matches!(items[..], [RxItem::Bytes { .. }]), "{items:?}");
    assert!(!rig.world.is_closed(far), "not all is written");
    let mut heard = rig.world.read(far, 100);
    for _ in 0..3 {
        assert!(rig.receive().is_empty());
        heard.extend(rig.world.read(far, 100));
    }
    assert_eq!(heard, b"last words");
    assert!(rig.world.is_closed(far));
    rig.world.hang_up(far);
    let items = rig.receive();
    assert!(matches!(items[..], [RxItem::Closed { socket, .. }] if socket == near));
    rig.sim.shutdown(near);
    let items = rig.receive();
    assert!(matches!(items[..], [RxItem::Closed { socket, .. }] if socket == near));
}
