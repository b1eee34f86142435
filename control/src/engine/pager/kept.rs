//! What is kept for a while: bounded in count, the oldest goes first.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Entries that were made in the last `time`, at most `most` of them.
pub(in crate::engine) struct Kept<K, V> {
    /// Each with its place in the order.
    entries: HashMap<K, (u64, V)>,
    /// When each entry was made, the oldest first; it holds exactly the keys of the entries.
    order: BTreeMap<u64, (Instant, K)>,
    made: u64,
    most: usize,
    time: Duration,
}

impl<K: Hash + Eq + Clone, V> Kept<K, V> {
    pub(in crate::engine) fn new(most: usize, time: Duration) -> Self {
        Self {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            made: 0,
            most,
            time,
        }
    }

    /// Keeps an entry from now on, in the place of one with its key; whether another had to go
    /// for it.
    pub(in crate::engine) fn insert(&mut self, now: Instant, key: K, value: V) -> bool {
        self.expire(now);
        self.made += 1;
        self.order.insert(self.made, (now, key.clone()));
        if let Some((place, _)) = self.entries.insert(key, (self.made, value)) {
            self.order.remove(&place);
        }
        let is_full = self.entries.len() > self.most;
        if is_full && let Some((_, (_, oldest))) = self.order.pop_first() {
            self.entries.remove(&oldest);
        }
        is_full
    }

    pub(in crate::engine) fn remove(&mut self, key: &K) -> Option<V> {
        let (place, value) = self.entries.remove(key)?;
        self.order.remove(&place);
        Some(value)
    }

    pub(in crate::engine) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    fn expire(&mut self, now: Instant) {
        while let Some(first) = self.order.first_entry()
            && now.saturating_duration_since(first.get().0) >= self.time
        {
            self.entries.remove(&first.remove().1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test's time begins somewhere")]
    fn the_oldest_goes_when_there_is_no_room_and_all_go_in_time() {
        let now = Instant::now();
        let mut kept = Kept::new(2, Duration::from_secs(10));
        assert!(!kept.insert(now, 1, 'a'));
        assert!(!kept.insert(now, 2, 'b'));
        assert!(!kept.insert(now, 1, 'c'), "it was there, and is new now");
        assert!(kept.insert(now + Duration::from_secs(5), 3, 'd'));
        assert_eq!(
            (kept.get(&1), kept.get(&2), kept.get(&3)),
            (Some(&'c'), None, Some(&'d'))
        );
        kept.insert(now + Duration::from_secs(10), 4, 'e');
        assert_eq!((kept.get(&1), kept.get(&3)), (None, Some(&'d')));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test's time begins somewhere")]
    fn what_was_taken_back_and_is_kept_again_takes_no_more_room_and_stays_its_whole_time() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut kept = Kept::new(100, Duration::from_secs(10));
        for _ in 0..1000 {
            kept.insert(now, 1, 'a');
            assert_eq!(kept.remove(&1), Some('a'));
        }
        kept.insert(at(5), 1, 'b');
        assert_eq!((kept.order.len(), kept.entries.len()), (1, 1));
        kept.insert(at(10), 2, 'c');
        assert_eq!(kept.get(&1), Some(&'b'), "it was made 5 seconds ago");
        kept.insert(at(15), 3, 'd');
        assert_eq!((kept.get(&1), kept.order.len()), (None, 2));
    }
}
