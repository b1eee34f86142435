//! Datagrams on their way to the kernel: one operation each, one call for all.

use std::net::SocketAddr;

use crate::frame::{Frame, Pool};
use crate::limits::TX_BATCH;

use super::super::SocketId;
use super::super::sys::RawAddress;
use super::{Kind, Slot, Uring};

/// Datagrams handed over together.
pub(super) struct Outbox {
    frames: Vec<Frame>,
    addresses: Box<[RawAddress; TX_BATCH]>,
    /// Refused, and not told yet.
    pub(super) failed: u64,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            frames: Vec::with_capacity(TX_BATCH),
            addresses: Box::new([RawAddress::EMPTY; TX_BATCH]),
            failed: 0,
        }
    }
}

impl Uring {
    pub(super) fn send_datagram(&mut self, item: (SocketId, SocketAddr, Frame), pool: &mut Pool) {
        let (id, to, frame) = item;
        if self.outbox.frames.len() == TX_BATCH {
            self.send_pushed(pool);
        }
        let owner = self.owner(id);
        let place = self.outbox.addresses.get_mut(self.outbox.frames.len());
        if let Some(place) = place
            && let Some(Slot {
                kind: Kind::Datagram { tied, .. },
                ..
            }) = self.slots.get(id)
        {
            let address = (!tied).then(|| {
                let (address, len) = RawAddress::new(to);
                *place = address;
                (&*place, len)
            });
            let pushed = self.ring.send(owner, pool.bytes(&frame), address);
            if pushed.is_ok() {
                return self.outbox.frames.push(frame);
            }
        }
        self.outbox.failed += 1;
        pool.give(frame);
    }

    /// Hands over the datagrams pushed. None of them may wait for room, so each is sent or refused
    /// when the call returns and the frames are free. If the call fails they stay where they are:
    /// the kernel may still come to read them.
    pub(super) fn send_pushed(&mut self, pool: &mut Pool) {
        if self.ring.has_work() && self.ring.submit().is_err() {
            return;
        }
        for frame in self.outbox.frames.drain(..) {
            pool.give(frame);
        }
    }
}
