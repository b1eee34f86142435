//! What members of a room ask of the room itself: nicknames (RFC 7701 §7), and reports.

use super::connection::Swallow;
use super::fan::Failed;
use super::legs::LegRef;
use super::relay::Flow;
use super::request::Refused;
use super::{ConnectionKey, Connections, Egress, LegKey};
use crate::limits::MSRP_NICKNAME_BYTES;
use crate::wire::msrp::{ByteRange, Head, Method, Status};

impl Connections {
    /// A request of a member of a room.
    pub(super) fn take_in_room(
        &mut self,
        key: ConnectionKey,
        (leg, method): (LegKey, Method),
        head: &Head<'_>,
        out: &mut impl Egress,
    ) -> Flow {
        let reference = self.legs.reference(leg);
        let code = match method {
            Method::Send => return self.fan(key, leg, head),
            Method::Report => {
                if let Some(reference) = reference {
                    self.pass_report(reference, head, out);
                }
                let swallow = Swallow {
                    leg: reference,
                    ..Swallow::default()
                };
                self.swallow(key, swallow);
                return Flow::On;
            }
            Method::Nickname => self.take_nickname(leg, head),
            Method::Auth | Method::Other => 501,
        };
        if code != 200 {
            return self.refuse(key, reference, head, Refused::uncounted(code));
        }
        let swallow = Swallow {
            leg: reference,
            answer: self.answer(head, code),
            no_body: true,
        };
        self.swallow(key, swallow);
        Flow::On
    }

    /// The nickname of a member, where it has one.
    #[must_use]
    pub fn nickname(&self, leg: LegKey) -> Option<&str> {
        let (room, place) = self.place_of(leg)?;
        let member = self.rooms.get(room)?.member(place)?;
        str::from_utf8(member.nickname.as_deref()?).ok()
    }

    /// Gives a member the nickname that it asks for; with the answer's code.
    fn take_nickname(&mut self, leg: LegKey, head: &Head<'_>) -> u16 {
        let wanted = nickname_in(head.rest);
        let Some((key, place)) = self.place_of(leg) else {
            return 481;
        };
        let (Some(wanted), Some(room)) = (wanted, self.rooms.get_mut(key)) else {
            return 424;
        };
        let is_taken = room.members.iter().enumerate().any(|(at, member)| {
            let taken = member
                .as_ref()
                .and_then(|member| member.nickname.as_deref());
            let taken = taken.and_then(|taken| str::from_utf8(taken).ok());
            at != place && taken.is_some_and(|taken| is_same_nickname(taken, wanted))
        });
        if is_taken && !wanted.is_empty() {
            return 425;
        }
        if let Some(member) = room.member_mut(place) {
            // An empty one is none any more.
            member.nickname = (!wanted.is_empty()).then(|| wanted.as_bytes().into());
        }
        200
    }

    /// A report goes to who sent the private message that it is about; to nobody otherwise.
    fn pass_report(&mut self, from: LegRef, head: &Head<'_>, out: &mut impl Egress) {
        let sent = self.place_of(from.key).and_then(|(key, _)| {
            let room = self.rooms.get(key)?;
            room.sender_of(head.message_id?)
        });
        let status = head.status.and_then(status_code);
        let (Some((id, (source, shift))), Some(status)) = (sent, status) else {
            return;
        };
        let number_in = |number: u64| match number {
            0 | 1 => number,
            _ => number.saturating_add_signed(shift).max(1),
        };
        let range = head.byte_range.unwrap_or(ByteRange::WHOLE);
        let passed = Failed {
            source,
            id,
            range: ByteRange {
                start: number_in(range.start),
                end: range.end.map(number_in),
                total: range.total.map(number_in),
            },
        };
        self.report(&passed, Status(status), out);
    }
}

/// The code in a Status header: `000 200 OK`.
fn status_code(value: &[u8]) -> Option<u16> {
    let digits = value.strip_prefix(b"000 ")?.get(..3)?;
    str::from_utf8(digits).ok()?.parse().ok()
}

/// `Use-Nickname: "Alice"`; empty: none is wanted any more.
fn nickname_in(headers: &[u8]) -> Option<&str> {
    let line = headers.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(b"Use-Nickname:".len())?;
        name.eq_ignore_ascii_case(b"Use-Nickname:").then_some(value)
    })?;
    let quoted = line.trim_ascii().strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let nickname = str::from_utf8(quoted).ok()?.trim();
    let is_plain = !nickname.contains(|one: char| one == '"' || one == '\\' || one.is_control());
    (is_plain && nickname.len() <= MSRP_NICKNAME_BYTES).then_some(nickname)
}

/// Whether two nicknames look the same: without case.
fn is_same_nickname(one: &str, other: &str) -> bool {
    let folded = |text| str::chars(text).flat_map(char::to_lowercase);
    folded(one).eq(folded(other))
}
