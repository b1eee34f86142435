//! Participant information (PIN; RFC 4575 over RFC 6665), and what becomes of REFERs (RFC 3515
//! §2.4.4): who has subscribed, and what they are told.
//!
//! A subscription has one NOTIFY under way at a time, and none sooner than `notify_interval` after
//! the last: what changes meanwhile is told in one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dataplane::api::{MemberId, SessionId};

use super::Seat;
use super::state::{Focus, Member, Stage};
use crate::config::Right;
use crate::cpm::conference::{Document, Floor, Media, User};
use crate::cpm::identity;
use crate::cpm::policy::user_key;
use crate::engine::session::DialogKey;
use crate::engine::{Engine, Purpose};
use crate::limits::{DEPARTED_REMEMBERED, REFERS_PER_GROUP, SUBSCRIPTIONS_PER_GROUP};
use crate::sdp::Flow as Way;
use crate::sip::{ClientKey, Dialog, Flow, Message, Method, Name, ServerKey};

/// A subscription.
pub(in crate::engine) struct Watcher {
    pub id: u32,
    pub usage: Usage,
    pub watched: Watched,
    /// The NOTIFY that isn't answered.
    client: Option<ClientKey>,
    /// The last NOTIFY is out: nothing follows.
    is_over: bool,
}

/// Which dialog a subscription is in.
pub(in crate::engine) enum Usage {
    /// One of its own.
    Own(Box<Dialog>),
    /// That of a participant's session.
    Member(MemberId),
}

/// What is told.
pub(in crate::engine) enum Watched {
    /// Who takes part.
    Conference {
        until: Instant,
        version: u32,
        /// The last change that was told; `None`: all is due.
        seen: Option<u64>,
        not_before: Instant,
        /// Something waits for `not_before`.
        waits: bool,
    },
    /// What becomes of a REFER.
    Referral {
        /// Its CSeq number, where it came in a dialog that others may be in, too.
        id: Option<u32>,
        /// Status lines that are to be told.
        told: VecDeque<Bytes>,
        /// Outcomes that are still to come.
        owed: usize,
    },
}

impl Watcher {
    /// When it is to be looked at.
    pub fn due(&self) -> Option<Instant> {
        match &self.watched {
            Watched::Conference {
                until,
                not_before,
                waits,
                ..
            } => {
                let waits = *waits && self.client.is_none();
                Some(if waits {
                    *not_before.min(until)
                } else {
                    *until
                })
            }
            Watched::Referral { .. } => None,
        }
    }

    fn dialog_key(&self) -> Option<DialogKey> {
        match &self.usage {
            Usage::Own(dialog) => Some(DialogKey::kept(&dialog.call_id, &dialog.local_tag)),
            Usage::Member(_) => None,
        }
    }
}

impl Focus {
    pub fn watcher_mut(&mut self, id: u32) -> Option<&mut Watcher> {
        self.watchers.iter_mut().find(|watcher| watcher.id == id)
    }

    /// The tag that a subscription's dialog has here, where that is its own.
    pub fn watcher_tag(&self, id: u32) -> Option<crate::sip::Text> {
        let watcher = self.watchers.iter().find(|watcher| watcher.id == id)?;
        match &watcher.usage {
            Usage::Own(dialog) => Some(dialog.local_tag.clone()),
            Usage::Member(_) => None,
        }
    }
}

impl Engine {
    /// A SUBSCRIBE by the session's identity (PIN-05, PIN-06).
    pub(super) fn on_group_subscribe(
        &mut self,
        id: SessionId,
        key: ServerKey,
        request: &Message,
        flow: Flow,
    ) {
        self.with_focus(id, |engine, focus| {
            engine.subscribe_to(focus, key, request, flow);
        });
    }

    fn subscribe_to(&mut self, focus: &mut Focus, key: ServerKey, request: &Message, flow: Flow) {
        let event = request.headers.get(Name::Event).unwrap_or_default();
        let package = event.split(';').next().unwrap_or_default().trim();
        if !package.eq_ignore_ascii_case("conference") {
            let mut response = Message::response(request, 489, "Bad Event");
            response.headers.push(Name::AllowEvents, "conference");
            self.refuse(key, response);
            return;
        }
        let caller = user_key(identity::caller(request).unwrap_or_default());
        if !may_watch(focus, &caller) {
            self.counters.groups_refused += 1;
            self.reply(key, request, 403, "Forbidden");
            return;
        }
        if focus.watchers.len() >= SUBSCRIPTIONS_PER_GROUP {
            self.unavailable(key, request);
            return;
        }
        let Some(lasts) = self.granted(key, request) else {
            return;
        };
        let tag = self.tx.new_tag();
        let Ok(dialog) = Dialog::uas(request, &tag, flow) else {
            self.reply(key, request, 400, "Bad Request");
            return;
        };
        focus.watchers_ever += 1;
        let id = focus.watchers_ever;
        let own = DialogKey::kept(&dialog.call_id, &dialog.local_tag);
        self.focus.dialogs.insert(own, Seat::Watcher(focus.id, id));
        focus.watchers.push(Watcher {
            id,
            usage: Usage::Own(Box::new(dialog)),
            watched: Watched::Conference {
                until: self.now + lasts,
                version: 0,
                seen: None,
                not_before: self.now,
                waits: false,
            },
            client: None,
            is_over: false,
        });
        self.accept_subscription(focus, (key, request), &tag, lasts);
        if lasts.is_zero() {
            self.expire_watchers(focus);
        }
    }

