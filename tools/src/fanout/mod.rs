//! `cargo x compare fanout`: one talker to many receivers, through a worker's room and through a bare
//! send loop, in turns.

mod load;
mod subject;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::contender;
use crate::load::count;
use crate::rtp::host::{self, Cores, Priority};
use crate::table::{lay_out, median};
use load::{Talk, Tally};
use subject::{Contender, Subject};

/// How much of what.
#[derive(Debug, clap::Args)]
#[group(id = "fanout-compare")]
pub struct Options {
    /// Rounds; in each, all contenders have their turn at each scene and rate.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Who receives.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=4000))]
    receivers: u16,
    /// What is sent; several by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "voice,video")]
    scenes: Vec<Scene>,
    /// Packets of the talker in a second; several by commas.
    #[arg(long, value_delimiter = ',', default_value = "50,150")]
    rates: Vec<u32>,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Seconds before them.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=600))]
    warmup: u64,
    /// Leaves all processes at the priority that they have.
    #[arg(long)]
    no_nice: bool,
    /// Writes all figures, medians and ratios to a file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What is sent to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scene {
    /// 20 ms of G.711, simplex: the room forwards it.
    Voice,
    /// Packets of 1,100 octets of VP8: the room shows who sends.
    Video,
}

impl Scene {
    const fn name(self) -> &'static str {
        match self {
            Self::Voice => "voice, forwarded",
            Self::Video => "video, switched",
        }
    }
}

/// One turn.
struct Run {
    contender: Contender,
    scene: Scene,
    rate: u32,
    tally: Tally,
    load_average: f64,
}

impl Run {
    /// CPU time for a packet that came, in microseconds.
    fn cpu_us(&self) -> f64 {
        count(self.tally.cpu_ns) / 1000.0 / count(self.tally.received.max(1))
    }

    fn lost(&self) -> u64 {
        self.tally.wanted.saturating_sub(self.tally.received)
    }

    fn loss(&self) -> f64 {
        count(self.lost()) / count(self.tally.wanted.max(1))
    }

    fn share(&self) -> f64 {
        count(self.tally.cpu_ns) / 1e9 / self.tally.elapsed.as_secs_f64()
    }

    fn json(&self) -> Value {
        json!({
            "contender": self.contender.name(),
            "scene": self.scene.name(),
            "rate": self.rate,
            "wanted": self.tally.wanted,
            "received": self.tally.received,
            "loss": self.loss(),
            "cpu_us_per_packet": self.cpu_us(),
            "cpu_share": self.share(),
            "last_receiver_us": {
                "p50": self.tally.last.value_at_quantile(0.5),
                "p99": self.tally.last.value_at_quantile(0.99),
            },
            "load_average": self.load_average,
        })
    }
}

/// Measures all in turns, so that what else the machine does hits all.
pub fn run(options: &Options) -> ExitCode {
    contender::outcome("compare fanout", compare(options))
}

fn compare(options: &Options) -> Result<bool, String> {
    let _priority = (!options.no_nice).then(Priority::raise);
    host::raise_descriptors(16_384);
    let mut runs = Vec::new();
    for round in 1..=options.rounds {
        for (scene, rate) in turns(options) {
            for contender in Contender::ALL {
                let run = measure(options, contender, (scene, rate))?;
                println!(
                    "round {round} of {}: {}, {rate}/s, {}: {:.3} us a packet, {:.0} % of the core, \
                     {} of {} lost",
                    options.rounds,
                    scene.name(),
                    contender.name(),
                    run.cpu_us(),
                    run.share() * 100.0,
                    run.lost(),
                    run.tally.wanted
                );
                runs.push(run);
            }
        }
    }
    let lines: Vec<Line> = turns(options)
        .flat_map(|turn| Contender::ALL.map(|contender| Line::new(contender, turn, &runs)))
        .collect();
    println!("\n{}", table(&lines));
    let report = report(options, &lines, &runs);
    contender::keep("fanout", &report, options.json.as_deref())?;
    Ok(runs.iter().all(|run| run.lost() == 0))
}

fn turns(options: &Options) -> impl Iterator<Item = (Scene, u32)> + '_ {
    let scenes = options.scenes.iter();
    scenes.flat_map(|scene| options.rates.iter().map(|rate| (*scene, *rate)))
}

