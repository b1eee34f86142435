//! Chairs and what they decide (RFC 8855 §11, §13.6).

use std::time::Instant;

use crate::wire::bfcp::{ActionOn, ErrorCode, Status, floors_decided};

use super::Floors;
use super::request::{FloorSet, Happening, Place, RequestId, Stage};
use super::status::excerpt;
use super::tell::Told;

impl Floors {
    /// Whether a member decides who gets a floor.
    pub(super) fn is_chair(&self, place: usize, floor: usize) -> bool {
        let member = self.members.get(place).map(|member| member.id);
        let chair = self.floors.get(floor).and_then(|floor| floor.rule.chair);
        chair.is_some() && chair == member
    }

    /// Of some floors, those that a chair who is there decides on; its own requests need no decision.
    pub(super) fn undecided(&self, floors: FloorSet, by: usize) -> FloorSet {
        let mut undecided = FloorSet::default();
        for floor in floors.iter() {
            let chair = self.floors.get(floor).and_then(|floor| floor.rule.chair);
            let is_there = chair.is_some_and(|chair| self.place_of(chair).is_some());
            if is_there && !self.is_chair(by, floor) {
                undecided.insert(floor);
            }
        }
        undecided
    }

    /// Requests that wait for a chair who has left are accepted in their order.
    pub(super) fn decide_without_chairs(&mut self, now: Instant) {
        let ids: Vec<RequestId> = self.requests.iter().map(|request| request.id).collect();
        for id in ids {
            let Some(request) = self.request(id) else {
                continue;
            };
            let Stage::Pending { undecided, place } = request.stage else {
                continue;
            };
            let mut left = FloorSet::default();
            for floor in undecided.iter() {
                let chair = self.floors.get(floor).and_then(|floor| floor.rule.chair);
                if chair.is_some_and(|chair| self.place_of(chair).is_some()) {
                    left.insert(floor);
                }
            }
            if let Some(request) = self.request_mut(id) {
                let undecided = left;
                request.stage = Stage::Pending { undecided, place };
            }
            self.accept_if_decided(id);
        }
        self.settle(now);
    }

    /// Does what a chair has decided on a request.
    ///
    /// # Errors
    ///
    /// What the chair is to be answered with; nothing is done then.
    pub(super) fn act(
        &mut self,
        chair: usize,
        action: ActionOn<'_>,
        now: Instant,
    ) -> Result<(), ErrorCode> {
        let id = RequestId(action.request);
        let request = self.request(id).ok_or(ErrorCode::Request)?;
        let wants = self.wanted(chair, action, request.floors)?;
        let decision = Decision::of(request.stage.status(), &wants)?;
        let said = wants.iter().find(|want| !want.info.is_empty());
        if let (Some(said), Some(request)) =
            (said.map(|want| excerpt(want.info)), self.request_mut(id))
        {
            request.said = said;
        }
        match decision {
            Decision::End(happening) => {
                self.end(id, happening, Told::default());
            }
            Decision::Accept => self.accept(id, &wants),
            Decision::Move => {
                let place = wants.iter().find_map(|want| want.place);
                if place.is_some() {
                    self.queue.retain(|other| *other != id);
                    self.enqueue(id, place);
                }
            }
            Decision::Nothing => {}
        }
        self.settle(now);
        Ok(())
    }

    /// What a chair wants for each floor; all of them must be the request's, and its own.
    fn wanted<'a>(
        &self,
        chair: usize,
        action: ActionOn<'a>,
        floors: FloorSet,
    ) -> Result<Vec<Want<'a>>, ErrorCode> {
        let mut wants = Vec::new();
        for decided in floors_decided(action) {
            let floor = self.floor_place(decided.floor).ok_or(ErrorCode::Floor)?;
            if !floors.contains(floor) {
                return Err(ErrorCode::Floor);
            }
            if !self.is_chair(chair, floor) {
                return Err(ErrorCode::Unauthorized);
            }
            let status = Status::from_number(decided.status).ok_or(ErrorCode::Unparsable)?;
            // To grant is to place first: the floor is given as soon as it is free.
            let position = match status {
                Status::Granted => 1,
                _ => decided.position,
            };
            if wants.len() < super::FLOORS {
                wants.push(Want {
                    floor,
                    status,
                    place: (position > 0).then_some(Place { floor, position }),
                    info: decided.info,
                });
            }
        }
        if wants.is_empty() {
            return Err(ErrorCode::Unparsable);
        }
        Ok(wants)
    }

    fn accept(&mut self, id: RequestId, wants: &[Want<'_>]) {
        let Some(request) = self.request_mut(id) else {
            return;
        };
        if let Stage::Pending { undecided, place } = &mut request.stage {
            for want in wants {
                undecided.remove(want.floor);
                *place = want.place.or(*place);
            }
        }
        let floors = request.floors;
        self.accept_if_decided(id);
        self.notice_floors(floors);
    }
}

/// What a chair wants for one floor.
struct Want<'a> {
    floor: usize,
    status: Status,
    place: Option<Place>,
    info: &'a [u8],
}

/// What is done with a request as a whole.
enum Decision {
    End(Happening),
    Accept,
    Move,
    Nothing,
}

impl Decision {
    /// What a chair's wishes come to: what is denied or revoked for one floor is so for all.
    fn of(now: Status, wants: &[Want<'_>]) -> Result<Self, ErrorCode> {
        let is_any = |status| wants.iter().any(|want| want.status == status);
        let is_all = wants
            .iter()
            .all(|want| matches!(want.status, Status::Accepted | Status::Granted));
        match now {
            Status::Pending | Status::Accepted if is_any(Status::Denied) => {
                Ok(Self::End(Happening::Deny))
            }
            Status::Granted if is_any(Status::Revoked) => Ok(Self::End(Happening::Revoke)),
            Status::Pending if is_all => Ok(Self::Accept),
            Status::Accepted if is_all => Ok(Self::Move),
            Status::Granted if wants.iter().all(|want| want.status == Status::Granted) => {
                Ok(Self::Nothing)
            }
            // A request can't go back, and only its participants cancel and release.
            _ => Err(ErrorCode::Generic),
        }
    }
}
