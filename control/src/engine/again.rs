//! An offer made anew to a far side whose answer can't be put into force as it is.
//!
//! A stream that was offered with CEMA and is answered without (RFC 6714) is relayed back to back,
//! but the far side was told the offerer's path and certificate. As the offerer of its own leg, the
//! relay offers it the stream anew without CEMA, and gives the near side its answer after that:
//!
//! ```text
//! A ── INVITE (cema) ──▶ relay ── INVITE (cema) ──▶ B
//!                              ◀── 200 (none) ─────
//!                              ─── ACK, INVITE (none) ▶
//! A ◀─ 200 (cema, relay's) ─── ◀── 200 (none) ─────
//! ```

use std::time::Duration;

use bytes::Bytes;
use dataplane::api::{Act, SessionId, Side};

use super::closing::Why;
use super::invite::{not_acceptable, push_release, union};
use super::orders::After;
use super::session::{Deferred, Exchange, Relayed, Session, Stage};
use super::{Engine, Purpose};
use crate::cpm::{body, passing};
use crate::media::{Answered, Refused};
use crate::sip::{ClientKey, Message, Method, Name, ServerKey};

/// The session's answer to side A, which waits for side B's answer to the offer made anew.
pub(super) struct Again {
    attempt: Attempt,
    to_a: Message,
}

/// Where the offer made anew is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// With side B.
    First(ClientKey),
    /// It met an offer of side B's own (491), and is made once more at the session's deadline.
    Held,
    /// With side B once more.
    Second(ClientKey),
}

impl Attempt {
    fn client(self) -> Option<ClientKey> {
        match self {
            Self::First(client) | Self::Second(client) => Some(client),
            Self::Held => None,
        }
    }
}

impl Engine {
    /// Side B's answer to the INVITE needs another offer to it; `to_a` is given after its answer.
    pub(super) fn offer_invite_again(
        &mut self,
        session: &mut Session,
        acts: Vec<Act>,
        to_a: Message,
    ) {
        self.order_acts(session, acts);
        self.attempt(session, Attempt::First, to_a);
    }

    fn attempt(
        &mut self,
        session: &mut Session,
        which: impl FnOnce(ClientKey) -> Attempt,
        to_a: Message,
    ) {
        let offer = offer_to_far(session);
        let Stage::Answering(invite) = &session.stage else {
            return;
        };
        let request = invite.request.clone();
        let sent = offer.and_then(|offer| self.send_again(session, Side::A, &request, &offer));
        match sent {
            Some(client) => {
                self.clients.insert(client, Purpose::Again(session.id));
                let attempt = which(client);
                session.again = Some(Box::new(Again { attempt, to_a }));
                self.set_deadline(session, self.settings.ringing_max);
            }
            None => self.fail_again(session, 500, "Server Internal Error"),
        }
    }

    /// What came of it was late, or the time for another attempt has come.
    pub(super) fn on_again_deadline(&mut self, session: &mut Session) {
        let Some(again) = session.again.take() else {
            return;
        };
        match again.attempt.client() {
            None => self.attempt(session, Attempt::Second, again.to_a),
            Some(client) => {
                self.cancel_on(session, client, &[]);
                self.clients.remove(&client);
                self.fail_again(session, 408, "Request Timeout");
            }
        }
    }

    /// The answer to an offer inside the session needs another one; gives the request back where
    /// none can be made.
    pub(super) fn offer_request_again(
        &mut self,
        session: &mut Session,
        acts: Vec<Act>,
        mut relayed: Relayed,
    ) -> Result<(), Box<Relayed>> {
        self.order_acts(session, acts);
        // A PRACK can't be sent twice.
        if !matches!(relayed.method, Method::Invite | Method::Update) {
            return Err(Box::new(relayed));
        }
        let request = relayed.request.clone();
        let sent = offer_to_far(session)
            .and_then(|offer| self.send_again(session, relayed.from, &request, &offer));
        let Some(client) = sent else {
            return Err(Box::new(relayed));
        };
        self.clients.insert(client, Purpose::Relayed(session.id));
        relayed.client = Some(client);
        session.relayed.push(relayed);
        Ok(())
    }

    /// The offerer's end is joined already.
    fn order_acts(&mut self, session: &Session, acts: Vec<Act>) {
        if !acts.is_empty() {
            self.order(session, acts, After::Nothing);
        }
    }

