//! Offers inside a session (re-INVITE, UPDATE, PRACK), and requests that are only passed on.

use bytes::Bytes;
use dataplane::api::{Act, Refusal, SessionId, Side};

use super::again::settle;
use super::closing::Why;
use super::invite::{is_reliable, not_acceptable, replace_or_drop};
use super::orders::After;
use super::session::{Carrier, Exchange, Relayed, Session, Stage};
use super::{Engine, Purpose};
use crate::cpm::{body, passing};
use crate::limits;
use crate::media::Refused;
use crate::sip::{ClientKey, Dialog, Message, Method, Name, ServerKey, Text};

/// An answer that is in force and waits to be given to the offerer.
pub(super) struct Ready {
    pub relayed: Relayed,
    pub response: Message,
}

impl Engine {
    /// A re-INVITE, UPDATE or PRACK of one side.
    pub(super) fn on_offering_request(
        &mut self,
        session: &mut Session,
        side: Side,
        key: ServerKey,
        request: Message,
    ) {
        let is_invite = request.method() == Some(&Method::Invite);
        if is_invite && (session.exchange.is_some() || self.is_inviting(session)) {
            self.glare(session, side, key, &request);
            return;
        }
        self.note_target(session, side, &request);
        let Some(sdp) = body::sdp(&request) else {
            // A refresh need not carry an offer (RFC 4028 §7.4): the far side makes one then.
            self.relay_request(session, side, key, request);
            return;
        };
        let is_unanswered =
            matches!(session.stage, Stage::Inviting(_)) && session.answer_given.is_none();
        if session.exchange.is_some() || is_unanswered || session.is_reinviting() {
            self.glare(session, side, key, &request);
            return;
        }
        if session.relayed.len() >= limits::RELAYED_PER_SESSION {
            self.unavailable(key, &request);
            return;
        }
        let mut proposal = match session.offer(side, &sdp) {
            Ok(proposal) => proposal,
            Err(refused) => {
                self.counters.offers_refused += 1;
                let response = not_acceptable(&request, &refused);
                self.refuse(key, response);
                return;
            }
        };
        let opens = proposal.take_opens();
        session.exchange = Some(Exchange {
            from: side,
            proposal,
            carrier: Carrier::Request(key),
        });
        if self.keep_relayed(session, side, key, request) {
            if opens.is_empty() {
                self.pass_offer(session);
            } else {
                self.order(session, opens, After::OfferOpened(key));
            }
        }
    }

    /// Whether an INVITE inside the session is on its way, whoever sent it.
    fn is_inviting(&self, session: &Session) -> bool {
        Side::BOTH
            .iter()
            .any(|side| session.is_relaying(*side, &Method::Invite))
    }

    /// Two offers cross, or one comes before the last is done (RFC 3261 §14.2, RFC 3311 §5.2).
    pub(super) fn glare(
        &mut self,
        session: &Session,
        side: Side,
        key: ServerKey,
        request: &Message,
    ) {
        let is_own = session.exchange.as_ref().map_or_else(
            || session.is_relaying(side, &Method::Invite),
            |exchange| exchange.from == side,
        );
        if is_own {
            let mut response = Message::response(request, 500, "Server Internal Error");
            let wait_s = self.next_mark % 10;
            response.headers.push(Name::RetryAfter, wait_s.to_string());
            self.refuse(key, response);
        } else {
            self.reply(key, request, 491, "Request Pending");
        }
    }

    /// Remembers a request that will be passed on; refuses one too many.
    fn keep_relayed(
        &mut self,
        session: &mut Session,
        from: Side,
        server: ServerKey,
        request: Message,
    ) -> bool {
        if session.relayed.len() >= limits::RELAYED_PER_SESSION {
            self.unavailable(server, &request);
            return false;
        }
        let method = request.method().cloned().unwrap_or(Method::Options);
        if method == Method::Invite {
            self.tx.trying(server);
            self.track_invite(session, server);
        }
        session.relayed.push(Relayed {
            from,
            server,
            request,
            method,
            client: None,
            answer: None,
        });
        true
    }

