//! The sans-IO heart: SIP, worker news and time go in; messages, orders and records come out.
//!
//! This file only routes; each procedure has a file of its own:
//!
//! | file | procedure |
//! |---|---|
//! | [`requests`] | which procedure a request belongs to |
//! | [`invite`], [`answer`] | a session from its INVITE to its answer, as B2BUA |
//! | [`forks`], [`branches`] | the INVITEs of one session to several devices |
//! | [`failing`] | a session that does not come about |
//! | [`again`] | an offer made anew, as the answer to the first one can't be used |
//! | [`modify`] | offers inside a session, and requests that are only passed on |
//! | [`closing`] | BYE, expiry, loss: release first, then store, then tell the far side |
//! | [`interwork`] | a far side of several Interworking Functions |
//! | [`focus`] | group sessions, as Controlling Function |
//! | [`history`] | a session's history: asked for, waited for |
//! | [`proxy`] | requests and sessions that are proxied |
//! | [`serving`] | who is served, and what holds for that user |
//! | [`preferences`] | what served users want, and INVITEs that wait for it |
//! | [`pager`] | messages outside of sessions, and their notifications |
//! | [`orders`] | orders to the workers and what follows when they are done |
//! | [`registration`], [`subscribing`] | which devices users have registered |
//! | [`session`] | what is kept of a session |
//! | [`views`], [`counters`] | what the operator sees |

mod again;
mod answer;
mod branches;
mod closing;
mod counters;
mod failing;
mod focus;
mod forks;
mod history;
mod interwork;
mod invite;
mod late;
mod modify;
mod orders;
mod pager;
mod preferences;
mod proxy;
mod refresh;
mod registration;
mod requests;
mod serving;
mod session;
mod settings;
mod subscribing;
#[cfg(test)]
mod tests;
mod views;

pub use counters::Counters;
pub use preferences::AskPreferences;
pub use settings::{ByeAck, LateOffer, Registration, Settings, SubscribeWhen};
pub use views::Census;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use dataplane::api::{Event, MemberId, Order, SessionId};

use crate::cdr::Cdr;
use crate::cpm::devices::UserId;
use crate::history::Ask;
use crate::sip::{ClientKey, Flow, Message, ServerKey, Text, Transactions, Transmit, TxEvent};
use orders::After;
use proxy::ProxyTable;
use registration::Registrar;
use session::{DialogKey, Place, Session, Stage};

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// What the engine wants done, besides sending SIP.
#[derive(Debug)]
pub enum Output {
    /// An order for a worker.
    Order {
        /// The worker's number.
        worker: usize,
        /// The order.
        order: Box<Order>,
    },
    /// A session's record.
    Cdr(Box<Cdr>),
    /// Something that the history has to do; only where [`Settings::store_deadline`] is set.
    History(Box<Ask>),
    /// A host name to be turned into an address, for [`Engine::handle_resolved`].
    Resolve(String),
    /// A user, by an address, whose preferences are wanted, for [`Engine::handle_preferences`].
    Preferences(String),
}

/// What a client transaction is for.
#[derive(Debug)]
enum Purpose {
    /// The INVITE that makes a session.
    Invite(SessionId),
    /// The offer made anew to side B before the session's answer is given.
    Again(SessionId),
    /// A request of one side, passed on to the other.
    Relayed(SessionId),
    /// A BYE that ends a session's leg.
    Bye(SessionId),
    /// A proxied request.
    Proxied,
    /// A request to an Interworking Function, of the session's far side.
    Function(SessionId),
    /// An INVITE that nobody waits for any more: a dialog that it makes is ended at once.
    Abandoned,
    /// A request to a participant of a group session.
    Member(SessionId, MemberId),
    /// A NOTIFY to who has subscribed to a group session.
    Watcher(SessionId, u32),
    /// A subscription to a user's registration information.
    Subscribe(UserId),
    /// A superfluous fork's BYE: nobody waits for its answer.
    Orphan,
}

