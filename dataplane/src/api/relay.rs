//! The role of an MSRP relay in plans (RFC 4976): who may ask it for a path, and for how long.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a worker needs to be a relay of RFC 4976 to clients and other relays.
#[derive(Debug, Clone)]
pub struct RelayRole {
    /// The realm that clients authenticate to.
    pub realm: Box<str>,
    /// Who may ask for a path.
    pub users: RelayUsers,
    /// The host that the paths given out name; `None`: the listener's address.
    pub host: Option<Box<str>>,
    /// Whether AUTH is taken from connections without TLS as well, which RFC 4976 §6.3 forbids:
    /// for tests and networks that are trusted.
    pub auth_without_tls: bool,
    /// How long a path lives.
    pub expires: PathExpiry,
    /// How long a challenge may be answered with the same nonce.
    pub nonce_lifetime: Duration,
    /// How long a connection to a next hop may take to be made.
    pub connect_timeout: Duration,
    /// How long a connection without paths is kept while nothing passes (RFC 4976 §6.5: an hour).
    pub idle: Duration,
}

/// How long a path lives, in seconds; `least <= usual <= most`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathExpiry {
    /// Clients that ask for less are refused with 423.
    pub least: u32,
    /// What those get that ask for nothing.
    pub usual: u32,
    /// Clients that ask for more are refused with 423.
    pub most: u32,
}

/// Somebody who may ask for a path.
///
/// The hashes stand for the password: both are kept as secrets are, and not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct RelayUser {
    /// The name, as the digest's `username`.
    pub name: Box<str>,
    /// MD5 of `name:realm:password` (RFC 7616 §3.4.2).
    pub md5: Option<[u8; 16]>,
    /// SHA-256 of the same.
    pub sha256: Option<[u8; 32]>,
}

impl fmt::Debug for RelayUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayUser")
            .field("name", &self.name)
            .field("md5", &self.md5.is_some())
            .field("sha256", &self.sha256.is_some())
            .finish()
    }
}

/// The users, in the order of their names; shared by all workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayUsers {
    sorted: Arc<[RelayUser]>,
}

impl RelayUsers {
    /// Takes users in any order; of those with one name, one is kept.
    #[must_use]
    pub fn new(mut users: Vec<RelayUser>) -> Self {
        users.sort_by(|one, other| one.name.cmp(&other.name));
        users.dedup_by(|one, other| one.name == other.name);
        Self {
            sorted: users.into(),
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<&RelayUser> {
        let at = self
            .sorted
            .binary_search_by(|user| user.name.as_bytes().cmp(name));
        self.sorted.get(at.ok()?)
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[RelayUser] {
        &self.sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> RelayUser {
        RelayUser {
            name: name.into(),
            md5: Some([115; 16]),
            sha256: None,
        }
    }

    #[test]
    fn a_user_is_found_by_the_whole_name() {
        let users = RelayUsers::new(vec![user("bob"), user("alice"), user("bob")]);
        assert_eq!(users.all().len(), 2);
        assert_eq!(users.find(b"bob"), Some(&user("bob")));
        assert_eq!(users.find(b"bo"), None);
        assert_eq!(users.find(b"Bob"), None);
    }

    #[test]
    fn the_hashes_are_not_shown() {
        assert!(!format!("{:?}", user("bob")).contains("115"));
    }
}
