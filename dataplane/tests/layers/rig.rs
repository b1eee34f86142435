//! A started worker, and far ends written from RFC 4975.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use dataplane::api::{
    Act, BackendKind, Config, Direction, Doorbell, Event, Fingerprint, LegLocal, LegSpec,
    MsrpRemote, MsrpSetup, MsrpSpec, MsrpTransport, Order, OriginPolicy, Outcome, PortChoice,
    RelayRole, Remote, SessionId, Side, StreamId, StreamPlan, StreamSet,
};
use dataplane::frame::PoolSize;
use dataplane::stats::{DropReason, Stats};
use dataplane::worker::{Handle, start};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};

use super::identity::{Anyone, Identity};

pub const BACKENDS: [BackendKind; 2] = [BackendKind::Epoll, BackendKind::Uring];
pub const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// What a far end calls itself that doesn't listen.
pub const A_PATH: &str = "msrps://127.0.0.1:7000/aaaa;tcp";

pub type TlsClient = StreamOwned<ClientConnection, TcpStream>;
pub type TlsServer = StreamOwned<ServerConnection, TcpStream>;
pub const BOTH_VERSIONS: &[&SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];

/// Connects by TLS, with a certificate or without.
pub fn tls_client(
    at: SocketAddr,
    identity: Option<&Identity>,
    versions: &[&'static SupportedProtocolVersion],
) -> TlsClient {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone));
    let config = match identity {
        Some(identity) => config
            .with_client_auth_cert(identity.chain(), identity.key())
            .unwrap(),
        None => config.with_no_client_auth(),
    };
    let name = ServerName::try_from("relay.example").unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(session, tcp(at))
}

/// Waits for the relay to connect, and takes it as a TLS client.
pub fn tls_server(listener: &TcpListener, identity: &Identity) -> TlsServer {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(BOTH_VERSIONS)
        .unwrap()
        .with_client_cert_verifier(Arc::new(Anyone))
        .with_single_cert(identity.chain(), identity.key())
        .unwrap();
    let (socket, _) = listener.accept().unwrap();
    be_patient(&socket);
    let session = ServerConnection::new(Arc::new(config)).unwrap();
    StreamOwned::new(session, socket)
}

pub fn tcp(at: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(at).unwrap();
    be_patient(&socket);
    socket
}

fn be_patient(socket: &TcpStream) {
    let patience = Some(Duration::from_secs(20));
    socket.set_read_timeout(patience).unwrap();
    socket.set_write_timeout(patience).unwrap();
    socket.set_nodelay(true).unwrap();
}

/// A worker that listens for everything.
pub struct Rig {
    pub handle: Handle,
    pub relay: Identity,
    next: u64,
}

impl Rig {
    /// `None` where the kernel has no such backend.
    pub fn start(backend: BackendKind, origins: OriginPolicy) -> Option<Self> {
        Self::start_as(backend, origins, None)
    }

