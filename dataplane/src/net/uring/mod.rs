//! The uring backend: io_uring with multishot receive into provided buffers and registered files.
//!
//! ```text
//! receive: refill buffers ─▶ arm sockets ─▶ enter ─▶ reap ─▶ serve ─▶ read the busy ─▶ items
//! send:    datagrams: one operation each, one call for all, done when it returns
//!          connections: one write of several frames in flight each, the rest waits in a queue
//! wait:    arm ─▶ enter, until a completion (the bell's is one) or the time is up
//! ```
//!
//! A socket that needs to be armed is put in a list and armed in the next cycle, so a connection
//! gives one frame a cycle, or a few when it is busy, and a pause between two cycles is exact.

mod buffers;
mod gather;
mod outbox;
mod pass;
mod ring;
mod serve;
mod stream;

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use socket2::Socket;

use crate::frame::{Class, Pool};
use crate::limits::{DATAGRAM_HEADROOM_BYTES, RX_BATCH, TX_BATCH};

use super::pipe::Pipes;
use super::slots::Slots;
use super::sys;
use super::{Backend, RxBatch, RxItem, SocketId, SocketSpec, Token, TxBatch, TxItem};

use buffers::Buffers;
use outbox::Outbox;
use ring::{Completion, Op, Owner, Ring};
use stream::{State, Stream};

/// Talks to the kernel with io_uring(7); needs Linux 6.1.
pub struct Uring {
    ring: Ring,
    slots: Slots<Slot>,
    datagrams: Buffers,
    streams: Buffers,
    /// Reaped and not served yet.
    ready: VecDeque<Completion>,
    /// Told with the next receive, before anything else.
    news: VecDeque<RxItem>,
    /// Sockets to be armed in the next cycle.
    arm: VecDeque<Owner>,
    /// Listeners that found no descriptor for a connection; asked again when one may be free.
    parked: Vec<SocketId>,
    outbox: Outbox,
    /// Connections to be written to when the batch ends.
    touched: Vec<SocketId>,
    /// Connections that are read without the ring, as long as much comes.
    busy: VecDeque<Owner>,
    pipes: Pipes,
    bell: RawFd,
    bell_watched: bool,
    /// The clock of stamps, read once for all that a receive brings.
    stamp_now: Option<Duration>,
}

struct Slot {
    socket: Socket,
    token: Token,
    kind: Kind,
    /// Operations that the kernel has not completed.
    in_flight: u8,
    /// It is armed to receive, accept or read, or what came of that is not served yet.
    receiving: bool,
    /// It is in the list of those to be armed.
    to_arm: bool,
}

enum Kind {
    Datagram {
        /// It is tied to one far end, so that what it sends needs no address.
        tied: bool,
        /// What comes lies there until it is collected.
        gathers: bool,
    },
    Listener,
    Stream(Box<Stream>),
}

impl Uring {
    /// Makes one for the calling thread, which `bell` wakes: a descriptor that is readable when it
    /// rings. It lends frames of `pool` to the kernel, so that same pool has to be given to every
    /// later call and to outlive the last one. It can have as many sockets open as the process may
    /// have descriptors now; see [`sys::raise_descriptor_limit`].
    ///
    /// # Errors
    ///
    /// What the kernel said; see [`Uring::probe`].
    pub fn new(bell: RawFd, pool: &mut Pool) -> io::Result<Self> {
        let ring = Ring::new()?;
        let lead = DATAGRAM_HEADROOM_BYTES - serve::HEADER_BYTES;
        let mut datagrams = Buffers::new(&ring, 0, (Class::Datagram, lead), pool)?;
        let mut streams = Buffers::new(&ring, 1, (Class::Stream, 0), pool)?;
        datagrams.refill(pool);
        streams.refill(pool);
        Ok(Self {
            slots: Slots::new(ring.files()),
            ring,
            datagrams,
            streams,
            ready: VecDeque::with_capacity(2 * RX_BATCH),
            news: VecDeque::with_capacity(RX_BATCH),
            arm: VecDeque::with_capacity(RX_BATCH),
            parked: Vec::new(),
            outbox: Outbox::default(),
            touched: Vec::with_capacity(TX_BATCH),
            busy: VecDeque::with_capacity(RX_BATCH),
            pipes: Pipes::new(),
            bell,
            bell_watched: false,
            stamp_now: None,
        })
    }

    /// Says whether this kernel has what is needed and lets us use it.
    ///
    /// # Errors
    ///
    /// What the kernel said: too old, forbidden, or no memory may be locked.
    pub fn probe() -> io::Result<()> {
        let ring = Ring::new()?;
        let pool = Pool::new(crate::frame::PoolSize {
            datagrams: 2,
            streams: 2,
        });
        let buffers = Buffers::new(&ring, 0, (Class::Datagram, 0), &pool)?;
        ring.unregister_buffers(buffers.group());
        Ok(())
    }

