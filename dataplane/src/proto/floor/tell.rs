//! What members are told: answers, and notices of what has changed (RFC 8855 §13.1.2, §13.5.2).

use std::collections::VecDeque;
use std::time::Instant;

use crate::api::MemberId;
use crate::limits::FLOOR_NOTICES;
use crate::wire::bfcp::{Carrier, Head, Primitive, Status, Writer, fragments};

use super::Floors;
use super::request::{FloorSet, Request, RequestId, Whose};

/// Datagrams and messages that are to be sent.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    ready: VecDeque<(MemberId, Vec<u8>)>,
    /// There may be notices.
    has_notices: bool,
}

/// What a member is to be told of, once it can be.
#[derive(Debug, Default)]
pub(super) struct Notices {
    requests: VecDeque<RequestNotice>,
    floors: FloorSet,
}

#[derive(Debug)]
struct RequestNotice {
    request: RequestId,
    /// The message's payload, where the request is no more.
    ended: Option<Box<[u8]>>,
}

impl Notices {
    /// False where there is no room.
    fn add(&mut self, request: RequestId, ended: Option<Box<[u8]>>) -> bool {
        let mut known = self.requests.iter_mut();
        let same = known.find(|notice| notice.request == request && notice.ended.is_none());
        if let Some(same) = same {
            same.ended = ended;
            return true;
        }
        let has_room = self.requests.len() < FLOOR_NOTICES;
        if has_room {
            self.requests.push_back(RequestNotice { request, ended });
        }
        has_room
    }

    pub(super) fn add_floors(&mut self, floors: FloorSet) {
        self.floors.join(floors);
    }

    /// It is being told of a floor by an answer.
    pub(super) fn drop_floor(&mut self, floor: usize) {
        self.floors.remove(floor);
    }

    pub(super) fn keep_floors(&mut self, subscribed: FloorSet) {
        let kept = self
            .floors
            .iter()
            .filter(|floor| subscribed.contains(*floor));
        let mut floors = FloorSet::default();
        kept.for_each(|floor| floors.insert(floor));
        self.floors = floors;
    }

    fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.floors.is_empty()
    }
}

impl Outgoing {
    /// Adds a message as its carrier takes it.
    pub(super) fn push(&mut self, member: MemberId, carrier: Carrier, message: &[u8]) {
        match carrier {
            Carrier::Reliable => self.ready.push_back((member, message.to_vec())),
            Carrier::Unreliable => {
                let Some(mut parts) = fragments(message) else {
                    return;
                };
                let mut datagram = Vec::new();
                while parts.next(&mut datagram) {
                    self.ready
                        .push_back((member, std::mem::take(&mut datagram)));
                }
            }
        }
    }

    pub(super) fn forget(&mut self, member: MemberId) {
        self.ready.retain(|(other, _)| *other != member);
    }

    pub(super) fn notice(&mut self) {
        self.has_notices = true;
    }
}

impl Floors {
    /// Writes what is to be sent next into `out`, which is emptied before, and says to whom: one
    /// datagram, or a message for a connection. `None`: nothing is to be sent now.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<MemberId> {
        out.clear();
        loop {
            if let Some((member, octets)) = self.outgoing.ready.pop_front() {
                out.extend_from_slice(&octets);
                return Some(member);
            }
            if !self.outgoing.has_notices {
                return None;
            }
            let mut members = self.members.iter();
            let next =
                members.position(|member| !member.notices.is_empty() && member.link.is_free());
            match next {
                Some(place) => self.tell_next(place, now),
                None => {
                    let mut members = self.members.iter();
                    let is_any = members.any(|member| !member.notices.is_empty());
                    self.outgoing.has_notices = is_any;
                    return None;
                }
            }
        }
    }

    /// Sends a member the first of its notices.
    fn tell_next(&mut self, place: usize, now: Instant) {
        let conference = self.conference;
        let Some(member) = self.members.get_mut(place) else {
            return;
        };
        let (id, carrier) = (member.id, member.link.carrier());
        let request = member.notices.requests.pop_front();
        let floor = if request.is_none() {
            member.notices.floors.iter().next()
        } else {
            None
        };
        let primitive = if request.is_some() {
            Primitive::FloorRequestStatus
        } else {
            Primitive::FloorStatus
        };
        if let Some(floor) = floor {
            member.notices.drop_floor(floor);
        }
        let head = Head {
            version: carrier.version(),
            is_response: false,
            primitive: primitive.number(),
            payload_words: 0,
            conference,
            transaction: member.link.next_transaction(),
            user: member.user,
            fragment: None,
        };
        let mut message = Vec::new();
        let mut writer = Writer::begin(&mut message, &head);
        if let Some(notice) = request {
            match (&notice.ended, self.request(notice.request)) {
                (Some(payload), _) => writer.raw(payload),
                (None, Some(request)) => self.write_request(&mut writer, request, None),
                (None, None) => return,
            }
        } else if let Some(floor) = floor {
            self.write_floor_status(&mut writer, floor);
        }
        writer.finish();
        if let Some(member) = self.members.get_mut(place) {
            member
                .link
                .sent((head.transaction, primitive), &message, now);
        }
        self.counts.sent += 1;
        self.outgoing.push(id, carrier, &message);
    }

    /// Notes that those whose request it is are to be told of it, but for `except`.
    pub(super) fn notice_request(&mut self, whose: Whose, ended: Option<&[u8]>, except: Told) {
        for member in &mut self.members {
            let is_its = member.user == whose.by || member.user == whose.beneficiary;
            if !is_its || except.0 == Some((member.user, whose.id)) {
                continue;
            }
            if !member.notices.add(whose.id, ended.map(Box::from)) {
                self.counts.full += 1;
            }
            self.outgoing.notice();
        }
    }

    /// Notes that those who want to know are to be told of these floors.
    pub(super) fn notice_floors(&mut self, changed: FloorSet) {
        for member in &mut self.members {
            let mut floors = FloorSet::default();
            let wanted = changed
                .iter()
                .filter(|floor| member.subscribed.contains(*floor));
            wanted.for_each(|floor| floors.insert(floor));
            member.notices.add_floors(floors);
        }
        self.outgoing.notice();
    }

    /// What is told of a request that has ended.
    pub(super) fn payload(&self, request: &Request, ended: Status) -> Vec<u8> {
        let mut payload = Vec::new();
        let mut writer = Writer::payload(&mut payload);
        self.write_request(&mut writer, request, Some(ended));
        payload
    }

    /// Sends again what wasn't acknowledged.
    pub(super) fn resend(&mut self, place: usize, message: &[u8]) {
        if let Some(member) = self.members.get(place) {
            self.counts.resent += 1;
            self.outgoing.push(member.id, Carrier::Unreliable, message);
        }
    }
}

/// Who is told of a request by an answer, and needs no notice.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Told(pub(super) Option<(u16, RequestId)>);
