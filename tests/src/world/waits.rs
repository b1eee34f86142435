//! What a telephone sends again until something comes.

use std::time::{Duration, Instant};

/// A request of ours without a final response.
pub(super) struct Pending {
    pub method: &'static str,
    pub branch: String,
    pub bytes: Vec<u8>,
    pub next: Instant,
    pub interval: Duration,
    pub until: Instant,
    /// A provisional response has come.
    pub is_proceeding: bool,
}

/// A 2xx of ours without its ACK.
pub(super) struct Repeated {
    pub bytes: Vec<u8>,
    pub next: Instant,
    pub interval: Duration,
    pub until: Instant,
}

/// RFC 3261 §17.1.1.1.
pub(super) const T1: Duration = Duration::from_millis(500);
