//! Who the relay is to encrypted far ends, and which web pages may reach it.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Fingerprint;

/// A certificate with its chain, and the private key to it.
///
/// Far ends trust it by its fingerprint, which their SDP peer told them (RFC 4975 §14.4, RFC 8122),
/// so that it may be self-signed. It is checked when a worker starts.
#[derive(Clone)]
pub struct TlsIdentity {
    files: Arc<Files>,
}

struct Files {
    chain: Vec<Vec<u8>>,
    key: Vec<u8>,
    fingerprint: Fingerprint,
}

impl TlsIdentity {
    /// Takes certificates as DER, the relay's own first, and the key as PKCS #8, SEC 1 or PKCS #1
    /// DER.
    #[must_use]
    pub fn new(chain: Vec<Vec<u8>>, key: Vec<u8>) -> Self {
        let own = chain.first().map(Vec::as_slice).unwrap_or_default();
        let fingerprint = Sha256::digest(own).into();
        Self {
            files: Arc::new(Files {
                chain,
                key,
                fingerprint,
            }),
        }
    }

    /// The SHA-256 of the relay's own certificate, for `a=fingerprint`.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.files.fingerprint
    }

    /// The certificates as DER, the relay's own first.
    #[must_use]
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.files.chain
    }

    /// The private key as DER.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.files.key
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity")
            .field("certificates", &self.files.chain.len())
            .field("fingerprint", &self.files.fingerprint)
            .finish_non_exhaustive()
    }
}

/// Which web pages may open WebSockets for MSRP (RFC 6455 §10.2).
///
/// A browser says which page a script is from and doesn't let it lie; other clients say nothing or
/// what they like. So a list keeps foreign pages out and nobody else. It isn't needed to protect
/// sessions: no cookie or address speaks for a client here, only a session-id of 160 random bits,
/// and a page that knows one was told it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OriginPolicy {
    /// All of them.
    #[default]
    Any,
    /// Those whose `Origin` is in the list, as `https://chat.example.org` or with a port; and
    /// clients that send no `Origin`, which are no browsers.
    Listed(Arc<[Box<str>]>),
}

impl OriginPolicy {
    /// Whether a request with this `Origin` may pass.
    #[must_use]
    pub fn admits(&self, origin: Option<&str>) -> bool {
        match (self, origin) {
            (Self::Any, _) | (Self::Listed(_), None) => true,
            // RFC 6454 §4: scheme and host are compared in lower case.
            (Self::Listed(list), Some(origin)) => {
                list.iter().any(|one| one.eq_ignore_ascii_case(origin))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_not_shown() {
        let identity = TlsIdentity::new(vec![vec![1, 2]], b"secret".to_vec());
        let shown = format!("{identity:?}");
        assert!(
            !shown.contains("115") && !shown.contains("secret"),
            "{shown}"
        );
    }

    #[test]
    fn a_list_keeps_foreign_pages_out_and_no_one_else() {
        let policy = OriginPolicy::Listed(Arc::new(["https://chat.example.org".into()]));
        assert!(policy.admits(Some("https://Chat.example.org")));
        assert!(policy.admits(None));
        assert!(!policy.admits(Some("https://evil.example.org")));
        assert!(!policy.admits(Some("null")));
        assert!(OriginPolicy::Any.admits(Some("null")));
    }
}