fn measure(
    options: &Options,
    contender: Contender,
    (scene, rate): (Scene, u32),
) -> Result<Run, String> {
    let cores = Cores::share(1);
    if cores.overlap() {
        return Err("the talker needs a core of its own".to_owned());
    }
    host::pin_this_thread(&cores.generator);
    let core = *cores.relay.first().ok_or("a core is needed")?;
    let ears = load::ears()?;
    let subject = Subject::start(contender, (scene, options.receivers), &ears, core)?;
    host::pin_process(subject.id(), &cores.relay);
    if !options.no_nice {
        host::prefer_process(subject.id());
    }
    let talk = Talk {
        scene,
        rate,
        receivers: options.receivers,
        warmup_s: options.warmup,
        seconds: options.seconds,
    };
    let tally = load::run(&ears, (subject.port, subject.id()), &talk)?;
    subject.end()?;
    Ok(Run {
        contender,
        scene,
        rate,
        tally,
        load_average: host::load_average(),
    })
}

/// The medians of one contender in one scene, and the greatest loss.
struct Line {
    contender: Contender,
    scene: Scene,
    rate: u32,
    cpu_us: f64,
    share: f64,
    loss: f64,
    last_us: [f64; 2],
}

impl Line {
    fn new(contender: Contender, (scene, rate): (Scene, u32), runs: &[Run]) -> Self {
        let own = || {
            let is_own =
                |run: &&Run| run.contender == contender && run.scene == scene && run.rate == rate;
            runs.iter().filter(is_own)
        };
        let middle = |figure: &dyn Fn(&Run) -> f64| median(&own().map(figure).collect::<Vec<_>>());
        Self {
            contender,
            scene,
            rate,
            cpu_us: middle(&Run::cpu_us),
            share: middle(&Run::share),
            loss: own().map(Run::loss).fold(0.0, f64::max),
            last_us: [0.5, 0.99]
                .map(|at| middle(&|run: &Run| count(run.tally.last.value_at_quantile(at)))),
        }
    }

    /// CPU time of this line in that of a bare loop in the same scene.
    fn to(&self, bare: Contender, lines: &[Self]) -> f64 {
        let same = |line: &&Self| {
            line.contender == bare && line.scene == self.scene && line.rate == self.rate
        };
        lines
            .iter()
            .find(same)
            .map_or(0.0, |line| contender::quotient(self.cpu_us, line.cpu_us))
    }

    fn cells(&self, lines: &[Self]) -> Vec<String> {
        vec![
            format!(
                "{}, {}/s: {}",
                self.scene.name(),
                self.rate,
                self.contender.name()
            ),
            format!("{:.3}", self.cpu_us),
            format!("{:.2}", self.to(Contender::BareEach, lines)),
            format!("{:.2}", self.to(Contender::BareOne, lines)),
            format!("{:.0}", self.share * 100.0),
            format!("{:.4}", self.loss * 100.0),
            format!("{:.0}", self.last_us[0]),
            format!("{:.0}", self.last_us[1]),
        ]
    }

    fn json(&self, lines: &[Self]) -> Value {
        json!({
            "contender": self.contender.name(),
            "scene": self.scene.name(),
            "rate": self.rate,
            "cpu_us_per_packet": self.cpu_us,
            "to_bare_socket_each": self.to(Contender::BareEach, lines),
            "to_bare_one_socket": self.to(Contender::BareOne, lines),
            "cpu_share": self.share,
            "loss": self.loss,
            "last_receiver_us": {"p50": self.last_us[0], "p99": self.last_us[1]},
        })
    }
}

fn table(lines: &[Line]) -> String {
    let head = [
        "median",
        "CPU us/packet",
        "to bare, a socket each",
        "to bare, one socket",
        "core %",
        "most lost %",
        "last p50 us",
        "last p99 us",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(lines.iter().map(|line| line.cells(lines)));
    lay_out(&rows)
}

fn report(options: &Options, lines: &[Line], runs: &[Run]) -> Value {
    json!({
        "unit": "one packet to one receiver",
        "receivers": options.receivers,
        "seconds": options.seconds,
        "rounds": options.rounds,
        "medians": lines.iter().map(|line| line.json(lines)).collect::<Vec<_>>(),
        "runs": runs.iter().map(Run::json).collect::<Vec<_>>(),
    })
}
