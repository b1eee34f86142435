//! A look at the frames of one MSRP leg, on demand.

use std::time::Instant;

/// What is kept of a leg's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tracing {
    /// Nothing; whoever traced it is done.
    #[default]
    Off,
    /// Heads: start lines and headers.
    Heads,
    /// Heads, and this many octets of each body, at most `limits::MSRP_TRACE_BODY_BYTES`.
    Bodies(u32),
}

/// Which way a frame went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It came from the leg's far end.
    In,
    /// It was written to it.
    Out,
}

/// A frame that was traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedFrame {
    /// The time of the cycle in which its head passed.
    pub at: Instant,
    /// Which way it went.
    pub way: Way,
    /// Its start line and headers, each with its CRLF.
    pub head: Vec<u8>,
    /// The front of its body, where that was asked for.
    pub body: Vec<u8>,
    /// `$`, `+` or `#`, once it has ended.
    pub flag: Option<u8>,
}
