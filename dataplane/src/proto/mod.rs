//! State machines without sockets or clocks: RTP, switched video, MSRP, and what is under it.

pub mod layer;
pub mod msrp;
pub mod rtp;
pub mod switch;
pub mod tls;
pub mod websocket;
