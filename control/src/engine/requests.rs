//! Which procedure a request belongs to.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::session::{DialogKey, Session, Stage};
use super::{Engine, Output};
use crate::cpm::participating::Role;
use crate::cpm::routing::{self, Hop, NoHop};
use crate::limits;
use crate::sip::{Flow, Message, Method, Name, Protocol, Repeat, ServerKey};
use dataplane::api::Side;

/// Methods that the relay takes part in.
pub(super) const ALLOW: &str =
    "INVITE, ACK, CANCEL, BYE, UPDATE, PRACK, OPTIONS, INFO, MESSAGE, REFER, NOTIFY, SUBSCRIBE";

/// Host names that were looked up, and requests that wait for one.
#[derive(Default)]
pub(super) struct Names {
    known: HashMap<String, (Option<IpAddr>, Instant)>,
    parked: Vec<Parked>,
}

struct Parked {
    host: String,
    /// What to answer; nothing for an ACK.
    key: Option<ServerKey>,
    request: Message,
    flow: Flow,
}

/// Where a request goes, or what became of it.
pub(super) enum Next {
    /// Over this flow.
    To(Flow),
    /// Its host's name is being looked up.
    Lookup(String),
    /// Nowhere: answer it so.
    Refuse(u16, &'static str),
}

impl Engine {
    pub(super) fn on_request(&mut self, key: ServerKey, mut request: Message, flow: Flow) {
        routing::undo_strict_router(&mut request, &self.settings.listen);
        self.settings.trust.clear(&mut request, flow.remote.ip());
        if let Some(tag) = request.to_tag() {
            let dialog = DialogKey {
                call_id: request.call_id().to_owned().into(),
                local_tag: tag.to_owned().into(),
            };
            match self.dialogs.get(&dialog).copied() {
                Some(place) => {
                    self.with(place.session, |engine, session| {
                        engine.on_session_request(session, place.side, (key, flow), request);
                    });
                }
                None if self.focus.seat(&dialog).is_some() => {
                    if let Some(seat) = self.focus.seat(&dialog) {
                        self.on_seat_request(seat, key, request, flow);
                    }
                }
                None => match self.registrar.dialogs.get(&dialog).copied() {
                    Some(user) if request.method() == Some(&Method::Notify) => {
                        self.on_notify(user, key, &request);
                    }
                    Some(_) | None => self.on_foreign_dialog_request(key, request, flow),
                },
            }
        } else if self.settings.registration.is_some()
            && request.method() == Some(&Method::Register)
        {
            self.on_register(key, &request, flow);
        } else {
            self.on_initial(key, request, flow);
        }
    }

    /// A request inside a dialog that isn't ours: proxied if we are in its route, else 481.
    fn on_foreign_dialog_request(&mut self, key: ServerKey, request: Message, flow: Flow) {
        let own = request
            .headers
            .values(Name::Route)
            .next()
            .is_some_and(|route| self.is_own_route(route));
        if own {
            self.proxy(key, request, flow);
        } else {
            self.counters.unknown_dialogs += 1;
            self.reply(key, &request, 481, "Call/Transaction Does Not Exist");
        }
    }

    fn on_initial(&mut self, key: ServerKey, request: Message, flow: Flow) {
        let mut forward = request.clone();
        let own_route = self.take_own_routes(&mut forward);
        let is_known = !self.settings.trust.refuses(&request);
        let way = (flow, own_route.as_deref());
        if is_known && self.is_recorded_first(&forward, way) {
            // It comes back without: the group's function is next then.
            forward.headers.remove(Name::PServedUser);
        } else if is_known && self.takes_for_group(key, &forward, way) {
            return;
        }
        if self.is_for_us(&forward) {
            self.answer_for_ourselves(key, &request);
            return;
        }
        let options: Vec<&str> = request.headers.values(Name::ProxyRequire).collect();
        if !options.is_empty() {
            // RFC 3261 §16.3 item 5.
            let mut response = Message::response(&request, 420, "Bad Extension");
            response.headers.push(Name::Unsupported, options.join(", "));
            self.refuse(key, response);
            return;
        }
        if request
            .headers
            .get(Name::MaxForwards)
            .is_some_and(|hops| hops.trim().parse() == Ok(0_u32))
        {
            self.reply(key, &request, 483, "Too Many Hops");
            return;
        }
        if self.settings.trust.refuses(&request) {
            self.counters.without_identity += 1;
            self.reply(key, &request, 403, "Forbidden");
            return;
        }
        let role = Role::of(&request, own_route.as_deref(), self.settings.role);
        let is_invite = request.method() == Some(&Method::Invite);
        if is_invite && self.waits_for_preferences(role, (key, &request, flow)) {
            return;
        }
        if request.method() == Some(&Method::Message) {
            self.on_pager_message(key, (request, forward), role, flow);
            return;
        }
        if self.begin_interworked(key, &forward, (role, None), flow) {
            return;
        }
        match self.next(&forward, flow) {
            Next::Refuse(code, reason) => {
                if !self.begin_interworked(key, &forward, (role, Some(code)), flow) {
                    self.reply(key, &request, code, reason);
                }
            }
            Next::Lookup(host) => self.park(host, Some(key), request, flow),
            Next::To(_) if *forward.method().unwrap_or(&Method::Invite) != Method::Invite => {
                self.proxy(key, request, flow);
            }
            Next::To(to) => {
                self.on_invite(key, (request, forward), role, (flow, to));
            }
        }
    }

