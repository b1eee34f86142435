//! Streams of group sessions: what rooms there are, and what each participant's description says
//! of its legs in them (System Description 5.2.3.8, 5.2.3.9).
//!
//! The relay writes these descriptions itself: to each participant it is the other end.
//!
//! ```text
//! offer of a participant ─▶ Offer ─▶ Rooms::open ─▶ Draft ══ worker ══▶ opened ─▶ answer
//! offer to a participant ◀─ text ◀─ opened ◀══ worker ══ Draft ◀─ the rooms that it is to use
//! ```

mod audio;
mod leg;
mod member;
mod offer;
mod payloads;
mod text;

use std::sync::Arc;

use dataplane::api::{
    Act, BfcpTransport, FanSpec, FloorId, FloorRule, FloorSpec, MemberId, MixSpec, RoomKind,
    RoomPlan, StreamId, StreamSet,
};
use dataplane::limits::STREAMS_PER_SESSION;

use super::Settings;
use crate::limits::GROUP_STREAMS;
use crate::sdp::{Flow, Kind, MediaDescription, Proto};
pub use member::{Draft, MemberMedia, MemberStream, Settled};
pub use offer::{Line, Offer};
use payloads::Payload;

/// The rooms of one group session.
#[derive(Debug)]
pub struct Rooms {
    settings: Arc<Settings>,
    /// The session's own URIs: messages to these are for all.
    addresses: Vec<Box<str>>,
    rooms: Vec<Room>,
    /// Those that the worker was told to end, and whose names it still may use.
    ending: StreamSet,
    /// Places that are kept for the floors' room.
    kept: usize,
    /// Lines that there was no room for.
    full: u64,
}

/// One stream of a group session.
#[derive(Debug)]
pub struct Room {
    /// Its name.
    pub id: StreamId,
    /// What it carries.
    pub kind: Kind,
    /// What the worker does with what its members send.
    pub plan: RoomKind,
    /// The floor that gates it.
    pub floor: Option<FloorId>,
    /// The only one who sends, where it is simplex.
    pub sender: Option<MemberId>,
    content: Content,
}

/// What a room's descriptions have in common.
#[derive(Debug)]
enum Content {
    /// Decoded and encoded: the relay's own codecs.
    Mixed,
    /// Forwarded: the payload formats of who brought it.
    Payloads(Vec<Payload>),
    /// MSRP: what of its lines goes to everybody, such as `accept-types`.
    Messages(Vec<String>),
    /// Floor control.
    Floors(BfcpTransport),
}

/// What a participant may do in the rooms, whatever its description asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Rooms in which it may send.
    pub sends: StreamSet,
    /// Rooms of which it may get something.
    pub receives: StreamSet,
}

/// What becomes of a stream that is new in the session (UPL-13); `None`: it can't be had.
#[must_use]
pub fn room_kind(
    kind: Kind,
    proto: Proto,
    flow: Flow,
    speaker: Option<StreamId>,
) -> Option<RoomKind> {
    // One that is held as it begins may go both ways later.
    let is_duplex = flow.sends == flow.receives;
    match (proto, kind) {
        (Proto::Rtp, Kind::Audio) if is_duplex => Some(RoomKind::Mix(MixSpec {
            talkers: TALKERS,
            jitter_max_ms: JITTER_MAX_MS,
            auto_gain: false,
        })),
        (Proto::Rtp, Kind::Video) if is_duplex => Some(RoomKind::Switch { follows: speaker }),
        (Proto::Rtp, Kind::Audio | Kind::Video | Kind::Text) => Some(RoomKind::Forward),
        (Proto::Msrp { .. }, Kind::Message) => Some(RoomKind::FanOut(FanSpec::default())),
        // The floors' room isn't opened by a line: see `Rooms::open_floors`.
        (Proto::Rtp | Proto::Msrp { .. } | Proto::Bfcp { .. } | Proto::Other, _) => None,
    }
}

impl Rooms {
    /// A session without streams; messages to its own addresses are for all.
    #[must_use]
    pub fn new(settings: Arc<Settings>, addresses: Vec<Box<str>>) -> Self {
        Self {
            settings,
            addresses,
            rooms: Vec::new(),
            ending: StreamSet::default(),
            kept: 0,
            full: 0,
        }
    }

    /// Keeps a place for the room of the floors.
    pub fn expect_floors(&mut self) {
        self.kept = 1;
    }

