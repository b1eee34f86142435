//! Every maximum of the control plane.

// SIP

/// Bytes of one SIP message, head and body.
pub const SIP_MESSAGE_BYTES: usize = 64 * 1024;
/// Header lines of one SIP message.
pub const SIP_HEADERS: usize = 256;
/// Server transactions, and as many client transactions: 8000 calls/s, two transactions each
/// that stay for 32 s on UDP, and room to spare.
pub const SIP_TRANSACTIONS: usize = 1 << 20;
/// Seconds after which a refused client may come back.
pub const SIP_RETRY_AFTER_S: u64 = 5;
/// Packets that may wait for the SIP layer.
pub const SIP_INCOMING: usize = 16_384;
/// TCP connections, both ways.
pub const SIP_CONNECTIONS: usize = 16_384;
/// Messages that may wait to be written to one TCP connection.
pub const SIP_CONNECTION_QUEUE: usize = 256;
/// Seconds after which a TCP connection without traffic is closed.
pub const SIP_CONNECTION_IDLE_S: u64 = 600;
/// Seconds to wait for a TCP connection to open.
pub const SIP_CONNECT_S: u64 = 10;
/// Seconds that writing one message to a TCP connection may take before it is closed.
pub const SIP_WRITE_S: u64 = 10;
/// Bytes asked from the kernel for each UDP socket's buffers.
pub const SIP_SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
