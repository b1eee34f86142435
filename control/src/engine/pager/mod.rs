//! Pager Mode messages and their notifications, as Participating Function (MSG-03, MSG-04, MSG-11;
//! DN-03, DN-04, DN-09 to DN-12; RFC 5438). Nothing of it reaches the data plane.
//!
//! ```text
//! a message     ── PF-O ──▶ ── PF-T ──▶         each tells its sender where it can't go on
//! its notifications, by the recipient's devices:
//!               ◀── PF-O ── ◀── PF-T ──         PF-T: one of a kind; PF-O: to the right devices
//! ```
//!
//! What is known of messages is kept for a day, and gives way to newer ones.

mod kept;
mod watched;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

pub(super) use kept::Kept;
use watched::Failure;
pub(super) use watched::{CARRIED, Watched};

use super::requests::Next;
use super::{Engine, Purpose};
use crate::cpm::identity;
use crate::cpm::imdn::{Head, Kind, Notice};
use crate::cpm::participating::Role;
use crate::cpm::policy::{SeveralDevices, UserPolicy, user_key};
use crate::limits;
use crate::sip::{Flow, Message, Name, NameAddr, ServerKey, Text};

/// What a recipient's devices say of one message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Said {
    recipient: String,
    message_id: String,
    kind: Kind,
}

/// A notification that says nothing good: another device's may be better.
struct Held {
    due: Instant,
    request: Message,
    flow: Flow,
}

/// What is known of Pager Mode messages.
pub(super) struct Pager {
    /// The devices that have sent messages, by sender and Message-ID.
    senders: Kept<(String, String), Text>,
    /// The failures that senders were told of, by sender, Message-ID and recipient: the
    /// notification that told.
    failures: Kept<(String, String, String), String>,
    /// What went on.
    given: Kept<Said, ()>,
    /// What waits: it was acknowledged, so that it goes whatever else is to be known.
    held: HashMap<Said, Held>,
    /// When each of these goes.
    due: BTreeSet<(Instant, Said)>,
}

impl Default for Pager {
    fn default() -> Self {
        const MOST: usize = limits::PAGER_MESSAGES;
        Self {
            senders: Kept::new(MOST, KEPT),
            failures: Kept::new(MOST, KEPT),
            given: Kept::new(MOST, KEPT),
            held: HashMap::new(),
            due: BTreeSet::new(),
        }
    }
}

impl Pager {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    fn take_held(&mut self, said: &Said) -> Option<Held> {
        let (said, held) = self.held.remove_entry(said)?;
        self.due.remove(&(held.due, said));
        Some(held)
    }

    /// A notification didn't get through: another device's may.
    fn take_back(&mut self, said: &Said) {
        self.given.remove(said);
    }
}

impl Engine {
    /// A MESSAGE for one of the users that the relay serves: as it came, and without the Routes
    /// that named us.
    pub(super) fn on_pager_message(
        &mut self,
        key: ServerKey,
        (mut request, forward): (Message, Message),
        role: Role,
        flow: Flow,
    ) {
        let policy = self.policy_of(role, &request);
        if policy.barred {
            self.counters.barred += 1;
            self.reply(key, &request, 403, "Forbidden");
            return;
        }
        let next = self.next(&forward, flow);
        if let Next::Lookup(host) = next {
            self.park(host, Some(key), request, flow);
            return;
        }
        let watched = match Head::of(&request) {
            None => None,
            Some(head) => match &*head.notices(&request.body) {
                [] => self.note_message(&request, head, (role, &policy), flow),
                [(notice, _)] => {
                    match self.pass_notice(&mut request, (&head, notice), (role, &policy), flow) {
                        Some(watched) => watched,
                        None => {
                            self.counters.notices_kept_back += 1;
                            self.reply(key, &request, 200, "OK");
                            return;
                        }
                    }
                }
                // Several in one are somebody's sum already.
                [_, _, ..] => None,
            },
        };
        match next {
            Next::Refuse(code, reason) => {
                self.reply(key, &request, code, reason);
                self.on_watched_final(watched, code);
            }
            Next::Lookup(_) | Next::To(_) => {
                if let Some(client) = self.proxy(key, request, flow) {
                    self.proxied.watch(client, watched);
                } else {
                    self.on_watched_final(watched, 503);
                }
            }
        }
    }

