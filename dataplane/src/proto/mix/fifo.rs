//! Samples that were decoded and not yet played.

/// A queue of samples with a fixed capacity.
#[derive(Debug)]
pub(super) struct Fifo {
    samples: Box<[i16]>,
    from: usize,
    to: usize,
}

impl Fifo {
    /// An empty queue for this many samples.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            samples: vec![0; capacity].into_boxed_slice(),
            from: 0,
            to: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.to - self.from
    }

    pub(super) fn capacity(&self) -> usize {
        self.samples.len()
    }

    /// All the room that there is behind the samples, to write to; `wrote` says how much it was.
    pub(super) fn room(&mut self) -> &mut [i16] {
        if self.from > 0 {
            self.samples.copy_within(self.from..self.to, 0);
            self.to -= self.from;
            self.from = 0;
        }
        self.samples.get_mut(self.to..).unwrap_or_default()
    }

    /// So many samples were written to the room.
    pub(super) fn wrote(&mut self, count: usize) {
        self.to = (self.to + count).min(self.samples.len());
    }

    /// Adds silence.
    pub(super) fn zeros(&mut self, count: usize) {
        let room = self.room();
        let count = count.min(room.len());
        room[..count].fill(0);
        self.wrote(count);
    }

    /// The samples in front, at most `count`.
    pub(super) fn front(&self, count: usize) -> &[i16] {
        let to = (self.from + count).min(self.to);
        self.samples.get(self.from..to).unwrap_or_default()
    }

    /// The same, to change.
    pub(super) fn front_mut(&mut self, count: usize) -> &mut [i16] {
        let to = (self.from + count).min(self.to);
        self.samples.get_mut(self.from..to).unwrap_or_default()
    }

    /// Drops samples in front.
    pub(super) fn drop_front(&mut self, count: usize) {
        self.from = (self.from + count).min(self.to);
    }

    pub(super) fn clear(&mut self) {
        (self.from, self.to) = (0, 0);
    }

    /// Takes `count` samples out of the front and fades from what was before to what is after,
    /// over `fade` samples; says how many it took.
    pub(super) fn cut(&mut self, count: usize, fade: usize) -> usize {
        let count = count.min(self.len());
        let fade = fade.min(count).min(self.len() - count);
        let all = self.samples.get_mut(self.from..self.to).unwrap_or_default();
        let (before, after) = all.split_at_mut(count);
        let whole = i32::try_from(fade).unwrap_or(1).max(1);
        for (at, (after, before)) in (0..whole).zip(after.iter_mut().zip(before).take(fade)) {
            let mixed = (i32::from(*before) * (whole - at) + i32::from(*after) * at) / whole;
            *after = i16::try_from(mixed).unwrap_or(0);
        }
        self.from += count;
        count
    }
}

#[cfg(test)]
mod tests {
    use super::Fifo;

    fn filled(samples: &[i16]) -> Fifo {
        let mut fifo = Fifo::new(16);
        fifo.room()[..samples.len()].copy_from_slice(samples);
        fifo.wrote(samples.len());
        fifo
    }

    #[test]
    fn samples_come_out_as_they_went_in() {
        let mut fifo = filled(&[1, 2, 3, 4]);
        assert_eq!(fifo.front(3), [1, 2, 3]);
        fifo.drop_front(3);
        assert_eq!(fifo.room().len(), 15);
        assert_eq!(fifo.front(9), [4]);
    }

    #[test]
    fn a_cut_fades_from_one_end_to_the_other() {
        let mut fifo = filled(&[100, 100, 100, 100, 0, 0, 0, 0, 0]);
        assert_eq!(fifo.cut(4, 4), 4);
        assert_eq!(fifo.front(9), [100, 75, 50, 25, 0]);
        let mut fifo = filled(&[1, 2]);
        assert_eq!(fifo.cut(9, 4), 2);
        assert_eq!(fifo.len(), 0);
    }
}
