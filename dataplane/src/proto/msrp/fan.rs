//! What a member of a room sends, gathered and shared with the others.
//!
//! A chunk is gathered in pieces of at most `limits::MSRP_FAN_BYTES`; each goes into the room's log
//! and to everybody who keeps up (`share`). Its sender gets its 200 at the chunk's end.
//!
//! Of a CPIM message the head is gathered whole, over as many reads and chunks as it takes, before
//! anything goes out: its From is set to who the sender is known to be, and its To says whether
//! it is for all. Octets are numbered anew from there on, and a total that was named is named
//! with the difference, so that ranges and totals are exact for who gets them. Pieces of a message
//! have to come in their order, as they do on one connection; others are refused with 413.
//!
//! A report of success is the room's to give, once it has taken all of the message: the members are
//! asked for none. Who got a private message is asked, and its report is passed on.

use std::mem;

use super::connection::{Answer, Incoming, KeptHead, Swallow};
use super::legs::LegRef;
use super::messages::{COMPOSING, Message, Stage};
use super::relay::Flow;
use super::request::Refused;
use super::room::{Entry, Places, Room, RoomKey};
use super::transactions::{ShortText, Transaction};
use super::{ConnectionKey, Connections, Egress, LegKey};
use crate::limits::{MSRP_FAN_BYTES, MSRP_HEAD_BYTES};
use crate::stats::DropReason;
use crate::wire::msrp::{
    ByteRange, FailureReport, Flag, Head, Status, TransactionId, is_media_type,
};

/// A chunk that is being gathered for many.
#[derive(Debug)]
pub(super) struct Fan {
    /// The id it came with.
    came_as: TransactionId,
    pub(super) from: LegRef,
    pub(super) room: RoomKey,
    /// The sender's place in it.
    pub(super) place: usize,
    /// The message's number.
    pub(super) number: u64,
    pub(super) message_id: ShortText,
    failure_report: FailureReport,
    success_report: bool,
    is_composing: bool,
    /// Octets that the whole message has, as its sender says.
    total: Option<u64>,
    /// Octets of the message that came.
    came: u64,
    pub(super) gathered: Vec<u8>,
    /// The URI that is answered, and the headers.
    kept: KeptHead,
}

impl Connections {
    /// Begins to gather a SEND for a room.
    pub(super) fn fan(&mut self, key: ConnectionKey, leg: LegKey, head: &Head<'_>) -> Flow {
        let reference = self.legs.reference(leg);
        let place = self.place_of(leg);
        let (Some(from), Some((room, place))) = (reference, place) else {
            return self.refuse(key, reference, head, Refused::uncounted(NO_SESSION));
        };
        let begun = match self.may_fan(leg, head) {
            Err(refused) => Err(refused),
            Ok(()) if !self.reserve(MSRP_FAN_BYTES) => Err(Refused::uncounted(408)),
            Ok(()) => self.begin_message((room, place), head).inspect_err(|_| {
                self.no_longer_waits(MSRP_FAN_BYTES);
            }),
        };
        let (number, gathered) = match begun {
            Ok(begun) => begun,
            Err(refused) => return self.refuse(key, reference, head, refused),
        };
        let range = head.byte_range.unwrap_or(ByteRange::WHOLE);
        let mut kept = KeptHead::new(self.shared.take(), head.from_first(), head.rest);
        kept.range_line = head.byte_range_line;
        let content_type = head.content_type.unwrap_or_default();
        let fan = Fan {
            came_as: head.transaction,
            from,
            room,
            place,
            number,
            message_id: ShortText::new(head.message_id.unwrap_or_default()),
            failure_report: head.failure_report,
            success_report: head.success_report,
            is_composing: is_media_type(content_type, COMPOSING),
            total: range.total,
            came: range.start.saturating_sub(1),
            gathered,
            kept,
        };
        if let Some(state) = self.connection_mut(key) {
            state.incoming = Incoming::Fan(fan);
        }
        Flow::On
    }

    fn may_fan(&self, leg: LegKey, head: &Head<'_>) -> Result<(), Refused> {
        let unknown = Refused::new(NO_SESSION, DropReason::NoRemote);
        let from = self.legs.get(leg).ok_or(unknown)?;
        if from.frozen {
            return Err(Refused::new(NO_SESSION, DropReason::Frozen));
        }
        if !from.direction.may_send {
            return Err(Refused::new(403, DropReason::Direction));
        }
        let is_stopped = head.message_id.is_some_and(|id| from.is_stopped(id));
        if is_stopped || from.is_too_long(head) {
            return Err(Refused::uncounted(STOP_SENDING));
        }
        Ok(())
    }

