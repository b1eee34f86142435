//! UDP and TCP sockets for SIP: packets to one queue, packets from one call, nothing decided.

mod tcp;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::limits::{SIP_DATAGRAM_BYTES, SIP_INCOMING};
use crate::sip::{Flow, Protocol, Transmit};

use self::tcp::Connections;
use self::udp::Udp;

/// An address to receive SIP at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listen {
    /// The transport.
    pub protocol: Protocol,
    /// A specific address: Via and Contact will name it.
    pub address: SocketAddr,
}

/// What the sockets bring.
#[derive(Clone, Debug)]
pub enum Incoming {
    /// A datagram, or one message of a stream.
    Packet {
        /// The way it came.
        flow: Flow,
        /// The message.
        bytes: Bytes,
    },
    /// A connection closed or could not be made, or a datagram could not be sent.
    Failed {
        /// The way that failed.
        flow: Flow,
    },
}

/// What the transports count; it only grows.
#[derive(Debug, Default)]
pub struct TransportCounters {
    /// Datagrams and stream messages received.
    pub packets_in: AtomicU64,
    /// Datagrams and stream messages sent or queued.
    pub packets_out: AtomicU64,
    /// Datagrams dropped as the queue to the engine was full.
    pub dropped_in: AtomicU64,
    /// Packets dropped as the socket or the connection's queue was full, or sending failed.
    pub dropped_out: AtomicU64,
    /// TCP connections accepted.
    pub accepted: AtomicU64,
    /// TCP connections made.
    pub connected: AtomicU64,
    /// TCP connections that could not be made.
    pub connect_failures: AtomicU64,
    /// TCP connections refused at the limit.
    pub refused: AtomicU64,
    /// TCP connections closed as what came was no SIP stream.
    pub framing_errors: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// All sockets for SIP.
#[derive(Debug)]
pub struct Transports {
    incoming: mpsc::Receiver<Incoming>,
    failed: mpsc::Sender<Incoming>,
    udp: Vec<Udp>,
    tcp: Vec<SocketAddr>,
    connections: Arc<Connections>,
    counters: Arc<TransportCounters>,
    /// Readers and listeners; they end with this struct.
    _tasks: JoinSet<()>,
}

impl Transports {
    /// Opens all listeners; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The first socket that can't be opened.
    pub fn bind(listens: &[Listen]) -> io::Result<Self> {
        let (sender, incoming) = mpsc::channel(SIP_INCOMING);
        let counters = Arc::new(TransportCounters::default());
        let connections = Arc::new(Connections::new(sender.clone(), counters.clone()));
        let mut tasks = JoinSet::new();
        let (mut udp, mut tcp) = (Vec::new(), Vec::new());
        for listen in listens {
            match listen.protocol {
                Protocol::Udp => {
                    let socket = Udp::bind(listen.address)?;
                    tasks.spawn(socket.clone().receive(sender.clone(), counters.clone()));
                    udp.push(socket);
                }
                Protocol::Tcp => {
                    let (listener, local) = tcp::listen(listen.address)?;
                    tasks.spawn(tcp::accept(listener, local, connections.clone()));
                    tcp.push(local);
                }
            }
        }
        Ok(Self {
            incoming,
            failed: sender,
            udp,
            tcp,
            connections,
            counters,
            _tasks: tasks,
        })
    }

    /// Waits for what comes next. Nothing is lost if the wait is given up.
    pub async fn receive(&mut self) -> Option<Incoming> {
        self.incoming.recv().await
    }

    /// Takes what has come, if anything has.
    pub fn try_receive(&mut self) -> Option<Incoming> {
        self.incoming.try_recv().ok()
    }

    /// Sends a packet, or drops and counts it; never waits. TCP takes the flow's connection, else
    /// one to its remote address, else makes one.
    pub fn send(&mut self, transmit: Transmit) {
        count(&self.counters.packets_out);
        match transmit.flow.protocol {
            Protocol::Tcp => self.connections.send(transmit),
            Protocol::Udp => {
                let Transmit { flow, bytes } = transmit;
                let exact = self.udp.iter().find(|socket| socket.local() == flow.local);
                let same_family = || {
                    let is_ipv4 = flow.remote.is_ipv4();
                    self.udp
                        .iter()
                        .find(|socket| socket.local().is_ipv4() == is_ipv4)
                };
                let sent = match exact.or_else(same_family) {
                    Some(socket) => socket.send(&bytes, flow.remote),
                    None => Err(io::ErrorKind::AddrNotAvailable.into()),
                };
                if let Err(error) = sent {
                    count(&self.counters.dropped_out);
                    // A full socket buffer is a loss like any on the way, and what no datagram can
                    // carry says nothing of the way; the rest is news.
                    if error.kind() != io::ErrorKind::WouldBlock
                        && bytes.len() <= SIP_DATAGRAM_BYTES
                        && self.failed.try_send(Incoming::Failed { flow }).is_err()
                    {
                        count(&self.counters.dropped_in);
                    }
                }
            }
        }
    }

    /// Our listener for a remote address: of that transport and address family.
    #[must_use]
    pub fn local_for(&self, protocol: Protocol, remote: SocketAddr) -> Option<SocketAddr> {
        let fits = |local: &SocketAddr| local.is_ipv4() == remote.is_ipv4();
        match protocol {
            Protocol::Udp => self.udp.iter().map(Udp::local).find(fits),
            Protocol::Tcp => self.tcp.iter().copied().find(fits),
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Arc<TransportCounters> {
        &self.counters
    }

    /// How many TCP connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }
}

impl Drop for Transports {
    fn drop(&mut self) {
        self.connections.close_all();
    }
}

#[cfg(test)]
mod tests;
