//! What every comparison needs: our own relay as a contender, the bare loops, figures kept as files.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use serde_json::Value;
use tests::live::relay::Relay;
use tests::live::{eventually, workspace};
use tests::peers::sip::{Agent, Call};

use crate::rtp::host;
use crate::test;

/// Media ports below the ones that the kernel hands out: enough for 7,000 calls.
const PORTS: (u16, u16) = (2048, 32_767);

/// Which sockets Midpath uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// Its own choice.
    Auto,
    /// `io_uring`.
    Uring,
    /// epoll, recvmmsg and sendmmsg.
    Epoll,
}

impl Backend {
    /// What the relay's configuration calls it.
    const fn setting(self) -> &'static str {
        match self {
            Self::Auto => "\"auto\"",
            Self::Uring => "\"uring\"",
            Self::Epoll => "\"epoll\"",
        }
    }
}

/// What a contender's own file knows of it while it runs.
pub trait Running {
    /// Its main process.
    fn id(&self) -> u32;
    /// Ends the sessions and the process.
    ///
    /// # Errors
    ///
    /// Something of a session was left, or the process ended badly.
    fn end(self: Box<Self>) -> Result<(), String>;
}

/// Midpath in a process of its own, between two phones.
pub struct Midpath {
    /// The process.
    pub relay: Relay,
    /// Who calls.
    pub caller: Agent,
    /// Who is called.
    pub called: Agent,
    /// What both know of each call.
    pub calls: Vec<(Call, Call)>,
}

impl Midpath {
    /// Starts it at `ip` with `workers` workers on `cores`.
    #[must_use]
    pub fn start(ip: Ipv4Addr, backend: Backend, workers: usize, cores: &[usize]) -> Self {
        let relay = Relay::start_on(IpAddr::V4(ip), |settings| {
            settings
                .set("media", "port_first", PORTS.0)
                .set("media", "port_last", PORTS.1)
                .set("media", "workers", workers)
                .set("media", "backend", backend.setting())
                .set("sip", "sessions_max", 16_000)
                .set("log", "level", "\"warn\"");
            // Worker n takes core first_core + n: the last cores, as `Cores::share` hands them out.
            if let Some(first) = cores.first() {
                settings.set("media", "first_core", first);
            }
        });
        host::pin_process(relay.process().id(), cores);
        let route = format!("<sip:{};lr;orig>", relay.sip);
        Self {
            caller: Agent::udp("alice", relay.sip).via(&[route]),
            called: Agent::udp("bob", relay.sip),
            calls: Vec::new(),
            relay,
        }
    }
}

impl Running for Midpath {
    fn id(&self) -> u32 {
        self.relay.process().id()
    }

    fn end(mut self: Box<Self>) -> Result<(), String> {
        for (out, inward) in &mut self.calls {
            out.send_bye(&mut self.caller);
            let _bye = inward.bye_answered(&mut self.called);
            let answer = self.caller.response("BYE");
            if answer.code() != Some(200) {
                return Err(format!("BYE was answered with {}", answer.start));
            }
        }
        let empty = eventually(Duration::from_secs(10), || self.relay.sessions().is_empty());
        let status = self.relay.stop();
        match (empty, status) {
            (false, _) => Err("sessions were left after every BYE".to_owned()),
            (true, Some(status)) if status.success() => Ok(()),
            (true, status) => Err(format!("midpath ended with {status:?}")),
        }
    }
}

/// Builds one of the benches' examples with all optimisation and says where it is.
///
/// # Errors
///
/// It can't be built.
pub fn example(name: &str) -> Result<PathBuf, String> {
    let beside = std::env::current_exe().map_err(|error| error.to_string())?;
    let profile = beside.parent().ok_or("an executable is in a folder")?;
    let target = profile.parent().ok_or("a profile is in a folder")?;
    let mut build = Command::new("cargo");
    build
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "benches",
            "--example",
            name,
        ])
        .arg("--target-dir")
        .arg(target)
        .current_dir(workspace());
    let built = build.status().is_ok_and(|status| status.success());
    let binary = target.join("release/examples").join(name);
    if built && binary.is_file() {
        Ok(binary)
    } else {
        Err(format!("{} can't be built", binary.display()))
    }
}

/// Keeps what the comparison named `kind` found: in a file of its own, and in the one asked for.
///
/// # Errors
///
/// A file can't be written.
pub fn keep(kind: &str, value: &Value, file: Option<&Path>) -> Result<(), String> {
    let text = format!("{value:#}\n");
    let folder = test::target(&workspace()).join("compare");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let second = since.map_or(0, |since| since.as_secs());
    let own = folder.join(format!("{kind}-{second}.json"));
    for path in std::iter::once(own.as_path()).chain(file) {
        fs::write(path, &text).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("figures in {}", path.display());
    }
    Ok(())
}

/// How many times `other` is `mine`; 0 where there is nothing to compare with.
#[must_use]
pub fn quotient(mine: f64, other: f64) -> f64 {
    if other > 0.0 { mine / other } else { 0.0 }
}

/// Whether a comparison, the task `task`, ended well, said on the terminal where it didn't.
#[must_use]
pub fn outcome(task: &str, result: Result<bool, String>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{task}: {error}");
            ExitCode::FAILURE
        }
    }
}
