//! What a far end may ask of the relay: how long its messages are, how fast it sends, how long it
//! is silent.

use std::time::{Duration, Instant};

use super::connection::{Connection, Cut};
use super::legs::{LegRef, LegState, Link};
use super::{ConnectionKey, Connections, Egress, LegKey};
use crate::api::MsrpBounds;
use crate::wire::msrp::Head;

/// A leg's bounds, where it has any: most have none, and an idle leg is to be small.
#[derive(Debug, Default)]
pub(super) struct Bounds(Option<Box<Used>>);

/// Bounds, and how much of them is used up.
#[derive(Debug, Default)]
struct Used {
    set: MsrpBounds,
    /// Octets that it is ahead of its rate, at `at`.
    ahead: u64,
    at: Option<Instant>,
    /// When its last frame came, where somebody wants to know.
    heard: Option<Instant>,
}

impl Bounds {
    /// A frame or a part of one came.
    pub(super) fn take(&mut self, octets: usize, now: Option<Instant>) {
        if let Some(used) = &mut self.0 {
            used.take(octets, now);
        }
    }

    /// A frame came.
    pub(super) fn hear(&mut self, now: Option<Instant>) {
        if let Some(used) = &mut self.0 {
            used.hear(now);
        }
    }

    pub(super) fn is_too_long(&self, octets: u64) -> bool {
        self.0.as_ref().is_some_and(|used| used.is_too_long(octets))
    }

    fn is_ahead(&self, now: Instant) -> bool {
        self.0.as_ref().is_some_and(|used| used.is_ahead(now))
    }

    /// The bounds, where they limit its silence.
    fn watched(&mut self) -> Option<&mut Used> {
        self.0.as_deref_mut().filter(|used| used.set.idle_ms > 0)
    }

    fn set(&mut self, set: MsrpBounds, now: Option<Instant>) {
        if set == MsrpBounds::default() {
            self.0 = None;
            return;
        }
        let used = self.0.get_or_insert_default();
        used.set = set;
        used.hear(now);
    }
}

impl Used {
    fn take(&mut self, octets: usize, now: Option<Instant>) {
        if self.set.octets_per_s == 0 {
            return;
        }
        let Some(now) = now else {
            return;
        };
        let passed = self.passed(now);
        // A clock read too soon for a single octet is read again later.
        if passed > 0 || self.at.is_none() {
            self.ahead = self.ahead.saturating_sub(passed);
            self.at = Some(now);
        }
        self.ahead = self.ahead.saturating_add(octets as u64);
    }

    fn hear(&mut self, now: Option<Instant>) {
        if self.set.idle_ms > 0 {
            self.heard = now;
        }
    }

    /// Whether more than a second's octets came too early.
    fn is_ahead(&self, now: Instant) -> bool {
        let rate = self.set.octets_per_s;
        rate > 0 && self.ahead.saturating_sub(self.passed(now)) > rate
    }

    /// Octets that might have come since `at`.
    fn passed(&self, now: Instant) -> u64 {
        let since = self
            .at
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let octets = u128::from(self.set.octets_per_s) * since.as_micros() / 1_000_000;
        u64::try_from(octets).unwrap_or(u64::MAX)
    }

    fn is_idle(&self, now: Instant) -> bool {
        let limit = Duration::from_millis(u64::from(self.set.idle_ms));
        self.set.idle_ms > 0
            && self
                .heard
                .is_some_and(|heard| now.saturating_duration_since(heard) >= limit)
    }

    fn is_too_long(&self, octets: u64) -> bool {
        self.set.message_octets > 0 && octets > self.set.message_octets
    }
}

impl LegState {
    /// Whether a head says that its message is longer than the leg's may be.
    pub(super) fn is_too_long(&self, head: &Head<'_>) -> bool {
        head.byte_range.is_some_and(|range| {
            let known = [
                range.start.saturating_sub(1),
                range.end.unwrap_or(0),
                range.total.unwrap_or(0),
            ];
            known
                .into_iter()
                .any(|octets| self.bounds.is_too_long(octets))
        })
    }
}

impl Connections {
    /// Says what a leg's far end may ask for, from now on.
    pub fn set_bounds(&mut self, leg: LegKey, bounds: MsrpBounds) {
        let now = self.latest;
        let Some(state) = self.legs.get_mut(leg) else {
            return;
        };
        let was_watched = state.bounds.watched().is_some();
        state.bounds.set(bounds, now);
        if bounds.idle_ms > 0
            && !was_watched
            && let Some(reference) = self.legs.reference(leg)
        {
            self.watched.push_back(reference);
        }
    }

    /// Whether a connection carries a leg whose far end sends faster than it may.
    pub(super) fn is_ahead(&self, connection: &Connection) -> bool {
        let Some(now) = self.latest else {
            return false;
        };
        let mut legs = connection.legs.iter().filter_map(|leg| self.legs.get(*leg));
        legs.any(|leg| leg.bounds.is_ahead(now))
    }

    /// Looks after legs with a bound on their silence, at most so many of them: the connection of
    /// one that was silent for too long is told by [`Self::expired`] as one to be closed; where
    /// other legs share it, the leg alone loses it and is told by [`Self::next_lost`].
    pub fn sweep(&mut self, now: Instant, at_most: usize) {
        self.latest = Some(now);
        for _ in 0..self.watched.len().min(at_most) {
            let Some(watched) = self.watched.pop_front() else {
                return;
            };
            let Some(state) = self.legs.live_mut(watched) else {
                continue;
            };
            let Some(used) = state.bounds.watched() else {
                continue;
            };
            self.watched.push_back(watched);
            let Link::Bound(connection) = state.link else {
                // Its time begins once it is bound.
                used.heard = None;
                continue;
            };
            let heard = *used.heard.get_or_insert(now);
            if heard <= now && used.is_idle(now) {
                used.heard = None;
                self.counts.idle += 1;
                self.give_up_idle(watched, connection);
            }
        }
    }

    fn give_up_idle(&mut self, leg: LegRef, connection: ConnectionKey) {
        let Some(state) = self.connection_mut(connection) else {
            return;
        };
        if state.legs.len() == 1 {
            self.broken.push_back(connection);
            return;
        }
        state.legs.retain(|bound| *bound != leg.key);
        self.lose(leg.key);
        self.lost.push_back(leg.key);
    }

    /// Yields, one at a time, legs that lost a connection that others still use.
    pub fn next_lost(&mut self) -> Option<LegKey> {
        self.lost.pop_front()
    }

    /// Whether a chunk's message gets longer than it may by octets that came; it is stopped then.
    pub(super) fn overruns(
        &mut self,
        key: ConnectionKey,
        octets: usize,
        out: &mut impl Egress,
    ) -> bool {
        let Some(forward) = self.connection(key).and_then(Connection::forward) else {
            return false;
        };
        let gathered = match &forward.cut {
            Cut::Exact { gathered, .. } => gathered.len(),
            Cut::AsItComes | Cut::AtMost(_) => 0,
        };
        let whole = forward.last().saturating_add((gathered + octets) as u64);
        let (from, message_id, is_send) = (forward.from, forward.message_id, forward.is_send);
        let Some(leg) = self.legs.live_mut(from).filter(|_| is_send) else {
            return false;
        };
        if !leg.bounds.is_too_long(whole) {
            return false;
        }
        leg.stop_message(message_id.as_bytes());
        leg.facts.dropped += 1;
        self.fail_incoming(key, STOP_SENDING, out);
        true
    }
}

const STOP_SENDING: u16 = 413;
