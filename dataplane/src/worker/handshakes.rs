//! MSRP connections with a layer: its handshake, and what passes through it.
//!
//! ```text
//! accepted ───────────────────▶ handshaking ──done──▶ open, bound to no leg yet
//! made for a leg ──connected──▶ handshaking ──done, and the certificate is the announced one──▶ open
//!                                    └─ failed, 10 s, or the oldest of too many ──▶ closed
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::api::Side;
use crate::frame::Frame;
use crate::limits::{HANDSHAKE_MS, HANDSHAKE_STEPS_PER_CYCLE, HANDSHAKES};
use crate::net::Backend;
use crate::proto::layer::{Failure, Stage};
use crate::proto::msrp::Egress;
use crate::session::SlotRef;
use crate::stats::DropReason;

use super::Worker;
use super::conns::{Conns, State};
use super::layer::Layer;
use super::msrp::Msrp;

/// Handshakes in the order of their time; some are over by now.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    line: VecDeque<(Instant, SlotRef)>,
    /// Those that have octets and had no turn yet.
    late: VecDeque<SlotRef>,
    /// The same, of floor control: legs, each once.
    late_floors: VecDeque<SlotRef>,
    /// Steps that were taken in this cycle.
    steps: usize,
}

impl Handshakes {
    /// When the first one's time is up, or the next one's turn is.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        if !self.late.is_empty() || !self.late_floors.is_empty() {
            return Some(now);
        }
        self.line.front().map(|(at, _)| *at)
    }

    /// Whether this cycle has done its share of them.
    pub(super) fn is_busy(&self) -> bool {
        self.steps >= HANDSHAKE_STEPS_PER_CYCLE
    }

    /// Counts a step that is taken in this cycle.
    pub(super) fn count(&mut self) {
        self.steps += 1;
    }

    /// A handshake of floor control waits for the next cycle.
    pub(super) fn put_off_floors(&mut self, slot: SlotRef) {
        self.late_floors.push_back(slot);
    }

    /// Adds one; where there are too many, the oldest has to leave for it.
    fn join(&mut self, now: Instant, slot: SlotRef, conns: &Conns) -> Option<SlotRef> {
        if self.line.len() >= HANDSHAKES {
            self.line.retain(|(_, slot)| is_handshaking(conns, *slot));
        }
        let oldest = (self.line.len() >= HANDSHAKES).then(|| self.line.pop_front());
        let until = now + Duration::from_millis(HANDSHAKE_MS);
        self.line.push_back((until, slot));
        oldest.flatten().map(|(_, slot)| slot)
    }

    /// Takes the first one whose time is up.
    fn overdue(&mut self, now: Instant, conns: &Conns) -> Option<SlotRef> {
        while let Some((until, slot)) = self.line.front().copied() {
            let is_live = is_handshaking(conns, slot);
            if is_live && now < until {
                return None;
            }
            self.line.pop_front();
            if is_live {
                return Some(slot);
            }
        }
        None
    }
}

fn is_handshaking(conns: &Conns, slot: SlotRef) -> bool {
    conns
        .find(slot)
        .is_some_and(|conn| conn.state.is_handshaking())
}

impl<B: Backend> Worker<B> {
    /// A connection's handshake begins.
    pub(super) fn begin_handshake(&mut self, now: Instant, slot: SlotRef) {
        let msrp = &mut self.msrp;
        if let Some(oldest) = msrp.handshakes.join(now, slot, &msrp.conns) {
            self.stats.full_handshakes += 1;
            self.fail_handshake(oldest);
        }
    }

    /// Ends the handshakes that took too long.
    pub(super) fn end_overdue_handshakes(&mut self, now: Instant) {
        while let Some(slot) = self.msrp.handshakes.overdue(now, &self.msrp.conns) {
            self.fail_handshake(slot);
        }
    }

    /// A cycle begins: those have their turn that were late in the last one.
    pub(super) fn take_late_handshakes(&mut self, now: Instant) {
        self.msrp.handshakes.steps = 0;
        while !self.msrp.handshakes.is_busy() {
            if let Some(slot) = self.msrp.handshakes.late_floors.pop_front() {
                self.take_late_bfcp(now, slot);
                continue;
            }
            let Some(slot) = self.msrp.handshakes.late.pop_front() else {
                return;
            };
            if let Some(conn) = self.msrp.conns.find_mut(slot) {
                conn.is_late = false;
                self.layered_received(now, slot, None);
            }
        }
    }

    /// Octets came for a connection that has a layer.
    pub(super) fn layer_received(&mut self, now: Instant, slot: SlotRef, frame: Frame) {
        match self.put_off(slot, &frame) {
            Ok(false) => self.layered_received(now, slot, Some(frame)),
            Ok(true) => self.pool.give(frame),
            Err(_) => {
                self.pool.give(frame);
                self.fail_handshake(slot);
            }
        }
    }

    /// Keeps a handshake's octets for the next cycle where this one has done its share.
    fn put_off(&mut self, slot: SlotRef, frame: &Frame) -> Result<bool, Failure> {
        let Msrp {
            conns, handshakes, ..
        } = &mut self.msrp;
        let Some((conn, kit)) = conns.with_kit(slot) else {
            return Ok(false);
        };
        if !conn.state.is_handshaking() {
            return Ok(false);
        }
        if !conn.is_late && handshakes.steps < HANDSHAKE_STEPS_PER_CYCLE {
            return Ok(false);
        }
        let is_kept = conn.layer.keep(self.pool.bytes(frame), kit)?;
        if is_kept {
            self.stats.stream_bytes_in += frame.len() as u64;
            if !conn.is_late {
                conn.is_late = true;
                handshakes.late.push_back(slot);
            }
        }
        Ok(is_kept)
    }

