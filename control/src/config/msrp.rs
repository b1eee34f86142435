//! Settings of MSRP, and of the far ends that are treated in another way.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::values::{self, Cema, Toward};

/// MSRP.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Msrp {
    /// Worker n listens for TCP on this plus n; 0: the kernel picks.
    pub port_first: u16,
    /// The same for TLS; `None`: not at all.
    #[serde(deserialize_with = "values::port_or_none")]
    pub tls_port_first: Option<u16>,
    /// The same for WebSockets.
    #[serde(deserialize_with = "values::port_or_none")]
    pub ws_port_first: Option<u16>,
    /// The same for WebSockets over TLS.
    #[serde(deserialize_with = "values::port_or_none")]
    pub wss_port_first: Option<u16>,
    /// Web pages that may open WebSockets; empty: all.
    pub ws_origins: Vec<String>,
    /// PEM file with the relay's certificate and its chain; `None`: one is made at the start.
    #[serde(deserialize_with = "values::unless_empty")]
    pub certificate: Option<PathBuf>,
    /// PEM file with the private key to it.
    #[serde(deserialize_with = "values::unless_empty")]
    pub key: Option<PathBuf>,
    /// A far end over TLS must name its certificate in SDP.
    pub fingerprint_required: bool,
    /// What becomes of a stream whose both ends speak CEMA (RFC 6714).
    pub cema: Cema,
    /// What carries a stream towards the far end that is offered it.
    pub toward: Toward,
    /// A URI is matched by its session-id alone.
    pub match_session_id_only: bool,
    /// Octets of one chunk to a far end; 0: chunks stay as they came.
    pub chunk_octets_max: u32,
    /// Chunks to a far end name their true end in Byte-Range.
    pub chunk_exact: bool,
    /// Octets of one message; 0: no limit.
    pub message_octets_max: u64,
    /// Octets a second that are read of a far end; 0: no limit.
    pub octets_per_s_max: u64,
    /// How long a connection may be without a frame; zero: for ever.
    #[serde(rename = "idle_s_max", deserialize_with = "values::seconds")]
    pub idle_max: Duration,
}

impl Default for Msrp {
    fn default() -> Self {
        Self {
            port_first: 0,
            tls_port_first: Some(0),
            ws_port_first: None,
            wss_port_first: None,
            ws_origins: Vec::new(),
            certificate: None,
            key: None,
            fingerprint_required: false,
            cema: Cema::PassThrough,
            toward: Toward::Same,
            match_session_id_only: false,
            chunk_octets_max: 0,
            chunk_exact: false,
            message_octets_max: 0,
            octets_per_s_max: 0,
            idle_max: Duration::ZERO,
        }
    }
}

/// Far ends that are treated in another way; what it doesn't say is as [`Msrp`] says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trunk {
    /// Who they are.
    #[serde(rename = "match")]
    pub who: Vec<Who>,
    /// See [`Msrp::cema`].
    #[serde(deserialize_with = "values::given")]
    pub cema: Option<Cema>,
    /// See [`Msrp::toward`].
    #[serde(deserialize_with = "values::given")]
    pub toward: Option<Toward>,
    /// See [`Msrp::match_session_id_only`].
    #[serde(deserialize_with = "values::given")]
    pub match_session_id_only: Option<bool>,
    /// See [`Msrp::chunk_octets_max`].
    #[serde(deserialize_with = "values::given")]
    pub chunk_octets_max: Option<u32>,
    /// See [`Msrp::chunk_exact`].
    #[serde(deserialize_with = "values::given")]
    pub chunk_exact: Option<bool>,
    /// See [`Msrp::message_octets_max`].
    #[serde(deserialize_with = "values::given")]
    pub message_octets_max: Option<u64>,
    /// See [`Msrp::octets_per_s_max`].
    #[serde(deserialize_with = "values::given")]
    pub octets_per_s_max: Option<u64>,
    /// See [`Msrp::idle_max`], in seconds.
    #[serde(deserialize_with = "values::given")]
    pub idle_s_max: Option<u32>,
}

impl Trunk {
    /// What holds for its far ends.
    #[must_use]
    pub fn over(&self, base: &Msrp) -> Msrp {
        let idle = self.idle_s_max.map(u64::from).map(Duration::from_secs);
        Msrp {
            cema: self.cema.unwrap_or(base.cema),
            toward: self.toward.unwrap_or(base.toward),
            match_session_id_only: self
                .match_session_id_only
                .unwrap_or(base.match_session_id_only),
            chunk_octets_max: self.chunk_octets_max.unwrap_or(base.chunk_octets_max),
            chunk_exact: self.chunk_exact.unwrap_or(base.chunk_exact),
            message_octets_max: self.message_octets_max.unwrap_or(base.message_octets_max),
            octets_per_s_max: self.octets_per_s_max.unwrap_or(base.octets_per_s_max),
            idle_max: idle.unwrap_or(base.idle_max),
            ..base.clone()
        }
    }
}

/// Far ends of a trunk: `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/32`, `example.org`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Who {
    /// SIP goes to, or comes from, an address that begins as this one.
    Network {
        /// The address.
        address: IpAddr,
        /// How many of its bits count.
        bits: u32,
    },
    /// The caller's, or the called, URI has this host, or one below it.
    Domain(String),
}

impl Who {
    /// Whether a side is meant: where its SIP comes from or goes to, and the host of its URI.
    #[must_use]
    pub fn is(&self, address: IpAddr, host: &str) -> bool {
        match self {
            Self::Network {
                address: network,
                bits,
            } => {
                let (one, other, width) = match (network, address.to_canonical()) {
                    (IpAddr::V4(one), IpAddr::V4(other)) => {
                        (one.to_bits().into(), other.to_bits().into(), u32::BITS)
                    }
                    (IpAddr::V6(one), IpAddr::V6(other)) => {
                        (one.to_bits(), other.to_bits(), u128::BITS)
                    }
                    _ => return false,
                };
                let differing: u128 = one ^ other;
                differing
                    .checked_shr(width.saturating_sub(*bits))
                    .unwrap_or(0)
                    == 0
            }
            Self::Domain(domain) => {
                let Some(at) = host.len().checked_sub(domain.len()) else {
                    return false;
                };
                let (above, tail) = (host.as_bytes().get(..at), host.as_bytes().get(at..));
                tail.is_some_and(|tail| tail.eq_ignore_ascii_case(domain.as_bytes()))
                    && above.is_some_and(|above| above.last().is_none_or(|last| *last == b'.'))
            }
        }
    }
}

impl TryFrom<String> for Who {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_who(&text).ok_or_else(|| {
            format!(
                "\"{text}\", expected an address (192.0.2.7), a network (192.0.2.0/24) or a domain \
                 (example.org)"
            )
        })
    }
}

fn parse_who(text: &str) -> Option<Who> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
        None => (text, None),
    };
    match address.parse::<IpAddr>() {
        Ok(address) => {
            let width = if address.is_ipv4() {
                u32::BITS
            } else {
                u128::BITS
            };
            let bits = bits.unwrap_or(width);
            (bits <= width).then_some(Who::Network { address, bits })
        }
        Err(_) => {
            let is_name = text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
            let is_named = text.bytes().any(|byte| byte.is_ascii_alphabetic());
            (is_name && is_named).then(|| Who::Domain(text.to_owned()))
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network { address, bits } => write!(out, "{address}/{bits}"),
            Self::Domain(domain) => out.write_str(domain),
        }
    }
}
