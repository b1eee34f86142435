//! MSRP connections: accepted, made, fed to [`crate::proto::msrp`], written from its output.
//!
//! The protocol's machine knows connections by its own keys and sockets not at all; here is the
//! table between both.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::RngExt;

use crate::api::{
    Config, Direction, LegFacts, LegLocal, LegSpec, MsrpListen, MsrpLocal, MsrpRemote, MsrpSetup,
    MsrpSpec, MsrpTransport, PortChoice, Refusal, Side, TracedFrame, Tracing,
};
use crate::frame::Frame;
use crate::limits::{
    MSRP_RESUMES_PER_CYCLE, MSRP_SWEPT, MSRP_TRANSACTION_S, MSRP_TRANSACTIONS, STREAM_FRAME_BYTES,
};
use crate::net::{Backend, SocketId, SocketSpec, Token};
use crate::proto::msrp::{self, ConnectionKey, Connections, Demand, LegKey, Verdict};
use crate::session::{Mark, Media, MsrpLeg, Owner, SlotRef, leg_mut};
use crate::stats::{DropReason, Stats};

use super::Worker;
use super::conns::{Conn, Conns, Out, State};
use super::handshakes::Handshakes;
use super::layer::{Kit, Layer};
use super::open::Opening;

/// The MSRP side of a worker.
pub(super) struct Msrp {
    pub(super) relay: Connections,
    pub(super) listeners: Vec<(SocketId, MsrpListen)>,
    pub(super) conns: Conns,
    pub(super) handshakes: Handshakes,
    /// Whose leg is whose, by the relay's key.
    legs: Vec<Option<(SlotRef, Side)>>,
    /// Connections that aren't read now.
    paused: VecDeque<SlotRef>,
    /// Connections whose far ends send no more.
    pub(super) half_closed: VecDeque<(SlotRef, Instant)>,
    /// What was read is copied here, as the relay writes to the pool while it reads.
    scratch: Box<[u8]>,
}

impl Msrp {
    /// Makes one without connections.
    pub(super) fn new(seed: u64, kit: Kit) -> Self {
        let config = msrp::Config {
            transactions: MSRP_TRANSACTIONS,
            timeout: Duration::from_secs(MSRP_TRANSACTION_S),
        };
        Self {
            relay: Connections::new(config, seed),
            listeners: Vec::new(),
            conns: Conns::new(kit),
            handshakes: Handshakes::default(),
            legs: Vec::new(),
            paused: VecDeque::new(),
            half_closed: VecDeque::new(),
            scratch: vec![0; STREAM_FRAME_BYTES].into_boxed_slice(),
        }
    }

    /// The socket of the connection that a leg is bound to.
    pub(super) fn socket_of(&self, leg: LegKey) -> Option<SocketId> {
        let slot = self.conns.slot_of(self.relay.connection_of(leg)?)?;
        Some(self.conns.find(slot)?.socket)
    }

    pub(super) fn key_of(&self, slot: SlotRef) -> Option<ConnectionKey> {
        self.conns.find(slot)?.state.key()
    }

    pub(super) fn owner_of(&self, leg: LegKey) -> Option<(SlotRef, Side)> {
        self.legs.get(leg.0 as usize).copied().flatten()
    }

    fn set_owner(&mut self, leg: LegKey, owner: Option<(SlotRef, Side)>) {
        let at = leg.0 as usize;
        if self.legs.len() <= at && owner.is_some() {
            self.legs.resize(at + 1, None);
        }
        if let Some(place) = self.legs.get_mut(at) {
            *place = owner;
        }
    }
}

impl<B: Backend> Worker<B> {
    pub(super) fn listen_for_msrp(&mut self, config: &Config, number: usize) -> io::Result<()> {
        for (transport, choice) in MsrpTransport::ALL.into_iter().zip(config.msrp_ports) {
            let port = match choice {
                PortChoice::Off => continue,
                PortChoice::From(_) if !self.msrp.conns.kit.has(transport) => {
                    return Err(io::Error::other("encrypted MSRP without an identity"));
                }
                PortChoice::From(0) => 0,
                PortChoice::From(first) => {
                    u16::try_from(usize::from(first) + number).map_err(io::Error::other)?
                }
            };
            for ip in &config.msrp_listen {
                let local = SocketAddr::new(*ip, port);
                let owner = Owner::MsrpListener(transport);
                let (socket, address) = self.open_socket(&SocketSpec::Listen { local }, owner)?;
                let listen = MsrpListen { transport, address };
                self.msrp.listeners.push((socket, listen));
            }
        }
        Ok(())
    }

