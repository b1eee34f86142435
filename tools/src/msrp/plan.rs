//! How much is sent, how fast, and how long.

use std::time::Duration;

/// What decides when a message leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Every message has its moment: so many a second, all sessions together.
    Open {
        /// Messages per second.
        rate: u64,
    },
    /// Every session has so many messages on their way: sent, and not yet both acknowledged and
    /// delivered.
    Closed {
        /// Messages of one session.
        window: u64,
    },
}

/// A sender that has its bytes only slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feed {
    /// Bytes that it gets at a time; the head leaves at once.
    pub bytes: u64,
    /// Nanoseconds between two such pieces, and between the head and the first.
    pub every_ns: u64,
}

/// A load.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Bytes of a message.
    pub size: u64,
    /// Bytes of a chunk at most.
    pub chunk: u64,
    /// Sessions that send.
    pub sessions: usize,
    /// When messages leave.
    pub pace: Pace,
    /// How slowly their bytes come.
    pub feed: Option<Feed>,
    /// Success reports are asked for.
    pub success_report: bool,
    /// What is measured.
    pub measured: Duration,
    /// What runs before it.
    pub warmup: Duration,
}

/// How long messages may be on their way without any progress.
pub const QUIET_MAX: Duration = Duration::from_secs(2);

/// Nanoseconds of a span of time.
#[must_use]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
