//! One end of one direction of a call: a socket on its own port, connected to the relay's.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use nix::sys::socket::{setsockopt, sockopt};

/// A call's end. Legs `2n` and `2n + 1` are the two ends of call `n`.
#[derive(Debug)]
pub struct Leg {
    /// Where it sends and receives; the kernel lets only packets of the relay's port in.
    pub socket: UdpSocket,
}

/// The first port of the legs; each takes an even one, as RTP does.
const FIRST_PORT: u16 = 4096;
/// The most calls that the ports are enough for.
pub const CALLS_MAX: usize = 15_000;

/// Where leg `number` receives on `ip`.
#[must_use]
pub fn address(ip: Ipv4Addr, number: usize) -> SocketAddr {
    let offset = u16::try_from(number * 2).unwrap_or(u16::MAX);
    SocketAddr::V4(SocketAddrV4::new(ip, FIRST_PORT.saturating_add(offset)))
}

/// Opens the legs of `calls` calls on `ip`.
///
/// # Errors
///
/// A port is taken or no descriptor is left.
pub fn open(ip: Ipv4Addr, calls: usize) -> Result<Vec<Leg>, String> {
    let open_one = |number| {
        let at = address(ip, number);
        let socket = UdpSocket::bind(at).map_err(|error| format!("{at}: {error}"))?;
        let set = || -> std::io::Result<()> {
            socket.set_nonblocking(true)?;
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
            Ok(())
        };
        set().map_err(|error| format!("{at}: {error}"))?;
        Ok(Leg { socket })
    };
    (0..calls * 2).map(open_one).collect()
}

impl Leg {
    /// Sends to and takes from `relay` alone, from now on.
    ///
    /// # Errors
    ///
    /// The kernel refuses the address.
    pub fn connect(&self, relay: SocketAddr) -> Result<(), String> {
        self.socket
            .connect(relay)
            .map_err(|error| format!("{relay}: {error}"))
    }
}
