//! `cargo x soak msrp`: a message of 1 GiB through a slow reader.

use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use tests::live::soak;

/// How big and how slow.
#[derive(Debug, clap::Args)]
#[group(id = "soak")]
pub struct Options {
    /// The message in MiB.
    #[arg(long, default_value_t = 1024)]
    mebibytes: u64,
    /// What the reader takes, in MiB per second.
    #[arg(long, default_value_t = 64)]
    rate: u64,
    /// The most that the relay may need for it, in KiB.
    #[arg(long, default_value_t = 8192)]
    memory_kib_max: u64,
}

/// Sends the message and watches the relay's memory.
pub fn run(options: &Options) -> ExitCode {
    let bar = ProgressBar::new(options.mebibytes << 20);
    let style =
        ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let memory = soak::msrp(
        options.mebibytes << 20,
        options.rate << 20,
        |bytes, resident_kib| {
            bar.set_position(bytes);
            bar.set_message(format!("the relay has {resident_kib} KiB"));
        },
    );
    bar.finish_and_clear();
    let needed = memory.most_kib.saturating_sub(memory.before_kib);
    println!(
        "{} MiB in {:.1} s, identical; the relay had {} KiB before and {} KiB at most",
        options.mebibytes,
        memory.took.as_secs_f64(),
        memory.before_kib,
        memory.most_kib
    );
    if needed <= options.memory_kib_max {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
