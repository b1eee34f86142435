//! What one run measured: as JSON, and as lines for a terminal.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::generator::{Load, Reading, Tally};
use super::subject::Contender;
use crate::load::count;

/// A sender that is later than this for one packet in a hundred shapes the load itself.
const LATE_NS: u64 = 1_000_000;
/// The share of time above which a thread of the generator has no time left.
const BUSY_MAX: f64 = 0.97;

/// Memory of the relay, resident, in KiB.
#[derive(Debug, Clone, Copy)]
pub struct Resident {
    /// Before the first call.
    pub before_kib: u64,
    /// With all calls set up, before the load.
    pub set_up_kib: u64,
    /// The most that was seen under load.
    pub most_kib: u64,
    /// At the end of the load.
    pub end_kib: u64,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Through which relay.
    pub contender: Contender,
    /// Two-way calls.
    pub calls: usize,
    /// What was asked for.
    pub load: Load,
    /// What came of the packets.
    pub tally: Tally,
    /// What the relay used meanwhile.
    pub reading: Reading,
    /// Its memory.
    pub resident: Resident,
    /// Packets that full sockets of the relay dropped.
    pub relay_drops: u64,
    /// Packets that full sockets of the generator dropped: not the relay's loss.
    pub generator_drops: u64,
    /// The machine's load average at the end.
    pub load_average: f64,
    /// The generator and the relay shared a core.
    pub overlap: bool,
}

impl Figures {
    /// CPU time of the relay per packet that it relayed, in microseconds.
    #[must_use]
    pub fn cpu_us_per_packet(&self) -> f64 {
        let spent = Duration::from_nanos(self.reading.cpu_ns).as_secs_f64();
        spent * 1e6 / count(self.reading.relayed.max(1))
    }

    /// Packets per second that came through.
    #[must_use]
    pub fn relayed_per_second(&self) -> f64 {
        count(self.reading.relayed) / self.reading.wall.as_secs_f64().max(0.001)
    }

    /// The share of packets that was lost, the generator's own drops left out.
    #[must_use]
    pub fn loss(&self) -> f64 {
        let lost = self.tally.lost.saturating_sub(self.generator_drops);
        count(lost) / count(self.tally.sent.max(1))
    }

    /// Memory per call in KiB: what was added from before the first call to the end of the load.
    #[must_use]
    pub fn kib_per_call(&self) -> f64 {
        let resident = &self.resident;
        let grown = resident.end_kib.saturating_sub(resident.before_kib);
        count(grown) / count(u64::try_from(self.calls.max(1)).unwrap_or(1))
    }

    /// Why the figures may be the generator's; `None` when they are the relay's.
    #[must_use]
    pub fn generator_limit(&self) -> Option<String> {
        let late = self.tally.lateness.value_at_quantile(0.99);
        if self.overlap {
            return Some("the generator shares a core with the relay".to_owned());
        }
        if self.tally.busy > BUSY_MAX {
            let busy = self.tally.busy * 100.0;
            return Some(format!("the generator was busy {busy:.1} % of the time"));
        }
        if late > LATE_NS {
            let late = micros(late);
            return Some(format!(
                "1 % of the packets left {late:.0} us late or later"
            ));
        }
        if self.generator_drops > 0 {
            let drops = self.generator_drops;
            return Some(format!("{drops} packets met full sockets of the generator"));
        }
        None
    }

    /// Everything for machines.
    #[must_use]
    pub fn json(&self) -> Value {
        let tally = &self.tally;
        json!({
            "target": self.contender.name(),
            "workers": self.contender.workers,
            "calls": self.calls,
            "packet_bytes": self.load.codec.packet_bytes(),
            "coalesce_us": self.load.coalesce_us,
            "rate_asked": self.load.rate,
            "rate": self.relayed_per_second(),
            "seconds": self.reading.wall.as_secs_f64(),
            "sent": tally.sent,
            "refused": tally.refused,
            "received": tally.received,
            "lost": tally.lost,
            "loss": self.loss(),
            "lost_at_relay_sockets": self.relay_drops,
            "lost_at_generator_sockets": self.generator_drops,
            "duplicated": tally.duplicated,
            "reordered": tally.reordered,
            "damaged": tally.damaged,
            "stray": tally.stray,
            "cpu_us_per_packet": self.cpu_us_per_packet(),
            "latency_us": percentiles(&tally.latency),
            "resident_kib": {
                "before": self.resident.before_kib,
                "set_up": self.resident.set_up_kib,
                "most": self.resident.most_kib,
                "end": self.resident.end_kib,
            },
            "memory_kib_per_call": self.kib_per_call(),
            "generator": {
                "lateness_us": percentiles(&tally.lateness),
                "busy": tally.busy,
                "limit": self.generator_limit(),
            },
            "load_average": self.load_average,
        })
    }

