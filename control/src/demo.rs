//! `midpath demo`: a relay and two clients in one process.
