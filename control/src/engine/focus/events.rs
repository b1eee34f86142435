//! Participant information (PIN; RFC 4575 over RFC 6665), and what becomes of REFERs (RFC 3515
//! §2.4.4): who has subscribed, and what they are told.
//!
//! A subscription has one NOTIFY under way at a time, and none sooner than `notify_interval` after
//! the last: what changes meanwhile is told in one.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use dataplane::api::SessionId;

use super::Seat;
use super::state::{Departed, Focus, Stage};
use super::told::document;
use super::watchers::{Usage, Watched, Watcher};
use crate::config::Right;
use crate::cpm::identity;
use crate::cpm::policy::user_key;
use crate::engine::session::DialogKey;
use crate::engine::{Engine, Purpose};
use crate::limits::{REFERS_PER_GROUP, SUBSCRIPTIONS_PER_GROUP, SUBSCRIPTIONS_PER_USER};
use crate::sip::{Dialog, Flow, Message, Method, Name, ServerKey};

impl Focus {
    /// The tag that a subscription's dialog has here, where that is its own.
    pub fn watcher_tag(&self, id: u32) -> Option<crate::sip::Text> {
        match &self.watchers.get(id)?.usage {
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
        let of_user = focus.watchers.of_user(&caller).len();
        if focus.watchers.len() >= SUBSCRIPTIONS_PER_GROUP || of_user >= SUBSCRIPTIONS_PER_USER {
            self.counters.full_subscriptions += 1;
            self.unavailable(key, request);
            return;
        }
        let Some(lasts) = self.granted(key, request) else {
            return;
        };
        let tag = self.tx.new_tag();
        let Ok(dialog) = Dialog::uas(request, &tag, flow).map(Dialog::kept) else {
            self.reply(key, request, 400, "Bad Request");
            return;
        };
        let id = focus.watchers.next_id();
        let own = DialogKey::kept(&dialog.call_id, &dialog.local_tag);
        self.focus.dialogs.insert(own, Seat::Watcher(focus.id, id));
        focus.watchers.put_ready(Watcher {
            id,
            user: caller,
            usage: Usage::Own(Box::new(dialog)),
            watched: Watched::Conference {
                until: self.now + lasts.max(FETCH),
                version: 0,
                seen: None,
                not_before: self.now,
                waits: false,
                ends: lasts.is_zero(),
            },
            client: None,
            is_over: false,
        });
        self.accept_subscription(focus, (key, request), &tag, lasts);
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
        // Its last NOTIFY may still be on its way: nothing follows that.
        let is_ours = focus.watchers.with(id, |watcher| match &mut watcher.usage {
            Usage::Own(dialog) if !watcher.is_over => {
                dialog.matches(request) && dialog.check_seq(request).is_ok()
            }
            Usage::Own(_) | Usage::Member(_) => false,
        });
        if is_ours != Some(true) || request.method() != Some(&Method::Subscribe) {
            self.reply(key, request, 481, "Subscription Does Not Exist");
            return;
        }
        let Some(lasts) = self.granted(key, request) else {
            return;
        };
        let now = self.now;
        focus.watchers.with(id, |watcher| {
            if let Usage::Own(dialog) = &mut watcher.usage {
                dialog.refresh_target(request);
            }
            if let Watched::Conference {
                until,
                seen,
                not_before,
                ends,
                ..
            } = &mut watcher.watched
            {
                (*until, *seen, *not_before) = (now + lasts.max(FETCH), None, now);
                *ends = lasts.is_zero();
            }
        });
        self.accept_subscription(focus, (key, request), "", lasts);
    }

    /// Takes note of who wants to hear of a REFER; `None` where there are too many.
    pub(super) fn watch_referral(
        &mut self,
        focus: &mut Focus,
        (caller, usage): (&str, Usage),
        request: &Message,
        owed: usize,
    ) -> Option<u32> {
        if focus.watchers.referrals() >= REFERS_PER_GROUP {
            self.counters.full_subscriptions += 1;
            return None;
        }
        let id = focus.watchers.next_id();
        let seq = request.cseq().map(|(number, _)| number);
        let seq = seq.filter(|_| matches!(usage, Usage::Member(_)));
        let watcher = Watcher {
            id,
            user: caller.to_owned(),
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
        focus.watchers.put_ready(watcher);
        Some(id)
    }

    /// Sends the NOTIFYs that are due.
    pub(super) fn notify_watchers(&mut self, focus: &mut Focus) {
        if matches!(focus.stage, Stage::Ended) {
            return;
        }
        let interval = focus.group.rules.notify_interval;
        let watchers = &mut focus.watchers;
        if watchers.begin_round(focus.change, self.now, interval) {
            let told = watchers.told_to_all();
            let is_known = |one: &mut Departed| told.is_none_or(|told| one.at <= told);
            while focus.departed.pop_front_if(is_known).is_some() {}
        }
        while let Some(id) = focus.watchers.next_ready() {
            let Some(mut watcher) = focus.watchers.take(id) else {
                continue;
            };
            if watcher.client.is_none() && !watcher.is_over {
                self.notify(focus, &mut watcher);
            }
            // One whose participant is gone has nobody to tell.
            if watcher.client.is_some() || !watcher.is_over {
                focus.watchers.put(watcher);
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
                ends,
            } => {
                let is_behind = seen.is_none_or(|seen| seen.upto != focus.change);
                *waits = is_behind && *not_before > self.now;
                if *waits || !is_behind {
                    return;
                }
                *version += 1;
                let told = document(focus, *version, *seen);
                *seen = Some(told.seen);
                // The rest of what did not go in at once needs no pause; telling everything again
                // does, or it would never come to an end where much happens.
                let is_again = told.is_full && *version > 1;
                let pause = if told.is_cut && !is_again {
                    Duration::ZERO
                } else {
                    interval
                };
                *not_before = self.now + pause;
                watcher.is_over = *ends && !told.is_cut;
                let state = if watcher.is_over {
                    TIMEOUT.to_owned()
                } else {
                    let left = until.saturating_duration_since(self.now).as_secs();
                    format!("active;expires={left}")
                };
                (state, CONFERENCE_INFO, told.body)
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
            let is_over = focus.watchers.with(watcher, |found| {
                found.client = None;
                found.is_over
            });
            let is_refused = !(200..300).contains(&code);
            if is_over.is_some_and(|is_over| is_over || is_refused) {
                engine.drop_watcher(focus, watcher);
            }
        });
    }

    fn drop_watcher(&mut self, focus: &mut Focus, id: u32) {
        let Some(watcher) = focus.watchers.take(id) else {
            return;
        };
        if let Some(key) = watcher.dialog_key() {
            self.focus.dialogs.remove(&key);
        }
        if let Some(client) = watcher.client {
            self.clients.insert(client, Purpose::Orphan);
        }
    }

    /// Ends subscriptions whose time is up, and has those looked at that wait for theirs.
    pub(super) fn look_at_due_watchers(&mut self, focus: &mut Focus) {
        for id in focus.watchers.due(self.now) {
            let now = self.now;
            let is_up = focus.watchers.with(id, |watcher| watcher.is_up(now));
            if is_up == Some(true) {
                self.end_watcher(focus, id, TIMEOUT);
            }
        }
    }

    /// Somebody is gone: who may not watch any more doesn't.
    pub(super) fn end_watching(&mut self, focus: &mut Focus, user: &str) {
        if !matches!(focus.stage, Stage::Running | Stage::Inviting) || may_watch(focus, user) {
            return;
        }
        for id in focus.watchers.of_user(user) {
            self.end_watcher(focus, id, "terminated;reason=rejected");
        }
    }

    /// The session is over, and so are its subscriptions (PIN-07).
    pub(super) fn end_watchers(&mut self, focus: &mut Focus) {
        for id in focus.watchers.ids() {
            self.end_watcher(focus, id, "terminated;reason=noresource");
        }
    }

    fn end_watcher(&mut self, focus: &mut Focus, id: u32, state: &str) {
        let Some(mut watcher) = focus.watchers.take(id) else {
            return;
        };
        let waiting = watcher.client.take();
        if let Some(client) = waiting {
            self.clients.insert(client, Purpose::Orphan);
        }
        let last = match &mut watcher.watched {
            Watched::Conference { version, seen, .. } => {
                *version += 1;
                // The last one may overtake the one that isn't answered: it counts on nothing then.
                let seen = seen.filter(|_| waiting.is_none());
                let told = document(focus, *version, seen);
                Some((CONFERENCE_INFO, told.body))
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

/// How long who asks once, or no more, is told what there is: as long as a NOTIFY is repeated.
const FETCH: Duration = Duration::from_secs(32);
const TIMEOUT: &str = "terminated;reason=timeout";
const CONFERENCE_INFO: &str = "application/conference-info+xml";
/// The longest that a subscription lasts without a refresh, in seconds (RFC 4575 §3.4: an hour).
const EXPIRES_MAX_S: u64 = 3600;
/// The shortest.
const EXPIRES_MIN_S: u64 = 60;