    /// Everything for people.
    #[must_use]
    pub fn text(&self) -> String {
        let (tally, mut text) = (&self.tally, String::new());
        let _infallible = writeln!(
            text,
            "{}: {} two-way calls, {:.0} of {} packets/s of {} bytes for {:.1} s\n\
             sent {}, received {}, lost {}, reordered {}, duplicated {}, damaged {}, stray {}\n\
             (met full sockets: {} at the relay, {} at the generator; {} refused by the kernel)",
            self.contender.name(),
            self.calls,
            self.relayed_per_second(),
            self.load.rate,
            self.load.codec.packet_bytes(),
            self.reading.wall.as_secs_f64(),
            tally.sent,
            tally.received,
            tally.lost,
            tally.reordered,
            tally.duplicated,
            tally.damaged,
            tally.stray,
            self.relay_drops,
            self.generator_drops,
            tally.refused,
        );
        let _infallible = writeln!(
            text,
            "relay: {:.2} us CPU per packet; memory {} KiB before, {} with calls, {} at the end: \
             {:.1} KiB per call",
            self.cpu_us_per_packet(),
            self.resident.before_kib,
            self.resident.set_up_kib,
            self.resident.end_kib,
            self.kib_per_call(),
        );
        let _infallible = writeln!(text, "latency   {}", line(&tally.latency));
        let _infallible = writeln!(
            text,
            "generator {} late; busy {:.0} %; load average {:.1}",
            line(&tally.lateness),
            tally.busy * 100.0,
            self.load_average
        );
        match self.generator_limit() {
            Some(why) => text.push_str(&format!("NOT THE RELAY'S FIGURES: {why}")),
            None => text.push_str("the generator kept its pace"),
        }
        text
    }
}

/// Nanoseconds as microseconds.
#[must_use]
pub fn micros(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64() * 1e6
}

/// The quantiles that are reported, by name.
pub const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];

fn percentiles(histogram: &Histogram<u64>) -> Value {
    let one = |(name, at): (&str, f64)| {
        let value = micros(histogram.value_at_quantile(at));
        (name.to_owned(), Value::from(value))
    };
    Value::Object(QUANTILES.into_iter().map(one).collect())
}

fn line(histogram: &Histogram<u64>) -> String {
    let one = |(name, at): (&str, f64)| {
        format!("{name} {:.1} us", micros(histogram.value_at_quantile(at)))
    };
    QUANTILES.map(one).join(", ")
}

#[cfg(test)]
pub mod tests {
    use std::time::Duration;

    use super::{Figures, Resident};
    use crate::contender::Backend;
    use crate::load::count;
    use crate::rtp::generator::{Load, Reading, Tally};
    use crate::rtp::packet::Codec;
    use crate::rtp::subject::{Contender, Target};

    /// A second at 1000 packets/s through `target`: nothing lost, 5 us of CPU time per packet.
    pub fn sample(target: Target, rate: u64) -> Figures {
        Figures {
            contender: Contender {
                target,
                backend: Backend::Auto,
                workers: 1,
            },
            calls: 100,
            load: Load {
                codec: Codec::G711,
                rate,
                seconds: 1,
                warmup_s: 0,
                coalesce_us: 0,
            },
            tally: Tally {
                sent: 1000,
                received: 1000,
                ..Tally::default()
            },
            reading: Reading {
                cpu_ns: 5_000_000,
                relayed: 1000,
                wall: Duration::from_secs(1),
            },
            resident: Resident {
                before_kib: 1000,
                set_up_kib: 1500,
                most_kib: 2000,
                end_kib: 1800,
            },
            relay_drops: 0,
            generator_drops: 0,
            load_average: 0.5,
            overlap: false,
        }
    }

    fn near(value: f64, expected: f64) -> bool {
        (value - expected).abs() < 1e-9
    }

    #[test]
    fn a_count_above_32_bits_is_exact() {
        assert!(near(count(6_000_000_001), 6_000_000_001.0));
        assert!(near(count(u64::from(u32::MAX)), 4_294_967_295.0));
    }

    #[test]
    fn figures_are_per_packet_and_per_call() {
        let figures = sample(Target::Midpath, 1000);
        assert!(near(figures.cpu_us_per_packet(), 5.0));
        assert!(near(figures.relayed_per_second(), 1000.0));
        assert!(near(figures.kib_per_call(), 8.0));
        assert_eq!(figures.generator_limit(), None);
    }

    #[test]
    fn what_the_generator_dropped_is_not_the_relays_loss_and_is_said() {
        let mut figures = sample(Target::Midpath, 1000);
        (figures.tally.lost, figures.generator_drops) = (10, 4);
        assert!(near(figures.loss(), 0.006));
        assert!(figures.generator_limit().is_some());
    }

    #[test]
    fn a_late_or_busy_generator_is_said() {
        let mut late = sample(Target::Midpath, 1000);
        for _ in 0..100 {
            late.tally.lateness.saturating_record(3_000_000);
        }
        let mut busy = sample(Target::Midpath, 1000);
        busy.tally.busy = 0.99;
        assert!(late.generator_limit().is_some() && busy.generator_limit().is_some());
    }
}
