//! The streams of a worker: a slab of slots, allocated in chunks as sessions come and kept.

use std::time::{Duration, Instant};

use crate::api::{LegFacts, MemberFacts, MemberId, SessionId, Side, StreamId, StreamPlan};
use crate::limits::STREAMS_PER_WORKER;
use crate::proto::msrp::RecordingKey;

use super::{AwayLeg, BfcpLeg, BytesLeg, MsrpLeg, RoomRef, RtpLeg, SlotRef};

/// A stream: two legs of a kind, or a room; or one member's leg in a room.
#[derive(Debug)]
pub struct Stream {
    /// The legs.
    pub media: Media,
    /// Whether media may pass.
    pub phase: Phase,
    /// Whose stream it is.
    pub session: SessionId,
    /// Its name, or its room's.
    pub id: StreamId,
    /// When it was opened.
    pub opened: Instant,
    /// After what time without a packet a leg is silent.
    pub silence: Option<Duration>,
    /// The recording that it is part of.
    pub recording: Option<RecordingKey>,
    /// What control ordered and what was bound for two legs, to go home in the end.
    pub plan: Option<StreamPlan>,
}

/// Whether media may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It may.
    Open,
    /// The stream is being released: only what waits in queues is still written.
    Frozen,
}

/// Side A's leg and side B's leg, or what a group session has instead.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "RTP is the usual case, and a box would cost every packet a cache miss"
)]
pub enum Media {
    /// Over UDP.
    Rtp([RtpLeg; 2]),
    /// Bytes, unchanged.
    Bytes([BytesLeg; 2]),
    /// MSRP, parsed and rewritten.
    Msrp([MsrpLeg; 2]),
    /// A stream of a group session; its members are in slots of their own.
    Room(RoomRef),
    /// A member of a room.
    Member(Member),
}

/// A member's leg in a room.
#[derive(Debug)]
pub struct Member {
    /// Whose.
    pub id: MemberId,
    /// In which room; `None` while the order is done that makes both.
    pub place: Option<(RoomRef, u32)>,
    /// The leg.
    pub leg: MemberLeg,
    /// Packets that were sent to it; counted by its seat while it has one.
    pub sent: u64,
}

/// What a member's leg is.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "RTP is the usual case, and a box would cost every packet a cache miss"
)]
pub enum MemberLeg {
    /// RTP and RTCP.
    Rtp(RtpLeg),
    /// MSRP; what it did is told by the relay.
    Msrp(MsrpLeg),
    /// Floor control.
    Bfcp(Box<BfcpLeg>),
    /// RTP and RTCP at an outpost.
    Away(Box<AwayLeg>),
}

impl Member {
    /// What it did.
    #[must_use]
    pub fn facts(&self, now: Instant, stream: &Stream) -> MemberFacts {
        let leg = match &self.leg {
            MemberLeg::Rtp(leg) => leg.facts(),
            MemberLeg::Msrp(_) => LegFacts::default(),
            MemberLeg::Bfcp(leg) => leg.facts(),
            MemberLeg::Away(leg) => leg.facts(),
        };
        MemberFacts {
            member: self.id,
            stream: stream.id,
            leg: LegFacts {
                age_ms: stream.age_ms(now),
                ..leg
            },
            sent: self.sent,
        }
    }

    /// Its leg, if it is one of floor control.
    pub fn bfcp_mut(&mut self) -> Option<&mut BfcpLeg> {
        match &mut self.leg {
            MemberLeg::Bfcp(leg) => Some(leg),
            MemberLeg::Rtp(_) | MemberLeg::Msrp(_) | MemberLeg::Away(_) => None,
        }
    }

    /// Its leg, if it is one of RTP.
    pub fn rtp_mut(&mut self) -> Option<&mut RtpLeg> {
        match &mut self.leg {
            MemberLeg::Rtp(leg) => Some(leg),
            MemberLeg::Msrp(_) | MemberLeg::Bfcp(_) | MemberLeg::Away(_) => None,
        }
    }

    /// Its leg, if that is at an outpost.
    #[must_use]
    pub fn away(&self) -> Option<&AwayLeg> {
        match &self.leg {
            MemberLeg::Away(leg) => Some(leg),
            MemberLeg::Rtp(_) | MemberLeg::Msrp(_) | MemberLeg::Bfcp(_) => None,
        }
    }

    /// The same, to change.
    pub fn away_mut(&mut self) -> Option<&mut AwayLeg> {
        match &mut self.leg {
            MemberLeg::Away(leg) => Some(leg),
            MemberLeg::Rtp(_) | MemberLeg::Msrp(_) | MemberLeg::Bfcp(_) => None,
        }
    }

    /// Its leg, if it is one of MSRP.
    #[must_use]
    pub fn msrp(&self) -> Option<&MsrpLeg> {
        match &self.leg {
            MemberLeg::Msrp(leg) => Some(leg),
            MemberLeg::Rtp(_) | MemberLeg::Bfcp(_) | MemberLeg::Away(_) => None,
        }
    }

    /// The same, to change.
    pub fn msrp_mut(&mut self) -> Option<&mut MsrpLeg> {
        match &mut self.leg {
            MemberLeg::Msrp(leg) => Some(leg),
            MemberLeg::Rtp(_) | MemberLeg::Bfcp(_) | MemberLeg::Away(_) => None,
        }
    }
}

