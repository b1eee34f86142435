//! Medians over the rounds, and how the relays stand to each other.

use serde_json::{Map, Value, json};

use super::compare::Scene;
use super::figures::{Figures, QUANTILES, micros};
use crate::contender::quotient;
use crate::table::{lay_out, median};

/// The medians of one relay in one scene.
#[derive(Debug, Clone)]
pub struct Line {
    /// The relay.
    pub name: &'static str,
    /// The scene.
    pub scene: Scene,
    /// Rounds that count.
    pub rounds: usize,
    /// Why the generator was the limit, for each round in which it was.
    pub limits: Vec<String>,
    /// In all rounds everything that was sent arrived as it was sent.
    pub is_whole: bool,
    lost: u64,
    silent: u64,
    rate: f64,
    byte_rate: f64,
    cpu_us: f64,
    cpu_ns_per_byte: f64,
    relay_busy: f64,
    latency_us: [f64; QUANTILES.len()],
    first_byte_us: [f64; QUANTILES.len()],
    kib_per_session: f64,
}

impl Line {
    /// The medians of `runs`.
    #[must_use]
    pub fn new(name: &'static str, scene: Scene, runs: &[&Figures]) -> Self {
        let middle = |figure: &dyn Fn(&Figures) -> f64| {
            median(&runs.iter().map(|run| figure(run)).collect::<Vec<_>>())
        };
        let latency = |(_, at): (&str, f64)| {
            middle(&|run: &Figures| micros(run.tally.latency.value_at_quantile(at)))
        };
        let first = |(_, at): (&str, f64)| {
            middle(&|run: &Figures| micros(run.tally.first_byte.value_at_quantile(at)))
        };
        Self {
            name,
            scene,
            rounds: runs.len(),
            limits: runs
                .iter()
                .filter_map(|run| run.generator_limit())
                .collect(),
            is_whole: runs.iter().all(|run| run.is_whole()),
            lost: runs.iter().map(|run| run.tally.lost()).sum(),
            silent: runs.iter().map(|run| run.tally.lost_in_silence()).sum(),
            rate: middle(&Figures::messages_per_second),
            byte_rate: middle(&Figures::bytes_per_second),
            cpu_us: middle(&Figures::cpu_us_per_message),
            cpu_ns_per_byte: middle(&Figures::cpu_ns_per_byte),
            relay_busy: middle(&Figures::relay_busy),
            latency_us: QUANTILES.map(latency),
            first_byte_us: QUANTILES.map(first),
            kib_per_session: middle(&|run: &Figures| run.memory.kib_per_session()),
        }
    }

    /// The medians as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let percentiles = |values: [f64; QUANTILES.len()]| {
            let pairs = QUANTILES.iter().zip(values);
            Value::Object(
                pairs
                    .map(|((name, _), value)| ((*name).to_owned(), value.into()))
                    .collect::<Map<_, _>>(),
            )
        };
        json!({
            "scene": self.scene.name(),
            "messages_per_second": self.rate,
            "bytes_per_second": self.byte_rate,
            "cpu_us_per_message": self.cpu_us,
            "cpu_ns_per_byte": self.cpu_ns_per_byte,
            "messages_per_cpu_second": per_second(self.cpu_us, 1e6),
            "bytes_per_cpu_second": per_second(self.cpu_ns_per_byte, 1e9),
            "lost": self.lost,
            "lost_in_silence": self.silent,
            "latency_us": percentiles(self.latency_us),
            "first_byte_us": percentiles(self.first_byte_us),
            "memory_kib_per_session": self.kib_per_session,
            "relay_busy": self.relay_busy,
            "rounds": self.rounds,
            "generator_limits": self.limits,
        })
    }

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![
            self.name.to_owned(),
            format!("{:.0}", self.rate),
            format!("{:.1}", self.byte_rate / 1e6),
            format!("{:.2}", self.cpu_us),
            format!("{:.0}", per_second(self.cpu_us, 1e6)),
            format!("{:.0}", per_second(self.cpu_ns_per_byte, 1e9) / 1e6),
            format!("{} ({})", self.lost, self.silent),
        ];
        cells.extend(self.latency_us.map(|value| format!("{value:.0}")));
        cells.push(format!("{:.0}", self.first_byte_us[0]));
        cells.push(format!("{:.0}", self.first_byte_us[2]));
        cells.push(format!("{:.1}", self.kib_per_session));
        cells
    }
}

/// How many fit into a second of which one takes `each`; 0 when it takes nothing.
fn per_second(each: f64, second: f64) -> f64 {
    if each > 0.0 { second / each } else { 0.0 }
}

