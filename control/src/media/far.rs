//! What a side's SDP says about its end of a stream.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dataplane::api::{MsrpSetup, RtpRemote};

use super::Refused;
use crate::sdp::{Flow, MediaDescription, Sdp};

/// Why a stream isn't relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The policy bars its kind.
    Barred,
    /// Its transport protocol, or that protocol's use, isn't relayed.
    Transport,
    /// Its address isn't an IP address of a family that is relayed.
    Address,
    /// Its address is a group's.
    Multicast,
    /// Its `a=path` isn't there or isn't an MSRP path.
    Path,
    /// It was offered with CEMA and answered without (RFC 6714), where no other way is left.
    NoCema,
    /// It is to be over TLS, and its `a=fingerprint` is missing or of no use (RFC 8122).
    Fingerprint,
    /// The session has as many streams as it may have.
    TooMany,
}

impl Why {
    /// The refusal, should the whole description fail by it.
    pub(super) fn refused(self) -> Refused {
        let (code, text) = match self {
            Self::Barred => (304, "Media type not available"),
            Self::Transport => (302, "Incompatible transport protocol"),
            Self::Address => (301, "Incompatible network address formats"),
            Self::Multicast => (330, "Multicast not available"),
            Self::Path => (399, "MSRP path missing or malformed"),
            Self::NoCema => (399, "MSRP answer lacks msrp-cema"),
            Self::Fingerprint => (399, "No SHA-256 fingerprint for MSRP over TLS"),
            Self::TooMany => (399, "Too many streams"),
        };
        Refused::not_acceptable(code, text)
    }
}

/// The address that media for a line goes to; unspecified for the old way of holding.
pub(super) fn media_ip(sdp: &Sdp, line: &MediaDescription) -> Result<IpAddr, Why> {
    let ip = sdp.connection(line).and_then(|connection| connection.ip);
    match ip {
        None => Err(Why::Address),
        Some(ip) if ip.is_multicast() => Err(Why::Multicast),
        Some(ip) => Ok(ip),
    }
}

/// Where RTP and RTCP go (RFC 3605; RFC 5761 with `mux`).
pub(super) fn rtp_remote(sdp: &Sdp, line: &MediaDescription, mux: bool) -> Result<RtpRemote, Why> {
    let rtp = SocketAddr::new(media_ip(sdp, line)?, line.port());
    let rtcp = if mux {
        rtp
    } else {
        line.attribute("rtcp")
            .and_then(|value| rtcp_address(value, rtp.ip()))
            .unwrap_or_else(|| SocketAddr::new(rtp.ip(), rtp.port().saturating_add(1)))
    };
    Ok(RtpRemote { rtp, rtcp })
}

/// `<port> [IN IP4|IP6 <address>]`; `None` where it can't be used.
fn rtcp_address(value: &str, default: IpAddr) -> Option<SocketAddr> {
    let mut words = value.split_ascii_whitespace();
    let port = words.next()?.parse().ok().filter(|port| *port != 0)?;
    let ip = match words.nth(2) {
        Some(word) => word.parse().ok()?,
        None => default,
    };
    // One socket can't reach another family.
    let is_usable = ip.is_ipv6() == default.is_ipv6() && !ip.is_multicast() && !ip.is_unspecified();
    is_usable.then(|| SocketAddr::new(ip, port))
}

/// The direction of a line; the old `c=IN IP4 0.0.0.0` wants to receive nothing (RFC 3264 §8.4).
pub(super) fn flow(sdp: &Sdp, line: &MediaDescription, holds: bool) -> Flow {
    let flow = sdp.flow(line);
    Flow {
        receives: flow.receives && !holds,
        ..flow
    }
}

/// Whether an RTP line is held in the old way.
pub(super) fn holds(sdp: &Sdp, line: &MediaDescription) -> bool {
    media_ip(sdp, line).is_ok_and(|ip| ip.is_unspecified())
}

/// Where to connect to by c= and m=, if that is an address of a family.
pub(super) fn tcp_address(sdp: &Sdp, line: &MediaDescription, is_v6: bool) -> Option<SocketAddr> {
    let ip = media_ip(sdp, line)
        .ok()
        .filter(|ip| ip.is_ipv6() == is_v6)?;
    Some(SocketAddr::new(ip, line.port()))
}

/// The address of a far end that is only waited for.
pub(super) fn nowhere(is_v6: bool) -> SocketAddr {
    let ip = if is_v6 {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    };
    SocketAddr::new(ip, 0)
}

/// The value of `a=setup` (RFC 4145 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setup {
    Active,
    Passive,
    Actpass,
    Holdconn,
}

impl Setup {
    /// What holds for a line; `None` where nothing or nonsense is written.
    pub(super) fn of(sdp: &Sdp, line: &MediaDescription) -> Option<Self> {
        let value = sdp.attribute(line, "setup")?;
        [Self::Active, Self::Passive, Self::Actpass, Self::Holdconn]
            .into_iter()
            .find(|setup| setup.name().eq_ignore_ascii_case(value.trim()))
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::Actpass => "actpass",
            Self::Holdconn => "holdconn",
        }
    }

    /// What the relay answers to an offer; nothing where the offerer doesn't know `a=setup` and
    /// so connects (RFC 4975 §5.4).
    pub(super) fn answer_to(offered: Option<Self>) -> Option<Self> {
        match offered {
            None => None,
            Some(Self::Active | Self::Actpass) => Some(Self::Passive),
            Some(Self::Passive) => Some(Self::Active),
            Some(Self::Holdconn) => Some(Self::Holdconn),
        }
    }
}

/// Who connects a leg whose client offered, when the relay answers for itself.
pub(super) fn relay_answers(offered: Option<Setup>) -> MsrpSetup {
    match offered {
        Some(Setup::Passive) => MsrpSetup::Active,
        None | Some(Setup::Active | Setup::Actpass | Setup::Holdconn) => MsrpSetup::Passive,
    }
}

/// Who connects a leg whose client answered the relay's offer. A client that doesn't know
/// `a=setup` waits for the offerer, which is the relay (RFC 4975 §5.4).
pub(super) fn relay_offered(answered: Option<Setup>) -> MsrpSetup {
    match answered {
        Some(Setup::Active | Setup::Holdconn) => MsrpSetup::Passive,
        None | Some(Setup::Passive | Setup::Actpass) => MsrpSetup::Active,
    }
}