    pub(super) fn open_msrp(
        &mut self,
        opening: Opening,
        side: Side,
        spec: &LegSpec,
    ) -> Result<(MsrpLeg, LegLocal), Refusal> {
        let LegSpec::Msrp(MsrpSpec {
            local_ip,
            transport,
            match_session_id_only,
            chunking,
            bounds,
            ..
        }) = *spec
        else {
            return Err(Refusal::Unknown);
        };
        let mut listeners = self.msrp.listeners.iter().map(|(_, listen)| *listen);
        let listen = listeners
            .find(|listen| listen.transport == transport && listen.address.ip() == local_ip)
            .ok_or(Refusal::Socket)?;
        let mut session_id = [0; 32];
        session_id.fill_with(|| ID_ALPHABET[self.random.random_range(0..ID_ALPHABET.len())]);
        let mut buffer = [0; PATH_BYTES];
        let local_path = path_of(&mut buffer, listen, &session_id).ok_or(Refusal::Socket)?;
        let leg = msrp::Leg {
            session_id,
            local_path,
            match_session_id_only,
        };
        let key = self.msrp.relay.add_leg(leg).ok_or(Refusal::Full)?;
        self.msrp.relay.set_chunking(key, chunking);
        self.msrp.relay.set_bounds(key, bounds);
        self.msrp.set_owner(key, Some((opening.slot, side)));
        let local = LegLocal::Msrp(MsrpLocal {
            listen: listen.address,
            session_id,
        });
        let leg = MsrpLeg::new(key, local_ip, transport);
        let demand = Demand {
            transport,
            certificate: None,
        };
        self.msrp.relay.set_demand(key, demand);
        Ok((leg, local))
    }

    pub(super) fn undo_msrp(&mut self, leg: MsrpLeg) {
        self.remove_msrp(&leg);
    }

    pub(super) fn join_msrp(&mut self, legs: [MsrpLeg; 2]) -> Media {
        let [a, b] = &legs;
        self.msrp.relay.join(a.key, b.key);
        Media::Msrp(legs)
    }

    /// Reports what went to a leg and has no answer yet, as none is waited for any more.
    pub(super) fn report_msrp(&mut self, leg: &MsrpLeg) {
        let (relay, mut out, stats) = self.msrp_parts();
        relay.report_open(leg.key, &mut out, stats);
    }

    /// Forgets a leg; closes its connection if no other leg uses it.
    pub(super) fn remove_msrp(&mut self, leg: &MsrpLeg) {
        let connection = self.msrp.relay.connection_of(leg.key);
        self.msrp.relay.remove_leg(leg.key);
        self.msrp.set_owner(leg.key, None);
        if let Some(slot) = leg.connecting {
            self.close_conn(slot, None);
        }
        if let Some(key) = connection
            && self.msrp.relay.bound_leg(key).is_none()
            && let Some(slot) = self.msrp.conns.slot_of(key)
        {
            self.close_conn(slot, None);
        }
    }

    /// What was traced of a leg, which is traced as it says from now on.
    pub(super) fn trace_msrp(
        &mut self,
        slot: SlotRef,
        side: Side,
        tracing: Tracing,
    ) -> Vec<TracedFrame> {
        match self.msrp_leg(slot, side).map(|leg| leg.key) {
            Some(key) => self.msrp.relay.trace(key, tracing),
            None => Vec::new(),
        }
    }

    pub(super) fn msrp_facts(&self, leg: &MsrpLeg) -> LegFacts {
        let facts = self.msrp.relay.facts(leg.key);
        let connection = self.msrp.relay.connection_of(leg.key);
        let slot = connection.and_then(|key| self.msrp.conns.slot_of(key));
        LegFacts {
            packets: facts.frames,
            bytes: facts.bytes,
            dropped: facts.dropped,
            messages: facts.messages,
            failures: facts.failures(),
            source: slot
                .and_then(|slot| self.msrp.conns.find(slot))
                .map(|conn| conn.peer),
            ..LegFacts::default()
        }
    }

