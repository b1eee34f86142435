//! The mmsg backend: epoll, recvmmsg and sendmmsg; TCP by readiness.
//!
//! ```text
//! wait ─▶ epoll_wait ─▶ events ─▶ receive: recvmmsg into the window's frames, accept, read
//!                                 send:    runs of one socket by sendmmsg, connections when the
//!                                          batch ends; what the kernel does not take waits in a
//!                                          queue
//! ```
//!
//! Readiness is level-triggered: what one cycle leaves is found again in the next, and the kernel
//! turns its ready list, so that no socket keeps the others waiting.

mod batch;
mod epoll;
mod pass;
mod stream;

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use crate::frame::{Frame, Pool};
use crate::limits::{RX_BATCH, SOCKETS_PER_WORKER, TX_BATCH};

use super::pipe::Pipes;
use super::slots::Slots;
use super::sys;
use super::{Backend, RxBatch, RxItem, SocketId, SocketSpec, Token, TxBatch, TxItem};

use batch::{Inbox, Outbox};
use epoll::{Epoll, Interest, Readiness};
use stream::{State, Stream};

/// Talks to the kernel with epoll, recvmmsg(2) and sendmmsg(2).
pub struct Mmsg {
    epoll: Epoll,
    slots: Slots<Slot>,
    inbox: Inbox,
    outbox: Outbox,
    /// Told with the next receive, before anything else.
    news: VecDeque<RxItem>,
    /// Listeners that found no descriptor for a connection; asked again when one may be free.
    parked: Vec<SocketId>,
    /// The last receive left something for want of a frame.
    starved: bool,
    /// Connections to be written to when the batch ends.
    touched: Vec<SocketId>,
    pipes: Pipes,
}

struct Slot {
    token: Token,
    socket: Socket,
}

enum Socket {
    Datagram {
        socket: socket2::Socket,
        /// It is tied to one far end, so that what it sends needs no address.
        tied: bool,
    },
    Listener(TcpListener),
    Stream(Box<Stream>),
}

