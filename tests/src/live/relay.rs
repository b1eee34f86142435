//! The relay's own process, seen only from outside: command line, configuration file, admin door.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::live::process::{Folder, Process};
use crate::live::{eventually, http, ports::Ports, workspace};

/// Settings by section and key, with values as TOML writes them.
#[derive(Debug, Clone, Default)]
pub struct Settings(BTreeMap<String, BTreeMap<String, String>>);

impl Settings {
    /// Sets `section.key` to a value written as TOML.
    pub fn set(&mut self, section: &str, key: &str, value: impl ToString) -> &mut Self {
        self.0
            .entry(section.to_owned())
            .or_default()
            .insert(key.to_owned(), value.to_string());
        self
    }

    /// The value of `section.key` as TOML writes it; empty when it wasn't set.
    #[must_use]
    pub fn value(&self, section: &str, key: &str) -> &str {
        self.0
            .get(section)
            .and_then(|keys| keys.get(key))
            .map_or("", String::as_str)
    }

    /// Media ports for a load: 5200 to 7999, between the ports that SIP servers and the relay's own
    /// defaults like and those that SIPp takes for itself (8888 and on).
    pub fn many_ports(&mut self) -> &mut Self {
        self.set("media", "port_first", 5200)
            .set("media", "port_last", 7999)
    }

    /// Never stays in the media path: a proxy for every session.
    pub fn proxy(&mut self) -> &mut Self {
        for reason in [
            "media_charging",
            "content_adaptation",
            "history",
            "several_devices",
            "interception",
        ] {
            self.set("policy", reason, false);
        }
        self
    }

    /// The file's text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (section, keys) in &self.0 {
            text.push_str(&format!("[{section}]\n"));
            for (key, value) in keys {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        text
    }
}

/// For what comes at once unless the machine is busy.
const PATIENCE: Duration = Duration::from_secs(15);

/// The settings' file, in the relay's own folder.
const SETTINGS: &str = "midpath.toml";

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    process: Process,
    /// Where it speaks SIP, UDP and TCP.
    pub sip: SocketAddr,
    /// Where its admin door is.
    pub admin: SocketAddr,
    /// First and last port of its media.
    pub media: (u16, u16),
    folder: Folder,
    _ports: Ports,
}

