//! Layers over a backend in memory: what is bounded, what waits, and who is found out late.
#![expect(clippy::disallowed_types, reason = "the far ends write text")]

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

use crate::api::{
    Act, Config, Direction, Event, Fingerprint, LegLocal, LegSpec, MsrpRemote, MsrpSetup, MsrpSpec,
    MsrpTransport, OriginPolicy, Outcome, PortChoice, Remote, Side, StreamId, StreamPlan,
    StreamSet, TlsIdentity,
};
use crate::limits::{HANDSHAKE_STEPS_PER_CYCLE, HANDSHAKES, STREAM_QUEUE_HIGH_BYTES};
use crate::net::SocketId;
use crate::stats::DropReason;

use super::fake::{LOCAL, World, address, config, release};
use identity::Anyone;
pub(super) use identity::Identity;

#[path = "../../../tests/layers/identity.rs"]
mod identity;

const A: &str = "192.0.2.1:7000";
const A_PATH: &str = "msrps://192.0.2.1:7000/aaaa;tcp";
const B: &str = "192.0.2.2:8000";
const B_PATH: &str = "msrps://192.0.2.2:8000/bbbb;tcp";
const TLS: MsrpTransport = MsrpTransport::Tls;

pub(super) fn client(identity: &Identity) -> rustls::Connection {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_client_auth_cert(identity.chain(), identity.key())
        .unwrap();
    let name = ServerName::try_from("relay.example").unwrap();
    ClientConnection::new(Arc::new(config), name)
        .unwrap()
        .into()
}

pub(super) fn server(identity: &Identity) -> rustls::Connection {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(identity.chain(), identity.key())
        .unwrap();
    ServerConnection::new(Arc::new(config)).unwrap().into()
}

pub(super) fn settings() -> Config {
    Config {
        msrp_ports: [2855, 3855, 4855, 5855].map(PortChoice::From),
        msrp_tls: Some(Identity::new().tls()),
        msrp_origins: OriginPolicy::Any,
        ..config(10_000, 10_099)
    }
}

fn listen() -> SocketAddr {
    address("10.0.0.1:3855")
}

fn open(world: &mut World) -> [String; 2] {
    let leg = LegSpec::Msrp(MsrpSpec {
        transport: TLS,
        ..MsrpSpec::plain(LOCAL.parse().unwrap())
    });
    let plan = StreamPlan {
        stream: StreamId(0),
        legs: [leg.clone(), leg],
        local: Default::default(),
        silence_ms: 0,
        record: false,
    };
    let opened = world.order(1, vec![Act::Open(plan)]);
    let Act::Open(plan) = &opened.acts[0] else {
        panic!()
    };
    plan.local.each_ref().map(|local| {
        let LegLocal::Msrp(local) = local else {
            panic!("{local:?}")
        };
        assert_eq!(local.listen, listen());
        let id = str::from_utf8(&local.session_id).unwrap();
        format!("msrps://{}/{id};tcp", listen())
    })
}

fn connect(world: &mut World, side: Side, setup: MsrpSetup, fingerprint: Option<Fingerprint>) {
    let (path, at) = [(A_PATH, A), (B_PATH, B)][side.index()];
    let act = Act::Connect {
        stream: StreamId(0),
        side,
        remote: Remote::Msrp(MsrpRemote {
            path: path.into(),
            address: address(at),
            setup,
            fingerprint,
            local_path: None,
        }),
        direction: Direction::BOTH,
    };
    assert_eq!(world.order(1, vec![act]).outcome, Outcome::Done);
}

/// The connection that the relay makes.
pub(super) fn dialled(world: &World) -> SocketId {
    let net = world.net.borrow();
    let found = net.sockets.iter().find(|(_, sock)| sock.remote.is_some());
    SocketId(*found.unwrap().0)
}

fn accept(world: &mut World) -> SocketId {
    let socket = world.net.borrow_mut().accept(listen(), address(A));
    world.cycle();
    socket
}

pub(super) fn is_there(world: &World, socket: SocketId) -> bool {
    world.net.borrow().sockets.contains_key(&socket.0)
}

