//! BYE, expiry, loss: the media are released first, then the history is stored, then others are told
//! (000 8.2.2.3, 8.3.2.3; CON-01..06).
//!
//! ```text
//! BYE ─▶ Releasing ─┬─▶ Storing ─▶ Telling ─▶ Concluding ─▶ end
//!                   └────────────────▲
//! ```
//!
//! | who ends it | `after_far_end` | `immediate` | `immediate_after_store` |
//! |---|---|---|---|
//! | the served client | BYE, far 200 beside the store, 200 + UID | 200, BYE | store, 200 + UID, BYE |
//! | the network | store, BYE + UID, its 200, 200 | 200, store, BYE + UID | store, 200, BYE + UID |
//! | the relay itself | store, BYE + UID to the client, BYE to the other | the same | the same |
//!
//! Each wait has its deadline: the store's, and the far side's, whose BYE goes on until Timer F.

use std::time::Instant;

use bytes::Bytes;
use dataplane::api::{SessionId, Side, StreamSet};

use super::orders::After;
use super::session::{Deferred, DialogKey, Session, Stage};
use super::{ByeAck, Engine, Output, Purpose};
use crate::cpm::passing;
use crate::limits;
use crate::sip::{ClientKey, Dialog, Message, Method, Name, ServerKey, Text};

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A side sent BYE.
    Bye(Side),
    /// Side A gave up before the answer.
    Cancelled,
    /// The INVITE was refused, or got no answer.
    Refused,
    /// An offer or an answer could not be taken.
    NotAcceptable,
    /// It rang too long.
    RangTooLong,
    /// No port was left.
    NoPort,
    /// Nobody refreshed it (RFC 4028).
    Expired,
    /// A 2xx was never acknowledged.
    AckMissing,
    /// A request inside it was answered 481 or not at all.
    FarGone,
    /// No media came for too long.
    Silence,
    /// Its worker is gone.
    WorkerLost,
    /// The relay is being stopped.
    Drained,
}

impl Why {
    /// The Reason header of a BYE that no side sent (RFC 3326).
    fn reason(self) -> &'static str {
        match self {
            Self::Expired => "SIP;cause=408;text=\"Session expired\"",
            Self::AckMissing => "SIP;cause=408;text=\"ACK missing\"",
            Self::FarGone => "SIP;cause=481;text=\"Dialog gone\"",
            Self::Silence => "SIP;cause=408;text=\"No media\"",
            Self::WorkerLost => "SIP;cause=500;text=\"Media lost\"",
            Self::Drained => "SIP;cause=503;text=\"Shutting down\"",
            Self::Bye(_)
            | Self::Cancelled
            | Self::Refused
            | Self::NotAcceptable
            | Self::RangTooLong
            | Self::NoPort => "SIP;cause=488;text=\"Not acceptable\"",
        }
    }
}

/// A session that is being closed.
pub(super) struct Closing {
    why: Why,
    /// The BYE that began it, and the side that sent it.
    begun_by: Option<(Side, Message)>,
    /// BYEs without their 200.
    owed: Vec<Owed>,
    /// Sides that have sent BYE: their dialogs are over, and get none (RFC 3261 §15.1.2).
    left: [bool; 2],
    phase: Phase,
}

/// A BYE that waits for its 200.
struct Owed {
    side: Side,
    key: ServerKey,
    bye: Message,
    /// It began the closing: the far side's answer comes first. One that crosses doesn't wait.
    is_first: bool,
}

/// How far a closing is.
enum Phase {
    /// The worker releases the media: nobody is told before it has.
    Releasing,
    /// The store is waited for, as its UID goes into what is sent next.
    Storing,
    /// BYEs are out.
    Telling {
        /// Those without a final response.
        waiting: Vec<ClientKey>,
        /// The far side's 200.
        far: Option<Box<Message>>,
        /// When the near side is answered without it.
        answer_by: Instant,
    },
    /// Every far end has answered or was given up; the store is waited for.
    Concluding {
        /// The far side's 200.
        far: Option<Box<Message>>,
    },
}

