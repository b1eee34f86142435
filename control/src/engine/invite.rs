//! A session from its INVITE to its answer, as back-to-back user agent.

use std::sync::Arc;

use bytes::Bytes;
use dataplane::api::{Act, Refusal, SessionId, Side, StreamSet};

use super::branches::Target;
use super::closing::Why;
use super::failing::{cancelled, without};
use super::history::History;
use super::orders::After;
use super::serving::Served;
use super::session::{Carrier, DialogKey, Exchange, Facts, Invite, Leg, Place, Session, Stage};
use super::{Engine, LateOffer};
use crate::cpm::participating::Role;
use crate::cpm::{body, passing, routing};
use crate::media::{Media, Refused, Trunk};
use crate::sip::{ClientKey, Dialog, Flow, Message, Method, Name, NameAddr, ServerKey, Text, Uri};

impl Engine {
    /// Begins a session: reads the offer and has its ports bound.
    ///
    /// `request` has lost the Routes that named us; `flows` are where it came from and where it goes.
    pub(super) fn begin(
        &mut self,
        key: ServerKey,
        request: Message,
        served: Served,
        flows: (Flow, Flow),
    ) {
        let is_interworked = served.is_interworked;
        if self.draining || self.sessions.len() >= self.settings.sessions_max {
            self.counters.full_sessions += 1;
            self.unavailable(key, &request);
            return;
        }
        let Some(worker) = self.choose_worker() else {
            self.unavailable(key, &request);
            return;
        };
        let Some(mut session) = self.new_session(key, &request, served, flows) else {
            self.reply(key, &request, 400, "Bad Request");
            return;
        };
        session.worker = worker;
        if is_interworked {
            self.interwork(&mut session, &request);
        }
        let opens = match self.first_offer(&mut session, &request) {
            Ok(opens) => opens,
            Err(refused) => {
                self.counters.offers_refused += 1;
                let response = not_acceptable(&request, &refused);
                self.refuse(key, response);
                return;
            }
        };
        self.tx.trying(key);
        self.counters.sessions_begun += 1;
        self.invites.insert(key, session.id);
        let a = session.leg(Side::A);
        let dialog = DialogKey::kept(&a.call_id, &a.local_tag);
        self.dialogs.insert(
            dialog,
            Place {
                session: session.id,
                side: Side::A,
            },
        );
        if let Some(load) = self.workers.get_mut(worker) {
            load.sessions += 1;
        }
        let id = session.id;
        let is_bound = opens.is_empty();
        if !is_bound {
            self.order(&session, opens, After::Opened);
        }
        self.sessions.insert(id.0, session);
        if is_bound {
            self.with(id, |engine, session| engine.send_invite(session));
        }
    }

    fn new_session(
        &mut self,
        key: ServerKey,
        request: &Message,
        Served {
            role, policy, fork, ..
        }: Served,
        (from, to): (Flow, Flow),
    ) -> Option<Box<Session>> {
        let id = SessionId(self.next_session);
        self.next_session += 1;
        let is_recorded = policy.allow_offline_storage && self.settings.store_deadline.is_some();
        let tag_a = self.tx.new_tag();
        let dialog = Dialog::uas(request, &tag_a, from).ok()?;
        let seq = request.cseq()?.0;
        let invite = Invite {
            server: key,
            request: request.clone(),
            targets: fork.targets,
            rings_once: fork.rings_once,
            is_alerted: false,
            forks: Vec::new(),
            in_force: None,
        };
        let trunks = self.trunks(request, (from, to));
        let mut media = Media::between(self.settings.media.clone(), id.0, trunks);
        media.record(is_recorded);
        let contact = request
            .headers
            .values(Name::Contact)
            .next()
            .map(|value| Text::from(value.to_owned()));
        let a = Leg {
            call_id: request.call_id().to_owned().into(),
            local_tag: tag_a,
            flow: from,
            dialog: Some(dialog),
            invite_seq: seq,
            contact,
            acked: None,
        };
        let b = Leg {
            call_id: self.tx.new_call_id(),
            local_tag: self.tx.new_tag(),
            flow: to,
            dialog: None,
            invite_seq: 1,
            contact: None,
            acked: None,
        };
        Some(Box::new(Session {
            id,
            worker: 0,
            role,
            history: History::new(is_recorded),
            policy,
            settings: Arc::clone(&self.settings),
            media,
            stage: Stage::Opening(Box::new(invite)),
            legs: [a, b],
            invite_servers: vec![key],
            branches: Vec::new(),
            tags_to_a: Vec::new(),
            exchange: None,
            again: None,
            interworked: None,
            relayed: Vec::new(),
            deferred: None,
            facts: Facts::of(request, role, self.now),
            deadline: None,
            armed: None,
            expires: None,
            answer_given: None,
            reported: Vec::new(),
            silent: [StreamSet::default(); 2],
        }))
    }

