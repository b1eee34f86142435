//! A session's history, as the engine sees it: when it is asked for, what came of it, and how long
//! anybody waits for it (HST-01..06, CON-05).
//!
//! ```text
//! NotDue
//! Due ──answered──▶ Recording ──released──▶ Storing ──told──▶ Stored (UID) | Queued
//!                                              └──deadline──▶ Late ──told──▶ Stored | Queued
//! ```
//!
//! The store has what it needs by then: whatever the engine waits for or not, it stores the history
//! once, if need be later.

use std::time::Instant;

use bytes::Bytes;
use dataplane::api::{SessionId, Side, StreamSet};

use super::session::{Session, Stage};
use super::{Engine, Output};
use crate::cdr;
use crate::cpm::body;
use crate::cpm::participating::Role;
use crate::cpm::policy::user_key;
use crate::cpm::resource_list;
use crate::history::{Ask, Facts, Group, NotYet, Told};
use crate::limits;
use crate::sip::{Message, Name, NameAddr, Text};

/// Where a session's history is.
#[derive(Debug)]
pub(super) enum History {
    /// The served user has none, or there is no store.
    NotDue,
    /// The session is recorded once it is answered.
    Due {
        /// The offer as the called client was given it, where that is the served one.
        offer: Option<Bytes>,
    },
    /// It is being recorded.
    Recording(Box<Recording>),
    /// The session has ended; the store was asked, and is waited for.
    Storing {
        /// No longer than this.
        until: Instant,
    },
    /// It is in the store.
    Stored(Text),
    /// The store will have it later.
    Queued,
    /// The store has not answered in time.
    Late,
}

/// What a session that is recorded keeps for its history.
#[derive(Debug)]
pub(super) struct Recording {
    /// What was known when it was last told.
    facts: Facts,
    /// The streams that there were then.
    streams: StreamSet,
    /// How often it may be told again.
    renewals_left: usize,
}

impl History {
    /// A new session's.
    pub(super) fn new(is_due: bool) -> Self {
        if is_due {
            Self::Due { offer: None }
        } else {
            Self::NotDue
        }
    }

    /// Until when the store is waited for, if it is.
    pub(super) fn awaited_until(&self) -> Option<Instant> {
        match self {
            Self::Storing { until } => Some(*until),
            Self::NotDue
            | Self::Due { .. }
            | Self::Recording(_)
            | Self::Stored(_)
            | Self::Queued
            | Self::Late => None,
        }
    }

    /// Takes note of the offer as the called client is given it.
    pub(super) fn note_offer(&mut self, given: Option<&Bytes>) {
        if let Self::Due { offer } = self {
            *offer = given.cloned();
        }
    }

    /// What the session's record says of it.
    pub(super) fn record(&self) -> Option<cdr::History> {
        match self {
            Self::NotDue | Self::Due { .. } => None,
            Self::Stored(uid) => Some(cdr::History::Stored {
                uid: uid.to_string(),
            }),
            Self::Queued => Some(cdr::History::Queued),
            Self::Recording(_) | Self::Storing { .. } | Self::Late => Some(cdr::History::Late),
        }
    }
}

impl Session {
    /// The side of the client that the relay serves.
    pub(super) fn served(&self) -> Side {
        match self.role {
            Role::Originating => Side::A,
            Role::Terminating => Side::B,
        }
    }

    /// Whether the served client is on a side: an interworked user has none in the session.
    pub(super) fn serves(&self, side: Side) -> bool {
        side == self.served() && (side == Side::A || self.interworked.is_none())
    }

    /// The Message-UID that a BYE to a side, or the 200 to its BYE, carries: it tells the served
    /// client, and nobody else, where its history is (HST-02, CON-06).
    pub(super) fn uid_for(&self, side: Side) -> Option<&Text> {
        match &self.history {
            History::Stored(uid) if self.serves(side) => Some(uid),
            _ => None,
        }
    }
}

impl Engine {
    /// Takes what became of a history.
    pub fn handle_history(&mut self, now: Instant, told: Told) {
        self.now = now;
        self.on_told(told);
        self.take_events();
    }

    fn on_told(&mut self, told: Told) {
        self.with(SessionId(told.session), |engine, session| {
            let is_asked = matches!(
                session.history,
                History::Storing { .. } | History::Queued | History::Late
            );
            if !is_asked {
                return;
            }
            session.history = match told.uid {
                Ok(uid) => {
                    engine.counters.histories_stored += 1;
                    History::Stored(uid.into())
                }
                Err(NotYet::Queued) => {
                    engine.counters.histories_queued += 1;
                    History::Queued
                }
            };
            if matches!(session.stage, Stage::Closing(_)) {
                engine.advance_closing(session);
            }
        });
    }

    /// The session is answered: what is recorded from now on is its history.
    pub(super) fn begin_history(
        &mut self,
        session: &mut Session,
        invite: &Message,
        given: &Message,
    ) {
        let History::Due { offer } = &mut session.history else {
            return;
        };
        // A late offer is in the 2xx.
        let offer = offer
            .take()
            .or_else(|| body::sdp(invite))
            .or_else(|| body::sdp(given));
        let facts = self.history_facts(session, invite, offer);
        let ask = Ask::Begin(Box::new(facts.clone()));
        self.outputs.push_back(Output::History(Box::new(ask)));
        session.history = History::Recording(Box::new(Recording {
            facts,
            streams: live_streams(session),
            renewals_left: limits::HISTORY_RENEWALS,
        }));
    }

