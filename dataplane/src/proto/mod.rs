//! State machines without sockets or clocks: RTP, rooms of group sessions, MSRP, and what is under it.

pub mod floor;
pub mod forward;
pub mod layer;
pub mod mix;
pub mod msrp;
pub mod rtp;
pub mod switch;
pub mod tls;
pub mod websocket;