    /// How the caller's and the called far end are treated.
    fn trunks(&self, request: &Message, (from, to): (Flow, Flow)) -> [Trunk; 2] {
        let msrp = &self.settings.media.msrp;
        let caller = request.headers.get(Name::From).unwrap_or_default();
        let caller = NameAddr::parse(caller).map_or("", |address| address.uri);
        let called = request.request_uri().unwrap_or_default();
        [(from, caller), (to, called)].map(|(flow, uri)| {
            let host = Uri::parse(uri).map_or("", |uri| uri.host);
            msrp.trunk_of(flow.remote.ip(), host)
        })
    }

    /// Reads the INVITE's offer into the session's exchange; gives the acts that bind its ports.
    fn first_offer(&self, session: &mut Session, request: &Message) -> Result<Vec<Act>, Refused> {
        let Some(sdp) = body::sdp(request) else {
            return match self.settings.late_offer {
                LateOffer::Relay => Ok(Vec::new()),
                LateOffer::Refuse => Err(Refused::not_acceptable(
                    399,
                    "an SDP offer is needed in the INVITE",
                )),
            };
        };
        let mut proposal = session.offer(Side::A, &sdp)?;
        let opens = proposal.take_opens();
        session.exchange = Some(Exchange {
            from: Side::A,
            proposal,
            carrier: Carrier::Invite,
        });
        Ok(opens)
    }

    pub(super) fn on_opened(
        &mut self,
        session: &mut Session,
        acts: Vec<Act>,
        refused: Option<Refusal>,
    ) {
        let stage = std::mem::replace(&mut session.stage, Stage::Failing);
        let Stage::Opening(invite) = stage else {
            // Given up meanwhile; what was bound goes.
            if refused.is_none() {
                self.order_release(session, StreamSet::ALL, After::Released);
            } else {
                session.stage = Stage::Ended;
            }
            return;
        };
        if refused.is_some() {
            self.counters.full_ports += 1;
            session.facts.end = Some(Why::NoPort);
            session.facts.code = Some(503);
            self.unavailable(invite.server, &invite.request);
            session.stage = Stage::Ended;
            return;
        }
        if let Some(exchange) = session.exchange.as_mut() {
            exchange.proposal.opened(acts);
        }
        session.stage = Stage::Opening(invite);
        self.send_invite(session);
    }

    /// Sends the INVITE to side B.
    pub(super) fn send_invite(&mut self, session: &mut Session) {
        let stage = std::mem::replace(&mut session.stage, Stage::Failing);
        let Stage::Opening(mut invite) = stage else {
            session.stage = stage;
            return;
        };
        let offer = match session
            .exchange
            .as_mut()
            .map(|exchange| exchange.proposal.offer_to_far())
        {
            Some(Ok(offer)) => Some(offer),
            None => None,
            Some(Err(refused)) => {
                self.counters.offers_refused += 1;
                let response = not_acceptable(&invite.request, &refused);
                self.fail(session, invite.server, response);
                return;
            }
        };
        if session.role == Role::Terminating {
            session.history.note_offer(offer.as_ref());
        }
        for target in std::mem::take(&mut invite.targets) {
            self.send_branch(session, &invite.request, &target, offer.as_ref());
        }
        if session.branches.is_empty() {
            let mut response = Message::response(&invite.request, 503, "Service Unavailable");
            response
                .headers
                .push(Name::RetryAfter, self.settings.retry_after_s.to_string());
            self.fail(session, invite.server, response);
        } else {
            session.stage = Stage::Inviting(invite);
            self.set_deadline(session, self.settings.ringing_max);
        }
    }