/// Carries octets between the relay and a far end until both have nothing more to say; says what
/// the far end heard.
pub(super) fn talk(world: &mut World, socket: SocketId, far: &mut rustls::Connection) -> Vec<u8> {
    let mut heard = Vec::new();
    for _ in 0..8 {
        let mut out = Vec::new();
        while far.wants_write() {
            far.write_tls(&mut out).unwrap();
        }
        for part in out.chunks(16_000) {
            if is_there(world, socket) {
                world.net.borrow_mut().feed(socket, part);
            }
            world.cycle();
        }
        world.cycle();
        if !is_there(world, socket) {
            break;
        }
        let written = {
            let mut net = world.net.borrow_mut();
            std::mem::take(&mut net.sockets.get_mut(&socket.0).unwrap().written)
        };
        hear(far, &written, &mut heard);
    }
    heard
}

fn hear(far: &mut rustls::Connection, mut wire: &[u8], heard: &mut Vec<u8>) {
    while !wire.is_empty() {
        far.read_tls(&mut wire).unwrap();
        let state = far.process_new_packets().unwrap();
        let at = heard.len();
        heard.resize(at + state.plaintext_bytes_to_read(), 0);
        std::io::Read::read_exact(&mut far.reader(), &mut heard[at..]).unwrap();
    }
}

pub(super) fn say(far: &mut rustls::Connection, octets: &[u8]) {
    far.set_buffer_limit(None);
    std::io::Write::write_all(&mut far.writer(), octets).unwrap();
}

fn send(id: &str, path: &str, body: Option<&str>) -> String {
    let head =
        format!("MSRP {id} SEND\r\nTo-Path: {path}\r\nFrom-Path: {A_PATH}\r\nMessage-ID: m\r\n");
    match body {
        None => format!("{head}-------{id}$\r\n"),
        Some(body) => format!(
            "{head}Byte-Range: 1-*/*\r\nContent-Type: text/plain\r\n\r\n{body}\r\n-------{id}$\r\n"
        ),
    }
}

#[test]
fn a_new_handshake_ends_the_oldest_of_too_many() {
    let mut world = World::new(&settings());
    let sockets: Vec<_> = (0..HANDSHAKES + 10).map(|_| accept(&mut world)).collect();
    world.cycle();
    let (old, new) = sockets.split_at(10);
    assert!(old.iter().all(|socket| !is_there(&world, *socket)));
    assert!(new.iter().all(|socket| is_there(&world, *socket)));
    assert_eq!(world.worker.stats.full_handshakes, 10);
}

#[test]
fn a_crowd_of_handshakes_takes_turns() {
    let mut world = World::new(&settings());
    let identity = Identity::new();
    let mut far: Vec<_> = (0..50)
        .map(|_| (accept(&mut world), client(&identity)))
        .collect();
    for (socket, session) in &mut far {
        let mut hello = Vec::new();
        session.write_tls(&mut hello).unwrap();
        let (front, back) = hello.split_at(100);
        let mut net = world.net.borrow_mut();
        net.feed(*socket, front);
        net.feed(*socket, back);
    }
    let answered = |world: &World| {
        let net = world.net.borrow();
        let mut sockets = far.iter().map(|(socket, _)| &net.sockets[&socket.0]);
        let count = sockets
            .clone()
            .filter(|sock| !sock.written.is_empty())
            .count();
        assert!(sockets.all(|sock| sock.written.first().is_none_or(|first| *first == 0x16)));
        count
    };
    let mut before = 0;
    for _ in 0..60 {
        world.cycle();
        let now = answered(&world);
        assert!(now - before <= HANDSHAKE_STEPS_PER_CYCLE);
        assert!(
            now == 50 || world.worker.idle_for(world.now).is_zero(),
            "{now}"
        );
        before = now;
    }
    assert_eq!(before, 50);
}

#[test]
fn a_handshake_has_ten_seconds() {
    let mut world = World::new(&settings());
    let (silent, slow) = (accept(&mut world), accept(&mut world));
    world.net.borrow_mut().feed(slow, &[0x16, 3, 1]);
    world.pass(9_900);
    assert!(is_there(&world, silent) && is_there(&world, slow));
    world.pass(200);
    assert!(!is_there(&world, silent) && !is_there(&world, slow));
    assert_eq!(world.dropped(DropReason::Handshake), 2);
}

