//! Rooms: members that get each other's messages, and the log of what isn't written to all yet.
//!
//! ```text
//!             log: each piece of a message once, with the places of those who still have to get it
//!   first ──▶ [ 3 7 ] [ 3 ] [ 3 ] [ 3 5 7 ] ◀── a piece that just came
//!               │       └── member 3 is behind: it gets these when it takes more
//!               └── gone once 3 and 7 have it
//! ```
//!
//! A member that keeps up gets a piece as it comes; nothing of it stays here. One that doesn't holds
//! nobody up: what is for it stays in the log, until it is behind by more than the log may hold
//! (`limits::MSRP_ROOM_BYTES`) and what was in flight fails for it. The log is shared, so a file
//! costs its size once, however many members are behind.
//!
//! A message goes to those who were members, and not on hold, when it began; who comes later gets the
//! next one, whole. Who has accepted and has no connection yet gets it when it has one, if that is
//! within `limits::MSRP_AWAITED_MS` of the first one that is kept for it.

use std::collections::VecDeque;
use std::time::Instant;

use super::legs::{LegRef, Link};
use super::messages::Message;
use super::transactions::ShortText;
use super::{Connections, Egress, LegKey};
use crate::limits::{
    MSRP_MEMBERS, MSRP_ROOM_BYTES, MSRP_ROOM_HIGH_BYTES, MSRP_ROOM_PRIVATE, MSRP_ROOMS,
    MSRP_ROOMS_BYTES,
};
use crate::wire::msrp::{FailureReport, Flag};

/// A room, as [`Connections`] numbers it; used again once it was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomKey(pub u32);

/// How a room treats what its members send.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoomRules<'a> {
    /// The group's own URIs: a CPIM message to one of them is for all. Where none is given, so is
    /// every one that is to nobody in particular; else that is answered with 404.
    pub addresses: &'a [Box<str>],
    /// Only `message/cpim` is taken; all else is answered with 415.
    pub only_cpim: bool,
}

/// A set of members, by their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Places([u64; MSRP_MEMBERS / 64]);

impl Places {
    pub(super) fn set(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / 64) {
            *word |= 1 << (place % 64);
        }
    }

    pub(super) fn clear(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / 64) {
            *word &= !(1 << (place % 64));
        }
    }

    pub(super) fn has(&self, place: usize) -> bool {
        let word = self.0.get(place / 64);
        word.is_some_and(|word| word & (1 << (place % 64)) != 0)
    }

    pub(super) fn add(&mut self, others: &Self) {
        for (word, other) in self.0.iter_mut().zip(others.0) {
            *word |= other;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(super) fn len(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        std::iter::successors(self.next(0), |place| self.next(place + 1))
    }

    /// The first place at or after another one.
    pub(super) fn next(&self, from: usize) -> Option<usize> {
        let mut mask = u64::MAX << (from % 64);
        for (at, word) in self.0.iter().enumerate().skip(from / 64) {
            let left = word & mask;
            if left != 0 {
                return Some(at * 64 + left.trailing_zeros() as usize);
            }
            mask = u64::MAX;
        }
        None
    }
}

/// A piece of a message, for those who still have to get it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) from: LegRef,
    pub(super) due: Places,
    /// The message's number in its room.
    pub(super) message: u64,
    /// The room's clock when it came, and when its message began.
    pub(super) clock: u64,
    pub(super) began: u64,
    pub(super) message_id: ShortText,
    pub(super) failure_report: FailureReport,
    /// It isn't for all: its failure is its sender's business.
    pub(super) is_private: bool,
    /// It only says that somebody is composing (RFC 3994).
    pub(super) is_composing: bool,
    /// The number of its first octet.
    pub(super) start: u64,
    /// What is added to the number of an octet for the one that its sender gave it.
    pub(super) shift: i64,
    pub(super) total: Option<u64>,
    pub(super) flag: Flag,
    /// Headers before Byte-Range, headers after it, body.
    pub(super) octets: Vec<u8>,
    pub(super) before: usize,
    pub(super) after: usize,
}

