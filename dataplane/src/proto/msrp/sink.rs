//! What is written to a connection: one chunk at a time, and frames between them.
//!
//! ```text
//! free ──acquire──▶ owned ──chunk──▶ streaming ──end──▶ free, or the next waiter's
//!                                    │      ▲
//!            response, report, or    │ `+`  │ new head
//!            a waiter after a quantum▼      │
//!                                  suspended
//! ```

use std::mem;

use super::compose::{self, Start};
use super::connection::{Connection, Forward, Incoming, Swallow, Wait};
use super::legs::Link;
use super::transactions::{Opening, Ticket};
use super::{BoundLegs, ConnectionKey, Connections, Egress, LegKey};
use crate::limits::{
    MSRP_DEBT_BYTES, MSRP_PENDING_BYTES, MSRP_QUANTUM_BYTES, MSRP_SINKS_NOTED, MSRP_WAITING_BYTES,
};
use crate::stats::DropReason;
use crate::wire::msrp::{FailureReport, Flag};

impl Connections {
    /// Writes a whole frame: between chunks, into a chunk that may be cut, or after one; false: too
    /// much waits already, and it is lost.
    pub(super) fn write_frame(
        &mut self,
        to: ConnectionKey,
        frame: &[u8],
        out: &mut impl Egress,
    ) -> bool {
        self.trace_out(to, frame);
        if self.is_streaming_to(to) && !self.suspend_owner(to, out) {
            return self.write_later(to, frame);
        }
        out.write(to, frame);
        let is_full = out.is_full(to);
        if let Some(connection) = self.connection_mut(to) {
            connection.owed = if is_full {
                connection.owed.saturating_add(frame.len())
            } else {
                0
            };
        }
        true
    }

    fn write_later(&mut self, to: ConnectionKey, frame: &[u8]) -> bool {
        let has_room = self.waiting_octets + frame.len() <= MSRP_WAITING_BYTES;
        let spare = match self.connection(to) {
            Some(connection) if connection.pending.capacity() == 0 => self.spare.pop(),
            Some(_) | None => None,
        };
        let Some(connection) = self.connection_mut(to) else {
            return false;
        };
        if let Some(spare) = spare {
            connection.pending = spare;
        }
        let fits = connection.pending.len() + frame.len() <= MSRP_PENDING_BYTES && has_room;
        if fits {
            connection.pending.extend_from_slice(frame);
            self.waiting_octets += frame.len();
        } else {
            self.counts.drop(DropReason::PoolFull);
        }
        fits
    }

    /// Makes a connection's chunks go to a sink next; false: it has to wait for its turn.
    pub(super) fn acquire(
        &mut self,
        sink: ConnectionKey,
        key: ConnectionKey,
        out: &mut impl Egress,
    ) -> bool {
        let Some(state) = self.connection_mut(sink) else {
            return true;
        };
        let owner = state.owner.filter(|owner| self.holds(*owner, sink));
        let Some(owner) = owner else {
            if let Some(state) = self.connection_mut(sink) {
                state.owner = Some(key);
            }
            self.begin_turn(key);
            return true;
        };
        if owner == key {
            return true;
        }
        self.line_up(sink, key);
        let used_up = self.connection(owner).is_some_and(|state| {
            let forward = state.forward().filter(|forward| forward.sink == sink);
            forward.is_some_and(|forward| forward.suspended || state.quantum_left() == 0)
        });
        if used_up && self.suspend_owner(sink, out) {
            self.pass_on(sink);
            return self.connection(sink).and_then(|sink| sink.owner) == Some(key)
                && self.cancel_ready(key);
        }
        false
    }

    /// Whether a sink's owner has a chunk for it, or its turn before it.
    pub(super) fn holds(&self, owner: ConnectionKey, sink: ConnectionKey) -> bool {
        let forward = self.connection(owner).and_then(Connection::forward);
        forward.is_some_and(|forward| forward.sink == sink)
            || self.ready.contains(&owner)
            || self.connection(owner).is_some_and(|state| state.keeps_turn)
    }

