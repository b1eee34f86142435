//! The sim backend: sockets in memory, for the simulated world.
//!
//! ```text
//! world: SimHandle ── datagram, dial, feed, hang_up ─▶ arrivals ── receive ─▶ worker
//!        SimHandle ◀─ sent, dialled, read ──────────── sent ◀──── send, open ── worker
//! ```
//!
//! Both ends live on one thread and nothing here waits, draws lots or asks the time: what a test
//! sees follows from the order of its calls alone.

mod handle;
mod stream;
#[cfg(test)]
mod tests;

pub use handle::{Connection, Dialled, Sent, SimHandle};

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::frame::{Class, Pool};
use crate::limits::{DATAGRAM_FRAME_BYTES, DATAGRAM_HEADROOM_BYTES, RX_BATCH, SOCKETS_PER_WORKER};

use super::slots::Slots;
use super::{Backend, RxBatch, RxItem, SocketId, SocketSpec, Token, TxBatch, TxItem};

use handle::{NearEnd, Pipe};
use stream::{State, Stream};

/// Sockets in memory; the world has the other end, a [`SimHandle`].
pub struct Sim {
    world: Rc<RefCell<World>>,
}

/// What the worker's end and the world's end share.
struct World {
    slots: Slots<Slot>,
    /// Who has which address, by what can't be bound twice.
    bound: BTreeMap<(Transport, SocketAddr), SocketId>,
    /// Connections, those that ended too: the world may still read them.
    pipes: Vec<Pipe>,
    /// The worker's ends of connections, in the order they are served.
    streams: Vec<SocketId>,
    arrivals: VecDeque<Arrival>,
    sent: VecDeque<Sent>,
    dialled: VecDeque<Dialled>,
    news: VecDeque<RxItem>,
    next_port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Transport {
    Datagram,
    Listener,
}

struct Slot {
    token: Token,
    socket: Socket,
}

enum Socket {
    Bound(Transport, SocketAddr),
    Stream(Box<Stream>),
}

/// What the world did that the worker has not received.
struct Arrival {
    to: SocketId,
    generation: u32,
    what: What,
}

enum What {
    Datagram { from: SocketAddr, bytes: Vec<u8> },
    Dial(Connection),
    Answered { accepted: bool },
}

impl Sim {
    /// Makes both ends.
    #[must_use]
    pub fn new() -> (Self, SimHandle) {
        let world = Rc::new(RefCell::new(World {
            slots: Slots::new(SOCKETS_PER_WORKER),
            bound: BTreeMap::new(),
            pipes: Vec::new(),
            streams: Vec::new(),
            arrivals: VecDeque::new(),
            sent: VecDeque::new(),
            dialled: VecDeque::new(),
            news: VecDeque::new(),
            next_port: FIRST_EPHEMERAL_PORT,
        }));
        let handle = SimHandle::new(Rc::clone(&world));
        (Self { world }, handle)
    }
}

impl World {
    /// Binds an address, with a port that is free where it has none.
    fn bind(&mut self, transport: Transport, local: SocketAddr) -> io::Result<SocketAddr> {
        let mut address = local;
        if local.port() == 0 {
            for _ in 0..=u16::MAX - FIRST_EPHEMERAL_PORT {
                address.set_port(self.next_port);
                self.next_port = self
                    .next_port
                    .checked_add(1)
                    .unwrap_or(FIRST_EPHEMERAL_PORT);
                if !self.bound.contains_key(&(transport, address)) {
                    break;
                }
            }
        }
        if self.bound.contains_key(&(transport, address)) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok(address)
    }

    fn insert(&mut self, socket: Socket, token: Token) -> io::Result<SocketId> {
        let bound = match &socket {
            Socket::Bound(transport, local) => Some((*transport, *local)),
            Socket::Stream(_) => None,
        };
        let id = self
            .slots
            .insert(Slot { token, socket })
            .map_err(|_| io::Error::from(io::ErrorKind::QuotaExceeded))?;
        match bound {
            Some(key) => {
                self.bound.insert(key, id);
            }
            None => self.streams.push(id),
        }
        Ok(id)
    }

    fn stream_mut(&mut self, id: SocketId) -> Option<(&mut Stream, &mut Pipe, Token)> {
        let slot = self.slots.get_mut(id)?;
        match &mut slot.socket {
            Socket::Stream(stream) => {
                let pipe = self.pipes.get_mut(stream.connection.0)?;
                Some((stream, pipe, slot.token))
            }
            Socket::Bound(..) => None,
        }
    }

    fn arrive(&mut self, to: SocketId, what: What) {
        let generation = self.slots.generation(to);
        self.arrivals.push_back(Arrival {
            to,
            generation,
            what,
        });
    }