    /// The same, with the role of a relay for clients.
    pub fn start_as(
        backend: BackendKind,
        origins: OriginPolicy,
        role: Option<RelayRole>,
    ) -> Option<Self> {
        let relay = Identity::new();
        let config = Config {
            workers: 1,
            first_core: None,
            backend,
            port_first: 46_000,
            port_last: 46_099,
            port_quiet_ms: 1,
            msrp_listen: vec![LOCAL],
            msrp_ports: [PortChoice::From(0); 4],
            msrp_tls: Some(relay.tls()),
            msrp_origins: origins,
            msrp_relay: role,
            pool: PoolSize {
                datagrams: 64,
                streams: 256,
            },
            seed: Some(1),
        };
        let bell = Doorbell::new().unwrap();
        match start(&config, &bell) {
            Ok(mut handles) => Some(Self {
                handle: handles.pop().unwrap(),
                relay,
                next: 0,
            }),
            Err(error) if backend == BackendKind::Uring => {
                eprintln!("SKIPPED: this kernel has no io_uring for us: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub fn epoll() -> Self {
        Self::start(BackendKind::Epoll, OriginPolicy::Any).unwrap()
    }

    pub fn listen(&self, transport: MsrpTransport) -> SocketAddr {
        let mut listeners = self.handle.msrp_listen.iter();
        let found = listeners.find(|listen| listen.transport == transport);
        found.unwrap().address
    }

    fn order(&mut self, session: u64, acts: Vec<Act>) -> Box<Order> {
        let order = Box::new(Order {
            session: SessionId(session),
            mark: session,
            acts,
            outcome: Outcome::Pending,
            returned: Vec::new(),
        });
        self.handle.link.order(order).unwrap();
        loop {
            match self.handle.link.news() {
                Some(Event::Done(order)) => return order,
                Some(_) => {}
                None => std::thread::yield_now(),
            }
        }
    }

    /// Opens a stream between two far ends and says the relay's path to each. A connects; so does
    /// B, unless `far` says where the relay is to connect to.
    pub fn open(
        &mut self,
        transports: [MsrpTransport; 2],
        fingerprints: [Option<Fingerprint>; 2],
        far: Option<SocketAddr>,
    ) -> [String; 2] {
        self.next += 1;
        let session = self.next;
        let leg = |transport| {
            LegSpec::Msrp(MsrpSpec {
                transport,
                ..MsrpSpec::plain(LOCAL)
            })
        };
        let plan = StreamPlan {
            stream: StreamId(0),
            legs: transports.map(leg),
            local: Default::default(),
            silence_ms: 0,
            record: false,
        };
        let opened = self.order(session, vec![Act::Open(plan)]);
        let Act::Open(plan) = &opened.acts[0] else {
            panic!("{opened:?}");
        };
        let paths = [0, 1].map(|side| {
            let LegLocal::Msrp(local) = &plan.local[side] else {
                panic!("{:?}", plan.local);
            };
            let (scheme, listen) = (transports[side].scheme(), local.listen);
            assert_eq!(listen, self.listen(transports[side]));
            let id = str::from_utf8(&local.session_id).unwrap();
            format!("{scheme}://{listen}/{id};{}", transports[side].parameter())
        });
        let connect = |side: Side, at: Option<SocketAddr>| Act::Connect {
            stream: StreamId(0),
            side,
            remote: Remote::Msrp(MsrpRemote {
                path: match at {
                    Some(at) => format!("msrps://{at}/bbbb;tcp").into(),
                    None => A_PATH.into(),
                },
                address: at.unwrap_or(SocketAddr::new(LOCAL, 7000)),
                setup: match at {
                    Some(_) => MsrpSetup::Active,
                    None => MsrpSetup::Passive,
                },
                fingerprint: fingerprints[side.index()],
                local_path: None,
            }),
            direction: Direction::BOTH,
        };
        let acts = vec![connect(Side::A, None), connect(Side::B, far)];
        assert_eq!(self.order(session, acts).outcome, Outcome::Done);
        paths
    }

    pub fn release(&mut self) {
        let release = Act::Release {
            streams: StreamSet::ALL,
            drain_ms: 0,
            facts: Vec::new(),
        };
        self.order(self.next, vec![release]);
    }

    pub fn stats(&self) -> Stats {
        self.handle.board.load()
    }

    /// Waits until so many handshakes were completed; a worker publishes its counters now and then.
    pub fn wait_for_handshakes(&self, count: u64) {
        for _ in 0..2000 {
            if self.stats().handshakes >= count {
                break;
            }
            pause();
        }
        assert_eq!(self.stats().handshakes, count);
    }

    /// Waits until something was dropped for this reason so often.
    pub fn wait_for_drops(&self, why: DropReason, count: u64) {
        for _ in 0..2000 {
            let dropped = self.stats().drops[why as usize];
            if dropped >= count {
                assert_eq!(dropped, count, "{why:?}");
                return;
            }
            pause();
        }
        panic!("{why:?}: {:?}", self.stats());
    }

    /// Waits until control is told of a lost connection.
    pub fn wait_for_loss(&mut self) -> Side {
        for _ in 0..2000 {
            if let Some(Event::ConnectionLost { side, .. }) = self.handle.link.news() {
                return side;
            }
            pause();
        }
        panic!("nothing was lost");
    }
}

#[expect(clippy::disallowed_methods, reason = "real sockets need real time")]
pub fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

/// A SEND; without a body it only binds.
pub fn send(id: &str, to: &str, from: &str, body: Option<&[u8]>) -> Vec<u8> {
    let mut frame =
        format!("MSRP {id} SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: m{id}\r\n")
            .into_bytes();
    if let Some(body) = body {
        frame.extend_from_slice(b"Failure-Report: no\r\nByte-Range: 1-*/*\r\n");
        frame.extend_from_slice(b"Content-Type: application/octet-stream\r\n\r\n");
        frame.extend_from_slice(body);
        frame.extend_from_slice(b"\r\n");
    }
    frame.extend_from_slice(format!("-------{id}$\r\n").as_bytes());
    frame
}

/// Reads one whole frame: from its start line to the end line with its id.
pub fn read_frame(from: &mut impl Read) -> Vec<u8> {
    let mut frame = Vec::new();
    let mut piece = vec![0; 65_536];
    loop {
        let count = from.read(&mut piece).unwrap();
        assert!(count > 0, "an end after {} octets", frame.len());
        frame.extend_from_slice(&piece[..count]);
        if is_whole(&frame) {
            return frame;
        }
    }
}

/// Whether octets begin with a start line and end with the end line to it.
pub fn is_whole(frame: &[u8]) -> bool {
    let Some(id) = frame.split(|octet| *octet == b' ').nth(1) else {
        return false;
    };
    let end = frame.len().saturating_sub(id.len() + 10);
    let line = [b"-------", id].concat();
    frame[end..].starts_with(&line) && frame.ends_with(b"\r\n")
}

/// The body of a frame.
pub fn body_of(frame: &[u8]) -> &[u8] {
    let head = frame.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let id = frame.split(|octet| *octet == b' ').nth(1).unwrap();
    &frame[head..frame.len() - id.len() - 12]
}

/// Binds a leg and reads the 200 to it.
pub fn bind(stream: &mut (impl Read + Write), path: &str) {
    stream
        .write_all(&send("bind0001", path, A_PATH, None))
        .unwrap();
    let answer = read_frame(stream);
    assert!(answer.starts_with(b"MSRP bind0001 200"), "{answer:?}");
}

/// Octets that are no text, and no end line.
pub fn noise(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut octets = Vec::with_capacity(count + 8);
    while octets.len() < count {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        octets.extend_from_slice(&state.rotate_left(23).to_be_bytes());
    }
    octets.truncate(count);
    octets
}
