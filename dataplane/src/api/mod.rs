//! The only door that control may use: what it orders, what it is told, and the ring pair between.
//!
//! An order travels to the worker and comes back as news with its results filled in, so that
//! control makes and frees all memory and the worker only uses it.
//!
//! ```text
//! control ──Box<Order>──▶ ring ──▶ worker        open, connect, freeze, release, report
//! control ◀─Box<Order>── ring ◀── worker         the same box, results filled in
//! control ◀─Event::...── ring ◀── worker         news nobody ordered: silence, a lost connection
//! control ◀──Record───── ring ◀── worker         content of sessions that are recorded
//! ```

mod floor;
mod link;
mod msrp;
mod plan;
mod record;
mod record_ring;
mod relay;
mod road;
mod room;
mod secure;
mod trace;

pub use floor::{BfcpRemote, BfcpSpec, BfcpTransport};
pub use link::{ControlEnd, Doorbell, Full, WorkerEnd, ring_pair, ring_pair_with};
pub use msrp::{
    Chunking, Fingerprint, MsrpBounds, MsrpLocal, MsrpRemote, MsrpSetup, MsrpSpec, MsrpTransport,
};
pub use plan::{
    Act, Component, Direction, Learn, LegFacts, LegLocal, LegSpec, Order, Outcome, Refusal, Remote,
    RtpRemote, StreamFacts, StreamPlan,
};
pub use record::{Record, RecordPart};
pub use record_ring::RecordRoom;
pub use relay::{PathExpiry, RelayRole, RelayUser, RelayUsers};
pub use road::{Letter, Letters, OutpostId, Parcel, RoadEnd, RoadRoom, road, road_with};
pub use room::{
    AudioCodec, AudioFormat, FanSpec, FloorId, FloorRule, FloorSpec, MemberFacts, MemberId,
    MemberPlan, MixSpec, PayloadFormat, RoomKind, RoomPlan, RtpFormats, VideoCodec, VideoFeedback,
    VideoFormat,
};
pub use secure::{OriginPolicy, TlsIdentity};

pub use trace::{TracedFrame, Tracing, Way};

use std::net::{IpAddr, SocketAddr};

use crate::frame::PoolSize;

/// A session, as control names it: never used twice in a process's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A stream of a session: its m-line's index in control's own numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u8);

/// A set of streams of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamSet(pub u32);

impl StreamSet {
    /// Every stream there may be.
    pub const ALL: Self = Self(u32::MAX);

    /// The set with one stream more.
    #[must_use]
    pub fn with(self, stream: StreamId) -> Self {
        Self(self.0 | 1_u32.checked_shl(u32::from(stream.0)).unwrap_or(0))
    }

    /// Whether a stream is in it.
    #[must_use]
    pub fn contains(self, stream: StreamId) -> bool {
        self.0 & 1_u32.checked_shl(u32::from(stream.0)).unwrap_or(0) != 0
    }

    /// Whether it has no stream.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// One of the two sides of a forwarded stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The side that the session's first request came from.
    A,
    /// The side it was sent to.
    B,
}

impl Side {
    /// Both, in order.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// 0 for A, 1 for B.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }
}

/// What a worker tells control.
#[derive(Debug)]
pub enum Event {
    /// An order is done, or refused; the box control sent, with its outcome.
    Done(Box<Order>),
    /// No valid packet came to a leg for the time its plan names. Told once until packets return.
    Silent {
        /// The session.
        session: SessionId,
        /// Its stream.
        stream: StreamId,
        /// The side that has gone silent.
        side: Side,
    },
    /// Packets came again to a leg that was silent.
    Heard {
        /// The session.
        session: SessionId,
        /// Its stream.
        stream: StreamId,
        /// The side that is heard again.
        side: Side,
    },
    /// An MSRP leg's connection could not be made, or was lost.
    ConnectionLost {
        /// The session.
        session: SessionId,
        /// Its stream.
        stream: StreamId,
        /// The side whose connection it was.
        side: Side,
    },
    /// No valid packet came from a member for the time its plan names. Told once until packets
    /// return.
    MemberSilent {
        /// The session.
        session: SessionId,
        /// The room.
        stream: StreamId,
        /// Who has gone silent.
        member: MemberId,
    },
    /// Packets came again from a member that was silent.
    MemberHeard {
        /// The session.
        session: SessionId,
        /// The room.
        stream: StreamId,
        /// Who is heard again.
        member: MemberId,
    },
    /// A member's connection (MSRP, BFCP) could not be made, or was lost; or its leg at an outpost is
    /// gone.
    MemberLost {
        /// The session.
        session: SessionId,
        /// The room.
        stream: StreamId,
        /// Whose it was.
        member: MemberId,
    },
    /// Somebody else speaks in a mixed room.
    Speaking {
        /// The session.
        session: SessionId,
        /// The room.
        stream: StreamId,
        /// Who; `None`: nobody.
        member: Option<MemberId>,
    },
    /// A floor has other holders; its rooms already take what they send and nothing else.
    FloorChanged {
        /// The session.
        session: SessionId,
        /// The floor.
        floor: FloorId,
        /// Who holds it now.
        holders: Box<[MemberId]>,
    },
}

/// Which way a worker talks to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackendKind {
    /// io_uring where the kernel has what is needed, else epoll.
    #[default]
    Auto,
    /// io_uring: multishot receive into provided buffers, registered files.
    Uring,
    /// epoll with recvmmsg and sendmmsg.
    Epoll,
}

/// Where the workers listen for one transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PortChoice {
    /// Nowhere: no leg can have that transport.
    #[default]
    Off,
    /// On this port plus the worker's number; 0: each on one that the kernel picks.
    From(u16),
}

impl PortChoice {
    /// TCP only, from this port on.
    #[must_use]
    pub const fn only_tcp(first: u16) -> [Self; MsrpTransport::ALL.len()] {
        [Self::From(first), Self::Off, Self::Off, Self::Off]
    }
}

/// One of a worker's listeners for MSRP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsrpListen {
    /// What is spoken there.
    pub transport: MsrpTransport,
    /// Where it is.
    pub address: SocketAddr,
}

/// What the workers are started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Workers, each on a core of its own; 1 or more.
    pub workers: usize,
    /// The core of the first worker; the others follow. `None`: not pinned.
    pub first_core: Option<usize>,
    /// How to talk to the kernel.
    pub backend: BackendKind,
    /// First port for RTP, even. Ports are shared out evenly among the workers.
    pub port_first: u16,
    /// Last port, odd.
    pub port_last: u16,
    /// How long a freed port is left alone, in milliseconds.
    pub port_quiet_ms: u64,
    /// Addresses that every worker listens on for MSRP.
    pub msrp_listen: Vec<IpAddr>,
    /// The ports there, by [`MsrpTransport::index`]; those that are encrypted need `msrp_tls`.
    pub msrp_ports: [PortChoice; MsrpTransport::ALL.len()],
    /// Who the relay is on encrypted MSRP connections, those it makes and those it accepts.
    pub msrp_tls: Option<TlsIdentity>,
    /// Which web pages may open WebSockets for MSRP.
    pub msrp_origins: OriginPolicy,
    /// The role of a relay for MSRP clients (RFC 4976); `None`: no AUTH is taken.
    pub msrp_relay: Option<RelayRole>,
    /// Frames of each worker.
    pub pool: PoolSize,
    /// What the workers' random numbers are seeded with; `None`: the system's entropy.
    pub seed: Option<u64>,
}
