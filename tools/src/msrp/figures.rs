//! What one run measured: as JSON, and as lines for a terminal.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::plan::{Load, Pace};
use super::subject::Contender;
use super::tally::Tally;
use crate::load::count;

/// A sender that is later than this for one message in a hundred shapes the load itself.
const LATE_NS: u64 = 1_000_000;
/// The share of time above which the generator, or the relay, has no time left.
const BUSY_MAX: f64 = 0.95;

/// The percentiles that are reported.
pub const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];

/// What is known of the measured time besides the messages.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    /// CPU time of the relay, in nanoseconds.
    pub cpu_ns: u64,
    /// Messages that arrived meanwhile.
    pub messages: u64,
    /// Body bytes that arrived meanwhile.
    pub bytes: u64,
    /// Wall clock.
    pub wall: Duration,
}

/// Memory of the relay in KiB.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Before the first session.
    pub before_kib: u64,
    /// With all sessions set up, before the load.
    pub set_up_kib: u64,
    /// At the end of the load.
    pub end_kib: u64,
    /// How many sessions that are.
    pub sessions: usize,
}

impl Memory {
    /// KiB that a session took, from before the first to the end of the load.
    #[must_use]
    pub fn kib_per_session(&self) -> f64 {
        count(self.end_kib.saturating_sub(self.before_kib)) / self.sessions.max(1) as f64
    }
}

/// One run.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Through which relay.
    pub contender: Contender,
    /// What was asked for.
    pub load: Load,
    /// What came of the messages.
    pub tally: Tally,
    /// What the relay used meanwhile.
    pub reading: Reading,
    /// Its memory.
    pub memory: Memory,
    /// The generator and the relay shared a core.
    pub overlap: bool,
    /// The machine's load average at the end.
    pub load_average: f64,
}

impl Figures {
    /// So much of what the relay did per second of its CPU time; 0: there is no relay.
    fn per_cpu_second(&self, amount: u64) -> f64 {
        if self.reading.cpu_ns == 0 {
            return 0.0;
        }
        count(amount) / self.cpu_seconds()
    }

    fn cpu_seconds(&self) -> f64 {
        Duration::from_nanos(self.reading.cpu_ns).as_secs_f64()
    }

    /// CPU time of the relay per message, in microseconds.
    #[must_use]
    pub fn cpu_us_per_message(&self) -> f64 {
        self.cpu_seconds() * 1e6 / count(self.reading.messages.max(1))
    }

    /// Messages that a second of the relay's CPU time passes on.
    #[must_use]
    pub fn messages_per_cpu_second(&self) -> f64 {
        self.per_cpu_second(self.reading.messages)
    }

    /// Body bytes that a second of the relay's CPU time passes on.
    #[must_use]
    pub fn bytes_per_cpu_second(&self) -> f64 {
        self.per_cpu_second(self.reading.bytes)
    }

    /// CPU time of the relay per body byte, in nanoseconds.
    #[must_use]
    pub fn cpu_ns_per_byte(&self) -> f64 {
        count(self.reading.cpu_ns) / count(self.reading.bytes.max(1))
    }

    /// Messages per second that came through.
    #[must_use]
    pub fn messages_per_second(&self) -> f64 {
        count(self.reading.messages) / self.reading.wall.as_secs_f64().max(0.001)
    }

    /// Body bytes per second that came through.
    #[must_use]
    pub fn bytes_per_second(&self) -> f64 {
        count(self.reading.bytes) / self.reading.wall.as_secs_f64().max(0.001)
    }

    /// The share of one core that the relay used.
    #[must_use]
    pub fn relay_busy(&self) -> f64 {
        self.cpu_seconds() / self.reading.wall.as_secs_f64().max(0.001)
    }

