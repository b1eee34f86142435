//! A mixer that runs, and where its members' legs are.

use std::net::{Ipv4Addr, UdpSocket};

use clap::ValueEnum;
use tests::live::process::{Folder, Process};

use super::{Codec, Shape, janus, midpath};
use crate::rtp::host;

/// Which mixer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Contender {
    /// A worker of this workspace with rooms, over io_uring where the kernel has it.
    Midpath,
    /// Debian's Janus with its AudioBridge; members join by plain RTP.
    Janus,
}

impl Contender {
    /// Its name in tables and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Midpath => "midpath",
            Self::Janus => "janus",
        }
    }
}

/// Where both are: Janus takes no other address of the loopback interface.
pub const IP: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Members of the room in which the latency is measured: with two, packets could just be passed.
pub const PROBE_MEMBERS: usize = 3;

/// What a mixer's own file gets to make rooms.
pub struct Order<'a> {
    /// Members of each room.
    pub rooms: &'a [usize],
    /// What they speak.
    pub codec: Codec,
    /// Talkers that are mixed at most.
    pub talkers: u8,
    /// Bits per second of Opus.
    pub bitrate: u32,
    /// Where they are: one port, as the mixer's differ.
    pub far: u16,
    /// The mixer's core.
    pub core: usize,
}

/// A mixer with rooms that all members have joined.
pub struct Subject {
    /// Its process; it ends with this value.
    pub process: Process,
    /// What it wrote or read.
    pub _folder: Folder,
    /// The ports of all members' legs, room by room; the last three are the probe's.
    pub ports: Vec<u16>,
    /// Rooms, without the last.
    pub rooms: usize,
    /// Its resident memory before the first room, in KiB.
    pub before_kib: u64,
    /// The socket of all members.
    pub socket: UdpSocket,
    /// What has to be open as long as the members stay.
    pub _control: Option<janus::Api>,
}

impl Subject {
    /// Starts a mixer and lets the members join.
    ///
    /// # Errors
    ///
    /// It can't be started, or refuses somebody.
    pub fn start(
        contender: Contender,
        shape: &Shape,
        codec: Codec,
        cores: &[usize],
    ) -> Result<Self, String> {
        let socket = UdpSocket::bind((IP, 0)).map_err(|error| error.to_string())?;
        socket
            .set_nonblocking(true)
            .map_err(|error| error.to_string())?;
        let far = socket
            .local_addr()
            .map_err(|error| error.to_string())?
            .port();
        let mut rooms = vec![usize::from(shape.members); usize::from(shape.rooms)];
        rooms.push(PROBE_MEMBERS);
        let order = Order {
            rooms: &rooms,
            codec,
            talkers: shape.talkers,
            bitrate: shape.bitrate,
            far,
            core: cores.first().copied().unwrap_or(0),
        };
        let subject = match contender {
            Contender::Midpath => midpath::start(&order, socket)?,
            Contender::Janus => janus::start(&order, socket)?,
        };
        host::pin_process(subject.id(), cores);
        Ok(subject)
    }

    /// The process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends the process.
    ///
    /// # Errors
    ///
    /// It doesn't end.
    pub fn end(mut self) -> Result<(), String> {
        let ended = self.process.terminate(std::time::Duration::from_secs(10));
        ended
            .map(|_| ())
            .ok_or_else(|| "the mixer didn't end".to_owned())
    }
}
