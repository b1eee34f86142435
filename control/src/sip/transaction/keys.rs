//! The names of transactions.

/// A server transaction; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ServerKey(pub(super) u64);

/// A client transaction; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientKey(pub(super) u64);

impl ServerKey {
    /// A key that no transaction has: what it names never is on the wire.
    #[must_use]
    pub fn inner(number: u64) -> Self {
        Self(u64::MAX - number)
    }
}

impl ClientKey {
    /// A key that no transaction has: what it names never is on the wire.
    #[must_use]
    pub fn inner(number: u64) -> Self {
        Self(u64::MAX - number)
    }
}
