//! Every maximum of the control plane.

/// Bytes of one session description; a larger one is refused.
pub const SDP_BYTES: usize = 64 * 1024;
/// Lines of one session description.
pub const SDP_LINES: usize = 1024;
/// Media descriptions (m-lines) of one session description, refused ones included.
pub const SDP_MEDIA: usize = 32;
/// Streams that ended and are still remembered for a session's record.
pub const ENDED_STREAMS: usize = 32;

const _: () = assert!(SDP_MEDIA < SDP_LINES);
