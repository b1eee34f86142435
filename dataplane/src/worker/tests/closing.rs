//! What was acknowledged is not lost by closing: in memory, and over real sockets.
#![expect(clippy::disallowed_types, reason = "the far ends write text")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::api::{
    Act, BackendKind, Config, Direction, Doorbell, LegLocal, MsrpRemote, MsrpSetup, Order, Remote,
    Side, StreamId, StreamSet,
};
use crate::limits::CLOSING_CONNECTIONS;
use crate::net::uring::Uring;
use crate::worker::{Handle, start};

use super::fake::{World, address, open, order, release};
use super::msrp::{chat, listen, spec};
use super::start::{real, wait_for};

fn released(world: &mut World) -> Option<Order> {
    world.done().pop()
}

#[test]
fn a_release_waits_for_the_answer_to_what_was_forwarded() {
    let mut chat = chat();
    let (a, b) = (chat.a, chat.b);
    chat.written(b);
    let frame = chat.send_from_a("abcd1234", Some("hello"));
    chat.feed(a, &frame);
    let passed = chat.written(b);
    chat.world.send(1, vec![release(StreamSet::ALL, 1000)]);
    chat.world.pass(500);
    assert!(released(&mut chat.world).is_none(), "the answer is due");
    let id = passed.split(' ').nth(1).unwrap();
    let answer = format!(
        "MSRP {id} 200 OK\r\nTo-Path: {}\r\nFrom-Path: msrp://192.0.2.2:8000/bbbb;tcp\r\n-------{id}$\r\n",
        str::from_utf8(&chat.path[1]).unwrap()
    );
    chat.feed(b, answer.as_bytes());
    chat.world.pass(20);
    assert!(released(&mut chat.world).is_some());
    let stats = chat.world.worker.stats;
    assert_eq!((stats.msrp_delivered, stats.msrp_reported), (1, 0));
}

#[test]
fn a_release_that_waited_long_enough_tells_the_sender_what_is_unanswered() {
    let mut chat = chat();
    let a = chat.a;
    chat.world.net.borrow_mut().far_ends_linger = true;
    let frame = chat.send_from_a("abcd1234", Some("hello"));
    chat.feed(a, &frame);
    chat.written(a);
    chat.world.send(1, vec![release(StreamSet::ALL, 1000)]);
    chat.world.pass(980);
    assert!(released(&mut chat.world).is_none());
    chat.world.pass(40);
    assert!(released(&mut chat.world).is_some());
    let told = chat.written(a);
    assert!(told.contains(" REPORT\r\n"), "{told}");
    assert!(told.contains("Message-ID: mabcd1234\r\n"), "{told}");
    assert!(told.contains("Status: 000 481\r\n"), "{told}");
    assert!(chat.world.net.borrow().sockets[&a.0].ended);
    assert_eq!(chat.world.worker.stats.msrp_open, 0);
}

#[test]
fn what_is_closed_is_half_closed_first_and_read_until_its_time_is_up() {
    let mut chat = chat();
    let (a, b) = (chat.a, chat.b);
    chat.world.net.borrow_mut().far_ends_linger = true;
    chat.world.order(1, vec![release(StreamSet::ALL, 0)]);
    chat.feed(a, &[b'x'; 5000]);
    for socket in [a, b] {
        let net = chat.world.net.borrow();
        let sock = &net.sockets[&socket.0];
        assert!(sock.ended && !sock.paused && sock.incoming.is_empty());
    }
    // One far end closes its half, the other one does not.
    chat.world.net.borrow_mut().made(b, false);
    chat.world.cycle();
    assert!(!chat.world.net.borrow().sockets.contains_key(&b.0));
    chat.world.pass(1900);
    assert!(chat.world.net.borrow().sockets.contains_key(&a.0));
    assert!(chat.world.worker.idle_for(chat.world.now) <= Duration::from_millis(100));
    chat.world.pass(120);
    assert!(!chat.world.net.borrow().sockets.contains_key(&a.0));
    assert_eq!(chat.world.worker.stats.sockets, 1, "the listener");
    assert!(chat.world.news.is_empty());
}

