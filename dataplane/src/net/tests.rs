//! One suite of scenes, each played over every backend that has real sockets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use super::mmsg::Mmsg;
use super::uring::Uring;
use super::{Backend, EventFd, RxBatch, RxItem, SocketId, SocketSpec, Token, TxBatch, TxItem};
use crate::frame::{Class, Frame, Pool, PoolSize};
use crate::limits::{RX_BATCH, STREAM_QUEUE_HIGH_BYTES};

macro_rules! scenes {
    ($($scene:ident),* $(,)?) => {
        mod over_mmsg {
            $(#[test] fn $scene() { super::$scene(super::mmsg); })*
        }
        mod over_uring {
            $(#[test] fn $scene() {
                match super::Uring::probe() {
                    Ok(()) => super::$scene(super::uring),
                    Err(error) => eprintln!("not played: no io_uring here: {error}"),
                }
            })*
        }
    };
}

scenes![
    datagrams_go_both_ways_over_both_families,
    a_burst_longer_than_a_batch_arrives_whole_and_in_order,
    a_batch_for_many_sockets_is_sent_in_order,
    a_datagram_that_does_not_fit_a_frame_is_dropped_and_counted,
    an_empty_datagram_is_received_and_does_not_end_the_receiving,
    a_connection_is_accepted_read_and_written,
    a_connection_is_made_and_what_was_sent_before_arrives,
    a_refused_connection_is_told_once,
    an_end_is_told_once_after_the_last_bytes,
    a_paused_connection_gives_one_more_frame_at_most,
    twenty_megabytes_pass_a_slow_reader_in_bounded_memory,
    many_tiny_writes_arrive_whole,
    a_queue_that_is_full_ends_the_connection,
    a_closed_port_is_free_at_once,
    closing_gives_back_the_frames_that_wait,
    a_thousand_sockets_come_and_go_without_a_trace,
    nothing_of_a_closed_socket_reaches_its_successor,
    datagrams_are_received_again_after_a_famine,
    a_bind_to_a_taken_port_says_so,
    the_bell_wakes_a_sleeper,
    a_sleeper_wakes_when_the_time_is_up,
];

type Make = fn(&EventFd, &mut Pool) -> Box<dyn Backend>;

fn mmsg(bell: &EventFd, _: &mut Pool) -> Box<dyn Backend> {
    Box::new(Mmsg::new(bell.as_raw_fd()).unwrap())
}

fn uring(bell: &EventFd, pool: &mut Pool) -> Box<dyn Backend> {
    Box::new(Uring::new(bell.as_raw_fd(), pool).unwrap())
}

struct Rig {
    backend: Box<dyn Backend>,
    pool: Pool,
    rx: RxBatch,
    tx: TxBatch,
    bell: EventFd,
}

const V4: &str = "127.0.0.1:0";
const V6: &str = "[::1]:0";
const MARK: Token = Token(7);
/// How often to look before a scene gives up, each time for up to 10 ms.
const LOOKS: usize = 500;

impl Rig {
    fn new(make: Make) -> Self {
        Self::with_pool(make, 256, 256)
    }

    fn with_pool(make: Make, datagrams: usize, streams: usize) -> Self {
        let mut pool = Pool::new(PoolSize { datagrams, streams });
        let bell = EventFd::new().unwrap();
        Self {
            backend: make(&bell, &mut pool),
            pool,
            rx: RxBatch::default(),
            tx: TxBatch::default(),
            bell,
        }
    }

    fn datagram(&mut self, local: &str) -> (SocketId, SocketAddr) {
        let local = local.parse().unwrap();
        self.backend
            .open(&SocketSpec::Datagram { local }, MARK)
            .unwrap()
    }

    fn listen(&mut self) -> (SocketId, SocketAddr) {
        let local = V4.parse().unwrap();
        self.backend
            .open(&SocketSpec::Listen { local }, MARK)
            .unwrap()
    }

    fn connect(&mut self, remote: SocketAddr) -> SocketId {
        let local = "127.0.0.1".parse().unwrap();
        let spec = SocketSpec::Connect { local, remote };
        self.backend.open(&spec, MARK).unwrap().0
    }

