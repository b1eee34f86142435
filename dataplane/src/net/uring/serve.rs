//! What each completion of the uring backend becomes.
#![expect(unsafe_code, reason = "a descriptor that the kernel hands over")]

use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use io_uring::cqueue;
use socket2::Socket;

use crate::frame::{Frame, Pool};
use crate::limits::{DATAGRAM_HEADROOM_BYTES, STREAM_FRAME_BYTES};

use super::super::queue::Outlet;
use super::super::sys::{self, RAW_V6_BYTES, STAMP_BYTES};
use super::super::{RxBatch, RxItem, SocketId, Token};
use super::ring::{Completion, Op};
use super::stream::{State, Stream};
use super::{Kind, Slot, Uring};

/// Octets that the kernel puts before a datagram: four numbers, and the sender's address.
pub(super) const HEADER_BYTES: usize = 16 + RAW_V6_BYTES as usize;
const _: () = assert!(HEADER_BYTES <= DATAGRAM_HEADROOM_BYTES);

impl Uring {
    pub(super) fn take_news(&mut self, rx: &mut RxBatch, most: usize) {
        while rx.items.len() < most
            && let Some(item) = self.news.pop_front()
        {
            rx.items.push(item);
        }
    }

    /// Serves what was reaped until the batch is full; says how many that were.
    pub(super) fn serve_ready(&mut self, rx: &mut RxBatch, most: usize, pool: &mut Pool) -> usize {
        let mut served = 0;
        while rx.items.len() < most
            && let Some(completion) = self.ready.pop_front()
        {
            served += 1;
            if !completion.more() {
                self.disarmed(completion);
            }
            match completion.op {
                Op::Receive | Op::Collect => self.on_datagram(completion, rx, pool),
                Op::Accept => self.on_accept(completion, rx),
                Op::Read => self.on_read(completion, rx, pool),
                Op::Connect => self.on_connect(completion, rx, pool),
                Op::Write => self.on_write(completion, rx, pool),
                Op::Writable => self.on_writable(completion, pool),
                Op::Bell | Op::Send | Op::Cancel => {}
            }
        }
        served
    }

    /// Notes that what a socket was armed for is over.
    fn disarmed(&mut self, completion: Completion) {
        if matches!(
            completion.op,
            Op::Receive | Op::Collect | Op::Accept | Op::Read
        ) && self.is_current(completion.owner)
            && let Some(slot) = self.slots.get_mut(completion.owner.id)
        {
            slot.receiving = false;
        }
    }

    fn on_datagram(&mut self, completion: Completion, rx: &mut RxBatch, pool: &mut Pool) {
        let frame = self.datagrams.claim(completion.flags);
        let id = completion.owner.id;
        let token = match self.slots.get(id) {
            Some(slot) if self.is_current(completion.owner) => slot.token,
            _ => return give(frame, pool),
        };
        let is_stamped = completion.op == Op::Collect;
        let now = is_stamped.then(|| *self.stamp_now.get_or_insert_with(sys::stamp_clock));
        match frame {
            Some(frame) if completion.result >= 0 => deliver(frame, (token, now), rx, pool),
            frame => give(frame, pool),
        }
        if completion.result == -libc::ENOBUFS {
            rx.starved += 1;
        }
        if !completion.more() {
            self.arm_later(id);
        }
    }

    fn on_accept(&mut self, completion: Completion, rx: &mut RxBatch) {
        let id = completion.owner.id;
        let accepted = (completion.result >= 0).then(|| {
            // SAFETY: the kernel opened this descriptor for this completion, so nobody else owns it.
            Socket::from(unsafe { OwnedFd::from_raw_fd(completion.result) })
        });
        let token = match self.slots.get(id) {
            Some(slot) if self.is_current(completion.owner) => slot.token,
            // The listener is gone: dropping the connection closes it.
            _ => return,
        };
        if let Some((socket, peer)) = accepted.and_then(|socket| self.accepted(socket)) {
            rx.items.push(RxItem::Accepted {
                token,
                socket,
                peer,
            });
        }
        if is_shortage(completion.result) {
            self.parked.push(id);
        } else if !completion.more() {
            self.arm_later(id);
        }
    }

