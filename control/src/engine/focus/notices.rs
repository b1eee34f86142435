//! Notifications of Pager Mode messages to groups (DN-05 to DN-07; RFC 5438): those that members
//! send to the group's address go on to who wrote the message, and nobody else; for a member that
//! the message can't be sent to the group tells itself, once.
//!
//! ```text
//! member ── IMDN to the group ──▶ 200 ──┬──▶ at once ──────────────▶ who wrote the message
//! member ── 480 to the message ─────────┘    or, of some time, in one
//! ```

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::cpm::groups::Group;
use crate::cpm::imdn::{CPIM, Envelope, Head, Notice, Undelivered};
use crate::cpm::policy::user_key;
use crate::cpm::{identity, passing};
use crate::engine::pager::{KEPT, Kept};
use crate::engine::{Engine, Map};
use crate::limits;
use crate::sip::{ClientKey, Flow, Headers, Message, Name, ServerKey, Text};

/// A message to a group: the group and the Message-ID.
pub(super) type MessageKey = (String, String);

/// What is known of messages to groups that notifications are wanted of.
pub(in crate::engine) struct Notices {
    asked: Kept<MessageKey, Asked>,
    /// Messages on their way to members, where a failure is to be told.
    on_their_way: Map<ClientKey, (MessageKey, Text)>,
    /// When what was gathered goes.
    due: BinaryHeap<Reverse<(Instant, MessageKey)>>,
}

/// A message that notifications are wanted of.
struct Asked {
    group: Text,
    sender: Text,
    /// Who wrote it, as its head says; else the sender.
    from: Text,
    at: Option<String>,
    flow: Flow,
    carried: Headers,
    wants_failures: bool,
    /// For how long notifications are gathered.
    window: Duration,
    /// The members that are known to have failed.
    failed: HashSet<String>,
    gathered: Vec<Bytes>,
}

impl Default for Notices {
    fn default() -> Self {
        Self {
            asked: Kept::new(limits::PAGER_MESSAGES, KEPT),
            on_their_way: Map::default(),
            due: BinaryHeap::new(),
        }
    }
}

impl Notices {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// A message is on its way to a member.
    pub(super) fn sent(&mut self, client: ClientKey, key: &MessageKey, member: &str) {
        if self.asked.get(key).is_some_and(|one| one.wants_failures) {
            let way = (key.clone(), Text::copied(member));
            self.on_their_way.insert(client, way);
        }
    }
}

impl Engine {
    /// A message to a group whose sender wants notifications: the group is put on their way.
    pub(super) fn expect_notices(
        &mut self,
        request: &mut Message,
        head: Head,
        (group, flow): (&Group, Flow),
    ) -> Option<MessageKey> {
        let address = group.address.as_deref()?;
        let id = head.message_id.clone().filter(|_| head.wants.anything())?;
        let sender = Text::copied(identity::caller(request).unwrap_or_default());
        let key = (user_key(address), id);
        let before = self.focus.notices.asked.get(&key);
        if before.is_some_and(|one| user_key(&one.sender) != user_key(&sender)) {
            // Another one's id: what comes of it is told to who had it first.
            return None;
        }
        request.body = head.with_record_route(&request.body, address);
        let mut carried = Headers::default();
        carried.copy_from(&request.headers, &CARRIED);
        let asked = Asked {
            group: Text::copied(address),
            from: head
                .from
                .as_deref()
                .map_or_else(|| sender.clone(), Text::copied),
            sender,
            at: head.at,
            flow,
            carried,
            wants_failures: head.wants.negative && group.rules.notify_failures,
            window: group.rules.notices_window,
            failed: HashSet::new(),
            gathered: Vec::new(),
        };
        self.focus
            .notices
            .asked
            .insert(self.now, key.clone(), asked);
        Some(key)
    }

    /// A notification for the group (DN-06).
    pub(super) fn on_group_notice(
        &mut self,
        key: ServerKey,
        request: &Message,
        group: &Group,
        (head, (notice, document)): (&Head, (Notice, Bytes)),
    ) {
        let address = group.address.as_deref().unwrap_or_default();
        let message = (user_key(address), notice.message_id.clone());
        let Some(asked) = self.focus.notices.asked.get_mut(&message) else {
            self.reply(key, request, 404, "Not Found");
            return;
        };
        // Whose it is, the core says, not the notification.
        let member = identity::caller(request).unwrap_or_default();
        let is_known = notice.is_failure && !asked.failed.insert(user_key(member));
        let onward = asked.window.is_zero() && !is_known;
        let told = onward.then(|| asked.told());
        self.reply(key, request, 200, "OK");
        match told {
            Some((sender, flow, carried)) => {
                let body = head.without_route(&request.body, address);
                self.send_notice((address, &sender), (body, &carried), flow);
            }
            None if is_known => self.counters.notices_kept_back += 1,
            None => self.gather(&message, document),
        }
    }