    /// A connection that the backend accepted and adopted, and its far end.
    fn pair(&mut self) -> (SocketId, TcpStream) {
        let (listener, at) = self.listen();
        let far = TcpStream::connect(at).unwrap();
        let near = self.until(|rig| match rig.rx.items.pop() {
            Some(RxItem::Accepted { socket, token, .. }) => {
                assert_eq!(token, MARK);
                Some(socket)
            }
            other => panic_on(other),
        });
        self.backend.adopt(near, Token(u64::from(near.0)));
        self.backend.close(listener, &mut self.pool);
        (near, far)
    }

    /// Receives until `look` finds what it looks for among the items.
    fn until<T>(&mut self, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        for _ in 0..LOOKS {
            let count = self.backend.receive(&mut self.rx, &mut self.pool);
            assert!(count <= RX_BATCH);
            if let Some(found) = look(self) {
                return found;
            }
            self.backend.wait(Duration::from_millis(10)).unwrap();
        }
        panic!("it never came; received: {:?}", self.rx.items)
    }

    /// Receives a few times with nothing to come; the items stay.
    fn settle(&mut self) {
        for _ in 0..5 {
            self.backend.wait(Duration::from_millis(2)).unwrap();
            self.backend.receive(&mut self.rx, &mut self.pool);
        }
    }

    fn bytes_of(&mut self, frame: Frame) -> Vec<u8> {
        let bytes = self.pool.bytes(&frame).to_vec();
        self.pool.give(frame);
        bytes
    }

    fn frame(&mut self, class: Class, bytes: &[u8]) -> Frame {
        let mut frame = self.pool.take(class).unwrap();
        assert_eq!(self.pool.append(&mut frame, bytes), bytes.len());
        frame
    }

    fn say(&mut self, socket: SocketId, to: SocketAddr, bytes: &[u8]) {
        let frame = self.frame(Class::Datagram, bytes);
        self.tx.items.push(TxItem::Datagram { socket, to, frame });
    }

    fn write(&mut self, socket: SocketId, bytes: &[u8]) {
        let frame = self.frame(Class::Stream, bytes);
        self.tx.items.push(TxItem::Bytes { socket, frame });
        self.send();
    }

    fn send(&mut self) {
        let count = self.tx.items.len();
        assert_eq!(self.backend.send(&mut self.tx, &mut self.pool), count);
        assert!(self.tx.items.is_empty());
    }

    /// Drops what was received and says what it was about.
    fn discard(&mut self) -> Vec<&'static str> {
        let mut names = Vec::new();
        for item in std::mem::take(&mut self.rx.items) {
            names.push(match item {
                RxItem::Datagram { frame, .. } => {
                    self.pool.give(frame);
                    "datagram"
                }
                RxItem::Bytes { frame, .. } => {
                    self.pool.give(frame);
                    "bytes"
                }
                RxItem::Accepted { .. } => "accepted",
                RxItem::Connected { .. } => "connected",
                RxItem::Closed { .. } => "closed",
                RxItem::Drained { .. } => "drained",
            });
        }
        names
    }

    /// Frames that are free once the backend has taken what it keeps for itself.
    fn free(&mut self) -> (usize, usize) {
        self.settle();
        assert!(self.rx.items.is_empty(), "left: {:?}", self.rx.items);
        (
            self.pool.free(Class::Datagram),
            self.pool.free(Class::Stream),
        )
    }
}

fn panic_on<T>(item: Option<RxItem>) -> Option<T> {
    assert!(item.is_none(), "unexpected: {item:?}");
    None
}

fn peer(local: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(local).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let at = socket.local_addr().unwrap();
    (socket, at)
}

fn datagrams_go_both_ways_over_both_families(make: Make) {
    for local in [V4, V6] {
        let mut rig = Rig::new(make);
        let (socket, at) = rig.datagram(local);
        let (peer, peer_at) = peer(local);
        peer.send_to(b"to the relay", at).unwrap();
        let (token, from, frame) = rig.until(|rig| match rig.rx.items.pop() {
            Some(RxItem::Datagram { token, from, frame }) => Some((token, from, frame)),
            other => panic_on(other),
        });
        assert_eq!((token, from), (MARK, peer_at));
        assert_eq!(rig.bytes_of(frame), b"to the relay");

        rig.say(socket, peer_at, b"from the relay");
        rig.send();
        let mut bytes = [0; 64];
        let (count, from) = peer.recv_from(&mut bytes).unwrap();
        assert_eq!((&bytes[..count], from), (&b"from the relay"[..], at));
        assert_eq!(rig.tx.failed, 0);
    }
}