    /// Takes the Routes that name us off a request and gives back the first.
    pub(super) fn take_own_routes(&self, request: &mut Message) -> Option<String> {
        let mut first = None;
        while request
            .headers
            .values(Name::Route)
            .next()
            .is_some_and(|route| self.is_own_route(route))
        {
            let route = request.headers.remove_first_value(Name::Route);
            first = first.or_else(|| route.map(|route| route.to_string()));
        }
        first
    }

    pub(super) fn is_own_route(&self, route: &str) -> bool {
        crate::sip::NameAddr::parse(route)
            .is_ok_and(|route| routing::is_own(route.uri, &self.settings.listen))
    }

    fn is_for_us(&self, forward: &Message) -> bool {
        let own = routing::is_own(
            forward.request_uri().unwrap_or_default(),
            &self.settings.listen,
        );
        let routed = forward.headers.values(Name::Route).next().is_some();
        let local = self.settings.next_hop.is_none() || forward.method() == Some(&Method::Options);
        own && !routed && local
    }

    fn answer_for_ourselves(&mut self, key: ServerKey, request: &Message) {
        match request.method() {
            Some(Method::Options) => {
                let mut response = Message::response(request, 200, "OK");
                response.headers.push(Name::Allow, ALLOW);
                response.headers.push(Name::Accept, "application/sdp");
                response.headers.push(Name::Supported, "100rel, timer");
                self.refuse(key, response);
            }
            Some(Method::Register | Method::Publish) => {
                let mut response = Message::response(request, 405, "Method Not Allowed");
                response.headers.push(Name::Allow, ALLOW);
                self.refuse(key, response);
            }
            _ => self.reply(key, request, 404, "Not Found"),
        }
    }

    /// Where a request without a dialog of ours goes.
    pub(super) fn next(&self, forward: &Message, from: Flow) -> Next {
        // Inside a dialog the far end's own address leads on; the configured hop begins dialogs.
        let is_inside = forward.to_tag().is_some();
        let direct = if is_inside {
            routing::next_hop(forward, None).ok()
        } else {
            None
        };
        let configured = self.settings.next_hop.as_ref();
        let hop = match direct.map_or_else(|| routing::next_hop(forward, configured), Ok) {
            Ok(hop) => hop,
            Err(NoHop::Scheme) => return Next::Refuse(416, "Unsupported URI Scheme"),
            Err(NoHop::Transport) => return Next::Refuse(503, "Service Unavailable"),
            Err(NoHop::Malformed) => return Next::Refuse(400, "Bad Next Hop"),
        };
        match self.address(&hop) {
            Err(host) => Next::Lookup(host),
            Ok(None) => Next::Refuse(404, "Not Found"),
            Ok(Some(address)) if !is_inside && self.is_own_address(address) => {
                Next::Refuse(482, "Loop Detected")
            }
            Ok(Some(address)) => match self.flow_to(hop.protocol, address, from.local) {
                None => Next::Refuse(503, "Service Unavailable"),
                Some(to) if to.remote == to.local || self.listens_at(to.remote, to.protocol) => {
                    Next::Refuse(482, "Loop Detected")
                }
                Some(to) => Next::To(to),
            },
        }
    }

