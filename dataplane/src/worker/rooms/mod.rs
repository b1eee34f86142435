//! Group sessions: rooms, who is in them, and what becomes of what they send.

mod counts;
mod egress;
mod floors;
mod gather;
mod machines;
mod packets;
mod reports;
mod roads;
mod secured;
mod ticks;

pub(super) use floors::user_of;
pub(super) use ticks::Ticks;

use std::time::{Duration, Instant};

use rand::RngExt;

use crate::api::{
    Direction, FloorId, LegLocal, LegSpec, MemberId, MemberPlan, Refusal, Remote, RoomKind,
    RoomPlan, RtpFormats, SessionId, Side, StreamId, StreamSet,
};
use crate::limits::SWITCH_DWELL_MS;
use crate::net::Backend;
use crate::proto::floor::{self, Floors};
use crate::proto::forward::Forward;
use crate::proto::mix::{MixCounts, Mixer};
use crate::proto::switch::{Switch, SwitchCounts, SwitchSpec};
use crate::session::{
    AwayLeg, FloorRoom, Machine, Media, Member, MemberLeg, Mixing, Out, Phase, Room, RoomRef, Seat,
    Seating, SessionRef, SlotRef, Stream, Switching,
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
        let machine = self
            .machine_of(session, &plan.kind)
            .ok_or(Refusal::Unknown)?;
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

    fn machine_of(&mut self, session: SessionId, kind: &RoomKind) -> Option<Machine> {
        match kind {
            RoomKind::Forward => {
                let ssrcs = std::array::from_fn(|_| Ssrc(self.random.random()));
                Some(Machine::Forward(Box::new(Forward::new(ssrcs))))
            }
            RoomKind::Mix(spec) => Some(Machine::Mix(Box::new(Mixing {
                mixer: Mixer::new(*spec, self.random.random()),
                counted: MixCounts::default(),
                seating: Seating::default(),
                told: None,
            }))),
            RoomKind::Switch { follows } => {
                let spec = SwitchSpec {
                    seed: self.random.random(),
                    clock: self.ticks.clock,
                    cname: self.cname_of(session).into(),
                    dwell_ms: SWITCH_DWELL_MS,
                };
                Some(Machine::Switch(Box::new(Switching {
                    switch: Switch::new(spec),
                    counted: SwitchCounts::default(),
                    seating: Seating::default(),
                    follows: *follows,
                })))
            }
            RoomKind::Floors(spec) => Some(Machine::Floors(Box::new(FloorRoom {
                floors: Floors::new(spec),
                untold: Vec::new(),
                counted: floor::Counts::default(),
                secure_by: None,
            }))),
            RoomKind::FanOut(spec) => Some(Machine::Chat(self.open_chat(spec)?)),
            RoomKind::Outpost(outpost) => {
                Some(Machine::Outpost(self.roads.find(session, *outpost)?))
            }
        }
    }

    /// The canonical name of the relay's sources in a session: the same in all its rooms, so that
    /// what is heard and what is seen belong together, and in no other session (RFC 7022 §4.2).
    fn cname_of(&self, session: SessionId) -> [u8; 16] {
        let mixed = (session.0 ^ self.ticks.secret).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = mixed ^ mixed >> 29 ^ self.ticks.secret.rotate_left(32);
        let mut name = [0; 16];
        for (pair, octet) in name.chunks_exact_mut(2).zip(mixed.to_be_bytes()) {
            pair.copy_from_slice(&[octet >> 4, octet & 15].map(|digit| HEX[usize::from(digit)]));
        }
        name
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
            LegSpec::Bfcp(spec) => self.open_bfcp(opening, spec),
            LegSpec::Msrp(_) => self
                .open_msrp(opening, Side::A, &plan.leg)
                .map(|(leg, local)| (MemberLeg::Msrp(leg), local)),
            LegSpec::Bytes { .. } => Err(Refusal::Unknown),
            LegSpec::Away(outpost) => self
                .roads
                .find(session, *outpost)
                .map(|road| {
                    (
                        MemberLeg::Away(Box::new(AwayLeg::new(road))),
                        LegLocal::Unbound,
                    )
                })
                .ok_or(Refusal::Unknown),
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
        now: Instant,
        session: SessionRef,
        plan: &RoomPlan,
        slot: Option<SlotRef>,
    ) {
        if let Some(slot) = slot
            && let Some(streams) = self.sessions.session_mut(session)
        {
            streams.add(plan.stream, slot.index);
        }
        if let Some(floor) = plan.floor {
            self.inherit_holders(now, session, floor);
        }
    }

    /// A member whose leg is bound takes its seat.
    pub(super) fn take_seat(
        &mut self,
        now: Instant,
        session: SessionRef,
        plan: &MemberPlan,
        slot: Option<SlotRef>,
    ) {
        let Some(slot) = slot else { return };
        let room_ref = self.room_of(session, plan.stream);
        let member = self
            .streams
            .find_mut(slot)
            .and_then(|stream| stream.member_mut());
        if let (Some(room_ref), Some(member)) = (room_ref, member)
            && let Some(room) = self.rooms.find_mut(room_ref)
            && let Some(seat) = room.add(Seat::new(member.id, slot))
        {
            member.place = Some((room_ref, seat));
            let (id, bfcp) = (member.id, member.bfcp_mut().map(|leg| *leg.spec()));
            if let Some(spec) = bfcp {
                self.join_floors(room_ref, id, spec);
            }
            if let Some(mut open) = self.open(now, room_ref) {
                open.join(now, seat);
            }
            self.join_chat(slot, plan.identity.as_deref());
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
        let ((room_ref, index), (remote, direction)) = (place, far);
        let Some(room) = self.rooms.find_mut(room_ref) else {
            return;
        };
        let slot = room.seat(index).map(|seat| seat.slot);
        if let (Some(slot), Remote::Bfcp(remote)) = (slot, remote) {
            self.connect_bfcp(now, slot, remote);
            return;
        }
        if let Remote::Msrp(remote) = remote {
            return self.connect_chat(place, remote, direction);
        }
        let stream = slot.and_then(|slot| self.streams.find_mut(slot));
        let member = stream.and_then(|stream| stream.member_mut());
        let leg = member.map(|member| &mut member.leg);
        let (out, tied) = match (leg, remote) {
            (Some(MemberLeg::Rtp(leg)), Remote::Rtp(remote)) => {
                let tied = leg.untie();
                leg.connect(now, remote, direction);
                (Out::Here(leg.ways()), tied)
            }
            (Some(MemberLeg::Away(leg)), Remote::Rtp(_)) => {
                // Control may have passed it over when it was told before, as nobody was there yet.
                leg.lost_untold |= self.roads.is_lost(leg.road);
                (Out::Away(leg.road), [None; 2])
            }
            _ => return,
        };
        let has_floor = room.has_floor(index);
        if let Some(seat) = room.seat_mut(index) {
            seat.out = out;
            seat.may_send = direction.may_send;
            seat.may_receive = direction.may_receive;
            seat.clock_rate = clock_rate(formats).unwrap_or(seat.clock_rate);
            // The first packet brings a report, so that a far end knows the streams' clocks.
            seat.report_at = Some(now);
        }
        if let Some(mut open) = self.open(now, room_ref) {
            open.set(now, index, formats, (direction, has_floor));
        }
        self.stop_gathering(room_ref, index);
        self.untie(tied);
        self.look_after(now, room_ref);
    }

    /// Takes one member out of rooms, and says where its legs are.
    pub(super) fn leave(
        &mut self,
        now: Instant,
        session: SessionRef,
        streams: StreamSet,
        member: MemberId,
    ) -> std::vec::IntoIter<SlotRef> {
        let mut left = Vec::new();
        for (stream, _) in self.slots_of(session) {
            if streams.contains(stream)
                && let Some((room, seat)) = self.seat_of(session, stream, member)
            {
                left.extend(self.unseat(now, room, seat));
            }
        }
        left.into_iter()
    }

    /// Takes everybody out of rooms and the rooms out of their session, and says where all are.
    pub(super) fn empty_rooms(
        &mut self,
        now: Instant,
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
            left.extend(slots.filter_map(|seat| self.unseat(now, room, *seat)));
            left.get_mut(first..).unwrap_or_default().reverse();
            left.push(slot);
        }
        self.detach(session, rooms);
        left.into_iter()
    }

    /// Takes a member's seat; its leg is still there.
    fn unseat(&mut self, now: Instant, room_ref: RoomRef, index: u32) -> Option<SlotRef> {
        self.open(now, room_ref)?.remove(now, index);
        self.stop_gathering(room_ref, index);
        let seat = self.rooms.find_mut(room_ref)?.remove(index)?;
        let stream = self.streams.find_mut(seat.slot)?;
        stream.phase = Phase::Frozen;
        let member = stream.member_mut()?;
        member.place = None;
        member.sent = seat.sent;
        self.look_after(now, room_ref);
        self.end_bfcp_tls(seat.slot);
        Some(seat.slot)
    }

    /// Ends a room that nobody is in.
    pub(super) fn close_room(&mut self, room: RoomRef) {
        self.count_room(room);
        self.close_chat(room);
        self.rooms.remove(room);
    }

    /// Says who holds a floor; the rooms that it gates take only what they send from now on.
    pub(super) fn set_holders(
        &mut self,
        now: Instant,
        session: SessionRef,
        floor: FloorId,
        holders: &[MemberId],
    ) {
        for (stream, _) in self.slots_of(session) {
            let Some(room_ref) = self.room_of(session, stream) else {
                continue;
            };
            let room = self.rooms.find_mut(room_ref);
            let Some(room) = room.filter(|room| room.floor == Some(floor)) else {
                continue;
            };
            for (seat, holds) in room.set_holders(holders) {
                if let Some(mut open) = self.open(now, room_ref) {
                    open.hold(now, seat, holds);
                }
                self.gate_chat((room_ref, seat));
            }
            self.look_after(now, room_ref);
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

/// The clock rate of what a member sends.
fn clock_rate(formats: &RtpFormats) -> Option<u32> {
    let audio = formats.audio.first().map(|audio| audio.codec.clock_rate());
    let payload = formats.payloads.first().map(|payload| payload.clock_rate);
    audio.or(payload)
}

const HEX: [u8; 16] = *b"0123456789abcdef";
