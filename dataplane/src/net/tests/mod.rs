//! One suite of scenes, each played over every backend that has real sockets.

mod datagrams;
mod gather;
mod passing;
mod streams;

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::mmsg::Mmsg;
use super::uring::Uring;
use super::{Backend, EventFd, RxBatch, RxItem, SocketId, SocketSpec, Token, TxBatch, TxItem};
use crate::frame::{Class, Frame, Pool, PoolSize};
use crate::limits::RX_BATCH;

macro_rules! scenes {
    ($($room:ident::$scene:ident),* $(,)?) => {
        mod over_mmsg {
            $(#[test] fn $scene() { super::$room::$scene(super::mmsg); })*
        }
        mod over_uring {
            $(#[test] fn $scene() {
                match super::Uring::probe() {
                    Ok(()) => super::$room::$scene(super::uring),
                    Err(error) => eprintln!("not played: no io_uring here: {error}"),
                }
            })*
        }
    };
}

scenes![
    datagrams::datagrams_go_both_ways_over_both_families,
    datagrams::a_burst_longer_than_a_batch_arrives_whole_and_in_order,
    datagrams::a_batch_for_many_sockets_is_sent_in_order,
    datagrams::a_refused_datagram_is_counted_and_does_not_hold_up_the_others,
    datagrams::a_datagram_that_does_not_fit_a_frame_is_dropped_and_counted,
    datagrams::an_empty_datagram_is_received_and_does_not_end_the_receiving,
    datagrams::a_tied_socket_hears_and_reaches_its_far_end_alone_until_it_is_untied,
    datagrams::a_far_end_that_is_gone_and_comes_back_is_heard_again,
    datagrams::a_closed_port_is_free_at_once,
    datagrams::a_thousand_sockets_come_and_go_without_a_trace,
    datagrams::nothing_of_a_closed_socket_reaches_its_successor,
    datagrams::datagrams_are_received_again_after_a_famine,
    datagrams::a_bind_to_a_taken_port_says_so,
    datagrams::the_bell_wakes_a_sleeper,
    datagrams::a_sleeper_wakes_when_the_time_is_up,
    gather::what_lies_in_a_socket_that_gathers_comes_in_order_when_it_is_collected,
    gather::what_came_before_a_socket_gathers_no_more_is_received,
    gather::a_socket_that_gathers_is_closed_with_what_lies_in_it,
    streams::a_connection_is_accepted_read_and_written,
    streams::a_connection_is_made_and_what_was_sent_before_arrives,
    streams::a_refused_connection_is_told_once,
    streams::an_end_is_told_once_after_the_last_bytes,
    streams::a_paused_connection_gives_one_more_frame_at_most,
    streams::twenty_megabytes_pass_a_slow_reader_in_bounded_memory,
    streams::a_connection_is_read_again_after_a_famine,
    streams::many_tiny_writes_arrive_whole,
    streams::a_queue_that_is_full_ends_the_connection,
    streams::a_half_closed_connection_is_written_out_and_read_to_its_end,
    streams::a_connection_that_broke_is_told_of_again_when_it_is_half_closed,
    streams::a_far_end_that_sends_no_more_is_told_once_and_written_to_still,
    streams::an_end_of_a_half_closed_connection_is_told_once_all_is_written,
    streams::closing_gives_back_the_frames_that_wait,
    streams::a_connection_can_be_closed_while_it_is_made_or_before_it_is_adopted,
    passing::bytes_that_pass_arrive_whole_and_are_counted,
    passing::a_source_that_ends_leaves_what_waits_to_its_sink,
    passing::a_source_is_read_again_when_its_sink_is_closed,
    passing::a_paused_source_passes_nothing_on,
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
                RxItem::Passed { .. } => "passed",
                RxItem::Accepted { .. } => "accepted",
                RxItem::Connected { .. } => "connected",
                RxItem::Ended { .. } => "ended",
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
