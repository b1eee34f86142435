//! What one turn of a mixer brought.

use serde_json::{Value, json};

use super::generator::{RATE, Tally};
use super::subject::{Contender, Subject};
use super::{Scene, Shape, Talking};
use crate::load::count;
use crate::rtp::host::{self, Cores};

/// Of one contender in one scene.
#[derive(Debug)]
pub struct Figures {
    /// Whose.
    pub contender: Contender,
    /// In what.
    pub scene: Scene,
    /// Members of all rooms.
    pub participants: usize,
    tally: Tally,
    before_kib: u64,
    end_kib: u64,
    talkers: u8,
    load_average: f64,
    overlap: bool,
}

impl Figures {
    /// Reads what is to be read while the mixer still runs.
    #[must_use]
    pub fn new(
        contender: Contender,
        shape: &Shape,
        scene: Scene,
        (subject, tally, cores): (&Subject, Tally, &Cores),
    ) -> Self {
        Self {
            contender,
            scene,
            participants: subject.ports.len(),
            tally,
            before_kib: subject.before_kib,
            end_kib: host::resident_kib(subject.id()),
            talkers: shape.talkers,
            load_average: host::load_average(),
            overlap: cores.overlap(),
        }
    }

    /// CPU time of the mixer for a second of a participant who got all of its mix, in microseconds.
    #[must_use]
    pub fn cpu_us(&self) -> f64 {
        let served = if self.scene.talking == Talking::None {
            let participants = count(u64::try_from(self.participants).unwrap_or(1));
            participants * self.tally.elapsed.as_secs_f64()
        } else {
            let whole = self.tally.sent.saturating_sub(self.lost());
            count(whole.max(1)) / count(RATE)
        };
        count(self.tally.cpu_ns) / 1000.0 / served
    }

    /// Participants that a CPU second serves for a second.
    #[must_use]
    pub fn per_cpu_second(&self) -> f64 {
        1e6 / self.cpu_us().max(1e-3)
    }

    /// Packets that members should have got and didn't; none where nobody sends.
    #[must_use]
    pub fn lost(&self) -> u64 {
        match self.scene.talking {
            Talking::None => 0,
            Talking::All | Talking::One => self.tally.lost,
        }
    }

    /// Their part of all.
    #[must_use]
    pub fn loss(&self) -> f64 {
        count(self.lost()) / count(self.tally.sent.max(1))
    }

    /// Mouth to ear within the mixer and two hops of loopback, in milliseconds.
    #[must_use]
    pub fn latency_ms(&self, quantile: f64) -> f64 {
        count(self.tally.latency.value_at_quantile(quantile)) / 1000.0
    }

    /// Resident memory of a participant, in KiB.
    #[must_use]
    pub fn kib(&self) -> f64 {
        let grown = self.end_kib.saturating_sub(self.before_kib);
        count(grown) / count(u64::try_from(self.participants).unwrap_or(1))
    }

    /// Why the figures aren't the mixer's, where they aren't.
    #[must_use]
    pub fn limit(&self) -> Option<String> {
        if self.overlap {
            return Some("the generator shares the mixer's core".to_owned());
        }
        (self.tally.late_us > 15_000)
            .then(|| format!("the generator was {} ms late", self.tally.late_us / 1000))
    }

    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "contender": self.contender.name(),
            "scene": self.scene.name(),
            "participants": self.participants,
            "talkers_max": self.talkers,
            "seconds": self.tally.elapsed.as_secs_f64(),
            "rate": count(self.tally.received) / self.tally.elapsed.as_secs_f64(),
            "packets_sent": self.tally.sent,
            "packets_received": self.tally.received,
            "packets_lost": self.lost(),
            "loss": self.loss(),
            "cpu_us_per_participant_second": self.cpu_us(),
            "participants_per_cpu_second": self.per_cpu_second(),
            "cpu_share": count(self.tally.cpu_ns) / 1e9 / self.tally.elapsed.as_secs_f64(),
            "latency_ms": {
                "p50": self.latency_ms(0.5),
                "p90": self.latency_ms(0.9),
                "p99": self.latency_ms(0.99),
                "max": self.latency_ms(1.0),
                "samples": self.tally.latency.len(),
            },
            "memory_kib_per_participant": self.kib(),
            "resident_kib": self.end_kib,
            "generator_late_us": self.tally.late_us,
            "limit": self.limit(),
            "load_average": self.load_average,
        })
    }

    /// For a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "{}: {}, {} participants\n  {:.0} participants per CPU second ({:.1} us of CPU for a \
             participant's second)\n  {} packets sent, {} received, {} lost ({:.4} %)\n  latency p50 \
             {:.1} ms, p99 {:.1} ms\n  memory {:.1} KiB a participant{}",
            self.contender.name(),
            self.scene.name(),
            self.participants,
            self.per_cpu_second(),
            self.cpu_us(),
            self.tally.sent,
            self.tally.received,
            self.lost(),
            self.loss() * 100.0,
            self.latency_ms(0.5),
            self.latency_ms(0.99),
            self.kib(),
            self.limit().map_or_else(String::new, |why| format!(
                "\n  not the mixer's figures: {why}"
            )),
        )
    }
}
