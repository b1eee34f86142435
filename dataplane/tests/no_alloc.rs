//! The packet path takes no memory: a worker over real sockets, a mixer, a switch, an MSRP relay, and an
//! allocator that counts what the test's own thread takes (the harness takes memory whenever it likes).
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and has a clock of its own"
)]
#![expect(unsafe_code, reason = "an allocator is unsafe to write")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use dataplane::api::{
    Act, BackendKind, Config, ControlEnd, Direction, Doorbell, Event, Learn, LegLocal, LegSpec,
    Order, Outcome, Remote, RtpRemote, SessionId, Side, StreamId, StreamPlan, ring_pair,
};
use dataplane::frame::{Pool, PoolSize};
use dataplane::net::Backend;
use dataplane::net::mmsg::Mmsg;
use dataplane::net::uring::Uring;
use dataplane::worker::{Setup, Worker};

#[path = "no_alloc/mixing.rs"]
mod mixing;
#[path = "no_alloc/msrp.rs"]
mod msrp;
#[path = "no_alloc/rooms.rs"]
mod rooms;
#[path = "no_alloc/switching.rs"]
mod switching;

struct Counting;

thread_local! {
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.with(|taken| taken.set(taken.get() + 1));
        // SAFETY: the caller keeps the contract that both share.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract that both share.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn taken() -> u64 {
    TAKEN.with(Cell::get)
}

fn config() -> Config {
    Config {
        workers: 1,
        first_core: None,
        backend: BackendKind::Auto,
        port_first: 41_000,
        port_last: 41_999,
        port_quiet_ms: 0,
        msrp_listen: vec!["127.0.0.1".parse().unwrap()],
        msrp_ports: dataplane::api::PortChoice::only_tcp(0),
        msrp_tls: None,
        msrp_origins: dataplane::api::OriginPolicy::Any,
        msrp_relay: None,
        pool: PoolSize {
            datagrams: 1024,
            streams: 64,
        },
        seed: Some(1),
    }
}

fn order<B: Backend>(worker: &mut Worker<B>, control: &mut ControlEnd, acts: Vec<Act>) -> Order {
    let order = Order {
        session: SessionId(1),
        mark: 0,
        acts,
        outcome: Outcome::Pending,
        returned: Vec::new(),
    };
    control.order(Box::new(order)).unwrap();
    worker.cycle(Instant::now());
    let Some(Event::Done(order)) = control.news() else {
        panic!("the order comes back")
    };
    assert_eq!(order.outcome, Outcome::Done);
    *order
}

fn relay<B: Backend>(mut worker: Worker<B>, mut control: ControlEnd) {
    let clients: [UdpSocket; 2] = std::array::from_fn(|_| {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_nonblocking(true).unwrap();
        client
    });
    let spec = LegSpec::Rtp {
        local_ip: "127.0.0.1".parse().unwrap(),
        rtcp_mux: false,
        learn: Learn::Never,
    };
    let plan = StreamPlan {
        stream: StreamId(0),
        legs: [spec.clone(), spec],
        local: Default::default(),
        silence_ms: 1000,
        record: true,
    };
    let opened = order(&mut worker, &mut control, vec![Act::Open(plan)]);
    let Act::Open(plan) = &opened.acts[0] else {
        panic!()
    };
    let local: [SocketAddr; 2] = plan.local.each_ref().map(|local| match local {
        LegLocal::Rtp { rtp, .. } => *rtp,
        other => panic!("{other:?}"),
    });
    let connects = Side::BOTH.map(|side| {
        let at = clients[side.index()].local_addr().unwrap();
        let rtcp = SocketAddr::new(at.ip(), at.port() ^ 1);
        Act::Connect {
            stream: StreamId(0),
            side,
            remote: Remote::Rtp(RtpRemote { rtp: at, rtcp }),
            direction: Direction::BOTH,
        }
    });
    order(&mut worker, &mut control, connects.into());

    let mut buffer = [0; 200];
    let mut came = 0;
    let mut before = taken();
    for seq in 0..2000_u16 {
        let [high, low] = seq.to_be_bytes();
        let mut packet = [0xd5; 172];
        packet[..12].copy_from_slice(&[0x80, 8, high, low, 0, 0, 0, 1, 0, 0, 0, 9]);
        clients[0].send_to(&packet, local[0]).unwrap();
        clients[1].send_to(&packet, local[1]).unwrap();
        // Neither RTP nor from whom it should be: dropping takes no memory either.
        clients[1].send_to(&packet, local[0]).unwrap();
        clients[0].send_to(b"not rtp", local[0]).unwrap();
        for _ in 0..3 {
            worker.cycle(Instant::now());
            for client in &clients {
                while client.recv(&mut buffer).is_ok() {
                    came += 1;
                }
            }
        }
        if seq == 100 {
            before = taken();
        }
    }
    let after = taken();
    assert!(came > 3600, "only {came} of 4000 packets came");
    assert_eq!(after - before, 0, "allocations while packets were relayed");
    worker.shut_down(Instant::now());
}

fn worker<B: Backend>(
    make: impl FnOnce(i32, &mut Pool) -> std::io::Result<B>,
) -> (Worker<B>, ControlEnd) {
    let (control, link) = ring_pair(&Doorbell::new().unwrap()).unwrap();
    let mut pool = Pool::new(config().pool);
    let backend = make(link.bell().as_raw_fd(), &mut pool).unwrap();
    let setup = Setup {
        config: &config(),
        number: 0,
        link,
        board: Default::default(),
    };
    let worker = Worker::new(setup, backend, pool, Instant::now()).unwrap();
    assert!(worker.idle_for(Instant::now()) <= Duration::from_millis(100));
    (worker, control)
}

#[test]
fn relaying_takes_no_memory_over_epoll() {
    let (worker, control) = worker(|bell, _| Mmsg::new(bell));
    relay(worker, control);
}

#[test]
fn relaying_takes_no_memory_over_io_uring() {
    if let Err(error) = Uring::probe() {
        println!("SKIPPED: this kernel has no io_uring for us: {error}");
        return;
    }
    let (worker, control) = worker(Uring::new);
    relay(worker, control);
}