#[test]
fn whoever_breaks_the_protocol_hears_400_before_the_end() {
    let mut chat = chat();
    let a = chat.a;
    chat.world.net.borrow_mut().far_ends_linger = true;
    chat.written(a);
    let to = str::from_utf8(&chat.path[0]).unwrap();
    let broken = format!(
        "MSRP abcd1234 SEND\r\nTo-Path: {to}\r\nFrom-Path: msrp://192.0.2.1:7000/aaaa;tcp\r\n\
         Message-ID: 1\r\nByte-Range: one-two\r\nContent-Type: text/plain\r\n\r\nx\r\n\
         -------abcd1234$\r\n"
    );
    chat.feed(a, broken.as_bytes());
    let told = chat.written(a);
    assert!(told.starts_with("MSRP abcd1234 400"), "{told}");
    assert!(chat.world.net.borrow().sockets[&a.0].ended);
    chat.feed(a, b"more of it");
    chat.world.pass(2020);
    assert!(!chat.world.net.borrow().sockets.contains_key(&a.0));
}

#[test]
fn too_many_half_closed_connections_push_out_the_oldest() {
    let mut chat = chat();
    chat.world.net.borrow_mut().far_ends_linger = true;
    let before = chat.world.net.borrow().sockets.len();
    let mut first = None;
    for _ in 0..=CLOSING_CONNECTIONS / 128 {
        for _ in 0..128 {
            let stranger = chat
                .world
                .net
                .borrow_mut()
                .accept(listen(), address("203.0.113.9:1"));
            first.get_or_insert(stranger);
            chat.world.net.borrow_mut().feed(stranger, b"GET /\r\n\r\n");
        }
        chat.world.cycle();
        chat.world.cycle();
    }
    let now_open = chat.world.net.borrow().sockets.len();
    assert_eq!(now_open, before + CLOSING_CONNECTIONS);
    assert!(
        !chat
            .world
            .net
            .borrow()
            .sockets
            .contains_key(&first.unwrap().0)
    );
    chat.world.pass(2020);
    assert_eq!(chat.world.net.borrow().sockets.len(), before);
}

/// The far ends of a session over real sockets.
pub(super) struct Ends {
    pub(super) handle: Handle,
    pub(super) a: TcpStream,
    pub(super) b: TcpStream,
    /// The relay's URI, per side.
    pub(super) path: [String; 2],
}

pub(super) const A_PATH: &str = "msrp://127.0.0.1:7000/aaaa;tcp";

pub(super) fn ends(backend: BackendKind) -> Ends {
    let bell = Doorbell::new().unwrap();
    let settings = Config {
        workers: 1,
        ..real(backend)
    };
    let mut handle = start(&settings, &bell).unwrap().pop().unwrap();
    let listen = handle.msrp_listen[0].address;
    let far = TcpListener::bind("127.0.0.1:0").unwrap();
    let spec = spec("127.0.0.1");
    handle.link.order(order(1, vec![open(0, &spec)])).unwrap();
    let opened = wait_for(&mut handle);
    let Act::Open(plan) = &opened.acts[0] else {
        panic!()
    };
    let path = plan.local.each_ref().map(|local| match local {
        LegLocal::Msrp(local) => {
            let id = str::from_utf8(&local.session_id).unwrap();
            format!("msrp://{listen}/{id};tcp")
        }
        other => panic!("{other:?}"),
    });
    let b_at = far.local_addr().unwrap();
    let acts = vec![
        connect(Side::A, A_PATH, "127.0.0.1:7000".parse().unwrap()),
        connect(Side::B, &format!("msrp://{b_at}/bbbb;tcp"), b_at),
    ];
    handle.link.order(order(1, acts)).unwrap();
    wait_for(&mut handle);
    let (b, _) = far.accept().unwrap();
    let mut a = TcpStream::connect(listen).unwrap();
    for end in [&a, &b] {
        let patience = Some(Duration::from_secs(10));
        end.set_read_timeout(patience).unwrap();
    }
    a.write_all(send("bind0001", &path[0], A_PATH, None).as_bytes())
        .unwrap();
    let mut buffer = [0; 4096];
    let count = read(&mut a, &mut buffer);
    assert!(buffer[..count].starts_with(b"MSRP bind0001 200"));
    Ends { handle, a, b, path }
}

