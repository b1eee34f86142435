//! Negotiated SDP to plan: what a B2BUA's session relays, and what each side is told of it.
//!
//! A session's m-lines have the same index on both sides, so an index is a slot. Each slot that
//! is in use is one stream of the data plane. An offer makes a [`Proposal`], which changes nothing
//! until it is committed (RFC 3264 §8; a refused re-INVITE leaves all as it was).
//!
//! ```text
//! offer ─▶ Media::offer ─▶ take_opens ══ worker ══▶ opened ─▶ offer_to_far ─▶ far side
//!                                                                                │
//! offerer ◀─ Answered::to_offerer + acts ◀──────── answer (1..n times) ◀─────────┘
//!               └─▶ commit ─▶ streams to release          or abandon ─▶ streams to release
//! ```

mod draft;
mod far;
pub mod group;
mod join;
mod msrp;
mod proposal;
mod stream;
#[cfg(test)]
mod tests;
mod trunk;
mod write;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;
use dataplane::api::{Act, Direction, Learn, Side, StreamId, StreamSet};

pub use msrp::fingerprint_value;
pub use proposal::{Answered, Proposal};
pub use trunk::{Cema, Msrp, Toward, Trunk};

use crate::limits::ENDED_STREAMS;
use crate::sdp::{Kind, MediaDescription};
use stream::Stream;
use trunk::Terms;

/// What the operator settled about media.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The relay's address towards IPv4 peers, for RTP and MSRP; `None`: IPv4 isn't relayed.
    pub media_v4: Option<IpAddr>,
    /// The relay's address towards IPv6 peers, for RTP and MSRP; `None`: IPv6 isn't relayed.
    pub media_v6: Option<IpAddr>,
    /// Whether and how RTP's far addresses may be learnt.
    pub learn: Learn,
    /// When a leg counts as silent, in milliseconds; 0: never.
    pub silence_ms: u32,
    /// MSRP.
    pub msrp: Msrp,
}

impl Settings {
    /// The relay's own address of a family.
    pub(crate) fn address(&self, is_v6: bool) -> Option<IpAddr> {
        if is_v6 { self.media_v6 } else { self.media_v4 }
    }
}

/// Which kinds of stream a session may have (OFR-03).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one switch for each kind of stream, set by name"
)]
pub struct Policy {
    /// `m=audio`
    pub audio: bool,
    /// `m=video`
    pub video: bool,
    /// `m=message`
    pub message: bool,
    /// `m=application`
    pub application: bool,
    /// `m=image`, `m=text` and whatever else there is.
    pub other: bool,
}

impl Policy {
    /// Every kind.
    pub const ALL: Self = Self {
        audio: true,
        video: true,
        message: true,
        application: true,
        other: true,
    };

    /// Whether streams of a kind are allowed.
    #[must_use]
    pub fn allows(&self, kind: Kind) -> bool {
        match kind {
            Kind::Audio => self.audio,
            Kind::Video => self.video,
            Kind::Message => self.message,
            Kind::Application => self.application,
            Kind::Image | Kind::Text | Kind::Other => self.other,
        }
    }

    /// Whether nothing is barred.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::ALL
    }
}

/// Why a negotiation can't go on, in SIP's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The status code to answer with.
    pub code: u16,
    /// The value of a Warning header field (RFC 3261 §20.43), with a pseudonym as its agent.
    pub warning: String,
}

impl Refused {
    /// 488 with a warning.
    pub(crate) fn not_acceptable(warn_code: u16, text: impl std::fmt::Display) -> Self {
        Self {
            code: 488,
            warning: format!("{warn_code} midpath \"{text}\""),
        }
    }
}

/// A stream as a record or an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamView {
    /// Its name in the data plane.
    pub id: StreamId,
    /// What it carries.
    pub kind: Kind,
    /// Its m-line's index, from 0.
    pub index: usize,
    /// It has ended, and was or is being released.
    pub released: bool,
    /// The relay's addresses towards side A and side B, once bound.
    pub local: [Option<SocketAddr>; 2],
    /// The addresses that side A's and side B's SDP name.
    pub remote: [Option<SocketAddr>; 2],
    /// What side A's client may do; side B's is the mirror of it.
    pub direction: Direction,
}

/// The committed state of one session's streams.
#[derive(Debug)]
pub struct Media {
    terms: Arc<Terms>,
    ledger: Arc<Ledger>,
    slots: Vec<Slot>,
    ended: Vec<StreamView>,
    spoken: [Spoken; 2],
}

/// One m-line of the session.
#[derive(Debug, Clone)]
struct Slot {
    /// The m-line as it would be offered at port 0.
    line: MediaDescription,
    /// The stream, where the slot is in use.
    stream: Option<Stream>,
}

/// What was said to a side, and in which family it spoke.
#[derive(Debug, Clone, Default)]
struct Spoken {
    /// The last description sent to it and its version.
    sent: Option<(u64, Bytes)>,
    /// Whether its own descriptions name IPv6 addresses.
    is_v6: Option<bool>,
    /// The o-line of its own last description.
    heard: Bytes,
}

