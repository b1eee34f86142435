//! The packet path on one screen: parse, look up, rewrite, egress.
//!
//! ```text
//! RxItem ─▶ whose is it? ─▶ Datagram ─▶ leg.receive ─▶ leg.route ─▶ TxItem
//!                        │                └▶ a member's: room, gate, its machine ─▶ TxItems
//!                        ├▶ Bytes    ─▶ the other leg's connection ─▶ TxItem
//!                        └▶ the rest is news of a connection, for the worker
//! ```
//!
//! No lock, no allocation, no text, no clock; a packet that doesn't pass is counted.

use std::net::SocketAddr;
use std::time::Instant;

use crate::api::{Component, Side};
use crate::frame::{Frame, Pool};
use crate::net::{SocketId, Token, TxBatch, TxItem};
use crate::session::{
    Connection, Mark, Media, Owner, Phase, RoomRef, SlotRef, Streams, WayOut, pair_mut,
};
use crate::stats::{DropReason, Stats};
use crate::wire::rtp::Packet;

/// What a packet meets on its way.
pub struct Path<'a> {
    /// The time of this cycle.
    pub now: Instant,
    /// Where legs are looked up.
    pub streams: &'a mut Streams,
    /// Where bytes are.
    pub pool: &'a mut Pool,
    /// Where it leaves.
    pub tx: &'a mut TxBatch,
    /// Where it is counted.
    pub stats: &'a mut Stats,
}

/// What became of bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// They are on their way to the other side's connection, whose queue may be long now.
    On(SlotRef, Side),
    /// They wait for the other side, so this one must not be read.
    Held(SlotRef, Side),
    /// They don't fit what may wait: this side's connection has to end.
    Overrun(SlotRef, Side),
    /// They were dropped.
    Dropped,
}

/// A datagram of a member of a room.
#[derive(Debug)]
pub struct ToRoom {
    /// Whose.
    pub place: Place,
    /// What it is.
    pub packet: Packet,
    /// Its bytes.
    pub frame: Frame,
}

/// Where a member is.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Its leg.
    pub slot: SlotRef,
    /// Its room.
    pub room: RoomRef,
    /// Its seat there.
    pub seat: u32,
    /// Where RTP and RTCP for it go now that it was heard; `None`: its leg is at an outpost.
    pub out: Option<[Option<WayOut>; 2]>,
}

impl Path<'_> {
    /// Relays a datagram, or drops and counts it; one of a group session's member is its room's.
    pub fn datagram(&mut self, token: Token, from: SocketAddr, frame: Frame) -> Option<ToRoom> {
        self.stats.datagrams_in += 1;
        self.stats.datagram_bytes_in += frame.len() as u64;
        match self.route(token, from, &frame) {
            Ok(Some(WayOut { socket, to })) => {
                self.stats.datagrams_out += 1;
                self.stats.datagram_bytes_out += frame.len() as u64;
                let socket = SocketId(socket.0);
                self.tx.items.push(TxItem::Datagram { socket, to, frame });
                None
            }
            Ok(None) => match self.enter(token, from, &frame) {
                Ok((place, packet)) => Some(ToRoom {
                    place,
                    packet,
                    frame,
                }),
                Err(why) => self.refuse(frame, why),
            },
            Err(why) => self.refuse(frame, why),
        }
    }

    /// Where a datagram of two legs goes; `None`: a room's business, which has so much to say of it
    /// that two legs' packets had better not carry that along.
    fn route(
        &mut self,
        token: Token,
        from: SocketAddr,
        frame: &Frame,
    ) -> Result<Option<WayOut>, DropReason> {
        let (slot, side, component) = rtp_owner(token).ok_or(DropReason::NoLeg)?;
        let stream = self.streams.find_mut(slot).ok_or(DropReason::NoLeg)?;
        match &mut stream.media {
            Media::Rtp(legs) => {
                let (leg, other) = pair_mut(legs, side);
                leg.receive(self.now, component, from, self.pool.bytes(frame))
                    .and_then(|packet| leg.route(component, &packet, other))
                    .inspect_err(|_| leg.count_drop())
                    .map(Some)
            }
            Media::Member(_) => Ok(None),
            Media::Bytes(_) | Media::Msrp(_) | Media::Room(_) => Err(DropReason::NoLeg),
        }
    }

    /// Takes a datagram of a member.
    fn enter(
        &mut self,
        token: Token,
        from: SocketAddr,
        frame: &Frame,
    ) -> Result<(Place, Packet), DropReason> {
        let (slot, _, component) = rtp_owner(token).ok_or(DropReason::NoLeg)?;
        let stream = self.streams.find_mut(slot);
        let member = stream.and_then(|stream| stream.member_mut());
        let member = member.ok_or(DropReason::NoLeg)?;
        let (room, seat) = member.place.ok_or(DropReason::Frozen)?;
        let leg = member.rtp_mut().ok_or(DropReason::NoLeg)?;
        let packet = leg
            .receive(self.now, component, from, self.pool.bytes(frame))
            .inspect_err(|_| leg.count_drop())?;
        let out = Some(leg.ways());
        let place = Place {
            slot,
            room,
            seat,
            out,
        };
        Ok((place, packet))
    }

    /// Passes bytes of a connection on to the other side's, unchanged and not copied.
    pub fn splice(&mut self, slot: SlotRef, side: Side, frame: Frame) -> Passed {
        let Some(stream) = self.streams.find_mut(slot) else {
            self.discard(frame, DropReason::NoLeg);
            return Passed::Dropped;
        };
        let phase = stream.phase;
        let Some((leg, other)) = stream.bytes_mut(side) else {
            self.discard(frame, DropReason::NoLeg);
            return Passed::Dropped;
        };
        leg.bytes += frame.len() as u64;
        self.stats.stream_bytes_in += frame.len() as u64;
        match (phase, other.connection) {
            (Phase::Frozen, _) => {
                leg.dropped += 1;
                self.discard(frame, DropReason::Frozen);
                Passed::Dropped
            }
            (Phase::Open, Connection::Open { socket, .. }) if !leg.holds() => {
                let socket = SocketId(socket.0);
                self.stats.stream_bytes_out += frame.len() as u64;
                self.tx.items.push(TxItem::Bytes { socket, frame });
                Passed::On(slot, side.other())
            }
            (Phase::Open, _) => match leg.hold(frame) {
                Ok(()) => Passed::Held(slot, side),
                Err(frame) => {
                    leg.dropped += 1;
                    self.discard(frame, DropReason::NoRemote);
                    Passed::Overrun(slot, side)
                }
            },
        }
    }

    fn refuse(&mut self, frame: Frame, why: DropReason) -> Option<ToRoom> {
        self.discard(frame, why);
        None
    }

    fn discard(&mut self, frame: Frame, why: DropReason) {
        self.stats.drop(why);
        self.pool.give(frame);
    }
}

fn rtp_owner(token: Token) -> Option<(SlotRef, Side, Component)> {
    match Mark(token.0).owner()? {
        Owner::Rtp(slot, side, component) => Some((slot, side, component)),
        Owner::BytesListener(..)
        | Owner::BytesConnection(..)
        | Owner::MsrpListener(_)
        | Owner::MsrpConnection(_)
        | Owner::Bfcp(_)
        | Owner::BfcpListener(_)
        | Owner::BfcpConnection(_)
        | Owner::Closing(_) => None,
    }
}