/// Reads what is there; a read with a time is not begun again by itself after a signal (signal(7)).
pub(super) fn read(far: &mut TcpStream, buffer: &mut [u8]) -> usize {
    loop {
        match far.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => return other.unwrap(),
        }
    }
}

fn connect(side: Side, path: &str, at: SocketAddr) -> Act {
    Act::Connect {
        stream: StreamId(0),
        side,
        remote: Remote::Msrp(MsrpRemote {
            path: path.into(),
            address: at,
            setup: [MsrpSetup::Passive, MsrpSetup::Active][side.index()],
            fingerprint: None,
            local_path: None,
        }),
        direction: Direction::BOTH,
    }
}

pub(super) fn send(id: &str, to: &str, from: &str, body: Option<&str>) -> String {
    let head = format!("MSRP {id} SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: m\r\n");
    match body {
        None => format!("{head}-------{id}$\r\n"),
        Some(body) => format!(
            "{head}Byte-Range: 1-*/*\r\nContent-Type: text/plain\r\n\r\n{body}\r\n-------{id}$\r\n"
        ),
    }
}

/// B has a whole chunk in its kernel and does not read it; the relay has bytes of B in its own
/// kernel, as A reads nothing. A close that is a reset would destroy the first.
fn nothing_is_lost_by_a_release(backend: BackendKind) {
    let Ends {
        mut handle,
        mut a,
        mut b,
        path,
    } = ends(backend);
    let b_path = format!("msrp://{}/bbbb;tcp", b.local_addr().unwrap());
    let flood = send("flood001", &path[1], &b_path, Some(&"f".repeat(16 << 20)));
    b.set_nonblocking(true).unwrap();
    let mut at = 0;
    for _ in 0..50 {
        while let Ok(count) = b.write(&flood.as_bytes()[at..]) {
            at += count;
        }
        std::thread::yield_now();
        pause(Duration::from_millis(2));
    }
    assert!(at < flood.len(), "the relay still reads");
    b.set_nonblocking(false).unwrap();

    let body = format!("{}DONE", "m".repeat(40_000));
    let message = send("mesg0001", &path[0], A_PATH, Some(&body));
    a.write_all(message.as_bytes()).unwrap();
    let mut peeked = vec![0; 100_000];
    loop {
        let count = b.peek(&mut peeked).unwrap();
        if peeked[..count].windows(10).any(|w| w == b"DONE\r\n----") {
            break;
        }
        pause(Duration::from_millis(1));
    }
    let acts = vec![release(StreamSet::ALL, 0)];
    handle.link.order(order(1, acts)).unwrap();
    wait_for(&mut handle);
    pause(Duration::from_millis(50));

    let mut heard = Vec::new();
    let reader = std::thread::Builder::new().spawn(move || {
        let mut heard = Vec::new();
        a.read_to_end(&mut heard).map(|_| heard)
    });
    b.read_to_end(&mut heard).expect("no reset");
    assert!(heard.windows(body.len()).any(|w| w == body.as_bytes()));
    let at_a = reader.unwrap().join().unwrap().expect("no reset");
    let at_a = String::from_utf8(at_a).unwrap();
    assert!(at_a.contains("MSRP mesg0001 200"), "the answer arrives");
    assert!(at_a.ends_with("#\r\n") || at_a.ends_with("$\r\n"));
    drop(b);
    while handle.board.load().sockets > 1 {
        pause(Duration::from_millis(5));
    }
}

#[expect(clippy::disallowed_methods, reason = "real sockets need real time")]
pub(super) fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[test]
fn nothing_is_lost_by_a_release_over_epoll() {
    nothing_is_lost_by_a_release(BackendKind::Epoll);
}

#[test]
fn nothing_is_lost_by_a_release_over_io_uring() {
    match Uring::probe() {
        Ok(()) => nothing_is_lost_by_a_release(BackendKind::Uring),
        Err(error) => println!("SKIPPED: this kernel has no io_uring for us: {error}"),
    }
}