impl Closing {
    /// Whether the BYE that began it need not wait for the far side, or any longer.
    fn is_far_done(&self, now: Instant) -> bool {
        match &self.phase {
            Phase::Releasing => false,
            // Where both sides have left, nobody is to be told.
            Phase::Storing => self.left == [true; 2],
            Phase::Telling {
                waiting, answer_by, ..
            } => waiting.is_empty() || *answer_by <= now,
            Phase::Concluding { .. } => true,
        }
    }

    /// The far side's 200.
    fn far(&self) -> Option<&Message> {
        match &self.phase {
            Phase::Releasing | Phase::Storing => None,
            Phase::Telling { far, .. } | Phase::Concluding { far } => far.as_deref(),
        }
    }
}

impl Engine {
    pub(super) fn on_bye(
        &mut self,
        session: &mut Session,
        side: Side,
        key: ServerKey,
        bye: Message,
    ) {
        match &mut session.stage {
            Stage::Talking => self.close(session, Some((side, key, bye)), Why::Bye(side)),
            Stage::Answering(_) if !matches!(session.deferred, Some(Deferred::Bye(..))) => {
                session.deferred = Some(Deferred::Bye(side, key, Box::new(bye)));
            }
            Stage::Opening(_) | Stage::Inviting(_) if side == Side::A => {
                // RFC 3261 §15: a caller may end an early dialog with BYE.
                self.reply(key, &bye, 200, "OK");
                self.give_up(session, Why::Cancelled, 487, &[]);
            }
            // Only after its 2xx, which was lost then: the 2xx will come again and be ended.
            Stage::Opening(_) | Stage::Inviting(_) => {
                self.reply(key, &bye, 200, "OK");
                if !self.leave_branch(session, &bye) {
                    self.give_up(session, Why::Bye(Side::B), 480, &[]);
                }
            }
            // BYEs that cross: each gets its 200, but none before the release.
            Stage::Closing(closing) if closing.owed.len() < limits::RELAYED_PER_SESSION => {
                closing.left[side.index()] = true;
                closing.owed.push(Owed {
                    side,
                    key,
                    bye,
                    is_first: false,
                });
                self.advance_closing(session);
            }
            Stage::Answering(_)
            | Stage::Closing(_)
            | Stage::Failing
            | Stage::Cancelled { .. }
            | Stage::Ended => {
                self.reply(key, &bye, 200, "OK");
            }
        }
    }

    /// Ends a session for a reason of our own, whatever its stage.
    pub(super) fn end_session(&mut self, id: SessionId, why: Why) {
        self.with(id, |engine, session| match session.stage {
            Stage::Talking => engine.close(session, None, why),
            Stage::Opening(_) | Stage::Inviting(_) => engine.give_up(session, why, 503, &[]),
            Stage::Answering(_) => {
                session.deferred.get_or_insert(Deferred::Own(why));
            }
            Stage::Failing | Stage::Cancelled { .. } | Stage::Closing(_) | Stage::Ended => {}
        });
    }

    /// Begins to close a session: whatever is under way in it ends, and its media are released.
    pub(super) fn close(
        &mut self,
        session: &mut Session,
        by: Option<(Side, ServerKey, Message)>,
        why: Why,
    ) {
        self.end_relayed(session);
        session.exchange = None;
        session.deadline = None;
        session.facts.end = Some(why);
        session.facts.ended = Some(self.now);
        let mut closing = Closing {
            why,
            begun_by: None,
            owed: Vec::new(),
            left: [false; 2],
            phase: Phase::Releasing,
        };
        if let Some((side, key, bye)) = by {
            closing.left[side.index()] = true;
            closing.begun_by = Some((side, bye.clone()));
            closing.owed.push(Owed {
                side,
                key,
                bye,
                is_first: true,
            });
        }
        session.stage = Stage::Closing(Box::new(closing));
        self.order_release(session, StreamSet::ALL, After::Closed);
    }

