//! What is counted.

use std::mem;

use crate::stats::{DropReason, MSRP_CODES, Stats, msrp_code};

/// What came from one leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MsrpFacts {
    /// Frames: requests and responses.
    pub frames: u64,
    /// Octets of those frames.
    pub bytes: u64,
    /// Requests that were not forwarded though they had content.
    pub dropped: u64,
    /// SENDs with content that were forwarded.
    pub sends: u64,
    /// Of those: the last of their message.
    pub messages: u64,
    /// REPORTs.
    pub reports: u64,
    /// Responses, by the codes of `stats::MSRP_CODES`.
    pub responses: [u32; MSRP_CODES.len()],
}

impl MsrpFacts {
    /// Counts a response.
    pub(super) fn response(&mut self, code: u16) {
        if let Some(count) = self.responses.get_mut(msrp_code(code)) {
            *count = count.saturating_add(1);
        }
    }

    /// Responses that were failures.
    #[must_use]
    pub fn failures(&self) -> u64 {
        let codes = MSRP_CODES.into_iter().zip(self.responses);
        codes
            .filter(|(code, _)| *code != 200)
            .map(|(_, count)| u64::from(count))
            .sum()
    }
}

fn count(counts: &mut [u64], code: u16) {
    if let Some(count) = counts.get_mut(msrp_code(code)) {
        *count += 1;
    }
}

/// What is told to [`Stats`] at the next occasion.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) acknowledged: u64,
    pub(super) delivered: u64,
    pub(super) reported: u64,
    pub(super) open: u64,
    /// Copies for members of rooms that failed; all of them count as reported as well.
    pub(super) copies_failed: u64,
    /// Notices of composing that were left out.
    pub(super) composing_shed: u64,
    /// Members that were too far behind.
    pub(super) full_members: u64,
    pub(super) full_transactions: u64,
    /// Legs that were silent for too long.
    pub(super) idle: u64,
    /// Responses that came, by the codes of `stats::MSRP_CODES`, and those that were given.
    responses: [[u64; MSRP_CODES.len()]; 2],
    pub(super) drops: [u64; DropReason::ALL.len()],
}

impl Counts {
    pub(super) fn drop(&mut self, why: DropReason) {
        if let Some(count) = self.drops.get_mut(why as usize) {
            *count += 1;
        }
    }

    pub(super) fn response_in(&mut self, code: u16) {
        let [came, _] = &mut self.responses;
        count(came, code);
    }

    pub(super) fn response_out(&mut self, code: u16) {
        let [_, gave] = &mut self.responses;
        count(gave, code);
    }

    pub(super) fn publish(&mut self, stats: &mut Stats) {
        stats.msrp_acknowledged = self.acknowledged;
        stats.msrp_delivered = self.delivered;
        stats.msrp_reported = self.reported;
        stats.msrp_open = self.open;
        stats.msrp_copies_failed = self.copies_failed;
        stats.msrp_composing_shed = self.composing_shed;
        stats.full_msrp_member = self.full_members;
        stats.msrp_idle = self.idle;
        [stats.msrp_responses_in, stats.msrp_responses_out] = self.responses;
        stats.full_transactions += mem::take(&mut self.full_transactions);
        for (count, new) in stats.drops.iter_mut().zip(&mut self.drops) {
            *count += mem::take(new);
        }
    }
}
