//! Which users are registered, with which devices: third-party REGISTERs and reg-event
//! notifications (REG-01, REG-02, REG-05..REG-12; C.1.1).
//!
//! ```text
//! core ── REGISTER ──▶ relay (200) ── SUBSCRIBE Event: reg ──▶ core, once for a user
//!      ── NOTIFY reginfo ──▶ (200) ──▶ device table ──▶ fork decisions
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::session::DialogKey;
use super::settings::{Registration, SubscribeWhen};
use super::subscribing::{State, Subscription};
use super::{Engine, Map};
use crate::cpm::devices::{Devices, UserId, after};
use crate::cpm::third_party::{ThirdParty, Told};
use crate::sip::{Flow, Message, Name, ServerKey};

/// What is known of users, and how.
#[derive(Default)]
pub(super) struct Registrar {
    pub devices: Devices,
    pub watched: Map<UserId, Watch>,
    /// The dialogs of subscriptions.
    pub dialogs: std::collections::HashMap<DialogKey, UserId>,
    due: BinaryHeap<Reverse<(Instant, UserId)>>,
}

/// What is done for a user.
#[derive(Default)]
pub(super) struct Watch {
    pub subscription: Option<Subscription>,
    /// It is subscribed to whether it is registered or not.
    is_provisioned: bool,
    /// The user's earliest entry among those that are due.
    armed: Option<Instant>,
}

impl Registrar {
    pub(super) fn new(settings: Option<&Registration>, now: Instant) -> Self {
        let Some(settings) = settings else {
            return Self::default();
        };
        let mut registrar = Self {
            devices: Devices::new(settings.users_max),
            ..Self::default()
        };
        if settings.subscribe_when == SubscribeWhen::Provisioning {
            let mut at = now;
            for address in &settings.users {
                let Some(user) = registrar.devices.find_or_add(address) else {
                    break;
                };
                let watch = registrar.watched.entry(user).or_default();
                watch.is_provisioned = true;
                watch.subscription = Some(Subscription::due(address, at));
                registrar.arm(user);
                at += PACE;
            }
        }
        registrar
    }

    /// Takes a user's subscription to work on it.
    pub(super) fn take(&mut self, user: UserId) -> Option<Subscription> {
        self.watched.get_mut(&user)?.subscription.take()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// Sees to it that the user is looked at when something of it is due.
    pub(super) fn arm(&mut self, user: UserId) {
        let Some(watch) = self.watched.get_mut(&user) else {
            return;
        };
        let subscription = watch
            .subscription
            .as_ref()
            .and_then(Subscription::is_due_at);
        let expiry = self.devices.next_expiry(user);
        let Some(at) = subscription.into_iter().chain(expiry).min() else {
            return;
        };
        if watch.armed.is_none_or(|armed| at < armed) {
            watch.armed = Some(at);
            self.due.push(Reverse((at, user)));
        }
    }
}

impl Engine {
    /// Whether the user with an address is registered; `None` where nothing is known of users
    /// (REG-01).
    pub(super) fn is_registered(&self, address: &str) -> Option<bool> {
        self.settings.registration.as_ref()?;
        Some(self.registrar.devices.is_registered(address, self.now))
    }

    /// Users that are known.
    #[must_use]
    pub fn registered_users(&self) -> usize {
        self.registrar.devices.users()
    }

    /// A REGISTER, which the core sends for a user: the relay is nobody's registrar.
    pub(super) fn on_register(&mut self, key: ServerKey, request: &Message, flow: Flow) {
        let Some(settings) = &self.settings.registration else {
            return;
        };
        let peer = flow.remote.ip();
        if !settings.trusted.is_empty() && !settings.trusted.iter().any(|who| who.is(peer, "")) {
            self.counters.registers_refused += 1;
            self.reply(key, request, 403, "Forbidden");
            return;
        }
        let Some(told) = ThirdParty::of(request, self.now) else {
            self.reply(key, request, 400, "Bad Request");
            return;
        };
        let ends = told.expires_s == 0;
        let known = self.registrar.devices.find(&told.address);
        let user = match known {
            None if ends => None,
            Some(user) => Some(user),
            None => match self.registrar.devices.find_or_add(&told.address) {
                Some(user) => Some(user),
                None => {
                    self.note_full();
                    self.unavailable(key, request);
                    return;
                }
            },
        };
        self.counters.registers += 1;
        let mut response = Message::response(request, 200, "OK");
        response
            .headers
            .push(Name::Expires, told.expires_s.to_string());
        self.refuse(key, response);
        if let Some(user) = user {
            self.take_register(user, told, flow);
        }
    }