fn a_burst_longer_than_a_batch_arrives_whole_and_in_order(make: Make) {
    let mut rig = Rig::with_pool(make, 1024, 8);
    let (_, at) = rig.datagram(V4);
    let (peer, _) = peer(V4);
    const BURST: u32 = 300;
    for number in 0..BURST {
        peer.send_to(&number.to_be_bytes(), at).unwrap();
    }
    let mut next = 0_u32;
    rig.until(|rig| {
        for item in std::mem::take(&mut rig.rx.items) {
            let RxItem::Datagram { frame, .. } = item else {
                panic!("unexpected: {item:?}")
            };
            assert_eq!(rig.bytes_of(frame), next.to_be_bytes());
            next += 1;
        }
        (next == BURST).then_some(())
    });
}

fn a_batch_for_many_sockets_is_sent_in_order(make: Make) {
    let mut rig = Rig::with_pool(make, 1024, 8);
    let sockets: Vec<_> = (0..3).map(|_| rig.datagram(V4).0).collect();
    let (peer, peer_at) = peer(V4);
    // Runs of one, of some, and of more than one call sends.
    let runs = [(0, 1), (1, 5), (0, 1), (2, 70), (1, 1)];
    let mut said = 0_u32;
    for (socket, count) in runs {
        for _ in 0..count {
            rig.say(sockets[socket], peer_at, &said.to_be_bytes());
            said += 1;
        }
    }
    rig.send();
    for number in 0..said {
        let mut bytes = [0; 8];
        let (count, _) = peer.recv_from(&mut bytes).unwrap();
        assert_eq!(bytes[..count], number.to_be_bytes());
    }
    assert_eq!(rig.tx.failed, 0);
}

fn a_datagram_that_does_not_fit_a_frame_is_dropped_and_counted(make: Make) {
    let mut rig = Rig::new(make);
    let (_, at) = rig.datagram(V4);
    let (peer, _) = peer(V4);
    peer.send_to(&[1; 1985], at).unwrap();
    peer.send_to(&[2; 1984], at).unwrap();
    let frame = rig.until(|rig| match rig.rx.items.pop() {
        Some(RxItem::Datagram { frame, .. }) => Some(frame),
        other => panic_on(other),
    });
    assert_eq!(rig.bytes_of(frame), [2; 1984]);
    assert_eq!(rig.rx.truncated, 1);
}

fn an_empty_datagram_is_received_and_does_not_end_the_receiving(make: Make) {
    let mut rig = Rig::new(make);
    let (_, at) = rig.datagram(V4);
    let (peer, _) = peer(V4);
    for round in 0..20 {
        peer.send_to(b"", at).unwrap();
        let frame = rig.until(|rig| match rig.rx.items.pop() {
            Some(RxItem::Datagram { frame, .. }) => Some(frame),
            other => panic_on(other),
        });
        assert!(frame.is_empty(), "round {round}");
        rig.pool.give(frame);
    }
}

fn a_connection_is_accepted_read_and_written(make: Make) {
    let mut rig = Rig::new(make);
    let (near, mut far) = rig.pair();
    far.write_all(b"MSRP in").unwrap();
    let (socket, token, frame) = rig.until(|rig| match rig.rx.items.pop() {
        Some(RxItem::Bytes {
            socket,
            token,
            frame,
        }) => Some((socket, token, frame)),
        other => panic_on(other),
    });
    assert_eq!((socket, token), (near, Token(u64::from(near.0))));
    assert_eq!(rig.bytes_of(frame), b"MSRP in");
    rig.write(near, b"MSRP out");
    rig.settle();
    let mut bytes = [0; 8];
    far.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"MSRP out");
    assert_eq!(rig.backend.queued(near), 0);
}

