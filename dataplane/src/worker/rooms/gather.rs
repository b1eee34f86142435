//! What comes to members of a mixed room is of no use before its next tick: while its clock runs it
//! lies in their sockets, and nobody is woken for each packet. The tick looks into all of them first;
//! when a packet came is said by the kernel, so that jitter is what it was.
//!
//! Rooms that pass packets as they come, and those that a floor gates, don't gather.

use std::time::Instant;

use crate::limits::RX_BATCH;
use crate::net::{Backend, SocketId};
use crate::session::{Machine, Out, RoomRef};

use super::super::Worker;
use super::machines::Open;

impl<B: Backend> Open<'_, B> {
    /// Whether what comes can wait for the room's next tick.
    pub(super) fn gathers(&self) -> bool {
        match &self.machine {
            Machine::Mix(mixing) => mixing.mixer.takes_its_time(),
            Machine::Forward(_)
            | Machine::Switch(_)
            | Machine::Chat(_)
            | Machine::Floors(_)
            | Machine::Outpost(_) => false,
        }
    }
}

impl<B: Backend> Worker<B> {
    /// Lets a room's members gather, or not any more.
    pub(super) fn gather(&mut self, room_ref: RoomRef, on: bool) {
        let Some(room) = self.rooms.find_mut(room_ref) else {
            return;
        };
        // A packet counts for who has the floor when it comes.
        let on = on && room.floor.is_none();
        if room.gathers == on && room.all_gather == on {
            return;
        }
        (room.gathers, room.all_gather) = (on, on);
        let (_, seats) = room.parts_mut();
        for seat in seats.iter_mut().flatten() {
            let rtp = match seat.out {
                Out::Here([rtp, _]) => rtp,
                Out::Away(_) => None,
            };
            match (seat.gathers, rtp) {
                (None, Some(way)) if on => {
                    seat.gathers = Some(way.socket);
                    self.backend.gather(SocketId(way.socket.0), true);
                }
                (Some(socket), _) if !on => {
                    seat.gathers = None;
                    self.backend.gather(SocketId(socket.0), false);
                }
                _ => {}
            }
        }
    }

    /// A member is connected anew, or leaves; one that stays gathers again with the others.
    pub(super) fn stop_gathering(&mut self, room_ref: RoomRef, index: u32) {
        let Some(room) = self.rooms.find_mut(room_ref) else {
            return;
        };
        room.all_gather = false;
        if let Some(socket) = room.seat_mut(index).and_then(|seat| seat.gathers.take()) {
            self.backend.gather(SocketId(socket.0), false);
        }
    }

    /// Takes what lies in the sockets of rooms that are due.
    pub(super) fn collect_for_rooms(&mut self, now: Instant) {
        let mut due = std::mem::take(&mut self.ticks.desk.collected);
        self.ticks.due(now, &mut due);
        let mut sockets = 0_usize;
        for (_, room_ref) in &due {
            let room = self.rooms.find_mut(*room_ref);
            let Some(room) = room.filter(|room| room.gathers) else {
                continue;
            };
            let (_, seats) = room.parts_mut();
            for socket in seats.iter().flatten().filter_map(|seat| seat.gathers) {
                self.backend.collect(SocketId(socket.0));
                sockets += 1;
            }
        }
        self.ticks.desk.collected = due;
        for _ in 0..sockets.div_ceil(RX_BATCH) {
            self.receive(now);
            self.flush();
        }
        if sockets > 0 {
            self.hold_back(now);
        }
    }
}
