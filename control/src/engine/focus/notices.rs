//! Notifications of Pager Mode messages to groups (DN-05 to DN-07; RFC 5438): those that members
//! send to the group's address go on to who wrote the message, and nobody else; for a member that
//! the message can't be sent to the group tells itself, once.
//!
//! ```text
//! member ── IMDN to the group ──▶ 200 ──┬──▶ at once ──────────────▶ who wrote the message
//! member ── 480 to the message ─────────┘    or, of some time, in one
//! ```

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::cpm::groups::Group;
use crate::cpm::imdn::{CPIM, Envelope, Head, Notice, Undelivered};
use crate::cpm::policy::user_key;
use crate::cpm::{identity, passing};
use crate::engine::pager::{CARRIED, KEPT, Kept};
use crate::engine::{Engine, Map};
use crate::limits;
use crate::sip::{ClientKey, Flow, Headers, Message, Name, ServerKey, Text};

/// A message to a group: the group and the Message-ID.
pub(super) type MessageKey = (String, String);

/// What is known of messages to groups that notifications are wanted of.
pub(in crate::engine) struct Notices {
    asked: Kept<MessageKey, Asked>,
    /// The members that messages are known to have failed for, with the message's number.
    failed: Kept<(u64, String), ()>,
    /// Messages on their way to members, where a failure is to be told.
    on_their_way: Map<ClientKey, (MessageKey, Text)>,
    /// What was gathered: it was acknowledged, so that it goes whatever becomes of the message.
    sums: HashMap<MessageKey, Sum>,
    /// When each of the sums goes.
    due: BTreeSet<(Instant, MessageKey)>,
    /// How many messages were asked of.
    numbers: u64,
}

/// A message that notifications are wanted of.
struct Asked {
    number: u64,
    way: Arc<Way>,
    at: Option<String>,
    wants_failures: bool,
    /// For how long notifications are gathered.
    window: Duration,
}

/// How notifications of a message get to who wrote it, in memory of its own.
struct Way {
    group: Text,
    sender: Text,
    /// Who wrote it, as its head says; else the sender.
    from: Text,
    flow: Flow,
    carried: Headers,
}

/// Notifications of one message that go as one.
struct Sum {
    way: Arc<Way>,
    due: Instant,
    documents: Vec<Bytes>,
    octets: usize,
}

impl Default for Notices {
    fn default() -> Self {
        Self {
            asked: Kept::new(limits::PAGER_MESSAGES, KEPT),
            failed: Kept::new(limits::FAILED_MEMBERS, KEPT),
            on_their_way: Map::default(),
            sums: HashMap::new(),
            due: BTreeSet::new(),
            numbers: 0,
        }
    }
}

impl Notices {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// A message is on its way to a member.
    pub(super) fn sent(&mut self, client: ClientKey, key: &MessageKey, member: &str) {
        if self.asked.get(key).is_some_and(|one| one.wants_failures) {
            let way = (key.clone(), Text::copied(member));
            self.on_their_way.insert(client, way);
        }
    }

    /// A message has failed for a member; whether that wasn't known.
    fn fails(&mut self, now: Instant, key: &MessageKey, member: &str) -> bool {
        let Some(asked) = self.asked.get(key) else {
            return false;
        };
        let member = user_key(member);
        if member.len() > limits::IMDN_ID_BYTES {
            return true;
        }
        let failure = (asked.number, member);
        let is_new = self.failed.get(&failure).is_none();
        if is_new {
            self.failed.insert(now, failure, ());
        }
        is_new
    }

    fn take_sum(&mut self, key: &MessageKey) -> Option<Sum> {
        let (key, sum) = self.sums.remove_entry(key)?;
        self.due.remove(&(sum.due, key));
        Some(sum)
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
        let fits = |text: &&str| text.len() <= limits::IMDN_ID_BYTES;
        let address = group.address.as_deref()?;
        let sender = identity::caller(request).filter(fits)?;
        let id = head.message_id.clone().filter(|_| head.wants.anything())?;
        let sender = Text::copied(sender);
        let key = (user_key(address), id);
        let notices = &mut self.focus.notices;
        let before = notices.asked.get(&key);
        if before.is_some_and(|one| user_key(&one.way.sender) != user_key(&sender)) {
            // Another one's id: what comes of it is told to who had it first.
            return None;
        }
        let from = head.from.as_deref().filter(fits);
        let way = Way {
            group: Text::copied(address),
            from: from.map_or_else(|| sender.clone(), Text::copied),
            sender,
            flow,
            carried: request.headers.kept(&CARRIED),
        };
        request.body = head.with_record_route(&request.body, address);
        notices.numbers += 1;
        let asked = Asked {
            number: notices.numbers,
            way: Arc::new(way),
            at: head.at.filter(|at| fits(&&**at)),
            wants_failures: head.wants.negative && group.rules.notify_failures,
            window: group.rules.notices_window,
        };
        notices.asked.insert(self.now, key.clone(), asked);
        Some(key)
    }

