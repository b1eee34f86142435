//! Group sessions: rooms, who is in them, and what becomes of what they send.

mod packets;

use std::time::{Duration, Instant};

use rand::RngExt;

use crate::api::{
    Direction, LegSpec, MemberId, MemberPlan, Refusal, Remote, RoomKind, RoomPlan, RtpFormats,
    SessionId, Side, StreamId, StreamSet,
};
use crate::net::Backend;
use crate::proto::forward::Forward;
use crate::session::{
    Machine, Media, Member, MemberLeg, Phase, Room, RoomRef, Seat, SessionRef, SlotRef, Stream,
};
use crate::wire::rtp::Ssrc;

use super::Worker;
use super::open::Opening;

impl<B: Backend> Worker<B> {
    /// Makes a room in a slot of its own.
    pub(super) fn open_room(
        &mut self,
        now: Instant,
        session: SessionId,
        plan: &RoomPlan,
    ) -> Result<SlotRef, Refusal> {
        let machine = self.machine_of(&plan.kind).ok_or(Refusal::Unknown)?;
        let slot = self.streams.reserve().ok_or(Refusal::Full)?;
        let room = Room::new(session, plan.stream, plan.floor, machine);
        let Some(room) = self.rooms.add(Box::new(room)) else {
            self.streams.remove(slot);
            return Err(Refusal::Full);
        };
        let media = Media::Room(room);
        self.streams
            .fill(slot, stream_of(now, media, (session, plan.stream), 0));
        Ok(slot)
    }

    fn machine_of(&mut self, kind: &RoomKind) -> Option<Machine> {
        match kind {
            RoomKind::Forward => {
                let ssrcs = std::array::from_fn(|_| Ssrc(self.random.random()));
                Some(Machine::Forward(Box::new(Forward::new(ssrcs))))
            }
            RoomKind::Mix(_) | RoomKind::Switch { .. } | RoomKind::FanOut | RoomKind::Floors(_) => {
                None
            }
        }
    }

    /// Binds a member's leg; it has no seat yet, as its room may be made by the same order.
    pub(super) fn open_member(
        &mut self,
        now: Instant,
        session: SessionId,
        plan: &mut MemberPlan,
    ) -> Result<SlotRef, Refusal> {
        let slot = self.streams.reserve().ok_or(Refusal::Full)?;
        let opening = Opening { now, slot };
        let opened = match &plan.leg {
            LegSpec::Rtp { .. } => self
                .open_rtp(opening, Side::A, &plan.leg)
                .map(|(leg, local)| (MemberLeg::Rtp(leg), local)),
            LegSpec::Bytes { .. } | LegSpec::Msrp(_) | LegSpec::Bfcp(_) => Err(Refusal::Unknown),
        };
        match opened {
            Ok((leg, local)) => {
                plan.local = local;
                let member = Member {
                    id: plan.member,
                    place: None,
                    leg,
                    sent: 0,
                };
                let media = Media::Member(member);
                let stream = stream_of(now, media, (session, plan.stream), plan.silence_ms);
                self.streams.fill(slot, stream);
                self.stats.members += 1;
                Ok(slot)
            }
            Err(refusal) => {
                self.streams.remove(slot);
                Err(refusal)
            }
        }
    }

    /// A room that was made is a stream of its session.
    pub(super) fn attach_room(
        &mut self,
        session: SessionRef,
        stream: StreamId,
        slot: Option<SlotRef>,
    ) {
        if let Some(slot) = slot
            && let Some(session) = self.sessions.session_mut(session)
        {
            session.add(stream, slot.index);
        }
    }

    /// A member whose leg is bound takes its seat.
    pub(super) fn take_seat(
        &mut self,
        session: SessionRef,
        stream: StreamId,
        slot: Option<SlotRef>,
    ) {
        let Some(slot) = slot else { return };
        let room_ref = self.room_of(session, stream);
        let member = self
            .streams
            .find_mut(slot)
            .and_then(|stream| stream.member_mut());
        if let (Some(room_ref), Some(member)) = (room_ref, member)
            && let Some(room) = self.rooms.find_mut(room_ref)
            && let Some(seat) = room.add(Seat::new(member.id, slot))
        {
            member.place = Some((room_ref, seat));
        }
    }

    fn room_of(&self, session: SessionRef, stream: StreamId) -> Option<RoomRef> {
        let slot = self.slot_of(session, stream)?;
        self.streams.find(slot)?.room()
    }

    /// Where a member sits.
    pub(super) fn seat_of(
        &self,
        session: SessionRef,
        stream: StreamId,
        member: MemberId,
    ) -> Option<(RoomRef, u32)> {
        let room = self.room_of(session, stream)?;
        Some((room, self.rooms.find(room)?.find(member)?))
    }

