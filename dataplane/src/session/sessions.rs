//! The sessions of a worker, found by their id: a fixed number of slots and an open-addressed
//! index over them.

use crate::api::{SessionId, StreamId};
use crate::limits::{SESSIONS_PER_WORKER, STREAMS_PER_SESSION};
use crate::proto::msrp::RecordingKey;

/// A session and which slots its streams are in.
#[derive(Debug, Clone, Copy)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// Its recording, if it has one.
    pub recording: Option<RecordingKey>,
    streams: [(StreamId, u32); STREAMS_PER_SESSION],
    len: usize,
}

impl Session {
    fn new(id: SessionId) -> Self {
        Self {
            id,
            recording: None,
            streams: [(StreamId(0), 0); STREAMS_PER_SESSION],
            len: 0,
        }
    }

    /// Its streams and their slots, in the order they were added.
    pub fn streams(&self) -> impl Iterator<Item = (StreamId, u32)> + use<> {
        self.streams.into_iter().take(self.len)
    }

    /// The slot of a stream.
    #[must_use]
    pub fn find(&self, stream: StreamId) -> Option<u32> {
        self.streams()
            .find_map(|(id, slot)| (id == stream).then_some(slot))
    }

    /// Adds a stream; false when there is no room.
    pub fn add(&mut self, stream: StreamId, slot: u32) -> bool {
        let Some(place) = self.streams.get_mut(self.len) else {
            return false;
        };
        *place = (stream, slot);
        self.len += 1;
        true
    }

    /// Removes a stream and says which slot it was in.
    pub fn remove(&mut self, stream: StreamId) -> Option<u32> {
        let at = self.streams().position(|(id, _)| id == stream)?;
        let slot = self.streams.get(at)?.1;
        self.streams.copy_within(at + 1..self.len, at);
        self.len -= 1;
        Some(slot)
    }

    /// Whether it has no stream.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A session's slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRef(u32);

/// All sessions of a worker, at most [`SESSIONS_PER_WORKER`].
#[derive(Debug)]
pub struct Sessions {
    slots: Vec<Option<Session>>,
    free: Vec<u32>,
    index: Box<[u32]>,
    capacity: usize,
}

impl Sessions {
    /// Makes a table for at most `capacity` sessions, itself at most [`SESSIONS_PER_WORKER`].
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.min(SESSIONS_PER_WORKER);
        Self {
            slots: Vec::with_capacity(capacity),
            free: Vec::with_capacity(capacity),
            index: vec![EMPTY; (capacity * 2).next_power_of_two()].into_boxed_slice(),
            capacity,
        }
    }

    /// Sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no more can be added.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() >= self.capacity
    }

    /// Finds a session.
    #[must_use]
    pub fn find(&self, id: SessionId) -> Option<SessionRef> {
        let mut at = self.home(id);
        // The index is never more than half full, so an empty place ends the search.
        while let Some(&slot) = self.index.get(at) {
            if slot == EMPTY {
                return None;
            }
            if self.at(slot).is_some_and(|session| session.id == id) {
                return Some(SessionRef(slot));
            }
            at = self.after(at);
        }
        None
    }

    /// The session in a slot.
    #[must_use]
    pub fn session(&self, session: SessionRef) -> Option<&Session> {
        self.at(session.0)
    }

    /// The session in a slot, to change.
    pub fn session_mut(&mut self, session: SessionRef) -> Option<&mut Session> {
        self.slots.get_mut(session.0 as usize)?.as_mut()
    }

    /// Adds a session that isn't there yet; `None` when the table is full.
    pub fn add(&mut self, id: SessionId) -> Option<SessionRef> {
        if self.is_full() {
            return None;
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).ok()?
            }
        };
        *self.slots.get_mut(slot as usize)? = Some(Session::new(id));
        let mut at = self.home(id);
        while self.index.get(at).is_some_and(|slot| *slot != EMPTY) {
            at = self.after(at);
        }
        *self.index.get_mut(at)? = slot;
        Some(SessionRef(slot))
    }

    /// Removes a session.
    pub fn remove(&mut self, session: SessionRef) {
        let Some(id) = self.at(session.0).map(|session| session.id) else {
            return;
        };
        let mut hole = self.home(id);
        while self.index.get(hole).is_some_and(|slot| *slot != session.0) {
            hole = self.after(hole);
        }
        self.close_hole(hole);
        if let Some(slot) = self.slots.get_mut(session.0 as usize) {
            *slot = None;
            self.free.push(session.0);
        }
    }

    /// Moves back what a search would not find any more across the hole.
    fn close_hole(&mut self, mut hole: usize) {
        let mut at = self.after(hole);
        while let Some(&slot) = self.index.get(at)
            && slot != EMPTY
        {
            let home = self.at(slot).map_or(at, |session| self.home(session.id));
            if self.distance(home, at) >= self.distance(hole, at) {
                self.index.swap(hole, at);
                hole = at;
            }
            at = self.after(at);
        }
        if let Some(place) = self.index.get_mut(hole) {
            *place = EMPTY;
        }
    }

    fn at(&self, slot: u32) -> Option<&Session> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// Control counts its ids up; the multiplication (2^64 / golden ratio) spreads them.
    fn home(&self, id: SessionId) -> usize {
        let [high, middle, low, ..] = id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        let hash = u32::from_be_bytes([0, high, middle, low]) as usize;
        hash & (self.index.len() - 1)
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.index.len() - 1)
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.index.len() - 1)
    }
}

const EMPTY: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn it_holds_what_an_ordered_map_holds() {
        let seed = 7;
        let mut random = StdRng::seed_from_u64(seed);
        let mut table = Sessions::new(100);
        let mut model = BTreeMap::new();
        for _ in 0..20_000 {
            let id = SessionId(random.random_range(0..200));
            if random.random_bool(0.5) {
                if table.find(id).is_none()
                    && let Some(at) = table.add(id)
                {
                    model.insert(id, at);
                }
            } else if let Some(at) = model.remove(&id) {
                table.remove(at);
            }
            assert_eq!(table.len(), model.len(), "seed {seed}");
            let probe = SessionId(random.random_range(0..200));
            assert_eq!(table.find(probe), model.get(&probe).copied(), "seed {seed}");
        }
    }

    #[test]
    fn a_full_table_takes_no_more() {
        let mut table = Sessions::new(2);
        let first = table.add(SessionId(1)).unwrap();
        assert!(table.add(SessionId(2)).is_some());
        assert!(table.is_full() && table.add(SessionId(3)).is_none());
        table.remove(first);
        assert!(table.add(SessionId(3)).is_some());
    }

    #[test]
    fn streams_are_added_and_removed_by_name() {
        let mut session = Session::new(SessionId(1));
        for (id, slot) in [(4, 40), (2, 20), (9, 90)] {
            assert!(session.add(StreamId(id), slot));
        }
        assert_eq!(session.remove(StreamId(2)), Some(20));
        assert_eq!(session.remove(StreamId(2)), None);
        let left: Vec<_> = session.streams().collect();
        assert_eq!(left, [(StreamId(4), 40), (StreamId(9), 90)]);
    }
}