    pub(super) fn on_offer_opened(
        &mut self,
        session: &mut Session,
        server: ServerKey,
        acts: Vec<Act>,
        refused: Option<Refusal>,
    ) {
        // The request may have been cancelled meanwhile, and another one be under way.
        let carried = |exchange: &&mut Exchange| exchange.carrier == Carrier::Request(server);
        let Some(Exchange { proposal, .. }) = session.exchange.as_mut().filter(carried) else {
            return;
        };
        if refused.is_none() {
            proposal.opened(acts);
            self.pass_offer(session);
            return;
        }
        session.exchange = None;
        self.counters.full_ports += 1;
        if let Some(relayed) = self.take_relayed(session, server) {
            self.unavailable(server, &relayed.request);
        }
    }

    /// A request that was cancelled before it was passed on.
    pub(super) fn drop_relayed(&mut self, session: &mut Session, server: ServerKey) {
        let carrier = Carrier::Request(server);
        if session
            .exchange
            .as_ref()
            .is_some_and(|exchange| exchange.carrier == carrier)
        {
            self.abandon(session);
        }
        if let Some(relayed) = self.take_relayed(session, server) {
            self.reply(server, &relayed.request, 487, "Request Terminated");
        }
    }

    /// Remembers an INVITE until its ACK, for CANCEL and for an ACK that never comes.
    fn track_invite(&mut self, session: &mut Session, server: ServerKey) {
        self.invites.insert(server, session.id);
        session.invite_servers.push(server);
    }

    pub(super) fn untrack_invite(&mut self, session: &mut Session, server: ServerKey) {
        self.invites.remove(&server);
        session.invite_servers.retain(|key| *key != server);
    }

    fn take_relayed(&mut self, session: &mut Session, server: ServerKey) -> Option<Relayed> {
        let at = session
            .relayed
            .iter()
            .position(|relayed| relayed.server == server)?;
        self.untrack_invite(session, server);
        Some(session.relayed.swap_remove(at))
    }

    /// Passes the exchange's offer on to the other side.
    fn pass_offer(&mut self, session: &mut Session) {
        let Some(exchange) = session.exchange.as_mut() else {
            return;
        };
        let Carrier::Request(server) = exchange.carrier else {
            return;
        };
        match exchange.proposal.offer_to_far() {
            Ok(sdp) => {
                if !self.pass_on(session, server, Some(&sdp)) {
                    self.abandon(session);
                }
            }
            Err(refused) => {
                self.counters.offers_refused += 1;
                self.abandon(session);
                if let Some(relayed) = self.take_relayed(session, server) {
                    let response = not_acceptable(&relayed.request, &refused);
                    self.refuse(server, response);
                }
            }
        }
    }

    /// The exchange failed: what was bound for it goes, everything else stays as it is.
    fn abandon(&mut self, session: &mut Session) {
        let Some(exchange) = session.exchange.take() else {
            return;
        };
        let opened = exchange.proposal.abandon();
        if !opened.is_empty() {
            self.order_release(session, opened, After::Nothing);
        }
    }

    /// Passes a request on as it is.
    pub(super) fn relay_request(
        &mut self,
        session: &mut Session,
        side: Side,
        key: ServerKey,
        request: Message,
    ) {
        if self.keep_relayed(session, side, key, request) {
            self.pass_on(session, key, None);
        }
    }

    /// Sends a kept request to the other side; answers it where that can't be.
    fn pass_on(&mut self, session: &mut Session, server: ServerKey, sdp: Option<&Bytes>) -> bool {
        let Some(at) = session
            .relayed
            .iter()
            .position(|relayed| relayed.server == server)
        else {
            return false;
        };
        let relayed = &session.relayed[at];
        let from = relayed.from;
        let request = relayed.request.clone();
        let Some((message, flow)) = self.in_far_dialog(session, from, &request, sdp) else {
            session.relayed.swap_remove(at);
            self.untrack_invite(session, server);
            self.reply(server, &request, 481, "Call/Transaction Does Not Exist");
            return false;
        };
        match self.send_on(session, from.other(), message, flow) {
            Ok(client) => {
                self.clients.insert(client, Purpose::Relayed(session.id));
                session.relayed[at].client = Some(client);
                true
            }
            Err(_) => {
                session.relayed.swap_remove(at);
                self.untrack_invite(session, server);
                self.unavailable(server, &request);
                false
            }
        }
    }