    /// RFC 3261 §15.1.2: requests that are still pending are answered 487.
    pub(super) fn end_relayed(&mut self, session: &mut Session) {
        for relayed in std::mem::take(&mut session.relayed) {
            self.untrack_invite(session, relayed.server);
            if let Some(client) = relayed.client {
                self.clients.remove(&client);
                // An INVITE that rings has no time limit of its own.
                self.cancel_on(session, client, &[]);
            }
            self.reply(relayed.server, &relayed.request, 487, "Request Terminated");
        }
    }

    /// The worker has released everything: now, and not before, others are told.
    ///
    /// `is_refused`: there is no such session at the worker, or no such worker.
    pub(super) fn on_media_released(&mut self, session: &mut Session, is_refused: bool) {
        let Stage::Closing(closing) = &mut session.stage else {
            return;
        };
        if !matches!(closing.phase, Phase::Releasing) {
            return;
        }
        closing.phase = Phase::Storing;
        self.finish_history(session, is_refused);
        self.advance_closing(session);
    }

    /// Goes as far as it can: answers what can be answered, and tells whom it can.
    pub(super) fn advance_closing(&mut self, session: &mut Session) {
        self.expire_history(session);
        let is_stored = session.history.awaited_until().is_none();
        loop {
            self.answer_byes(session, is_stored);
            let stores_first = self.stores_first(session);
            let Stage::Closing(closing) = &mut session.stage else {
                return;
            };
            match &mut closing.phase {
                Phase::Releasing => return,
                Phase::Storing if stores_first && !is_stored => break,
                Phase::Storing => self.tell(session),
                Phase::Telling { waiting, .. } if !waiting.is_empty() => break,
                Phase::Telling { far, .. } => {
                    let far = far.take();
                    closing.phase = Phase::Concluding { far };
                }
                Phase::Concluding { .. } if is_stored => {
                    session.stage = Stage::Ended;
                    return;
                }
                Phase::Concluding { .. } => break,
            }
        }
        let at = self.next_closing_deadline(session);
        self.set_deadline_at(session, at);
    }

    /// Whether the store has the history before anybody is told: always where the network or the
    /// relay itself ends the session, as the client's BYE carries the UID.
    fn stores_first(&self, session: &Session) -> bool {
        let Stage::Closing(closing) = &session.stage else {
            return false;
        };
        let is_by_served = closing
            .begun_by
            .as_ref()
            .is_some_and(|(side, _)| session.serves(*side));
        !is_by_served || session.settings.bye_ack == ByeAck::ImmediateAfterStore
    }

    /// Sends BYE to every side that is to be told.
    fn tell(&mut self, session: &mut Session) {
        let Stage::Closing(closing) = &mut session.stage else {
            return;
        };
        let (why, left, begun_by) = (closing.why, closing.left, closing.begun_by.take());
        let mut waiting = Vec::new();
        for side in Side::BOTH {
            // With a function that has left, the others are told (BYO-09).
            let has_others = side == Side::B && session.has_functions();
            if left[side.index()] && !has_others {
                continue;
            }
            let sent = match &begun_by {
                Some((_, bye)) => {
                    self.bye_to(session, side, Some((&bye.headers, bye.body.clone())))
                }
                None => self.bye_because(session, side, why),
            };
            waiting.extend(sent);
        }
        if let Stage::Closing(closing) = &mut session.stage {
            closing.begun_by = begun_by;
            closing.phase = Phase::Telling {
                waiting,
                far: None,
                answer_by: self.now + session.settings.bye_far_deadline,
            };
        }
    }

    /// When something in a closing is due.
    fn next_closing_deadline(&self, session: &Session) -> Option<Instant> {
        let Stage::Closing(closing) = &session.stage else {
            return None;
        };
        let answer_by = match &closing.phase {
            Phase::Telling { answer_by, .. } if *answer_by > self.now => {
                let is_waited_for = closing.owed.iter().any(|owed| owed.is_first);
                is_waited_for.then_some(*answer_by)
            }
            _ => None,
        };
        let stored = session.history.awaited_until();
        stored.into_iter().chain(answer_by).min()
    }