    /// A leg's far end is named: the relay connects to it, if it is to.
    pub(super) fn connect_msrp(
        &mut self,
        leg: (SlotRef, Side),
        remote: &MsrpRemote,
        direction: Direction,
    ) {
        let (slot, side) = leg;
        let Some(leg) = self.msrp_leg(slot, side) else {
            return;
        };
        let (key, local_ip) = (leg.key, leg.local_ip);
        let transport = leg.transport;
        let demand = Demand {
            transport,
            certificate: remote.fingerprint.map(Box::new),
        };
        let moved = leg.remote.is_some_and(|(at, _)| at != remote.address);
        leg.remote = Some((remote.address, remote.setup));
        let is_active = remote.setup == MsrpSetup::Active;
        let pending = leg.connecting.filter(|_| is_active);
        let relay = &mut self.msrp.relay;
        relay.set_remote(key, &remote.path, remote.local_path.as_deref());
        relay.set_direction(key, direction.may_send, direction.may_receive);
        relay.set_demand(key, demand);
        let is_trusted = relay.is_trusted(key);
        let there = pending.is_some() || relay.connection_of(key).is_some();
        if is_trusted && (!is_active || there && !moved) {
            return;
        }
        if !is_trusted {
            // Somebody else was the first to bind; the announced far end can still do so.
            self.stats.drop(DropReason::Fingerprint);
        }
        let (relay, mut out, stats) = self.msrp_parts();
        let unused = relay.detach(key, &mut out, stats);
        let unused = unused.and_then(|key| self.msrp.conns.slot_of(key));
        for old in [pending, unused].into_iter().flatten() {
            self.close_conn(old, Some(key));
        }
        if !is_active {
            return;
        }
        let to = (&*remote.path, remote.address.ip());
        let layer = Layer::connect(transport, to, &self.msrp.conns.kit);
        let spec = SocketSpec::Connect {
            local: local_ip,
            remote: remote.address,
        };
        self.make_msrp_connection((slot, side), &spec, layer);
    }

    pub(super) fn msrp_accepted(
        &mut self,
        now: Instant,
        transport: MsrpTransport,
        (socket, peer): (SocketId, SocketAddr),
    ) {
        let layer = Layer::accept(transport, &self.msrp.conns.kit);
        let key = match &layer {
            Some(Layer::Plain) => self.msrp.relay.accept(now),
            Some(_) | None => None,
        };
        let state = match (&layer, key) {
            (_, Some(key)) => Some(State::Open(key)),
            (Some(Layer::Plain) | None, None) => None,
            (Some(_), None) => Some(State::Handshaking(None)),
        };
        let conn = layer
            .zip(state)
            .map(|(layer, state)| Conn::new(socket, peer, state, layer));
        let Some(slot) = conn.and_then(|conn| self.msrp.conns.add(conn)) else {
            if let Some(key) = key {
                self.forget_at_relay(key);
            }
            self.stats.drop(DropReason::NotBound);
            self.close_socket(socket);
            return;
        };
        match key {
            Some(key) => {
                self.msrp.conns.name(key, slot);
                self.say_where_accepted(key, transport, slot);
            }
            None => self.begin_handshake(now, slot),
        }
        let owner = Owner::MsrpConnection(slot);
        self.backend.adopt(socket, Token(Mark::new(owner).0));
    }

    pub(super) fn msrp_connected(&mut self, now: Instant, slot: SlotRef) {
        let state = self.msrp.conns.find(slot).map(|conn| conn.state);
        if let Some(State::HopConnecting(key)) = state {
            return self.next_hop_connected(now, slot, key);
        }
        let Some(State::Connecting(stream, side)) = state else {
            return;
        };
        match self.msrp.conns.find_mut(slot) {
            Some(conn) if !conn.layer.is_plain() => {
                conn.state = State::Handshaking(Some((stream, side)));
                self.begin_handshake(now, slot);
                self.layered_received(now, slot, None);
            }
            Some(_) | None => self.connection_made(now, slot, (stream, side)),
        }
    }

