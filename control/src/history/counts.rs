//! What the history counts.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::admin::HistoryMetrics;

/// Counters that both threads of the history add to and the run loop reads.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Sessions that are due and not stored.
    pub(super) queued: AtomicUsize,
    /// Sessions that were stored.
    pub(super) stored: AtomicU64,
    /// Attempts that failed.
    pub(super) failed: AtomicU64,
    /// Messages that there was no room for.
    pub(super) dropped: AtomicU64,
    /// Sessions that there was no room for.
    pub(super) refused: AtomicU64,
    /// Records of sessions that nobody knows.
    pub(super) strays: AtomicU64,
    /// Sessions whose end mark never came.
    pub(super) unmarked: AtomicU64,
    /// Records and journals that the disk didn't take.
    pub(super) unwritten: AtomicU64,
    /// Sessions whose record can't be read, set aside.
    pub(super) unreadable: AtomicU64,
    /// When the oldest session that is queued was, in seconds since 1970; 0: none is.
    pub(super) oldest_s: AtomicU64,
    /// Whether the store can't be reached now.
    pub(super) is_out: AtomicBool,
    octets: AtomicU64,
}

impl Counts {
    /// Octets in the spool.
    pub(super) fn octets(&self) -> u64 {
        self.octets.load(Ordering::Relaxed)
    }

    pub(super) fn add_octets(&self, octets: u64) {
        self.octets.fetch_add(octets, Ordering::Relaxed);
    }

    pub(super) fn take_octets(&self, octets: u64) {
        let _always_some = self
            .octets
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |all| {
                Some(all.saturating_sub(octets))
            });
    }

    /// As the operator is shown them, at a time in seconds since 1970.
    pub(super) fn metrics(&self, now_s: u64, held: usize) -> HistoryMetrics {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let oldest_s = of(&self.oldest_s);
        HistoryMetrics {
            queued: self.queued.load(Ordering::Relaxed),
            stored: of(&self.stored),
            failed: of(&self.failed),
            dropped: of(&self.dropped),
            refused: of(&self.refused),
            strays: of(&self.strays),
            unmarked: of(&self.unmarked),
            unwritten: of(&self.unwritten),
            unreadable: of(&self.unreadable),
            octets: self.octets(),
            oldest_s: match oldest_s {
                0 => 0,
                at => now_s.saturating_sub(at),
            },
            held,
            is_out: self.is_out.load(Ordering::Relaxed),
        }
    }
}
