//! Messages that come, and their answers (RFC 8855 §12, §13).

use std::time::Instant;

use crate::limits::{FLOOR_REQUESTS, FLOORS};
use crate::wire::bfcp::{
    Attributes, Carrier, ErrorCode, Framer, Head, HeadError, Joined, Kind, Message, Primitive,
    Status, Step, Writer, unknown_mandatory,
};

use super::link::Link;
use super::request::{FloorSet, Happening, Request, RequestId, Stage};
use super::status::excerpt;
use super::tell::Told;
use super::{Floors, Verdict};

/// What a request is answered with.
enum Answer {
    /// FloorRequestStatus of a request that lives.
    Request(RequestId),
    /// FloorRequestStatus of one that has ended.
    Ended(Request, Status),
    /// UserStatus of the member at a place.
    User(usize),
    /// FloorStatus of the floor at a place; `None`: of none.
    Floor(Option<usize>),
    /// A message without attributes.
    Plain(Primitive),
    Hello,
}

/// Why a request is refused, with the details of the code.
struct Refused(ErrorCode, Vec<u8>);

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        Self(code, Vec::new())
    }
}

impl Floors {
    pub(super) fn receive_stream(
        &mut self,
        place: usize,
        mut octets: &[u8],
        now: Instant,
    ) -> Verdict {
        // The framer is out of the way while what it hands out is answered.
        let Some(mut framer) = self.take_framer(place) else {
            return Verdict::Keep;
        };
        let mut verdict = Verdict::Keep;
        while let Some(step) = framer.next(&mut octets) {
            match step {
                Step::Message(head, payload) => self.receive_message(place, (head, payload), now),
                Step::TooLong(head) => {
                    self.refuse(place, &head, &ErrorCode::Length.into());
                    verdict = Verdict::Close;
                    break;
                }
            }
        }
        if let Some(member) = self.members.get_mut(place) {
            member.link = Link::Reliable(framer);
        }
        verdict
    }

    fn take_framer(&mut self, place: usize) -> Option<Framer> {
        match &mut self.members.get_mut(place)?.link {
            Link::Reliable(framer) => Some(std::mem::take(framer)),
            Link::Unreliable(_) => None,
        }
    }

    pub(super) fn receive_datagram(&mut self, place: usize, octets: &[u8], now: Instant) {
        let (head, part) = match Head::of_datagram(octets) {
            Ok(read) => read,
            Err(HeadError::Short) => {
                self.counts.dropped += 1;
                return;
            }
            Err(HeadError::Length(head)) => {
                self.refuse_request(place, &head, &ErrorCode::Length.into());
                return;
            }
        };
        if head.fragment.is_none() {
            self.receive_message(place, (head, part), now);
            return;
        }
        let joined = match self.members.get_mut(place) {
            Some(member) => member.link.join(head, part, now),
            None => Joined::Refused,
        };
        match joined {
            Joined::Waiting => {}
            Joined::Whole(head, payload) => self.receive_message(place, (head, &payload), now),
            Joined::Refused => self.counts.dropped += 1,
        }
    }

    fn receive_message(&mut self, place: usize, message: (Head, &[u8]), now: Instant) {
        let (head, payload) = message;
        self.counts.received += 1;
        let Some(member) = self.members.get_mut(place) else {
            return;
        };
        let primitive = Primitive::from_number(head.primitive);
        let is_answer = head.is_response || primitive.is_some_and(Primitive::is_answer);
        if is_answer {
            // Never answered: two ends would answer each other for ever.
            if member.link.acknowledged(&head) {
                self.outgoing.notice();
            }
            return;
        }
        if let Some(answer) = member.link.answered(&head) {
            self.counts.repeated += 1;
            self.outgoing.push(member.id, Carrier::Unreliable, answer);
            return;
        }
        if member.link.is_stale(&head) {
            self.counts.dropped += 1;
            return;
        }
        let message = Message {
            head,
            attributes: Attributes::new(payload),
        };
        match self.checked(place, &message) {
            Ok(primitive) => match self.serve(place, primitive, &message, now) {
                Ok(answer) => self.answer(place, (&head, now), &answer),
                Err(refused) => self.refuse_kept(place, (&head, now), &refused),
            },
            Err(refused) => self.refuse_kept(place, (&head, now), &refused),
        }
        if primitive == Some(Primitive::Goodbye) {
            self.say_goodbye(place, now);
        }
    }