#[test]
fn a_far_end_that_never_answers_a_handshake_is_lost() {
    let mut world = World::new(&settings());
    open(&mut world);
    connect(&mut world, Side::B, MsrpSetup::Active, None);
    let b = dialled(&world);
    world.net.borrow_mut().made(b, true);
    world.cycle();
    let hello = world.net.borrow().sockets[&b.0].written.clone();
    assert_eq!(hello.first(), Some(&0x16), "a handshake record");
    world.pass(9_900);
    assert!(world.news.is_empty());
    world.pass(200);
    assert!(matches!(
        world.news[..],
        [Event::ConnectionLost { side: Side::B, .. }]
    ));
    assert!(!is_there(&world, b));
}

#[test]
fn a_release_during_a_handshake_leaves_nothing() {
    let mut world = World::new(&settings());
    open(&mut world);
    connect(&mut world, Side::B, MsrpSetup::Active, None);
    let b = dialled(&world);
    world.net.borrow_mut().made(b, true);
    world.cycle();
    world.order(1, vec![release(StreamSet::ALL, 0)]);
    world.pass(20_000);
    assert_eq!(world.worker.stats.sockets, 4, "the listeners");
    assert_eq!(world.dropped(DropReason::Handshake), 0);
    assert!(world.news.is_empty());
}

#[test]
fn who_bound_a_leg_before_its_answer_is_found_out_by_it() {
    let mut world = World::new(&settings());
    let paths = open(&mut world);
    let (announced, other) = (Identity::new(), Identity::new());
    let stranger = accept(&mut world);
    let mut session = client(&other);
    say(&mut session, send("bind0001", &paths[1], None).as_bytes());
    let heard = talk(&mut world, stranger, &mut session);
    assert!(heard.starts_with(b"MSRP bind0001 200"));

    let fingerprint = Some(announced.tls().fingerprint());
    connect(&mut world, Side::B, MsrpSetup::Passive, fingerprint);
    world.pass(40);
    assert!(!is_there(&world, stranger));
    assert_eq!(world.dropped(DropReason::Fingerprint), 1);
    assert!(world.news.is_empty(), "the announced one is still awaited");

    let expected = accept(&mut world);
    let mut session = client(&announced);
    say(&mut session, send("bind0002", &paths[1], None).as_bytes());
    let heard = talk(&mut world, expected, &mut session);
    assert!(heard.starts_with(b"MSRP bind0002 200"));
}

#[test]
fn a_slow_reader_behind_tls_stops_the_sender_before_tls() {
    let mut world = World::new(&settings());
    let paths = open(&mut world);
    connect(&mut world, Side::A, MsrpSetup::Passive, None);
    connect(&mut world, Side::B, MsrpSetup::Active, None);
    let b = dialled(&world);
    world.net.borrow_mut().made(b, true);
    world.cycle();
    let (identity, mut heard) = (Identity::new(), Vec::new());
    let mut far_b = server(&identity);
    heard.extend(talk(&mut world, b, &mut far_b));
    assert!(heard.starts_with(b"MSRP "), "the relay binds");
    let a = accept(&mut world);
    let mut far_a = client(&identity);
    say(&mut far_a, send("bind0001", &paths[0], None).as_bytes());
    talk(&mut world, a, &mut far_a);

    let window = |world: &World, count| world.net.borrow_mut().open_window(b, count);
    window(&world, 0);
    let body = "~".repeat(2 << 20);
    say(
        &mut far_a,
        send("mesg0001", &paths[0], Some(&body)).as_bytes(),
    );
    talk(&mut world, a, &mut far_a);
    assert!(world.net.borrow().sockets[&a.0].paused);
    let queue = world.net.borrow().sockets[&b.0].queue;
    assert!(
        queue > STREAM_QUEUE_HIGH_BYTES && queue < 2 * STREAM_QUEUE_HIGH_BYTES,
        "{queue} octets wait"
    );
    for _ in 0..200 {
        window(&world, 30_000);
        world.cycle();
    }
    assert!(!world.net.borrow().sockets[&a.0].paused);
    heard.clear();
    heard.extend(talk(&mut world, b, &mut far_b));
    let heard = str::from_utf8(&heard).unwrap();
    assert_eq!(heard.matches('~').count(), body.len());
}
