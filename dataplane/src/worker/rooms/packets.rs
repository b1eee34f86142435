//! The way of a member's packet through its room.
//!
//! ```text
//! ToRoom ─▶ gate: direction, floor ─▶ machine ─▶ a frame for each who gets it ─▶ TxItems
//! ```

use std::time::{Duration, Instant};

use crate::net::Backend;
use crate::pipeline::{Place, ToRoom};
use crate::session::{MemberLeg, Out};
use crate::stats::DropReason;
use crate::wire::rtp::Packet;

use super::super::Worker;

impl<B: Backend> Worker<B> {
    /// Takes a datagram of a member, which has waited for so long.
    pub(in super::super) fn room_received(&mut self, at: (Instant, Duration), input: ToRoom) {
        let (now, waited) = at;
        // A clock that was set back doesn't say that it came in the future, nor long ago.
        let arrived = now.checked_sub(waited.min(WAITED_MAX)).unwrap_or(now);
        let ToRoom {
            place,
            packet,
            frame,
        } = input;
        let Place {
            room: room_ref,
            seat,
            ..
        } = place;
        let done = self.gate(now, place, &packet).and_then(|()| {
            let mut open = self.open(now, room_ref).ok_or(DropReason::NoLeg)?;
            if packet == Packet::Rtcp {
                open.rtcp(now, seat, &frame);
                Ok(())
            } else {
                open.rtp(arrived, seat, &frame)
            }
        });
        if done.is_ok() && packet != Packet::Rtcp {
            self.note_reception(arrived, (room_ref, seat), &frame);
        }
        self.pool.give(frame);
        if let Err(why) = done {
            self.stats.drop(why);
            self.count_drop_of(place);
        }
        self.look_after(now, room_ref);
    }

    /// Whether a member's packet is taken.
    fn gate(&mut self, now: Instant, place: Place, packet: &Packet) -> Result<(), DropReason> {
        let room = self.rooms.find_mut(place.room).ok_or(DropReason::NoLeg)?;
        if let Some(seat) = room.seat_mut(place.seat) {
            // A far end behind NAT is somewhere else once it was heard.
            seat.out = place.out.map_or(seat.out, Out::Here);
        }
        match packet {
            Packet::Rtp(_) => {
                room.gate(place.seat)?;
                if room.floor.is_some()
                    && let Some(seat) = room.seat_mut(place.seat)
                {
                    seat.heard = Some(now);
                }
                Ok(())
            }
            Packet::Rtcp => Ok(()),
            // Keys would be agreed on with the room itself, which has none.
            Packet::Dtls => Err(DropReason::NotRtp),
        }
    }

    fn count_drop_of(&mut self, place: Place) {
        let stream = self.streams.find_mut(place.slot);
        let member = stream.and_then(|stream| stream.member_mut());
        match member.map(|member| &mut member.leg) {
            Some(MemberLeg::Rtp(leg)) => leg.count_drop(),
            Some(MemberLeg::Away(leg)) => leg.count_drop(),
            Some(MemberLeg::Msrp(_) | MemberLeg::Bfcp(_)) | None => {}
        }
    }
}

/// Rooms that gather look into their members' sockets every 20 ms.
const WAITED_MAX: Duration = Duration::from_millis(100);
