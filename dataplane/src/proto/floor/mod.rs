//! The floor control server of one group session (RFC 8855 §12, §13), without sockets or clock.
//!
//! ```text
//! octets ─▶ link ─▶ messages ─▶ answer ─▶ requests, floors ─▶ settle ─▶ holders
//!           │ framing, fragments,             ▲                  │
//!           │ answers kept (UDP)      chair, timers, leave       ▼
//! octets ◀──┴────────────── answers, and notices of what changed: tell
//! ```
//!
//! Requests that are accepted wait in one queue, by priority and then in their order; a request gets
//! its floors, all of them at once, as soon as nobody before it waits for one that isn't free.
//! A floor whose chair isn't there is given without one. What has changed is told as it is when it
//! can be told: a slow member hears the last state, not each that there was.

mod answer;
mod chair;
mod link;
mod queue;
mod request;
mod status;
mod tell;
mod timers;

#[cfg(test)]
mod tests;

use std::time::Instant;

use crate::api::{FloorId, FloorRule, FloorSpec, MemberId};
use crate::limits::{FLOOR_MEMBERS, FLOORS};
use crate::wire::bfcp::Carrier;

use link::Link;
use request::{FloorSet, Request, RequestId};
use tell::{Notices, Outgoing};

/// The floors of a session, who asks for them and who holds them.
#[derive(Debug)]
pub struct Floors {
    conference: u32,
    floors: Vec<Floor>,
    members: Vec<Member>,
    requests: Vec<Request>,
    /// The requests that are accepted, in their order.
    queue: Vec<RequestId>,
    next_request: u16,
    outgoing: Outgoing,
    counts: Counts,
}

/// One floor.
#[derive(Debug)]
struct Floor {
    rule: FloorRule,
    grants: Vec<Grant>,
    /// The members of the grants, in the same order.
    holders: Vec<MemberId>,
    /// Its holders aren't those that were told last.
    is_changed: bool,
}

/// A floor in somebody's hands.
#[derive(Debug, Clone, Copy)]
struct Grant {
    request: RequestId,
    member: MemberId,
    since: Instant,
    /// When media came from its holder last; when it was granted, before any came.
    heard: Instant,
}

/// A participant.
#[derive(Debug)]
struct Member {
    id: MemberId,
    user: u16,
    link: Link,
    /// The floors whose requests it wants to be told of.
    subscribed: FloorSet,
    notices: Notices,
}

/// What has happened in floor control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Messages that were taken.
    pub received: u64,
    /// Messages that were sent for the first time.
    pub sent: u64,
    /// Messages that were sent again.
    pub resent: u64,
    /// Requests that came again, and were answered as the first time.
    pub repeated: u64,
    /// Messages that were answered with an Error.
    pub errors: u64,
    /// What was dropped without an answer: no message, or no place for its fragments.
    pub dropped: u64,
    /// Requests that got their floors.
    pub granted: u64,
    /// Floors that were taken away by the server's timers or by a chair.
    pub revoked: u64,
    /// Members that didn't acknowledge, or whose connection was lost.
    pub lost: u64,
    /// Refused for want of room: members, requests, notices.
    pub full: u64,
}

/// What is to become of the connection that octets came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Keep,
    /// It is to be closed once what there is for it is written: it can't be followed any more.
    Close,
}

/// Why a member can't join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinError {
    /// There is no room for more.
    Full,
    /// It, or its user, is there already.
    Taken,
}

impl Floors {
    /// The floors of a plan, held by nobody; those beyond `limits::FLOORS` are left out.
    #[must_use]
    pub fn new(spec: &FloorSpec) -> Self {
        let floors = spec.floors.iter().take(FLOORS).map(|rule| Floor {
            rule: rule.clone(),
            grants: Vec::new(),
            holders: Vec::new(),
            is_changed: false,
        });
        Self {
            conference: spec.conference,
            floors: floors.collect(),
            members: Vec::new(),
            requests: Vec::new(),
            queue: Vec::new(),
            next_request: 1,
            outgoing: Outgoing::default(),
            counts: Counts::default(),
        }
    }

