//! The floor: a bare receive-and-send loop over a socket per port, as little as relaying RTP with
//! epoll, `recv` and `sendto` can be. It knows no calls, learns nothing, checks nothing, counts
//! nothing: whatever a relay costs beyond it is the relay's own.
//!
//! `floor LOCAL FAR LEGS DOORS`: leg `n` is bound to port `LOCAL + 2n`; what comes there goes out of
//! leg `m = n ^ 1` to port `FAR + 2(m mod DOORS)`. `cargo x compare rtp` starts it.

use std::error::Error;
use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, UdpSocket};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Sockets that one look at epoll may name.
const EVENTS: usize = 256;
/// Bytes of one datagram.
const DATAGRAM_BYTES: usize = 2048;

struct Leg {
    socket: UdpSocket,
    far: SocketAddr,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let mut word = || words.next().ok_or("floor LOCAL FAR LEGS DOORS");
    let (local, far): (SocketAddr, SocketAddr) = (word()?.parse()?, word()?.parse()?);
    let (legs, doors) = (word()?.parse()?, word()?.parse()?);
    let legs = open(local, far, (legs, doors))?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (mark, leg) in (0..).zip(&legs) {
        epoll.add(&leg.socket, EpollEvent::new(EpollFlags::EPOLLIN, mark))?;
    }
    std::io::stdout().write_all(b"ready\n")?;
    let mut events = [EpollEvent::empty(); EVENTS];
    let mut bytes = [0; DATAGRAM_BYTES];
    loop {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..ready] {
            let near = usize::try_from(event.data())?;
            let (Some(from), Some(to)) = (legs.get(near), legs.get(near ^ 1)) else {
                continue;
            };
            // Level-triggered: what is left is named again, so that each packet costs one `recv`.
            let Some(length) = heard(from.socket.recv(&mut bytes))? else {
                continue;
            };
            let _sent = heard(to.socket.send_to(&bytes[..length], to.far))?;
        }
    }
}

fn open(
    local: SocketAddr,
    far: SocketAddr,
    (legs, doors): (u16, u16),
) -> Result<Vec<Leg>, Box<dyn Error>> {
    let at = |first: SocketAddr, leg: u16| SocketAddr::new(first.ip(), first.port() + 2 * leg);
    let open_one = |leg| -> Result<Leg, Box<dyn Error>> {
        let socket = UdpSocket::bind(at(local, leg))?;
        socket.set_nonblocking(true)?;
        Ok(Leg {
            socket,
            far: at(far, leg % doors.max(1)),
        })
    };
    (0..legs).map(open_one).collect()
}

/// What came of one call; a packet that nobody takes any more ends nothing.
fn heard(result: std::io::Result<usize>) -> std::io::Result<Option<usize>> {
    match result {
        Ok(length) => Ok(Some(length)),
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::ConnectionRefused | ErrorKind::Interrupted => {
                Ok(None)
            }
            _ => Err(error),
        },
    }
}
