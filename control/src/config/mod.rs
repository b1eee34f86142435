//! Settings: read once, checked once, typed ever after.
//!
//! ```text
//! text ─▶ toml ─▶ unknown keys ─▶ types (serde) ─▶ checks ─▶ Config
//!           └──────────┴────────────────┴────────────┴─────▶ ConfigError: line, column, way out
//! ```

mod checks;
mod error;
mod group;
mod history;
mod interworking;
mod msrp;
mod policy;
mod registration;
mod relay;
mod values;

pub use error::{Complaint, ConfigError};
pub use group::{
    AcceptSet, Controlling, FloorChair, Group, GroupAnswer, JoinConflict, Right, StreamDrop,
};
pub use history::{History, HistoryImap, HistoryStore, ImapTls};
pub use interworking::{Interworking, Iwf};
pub use msrp::{Msrp, Trunk, Who};
pub use policy::{Policy, Reason, User, Xcap};
pub use registration::{Registration, SubscribeWhen, WithoutGruu};
pub use relay::{Hash, MsrpRelay, MsrpUser};
pub use values::{
    Backend, ByeAck, Cema, Fork, ImdnDevices, IwfClose, LateOffer, Learn, Listen, NextHop,
    NoIdentity, OnFailure, Protocol, Role, SilenceAction, StreamKind, Toward,
};

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

/// The default file: every setting, its comment and its default.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// All settings. What a file doesn't say is as in [`DEFAULTS`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Signalling.
    pub sip: Sip,
    /// What holds for everybody's sessions.
    pub policy: Policy,
    /// What is outside of CPM, and what leads there.
    pub interworking: Interworking,
    /// Users that are treated otherwise than `policy` says, by their address.
    pub user: BTreeMap<String, User>,
    /// Group sessions.
    pub controlling: Controlling,
    /// The groups that are defined, by their address.
    pub group: BTreeMap<String, Group>,
    /// Users' preferences.
    pub xcap: Xcap,
    /// Which devices users have registered.
    pub registration: Registration,
    /// Addresses, ports and workers.
    pub media: Media,
    /// RTP.
    pub rtp: Rtp,
    /// MSRP.
    pub msrp: Msrp,
    /// The role of a relay for MSRP clients.
    pub msrp_relay: MsrpRelay,
    /// Far ends that are treated otherwise than `msrp` says, by a name of the operator's own; the
    /// first that matches counts, in the order of the names.
    pub trunk: BTreeMap<String, Trunk>,
    /// The operator's door.
    pub admin: Admin,
    /// Session records.
    pub cdr: Cdr,
    /// The users' session histories.
    pub history: History,
    /// The IMAP server that they are kept on.
    pub history_imap: HistoryImap,
    /// Logging.
    pub log: Log,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Read`] when it can't be read, [`ConfigError::Wrong`] when a setting is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text).map_err(|error| error.in_file(path))
    }

    /// Reads and checks a text.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Wrong`] with the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        checks::parse(text)
    }
}

/// Signalling.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sip {
    /// Where SIP is received; at least one.
    pub listen: Vec<Listen>,
    /// Where a request goes when its Route set is empty; `None`: to its Request-URI.
    #[serde(deserialize_with = "values::unless_empty")]
    pub next_hop: Option<NextHop>,
    /// Peers whose word on identities counts; empty: all.
    pub trusted: Vec<Who>,
    /// What becomes of a request that nobody has asserted an identity for.
    pub no_identity: NoIdentity,
    /// The role when neither P-Served-User nor a Route says it.
    pub role: Role,
    /// Timer T1 (RFC 3261 §17.1.1.1).
    #[serde(rename = "t1_ms", deserialize_with = "values::millis")]
    pub t1: Duration,
    /// Timer T2.
    #[serde(rename = "t2_ms", deserialize_with = "values::millis")]
    pub t2: Duration,
    /// Timer T4.
    #[serde(rename = "t4_ms", deserialize_with = "values::millis")]
    pub t4: Duration,
    /// Timer C: how long an INVITE may ring (RFC 3261 §16.6).
    #[serde(rename = "invite_ringing_s_max", deserialize_with = "values::seconds")]
    pub invite_ringing_max: Duration,
    /// When a BYE is answered.
    pub bye_ack: ByeAck,
    /// How long [`ByeAck::AfterFarEnd`] waits; less than 32 s.
    #[serde(rename = "bye_far_deadline_ms", deserialize_with = "values::millis")]
    pub bye_far_deadline: Duration,
    /// What becomes of an INVITE without an offer.
    pub late_offer: LateOffer,
    /// Sessions at a time.
    pub sessions_max: usize,
    /// How long a relay that is told to stop waits for its sessions before it ends them with BYE.
    #[serde(rename = "drain_s_max", deserialize_with = "values::seconds")]
    pub drain_max: Duration,
    /// The Retry-After of a refusal for lack of room.
    #[serde(rename = "retry_after_s", deserialize_with = "values::seconds")]
    pub retry_after: Duration,
    /// Text of Server and User-Agent; `None`: no such header.
    #[serde(deserialize_with = "values::unless_empty")]
    pub user_agent: Option<String>,
}

