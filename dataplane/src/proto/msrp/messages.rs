//! The messages that a member of a room has begun to send: whom they are for, and how their octets
//! are numbered.

use std::mem;

use super::Connections;
use super::fan::Fan;
use super::request::Refused;
use super::room::{Entry, Places, Room, RoomKey};
use super::transactions::ShortText;
use crate::limits::{CPIM_HEAD_BYTES, MSRP_ROOM_MESSAGES};
use crate::wire::msrp::{
    Cpim, FailureReport, Flag, Head, address_in, content_is, cpim_head_end, is_media_type,
    is_same_address,
};

/// A message that a member has begun to send and not ended.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) id: ShortText,
    pub(super) number: u64,
    /// The room's clock when its first piece was shared; 0: nothing of it was.
    pub(super) began: u64,
    /// The number of the octet that comes next from its sender, and of the one that goes out next:
    /// they differ where the head of a CPIM message was written anew.
    pub(super) next_in: u64,
    pub(super) next_out: u64,
    /// Its last piece was shared.
    pub(super) is_ended: bool,
    pub(super) stage: Stage,
    /// Whom it is for; `None`: all.
    pub(super) to: Option<Box<Places>>,
    /// Its headers and where Byte-Range goes, kept between its chunks.
    pub(super) head: (Vec<u8>, usize),
}

/// How far a message has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// The head of a CPIM message, what came of it so far kept between its chunks.
    Head(Vec<u8>),
    /// The octets that came before its body, and those that went out for them.
    Body { head_in: u64, head_out: u64 },
}

/// Where a message goes from its first piece on.
enum Way {
    Members(Option<Box<Places>>),
    Refused(u16),
}

impl Message {
    pub(super) fn new(id: ShortText, number: u64, is_cpim: bool) -> Self {
        Self {
            id,
            number,
            began: 0,
            is_ended: false,
            next_in: 1,
            next_out: 1,
            stage: if is_cpim {
                Stage::Head(Vec::new())
            } else {
                Stage::Body {
                    head_in: 0,
                    head_out: 0,
                }
            },
            to: None,
            head: (Vec::new(), 0),
        }
    }

    /// Octets that the message has as it goes out, where its sender named as many as come in.
    pub(super) fn total_out(&self, total_in: Option<u64>) -> Option<u64> {
        let total = total_in?;
        match self.stage {
            Stage::Body { head_in, head_out } => {
                Some(total.saturating_sub(head_in).saturating_add(head_out))
            }
            Stage::Head(_) => None,
        }
    }

    /// What is added to the number of an octet that went out for that of the same that came.
    pub(super) fn shift(&self) -> i64 {
        match self.stage {
            Stage::Body { head_in, head_out } => {
                let signed = |octets| i64::try_from(octets).unwrap_or(0);
                signed(head_in) - signed(head_out)
            }
            Stage::Head(_) => 0,
        }
    }

    /// Whether what is all of its body holds, in CPIM, that somebody is composing.
    pub(super) fn says_composing(&self, body: &[u8]) -> bool {
        let Stage::Body { head_out, .. } = self.stage else {
            return false;
        };
        let from = usize::try_from(head_out).unwrap_or(usize::MAX);
        from > 0 && content_is(body.get(from..).unwrap_or_default(), COMPOSING)
    }
}

impl Connections {
    /// The message that a chunk belongs to, and what of its CPIM head came before; a new one where
    /// the chunk is its first.
    pub(super) fn begin_message(
        &mut self,
        (key, place): (RoomKey, usize),
        head: &Head<'_>,
    ) -> Result<(u64, Vec<u8>), Refused> {
        let start = head.byte_range.map_or(1, |range| range.start);
        let id = head.message_id.unwrap_or_default();
        let spare = self.spare.pop().unwrap_or_default();
        let mut result = Err(Refused::uncounted(NO_SESSION));
        self.with_room(key, |relay, room| {
            if start > 1 {
                result = relay.go_on_message(room, place, (id, start));
                return;
            }
            let is_cpim = is_media_type(head.content_type.unwrap_or_default(), CPIM);
            if room.only_cpim && !is_cpim {
                result = Err(Refused::uncounted(415));
                return;
            }
            relay.abort_message(room, place, |open| open.id.as_bytes() == id);
            let open = room.member(place).map_or(0, |member| member.open.len());
            if open >= MSRP_ROOM_MESSAGES {
                let mut is_oldest = true;
                relay.abort_message(room, place, |_| mem::take(&mut is_oldest));
            }
            room.messages += 1;
            let number = room.messages;
            if let Some(member) = room.member_mut(place) {
                member
                    .open
                    .push(Message::new(ShortText::new(id), number, is_cpim));
                result = Ok((number, spare));
            }
        });
        result
    }

    /// A message goes on with a chunk that begins with the octet that comes next.
    fn go_on_message(
        &mut self,
        room: &mut Room,
        place: usize,
        (id, start): (&[u8], u64),
    ) -> Result<(u64, Vec<u8>), Refused> {
        let stop = Refused::uncounted(STOP_SENDING);
        let member = room.member_mut(place).ok_or(stop)?;
        let mut open = member.open.iter_mut();
        let open = open.find(|open| open.id.as_bytes() == id).ok_or(stop)?;
        if open.next_in != start {
            self.abort_message(room, place, |open| open.id.as_bytes() == id);
            return Err(stop);
        }
        let gathered = match &mut open.stage {
            Stage::Head(gathered) => mem::take(gathered),
            Stage::Body { .. } => Vec::new(),
        };
        let gathered = if gathered.capacity() == 0 {
            self.spare.pop().unwrap_or_default()
        } else {
            gathered
        };
        Ok((open.number, gathered))
    }