    fn listens_at(&self, address: SocketAddr, protocol: Protocol) -> bool {
        self.settings.listen.contains(&(protocol, address))
    }

    fn is_own_address(&self, address: SocketAddr) -> bool {
        self.settings
            .listen
            .iter()
            .any(|(_, listen)| *listen == address)
    }

    /// A hop's address; `Err` names a host that has to be looked up first.
    fn address(&self, hop: &Hop) -> Result<Option<SocketAddr>, String> {
        if let Some(address) = hop.literal() {
            return Ok(Some(address));
        }
        match self.names.known.get(&hop.host) {
            Some((ip, at)) if self.now.saturating_duration_since(*at) < NAME_KEPT => {
                Ok(ip.map(|ip| SocketAddr::new(ip, hop.port)))
            }
            _ => Err(hop.host.clone()),
        }
    }

    /// The flow to an address, from a listener of its family; the one at `like` if it fits.
    pub(super) fn flow_to(
        &self,
        protocol: Protocol,
        remote: SocketAddr,
        like: SocketAddr,
    ) -> Option<Flow> {
        let fits = |listen: &&(Protocol, SocketAddr)| {
            listen.0 == protocol && listen.1.is_ipv4() == remote.is_ipv4()
        };
        let mut listens = self.settings.listen.iter().filter(fits);
        let same = listens.clone().find(|listen| listen.1.ip() == like.ip());
        let local = same.or_else(|| listens.next())?.1;
        Some(Flow {
            protocol,
            local,
            remote,
            connection: 0,
        })
    }

    /// The flow to a URI inside a dialog; the flow the dialog was made over where its host is a
    /// name that isn't known (any more).
    pub(super) fn flow_in_dialog(&self, uri: &str, made_over: Flow, routed: bool) -> Flow {
        let Ok(hop) = Hop::of(uri) else {
            return made_over;
        };
        // RFC 5923: a client's own connection leads back to it; its Contact may not be reachable.
        if !routed && made_over.connection != 0 && hop.protocol == Protocol::Tcp {
            return made_over;
        }
        let Ok(Some(address)) = self.address(&hop) else {
            return made_over;
        };
        self.flow_to(hop.protocol, address, made_over.local)
            .unwrap_or(made_over)
    }

    /// Keeps a request, or with no key an ACK, until its host's name was looked up.
    pub(super) fn park(
        &mut self,
        host: String,
        key: Option<ServerKey>,
        request: Message,
        flow: Flow,
    ) {
        if self.names.parked.len() >= limits::PARKED_REQUESTS {
            if let Some(key) = key {
                self.unavailable(key, &request);
            }
            return;
        }
        if !self.names.parked.iter().any(|parked| parked.host == host) {
            self.outputs.push_back(Output::Resolve(host.clone()));
        }
        self.names.parked.push(Parked {
            host,
            key,
            request,
            flow,
        });
    }

    pub(super) fn on_resolved(&mut self, host: &str, address: Option<IpAddr>) {
        if self.names.known.len() >= limits::KNOWN_NAMES {
            self.names.known.clear();
        }
        self.names
            .known
            .insert(host.to_owned(), (address, self.now));
        let (ready, parked) = std::mem::take(&mut self.names.parked)
            .into_iter()
            .partition(|parked| parked.host == host);
        self.names.parked = parked;
        let ready: Vec<Parked> = ready;
        for Parked {
            key, request, flow, ..
        } in ready
        {
            match key {
                Some(key) => self.on_request(key, request, flow),
                None => self.proxy_ack(request, flow),
            }
        }
    }

    pub(super) fn on_cancel(&mut self, invite: ServerKey, cancel: &Message) {
        if self.on_seat_cancel(invite) {
            return;
        }
        if let Some(id) = self.invites.get(&invite).copied() {
            self.with(id, |engine, session| {
                engine.on_session_cancel(session, invite, cancel);
            });
        } else if let Some(request) = self.take_waiting(invite) {
            self.reply(invite, &request, 487, "Request Terminated");
        } else if let Some(at) = self
            .names
            .parked
            .iter()
            .position(|parked| parked.key == Some(invite))
        {
            let parked = self.names.parked.swap_remove(at);
            self.reply(invite, &parked.request, 487, "Request Terminated");
        } else {
            self.cancel_proxied(invite, cancel);
        }
    }

