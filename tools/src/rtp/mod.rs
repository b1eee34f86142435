//! `cargo x load rtp` and `cargo x compare rtp`: paced two-way calls through a relay on loopback, and
//! what the relay needed for them.

mod bencode;
pub mod compare;
mod description;
mod figures;
mod floor;
mod generator;
mod given;
pub(crate) mod host;
mod ledger;
mod leg;
mod midpath;
mod packet;
mod rtpengine;
mod search;
mod shard;
mod subject;
mod summary;

use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::load::count;
use figures::{Figures, Resident};
use generator::{Load, Moment, Plan};
use host::Priority;
use packet::Codec;
use subject::{Contender, Subject, Target};

use crate::contender::Backend;

/// What to send through which relay.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "rtp-load")]
pub struct Options {
    /// The relay; it is started and ended by this task.
    #[arg(long, value_enum, default_value = "midpath")]
    target: Target,
    /// The sockets that Midpath uses.
    #[arg(long, value_enum, default_value = "auto")]
    backend: Backend,
    #[command(flatten)]
    shape: Shape,
    /// Packets per second, both directions of all calls together; else the codec's interval decides.
    #[arg(long)]
    rate: Option<u64>,
    /// Figures as JSON.
    #[arg(long)]
    json: bool,
}

/// What a load has in common whoever relays it.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "rtp-shape")]
pub struct Shape {
    /// Two-way calls, each with its own ports.
    #[arg(long, default_value_t = 500)]
    calls: usize,
    /// The size of packets, and how many there are without a rate.
    #[arg(long, value_enum, default_value = "g711")]
    codec: Codec,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Seconds before them.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=600))]
    warmup: u64,
    /// Threads that relay; the last cores are theirs.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Packets leave together once in so many microseconds, as a network card with interrupt
    /// moderation hands them on; 0: each at its own moment.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=20_000))]
    coalesce_us: u64,
    /// Pairs of sockets of each thread of the generator, shared by the calls' far ends; the relay
    /// has ports for each call all the same. As many as there are calls: no end shares one.
    #[arg(long, default_value_t = 4)]
    sockets: usize,
    /// RTCP shares RTP's port (RFC 8858), which halves the relay's descriptors.
    #[arg(long)]
    rtcp_mux: bool,
    /// Where `--target given` is: FIRST,OWN,PROCESS. End n of the calls (2n and 2n + 1 are one call)
    /// sends to the address FIRST with its port + 2n, from the address OWN and port
    /// 4096 + 2 (n mod 2S), S being `--sockets` times the generator's threads; the relay must
    /// know that. PROCESS is the relay's process, whose CPU time is read.
    #[arg(long, value_name = "FIRST,OWN,PROCESS")]
    ports: Option<given::Given>,
    /// Leaves all processes at the priority that they have: else the generator is put before the
    /// machine's other work, and the relay gets real-time priority on its core.
    #[arg(long)]
    no_nice: bool,
}

impl Shape {
    /// The load at `rate` packets per second, or at the codec's own.
    fn load(&self, rate: Option<u64>) -> Load {
        let calls = u64::try_from(self.calls).unwrap_or(u64::MAX);
        Load {
            codec: self.codec,
            rate: rate.unwrap_or_else(|| calls * 2 * self.codec.packets_per_second()),
            seconds: self.seconds,
            warmup_s: self.warmup,
            coalesce_us: self.coalesce_us,
        }
    }

    /// Starts a relay with calls, before other work on its cores.
    fn start(&self, contender: Contender, load: &Load) -> Result<Subject, String> {
        let subject = Subject::start(contender, self, load)?;
        if !self.no_nice {
            host::prefer_process(subject.running.id());
        }
        Ok(subject)
    }

    /// Puts the measurement before other work for as long as the value lives.
    fn priority(&self) -> Option<Priority> {
        (!self.no_nice).then(Priority::raise)
    }
}

/// Loads a relay and reports.
pub fn run(options: &Options) -> ExitCode {
    let contender = Contender {
        target: options.target,
        backend: options.backend,
        workers: options.shape.workers,
    };
    let _priority = options.shape.priority();
    let load = options.shape.load(options.rate);
    match one(contender, &options.shape, &load, options.json) {
        Ok(figures) => {
            if options.json {
                println!("{:#}", figures.json());
            } else {
                println!("{}", figures.text());
            }
            if figures.tally.lost == 0 && figures.tally.damaged == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            println!("load rtp: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts a relay, loads it once, ends it.
fn one(contender: Contender, shape: &Shape, load: &Load, quiet: bool) -> Result<Figures, String> {
    let subject = shape.start(contender, load)?;
    let figures = measure(contender, &subject, load, quiet)?;
    subject.end()?;
    Ok(figures)
}

/// Loads a relay that runs.
fn measure(
    contender: Contender,
    subject: &Subject,
    load: &Load,
    quiet: bool,
) -> Result<Figures, String> {
    let id = subject.running.id();
    let set_up_kib = host::resident_kib(id);
    let drops = (
        host::queue_drops(subject.place.relay),
        host::queue_drops(subject.place.generator),
    );
    let bar = progress(load, subject.legs.all.len(), quiet);
    let mut most_kib = set_up_kib;
    let watch = |moment: Moment| {
        most_kib = most_kib.max(host::resident_kib(id));
        bar.set_position(u64::try_from(moment.elapsed.as_millis()).unwrap_or(0));
        let behind = moment.sent.saturating_sub(moment.received);
        let pace = count(moment.sent) / moment.elapsed.max(Duration::from_millis(1)).as_secs_f64();
        bar.set_message(format!(
            "{pace:.0} packets/s, {} sent, {behind} on their way or lost, {most_kib} KiB",
            moment.sent
        ));
    };
    let process = (subject.cores.generator.as_slice(), id);
    let result = generator::run(&subject.legs, load, process, watch);
    bar.finish_and_clear();
    let (tally, reading) = result?;
    let end_kib = host::resident_kib(id);
    Ok(Figures {
        contender,
        calls: subject.calls(),
        load: *load,
        tally,
        reading,
        resident: Resident {
            before_kib: subject.resident_before_kib,
            set_up_kib,
            most_kib: most_kib.max(end_kib),
            end_kib,
        },
        relay_drops: host::queue_drops(subject.place.relay).saturating_sub(drops.0),
        generator_drops: host::queue_drops(subject.place.generator).saturating_sub(drops.1),
        load_average: host::load_average(),
        overlap: subject.cores.overlap(),
    })
}

fn progress(load: &Load, streams: usize, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let plan = Plan::new(load, streams);
    let whole = plan.warmup() + plan.measured();
    let bar = ProgressBar::new(u64::try_from(whole.as_millis()).unwrap_or(1));
    let style = ProgressStyle::with_template("{bar:30} {elapsed} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
