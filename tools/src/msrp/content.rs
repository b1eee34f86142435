//! What the messages hold: random bytes that follow from session, message and offset, made once.
//!
//! Every message is a piece of one endless repetition of [`PERIOD`] bytes and begins at its own
//! place in it: sending needs no copy of its own, checking is one comparison of memory. The period
//! is prime, so that nothing that is a power of two away is the same.

use std::hash::{BuildHasher as _, RandomState};

/// Bytes after which the content repeats itself.
pub const PERIOD: usize = 65_521;

/// The content of all messages of a run.
#[derive(Debug)]
pub struct Content {
    /// The period twice: a piece of up to a whole period lies in one slice from everywhere.
    twice: Vec<u8>,
}

impl Content {
    /// Content that no other run has.
    #[must_use]
    pub fn new() -> Self {
        let random = RandomState::new();
        let words = PERIOD.div_ceil(8);
        let mut once: Vec<u8> = (0..words)
            .flat_map(|word| random.hash_one(word).to_le_bytes())
            .collect();
        once.truncate(PERIOD);
        once.extend_from_within(..);
        Self { twice: once }
    }

    /// Where in the period message `message` of `session` begins.
    #[must_use]
    pub fn start(session: usize, message: u64) -> usize {
        // Odd constants spread neighbours over the period.
        let session = u64::try_from(session).unwrap_or(0);
        let place = session.wrapping_mul(0x9E37_79B9) ^ message.wrapping_mul(0x85EB_CA6B);
        usize::try_from(place % PERIOD as u64).unwrap_or(0)
    }

    /// The bytes from `offset` of a message that begins at `start`: `length`, at most a period.
    #[must_use]
    pub fn slice(&self, start: usize, offset: u64, length: usize) -> &[u8] {
        let offset = usize::try_from(offset % PERIOD as u64).unwrap_or(0);
        let at = (start + offset) % PERIOD;
        &self.twice[at..at + length.min(PERIOD)]
    }

    /// How many of `bytes` are the content from `offset` on.
    #[must_use]
    pub fn matching(&self, start: usize, mut offset: u64, bytes: &[u8]) -> usize {
        let mut whole = 0;
        for part in bytes.chunks(PERIOD) {
            let own = self.slice(start, offset, part.len());
            if own != part {
                let same = own.iter().zip(part).take_while(|(a, b)| a == b);
                return whole + same.count();
            }
            whole += part.len();
            offset += part.len() as u64;
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::{Content, PERIOD};

    #[test]
    fn content_is_the_same_however_it_is_cut() {
        let content = Content::new();
        let start = Content::start(3, 7);
        let mut whole = content.slice(start, 0, PERIOD).to_vec();
        whole.extend_from_slice(content.slice(start, PERIOD as u64, 1000));
        assert_eq!(content.matching(start, 0, &whole), whole.len());
        assert_eq!(content.slice(start, 70, 30), &whole[70..100]);
    }

    #[test]
    fn the_first_wrong_byte_is_found() {
        let content = Content::new();
        let mut bytes = content.slice(0, 5, 2000).to_vec();
        bytes[1234] ^= 1;
        assert_eq!(content.matching(0, 5, &bytes), 1234);
    }

    #[test]
    fn neighbours_are_different() {
        let content = Content::new();
        let one = content.slice(Content::start(0, 1), 0, 100);
        assert_ne!(one, content.slice(Content::start(0, 2), 0, 100));
        assert_ne!(one, content.slice(Content::start(1, 1), 0, 100));
    }
}
