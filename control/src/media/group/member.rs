//! A participant's part of a group session's media: its dialog's m-lines and its legs.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use dataplane::api::{Act, BfcpTransport, Direction, LegLocal, MemberId, StreamId, StreamSet};

use super::leg::{Leg, Make};
use super::text::{self, Role};
use super::{Offer, Rights, Room, Rooms};
use crate::media::trunk::{Terms, Trunk};
use crate::media::{Refused, draft, stream};
use crate::sdp::{Kind, MediaDescription, Sdp};

/// What was negotiated with a participant.
#[derive(Debug)]
pub struct MemberMedia {
    terms: Arc<Terms>,
    origin: u64,
    /// Who it is in floor control (RFC 8856 `userid`).
    user: u16,
    version: u64,
    sent: Option<Bytes>,
    /// Whether it speaks IPv6.
    is_v6: bool,
    slots: Vec<Slot>,
}

/// One m-line of its dialog.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub media: String,
    pub proto: String,
    pub formats: String,
    pub mid: Option<String>,
    pub leg: Option<Leg>,
}

/// What is about to be negotiated with it.
#[derive(Debug)]
pub struct Draft {
    terms: Arc<Terms>,
    user: u16,
    is_v6: bool,
    slots: Vec<Slot>,
}

/// What an answer of it led to.
#[derive(Debug)]
pub struct Settled {
    /// What the worker is to be told.
    pub connects: Vec<Act>,
    /// Legs that are not used any more, or never were.
    pub leaves: StreamSet,
}

/// A stream that it uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStream {
    /// The room.
    pub id: StreamId,
    /// What it carries.
    pub kind: Kind,
    /// What the participant may do.
    pub direction: Direction,
}

impl MemberMedia {
    /// Nothing yet, for a participant whose descriptions `origin` names, and which is `user` in
    /// floor control.
    #[must_use]
    pub fn new(rooms: &Rooms, trunk: Trunk, (user, origin): (u16, u64)) -> Self {
        Self {
            terms: Arc::new(Terms {
                settings: Arc::clone(&rooms.settings),
                trunks: [trunk; 2],
                is_recorded: false,
            }),
            origin,
            user,
            version: 0,
            sent: None,
            is_v6: rooms.settings.address(false).is_none(),
            slots: Vec::new(),
        }
    }

    /// Who it is in floor control: nobody else of its session.
    #[must_use]
    pub fn user(&self) -> u16 {
        self.user
    }

    /// Reads an offer of the participant.
    ///
    /// # Errors
    ///
    /// 488 where it can't be read.
    pub fn read(&self, sdp: &[u8]) -> Result<Offer, Refused> {
        Offer::read(sdp, &self.terms)
    }

    /// The room of each of its m-lines.
    pub fn lines(&self) -> impl Iterator<Item = Option<StreamId>> {
        let legs = self.slots.iter().map(|slot| slot.leg.as_ref());
        legs.map(|leg| leg.filter(|leg| !leg.is_stopped).map(|leg| leg.stream))
    }

    /// The rooms that it uses.
    #[must_use]
    pub fn used(&self) -> StreamSet {
        let legs = self.lines().flatten();
        legs.fold(StreamSet::default(), StreamSet::with)
    }

    /// The streams that it uses, as others may see them.
    pub fn streams(&self, rooms: &Rooms, rights: Rights) -> Vec<MemberStream> {
        let legs = self.slots.iter().filter_map(|slot| slot.leg.as_ref());
        let legs = legs.filter(|leg| !leg.is_stopped && !leg.is_new);
        let streams = legs.filter_map(|leg| {
            Some(MemberStream {
                id: leg.stream,
                kind: rooms.find(leg.stream)?.kind,
                direction: leg.direction(rights),
            })
        });
        streams.collect()
    }

    /// The numbers of the payload formats that it has taken in a room.
    pub(super) fn payloads(&self, stream: StreamId) -> Option<Vec<u16>> {
        let mut legs = self.slots.iter().filter_map(|slot| slot.leg.as_ref());
        let leg = legs.find(|leg| leg.stream == stream)?;
        let numbers = leg.said.payloads.iter().map(|(_, number)| *number);
        Some(numbers.collect())
    }

