//! tshark as the independent judge: what is on the wire is well-formed SIP, SDP, RTP and MSRP.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::live::process::{Folder, Process};
use crate::live::{eventually, find};

/// Which protocol is spoken at which port.
#[derive(Debug, Clone, Default)]
pub struct Ports {
    /// SIP over UDP and TCP.
    pub sip: Vec<u16>,
    /// RTP over UDP.
    pub rtp: Vec<u16>,
    /// MSRP over TCP.
    pub msrp: Vec<u16>,
}

/// A capture on the loopback interface.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
    _folder: Folder,
}

impl Capture {
    /// Captures what `filter` (pcap syntax) lets through; `None` when dumpcap is missing or this user
    /// may not capture.
    #[must_use]
    pub fn start(filter: &str) -> Option<Self> {
        let folder = Folder::new("capture");
        let file = folder.path().join("wire.pcapng");
        let mut command = Command::new(find("dumpcap")?);
        command
            .args(["-q", "-i", "lo", "-B", "64", "-f", filter, "-w"])
            .arg(&file);
        let mut process = Process::start("dumpcap", folder.path(), &mut command);
        // It says "File: ..." when it captures.
        let mut ended = false;
        let up = eventually(Duration::from_secs(10), || {
            ended = process.wait(Duration::ZERO).is_some();
            ended || process.output().contains("File:")
        });
        // The socket is open a moment before the kernel hands over packets.
        std::thread::sleep(Duration::from_millis(300));
        (up && !ended).then_some(Self {
            process,
            file,
            _folder: folder,
        })
    }

    /// Ends the capture.
    ///
    /// # Panics
    ///
    /// dumpcap doesn't end.
    #[must_use]
    pub fn stop(mut self) -> Wire {
        // dumpcap writes its buffer once in a while: give the last packets time to get there.
        std::thread::sleep(Duration::from_millis(700));
        self.process.signal("INT");
        assert!(
            self.process.wait(Duration::from_secs(10)).is_some(),
            "dumpcap doesn't end"
        );
        Wire {
            file: self.file.clone(),
            _folder: self._folder,
        }
    }
}

/// What was captured.
#[derive(Debug)]
pub struct Wire {
    file: PathBuf,
    _folder: Folder,
}

impl Wire {
    /// The lines that tshark prints for the packets that `filter` (display syntax) picks.
    ///
    /// # Panics
    ///
    /// tshark fails.
    #[must_use]
    pub fn lines(&self, ports: &Ports, filter: &str, fields: &[&str]) -> Vec<String> {
        let mut command = Command::new(find("tshark").expect("tshark is installed"));
        command
            .arg("-n")
            .arg("-r")
            .arg(&self.file)
            .args(["-Y", filter]);
        let mut decode = |table: &str, port: u16, protocol: &str| {
            command.args(["-d", &format!("{table}.port=={port},{protocol}")]);
        };
        for port in &ports.sip {
            decode("udp", *port, "sip");
            decode("tcp", *port, "sip");
        }
        for port in &ports.rtp {
            decode("udp", *port, "rtp");
        }
        for port in &ports.msrp {
            decode("tcp", *port, "msrp");
        }
        if !fields.is_empty() {
            command.args(["-T", "fields"]);
            for field in fields {
                command.args(["-e", field]);
            }
        }
        let output = command.output().expect("tshark starts");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "tshark: {errors}");
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// How many packets `filter` picks.
    #[must_use]
    pub fn count(&self, ports: &Ports, filter: &str) -> usize {
        self.lines(ports, filter, &["frame.number"]).len()
    }

    /// Says that tshark finds nothing malformed and no error in SIP, SDP, RTP, RTCP and MSRP.
    ///
    /// # Panics
    ///
    /// It does.
    pub fn assert_well_formed(&self, ports: &Ports) {
        // 0x800000: errors. Warnings are not counted: retransmissions on a busy host are such.
        let filter = "(sip || sdp || rtp || rtcp || msrp) \
                      && (_ws.malformed || _ws.expert.severity >= 0x800000)";
        let found = self.lines(
            ports,
            filter,
            &["frame.number", "_ws.col.Info", "_ws.expert.message"],
        );
        assert!(
            found.is_empty(),
            "tshark finds errors:\n{}",
            found.join("\n")
        );
    }
}
