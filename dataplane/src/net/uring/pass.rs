//! Busy connections: read without the ring, or passed on within the kernel without a frame.
//!
//! splice(2) over the ring would be handed to a thread of the kernel's, and a read over the ring
//! fills one frame; both are called here as long as a connection has much to say.

use std::io;
use std::os::fd::{AsRawFd as _, RawFd};

use crate::frame::Pool;
use crate::limits::READ_FRAMES;

use super::super::pipe::{self, Passage, Pipe, Place, Takes};
use super::super::{RxBatch, RxItem, SocketId, Token};
use super::ring::{Completion, Owner};
use super::{Kind, Slot, Uring};

/// What came of reading a busy connection.
enum Busy {
    /// More may wait.
    Read,
    /// Nothing waits, or it isn't to be read.
    Quiet,
    /// No frame was free.
    Starved,
    /// The far side ended its half.
    Ended,
    /// It broke.
    Broken,
}

impl Uring {
    /// Lets what comes on `from` go to `to`.
    pub(super) fn let_pass(&mut self, from: SocketId, to: SocketId) {
        let source = (from, self.slots.generation(from));
        let sink = (to, self.slots.generation(to));
        if let Some(stream) = self.stream_mut(to) {
            stream.passage.from = Some(source);
        }
        if let Some(stream) = self.stream_mut(from) {
            stream.passage.to = Some(sink);
        }
    }

    /// Reads the first `count` busy connections once each, as far as there is room for what comes.
    pub(super) fn read_busy(
        &mut self,
        count: usize,
        (rx, most): (&mut RxBatch, usize),
        pool: &mut Pool,
    ) {
        for _ in 0..count {
            if rx.items.len() + READ_FRAMES > most {
                return;
            }
            let Some(owner) = self.busy.pop_front() else {
                return;
            };
            if !self.is_current(owner) {
                continue;
            }
            match self.read_one(owner, rx, pool) {
                Busy::Read => self.busy.push_back(owner),
                Busy::Quiet => self.calm(owner.id),
                Busy::Starved => {
                    rx.starved += 1;
                    self.calm(owner.id);
                }
                Busy::Ended => {
                    self.calm(owner.id);
                    self.far_ended(owner.id);
                }
                Busy::Broken => {
                    self.calm(owner.id);
                    self.fail(owner.id);
                }
            }
        }
    }

