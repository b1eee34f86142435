//! Interworked sessions: a far side of several dialogs, each with an Interworking Function (002
//! 5.3.1, 003 C.4.3, CON-20, CON-21).
//!
//! To every other procedure of the engine side B stays one far end with one dialog. What is sent to
//! it comes here instead of to the wire ([`Engine::send_on`]), is divided among the functions, and
//! their responses come back as one, under the key of a transaction that never was on the wire.
//!
//! | file | procedure |
//! |---|---|
//! | [`begin`] | the decision, at once or after a failure |
//! | [`attempt`] | an offer to the functions, round by round, and its one answer |
//! | [`invite`] | an INVITE to a function, and parts of an offer in its dialog |
//! | [`asking`] | what a function asks |
//! | [`parting`] | BYE, from the session and from a function |
//! | [`tidy`] | streams and functions that have lost each other |
//! | [`describe`] | one description from many, and the other way round |

mod asking;
mod attempt;
mod begin;
mod describe;
mod far;
mod invite;
mod parting;
mod tidy;

use std::time::Instant;

use dataplane::api::{SessionId, Side};

use super::Engine;
use super::session::Session;
use crate::cpm::passing;
use crate::sip::{ClientKey, Flow, Message, Method, Name, ServerKey, Text, TooMany};

pub(super) use far::Far;
use far::{Passed, Sent, What};
pub(super) use parting::Left;

impl Engine {
    /// Sends a request on a side: to its far end, or to the functions that are it.
    ///
    /// # Errors
    ///
    /// [`TooMany`].
    pub(super) fn send_on(
        &mut self,
        session: &mut Session,
        side: Side,
        message: Message,
        flow: Flow,
    ) -> Result<ClientKey, TooMany> {
        let Some(mut far) = session.take_far(side) else {
            return self.tx.request(self.now, message, flow);
        };
        let client = self.no_client();
        match message.method() {
            Some(Method::Invite | Method::Update) if crate::cpm::body::sdp(&message).is_some() => {
                self.begin_attempt(session, &mut far, client, message);
            }
            // Its offer would have to be one of every function.
            Some(Method::Invite) => {
                let refusal = far.response(&message, 488, "Not Acceptable Here", None);
                far.ready.push_back((client, refusal));
            }
            Some(Method::Bye) => self.bye_functions(&mut far, client, message),
            _ => self.pass_to_functions(&mut far, client, message),
        }
        session.interworked = Some(far);
        Ok(client)
    }

    /// Cancels a request that was sent on a side.
    pub(super) fn cancel_on(&mut self, session: &mut Session, client: ClientKey, reasons: &[Text]) {
        if let Some(mut far) = session.interworked.take() {
            self.cancel_attempt(&mut far, client, reasons);
            session.interworked = Some(far);
        }
        self.tx.cancel(self.now, client, reasons);
    }

    /// A name for a transaction that never is on the wire.
    fn no_client(&mut self) -> ClientKey {
        self.next_mark += 1;
        ClientKey::inner(self.next_mark)
    }

    fn no_server(&mut self) -> ServerKey {
        self.next_mark += 1;
        ServerKey::inner(self.next_mark)
    }

    /// Passes a request without an offer on: one that refreshes to every function, another to the
    /// first.
    fn pass_to_functions(&mut self, far: &mut Far, client: ClientKey, request: Message) {
        let is_refresh = request.method() == Some(&Method::Update);
        let most = if is_refresh { usize::MAX } else { 1 };
        let legs: Vec<u32> = far.live().take(most).map(|leg| leg.id).collect();
        for leg in legs {
            self.send_in_leg(far, leg, (&request, What::Passed(client)));
        }
        let best = None;
        far.passed.push(Passed {
            client,
            request,
            best,
        });
        Self::finish_passed(far, client);
    }

