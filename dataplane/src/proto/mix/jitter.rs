//! The packets of one talker, in their order, until they are played (RFC 3550 §6.4.1, A.1).
//!
//! ```text
//!             next                    newest
//!  played ───┬──┬──┬──┬──┬──┬──┬──┬──┬──┬──▶ sequence numbers
//!            │▓▓│▓▓│  │▓▓│▓▓│  │  │  │▓▓│      a ring of `limits::MIX_PACKETS`, each with a room
//!            └──┴──┴──┴──┴──┴──┴──┴──┴──┘      of its own for the payload
//! ```
//!
//! Whether a packet comes in time is said by its transit (see `delay`). One that is outside of all
//! that may be is a stranger: a few of them that agree with each other mean that the talker began
//! anew.

use super::delay::Delay;
use super::{Refused, TalkCounts};
use crate::limits::{MIX_PACKETS, MIX_PAYLOAD_BYTES};
use crate::wire::rtp::Ssrc;

/// What a packet is to the one who plays it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Audio in the talker's format of this number, this long in its clock's units.
    Audio { format: u8, duration: u32 },
    /// Comfort noise (RFC 3389).
    Noise,
    /// Nothing to be played: a telephone event.
    Other,
}

/// A packet as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) at_us: i64,
    pub(super) seq: u16,
    pub(super) timestamp: u32,
    pub(super) ssrc: Ssrc,
    pub(super) kind: Kind,
    /// The level that the talker signals.
    pub(super) level: Option<u8>,
    pub(super) payload: &'a [u8],
}

/// A packet that waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) seq: i64,
    pub(super) at_us: i64,
    /// Its timestamp without wrapping.
    pub(super) time: i64,
    pub(super) kind: Kind,
    pub(super) level: Option<u8>,
    length: u16,
}

/// What comes next in the order of sequence numbers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Next {
    /// This one.
    Here(Waiting),
    /// It isn't there, and the first that is there is this one.
    Gap(Waiting),
    /// None is there.
    Nothing,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    seq: i64,
    waiting: Option<Waiting>,
}

/// Packets with an implausible transit, one after another.
#[derive(Debug, Clone, Copy, Default)]
struct Strangers {
    count: u8,
    agreeing: u8,
    transit_us: i64,
}

/// The packets of one talker that wait.
#[derive(Debug)]
pub(super) struct Jitter {
    ssrc: Ssrc,
    clock_hz: i64,
    wait_max_us: i64,
    slots: Box<[Slot]>,
    payloads: Vec<u8>,
    payload_bytes: usize,
    newest_seq: i64,
    newest_time: i64,
    next_seq: i64,
    is_played: bool,
    delay: Delay,
    strangers: Strangers,
    pub(super) counts: TalkCounts,
}

impl Jitter {
    /// Begins with a talker's first packet.
    pub(super) fn new(first: &Arrival<'_>, clock_hz: u32, wait_max_us: i64) -> Self {
        let clock_hz = i64::from(clock_hz);
        let transit_us = first.at_us - micros(i64::from(first.timestamp), clock_hz);
        let mut jitter = Self {
            ssrc: first.ssrc,
            clock_hz,
            wait_max_us,
            slots: vec![EMPTY; MIX_PACKETS].into_boxed_slice(),
            payloads: Vec::new(),
            payload_bytes: 0,
            newest_seq: i64::from(first.seq),
            newest_time: i64::from(first.timestamp),
            next_seq: i64::from(first.seq),
            is_played: false,
            delay: Delay::new(first.at_us, transit_us, wait_max_us - TICK_US),
            strangers: Strangers::default(),
            counts: TalkCounts::default(),
        };
        jitter.keep(jitter.next_seq, jitter.newest_time, first);
        jitter
    }

    /// Takes a packet.
    ///
    /// # Errors
    /// Says why it isn't kept.
    pub(super) fn put(&mut self, arrival: &Arrival<'_>, clock_hz: u32) -> Result<(), Refused> {
        if arrival.ssrc != self.ssrc || i64::from(clock_hz) != self.clock_hz {
            self.restart(arrival, clock_hz);
            return Ok(());
        }
        let seq = extended16(self.newest_seq, arrival.seq);
        let time = extended32(self.newest_time, arrival.timestamp);
        let transit_us = arrival.at_us - micros(time, self.clock_hz);
        if self.is_strange(seq, transit_us) {
            if !self.agree(transit_us) {
                self.counts.late += 1;
                return Err(Refused::Late);
            }
            self.restart(arrival, clock_hz);
            return Ok(());
        }
        self.strangers = Strangers::default();
        if self.slots[place(seq)].seq == seq {
            self.counts.duplicates += 1;
            return Err(Refused::Duplicate);
        }
        self.delay.observe(arrival.at_us, transit_us);
        if seq < self.next_seq {
            if self.is_played || self.newest_seq - seq >= RING {
                self.delay.late(arrival.at_us, transit_us);
                self.counts.late += 1;
                return Err(Refused::Late);
            }
            self.next_seq = seq;
        }
        self.make_room(seq, time);
        self.keep(seq, time, arrival);
        Ok(())
    }

