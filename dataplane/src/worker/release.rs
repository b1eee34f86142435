//! Releasing streams: frozen at once, written out and answered, closed; their facts and plans go home.

use std::time::{Duration, Instant};

use crate::api::{Act, Event, LegFacts, MemberFacts, Order, Side, StreamFacts, StreamPlan};
use crate::limits::{DRAIN_CHECK_MS, LEAVES_PER_CYCLE};
use crate::net::{Backend, SocketId};
use crate::proto::rtp::Change;
use crate::session::{
    Connection, Media, MemberLeg, Phase, PortPair, RtpLeg, SlotRef, Stream, leg_mut, pair_mut,
};

use super::Worker;

/// An order that waits until its streams are settled, or for room to go home.
#[derive(Debug)]
pub(super) struct Drain {
    order: Box<Order>,
    waiting: Vec<Draining>,
}

/// A stream, a room or a member's leg that waits until it is written out and answered.
#[derive(Debug)]
pub(super) struct Draining {
    /// The act that releases it, by its place in the order.
    pub(super) act: usize,
    /// Where it is.
    pub(super) slot: SlotRef,
    /// When it waits no longer.
    pub(super) until: Instant,
}

/// What was freed.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives for a moment, and a box would be freed here"
)]
pub(super) enum Freed {
    /// A stream of two legs.
    Stream(StreamFacts, Option<StreamPlan>),
    /// A member's leg.
    Member(MemberFacts),
    /// A room.
    Room,
}

impl Drain {
    /// Makes an order wait for streams, if there are any.
    pub(super) fn new(order: Box<Order>, waiting: Vec<Draining>) -> Self {
        Self { order, waiting }
    }

    fn add_facts(&mut self, act: usize, freed: Freed) {
        match (self.order.acts.get_mut(act), freed) {
            (Some(Act::Release { facts, .. }), Freed::Stream(new, plan)) => {
                facts.push(new);
                self.order.returned.extend(plan);
            }
            (Some(Act::Leave { facts, .. }), Freed::Member(new)) => facts.push(new),
            // Of rooms there is nothing to say, and nobody asked for the members of released ones.
            (_, Freed::Stream(..) | Freed::Member(_) | Freed::Room) => {}
        }
    }
}

impl<B: Backend> Worker<B> {
    /// Sends an order home; keeps it while there is no room.
    pub(super) fn send_home(&mut self, order: Box<Order>, now: Instant) {
        if let Err(full) = self.link.tell(Event::Done(order))
            && let Event::Done(order) = full.0
        {
            self.drains.push(Drain::new(order, Vec::new()));
            self.drains_at = self
                .drains_at
                .min(now + Duration::from_millis(DRAIN_CHECK_MS));
        }
    }

    /// Freezes what an order releases, and frees what needn't wait.
    pub(super) fn begin_drain(&mut self, now: Instant, mut drain: Drain) {
        for draining in &drain.waiting {
            self.freeze(draining.slot);
        }
        let mut budget = LEAVES_PER_CYCLE;
        self.free_settled(now, &mut drain, &mut budget);
        self.go_on(now, drain, budget);
    }

    /// Frees what is settled or late, and sends the orders home that wait for nothing more.
    pub(super) fn finish_drains(&mut self, now: Instant) {
        self.drains_at = now + Duration::from_millis(DRAIN_CHECK_MS);
        let mut budget = LEAVES_PER_CYCLE;
        for at in (0..self.drains.len()).rev() {
            let mut drain = self.drains.swap_remove(at);
            self.free_settled(now, &mut drain, &mut budget);
            self.go_on(now, drain, budget);
        }
    }

    fn go_on(&mut self, now: Instant, drain: Drain, budget: usize) {
        if drain.waiting.is_empty() {
            self.send_home(drain.order, now);
            return;
        }
        let pause = if budget == 0 { 1 } else { DRAIN_CHECK_MS };
        self.drains_at = self.drains_at.min(now + Duration::from_millis(pause));
        self.drains.push(drain);
    }

    /// Frees what is settled or late of an order, members while the budget lasts.
    fn free_settled(&mut self, now: Instant, drain: &mut Drain, budget: &mut usize) {
        let mut waiting = std::mem::take(&mut drain.waiting);
        waiting.retain(|draining| {
            if *budget == 0 {
                return true;
            }
            let over = now >= draining.until || self.is_settled(draining.slot);
            if over && let Some(freed) = self.free_stream(now, draining.slot) {
                *budget -= usize::from(matches!(freed, Freed::Member(_)));
                drain.add_facts(draining.act, freed);
            }
            !over
        });
        drain.waiting = waiting;
    }

    /// Frees a stream, a room or a member's leg: closes its sockets, lets its ports rest.
    pub(super) fn free_stream(&mut self, now: Instant, slot: SlotRef) -> Option<Freed> {
        let facts = self.facts(now, slot);
        let member = self.member_facts(now, slot);
        let stream = self.streams.remove(slot)?;
        self.close_media(&stream, |worker, pair| worker.ports.give(now, pair));
        self.let_go_recording(stream.recording);
        Some(match (facts, member) {
            (Some(facts), _) => Freed::Stream(facts, stream.plan),
            (None, Some(member)) => Freed::Member(member),
            (None, None) => Freed::Room,
        })
    }

    /// Frees a stream that nobody was told about.
    pub(super) fn discard_stream(&mut self, slot: SlotRef) {
        if let Some(stream) = self.streams.remove(slot) {
            self.close_media(&stream, |worker, pair| worker.ports.give_unused(pair));
        }
    }