impl Entry {
    pub(super) fn body(&self) -> &[u8] {
        self.octets.get(self.after..).unwrap_or_default()
    }

    /// An octet's number as the sender counts; the first is the first.
    pub(super) fn number_in(&self, number: u64) -> u64 {
        if number > 1 {
            number.saturating_add_signed(self.shift).max(1)
        } else {
            number
        }
    }

    /// Whether its message began in an earlier one.
    pub(super) fn is_continued(&self) -> bool {
        self.clock != self.began
    }

    /// Whether each copy counts as acknowledged from the beginning: what may be left out counts
    /// when it is written, and what only says that nothing more comes never does.
    pub(super) fn is_counted(&self) -> bool {
        !self.is_composing && self.flag != Flag::Aborted
    }

    /// Octets that it takes of the log.
    pub(super) fn charge(&self) -> usize {
        self.octets.capacity() + size_of::<Self>()
    }
}

/// Somebody in a room.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) leg: LegRef,
    /// What CPIM's From is set to.
    pub(super) identity: Option<Box<[u8]>>,
    pub(super) nickname: Option<Box<[u8]>>,
    /// It gets messages that began at this clock or later.
    pub(super) since: u64,
    /// The entry from which on some may be for it.
    pub(super) next: u64,
    /// Octets of that entry's body that it has.
    pub(super) part: usize,
    /// Messages, not ended, that failed for it; 0: an empty place.
    failed: [u64; FAILED],
    /// Since when messages are kept for it until it has a connection.
    pub(super) awaited: Option<Instant>,
    /// Its queue was full since it last had everything.
    pub(super) is_slow: bool,
    /// Messages that were written to it whole.
    pub(super) got: u64,
    /// What it has begun to send.
    pub(super) open: Vec<Message>,
}

impl Member {
    /// Remembers that a message failed; false: it had failed before.
    pub(super) fn fail(&mut self, message: u64, clock: u64) -> bool {
        if self.has_failed(message) {
            return false;
        }
        match self.failed.iter_mut().find(|place| **place == 0) {
            Some(place) => *place = message,
            // There are too many to tell them apart: all that are in flight fail.
            None => self.since = clock + 1,
        }
        true
    }

    pub(super) fn has_failed(&self, message: u64) -> bool {
        self.failed.contains(&message)
    }

    /// A message has ended: nothing more comes that would have to be left out.
    pub(super) fn forget(&mut self, message: u64) {
        for failed in &mut self.failed {
            if *failed == message {
                *failed = 0;
            }
        }
    }
}

/// Members and the log that they share.
#[derive(Debug, Default)]
pub(super) struct Room {
    pub(super) addresses: Vec<Box<[u8]>>,
    pub(super) only_cpim: bool,
    pub(super) members: Vec<Option<Member>>,
    log: VecDeque<Entry>,
    /// The number of the log's first entry.
    first: u64,
    /// What the log is charged with.
    pub(super) octets: usize,
    /// Counts pieces; the first is 1.
    pub(super) clock: u64,
    pub(super) messages: u64,
    /// Those who have not got all of the log.
    pub(super) behind: Places,
    /// Where the next look at those begins.
    pub(super) turn: usize,
    /// Whether it is on the list of rooms that have such.
    pub(super) is_listed: bool,
    /// Private messages whose success may be reported: who sent each, and the shift of its octets.
    private: VecDeque<(ShortText, (LegRef, i64))>,
}

impl Room {
    pub(super) fn end(&self) -> u64 {
        self.first + self.log.len() as u64
    }

