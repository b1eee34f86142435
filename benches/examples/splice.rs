//! The floor for relaying bytes: a bare loop that moves what comes on one connection to the other with
//! splice(2), through a pipe for each direction. It reads nothing, knows no session, keeps no time:
//! whatever a relay of bytes costs beyond it is the relay's own.
//!
//! `splice LISTEN TARGET`: each connection that comes to `LISTEN` is joined with one to `TARGET`.
//! `cargo x compare msrp` starts it.

use std::error::Error;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, SpliceFFlags, splice};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::unistd::pipe2;

/// Connections that one look at epoll may name.
const EVENTS: usize = 256;
/// Bytes moved by one call at most: what a pipe holds.
const PIECE_BYTES: usize = 64 * 1024;
/// The mark of the listener; connections have those below.
const LISTENER: u64 = u64::MAX;

/// One direction: from a connection through a pipe to the other.
struct Way {
    read: OwnedFd,
    write: OwnedFd,
    /// Bytes in the pipe.
    held: usize,
    ended: bool,
}

/// One end of a joined pair; ends `2n` and `2n + 1` belong together.
struct End {
    stream: TcpStream,
    /// What came here and goes to the other end.
    way: Way,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let mut word = || words.next().ok_or("splice LISTEN TARGET");
    let (listen, target): (SocketAddr, SocketAddr) = (word()?.parse()?, word()?.parse()?);
    let listener = TcpListener::bind(listen)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut ends: Vec<End> = Vec::new();
    let mut events = [EpollEvent::empty(); EVENTS];
    loop {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..ready] {
            if event.data() == LISTENER {
                let (stream, _) = listener.accept()?;
                for stream in [stream, TcpStream::connect(target)?] {
                    join(&mut ends, stream, &epoll)?;
                }
                continue;
            }
            let at = usize::try_from(event.data())?;
            // Edges: what can be read here goes there, and what waits for here comes from there.
            carry(&mut ends, at);
            carry(&mut ends, at ^ 1);
        }
    }
}

fn join(ends: &mut Vec<End>, stream: TcpStream, epoll: &Epoll) -> Result<(), Box<dyn Error>> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let (read, write) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
    epoll.add(&stream, EpollEvent::new(flags, u64::try_from(ends.len())?))?;
    ends.push(End {
        stream,
        way: Way {
            read,
            write,
            held: 0,
            ended: false,
        },
    });
    Ok(())
}

/// Moves what came at end `at` to the other one, until nothing comes or nothing goes.
fn carry(ends: &mut [End], at: usize) {
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
    loop {
        let Some(way) = ends.get(at).map(|end| &end.way) else {
            return;
        };
        if way.ended {
            return;
        }
        let mut came = 0;
        if way.held < PIECE_BYTES {
            let from = &ends[at].stream;
            match splice(from, None, &way.write, None, PIECE_BYTES - way.held, flags) {
                Ok(0) => return end(ends, at),
                Ok(length) => came = length,
                Err(Errno::EAGAIN) => {}
                Err(_) => return end(ends, at),
            }
        }
        ends[at].way.held += came;
        let held = ends[at].way.held;
        if held == 0 {
            return;
        }
        let (way, to) = (&ends[at].way, &ends[at ^ 1].stream);
        match splice(&way.read, None, to, None, held, flags) {
            Ok(length) => ends[at].way.held -= length,
            Err(Errno::EAGAIN) => return,
            Err(_) => return end(ends, at),
        }
    }
}

/// Ends both ways of a pair; a connection that is gone ends nothing else.
fn end(ends: &mut [End], at: usize) {
    for at in [at, at ^ 1] {
        ends[at].way.ended = true;
        let _gone = ends[at].stream.shutdown(std::net::Shutdown::Both);
    }
}