    /// Ends the chunk being written to a sink with `+`, to go on later; false: it can't be cut.
    pub(super) fn suspend_owner(&mut self, sink: ConnectionKey, out: &mut impl Egress) -> bool {
        let Some(owner) = self.connection(sink).and_then(|sink| sink.owner) else {
            return true;
        };
        let Some(forward) = self.connection_mut(owner).and_then(Connection::forward_mut) else {
            return true;
        };
        if forward.sink != sink || forward.suspended {
            return true;
        }
        if !forward.is_interruptible() {
            return false;
        }
        forward.suspended = true;
        self.finish_piece(owner, Flag::More, out);
        true
    }

    /// Whether a chunk is open on a sink.
    fn is_streaming_to(&self, sink: ConnectionKey) -> bool {
        self.connection(sink)
            .and_then(|state| self.connection(state.owner?)?.forward())
            .is_some_and(|forward| forward.sink == sink && !forward.suspended)
    }

    /// Writes the end line of the chunk that goes out and lets its time run.
    pub(super) fn finish_piece(&mut self, key: ConnectionKey, flag: Flag, out: &mut impl Egress) {
        let Some(forward) = self.connection(key).and_then(Connection::forward) else {
            return;
        };
        let (sink, ticket, is_send) = (forward.sink, forward.ticket, forward.is_send);
        let (range, last, to) = (forward.range, forward.last(), forward.to);
        out.write(sink, compose::EndLine::new(&ticket.id(), flag).octets());
        self.trace_end_to(to, flag);
        if let Some(transaction) = self.transactions.get_mut(ticket) {
            transaction.start = range.start;
            transaction.end = last;
            transaction.total = range.total.unwrap_or(u64::MAX);
        }
        if is_send {
            self.counts.acknowledged += 1;
            self.counts.open += 1;
        }
        self.begin_waiting(sink, (ticket, is_send), out);
    }

    /// A suspended chunk goes on: a new head, with the Byte-Range from where it was cut; false:
    /// no transaction is free and it can't.
    pub(super) fn resume(&mut self, key: ConnectionKey, out: &mut impl Egress) -> bool {
        let Some(forward) = self.connection(key).and_then(Connection::forward) else {
            return false;
        };
        let opening = forward.opening();
        let Some(ticket) = self.ticket(opening) else {
            return false;
        };
        let Some(forward) = self.connection_mut(key).and_then(Connection::forward_mut) else {
            return false;
        };
        forward.range.start = forward.range.start.saturating_add(forward.sent);
        forward.range.end = None;
        // More came than the message was to have: how much it will be, nobody knows.
        let start = forward.range.start;
        forward.range.total = forward.range.total.filter(|total| start <= *total);
        forward.sent = 0;
        forward.suspended = false;
        forward.ticket = ticket;
        self.write_continued_head(key, out);
        true
    }

    /// Writes the head of a piece with its own Byte-Range.
    pub(super) fn write_continued_head(&mut self, key: ConnectionKey, out: &mut impl Egress) {
        let mut frame = mem::take(&mut self.scratch);
        frame.clear();
        let forward = self.connection(key).and_then(Connection::forward);
        if let Some(forward) = forward
            && let Some(leg) = self.legs.live(forward.to)
        {
            let start = Start {
                id: &forward.ticket.id(),
                tail: b"SEND",
                to_path: leg.remote.as_deref().unwrap_or_default(),
                from_path: leg.own(),
            };
            compose::start(&mut frame, start);
            compose::with_range(&mut frame, &forward.kept, forward.range);
            let sink = forward.sink;
            out.write(sink, &frame);
            self.trace_out(sink, &frame);
        }
        self.scratch = frame;
    }

    /// A ticket for what goes out; `None`: it needs a place in the table and there is none.
    pub(super) fn ticket(&mut self, opening: Option<Opening>) -> Option<Ticket> {
        let Some(opening) = opening else {
            return Some(Ticket::untracked(&mut self.random));
        };
        let source = opening.source;
        let ticket = self.transactions.open(opening, &mut self.random);
        match (ticket, self.legs.live_mut(source)) {
            (None, _) => self.counts.full_transactions += 1,
            (Some(_), Some(leg)) => leg.open += 1,
            (Some(_), None) => {}
        }
        ticket
    }