    /// Drafts the answer to an offer whose lines are to be in some rooms; a line that can't be is
    /// refused.
    #[must_use]
    pub fn draft_answer(&self, rooms: &Rooms, offer: &Offer, fates: &[Option<StreamId>]) -> Draft {
        let is_v6 = draft::speaks_v6(&offer.sdp).unwrap_or(self.is_v6);
        let mut slots = Vec::with_capacity(offer.sdp.media_count());
        for (index, line) in offer.sdp.media().iter().enumerate() {
            let fate = fates.get(index).copied().flatten();
            // A room that is offered on another line than before goes on with its leg.
            let of_room = |slot: &&Slot| slot.leg.as_ref().map(|leg| leg.stream) == fate;
            let known = self.slots.get(index).filter(of_room);
            let known = known.or_else(|| self.slots.iter().find(of_room));
            let known = known.and_then(|slot| slot.leg.clone()).map(Leg::next);
            let leg = fate
                .and_then(|id| rooms.find(id))
                .and_then(|room| self.answered_leg(room, known, (&offer.sdp, line), is_v6));
            slots.push(Slot::of(line, leg));
        }
        Draft {
            terms: Arc::clone(&self.terms),
            user: self.user,
            is_v6,
            slots,
        }
    }

    fn answered_leg(
        &self,
        room: &Room,
        known: Option<Leg>,
        (sdp, line): (&Sdp, &MediaDescription),
        is_v6: bool,
    ) -> Option<Leg> {
        if room.kind != line.kind() || !room.takes(line) {
            return None;
        }
        let make = Leg::made_for(line, &self.terms).ok()?;
        let local_ip = self.terms.settings.address(is_v6)?;
        let is_held = super::offer::is_held(sdp, line);
        let known = known.filter(|leg| {
            let is_same = leg.stream == room.id && leg.continues(make);
            is_same && (is_held || leg.local_ip.is_ipv6() == is_v6)
        });
        let mut leg = known.unwrap_or_else(|| Leg::new(room.id, make, local_ip));
        leg.is_stopped = false;
        leg.hear(room, (sdp, line), &self.terms, true).ok()?;
        Some(leg)
    }

    /// Drafts an offer of some rooms: those that it has keep their lines, others get new ones.
    #[must_use]
    pub fn draft_offer(&self, rooms: &Rooms, wanted: StreamSet) -> Draft {
        let mut slots = self.slots.clone();
        let mut missing = wanted;
        for slot in &mut slots {
            slot.leg = slot.leg.take().map(Leg::next);
            match &mut slot.leg {
                // One that was stopped is still the worker's.
                Some(leg) if wanted.contains(leg.stream) => {
                    leg.is_stopped = false;
                    missing.0 &= !StreamSet::default().with(leg.stream).0;
                }
                Some(_) | None => slot.leg = None,
            }
        }
        let address = self.terms.settings.address(self.is_v6);
        for room in rooms.iter().filter(|room| missing.contains(room.id)) {
            let made = Leg::made_by(room, &self.terms).ok();
            if let Some((make, ip)) = made.zip(address) {
                let leg = Leg::offered(room.id, make, ip);
                put(&mut slots, Slot::offered(room, leg));
            }
        }
        Draft {
            terms: Arc::clone(&self.terms),
            user: self.user,
            is_v6: self.is_v6,
            slots,
        }
    }

    /// Writes a draft as an offer; `None` while its ports aren't bound.
    pub fn offer(&mut self, rooms: &Rooms, draft: &Draft, rights: Rights) -> Option<Bytes> {
        self.write(rooms, draft, Role::Offer, rights)
    }

    /// Takes over a draft and writes it as an answer; `None` while its ports aren't bound.
    pub fn answer(&mut self, rooms: &Rooms, draft: Draft, rights: Rights) -> Option<Bytes> {
        let text = self.write(rooms, &draft, Role::Answer, rights)?;
        self.take(draft);
        Some(text)
    }

    /// Takes over a draft whose answer was, or will be, given.
    pub fn take(&mut self, draft: Draft) {
        self.slots = draft.slots;
        self.is_v6 = draft.is_v6;
        for slot in &mut self.slots {
            if let Some(leg) = &mut slot.leg {
                leg.is_new = false;
            }
        }
    }

    /// Takes the participant's answer to an offer.
    ///
    /// # Errors
    ///
    /// 488 where it can't be read or doesn't fit the offer; nothing has changed then.
    pub fn settle(
        &mut self,
        rooms: &Rooms,
        mut draft: Draft,
        sdp: &[u8],
        whose: (MemberId, Rights),
    ) -> Result<Settled, Refused> {
        let answer = Sdp::parse(sdp).map_err(|error| Refused::not_acceptable(399, error))?;
        let before = self.all();
        let opened = draft.opened_streams();
        for (index, slot) in draft.slots.iter_mut().enumerate() {
            let line = answer.media().get(index).filter(|line| line.port() != 0);
            let Some(leg) = &mut slot.leg else { continue };
            let heard = line.and_then(|line| {
                let room = rooms.find(leg.stream)?;
                let is_same = line.media_text().eq_ignore_ascii_case(&slot.media);
                let heard = leg.hear(room, (&answer, line), &self.terms, false);
                heard.ok().filter(|()| is_same)
            });
            if heard.is_none() {
                slot.leg = None;
            }
        }
        let connects = draft.connects(rooms, whose.0, whose.1);
        self.take(draft);
        let kept = self.all();
        Ok(Settled {
            connects,
            leaves: StreamSet((before.0 | opened.0) & !kept.0),
        })
    }