/// The engine.
pub struct Engine {
    settings: Arc<Settings>,
    tx: Transactions,
    now: Instant,
    base: (Instant, SystemTime),
    sessions: Map<u64, Box<Session>>,
    dialogs: Map<DialogKey, Place>,
    /// INVITE server transactions that a CANCEL may be for.
    invites: Map<ServerKey, SessionId>,
    clients: Map<ClientKey, Purpose>,
    proxied: ProxyTable,
    registrar: Registrar,
    /// Group sessions.
    focus: focus::FocusTable,
    /// Orders that have not come back, by mark: the session, its worker, what follows.
    orders: Map<u64, (SessionId, usize, After)>,
    deadlines: BinaryHeap<Reverse<(Instant, u64)>>,
    outputs: VecDeque<Output>,
    /// Orders that have no worker to go to: they follow as refused.
    unanswerable: VecDeque<u64>,
    names: requests::Names,
    wishes: preferences::Wishes,
    pager: pager::Pager,
    next_session: u64,
    next_mark: u64,
    workers: Vec<orders::WorkerLoad>,
    counters: Counters,
    /// When far sides of interworked sessions want to be looked at.
    far_deadlines: BinaryHeap<Reverse<(Instant, u64)>>,
    /// Requests whose final response an interworked session waits for, and its code.
    watched: Map<ServerKey, Option<u16>>,
    /// Reports that were asked for and have not come.
    reports_due: usize,
    draining: bool,
}

impl Engine {
    /// Makes an engine that drives `workers` workers.
    #[must_use]
    pub fn new(
        settings: Settings,
        workers: usize,
        seed: u64,
        now: Instant,
        wall: SystemTime,
    ) -> Self {
        let tx = Transactions::new(settings.timers, seed);
        let registrar = Registrar::new(settings.registration.as_ref(), now);
        Self {
            settings: Arc::new(settings),
            tx,
            now,
            base: (now, wall),
            sessions: Map::default(),
            dialogs: Map::default(),
            invites: Map::default(),
            clients: Map::default(),
            proxied: ProxyTable::default(),
            registrar,
            focus: focus::FocusTable::default(),
            orders: Map::default(),
            deadlines: BinaryHeap::new(),
            outputs: VecDeque::new(),
            unanswerable: VecDeque::new(),
            names: requests::Names::default(),
            wishes: preferences::Wishes::default(),
            pager: pager::Pager::default(),
            next_session: 1,
            next_mark: 1,
            workers: vec![orders::WorkerLoad::default(); workers],
            counters: Counters::default(),
            far_deadlines: BinaryHeap::new(),
            watched: Map::default(),
            reports_due: 0,
            draining: false,
        }
    }

    /// Takes a SIP message, as it came.
    pub fn handle_packet(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        self.now = now;
        self.tx.handle_packet(now, flow, bytes);
        self.take_events();
    }

    /// Takes the news that nothing can be sent to a far end.
    pub fn handle_transport_error(&mut self, now: Instant, flow: Flow) {
        self.now = now;
        self.tx.handle_transport_error(now, flow);
        self.take_events();
    }

    /// Takes a worker's news.
    pub fn handle_news(&mut self, now: Instant, worker: usize, event: Event) {
        self.now = now;
        match event {
            Event::Done(order) => self.on_order_done(*order),
            Event::ConnectionLost {
                session, stream, ..
            } => Self::on_connection_lost(session, stream),
            Event::Silent {
                session,
                stream,
                side,
            } => self.on_silent(session, stream, side),
            Event::Heard {
                session,
                stream,
                side,
            } => self.on_heard(session, stream, side),
            Event::MemberSilent { .. }
            | Event::MemberHeard { .. }
            | Event::MemberLost { .. }
            | Event::Speaking { .. }
            | Event::FloorChanged { .. } => self.on_member_news(event),
        }
        let _ = worker;
        self.take_events();
    }

    /// Takes the news that a worker is gone: its sessions are, too.
    pub fn handle_worker_lost(&mut self, now: Instant, worker: usize) {
        self.now = now;
        self.on_worker_lost(worker);
        self.take_events();
    }

