//! What MSRP sessions and transactions weigh.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and has a clock of its own"
)]
#![expect(unsafe_code, reason = "an allocator can't be counted without one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use dataplane::api::{
    Act, BackendKind, Config as WorkerConfig, ControlEnd, Direction, Doorbell, Event, LegLocal,
    LegSpec, MsrpRemote, MsrpSetup, MsrpSpec, Order, OriginPolicy, Outcome, PortChoice, Remote,
    SessionId, Side, StreamId, StreamPlan, ring_pair,
};
use dataplane::frame::{Pool, PoolSize};
use dataplane::limits::MSRP_TRANSACTIONS;
use dataplane::net::Backend;
use dataplane::net::mmsg::Mmsg;
use dataplane::net::uring::Uring;
use dataplane::proto::msrp::{Config, ConnectionKey, Connections, Egress, Leg, LegKey, Verdict};
use dataplane::stats::Stats;
use dataplane::worker::{Setup, Worker};

struct Counting;

thread_local! {
    /// Octets that this thread has taken and not given back.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.with(|held| held.set(held.get().wrapping_add(layout.size())));
        // SAFETY: the caller keeps the contract that both share.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.with(|held| held.set(held.get().wrapping_sub(layout.size())));
        // SAFETY: the caller keeps the contract that both share.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn held() -> usize {
    HELD.with(Cell::get)
}

/// Takes what is written and forgets it.
struct Nowhere;

impl Egress for Nowhere {
    fn write(&mut self, _to: ConnectionKey, _bytes: &[u8]) {}

    fn is_full(&self, _to: ConnectionKey) -> bool {
        false
    }
}

fn leg(relay: &mut Connections, letter: u8) -> LegKey {
    let id = char::from(letter).to_string().repeat(32);
    let path = format!("msrp://192.0.2.1:2855/{id};tcp");
    let leg = Leg {
        session_id: [letter; 32],
        local_path: &path,
        match_session_id_only: false,
    };
    relay.add_leg(leg).expect("there is room for two legs")
}

#[test]
fn a_million_open_transactions_fit_128_mib() {
    let config = Config {
        transactions: MSRP_TRANSACTIONS,
        timeout: Duration::from_secs(30),
    };
    let (mut stats, now) = (Stats::default(), Instant::now());
    let nothing = held();
    let mut relay = Connections::new(config, 1);
    let (a, b) = (leg(&mut relay, b'a'), leg(&mut relay, b'b'));
    relay.join(a, b);
    relay.set_remote(a, "msrp://a.example:7000/far;tcp", None);
    relay.set_remote(b, "msrp://b.example:7000/far;tcp", None);
    let from = relay.connected(now, a, &mut Nowhere).unwrap();
    relay.connected(now, b, &mut Nowhere).unwrap();
    let idle = held() - nothing;
    assert!(idle < 8 << 20, "{idle} octets before the first");
    let send = format!(
        "MSRP tid1 SEND\r\nTo-Path: msrp://192.0.2.1:2855/{};tcp\r\n\
         From-Path: msrp://a.example:7000/far;tcp\r\n\
         Message-ID: 0123456789abcdef0123456789abcdef\r\n\
         Byte-Range: 1-1/1\r\nContent-Type: text/plain\r\n\r\nx\r\n-------tid1$\r\n",
        "a".repeat(32),
    );
    let many = send.repeat(100);
    for _ in 0..10_000 {
        let verdict = relay.receive(now, from, many.as_bytes(), &mut Nowhere, &mut stats);
        assert_eq!(verdict, Verdict::Continue);
    }
    assert_eq!((stats.msrp_open, stats.full_transactions), (1_000_000, 0));
    let all = held() - nothing;
    assert!(all <= 128 << 20, "{all} octets for a million");
    relay.closed(ConnectionKey(1), &mut Nowhere);
    relay.handle_timeout(now, &mut Nowhere, &mut stats);
    assert_eq!((stats.msrp_open, stats.msrp_reported), (0, 1_000_000));
}

