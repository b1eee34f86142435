//! Legs that change their connection while messages are on their way (RFC 4975 §8.4).
//!
//! The chunk in flight is ended with `+` and goes on over the new connection with a head of its
//! own, as far as it may be cut; what waits for a response of the old one is reported with 481.

use super::connection::{Connection, Wait};
use super::legs::Link;
use super::{ConnectionKey, Connections, Egress, LegKey};
use crate::stats::Stats;
use crate::wire::msrp::{Head, Uri};

impl Connections {
    /// Takes a leg off its connection, as another one is to come for it: what is for it waits from
    /// now on. Says which connection it had, if no other leg uses that one.
    pub fn detach(
        &mut self,
        leg: LegKey,
        out: &mut impl Egress,
        stats: &mut Stats,
    ) -> Option<ConnectionKey> {
        let unused = self.leave(leg, out);
        self.run_ready(out);
        self.counts.publish(stats);
        unused
    }

    fn leave(&mut self, leg: LegKey, out: &mut impl Egress) -> Option<ConnectionKey> {
        let link = self.legs.get(leg)?.link;
        if let Link::Bound(connection) = link {
            self.end_piece_for(leg, connection, out);
            self.fail_open_of(leg, out);
        }
        if let Some(state) = self.legs.get_mut(leg) {
            state.link = Link::Awaited;
            state.is_moved = false;
        }
        let Link::Bound(connection) = link else {
            return None;
        };
        self.unbind(connection, leg);
        let left = self.connection(connection)?.legs.len();
        (left == 0).then_some(connection)
    }

    /// The chunk that is being written to a leg goes on elsewhere, or is given up.
    fn end_piece_for(&mut self, leg: LegKey, sink: ConnectionKey, out: &mut impl Egress) {
        let Some(owner) = self.connection(sink).and_then(|sink| sink.owner) else {
            return;
        };
        let forward = self.connection(owner).and_then(Connection::forward);
        if forward.is_none_or(|forward| forward.to.key != leg || forward.sink != sink) {
            return;
        }
        if self.suspend_owner(sink, out) {
            self.release(sink, owner, out);
        } else {
            self.fail_incoming(owner, 481, out);
        }
    }

    /// Whether the chunk that comes from a connection can go on: there is room for its records, its
    /// leg has a connection, and it is its turn there.
    pub(super) fn may_go_on(&mut self, key: ConnectionKey, out: &mut impl Egress) -> bool {
        if self.chunk_must_wait_for_recorder(key, out) {
            return false;
        }
        let forward = self.connection(key).and_then(Connection::forward);
        let Some(forward) = forward.filter(|forward| forward.suspended) else {
            return true;
        };
        let to = forward.to;
        match self.legs.live(to).map(|leg| leg.link) {
            Some(Link::Bound(sink)) => {
                if let Some(forward) = self.connection_mut(key).and_then(Connection::forward_mut) {
                    forward.sink = sink;
                }
                self.acquire(sink, key, out)
            }
            Some(Link::Awaited) => {
                if let Some(state) = self.connection_mut(key)
                    && state.wait == Wait::No
                {
                    state.wait = Wait::Leg(to.key);
                }
                false
            }
            Some(Link::Lost) | None => {
                self.give_up(key, 481, out);
                true
            }
        }
    }

    /// Binds a leg to another connection, where its far end was named anew and the request comes
    /// from there.
    pub(super) fn take_over(
        &mut self,
        key: ConnectionKey,
        head: &Head<'_>,
        out: &mut impl Egress,
    ) -> Option<LegKey> {
        let uri = head.to_first();
        let leg = self.legs.find(Uri::parse(uri)?.session_id)?;
        let state = self.legs.get(leg)?;
        let is_its = state.is_moved && state.is_named_by(uri) && !state.frozen;
        let from = state
            .remote
            .as_deref()?
            .split(|byte| *byte == b' ')
            .next()?;
        let is_from_there = Uri::parse(from)?.matches(&Uri::parse(head.from_first())?);
        if !(is_its && is_from_there && self.is_carried(leg, key)) {
            return None;
        }
        self.leave(leg, out);
        self.bind(key, leg).then_some(leg)
    }
}