    /// Every message that was sent arrived as it was sent.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.tally.lost() == 0 && self.tally.damaged == 0 && self.tally.refused == 0
    }

    /// Why the pace may be the generator's; `None` when it is the relay's or as it was asked for.
    /// CPU time per message and per byte is the relay's in any case.
    #[must_use]
    pub fn generator_limit(&self) -> Option<String> {
        if self.overlap {
            return Some("the generator shares a core with the relay".to_owned());
        }
        match self.load.pace {
            Pace::Closed { .. } if self.relay_busy() < BUSY_MAX && self.tally.busy > BUSY_MAX => {
                let (own, relay) = (self.tally.busy * 100.0, self.relay_busy() * 100.0);
                Some(format!(
                    "the generator was busy {own:.0} %, the relay {relay:.0} %"
                ))
            }
            Pace::Closed { .. } => None,
            Pace::Open { .. } => {
                let late = self.tally.lateness.value_at_quantile(0.99);
                let text = || format!("1 % of the messages left {:.0} us late", micros(late));
                (late > LATE_NS).then(text)
            }
        }
    }

    /// Everything for machines.
    #[must_use]
    pub fn json(&self) -> Value {
        let tally = &self.tally;
        json!({
            "target": self.contender.name(),
            "load": self.asked(),
            "seconds": self.reading.wall.as_secs_f64(),
            "messages_per_second": self.messages_per_second(),
            "bytes_per_second": self.bytes_per_second(),
            "sent": tally.sent,
            "acknowledged": tally.acknowledged,
            "delivered": tally.delivered,
            "lost": tally.lost(),
            "lost_in_silence": tally.lost_in_silence(),
            "success_reports": tally.reported,
            "failed_reports": tally.failed,
            "refused": tally.refused,
            "damaged": tally.damaged,
            "closed": tally.closed,
            "cpu_us_per_message": self.cpu_us_per_message(),
            "cpu_ns_per_byte": self.cpu_ns_per_byte(),
            "messages_per_cpu_second": self.messages_per_cpu_second(),
            "bytes_per_cpu_second": self.bytes_per_cpu_second(),
            "latency_us": percentiles(&tally.latency),
            "first_byte_us": percentiles(&tally.first_byte),
            "memory_kib": {
                "before": self.memory.before_kib,
                "set_up": self.memory.set_up_kib,
                "end": self.memory.end_kib,
            },
            "memory_kib_per_session": self.memory.kib_per_session(),
            "relay_busy": self.relay_busy(),
            "generator": {
                "lateness_us": percentiles(&tally.lateness),
                "busy": tally.busy,
                "limit": self.generator_limit(),
            },
            "load_average": self.load_average,
        })
    }

    fn asked(&self) -> Value {
        let load = &self.load;
        let (rate, window) = match load.pace {
            Pace::Open { rate } => (Some(rate), None),
            Pace::Closed { window } => (None, Some(window)),
        };
        json!({
            "size": load.size,
            "chunk": load.chunk.min(load.size),
            "sessions": load.sessions,
            "rate": rate,
            "window": window,
            "feed_bytes": load.feed.map(|feed| feed.bytes),
            "feed_us": load.feed.map(|feed| feed.every_ns / 1000),
            "success_report": load.success_report,
        })
    }

    /// Everything for people.
    #[must_use]
    pub fn text(&self) -> String {
        let (tally, mut text) = (&self.tally, String::new());
        let _infallible = writeln!(
            text,
            "{}: {} sessions, {:.0} messages/s of {} bytes, {:.1} MB/s for {:.1} s\n\
             sent {}, acknowledged {}, delivered {}, lost {} ({} in silence), damaged {}, \
             refused {}, success reports {}, failed reports {}, connections closed {}",
            self.contender.name(),
            self.load.sessions,
            self.messages_per_second(),
            self.load.size,
            self.bytes_per_second() / 1e6,
            self.reading.wall.as_secs_f64(),
            tally.sent,
            tally.acknowledged,
            tally.delivered,
            tally.lost(),
            tally.lost_in_silence(),
            tally.damaged,
            tally.refused,
            tally.reported,
            tally.failed,
            tally.closed,
        );
        let _infallible = writeln!(
            text,
            "relay: {:.2} us CPU per message, {:.3} ns per byte: {:.0} messages or {:.0} MB per CPU \
             second; busy {:.0} %; memory {} KiB before, {} with sessions, {} at the end: {:.1} KiB \
             per session",
            self.cpu_us_per_message(),
            self.cpu_ns_per_byte(),
            self.messages_per_cpu_second(),
            self.bytes_per_cpu_second() / 1e6,
            self.relay_busy() * 100.0,
            self.memory.before_kib,
            self.memory.set_up_kib,
            self.memory.end_kib,
            self.memory.kib_per_session(),
        );
        let _infallible = writeln!(text, "latency     {}", line(&tally.latency));
        let _infallible = writeln!(text, "first byte  {}", line(&tally.first_byte));
        let _infallible = writeln!(
            text,
            "generator   {} late; busy {:.0} %; load average {:.1}",
            line(&tally.lateness),
            tally.busy * 100.0,
            self.load_average
        );
        match self.generator_limit() {
            Some(why) => text.push_str(&format!("THE GENERATOR WAS THE LIMIT: {why}")),
            None => text.push_str("the generator kept its pace"),
        }
        text
    }
}