    /// Its legs, stopped ones included.
    #[must_use]
    pub fn all(&self) -> StreamSet {
        let legs = self.slots.iter().filter_map(|slot| slot.leg.as_ref());
        legs.fold(StreamSet::default(), |set, leg| set.with(leg.stream))
    }

    /// Stops forwarding in some rooms; what the worker is to be told (OMD-12).
    pub fn stop(
        &mut self,
        rooms: &Rooms,
        streams: StreamSet,
        (member, rights): (MemberId, Rights),
    ) -> Vec<Act> {
        let legs = self.slots.iter_mut().filter_map(|slot| slot.leg.as_mut());
        let stopped = legs.filter(|leg| streams.contains(leg.stream));
        let acts = stopped.filter_map(|leg| {
            leg.is_stopped = true;
            leg.connect(rooms.find(leg.stream)?, member, rights)
        });
        acts.collect()
    }

    /// A leg's connection is lost, or the worker that had its ports: whatever is agreed next for
    /// it, the worker is told.
    pub fn disconnected(&mut self, stream: StreamId) {
        disconnect(&mut self.slots, stream);
    }

    /// The rooms in which it has nothing any more before something is agreed anew.
    #[must_use]
    pub fn gone(&self) -> StreamSet {
        let legs = self.slots.iter().filter_map(|slot| slot.leg.as_ref());
        let gone = legs.filter(|leg| leg.is_gone);
        gone.fold(StreamSet::default(), |set, leg| set.with(leg.stream))
    }

    /// The rooms in which a draft has other legs than there are: it leaves them to join anew.
    #[must_use]
    pub fn replaced_by(&self, draft: &Draft) -> StreamSet {
        StreamSet(self.all().0 & draft.opened_streams().0)
    }

    /// Tells the worker again, where rights or formats have changed.
    pub fn reconnect(&mut self, rooms: &Rooms, (member, rights): (MemberId, Rights)) -> Vec<Act> {
        let legs = self.slots.iter_mut().filter_map(|slot| slot.leg.as_mut());
        let acts = legs.filter_map(|leg| leg.connect(rooms.find(leg.stream)?, member, rights));
        acts.collect()
    }

    /// The last description that was sent.
    #[must_use]
    pub fn sent(&self) -> Option<&Bytes> {
        self.sent.as_ref()
    }

    /// The attributes of floor control, where it is one of a draft's streams.
    fn floors(&self, rooms: &Rooms, draft: &Draft) -> Vec<String> {
        let transport = draft.legs().find_map(|leg| match leg.make {
            Make::Bfcp(transport) => Some(transport),
            Make::Rtp { .. } | Make::Msrp(_) => None,
        });
        transport.map_or_else(Vec::new, |transport| {
            text::floors(rooms.iter(), self.user, transport)
        })
    }

    fn write(&mut self, rooms: &Rooms, draft: &Draft, role: Role, rights: Rights) -> Option<Bytes> {
        let mut lines = String::new();
        let floors = self.floors(rooms, draft);
        let mut address = None;
        for slot in &draft.slots {
            let room = slot.leg.as_ref().and_then(|leg| rooms.find(leg.stream));
            match slot.leg.as_ref().zip(room) {
                None => lines.push_str(&text::off(slot)),
                Some((leg, room)) => {
                    address = address.or_else(|| Some(stream::bound(&leg.local)?.ip()));
                    lines.push_str(&text::on(
                        slot,
                        leg,
                        room,
                        role,
                        (rights, &self.terms, &floors),
                    )?);
                }
            }
        }
        let address: IpAddr = address.or_else(|| self.terms.settings.address(draft.is_v6))?;
        let same = text::head(self.origin, self.version, address) + &lines;
        if let Some(sent) = self.sent.as_ref().filter(|sent| **sent == same) {
            return Some(sent.clone());
        }
        self.version += 1;
        let text = Bytes::from(text::head(self.origin, self.version, address) + &lines);
        self.sent = Some(text.clone());
        Some(text)
    }
}

fn disconnect(slots: &mut [Slot], stream: StreamId) {
    let legs = slots.iter_mut().filter_map(|slot| slot.leg.as_mut());
    // One that isn't bound yet takes the place of what is lost.
    let bound = legs.filter(|leg| leg.local != LegLocal::Unbound);
    for leg in bound.filter(|leg| leg.stream == stream) {
        leg.disconnected();
    }
}

