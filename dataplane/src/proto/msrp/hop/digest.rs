//! Digest as AUTH uses it (RFC 4976 §9.1, RFC 7616 §3.4): `qop=auth`, MD5 or SHA-256, nothing else.

use md5::Md5;
use sha2::{Digest, Sha256};

use crate::api::RelayUser;

/// A hash function that a client may pick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Sha256,
    Md5,
}

/// A hash in lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hex {
    digits: [u8; HEX_BYTES_MAX],
    len: usize,
}

impl Hex {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut digits = [0; HEX_BYTES_MAX];
        let mut len = 0;
        let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        for (digit, nibble) in digits.iter_mut().zip(nibbles) {
            *digit = DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
            len += 1;
        }
        Self { digits, len }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.digits.get(..self.len).unwrap_or_default()
    }

    /// Whether a text is these digits, in either case.
    pub(super) fn is(&self, text: &[u8]) -> bool {
        same(self.as_bytes(), text)
    }
}

/// Whether a text is these lower-case digits, in either case; takes the same time wherever they
/// differ.
pub(super) fn same(digits: &[u8], text: &[u8]) -> bool {
    let pairs = digits.iter().zip(text);
    let differences = pairs.fold(0, |all, (one, other)| {
        all | (one ^ other.to_ascii_lowercase())
    });
    digits.len() == text.len() && differences == 0
}

/// The value of an `Authorization` header field, read in place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Credentials<'a> {
    pub(super) username: &'a [u8],
    pub(super) realm: &'a [u8],
    pub(super) nonce: &'a [u8],
    /// RFC 4976 clients leave it out, others don't.
    pub(super) uri: Option<&'a [u8]>,
    pub(super) response: &'a [u8],
    pub(super) cnonce: &'a [u8],
    /// As its eight digits came.
    pub(super) nc: &'a [u8],
    pub(super) algorithm: Algorithm,
}

impl<'a> Credentials<'a> {
    /// Reads a value; `None` where it isn't such a digest.
    pub(super) fn parse(value: &'a [u8]) -> Option<Self> {
        let (scheme, mut rest) = value.split_at_checked(DIGEST.len())?;
        if !scheme.eq_ignore_ascii_case(DIGEST) {
            return None;
        }
        let mut found = [None; PARAMETERS.len()];
        while let Some((name, value, after)) = parameter(rest)? {
            let named = PARAMETERS
                .iter()
                .position(|one| name.eq_ignore_ascii_case(one));
            if let Some(place) = named.and_then(|at| found.get_mut(at))
                && place.replace(value).is_some()
            {
                return None;
            }
            rest = after;
        }
        let [
            username,
            realm,
            nonce,
            uri,
            response,
            cnonce,
            nc,
            qop,
            algorithm,
        ] = found;
        let algorithm = match algorithm {
            None => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case(b"MD5") => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case(b"SHA-256") => Algorithm::Sha256,
            Some(_) => return None,
        };
        if !qop?.eq_ignore_ascii_case(b"auth") {
            return None;
        }
        Some(Self {
            username: username?,
            realm: realm?,
            nonce: nonce?,
            uri,
            response: response?,
            cnonce: cnonce?,
            nc: nc?,
            algorithm,
        })
    }

    /// How often the nonce was used, this time included; `None`: it isn't eight hexadecimal digits.
    pub(super) fn count(&self) -> Option<u32> {
        if self.nc.len() != 8 || !self.nc.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        u32::from_str_radix(str::from_utf8(self.nc).ok()?, 16).ok()
    }

    /// What `response` must be, and `rspauth` in the answer (RFC 7616 §3.4.1, §3.5): for a method,
    /// which is empty for the latter, and a URI.
    pub(super) fn expected(&self, secret: &Hex, method: &[u8], uri: &[u8]) -> Hex {
        let a2 = self.algorithm.hash(&[method, b":", uri]);
        self.algorithm.hash(&[
            secret.as_bytes(),
            b":",
            self.nonce,
            b":",
            self.nc,
            b":",
            self.cnonce,
            b":auth:",
            a2.as_bytes(),
        ])
    }
}

impl Algorithm {
    /// Its name in a challenge.
    pub(super) fn name(self) -> &'static [u8] {
        match self {
            Self::Sha256 => b"SHA-256",
            Self::Md5 => b"MD5",
        }
    }

    /// A user's hash for it, if there is one.
    pub(super) fn secret_of(self, user: &RelayUser) -> Option<Hex> {
        match self {
            Self::Sha256 => user.sha256.as_ref().map(|hash| Hex::new(hash)),
            Self::Md5 => user.md5.as_ref().map(|hash| Hex::new(hash)),
        }
    }

    /// A hash that nobody's password has, to take the same time for a name that isn't known.
    pub(super) fn secret_of_nobody(self) -> Hex {
        match self {
            Self::Sha256 => Hex::new(&[0; 32]),
            Self::Md5 => Hex::new(&[0; 16]),
        }
    }

    fn hash(self, parts: &[&[u8]]) -> Hex {
        match self {
            Self::Sha256 => hash::<Sha256>(parts),
            Self::Md5 => hash::<Md5>(parts),
        }
    }
}

