//! Group sessions in plans: streams with any number of members, mixed, switched, forwarded or
//! fanned out, and the floors that gate them (RFC 8855; System Description 5.2.3.9).
//!
//! A group session is a session whose streams are *rooms*. Each participant is a *member* of the
//! rooms that it uses, with one leg in each; who isn't a member of a room gets nothing of it.
//!
//! ```text
//! Act::OpenRoom ──▶ Act::Join ──▶ Act::ConnectMember ──▶ Act::Leave      any number of members
//!                                  └── again: hold, another address, other formats ──┘
//! ```
//!
//! A session that is larger than one worker has its rooms on its *home* and legs of RTP of further
//! members on *outposts*, other workers, each with a road to home ([`Act::OpenRoad`](super::Act)).
//! Such a member joins twice: where its leg is, in a room that is [`RoomKind::Outpost`], and at home
//! with [`LegSpec::Away`]. Gates, floors, mixing, switching and reports are home's, done once for all;
//! addresses, their learning and silence are the outpost's. What home sends a member is posted, and
//! what comes from it is posted back:
//!
//! ```text
//! member ─▶ leg ─▶ gate of directions ─▶ road ─▶ gate of floors, machine ─┬▶ leg ─▶ member   at home
//! member ◀─ leg ◀──────────────────────── road ◀── heads, and the payload once ┘      at its outpost
//! ```
//!
//! Legs of MSRP and BFCP are always home's.

use super::{LegFacts, LegLocal, LegSpec, OutpostId, StreamId};

/// A participant of a group session, as control names it: never used twice in a session's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u32);

/// A floor of a group session (RFC 8855 §5.2.2, RFC 8856 `floorid`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FloorId(pub u16);

/// A stream of a group session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomPlan {
    /// Its name.
    pub stream: StreamId,
    /// What becomes of what its members send.
    pub kind: RoomKind,
    /// The floor that gates it: only what its holders send is taken.
    pub floor: Option<FloorId>,
}

/// What becomes of what the members of a room send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomKind {
    /// Full-duplex audio: each member gets the mix of the others.
    Mix(MixSpec),
    /// Full-duplex video: each member gets the one who speaks, the speaker gets who spoke before.
    Switch {
        /// The audio stream whose loudest member is shown; `None`: who sent first stays.
        follows: Option<StreamId>,
    },
    /// RTP of each sender as it came to every receiver.
    Forward,
    /// MSRP: each message to all others, or to those that its CPIM To names.
    FanOut(FanSpec),
    /// The session's floor control server (BFCP); its members' legs are `LegSpec::Bfcp`.
    Floors(FloorSpec),
    /// Legs of members of a room of RTP on another worker, at the other end of a road.
    Outpost(OutpostId),
}

/// How messages are fanned out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FanSpec {
    /// The group's own URIs: what CPIM's To names by one of them is for all, as is what it names by
    /// `sip:anonymous@anonymous.invalid`. Any other To names members by their identities, and is
    /// answered with 404 where nobody has it. None at all: a To that names no member is for all.
    pub addresses: Vec<Box<str>>,
    /// Only `message/cpim` is taken; all else is answered with 415.
    pub only_cpim: bool,
}

/// How audio is mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MixSpec {
    /// At most this many talkers are decoded and heard at a time, the loudest; 1 to
    /// `limits::MIX_TALKERS`.
    pub talkers: u8,
    /// The longest that packets wait in a member's jitter buffer, in milliseconds.
    pub jitter_max_ms: u16,
    /// Whether quiet talkers are made louder.
    pub auto_gain: bool,
}

/// The floors of a group session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FloorSpec {
    /// The conference's identifier in BFCP (RFC 8856 `confid`).
    pub conference: u32,
    /// The floors.
    pub floors: Vec<FloorRule>,
}

/// How one floor is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FloorRule {
    /// Which.
    pub floor: FloorId,
    /// Who decides; `None`: requests are granted in their order.
    pub chair: Option<MemberId>,
    /// How many may hold it at a time; 1 or more.
    pub holders: u16,
    /// It is revoked from who sent nothing for this long, in milliseconds; 0: never.
    pub silence_ms: u32,
    /// It is revoked from who has held it for this long while others wait, in milliseconds;
    /// 0: never.
    pub held_max_ms: u32,
}

/// A member's leg in a room.
#[derive(Debug)]
pub struct MemberPlan {
    /// Whose.
    pub member: MemberId,
    /// In which room.
    pub stream: StreamId,
    /// What it is made of; of the room's kind.
    pub leg: LegSpec,
    /// What the worker bound; filled in by it.
    pub local: LegLocal,
    /// Told as silent after this long without media, in milliseconds; 0: never.
    pub silence_ms: u32,
    /// The identity that CPIM's From is set to in a fan-out, with its angle brackets and display
    /// name as they go out; `None`: what the member wrote stays.
    pub identity: Option<Box<str>>,
}

