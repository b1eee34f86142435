//! `cargo x load msrp` and `cargo x compare msrp`: MSRP sessions through a relay on loopback, what came
//! of their messages, and what the relay needed for them.

pub mod compare;
mod content;
mod figures;
pub(crate) mod frame;
mod generator;
mod kamailio;
mod midpath;
mod passing;
mod plan;
mod receiver;
mod sender;
mod session;
pub(crate) mod subject;
mod summary;
mod tally;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::rtp::host::{self, Priority};
use figures::{Figures, Memory, Reading};
use generator::Generator;
use plan::{Feed, Load, Pace};
use subject::{Contender, Subject, Target};

use crate::contender::Backend;
use tally::Gauge;

/// What to send through which relay.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "msrp-load")]
pub struct Options {
    /// The relay; it is started and ended by this task.
    #[arg(long, value_enum, default_value = "midpath")]
    target: Target,
    /// The sockets that Midpath uses.
    #[arg(long, value_enum, default_value = "auto")]
    backend: Backend,
    /// Bytes of a message: 100 to 1 GiB.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(100..=1 << 30))]
    size: u64,
    /// Bytes of a chunk at most; else a message is one chunk.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    chunk: Option<u64>,
    /// Sessions, each with its own two connections.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    sessions: u64,
    /// Messages per second, all sessions together, each at its moment (open loop).
    #[arg(long, conflicts_with = "window", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Messages of a session that are on their way at a time (closed loop).
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=4096))]
    window: u64,
    /// Bytes that a slow sender has at a time; its head leaves at once.
    #[arg(long, requires = "feed_us", value_parser = clap::value_parser!(u64).range(1..))]
    feed_bytes: Option<u64>,
    /// Microseconds between two such pieces.
    #[arg(long, requires = "feed_bytes")]
    feed_us: Option<u64>,
    /// Asks for a success report for every message.
    #[arg(long)]
    success_report: bool,
    #[command(flatten)]
    span: Span,
    /// Writes the figures to a file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// How long, and before whose work.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "msrp-span")]
pub struct Span {
    /// Seconds that are measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Milliseconds before them.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(0..=600_000))]
    warmup_ms: u64,
    /// Leaves all processes at the priority that they have: else the generator is put before the
    /// machine's other work, and the relay gets real-time priority on its core.
    #[arg(long)]
    no_nice: bool,
}

impl Span {
    /// Puts the measurement before other work for as long as the value lives.
    fn priority(&self) -> Option<Priority> {
        (!self.no_nice).then(Priority::raise)
    }
}

impl Options {
    fn load(&self) -> Load {
        let feed = self.feed_bytes.zip(self.feed_us);
        Load {
            size: self.size,
            chunk: self.chunk.unwrap_or(u64::MAX),
            sessions: usize::try_from(self.sessions).unwrap_or(1),
            pace: match self.rate {
                Some(rate) => Pace::Open { rate },
                None => Pace::Closed {
                    window: self.window,
                },
            },
            feed: feed.map(|(bytes, micros)| Feed {
                bytes,
                every_ns: micros * 1000,
            }),
            success_report: self.success_report,
            measured: Duration::from_secs(self.span.seconds),
            warmup: Duration::from_millis(self.span.warmup_ms),
        }
    }
}

/// Loads a relay and reports.
pub fn run(options: &Options) -> ExitCode {
    let contender = Contender {
        target: options.target,
        backend: options.backend,
    };
    let _priority = options.span.priority();
    match one(contender, options) {
        Ok(figures) => {
            println!("{}", figures.text());
            let written = options.json.as_ref().map(|file| {
                let text = format!("{:#}\n", figures.json());
                std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
            });
            if let Some(Err(error)) = written {
                println!("load msrp: {error}");
                return ExitCode::FAILURE;
            }
            if figures.is_whole() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            println!("load msrp: {error}");
            ExitCode::FAILURE
        }
    }
}

fn one(contender: Contender, options: &Options) -> Result<Figures, String> {
    let load = options.load();
    let subject = start(contender, load.sessions, &options.span)?;
    let figures = measure(contender, &subject, &load)?;
    subject.started.running.end()?;
    Ok(figures)
}

/// Starts a relay with sessions, before other work on its core.
fn start(contender: Contender, sessions: usize, span: &Span) -> Result<Subject, String> {
    let subject = Subject::start(contender, sessions)?;
    let id = subject.started.running.id();
    if !span.no_nice && id != 0 {
        subject::family(id)
            .into_iter()
            .for_each(host::prefer_process);
    }
    Ok(subject)
}

/// Loads a relay that runs.
fn measure(contender: Contender, subject: &Subject, load: &Load) -> Result<Figures, String> {
    let id = subject.started.running.id();
    let set_up_kib = subject::memory_kib(id);
    let gauge = Gauge::default();
    let start = Instant::now() + Duration::from_millis(20);
    let generator = Generator::new(load, &subject.started.pairs, start, &gauge)?;
    let bar = progress(load);
    let ((tally, errors), reading) = thread::scope(|scope| {
        let cores = subject.cores.generator.as_slice();
        let body = move || {
            host::pin_this_thread(cores);
            generator.run()
        };
        let thread = thread::Builder::new().name("generator".to_owned());
        let thread = thread.spawn_scoped(scope, body);
        let thread = thread.map_err(|error| format!("no thread: {error}"))?;
        let reading = watch(load, id, (start, &gauge), &bar);
        let result = thread
            .join()
            .map_err(|_| "the generator failed".to_owned())?;
        Ok::<_, String>((result, reading))
    })?;
    bar.finish_and_clear();
    for error in errors.iter().take(3) {
        println!("{error}");
    }
    Ok(Figures {
        contender,
        load: *load,
        tally,
        reading,
        memory: Memory {
            before_kib: subject.started.before_kib,
            set_up_kib,
            end_kib: subject::memory_kib(id),
            sessions: subject.started.pairs.len(),
        },
        overlap: subject.cores.overlap(),
        load_average: host::load_average(),
    })
}

/// Waits for the load's end; reads what the relay used from the end of the warm-up on.
fn watch(load: &Load, id: u32, (start, gauge): (Instant, &Gauge), bar: &ProgressBar) -> Reading {
    let wait = |until: Instant| {
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            thread::sleep(left.min(Duration::from_millis(200)));
            let (sent, delivered) = (&gauge.sent, &gauge.delivered);
            let bytes = HumanBytes(gauge.bytes.load(Ordering::Relaxed));
            bar.set_position(u64::try_from(start.elapsed().as_millis()).unwrap_or(0));
            bar.set_message(format!(
                "{} messages sent, {} delivered, {bytes}",
                sent.load(Ordering::Relaxed),
                delivered.load(Ordering::Relaxed),
            ));
        }
    };
    let read = || {
        let of = |gauge: &std::sync::atomic::AtomicU64| gauge.load(Ordering::Relaxed);
        (
            Instant::now(),
            subject::cpu_ns(id),
            of(&gauge.delivered),
            of(&gauge.bytes),
        )
    };
    wait(start + load.warmup);
    let before = read();
    wait(start + load.warmup + load.measured);
    let after = read();
    Reading {
        cpu_ns: after.1.saturating_sub(before.1),
        messages: after.2.saturating_sub(before.2),
        bytes: after.3.saturating_sub(before.3),
        wall: after.0.saturating_duration_since(before.0),
    }
}

fn progress(load: &Load) -> ProgressBar {
    let whole = load.warmup + load.measured;
    let bar = ProgressBar::new(u64::try_from(whole.as_millis()).unwrap_or(1));
    let style = ProgressStyle::with_template("{bar:30} {elapsed} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
