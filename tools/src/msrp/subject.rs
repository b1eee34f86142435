//! What the load runs through: a relay of one kind, started, with sessions set up, and pinned.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use clap::ValueEnum;
use tests::peers::msrp::path;

use super::session::Pair;
use super::{kamailio, midpath, passing};
use crate::contender::{Backend, Running};
use crate::rtp::host::{self, Cores};

/// Which relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// The relay of this workspace, back to back; sessions by SIP.
    Midpath,
    /// The same with clients that speak CEMA: it relays bytes.
    Cema,
    /// Debian's Kamailio with its msrp module; clients that have authenticated themselves.
    Kamailio,
    /// Debian's HAProxy in TCP mode, one thread, as it is configured without further words.
    Haproxy,
    /// The same, told to move bytes within the kernel.
    HaproxySplice,
    /// The bare loop of `benches/examples/splice.rs`.
    Splice,
    /// Nobody: the clients are connected to each other.
    Direct,
}

/// A relay and how it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contender {
    /// Which one.
    pub target: Target,
    /// For Midpath alone.
    pub backend: Backend,
}

impl Contender {
    /// Its name in tables and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match (self.target, self.backend) {
            (Target::Midpath, Backend::Auto) => "midpath",
            (Target::Midpath, Backend::Uring) => "midpath-uring",
            (Target::Midpath, Backend::Epoll) => "midpath-epoll",
            (Target::Cema, Backend::Auto) => "midpath-cema",
            (Target::Cema, Backend::Uring) => "midpath-cema-uring",
            (Target::Cema, Backend::Epoll) => "midpath-cema-epoll",
            (Target::Kamailio, _) => "kamailio",
            (Target::Haproxy, _) => "haproxy",
            (Target::HaproxySplice, _) => "haproxy-splice",
            (Target::Splice, _) => "splice",
            (Target::Direct, _) => "direct",
        }
    }
}

/// What a relay's own file gets.
pub struct Order<'a> {
    /// Which relay.
    pub contender: Contender,
    /// The relay's own address within 127/8, so that no port is anybody else's.
    pub ip: Ipv4Addr,
    /// The relay's cores.
    pub cores: &'a [usize],
    /// Sessions to set up.
    pub sessions: usize,
    /// Where relays that connect find the receivers.
    pub listener: &'a TcpListener,
}

/// What a relay's own file gives back.
pub struct Started {
    /// The process.
    pub running: Box<dyn Running>,
    /// Its memory before the first session, in KiB.
    pub before_kib: u64,
    /// The sessions.
    pub pairs: Vec<Pair>,
}

/// A running relay and the ends of its sessions.
pub struct Subject {
    /// What runs.
    pub started: Started,
    /// Who has which core.
    pub cores: Cores,
}

impl Subject {
    /// Starts the relay and sets up `sessions` sessions.
    ///
    /// # Errors
    ///
    /// It can't be started or refuses a session.
    pub fn start(contender: Contender, sessions: usize) -> Result<Self, String> {
        let wanted = u64::try_from(sessions).unwrap_or(0) * 8 + 1024;
        host::raise_descriptors(wanted);
        let cores = Cores::share(1);
        // This thread and what it starts stay off the relay's core; the relay is put there.
        host::pin_this_thread(&cores.generator);
        let [.., high, low] = std::process::id().to_be_bytes();
        let own = Ipv4Addr::new(127, 64 | (high & 63), low, 1);
        // Connections that a client opens come from here, whatever of 127/8 they go to.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = listener.map_err(|error| error.to_string())?;
        let order = Order {
            contender,
            ip: own,
            cores: &cores.relay,
            sessions,
            listener: &listener,
        };
        let started = match contender.target {
            Target::Midpath | Target::Cema => midpath::start(&order)?,
            Target::Kamailio => kamailio::start(&order)?,
            Target::Haproxy | Target::HaproxySplice => passing::haproxy(&order)?,
            Target::Splice => passing::splice(&order)?,
            Target::Direct => passing::direct(&order)?,
        };
        Ok(Self { started, cores })
    }
}

/// A process and all that it started.
#[must_use]
pub fn family(id: u32) -> Vec<u32> {
    let mut all = vec![id];
    let mut at = 0;
    while let Some(parent) = all.get(at).copied() {
        let file = format!("/proc/{parent}/task/{parent}/children");
        let text = fs::read_to_string(file).unwrap_or_default();
        all.extend(
            text.split_whitespace()
                .filter_map(|word| word.parse::<u32>().ok()),
        );
        at += 1;
    }
    all
}

