//! The transaction layer (RFC 3261 §17, RFC 6026): repeats, time-outs, CANCEL and ACK, sans-IO.
//!
//! Packets and time go in with `handle_*`; `poll_transmit` and `poll_event` are read until they
//! are empty after each of these and after each order. Responses are handed up as received, with
//! our Via still on top: who forwards one takes it off.

mod check;
mod client;
mod counters;
mod keys;
mod out;
mod remotes;
mod server;
mod table;
mod timers;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub use counters::{ByCode, ByMethod, SipCounters};
pub use keys::{ClientKey, ServerKey};
pub use timers::Timers;

use self::client::Client;
use self::out::{Fate, Out};
use self::server::{AckIs, Cancelling, Server};
use self::table::Table;
use self::timers::Owner;
use super::parse::{self, ParseError};
use super::via::{self, MAGIC_COOKIE, Via};
use super::{Flow, Message, Method, Name, Text};
use crate::limits::{SIP_RETRY_AFTER_S, SIP_TRANSACTIONS};

/// Who repeats a 2xx to INVITE until its ACK comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeat {
    /// This layer: the response is our own.
    Ours,
    /// The server behind: the response is forwarded.
    Theirs,
}

/// A packet to send.
#[derive(Clone, Debug)]
pub struct Transmit {
    /// Where to.
    pub flow: Flow,
    /// One message.
    pub bytes: Bytes,
}

/// There are as many transactions as the limit allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooMany;

impl std::fmt::Display for TooMany {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{SIP_TRANSACTIONS} client transactions are the limit")
    }
}

impl std::error::Error for TooMany {}

/// News for the user of the transactions.
#[derive(Clone, Debug)]
pub enum TxEvent {
    /// A new request; neither ACK nor CANCEL.
    Request {
        /// What to answer.
        key: ServerKey,
        /// The request, its top Via completed with the source address.
        request: Message,
        /// Where it came from.
        flow: Flow,
    },
    /// A CANCEL for an INVITE without final response. It was answered; the user answers the INVITE
    /// with 487.
    Cancel {
        /// The INVITE.
        invite: ServerKey,
        /// The CANCEL.
        request: Message,
    },
    /// An ACK for a 2xx.
    Ack {
        /// The INVITE, if the 2xx was ours to repeat.
        key: Option<ServerKey>,
        /// The ACK.
        request: Message,
        /// Where it came from.
        flow: Flow,
    },
    /// A provisional response above 100, a final one, or any 2xx of an INVITE's forks, repeats
    /// included.
    Response {
        /// What it answers.
        key: ClientKey,
        /// The response, our Via on top.
        response: Message,
    },
    /// No final response came in time.
    Timeout {
        /// What was not answered.
        key: ClientKey,
    },
    /// The request could not be sent.
    TransportFailed {
        /// What was not sent.
        key: ClientKey,
    },
    /// Our 2xx was repeated for 64 times T1 and no ACK came.
    AckMissing {
        /// The INVITE.
        key: ServerKey,
    },
}

/// All transactions of one node.
#[derive(Debug)]
pub struct Transactions {
    clients: Table<Client>,
    servers: Table<Server>,
    /// Server transactions by what their requests have in common.
    by_id: HashMap<Box<str>, ServerKey>,
    /// INVITE server transactions by the dialog of the 2xx that is ours to repeat.
    by_ack: HashMap<Box<str>, ServerKey>,
    /// Client transactions by where they were sent; ended ones are swept out now and then.
    by_remote: HashMap<SocketAddr, Vec<ClientKey>>,
    remotes_max: usize,
    random: StdRng,
    /// The tag of responses for which no state is kept: ACKs that bear it are absorbed.
    stateless_tag: Text,
    scratch: String,
    out: Out,
}

impl Transactions {
    /// A layer without transactions; all its tags and branches come from the seed.
    #[must_use]
    pub fn new(timers: Timers, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let stateless_tag = token(&mut random);
        Self {
            clients: Table::new(SIP_TRANSACTIONS),
            servers: Table::new(SIP_TRANSACTIONS),
            by_id: HashMap::new(),
            by_ack: HashMap::new(),
            by_remote: HashMap::new(),
            remotes_max: 64,
            random,
            stateless_tag,
            scratch: String::new(),
            out: Out {
                timers,
                ..Out::default()
            },
        }
    }

