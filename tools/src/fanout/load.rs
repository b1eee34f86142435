//! The talker, and the receivers' one socket: they have addresses of their own and share it, so that
//! taking what comes costs this core little.

use std::io::IoSliceMut;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, setsockopt, sockopt};

use super::Scene;
use crate::rtp::host;

/// Bytes that the receivers' socket may hold: what comes while this thread is not there.
const QUEUE_BYTES: usize = 32 << 20;
/// Datagrams of one call.
const BATCH: usize = 128;
/// Octets of a datagram that are looked at; the kernel drops the rest.
const LOOKED_AT: usize = 28;
/// Where a packet has its number, as its sequence number becomes another one's: behind the RTP head
/// and the first octets of video.
const NUMBER: std::ops::Range<usize> = 24..28;
/// How long packets may still be on their way after the last was sent.
const SETTLE: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_micros(50);

/// What is sent for how long.
#[derive(Debug, Clone, Copy)]
pub struct Talk {
    /// What.
    pub scene: Scene,
    /// Packets in a second.
    pub rate: u32,
    /// To how many.
    pub receivers: u16,
    /// Seconds before those that are measured.
    pub warmup_s: u64,
    /// Seconds that are measured.
    pub seconds: u64,
}

/// What came of it, in the seconds that are measured.
#[derive(Debug)]
pub struct Tally {
    /// Packets that the receivers should have got.
    pub wanted: u64,
    /// What they got.
    pub received: u64,
    /// CPU time of the fan-out, in nanoseconds.
    pub cpu_ns: u64,
    /// How long it was.
    pub elapsed: Duration,
    /// From a packet's leaving the talker to the last receiver's having it, in microseconds.
    pub last: Histogram<u64>,
}

/// Opens the receivers' socket.
///
/// # Errors
///
/// The kernel refuses.
pub fn ears() -> Result<UdpSocket, String> {
    let open = || -> std::io::Result<UdpSocket> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::RcvBufForce, &QUEUE_BYTES)
            .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &QUEUE_BYTES))?;
        Ok(socket)
    };
    open().map_err(|error| format!("the receivers' socket: {error}"))
}

/// Sends and receives until the time is up.
///
/// # Errors
///
/// A socket fails.
pub fn run(ears: &UdpSocket, (port, id): (u16, u32), talk: &Talk) -> Result<Tally, String> {
    // The talker's own address is the receivers' port on the loopback address that all know.
    let mouth = ears;
    let mut ears = Ears {
        socket: ears,
        headers: MultiHeaders::preallocate(BATCH, None),
        buffers: [[0; LOOKED_AT]; BATCH],
        book: Book::default(),
    };
    let mut last =
        Histogram::new_with_bounds(1, 60_000_000, 3).map_err(|error| error.to_string())?;
    let begin = Instant::now();
    let rate = u64::from(talk.rate.max(1));
    let (first, end) = (talk.warmup_s * rate, (talk.warmup_s + talk.seconds) * rate);
    let mut before = None;
    for number in 0..end {
        if number == first {
            ears.settle(number * u64::from(talk.receivers));
            last.clear();
            ears.book = Book::from(number);
            before = Some((Instant::now(), host::cpu_ns(id)));
        }
        let due = begin + Duration::from_nanos(1_000_000_000 / rate * number);
        ears.listen_until(due);
        let at = Instant::now();
        mouth
            .send_to(&packet(talk.scene, number), (Ipv4Addr::LOCALHOST, port))
            .map_err(|error| format!("sending: {error}"))?;
        ears.book.expect(number);
        let next = due + Duration::from_nanos(1_000_000_000 / rate);
        if ears.hear_copies(u64::from(talk.receivers), next) {
            let passed = u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX);
            last.saturating_record(passed);
        }
    }
    let wanted = (end - first) * u64::from(talk.receivers);
    ears.settle(wanted);
    let (since, cpu_ns) = before.ok_or("nothing is measured of nothing")?;
    Ok(Tally {
        wanted,
        received: ears.book.received,
        cpu_ns: host::cpu_ns(id).saturating_sub(cpu_ns),
        elapsed: since.elapsed(),
        last,
    })
}

/// Which copies came.
#[derive(Debug, Default)]
struct Book {
    /// The first packet that counts.
    first: u64,
    /// Copies of it and of those after it.
    received: u64,
    /// The packet that was sent last.
    latest: u64,
    /// Copies of that one.
    copies: u64,
}

impl Book {
    /// Begins anew with a packet.
    fn from(first: u64) -> Self {
        Self {
            first,
            latest: first,
            ..Self::default()
        }
    }

