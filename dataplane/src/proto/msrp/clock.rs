//! When a transaction's time begins: with its last octet at the kernel (RFC 4975 §7.1.1).

use std::time::{Duration, Instant};

use super::{ConnectionKey, Connections, Egress};
use crate::limits::MSRP_STALL_MS;
use crate::stats::DropReason;

use super::transactions::Ticket;

impl Connections {
    /// Looks after what was written and had not left: the time of what the kernel has by now runs
    /// from `now` on. To be called before anything else is done in a cycle, so that what has left
    /// has left before `now` and no time is up too early.
    ///
    /// At most `at_most` connections are looked at, in turn.
    pub fn sent(&mut self, now: Instant, at_most: usize, out: &impl Egress) {
        self.latest = Some(now);
        for _ in 0..self.leaving.len().min(at_most) {
            let Some(key) = self.leaving.pop_front() else {
                return;
            };
            if self.look_at_leaving(key, now, out) {
                self.leaving.push_back(key);
            }
        }
    }

    /// Whether something of a connection has still to leave.
    fn look_at_leaving(&mut self, key: ConnectionKey, now: Instant, out: &impl Egress) -> bool {
        let left = out.progress(key).left;
        let Some(state) = self.places.get_mut(key.0 as usize).and_then(Option::as_mut) else {
            return false;
        };
        self.transactions.left(left, now, &mut state.open);
        if !state.open.has_leaving() {
            state.stalled = None;
            return false;
        }
        match state.stalled {
            Some((before, since)) if before == left => {
                let stalled = now.saturating_duration_since(since);
                if stalled >= Duration::from_millis(MSRP_STALL_MS) {
                    // Whoever takes nothing for so long is as good as gone.
                    state.stalled = Some((left, now));
                    self.counts.drop(DropReason::Stalled);
                    self.broken.push_back(key);
                }
            }
            Some(_) | None => state.stalled = Some((left, now)),
        }
        true
    }

    /// What went out was handed over whole: its time begins once it has left.
    pub(super) fn begin_to_leave(
        &mut self,
        sink: ConnectionKey,
        ticket: Ticket,
        out: &impl Egress,
    ) {
        let Some(now) = self.latest else {
            return;
        };
        let Some(state) = self
            .places
            .get_mut(sink.0 as usize)
            .and_then(Option::as_mut)
        else {
            return;
        };
        let written = out.progress(sink);
        // What waits for a chunk to end is not handed over yet.
        let mark = if state.pending.is_empty() {
            written.handed_over
        } else {
            u64::MAX
        };
        let was_leaving = state.open.has_leaving();
        self.transactions.leave(ticket, mark, &mut state.open);
        if was_leaving {
            return;
        }
        if mark <= written.left {
            self.transactions.left(mark, now, &mut state.open);
        } else {
            self.leaving.push_back(sink);
        }
    }

    /// What waited for a chunk to end was handed over.
    pub(super) fn pending_is_handed_over(&mut self, sink: ConnectionKey, out: &impl Egress) {
        let handed_over = out.progress(sink).handed_over;
        if let Some(open) = self.connection(sink).map(|state| state.open) {
            self.transactions.handed_over(handed_over, open);
        }
    }
}
