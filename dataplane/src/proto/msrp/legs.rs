//! The legs and the index that finds one by its session-id.

use std::hash::{DefaultHasher, Hasher};

use super::bounds::Bounds;
use super::room::RoomKey;
use super::track::Track;
use super::{ConnectionKey, Demand, Leg, LegKey, MsrpFacts};
use crate::api::{Chunking, Direction};
use crate::limits::{MSRP_LEGS, MSRP_LEGS_PER_CONNECTION, MSRP_STOPPED};
use crate::wire::msrp::Uri;

/// A leg that may be gone by now: its place may be another one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LegRef {
    pub(super) key: LegKey,
    pub(super) generation: u32,
}

/// Which connection a leg has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// None yet.
    Awaited,
    Bound(ConnectionKey),
    /// It had one.
    Lost,
}

/// The legs that lost their connection; an iterator.
#[derive(Debug, Clone, Copy, Default)]
pub struct BoundLegs {
    pub(super) legs: [Option<LegKey>; MSRP_LEGS_PER_CONNECTION],
    next: usize,
}

impl Iterator for BoundLegs {
    type Item = LegKey;

    fn next(&mut self) -> Option<LegKey> {
        let leg = self.legs.get(self.next).copied().flatten()?;
        self.next += 1;
        Some(leg)
    }
}

/// What a leg is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// One side of a session.
    Session,
    /// One end of a flow through a Use-Path (RFC 4976).
    Hop,
}

#[derive(Debug)]
pub(super) struct LegState {
    pub(super) generation: u32,
    session_id: [u8; 32],
    local: Box<[u8]>,
    /// Our URI as the far end was told it, where that is another one.
    alias: Option<Box<[u8]>>,
    pub(super) remote: Option<Box<[u8]>>,
    match_session_id_only: bool,
    pub(super) peer: Option<LegKey>,
    /// The room that it is a member of, and its place there.
    pub(super) room: Option<(RoomKey, u16)>,
    pub(super) direction: Direction,
    /// How SENDs to its far end are cut.
    pub(super) chunking: Chunking,
    /// What its far end may ask for, and how much of it was used.
    pub(super) bounds: Bounds,
    pub(super) frozen: bool,
    pub(super) purpose: Purpose,
    pub(super) link: Link,
    pub(super) demand: Demand,
    /// Its far end was named anew while it had a connection, and may come with another one.
    pub(super) is_moved: bool,
    pub(super) facts: MsrpFacts,
    /// What is recorded of it; most legs aren't.
    pub(super) track: Option<Box<Track>>,
    /// Transactions of what came from it, not answered yet.
    pub(super) open: u32,
    stopped: [u64; MSRP_STOPPED],
    stopped_next: usize,
}

impl LegState {
    /// Our URI on this leg: the From-Path of what is sent on it.
    pub(super) fn own(&self) -> &[u8] {
        self.alias.as_deref().unwrap_or(&self.local)
    }

