//! `cargo x compare msrp`: the same messages through Midpath, Kamailio, HAProxy and the bare splice
//! loop, in turns.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::{Value, json};
use tests::live::find;

use super::Span;
use super::figures::Figures;
use super::plan::{Feed, Load, Pace};
use super::subject::{Contender, Target};
use super::summary::{self, Line};
use crate::contender::{self, Backend};
use crate::test;

/// One kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scene {
    /// 1 KiB messages as fast as they go, 8 of each session on their way.
    Small,
    /// 10 MB messages as fast as they go, 2 of each session on their way.
    Bulk,
    /// 5,000 messages of 1 KiB per second, evenly.
    Latency,
    /// Chunks of 10,000 bytes whose sender has 1,000 bytes every millisecond.
    Slow,
}

impl Scene {
    /// Its name in tables and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Bulk => "bulk",
            Self::Latency => "latency",
            Self::Slow => "slow",
        }
    }

    /// Its load through at most `sessions` sessions.
    fn load(self, sessions: usize, span: &Span) -> Load {
        let load = Load {
            size: 1024,
            chunk: u64::MAX,
            sessions,
            pace: Pace::Closed { window: 8 },
            feed: None,
            success_report: false,
            measured: Duration::from_secs(span.seconds),
            warmup: Duration::from_millis(span.warmup_ms),
        };
        match self {
            Self::Small => load,
            Self::Bulk => Load {
                size: 10_000_000,
                sessions: sessions.min(4),
                pace: Pace::Closed { window: 2 },
                ..load
            },
            Self::Latency => Load {
                pace: Pace::Open { rate: 5000 },
                ..load
            },
            Self::Slow => Load {
                size: 10_000,
                sessions: sessions.min(20),
                pace: Pace::Open { rate: 500 },
                feed: Some(Feed {
                    bytes: 1000,
                    every_ns: 1_000_000,
                }),
                ..load
            },
        }
    }
}

/// How many rounds of what load.
#[derive(Debug, clap::Args)]
#[group(id = "msrp-compare")]
pub struct Options {
    /// Rounds; in each, every relay has its turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// What is sent; several by commas.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "small,bulk,latency,slow"
    )]
    scenes: Vec<Scene>,
    /// Leaves relays out; several by commas.
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Sessions that are set up, each with its own two connections.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    sessions: u64,
    /// Writes all figures, medians and ratios to a file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    #[command(flatten)]
    span: Span,
}

/// All that the rounds brought for one relay.
pub struct Entry {
    /// The relay.
    pub contender: Contender,
    /// Its runs.
    pub runs: Vec<(Scene, Figures)>,
}

/// Measures all in turns, so that what else the machine does hits all.
pub fn run(options: &Options) -> ExitCode {
    contender::outcome("compare msrp", compare(options))
}

fn compare(options: &Options) -> Result<bool, String> {
    let mut entries = contenders(options);
    let _priority = options.span.priority();
    for round in 1..=options.rounds {
        for entry in &mut entries {
            let name = entry.contender.name();
            println!("round {round} of {}: {name}", options.rounds);
            turn(entry, options).map_err(|error| format!("{name}: {error}"))?;
        }
    }
    let lines: Vec<Line> = entries
        .iter()
        .flat_map(|entry| lines(entry, options))
        .collect();
    for scene in &options.scenes {
        println!("\n{}", summary::table(*scene, &lines));
    }
    println!("{}", summary::ratio_table(&lines));
    let value = report(options, &entries, &lines);
    contender::keep("msrp", &value, options.json.as_deref())?;
    for line in lines.iter().filter(|line| !line.limits.is_empty()) {
        println!(
            "{}, {}: the pace is the generator's in {} of {} rounds: {}",
            line.scene.name(),
            line.name,
            line.limits.len(),
            line.rounds,
            line.limits.join("; ")
        );
    }
    Ok(lines
        .iter()
        .all(|line| line.is_whole || !line.name.starts_with("midpath")))
}

/// Who takes part: what is left out by name, can't be installed or isn't there has no turn.
fn contenders(options: &Options) -> Vec<Entry> {
    let all = [
        (Target::Midpath, Backend::Uring),
        (Target::Midpath, Backend::Epoll),
        (Target::Cema, Backend::Uring),
        (Target::Cema, Backend::Epoll),
        (Target::Kamailio, Backend::Auto),
        (Target::Haproxy, Backend::Auto),
        (Target::HaproxySplice, Backend::Auto),
        (Target::Splice, Backend::Auto),
        (Target::Direct, Backend::Auto),
    ];
    let mut entries = Vec::new();
    for (target, backend) in all {
        let contender = Contender { target, backend };
        let is_left_out = options.without.iter().any(|name| name == contender.name());
        if is_left_out || !is_there(target) {
            continue;
        }
        entries.push(Entry {
            contender,
            runs: Vec::new(),
        });
    }
    entries
}

/// Whether a relay is there, installed if it may be.
fn is_there(target: Target) -> bool {
    let (program, packages): (&str, &[&str]) = match target {
        Target::Kamailio => ("kamailio", &["kamailio", "kamailio-tls-modules"]),
        Target::Haproxy | Target::HaproxySplice => ("haproxy", &["haproxy"]),
        Target::Midpath | Target::Cema | Target::Splice | Target::Direct => return true,
    };
    if find(program).is_none() {
        test::install(packages);
    }
    let is_there = find(program).is_some();
    if !is_there {
        println!(
            "{program} has no turn: sudo apt-get install {}",
            packages.join(" ")
        );
    }
    is_there
}

/// One relay's turn: started once, every scene after the other.
fn turn(entry: &mut Entry, options: &Options) -> Result<(), String> {
    let sessions = usize::try_from(options.sessions).unwrap_or(1);
    let subject = super::start(entry.contender, sessions, &options.span)?;
    for scene in &options.scenes {
        // Kamailio closes a connection whose chunk is longer than its buffer.
        if *scene == Scene::Bulk && entry.contender.target == Target::Kamailio {
            continue;
        }
        let load = scene.load(sessions, &options.span);
        let figures = super::measure(entry.contender, &subject, &load)?;
        entry.runs.push((*scene, figures));
    }
    subject.started.running.end()
}

fn lines(entry: &Entry, options: &Options) -> Vec<Line> {
    let line = |scene: &Scene| {
        let runs = entry.runs.iter().filter(|(of, _)| of == scene);
        let runs: Vec<&Figures> = runs.map(|(_, figures)| figures).collect();
        (!runs.is_empty()).then(|| Line::new(entry.contender.name(), *scene, &runs))
    };
    options.scenes.iter().filter_map(line).collect()
}

fn report(options: &Options, entries: &[Entry], lines: &[Line]) -> Value {
    let contender = |entry: &Entry| {
        let name = entry.contender.name();
        let medians = lines
            .iter()
            .filter(|line| line.name == name)
            .map(Line::json);
        let run = |(scene, figures): &(Scene, Figures)| {
            let mut value = figures.json();
            value["scene"] = scene.name().into();
            value
        };
        json!({
            "name": name,
            "medians": medians.collect::<Vec<_>>(),
            "rounds": entry.runs.iter().map(run).collect::<Vec<_>>(),
        })
    };
    json!({
        "sessions": options.sessions,
        "seconds": options.span.seconds,
        "rounds": options.rounds,
        "contenders": entries.iter().map(contender).collect::<Vec<_>>(),
        "ratios": summary::ratios(lines),
    })
}