    /// Lines that there was no room for since this was asked last.
    pub fn take_full(&mut self) -> u64 {
        std::mem::take(&mut self.full)
    }

    /// The lowest name that nothing has.
    fn free_name(&self) -> Option<StreamId> {
        let taken = StreamSet(self.all().0 | self.ending.0);
        let mut names = (0..NAMES).map(StreamId);
        names.find(|name| !taken.contains(*name))
    }

    /// The rooms there are.
    pub fn iter(&self) -> impl Iterator<Item = &Room> + Clone {
        self.rooms.iter()
    }

    /// A room by its name.
    #[must_use]
    pub fn find(&self, id: StreamId) -> Option<&Room> {
        self.rooms.iter().find(|room| room.id == id)
    }

    /// Every room.
    #[must_use]
    pub fn all(&self) -> StreamSet {
        let ids = self.rooms.iter().map(|room| room.id);
        ids.fold(StreamSet::default(), StreamSet::with)
    }

    /// Makes a room of what a participant offers on a line; `None` where there can be none.
    pub fn open(
        &mut self,
        offer: &Offer,
        index: usize,
        sender: MemberId,
        floor: Option<FloorId>,
    ) -> Option<StreamId> {
        let line = offer.line(index)?;
        let source = offer.source(index)?;
        if !line.is_supported {
            return None;
        }
        let speaker = self.mixed();
        let mut plan = room_kind(line.kind, source.proto(), line.flow, speaker)?;
        if let RoomKind::FanOut(spec) = &mut plan {
            spec.addresses.clone_from(&self.addresses);
            spec.only_cpim = takes_only_cpim(source);
        }
        let content = match &plan {
            RoomKind::Mix(_) => Content::Mixed,
            RoomKind::Switch { .. } | RoomKind::Forward => {
                Content::Payloads(payloads::read(source))
            }
            RoomKind::FanOut(_) => Content::Messages(common_lines(source)),
            RoomKind::Floors(_) | RoomKind::Outpost(_) => return None,
        };
        let name = self.free_name();
        let Some(id) = name.filter(|_| self.rooms.len() + self.kept < GROUP_STREAMS) else {
            self.full += 1;
            return None;
        };
        let is_simplex = matches!(plan, RoomKind::Forward) && line.flow.sends != line.flow.receives;
        self.rooms.push(Room {
            id,
            kind: line.kind,
            plan,
            floor,
            sender: is_simplex.then_some(sender).filter(|_| line.flow.sends),
            content,
        });
        Some(id)
    }

    /// Makes the room of the floors that govern others, over what its first client offers.
    pub fn open_floors(
        &mut self,
        conference: u32,
        rules: Vec<FloorRule>,
        offered: Option<BfcpTransport>,
    ) -> Option<StreamId> {
        let spec = FloorSpec {
            conference,
            floors: rules,
        };
        let id = self.free_name()?;
        self.kept = 0;
        self.rooms.push(Room {
            id,
            kind: Kind::Application,
            plan: RoomKind::Floors(spec),
            floor: None,
            sender: None,
            content: Content::Floors(offered.unwrap_or(BfcpTransport::Tcp)),
        });
        Some(id)
    }

    /// The room of the floors, if there is one: it belongs to nobody's media.
    #[must_use]
    pub fn floors(&self) -> StreamSet {
        let floors = self.rooms.iter();
        let floors = floors.filter(|room| matches!(room.plan, RoomKind::Floors(_)));
        floors.fold(StreamSet::default(), |set, room| set.with(room.id))
    }

    fn mixed(&self) -> Option<StreamId> {
        let mut rooms = self.rooms.iter();
        let room = rooms.find(|room| matches!(room.plan, RoomKind::Mix(_)));
        room.map(|room| room.id)
    }

    /// The acts that make some rooms.
    #[must_use]
    pub fn plans(&self, ids: StreamSet) -> Vec<Act> {
        let rooms = self.rooms.iter().filter(|room| ids.contains(room.id));
        let plans = rooms.map(|room| RoomPlan {
            stream: room.id,
            kind: room.plan.clone(),
            floor: room.floor,
        });
        plans.map(Act::OpenRoom).collect()
    }

    /// Rooms that the worker doesn't have are not to be.
    pub fn close(&mut self, ids: StreamSet) {
        self.rooms.retain(|room| !ids.contains(room.id));
    }

    /// Rooms end: the worker is told, and their names are free when it has done so.
    pub fn end(&mut self, ids: StreamSet) {
        self.close(ids);
        self.ending.0 |= ids.0;
    }

