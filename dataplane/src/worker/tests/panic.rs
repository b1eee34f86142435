//! A worker that panics ends alone.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::api::{
    Act, BackendKind, Config, Doorbell, Learn, LegSpec, Outcome, Record, RecordPart, SessionId,
    StreamSet,
};
use crate::frame::Pool;
use crate::net::mmsg::Mmsg;
use crate::net::uring::Uring;
use crate::net::{Backend, RxBatch, RxItem, SocketId, SocketSpec, Token, TxBatch};
use crate::worker::start::{Birth, start_with};
use crate::worker::{Handle, start_one};

use super::fake::{locals, open, order, release};
use super::start::{client, real, wait_for};

/// Real sockets, and a panic at the datagram that is one octet long.
pub struct Brittle<B>(pub B);

impl<B: Backend> Backend for Brittle<B> {
    fn open(&mut self, spec: &SocketSpec, token: Token) -> io::Result<(SocketId, SocketAddr)> {
        self.0.open(spec, token)
    }

    fn adopt(&mut self, socket: SocketId, token: Token) {
        self.0.adopt(socket, token);
    }

    fn set_token(&mut self, socket: SocketId, token: Token) {
        self.0.set_token(socket, token);
    }

    fn shutdown(&mut self, socket: SocketId) {
        self.0.shutdown(socket);
    }

    fn close(&mut self, socket: SocketId, pool: &mut Pool) {
        self.0.close(socket, pool);
    }

    fn pause(&mut self, socket: SocketId) {
        self.0.pause(socket);
    }

    fn resume(&mut self, socket: SocketId) {
        self.0.resume(socket);
    }

    fn queued(&self, socket: SocketId) -> usize {
        self.0.queued(socket)
    }

    fn tie(&mut self, socket: SocketId, far: Option<SocketAddr>) {
        self.0.tie(socket, far);
    }

    fn receive(&mut self, rx: &mut RxBatch, pool: &mut Pool) -> usize {
        let count = self.0.receive(rx, pool);
        for item in &rx.items {
            if let RxItem::Datagram { frame, .. } = item {
                assert_ne!(frame.len(), 1, "this panic is wanted");
            }
        }
        count
    }

    fn send(&mut self, tx: &mut TxBatch, pool: &mut Pool) -> usize {
        self.0.send(tx, pool)
    }

    fn wait(&mut self, at_most: Duration) -> io::Result<()> {
        self.0.wait(at_most)
    }
}

#[test]
fn what_a_worker_recorded_is_there_when_it_has_panicked() {
    let bell = Doorbell::new().unwrap();
    let config = Config {
        port_first: 46_400,
        port_last: 46_599,
        ..real(BackendKind::Epoll)
    };
    let mut brittle = start_with(&config, 0, &bell, live_over_epoll).unwrap();
    let spec = LegSpec::Rtp {
        local_ip: "127.0.0.1".parse().unwrap(),
        rtcp_mux: true,
        learn: Learn::Never,
    };
    for session in [1, 2] {
        let mut act = open(0, &spec);
        if let Act::Open(plan) = &mut act {
            plan.record = true;
        }
        brittle.link.order(order(session, vec![act])).unwrap();
        wait_for(&mut brittle);
    }
    let acts = vec![release(StreamSet::ALL, 0)];
    brittle.link.order(order(1, acts)).unwrap();
    wait_for(&mut brittle);
    let was_at = opened(&mut brittle, 3);
    client().0.send_to(b"!", was_at).unwrap();
    while !brittle.link.is_abandoned() {
        std::thread::yield_now();
    }
    let closed = Record {
        session: SessionId(1),
        part: RecordPart::Closed,
    };
    assert_eq!(brittle.link.record(), Some(closed));
    assert_eq!(brittle.link.record(), None, "the others never ended");
    assert!(brittle.thread.join().is_err());
}

fn live_over_epoll(birth: Birth) {
    let backend = Brittle(Mmsg::new(birth.bell()).unwrap());
    let pool = Pool::new(birth.config.pool);
    birth.run(backend, pool, BackendKind::Epoll);
}

fn live_over_uring(birth: Birth) {
    let mut pool = Pool::new(birth.config.pool);
    let backend = Brittle(Uring::new(birth.bell(), &mut pool).unwrap());
    birth.run(backend, pool, BackendKind::Uring);
}

/// Opens a stream and says where its A side is bound.
fn opened(handle: &mut Handle, session: u64) -> SocketAddr {
    let spec = LegSpec::Rtp {
        local_ip: "127.0.0.1".parse().unwrap(),
        rtcp_mux: true,
        learn: Learn::Never,
    };
    let acts = vec![open(0, &spec)];
    handle.link.order(order(session, acts)).unwrap();
    let done = wait_for(handle);
    assert_eq!(done.outcome, Outcome::Done);
    locals(&done.acts[0])[0].0
}

fn a_worker_ends_alone(live: fn(Birth), backend: BackendKind, port_first: u16) {
    let bell = Doorbell::new().unwrap();
    let config = Config {
        // No other test has these.
        port_first,
        port_last: port_first + 199,
        ..real(backend)
    };
    let mut brittle = start_with(&config, 0, &bell, live).unwrap();
    let mut sound = start_one(&config, 1, &bell).unwrap();
    let was_at = opened(&mut brittle, 1);
    assert!(!brittle.link.is_abandoned());

    let (peer, _) = client();
    peer.send_to(b"!", was_at).unwrap();
    let mut sleeper = Mmsg::new(bell.as_raw_fd()).unwrap();
    bell.about_to_sleep();
    while !brittle.link.is_abandoned() {
        // An hour: control that is not woken hangs here.
        sleeper.wait(Duration::from_secs(3600)).unwrap();
        bell.awake();
        bell.about_to_sleep();
    }
    bell.awake();
    assert!(brittle.thread.join().is_err(), "it ended by a panic");
    opened(&mut sound, 1);
    assert!(!sound.link.is_abandoned());

    let mut heir = start_one(&config, 0, &bell).unwrap();
    assert_eq!(opened(&mut heir, 1), was_at, "its sockets were closed");
    for Handle { link, thread, .. } in [sound, heir] {
        drop(link);
        thread.join().unwrap();
    }
}

#[test]
fn a_worker_that_panics_ends_alone_and_another_takes_its_place() {
    a_worker_ends_alone(live_over_epoll, BackendKind::Epoll, 46_000);
}

#[test]
fn a_worker_that_panics_over_io_uring_leaves_its_ports_to_another() {
    match Uring::probe() {
        Ok(()) => a_worker_ends_alone(live_over_uring, BackendKind::Uring, 46_200),
        Err(error) => println!("SKIPPED: this kernel has no io_uring for us: {error}"),
    }
}
