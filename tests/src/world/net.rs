//! The network: seeded loss, delay, doubling; reordering comes from the delays.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// What the network does to packets.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Packets lost, of a thousand.
    pub lost_permille: u32,
    /// Packets that arrive twice, of a thousand.
    pub doubled_permille: u32,
    /// The longest way, in milliseconds; the shortest is 1.
    pub delay_ms_max: u64,
}

impl Weather {
    /// Nothing is lost, and nothing overtakes by much.
    pub const FAIR: Self = Self {
        lost_permille: 0,
        doubled_permille: 0,
        delay_ms_max: 2,
    };
    /// A network that nobody would pay for.
    pub const STORM: Self = Self {
        lost_permille: 150,
        doubled_permille: 50,
        delay_ms_max: 120,
    };
}

/// A packet on its way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parcel {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

pub(super) struct Net {
    rng: StdRng,
    weather: Weather,
    under_way: BinaryHeap<Reverse<(Instant, u64, Parcel, usize)>>,
    sent: u64,
}

impl Net {
    pub(super) fn new(seed: u64, weather: Weather) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            weather,
            under_way: BinaryHeap::new(),
            sent: 0,
        }
    }

    pub(super) fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    pub(super) fn send(&mut self, now: Instant, parcel: Parcel) {
        self.send_numbered(now, parcel, 0);
    }

    /// Sends a parcel with a number by which its sender knows it when it arrives.
    pub(super) fn send_numbered(&mut self, now: Instant, parcel: Parcel, number: usize) {
        if self.rng.random_range(0..1000) < self.weather.lost_permille {
            return;
        }
        let copies = if self.rng.random_range(0..1000) < self.weather.doubled_permille {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let delay = Duration::from_millis(self.rng.random_range(1..=self.weather.delay_ms_max));
            self.sent += 1;
            self.under_way
                .push(Reverse((now + delay, self.sent, parcel.clone(), number)));
        }
    }

    pub(super) fn arrived(&mut self, now: Instant) -> Option<Parcel> {
        self.arrived_with_number(now).map(|(parcel, _)| parcel)
    }

    pub(super) fn arrived_with_number(&mut self, now: Instant) -> Option<(Parcel, usize)> {
        if self.poll_timeout()? > now {
            return None;
        }
        let Reverse((_, _, parcel, number)) = self.under_way.pop()?;
        Some((parcel, number))
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.under_way.peek().map(|Reverse((at, ..))| *at)
    }
}
