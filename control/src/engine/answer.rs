//! What side B answers to the INVITE: its early dialogs, its 2xx, and the answer in either.

use bytes::Bytes;
use dataplane::api::{Act, Side};

use super::Engine;
use super::again::settle;
use super::closing::Why;
use super::invite::{is_reliable, not_acceptable, push_release, replace_or_drop, union};
use super::orders::After;
use super::session::{Carrier, Deferred, DialogKey, Fork, Invite, Place, Session, Stage};
use crate::cpm::{body, passing};
use crate::media::Refused;
use crate::sip::{ClientKey, Dialog, Message, Name, Text};

/// What follows from an answer; or why it can't be taken.
type FinalAnswer = Result<Final, Refused>;

/// What follows from side B's final answer.
enum Final {
    /// The worker has to do this, and then side A is given its SDP.
    Settled(Vec<Act>, Option<Bytes>),
    /// The worker has to do this, and side B has to be offered anew first.
    Again(Vec<Act>),
}

impl Engine {
    pub(super) fn on_provisional(
        &mut self,
        session: &mut Session,
        invite: &mut Invite,
        client: ClientKey,
        response: Message,
    ) {
        // A reliable one has to be acknowledged by side A, who then has to hear of it.
        if invite.rings_once && response.code() == Some(180) && !is_reliable(&response) {
            if invite.is_alerted {
                return;
            }
            invite.is_alerted = true;
        }
        let tag = self.fork_tag(session, invite, client, &response);
        let contact = self.contact_for(
            session,
            Side::A,
            response.headers.values(Name::Contact).next(),
        );
        let mut to_a = passing::response_to(&invite.request, &tag, &response, &contact);
        if let Some(sdp) = body::sdp(&response) {
            if is_reliable(&response)
                && let Some(fork) = invite.fork_of(&response)
            {
                fork.answer = Some(sdp.clone());
                let from = fork.dialog.remote_tag.clone();
                let exchange = session.exchange.as_ref();
                if exchange.is_some_and(|exchange| exchange.carrier == Carrier::Invite) {
                    invite.in_force = Some(from);
                }
            }
            let given = self.early_answer(session, &response, &sdp);
            replace_or_drop(&mut to_a, given.as_ref());
        }
        self.respond(invite.server, to_a);
    }

    /// Puts an answer in an 18x into force and gives the SDP for side A.
    fn early_answer(
        &mut self,
        session: &mut Session,
        response: &Message,
        sdp: &[u8],
    ) -> Option<Bytes> {
        let Some(exchange) = session.exchange.as_mut() else {
            return session.answer_given.clone();
        };
        if exchange.carrier != Carrier::Invite {
            return session.answer_given.clone();
        }
        let answered = exchange.proposal.answer(sdp).ok()?;
        // RFC 3262 §5: the answer in a reliable provisional response is the final one; while it is
        // early, nothing can be offered anew.
        if is_reliable(response) && answered.offer_again {
            return None;
        }
        let to_offerer = answered.to_offerer.clone();
        session.answer_given = Some(to_offerer.clone());
        let settled = session.exchange.take_if(|_| is_reliable(response));
        let acts = match settled {
            Some(exchange) => settle(session, exchange, answered),
            None => answered.acts,
        };
        if !acts.is_empty() {
            self.order(session, acts, After::Nothing);
        }
        Some(to_offerer)
    }

