//! Clients written from the RFCs with simple string code. They share nothing with the relay, so
//! that a mistake in the relay's parsers can't hide in theirs.

pub mod bfcp;
pub mod content;
pub mod imap;
pub mod msrp;
pub mod rtp;
pub mod sdp;
pub mod sip;
pub mod tls;
pub mod web;

use std::hash::{BuildHasher as _, RandomState};

/// 20 hexadecimal digits that nobody can guess (the keys of the standard library's hash maps come
/// from the kernel).
fn identifier() -> String {
    let random = RandomState::new();
    format!(
        "{:016x}{:04x}",
        random.hash_one(0),
        random.hash_one(1) & 0xFFFF
    )
}