    /// A connection that was made for a leg can be used.
    pub(super) fn connection_made(
        &mut self,
        now: Instant,
        slot: SlotRef,
        (stream, side): (SlotRef, Side),
    ) {
        let leg = self.msrp_leg(stream, side).map(|leg| {
            leg.connecting = None;
            leg.key
        });
        let Some(leg) = leg else {
            self.close_conn(slot, None);
            return;
        };
        let (relay, mut out, _) = self.msrp_parts();
        out.unnamed = Some(slot);
        match relay.connected(now, leg, &mut out) {
            Some(key) => self.msrp.conns.name(key, slot),
            None => {
                self.close_conn(slot, None);
                self.tell_lost(stream, side);
            }
        }
    }

    pub(super) fn msrp_received(&mut self, now: Instant, slot: SlotRef, frame: Frame) {
        let conn = self.msrp.conns.find(slot);
        if conn.is_some_and(|conn| !conn.layer.is_plain()) {
            self.layer_received(now, slot, frame);
            return;
        }
        let read = self.pool.bytes(&frame);
        let len = read.len();
        if let Some(to) = self.msrp.scratch.get_mut(..len) {
            to.copy_from_slice(read);
        }
        self.pool.give(frame);
        self.stats.stream_bytes_in += len as u64;
        let scratch = std::mem::take(&mut self.msrp.scratch);
        self.feed_relay(now, slot, scratch.get(..len).unwrap_or_default());
        self.msrp.scratch = scratch;
    }

    /// Hands a connection's octets to the relay.
    pub(super) fn feed_relay(&mut self, now: Instant, slot: SlotRef, bytes: &[u8]) {
        let Some(key) = self.msrp.key_of(slot) else {
            self.stats.drop(DropReason::NoLeg);
            return;
        };
        let (relay, mut out, stats) = self.msrp_parts();
        let verdict = relay.receive(now, key, bytes, &mut out, stats);
        self.hand_over_records();
        let (relay, out, _) = self.msrp_parts();
        let blocked = relay.blocked(key, &out);
        match verdict {
            // The relay has counted why.
            Verdict::Close(_) => self.close_conn(slot, None),
            Verdict::Continue if blocked => self.pause_conn(slot),
            Verdict::Continue => {}
        }
    }

    /// A connection ended, could not be made, or is not wanted any more.
    pub(super) fn msrp_lost(&mut self, slot: SlotRef) {
        let Some(conn) = self.msrp.conns.find(slot) else {
            return;
        };
        match conn.state {
            State::Connecting(stream, side) | State::Handshaking(Some((stream, side))) => {
                if let Some(leg) = self.msrp_leg(stream, side) {
                    leg.connecting = None;
                }
                self.drop_conn(slot);
                self.tell_lost(stream, side);
            }
            State::Handshaking(None) | State::HopHandshaking(_) => {
                self.stats.drop(DropReason::Handshake);
                self.drop_conn(slot);
            }
            State::HopConnecting(_) | State::Open(_) => self.drop_conn(slot),
        }
    }

    /// Hands what was gathered for connections to the batch.
    pub(super) fn msrp_flush(&mut self) {
        let (_, mut out, _) = self.msrp_parts();
        out.flush();
    }

    /// After a batch: ends what lost bytes, and reads again what needn't wait any more.
    pub(super) fn msrp_hold_back(&mut self, now: Instant) {
        while let Some(slot) = self.msrp.conns.broken.pop() {
            self.stats.full_pool += 1;
            self.stats.drop(DropReason::PoolFull);
            self.msrp_lost(slot);
        }
        if self.msrp.relay.is_behind() {
            let (relay, mut out, stats) = self.msrp_parts();
            relay.catch_up(&mut out, stats);
        }
        self.make_next_hops();
        self.resume_some(MSRP_RESUMES_PER_CYCLE);
        self.finish_halves(now, MSRP_RESUMES_PER_CYCLE);
    }

    pub(super) fn msrp_timeouts(&mut self, now: Instant) {
        self.end_overdue_handshakes(now);
        let (relay, mut out, stats) = self.msrp_parts();
        if relay.poll_timeout().is_some_and(|at| at <= now) {
            relay.handle_timeout(now, &mut out, stats);
            self.close_expired(now);
        }
    }

    /// At a cycle's beginning: what has left by now is timed.
    pub(super) fn msrp_sent(&mut self, now: Instant, at_most: usize) {
        let (relay, out, _) = self.msrp_parts();
        relay.sent(now, at_most, &out);
    }

