//! URIs (RFC 3261 §19.1, RFC 3966) and what stands around them in From, To, Contact, Route.

use std::net::IpAddr;

use super::headers::find_outside;
use super::parse::ParseError;

/// A URI's scheme.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
    /// Another one; only the whole text means something.
    Other,
}

/// A URI taken apart; each part is still escaped as it was.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    /// The scheme.
    pub scheme: Scheme,
    /// What is before the `@` (without the password), or the number of a `tel:` URI.
    pub user: Option<&'a str>,
    /// The host; an IPv6 address without brackets; empty if the scheme has none.
    pub host: &'a str,
    /// The port, if one is written.
    pub port: Option<u16>,
    /// The parameters, without the first `;`.
    pub params: Params<'a>,
    /// What follows the `?`.
    pub headers: Option<&'a str>,
}

impl<'a> Uri<'a> {
    /// Takes a URI apart.
    ///
    /// # Errors
    /// [`ParseError::Uri`] where it has no scheme, or its host or port is not one.
    pub fn parse(text: &'a str) -> Result<Self, ParseError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once(':').ok_or(ParseError::Uri)?;
        let scheme = match scheme {
            s if s.eq_ignore_ascii_case("sip") => Scheme::Sip,
            s if s.eq_ignore_ascii_case("sips") => Scheme::Sips,
            s if s.eq_ignore_ascii_case("tel") => Scheme::Tel,
            "" => return Err(ParseError::Uri),
            _ => Scheme::Other,
        };
        match scheme {
            Scheme::Sip | Scheme::Sips => Self::sip(scheme, rest),
            Scheme::Tel => {
                let (number, params) = rest.split_once(';').unwrap_or((rest, ""));
                if number.is_empty() {
                    return Err(ParseError::Uri);
                }
                let params = Params(params);
                Ok(Self {
                    scheme,
                    user: Some(number),
                    host: "",
                    port: None,
                    params,
                    headers: None,
                })
            }
            Scheme::Other => {
                let params = Params("");
                Ok(Self {
                    scheme,
                    user: None,
                    host: "",
                    port: None,
                    params,
                    headers: None,
                })
            }
        }
    }

    fn sip(scheme: Scheme, rest: &'a str) -> Result<Self, ParseError> {
        // A user part may hold `;` and `?`, so the `@` is looked for first.
        let (user, rest) = match rest.split_once('@') {
            Some((user, rest)) => (
                Some(user.split_once(':').map_or(user, |(user, _)| user)),
                rest,
            ),
            None => (None, rest),
        };
        let (rest, headers) = match rest.split_once('?') {
            Some((rest, headers)) => (rest, Some(headers)),
            None => (rest, None),
        };
        let (hostport, params) = rest.split_once(';').unwrap_or((rest, ""));
        let (host, port) = host_port(hostport).ok_or(ParseError::Uri)?;
        if user == Some("") {
            return Err(ParseError::Uri);
        }
        Ok(Self {
            scheme,
            user,
            host,
            port,
            params: Params(params),
            headers,
        })
    }

    /// The value of a parameter: `Some("")` for one without a value.
    #[must_use]
    pub fn get_param(&self, name: &str) -> Option<&'a str> {
        self.params.get(name)
    }

    /// Whether the parameter is there.
    #[must_use]
    pub fn has_param(&self, name: &str) -> bool {
        self.params.get(name).is_some()
    }

    /// The host as an address, if it is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// Splits `host[:port]`; the host comes back without the brackets of an IPv6 address.
pub(super) fn host_port(text: &str) -> Option<(&str, Option<u16>)> {
    let text = text.trim();
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        (host, rest.trim_start())
    } else {
        let end = text.find(':').unwrap_or(text.len());
        let (host, rest) = text.split_at_checked(end)?;
        let host = host.trim_end();
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if host.is_empty() || !host.chars().all(fits) {
            return None;
        }
        (host, rest)
    };
    if port.is_empty() {
        return Some((host, None));
    }
    let port = port.strip_prefix(':')?.trim_start();
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((host, Some(port.parse().ok()?)))
}

/// Parameters: `name`, `name=value`, `name="quoted; value"`, with `;` between them.
#[derive(Clone, Copy, Debug)]
pub struct Params<'a>(pub(super) &'a str);

impl<'a> Params<'a> {
    /// The value of the first of that name, without its quotes: `Some("")` if it has none.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// All of them: name, value without its quotes (escapes in it are kept).
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.items().map(|item| {
            let (name, value) = item.split_once('=').unwrap_or((item, ""));
            (name.trim(), unquoted(value.trim()))
        })
    }

    /// All of them as they are written.
    pub(super) fn items(self) -> impl Iterator<Item = &'a str> {
        let mut rest = Some(self.0);
        std::iter::from_fn(move || {
            let text = rest?;
            let (item, next) = match find_outside(text, b';') {
                Some(at) => (text.get(..at)?, text.get(at + 1..)),
                None => (text, None),
            };
            rest = next;
            Some(item.trim())
        })
        .filter(|item| !item.is_empty())
    }

    /// The text of them all, without the first `;`.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

