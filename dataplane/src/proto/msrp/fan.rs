//! One SEND to many legs: each gets pieces with transactions and ranges of its own.
//!
//! A chunk from a leg that was joined to many is gathered in pieces of at most
//! `limits::MSRP_FAN_BYTES`, and each piece is written to every member whole, between the chunks
//! of others. The source gets its 200 at the chunk's end: by then every member's share was handed
//! over or has failed. A member that can't take a piece (its queue holds more than
//! `limits::MSRP_MEMBER_BYTES`, its connection is lost, it answers with a failure or not at all)
//! gets no more of that message; the source is told once, by a REPORT, and the others go on. The
//! source isn't read while every member's queue is full, so the fastest member sets the pace.
//!
//! Each piece counts once per member in `acknowledged`, `delivered`, `reported` and `open`; a piece
//! that fails after its message was reported for that member counts as reported. REPORTs from a leg
//! that was joined to many are not passed on, as they don't say to whom.

use std::mem;

use super::compose::{self, Start};
use super::connection::{Answer, Incoming, KeptHead, Swallow};
use super::legs::{LegRef, Link};
use super::relay::Flow;
use super::request::Refused;
use super::transactions::{Kind, Opening, ShortText, Transaction};
use super::{ConnectionKey, Connections, Egress, LegKey};
use crate::api::Chunking;
use crate::limits::{MSRP_FAN_BYTES, MSRP_MEMBER_BYTES, MSRP_MEMBERS, MSRP_STOPPED};
use crate::stats::DropReason;
use crate::wire::msrp::{ByteRange, FailureReport, Flag, Head, Status, TransactionId};

/// A leg that gets what comes from another one.
#[derive(Debug)]
pub(super) struct Member {
    leg: LegRef,
    /// Messages that failed for it: their hashes, the oldest overwritten.
    failed: [u64; MSRP_STOPPED],
    next: usize,
}

impl Member {
    /// Remembers that a message failed; false: it had failed before.
    fn fail(&mut self, message: u64) -> bool {
        if self.failed.contains(&message) {
            return false;
        }
        let place = self.next % MSRP_STOPPED;
        if let Some(failed) = self.failed.get_mut(place) {
            *failed = message;
        }
        self.next = place + 1;
        true
    }
}

/// A chunk that is being gathered for many.
#[derive(Debug)]
pub(super) struct Fan {
    /// The id it came with.
    came_as: TransactionId,
    pub(super) from: LegRef,
    failure_report: FailureReport,
    message_id: ShortText,
    /// Of what is gathered.
    range: ByteRange,
    gathered: Vec<u8>,
    /// Whether a piece of it is out.
    is_begun: bool,
    kept: KeptHead,
}

/// A part of what was gathered, as one member gets it.
#[derive(Clone, Copy)]
struct Piece<'a> {
    body: &'a [u8],
    start: u64,
    flag: Flag,
    is_exact: bool,
}

impl Connections {
    /// Joins a leg to many: what comes from it goes to each of them. What comes from them goes
    /// where they were joined to themselves. False: there are more than `limits::MSRP_MEMBERS`.
    pub fn join_many(&mut self, leg: LegKey, members: &[LegKey]) -> bool {
        if members.len() > MSRP_MEMBERS {
            return false;
        }
        let members: Box<[Member]> = members
            .iter()
            .filter_map(|member| self.legs.reference(*member))
            .map(|leg| Member {
                leg,
                failed: [0; MSRP_STOPPED],
                next: 0,
            })
            .collect();
        if let Some(state) = self.legs.get_mut(leg) {
            state.peer = None;
            state.members = Some(members);
        }
        true
    }

    /// Whether every member that has a connection has enough to write.
    pub(super) fn are_all_full(&self, members: &[Member], out: &impl Egress) -> bool {
        let mut sinks = members
            .iter()
            .filter_map(|member| match self.legs.live(member.leg)?.link {
                Link::Bound(sink) => Some(sink),
                Link::Awaited | Link::Lost => None,
            })
            .peekable();
        sinks.peek().is_some() && sinks.all(|sink| out.is_full(sink))
    }