    /// How long a subscription lasts; refuses what is too short (RFC 6665 §4.2.1.1).
    fn granted(&mut self, key: ServerKey, request: &Message) -> Option<Duration> {
        let asked = request.headers.get(Name::Expires);
        let asked = asked.and_then(|value| value.trim().parse::<u64>().ok());
        let seconds = asked.unwrap_or(EXPIRES_MAX_S).min(EXPIRES_MAX_S);
        if (1..EXPIRES_MIN_S).contains(&seconds) {
            let mut response = Message::response(request, 423, "Interval Too Brief");
            let least = EXPIRES_MIN_S.to_string();
            response.headers.push(Name::MinExpires, least);
            self.refuse(key, response);
            return None;
        }
        Some(Duration::from_secs(seconds))
    }

    fn accept_subscription(
        &mut self,
        focus: &Focus,
        (key, request): (ServerKey, &Message),
        tag: &str,
        lasts: Duration,
    ) {
        let mut response = Message::response(request, 200, "OK");
        if response.to_tag().is_none() {
            response.set_to_tag(tag);
        }
        response
            .headers
            .copy_from(&request.headers, &[Name::RecordRoute]);
        let contact = self.focus_contact(focus);
        response.headers.push(Name::Contact, contact);
        let lasts = lasts.as_secs().to_string();
        response.headers.push(Name::Expires, lasts);
        self.respond(key, response);
    }

    /// A request in a subscription's dialog: it is refreshed or ended.
    pub(super) fn on_watcher_request(
        &mut self,
        focus: &mut Focus,
        id: u32,
        key: ServerKey,
        request: &Message,
    ) {
        let found = focus.watcher_mut(id).map(|watcher| &mut watcher.usage);
        let is_ours = match found {
            Some(Usage::Own(dialog)) => {
                dialog.matches(request) && dialog.check_seq(request).is_ok()
            }
            Some(Usage::Member(_)) | None => false,
        };
        if !is_ours || request.method() != Some(&Method::Subscribe) {
            self.reply(key, request, 481, "Subscription Does Not Exist");
            return;
        }
        let Some(lasts) = self.granted(key, request) else {
            return;
        };
        let now = self.now;
        if let Some(watcher) = focus.watcher_mut(id) {
            if let Usage::Own(dialog) = &mut watcher.usage {
                dialog.refresh_target(request);
            }
            if let Watched::Conference {
                until,
                seen,
                not_before,
                ..
            } = &mut watcher.watched
            {
                (*until, *seen, *not_before) = (now + lasts, None, now);
            }
        }
        self.accept_subscription(focus, (key, request), "", lasts);
        if lasts.is_zero() {
            self.expire_watchers(focus);
        }
    }

    /// Takes note of who wants to hear of a REFER; `None` where there are too many.
    pub(super) fn watch_referral(
        &mut self,
        focus: &mut Focus,
        usage: Usage,
        request: &Message,
        owed: usize,
    ) -> Option<u32> {
        let referrals = focus.watchers.iter();
        let referrals = referrals.filter(|one| matches!(one.watched, Watched::Referral { .. }));
        if referrals.count() >= REFERS_PER_GROUP {
            return None;
        }
        focus.watchers_ever += 1;
        let id = focus.watchers_ever;
        let seq = request.cseq().map(|(number, _)| number);
        let seq = seq.filter(|_| matches!(usage, Usage::Member(_)));
        let watcher = Watcher {
            id,
            usage,
            watched: Watched::Referral {
                id: seq,
                told: VecDeque::from([Bytes::from_static(b"SIP/2.0 100 Trying\r\n")]),
                owed,
            },
            client: None,
            is_over: false,
        };
        if let Some(key) = watcher.dialog_key() {
            self.focus.dialogs.insert(key, Seat::Watcher(focus.id, id));
        }
        focus.watchers.push(watcher);
        Some(id)
    }