    /// An offer inside the session was answered: the streams that it added, such as a file's, are
    /// described in it.
    pub(super) fn renew_history(&mut self, session: &mut Session, request: &Message) {
        let streams = live_streams(session);
        let History::Recording(recording) = &mut session.history else {
            return;
        };
        let is_more = streams.0 & !recording.streams.0 != 0;
        recording.streams = streams;
        let Some(offer) = body::sdp(request).filter(|_| is_more) else {
            return;
        };
        if recording.renewals_left == 0 {
            return;
        }
        recording.renewals_left -= 1;
        recording.facts.sdp = Some(offer);
        let ask = Ask::Begin(Box::new(recording.facts.clone()));
        self.outputs.push_back(Output::History(Box::new(ask)));
    }

    fn history_facts(&self, session: &Session, invite: &Message, offer: Option<Bytes>) -> Facts {
        let headers = &invite.headers;
        let text = |name| headers.get(name).map(str::to_owned);
        let party = |party: &Option<Text>| party.as_ref().map(Text::to_string).unwrap_or_default();
        let begun = session.facts.begun.unwrap_or(self.now);
        let called = match session.role {
            Role::Originating => &session.facts.peer,
            Role::Terminating => &session.facts.served_user,
        };
        let group = group_of(session, invite);
        let listed = group.iter().flat_map(|group| &group.participants);
        let listed = listed.filter(|_| session.role == Role::Originating);
        let mut invited: Vec<String> = listed.cloned().collect();
        if invited.is_empty() {
            invited.extend(called.iter().map(Text::to_string));
        }
        Facts {
            session: session.id.0,
            served_user: party(&session.facts.served_user),
            peer: party(&session.facts.peer),
            is_sent: session.role == Role::Originating,
            conversation_id: text(Name::ConversationId),
            contribution_id: text(Name::ContributionId),
            in_reply_to: text(Name::InReplyToContributionId),
            subject: text(Name::Subject),
            service: text(Name::PAssertedService),
            accept_contact: headers
                .values(Name::AcceptContact)
                .map(str::to_owned)
                .collect(),
            invited,
            group,
            sdp: offer,
            begun: self.wall(begun),
        }
    }

    /// The session has ended and its media are released: the store is asked, once.
    ///
    /// `is_end_unmarked`: the worker will not mark the end of what it recorded.
    pub(super) fn finish_history(&mut self, session: &mut Session, is_end_unmarked: bool) {
        if !matches!(session.history, History::Recording(_)) {
            return;
        }
        let Some(deadline) = session.settings.store_deadline else {
            return;
        };
        self.counters.histories_due += 1;
        session.history = History::Storing {
            until: self.now + deadline,
        };
        let ended = session.facts.ended.unwrap_or(self.now);
        let ask = Ask::Finish {
            session: session.id.0,
            ended: self.wall(ended),
            worker_lost: is_end_unmarked,
        };
        self.outputs.push_back(Output::History(Box::new(ask)));
    }

    /// Nobody waits for the store beyond its deadline.
    pub(super) fn expire_history(&mut self, session: &mut Session) {
        if session
            .history
            .awaited_until()
            .is_some_and(|until| until <= self.now)
        {
            self.counters.histories_late += 1;
            session.history = History::Late;
            tracing::warn!(
                session = session.id.0,
                "the history store is late: the session closes without its Message-UID"
            );
        }
    }
}

/// The group session that the far side hosts: its focus says so in its Contact (RFC 4579 §3.1).
fn group_of(session: &Session, invite: &Message) -> Option<Group> {
    let far = match session.served() {
        Side::A => Side::B,
        Side::B => Side::A,
    };
    let contact = session.leg(far).contact.as_ref()?;
    let contact = NameAddr::parse(contact).ok()?;
    contact.param("isfocus")?;
    let identity = contact.uri.to_owned();
    let listed = resource_list::of(invite).unwrap_or_default();
    let (called, participants) = match session.role {
        Role::Originating => (invite.request_uri(), listed.clone()),
        Role::Terminating => {
            let by = invite.headers.get(Name::ReferredBy);
            let by = by.and_then(|by| NameAddr::parse(by).ok());
            let by = by.map(|by| by.uri.to_owned());
            let all = by.into_iter().chain(listed.clone()).collect();
            (session.facts.peer.as_deref(), all)
        }
    };
    // Ad-hoc ones are begun with a list, and have no name but the session's own.
    let is_itself = called.is_some_and(|uri| user_key(uri) == user_key(&identity));
    let is_ad_hoc = is_itself || (session.role == Role::Originating && !listed.is_empty());
    Some(Group {
        identity,
        is_defined: !is_ad_hoc,
        participants,
    })
}

/// The streams that a session has now.
fn live_streams(session: &Session) -> StreamSet {
    let streams = session.media.streams();
    let live = streams.filter(|stream| !stream.released);
    live.fold(StreamSet::default(), |set, stream| set.with(stream.id))
}