fn a_connection_is_made_and_what_was_sent_before_arrives(make: Make) {
    let mut rig = Rig::new(make);
    let listener = TcpListener::bind(V4).unwrap();
    let socket = rig.connect(listener.local_addr().unwrap());
    rig.write(socket, b"early");
    rig.until(|rig| match rig.rx.items.pop() {
        Some(RxItem::Connected { socket: s, token }) => {
            assert_eq!((s, token), (socket, MARK));
            Some(())
        }
        other => panic_on(other),
    });
    let (mut far, _) = listener.accept().unwrap();
    rig.write(socket, b" late");
    rig.settle();
    let mut bytes = [0; 10];
    far.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"early late");
    far.write_all(b"answer").unwrap();
    let frame = rig.until(|rig| match rig.rx.items.pop() {
        Some(RxItem::Bytes { frame, .. }) => Some(frame),
        other => panic_on(other),
    });
    assert_eq!(rig.bytes_of(frame), b"answer");
}

fn a_refused_connection_is_told_once(make: Make) {
    let mut rig = Rig::new(make);
    // A port that was just free and that nobody listens on.
    let nobody = TcpListener::bind(V4).unwrap().local_addr().unwrap();
    let socket = rig.connect(nobody);
    rig.until(|rig| match rig.rx.items.pop() {
        Some(RxItem::Closed { socket: s, token }) => {
            assert_eq!((s, token), (socket, MARK));
            Some(())
        }
        other => panic_on(other),
    });
    rig.write(socket, b"into the void");
    rig.settle();
    assert_eq!(rig.discard(), [""; 0]);
    rig.backend.close(socket, &mut rig.pool);
}

fn an_end_is_told_once_after_the_last_bytes(make: Make) {
    let mut rig = Rig::new(make);
    let (near, mut far) = rig.pair();
    far.write_all(b"last words").unwrap();
    drop(far);
    let mut seen = Vec::new();
    rig.until(|rig| {
        seen.extend(rig.discard());
        seen.contains(&"closed").then_some(())
    });
    rig.settle();
    seen.extend(rig.discard());
    assert_eq!(seen, ["bytes", "closed"]);
    rig.backend.close(near, &mut rig.pool);
}

fn a_paused_connection_gives_one_more_frame_at_most(make: Make) {
    let mut rig = Rig::new(make);
    let (near, mut far) = rig.pair();
    far.write_all(&[1; 100_000]).unwrap();
    rig.until(|rig| rig.discard().contains(&"bytes").then_some(()));
    rig.backend.pause(near);
    rig.settle();
    let after = rig.discard();
    assert!(after.len() <= 1, "{after:?}");
    rig.backend.resume(near);
    rig.until(|rig| rig.discard().contains(&"bytes").then_some(()));
}

fn twenty_megabytes_pass_a_slow_reader_in_bounded_memory(make: Make) {
    const TOTAL: usize = 20 << 20;
    let mut rig = Rig::new(make);
    let (inward, mut source) = rig.pair();
    let (outward, mut sink) = rig.pair();
    source.set_nonblocking(true).unwrap();
    sink.set_nonblocking(true).unwrap();
    let pattern: Vec<u8> = (0..65_521_u32).map(|n| (n * 31 % 251) as u8).collect();
    let (mut written, mut read, mut paused, mut drained) = (0, 0, 0, 0);
    let (_, free_before) = rig.free();
    let mut free_least = usize::MAX;
    let mut buffer = vec![0; 48 * 1024];
    let mut idle = 0;
    while read < TOTAL {
        let at = written % pattern.len();
        let end = pattern.len().min(at + TOTAL - written);
        let count = source.write(&pattern[at..end]).unwrap_or(0);
        written += count;
        // The reader is slower than the source: it reads in every fourth round only.
        let mut got = 0;
        idle += 1;
        if idle % 4 == 0 {
            got = sink.read(&mut buffer).unwrap_or(0);
            for (n, byte) in buffer[..got].iter().enumerate() {
                assert_eq!(*byte, pattern[(read + n) % pattern.len()]);
            }
            read += got;
        }
        let received = rig.backend.receive(&mut rig.rx, &mut rig.pool);
        for item in std::mem::take(&mut rig.rx.items) {
            match item {
                RxItem::Bytes { socket, frame, .. } => {
                    assert_eq!(socket, inward);
                    rig.tx.items.push(TxItem::Bytes {
                        socket: outward,
                        frame,
                    });
                }
                RxItem::Drained { socket, .. } => {
                    assert_eq!(socket, outward);
                    drained += 1;
                    rig.backend.resume(inward);
                }
                other => panic!("unexpected: {other:?}"),
            }
        }
        rig.send();
        if rig.backend.queued(outward) > STREAM_QUEUE_HIGH_BYTES && paused == drained {
            paused += 1;
            rig.backend.pause(inward);
        }
        free_least = free_least.min(rig.pool.free(Class::Stream));
        if count + got + received == 0 {
            rig.backend.wait(Duration::from_millis(1)).unwrap();
        }
    }
    assert!(paused > 0, "the reader was never slow");
    let used = free_before - free_least;
    assert!(used <= 24, "{used} frames for one slow reader");
}

