//! Responses, hop by hop, and the reports that are made of failures.

use std::mem;
use std::time::Instant;

use super::compose::{self, Start};
use super::connection::{Answer, Connection, Forward, Incoming, KeptHead};
use super::fan::Failed;
use super::legs::{LegRef, Link, Purpose};
use super::transactions::{Kind, List, Progress, Ticket, Transaction};
use super::{ConnectionKey, Connections, Egress, LegKey};
use crate::wire::msrp::{
    ByteRange, FailureReport, Flag, Head, Method, Return, Status, TransactionId,
};

impl Connections {
    /// A response came: the transaction it belongs to ends.
    pub(super) fn on_response(
        &mut self,
        key: ConnectionKey,
        head: &Head<'_>,
        status: Status,
        out: &mut impl Egress,
    ) {
        self.counts.response_in(status.0);
        let Some(ticket) = Ticket::parse(&head.transaction) else {
            return;
        };
        let Some(transaction) = self.transactions.get_mut(ticket) else {
            return;
        };
        if transaction.sink != key {
            return;
        }
        match (transaction.kind, transaction.progress) {
            (Kind::Other, _) => {
                if let Some(transaction) = self.forget(ticket, key) {
                    self.return_response(&transaction, head, out);
                }
            }
            (Kind::Send(_) | Kind::Copy(_), Progress::Streaming | Progress::AnsweredEarly)
                if status.is_success() =>
            {
                transaction.progress = Progress::AnsweredEarly;
            }
            (Kind::Send(_) | Kind::Copy(_), Progress::Streaming | Progress::AnsweredEarly) => {
                let source = transaction.source;
                self.fail_early(source, ticket, status, out);
            }
            (Kind::Send(_) | Kind::Copy(_), Progress::Leaving | Progress::Waiting) => {
                if let Some(transaction) = self.forget(ticket, key) {
                    self.settle(&transaction, status, out);
                }
            }
        }
    }

    /// A SEND that waited has its response.
    fn settle(&mut self, transaction: &Transaction, status: Status, out: &mut impl Egress) {
        self.counts.open -= 1;
        if status.is_success() {
            self.counts.delivered += 1;
            return;
        }
        self.counts.reported += 1;
        if matches!(transaction.kind, Kind::Copy(_)) {
            return self.copy_failed(transaction);
        }
        self.record_failure(transaction.source, transaction.id.as_bytes());
        self.report(&Failed::of(transaction), status, out);
        if status.0 == STOP_SENDING {
            self.stop_message(transaction, out);
        }
    }

    /// RFC 4975 §10.5: whoever sends a message that is answered with 413 must send no more of it.
    fn stop_message(&mut self, transaction: &Transaction, out: &mut impl Egress) {
        let id = transaction.id;
        if let Some(leg) = self.legs.live_mut(transaction.source) {
            leg.stop_message(id.as_bytes());
        }
        let Some(source) = self.source_connection(transaction.source) else {
            return;
        };
        let is_same = self
            .connection(source)
            .and_then(Connection::forward)
            .is_some_and(|forward| {
                forward.from == transaction.source && forward.message_id.as_bytes() == id.as_bytes()
            });
        if is_same {
            self.fail_incoming(source, STOP_SENDING, out);
        }
    }

    /// A SEND failed before its last octet was out: the rest needn't be sent.
    fn fail_early(
        &mut self,
        source: LegRef,
        ticket: Ticket,
        status: Status,
        out: &mut impl Egress,
    ) {
        let id = self.transactions.get(ticket).map(|failed| failed.id);
        if let (Some(leg), Some(id), STOP_SENDING) = (self.legs.live_mut(source), id, status.0) {
            leg.stop_message(id.as_bytes());
        }
        let from = self.source_connection(source).filter(|from| {
            let forward = self.connection(*from).and_then(Connection::forward);
            forward.is_some_and(|forward| forward.ticket == ticket)
        });
        if let Some(from) = from {
            self.fail_incoming(from, status.0, out);
        }
    }

    /// Gives up the chunk that comes from a connection and says so at once.
    pub(super) fn fail_incoming(&mut self, key: ConnectionKey, code: u16, out: &mut impl Egress) {
        let Some(forward) = self.abort(key, out) else {
            return;
        };
        let mut swallow = self.swallow_rest(forward, Some(code));
        let answer = swallow.answer.take();
        if let Some(state) = self.connection_mut(key) {
            state.incoming = Incoming::Swallow(swallow);
        }
        if let Some(answer) = answer {
            self.write_answer(key, answer, out);
        }
    }

