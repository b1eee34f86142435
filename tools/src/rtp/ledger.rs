//! Which packets of one stream came: every one that is measured has a bit of its own.

/// What came of one stream.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    first: u32,
    end: u32,
    came: Vec<u64>,
    next: u32,
    /// Measured packets that came, each counted once.
    pub received: u64,
    /// Copies of measured packets.
    pub duplicated: u64,
    /// Measured packets that came after a later one.
    pub reordered: u64,
}

impl Ledger {
    /// A ledger of the packets `first` up to but not including `end`.
    #[must_use]
    pub fn new(first: u32, end: u32) -> Self {
        let words = usize::try_from(end.saturating_sub(first).div_ceil(64)).unwrap_or(0);
        Self {
            first,
            end,
            came: vec![0; words],
            ..Self::default()
        }
    }

    /// Books packet `seq`; says whether it is measured and new.
    pub fn take(&mut self, seq: u32) -> bool {
        let late = seq < self.next;
        self.next = self.next.max(seq.saturating_add(1));
        if !(self.first..self.end).contains(&seq) {
            return false;
        }
        let index = seq - self.first;
        let (word, bit) = (usize::try_from(index / 64).unwrap_or(0), 1 << (index % 64));
        if self.came[word] & bit != 0 {
            self.duplicated += 1;
            return false;
        }
        self.came[word] |= bit;
        self.received += 1;
        self.reordered += u64::from(late);
        true
    }

    /// Measured packets that didn't come.
    #[must_use]
    pub fn lost(&self) -> u64 {
        u64::from(self.end.saturating_sub(self.first)).saturating_sub(self.received)
    }
}

#[cfg(test)]
mod tests {
    use super::Ledger;

    fn taken(seqs: impl IntoIterator<Item = u32>) -> Ledger {
        let mut ledger = Ledger::new(10, 210);
        for seq in seqs {
            let _new = ledger.take(seq);
        }
        ledger
    }

    #[test]
    fn all_packets_in_order_are_all_that_was_measured() {
        let ledger = taken(0..300);
        assert_eq!((ledger.received, ledger.lost()), (200, 0));
        assert_eq!((ledger.duplicated, ledger.reordered), (0, 0));
    }

    #[test]
    fn a_missing_packet_is_lost() {
        let ledger = taken((0..300).filter(|seq| *seq != 150));
        assert_eq!((ledger.received, ledger.lost()), (199, 1));
    }

    #[test]
    fn a_copy_is_counted_once_however_late() {
        let ledger = taken((0..300).chain([10, 209]));
        assert_eq!((ledger.received, ledger.duplicated), (200, 2));
        assert_eq!((ledger.lost(), ledger.reordered), (0, 0));
    }

    #[test]
    fn a_packet_behind_a_later_one_is_reordered_and_not_lost() {
        let ledger = taken([10, 12, 11, 13]);
        assert_eq!((ledger.received, ledger.reordered), (4, 1));
    }
}
