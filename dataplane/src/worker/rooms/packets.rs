//! The way of a member's packet through its room.
//!
//! ```text
//! ToRoom ─▶ gate: direction, floor ─▶ machine ─▶ a frame for each who gets it ─▶ TxItems
//! ```

use std::time::Instant;

use crate::frame::{Class, Frame, Pool};
use crate::limits::TX_BATCH;
use crate::net::{Backend, SocketId, TxBatch, TxItem};
use crate::pipeline::{Place, ToRoom};
use crate::session::{Machine, Seat, WayOut};
use crate::stats::{DropReason, Stats};
use crate::wire::rewrite::Fields;
use crate::wire::rtp::Packet;

use super::super::Worker;

impl<B: Backend> Worker<B> {
    /// Takes a datagram of a member.
    pub(in super::super) fn room_received(&mut self, now: Instant, input: ToRoom) {
        let ToRoom {
            place,
            packet,
            frame,
        } = input;
        let room = self.rooms.find_mut(place.room);
        if let Some(seat) = room.and_then(|room| room.seat_mut(place.seat)) {
            // A far end behind NAT is somewhere else once it was heard.
            seat.out = place.out;
        }
        let done = match packet {
            Packet::Rtp(_) => self.room_rtp(now, place, &frame),
            // A room ends each member's RTCP: what it reports is of the relay's own streams.
            Packet::Rtcp => Ok(()),
            // Keys that are agreed on with the room itself are none of a forwarded room's.
            Packet::Dtls => Err(DropReason::NotRtp),
        };
        self.pool.give(frame);
        if let Err(why) = done {
            self.stats.drop(why);
            self.count_drop_of(place);
        }
    }

    fn room_rtp(&mut self, now: Instant, place: Place, frame: &Frame) -> Result<(), DropReason> {
        let room = self.rooms.find_mut(place.room).ok_or(DropReason::NoLeg)?;
        room.gate(place.seat)?;
        let index = place.seat as usize;
        let (machine, seats) = room.parts_mut();
        match machine {
            Machine::Forward(forward) => {
                let turn = forward.receive(now, index, self.pool.bytes(frame))?;
                let mut egress = Egress {
                    backend: &mut self.backend,
                    pool: &mut self.pool,
                    tx: &mut self.tx,
                    stats: &mut self.stats,
                };
                for (at, seat) in seats.iter_mut().enumerate() {
                    let Some(seat) = seat else { continue };
                    if let Some(fields) = forward.head_for(at, &turn) {
                        egress.send_to(seat, frame, &fields);
                    }
                }
                Ok(())
            }
        }
    }

    fn count_drop_of(&mut self, place: Place) {
        let stream = self.streams.find_mut(place.slot);
        let member = stream.and_then(|stream| stream.member_mut());
        if let Some(leg) = member.and_then(|member| member.rtp_mut()) {
            leg.count_drop();
        }
    }
}

/// Where packets of a room leave.
struct Egress<'a, B: Backend> {
    backend: &'a mut B,
    pool: &'a mut Pool,
    tx: &'a mut TxBatch,
    stats: &'a mut Stats,
}

impl<B: Backend> Egress<'_, B> {
    /// Sends a member a copy of a packet with a header of its own.
    fn send_to(&mut self, seat: &mut Seat, packet: &Frame, fields: &Fields) {
        let [Some(WayOut { socket, to }), _] = seat.out else {
            self.stats.drop(DropReason::NoRemote);
            return;
        };
        let Some(mut frame) = self.frame() else {
            self.stats.drop(DropReason::PoolFull);
            return;
        };
        self.pool.join(&mut frame, packet);
        fields.write(self.pool.bytes_mut(&frame));
        seat.sent += 1;
        self.stats.datagrams_out += 1;
        self.stats.datagram_bytes_out += frame.len() as u64;
        let socket = SocketId(socket.0);
        self.tx.items.push(TxItem::Datagram { socket, to, frame });
        if self.tx.items.len() >= TX_BATCH {
            self.backend.send(self.tx, self.pool);
        }
    }

    /// A frame to be sent; those that wait to be are sent first where no other is free.
    fn frame(&mut self) -> Option<Frame> {
        if let Some(frame) = self.pool.take(Class::Datagram) {
            return Some(frame);
        }
        self.backend.send(self.tx, self.pool);
        let frame = self.pool.take(Class::Datagram);
        self.stats.full_pool += u64::from(frame.is_none());
        frame
    }
}
