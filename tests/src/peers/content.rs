//! Content that can be checked anywhere: each byte follows from a seed and its position.
//!
//! A receiver needs neither the file nor a hash, and says where the first wrong byte is.

/// A block of eight bytes (splitmix64 of the seed and the block's number).
fn block(seed: u64, number: u64) -> [u8; 8] {
    let mut z = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)).to_le_bytes()
}

/// Fills `into` with the content of `seed` from byte `offset` on.
pub fn fill(seed: u64, offset: u64, into: &mut [u8]) {
    let mut at = offset;
    let mut rest = into;
    while !rest.is_empty() {
        let whole = block(seed, at / 8);
        let skip = usize::try_from(at % 8).unwrap_or(0);
        let count = rest.len().min(8 - skip);
        let (head, tail) = rest.split_at_mut(count);
        head.copy_from_slice(&whole[skip..skip + count]);
        at += count as u64;
        rest = tail;
    }
}

/// The position of the first byte that isn't the content of `seed` from `offset` on.
#[must_use]
pub fn first_wrong(seed: u64, offset: u64, bytes: &[u8]) -> Option<u64> {
    let mut at = offset;
    let mut rest = bytes;
    while !rest.is_empty() {
        let whole = block(seed, at / 8);
        let skip = usize::try_from(at % 8).unwrap_or(0);
        let count = rest.len().min(8 - skip);
        let (head, tail) = rest.split_at(count);
        if head != &whole[skip..skip + count] {
            let inside = head
                .iter()
                .zip(&whole[skip..])
                .position(|(got, due)| got != due);
            return Some(at + inside.unwrap_or(0) as u64);
        }
        at += count as u64;
        rest = tail;
    }
    None
}

/// Which bytes of a message have arrived: disjoint ranges in order.
#[derive(Debug, Clone, Default)]
pub struct Coverage(Vec<(u64, u64)>);

impl Coverage {
    /// Adds the bytes from `start` to before `end`.
    pub fn add(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        // The usual case: the next bytes in order.
        if let Some(last) = self.0.last_mut()
            && last.1 == start
        {
            last.1 = end;
            return;
        }
        self.0.push((start, end));
        self.0.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(self.0.len());
        for &(from, to) in &self.0 {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        self.0 = merged;
    }

    /// How many bytes have arrived.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// Says whether all of the first `total` bytes have arrived.
    #[must_use]
    pub fn is_whole(&self, total: u64) -> bool {
        total == 0 || self.0 == [(0, total)]
    }
}

#[cfg(test)]
mod tests {
    use super::{Coverage, fill, first_wrong};

    #[test]
    fn content_is_the_same_from_any_offset() {
        let mut whole = [0; 100];
        fill(7, 0, &mut whole);
        let mut part = [0; 31];
        fill(7, 13, &mut part);
        assert_eq!(part, whole[13..44]);
        assert_eq!(first_wrong(7, 13, &part), None);
    }

    #[test]
    fn the_first_wrong_byte_is_named() {
        let mut bytes = [0; 64];
        fill(7, 1000, &mut bytes);
        bytes[21] ^= 1;
        assert_eq!(first_wrong(7, 1000, &bytes), Some(1021));
        assert!(first_wrong(8, 1000, &bytes[..21]).is_some());
    }

    #[test]
    fn chunks_out_of_order_make_a_whole() {
        let mut coverage = Coverage::default();
        coverage.add(10, 20);
        coverage.add(0, 5);
        assert!(!coverage.is_whole(20));
        coverage.add(4, 11);
        assert!(coverage.is_whole(20));
        assert_eq!(coverage.bytes(), 20);
    }
}