    /// Whether a chunk of a leg is being gathered.
    pub(super) fn is_fanned_from(&self, leg: LegKey) -> bool {
        let connection = self.connection_of(leg).and_then(|key| self.connection(key));
        let incoming = connection.map(|state| &state.incoming);
        matches!(incoming, Some(Incoming::Fan(fan)) if fan.from.key == leg)
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

    /// Gathers octets of a body, and shares them where they fill a piece.
    pub(super) fn fan_body(&mut self, key: ConnectionKey, octets: &[u8], out: &mut impl Egress) {
        let Some(mut fan) = self.take_fan(key) else {
            return;
        };
        fan.came = fan.came.saturating_add(octets.len() as u64);
        let leg = self.legs.live_mut(fan.from);
        if let Some(leg) = leg.filter(|leg| leg.bounds.is_too_long(fan.came)) {
            leg.stop_message(fan.message_id.as_bytes());
            self.give_up_fan(key, fan, STOP_SENDING, out);
            return;
        }
        let mut left = octets;
        while !left.is_empty() {
            if fan.gathered.len() >= MSRP_FAN_BYTES {
                self.share_gathered(&mut fan, Flag::More, out);
            }
            let room = MSRP_FAN_BYTES.saturating_sub(fan.gathered.len());
            let (now, later) = left.split_at_checked(room).unwrap_or((left, &[]));
            fan.gathered.extend_from_slice(now);
            left = later;
            if let Err(code) = self.read_cpim_head(&mut fan) {
                self.give_up_fan(key, fan, code, out);
                return;
            }
        }
        if let Some(state) = self.connection_mut(key) {
            state.incoming = Incoming::Fan(fan);
        }
    }

    /// The chunk has ended: its last piece goes out, and its sender is answered.
    pub(super) fn fan_end(&mut self, key: ConnectionKey, flag: Flag, out: &mut impl Egress) {
        let Some(mut fan) = self.take_fan(key) else {
            return;
        };
        if let Err(code) = self.end_of_chunk(&mut fan, flag, out) {
            if let Some(leg) = self.legs.live_mut(fan.from) {
                leg.facts.dropped += 1;
            }
            let is_answered = fan.failure_report != FailureReport::No;
            self.forget_message(&fan, out);
            if let Some(answer) = self.end_fan(fan, is_answered.then_some(code)) {
                self.write_answer(key, answer, out);
            }
            return;
        }
        if let Some(leg) = self.legs.live_mut(fan.from) {
            leg.facts.sends += 1;
            leg.facts.messages += u64::from(flag == Flag::Complete);
        }
        let succeeded = flag == Flag::Complete && fan.success_report && !self.is_private(&fan);
        let success = succeeded.then(|| fan.success());
        if flag != Flag::More {
            self.forget_message(&fan, out);
        }
        let is_answered = fan.failure_report == FailureReport::Yes;
        if let Some(answer) = self.end_fan(fan, is_answered.then_some(200)) {
            self.write_answer(key, answer, out);
        }
        if let Some(success) = success {
            self.report(&success, Status(200), out);
        }
    }

    /// Shares what is left of a chunk, or keeps it for the next one.
    fn end_of_chunk(
        &mut self,
        fan: &mut Fan,
        flag: Flag,
        out: &mut impl Egress,
    ) -> Result<(), u16> {
        let room = self.rooms.get_mut(fan.room).ok_or(NO_SESSION)?;
        let open = fan.message_in_mut(room).ok_or(NO_SESSION)?;
        open.next_in = fan.came.saturating_add(1);
        match (&mut open.stage, flag) {
            (Stage::Head(kept), Flag::More) => {
                *kept = mem::take(&mut fan.gathered);
                return Ok(());
            }
            (Stage::Head(_), Flag::Complete) => return Err(400),
            (Stage::Head(_), Flag::Aborted) => return Ok(()),
            (Stage::Body { .. }, _) => {}
        }
        if flag != Flag::More || !fan.gathered.is_empty() {
            self.share_gathered(fan, flag, out);
        }
        if flag == Flag::More {
            let mut headers = Vec::new();
            let before = fan.headers(&mut headers, false);
            let room = self.rooms.get_mut(fan.room).ok_or(NO_SESSION)?;
            if let Some(open) = fan.message_in_mut(room) {
                open.head = (headers, before);
            }
        }
        Ok(())
    }

    fn is_private(&self, fan: &Fan) -> bool {
        let room = self.rooms.get(fan.room);
        let open = room.and_then(|room| fan.message_in(room));
        open.is_some_and(|open| open.to.is_some())
    }

    /// A message has ended; who has a part of it and not the end hears so.
    fn forget_message(&mut self, fan: &Fan, out: &mut impl Egress) {
        self.with_room(fan.room, |relay, room| {
            relay.abort_message(room, fan.place, |open| open.number == fan.number);
            relay.write_room(room, out);
        });
    }

    /// The source of a chunk is lost, or its leg is: whoever has a part of it hears that it ends.
    pub(super) fn abort_fan(&mut self, key: ConnectionKey, out: &mut impl Egress) {
        if let Some(fan) = self.take_fan(key) {
            self.forget_message(&fan, out);
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

    fn give_up_fan(&mut self, key: ConnectionKey, fan: Fan, code: u16, out: &mut impl Egress) {
        self.forget_message(&fan, out);
        let from = fan.from;
        if let Some(leg) = self.legs.live_mut(from) {
            leg.facts.dropped += 1;
        }
        let is_answered = fan.failure_report != FailureReport::No;
        let answer = self.end_fan(fan, is_answered.then_some(code));
        let swallow = Swallow {
            leg: Some(from),
            answer: None,
            no_body: false,
        };
        self.swallow(key, swallow);
        if let Some(answer) = answer {
            self.write_answer(key, answer, out);
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

    /// Shares what was gathered, as one piece.
    fn share_gathered(&mut self, fan: &mut Fan, flag: Flag, out: &mut impl Egress) {
        let mut octets = self.rooms.buffer(fan.gathered.len() + MSRP_HEAD_BYTES / 4);
        self.with_room(fan.room, |relay, room| {
            let clock = room.clock;
            let Some(open) = fan.message_in_mut(room) else {
                return;
            };
            let is_first = open.began == 0;
            let is_private = open.to.is_some();
            let before = fan.headers(&mut octets, is_private);
            let after = octets.len();
            octets.extend_from_slice(&fan.gathered);
            let is_all = is_first && flag == Flag::Complete;
            let is_composing = is_all && (fan.is_composing || open.says_composing(&fan.gathered));
            open.is_ended = flag != Flag::More;
            let shift = open.shift();
            let to = open.to.take();
            let entry = Entry {
                from: fan.from,
                due: Places::default(),
                message: fan.number,
                clock: 0,
                began: open.began,
                message_id: fan.message_id,
                failure_report: fan.failure_report,
                is_private,
                is_composing,
                shift,
                start: open.next_out,
                total: open.total_out(fan.total),
                flag,
                octets,
                before,
                after,
            };
            open.next_out = open.next_out.saturating_add(fan.gathered.len() as u64);
            if is_first {
                // The clock that the entry gets.
                open.began = clock + 1;
            }
            relay.share(room, entry, to.as_deref(), out);
            if is_private && fan.success_report && is_first {
                room.expect_success(fan.message_id, (fan.from, shift));
            }
            if let Some(open) = fan.message_in_mut(room) {
                open.to = to;
            }
        });
        fan.gathered.clear();
    }
}

impl Fan {
    pub(super) fn message_in<'a>(&self, room: &'a Room) -> Option<&'a Message> {
        let mut open = room.member(self.place)?.open.iter();
        open.find(|open| open.number == self.number)
    }

    pub(super) fn message_in_mut<'a>(&self, room: &'a mut Room) -> Option<&'a mut Message> {
        let mut open = room.member_mut(self.place)?.open.iter_mut();
        open.find(|open| open.number == self.number)
    }

    /// Writes the headers of a piece, without Byte-Range and, but for a private message, without
    /// Success-Report; with where Byte-Range goes.
    fn headers(&self, to: &mut Vec<u8>, with_success_report: bool) -> usize {
        let mut before = 0;
        let mut left = self.kept.second();
        while let Some(at) = memchr::memchr(b'\n', left) {
            let (line, rest) = left.split_at_checked(at + 1).unwrap_or((left, &[]));
            left = rest;
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            if name.eq_ignore_ascii_case(b"Byte-Range") {
                before = to.len();
                continue;
            }
            let is_left_out = !with_success_report && name.eq_ignore_ascii_case(b"Success-Report");
            if !is_left_out {
                to.extend_from_slice(line);
            }
        }
        before
    }

    /// The report that all of it was taken.
    fn success(&self) -> Failed {
        Failed {
            source: self.from,
            id: self.message_id,
            range: ByteRange {
                start: 1,
                end: Some(self.came),
                total: Some(self.came),
            },
        }
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

const STOP_SENDING: u16 = 413;
const NO_SESSION: u16 = 481;
