//! What is kept for a while: bounded in count, the oldest goes first.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Entries that were made in the last `time`, at most `most` of them.
pub(in crate::engine) struct Kept<K, V> {
    entries: HashMap<K, V>,
    /// When each entry was made, the oldest first.
    order: VecDeque<(Instant, K)>,
    most: usize,
    time: Duration,
}

impl<K: Hash + Eq + Clone, V> Kept<K, V> {
    pub(in crate::engine) fn new(most: usize, time: Duration) -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            most,
            time,
        }
    }

    /// Keeps an entry, in the place of one with its key; whether another had to go for it.
    pub(in crate::engine) fn insert(&mut self, now: Instant, key: K, value: V) -> bool {
        self.expire(now);
        if self.entries.insert(key.clone(), value).is_some() {
            return false;
        }
        self.order.push_back((now, key));
        let is_full = self.entries.len() > self.most;
        while self.entries.len() > self.most
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        is_full
    }

    pub(in crate::engine) fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key)
    }

    pub(in crate::engine) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    pub(in crate::engine) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    fn expire(&mut self, now: Instant) {
        while let Some((at, _)) = self.order.front()
            && now.saturating_duration_since(*at) >= self.time
        {
            if let Some((_, key)) = self.order.pop_front() {
                self.entries.remove(&key);
            }
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
        assert!(!kept.insert(now, 1, 'c'), "it was there");
        assert!(kept.insert(now + Duration::from_secs(5), 3, 'd'));
        assert_eq!(
            (kept.get(&1), kept.get(&2), kept.get(&3)),
            (None, Some(&'b'), Some(&'d'))
        );
        kept.insert(now + Duration::from_secs(10), 4, 'e');
        assert_eq!((kept.get(&2), kept.get(&3)), (None, Some(&'d')));
    }
}
