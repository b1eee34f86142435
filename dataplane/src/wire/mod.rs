//! Bytes, without state or clock: RTP, RTCP, MSRP, BFCP, and what a datagram is by its first byte.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod bfcp;
pub mod msrp;
pub mod rtcp;
pub mod rtp;
