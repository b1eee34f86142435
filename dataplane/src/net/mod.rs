//! Sockets: one trait, three ways to serve it.
//!
//! | backend | what it is |
//! |---|---|
//! | [`uring`] | io_uring: multishot receive into provided buffers, registered files |
//! | [`mmsg`] | epoll, recvmmsg and sendmmsg; TCP by readiness |
//! | [`sim`] | in memory, for the simulated world |
//!
//! All three give the same answers; a suite runs the same scenes over each.

pub mod mmsg;
mod pipe;
mod queue;
pub mod sim;
mod slots;
pub mod sys;
#[cfg(test)]
mod tests;
pub mod uring;

pub use sys::EventFd;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::frame::{Frame, Pool};

/// A socket of a backend. Used again after [`Backend::close`], but never while anything of the
/// old one can still be received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u32);

/// The owner's own mark of a socket, handed back with everything received from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token(pub u64);

/// What to open.
#[derive(Debug, Clone, Copy)]
pub enum SocketSpec {
    /// A UDP socket bound to an address; port 0 lets the kernel pick.
    Datagram {
        /// Where to bind.
        local: SocketAddr,
    },
    /// A TCP listener.
    Listen {
        /// Where to bind.
        local: SocketAddr,
    },
    /// A TCP connection to make; its success or failure is received.
    Connect {
        /// The local address.
        local: IpAddr,
        /// The far end.
        remote: SocketAddr,
    },
}

/// What was received.
#[derive(Debug)]
pub enum RxItem {
    /// A datagram, at most 1,984 octets; longer ones are dropped by the backend and counted in
    /// [`RxBatch::truncated`].
    Datagram {
        /// The socket's mark.
        token: Token,
        /// Who sent it.
        from: SocketAddr,
        /// Its bytes; the receiver owns the frame.
        frame: Frame,
        /// How long it has lain in a socket that gathers; nothing for any other.
        waited: Duration,
    },
    /// Bytes of a connection, at least one.
    Bytes {
        /// The connection.
        socket: SocketId,
        /// Its mark.
        token: Token,
        /// The bytes; the receiver owns the frame.
        frame: Frame,
    },
    /// Bytes of a connection have gone to the one that [`Backend::pass`] named, without a frame.
    Passed {
        /// The connection that they came from.
        socket: SocketId,
        /// Its mark.
        token: Token,
        /// How many, at least one.
        octets: usize,
    },
    /// A connection was accepted; it is read once [`Backend::adopt`] was called.
    Accepted {
        /// The listener's mark.
        token: Token,
        /// The new connection.
        socket: SocketId,
        /// Its far end.
        peer: SocketAddr,
    },
    /// A connection that was to be made is made, and is read from now on.
    Connected {
        /// The connection.
        socket: SocketId,
        /// Its mark.
        token: Token,
    },
    /// The far side ended its half of a connection, and nothing more comes from it; ours is open and
    /// can be written to. Told once, and before [`RxItem::Closed`].
    Ended {
        /// The connection.
        socket: SocketId,
        /// Its mark.
        token: Token,
    },
    /// A connection is over, or could not be made: both halves of it ended, or it broke. Nothing
    /// more comes from it or goes to it; the owner still has to close it.
    Closed {
        /// The connection.
        socket: SocketId,
        /// Its mark.
        token: Token,
    },
    /// What waits to be written to a connection fell below the low mark after it was above the
    /// high one. (`limits::STREAM_QUEUE_LOW_BYTES`, `_HIGH_BYTES`)
    Drained {
        /// The connection.
        socket: SocketId,
        /// Its mark.
        token: Token,
    },
}

impl RxItem {
    /// The connection that it is about; none for a datagram.
    #[must_use]
    pub fn socket(&self) -> Option<SocketId> {
        match self {
            Self::Datagram { .. } => None,
            Self::Bytes { socket, .. }
            | Self::Passed { socket, .. }
            | Self::Accepted { socket, .. }
            | Self::Connected { socket, .. }
            | Self::Ended { socket, .. }
            | Self::Closed { socket, .. }
            | Self::Drained { socket, .. } => Some(*socket),
        }
    }
}

/// What one [`Backend::receive`] brought.
#[derive(Debug, Default)]
pub struct RxBatch {
    /// The items, in the order they came; per socket that order is exact.
    pub items: Vec<RxItem>,
    /// Datagrams that did not fit a frame and were dropped.
    pub truncated: u64,
    /// Times that something waited and no frame was free.
    pub starved: u64,
}