impl Default for Sip {
    fn default() -> Self {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5060);
        Self {
            listen: [Protocol::Udp, Protocol::Tcp]
                .map(|protocol| Listen { protocol, address })
                .to_vec(),
            next_hop: None,
            trusted: Vec::new(),
            no_identity: NoIdentity::From,
            role: Role::Originating,
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            invite_ringing_max: Duration::from_secs(180),
            bye_ack: ByeAck::AfterFarEnd,
            bye_far_deadline: Duration::from_secs(4),
            late_offer: LateOffer::Refuse,
            sessions_max: 10_000,
            drain_max: Duration::from_secs(60),
            retry_after: Duration::from_secs(5),
            user_agent: None,
        }
    }
}

/// Addresses, ports and workers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// Addresses that media is received on: at most one of each family, at least one.
    pub addresses: Vec<IpAddr>,
    /// First port for RTP, even.
    pub port_first: u16,
    /// Last port for RTP, odd.
    pub port_last: u16,
    /// How long a freed port is left alone.
    #[serde(rename = "port_quiet_ms", deserialize_with = "values::millis")]
    pub port_quiet: Duration,
    /// Worker threads; 1 to [`crate::limits::WORKERS`].
    pub workers: usize,
    /// Core of the first worker; `None`: not pinned.
    #[serde(deserialize_with = "values::core")]
    pub first_core: Option<usize>,
    /// How workers talk to the kernel.
    pub backend: Backend,
    /// How long a session that ends may take to write what it has acknowledged.
    #[serde(rename = "drain_ms", deserialize_with = "values::millis")]
    pub drain: Duration,
    /// A stream is silent when nothing came for this long; `None`: never.
    #[serde(rename = "silence_s", deserialize_with = "values::seconds_or_never")]
    pub silence: Option<Duration>,
    /// What becomes of a session with a silent stream.
    pub silence_action: SilenceAction,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            port_first: 20_000,
            port_last: 39_999,
            port_quiet: Duration::from_secs(1),
            workers: 1,
            first_core: None,
            backend: Backend::Auto,
            drain: Duration::from_millis(200),
            silence: None,
            silence_action: SilenceAction::None,
        }
    }
}

/// RTP.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rtp {
    /// Whether a far end's address may be learnt.
    pub learn: Learn,
    /// How long after the answer; zero: without end.
    #[serde(rename = "learn_window_ms", deserialize_with = "values::millis")]
    pub learn_window: Duration,
    /// Only another port of the address in the SDP may be learnt.
    pub learn_same_ip: bool,
}

impl Default for Rtp {
    fn default() -> Self {
        Self {
            learn: Learn::Once,
            learn_window: Duration::from_secs(5),
            learn_same_ip: false,
        }
    }
}

/// The operator's door.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Where it is; `None`: nowhere.
    #[serde(deserialize_with = "values::unless_empty")]
    pub listen: Option<SocketAddr>,
    /// Allows an address that is not a loopback one.
    pub allow_remote: bool,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8060)),
            allow_remote: false,
        }
    }
}

/// Session records.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cdr {
    /// File that lines are appended to; `None`: the log.
    #[serde(deserialize_with = "values::unless_empty")]
    pub file: Option<PathBuf>,
    /// Whether lines in the file name the served user and the peer.
    pub parties: bool,
}

impl Default for Cdr {
    fn default() -> Self {
        Self {
            file: None,
            parties: true,
        }
    }
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A `tracing` filter.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