fn many_tiny_writes_arrive_whole(make: Make) {
    let mut rig = Rig::new(make);
    let (near, mut far) = rig.pair();
    let mut said = Vec::new();
    for number in 0..5_000_u32 {
        let line = number.to_be_bytes();
        said.extend(line);
        let frame = rig.frame(Class::Datagram, &line);
        rig.tx.items.push(TxItem::Bytes {
            socket: near,
            frame,
        });
        if number % 100 == 99 {
            rig.send();
            rig.backend.receive(&mut rig.rx, &mut rig.pool);
        }
    }
    far.set_read_timeout(Some(Duration::from_millis(5)))
        .unwrap();
    let mut heard: Vec<u8> = Vec::new();
    let mut buffer = [0; 4096];
    rig.until(|_| {
        if let Ok(count) = far.read(&mut buffer) {
            heard.extend(&buffer[..count]);
        }
        (heard.len() >= said.len()).then_some(())
    });
    assert!(heard == said, "the bytes differ");
    assert_eq!(rig.discard(), [""; 0]);
}

fn a_queue_that_is_full_ends_the_connection(make: Make) {
    let mut rig = Rig::new(make);
    let (near, far) = rig.pair();
    let before = rig.free();
    // Nobody reads, and the owner does not heed how much waits.
    let mut closed = 0;
    for _ in 0..2_000 {
        rig.write(near, &[3; 16_384]);
        rig.backend.receive(&mut rig.rx, &mut rig.pool);
        closed += rig
            .discard()
            .iter()
            .filter(|name| **name == "closed")
            .count();
        if closed > 0 {
            break;
        }
    }
    rig.write(near, b"more");
    rig.settle();
    closed += rig.discard().len();
    assert_eq!(closed, 1);
    rig.backend.close(near, &mut rig.pool);
    drop(far);
    assert_eq!(rig.free(), before);
}

fn a_closed_port_is_free_at_once(make: Make) {
    let mut rig = Rig::new(make);
    let (peer, _) = peer(V4);
    for round in 0..50 {
        let (socket, at) = rig.datagram(V4);
        // Armed in every other round only.
        if round % 2 == 0 {
            peer.send_to(b"x", at).unwrap();
            rig.settle();
            rig.discard();
        }
        rig.backend.close(socket, &mut rig.pool);
        drop(UdpSocket::bind(at).expect("the port of a closed datagram socket is free"));

        let (listener, at) = rig.listen();
        rig.settle();
        rig.backend.close(listener, &mut rig.pool);
        drop(TcpListener::bind(at).expect("the port of a closed listener is free"));
    }
}

fn closing_gives_back_the_frames_that_wait(make: Make) {
    let mut rig = Rig::new(make);
    let before = rig.free();
    let (near, far) = rig.pair();
    while rig.backend.queued(near) < STREAM_QUEUE_HIGH_BYTES {
        rig.write(near, &[5; 16_384]);
        rig.backend.receive(&mut rig.rx, &mut rig.pool);
    }
    rig.backend.close(near, &mut rig.pool);
    assert_eq!(rig.free(), before);
    drop(far);
}