    pub(super) fn on_ack(&mut self, key: Option<ServerKey>, mut ack: Message, flow: Flow) {
        routing::undo_strict_router(&mut ack, &self.settings.listen);
        let Some(tag) = ack.to_tag() else { return };
        if let Some(key) = key {
            self.invites.remove(&key);
        }
        let dialog = DialogKey {
            call_id: ack.call_id().to_owned().into(),
            local_tag: tag.to_owned().into(),
        };
        if let (Some(seat), Some(key)) = (self.focus.seat(&dialog), key) {
            self.on_seat_ack(seat, key, &ack);
            return;
        }
        match self.dialogs.get(&dialog).copied() {
            Some(place) => {
                // An ACK for a 2xx that was not given yet answers nothing.
                let Some(key) = key else { return };
                self.with(place.session, |engine, session| {
                    engine.untrack_invite(session, key);
                    engine.on_session_ack(session, place.side, &ack);
                });
            }
            None if key.is_none() => self.proxy_ack(ack, flow),
            None => {}
        }
    }

    /// A request inside one of our dialogs.
    fn on_session_request(
        &mut self,
        session: &mut Session,
        side: Side,
        (key, flow): (ServerKey, Flow),
        request: Message,
    ) {
        if side == Side::B && session.interworked.is_some() {
            self.on_function_request(session, key, request, flow);
            return;
        }
        if !session.is_in_dialog(side, &request) {
            self.counters.unknown_dialogs += 1;
            self.reply(key, &request, 481, "Call/Transaction Does Not Exist");
            return;
        }
        if session.check_seq(side, &request).is_err() {
            // RFC 3261 §12.2.2: a lower number is answered with 500.
            self.reply(key, &request, 500, "Server Internal Error");
            return;
        }
        // The client may have moved: a later connection leads back to it.
        if flow.connection != 0 {
            session.note_flow(side, &request, flow);
        }
        self.on_checked_request(session, side, key, request);
    }

    /// A request inside one of our dialogs, in its order.
    pub(super) fn on_checked_request(
        &mut self,
        session: &mut Session,
        side: Side,
        key: ServerKey,
        request: Message,
    ) {
        let method = request.method().cloned().unwrap_or(Method::Options);
        match (&session.stage, method) {
            (_, Method::Bye) => self.on_bye(session, side, key, request),
            (Stage::Talking, Method::Invite | Method::Update | Method::Prack) => {
                self.on_offering_request(session, side, key, request);
            }
            (Stage::Inviting(_) | Stage::Answering(_), Method::Update | Method::Prack) => {
                self.on_offering_request(session, side, key, request);
            }
            (Stage::Opening(_) | Stage::Inviting(_) | Stage::Answering(_), Method::Invite) => {
                // RFC 3261 §14.2: the first INVITE isn't answered yet.
                self.glare(session, side, key, &request);
            }
            (Stage::Talking | Stage::Inviting(_) | Stage::Answering(_), _) => {
                self.relay_request(session, side, key, request);
            }
            (
                Stage::Opening(_)
                | Stage::Failing
                | Stage::Cancelled { .. }
                | Stage::Closing(_)
                | Stage::Ended,
                _,
            ) => self.reply(key, &request, 481, "Call/Transaction Does Not Exist"),
        }
    }

    /// Answers with a final response that is not the far side's, with our tag.
    pub(super) fn refuse(&mut self, key: ServerKey, mut response: Message) {
        if response.to_tag().is_none() {
            let tag = self.tx.new_tag();
            response.set_to_tag(&tag);
        }
        self.respond(key, response);
    }

    /// 503 with Retry-After: a limit is reached.
    pub(super) fn unavailable(&mut self, key: ServerKey, request: &Message) {
        let mut response = Message::response(request, 503, "Service Unavailable");
        response
            .headers
            .push(Name::RetryAfter, self.settings.retry_after_s.to_string());
        self.refuse(key, response);
    }

    pub(super) fn respond(&mut self, key: ServerKey, mut response: Message) {
        self.watch_response(key, response.code().unwrap_or(0));
        self.server_header(&mut response, Name::Server);
        self.tx.respond(self.now, key, response, Repeat::Ours);
    }
}

/// How long a looked-up name is believed.
const NAME_KEPT: Duration = Duration::from_secs(60);