/// Something to send.
#[derive(Debug)]
pub enum TxItem {
    /// A datagram.
    Datagram {
        /// From which socket.
        socket: SocketId,
        /// To whom.
        to: SocketAddr,
        /// Its bytes; goes back to the pool.
        frame: Frame,
    },
    /// Bytes for a connection; they are written in order and completely, or the connection ends.
    Bytes {
        /// To which connection.
        socket: SocketId,
        /// The bytes; goes back to the pool once the kernel has them all.
        frame: Frame,
    },
}

/// What one [`Backend::send`] is to send.
#[derive(Debug, Default)]
pub struct TxBatch {
    /// The items, in order; empty after a send.
    pub items: Vec<TxItem>,
    /// Datagrams that the kernel refused, since the batch was made.
    pub failed: u64,
}

/// A way to talk to the kernel, owned and used by one worker thread.
pub trait Backend {
    /// Opens a socket and says where it is bound (unspecified port 0 for a connection not made yet).
    ///
    /// # Errors
    ///
    /// What the kernel said; `AddrInUse` lets the caller try another port.
    fn open(&mut self, spec: &SocketSpec, token: Token) -> io::Result<(SocketId, SocketAddr)>;

    /// Gives an accepted connection its mark and begins to read it.
    fn adopt(&mut self, socket: SocketId, token: Token);

    /// Changes a socket's mark. What was received before keeps the old one.
    fn set_token(&mut self, socket: SocketId, token: Token);

    /// Ends a connection's writing half once what waits is written; nothing may be written to it
    /// any more. It is read from now on, paused or not. [`RxItem::Closed`] tells when the far side
    /// has ended its half as well, and tells it again if that has been told before.
    ///
    /// Closing a connection with unread bytes in it resets it instead, and a reset destroys what
    /// the far side has not read (RFC 1122 §4.2.2.13).
    fn shutdown(&mut self, socket: SocketId);

    /// Closes a socket; its port is free when this returns. What waits to be written is dropped
    /// and its frames go back to the pool. Nothing is received from it any more.
    fn close(&mut self, socket: SocketId, pool: &mut Pool);

    /// Lets what comes on a connection go to another one within the kernel from now on, where the
    /// backend can and there is much of it: then [`RxItem::Passed`] tells so. Other bytes of it
    /// are received and are to be written there as before; the order is kept. The other way round
    /// is told apart. Ends when one of them is shut down or closed.
    fn pass(&mut self, from: SocketId, to: SocketId) {
        let _ = (from, to);
    }

    /// Stops reading a connection; at most `limits::READ_FRAMES` more of it are received after this.
    fn pause(&mut self, socket: SocketId);

    /// Reads a paused connection again.
    fn resume(&mut self, socket: SocketId);

    /// Octets that wait to be written to a connection.
    fn queued(&self, socket: SocketId) -> usize;

    /// Ties a datagram socket to one far end, or unties it: while it is tied the kernel drops what
    /// comes from anybody else, and everything sent goes to that far end without its route being
    /// looked up again. The socket was bound to a port by number. A backend for which that is no gain, and a kernel that refuses, may leave
    /// the socket as it is.
    fn tie(&mut self, socket: SocketId, far: Option<SocketAddr>);

    /// Lets what comes to a datagram socket lie there without waking the worker, until
    /// [`Backend::collect`]; or not any more. A backend for which that is no gain, and a kernel
    /// that can't say when a datagram came, may receive it at once as always.
    fn gather(&mut self, socket: SocketId, on: bool) {
        let _ = (socket, on);
    }

    /// Has the next [`Backend::receive`]s bring what lies in a socket that gathers, those of
    /// `limits::RX_BATCH` sockets each.
    fn collect(&mut self, socket: SocketId) {
        let _ = socket;
    }

    /// Receives what is there, at most `limits::RX_BATCH` items; never blocks.
    fn receive(&mut self, rx: &mut RxBatch, pool: &mut Pool) -> usize;

    /// Sends a batch and empties it; never blocks. Says how many items were taken: all of them.
    fn send(&mut self, tx: &mut TxBatch, pool: &mut Pool) -> usize;

    /// Sleeps until something can be received, the worker's bell rings, or the time is up.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    fn wait(&mut self, at_most: Duration) -> io::Result<()>;
}
