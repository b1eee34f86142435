//! The relay in the simulated world: its own engine and worker, a seeded network, one clock.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod closing;
