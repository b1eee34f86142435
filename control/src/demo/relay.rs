//! The relay of the demo: in a thread of its own, on free loopback ports.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;

use super::error::DemoError;
use super::{now, pause, random};
use crate::config::{Config, Listen, Protocol};
use crate::run::{RunError, run_until};

/// How long the relay may take to start.
const START: Duration = Duration::from_secs(5);
/// How long it may take to answer a question.
const ANSWER: Duration = Duration::from_secs(2);
/// Ports for RTP that the relay gets.
const PORTS: u16 = 64;
/// Where they are looked for: below the ports that Linux gives to those who ask for any.
const PORTS_FROM: u16 = 20_000;
/// Places for [`PORTS`] between there and 32,768.
const PLACES: u64 = 190;

/// The relay.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) sip: SocketAddr,
    admin: SocketAddr,
    records: PathBuf,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<(), RunError>>,
}

impl Relay {
    /// Starts it, and returns when it answers.
    pub(super) fn start() -> Result<Self, DemoError> {
        Self::start_with(|_| {})
    }

    /// Starts it with other settings.
    pub(super) fn start_with(change: impl FnOnce(&mut Config)) -> Result<Self, DemoError> {
        let (sip, admin) = (free_datagram_address()?, free_stream_address()?);
        let records = std::env::temp_dir().join(format!("midpath-demo-{:016x}.jsonl", random()));
        let mut config = Config::default();
        config.sip.listen = vec![Listen {
            protocol: Protocol::Udp,
            address: sip,
        }];
        config.media.port_first = free_ports()?;
        config.media.port_last = config.media.port_first + (PORTS - 1);
        config.admin.listen = Some(admin);
        config.cdr.file = Some(records.clone());
        change(&mut config);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(DemoError::doing("a runtime for the relay"))?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new()
            .name("demo-relay".to_owned())
            .spawn(move || {
                runtime.block_on(run_until(config, async {
                    // When the sender is gone the demo is over, too.
                    let _ = stopped.await;
                }))
            })
            .map_err(DemoError::doing("a thread"))?;
        let relay = Self {
            sip,
            admin,
            records,
            stop,
            thread,
        };
        relay.wait_until_it_serves()
    }

    fn wait_until_it_serves(self) -> Result<Self, DemoError> {
        let until = now() + START;
        while now() < until && !self.thread.is_finished() {
            if self.ask("/health").is_some() {
                return Ok(self);
            }
            pause(Duration::from_millis(10));
        }
        match self.stop() {
            Ok(_) => Err(DemoError::late("an answer at the relay's /health")),
            Err(error) => Err(error),
        }
    }

    /// Asks its admin door, and returns the answer when it is a 200 with JSON.
    pub(super) fn ask(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect_timeout(&self.admin, ANSWER).ok()?;
        stream.set_read_timeout(Some(ANSWER)).ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let good = head.starts_with("HTTP/1.1 200");
        good.then(|| serde_json::from_str(body).ok())?
    }

    /// Stops it, and returns the records that it wrote.
    pub(super) fn stop(self) -> Result<Vec<Value>, DemoError> {
        // Its thread may have ended already; then joining it says why.
        let _ = self.stop.send(());
        let ended = self.thread.join();
        let text = std::fs::read_to_string(&self.records).unwrap_or_default();
        // A file that isn't there need not be removed.
        let _ = std::fs::remove_file(&self.records);
        match ended {
            Ok(Ok(())) => Ok(text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect()),
            Ok(Err(error)) => Err(DemoError::Relay(error.to_string())),
            Err(_) => Err(DemoError::Relay("its thread panicked".to_owned())),
        }
    }
}

fn free_datagram_address() -> Result<SocketAddr, DemoError> {
    let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
    free.map_err(DemoError::doing("a port for the relay"))
}

fn free_stream_address() -> Result<SocketAddr, DemoError> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
    free.map_err(DemoError::doing("a port for the relay"))
}

/// The first of [`PORTS`] ports that nobody has.
fn free_ports() -> Result<u16, DemoError> {
    let start = random() % PLACES;
    for place in 0..PLACES {
        let place = u16::try_from((start + place) % PLACES).unwrap_or(0);
        let first = PORTS_FROM + place * PORTS;
        let free = |port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if (first..first + PORTS).all(free) {
            return Ok(first);
        }
    }
    Err(DemoError::late("64 free ports"))
}