    /// Makes room for an accepted connection; where there is none, or it is gone already, it is
    /// closed.
    fn accepted(&mut self, socket: Socket) -> Option<(SocketId, SocketAddr)> {
        socket.set_tcp_nodelay(true).ok()?;
        let peer = sys::ip_address(&socket.peer_addr().ok()?).ok()?;
        let stream = Box::new(Stream::new(State::Accepted));
        let id = self.insert(socket, Kind::Stream(stream), Token(0)).ok()?;
        Some((id, peer))
    }

    fn on_read(&mut self, completion: Completion, rx: &mut RxBatch, pool: &mut Pool) {
        let frame = self.streams.claim(completion.flags);
        let id = completion.owner.id;
        if !self.is_current(completion.owner) {
            return give(frame, pool);
        }
        let Some(Slot {
            token,
            kind: Kind::Stream(stream),
            ..
        }) = self.slots.get_mut(id)
        else {
            return give(frame, pool);
        };
        match (usize::try_from(completion.result), frame) {
            (Ok(count @ 1..), Some(mut frame)) if stream.state == State::Open => {
                stream.unread =
                    cqueue::sock_nonempty(completion.flags) || count == STREAM_FRAME_BYTES;
                stream.passage.note(count);
                pool.set_range(&mut frame, 0, count);
                rx.items.push(RxItem::Bytes {
                    socket: id,
                    token: *token,
                    frame,
                });
                self.arm_later(id);
            }
            (_, frame) => {
                give(frame, pool);
                match completion.result {
                    error if error == -libc::ENOBUFS => {
                        rx.starved += 1;
                        self.arm_later(id);
                    }
                    0 => self.far_ended(id),
                    error if error == -libc::EAGAIN || error == -libc::EINTR => self.arm_later(id),
                    _ => self.fail(id),
                }
            }
        }
    }

    /// The far side ended its half of a connection; it is over if ours has ended, too.
    pub(super) fn far_ended(&mut self, id: SocketId) {
        if let Some(slot) = self.slots.get_mut(id)
            && let Kind::Stream(stream) = &mut slot.kind
            && stream.state == State::Open
        {
            stream.state = State::HalfClosed;
            let token = slot.token;
            match stream.outlet {
                Outlet::Open => self.news.push_back(RxItem::Ended { socket: id, token }),
                Outlet::Ending => {}
                Outlet::Ended => self.fail(id),
            }
        }
    }

    /// Begins to connect; a failure is told like one that comes later.
    pub(super) fn connect(&mut self, id: SocketId, remote: SocketAddr) {
        let owner = self.owner(id);
        if self.ring.connect(owner, remote).is_ok() {
            if let Some(slot) = self.slots.get_mut(id) {
                slot.in_flight += 1;
            }
        } else {
            self.fail(id);
        }
    }

    fn on_connect(&mut self, completion: Completion, rx: &mut RxBatch, pool: &Pool) {
        let id = completion.owner.id;
        if !self.is_current(completion.owner) {
            return;
        }
        if completion.result < 0 {
            return self.fail(id);
        }
        if let Some(slot) = self.slots.get_mut(id)
            && let Kind::Stream(stream) = &mut slot.kind
            && stream.state == State::Connecting
        {
            // A busy connection is read without the ring, which must not block. It is open, so
            // this can't fail.
            let _ = slot.socket.set_nonblocking(true);
            stream.state = State::Open;
            rx.items.push(RxItem::Connected {
                socket: id,
                token: slot.token,
            });
            self.arm_later(id);
            self.write_on(id, pool);
            self.end_outlet(id);
        }
    }

