//! What the operator sees: sessions now, and a session's record at its end.

use std::time::Instant;

use dataplane::api::{Act, LegFacts, Side, StreamFacts};

use super::closing::Why;
use super::orders::After;
use super::session::{Session, Stage};
use super::{Counters, Engine};
use crate::admin::{Mode, SessionView, SideView, StreamView, Traffic};
use crate::cdr::{Cdr, End, EndReason, EndedBy, Parties, Stamp, StreamRecord};
use crate::config::StreamKind;
use crate::cpm::participating::Role;
use crate::limits;
use crate::sdp::Kind;
use crate::sip::SipCounters;

/// How many of what there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Dialogs.
    pub dialogs: usize,
    /// Transactions of SIP.
    pub transactions: usize,
    /// Transactions that are proxied.
    pub proxied: usize,
    /// Orders that aren't done.
    pub orders: usize,
}

impl Engine {
    /// The engine's counters.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The counters of SIP messages.
    #[must_use]
    pub fn sip_counters(&self) -> &SipCounters {
        self.tx.counters()
    }

    /// How many of what there are.
    #[must_use]
    pub fn census(&self) -> Census {
        Census {
            dialogs: self.dialogs.len() + self.focus.dialogs(),
            transactions: self.tx.len(),
            proxied: self.proxied.len(),
            orders: self.orders.len(),
        }
    }

    /// Sessions by their state's name.
    #[must_use]
    pub fn sessions_by_state(&self) -> Vec<(&'static str, usize)> {
        let mut counts: Vec<(&'static str, usize)> = Vec::new();
        for session in self.sessions.values() {
            let state = state(&session.stage);
            match counts.iter_mut().find(|(name, _)| *name == state) {
                Some((_, count)) => *count += 1,
                None => counts.push((state, 1)),
            }
        }
        counts
    }

    /// Asks the workers what the sessions' streams did so far; the answers are in
    /// [`Self::session_views`] when [`Self::reports_due`] is 0.
    pub fn ask_for_reports(&mut self, now: Instant) {
        self.now = now;
        let ids: Vec<u64> = self
            .sessions
            .keys()
            .copied()
            .take(limits::REPORTED_SESSIONS)
            .collect();
        for id in ids {
            let Some(session) = self.sessions.remove(&id) else {
                continue;
            };
            if matches!(session.stage, Stage::Talking | Stage::Inviting(_)) {
                self.order(
                    &session,
                    vec![Act::Report { facts: Vec::new() }],
                    After::Reported,
                );
                self.reports_due += 1;
            }
            self.sessions.insert(id, session);
        }
    }

    /// Reports that were asked for and have not come.
    #[must_use]
    pub fn reports_due(&self) -> usize {
        self.reports_due
    }

    pub(super) fn report_has_come(&mut self) {
        self.reports_due = self.reports_due.saturating_sub(1);
    }

    pub(super) fn on_reported(session: &mut Session, acts: Vec<Act>) {
        for act in acts {
            if let Act::Report { facts } = act {
                session.reported = facts;
            }
        }
    }

    /// The sessions there are, at most [`limits::REPORTED_SESSIONS`].
    #[must_use]
    pub fn session_views(&self, now: Instant) -> Vec<SessionView> {
        let sessions = self.sessions.values().take(limits::REPORTED_SESSIONS);
        let sessions = sessions.map(|session| view(session, now));
        sessions.chain(self.group_views(now)).collect()
    }

    /// A session's record.
    pub(super) fn record(&self, session: &Session) -> Cdr {
        let facts = &session.facts;
        let begun = facts.begun.unwrap_or(self.now);
        let ended = facts.ended.unwrap_or(self.now);
        let millis = |from: Instant, to: Instant| {
            u64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u64::MAX)
        };
        let text = |text: &Option<crate::sip::Text>| text.as_ref().map(ToString::to_string);
        let why = facts.end.unwrap_or(Why::Refused);
        Cdr {
            session: session.id.0,
            mode: Mode::B2bua,
            role: role(session.role),
            started: Stamp(self.wall(begun)),
            answered: facts.answered.map(|at| Stamp(self.wall(at))),
            ended: Stamp(self.wall(ended)),
            setup_ms: facts.answered.map(|at| millis(begun, at)),
            duration_ms: facts.answered.map_or(0, |at| millis(at, ended)),
            conversation_id: text(&facts.conversation_id),
            contribution_id: text(&facts.contribution_id),
            call_ids: call_ids(session),
            parties: Some(Parties {
                served_user: text(&facts.served_user).unwrap_or_default(),
                peer: text(&facts.peer).unwrap_or_default(),
            }),
            streams: records(session),
            history: session.history.record(),
            group: None,
            end: End {
                by: ended_by(why),
                why: end_reason(why),
                code: facts.code,
            },
        }
    }
}

