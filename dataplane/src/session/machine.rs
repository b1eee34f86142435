//! What becomes of what the members of a room send: its machine, and who sits where in it.

use std::time::Instant;

use crate::api::{FloorId, StreamId};
use crate::proto::floor::{self, Floors};
use crate::proto::forward::Forward;
use crate::proto::mix::{self, Mixer};
use crate::proto::msrp::RoomKey;
use crate::proto::switch::{self, Switch};

use super::RoadRef;

/// What becomes of what the members of a room send.
#[derive(Debug)]
pub enum Machine {
    /// RTP goes to all others as it came; the machine's seats are the room's.
    Forward(Box<Forward>),
    /// Audio is mixed.
    Mix(Box<Mixing>),
    /// Video of who speaks is shown.
    Switch(Box<Switching>),
    /// Messages are fanned out, by the MSRP relay; this is its room.
    Chat(RoomKey),
    /// Floors are asked for, and given.
    Floors(Box<FloorRoom>),
    /// The machine is at the other end of this road.
    Outpost(RoadRef),
}

/// A room of floors.
#[derive(Debug)]
pub struct FloorRoom {
    /// The machine.
    pub floors: Floors,
    /// Floors that have other holders, which control has yet to be told.
    pub untold: Vec<FloorId>,
    /// What was taken of its counts.
    pub counted: floor::Counts,
    /// When the first of its members' handshakes has taken too long.
    pub secure_by: Option<Instant>,
}

/// A mixed room.
#[derive(Debug)]
pub struct Mixing {
    /// The machine.
    pub mixer: Mixer,
    /// What was taken of its counts.
    pub counted: mix::MixCounts,
    /// Who sits where.
    pub seating: Seating<mix::Seat>,
    /// The room's seat of who speaks, as it was told last.
    pub told: Option<u32>,
}

/// A room of switched video.
#[derive(Debug)]
pub struct Switching {
    /// The machine.
    pub switch: Switch,
    /// What was taken of its counts.
    pub counted: switch::SwitchCounts,
    /// Who sits where.
    pub seating: Seating<switch::Seat>,
    /// The mixed room whose speaker is shown.
    pub follows: Option<StreamId>,
}

/// Seats of a room, and those of a machine that numbers its own.
#[derive(Debug)]
pub struct Seating<S> {
    theirs: Vec<Option<S>>,
    ours: Vec<u32>,
}

impl<S> Default for Seating<S> {
    fn default() -> Self {
        Self {
            theirs: Vec::new(),
            ours: Vec::new(),
        }
    }
}

impl<S: Copy> Seating<S> {
    /// A member of the room's seat has this one of the machine's, whose number there is `index`.
    pub fn add(&mut self, ours: u32, theirs: S, index: usize) {
        let at = ours as usize;
        if self.theirs.len() <= at {
            self.theirs.resize(at + 1, None);
        }
        if self.ours.len() <= index {
            self.ours.resize(index + 1, u32::MAX);
        }
        if let (Some(place), Some(back)) = (self.theirs.get_mut(at), self.ours.get_mut(index)) {
            (*place, *back) = (Some(theirs), ours);
        }
    }

    /// Takes a member's seat.
    pub fn remove(&mut self, ours: u32) -> Option<S> {
        self.theirs.get_mut(ours as usize)?.take()
    }

    /// The machine's seat of a member.
    #[must_use]
    pub fn theirs(&self, ours: u32) -> Option<S> {
        *self.theirs.get(ours as usize)?
    }

    /// The room's seat of whom the machine knows by this number.
    #[must_use]
    pub fn ours(&self, index: usize) -> Option<u32> {
        self.ours.get(index).copied()
    }
}
