//! `cargo x compare rtp`: the same load through Midpath, rtpengine and the bare loop, in turns.

use std::process::ExitCode;

use super::Shape;

/// How many rounds of what load.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    shape: Shape,
}

/// Measures all in turns.
pub fn run(options: &Options) -> ExitCode {
    let _shape = &options.shape;
    ExitCode::FAILURE
}
