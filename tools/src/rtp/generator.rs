//! The open-loop generator: every packet has its moment, and the moments of all streams lie evenly
//! over the codec's interval, in an order that is mixed once.
//!
//! A thread per core sends and receives. Latency runs from the clock reading in the packet, just
//! before `send`, to the kernel's time stamp at the far socket (`SO_TIMESTAMPNS`), so that a receiver
//! that is late makes no latency. A sender that is late does: its lateness is measured and reported.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::host;
use super::leg::Legs;
use super::packet::Codec;
use super::shard::{self, Shard};

/// How much, how long.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// What the packets look like.
    pub codec: Codec,
    /// Packets per second, both directions of all calls.
    pub rate: u64,
    /// Seconds that are measured.
    pub seconds: u64,
    /// Seconds before them that are not.
    pub warmup_s: u64,
    /// Packets leave together once in so many microseconds; 0: each at its own moment.
    pub coalesce_us: u64,
}

/// The moments of the packets: round `n` of all streams takes `period_ns`, whoever sends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Between two packets of one stream, in nanoseconds.
    pub period_ns: u64,
    /// Between two moments at which packets leave together, in nanoseconds; at least 1.
    pub slot_ns: u64,
    /// The first round that is measured.
    pub first: u32,
    /// The first round that isn't sent.
    pub end: u32,
}

impl Plan {
    /// The rounds of `streams` streams under `load`.
    #[must_use]
    pub fn new(load: &Load, streams: usize) -> Self {
        let streams = u64::try_from(streams).unwrap_or(1).max(1);
        let period_ns = (streams * SECOND_NS / load.rate.max(1)).max(1);
        let rounds = |seconds: u64| u32::try_from(seconds * SECOND_NS / period_ns);
        let first = rounds(load.warmup_s).unwrap_or(0);
        let measured = rounds(load.seconds).unwrap_or(u32::MAX).max(1);
        Self {
            period_ns,
            slot_ns: (load.coalesce_us * 1000).max(1),
            first,
            end: first.saturating_add(measured),
        }
    }

    /// From the first packet to the first that is measured.
    #[must_use]
    pub const fn warmup(&self) -> Duration {
        Duration::from_nanos(self.period_ns.saturating_mul(self.first as u64))
    }

    /// How long is measured.
    #[must_use]
    pub const fn measured(&self) -> Duration {
        Duration::from_nanos(
            self.period_ns
                .saturating_mul((self.end - self.first) as u64),
        )
    }
}

const SECOND_NS: u64 = 1_000_000_000;

/// What a thread tells while it runs.
#[derive(Debug, Default)]
pub struct Gauge {
    /// Packets sent since the start.
    pub sent: AtomicU64,
    /// Packets received since the start.
    pub received: AtomicU64,
}

/// What came of the measured packets.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Packets sent.
    pub sent: u64,
    /// Packets whose `send` the kernel refused; they count as sent and lost.
    pub refused: u64,
    /// Packets received, each once.
    pub received: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Further copies.
    pub duplicated: u64,
    /// Packets behind a later one of their stream.
    pub reordered: u64,
    /// Packets that aren't what was sent.
    pub damaged: u64,
    /// Whole packets at a socket that isn't theirs.
    pub stray: u64,
    /// From `send` to the far socket, in nanoseconds.
    pub latency: Histogram<u64>,
    /// From a packet's moment to its `send`, in nanoseconds.
    pub lateness: Histogram<u64>,
    /// The share of the time that the busiest thread had something to do.
    pub busy: f64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            sent: 0,
            refused: 0,
            received: 0,
            lost: 0,
            duplicated: 0,
            reordered: 0,
            damaged: 0,
            stray: 0,
            latency: histogram(),
            lateness: histogram(),
            busy: 0.0,
        }
    }
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.refused += other.refused;
        self.received += other.received;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.damaged += other.damaged;
        self.stray += other.stray;
        let _same_bounds = self.latency.add(&other.latency);
        let _same_bounds = self.lateness.add(&other.lateness);
        self.busy = self.busy.max(other.busy);
    }
}

/// Three digits, up to a minute.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60 * SECOND_NS, 3).expect("the bounds are constants in order")
}

/// What else is known of the measured time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    /// CPU time of the relay, in nanoseconds.
    pub cpu_ns: u64,
    /// Packets that came from the relay meanwhile.
    pub relayed: u64,
    /// Wall clock.
    pub wall: Duration,
}

/// One moment of a run, for a progress bar.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Since the first packet.
    pub elapsed: Duration,
    /// Packets sent since the start.
    pub sent: u64,
    /// Packets received since the start.
    pub received: u64,
}

/// Runs the load over `legs` and reads what process `relay` used meanwhile.
///
/// # Errors
///
/// A thread can't start or epoll isn't there.
pub fn run(
    legs: &Legs,
    load: &Load,
    (cores, relay): (&[usize], u32),
    mut watch: impl FnMut(Moment),
) -> Result<(Tally, Reading), String> {
    let plan = Plan::new(load, legs.all.len());
    let gauges: Vec<Gauge> = cores.iter().map(|_| Gauge::default()).collect();
    let start_ns = shard::now_ns() + 50_000_000;
    let start = Instant::now() + Duration::from_millis(50);
    let total = || {
        let sum = |of: fn(&Gauge) -> &AtomicU64| {
            gauges
                .iter()
                .map(|gauge| of(gauge).load(Ordering::Relaxed))
                .sum()
        };
        (sum(|gauge| &gauge.sent), sum(|gauge| &gauge.received))
    };
    thread::scope(|scope| {
        let mut shards = Vec::new();
        for (number, (core, gauge)) in cores.iter().zip(&gauges).enumerate() {
            let shard = Shard::new(legs, (number, cores.len()), (plan, start_ns), load.codec)?;
            let body = move || {
                host::pin_this_thread(&[*core]);
                shard.run(gauge)
            };
            let thread = thread::Builder::new().name(format!("generator-{number}"));
            let thread = thread.spawn_scoped(scope, body);
            shards.push(thread.map_err(|error| format!("no thread: {error}"))?);
        }
        let read = || (Instant::now(), host::cpu_ns(relay), total().1);
        let mut wait = |until: Instant| {
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                thread::sleep(left.min(Duration::from_millis(200)));
                let (sent, received) = total();
                watch(Moment {
                    elapsed: start.elapsed(),
                    sent,
                    received,
                });
            }
        };
        wait(start + plan.warmup());
        let before = read();
        wait(start + plan.warmup() + plan.measured());
        let after = read();
        let mut tally = Tally::default();
        for shard in shards {
            let part = shard
                .join()
                .map_err(|_| "a generator thread failed".to_owned())?;
            tally.add(&part);
        }
        let reading = Reading {
            cpu_ns: after.1.saturating_sub(before.1),
            relayed: after.2.saturating_sub(before.2),
            wall: after.0.saturating_duration_since(before.0),
        };
        Ok((tally, reading))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Load, Plan};
    use crate::rtp::packet::Codec;

    #[test]
    fn streams_keep_the_interval_that_the_rate_makes() {
        let load = Load {
            codec: Codec::G711,
            rate: 50_000,
            seconds: 10,
            warmup_s: 2,
            coalesce_us: 0,
        };
        let plan = Plan::new(&load, 1000);
        assert_eq!(
            Duration::from_nanos(plan.period_ns),
            Duration::from_millis(20)
        );
        assert_eq!((plan.first, plan.end), (100, 600));
        assert_eq!(plan.measured(), Duration::from_secs(10));
        assert_eq!(plan.warmup(), Duration::from_secs(2));
    }
}