    /// The time of a transaction is up.
    pub(super) fn time_out(&mut self, ticket: Ticket, now: Instant, out: &mut impl Egress) {
        let Some(transaction) = self.transactions.get(ticket) else {
            return;
        };
        let (sink, extensions) = (transaction.sink, transaction.extensions);
        // Its last octets may still wait behind a slow reader, or its response behind our own
        // back-pressure: RFC 4975 §7.1.1 counts from the last octet sent.
        let heard = self.connection(sink).and_then(|sink| sink.heard);
        let is_alive = heard.is_some_and(|heard| {
            now.saturating_duration_since(heard) < self.transactions.timeout()
        });
        let may_be_late = (is_alive && out.is_full(sink)) || self.blocked(sink, out);
        if may_be_late && extensions < EXTENSIONS_MAX {
            self.transactions.extend(ticket, now);
            return;
        }
        let Some(transaction) = self.forget(ticket, sink) else {
            return;
        };
        match transaction.kind {
            Kind::Other => {}
            Kind::Send(FailureReport::Partial) | Kind::Copy(FailureReport::Partial) => {
                self.counts.open -= 1;
                self.counts.delivered += 1;
            }
            Kind::Send(FailureReport::Yes | FailureReport::No)
            | Kind::Copy(FailureReport::Yes | FailureReport::No) => {
                self.settle(&transaction, Status(408), out);
            }
        }
    }

    /// Everything that waits for a response on a lost connection has failed.
    pub(super) fn fail_open(&mut self, sink: ConnectionKey, out: &mut impl Egress) {
        while let Some(ticket) = self
            .connection(sink)
            .and_then(|state| self.transactions.first(state.open))
        {
            let Some(transaction) = self.forget(ticket, sink) else {
                return;
            };
            if transaction.kind != Kind::Other {
                self.settle(&transaction, Status(481), out);
            }
        }
    }

    /// What went to a leg and waits for a response has failed.
    pub(super) fn fail_open_of(&mut self, leg: LegKey, out: &mut impl Egress) {
        let Some(sink) = self.connection_of(leg) else {
            return;
        };
        let first = self
            .connection(sink)
            .and_then(|state| self.transactions.first(state.open));
        let mut next = first;
        while let Some(ticket) = next {
            next = self.transactions.after(ticket);
            let is_its = self
                .transactions
                .get(ticket)
                .is_some_and(|open| open.to == leg);
            if is_its
                && let Some(transaction) = self.forget(ticket, sink)
                && transaction.kind != Kind::Other
            {
                self.settle(&transaction, Status(481), out);
            }
        }
    }

    /// What went out is complete: its response is waited for, where there will be one.
    pub(super) fn begin_waiting(
        &mut self,
        sink: ConnectionKey,
        (ticket, is_send): (Ticket, bool),
        out: &impl Egress,
    ) {
        let progress = self.transactions.get(ticket).map(|open| open.progress);
        match progress {
            Some(Progress::AnsweredEarly) | None => {
                self.forget(ticket, sink);
                if is_send {
                    self.counts.open -= 1;
                    self.counts.delivered += 1;
                }
            }
            Some(Progress::Streaming | Progress::Leaving | Progress::Waiting) => {
                self.begin_to_leave(sink, ticket, out);
            }
        }
    }

    /// Frees a transaction's place.
    pub(super) fn forget(&mut self, ticket: Ticket, sink: ConnectionKey) -> Option<Transaction> {
        if !ticket.is_tracked() {
            return None;
        }
        let mut open = self.open_on(sink);
        let transaction = self.transactions.close(ticket, &mut open);
        self.set_open_on(sink, open);
        let source = transaction.as_ref().map(|closed| closed.source);
        if let Some(leg) = source.and_then(|source| self.legs.live_mut(source)) {
            leg.open = leg.open.saturating_sub(1);
        }
        transaction
    }

    fn open_on(&self, sink: ConnectionKey) -> List {
        self.connection(sink).map_or(List::EMPTY, |sink| sink.open)
    }

    fn set_open_on(&mut self, sink: ConnectionKey, open: List) {
        if let Some(sink) = self.connection_mut(sink) {
            sink.open = open;
        }
    }

    /// Tells a SEND's sender that it failed (RFC 4975 §7.1.2).
    pub(super) fn report(&mut self, failed: &Failed, status: Status, out: &mut impl Egress) {
        let Some(to) = self.source_connection(failed.source) else {
            return;
        };
        let Some(leg) = self.legs.live(failed.source) else {
            return;
        };
        let Some(remote) = leg.remote.as_deref() else {
            return;
        };
        let id = Ticket::untracked(&mut self.random).id();
        let mut frame = mem::take(&mut self.scratch);
        frame.clear();
        let start = Start {
            id: &id,
            tail: b"REPORT",
            to_path: remote,
            from_path: leg.own(),
        };
        compose::start(&mut frame, start);
        frame.extend_from_slice(b"Message-ID: ");
        frame.extend_from_slice(failed.id.as_bytes());
        frame.extend_from_slice(b"\r\n");
        let ByteRange { start, end, total } = failed.range;
        compose::byte_range(&mut frame, start, end, total);
        frame.extend_from_slice(b"Status: 000 ");
        compose::number(&mut frame, Some(u64::from(status.0)));
        frame.extend_from_slice(b"\r\n");
        compose::end_line(&mut frame, &id, Flag::Complete);
        self.write_frame(to, &frame, out);
        self.scratch = frame;
    }

