//! Byte streams between two connections (RFC 6714): made, joined, held back, ended.
//!
//! A side is read only while the other one's connection is there and its queue is short. So what
//! waits is bounded by the sink's queue, and the far end of the source is slowed down by TCP.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::api::{MsrpSetup, Side};
use crate::frame::Frame;
use crate::limits::{LINGER_S, STREAM_QUEUE_HIGH_BYTES};
use crate::net::{Backend, SocketId, SocketSpec, Token, TxItem};
use crate::pipeline::Passed;
use crate::session::{BytesLeg, Connection, Mark, Owner, SlotRef, Socket};
use crate::stats::DropReason;

use super::Worker;

impl<B: Backend> Worker<B> {
    pub(super) fn bytes_received(&mut self, now: Instant, slot: SlotRef, side: Side, frame: Frame) {
        match self.path(now).splice(slot, side, frame) {
            Passed::On(slot, sink) => self.touched.push((slot, sink)),
            Passed::Held(slot, side) => self.set_reading(slot, side, false),
            Passed::Overrun(slot, side) => self.bytes_lost(now, slot, side),
            Passed::Dropped => {}
        }
    }

    /// Bytes have gone to the other side within the kernel.
    pub(super) fn bytes_passed(&mut self, slot: SlotRef, side: Side, octets: usize) {
        let octets = octets as u64;
        self.stats.stream_bytes_in += octets;
        self.stats.stream_bytes_out += octets;
        if let Some(leg) = self.bytes_leg(slot, side) {
            leg.bytes += octets;
        }
    }

    pub(super) fn bytes_accepted(
        &mut self,
        slot: SlotRef,
        side: Side,
        socket: SocketId,
        peer: SocketAddr,
    ) {
        let leg = self.bytes_leg(slot, side);
        let Some(leg) = leg.filter(|leg| leg.admits(peer)) else {
            self.stats.drop(DropReason::Source);
            self.close_socket(socket);
            return;
        };
        leg.connection = Connection::Open {
            socket: Socket(socket.0),
            reading: true,
            has_ended: false,
        };
        leg.peer = Some(peer);
        let owner = Owner::BytesConnection(slot, side);
        self.backend.adopt(socket, Token(Mark::new(owner).0));
        self.join_bytes(slot, side);
    }

    pub(super) fn bytes_connected(&mut self, slot: SlotRef, side: Side) {
        let Some(leg) = self.bytes_leg(slot, side) else {
            return;
        };
        let Connection::Connecting { socket } = leg.connection else {
            return;
        };
        leg.connection = Connection::Open {
            socket,
            reading: true,
            has_ended: false,
        };
        leg.peer = leg.remote.map(|(address, _)| address);
        self.join_bytes(slot, side);
    }

    /// A side's far end sends no more: nor does the relay to the other one's, once all is written.
    /// The other direction goes on.
    pub(super) fn bytes_ended(&mut self, now: Instant, slot: SlotRef, side: Side) {
        self.flush();
        let Some((leg, other)) = self.bytes_legs(slot, side) else {
            return;
        };
        let holds = leg.holds();
        let Connection::Open { has_ended, .. } = &mut leg.connection else {
            // It ends anyway, once it is written.
            return;
        };
        *has_ended = true;
        match other.connection {
            Connection::Open { .. } => self.end_sink(slot, side.other()),
            // What waits goes first, once there is somebody for it.
            Connection::Idle | Connection::Connecting { .. } if holds => {}
            Connection::Idle | Connection::Connecting { .. } | Connection::Ending { .. } => {
                self.bytes_lost(now, slot, side);
            }
        }
    }

    /// Nothing more is written to a side's connection, which is read on.
    fn end_sink(&mut self, slot: SlotRef, side: Side) {
        let connection = self.bytes_leg(slot, side).map(|leg| leg.connection);
        if let Some(Connection::Open {
            socket, reading, ..
        }) = connection
        {
            let socket = SocketId(socket.0);
            self.backend.shutdown(socket);
            if !reading {
                self.backend.pause(socket);
            }
        }
    }

    /// A side's connection is over or could not be made. The other one's ends when it is written.
    pub(super) fn bytes_lost(&mut self, now: Instant, slot: SlotRef, side: Side) {
        self.flush();
        let until = now + Duration::from_secs(LINGER_S);
        let Some((leg, other)) = self.bytes_legs(slot, side) else {
            return;
        };
        let lost = leg.socket();
        leg.connection = Connection::Idle;
        let held = leg.take_held();
        let mut first = side;
        if let Connection::Open {
            socket, has_ended, ..
        } = other.connection
        {
            if has_ended {
                first = side.other();
            }
            other.connection = Connection::Ending { socket, until };
            self.endings.push((slot, side.other()));
        }
        for frame in held {
            self.pool.give(frame);
        }
        if let Some(socket) = lost {
            self.close_socket(SocketId(socket.0));
        }
        self.finish_ending(now, slot, side.other());
        self.tell_lost(slot, first);
    }

    /// The queue to a side is short again.
    pub(super) fn bytes_drained(&mut self, now: Instant, slot: SlotRef, side: Side) {
        match self.bytes_leg(slot, side).map(|leg| leg.connection) {
            Some(Connection::Open { .. }) => self.set_reading(slot, side.other(), true),
            Some(Connection::Ending { .. }) => {
                self.finish_ending(now, slot, side);
            }
            Some(Connection::Idle | Connection::Connecting { .. }) | None => {}
        }
    }

    /// Stops reading the sources of long queues.
    pub(super) fn bytes_hold_back(&mut self) {
        while let Some((slot, sink)) = self.touched.pop() {
            let socket = self.bytes_leg(slot, sink).and_then(|leg| leg.sink());
            if let Some(socket) = socket
                && self.backend.queued(SocketId(socket.0)) > STREAM_QUEUE_HIGH_BYTES
            {
                self.set_reading(slot, sink.other(), false);
            }
        }
    }