    /// Has a connection read by the ring again.
    fn calm(&mut self, id: SocketId) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.to_arm = false;
            if let Kind::Stream(stream) = &mut slot.kind {
                stream.passage.is_busy = false;
                stream.unread = false;
            }
            self.arm_later(id);
        }
    }

    fn read_one(&mut self, owner: Owner, rx: &mut RxBatch, pool: &mut Pool) -> Busy {
        let Some(Slot {
            token,
            socket,
            kind: Kind::Stream(stream),
            ..
        }) = self.slots.get_mut(owner.id)
        else {
            return Busy::Quiet;
        };
        if !stream.is_read() {
            return Busy::Quiet;
        }
        let (token, from, sink) = (*token, socket.as_raw_fd(), stream.passage.to);
        match self.takes_passing(sink) {
            Takes::Never => {}
            Takes::Now => {
                if let Some(pipe) = self.pipes.take() {
                    return self.pass_on((owner.id, from), (sink, pipe), token, rx);
                }
            }
            Takes::Later => {
                if let Some(stream) = self.stream_mut(owner.id) {
                    stream.passage.is_held = true;
                }
                return Busy::Quiet;
            }
        }
        let Some(Slot {
            socket,
            kind: Kind::Stream(stream),
            ..
        }) = self.slots.get_mut(owner.id)
        else {
            return Busy::Quiet;
        };
        let socket_id = owner.id;
        let bring = |frame| {
            rx.items.push(RxItem::Bytes {
                socket: socket_id,
                token,
                frame,
            });
        };
        let result = pipe::read_frames(&mut &*socket, pool, bring);
        outcome(&result, &mut stream.passage)
    }

    /// Whether the connection that bytes may go to takes them.
    fn takes_passing(&mut self, sink: Option<Place>) -> Takes {
        match sink {
            Some((id, generation)) if self.slots.generation(id) == generation => self
                .stream_mut(id)
                .map_or(Takes::Never, |stream| stream.takes_passing()),
            Some(_) | None => Takes::Never,
        }
    }

    fn pass_on(
        &mut self,
        (id, from): (SocketId, RawFd),
        (sink, mut pipe): (Option<Place>, Pipe),
        token: Token,
        rx: &mut RxBatch,
    ) -> Busy {
        let filled = pipe.fill(from);
        let is_held = match sink {
            Some((to, _)) => self.write_pipe(pipe, to),
            None => false,
        };
        let Some(stream) = self.stream_mut(id) else {
            return Busy::Quiet;
        };
        stream.passage.is_held = is_held;
        if let Ok(octets @ 1..) = filled {
            rx.items.push(RxItem::Passed {
                socket: id,
                token,
                octets,
            });
        }
        outcome(&filled, &mut stream.passage)
    }

    /// Writes what a pipe holds to a connection; says whether some of it waits there now.
    fn write_pipe(&mut self, mut pipe: Pipe, to: SocketId) -> bool {
        let owner = self.owner(to);
        let Some(Slot {
            socket,
            kind: Kind::Stream(stream),
            in_flight,
            ..
        }) = self.slots.get_mut(to)
        else {
            self.pipes.give(pipe);
            return false;
        };
        let result = pipe.empty(socket.as_raw_fd());
        stream.keep(pipe, &mut self.pipes);
        let waits = stream.passage.pipe.is_some();
        if result.is_err() {
            self.fail(to);
        } else if waits {
            if self.ring.watch_writable(owner).is_ok() {
                *in_flight += 1;
            } else {
                self.fail(to);
            }
        }
        waits
    }

    /// A connection can be written to whose pipe holds something, or that had no room.
    pub(super) fn on_writable(&mut self, completion: Completion, pool: &mut Pool) {
        let id = completion.owner.id;
        if !self.is_current(completion.owner) {
            return;
        }
        let Some(stream) = self.stream_mut(id) else {
            return;
        };
        match stream.passage.pipe.take() {
            Some(pipe) => {
                if self.write_pipe(pipe, id) {
                    return;
                }
            }
            None => {
                stream.queue.written(0, pool);
            }
        }
        self.release_feeder(id);
        self.write_on(id, pool);
        self.end_outlet(id);
    }

    /// Reads the connection again whose bytes go to `id`, once none wait there.
    pub(super) fn release_feeder(&mut self, id: SocketId) {
        let written = self.stream_mut(id).filter(|stream| stream.is_written());
        let feeder = written.and_then(|stream| stream.passage.from);
        self.release(feeder);
    }

    /// Reads a connection again that was held.
    fn release(&mut self, place: Option<Place>) {
        if let Some((id, generation)) = place
            && self.slots.generation(id) == generation
            && let Some(stream) = self.stream_mut(id)
            && stream.passage.is_held
        {
            stream.passage.is_held = false;
            stream.passage.is_busy = true;
            self.arm_later(id);
        }
    }

    /// Lets go of what a closed connection had of a passage.
    pub(super) fn forget_passage(&mut self, passage: &mut Passage) {
        if let Some(pipe) = passage.pipe.take() {
            self.pipes.give(pipe);
        }
        self.release(passage.from);
    }
}

fn outcome(result: &io::Result<usize>, passage: &mut Passage) -> Busy {
    match result {
        Ok(0) => Busy::Ended,
        Ok(count) => {
            passage.note(*count);
            if passage.is_busy {
                Busy::Read
            } else {
                Busy::Quiet
            }
        }
        Err(error) => match error.kind() {
            io::ErrorKind::OutOfMemory => Busy::Starved,
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Busy::Quiet,
            _ => Busy::Broken,
        },
    }
}
