//! TLS: who is let in, who is not, and what passes.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use dataplane::api::{MsrpTransport, OriginPolicy, Side};
use dataplane::stats::DropReason;
use rustls::version::{TLS12, TLS13};

use super::identity::Identity;
use super::rig::{
    BACKENDS, BOTH_VERSIONS, Rig, TlsClient, bind, body_of, noise, read_frame, send, tcp,
    tls_client, tls_server,
};

const TLS: MsrpTransport = MsrpTransport::Tls;
const TCP: MsrpTransport = MsrpTransport::Tcp;
/// Octets of a message that is sent each way.
const BIG: usize = 10 << 20;

fn far() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Sends a message on one stream and reads it on the other.
fn pass(
    (from, path): (&mut (impl Write + Send), &str),
    to: &mut impl Read,
    body: &[u8],
) -> Vec<u8> {
    std::thread::scope(|scope| {
        let frame = send("mesg0001", path, super::rig::A_PATH, Some(body));
        scope.spawn(move || {
            from.write_all(&frame).unwrap();
            from.flush().unwrap();
        });
        read_frame(to)
    })
}

#[test]
fn ten_megabytes_pass_each_way_unchanged() {
    for backend in BACKENDS {
        let Some(mut rig) = Rig::start(backend, OriginPolicy::Any) else {
            continue;
        };
        let (a_identity, b_identity, listener) = (Identity::new(), Identity::new(), far());
        let announced = [
            Some(a_identity.fingerprint()),
            Some(b_identity.fingerprint()),
        ];
        let paths = rig.open([TLS, TLS], announced, Some(listener.local_addr().unwrap()));
        let mut b = tls_server(&listener, &b_identity);
        let binding = read_frame(&mut b);
        assert!(binding.ends_with(b"$\r\n"));
        let shown = b.conn.peer_certificates().unwrap();
        assert_eq!(shown[0].as_ref(), rig.relay.certificate, "{backend:?}");

        let mut a = tls_client(rig.listen(TLS), Some(&a_identity), BOTH_VERSIONS);
        bind(&mut a, &paths[0]);
        let shown = a.conn.peer_certificates().unwrap();
        assert_eq!(shown[0].as_ref(), rig.relay.certificate);

        let body = noise(BIG, 7);
        let heard = pass((&mut a, &paths[0]), &mut b, &body);
        assert!(body_of(&heard) == body, "{backend:?}: A to B");
        let body = noise(BIG, 8);
        let heard = pass((&mut b, &paths[1]), &mut a, &body);
        assert!(body_of(&heard) == body, "{backend:?}: B to A");
        rig.wait_for_handshakes(2);
    }
}

#[test]
fn tls_1_2_and_1_3_meet_plain_tcp_on_the_other_side() {
    for version in [&TLS12, &TLS13] {
        let mut rig = Rig::epoll();
        let identity = Identity::new();
        let announced = [Some(identity.fingerprint()), None];
        let paths = rig.open([TLS, TCP], announced, None);
        let mut a = tls_client(rig.listen(TLS), Some(&identity), &[version]);
        bind(&mut a, &paths[0]);
        assert_eq!(a.conn.protocol_version(), Some(version.version));
        let mut b = tcp(rig.listen(TCP));
        bind(&mut b, &paths[1]);
        for (seed, count) in [(1, 1), (2, 16_000), (3, 16_384), (4, 40_000)] {
            let body = noise(count, seed);
            assert!(body_of(&pass((&mut a, &paths[0]), &mut b, &body)) == body);
            assert!(body_of(&pass((&mut b, &paths[1]), &mut a, &body)) == body);
        }
    }
}