    /// A request of one side, made anew in the other side's dialog.
    pub(super) fn in_far_dialog(
        &self,
        session: &mut Session,
        from: Side,
        request: &Message,
        sdp: Option<&Bytes>,
    ) -> Option<(Message, crate::sip::Flow)> {
        let to = from.other();
        let far_contact = session.leg(from).contact.clone();
        let contact = request
            .headers
            .values(Name::Contact)
            .next()
            .map(|value| Text::from(value.to_owned()));
        let early_tag = session.early_tag(from, request);
        let own = self.contact_for(session, to, contact.or(far_contact).as_deref());
        let invite_seq = session.leg(to).invite_seq;
        let method = request.method().cloned()?;
        let dialog = far_dialog(session, from, request)?;
        let mut message = dialog.request(method.clone());
        let routed = !dialog.route_set.is_empty();
        let flow = self.flow_in_dialog(dialog.next_hop(), dialog.flow, routed);
        let seq = message.cseq()?.0;
        let hops = request
            .headers
            .get(Name::MaxForwards)
            .and_then(|hops| hops.trim().parse::<u32>().ok());
        message.headers.set(
            Name::MaxForwards,
            hops.unwrap_or(70).saturating_sub(1).to_string(),
        );
        if let Some(tag) = early_tag {
            let own_address = message.headers.get(Name::From).unwrap_or_default();
            let own_address = passing::with_tag(own_address, Some(&tag));
            message.headers.set(Name::From, own_address);
        }
        if request.headers.get(Name::Contact).is_some() || makes_target(&method) {
            message.headers.push(Name::Contact, own);
        }
        if let Some(rack) = request.headers.get(Name::RAck) {
            message.headers.push(Name::RAck, rack_for(rack, invite_seq));
        }
        passing::pass(&request.headers, &mut message.headers);
        if method == Method::Invite && sdp.is_none() {
            passing::without_100rel(&mut message.headers);
        }
        message.body = sdp.map_or_else(
            || request.body.clone(),
            |sdp| body::replace_sdp(request, sdp),
        );
        if method == Method::Invite {
            session.leg_mut(to).invite_seq = seq;
        }
        Some((message, flow))
    }

    pub(super) fn on_relayed_response(
        &mut self,
        id: SessionId,
        client: ClientKey,
        response: Message,
    ) {
        let code = response.code().unwrap_or(0);
        if code < 200 {
            self.with(id, |engine, session| {
                engine.on_relayed_provisional(session, client, response);
            });
            return;
        }
        self.with(id, |engine, session| {
            let Some(relayed) = session.relayed_by(client) else {
                return;
            };
            if code >= 300 {
                engine.untrack_invite(session, relayed.server);
            }
            engine.note_target(session, relayed.from.other(), &response);
            let is_exchange = session
                .exchange
                .as_ref()
                .is_some_and(|exchange| exchange.carrier == Carrier::Request(relayed.server));
            let is_success = code < 300;
            if is_success && matches!(relayed.method, Method::Invite | Method::Update) {
                engine.note_expiry(session, &response);
            }
            match (is_success, is_exchange) {
                (true, true) => engine.on_offer_answer(session, relayed, response),
                (true, false) if relayed.answer.is_some() => {
                    engine.acknowledge(session, relayed.from.other(), &response, None);
                    engine.pass_back(session, &relayed, &response, relayed.answer.as_ref());
                }
                (true, false) if relayed.method == Method::Invite => {
                    engine.on_late_reanswer(session, relayed, response);
                }
                (false, true) => {
                    engine.abandon(session);
                    engine.pass_back(session, &relayed, &response, None);
                    engine.end_if_gone(session, &relayed.method, code);
                }
                (_, false) => {
                    engine.pass_back(session, &relayed, &response, None);
                    engine.end_if_gone(session, &relayed.method, code);
                }
            }
        });
    }