    /// Sends the NOTIFYs that are due.
    pub(super) fn notify_watchers(&mut self, focus: &mut Focus) {
        if matches!(focus.stage, Stage::Ended) {
            return;
        }
        let mut watchers = std::mem::take(&mut focus.watchers);
        for watcher in &mut watchers {
            if watcher.client.is_none() && !watcher.is_over {
                self.notify(focus, watcher);
            }
        }
        // One whose participant is gone has nobody to tell.
        for watcher in watchers {
            if watcher.client.is_some() || !watcher.is_over {
                focus.watchers.push(watcher);
            } else if let Some(key) = watcher.dialog_key() {
                self.focus.dialogs.remove(&key);
            }
        }
    }

    fn notify(&mut self, focus: &mut Focus, watcher: &mut Watcher) {
        let interval = focus.group.rules.notify_interval;
        let (state, kind, body) = match &mut watcher.watched {
            Watched::Conference {
                until,
                version,
                seen,
                not_before,
                waits,
            } => {
                if *seen == Some(focus.change) {
                    return;
                }
                *waits = *not_before > self.now;
                if *waits {
                    return;
                }
                *version += 1;
                *not_before = self.now + interval;
                let body = document(focus, *version, seen.replace(focus.change));
                let left = until.saturating_duration_since(self.now).as_secs();
                (format!("active;expires={left}"), CONFERENCE_INFO, body)
            }
            Watched::Referral { told, owed, .. } => {
                let Some(line) = told.pop_front() else { return };
                watcher.is_over = *owed == 0 && told.is_empty();
                let state = if watcher.is_over {
                    "terminated;reason=noresource"
                } else {
                    "active;expires=180"
                };
                (state.to_owned(), "message/sipfrag;version=2.0", line)
            }
        };
        self.send_notify(focus, watcher, (&state, kind, body));
    }

    fn send_notify(
        &mut self,
        focus: &mut Focus,
        watcher: &mut Watcher,
        (state, kind, body): (&str, &str, Bytes),
    ) {
        let contact = self.focus_contact(focus);
        let dialog = match &mut watcher.usage {
            Usage::Own(dialog) => Some(&mut **dialog),
            Usage::Member(id) => focus
                .members
                .get_mut(id)
                .and_then(|member| member.dialog.as_mut()),
        };
        let Some(dialog) = dialog else {
            watcher.is_over = true;
            return;
        };
        let mut notify = dialog.request(Method::Notify);
        let routed = !dialog.route_set.is_empty();
        let (hop, made_over) = (dialog.next_hop().to_owned(), dialog.flow);
        notify.headers.push(Name::Contact, contact);
        let event = match &watcher.watched {
            Watched::Conference { .. } => "conference".to_owned(),
            Watched::Referral { id: None, .. } => "refer".to_owned(),
            Watched::Referral { id: Some(id), .. } => format!("refer;id={id}"),
        };
        notify.headers.push(Name::Event, event);
        notify
            .headers
            .push(Name::SubscriptionState, state.to_owned());
        self.server_header(&mut notify, Name::UserAgent);
        notify.set_body(kind, body);
        let flow = self.flow_in_dialog(&hop, made_over, routed);
        watcher.client = self.tx.request(self.now, notify, flow).ok();
        if let Some(client) = watcher.client {
            let purpose = Purpose::Watcher(focus.id, watcher.id);
            self.clients.insert(client, purpose);
        }
    }

    /// A NOTIFY's final response, or none in time (PIN-08).
    pub(in crate::engine) fn on_notify_final(&mut self, id: SessionId, watcher: u32, code: u16) {
        self.with_focus(id, |engine, focus| {
            let Some(found) = focus.watcher_mut(watcher) else {
                return;
            };
            found.client = None;
            if found.is_over || !(200..300).contains(&code) {
                engine.drop_watcher(focus, watcher);
            }
        });
    }

    fn drop_watcher(&mut self, focus: &mut Focus, id: u32) {
        let at = focus.watchers.iter().position(|watcher| watcher.id == id);
        let Some(at) = at else { return };
        let watcher = focus.watchers.swap_remove(at);
        if let Some(key) = watcher.dialog_key() {
            self.focus.dialogs.remove(&key);
        }
        if let Some(client) = watcher.client {
            self.clients.insert(client, Purpose::Orphan);
        }
    }

    /// Ends subscriptions whose time is up.
    pub(super) fn expire_watchers(&mut self, focus: &mut Focus) {
        let now = self.now;
        let is_up = |watcher: &&Watcher| matches!(&watcher.watched, Watched::Conference { until, .. } if *until <= now);
        let ids: Vec<u32> = focus
            .watchers
            .iter()
            .filter(is_up)
            .map(|one| one.id)
            .collect();
        for id in ids {
            self.end_watcher(focus, id, "terminated;reason=timeout");
        }
    }

