//! Rooms: the streams of group sessions, and who is in them.
//!
//! ```text
//! packet ─▶ Mark ─▶ Streams[index]: Member ─▶ Rooms[room].seats[seat]      by index, no search
//! order  ─▶ SessionId, StreamId ─▶ Streams[index]: Room ─▶ MemberId ─▶ seat    by binary search
//! ```
//!
//! A member's sockets are its leg's, in the table of streams; what others' packets need of it is in
//! its seat, and seats lie side by side.

use std::time::Instant;

use crate::api::{FloorId, MemberId, SessionId, StreamId};
use crate::limits::{MEMBERS_PER_ROOM, ROOMS_PER_WORKER};
use crate::stats::DropReason;

use super::{Machine, Reception, RoadRef, SlotRef, Socket, WayOut};

/// A stream of a group session.
#[derive(Debug)]
pub struct Room {
    /// Whose.
    pub session: SessionId,
    /// Its name.
    pub stream: StreamId,
    /// The floor that gates it.
    pub floor: Option<FloorId>,
    /// What becomes of what its members send.
    pub machine: Machine,
    /// When its machine is to be looked at next; nothing for a room that is idle.
    pub due: Option<Instant>,
    /// Members' packets lie in their sockets until then.
    pub gathers: bool,
    /// Those of all members do, as far as is known.
    pub all_gather: bool,
    /// Who has the floor, members or not.
    holders: Box<[MemberId]>,
    seats: Vec<Option<Seat>>,
    free: Vec<u32>,
    /// In the order of their names, to find them.
    members: Vec<(MemberId, u32)>,
}

/// What a room keeps of a member.
#[derive(Debug, Clone, Copy)]
pub struct Seat {
    /// Whose.
    pub member: MemberId,
    /// Its leg, in the table of streams.
    pub slot: SlotRef,
    /// Where RTP and RTCP for it go.
    pub out: Out,
    /// Its direction lets it send.
    pub may_send: bool,
    /// Its direction lets it receive.
    pub may_receive: bool,
    /// Its socket that gathers.
    pub gathers: Option<Socket>,
    /// It holds the floor; of no matter where no floor gates the room.
    pub holds: bool,
    /// When what it sends passed the gate of a floor last.
    pub heard: Option<Instant>,
    /// Packets that were sent to it.
    pub sent: u64,
    /// Octets of their payloads.
    pub octets: u64,
    /// Packets that had been sent at the last report.
    pub sent_reported: u64,
    /// What reports say of what comes from it.
    pub reception: Reception,
    /// The clock rate of what comes from it, in hertz.
    pub clock_rate: u32,
    /// When the next packet brings a report; `None`: one is due already, or it isn't connected.
    pub report_at: Option<Instant>,
}

/// Where RTP and RTCP for a member go.
#[derive(Debug, Clone, Copy)]
pub enum Out {
    /// From its leg's sockets, once it is known whereto.
    Here([Option<WayOut>; 2]),
    /// To the outpost that has its leg.
    Away(RoadRef),
}

impl Seat {
    /// Makes the seat of a member that isn't connected yet.
    #[must_use]
    pub fn new(member: MemberId, slot: SlotRef) -> Self {
        Self {
            member,
            slot,
            out: Out::Here([None; 2]),
            may_send: false,
            may_receive: false,
            gathers: None,
            holds: false,
            heard: None,
            sent: 0,
            octets: 0,
            sent_reported: 0,
            reception: Reception::default(),
            clock_rate: CLOCK_RATE,
            report_at: None,
        }
    }

    /// Whether a report is due; it counts as sent from now on.
    pub fn is_due(&mut self, now: Instant) -> bool {
        self.report_at.take_if(|at| *at <= now).is_some()
    }
}

impl Room {
    /// Makes a room that nobody is in.
    #[must_use]
    pub fn new(
        session: SessionId,
        stream: StreamId,
        floor: Option<FloorId>,
        machine: Machine,
    ) -> Self {
        Self {
            session,
            stream,
            floor,
            machine,
            due: None,
            gathers: false,
            all_gather: false,
            holders: Box::default(),
            seats: Vec::new(),
            free: Vec::new(),
            members: Vec::new(),
        }
    }

