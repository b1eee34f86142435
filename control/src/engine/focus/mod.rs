//! Group sessions, which the relay hosts as Controlling Function (System Description 5.2.3.2 to
//! 5.2.3.9; RFC 4353, RFC 4579).
//!
//! A session has a dialog with each participant and a leg for each of them in each room. Nothing is
//! said to a participant before the worker has done what it is about.
//!
//! | file | procedure |
//! |---|---|
//! | [`begin`] | a session from its first INVITE on |
//! | [`invite`] | participants who are invited |
//! | [`join`] | participants who come themselves |
//! | [`leave`] | who leaves, who is released, the session's end |
//! | [`loss`] | media that are silent or lost |
//! | [`modify`] | offers of participants |
//! | [`offers`] | offers to participants |
//! | [`refer`] | who is added and removed by others |
//! | [`events`], [`told`] | participant information |
//! | [`floors`] | who holds them, who speaks |
//! | [`pager`], [`notices`] | messages to a group, outside of sessions, and what becomes of them |
//! | [`orders`] | orders to the worker and what follows them |
//! | [`due`] | what is due after every message, and in time |
//! | [`state`], [`roll`], [`watchers`] | what is kept of a session |
//! | [`views`] | records and what the operator sees |

mod begin;
mod due;
mod events;
mod floors;
mod invite;
mod join;
mod leave;
mod loss;
mod modify;
mod notices;
mod offers;
mod orders;
mod pager;
mod refer;
mod roll;
mod state;
mod told;
mod views;
mod watchers;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use dataplane::api::{MemberId, SessionId};

use super::requests::ALLOW;
use super::session::DialogKey;
use super::{Engine, Map};
use crate::cpm::groups::{Addressed, Group};
use crate::cpm::routing;
use crate::sip::{ClientKey, Flow, Message, Method, Name, ServerKey, Text, Uri};

pub(super) use orders::After;
pub(super) use state::{Focus, Parting};
use state::{Member, State};

/// The group sessions there are, and what leads to them.
#[derive(Default)]
pub(super) struct FocusTable {
    sessions: Map<u64, Box<Focus>>,
    /// By the user part of their identity.
    identities: Map<Text, SessionId>,
    /// Those of pre-defined groups, by the group's address.
    by_group: Map<String, SessionId>,
    dialogs: Map<DialogKey, Seat>,
    /// INVITEs of participants: what CANCEL and a missing ACK name.
    invites: Map<ServerKey, Seat>,
    /// When something is due, in which session: one entry for each that waits for anything.
    deadlines: BTreeSet<(Instant, u64)>,
    /// Messages to groups outside of sessions.
    notices: notices::Notices,
}

/// Whose a dialog is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seat {
    /// A participant's.
    Member(SessionId, MemberId),
    /// That of a subscription.
    Watcher(SessionId, u32),
}

/// What a request outside of dialogs is for.
enum Target {
    Group(Arc<Group>),
    Factory,
    Session(SessionId),
    /// A session that has ended.
    Gone,
}

impl FocusTable {
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
            && self.identities.is_empty()
            && self.by_group.is_empty()
            && self.dialogs.is_empty()
            && self.invites.is_empty()
            && self.deadlines.is_empty()
    }

    pub(super) fn dialogs(&self) -> usize {
        self.dialogs.len()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let session = self.deadlines.first().map(|(at, _)| *at);
        session.into_iter().chain(self.notices.poll_timeout()).min()
    }

    /// Whose dialog a message is of.
    pub(super) fn seat(&self, dialog: &DialogKey) -> Option<Seat> {
        self.dialogs.get(dialog).copied()
    }
}

