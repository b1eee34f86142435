//! Bytes, without state or clock: RTP, RTCP, MSRP, BFCP, and what a datagram is by its first byte.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod bfcp;
pub mod media;
pub mod msrp;
pub mod rewrite;
pub mod rtcp;
pub mod rtp;
