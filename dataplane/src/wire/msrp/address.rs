//! When two addresses of people are the same (RFC 3261 §19.1.4, RFC 3966 §4).

/// Whether two SIP, SIPS, TEL or other URIs name the same.
#[must_use]
pub fn is_same_address(one: &[u8], other: &[u8]) -> bool {
    let (Some((scheme, one)), Some((other_scheme, other))) = (scheme(one), scheme(other)) else {
        return one == other;
    };
    if !scheme.eq_ignore_ascii_case(other_scheme) {
        return false;
    }
    if scheme.eq_ignore_ascii_case(b"tel") {
        return is_same_number(one, other);
    }
    if !(scheme.eq_ignore_ascii_case(b"sip") || scheme.eq_ignore_ascii_case(b"sips")) {
        return one == other;
    }
    let (one, other) = (Sip::parse(one), Sip::parse(other));
    unescaped(one.user).eq(unescaped(other.user))
        && one.host.eq_ignore_ascii_case(other.host)
        && unescaped(one.headers).eq(unescaped(other.headers))
        && one.has_parameters_of(&other)
        && other.has_parameters_of(&one)
}

/// A SIP URI without its scheme.
struct Sip<'a> {
    /// User and password.
    user: &'a [u8],
    /// Host and port.
    host: &'a [u8],
    parameters: &'a [u8],
    headers: &'a [u8],
}

impl<'a> Sip<'a> {
    fn parse(text: &'a [u8]) -> Self {
        let (user, rest) = match split(text, b'@') {
            (user, Some(rest)) => (user, rest),
            (rest, None) => (&b""[..], rest),
        };
        let (rest, headers) = split(rest, b'?');
        let (host, parameters) = split(rest, b';');
        Self {
            user,
            host,
            parameters: parameters.unwrap_or_default(),
            headers: headers.unwrap_or_default(),
        }
    }

    fn parameters(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let parts = self.parameters.split(|byte| *byte == b';');
        parts.filter(|part| !part.is_empty()).map(|part| {
            let (name, value) = split(part, b'=');
            (name, value.unwrap_or_default())
        })
    }

    /// Whether no parameter of another one contradicts: those in both are equal, and those that
    /// must be in both are.
    fn has_parameters_of(&self, other: &Self) -> bool {
        other.parameters().all(|(name, value)| {
            let mut own = self.parameters();
            match own.find(|(own, _)| own.eq_ignore_ascii_case(name)) {
                Some((_, own)) => own.eq_ignore_ascii_case(value),
                None => !IN_BOTH.iter().any(|must| name.eq_ignore_ascii_case(must)),
            }
        })
    }
}

fn scheme(text: &[u8]) -> Option<(&[u8], &[u8])> {
    match split(text, b':') {
        (scheme, Some(rest)) => Some((scheme, rest)),
        (_, None) => None,
    }
}

fn split(text: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    let found = memchr::memchr(at, text);
    match found.and_then(|at| Some((text.get(..at)?, text.get(at.checked_add(1)?..)?))) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// RFC 3966 §4: digits without their separators, and the context without case.
fn is_same_number(one: &[u8], other: &[u8]) -> bool {
    let (one, context) = split(one, b';');
    let (other, other_context) = split(other, b';');
    let context = context.unwrap_or_default();
    digits(one).eq(digits(other)) && context.eq_ignore_ascii_case(other_context.unwrap_or_default())
}

fn digits(text: &[u8]) -> impl Iterator<Item = u8> {
    let kept = text
        .iter()
        .filter(|byte| !matches!(byte, b'-' | b'.' | b'(' | b')'));
    kept.map(u8::to_ascii_lowercase)
}

/// The octets of a text, those written as `%HH` among them.
fn unescaped(text: &[u8]) -> impl Iterator<Item = u8> {
    let mut left = text;
    std::iter::from_fn(move || {
        let (first, rest) = left.split_first()?;
        let escaped = (*first == b'%')
            .then(|| Some((hex(*rest.first()?)?, hex(*rest.get(1)?)?)))
            .flatten();
        let Some((high, low)) = escaped else {
            left = rest;
            return Some(*first);
        };
        left = rest.get(2..).unwrap_or_default();
        Some((high << 4) | low)
    })
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

/// RFC 3261 §19.1.4: one of these in one URI alone makes it another one.
const IN_BOTH: [&[u8]; 5] = [b"transport", b"user", b"ttl", b"method", b"maddr"];