    fn insert(&mut self, socket: Socket, kind: Kind, token: Token) -> io::Result<SocketId> {
        let fd = socket.as_raw_fd();
        let slot = Slot {
            socket,
            token,
            kind,
            in_flight: 0,
            receiving: false,
            to_arm: false,
        };
        let id = self
            .slots
            .insert(slot)
            .map_err(|_| io::Error::from(io::ErrorKind::QuotaExceeded))?;
        if let Err(error) = self.ring.set_file(id, fd) {
            self.slots.remove(id);
            return Err(error);
        }
        Ok(id)
    }

    fn owner(&self, id: SocketId) -> Owner {
        Owner::new(id, self.slots.generation(id))
    }

    fn is_current(&self, owner: Owner) -> bool {
        self.owner(owner.id) == owner
    }

    fn stream_mut(&mut self, id: SocketId) -> Option<&mut Stream> {
        match &mut self.slots.get_mut(id)?.kind {
            Kind::Stream(stream) => Some(stream),
            Kind::Datagram { .. } | Kind::Listener => None,
        }
    }

    /// Has a socket armed in the next cycle, unless it is armed or is not to be read. A busy
    /// connection is read in the next cycle instead.
    fn arm_later(&mut self, id: SocketId) {
        let owner = self.owner(id);
        if let Some(slot) = self.slots.get_mut(id)
            && !slot.kind.gathers()
            && !slot.receiving
            && !slot.to_arm
        {
            slot.to_arm = true;
            match &slot.kind {
                Kind::Stream(stream) if stream.passage.is_busy => self.busy.push_back(owner),
                Kind::Stream(_) | Kind::Datagram { .. } | Kind::Listener => {
                    self.arm.push_back(owner);
                }
            }
        }
    }

    /// Arms the sockets of the list, as far as the kernel has frames for them.
    fn arm_listed(&mut self) {
        for _ in 0..self.arm.len().min(ARMED_PER_CYCLE) {
            let Some(owner) = self.arm.pop_front() else {
                return;
            };
            if self.is_current(owner) && self.arm_one(owner).is_err() {
                self.arm.push_back(owner);
            }
        }
    }

