//! `cargo x <task>`: tasks for the people who work on the relay.

fn main() {}
