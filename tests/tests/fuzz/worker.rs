//! A worker over simulated sockets, with control and the world at both of its ends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dataplane::api::{
    Act, BackendKind, Config, ControlEnd, Direction, Doorbell, Event, Learn, LegLocal, LegSpec,
    MsrpRemote, MsrpSetup, MsrpSpec, Order, Outcome, Record, RecordPart, RecordRoom, Remote,
    RtpRemote, SessionId, Side, StreamId, StreamPlan, StreamSet, ring_pair_with,
};
use dataplane::frame::{Pool, PoolSize};
use dataplane::net::sim::{Connection, Sim, SimHandle};
use dataplane::stats::{Board, Stats};
use dataplane::worker::{Setup, Worker};
use rand::RngExt;
use rand::rngs::StdRng;

use super::campaign::rounds;
use super::spoil::{noise, pick, spoil};

const LOCAL: &str = "10.0.0.1";
const FRAMES: PoolSize = PoolSize {
    datagrams: 96,
    streams: 48,
};
const PORTS: u64 = 64;

/// A session as control sees it: where its legs are.
#[derive(Debug, Clone)]
struct Bound {
    at: Vec<SocketAddr>,
    /// The path of the leg's own URI, for an MSRP leg.
    paths: Vec<String>,
}

struct World {
    worker: Worker<Sim>,
    control: ControlEnd,
    net: SimHandle,
    board: Board,
    now: Instant,
    bound: Vec<Bound>,
    connections: Vec<Connection>,
    /// Those that were made for an MSRP leg, and the leg's path.
    msrp: Vec<(Connection, String)>,
    /// Messages that have begun, of sessions that are recorded.
    begun: BTreeMap<SessionId, u32>,
    /// Whether control takes records now.
    records: bool,
    sent: u64,
    done: u64,
    sessions: u64,
}

fn config(random: &mut StdRng) -> Config {
    Config {
        workers: 1,
        first_core: None,
        backend: BackendKind::Auto,
        port_first: 10_000,
        port_last: 10_063,
        port_quiet_ms: 3000,
        msrp_listen: vec![LOCAL.parse().unwrap()],
        msrp_ports: dataplane::api::PortChoice::only_tcp(2855),
        msrp_tls: None,
        msrp_origins: dataplane::api::OriginPolicy::Any,
        msrp_relay: None,
        pool: FRAMES,
        seed: Some(random.random()),
    }
}

fn leg(random: &mut StdRng, kind: u32) -> LegSpec {
    let local_ip = LOCAL.parse().unwrap();
    match kind {
        0 => {
            let window_ms = *pick(random, &[0, 1000]);
            let learn = *pick(
                random,
                &[
                    Learn::Never,
                    Learn::Once {
                        window_ms,
                        same_ip: false,
                    },
                ],
            );
            LegSpec::Rtp {
                local_ip,
                rtcp_mux: random.random(),
                learn,
            }
        }
        1 => LegSpec::Msrp(MsrpSpec {
            match_session_id_only: random.random(),
            ..MsrpSpec::plain(local_ip)
        }),
        _ => LegSpec::Bytes { local_ip },
    }
}

fn client(random: &mut StdRng) -> SocketAddr {
    pick(
        random,
        &["192.0.2.1:4000", "192.0.2.2:4000", "192.0.2.2:4002"],
    )
    .parse()
    .unwrap()
}

/// What a stream carries: mostly the same whenever it is named.
fn kind(random: &mut StdRng, stream: StreamId) -> u32 {
    if random.random_ratio(1, 12) {
        random.random_range(0..3)
    } else {
        u32::from(stream.0 % 3)
    }
}

fn open(random: &mut StdRng, stream: StreamId) -> Act {
    let kind = kind(random, stream);
    let legs = [leg(random, kind), leg(random, kind)];
    Act::Open(StreamPlan {
        stream,
        legs,
        local: Default::default(),
        silence_ms: *pick(random, &[0, 500]),
        record: random.random(),
    })
}