    /// A message of the relay's own has its final response, or its code without one; whether it
    /// was one to a member.
    pub(in crate::engine) fn on_orphan_final(&mut self, client: ClientKey, code: u16) {
        if let Some((key, member)) = self.focus.notices.on_their_way.remove(&client)
            && code >= 300
        {
            self.tell_member_failed(&key, &member);
        }
    }

    /// A member can't be reached (DN-05).
    pub(super) fn tell_member_failed(&mut self, key: &MessageKey, member: &str) {
        let now = self.wall(self.now);
        let Some(asked) = self.focus.notices.asked.get_mut(key) else {
            return;
        };
        if !asked.wants_failures || !asked.failed.insert(user_key(member)) {
            return;
        }
        let document = Undelivered {
            message_id: &key.1,
            at: asked.at.as_deref(),
            recipient: member,
            original: &asked.group,
        }
        .document(now);
        self.counters.notices_made += 1;
        self.gather(key, document);
        let is_alone = self
            .focus
            .notices
            .asked
            .get(key)
            .is_some_and(|one| one.window.is_zero());
        if is_alone {
            self.give_gathered(key);
        }
    }

    /// Keeps a notification for the next sum (DN-07).
    fn gather(&mut self, key: &MessageKey, document: Bytes) {
        let at = self.now;
        let notices = &mut self.focus.notices;
        let Some(asked) = notices.asked.get_mut(key) else {
            return;
        };
        asked.gathered.push(document);
        if asked.gathered.len() >= limits::NOTICES_IN_ONE {
            self.give_gathered(key);
        } else if asked.gathered.len() == 1 && !asked.window.is_zero() {
            notices.due.push(Reverse((at + asked.window, key.clone())));
        }
    }

    /// Sends the sums that are due.
    pub(super) fn handle_notices_timeout(&mut self, now: Instant) {
        while let Some(Reverse((at, _))) = self.focus.notices.due.peek()
            && *at <= now
        {
            if let Some(Reverse((_, key))) = self.focus.notices.due.pop() {
                self.give_gathered(&key);
            }
        }
    }

    /// Sends all that was gathered.
    pub(super) fn give_all_gathered(&mut self) {
        while let Some(Reverse((_, key))) = self.focus.notices.due.pop() {
            self.give_gathered(&key);
        }
    }

    /// Sends what was gathered for one message, as one.
    fn give_gathered(&mut self, key: &MessageKey) {
        let id = self.tx.new_call_id();
        let now = self.wall(self.now);
        let Some(asked) = self.focus.notices.asked.get_mut(key) else {
            return;
        };
        let documents = std::mem::take(&mut asked.gathered);
        if documents.is_empty() {
            return;
        }
        let body = Envelope {
            from: &asked.group,
            to: &asked.from,
            id: &id,
            routes: &[],
        }
        .around(&documents, now);
        let group = asked.group.clone();
        let (sender, flow, carried) = asked.told();
        self.send_notice((&group, &sender), (body, &carried), flow);
    }

    /// Sends a notification to who wrote the message.
    fn send_notice(
        &mut self,
        (group, sender): (&str, &str),
        (body, carried): (Bytes, &Headers),
        flow: Flow,
    ) {
        let mut message = self.new_message(sender, group);
        let headers = &mut message.headers;
        passing::pass(carried, headers);
        headers.set(Name::PAssertedIdentity, format!("<{group}>"));
        passing::name_the_service(headers);
        message.set_body(CPIM, body);
        self.send_message(message, flow);
    }
}

impl Asked {
    /// Who is told, over which way, and what goes with it.
    fn told(&self) -> (Text, Flow, Headers) {
        (self.sender.clone(), self.flow, self.carried.clone())
    }
}

/// What a notification has in common with its message.
const CARRIED: [Name; 3] = [
    Name::ConversationId,
    Name::ContributionId,
    Name::PAssertedService,
];
