//! What a room's machine is told and does; one arm for each kind.

use std::time::Instant;

use crate::api::{Component, Direction, RtpFormats};
use crate::frame::Frame;
use crate::limits::DATAGRAM_FRAME_BYTES;
use crate::net::Backend;
use crate::proto::mix::{Refused, Scratch};
use crate::session::{Machine, Mixing, RoomRef, Switching};
use crate::stats::DropReason;

use super::super::Worker;
use super::egress::{Egress, Seated};

/// What rooms work with, one of each for all of a worker.
#[derive(Default)]
pub(super) struct Desk {
    /// Members of the room in use who are due a report.
    pub(super) due: Vec<u32>,
    /// Rooms whose members' sockets are looked into.
    pub(super) collected: Vec<(Instant, RoomRef)>,
    /// A message of floor control that is being sent.
    pub(super) message: Vec<u8>,
    bench: Bench,
}

/// Where packets and samples lie.
#[derive(Default)]
pub(super) struct Bench {
    /// Made for the first room that is mixed.
    scratch: Option<Box<Scratch>>,
    /// A packet whose frame is the pool's, while others are written there.
    packet: Vec<u8>,
}

/// A room in use.
pub(super) struct Open<'a, B: Backend> {
    pub(super) machine: &'a mut Machine,
    pub(super) egress: Egress<'a, B>,
    pub(super) desk: &'a mut Bench,
}

impl<B: Backend> Worker<B> {
    /// A room with what its machine needs.
    pub(super) fn open(&mut self, now: Instant, room: RoomRef) -> Option<Open<'_, B>> {
        let room = self.rooms.find_mut(room)?;
        let stream = room.stream;
        let (machine, seats) = room.parts_mut();
        Some(Open {
            machine,
            egress: Egress {
                backend: &mut self.backend,
                pool: &mut self.pool,
                tx: &mut self.tx,
                stats: &mut self.stats,
                seats,
                roads: &mut self.roads,
                stream,
                now,
                due: &mut self.ticks.desk.due,
            },
            desk: &mut self.ticks.desk.bench,
        })
    }
}