    /// A packet was sent.
    fn expect(&mut self, number: u64) {
        (self.latest, self.copies) = (number, 0);
    }

    /// A copy came; of packets before the first nothing is counted any more.
    fn take(&mut self, number: u64) {
        self.received += u64::from(number >= self.first);
        self.copies += u64::from(number == self.latest);
    }
}

struct Ears<'a> {
    socket: &'a UdpSocket,
    headers: MultiHeaders<SockaddrIn>,
    buffers: [[u8; LOOKED_AT]; BATCH],
    book: Book,
}

impl Ears<'_> {
    /// Takes what is there; says whether there was anything.
    fn take(&mut self) -> bool {
        let mut parts: Vec<[IoSliceMut<'_>; 1]> = Vec::with_capacity(BATCH);
        parts.extend(
            self.buffers
                .iter_mut()
                .map(|bytes| [IoSliceMut::new(bytes)]),
        );
        let flags = MsgFlags::MSG_DONTWAIT;
        let descriptor = self.socket.as_raw_fd();
        let taken = recvmmsg(descriptor, &mut self.headers, &mut parts, flags, None);
        let messages = match taken {
            Ok(messages) => messages,
            Err(Errno::EINTR) => return true,
            Err(_) => return false,
        };
        for message in messages {
            let bytes = message.iovs().next().unwrap_or_default();
            if let Some(number) = number_of(bytes) {
                self.book.take(number);
            }
        }
        true
    }

    /// Takes what comes until all copies of the latest packet are there or it is another one's turn.
    fn hear_copies(&mut self, wanted: u64, until: Instant) -> bool {
        while self.book.copies < wanted {
            if !self.take() && Instant::now() >= until {
                return false;
            }
        }
        true
    }

    fn listen_until(&mut self, moment: Instant) {
        while Instant::now() < moment {
            if !self.take() {
                let left = moment.saturating_duration_since(Instant::now());
                thread::sleep(left.min(PAUSE));
            }
        }
    }

    fn settle(&mut self, wanted: u64) {
        let until = Instant::now() + SETTLE;
        while self.book.received < wanted && (self.take() || Instant::now() < until) {}
    }
}

/// A copy's number, if it is RTP.
fn number_of(bytes: &[u8]) -> Option<u64> {
    // RTCP's second octet is 200 to 206; RTP's payload types here have none of them.
    let is_rtp = !(200..=206).contains(bytes.get(1)?);
    let number = bytes.get(NUMBER)?.try_into().ok()?;
    is_rtp.then(|| u32::from_be_bytes(number).into())
}

fn packet(scene: Scene, number: u64) -> Vec<u8> {
    let [.., s2, s3] = number.to_be_bytes();
    let (payload_type, step, octets) = match scene {
        Scene::Voice => (0, 160, 160),
        // Each begins and ends a picture of its own.
        Scene::Video => (0x80 | 96, 600, 1_100),
    };
    let [.., t0, t1, t2, t3] = number.wrapping_mul(step).to_be_bytes();
    let mut packet = vec![0x80, payload_type, s2, s3, t0, t1, t2, t3, 0, 0, 0, 7];
    if scene == Scene::Video {
        // VP8's descriptor: a partition begins; then a key frame's head (RFC 7741 §4.2, §4.3).
        packet.extend([0x10, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a]);
    }
    packet.resize(12 + octets, 0x55);
    let [.., n0, n1, n2, n3] = number.to_be_bytes();
    packet[NUMBER].copy_from_slice(&[n0, n1, n2, n3]);
    packet
}

#[cfg(test)]
mod tests {
    use super::{Book, number_of, packet};
    use crate::fanout::Scene;

    #[test]
    fn a_packet_says_which_it_is() {
        for scene in [Scene::Voice, Scene::Video] {
            assert_eq!(number_of(&packet(scene, 70_000)), Some(70_000));
        }
        assert_eq!(number_of(&[0x80, 200]), None);
        assert_eq!(number_of(&[0x80; 16]), None);
    }

    #[test]
    fn copies_are_counted_for_each_packet_and_a_loss_hurts_no_later_one() {
        let mut book = Book::from(10);
        for (number, copies) in [(10, 3), (11, 2), (12, 3)] {
            book.expect(number);
            for _ in 0..copies {
                book.take(number);
            }
            assert_eq!(book.copies, copies);
        }
        book.take(9);
        assert_eq!(book.received, 8, "nothing of those before");
        book.take(11);
        assert_eq!((book.received, book.copies), (9, 3));
    }
}
