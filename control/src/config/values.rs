//! The words that settings are made of, and how they are read.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserializer, Error, Unexpected};
use serde::{Deserialize, Serialize};

/// A transport of SIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        })
    }
}

impl FromStr for Protocol {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "udp" => Ok(Self::Udp),
            "tcp" => Ok(Self::Tcp),
            _ => Err(()),
        }
    }
}

/// Where SIP is received: `udp:127.0.0.1:5060`, `tcp:[::1]:5060`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Listen {
    /// UDP or TCP.
    pub protocol: Protocol,
    /// Address and port.
    pub address: SocketAddr,
}

impl fmt::Display for Listen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.protocol, self.address)
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.split_once(':')
            .and_then(|(protocol, address)| {
                Some(Self {
                    protocol: protocol.parse().ok()?,
                    address: address.parse().ok()?,
                })
            })
            .ok_or_else(|| {
                format!("\"{text}\", expected protocol:address:port such as udp:127.0.0.1:5060")
            })
    }
}

/// Where requests without a Route go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHop {
    /// As it was written: a SIP URI.
    pub uri: String,
    /// Its host: a name or an address; IPv6 without brackets.
    pub host: String,
    /// Its port; `None`: SIP's own, 5060.
    pub port: Option<u16>,
    /// Its transport; UDP unless it says otherwise.
    pub protocol: Protocol,
}

impl FromStr for NextHop {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_next_hop(text).ok_or_else(|| {
            format!("\"{text}\", expected a SIP URI such as sip:core.example:5060;transport=udp")
        })
    }
}

fn parse_next_hop(text: &str) -> Option<NextHop> {
    let mut parts = text.strip_prefix("sip:")?.split(';');
    let (host, port) = split_host_port(parts.next()?)?;
    let mut protocol = Protocol::Udp;
    for parameter in parts {
        if let Some(value) = parameter.strip_prefix("transport=") {
            protocol = value.to_ascii_lowercase().parse().ok()?;
        } else if parameter != "lr" {
            return None;
        }
    }
    let named = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte));
    (named && !host.is_empty()).then(|| NextHop {
        uri: text.to_owned(),
        host: host.to_owned(),
        port,
        protocol,
    })
}

/// Splits `host`, `host:port`, `[v6]` and `[v6]:port`.
fn split_host_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    match rest.strip_prefix(':') {
        Some(port) => Some((host, Some(port.parse().ok().filter(|&port| port != 0)?))),
        None => rest.is_empty().then_some((host, None)),
    }
}

/// Whom the relay serves in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Who begins the session.
    Originating,
    /// Who is called.
    Terminating,
}

/// When a BYE is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ByeAck {
    /// When the far end has answered the BYE sent on, or the deadline has passed.
    AfterFarEnd,
    /// At once.
    Immediate,
    /// Once the session's history is stored.
    ImmediateAfterStore,
}

/// What becomes of an INVITE without an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LateOffer {
    /// It is refused.
    Refuse,
    /// It is sent on; the relay stays out of the media path.
    Relay,
}

/// A kind of stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamKind {
    /// `m=audio`.
    Audio,
    /// `m=video`.
    Video,
    /// `m=message`.
    Message,
    /// `m=application`.
    Application,
    /// Every other one.
    Other,
}

/// Who picks the devices of an invited user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fork {
    /// The SIP/IP core.
    Core,
    /// The relay.
    Pf,
}

/// What a failure that interworking could mend leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It goes back to the originator.
    Error,
    /// The invitation goes on to be interworked.
    Interwork,
}

/// What ends when one of several Interworking Functions ends its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IwfClose {
    /// The streams that it had.
    Streams,
    /// The session.
    Session,
}

/// Which of the disposition notifications of a recipient's devices go to the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImdnDevices {
    /// The first of each kind.
    First,
    /// The first that says something good; else the first, after a while.
    Priority,
    /// All.
    All,
}

/// What becomes of a request that nobody has asserted an identity for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoIdentity {
    /// Its From counts.
    From,
    /// It is refused.
    Refuse,
}

/// How workers talk to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// io_uring where it can be used, else epoll.
    #[default]
    Auto,
    /// io_uring.
    Uring,
    /// epoll.
    Epoll,
}

impl fmt::Display for Backend {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        })
    }
}

/// What becomes of a session with a silent stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SilenceAction {
    /// It goes on; the silence is logged.
    None,
    /// It is released.
    Release,
}

/// Whether a far end's RTP address may be learnt from what it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Learn {
    /// Once, from its first valid packet.
    Once,
    /// Never: only the address in the SDP.
    Never,
}

/// What becomes of a stream whose both ends speak CEMA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cema {
    /// Its bytes pass unchanged (RFC 6714).
    #[default]
    PassThrough,
    /// The relay is an MSRP endpoint on each side all the same.
    BackToBack,
}

/// What carries MSRP towards a far end that is offered a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Toward {
    /// TCP or TLS, as secure as it was offered to the relay.
    #[default]
    Same,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// A WebSocket.
    Ws,
    /// A WebSocket over TLS.
    Wss,
}

/// Reads a first port; -1 is none.
pub(super) fn port_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u16>, D::Error> {
    match i32::deserialize(from)? {
        -1 => Ok(None),
        port => u16::try_from(port).map(Some).map_err(|_| {
            let came = Unexpected::Signed(i64::from(port));
            D::Error::invalid_value(
                came,
                &"a port, 0 for one that the kernel picks, or -1 for none",
            )
        }),
    }
}

/// Reads a setting that may be left out.
pub(super) fn given<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(from).map(Some)
}

pub(super) fn millis<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    u32::deserialize(from).map(|count| Duration::from_millis(u64::from(count)))
}

pub(super) fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    u32::deserialize(from).map(|count| Duration::from_secs(u64::from(count)))
}

pub(super) fn seconds_or_never<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Duration>, D::Error> {
    seconds(from).map(|duration| (!duration.is_zero()).then_some(duration))
}

pub(super) fn days_or_never<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Duration>, D::Error> {
    u16::deserialize(from)
        .map(|days| (days != 0).then(|| Duration::from_secs(u64::from(days) * 86_400)))
}

/// Reads a core's number; -1 is none.
pub(super) fn core<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
    match i32::deserialize(from)? {
        -1 => Ok(None),
        core => usize::try_from(core).map(Some).map_err(|_| {
            let came = Unexpected::Signed(i64::from(core));
            D::Error::invalid_value(came, &"a core's number, or -1 for none")
        }),
    }
}

/// Reads a text; an empty one is none.
pub(super) fn unless_empty<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: fmt::Display,
{
    let text = String::deserialize(from)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(D::Error::custom)
}