fn connect(random: &mut StdRng, stream: StreamId, side: Side) -> Act {
    let kind = kind(random, stream);
    Act::Connect {
        stream,
        side,
        remote: remote(random, kind),
        direction: Direction {
            may_send: random.random_ratio(7, 8),
            may_receive: random.random_ratio(7, 8),
        },
    }
}

fn remote(random: &mut StdRng, kind: u32) -> Remote {
    let address = client(random);
    let setup = *pick(random, &[MsrpSetup::Active, MsrpSetup::Passive]);
    match kind {
        0 => Remote::Rtp(RtpRemote {
            rtp: address,
            rtcp: client(random),
        }),
        2 => Remote::Bytes { address, setup },
        _ => {
            let path = "msrp://192.0.2.1:4000/far;tcp".into();
            let local_path = random
                .random_ratio(1, 8)
                .then(|| "msrp://192.0.2.9:1/told;tcp".into());
            Remote::Msrp(MsrpRemote {
                path,
                address,
                setup,
                fingerprint: None,
                local_path,
            })
        }
    }
}

fn act(random: &mut StdRng) -> Act {
    let stream = StreamId(random.random_range(0..4));
    match random.random_range(0..10) {
        0..4 => open(random, stream),
        4..8 => {
            let side = *pick(random, &Side::BOTH);
            connect(random, stream, side)
        }
        8 => Act::Release {
            streams: StreamSet::default().with(stream),
            drain_ms: *pick(random, &[0, 50, 1000]),
            facts: Vec::new(),
        },
        _ => Act::Report { facts: Vec::new() },
    }
}

/// A SEND with a body of so many octets, or without one.
fn msrp_send(to: &str, len: Option<usize>) -> Vec<u8> {
    let head = format!(
        "MSRP tid1 SEND\r\nTo-Path: {to}\r\nFrom-Path: msrp://192.0.2.1:4000/far;tcp\r\nMessage-ID: 1\r\n"
    );
    let Some(len) = len else {
        return format!("{head}-------tid1$\r\n").into_bytes();
    };
    let body = vec![b'x'; len];
    let kind = b"Byte-Range: 1-*/*\r\nContent-Type: text/plain\r\n\r\n";
    [head.as_bytes(), kind, &body, b"\r\n-------tid1$\r\n"].concat()
}

impl World {
    fn new(random: &mut StdRng) -> Self {
        let room = RecordRoom {
            records: *pick(random, &[1, 10, 4096]),
            octets: *pick(random, &[0, 20_000, 1 << 20]),
        };
        let (control, link) = ring_pair_with(&Doorbell::new().unwrap(), room).unwrap();
        let (sim, net) = Sim::new();
        let board = Board::default();
        let config = config(random);
        let now = Instant::now();
        let setup = Setup {
            config: &config,
            number: 0,
            link,
            board: board.clone(),
        };
        let worker = Worker::new(setup, sim, Pool::new(FRAMES), now).unwrap();
        Self {
            worker,
            control,
            net,
            board,
            now,
            bound: Vec::new(),
            connections: Vec::new(),
            msrp: Vec::new(),
            begun: BTreeMap::new(),
            records: true,
            sent: 0,
            done: 0,
            sessions: 1,
        }
    }

    fn order(&mut self, session: u64, acts: Vec<Act>) {
        let order = Order {
            session: SessionId(session),
            mark: self.sent,
            acts,
            outcome: Outcome::Pending,
            returned: Vec::new(),
        };
        self.control
            .order(Box::new(order))
            .expect("the ring has room");
        self.sent += 1;
    }

    fn cycle(&mut self) {
        self.worker.cycle(self.now);
        while let Some(event) = self.control.news() {
            if let Event::Done(order) = event {
                self.take(&order);
            }
        }
        while self.net.sent().is_some() {}
        while self.records
            && let Some(record) = self.control.record()
        {
            self.take_record(record);
        }
    }