/// What a member sends and gets in a room of RTP.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RtpFormats {
    /// What it may send and what it gets, the first that can be encoded.
    pub audio: Vec<AudioFormat>,
    /// Payload type of telephone-event (RFC 4733), with the clock rate.
    pub telephone_event: Option<(u8, u32)>,
    /// Payload type of comfort noise at 8 kHz (RFC 3389), which it takes in place of silence.
    pub comfort_noise: Option<u8>,
    /// Payload types of a room that isn't mixed: what comes in with one goes out with the
    /// receiver's type of the same `format`, a number that control gives to equal formats.
    pub payloads: Vec<PayloadFormat>,
    /// Header extension id of audio levels from clients (RFC 6464).
    pub client_level: Option<u8>,
    /// Header extension id of the mixer's levels (RFC 6465).
    pub mixer_level: Option<u8>,
    /// It takes NACK, PLI, FIR or REMB (RFC 4585, RFC 5104).
    pub feedback: bool,
    /// What those of `payloads` are that are video; one that isn't here is of an unknown codec.
    pub video: Vec<VideoFormat>,
    /// Header extension id of the orientation of video (3GPP TS 26.114 7.4.5).
    pub orientation: Option<u8>,
}

/// A payload type of video, and the feedback that was negotiated for it (RFC 4585 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoFormat {
    /// The payload type, 0 to 127.
    pub payload_type: u8,
    /// The codec.
    pub codec: VideoCodec,
    /// `a=rtcp-fb` with this payload type or `*`.
    pub feedback: VideoFeedback,
}

/// Video codecs whose key frames are known from their RTP payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    /// VP8 (RFC 7741).
    Vp8,
    /// H.264 (RFC 6184), packetisation modes 0 and 1.
    H264,
    /// H.265 (RFC 7798), without decoding order numbers.
    H265,
}

/// Which feedback on video is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is negotiated by itself"
)]
pub struct VideoFeedback {
    /// `nack` (RFC 4585).
    pub nack: bool,
    /// `nack pli` (RFC 4585).
    pub picture_loss: bool,
    /// `ccm fir` (RFC 5104).
    pub full_intra: bool,
    /// `goog-remb`.
    pub remb: bool,
}

/// An audio payload type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioFormat {
    /// The payload type, 0 to 127.
    pub payload_type: u8,
    /// The codec.
    pub codec: AudioCodec,
    /// Packet time in milliseconds that the member wants to get; 10, 20, 30, 40 or 60.
    pub ptime_ms: u8,
}

/// A payload type that is forwarded, not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadFormat {
    /// The payload type, 0 to 127.
    pub payload_type: u8,
    /// Equal for formats that are the same for all members of the room.
    pub format: u16,
    /// RTP's clock rate, in hertz: by it timestamps go on when another member sends.
    pub clock_rate: u32,
}

/// The codecs that are decoded and encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    /// G.711 µ-law (RFC 3551).
    Pcmu,
    /// G.711 A-law (RFC 3551).
    Pcma,
    /// G.722 at 64 kbit/s (RFC 3551: clock rate 8000, samples at 16 kHz).
    G722,
    /// Opus (RFC 7587), one channel.
    Opus {
        /// Bits per second that are sent; 6,000 to 510,000.
        bitrate: u32,
        /// Whether redundancy against loss is sent (`useinbandfec`).
        fec: bool,
        /// Whether silence isn't sent (`usedtx`).
        dtx: bool,
    },
    /// AMR (RFC 4867).
    AmrNb {
        /// `octet-align=1`.
        octet_aligned: bool,
        /// The mode that is sent, 0 to 7.
        mode: u8,
    },
    /// AMR-WB (RFC 4867).
    AmrWb {
        /// `octet-align=1`.
        octet_aligned: bool,
        /// The mode that is sent, 0 to 8.
        mode: u8,
    },
}

impl AudioCodec {
    /// RTP's clock rate, in hertz.
    #[must_use]
    pub fn clock_rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 | Self::AmrNb { .. } => 8_000,
            Self::AmrWb { .. } => 16_000,
            Self::Opus { .. } => 48_000,
        }
    }

    /// Whether this build has it: AMR needs the feature `amr`.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 | Self::Opus { .. } => true,
            Self::AmrNb { .. } | Self::AmrWb { .. } => cfg!(feature = "amr"),
        }
    }

    /// The rate of its samples, in hertz.
    #[must_use]
    pub fn sample_rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::AmrNb { .. } => 8_000,
            Self::G722 | Self::AmrWb { .. } => 16_000,
            Self::Opus { .. } => 48_000,
        }
    }
}

/// What a member did in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberFacts {
    /// Whose.
    pub member: MemberId,
    /// In which room.
    pub stream: StreamId,
    /// What came from it.
    pub leg: LegFacts,
    /// What was sent to it: packets or messages.
    pub sent: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g722_counts_time_at_half_its_sample_rate() {
        assert_eq!(AudioCodec::G722.clock_rate(), 8_000);
        assert_eq!(AudioCodec::G722.sample_rate(), 16_000);
    }
}