    /// What a stream of two legs did so far.
    pub(super) fn facts(&self, now: Instant, slot: SlotRef) -> Option<StreamFacts> {
        let stream = self.streams.find(slot)?;
        let age_ms = stream.age_ms(now);
        let legs = match &stream.media {
            Media::Rtp(legs) => legs.each_ref().map(|leg| leg.facts()),
            Media::Bytes(legs) => legs.each_ref().map(|leg| leg.facts()),
            Media::Msrp(legs) => legs.each_ref().map(|leg| self.msrp_facts(leg)),
            Media::Room(_) | Media::Member(_) => return None,
        };
        Some(StreamFacts {
            stream: stream.id,
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
                Event::Silent { .. } | Event::MemberSilent { .. } => Some(Change::Silent),
                Event::Heard { .. } | Event::MemberHeard { .. } => Some(Change::Heard),
                Event::ConnectionLost { .. }
                | Event::MemberLost { .. }
                | Event::Speaking { .. }
                | Event::FloorChanged { .. }
                | Event::Done(_) => None,
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
        let legs = match media {
            Some(Media::Rtp(legs)) => legs.as_mut_slice(),
            Some(Media::Member(member)) => match member.rtp_mut() {
                Some(leg) => std::slice::from_mut(leg),
                None => return,
            },
            Some(Media::Bytes(_) | Media::Msrp(_) | Media::Room(_)) | None => return,
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
                Media::Member(member) => match member.msrp_mut() {
                    Some(leg) => leg.lost_untold = true,
                    None => return,
                },
                Media::Rtp(_) | Media::Room(_) => return,
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
            Media::Rtp(_) | Media::Room(_) => {}
            Media::Member(member) => {
                if let Some(leg) = member.msrp() {
                    self.msrp.relay.freeze(leg.key);
                }
            }
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
            Media::Room(room) => self.is_chat_empty(*room),
            Media::Member(member) => member.msrp().is_none_or(|leg| {
                let sink = self.msrp.socket_of(leg.key);
                self.msrp.relay.is_settled(leg.key) && !sink.is_some_and(queued)
            }),
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

    fn close_rtp(&mut self, leg: &RtpLeg) {
        for socket in leg.sockets() {
            self.close_socket(SocketId(socket.0));
        }
    }

    fn close_media(&mut self, stream: &Stream, mut give: impl FnMut(&mut Self, PortPair)) {
        match &stream.media {
            Media::Rtp(legs) => {
                for leg in legs {
                    self.close_rtp(leg);
                    give(self, leg.pair());
                }
            }
            Media::Room(room) => self.close_room(*room),
            Media::Member(member) => {
                self.stats.members = self.stats.members.saturating_sub(1);
                match &member.leg {
                    MemberLeg::Rtp(leg) => {
                        self.close_rtp(leg);
                        give(self, leg.pair());
                    }
                    MemberLeg::Msrp(leg) => {
                        self.report_msrp(leg);
                        self.remove_msrp(leg);
                    }
                    MemberLeg::Bfcp(leg) => {
                        self.close_bfcp(leg);
                        give(self, leg.pair());
                    }
                    MemberLeg::Away(_) => {}
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

/// What there is to tell about a leg.
fn look_at_leg(now: Instant, stream: &mut Stream, side: Side) -> Option<Event> {
    let (session, id, limit) = (stream.session, stream.id, stream.silence);
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
        Media::Member(member) if side == Side::A => {
            let who = member.id;
            if member.msrp().is_some() || member.away().is_some() {
                return lost_news(stream, side);
            }
            if let Some(leg) = member.bfcp_mut() {
                let lost = Event::MemberLost {
                    session,
                    stream: id,
                    member: who,
                };
                return leg.lost_untold.then_some(lost);
            }
            let change = member.rtp_mut()?.silence_mut().look(now, limit?)?;
            Some(match change {
                Change::Silent => Event::MemberSilent {
                    session,
                    stream: id,
                    member: who,
                },
                Change::Heard => Event::MemberHeard {
                    session,
                    stream: id,
                    member: who,
                },
            })
        }
        Media::Member(_) | Media::Room(_) => None,
    }
}

/// The news of a lost connection, if it is to be told by now.
fn lost_news(stream: &mut Stream, side: Side) -> Option<Event> {
    let lost = match &mut stream.media {
        Media::Rtp(_) | Media::Room(_) => false,
        Media::Member(member) => {
            let is_lost = member.msrp().is_some_and(|leg| leg.lost_untold)
                || member.away().is_some_and(|leg| leg.lost_untold);
            return is_lost.then_some(Event::MemberLost {
                session: stream.session,
                stream: stream.id,
                member: member.id,
            });
        }
        Media::Bytes(legs) => {
            let (leg, other) = pair_mut(legs, side);
            // The other side still gets what this one sent.
            leg.lost_untold && !matches!(other.connection, Connection::Ending { .. })
        }
        Media::Msrp(legs) => leg_mut(legs, side).lost_untold,
    };
    lost.then_some(Event::ConnectionLost {
        session: stream.session,
        stream: stream.id,
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
        Media::Member(member) => {
            if let (Some(change), Some(leg)) = (change, member.rtp_mut()) {
                leg.silence_mut().told(change);
            }
            if let Some(leg) = member.bfcp_mut() {
                leg.lost_untold = false;
            }
            if let Some(leg) = member.msrp_mut() {
                leg.lost_untold = false;
            }
            if let Some(leg) = member.away_mut() {
                leg.lost_untold = false;
            }
        }
        Media::Room(_) => {}
        Media::Bytes(legs) => leg_mut(legs, side).lost_untold = false,
        Media::Msrp(legs) => leg_mut(legs, side).lost_untold = false,
    }
}
