//! MSRP connections whose far ends send no more and still read.
//!
//! ```text
//! open ──far end ends its half──▶ half-closed ──nothing is owed to it, or its time is up──▶ closed
//!                                    └─ what waits for it and what still comes is written
//! ```

use std::time::{Duration, Instant};

use crate::limits::MSRP_HALF_CLOSED_MS;
use crate::net::Backend;
use crate::session::SlotRef;

use super::Worker;
use super::conns::{Input, State};

impl<B: Backend> Worker<B> {
    /// The far end of a connection has ended its half. Where nothing is owed to it, it is closed.
    pub(super) fn msrp_ended(&mut self, now: Instant, slot: SlotRef) {
        let Some(conn) = self.msrp.conns.find_mut(slot) else {
            return;
        };
        if !matches!(conn.state, State::Open(_)) {
            return self.msrp_lost(slot);
        }
        if conn.input == Input::Ended {
            return;
        }
        conn.input = Input::Ended;
        let half = (slot, now + Duration::from_millis(MSRP_HALF_CLOSED_MS));
        if !self.finish_half(now, half) {
            self.msrp.half_closed.push_back(half);
        }
    }

    /// Looks at half-closed connections, and closes those that needn't stay.
    pub(super) fn finish_halves(&mut self, now: Instant, at_most: usize) {
        for _ in 0..self.msrp.half_closed.len().min(at_most) {
            if let Some(half) = self.msrp.half_closed.pop_front()
                && !self.finish_half(now, half)
            {
                self.msrp.half_closed.push_back(half);
            }
        }
    }

    /// Closes a half-closed connection if it is time; says whether it is half-closed no more.
    fn finish_half(&mut self, now: Instant, (slot, until): (SlotRef, Instant)) -> bool {
        let Some(key) = self.msrp.key_of(slot) else {
            return true;
        };
        let (relay, mut out, stats) = self.msrp_parts();
        let is_owed = relay.end_input(key, &mut out, stats);
        self.flush();
        let Some(conn) = self.msrp.conns.find(slot) else {
            return true;
        };
        let is_written = self.backend.queued(conn.socket) == 0;
        if (is_owed || !is_written) && now < until {
            return false;
        }
        if is_written && !conn.layer.is_plain() {
            self.close_conn(slot, None);
        } else {
            // It has been read to its end, so that closing it is no reset.
            self.drop_conn(slot);
        }
        true
    }
}
