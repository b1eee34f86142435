//! Who is heard, and who speaks: the loudest, but not by a moment's noise.

use super::Seat;
use crate::codec::SILENCE;
use crate::limits::MIX_TALKERS;

/// How loud somebody is, in sixteenths of a decibel above silence: up at once, down slowly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Loudness(i32);

impl Loudness {
    /// Follows a level in −dBov for one tick.
    pub(super) fn follow(&mut self, level: u8) {
        let now = (i32::from(SILENCE) - i32::from(level)).max(0) * 16;
        self.0 = now.max(self.0 - FALL);
    }

    /// Whether there is nothing to be heard: what a muted telephone sends, at most.
    pub(super) fn is_silence(self) -> bool {
        self.0 < AUDIBLE
    }

    fn is_speech(self) -> bool {
        self.0 >= SPEECH
    }
}

/// The loudest of all who send, at most so many.
#[derive(Debug)]
pub(super) struct Loudest {
    seats: [(Loudness, Seat); MIX_TALKERS],
    count: usize,
    count_max: usize,
}

impl Loudest {
    /// Room for `count_max`, 1 to `limits::MIX_TALKERS`.
    pub(super) fn new(count_max: u8) -> Self {
        Self {
            seats: [(Loudness(0), Seat(0)); MIX_TALKERS],
            count: 0,
            count_max: usize::from(count_max).clamp(1, MIX_TALKERS),
        }
    }

    /// Somebody sends; who was heard until now stays before those that aren't much louder.
    pub(super) fn offer(&mut self, seat: Seat, loudness: Loudness, was_heard: bool) {
        let favour = if was_heard { FAVOUR } else { 0 };
        let score = Loudness(loudness.0 + favour);
        let before = self.seats[..self.count]
            .iter()
            .take_while(|(other, _)| *other >= score)
            .count();
        if before >= self.count_max {
            return;
        }
        self.count = (self.count + 1).min(self.count_max);
        self.seats[before..self.count].rotate_right(1);
        self.seats[before] = (score, seat);
    }

    /// Whether a seat is one of them.
    pub(super) fn has(&self, seat: Seat) -> bool {
        self.seats[..self.count].iter().any(|(_, one)| *one == seat)
    }
}

/// Who speaks, as others are told and shown.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Speaker {
    current: Option<Seat>,
    /// Who is louder, and for how many ticks.
    rival: Option<(Seat, u8)>,
    silent_ticks: u8,
}

impl Speaker {
    /// Who speaks.
    pub(super) fn current(&self) -> Option<Seat> {
        self.current
    }

    /// Somebody left.
    pub(super) fn forget(&mut self, seat: Seat) {
        if self.current == Some(seat) {
            self.current = None;
        }
        self.rival = self.rival.filter(|(rival, _)| *rival != seat);
    }

    /// Nobody has sent anything for so long that the clock stands.
    pub(super) fn stop(&mut self) {
        *self = Self::default();
    }

    /// One tick: the loudest, how loud it is, and how loud the one is who speaks.
    pub(super) fn follow(&mut self, loudest: Option<(Seat, Loudness)>, of_current: Loudness) {
        let loudest = loudest.filter(|(_, loudness)| loudness.is_speech());
        let Some((seat, loudness)) = loudest else {
            self.rival = None;
            self.silent_ticks = self.silent_ticks.saturating_add(1);
            if self.silent_ticks >= SILENT_TICKS {
                self.current = None;
            }
            return;
        };
        self.silent_ticks = 0;
        if self.current.is_none() {
            (self.current, self.rival) = (Some(seat), None);
        } else if self.current == Some(seat) || loudness.0 < of_current.0 + RIVAL {
            self.rival = None;
        } else {
            let ticks = match self.rival {
                Some((rival, ticks)) if rival == seat => ticks + 1,
                Some(_) | None => 1,
            };
            self.rival = Some((seat, ticks));
            if ticks >= RIVAL_TICKS {
                (self.current, self.rival) = (Some(seat), None);
            }
        }
    }
}

/// 1 dB a tick: the pause between two words doesn't make a talker quiet.
const FALL: i32 = 16;
/// 6 dB.
const FAVOUR: i32 = 6 * 16;
/// Above −70 dBov: A-law's silence is at −72.
const AUDIBLE: i32 = (127 - 70) * 16;
/// Above −60 dBov.
const SPEECH: i32 = (127 - 60) * 16;
/// 3 dB louder, for 300 ms.
const RIVAL: i32 = 3 * 16;
const RIVAL_TICKS: u8 = 15;
/// After a second of silence nobody speaks.
const SILENT_TICKS: u8 = 50;

#[cfg(test)]
mod tests {
    use super::{Loudest, Loudness, Seat, Speaker};

    fn at(level: u8) -> Loudness {
        let mut loudness = Loudness::default();
        loudness.follow(level);
        loudness
    }

    #[test]
    fn the_loudest_are_heard_and_no_more() {
        let mut loudest = Loudest::new(2);
        for (seat, level) in [(1, 40), (2, 20), (3, 60), (4, 30)] {
            loudest.offer(Seat(seat), at(level), false);
        }
        let heard: Vec<u16> = (0..9).filter(|seat| loudest.has(Seat(*seat))).collect();
        assert_eq!(heard, [2, 4]);
    }

    #[test]
    fn who_is_heard_stays_unless_another_is_much_louder() {
        for (level, heard) in [(26, true), (20, false)] {
            let mut loudest = Loudest::new(1);
            loudest.offer(Seat(1), at(30), true);
            loudest.offer(Seat(2), at(level), false);
            assert_eq!(loudest.has(Seat(1)), heard, "{level}");
        }
    }

    #[test]
    fn a_cough_makes_no_speaker_and_a_sentence_does() {
        let mut speaker = Speaker::default();
        speaker.follow(Some((Seat(1), at(30))), Loudness::default());
        assert_eq!(speaker.current(), Some(Seat(1)));
        for _ in 0..10 {
            speaker.follow(Some((Seat(2), at(10))), at(30));
        }
        speaker.follow(Some((Seat(1), at(30))), at(30));
        assert_eq!(speaker.current(), Some(Seat(1)));
        for _ in 0..15 {
            speaker.follow(Some((Seat(2), at(10))), at(30));
        }
        assert_eq!(speaker.current(), Some(Seat(2)));
        for _ in 0..50 {
            speaker.follow(Some((Seat(2), at(90))), at(90));
        }
        assert_eq!(speaker.current(), None);
    }

    #[test]
    fn a_pause_between_words_keeps_a_talker_loud() {
        let mut loudness = at(30);
        for _ in 0..10 {
            loudness.follow(127);
        }
        assert!(loudness > at(45));
    }
}
