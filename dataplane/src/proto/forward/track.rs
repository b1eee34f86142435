//! One track of a room: a source of the room's own, on which one member sends at a time.

use std::time::{Duration, Instant};

use crate::limits::FORWARD_KEY_MS;
use crate::wire::rewrite::Fields;
use crate::wire::rtp::{Seq, Ssrc};

use super::losses::Losses;

/// One source of a room.
#[derive(Debug)]
pub struct Track {
    ssrc: Ssrc,
    /// The member that sends on it, and the SSRC that it has.
    source: Option<(usize, Ssrc)>,
    /// What was sent last; `None`: nothing ever.
    last: Option<Last>,
    seq_shift: u16,
    time_shift: u32,
    first: First,
    packets: u32,
    octets: u32,
    /// When its source was asked for a picture.
    asked: Option<Instant>,
    losses: Losses,
}

/// The newest packet of a track.
#[derive(Debug, Clone, Copy)]
struct Last {
    seq: Seq,
    time: u32,
    at: Instant,
    clock_rate: u32,
}

impl Track {
    pub(super) fn new(ssrc: Ssrc) -> Self {
        Self {
            ssrc,
            source: None,
            last: None,
            seq_shift: 0,
            time_shift: 0,
            first: First::default(),
            packets: 0,
            octets: 0,
            asked: None,
            losses: Losses::default(),
        }
    }

    /// Its SSRC towards receivers.
    #[must_use]
    pub fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    /// The seat of who sends on it, and the SSRC it has there.
    #[must_use]
    pub fn source(&self) -> Option<(usize, Ssrc)> {
        self.source
    }

    /// Packets and octets of payload that left on it, as sender reports count them (RFC 3550 §6.4.1).
    #[must_use]
    pub fn counts(&self) -> (u32, u32) {
        (self.packets, self.octets)
    }

    /// Its RTP timestamp at a time; `None` before the first packet.
    #[must_use]
    pub fn time_at(&self, now: Instant) -> Option<u32> {
        self.last.map(|last| last.time_at(now))
    }

    /// Whether something left on it lately.
    #[must_use]
    pub fn is_awake(&self, now: Instant, within: Duration) -> bool {
        let silent = self.last.map(|last| now.saturating_duration_since(last.at));
        silent.is_some_and(|silent| silent < within)
    }

    /// Whom to ask for a picture, unless it was asked just now.
    pub(super) fn ask(&mut self, now: Instant) -> Option<(usize, Ssrc)> {
        let pause = Duration::from_millis(FORWARD_KEY_MS);
        let is_recent = |at| now.saturating_duration_since(at) < pause;
        if self.asked.is_some_and(is_recent) {
            return None;
        }
        let source = self.source?;
        self.asked = Some(now);
        Some(source)
    }

    /// Whether a packet has come before, and comes again as it was asked for.
    pub(super) fn is_repeat(&mut self, seq: Seq) -> bool {
        self.losses.arrived(seq) && self.losses.was_asked(seq)
    }

    /// The number that its source has given to a packet which a receiver lacks; `None` where the
    /// source isn't to be asked for it.
    pub(super) fn ask_again(&mut self, now: Instant, seq: Seq) -> Option<Seq> {
        let is_its = self.first.admits(seq) && self.losses.ask(seq, now);
        is_its.then(|| Seq(seq.0.wrapping_sub(self.seq_shift)))
    }

    pub(super) fn leave(&mut self, seat: usize) {
        self.source.take_if(|(whose, _)| *whose == seat);
    }

    /// Takes a member's packet, with its clock rate where that is known, and says what its header is
    /// on this track; `None` where it is older than its source's first packet here.
    pub(super) fn take(
        &mut self,
        now: Instant,
        seat: usize,
        packet: (&Fields, Option<u32>),
        octets: usize,
    ) -> Option<Fields> {
        let (fields, clock_rate) = packet;
        let clock_rate = clock_rate.unwrap_or(CLOCK_RATE);
        let begins = self.source != Some((seat, fields.ssrc));
        if begins {
            self.begin(now, fields);
            self.source = Some((seat, fields.ssrc));
        }
        let seq = Seq(fields.seq.0.wrapping_add(self.seq_shift));
        let time = fields.time.wrapping_add(self.time_shift);
        if !self.first.admits(seq) {
            return None;
        }
        if self.last.is_none_or(|last| is_after(seq, last.seq)) {
            self.last = Some(Last {
                seq,
                time,
                at: now,
                clock_rate,
            });
        }
        self.packets = self.packets.wrapping_add(1);
        let payload = u32::try_from(octets.saturating_sub(HEADER_BYTES)).unwrap_or(0);
        self.octets = self.octets.wrapping_add(payload);
        Some(Fields {
            // The first packet of a talkspurt has the marker (RFC 3551 §4.1); in video it ends a frame.
            marker: fields.marker || begins && clock_rate != CLOCK_RATE,
            seq,
            time,
            ssrc: self.ssrc,
            ..*fields
        })
    }

    /// Another source: its numbers follow those of the one before.
    fn begin(&mut self, now: Instant, fields: &Fields) {
        let (seq, time) = match &self.last {
            None => (fields.seq, fields.time),
            Some(last) => (
                Seq(last.seq.0.wrapping_add(1)),
                // Two frames must not share a timestamp.
                last.time_at(now).max_after(last.time),
            ),
        };
        self.seq_shift = seq.0.wrapping_sub(fields.seq.0);
        self.time_shift = time.wrapping_sub(fields.time);
        self.first = First::at(seq);
        self.losses = Losses::default();
    }
}

impl Last {
    fn time_at(&self, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.at).as_micros();
        let units = passed * u128::from(self.clock_rate) / 1_000_000;
        let units = u32::try_from(units & u128::from(u32::MAX)).unwrap_or(0);
        self.time.wrapping_add(units)
    }
}

trait MaxAfter {
    fn max_after(self, before: Self) -> Self;
}

impl MaxAfter for u32 {
    /// Itself, unless it is `before`: then one more.
    fn max_after(self, before: Self) -> Self {
        if self == before {
            self.wrapping_add(1)
        } else {
            self
        }
    }
}

/// The sequence number from which on a source's packets belong to it: what is older would have the
/// number of a packet of the source before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct First {
    seq: Option<Seq>,
}

impl First {
    pub(super) fn at(seq: Seq) -> Self {
        Self { seq: Some(seq) }
    }

    pub(super) fn admits(&mut self, seq: Seq) -> bool {
        let Some(first) = self.seq else {
            return true;
        };
        let ahead = seq.0.wrapping_sub(first.0);
        if ahead > u16::MAX / 2 {
            return false;
        }
        if ahead > FORGOTTEN {
            // What comes so late from before the beginning is none of this source's any more.
            self.seq = None;
        }
        true
    }
}

/// Whether a sequence number comes after another (RFC 3550 §5.1: they wrap).
pub(super) fn is_after(seq: Seq, other: Seq) -> bool {
    let ahead = seq.0.wrapping_sub(other.0);
    ahead != 0 && ahead <= u16::MAX / 2
}

/// Packets after which a source has begun long ago.
const FORGOTTEN: u16 = 3000;
/// The clock of video, and of what says no other (RFC 3551 §5).
const CLOCK_RATE: u32 = 90_000;
const HEADER_BYTES: usize = 12;
