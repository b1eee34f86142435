//! `cargo x load mix` and `cargo x compare mix`: rooms of plain RTP whose audio is mixed, and what
//! that needed.

pub mod compare;
mod figures;
mod generator;
mod janus;
mod midpath;
pub mod speech;
mod subject;

use std::process::ExitCode;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use crate::contender;
use crate::rtp::host::{self, Cores, Priority};
use figures::Figures;
use generator::Load;
use speech::Speech;
use subject::{Contender, Subject};

/// What the members speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Codec {
    /// 20 ms of µ-law; rooms are mixed at 8 kHz.
    G711,
    /// 20 ms of Opus at 32 kbit/s to the mixer; rooms are mixed at 48 kHz.
    Opus,
}

impl Codec {
    const fn name(self) -> &'static str {
        match self {
            Self::G711 => "g711",
            Self::Opus => "opus",
        }
    }

    /// RTP's payload type, and its clock's steps in a packet.
    const fn rtp(self) -> (u8, u32) {
        match self {
            Self::G711 => (0, 160),
            Self::Opus => (111, 960),
        }
    }
}

/// Who of a room talks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Talking {
    /// Everybody.
    All,
    /// One member; the others send packets of silence.
    One,
    /// Nobody; nobody sends a packet.
    None,
}

impl Talking {
    const fn name(self) -> &'static str {
        match self {
            Self::All => "all talk",
            Self::One => "one talks",
            Self::None => "idle",
        }
    }
}

/// Rooms and members.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "mix-shape")]
pub struct Shape {
    /// Rooms; one of three members is added, in which the latency is measured.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rooms: u16,
    /// Members of each.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(2..=100))]
    members: u16,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Seconds before them.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=600))]
    warmup: u64,
    /// Talkers that Midpath mixes at most, the loudest; Janus mixes all.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u8).range(1..=15))]
    talkers: u8,
    /// Bits per second of Opus that both mixers send; below 28,000 Midpath sends SILK with CELT as
    /// Janus does at any rate.
    #[arg(long, default_value_t = 32_000, value_parser = clap::value_parser!(u32).range(6_000..=128_000))]
    bitrate: u32,
    /// Leaves all processes at the priority that they have.
    #[arg(long)]
    no_nice: bool,
}

/// What to send through which mixer.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "mix-load")]
pub struct Options {
    /// The mixer; it is started and ended by this task.
    #[arg(long, value_enum, default_value = "midpath")]
    target: Contender,
    /// What the members speak.
    #[arg(long, value_enum, default_value = "opus")]
    codec: Codec,
    /// Who talks.
    #[arg(long, value_enum, default_value = "all")]
    talking: Talking,
    #[command(flatten)]
    shape: Shape,
    /// Figures as JSON.
    #[arg(long)]
    json: bool,
}

/// One load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scene {
    codec: Codec,
    talking: Talking,
}

impl Scene {
    fn name(self) -> String {
        format!("{}, {}", self.codec.name(), self.talking.name())
    }
}

/// Loads a mixer and reports.
pub fn run(options: &Options) -> ExitCode {
    let _priority = (!options.shape.no_nice).then(Priority::raise);
    let scene = Scene {
        codec: options.codec,
        talking: options.talking,
    };
    let measured = measure(options.target, &options.shape, scene, options.json).map(|figures| {
        if options.json {
            println!("{:#}", figures.json());
        } else {
            println!("{}", figures.text());
        }
        figures.lost() == 0
    });
    contender::outcome("load mix", measured)
}

/// Starts a mixer, loads it once, ends it.
fn measure(
    contender: Contender,
    shape: &Shape,
    scene: Scene,
    quiet: bool,
) -> Result<Figures, String> {
    let speech = Speech::new(scene.codec)?;
    let cores = Cores::share(1);
    host::pin_this_thread(&cores.generator);
    let subject = Subject::start(contender, shape, scene.codec, &cores.relay)?;
    if !shape.no_nice {
        host::prefer_process(subject.id());
    }
    let load = Load {
        scene,
        seconds: shape.seconds,
        warmup_s: shape.warmup,
    };
    let bar = progress(shape, quiet);
    let result = generator::run(&subject, &load, &speech, |elapsed, sent, received| {
        bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(0));
        bar.set_message(format!("{sent} packets sent, {received} received"));
    });
    bar.finish_and_clear();
    let figures = Figures::new(contender, shape, scene, (&subject, result?, &cores));
    subject.end()?;
    Ok(figures)
}

fn progress(shape: &Shape, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new((shape.seconds + shape.warmup) * 1000);
    let style = ProgressStyle::with_template("{bar:30} {elapsed} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
