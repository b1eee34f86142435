//! MSRP connections that end: what is said to their far ends, and to control.

use std::time::Instant;

use crate::net::{Backend, SocketId};
use crate::proto::msrp::{BoundLegs, ConnectionKey, LegKey};
use crate::session::SlotRef;

use super::Worker;
use super::conns::State;

impl<B: Backend> Worker<B> {
    /// Closes all connections and listeners.
    pub(super) fn close_all_msrp(&mut self) {
        for slot in self.msrp.conns.all() {
            self.drop_conn(slot);
        }
        for (listener, _) in std::mem::take(&mut self.msrp.listeners) {
            self.close_socket(listener);
        }
    }

    /// Closes what was bound to no leg for too long, or broke the protocol.
    pub(super) fn close_expired(&mut self, now: Instant) {
        while let Some(key) = self.msrp.relay.expired(now) {
            match self.msrp.conns.slot_of(key) {
                Some(slot) => self.close_conn(slot, None),
                None => {
                    self.forget_at_relay(key);
                }
            }
        }
    }

    /// Closes a connection, and tells of the legs that lose it by that, but for one.
    ///
    /// What was written to it still arrives.
    pub(super) fn close_conn(&mut self, slot: SlotRef, but: Option<LegKey>) {
        let state = self.msrp.conns.find(slot).map(|conn| conn.state);
        self.end_layer(slot);
        let Some(socket) = self.forget_conn(slot, but) else {
            return;
        };
        match state {
            Some(State::Connecting(..) | State::HopConnecting(_)) | None => {
                self.close_socket(socket);
            }
            Some(State::Open(_) | State::Handshaking(_) | State::HopHandshaking(_)) => {
                self.close_softly(socket);
            }
        }
    }

    /// Says to the far end's layer that nothing more comes.
    fn end_layer(&mut self, slot: SlotRef) {
        let conn = self.msrp.conns.find(slot);
        let is_layered =
            conn.is_some_and(|conn| !conn.layer.is_plain() && !conn.state.is_connecting());
        if !is_layered {
            return;
        }
        self.msrp_flush();
        if let Some((conn, kit)) = self.msrp.conns.with_kit(slot) {
            conn.layer.end(kit);
        }
        let (_, mut out, _) = self.msrp_parts();
        out.write_wire(slot);
    }

    /// Closes a connection that broke or ended, and tells of the legs that lose it by that.
    pub(super) fn drop_conn(&mut self, slot: SlotRef) {
        if let Some(socket) = self.forget_conn(slot, None) {
            self.close_socket(socket);
        }
    }

    fn forget_conn(&mut self, slot: SlotRef, but: Option<LegKey>) -> Option<SocketId> {
        self.flush();
        let legs = self.msrp.key_of(slot).map(|key| self.forget_at_relay(key));
        let conn = self.msrp.conns.remove(slot)?;
        if let Some(frame) = conn.building {
            self.pool.give(frame);
        }
        for leg in legs.into_iter().flatten().filter(|leg| Some(*leg) != but) {
            if let Some((stream, side)) = self.msrp.owner_of(leg) {
                self.tell_lost(stream, side);
            }
        }
        Some(conn.socket)
    }

    pub(super) fn forget_at_relay(&mut self, key: ConnectionKey) -> BoundLegs {
        let (relay, mut out, _) = self.msrp_parts();
        relay.closed(key, &mut out)
    }
}
