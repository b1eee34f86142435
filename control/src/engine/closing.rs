//! BYE, expiry, loss: the media are released first, then the far side is told (000 8.2.2.3,
//! 8.3.2.3; CON-01).
//!
//! ```text
//! BYE ─▶ release (worker) ─▶ [200 if immediate] ─▶ BYE to the far side ─▶ its final ─▶ [200] ─▶ end
//!                                                        └─ deadline ─▶ [200], final or Timer F ─▶ end
//! ```

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
    /// The BYE that began it.
    by: Option<(Side, ServerKey, Message)>,
    why: Why,
    /// The media are released.
    is_released: bool,
    /// BYEs that crossed it and wait for the release.
    crossed: Vec<(ServerKey, Message)>,
    /// The BYE that began it is answered.
    is_answered: bool,
    /// BYEs of ours without a final response.
    waiting: Vec<ClientKey>,
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
            Stage::Closing(closing)
                if !closing.is_released && closing.crossed.len() < limits::RELAYED_PER_SESSION =>
            {
                closing.crossed.push((key, bye));
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
        let closing = Closing {
            by,
            why,
            is_released: false,
            crossed: Vec::new(),
            is_answered: false,
            waiting: Vec::new(),
        };
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
                self.tx.cancel(self.now, client, &[]);
            }
            self.reply(relayed.server, &relayed.request, 487, "Request Terminated");
        }
    }

    /// The worker has released everything: now, and not before, others are told.
    pub(super) fn on_media_released(&mut self, session: &mut Session) {
        let Stage::Closing(closing) = &mut session.stage else {
            return;
        };
        if std::mem::replace(&mut closing.is_released, true) {
            return;
        }
        let why = closing.why;
        for (key, bye) in std::mem::take(&mut closing.crossed) {
            self.reply(key, &bye, 200, "OK");
        }
        let begun_by = closing
            .by
            .as_ref()
            .map(|(side, _, bye)| (*side, bye.clone()));
        let is_early = self.settings.bye_ack != ByeAck::AfterFarEnd;
        if is_early {
            self.answer_bye(session, None);
        }
        let targets: &[Side] = match begun_by.as_ref().map(|(side, _)| side) {
            Some(Side::A) => &[Side::B],
            Some(Side::B) => &[Side::A],
            None => &Side::BOTH,
        };
        for target in targets {
            let bye = begun_by.as_ref().map(|(_, bye)| bye);
            let client = match bye {
                Some(bye) => self.bye_to(session, *target, Some((&bye.headers, bye.body.clone()))),
                None => self.bye_because(session, *target, why),
            };
            if let (Some(client), Stage::Closing(closing)) = (client, &mut session.stage) {
                closing.waiting.push(client);
            }
        }
        if begun_by.is_some() && !is_early {
            self.set_deadline(session, self.settings.bye_far_deadline);
        }
        self.finish_closing(session, None);
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
        let client = self.tx.request(self.now, bye, flow).ok()?;
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
            if let Stage::Closing(closing) = &mut session.stage {
                closing.waiting.retain(|waiting| *waiting != client);
                engine.finish_closing(session, response);
            }
        });
    }

    /// Answers the BYE once nothing is waited for, and ends the session.
    fn finish_closing(&mut self, session: &mut Session, far: Option<&Message>) {
        let Stage::Closing(closing) = &session.stage else {
            return;
        };
        if closing.is_released && closing.waiting.is_empty() {
            self.answer_bye(session, far);
            session.stage = Stage::Ended;
        }
    }

    /// The BYE's 200, with what the far side's 200 carries end to end.
    fn answer_bye(&mut self, session: &mut Session, far: Option<&Message>) {
        let Stage::Closing(closing) = &mut session.stage else {
            return;
        };
        if std::mem::replace(&mut closing.is_answered, true) {
            return;
        }
        let Some((_, key, bye)) = &closing.by else {
            return;
        };
        let mut response = Message::response(bye, 200, "OK");
        if let Some(far) = far.filter(|far| far.code() == Some(200)) {
            passing::pass(&far.headers, &mut response.headers);
            response.body = far.body.clone();
        }
        let key = *key;
        self.respond(key, response);
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
            // The near side needn't wait longer; the far side's BYE goes on until Timer F.
            Stage::Closing(_) => self.answer_bye(session, None),
            Stage::Answering(_) => self.on_again_deadline(session),
            Stage::Opening(_) | Stage::Failing | Stage::Cancelled { .. } | Stage::Ended => {}
        }
    }

    /// A 2xx of ours was never acknowledged (RFC 3261 §13.3.1.4): the session ends.
    pub(super) fn on_ack_missing(&mut self, key: ServerKey) {
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
        let key = DialogKey {
            call_id: response.call_id().to_owned().into(),
            local_tag: response.from_tag().unwrap_or_default().to_owned().into(),
        };
        let Some(place) = self.dialogs.get(&key).copied() else {
            self.end_fork(client, response);
            return;
        };
        self.with(place.session, |engine, session| {
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