    /// Hands the response to a request other than SEND back to whoever sent it.
    fn return_response(
        &mut self,
        transaction: &Transaction,
        head: &Head<'_>,
        out: &mut impl Egress,
    ) {
        let Some(to) = self.source_connection(transaction.source) else {
            return;
        };
        let (Some(id), Some(leg)) = (
            TransactionId::new(transaction.id.as_bytes()),
            self.legs.live(transaction.source),
        ) else {
            return;
        };
        if leg.purpose == Purpose::Hop {
            return self.write_way_back((transaction, &id), head, (to, out));
        }
        let mut frame = mem::take(&mut self.scratch);
        frame.clear();
        let start = Start {
            id: &id,
            tail: head.start_tail,
            to_path: leg.remote.as_deref().unwrap_or_default(),
            from_path: leg.own(),
        };
        compose::start(&mut frame, start);
        frame.extend_from_slice(head.rest);
        compose::end_line(&mut frame, &id, Flag::Complete);
        self.write_frame(to, &frame, out);
        self.scratch = frame;
    }

    fn source_connection(&self, source: LegRef) -> Option<ConnectionKey> {
        match self.legs.live(source)?.link {
            Link::Bound(connection) => Some(connection),
            Link::Awaited | Link::Lost => None,
        }
    }

    /// The answer to a request that was being relayed.
    pub(super) fn answer_to(&mut self, forward: Forward, code: u16) -> Answer {
        let ours = self
            .legs
            .live(forward.from)
            .map_or(&b""[..], |leg| leg.own());
        let kept = KeptHead::new(self.shared.take(), forward.kept.first(), ours);
        self.shared.give(forward.kept.buffer);
        Answer {
            code,
            to: forward.came_as,
            kept,
        }
    }

    pub(super) fn write_answer(
        &mut self,
        key: ConnectionKey,
        answer: Answer,
        out: &mut impl Egress,
    ) {
        self.counts.response_out(answer.code);
        let start = Start {
            id: &answer.to,
            tail: compose::code(answer.code),
            to_path: answer.kept.first(),
            from_path: answer.kept.second(),
        };
        self.write_response(key, start, out);
        self.shared.give(answer.kept.buffer);
    }

    fn write_response(&mut self, key: ConnectionKey, start: Start<'_>, out: &mut impl Egress) {
        let mut frame = mem::take(&mut self.scratch);
        frame.clear();
        compose::start(&mut frame, start);
        compose::end_line(&mut frame, start.id, Flag::Complete);
        self.write_frame(key, &frame, out);
        self.scratch = frame;
    }

    /// Answers a request that can't be read, as far as it can be answered.
    pub(super) fn answer_malformed(
        &mut self,
        key: ConnectionKey,
        octets: &[u8],
        out: &mut impl Egress,
    ) {
        let Some((start, to_path, from_path)) = Head::salvage(octets) else {
            return;
        };
        if matches!(
            start.kind,
            Return::Response(_) | Return::Request(Method::Report)
        ) {
            return;
        }
        self.counts.response_out(400);
        let answer = Start {
            id: &start.transaction,
            tail: compose::code(400),
            to_path: from_path,
            from_path: to_path,
        };
        self.write_response(key, answer, out);
    }

    /// Sends the bodiless SEND by which the far side learns whose connection this is
    /// (RFC 4975 §5.4).
    pub(super) fn write_binding(&mut self, key: ConnectionKey, leg: LegKey, out: &mut impl Egress) {
        let Some(state) = self.legs.get(leg) else {
            return;
        };
        let id = Ticket::untracked(&mut self.random).id();
        let message_id = Ticket::untracked(&mut self.random).id();
        let mut frame = mem::take(&mut self.scratch);
        frame.clear();
        let start = Start {
            id: &id,
            tail: b"SEND",
            to_path: state.remote.as_deref().unwrap_or_default(),
            from_path: state.own(),
        };
        compose::start(&mut frame, start);
        frame.extend_from_slice(b"Message-ID: ");
        frame.extend_from_slice(message_id.as_bytes());
        frame.extend_from_slice(b"\r\n");
        compose::end_line(&mut frame, &id, Flag::Complete);
        self.write_frame(key, &frame, out);
        self.scratch = frame;
    }
}

const STOP_SENDING: u16 = 413;
/// Times that a transaction's time is given again at most.
const EXTENSIONS_MAX: u8 = 10;