    /// What comes next.
    pub(super) fn next(&self) -> Next {
        let mut seq = self.next_seq;
        while seq <= self.newest_seq {
            if let Some(waiting) = self.waiting(seq) {
                return if seq == self.next_seq {
                    Next::Here(waiting)
                } else {
                    Next::Gap(waiting)
                };
            }
            seq += 1;
        }
        Next::Nothing
    }

    /// The payload of a packet that waits.
    pub(super) fn payload(&self, waiting: &Waiting) -> &[u8] {
        let from = place(waiting.seq) * self.payload_bytes;
        self.payloads
            .get(from..from + usize::from(waiting.length))
            .unwrap_or_default()
    }

    /// The packet with this number, and what was before it, is played or given up.
    pub(super) fn played(&mut self, seq: i64) {
        while self.next_seq <= seq {
            self.slots[place(self.next_seq)].waiting = None;
            self.next_seq += 1;
        }
        self.is_played = true;
    }

    /// When a packet of this time is to be played, in microseconds of the room's clock.
    pub(super) fn due_us(&self, time: i64, now_us: i64) -> i64 {
        micros(time, self.clock_hz) + self.delay.base_us() + self.delay.target_us(now_us)
    }

    /// How long the fastest packets are to wait.
    pub(super) fn target_us(&self, now_us: i64) -> i64 {
        self.delay.target_us(now_us)
    }

    /// A packet of this time found nothing left to be played before it: it was late, and those
    /// after it are to wait for longer.
    pub(super) fn was_late(&mut self, time: i64, at_us: i64) {
        self.delay.late(at_us, at_us - micros(time, self.clock_hz));
    }

    /// The number of the packet that is to be played next.
    pub(super) fn next_seq(&self) -> i64 {
        self.next_seq
    }

    /// The transit of the fastest packets.
    pub(super) fn base_us(&self) -> i64 {
        self.delay.base_us()
    }

    /// Whose packets they are.
    pub(super) fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    /// Hertz of its timestamps.
    pub(super) fn clock_hz(&self) -> i64 {
        self.clock_hz
    }

    fn waiting(&self, seq: i64) -> Option<Waiting> {
        let slot = self.slots[place(seq)];
        slot.waiting.filter(|waiting| waiting.seq == seq)
    }

    fn is_strange(&self, seq: i64, transit_us: i64) -> bool {
        let over = transit_us - self.delay.base_us();
        (seq - self.newest_seq).abs() > SEQ_JUMP || over > self.wait_max_us || over < -EARLY_US
    }

    /// Whether so many strangers agree that they are to be believed.
    fn agree(&mut self, transit_us: i64) -> bool {
        let last = self.strangers;
        let agrees = last.count > 0 && (transit_us - last.transit_us).abs() <= AGREE_US;
        self.strangers = Strangers {
            count: last.count.saturating_add(1),
            agreeing: if agrees { last.agreeing + 1 } else { 0 },
            transit_us,
        };
        self.strangers.agreeing >= STRANGERS_AGREEING || self.strangers.count >= STRANGERS
    }

    fn restart(&mut self, arrival: &Arrival<'_>, clock_hz: u32) {
        self.counts.restarts += 1;
        self.ssrc = arrival.ssrc;
        self.clock_hz = i64::from(clock_hz);
        self.slots.fill(EMPTY);
        self.newest_seq = i64::from(arrival.seq);
        self.newest_time = i64::from(arrival.timestamp);
        self.next_seq = self.newest_seq;
        self.is_played = false;
        let transit_us = arrival.at_us - micros(self.newest_time, self.clock_hz);
        self.delay = Delay::new(arrival.at_us, transit_us, self.wait_max_us - TICK_US);
        self.strangers = Strangers::default();
        self.keep(self.newest_seq, self.newest_time, arrival);
    }

    /// Gives up the oldest ones where the ring is full, or what waits is longer than may be.
    fn make_room(&mut self, seq: i64, time: i64) {
        while self.next_seq + RING <= seq {
            self.give_up(self.next_seq);
        }
        while let Next::Here(first) | Next::Gap(first) = self.next() {
            if micros(time - first.time, self.clock_hz) <= self.wait_max_us {
                return;
            }
            self.give_up(first.seq);
        }
    }