    /// A chunk has ended: what waited goes out. The source keeps its turn while it has not used up
    /// its quantum and more of it may have been read; [`Self::end_turn`] takes it then.
    pub(super) fn end_chunk(
        &mut self,
        sink: ConnectionKey,
        key: ConnectionKey,
        out: &mut impl Egress,
    ) {
        let is_awaited = self
            .connection(sink)
            .is_some_and(|state| state.owner == Some(key) && state.waiters.is_some());
        match self.connection_mut(key) {
            Some(state) if is_awaited && state.quantum_left() > 0 => {
                state.keeps_turn = true;
                self.write_pending(sink, out);
            }
            Some(_) | None => self.release(sink, key, out),
        }
    }

    /// What was read of a source is used up: the turns it kept are the next one's.
    pub(super) fn end_turn(&mut self, key: ConnectionKey, out: &mut impl Egress) {
        if let Some(state) = self.connection_mut(key)
            && state.keeps_turn
        {
            state.keeps_turn = false;
            self.release_unused(key, out);
        }
    }

    fn write_pending(&mut self, sink: ConnectionKey, out: &mut impl Egress) {
        let Some(state) = self.connection_mut(sink) else {
            return;
        };
        let pending = mem::take(&mut state.pending);
        if !pending.is_empty() {
            out.write(sink, &pending);
            self.pending_is_handed_over(sink, out);
        }
        self.no_longer_waits(pending.len());
        self.give_spare(pending);
    }

    /// A chunk has ended: what waited goes out, and the next source has its turn.
    pub(super) fn release(
        &mut self,
        sink: ConnectionKey,
        key: ConnectionKey,
        out: &mut impl Egress,
    ) {
        let Some(state) = self.connection_mut(sink) else {
            return;
        };
        if state.owner != Some(key) {
            return;
        }
        self.write_pending(sink, out);
        self.pass_on(sink);
    }

    /// Gives a sink to the first that waits for it.
    fn pass_on(&mut self, sink: ConnectionKey) {
        let Some(state) = self.connection_mut(sink) else {
            return;
        };
        let (owner, is_awaited) = (state.owner.take(), state.waiters.is_some());
        if let Some(owner) = owner.and_then(|owner| self.connection_mut(owner)) {
            owner.settle_turn(is_awaited);
        }
        let Some(first) = self.next_in_line(sink) else {
            return;
        };
        if let Some(state) = self.connection_mut(sink) {
            state.owner = Some(first);
        }
        if let Some(waiter) = self.connection_mut(first) {
            waiter.wait = Wait::No;
            self.ready.push_back(first);
        }
        self.begin_turn(first);
    }

    fn begin_turn(&mut self, key: ConnectionKey) {
        if let Some(state) = self.connection_mut(key) {
            state.turn = 0;
        }
    }

    /// Takes the first out of the line before a sink; those that overran their quantum in earlier
    /// turns sit out until that is made up for.
    fn next_in_line(&mut self, sink: ConnectionKey) -> Option<ConnectionKey> {
        loop {
            let (first, last) = self.connection(sink)?.waiters?;
            let waiter = self.connection_mut(first)?;
            let next = waiter.next_waiter.take();
            let sits_out = waiter.debt >= MSRP_QUANTUM_BYTES && next.is_some();
            if sits_out {
                waiter.debt -= MSRP_QUANTUM_BYTES;
                if let Some(last) = self.connection_mut(last) {
                    last.next_waiter = Some(first);
                }
            }
            let last = if sits_out { first } else { last };
            self.connection_mut(sink)?.waiters = next.map(|next| (next, last));
            if !sits_out {
                return Some(first);
            }
        }
    }

    fn line_up(&mut self, sink: ConnectionKey, key: ConnectionKey) {
        match self.connection_mut(key) {
            Some(source) if source.wait == Wait::No => source.wait = Wait::Sink(sink),
            Some(_) | None => return,
        }
        let Some(state) = self.connection_mut(sink) else {
            return;
        };
        let last = state.waiters.map(|(_, last)| last);
        state.waiters = match state.waiters {
            Some((first, _)) => Some((first, key)),
            None => Some((key, key)),
        };
        if let Some(last) = last.and_then(|last| self.connection_mut(last)) {
            last.next_waiter = Some(key);
        }
    }

