//! Rooms of floors: BFCP's sockets, who holds what, and the rooms that are gated by it.
//!
//! ```text
//! datagram, octets ─▶ leg ─▶ Floors ─▶ serve ─▶ datagrams, octets to members
//!                                        └─▶ holders ─▶ gates of rooms, Event::FloorChanged
//! ```

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::api::{
    BfcpRemote, BfcpSpec, BfcpTransport, Event, FloorId, LegLocal, LegSpec, MemberId,
    MsrpTransport, Refusal,
};
use crate::frame::{Class, Frame};
use crate::limits::{FLOOR_QUEUE_BYTES, HOUSEKEEPING_MS, STREAM_FRAME_BYTES, TLS_OVERHEAD_BYTES};
use crate::net::{Backend, SocketId, SocketSpec, Token, TxItem};
use crate::proto::floor::{Floors, Verdict};
use crate::session::{
    BfcpLeg, FloorRoom, Line, Machine, Mark, Member, MemberLeg, Owner, RoomRef, SessionRef,
    SlotRef, Socket,
};
use crate::stats::DropReason;
use crate::wire::bfcp::{Carrier, Head, HeadError};

use super::super::Worker;
use super::super::open::Opening;

impl<B: Backend> Worker<B> {
    /// Binds a member's leg of floor control.
    pub(super) fn open_bfcp(
        &mut self,
        opening: Opening,
        spec: &BfcpSpec,
    ) -> Result<(MemberLeg, LegLocal), Refusal> {
        let is_secured = spec.transport == BfcpTransport::Tls;
        if is_secured && !self.msrp.conns.kit.has(MsrpTransport::Tls) {
            return Err(Refusal::Unknown);
        }
        let (pair, (socket, listen)) = self.with_pair(opening.now, |worker, pair| {
            let local = SocketAddr::new(spec.local_ip, pair.even());
            let (socket, owner) = match spec.transport {
                BfcpTransport::Udp => (SocketSpec::Datagram { local }, Owner::Bfcp(opening.slot)),
                BfcpTransport::Tcp | BfcpTransport::Tls => (
                    SocketSpec::Listen { local },
                    Owner::BfcpListener(opening.slot),
                ),
            };
            worker.open_socket(&socket, owner)
        })?;
        let leg = BfcpLeg::new(*spec, Socket(socket.0), pair);
        Ok((MemberLeg::Bfcp(Box::new(leg)), LegLocal::Bfcp { listen }))
    }

    /// A member of a room of floors has its seat.
    pub(super) fn join_floors(&mut self, room: RoomRef, member: MemberId, spec: BfcpSpec) {
        if let Some(floors) = self.floors_mut(room) {
            // `Expected` has seen that there is room, and that the user is nobody else's.
            let _ = floors.join(member, spec.user, carrier(spec.transport));
        }
    }

    /// Names the far end of a member's leg of floor control.
    pub(super) fn connect_bfcp(&mut self, now: Instant, slot: SlotRef, remote: &BfcpRemote) {
        let leg = self.bfcp_leg(slot).map(|(_, leg)| leg);
        if leg.is_some_and(|leg| leg.is_stale_under(remote)) {
            self.turn_bfcp_away(now, slot);
        }
        let Some((_, leg)) = self.bfcp_leg(slot) else {
            return;
        };
        let (local, was_known) = (leg.local_ip(), leg.is_known());
        let Some(remote) = leg.connect(now, remote) else {
            if !was_known {
                // There is something to hold the certificate of one that waits against.
                self.sealed_bfcp(now, slot, None);
            }
            return;
        };
        let spec = SocketSpec::Connect { local, remote };
        match self.open_socket(&spec, Owner::BfcpConnection(slot)) {
            Ok((socket, _)) => {
                if let Some((_, leg)) = self.bfcp_leg(slot) {
                    let (socket, peer) = (Socket(socket.0), remote);
                    leg.line = Line::Connecting { socket, peer };
                }
            }
            Err(_) => self.bfcp_lost(now, slot),
        }
    }