    /// Ends a connection and says so once.
    fn fail(&mut self, id: SocketId) {
        if let Some((stream, _, token)) = self.stream_mut(id)
            && stream.end()
        {
            self.news.push_back(RxItem::Closed { socket: id, token });
        }
    }

    fn take_news(&mut self, rx: &mut RxBatch, most: usize) {
        while rx.items.len() < most
            && let Some(item) = self.news.pop_front()
        {
            rx.items.push(item);
        }
    }

    /// Hands on what arrived, until the batch is full or no frame is free.
    fn take_arrivals(&mut self, rx: &mut RxBatch, most: usize, pool: &mut Pool) {
        while rx.items.len() < most
            && let Some(arrival) = self.arrivals.pop_front()
        {
            if self.slots.generation(arrival.to) != arrival.generation {
                self.turn_away(&arrival.what);
                continue;
            }
            let Some(token) = self.slots.get(arrival.to).map(|slot| slot.token) else {
                continue;
            };
            match arrival.what {
                What::Datagram { ref bytes, .. } if bytes.len() > DATAGRAM_ROOM_BYTES => {
                    rx.truncated += 1;
                }
                What::Datagram { from, ref bytes } => {
                    let Some(mut frame) = pool.take(Class::Datagram) else {
                        rx.starved += 1;
                        return self.arrivals.push_front(arrival);
                    };
                    pool.append(&mut frame, bytes);
                    rx.items.push(RxItem::Datagram {
                        token,
                        from,
                        frame,
                        waited: Duration::ZERO,
                    });
                }
                What::Dial(connection) => self.accept(token, connection, rx),
                What::Answered { accepted } => self.answered((arrival.to, token), accepted, rx),
            }
        }
    }

    /// Nobody listens any more where this was to arrive.
    fn turn_away(&mut self, what: &What) {
        if let What::Dial(connection) = what
            && let Some(pipe) = self.pipes.get_mut(connection.0)
        {
            pipe.near = NearEnd::Closed;
        }
    }

    fn accept(&mut self, token: Token, connection: Connection, rx: &mut RxBatch) {
        let Some(peer) = self.pipes.get(connection.0).map(|pipe| pipe.far) else {
            return;
        };
        let stream = Box::new(Stream::new(connection, State::Accepted));
        match self.insert(Socket::Stream(stream), Token(0)) {
            Ok(socket) => rx.items.push(RxItem::Accepted {
                token,
                socket,
                peer,
            }),
            Err(_) => self.turn_away(&What::Dial(connection)),
        }
    }

    fn answered(&mut self, (socket, token): (SocketId, Token), accepted: bool, rx: &mut RxBatch) {
        if !accepted {
            return self.fail(socket);
        }
        if let Some((stream, ..)) = self.stream_mut(socket)
            && stream.state == State::Connecting
        {
            stream.state = State::Open;
            rx.items.push(RxItem::Connected { socket, token });
        }
    }

    /// Serves each connection once: what waits is written, one frame is read.
    fn take_streams(&mut self, rx: &mut RxBatch, most: usize, pool: &mut Pool) {
        for _ in 0..self.streams.len() {
            // Room for a `Drained` and a `Bytes`.
            if rx.items.len() + 2 > most {
                return;
            }
            self.streams.rotate_left(1);
            let Some(&socket) = self.streams.last() else {
                return;
            };
            let Some((stream, pipe, token)) = self.stream_mut(socket) else {
                continue;
            };
            if stream.flush(pipe, pool) {
                rx.items.push(RxItem::Drained { socket, token });
            }
            match stream.read(pipe, pool) {
                stream::Read::Nothing => {}
                stream::Read::Starved => rx.starved += 1,
                stream::Read::Bytes(frame) => rx.items.push(RxItem::Bytes {
                    socket,
                    token,
                    frame,
                }),
                stream::Read::Ended => {
                    if stream.far_ended() {
                        self.news.push_back(RxItem::Ended { socket, token });
                    } else if stream.is_over() {
                        self.fail(socket);
                    }
                }
                stream::Read::Broken => self.fail(socket),
            }
        }
    }
}

impl Backend for Sim {
    fn open(&mut self, spec: &SocketSpec, token: Token) -> io::Result<(SocketId, SocketAddr)> {
        let mut world = self.world.borrow_mut();
        let (transport, local) = match *spec {
            SocketSpec::Datagram { local } => (Transport::Datagram, local),
            SocketSpec::Listen { local } => (Transport::Listener, local),
            SocketSpec::Connect { local, remote } => {
                let near = SocketAddr::new(local, 0);
                let connection = Connection(world.pipes.len());
                world.pipes.push(Pipe::new(remote));
                let stream = Box::new(Stream::new(connection, State::Connecting));
                let socket = world.insert(Socket::Stream(stream), token)?;
                world.dialled.push_back(Dialled {
                    connection,
                    local,
                    remote,
                });
                if let Some(pipe) = world.pipes.get_mut(connection.0) {
                    pipe.dialler = Some(socket);
                }
                return Ok((socket, near));
            }
        };
        let bound = world.bind(transport, local)?;
        let socket = world.insert(Socket::Bound(transport, bound), token)?;
        Ok((socket, bound))
    }

