//! Whether all acts of an order can be done, before any is.

use crate::api::{
    Act, LegSpec, MemberId, MemberPlan, Order, OutpostId, Refusal, Remote, RoomKind, RoomPlan,
    SessionId, StreamId, StreamPlan,
};
use crate::limits::{
    ACTS_PER_ORDER, FLOOR_MEMBERS, FLOORS, MEMBERS_PER_ROOM, MIX_MEMBERS, MSRP_MEMBERS,
    STREAMS_PER_SESSION, SWITCH_SEATS,
};
use crate::session::{Machine, Media, Roads, Room, RoomRef, Rooms, Streams};

use super::rooms::user_of;

/// What a stream is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Rtp,
    Bytes,
    Msrp,
    /// A room whose members have legs of RTP; its place, if it is there already.
    RtpRoom(Option<RoomRef>, Shape),
    /// The same, with legs of MSRP.
    ChatRoom(Option<RoomRef>),
    /// A room of floors, the same.
    FloorRoom(Option<RoomRef>),
    /// Legs of a room of RTP on another worker, the same.
    Outpost(Option<RoomRef>),
}

/// What becomes of RTP in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Forward,
    Mix,
    Switch,
}

impl Shape {
    /// Members that such a room has room for.
    fn members_max(self) -> usize {
        match self {
            Self::Forward => MEMBERS_PER_ROOM,
            Self::Mix => MIX_MEMBERS.min(MEMBERS_PER_ROOM),
            Self::Switch => SWITCH_SEATS.min(MEMBERS_PER_ROOM),
        }
    }
}

impl Kind {
    pub(super) fn of(streams: &Streams, rooms: &Rooms, index: u32) -> Option<Self> {
        let stream = streams.find(streams.slot_ref(index))?;
        Some(match stream.media {
            Media::Rtp(_) => Self::Rtp,
            Media::Bytes(_) => Self::Bytes,
            Media::Msrp(_) => Self::Msrp,
            Media::Room(room) => match rooms.find(room)?.machine {
                Machine::Forward(_) => Self::RtpRoom(Some(room), Shape::Forward),
                Machine::Mix(_) => Self::RtpRoom(Some(room), Shape::Mix),
                Machine::Switch(_) => Self::RtpRoom(Some(room), Shape::Switch),
                Machine::Chat(_) => Self::ChatRoom(Some(room)),
                Machine::Floors(_) => Self::FloorRoom(Some(room)),
                Machine::Outpost(_) => Self::Outpost(Some(room)),
            },
            Media::Member(_) => return None,
        })
    }

    fn of_plan(plan: &StreamPlan) -> Option<Self> {
        match plan.legs {
            [LegSpec::Rtp { .. }, LegSpec::Rtp { .. }] => Some(Self::Rtp),
            [LegSpec::Bytes { .. }, LegSpec::Bytes { .. }] => Some(Self::Bytes),
            [LegSpec::Msrp(_), LegSpec::Msrp(_)] => Some(Self::Msrp),
            [
                LegSpec::Rtp { .. }
                | LegSpec::Bytes { .. }
                | LegSpec::Msrp(_)
                | LegSpec::Bfcp(_)
                | LegSpec::Away(_),
                _,
            ] => None,
        }
    }

    /// What a new room is; `None` for kinds that there are none of here.
    fn of_room(kind: &RoomKind) -> Option<Self> {
        match kind {
            RoomKind::Forward => Some(Self::RtpRoom(None, Shape::Forward)),
            RoomKind::Mix(_) => Some(Self::RtpRoom(None, Shape::Mix)),
            RoomKind::Switch { .. } => Some(Self::RtpRoom(None, Shape::Switch)),
            RoomKind::Floors(spec) if spec.floors.len() <= FLOORS => Some(Self::FloorRoom(None)),
            RoomKind::FanOut(_) => Some(Self::ChatRoom(None)),
            RoomKind::Floors(_) => None,
            RoomKind::Outpost(_) => Some(Self::Outpost(None)),
        }
    }

    /// Whether a leg between two may have such a far end.
    fn has_remote(self, remote: &Remote) -> bool {
        match remote {
            Remote::Rtp(_) => self == Self::Rtp,
            Remote::Bytes { .. } => self == Self::Bytes,
            Remote::Msrp(_) => self == Self::Msrp,
            Remote::Bfcp(_) => false,
        }
    }

    /// Whether a member's leg may have such a far end.
    fn has_member_at(self, remote: &Remote) -> bool {
        matches!(
            (self, remote),
            (Self::RtpRoom(..) | Self::Outpost(_), Remote::Rtp(_))
                | (Self::ChatRoom(_), Remote::Msrp(_))
                | (Self::FloorRoom(_), Remote::Bfcp(_))
        )
    }

