//! Orders: looked through first, then done; all of it or nothing.

use std::time::{Duration, Instant};

use crate::api::{
    Act, Direction, LegSpec, Order, Outcome, Refusal, Remote, Side, StreamFacts, StreamId,
    StreamPlan, StreamSet,
};
use crate::limits::{ACTS_PER_ORDER, DRAINS_PER_WORKER, ORDERS_PER_CYCLE, STREAMS_PER_SESSION};
use crate::net::{Backend, SocketId};
use crate::session::{Media, SessionRef, SlotRef, Streams, leg_mut};

use super::Worker;
use super::release::{Drain, Draining};

/// The slots of some streams of a session.
type Slots = [Option<SlotRef>; STREAMS_PER_SESSION];

impl<B: Backend> Worker<B> {
    /// Takes orders, as long as their news has room, and says how many.
    pub(super) fn take_orders(&mut self, now: Instant) -> usize {
        let mut taken = 0;
        while taken < ORDERS_PER_CYCLE
            && self.takes_orders()
            && let Some(order) = self.link.order()
        {
            self.take_order(now, order);
            taken += 1;
        }
        taken
    }

    /// Whether an order that waits would be taken.
    pub(super) fn takes_orders(&self) -> bool {
        self.link.room() > 0 && self.drains.len() < DRAINS_PER_WORKER
    }

    fn take_order(&mut self, now: Instant, mut order: Box<Order>) {
        match self.start(now, &mut order) {
            Ok((session, opened)) => self.do_acts(now, order, (session, opened)),
            Err(refusal) => {
                match refusal {
                    Refusal::NoPort => self.stats.full_ports += 1,
                    Refusal::Full => self.stats.full_sessions += 1,
                    Refusal::Unknown | Refusal::Socket => {}
                }
                order.outcome = Outcome::Refused(refusal);
                self.send_home(order, now);
            }
        }
    }

    /// Does what may fail: finds or makes the session and binds what is to be opened.
    fn start(&mut self, now: Instant, order: &mut Order) -> Result<(SessionRef, Slots), Refusal> {
        let known = self.sessions.find(order.session);
        self.expected(known).check(order)?;
        if self.is_recorder_stuck(order) {
            return Err(Refusal::Full);
        }
        let opened = self.open_all(now, order)?;
        let session = match known {
            Some(session) => Some(session),
            None => self.sessions.add(order.session),
        };
        session.map(|session| (session, opened)).ok_or_else(|| {
            self.undo_open(order, &opened);
            Refusal::Full
        })
    }

    fn expected(&self, session: Option<SessionRef>) -> Expected {
        let session = session.and_then(|session| self.sessions.session(session));
        let mut expected = Expected {
            streams: [None; STREAMS_PER_SESSION],
            is_new: session.is_none(),
            is_full: self.sessions.is_full(),
        };
        let present = session.into_iter().flat_map(|session| session.streams());
        for (place, (id, index)) in expected.streams.iter_mut().zip(present) {
            *place = Kind::of(&self.streams, index).map(|kind| (id, kind));
        }
        expected
    }

    fn open_all(&mut self, now: Instant, order: &mut Order) -> Result<Slots, Refusal> {
        let mut opened = Slots::default();
        let session = order.session;
        let mut at = 0;
        let mut failed = None;
        for act in &mut order.acts {
            let Act::Open(plan) = act else { continue };
            match (self.open_stream(now, session, plan), opened.get_mut(at)) {
                (Ok(slot), Some(place)) => *place = Some(slot),
                (Ok(slot), None) => {
                    self.discard_stream(slot);
                    failed = Some(Refusal::Full);
                }
                (Err(refusal), _) => failed = Some(refusal),
            }
            if failed.is_some() {
                break;
            }
            at += 1;
        }
        match failed {
            None => Ok(opened),
            Some(refusal) => {
                self.undo_open(order, &opened);
                Err(refusal)
            }
        }
    }

    fn undo_open(&mut self, order: &mut Order, opened: &Slots) {
        for slot in opened.iter().flatten() {
            self.discard_stream(*slot);
        }
        for act in &mut order.acts {
            if let Act::Open(plan) = act {
                plan.local = Default::default();
            }
        }
    }

