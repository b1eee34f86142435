//! The simulated world and the peers that the tests of the relay are made of.
//!
//! `peers` are clients written from the RFCs: they share no parser with the relay.
//! `live` starts the relay and real servers (Kamailio, SIPp, baresip, tshark) beside them.

#![expect(
    clippy::disallowed_methods,
    reason = "live tests run on the real clock, on real threads and read CI from the environment"
)]
#![expect(clippy::panic, reason = "a test fails by panicking")]
#![expect(
    clippy::print_stderr,
    reason = "a skipped suite says so on the terminal"
)]

pub mod live;
pub mod peers;
pub mod torture;
#[cfg(feature = "world")]
pub mod world;
