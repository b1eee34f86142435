//! What is counted.

use std::mem;

use crate::stats::{DropReason, Stats};

/// What is told to [`Stats`] at the next occasion.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) acknowledged: u64,
    pub(super) delivered: u64,
    pub(super) reported: u64,
    pub(super) open: u64,
    pub(super) full_transactions: u64,
    pub(super) drops: [u64; DropReason::ALL.len()],
}

impl Counts {
    pub(super) fn drop(&mut self, why: DropReason) {
        if let Some(count) = self.drops.get_mut(why as usize) {
            *count += 1;
        }
    }

    pub(super) fn publish(&mut self, stats: &mut Stats) {
        stats.msrp_acknowledged = self.acknowledged;
        stats.msrp_delivered = self.delivered;
        stats.msrp_reported = self.reported;
        stats.msrp_open = self.open;
        stats.full_transactions += mem::take(&mut self.full_transactions);
        for (count, new) in stats.drops.iter_mut().zip(&mut self.drops) {
            *count += mem::take(new);
        }
    }
}