    /// Does the acts one after the other; nothing of them can fail any more.
    fn do_acts(&mut self, now: Instant, mut order: Box<Order>, start: (SessionRef, Slots)) {
        let (session, opened) = start;
        let mut opened = opened.into_iter().flatten();
        let (mut until, mut waiting) = (now, Vec::new());
        let mut returned = std::mem::take(&mut order.returned);
        for (act, todo) in order.acts.iter_mut().enumerate() {
            match todo {
                Act::Open(plan) => self.attach(session, plan, opened.next()),
                Act::Connect {
                    stream,
                    side,
                    remote,
                    direction,
                } => {
                    if let Some(slot) = self.slot_of(session, *stream) {
                        self.connect(now, (slot, *side), remote, *direction);
                    }
                }
                Act::Release {
                    streams,
                    drain_ms,
                    facts,
                } => {
                    until = until.max(now + Duration::from_millis(u64::from(*drain_ms)));
                    for slot in self.detach(session, *streams).into_iter().flatten() {
                        match self.release(now, slot, *drain_ms) {
                            Some((fact, plan)) => {
                                facts.push(fact);
                                returned.push(plan);
                            }
                            None => waiting.push(Draining { act, slot }),
                        }
                    }
                }
                Act::Report { facts } => self.report(now, session, facts),
                Act::Trace {
                    stream,
                    side,
                    tracing,
                    frames,
                } => {
                    if let Some(slot) = self.slot_of(session, *stream) {
                        *frames = self.trace_msrp(slot, *side, *tracing);
                    }
                }
            }
        }
        order.returned = returned;
        self.end_if_empty(session);
        order.outcome = Outcome::Done;
        if waiting.is_empty() {
            self.send_home(order, now);
        } else {
            self.drains.push(Drain::new(order, until, waiting));
        }
    }

    fn attach(&mut self, session: SessionRef, plan: &StreamPlan, slot: Option<SlotRef>) {
        let Some(slot) = slot else {
            return;
        };
        if let Some(session) = self.sessions.session_mut(session) {
            session.add(plan.stream, slot.index);
        }
        if plan.record {
            self.record_stream(session, slot);
        }
    }

    /// Takes streams out of a session; they are found by their slots only from now on.
    fn detach(&mut self, session: SessionRef, set: StreamSet) -> Slots {
        let mut slots = Slots::default();
        let found = self.slots_of(session).filter(|(id, _)| set.contains(*id));
        for (place, (stream, slot)) in slots.iter_mut().zip(found) {
            *place = Some(slot);
            if let Some(session) = self.sessions.session_mut(session) {
                session.remove(stream);
            }
        }
        slots
    }

    fn end_if_empty(&mut self, session: SessionRef) {
        let found = self.sessions.session(session);
        if let Some(empty) = found.filter(|session| session.is_empty()) {
            let recording = empty.recording;
            self.sessions.remove(session);
            self.let_go_recording(recording);
        }
    }

    fn slot_of(&self, session: SessionRef, stream: StreamId) -> Option<SlotRef> {
        let index = self.sessions.session(session)?.find(stream)?;
        Some(self.streams.slot_ref(index))
    }

    /// The streams of a session as they are now; changes meanwhile don't matter to it.
    fn slots_of(&self, session: SessionRef) -> impl Iterator<Item = (StreamId, SlotRef)> + use<B> {
        let mut slots = [None; STREAMS_PER_SESSION];
        let session = self.sessions.session(session).into_iter();
        let present = session.flat_map(|session| session.streams());
        for (place, (stream, index)) in slots.iter_mut().zip(present) {
            *place = Some((stream, self.streams.slot_ref(index)));
        }
        slots.into_iter().flatten()
    }

    fn report(&self, now: Instant, session: SessionRef, facts: &mut Vec<StreamFacts>) {
        facts.extend(
            self.slots_of(session)
                .filter_map(|(_, slot)| self.facts(now, slot)),
        );
    }