    /// The INVITE to one target, in the dialog that `b` begins.
    pub(super) fn invite_to_b(
        &self,
        b: &Leg,
        role: Role,
        request: &Message,
        (target, offer): (&Target, Option<&Bytes>),
    ) -> Message {
        let uri = request.request_uri().unwrap_or_default();
        let uri = target.uri.as_deref().unwrap_or(uri).to_owned();
        let mut invite = Message::request(Method::Invite, uri);
        let hops = request
            .headers
            .get(Name::MaxForwards)
            .and_then(|hops| hops.trim().parse::<u32>().ok());
        let headers = &mut invite.headers;
        for route in request.headers.all(Name::Route) {
            headers.push(Name::Route, route.to_owned());
        }
        headers.push(
            Name::MaxForwards,
            hops.unwrap_or(70).saturating_sub(1).to_string(),
        );
        let from = request.headers.get(Name::From).unwrap_or_default();
        headers.push(Name::From, passing::with_tag(from, Some(&b.local_tag)));
        let to = request.headers.get(Name::To).unwrap_or_default();
        headers.push(Name::To, passing::with_tag(to, None));
        headers.push(Name::CallId, b.call_id.clone());
        headers.push(Name::CSeq, format!("{} INVITE", b.invite_seq));
        let contact = passing::own_contact(
            b.flow.local,
            b.flow.protocol,
            request.headers.values(Name::Contact).next(),
        );
        headers.push(Name::Contact, contact);
        passing::pass(&request.headers, headers);
        if body::sdp(request).is_none() || target.is_one_of_several {
            passing::without_100rel(headers);
        }
        if role == Role::Terminating {
            passing::name_the_service(headers);
        }
        for header in target.headers.iter() {
            headers.push_line(header.clone());
        }
        self.server_header(&mut invite, Name::UserAgent);
        invite.body = offer.map_or_else(
            || request.body.clone(),
            |offer| body::replace_sdp(request, offer),
        );
        routing::serve_strict_router(&mut invite);
        invite
    }

    pub(super) fn on_invite_response(
        &mut self,
        id: SessionId,
        client: ClientKey,
        response: Message,
    ) {
        self.with(id, |engine, session| {
            let code = response.code().unwrap_or(0);
            let stage = std::mem::replace(&mut session.stage, Stage::Failing);
            match stage {
                Stage::Inviting(mut invite) if code < 200 => {
                    engine.on_provisional(session, &mut invite, client, response);
                    session.stage = Stage::Inviting(invite);
                    engine.set_deadline(session, engine.settings.ringing_max);
                }
                Stage::Inviting(invite) if code < 300 => {
                    engine.on_answer(session, invite, client, response);
                }
                Stage::Inviting(invite) => {
                    engine.clients.remove(&client);
                    let tag = session.leg(Side::A).local_tag.clone();
                    let to_a = passing::response_to(&invite.request, &tag, &response, "");
                    engine.on_branch_refused(session, invite, client, to_a);
                }
                Stage::Cancelled { is_near_done, far } if code >= 200 => {
                    if code < 300 {
                        engine.end_fork(client, &response);
                    }
                    session.stage = cancelled(is_near_done, without(far, client));
                }
                stage => {
                    session.stage = stage;
                    if (200..300).contains(&code) {
                        engine.on_another_answer(session, client, &response);
                    }
                }
            }
        });
    }

    /// A 2xx that came again, or one of another fork.
    fn on_another_answer(&mut self, session: &Session, client: ClientKey, response: &Message) {
        let is_ours = session.leg(Side::B).dialog.as_ref().is_some_and(|dialog| {
            response
                .to_tag()
                .is_some_and(|tag| *dialog.remote_tag == *tag)
        });
        if is_ours {
            self.acknowledge_again(session, Side::B, response);
        } else {
            self.end_fork(client, response);
        }
    }

    /// Our Contact on a leg, with the other side's feature tags.
    pub(super) fn contact_for(&self, session: &Session, side: Side, far: Option<&str>) -> String {
        let leg = session.leg(side);
        passing::own_contact(leg.flow.local, leg.flow.protocol, far)
    }
}

/// 488 with the Warning that says why (RFC 3261 §20.43).
pub(super) fn not_acceptable(request: &Message, refused: &Refused) -> Message {
    let mut response = Message::response(request, refused.code, "Not Acceptable Here");
    response
        .headers
        .push(Name::Warning, refused.warning.clone());
    response
}

pub(super) fn push_release(acts: &mut Vec<Act>, streams: StreamSet) {
    if !streams.is_empty() {
        acts.push(Act::Release {
            streams,
            drain_ms: RELEASE_DRAIN_MS,
            facts: Vec::new(),
        });
    }
}

pub(super) fn union(a: StreamSet, b: StreamSet) -> StreamSet {
    StreamSet(a.0 | b.0)
}

/// Puts the relay's description in the place of the far side's; without one, the body is dropped,
/// as the far side's addresses are nothing that the near side may use.
pub(super) fn replace_or_drop(message: &mut Message, sdp: Option<&Bytes>) {
    match sdp {
        Some(sdp) => message.body = body::replace_sdp(message, sdp),
        None => message.set_body("", Bytes::new()),
    }
}

/// Whether a provisional response is sent reliably (RFC 3262 §3).
pub(super) fn is_reliable(response: &Message) -> bool {
    response.headers.get_named("RSeq").is_some()
        && response
            .headers
            .values(Name::Require)
            .any(|tag| tag.trim().eq_ignore_ascii_case("100rel"))
}

/// How long streams that leave a session may drain, in milliseconds (CON-04).
const RELEASE_DRAIN_MS: u32 = 200;
