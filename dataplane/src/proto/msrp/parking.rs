//! What is kept for later: what came for a leg that can't take it yet.

use super::{ConnectionKey, Connections};
use crate::limits::{MSRP_PARKED_BYTES, MSRP_WAITING_BYTES};
use crate::stats::DropReason;

impl Connections {
    /// Keeps bytes for later.
    pub(super) fn park(&mut self, key: ConnectionKey, bytes: &[u8]) -> Result<(), DropReason> {
        if bytes.is_empty() {
            return Ok(());
        }
        let has_room = self.waiting_octets + bytes.len() <= MSRP_WAITING_BYTES;
        let spare = match self.connection(key) {
            Some(connection) if connection.parked.capacity() == 0 => self.spare.pop(),
            Some(_) | None => None,
        };
        let Some(connection) = self.connection_mut(key) else {
            return Ok(());
        };
        if let Some(spare) = spare {
            connection.parked = spare;
        }
        if connection.parked.len() + bytes.len() > MSRP_PARKED_BYTES || !has_room {
            return Err(DropReason::PoolFull);
        }
        connection.parked.extend_from_slice(bytes);
        self.waiting_octets += bytes.len();
        Ok(())
    }

    /// Takes room for octets that are kept; false: there is none.
    pub(super) fn reserve(&mut self, octets: usize) -> bool {
        let has_room = self.waiting_octets + octets <= MSRP_WAITING_BYTES;
        if has_room {
            self.waiting_octets += octets;
        }
        has_room
    }

    /// What waited is taken up again, or given up.
    pub(super) fn no_longer_waits(&mut self, octets: usize) {
        self.waiting_octets = self.waiting_octets.saturating_sub(octets);
    }

    pub(super) fn give_spare(&mut self, mut buffer: Vec<u8>) {
        let is_worth_it = (1..=SPARE_BYTES).contains(&buffer.capacity());
        if is_worth_it && self.spare.len() < SPARE_KEPT {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

/// Buffers for what waits that are kept for use again.
const SPARE_KEPT: usize = 64;
/// Octets of the longest of them.
const SPARE_BYTES: usize = 64 * 1024;