    pub(super) fn bye_because(
        &mut self,
        session: &mut Session,
        side: Side,
        why: Why,
    ) -> Option<ClientKey> {
        let mut headers = crate::sip::Headers::default();
        headers.push(Name::Reason, why.reason());
        self.bye_to(session, side, Some((&headers, Bytes::new())))
    }

    /// Sends a BYE on a leg, with the header fields and the body that travel end to end.
    pub(super) fn bye_to(
        &mut self,
        session: &mut Session,
        side: Side,
        carried: Option<(&crate::sip::Headers, Bytes)>,
    ) -> Option<ClientKey> {
        let dialog = session.leg_mut(side).dialog.as_mut()?;
        let mut bye = dialog.request(Method::Bye);
        let routed = !dialog.route_set.is_empty();
        let flow = self.flow_in_dialog(dialog.next_hop(), dialog.flow, routed);
        if let Some((headers, body)) = carried {
            passing::pass(headers, &mut bye.headers);
            bye.body = body;
        }
        if let Some(uid) = session.uid_for(side) {
            bye.headers.push(Name::MessageUid, uid.clone());
        }
        let client = self.send_on(session, side, bye, flow).ok()?;
        self.clients.insert(client, Purpose::Bye(session.id));
        Some(client)
    }

    pub(super) fn on_bye_final(
        &mut self,
        id: SessionId,
        client: ClientKey,
        response: Option<&Message>,
    ) {
        self.with(id, |engine, session| {
            let Stage::Closing(closing) = &mut session.stage else {
                return;
            };
            if let Phase::Telling { waiting, far, .. } = &mut closing.phase {
                waiting.retain(|waiting| *waiting != client);
                if let Some(response) = response.filter(|response| response.code() == Some(200)) {
                    *far = Some(Box::new(response.clone()));
                }
                engine.advance_closing(session);
            }
        });
    }

    /// Answers the BYEs whose 200 is due.
    fn answer_byes(&mut self, session: &mut Session, is_stored: bool) {
        let served = session.served();
        let Stage::Closing(closing) = &mut session.stage else {
            return;
        };
        if matches!(closing.phase, Phase::Releasing) || closing.owed.is_empty() {
            return;
        }
        let is_far_done = closing.is_far_done(self.now);
        let bye_ack = session.settings.bye_ack;
        let is_due = |owed: &Owed| match bye_ack {
            ByeAck::Immediate => true,
            ByeAck::ImmediateAfterStore => is_stored,
            ByeAck::AfterFarEnd => {
                (is_stored || owed.side != served) && (is_far_done || !owed.is_first)
            }
        };
        let (due, owed) = std::mem::take(&mut closing.owed)
            .into_iter()
            .partition(is_due);
        closing.owed = owed;
        let due: Vec<Owed> = due;
        let answers: Vec<(ServerKey, Message)> = due
            .into_iter()
            .map(|owed| (owed.key, answer_to(session, &owed)))
            .collect();
        for (key, response) in answers {
            self.respond(key, response);
        }
    }

    /// What a session waited for has not come in time.
    pub(super) fn on_session_deadline(&mut self, session: &mut Session) {
        session.deadline = None;
        match session.stage {
            Stage::Inviting(_) => {
                let reason = Text::from("SIP;cause=408;text=\"Request Timeout\"");
                self.give_up(session, Why::RangTooLong, 408, &[reason]);
            }
            Stage::Talking => {
                self.counters.expired += 1;
                self.close(session, None, Why::Expired);
            }
            // Nobody waits longer; the far side's BYE goes on until Timer F.
            Stage::Closing(_) => self.advance_closing(session),
            Stage::Answering(_) => self.on_again_deadline(session),
            Stage::Opening(_) | Stage::Failing | Stage::Cancelled { .. } | Stage::Ended => {}
        }
    }

    /// A 2xx of ours was never acknowledged (RFC 3261 §13.3.1.4): the session ends.
    pub(super) fn on_ack_missing(&mut self, key: ServerKey) {
        if self.on_seat_ack_missing(key) {
            return;
        }
        if let Some(id) = self.invites.remove(&key) {
            self.end_session(id, Why::AckMissing);
        }
    }