    /// Closes connections that had to be written out and are, or took too long.
    pub(super) fn finish_endings(&mut self, now: Instant) {
        let mut endings = std::mem::take(&mut self.endings);
        endings.retain(|(slot, side)| !self.finish_ending(now, *slot, *side));
        self.endings = endings;
    }

    /// A side's far end is named: the relay connects to it, or checks who connected.
    pub(super) fn connect_bytes(
        &mut self,
        now: Instant,
        leg: (SlotRef, Side),
        remote: (SocketAddr, MsrpSetup),
    ) {
        let (slot, side) = leg;
        let (address, setup) = remote;
        let Some(leg) = self.bytes_leg(slot, side) else {
            return;
        };
        let stale = leg.stale_under(address, setup);
        leg.remote = Some(remote);
        if stale.is_some() {
            let old = leg.connection;
            leg.connection = Connection::Idle;
            self.close_bytes(old);
        }
        if setup == MsrpSetup::Active {
            self.make_bytes_connection(now, slot, side, address);
        }
    }

    /// Stops reading both sides, for good.
    pub(super) fn freeze_bytes(&mut self, slot: SlotRef) {
        for side in Side::BOTH {
            self.set_reading(slot, side, false);
            let held = self.bytes_leg(slot, side).map(BytesLeg::take_held);
            for frame in held.into_iter().flatten() {
                self.pool.give(frame);
            }
        }
    }

    fn make_bytes_connection(
        &mut self,
        now: Instant,
        slot: SlotRef,
        side: Side,
        remote: SocketAddr,
    ) {
        let leg = self.bytes_leg(slot, side);
        let Some(leg) = leg.filter(|leg| leg.connection == Connection::Idle) else {
            return;
        };
        let spec = SocketSpec::Connect {
            local: leg.local_ip(),
            remote,
        };
        match self.open_socket(&spec, Owner::BytesConnection(slot, side)) {
            Ok((socket, _)) => {
                if let Some(leg) = self.bytes_leg(slot, side) {
                    let socket = Socket(socket.0);
                    leg.connection = Connection::Connecting { socket };
                }
            }
            Err(_) => self.bytes_lost(now, slot, side),
        }
    }

    /// Reads both sides once both are there; until then the one that is there isn't read.
    fn join_bytes(&mut self, slot: SlotRef, side: Side) {
        let Some((leg, other)) = self.bytes_legs(slot, side) else {
            return;
        };
        let (Some(sink), Connection::Open { .. }) = (leg.sink(), other.connection) else {
            self.set_reading(slot, side, false);
            return;
        };
        let has_ended = matches!(
            other.connection,
            Connection::Open {
                has_ended: true,
                ..
            }
        );
        // What the other side sent before this one was there goes first.
        let socket = SocketId(sink.0);
        for frame in other.take_held() {
            self.stats.stream_bytes_out += frame.len() as u64;
            self.tx.items.push(TxItem::Bytes { socket, frame });
        }
        self.set_reading(slot, side.other(), true);
        let both = self.bytes_legs(slot, side);
        if let Some((Some(one), Some(other))) = both.map(|(leg, other)| (leg.sink(), other.sink()))
        {
            let (one, other) = (SocketId(one.0), SocketId(other.0));
            self.backend.pass(one, other);
            self.backend.pass(other, one);
        }
        if has_ended {
            self.flush();
            self.end_sink(slot, side);
        }
    }

    /// Reads a side's connection, or stops reading it.
    fn set_reading(&mut self, slot: SlotRef, side: Side, on: bool) {
        let Some(leg) = self.bytes_leg(slot, side) else {
            return;
        };
        if let Connection::Open {
            socket, reading, ..
        } = &mut leg.connection
            && *reading != on
        {
            *reading = on;
            let socket = SocketId(socket.0);
            if on {
                self.backend.resume(socket);
            } else {
                self.backend.pause(socket);
            }
        }
    }

    /// Closes a side's connection that neither side has lost.
    pub(super) fn close_bytes(&mut self, connection: Connection) {
        match connection {
            Connection::Idle => {}
            Connection::Connecting { socket } => self.close_socket(SocketId(socket.0)),
            Connection::Open { socket, .. } | Connection::Ending { socket, .. } => {
                self.close_softly(SocketId(socket.0));
            }
        }
    }

    /// Closes a connection that is ending, if it is time; says whether it is ending no more.
    fn finish_ending(&mut self, now: Instant, slot: SlotRef, side: Side) -> bool {
        let Some(leg) = self.bytes_leg(slot, side) else {
            return true;
        };
        let Connection::Ending { socket, until } = leg.connection else {
            return true;
        };
        let socket = SocketId(socket.0);
        let is_written = self.backend.queued(socket) == 0;
        if !is_written && now < until {
            return false;
        }
        if let Some(leg) = self.bytes_leg(slot, side) {
            leg.connection = Connection::Idle;
        }
        if is_written {
            self.close_softly(socket);
        } else {
            self.close_socket(socket);
        }
        let untold = self
            .bytes_leg(slot, side.other())
            .is_some_and(|leg| leg.lost_untold);
        if untold {
            self.tell_lost(slot, side.other());
        }
        true
    }

    fn bytes_leg(&mut self, slot: SlotRef, side: Side) -> Option<&mut BytesLeg> {
        Some(self.bytes_legs(slot, side)?.0)
    }

    fn bytes_legs(&mut self, slot: SlotRef, side: Side) -> Option<(&mut BytesLeg, &mut BytesLeg)> {
        self.streams.find_mut(slot)?.bytes_mut(side)
    }
}
