//! Which way requests take: each pair of paths that comes from a connection has two legs, and from
//! there on is relayed as a session's are.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};

use super::super::{ConnectionKey, LegKey};
use super::paths::PathRef;
use crate::limits::MSRP_FLOWS;

/// A flow that may be gone by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FlowRef {
    place: u32,
    generation: u32,
}

/// Requests of one connection with one To-Path and one From-Path.
#[derive(Debug)]
pub(super) struct Flow {
    generation: u32,
    pub(super) source: ConnectionKey,
    pub(super) sink: ConnectionKey,
    to_path: Box<[u8]>,
    from_path: Box<[u8]>,
    /// Where they come from: a leg whose far end is the whole From-Path.
    pub(super) in_leg: LegKey,
    /// Where they go: a leg whose far end is what is left of the To-Path.
    pub(super) out_leg: LegKey,
    /// The Use-Paths of ours that the To-Path begins with.
    pub(super) through: [Option<PathRef>; 2],
    /// Later ones have higher numbers.
    used: u64,
}

/// A new one.
pub(super) struct Course<'a> {
    pub(super) source: ConnectionKey,
    pub(super) sink: ConnectionKey,
    pub(super) paths: Paths<'a>,
    pub(super) legs: (LegKey, LegKey),
    pub(super) through: [Option<PathRef>; 2],
}

/// The paths of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paths<'a> {
    pub(super) to: &'a [u8],
    pub(super) from: &'a [u8],
}

impl Paths<'_> {
    fn hash(self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(self.to);
        hasher.write_u8(0);
        hasher.write(self.from);
        hasher.finish()
    }
}

/// At most `limits::MSRP_FLOWS` of them.
#[derive(Debug, Default)]
pub(super) struct Flows {
    places: Vec<Option<Flow>>,
    free: Vec<u32>,
    generation: u32,
    by_paths: BTreeMap<(u32, u64), u32>,
    uses: u64,
    /// Where the search for an old one goes on.
    hand: usize,
}

impl Flows {
    pub(super) fn is_full(&self) -> bool {
        self.by_paths.len() >= MSRP_FLOWS
    }

    /// Adds one; `None`: there are too many, or another one has the same hash.
    pub(super) fn add(&mut self, course: Course<'_>) -> Option<FlowRef> {
        let name = (course.source.0, course.paths.hash());
        if self.by_paths.contains_key(&name) || self.is_full() {
            return None;
        }
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.places.push(None);
                u32::try_from(self.places.len() - 1).ok()?
            }
        };
        self.generation = self.generation.wrapping_add(1);
        self.uses += 1;
        let (in_leg, out_leg) = course.legs;
        *self.places.get_mut(place as usize)? = Some(Flow {
            generation: self.generation,
            source: course.source,
            sink: course.sink,
            to_path: course.paths.to.into(),
            from_path: course.paths.from.into(),
            in_leg,
            out_leg,
            through: course.through,
            used: self.uses,
        });
        self.by_paths.insert(name, place);
        Some(FlowRef {
            place,
            generation: self.generation,
        })
    }

    /// The one that a request of a connection belongs to; `last` is looked at first.
    pub(super) fn find(
        &self,
        source: ConnectionKey,
        paths: Paths<'_>,
        last: Option<FlowRef>,
    ) -> Option<FlowRef> {
        let is_its = |flow: &&Flow| {
            flow.source == source && *flow.to_path == *paths.to && *flow.from_path == *paths.from
        };
        if last
            .and_then(|last| self.get(last))
            .filter(is_its)
            .is_some()
        {
            return last;
        }
        let place = *self.by_paths.get(&(source.0, paths.hash()))?;
        let flow = self.places.get(place as usize)?.as_ref().filter(is_its)?;
        Some(FlowRef {
            place,
            generation: flow.generation,
        })
    }

    pub(super) fn get(&self, flow: FlowRef) -> Option<&Flow> {
        let found = self.places.get(flow.place as usize)?.as_ref()?;
        (found.generation == flow.generation).then_some(found)
    }

    /// Remembers that one was used just now.
    pub(super) fn touch(&mut self, flow: FlowRef) {
        self.uses += 1;
        let uses = self.uses;
        let place = self.places.get_mut(flow.place as usize);
        if let Some(found) = place.and_then(Option::as_mut)
            && found.generation == flow.generation
        {
            found.used = uses;
        }
    }

    pub(super) fn remove(&mut self, flow: FlowRef) -> Option<Flow> {
        self.get(flow)?;
        let gone = self.places.get_mut(flow.place as usize)?.take()?;
        let paths = Paths {
            to: &gone.to_path,
            from: &gone.from_path,
        };
        self.by_paths.remove(&(gone.source.0, paths.hash()));
        self.free.push(flow.place);
        Some(gone)
    }

    /// One that may make way for another: the one used longest ago among the next few that are
    /// `idle`.
    pub(super) fn oldest(&mut self, idle: impl Fn(&Flow) -> bool) -> Option<FlowRef> {
        let mut oldest: Option<(u64, FlowRef)> = None;
        for _ in 0..LOOKED_AT.min(self.places.len()) {
            self.hand = (self.hand + 1) % self.places.len();
            let Some(flow) = self.places.get(self.hand).and_then(Option::as_ref) else {
                continue;
            };
            if oldest.is_none_or(|(used, _)| flow.used < used) && idle(flow) {
                let place = u32::try_from(self.hand).ok()?;
                let generation = flow.generation;
                oldest = Some((flow.used, FlowRef { place, generation }));
            }
        }
        oldest.map(|(_, flow)| flow)
    }
}

/// Flows looked at when one has to make way.
const LOOKED_AT: usize = 32;
