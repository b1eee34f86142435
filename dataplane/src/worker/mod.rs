//! The duty cycle of one worker: orders, receive, relay, send, timers; housekeeping seldom.

mod bytes;
mod chat;
mod closing;
mod conns;
mod cycle;
mod ends;
mod expected;
mod halves;
mod handshakes;
mod hops;
mod layer;
mod msrp;
mod open;
mod orders;
mod recording;
mod release;
mod rooms;
mod start;

pub use cycle::{Setup, Worker};
pub use start::{Handle, start, start_one};

#[cfg(test)]
mod tests;