    fn cancel_ready(&mut self, key: ConnectionKey) -> bool {
        self.ready.retain(|ready| *ready != key);
        true
    }

    /// Takes a source out of the line before a sink.
    fn leave_line(&mut self, sink: ConnectionKey, key: ConnectionKey) {
        let mut line = Vec::new();
        let mut at = self.connection(sink).and_then(|sink| sink.waiters);
        while let Some((first, last)) = at {
            let next = self
                .connection_mut(first)
                .and_then(|waiter| waiter.next_waiter.take());
            if first != key {
                line.push(first);
            }
            at = next.map(|next| (next, last));
        }
        if let Some(sink) = self.connection_mut(sink) {
            sink.waiters = line.first().copied().zip(line.last().copied());
        }
        for pair in line.windows(2) {
            if let [one, next] = pair
                && let Some(one) = self.connection_mut(*one)
            {
                one.next_waiter = Some(*next);
            }
        }
    }

    /// Lets those go on that waited and needn't any more.
    pub(super) fn run_ready(&mut self, out: &mut impl Egress) {
        while let Some(key) = self.ready.pop_front() {
            let Some(state) = self.connection_mut(key) else {
                continue;
            };
            if state.wait != Wait::No {
                continue;
            }
            let head = state.head.take();
            let parked = mem::take(&mut state.parked);
            self.no_longer_waits(parked.len());
            let went = self.go_on(key, head, &parked, out);
            self.give_spare(parked);
            if let Err(why) = went {
                self.counts.drop(why);
                self.broken.push_back(key);
            }
            if let Some(state) = self.connection_mut(key) {
                state.keeps_turn = false;
            }
            self.release_unused(key, out);
        }
    }

    /// A sink was kept for a source that needs it no more.
    fn release_unused(&mut self, key: ConnectionKey, out: &mut impl Egress) {
        let legs = self.connection(key).map_or(0, |state| state.legs.len());
        for at in 0..legs {
            let leg = self.connection(key).and_then(|state| state.legs.get(at));
            let peer = leg.and_then(|leg| self.legs.get(*leg)?.peer);
            let Some(sink) = peer.and_then(|peer| self.connection_of(peer)) else {
                continue;
            };
            let uses = self
                .connection(key)
                .and_then(Connection::forward)
                .is_some_and(|forward| forward.sink == sink);
            if !uses {
                self.release(sink, key, out);
            }
        }
        for number in 0..MSRP_SINKS_NOTED {
            let Some(sink) = self.noted_sink(key, number) else {
                continue;
            };
            let forward = self.connection(key).and_then(Connection::forward);
            if forward.is_none_or(|forward| forward.sink != sink) {
                self.release(sink, key, out);
            }
        }
    }

    /// Gives up the chunk that comes from a connection: `#` to the sink.
    pub(super) fn abort(&mut self, key: ConnectionKey, out: &mut impl Egress) -> Option<Forward> {
        let state = self.connection_mut(key)?;
        let mut forward = match mem::replace(&mut state.incoming, Incoming::Nothing) {
            Incoming::Forward(forward) => forward,
            other @ (Incoming::Nothing | Incoming::Fan(_) | Incoming::Swallow(_)) => {
                state.incoming = other;
                return None;
            }
        };
        self.record_abort(&forward);
        if !forward.suspended {
            let end = compose::EndLine::new(&forward.ticket.id(), Flag::Aborted);
            out.write(forward.sink, end.octets());
            self.trace_end_to(forward.to, Flag::Aborted);
            self.forget(forward.ticket, forward.sink);
        } else if forward.is_begun {
            self.write_aborted_piece(&forward, out);
        }
        self.uncut(&mut forward);
        self.release(forward.sink, key, out);
        Some(forward)
    }