/// Adds a line: in the place of one that isn't used and is of its kind (RFC 3264 §8.1), else last.
fn put(slots: &mut Vec<Slot>, new: Slot) {
    let is_free = |slot: &&mut Slot| {
        let is_same = slot.media.eq_ignore_ascii_case(&new.media) && slot.proto == new.proto;
        slot.leg.is_none() && is_same
    };
    match slots.iter_mut().find(is_free) {
        Some(slot) => slot.leg = new.leg,
        None => slots.push(new),
    }
}

impl Slot {
    /// A line that its participant has written.
    fn of(line: &MediaDescription, leg: Option<Leg>) -> Self {
        Self {
            media: line.media_text().to_owned(),
            proto: line.proto_text().to_owned(),
            formats: line.formats_text().to_owned(),
            mid: line.attribute("mid").map(str::to_owned),
            leg,
        }
    }

    /// A line of the relay's.
    fn offered(room: &Room, leg: Leg) -> Self {
        let (proto, formats) = match leg.make {
            Make::Rtp { .. } => ("RTP/AVP", "0"),
            Make::Msrp(transport) if transport.is_secure() => ("TCP/TLS/MSRP", "*"),
            Make::Msrp(_) => ("TCP/MSRP", "*"),
            Make::Bfcp(BfcpTransport::Udp) => ("UDP/BFCP", "*"),
            Make::Bfcp(BfcpTransport::Tcp) => ("TCP/BFCP", "*"),
            Make::Bfcp(BfcpTransport::Tls) => ("TCP/TLS/BFCP", "*"),
        };
        let proto = if room.wants_feedback() {
            "RTP/AVPF"
        } else {
            proto
        };
        Self {
            media: room.kind.name().to_owned(),
            proto: proto.to_owned(),
            formats: formats.to_owned(),
            mid: None,
            leg: Some(leg),
        }
    }
}

impl Draft {
    fn legs(&self) -> impl Iterator<Item = &Leg> {
        self.slots.iter().filter_map(|slot| slot.leg.as_ref())
    }

    fn legs_mut(&mut self) -> impl Iterator<Item = &mut Leg> {
        self.slots.iter_mut().filter_map(|slot| slot.leg.as_mut())
    }

    /// The rooms that it has legs in.
    #[must_use]
    pub fn streams(&self) -> StreamSet {
        self.legs()
            .fold(StreamSet::default(), |set, leg| set.with(leg.stream))
    }

    /// Those of them that the worker doesn't have.
    #[must_use]
    pub fn opened_streams(&self) -> StreamSet {
        let new = self.legs().filter(|leg| leg.is_new);
        new.fold(StreamSet::default(), |set, leg| set.with(leg.stream))
    }

    /// What was lost while it is being agreed is lost in it, too.
    pub fn disconnected(&mut self, stream: StreamId) {
        disconnect(&mut self.slots, stream);
    }

    /// The acts that make its new legs.
    #[must_use]
    pub fn joins(&self, member: MemberId, identity: &str) -> Vec<Act> {
        let new = self.legs().filter(|leg| leg.is_new);
        new.map(|leg| leg.join((member, self.user), identity, &self.terms))
            .collect()
    }

    /// Takes what the worker has bound; acts of other members and kinds are passed over.
    pub fn opened(&mut self, member: MemberId, acts: &[Act]) {
        for act in acts {
            let Act::Join(plan) = act else { continue };
            let mut legs = self.legs_mut();
            if plan.member == member
                && let Some(leg) =
                    legs.find(|leg| leg.stream == plan.stream && leg.local == LegLocal::Unbound)
            {
                leg.local = plan.local.clone();
            }
        }
    }

    /// What the worker is to be told of legs whose far ends are known.
    pub fn connects(&mut self, rooms: &Rooms, member: MemberId, rights: Rights) -> Vec<Act> {
        let acts = self
            .legs_mut()
            .filter_map(|leg| leg.connect(rooms.find(leg.stream)?, member, rights));
        acts.collect()
    }

    /// Leaves out all legs but those in some rooms; those that the worker has and loses.
    pub fn keep(&mut self, streams: StreamSet) -> StreamSet {
        let mut lost = StreamSet::default();
        for slot in &mut self.slots {
            if let Some(leg) = slot.leg.take_if(|leg| !streams.contains(leg.stream)) {
                lost = lost.with(leg.stream);
            }
        }
        lost
    }

    /// Leaves out legs that no payload format is left for; those that the worker has and loses.
    pub fn keep_agreed(&mut self, rooms: &Rooms) -> StreamSet {
        let has_format = |leg: &Leg| {
            let room = rooms.find(leg.stream);
            room.is_some_and(|room| !room.is_forwarded() || !leg.agreed(room).is_empty())
        };
        let kept = self.legs().filter(|leg| has_format(leg));
        let kept = kept.fold(StreamSet::default(), |set, leg| set.with(leg.stream));
        self.keep(kept)
    }
}