impl Engine {
    /// A request outside of dialogs; whether it is for a group session of ours.
    pub(super) fn takes_for_group(
        &mut self,
        key: ServerKey,
        request: &Message,
        (flow, own_route): (Flow, Option<&str>),
    ) -> bool {
        let Some(target) = self.target_of(request) else {
            return false;
        };
        if let Some(unknown) = unknown_options(request) {
            let mut response = Message::response(request, 420, "Bad Extension");
            response.headers.push(Name::Unsupported, unknown);
            self.refuse(key, response);
            return true;
        }
        let method = request.method().cloned().unwrap_or(Method::Options);
        match (target, method) {
            (Target::Gone, Method::Subscribe) => {
                self.reply(key, request, 481, "Subscription Does Not Exist");
            }
            (Target::Gone, _) => self.reply(key, request, 404, "Not Found"),
            (Target::Group(group), Method::Invite) => {
                self.on_group_invite(key, request, group, (flow, own_route));
            }
            (Target::Group(group), Method::Message) => {
                self.on_group_message(key, request, &group, (flow, own_route));
            }
            (Target::Factory, Method::Invite) => {
                self.begin_ad_hoc(key, request, (flow, own_route));
            }
            (Target::Session(id), Method::Invite) => {
                self.on_join(id, key, request, (flow, own_route));
            }
            (Target::Session(id), Method::Refer) => self.on_refer(id, key, request, flow),
            (Target::Session(id), Method::Subscribe) => {
                self.on_group_subscribe(id, key, request, flow);
            }
            (Target::Group(group), Method::Refer | Method::Subscribe) => {
                self.reply_without_session(key, request, &group);
            }
            (_, Method::Options) => self.answer_options(key, request),
            (_, _) => {
                let mut response = Message::response(request, 405, "Method Not Allowed");
                response.headers.push(Name::Allow, ALLOW);
                self.refuse(key, response);
            }
        }
        true
    }

    /// Whether a request is for a group session of this server's.
    pub(super) fn hosts(&self, request: &Message) -> bool {
        self.target_of(request).is_some()
    }

    /// A REFER or SUBSCRIBE by the group's address leads to its session, if there is one.
    fn reply_without_session(&mut self, key: ServerKey, request: &Message, group: &Group) {
        let (code, reason) = match group.address {
            Some(_) => (480, "Temporarily Unavailable"),
            None => (404, "Not Found"),
        };
        self.reply(key, request, code, reason);
    }

    fn answer_options(&mut self, key: ServerKey, request: &Message) {
        let mut response = Message::response(request, 200, "OK");
        response.headers.push(Name::Allow, ALLOW);
        response.headers.push(Name::Accept, "application/sdp");
        response.headers.push(Name::AllowEvents, "conference");
        response.headers.push(
            Name::Supported,
            "timer, norefersub, recipient-list-invite, multiple-refer",
        );
        self.refuse(key, response);
    }

    fn target_of(&self, request: &Message) -> Option<Target> {
        let uri = request.request_uri()?;
        if let Some(token) = self.identity_token(uri) {
            let found = self.focus.identities.get(token).copied();
            return Some(found.map_or(Target::Gone, Target::Session));
        }
        Some(match self.settings.groups.find(uri)? {
            Addressed::Factory => Target::Factory,
            Addressed::Group(group) => {
                let is_for_group =
                    matches!(request.method(), Some(Method::Invite | Method::Message));
                let running = group.address.as_deref().and_then(|address| {
                    let key = crate::cpm::policy::user_key(address);
                    self.focus.by_group.get(&key).copied()
                });
                match running {
                    Some(id) if !is_for_group => Target::Session(id),
                    _ => Target::Group(group),
                }
            }
        })
    }

