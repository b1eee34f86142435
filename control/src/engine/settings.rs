//! What the engine is told at its start.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::preferences::AskPreferences;
use crate::config::Who;
use crate::cpm::forking::Without;
use crate::cpm::groups::Groups;
use crate::cpm::identity::Trust;
use crate::cpm::interworking;
use crate::cpm::participating::Role;
use crate::cpm::policy::Policies;
use crate::cpm::routing::Hop;
use crate::media;
use crate::sip::{Protocol, Text, Timers};

/// When a BYE is answered (CON-01).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByeAck {
    /// When the far side has answered its own, or the deadline has come.
    AfterFarEnd,
    /// As soon as the media are released.
    Immediate,
    /// As soon as the media are released and the history is stored. Without a history store this
    /// is the same as `Immediate`.
    ImmediateAfterStore,
}

/// What an INVITE without an offer that begins a session meets in B2BUA mode (OFR-01).
///
/// Inside a session it is always passed on, with the offer in the 2xx and the answer in the ACK:
/// clients refresh a session so (RFC 4028 §7.4), and a refusal would let it expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LateOffer {
    /// 488.
    Refuse,
    /// The offer comes in the 2xx, the answer in the ACK.
    Relay,
}

/// When the relay subscribes to a user's registration information (REG-12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscribeWhen {
    /// When the core tells of the user's first registration.
    ThirdPartyRegister,
    /// At once, for users that are named.
    Provisioning,
}

/// What the relay does to know the users' devices.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Who may tell of registrations; empty: anybody.
    pub trusted: Vec<Who>,
    /// When the relay subscribes to a user's registration information.
    pub subscribe_when: SubscribeWhen,
    /// The users that it subscribes to at once with [`SubscribeWhen::Provisioning`].
    pub users: Vec<String>,
    /// How long a subscription is asked for.
    pub expires: Duration,
    /// How long it waits after a subscription ended or failed; twice as long after each failure.
    pub retry: Duration,
    /// How long it waits at most.
    pub retry_max: Duration,
    /// Users at most.
    pub users_max: usize,
    /// How devices without a GRUU are reached by an INVITE of their own.
    pub without_gruu: Without,
}

/// The engine's settings; typed and checked already.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where SIP is listened for.
    pub listen: Vec<(Protocol, SocketAddr)>,
    /// T1, T2, T4.
    pub timers: Timers,
    /// Where requests without a Route set go; else to their Request-URI.
    pub next_hop: Option<Hop>,
    /// The role where no request says it.
    pub role: Role,
    /// Whose word on identities counts, and what becomes of requests without one.
    pub trust: Trust,
    /// What holds for whom: why to stay in the media path, which streams, and so on.
    pub policies: Arc<Policies>,
    /// Interworking.
    pub interworking: Arc<interworking::Settings>,
    /// The groups whose sessions are hosted here.
    pub groups: Arc<Groups>,
    /// How users' preferences are asked for; `None`: not at all.
    pub preferences: Option<AskPreferences>,
    /// How streams are anchored.
    pub media: Arc<media::Settings>,
    /// When a BYE is answered.
    pub bye_ack: ByeAck,
    /// How long the far side may take to answer a BYE before the near side is answered.
    pub bye_far_deadline: Duration,
    /// How long a closing waits for the history store (CON-05); `None`: there is no store.
    pub store_deadline: Option<Duration>,
    /// How users' devices are known; `None`: they are not, and the core alone decides.
    pub registration: Option<Registration>,
    /// What an INVITE without an offer meets.
    pub late_offer: LateOffer,
    /// How long an INVITE may ring (Timer C).
    pub ringing_max: Duration,
    /// Sessions at most.
    pub sessions_max: usize,
    /// What a 503 says about when to come back, in seconds.
    pub retry_after_s: u32,
    /// How long a released stream may drain.
    pub drain: Duration,
    /// A silent stream ends its session.
    pub end_on_silence: bool,
    /// The text of Server and User-Agent, if any.
    pub user_agent: Option<Text>,
}
