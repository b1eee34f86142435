//! One child process: its output in files, its end guaranteed.

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::live::eventually;

/// A child process that ends when this value is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    folder: PathBuf,
}

impl Process {
    /// Starts `command` with its output in `folder/name.out` and `folder/name.err`.
    ///
    /// # Panics
    ///
    /// The program can't be started.
    pub fn start(name: &str, folder: &Path, command: &mut Command) -> Self {
        let create = |kind: &str| {
            File::create(folder.join(format!("{name}.{kind}"))).expect("the folder can be written")
        };
        let child = command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(create("out"))
            .stderr(create("err"))
            .spawn()
            .unwrap_or_else(|error| panic!("can't start {name}: {error}"));
        Self {
            child,
            name: name.to_owned(),
            folder: folder.to_owned(),
        }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end; `None` when it still runs after `at_most`.
    pub fn wait(&mut self, at_most: Duration) -> Option<ExitStatus> {
        let mut status = None;
        eventually(at_most, || {
            status = self.child.try_wait().unwrap_or(None);
            status.is_some()
        });
        status
    }

    /// Asks the process to end (SIGTERM) and waits for it.
    pub fn terminate(&mut self, at_most: Duration) -> Option<ExitStatus> {
        self.signal("TERM");
        self.wait(at_most)
    }

    /// Sends a signal by name ("TERM", "INT", "USR1").
    pub fn signal(&self, name: &str) {
        let _gone = Command::new("kill")
            .args([format!("-{name}"), self.id().to_string()])
            .stderr(Stdio::null())
            .status();
    }

    /// What the process wrote so far, both outputs.
    #[must_use]
    pub fn output(&self) -> String {
        let read = |kind: &str| {
            let file = self.folder.join(format!("{}.{kind}", self.name));
            String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()).into_owned()
        };
        format!("{}{}", read("out"), read("err"))
    }

    /// The ports where the process listens for TCP, by /proc.
    #[must_use]
    pub fn tcp_ports(&self) -> Vec<u16> {
        /// The state of a socket that listens.
        const LISTENS: &str = "0A";
        let all = sockets(self.id(), "tcp").into_iter();
        let own = all.filter(|(_, state)| state == LISTENS);
        own.map(|(port, _)| port).collect()
    }

    /// The ports of the process's UDP sockets, by /proc: this needs no word of the process itself,
    /// and no other one is taken for it.
    #[must_use]
    pub fn udp_ports(&self) -> Vec<u16> {
        let all = sockets(self.id(), "udp").into_iter();
        all.map(|(port, _)| port).collect()
    }

    /// Memory resident now, in KiB (`VmRSS`); 0 when the process is gone.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        status_kib(self.id(), "VmRSS:")
    }

    /// The most memory that was ever resident, in KiB (`VmHWM`); 0 when the process is gone.
    #[must_use]
    pub fn resident_peak_kib(&self) -> u64 {
        status_kib(self.id(), "VmHWM:")
    }

    /// CPU time used by this process and its children that run now, in seconds.
    #[must_use]
    pub fn cpu_seconds(&self) -> f64 {
        let mut all = vec![self.id()];
        all.extend(children(self.id()));
        all.into_iter().map(cpu_seconds).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        let grandchildren = children(self.id());
        if self.terminate(Duration::from_secs(2)).is_none() {
            let _gone = self.child.kill();
            let _reaped = self.child.wait();
        }
        for id in grandchildren {
            let _gone = Command::new("kill")
                .args(["-KILL", &id.to_string()])
                .stderr(Stdio::null())
                .status();
        }
    }
}

fn status_kib(id: u32, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// User and system time of one process in seconds, by /proc/ID/stat (100 ticks a second on Linux).
fn cpu_seconds(id: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The command name may hold spaces: count fields from its closing bracket.
    let after = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u32 = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u32>().ok())
        .sum();
    f64::from(ticks) / 100.0
}

/// Port and state of a process's sockets of one protocol, both IP versions.
fn sockets(id: u32, protocol: &str) -> Vec<(u16, String)> {
    let descriptors = std::fs::read_dir(format!("/proc/{id}/fd"));
    let links = descriptors.into_iter().flatten().filter_map(Result::ok);
    let inode = |entry: std::fs::DirEntry| {
        let link = std::fs::read_link(entry.path()).ok()?;
        let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        Some(inode.to_owned())
    };
    let own: BTreeSet<String> = links.filter_map(inode).collect();
    let mut found = Vec::new();
    for version in ["", "6"] {
        let table = std::fs::read_to_string(format!("/proc/net/{protocol}{version}"));
        for line in table.unwrap_or_default().lines().skip(1) {
            let field = |at| line.split_whitespace().nth(at).unwrap_or("");
            let port = field(1).rsplit(':').next();
            let port = port.and_then(|hex| u16::from_str_radix(hex, 16).ok());
            if let Some(port) = port.filter(|_| own.contains(field(9))) {
                found.push((port, field(3).to_owned()));
            }
        }
    }
    found
}

/// The processes whose parent is `id`.
fn children(id: u32) -> Vec<u32> {
    let text =
        std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect()
}

/// A private folder that goes with this value, unless the test fails.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Folder {
    /// Creates a folder in the temp folder that nobody had before: a process id comes again, and
    /// what a failed test left behind stays.
    ///
    /// # Panics
    ///
    /// The temp folder can't be written.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix(&format!("midpath-{name}-"))
            // Some servers give up root's rights and come here all the same.
            .permissions(Permissions::from_mode(0o755))
            .tempdir();
        Self(folder.expect("the temp folder can be written"))
    }

    /// Where the folder is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disable_cleanup(true);
            eprintln!(
                "what the processes wrote stays in {}",
                self.path().display()
            );
        }
    }
}
