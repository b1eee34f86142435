//! The Midpath relay.

fn main() {}
