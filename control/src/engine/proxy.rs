//! Requests and sessions that are proxied: statefully, with Record-Route, nothing else changed
//! (S11-06; RFC 3261 §16).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Instant;

use super::pager::Watched;
use super::requests::Next;
use super::{Engine, Map, Purpose};
use crate::cpm::routing;
use crate::limits;
use crate::sip::{
    ClientKey, Flow, Message, Method, Name, Protocol, Repeat, ServerKey, Text, Transactions,
};

/// Proxied transactions.
#[derive(Default)]
pub(super) struct ProxyTable {
    by_client: Map<ClientKey, Proxied>,
    by_invite: Map<ServerKey, ClientKey>,
    /// INVITEs that ring: Timer C. Checked against the entry when due.
    ringing: BinaryHeap<Reverse<(Instant, ClientKey)>>,
    /// INVITEs answered with 2xx: kept for other forks' answers until then.
    answered: VecDeque<(Instant, ClientKey)>,
}

struct Proxied {
    server: ServerKey,
    request: Message,
    /// When Timer C fires; `None` once it is answered, or for other methods.
    rings_until: Option<Instant>,
    is_answered: bool,
    /// What its final response means besides.
    watched: Option<Watched>,
}

impl ProxyTable {
    pub(super) fn is_empty(&self) -> bool {
        self.by_client.is_empty()
    }

    /// Transactions that have no answer yet: an answered one is kept only for other forks.
    pub(super) fn unanswered(&self) -> usize {
        self.by_client.len().saturating_sub(self.answered.len())
    }

    pub(super) fn len(&self) -> usize {
        self.by_client.len()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let rings = self.ringing.peek().map(|Reverse((at, _))| *at);
        let answered = self.answered.front().map(|(at, _)| *at);
        [rings, answered].into_iter().flatten().min()
    }

    /// What a request's final response means besides.
    pub(super) fn watch(&mut self, client: ClientKey, watched: Option<Watched>) {
        if let Some(proxied) = self.by_client.get_mut(&client) {
            proxied.watched = watched;
        }
    }

    fn remove(&mut self, client: ClientKey) -> Option<Proxied> {
        let proxied = self.by_client.remove(&client)?;
        self.by_invite.remove(&proxied.server);
        Some(proxied)
    }

    /// Cancels what rang too long (Timer C) and forgets what was answered long ago.
    pub(super) fn expire(
        &mut self,
        now: Instant,
        tx: &mut Transactions,
        clients: &mut Map<ClientKey, Purpose>,
    ) {
        while let Some(Reverse((at, client))) = self.ringing.peek().copied() {
            if at > now {
                break;
            }
            self.ringing.pop();
            let Some(proxied) = self.by_client.get_mut(&client) else {
                continue;
            };
            match proxied.rings_until {
                // RFC 3261 §16.8: a provisional response has come, so CANCEL is sent.
                Some(until) if until <= now => {
                    proxied.rings_until = None;
                    tx.cancel(now, client, &[]);
                }
                Some(until) => self.ringing.push(Reverse((until, client))),
                None => {}
            }
        }
        while let Some((at, client)) = self.answered.front().copied() {
            if at > now {
                break;
            }
            self.answered.pop_front();
            self.remove(client);
            clients.remove(&client);
        }
    }
}

impl Engine {
    /// Proxies a request; it is as it came, with the Routes that name us still on. `None`: it was
    /// answered here, or waits for a name's address.
    pub(super) fn proxy(
        &mut self,
        key: ServerKey,
        request: Message,
        from: Flow,
    ) -> Option<ClientKey> {
        if self.proxied.len() >= limits::PROXIED_TRANSACTIONS {
            self.unavailable(key, &request);
            return None;
        }
        let mut forward = request.clone();
        self.take_own_routes(&mut forward);
        let to = match self.next(&forward, from) {
            Next::To(flow) => flow,
            Next::Refuse(code, reason) => {
                self.reply(key, &request, code, reason);
                return None;
            }
            Next::Lookup(host) => {
                self.park(host, Some(key), request, from);
                return None;
            }
        };
        let Some(hops) = hops_left(&forward) else {
            self.reply(key, &request, 483, "Too Many Hops");
            return None;
        };
        forward.headers.set(Name::MaxForwards, hops.to_string());
        routing::serve_strict_router(&mut forward);
        let is_invite = request.method() == Some(&Method::Invite);
        if makes_dialog(&request) {
            self.record_route(&mut forward, from, to);
        }
        if is_invite {
            self.tx.trying(key);
        }
        match self.tx.request(self.now, forward, to) {
            Err(_) => {
                self.unavailable(key, &request);
                None
            }
            Ok(client) => {
                self.counters.proxied += 1;
                self.clients.insert(client, Purpose::Proxied);
                let until = self.now + self.settings.ringing_max;
                if is_invite {
                    self.proxied.by_invite.insert(key, client);
                    self.proxied.ringing.push(Reverse((until, client)));
                }
                let rings_until = is_invite.then_some(until);
                let proxied = Proxied {
                    server: key,
                    request,
                    rings_until,
                    is_answered: false,
                    watched: None,
                };
                self.proxied.by_client.insert(client, proxied);
                Some(client)
            }
        }
    }

