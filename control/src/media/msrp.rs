//! What SDP says of MSRP: paths (RFC 4975 §6, §8), what carries them, fingerprints (RFC 8122).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use dataplane::api::{Chunking, Fingerprint, MsrpLocal, MsrpTransport};

use super::far::{self, Why};
use crate::sdp::{MediaDescription, Proto, Sdp};

/// The parts of an MSRP URI that a relay needs (RFC 4975 §6).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hop<'a> {
    pub(super) transport: MsrpTransport,
    pub(super) host: &'a str,
    pub(super) port: u16,
}

impl Hop<'_> {
    /// Its host, where that is an IP address.
    fn ip(&self) -> Option<IpAddr> {
        match self.host.strip_prefix('[') {
            Some(rest) => {
                let ip = rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?;
                Some(IpAddr::V6(ip))
            }
            None => self.host.parse().ok(),
        }
    }
}

/// A line's whole path and its first hop, which must be as secure as its m-line says.
pub(super) fn path(line: &MediaDescription) -> Result<(&str, Hop<'_>), Why> {
    let path = line.attribute("path").ok_or(Why::Path)?.trim();
    let tls = matches!(line.proto(), Proto::Msrp { tls: true });
    let hop = first_hop(path).filter(|hop| hop.transport.is_secure() == tls);
    Ok((path, hop.ok_or(Why::Path)?))
}

/// The first URI of a path, which is the one to connect to; `None` unless every URI is sound.
fn first_hop(path: &str) -> Option<Hop<'_>> {
    let mut hops = path.split(' ').map(hop);
    let first = hops.next()??;
    hops.all(|hop| hop.is_some()).then_some(first)
}

/// Reads `msrp[s]://[userinfo@]host:port/session-id;tcp[;...]`, or `;ws` (RFC 7977 §5); SDP needs
/// the port (§6).
fn hop(uri: &str) -> Option<Hop<'_>> {
    let (scheme, rest) = uri.split_once("://")?;
    let tls = scheme.eq_ignore_ascii_case("msrps");
    if !tls && !scheme.eq_ignore_ascii_case("msrp") {
        return None;
    }
    let (authority, session) = rest.split_once('/')?;
    let (session_id, transport) = session.split_once(';')?;
    let transport = transport.split(';').next()?;
    let transport = MsrpTransport::ALL.into_iter().find(|known| {
        known.is_secure() == tls && known.parameter().eq_ignore_ascii_case(transport)
    })?;
    let address = authority.rsplit('@').next()?;
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let sound = !host.is_empty()
        && !session_id.is_empty()
        && uri.bytes().all(|byte| byte.is_ascii_graphic());
    sound.then_some(Hop {
        transport,
        host,
        port,
    })
}

/// Where to connect to: what c= and m= say where the far end knows CEMA (RFC 6714 §4), else its
/// path's first hop; the other one of both where that is no address.
pub(super) fn address(
    sdp: &Sdp,
    line: &MediaDescription,
    hop: &Hop<'_>,
    is_v6: bool,
) -> Option<SocketAddr> {
    let of_line = far::tcp_address(sdp, line, is_v6).filter(|address| address.port() != 0);
    let of_path = hop
        .ip()
        .filter(|ip| ip.is_ipv6() == is_v6)
        .map(|ip| SocketAddr::new(ip, hop.port));
    if line.has("msrp-cema") {
        of_line.or(of_path)
    } else {
        of_path.or(of_line)
    }
}

/// The certificate that a far end says it has: its first SHA-256 fingerprint. One that only names
/// other hashes can't be checked, so it is refused; `None` where it names nothing at all.
pub(super) fn fingerprint(sdp: &Sdp, line: &MediaDescription) -> Result<Option<Fingerprint>, Why> {
    let of_line = line.lines().has("fingerprint");
    let lines = if of_line { line.lines() } else { sdp.session() };
    if !lines.has("fingerprint") {
        return Ok(None);
    }
    let mut read = lines.attributes("fingerprint").filter_map(read_fingerprint);
    read.next().map(Some).ok_or(Why::Fingerprint)
}

/// Reads `SHA-256 AB:CD:...`; its letters may be small (RFC 8122 §5).
fn read_fingerprint(value: &str) -> Option<Fingerprint> {
    let mut words = value.split_ascii_whitespace();
    let hash = words.next()?;
    let hex = words.next().filter(|_| words.next().is_none())?;
    if !hash.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let mut octets = hex.split(':').map(|octet| {
        let is_hex = octet.len() == 2 && octet.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u8::from_str_radix(octet, 16).ok())?
    });
    let mut fingerprint = [0; 32];
    for place in &mut fingerprint {
        *place = octets.next()??;
    }
    octets.next().is_none().then_some(fingerprint)
}

/// The value of `a=fingerprint` for a certificate.
#[must_use]
pub fn fingerprint_value(fingerprint: &Fingerprint) -> String {
    let octets: Vec<String> = fingerprint
        .iter()
        .map(|octet| format!("{octet:02X}"))
        .collect();
    format!("SHA-256 {}", octets.join(":"))
}

/// The URI of a leg of the relay's own.
pub(super) fn own_path(local: &MsrpLocal, transport: MsrpTransport) -> Option<String> {
    let session_id = std::str::from_utf8(&local.session_id).ok()?;
    let (scheme, parameter) = (transport.scheme(), transport.parameter());
    Some(format!(
        "{scheme}://{}/{session_id};{parameter}",
        local.listen
    ))
}

/// Whether a leg's frames travel in WebSocket messages, whose clients make every connection.
pub(super) fn is_web(transport: MsrpTransport) -> bool {
    matches!(transport, MsrpTransport::Ws | MsrpTransport::Wss)
}

/// How chunks to a leg are cut: a WebSocket message is read as a whole, so its size has a bound.
pub(super) fn chunking(transport: MsrpTransport, wanted: Chunking) -> Chunking {
    match wanted {
        Chunking::AsTheyCome if is_web(transport) => Chunking::AtMost {
            octets: WEB_CHUNK_BYTES,
            exact: false,
        },
        Chunking::AtMost { octets, exact } if is_web(transport) => Chunking::AtMost {
            octets: octets.min(WEB_CHUNK_BYTES),
            exact,
        },
        wanted => wanted,
    }
}

/// Octets of body in one WebSocket message that the relay sends.
const WEB_CHUNK_BYTES: u32 = 8 * 1024;