    /// Begins to gather a SEND for many.
    pub(super) fn fan(&mut self, key: ConnectionKey, leg: LegKey, head: &Head<'_>) -> Flow {
        let reference = self.legs.reference(leg);
        let refused = match self.may_fan(leg, head) {
            Err(refused) => Some(refused),
            Ok(()) if !self.reserve(MSRP_FAN_BYTES) => Some(Refused::uncounted(408)),
            Ok(()) => None,
        };
        let (None, Some(from)) = (&refused, reference) else {
            let refused = refused.unwrap_or_else(|| Refused::uncounted(NO_SESSION));
            return self.refuse(key, reference, head, refused);
        };
        let mut kept = KeptHead::new(self.shared.take(), head.from_first(), head.rest);
        kept.range_line = head.byte_range_line;
        let fan = Fan {
            came_as: head.transaction,
            from,
            failure_report: head.failure_report,
            message_id: ShortText::new(head.message_id.unwrap_or_default()),
            range: head.byte_range.unwrap_or(ByteRange::WHOLE),
            gathered: self.spare.pop().unwrap_or_default(),
            is_begun: false,
            kept,
        };
        if let Some(state) = self.connection_mut(key) {
            state.incoming = Incoming::Fan(fan);
        }
        Flow::On
    }

    fn may_fan(&self, leg: LegKey, head: &Head<'_>) -> Result<(), Refused> {
        let unknown = Refused::new(481, DropReason::NoRemote);
        let from = self.legs.get(leg).ok_or(unknown)?;
        if from.members.as_deref().is_none_or(<[Member]>::is_empty) {
            return Err(unknown);
        }
        if from.frozen {
            return Err(Refused::new(481, DropReason::Frozen));
        }
        if !from.direction.may_send {
            return Err(Refused::new(403, DropReason::Direction));
        }
        let is_stopped = head.message_id.is_some_and(|id| from.is_stopped(id));
        if is_stopped || from.is_too_long(head) {
            return Err(Refused::uncounted(413));
        }
        Ok(())
    }

    /// Takes the chunk that is gathered from a connection out of it.
    fn take_fan(&mut self, key: ConnectionKey) -> Option<Fan> {
        let state = self.connection_mut(key)?;
        match mem::replace(&mut state.incoming, Incoming::Nothing) {
            Incoming::Fan(fan) => Some(fan),
            other @ (Incoming::Nothing | Incoming::Forward(_) | Incoming::Swallow(_)) => {
                state.incoming = other;
                None
            }
        }
    }

    /// Gathers octets of a body, and writes them to all where they fill a piece.
    pub(super) fn fan_body(&mut self, key: ConnectionKey, octets: &[u8], out: &mut impl Egress) {
        let Some(mut fan) = self.take_fan(key) else {
            return;
        };
        let came = (fan.gathered.len() + octets.len()) as u64;
        let whole = fan.range.start.saturating_sub(1).saturating_add(came);
        let leg = self.legs.live_mut(fan.from);
        if let Some(leg) = leg.filter(|leg| leg.bounds.is_too_long(whole)) {
            leg.stop_message(fan.message_id.as_bytes());
            self.give_up_fan(key, fan, 413, out);
            return;
        }
        let mut left = octets;
        while !left.is_empty() {
            if fan.gathered.len() >= MSRP_FAN_BYTES {
                self.write_to_all(&mut fan, Flag::More, out);
            }
            let room = MSRP_FAN_BYTES.saturating_sub(fan.gathered.len());
            let (now, later) = left.split_at_checked(room).unwrap_or((left, &[]));
            fan.gathered.extend_from_slice(now);
            left = later;
        }
        if let Some(state) = self.connection_mut(key) {
            state.incoming = Incoming::Fan(fan);
        }
    }

    /// The chunk has ended: its last piece goes out, and the source is answered.
    pub(super) fn fan_end(&mut self, key: ConnectionKey, flag: Flag, out: &mut impl Egress) {
        let Some(mut fan) = self.take_fan(key) else {
            return;
        };
        self.write_to_all(&mut fan, flag, out);
        if let Some(leg) = self.legs.live_mut(fan.from) {
            leg.facts.sends += 1;
            leg.facts.messages += u64::from(flag == Flag::Complete);
        }
        let is_answered = fan.failure_report == FailureReport::Yes;
        if let Some(answer) = self.end_fan(fan, is_answered.then_some(200)) {
            self.write_answer(key, answer, out);
        }
    }

    /// The source of a chunk is lost, or its leg is: whoever has a part of it hears that it ends.
    pub(super) fn abort_fan(&mut self, key: ConnectionKey, out: &mut impl Egress) {
        if let Some(mut fan) = self.take_fan(key) {
            self.write_aborted(&mut fan, out);
            self.end_fan(fan, None);
        }
    }

