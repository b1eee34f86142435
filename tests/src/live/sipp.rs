//! SIPp as either client, with the scenarios in `tests/sipp`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::live::process::{Folder, Process};
use crate::live::{find, wav, workspace};

/// How SIPp talks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One UDP socket.
    Udp,
    /// One TCP connection.
    Tcp,
}

/// One run of SIPp.
#[derive(Debug, Clone)]
pub struct Plan {
    /// A file in `tests/sipp` without `.xml`.
    pub scenario: &'static str,
    /// The transport.
    pub transport: Transport,
    /// Its SIP port.
    pub port: u16,
    /// Its first media port.
    pub media: u16,
    /// Where a client sends its requests; `None` for a server.
    pub hop: Option<SocketAddr>,
    /// Calls until it ends.
    pub calls: u32,
    /// New calls a second.
    pub rate: u32,
    /// What `@NAME@` in the scenario becomes.
    pub values: BTreeMap<&'static str, String>,
    /// Further arguments.
    pub arguments: Vec<String>,
}

impl Plan {
    /// A server for `calls` calls.
    #[must_use]
    pub fn server(scenario: &'static str, (port, media): (u16, u16), calls: u32) -> Self {
        let values = BTreeMap::from([("HOLD_MS", "300".to_owned())]);
        Self {
            scenario,
            transport: Transport::Udp,
            port,
            media,
            hop: None,
            calls,
            rate: 10,
            values,
            arguments: Vec::new(),
        }
    }

    /// A client that makes `calls` calls by way of `hop` to the user `bob` at `target`.
    #[must_use]
    pub fn client(
        scenario: &'static str,
        (port, media): (u16, u16),
        calls: u32,
        (hop, target): (SocketAddr, &str),
    ) -> Self {
        let mut plan = Self::server(scenario, (port, media), calls);
        plan.hop = Some(hop);
        plan.with("TARGET", target).with("ROUTE", "")
    }

    /// Sets what `@name@` becomes.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.values.insert(name, value.to_owned());
        self
    }

    /// Leads the calls by a Route header field with these URIs, each with brackets.
    #[must_use]
    pub fn via(self, routes: &[String]) -> Self {
        let lines: String = routes
            .iter()
            .map(|route| format!("      Route: {route}\n"))
            .collect();
        self.with("ROUTE", &lines)
    }

    /// Talks TCP.
    #[must_use]
    pub const fn tcp(mut self) -> Self {
        self.transport = Transport::Tcp;
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, argument: impl ToString) -> Self {
        self.arguments.push(argument.to_string());
        self
    }

    /// Starts it.
    ///
    /// # Panics
    ///
    /// The scenario or SIPp isn't there.
    #[must_use]
    pub fn start(self) -> Sipp {
        let folder = Folder::new("sipp");
        let scenario = self.write(folder.path());
        let mut command = Command::new(find("sipp").expect("sipp is installed"));
        if let Some(hop) = self.hop {
            command.arg(hop.to_string());
        }
        let ip = self
            .hop
            .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |hop| hop.ip());
        command.arg("-sf").arg(scenario);
        command.args([
            "-t",
            if self.transport == Transport::Udp {
                "u1"
            } else {
                "t1"
            },
        ]);
        command.args(["-i", &ip.to_string(), "-p", &self.port.to_string()]);
        command.args(["-mi", &ip.to_string(), "-mp", &self.media.to_string()]);
        command.args(["-m", &self.calls.to_string(), "-r", &self.rate.to_string()]);
        command.args(["-nostdin", "-trace_err", "-error_file", "errors.log"]);
        command.args(["-trace_stat", "-stf", "stat.csv", "-fd", "1"]);
        command.args(&self.arguments);
        let process = Process::start("sipp", folder.path(), &mut command);
        Sipp { process, folder }
    }

    fn write(&self, folder: &Path) -> PathBuf {
        let source = workspace()
            .join("tests/sipp")
            .join(format!("{}.xml", self.scenario));
        let mut text = std::fs::read_to_string(source).expect("the scenario is there");
        if text.contains("@AUDIO@") {
            let audio = folder.join("audio.wav");
            std::fs::write(&audio, wav::pcmu(&wav::tone(8000 * 60)))
                .expect("a file can be written");
            text = text.replace("@AUDIO@", &audio.to_string_lossy());
        }
        // In `user@@TARGET@` the first @ belongs to the URI.
        for (name, value) in &self.values {
            text = text.replace(&format!("@{name}@"), value);
        }
        let file = folder.join(format!("{}.xml", self.scenario));
        std::fs::write(&file, text).expect("a file can be written");
        file
    }
}

/// What SIPp counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that went as the scenario says.
    pub successful: u64,
    /// Calls that didn't.
    pub failed: u64,
    /// Requests and responses sent again.
    pub retransmissions: u64,
}

/// A running SIPp.
#[derive(Debug)]
pub struct Sipp {
    process: Process,
    folder: Folder,
}

impl Sipp {
    /// Waits for its end and says that every call went as the scenario says.
    ///
    /// # Panics
    ///
    /// One didn't, or it still runs after `at_most`.
    pub fn succeeds(mut self, at_most: Duration) -> Counts {
        let status = self.process.wait(at_most);
        let counts = self.counts();
        let fine = status.is_some_and(|status| status.success());
        assert!(fine, "sipp: {status:?}, {counts:?}\n{}", self.errors());
        counts
    }

    /// Waits for its end; `false` when it still runs after `at_most`.
    pub fn ends(&mut self, at_most: Duration) -> bool {
        self.process.wait(at_most).is_some()
    }

    /// What it counted so far, by its statistics file.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let text = std::fs::read_to_string(self.folder.path().join("stat.csv")).unwrap_or_default();
        let mut lines = text.lines();
        let names: Vec<&str> = lines.next().unwrap_or("").split(';').collect();
        let last: Vec<&str> = lines.last().unwrap_or("").split(';').collect();
        let value = |name: &str| {
            let column = names.iter().position(|known| *known == name)?;
            last.get(column)?.parse().ok()
        };
        Counts {
            successful: value("SuccessfulCall(C)").unwrap_or(0),
            failed: value("FailedCall(C)").unwrap_or(0),
            retransmissions: value("Retransmissions(C)").unwrap_or(0),
        }
    }

    /// What it complained about: the first 4,000 characters.
    #[must_use]
    pub fn errors(&self) -> String {
        let text = std::fs::read(self.folder.path().join("errors.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let output = self.process.output();
        text.chars()
            .take(4000)
            .chain(output.lines().rev().take(3).collect::<String>().chars())
            .collect()
    }
}
