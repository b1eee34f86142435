//! The members' voices: each sends a packet every 20 ms, spread evenly over them, and hears what it
//! gets.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::group::{Groups, Seat};
use super::tally::{Progress, Spoken, times};
use super::{Options, Voices};
use crate::mix::Codec;
use crate::mix::speech;

/// Packets of a member in a second.
const RATE: u64 = 50;
/// Moments of 20 ms, a millisecond each, at which some members send.
const SLOTS: u64 = 20;
/// Seconds after which others talk.
const TURN_S: u64 = 4;
/// How long is listened after the last packet.
const ECHO: Duration = Duration::from_millis(200);
/// Of a hundred packets that a member sends, those of its mix that come at least.
const HEARD_PERCENT: u64 = 98;
/// A delay of the load by more than a packet's time, in which others may miss it.
const STALL: Duration = Duration::from_millis(20);

/// All members' voices.
pub struct Voice<'a> {
    socket: UdpSocket,
    members: Vec<Member>,
    voices: &'a Voices,
    options: &'a Options,
    /// Which member a port of the relay belongs to, plus one.
    by_port: Vec<u32>,
}

struct Member {
    to: SocketAddr,
    payload_type: u8,
    codec: Codec,
    room: u64,
    number: u64,
    sent: u64,
    heard: u64,
    lost: u64,
    loud: u64,
    last: Option<(u16, Instant)>,
}

/// How far the load is behind its own moments.
#[derive(Debug, Default)]
struct Delay {
    now: Duration,
    most: Duration,
    stalled: Duration,
}

impl Delay {
    fn note(&mut self, late: Duration) {
        let more = late.saturating_sub(self.now);
        if more >= STALL {
            self.stalled += more;
        }
        self.now = late;
        self.most = self.most.max(late);
    }
}

/// Whether a member got fewer packets than it sent: the mixer sends to it as often as it does, and
/// only where the whole load stood still may it have had nothing to send.
fn is_missing((sent, heard): (u64, u64), stalled: Duration) -> bool {
    let excused = u64::try_from(stalled.as_millis()).unwrap_or(u64::MAX) / SLOTS;
    (heard + excused) * 100 < sent * HEARD_PERCENT
}

impl<'a> Voice<'a> {
    /// The voices of all who are in groups.
    ///
    /// # Errors
    ///
    /// The socket can't be shared.
    pub fn new(options: &'a Options, groups: &Groups, voices: &'a Voices) -> Result<Self, String> {
        let mut by_port = vec![0; 65_536];
        for (number, seat) in (1..).zip(groups.seats()) {
            by_port[usize::from(seat.rtp.port())] = number;
        }
        Ok(Self {
            socket: groups.voice_socket()?,
            members: groups.seats().map(Member::new).collect(),
            voices,
            options,
            by_port,
        })
    }

    /// Talks and listens until the time is up.
    ///
    /// # Errors
    ///
    /// The socket fails.
    pub fn run(mut self, begin: Instant, seen: &Progress) -> Result<Spoken, String> {
        let warmup = u64::from(self.options.warmup) * RATE;
        let all = warmup + u64::from(self.options.seconds) * RATE;
        let mut gaps = times()?;
        let mut delay = Delay::default();
        for round in 0..all {
            if round == warmup {
                self.forget();
                gaps.clear();
                delay = Delay::default();
            }
            for slot in 0..SLOTS {
                let at = begin + Duration::from_millis(round * SLOTS + slot);
                self.listen_until(at, &mut gaps, seen)?;
                delay.note(Instant::now().saturating_duration_since(at));
                let count = self.send(round, slot)?;
                seen.packets_sent.fetch_add(count, Ordering::Relaxed);
            }
        }
        self.listen_until(Instant::now() + ECHO, &mut gaps, seen)?;
        let members = || self.members.iter();
        Ok(Spoken {
            sent: members().map(|member| member.sent).sum(),
            heard: members().map(|member| member.heard).sum(),
            lost: members().map(|member| member.lost).sum(),
            least: members().map(|member| member.heard).min().unwrap_or(0),
            missing: members()
                .filter(|one| is_missing((one.sent, one.heard), delay.stalled))
                .count(),
            deaf: members().filter(|one| one.loud == 0).count(),
            gaps,
            late_us: u64::try_from(delay.most.as_micros()).unwrap_or(u64::MAX),
            stalled: delay.stalled,
        })
    }

    fn forget(&mut self) {
        for member in &mut self.members {
            (member.sent, member.heard, member.lost, member.loud) = (0, 0, 0, 0);
        }
    }

