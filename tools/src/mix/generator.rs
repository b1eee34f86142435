//! The members: each sends a packet every 20 ms, spread evenly over them, and hears what it gets.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::speech::{Ear, Speech};
use super::subject::{IP, PROBE_MEMBERS, Subject};
use super::{Codec, Scene, Talking};
use crate::rtp::host;

/// Packets of a member in a second.
pub const RATE: u64 = 50;
/// Moments of 20 ms at which some members send.
const SLOTS: u64 = 20;
/// Packets of the probe's noise, and of it and the silence behind it.
const BURST: (u64, u64) = (5, 50);
/// Quiet packets after which the next loud one is a new burst's first.
const QUIET: u32 = 10;

/// What is sent for how long.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// By whom.
    pub scene: Scene,
    /// Seconds that are measured.
    pub seconds: u64,
    /// Seconds before them.
    pub warmup_s: u64,
}

/// What came of it, in the seconds that are measured.
#[derive(Debug)]
pub struct Tally {
    /// Packets sent, and received.
    pub sent: u64,
    /// See `sent`.
    pub received: u64,
    /// Packets that members should have got and didn't: by sequence numbers, or as fewer came than
    /// were sent.
    pub lost: u64,
    /// From a burst's first packet to what is heard of it, in microseconds.
    pub latency: Histogram<u64>,
    /// CPU time of the mixer, in nanoseconds.
    pub cpu_ns: u64,
    /// How long it was.
    pub elapsed: Duration,
    /// The latest that a packet left after its moment, in microseconds.
    pub late_us: u64,
}

struct Members<'a> {
    subject: &'a Subject,
    codec: Codec,
    talking: Talking,
    speech: &'a Speech,
    /// Which member a port of the mixer belongs to, plus one.
    by_port: Vec<u32>,
    probe: Probe,
    /// Members of a room that isn't the probe's.
    per_room: usize,
    /// What each sent and got.
    books: Vec<Book>,
}

/// Packets of one member.
#[derive(Debug, Clone, Default)]
struct Book {
    sent: u64,
    received: u64,
    /// Missing between those that came.
    gaps: u64,
    last: Option<u16>,
}

impl Book {
    fn take(&mut self, number: u16) {
        let ahead = self.last.map_or(1, |last| number.wrapping_sub(last));
        // What comes after a later one was counted as missing.
        if ahead < 0x8000 {
            self.gaps += u64::from(ahead.saturating_sub(1));
            self.last = Some(number);
        }
        self.received += 1;
    }

    /// One packet more or less lies at the edges of the time that is measured.
    fn lost(&self) -> u64 {
        self.gaps.max(self.sent.saturating_sub(self.received + 1))
    }

    fn forget(&mut self) {
        (self.sent, self.received, self.gaps) = (0, 0, 0);
    }
}

/// The last room: its first member's bursts, as the others hear them.
struct Probe {
    first: usize,
    began: Option<Instant>,
    /// Quiet packets in a row, by listener.
    quiet: [u32; PROBE_MEMBERS],
    ears: Vec<Ear>,
    heard: Vec<Duration>,
}

/// Sends and receives until the time is up.
///
/// # Errors
///
/// The socket fails.
pub fn run(
    subject: &Subject,
    load: &Load,
    speech: &Speech,
    mut watch: impl FnMut(Duration, u64, u64),
) -> Result<Tally, String> {
    let mut members = Members::new(subject, load, speech)?;
    let begin = Instant::now();
    let (warmup, all) = (load.warmup_s * RATE, (load.warmup_s + load.seconds) * RATE);
    let (mut sent, mut received, mut late) = (0, 0, Duration::ZERO);
    let mut base = None;
    for round in 0..all {
        if round == warmup {
            members.probe.heard.clear();
            members.books.iter_mut().for_each(Book::forget);
            base = Some((Instant::now(), host::cpu_ns(subject.id()), sent, received));
            late = Duration::ZERO;
        }
        for slot in 0..SLOTS {
            let at = begin + Duration::from_millis(round * SLOTS + slot);
            received += members.listen_until(at)?;
            late = late.max(Instant::now().saturating_duration_since(at));
            sent += members.send(round, slot)?;
        }
        if round % RATE == 0 {
            watch(begin.elapsed(), sent, received);
        }
    }
    received += members.listen_until(begin + Duration::from_millis(all * SLOTS))?;
    let (since, cpu_ns, sent_before, received_before) =
        base.ok_or("nothing is measured of nothing")?;
    let elapsed = since.elapsed();
    let cpu_ns = host::cpu_ns(subject.id()).saturating_sub(cpu_ns);
    let mut latency = Histogram::new(3).map_err(|error| error.to_string())?;
    for heard in &members.probe.heard {
        latency += u64::try_from(heard.as_micros()).unwrap_or(u64::MAX);
    }
    Ok(Tally {
        sent: sent - sent_before,
        received: received - received_before,
        lost: members.books.iter().map(Book::lost).sum(),
        latency,
        cpu_ns,
        elapsed,
        late_us: u64::try_from(late.as_micros()).unwrap_or(u64::MAX),
    })
}

