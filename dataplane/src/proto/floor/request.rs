//! A floor request and what may become of it (RFC 8855 §4.2, Figure 5).
//!
//! ```text
//!            ┌──────────┐ accept ┌──────────┐ grant  ┌─────────┐ take back ▶ released
//! request ──▶│ pending  │───────▶│ accepted │───────▶│ granted │ revoke ───▶ revoked
//!            └──────────┘        └──────────┘        └─────────┘
//!              deny, take back ▶ denied, cancelled
//! ```

use crate::limits::FLOORS;
use crate::wire::bfcp::{Priority, Status};

/// A request's number: unique in the conference while it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RequestId(pub(super) u16);

/// Some of a session's floors, by their places in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct FloorSet(u8);

impl FloorSet {
    pub(super) fn one(place: usize) -> Self {
        let shift = u32::try_from(place).unwrap_or(u32::MAX);
        Self(1_u8.checked_shl(shift).unwrap_or(0))
    }

    pub(super) fn contains(self, place: usize) -> bool {
        self.0 & Self::one(place).0 != 0
    }

    pub(super) fn insert(&mut self, place: usize) {
        self.0 |= Self::one(place).0;
    }

    pub(super) fn remove(&mut self, place: usize) {
        self.0 &= !Self::one(place).0;
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn join(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        (0..u8::BITS as usize).filter(move |place| self.contains(*place))
    }
}

/// A request that lives.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: RequestId,
    /// The user that made it.
    pub(super) by: u16,
    /// The user that is to have the floors.
    pub(super) beneficiary: u16,
    pub(super) floors: FloorSet,
    pub(super) priority: Priority,
    /// What the participant said of it.
    pub(super) info: Box<[u8]>,
    /// What its chair said last.
    pub(super) said: Box<[u8]>,
    pub(super) stage: Stage,
    /// Its places in the queues of all floors, from 1, while it is accepted.
    pub(super) positions: [u8; FLOORS],
    /// The status and the place in the queue that its participants know.
    pub(super) told: Option<(Status, u8)>,
}

/// A request, and who is told of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whose {
    pub(super) id: RequestId,
    pub(super) by: u16,
    pub(super) beneficiary: u16,
}

impl Request {
    /// Its place in the queue of one of its floors.
    pub(super) fn position(&self, floor: usize) -> u8 {
        self.positions.get(floor).copied().unwrap_or(0)
    }

    /// What it is: its status, and its place in the longest of its queues or 0.
    pub(super) fn standing(&self) -> (Status, u8) {
        let positions = self.floors.iter().map(|floor| self.position(floor));
        let position = match self.stage {
            Stage::Accepted => positions.max().unwrap_or(0),
            Stage::Pending { .. } | Stage::Granted => 0,
        };
        (self.stage.status(), position)
    }

    pub(super) fn whose(&self) -> Whose {
        Whose {
            id: self.id,
            by: self.by,
            beneficiary: self.beneficiary,
        }
    }
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Chairs are to decide.
    Pending {
        /// On these floors.
        undecided: FloorSet,
        /// The place that a chair gave it in the queue of a floor.
        place: Option<Place>,
    },
    /// It waits in the queue.
    Accepted,
    /// It has its floors.
    Granted,
}

/// A place in the queue of one floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) floor: usize,
    /// From 1.
    pub(super) position: u8,
}

impl Stage {
    pub(super) fn status(self) -> Status {
        match self {
            Self::Pending { .. } => Status::Pending,
            Self::Accepted => Status::Accepted,
            Self::Granted => Status::Granted,
        }
    }
}

/// What may happen to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happening {
    Accept,
    Grant,
    Deny,
    TakeBack,
    Revoke,
}

/// What a request is after something has happened to it; `None`: that can't happen to it.
pub(super) fn after(status: Status, happening: Happening) -> Option<Status> {
    match (status, happening) {
        (Status::Pending, Happening::Accept) => Some(Status::Accepted),
        (Status::Accepted, Happening::Grant) => Some(Status::Granted),
        (Status::Pending | Status::Accepted, Happening::Deny) => Some(Status::Denied),
        (Status::Pending | Status::Accepted, Happening::TakeBack) => Some(Status::Cancelled),
        (Status::Granted, Happening::TakeBack) => Some(Status::Released),
        (Status::Granted, Happening::Revoke) => Some(Status::Revoked),
        (Status::Pending, Happening::Grant | Happening::Revoke)
        | (Status::Accepted, Happening::Accept | Happening::Revoke)
        | (Status::Granted, Happening::Accept | Happening::Grant | Happening::Deny)
        | (Status::Denied | Status::Cancelled | Status::Released | Status::Revoked, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows: statuses; columns: accept, grant, deny, take back, revoke.
    const TABLE: &str = "\
Pending   Accepted  -         Denied    Cancelled -
Accepted  -         Granted   Denied    Cancelled -
Granted   -         -         -         Released  Revoked
Denied    -         -         -         -         -
Cancelled -         -         -         -         -
Released  -         -         -         -         -
Revoked   -         -         -         -         -
";

    #[test]
    fn the_transitions_are_those_of_the_table() {
        let happenings = [
            Happening::Accept,
            Happening::Grant,
            Happening::Deny,
            Happening::TakeBack,
            Happening::Revoke,
        ];
        let mut table = Vec::new();
        for status in Status::ALL {
            let cells = happenings.map(|happening| {
                after(status, happening).map_or_else(|| "-".into(), |after| format!("{after:?}"))
            });
            let row = format!(
                "{:9} {}",
                format!("{status:?}"),
                cells.map(|cell| format!("{cell:9}")).join(" ")
            );
            table.push(format!("{}\n", row.trim_end()));
        }
        assert_eq!(table.concat(), TABLE);
    }
}