impl Relay {
    /// Starts a relay on 127.0.0.1 with its defaults.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// Starts a relay on 127.0.0.1 with settings changed by `change`.
    #[must_use]
    pub fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::start_on(IpAddr::V4(Ipv4Addr::LOCALHOST), change)
    }

    /// Starts a relay on `::1`.
    #[must_use]
    pub fn start_ipv6() -> Self {
        Self::start_on(IpAddr::V6(Ipv6Addr::LOCALHOST), |_| {})
    }

    /// Starts a relay for SIP and media on `ip` and waits until `/health` answers.
    ///
    /// # Panics
    ///
    /// It doesn't answer within 30 s.
    pub fn start_on(ip: IpAddr, change: impl FnOnce(&mut Settings)) -> Self {
        let mut ports = Ports::take();
        let folder = Folder::new("relay");
        let sip = SocketAddr::new(ip, ports.one());
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.one()));
        let media = ports.media();
        let mut settings = Settings::default();
        settings
            .set("sip", "listen", format!(r#"["udp:{sip}", "tcp:{sip}"]"#))
            .set("media", "addresses", format!(r#"["{ip}"]"#))
            .set("media", "port_first", media.0)
            .set("media", "port_last", media.1)
            .set("media", "port_quiet_ms", 50)
            .set("admin", "listen", format!(r#""{admin}""#))
            .set("log", "level", r#""info""#);
        change(&mut settings);
        let port = |key: &str| {
            settings
                .value("media", key)
                .parse()
                .expect("a port is a number")
        };
        let media = (port("port_first"), port("port_last"));
        let file = folder.path().join(SETTINGS);
        std::fs::write(&file, settings.text()).expect("the folder can be written");
        let mut command = Command::new(binary());
        command.arg("run").arg("--config").arg(&file);
        let process = Process::start("midpath", folder.path(), &mut command);
        let mut relay = Self {
            process,
            sip,
            admin,
            media,
            folder,
            _ports: ports,
        };
        let up = eventually(2 * PATIENCE, || {
            relay.process.wait(Duration::ZERO).is_some() || relay.health().is_some()
        });
        assert!(
            up && relay.health().is_some(),
            "the relay doesn't answer /health:\n{}",
            relay.process.output()
        );
        relay
    }

    /// The process.
    #[must_use]
    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// The file that its settings are from.
    #[must_use]
    pub fn settings(&self) -> PathBuf {
        self.folder.path().join(SETTINGS)
    }

    /// The process, to signal it and wait for it.
    pub const fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The relay's URI for a Route header field: `sip:127.0.0.1:5060;lr`.
    #[must_use]
    pub fn route(&self) -> String {
        format!("<sip:{};lr>", self.sip)
    }

    /// The status code of `/health` and what it says.
    #[must_use]
    pub fn health(&self) -> Option<(u16, Value)> {
        let (status, body) = http::get(self.admin, "/health").ok()?;
        Some((status, serde_json::from_str(&body).unwrap_or(Value::Null)))
    }

    /// The sessions that the relay knows.
    ///
    /// # Panics
    ///
    /// `/sessions` doesn't answer with a JSON list.
    #[must_use]
    pub fn sessions(&self) -> Vec<Value> {
        let (status, body) = http::get(self.admin, "/sessions").expect("/sessions answers");
        assert_eq!(status, 200, "/sessions: {body}");
        let parsed: Value = serde_json::from_str(&body).expect("/sessions is JSON");
        let list = parsed.get("sessions").unwrap_or(&parsed);
        list.as_array().expect("/sessions is a list").clone()
    }

    /// All counters and gauges by their full line name (labels and all).
    #[must_use]
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let (status, body) = http::get(self.admin, "/metrics").expect("/metrics answers");
        assert_eq!(status, 200, "/metrics: {body}");
        body.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect()
    }

    /// The sum of all lines of `/metrics` whose name holds every one of `parts`.
    #[must_use]
    pub fn metric(&self, parts: &[&str]) -> f64 {
        let all = self.metrics();
        all.iter()
            .filter(|(name, _)| parts.iter().all(|part| name.contains(part)))
            .map(|(_, value)| value)
            .sum()
    }

    /// Says that nothing is left in the end: no session, no media port that belongs to one.
    ///
    /// # Panics
    ///
    /// Something is left.
    pub fn assert_empty(&self) {
        let empty = eventually(PATIENCE, || self.sessions().is_empty());
        assert!(empty, "sessions are left: {:#?}", self.sessions());
        let released = eventually(PATIENCE, || self.open_media_ports().is_empty());
        assert!(
            released,
            "media ports are left open: {:?}",
            self.open_media_ports()
        );
    }

    /// The ports where it listens for MSRP, by /proc.
    #[must_use]
    pub fn msrp_ports(&self) -> Vec<u16> {
        let mut ports = self.process.tcp_ports();
        ports.retain(|port| ![self.sip.port(), self.admin.port()].contains(port));
        ports
    }

    /// UDP ports of the media range that the relay's process has open, by /proc: this needs no word
    /// of the relay itself, and no other process is taken for it.
    #[must_use]
    pub fn open_media_ports(&self) -> Vec<u16> {
        let mut open = self.process.udp_ports();
        open.retain(|port| (self.media.0..=self.media.1).contains(port));
        open
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(mut self) -> Option<ExitStatus> {
        self.process.terminate(Duration::from_secs(20))
    }
}

/// Runs `midpath` with `arguments` to its end: status and all that it wrote.
///
/// # Panics
///
/// The program can't be started.
pub fn run(arguments: &[&str]) -> (ExitStatus, String) {
    let output = Command::new(binary())
        .args(arguments)
        .output()
        .expect("midpath starts");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status, text)
}

/// Finds `midpath` beside this executable's folder; builds it when it is missing or older than the
/// sources (cargo decides).
///
/// # Panics
///
/// It can't be built.
#[must_use]
pub fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(locate).clone()
}

/// Takes the relay as people run it, whatever this program was built as: for figures.
pub fn measure() {
    MEASURED.store(true, Ordering::Relaxed);
}

static MEASURED: AtomicBool = AtomicBool::new(false);

fn locate() -> PathBuf {
    if let Ok(given) = std::env::var("MIDPATH_BIN") {
        return PathBuf::from(given);
    }
    let this = std::env::current_exe().expect("this executable has a path");
    // target/debug/deps/live-1234 or target/release/x
    let mut profile: &Path = this.parent().expect("an executable is in a folder");
    if profile.ends_with("deps") {
        profile = profile.parent().expect("deps is in a profile's folder");
    }
    let release = profile.ends_with("release") || MEASURED.load(Ordering::Relaxed);
    let target = profile.parent().expect("a profile's folder is in a target");
    let binary = target
        .join(if release { "release" } else { "debug" })
        .join("midpath");
    let mut build = Command::new("cargo");
    build.args([
        "build",
        "--quiet",
        "--package",
        "control",
        "--bin",
        "midpath",
    ]);
    if release {
        build.arg("--release");
    }
    build.arg("--target-dir").arg(target);
    let built = build
        .current_dir(workspace())
        .status()
        .is_ok_and(|status| status.success());
    assert!(
        built && binary.is_file(),
        "{} can't be built",
        binary.display()
    );
    binary
}
