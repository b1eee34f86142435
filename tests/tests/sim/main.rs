//! The relay in the simulated world: its own engine and worker, a seeded network, one clock.

mod calls;
mod closing;
mod floors;
mod groups;