    /// Who is connected isn't the far end that was named: what it asked for in the member's name ends
    /// with it. The member has lost nothing by that, and its own connection is still to come.
    fn turn_bfcp_away(&mut self, now: Instant, slot: SlotRef) {
        self.stats.drop(DropReason::Source);
        let Some((place, leg)) = self.bfcp_leg(slot) else {
            return;
        };
        if let Some(socket) = leg.take_connection() {
            self.close_socket(SocketId(socket.0));
        }
        if let Some((room, member)) = place {
            if let Some(floors) = self.floors_mut(room) {
                floors.lost(member, now);
            }
            self.look_after(now, room);
        }
    }

    /// Takes a datagram of a member's floor control.
    pub(in super::super) fn bfcp_datagram(
        &mut self,
        now: Instant,
        slot: SlotRef,
        from: SocketAddr,
        frame: Frame,
    ) {
        self.stats.datagrams_in += 1;
        self.stats.datagram_bytes_in += frame.len() as u64;
        let done = self.take_bfcp_datagram(now, slot, from, &frame);
        self.pool.give(frame);
        match done {
            Ok(room) => self.look_after(now, room),
            Err(why) => {
                self.stats.drop(why);
                if let Some((_, leg)) = self.bfcp_leg(slot) {
                    leg.count_drop();
                }
            }
        }
    }

    fn take_bfcp_datagram(
        &mut self,
        now: Instant,
        slot: SlotRef,
        from: SocketAddr,
        frame: &Frame,
    ) -> Result<RoomRef, DropReason> {
        let octets = self.pool.bytes(frame);
        let head = match Head::of_datagram(octets) {
            Ok((head, _)) | Err(HeadError::Length(head)) => head,
            Err(HeadError::Short) => return Err(DropReason::NotRtp),
        };
        let stream = self.streams.find_mut(slot).ok_or(DropReason::NoLeg)?;
        let member = stream.member_mut().ok_or(DropReason::NoLeg)?;
        let (room, _) = member.place.ok_or(DropReason::Frozen)?;
        let id = member.id;
        let MemberLeg::Bfcp(leg) = &mut member.leg else {
            return Err(DropReason::NoLeg);
        };
        // Where an address isn't certain yet, only who knows its user says where it is.
        if head.user != leg.spec().user || !leg.admits_datagram(now, from) {
            return Err(DropReason::Source);
        }
        leg.count(octets.len());
        let Some(Machine::Floors(floors)) = self.rooms.find_mut(room).map(|room| &mut room.machine)
        else {
            return Err(DropReason::NoLeg);
        };
        floors.floors.receive(id, octets, now);
        Ok(room)
    }

    /// A member has connected, or somebody who says so.
    pub(in super::super) fn bfcp_accepted(
        &mut self,
        now: Instant,
        slot: SlotRef,
        (socket, peer): (SocketId, SocketAddr),
    ) {
        let leg = self.bfcp_leg(slot).map(|(_, leg)| leg);
        let Some(leg) = leg.filter(|leg| leg.admits(peer)) else {
            self.stats.drop(DropReason::Source);
            self.close_socket(socket);
            return;
        };
        let is_secured = leg.spec().transport == BfcpTransport::Tls;
        let made = Socket(socket.0);
        leg.line = Line::Open { socket: made, peer };
        let mark = Mark::new(Owner::BfcpConnection(slot));
        self.backend.adopt(socket, Token(mark.0));
        if is_secured {
            self.secure_bfcp(now, slot, (made, peer));
        }
    }

    /// The relay has connected to a member.
    pub(in super::super) fn bfcp_connected(&mut self, now: Instant, slot: SlotRef) {
        if let Some((_, leg)) = self.bfcp_leg(slot)
            && let Line::Connecting { socket, peer } = leg.line
        {
            leg.line = Line::Open { socket, peer };
            if leg.spec().transport == BfcpTransport::Tls {
                self.secure_bfcp(now, slot, (socket, peer));
            }
        }
    }

