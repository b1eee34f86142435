//! Who gets a floor, and when: the queue, granting, and taking back (RFC 8855 §13.1, §13.2).

use std::time::Instant;

use crate::limits::FLOORS;
use crate::wire::bfcp::Status;

use super::request::{FloorSet, Happening, Place, Request, RequestId, Stage, after};
use super::tell::Told;
use super::{Floors, Grant};

impl Floors {
    /// Adds a request and accepts it as far as no chair has to.
    pub(super) fn add_request(&mut self, request: Request, now: Instant, told: Told) {
        let id = request.id;
        self.notice_floors(request.floors);
        self.requests.push(request);
        self.accept_if_decided(id);
        self.settle_but(now, told);
    }

    /// A number that no request has.
    pub(super) fn new_id(&mut self) -> RequestId {
        loop {
            let id = RequestId(self.next_request);
            self.next_request = self.next_request.wrapping_add(1).max(1);
            // At most `FLOOR_REQUESTS` are taken.
            if self.request(id).is_none() {
                return id;
            }
        }
    }

    /// Puts a request into the queue when no chair is left to decide.
    pub(super) fn accept_if_decided(&mut self, id: RequestId) {
        let Some(request) = self.request_mut(id) else {
            return;
        };
        let Stage::Pending { undecided, place } = request.stage else {
            return;
        };
        if !undecided.is_empty() || after(Status::Pending, Happening::Accept).is_none() {
            return;
        }
        request.stage = Stage::Accepted;
        let floors = request.floors;
        self.enqueue(id, place);
        self.notice_floors(floors);
    }

    /// Puts a request where a chair wants it, else behind all of its priority.
    pub(super) fn enqueue(&mut self, id: RequestId, place: Option<Place>) {
        let at = match place {
            Some(place) => self.index_of(place),
            None => {
                let own = self.request(id).map(|request| request.priority);
                let is_before =
                    |other: &&RequestId| self.request(**other).map(|other| other.priority) < own;
                let behind = self.queue.iter().rev().take_while(is_before).count();
                self.queue.len() - behind
            }
        };
        self.queue.insert(at, id);
    }

    /// Where in the queue a place of one floor's is.
    fn index_of(&self, place: Place) -> usize {
        let mut ahead = 0;
        for (index, id) in self.queue.iter().enumerate() {
            let request = self.request(*id);
            if request.is_some_and(|request| request.floors.contains(place.floor)) {
                ahead += 1;
                if ahead >= usize::from(place.position) {
                    return index;
                }
            }
        }
        self.queue.len()
    }

    /// Grants what can be granted, and notes who is to be told of what.
    pub(super) fn settle(&mut self, now: Instant) {
        self.settle_but(now, Told::default());
    }

    /// The same, where an answer tells somebody of a request.
    pub(super) fn settle_but(&mut self, now: Instant, told: Told) {
        let mut free = [0_usize; FLOORS];
        for (free, floor) in free.iter_mut().zip(&self.floors) {
            // A floor that nobody may hold would be no floor.
            let holders = usize::from(floor.rule.holders.max(1));
            *free = holders.saturating_sub(floor.grants.len());
        }
        let mut at = 0;
        while let Some(id) = self.queue.get(at).copied() {
            let Some(floors) = self.request(id).map(|request| request.floors) else {
                self.queue.remove(at);
                continue;
            };
            let is_free = floors.iter().all(|floor| free.get(floor) > Some(&0));
            // Who can't have all of its floors keeps a place in each: nobody behind it passes.
            for floor in floors.iter() {
                if let Some(free) = free.get_mut(floor) {
                    *free = free.saturating_sub(1);
                }
            }
            if is_free {
                self.queue.remove(at);
                self.grant(id, now);
            } else {
                at += 1;
            }
        }
        self.notice_standings(told);
    }