fn order<B: Backend>(
    worker: &mut Worker<B>,
    control: &mut ControlEnd,
    (session, acts): (u64, Vec<Act>),
) -> Order {
    let order = Order {
        session: SessionId(session),
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

/// The URIs of a session's two legs.
fn open<B: Backend>(
    worker: &mut Worker<B>,
    control: &mut ControlEnd,
    (session, record): (u64, bool),
) -> [(SocketAddr, Box<str>); 2] {
    let spec = LegSpec::Msrp(MsrpSpec::plain(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let plan = StreamPlan {
        stream: StreamId(0),
        legs: [spec.clone(), spec],
        local: Default::default(),
        silence_ms: 0,
        record,
    };
    let opened = order(worker, control, (session, vec![Act::Open(plan)]));
    let Act::Open(plan) = &opened.acts[0] else {
        panic!()
    };
    let local = plan.local.each_ref().map(|local| match local {
        LegLocal::Msrp(local) => {
            let id = str::from_utf8(&local.session_id).unwrap();
            (
                local.listen,
                format!("msrp://{}/{id};tcp", local.listen).into(),
            )
        }
        other => panic!("{other:?}"),
    });
    let acts = Side::BOTH.map(|side| Act::Connect {
        stream: StreamId(0),
        side,
        remote: Remote::Msrp(MsrpRemote {
            path: "msrp://127.0.0.1:9/far;tcp".into(),
            address: "127.0.0.1:9".parse().unwrap(),
            setup: MsrpSetup::Passive,
            fingerprint: None,
            local_path: None,
        }),
        direction: Direction::BOTH,
    });
    order(worker, control, (session, acts.into()));
    local
}

/// Opens a session and connects and binds both of its ends; the URI of the first.
fn bind_both<B: Backend>(
    worker: &mut Worker<B>,
    control: &mut ControlEnd,
    (session, record): (u64, bool),
    clients: &mut Vec<TcpStream>,
) -> Box<str> {
    let ends = open(worker, control, (session, record));
    for (listen, uri) in &ends {
        let mut client = TcpStream::connect(*listen).unwrap();
        let bind = format!(
            "MSRP bind SEND\r\nTo-Path: {uri}\r\nFrom-Path: msrp://127.0.0.1:9/far;tcp\r\n\
             Message-ID: 1\r\n-------bind$\r\n"
        );
        client.write_all(bind.as_bytes()).unwrap();
        let mut answer = [0; 512];
        client.set_nonblocking(true).unwrap();
        let since = Instant::now();
        while client.read(&mut answer).is_err() {
            worker.cycle(Instant::now());
            assert!(since.elapsed() < Duration::from_secs(10), "no answer");
        }
        assert!(answer.starts_with(b"MSRP bind 200"));
        clients.push(client);
    }
    let [(_, uri), _] = ends;
    uri
}

/// Octets that each of some idle sessions takes.
fn weigh<B: Backend>(mut worker: Worker<B>, mut control: ControlEnd, record: bool) -> usize {
    let mut clients = Vec::with_capacity(2 * SESSIONS + 2);
    // The first one also pays for what all share, such as the first step of the transactions' table.
    let first = (u64::MAX, record);
    bind_both(&mut worker, &mut control, first, &mut clients);
    let before = held();
    for session in 0..SESSIONS as u64 {
        bind_both(&mut worker, &mut control, (session, record), &mut clients);
    }
    let each = held().saturating_sub(before) / SESSIONS;
    worker.shut_down(Instant::now());
    each
}

fn is_light<B: Backend>(make: impl Fn() -> (Worker<B>, ControlEnd)) {
    let (worker, control) = make();
    let plain = weigh(worker, control, false);
    assert!(plain <= 4096, "{plain} octets for each of {SESSIONS}");
    let (worker, control) = make();
    let recorded = weigh(worker, control, true);
    assert!(
        recorded <= plain + 256,
        "{recorded} octets for each that is recorded, else {plain}"
    );
}

fn worker<B: Backend>(
    make: impl FnOnce(i32, &mut Pool) -> std::io::Result<B>,
) -> (Worker<B>, ControlEnd) {
    let config = WorkerConfig {
        workers: 1,
        first_core: None,
        backend: BackendKind::Auto,
        port_first: 42_000,
        port_last: 42_099,
        port_quiet_ms: 0,
        msrp_listen: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        msrp_ports: PortChoice::only_tcp(0),
        msrp_tls: None,
        msrp_origins: OriginPolicy::Any,
        msrp_relay: None,
        pool: PoolSize {
            datagrams: 64,
            streams: 256,
        },
        seed: Some(1),
    };
    let (control, link) = ring_pair(&Doorbell::new().unwrap()).unwrap();
    let mut pool = Pool::new(config.pool);
    let backend = make(link.bell().as_raw_fd(), &mut pool).unwrap();
    let setup = Setup {
        config: &config,
        number: 0,
        link,
        board: Default::default(),
    };
    let worker = Worker::new(setup, backend, pool, Instant::now()).unwrap();
    (worker, control)
}

/// A message of 1 GiB goes in, its far end reads all of it, and nobody takes its records.
fn record_for_nobody<B: Backend>(mut worker: Worker<B>, mut control: ControlEnd) {
    const GIB: usize = 1 << 30;
    let mut clients = Vec::new();
    let uri = bind_both(&mut worker, &mut control, (1, true), &mut clients);
    let head = format!(
        "MSRP tid1 SEND\r\nTo-Path: {uri}\r\nFrom-Path: msrp://127.0.0.1:9/far;tcp\r\n\
         Message-ID: big\r\nByte-Range: 1-{GIB}/{GIB}\r\nContent-Type: a/b\r\n\r\n"
    );
    clients[0].write_all(head.as_bytes()).unwrap();
    let (body, mut read) = (vec![b'x'; 65_536], vec![0; 262_144]);
    let (before, mut most, mut sent, mut quiet) = (held(), 0, 0, 0);
    while sent < GIB && quiet < 2000 {
        match clients[0].write(&body) {
            Ok(count) => (sent, quiet) = (sent + count, 0),
            Err(_) => quiet += 1,
        }
        worker.cycle(Instant::now());
        while clients[1].read(&mut read).is_ok_and(|count| count > 0) {}
        most = most.max(held().saturating_sub(before));
    }
    assert!(sent < GIB / 16, "{sent} octets were taken");
    assert!(most < 10 << 20, "{most} octets were held");

    // Whoever takes them again gets them on.
    let mut took = 0;
    while took < 2 * sent as u64 && took < 64 << 20 {
        let _ = clients[0].write(&body);
        worker.cycle(Instant::now());
        while clients[1].read(&mut read).is_ok_and(|count| count > 0) {}
        while let Some(record) = control.record() {
            took += record.octets() as u64;
        }
        most = most.max(held().saturating_sub(before));
    }
    assert!(most < 10 << 20, "{most} octets were held");
    worker.shut_down(Instant::now());
}

#[test]
fn a_recorder_that_stops_holds_no_more_than_its_ring_over_epoll() {
    let (worker, control) = worker(|bell, _| Mmsg::new(bell));
    record_for_nobody(worker, control);
}

#[test]
fn a_recorder_that_stops_holds_no_more_than_its_ring_over_io_uring() {
    if let Err(error) = Uring::probe() {
        println!("SKIPPED: this kernel has no io_uring for us: {error}");
        return;
    }
    let (worker, control) = worker(Uring::new);
    record_for_nobody(worker, control);
}

#[test]
fn an_idle_session_fits_4_kib_over_epoll() {
    is_light(|| worker(|bell, _| Mmsg::new(bell)));
}

#[test]
fn an_idle_session_fits_4_kib_over_io_uring() {
    if let Err(error) = Uring::probe() {
        println!("SKIPPED: this kernel has no io_uring for us: {error}");
        return;
    }
    is_light(|| worker(Uring::new));
}

/// As many as the usual limit of open files lets a process have both ends of.
const SESSIONS: usize = 2000;