/// What must never be given twice in a session, not even by a proposal that was abandoned.
#[derive(Debug)]
struct Ledger {
    origin_id: u64,
    versions: [AtomicU64; 2],
    streams: AtomicU32,
}

impl Ledger {
    /// The next o= version towards a side; the first is 1.
    fn next_version(&self, to: Side) -> u64 {
        let version = match to {
            Side::A => &self.versions[0],
            Side::B => &self.versions[1],
        };
        version.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The o= session-id towards a side.
    fn session_id(&self, to: Side) -> u64 {
        match to {
            Side::A => self.origin_id,
            Side::B => self.origin_id.wrapping_add(1),
        }
    }

    /// A stream's name that isn't in use and was not used lately: a stream that drains keeps its
    /// name for a while after its release was ordered.
    fn next_stream(&self, in_use: StreamSet) -> Option<StreamId> {
        (0..u32::BITS).find_map(|_| {
            let turn = self.streams.fetch_add(1, Ordering::Relaxed) % u32::BITS;
            let id = StreamId(u8::try_from(turn).ok()?);
            (!in_use.contains(id)).then_some(id)
        })
    }
}

impl Media {
    /// A session without streams, between far ends of which nothing is known; `origin_id` and the
    /// number after it name its two descriptions.
    #[must_use]
    pub fn new(settings: Arc<Settings>, origin_id: u64) -> Self {
        let trunks = [settings.msrp.trunk; 2];
        Self::between(settings, origin_id, trunks)
    }

    /// The same between side A's and side B's trunk.
    #[must_use]
    pub fn between(settings: Arc<Settings>, origin_id: u64, trunks: [Trunk; 2]) -> Self {
        Self {
            terms: Arc::new(Terms {
                settings,
                trunks,
                is_recorded: false,
            }),
            ledger: Arc::new(Ledger {
                origin_id,
                versions: [AtomicU64::new(0), AtomicU64::new(0)],
                streams: AtomicU32::new(0),
            }),
            slots: Vec::new(),
            ended: Vec::new(),
            spoken: [Spoken::default(), Spoken::default()],
        }
    }

    /// Says whether the session is recorded (HST-01); before its first offer, as streams there are
    /// stay as they are. MSRP is relayed back to back then, also where both sides have CEMA.
    pub fn record(&mut self, is_recorded: bool) {
        Arc::make_mut(&mut self.terms).is_recorded = is_recorded;
    }

    /// Reads a new offer of one side: of an INVITE, a re-INVITE, an UPDATE, or a late one in a
    /// response. Lines that the policy bars or that can't be relayed are refused alone.
    ///
    /// # Errors
    ///
    /// 488 when the description can't be read, or when every stream that it offers is refused.
    pub fn offer(&self, from: Side, sdp: &[u8], policy: &Policy) -> Result<Proposal, Refused> {
        Proposal::new(self, from, sdp, *policy)
    }

    /// Its streams: those in use in the order of their m-lines, then those that ended, of which
    /// the last [`ENDED_STREAMS`] are remembered.
    pub fn streams(&self) -> impl Iterator<Item = StreamView> {
        let live = self.slots.iter().enumerate();
        live.filter_map(|(index, slot)| Some(slot.stream.as_ref()?.view(index)))
            .chain(self.ended.iter().cloned())
    }

    /// The streams in use.
    #[must_use]
    pub fn live(&self) -> StreamSet {
        let streams = self.slots.iter().filter_map(|slot| slot.stream.as_ref());
        streams.fold(StreamSet::default(), |set, stream| set.with(stream.id))
    }

    /// Takes the streams of some m-lines out of use, as their far end has left: what is to be
    /// released.
    #[must_use = "these streams are to be released"]
    pub fn drop_lines(&mut self, lines: &[usize]) -> StreamSet {
        let mut slots = self.slots.clone();
        for index in lines {
            if let Some(slot) = slots.get_mut(*index) {
                slot.stream = None;
            }
        }
        self.settle(slots, self.spoken.clone())
    }

    /// What connects every stream in use as it was last committed: undoes the acts of an answer
    /// whose proposal was abandoned (RFC 3261 §14.1: a failed re-INVITE changes nothing).
    #[must_use]
    pub fn restore(&self) -> Vec<Act> {
        let streams = self.slots.iter().filter_map(|slot| slot.stream.as_ref());
        streams.flat_map(Stream::connects).collect()
    }

    /// Takes over what a proposal settled; the streams that ended by it.
    fn settle(&mut self, slots: Vec<Slot>, spoken: [Spoken; 2]) -> StreamSet {
        let before = std::mem::replace(&mut self.slots, slots);
        self.spoken = spoken;
        let live = self.live();
        let mut gone = StreamSet::default();
        for (index, slot) in before.iter().enumerate() {
            let Some(stream) = slot
                .stream
                .as_ref()
                .filter(|stream| !live.contains(stream.id))
            else {
                continue;
            };
            gone = gone.with(stream.id);
            if self.ended.len() == ENDED_STREAMS {
                self.ended.remove(0);
            }
            self.ended.push(StreamView {
                released: true,
                ..stream.view(index)
            });
        }
        gone
    }
}
