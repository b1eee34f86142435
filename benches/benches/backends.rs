//! What a relayed packet costs in each backend, without a worker around it: receive a batch, send
//! the batch, over loopback and 64 sockets.
//!
//! One element is one packet: injected into a socket of the backend (outside of the time that is
//! measured), received, and sent on by that socket. The far ends are drained outside as well.

use std::hint::black_box;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dataplane::frame::{Pool, PoolSize};
use dataplane::net::mmsg::Mmsg;
use dataplane::net::uring::Uring;
use dataplane::net::{Backend, EventFd, RxBatch, RxItem, SocketSpec, Token, TxBatch, TxItem};

/// Sockets that packets come to.
const SOCKETS: usize = 64;
/// An RTP packet of 20 ms of AMR-WB or G.711 with room to spare.
const PACKET_BYTES: usize = 172;

/// The sockets on the relay's side and their far ends; packet `n` goes to socket `n`.
struct Field {
    backend: Box<dyn Backend>,
    pool: Pool,
    near: Vec<(dataplane::net::SocketId, SocketAddr)>,
    far: UdpSocket,
    sink: UdpSocket,
    sink_at: SocketAddr,
    rx: RxBatch,
    tx: TxBatch,
}

impl Field {
    fn new(make: fn(&EventFd, &mut Pool) -> Box<dyn Backend>, bell: &EventFd) -> Self {
        let mut pool = Pool::new(PoolSize::default());
        let mut backend = make(bell, &mut pool);
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let near = (0..SOCKETS as u64)
            .map(|mark| {
                backend
                    .open(&SocketSpec::Datagram { local }, Token(mark))
                    .expect("a port is free on loopback")
            })
            .collect();
        let far = UdpSocket::bind(local).expect("a port is free on loopback");
        let sink = UdpSocket::bind(local).expect("a port is free on loopback");
        sink.set_nonblocking(true).expect("a socket can be set so");
        let sink_at = sink.local_addr().expect("a bound socket has an address");
        Self {
            backend,
            pool,
            near,
            far,
            sink,
            sink_at,
            rx: RxBatch::default(),
            tx: TxBatch::default(),
        }
    }

    /// One packet to each of the first `batch` sockets.
    fn inject(&self, batch: usize) {
        for (_, at) in self.near.iter().take(batch) {
            self.far
                .send_to(&[0x80; PACKET_BYTES], at)
                .expect("loopback takes a datagram");
        }
    }

    /// Receives what was injected and sends it on.
    fn relay(&mut self, batch: usize) {
        let mut relayed = 0;
        while relayed < batch {
            self.backend.receive(&mut self.rx, &mut self.pool);
            for item in self.rx.items.drain(..) {
                if let RxItem::Datagram { token, frame, .. } = item {
                    relayed += 1;
                    let index = usize::try_from(token.0).expect("it is an index");
                    self.tx.items.push(TxItem::Datagram {
                        socket: self.near[index].0,
                        to: self.sink_at,
                        frame,
                    });
                }
            }
            self.backend.send(&mut self.tx, &mut self.pool);
        }
    }

    fn drain(&self) {
        let mut bytes = [0; 2048];
        while self.sink.recv(&mut bytes).is_ok() {
            black_box(&bytes);
        }
    }
}

fn mmsg(bell: &EventFd, _: &mut Pool) -> Box<dyn Backend> {
    Box::new(Mmsg::new(bell.as_raw_fd()).expect("epoll is everywhere"))
}

fn uring(bell: &EventFd, pool: &mut Pool) -> Box<dyn Backend> {
    Box::new(Uring::new(bell.as_raw_fd(), pool).expect("it was probed"))
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn relay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("relay");
    for batch in [1, 8, SOCKETS] {
        let mut measure = |name: &str, make| {
            let bell = EventFd::new().expect("a descriptor is free");
            let mut field = Field::new(make, &bell);
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(BenchmarkId::new(name, batch), |bencher| {
                bencher.iter_custom(|rounds| {
                    let mut spent = Duration::ZERO;
                    for _ in 0..rounds {
                        field.inject(batch);
                        let begin = Instant::now();
                        field.relay(batch);
                        spent += begin.elapsed();
                        field.drain();
                    }
                    spent
                });
            });
        };
        measure("mmsg", mmsg as fn(&EventFd, &mut Pool) -> Box<dyn Backend>);
        if Uring::probe().is_ok() {
            measure("uring", uring);
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    targets = relay
}
criterion_main!(benches);