    /// Members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Gives a member a seat; `None` when it has one or there are [`MEMBERS_PER_ROOM`].
    pub fn add(&mut self, seat: Seat) -> Option<u32> {
        let place = self.place_of(seat.member).err()?;
        if self.members.len() >= MEMBERS_PER_ROOM {
            return None;
        }
        let member = seat.member;
        let holds = self.holders.contains(&member);
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.seats.push(None);
                u32::try_from(self.seats.len() - 1).ok()?
            }
        };
        *self.seats.get_mut(index as usize)? = Some(Seat { holds, ..seat });
        self.members.insert(place, (member, index));
        Some(index)
    }

    /// Takes a member's seat.
    pub fn remove(&mut self, index: u32) -> Option<Seat> {
        let seat = self.seats.get_mut(index as usize)?.take()?;
        if let Ok(place) = self.place_of(seat.member) {
            self.members.remove(place);
        }
        self.free.push(index);
        if self.members.is_empty() {
            // A room that was large once is small again.
            (self.seats, self.free) = (Vec::new(), Vec::new());
        }
        Some(seat)
    }

    /// The seat of a member.
    #[must_use]
    pub fn find(&self, member: MemberId) -> Option<u32> {
        let place = self.place_of(member).ok()?;
        self.members.get(place).map(|(_, seat)| *seat)
    }

    /// Its members in the order of their names, with their seats.
    pub fn members(&self) -> impl Iterator<Item = (MemberId, u32)> + '_ {
        self.members.iter().copied()
    }

    /// Its members' legs.
    pub fn slots(&self) -> impl Iterator<Item = SlotRef> + '_ {
        self.seats.iter().flatten().map(|seat| seat.slot)
    }

    /// What is in a seat.
    #[must_use]
    pub fn seat(&self, index: u32) -> Option<&Seat> {
        self.seats.get(index as usize)?.as_ref()
    }

    /// The same, to change.
    pub fn seat_mut(&mut self, index: u32) -> Option<&mut Seat> {
        self.seats.get_mut(index as usize)?.as_mut()
    }

    /// The machine and the seats, whose places are the machine's numbers of them.
    pub fn parts_mut(&mut self) -> (&mut Machine, &mut [Option<Seat>]) {
        (&mut self.machine, &mut self.seats)
    }

    /// Whether a member has the floor, or needs none.
    #[must_use]
    pub fn has_floor(&self, index: u32) -> bool {
        self.floor.is_none() || self.seat(index).is_some_and(|seat| seat.holds)
    }

    /// Whether what a member sends is taken.
    ///
    /// # Errors
    ///
    /// Why it isn't: it is to send nothing, or somebody else has the floor.
    pub fn gate(&self, index: u32) -> Result<(), DropReason> {
        let seat = self.seat(index).ok_or(DropReason::NoLeg)?;
        if !seat.may_send {
            Err(DropReason::Direction)
        } else if self.floor.is_some() && !seat.holds {
            Err(DropReason::Floor)
        } else {
            Ok(())
        }
    }

    /// Says who has the floor, and whose seats have got or lost it; from the next packet on only
    /// holders are heard.
    pub fn set_holders(&mut self, holders: &[MemberId]) -> Vec<(u32, bool)> {
        self.holders = holders.into();
        let mut changed = Vec::new();
        for (index, seat) in (0..).zip(&mut self.seats) {
            let Some(seat) = seat else { continue };
            let holds = holders.contains(&seat.member);
            if std::mem::replace(&mut seat.holds, holds) != holds {
                changed.push((index, holds));
            }
        }
        changed
    }

    fn place_of(&self, member: MemberId) -> Result<usize, usize> {
        self.members.binary_search_by_key(&member, |(id, _)| *id)
    }
}

/// A room's place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoomRef(u32);