    /// Takes octets of a member's connection.
    pub(in super::super) fn bfcp_received(&mut self, now: Instant, slot: SlotRef, frame: Frame) {
        self.stats.stream_bytes_in += frame.len() as u64;
        let Some((place, leg)) = self.bfcp_leg(slot) else {
            self.stats.drop(DropReason::NoLeg);
            self.pool.give(frame);
            return;
        };
        leg.count(frame.len());
        let is_secured = leg.tls.is_some();
        let Some((room_ref, member)) = place else {
            self.stats.drop(DropReason::Frozen);
            self.pool.give(frame);
            return;
        };
        if is_secured {
            self.sealed_bfcp(now, slot, Some(frame));
            return;
        }
        let mut verdict = Verdict::Keep;
        if let Some(Machine::Floors(floors)) =
            self.rooms.find_mut(room_ref).map(|room| &mut room.machine)
        {
            verdict = floors.floors.receive(member, self.pool.bytes(&frame), now);
        }
        self.pool.give(frame);
        self.look_after(now, room_ref);
        if verdict == Verdict::Close {
            self.bfcp_ended(now, slot);
        }
    }

    /// A member's connection ends: what it holds is free, and what is on its way still arrives.
    pub(in super::super) fn bfcp_ended(&mut self, now: Instant, slot: SlotRef) {
        self.end_bfcp_tls(slot);
        self.flush();
        let socket = self
            .bfcp_leg(slot)
            .and_then(|(_, leg)| leg.take_connection());
        if let Some(socket) = socket {
            self.close_softly(SocketId(socket.0));
            self.bfcp_is_lost(now, slot);
        }
    }

    /// A member's connection is over, or could not be made.
    pub(in super::super) fn bfcp_lost(&mut self, now: Instant, slot: SlotRef) {
        let socket = self
            .bfcp_leg(slot)
            .and_then(|(_, leg)| leg.take_connection());
        if let Some(socket) = socket {
            self.close_socket(SocketId(socket.0));
        }
        self.bfcp_is_lost(now, slot);
    }

    fn bfcp_is_lost(&mut self, now: Instant, slot: SlotRef) {
        let Some((place, leg)) = self.bfcp_leg(slot) else {
            return;
        };
        // Control is told when its stream is looked at next.
        leg.lost_untold = true;
        if let Some((room, member)) = place {
            if let Some(floors) = self.floors_mut(room) {
                floors.lost(member, now);
            }
            self.look_after(now, room);
        }
    }

    /// Closes the sockets of a leg of floor control.
    pub(in super::super) fn close_bfcp(&mut self, leg: &BfcpLeg) {
        self.close_socket(SocketId(leg.socket().0));
        match leg.line {
            Line::Open { socket, .. } => self.close_softly(SocketId(socket.0)),
            Line::Connecting { socket, .. } | Line::Securing { socket, .. } => {
                self.close_socket(SocketId(socket.0));
            }
            Line::Datagrams(_) | Line::Idle => {}
        }
    }

    /// Sends what a room of floors has to say, and opens and closes gates; nothing for other rooms.
    pub(super) fn serve_floors(&mut self, now: Instant, room_ref: RoomRef) {
        if self.floors_mut(room_ref).is_none() {
            return;
        }
        let mut message = std::mem::take(&mut self.ticks.desk.message);
        while let Some(floors) = self.floors_mut(room_ref)
            && let Some(member) = floors.poll_transmit(now, &mut message)
        {
            self.send_bfcp(now, room_ref, member, &message);
        }
        self.ticks.desk.message = message;
        while let Some(floors) = self.floors_mut(room_ref)
            && let Some(floor) = floors.poll_change()
        {
            let holders: Box<[MemberId]> = floors.holders(floor).into();
            let session = self.rooms.find(room_ref).map(|room| room.session);
            if let Some(session) = session.and_then(|session| self.sessions.find(session)) {
                self.set_holders(now, session, floor, &holders);
            }
            if let Some(Machine::Floors(floors)) =
                self.rooms.find_mut(room_ref).map(|room| &mut room.machine)
                && !floors.untold.contains(&floor)
            {
                floors.untold.push(floor);
            }
        }
        self.tell_floors(room_ref);
    }

