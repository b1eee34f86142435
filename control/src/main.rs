//! The Midpath relay: its command line.

use std::error::Error;
use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use control::config::{Config, DEFAULTS};
use control::demo;
use control::run;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What `--help` adds.
const EXAMPLES: &str = "\
Examples:
  midpath demo                         a relay and two clients in one process: voice, chat, a file
  midpath                              run on this machine alone: SIP on 127.0.0.1:5060
  midpath config > midpath.toml        begin a configuration of your own: every setting, explained
  midpath check midpath.toml           what is wrong with it, where, and the way out
  midpath run --config midpath.toml    run with it
  curl -s 127.0.0.1:8060/health        how it is; also /sessions and /metrics

SIGTERM or SIGINT stops it: new sessions are refused, those there are may end (sip.drain_s_max);
a second signal ends it at once. SIGHUP reads the configuration anew, for new sessions.
RUST_LOG overrides log.level, for instance RUST_LOG=debug.";

/// A media relay for CPM and RCS sessions: it speaks SIP and relays RTP and MSRP.
///
/// Without a command it runs with its built-in settings, on this machine's loopback alone.
#[derive(Debug, Parser)]
#[command(name = "midpath", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the relay
    Run {
        /// The configuration; without one, the built-in settings
        #[arg(long, short, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Check a configuration and explain what is wrong with it
    Check {
        /// The configuration
        #[arg(required_unless_present = "print_defaults")]
        file: Option<PathBuf>,
        /// Print the default configuration instead
        #[arg(long, conflicts_with = "file")]
        print_defaults: bool,
    },
    /// Print the default configuration, every setting with its explanation
    Config,
    /// Show what it does: a relay and two clients in one process
    Demo(DemoArgs),
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// How long to play, 2 to 3600
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..=3600))]
    seconds: u64,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    // With huge pages a call cost 28 KiB of resident memory, without them 14, and an idle relay 36
    // MiB instead of 10: the allocator touches little of each. Where the kernel refuses, it only
    // costs that memory.
    let _ = nix::sys::prctl::set_thp_disable(true);
    let command = Cli::parse()
        .command
        .unwrap_or(Command::Run { config: None });
    let done = match command {
        Command::Run { config } => relay(config.as_deref()),
        Command::Check {
            file: Some(file), ..
        } => check(&file),
        Command::Check { file: None, .. } | Command::Config => say(DEFAULTS),
        Command::Demo(args) => play(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where stderr is closed nobody can be told.
            let _ = writeln!(io::stderr(), "midpath: {error}");
            ExitCode::FAILURE
        }
    }
}

type Done = Result<(), Box<dyn Error>>;

fn relay(file: Option<&Path>) -> Done {
    let config = match file {
        Some(file) => Config::load(file)?,
        None => Config::default(),
    };
    listen_to_logs(&config.log.level)?;
    block_on(run::run(config, file.map(Path::to_owned)))??;
    Ok(())
}

fn check(file: &Path) -> Done {
    run::check(&Config::load(file)?)?;
    say(&format!("{}: good\n", file.display()))
}

fn play(args: &DemoArgs) -> Done {
    listen_to_logs("warn")?;
    let show = match (args.json, io::stderr().is_terminal()) {
        (true, _) => demo::Show::Nothing,
        (false, true) => demo::Show::Bars,
        (false, false) => demo::Show::Lines,
    };
    let report = demo::play(args.seconds, show)?;
    if args.json {
        say(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        say(&report.to_string())?;
    }
    match report.failure() {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}

/// Sends the log to stderr; RUST_LOG, where it is set, says what is logged.
fn listen_to_logs(level: &str) -> Done {
    let filter = match EnvFilter::try_from_default_env() {
        Ok(filter) => filter,
        Err(_) => EnvFilter::try_new(level)?,
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    Ok(())
}

fn block_on<F: Future>(future: F) -> io::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(future))
}

fn say(text: &str) -> Done {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever read has seen enough: `midpath config | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
