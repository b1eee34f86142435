//! What one member of a room takes, and how its sequence numbers differ from the tracks'.

use crate::api::PayloadFormat;
use crate::limits::{FORWARD_LACKS, FORWARD_TRACKS};
use crate::stats::DropReason;
use crate::wire::rewrite::Fields;
use crate::wire::rtp::Seq;

use super::track::{First, is_after};

/// A member as the others' packets see it.
#[derive(Debug, Default)]
pub(super) struct Listener {
    payloads: Box<[PayloadFormat]>,
    receives: bool,
    /// It sends again what it is asked for.
    pub(super) takes_nack: bool,
    /// Packets that it has asked for, by track, as the track numbers them; the oldest make way.
    lacks: [Option<(u8, Seq)>; FORWARD_LACKS],
    next_lack: usize,
    ways: [Way; FORWARD_TRACKS],
}

/// One track towards one receiver.
#[derive(Debug, Clone, Copy, Default)]
struct Way {
    /// Packets that it wasn't sent.
    skipped: u16,
    /// The newest number that it was sent.
    last: Option<Seq>,
    /// It wasn't sent the packet before this one.
    paused: bool,
    first: First,
    /// The format that was looked up last, and its payload type here.
    known: Option<(u16, u8)>,
}

impl Listener {
    pub(super) fn set(&mut self, payloads: &[PayloadFormat], receives: bool) {
        self.receives = receives;
        if *self.payloads != *payloads {
            self.payloads = payloads.into();
        }
        for way in &mut self.ways {
            way.known = None;
            way.paused |= !receives;
        }
    }

    /// What a payload type of this member is; nothing where payload types aren't mapped.
    pub(super) fn format_of(&self, payload_type: u8) -> Result<Option<PayloadFormat>, DropReason> {
        if self.payloads.is_empty() {
            return Ok(None);
        }
        let mut payloads = self.payloads.iter();
        let found = payloads.find(|payload| payload.payload_type == payload_type);
        found.copied().map(Some).ok_or(DropReason::Format)
    }

    /// A packet of a track isn't for it.
    pub(super) fn skip(&mut self, track: usize) {
        if let Some(way) = self.ways.get_mut(track) {
            way.paused = true;
        }
    }

    /// A packet that this member lacks, by its own number; how the track numbers it. `None` where
    /// it has never been sent such a packet.
    pub(super) fn lack(&mut self, track: usize, own: Seq) -> Option<Seq> {
        let way = self.ways.get_mut(track)?;
        let last = way.last.filter(|_| self.receives && !way.paused)?;
        if is_after(own, last) {
            return None;
        }
        let seq = Seq(own.0.wrapping_add(way.skipped));
        if !way.first.admits(seq) {
            return None;
        }
        let lack = (u8::try_from(track).ok()?, seq);
        if !self.lacks.contains(&Some(lack))
            && let Some(place) = self.lacks.get_mut(self.next_lack)
        {
            *place = Some(lack);
            self.next_lack = (self.next_lack + 1) % FORWARD_LACKS;
        }
        Some(seq)
    }

    /// Whether it lacks a track's packet that comes again; it lacks it no more then.
    pub(super) fn takes_again(&mut self, track: usize, seq: Seq) -> bool {
        let Ok(track) = u8::try_from(track) else {
            return false;
        };
        let mut lacks = self.lacks.iter_mut();
        let lack = lacks.find(|lack| **lack == Some((track, seq)));
        lack.is_some_and(|lack| lack.take().is_some())
    }

    /// The header of a track's packet for this member; `None` where it isn't to have it.
    pub(super) fn head(
        &mut self,
        track: usize,
        format: Option<u16>,
        fields: Fields,
    ) -> Option<Fields> {
        let way = self.ways.get_mut(track)?;
        let payload_type = match (self.receives, format) {
            (false, _) => None,
            (true, None) => Some(fields.payload_type),
            (true, Some(_)) if self.payloads.is_empty() => Some(fields.payload_type),
            (true, Some(format)) => way.payload_type(format, &self.payloads),
        };
        let Some(payload_type) = payload_type else {
            way.paused = true;
            return None;
        };
        let seq = way.seq(fields.seq)?;
        Some(Fields {
            payload_type,
            seq,
            ..fields
        })
    }
}

impl Way {
    fn payload_type(&mut self, format: u16, payloads: &[PayloadFormat]) -> Option<u8> {
        if let Some((known, payload_type)) = self.known
            && known == format
        {
            return Some(payload_type);
        }
        let found = payloads.iter().find(|payload| payload.format == format)?;
        self.known = Some((format, found.payload_type));
        Some(found.payload_type)
    }

    /// The number of a packet for this receiver; `None` where it is from before it was sent any.
    fn seq(&mut self, seq: Seq) -> Option<Seq> {
        if std::mem::take(&mut self.paused) {
            if let Some(last) = self.last {
                self.skipped = seq.0.wrapping_sub(last.0.wrapping_add(1));
            }
            self.first = First::at(seq);
        }
        if !self.first.admits(seq) {
            return None;
        }
        let own = Seq(seq.0.wrapping_sub(self.skipped));
        if self.last.is_none_or(|last| is_after(own, last)) {
            self.last = Some(own);
        }
        Some(own)
    }
}
