//! The control plane: speaks SIP and decides.
//!
//! ```text
//! transports ─▶ sip ─▶ cpm ─▶ engine ─▶ media ─▶ link ══ Order ring ══▶ worker
//! transports ◀─ sip ◀──────── engine ◀────────── link ◀═ Event ring ═══ worker
//! ```

pub mod admin;
pub mod cdr;
pub mod config;
pub mod cpm;
pub mod demo;
pub mod engine;
pub mod history;
pub mod limits;
pub mod link;
pub mod media;
pub mod run;
pub mod sdp;
pub mod sip;
pub mod transports;
