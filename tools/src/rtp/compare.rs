//! `cargo x compare rtp`: the same load through Midpath, rtpengine and the bare loop, in turns.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use tests::live::find;

use super::Shape;
use super::figures::Figures;
use super::search::{self, Highest};
use super::subject::{Contender, Target};
use super::summary::{self, Line};
use crate::contender::{self, Backend};
use crate::test;

/// How many rounds of what load.
#[derive(Debug, clap::Args)]
#[group(id = "rtp-compare")]
pub struct Options {
    /// Rounds; in each, every relay has its turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Packets per second, both directions of all calls together; several by commas.
    #[arg(long, value_delimiter = ',', default_value = "50000,100000")]
    rates: Vec<u64>,
    /// Leaves relays out; several by commas.
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Also searches the highest rate without loss of each relay, once a round.
    #[arg(long)]
    max: bool,
    /// Writes all figures, medians and ratios to a file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    #[command(flatten)]
    shape: Shape,
}

/// All that the rounds brought for one relay.
struct Entry {
    contender: Contender,
    runs: Vec<Figures>,
    highest: Vec<Highest>,
}

/// Measures all in turns, so that what else the machine does hits all.
pub fn run(options: &Options) -> ExitCode {
    contender::outcome("compare rtp", compare(options))
}

fn compare(options: &Options) -> Result<bool, String> {
    let mut entries = contenders(options);
    let _priority = options.shape.priority();
    for round in 1..=options.rounds {
        for entry in &mut entries {
            println!(
                "round {round} of {}: {}",
                options.rounds,
                entry.contender.name()
            );
            turn(entry, options)?;
        }
    }
    let lines: Vec<Line> = entries
        .iter()
        .flat_map(|entry| lines(entry, options))
        .collect();
    println!("\n{}", summary::table(&lines));
    println!("{}", summary::ratio_table(&lines));
    let peaks: Vec<(&str, Vec<Highest>)> = entries
        .iter()
        .filter(|entry| !entry.highest.is_empty())
        .map(|entry| (entry.contender.name(), entry.highest.clone()))
        .collect();
    if !peaks.is_empty() {
        println!("{}", summary::peak_table(&peaks));
    }
    let value = report(options, &entries, &lines, &peaks);
    contender::keep("rtp", &value, options.json.as_deref())?;
    for line in lines.iter().filter(|line| !line.limits.is_empty()) {
        println!(
            "{} at {}/s is not the relay's figure in {} of {} rounds: {}",
            line.name,
            line.rate_asked,
            line.limits.len(),
            line.rounds,
            line.limits.join("; ")
        );
    }
    Ok(lines.iter().all(|line| line.lost == 0))
}

/// Who takes part: what is left out by name, can't be installed or isn't there has no turn.
fn contenders(options: &Options) -> Vec<Entry> {
    let all = [
        (Target::Midpath, Backend::Uring),
        (Target::Midpath, Backend::Epoll),
        (Target::Rtpengine, Backend::Auto),
        (Target::Floor, Backend::Auto),
    ];
    let mut entries = Vec::new();
    for (target, backend) in all {
        let contender = Contender {
            target,
            backend,
            workers: options.shape.workers,
        };
        if options.without.iter().any(|name| name == contender.name()) {
            continue;
        }
        if target == Target::Rtpengine && find("rtpengine").is_none() {
            test::install(&["rtpengine-daemon"]);
            if find("rtpengine").is_none() {
                println!("rtpengine has no turn: sudo apt-get install rtpengine-daemon");
                continue;
            }
        }
        entries.push(Entry {
            contender,
            runs: Vec::new(),
            highest: Vec::new(),
        });
    }
    entries
}

/// One relay's turn: started once, loaded at every rate.
fn turn(entry: &mut Entry, options: &Options) -> Result<(), String> {
    let (contender, shape) = (entry.contender, &options.shape);
    let first = shape.load(options.rates.first().copied());
    let subject = shape.start(contender, &first)?;
    for rate in &options.rates {
        let load = shape.load(Some(*rate));
        entry
            .runs
            .push(super::measure(contender, &subject, &load, false)?);
    }
    subject.end()?;
    if options.max {
        entry
            .highest
            .push(search::highest(contender, shape, false)?);
    }
    Ok(())
}

fn lines(entry: &Entry, options: &Options) -> Vec<Line> {
    let line = |rate: &u64| {
        let runs = entry.runs.iter().filter(|run| run.load.rate == *rate);
        Line::new(entry.contender.name(), *rate, &runs.collect::<Vec<_>>())
    };
    options.rates.iter().map(line).collect()
}

fn report(
    options: &Options,
    entries: &[Entry],
    lines: &[Line],
    peaks: &[(&str, Vec<Highest>)],
) -> Value {
    let contender = |entry: &Entry| {
        let name = entry.contender.name();
        let medians = lines
            .iter()
            .filter(|line| line.name == name)
            .map(Line::json);
        json!({
            "name": name,
            "medians": medians.collect::<Vec<_>>(),
            "highest_loss_free_rate": summary::peak(peaks, name),
            "rounds": entry.runs.iter().map(Figures::json).collect::<Vec<_>>(),
            "searches": entry.highest.iter().map(Highest::json).collect::<Vec<_>>(),
        })
    };
    json!({
        "unit": "one relayed RTP packet",
        "calls": options.shape.calls,
        "coalesce_us": options.shape.coalesce_us,
        "packet_bytes": options.shape.codec.packet_bytes(),
        "seconds": options.shape.seconds,
        "rounds": options.rounds,
        "workers": options.shape.workers,
        "contenders": entries.iter().map(contender).collect::<Vec<_>>(),
        "ratios": summary::ratios(lines, peaks),
    })
}
