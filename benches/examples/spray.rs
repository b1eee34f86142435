//! The bare send loop: what comes to one socket goes to many addresses as it came, as little as a
//! fan-out can be. Whatever a relay costs beyond it is the relay's own.
//!
//! `spray SOCKETS RECEIVERS FAR`: with `each`, every receiver has a socket here that is connected to
//! it, as the members of a session have ports of their own; with `one`, all are sent to from one
//! socket in batches. Receiver `n` is at 127.1.n/250.n%250+1, port FAR. Says `port`, to which the
//! talker sends, then `ready`. `cargo x compare fanout` starts it.

use std::error::Error;
use std::io::{ErrorKind, IoSlice, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};

/// Bytes of one datagram.
const DATAGRAM_BYTES: usize = 2048;
/// Datagrams of one call.
const BATCH: usize = 256;
const USAGE: &str = "spray SOCKETS RECEIVERS FAR";

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let mut word = || words.next().ok_or(USAGE);
    let sockets = word()?;
    let (receivers, far): (u16, u16) = (word()?.parse()?, word()?.parse()?);
    let ears = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let places = (0..receivers).map(|number| SocketAddrV4::new(place(number), far));
    let port = ears.local_addr()?.port();
    let ready = || {
        let mut out = std::io::stdout().lock();
        writeln!(out, "port {port}\nready")?;
        out.flush()
    };
    match sockets.as_str() {
        "each" => {
            let open = |to| -> std::io::Result<UdpSocket> {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
                socket.set_nonblocking(true)?;
                socket.connect(to)?;
                Ok(socket)
            };
            let sockets: Vec<_> = places.map(open).collect::<Result<_, _>>()?;
            ready()?;
            each(&ears, &sockets)
        }
        "one" => {
            let places: Vec<_> = places.map(|to| Some(SockaddrIn::from(to))).collect();
            ready()?;
            one(&ears, &places)
        }
        _ => Err(USAGE.into()),
    }
}

fn each(ears: &UdpSocket, sockets: &[UdpSocket]) -> Result<(), Box<dyn Error>> {
    let mut bytes = [0; DATAGRAM_BYTES];
    loop {
        let length = ears.recv(&mut bytes)?;
        for socket in sockets {
            if let Err(error) = socket.send(&bytes[..length]) {
                tolerate(error)?;
            }
        }
    }
}

fn one(ears: &UdpSocket, places: &[Option<SockaddrIn>]) -> Result<(), Box<dyn Error>> {
    let mouth = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    mouth.set_nonblocking(true)?;
    let mut headers = MultiHeaders::preallocate(BATCH, None);
    let mut bytes = [0; DATAGRAM_BYTES];
    loop {
        let length = ears.recv(&mut bytes)?;
        let same = [[IoSlice::new(&bytes[..length])]; BATCH];
        for batch in places.chunks(BATCH) {
            let mut left = batch;
            while !left.is_empty() {
                let flags = MsgFlags::MSG_DONTWAIT;
                let sent = sendmmsg(
                    mouth.as_raw_fd(),
                    &mut headers,
                    &same[..left.len()],
                    left,
                    [],
                    flags,
                )
                .map_or(1, Iterator::count);
                left = &left[sent.max(1)..];
            }
        }
    }
}

fn place(receiver: u16) -> Ipv4Addr {
    let [_, third] = (receiver / 250).to_be_bytes();
    let [_, fourth] = (receiver % 250 + 1).to_be_bytes();
    Ipv4Addr::new(127, 1, third, fourth)
}

/// A packet that nobody takes ends nothing.
fn tolerate(error: std::io::Error) -> std::io::Result<()> {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::ConnectionRefused | ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}
