//! One side of a byte stream (RFC 6714): a listener, at most one connection, and what waits.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::api::{LegFacts, MsrpSetup};
use crate::frame::Frame;
use crate::limits::HELD_FRAMES;

use super::{PortPair, Socket};

/// The connection of one side.
///
/// ```text
/// Idle ──open──▶ Connecting ──made──▶ Open ──far side lost──▶ Ending ──written, late──▶ Idle
///   └────────────accepted──────────────▲ └──lost──▶ Idle
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// There is none.
    Idle,
    /// The relay is making it.
    Connecting {
        /// Its socket.
        socket: Socket,
    },
    /// It is there.
    Open {
        /// Its socket.
        socket: Socket,
        /// Whether it is read.
        reading: bool,
        /// Whether its far end has ended its half.
        has_ended: bool,
    },
    /// The other side's is lost: it gets what waits for it and is then closed.
    Ending {
        /// Its socket.
        socket: Socket,
        /// When it is closed at the latest.
        until: Instant,
    },
}

/// One side of a byte stream.
#[derive(Debug)]
pub struct BytesLeg {
    /// Its connection.
    pub connection: Connection,
    /// Its far end and who connects, once known.
    pub remote: Option<(SocketAddr, MsrpSetup)>,
    /// Whether control has yet to be told that its connection was lost.
    pub lost_untold: bool,
    /// Octets received from it.
    pub bytes: u64,
    /// Frames received from it and not forwarded.
    pub dropped: u64,
    /// The far end of its connection.
    pub peer: Option<SocketAddr>,
    held: [Option<Frame>; HELD_FRAMES],
    listener: Socket,
    local_ip: IpAddr,
    pair: PortPair,
}

impl BytesLeg {
    /// Makes a leg that listens.
    #[must_use]
    pub fn new(listener: Socket, local_ip: IpAddr, pair: PortPair) -> Self {
        Self {
            connection: Connection::Idle,
            remote: None,
            lost_untold: false,
            bytes: 0,
            dropped: 0,
            peer: None,
            held: [const { None }; HELD_FRAMES],
            listener,
            local_ip,
            pair,
        }
    }

    /// Whether a connection from an address may become its connection.
    #[must_use]
    pub fn admits(&self, peer: SocketAddr) -> bool {
        let expected = match self.remote {
            None => true,
            Some((_, MsrpSetup::Active)) => false,
            Some((named, MsrpSetup::Passive)) => named.ip() == peer.ip(),
        };
        expected && self.connection == Connection::Idle
    }

    /// The connection that a newly named far end makes wrong: one made to another address, or one
    /// that somebody else made.
    #[must_use]
    pub fn stale_under(&self, address: SocketAddr, setup: MsrpSetup) -> Option<Socket> {
        let made = matches!(self.remote, Some((_, MsrpSetup::Active)));
        let wrong = match (setup, self.peer) {
            (MsrpSetup::Active, _) if made => {
                self.remote.is_some_and(|(named, _)| named != address)
            }
            // Nobody had been named who could have been to connect.
            (MsrpSetup::Active, peer) => self.remote.is_none() && peer.is_some(),
            (MsrpSetup::Passive, peer) => peer.is_some_and(|peer| peer.ip() != address.ip()),
        };
        self.socket().filter(|_| wrong)
    }

    /// The socket that bytes for this side are written to.
    #[must_use]
    pub fn sink(&self) -> Option<Socket> {
        match self.connection {
            Connection::Open { socket, .. } | Connection::Ending { socket, .. } => Some(socket),
            Connection::Idle | Connection::Connecting { .. } => None,
        }
    }

    /// The socket of its connection, made or not.
    #[must_use]
    pub fn socket(&self) -> Option<Socket> {
        match self.connection {
            Connection::Idle => None,
            Connection::Connecting { socket }
            | Connection::Open { socket, .. }
            | Connection::Ending { socket, .. } => Some(socket),
        }
    }

    /// Its listener, to close.
    #[must_use]
    pub fn listener(&self) -> Socket {
        self.listener
    }

    /// The local address it connects from.
    #[must_use]
    pub fn local_ip(&self) -> IpAddr {
        self.local_ip
    }

    /// Its ports, to give back.
    #[must_use]
    pub fn pair(&self) -> PortPair {
        self.pair
    }

    /// Keeps a frame from this side until the other one can take it.
    ///
    /// # Errors
    ///
    /// The frame, when [`HELD_FRAMES`] are kept already.
    pub fn hold(&mut self, frame: Frame) -> Result<(), Frame> {
        match self.held.iter_mut().find(|place| place.is_none()) {
            Some(place) => {
                *place = Some(frame);
                Ok(())
            }
            None => Err(frame),
        }
    }

    /// Whether a frame from this side waits.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.held.iter().any(Option::is_some)
    }

    /// Takes what waits, in the order it came.
    pub fn take_held(&mut self) -> impl Iterator<Item = Frame> + use<> {
        std::mem::take(&mut self.held).into_iter().flatten()
    }

    /// What came from this side, but for its age.
    #[must_use]
    pub fn facts(&self) -> LegFacts {
        LegFacts {
            bytes: self.bytes,
            dropped: self.dropped,
            source: self.peer,
            ..LegFacts::default()
        }
    }
}
