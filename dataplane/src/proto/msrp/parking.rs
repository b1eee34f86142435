//! What waits: connections that are not read now, and what is kept of them for later.

use super::connection::{Connection, Wait};
use super::{ConnectionKey, Connections, Egress, LegKey};
use crate::limits::{
    MSRP_PARKED_BYTES, MSRP_PENDING_HIGH_BYTES, MSRP_SHARED_BYTES, MSRP_WAITING_BYTES,
};
use crate::stats::DropReason;

impl Connections {
    /// Whether a connection must not be read now: it waits for the far leg or for another
    /// session's chunk, a connection that its frames go to is full, or it doesn't take the
    /// responses to what it sends.
    #[must_use]
    pub fn blocked(&self, connection: ConnectionKey, out: &impl Egress) -> bool {
        let Some(state) = self.connection(connection) else {
            return false;
        };
        let owes = state.owed >= MSRP_PENDING_HIGH_BYTES && out.is_full(connection);
        state.wait != Wait::No
            || !state.parked.is_empty()
            || state.pending.len() >= MSRP_PENDING_HIGH_BYTES
            || owes
            || self.is_held_back_by_role(connection, out)
            || self.has_full_sink(state, out)
            || self.is_ahead(state)
    }

    /// Whether what came from a connection waits at a sink, so that no more of it is wanted.
    ///
    /// One session's sink stops its connection at the high mark. Where sessions share a connection,
    /// one whose sink doesn't take it is let go on by `limits::MSRP_SHARED_BYTES`, so that it holds
    /// up the others only then: their frames come behind its own on the same stream.
    fn has_full_sink(&self, state: &Connection, out: &impl Egress) -> bool {
        let is_shared = state.legs.len() > 1;
        state.legs.iter().any(|leg| {
            let leg = self.legs.get(*leg);
            if let Some(room) = leg.and_then(|leg| leg.room) {
                return self.is_room_full(room, is_shared, out);
            }
            let peer = leg.and_then(|leg| leg.peer);
            peer.and_then(|peer| self.connection_of(peer))
                .is_some_and(|sink| {
                    out.is_full(sink)
                        && (!is_shared || out.progress(sink).waiting() > MSRP_SHARED_BYTES)
                })
        })
    }

    /// Something about a leg changed: whoever waits for it looks again.
    pub(super) fn wake_source_of(&mut self, leg: LegKey) {
        let peer = self.legs.get(leg).and_then(|leg| leg.peer);
        let Some(source) = peer.and_then(|peer| self.connection_of(peer)) else {
            return;
        };
        if self.connection(source).map(|state| state.wait) == Some(Wait::Leg(leg)) {
            self.wake(Some(source));
        }
    }

    /// Lets a connection go on, unless it stands in line before a sink.
    pub(super) fn wake(&mut self, key: Option<ConnectionKey>) {
        let Some(key) = key else {
            return;
        };
        if let Some(connection) = self.connection_mut(key)
            && !matches!(connection.wait, Wait::Sink(_))
        {
            connection.wait = Wait::No;
            if !self.ready.contains(&key) {
                self.ready.push_back(key);
            }
        }
    }

    /// Keeps bytes for later.
    pub(super) fn park(&mut self, key: ConnectionKey, bytes: &[u8]) -> Result<(), DropReason> {
        if bytes.is_empty() {
            return Ok(());
        }
        let has_room = self.waiting_octets + bytes.len() <= MSRP_WAITING_BYTES;
        let spare = match self.connection(key) {
            Some(connection) if connection.parked.capacity() == 0 => self.spare.pop(),
            Some(_) | None => None,
        };
        let Some(connection) = self.connection_mut(key) else {
            return Ok(());
        };
        if let Some(spare) = spare {
            connection.parked = spare;
        }
        if connection.parked.len() + bytes.len() > MSRP_PARKED_BYTES || !has_room {
            return Err(DropReason::PoolFull);
        }
        connection.parked.extend_from_slice(bytes);
        self.waiting_octets += bytes.len();
        Ok(())
    }

    /// Takes room for octets that are kept; false: there is none.
    pub(super) fn reserve(&mut self, octets: usize) -> bool {
        let has_room = self.waiting_octets + octets <= MSRP_WAITING_BYTES;
        if has_room {
            self.waiting_octets += octets;
        }
        has_room
    }

    /// What waited is taken up again, or given up.
    pub(super) fn no_longer_waits(&mut self, octets: usize) {
        self.waiting_octets = self.waiting_octets.saturating_sub(octets);
    }

    pub(super) fn give_spare(&mut self, mut buffer: Vec<u8>) {
        let is_worth_it = (1..=SPARE_BYTES).contains(&buffer.capacity());
        if is_worth_it && self.spare.len() < SPARE_KEPT {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

/// Buffers for what waits that are kept for use again.
const SPARE_KEPT: usize = 64;
/// Octets of the longest of them.
const SPARE_BYTES: usize = 64 * 1024;