    fn give_up(&mut self, seq: i64) {
        if self.waiting(seq).is_some() {
            self.counts.overflowed += 1;
        }
        self.played(seq);
    }

    fn keep(&mut self, seq: i64, time: i64, arrival: &Arrival<'_>) {
        let payload = match arrival.kind {
            Kind::Audio { .. } | Kind::Noise => arrival.payload,
            Kind::Other => &[],
        };
        self.widen(payload.len());
        let from = place(seq) * self.payload_bytes;
        let Some(room) = self.payloads.get_mut(from..from + payload.len()) else {
            return;
        };
        room.copy_from_slice(payload);
        self.slots[place(seq)] = Slot {
            seq,
            waiting: Some(Waiting {
                seq,
                at_us: arrival.at_us,
                time,
                kind: arrival.kind,
                level: arrival.level,
                length: u16::try_from(payload.len()).unwrap_or(0),
            }),
        };
        if seq > self.newest_seq {
            self.newest_seq = seq;
            self.newest_time = time;
        }
        self.counts.received += 1;
    }

    /// Gives every slot as much room as the longest payload so far needs: three times at most.
    fn widen(&mut self, length: usize) {
        if length <= self.payload_bytes && self.payload_bytes > 0 {
            return;
        }
        let wide = length
            .next_power_of_two()
            .clamp(PAYLOAD_BYTES_MIN, MIX_PAYLOAD_BYTES);
        let mut payloads = vec![0; wide * MIX_PACKETS];
        for (new, old) in payloads
            .chunks_exact_mut(wide)
            .zip(self.payloads.chunks_exact(self.payload_bytes.max(1)))
        {
            new[..old.len()].copy_from_slice(old);
        }
        (self.payloads, self.payload_bytes) = (payloads, wide);
    }
}

/// Microseconds of a number of a clock's units.
pub(super) fn micros(units: i64, clock_hz: i64) -> i64 {
    units * 1_000_000 / clock_hz
}

fn place(seq: i64) -> usize {
    usize::try_from(seq.rem_euclid(RING)).unwrap_or(0)
}

/// The number nearest to `newest` whose low 16 bits are `seq`.
fn extended16(newest: i64, seq: u16) -> i64 {
    let [.., high, low] = newest.to_be_bytes();
    let ahead = seq.wrapping_sub(u16::from_be_bytes([high, low]));
    newest + i64::from(ahead.cast_signed())
}

/// The number nearest to `newest` whose low 32 bits are `time`.
fn extended32(newest: i64, time: u32) -> i64 {
    let [.., a, b, c, d] = newest.to_be_bytes();
    let ahead = time.wrapping_sub(u32::from_be_bytes([a, b, c, d]));
    newest + i64::from(ahead.cast_signed())
}

const EMPTY: Slot = Slot {
    seq: i64::MIN,
    waiting: None,
};
#[expect(clippy::cast_possible_wrap, reason = "a small constant")]
const RING: i64 = MIX_PACKETS as i64;
const TICK_US: i64 = 20_000;
/// Octets that a slot has room for at first: 20 ms of G.711, and most of speech in Opus.
const PAYLOAD_BYTES_MIN: usize = 256;
/// RFC 3550 A.1 allows 3000 lost ones; that many are a minute of speech, and a talker that began
/// anew is more likely.
const SEQ_JUMP: i64 = 1000;
/// So much faster than the fastest ones isn't the network's doing.
const EARLY_US: i64 = 1_000_000;
/// Strangers in a row whose transits are as near as `AGREE_US`, or whatever these are.
const STRANGERS_AGREEING: u8 = 2;
const STRANGERS: u8 = 25;
const AGREE_US: i64 = 10_000;

#[cfg(test)]
mod tests {
    use super::{Arrival, Jitter, Kind, Next, Refused, Ssrc};

    const MS: i64 = 1000;

