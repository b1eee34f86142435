//! Sessions on several workers: what comes by their roads, and who is lost with one.
//!
//! ```text
//! home     machine ─▶ seat ─▶ Out::Away ─▶ letter ─▶ road                       egress.rs
//! outpost  road ─▶ letter ─▶ seat by its member's name ─▶ a frame, its socket
//! outpost  leg ─▶ gate ─▶ Machine::Outpost ─▶ letter ─▶ road
//! home     road ─▶ letter ─▶ seat by its member's name ─▶ gate, machine, as any other packet
//! ```

use std::time::{Duration, Instant};

use crate::api::{Full, Letter, OutpostId, Parcel, RoadEnd, SessionId};
use crate::frame::Class;
use crate::limits::PARCELS_PER_CYCLE;
use crate::net::Backend;
use crate::pipeline::{Place, ToRoom};
use crate::session::{Machine, Road, RoadRef, Room, RoomRef};
use crate::stats::DropReason;

use super::super::Worker;

impl<B: Backend> Worker<B> {
    /// Begins a road of a session.
    pub(in super::super) fn open_road(
        &mut self,
        session: SessionId,
        outpost: OutpostId,
        end: Option<Box<RoadEnd>>,
    ) {
        if let Some(end) = end {
            self.roads.add(Road {
                session,
                outpost,
                end,
                is_lost: false,
            });
        }
    }

    /// Takes what came by roads, a few parcels of each, and says how many.
    pub(in super::super) fn take_parcels(&mut self, now: Instant) -> usize {
        let mut taken = 0;
        for road in self.roads.all() {
            for _ in 0..PARCELS_PER_CYCLE {
                let Some(place) = self.roads.road_mut(road) else {
                    break;
                };
                let (session, Some(parcel)) = (place.session, place.end.take()) else {
                    break;
                };
                self.take_parcel(now, session, &parcel);
                if let Some(place) = self.roads.road_mut(road) {
                    place.end.give_back(parcel);
                }
                taken += 1;
            }
        }
        taken
    }

    fn take_parcel(&mut self, now: Instant, session: SessionId, parcel: &Parcel) {
        let mut last = None;
        for letter in parcel.letters() {
            let room = match last {
                Some((stream, room)) if stream == letter.stream => Some(room),
                Some(_) | None => {
                    let session = self.sessions.find(session);
                    session.and_then(|session| self.room_of(session, letter.stream))
                }
            };
            // Who has left meanwhile, or whose room has ended, gets nothing any more.
            let Some(room) = room else {
                self.stats.drop(DropReason::NoLeg);
                continue;
            };
            if let Some((_, before)) = last.filter(|(_, before)| *before != room) {
                self.look_after(now, before);
            }
            last = Some((letter.stream, room));
            let seat = self
                .rooms
                .find(room)
                .and_then(|room| room.find(letter.member));
            match seat {
                Some(seat) => self.take_letter(now, (room, seat), &letter),
                None => self.stats.drop(DropReason::NoLeg),
            }
        }
        if let Some((_, room)) = last {
            self.look_after(now, room);
        }
    }

    fn take_letter(&mut self, now: Instant, place: (RoomRef, u32), letter: &Letter<'_>) {
        let (room_ref, seat) = place;
        let room = self.rooms.find(room_ref);
        if room.is_some_and(|room| matches!(room.machine, Machine::Outpost(_))) {
            if let Some(mut open) = self.open(now, room_ref) {
                open.egress.deliver(seat, letter);
            }
        } else {
            self.member_letter(now, place, letter);
        }
    }

    /// What a member at an outpost sent is taken as if its leg were here.
    fn member_letter(&mut self, now: Instant, place: (RoomRef, u32), letter: &Letter<'_>) {
        let (room, seat) = place;
        let slot = self.rooms.find(room).and_then(|room| room.seat(seat));
        let Some(slot) = slot.map(|seat| seat.slot) else {
            return;
        };
        let Some(mut frame) = self.pool.take(Class::Datagram) else {
            self.stats.full_pool += 1;
            self.stats.drop(DropReason::PoolFull);
            return;
        };
        for piece in [letter.head, letter.body] {
            self.pool.append(&mut frame, piece);
        }
        let stream = self.streams.find_mut(slot);
        let leg = stream
            .and_then(|stream| stream.member_mut())
            .and_then(|member| member.away_mut());
        let bytes = self.pool.bytes(&frame);
        let packet = leg
            .ok_or(DropReason::NoLeg)
            .and_then(|leg| leg.receive(letter.part, bytes));
        match packet {
            Ok(packet) => {
                let place = Place {
                    slot,
                    room,
                    seat,
                    out: None,
                };
                self.room_received(
                    (now, Duration::ZERO),
                    ToRoom {
                        place,
                        packet,
                        frame,
                    },
                );
            }
            Err(why) => {
                self.stats.drop(why);
                self.pool.give(frame);
            }
        }
    }

    /// Looks for roads whose other end is gone: has control told of the members there, and ends
    /// those that nobody is left at. Sends control the ends that it is to free.
    pub(in super::super) fn look_at_roads(&mut self) {
        for road in self.roads.all() {
            let Some(place) = self.roads.road_mut(road) else {
                continue;
            };
            // What was posted before the end is taken first.
            if !place.end.is_abandoned() || !place.end.is_empty() {
                continue;
            }
            let was_lost = std::mem::replace(&mut place.is_lost, true);
            let session = place.session;
            if !self.is_named(session, road) {
                self.roads.end(road);
            } else if !was_lost {
                self.lose_members(session, road);
            }
        }
        while let Some(end) = self.roads.ended_mut().pop() {
            if let Err(Full(end)) = self.link.give_back(end) {
                self.roads.ended_mut().push(end);
                break;
            }
        }
    }

    /// Whether a room of a session, or the leg of anybody in one, is at a road. Who has left needs
    /// it no more.
    fn is_named(&self, session: SessionId, road: RoadRef) -> bool {
        let Some(session) = self.sessions.find(session) else {
            return false;
        };
        let is_away = |slot| {
            let stream = self.streams.find(slot);
            let member = stream.and_then(|stream| stream.member());
            let leg = member.and_then(|member| member.away());
            leg.is_some_and(|leg| leg.road == road)
        };
        self.slots_of(session).any(|(stream, _)| {
            let room = self.room_of(session, stream);
            room.and_then(|room| self.rooms.find(room))
                .is_some_and(|room| {
                    matches!(room.machine, Machine::Outpost(at) if at == road)
                        || room.slots().any(is_away)
                })
        })
    }

    fn lose_members(&mut self, session: SessionId, road: RoadRef) {
        let Some(session) = self.sessions.find(session) else {
            return;
        };
        for (stream, _) in self.slots_of(session) {
            let room = self.room_of(session, stream);
            let seats = room.and_then(|room| self.rooms.find(room)).into_iter();
            let slots = seats.flat_map(Room::slots);
            for slot in slots {
                let stream = self.streams.find_mut(slot);
                let leg = stream
                    .and_then(|stream| stream.member_mut())
                    .and_then(|member| member.away_mut());
                if let Some(leg) = leg.filter(|leg| leg.road == road) {
                    leg.lost_untold = true;
                }
            }
        }
    }
}