/// Whether a far end that announced a fingerprint and shows this certificate is let in.
fn is_let_in(shown: Option<&Identity>, announced: &Identity) -> bool {
    let mut rig = Rig::epoll();
    let paths = rig.open([TLS, TCP], [Some(announced.fingerprint()), None], None);
    let mut a = tls_client(rig.listen(TLS), shown, BOTH_VERSIONS);
    let bind = send("bind0001", &paths[0], super::rig::A_PATH, None);
    a.write_all(&bind).unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while !answer.ends_with(b"$\r\n") {
        let count = a.read(&mut piece).unwrap();
        assert!(count > 0);
        answer.extend_from_slice(&piece[..count]);
    }
    if answer.starts_with(b"MSRP bind0001 200") {
        return true;
    }
    assert!(answer.starts_with(b"MSRP bind0001 403"), "{answer:?}");
    assert_eq!(
        a.read(&mut piece).unwrap(),
        0,
        "closed, with a close_notify"
    );
    rig.wait_for_drops(DropReason::Fingerprint, 1);
    false
}

#[test]
fn only_the_announced_certificate_is_let_in() {
    let (announced, other) = (Identity::new(), Identity::new());
    assert!(is_let_in(Some(&announced), &announced));
    assert!(!is_let_in(Some(&other), &announced));
    assert!(
        !is_let_in(None, &announced),
        "none is not the announced one"
    );
}

#[test]
fn who_announced_nothing_needs_no_certificate() {
    let mut rig = Rig::epoll();
    let paths = rig.open([TLS, TCP], [None, None], None);
    let mut a = tls_client(rig.listen(TLS), None, BOTH_VERSIONS);
    bind(&mut a, &paths[0]);
}

#[test]
fn a_far_end_with_another_certificate_is_not_talked_to() {
    let mut rig = Rig::epoll();
    let (announced, other, listener) = (Identity::new(), Identity::new(), far());
    let fingerprints = [None, Some(announced.fingerprint())];
    rig.open(
        [TCP, TLS],
        fingerprints,
        Some(listener.local_addr().unwrap()),
    );
    let mut b = tls_server(&listener, &other);
    let mut heard = Vec::new();
    b.read_to_end(&mut heard).unwrap();
    assert!(heard.is_empty(), "no SEND goes to a stranger: {heard:?}");
    assert_eq!(rig.wait_for_loss(), Side::B);
    rig.wait_for_drops(DropReason::Fingerprint, 1);
}

#[test]
fn a_leg_is_not_bound_to_what_it_is_not_carried_by() {
    let mut rig = Rig::epoll();
    let paths = rig.open([TLS, TCP], [None, None], None);
    let mut plain = tcp(rig.listen(TCP));
    let bind = send("bind0001", &paths[0], super::rig::A_PATH, None);
    plain.write_all(&bind).unwrap();
    assert!(read_frame(&mut plain).starts_with(b"MSRP bind0001 481"));
    let mut secure = tls_client(rig.listen(TLS), None, BOTH_VERSIONS);
    let bind = send("bind0002", &paths[1], super::rig::A_PATH, None);
    secure.write_all(&bind).unwrap();
    assert!(read_frame(&mut secure).starts_with(b"MSRP bind0002 481"));
}

#[test]
fn a_release_ends_tls_before_tcp() {
    let mut rig = Rig::epoll();
    let paths = rig.open([TLS, TCP], [None, None], None);
    let mut a: TlsClient = tls_client(rig.listen(TLS), None, BOTH_VERSIONS);
    bind(&mut a, &paths[0]);
    rig.release();
    // rustls says `UnexpectedEof` where TCP ended and TLS did not.
    assert_eq!(a.read(&mut [0; 16]).unwrap(), 0);
}

#[test]
fn a_far_end_that_ends_tls_has_ended_the_connection() {
    let mut rig = Rig::epoll();
    let paths = rig.open([TLS, TCP], [None, None], None);
    let mut a = tls_client(rig.listen(TLS), None, BOTH_VERSIONS);
    bind(&mut a, &paths[0]);
    a.conn.send_close_notify();
    a.flush().unwrap();
    assert_eq!(rig.wait_for_loss(), Side::A);
    assert_eq!(a.read(&mut [0; 16]).unwrap(), 0);
}