    /// A leg is going to be removed: the chunk that comes from it is given up.
    pub(super) fn end_fan_of(&mut self, leg: LegKey, out: &mut impl Egress) {
        let key = self.connection_of(leg);
        let incoming = key
            .and_then(|key| self.connection(key))
            .map(|state| &state.incoming);
        if let Some(Incoming::Fan(fan)) = incoming
            && fan.from.key == leg
            && let Some((key, fan)) = key.and_then(|key| Some((key, self.take_fan(key)?)))
        {
            self.give_up_fan(key, fan, NO_SESSION, out);
        }
    }

    fn give_up_fan(&mut self, key: ConnectionKey, mut fan: Fan, code: u16, out: &mut impl Egress) {
        self.write_aborted(&mut fan, out);
        let swallow = Swallow {
            leg: Some(fan.from),
            answer: None,
            no_body: false,
        };
        let is_answered = fan.failure_report != FailureReport::No;
        let answer = self.end_fan(fan, is_answered.then_some(code));
        self.swallow(key, swallow);
        if let Some(answer) = answer {
            self.write_answer(key, answer, out);
        }
    }

    fn write_aborted(&mut self, fan: &mut Fan, out: &mut impl Egress) {
        if fan.is_begun {
            fan.gathered.clear();
            self.write_to_all(fan, Flag::Aborted, out);
        }
    }

    /// Gives back what a chunk took, and makes the answer to it.
    pub(super) fn end_fan(&mut self, fan: Fan, code: Option<u16>) -> Option<Answer> {
        self.no_longer_waits(MSRP_FAN_BYTES);
        self.give_spare(fan.gathered);
        let ours = self.legs.live(fan.from).map_or(&b""[..], |leg| leg.own());
        let answer = code.map(|code| Answer {
            code,
            to: fan.came_as,
            kept: KeptHead::new(self.shared.take(), fan.kept.first(), ours),
        });
        self.shared.give(fan.kept.buffer);
        answer
    }

    /// Writes what was gathered to every member, in as many pieces as that one needs.
    fn write_to_all(&mut self, fan: &mut Fan, flag: Flag, out: &mut impl Egress) {
        let Some(leg) = self.legs.live_mut(fan.from) else {
            return;
        };
        // The legs are looked at while the list is gone through.
        let Some(mut members) = leg.members.take() else {
            return;
        };
        fan.is_begun = true;
        let message = hash(&fan.message_id);
        for member in &mut members {
            if member.failed.contains(&message) {
                continue;
            }
            if let Err(code) = self.write_to_one(fan, member.leg, flag, out) {
                member.fail(message);
                self.fail_at_once(fan, code, out);
            }
        }
        if let Some(leg) = self.legs.live_mut(fan.from) {
            leg.members = Some(members);
        }
        let len = fan.gathered.len() as u64;
        fan.range.start = fan.range.start.saturating_add(len);
        fan.gathered.clear();
    }

    fn write_to_one(
        &mut self,
        fan: &Fan,
        to: LegRef,
        flag: Flag,
        out: &mut impl Egress,
    ) -> Result<(), u16> {
        let leg = self.legs.live(to).ok_or(NO_SESSION)?;
        if leg.frozen || leg.remote.is_none() {
            return Err(NO_SESSION);
        }
        if !leg.direction.may_receive {
            return Err(FORBIDDEN);
        }
        let Link::Bound(sink) = leg.link else {
            return Err(NO_SESSION);
        };
        let (most, is_exact) = match leg.chunking {
            Chunking::AsTheyCome => (MSRP_FAN_BYTES, false),
            Chunking::AtMost { octets, exact } => {
                (usize::try_from(octets.max(1)).unwrap_or(usize::MAX), exact)
            }
        };
        let mut start = fan.range.start;
        let mut left = fan.gathered.as_slice();
        loop {
            let (body, later) = left.split_at_checked(most).unwrap_or((left, &[]));
            let is_last = later.is_empty();
            let piece = Piece {
                body,
                start,
                flag: if is_last { flag } else { Flag::More },
                is_exact: is_exact || body.len() <= INTERRUPTIBLE_FROM,
            };
            self.write_one_piece(fan, (to, sink), piece, out)?;
            if is_last {
                return Ok(());
            }
            start = start.saturating_add(body.len() as u64);
            left = later;
        }
    }

