//! The worker's end of a simulated connection.

use crate::frame::{Class, Frame, Pool};

use super::super::queue::{Outlet, WriteQueue};
use super::handle::{Connection, NearEnd, Pipe};

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The world has not answered.
    Connecting,
    /// It was accepted and has no owner yet: not read.
    Accepted,
    /// It is read and written.
    Open,
    /// The far side ended its half; ours is written to still.
    HalfClosed,
    /// It ended; its owner has been told and still has to close it.
    Ended,
}

/// What came of reading a connection.
pub(super) enum Read {
    Nothing,
    /// No frame was free.
    Starved,
    Bytes(Frame),
    /// The world hung up.
    Ended,
    /// The world cut the connection.
    Broken,
}

pub(super) struct Stream {
    pub(super) connection: Connection,
    pub(super) state: State,
    pub(super) paused: bool,
    pub(super) outlet: Outlet,
    pub(super) queue: WriteQueue,
}

impl Stream {
    pub(super) fn new(connection: Connection, state: State) -> Self {
        Self {
            connection,
            state,
            paused: false,
            outlet: Outlet::Open,
            queue: WriteQueue::new(),
        }
    }

    /// Ends the connection; false when it had ended already.
    pub(super) fn end(&mut self) -> bool {
        let first = self.state != State::Ended;
        self.state = State::Ended;
        first
    }

    fn is_made(&self) -> bool {
        matches!(
            self.state,
            State::Accepted | State::Open | State::HalfClosed
        )
    }

    /// Writes what waits as far as the world's window reaches; says whether the queue drained.
    pub(super) fn flush(&mut self, pipe: &mut Pipe, pool: &mut Pool) -> bool {
        let mut drained = false;
        while self.is_made()
            && let Some(frame) = self.queue.front()
        {
            let count = pipe.take_in(pool.bytes(frame));
            if count == 0 {
                break;
            }
            drained |= self.queue.written(count, pool);
        }
        self.end_outlet(pipe);
        drained
    }

    /// Ends the writing half once nothing waits, and reads on. False when the connection has ended.
    pub(super) fn shutdown(&mut self, pipe: &mut Pipe) -> bool {
        self.adopt();
        self.paused = false;
        self.outlet.end();
        self.end_outlet(pipe);
        self.state != State::Ended
    }

    /// The world hung up. Says whether our half is open, so that its owner is to be told.
    pub(super) fn far_ended(&mut self) -> bool {
        let first = self.state == State::Open;
        if first {
            self.state = State::HalfClosed;
        }
        first && self.outlet == Outlet::Open
    }

    /// Whether both halves have ended.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::HalfClosed && self.outlet == Outlet::Ended
    }

    /// Its owner takes it: it is read from now on.
    pub(super) fn adopt(&mut self) {
        if self.state == State::Accepted {
            self.state = State::Open;
        }
    }

    fn end_outlet(&mut self, pipe: &mut Pipe) {
        if self.is_made() && self.outlet.ends_now(self.queue.is_empty()) {
            pipe.near = NearEnd::Ended;
        }
    }

    /// Writes a frame now or queues what the window has no room for. False when the queue is full.
    pub(super) fn write(&mut self, pipe: &mut Pipe, mut frame: Frame, pool: &mut Pool) -> bool {
        if self.state == State::Ended || self.outlet != Outlet::Open {
            pool.give(frame);
            return true;
        }
        if self.is_made() && self.queue.is_empty() {
            let count = pipe.take_in(pool.bytes(&frame));
            pool.advance(&mut frame, count);
        }
        match self.queue.push(frame, pool) {
            Ok(()) => true,
            Err(frame) => {
                pool.give(frame);
                false
            }
        }
    }

    /// Reads one frame.
    pub(super) fn read(&self, pipe: &mut Pipe, pool: &mut Pool) -> Read {
        if self.state != State::Ended && (pipe.broken || self.is_over()) {
            return Read::Broken;
        }
        if self.state != State::Open || self.paused {
            return Read::Nothing;
        }
        if pipe.inward.is_empty() {
            return if pipe.hung_up {
                Read::Ended
            } else {
                Read::Nothing
            };
        }
        let Some(mut frame) = pool.take(Class::Stream) else {
            return Read::Starved;
        };
        // The bytes may lie around the end of the queue's own memory: in two parts.
        let (head, tail) = pipe.inward.as_slices();
        let mut count = pool.append(&mut frame, head);
        if count == head.len() {
            count += pool.append(&mut frame, tail);
        }
        pipe.inward.drain(..count);
        Read::Bytes(frame)
    }
}
