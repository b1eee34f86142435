//! MSRP between two legs (RFC 4975).
