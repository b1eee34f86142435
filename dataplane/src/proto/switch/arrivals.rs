//! Which packets of one source came: sequence numbers with their cycles, duplicates, and the figures
//! of a report (RFC 3550 A.1, A.3, A.8).

use std::time::{Duration, Instant};

use crate::limits::SWITCH_LATE_PACKETS;
use crate::wire::rtp::Seq;

/// The packets of one SSRC.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// The highest number, with its cycles; begins high, so that those below it have one too.
    highest: u64,
    first: u64,
    received: u64,
    /// A bit for each of the last numbers, at its place modulo their count.
    came: [u64; WORDS],
    /// The number that would follow one far away from all others.
    after_jump: Option<Seq>,
    /// Arrival against timestamp, and how much that varies, in sixteenths of a timestamp unit.
    transit: Option<u32>,
    jitter: u32,
    /// Expected and received at the last report.
    reported: (u64, u64),
}

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It wasn't there, and has this number with its cycles.
    New(u64),
    /// It was there.
    Duplicate,
    /// It is too old, or far away from all others.
    Stray,
    /// It is the second one far away from all others: the source counts anew.
    Restart,
}

impl Arrivals {
    /// Begins with a first packet.
    pub(super) fn new(seq: Seq) -> Self {
        let first = CYCLES + u64::from(seq.0);
        let mut arrivals = Self {
            highest: first,
            first,
            received: 1,
            came: [0; WORDS],
            after_jump: None,
            transit: None,
            jitter: 0,
            reported: (0, 0),
        };
        arrivals.mark(first);
        arrivals
    }

    /// The highest number that came, with its cycles.
    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// The number of those around the highest one that a sequence number stands for.
    pub(super) fn extend(&self, seq: Seq) -> u64 {
        let ahead = seq.0.wrapping_sub(low_16(self.highest));
        match ahead < DROPOUT_MAX {
            true => self.highest + u64::from(ahead),
            false => self.highest - u64::from(ahead.wrapping_neg()),
        }
    }

    /// Takes note of a packet.
    pub(super) fn take(&mut self, seq: Seq) -> Arrival {
        let number = self.extend(seq);
        if number > self.highest {
            let gap = number - self.highest;
            for missing in 1..gap.min(LATE) {
                self.clear(number - missing);
            }
            self.highest = number;
        } else if self.highest - number >= LATE {
            let expected = self.after_jump.replace(Seq(seq.0.wrapping_add(1)));
            return match expected == Some(seq) {
                true => Arrival::Restart,
                false => Arrival::Stray,
            };
        } else if self.has(number) {
            return Arrival::Duplicate;
        }
        self.after_jump = None;
        self.mark(number);
        self.received += 1;
        Arrival::New(number)
    }

    /// Takes note of when a packet came, against its timestamp (RFC 3550 A.8).
    pub(super) fn time(&mut self, arrival: u32, timestamp: u32) {
        let transit = arrival.wrapping_sub(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let forth = transit.wrapping_sub(before);
            let change = forth.min(forth.wrapping_neg()).min(JITTER_MAX);
            self.jitter = self.jitter + change - ((self.jitter + 8) >> 4);
        }
    }

    /// The fraction lost since the last time this was asked, what was lost in all, the highest number
    /// and the jitter, as a report has them; `None` when nothing came since.
    pub(super) fn report(&mut self) -> Option<(u8, u32, u32, u32)> {
        let expected = self.highest + 1 - self.first;
        let lost = expected.saturating_sub(self.received);
        let (expected_before, received_before) = self.reported;
        if self.received == received_before {
            return None;
        }
        let expected_since = expected - expected_before;
        let lost_since = expected_since.saturating_sub(self.received - received_before);
        self.reported = (expected, self.received);
        let fraction = (lost_since * 256).checked_div(expected_since).unwrap_or(0);
        let highest = low_32(self.highest - CYCLES);
        Some((
            u8::try_from(fraction).unwrap_or(u8::MAX),
            u32::try_from(lost).unwrap_or(u32::MAX),
            highest,
            self.jitter >> 4,
        ))
    }

    fn has(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.came[word] & bit != 0
    }

    fn mark(&mut self, number: u64) {
        let (word, bit) = place(number);
        self.came[word] |= bit;
    }

    fn clear(&mut self, number: u64) {
        let (word, bit) = place(number);
        self.came[word] &= !bit;
    }
}

fn place(number: u64) -> (usize, u64) {
    let [low, high, ..] = number.to_le_bytes();
    let at = usize::from(u16::from_le_bytes([low, high])) % SWITCH_LATE_PACKETS;
    (at / 64, 1 << (at % 64))
}

