//! Connections whose far ends send no more, and still read.

use super::{ConnectionKey, Connections, Egress};
use crate::stats::Stats;

use super::connection::{Connection, Wait};

impl Connections {
    /// Nothing more comes from a connection: once what was read of it is used up, the chunk that
    /// it left unfinished is given up with `#`. May be called again and again.
    ///
    /// Says whether something may still have to be written to it: a chunk on its way to it, what
    /// waits for that one's end, a response or a report to what it has sent, or what becomes of
    /// that which is not used up.
    pub fn end_input(
        &mut self,
        key: ConnectionKey,
        out: &mut impl Egress,
        stats: &mut Stats,
    ) -> bool {
        let is_used_up = self.connection(key).is_some_and(Connection::is_used_up);
        if is_used_up {
            if let Some(forward) = self.abort(key, out) {
                self.shared.give(forward.kept.buffer);
            }
            self.abort_fan(key, out);
        }
        self.run_ready(out);
        self.counts.publish(stats);
        !is_used_up || self.is_owed(key)
    }

    fn is_owed(&self, key: ConnectionKey) -> bool {
        let Some(state) = self.connection(key) else {
            return false;
        };
        let is_written_to = state.owner.is_some_and(|owner| self.holds(owner, key));
        let mut legs = state.legs.iter().filter_map(|leg| self.legs.get(*leg));
        is_written_to
            || state.waiters.is_some()
            || !state.pending.is_empty()
            || legs.any(|leg| leg.open > 0)
    }
}

impl Connection {
    /// Whether nothing of what was read of it waits.
    fn is_used_up(&self) -> bool {
        self.wait == Wait::No && self.head.is_none() && self.parked.is_empty()
    }
}
