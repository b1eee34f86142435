//! Health, counters, sessions, drain: HTTP on loopback.
