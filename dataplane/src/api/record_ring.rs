//! The ring that records take to control: bounded by their number and by the octets they carry.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};

use super::{Full, Record};
use crate::limits::{RECORD_RING, RECORD_RING_BYTES};

/// How much of it may wait for control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRoom {
    /// Records; 1 or more.
    pub records: usize,
    /// Octets that they carry; one record with more passes when nothing else waits.
    pub octets: u64,
}

impl Default for RecordRoom {
    fn default() -> Self {
        Self {
            records: RECORD_RING,
            octets: RECORD_RING_BYTES,
        }
    }
}

/// Where records go in.
#[derive(Debug)]
pub(super) struct RecordsIn {
    ring: Producer<Record>,
    /// Octets that went in since it was made.
    given: u64,
    taken: Arc<AtomicU64>,
    octets_max: u64,
}

/// Where they come out.
#[derive(Debug)]
pub(super) struct RecordsOut {
    ring: Consumer<Record>,
    /// Octets that came out since it was made.
    taken: Arc<AtomicU64>,
}

/// Makes both ends.
pub(super) fn record_ring(room: RecordRoom) -> (RecordsIn, RecordsOut) {
    let (ring_in, ring_out) = RingBuffer::new(room.records.max(1));
    let taken = Arc::new(AtomicU64::new(0));
    let records_in = RecordsIn {
        ring: ring_in,
        given: 0,
        taken: taken.clone(),
        octets_max: room.octets,
    };
    let records_out = RecordsOut {
        ring: ring_out,
        taken,
    };
    (records_in, records_out)
}

impl RecordsIn {
    pub(super) fn push(&mut self, record: Record) -> Result<(), Full<Record>> {
        let octets = record.octets() as u64;
        let waiting = self.given.wrapping_sub(self.taken.load(Ordering::Relaxed));
        if waiting > 0 && waiting.saturating_add(octets) > self.octets_max {
            return Err(Full(record));
        }
        self.ring
            .push(record)
            .map_err(|rtrb::PushError::Full(record)| Full(record))?;
        self.given = self.given.wrapping_add(octets);
        Ok(())
    }
}

impl RecordsOut {
    pub(super) fn pop(&mut self) -> Option<Record> {
        let record = self.ring.pop().ok()?;
        let octets = record.octets() as u64;
        self.taken.fetch_add(octets, Ordering::Relaxed);
        Some(record)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}
