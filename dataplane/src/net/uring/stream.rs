//! One TCP connection of the uring backend.

use crate::frame::Pool;

use super::super::pipe::{Passage, Pipe, Pipes, Takes};
use super::super::queue::{Outlet, WriteQueue};
use super::ring::Pieces;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is being made.
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

pub(super) struct Stream {
    pub(super) state: State,
    pub(super) paused: bool,
    /// The front frames of the queue while the kernel writes them.
    pub(super) pieces: Pieces,
    /// It is in the list of those to be written to when the batch ends.
    pub(super) is_touched: bool,
    pub(super) passage: Passage,
    /// The last read left something in the socket.
    pub(super) unread: bool,
    pub(super) outlet: Outlet,
    pub(super) queue: WriteQueue,
}

impl Stream {
    pub(super) fn new(state: State) -> Self {
        Self {
            state,
            paused: false,
            pieces: Pieces::new(),
            is_touched: false,
            passage: Passage::default(),
            unread: false,
            outlet: Outlet::Open,
            queue: WriteQueue::new(),
        }
    }

    /// Whether it is to be read.
    pub(super) fn is_read(&self) -> bool {
        self.state == State::Open && !self.paused && !self.passage.is_held
    }

    /// Whether it is to be written to.
    pub(super) fn takes_bytes(&self) -> bool {
        self.state != State::Ended && self.outlet == Outlet::Open
    }

    /// Nothing waits to be written.
    pub(super) fn is_written(&self) -> bool {
        self.queue.is_empty() && self.passage.pipe.is_none()
    }

    /// Whether bytes from another connection may go straight to it.
    pub(super) fn takes_passing(&self) -> Takes {
        if self.state != State::Open || self.outlet != Outlet::Open {
            Takes::Never
        } else if self.is_written() {
            Takes::Now
        } else {
            Takes::Later
        }
    }

    /// Whether something waits that the kernel can be given to write.
    pub(super) fn can_write(&self) -> bool {
        matches!(
            self.state,
            State::Accepted | State::Open | State::HalfClosed
        ) && !self.queue.is_lent()
            && self.passage.pipe.is_none()
            && !self.queue.is_empty()
    }

    /// Names the frames to be written next.
    pub(super) fn gather(&mut self, pool: &Pool) {
        let frames = self.queue.fronts().map(|frame| pool.bytes(frame));
        self.pieces.gather(frames);
    }

    /// Keeps a pipe that holds what is to be written here, or gives it back.
    pub(super) fn keep(&mut self, pipe: Pipe, pipes: &mut Pipes) {
        if pipe.held() > 0 {
            self.passage.pipe = Some(pipe);
        } else {
            pipes.give(pipe);
        }
    }
}
