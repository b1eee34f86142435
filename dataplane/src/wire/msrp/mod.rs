//! MSRP frames (RFC 4975 §9).