impl Mmsg {
    /// Makes one that `bell` wakes: a descriptor that is readable when it rings.
    ///
    /// # Errors
    ///
    /// When the system has no descriptor left.
    pub fn new(bell: RawFd) -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new(bell)?,
            slots: Slots::new(SOCKETS_PER_WORKER),
            inbox: Inbox::new(),
            outbox: Outbox::new(),
            news: VecDeque::with_capacity(RX_BATCH),
            parked: Vec::new(),
            starved: false,
            touched: Vec::with_capacity(TX_BATCH),
            pipes: Pipes::new(),
        })
    }

    fn insert(&mut self, socket: Socket, token: Token, interest: Interest) -> io::Result<SocketId> {
        let fd = socket.as_raw_fd();
        let id = self
            .slots
            .insert(Slot { token, socket })
            .map_err(|_| io::Error::from(io::ErrorKind::QuotaExceeded))?;
        let generation = self.slots.generation(id);
        if let Err(error) = self.epoll.add(fd, id, generation, interest) {
            self.slots.remove(id);
            return Err(error);
        }
        Ok(id)
    }

    fn open_stream(
        &mut self,
        spec: (std::net::IpAddr, SocketAddr),
        token: Token,
    ) -> io::Result<SocketId> {
        let (local, remote) = spec;
        let socket = sys::stream_socket(local, remote)?;
        socket.set_nonblocking(true)?;
        let failed = match socket.connect(&remote.into()) {
            Ok(()) => false,
            Err(error) => error.raw_os_error() != Some(libc::EINPROGRESS),
        };
        let stream = Stream::new(TcpStream::from(socket), State::Connecting);
        let id = self.insert(Socket::Stream(Box::new(stream)), token, Interest::NONE)?;
        if failed {
            self.fail(id);
        } else {
            self.watch(id);
        }
        Ok(id)
    }

    /// Tells epoll what a connection waits for now.
    fn watch(&mut self, id: SocketId) {
        let generation = self.slots.generation(id);
        if let Some(stream) = stream_of(&mut self.slots, id)
            && let Some(interest) = stream.changed_interest()
        {
            // The socket is ours and open, so this can only fail for want of kernel memory; then
            // the connection ends.
            if self
                .epoll
                .change(stream.fd(), id, generation, interest)
                .is_err()
            {
                self.fail(id);
            }
        }
    }

    /// Ends a connection and says so once.
    fn fail(&mut self, id: SocketId) {
        let Some(slot) = self.slots.get_mut(id) else {
            return;
        };
        if let Socket::Stream(stream) = &mut slot.socket
            && stream.end()
        {
            self.epoll.remove(stream.fd());
            self.news.push_back(RxItem::Closed {
                socket: id,
                token: slot.token,
            });
        }
    }

    /// The far side ended its half of a connection; it is over if ours has ended, too.
    fn far_ended(&mut self, id: SocketId) {
        let Some(slot) = self.slots.get_mut(id) else {
            return;
        };
        let token = slot.token;
        let Socket::Stream(stream) = &mut slot.socket else {
            return;
        };
        if stream.far_ended() {
            self.news.push_back(RxItem::Ended { socket: id, token });
        } else if stream.is_over() {
            return self.fail(id);
        }
        self.watch(id);
    }

    fn take_news(&mut self, rx: &mut RxBatch, most: usize) {
        while rx.items.len() < most
            && let Some(item) = self.news.pop_front()
        {
            rx.items.push(item);
        }
    }

    fn serve(&mut self, ready: Readiness, rx: &mut RxBatch, pool: &mut Pool) {
        let id = ready.id;
        if self.slots.generation(id) != ready.generation {
            return;
        }
        let Some(slot) = self.slots.get_mut(id) else {
            return;
        };
        match &mut slot.socket {
            Socket::Datagram { socket, .. } => {
                let fd = socket.as_raw_fd();
                self.starved |= !self.inbox.receive(fd, slot.token, rx, pool);
            }
            Socket::Listener(_) => self.accept(id, rx),
            Socket::Stream(_) => self.serve_stream(ready, rx, pool),
        }
    }

    fn accept(&mut self, id: SocketId, rx: &mut RxBatch) {
        for _ in 0..ACCEPTS_PER_CYCLE {
            let Some(Slot {
                token,
                socket: Socket::Listener(listener),
            }) = self.slots.get(id)
            else {
                return;
            };
            let token = *token;
            match listener.accept() {
                Ok((stream, peer)) => {
                    if let Ok(socket) = self.accepted(stream) {
                        rx.items.push(RxItem::Accepted {
                            token,
                            socket,
                            peer,
                        });
                    }
                }
                Err(error) if is_shortage(&error) => return self.park(id),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The connection was gone before it was accepted (accept(2)).
                Err(_) => {}
            }
        }
    }

    fn accepted(&mut self, stream: TcpStream) -> io::Result<SocketId> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let stream = Stream::new(stream, State::Accepted);
        self.insert(Socket::Stream(Box::new(stream)), Token(0), Interest::NONE)
    }

    /// Leaves a listener alone until a descriptor may be free.
    fn park(&mut self, id: SocketId) {
        let generation = self.slots.generation(id);
        if let Some(slot) = self.slots.get(id) {
            let fd = slot.socket.as_raw_fd();
            if self
                .epoll
                .change(fd, id, generation, Interest::NONE)
                .is_ok()
            {
                self.parked.push(id);
            }
        }
    }

    fn unpark(&mut self) {
        while let Some(id) = self.parked.pop() {
            let generation = self.slots.generation(id);
            if let Some(slot) = self.slots.get(id) {
                let fd = slot.socket.as_raw_fd();
                // A listener that can't be watched again is tried again with the next socket closed.
                if self
                    .epoll
                    .change(fd, id, generation, Interest::READ)
                    .is_err()
                {
                    return self.parked.push(id);
                }
            }
        }
    }

    fn serve_stream(&mut self, ready: Readiness, rx: &mut RxBatch, pool: &mut Pool) {
        let id = ready.id;
        let Some(Slot {
            token,
            socket: Socket::Stream(stream),
        }) = self.slots.get_mut(id)
        else {
            return;
        };
        let (socket, token) = (id, *token);
        if ready.write || ready.broken {
            match stream.progress(pool, &mut self.pipes) {
                stream::Progress::Nothing => {}
                stream::Progress::Connected => rx.items.push(RxItem::Connected { socket, token }),
                stream::Progress::Drained => rx.items.push(RxItem::Drained { socket, token }),
                stream::Progress::Failed => return self.fail(id),
            }
            self.release_feeder(id);
        }
        if ready.read || ready.broken {
            if self.pass_on(id, rx) {
                return;
            }
            let Some(stream) = stream_of(&mut self.slots, id) else {
                return;
            };
            let bring = |frame| {
                rx.items.push(RxItem::Bytes {
                    socket,
                    token,
                    frame,
                });
            };
            match stream.read(ready.broken, pool, bring) {
                stream::Read::Nothing | stream::Read::Bytes => {}
                stream::Read::Starved => {
                    self.starved = true;
                    rx.starved += 1;
                }
                stream::Read::Ended => return self.far_ended(id),
                stream::Read::Broken => return self.fail(id),
            }
        }
        self.watch(id);
    }

    /// Queues a frame; the connection is written to when the batch ends, or when as much waits as
    /// one call writes.
    fn send_bytes(&mut self, id: SocketId, frame: Frame, pool: &mut Pool) {
        let Some(stream) = stream_of(&mut self.slots, id) else {
            return pool.give(frame);
        };
        if !stream.push(frame, pool) {
            return self.fail(id);
        }
        if stream.fills_a_write() {
            self.write_now(id, pool);
        } else if !stream.is_touched {
            stream.is_touched = true;
            self.touched.push(id);
        }
    }

    fn write_touched(&mut self, pool: &mut Pool) {
        while let Some(id) = self.touched.pop() {
            if let Some(stream) = stream_of(&mut self.slots, id) {
                stream.is_touched = false;
                self.write_now(id, pool);
            }
        }
    }

    fn write_now(&mut self, id: SocketId, pool: &mut Pool) {
        let Some(Slot {
            token,
            socket: Socket::Stream(stream),
        }) = self.slots.get_mut(id)
        else {
            return;
        };
        if !stream.can_write() {
            return self.watch(id);
        }
        let (socket, token) = (id, *token);
        match stream.progress(pool, &mut self.pipes) {
            stream::Progress::Failed => self.fail(id),
            stream::Progress::Drained => {
                self.news.push_back(RxItem::Drained { socket, token });
                self.watch(id);
            }
            stream::Progress::Nothing | stream::Progress::Connected => self.watch(id),
        }
        self.release_feeder(id);
    }
}