    fn take_record(&mut self, record: Record) {
        let begun = self.begun.entry(record.session).or_default();
        match record.part {
            RecordPart::Begin { message, .. } => {
                assert_eq!(message, *begun, "messages are numbered");
                *begun += 1;
            }
            RecordPart::Data { message, .. } | RecordPart::End { message, .. } => {
                assert!(message < *begun, "{message} never began");
            }
            RecordPart::Closed => {
                self.begun.remove(&record.session);
            }
        }
    }

    fn take(&mut self, order: &Order) {
        self.done += 1;
        assert_ne!(order.outcome, Outcome::Pending);
        if order.outcome != Outcome::Done {
            return;
        }
        for act in &order.acts {
            let Act::Open(plan) = act else { continue };
            let mut bound = Bound {
                at: Vec::new(),
                paths: Vec::new(),
            };
            for local in &plan.local {
                match local {
                    LegLocal::Rtp { rtp, rtcp } => bound.at.extend([*rtp, *rtcp]),
                    LegLocal::Bytes { listen } | LegLocal::Bfcp { listen } => {
                        bound.at.push(*listen);
                    }
                    LegLocal::Msrp(msrp) => {
                        let id = std::str::from_utf8(&msrp.session_id).unwrap();
                        bound.at.push(msrp.listen);
                        bound.paths.push(format!("msrp://{}/{id};tcp", msrp.listen));
                    }
                    LegLocal::Unbound => panic!("a leg of a stream that is open isn't bound"),
                }
            }
            self.bound.push(bound);
            let old = self.bound.len().saturating_sub(20);
            self.bound.drain(..old);
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = end.min(self.now + Duration::from_millis(20));
            self.cycle();
        }
    }

    /// Something that a peer might send to a stream.
    fn bytes(&self, random: &mut StdRng) -> Vec<u8> {
        let paths: Vec<&String> = self.bound.iter().flat_map(|bound| &bound.paths).collect();
        let mut bytes = match random.random_range(0..6) {
            0 => noise(random, 2000),
            1 => vec![0x80, 201, 0, 1, 1, 2, 3, 4],
            2..4 if !paths.is_empty() => {
                let to = pick(random, &paths);
                let len = *pick(random, &[None, None, Some(1), Some(500), Some(60_000)]);
                msrp_send(to, len)
            }
            _ => {
                let mut bytes = vec![0x80, 8, 0, random.random(), 0, 0, 0, 1, 0, 0, 0, 9];
                bytes.extend(noise(random, 160));
                bytes
            }
        };
        if random.random_ratio(1, 4) {
            spoil(random, &mut bytes, b"\r\n-------tid1$\r\n");
        }
        bytes
    }

    /// Both far ends of an MSRP stream connect and bind their sessions.
    fn couple(&mut self, random: &mut StdRng) {
        let from = client(random);
        let mut pairs = self.bound.iter().filter(|bound| bound.paths.len() == 2);
        let Some(bound) = pairs.next_back().cloned() else {
            return;
        };
        for (listen, path) in bound.at.iter().zip(&bound.paths) {
            let Some(connection) = self.net.dial(from, *listen) else {
                continue;
            };
            self.net.feed(connection, &msrp_send(path, None));
            self.connections.push(connection);
            self.msrp.push((connection, path.clone()));
        }
    }

