//! `cargo x soak msrp`: a message of 4 GiB through a slow reader that stops once, or many sessions
//! in which nobody says a word.

use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tests::live::soak::{self, Slow};

use crate::rtp::host::raise_descriptors;

/// How big and how slow, or how many.
#[derive(Debug, clap::Args)]
#[group(id = "soak")]
pub struct Options {
    /// The message in MiB.
    #[arg(long, default_value_t = 4096)]
    mebibytes: u64,
    /// What the reader takes, in MiB per second.
    #[arg(long, default_value_t = 64)]
    rate: u64,
    /// How many seconds the reader takes nothing, half-way.
    #[arg(long, default_value_t = 50)]
    stop: u64,
    /// The most that the relay may need for the message, in KiB.
    #[arg(long, default_value_t = 8192)]
    memory_kib_max: u64,
    /// Sets up so many idle sessions instead.
    #[arg(long)]
    idle: Option<usize>,
    /// The most that the worker may need for an idle session's connections, in bytes.
    #[arg(long, default_value_t = 4096)]
    idle_bytes_max: u64,
}

/// Does what the options say and watches the relay's memory.
pub fn run(options: &Options) -> ExitCode {
    let is_fine = match options.idle {
        Some(sessions) => idle(options, sessions),
        None => slow(options),
    };
    if is_fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn bar(length: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn slow(options: &Options) -> bool {
    let bar = bar(
        options.mebibytes << 20,
        "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {msg}",
    );
    let slow = Slow {
        bytes: options.mebibytes << 20,
        pace: options.rate << 20,
        stop: Duration::from_secs(options.stop),
    };
    let memory = soak::msrp(slow, |bytes, resident_kib| {
        bar.set_position(bytes);
        bar.set_message(format!("the relay has {resident_kib} KiB"));
    });
    bar.finish_and_clear();
    println!(
        "{} MiB in {:.1} s, {} s of which the reader took nothing, identical; the relay had {} KiB \
         before and {} KiB at most",
        options.mebibytes,
        memory.took.as_secs_f64(),
        options.stop,
        memory.before_kib,
        memory.most_kib
    );
    memory.most_kib.saturating_sub(memory.before_kib) <= options.memory_kib_max
}

fn idle(options: &Options, sessions: usize) -> bool {
    /// Longer than a transaction is kept.
    const SETTLE: Duration = Duration::from_secs(40);
    raise_descriptors(u64::try_from(sessions).unwrap_or(u64::MAX) * 2 + 1000);
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let bar = bar(2 * count(sessions), "{bar:30} {msg}");
    let figures = soak::idle(sessions, SETTLE, |called, bound| {
        bar.set_position(count(called) + count(bound));
        bar.set_message(format!("{called} calls, {bound} bound"));
    });
    bar.finish_and_clear();
    println!(
        "{} idle sessions on {} connections: the relay had {} KiB before, {} KiB with the calls, \
         {} KiB with all connections bound\na session's connections need {} bytes in the worker; \
         with its signalling it needs {} bytes",
        figures.sessions,
        figures.connections,
        figures.before_kib,
        figures.called_kib,
        figures.bound_kib,
        figures.bound_bytes(),
        figures.all_bytes()
    );
    figures.bound_bytes() <= options.idle_bytes_max
}