    /// A 2xx of an INVITE whose session is answered otherwise, or gone: ACK and BYE, so that no
    /// dialog is left (RFC 3261 §13.2.2.4).
    pub(super) fn end_fork(&mut self, client: ClientKey, response: &Message) {
        let Some(sent) = self.tx.invite_of(client) else {
            return;
        };
        let Some(flow) = self.tx.flow_of(client) else {
            return;
        };
        let Ok(mut dialog) = Dialog::uac(sent, response, flow) else {
            return;
        };
        let Some((seq, _)) = response.cseq() else {
            return;
        };
        let routed = !dialog.route_set.is_empty();
        let flow = self.flow_in_dialog(dialog.next_hop(), dialog.flow, routed);
        self.tx.send_ack(dialog.ack(seq), flow);
        let bye = dialog.request(Method::Bye);
        if let Ok(client) = self.tx.request(self.now, bye, flow) {
            self.clients.insert(client, Purpose::Orphan);
        }
    }

    /// A response nobody waits for: a 2xx that came again is acknowledged again.
    pub(super) fn end_stray_fork(&mut self, client: ClientKey, response: &Message) {
        let is_success = response
            .code()
            .is_some_and(|code| (200..300).contains(&code));
        if !is_success || !matches!(response.cseq(), Some((_, Method::Invite))) {
            return;
        }
        if self.acknowledge_member_again(client, response) {
            return;
        }
        let key = DialogKey {
            call_id: response.call_id().to_owned().into(),
            local_tag: response.from_tag().unwrap_or_default().to_owned().into(),
        };
        let Some(place) = self.dialogs.get(&key).copied() else {
            self.end_fork(client, response);
            return;
        };
        self.with(place.session, |engine, session| {
            if engine.acknowledge_function_again(session, response) {
                return;
            }
            let is_ours = session
                .leg(place.side)
                .dialog
                .as_ref()
                .is_some_and(|dialog| {
                    response
                        .to_tag()
                        .is_some_and(|tag| *dialog.remote_tag == *tag)
                });
            if is_ours {
                engine.acknowledge_again(session, place.side, response);
            } else {
                engine.end_fork(client, response);
            }
        });
    }

    /// Forgets a session that has ended, and writes its record.
    pub(super) fn forget(&mut self, mut session: Session) {
        session.facts.ended.get_or_insert(self.now);
        self.end_relayed(&mut session);
        self.forget_far(&mut session);
        if let Some(Deferred::Bye(_, key, bye)) = session.deferred.take() {
            self.reply(key, &bye, 200, "OK");
        }
        for branch in std::mem::take(&mut session.branches) {
            self.forget_branch(&branch);
        }
        let tags = std::mem::take(&mut session.tags_to_a);
        for side in Side::BOTH {
            let leg = session.leg(side);
            self.dialogs.remove(&DialogKey {
                call_id: leg.call_id.clone(),
                local_tag: leg.local_tag.clone(),
            });
        }
        for tag in tags {
            let call_id = session.leg(Side::A).call_id.clone();
            self.dialogs.remove(&DialogKey {
                call_id,
                local_tag: tag,
            });
        }
        for key in &session.invite_servers {
            self.invites.remove(key);
        }
        if let Some(load) = self.workers.get_mut(session.worker) {
            load.sessions = load.sessions.saturating_sub(1);
        }
        self.counters.sessions_ended += 1;
        let record = self.record(&session);
        self.outputs.push_back(Output::Cdr(Box::new(record)));
    }
}

/// A BYE's 200: the one that began the closing gets what the far side's 200 carries end to end.
fn answer_to(session: &Session, owed: &Owed) -> Message {
    let mut response = Message::response(&owed.bye, 200, "OK");
    let far = match &session.stage {
        Stage::Closing(closing) if owed.is_first => closing.far(),
        _ => None,
    };
    if let Some(far) = far {
        passing::pass(&far.headers, &mut response.headers);
        response.body = far.body.clone();
    }
    if let Some(uid) = session.uid_for(owed.side) {
        response.headers.push(Name::MessageUid, uid.clone());
    }
    response
}