    /// Names a member's far end, what it may do and what it takes.
    pub(super) fn connect_member(
        &mut self,
        now: Instant,
        place: (RoomRef, u32),
        far: (&Remote, Direction),
        formats: &RtpFormats,
    ) {
        let ((room, index), (remote, direction)) = (place, far);
        let Some(room) = self.rooms.find_mut(room) else {
            return;
        };
        let slot = room.seat(index).map(|seat| seat.slot);
        let stream = slot.and_then(|slot| self.streams.find_mut(slot));
        let leg = stream
            .and_then(|stream| stream.member_mut())
            .and_then(|member| member.rtp_mut());
        let (Some(leg), Remote::Rtp(remote)) = (leg, remote) else {
            return;
        };
        let tied = leg.untie();
        leg.connect(now, remote, direction);
        let out = leg.ways();
        if let Some(seat) = room.seat_mut(index) {
            seat.out = out;
            seat.may_send = direction.may_send;
            seat.may_receive = direction.may_receive;
        }
        match &mut room.machine {
            Machine::Forward(forward) => {
                forward.set(index as usize, &formats.payloads, direction.may_receive);
                if !direction.may_send {
                    forward.mute(index as usize);
                }
            }
        }
        self.untie(tied);
    }

    /// Takes one member out of rooms, and says where its legs are.
    pub(super) fn leave(
        &mut self,
        session: SessionRef,
        streams: StreamSet,
        member: MemberId,
    ) -> std::vec::IntoIter<SlotRef> {
        let mut left = Vec::new();
        for (stream, _) in self.slots_of(session) {
            if streams.contains(stream)
                && let Some((room, seat)) = self.seat_of(session, stream, member)
            {
                left.extend(self.unseat(room, seat));
            }
        }
        left.into_iter()
    }

    /// Takes everybody out of rooms and the rooms out of their session, and says where all are.
    pub(super) fn empty_rooms(
        &mut self,
        session: SessionRef,
        streams: StreamSet,
    ) -> std::vec::IntoIter<SlotRef> {
        let mut left = Vec::new();
        let mut rooms = StreamSet::default();
        for (stream, slot) in self.slots_of(session) {
            let Some(room) = self.room_of(session, stream) else {
                continue;
            };
            if !streams.contains(stream) {
                continue;
            }
            rooms = rooms.with(stream);
            let seats = self.rooms.find(room).into_iter();
            let seats: Vec<_> = seats
                .flat_map(Room::members)
                .map(|(_, seat)| seat)
                .collect();
            let first = left.len();
            // The last ones first, as the others move up; told in the order of their names.
            let slots = seats.iter().rev();
            left.extend(slots.filter_map(|seat| self.unseat(room, *seat)));
            left.get_mut(first..).unwrap_or_default().reverse();
            left.push(slot);
        }
        self.detach(session, rooms);
        left.into_iter()
    }

    /// Takes a member's seat; its leg is still there.
    fn unseat(&mut self, room: RoomRef, index: u32) -> Option<SlotRef> {
        let room = self.rooms.find_mut(room)?;
        let seat = room.remove(index)?;
        match &mut room.machine {
            Machine::Forward(forward) => forward.remove(index as usize),
        }
        let stream = self.streams.find_mut(seat.slot)?;
        stream.phase = Phase::Frozen;
        let member = stream.member_mut()?;
        member.place = None;
        member.sent = seat.sent;
        Some(seat.slot)
    }

    /// Ends a room that nobody is in.
    pub(super) fn close_room(&mut self, room: RoomRef) {
        self.rooms.remove(room);
    }

    /// Says who holds a floor; the rooms that it gates take only what they send from now on.
    pub(super) fn set_holders(
        &mut self,
        session: SessionRef,
        floor: crate::api::FloorId,
        holders: &[MemberId],
    ) {
        for (stream, _) in self.slots_of(session) {
            let room = self.room_of(session, stream);
            let room = room.and_then(|room| self.rooms.find_mut(room));
            if let Some(room) = room.filter(|room| room.floor == Some(floor)) {
                room.set_holders(holders);
            }
        }
    }
}

/// What a room and a member's leg have of a stream.
fn stream_of(now: Instant, media: Media, whose: (SessionId, StreamId), silence_ms: u32) -> Stream {
    Stream {
        media,
        phase: Phase::Open,
        session: whose.0,
        id: whose.1,
        opened: now,
        silence: (silence_ms > 0).then(|| Duration::from_millis(u64::from(silence_ms))),
        recording: None,
        plan: None,
    }
}