/// A side's leg and the other side's.
pub fn pair_mut<L>(legs: &mut [L; 2], side: Side) -> (&mut L, &mut L) {
    let [a, b] = legs;
    match side {
        Side::A => (a, b),
        Side::B => (b, a),
    }
}

/// A side's leg.
pub fn leg_mut<L>(legs: &mut [L; 2], side: Side) -> &mut L {
    pair_mut(legs, side).0
}

impl Stream {
    /// The byte legs, the named side's first.
    pub fn bytes_mut(&mut self, side: Side) -> Option<(&mut BytesLeg, &mut BytesLeg)> {
        match &mut self.media {
            Media::Bytes(legs) => Some(pair_mut(legs, side)),
            Media::Rtp(_) | Media::Msrp(_) | Media::Room(_) | Media::Member(_) => None,
        }
    }

    /// Milliseconds since it was opened.
    #[must_use]
    pub fn age_ms(&self, now: Instant) -> u64 {
        let age = now.saturating_duration_since(self.opened);
        u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
    }

    /// The member whose leg it is.
    #[must_use]
    pub fn member(&self) -> Option<&Member> {
        match &self.media {
            Media::Member(member) => Some(member),
            Media::Rtp(_) | Media::Bytes(_) | Media::Msrp(_) | Media::Room(_) => None,
        }
    }

    /// The same, to change.
    pub fn member_mut(&mut self) -> Option<&mut Member> {
        match &mut self.media {
            Media::Member(member) => Some(member),
            Media::Rtp(_) | Media::Bytes(_) | Media::Msrp(_) | Media::Room(_) => None,
        }
    }

    /// The room that it is.
    #[must_use]
    pub fn room(&self) -> Option<RoomRef> {
        match &self.media {
            Media::Room(room) => Some(*room),
            Media::Rtp(_) | Media::Bytes(_) | Media::Msrp(_) | Media::Member(_) => None,
        }
    }
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    stream: Option<Stream>,
}

/// All streams of a worker, at most [`STREAMS_PER_WORKER`].
#[derive(Debug, Default)]
pub struct Streams {
    chunks: Vec<Box<[Slot]>>,
    free: Vec<u32>,
    len: usize,
}

impl Streams {
    /// Makes a table without slots.
    #[must_use]
    pub fn new() -> Self {
        Self {
            chunks: Vec::with_capacity(STREAMS_PER_WORKER.div_ceil(CHUNK)),
            free: Vec::with_capacity(STREAMS_PER_WORKER),
            len: 0,
        }
    }

    /// Takes a free slot, for sockets to be marked with; it holds nothing until it is filled.
    pub fn reserve(&mut self) -> Option<SlotRef> {
        if self.free.is_empty() {
            self.grow();
        }
        let index = self.free.pop()?;
        self.len += 1;
        Some(self.slot_ref(index))
    }

    /// Puts a stream into a slot that was reserved.
    pub fn fill(&mut self, slot: SlotRef, stream: Stream) {
        if let Some(place) = self.slot_mut(slot) {
            place.stream = Some(stream);
        }
    }

    /// Empties a slot, filled or only reserved; what was marked with it finds nobody from now on.
    pub fn remove(&mut self, slot: SlotRef) -> Option<Stream> {
        let place = self.slot_mut(slot)?;
        let stream = place.stream.take();
        place.generation = slot.next_generation();
        self.free.push(slot.index);
        self.len -= 1;
        stream
    }

    /// The stream in a slot, unless the slot is another one's by now.
    #[must_use]
    pub fn find(&self, slot: SlotRef) -> Option<&Stream> {
        self.slot(slot.index)
            .filter(|place| place.generation == slot.generation)?
            .stream
            .as_ref()
    }

    /// The same, to change.
    pub fn find_mut(&mut self, slot: SlotRef) -> Option<&mut Stream> {
        self.slot_mut(slot)?.stream.as_mut()
    }

    /// A slot's reference as it is now.
    #[must_use]
    pub fn slot_ref(&self, index: u32) -> SlotRef {
        SlotRef {
            index,
            generation: self.slot(index).map_or(0, |slot| slot.generation),
        }
    }

    /// Streams there are, reserved slots included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Slots there are, used or not: the bound of an index.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.chunks.len() * CHUNK
    }

    fn grow(&mut self) {
        let first = self.slots();
        if first >= STREAMS_PER_WORKER {
            return;
        }
        self.chunks
            .push((0..CHUNK).map(|_| Slot::empty()).collect());
        let new = (first..first + CHUNK).rev();
        self.free
            .extend(new.filter_map(|index| u32::try_from(index).ok()));
    }

    fn slot(&self, index: u32) -> Option<&Slot> {
        let index = index as usize;
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    fn slot_mut(&mut self, slot: SlotRef) -> Option<&mut Slot> {
        let index = slot.index as usize;
        self.chunks
            .get_mut(index / CHUNK)?
            .get_mut(index % CHUNK)
            .filter(|place| place.generation == slot.generation)
    }
}

impl Slot {
    fn empty() -> Self {
        Self {
            generation: 0,
            stream: None,
        }
    }
}

/// Slots allocated at a time; a session that comes waits for one such allocation at most.
const CHUNK: usize = 64;

const _: () = assert!(STREAMS_PER_WORKER.is_multiple_of(CHUNK));
