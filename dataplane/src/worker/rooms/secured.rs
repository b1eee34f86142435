//! Floor control over TLS (RFC 8855 §7, RFC 8856 `TCP/TLS/BFCP`): the layer of a member's connection.
//!
//! ```text
//! accepted, made ─▶ Securing ──done, and the certificate is the announced one──▶ Open
//!                      └─ failed, 10 s, another certificate ──▶ closed, and the member is lost
//! ```
//!
//! TLS begins when the far end is known: before that, what comes is kept, as there is nothing to
//! hold its certificate against.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::api::MsrpTransport;
use crate::frame::{Class, Frame};
use crate::limits::{HANDSHAKE_MS, STREAM_FRAME_BYTES};
use crate::net::{Backend, SocketId, TxItem};
use crate::proto::floor::Verdict;
use crate::proto::layer::{Failure, Stage};
use crate::session::{Line, Machine, MemberLeg, RoomRef, SlotRef, Socket};
use crate::stats::DropReason;

use super::super::Worker;
use super::super::layer::Layer;

/// What is done with octets of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// They are kept.
    Later,
    /// They are a handshake's.
    Handshake,
    /// They hold messages.
    Open,
}

impl<B: Backend> Worker<B> {
    /// A connection that is to be secured is there.
    ///
    /// RFC 8855 §7: who answered the description is TLS's server, whoever made the connection.
    pub(super) fn secure_bfcp(
        &mut self,
        now: Instant,
        slot: SlotRef,
        (socket, peer): (Socket, SocketAddr),
    ) {
        let Some((place, leg)) = self.bfcp_leg(slot) else {
            return;
        };
        let until = now + Duration::from_millis(HANDSHAKE_MS);
        leg.line = Line::Securing {
            socket,
            peer,
            until,
        };
        let is_client = leg.spec().is_offerer;
        let kit = &self.msrp.conns.kit;
        let layer = if is_client {
            Layer::connect(MsrpTransport::Tls, ("", peer.ip()), kit)
        } else {
            Layer::accept(MsrpTransport::Tls, kit)
        };
        let (Some((room, _)), Some(Layer::Tls(session))) = (place, layer) else {
            self.bfcp_lost(now, slot);
            return;
        };
        if let Some((_, leg)) = self.bfcp_leg(slot) {
            leg.tls = Some(session);
        }
        if let Some(Machine::Floors(floors)) =
            self.rooms.find_mut(room).map(|room| &mut room.machine)
        {
            floors.secure_by.get_or_insert(until);
        }
        self.sealed_bfcp(now, slot, None);
        self.look_after(now, room);
    }

    /// Octets of TLS came, or it is their turn.
    pub(in super::super) fn sealed_bfcp(
        &mut self,
        now: Instant,
        slot: SlotRef,
        frame: Option<Frame>,
    ) {
        let turn = self.bfcp_turn(slot);
        let session = self.bfcp_leg(slot).and_then(|(_, leg)| leg.tls.take());
        let Some(session) = session else {
            if let Some(frame) = frame {
                self.pool.give(frame);
            }
            return;
        };
        let octets = frame.as_ref().map(|frame| self.pool.bytes(frame));
        let octets = octets.unwrap_or_default();
        let (mut layer, kit) = (Layer::Tls(session), &mut self.msrp.conns.kit);
        let stage = match turn {
            Turn::Later => layer.keep(octets, kit).map(|_| Stage::Handshaking),
            Turn::Handshake | Turn::Open => layer.receive(octets, kit),
        };
        if let Some(frame) = frame {
            self.pool.give(frame);
        }
        if let (Some((_, leg)), Layer::Tls(session)) = (self.bfcp_leg(slot), layer) {
            leg.tls = Some(session);
        }
        if turn != Turn::Later {
            self.write_bfcp_wire(slot);
        }
        self.follow_bfcp_stage(now, slot, (stage, turn != Turn::Open));
    }

    /// What is to be done with what came now; a handshake's step takes its place among all of this
    /// cycle's.
    fn bfcp_turn(&mut self, slot: SlotRef) -> Turn {
        let is_busy = self.msrp.handshakes.is_busy();
        let Some((_, leg)) = self.bfcp_leg(slot) else {
            return Turn::Open;
        };
        let is_new = matches!(leg.line, Line::Securing { .. });
        match (is_new, leg.is_known()) {
            (false, _) => Turn::Open,
            (true, true) if !is_busy => {
                self.msrp.handshakes.count();
                Turn::Handshake
            }
            (true, true) => {
                if !std::mem::replace(&mut leg.is_late, true) {
                    self.msrp.handshakes.put_off_floors(slot);
                }
                Turn::Later
            }
            (true, false) => Turn::Later,
        }
    }

    /// A cycle has room for a handshake that was put off.
    pub(in super::super) fn take_late_bfcp(&mut self, now: Instant, slot: SlotRef) {
        if let Some((_, leg)) = self.bfcp_leg(slot) {
            leg.is_late = false;
            self.sealed_bfcp(now, slot, None);
        }
    }

    fn follow_bfcp_stage(
        &mut self,
        now: Instant,
        slot: SlotRef,
        (stage, is_new): (Result<Stage, Failure>, bool),
    ) {
        match stage {
            Ok(Stage::Handshaking) => return,
            Ok(Stage::Open | Stage::Ended) if is_new => {
                if !self.bfcp_is_secured(now, slot) {
                    return;
                }
            }
            Err(_) if is_new => {
                self.stats.drop(DropReason::Handshake);
                self.bfcp_ended(now, slot);
                return;
            }
            Err(_) => self.stats.drop(DropReason::BrokenLayer),
            Ok(Stage::Open | Stage::Ended) => {}
        }
        let plain = std::mem::take(&mut self.msrp.conns.kit.out.plain);
        let verdict = self.feed_floors(now, slot, &plain);
        self.msrp.conns.kit.out.plain = plain;
        if stage != Ok(Stage::Open) || verdict == Verdict::Close {
            self.bfcp_ended(now, slot);
        }
    }

