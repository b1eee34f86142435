//! What served users want: asked for when a user's first session begins, and kept for a while.
//!
//! ```text
//! INVITE ─▶ known, fresh ──────────────▶ goes on with it
//!           known, old ─▶ Output::Preferences, and goes on with it
//!           unknown ────▶ Output::Preferences, waits ──┬─ told ────▶ goes on with it
//!                                                      └─ too long ─▶ goes on without
//! ```

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Engine, Map, Output};
use crate::cpm::participating::Role;
use crate::cpm::policy::{UserPolicy, user_key};
use crate::cpm::preferences::Preferences;
use crate::limits;
use crate::sip::{Flow, Message, ServerKey};

/// How preferences are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskPreferences {
    /// How long an INVITE waits for those of a user of whom nothing is known.
    pub wait: Duration,
    /// How long they are believed; after a failure, how long the old ones are.
    pub fresh: Duration,
    /// Users whose preferences are kept.
    pub users_max: usize,
}

/// What is known of users, and who waits to know.
#[derive(Default)]
pub(super) struct Wishes {
    known: Map<String, Known>,
    asked: HashSet<String>,
    waiting: Vec<Waiting>,
}

struct Known {
    /// `None`: it can't be known now.
    preferences: Option<Arc<Preferences>>,
    fresh_until: Instant,
}

/// An INVITE that waits.
struct Waiting {
    user: String,
    key: ServerKey,
    request: Message,
    flow: Flow,
    until: Instant,
}

impl Wishes {
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiting| waiting.until).min()
    }

    /// Keeps what is known of a user; where there is no room, what is old goes, then all.
    fn keep(&mut self, user: &str, known: Known, (now, users_max): (Instant, usize)) {
        if self.known.len() >= users_max && !self.known.contains_key(user) {
            self.known.retain(|_, other| other.fresh_until > now);
            if self.known.len() >= users_max {
                self.known.clear();
            }
        }
        self.known.insert(user.to_owned(), known);
    }
}

impl Engine {
    /// What holds for a user, with what is known of the user's preferences.
    pub(super) fn as_preferred(&self, policy: Arc<UserPolicy>, address: &str) -> Arc<UserPolicy> {
        if self.settings.preferences.is_none() {
            return policy;
        }
        let known = self.wishes.known.get(&user_key(address));
        match known.and_then(|known| known.preferences.as_ref()) {
            Some(wish) => policy.as_preferred(wish).into(),
            None => policy,
        }
    }

    /// Whether an INVITE has to wait for its served user's preferences: nothing is known of them,
    /// and they were asked for. What is known and old is asked for anew, without waiting.
    pub(super) fn waits_for_preferences(
        &mut self,
        role: Role,
        (key, request, flow): (ServerKey, &Message, Flow),
    ) -> bool {
        let Some(ask) = self.settings.preferences else {
            return false;
        };
        let (policy, address) = self.provided(role, request);
        if policy.barred || address.len() > limits::PREFERENCES_NAME_BYTES {
            return false;
        }
        let user = user_key(address);
        let known = self.wishes.known.get(&user);
        let (is_known, is_fresh) = (
            known.is_some(),
            known.is_some_and(|known| known.fresh_until > self.now),
        );
        let is_asked = is_fresh || self.ask_preferences(&user, address);
        if is_known || !is_asked || self.wishes.waiting.len() >= limits::WAITING_INVITES {
            return false;
        }
        self.wishes.waiting.push(Waiting {
            user,
            key,
            request: request.clone(),
            flow,
            until: self.now + ask.wait,
        });
        true
    }

    /// Asks for a user's preferences, unless somebody has already or too many are asked for.
    fn ask_preferences(&mut self, user: &str, address: &str) -> bool {
        if self.wishes.asked.contains(user) {
            return true;
        }
        if self.wishes.asked.len() >= limits::ASKED_USERS {
            self.counters.preferences_unasked += 1;
            return false;
        }
        self.wishes.asked.insert(user.to_owned());
        self.outputs
            .push_back(Output::Preferences(address.to_owned()));
        true
    }

    /// Takes a user's preferences, or the news that they can't be had: what was known of them
    /// holds on then.
    pub fn handle_preferences(
        &mut self,
        now: Instant,
        address: &str,
        told: Option<Arc<Preferences>>,
    ) {
        self.now = now;
        let user = user_key(address);
        self.wishes.asked.remove(&user);
        let Some(ask) = self.settings.preferences else {
            return;
        };
        let before = self.wishes.known.get(&user);
        let before = before.and_then(|known| known.preferences.clone());
        let lasts = if told.is_some() {
            ask.fresh
        } else {
            ask.fresh.min(AGAIN_AFTER)
        };
        let known = Known {
            preferences: told.or(before),
            fresh_until: now + lasts,
        };
        self.wishes.keep(&user, known, (now, ask.users_max));
        self.go_on(|waiting| waiting.user == user);
        self.take_events();
    }

    /// Lets those go on without that have waited long enough.
    pub(super) fn expire_waiting(&mut self) {
        let now = self.now;
        let Some(ask) = self.settings.preferences else {
            return;
        };
        let late: Vec<String> = self
            .wishes
            .waiting
            .iter()
            .filter(|waiting| waiting.until <= now)
            .map(|waiting| waiting.user.clone())
            .collect();
        for user in late {
            self.counters.preferences_late += 1;
            let unknown = Known {
                preferences: None,
                fresh_until: now,
            };
            self.wishes.keep(&user, unknown, (now, ask.users_max));
            self.go_on(|waiting| waiting.user == user);
        }
    }

    fn go_on(&mut self, is_due: impl Fn(&Waiting) -> bool) {
        let waiting = std::mem::take(&mut self.wishes.waiting);
        let (due, waiting) = waiting.into_iter().partition(is_due);
        self.wishes.waiting = waiting;
        let due: Vec<Waiting> = due;
        for Waiting {
            key, request, flow, ..
        } in due
        {
            self.on_request(key, request, flow);
        }
    }

    /// Takes back an INVITE that waits and was cancelled.
    pub(super) fn take_waiting(&mut self, invite: ServerKey) -> Option<Message> {
        let is_meant = |waiting: &Waiting| waiting.key == invite;
        let at = self.wishes.waiting.iter().position(is_meant)?;
        Some(self.wishes.waiting.swap_remove(at).request)
    }
}

/// After a failure it is tried again no sooner.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
