//! The Midpath relay: its command line.

use std::error::Error;
use std::fmt::Display;
use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use control::config::{Config, DEFAULTS};
use control::demo;
use control::history::{self, Pack};
use control::run;
use serde::Serialize;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What `--help` adds.
const EXAMPLES: &str = "\
Examples:
  midpath demo                         a relay and two clients in one process: voice, chat, a file
  midpath demo group                   five participants: who hears, sees and reads whom
  midpath                              run on this machine alone: SIP on 127.0.0.1:5060
  midpath config > midpath.toml        begin a configuration of your own: every setting, explained
  midpath check midpath.toml           what is wrong with it, where, and the way out
  midpath run --config midpath.toml    run with it
  midpath history -c midpath.toml list the sessions that the embedded store has
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
    /// Look into the histories of an embedded store, while the relay runs or not
    History {
        /// The relay's configuration
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
        #[command(subcommand)]
        what: HistoryCommand,
    },
    /// Show what it does: a relay and two clients in one process
    Demo(DemoArgs),
}

#[derive(Debug, Subcommand)]
enum HistoryCommand {
    /// A line for each session: its folder, the UIDs of its objects, its octets
    List {
        /// Only this user's: an address as the sessions had it
        user: Option<String>,
    },
    /// One object: by default the session's own, which Message-UID named
    Show {
        /// The session's folder, as `list` shows it
        folder: PathBuf,
        /// The object's UID
        uid: Option<u32>,
    },
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
struct DemoArgs {
    #[command(subcommand)]
    scene: Option<Scene>,
    /// How long to play, 2 to 3600
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..=3600))]
    seconds: u64,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Scene {
    /// Five participants of a group session: voices mixed, video switched by the floor, chat
    ///
    /// Starts a relay as Controlling Function with a group of five, all in this process. Alice calls
    /// the group, the relay invites the others. Each has a tone for a voice (PCMU or PCMA), and
    /// pauses for one second in five; each writes messages. Alice and Bob have cameras, and video is
    /// under a floor (BFCP): who has it is seen by all others, and the other one has to wait for it.
    ///
    /// The table shows now who hears whom (tones that are found in what came), who is seen, and what
    /// was read. The end is good, and the exit code 0, when everybody heard, saw and read all others
    /// and never itself, and when no picture came without what it counts on.
    #[command(after_help = "Examples:\n  midpath demo group\n  \
                            midpath demo group --seconds 60\n  midpath demo group --json | jq .everybody")]
    Group(GroupArgs),
}

#[derive(Debug, Args)]
struct GroupArgs {
    /// How long to play, 5 to 3600
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(5..=3600))]
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
        Command::History { config, what } => history(&config, &what),
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
    if let Some(Scene::Group(args)) = &args.scene {
        let report = demo::play_group(args.seconds, show(args.json))?;
        return told(&report, report.failure(), args.json);
    }
    let report = demo::play(args.seconds, show(args.json))?;
    told(&report, report.failure(), args.json)
}

/// What is shown while a demo plays.
fn show(json: bool) -> demo::Show {
    match (json, io::stderr().is_terminal()) {
        (true, _) => demo::Show::Nothing,
        (false, true) => demo::Show::Bars,
        (false, false) => demo::Show::Lines,
    }
}

/// Says how a demo went, and fails where it did.
fn told(report: &(impl Serialize + Display), failure: Option<String>, json: bool) -> Done {
    if json {
        say(&format!("{}\n", serde_json::to_string_pretty(report)?))?;
    } else {
        say(&report.to_string())?;
    }
    failure.map_or(Ok(()), |failure| Err(failure.into()))
}

/// Lists or shows what the embedded store has.
fn history(file: &Path, what: &HistoryCommand) -> Done {
    let config = Config::load(file)?;
    let path = config.history.path.ok_or("history.path isn't set there")?;
    let root = history::embedded_in(&path);
    let packs = history::packs(&root)?;
    let folder_of = |pack: &Pack| {
        let folder = pack.path.parent().unwrap_or(&root);
        folder.strip_prefix(&root).unwrap_or(folder).to_owned()
    };
    match what {
        HistoryCommand::List { user } => {
            let user = user.as_deref().map(history::folder_of_user);
            let mut text = String::new();
            for pack in &packs {
                let folder = folder_of(pack);
                if user.as_ref().is_none_or(|user| folder.starts_with(user)) {
                    let octets = std::fs::metadata(&pack.path)?.len();
                    let (first, last) = (pack.first, pack.last);
                    text += &format!("{} {first}-{last} {octets}\n", folder.display());
                }
            }
            say(&text)
        }
        HistoryCommand::Show { folder, uid } => {
            let holds = |pack: &&Pack| {
                let is_there = uid.is_none_or(|uid| (pack.first..=pack.last).contains(&uid));
                is_there && folder_of(pack) == *folder
            };
            let pack = packs.iter().rev().find(holds);
            let pack = pack.ok_or("no such object; `midpath history list` shows what there is")?;
            let mut object = history::part(pack, uid.unwrap_or(pack.last))?;
            match io::copy(&mut object, &mut io::stdout().lock()) {
                // Whoever read has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                copied => Ok(copied.map(drop)?),
            }
        }
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