    /// Sends the packets of those whose moment it is; says how many.
    fn send(&mut self, round: u64, slot: u64) -> Result<u64, String> {
        let mut sent = 0;
        let mut packet = Vec::with_capacity(1500);
        let slots = usize::try_from(SLOTS).unwrap_or(1);
        let due = usize::try_from(slot).unwrap_or(0);
        for number in (due..self.members.len()).step_by(slots) {
            packet.clear();
            self.write(number, round, &mut packet);
            let member = &mut self.members[number];
            match self.socket.send_to(&packet, member.to) {
                Ok(_) => {
                    member.sent += 1;
                    sent += 1;
                }
                // A port that is closed says so by the next call.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(format!("sending: {error}")),
            }
        }
        Ok(sent)
    }

    fn write(&self, number: usize, round: u64, packet: &mut Vec<u8>) {
        let member = &self.members[number];
        let (step, voices) = match member.codec {
            Codec::G711 => (160, &self.voices.g711),
            Codec::Opus => (960, &self.voices.opus),
        };
        let count = u32::try_from(round).unwrap_or(u32::MAX);
        let ssrc = u32::try_from(number).unwrap_or(0) + 1;
        packet.extend([0x80, member.payload_type]);
        packet.extend(&count.to_be_bytes()[2..]);
        packet.extend(count.wrapping_mul(step).to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        let payloads = if self.talks(member, round) {
            &voices.voice
        } else {
            &voices.silence
        };
        // Nobody says the same as another at the same time.
        let at = usize::try_from(round).unwrap_or(0) + number * 37;
        packet.extend(&payloads[at % payloads.len()]);
    }

    /// Whether it is a member's turn: some neighbours talk, then the next ones.
    fn talks(&self, member: &Member, round: u64) -> bool {
        let members = u64::from(self.options.members);
        let talkers = u64::from(self.options.talkers).min(members);
        let first = (round / RATE / TURN_S * talkers + member.room) % members;
        (member.number + members - first) % members < talkers
    }

    /// Takes what comes until a moment.
    fn listen_until(
        &mut self,
        moment: Instant,
        gaps: &mut Histogram<u64>,
        seen: &Progress,
    ) -> Result<(), String> {
        let mut bytes = [0; 2048];
        loop {
            match self.socket.recv_from(&mut bytes) {
                Ok((length, from)) => {
                    let member = self.by_port[usize::from(from.port())];
                    let member = usize::try_from(member)
                        .ok()
                        .and_then(|at| at.checked_sub(1));
                    if let Some(member) = member {
                        let heard = self.members[member].hear(&bytes[..length], gaps);
                        seen.packets_heard
                            .fetch_add(u64::from(heard), Ordering::Relaxed);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let left = moment.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(());
                    }
                    std::thread::sleep(left.min(Duration::from_micros(250)));
                }
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(format!("receiving: {error}")),
            }
        }
    }
}

impl Member {
    fn new(seat: &Seat) -> Self {
        Self {
            to: seat.rtp,
            payload_type: seat.payload_type,
            codec: seat.codec,
            room: u64::from(seat.room),
            number: u64::from(seat.member),
            sent: 0,
            heard: 0,
            lost: 0,
            loud: 0,
            last: None,
        }
    }

    /// Takes a packet if it is RTP.
    fn hear(&mut self, packet: &[u8], gaps: &mut Histogram<u64>) -> bool {
        // RTCP's second octet is 200 to 204; RTP's payload types here have none of them.
        if packet.len() <= 12 || (200..=204).contains(&packet[1]) {
            return false;
        }
        let seq = u16::from_be_bytes([packet[2], packet[3]]);
        let now = Instant::now();
        if let Some((before, at)) = self.last.replace((seq, now)) {
            self.lost += u64::from(seq.wrapping_sub(before).saturating_sub(1));
            let gap = now.saturating_duration_since(at).as_micros();
            gaps.saturating_record(u64::try_from(gap).unwrap_or(u64::MAX));
        }
        self.heard += 1;
        let head = 12 + 4 * usize::from(packet[0] & 0x0f);
        let payload = packet.get(head..).unwrap_or_default();
        self.loud += u64::from(speech::is_loud(self.codec, payload));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Delay, is_missing};

    #[test]
    fn a_mix_that_stops_midway_is_noticed_and_a_stall_of_the_load_is_none() {
        let nothing = Duration::ZERO;
        assert!(!is_missing((250, 257), nothing) && !is_missing((250, 246), nothing));
        assert!(is_missing((250, 125), nothing));
        assert!(!is_missing((250, 200), Duration::from_secs(1)));
        assert!(is_missing((250, 125), Duration::from_secs(1)));
    }

    #[test]
    fn the_load_stalls_where_it_falls_behind_and_not_while_it_catches_up() {
        let mut delay = Delay::default();
        for late_ms in [0, 3, 500, 480, 470, 2, 30, 1] {
            delay.note(Duration::from_millis(late_ms));
        }
        assert_eq!(delay.stalled, Duration::from_millis(497 + 28));
        assert_eq!(delay.most, Duration::from_millis(500));
    }
}