    fn arrival(at_ms: i64, seq: u16, timestamp: u32) -> Arrival<'static> {
        Arrival {
            at_us: at_ms * MS,
            seq,
            timestamp,
            ssrc: Ssrc(1),
            kind: Kind::Audio {
                format: 0,
                duration: 160,
            },
            level: None,
            payload: b"payload",
        }
    }

    fn begun(seq: u16, timestamp: u32) -> Jitter {
        Jitter::new(&arrival(0, seq, timestamp), 8000, 200 * MS)
    }

    /// The sequence numbers that come out, lost ones left out.
    fn drained(jitter: &mut Jitter) -> Vec<i64> {
        let mut seqs = Vec::new();
        while let Next::Here(waiting) | Next::Gap(waiting) = jitter.next() {
            assert_eq!(jitter.payload(&waiting), b"payload");
            seqs.push(waiting.seq);
            jitter.played(waiting.seq);
        }
        seqs
    }

    #[test]
    fn packets_come_out_in_order_and_once_across_the_wrap() {
        let mut jitter = begun(65_534, 0u32.wrapping_sub(320));
        let later = |seq: u16, n: u32| arrival(i64::from(n) * 20, seq, (n * 160).wrapping_sub(320));
        assert_eq!(jitter.put(&later(1, 3), 8000), Ok(()));
        assert_eq!(jitter.put(&later(65_535, 1), 8000), Ok(()));
        assert_eq!(jitter.put(&later(65_535, 1), 8000), Err(Refused::Duplicate));
        assert_eq!(jitter.put(&later(0, 2), 8000), Ok(()));
        assert_eq!(drained(&mut jitter), [65_534, 65_535, 65_536, 65_537]);
        assert_eq!(
            jitter.put(&later(65_535, 1), 8000),
            Err(Refused::Duplicate),
            "also when it was played"
        );
        assert_eq!(jitter.counts.duplicates, 2);
    }

    #[test]
    fn what_was_given_up_is_late_when_it_comes() {
        let mut jitter = begun(10, 0);
        jitter.put(&arrival(40, 12, 320), 8000).unwrap();
        assert_eq!(drained(&mut jitter), [10, 12]);
        assert_eq!(jitter.put(&arrival(41, 11, 160), 8000), Err(Refused::Late));
        assert_eq!(jitter.counts.late, 1);
        assert!(
            jitter.target_us(41 * MS) >= 21 * MS,
            "and those after it wait"
        );
    }

    #[test]
    fn packets_before_the_first_are_taken_until_it_is_played() {
        let mut jitter = begun(10, 160);
        jitter.put(&arrival(1, 9, 0), 8000).unwrap();
        assert_eq!(drained(&mut jitter), [9, 10]);
    }

    #[test]
    fn a_flood_loses_its_oldest_packets_and_no_memory() {
        let mut jitter = begun(0, 0);
        for n in 1..500_u16 {
            jitter.put(&arrival(0, n, u32::from(n)), 8000).unwrap();
        }
        assert_eq!(drained(&mut jitter).len(), crate::limits::MIX_PACKETS);
        let mut jitter = begun(0, 0);
        for n in 1..20_u16 {
            jitter
                .put(&arrival(0, n, u32::from(n) * 160), 8000)
                .unwrap();
        }
        assert_eq!(drained(&mut jitter).len(), 11, "200 ms and the newest one");
        assert_eq!(jitter.counts.overflowed, 9);
    }

    #[test]
    fn another_ssrc_begins_anew_at_once() {
        let mut jitter = begun(10, 0);
        let other = Arrival {
            ssrc: Ssrc(2),
            ..arrival(20, 9000, 77)
        };
        jitter.put(&other, 8000).unwrap();
        assert_eq!(drained(&mut jitter), [9000]);
        assert_eq!(jitter.counts.restarts, 1);
    }

    #[test]
    fn a_jump_is_believed_once_packets_agree_on_it() {
        let mut jitter = begun(10, 0);
        assert_eq!(drained(&mut jitter), [10]);
        let jumped = |n: u16| arrival(i64::from(n) * 20, 11 + n, 4_000_000 + u32::from(n) * 160);
        assert_eq!(jitter.put(&jumped(1), 8000), Err(Refused::Late));
        assert_eq!(jitter.put(&jumped(2), 8000), Err(Refused::Late));
        assert_eq!(jitter.put(&jumped(3), 8000), Ok(()));
        assert_eq!(jitter.put(&jumped(4), 8000), Ok(()));
        assert_eq!(drained(&mut jitter), [14, 15]);
    }

    #[test]
    fn a_single_packet_from_elsewhere_changes_nothing() {
        let mut jitter = begun(10, 0);
        let stray = arrival(1, 40_000, 9_000_000);
        assert_eq!(jitter.put(&stray, 8000), Err(Refused::Late));
        jitter.put(&arrival(20, 11, 160), 8000).unwrap();
        assert_eq!(jitter.put(&stray, 8000), Err(Refused::Late));
        assert_eq!(drained(&mut jitter), [10, 11]);
    }

    #[test]
    fn a_longer_payload_keeps_those_that_wait() {
        let mut jitter = begun(10, 0);
        let long = Arrival {
            payload: &[7; 900],
            ..arrival(20, 11, 160)
        };
        jitter.put(&long, 8000).unwrap();
        let Next::Here(first) = jitter.next() else {
            panic!("it waits")
        };
        assert_eq!(jitter.payload(&first), b"payload");
        jitter.played(first.seq);
        let Next::Here(second) = jitter.next() else {
            panic!("it waits")
        };
        assert_eq!(jitter.payload(&second), [7; 900]);
    }
}
