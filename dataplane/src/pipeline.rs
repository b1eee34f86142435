//! The packet path on one screen: parse, look up, rewrite, egress.
//!
//! ```text
//! RxItem ─▶ whose is it? ─▶ Datagram ─▶ leg.receive ─▶ leg.route ─▶ TxItem
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
use crate::session::{Connection, Mark, Media, Owner, Phase, SlotRef, Streams, pair_mut};
use crate::stats::{DropReason, Stats};

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

impl Path<'_> {
    /// Relays a datagram, or drops and counts it.
    pub fn datagram(&mut self, token: Token, from: SocketAddr, frame: Frame) {
        self.stats.datagrams_in += 1;
        self.stats.datagram_bytes_in += frame.len() as u64;
        match self.route(token, from, &frame) {
            Ok((socket, to)) => {
                self.stats.datagrams_out += 1;
                self.stats.datagram_bytes_out += frame.len() as u64;
                self.tx.items.push(TxItem::Datagram { socket, to, frame });
            }
            Err(why) => self.discard(frame, why),
        }
    }

    fn route(
        &mut self,
        token: Token,
        from: SocketAddr,
        frame: &Frame,
    ) -> Result<(SocketId, SocketAddr), DropReason> {
        let (slot, side, component) = rtp_owner(token).ok_or(DropReason::NoLeg)?;
        let stream = self.streams.find_mut(slot).ok_or(DropReason::NoLeg)?;
        let Media::Rtp(legs) = &mut stream.media else {
            return Err(DropReason::NoLeg);
        };
        let (leg, other) = pair_mut(legs, side);
        let bytes = self.pool.bytes(frame);
        let send = leg
            .receive(self.now, component, from, bytes)
            .and_then(|packet| leg.route(component, &packet, other))
            .inspect_err(|_| leg.count_drop())?;
        Ok((SocketId(send.socket.0), send.to))
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
        | Owner::Closing(_) => None,
    }
}
