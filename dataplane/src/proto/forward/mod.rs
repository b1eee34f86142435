//! A room whose members' RTP goes to all others as it came: simplex media, and what a floor gates
//! (System Description 5.2.3.9).
//!
//! The room is a source of its own towards its members (RFC 3550 §7.1, §7.3): what one member sends
//! leaves on a *track*, with the track's SSRC. When another member sends on it, sequence numbers go
//! on without a gap and timestamps by the time that passed, so that nobody's decoder begins anew. Each
//! receiver's numbers leave out what it wasn't sent: its own packets, and those during its hold.
//!
//! ```text
//! member A ──seq + shift──▶ track ──seq - skipped──▶ receiver B, payload type of B
//!                             └────seq - skipped──▶ receiver C, payload type of C
//! ```

mod listener;
mod losses;
mod track;

use std::time::{Duration, Instant};

use crate::api::PayloadFormat;
use crate::limits::{FORWARD_IDLE_MS, FORWARD_NACKS, FORWARD_TRACKS};
use crate::stats::DropReason;
use crate::wire::rewrite::Fields;
use crate::wire::rtp::{Seq, Ssrc};

use listener::Listener;
pub use track::Track;

/// What the room does with one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Who sent it.
    seat: usize,
    /// The track that it leaves on.
    track: usize,
    /// What it is, among the formats of the room; `None`: payload types aren't mapped.
    format: Option<u16>,
    /// It came before, was asked for, and goes to those who lack it.
    is_repeat: bool,
    /// Its header on that track.
    fields: Fields,
}

/// Packets that a source is to be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// The seat of who has sent them.
    pub seat: usize,
    /// The SSRC that they have there.
    pub source: Ssrc,
    numbers: [Seq; FORWARD_NACKS],
    count: usize,
}

impl Missing {
    /// Their numbers, as the source gave them.
    #[must_use]
    pub fn numbers(&self) -> &[Seq] {
        self.numbers.get(..self.count).unwrap_or_default()
    }
}

/// The machine of one room; its members are seats, numbered by its owner from 0 on.
#[derive(Debug)]
pub struct Forward {
    tracks: [Track; FORWARD_TRACKS],
    listeners: Vec<Listener>,
}

impl Forward {
    /// Makes a room without members.
    #[must_use]
    pub fn new(ssrcs: [Ssrc; FORWARD_TRACKS]) -> Self {
        Self {
            tracks: ssrcs.map(Track::new),
            listeners: Vec::new(),
        }
    }

    /// A member has a seat, or what it takes has changed.
    pub fn set(&mut self, seat: usize, payloads: &[PayloadFormat], receives: bool) {
        if self.listeners.len() <= seat {
            self.listeners.resize_with(seat + 1, Listener::default);
        }
        if let Some(listener) = self.listeners.get_mut(seat) {
            listener.set(payloads, receives);
        }
    }

    /// A member is gone, and its seat may become another one's.
    pub fn remove(&mut self, seat: usize) {
        self.mute(seat);
        if let Some(listener) = self.listeners.get_mut(seat) {
            *listener = Listener::default();
        }
    }

    /// A member isn't to send any more: its track is free for the next one.
    pub fn mute(&mut self, seat: usize) {
        for track in &mut self.tracks {
            track.leave(seat);
        }
    }

    /// Takes an RTP packet of a member that may send.
    ///
    /// # Errors
    ///
    /// Why it is dropped: nobody agreed on its payload type, too many send at a time, or it is older
    /// than what its source began with.
    pub fn receive(
        &mut self,
        now: Instant,
        seat: usize,
        packet: &[u8],
    ) -> Result<Turn, DropReason> {
        let fields = Fields::read(packet).ok_or(DropReason::NotRtp)?;
        let sender = self.listeners.get(seat).ok_or(DropReason::NoLeg)?;
        let format = sender.format_of(fields.payload_type)?;
        let index = self.track_for(now, seat).ok_or(DropReason::Crowded)?;
        let track = self.tracks.get_mut(index).ok_or(DropReason::Crowded)?;
        let clock_rate = format.map(|format| format.clock_rate);
        let fields = track
            .take(now, seat, (&fields, clock_rate), packet.len())
            .ok_or(DropReason::Stale)?;
        let is_repeat = track.is_repeat(fields.seq);
        Ok(Turn {
            seat,
            track: index,
            format: format.map(|format| format.format),
            is_repeat,
            fields,
        })
    }

    /// The header of a packet for one receiver; `None` where it gets nothing of it.
    pub fn head_for(&mut self, seat: usize, turn: &Turn) -> Option<Fields> {
        let listener = self.listeners.get_mut(seat)?;
        if turn.seat == seat {
            listener.skip(turn.track);
            return None;
        }
        if turn.is_repeat && !listener.takes_again(turn.track, turn.fields.seq) {
            return None;
        }
        listener.head(turn.track, turn.format, turn.fields)
    }

    /// Its tracks.
    pub fn tracks(&self) -> impl Iterator<Item = &Track> {
        self.tracks.iter()
    }

    /// A receiver misses a picture of a track: whom to ask for it, and its SSRC; `None` where nobody
    /// sends there, or has just been asked.
    pub fn ask(&mut self, now: Instant, ssrc: Ssrc) -> Option<(usize, Ssrc)> {
        let mut tracks = self.tracks.iter_mut();
        tracks.find(|track| track.ssrc() == ssrc)?.ask(now)
    }

    /// Says whether a member sends again what it is asked for (`a=rtcp-fb:* nack`).
    pub fn set_takes_nack(&mut self, seat: usize, takes_nack: bool) {
        if let Some(listener) = self.listeners.get_mut(seat) {
            listener.takes_nack = takes_nack;
        }
    }

    /// A receiver lacks packets of a track: whom to ask for which, and the source's SSRC; `None` where
    /// nobody is to be asked. The request is one for all who lack the same.
    pub fn ask_again(
        &mut self,
        now: Instant,
        (seat, ssrc): (usize, Ssrc),
        lost: impl Iterator<Item = Seq>,
    ) -> Option<Missing> {
        let index = self.tracks.iter().position(|track| track.ssrc() == ssrc)?;
        let (whose, source) = self.tracks.get(index)?.source()?;
        if !self.listeners.get(whose)?.takes_nack || whose == seat {
            return None;
        }
        let (track, listener) = (self.tracks.get_mut(index)?, self.listeners.get_mut(seat)?);
        let mut missing = Missing {
            seat: whose,
            source,
            numbers: [Seq(0); FORWARD_NACKS],
            count: 0,
        };
        for own in lost.take(LOOKS_MAX) {
            let number = listener
                .lack(index, own)
                .and_then(|seq| track.ask_again(now, seq));
            if let (Some(number), Some(place)) = (number, missing.numbers.get_mut(missing.count)) {
                *place = number;
                missing.count += 1;
            }
        }
        (missing.count > 0).then_some(missing)
    }

    /// The track of a member: its own, one that nobody has, or one that nobody has used lately.
    fn track_for(&self, now: Instant, seat: usize) -> Option<usize> {
        let idle = Duration::from_millis(FORWARD_IDLE_MS);
        let find = |wanted: &dyn Fn(&Track) -> bool| self.tracks.iter().position(wanted);
        find(&|track| track.source().is_some_and(|(whose, _)| whose == seat))
            .or_else(|| find(&|track| track.source().is_none()))
            .or_else(|| find(&|track| !track.is_awake(now, idle)))
    }
}

/// Packets that one request is looked at for.
const LOOKS_MAX: usize = 2 * FORWARD_NACKS;

#[cfg(test)]
mod tests;