/// The medians of a scene as a table.
#[must_use]
pub fn table(scene: Scene, lines: &[Line]) -> String {
    let head = [
        scene.name(),
        "messages/s",
        "MB/s",
        "CPU us/message",
        "messages/CPU s",
        "MB/CPU s",
        "lost (silent)",
        "p50 us",
        "p90 us",
        "p99 us",
        "p99.9 us",
        "max us",
        "first p50",
        "first p99",
        "KiB/session",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(
        lines
            .iter()
            .filter(|line| line.scene == scene)
            .map(Line::cells),
    );
    lay_out(&rows)
}

/// One relay against another in one scene.
struct Ratio<'a> {
    mine: &'a Line,
    other: &'a Line,
}

impl Ratio<'_> {
    /// How many times the other's work a second of CPU time does.
    fn work(&self) -> f64 {
        quotient(self.other.cpu_us, self.mine.cpu_us)
    }

    /// More than the other's, in microseconds: p50 and p99 of the whole, of the first byte.
    fn added_us(&self) -> [f64; 4] {
        let (mine, other) = (self.mine, self.other);
        [
            mine.latency_us[0] - other.latency_us[0],
            mine.latency_us[2] - other.latency_us[2],
            mine.first_byte_us[0] - other.first_byte_us[0],
            mine.first_byte_us[2] - other.first_byte_us[2],
        ]
    }
}

/// Each Midpath against the others, in every scene.
fn pairs(lines: &[Line]) -> Vec<Ratio<'_>> {
    let mut pairs = Vec::new();
    for mine in lines.iter().filter(|line| line.name.starts_with("midpath")) {
        for other in lines {
            if other.scene == mine.scene && !other.name.starts_with("midpath") {
                pairs.push(Ratio { mine, other });
            }
        }
    }
    pairs.sort_by_key(|pair| (pair.mine.scene.name(), pair.other.name));
    pairs
}

/// The ratios as a table.
#[must_use]
pub fn ratio_table(lines: &[Line]) -> String {
    let head = [
        "ratio",
        "scene",
        "work per CPU second",
        "p50 us more",
        "p99 us more",
        "first p50 more",
        "first p99 more",
        "memory/session",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for pair in pairs(lines) {
        let mut row = vec![
            format!("{}/{}", pair.mine.name, pair.other.name),
            pair.mine.scene.name().to_owned(),
            format!("{:.2}", pair.work()),
        ];
        row.extend(pair.added_us().map(|value| format!("{value:+.1}")));
        let memory = quotient(pair.mine.kib_per_session, pair.other.kib_per_session);
        row.push(format!("{memory:.2}"));
        rows.push(row);
    }
    lay_out(&rows)
}

/// The ratios as JSON: by pair, by scene.
#[must_use]
pub fn ratios(lines: &[Line]) -> Value {
    let mut all: Map<String, Value> = Map::new();
    for pair in pairs(lines) {
        let name = format!("{}/{}", pair.mine.name, pair.other.name);
        let [p50, p99, first_p50, first_p99] = pair.added_us();
        let entry = all.entry(name).or_insert_with(|| json!({}));
        entry[pair.mine.scene.name()] = json!({
            "work_per_cpu_second": pair.work(),
            "p50_us_more": p50,
            "p99_us_more": p99,
            "first_byte_p50_us_more": first_p50,
            "first_byte_p99_us_more": first_p99,
        });
    }
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use super::{Line, ratio_table, ratios, table};
    use crate::msrp::compare::Scene;
    use crate::msrp::figures::tests::sample;
    use crate::msrp::subject::Target;

    fn lines() -> Vec<Line> {
        let (mine, other) = (
            sample(Target::Midpath, 1000),
            sample(Target::Kamailio, 1500),
        );
        vec![
            Line::new("midpath-uring", Scene::Small, &[&mine]),
            Line::new("kamailio", Scene::Small, &[&other]),
        ]
    }

    #[test]
    fn less_cpu_time_is_more_work() {
        let value = ratios(&lines());
        let work = value["midpath-uring/kamailio"]["small"]["work_per_cpu_second"].as_f64();
        assert!((work.unwrap_or(0.0) - 1.5).abs() < 1e-9, "{value}");
    }

    #[test]
    fn tables_name_everybody() {
        let lines = lines();
        assert!(table(Scene::Small, &lines).contains("kamailio"));
        assert!(ratio_table(&lines).contains("midpath-uring/kamailio"));
    }
}
