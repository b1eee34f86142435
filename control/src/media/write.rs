//! What the relay changes in a description: addresses, ports, paths, roles; nothing else.

use std::net::{IpAddr, SocketAddr};

use dataplane::api::{LegLocal, MsrpLocal, MsrpTransport, Side};

use super::far::Setup;
use super::msrp;
use super::stream::{Make, Stream, bound};
use super::trunk::Terms;
use crate::sdp::{Flow, Kind, MediaDescription, Sdp};

/// What a line is part of.
#[derive(Debug)]
pub(super) enum Role<'a> {
    /// The offer for the far side.
    Offer {
        /// The direction to write where the source says it in another way.
        flow: Option<Flow>,
    },
    /// The answer for the side that offered.
    Answer {
        /// The line that is answered.
        offered: &'a MediaDescription,
        /// The relay's own `a=setup`, if any.
        setup: Option<Setup>,
        /// See [`Role::Offer`].
        flow: Option<Flow>,
    },
}

impl Role<'_> {
    fn flow(&self) -> Option<Flow> {
        match self {
            Self::Offer { flow } | Self::Answer { flow, .. } => *flow,
        }
    }
}

/// A line in use as a side is to see it; `None` while its port isn't bound.
pub(super) fn line(
    source: &MediaDescription,
    stream: &Stream,
    to: Side,
    role: &Role<'_>,
    terms: &Terms,
) -> Option<MediaDescription> {
    let local = stream.local(to);
    let address = bound(local)?;
    let mut line = source.clone();
    line.set_port(address.port());
    line.lines_mut()
        .retain_attributes(|name, _| !names_a_way_around(name));
    if let Some(flow) = role.flow() {
        line.set_flow(flow);
    }
    if line.kind() == Kind::Message {
        write_max_size(&mut line, terms.trunk(to).bounds.message_octets);
    }
    match (local, stream.make) {
        (LegLocal::Rtp { rtp, rtcp }, _) => write_rtcp(&mut line, *rtp, *rtcp, role),
        (LegLocal::Msrp(local), Make::Msrp(transports)) => {
            let transport = transports[to.index()];
            write_msrp(&mut line, local, transport, terms)?;
            write_proto(&mut line, transport, role);
            write_cema(&mut line, stream.cema[to.index()], role);
            write_roles(&mut line, role, msrp::is_web(transport));
        }
        // TLS's client is who connects: the two ends settle it between themselves.
        (LegLocal::Bytes { .. }, Make::Bytes { tls: true }) => {}
        (LegLocal::Bytes { .. }, _) => write_roles(&mut line, role, false),
        (LegLocal::Unbound | LegLocal::Msrp(_) | LegLocal::Bfcp { .. }, _) => return None,
    }
    Some(line)
}

/// Whether an attribute names addresses past the relay, or bundles streams onto one port, or
/// would filter the relay's packets out: ICE (RFC 8839), BUNDLE (RFC 8843), source filters
/// (RFC 4570), alternative connections (RFC 6947, RFC 7006).
fn names_a_way_around(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "candidate",
        "remote-candidates",
        "end-of-candidates",
        "bundle-only",
        "source-filter",
        "altc",
        "ccap",
        "ice2",
    ];
    let is_ice = name
        .get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case("ice-"));
    is_ice || NAMES.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// `a=rtcp` (RFC 3605) and `a=rtcp-mux` (RFC 5761).
fn write_rtcp(line: &mut MediaDescription, rtp: SocketAddr, rtcp: SocketAddr, role: &Role<'_>) {
    let is_muxed = match role {
        Role::Offer { .. } => false,
        Role::Answer { offered, .. } => {
            let agreed = offered.has("rtcp-mux") && line.has("rtcp-mux");
            if !agreed {
                line.lines_mut().retain_attributes(|name, _| {
                    !name.eq_ignore_ascii_case("rtcp-mux")
                        && !name.eq_ignore_ascii_case("rtcp-mux-only")
                });
            }
            agreed
        }
    };
    let rtcp = if is_muxed { rtp } else { rtcp };
    let is_next = rtp.port().checked_add(1) == Some(rtcp.port());
    if !line.has("rtcp") {
        if !is_next && !is_muxed {
            let port = rtcp.port().to_string();
            line.lines_mut().set_attribute("rtcp", Some(&port));
        }
        return;
    }
    let written = line.attribute("rtcp").unwrap_or_default();
    let has_address = written.split_ascii_whitespace().nth(1).is_some();
    let value = if has_address {
        let family = if rtcp.is_ipv6() { "IP6" } else { "IP4" };
        format!("{} IN {family} {}", rtcp.port(), rtcp.ip())
    } else {
        rtcp.port().to_string()
    };
    line.lines_mut().set_attribute("rtcp", Some(&value));
}

