//! Seeded fuzzing of every parser and machine, and the MSRP torture set.
//!
//! The same seeds run each time, so that a failure comes from a change. Two settings change that:
//!
//! | variable | what it does |
//! |---|---|
//! | `MIDPATH_FUZZ_ROUNDS` | runs so many times the usual number of rounds |
//! | `MIDPATH_FUZZ_SEED` | begins with this seed (a failure names it), or with `random` for a new one |

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::panic, reason = "a test fails by panicking")]
#![expect(
    clippy::print_stderr,
    reason = "whoever sees a test fail is told its seed"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "the watchdog reads the clock; what is fuzzed gets its time as an argument"
)]

mod campaign;
mod clients;
mod closings;
mod engine;
mod floors;
mod framers;
mod gatherings;
mod media;
mod mix;
mod msrp_relay;
mod msrp_room;
mod notices;
mod registration;
mod rtp;
mod scene;
mod sdp;
mod seeds;
mod sip;
mod spoil;
mod switching;
mod torture;
mod transactions;
mod worker;
