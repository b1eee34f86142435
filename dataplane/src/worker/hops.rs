//! The role of a relay for MSRP clients (RFC 4976): where they came in, and the connections to next
//! hops.
//!
//! ```text
//! asked for ──▶ HopConnecting ──connected──▶ HopHandshaking ──done──▶ Open
//!                    │                 plain TCP ─────────────────────▶ ▲
//!                    └─ refused, or the relay gives it up ──▶ closed, and the relay is told
//! ```

use std::time::Instant;

use rand::Rng;

use crate::api::{Config, MsrpListen, MsrpTransport};
use crate::net::{Backend, SocketId, SocketSpec};
use crate::proto::msrp::{Carrier, ConnectionKey, NextHop};
use crate::session::{Owner, SlotRef};

use super::Worker;
use super::conns::{Conn, State};
use super::layer::Layer;

impl<B: Backend> Worker<B> {
    /// Takes the role, if it is wanted.
    pub(super) fn become_relay(&mut self, config: &Config) {
        if let Some(role) = &config.msrp_relay {
            let mut seed = [0; 32];
            self.random.fill_bytes(&mut seed);
            self.msrp.relay.become_relay(role.clone(), seed);
        }
    }

    /// Says where a client came in. With several addresses of one family it is the first of them.
    pub(super) fn say_where_accepted(
        &mut self,
        key: ConnectionKey,
        transport: MsrpTransport,
        slot: SlotRef,
    ) {
        let Some(peer) = self.msrp.conns.find(slot).map(|conn| conn.peer) else {
            return;
        };
        let is_its = |listen: &MsrpListen| {
            listen.transport == transport && listen.address.is_ipv4() == peer.is_ipv4()
        };
        let mut listeners = self.msrp.listeners.iter().map(|(_, listen)| *listen);
        if let Some(listen) = listeners.find(is_its) {
            self.msrp.relay.accepted_at(key, listen);
        }
    }

    /// Connects to the next hops that the relay has asked for.
    pub(super) fn make_next_hops(&mut self) {
        while let Some(hop) = self.msrp.relay.wanted() {
            if self.make_next_hop(hop).is_none() {
                self.forget_at_relay(hop.connection);
            }
        }
    }

    fn make_next_hop(&mut self, hop: NextHop) -> Option<()> {
        let address = hop.address;
        let mut listeners = self
            .msrp
            .listeners
            .iter()
            .map(|(_, listen)| listen.address.ip());
        let local = listeners.find(|ip| ip.is_ipv4() == address.is_ipv4())?;
        let layer = Layer::connect(hop.transport, ("", address.ip()), &self.msrp.conns.kit)?;
        let state = State::HopConnecting(hop.connection);
        // The socket's mark needs the slot, so the slot comes first.
        let conn = Conn::new(SocketId(u32::MAX), address, state, layer);
        let slot = self.msrp.conns.add(conn)?;
        let spec = SocketSpec::Connect {
            local,
            remote: address,
        };
        let Ok((socket, _)) = self.open_socket(&spec, Owner::MsrpConnection(slot)) else {
            self.msrp.conns.remove(slot);
            return None;
        };
        self.msrp.conns.name(hop.connection, slot);
        let conn = self.msrp.conns.find_mut(slot)?;
        (conn.socket, conn.state) = (socket, state);
        Some(())
    }

    /// A next hop has taken the connection; its layer's handshake is next, if it has one.
    pub(super) fn next_hop_connected(&mut self, now: Instant, slot: SlotRef, key: ConnectionKey) {
        match self.msrp.conns.find_mut(slot) {
            Some(conn) if !conn.layer.is_plain() => {
                conn.state = State::HopHandshaking(key);
                self.begin_handshake(now, slot);
                self.layered_received(now, slot, None);
            }
            Some(_) | None => self.next_hop_made(now, slot, (key, Carrier::default())),
        }
    }

    /// A connection to a next hop can be used.
    pub(super) fn next_hop_made(
        &mut self,
        now: Instant,
        slot: SlotRef,
        (key, carrier): (ConnectionKey, Carrier),
    ) {
        self.msrp.conns.name(key, slot);
        self.msrp.relay.set_carrier(key, carrier);
        let (relay, mut out, _) = self.msrp_parts();
        relay.next_hop_connected(now, key, &mut out);
    }
}
