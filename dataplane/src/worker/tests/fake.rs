//! A backend in memory, and a worker over it with control at the other end of its link.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::api::{
    Act, BackendKind, Config, ControlEnd, Direction, Doorbell, Event, Learn, LegLocal, LegSpec,
    Order, Outcome, RecordRoom, Remote, RtpRemote, SessionId, Side, StreamId, StreamPlan,
    ring_pair_with,
};
use crate::frame::{Class, Pool, PoolSize};
use crate::limits::{RX_BATCH, STREAM_QUEUE_HIGH_BYTES, STREAM_QUEUE_LOW_BYTES};
use crate::net::{Backend, RxBatch, RxItem, SocketId, SocketSpec, Token, TxBatch, TxItem};
use crate::stats::Board;
use crate::worker::{Setup, Worker};

/// What a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Datagram,
    Listener,
    Connection,
}

/// One socket of the fake.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is true by itself")]
pub struct Sock {
    pub local: SocketAddr,
    pub token: Token,
    pub paused: bool,
    pub kind: Kind,
    /// Pieces to be read.
    pub incoming: VecDeque<Vec<u8>>,
    /// Bytes that the far end hasn't taken.
    pub queue: usize,
    /// Bytes that the far end takes from now on.
    pub window: usize,
    pub written: Vec<u8>,
    above: bool,
    /// The worker ended its half; the far end closes its own when it has taken all.
    pub ended: bool,
    /// Where it was to connect to.
    pub remote: Option<SocketAddr>,
    /// What comes lies there until it is collected.
    pub gathers: bool,
    collected: bool,
}

#[derive(Default, Debug)]
pub struct Net {
    pub sockets: BTreeMap<u32, Sock>,
    next: u32,
    news: VecDeque<RxItem>,
    datagrams: VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>,
    pub sent: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    pub taken: BTreeSet<SocketAddr>,
    pub bad_ip: Option<IpAddr>,
    /// Far ends keep their half open when the worker ends its own.
    pub far_ends_linger: bool,
}

pub struct Fake(pub Rc<RefCell<Net>>);

impl Net {
    fn add(&mut self, local: SocketAddr, token: Token) -> SocketId {
        self.next += 1;
        let sock = Sock {
            local,
            token,
            paused: false,
            kind: Kind::Connection,
            incoming: VecDeque::new(),
            queue: 0,
            window: usize::MAX,
            written: Vec::new(),
            above: false,
            ended: false,
            remote: None,
            gathers: false,
            collected: false,
        };
        self.sockets.insert(self.next, sock);
        SocketId(self.next)
    }

    pub fn accept(&mut self, listener: SocketAddr, peer: SocketAddr) -> SocketId {
        let listen = self.sockets.values().find(|sock| sock.local == listener);
        let token = listen.unwrap().token;
        let socket = self.add(listener, Token(0));
        self.news.push_back(RxItem::Accepted {
            token,
            socket,
            peer,
        });
        socket
    }

    pub fn made(&mut self, socket: SocketId, well: bool) {
        let token = self.sockets[&socket.0].token;
        self.news.push_back(if well {
            RxItem::Connected { socket, token }
        } else {
            RxItem::Closed { socket, token }
        });
    }

    /// The far end sends no more.
    pub fn end(&mut self, socket: SocketId) {
        let token = self.sockets[&socket.0].token;
        self.news.push_back(RxItem::Ended { socket, token });
    }

    /// Whether it is a connection that the worker knows.
    pub fn is_connection(&self, socket: SocketId) -> bool {
        let sock = &self.sockets[&socket.0];
        sock.kind == Kind::Connection && sock.token != Token(0)
    }

    pub fn push(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.datagrams.push_back((to, from, bytes.to_vec()));
    }

    pub fn feed(&mut self, socket: SocketId, bytes: &[u8]) {
        let sock = self.sockets.get_mut(&socket.0).unwrap();
        sock.incoming.push_back(bytes.to_vec());
    }