    fn adopt(&mut self, socket: SocketId, token: Token) {
        self.set_token(socket, token);
        if let Some((stream, ..)) = self.world.borrow_mut().stream_mut(socket) {
            stream.adopt();
        }
    }

    fn set_token(&mut self, socket: SocketId, token: Token) {
        if let Some(slot) = self.world.borrow_mut().slots.get_mut(socket) {
            slot.token = token;
        }
    }

    fn shutdown(&mut self, socket: SocketId) {
        let mut world = self.world.borrow_mut();
        if let Some((stream, pipe, token)) = world.stream_mut(socket)
            && !stream.shutdown(pipe)
        {
            world.news.retain(|item| item.socket() != Some(socket));
            world.news.push_back(RxItem::Closed { socket, token });
        }
    }

    fn close(&mut self, socket: SocketId, pool: &mut Pool) {
        let mut world = self.world.borrow_mut();
        let Some(slot) = world.slots.remove(socket) else {
            return;
        };
        match slot.socket {
            Socket::Bound(transport, local) => {
                world.bound.remove(&(transport, local));
            }
            Socket::Stream(mut stream) => {
                stream.queue.clear(pool);
                world.turn_away(&What::Dial(stream.connection));
                world.streams.retain(|id| *id != socket);
            }
        }
        world.news.retain(|item| item.socket() != Some(socket));
    }

    fn pause(&mut self, socket: SocketId) {
        if let Some((stream, ..)) = self.world.borrow_mut().stream_mut(socket) {
            stream.paused = true;
        }
    }

    fn resume(&mut self, socket: SocketId) {
        if let Some((stream, ..)) = self.world.borrow_mut().stream_mut(socket) {
            stream.paused = false;
        }
    }

    fn queued(&self, socket: SocketId) -> usize {
        match self.world.borrow().slots.get(socket) {
            Some(Slot {
                socket: Socket::Stream(stream),
                ..
            }) => stream.queue.bytes(),
            _ => 0,
        }
    }

    fn tie(&mut self, _: SocketId, _: Option<SocketAddr>) {}

    fn receive(&mut self, rx: &mut RxBatch, pool: &mut Pool) -> usize {
        let mut world = self.world.borrow_mut();
        world.slots.recycle();
        let before = rx.items.len();
        let most = before + RX_BATCH;
        world.take_news(rx, most);
        world.take_arrivals(rx, most, pool);
        world.take_streams(rx, most, pool);
        world.take_news(rx, most);
        rx.items.len() - before
    }

    fn send(&mut self, tx: &mut TxBatch, pool: &mut Pool) -> usize {
        let mut world = self.world.borrow_mut();
        let count = tx.items.len();
        for item in tx.items.drain(..) {
            match item {
                TxItem::Datagram { socket, to, frame } => {
                    match world.slots.get(socket).map(|slot| &slot.socket) {
                        Some(Socket::Bound(Transport::Datagram, from)) => {
                            let sent = Sent {
                                from: *from,
                                to,
                                bytes: pool.bytes(&frame).to_vec(),
                            };
                            world.sent.push_back(sent);
                        }
                        _ => tx.failed += 1,
                    }
                    pool.give(frame);
                }
                TxItem::Bytes { socket, frame } => match world.stream_mut(socket) {
                    None => pool.give(frame),
                    Some((stream, pipe, _)) => {
                        if !stream.write(pipe, frame, pool) {
                            world.fail(socket);
                        }
                    }
                },
            }
        }
        count
    }

    /// Returns at once: in a simulated world time is moved by whoever owns it.
    fn wait(&mut self, _: Duration) -> io::Result<()> {
        Ok(())
    }
}

/// The longest datagram that fits a frame.
const DATAGRAM_ROOM_BYTES: usize = DATAGRAM_FRAME_BYTES - DATAGRAM_HEADROOM_BYTES;
/// First port that is given to a socket which asks for none (RFC 6335 §6).
const FIRST_EPHEMERAL_PORT: u16 = 49_152;
