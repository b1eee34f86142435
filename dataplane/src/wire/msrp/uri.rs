//! MSRP URIs and when two of them are the same (RFC 4975 §6, §6.1).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str;

/// An MSRP URI in parts: `msrp://userinfo@host:port/session-id;transport;parameters`.
#[derive(Debug, Clone, Copy)]
pub struct Uri<'a> {
    /// Whether the scheme is `msrps`.
    pub secure: bool,
    /// The host as it is written; IPv6 in brackets.
    pub host: &'a [u8],
    /// The port, if one is written.
    pub port: Option<u16>,
    /// The session-id; empty if there is none.
    pub session_id: &'a [u8],
    /// The transport, `tcp` or another.
    pub transport: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Reads a URI; `None` where the grammar doesn't allow it.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let (scheme, rest) = split_at_sequence(text, b"://")?;
        let secure = match scheme {
            s if s.eq_ignore_ascii_case(b"msrp") => false,
            s if s.eq_ignore_ascii_case(b"msrps") => true,
            _ => return None,
        };
        // The transport is mandatory, and no authority or session-id holds a `;` unescaped but a
        // userinfo may; the authority ends at the first `/`, where there is one.
        let (authority, session_id, parameters) = match split_at_byte(rest, b'/') {
            Some((authority, path)) => {
                let (session_id, parameters) = split_at_byte(path, b';')?;
                if !is_session_id(session_id) {
                    return None;
                }
                (authority, session_id, parameters)
            }
            None => {
                let (authority, parameters) = split_at_byte(rest, b';')?;
                (authority, &b""[..], parameters)
            }
        };
        let host_and_port = match memchr::memrchr(b'@', authority) {
            Some(at) => authority.get(at.checked_add(1)?..)?,
            None => authority,
        };
        let (host, port) = split_port(host_and_port)?;
        let transport = parameters.split(|byte| *byte == b';').next()?;
        if !is_host(host)
            || transport.is_empty()
            || !transport.iter().all(u8::is_ascii_alphanumeric)
        {
            return None;
        }
        Some(Self {
            secure,
            host,
            port,
            session_id,
            transport,
        })
    }

    /// Whether two URIs name the same thing (RFC 4975 §6.1).
    ///
    /// Scheme, host and transport are compared without case, addresses as addresses, the
    /// session-id with case; a port that is written differs from one that is not; userinfo and
    /// further parameters don't count.
    #[must_use]
    pub fn matches(&self, other: &Uri<'_>) -> bool {
        self.session_id == other.session_id
            && self.port == other.port
            && self.secure == other.secure
            && self.transport.eq_ignore_ascii_case(other.transport)
            && same_host(self.host, other.host)
    }
}

fn same_host(one: &[u8], other: &[u8]) -> bool {
    if one.eq_ignore_ascii_case(other) {
        return true;
    }
    match (address(one), address(other)) {
        (Some(one), Some(other)) => one == other,
        (None | Some(_), None | Some(_)) => false,
    }
}

fn address(host: &[u8]) -> Option<Ipv6Addr> {
    let inner = host
        .strip_prefix(b"[")
        .and_then(|rest| rest.strip_suffix(b"]"));
    match inner {
        Some(inner) => str::from_utf8(inner).ok()?.parse().ok(),
        None => {
            let v4: Ipv4Addr = str::from_utf8(host).ok()?.parse().ok()?;
            Some(v4.to_ipv6_mapped())
        }
    }
}

fn split_port(host_and_port: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let after_address = match memchr::memchr(b']', host_and_port) {
        Some(at) => at.checked_add(1)?,
        None => memchr::memchr(b':', host_and_port).unwrap_or(host_and_port.len()),
    };
    let (host, rest) = host_and_port.split_at_checked(after_address)?;
    if rest.is_empty() {
        return Some((host, None));
    }
    let digits = rest.strip_prefix(b":")?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let port = str::from_utf8(digits).ok()?.parse().ok()?;
    Some((host, Some(port)))
}

