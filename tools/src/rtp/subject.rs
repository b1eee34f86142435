//! What the load runs through: a relay of one kind, started, with calls set up, and pinned.

use std::net::Ipv4Addr;

use clap::ValueEnum;

use super::generator::Load;
use super::host::{self, Cores};
use super::leg::{self, Leg, Legs};
use super::packet::Codec;
use super::{Shape, floor, given, midpath, rtpengine};
use crate::contender::{Backend, Running};

/// Which relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// The relay of this workspace; calls by SIP.
    Midpath,
    /// Debian's rtpengine-daemon in user space; calls by its NG protocol.
    Rtpengine,
    /// The bare loop of `benches/examples/floor.rs`; pairs of ports.
    Floor,
    /// One that runs already, with its ports set up; see `--ports`.
    Given,
}

/// A relay and how it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contender {
    /// Which one.
    pub target: Target,
    /// For Midpath alone.
    pub backend: Backend,
    /// Threads that relay.
    pub workers: usize,
}

impl Contender {
    /// Its name in tables and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match (self.target, self.backend) {
            (Target::Midpath, Backend::Auto) => "midpath",
            (Target::Midpath, Backend::Uring) => "midpath-uring",
            (Target::Midpath, Backend::Epoll) => "midpath-epoll",
            (Target::Rtpengine, _) => "rtpengine",
            (Target::Floor, _) => "floor",
            (Target::Given, _) => "given",
        }
    }
}

/// The two addresses of a run, its own ones within 127/8, so that no port is anybody else's.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The relay's.
    pub relay: Ipv4Addr,
    /// The generator's.
    pub generator: Ipv4Addr,
}

impl Place {
    /// The addresses of this process.
    #[must_use]
    pub fn own() -> Self {
        let [.., high, low] = std::process::id().to_be_bytes();
        // The last byte's ends look like a network and a broadcast; both stay out.
        let net = |end| Ipv4Addr::new(127, 64 | (high & 63), low, end);
        Self {
            relay: net(1),
            generator: net(2),
        }
    }
}

/// A running relay and the ends of its calls.
pub struct Subject {
    /// Both ends of every call, each told its port of the relay.
    pub legs: Legs,
    /// The process.
    pub running: Box<dyn Running>,
    /// Its resident memory before the first call, in KiB.
    pub resident_before_kib: u64,
    /// The addresses.
    pub place: Place,
    /// Who has which core.
    pub cores: Cores,
}

/// What a relay's own file gets to set up calls.
pub struct Order<'a> {
    /// Which relay.
    pub contender: Contender,
    /// Where.
    pub place: Place,
    /// The relay's cores.
    pub cores: &'a [usize],
    /// What the calls speak.
    pub codec: Codec,
    /// The ends, to connect.
    pub legs: &'a [Leg],
    /// The sockets that they share.
    pub doors: usize,
    /// RTCP shares RTP's port.
    pub mux: bool,
    /// Where a relay that runs already is.
    pub given: Option<given::Given>,
}

impl Subject {
    /// Starts the relay and sets up the calls.
    ///
    /// # Errors
    ///
    /// It can't be started or refuses a call.
    pub fn start(contender: Contender, shape: &Shape, load: &Load) -> Result<Self, String> {
        let calls = shape.calls;
        if !(1..=leg::CALLS_MAX).contains(&calls) {
            return Err(format!("1 to {} calls", leg::CALLS_MAX));
        }
        let wanted = u64::try_from(calls).unwrap_or(0) * 4 + 1024;
        host::raise_descriptors(wanted);
        let cores = Cores::share(contender.workers);
        // This thread and what it starts stay off the relay's cores; the relay is put there.
        host::pin_this_thread(&cores.generator);
        let mut place = Place::own();
        if let (Target::Given, Some(given)) = (contender.target, shape.ports) {
            place = given.place()?;
        }
        let legs = Legs::open(
            place.generator,
            calls,
            shape.sockets * cores.generator.len(),
        )?;
        let order = Order {
            contender,
            place,
            cores: &cores.relay,
            codec: load.codec,
            legs: &legs.all,
            doors: legs.doors.len(),
            mux: shape.rtcp_mux,
            given: shape.ports,
        };
        let (running, resident_before_kib) = match contender.target {
            Target::Midpath => midpath::start(&order)?,
            Target::Rtpengine => rtpengine::start(&order)?,
            Target::Floor => floor::start(&order)?,
            Target::Given => given::start(&order)?,
        };
        Ok(Self {
            legs,
            running,
            resident_before_kib,
            place,
            cores,
        })
    }

    /// Ends the calls and the process, and frees the ends' ports for the next relay.
    ///
    /// # Errors
    ///
    /// Something of a call was left, or the process ended badly.
    pub fn end(self) -> Result<(), String> {
        self.running.end()
    }

    /// How many calls there are.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.legs.all.len() / 2
    }
}