/// All rooms of a worker, at most [`ROOMS_PER_WORKER`].
#[derive(Debug, Default)]
pub struct Rooms {
    places: Vec<Option<Box<Room>>>,
    free: Vec<u32>,
}

impl Rooms {
    /// Rooms there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a room; `None` when the table is full.
    pub fn add(&mut self, room: Box<Room>) -> Option<RoomRef> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.places.len() < ROOMS_PER_WORKER => {
                self.places.push(None);
                u32::try_from(self.places.len() - 1).ok()?
            }
            None => return None,
        };
        *self.places.get_mut(index as usize)? = Some(room);
        Some(RoomRef(index))
    }

    /// Removes a room that everybody has left; members who are still there, as all of a worker ends,
    /// are not to send any more.
    pub fn remove(&mut self, room: RoomRef) -> Option<Box<Room>> {
        let gone = self.places.get_mut(room.0 as usize)?.take()?;
        self.free.push(room.0);
        Some(gone)
    }

    /// A room.
    #[must_use]
    pub fn find(&self, room: RoomRef) -> Option<&Room> {
        self.places.get(room.0 as usize)?.as_deref()
    }

    /// All of them, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Room> {
        self.places.iter_mut().flatten().map(|room| &mut **room)
    }

    /// One of them, to change.
    pub fn find_mut(&mut self, room: RoomRef) -> Option<&mut Room> {
        self.places.get_mut(room.0 as usize)?.as_deref_mut()
    }
}

/// The clock of video, and of what says no other (RFC 3551 §5).
const CLOCK_RATE: u32 = 90_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::FORWARD_TRACKS;
    use crate::proto::forward::Forward;
    use crate::wire::rtp::Ssrc;

    fn room(floor: Option<FloorId>) -> Room {
        let machine = Forward::new([Ssrc(1); FORWARD_TRACKS]);
        let machine = Machine::Forward(Box::new(machine));
        Room::new(SessionId(1), StreamId(0), floor, machine)
    }

    fn join(room: &mut Room, member: u32) -> Option<u32> {
        let slot = SlotRef {
            index: member,
            generation: 0,
        };
        room.add(Seat {
            may_send: true,
            ..Seat::new(MemberId(member), slot)
        })
    }

    #[test]
    fn members_are_found_by_name_and_seats_are_used_again() {
        let mut room = room(None);
        let seats = [7, 3, 5].map(|member| join(&mut room, member).unwrap());
        assert_eq!(join(&mut room, 3), None, "it has a seat");
        assert_eq!(room.find(MemberId(3)), Some(seats[1]));
        room.remove(seats[1]);
        assert_eq!((room.find(MemberId(3)), room.len()), (None, 2));
        assert_eq!(join(&mut room, 4), Some(seats[1]));
        let members: Vec<_> = room.members().map(|(member, _)| member.0).collect();
        assert_eq!(members, [4, 5, 7]);
    }

    #[test]
    fn a_room_has_a_largest_number_of_members() {
        let mut room = room(None);
        for member in 0..u32::try_from(MEMBERS_PER_ROOM).unwrap() {
            assert!(join(&mut room, member).is_some());
        }
        assert_eq!(join(&mut room, u32::MAX), None);
    }

    #[test]
    fn only_holders_of_the_floor_pass_the_gate() {
        let mut room = room(Some(FloorId(1)));
        let [a, b] = [1, 2].map(|member| join(&mut room, member).unwrap());
        assert_eq!(room.gate(a), Err(DropReason::Floor));
        room.set_holders(&[MemberId(1)]);
        assert_eq!(
            (room.gate(a), room.gate(b)),
            (Ok(()), Err(DropReason::Floor))
        );
        room.set_holders(&[MemberId(2)]);
        assert_eq!(
            (room.gate(a), room.gate(b)),
            (Err(DropReason::Floor), Ok(()))
        );
        room.seat_mut(b).unwrap().may_send = false;
        assert_eq!(room.gate(b), Err(DropReason::Direction));
    }
}