fn hash<D: Digest>(parts: &[&[u8]]) -> Hex {
    let mut hasher = D::new();
    for part in parts {
        hasher.update(part);
    }
    Hex::new(&hasher.finalize())
}

/// A parameter's name, its value and what comes after it.
type Parameter<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// The next parameter, `Some(None)` at the end, `None` where the grammar is broken. A value with a
/// quoted character (`\"`) isn't read: no name or nonce of ours has one.
fn parameter(text: &[u8]) -> Option<Option<Parameter<'_>>> {
    let text = text.trim_ascii_start();
    let text = text.strip_prefix(b",").unwrap_or(text).trim_ascii_start();
    if text.is_empty() {
        return Some(None);
    }
    let (name, rest) = text.split_at_checked(memchr::memchr(b'=', text)?)?;
    let rest = rest.strip_prefix(b"=")?.trim_ascii_start();
    let (value, rest) = match rest.strip_prefix(b"\"") {
        Some(quoted) => {
            let (value, after) = quoted.split_at_checked(memchr::memchr(b'"', quoted)?)?;
            if value.contains(&b'\\') {
                return None;
            }
            (value, after.strip_prefix(b"\"")?)
        }
        None => {
            let end = memchr::memchr(b',', rest).unwrap_or(rest.len());
            let (value, after) = rest.split_at_checked(end)?;
            (value.trim_ascii_end(), after)
        }
    };
    let rest = rest.trim_ascii_start();
    (rest.is_empty() || rest.starts_with(b",")).then_some(Some((name.trim_ascii(), value, rest)))
}

const DIGEST: &[u8] = b"Digest ";
const PARAMETERS: [&[u8]; 9] = [
    b"username",
    b"realm",
    b"nonce",
    b"uri",
    b"response",
    b"cnonce",
    b"nc",
    b"qop",
    b"algorithm",
];
const HEX_BYTES_MAX: usize = 64;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7616 §3.9.1: user Mufasa, password `Circle of Life`.
    const EXAMPLE: &str = "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", \
        uri=\"/dir/index.html\", algorithm=%ALGORITHM%, \
        nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
        cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, \
        response=\"?\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";

    fn expected(algorithm: Algorithm) -> Hex {
        let name = std::str::from_utf8(algorithm.name()).unwrap();
        let text = EXAMPLE.replace("%ALGORITHM%", name);
        let credentials = Credentials::parse(text.as_bytes()).unwrap();
        assert_eq!(credentials.algorithm, algorithm);
        assert_eq!(credentials.count(), Some(1));
        let secret = algorithm.hash(&[
            credentials.username,
            b":",
            credentials.realm,
            b":Circle of Life",
        ]);
        credentials.expected(&secret, b"GET", credentials.uri.unwrap())
    }

    #[test]
    fn the_examples_of_rfc_7616_come_out_right() {
        assert!(expected(Algorithm::Md5).is(b"8ca523f5e9506fed4657c9700eebdbec"));
        assert!(
            expected(Algorithm::Sha256)
                .is(b"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1")
        );
    }

    #[test]
    fn digits_are_compared_whole_and_in_either_case() {
        let hex = Hex::new(&[0xab, 0x01]);
        assert!(hex.is(b"ab01") && hex.is(b"AB01"));
        assert!(!hex.is(b"ab0") && !hex.is(b"ab011") && !hex.is(b"ab02") && !hex.is(b""));
    }

    #[test]
    fn what_is_no_such_digest_is_refused() {
        let good = "Digest username=\"a\", realm=\"r\", nonce=\"n\", response=\"0\", \
                    cnonce=\"c\", nc=00000001, qop=auth";
        assert!(Credentials::parse(good.as_bytes()).is_some());
        for (from, to) in [
            ("Digest ", "Basic "),
            ("qop=auth", "qop=auth-int"),
            (", qop=auth", ""),
            ("nc=", "nc"),
            ("username=\"a\", ", ""),
            ("\"r\"", "\"r"),
            ("\"a\"", "\"a\\\"\""),
            ("qop=auth", "qop=auth, algorithm=MD5-sess"),
            ("qop=auth", "qop=auth, algorithm=SHA-512-256"),
            ("nonce=\"n\"", "nonce=\"n\", nonce=\"m\""),
            ("\"r\",", "\"r\" x,"),
        ] {
            let text = good.replace(from, to);
            assert!(Credentials::parse(text.as_bytes()).is_none(), "{text}");
        }
        for nc in ["1", "0000000g", "000000001", "+0000001"] {
            let text = good.replace("00000001", nc);
            let credentials = Credentials::parse(text.as_bytes()).unwrap();
            assert_eq!(credentials.count(), None, "{nc}");
        }
    }
}