    /// Whether a message is one that this member may send, as far as its form goes.
    fn checked(&self, place: usize, message: &Message<'_>) -> Result<Primitive, Refused> {
        let (head, member) = (&message.head, self.members.get(place));
        let member = member.ok_or(ErrorCode::User)?;
        if head.version != member.link.carrier().version() {
            return Err(ErrorCode::Version.into());
        }
        if head.conference != self.conference {
            return Err(ErrorCode::Conference.into());
        }
        if head.user != member.user {
            let is_known = self.place_of_user(head.user).is_some();
            let code = if is_known {
                ErrorCode::Unauthorized
            } else {
                ErrorCode::User
            };
            return Err(code.into());
        }
        let primitive = Primitive::from_number(head.primitive).ok_or(ErrorCode::Primitive)?;
        let mut unknown = Vec::new();
        let read = unknown_mandatory(message.attributes, &mut |kind| unknown.push(kind << 1));
        if read.is_err() {
            return Err(ErrorCode::Unparsable.into());
        }
        if unknown.is_empty() {
            Ok(primitive)
        } else {
            Err(Refused(ErrorCode::MandatoryAttribute, unknown))
        }
    }

    fn serve(
        &mut self,
        place: usize,
        primitive: Primitive,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<Answer, Refused> {
        match primitive {
            Primitive::FloorRequest => self.ask(place, message, now),
            Primitive::FloorRelease => self.give_back(place, message, now),
            Primitive::FloorRequestQuery => {
                let id = RequestId(message.request().ok_or(ErrorCode::Unparsable)?);
                let request = self.request(id).ok_or(ErrorCode::Request)?;
                Ok(Answer::Request(request.id))
            }
            Primitive::UserQuery => match message.beneficiary() {
                None => Ok(Answer::User(place)),
                Some(user) => {
                    let place = self.place_of_user(user).ok_or(ErrorCode::User)?;
                    Ok(Answer::User(place))
                }
            },
            Primitive::FloorQuery => self.subscribe(place, message),
            Primitive::ChairAction => {
                let action = message.action().ok_or(ErrorCode::Unparsable)?;
                self.act(place, action, now)?;
                Ok(Answer::Plain(Primitive::ChairActionAck))
            }
            Primitive::Hello => Ok(Answer::Hello),
            Primitive::Goodbye => Ok(Answer::Plain(Primitive::GoodbyeAck)),
            // What only a server says.
            Primitive::FloorRequestStatus | Primitive::UserStatus | Primitive::FloorStatus => {
                Err(ErrorCode::Unauthorized.into())
            }
            // Answers were taken out before.
            Primitive::ChairActionAck
            | Primitive::HelloAck
            | Primitive::Error
            | Primitive::FloorRequestStatusAck
            | Primitive::FloorStatusAck
            | Primitive::GoodbyeAck => Err(ErrorCode::Generic.into()),
        }
    }

    /// FloorRequest (RFC 8855 §13.1).
    fn ask(
        &mut self,
        place: usize,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<Answer, Refused> {
        let mut floors = FloorSet::default();
        for floor in message.floors() {
            floors.insert(self.floor_place(floor).ok_or(ErrorCode::Floor)?);
        }
        if floors.is_empty() {
            return Err(ErrorCode::Unparsable.into());
        }
        let by = self.members.get(place).ok_or(ErrorCode::User)?.user;
        let beneficiary = message.beneficiary().unwrap_or(by);
        if self.place_of_user(beneficiary).is_none() {
            return Err(ErrorCode::User.into());
        }
        // Only who decides on a floor may ask for it in somebody's name (§13.1: a local policy).
        let is_chair = floors.iter().all(|floor| self.is_chair(place, floor));
        if beneficiary != by && !is_chair {
            return Err(ErrorCode::Unauthorized.into());
        }
        let mut requests = self.requests.iter();
        if requests.any(|one| one.beneficiary == beneficiary && one.floors.overlaps(floors)) {
            return Err(ErrorCode::TooManyRequests.into());
        }
        if self.requests.len() >= FLOOR_REQUESTS {
            self.counts.full += 1;
            return Err(ErrorCode::Generic.into());
        }
        let id = self.new_id();
        let request = Request {
            id,
            by,
            beneficiary,
            floors,
            priority: message.priority(),
            info: excerpt(message.info()),
            said: Box::default(),
            stage: Stage::Pending {
                undecided: self.undecided(floors, place),
                place: None,
            },
            positions: [0; FLOORS],
            told: None,
        };
        self.add_request(request, now, Told(Some((by, id))));
        Ok(Answer::Request(id))
    }

    /// FloorRelease (RFC 8855 §13.4).
    fn give_back(
        &mut self,
        place: usize,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<Answer, Refused> {
        let id = RequestId(message.request().ok_or(ErrorCode::Unparsable)?);
        let request = self.request(id).ok_or(ErrorCode::Request)?;
        let user = self.members.get(place).ok_or(ErrorCode::User)?.user;
        if user != request.by && user != request.beneficiary {
            return Err(ErrorCode::Unauthorized.into());
        }
        let told = Told(Some((user, id)));
        let ended = self.end(id, Happening::TakeBack, told);
        let (request, status) = ended.ok_or(ErrorCode::Request)?;
        self.settle(now);
        Ok(Answer::Ended(request, status))
    }

    /// FloorQuery (RFC 8855 §13.5): the floors of the last one are those that are told of.
    fn subscribe(&mut self, place: usize, message: &Message<'_>) -> Result<Answer, Refused> {
        let (mut floors, mut first) = (FloorSet::default(), None);
        for floor in message.floors() {
            let floor = self.floor_place(floor).ok_or(ErrorCode::Floor)?;
            floors.insert(floor);
            first = first.or(Some(floor));
        }
        if let Some(member) = self.members.get_mut(place) {
            member.subscribed = floors;
            member.notices.keep_floors(floors);
            member.notices.add_floors(floors);
            if let Some(first) = first {
                member.notices.drop_floor(first);
            }
            self.outgoing.notice();
        }
        Ok(Answer::Floor(first))
    }

    fn answer(&mut self, place: usize, to: (&Head, Instant), answer: &Answer) {
        let primitive = match answer {
            Answer::Request(_) | Answer::Ended(..) => Primitive::FloorRequestStatus,
            Answer::User(_) => Primitive::UserStatus,
            Answer::Floor(_) => Primitive::FloorStatus,
            Answer::Plain(primitive) => *primitive,
            Answer::Hello => Primitive::HelloAck,
        };
        let mut message = Vec::new();
        let mut writer = Writer::begin(&mut message, &self.reply_head(place, to.0, primitive));
        match answer {
            Answer::Request(id) => {
                if let Some(request) = self.request(*id) {
                    self.write_request(&mut writer, request, None);
                }
            }
            Answer::Ended(request, status) => {
                self.write_request(&mut writer, request, Some(*status));
            }
            Answer::User(user) => {
                if let Some(member) = self.members.get(*user) {
                    self.write_user(&mut writer, member);
                }
            }
            Answer::Floor(Some(floor)) => self.write_floor_status(&mut writer, *floor),
            Answer::Floor(None) | Answer::Plain(_) => {}
            Answer::Hello => {
                let primitives = Primitive::ALL.map(Primitive::number);
                writer.octets(Kind::SupportedPrimitives, &primitives);
                writer.supported_attributes(&Kind::ALL);
            }
        }
        writer.finish();
        self.send_answer(place, to, &message);
    }

    fn refuse_kept(&mut self, place: usize, to: (&Head, Instant), refused: &Refused) {
        self.counts.errors += 1;
        let message = self.error(place, to.0, refused);
        self.send_answer(place, to, &message);
    }

    /// Refuses what isn't an answer and can't be told from others of its transaction.
    fn refuse_request(&mut self, place: usize, head: &Head, refused: &Refused) {
        let primitive = Primitive::from_number(head.primitive);
        if head.is_response || primitive.is_some_and(Primitive::is_answer) {
            self.counts.dropped += 1;
        } else {
            self.refuse(place, head, refused);
        }
    }

    fn refuse(&mut self, place: usize, head: &Head, refused: &Refused) {
        self.counts.errors += 1;
        let message = self.error(place, head, refused);
        if let Some(member) = self.members.get(place) {
            let carrier = member.link.carrier();
            self.outgoing.push(member.id, carrier, &message);
        }
    }

    fn error(&self, place: usize, head: &Head, refused: &Refused) -> Vec<u8> {
        let mut message = Vec::new();
        let head = self.reply_head(place, head, Primitive::Error);
        let mut writer = Writer::begin(&mut message, &head);
        writer.error(refused.0, &refused.1);
        writer.finish();
        message
    }

    fn send_answer(&mut self, place: usize, to: (&Head, Instant), message: &[u8]) {
        if let Some(member) = self.members.get_mut(place) {
            member.link.keep_answer(to.0, message, to.1);
            let carrier = member.link.carrier();
            self.counts.sent += 1;
            self.outgoing.push(member.id, carrier, message);
        }
    }

    /// The header of what answers `to`: the same but for the primitive and R.
    fn reply_head(&self, place: usize, to: &Head, primitive: Primitive) -> Head {
        let carrier = self.members.get(place).map(|member| member.link.carrier());
        let carrier = carrier.unwrap_or(Carrier::Reliable);
        Head {
            version: carrier.version(),
            is_response: carrier == Carrier::Unreliable,
            primitive: primitive.number(),
            payload_words: 0,
            fragment: None,
            ..*to
        }
    }

    /// A client has left (RFC 8855 §5.3.16): what it has is taken back; its answer still goes out.
    fn say_goodbye(&mut self, place: usize, now: Instant) {
        self.take_back_all(place, now);
        if let Some(member) = self.members.get_mut(place) {
            member.subscribed = FloorSet::default();
            member.notices = Default::default();
        }
    }
}

const _: () = assert!(FLOORS <= u8::BITS as usize);
