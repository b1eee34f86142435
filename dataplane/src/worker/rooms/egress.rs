//! Where packets of a room leave: a frame for each, from its member's socket.

use std::time::Instant;

use crate::api::{Component, Letter, MemberId, StreamId};
use crate::frame::{Class, Frame, Pool};
use crate::limits::TX_BATCH;
use crate::net::{Backend, SocketId, TxBatch, TxItem};
use crate::proto::switch;
use crate::session::{Out, RoadRef, Roads, Seat, Seating, WayOut};
use crate::stats::{DropReason, Stats};
use crate::wire::rewrite::Fields;

/// A room's members, and what is needed to send to them.
pub(super) struct Egress<'a, B: Backend> {
    pub(super) backend: &'a mut B,
    pub(super) pool: &'a mut Pool,
    pub(super) tx: &'a mut TxBatch,
    pub(super) stats: &'a mut Stats,
    pub(super) seats: &'a mut [Option<Seat>],
    pub(super) roads: &'a mut Roads,
    pub(super) stream: StreamId,
    pub(super) now: Instant,
    /// Members who are due a report.
    pub(super) due: &'a mut Vec<u32>,
}

/// Which way a packet goes to a member.
enum Way {
    Here(WayOut),
    Away(RoadRef, MemberId),
}

impl<B: Backend> Egress<'_, B> {
    /// Sends a member a copy of a packet with a header of its own.
    pub(super) fn copy(&mut self, to: usize, packet: &Frame, fields: &Fields) {
        let payload = packet.len().saturating_sub(HEADER_BYTES);
        match self.way(to, Component::Rtp, payload) {
            Some(Way::Here(way)) => {
                if let Some(mut frame) = self.frame() {
                    self.pool.join(&mut frame, packet);
                    fields.write(self.pool.bytes_mut(&frame));
                    self.send(way, frame);
                }
            }
            Some(Way::Away(road, member)) => {
                let bytes = self.pool.bytes(packet);
                let Some((head, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
                    return;
                };
                let mut head = *head;
                fields.write(&mut head);
                let letter = Letter {
                    stream: self.stream,
                    member,
                    part: Component::Rtp,
                    head: &head,
                    body,
                };
                post(self.roads, self.stats, road, &letter);
            }
            None => {}
        }
    }

    /// Posts what a member of this outpost sent to its room.
    pub(super) fn post_home(&mut self, road: RoadRef, from: u32, part: Component, packet: &Frame) {
        if let Some(Some(seat)) = self.seats.get(from as usize) {
            let letter = Letter {
                stream: self.stream,
                member: seat.member,
                part,
                head: self.pool.bytes(packet),
                body: &[],
            };
            post(self.roads, self.stats, road, &letter);
        }
    }

    /// Sends a member of this outpost what its room has for it.
    pub(super) fn deliver(&mut self, to: u32, letter: &Letter<'_>) {
        self.pieces(Some(to), letter.part, [letter.head, letter.body]);
    }

    /// Sends a member a packet of RTP in two pieces.
    pub(super) fn rtp(&mut self, to: Option<u32>, head: &[u8], body: &[u8]) {
        self.pieces(to, Component::Rtp, [head, body]);
    }

    /// Sends a member a packet of RTCP.
    pub(super) fn rtcp(&mut self, to: Option<u32>, packet: &[u8]) {
        if packet.is_empty() {
            return;
        }
        self.pieces(to, Component::Rtcp, [packet, &[]]);
    }

    fn pieces(&mut self, to: Option<u32>, part: Component, pieces: [&[u8]; 2]) {
        let Some(to) = to else { return };
        let [_, body] = pieces.map(<[u8]>::len);
        match self.way(to as usize, part, body) {
            Some(Way::Here(way)) => {
                if let Some(mut frame) = self.frame() {
                    for piece in pieces {
                        self.pool.append(&mut frame, piece);
                    }
                    self.send(way, frame);
                }
            }
            Some(Way::Away(road, member)) => {
                let [head, body] = pieces;
                let letter = Letter {
                    stream: self.stream,
                    member,
                    part,
                    head,
                    body,
                };
                post(self.roads, self.stats, road, &letter);
            }
            None => {}
        }
    }

    /// Where a packet goes to a member, who is sent it from now on.
    fn way(&mut self, to: usize, part: Component, payload: usize) -> Option<Way> {
        let seat = self.seats.get_mut(to)?.as_mut()?;
        let way = match (seat.out, part) {
            (Out::Away(road), _) => Some(Way::Away(road, seat.member)),
            (Out::Here([rtp, _]), Component::Rtp) => rtp.map(Way::Here),
            (Out::Here([_, rtcp]), Component::Rtcp) => rtcp.map(Way::Here),
        };
        match (&way, part) {
            (None, _) => self.stats.drop(DropReason::NoRemote),
            (Some(_), Component::Rtp) => {
                seat.sent += 1;
                seat.octets += payload as u64;
                if seat.is_due(self.now) {
                    self.due.extend(u32::try_from(to));
                }
            }
            (Some(_), Component::Rtcp) => {}
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

/// Posts a letter, or counts that there was no room for it.
fn post(roads: &mut Roads, stats: &mut Stats, road: RoadRef, letter: &Letter<'_>) {
    let posted = roads
        .road_mut(road)
        .is_some_and(|road| road.end.post(letter));
    if !posted {
        stats.drop(DropReason::RoadFull);
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
