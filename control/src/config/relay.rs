//! Settings of the role of a relay for MSRP clients (RFC 4976).

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::values;

/// The role of a relay for MSRP clients.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MsrpRelay {
    /// The realm that clients authenticate to; `None`: it is no relay for clients.
    #[serde(deserialize_with = "values::unless_empty")]
    pub realm: Option<String>,
    /// Who may ask for a path.
    pub users: Vec<MsrpUser>,
    /// The host that paths name; `None`: the address of the listener.
    #[serde(deserialize_with = "values::unless_empty")]
    pub host: Option<String>,
    /// AUTH is taken without TLS as well.
    pub auth_without_tls: bool,
    /// What a client gets that asks for no time, in seconds.
    pub expires_s: u32,
    /// The least that a client may ask for.
    pub expires_s_min: u32,
    /// The most that a client may ask for.
    pub expires_s_max: u32,
    /// How long a challenge may be answered.
    #[serde(rename = "nonce_s", deserialize_with = "values::seconds")]
    pub nonce: Duration,
    /// How long a connection to a next hop may take to be made.
    #[serde(rename = "connect_ms", deserialize_with = "values::millis")]
    pub connect: Duration,
    /// How long a connection without paths is kept while nothing passes.
    #[serde(rename = "idle_s", deserialize_with = "values::seconds")]
    pub idle: Duration,
}

impl Default for MsrpRelay {
    fn default() -> Self {
        Self {
            realm: None,
            users: Vec::new(),
            host: None,
            auth_without_tls: false,
            expires_s: 900,
            expires_s_min: 60,
            expires_s_max: 3600,
            nonce: Duration::from_secs(300),
            connect: Duration::from_secs(5),
            idle: Duration::from_secs(3600),
        }
    }
}

/// Somebody who may ask for a path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MsrpUser {
    /// The name.
    pub user: String,
    /// MD5 of `user:realm:password`.
    #[serde(default)]
    pub ha1_md5: Option<Hash<16>>,
    /// SHA-256 of the same.
    #[serde(default)]
    pub ha1_sha256: Option<Hash<32>>,
}

/// A hash that stands for a password; it isn't shown.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Hash<const OCTETS: usize>(pub [u8; OCTETS]);

impl<const OCTETS: usize> fmt::Debug for Hash<OCTETS> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Hash")
    }
}

impl<const OCTETS: usize> TryFrom<String> for Hash<OCTETS> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = 2 * OCTETS;
        let wrong = || {
            let came = text.chars().count();
            format!(
                "a text of {came} characters that is no such hash, expected {digits} hexadecimal \
                 digits"
            )
        };
        if text.len() != digits || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut octets = [0; OCTETS];
        for (octet, at) in octets.iter_mut().zip((0..digits).step_by(2)) {
            let pair = text.get(at..at + 2).unwrap_or_default();
            *octet = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(octets))
    }
}