    /// The far end takes so many bytes more.
    pub fn open_window(&mut self, socket: SocketId, count: usize) {
        let sock = self.sockets.get_mut(&socket.0).unwrap();
        sock.window = count;
        sock.drain();
        if sock.above && sock.queue < STREAM_QUEUE_LOW_BYTES {
            sock.above = false;
            let token = sock.token;
            self.news.push_back(RxItem::Drained { socket, token });
        }
    }
}

impl Sock {
    fn drain(&mut self) {
        let count = self.queue.min(self.window);
        self.queue -= count;
        self.window -= if self.window == usize::MAX { 0 } else { count };
    }
}

impl Backend for Fake {
    fn open(&mut self, spec: &SocketSpec, token: Token) -> io::Result<(SocketId, SocketAddr)> {
        let mut net = self.0.borrow_mut();
        let (local, remote) = match *spec {
            SocketSpec::Datagram { local } => (local, None),
            SocketSpec::Listen { local } => (local, None),
            SocketSpec::Connect { local, remote } => (SocketAddr::new(local, 0), Some(remote)),
        };
        if net.bad_ip == Some(local.ip()) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let in_use = net.sockets.values().any(|sock| sock.local == local);
        if net.taken.contains(&local) || local.port() != 0 && in_use {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let socket = net.add(local, token);
        let sock = net.sockets.get_mut(&socket.0).unwrap();
        sock.remote = remote;
        sock.kind = match spec {
            SocketSpec::Datagram { .. } => Kind::Datagram,
            SocketSpec::Listen { .. } => Kind::Listener,
            SocketSpec::Connect { .. } => Kind::Connection,
        };
        Ok((socket, local))
    }

    fn adopt(&mut self, socket: SocketId, token: Token) {
        self.set_token(socket, token);
    }

    fn set_token(&mut self, socket: SocketId, token: Token) {
        let mut net = self.0.borrow_mut();
        net.sockets.get_mut(&socket.0).unwrap().token = token;
    }

    fn shutdown(&mut self, socket: SocketId) {
        let mut net = self.0.borrow_mut();
        let lingers = net.far_ends_linger;
        let sock = net.sockets.get_mut(&socket.0).unwrap();
        assert_eq!(sock.kind, Kind::Connection);
        sock.paused = false;
        if !std::mem::replace(&mut sock.ended, true) && !lingers {
            net.made(socket, false);
        }
    }

    fn close(&mut self, socket: SocketId, _: &mut Pool) {
        let closed = self.0.borrow_mut().sockets.remove(&socket.0);
        assert!(closed.is_some(), "{socket:?} closed twice");
    }

    fn pause(&mut self, socket: SocketId) {
        self.0
            .borrow_mut()
            .sockets
            .get_mut(&socket.0)
            .unwrap()
            .paused = true;
    }

    fn resume(&mut self, socket: SocketId) {
        self.0
            .borrow_mut()
            .sockets
            .get_mut(&socket.0)
            .unwrap()
            .paused = false;
    }

    fn queued(&self, socket: SocketId) -> usize {
        self.0.borrow().sockets[&socket.0].queue
    }

    fn tie(&mut self, _: SocketId, _: Option<SocketAddr>) {}

    fn gather(&mut self, socket: SocketId, on: bool) {
        let mut net = self.0.borrow_mut();
        let sock = net.sockets.get_mut(&socket.0).unwrap();
        assert_ne!(std::mem::replace(&mut sock.gathers, on), on);
    }

    fn collect(&mut self, socket: SocketId) {
        let mut net = self.0.borrow_mut();
        let sock = net.sockets.get_mut(&socket.0).unwrap();
        assert!(sock.gathers, "only those are looked into");
        sock.collected = true;
    }

    fn receive(&mut self, rx: &mut RxBatch, pool: &mut Pool) -> usize {
        let net = &mut *self.0.borrow_mut();
        rx.items.extend(net.news.drain(..));
        let mut lying = VecDeque::new();
        while rx.items.len() < RX_BATCH
            && let Some((to, from, bytes)) = net.datagrams.pop_front()
        {
            let found = net.sockets.values().find(|sock| sock.local == to);
            let Some(sock) = found else { continue };
            let token = sock.token;
            if sock.gathers && !sock.collected {
                lying.push_back((to, from, bytes));
                continue;
            }
            let mut frame = pool.take(Class::Datagram).unwrap();
            pool.append(&mut frame, &bytes);
            rx.items.push(RxItem::Datagram {
                token,
                from,
                frame,
                waited: Duration::ZERO,
            });
        }
        lying.append(&mut net.datagrams);
        net.datagrams = lying;
        for (id, sock) in &mut net.sockets {
            sock.collected = false;
            if sock.paused || sock.token == Token(0) {
                continue;
            }
            if let Some(bytes) = sock.incoming.pop_front() {
                let mut frame = pool.take(Class::Stream).unwrap();
                assert_eq!(pool.append(&mut frame, &bytes), bytes.len());
                rx.items.push(RxItem::Bytes {
                    socket: SocketId(*id),
                    token: sock.token,
                    frame,
                });
            }
        }
        rx.items.len()
    }

    fn send(&mut self, tx: &mut TxBatch, pool: &mut Pool) -> usize {
        let mut net = self.0.borrow_mut();
        let count = tx.items.len();
        for item in tx.items.drain(..) {
            match item {
                TxItem::Datagram { socket, to, frame } => {
                    let from = net.sockets[&socket.0].local;
                    net.sent.push((from, to, pool.bytes(&frame).to_vec()));
                    pool.give(frame);
                }
                TxItem::Bytes { socket, frame } => {
                    let sock = net.sockets.get_mut(&socket.0).expect("a live connection");
                    assert!(!sock.ended, "{socket:?} is written to after its end");
                    sock.written.extend(pool.bytes(&frame));
                    sock.queue += frame.len();
                    sock.drain();
                    sock.above |= sock.queue > STREAM_QUEUE_HIGH_BYTES;
                    pool.give(frame);
                }
            }
        }
        count
    }

    fn wait(&mut self, _: Duration) -> io::Result<()> {
        Ok(())
    }
}

/// A worker, its net, and control's end.
pub struct World {
    pub worker: Worker<Fake>,
    pub control: ControlEnd,
    pub net: Rc<RefCell<Net>>,
    pub board: Board,
    pub now: Instant,
    pub news: Vec<Event>,
}

pub const LOCAL: &str = "10.0.0.1";

pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub fn config(port_first: u16, port_last: u16) -> Config {
    Config {
        workers: 1,
        first_core: None,
        backend: BackendKind::Auto,
        port_first,
        port_last,
        port_quiet_ms: 5000,
        msrp_listen: vec![LOCAL.parse().unwrap()],
        msrp_ports: crate::api::PortChoice::only_tcp(2855),
        msrp_tls: None,
        msrp_origins: crate::api::OriginPolicy::Any,
        msrp_relay: None,
        pool: PoolSize {
            datagrams: 1024,
            streams: 256,
        },
        seed: Some(1),
    }
}

impl World {
    pub fn new(config: &Config) -> Self {
        Self::with_room(config, RecordRoom::default())
    }

