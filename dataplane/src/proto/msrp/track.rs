//! What is known of the messages that one recorded leg sends.

use std::collections::VecDeque;

use super::legs;
use super::recording::RecordingKey;
use super::transactions::ShortText;
use crate::api::{SessionId, Side, StreamId};
use crate::limits::{MSRP_RECORDED_ENDED, MSRP_RECORDED_MESSAGES, MSRP_RECORDED_PIECES};

/// The messages of a leg that is recorded.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) recording: RecordingKey,
    pub(super) session: SessionId,
    pub(super) stream: StreamId,
    pub(super) from: Side,
    /// Begun and not ended, the oldest first.
    open: Vec<Message>,
    /// Ended complete, the oldest first: the hashes of their ids, and their numbers.
    ended: VecDeque<(u64, u32)>,
}

/// A message that is being recorded.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) id: ShortText,
    pub(super) number: u32,
    has: Pieces,
    /// Its size, once its last octet has come.
    size: Option<u64>,
    has_failed: bool,
}

impl Track {
    pub(super) fn new(
        recording: RecordingKey,
        session: SessionId,
        stream: StreamId,
        from: Side,
    ) -> Self {
        Self {
            recording,
            session,
            stream,
            from,
            open: Vec::new(),
            ended: VecDeque::new(),
        }
    }

    /// The open message with this id.
    pub(super) fn find(&self, id: &[u8]) -> Option<u32> {
        let found = self.open.iter().find(|one| one.id.as_bytes() == id);
        found.map(|message| message.number)
    }

    /// Whether a message with this id ended complete not long ago.
    pub(super) fn has_ended(&self, id: &[u8]) -> bool {
        let hash = legs::hash(id);
        self.ended.iter().any(|(ended, _)| *ended == hash)
    }

    /// Opens a message; the oldest one is taken out for it where there are too many.
    pub(super) fn open(&mut self, id: ShortText, number: u32) -> Option<Message> {
        let is_full = self.open.len() >= MSRP_RECORDED_MESSAGES;
        let oldest = is_full.then(|| self.open.remove(0));
        self.open.push(Message {
            id,
            number,
            has: Pieces::default(),
            size: None,
            has_failed: false,
        });
        oldest
    }

    /// Octets of an open message have come; false: it isn't open any more.
    pub(super) fn add(&mut self, number: u32, from: u64, octets: u64) -> bool {
        let message = self.open.iter_mut().find(|one| one.number == number);
        let Some(message) = message else {
            return false;
        };
        message.has.add(from, from.saturating_add(octets));
        true
    }

    /// A chunk of an open message has ended, `size` is its size where that was the last one: takes
    /// out a message of which nothing is missing, and says whether it is a good one.
    pub(super) fn end_chunk(&mut self, number: u32, size: Option<u64>) -> Option<bool> {
        let at = self.open.iter().position(|one| one.number == number)?;
        let message = self.open.get_mut(at)?;
        message.size = size.or(message.size);
        if !message.size.is_some_and(|size| message.has.are_whole(size)) {
            return None;
        }
        let message = self.open.remove(at);
        if !message.has_failed {
            if self.ended.len() >= MSRP_RECORDED_ENDED {
                self.ended.pop_front();
            }
            let hash = legs::hash(message.id.as_bytes());
            self.ended.push_back((hash, message.number));
        }
        Some(!message.has_failed)
    }

    /// Takes out an open message.
    pub(super) fn take(&mut self, number: u32) -> Option<Message> {
        let at = self.open.iter().position(|one| one.number == number)?;
        Some(self.open.remove(at))
    }

    /// Takes out any open message, the oldest first.
    pub(super) fn take_oldest(&mut self) -> Option<Message> {
        (!self.open.is_empty()).then(|| self.open.remove(0))
    }

    /// The failure of a message was reported: the number of one that had ended as a good one. An
    /// open one remembers it until it ends.
    pub(super) fn fail(&mut self, id: &[u8]) -> Option<u32> {
        if let Some(open) = self.open.iter_mut().find(|one| one.id.as_bytes() == id) {
            open.has_failed = true;
            return None;
        }
        let hash = legs::hash(id);
        let at = self.ended.iter().rposition(|(ended, _)| *ended == hash)?;
        self.ended.remove(at).map(|(_, number)| number)
    }
}

/// Which octets of a message have come.
#[derive(Debug, Default)]
struct Pieces {
    /// All before this one.
    front: u64,
    /// Those behind a gap: disjoint, in order.
    later: Vec<(u64, u64)>,
    /// There were too many gaps, so it isn't known any more.
    is_lost: bool,
}

impl Pieces {
    fn add(&mut self, from: u64, to: u64) {
        if from <= self.front {
            self.front = self.front.max(to);
        } else {
            self.add_later(from, to);
        }
        let front = &mut self.front;
        self.later.retain(|(from, to)| {
            let is_reached = *from <= *front;
            if is_reached {
                *front = (*front).max(*to);
            }
            !is_reached
        });
    }

    fn add_later(&mut self, from: u64, to: u64) {
        let (mut from, mut to) = (from, to);
        self.later.retain(|piece| {
            let is_apart = piece.1 < from || to < piece.0;
            if !is_apart {
                from = from.min(piece.0);
                to = to.max(piece.1);
            }
            is_apart
        });
        if self.later.len() >= MSRP_RECORDED_PIECES {
            self.is_lost = true;
            return;
        }
        let at = self.later.partition_point(|piece| piece.0 < from);
        self.later.insert(at, (from, to));
    }

    /// Whether no octet of a message of this size is missing.
    fn are_whole(&self, size: u64) -> bool {
        !self.is_lost && self.front >= size
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn pieces_know_what_a_bitmap_knows() {
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut pieces = Pieces::default();
            let mut came = [false; 60];
            for _ in 0..40 {
                let from = random.random_range(0..came.len());
                let to = random.random_range(from..=came.len());
                pieces.add(from as u64, to as u64);
                came[from..to].fill(true);
                let front = came.iter().take_while(|came| **came).count();
                assert!(!pieces.is_lost, "seed {seed}");
                assert!(pieces.are_whole(front as u64), "seed {seed}: {pieces:?}");
                assert!(
                    !pieces.are_whole(front as u64 + 1),
                    "seed {seed}: {pieces:?}"
                );
            }
        }
    }

    #[test]
    fn too_many_gaps_are_never_whole() {
        let mut pieces = Pieces::default();
        for gap in 0..=MSRP_RECORDED_PIECES as u64 {
            pieces.add(10 * gap + 5, 10 * gap + 6);
        }
        pieces.add(0, 1000);
        assert!(!pieces.are_whole(1000));
        assert!(pieces.later.len() <= MSRP_RECORDED_PIECES);
    }
}