    /// A provisional response to an INVITE inside the session, which may be a reliable one and
    /// come again until it is acknowledged (RFC 3262 §3).
    fn on_relayed_provisional(
        &mut self,
        session: &mut Session,
        client: ClientKey,
        response: Message,
    ) {
        let at = session
            .relayed
            .iter()
            .position(|relayed| relayed.client == Some(client));
        let Some(at) = at.filter(|at| session.relayed[*at].method == Method::Invite) else {
            return;
        };
        let (from, server) = (session.relayed[at].from, session.relayed[at].server);
        let contact =
            self.contact_for(session, from, response.headers.values(Name::Contact).next());
        let tag = session.leg(from).local_tag.clone();
        let mut back =
            passing::response_to(&session.relayed[at].request, &tag, &response, &contact);
        if let Some(sdp) = body::sdp(&response) {
            let is_new = is_reliable(&response) && session.relayed[at].answer.is_none();
            if is_new && let Some(answer) = self.early_reanswer(session, server, &sdp) {
                session.relayed[at].answer = Some(answer);
            }
            // An answer that isn't reliable only foretells the one in the 2xx.
            replace_or_drop(&mut back, session.relayed[at].answer.as_ref());
        }
        self.respond_in(session, server, back);
    }

    /// RFC 3262 §5: the answer in a reliable provisional response is the final one.
    fn early_reanswer(
        &mut self,
        session: &mut Session,
        server: ServerKey,
        sdp: &[u8],
    ) -> Option<Bytes> {
        let carried = |exchange: &mut Exchange| exchange.carrier == Carrier::Request(server);
        let mut exchange = session.exchange.take_if(carried)?;
        let answered = exchange.proposal.answer(sdp).ok();
        // While it is early, nothing can be offered anew.
        let Some(answered) = answered.filter(|answered| !answered.offer_again) else {
            session.exchange = Some(exchange);
            return None;
        };
        let to_offerer = answered.to_offerer.clone();
        let acts = settle(session, exchange, answered);
        if !acts.is_empty() {
            self.order(session, acts, After::Nothing);
        }
        Some(to_offerer)
    }

    /// The answer to an offer inside the session has come.
    fn on_offer_answer(&mut self, session: &mut Session, relayed: Relayed, response: Message) {
        let to = relayed.from.other();
        // An UPDATE's needs none.
        if relayed.method == Method::Invite {
            self.acknowledge(session, to, &response, None);
        }
        let Some(mut exchange) = session.exchange.take() else {
            return;
        };
        let answered = body::sdp(&response)
            .ok_or_else(|| Refused::not_acceptable(399, "the answer has no SDP"))
            .and_then(|sdp| exchange.proposal.answer(&sdp));
        match answered {
            Err(refused) => {
                session.exchange = Some(exchange);
                self.refuse_answer(session, &relayed, &refused);
            }
            Ok(answered) if answered.offer_again => {
                session.exchange = Some(exchange);
                if let Err(relayed) = self.offer_request_again(session, answered.acts, relayed) {
                    let refused = Refused::not_acceptable(399, "MSRP answer lacks msrp-cema");
                    self.refuse_answer(session, &relayed, &refused);
                }
            }
            Ok(answered) => {
                let mut response = response;
                response.body = body::replace_sdp(&response, &answered.to_offerer);
                let acts = settle(session, exchange, answered);
                if acts.is_empty() {
                    self.on_offer_answered(session, Ready { relayed, response }, None);
                } else {
                    // The streams that left are closed before the answer leaves.
                    self.order(
                        session,
                        acts,
                        After::OfferAnswered(Box::new(Ready { relayed, response })),
                    );
                }
            }
        }
    }

