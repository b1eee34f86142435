//! What was sent and what came, while it runs and in the end.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest time that is told from longer ones, in microseconds.
const SPAN_US: u64 = 60_000_000;

/// Times in microseconds, three digits exact.
///
/// # Errors
///
/// Never: the bounds are good.
pub fn times() -> Result<Histogram<u64>, String> {
    Histogram::new_with_bounds(1, SPAN_US, 3).map_err(|error| error.to_string())
}

/// Seen while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    /// Packets of voice that members sent.
    pub packets_sent: AtomicU64,
    /// Packets that they got.
    pub packets_heard: AtomicU64,
    /// Messages that members wrote.
    pub messages_sent: AtomicU64,
    /// Messages that they read.
    pub messages_read: AtomicU64,
}

/// Of voice, in the seconds that are measured.
#[derive(Debug)]
pub struct Spoken {
    /// Packets that members sent.
    pub sent: u64,
    /// Packets that they got.
    pub heard: u64,
    /// Packets that are missing in what they got, by sequence numbers.
    pub lost: u64,
    /// The fewest packets that a member got.
    pub least: u64,
    /// Members who got fewer packets than they sent, beyond what the load's own stalls explain.
    pub missing: usize,
    /// Members who never heard anything loud.
    pub deaf: usize,
    /// Time between two packets for one member, in microseconds.
    pub gaps: Histogram<u64>,
    /// The latest that a packet left after its moment, in microseconds.
    pub late_us: u64,
    /// How long the load stood still, all together.
    pub stalled: Duration,
}

/// Of chat, the seconds before those that are measured included.
#[derive(Debug)]
pub struct Written {
    /// Messages that members wrote.
    pub sent: u64,
    /// Of those: answered with 200.
    pub accepted: u64,
    /// Answered with something else.
    pub failed: u64,
    /// Accepted, and reported as failed afterwards.
    pub reported: u64,
    /// Copies that members should read.
    pub due: u64,
    /// Copies that they read, each once and in order.
    pub read: u64,
    /// Copies that came twice or out of order.
    pub misplaced: u64,
    /// From writing to reading, in microseconds.
    pub latency: Histogram<u64>,
}

impl Written {
    /// Messages that have no answer.
    #[must_use]
    pub const fn unanswered(&self) -> u64 {
        self.sent.saturating_sub(self.accepted + self.failed)
    }
}

/// Of everything.
#[derive(Debug)]
pub struct Tally {
    /// Voice.
    pub voice: Spoken,
    /// Chat.
    pub chat: Written,
    /// Re-INVITEs that were answered with 200.
    pub refreshes: u64,
}
