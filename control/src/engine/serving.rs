//! Who is served, what holds for that user, and whether the relay stays in the session's media
//! path (S11-03, S11-05, S11-06).

use std::sync::Arc;

use dataplane::api::Side;

use super::forks::Fork;
use super::requests::Next;
use super::session::Session;
use super::{Engine, Settings};
use crate::cpm::participating::{Mode, Role};
use crate::cpm::policy::{Policies, Streams, UserPolicy};
use crate::cpm::{body, identity};
use crate::media::{self, Proposal, Refused};
use crate::sip::{Flow, Message, Method, Name, ServerKey};

/// Who is served in a session: from its INVITE on, whatever is settled later.
pub(super) struct Served {
    pub role: Role,
    pub policy: Arc<UserPolicy>,
    /// The session leaves CPM without having been tried there.
    pub is_interworked: bool,
    /// Where the INVITE goes.
    pub fork: Fork,
}

impl Engine {
    /// Takes what holds for whom from now on; sessions that have begun keep what held for them.
    pub fn set_policies(&mut self, policies: Arc<Policies>) {
        Arc::make_mut(&mut self.settings).policies = policies;
    }

    /// Takes new settings for sessions to come. Where it listens, its timers, how it learns of
    /// registrations and whether there is a store stay as they were at the start.
    pub fn reload(&mut self, settings: Settings) {
        let before = &self.settings;
        let has_store = before.store_deadline.is_some();
        self.settings = Arc::new(Settings {
            listen: before.listen.clone(),
            timers: before.timers,
            store_deadline: settings.store_deadline.filter(|_| has_store),
            registration: before.registration.clone(),
            ..settings
        });
    }

    /// What holds for the user who is served in a session that an INVITE begins.
    pub(super) fn policy_of(&self, role: Role, request: &Message) -> Arc<UserPolicy> {
        let (policy, address) = self.provided(role, request);
        self.as_preferred(policy, address)
    }

    /// What the service provider says of that user, and the user's address.
    pub(super) fn provided<'a>(
        &self,
        role: Role,
        request: &'a Message,
    ) -> (Arc<UserPolicy>, &'a str) {
        let policies = &self.settings.policies;
        let (policy, address) = match role {
            Role::Originating => (
                policies.of_any(identity::calling(request)),
                identity::calling(request).next(),
            ),
            Role::Terminating => (
                policies.of_any(identity::called(request)),
                identity::called(request).next(),
            ),
        };
        (policy, address.unwrap_or_default())
    }

    /// Whether an INVITE to a group session of this server's is its sender's Participating
    /// Function's first, as the sender's history is recorded: it goes on to the core, and comes back.
    pub(super) fn is_recorded_first(
        &self,
        request: &Message,
        (flow, own_route): (Flow, Option<&str>),
    ) -> bool {
        let is_routed = self.settings.next_hop.is_some()
            || request.headers.values(Name::Route).next().is_some();
        request.method() == Some(&Method::Invite)
            && is_routed
            && self.settings.store_deadline.is_some()
            && Role::of(request, own_route, Role::Terminating) == Role::Originating
            && self.hosts(request)
            && self
                .policy_of(Role::Originating, request)
                .allow_offline_storage
            && matches!(self.next(request, flow), Next::To(_))
    }

    /// An INVITE that begins a session: as it came, and without the Routes that named us.
    pub(super) fn on_invite(
        &mut self,
        key: ServerKey,
        (request, forward): (Message, Message),
        role: Role,
        (from, to): (Flow, Flow),
    ) {
        let policy = self.policy_of(role, &request);
        if policy.barred {
            self.counters.barred += 1;
            self.reply(key, &request, 403, "Forbidden");
            return;
        }
        let Some(fork) = self.fork(role, &forward, &policy, (from, to)) else {
            self.counters.unregistered += 1;
            self.reply(key, &request, 480, "Temporarily Unavailable");
            return;
        };
        let interworking = &self.settings.interworking;
        let mode = match policy.mode(self.settings.store_deadline.is_some()) {
            // Several devices in one session are a reason to stay (S11-07).
            // A proxy can't begin anew elsewhere.
            Mode::Proxy if interworking.may_follow_failure(role, policy.interworking) => {
                Mode::B2bua
            }
            Mode::Proxy if fork.is_plain() => Mode::Proxy,
            Mode::Proxy | Mode::B2bua => Mode::B2bua,
        };
        tracing::debug!(role = role.label(), ?mode, stay = ?policy.stay, "a session is decided on");
        if mode == Mode::B2bua && needs_early_offer(&request) {
            // Its offer would come in a provisional response, which isn't anchored.
            let mut response = Message::response(&request, 420, "Bad Extension");
            response.headers.push(Name::Unsupported, "100rel");
            self.refuse(key, response);
            return;
        }
        if self.draining {
            self.counters.full_sessions += 1;
            self.unavailable(key, &request);
            return;
        }
        match mode {
            Mode::Proxy => {
                self.proxy(key, request, from);
            }
            Mode::B2bua => {
                let served = Served {
                    role,
                    policy,
                    is_interworked: false,
                    fork,
                };
                self.begin(key, forward, served, (from, to));
            }
        }
    }
}

impl Session {
    /// Reads an offer of one side within what the served user may have (OFR-03, OMD-03, OMD-08).
    pub(super) fn offer(&self, from: Side, sdp: &[u8]) -> Result<Proposal, Refused> {
        self.media.offer(from, sdp, &allowed(self.policy.streams))
    }
}

/// The streams in the terms of `media`.
fn allowed(streams: Streams) -> media::Policy {
    media::Policy {
        audio: streams.audio,
        video: streams.video,
        message: streams.message,
        application: streams.application,
        other: streams.other,
    }
}

/// Whether an INVITE has no offer and insists on reliable provisional responses.
fn needs_early_offer(request: &Message) -> bool {
    let insists = |option: &str| option.eq_ignore_ascii_case("100rel");
    request.headers.values(Name::Require).any(insists) && body::sdp(request).is_none()
}