    /// Something happens at a socket.
    fn happen(&mut self, random: &mut StdRng) {
        let known: Vec<SocketAddr> = self
            .bound
            .iter()
            .flat_map(|bound| bound.at.clone())
            .collect();
        let to = if known.is_empty() {
            "10.0.0.1:2855".parse().unwrap()
        } else {
            *pick(random, &known)
        };
        let from = client(random);
        let bytes = self.bytes(random);
        if let Some(dialled) = self.net.dialled() {
            match random.random_range(0..3) {
                0 => self.net.refuse(dialled.connection),
                1 => {
                    self.net.answer(dialled.connection);
                    self.connections.push(dialled.connection);
                }
                // Nobody ever says whether.
                _ => {}
            }
        }
        match random.random_range(0..10) {
            0..4 => {
                for _ in 0..random.random_range(1..80) {
                    let _ = self.net.datagram(from, to, &bytes);
                }
            }
            4 if random.random() => self.couple(random),
            4 => self.connections.extend(self.net.dial(from, to)),
            5 if !self.msrp.is_empty() => {
                let (connection, path) = pick(random, &self.msrp);
                let len = *pick(random, &[1, 500, 60_000]);
                self.net.feed(*connection, &msrp_send(path, Some(len)));
            }
            _ if self.connections.is_empty() => {}
            5..8 => {
                self.net.feed(*pick(random, &self.connections), &bytes);
            }
            8 => {
                let connection = *pick(random, &self.connections);
                let _ = self
                    .net
                    .read(connection, *pick(random, &[1, 1000, 1_000_000]));
                self.net
                    .set_window(connection, *pick(random, &[0, 100, 64 * 1024]));
            }
            _ => {
                let at = random.random_range(0..self.connections.len());
                let connection = self.connections.swap_remove(at);
                if random.random() {
                    self.net.hang_up(connection);
                } else {
                    self.net.cut(connection);
                }
            }
        }
    }

    fn step(&mut self, random: &mut StdRng) {
        if random.random_ratio(2, 5) {
            let session = if random.random_ratio(1, 6) {
                self.sessions + 1
            } else {
                self.sessions
            };
            self.sessions = session;
            let session = session.saturating_sub(random.random_range(0..6)).max(1);
            let acts = (0..random.random_range(1..4))
                .map(|_| act(random))
                .collect();
            self.order(session, acts);
        }
        if random.random_ratio(1, 10) {
            self.sessions += 1;
            let stream = StreamId(random.random_range(0..4));
            let [a, b] = Side::BOTH.map(|side| connect(random, stream, side));
            self.order(self.sessions, vec![open(random, stream), a, b]);
        }
        for _ in 0..random.random_range(0..6) {
            self.happen(random);
        }
        if random.random_ratio(1, 8) {
            self.records = random.random();
        }
        let most = if random.random_ratio(1, 40) {
            5_000
        } else {
            40
        };
        self.pass(Duration::from_millis(random.random_range(0..most)));
    }

    /// Everything is released, and every time-out passes.
    fn end(&mut self) {
        self.records = true;
        for session in 1..=self.sessions {
            self.order(
                session,
                vec![Act::Release {
                    streams: StreamSet::ALL,
                    drain_ms: 100,
                    facts: Vec::new(),
                }],
            );
            self.pass(Duration::from_millis(20));
        }
        self.pass(Duration::from_secs(40));
        assert_eq!(self.done, self.sent, "every order comes back");
        assert_eq!(self.begun, BTreeMap::new(), "every recording ends");
        let stats = self.board.load();
        let Stats {
            sessions,
            sockets,
            ports_free,
            ports_total,
            frames_free,
            stream_frames_free,
            ..
        } = stats;
        assert_eq!(
            (sessions, sockets, self.net.open_sockets()),
            (0, 1, 1),
            "the MSRP listener is left: {stats:?}"
        );
        assert_eq!((ports_free, ports_total), (PORTS, PORTS), "{stats:?}");
        assert_eq!(frames_free, FRAMES.datagrams as u64, "{stats:?}");
        assert_eq!(stream_frames_free, FRAMES.streams as u64, "{stats:?}");
        assert_eq!(
            stats.msrp_acknowledged,
            stats.msrp_delivered + stats.msrp_reported + stats.msrp_open
        );
        assert_eq!(stats.msrp_open, 0, "{stats:?}");
    }
}

#[test]
fn a_worker_gets_back_every_socket_frame_and_port() {
    rounds("worker", 80, |random| {
        let mut world = World::new(random);
        for _ in 0..random.random_range(20..400) {
            world.step(random);
        }
        world.end();
    });
}
