//! What control orders: acts on the streams of one session, with room for their results.

use std::net::{IpAddr, SocketAddr};

use super::floor::{BfcpRemote, BfcpSpec};
use super::msrp::{MsrpLocal, MsrpRemote, MsrpSetup, MsrpSpec};
use super::road::{OutpostId, RoadEnd};
use super::room::{FloorId, MemberFacts, MemberId, MemberPlan, RoomPlan, RtpFormats};
use super::trace::{TracedFrame, Tracing};
use super::{SessionId, Side, StreamId, StreamSet};

/// One order: acts on one session, done in order; all or nothing for [`Act::Open`],
/// [`Act::OpenRoom`] and [`Act::Join`].
///
/// The worker fills in `outcome` and the acts' results and sends the box back.
#[derive(Debug)]
pub struct Order {
    /// The session; made by its first [`Act::Open`] or [`Act::OpenRoom`], ended when its last stream
    /// is released.
    pub session: SessionId,
    /// Control's own mark, returned as it came.
    pub mark: u64,
    /// What to do.
    pub acts: Vec<Act>,
    /// How it went; [`Outcome::Pending`] on the way to the worker.
    pub outcome: Outcome,
    /// The plans of streams that were released, on their way home to be freed.
    pub returned: Vec<StreamPlan>,
}

impl Order {
    /// The rooms that it makes.
    pub fn rooms(&self) -> impl Iterator<Item = &RoomPlan> {
        self.acts.iter().filter_map(|act| match act {
            Act::OpenRoom(plan) => Some(plan),
            _ => None,
        })
    }

    /// Who joins by it, and which room.
    pub fn joins(&self) -> impl Iterator<Item = &MemberPlan> {
        self.acts.iter().filter_map(|act| match act {
            Act::Join(plan) => Some(plan),
            _ => None,
        })
    }
}

/// How an order went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Not done yet.
    Pending,
    /// Done.
    Done,
    /// Refused; nothing of it was done.
    Refused(Refusal),
}

/// Why an order was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No port is left.
    NoPort,
    /// No session or socket can be added.
    Full,
    /// The session or the stream is not there, or the stream is there already.
    Unknown,
    /// The kernel refused a socket (an address that isn't this machine's, ...).
    Socket,
}

/// One thing to do.
#[derive(Debug)]
pub enum Act {
    /// Adds a stream: binds its local ports and fills in `local` of both legs.
    Open(StreamPlan),
    /// Says or changes who is at the far end of a leg, and which way media may pass.
    Connect {
        /// The stream.
        stream: StreamId,
        /// Whose leg.
        side: Side,
        /// The far end.
        remote: Remote,
        /// What that side may do, from the relay's view of that leg.
        direction: Direction,
    },
    /// Makes a stream of a group session, a room, which nobody is in yet. A session that has rooms
    /// may have streams of two legs as well.
    OpenRoom(RoomPlan),
    /// Begins a road between two workers of a group session; both get this act, each with an end of
    /// it. It lasts until the session ends there, or at the other end and nobody is left at it.
    OpenRoad {
        /// Which of the session's outposts it leads to, or is.
        outpost: OutpostId,
        /// This worker's end; it takes it.
        end: Option<Box<RoadEnd>>,
    },
    /// Adds a member to a room: binds its leg's ports and fills in `local`. Nothing passes before it
    /// is connected. The others don't notice.
    Join(MemberPlan),
    /// Says or changes who is at the far end of a member's leg, which way media may pass, and what
    /// of RTP it sends and takes.
    ConnectMember {
        /// Whose leg.
        member: MemberId,
        /// In which room.
        stream: StreamId,
        /// The far end.
        remote: Remote,
        /// What the member may do, from the relay's view of its leg.
        direction: Direction,
        /// The formats of an RTP leg; nothing for other legs.
        formats: RtpFormats,
    },
    /// Says who holds a floor that no room of floors decides on: what others send to the rooms that
    /// it gates is dropped from the next packet on. Nobody holds it at first.
    GiveFloor {
        /// Which.
        floor: FloorId,
        /// Who; those who aren't members hold it when they join.
        holders: Vec<MemberId>,
    },
    /// Takes one member out of rooms, or all of them and the rooms with them, then fills in `facts`.
    /// The order comes back when the ports are closed and what waited was written, as for
    /// [`Act::Release`]. Rooms that one member leaves stay, also when it was the last one.
    Leave {
        /// Who leaves; `None`: everybody, and the rooms end.
        member: Option<MemberId>,
        /// Which rooms; those that the member isn't in don't matter.
        streams: StreamSet,
        /// How long a drain may take, in milliseconds.
        drain_ms: u32,
        /// What who left did.
        facts: Vec<MemberFacts>,
    },
    /// Freezes, drains and frees streams, then fills in `facts`; rooms among them end, and nothing is
    /// said of their members. The order comes back when the
    /// ports are closed and every queue was written and every MSRP SEND that was forwarded is
    /// answered, or the drain's time is up. Connections are half-closed then, so that what was
    /// written still arrives, and are gone after `limits::CLOSING_MS` at the latest.
    Release {
        /// Which.
        streams: StreamSet,
        /// How long a drain may take, in milliseconds.
        drain_ms: u32,
        /// What the released streams did.
        facts: Vec<StreamFacts>,
    },
    /// Fills in `facts` of the streams there are, and changes nothing.
    Report {
        /// What the streams did so far.
        facts: Vec<StreamFacts>,
    },
    /// Fills in the frames of an MSRP leg that were traced since it was asked last, the oldest
    /// first, and says what is traced from now on. One leg of a worker is traced at a time; another
    /// one ends it.
    Trace {
        /// The stream.
        stream: StreamId,
        /// Whose leg.
        side: Side,
        /// What is kept from now on.
        tracing: Tracing,
        /// What was traced; at most `limits::MSRP_TRACE_FRAMES`.
        frames: Vec<TracedFrame>,
    },
}