impl<'a> Members<'a> {
    fn new(subject: &'a Subject, load: &Load, speech: &'a Speech) -> Result<Self, String> {
        let mut by_port = vec![0; 65_536];
        for (member, port) in (1..).zip(&subject.ports) {
            by_port[usize::from(*port)] = member;
        }
        let first = subject.ports.len().saturating_sub(PROBE_MEMBERS);
        let ears = (0..PROBE_MEMBERS).map(|_| Ear::new(load.scene.codec));
        Ok(Self {
            subject,
            codec: load.scene.codec,
            talking: load.scene.talking,
            speech,
            by_port,
            probe: Probe {
                first,
                began: None,
                quiet: [QUIET; PROBE_MEMBERS],
                ears: ears.collect::<Result<_, _>>()?,
                heard: Vec::new(),
            },
            per_room: first / subject.rooms.max(1),
            books: vec![Book::default(); subject.ports.len()],
        })
    }

    /// Sends the packets of those whose moment it is; says how many.
    fn send(&mut self, round: u64, slot: u64) -> Result<u64, String> {
        if self.talking == Talking::None {
            return Ok(0);
        }
        let mut sent = 0;
        let mut packet = Vec::with_capacity(1500);
        let slots = usize::try_from(SLOTS).unwrap_or(1);
        let due = usize::try_from(slot).unwrap_or(0);
        for member in (due..self.subject.ports.len()).step_by(slots) {
            packet.clear();
            self.write(member, round, &mut packet);
            let to = SocketAddr::from((IP, self.subject.ports[member]));
            if let Err(error) = self.subject.socket.send_to(&packet, to) {
                // A port that is closed says so by the next call.
                if error.kind() != std::io::ErrorKind::ConnectionRefused {
                    return Err(format!("sending: {error}"));
                }
            }
            sent += 1;
            self.books[member].sent += 1;
        }
        Ok(sent)
    }

    fn write(&mut self, member: usize, round: u64, packet: &mut Vec<u8>) {
        let (payload_type, step) = self.codec.rtp();
        let number = u32::try_from(round).unwrap_or(u32::MAX);
        let ssrc = u32::try_from(member).unwrap_or(0) + 1;
        packet.extend([0x80, payload_type]);
        packet.extend(&number.to_be_bytes()[2..]);
        packet.extend(number.wrapping_mul(step).to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        let at = usize::try_from(round).unwrap_or(0);
        let payloads = if member == self.probe.first {
            self.burst(round)
        } else if member > self.probe.first {
            &self.speech.silence
        } else {
            match self.talking {
                Talking::All => &self.speech.voice,
                Talking::One if member.is_multiple_of(self.per_room) => &self.speech.voice,
                Talking::One | Talking::None => &self.speech.silence,
            }
        };
        // Nobody says the same as another at the same time.
        packet.extend(&payloads[(at + member * 37) % payloads.len()]);
    }

    /// What the probe's first member says; a burst begins now where it does.
    fn burst(&mut self, round: u64) -> &'a [Vec<u8>] {
        let at = round % BURST.1;
        if at == 0 {
            self.probe.began = Some(Instant::now());
        }
        if at < BURST.0 {
            &self.speech.noise
        } else {
            &self.speech.silence
        }
    }

    /// Takes what comes until a moment; says how many packets it was.
    fn listen_until(&mut self, moment: Instant) -> Result<u64, String> {
        let mut received = 0;
        let mut bytes = [0; 2048];
        loop {
            match self.subject.socket.recv_from(&mut bytes) {
                Ok((length, from)) => {
                    if self.hear(from, &bytes[..length]) {
                        received += 1;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    let left = moment.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(received);
                    }
                    std::thread::sleep(left.min(Duration::from_micros(250)));
                }
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(format!("receiving: {error}")),
            }
        }
    }

    /// Whether it is RTP for a member; the probe's is looked at.
    fn hear(&mut self, from: SocketAddr, packet: &[u8]) -> bool {
        let member = self.by_port[usize::from(from.port())];
        // RTCP's second octet is 200 to 204; RTP's payload types here have none of them.
        let is_rtp = packet.len() > 12 && !(200..=204).contains(&packet[1]);
        let Some(member) = usize::try_from(member)
            .ok()
            .and_then(|at| at.checked_sub(1))
        else {
            return false;
        };
        if is_rtp {
            let number = u16::from_be_bytes([packet[2], packet[3]]);
            self.books[member].take(number);
        }
        if is_rtp && member > self.probe.first {
            let head = 12 + 4 * usize::from(packet[0] & 0x0f);
            let payload = packet.get(head..).unwrap_or_default();
            self.probe.hear(member - self.probe.first, payload);
        }
        is_rtp
    }
}

impl Probe {
    fn hear(&mut self, listener: usize, payload: &[u8]) {
        let quiet = &mut self.quiet[listener];
        if !self.ears[listener].hears(payload) {
            *quiet += 1;
            return;
        }
        if let Some(began) = self.began.filter(|_| *quiet >= QUIET) {
            self.heard.push(began.elapsed());
        }
        *quiet = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::Book;

    #[test]
    fn a_gap_and_a_mix_that_stops_are_losses_and_the_edge_is_none() {
        let book = |sent, numbers: &[u16]| {
            let mut book = Book {
                sent,
                ..Book::default()
            };
            numbers.iter().for_each(|number| book.take(*number));
            book.lost()
        };
        assert_eq!(book(4, &[65_534, 65_535, 0]), 0);
        assert_eq!(book(4, &[1, 2, 5, 6]), 2);
        assert_eq!(book(10, &[1, 2, 3]), 6);
        assert_eq!(book(4, &[1, 3, 2, 4]), 1);
    }
}