fn a_thousand_sockets_come_and_go_without_a_trace(make: Make) {
    let mut rig = Rig::new(make);
    let (warm, _) = rig.datagram(V4);
    rig.settle();
    rig.backend.close(warm, &mut rig.pool);
    let before = rig.free();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let open_before = descriptors();
    let (peer, _) = peer(V4);
    let nobody = TcpListener::bind(V4).unwrap().local_addr().unwrap();
    for round in 0..1_000 {
        let (socket, at) = rig.datagram(V4);
        let stream = rig.connect(nobody);
        peer.send_to(b"x", at).unwrap();
        if round % 3 != 0 {
            rig.backend.receive(&mut rig.rx, &mut rig.pool);
            rig.discard();
        }
        rig.backend.close(socket, &mut rig.pool);
        rig.backend.close(stream, &mut rig.pool);
        assert!(socket.0 < 8 && stream.0 < 8, "numbers are used again");
    }
    let after = rig.free();
    // A backend may have begun to keep a call's worth of frames for itself, but not a thousand.
    assert!(
        before.0 - after.0 <= 32 && before.1 == after.1,
        "{before:?} {after:?}"
    );
    // The other scenes of this process open some too, but never hundreds.
    assert!(descriptors() < open_before + 400);
}

fn nothing_of_a_closed_socket_reaches_its_successor(make: Make) {
    let mut rig = Rig::new(make);
    let (peer, _) = peer(V4);
    for round in 0..50 {
        let (old, at) = rig.datagram(V4);
        rig.backend.set_token(old, Token(1));
        rig.settle();
        for _ in 0..10 {
            peer.send_to(b"for the old one", at).unwrap();
        }
        if round % 2 == 0 {
            // The kernel has filled frames with them that are not received yet.
            rig.backend.wait(Duration::from_millis(5)).unwrap();
        }
        rig.backend.close(old, &mut rig.pool);
        let new: Vec<_> = (0..3).map(|_| rig.datagram(V4)).collect();
        rig.settle();
        assert_eq!(rig.discard(), [""; 0], "round {round}");
        for (socket, _) in new {
            rig.backend.close(socket, &mut rig.pool);
        }
    }
}

fn datagrams_are_received_again_after_a_famine(make: Make) {
    let mut rig = Rig::with_pool(make, 32, 8);
    let (_, at) = rig.datagram(V4);
    let (peer, _) = peer(V4);
    for number in 0..100_u32 {
        peer.send_to(&number.to_be_bytes(), at).unwrap();
    }
    // Nobody gives a frame back until there is none left.
    rig.until(|rig| (rig.rx.starved > 0).then_some(()));
    assert!(rig.rx.items.len() <= 32);
    let mut next = 0_u32;
    rig.until(|rig| {
        for item in std::mem::take(&mut rig.rx.items) {
            if let RxItem::Datagram { frame, .. } = item {
                assert_eq!(rig.bytes_of(frame), next.to_be_bytes());
                next += 1;
            }
        }
        (next == 100).then_some(())
    });
}

fn a_bind_to_a_taken_port_says_so(make: Make) {
    let mut rig = Rig::new(make);
    let (_, local) = rig.datagram(V4);
    let again = rig.backend.open(&SocketSpec::Datagram { local }, MARK);
    assert_eq!(again.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
}

fn the_bell_wakes_a_sleeper(make: Make) {
    let mut rig = Rig::new(make);
    rig.datagram(V4);
    rig.settle();
    // Twice, as a bell that was taken back rings again.
    for _ in 0..2 {
        rig.bell.signal();
        let before = now();
        rig.backend.wait(Duration::from_secs(20)).unwrap();
        assert!(now() - before < Duration::from_secs(10));
        rig.bell.clear();
        rig.settle();
    }
}

fn a_sleeper_wakes_when_the_time_is_up(make: Make) {
    let mut rig = Rig::new(make);
    rig.datagram(V4);
    rig.settle();
    let before = now();
    rig.backend.wait(Duration::from_millis(30)).unwrap();
    let slept = now() - before;
    assert!(slept >= Duration::from_millis(25), "{slept:?}");
    assert!(slept < Duration::from_secs(10), "{slept:?}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "a scene measures how long it slept"
)]
fn now() -> Instant {
    Instant::now()
}