    pub fn with_room(config: &Config, room: RecordRoom) -> Self {
        let net = Rc::new(RefCell::new(Net::default()));
        let (control, link) = ring_pair_with(&Doorbell::new().unwrap(), room).unwrap();
        let board = Board::default();
        #[expect(clippy::disallowed_methods, reason = "a time to begin with")]
        let now = Instant::now();
        let setup = Setup {
            config,
            number: 0,
            link,
            board: board.clone(),
        };
        let worker = Worker::new(setup, Fake(net.clone()), Pool::new(config.pool), now).unwrap();
        Self {
            worker,
            control,
            net,
            board,
            now,
            news: Vec::new(),
        }
    }

    pub fn cycle(&mut self) {
        self.worker.cycle(self.now);
        while let Some(event) = self.control.news() {
            self.news.push(event);
        }
    }

    pub fn pass(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while self.now < end {
            self.now = end.min(self.now + Duration::from_millis(20));
            self.cycle();
        }
    }

    pub fn send(&mut self, session: u64, acts: Vec<Act>) {
        let order = order(session, acts);
        self.control.order(order).unwrap();
    }

    /// Orders and waits for the answer.
    pub fn order(&mut self, session: u64, acts: Vec<Act>) -> Order {
        self.send(session, acts);
        self.cycle();
        self.done().pop().expect("the order comes back")
    }

