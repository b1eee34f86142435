//! MSRP in plans: what a leg is carried by, how its chunks are cut, what its far end may ask for.

use std::net::{IpAddr, SocketAddr};

/// What an MSRP leg is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsrpSpec {
    /// The worker's listening address that this leg's path names.
    pub local_ip: IpAddr,
    /// What carries the frames; it picks the listener of `local_ip`.
    pub transport: MsrpTransport,
    /// The far end is matched by session-id alone, not by the whole URI.
    pub match_session_id_only: bool,
    /// How SENDs to this leg's far end are cut.
    pub chunking: Chunking,
    /// What the far end may ask of the relay.
    pub bounds: MsrpBounds,
}

impl MsrpSpec {
    /// TCP, whole URIs, chunks as they come, no bounds.
    #[must_use]
    pub fn plain(local_ip: IpAddr) -> Self {
        Self {
            local_ip,
            transport: MsrpTransport::Tcp,
            match_session_id_only: false,
            chunking: Chunking::AsTheyCome,
            bounds: MsrpBounds::default(),
        }
    }
}

/// The local end of an MSRP leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MsrpLocal {
    /// The worker's listening address for the leg's transport.
    pub listen: SocketAddr,
    /// 32 characters out of `[0-9a-v]`: 160 random bits.
    pub session_id: [u8; 32],
}

/// The far end of an MSRP leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MsrpRemote {
    /// The whole `a=path` value: its URIs, separated by a space. The To-Path of what is sent.
    pub path: Box<str>,
    /// Where the first URI's host is, for a leg that connects.
    pub address: SocketAddr,
    /// Who connects.
    pub setup: MsrpSetup,
    /// The certificate that the far end said it has (`a=fingerprint`, RFC 8122); a TLS connection
    /// with another one, or with none, is closed. `None`: it said nothing, and any will do.
    pub fingerprint: Option<Fingerprint>,
    /// The From-Path to use instead of this leg's own URI, where the far end was told another one
    /// (RFC 6714 offer answered without CEMA).
    pub local_path: Option<Box<str>>,
}

/// Who makes the TCP connection of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MsrpSetup {
    /// The relay connects.
    Active,
    /// The relay is connected to.
    Passive,
}

/// What carries MSRP frames on a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum MsrpTransport {
    /// `msrp://...;tcp` (RFC 4975).
    #[default]
    Tcp,
    /// `msrps://...;tcp`: TLS 1.2 or 1.3 over TCP (RFC 4975 §14.1).
    Tls,
    /// `msrp://...;ws`: a WebSocket (RFC 7977); always accepted, never connected.
    Ws,
    /// `msrps://...;ws`: a WebSocket over TLS (RFC 7977).
    Wss,
}

impl MsrpTransport {
    /// All of them, in the order of [`MsrpTransport::index`].
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Tls, Self::Ws, Self::Wss];

    /// Its place in [`MsrpTransport::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The scheme of its URIs.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Tcp | Self::Ws => "msrp",
            Self::Tls | Self::Wss => "msrps",
        }
    }

    /// The transport parameter of its URIs.
    #[must_use]
    pub const fn parameter(self) -> &'static str {
        match self {
            Self::Tcp | Self::Tls => "tcp",
            Self::Ws | Self::Wss => "ws",
        }
    }

    /// Whether it is encrypted.
    #[must_use]
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }
}

/// The SHA-256 of a certificate's DER, as `a=fingerprint:SHA-256` names it (RFC 8122).
pub type Fingerprint = [u8; 32];

/// How the SENDs to a leg's far end are cut (RFC 4975 §7.1, RFC 4976 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Chunking {
    /// Chunks go out as they come in.
    #[default]
    AsTheyCome,
    /// No chunk has more octets of body than this; at least 1.
    AtMost {
        /// The most octets of one chunk's body.
        octets: u32,
        /// Byte-Range names the chunk's true end, for far ends that count instead of looking for
        /// the end line; else `*`. A chunk is gathered before it is sent then, so `octets` is at
        /// most `limits::MSRP_EXACT_CHUNK_BYTES`.
        exact: bool,
    },
}

/// What the far end of an MSRP leg may ask of the relay; 0 stands for no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MsrpBounds {
    /// Octets of one message (SDP `max-size`); what is longer is refused with 413.
    pub message_octets: u64,
    /// Octets a second, averaged over a second; the leg isn't read while it is ahead.
    pub octets_per_s: u64,
    /// Milliseconds without a frame after which the leg's connection is closed.
    pub idle_ms: u32,
}
