//! Medians over the rounds, and how the relays stand to each other.

use serde_json::{Map, Value, json};

use super::figures::{Figures, QUANTILES, micros};
use super::search::Highest;
use crate::contender::quotient;
use crate::load::count;
use crate::table::{lay_out, median};

/// The medians of one relay at one rate.
#[derive(Debug, Clone)]
pub struct Line {
    /// The relay.
    pub name: &'static str,
    /// Packets per second that were asked for.
    pub rate_asked: u64,
    /// Rounds that count.
    pub rounds: usize,
    /// Why the generator and not the relay was the limit, for each round in which it was.
    pub limits: Vec<String>,
    /// Packets lost in all rounds.
    pub lost: u64,
    rate: f64,
    cpu_us: f64,
    loss: f64,
    latency_us: [f64; QUANTILES.len()],
    kib_per_call: f64,
    load_average: f64,
}

impl Line {
    /// The medians of `runs`.
    #[must_use]
    pub fn new(name: &'static str, rate_asked: u64, runs: &[&Figures]) -> Self {
        let middle = |figure: &dyn Fn(&Figures) -> f64| {
            median(&runs.iter().map(|run| figure(run)).collect::<Vec<_>>())
        };
        let latency = |(_, at): (&str, f64)| {
            middle(&|run: &Figures| micros(run.tally.latency.value_at_quantile(at)))
        };
        let limits = runs.iter().filter_map(|run| run.generator_limit());
        Self {
            name,
            rate_asked,
            rounds: runs.len(),
            limits: limits.collect(),
            lost: runs.iter().map(|run| run.tally.lost).sum(),
            rate: middle(&Figures::relayed_per_second),
            cpu_us: middle(&Figures::cpu_us_per_packet),
            loss: runs.iter().map(|run| run.loss()).fold(0.0, f64::max),
            latency_us: QUANTILES.map(latency),
            kib_per_call: middle(&Figures::kib_per_call),
            load_average: middle(&|run: &Figures| run.load_average),
        }
    }

    /// The medians as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let latency = QUANTILES.iter().zip(self.latency_us);
        let latency: Map<String, Value> = latency
            .map(|((name, _), value)| ((*name).to_owned(), value.into()))
            .collect();
        json!({
            "rate_asked": self.rate_asked,
            "rate": self.rate,
            "cpu_us_per_packet": self.cpu_us,
            "lost": self.lost,
            "loss": self.loss,
            "latency_us": latency,
            "memory_kib_per_call": self.kib_per_call,
            "rounds": self.rounds,
            "generator_limits": self.limits,
            "load_average": self.load_average,
        })
    }

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![
            self.name.to_owned(),
            format!("{:.0}", self.rate),
            format!("{:.2}", self.cpu_us),
            self.lost.to_string(),
        ];
        cells.extend(self.latency_us.map(|value| format!("{value:.0}")));
        cells.push(format!("{:.1}", self.kib_per_call));
        cells.push(if self.limits.is_empty() {
            "kept its pace".to_owned()
        } else {
            format!("limit in {} of {}", self.limits.len(), self.rounds)
        });
        cells
    }
}

/// The medians as a table.
#[must_use]
pub fn table(lines: &[Line]) -> String {
    let head = [
        "median",
        "packets/s",
        "CPU us/packet",
        "lost",
        "p50 us",
        "p90 us",
        "p99 us",
        "p99.9 us",
        "max us",
        "KiB/call",
        "generator",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut sorted: Vec<&Line> = lines.iter().collect();
    sorted.sort_by_key(|line| line.rate_asked);
    rows.extend(sorted.into_iter().map(Line::cells));
    lay_out(&rows)
}

/// One relay against another at one rate.
struct Ratio<'a> {
    mine: &'a Line,
    other: &'a Line,
}

impl Ratio<'_> {
    fn cpu(&self) -> f64 {
        quotient(self.mine.cpu_us, self.other.cpu_us)
    }

    /// More than the other's, in microseconds: p50 and p99.
    fn added_us(&self) -> (f64, f64) {
        let added =
            |quantile: usize| self.mine.latency_us[quantile] - self.other.latency_us[quantile];
        (added(0), added(2))
    }
}

