//! What the role knows of one connection.

use std::time::Instant;

use super::super::{ConnectionKey, Connections, Egress};
use super::flows::FlowRef;
use super::paths::PathRef;
use crate::api::MsrpListen;
use crate::limits::MSRP_SINKS_NOTED;

/// One connection, as the role sees it.
#[derive(Debug)]
pub(super) struct Side {
    /// The connection's, as its place is used again.
    generation: u32,
    /// Where it was accepted; `None`: it was made from here.
    pub(super) listen: Option<MsrpListen>,
    /// Whether it has been of use to the role: a client has authenticated, or requests have passed.
    pub(super) is_used: bool,
    used_at: Instant,
    /// AUTHs with a wrong digest since the last right one.
    pub(super) failures: u8,
    /// Use-Paths that were given out on it; some have gone.
    pub(super) paths: Vec<PathRef>,
    /// Flows from or to it; some have gone.
    pub(super) flows: Vec<FlowRef>,
    /// The flow of its latest request.
    pub(super) last: Option<FlowRef>,
    /// Where its requests went, the latest first, with the generation.
    sinks: [Option<(ConnectionKey, u32)>; MSRP_SINKS_NOTED],
}

impl Side {
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Remembers a flow, and forgets those that have gone when their number has doubled.
    pub(super) fn note_flow(&mut self, flow: FlowRef, is_live: impl Fn(FlowRef) -> bool) {
        if self.flows.len() == self.flows.capacity() {
            self.flows.retain(|flow| is_live(*flow));
        }
        self.flows.push(flow);
    }

    fn note_sink(&mut self, sink: (ConnectionKey, u32)) {
        let found = self.sinks.iter().position(|one| *one == Some(sink));
        let last = found.unwrap_or(self.sinks.len() - 1);
        if let Some(upto) = self.sinks.get_mut(..=last) {
            upto.rotate_right(1);
        }
        if let Some(first) = self.sinks.first_mut() {
            *first = Some(sink);
        }
    }
}

impl Connections {
    pub(super) fn side(&self, key: ConnectionKey) -> Option<&Side> {
        let side = self.hops.as_ref()?.sides.get(key.0 as usize)?.as_ref()?;
        let generation = self.connection(key)?.generation;
        (side.generation == generation).then_some(side)
    }

    pub(super) fn side_mut(&mut self, key: ConnectionKey) -> Option<&mut Side> {
        let generation = self.connection(key)?.generation;
        let sides = &mut self.hops.as_mut()?.sides;
        let side = sides.get_mut(key.0 as usize)?.as_mut()?;
        (side.generation == generation).then_some(side)
    }

    /// What is known of a connection; where nothing is yet, it is made. `None`: there is no such
    /// connection, or this is no relay for clients.
    pub(super) fn side_or_new(&mut self, key: ConnectionKey, now: Instant) -> Option<&mut Side> {
        let generation = self.connection(key)?.generation;
        let sides = &mut self.hops.as_mut()?.sides;
        let at = key.0 as usize;
        if sides.len() <= at {
            sides.resize_with(at + 1, || None);
        }
        let side = sides.get_mut(at)?;
        if side
            .as_ref()
            .is_none_or(|side| side.generation != generation)
        {
            *side = Some(Side {
                generation,
                listen: None,
                is_used: false,
                used_at: now,
                failures: 0,
                paths: Vec::new(),
                flows: Vec::new(),
                last: None,
                sinks: [None; MSRP_SINKS_NOTED],
            });
        }
        side.as_mut()
    }

    /// A connection is of use: it isn't closed as long as that is so.
    pub(super) fn use_side(&mut self, key: ConnectionKey, now: Instant) {
        let Some(side) = self.side_or_new(key, now) else {
            return;
        };
        side.used_at = now;
        if !side.is_used {
            side.is_used = true;
            let generation = side.generation;
            if let Some(hops) = &mut self.hops {
                let at = now + hops.role.idle;
                hops.idle.push_back((key, generation, at));
            }
        }
    }

    /// Whether a connection is of use to the role, so that it needn't be bound to a session's leg.
    pub(in super::super) fn is_used_by_role(&self, key: ConnectionKey) -> bool {
        self.side(key).is_some_and(|side| side.is_used)
    }

    /// Until when a connection may lie idle; `None`: it is another one by now.
    pub(super) fn idle_until(
        &self,
        key: ConnectionKey,
        generation: u32,
        now: Instant,
    ) -> Option<Instant> {
        let hops = self.hops.as_ref()?;
        let side = self
            .side(key)
            .filter(|side| side.generation == generation)?;
        let state = self.connection(key)?;
        let has_path = side.paths.iter().any(|path| {
            let path = hops.paths.get(*path);
            path.is_some_and(|path| path.expires > now)
        });
        let is_busy = has_path || !state.legs.is_empty();
        let latest = if is_busy { Some(now) } else { state.heard };
        Some(latest.map_or(side.used_at, |at| at.max(side.used_at)) + hops.role.idle)
    }

    /// Remembers that a request of a connection goes to another one.
    pub(super) fn note_sink(&mut self, key: ConnectionKey, sink: ConnectionKey) {
        let Some(generation) = self.connection(sink).map(|state| state.generation) else {
            return;
        };
        if let Some(side) = self.side_mut(key) {
            side.note_sink((sink, generation));
        }
    }

    /// One of the connections that this one's requests went to lately; the numbers begin with 0.
    pub(in super::super) fn noted_sink(
        &self,
        key: ConnectionKey,
        number: usize,
    ) -> Option<ConnectionKey> {
        let (sink, generation) = self.side(key)?.sinks.get(number).copied().flatten()?;
        let is_same = self.connection(sink)?.generation == generation;
        is_same.then_some(sink)
    }

    /// Whether a connection that this one's requests went to lately takes no more.
    pub(in super::super) fn is_held_back_by_role(
        &self,
        key: ConnectionKey,
        out: &impl Egress,
    ) -> bool {
        let Some(side) = self.side(key) else {
            return false;
        };
        side.sinks.iter().flatten().any(|(sink, generation)| {
            let state = self.connection(*sink);
            state.is_some_and(|state| state.generation == *generation) && out.is_full(*sink)
        })
    }
}