/// What the relay says to octets that begin no handshake.
fn answer_to(octets: &[u8]) -> Vec<u8> {
    let rig = Rig::epoll();
    let mut stranger = tcp(rig.listen(TLS));
    stranger.write_all(octets).unwrap();
    let mut answer = Vec::new();
    let end = stranger.read_to_end(&mut answer);
    assert!(
        end.is_ok() || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset),
        "closed"
    );
    rig.wait_for_drops(DropReason::Handshake, 1);
    answer
}

#[test]
fn tls_1_1_is_refused_by_name() {
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend_from_slice(&[7; 32]);
    // No session, TLS_RSA_WITH_AES_128_CBC_SHA, no compression, signature_algorithms.
    hello.extend_from_slice(&[0, 0, 2, 0, 0x2f, 1, 0, 0, 10, 0, 13, 0, 6, 0, 4, 4, 1, 4, 3]);
    hello[4] = u8::try_from(hello.len() - 5).unwrap();
    hello[8] = u8::try_from(hello.len() - 9).unwrap();
    let answer = answer_to(&hello);
    let protocol_version = 70;
    assert_eq!(answer.first(), Some(&0x15), "{answer:?}");
    assert_eq!(answer.last(), Some(&protocol_version), "{answer:?}");
}

#[test]
fn garbage_is_answered_with_an_alert_and_an_end() {
    for garbage in [
        &b"MSRP bind0001 SEND\r\nTo-Path: msrp://x:1/y;tcp\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0; 64],
    ] {
        let answer = answer_to(garbage);
        assert_eq!(answer.first(), Some(&0x15), "{answer:?}");
    }
}

#[test]
fn a_record_that_was_changed_ends_its_connection_and_no_other() {
    let mut rig = Rig::epoll();
    let paths = rig.open([TLS, TLS], [None, None], None);
    let mut a = tls_client(rig.listen(TLS), None, BOTH_VERSIONS);
    bind(&mut a, &paths[0]);
    let mut b = tls_client(rig.listen(TLS), None, BOTH_VERSIONS);
    bind(&mut b, &paths[1]);
    let mut bad = vec![0x17, 3, 3, 0, 64];
    bad.extend_from_slice(&[9; 64]);
    a.sock.write_all(&bad).unwrap();
    assert_eq!(rig.wait_for_loss(), Side::A);
    rig.wait_for_drops(DropReason::BrokenLayer, 1);
    assert!(a.read(&mut [0; 16]).is_err(), "an alert");
    b.write_all(&send("ping0001", &paths[1], super::rig::A_PATH, None))
        .unwrap();
    assert!(read_frame(&mut b).starts_with(b"MSRP ping0001 200"));
}

/// OpenSSL isn't the library that the relay is made with.
#[test]
fn openssl_binds_a_leg() {
    let mut rig = Rig::epoll();
    let paths = rig.open([TLS, TCP], [None, None], None);
    let connect = rig.listen(TLS).to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        let client = Command::new("openssl")
            .args(["s_client", "-quiet", version, "-connect", &connect])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut client) = client else {
            eprintln!("SKIPPED: no openssl here");
            return;
        };
        let mut stdin = client.stdin.take().unwrap();
        stdin
            .write_all(&send("bind0001", &paths[0], super::rig::A_PATH, None))
            .unwrap();
        let answer = read_frame(client.stdout.as_mut().unwrap());
        client.kill().unwrap();
        client.wait().unwrap();
        assert!(answer.starts_with(b"MSRP bind0001 200"), "{version}");
        rig.wait_for_loss();
    }
}

#[test]
fn a_connection_that_only_opens_is_no_burden() {
    let rig = Rig::epoll();
    let idle: Vec<TcpStream> = (0..64).map(|_| tcp(rig.listen(TLS))).collect();
    let mut other = tls_client(rig.listen(TLS), None, BOTH_VERSIONS);
    other.write_all(b"x").unwrap();
    rig.wait_for_handshakes(1);
    drop(idle);
    rig.wait_for_drops(DropReason::Handshake, 64);
}
