//! State machines without sockets or clocks: RTP, MSRP, floor control, and what is under it.

pub mod floor;
pub mod layer;
pub mod msrp;
pub mod rtp;
pub mod tls;
pub mod websocket;
