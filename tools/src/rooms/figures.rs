//! What the rooms brought.

use std::collections::BTreeMap;
use std::time::Instant;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::Options;
use super::group::{Groups, Left, Setup};
use super::tally::Tally;
use crate::load::count;
use crate::rtp::host;
use crate::table;

/// Of a hundred, the rooms' ticks that may come a packet of voice late.
const MISSED_PERCENT_MAX: f64 = 0.1;

/// Of a hundred packets, those that may come too late to be mixed: a jitter buffer that follows
/// what it sees drops some.
const STALE_PERCENT_MAX: f64 = 0.1;
/// What the relay calls them.
const STALE: &str = "stale";

/// The relay at one moment.
#[derive(Debug, Clone)]
pub struct Reading {
    at: Instant,
    cpu_ns: u64,
    resident_kib: u64,
    ticks: f64,
    late_ticks: f64,
    missed_ticks: f64,
    /// What was dropped, by the reason.
    drops: BTreeMap<String, f64>,
}

impl Reading {
    /// Reads it.
    #[must_use]
    pub fn of(groups: &Groups) -> Self {
        let metrics = groups.relay().metrics();
        let sum = |name: &str| {
            let lines = metrics.iter().filter(|(line, _)| line.contains(name));
            lines.map(|(_, value)| value).sum()
        };
        Self {
            at: Instant::now(),
            cpu_ns: host::cpu_ns(groups.process()),
            resident_kib: host::resident_kib(groups.process()),
            ticks: sum("midpath_room_ticks_total"),
            late_ticks: sum("midpath_late_ticks_total"),
            missed_ticks: sum("midpath_missed_ticks_total"),
            drops: drops(&metrics),
        }
    }
}

fn drops(metrics: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let mut by_reason = BTreeMap::new();
    for (line, value) in metrics {
        if line.contains("midpath_dropped_total")
            && let Some((_, rest)) = line.split_once("reason=\"")
            && let Some((reason, _)) = rest.split_once('"')
        {
            *by_reason.entry(reason.to_owned()).or_insert(0.0) += value;
        }
    }
    by_reason
}

/// Of one load.
#[derive(Debug)]
pub struct Figures {
    /// What was asked for.
    pub options: Options,
    /// How it began.
    pub setup: Setup,
    /// What was sent and came.
    pub tally: Tally,
    /// The relay before everybody talked.
    pub before: Reading,
    /// The relay afterwards.
    pub after: Reading,
    /// What was left in the end.
    pub left: Left,
    /// The load shared the relay's cores.
    pub overlap: bool,
}

