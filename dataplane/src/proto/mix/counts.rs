//! What a mixer counts.

/// What came of one talker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TalkCounts {
    /// Packets that were kept.
    pub received: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that came too late, or out of all order.
    pub late: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets that were given up because too many waited.
    pub overflowed: u64,
    /// Payloads that the decoder refused.
    pub malformed: u64,
    /// New beginnings: another source, clock or time.
    pub restarts: u64,
    /// Milliseconds that were made up.
    pub concealed_ms: u64,
    /// Milliseconds that were left out to catch up.
    pub cut_ms: u64,
    /// Milliseconds that were filled in to wait for longer.
    pub stretched_ms: u64,
}

/// What a mixer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MixCounts {
    /// Ticks.
    pub ticks: u64,
    /// Packets that were encoded; those of one encoding that many got count once.
    pub encoded: u64,
    /// Packets that were sent, without those below.
    pub sent: u64,
    /// Packets that were passed without being decoded.
    pub forwarded: u64,
    /// Telephone events that were passed.
    pub events: u64,
    /// Members that found no seat.
    pub full: u64,
}

impl TalkCounts {
    /// These and those of another one.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.received += other.received;
        self.lost += other.lost;
        self.late += other.late;
        self.duplicates += other.duplicates;
        self.overflowed += other.overflowed;
        self.malformed += other.malformed;
        self.restarts += other.restarts;
        self.concealed_ms += other.concealed_ms;
        self.cut_ms += other.cut_ms;
        self.stretched_ms += other.stretched_ms;
        self
    }
}