    /// RFC 3261 §16.6 item 4; two entries where the two sides are reached differently (RFC 5658).
    fn record_route(&self, forward: &mut Message, from: Flow, to: Flow) {
        forward
            .headers
            .prepend(Name::RecordRoute, route_entry(from));
        if (from.local, from.protocol) != (to.local, to.protocol) {
            forward.headers.prepend(Name::RecordRoute, route_entry(to));
        }
    }

    pub(super) fn on_proxied_response(
        &mut self,
        client: ClientKey,
        response: Message,
        success: bool,
    ) {
        let code = response.code().unwrap_or(0);
        let now = self.now;
        let mut watched = None;
        let Some(proxied) = self.proxied.by_client.get_mut(&client) else {
            return;
        };
        let server = proxied.server;
        let is_invite = proxied.request.method() == Some(&Method::Invite);
        if code < 200 {
            // RFC 3261 §16.7 item 2: Timer C begins anew.
            if proxied.rings_until.is_some() {
                proxied.rings_until = Some(now + self.settings.ringing_max);
            }
        } else if is_invite && success {
            proxied.rings_until = None;
            if !std::mem::replace(&mut proxied.is_answered, true) {
                // How long another fork's 2xx may still come (RFC 6026 §8.1, timer M).
                let forks_may_answer = self.settings.timers.transaction();
                self.proxied
                    .answered
                    .push_back((now + forks_may_answer, client));
            }
        } else {
            watched = self.proxied.remove(client).and_then(|one| one.watched);
            self.clients.remove(&client);
        }
        let mut response = response;
        response.headers.remove_first_value(Name::Via);
        self.tx.respond(now, server, response, Repeat::Theirs);
        self.on_watched_final(watched, code);
    }

    pub(super) fn on_proxied_failed(&mut self, client: ClientKey, code: u16) {
        let Some(proxied) = self.proxied.remove(client) else {
            return;
        };
        let reason = if code == 408 {
            "Request Timeout"
        } else {
            "Service Unavailable"
        };
        self.reply(proxied.server, &proxied.request, code, reason);
        self.on_watched_final(proxied.watched, code);
    }

    pub(super) fn cancel_proxied(&mut self, invite: ServerKey, cancel: &Message) {
        if let Some(client) = self.proxied.by_invite.get(&invite).copied() {
            let reasons: Vec<Text> = cancel
                .headers
                .all(Name::Reason)
                .map(|reason| Text::from(reason.to_owned()))
                .collect();
            self.tx.cancel(self.now, client, &reasons);
        }
    }

    /// An ACK for a 2xx that was proxied: on along its route.
    pub(super) fn proxy_ack(&mut self, ack: Message, from: Flow) {
        let is_routed = ack
            .headers
            .values(Name::Route)
            .next()
            .is_some_and(|route| self.is_own_route(route));
        let mut forward = ack.clone();
        self.take_own_routes(&mut forward);
        let (Some(hops), true) = (hops_left(&forward), is_routed) else {
            return;
        };
        match self.next(&forward, from) {
            Next::To(to) => {
                forward.headers.set(Name::MaxForwards, hops.to_string());
                routing::serve_strict_router(&mut forward);
                self.tx.send_ack(forward, to);
            }
            Next::Lookup(host) => self.park(host, None, ack, from),
            Next::Refuse(..) => {}
        }
    }
}

/// Max-Forwards for the next hop; `None` when it is used up.
fn hops_left(request: &Message) -> Option<u32> {
    let hops = request
        .headers
        .get(Name::MaxForwards)
        .and_then(|hops| hops.trim().parse::<u32>().ok());
    hops.unwrap_or(70).checked_sub(1)
}

/// Whether a request outside a dialog makes one (and so wants our Record-Route).
fn makes_dialog(request: &Message) -> bool {
    let forms = matches!(
        request.method(),
        Some(Method::Invite | Method::Subscribe | Method::Refer | Method::Notify)
    );
    forms && request.to_tag().is_none()
}

fn route_entry(flow: Flow) -> String {
    let transport = match flow.protocol {
        Protocol::Udp => "",
        Protocol::Tcp => ";transport=tcp",
    };
    format!("<sip:{}{transport};lr>", flow.local)
}