    fn take_register(&mut self, user: UserId, told: ThirdParty, flow: Flow) {
        let mut user = user;
        let ends = told.expires_s == 0;
        for alias in told.aliases.iter().chain([&told.address]) {
            let (stays, gone) = self.registrar.devices.alias(user, alias, true);
            user = stays;
            self.end_merged(gone);
        }
        let until = after(self.now, told.expires_s);
        let devices = &mut self.registrar.devices;
        match told.told {
            Told::Nothing if ends => devices.clear(user),
            Told::Nothing => devices.registered_until(user, Some(until)),
            Told::Changes { come, gone } => {
                for device in &gone {
                    devices.deregistered(user, device);
                }
                for device in come {
                    devices.registered(user, device);
                }
            }
            Told::All(all) => {
                devices.clear(user);
                for device in all {
                    devices.registered(user, device);
                }
            }
        }
        self.note_full();
        let is_registered = self.registrar.devices.expire(user, self.now);
        let watch = self.registrar.watched.entry(user).or_default();
        if is_registered && watch.subscription.is_none() {
            let subscription = Subscription::due(&told.address, self.now);
            watch.subscription = Some(subscription.over(flow));
            self.subscribe(user);
        }
        self.settle_user(user);
    }

    /// Another record was the same user's: its subscription is one too many.
    pub(super) fn end_merged(&mut self, gone: Option<UserId>) {
        let watch = gone.and_then(|user| self.registrar.watched.remove(&user));
        if let Some(subscription) = watch.and_then(|watch| watch.subscription) {
            self.unsubscribe(subscription);
        }
    }

    /// What a user's record is kept for may be gone; else it is looked at when something is due.
    pub(super) fn settle_user(&mut self, user: UserId) {
        let is_registered = self.registrar.devices.expire(user, self.now);
        let watch = self.registrar.watched.get(&user);
        let is_watched = watch.is_some_and(|watch| {
            watch.is_provisioned
                || watch
                    .subscription
                    .as_ref()
                    .is_some_and(Subscription::is_alive)
        });
        if is_registered || is_watched {
            self.registrar.arm(user);
        } else {
            self.registrar.devices.remove(user);
            if let Some(Watch {
                subscription: Some(subscription),
                ..
            }) = self.registrar.watched.remove(&user)
            {
                self.unsubscribe(subscription);
            }
        }
    }

    /// Whether somebody wants to know of a user from now on.
    pub(super) fn is_wanted(&self, user: UserId) -> bool {
        let watch = self.registrar.watched.get(&user);
        watch.is_some_and(|watch| watch.is_provisioned)
            || self.registrar.devices.of(user, self.now).next().is_some()
            || self.registrar.devices.next_expiry(user).is_some()
    }

    pub(super) fn note_full(&mut self) {
        let full = self.registrar.devices.full();
        self.counters.full_users = full.users;
        self.counters.full_devices = full.devices;
    }

    /// Does what is due for users.
    pub(super) fn expire_registrations(&mut self) {
        while let Some(Reverse((at, user))) = self.registrar.due.peek().copied() {
            if at > self.now {
                break;
            }
            self.registrar.due.pop();
            let Some(watch) = self.registrar.watched.get_mut(&user) else {
                continue;
            };
            if watch.armed != Some(at) {
                continue;
            }
            watch.armed = None;
            self.registrar.devices.expire(user, self.now);
            let watch = self.registrar.watched.get(&user);
            let subscription = watch.and_then(|watch| watch.subscription.as_ref());
            let is_due = subscription.and_then(Subscription::is_due_at);
            if is_due.is_some_and(|at| at <= self.now) {
                self.on_subscription_due(user);
            }
            self.settle_user(user);
        }
    }

    /// Takes out a user's subscription; its dialog's name is gone with it.
    pub(super) fn drop_subscription(&mut self, user: UserId) -> Option<Subscription> {
        let watch = self.registrar.watched.get_mut(&user)?;
        let subscription = watch.subscription.take()?;
        self.registrar.dialogs.remove(&subscription.key());
        if let State::Asking(client) = subscription.state {
            self.clients.remove(&client);
        }
        Some(subscription)
    }
}

/// Between two users that are subscribed to at the start.
const PACE: Duration = Duration::from_millis(5);