    /// Takes a name's address, or that it has none.
    pub fn handle_resolved(&mut self, now: Instant, host: &str, address: Option<std::net::IpAddr>) {
        self.now = now;
        self.on_resolved(host, address);
        self.take_events();
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.tx.handle_timeout(now);
        self.take_events();
        while let Some(Reverse((at, id))) = self.deadlines.peek().copied() {
            if at > now {
                break;
            }
            self.deadlines.pop();
            self.on_deadline(at, SessionId(id));
        }
        self.proxied.expire(now, &mut self.tx, &mut self.clients);
        self.handle_far_timeout(now);
        self.handle_focus_timeout(now);
        self.handle_pager_timeout(now);
        self.expire_waiting();
        self.expire_registrations();
        self.take_events();
    }

    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let session = self.deadlines.peek().map(|Reverse((at, _))| *at);
        let far = self.far_deadlines.peek().map(|Reverse((at, _))| *at);
        let others = [
            self.tx.poll_timeout(),
            self.proxied.poll_timeout(),
            self.registrar.poll_timeout(),
            self.wishes.poll_timeout(),
            self.focus.poll_timeout(),
            self.pager.poll_timeout(),
        ];
        let all = others.into_iter().chain([session, far]);
        all.flatten().min()
    }

    /// The next SIP message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.tx.poll_transmit()
    }

    /// The next other thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Takes no new sessions from now on.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Ends every session with a BYE to both sides.
    pub fn end_all(&mut self, now: Instant) {
        self.now = now;
        let ids: Vec<u64> = self.sessions.keys().copied().collect();
        for id in ids {
            self.end_session(SessionId(id), closing::Why::Drained);
        }
        self.end_all_groups();
        self.give_all_held();
        self.take_events();
    }

    /// Sessions there are, whatever their stage.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len() + self.focus.len()
    }

    /// What somebody still waits for: sessions, and proxied requests without an answer.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.sessions() + self.proxied.unanswered() + self.wishes.waiting()
    }

    /// Whether nothing is left: no session, transaction, order or deadline that matters.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.sessions.is_empty()
            && self.dialogs.is_empty()
            && self.focus.is_empty()
            && self.invites.is_empty()
            && self.clients.is_empty()
            && self.orders.is_empty()
            && self.proxied.is_empty()
            && self.watched.is_empty()
            && self.wishes.waiting() == 0
            && self.tx.is_empty()
    }

    fn take_events(&mut self) {
        self.take_tx_events();
        while let Some(mark) = self.unanswerable.pop_front() {
            self.follow_refused(mark);
            self.take_tx_events();
        }
    }

    fn take_tx_events(&mut self) {
        while let Some(event) = self.tx.poll_event() {
            match event {
                TxEvent::Request { key, request, flow } => self.on_request(key, request, flow),
                TxEvent::Cancel { invite, request } => self.on_cancel(invite, &request),
                TxEvent::Ack { key, request, flow } => self.on_ack(key, request, flow),
                TxEvent::Response { key, response } => self.on_response(key, response),
                TxEvent::Timeout { key } => self.on_no_response(key, 408),
                TxEvent::TransportFailed { key } => self.on_no_response(key, 503),
                TxEvent::AckMissing { key } => self.on_ack_missing(key),
            }
        }
    }

    fn on_response(&mut self, key: ClientKey, response: Message) {
        let last = response.code().unwrap_or(0) >= 200;
        let success = last && response.code().unwrap_or(0) < 300;
        let Some(purpose) = self.clients.get(&key) else {
            self.end_stray_fork(key, &response);
            return;
        };
        match *purpose {
            Purpose::Invite(session) => self.on_invite_response(session, key, response),
            Purpose::Again(session) => {
                if last {
                    self.clients.remove(&key);
                }
                self.on_again_response(session, key, response);
            }
            Purpose::Relayed(session) => {
                if last {
                    self.clients.remove(&key);
                }
                self.on_relayed_response(session, key, response);
            }
            Purpose::Bye(session) => {
                if last {
                    self.clients.remove(&key);
                    self.on_bye_final(session, key, Some(&response));
                }
            }
            Purpose::Function(session) => self.on_function_response(session, key, Ok(response)),
            Purpose::Abandoned => {
                if success {
                    self.end_fork(key, &response);
                }
                if last {
                    self.clients.remove(&key);
                }
            }
            Purpose::Member(session, member) => {
                self.on_member_response((session, member), key, Ok(response));
            }
            Purpose::Watcher(session, watcher) => {
                if last {
                    self.clients.remove(&key);
                    self.on_notify_final(session, watcher, response.code().unwrap_or(0));
                }
            }
            Purpose::Proxied => self.on_proxied_response(key, response, success),
            Purpose::Subscribe(user) => {
                if last {
                    self.clients.remove(&key);
                    self.on_subscribe_final(user, key, Some(&response));
                }
            }
            Purpose::Orphan => {
                if last {
                    self.clients.remove(&key);
                    self.on_orphan_final(key, response.code().unwrap_or(0));
                }
            }
        }
    }

    fn on_no_response(&mut self, key: ClientKey, code: u16) {
        let Some(purpose) = self.clients.remove(&key) else {
            return;
        };
        match purpose {
            Purpose::Invite(session) => self.on_invite_failed(session, key, code),
            Purpose::Again(session) => self.on_again_failed(session, key),
            Purpose::Relayed(session) => self.on_relayed_failed(session, key, code),
            Purpose::Bye(session) => self.on_bye_final(session, key, None),
            Purpose::Member(session, member) => {
                self.on_member_response((session, member), key, Err(code));
            }
            Purpose::Watcher(session, watcher) => self.on_notify_final(session, watcher, code),
            Purpose::Proxied => self.on_proxied_failed(key, code),
            Purpose::Function(session) => self.on_function_response(session, key, Err(code)),
            Purpose::Subscribe(user) => self.on_subscribe_final(user, key, None),
            Purpose::Orphan => self.on_orphan_final(key, code),
            Purpose::Abandoned => {}
        }
    }

    /// Works on a session; it is forgotten when it has ended by then.
    fn with<R>(
        &mut self,
        id: SessionId,
        work: impl FnOnce(&mut Self, &mut Session) -> R,
    ) -> Option<R> {
        let mut session = self.sessions.remove(&id.0)?;
        let result = work(self, &mut session);
        self.tidy_far(&mut session);
        if matches!(session.stage, Stage::Ended) {
            self.forget(*session);
        } else {
            self.sessions.insert(id.0, session);
            self.give_ready(id);
        }
        Some(result)
    }

    fn set_deadline(&mut self, session: &mut Session, after: Duration) {
        self.set_deadline_at(session, Some(self.now + after));
    }

    fn set_deadline_at(&mut self, session: &mut Session, at: Option<Instant>) {
        session.deadline = at;
        self.arm(session);
    }

    /// Sees to it that the session's deadline is looked at in time. A deadline that only moves
    /// back, as with each refresh, takes no further entry.
    fn arm(&mut self, session: &mut Session) {
        let Some(at) = session.deadline else { return };
        if session.armed.is_none_or(|armed| at < armed) {
            session.armed = Some(at);
            self.deadlines.push(Reverse((at, session.id.0)));
        }
    }

    fn on_deadline(&mut self, at: Instant, id: SessionId) {
        let is_armed = self
            .sessions
            .get(&id.0)
            .is_some_and(|session| session.armed == Some(at));
        if !is_armed {
            return;
        }
        self.with(id, |engine, session| {
            session.armed = None;
            if session.deadline.is_some_and(|due| due <= at) {
                engine.on_session_deadline(session);
            } else {
                engine.arm(session);
            }
        });
    }

    fn wall(&self, at: Instant) -> SystemTime {
        self.base.1 + at.saturating_duration_since(self.base.0)
    }

    fn reply(&mut self, key: ServerKey, request: &Message, code: u16, reason: &'static str) {
        let mut response = Message::response(request, code, reason);
        if code > 100 && response.to_tag().is_none() {
            let tag = self.tx.new_tag();
            response.set_to_tag(&tag);
        }
        self.respond(key, response);
    }

    fn server_header(&self, message: &mut Message, name: crate::sip::Name) {
        if let Some(text) = &self.settings.user_agent
            && message.headers.get(name).is_none()
        {
            message.headers.push(name, Text::clone(text));
        }
    }
}