impl Backend for Mmsg {
    fn open(&mut self, spec: &SocketSpec, token: Token) -> io::Result<(SocketId, SocketAddr)> {
        match *spec {
            SocketSpec::Datagram { local } => {
                let socket = sys::datagram_socket(local)?;
                socket.set_nonblocking(true)?;
                let bound = sys::ip_address(&socket.local_addr()?)?;
                let socket = Socket::Datagram {
                    socket,
                    tied: false,
                };
                Ok((self.insert(socket, token, Interest::READ)?, bound))
            }
            SocketSpec::Listen { local } => {
                let socket = sys::listener(local)?;
                socket.set_nonblocking(true)?;
                let bound = sys::ip_address(&socket.local_addr()?)?;
                let socket = Socket::Listener(TcpListener::from(socket));
                Ok((self.insert(socket, token, Interest::READ)?, bound))
            }
            SocketSpec::Connect { local, remote } => {
                let id = self.open_stream((local, remote), token)?;
                Ok((id, SocketAddr::new(local, 0)))
            }
        }
    }

    fn adopt(&mut self, socket: SocketId, token: Token) {
        self.set_token(socket, token);
        if let Some(stream) = stream_of(&mut self.slots, socket) {
            stream.adopt();
            self.watch(socket);
        }
    }

    fn set_token(&mut self, socket: SocketId, token: Token) {
        if let Some(slot) = self.slots.get_mut(socket) {
            slot.token = token;
        }
    }

    fn shutdown(&mut self, socket: SocketId) {
        let Some(slot) = self.slots.get_mut(socket) else {
            return;
        };
        let token = slot.token;
        let Socket::Stream(stream) = &mut slot.socket else {
            return;
        };
        let is_there = stream.shutdown();
        let is_over = stream.is_over();
        if is_there && !is_over {
            return self.watch(socket);
        }
        self.news.retain(|item| item.socket() != Some(socket));
        if is_over {
            self.fail(socket);
        } else {
            self.news.push_back(RxItem::Closed { socket, token });
        }
    }

