//! When rooms are looked at: each that is awake once in a heap, and who speaks in it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::api::{Event, MemberId, SessionId, StreamId};
use crate::limits::{LATE_TICK_MS, MISSED_TICK_MS};
use crate::net::Backend;
use crate::proto::switch::NtpClock;
use crate::session::{Machine, RoomRef};

use super::super::Worker;
use super::machines::Desk;

/// The rooms that are awake, by when they are due.
pub(in super::super) struct Ticks {
    heap: BinaryHeap<Reverse<(Instant, RoomRef)>>,
    pub(super) desk: Desk,
    /// The clock of all reports of this worker.
    pub(super) clock: NtpClock,
    /// What the names of sessions' sources are made of.
    pub(super) secret: u64,
}

impl Ticks {
    /// Makes a worker's clock of rooms.
    pub(in super::super) fn new(now: Instant, secret: u64) -> Self {
        Self {
            heap: BinaryHeap::new(),
            desk: Desk::default(),
            // RFC 3550 §6.4.1: where wallclock time isn't known, any time that runs evenly will do.
            clock: NtpClock {
                at: now,
                ntp: EPOCH,
            },
            secret,
        }
    }

    /// The rooms that are due by now, to be looked at once more for the same.
    pub(super) fn due(&mut self, now: Instant, due: &mut Vec<(Instant, RoomRef)>) {
        due.clear();
        while let Some(&Reverse(first)) = self.heap.peek()
            && first.0 <= now
        {
            self.heap.pop();
            due.push(first);
        }
        self.heap.extend(due.iter().copied().map(Reverse));
    }

    /// When the first room is due.
    pub(in super::super) fn next_deadline(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}

impl<B: Backend> Worker<B> {
    /// Looks at the rooms that are due.
    pub(in super::super) fn tick_rooms(&mut self, now: Instant) {
        self.collect_for_rooms(now);
        while let Some(&Reverse((at, room_ref))) = self.ticks.heap.peek()
            && at <= now
        {
            self.ticks.heap.pop();
            // An entry of a room that is due at another time by now, or gone, says nothing.
            let Some(room) = self.rooms.find_mut(room_ref) else {
                continue;
            };
            if room.due != Some(at) {
                continue;
            }
            room.due = None;
            self.count_tick(now.saturating_duration_since(at));
            self.listen_to_holders(room_ref);
            self.end_overdue_bfcp(now, room_ref);
            if let Some(mut open) = self.open(now, room_ref) {
                open.handle_timeout(now);
            }
            self.look_after(now, room_ref);
        }
    }

    fn count_tick(&mut self, late: Duration) {
        let is = |ms| u64::from(late >= Duration::from_millis(ms));
        self.stats.room_ticks += 1;
        self.stats.late_ticks += is(LATE_TICK_MS);
        self.stats.missed_ticks += is(MISSED_TICK_MS);
    }

    /// After anything has happened in a room: when it is due, and who speaks.
    pub(super) fn look_after(&mut self, now: Instant, room_ref: RoomRef) {
        self.serve_floors(now, room_ref);
        let Some(open) = self.open(now, room_ref) else {
            return;
        };
        let due = open.poll_timeout(now);
        let gathers = open.gathers();
        self.gather(room_ref, gathers);
        self.report_due(now, room_ref);
        if let Some(due) = due
            && let Some(room) = self.rooms.find_mut(room_ref)
            && room.due.is_none_or(|before| due < before)
        {
            room.due = Some(due);
            self.ticks.heap.push(Reverse((due, room_ref)));
        }
        if let Some((session, stream, member)) = self.new_speaker(room_ref) {
            self.tell_speaker(now, (session, stream), member);
        }
    }

    /// Who speaks in a mixed room, if it is somebody else than was told.
    fn new_speaker(
        &mut self,
        room_ref: RoomRef,
    ) -> Option<(SessionId, StreamId, Option<MemberId>)> {
        let has_room = self.link.room() > 0;
        let room = self.rooms.find_mut(room_ref)?;
        let Machine::Mix(mixing) = &mut room.machine else {
            return None;
        };
        let speaker = mixing.mixer.speaker();
        let seat = speaker.and_then(|speaker| mixing.seating.ours(speaker.index()));
        if mixing.told == seat || !has_room {
            return None;
        }
        mixing.told = seat;
        let member = seat
            .and_then(|seat| room.seat(seat))
            .map(|seat| seat.member);
        Some((room.session, room.stream, member))
    }

    fn tell_speaker(
        &mut self,
        now: Instant,
        whose: (SessionId, StreamId),
        member: Option<MemberId>,
    ) {
        let (session, stream) = whose;
        // There was room; who it is now is told with the next change otherwise.
        let _ = self.link.tell(Event::Speaking {
            session,
            stream,
            member,
        });
        let (Some(member), Some(session)) = (member, self.sessions.find(session)) else {
            return;
        };
        for (_, slot) in self.slots_of(session) {
            let Some(room_ref) = self.streams.find(slot).and_then(|stream| stream.room()) else {
                continue;
            };
            let Some(room) = self.rooms.find(room_ref) else {
                continue;
            };
            let follows = match &room.machine {
                Machine::Switch(switching) => switching.follows,
                Machine::Forward(_)
                | Machine::Mix(_)
                | Machine::Chat(_)
                | Machine::Floors(_)
                | Machine::Outpost(_) => None,
            };
            if follows == Some(stream)
                && let Some(seat) = room.find(member)
                && let Some(mut open) = self.open(now, room_ref)
            {
                open.show(now, seat);
                self.look_after(now, room_ref);
            }
        }
    }
}

/// Ten years of NTP's seconds: no report says the time 0, which means that there was none.
const EPOCH: u64 = 315_360_000 << 32;