    pub(super) fn entry(&self, number: u64) -> Option<&Entry> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.log.get(at)
    }

    pub(super) fn entry_mut(&mut self, number: u64) -> Option<&mut Entry> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.log.get_mut(at)
    }

    pub(super) fn front(&self) -> Option<&Entry> {
        self.log.front()
    }

    pub(super) fn member(&self, place: usize) -> Option<&Member> {
        self.members.get(place)?.as_ref()
    }

    pub(super) fn member_mut(&mut self, place: usize) -> Option<&mut Member> {
        self.members.get_mut(place)?.as_mut()
    }

    /// The next entry that is for a member.
    pub(super) fn next_due(&mut self, place: usize) -> Option<u64> {
        let (first, end) = (self.first, self.end());
        let from = self.member(place)?.next.max(first);
        let mut numbers = from..end;
        let found = numbers.find(|number| self.entry(*number).is_some_and(|e| e.due.has(place)));
        let member = self.member_mut(place)?;
        let next = found.unwrap_or(end);
        if member.next != next {
            member.next = next;
            member.part = 0;
        }
        found
    }

    pub(super) fn push(&mut self, entry: Entry) -> usize {
        let charge = entry.charge();
        self.octets += charge;
        self.log.push_back(entry);
        charge
    }

    /// Takes the first entry off the log, if nobody has to get it any more; with its charge.
    pub(super) fn pop(&mut self) -> Option<(Entry, usize)> {
        let charge = self.log.front().filter(|entry| entry.due.is_empty())?;
        let charge = charge.charge();
        self.octets = self.octets.saturating_sub(charge);
        self.first += 1;
        Some((self.log.pop_front()?, charge))
    }

    /// Whether something for a member waits, or from it for those who get it now.
    fn holds_something_of(&self, leg: LegRef, place: usize, gets: impl Fn(usize) -> bool) -> bool {
        let mut log = self.log.iter();
        log.any(|entry| {
            let is_for_it = entry.due.has(place) && gets(place);
            is_for_it || (entry.from == leg && entry.due.iter().any(&gets))
        })
    }

    pub(super) fn expect_success(&mut self, id: ShortText, from: (LegRef, i64)) {
        if self.private.len() >= MSRP_ROOM_PRIVATE {
            self.private.pop_front();
        }
        self.private.push_back((id, from));
    }

    /// Who sent the private message that a report is about.
    pub(super) fn sender_of(&self, id: &[u8]) -> Option<(ShortText, (LegRef, i64))> {
        let mut private = self.private.iter().rev();
        private.find(|(sent, _)| sent.as_bytes() == id).copied()
    }
}

/// Every room of one worker.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    places: Vec<Option<Box<Room>>>,
    free: Vec<u32>,
    /// Rooms with members that are behind.
    pub(super) behind: VecDeque<RoomKey>,
    /// Some of those could be written to if there were frames: they are looked at again at once.
    pub(super) is_hurried: bool,
    /// When what is kept for a member without a connection is given up next.
    pub(super) gives_up: Option<Instant>,
    /// What all logs are charged with.
    pub(super) octets: usize,
    /// Buffers of entries, not in use.
    spare: Vec<Vec<u8>>,
}

impl Rooms {
    pub(super) fn get(&self, key: RoomKey) -> Option<&Room> {
        self.places.get(key.0 as usize)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, key: RoomKey) -> Option<&mut Room> {
        self.places.get_mut(key.0 as usize)?.as_deref_mut()
    }

    /// Takes a room out of its place, to be put back.
    pub(super) fn take(&mut self, key: RoomKey) -> Option<Box<Room>> {
        self.places.get_mut(key.0 as usize)?.take()
    }

    pub(super) fn put(&mut self, key: RoomKey, room: Box<Room>) {
        if let Some(place) = self.places.get_mut(key.0 as usize) {
            *place = Some(room);
        }
    }

    /// Whether a room may take an entry of so many octets.
    pub(super) fn has_room_for(&self, room: &Room, octets: usize) -> bool {
        let left = MSRP_ROOMS_BYTES.saturating_sub(self.octets + octets);
        let own = room.octets + octets;
        own <= MSRP_ROOM_BYTES && (own <= left || room.log.is_empty() && left > 0)
    }

    pub(super) fn buffer(&mut self, octets: usize) -> Vec<u8> {
        match self.spare.pop() {
            Some(spare) => spare,
            None => Vec::with_capacity(octets),
        }
    }