    /// The session is over, and so are its subscriptions (PIN-07).
    pub(super) fn end_watchers(&mut self, focus: &mut Focus) {
        let ids: Vec<u32> = focus.watchers.iter().map(|watcher| watcher.id).collect();
        for id in ids {
            self.end_watcher(focus, id, "terminated;reason=noresource");
        }
    }

    fn end_watcher(&mut self, focus: &mut Focus, id: u32, state: &str) {
        let at = focus.watchers.iter().position(|watcher| watcher.id == id);
        let Some(at) = at else { return };
        let mut watcher = focus.watchers.swap_remove(at);
        if let Some(client) = watcher.client.take() {
            self.clients.insert(client, Purpose::Orphan);
        }
        let last = match &mut watcher.watched {
            Watched::Conference { version, seen, .. } => {
                *version += 1;
                let body = document(focus, *version, *seen);
                Some((CONFERENCE_INFO, body))
            }
            Watched::Referral { told, .. } => {
                let line = told.pop_back();
                line.map(|line| ("message/sipfrag;version=2.0", line))
            }
        };
        if let Some((kind, body)) = last.filter(|_| !watcher.is_over) {
            self.send_notify(focus, &mut watcher, (state, kind, body));
        }
        if let Some(client) = watcher.client {
            self.clients.insert(client, Purpose::Orphan);
        }
        if let Some(key) = watcher.dialog_key() {
            self.focus.dialogs.remove(&key);
        }
    }
}

/// Whether a user may know who takes part.
fn may_watch(focus: &Focus, caller: &str) -> bool {
    let is_owner = focus.group.is_owner(caller);
    match focus.group.rules.subscribe {
        Right::Participants => is_owner || focus.member_of(caller).is_some(),
        Right::Owners => is_owner,
        Right::Nobody => false,
    }
}

/// The document that tells what has changed since a change; all of it where none was told, or where
/// not all of it is remembered.
fn document(focus: &Focus, version: u32, seen: Option<u64>) -> Bytes {
    let forgotten = focus.departed.len() >= DEPARTED_REMEMBERED;
    let oldest = focus.departed.first().map_or(0, |one| one.at);
    let since = seen.filter(|seen| !forgotten || oldest <= *seen);
    let present = focus.members.values().filter(|member| {
        member.is_in() || member.is_pending() || since.is_some_and(|seen| member.changed_at > seen)
    });
    let changed = present.filter(|member| since.is_none_or(|seen| member.changed_at > seen));
    let gone = focus.departed.iter().filter(|one| {
        let is_new = since.is_some_and(|seen| one.at > seen);
        is_new && focus.member_of(&user_key(&one.address)).is_none()
    });
    let gone = gone.map(|one| User {
        entity: &one.address,
        endpoint: if one.contact.is_empty() {
            &one.address
        } else {
            &one.contact
        },
        is_owner: false,
        status: one.status,
        media: Vec::new(),
    });
    let users = gone.chain(changed.map(|member| user_of(focus, member)));
    let document = Document {
        entity: &focus.uri,
        version,
        is_full: since.is_none(),
        subject: focus.origin.carried.get(Name::Subject),
        user_count: focus.present(),
        user_count_max: focus.group.rules.participants_max,
        users: users.collect(),
    };
    Bytes::from(document.write())
}

fn user_of<'a>(focus: &Focus, member: &'a Member) -> User<'a> {
    let rights = focus.rights(member.id, &member.key);
    let streams = member.media.streams(&focus.rooms, rights);
    let media = streams.iter().map(|stream| {
        let way = Way {
            sends: stream.direction.may_send,
            receives: stream.direction.may_receive,
        };
        let room = focus.rooms.find(stream.id);
        Media {
            id: stream.id.0,
            kind: stream.kind.name(),
            direction: way.name(),
            floor: room.and_then(|room| {
                Some(Floor {
                    id: room.floor?.0,
                    label: room.label(),
                    is_held: focus.holds(room, member.id)?,
                })
            }),
        }
    });
    User {
        entity: &member.address,
        endpoint: if member.contact.is_empty() {
            &member.address
        } else {
            &member.contact
        },
        is_owner: focus.group.is_owner(&member.key),
        status: member.status(),
        media: media.collect(),
    }
}

const CONFERENCE_INFO: &str = "application/conference-info+xml";
/// The longest that a subscription lasts without a refresh, in seconds (RFC 4575 §3.4: an hour).
const EXPIRES_MAX_S: u64 = 3600;
/// The shortest.
const EXPIRES_MIN_S: u64 = 60;
