//! One TCP connection of the uring backend.

use super::super::queue::{Outlet, WriteQueue};

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is being made.
    Connecting,
    /// It was accepted and has no owner yet: not read.
    Accepted,
    /// It is read and written.
    Open,
    /// It ended; its owner has been told and still has to close it.
    Ended,
}

pub(super) struct Stream {
    pub(super) state: State,
    pub(super) paused: bool,
    /// The kernel writes the queue's front frame.
    pub(super) writing: bool,
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
            writing: false,
            unread: false,
            outlet: Outlet::Open,
            queue: WriteQueue::new(),
        }
    }

    /// Whether it is to be read.
    pub(super) fn is_read(&self) -> bool {
        self.state == State::Open && !self.paused
    }

    /// Whether it is to be written to.
    pub(super) fn takes_bytes(&self) -> bool {
        self.state != State::Ended && self.outlet == Outlet::Open
    }

    /// Whether something waits that the kernel can be given to write.
    pub(super) fn can_write(&self) -> bool {
        matches!(self.state, State::Accepted | State::Open)
            && !self.writing
            && !self.queue.is_empty()
    }
}