    pub(super) fn msrp_housekeeping(&mut self, now: Instant) {
        self.msrp.relay.sweep(now, MSRP_SWEPT);
        while let Some(leg) = self.msrp.relay.next_lost() {
            if let Some((stream, side)) = self.msrp.owner_of(leg) {
                self.tell_lost(stream, side);
            }
        }
        self.resume_some(usize::MAX);
        self.finish_halves(now, usize::MAX);
        self.stats.stream_bytes_out += std::mem::take(&mut self.msrp.conns.bytes_out);
    }

    fn make_msrp_connection(
        &mut self,
        (stream, side): (SlotRef, Side),
        spec: &SocketSpec,
        layer: Option<Layer>,
    ) {
        let made = match (*spec, layer) {
            (SocketSpec::Connect { remote, .. }, Some(layer)) => {
                let state = State::Connecting(stream, side);
                // The socket's mark needs the slot, so the slot comes first.
                let conn = Conn::new(SocketId(u32::MAX), remote, state, layer);
                self.msrp.conns.add(conn)
            }
            (SocketSpec::Connect { .. }, None)
            | (SocketSpec::Datagram { .. } | SocketSpec::Listen { .. }, _) => None,
        };
        let Some(slot) = made else {
            self.tell_lost(stream, side);
            return;
        };
        match self.open_socket(spec, Owner::MsrpConnection(slot)) {
            Ok((socket, _)) => {
                if let Some(conn) = self.msrp.conns.find_mut(slot) {
                    conn.socket = socket;
                }
                if let Some(leg) = self.msrp_leg(stream, side) {
                    leg.connecting = Some(slot);
                }
            }
            Err(_) => {
                self.msrp.conns.remove(slot);
                self.tell_lost(stream, side);
            }
        }
    }

    fn pause_conn(&mut self, slot: SlotRef) {
        if let Some(conn) = self.msrp.conns.find_mut(slot)
            && conn.reading
        {
            conn.reading = false;
            self.backend.pause(conn.socket);
            self.msrp.paused.push_back(slot);
        }
    }

    /// Looks at connections that aren't read, and reads those that needn't wait any more.
    fn resume_some(&mut self, at_most: usize) {
        for _ in 0..self.msrp.paused.len().min(at_most) {
            let Some(slot) = self.msrp.paused.pop_front() else {
                return;
            };
            let Some(key) = self.msrp.key_of(slot) else {
                continue;
            };
            let (relay, out, _) = self.msrp_parts();
            if relay.blocked(key, &out) {
                self.msrp.paused.push_back(slot);
            } else if let Some(conn) = self.msrp.conns.find_mut(slot) {
                conn.reading = true;
                self.backend.resume(conn.socket);
            }
        }
    }

    pub(super) fn msrp_leg(&mut self, slot: SlotRef, side: Side) -> Option<&mut MsrpLeg> {
        match &mut self.streams.find_mut(slot)?.media {
            Media::Msrp(legs) => Some(leg_mut(legs, side)),
            Media::Member(member) => member.msrp_mut(),
            Media::Rtp(_) | Media::Bytes(_) | Media::Room(_) => None,
        }
    }

    pub(super) fn msrp_parts(&mut self) -> (&mut Connections, Out<'_, B>, &mut Stats) {
        let out = Out {
            backend: &mut self.backend,
            pool: &mut self.pool,
            tx: &mut self.tx,
            conns: &mut self.msrp.conns,
            unnamed: None,
        };
        (&mut self.msrp.relay, out, &mut self.stats)
    }
}

/// Writes the URI of a leg (RFC 4975 §6).
fn path_of<'a>(
    buffer: &'a mut [u8; PATH_BYTES],
    listen: MsrpListen,
    session_id: &[u8; 32],
) -> Option<&'a str> {
    let id = str::from_utf8(session_id).ok()?;
    let mut rest = buffer.as_mut_slice();
    let (scheme, parameter) = (listen.transport.scheme(), listen.transport.parameter());
    write!(rest, "{scheme}://{}/{id};{parameter}", listen.address).ok()?;
    let unwritten = rest.len();
    str::from_utf8(buffer.get(..PATH_BYTES - unwritten)?).ok()
}

/// What session ids are made of: five bits a character.
const ID_ALPHABET: [u8; 32] = *b"0123456789abcdefghijklmnopqrstuv";
/// The longest one is of an IPv6 address with a scope.
const PATH_BYTES: usize = 128;
