//! Legs, streams, sessions, and the tables they live in.
//!
//! ```text
//! packet ─▶ Mark ─────────────────▶ Streams[index] ─▶ legs[side]     by index, no search
//! order  ─▶ SessionId ─▶ Sessions ─▶ Streams[index]                  by hash
//! ```
//!
//! A socket's [`Mark`] names the stream's slot and its generation, so that what comes late to a
//! slot that was used again finds nobody.

mod bfcp;
mod bytes;
mod machine;
mod mark;
mod msrp;
mod ports;
mod reception;
mod roads;
mod rooms;
mod rtp;
mod sessions;
mod streams;

pub use bfcp::{BfcpLeg, Line};
pub use bytes::{BytesLeg, Connection};
pub use machine::{FloorRoom, Machine, Mixing, Seating, Switching};
pub use mark::{Mark, Owner, SlotRef};
pub use msrp::MsrpLeg;
pub use ports::{PortPair, Ports};
pub use reception::Reception;
pub use roads::{AwayLeg, Road, RoadRef, Roads};
pub use rooms::{Out, Room, RoomRef, Rooms, Seat};
pub use rtp::{RtpLeg, WayOut};
pub use sessions::{Session, SessionRef, Sessions};
pub use streams::{Media, Member, MemberLeg, Phase, Stream, Streams, leg_mut, pair_mut};

/// A socket's number at the backend, which this room knows nothing else of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket(pub u32);