    /// The tag by which side A knows the early dialog that a response of side B belongs to.
    fn fork_tag(
        &mut self,
        session: &mut Session,
        invite: &mut Invite,
        client: ClientKey,
        response: &Message,
    ) -> Text {
        let first = session.leg(Side::A).local_tag.clone();
        if response.to_tag().is_none() {
            return first;
        }
        if let Some(fork) = invite.fork_of(response) {
            return fork.tag_to_a.clone();
        }
        let Some(dialog) = self.dialog_with_b(session, client, response) else {
            return first;
        };
        if invite.forks.len() >= crate::limits::FORKS_PER_SESSION {
            return first;
        }
        let tag_to_a = if invite.forks.is_empty() {
            first
        } else {
            let tag = self.tx.new_tag();
            let key = DialogKey::kept(&session.leg(Side::A).call_id, &tag);
            self.dialogs.insert(
                key,
                Place {
                    session: session.id,
                    side: Side::A,
                },
            );
            session.tags_to_a.push(tag.clone());
            tag
        };
        session.leg_mut(Side::B).dialog = Some(dialog.clone());
        invite.forks.push(Fork {
            dialog,
            tag_to_a: tag_to_a.clone(),
            answer: None,
        });
        tag_to_a
    }

    fn dialog_with_b(
        &self,
        session: &Session,
        client: ClientKey,
        response: &Message,
    ) -> Option<Dialog> {
        let sent = self.tx.invite_of(client)?;
        let branch = session.branch(client)?;
        Dialog::uac(sent, response, branch.flow).ok()
    }

    /// Side B has answered with a 2xx.
    pub(super) fn on_answer(
        &mut self,
        session: &mut Session,
        mut invite: Box<Invite>,
        client: ClientKey,
        response: Message,
    ) {
        let tag = self.fork_tag(session, &mut invite, client, &response);
        let dialog = self.dialog_with_b(session, client, &response);
        self.settle_branch(session, client);
        let Some(mut dialog) = dialog else {
            let answer = Message::response(&invite.request, 502, "Bad Gateway");
            self.fail(session, invite.server, answer);
            return;
        };
        if let Some(early) = invite.fork_of(&response) {
            dialog.local_seq = dialog.local_seq.max(early.dialog.local_seq);
            dialog.remote_seq = early.dialog.remote_seq;
        }
        let leg = session.leg_mut(Side::B);
        leg.dialog = Some(dialog);
        leg.contact = response
            .headers
            .values(Name::Contact)
            .next()
            .map(|value| Text::from(value.to_owned()));
        session.settle_tag(&tag);
        let contact = self.contact_for(
            session,
            Side::A,
            response.headers.values(Name::Contact).next(),
        );
        let mut to_a = passing::response_to(&invite.request, &tag, &response, &contact);
        self.note_expiry(session, &response);
        let sdp = body::sdp(&response);
        let is_late = body::sdp(&invite.request).is_none();
        if is_late {
            let near = (Side::A, invite.server);
            session.stage = Stage::Answering(invite);
            self.on_late_offer(session, near, to_a, &response);
            return;
        }
        self.acknowledge(session, Side::B, &response, None);
        let early = self.answer_of_fork(session, &invite, &response);
        match early.unwrap_or_else(|| self.final_answer(session, sdp.as_deref())) {
            Err(refused) => {
                let answer = not_acceptable(&invite.request, &refused);
                self.bye_to(session, Side::B, None);
                self.fail(session, invite.server, answer);
            }
            Ok(Final::Again(acts)) => {
                session.stage = Stage::Answering(invite);
                self.offer_invite_again(session, acts, to_a);
            }
            Ok(Final::Settled(acts, given)) => {
                if sdp.is_some() {
                    replace_or_drop(&mut to_a, given.as_ref());
                }
                session.stage = Stage::Answering(invite);
                if acts.is_empty() {
                    self.on_answered(session, to_a);
                } else {
                    self.order(session, acts, After::Answered(Box::new(to_a)));
                }
            }
        }
    }

