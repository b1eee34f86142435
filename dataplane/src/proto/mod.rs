//! State machines without sockets or clocks: RTP, MSRP.

pub mod msrp;
pub mod rtp;