    fn write_one_piece(
        &mut self,
        fan: &Fan,
        (to, sink): (LegRef, ConnectionKey),
        piece: Piece<'_>,
        out: &mut impl Egress,
    ) -> Result<(), u16> {
        if out.progress(sink).waiting() > MSRP_MEMBER_BYTES {
            return Err(TIMEOUT);
        }
        let is_tracked = fan.failure_report != FailureReport::No && piece.flag != Flag::Aborted;
        let opening = is_tracked.then_some(Opening {
            kind: Kind::Send(fan.failure_report),
            source: fan.from,
            sink,
            to: to.key,
            id: fan.message_id,
        });
        // 64 random bits that are drawn after the body came don't occur in it.
        let ticket = self.ticket(opening).ok_or(TIMEOUT)?;
        let last = piece
            .start
            .saturating_add(piece.body.len() as u64)
            .saturating_sub(1);
        let range = ByteRange {
            start: piece.start,
            end: piece.is_exact.then_some(last),
            total: fan.range.total,
        };
        let mut frame = mem::take(&mut self.scratch);
        frame.clear();
        let id = ticket.id();
        if let Some(leg) = self.legs.live(to) {
            let start = Start {
                id: &id,
                tail: b"SEND",
                to_path: leg.remote.as_deref().unwrap_or_default(),
                from_path: leg.own(),
            };
            compose::start(&mut frame, start);
        }
        compose::with_range(&mut frame, &fan.kept, range);
        frame.extend_from_slice(piece.body);
        frame.extend_from_slice(compose::EndLine::new(&id, piece.flag).octets());
        let is_written = self.write_frame(sink, &frame, out);
        self.scratch = frame;
        if !is_written {
            self.forget(ticket, sink);
            return Err(TIMEOUT);
        }
        if let Some(transaction) = self.transactions.get_mut(ticket) {
            transaction.start = piece.start;
            transaction.end = last;
            transaction.total = fan.range.total.unwrap_or(u64::MAX);
        }
        if piece.flag != Flag::Aborted {
            self.counts.acknowledged += 1;
            self.counts.open += 1;
            self.begin_waiting(sink, (ticket, true), out);
        }
        Ok(())
    }

    /// A member couldn't take a piece: its sender hears so at once.
    fn fail_at_once(&mut self, fan: &Fan, code: u16, out: &mut impl Egress) {
        self.counts.acknowledged += 1;
        if fan.failure_report == FailureReport::No {
            self.counts.delivered += 1;
            return;
        }
        self.counts.reported += 1;
        let failed = Failed {
            source: fan.from,
            id: fan.message_id,
            range: ByteRange {
                start: fan.range.start,
                end: Some(
                    fan.range
                        .start
                        .saturating_add(fan.gathered.len() as u64)
                        .saturating_sub(1),
                ),
                total: fan.range.total,
            },
        };
        self.report(&failed, Status(code), out);
    }

    /// Whether the sender of a piece that failed must be told: not again for the same member and
    /// message.
    pub(super) fn is_news(&mut self, transaction: &Transaction) -> bool {
        let leg = self.legs.live_mut(transaction.source);
        let Some(members) = leg.and_then(|leg| leg.members.as_deref_mut()) else {
            return true;
        };
        let mut members = members.iter_mut();
        let member = members.find(|member| member.leg.key == transaction.to);
        member.is_none_or(|member| member.fail(hash(&transaction.id)))
    }

    /// Whether what comes from a leg goes to many.
    pub(super) fn is_for_many(&self, leg: LegKey) -> bool {
        self.legs.get(leg).is_some_and(|leg| leg.members.is_some())
    }
}

/// What a REPORT is made of.
#[derive(Clone, Copy)]
pub(super) struct Failed {
    pub(super) source: LegRef,
    pub(super) id: ShortText,
    pub(super) range: ByteRange,
}

impl Failed {
    pub(super) fn of(transaction: &Transaction) -> Self {
        Self {
            source: transaction.source,
            id: transaction.id,
            range: ByteRange {
                start: transaction.start,
                end: Some(transaction.end),
                total: (transaction.total != u64::MAX).then_some(transaction.total),
            },
        }
    }
}

fn hash(id: &ShortText) -> u64 {
    // 0 is an empty place.
    super::legs::hash(id.as_bytes()).max(1)
}

const FORBIDDEN: u16 = 403;
const TIMEOUT: u16 = 408;
const NO_SESSION: u16 = 481;
/// RFC 4975 §7.1: a chunk with a longer body has an end that is left open.
const INTERRUPTIBLE_FROM: usize = 2048;
