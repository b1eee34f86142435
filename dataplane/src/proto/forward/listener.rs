//! What one member of a room takes, and how its sequence numbers differ from the tracks'.

use crate::api::PayloadFormat;
use crate::limits::FORWARD_TRACKS;
use crate::stats::DropReason;
use crate::wire::rewrite::Fields;
use crate::wire::rtp::Seq;

use super::track::{First, is_after};

/// A member as the others' packets see it.
#[derive(Debug, Default)]
pub(super) struct Listener {
    payloads: Box<[PayloadFormat]>,
    receives: bool,
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
