//! Releasing streams: frozen at once, written out and answered, closed; their facts and plans go home.

use std::time::Instant;

use crate::api::{Act, Event, LegFacts, Order, Side, StreamFacts, StreamPlan};
use crate::net::{Backend, SocketId};
use crate::proto::rtp::Change;
use crate::session::{Connection, Media, Phase, PortPair, SlotRef, Stream, leg_mut, pair_mut};

use super::Worker;

/// An order that waits until its streams are settled, or for room to go home.
#[derive(Debug)]
pub(super) struct Drain {
    order: Box<Order>,
    until: Instant,
    waiting: Vec<Draining>,
}

/// A stream that waits until it is written out and answered.
#[derive(Debug)]
pub(super) struct Draining {
    /// The act that releases it, by its place in the order.
    pub(super) act: usize,
    /// The stream.
    pub(super) slot: SlotRef,
}

impl Drain {
    /// Makes an order wait for streams, if there are any.
    pub(super) fn new(order: Box<Order>, until: Instant, waiting: Vec<Draining>) -> Self {
        Self {
            order,
            until,
            waiting,
        }
    }
}

impl<B: Backend> Worker<B> {
    /// Sends an order home; keeps it while there is no room.
    pub(super) fn send_home(&mut self, order: Box<Order>, now: Instant) {
        if let Err(full) = self.link.tell(Event::Done(order))
            && let Event::Done(order) = full.0
        {
            self.drains.push(Drain::new(order, now, Vec::new()));
        }
    }

    /// Freezes a stream, and frees it if nothing of it waits or it must not wait.
    pub(super) fn release(
        &mut self,
        now: Instant,
        slot: SlotRef,
        drain_ms: u32,
    ) -> Option<(StreamFacts, StreamPlan)> {
        self.freeze(slot);
        if drain_ms > 0 && !self.is_settled(slot) {
            return None;
        }
        self.free_stream(now, slot)
    }

    /// Frees what is settled or late, and sends the orders home that wait for nothing more.
    pub(super) fn finish_drains(&mut self, now: Instant) {
        for at in (0..self.drains.len()).rev() {
            let mut drain = self.drains.swap_remove(at);
            let late = now >= drain.until;
            drain.waiting.retain(|draining| {
                let over = late || self.is_settled(draining.slot);
                if over && let Some((facts, plan)) = self.free_stream(now, draining.slot) {
                    add_facts(&mut drain.order, draining.act, facts);
                    drain.order.returned.push(plan);
                }
                !over
            });
            if drain.waiting.is_empty() {
                self.send_home(drain.order, now);
            } else {
                self.drains.push(drain);
            }
        }
    }

    /// Frees a stream: closes its sockets, lets its ports rest.
    pub(super) fn free_stream(
        &mut self,
        now: Instant,
        slot: SlotRef,
    ) -> Option<(StreamFacts, StreamPlan)> {
        let facts = self.facts(now, slot)?;
        let stream = self.streams.remove(slot)?;
        self.close_media(&stream, |worker, pair| worker.ports.give(now, pair));
        self.let_go_recording(stream.recording);
        Some((facts, stream.plan))
    }

    /// Frees a stream that nobody was told about.
    pub(super) fn discard_stream(&mut self, slot: SlotRef) {
        if let Some(stream) = self.streams.remove(slot) {
            self.close_media(&stream, |worker, pair| worker.ports.give_unused(pair));
        }
    }

    /// What a stream did so far.
    pub(super) fn facts(&self, now: Instant, slot: SlotRef) -> Option<StreamFacts> {
        let stream = self.streams.find(slot)?;
        let age = now.saturating_duration_since(stream.opened);
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let legs = match &stream.media {
            Media::Rtp(legs) => legs.each_ref().map(|leg| leg.facts()),
            Media::Bytes(legs) => legs.each_ref().map(|leg| leg.facts()),
            Media::Msrp(legs) => legs.each_ref().map(|leg| self.msrp_facts(leg)),
        };
        Some(StreamFacts {
            stream: stream.plan.stream,
            legs: legs.map(|leg| LegFacts { age_ms, ..leg }),
        })
    }

    /// Looks after one stream: silence, and news that found no room.
    pub(super) fn look_at(&mut self, now: Instant, slot: SlotRef) {
        let Some(stream) = self.streams.find_mut(slot) else {
            return;
        };
        if stream.phase == Phase::Frozen {
            return;
        }
        for side in Side::BOTH {
            let event = look_at_leg(now, stream, side);
            let Some(event) = event else { continue };
            let change = match event {
                Event::Silent { .. } => Some(Change::Silent),
                Event::Heard { .. } => Some(Change::Heard),
                Event::ConnectionLost { .. } | Event::Done(_) => None,
            };
            if self.link.room() == 0 || self.link.tell(event).is_err() {
                return;
            }
            note_told(stream, side, change);
        }
    }