    /// Arms one socket; an error when it has to wait for a frame or for the ring.
    fn arm_one(&mut self, owner: Owner) -> io::Result<()> {
        let Some(slot) = self.slots.get_mut(owner.id) else {
            return Ok(());
        };
        match &slot.kind {
            Kind::Datagram { .. } if self.datagrams.is_empty() => {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Kind::Datagram { gathers: true, .. } => {
                self.ring.collect(owner, self.datagrams.group())?;
            }
            Kind::Datagram { .. } => self.ring.receive(owner, self.datagrams.group())?,
            Kind::Listener => self.ring.accept(owner)?,
            Kind::Stream(stream) if !stream.is_read() => {
                slot.to_arm = false;
                return Ok(());
            }
            Kind::Stream(_) if self.streams.is_empty() => {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Kind::Stream(stream) => {
                self.ring
                    .read(owner, self.streams.group(), !stream.unread)?;
            }
        }
        slot.to_arm = false;
        slot.receiving = true;
        slot.in_flight += 1;
        Ok(())
    }

    /// Gives the kernel the front of a connection's queue, unless it has something of it.
    fn write_on(&mut self, id: SocketId, pool: &Pool) {
        let owner = self.owner(id);
        let Some(slot) = self.slots.get_mut(id) else {
            return;
        };
        if let Kind::Stream(stream) = &mut slot.kind
            && stream.can_write()
        {
            stream.gather(pool);
            if self.ring.write(owner, &mut stream.pieces).is_ok() {
                stream.queue.lend_fronts();
                slot.in_flight += 1;
            } else {
                self.fail(id);
            }
        }
    }

    /// Ends a connection's writing half, if that is wanted and nothing waits to be written.
    fn end_outlet(&mut self, id: SocketId) {
        if let Some(slot) = self.slots.get_mut(id)
            && let Kind::Stream(stream) = &mut slot.kind
            && matches!(stream.state, State::Open | State::HalfClosed)
            && stream.outlet.ends_now(stream.is_written())
        {
            // A connection that broke can't be ended; reading it says so.
            let _ = slot.socket.shutdown(Shutdown::Write);
            if stream.state == State::HalfClosed {
                self.fail(id);
            }
        }
    }

    /// Ends a connection and says so once. Its queue is left to the close: the kernel may read it.
    fn fail(&mut self, id: SocketId) {
        if let Some(slot) = self.slots.get_mut(id)
            && let Kind::Stream(stream) = &mut slot.kind
            && stream.state != State::Ended
        {
            stream.state = State::Ended;
            self.news.push_back(RxItem::Closed {
                socket: id,
                token: slot.token,
            });
        }
    }

    /// Takes what has completed from the ring, as long as fewer than `most` wait to be served.
    fn reap(&mut self, most: usize) {
        while self.ready.len() < most
            && let Some(completion) = self.ring.next()
        {
            match completion.op {
                Op::Bell => self.bell_watched = false,
                Op::Send => self.outbox.failed += 1,
                Op::Cancel => {}
                Op::Receive
                | Op::Collect
                | Op::Accept
                | Op::Read
                | Op::Connect
                | Op::Write
                | Op::Writable => {
                    if !completion.more()
                        && self.is_current(completion.owner)
                        && let Some(slot) = self.slots.get_mut(completion.owner.id)
                    {
                        slot.in_flight = slot.in_flight.saturating_sub(1);
                    }
                    self.ready.push_back(completion);
                }
            }
        }
    }

    /// Cancels what a socket has in flight and waits until the kernel let go of all of it. What
    /// completes of other sockets meanwhile is kept.
    fn cancel_all(&mut self, id: SocketId) {
        let owner = self.owner(id);
        for _ in 0..CANCEL_ROUNDS {
            let Some(slot) = self.slots.get(id) else {
                return;
            };
            if slot.in_flight == 0 {
                return;
            }
            let ops: &[Op] = match slot.kind {
                Kind::Datagram { .. } => &[Op::Receive],
                Kind::Listener => &[Op::Accept],
                Kind::Stream(_) => &[Op::Read, Op::Write, Op::Connect, Op::Writable],
            };
            for op in ops {
                // What can't be pushed now is pushed in the next round.
                let _ = self.ring.cancel(owner, *op);
            }
            if self.ring.wait(CANCEL_PAUSE).is_err() {
                return;
            }
            self.reap(usize::MAX);
        }
    }

    fn unpark(&mut self) {
        while let Some(id) = self.parked.pop() {
            self.arm_later(id);
        }
    }
}

impl Backend for Uring {
    fn open(&mut self, spec: &SocketSpec, token: Token) -> io::Result<(SocketId, SocketAddr)> {
        let (socket, kind) = match *spec {
            SocketSpec::Datagram { local } => (sys::datagram_socket(local)?, Kind::DATAGRAM),
            SocketSpec::Listen { local } => (sys::listener(local)?, Kind::Listener),
            SocketSpec::Connect { local, remote } => {
                let socket = sys::stream_socket(local, remote)?;
                let stream = Box::new(Stream::new(State::Connecting));
                let id = self.insert(socket, Kind::Stream(stream), token)?;
                self.connect(id, remote);
                return Ok((id, SocketAddr::new(local, 0)));
            }
        };
        let bound = sys::ip_address(&socket.local_addr()?)?;
        let id = self.insert(socket, kind, token)?;
        self.arm_later(id);
        Ok((id, bound))
    }

    fn adopt(&mut self, socket: SocketId, token: Token) {
        self.set_token(socket, token);
        if let Some(stream) = self.stream_mut(socket)
            && stream.state == State::Accepted
        {
            stream.state = State::Open;
            self.arm_later(socket);
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
        let Kind::Stream(stream) = &mut slot.kind else {
            return;
        };
        stream.paused = false;
        stream.passage.end();
        stream.outlet.end();
        let state = stream.state;
        if matches!(state, State::HalfClosed | State::Ended) {
            self.news.retain(|item| item.socket() != Some(socket));
        }
        if state == State::Ended {
            self.news.push_back(RxItem::Closed { socket, token });
        } else {
            self.adopt(socket, token);
            self.arm_later(socket);
            self.end_outlet(socket);
        }
    }

    fn close(&mut self, socket: SocketId, pool: &mut Pool) {
        self.cancel_all(socket);
        let Some(slot) = self.slots.remove(socket) else {
            return;
        };
        // The place was filled with the socket's opening, so clearing it can't fail.
        let _ = self.ring.set_file(socket, -1);
        if let Kind::Stream(mut stream) = slot.kind {
            stream.queue.clear(pool);
            self.forget_passage(&mut stream.passage);
        }
        drop(slot.socket);
        self.news.retain(|item| item.socket() != Some(socket));
        self.parked.retain(|id| *id != socket);
        self.unpark();
    }

    fn pass(&mut self, from: SocketId, to: SocketId) {
        self.let_pass(from, to);
    }

    fn pause(&mut self, socket: SocketId) {
        if let Some(stream) = self.stream_mut(socket) {
            stream.paused = true;
        }
    }

    fn resume(&mut self, socket: SocketId) {
        if let Some(stream) = self.stream_mut(socket) {
            stream.paused = false;
            self.arm_later(socket);
        }
    }

    fn queued(&self, socket: SocketId) -> usize {
        match self.slots.get(socket).map(|slot| &slot.kind) {
            Some(Kind::Stream(stream)) => stream.queue.bytes() + stream.passage.waiting(),
            _ => 0,
        }
    }

    fn tie(&mut self, socket: SocketId, far: Option<SocketAddr>) {
        if let Some(Slot {
            socket,
            kind: Kind::Datagram { tied, .. },
            ..
        }) = self.slots.get_mut(socket)
        {
            *tied = sys::tie(socket, far);
        }
    }

    fn gather(&mut self, socket: SocketId, on: bool) {
        self.let_gather(socket, on);
    }

    fn collect(&mut self, socket: SocketId) {
        self.look_into(socket);
    }

    fn receive(&mut self, rx: &mut RxBatch, pool: &mut Pool) -> usize {
        self.stamp_now = None;
        self.slots.recycle();
        let before = rx.items.len();
        let most = before + RX_BATCH;
        // Those that become busy now have given frames that their owner has yet to write.
        let busy = self.busy.len();
        self.take_news(rx, most);
        self.datagrams.refill(pool);
        self.streams.refill(pool);
        self.arm_listed();
        // What is not armed for want of a frame can't say whether something waits for it.
        let famine = self.datagrams.is_empty() || self.streams.is_empty();
        rx.starved += u64::from(famine && !self.arm.is_empty());
        for _ in 0..ROUNDS_PER_CYCLE {
            // A call that fails brings nothing; `wait` makes the same call and says why.
            let entered = self.ring.has_work() && self.ring.submit().is_ok();
            self.reap(RX_BATCH);
            let served = self.serve_ready(rx, most, pool);
            if rx.items.len() >= most || (!entered && served == 0) {
                break;
            }
            self.datagrams.refill(pool);
        }
        self.read_busy(busy, (rx, most), pool);
        self.take_news(rx, most);
        rx.items.len() - before
    }

    fn send(&mut self, tx: &mut TxBatch, pool: &mut Pool) -> usize {
        let count = tx.items.len();
        for item in tx.items.drain(..) {
            match item {
                TxItem::Datagram { socket, to, frame } => {
                    self.send_datagram((socket, to, frame), pool);
                }
                TxItem::Bytes { socket, frame } => self.send_bytes(socket, frame, pool),
            }
        }
        self.write_touched(pool);
        self.send_pushed(pool);
        tx.failed += std::mem::take(&mut self.outbox.failed);
        count
    }

    fn wait(&mut self, at_most: Duration) -> io::Result<()> {
        if !self.ready.is_empty() || !self.news.is_empty() || !self.busy.is_empty() {
            return Ok(());
        }
        self.arm_listed();
        if !self.bell_watched {
            self.ring.watch_bell(self.bell)?;
            self.bell_watched = true;
        }
        // What could not be armed waits for a frame, of which nothing will tell.
        let starved = !self.arm.is_empty();
        let at_most = if starved {
            at_most.min(STARVED_PAUSE)
        } else {
            at_most
        };
        if self.ring.wait(at_most)? {
            self.unpark();
        }
        Ok(())
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // The kernel fills frames in calls of ours only (IORING_SETUP_DEFER_TASKRUN), and this is
        // the last but one: from here on it has no frame to fill.
        self.ring.unregister_buffers(self.datagrams.group());
        self.ring.unregister_buffers(self.streams.group());
        // Else the kernel lets go of the sockets some time after the ring is gone, and whoever
        // takes this worker's place finds its ports taken.
        self.ring.forget_files();
    }
}

/// Sockets armed in one cycle.
const ARMED_PER_CYCLE: usize = RX_BATCH;
/// Calls of one cycle that look for more: newer kernels do a part of their work in each.
const ROUNDS_PER_CYCLE: usize = 8;
/// How long to leave sockets alone when no frame is free for them.
const STARVED_PAUSE: Duration = Duration::from_millis(1);
/// Tries to have a socket's operations cancelled, each at most [`CANCEL_PAUSE`] long.
const CANCEL_ROUNDS: usize = 64;
const CANCEL_PAUSE: Duration = Duration::from_millis(5);
