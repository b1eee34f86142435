//! Orders: looked through first, then done; all of it or nothing.

use std::time::{Duration, Instant};

use crate::api::{
    Act, Direction, Order, Outcome, Refusal, Remote, SessionId, Side, StreamFacts, StreamId,
    StreamPlan, StreamSet,
};
use crate::limits::{ACTS_PER_ORDER, DRAINS_PER_WORKER, ORDERS_PER_CYCLE, STREAMS_PER_SESSION};
use crate::net::{Backend, SocketId};
use crate::session::{Media, SessionRef, SlotRef, Socket, leg_mut};

use super::Worker;
use super::expected::{Expected, Kind};
use super::release::{Drain, Draining};

/// The slots of some streams of a session.
pub(super) type Slots = [Option<SlotRef>; STREAMS_PER_SESSION];
/// What an order's acts have bound, by their places in it.
type Bound = [Option<SlotRef>; ACTS_PER_ORDER];

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
                    Refusal::Full if is_of_rooms(&order) => self.stats.full_rooms += 1,
                    Refusal::Full => self.stats.full_sessions += 1,
                    Refusal::Unknown | Refusal::Socket => {}
                }
                order.outcome = Outcome::Refused(refusal);
                self.send_home(order, now);
            }
        }
    }

    /// Does what may fail: finds or makes the session and binds what is to be opened.
    fn start(&mut self, now: Instant, order: &mut Order) -> Result<(SessionRef, Bound), Refusal> {
        let known = self.sessions.find(order.session);
        self.expected(order.session, known).check(order)?;
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

    fn expected(&self, id: SessionId, session: Option<SessionRef>) -> Expected<'_> {
        let session = session.and_then(|session| self.sessions.session(session));
        let mut expected = Expected {
            streams: [None; STREAMS_PER_SESSION],
            rooms: &self.rooms,
            roads: (&self.roads, id),
            is_new: session.is_none(),
            is_full: self.sessions.is_full(),
        };
        let present = session.into_iter().flat_map(|session| session.streams());
        for (place, (id, index)) in expected.streams.iter_mut().zip(present) {
            *place = Kind::of(&self.streams, &self.rooms, index).map(|kind| (id, kind));
        }
        expected
    }

    fn open_all(&mut self, now: Instant, order: &mut Order) -> Result<Bound, Refusal> {
        let mut bound: Bound = [None; ACTS_PER_ORDER];
        let session = order.session;
        let mut failed = None;
        for (act, place) in order.acts.iter_mut().zip(&mut bound) {
            let opened = match act {
                Act::Open(plan) => self.open_stream(now, session, plan),
                Act::OpenRoom(plan) => self.open_room(now, session, plan),
                Act::Join(plan) => self.open_member(now, session, plan),
                Act::Connect { .. }
                | Act::ConnectMember { .. }
                | Act::GiveFloor { .. }
                | Act::Leave { .. }
                | Act::Release { .. }
                | Act::Report { .. }
                | Act::Trace { .. } => continue,
                Act::OpenRoad { outpost, end } => {
                    self.open_road(session, *outpost, end.take());
                    continue;
                }
            };
            match opened {
                Ok(slot) => *place = Some(slot),
                Err(refusal) => {
                    failed = Some(refusal);
                    break;
                }
            }
        }
        match failed {
            None => Ok(bound),
            Some(refusal) => {
                self.undo_open(order, &bound);
                Err(refusal)
            }
        }
    }

    fn undo_open(&mut self, order: &mut Order, bound: &Bound) {
        for slot in bound.iter().flatten() {
            self.discard_stream(*slot);
        }
        let session = order.session;
        for act in &mut order.acts {
            match act {
                Act::Open(plan) => plan.local = Default::default(),
                Act::Join(plan) => plan.local = Default::default(),
                // Those after the act that failed still have theirs.
                Act::OpenRoad { outpost, end } if end.is_none() => {
                    *end = self.roads.take(session, *outpost);
                }
                Act::OpenRoom(_)
                | Act::OpenRoad { .. }
                | Act::Connect { .. }
                | Act::ConnectMember { .. }
                | Act::GiveFloor { .. }
                | Act::Leave { .. }
                | Act::Release { .. }
                | Act::Report { .. }
                | Act::Trace { .. } => {}
            }
        }
    }

    /// Does the acts one after the other; nothing of them can fail any more.
    fn do_acts(&mut self, now: Instant, mut order: Box<Order>, start: (SessionRef, Bound)) {
        let (session, bound) = start;
        let mut waiting = Vec::new();
        for (act, (todo, slot)) in order.acts.iter_mut().zip(bound).enumerate() {
            match todo {
                Act::Open(plan) => self.attach(session, plan, slot),
                Act::OpenRoom(plan) => self.attach_room(now, session, plan, slot),
                Act::OpenRoad { .. } => {}
                Act::Join(plan) => self.take_seat(now, session, plan, slot),
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
                Act::ConnectMember {
                    member,
                    stream,
                    remote,
                    direction,
                    formats,
                } => {
                    if let Some(seat) = self.seat_of(session, *stream, *member) {
                        self.connect_member(now, seat, (remote, *direction), formats);
                    }
                }
                Act::GiveFloor { floor, holders } => {
                    self.set_holders(now, session, *floor, holders);
                }
                Act::Leave {
                    member,
                    streams,
                    drain_ms,
                    ..
                } => {
                    let until = now + Duration::from_millis(u64::from(*drain_ms));
                    let left = match member {
                        Some(member) => self.leave(now, session, *streams, *member),
                        None => self.empty_rooms(now, session, *streams),
                    };
                    waiting.extend(left.map(|slot| Draining { act, slot, until }));
                }
                Act::Release {
                    streams, drain_ms, ..
                } => {
                    let until = now + Duration::from_millis(u64::from(*drain_ms));
                    let left = self.empty_rooms(now, session, *streams);
                    waiting.extend(left.map(|slot| Draining { act, slot, until }));
                    let slots = self.detach(session, *streams).into_iter().flatten();
                    waiting.extend(slots.map(|slot| Draining { act, slot, until }));
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
        self.end_if_empty(session, order.session);
        order.outcome = Outcome::Done;
        self.begin_drain(now, Drain::new(order, waiting));
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
    pub(super) fn detach(&mut self, session: SessionRef, set: StreamSet) -> Slots {
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

    /// Ends a session without streams, and its roads.
    fn end_if_empty(&mut self, session: SessionRef, id: SessionId) {
        let found = self.sessions.session(session);
        if let Some(empty) = found.filter(|session| session.is_empty()) {
            let recording = empty.recording;
            self.sessions.remove(session);
            self.let_go_recording(recording);
            self.roads.end_all(id);
        }
    }

    pub(super) fn slot_of(&self, session: SessionRef, stream: StreamId) -> Option<SlotRef> {
        let index = self.sessions.session(session)?.find(stream)?;
        Some(self.streams.slot_ref(index))
    }

    /// The streams of a session as they are now; changes meanwhile don't matter to it.
    pub(super) fn slots_of(
        &self,
        session: SessionRef,
    ) -> impl Iterator<Item = (StreamId, SlotRef)> + use<B> {
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
                    self.untie(tied);
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

    /// Unties sockets that were tied to a far end.
    pub(super) fn untie(&mut self, tied: [Option<Socket>; 2]) {
        for socket in tied.into_iter().flatten() {
            self.backend.tie(SocketId(socket.0), None);
        }
    }
}

/// Whether an order only makes rooms or adds members.
fn is_of_rooms(order: &Order) -> bool {
    let mut acts = order.acts.iter();
    acts.any(|act| matches!(act, Act::OpenRoom(_) | Act::Join(_)))
}
