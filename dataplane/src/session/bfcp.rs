//! A member's leg of floor control: a datagram socket, or a listener and at most one connection.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::api::{BfcpRemote, BfcpSpec, BfcpTransport, Fingerprint, Learn, LegFacts, MsrpSetup};
use crate::proto::rtp::Source;
use crate::proto::tls::Session;

use super::{PortPair, Socket};

/// A member's leg of floor control.
#[derive(Debug)]
pub struct BfcpLeg {
    /// What carries it.
    pub line: Line,
    /// Whether control has yet to be told that its connection was lost.
    pub lost_untold: bool,
    /// What its connection's octets pass through, where that is secured.
    pub tls: Option<Box<Session>>,
    /// Its handshake waits for the next cycle.
    pub is_late: bool,
    spec: BfcpSpec,
    /// Of the datagrams, or the listener.
    socket: Socket,
    pair: PortPair,
    remote: Option<BfcpRemote>,
    messages: u64,
    bytes: u64,
    dropped: u64,
}

/// What carries a member's floor control.
///
/// ```text
/// Idle ──open──▶ Connecting ──made──▶ Securing ──▶ Open ──lost, ended──▶ Idle
///   └────────────accepted──────────────▲    without TLS at once
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Datagrams, from and to an address that the first valid one decides.
    Datagrams(Source),
    /// There is no connection.
    Idle,
    /// The relay is making it.
    Connecting {
        /// Its socket.
        socket: Socket,
        /// Its far end.
        peer: SocketAddr,
    },
    /// It is there, and TLS isn't.
    Securing {
        /// Its socket.
        socket: Socket,
        /// Its far end.
        peer: SocketAddr,
        /// When it has taken too long.
        until: Instant,
    },
    /// It is there.
    Open {
        /// Its socket.
        socket: Socket,
        /// Its far end.
        peer: SocketAddr,
    },
}

impl BfcpLeg {
    /// Makes a leg that is bound and not connected.
    #[must_use]
    pub fn new(spec: BfcpSpec, socket: Socket, pair: PortPair) -> Self {
        let line = match spec.transport {
            BfcpTransport::Udp => Line::Datagrams(Source::default()),
            BfcpTransport::Tcp | BfcpTransport::Tls => Line::Idle,
        };
        Self {
            line,
            lost_untold: false,
            tls: None,
            is_late: false,
            spec,
            socket,
            pair,
            remote: None,
            messages: 0,
            bytes: 0,
            dropped: 0,
        }
    }

    /// What it was made from.
    #[must_use]
    pub fn spec(&self) -> &BfcpSpec {
        &self.spec
    }

    /// The address that it is bound to.
    #[must_use]
    pub fn local_ip(&self) -> IpAddr {
        self.spec.local_ip
    }

    /// Names the far end; the address to connect to, if the relay is to connect and isn't.
    pub fn connect(&mut self, now: Instant, remote: &BfcpRemote) -> Option<SocketAddr> {
        self.remote = Some(*remote);
        match &mut self.line {
            Line::Datagrams(source) => {
                // Clients behind NAT send from elsewhere; what they send names conference and user.
                let learn = Learn::Once {
                    window_ms: 0,
                    same_ip: false,
                };
                source.connect(now, remote.address, learn);
                None
            }
            Line::Idle => (remote.setup == MsrpSetup::Active).then_some(remote.address),
            Line::Connecting { .. } | Line::Securing { .. } | Line::Open { .. } => None,
        }
    }

    /// Whether a connection from an address may become its connection.
    #[must_use]
    pub fn admits(&self, peer: SocketAddr) -> bool {
        self.line == Line::Idle && self.expects(peer)
    }

    /// Whether an address may be its far end's; any while nothing is known of that.
    fn expects(&self, peer: SocketAddr) -> bool {
        self.remote
            .is_none_or(|remote| is_to_connect(&remote, peer))
    }

    /// Whether a newly named far end isn't that of the connection there is: anybody may have made
    /// that while none was named. One that was named before keeps it, whoever made it, unless it is
    /// elsewhere now.
    #[must_use]
    pub fn is_stale_under(&self, remote: &BfcpRemote) -> bool {
        match self.line {
            Line::Connecting { peer, .. }
            | Line::Securing { peer, .. }
            | Line::Open { peer, .. } => match self.remote {
                None => !is_to_connect(remote, peer),
                Some(_) => remote.address.ip() != peer.ip(),
            },
            Line::Datagrams(_) | Line::Idle => false,
        }
    }

    /// Whether its far end is known.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.remote.is_some()
    }

    /// Whether a certificate that was shown is the announced one.
    #[must_use]
    pub fn trusts(&self, certificate: Option<Fingerprint>) -> bool {
        let wanted = self.remote.map(|remote| remote.fingerprint);
        wanted.is_some_and(|wanted| wanted.is_none() || wanted == certificate)
    }

    /// Whether a datagram may come from an address; the first one that does decides.
    pub fn admits_datagram(&mut self, now: Instant, from: SocketAddr) -> bool {
        match &mut self.line {
            Line::Datagrams(source) => source.admit(now, from),
            Line::Idle | Line::Connecting { .. } | Line::Securing { .. } | Line::Open { .. } => {
                false
            }
        }
    }

    /// The datagram socket and where datagrams go, once that is known.
    #[must_use]
    pub fn datagrams_to(&self) -> Option<(Socket, SocketAddr)> {
        match &self.line {
            Line::Datagrams(source) => source.target().map(|to| (self.socket, to)),
            Line::Idle | Line::Connecting { .. } | Line::Securing { .. } | Line::Open { .. } => {
                None
            }
        }
    }

    /// The connection that is there, and secured where it is to be.
    #[must_use]
    pub fn connection(&self) -> Option<Socket> {
        match self.line {
            Line::Open { socket, .. } => Some(socket),
            Line::Datagrams(_) | Line::Idle | Line::Connecting { .. } | Line::Securing { .. } => {
                None
            }
        }
    }

    /// Takes its connection away, made or not.
    pub fn take_connection(&mut self) -> Option<Socket> {
        match self.line {
            Line::Open { socket, .. }
            | Line::Connecting { socket, .. }
            | Line::Securing { socket, .. } => {
                self.line = Line::Idle;
                self.tls = None;
                Some(socket)
            }
            Line::Datagrams(_) | Line::Idle => None,
        }
    }

    /// Counts what came.
    pub fn count(&mut self, octets: usize) {
        self.messages += 1;
        self.bytes += octets as u64;
    }

    /// Counts what came and was dropped.
    pub fn count_drop(&mut self) {
        self.dropped += 1;
    }

    /// The socket of its datagrams, or its listener.
    #[must_use]
    pub fn socket(&self) -> Socket {
        self.socket
    }

    /// Its ports, to give back.
    #[must_use]
    pub fn pair(&self) -> PortPair {
        self.pair
    }

    /// What came from it, but for its age: datagrams, or pieces of its connection.
    #[must_use]
    pub fn facts(&self) -> LegFacts {
        LegFacts {
            packets: self.messages,
            bytes: self.bytes,
            dropped: self.dropped,
            source: self
                .datagrams_to()
                .map(|(_, to)| to)
                .filter(|_| self.messages > 0),
            ..LegFacts::default()
        }
    }
}

/// Whether a far end is to connect, and may do so from an address.
fn is_to_connect(remote: &BfcpRemote, peer: SocketAddr) -> bool {
    remote.setup == MsrpSetup::Passive && remote.address.ip() == peer.ip()
}
