//! Requests, users and floors as messages tell of them (RFC 8855 §5.2.14 to §5.2.18).

use crate::limits::{FLOOR_INFO_BYTES, FLOORS};
use crate::wire::bfcp::{Kind, Status, Writer};

use super::request::{Request, Stage};
use super::{Floors, Member};

impl Floors {
    /// FLOOR-REQUEST-INFORMATION of a request, as it is or as it has ended.
    pub(super) fn write_request(
        &self,
        writer: &mut Writer<'_>,
        request: &Request,
        ended: Option<Status>,
    ) {
        let (status, position) = ended.map_or_else(|| request.standing(), |ended| (ended, 0));
        writer.group(Kind::FloorRequestInformation, request.id.0, |writer| {
            writer.group(Kind::OverallRequestStatus, request.id.0, |writer| {
                writer.request_status(status, position);
                if !request.said.is_empty() {
                    writer.octets(Kind::StatusInfo, &request.said);
                }
            });
            for floor in request.floors.iter() {
                self.write_floor(writer, request, (floor, ended));
            }
            writer.group(Kind::BeneficiaryInformation, request.beneficiary, |_| {});
            if request.by != request.beneficiary {
                writer.group(Kind::RequestedByInformation, request.by, |_| {});
            }
            writer.priority(request.priority);
            if !request.info.is_empty() {
                writer.octets(Kind::ParticipantProvidedInfo, &request.info);
            }
        });
    }

    /// FLOOR-REQUEST-STATUS: what a request is for one of its floors.
    fn write_floor(
        &self,
        writer: &mut Writer<'_>,
        request: &Request,
        (floor, ended): (usize, Option<Status>),
    ) {
        let Some(id) = self.floors.get(floor).map(|floor| floor.rule.floor.0) else {
            return;
        };
        let (status, position) = match (ended, request.stage) {
            (Some(ended), _) => (ended, 0),
            (None, Stage::Pending { undecided, .. }) if undecided.contains(floor) => {
                (Status::Pending, 0)
            }
            (None, Stage::Pending { place, .. }) => {
                let place = place.filter(|place| place.floor == floor);
                (Status::Accepted, place.map_or(0, |place| place.position))
            }
            (None, Stage::Accepted) => (Status::Accepted, request.position(floor)),
            (None, Stage::Granted) => (Status::Granted, 0),
        };
        writer.group(Kind::FloorRequestStatus, id, |writer| {
            writer.request_status(status, position);
        });
    }

    /// What FloorStatus has: a floor and all requests for it, those that hold it first.
    pub(super) fn write_floor_status(&self, writer: &mut Writer<'_>, floor: usize) {
        let Some(found) = self.floors.get(floor) else {
            return;
        };
        writer.number(Kind::FloorId, found.rule.floor.0);
        let granted = found.grants.iter().map(|grant| grant.request);
        let queued = self.queue.iter().copied();
        let in_order = granted.chain(queued).filter_map(|id| self.request(id));
        let is_pending = |request: &&Request| matches!(request.stage, Stage::Pending { .. });
        let pending = self.requests.iter().filter(is_pending);
        let all = in_order.chain(pending);
        for request in all.filter(|request| request.floors.contains(floor)) {
            self.write_request(writer, request, None);
        }
    }

    /// What UserStatus has: a user and its requests.
    pub(super) fn write_user(&self, writer: &mut Writer<'_>, member: &Member) {
        writer.group(Kind::BeneficiaryInformation, member.user, |_| {});
        let is_its = |request: &&Request| request.beneficiary == member.user;
        for request in self.requests.iter().filter(is_its) {
            self.write_request(writer, request, None);
        }
    }
}

/// What is kept of a text: whole characters, `limits::FLOOR_INFO_BYTES` at most; what isn't UTF-8
/// isn't passed on (RFC 8855 §5.2.8).
pub(super) fn excerpt(text: &[u8]) -> Box<[u8]> {
    let front = text.get(..FLOOR_INFO_BYTES).unwrap_or(text);
    let whole = match std::str::from_utf8(front) {
        Ok(_) => front.len(),
        Err(error) => error.valid_up_to(),
    };
    front.get(..whole).unwrap_or_default().into()
}

// A group's header, two texts, statuses of each floor and of all: one attribute has 255 at most.
const _: () = assert!(4 + 8 + 2 * (FLOOR_INFO_BYTES + 4) + 8 * FLOORS + 4 + 4 + 4 <= 255);