    /// A handshake is done; false: its far end isn't who was announced.
    fn bfcp_is_secured(&mut self, now: Instant, slot: SlotRef) -> bool {
        let Some((_, leg)) = self.bfcp_leg(slot) else {
            return false;
        };
        let Line::Securing { socket, peer, .. } = leg.line else {
            return false;
        };
        let certificate = leg.tls.as_ref().and_then(|session| session.certificate());
        if leg.trusts(certificate) {
            leg.line = Line::Open { socket, peer };
            self.stats.handshakes += 1;
            return true;
        }
        self.stats.drop(DropReason::Fingerprint);
        self.bfcp_ended(now, slot);
        false
    }

    /// Ends a room's handshakes that took too long.
    pub(super) fn end_overdue_bfcp(&mut self, now: Instant, room_ref: RoomRef) {
        let Some(room) = self.rooms.find_mut(room_ref) else {
            return;
        };
        let Machine::Floors(floors) = &mut room.machine else {
            return;
        };
        if floors.secure_by.take_if(|at| *at <= now).is_none() {
            return;
        }
        let room = &*room;
        let seats = room.members().filter_map(|(_, seat)| room.seat(seat));
        let slots: Vec<SlotRef> = seats.map(|seat| seat.slot).collect();
        let mut next: Option<Instant> = None;
        for slot in slots {
            let Some((_, leg)) = self.bfcp_leg(slot) else {
                continue;
            };
            let Line::Securing { until, .. } = leg.line else {
                continue;
            };
            if until <= now {
                self.stats.drop(DropReason::Handshake);
                self.bfcp_lost(now, slot);
            } else {
                next = Some(next.map_or(until, |next| next.min(until)));
            }
        }
        if let Some(Machine::Floors(floors)) =
            self.rooms.find_mut(room_ref).map(|room| &mut room.machine)
        {
            floors.secure_by = floors.secure_by.or(next);
        }
    }

    /// Makes a frame of a message fit for the wire; `None`: it can't be.
    pub(super) fn seal_bfcp(&mut self, slot: SlotRef, mut frame: Frame) -> Option<Frame> {
        let session = self.bfcp_leg(slot).and_then(|(_, leg)| leg.tls.take());
        let mut is_sealed = false;
        if let Some(session) = session {
            let (mut layer, kit) = (Layer::Tls(session), &mut self.msrp.conns.kit);
            is_sealed = layer.finish(&mut self.pool, &mut frame, kit);
            if let (Some((_, leg)), Layer::Tls(session)) = (self.bfcp_leg(slot), layer) {
                leg.tls = Some(session);
            }
        }
        if is_sealed {
            return Some(frame);
        }
        self.pool.give(frame);
        None
    }

    /// Says to a member's TLS that nothing more comes.
    pub(super) fn end_bfcp_tls(&mut self, slot: SlotRef) {
        let Some(session) = self.bfcp_leg(slot).and_then(|(_, leg)| leg.tls.take()) else {
            return;
        };
        Layer::Tls(session).end(&mut self.msrp.conns.kit);
        self.write_bfcp_wire(slot);
    }

    /// Writes what TLS itself has to say.
    fn write_bfcp_wire(&mut self, slot: SlotRef) {
        let wire = std::mem::take(&mut self.msrp.conns.kit.out.wire);
        let socket = self.bfcp_leg(slot).and_then(|(_, leg)| match leg.line {
            Line::Securing { socket, .. } | Line::Open { socket, .. } => Some(socket),
            Line::Datagrams(_) | Line::Idle | Line::Connecting { .. } => None,
        });
        if let Some(socket) = socket {
            let socket = SocketId(socket.0);
            for part in wire.chunks(STREAM_FRAME_BYTES) {
                // A record that isn't whole breaks TLS at the far end, which then closes.
                let Some(frame) = self.bfcp_frame(Class::Stream, part) else {
                    break;
                };
                self.stats.stream_bytes_out += frame.len() as u64;
                self.tx.items.push(TxItem::Bytes { socket, frame });
            }
        }
        self.msrp.conns.kit.out.wire = wire;
    }

    /// What came over a member's connection goes to its room's floors.
    pub(super) fn feed_floors(&mut self, now: Instant, slot: SlotRef, octets: &[u8]) -> Verdict {
        let Some((Some((room, member)), _)) = self.bfcp_leg(slot) else {
            return Verdict::Keep;
        };
        if octets.is_empty() {
            return Verdict::Keep;
        }
        let floors = self.floors_mut(room);
        let verdict = floors.map(|floors| floors.receive(member, octets, now));
        self.look_after(now, room);
        verdict.unwrap_or(Verdict::Keep)
    }

    /// Whether a leg's octets are TLS's.
    pub(super) fn is_secured(&mut self, slot: SlotRef) -> bool {
        let stream = self.streams.find_mut(slot);
        let member = stream.and_then(|stream| stream.member_mut());
        member.is_some_and(|member| match &member.leg {
            MemberLeg::Bfcp(leg) => leg.tls.is_some(),
            MemberLeg::Rtp(_) | MemberLeg::Msrp(_) | MemberLeg::Away(_) => false,
        })
    }
}