    /// Where another fork's reliable answer is in force: the acts that put that of the fork which
    /// has answered in its place. `None` where there is nothing to replace.
    fn answer_of_fork(
        &self,
        session: &mut Session,
        invite: &Invite,
        response: &Message,
    ) -> Option<FinalAnswer> {
        let in_force = invite.in_force.as_ref()?;
        let from = response.to_tag().unwrap_or("");
        if **in_force == *from || session.exchange.is_some() {
            return None;
        }
        let mut forks = invite.forks.iter();
        let fork = forks.find(|fork| fork.dialog.matches(response));
        let answer = body::sdp(response).or_else(|| fork.and_then(|fork| fork.answer.clone()))?;
        let offer = body::sdp(&invite.request)?;
        let replaced = session.offer(Side::A, &offer).and_then(|mut proposal| {
            // Streams that the first fork refused are released; they can't come back now.
            if !proposal.take_opens().is_empty() {
                return Err(Refused::not_acceptable(399, "another fork was answered"));
            }
            let answered = proposal.answer(&answer)?;
            if answered.offer_again {
                return Err(Refused::not_acceptable(399, "another fork was answered"));
            }
            let gone = proposal.commit(&mut session.media);
            let mut acts = answered.acts;
            push_release(&mut acts, union(gone, answered.refused));
            Ok(Final::Settled(acts, Some(answered.to_offerer)))
        });
        Some(replaced)
    }

    /// Completes the INVITE's negotiation: what the worker has to do, and the SDP for side A.
    fn final_answer(&self, session: &mut Session, sdp: Option<&[u8]>) -> FinalAnswer {
        // Another exchange is that of an UPDATE: the INVITE had its answer in a reliable 18x.
        let of_invite = session
            .exchange
            .take_if(|exchange| exchange.carrier == Carrier::Invite);
        let Some(mut exchange) = of_invite else {
            return Ok(Final::Settled(Vec::new(), session.answer_given.clone()));
        };
        let Some(sdp) = sdp else {
            if session.answer_given.is_none() {
                return Err(Refused::not_acceptable(399, "the answer has no SDP"));
            }
            // The 18x had it: not reliable, but the only answer there is.
            if exchange.proposal.is_to_be_offered_again() {
                session.exchange = Some(exchange);
                return Ok(Final::Again(Vec::new()));
            }
            let gone = exchange.proposal.commit(&mut session.media);
            let mut acts = Vec::new();
            push_release(&mut acts, gone);
            return Ok(Final::Settled(acts, None));
        };
        let answered = exchange.proposal.answer(sdp)?;
        if answered.offer_again {
            session.exchange = Some(exchange);
            return Ok(Final::Again(answered.acts));
        }
        let to_offerer = answered.to_offerer.clone();
        session.answer_given = Some(to_offerer.clone());
        let acts = settle(session, exchange, answered);
        Ok(Final::Settled(acts, Some(to_offerer)))
    }

    /// The answer is in force: side A gets its 2xx.
    pub(super) fn on_answered(&mut self, session: &mut Session, response: Message) {
        let stage = std::mem::replace(&mut session.stage, Stage::Talking);
        let Stage::Answering(invite) = stage else {
            session.stage = stage;
            return;
        };
        self.begin_history(session, &invite.request, &response);
        self.respond(invite.server, response);
        self.counters.sessions_answered += 1;
        session.facts.answered = Some(self.now);
        session.gather_texts();
        let expires = session.expires;
        self.set_deadline_at(session, expires);
        match session.deferred.take() {
            Some(Deferred::Bye(side, key, bye)) => self.on_bye(session, side, key, *bye),
            Some(Deferred::Own(why)) => self.close(session, None, why),
            None => {}
        }
    }

    /// The worker can't put the answer into force: neither side is left in the call.
    pub(super) fn on_not_connected(&mut self, session: &mut Session) {
        let stage = std::mem::replace(&mut session.stage, Stage::Failing);
        let Stage::Answering(invite) = stage else {
            session.stage = stage;
            return;
        };
        session.facts.end = Some(Why::WorkerLost);
        self.bye_because(session, Side::B, Why::WorkerLost);
        let response = Message::response(&invite.request, 500, "Server Internal Error");
        self.fail(session, invite.server, response);
    }
}
