//! The Via header field (RFC 3261 §20.42, RFC 3581).

use std::net::IpAddr;

use super::parse::ParseError;
use super::uri::{Params, host_port};
use super::{Name, Protocol};

/// The start of a branch that is unique by RFC 3261 §8.1.1.7.
pub const MAGIC_COOKIE: &str = "z9hG4bK";

/// One Via value taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// The transport as written: `UDP`, `TCP`, ...
    pub transport: &'a str,
    /// The host of sent-by, an IPv6 address without brackets.
    pub host: &'a str,
    /// The port of sent-by.
    pub port: Option<u16>,
    /// branch, rport, received, ...
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    /// Takes one value of a Via line apart.
    ///
    /// # Errors
    /// [`ParseError::Malformed`] where it breaks the grammar.
    pub fn parse(value: &'a str) -> Result<Self, ParseError> {
        Self::read(value).ok_or(ParseError::Malformed(Name::Via))
    }

    fn read(value: &'a str) -> Option<Self> {
        let (name, rest) = value.split_once('/')?;
        let (version, rest) = rest.split_once('/')?;
        if !name.trim().eq_ignore_ascii_case("SIP") || version.trim().is_empty() {
            return None;
        }
        let rest = rest.trim_start();
        let (transport, rest) = rest.split_once([' ', '\t'])?;
        if transport.is_empty() {
            return None;
        }
        let (sent_by, params) = rest.split_once(';').unwrap_or((rest, ""));
        let (host, port) = host_port(sent_by)?;
        if params.contains(',') && !params.contains('"') {
            return None;
        }
        Some(Self {
            transport,
            host,
            port,
            params: Params(params),
        })
    }

    /// The branch; nothing if it is empty.
    #[must_use]
    pub fn branch(&self) -> Option<&'a str> {
        self.params
            .get("branch")
            .filter(|branch| !branch.is_empty())
    }

    /// The branch if it names the transaction by itself: the magic cookie and more.
    #[must_use]
    pub fn unique_branch(&self) -> Option<&'a str> {
        self.branch().filter(|branch| {
            let cookie = branch.get(..MAGIC_COOKIE.len());
            branch.len() > MAGIC_COOKIE.len()
                && cookie.is_some_and(|cookie| cookie.eq_ignore_ascii_case(MAGIC_COOKIE))
        })
    }

    /// The host of sent-by as an address, if it is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// A Via value with `received` and `rport` filled in (RFC 3261 §18.2.1, RFC 3581 §4); nothing
/// if it is right as it is.
pub(super) fn with_source(value: &str, source: std::net::SocketAddr) -> Option<String> {
    let via = Via::parse(value).ok()?;
    let rport = via.params.get("rport");
    let same_host = via.address() == Some(source.ip());
    let has_received = via.params.get("received").is_some();
    if rport.is_none() && same_host && !has_received {
        return None;
    }
    let end = value.len().saturating_sub(via.params.as_str().len());
    let mut out = value.get(..end)?.trim_end_matches([';', ' ']).to_owned();
    for item in via.params.items() {
        // Only the server that receives the request says where it came from.
        let name = item.split('=').next().unwrap_or("").trim();
        if !name.eq_ignore_ascii_case("rport") && !name.eq_ignore_ascii_case("received") {
            out.push(';');
            out.push_str(item);
        }
    }
    out.push_str(";received=");
    out.push_str(&source.ip().to_string());
    if rport.is_some() {
        out.push_str(";rport=");
        out.push_str(&source.port().to_string());
    }
    Some(out)
}

/// Our own Via value.
pub(super) fn own(protocol: Protocol, sent_by: std::net::SocketAddr, branch: &str) -> String {
    let transport = match protocol {
        Protocol::Udp => "UDP",
        Protocol::Tcp => "TCP",
    };
    format!("SIP/2.0/{transport} {sent_by};branch={branch};rport")
}

#[cfg(test)]
mod tests {
    use super::{Via, with_source};

    #[test]
    fn white_space_is_allowed_where_the_grammar_does() {
        let via =
            Via::parse("SIP  / 2.0  / TCP     spindle.example.com   ; branch  =   z9hG4bK9ikj8");
        let via = via.unwrap();
        assert_eq!(
            (via.transport, via.host, via.port),
            ("TCP", "spindle.example.com", None)
        );
        assert_eq!(via.branch(), Some("z9hG4bK9ikj8"));
        assert!(Via::parse("SIP/2.0/UDP 192.0.2.15;;,;,,").is_err());
        assert!(Via::parse("SIP/2.0/UDP").is_err());
    }

    #[test]
    fn the_magic_cookie_alone_is_no_unique_branch() {
        assert_eq!(
            Via::parse("SIP/2.0/UDP h;branch=z9hG4bK")
                .unwrap()
                .unique_branch(),
            None
        );
        let via = Via::parse("SIP/2.0/UDP h;branch=Z9hg4bKx").unwrap();
        assert_eq!(via.unique_branch(), Some("Z9hg4bKx"));
    }

    #[test]
    fn the_source_is_written_where_it_is_wanted() {
        let source = "192.0.2.7:4711".parse().unwrap();
        assert_eq!(
            with_source("SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKa", source),
            None
        );
        assert_eq!(
            with_source(
                "SIP/2.0/UDP h ;rport;branch=z9hG4bKa;received=9.9.9.9",
                source
            )
            .unwrap(),
            "SIP/2.0/UDP h;branch=z9hG4bKa;received=192.0.2.7;rport=4711"
        );
    }
}