    /// Forgets a connection; its place may be used again.
    pub(super) fn close(&mut self, key: ConnectionKey, out: &mut impl Egress) -> BoundLegs {
        if let Some(forward) = self.abort(key, out) {
            self.shared.give(forward.kept.buffer);
        }
        self.abort_fan(key, out);
        if let Some(Wait::Sink(sink)) = self.connection(key).map(|state| state.wait) {
            self.leave_line(sink, key);
        }
        self.release_unused(key, out);
        let mut lost = BoundLegs::default();
        let bound = self
            .connection_mut(key)
            .map(|state| mem::take(&mut state.legs))
            .unwrap_or_default();
        for (place, leg) in lost.legs.iter_mut().zip(&bound) {
            *place = Some(*leg);
        }
        for leg in bound {
            self.lose(leg);
            self.lost_in_room(leg, out);
        }
        self.strand_sources(key);
        self.fail_open(key, out);
        if let Some(state) = self.places.get_mut(key.0 as usize).and_then(Option::take) {
            self.free.push(key.0);
            self.reclaim(state);
        }
        self.ready.retain(|ready| *ready != key);
        self.broken.retain(|broken| *broken != key);
        self.leaving.retain(|leaving| *leaving != key);
        self.recordings.forget_source(key);
        self.forget_side(key);
        lost
    }

    pub(super) fn lose(&mut self, leg: LegKey) {
        if let Some(state) = self.legs.get_mut(leg) {
            state.link = Link::Lost;
        }
        self.wake_source_of(leg);
    }

    /// The chunk that was being written to a lost sink is read to its end and answered with 481,
    /// and those that waited for the sink look again.
    fn strand_sources(&mut self, sink: ConnectionKey) {
        let owner = self.connection_mut(sink).and_then(|sink| sink.owner.take());
        if let Some(state) = owner.and_then(|owner| self.connection_mut(owner))
            && state.forward().is_some_and(|forward| forward.sink == sink)
            && let Incoming::Forward(mut forward) =
                mem::replace(&mut state.incoming, Incoming::Nothing)
        {
            self.record_abort(&forward);
            self.uncut(&mut forward);
            if !forward.suspended {
                self.forget(forward.ticket, forward.sink);
            }
            let swallow = self.swallow_rest(forward, Some(481));
            if let Some(state) = owner.and_then(|owner| self.connection_mut(owner)) {
                state.incoming = Incoming::Swallow(swallow);
            }
        }
        while self
            .connection(sink)
            .is_some_and(|sink| sink.waiters.is_some())
        {
            self.pass_on(sink);
        }
    }

    /// What is left of a frame that isn't relayed any more.
    pub(super) fn swallow_rest(&mut self, forward: Forward, code: Option<u16>) -> Swallow {
        let from = forward.from;
        let answer = code.filter(|_| forward.failure_report != FailureReport::No);
        let answer = match answer {
            Some(code) => Some(self.answer_to(forward, code)),
            None => {
                self.shared.give(forward.kept.buffer);
                None
            }
        };
        Swallow {
            leg: Some(from),
            answer,
            no_body: false,
        }
    }

    fn reclaim(&mut self, mut state: Connection) {
        state.framer.release(&mut self.shared);
        self.no_longer_waits(state.parked.len() + state.pending.len());
        self.give_spare(mem::take(&mut state.parked));
        self.give_spare(mem::take(&mut state.pending));
        if let Some(head) = state.head {
            self.shared.give(head.buffer);
        }
        match state.incoming {
            Incoming::Forward(mut forward) => {
                self.uncut(&mut forward);
                self.shared.give(forward.kept.buffer);
            }
            Incoming::Fan(fan) => {
                self.end_fan(fan, None);
            }
            Incoming::Swallow(swallow) => {
                if let Some(answer) = swallow.answer {
                    self.shared.give(answer.kept.buffer);
                }
            }
            Incoming::Nothing => {}
        }
    }
}

impl Connection {
    /// Octets that it may still send in its turn.
    pub(super) fn quantum_left(&self) -> u64 {
        MSRP_QUANTUM_BYTES
            .saturating_sub(self.turn)
            .saturating_sub(self.debt)
    }

    /// Its turn is over: what it sent too much counts against later ones, if anybody waits.
    fn settle_turn(&mut self, is_awaited: bool) {
        let used = self.turn.saturating_add(self.debt);
        self.debt = if is_awaited {
            used.saturating_sub(MSRP_QUANTUM_BYTES).min(MSRP_DEBT_BYTES)
        } else {
            0
        };
        self.turn = 0;
        self.keeps_turn = false;
    }
}
