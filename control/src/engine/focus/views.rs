//! Records of participants, and what the operator sees of group sessions.

use std::time::Instant;

use dataplane::api::LegFacts;

use super::state::{Focus, Member, Parting, Stage, kind_of};
use crate::admin::{Mode, SessionView, SideView, StreamView, Traffic};
use crate::cdr::{Cdr, End, EndReason, EndedBy, GroupRecord, Parties, Stamp, StreamRecord};
use crate::config::Role;
use crate::engine::Engine;
use crate::engine::views::traffic;
use crate::limits;
use crate::sip::Name;

impl Engine {
    /// The record of a participant who is gone.
    pub(super) fn record_of(&self, focus: &Focus, member: &Member) -> Cdr {
        let facts = &member.facts;
        let millis = |from: Instant, to: Instant| {
            u64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u64::MAX)
        };
        let text = |name| focus.origin.carried.get(name).map(str::to_owned);
        let own = focus.group.address.as_deref().unwrap_or(&focus.uri);
        let streams = focus.rooms.iter().filter_map(|room| {
            let (leg, sent) = facts.of(room.id);
            (leg != LegFacts::default() || sent != 0).then(|| StreamRecord {
                index: usize::from(room.id.0),
                kind: kind_of(room),
                a: traffic(leg),
                b: Traffic {
                    packets: sent,
                    ..Traffic::default()
                },
            })
        });
        Cdr {
            session: focus.id.0,
            mode: Mode::B2bua,
            role: if member.has_come {
                Role::Originating
            } else {
                Role::Terminating
            },
            started: Stamp(self.wall(facts.begun)),
            answered: facts.answered.map(|at| Stamp(self.wall(at))),
            ended: Stamp(self.wall(self.now)),
            setup_ms: facts.answered.map(|at| millis(facts.begun, at)),
            duration_ms: facts.answered.map_or(0, |at| millis(at, self.now)),
            conversation_id: text(Name::ConversationId),
            contribution_id: text(Name::ContributionId),
            call_ids: vec![member.call_id.to_string()],
            parties: Some(Parties {
                served_user: member.address.to_string(),
                peer: own.to_owned(),
            }),
            streams: streams.collect(),
            history: None,
            group: Some(GroupRecord {
                identity: focus.uri.to_string(),
                participant: member.id.0,
            }),
            end: end_of(member),
        }
    }

    /// The group sessions there are.
    pub(in crate::engine) fn group_views(&self, now: Instant) -> Vec<SessionView> {
        let all = self.focus.sessions.values();
        all.take(limits::REPORTED_SESSIONS)
            .map(|focus| view(focus, now))
            .collect()
    }

    /// Connections of participants that were lost, and participants released as nothing came from
    /// them.
    #[must_use]
    pub fn group_losses(&self) -> (u64, u64) {
        let counters = &self.counters;
        (
            counters.group_connections_lost,
            counters.group_members_silent,
        )
    }

    /// Who takes part in group sessions, all together.
    #[must_use]
    pub fn participants(&self) -> usize {
        self.focus.sessions.values().map(|one| one.present()).sum()
    }
}

fn end_of(member: &Member) -> End {
    let (by, why, code) = match member.end {
        Parting::Left => (EndedBy::A, EndReason::Bye, None),
        Parting::Cancelled => (EndedBy::A, EndReason::Cancelled, Some(487)),
        Parting::Refused(code) => (EndedBy::A, EndReason::Refused, Some(code)),
        Parting::Lost(481) => (EndedBy::Relay, EndReason::DialogLost, Some(481)),
        Parting::Lost(code) => (EndedBy::Relay, EndReason::NoAnswer, Some(code)),
        Parting::Disconnected => (EndedBy::Relay, EndReason::ConnectionLost, Some(408)),
        Parting::Silent => (EndedBy::Relay, EndReason::Silent, Some(408)),
        Parting::Removed | Parting::Replaced | Parting::TooFew => {
            (EndedBy::Relay, EndReason::Policy, None)
        }
        Parting::WorkerLost => (EndedBy::Relay, EndReason::WorkerLost, Some(500)),
        Parting::Drained | Parting::Stays => (EndedBy::Relay, EndReason::Stopped, Some(503)),
    };
    End { by, why, code }
}

fn view(focus: &Focus, now: Instant) -> SessionView {
    let streams = focus.rooms.iter().map(|room| StreamView {
        index: usize::from(room.id.0),
        kind: kind_of(room),
        direction: if room.sender.is_some() {
            "sendonly"
        } else {
            "sendrecv"
        },
        sides: [SideView::default(), SideView::default()],
        holders: room.floor.map(|floor| {
            let holders = focus.holders.get(&floor).into_iter().flatten();
            holders.map(|member| member.0).collect()
        }),
        speaker: focus.speakers.get(&room.id).map(|member| member.0),
    });
    SessionView {
        id: focus.id.0,
        mode: Mode::B2bua,
        role: Role::Terminating,
        state: match focus.stage {
            Stage::Opening => "opening",
            Stage::Inviting => "inviting",
            Stage::Running => "talking",
            Stage::Ending { .. } => "closing",
            Stage::Ended => "ended",
        },
        age_s: now.saturating_duration_since(focus.begun).as_secs(),
        worker: Some(focus.worker),
        participants: Some(focus.present()),
        streams: streams.collect(),
    }
}
