//! Every maximum of the control plane.

/// Worker threads.
pub const WORKERS: usize = 64;
/// Ports that one RTP stream takes: RTP and RTCP on two legs.
pub const PORTS_PER_STREAM: usize = 4;
/// Connections to the operator's door at a time; more wait to be accepted.
pub const ADMIN_CONNECTIONS: usize = 16;
/// Questions from the operator's door that may wait for the run loop; more are answered with 503.
pub const ADMIN_QUESTIONS: usize = 16;
/// How long a connection to the operator's door may last: one request and its answer.
pub const ADMIN_CONNECTION_SECONDS: u64 = 10;
/// How long the run loop may take for the answer to a question.
pub const ADMIN_ANSWER_SECONDS: u64 = 2;
/// Session records that may wait for the disk; more go to the log.
pub const CDR_WAITING: usize = 4096;

// A connection asks one question, so a place for each is enough.
const _: () = assert!(ADMIN_QUESTIONS >= ADMIN_CONNECTIONS);
const _: () = assert!(ADMIN_ANSWER_SECONDS < ADMIN_CONNECTION_SECONDS);