impl Figures {
    /// Nothing was lost, nothing failed, nothing is left, and the rooms were served in time.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.problems().is_empty()
    }

    fn problems(&self) -> Vec<String> {
        let (voice, chat, left) = (&self.tally.voice, &self.tally.chat, &self.left);
        let unread = chat.due.saturating_sub(chat.read);
        let failed = chat.failed + chat.reported + chat.unanswered();
        let found = [
            (voice.lost > 0, format!("{} packets lost", voice.lost)),
            (
                self.drops() - self.stale() > 0.0 || self.stale() > self.stale_max(),
                format!(
                    "{:.0} packets dropped by the relay ({})",
                    self.drops(),
                    self.drops_by_reason()
                ),
            ),
            (
                voice.missing > 0,
                format!("{} participants got too few packets", voice.missing),
            ),
            (
                voice.deaf > 0,
                format!("{} participants heard nobody", voice.deaf),
            ),
            (
                failed > 0,
                format!("{failed} messages failed or unanswered"),
            ),
            (
                unread + chat.misplaced > 0,
                format!("{unread} messages lost, {} misplaced", chat.misplaced),
            ),
            (
                self.missed_percent() > MISSED_PERCENT_MAX,
                format!("{:.3} % of the ticks 20 ms late", self.missed_percent()),
            ),
            (
                left.sessions + left.ports > 0 || !left.has_ended_well,
                format!("{} sessions and {} ports left", left.sessions, left.ports),
            ),
        ];
        found
            .into_iter()
            .filter(|(is_so, _)| *is_so)
            .map(|(_, what)| what)
            .collect()
    }

    fn seconds(&self) -> f64 {
        self.after.at.duration_since(self.before.at).as_secs_f64()
    }

    fn cpu_share(&self) -> f64 {
        let used = self.after.cpu_ns.saturating_sub(self.before.cpu_ns);
        count(used / 1000) / 1e6 / self.seconds()
    }

    /// Packets that the relay dropped, whatever for.
    fn drops(&self) -> f64 {
        self.after.drops.values().sum::<f64>() - self.before.drops.values().sum::<f64>()
    }

    /// Of them: what came later than the mixer's jitter buffer waits.
    fn stale(&self) -> f64 {
        let of = |reading: &Reading| reading.drops.get(STALE).copied().unwrap_or(0.0);
        of(&self.after) - of(&self.before)
    }

    fn stale_max(&self) -> f64 {
        count(self.tally.voice.sent) * STALE_PERCENT_MAX / 100.0
    }

    /// The same as `late 3, source 1`.
    fn drops_by_reason(&self) -> String {
        let all = self.after.drops.iter().map(|(reason, after)| {
            let before = self.before.drops.get(reason).copied().unwrap_or(0.0);
            (reason, after - before)
        });
        let some = all.filter(|(_, dropped)| *dropped > 0.0);
        let said: Vec<String> = some
            .map(|(reason, dropped)| format!("{reason} {dropped:.0}"))
            .collect();
        said.join(", ")
    }

    fn ticks(&self) -> f64 {
        self.after.ticks - self.before.ticks
    }

    fn late_percent(&self) -> f64 {
        (self.after.late_ticks - self.before.late_ticks) / self.ticks().max(1.0) * 100.0
    }

    fn missed_percent(&self) -> f64 {
        (self.after.missed_ticks - self.before.missed_ticks) / self.ticks().max(1.0) * 100.0
    }

    fn participants(&self) -> u64 {
        u64::try_from(self.options.participants()).unwrap_or(u64::MAX)
    }

    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let (voice, chat) = (&self.tally.voice, &self.tally.chat);
        json!({
            "rooms": self.options.rooms,
            "members": self.options.members,
            "talkers": self.options.talkers,
            "opus_rooms_percent": self.options.opus,
            "workers": self.options.workers,
            "seconds": self.options.seconds,
            "setup_s": self.setup.all.as_secs_f64(),
            "setup_longest_room_s": self.setup.longest.as_secs_f64(),
            "retransmissions": self.left.retransmissions,
            "refreshes": self.tally.refreshes,
            "voice": {
                "sent": voice.sent,
                "heard": voice.heard,
                "lost": voice.lost,
                "heard_least": voice.least,
                "missing": voice.missing,
                "deaf": voice.deaf,
                "gap_ms": quantiles(&voice.gaps),
                "generator_late_us": voice.late_us,
                "generator_stalled_ms": voice.stalled.as_secs_f64() * 1000.0,
            },
            "chat": {
                "sent": chat.sent,
                "accepted": chat.accepted,
                "failed": chat.failed,
                "reported_failed": chat.reported,
                "unanswered": chat.unanswered(),
                "due": chat.due,
                "read": chat.read,
                "misplaced": chat.misplaced,
                "latency_ms": quantiles(&chat.latency),
            },
            "ticks": self.ticks(),
            "late_ticks_percent": self.late_percent(),
            "missed_ticks_percent": self.missed_percent(),
            "relay_drops": self.drops(),
            "cpu_share": self.cpu_share(),
            "resident_kib_before": self.before.resident_kib,
            "resident_kib_after": self.after.resident_kib,
            "end_s": self.left.span.as_secs_f64(),
            "sessions_left": self.left.sessions,
            "ports_left": self.left.ports,
            "load_average": host::load_average(),
            "overlap": self.overlap,
            "problems": self.problems(),
        })
    }

    /// For a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut rows = self.began();
        rows.extend(self.spoken());
        rows.extend(self.served());
        let mut text = table::lay_out(&rows);
        if self.overlap {
            text.push_str("the load shared the relay's cores\n");
        }
        let stalled = self.tally.voice.stalled;
        if !stalled.is_zero() {
            text.push_str(&format!(
                "the load itself stood still for {:.2} s, and then sent at once what the relay may drop\n",
                stalled.as_secs_f64()
            ));
        }
        text.push_str(&match self.problems() {
            found if found.is_empty() => format!(
                "fine: {} participants, nothing lost, nothing failed",
                self.participants()
            ),
            found => format!("not fine: {}", found.join("; ")),
        });
        text
    }

    /// Rows: how long it took until all were in.
    fn began(&self) -> Vec<Vec<String>> {
        let (rooms, members) = (self.options.rooms, self.options.members);
        let (all, longest) = (self.setup.all, self.setup.longest);
        vec![
            row("", format!("{rooms} rooms x {members}")),
            row(
                "all in their rooms after",
                format!("{:.2} s", all.as_secs_f64()),
            ),
            row(
                "the longest room",
                format!("{:.3} s", longest.as_secs_f64()),
            ),
            row(
                "re-INVITEs; repeated SIP messages of all",
                format!("{}; {}", self.tally.refreshes, self.left.retransmissions),
            ),
        ]
    }

    /// Rows: voices and messages.
    fn spoken(&self) -> Vec<Vec<String>> {
        let (voice, chat) = (&self.tally.voice, &self.tally.chat);
        vec![
            row("packets sent", voice.sent.to_string()),
            row(
                "packets heard, lost, dropped",
                format!("{}, {}, {:.0}", voice.heard, voice.lost, self.drops()),
            ),
            row("heard by a participant at least", voice.least.to_string()),
            row("between two: p50, p99, max", spans(&voice.gaps)),
            row(
                "messages written, failed",
                format!("{}, {}", chat.sent, chat.failed + chat.reported),
            ),
            row("copies due, read", format!("{}, {}", chat.due, chat.read)),
            row("until read: p50, p99, max", spans(&chat.latency)),
        ]
    }

    /// Rows: what the relay needed.
    fn served(&self) -> Vec<Vec<String>> {
        let (ticks, late, missed) = (self.ticks(), self.late_percent(), self.missed_percent());
        let (resident, voice) = (self.after.resident_kib, &self.tally.voice);
        let (behind, stalled) = (count(voice.late_us) / 1000.0, voice.stalled.as_secs_f64());
        let (sessions, ports) = (self.left.sessions, self.left.ports);
        vec![
            row(
                "ticks, 5 ms late, 20 ms late",
                format!("{ticks:.0}, {late:.4} %, {missed:.4} %"),
            ),
            row("relay's CPU", format!("{:.2} cores", self.cpu_share())),
            row("relay's memory", format!("{resident} KiB")),
            row(
                "generator at most late; stalled",
                format!("{behind:.1} ms; {stalled:.2} s"),
            ),
            row("left", format!("{sessions} sessions, {ports} ports")),
        ]
    }
}

fn row(name: &str, value: String) -> Vec<String> {
    vec![name.to_owned(), value]
}

fn spans(histogram: &Histogram<u64>) -> String {
    let at = |quantile: f64| count(histogram.value_at_quantile(quantile)) / 1000.0;
    format!("{:.1}, {:.1}, {:.1} ms", at(0.5), at(0.99), at(1.0))
}

fn quantiles(histogram: &Histogram<u64>) -> Value {
    let at = |quantile: f64| count(histogram.value_at_quantile(quantile)) / 1000.0;
    json!({
        "p50": at(0.5),
        "p99": at(0.99),
        "p999": at(0.999),
        "max": at(1.0),
        "samples": histogram.len(),
    })
}