    /// Reads the head of a CPIM message, once it is there, and writes it anew.
    pub(super) fn read_cpim_head(&mut self, fan: &mut Fan) -> Result<(), u16> {
        let room = self.rooms.get(fan.room).ok_or(NO_SESSION)?;
        let Some(open) = fan.message_in(room) else {
            return Err(NO_SESSION);
        };
        if matches!(open.stage, Stage::Body { .. }) {
            return Ok(());
        }
        let begins = fan.gathered.get(..CPIM_HEAD_BYTES.min(fan.gathered.len()));
        let Some(end) = cpim_head_end(begins.unwrap_or_default()) else {
            let may_come = fan.gathered.len() < CPIM_HEAD_BYTES;
            return if may_come { Ok(()) } else { Err(400) };
        };
        let head = Cpim::parse(fan.gathered.get(..end).unwrap_or_default()).ok_or(400_u16)?;
        let to = match self.way_of(room, &head, fan.place) {
            Way::Members(to) => to,
            Way::Refused(code) => return Err(code),
        };
        let rest = fan.gathered.get(end..).unwrap_or_default();
        let member = room.member(fan.place);
        let mut head_out = end;
        if let Some(identity) = member.and_then(|member| member.identity.as_deref()) {
            let mut rewritten = self.spare.pop().unwrap_or_default();
            head.write_from(identity, &mut rewritten);
            head_out = rewritten.len();
            rewritten.extend_from_slice(rest);
            self.give_spare(mem::replace(&mut fan.gathered, rewritten));
        }
        let room = self.rooms.get_mut(fan.room).ok_or(NO_SESSION)?;
        if let Some(open) = fan.message_in_mut(room) {
            open.to = to;
            open.stage = Stage::Body {
                head_in: end as u64,
                head_out: head_out as u64,
            };
        }
        Ok(())
    }

    /// Whom a CPIM message is for, by its To.
    fn way_of(&self, room: &Room, head: &Cpim<'_>, sender: usize) -> Way {
        let mut has_to = false;
        let mut is_known = false;
        let mut to = Places::default();
        for address in head.to() {
            has_to = true;
            let mut own = room.addresses.iter();
            if is_same_address(address, ANONYMOUS) || own.any(|one| is_same_address(address, one)) {
                return Way::Members(None);
            }
            for (place, member) in room.members.iter().enumerate() {
                let Some(member) = member else { continue };
                let identity = member.identity.as_deref().unwrap_or_default();
                let own = address_in(identity);
                if own.is_empty() || !is_same_address(address, own) {
                    continue;
                }
                is_known = true;
                if place != sender && self.would_get(member) {
                    to.set(place);
                }
            }
        }
        match (to.is_empty(), is_known) {
            (false, _) => Way::Members(Some(Box::new(to))),
            (true, false) if !has_to || room.addresses.is_empty() => Way::Members(None),
            // Nobody has that name, or nobody who could get it now.
            (true, _) => Way::Refused(404),
        }
    }

    /// Ends all that a member has begun to send.
    pub(super) fn abort_messages(&mut self, room: &mut Room, place: usize) {
        while room
            .member(place)
            .is_some_and(|member| !member.open.is_empty())
        {
            self.abort_message(room, place, |_| true);
        }
    }

    /// Ends the first of the messages that a member has begun to send and that a test picks: `#`
    /// for those who have a part of it, when they are written to next.
    pub(super) fn abort_message(
        &mut self,
        room: &mut Room,
        place: usize,
        mut is_it: impl FnMut(&Message) -> bool,
    ) {
        let Some(member) = room.member_mut(place) else {
            return;
        };
        let from = member.leg;
        let Some(at) = member.open.iter().position(&mut is_it) else {
            return;
        };
        let open = member.open.remove(at);
        if open.began == 0 || open.is_ended {
            return;
        }
        let (mut octets, before) = open.head;
        if octets.is_empty() {
            octets.extend_from_slice(b"Message-ID: ");
            octets.extend_from_slice(open.id.as_bytes());
            octets.extend_from_slice(b"\r\nContent-Type: application/octet-stream\r\n");
        }
        let after = octets.len();
        let mut entry = Entry {
            from,
            due: Places::default(),
            message: open.number,
            clock: 0,
            began: open.began,
            message_id: open.id,
            failure_report: FailureReport::No,
            is_private: open.to.is_some(),
            is_composing: false,
            shift: 0,
            start: open.next_out,
            total: None,
            flag: Flag::Aborted,
            octets,
            before,
            after,
        };
        self.address(room, &mut entry, open.to.as_deref());
        if !entry.due.is_empty() {
            self.log(room, entry);
        }
    }
}

/// RFC 3862.
const CPIM: &[u8] = b"message/cpim";
/// RFC 3994.
pub(super) const COMPOSING: &[u8] = b"application/im-iscomposing+xml";
/// Whom RCS clients name where they mean the group.
const ANONYMOUS: &[u8] = b"sip:anonymous@anonymous.invalid";
const STOP_SENDING: u16 = 413;
const NO_SESSION: u16 = 481;
