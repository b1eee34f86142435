//! Where a request goes next: its Route set, else the configured next hop, else its Request-URI.

use std::net::{IpAddr, SocketAddr};

use crate::sip::uri::Scheme;
use crate::sip::{Message, Name, NameAddr, Protocol, StartLine, Text, Uri};

/// A next hop, before its host is an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// A host name or an address, as the URI has it, without brackets.
    pub host: String,
    /// The port; 5060 where the URI names none.
    pub port: u16,
    /// The transport; UDP where the URI names none (RFC 3263 §4.1 without NAPTR).
    pub protocol: Protocol,
}

/// Why a URI can't be a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoHop {
    /// Its scheme isn't routable here (`tel:`, `wv:`, ...): 416.
    Scheme,
    /// It asks for TLS, which isn't spoken here, or for an unknown transport: 503.
    Transport,
    /// It isn't a URI: 400.
    Malformed,
}

impl Hop {
    /// Reads the next hop that a URI names.
    ///
    /// # Errors
    ///
    /// [`NoHop`].
    pub fn of(uri: &str) -> Result<Self, NoHop> {
        let uri = Uri::parse(uri).map_err(|_| NoHop::Malformed)?;
        match uri.scheme {
            Scheme::Sip => {}
            Scheme::Sips => return Err(NoHop::Transport),
            Scheme::Tel | Scheme::Other => return Err(NoHop::Scheme),
        }
        let protocol = match uri.get_param("transport") {
            None => Protocol::Udp,
            Some(name) if name.eq_ignore_ascii_case("udp") => Protocol::Udp,
            Some(name) if name.eq_ignore_ascii_case("tcp") => Protocol::Tcp,
            Some(_) => return Err(NoHop::Transport),
        };
        // RFC 3261 §16.6: maddr overrides the host.
        let host = uri.get_param("maddr").unwrap_or(uri.host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(NoHop::Malformed);
        }
        Ok(Self {
            host: host.to_owned(),
            port: uri.port.unwrap_or(5060),
            protocol,
        })
    }

    /// The hop's socket address, if its host is a literal address.
    #[must_use]
    pub fn literal(&self) -> Option<SocketAddr> {
        self.host
            .parse::<IpAddr>()
            .ok()
            .map(|ip| SocketAddr::new(ip, self.port))
    }
}

/// The next hop of a request outside a dialog, after the relay's own Route was taken off.
///
/// # Errors
///
/// [`NoHop`].
pub fn next_hop(request: &Message, configured: Option<&Hop>) -> Result<Hop, NoHop> {
    if let Some(route) = request.headers.values(Name::Route).next() {
        let route = NameAddr::parse(route).map_err(|_| NoHop::Malformed)?;
        return Hop::of(route.uri);
    }
    if let Some(hop) = configured {
        return Ok(hop.clone());
    }
    Hop::of(request.request_uri().unwrap_or_default())
}

/// Whether a URI names one of our listening addresses.
#[must_use]
pub fn is_own(uri: &str, own: &[(Protocol, SocketAddr)]) -> bool {
    let Ok(hop) = Hop::of(uri) else { return false };
    let Some(address) = hop.literal() else {
        return false;
    };
    own.iter().any(|(_, listen)| *listen == address)
}

/// A strict router before us (RFC 2543) has put our Record-Route entry into the Request-URI and
/// the far end's address at the end of the Route set: puts both back (RFC 3261 §16.4).
pub fn undo_strict_router(request: &mut Message, own: &[(Protocol, SocketAddr)]) {
    let uri = request.request_uri().unwrap_or_default();
    let is_entry = is_own(uri, own) && Uri::parse(uri).is_ok_and(|uri| uri.has_param("lr"));
    if !is_entry {
        return;
    }
    let entry = Text::from(format!("<{uri}>"));
    let mut routes: Vec<Text> = request
        .headers
        .values(Name::Route)
        .map(|route| Text::from(route.to_owned()))
        .collect();
    let Some(last) = routes.pop() else { return };
    let Ok(target) = NameAddr::parse(&last) else {
        return;
    };
    set_uri(request, Text::from(target.uri.to_owned()));
    request.headers.remove(Name::Route);
    for route in std::iter::once(entry).chain(routes) {
        request.headers.push(Name::Route, route);
    }
}

/// Where the next hop is a strict router, gives it the form it understands: its own address as
/// Request-URI, ours at the end of the Route set (RFC 3261 §16.6 item 6).
pub fn serve_strict_router(request: &mut Message) {
    let Some(first) = request.headers.values(Name::Route).next() else {
        return;
    };
    let Ok(route) = NameAddr::parse(first) else {
        return;
    };
    if Uri::parse(route.uri).is_ok_and(|uri| uri.has_param("lr")) {
        return;
    }
    let router = Text::from(route.uri.to_owned());
    let target = format!("<{}>", request.request_uri().unwrap_or_default());
    request.headers.remove_first_value(Name::Route);
    request.headers.push(Name::Route, target);
    set_uri(request, router);
}

fn set_uri(request: &mut Message, to: Text) {
    if let StartLine::Request { uri, .. } = &mut request.start {
        *uri = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_its_hop() {
        let hop = Hop::of("sip:bob@[::1]:5070;transport=TCP;lr").unwrap();
        assert_eq!(hop.literal(), Some("[::1]:5070".parse().unwrap()));
        assert_eq!(hop.protocol, Protocol::Tcp);
        assert_eq!(Hop::of("tel:+1555"), Err(NoHop::Scheme));
        assert_eq!(Hop::of("sips:a@127.0.0.1"), Err(NoHop::Transport));
        assert_eq!(Hop::of("sip:a@core.example").unwrap().literal(), None);
    }
}