    pub(super) fn give_buffer(&mut self, mut buffer: Vec<u8>) {
        let is_worth_it = (1..=SPARE_BYTES).contains(&buffer.capacity());
        if is_worth_it && self.spare.len() < SPARE_KEPT {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

impl Connections {
    /// Makes a room without members; `None`: there are `limits::MSRP_ROOMS`.
    pub fn open_room(&mut self, rules: RoomRules<'_>) -> Option<RoomKey> {
        let place = match self.rooms.free.pop() {
            Some(place) => place,
            None if self.rooms.places.len() < MSRP_ROOMS => {
                self.rooms.places.push(None);
                u32::try_from(self.rooms.places.len() - 1).ok()?
            }
            None => return None,
        };
        let addresses = rules.addresses.iter();
        let room = Room {
            addresses: addresses.map(|one| one.as_bytes().into()).collect(),
            only_cpim: rules.only_cpim,
            ..Room::default()
        };
        *self.rooms.places.get_mut(place as usize)? = Some(Box::new(room));
        Some(RoomKey(place))
    }

    /// Removes a room; who is still in it isn't any more.
    pub fn close_room(&mut self, key: RoomKey) {
        let members = self.rooms.get(key).map_or(0, |room| room.members.len());
        for place in 0..members {
            let member = self.rooms.get(key).and_then(|room| room.member(place));
            if let Some(leg) = member.map(|member| member.leg) {
                self.leave_room(leg.key);
            }
        }
        let Some(mut room) = self.rooms.take(key) else {
            return;
        };
        self.trim(&mut room);
        self.rooms.behind.retain(|behind| *behind != key);
        self.rooms.free.push(key.0);
    }

    /// Whether a room has no members.
    #[must_use]
    pub fn is_room_empty(&self, key: RoomKey) -> bool {
        let room = self.rooms.get(key);
        room.is_none_or(|room| room.members.iter().all(Option::is_none))
    }

    /// Makes a leg a member of a room: it gets what the others begin to send from now on, and they
    /// what it sends, with `identity` as CPIM's From. False: the room has `limits::MSRP_MEMBERS`, or
    /// the leg is in one.
    pub fn join_room(&mut self, key: RoomKey, leg: LegKey, identity: Option<&str>) -> bool {
        let Some(reference) = self.legs.reference(leg) else {
            return false;
        };
        let Some(room) = self.rooms.get_mut(key) else {
            return false;
        };
        let free = room.members.iter().position(Option::is_none);
        let place = free.unwrap_or(room.members.len());
        let is_elsewhere = self.legs.get(leg).is_some_and(|leg| leg.room.is_some());
        if place >= MSRP_MEMBERS || is_elsewhere {
            return false;
        }
        let member = Member {
            leg: reference,
            identity: identity.map(|identity| identity.as_bytes().into()),
            nickname: None,
            since: room.clock + 1,
            next: room.end(),
            part: 0,
            failed: [0; FAILED],
            awaited: None,
            is_slow: false,
            got: 0,
            open: Vec::new(),
        };
        match room.members.get_mut(place) {
            Some(free) => *free = Some(member),
            None => room.members.push(Some(member)),
        }
        if let (Some(state), Ok(place)) = (self.legs.get_mut(leg), u16::try_from(place)) {
            state.peer = None;
            state.room = Some((key, place));
        }
        true
    }

    /// Takes a leg out of its room. What was for it and isn't written counts as reported, and what
    /// it had begun to send ends with `#`, at the next call that can write.
    pub(super) fn leave_room(&mut self, leg: LegKey) {
        let Some((key, place)) = self.legs.get_mut(leg).and_then(|leg| leg.room.take()) else {
            return;
        };
        let place = usize::from(place);
        let Some(mut room) = self.rooms.take(key) else {
            return;
        };
        self.drop_copies(&mut room, place);
        self.abort_messages(&mut room, place);
        if let Some(member) = room.members.get_mut(place) {
            *member = None;
        }
        room.behind.clear(place);
        self.trim(&mut room);
        self.put_room(key, room);
    }

    /// Messages that were written to a member whole.
    #[must_use]
    pub fn messages_to(&self, leg: LegKey) -> u64 {
        let member = self.place_of(leg).and_then(|(room, place)| {
            let room = self.rooms.get(room)?;
            room.member(place)
        });
        member.map_or(0, |member| member.got)
    }

    pub(super) fn place_of(&self, leg: LegKey) -> Option<(RoomKey, usize)> {
        let (room, place) = self.legs.get(leg)?.room?;
        Some((room, usize::from(place)))
    }

    /// Puts a room back, on the list if somebody is behind.
    pub(super) fn put_room(&mut self, key: RoomKey, mut room: Box<Room>) {
        if !room.behind.is_empty() && !room.is_listed {
            room.is_listed = true;
            self.rooms.behind.push_back(key);
        }
        self.rooms.put(key, room);
    }

    /// Takes what everybody has off a log.
    pub(super) fn trim(&mut self, room: &mut Room) {
        while let Some((entry, charge)) = room.pop() {
            self.rooms.octets = self.rooms.octets.saturating_sub(charge);
            self.rooms.give_buffer(entry.octets);
        }
    }

    /// Whether a source isn't to be read, as everybody else in its room is behind. Where it shares its
    /// connection, another one may be bound only by what comes behind: it isn't waited for.
    pub(super) fn is_room_full(
        &self,
        (key, place): (RoomKey, u16),
        is_shared: bool,
        out: &impl Egress,
    ) -> bool {
        let Some(room) = self.rooms.get(key) else {
            return false;
        };
        if room.octets < MSRP_ROOM_HIGH_BYTES {
            return false;
        }
        let others = room.members.iter().enumerate();
        let mut others = others
            .filter(|(at, _)| *at != usize::from(place))
            .filter_map(|(at, member)| Some((at, self.legs.live(member.as_ref()?.leg)?.link)))
            .filter_map(|(at, link)| match link {
                Link::Bound(sink) => Some(room.behind.has(at) || out.is_full(sink)),
                // It counts while something is kept for it.
                Link::Awaited => (room.behind.has(at) && !is_shared).then_some(true),
                Link::Lost => None,
            })
            .peekable();
        others.peek().is_some() && others.all(|takes_no_more| takes_no_more)
    }

    /// Whether nothing of a member waits in its room.
    pub(super) fn is_settled_in_room(&self, leg: LegKey) -> bool {
        let Some((key, place)) = self.place_of(leg) else {
            return true;
        };
        let (Some(room), Some(reference)) = (self.rooms.get(key), self.legs.reference(leg)) else {
            return true;
        };
        // Who leaves before it has a connection gets nothing any more, and nobody who leaves waits
        // for who has none.
        let gets = |place| {
            let member = room.member(place);
            member.is_some_and(|member| self.connection_of(member.leg.key).is_some())
        };
        !room.holds_something_of(reference, place, gets) && !self.is_awaited_from(leg)
    }

    /// Whether a response of a leg's far end is waited for.
    fn is_awaited_from(&self, leg: LegKey) -> bool {
        let sink = self
            .connection_of(leg)
            .and_then(|sink| self.connection(sink));
        let mut next = sink.and_then(|sink| self.transactions.first(sink.open));
        while let Some(ticket) = next {
            let open = self.transactions.get(ticket);
            if open.is_some_and(|open| open.to == leg) {
                return true;
            }
            next = self.transactions.after(ticket);
        }
        false
    }
}

/// Failed messages of a member that are told apart.
const FAILED: usize = 8;
/// Buffers of entries that are kept for use again.
const SPARE_KEPT: usize = 64;
/// Octets of the longest of them: a piece and its headers.
const SPARE_BYTES: usize = 16 * 1024;

// An idle member costs little.
const _: () = assert!(size_of::<Member>() <= 256);
