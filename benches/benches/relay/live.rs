//! A started worker over real sockets on loopback: what its users see.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use criterion::{Criterion, Throughput};
use dataplane::api::LegLocal;
use dataplane::worker::Handle;

use crate::calls;
use crate::wire::{RTP, send};

/// Sessions whose packets are relayed together.
const SESSIONS: u64 = 64;

/// Both clients of one session, each connected to its leg.
struct Call {
    a: UdpSocket,
    b: UdpSocket,
}

impl Call {
    fn new(handle: &mut Handle, session: u64) -> Self {
        let clients = [(), ()].map(|()| {
            let socket = UdpSocket::bind((calls::LOCAL, 0)).expect("a port is free");
            let patience = Some(Duration::from_secs(5));
            socket.set_read_timeout(patience).expect("it may be set");
            socket
        });
        let opened = calls::done(handle, session, vec![calls::open()]);
        let at = clients.each_ref().map(address);
        calls::done(handle, session, calls::connect(at).into());
        for (client, local) in clients.iter().zip(calls::bound(&opened)) {
            let LegLocal::Rtp { rtp, .. } = local else {
                unreachable!("it is a stream of RTP")
            };
            client.connect(rtp).expect("a UDP socket connects");
        }
        let [a, b] = clients;
        Self { a, b }
    }
}

fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().expect("it is bound")
}

pub(crate) fn rtp(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("live rtp");
    let mut buffer = [0; 2048];
    for (name, backend) in calls::backends() {
        let mut handle = calls::started(backend);
        let calls: Vec<Call> = (0..SESSIONS)
            .map(|session| Call::new(&mut handle, session))
            .collect();
        let call = &calls[0];
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("one packet, {name}"), |bencher| {
            bencher.iter(|| {
                call.a.send(&RTP).expect("loopback takes it");
                call.b.recv(&mut buffer).expect("it is relayed")
            });
        });
        group.throughput(Throughput::Elements(SESSIONS));
        group.bench_function(format!("{SESSIONS} packets, {name}"), |bencher| {
            bencher.iter(|| {
                for call in &calls {
                    call.a.send(&RTP).expect("loopback takes it");
                }
                for call in &calls {
                    call.b.recv(&mut buffer).expect("it is relayed");
                }
            });
        });
        calls::ended(handle);
    }
    group.finish();
}

/// Octets of a message's body.
const BODY_BYTES: usize = 1024;
const A_PATH: &str = "msrp://127.0.0.1:7777/alice;tcp";

/// Both ends of a chat, joined.
struct Chat {
    a: TcpStream,
    b: TcpStream,
    /// The relay's URI for A.
    path: String,
}

impl Chat {
    fn new(handle: &mut Handle) -> Self {
        let far = TcpListener::bind((calls::LOCAL, 0)).expect("a port is free");
        let b_at = far.local_addr().expect("it is bound");
        let b_path = format!("msrp://{b_at}/bob;tcp");
        let opened = calls::done(handle, 1, vec![calls::open_msrp()]);
        let LegLocal::Msrp(local) = &calls::bound(&opened)[0] else {
            unreachable!("it is a stream of MSRP")
        };
        let id = str::from_utf8(&local.session_id).expect("it is ASCII");
        let path = format!("msrp://{}/{id};tcp", local.listen);
        calls::done(
            handle,
            1,
            calls::connect_msrp([A_PATH, &b_path], b_at).into(),
        );
        let (b, _) = far.accept().expect("the relay connects");
        let a = TcpStream::connect(local.listen).expect("the relay listens");
        for end in [&a, &b] {
            end.set_nodelay(true).expect("it may be set");
            let patience = Some(Duration::from_secs(5));
            end.set_read_timeout(patience).expect("it may be set");
        }
        let mut chat = Self { a, b, path };
        let mut heard = Vec::new();
        let bind = format!(
            "MSRP bind0001 SEND\r\nTo-Path: {}\r\nFrom-Path: {A_PATH}\r\nMessage-ID: 1\r\n\
             -------bind0001$\r\n",
            chat.path
        );
        chat.a.write_all(bind.as_bytes()).expect("the relay reads");
        read_frame(&mut chat.a, &mut heard);
        heard.clear();
        read_frame(&mut chat.b, &mut heard);
        chat
    }
}

/// Reads to the end of a frame that ends with what is read last.
fn read_frame(from: &mut TcpStream, frame: &mut Vec<u8>) {
    let mut buffer = [0; 4096];
    while !frame.ends_with(b"$\r\n") {
        let count = match from.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.expect("a frame comes"),
        };
        assert_ne!(count, 0, "the relay closed the connection");
        frame.extend_from_slice(&buffer[..count]);
    }
}

pub(crate) fn msrp(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("live msrp");
    for (name, backend) in calls::backends() {
        let mut handle = calls::started(backend);
        let Chat { mut a, mut b, path } = Chat::new(&mut handle);
        let message = send(&path, A_PATH, BODY_BYTES);
        let (mut at_a, mut at_b, mut answer) = (Vec::new(), Vec::new(), Vec::new());
        group.throughput(Throughput::Elements(1));
        group.bench_function(
            format!("SEND of 1 KiB delivered and answered, {name}"),
            |bencher| {
                bencher.iter(|| {
                    at_a.clear();
                    at_b.clear();
                    answer.clear();
                    a.write_all(&message).expect("the relay reads");
                    read_frame(&mut b, &mut at_b);
                    let id = at_b
                        .split(|byte| *byte == b' ')
                        .nth(1)
                        .expect("it has an id");
                    for part in [
                        b"MSRP ".as_slice(),
                        id,
                        b" 200 OK\r\nTo-Path: msrp://127.0.0.1:1/r;tcp\r\n\
                      From-Path: msrp://127.0.0.1:2/b;tcp\r\n-------",
                        id,
                        b"$\r\n",
                    ] {
                        answer.extend_from_slice(part);
                    }
                    b.write_all(&answer).expect("the relay reads");
                    read_frame(&mut a, &mut at_a);
                });
            },
        );
        calls::ended(handle);
    }
    group.finish();
}