    /// Whether members' legs are of this kind.
    fn takes(self, leg: &LegSpec) -> bool {
        match leg {
            LegSpec::Rtp { .. } => matches!(self, Self::RtpRoom(..) | Self::Outpost(_)),
            LegSpec::Away(_) => matches!(self, Self::RtpRoom(..)),
            LegSpec::Bfcp(_) => matches!(self, Self::FloorRoom(_)),
            LegSpec::Msrp(_) => matches!(self, Self::ChatRoom(_)),
            LegSpec::Bytes { .. } => false,
        }
    }

    /// Members that a room has room for.
    fn members_max(self) -> usize {
        match self {
            Self::RtpRoom(_, shape) => shape.members_max(),
            Self::ChatRoom(_) => MSRP_MEMBERS.min(MEMBERS_PER_ROOM),
            Self::FloorRoom(_) => FLOOR_MEMBERS.min(MEMBERS_PER_ROOM),
            Self::Outpost(_) => MEMBERS_PER_ROOM,
            Self::Rtp | Self::Bytes | Self::Msrp => 0,
        }
    }

    fn room(self) -> Option<Option<RoomRef>> {
        match self {
            Self::RtpRoom(room, _)
            | Self::ChatRoom(room)
            | Self::FloorRoom(room)
            | Self::Outpost(room) => Some(room),
            Self::Rtp | Self::Bytes | Self::Msrp => None,
        }
    }
}

fn is_road(act: &Act) -> bool {
    matches!(act, Act::OpenRoad { .. })
}

/// The streams there will be after each act, to see beforehand whether all can be done.
pub(super) struct Expected<'a> {
    pub(super) streams: [Option<(StreamId, Kind)>; STREAMS_PER_SESSION],
    pub(super) rooms: &'a Rooms,
    /// The worker's roads, and whose are meant.
    pub(super) roads: (&'a Roads, SessionId),
    pub(super) is_new: bool,
    pub(super) is_full: bool,
}

