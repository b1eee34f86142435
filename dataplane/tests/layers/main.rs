//! MSRP over TLS and WebSockets, through a started worker and real sockets; the far ends are
//! rustls, OpenSSL and tungstenite.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![expect(
    clippy::unwrap_in_result,
    reason = "a rig that can't be made is a failure"
)]
#![expect(clippy::print_stderr, reason = "a skipped scene says so")]
#![expect(clippy::disallowed_types, reason = "the far ends write text")]

use dataplane::api::{Fingerprint, TlsIdentity};

mod hops;
mod identity;
mod rig;
mod tls;
mod websocket;
