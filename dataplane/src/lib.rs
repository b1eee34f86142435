//! The data plane: pinned worker threads that relay RTP and MSRP and share nothing.
//!
//! The rooms, in the order a packet travels:
//!
//! ```text
//! net ─▶ wire ─▶ session ─▶ proto ─▶ net          pipeline.rs is that path on one screen
//!  └──────────── worker (duty cycle) ─────────┘   api is the only door control may use
//! ```

pub mod api;
pub mod codec;
pub mod frame;
pub mod limits;
pub mod net;
pub mod pipeline;
pub mod proto;
pub mod session;
pub mod stats;
pub mod wire;
pub mod worker;

pub use worker::start;