    /// The orders that came back since this was asked last.
    pub fn done(&mut self) -> Vec<Order> {
        let mut done = Vec::new();
        for event in std::mem::take(&mut self.news) {
            match event {
                Event::Done(order) => done.push(*order),
                other => self.news.push(other),
            }
        }
        done
    }

    /// Sends a datagram to the worker and says what it sent then: from, to, bytes.
    pub fn datagram(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
    ) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        self.net.borrow_mut().push(from, to, bytes);
        self.cycle();
        std::mem::take(&mut self.net.borrow_mut().sent)
    }

    pub fn dropped(&self, why: crate::stats::DropReason) -> u64 {
        self.worker.stats.drops[why as usize]
    }
}

pub fn order(session: u64, acts: Vec<Act>) -> Box<Order> {
    Box::new(Order {
        session: SessionId(session),
        mark: session,
        acts,
        outcome: Outcome::Pending,
        returned: Vec::new(),
    })
}

pub const LEARN: Learn = Learn::Once {
    window_ms: 1000,
    same_ip: false,
};

pub fn rtp_spec(rtcp_mux: bool, learn: Learn) -> LegSpec {
    LegSpec::Rtp {
        local_ip: LOCAL.parse().unwrap(),
        rtcp_mux,
        learn,
    }
}

pub fn open(stream: u8, spec: &LegSpec) -> Act {
    Act::Open(StreamPlan {
        stream: StreamId(stream),
        legs: [spec.clone(), spec.clone()],
        local: Default::default(),
        silence_ms: 1000,
        record: false,
    })
}

pub fn connect(stream: u8, side: Side, rtp: SocketAddr, rtcp: SocketAddr) -> Act {
    connect_with(stream, side, RtpRemote { rtp, rtcp }, Direction::BOTH)
}

pub fn connect_with(stream: u8, side: Side, remote: RtpRemote, direction: Direction) -> Act {
    Act::Connect {
        stream: StreamId(stream),
        side,
        remote: Remote::Rtp(remote),
        direction,
    }
}

pub fn release(streams: crate::api::StreamSet, drain_ms: u32) -> Act {
    Act::Release {
        streams,
        drain_ms,
        facts: Vec::new(),
    }
}

/// The addresses that an `Open` bound: per leg RTP and RTCP, or the listener twice.
pub fn locals(act: &Act) -> [(SocketAddr, SocketAddr); 2] {
    let Act::Open(plan) = act else {
        panic!("not an open: {act:?}")
    };
    plan.local.each_ref().map(|local| match local {
        LegLocal::Rtp { rtp, rtcp } => (*rtp, *rtcp),
        LegLocal::Bytes { listen } | LegLocal::Bfcp { listen } => (*listen, *listen),
        LegLocal::Msrp(_) | LegLocal::Unbound => panic!("not bound: {local:?}"),
    })
}

/// An RTP packet: payload type 8, a sequence number, an SSRC.
pub fn rtp(seq: u16, ssrc: u8) -> Vec<u8> {
    let [high, low] = seq.to_be_bytes();
    vec![0x80, 8, high, low, 0, 0, 0, 1, 0, 0, 0, ssrc, 0xd5, 0xd5]
}

/// A receiver report.
pub const REPORT: [u8; 8] = [0x80, 201, 0, 1, 1, 2, 3, 4];