    fn connect(
        &mut self,
        now: Instant,
        leg: (SlotRef, Side),
        remote: &Remote,
        direction: Direction,
    ) {
        let (slot, side) = leg;
        match remote {
            Remote::Rtp(remote) => {
                let media = self.streams.find_mut(slot).map(|stream| &mut stream.media);
                if let Some(Media::Rtp(legs)) = media {
                    let leg = leg_mut(legs, side);
                    let tied = leg.untie();
                    leg.connect(now, remote, direction);
                    for socket in tied.into_iter().flatten() {
                        self.backend.tie(SocketId(socket.0), None);
                    }
                }
            }
            Remote::Bytes { address, setup } => {
                self.connect_bytes(now, leg, (*address, *setup));
            }
            Remote::Msrp(remote) => self.connect_msrp(leg, remote, direction),
            // Legs of BFCP are members' alone; `Expected::check` has refused it.
            Remote::Bfcp(_) => {}
        }
    }
}

/// What a stream is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rtp,
    Bytes,
    Msrp,
}

impl Kind {
    fn of(streams: &Streams, index: u32) -> Option<Self> {
        let stream = streams.find(streams.slot_ref(index))?;
        Some(match stream.media {
            Media::Rtp(_) => Self::Rtp,
            Media::Bytes(_) => Self::Bytes,
            Media::Msrp(_) => Self::Msrp,
        })
    }

    fn of_plan(plan: &StreamPlan) -> Option<Self> {
        match plan.legs {
            [LegSpec::Rtp { .. }, LegSpec::Rtp { .. }] => Some(Self::Rtp),
            [LegSpec::Bytes { .. }, LegSpec::Bytes { .. }] => Some(Self::Bytes),
            [LegSpec::Msrp(_), LegSpec::Msrp(_)] => Some(Self::Msrp),
            [
                LegSpec::Rtp { .. } | LegSpec::Bytes { .. } | LegSpec::Msrp(_) | LegSpec::Bfcp(_),
                _,
            ] => None,
        }
    }

    fn of_remote(remote: &Remote) -> Option<Self> {
        match remote {
            Remote::Rtp(_) => Some(Self::Rtp),
            Remote::Bytes { .. } => Some(Self::Bytes),
            Remote::Msrp(_) => Some(Self::Msrp),
            Remote::Bfcp(_) => None,
        }
    }
}

/// The streams there will be after each act, to see beforehand whether all can be done.
struct Expected {
    streams: [Option<(StreamId, Kind)>; STREAMS_PER_SESSION],
    is_new: bool,
    is_full: bool,
}

impl Expected {
    fn check(&mut self, order: &Order) -> Result<(), Refusal> {
        let opens = |act: &Act| matches!(act, Act::Open(_));
        if self.is_new && !order.acts.iter().any(opens) {
            return Err(Refusal::Unknown);
        }
        let too_many = order.acts.len() > ACTS_PER_ORDER
            || order.acts.iter().filter(|act| opens(act)).count() > STREAMS_PER_SESSION;
        if too_many || self.is_new && self.is_full {
            return Err(Refusal::Full);
        }
        order.acts.iter().try_for_each(|act| self.check_act(act))
    }

    fn check_act(&mut self, act: &Act) -> Result<(), Refusal> {
        match act {
            Act::Open(plan) => self.open(plan),
            Act::Connect { stream, remote, .. } => match self.find(*stream) {
                Some(kind) if Some(kind) == Kind::of_remote(remote) => Ok(()),
                Some(_) | None => Err(Refusal::Unknown),
            },
            Act::Release { streams, .. } => {
                for place in &mut self.streams {
                    place.take_if(|(id, _)| streams.contains(*id));
                }
                Ok(())
            }
            Act::Report { .. } => Ok(()),
            Act::Trace { stream, .. } => match self.find(*stream) {
                Some(Kind::Msrp) => Ok(()),
                Some(Kind::Rtp | Kind::Bytes) | None => Err(Refusal::Unknown),
            },
        }
    }

    fn open(&mut self, plan: &StreamPlan) -> Result<(), Refusal> {
        let kind = Kind::of_plan(plan).ok_or(Refusal::Unknown)?;
        // A set of streams has 32 bits; one that no release could name must not be opened.
        if self.find(plan.stream).is_some() || plan.stream.0 >= 32 {
            return Err(Refusal::Unknown);
        }
        let place = self.streams.iter_mut().find(|place| place.is_none());
        *place.ok_or(Refusal::Full)? = Some((plan.stream, kind));
        Ok(())
    }

    fn find(&self, stream: StreamId) -> Option<Kind> {
        let mut present = self.streams.iter().flatten();
        present.find_map(|(id, kind)| (*id == stream).then_some(*kind))
    }
}
