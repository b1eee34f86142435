//! A worker's share of the media ports: pairs, reused first in first out after a quiet time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::api::Config;

/// An even port and the odd one after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortPair(u16);

impl PortPair {
    /// The even port.
    #[must_use]
    pub fn even(self) -> u16 {
        self.0
    }

    /// The odd port.
    #[must_use]
    pub fn odd(self) -> u16 {
        self.0 | 1
    }
}

/// The pairs of one worker. A pair is a pair on all local addresses.
#[derive(Debug)]
pub struct Ports {
    free: VecDeque<PortPair>,
    quiet: VecDeque<(Instant, PortPair)>,
    quiet_time: Duration,
    pairs: usize,
}

impl Ports {
    /// Makes the share of worker `number` of the range that the workers split evenly.
    #[must_use]
    pub fn new(config: &Config, number: usize) -> Self {
        let first = usize::from(config.port_first).next_multiple_of(2);
        let pairs = (usize::from(config.port_last) + 1).saturating_sub(first) / 2;
        let workers = config.workers.max(1);
        let share = pairs * number / workers..pairs * (number + 1) / workers;
        let free: VecDeque<PortPair> = share
            .filter_map(|pair| u16::try_from(first + 2 * pair).ok())
            .map(PortPair)
            .collect();
        Self {
            quiet: VecDeque::with_capacity(free.len()),
            pairs: free.len(),
            free,
            quiet_time: Duration::from_millis(config.port_quiet_ms),
        }
    }

    /// Takes the pair that was free for the longest time.
    pub fn take(&mut self, now: Instant) -> Option<PortPair> {
        self.wake(now);
        self.free.pop_front()
    }

    /// Gives a pair back that nobody was told about; it is the next to be taken.
    pub fn give_unused(&mut self, pair: PortPair) {
        self.free.push_front(pair);
    }

    /// Gives a pair back that was in use, here or by somebody else; it rests first.
    pub fn give(&mut self, now: Instant, pair: PortPair) {
        self.quiet.push_back((now + self.quiet_time, pair));
    }

    /// Ports that could be taken at this time.
    pub fn free(&mut self, now: Instant) -> usize {
        self.wake(now);
        self.free.len() * 2
    }

    /// Ports in all.
    #[must_use]
    pub fn total(&self) -> usize {
        self.pairs * 2
    }

    fn wake(&mut self, now: Instant) {
        while let Some(&(until, pair)) = self.quiet.front() {
            if until > now {
                break;
            }
            self.quiet.pop_front();
            self.free.push_back(pair);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::BackendKind;
    use crate::frame::PoolSize;

    fn config(port_first: u16, port_last: u16, workers: usize) -> Config {
        Config {
            workers,
            first_core: None,
            backend: BackendKind::Auto,
            port_first,
            port_last,
            port_quiet_ms: 1000,
            msrp_listen: Vec::new(),
            msrp_ports: crate::api::PortChoice::only_tcp(0),
            msrp_tls: None,
            msrp_origins: crate::api::OriginPolicy::Any,
            msrp_relay: None,
            pool: PoolSize::default(),
            seed: Some(1),
        }
    }

    #[test]
    fn the_workers_share_every_pair_once() {
        let three = config(10_001, 10_023, 3);
        let mut all: Vec<u16> = (0..3)
            .flat_map(|number| Ports::new(&three, number).free)
            .map(PortPair::even)
            .collect();
        all.sort_unstable();
        let want: Vec<u16> = (10_002..10_024).step_by(2).collect();
        assert_eq!(all, want);
        assert_eq!(Ports::new(&config(65_534, 65_535, 1), 0).pairs, 1);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a time to begin with")]
    fn a_used_pair_rests_and_an_unused_one_does_not() {
        let now = Instant::now();
        let mut ports = Ports::new(&config(10_000, 10_003, 1), 0);
        let (first, second) = (ports.take(now).unwrap(), ports.take(now).unwrap());
        assert_eq!((first.even(), first.odd()), (10_000, 10_001));
        assert_eq!(ports.take(now), None);
        ports.give_unused(second);
        assert_eq!(ports.take(now), Some(second));
        ports.give(now, first);
        assert_eq!(ports.free(now + Duration::from_millis(999)), 0);
        assert_eq!(ports.free(now + Duration::from_millis(1000)), 2);
        assert_eq!(ports.take(now + Duration::from_millis(1000)), Some(first));
    }
}