fn unquoted(value: &str) -> &str {
    value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
        .unwrap_or(value)
}

/// `"display" <uri>;params` or `uri;params` (RFC 3261 §20.10).
#[derive(Clone, Copy, Debug)]
pub struct NameAddr<'a> {
    /// The display name, without its quotes; may be empty.
    pub display: &'a str,
    /// The URI without `<>`; `*` for the Contact that means all.
    pub uri: &'a str,
    /// The header's parameters.
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Takes the value of From, To, Contact, Route and their like apart.
    ///
    /// # Errors
    /// [`ParseError::Uri`] where a quote or `<` is left open, or no URI is there.
    pub fn parse(value: &'a str) -> Result<Self, ParseError> {
        let value = value.trim();
        let (display, uri, rest) = match find_outside_quotes(value, b'<')? {
            Some(open) => {
                let display = value.get(..open).unwrap_or("").trim();
                let inner = value.get(open + 1..).unwrap_or("");
                let (uri, rest) = inner.split_once('>').ok_or(ParseError::Uri)?;
                (unquoted(display), uri.trim(), rest)
            }
            // RFC 3261 §20: without `<>` the parameters are the header's, not the URI's.
            None => match value.split_once(';') {
                Some((uri, _)) => ("", uri.trim(), value.get(uri.len()..).unwrap_or("")),
                None => ("", value, ""),
            },
        };
        let has_scheme = uri
            .split_once(':')
            .is_some_and(|(s, r)| !s.is_empty() && !r.is_empty());
        if (!has_scheme && uri != "*") || uri.contains(['"', '<', ' ']) {
            return Err(ParseError::Uri);
        }
        let rest = rest.trim_start();
        let params = match rest.strip_prefix(';') {
            Some(params) => params,
            None if rest.is_empty() => "",
            None => return Err(ParseError::Uri),
        };
        Ok(Self {
            display,
            uri,
            params: Params(params),
        })
    }

    /// The value of a parameter: `Some("")` for one without a value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.get(name)
    }
}

/// Where the character first stands outside of quotes; an error if a quote stays open.
fn find_outside_quotes(value: &str, wanted: u8) -> Result<Option<usize>, ParseError> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == wanted && !quoted => return Ok(Some(at)),
            _ => {}
        }
    }
    if quoted {
        Err(ParseError::Uri)
    } else {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::{NameAddr, Scheme, Uri};

    #[test]
    fn a_sip_uri_is_taken_apart() {
        let uri = Uri::parse("sip:alice:secret@[2001:db8::1]:5070;transport=TCP;lr?a=b").unwrap();
        assert_eq!(
            (uri.scheme, uri.user, uri.host),
            (Scheme::Sip, Some("alice"), "2001:db8::1")
        );
        assert_eq!((uri.port, uri.headers), (Some(5070), Some("a=b")));
        assert_eq!(uri.get_param("TRANSPORT"), Some("TCP"));
        assert_eq!(uri.get_param("lr"), Some(""));
        assert!(!uri.has_param("orig"));
        assert!(uri.address().is_some());
    }

    #[test]
    fn a_user_may_hold_semicolons() {
        let uri = Uri::parse("sip:user;par=u%40example.net@example.com").unwrap();
        assert_eq!(
            (uri.user, uri.host),
            (Some("user;par=u%40example.net"), "example.com")
        );
        assert_eq!(uri.get_param("par"), None);
    }

    #[test]
    fn a_tel_uri_has_a_number_and_parameters() {
        let uri = Uri::parse("tel:+15551234;phone-context=example.com").unwrap();
        assert_eq!(
            (uri.scheme, uri.user, uri.host),
            (Scheme::Tel, Some("+15551234"), "")
        );
        assert_eq!(uri.get_param("phone-context"), Some("example.com"));
        assert_eq!(Uri::parse("urn:service:sos").unwrap().scheme, Scheme::Other);
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        for text in [
            "",
            "alice",
            "sip:",
            "sip:@h",
            "sip:a@",
            "sip:a@h:99999",
            "sip:a@[::1",
            "tel:",
        ] {
            assert!(Uri::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_addr_is_taken_apart() {
        let to = NameAddr::parse("\"J \\\" <x>\" <sip:j@h;lr>  ; tag = 98asjd8;q=\"a;b\"").unwrap();
        assert_eq!(to.display, "J \\\" <x>");
        assert_eq!(to.uri, "sip:j@h;lr");
        assert_eq!(to.param("tag"), Some("98asjd8"));
        assert_eq!(to.param("Q"), Some("a;b"));
        assert_eq!(to.param("lr"), None);
        let from = NameAddr::parse("sip:j@h;tag=1").unwrap();
        assert_eq!((from.uri, from.param("tag")), ("sip:j@h", Some("1")));
        for text in [
            "\"open <sip:a@h>",
            "<sip:a@h",
            "a",
            "",
            "<sip:a@h> x",
            "\"a\" sip:a@h",
        ] {
            assert!(NameAddr::parse(text).is_err(), "{text}");
        }
    }
}