    /// The worker has ended rooms.
    pub fn ended(&mut self, ids: StreamSet) {
        self.ending.0 &= !ids.0;
    }

    /// Of what a participant offers, the line's room in the session: one of the same kind that
    /// none of `taken` is, and whose content both know.
    #[must_use]
    pub fn matching(&self, offer: &Offer, index: usize, taken: StreamSet) -> Option<StreamId> {
        let source = offer.source(index)?;
        let fits = |room: &&Room| {
            !taken.contains(room.id)
                && offer.line(index).is_some_and(|line| line.kind == room.kind)
                && room.takes(source)
        };
        self.rooms.iter().find(fits).map(|room| room.id)
    }

    /// Keeps of a room's payload formats those that a participant has taken: what was agreed with
    /// the first is what the others get (OMD-14).
    pub fn narrow(&mut self, member: &MemberMedia) {
        for room in &mut self.rooms {
            if let Content::Payloads(payloads) = &mut room.content
                && let Some(taken) = member.payloads(room.id)
            {
                for (payload, number) in payloads.iter_mut().zip(0_u16..) {
                    payload.is_agreed &= taken.contains(&number);
                }
            }
        }
    }
}

impl Room {
    /// Whether a line's content can be had in the room.
    #[must_use]
    fn takes(&self, line: &MediaDescription) -> bool {
        match &self.content {
            Content::Mixed => !audio::read(line).0.is_empty(),
            Content::Payloads(known) => !payloads::shared(known, line).is_empty(),
            Content::Messages(lines) => is_file(lines) == line.has("file-selector"),
            Content::Floors(_) => true,
        }
    }

    /// Whether it carries RTP.
    #[must_use]
    pub fn is_rtp(&self) -> bool {
        match self.content {
            Content::Mixed | Content::Payloads(_) => true,
            Content::Messages(_) | Content::Floors(_) => false,
        }
    }

    fn is_forwarded(&self) -> bool {
        matches!(self.content, Content::Payloads(_))
    }

    /// Whether some of its formats have RTCP feedback (RFC 4585).
    fn wants_feedback(&self) -> bool {
        match &self.content {
            Content::Payloads(known) => known.iter().any(|payload| !payload.feedback.is_empty()),
            Content::Mixed | Content::Messages(_) | Content::Floors(_) => false,
        }
    }

    /// What names it where a floor governs it (RFC 4574).
    #[must_use]
    pub fn label(&self) -> u8 {
        self.id.0.saturating_add(10)
    }

    /// Who may send and who gets something, as far as the room itself says it.
    #[must_use]
    pub fn flow_of(&self, member: MemberId) -> Flow {
        match self.sender {
            None => Flow {
                sends: true,
                receives: true,
            },
            Some(sender) => Flow {
                sends: sender == member,
                receives: sender != member,
            },
        }
    }
}

fn is_file(lines: &[String]) -> bool {
    lines.iter().any(|line| line.starts_with("file-selector"))
}

/// Whether a line's MSRP is for CPIM alone (RFC 4975 §8.6).
fn takes_only_cpim(line: &MediaDescription) -> bool {
    let types = line.attribute("accept-types").unwrap_or_default();
    let mut types = types.split_whitespace().peekable();
    types.peek().is_some() && types.all(|kind| kind.eq_ignore_ascii_case("message/cpim"))
}

/// The attributes of an MSRP line that hold for all participants.
fn common_lines(line: &MediaDescription) -> Vec<String> {
    const COMMON: [&str; 11] = [
        "accept-types",
        "accept-wrapped-types",
        "max-size",
        "chatroom",
        "file-selector",
        "file-transfer-id",
        "file-disposition",
        "file-date",
        "file-icon",
        "file-range",
        "label",
    ];
    let lines = COMMON.iter().flat_map(|name| {
        let values = line.attributes(name);
        values.map(move |value| {
            if value.is_empty() {
                (*name).to_owned()
            } else {
                format!("{name}:{value}")
            }
        })
    });
    lines.collect()
}

/// Talkers that are mixed at a time: a few are all that anybody understands.
const TALKERS: u8 = 4;
/// The longest that a packet waits for those before it.
const JITTER_MAX_MS: u16 = 200;
/// Names of streams are bits of a set.
const NAMES: u8 = 32;

// An order that opened more would be refused as a whole.
const _: () = assert!(GROUP_STREAMS <= STREAMS_PER_SESSION);

#[cfg(test)]
mod tests;