    fn close(&mut self, socket: SocketId, pool: &mut Pool) {
        let Some(slot) = self.slots.remove(socket) else {
            return;
        };
        if let Socket::Stream(mut stream) = slot.socket {
            stream.discard(pool, &mut self.pipes);
            self.release(stream.passage.from);
        }
        self.news.retain(|item| item.socket() != Some(socket));
        self.parked.retain(|id| *id != socket);
        self.unpark();
    }

    fn pass(&mut self, from: SocketId, to: SocketId) {
        self.let_pass(from, to);
    }

    fn pause(&mut self, socket: SocketId) {
        if let Some(stream) = stream_of(&mut self.slots, socket) {
            stream.paused = true;
            self.watch(socket);
        }
    }

    fn resume(&mut self, socket: SocketId) {
        if let Some(stream) = stream_of(&mut self.slots, socket) {
            stream.paused = false;
            self.watch(socket);
        }
    }

    fn queued(&self, socket: SocketId) -> usize {
        match self.slots.get(socket) {
            Some(Slot {
                socket: Socket::Stream(stream),
                ..
            }) => stream.queued(),
            _ => 0,
        }
    }

    fn tie(&mut self, socket: SocketId, far: Option<SocketAddr>) {
        if let Some(Slot {
            socket: Socket::Datagram { socket, tied },
            ..
        }) = self.slots.get_mut(socket)
        {
            *tied = sys::tie(socket, far);
        }
    }

    fn receive(&mut self, rx: &mut RxBatch, pool: &mut Pool) -> usize {
        self.slots.recycle();
        self.starved = false;
        let before = rx.items.len();
        let most = before + RX_BATCH;
        self.take_news(rx, most);
        if !self.epoll.has_events() {
            // An error here is an interrupted call: nothing was found.
            let _ = self.epoll.poll(Duration::ZERO);
        }
        while rx.items.len() + ITEMS_PER_EVENT <= most
            && let Some(ready) = self.epoll.next()
        {
            self.serve(ready, rx, pool);
        }
        self.take_news(rx, most);
        rx.items.len() - before
    }

    fn send(&mut self, tx: &mut TxBatch, pool: &mut Pool) -> usize {
        let count = tx.items.len();
        for item in tx.items.drain(..) {
            match item {
                TxItem::Datagram { socket, to, frame } => {
                    let Some(Slot {
                        socket: Socket::Datagram { socket: udp, tied },
                        ..
                    }) = self.slots.get(socket)
                    else {
                        tx.failed += 1;
                        pool.give(frame);
                        continue;
                    };
                    if !self.outbox.fits(udp.as_raw_fd()) {
                        tx.failed += self.outbox.flush(pool);
                    }
                    self.outbox
                        .push(udp.as_raw_fd(), (!tied).then_some(to), frame);
                }
                TxItem::Bytes { socket, frame } => self.send_bytes(socket, frame, pool),
            }
        }
        tx.failed += self.outbox.flush(pool);
        self.write_touched(pool);
        count
    }

    fn wait(&mut self, at_most: Duration) -> io::Result<()> {
        if !self.news.is_empty() || self.epoll.has_events() {
            return Ok(());
        }
        if self.starved {
            // What waits for a frame stays ready: sleeping on it would not be sleep.
            return self.epoll.wait_for_bell(at_most.min(STARVED_PAUSE));
        }
        self.epoll.poll(at_most)?;
        if !self.epoll.has_events() {
            self.unpark();
        }
        Ok(())
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Datagram { socket, .. } => socket.as_raw_fd(),
            Self::Listener(socket) => socket.as_raw_fd(),
            Self::Stream(stream) => stream.fd(),
        }
    }
}

fn stream_of(slots: &mut Slots<Slot>, id: SocketId) -> Option<&mut Stream> {
    match slots.get_mut(id) {
        Some(Slot {
            socket: Socket::Stream(stream),
            ..
        }) => Some(stream),
        _ => None,
    }
}

/// Whether the system, not the connection, is why none could be accepted.
fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// Connections accepted from one listener in one cycle.
const ACCEPTS_PER_CYCLE: usize = 32;
/// Items that one event may become: a full inbox, or as many connections.
const ITEMS_PER_EVENT: usize = batch::BATCH;
const _: () = assert!(ACCEPTS_PER_CYCLE <= ITEMS_PER_EVENT && ITEMS_PER_EVENT < RX_BATCH);
/// How long to leave ready sockets alone when no frame is free for them.
const STARVED_PAUSE: Duration = Duration::from_millis(1);