    /// Tells control of floors that have other holders, as far as there is room for news.
    fn tell_floors(&mut self, room_ref: RoomRef) {
        while self.link.room() > 0
            && let Some(room) = self.rooms.find_mut(room_ref)
            && let Machine::Floors(floors) = &mut room.machine
            && let Some(floor) = floors.untold.pop()
        {
            let event = Event::FloorChanged {
                session: room.session,
                floor,
                holders: floors.floors.holders(floor).into(),
            };
            // There was room.
            let _ = self.link.tell(event);
        }
    }

    fn send_bfcp(&mut self, now: Instant, room: RoomRef, member: MemberId, message: &[u8]) {
        let slot = self.rooms.find(room).and_then(|room| {
            let seat = room.seat(room.find(member)?)?;
            Some(seat.slot)
        });
        let Some(slot) = slot else { return };
        let Some((_, leg)) = self.bfcp_leg(slot) else {
            return;
        };
        let (datagrams, connection) = (leg.datagrams_to(), leg.connection());
        if let Some((socket, to)) = datagrams {
            if let Some(frame) = self.bfcp_frame(Class::Datagram, message) {
                self.stats.datagrams_out += 1;
                self.stats.datagram_bytes_out += frame.len() as u64;
                let socket = SocketId(socket.0);
                self.tx.items.push(TxItem::Datagram { socket, to, frame });
            }
        } else if let Some(socket) = connection {
            let socket = SocketId(socket.0);
            for part in message.chunks(STREAM_FRAME_BYTES - TLS_OVERHEAD_BYTES) {
                // A message that isn't whole can't be followed, and one that isn't read is none.
                let Some(frame) = self.bfcp_part((slot, socket), part) else {
                    self.stats.drop(DropReason::Stalled);
                    self.bfcp_overrun(now, slot);
                    return;
                };
                self.stats.stream_bytes_out += frame.len() as u64;
                self.tx.items.push(TxItem::Bytes { socket, frame });
            }
        } else {
            self.stats.drop(DropReason::NoRemote);
            return;
        }
        if let Some(room) = self.rooms.find_mut(room)
            && let Some(seat) = room.find(member)
            && let Some(seat) = room.seat_mut(seat)
        {
            seat.sent += 1;
        }
    }

    /// A frame for a member's connection; `None`: it isn't read, or there is no frame.
    fn bfcp_part(&mut self, (slot, socket): (SlotRef, SocketId), part: &[u8]) -> Option<Frame> {
        // Not after that: a frame that isn't sent would have to be given back.
        if self.backend.queued(socket) > FLOOR_QUEUE_BYTES {
            return None;
        }
        let frame = self.bfcp_frame(Class::Stream, part)?;
        if self.is_secured(slot) {
            self.seal_bfcp(slot, frame)
        } else {
            Some(frame)
        }
    }

    /// A connection that can't be written to ends; its room is looked after by who writes.
    fn bfcp_overrun(&mut self, now: Instant, slot: SlotRef) {
        let Some((place, leg)) = self.bfcp_leg(slot) else {
            return;
        };
        let socket = leg.take_connection();
        leg.lost_untold = true;
        if let Some(socket) = socket {
            self.close_socket(SocketId(socket.0));
        }
        if let Some((room, member)) = place
            && let Some(floors) = self.floors_mut(room)
        {
            floors.lost(member, now);
        }
    }

    pub(super) fn bfcp_frame(&mut self, class: Class, octets: &[u8]) -> Option<Frame> {
        let mut frame = self.pool.take(class).or_else(|| {
            self.backend.send(&mut self.tx, &mut self.pool);
            self.pool.take(class)
        });
        match &mut frame {
            Some(frame) => {
                self.pool.append(frame, octets);
            }
            None => {
                self.stats.full_pool += 1;
                self.stats.drop(DropReason::PoolFull);
            }
        }
        frame
    }