    /// Answers a request of the session once every function has answered its part.
    fn finish_passed(far: &mut Far, client: ClientKey) {
        let is_of = |sent: &Sent| matches!(sent.what, What::Passed(of) if of == client);
        if far.sent.iter().any(is_of) {
            return;
        }
        let Some(at) = far.passed.iter().position(|of| of.client == client) else {
            return;
        };
        let passed = far.passed.swap_remove(at);
        let is_bye = passed.request.method() == Some(&Method::Bye);
        let response = match passed.best {
            Some(best) => {
                let (code, reason) = (best.code().unwrap_or(500), best.reason());
                far.response(&passed.request, code, &reason, Some(&best))
            }
            // Whoever isn't there any more has left.
            None if is_bye => far.response(&passed.request, 200, "OK", None),
            None => far.response(&passed.request, 480, "Temporarily Unavailable", None),
        };
        far.ready.push_back((client, response));
    }

    /// A function's response, or that none came.
    pub(super) fn on_function_response(
        &mut self,
        id: SessionId,
        client: ClientKey,
        response: Result<Message, u16>,
    ) {
        let code = match &response {
            Ok(response) => response.code().unwrap_or(0),
            Err(code) => *code,
        };
        let was_there = self.with(id, |engine, session| {
            let Some(mut far) = session.interworked.take() else {
                return;
            };
            if code < 200 {
                if let Ok(response) = response {
                    Self::on_function_rings(&mut far, client, &response);
                }
            } else if let Some(sent) = far.take_sent(client) {
                engine.clients.remove(&client);
                engine.on_function_final(session, &mut far, sent, (code, response.ok()));
            }
            session.interworked = Some(far);
        });
        if was_there.is_none() && code >= 200 {
            self.clients.remove(&client);
        }
    }

    fn on_function_final(
        &mut self,
        session: &Session,
        far: &mut Far,
        sent: Sent,
        (code, response): (u16, Option<Message>),
    ) {
        let is_success = (200..300).contains(&code);
        let is_invite = matches!(
            response.as_ref().and_then(Message::cseq),
            Some((_, Method::Invite))
        );
        match sent.what {
            What::Offer { before } => {
                let (answer, refusal) = if is_success {
                    (response, None)
                } else {
                    (None, response)
                };
                match answer {
                    Some(answer) => {
                        let answer = (sent.client, answer);
                        self.on_function_answer(far, (sent.leg, before), answer);
                    }
                    None => self.on_function_refusal(far, (sent.leg, before), (code, refusal)),
                }
                self.advance_attempt(session, far);
            }
            What::Passed(client) => {
                let passed = far.passed.iter_mut().find(|passed| passed.client == client);
                if let (Some(passed), Some(response)) = (passed, response) {
                    let has_success = passed.best.as_ref().is_some_and(is_ok);
                    if passed.best.is_none() || (is_success && !has_success) {
                        passed.best = Some(response);
                    }
                }
                Self::finish_passed(far, client);
            }
            What::Removal => {
                if let Some(response) = response.filter(|_| is_success && is_invite) {
                    self.acknowledge_function(far, sent.leg, &response);
                }
            }
        }
    }

    /// A 2xx of a function that came again is acknowledged again; whether it is one of a leg.
    pub(super) fn acknowledge_function_again(
        &mut self,
        session: &mut Session,
        response: &Message,
    ) -> bool {
        let Some(far) = session.interworked.take() else {
            return false;
        };
        let leg = far.leg_of(response.call_id(), response.from_tag().unwrap_or_default());
        let is_ours = leg
            .and_then(|leg| far.leg(leg)?.dialog.as_ref())
            .is_some_and(|dialog| response.to_tag() == Some(dialog.remote_tag.as_str()));
        if let Some(leg) = leg.filter(|_| is_ours) {
            self.acknowledge_function(&far, leg, response);
        }
        session.interworked = Some(far);
        is_ours
    }