/// Each Midpath against the others, at every rate.
fn pairs(lines: &[Line]) -> Vec<Ratio<'_>> {
    let mut pairs = Vec::new();
    for mine in lines.iter().filter(|line| line.name.starts_with("midpath")) {
        for other in lines {
            if other.rate_asked == mine.rate_asked && !other.name.starts_with("midpath") {
                pairs.push(Ratio { mine, other });
            }
        }
    }
    pairs.sort_by_key(|pair| (pair.mine.rate_asked, pair.other.name));
    pairs
}

/// The ratios as a table.
#[must_use]
pub fn ratio_table(lines: &[Line]) -> String {
    let head = [
        "ratio",
        "asked/s",
        "CPU",
        "p50 us more",
        "p99 us more",
        "memory/call",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for pair in pairs(lines) {
        let (p50, p99) = pair.added_us();
        rows.push(vec![
            format!("{}/{}", pair.mine.name, pair.other.name),
            pair.mine.rate_asked.to_string(),
            format!("{:.2}", pair.cpu()),
            format!("{p50:+.1}"),
            format!("{p99:+.1}"),
            format!(
                "{:.2}",
                quotient(pair.mine.kib_per_call, pair.other.kib_per_call)
            ),
        ]);
    }
    lay_out(&rows)
}

/// The median of the highest rates without loss of one relay.
#[must_use]
pub fn peak(peaks: &[(&str, Vec<Highest>)], name: &str) -> Option<f64> {
    let (_, list) = peaks.iter().find(|(other, _)| *other == name)?;
    let rates: Vec<f64> = list.iter().map(|highest| count(highest.rate)).collect();
    Some(median(&rates))
}

/// The highest rates as a table.
#[must_use]
pub fn peak_table(peaks: &[(&str, Vec<Highest>)]) -> String {
    let head = [
        "highest rate without loss",
        "packets/s",
        "of rtpengine's",
        "ended by",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let engine = peak(peaks, "rtpengine").unwrap_or(0.0);
    for (name, list) in peaks {
        let rate = peak(peaks, name).unwrap_or(0.0);
        let limit = list.iter().find_map(|one| one.generator_limit.clone());
        rows.push(vec![
            (*name).to_owned(),
            format!("{rate:.0}"),
            format!("{:.2}", quotient(rate, engine)),
            limit.map_or_else(|| "loss".to_owned(), |why| format!("at least: {why}")),
        ]);
    }
    lay_out(&rows)
}

/// The ratios as JSON: by pair, by rate.
#[must_use]
pub fn ratios(lines: &[Line], peaks: &[(&str, Vec<Highest>)]) -> Value {
    let mut all: Map<String, Value> = Map::new();
    for pair in pairs(lines) {
        let name = format!("{}/{}", pair.mine.name, pair.other.name);
        let (p50, p99) = pair.added_us();
        let memory = quotient(pair.mine.kib_per_call, pair.other.kib_per_call);
        let highest = match (peak(peaks, pair.mine.name), peak(peaks, pair.other.name)) {
            (Some(mine), Some(other)) => Some(quotient(mine, other)),
            _ => None,
        };
        let entry = all
            .entry(name)
            .or_insert_with(|| json!({ "highest_rate": highest }));
        entry[pair.mine.rate_asked.to_string()] = json!({
            "cpu": pair.cpu(),
            "p50_us_more": p50,
            "p99_us_more": p99,
            "memory_per_call": memory,
        });
    }
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use super::{Line, ratio_table, ratios, table};
    use crate::rtp::figures::tests::sample;
    use crate::rtp::subject::Target;

    fn lines() -> Vec<Line> {
        let mine = sample(Target::Midpath, 1000);
        let (mut slow, floor) = (sample(Target::Rtpengine, 1000), sample(Target::Floor, 1000));
        slow.reading.cpu_ns *= 2;
        vec![
            Line::new("midpath", 1000, &[&mine, &mine, &slow]),
            Line::new("rtpengine", 1000, &[&slow]),
            Line::new("floor", 1000, &[&floor]),
        ]
    }

    #[test]
    fn ratios_are_of_medians() {
        let value = ratios(&lines(), &[]);
        assert_eq!(value["midpath/rtpengine"]["1000"]["cpu"], 0.5);
        assert_eq!(value["midpath/floor"]["1000"]["cpu"], 1.0);
        assert_eq!(
            value["midpath/floor"]["highest_rate"],
            serde_json::Value::Null
        );
    }

    #[test]
    fn every_relay_and_every_pair_has_a_row() {
        assert_eq!(table(&lines()).lines().count(), 2 + 3);
        assert_eq!(ratio_table(&lines()).lines().count(), 2 + 2);
    }
}
