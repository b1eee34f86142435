//! Legs, streams, sessions, and the tables they live in.
