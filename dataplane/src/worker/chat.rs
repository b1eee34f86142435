//! Rooms of MSRP: what happens in them is [`crate::proto::msrp`]'s business, under a key of its own.

use std::time::Instant;

use crate::api::{Direction, FanSpec, LegFacts, MemberFacts, MsrpRemote, Side};
use crate::net::Backend;
use crate::proto::msrp::{RoomKey, RoomRules};
use crate::session::{Machine, Media, RoomRef, SlotRef};

use super::Worker;

impl<B: Backend> Worker<B> {
    /// Makes a room at the relay; `None`: it has no place for one.
    pub(super) fn open_chat(&mut self, spec: &FanSpec) -> Option<RoomKey> {
        self.msrp.relay.open_room(RoomRules {
            addresses: &spec.addresses,
            only_cpim: spec.only_cpim,
        })
    }

    /// Ends a room at the relay, where it is one of MSRP.
    pub(super) fn close_chat(&mut self, room: RoomRef) {
        if let Some(key) = self.chat_of(room) {
            self.msrp.relay.close_room(key);
        }
    }

    /// A member that has its seat gets what is said from now on.
    pub(super) fn join_chat(&mut self, slot: SlotRef, identity: Option<&str>) {
        let member = self.streams.find(slot).and_then(|stream| stream.member());
        let Some((leg, room)) = member.and_then(|one| Some((one.msrp()?.key, one.place?.0))) else {
            return;
        };
        let Some(room) = self.chat_of(room) else {
            return;
        };
        if !self.msrp.relay.join_room(room, leg, identity) {
            // Those who have left and aren't written out yet have all its places.
            self.stats.full_rooms += 1;
            self.tell_lost(slot, Side::A);
        }
    }

    /// Names a member's far end and what it may do.
    pub(super) fn connect_chat(
        &mut self,
        place: (RoomRef, u32),
        remote: &MsrpRemote,
        direction: Direction,
    ) {
        let (room, index) = place;
        let seat = self
            .rooms
            .find_mut(room)
            .and_then(|room| room.seat_mut(index));
        let Some(seat) = seat else { return };
        seat.may_send = direction.may_send;
        seat.may_receive = direction.may_receive;
        let slot = seat.slot;
        self.connect_msrp((slot, Side::A), remote, direction);
        self.gate_chat(place);
    }

    /// Lets a member send while it may and has the floor, where one gates the room.
    pub(super) fn gate_chat(&mut self, (room, index): (RoomRef, u32)) {
        let Some(room) = self.rooms.find(room) else {
            return;
        };
        let Some(seat) = room.seat(index) else {
            return;
        };
        let may_send = seat.may_send && room.has_floor(index);
        let member = self
            .streams
            .find(seat.slot)
            .and_then(|stream| stream.member());
        if let Some(leg) = member.and_then(|member| member.msrp()) {
            let may_receive = seat.may_receive;
            self.msrp
                .relay
                .set_direction(leg.key, may_send, may_receive);
        }
    }

    /// Whether everybody has left a room, also at the relay.
    pub(super) fn is_chat_empty(&self, room: RoomRef) -> bool {
        let key = self.chat_of(room);
        key.is_none_or(|key| self.msrp.relay.is_room_empty(key))
    }

    /// What a member did.
    pub(super) fn member_facts(&self, now: Instant, slot: SlotRef) -> Option<MemberFacts> {
        let stream = self.streams.find(slot)?;
        let Media::Member(member) = &stream.media else {
            return None;
        };
        let facts = member.facts(now, stream);
        let Some(leg) = member.msrp() else {
            return Some(facts);
        };
        Some(MemberFacts {
            leg: LegFacts {
                age_ms: facts.leg.age_ms,
                ..self.msrp_facts(leg)
            },
            sent: self.msrp.relay.messages_to(leg.key),
            ..facts
        })
    }

    fn chat_of(&self, room: RoomRef) -> Option<RoomKey> {
        match self.rooms.find(room)?.machine {
            Machine::Chat(key) => Some(key),
            Machine::Forward(_)
            | Machine::Mix(_)
            | Machine::Switch(_)
            | Machine::Floors(_)
            | Machine::Outpost(_) => None,
        }
    }
}