/// The largest message that a side may send (RFC 4975 §8.6): what the other one takes, and no more
/// than the relay itself lets it; 0: it lets it send any.
fn write_max_size(line: &mut MediaDescription, most: u64) {
    let said = line.attribute("max-size");
    let said = said.and_then(|value| value.trim().parse::<u64>().ok());
    if most > 0 && said.is_none_or(|said| said > most) {
        let value = most.to_string();
        line.lines_mut().set_attribute("max-size", Some(&value));
    }
}

/// The leg's own path (RFC 4975 §8.1) and certificate (RFC 8122).
fn write_msrp(
    line: &mut MediaDescription,
    local: &MsrpLocal,
    transport: MsrpTransport,
    terms: &Terms,
) -> Option<()> {
    let path = msrp::own_path(local, transport)?;
    let lines = line.lines_mut();
    lines.set_attribute("path", Some(&path));
    lines.retain_attributes(|name, _| !name.eq_ignore_ascii_case("tls-id"));
    if transport.is_secure() {
        let own = terms.settings.msrp.fingerprint.as_ref()?;
        let value = msrp::fingerprint_value(own);
        lines.set_attribute("fingerprint", Some(&value));
    } else {
        lines.retain_attributes(|name, _| !name.eq_ignore_ascii_case("fingerprint"));
    }
    Some(())
}

/// What carries the leg, as its client wrote it (RFC 3264 §6).
fn write_proto(line: &mut MediaDescription, transport: MsrpTransport, role: &Role<'_>) {
    match role {
        Role::Answer { offered, .. } => line.set_proto_of(offered),
        Role::Offer { .. } => line.set_msrp(transport.is_secure()),
    }
}

/// `a=msrp-cema` on a leg whose path names the address of c= and m= (RFC 6714): in answer to one,
/// and in offers to a side that speaks it, or that may.
fn write_cema(line: &mut MediaDescription, speaks: Option<bool>, role: &Role<'_>) {
    let has = match role {
        Role::Answer { offered, .. } => offered.has("msrp-cema"),
        Role::Offer { .. } => speaks.unwrap_or_else(|| line.has("msrp-cema")),
    };
    let lines = line.lines_mut();
    if has {
        lines.set_attribute("msrp-cema", None);
    } else {
        lines.retain_attributes(|name, _| !name.eq_ignore_ascii_case("msrp-cema"));
    }
}

/// `a=setup` and `a=connection` (RFC 4145, RFC 6135).
fn write_roles(line: &mut MediaDescription, role: &Role<'_>, is_web: bool) {
    let setup = match role {
        Role::Offer { .. } if is_web => Some(Setup::Passive),
        Role::Offer { .. } => Some(Setup::Actpass),
        Role::Answer { offered, setup, .. } => {
            write_connection(line, offered);
            *setup
        }
    };
    let lines = line.lines_mut();
    match setup {
        Some(setup) => lines.set_attribute("setup", Some(setup.name())),
        None => lines.retain_attributes(|name, _| !name.eq_ignore_ascii_case("setup")),
    }
}

/// An answer has `a=connection` where the offer has it, and `new` answers `new` (RFC 4145 §5).
fn write_connection(line: &mut MediaDescription, offered: &MediaDescription) {
    let lines = line.lines_mut();
    match offered.attribute("connection") {
        None => lines.retain_attributes(|name, _| !name.eq_ignore_ascii_case("connection")),
        Some(value) if value.trim().eq_ignore_ascii_case("new") => {
            lines.set_attribute("connection", Some("new"));
        }
        Some(_) => {}
    }
}

/// Every c-line: the relay's address towards that side, written where one was or must be.
pub(super) fn addresses(sdp: &mut Sdp, address: IpAddr, ips: &[Option<IpAddr>]) {
    let has_session = sdp.session().connection().is_some();
    if has_session {
        sdp.session_mut().set_connection(address);
    }
    for (index, line) in sdp.media_mut().iter_mut().enumerate() {
        let ip = ips.get(index).copied().flatten().unwrap_or(address);
        if !has_session || ip != address || line.lines().connection().is_some() {
            line.set_connection(ip);
        }
    }
}

/// The session's attributes that the relay can't stand by.
pub(super) fn session(sdp: &mut Sdp) {
    sdp.session_mut().retain_attributes(|name, value| {
        let is_group = name.eq_ignore_ascii_case("group");
        let is_bundle = is_group
            && value
                .split_ascii_whitespace()
                .next()
                .is_some_and(|semantics| semantics.eq_ignore_ascii_case("BUNDLE"));
        !is_bundle && !names_a_way_around(name)
    });
}