    /// A notification for the group, or several in one (DN-06).
    pub(super) fn on_group_notices(
        &mut self,
        key: ServerKey,
        request: &Message,
        group: &Group,
        (head, told): (&Head, Vec<(Notice, Bytes)>),
    ) {
        let address = group.address.as_deref().unwrap_or_default();
        let is_single = told.len() == 1;
        let notices = &self.focus.notices;
        let known: Vec<(MessageKey, bool, Bytes)> = told
            .into_iter()
            .map(|(one, document)| {
                let message = (user_key(address), one.message_id);
                (message, one.is_failure, document)
            })
            .filter(|(message, ..)| notices.asked.get(message).is_some())
            .collect();
        if known.is_empty() {
            self.reply(key, request, 404, "Not Found");
            return;
        }
        self.reply(key, request, 200, "OK");
        // Whose it is, the core says, not the notification.
        let member = identity::caller(request).unwrap_or_default();
        for (message, is_failure, document) in known {
            if is_failure && !self.focus.notices.fails(self.now, &message, member) {
                self.counters.notices_kept_back += 1;
                continue;
            }
            let asked = self.focus.notices.asked.get(&message);
            let at_once = asked.filter(|one| is_single && one.window.is_zero());
            if let Some(way) = at_once.map(|one| Arc::clone(&one.way)) {
                let body = head.without_route(&request.body, address);
                self.send_notice(&way, body);
            } else {
                self.gather(&message, document);
            }
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
        let notices = &mut self.focus.notices;
        let wants = |one: &&Asked| one.wants_failures;
        if notices.asked.get(key).filter(wants).is_none() || !notices.fails(self.now, key, member) {
            return;
        }
        let Some(asked) = notices.asked.get(key) else {
            return;
        };
        let document = Undelivered {
            message_id: &key.1,
            at: asked.at.as_deref(),
            recipient: member,
            original: &asked.way.group,
        }
        .document(now);
        self.counters.notices_made += 1;
        self.gather(key, document);
    }

    /// Keeps a notification for the next sum (DN-07); it goes now where there is none to wait for.
    fn gather(&mut self, key: &MessageKey, document: Bytes) {
        let notices = &mut self.focus.notices;
        let Some(asked) = notices.asked.get(key) else {
            return;
        };
        let is_full = |sum: &Sum| {
            sum.documents.len() >= limits::NOTICES_IN_ONE
                || sum.octets + document.len() > limits::NOTICES_BYTES
        };
        let (way, window) = (Arc::clone(&asked.way), asked.window);
        if notices.sums.get(key).is_some_and(is_full) {
            self.give_sum(key);
        }
        let notices = &mut self.focus.notices;
        let has_room = notices.sums.len() < limits::NOTICES_WAITING;
        let waits = !window.is_zero() && document.len() <= limits::NOTICES_BYTES;
        if !waits || !(has_room || notices.sums.contains_key(key)) {
            self.counters.full_notices += u64::from(waits);
            self.send_documents(&way, &[document]);
            return;
        }
        let due = self.now + window;
        let sum = notices.sums.entry(key.clone()).or_insert_with(|| Sum {
            way,
            due,
            documents: Vec::new(),
            octets: 0,
        });
        sum.octets += document.len();
        // Its own octets: what it came in may be large.
        sum.documents.push(Bytes::copy_from_slice(&document));
        notices.due.insert((sum.due, key.clone()));
    }

    /// Sends the sums that are due.
    pub(super) fn handle_notices_timeout(&mut self, now: Instant) {
        while self
            .focus
            .notices
            .poll_timeout()
            .is_some_and(|at| at <= now)
            && let Some((_, key)) = self.focus.notices.due.pop_first()
        {
            self.give_sum(&key);
        }
    }

    /// Sends all that was gathered.
    pub(super) fn give_all_gathered(&mut self) {
        while let Some((_, key)) = self.focus.notices.due.pop_first() {
            self.give_sum(&key);
        }
    }

    /// Sends what was gathered for one message, as one.
    fn give_sum(&mut self, key: &MessageKey) {
        if let Some(sum) = self.focus.notices.take_sum(key) {
            self.send_documents(&sum.way, &sum.documents);
        }
    }

    /// Sends notifications of the group's own, as one.
    fn send_documents(&mut self, way: &Way, documents: &[Bytes]) {
        let id = self.tx.new_call_id();
        let now = self.wall(self.now);
        let body = Envelope {
            from: &way.group,
            to: &way.from,
            id: &id,
            routes: &[],
        }
        .around(documents, now);
        self.send_notice(way, body);
    }

    /// Sends a notification to who wrote the message.
    fn send_notice(&mut self, way: &Way, body: Bytes) {
        let mut message = self.new_message(&way.sender, &way.group);
        let headers = &mut message.headers;
        passing::pass(&way.carried, headers);
        headers.set(Name::PAssertedIdentity, format!("<{}>", way.group));
        passing::name_the_service(headers);
        message.set_body(CPIM, body);
        self.send_message(message, way.flow);
    }
}