/// The lower 16 bits of a number.
pub(super) fn low_16(number: u64) -> u16 {
    let [low, high, ..] = number.to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// The lower 32 bits of a number.
pub(super) fn low_32(number: u64) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// A span of time in units of video's timestamps, 90 kHz.
pub(super) fn ticks(span: Duration) -> u32 {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX / 9);
    low_32(micros.wrapping_mul(9) / 100)
}

/// The NTP time of an instant: one clock for all rooms, so that a receiver can put what it hears and
/// what it sees together (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NtpClock {
    /// An instant whose NTP time is known.
    pub at: Instant,
    /// That time: seconds in the upper half, their fraction in the lower.
    pub ntp: u64,
}

impl NtpClock {
    /// The NTP time of an instant that isn't before the known one.
    #[must_use]
    pub fn read(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.at);
        let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
        self.ntp
            .wrapping_add(since.as_secs() << 32)
            .wrapping_add(fraction)
    }
}

const WORDS: usize = SWITCH_LATE_PACKETS / 64;
const LATE: u64 = SWITCH_LATE_PACKETS as u64;
/// What the cycles of a new source begin with.
const CYCLES: u64 = 1 << 32;
/// RFC 3550 A.1: further ahead than this, a number is another count's.
const DROPOUT_MAX: u16 = 3000;
/// Two seconds: no packet of live video is late by more, and sums stay small.
const JITTER_MAX: u32 = 180_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_when_sequence_numbers_wrap() {
        let mut arrivals = Arrivals::new(Seq(0xfffe));
        let first = arrivals.highest();
        assert_eq!(arrivals.take(Seq(1)), Arrival::New(first + 3));
        assert_eq!(arrivals.take(Seq(0xffff)), Arrival::New(first + 1));
        assert_eq!(arrivals.take(Seq(0xffff)), Arrival::Duplicate);
        assert_eq!(arrivals.take(Seq(0xfffd)), Arrival::New(first - 1));
        assert_eq!(arrivals.highest(), first + 3);
    }

    #[test]
    fn a_source_that_jumps_counts_anew_at_its_second_packet() {
        let mut arrivals = Arrivals::new(Seq(10));
        assert_eq!(arrivals.take(Seq(20_000)), Arrival::Stray);
        assert_eq!(arrivals.take(Seq(11)), Arrival::New(arrivals.highest()));
        assert_eq!(arrivals.take(Seq(20_001)), Arrival::Stray);
        assert_eq!(arrivals.take(Seq(20_002)), Arrival::Restart);
    }

    #[test]
    fn numbers_that_were_skipped_are_not_there_whatever_was_at_their_place() {
        let mut arrivals = Arrivals::new(Seq(0));
        for seq in 1..1024 {
            assert!(matches!(arrivals.take(Seq(seq)), Arrival::New(_)));
        }
        assert!(matches!(arrivals.take(Seq(2100)), Arrival::New(_)));
        for seq in 1077..2100 {
            assert!(matches!(arrivals.take(Seq(seq)), Arrival::New(_)), "{seq}");
        }
        assert_eq!(arrivals.take(Seq(1076)), Arrival::Stray);
    }

    #[test]
    fn a_report_says_what_was_lost_since_the_one_before() {
        let mut arrivals = Arrivals::new(Seq(0));
        arrivals.take(Seq(3));
        assert_eq!(arrivals.report(), Some((128, 2, 3, 0)));
        assert_eq!(arrivals.report(), None);
        arrivals.take(Seq(4));
        assert_eq!(arrivals.report(), Some((0, 2, 4, 0)));
        arrivals.take(Seq(2));
        assert_eq!(arrivals.report().unwrap().1, 1);
    }

    #[test]
    fn jitter_settles_at_the_variation_of_the_transit() {
        let mut arrivals = Arrivals::new(Seq(0));
        for packet in 0_u32..1000 {
            let late = if packet % 2 == 0 { 0 } else { 160 };
            arrivals.time(packet * 3000 + late, packet * 3000);
        }
        let (_, _, _, jitter) = arrivals.report().unwrap();
        assert!((150..=160).contains(&jitter), "{jitter}");
    }

    #[test]
    fn the_clock_tells_ntp_time() {
        let start = crate::proto::switch::tests::start();
        let clock = NtpClock {
            at: start,
            ntp: 7 << 32,
        };
        let half = start + Duration::from_millis(1500);
        assert_eq!(clock.read(half), 8 << 32 | 1 << 31);
        assert_eq!(ticks(Duration::from_millis(1500)), 135_000);
    }
}
