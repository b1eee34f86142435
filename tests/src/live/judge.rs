//! tshark as the independent judge: what is on the wire is well-formed SIP, SDP, RTP and MSRP.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::live::process::{Folder, Process};
use crate::live::scene::LONG;
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
    /// BFCP over TCP.
    pub bfcp: Vec<u16>,
}

/// A capture on the loopback interface.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
    /// What is sent to itself is captured too, and so shows how far dumpcap is.
    marker: UdpSocket,
    _folder: Folder,
}

impl Capture {
    /// Captures what `filter` (pcap syntax) lets through; `None` when dumpcap is missing or this user
    /// may not capture.
    ///
    /// Whatever else goes over the interface should be left out: what dumpcap can't keep up with is
    /// lost.
    ///
    /// # Panics
    ///
    /// There is no port.
    #[must_use]
    pub fn start(filter: &str) -> Option<Self> {
        let folder = Folder::new("capture");
        let file = folder.path().join("wire.pcapng");
        let marker = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a port");
        let own = marker.local_addr().expect("it is bound").port();
        let filter = format!("({filter}) or (udp port {own})");
        let mut command = Command::new(find("dumpcap")?);
        command
            .args(["-q", "-i", "lo", "-B", "64", "-f", &filter, "-w"])
            .arg(&file);
        let process = Process::start("dumpcap", folder.path(), &mut command);
        let mut capture = Self {
            process,
            file,
            marker,
            _folder: folder,
        };
        capture.has_come_to("the capture begins").then_some(capture)
    }

    /// Waits until all that was sent before is in the file; `false` where dumpcap has ended.
    fn has_come_to(&mut self, mark: &str) -> bool {
        let mut has_ended = false;
        let has_come = eventually(LONG, || {
            has_ended = self.process.wait(Duration::ZERO).is_some();
            let to = self.marker.local_addr();
            let _full = to.and_then(|to| self.marker.send_to(mark.as_bytes(), to));
            let end = tail(&self.file).unwrap_or_default();
            has_ended || end.windows(mark.len()).any(|part| part == mark.as_bytes())
        });
        has_come && !has_ended
    }

    /// Ends the capture.
    ///
    /// # Panics
    ///
    /// dumpcap doesn't end, or has ended.
    #[must_use]
    pub fn stop(mut self) -> Wire {
        let is_whole = self.has_come_to("the capture ends");
        assert!(is_whole, "dumpcap: {}", self.process.output());
        self.process.signal("INT");
        assert!(self.process.wait(LONG).is_some(), "dumpcap doesn't end");
        Wire {
            file: self.file.clone(),
            _folder: self._folder,
        }
    }
}

/// The last octets of a file.
fn tail(file: &Path) -> io::Result<Vec<u8>> {
    const OCTETS: u64 = 64 * 1024;
    let mut file = File::open(file)?;
    let begin = file.metadata()?.len().saturating_sub(OCTETS);
    file.seek(SeekFrom::Start(begin))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    Ok(end)
}

/// The filter of TCP from and to ports.
#[must_use]
pub fn tcp(ports: &[u16]) -> String {
    let all = ports.iter().map(|port| format!("tcp port {port}"));
    all.collect::<Vec<String>>().join(" or ")
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
        for port in &ports.bfcp {
            decode("tcp", *port, "bfcp");
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

    /// What was said on each TCP connection of `port`: from the port, and to it.
    ///
    /// # Panics
    ///
    /// tshark fails.
    #[must_use]
    pub fn conversations(&self, port: u16) -> Vec<[Vec<u8>; 2]> {
        let filter = format!("tcp.port == {port}");
        let fields = ["tcp.stream", "tcp.srcport"];
        // Who spoke first on each: tshark gives that side's octets without a tab before them.
        let mut first: BTreeMap<String, bool> = BTreeMap::new();
        for line in self.lines(&Ports::default(), &filter, &fields) {
            let (stream, source) = line.split_once('\t').expect("two fields");
            let is_from = source == port.to_string();
            first.entry(stream.to_owned()).or_insert(is_from);
        }
        let both = first.into_iter().map(|(stream, is_from)| {
            let [one, other] = self.follow(&stream);
            if is_from { [one, other] } else { [other, one] }
        });
        both.collect()
    }

    /// The octets of one connection: those of who opened it, and of the other side.
    fn follow(&self, stream: &str) -> [Vec<u8>; 2] {
        let mut command = Command::new(find("tshark").expect("tshark is installed"));
        command.arg("-n").arg("-r").arg(&self.file);
        command.args(["-q", "-z", &format!("follow,tcp,raw,{stream}")]);
        let output = command.output().expect("tshark starts");
        assert!(output.status.success(), "tshark can't follow {stream}");
        let mut sides = [Vec::new(), Vec::new()];
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let hex = line.trim_start_matches('\t');
            let is_hex = !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_hex {
                sides[usize::from(hex.len() < line.len())].extend(octets(hex));
            }
        }
        sides
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

/// Has tshark read MSRP frames, each as a packet of its own: its dissector doesn't put frames
/// together that came in several segments.
///
/// # Panics
///
/// The tools fail, or a frame is too long for a packet.
#[must_use]
pub fn msrp(frames: &[Vec<u8>]) -> Wire {
    packets(frames, MSRP)
}

/// Has tshark read BFCP messages, each as a packet of its own.
///
/// # Panics
///
/// The tools fail, or a message is too long for a packet.
#[must_use]
pub fn bfcp(messages: &[Vec<u8>]) -> Wire {
    packets(messages, BFCP)
}

/// Each of some frames in a segment of its own, from and to a port.
fn packets(frames: &[Vec<u8>], port: u16) -> Wire {
    const PACKET_MAX: usize = 65_000;
    let folder = Folder::new("frames");
    let (dump, file) = (folder.path().join("dump"), folder.path().join("wire.pcap"));
    let mut text = String::new();
    for frame in frames {
        assert!(
            frame.len() < PACKET_MAX,
            "a frame of {} octets",
            frame.len()
        );
        for (row, line) in frame.chunks(16).enumerate() {
            write!(text, "{:06x}", row * 16).expect("a string can be written");
            for octet in line {
                write!(text, " {octet:02x}").expect("a string can be written");
            }
            text.push('\n');
        }
    }
    std::fs::write(&dump, text).expect("the folder can be written");
    let mut command = Command::new(find("text2pcap").expect("text2pcap is installed"));
    command.args(["-q", "-T", &format!("{port},{port}")]);
    let output = command.arg(&dump).arg(&file).output();
    let output = output.expect("text2pcap starts");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "text2pcap: {errors}");
    Wire {
        file,
        _folder: folder,
    }
}

/// The port of the packets that [`msrp`] makes.
pub const MSRP: u16 = 2855;
/// The port of the packets that [`bfcp`] makes.
pub const BFCP: u16 = 5070;

fn octets(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    let digits = pairs.filter_map(|two| std::str::from_utf8(two).ok());
    digits
        .filter_map(|two| u8::from_str_radix(two, 16).ok())
        .collect()
}