/// Nanoseconds as microseconds.
#[must_use]
pub fn micros(nanos: u64) -> f64 {
    count(nanos) / 1000.0
}

fn percentiles(histogram: &Histogram<u64>) -> Value {
    let value = |(name, at): &(&str, f64)| {
        let micros = micros(histogram.value_at_quantile(*at));
        ((*name).to_owned(), micros.into())
    };
    Value::Object(QUANTILES.iter().map(value).collect::<Map<_, _>>())
}

fn line(histogram: &Histogram<u64>) -> String {
    let value = |(name, at): &(&str, f64)| {
        format!("{name} {:.0} us", micros(histogram.value_at_quantile(*at)))
    };
    QUANTILES.iter().map(value).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
pub mod tests {
    use std::time::Duration;

    use super::{Figures, Memory, Reading};
    use crate::contender::Backend;
    use crate::msrp::plan::{Load, Pace};
    use crate::msrp::subject::{Contender, Target};
    use crate::msrp::tally::Tally;

    /// A run of `target` that took `cpu_ns` for a thousand messages of 1,000 bytes.
    pub fn sample(target: Target, cpu_ns: u64) -> Figures {
        Figures {
            contender: Contender {
                target,
                backend: Backend::Auto,
            },
            load: Load {
                size: 1000,
                chunk: 1000,
                sessions: 10,
                pace: Pace::Closed { window: 8 },
                feed: None,
                success_report: false,
                measured: Duration::from_secs(1),
                warmup: Duration::ZERO,
            },
            tally: Tally {
                sent: 1000,
                acknowledged: 1000,
                delivered: 1000,
                ..Tally::default()
            },
            reading: Reading {
                cpu_ns,
                messages: 1000,
                bytes: 1_000_000,
                wall: Duration::from_secs(1),
            },
            memory: Memory {
                before_kib: 100,
                set_up_kib: 300,
                end_kib: 400,
                sessions: 10,
            },
            overlap: false,
            load_average: 0.0,
        }
    }

    #[test]
    fn cpu_time_is_per_message_and_per_byte() {
        let figures = sample(Target::Midpath, 5_000_000);
        assert!((figures.cpu_us_per_message() - 5.0).abs() < 1e-9);
        assert!((figures.cpu_ns_per_byte() - 5.0).abs() < 1e-9);
        assert!((figures.messages_per_cpu_second() - 200_000.0).abs() < 1e-3);
        assert!((figures.memory.kib_per_session() - 30.0).abs() < 1e-9);
    }

    #[test]
    fn a_busy_generator_beside_an_idle_relay_is_said() {
        let mut figures = sample(Target::Midpath, 500_000_000);
        assert_eq!(figures.generator_limit(), None);
        figures.tally.busy = 0.99;
        assert!(figures.generator_limit().is_some());
        figures.reading.cpu_ns = 990_000_000;
        assert_eq!(figures.generator_limit(), None);
    }
}
