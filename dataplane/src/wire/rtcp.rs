//! RTCP headers (RFC 3550 §6).
