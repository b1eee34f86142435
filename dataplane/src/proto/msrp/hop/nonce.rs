//! Nonces: made without being kept, accepted once per count (RFC 7616 §3.3, §5.4).
//!
//! ```text
//! 16 digits            16 digits     32 digits
//! milliseconds since   random bits   SHA-256 over a key of this worker, both numbers and the
//! the worker's start                 connection's number: first half
//! ```
//!
//! Only one that was answered rightly takes a place in the table of counts. The table is bounded:
//! where the oldest has to go, all nonces that were made before it have gone stale.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use sha2::{Digest, Sha256};

use super::digest::{Hex, same};
use crate::limits::MSRP_NONCES;

/// What a nonce is worth that was answered rightly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It counts, this once.
    Fresh,
    /// It is too old, not of this connection, or was used with this count before.
    Stale,
}

/// When a nonce was made, and its random bits.
type Name = (u64, u64);

#[derive(Debug)]
pub(super) struct Nonces {
    key: [u8; 32],
    lifetime: Duration,
    epoch: Option<Instant>,
    /// The highest count of each that was used.
    counts: BTreeMap<Name, u32>,
    /// Those made no later than this may have been used and forgotten.
    forgotten: Option<u64>,
}

impl Nonces {
    pub(super) fn new(key: [u8; 32], lifetime: Duration) -> Self {
        Self {
            key,
            lifetime,
            epoch: None,
            counts: BTreeMap::new(),
            forgotten: None,
        }
    }

    /// Makes one for a connection.
    pub(super) fn issue(
        &mut self,
        now: Instant,
        connection: u32,
        random: &mut StdRng,
    ) -> [u8; NONCE_BYTES] {
        let made = self.since(now);
        self.write((made, random.next_u64()), connection)
    }

    /// Counts the use of one whose digest was right.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        connection: u32,
        (nonce, count): (&[u8], u32),
    ) -> Standing {
        let Some(name) = self.read(nonce, connection) else {
            return Standing::Stale;
        };
        let (made, _) = name;
        let now = self.since(now);
        let lifetime = u64::try_from(self.lifetime.as_millis()).unwrap_or(u64::MAX);
        if now.saturating_sub(made) >= lifetime || made > now {
            return Standing::Stale;
        }
        if let Some(last) = self.counts.get_mut(&name) {
            if count <= *last {
                return Standing::Stale;
            }
            *last = count;
            return Standing::Fresh;
        }
        if self.forgotten.is_some_and(|forgotten| made <= forgotten) || count == 0 {
            return Standing::Stale;
        }
        self.make_room(now.checked_sub(lifetime));
        self.counts.insert(name, count);
        Standing::Fresh
    }

    /// Forgets what is stale by its age, and the oldest if the table is full.
    fn make_room(&mut self, stale: Option<u64>) {
        while let Some((&(made, random), _)) = self.counts.first_key_value() {
            let is_stale = stale.is_some_and(|stale| made <= stale);
            if !is_stale && self.counts.len() < MSRP_NONCES {
                return;
            }
            self.counts.remove(&(made, random));
            self.forgotten = Some(made);
        }
    }

    fn read(&self, text: &[u8], connection: u32) -> Option<Name> {
        let made = number(text.get(..16)?)?;
        let random = number(text.get(16..32)?)?;
        let name = (made, random);
        same(&self.write(name, connection), text).then_some(name)
    }

    fn write(&self, (made, random): Name, connection: u32) -> [u8; NONCE_BYTES] {
        // What is hashed has one length only, and half of the hash is kept: a key in front of it is
        // as good as HMAC here.
        let mut hasher = Sha256::new();
        hasher.update(self.key);
        hasher.update(made.to_be_bytes());
        hasher.update(random.to_be_bytes());
        hasher.update(connection.to_be_bytes());
        let proof = Hex::new(&hasher.finalize());
        let made = Hex::new(&made.to_be_bytes());
        let random = Hex::new(&random.to_be_bytes());
        let mut text = [0; NONCE_BYTES];
        let digits = [&made, &random, &proof];
        let digits = digits.into_iter().flat_map(|part| part.as_bytes());
        for (to, from) in text.iter_mut().zip(digits) {
            *to = *from;
        }
        text
    }

    fn since(&mut self, now: Instant) -> u64 {
        let epoch = *self.epoch.get_or_insert(now);
        let passed = now.saturating_duration_since(epoch);
        u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

/// Characters of a nonce.
pub(super) const NONCE_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const LIFETIME: Duration = Duration::from_secs(60);

    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some instant to begin at"
    )]
    fn start() -> (Nonces, Instant, StdRng) {
        let nonces = Nonces::new([7; 32], LIFETIME);
        (nonces, Instant::now(), StdRng::seed_from_u64(1))
    }

    #[test]
    fn a_nonce_counts_once_per_count_and_not_backwards() {
        let (mut nonces, now, mut random) = start();
        let nonce = nonces.issue(now, 1, &mut random);
        for (count, standing) in [
            (1, Standing::Fresh),
            (1, Standing::Stale),
            (5, Standing::Fresh),
            (4, Standing::Stale),
            (6, Standing::Fresh),
        ] {
            assert_eq!(nonces.accept(now, 1, (&nonce, count)), standing, "{count}");
        }
    }

    #[test]
    fn a_nonce_is_of_one_connection_and_one_worker_and_grows_stale() {
        let (mut nonces, now, mut random) = start();
        let nonce = nonces.issue(now, 1, &mut random);
        assert_eq!(nonces.accept(now, 2, (&nonce, 1)), Standing::Stale);
        let mut other = Nonces::new([8; 32], LIFETIME);
        other.issue(now, 1, &mut random);
        assert_eq!(other.accept(now, 1, (&nonce, 1)), Standing::Stale);
        for at in 0..NONCE_BYTES {
            let mut bent = nonce;
            bent[at] = if bent[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(nonces.accept(now, 1, (&bent, 1)), Standing::Stale, "{at}");
        }
        let late = now + LIFETIME;
        assert_eq!(nonces.accept(late, 1, (&nonce, 1)), Standing::Stale);
        assert_eq!(nonces.accept(now, 1, (&nonce, 1)), Standing::Fresh);
    }

    #[test]
    fn a_full_table_of_counts_lets_no_count_be_used_twice() {
        let (mut nonces, now, mut random) = start();
        let first = nonces.issue(now, 1, &mut random);
        assert_eq!(nonces.accept(now, 1, (&first, 1)), Standing::Fresh);
        for at in 0..=u64::try_from(MSRP_NONCES).unwrap() {
            let later = now + Duration::from_millis(1 + at);
            let nonce = nonces.issue(later, 1, &mut random);
            assert_eq!(nonces.accept(later, 1, (&nonce, 1)), Standing::Fresh);
        }
        assert!(nonces.counts.len() <= MSRP_NONCES);
        let later = now + Duration::from_millis(u64::try_from(MSRP_NONCES).unwrap() + 2);
        assert_eq!(nonces.accept(later, 1, (&first, 1)), Standing::Stale);
        assert_eq!(nonces.accept(later, 1, (&first, 2)), Standing::Stale);
    }
}