    fn grant(&mut self, id: RequestId, now: Instant) {
        let Some(request) = self.request_mut(id) else {
            return;
        };
        if after(request.stage.status(), Happening::Grant).is_none() {
            return;
        }
        request.stage = Stage::Granted;
        let (floors, user) = (request.floors, request.beneficiary);
        let Some(member) = self
            .place_of_user(user)
            .and_then(|place| self.members.get(place))
        else {
            return;
        };
        let grant = Grant {
            request: id,
            member: member.id,
            since: now,
            heard: now,
        };
        for place in floors.iter() {
            if let Some(floor) = self.floors.get_mut(place) {
                floor.grants.push(grant);
                floor.holders.push(grant.member);
                floor.is_changed = true;
            }
        }
        self.counts.granted += 1;
        self.notice_floors(floors);
    }

    /// Tells of every request that isn't what its participants know.
    fn notice_standings(&mut self, told: Told) {
        let mut floors = FloorSet::default();
        self.count_positions();
        let requests = self.requests.iter().enumerate();
        let changed: Vec<(usize, (Status, u8))> = requests
            .filter(|(_, request)| request.told != Some(request.standing()))
            .map(|(at, request)| (at, request.standing()))
            .collect();
        for (at, standing) in changed {
            let Some(request) = self.requests.get_mut(at) else {
                continue;
            };
            request.told = Some(standing);
            floors.join(request.floors);
            let whose = request.whose();
            self.notice_request(whose, None, told);
        }
        if !floors.is_empty() {
            self.notice_floors(floors);
        }
    }

    /// Notes each request's places in its queues.
    fn count_positions(&mut self) {
        let mut last = [0_u8; FLOORS];
        for id in &self.queue {
            let request = self.requests.iter_mut().find(|request| request.id == *id);
            let Some(request) = request else { continue };
            for floor in request.floors.iter() {
                let places = (last.get_mut(floor), request.positions.get_mut(floor));
                if let (Some(last), Some(position)) = places {
                    *last = last.saturating_add(1);
                    *position = *last;
                }
            }
        }
    }

    /// Ends a request; its floors are free then. `None`: it can't end so.
    pub(super) fn end(
        &mut self,
        id: RequestId,
        happening: Happening,
        told: Told,
    ) -> Option<(Request, Status)> {
        let at = self.requests.iter().position(|request| request.id == id)?;
        let ended = after(self.requests.get(at)?.stage.status(), happening)?;
        let request = self.requests.remove(at);
        self.queue.retain(|other| *other != id);
        for place in request.floors.iter() {
            let Some(floor) = self.floors.get_mut(place) else {
                continue;
            };
            if let Some(at) = floor.grants.iter().position(|grant| grant.request == id) {
                floor.grants.remove(at);
                floor.holders.remove(at);
                floor.is_changed = true;
            }
        }
        if ended == Status::Revoked {
            self.counts.revoked += 1;
        }
        let payload = self.payload(&request, ended);
        self.notice_request(request.whose(), Some(&payload), told);
        self.notice_floors(request.floors);
        Some((request, ended))
    }

    /// A member's association has ended: what it has is taken back, and it is told nothing more.
    pub(super) fn part(&mut self, place: usize, now: Instant) {
        self.take_back_all(place, now);
        if let Some(member) = self.members.get_mut(place) {
            member.link.reset();
            member.subscribed = FloorSet::default();
            member.notices = Default::default();
            self.outgoing.forget(member.id);
        }
        self.settle(now);
    }

    /// Takes back all requests that are for a member.
    pub(super) fn take_back_all(&mut self, place: usize, now: Instant) {
        let Some(user) = self.members.get(place).map(|member| member.user) else {
            return;
        };
        let is_its = |request: &&Request| request.beneficiary == user;
        let its: Vec<RequestId> = self
            .requests
            .iter()
            .filter(is_its)
            .map(|it| it.id)
            .collect();
        for id in its {
            self.end(id, Happening::TakeBack, Told::default());
        }
        self.settle(now);
    }
}
