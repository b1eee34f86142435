//! MSRP over TLS and WebSockets, through a started worker and real sockets; the far ends are
//! rustls, OpenSSL and tungstenite.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![expect(clippy::disallowed_types, reason = "the far ends write text")]

mod rig;
mod tls;
mod websocket;
