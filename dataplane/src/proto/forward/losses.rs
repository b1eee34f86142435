//! Lost packets of one track: its source is asked for them once for all receivers, and what comes
//! again for that goes to those alone who lack it (RFC 4585 §6.2.1).
//!
//! Nothing is kept to be sent again: a room of simplex media has one source and up to thousands of
//! receivers, and rooms are many; the source has its packets anyway. What the relay keeps instead are
//! numbers: which packets came, which were asked for, and who waits for which.

use std::time::{Duration, Instant};

use crate::limits::{FORWARD_NACK_MS, FORWARD_NACK_TIMES, FORWARD_NACKS};
use crate::wire::rtp::Seq;

use super::track::is_after;

/// What is known of a track's newest packets.
#[derive(Debug, Clone, Default)]
pub(super) struct Losses {
    /// Those of the newest that came: bit `seq % WINDOW`.
    came: [u64; WORDS],
    newest: Option<Seq>,
    asked: [Option<Asked>; FORWARD_NACKS],
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    seq: Seq,
    at: Instant,
    times: u8,
}

impl Losses {
    /// A packet has come; whether it has come before, or is older than is remembered.
    pub(super) fn arrived(&mut self, seq: Seq) -> bool {
        match self.newest {
            None => {
                self.newest = Some(seq);
                self.set(seq, true);
                false
            }
            Some(newest) if is_after(seq, newest) => {
                let ahead = seq.0.wrapping_sub(newest.0);
                for step in 1..=ahead.min(WINDOW) {
                    self.set(Seq(seq.0.wrapping_sub(ahead.min(WINDOW) - step)), false);
                }
                self.set(seq, true);
                self.newest = Some(seq);
                false
            }
            Some(newest) => {
                let is_old = newest.0.wrapping_sub(seq.0) >= WINDOW;
                is_old || self.has(seq) || {
                    self.set(seq, true);
                    false
                }
            }
        }
    }

    /// Whether the source is to be asked for a packet now; then that is noted.
    pub(super) fn ask(&mut self, seq: Seq, now: Instant) -> bool {
        let Some(newest) = self.newest else {
            return false;
        };
        if is_after(seq, newest) || newest.0.wrapping_sub(seq.0) >= WINDOW {
            return false;
        }
        let pause = Duration::from_millis(FORWARD_NACK_MS);
        let entries = self.asked.iter_mut();
        let mut known = entries.filter_map(Option::as_mut);
        if let Some(asked) = known.find(|asked| asked.seq == seq) {
            let is_early = now.saturating_duration_since(asked.at) < pause;
            if is_early || asked.times >= FORWARD_NACK_TIMES {
                return false;
            }
            (asked.at, asked.times) = (now, asked.times + 1);
            return true;
        }
        // One that nobody has asked for lately makes way.
        let age = |asked: &Option<Asked>| asked.map(|asked| asked.at);
        let Some(place) = self.asked.iter_mut().min_by_key(|asked| age(asked)) else {
            return false;
        };
        if place.is_some_and(|asked| now.saturating_duration_since(asked.at) < pause) {
            return false;
        }
        *place = Some(Asked {
            seq,
            at: now,
            times: 1,
        });
        true
    }

    /// Whether the source was asked for a packet.
    pub(super) fn was_asked(&self, seq: Seq) -> bool {
        let mut asked = self.asked.iter().flatten();
        asked.any(|asked| asked.seq == seq)
    }

    fn has(&self, seq: Seq) -> bool {
        let (word, bit) = place(seq);
        self.came.get(word).is_some_and(|word| word >> bit & 1 == 1)
    }

    fn set(&mut self, seq: Seq, came: bool) {
        let (word, bit) = place(seq);
        if let Some(word) = self.came.get_mut(word) {
            *word = *word & !(1 << bit) | u64::from(came) << bit;
        }
    }
}

fn place(seq: Seq) -> (usize, u16) {
    (usize::from(seq.0 % WINDOW / 64), seq.0 % 64)
}

const WORDS: usize = 4;
/// Packets that are remembered; what is older isn't asked for, as it would come too late.
const WINDOW: u16 = 256;
const _: () = assert!(WORDS * 64 == WINDOW as usize);

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a time to begin with")]
        Instant::now()
    }

    #[test]
    fn what_comes_twice_is_told_from_what_comes_late_across_the_wrap() {
        let mut losses = Losses::default();
        for seq in [65_500, 65_501, 65_535, 3, 2] {
            assert!(!losses.arrived(Seq(seq)), "{seq}");
        }
        for seq in [65_501, 65_535, 2, 3] {
            assert!(losses.arrived(Seq(seq)), "{seq}");
        }
        assert!(!losses.arrived(Seq(65_534)), "it is late, and new");
        assert!(!losses.arrived(Seq(600)));
        assert!(losses.arrived(Seq(300)), "older than is remembered");
        assert!(!losses.arrived(Seq(400)), "the window was emptied");
    }

    #[test]
    fn a_packet_is_asked_for_now_and_then_and_only_so_often() {
        let (mut losses, now) = (Losses::default(), start());
        assert!(!losses.ask(Seq(1), now), "nothing came");
        losses.arrived(Seq(10));
        assert!(!losses.ask(Seq(11), now), "it may still come");
        assert!(losses.ask(Seq(9), now));
        assert!(!losses.ask(Seq(9), now));
        let pause = Duration::from_millis(FORWARD_NACK_MS);
        let later = (1..100).filter(|round| losses.ask(Seq(9), now + pause * *round));
        assert_eq!(later.count(), usize::from(FORWARD_NACK_TIMES) - 1);
    }

    #[test]
    fn only_so_many_are_asked_for_at_a_time() {
        let (mut losses, now) = (Losses::default(), start());
        losses.arrived(Seq(200));
        let asked = (0..100).filter(|seq| losses.ask(Seq(*seq), now));
        assert_eq!(asked.count(), FORWARD_NACKS);
        let later = now + Duration::from_millis(FORWARD_NACK_MS);
        assert!(losses.ask(Seq(150), later));
    }
}
