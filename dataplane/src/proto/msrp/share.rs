//! What is in a room's log, written to its members: to each as fast as it takes it.
//!
//! Each copy is a SEND of its own, with the member's paths, a transaction, and the ranges that its
//! far end wants. A copy that fails concerns that member alone: its sender isn't told, unless it is
//! a private message. What is lost for a member is counted, `msrp_copies_failed`.

use std::mem;
use std::time::{Duration, Instant};

use super::compose::{self, Start};
use super::fan::Failed;
use super::legs::{LegRef, Link};
use super::room::{Entry, Member, Places, Room, RoomKey};
use super::transactions::{Kind, Opening, Ticket, Transaction};
use super::{ConnectionKey, Connections, Egress, LegKey};
use crate::api::Chunking;
use crate::limits::{MSRP_AWAITED_MS, MSRP_MEMBER_BYTES, MSRP_PENDING_HIGH_BYTES};
use crate::stats::Stats;
use crate::wire::msrp::{ByteRange, FailureReport, Flag, Status};

/// Whether a member's connection can be written to.
enum Sink {
    Open(ConnectionKey),
    /// Not now.
    Later,
    /// Not before there is a connection.
    Awaited,
    /// Never again.
    Gone,
}

impl Connections {
    /// Whether members of rooms are behind: [`Self::catch_up`] is to be called in every cycle.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.rooms.behind.is_empty()
    }

    /// Writes to members of rooms what they didn't take before and take now.
    pub fn catch_up(&mut self, out: &mut impl Egress, stats: &mut Stats) {
        self.write_behind(out);
        self.counts.publish(stats);
    }

    pub(super) fn write_behind(&mut self, out: &mut impl Egress) {
        self.rooms.is_hurried = false;
        self.rooms.gives_up = None;
        for _ in 0..self.rooms.behind.len() {
            let Some(key) = self.rooms.behind.pop_front() else {
                return;
            };
            let Some(mut room) = self.rooms.take(key) else {
                continue;
            };
            room.is_listed = false;
            self.write_room(&mut room, out);
            self.put_room(key, room);
        }
    }

    /// Writes to all who are behind, each in turn as the first.
    pub(super) fn write_room(&mut self, room: &mut Room, out: &mut impl Egress) {
        let behind = room.behind;
        let turn = room.turn;
        for part in [turn..usize::MAX, 0..turn] {
            let mut from = part.start;
            while let Some(place) = behind.next(from).filter(|place| *place < part.end) {
                if out.is_short() && self.is_writable(room, place, out) {
                    self.rooms.is_hurried = true;
                    room.turn = place;
                    self.trim(room);
                    return;
                }
                self.write_to_member(room, place, out);
                from = place + 1;
            }
        }
        self.trim(room);
    }

    /// Shares a piece with those that its message is for; with how many.
    pub(super) fn share(
        &mut self,
        room: &mut Room,
        mut entry: Entry,
        to: Option<&Places>,
        out: &mut impl Egress,
    ) -> u64 {
        let octets = entry.charge();
        while !self.rooms.has_room_for(room, octets) && room.front().is_some() {
            self.fail_oldest(room, out);
        }
        let fits = self.rooms.has_room_for(room, octets);
        self.address(room, &mut entry, to);
        let due = entry.due;
        if due.is_empty() {
            self.rooms.give_buffer(entry.octets);
            // Who isn't waited for any more misses this: it is to get no part of the message.
            self.write_room(room, out);
            return 0;
        }
        self.log(room, entry);
        if !fits {
            self.fail_oldest(room, out);
        }
        self.write_room(room, out);
        due.len()
    }

    /// Puts a piece into the log.
    pub(super) fn log(&mut self, room: &mut Room, entry: Entry) {
        if entry.is_counted() {
            let copies = entry.due.len();
            self.counts.acknowledged += copies;
            self.counts.open += copies;
        }
        room.behind.add(&entry.due);
        self.rooms.octets += room.push(entry);
    }

    /// Says whom a piece is for: those who can take it, and have had all of its message.
    pub(super) fn address(&self, room: &mut Room, entry: &mut Entry, to: Option<&Places>) {
        room.clock += 1;
        entry.clock = room.clock;
        if entry.began == 0 {
            entry.began = entry.clock;
        }
        let is_last = entry.flag != Flag::More;
        for (place, member) in room.members.iter_mut().enumerate() {
            let Some(member) = member.as_mut().filter(|member| member.leg != entry.from) else {
                continue;
            };
            if to.is_some_and(|to| !to.has(place)) {
                continue;
            }
            let has_failed = member.has_failed(entry.message);
            if has_failed && is_last {
                member.forget(entry.message);
            }
            if !self.takes(member, entry.is_continued()) {
                member.since = entry.clock + 1;
                continue;
            }
            if member.since <= entry.began && !has_failed {
                entry.due.set(place);
            }
        }
    }

    /// Whether a member can get something, now or once it has a connection: who leaves only gets the
    /// rest of what it has a part of.
    fn takes(&self, member: &Member, is_continued: bool) -> bool {
        self.legs.live(member.leg).is_some_and(|leg| {
            let is_there = match leg.link {
                Link::Bound(_) => true,
                Link::Awaited => !self.is_given_up(member),
                Link::Lost => false,
            };
            is_there
                && leg.remote.is_some()
                && leg.direction.may_receive
                && (!leg.frozen || is_continued)
        })
    }

    /// Whether a member would get a message that begins now.
    pub(super) fn would_get(&self, member: &Member) -> bool {
        self.takes(member, false)
    }

    /// Whether a member was kept messages for so long that its connection isn't waited for any more.
    fn is_given_up(&self, member: &Member) -> bool {
        let until = gives_up(member);
        until
            .zip(self.latest)
            .is_some_and(|(until, now)| until <= now)
    }

    /// Those who have to get the oldest entry get no more of what is in flight.
    fn fail_oldest(&mut self, room: &mut Room, out: &mut impl Egress) {
        self.trim(room);
        while let Some(place) = room.front().and_then(|entry| entry.due.next(0)) {
            self.counts.full_members += 1;
            self.fail_copies(room, place, TIMEOUT, out);
        }
        self.trim(room);
    }

    /// Writes to one member what is for it, as long as it takes it.
    fn write_to_member(&mut self, room: &mut Room, place: usize, out: &mut impl Egress) {
        while let Some(number) = room.next_due(place) {
            let Some(member) = room.member(place) else {
                return;
            };
            let (leg, part) = (member.leg, member.part);
            let sink = match self.sink_of(leg, out) {
                Sink::Open(sink) => sink,
                Sink::Awaited if self.is_given_up(member) => {
                    return self.fail_copies(room, place, TIMEOUT, out);
                }
                Sink::Awaited => {
                    if let Some(member) = room.member_mut(place) {
                        member.is_slow = true;
                        member.awaited = member.awaited.or(self.latest);
                        let next = self.rooms.gives_up.into_iter().chain(gives_up(member));
                        self.rooms.gives_up = next.min();
                    }
                    return;
                }
                Sink::Later => {
                    if let Some(member) = room.member_mut(place) {
                        member.is_slow = true;
                    }
                    return;
                }
                Sink::Gone => return self.fail_copies(room, place, NO_SESSION, out),
            };
            let Some(entry) = room.entry(number) else {
                return;
            };
            let is_shed = entry.is_composing && member.is_slow && part == 0;
            if is_shed {
                self.counts.composing_shed += 1;
            }
            let written = if is_shed {
                entry.body().len()
            } else {
                match self.write_copy(entry, part, (leg, sink), out) {
                    Some(written) => part + written,
                    None => return,
                }
            };
            let is_whole = written >= entry.body().len();
            let is_got = is_whole && entry.flag == Flag::Complete && !is_shed;
            if let Some(member) = room.member_mut(place) {
                member.part = written;
                member.got += u64::from(is_got);
            }
            if is_whole && let Some(entry) = room.entry_mut(number) {
                entry.due.clear(place);
            }
        }
        room.behind.clear(place);
        if let Some(member) = room.member_mut(place) {
            member.is_slow = false;
        }
    }

    /// Whether something could be written to a member, were there frames.
    fn is_writable(&self, room: &Room, place: usize, out: &impl Egress) -> bool {
        let leg = room.member(place).map(|member| member.leg);
        leg.is_some_and(|leg| matches!(self.sink_of(leg, out), Sink::Open(_)))
    }

    fn sink_of(&self, leg: LegRef, out: &impl Egress) -> Sink {
        let sink = match self.legs.live(leg).map(|leg| leg.link) {
            Some(Link::Bound(sink)) => sink,
            Some(Link::Awaited) => return Sink::Awaited,
            Some(Link::Lost) | None => return Sink::Gone,
        };
        let pending = self.connection(sink).map_or(0, |sink| sink.pending.len());
        let waits = out.is_full(sink)
            || out.progress(sink).waiting() > MSRP_MEMBER_BYTES
            || pending >= MSRP_PENDING_HIGH_BYTES;
        if waits { Sink::Later } else { Sink::Open(sink) }
    }

    /// Writes as much of a piece as goes into one chunk for a member, from `part` on; with how
    /// many octets. `None`: there is no room for it now.
    fn write_copy(
        &mut self,
        entry: &Entry,
        part: usize,
        (to, sink): (LegRef, ConnectionKey),
        out: &mut impl Egress,
    ) -> Option<usize> {
        let (most, is_exact) = match self.legs.live(to)?.chunking {
            Chunking::AsTheyCome => (usize::MAX, false),
            Chunking::AtMost { octets, exact } => {
                (usize::try_from(octets.max(1)).unwrap_or(usize::MAX), exact)
            }
        };
        let left = entry.body().get(part..).unwrap_or_default();
        let body = left.get(..most).unwrap_or(left);
        let flag = if body.len() == left.len() {
            entry.flag
        } else {
            Flag::More
        };
        let start = entry.start.saturating_add(part as u64);
        let last = start.saturating_add(body.len() as u64).saturating_sub(1);
        let is_exact = is_exact || body.len() <= INTERRUPTIBLE_FROM;
        let range = ByteRange {
            start,
            end: is_exact.then_some(last),
            total: entry.total,
        };
        let kind = if entry.is_private {
            Kind::Send(entry.failure_report)
        } else {
            Kind::Copy(entry.failure_report)
        };
        let is_tracked = entry.failure_report != FailureReport::No && flag != Flag::Aborted;
        let opening = is_tracked.then_some(Opening {
            kind,
            source: entry.from,
            sink,
            to: to.key,
            id: entry.message_id,
        });
        // 64 random bits that are drawn after the body came don't occur in it.
        let ticket = self.ticket(opening)?;
        if !self.write_piece(entry, (body, range, flag), (to, sink, ticket), out) {
            self.forget(ticket, sink);
            return None;
        }
        if let Some(transaction) = self.transactions.get_mut(ticket) {
            transaction.start = entry.number_in(start);
            transaction.end = entry.number_in(last);
            let total = entry.total.map(|total| entry.number_in(total));
            transaction.total = total.unwrap_or(u64::MAX);
        }
        if flag != Flag::Aborted {
            if part > 0 || !entry.is_counted() {
                self.counts.acknowledged += 1;
                self.counts.open += 1;
            }
            self.begin_waiting(sink, (ticket, true), out);
        }
        Some(body.len())
    }

    fn write_piece(
        &mut self,
        entry: &Entry,
        (body, range, flag): (&[u8], ByteRange, Flag),
        (to, sink, ticket): (LegRef, ConnectionKey, Ticket),
        out: &mut impl Egress,
    ) -> bool {
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
        let headers = entry.octets.get(..entry.after).unwrap_or_default();
        let (before, after) = headers.split_at_checked(entry.before).unwrap_or_default();
        frame.extend_from_slice(before);
        compose::byte_range(&mut frame, range.start, range.end, range.total);
        frame.extend_from_slice(after);
        frame.extend_from_slice(b"\r\n");
        frame.extend_from_slice(body);
        frame.extend_from_slice(compose::EndLine::new(&id, flag).octets());
        let is_written = self.write_frame(sink, &frame, out);
        self.scratch = frame;
        is_written
    }

    /// All that waits for a member fails: it gets no more of those messages. A message that it has
    /// a part of ends with `#`.
    pub(super) fn fail_copies(
        &mut self,
        room: &mut Room,
        place: usize,
        code: u16,
        out: &mut impl Egress,
    ) {
        let clock = room.clock;
        while let Some(number) = room.next_due(place) {
            let Some(member) = room.member_mut(place) else {
                return;
            };
            let (leg, part) = (member.leg, member.part);
            let Some(entry) = room.entry_mut(number) else {
                return;
            };
            entry.due.clear(place);
            let (message, is_last) = (entry.message, entry.flag != Flag::More);
            let Some(member) = room.member_mut(place) else {
                return;
            };
            let is_news = member.fail(message, clock);
            if is_last {
                member.forget(message);
            }
            let Some(entry) = room.entry(number) else {
                return;
            };
            self.fail_copy(entry, part, (code, is_news), out);
            let has_part = part > 0 || entry.is_continued();
            if is_news && has_part && entry.flag != Flag::Aborted {
                self.end_copy(entry, part, leg, out);
            }
        }
        room.behind.clear(place);
    }

    /// Counts a copy that failed, and tells its sender if that is its business.
    fn fail_copy(
        &mut self,
        entry: &Entry,
        part: usize,
        (code, is_news): (u16, bool),
        out: &mut impl Egress,
    ) {
        if !entry.is_counted() {
            self.counts.composing_shed += u64::from(entry.is_composing);
            return;
        }
        if part > 0 {
            // What was written of it counts by itself.
            self.counts.acknowledged += 1;
        } else {
            self.counts.open -= 1;
        }
        if entry.failure_report == FailureReport::No {
            self.counts.delivered += 1;
            return;
        }
        self.counts.reported += 1;
        self.counts.copies_failed += u64::from(!entry.is_private);
        if !(entry.is_private && is_news) {
            return;
        }
        let last = entry.start.saturating_add(entry.body().len() as u64);
        let failed = Failed {
            source: entry.from,
            id: entry.message_id,
            range: ByteRange {
                start: entry.number_in(entry.start),
                end: Some(entry.number_in(last.saturating_sub(1))),
                total: entry.total.map(|total| entry.number_in(total)),
            },
        };
        self.report(&failed, Status(code), out);
    }

    /// Tells a member that no more of a message comes that it has a part of.
    fn end_copy(&mut self, entry: &Entry, part: usize, leg: LegRef, out: &mut impl Egress) {
        let Some(Link::Bound(sink)) = self.legs.live(leg).map(|leg| leg.link) else {
            return;
        };
        let start = entry.start.saturating_add(part as u64);
        let range = ByteRange {
            start,
            end: Some(start.saturating_sub(1)),
            total: entry.total,
        };
        let ticket = Ticket::untracked(&mut self.random);
        self.write_piece(entry, (b"", range, Flag::Aborted), (leg, sink, ticket), out);
    }

    /// What waits for a member that leaves counts as reported.
    pub(super) fn drop_copies(&mut self, room: &mut Room, place: usize) {
        let part = room.member(place).map_or(0, |member| member.part);
        let mut part = part;
        while let Some(number) = room.next_due(place) {
            let Some(entry) = room.entry_mut(number) else {
                return;
            };
            entry.due.clear(place);
            if entry.is_counted() {
                if part > 0 {
                    self.counts.acknowledged += 1;
                } else {
                    self.counts.open -= 1;
                }
                self.counts.reported += 1;
                self.counts.copies_failed += 1;
            }
            part = 0;
        }
    }

    /// A copy was answered with a failure, or not at all: its member gets no more of that message.
    pub(super) fn copy_failed(&mut self, transaction: &Transaction) {
        self.counts.copies_failed += 1;
        let sender = self.legs.live(transaction.source).and_then(|leg| leg.room);
        let member = self.place_of(transaction.to);
        let (Some((key, from)), Some((_, to))) = (sender, member) else {
            return;
        };
        let Some(room) = self.rooms.get_mut(key) else {
            return;
        };
        let clock = room.clock;
        let open = room.member(usize::from(from)).and_then(|sender| {
            let mut open = sender.open.iter();
            open.find(|open| open.id.as_bytes() == transaction.id.as_bytes())
        });
        let Some(number) = open.map(|open| open.number) else {
            return;
        };
        if let Some(member) = room.member_mut(to) {
            member.fail(number, clock);
        }
    }

    /// A member has a connection, and gets what was kept for it when those that are behind are looked
    /// at; or it is awaited anew, while nothing is kept for it.
    pub(super) fn await_anew(&mut self, leg: LegKey) {
        let is_connected = self.connection_of(leg).is_some();
        if let Some((key, place)) = self.place_of(leg)
            && let Some(room) = self.rooms.get_mut(key)
            && (is_connected || !room.behind.has(place))
            && let Some(member) = room.member_mut(place)
        {
            member.awaited = None;
        }
    }

    /// A member lost its connection: what is for it fails, and what it has begun to send ends.
    pub(super) fn lost_in_room(&mut self, leg: LegKey, out: &mut impl Egress) {
        let Some((key, place)) = self.place_of(leg) else {
            return;
        };
        self.with_room(key, |relay, room| {
            relay.fail_copies(room, place, NO_SESSION, out);
            relay.abort_messages(room, place);
            relay.write_room(room, out);
        });
    }

    pub(super) fn with_room(&mut self, key: RoomKey, run: impl FnOnce(&mut Self, &mut Room)) {
        if let Some(mut room) = self.rooms.take(key) {
            run(self, &mut room);
            self.put_room(key, room);
        }
    }
}

/// When what is kept for a member without a connection is given up.
fn gives_up(member: &Member) -> Option<Instant> {
    member
        .awaited?
        .checked_add(Duration::from_millis(MSRP_AWAITED_MS))
}

const TIMEOUT: u16 = 408;
const NO_SESSION: u16 = 481;
/// RFC 4975 §7.1: a chunk with a longer body has an end that is left open.
const INTERRUPTIBLE_FROM: usize = 2048;