    /// Sends a side's request to the other one once more, with another offer.
    fn send_again(
        &mut self,
        session: &mut Session,
        from: Side,
        request: &Message,
        offer: &Bytes,
    ) -> Option<ClientKey> {
        let (mut message, flow) = self.in_far_dialog(session, from, request, Some(offer))?;
        // Its answer is to come in the 2xx.
        passing::without_100rel(&mut message.headers);
        self.counters.offers_again += 1;
        self.send_on(session, from.other(), message, flow).ok()
    }

    pub(super) fn on_again_response(
        &mut self,
        id: SessionId,
        client: ClientKey,
        response: Message,
    ) {
        let code = response.code().unwrap_or(0);
        self.with(id, |engine, session| {
            let is_ours = |again: &mut Box<Again>| again.attempt.client() == Some(client);
            if code < 200 {
                return;
            }
            let Some(mut again) = session.again.take_if(is_ours) else {
                return;
            };
            if code == 491 && again.attempt == Attempt::First(client) {
                again.attempt = Attempt::Held;
                session.again = Some(again);
                // RFC 3261 §14.1: who made the Call-ID waits 2.1 to 4 s.
                let wait_ms = 2100 + engine.next_mark % 190 * 10;
                engine.set_deadline(session, Duration::from_millis(wait_ms));
                return;
            }
            if code >= 300 {
                engine.fail_again(session, 488, "Not Acceptable Here");
                return;
            }
            engine.note_target(session, Side::B, &response);
            engine.note_expiry(session, &response);
            engine.acknowledge(session, Side::B, &response, None);
            engine.on_answer_again(session, again.to_a, &response);
        });
    }

    fn on_answer_again(&mut self, session: &mut Session, mut to_a: Message, response: &Message) {
        let Some(mut exchange) = session.exchange.take() else {
            self.fail_again(session, 500, "Server Internal Error");
            return;
        };
        let answered = body::sdp(response)
            .ok_or_else(|| Refused::not_acceptable(399, "the answer has no SDP"))
            .and_then(|sdp| exchange.proposal.answer(&sdp));
        match answered {
            Ok(answered) => {
                to_a.body = body::replace_sdp(&to_a, &answered.to_offerer);
                session.answer_given = Some(answered.to_offerer.clone());
                let acts = settle(session, exchange, answered);
                if acts.is_empty() {
                    self.on_answered(session, to_a);
                } else {
                    self.order(session, acts, After::Answered(Box::new(to_a)));
                }
            }
            Err(refused) => {
                if let Stage::Answering(invite) = &session.stage {
                    let (server, answer) =
                        (invite.server, not_acceptable(&invite.request, &refused));
                    self.end_again(session, server, answer);
                }
            }
        }
    }

    /// Nothing came, or nothing can be sent.
    pub(super) fn on_again_failed(&mut self, id: SessionId, client: ClientKey) {
        self.with(id, |engine, session| {
            let is_ours = |again: &mut Box<Again>| again.attempt.client() == Some(client);
            if session.again.take_if(is_ours).is_some() {
                engine.fail_again(session, 488, "Not Acceptable Here");
            }
        });
    }

    /// Neither side is left in the call.
    fn fail_again(&mut self, session: &mut Session, code: u16, reason: &'static str) {
        let Stage::Answering(invite) = &session.stage else {
            return;
        };
        let server = invite.server;
        let mut answer = Message::response(&invite.request, code, reason);
        if code == 488 {
            let warning = "399 midpath \"MSRP answer lacks msrp-cema\"";
            answer.headers.push(Name::Warning, warning);
        }
        self.end_again(session, server, answer);
    }

    fn end_again(&mut self, session: &mut Session, server: ServerKey, answer: Message) {
        match session.deferred.take() {
            // Side B has left meanwhile.
            Some(Deferred::Bye(Side::B, key, bye)) => self.reply(key, &bye, 200, "OK"),
            Some(Deferred::Bye(Side::A, key, bye)) => {
                self.reply(key, &bye, 200, "OK");
                self.bye_to(session, Side::B, None);
            }
            Some(Deferred::Own(_)) | None => {
                self.bye_to(session, Side::B, None);
            }
        }
        session.facts.end.get_or_insert(Why::NotAcceptable);
        self.fail(session, server, answer);
    }
}

/// Takes over what a proposal settled; what the worker has to do.
pub(super) fn settle(session: &mut Session, exchange: Exchange, answered: Answered) -> Vec<Act> {
    let gone = exchange.proposal.commit(&mut session.media);
    let mut acts = answered.acts;
    push_release(&mut acts, union(gone, answered.refused));
    acts
}

/// Writes the exchange's offer for the far side.
fn offer_to_far(session: &mut Session) -> Option<Bytes> {
    let exchange = session.exchange.as_mut()?;
    exchange.proposal.offer_to_far().ok()
}