fn is_host(host: &[u8]) -> bool {
    match host.strip_prefix(b"[") {
        Some(_) => address(host).is_some(),
        None => {
            !host.is_empty()
                && host
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        }
    }
}

/// `1*( unreserved / "+" / "=" / "/" )` (RFC 4975 §9); `%` is tolerated.
fn is_session_id(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|b| {
            b.is_ascii_alphanumeric()
                || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'=' | b'/' | b'%')
        })
}

fn split_at_byte(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(byte, text)?;
    Some((text.get(..at)?, text.get(at.checked_add(1)?..)?))
}

fn split_at_sequence<'a>(text: &'a [u8], sequence: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = memchr::memmem::find(text, sequence)?;
    Some((
        text.get(..at)?,
        text.get(at.checked_add(sequence.len())?..)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, other: &str) -> bool {
        let one = Uri::parse(one.as_bytes()).expect("the first URI parses");
        let other = Uri::parse(other.as_bytes()).expect("the second URI parses");
        assert_eq!(one.matches(&other), other.matches(&one));
        one.matches(&other)
    }

    #[test]
    fn scheme_host_and_transport_are_compared_without_case() {
        assert!(same(
            "msrp://Host.Example:1/abcd;tcp",
            "MSRP://hOST.eXAMPLE:1/abcd;TCP"
        ));
        assert!(!same(
            "msrp://a.example:1/abcd;tcp",
            "msrps://a.example:1/abcd;tcp"
        ));
        assert!(!same(
            "msrp://a.example:1/abcd;tcp",
            "msrp://a.example:1/abcd;ws"
        ));
        assert!(!same(
            "msrp://a.example:1/abcd;tcp",
            "msrp://b.example:1/abcd;tcp"
        ));
    }

    #[test]
    fn the_session_id_is_compared_with_case() {
        assert!(!same("msrp://a:1/abcd;tcp", "msrp://a:1/abcD;tcp"));
        assert!(!same("msrp://a:1/abcd;tcp", "msrp://a:1;tcp"));
    }

    #[test]
    fn userinfo_and_further_parameters_do_not_count() {
        assert!(same("msrp://alice@a:1/abcd;tcp", "msrp://a:1/abcd;tcp;x=y"));
    }

    #[test]
    fn a_port_that_is_written_differs_from_none() {
        assert!(!same("msrp://a:2855/abcd;tcp", "msrp://a/abcd;tcp"));
        assert!(same("msrp://a:02855/abcd;tcp", "msrp://a:2855/abcd;tcp"));
    }

    #[test]
    fn addresses_are_compared_as_addresses() {
        assert!(same(
            "msrp://[2001:db8::1]:1/abcd;tcp",
            "msrp://[2001:DB8:0:0::0001]:1/abcd;tcp"
        ));
        assert!(!same(
            "msrp://[2001:db8::1]:1/abcd;tcp",
            "msrp://[2001:db8::2]:1/abcd;tcp"
        ));
        assert!(!same(
            "msrp://192.0.2.1:1/abcd;tcp",
            "msrp://192.0.2.2:1/abcd;tcp"
        ));
    }

    #[test]
    fn what_is_no_msrp_uri_is_refused() {
        for text in [
            "",
            "msrp",
            "msrp:",
            "msrp://",
            "sip:a@b",
            "http://a:1/x;tcp",
            "msrp://a:1/abcd",
            "msrp://a:1/;tcp",
            "msrp://:1/abcd;tcp",
            "msrp://a:/abcd;tcp",
            "msrp://a:65536/abcd;tcp",
            "msrp://a:x/abcd;tcp",
            "msrp://[::1/abcd;tcp",
            "msrp://[zz]:1/abcd;tcp",
            "msrp://a:1/ab cd;tcp",
            "msrp://a:1/abcd;",
            "msrp://a b:1/abcd;tcp",
        ] {
            assert!(Uri::parse(text.as_bytes()).is_none(), "{text:?} was taken");
        }
    }
}
