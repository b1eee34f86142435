//! What a socket's mark says about its owner.
//!
//! ```text
//! 63      56 55  50   49     48   47          24 23           0
//! │  kind   │  0  │ RTCP │ side B │ generation  │    index    │
//! ```

use crate::api::{Component, MsrpTransport, Side};

/// A slot of a table and how often it was used before; stale ones find nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotRef {
    /// Its place, below 2^24.
    pub index: u32,
    /// Modulo 2^24.
    pub generation: u32,
}

impl SlotRef {
    /// The generation after this one.
    #[must_use]
    pub fn next_generation(self) -> u32 {
        self.generation.wrapping_add(1) & LOW_24
    }

    /// The place that a number below 2^48 names, where places are numbered in their order.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        let low = |bits: u64| u32::try_from(bits & u64::from(LOW_24)).unwrap_or(0);
        Self {
            index: low(number),
            generation: low(number >> GENERATION_SHIFT),
        }
    }

    /// The number that [`SlotRef::from_number`] was given.
    #[must_use]
    pub fn number(self) -> u64 {
        u64::from(self.generation) << GENERATION_SHIFT | u64::from(self.index)
    }
}

/// Whose socket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A port of an RTP leg.
    Rtp(SlotRef, Side, Component),
    /// The listener of a byte leg.
    BytesListener(SlotRef, Side),
    /// The connection of a byte leg.
    BytesConnection(SlotRef, Side),
    /// One of the worker's listeners for MSRP.
    MsrpListener(MsrpTransport),
    /// An MSRP connection, in the worker's own table.
    MsrpConnection(SlotRef),
    /// The datagrams of a member's floor control.
    Bfcp(SlotRef),
    /// The listener of a member's floor control.
    BfcpListener(SlotRef),
    /// The connection of a member's floor control.
    BfcpConnection(SlotRef),
    /// A connection that is done with and waits for its far end to close, in the worker's line.
    Closing(SlotRef),
}

/// An [`Owner`] in 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(pub u64);

impl Mark {
    /// Packs an owner.
    #[must_use]
    pub fn new(owner: Owner) -> Self {
        let (kind, slot, side, component) = match owner {
            Owner::Rtp(slot, side, component) => (RTP, slot, side, component),
            Owner::BytesListener(slot, side) => (BYTES_LISTENER, slot, side, Component::Rtp),
            Owner::BytesConnection(slot, side) => (BYTES_CONNECTION, slot, side, Component::Rtp),
            Owner::MsrpListener(transport) => {
                return Self(MSRP_LISTENER << KIND_SHIFT | transport.index() as u64);
            }
            Owner::MsrpConnection(slot) => (MSRP_CONNECTION, slot, Side::A, Component::Rtp),
            Owner::Closing(slot) => (CLOSING, slot, Side::A, Component::Rtp),
            Owner::Bfcp(slot) => (BFCP, slot, Side::A, Component::Rtp),
            Owner::BfcpListener(slot) => (BFCP_LISTENER, slot, Side::A, Component::Rtp),
            Owner::BfcpConnection(slot) => (BFCP_CONNECTION, slot, Side::A, Component::Rtp),
        };
        let side = u64::from(side == Side::B) << SIDE_SHIFT;
        let component = u64::from(component == Component::Rtcp) << COMPONENT_SHIFT;
        let generation = u64::from(slot.generation & LOW_24) << GENERATION_SHIFT;
        let index = u64::from(slot.index & LOW_24);
        Self(kind << KIND_SHIFT | component | side | generation | index)
    }

    /// Unpacks it; `None` where nobody here made it.
    #[must_use]
    pub fn owner(self) -> Option<Owner> {
        let slot = SlotRef {
            index: self.field(0),
            generation: self.field(GENERATION_SHIFT),
        };
        let side = if self.bit(SIDE_SHIFT) {
            Side::B
        } else {
            Side::A
        };
        let component = if self.bit(COMPONENT_SHIFT) {
            Component::Rtcp
        } else {
            Component::Rtp
        };
        Some(match self.0 >> KIND_SHIFT {
            RTP => Owner::Rtp(slot, side, component),
            BYTES_LISTENER => Owner::BytesListener(slot, side),
            BYTES_CONNECTION => Owner::BytesConnection(slot, side),
            MSRP_LISTENER => Owner::MsrpListener(*MsrpTransport::ALL.get(slot.index as usize)?),
            MSRP_CONNECTION => Owner::MsrpConnection(slot),
            CLOSING => Owner::Closing(slot),
            BFCP => Owner::Bfcp(slot),
            BFCP_LISTENER => Owner::BfcpListener(slot),
            BFCP_CONNECTION => Owner::BfcpConnection(slot),
            _ => return None,
        })
    }

    /// Whether it is that of datagrams of floor control: all others are RTP's.
    #[must_use]
    pub fn is_bfcp(self) -> bool {
        self.0 >> KIND_SHIFT == BFCP
    }

    fn bit(self, shift: u32) -> bool {
        self.0 >> shift & 1 == 1
    }

    fn field(self, shift: u32) -> u32 {
        u32::try_from(self.0 >> shift & u64::from(LOW_24)).unwrap_or(0)
    }
}

const LOW_24: u32 = 0x00ff_ffff;
const GENERATION_SHIFT: u32 = 24;
const SIDE_SHIFT: u32 = 48;
const COMPONENT_SHIFT: u32 = 49;
const KIND_SHIFT: u32 = 56;
const RTP: u64 = 1;
const BYTES_LISTENER: u64 = 2;
const BYTES_CONNECTION: u64 = 3;
const MSRP_LISTENER: u64 = 4;
const MSRP_CONNECTION: u64 = 5;
const CLOSING: u64 = 6;
const BFCP: u64 = 7;
const BFCP_LISTENER: u64 = 8;
const BFCP_CONNECTION: u64 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_owner_comes_back_as_it_went_in() {
        for (index, generation) in [(0, 0), (1, LOW_24), (LOW_24, 7)] {
            let slot = SlotRef { index, generation };
            assert_eq!(SlotRef::from_number(slot.number()), slot);
            for side in Side::BOTH {
                for owner in [
                    Owner::Rtp(slot, side, Component::Rtp),
                    Owner::Rtp(slot, side, Component::Rtcp),
                    Owner::BytesListener(slot, side),
                    Owner::BytesConnection(slot, side),
                    Owner::MsrpListener(MsrpTransport::Wss),
                    Owner::MsrpConnection(slot),
                    Owner::Closing(slot),
                    Owner::Bfcp(slot),
                    Owner::BfcpListener(slot),
                    Owner::BfcpConnection(slot),
                ] {
                    assert_eq!(Mark::new(owner).owner(), Some(owner));
                }
            }
        }
        assert_eq!(Mark(0).owner(), None);
        assert_eq!(Mark(u64::MAX).owner(), None);
    }
}
