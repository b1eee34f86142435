//! The world's end of the sim backend.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use super::super::SocketId;
use super::{Transport, What, World};

/// A connection between the world and the worker; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection(pub(super) usize);

/// A datagram that the worker sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The local address of its socket.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A connection that the worker wants to make; the world answers or refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialled {
    /// Which one.
    pub connection: Connection,
    /// From where.
    pub local: IpAddr,
    /// To where.
    pub remote: SocketAddr,
}

/// A connection's bytes on their way, seen from the worker.
pub(super) struct Pipe {
    pub(super) far: SocketAddr,
    /// The worker's socket, when it was the worker who dialled.
    pub(super) dialler: Option<SocketId>,
    /// Fed by the world, not read by the worker.
    pub(super) inward: VecDeque<u8>,
    /// Written by the worker, not read by the world; at most `window` octets.
    outward: VecDeque<u8>,
    window: usize,
    /// The world sends no more.
    pub(super) hung_up: bool,
    /// The world cut the connection.
    pub(super) broken: bool,
    pub(super) near: NearEnd,
}

/// What the worker's end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NearEnd {
    /// It is written to and read, or will be.
    Open,
    /// The worker ended its writing half and has written all; it still reads.
    Ended,
    /// The worker closed it, or never accepted it.
    Closed,
}

impl Pipe {
    pub(super) fn new(far: SocketAddr) -> Self {
        Self {
            far,
            dialler: None,
            inward: VecDeque::new(),
            outward: VecDeque::new(),
            window: WINDOW_BYTES,
            hung_up: false,
            broken: false,
            near: NearEnd::Open,
        }
    }

    /// Takes from the worker what the window has room for.
    pub(super) fn take_in(&mut self, bytes: &[u8]) -> usize {
        let room = self.window.saturating_sub(self.outward.len());
        let part = bytes.get(..room).unwrap_or(bytes);
        self.outward.extend(part);
        part.len()
    }
}

/// What a test does to the worker's sockets, and what it sees of them.
#[derive(Clone)]
pub struct SimHandle {
    world: Rc<RefCell<World>>,
}

impl SimHandle {
    pub(super) fn new(world: Rc<RefCell<World>>) -> Self {
        Self { world }
    }

    /// Sends a datagram to the worker; false when nobody is bound to `to`.
    pub fn datagram(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> bool {
        let mut world = self.world.borrow_mut();
        let Some(&socket) = world.bound.get(&(Transport::Datagram, to)) else {
            return false;
        };
        let bytes = bytes.to_vec();
        world.arrive(socket, What::Datagram { from, bytes });
        true
    }

    /// Takes the oldest datagram that the worker sent.
    #[must_use]
    pub fn sent(&self) -> Option<Sent> {
        self.world.borrow_mut().sent.pop_front()
    }

    /// Connects to a listener of the worker; `None` when nobody listens on `to`.
    #[must_use]
    pub fn dial(&self, from: SocketAddr, to: SocketAddr) -> Option<Connection> {
        let mut world = self.world.borrow_mut();
        let listener = *world.bound.get(&(Transport::Listener, to))?;
        let connection = Connection(world.pipes.len());
        world.pipes.push(Pipe::new(from));
        world.arrive(listener, What::Dial(connection));
        Some(connection)
    }

    /// Takes the oldest connection that the worker wants to make.
    #[must_use]
    pub fn dialled(&self) -> Option<Dialled> {
        self.world.borrow_mut().dialled.pop_front()
    }

    /// Accepts a connection that the worker dialled.
    pub fn answer(&self, connection: Connection) {
        self.answer_with(connection, true);
    }

    /// Refuses a connection that the worker dialled.
    pub fn refuse(&self, connection: Connection) {
        self.answer_with(connection, false);
    }

    fn answer_with(&self, connection: Connection, accepted: bool) {
        let mut world = self.world.borrow_mut();
        let dialler = world.pipes.get_mut(connection.0).and_then(|pipe| {
            // The number of a socket that was closed may be somebody else's by now.
            (pipe.near != NearEnd::Closed)
                .then(|| pipe.dialler.take())
                .flatten()
        });
        if let Some(socket) = dialler {
            world.arrive(socket, What::Answered { accepted });
        }
    }

    /// Sends bytes to the worker; says how many fit before it has to read some, 64 KiB in all.
    pub fn feed(&self, connection: Connection, bytes: &[u8]) -> usize {
        self.with(connection, |pipe| {
            if pipe.near == NearEnd::Closed || pipe.broken || pipe.hung_up {
                return 0;
            }
            let room = WINDOW_BYTES.saturating_sub(pipe.inward.len());
            let part = bytes.get(..room).unwrap_or(bytes);
            pipe.inward.extend(part);
            part.len()
        })
        .unwrap_or(0)
    }

    /// Ends a connection after what was fed.
    pub fn hang_up(&self, connection: Connection) {
        self.with(connection, |pipe| pipe.hung_up = true);
    }

    /// Cuts a connection; what was fed and not read is lost.
    pub fn cut(&self, connection: Connection) {
        self.with(connection, |pipe| pipe.broken = true);
    }

    /// Reads at most so many octets of what the worker wrote.
    #[must_use]
    pub fn read(&self, connection: Connection, most: usize) -> Vec<u8> {
        self.with(connection, |pipe| {
            let count = most.min(pipe.outward.len());
            pipe.outward.drain(..count).collect()
        })
        .unwrap_or_default()
    }

    /// Says how many octets the worker may write before the world reads; 64 KiB at first.
    pub fn set_window(&self, connection: Connection, bytes: usize) {
        self.with(connection, |pipe| pipe.window = bytes);
    }

    /// Octets that were fed and that the worker has not read.
    #[must_use]
    pub fn unread(&self, connection: Connection) -> usize {
        self.with(connection, |pipe| pipe.inward.len()).unwrap_or(0)
    }

    /// Whether the worker sends no more on a connection: it closed it, or its own half of it. What
    /// it wrote before can still be read.
    #[must_use]
    pub fn is_closed(&self, connection: Connection) -> bool {
        self.with(connection, |pipe| pipe.near != NearEnd::Open)
            .unwrap_or(true)
    }

    /// Whether the worker has a datagram socket or a listener there.
    #[must_use]
    pub fn is_bound(&self, local: SocketAddr) -> bool {
        let world = self.world.borrow();
        [Transport::Datagram, Transport::Listener]
            .into_iter()
            .any(|transport| world.bound.contains_key(&(transport, local)))
    }

    /// Sockets that the worker has open, connections among them.
    #[must_use]
    pub fn open_sockets(&self) -> usize {
        let world = self.world.borrow();
        world.bound.len() + world.streams.len()
    }

    fn with<T>(&self, connection: Connection, act: impl FnOnce(&mut Pipe) -> T) -> Option<T> {
        self.world.borrow_mut().pipes.get_mut(connection.0).map(act)
    }
}

/// Octets on their way in each direction of a connection.
const WINDOW_BYTES: usize = 64 * 1024;