impl<B: Backend> Open<'_, B> {
    /// A member has a seat.
    pub(super) fn join(&mut self, now: Instant, seat: u32) {
        match &mut self.machine {
            Machine::Forward(_) | Machine::Chat(_) | Machine::Floors(_) | Machine::Outpost(_) => {}
            Machine::Mix(mixing) => {
                if let Some(theirs) = mixing.mixer.add() {
                    mixing.seating.add(seat, theirs, theirs.index());
                }
            }
            Machine::Switch(switching) => {
                if let Some(theirs) = switching.switch.add(now) {
                    switching.seating.add(seat, theirs, theirs.index());
                }
            }
        }
    }

    /// What a member sends and gets from now on; `has_floor`: what it sends passes the gate.
    pub(super) fn set(
        &mut self,
        now: Instant,
        seat: u32,
        formats: &RtpFormats,
        may: (Direction, bool),
    ) {
        let (direction, has_floor) = may;
        match &mut self.machine {
            Machine::Forward(forward) => {
                forward.set(seat as usize, &formats.payloads, direction.may_receive);
                let takes_nack = formats.video.iter().any(|video| video.feedback.nack);
                forward.set_takes_nack(seat as usize, takes_nack);
                if !direction.may_send {
                    forward.mute(seat as usize);
                }
            }
            Machine::Chat(_) | Machine::Floors(_) | Machine::Outpost(_) => {}
            Machine::Mix(mixing) => {
                if let Some(theirs) = mixing.seating.theirs(seat) {
                    mixing.mixer.set(theirs, formats, direction);
                }
            }
            Machine::Switch(switching) => {
                let Switching {
                    switch, seating, ..
                } = &mut **switching;
                let egress = &mut self.egress;
                if let Some(theirs) = seating.theirs(seat) {
                    let out = &mut Seated { egress, seating };
                    switch.set_formats(theirs, formats, now, out);
                    let direction = Direction {
                        may_send: direction.may_send && has_floor,
                        ..direction
                    };
                    switch.set_direction(theirs, direction, now, out);
                }
            }
        }
    }

    /// A member has got the floor, or has lost it.
    pub(super) fn hold(&mut self, now: Instant, seat: u32, holds: bool) {
        let place = self.egress.seats.get(seat as usize).copied().flatten();
        match &mut self.machine {
            Machine::Forward(forward) if !holds => forward.mute(seat as usize),
            Machine::Forward(_) | Machine::Chat(_) | Machine::Floors(_) | Machine::Outpost(_) => {}
            Machine::Mix(mixing) => {
                if let Some(theirs) = mixing.seating.theirs(seat).filter(|_| !holds) {
                    mixing.mixer.hush(theirs);
                }
            }
            Machine::Switch(switching) => {
                let Switching {
                    switch, seating, ..
                } = &mut **switching;
                let egress = &mut self.egress;
                if let Some((theirs, place)) = seating.theirs(seat).zip(place) {
                    let direction = Direction {
                        may_send: place.may_send && holds,
                        may_receive: place.may_receive,
                    };
                    let out = &mut Seated { egress, seating };
                    switch.set_direction(theirs, direction, now, out);
                }
            }
        }
    }

    /// A member is about to lose its seat.
    pub(super) fn remove(&mut self, now: Instant, seat: u32) {
        self.say_bye(now, seat);
        match &mut self.machine {
            Machine::Forward(forward) => forward.remove(seat as usize),
            Machine::Chat(_) | Machine::Outpost(_) => {}
            Machine::Floors(room) => {
                if let Some(Some(seat)) = self.egress.seats.get(seat as usize) {
                    room.floors.leave(seat.member, now);
                }
            }
            Machine::Mix(mixing) => {
                if let Some(theirs) = mixing.seating.remove(seat) {
                    mixing.mixer.remove(theirs);
                }
                mixing.told.take_if(|told| *told == seat);
            }
            Machine::Switch(switching) => {
                let Switching {
                    switch, seating, ..
                } = &mut **switching;
                let egress = &mut self.egress;
                if let Some(theirs) = seating.theirs(seat) {
                    switch.remove(theirs, now, &mut Seated { egress, seating });
                }
                seating.remove(seat);
            }
        }
    }

    /// Takes a member's RTP, which has passed the gate.
    pub(super) fn rtp(&mut self, now: Instant, seat: u32, frame: &Frame) -> Result<(), DropReason> {
        let egress = &mut self.egress;
        match &mut self.machine {
            Machine::Forward(forward) => {
                let turn = forward.receive(now, seat as usize, egress.pool.bytes(frame))?;
                for to in 0..egress.seats.len() {
                    if let Some(fields) = forward.head_for(to, &turn) {
                        egress.copy(to, frame, &fields);
                    }
                }
                Ok(())
            }
            Machine::Chat(_) | Machine::Floors(_) => Err(DropReason::NotRtp),
            Machine::Outpost(road) => {
                egress.post_home(*road, seat, Component::Rtp, frame);
                Ok(())
            }
            Machine::Mix(mixing) => {
                let Mixing { mixer, seating, .. } = &mut **mixing;
                let theirs = seating.theirs(seat).ok_or(DropReason::NoLeg)?;
                let packet = self.desk.lay(egress.pool.bytes(frame));
                let mut out = |to: crate::proto::mix::Seat, head: &[u8], body: &[u8]| {
                    egress.rtp(seating.ours(to.index()), head, body);
                };
                let taken = mixer.receive(now, theirs, packet, &mut out);
                taken.map_err(reason)
            }
            Machine::Switch(switching) => {
                let Switching {
                    switch, seating, ..
                } = &mut **switching;
                let theirs = seating.theirs(seat).ok_or(DropReason::NoLeg)?;
                let packet = self.desk.lay(egress.pool.bytes(frame));
                switch.receive(theirs, packet, now, &mut Seated { egress, seating })
            }
        }
    }

    /// Takes a member's RTCP.
    pub(super) fn rtcp(&mut self, now: Instant, seat: u32, frame: &Frame) {
        match &mut self.machine {
            Machine::Forward(_) | Machine::Mix(_) => self.take_reports(now, seat, frame),
            Machine::Chat(_) | Machine::Floors(_) => {}
            Machine::Outpost(road) => {
                self.egress.post_home(*road, seat, Component::Rtcp, frame);
            }
            Machine::Switch(switching) => {
                let Switching {
                    switch, seating, ..
                } = &mut **switching;
                if let Some(theirs) = seating.theirs(seat) {
                    let egress = &mut self.egress;
                    let packet = self.desk.lay(egress.pool.bytes(frame));
                    switch.receive_rtcp(theirs, packet, now, &mut Seated { egress, seating });
                }
            }
        }
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let egress = &mut self.egress;
        match &mut self.machine {
            Machine::Forward(_) | Machine::Chat(_) | Machine::Outpost(_) => {}
            Machine::Floors(room) => room.floors.handle_timeout(now),
            Machine::Mix(mixing) => {
                let Mixing { mixer, seating, .. } = &mut **mixing;
                let scratch = self.desk.scratch.get_or_insert_default();
                mixer.tick(now, scratch, &mut |to, head, body| {
                    egress.rtp(seating.ours(to.index()), head, body);
                });
            }
            Machine::Switch(switching) => {
                let Switching {
                    switch, seating, ..
                } = &mut **switching;
                switch.handle_timeout(now, &mut Seated { egress, seating });
            }
        }
    }

    /// When something is due; nothing in a room that is idle.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        match &self.machine {
            Machine::Forward(_) | Machine::Chat(_) | Machine::Outpost(_) => None,
            Machine::Floors(room) => room.poll_timeout(now),
            Machine::Mix(mixing) => mixing.mixer.poll_timeout(),
            Machine::Switch(switching) => switching.switch.poll_timeout(now),
        }
    }

    /// Shows who speaks.
    pub(super) fn show(&mut self, now: Instant, speaker: u32) {
        if let Machine::Switch(switching) = &mut self.machine {
            let Switching {
                switch, seating, ..
            } = &mut **switching;
            let egress = &mut self.egress;
            if let Some(theirs) = seating.theirs(speaker) {
                switch.set_speaker(Some(theirs), now, &mut Seated { egress, seating });
            }
        }
    }
}

impl Bench {
    /// Copies a packet out of the pool.
    pub(super) fn lay(&mut self, packet: &[u8]) -> &[u8] {
        self.packet.clear();
        self.packet.reserve(DATAGRAM_FRAME_BYTES);
        self.packet.extend_from_slice(packet);
        &self.packet
    }
}

fn reason(refused: Refused) -> DropReason {
    match refused {
        Refused::NotRtp => DropReason::NotRtp,
        Refused::Direction => DropReason::Direction,
        Refused::Format => DropReason::Format,
        Refused::Late | Refused::Duplicate => DropReason::Stale,
    }
}
