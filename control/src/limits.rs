//! Every maximum of the control plane.

/// Worker threads.
pub const WORKERS: usize = 64;
/// Ports that one RTP stream takes: RTP and RTCP on two legs.
pub const PORTS_PER_STREAM: usize = 4;
