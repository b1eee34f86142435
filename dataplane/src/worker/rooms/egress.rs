//! Where packets of a room leave: a frame for each, from its member's socket.

use std::time::Instant;

use crate::frame::{Class, Frame, Pool};
use crate::limits::TX_BATCH;
use crate::net::{Backend, SocketId, TxBatch, TxItem};
use crate::proto::switch;
use crate::session::{Seat, Seating, WayOut};
use crate::stats::{DropReason, Stats};
use crate::wire::rewrite::Fields;

/// A room's members, and what is needed to send to them.
pub(super) struct Egress<'a, B: Backend> {
    pub(super) backend: &'a mut B,
    pub(super) pool: &'a mut Pool,
    pub(super) tx: &'a mut TxBatch,
    pub(super) stats: &'a mut Stats,
    pub(super) seats: &'a mut [Option<Seat>],
    pub(super) now: Instant,
    /// Members who are due a report.
    pub(super) due: &'a mut Vec<u32>,
}

/// RTP or RTCP of a member.
#[derive(Clone, Copy)]
enum Way {
    Rtp,
    Rtcp,
}

impl<B: Backend> Egress<'_, B> {
    /// Sends a member a copy of a packet with a header of its own.
    pub(super) fn copy(&mut self, to: usize, packet: &Frame, fields: &Fields) {
        if let Some(way) = self.way(to, Way::Rtp, packet.len().saturating_sub(HEADER_BYTES))
            && let Some(mut frame) = self.frame()
        {
            self.pool.join(&mut frame, packet);
            fields.write(self.pool.bytes_mut(&frame));
            self.send(way, frame);
        }
    }

    /// Sends a member a packet of RTP in two pieces.
    pub(super) fn rtp(&mut self, to: Option<u32>, head: &[u8], body: &[u8]) {
        self.pieces(to, Way::Rtp, [head, body]);
    }

    /// Sends a member a packet of RTCP.
    pub(super) fn rtcp(&mut self, to: Option<u32>, packet: &[u8]) {
        if packet.is_empty() {
            return;
        }
        self.pieces(to, Way::Rtcp, [packet, &[]]);
    }

    fn pieces(&mut self, to: Option<u32>, kind: Way, pieces: [&[u8]; 2]) {
        let Some(to) = to else { return };
        let [_, body] = pieces.map(<[u8]>::len);
        if let Some(way) = self.way(to as usize, kind, body)
            && let Some(mut frame) = self.frame()
        {
            for piece in pieces {
                self.pool.append(&mut frame, piece);
            }
            self.send(way, frame);
        }
    }

    /// Where a packet goes to a member, who is sent it from now on.
    fn way(&mut self, to: usize, kind: Way, payload: usize) -> Option<WayOut> {
        let seat = self.seats.get_mut(to)?.as_mut()?;
        let [rtp, rtcp] = seat.out;
        let way = match kind {
            Way::Rtp => rtp,
            Way::Rtcp => rtcp,
        };
        match (way, kind) {
            (None, _) => self.stats.drop(DropReason::NoRemote),
            (Some(_), Way::Rtp) => {
                seat.sent += 1;
                seat.octets += payload as u64;
                if seat.is_due(self.now) {
                    self.due.extend(u32::try_from(to));
                }
            }
            (Some(_), Way::Rtcp) => {}
        }
        way
    }

    /// A frame to be sent; those that wait to be are sent first where no other is free.
    fn frame(&mut self) -> Option<Frame> {
        if let Some(frame) = self.pool.take(Class::Datagram) {
            return Some(frame);
        }
        self.backend.send(self.tx, self.pool);
        let frame = self.pool.take(Class::Datagram);
        if frame.is_none() {
            self.stats.full_pool += 1;
            self.stats.drop(DropReason::PoolFull);
        }
        frame
    }

    fn send(&mut self, way: WayOut, frame: Frame) {
        self.stats.datagrams_out += 1;
        self.stats.datagram_bytes_out += frame.len() as u64;
        let WayOut { socket, to } = way;
        let socket = SocketId(socket.0);
        self.tx.items.push(TxItem::Datagram { socket, to, frame });
        if self.tx.items.len() >= TX_BATCH {
            self.backend.send(self.tx, self.pool);
        }
    }
}

const HEADER_BYTES: usize = 12;

/// An outlet for a machine that numbers its seats itself.
pub(super) struct Seated<'a, 'b, B: Backend> {
    pub(super) egress: &'b mut Egress<'a, B>,
    pub(super) seating: &'b Seating<switch::Seat>,
}

impl<B: Backend> switch::Outlet for Seated<'_, '_, B> {
    fn rtp(&mut self, to: switch::Seat, head: &[u8], body: &[u8]) {
        self.egress.rtp(self.seating.ours(to.index()), head, body);
    }

    fn rtcp(&mut self, to: switch::Seat, packet: &[u8]) {
        self.egress.rtcp(self.seating.ours(to.index()), packet);
    }
}
