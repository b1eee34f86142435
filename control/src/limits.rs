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

// Engine

/// Early dialogs of one INVITE that are told apart; responses of more are passed on as the first's.
pub const FORKS_PER_SESSION: usize = 16;
/// Requests of one session that wait for the other side's response.
pub const RELAYED_PER_SESSION: usize = 16;
/// Requests that wait for a host name's address.
pub const PARKED_REQUESTS: usize = 1024;
/// Host names that are remembered.
pub const KNOWN_NAMES: usize = 4096;
/// Transactions that are proxied at a time.
pub const PROXIED_TRANSACTIONS: usize = 100_000;
/// Sessions whose streams one look at the admin door reports in full.
pub const REPORTED_SESSIONS: usize = 1024;
/// Packets, pieces of news or outputs handled before the loop looks at everything else.
pub const LOOP_BATCH: usize = 256;