    fn on_write(&mut self, completion: Completion, rx: &mut RxBatch, pool: &mut Pool) {
        let id = completion.owner.id;
        if !self.is_current(completion.owner) {
            return;
        }
        let Some(Slot {
            token,
            kind: Kind::Stream(stream),
            ..
        }) = self.slots.get_mut(id)
        else {
            return;
        };
        match usize::try_from(completion.result) {
            Ok(count) => {
                let drained = stream.queue.written(count, pool);
                // Nothing more is told of a connection that ended.
                if drained && stream.state != State::Ended {
                    rx.items.push(RxItem::Drained {
                        socket: id,
                        token: *token,
                    });
                }
                self.write_on(id, pool);
                self.end_outlet(id);
                self.release_feeder(id);
            }
            Err(_) if completion.result == -libc::EINTR => {
                stream.queue.written(0, pool);
                self.write_on(id, pool);
            }
            Err(_) if completion.result == -libc::EAGAIN => self.await_room(id),
            Err(_) => self.fail(id),
        }
    }

    /// The kernel takes nothing now. It waits for room by itself, but not where the far end has
    /// ended its half (Linux 6.18). What was lent to it stays so until there is room.
    fn await_room(&mut self, id: SocketId) {
        let owner = self.owner(id);
        if self.ring.watch_writable(owner).is_err() {
            self.fail(id);
        } else if let Some(slot) = self.slots.get_mut(id) {
            slot.in_flight += 1;
        }
    }

    pub(super) fn send_bytes(&mut self, id: SocketId, frame: Frame, pool: &mut Pool) {
        let Some(stream) = self.stream_mut(id) else {
            return pool.give(frame);
        };
        if !stream.takes_bytes() {
            return pool.give(frame);
        }
        if let Err(frame) = stream.queue.push(frame, pool) {
            pool.give(frame);
            return self.fail(id);
        }
        if !stream.is_touched {
            stream.is_touched = true;
            self.touched.push(id);
        }
    }

    /// Gives the kernel what the batch brought for connections that it doesn't write to already.
    pub(super) fn write_touched(&mut self, pool: &Pool) {
        while let Some(id) = self.touched.pop() {
            if let Some(stream) = self.stream_mut(id) {
                stream.is_touched = false;
                self.write_on(id, pool);
            }
        }
    }
}

/// Reads the kernel's header of a datagram (`struct io_uring_recvmsg_out`, io_uring_enter(2)) and
/// hands the rest on; a stamp is between the two, where the time is given.
fn deliver(mut frame: Frame, what: (Token, Option<Duration>), rx: &mut RxBatch, pool: &mut Pool) {
    let (token, now) = what;
    let begin = DATAGRAM_HEADROOM_BYTES + now.map_or(0, |_| STAMP_BYTES);
    let control = pool.buffer_mut(&frame).get(DATAGRAM_HEADROOM_BYTES..begin);
    let stamp = control.and_then(sys::read_stamp);
    let waited = now.zip(stamp);
    let waited = waited.map_or(Duration::ZERO, |(now, stamp)| now.saturating_sub(stamp));
    let header = pool
        .buffer_mut(&frame)
        .get(DATAGRAM_HEADROOM_BYTES - HEADER_BYTES..DATAGRAM_HEADROOM_BYTES)
        .unwrap_or_default();
    let (numbers, name) = header
        .as_chunks::<4>()
        .0
        .split_at_checked(4)
        .unwrap_or_default();
    let &[_, _, len, flags] = numbers else {
        return pool.give(frame);
    };
    let truncated = i32::from_ne_bytes(flags) & libc::MSG_TRUNC != 0;
    let from = sys::read_address(name.as_flattened());
    match (truncated, from, usize::try_from(u32::from_ne_bytes(len))) {
        (false, Some(from), Ok(len)) => {
            pool.set_range(&mut frame, begin, len);
            rx.items.push(RxItem::Datagram {
                token,
                from,
                frame,
                waited,
            });
        }
        (truncated, ..) => {
            rx.truncated += u64::from(truncated);
            pool.give(frame);
        }
    }
}

fn give(frame: Option<Frame>, pool: &mut Pool) {
    if let Some(frame) = frame {
        pool.give(frame);
    }
}

/// Whether the system, not the connection, is why none could be accepted.
fn is_shortage(result: i32) -> bool {
    [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM].contains(&-result)
}
