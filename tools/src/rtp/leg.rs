//! The ends of the calls, and the sockets that they share.
//!
//! A relay has ports of its own for every call. The far ends needn't: a few sockets, each the end of
//! many calls, take far fewer system calls, and the generator's core is what ends a search for the
//! highest rate first. A packet's source says which of the relay's ports it came from.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::OnceLock;

use nix::sys::socket::{setsockopt, sockopt};

/// A call's end. Legs `2n` and `2n + 1` are the two ends of call `n`.
#[derive(Debug)]
pub struct Leg {
    /// The socket that it sends and receives with: its place in [`Legs::doors`].
    pub door: usize,
    /// Where it receives.
    pub at: SocketAddrV4,
    relay: OnceLock<SocketAddrV4>,
}

/// The ends of all calls.
#[derive(Debug)]
pub struct Legs {
    /// The sockets; those of even number are the calls' first ends', the others the second ones'.
    pub doors: Vec<UdpSocket>,
    /// The ends.
    pub all: Vec<Leg>,
}

/// The first port; each takes an even one, as RTP does.
const FIRST_PORT: u16 = 4096;
/// The most calls that the relay's ports are enough for.
pub const CALLS_MAX: usize = 15_000;
/// Bytes that a socket may hold: what comes while its thread sends a burst.
const QUEUE_BYTES: usize = 4 << 20;

/// Place `number` on `ip`.
#[must_use]
pub fn address(ip: Ipv4Addr, number: usize) -> SocketAddrV4 {
    let offset = u16::try_from(number * 2).unwrap_or(u16::MAX);
    SocketAddrV4::new(ip, FIRST_PORT.saturating_add(offset))
}

impl Legs {
    /// Opens the ends of `calls` calls on `ip`, over at most `doors` pairs of sockets.
    ///
    /// # Errors
    ///
    /// A port is taken or no descriptor is left.
    pub fn open(ip: Ipv4Addr, calls: usize, doors: usize) -> Result<Self, String> {
        let count = 2 * doors.clamp(1, calls.max(1));
        let open_one = |number| {
            let at = address(ip, number);
            let socket = UdpSocket::bind(at).map_err(|error| format!("{at}: {error}"))?;
            let set = || -> std::io::Result<()> {
                socket.set_nonblocking(true)?;
                setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
                // Beyond the system's limit only where this user may; else as much as it allows.
                setsockopt(&socket, sockopt::RcvBufForce, &QUEUE_BYTES)
                    .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &QUEUE_BYTES))?;
                Ok(())
            };
            set().map_err(|error| format!("{at}: {error}"))?;
            Ok(socket)
        };
        let doors: Result<Vec<UdpSocket>, String> = (0..count).map(open_one).collect();
        let leg = |number| {
            let door = number % count;
            Leg {
                door,
                at: address(ip, door),
                relay: OnceLock::new(),
            }
        };
        Ok(Self {
            doors: doors?,
            all: (0..calls * 2).map(leg).collect(),
        })
    }
}

impl Leg {
    /// Sends to and takes from `relay` alone, from now on.
    ///
    /// # Errors
    ///
    /// It is an IPv6 address, or another one was given before.
    pub fn connect(&self, relay: std::net::SocketAddr) -> Result<(), String> {
        let std::net::SocketAddr::V4(relay) = relay else {
            return Err(format!("{relay}: the load speaks IPv4"));
        };
        let known = self.relay.get_or_init(|| relay);
        if *known == relay {
            Ok(())
        } else {
            Err(format!("{relay}: this end has {known} already"))
        }
    }

    /// The relay's port for it.
    #[must_use]
    pub fn relay(&self) -> Option<SocketAddrV4> {
        self.relay.get().copied()
    }
}
