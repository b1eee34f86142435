//! `cargo x compare mix`: the same rooms through Midpath and Janus's AudioBridge, in turns.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Map, Value, json};
use tests::live::find;

use super::figures::Figures;
use super::subject::Contender;
use super::{Codec, Scene, Shape, Talking};
use crate::contender;
use crate::rtp::host::Priority;
use crate::table::{lay_out, median};
use crate::test;

/// How many rounds of what.
#[derive(Debug, clap::Args)]
#[group(id = "mix-compare")]
pub struct Options {
    /// Rounds; in each, both mixers have their turn at each scene.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// What is spoken; several by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "opus,g711")]
    codecs: Vec<Codec>,
    /// Who talks; several by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "all,one")]
    talking: Vec<Talking>,
    /// Writes all figures, medians and ratios to a file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    #[command(flatten)]
    shape: Shape,
}

const BOTH: [Contender; 2] = [Contender::Midpath, Contender::Janus];

/// Measures both in turns, so that what else the machine does hits both.
pub fn run(options: &Options) -> ExitCode {
    contender::outcome("compare mix", compare(options))
}

fn compare(options: &Options) -> Result<bool, String> {
    if find("janus").is_none() {
        test::install(&["janus"]);
    }
    let _priority = (!options.shape.no_nice).then(Priority::raise);
    let scenes: Vec<Scene> = options
        .codecs
        .iter()
        .flat_map(|codec| {
            let scene = |talking: &Talking| Scene {
                codec: *codec,
                talking: *talking,
            };
            options.talking.iter().map(scene)
        })
        .collect();
    let mut runs = Vec::new();
    for round in 1..=options.rounds {
        for scene in &scenes {
            for contender in BOTH {
                println!(
                    "round {round} of {}: {}, {}",
                    options.rounds,
                    contender.name(),
                    scene.name()
                );
                runs.push(super::measure(contender, &options.shape, *scene, false)?);
            }
        }
    }
    let lines: Vec<Line> = scenes
        .iter()
        .flat_map(|scene| BOTH.map(|contender| Line::new(contender, *scene, &runs)))
        .collect();
    println!("\n{}", table(&lines));
    for run in &runs {
        if let Some(limit) = run.limit() {
            println!("{}, {}: {limit}", run.contender.name(), run.scene.name());
        }
    }
    let report = report(options, &lines, &runs);
    contender::keep("mix", &report, options.json.as_deref())?;
    let mut own = runs
        .iter()
        .filter(|run| run.contender == Contender::Midpath);
    Ok(own.all(|run| run.lost() == 0))
}

/// The medians of one mixer in one scene, and the greatest loss.
struct Line {
    contender: Contender,
    scene: Scene,
    participants: usize,
    per_cpu_second: f64,
    cpu_us: f64,
    loss: f64,
    latency_ms: [f64; 2],
    kib: f64,
}

impl Line {
    fn new(contender: Contender, scene: Scene, runs: &[Figures]) -> Self {
        let own = || {
            let is_own = |run: &&Figures| run.contender == contender && run.scene == scene;
            runs.iter().filter(is_own)
        };
        let middle =
            |figure: &dyn Fn(&Figures) -> f64| median(&own().map(figure).collect::<Vec<_>>());
        Self {
            contender,
            scene,
            participants: own().map(|run| run.participants).max().unwrap_or(0),
            per_cpu_second: middle(&Figures::per_cpu_second),
            cpu_us: middle(&Figures::cpu_us),
            loss: own().map(Figures::loss).fold(0.0, f64::max),
            latency_ms: [0.5, 0.99].map(|at| middle(&|run: &Figures| run.latency_ms(at))),
            kib: middle(&Figures::kib),
        }
    }

    fn cells(&self, ratio: Option<f64>) -> Vec<String> {
        vec![
            format!("{}: {}", self.scene.name(), self.contender.name()),
            self.participants.to_string(),
            format!("{:.0}", self.per_cpu_second),
            format!("{:.1}", self.cpu_us),
            format!("{:.4}", self.loss * 100.0),
            format!("{:.1}", self.latency_ms[0]),
            format!("{:.1}", self.latency_ms[1]),
            format!("{:.1}", self.kib),
            ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "contender": self.contender.name(),
            "scene": self.scene.name(),
            "participants_per_cpu_second": self.per_cpu_second,
            "cpu_us_per_participant_second": self.cpu_us,
            "loss": self.loss,
            "latency_ms": {"p50": self.latency_ms[0], "p99": self.latency_ms[1]},
            "memory_kib_per_participant": self.kib,
        })
    }
}

/// Participants per CPU second of Midpath, in Janus's.
fn ratio(lines: &[Line], scene: Scene) -> Option<f64> {
    let of = |contender| {
        let found = lines
            .iter()
            .find(|line| line.scene == scene && line.contender == contender);
        found.map(|line| line.per_cpu_second)
    };
    Some(of(Contender::Midpath)? / of(Contender::Janus)?)
}

fn table(lines: &[Line]) -> String {
    let head = [
        "median",
        "participants",
        "per CPU second",
        "CPU us each second",
        "most lost %",
        "p50 ms",
        "p99 ms",
        "KiB each",
        "to janus",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(lines.iter().map(|line| {
        let is_own = line.contender == Contender::Midpath;
        line.cells(ratio(lines, line.scene).filter(|_| is_own))
    }));
    lay_out(&rows)
}

fn report(options: &Options, lines: &[Line], runs: &[Figures]) -> Value {
    let ratios: Map<String, Value> = lines
        .iter()
        .map(|line| (line.scene.name(), ratio(lines, line.scene).into()))
        .collect();
    json!({
        "unit": "one participant's second",
        "rooms": options.shape.rooms,
        "members": options.shape.members,
        "talkers_max": options.shape.talkers,
        "bitrate": options.shape.bitrate,
        "seconds": options.shape.seconds,
        "rounds": options.rounds,
        "medians": lines.iter().map(Line::json).collect::<Vec<_>>(),
        "ratios": ratios,
        "runs": runs.iter().map(Figures::json).collect::<Vec<_>>(),
    })
}