    /// Ties sockets to far ends that are certain by now.
    pub(super) fn tie_sockets(&mut self, now: Instant, slot: SlotRef) {
        let media = self.streams.find_mut(slot).map(|stream| &mut stream.media);
        let Some(Media::Rtp(legs)) = media else {
            return;
        };
        for leg in legs {
            for (socket, far) in leg.to_tie(now).into_iter().flatten() {
                self.backend.tie(SocketId(socket.0), Some(far));
            }
        }
    }

    /// Tells control that a leg's connection is lost, now or when there is room.
    pub(super) fn tell_lost(&mut self, slot: SlotRef, side: Side) {
        if let Some(stream) = self.streams.find_mut(slot) {
            match &mut stream.media {
                Media::Bytes(legs) => leg_mut(legs, side).lost_untold = true,
                Media::Msrp(legs) => leg_mut(legs, side).lost_untold = true,
                Media::Rtp(_) => return,
            }
            if stream.phase == Phase::Open
                && let Some(event) = lost_news(stream, side)
                && self.link.tell(event).is_ok()
            {
                note_told(stream, side, None);
            }
        }
    }

    fn freeze(&mut self, slot: SlotRef) {
        let Some(stream) = self.streams.find_mut(slot) else {
            return;
        };
        stream.phase = Phase::Frozen;
        match &stream.media {
            Media::Rtp(_) => {}
            Media::Bytes(_) => self.freeze_bytes(slot),
            Media::Msrp(legs) => {
                for leg in legs {
                    self.msrp.relay.freeze(leg.key);
                }
            }
        }
    }

    /// Whether nothing of a stream waits to be written, to be answered by who got it, or to be
    /// handed over as its record.
    fn is_settled(&mut self, slot: SlotRef) -> bool {
        self.flush();
        let Some(stream) = self.streams.find(slot) else {
            return true;
        };
        let queued = |socket| self.backend.queued(socket) > 0;
        match &stream.media {
            Media::Rtp(_) => true,
            Media::Bytes(legs) => {
                let mut sinks = legs.iter().filter_map(|leg| leg.sink());
                !sinks.any(|socket| queued(SocketId(socket.0)))
            }
            Media::Msrp(_) if stream.recording.is_some() && self.msrp.relay.has_records() => false,
            Media::Msrp(legs) => legs.iter().all(|leg| {
                let sink = self.msrp.socket_of(leg.key);
                self.msrp.relay.is_settled(leg.key) && !sink.is_some_and(queued)
            }),
        }
    }

    fn close_media(&mut self, stream: &Stream, mut give: impl FnMut(&mut Self, PortPair)) {
        match &stream.media {
            Media::Rtp(legs) => {
                for leg in legs {
                    for socket in leg.sockets() {
                        self.close_socket(SocketId(socket.0));
                    }
                    give(self, leg.pair());
                }
            }
            Media::Bytes(legs) => {
                for leg in legs {
                    self.close_socket(SocketId(leg.listener().0));
                    self.close_bytes(leg.connection);
                    give(self, leg.pair());
                }
            }
            Media::Msrp(legs) => {
                // While both are there, so that each sender hears what became of its messages.
                for leg in legs {
                    self.report_msrp(leg);
                }
                for leg in legs {
                    self.remove_msrp(leg);
                }
            }
        }
    }
}

fn add_facts(order: &mut Order, act: usize, new: StreamFacts) {
    if let Some(Act::Release { facts, .. }) = order.acts.get_mut(act) {
        facts.push(new);
    }
}

/// What there is to tell about a leg.
fn look_at_leg(now: Instant, stream: &mut Stream, side: Side) -> Option<Event> {
    let (session, id, limit) = (stream.session, stream.plan.stream, stream.silence);
    match &mut stream.media {
        Media::Rtp(legs) => {
            let change = leg_mut(legs, side).silence_mut().look(now, limit?)?;
            Some(match change {
                Change::Silent => Event::Silent {
                    session,
                    stream: id,
                    side,
                },
                Change::Heard => Event::Heard {
                    session,
                    stream: id,
                    side,
                },
            })
        }
        Media::Bytes(_) | Media::Msrp(_) => lost_news(stream, side),
    }
}

/// The news of a lost connection, if it is to be told by now.
fn lost_news(stream: &mut Stream, side: Side) -> Option<Event> {
    let lost = match &mut stream.media {
        Media::Rtp(_) => false,
        Media::Bytes(legs) => {
            let (leg, other) = pair_mut(legs, side);
            // The other side still gets what this one sent.
            leg.lost_untold && !matches!(other.connection, Connection::Ending { .. })
        }
        Media::Msrp(legs) => leg_mut(legs, side).lost_untold,
    };
    lost.then_some(Event::ConnectionLost {
        session: stream.session,
        stream: stream.plan.stream,
        side,
    })
}

fn note_told(stream: &mut Stream, side: Side, change: Option<Change>) {
    match &mut stream.media {
        Media::Rtp(legs) => {
            if let Some(change) = change {
                leg_mut(legs, side).silence_mut().told(change);
            }
        }
        Media::Bytes(legs) => leg_mut(legs, side).lost_untold = false,
        Media::Msrp(legs) => leg_mut(legs, side).lost_untold = false,
    }
}