    /// Whether a To-Path's URI is this leg's (RFC 4975 §6.1).
    pub(super) fn is_named_by(&self, uri: &[u8]) -> bool {
        if uri == self.own() || uri == &*self.local {
            return true;
        }
        let Some(uri) = Uri::parse(uri) else {
            return false;
        };
        if self.match_session_id_only && uri.session_id == self.session_id {
            return true;
        }
        [Some(&self.local), self.alias.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(|own| Uri::parse(own))
            .any(|own| {
                own.matches(&uri)
                    || (self.match_session_id_only && own.session_id == uri.session_id)
            })
    }

    /// Remembers that the far end wants no more of a message.
    pub(super) fn stop_message(&mut self, message_id: &[u8]) {
        let place = self.stopped_next % MSRP_STOPPED;
        if let Some(stopped) = self.stopped.get_mut(place) {
            *stopped = hash(message_id);
        }
        self.stopped_next = place + 1;
    }

    pub(super) fn is_stopped(&self, message_id: &[u8]) -> bool {
        // 0 is an empty place; that a message's hash is 0 as well only means one refusal fewer.
        let hash = hash(message_id);
        hash != 0 && self.stopped.contains(&hash)
    }

    fn alias_id(&self) -> Option<&[u8]> {
        let alias = self.alias.as_deref()?;
        let id = Uri::parse(alias)?.session_id;
        (id != self.session_id).then_some(id)
    }
}

/// The legs of one worker: a fixed number of places, and an index of fixed capacity.
#[derive(Debug)]
pub(super) struct Legs {
    places: Vec<Option<LegState>>,
    free: Vec<u32>,
    generation: u32,
    /// Open addressing with linear probing; an empty place ends a probe.
    index: Box<[Option<Entry>]>,
}

impl Legs {
    pub(super) fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            generation: 0,
            index: vec![None; INDEX_PLACES].into_boxed_slice(),
        }
    }

    pub(super) fn add(&mut self, leg: Leg<'_>) -> Option<LegKey> {
        if self.find(&leg.session_id).is_some() {
            return None;
        }
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.places.len() < MSRP_LEGS => {
                self.places.push(None);
                u32::try_from(self.places.len() - 1).ok()?
            }
            None => return None,
        };
        self.generation = self.generation.wrapping_add(1);
        let state = LegState {
            generation: self.generation,
            session_id: leg.session_id,
            local: leg.local_path.as_bytes().into(),
            alias: None,
            remote: None,
            match_session_id_only: leg.match_session_id_only,
            peer: None,
            room: None,
            direction: Direction::BOTH,
            chunking: Chunking::AsTheyCome,
            bounds: Bounds::default(),
            frozen: false,
            purpose: Purpose::Session,
            link: Link::Awaited,
            demand: Demand::default(),
            is_moved: false,
            facts: MsrpFacts::default(),
            track: None,
            open: 0,
            stopped: [0; MSRP_STOPPED],
            stopped_next: 0,
        };
        *self.places.get_mut(place as usize)? = Some(state);
        self.insert(&leg.session_id, place);
        Some(LegKey(place))
    }

    pub(super) fn remove(&mut self, key: LegKey) -> Option<LegState> {
        let state = self.places.get_mut(key.0 as usize)?.take()?;
        self.erase(&state.session_id, key.0);
        if let Some(alias) = state.alias_id() {
            self.erase(alias, key.0);
        }
        self.free.push(key.0);
        if let Some(peer) = state.peer.and_then(|peer| self.get_mut(peer)) {
            peer.peer = None;
        }
        Some(state)
    }

    /// Those that are of flows and not of sessions.
    #[cfg(test)]
    pub(super) fn hops(&self) -> usize {
        let legs = self.places.iter().flatten();
        legs.filter(|leg| leg.purpose == Purpose::Hop).count()
    }

    pub(super) fn get(&self, key: LegKey) -> Option<&LegState> {
        self.places.get(key.0 as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, key: LegKey) -> Option<&mut LegState> {
        self.places.get_mut(key.0 as usize)?.as_mut()
    }

    /// The leg, if it is still the same one.
    pub(super) fn live(&self, leg: LegRef) -> Option<&LegState> {
        self.get(leg.key)
            .filter(|state| state.generation == leg.generation)
    }

    pub(super) fn live_mut(&mut self, leg: LegRef) -> Option<&mut LegState> {
        self.get_mut(leg.key)
            .filter(|state| state.generation == leg.generation)
    }

    pub(super) fn reference(&self, key: LegKey) -> Option<LegRef> {
        let generation = self.get(key)?.generation;
        Some(LegRef { key, generation })
    }

    pub(super) fn set_remote(&mut self, key: LegKey, path: &str, local_path: Option<&str>) {
        let Some(state) = self.get_mut(key) else {
            return;
        };
        let is_new = state
            .remote
            .as_deref()
            .is_some_and(|old| old != path.as_bytes());
        state.is_moved |= is_new && matches!(state.link, Link::Bound(_));
        if state.link == Link::Lost {
            // RFC 4975 §5.4: a session is recovered by another exchange of SDP.
            state.link = Link::Awaited;
        }
        state.remote = Some(path.as_bytes().into());
        let before = state.alias_id().map(Box::<[u8]>::from);
        state.alias = local_path.map(|alias| alias.as_bytes().into());
        let after = state.alias_id().map(Box::<[u8]>::from);
        if before == after {
            return;
        }
        if let Some(before) = before {
            self.erase(&before, key.0);
        }
        if let Some(after) = after {
            self.insert(&after, key.0);
        }
    }

    /// The leg with this session-id.
    pub(super) fn find(&self, session_id: &[u8]) -> Option<LegKey> {
        let hash = hash(session_id);
        self.probe(hash)
            .find(|(_, entry)| entry.hash == hash && self.has_id(entry.leg, session_id))
            .map(|(_, entry)| LegKey(entry.leg))
    }

    fn has_id(&self, leg: u32, session_id: &[u8]) -> bool {
        self.get(LegKey(leg)).is_some_and(|state| {
            state.session_id == session_id || state.alias_id() == Some(session_id)
        })
    }

    /// The entries from where a hash belongs to the next empty place.
    fn probe(&self, hash: u64) -> impl Iterator<Item = (usize, Entry)> {
        (0..INDEX_PLACES)
            .map(move |step| (place_of(hash) + step) % INDEX_PLACES)
            .map_while(|place| Some((place, (*self.index.get(place)?)?)))
    }

    fn insert(&mut self, session_id: &[u8], leg: u32) {
        let hash = hash(session_id);
        self.insert_entry(Entry { hash, leg });
    }

    fn insert_entry(&mut self, entry: Entry) {
        // There are twice as many places as ids, so an empty one is always found.
        let taken = self.probe(entry.hash).count();
        let place = (place_of(entry.hash) + taken) % INDEX_PLACES;
        if let Some(empty) = self.index.get_mut(place) {
            *empty = Some(entry);
        }
    }

    /// Takes an id out; those behind it are put in again so that no probe ends too early.
    fn erase(&mut self, session_id: &[u8], leg: u32) {
        let entry = Entry {
            hash: hash(session_id),
            leg,
        };
        let found = self.probe(entry.hash).find(|(_, other)| *other == entry);
        let Some((mut place, _)) = found else {
            return;
        };
        self.take_entry(place);
        loop {
            place = (place + 1) % INDEX_PLACES;
            let Some(moved) = self.take_entry(place) else {
                return;
            };
            self.insert_entry(moved);
        }
    }

    fn take_entry(&mut self, place: usize) -> Option<Entry> {
        self.index.get_mut(place)?.take()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    hash: u64,
    leg: u32,
}

fn place_of(hash: u64) -> usize {
    usize::try_from(hash % INDEX_PLACES as u64).unwrap_or(0)
}

pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Each leg may have two ids, and half of the places stay empty.
const INDEX_PLACES: usize = (4 * MSRP_LEGS).next_power_of_two();