    /// What is to be known of a message while it is on its way, and after.
    fn note_message(
        &mut self,
        request: &Message,
        head: Head,
        (role, policy): (Role, &UserPolicy),
        flow: Flow,
    ) -> Option<Watched> {
        let id = head.message_id.clone().filter(|_| head.wants.anything())?;
        if role == Role::Originating
            && let Some(instance) = instance_of(request)
            && let Some(sender) = identity::calling(request).next().filter(fits)
        {
            let key = (user_key(sender), id);
            self.pager.senders.insert(self.now, key, instance);
        }
        let is_told = head.wants.negative && policy.notices.failures;
        is_told.then(|| Watched::Message(Box::new(Failure::of(request, head, flow))))
    }

    /// Sees to it that a notification goes where it should; `None`: it goes nowhere.
    #[expect(
        clippy::option_option,
        reason = "it may go on with nothing to be watched"
    )]
    fn pass_notice(
        &mut self,
        request: &mut Message,
        (head, notice): (&Head, &Notice),
        (role, policy): (Role, &UserPolicy),
        flow: Flow,
    ) -> Option<Option<Watched>> {
        match role {
            Role::Originating => {
                let Some(user) = identity::calling(request).next().filter(fits) else {
                    return Some(None);
                };
                let said = Said {
                    recipient: user_key(user),
                    message_id: notice.message_id.clone(),
                    kind: notice.kind,
                };
                let has_several = self.instances_of(user).is_none_or(|all| all.len() > 1);
                match policy.notices.devices {
                    SeveralDevices::All => return Some(None),
                    SeveralDevices::First | SeveralDevices::Priority
                        if self.pager.given.get(&said).is_some() =>
                    {
                        return None;
                    }
                    SeveralDevices::Priority if !notice.is_positive && has_several => {
                        let waits = self.hold(said, request, (policy.notices.window, flow));
                        return (!waits).then_some(None);
                    }
                    SeveralDevices::First | SeveralDevices::Priority => {}
                }
                // This one is better than what may have waited.
                self.pager.take_held(&said);
                self.pager.given.insert(self.now, said.clone(), ());
                Some(Some(Watched::Notice(said)))
            }
            Role::Terminating => {
                let user = identity::called(request)
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                let sender = user_key(&user);
                if notice.is_failure
                    && !notice.recipient.is_empty()
                    && fits(&user.as_str())
                    && self.has_told(&sender, head, notice)
                {
                    return None;
                }
                self.lead_to_devices(request, (&user, &notice.message_id), (policy, flow));
                Some(None)
            }
        }
    }

    /// Whether a sender was told of a failure already, by another notification than this one.
    fn has_told(&mut self, sender: &str, head: &Head, notice: &Notice) -> bool {
        let key = (
            sender.to_owned(),
            notice.message_id.clone(),
            user_key(&notice.recipient),
        );
        let own = head.message_id.clone().unwrap_or_default();
        match self.pager.failures.get(&key) {
            Some(told) => *told != own,
            None => {
                self.pager.failures.insert(self.now, key, own);
                false
            }
        }
    }

    /// Keeps a notification that says nothing good until another device may have said better;
    /// whether it, or one like it, waits.
    fn hold(&mut self, said: Said, request: &Message, (window, flow): (Duration, Flow)) -> bool {
        let pager = &mut self.pager;
        if pager.held.contains_key(&said) {
            return true;
        }
        if pager.held.len() >= limits::NOTICES_WAITING {
            self.counters.full_notices += 1;
            return false;
        }
        let held = Held {
            due: self.now + window,
            request: request.clone(),
            flow,
        };
        pager.due.insert((held.due, said.clone()));
        pager.held.insert(said, held);
        true
    }

    /// Sends the notifications that nothing better has come for.
    pub(super) fn handle_pager_timeout(&mut self, now: Instant) {
        while self.pager.poll_timeout().is_some_and(|at| at <= now)
            && let Some((_, said)) = self.pager.due.pop_first()
        {
            self.give_held(said);
        }
    }

    /// Nothing waits any longer for what other devices say.
    pub(super) fn give_all_held(&mut self) {
        while let Some((_, said)) = self.pager.due.pop_first() {
            self.give_held(said);
        }
    }

    fn give_held(&mut self, said: Said) {
        if let Some(held) = self.pager.held.remove(&said) {
            self.pager.given.insert(self.now, said, ());
            self.send_copy(held.request, held.flow);
        }
    }

    /// Sends a notification to the device that has sent the message and, where the policy says so,
    /// to the sender's others (C.3.1.4.5).
    fn lead_to_devices(
        &mut self,
        request: &mut Message,
        (user, message_id): (&str, &str),
        (policy, flow): (&UserPolicy, Flow),
    ) {
        let key = (user_key(user), message_id.to_owned());
        let sent_by = self.pager.senders.get(&key).cloned();
        let mut all = match policy.notices.to_all_devices {
            true => self.instances_of(user).unwrap_or_default(),
            false => Vec::new(),
        };
        let is_open = policy.notices.to_all_devices && all.is_empty();
        let Some(first) = sent_by
            .or_else(|| all.first().cloned())
            .filter(|_| !is_open)
        else {
            return;
        };
        all.retain(|one| !one.eq_ignore_ascii_case(&first));
        for other in all {
            let mut copy = request.clone();
            pin(&mut copy, &other);
            self.send_copy(copy, flow);
        }
        pin(request, &first);
    }

    /// Sends a request on whose answer nobody waits for.
    fn send_copy(&mut self, mut request: Message, flow: Flow) {
        self.take_own_routes(&mut request);
        request.headers.remove(Name::Via);
        let to = self.way_to(&request, flow);
        if let Ok(client) = self.tx.request(self.now, request, to) {
            self.clients.insert(client, Purpose::Orphan);
        }
    }

    /// The instances of a user's devices; `None`: nothing is known of users, or of this one.
    fn instances_of(&self, user: &str) -> Option<Vec<Text>> {
        let devices = &self.registrar.devices;
        self.settings.registration.as_ref()?;
        let id = devices.find(user)?;
        let all = devices.of(id, self.now);
        let named = all.filter_map(|one| one.instance.as_deref().map(Text::copied));
        Some(named.collect())
    }
}

/// Whether an address is short enough to be remembered.
fn fits(address: &&str) -> bool {
    address.len() <= limits::IMDN_ID_BYTES
}

/// The device that sent a request, by its Contact.
fn instance_of(request: &Message) -> Option<Text> {
    let contact = request.headers.values(Name::Contact).next()?;
    let contact = NameAddr::parse(contact).ok()?;
    let instance = contact.param("+sip.instance")?.trim_matches('"');
    let instance = instance.trim_start_matches('<').trim_end_matches('>');
    let fits = |c: char| !c.is_control() && !c.is_whitespace() && !"<>\"\\".contains(c);
    let is_usable = !instance.is_empty()
        && instance.len() <= limits::REGINFO_TEXT_BYTES
        && instance.chars().all(fits);
    is_usable.then(|| Text::copied(instance))
}

/// Has the core send a request to one device alone (RFC 3841 §9.2).
fn pin(request: &mut Message, instance: &str) {
    let value = format!("*;+sip.instance=\"<{instance}>\";require;explicit");
    request.headers.push(Name::AcceptContact, value);
}

/// How long what is known of a message is kept.
pub(super) const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