/// The Call-IDs that were on the wire: with functions, side B had none of its own.
fn call_ids(session: &Session) -> Vec<String> {
    let [a, b] = &session.legs;
    let functions = session.interworked.as_ref().map(|far| &far.call_ids);
    let far = functions.map_or_else(|| std::slice::from_ref(&b.call_id), Vec::as_slice);
    let all = std::iter::once(&a.call_id).chain(far);
    all.map(ToString::to_string).collect()
}

fn records(session: &Session) -> Vec<StreamRecord> {
    let mut records: Vec<StreamRecord> = session
        .media
        .streams()
        .map(|stream| {
            let facts = session
                .facts
                .streams
                .iter()
                .rev()
                .find(|facts| facts.stream == stream.id);
            let [a, b] =
                facts.map_or_else(<[Traffic; 2]>::default, |facts| facts.legs.map(traffic));
            StreamRecord {
                index: stream.index,
                kind: kind(stream.kind),
                a,
                b,
            }
        })
        .collect();
    records.sort_by_key(|record| record.index);
    records
}

fn view(session: &Session, now: Instant) -> SessionView {
    let begun = session.facts.begun.unwrap_or(now);
    let streams = session
        .media
        .streams()
        .filter(|stream| !stream.released)
        .map(|stream| {
            let facts = session
                .reported
                .iter()
                .find(|facts| facts.stream == stream.id);
            let side = |side: Side| {
                let i = side.index();
                let leg = facts
                    .map(|facts: &StreamFacts| facts.legs[i])
                    .unwrap_or_default();
                SideView {
                    local: stream.local[i],
                    remote: leg.source.or(stream.remote[i]),
                    traffic: traffic(leg),
                }
            };
            StreamView {
                index: stream.index,
                kind: kind(stream.kind),
                direction: direction(stream.direction),
                sides: [side(Side::A), side(Side::B)],
                holders: None,
                speaker: None,
            }
        });
    SessionView {
        id: session.id.0,
        mode: Mode::B2bua,
        role: role(session.role),
        state: state(&session.stage),
        age_s: now.saturating_duration_since(begun).as_secs(),
        worker: Some(session.worker),
        participants: None,
        streams: streams.collect(),
    }
}

fn state(stage: &Stage) -> &'static str {
    match stage {
        Stage::Opening(_) => "opening",
        Stage::Inviting(_) => "inviting",
        Stage::Answering(_) => "answering",
        Stage::Talking => "talking",
        Stage::Closing(_) => "closing",
        Stage::Failing | Stage::Cancelled { .. } => "failing",
        Stage::Ended => "ended",
    }
}

fn role(role: Role) -> crate::config::Role {
    match role {
        Role::Originating => crate::config::Role::Originating,
        Role::Terminating => crate::config::Role::Terminating,
    }
}

fn direction(direction: dataplane::api::Direction) -> &'static str {
    match (direction.may_send, direction.may_receive) {
        (true, true) => "sendrecv",
        (true, false) => "sendonly",
        (false, true) => "recvonly",
        (false, false) => "inactive",
    }
}

fn kind(kind: Kind) -> StreamKind {
    match kind {
        Kind::Audio => StreamKind::Audio,
        Kind::Video => StreamKind::Video,
        Kind::Message => StreamKind::Message,
        Kind::Application => StreamKind::Application,
        Kind::Image | Kind::Text | Kind::Other => StreamKind::Other,
    }
}

pub(super) fn traffic(leg: LegFacts) -> Traffic {
    Traffic {
        packets: leg.packets,
        bytes: leg.bytes,
        rtcp_packets: leg.rtcp_packets,
        lost: leg.lost,
        dropped: leg.dropped,
    }
}

fn ended_by(why: Why) -> EndedBy {
    match why {
        Why::Bye(Side::A) | Why::Cancelled => EndedBy::A,
        Why::Bye(Side::B) | Why::Refused => EndedBy::B,
        Why::NotAcceptable
        | Why::RangTooLong
        | Why::NoPort
        | Why::Expired
        | Why::AckMissing
        | Why::FarGone
        | Why::Silence
        | Why::WorkerLost
        | Why::Drained => EndedBy::Relay,
    }
}

fn end_reason(why: Why) -> EndReason {
    match why {
        Why::Bye(_) => EndReason::Bye,
        Why::Cancelled => EndReason::Cancelled,
        Why::Refused => EndReason::Refused,
        Why::NotAcceptable => EndReason::Policy,
        Why::RangTooLong | Why::AckMissing => EndReason::NoAnswer,
        Why::NoPort => EndReason::NoRoom,
        Why::Expired => EndReason::Expired,
        Why::FarGone => EndReason::DialogLost,
        Why::Silence => EndReason::Silent,
        Why::WorkerLost => EndReason::WorkerLost,
        Why::Drained => EndReason::Stopped,
    }
}