    /// An answer can't be taken: the exchange is off, and its offerer is told.
    fn refuse_answer(&mut self, session: &mut Session, relayed: &Relayed, refused: &Refused) {
        self.untrack_invite(session, relayed.server);
        self.abandon(session);
        let failed = not_acceptable(&relayed.request, refused);
        self.refuse(relayed.server, failed);
    }

    pub(super) fn on_offer_answered(
        &mut self,
        session: &mut Session,
        ready: Ready,
        refused: Option<Refusal>,
    ) {
        if matches!(session.stage, Stage::Closing(_)) {
            self.reply(
                ready.relayed.server,
                &ready.relayed.request,
                487,
                "Request Terminated",
            );
            return;
        }
        if refused.is_some() {
            self.reply(
                ready.relayed.server,
                &ready.relayed.request,
                500,
                "Server Internal Error",
            );
            if matches!(session.stage, Stage::Talking) {
                self.close(session, None, Why::WorkerLost);
            }
            return;
        }
        self.pass_back(session, &ready.relayed, &ready.response, None);
    }

    /// Gives the far side's final response to the side that asked.
    pub(super) fn pass_back(
        &mut self,
        session: &mut Session,
        relayed: &Relayed,
        response: &Message,
        sdp: Option<&Bytes>,
    ) {
        let contact = self.contact_for(
            session,
            relayed.from,
            response.headers.values(Name::Contact).next(),
        );
        let tag = session.leg(relayed.from).local_tag.clone();
        let mut back = passing::response_to(&relayed.request, &tag, response, &contact);
        if let Some(sdp) = sdp {
            back.body = body::replace_sdp(response, sdp);
        }
        self.respond_in(session, relayed.server, back);
    }

    pub(super) fn on_relayed_failed(&mut self, id: SessionId, client: ClientKey, code: u16) {
        self.with(id, |engine, session| {
            let Some(relayed) = session.relayed_by(client) else {
                return;
            };
            engine.untrack_invite(session, relayed.server);
            let is_exchange = session
                .exchange
                .as_ref()
                .is_some_and(|exchange| exchange.carrier == Carrier::Request(relayed.server));
            if is_exchange {
                engine.abandon(session);
            }
            let reason = if code == 408 {
                "Request Timeout"
            } else {
                "Service Unavailable"
            };
            engine.reply(relayed.server, &relayed.request, code, reason);
            engine.end_if_gone(session, &relayed.method, code);
        });
    }

    /// RFC 3261 §12.2.1.2: 481 or 408 to a request inside a dialog ends it.
    fn end_if_gone(&mut self, session: &mut Session, method: &Method, code: u16) {
        let ends = matches!(method, Method::Invite | Method::Update) && matches!(code, 408 | 481);
        if ends && matches!(session.stage, Stage::Talking) {
            self.close(session, None, Why::FarGone);
        }
    }
}

/// The dialog on the other side that a request of `from` belongs to.
fn far_dialog<'a>(
    session: &'a mut Session,
    from: Side,
    request: &Message,
) -> Option<&'a mut Dialog> {
    match (from, &mut session.stage) {
        (Side::A, Stage::Inviting(invite)) => {
            let tag = request.to_tag()?;
            let fork = invite
                .forks
                .iter_mut()
                .find(|fork| *fork.tag_to_a == *tag)?;
            Some(&mut fork.dialog)
        }
        _ => session.legs[from.other().index()].dialog.as_mut(),
    }
}

/// Whether a request says where its sender is reached, and must (RFC 3261 §12.2.1.1, RFC 3311 §4).
fn makes_target(method: &Method) -> bool {
    matches!(method, Method::Invite | Method::Update)
}

/// A RAck value with the CSeq number of the INVITE on the other leg (RFC 3262 §7.2).
fn rack_for(rack: &str, invite_seq: u32) -> String {
    let rseq = rack.split_whitespace().next().unwrap_or("1");
    format!("{rseq} {invite_seq} INVITE")
}