    /// Before a room of floors looks at its clock: when its holders were heard last.
    pub(super) fn listen_to_holders(&mut self, room_ref: RoomRef) {
        let Some(room) = self.rooms.find(room_ref) else {
            return;
        };
        let Machine::Floors(floors) = &room.machine else {
            return;
        };
        let listened: Vec<(FloorId, MemberId)> = floors.floors.listened().collect();
        let Some(session) = self.sessions.find(room.session) else {
            return;
        };
        for (floor, member) in listened {
            let heard = self.heard_last(session, floor, member);
            if let (Some(heard), Some(floors)) = (heard, self.floors_mut(room_ref)) {
                floors.heard(floor, member, heard);
            }
        }
    }

    /// When what a member sent passed a floor's gate last.
    fn heard_last(&self, session: SessionRef, floor: FloorId, member: MemberId) -> Option<Instant> {
        let rooms = self.slots_of(session).filter_map(|(_, slot)| {
            let room = self.rooms.find(self.streams.find(slot)?.room()?)?;
            let room = Some(room).filter(|room| room.floor == Some(floor))?;
            room.seat(room.find(member)?)?.heard
        });
        rooms.max()
    }

    /// A room that was made is gated by a floor that somebody may hold already.
    pub(super) fn inherit_holders(&mut self, now: Instant, session: SessionRef, floor: FloorId) {
        let holders = self.slots_of(session).find_map(|(_, slot)| {
            let room = self.rooms.find(self.streams.find(slot)?.room()?)?;
            let Machine::Floors(floors) = &room.machine else {
                return None;
            };
            Some(Box::<[MemberId]>::from(floors.floors.holders(floor)))
        });
        if let Some(holders) = holders.filter(|holders| !holders.is_empty()) {
            self.set_holders(now, session, floor, &holders);
        }
    }

    pub(super) fn floors_mut(&mut self, room: RoomRef) -> Option<&mut Floors> {
        match &mut self.rooms.find_mut(room)?.machine {
            Machine::Floors(floors) => Some(&mut floors.floors),
            Machine::Forward(_)
            | Machine::Mix(_)
            | Machine::Switch(_)
            | Machine::Chat(_)
            | Machine::Outpost(_) => None,
        }
    }

    /// A leg of floor control, and its room and member while it has a seat.
    pub(super) fn bfcp_leg(
        &mut self,
        slot: SlotRef,
    ) -> Option<(Option<(RoomRef, MemberId)>, &mut BfcpLeg)> {
        let Member { id, place, leg, .. } = self.streams.find_mut(slot)?.member_mut()?;
        match leg {
            MemberLeg::Bfcp(leg) => Some((place.map(|(room, _)| (room, *id)), leg)),
            MemberLeg::Rtp(_) | MemberLeg::Msrp(_) | MemberLeg::Away(_) => None,
        }
    }
}

impl FloorRoom {
    /// When its machine is to be looked at; soon, where control has no room for its news.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let again = now + Duration::from_millis(HOUSEKEEPING_MS);
        let untold = (!self.untold.is_empty()).then_some(again);
        [self.floors.poll_timeout(), untold, self.secure_by]
            .into_iter()
            .flatten()
            .min()
    }
}

fn carrier(transport: BfcpTransport) -> Carrier {
    match transport {
        BfcpTransport::Udp => Carrier::Unreliable,
        BfcpTransport::Tcp | BfcpTransport::Tls => Carrier::Reliable,
    }
}

/// The user of a leg of floor control.
pub(in super::super) fn user_of(leg: &LegSpec) -> Option<u16> {
    match leg {
        LegSpec::Bfcp(spec) => Some(spec.user),
        LegSpec::Rtp { .. } | LegSpec::Bytes { .. } | LegSpec::Msrp(_) | LegSpec::Away(_) => None,
    }
}