    /// The same with room for fewer transactions of each kind.
    #[cfg(test)]
    fn with_limit(timers: Timers, seed: u64, limit: usize) -> Self {
        let mut layer = Self::new(timers, seed);
        layer.clients = Table::new(limit);
        layer.servers = Table::new(limit);
        layer
    }

    /// Takes one datagram, or one message of a stream.
    pub fn handle_packet(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        // Line ends, or the four zero bytes of some clients.
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            self.out.counters.keep_alives += 1;
            return;
        }
        match Message::parse(bytes.clone()) {
            Ok(message) => self.handle_message(now, flow, message),
            Err(error) => {
                self.out.counters.malformed += 1;
                if let Some(mut request) = parse::salvage(&bytes) {
                    self.refuse_malformed(&mut request, flow, error);
                }
            }
        }
    }

    /// Takes one message.
    pub fn handle_message(&mut self, now: Instant, flow: Flow, mut message: Message) {
        if !message.is_request() {
            self.handle_response(now, message);
            return;
        }
        if let Err(error) = check::request(&message) {
            self.out.counters.malformed += 1;
            self.refuse_malformed(&mut message, flow, error);
            return;
        }
        // What the request is found by holds the Via as sent, or a 2543 client's would not match.
        check::write_id(&mut self.scratch, &message);
        note_source(&mut message, flow);
        let reply = check::reply_flow(&message, flow);
        let known = self.by_id.get(self.scratch.as_str()).copied();
        match message.method() {
            Some(Method::Ack) => self.handle_ack(now, known, message, flow),
            Some(Method::Cancel) => self.handle_cancel(now, known, message, reply),
            _ => match known.and_then(|key| self.servers.get_mut(key.0)) {
                Some(server) => {
                    self.out.counters.retransmissions_in += 1;
                    server.handle_again(reply, &mut self.out);
                }
                None => self.handle_new(now, message, flow, reply),
            },
        }
    }

    fn handle_new(&mut self, now: Instant, request: Message, flow: Flow, reply: Flow) {
        if self.servers.is_full() {
            self.out.counters.refused += 1;
            let mut response = Message::response(&request, 503, "Service Unavailable");
            response
                .headers
                .push(Name::RetryAfter, SIP_RETRY_AFTER_S.to_string());
            self.respond_stateless(response, reply);
            return;
        }
        if let Some(method) = request.method() {
            self.out.counters.requests_in.add(method);
        }
        let key = ServerKey(self.servers.next_key());
        let id = Box::<str>::from(self.scratch.as_str());
        let server = Server::start(now, key, id.clone(), (&request, reply), &mut self.out);
        self.servers.insert(server);
        self.by_id.insert(id, key);
        self.out.event(TxEvent::Request { key, request, flow });
    }

    fn handle_ack(&mut self, now: Instant, known: Option<ServerKey>, request: Message, flow: Flow) {
        self.out.counters.requests_in.add(&Method::Ack);
        if request.to_tag() == Some(self.stateless_tag.as_str()) {
            return;
        }
        if let Some(server) = known.and_then(|key| self.servers.get_mut(key.0)) {
            let key = server.key;
            if let AckIs::Absorbed(fate) = server.handle_ack(now, &mut self.out) {
                self.settle_server(key, fate);
                return;
            }
        }
        check::write_ack_id(&mut self.scratch, &request);
        let key = self.by_ack.get(self.scratch.as_str()).copied();
        if let Some(server) = key.and_then(|key| self.servers.get_mut(key.0)) {
            server.stop_repeating();
        }
        self.out.event(TxEvent::Ack { key, request, flow });
    }

    fn handle_cancel(
        &mut self,
        now: Instant,
        known: Option<ServerKey>,
        request: Message,
        reply: Flow,
    ) {
        let Some(server) = known.and_then(|key| self.servers.get_mut(key.0)) else {
            self.out.counters.stray_cancels += 1;
            let text = "Call/Transaction Does Not Exist";
            self.respond_stateless(Message::response(&request, 481, text), reply);
            return;
        };
        if let Some(cancel) = &server.cancel {
            self.out.counters.retransmissions_in += 1;
            self.out.send_again(reply, &cancel.answer);
            return;
        }
        self.out.counters.requests_in.add(&Method::Cancel);
        let mut response = Message::response(&request, 200, "OK");
        if response.to_tag().is_none() {
            response.set_to_tag(&token(&mut self.random));
        }
        let lingers = !reply.protocol.is_reliable();
        server.cancel = Some(Cancelling {
            answer: self.out.send(reply, &response),
            until: match lingers {
                true => now + self.out.timers.transaction(),
                false => now,
            },
        });
        if server.is_proceeding_invite() {
            let invite = server.key;
            self.out.event(TxEvent::Cancel { invite, request });
        }
    }

    fn handle_response(&mut self, now: Instant, response: Message) {
        let Some((key, method)) = self.client_of(&response) else {
            self.out.counters.stray_responses += 1;
            return;
        };
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        self.out
            .counters
            .responses_in
            .add(response.code().unwrap_or(0));
        if method == Method::Cancel {
            client.handle_cancel_response(response.code().unwrap_or(0));
            return;
        }
        let fate = client.handle_response(now, response, &mut self.out);
        self.settle_client(key, fate);
    }

    /// RFC 3261 §17.1.3: the branch and the method of CSeq. Our branch says where to look.
    fn client_of(&self, response: &Message) -> Option<(ClientKey, Method)> {
        let via = Via::parse(response.headers.values(Name::Via).next()?).ok()?;
        let branch = via.branch()?;
        let (key, _) = branch.strip_prefix(MAGIC_COOKIE)?.split_once('.')?;
        let key = ClientKey(u64::from_str_radix(key, 16).ok()?);
        let client = self
            .clients
            .get(key.0)
            .filter(|client| client.branch == branch)?;
        let (_, method) = response.cseq()?;
        let sent = client.request.method()?;
        let matches = method == *sent || (method == Method::Cancel && *sent == Method::Invite);
        matches.then_some((key, method))
    }

    /// Answers what is malformed, where it says who asked.
    fn refuse_malformed(&mut self, request: &mut Message, flow: Flow, error: ParseError) {
        if request.method() == Some(&Method::Ack) || check::addressed(request).is_err() {
            return;
        }
        note_source(request, flow);
        let reply = check::reply_flow(request, flow);
        let response = match error {
            ParseError::Version => Message::response(request, 505, "Version Not Supported"),
            ParseError::TooLong { .. } => Message::response(request, 513, "Message Too Large"),
            error => Message::response(request, 400, error.to_string()),
        };
        self.respond_stateless(response, reply);
    }

    fn respond_stateless(&mut self, mut response: Message, reply: Flow) {
        if response.to_tag().is_none() {
            response.set_to_tag(&self.stateless_tag);
        }
        self.out.send(reply, &response);
    }

    /// Lets waits end that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((owner, wait)) = self.out.lanes.pop(now) {
            match owner {
                Owner::Client(key) => {
                    let Some(client) = self.clients.get_mut(key) else {
                        continue;
                    };
                    let fate = client.handle_wait(now, wait, &mut self.out);
                    self.settle_client(ClientKey(key), fate);
                }
                Owner::Server(key) => {
                    let Some(server) = self.servers.get_mut(key) else {
                        continue;
                    };
                    let fate = server.handle_wait(now, wait, &mut self.out);
                    self.settle_server(ServerKey(key), fate);
                }
            }
        }
    }

    /// When [`Self::handle_timeout`] is next due; it may turn out that there was nothing to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.out.lanes.next()
    }

    /// Takes the next packet to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.out.transmits.pop_front()
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<TxEvent> {
        self.out.events.pop_front()
    }

    /// Puts our Via on top of a request and sends it. Neither an ACK nor a CANCEL. One that is too
    /// long for its transport has failed at once, and nothing else that goes the same way.
    ///
    /// # Errors
    /// [`TooMany`] where the table is full; nothing is sent then.
    pub fn request(
        &mut self,
        now: Instant,
        mut request: Message,
        flow: Flow,
    ) -> Result<ClientKey, TooMany> {
        debug_assert!(!matches!(
            request.method(),
            Some(Method::Ack | Method::Cancel) | None
        ));
        if self.clients.is_full() {
            self.out.counters.refused += 1;
            return Err(TooMany);
        }
        let key = ClientKey(self.clients.next_key());
        let branch = Text::from(format!(
            "{MAGIC_COOKIE}{:x}.{:016x}",
            key.0,
            self.random.next_u64()
        ));
        request
            .headers
            .prepend(Name::Via, via::own(flow.protocol, flow.local, &branch));
        let client = Client::start(now, key, branch, (request, flow), &mut self.out);
        if client.is_too_long() {
            client.fail(&mut self.out);
            self.clients.insert(client);
            self.clients.remove(key.0);
            return Ok(key);
        }
        self.clients.insert(client);
        self.remember_remote(flow.remote, key);
        Ok(key)
    }

    /// Sends an ACK for a 2xx, or another request that nothing is expected for, once.
    pub fn send_ack(&mut self, mut ack: Message, flow: Flow) {
        let branch = format!("{MAGIC_COOKIE}{:016x}", self.random.next_u64());
        ack.headers
            .prepend(Name::Via, via::own(flow.protocol, flow.local, &branch));
        self.out.send(flow, &ack);
    }

    /// Answers a request; nothing happens if it has a final response or is gone. The user gives To
    /// its tag. After a first 2xx to INVITE further ones, as from other forks, are sent once each.
    pub fn respond(&mut self, now: Instant, key: ServerKey, response: Message, repeat: Repeat) {
        let Some(server) = self.servers.get_mut(key.0) else {
            return;
        };
        let accepts = server.is_proceeding_invite() && matches!(response.code(), Some(200..300));
        let fate = server.respond(now, &response, repeat, &mut self.out);
        if accepts && repeat == Repeat::Ours {
            check::write_ack_id(&mut self.scratch, &response);
            let id = Box::<str>::from(self.scratch.as_str());
            server.ack_id = Some(id.clone());
            self.by_ack.insert(id, key);
        }
        self.settle_server(key, fate);
    }

    /// Sends 100 Trying at once instead of after 200 ms; INVITE only.
    pub fn trying(&mut self, key: ServerKey) {
        if let Some(server) = self.servers.get_mut(key.0) {
            server.send_trying(&mut self.out);
        }
    }

    /// Cancels an INVITE now, or when its first provisional response comes. Its end arrives as
    /// usual: a final response (487, or a 2xx that crossed), or a time-out after 64 times T1.
    pub fn cancel(&mut self, now: Instant, key: ClientKey, reasons: &[Text]) {
        if let Some(client) = self.clients.get_mut(key.0) {
            client.cancel(now, reasons, &mut self.out);
        }
    }

    /// The user wants no further events of it; on the wire it goes on.
    pub fn forget(&mut self, key: ClientKey) {
        if let Some(client) = self.clients.get_mut(key.0) {
            client.wanted = false;
        }
    }

    /// The request as sent, while its transaction lasts.
    #[must_use]
    pub fn invite_of(&self, key: ClientKey) -> Option<&Message> {
        self.clients.get(key.0).map(|client| &client.request)
    }

    /// Where the request was sent, while its transaction lasts.
    #[must_use]
    pub fn flow_of(&self, key: ClientKey) -> Option<Flow> {
        self.clients.get(key.0).map(|client| client.flow)
    }

    /// How many transactions there are, of both kinds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.len() + self.servers.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &SipCounters {
        &self.out.counters
    }

    /// A new tag: 64 random bits.
    pub fn new_tag(&mut self) -> Text {
        token(&mut self.random)
    }

    /// A new Call-ID: 128 random bits.
    pub fn new_call_id(&mut self) -> Text {
        Text::from(format!(
            "{:016x}{:016x}",
            self.random.next_u64(),
            self.random.next_u64()
        ))
    }

    fn settle_client(&mut self, key: ClientKey, fate: Fate) {
        if fate == Fate::End {
            self.clients.remove(key.0);
        }
    }

    fn settle_server(&mut self, key: ServerKey, fate: Fate) {
        if fate == Fate::End
            && let Some(server) = self.servers.remove(key.0)
        {
            self.by_id.remove(&server.id);
            if let Some(id) = server.ack_id
                && self.by_ack.get(&id) == Some(&key)
            {
                self.by_ack.remove(&id);
            }
        }
    }
}

fn token(random: &mut StdRng) -> Text {
    Text::from(format!("{:016x}", random.next_u64()))
}

/// Writes the source into the top Via (RFC 3261 §18.2.1, RFC 3581 §4).
fn note_source(request: &mut Message, flow: Flow) {
    let top = request.headers.values(Name::Via).next();
    if let Some(noted) = top.and_then(|top| via::with_source(top, flow.remote)) {
        request.headers.replace_first_value(Name::Via, noted);
    }
}
