//! Sockets that gather: they aren't armed, so that nothing wakes the worker for what comes, and are
//! looked into when the worker says so, all in one call.
//!
//! ```text
//! armed ── let_gather(on) ─▶ cancelled ─▶ gathers ── look_into ─▶ collected until none is left ─┐
//!   ▲                                      │   ▲                                                │
//!   └──────────── let_gather(off) ─────────┘   └────────────────────────────────────────────────┘
//! ```

use super::super::{SocketId, sys};
use super::ring::Op;
use super::{Kind, Slot, Uring};

impl Kind {
    pub(super) const DATAGRAM: Self = Self::Datagram {
        tied: false,
        gathers: false,
    };

    pub(super) fn gathers(&self) -> bool {
        matches!(self, Self::Datagram { gathers: true, .. })
    }
}

impl Uring {
    pub(super) fn let_gather(&mut self, id: SocketId, on: bool) {
        let owner = self.owner(id);
        let Some(Slot {
            socket,
            kind: Kind::Datagram { gathers, .. },
            receiving,
            ..
        }) = self.slots.get_mut(id)
        else {
            return;
        };
        if *gathers == on || (on && sys::stamp(socket).is_err()) {
            return;
        }
        *gathers = on;
        if !on {
            self.arm_later(id);
        } else if *receiving {
            // What can't be cancelled now goes on to wake the worker, and no more than that.
            let _ = self.ring.cancel(owner, Op::Receive);
        }
    }

    pub(super) fn look_into(&mut self, id: SocketId) {
        let owner = self.owner(id);
        if let Some(slot) = self.slots.get_mut(id)
            && slot.kind.gathers()
            && !slot.receiving
            && !slot.to_arm
        {
            slot.to_arm = true;
            self.arm.push_back(owner);
        }
    }
}
