//! What a run counts.

use std::sync::atomic::AtomicU64;

use hdrhistogram::Histogram;

/// What a run's thread tells while it runs.
#[derive(Debug, Default)]
pub struct Gauge {
    /// Messages sent since the start.
    pub sent: AtomicU64,
    /// Messages that arrived whole since the start.
    pub delivered: AtomicU64,
    /// Body bytes that arrived since the start.
    pub bytes: AtomicU64,
}

/// What came of the measured messages.
#[derive(Debug, Clone)]
pub struct Tally {
    /// SENDs that began a message.
    pub sent: u64,
    /// Messages whose last chunk was answered with 200.
    pub acknowledged: u64,
    /// Messages that arrived whole and as they were sent.
    pub delivered: u64,
    /// Success reports that came back.
    pub reported: u64,
    /// Failure reports that came back.
    pub failed: u64,
    /// Chunks that were answered with another code than 200.
    pub refused: u64,
    /// Messages that aren't what was sent, or out of turn.
    pub damaged: u64,
    /// Sessions whose connection was closed under them.
    pub closed: u64,
    /// From a message's first byte to its arrival as a whole, in nanoseconds.
    pub latency: Histogram<u64>,
    /// From the first chunk's head to the first byte that arrives of it, in nanoseconds.
    pub first_byte: Histogram<u64>,
    /// From a message's moment to its first byte, in nanoseconds; of an open loop alone.
    pub lateness: Histogram<u64>,
    /// The share of the time that the generator had something to do.
    pub busy: f64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            sent: 0,
            acknowledged: 0,
            delivered: 0,
            reported: 0,
            failed: 0,
            refused: 0,
            damaged: 0,
            closed: 0,
            latency: histogram(),
            first_byte: histogram(),
            lateness: histogram(),
            busy: 0.0,
        }
    }
}

impl Tally {
    /// Messages that never arrived whole.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.delivered)
    }

    /// Messages that were acknowledged, didn't arrive, and that no failure report spoke of: the
    /// sender believes that all is well.
    #[must_use]
    pub const fn lost_in_silence(&self) -> u64 {
        self.acknowledged
            .saturating_sub(self.delivered + self.failed)
    }
}

/// Three digits, up to a minute.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are constants in order")
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn a_loss_that_was_reported_is_not_silent() {
        let tally = Tally {
            sent: 10,
            acknowledged: 9,
            delivered: 7,
            failed: 1,
            ..Tally::default()
        };
        assert_eq!((tally.lost(), tally.lost_in_silence()), (3, 1));
    }
}
