//! What an idle TLS session or WebSocket costs, and that records take no memory that stays.
#![expect(unsafe_code, reason = "the C library is asked for what is allocated")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use dataplane::api::{OriginPolicy, TlsIdentity};
use dataplane::proto::layer::{Output, Stage};
use dataplane::proto::tls::{Endpoints, Session, Spare};
use dataplane::proto::websocket::{Shared, Socket};

const SESSIONS: usize = 100;
/// Octets of an idle session of one side: its keys and ciphers, and its far end's certificate.
const TLS_BYTES_MAX: usize = 6144;
const WEBSOCKET_BYTES_MAX: usize = 1024;

/// What is allocated now, by Rust or by C.
fn live() -> usize {
    // SAFETY: it takes nothing and returns numbers.
    let arena = unsafe { libc::mallinfo2() };
    arena.uordblks + arena.hblkhd
}

struct Pair {
    client: Box<Session>,
    server: Box<Session>,
}

/// Carries what each has to say to the other until both are silent.
fn settle(pair: &mut Pair, spare: &mut Spare, plain: &mut usize) {
    let mut to_server = Output::default();
    let mut stage = pair.client.receive(&[], spare, &mut to_server).unwrap();
    while !to_server.wire.is_empty() {
        let mut to_client = Output::default();
        let octets = std::mem::take(&mut to_server.wire);
        pair.server.receive(&octets, spare, &mut to_client).unwrap();
        *plain += to_client.plain.len();
        stage = pair
            .client
            .receive(&to_client.wire, spare, &mut to_server)
            .unwrap();
    }
    assert_eq!(stage, Stage::Open);
}

#[test]
fn an_idle_session_is_its_keys() {
    let made = rcgen::generate_simple_self_signed(vec!["far.example".to_owned()]).unwrap();
    let key = made.signing_key.serialize_der();
    let identity = TlsIdentity::new(vec![made.cert.der().to_vec()], key);
    let endpoints = Endpoints::new(&identity).unwrap();
    let (mut spare, mut plain) = (Spare::default(), 0);
    let mut pairs = Vec::with_capacity(SESSIONS);
    let mut begun = 0;
    for number in 0..SESSIONS + 10 {
        let mut pair = Pair {
            client: Box::new(Session::connect(&endpoints, "far.example").unwrap()),
            server: Box::new(Session::accept(&endpoints).unwrap()),
        };
        settle(&mut pair, &mut spare, &mut plain);
        let mut sealed = vec![0; 20_000];
        let count = pair.client.seal(&[7; 16_000], &mut sealed).unwrap();
        let mut out = Output::default();
        pair.server
            .receive(&sealed[..count], &mut spare, &mut out)
            .unwrap();
        assert_eq!(out.plain.len(), 16_000);
        drop((sealed, out));
        // The first ones fill caches.
        match number {
            0..10 => begun = live(),
            _ => pairs.push(pair),
        }
    }
    let both = (live() - begun) / SESSIONS;
    let servers: Vec<_> = pairs.into_iter().map(|pair| pair.server).collect();
    let one = (live() - begun) / SESSIONS;
    eprintln!(
        "an idle TLS session: {one} octets as a server, {} as a client",
        both - one
    );
    assert!(both - one <= TLS_BYTES_MAX && one <= TLS_BYTES_MAX);
    drop(servers);

    let mut shared = Shared::new(OriginPolicy::Any);
    let request = b"GET / HTTP/1.1\r\nHost: r\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Protocol: msrp\r\n\r\n";
    let mut sockets = Vec::with_capacity(SESSIONS);
    let begun = live();
    for _ in 0..SESSIONS {
        let mut socket = Box::new(Socket::default());
        let mut out = Output::default();
        let stage = socket.receive(request, &mut shared, &mut out);
        assert_eq!(stage, Ok(Stage::Open));
        sockets.push(socket);
    }
    let one = (live() - begun) / SESSIONS;
    eprintln!("an idle WebSocket: {one} octets");
    assert!(one <= WEBSOCKET_BYTES_MAX);
}
