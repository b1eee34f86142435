//! Orders of group sessions to their worker, and what follows when they are done.

use std::time::Duration;

use dataplane::api::{Act, MemberId, Outcome, Refusal, SessionId, StreamSet};

use super::state::{Focus, Stage, without};
use crate::engine::{Engine, orders};

/// What follows an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum After {
    /// The rooms and the inviter's legs are made.
    Begun,
    /// The legs of an invited user are made.
    Bound(MemberId),
    /// The worker knows who has come: the participant gets its answer.
    Answered(MemberId),
    /// The worker does what a participant has offered.
    Modified(MemberId),
    /// Ports are bound for an offer to a participant.
    Offered(MemberId),
    /// A participant's media are released.
    Left(MemberId),
    /// All media are released.
    Released,
    /// Rooms have ended.
    Ended(StreamSet),
    /// The streams' counters were asked for.
    Nothing,
}

impl Engine {
    pub(super) fn order_group(&mut self, focus: &Focus, acts: Vec<Act>, after: After) {
        if acts.is_empty() && after == After::Nothing {
            return;
        }
        self.order_of(focus.id, focus.worker, acts, orders::After::Group(after));
    }

    /// The act by which a participant leaves some rooms.
    pub(super) fn leave_act(
        &self,
        drain: Duration,
        id: MemberId,
        streams: StreamSet,
    ) -> Option<Act> {
        (!streams.is_empty()).then(|| Act::Leave {
            member: Some(id),
            streams,
            drain_ms: u32::try_from(drain.as_millis()).unwrap_or(u32::MAX),
            facts: Vec::new(),
        })
    }

    /// The act by which rooms end.
    pub(super) fn close_act(&self, drain: Duration, streams: StreamSet) -> Act {
        Act::Leave {
            member: None,
            streams,
            drain_ms: u32::try_from(drain.as_millis()).unwrap_or(u32::MAX),
            facts: Vec::new(),
        }
    }

    /// An order of a group session has come back.
    pub(in crate::engine) fn on_group_done(
        &mut self,
        id: SessionId,
        acts: &[Act],
        outcome: Outcome,
        after: After,
    ) {
        let refused = match outcome {
            Outcome::Refused(why) => Some(why),
            Outcome::Done | Outcome::Pending => None,
        };
        self.with_focus(id, |engine, focus| {
            take_facts(focus, acts);
            engine.follow_group(focus, acts, refused, after);
        });
    }

    fn follow_group(
        &mut self,
        focus: &mut Focus,
        acts: &[Act],
        refused: Option<Refusal>,
        after: After,
    ) {
        match after {
            After::Begun => self.on_begun(focus, acts, refused),
            After::Bound(id) => self.on_bound(focus, id, acts, refused),
            After::Answered(id) => self.on_comer_ready(focus, id, acts, refused),
            After::Modified(id) => self.on_modified(focus, id, acts, refused),
            After::Offered(id) => self.on_offer_bound(focus, id, acts, refused),
            After::Left(id) => self.on_media_left(focus, id),
            After::Released => {
                focus.stage = Stage::Ending { is_released: true };
                self.part_all(focus);
            }
            After::Ended(streams) => focus.forget_rooms(streams),
            After::Nothing => {}
        }
    }

    /// The worker of some group sessions is gone: what was ordered follows as refused, and their
    /// participants are released.
    pub(in crate::engine) fn on_worker_lost_by_groups(&mut self, worker: usize) {
        let lost = self.focus.sessions.values();
        let lost = lost.filter(|focus| focus.worker == worker);
        let lost: Vec<SessionId> = lost.map(|focus| focus.id).collect();
        for id in lost {
            self.counters.lost += 1;
            for mark in self.marks(|of, _| of == id) {
                self.follow_refused(mark);
            }
            self.with_focus(id, |engine, focus| {
                engine.end_group(focus, super::Parting::WorkerLost);
            });
        }
    }
}

impl Focus {
    /// The worker has ended rooms: nothing that was of them is taken for what has their names next.
    fn forget_rooms(&mut self, streams: StreamSet) {
        self.rooms.ended(streams);
        self.origin.offered = without(self.origin.offered, streams);
        self.speakers.retain(|room, _| !streams.contains(*room));
        for member in self.members.values_mut() {
            for set in [&mut member.silent, &mut member.lost, &mut member.missed] {
                *set = without(*set, streams);
            }
            member
                .facts
                .media
                .retain(|one| !streams.contains(one.stream));
        }
    }
}

/// Remembers what who left did.
fn take_facts(focus: &mut Focus, acts: &[Act]) {
    for act in acts {
        if let Act::Leave { facts, .. } = act {
            for one in facts {
                if let Some(member) = focus.members.get_mut(&one.member) {
                    member.facts.media.push(*one);
                }
            }
        }
    }
}