impl Expected<'_> {
    pub(super) fn check(&mut self, order: &Order) -> Result<(), Refusal> {
        let opens = |act: &Act| matches!(act, Act::Open(_) | Act::OpenRoom(_));
        if self.is_new && !order.acts.iter().any(opens) {
            return Err(Refusal::Unknown);
        }
        let too_many = order.acts.len() > ACTS_PER_ORDER
            || order.acts.iter().filter(|act| opens(act)).count() > STREAMS_PER_SESSION;
        if too_many || self.is_new && self.is_full {
            return Err(Refusal::Full);
        }
        let acts = &order.acts;
        acts.iter().enumerate().try_for_each(|(at, act)| {
            let before = acts.get(..at).unwrap_or_default();
            self.check_act(before, act)
        })
    }

    fn check_act(&mut self, before: &[Act], act: &Act) -> Result<(), Refusal> {
        match act {
            Act::Open(plan) => {
                let kind = Kind::of_plan(plan).ok_or(Refusal::Unknown)?;
                self.open(plan.stream, kind)
            }
            Act::OpenRoom(plan) => self.open_room(before, plan),
            Act::Connect { stream, remote, .. } => match self.find(*stream) {
                Some(kind) if kind.has_remote(remote) => Ok(()),
                Some(_) | None => Err(Refusal::Unknown),
            },
            Act::OpenRoad { outpost, end } => self.open_road(before, *outpost, end.is_some()),
            Act::Join(plan) => self.join(before, plan),
            Act::ConnectMember {
                member,
                stream,
                remote,
                ..
            } => match self.find(*stream) {
                Some(kind)
                    if kind.has_member_at(remote)
                        && self.is_in(before, kind, (*stream, *member)) =>
                {
                    Ok(())
                }
                Some(_) | None => Err(Refusal::Unknown),
            },
            Act::Leave {
                member: Some(_), ..
            }
            | Act::GiveFloor { .. }
            | Act::Report { .. } => Ok(()),
            Act::Leave {
                member: None,
                streams,
                ..
            } => {
                for place in &mut self.streams {
                    place.take_if(|(id, kind)| streams.contains(*id) && kind.room().is_some());
                }
                Ok(())
            }
            Act::Release { streams, .. } => {
                for place in &mut self.streams {
                    place.take_if(|(id, _)| streams.contains(*id));
                }
                Ok(())
            }
            Act::Trace { stream, .. } => match self.find(*stream) {
                Some(Kind::Msrp) => Ok(()),
                Some(
                    Kind::Rtp
                    | Kind::Bytes
                    | Kind::RtpRoom(..)
                    | Kind::ChatRoom(_)
                    | Kind::FloorRoom(_)
                    | Kind::Outpost(_),
                )
                | None => Err(Refusal::Unknown),
            },
        }
    }

    fn open(&mut self, stream: StreamId, kind: Kind) -> Result<(), Refusal> {
        // A set of streams has 32 bits; one that no release could name must not be opened.
        if self.find(stream).is_some() || stream.0 >= 32 {
            return Err(Refusal::Unknown);
        }
        let place = self.streams.iter_mut().find(|place| place.is_none());
        *place.ok_or(Refusal::Full)? = Some((stream, kind));
        Ok(())
    }

    fn join(&self, before: &[Act], plan: &MemberPlan) -> Result<(), Refusal> {
        let kind = self.find(plan.stream).ok_or(Refusal::Unknown)?;
        if !kind.takes(&plan.leg)
            || self.is_in(before, kind, (plan.stream, plan.member))
            || self.is_user(before, kind, plan)
        {
            return Err(Refusal::Unknown);
        }
        if let LegSpec::Away(outpost) = plan.leg
            && !self.leads_to(before, outpost)
        {
            return Err(Refusal::Unknown);
        }
        // Who leaves by this order still counts: everything is bound before anything is freed.
        let is_join = |act: &&Act| matches!(act, Act::Join(other) if other.stream == plan.stream);
        let joining = before.iter().filter(is_join).count();
        let present = self.room(kind).map_or(0, Room::len);
        if present + joining >= kind.members_max() {
            return Err(Refusal::Full);
        }
        Ok(())
    }

    fn open_room(&mut self, before: &[Act], plan: &RoomPlan) -> Result<(), Refusal> {
        let kind = Kind::of_room(&plan.kind).ok_or(Refusal::Unknown)?;
        if let RoomKind::Outpost(outpost) = plan.kind
            && !self.leads_to(before, outpost)
        {
            return Err(Refusal::Unknown);
        }
        self.open(plan.stream, kind)
    }

    fn open_road(&self, before: &[Act], which: OutpostId, has_end: bool) -> Result<(), Refusal> {
        let (roads, _) = self.roads;
        let opening = before.iter().filter(|act| is_road(act)).count();
        if !has_end || self.has_road(before, which) {
            Err(Refusal::Unknown)
        } else if roads.room() <= opening {
            Err(Refusal::Full)
        } else {
            Ok(())
        }
    }

    /// Whether members can join by a road to an outpost after some acts: it isn't lost.
    fn leads_to(&self, before: &[Act], which: OutpostId) -> bool {
        let (roads, session) = self.roads;
        let known = roads.find(session, which);
        self.has_road(before, which) && !known.is_some_and(|road| roads.is_lost(road))
    }

    /// Whether there is a road to an outpost after some acts, or one that is lost.
    fn has_road(&self, before: &[Act], which: OutpostId) -> bool {
        let (roads, session) = self.roads;
        let is_it = |act: &Act| matches!(act, Act::OpenRoad { outpost, .. } if *outpost == which);
        roads.find(session, which).is_some() || before.iter().any(is_it)
    }

    /// Whether the user of a leg of floor control is another member's; who leaves still counts.
    fn is_user(&self, before: &[Act], kind: Kind, plan: &MemberPlan) -> bool {
        let Some(user) = user_of(&plan.leg) else {
            return false;
        };
        let is_same = |act: &Act| match act {
            Act::Join(other) => other.stream == plan.stream && user_of(&other.leg) == Some(user),
            _ => false,
        };
        let room = self.room(kind).map(|room| &room.machine);
        let is_there = matches!(room, Some(Machine::Floors(room)) if room.floors.has_user(user));
        is_there || before.iter().any(is_same)
    }

    /// Whether a member is in a room after some acts: the last one that says so decides.
    fn is_in(&self, before: &[Act], kind: Kind, who: (StreamId, MemberId)) -> bool {
        let (stream, member) = who;
        let said = before.iter().rev().find_map(|act| match act {
            Act::Join(plan) if (plan.stream, plan.member) == who => Some(true),
            Act::OpenRoom(plan) if plan.stream == stream => Some(false),
            Act::Leave {
                member: Some(gone),
                streams,
                ..
            } if *gone == member && streams.contains(stream) => Some(false),
            Act::Join(_)
            | Act::Open(_)
            | Act::OpenRoom(_)
            | Act::OpenRoad { .. }
            | Act::Connect { .. }
            | Act::ConnectMember { .. }
            | Act::GiveFloor { .. }
            | Act::Leave { .. }
            | Act::Release { .. }
            | Act::Report { .. }
            | Act::Trace { .. } => None,
        });
        said.unwrap_or_else(|| {
            let room = self.room(kind);
            room.is_some_and(|room| room.find(member).is_some())
        })
    }

    fn room(&self, kind: Kind) -> Option<&Room> {
        self.rooms.find(kind.room()??)
    }

    fn find(&self, stream: StreamId) -> Option<Kind> {
        let mut present = self.streams.iter().flatten();
        present.find_map(|(id, kind)| (*id == stream).then_some(*kind))
    }
}
