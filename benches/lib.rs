//! Criterion benches of the relay; see `benches/benches/`.