/// A stream to be forwarded between two legs.
#[derive(Debug)]
pub struct StreamPlan {
    /// Its name.
    pub stream: StreamId,
    /// Side A's leg, side B's leg; both of the same kind.
    pub legs: [LegSpec; 2],
    /// What the worker bound, per leg; filled in by it.
    pub local: [LegLocal; 2],
    /// A leg is silent when nothing valid came for this long, in milliseconds; 0: never.
    pub silence_ms: u32,
    /// Its session is recorded: the content of MSRP comes to control as [`Record`](super::Record)s,
    /// and [`RecordPart::Closed`](super::RecordPart::Closed) when the session ends, whatever it
    /// carried. To be the same for all streams of a session.
    pub record: bool,
}

/// What one leg is made of.
#[derive(Debug, Clone)]
pub enum LegSpec {
    /// RTP and RTCP over UDP.
    Rtp {
        /// The local address to bind.
        local_ip: IpAddr,
        /// Whether RTCP shares the RTP port (RFC 5761); no second port is bound then.
        rtcp_mux: bool,
        /// Whether and how the far address may be learnt.
        learn: Learn,
    },
    /// MSRP frames, parsed and rewritten (own path on this leg).
    Msrp(MsrpSpec),
    /// Bytes of a connection, passed unchanged (RFC 6714); a port of its own.
    Bytes {
        /// The local address to bind.
        local_ip: IpAddr,
    },
    /// Floor control with a member of a group session.
    Bfcp(BfcpSpec),
    /// RTP of a member of a group session whose leg is on another worker, by the road to there.
    /// Nothing is bound; any [`Remote::Rtp`] connects it.
    Away(OutpostId),
}

/// Whether a leg's far address may be learnt from what arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learn {
    /// Only the address that SDP names.
    Never,
    /// Once, from the first valid packet within this many milliseconds after [`Act::Connect`];
    /// packets from elsewhere are dropped from then on. Until it is learnt, media goes to the
    /// address that SDP names.
    Once {
        /// The window, in milliseconds; 0: without end.
        window_ms: u32,
        /// Only another port of the address that SDP names may be learnt.
        same_ip: bool,
    },
}

/// What the worker bound for a leg.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LegLocal {
    /// Nothing yet.
    #[default]
    Unbound,
    /// RTP's and RTCP's address; the same where they are multiplexed.
    Rtp {
        /// RTP.
        rtp: SocketAddr,
        /// RTCP.
        rtcp: SocketAddr,
    },
    /// The MSRP session this leg is: its URI is
    /// `msrp://{listen}/{session_id};tcp`.
    Msrp(MsrpLocal),
    /// The port that a byte leg listens on.
    Bytes {
        /// Where.
        listen: SocketAddr,
    },
    /// Where a BFCP leg takes datagrams or connections.
    Bfcp {
        /// Where.
        listen: SocketAddr,
    },
}

/// Who is at the far end of a leg.
#[derive(Debug, Clone)]
pub enum Remote {
    /// An RTP endpoint.
    Rtp(RtpRemote),
    /// An MSRP endpoint, for an [`LegSpec::Msrp`] leg.
    Msrp(MsrpRemote),
    /// A TCP endpoint, for an [`LegSpec::Bytes`] leg.
    Bytes {
        /// Its address; only used to connect.
        address: SocketAddr,
        /// Who connects.
        setup: MsrpSetup,
    },
    /// A BFCP client, for an [`LegSpec::Bfcp`] leg.
    Bfcp(BfcpRemote),
}

/// The far end of an RTP leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpRemote {
    /// Where RTP goes.
    pub rtp: SocketAddr,
    /// Where RTCP goes.
    pub rtcp: SocketAddr,
}

/// What the client at the far end of a leg may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direction {
    /// It may send: what comes from it is forwarded.
    pub may_send: bool,
    /// It may receive: what is for it is sent.
    pub may_receive: bool,
}

impl Direction {
    /// Both ways.
    pub const BOTH: Self = Self {
        may_send: true,
        may_receive: true,
    };
}

/// RTP or RTCP of an RTP leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// RTP, and RTCP where it shares the port.
    Rtp,
    /// RTCP on a port of its own.
    Rtcp,
}

/// What a stream did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamFacts {
    /// Which.
    pub stream: StreamId,
    /// Side A's leg, side B's leg.
    pub legs: [LegFacts; 2],
}

/// What came from one side of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LegFacts {
    /// RTP packets, or MSRP frames, received from this side and valid.
    pub packets: u64,
    /// Their octets: whole datagrams; or octets of a connection.
    pub bytes: u64,
    /// RTCP packets received from this side.
    pub rtcp_packets: u64,
    /// RTP packets that never came, by the sequence numbers (RFC 3550 A.3); 0 for MSRP.
    pub lost: u64,
    /// Received but not forwarded.
    pub dropped: u64,
    /// Messages of MSRP that were forwarded to their end.
    pub messages: u64,
    /// Responses of MSRP that were failures.
    pub failures: u64,
    /// Milliseconds since the stream was opened.
    pub age_ms: u64,
    /// The address packets come from now, once known.
    pub source: Option<SocketAddr>,
}