/// CPU time of a process and those that it started, in nanoseconds.
#[must_use]
pub fn cpu_ns(id: u32) -> u64 {
    family(id).into_iter().map(host::cpu_ns).sum()
}

/// Resident memory of a process and those that it started, in KiB; what several share counts once
/// (`Pss`).
#[must_use]
pub fn memory_kib(id: u32) -> u64 {
    let of = |id: u32| {
        let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or(0)
    };
    family(id).into_iter().map(of).sum()
}

/// How long a setup step may take.
const SOON: Duration = Duration::from_secs(10);

/// Connects to `at`.
///
/// # Errors
///
/// Nobody listens there.
pub fn connect(at: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect_timeout(&at, SOON).map_err(|error| format!("{at}: {error}"))?;
    ready(&stream).map_err(|error| format!("{at}: {error}"))?;
    Ok(stream)
}

fn ready(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SOON))
}

/// Takes the next connection.
///
/// # Errors
///
/// There is none within the time for it.
pub fn accept(listener: &TcpListener) -> Result<TcpStream, String> {
    let (mut came, mut last) = (None, None);
    listener
        .set_nonblocking(true)
        .map_err(|error| error.to_string())?;
    tests::live::eventually(SOON, || {
        match listener.accept() {
            Ok((stream, _)) => came = Some(stream),
            Err(error) => last = Some(error),
        }
        came.is_some()
    });
    let stream = came.ok_or_else(|| format!("no connection of the relay: {last:?}"))?;
    let set = stream.set_nonblocking(false).and_then(|()| ready(&stream));
    set.map_err(|error| error.to_string())?;
    Ok(stream)
}

/// Sends one frame and reads the answer to it.
///
/// # Errors
///
/// The connection fails or nothing comes in time.
pub fn ask(stream: &mut TcpStream, frame: &str) -> Result<String, String> {
    stream
        .write_all(frame.as_bytes())
        .map_err(|error| error.to_string())?;
    frame_of(stream)
}

/// Reads one frame without a body.
///
/// # Errors
///
/// The connection fails or nothing comes in time.
pub fn frame_of(stream: &mut TcpStream) -> Result<String, String> {
    let (mut text, mut byte) = (String::new(), [0]);
    while !text.ends_with("$\r\n") {
        let length = stream
            .read(&mut byte)
            .map_err(|error| format!("{error} after {text:?}"))?;
        if length == 0 {
            return Err(format!("the relay closed the connection after {text:?}"));
        }
        text.push(char::from(byte[0]));
    }
    Ok(text)
}

/// The SEND without a body that binds a session to a connection (RFC 4975 §5.4).
#[must_use]
pub fn bind_frame(to_path: &str, from_path: &str, tid: &str) -> String {
    format!(
        "MSRP {tid} SEND\r\nTo-Path: {to_path}\r\nFrom-Path: {from_path}\r\nMessage-ID: bind{tid}\r\n\
         -------{tid}$\r\n"
    )
}

/// Binds where the relay itself answers.
///
/// # Errors
///
/// It answers with something else than 200.
pub fn bind(stream: &mut TcpStream, to_path: &str, from_path: &str) -> Result<(), String> {
    let answer = ask(stream, &bind_frame(to_path, from_path, "b1nd5e55"))?;
    if answer.starts_with("MSRP b1nd5e55 200") {
        Ok(())
    } else {
        Err(format!("the bind was answered with {answer}"))
    }
}

/// Makes a session of two connections between which bytes pass as they are.
///
/// # Errors
///
/// The bind doesn't reach the receiver, or its answer the sender.
pub fn pair_end_to_end(
    mut sender: TcpStream,
    mut receiver: TcpStream,
    (from_path, own_path): (String, String),
) -> Result<Pair, String> {
    let frame = bind_frame(&own_path, &from_path, "b1nd5e55");
    sender
        .write_all(frame.as_bytes())
        .map_err(|error| error.to_string())?;
    let came = frame_of(&mut receiver)?;
    if came != frame {
        return Err(format!("the bind came as {came}"));
    }
    let mut ok = Vec::new();
    super::frame::write_ok(
        &mut ok,
        b"b1nd5e55",
        from_path.as_bytes(),
        own_path.as_bytes(),
    );
    receiver.write_all(&ok).map_err(|error| error.to_string())?;
    let _ok = frame_of(&mut sender)?;
    Ok(Pair {
        sender,
        receiver,
        to_path: own_path.clone(),
        from_path,
        own_path,
    })
}

/// A new path at `at`.
#[must_use]
pub fn own_path(at: SocketAddr) -> String {
    path(at)
}
