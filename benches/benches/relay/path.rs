//! The packet path: alone, and in a worker's cycle over sockets in memory.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use dataplane::api::{ControlEnd, Doorbell, Event, Side, ring_pair};
use dataplane::frame::{Class, Frame, Pool, PoolSize};
use dataplane::limits::RX_BATCH;
use dataplane::net::{Backend, RxBatch, RxItem, SocketId, SocketSpec, Token, TxBatch, TxItem};
use dataplane::pipeline::Path;
use dataplane::stats::Stats;
use dataplane::worker::{Setup, Worker};

use crate::calls;
use crate::table::{LEGS, far_end, streams};
use crate::wire::RTP;

#[expect(clippy::disallowed_methods, reason = "a bench needs some instant")]
pub(crate) fn packet(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("path");
    group.throughput(Throughput::Elements(1));
    let now = Instant::now();
    for legs in LEGS {
        let (mut streams, marks) = streams(legs, now);
        let mut pool = Pool::new(PoolSize::default());
        let (mut tx, mut stats) = (TxBatch::default(), Stats::default());
        let mut at = 0;
        group.bench_function(BenchmarkId::new("packet", legs), |bencher| {
            bencher.iter(|| {
                at = (at + 1) % marks.len();
                let frame = rtp_frame(&mut pool);
                // The marks go by sides; the sender has to be its side's client.
                let side = if marks[at].0 >> 48 & 1 == 0 {
                    Side::A
                } else {
                    Side::B
                };
                let mut path = Path {
                    now,
                    streams: &mut streams,
                    pool: &mut pool,
                    tx: &mut tx,
                    stats: &mut stats,
                };
                path.datagram(Token(marks[at].0), far_end(side), frame);
                if let Some(TxItem::Datagram { frame, .. }) = tx.items.pop() {
                    pool.give(frame);
                }
            });
        });
        assert_eq!(stats.datagrams_in, stats.datagrams_out, "all pass");
    }
    group.finish();
}

fn rtp_frame(pool: &mut Pool) -> Frame {
    let mut frame = pool.take(Class::Datagram).expect("a frame is free");
    pool.append(&mut frame, &RTP);
    frame
}

/// Sockets that always have a packet each, and a kernel that costs nothing.
#[derive(Default)]
struct Memory {
    sockets: Vec<Token>,
    batch: Rc<Cell<usize>>,
    next: usize,
}

impl Backend for Memory {
    fn open(&mut self, spec: &SocketSpec, token: Token) -> io::Result<(SocketId, SocketAddr)> {
        self.sockets.push(token);
        let id = u32::try_from(self.sockets.len() - 1).map_err(io::Error::other)?;
        match *spec {
            SocketSpec::Datagram { local } | SocketSpec::Listen { local } => {
                Ok((SocketId(id), local))
            }
            SocketSpec::Connect { remote, .. } => Ok((SocketId(id), remote)),
        }
    }

    fn adopt(&mut self, _: SocketId, _: Token) {}

    fn set_token(&mut self, _: SocketId, _: Token) {}

    fn shutdown(&mut self, _: SocketId) {}

    fn tie(&mut self, _: SocketId, _: Option<SocketAddr>) {}

    fn close(&mut self, _: SocketId, _: &mut Pool) {}

    fn pause(&mut self, _: SocketId) {}

    fn resume(&mut self, _: SocketId) {}

    fn queued(&self, _: SocketId) -> usize {
        0
    }

    fn receive(&mut self, rx: &mut RxBatch, pool: &mut Pool) -> usize {
        let batch = self.batch.get();
        for _ in 0..batch {
            self.next = (self.next + 1) % self.sockets.len();
            let token = self.sockets[self.next];
            let side = if token.0 >> 48 & 1 == 0 {
                Side::A
            } else {
                Side::B
            };
            let frame = rtp_frame(pool);
            rx.items.push(RxItem::Datagram {
                token,
                from: far_end(side),
                frame,
                waited: Duration::ZERO,
            });
        }
        batch
    }

    fn send(&mut self, tx: &mut TxBatch, pool: &mut Pool) -> usize {
        let count = tx.items.len();
        for item in tx.items.drain(..) {
            match item {
                TxItem::Datagram { frame, .. } | TxItem::Bytes { frame, .. } => pool.give(frame),
            }
        }
        count
    }

    fn wait(&mut self, _: Duration) -> io::Result<()> {
        Ok(())
    }
}

/// A worker with calls and no packets yet.
fn worker(sessions: u64, batch: &Rc<Cell<usize>>) -> (Worker<Memory>, ControlEnd, Instant) {
    #[expect(clippy::disallowed_methods, reason = "a bench needs some instant")]
    let now = Instant::now();
    let bell = Doorbell::new().expect("a descriptor is free");
    let (mut control, link) = ring_pair(&bell).expect("a descriptor is free");
    let config = calls::config();
    let setup = Setup {
        config: &config,
        number: 0,
        link,
        board: Default::default(),
    };
    let backend = Memory {
        batch: Rc::clone(batch),
        ..Memory::default()
    };
    let pool = Pool::new(PoolSize::default());
    let mut worker = Worker::new(setup, backend, pool, now).expect("nothing is bound");
    for session in 0..sessions {
        for acts in [
            vec![calls::open()],
            calls::connect(Side::BOTH.map(far_end)).into(),
        ] {
            control
                .order(calls::order(session, acts))
                .expect("the ring has room");
            worker.cycle(now);
            assert!(matches!(control.news(), Some(Event::Done(_))));
        }
    }
    (worker, control, now)
}

pub(crate) fn cycle(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cycle");
    for batch in [0, 1, 32, RX_BATCH] {
        let packets = Rc::new(Cell::new(0));
        let (mut worker, _control, now) = worker(500, &packets);
        packets.set(batch);
        group.throughput(Throughput::Elements(batch.max(1) as u64));
        group.bench_function(BenchmarkId::new("packets", batch), |bencher| {
            bencher.iter(|| worker.cycle(now));
        });
    }
    group.finish();
}