    /// Adds a member with its user identifier.
    ///
    /// # Errors
    ///
    /// When there are `limits::FLOOR_MEMBERS`, or the member or the user is there already.
    pub fn join(&mut self, member: MemberId, user: u16, carrier: Carrier) -> Result<(), JoinError> {
        let mut members = self.members.iter();
        if members.any(|other| other.id == member || other.user == user) {
            return Err(JoinError::Taken);
        }
        if self.members.len() >= FLOOR_MEMBERS {
            self.counts.full += 1;
            return Err(JoinError::Full);
        }
        self.members.push(Member {
            id: member,
            user,
            link: Link::new(carrier),
            subscribed: FloorSet::default(),
            notices: Notices::default(),
        });
        Ok(())
    }

    /// Whether a member has this user identifier.
    #[must_use]
    pub fn has_user(&self, user: u16) -> bool {
        self.place_of_user(user).is_some()
    }

    /// Takes a member out: what it holds is released, what it asked for is cancelled.
    pub fn leave(&mut self, member: MemberId, now: Instant) {
        let Some(place) = self.place_of(member) else {
            return;
        };
        self.take_back_all(place, now);
        self.members.remove(place);
        self.outgoing.forget(member);
        self.decide_without_chairs(now);
        self.settle(now);
    }

    /// A member's connection was lost: what it holds is released and it is told nothing more, until
    /// it comes back.
    pub fn lost(&mut self, member: MemberId, now: Instant) {
        if let Some(place) = self.place_of(member) {
            self.counts.lost += 1;
            self.part(place, now);
        }
    }

    /// Takes what came from a member: a datagram, or octets of its connection.
    pub fn receive(&mut self, member: MemberId, octets: &[u8], now: Instant) -> Verdict {
        let Some(place) = self.place_of(member) else {
            self.counts.dropped += 1;
            return Verdict::Keep;
        };
        match self.members[place].link.carrier() {
            Carrier::Reliable => self.receive_stream(place, octets, now),
            Carrier::Unreliable => {
                self.receive_datagram(place, octets, now);
                Verdict::Keep
            }
        }
    }

    /// Media came from a member in a room that a floor gates, at some time until now. It matters
    /// to silence alone, so that it may be told as late as [`Floors::handle_timeout`] is called.
    pub fn heard(&mut self, floor: FloorId, member: MemberId, now: Instant) {
        let floor = self.floors.iter_mut().find(|one| one.rule.floor == floor);
        let grants = floor.map(|floor| floor.grants.iter_mut());
        for grant in grants.into_iter().flatten() {
            if grant.member == member {
                grant.heard = grant.heard.max(now);
            }
        }
    }

    /// Who is on whose silence a floor is taken away, and that floor.
    pub fn listened(&self) -> impl Iterator<Item = (FloorId, MemberId)> + '_ {
        let floors = self.floors.iter().filter(|floor| floor.rule.silence_ms > 0);
        floors.flat_map(|floor| {
            floor
                .holders
                .iter()
                .map(|member| (floor.rule.floor, *member))
        })
    }

    /// Those that hold a floor; nobody where there is no such floor.
    #[must_use]
    pub fn holders(&self, floor: FloorId) -> &[MemberId] {
        let floor = self.floors.iter().find(|one| one.rule.floor == floor);
        floor.map_or(&[], |floor| &floor.holders)
    }

    /// A floor whose holders have changed since it was named here last; `None`: there is no other.
    pub fn poll_change(&mut self) -> Option<FloorId> {
        let floor = self.floors.iter_mut().find(|floor| floor.is_changed)?;
        floor.is_changed = false;
        Some(floor.rule.floor)
    }

    /// What has happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn place_of(&self, member: MemberId) -> Option<usize> {
        self.members.iter().position(|other| other.id == member)
    }

    fn place_of_user(&self, user: u16) -> Option<usize> {
        self.members.iter().position(|other| other.user == user)
    }

    fn floor_place(&self, floor: u16) -> Option<usize> {
        let mut floors = self.floors.iter();
        floors.position(|other| other.rule.floor == FloorId(floor))
    }

    fn request(&self, id: RequestId) -> Option<&Request> {
        self.requests.iter().find(|request| request.id == id)
    }

    fn request_mut(&mut self, id: RequestId) -> Option<&mut Request> {
        self.requests.iter_mut().find(|request| request.id == id)
    }
}
