//! SIPp as either client, with the scenarios in `tests/sipp`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::live::process::{Folder, Process};
use crate::live::{eventually, find, wav, workspace};

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

    /// Keeps what is said, for [`Sipp::told`].
    #[must_use]
    pub fn traced(self) -> Self {
        let arguments = ["-trace_msg", "-message_file", MESSAGES];
        arguments.into_iter().fold(self, Self::argument)
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, argument: impl ToString) -> Self {
        self.arguments.push(argument.to_string());
        self
    }

    /// Starts it; a server is there for calls then.
    ///
    /// # Panics
    ///
    /// The scenario or SIPp isn't there, or a server has no port in the end.
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
        let at = SocketAddr::new(ip, self.port);
        let calls = self.calls;
        let sipp = Sipp {
            process,
            folder,
            at,
            calls,
        };
        let is_there = || {
            let of_udp = sipp.process.udp_ports();
            of_udp.contains(&self.port) || sipp.process.tcp_ports().contains(&self.port)
        };
        let is_there = self.hop.is_some() || eventually(START_MAX, is_there);
        assert!(is_there, "sipp isn't there: {}", sipp.errors());
        sipp
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

/// The log of messages, and what begins each entry there.
const MESSAGES: &str = "messages.log";
const BETWEEN: &str = "\n----------";
/// For a program to start on a busy host.
const START_MAX: Duration = Duration::from_secs(60);

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
    at: SocketAddr,
    calls: u32,
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

    /// Lets a client's calls go on that wait for it by `<recv request="INFO"/>`; `step` is another one
    /// each time.
    ///
    /// # Panics
    ///
    /// Nothing can be sent.
    pub fn go_on(&self, step: u32) {
        let socket = UdpSocket::bind((self.at.ip(), 0)).expect("there is a port");
        for call in 1..=self.calls {
            // SIPp's own form, unless it is told of another one.
            let id = format!("{call}-{}@{}", self.process.id(), self.at.ip());
            let text = format!(
                "INFO sip:{at} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK-{step}-{call}\r\n\
                 From: <sip:harness@{own}>;tag=go\r\nTo: <sip:sipp@{at}>;tag=on\r\n\
                 Call-ID: {id}\r\nCSeq: {step} INFO\r\nContent-Length: 0\r\n\r\n",
                at = self.at,
                own = socket.local_addr().expect("it is bound"),
            );
            let sent = socket.send_to(text.as_bytes(), self.at);
            sent.expect("a datagram can be sent");
        }
    }

    /// How many of its calls have got such a message; it must have been [`Plan::traced`].
    #[must_use]
    pub fn told(&self, is_such: impl Fn(&str) -> bool) -> usize {
        let log = std::fs::read(self.folder.path().join(MESSAGES)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        // Each entry: when, what happened to what, an empty line, the message.
        let came = log.split(BETWEEN).filter_map(|entry| {
            let what = entry.lines().nth(1)?;
            let is_such = what.contains(" received ") && is_such(entry);
            let id = entry.lines().find(|line| line.starts_with("Call-ID:"))?;
            is_such.then(|| id.trim().to_owned())
        });
        came.collect::<BTreeSet<String>>().len()
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