    /// The user part of a session identity of this server's, of a session that is or was.
    fn identity_token<'a>(&self, uri: &'a str) -> Option<&'a str> {
        let user = Uri::parse(uri).ok()?.user?;
        let is_token = user.starts_with(IDENTITY_PREFIX);
        (is_token && routing::is_own(uri, &self.settings.listen)).then_some(user)
    }

    /// Where a group's session is running.
    fn running(&self, group: &Group) -> Option<SessionId> {
        let key = crate::cpm::policy::user_key(group.address.as_deref()?);
        self.focus.by_group.get(&key).copied()
    }

    /// An INVITE to a group's address: it begins a session or joins the one that is running.
    fn on_group_invite(
        &mut self,
        key: ServerKey,
        request: &Message,
        group: Arc<Group>,
        way: (Flow, Option<&str>),
    ) {
        match self.running(&group) {
            Some(id) => self.on_join(id, key, request, way),
            None => self.begin_group(key, request, group, way),
        }
    }

    /// A request inside a dialog of a group session.
    pub(super) fn on_seat_request(
        &mut self,
        seat: Seat,
        key: ServerKey,
        request: Message,
        flow: Flow,
    ) {
        match seat {
            Seat::Watcher(id, watcher) => {
                self.with_focus(id, |engine, focus| {
                    engine.on_watcher_request(focus, watcher, key, &request);
                });
            }
            Seat::Member(id, member) => {
                self.with_focus(id, |engine, focus| {
                    engine.on_member_request(focus, member, (key, flow), request);
                });
            }
        }
    }

    fn on_member_request(
        &mut self,
        focus: &mut Focus,
        id: MemberId,
        (key, flow): (ServerKey, Flow),
        request: Message,
    ) {
        let Some(member) = focus.members.get_mut(&id) else {
            self.reply(key, &request, 481, "Call/Transaction Does Not Exist");
            return;
        };
        let method = request.method().cloned().unwrap_or(Method::Options);
        let is_early = member.dialog.is_none();
        // Its 2xx is lost or on its way: 481 would end what it believes in.
        let is_ahead = is_early && matches!(member.state, State::Inviting { .. });
        if let Some(dialog) = member.dialog.as_mut() {
            if !dialog.matches(&request) {
                self.reply(key, &request, 481, "Call/Transaction Does Not Exist");
                return;
            }
            if dialog.check_seq(&request).is_err() {
                self.reply(key, &request, 500, "Server Internal Error");
                return;
            }
            if flow.connection != 0 {
                dialog.flow = flow;
            }
        }
        match method {
            Method::Bye => self.on_member_bye(focus, id, key, request),
            Method::Invite | Method::Update if is_ahead => {
                self.reply(key, &request, 491, "Request Pending");
            }
            _ if is_ahead => {
                let mut response = Message::response(&request, 500, "Server Internal Error");
                response.headers.push(Name::RetryAfter, "1");
                self.refuse(key, response);
            }
            _ if is_early => self.reply(key, &request, 481, "Call/Transaction Does Not Exist"),
            Method::Invite | Method::Update => self.on_member_offer(focus, id, key, request),
            Method::Refer => self.on_member_refer(focus, id, key, &request),
            Method::Options => self.answer_options(key, &request),
            Method::Info => self.reply(key, &request, 200, "OK"),
            _ => {
                let mut response = Message::response(&request, 405, "Method Not Allowed");
                response.headers.push(Name::Allow, ALLOW);
                self.refuse(key, response);
            }
        }
    }

    /// An ACK in a dialog of a group session.
    pub(super) fn on_seat_ack(&mut self, seat: Seat, key: ServerKey, ack: &Message) {
        self.focus.invites.remove(&key);
        if let Seat::Member(id, member) = seat {
            self.with_focus(id, |engine, focus| {
                if let Some(member) = focus.members.get_mut(&member) {
                    member.invites.retain(|invite| *invite != key);
                }
                engine.on_member_ack(focus, member, ack);
            });
        }
    }

    /// A CANCEL of a participant's INVITE; whether it is one.
    pub(super) fn on_seat_cancel(&mut self, invite: ServerKey) -> bool {
        let Some(Seat::Member(id, member)) = self.focus.invites.get(&invite).copied() else {
            return false;
        };
        self.with_focus(id, |engine, focus| {
            engine.on_member_cancel(focus, member, invite);
        });
        true
    }

    /// A 2xx of ours was never acknowledged; whether it was a participant's INVITE.
    pub(super) fn on_seat_ack_missing(&mut self, key: ServerKey) -> bool {
        let Some(Seat::Member(id, member)) = self.focus.invites.remove(&key) else {
            return false;
        };
        self.with_focus(id, |engine, focus| {
            engine.release(focus, member, Parting::Lost(408));
        });
        true
    }

    /// A response to a request to a participant, or the code of what came instead.
    pub(super) fn on_member_response(
        &mut self,
        (id, member): (SessionId, MemberId),
        client: ClientKey,
        response: Result<Message, u16>,
    ) {
        let code = match &response {
            Ok(response) => response.code().unwrap_or(0),
            Err(code) => *code,
        };
        if code >= 200 {
            self.clients.remove(&client);
        }
        let response = response.ok();
        let known = self.with_focus(id, |engine, focus| {
            let owner = focus.members.get(&member);
            if !owner.is_some_and(|owner| owner.owns(client)) {
                return false;
            }
            engine.on_response_of(focus, member, (client, code), response.as_ref());
            true
        });
        if known != Some(true)
            && let Some(response) = response.filter(|_| (200..300).contains(&code))
            && matches!(response.cseq(), Some((_, Method::Invite)))
        {
            self.end_fork(client, &response);
        }
    }

    fn on_response_of(
        &mut self,
        focus: &mut Focus,
        id: MemberId,
        (client, code): (ClientKey, u16),
        response: Option<&Message>,
    ) {
        let Some(member) = focus.members.get(&id) else {
            return;
        };
        let offered = member.exchange.as_ref().and_then(|one| one.client);
        if offered == Some(client) {
            self.on_offer_response(focus, id, (client, code), response);
            return;
        }
        match &member.state {
            State::Inviting { .. } => {
                self.on_invited_response(focus, id, (client, code), response);
            }
            State::Cancelled { .. } | State::Parting { .. } if code >= 200 => {
                if let Some(response) = response.filter(|_| code < 300)
                    && matches!(response.cseq(), Some((_, Method::Invite)))
                {
                    self.end_fork(client, response);
                }
                self.remove(focus, id);
            }
            State::Cancelled { .. }
            | State::Parting { .. }
            | State::Connected
            | State::Opening { .. }
            | State::Asking(_)
            | State::Answering(_)
            | State::Leaving { .. } => {}
        }
    }

    /// A 2xx that came again: its ACK was lost. Whether it is a participant's.
    pub(super) fn acknowledge_member_again(
        &mut self,
        client: ClientKey,
        response: &Message,
    ) -> bool {
        let dialog = DialogKey {
            call_id: response.call_id().to_owned().into(),
            local_tag: response.from_tag().unwrap_or_default().to_owned().into(),
        };
        let Some(Seat::Member(id, member)) = self.focus.seat(&dialog) else {
            return false;
        };
        let Some((seq, _)) = response.cseq() else {
            return true;
        };
        let focus = self.focus.sessions.get(&id.0);
        let member = focus.and_then(|focus| focus.members.get(&member));
        let Some(dialog) = member.and_then(|member| member.dialog.as_ref()) else {
            return true;
        };
        if response.to_tag() == Some(dialog.remote_tag.as_str()) {
            let ack = dialog.ack(seq);
            let routed = !dialog.route_set.is_empty();
            let flow = self.flow_in_dialog(dialog.next_hop(), dialog.flow, routed);
            self.tx.send_ack(ack, flow);
        } else {
            self.end_fork(client, response);
        }
        true
    }

    /// Sends a request in a participant's dialog.
    fn send_in_dialog(
        &mut self,
        member: &Member,
        session: SessionId,
        mut request: Message,
    ) -> Option<ClientKey> {
        let dialog = member.dialog.as_ref()?;
        let routed = !dialog.route_set.is_empty();
        let flow = self.flow_in_dialog(dialog.next_hop(), dialog.flow, routed);
        self.server_header(&mut request, Name::UserAgent);
        let client = self.tx.request(self.now, request, flow).ok()?;
        let purpose = super::Purpose::Member(session, member.id);
        self.clients.insert(client, purpose);
        Some(client)
    }
}

/// The options that a request insists on and that aren't known here (RFC 3261 §8.2.2.3).
fn unknown_options(request: &Message) -> Option<String> {
    let options = request.headers.values(Name::Require);
    let unknown = options.filter(|option| {
        let mut known = KNOWN_OPTIONS.iter();
        !known.any(|known| known.eq_ignore_ascii_case(option))
    });
    let unknown: Vec<&str> = unknown.collect();
    (!unknown.is_empty()).then(|| unknown.join(", "))
}

/// The extensions that group sessions know.
const KNOWN_OPTIONS: [&str; 5] = [
    "timer",
    "norefersub",
    "multiple-refer",
    "recipient-list-invite",
    "pref",
];

/// What session identities begin with: they are told from other addresses by it.
const IDENTITY_PREFIX: &str = "cpm-session-";