    fn acknowledge_function(&mut self, far: &Far, leg: u32, response: &Message) {
        let dialog = far.leg(leg).and_then(|leg| leg.dialog.as_ref());
        if let (Some(dialog), Some((seq, _))) = (dialog, response.cseq()) {
            let routed = !dialog.route_set.is_empty();
            let flow = self.flow_in_dialog(dialog.next_hop(), dialog.flow, routed);
            let ack = dialog.ack(seq);
            self.tx.send_ack(ack, flow);
        }
    }

    /// Gives the session what its far side has answered.
    pub(super) fn give_ready(&mut self, id: SessionId) {
        loop {
            let session = self.sessions.get_mut(&id.0);
            let far = session.and_then(|session| session.interworked.as_mut());
            let Some((client, response)) = far.and_then(|far| far.ready.pop_front()) else {
                return;
            };
            self.on_response(client, response);
        }
    }

    /// Wakes a session's far side at a time.
    fn wake_far(&mut self, id: SessionId, at: Instant) {
        self.far_deadlines.push(std::cmp::Reverse((at, id.0)));
    }

    /// What far sides wait for is due.
    pub(super) fn handle_far_timeout(&mut self, now: Instant) {
        while let Some(std::cmp::Reverse((at, id))) = self.far_deadlines.peek().copied() {
            if at > now {
                return;
            }
            self.far_deadlines.pop();
            self.with(SessionId(id), |engine, session| {
                if let Some(mut far) = session.interworked.take() {
                    engine.expire_attempt(&mut far);
                    session.interworked = Some(far);
                }
            });
        }
    }

    /// Forgets the far side of a session that is over. Whoever is still asked is told that nobody
    /// waits, whoever is still there that it is over.
    pub(super) fn forget_far(&mut self, session: &mut Session) {
        let Some(mut far) = session.interworked.take() else {
            return;
        };
        if let Some(attempt) = far.attempt.take() {
            self.clients.remove(&attempt.client);
        }
        for passed in std::mem::take(&mut far.passed) {
            self.clients.remove(&passed.client);
        }
        for asked in &far.asked {
            self.watched.remove(&asked.server);
        }
        if let far::Deletion::Asked(server) = far.deletion {
            self.watched.remove(&server);
        }
        for (_, key, bye) in std::mem::take(&mut far.leaving) {
            self.reply(key, &bye, 200, "OK");
        }
        self.let_go(&mut far, &[]);
        for leg in std::mem::take(&mut far.legs) {
            self.drop_leg(&leg);
        }
        // The record names whom it had.
        session.interworked = Some(far);
    }

    /// Notes the final response to a request that an interworked session watches.
    pub(super) fn watch_response(&mut self, key: ServerKey, code: u16) {
        if code >= 200
            && let Some(seen) = self.watched.get_mut(&key)
        {
            *seen = Some(code);
        }
    }
}

impl Session {
    /// The functions that are the far end of a side; to be put back.
    fn take_far(&mut self, side: Side) -> Option<Box<Far>> {
        self.interworked.take_if(|_| side == Side::B)
    }

    /// Whether Interworking Functions are left in the session.
    pub(super) fn has_functions(&self) -> bool {
        let far = self.interworked.as_ref();
        far.is_some_and(|far| far.live().next().is_some())
    }
}

impl Far {
    /// A response of the far end that the session sees.
    fn response(
        &self,
        request: &Message,
        code: u16,
        reason: &str,
        carried: Option<&Message>,
    ) -> Message {
        let mut response = Message::response(request, code, reason.to_owned());
        if response.to_tag().is_none() && code > 100 {
            response.set_to_tag(&self.tag);
        }
        if let Some(carried) = carried {
            passing::pass(&carried.headers, &mut response.headers);
            let contacts = carried.headers.values(Name::Contact).next();
            if let Some(contact) = contacts {
                response.headers.push(Name::Contact, contact.to_owned());
            }
            response.body = carried.body.clone();
        }
        response
    }
}

fn is_ok(response: &Message) -> bool {
    response
        .code()
        .is_some_and(|code| (200..300).contains(&code))
}