    /// Octets came for a connection that has a layer, or it is its turn with those it has.
    pub(super) fn layered_received(&mut self, now: Instant, slot: SlotRef, frame: Option<Frame>) {
        let key = self.msrp.key_of(slot);
        let (_, out, _) = self.msrp_parts();
        let is_choked = key.is_some_and(|key| out.is_full(key));
        let Some((conn, kit)) = self.msrp.conns.with_kit(slot) else {
            if let Some(frame) = frame {
                self.pool.give(frame);
            }
            return;
        };
        kit.choke(is_choked);
        let octets = frame.as_ref().map(|frame| self.pool.bytes(frame));
        let octets = octets.unwrap_or_default();
        self.stats.stream_bytes_in += octets.len() as u64;
        let stage = conn.layer.receive(octets, kit);
        let is_new = conn.state.is_handshaking();
        self.msrp.handshakes.steps += usize::from(is_new);
        if let Some(frame) = frame {
            self.pool.give(frame);
        }
        let (_, mut out, _) = self.msrp_parts();
        out.write_wire(slot);
        let is_open = match stage {
            Ok(Stage::Handshaking) => return,
            Ok(Stage::Open | Stage::Ended) if is_new => self.finish_handshake(now, slot),
            Ok(Stage::Open | Stage::Ended) => true,
            Err(_) => !is_new,
        };
        if is_open {
            let plain = std::mem::take(&mut self.msrp.conns.kit.out.plain);
            if !plain.is_empty() {
                self.feed_relay(now, slot, &plain);
            }
            self.msrp.conns.kit.out.plain = plain;
        }
        match stage {
            Ok(Stage::Open | Stage::Handshaking) => {}
            Ok(Stage::Ended) if self.may_be_half_closed(slot) => self.msrp_ended(now, slot),
            Ok(Stage::Ended) => self.close_conn(slot, None),
            Err(_) if is_new => self.fail_handshake(slot),
            Err(_) => {
                self.stats.drop(DropReason::BrokenLayer);
                self.close_conn(slot, None);
            }
        }
    }

    /// Whether a layer's end is that of one direction only: TLS's is (RFC 8446 §6.1), a
    /// WebSocket's is not (RFC 6455 §5.5.1).
    fn may_be_half_closed(&self, slot: SlotRef) -> bool {
        let conn = self.msrp.conns.find(slot);
        conn.is_some_and(|conn| matches!(conn.layer, Layer::Tls(_)))
    }

    /// A handshake is done; false: the connection isn't wanted.
    fn finish_handshake(&mut self, now: Instant, slot: SlotRef) -> bool {
        let Some(conn) = self.msrp.conns.find(slot) else {
            return false;
        };
        let (state, carrier) = (conn.state, conn.layer.carrier());
        self.stats.handshakes += 1;
        let made_for = match state {
            State::Handshaking(made_for) => made_for,
            State::HopHandshaking(key) => {
                self.next_hop_made(now, slot, (key, carrier));
                return true;
            }
            State::Connecting(..) | State::HopConnecting(_) | State::Open(_) => return false,
        };
        let Some((stream, side)) = made_for else {
            let Some(key) = self.msrp.relay.accept(now) else {
                self.stats.drop(DropReason::NotBound);
                self.close_conn(slot, None);
                return false;
            };
            self.msrp.conns.name(key, slot);
            self.say_where_accepted(key, carrier.transport, slot);
            self.msrp.relay.set_carrier(key, carrier);
            return true;
        };
        let leg = self.msrp_leg(stream, side).map(|leg| leg.key);
        let demand = leg.and_then(|leg| self.msrp.relay.demand_of(leg));
        if !demand.is_some_and(|demand| demand.trusts(&carrier)) {
            self.stats.drop(DropReason::Fingerprint);
            self.give_up_connecting(slot, (stream, side));
            return false;
        }
        self.connection_made(now, slot, (stream, side));
        if let Some(key) = self.msrp.key_of(slot) {
            self.msrp.relay.set_carrier(key, carrier);
        }
        true
    }

    fn fail_handshake(&mut self, slot: SlotRef) {
        let state = self.msrp.conns.find(slot).map(|conn| conn.state);
        let made_for = match state {
            Some(State::Handshaking(made_for)) => made_for,
            Some(State::HopHandshaking(_)) => None,
            Some(State::Connecting(..) | State::HopConnecting(_) | State::Open(_)) | None => return,
        };
        self.stats.drop(DropReason::Handshake);
        match made_for {
            Some(leg) => self.give_up_connecting(slot, leg),
            None => self.close_conn(slot, None),
        }
    }

    fn give_up_connecting(&mut self, slot: SlotRef, (stream, side): (SlotRef, Side)) {
        if let Some(leg) = self.msrp_leg(stream, side) {
            leg.connecting = None;
        }
        self.close_conn(slot, None);
        self.tell_lost(stream, side);
    }
}
