//! Connections that are done with, closed without destroying what was written to them.
//!
//! ```text
//! half-closed ──far end closes, or its time is up, or there are too many──▶ closed
//!      └─ what comes is read and dropped
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::limits::{CLOSING_CONNECTIONS, CLOSING_MS};
use crate::net::{Backend, SocketId, Token};
use crate::session::{Mark, Owner, SlotRef};

use super::Worker;

/// Half-closed connections, in the order of their time.
#[derive(Debug, Default)]
pub(super) struct Closings {
    line: VecDeque<Closing>,
    /// The number of the first in line; they are numbered without end.
    first: u64,
}

#[derive(Debug)]
struct Closing {
    /// `None`: it is closed by now.
    socket: Option<SocketId>,
    /// When it is closed at the latest; `None`: half-closed in this cycle.
    until: Option<Instant>,
}

impl Closings {
    /// When the first one's time is up.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.line.front()?.until
    }

    fn join(&mut self, socket: SocketId) -> SlotRef {
        let number = self.first + self.line.len() as u64;
        self.line.push_back(Closing {
            socket: Some(socket),
            until: None,
        });
        SlotRef::from_number(number)
    }

    fn take(&mut self, place: SlotRef) -> Option<SocketId> {
        let at = usize::try_from(place.number().checked_sub(self.first)?).ok()?;
        self.line.get_mut(at)?.socket.take()
    }

    /// Gives those their time that were half-closed in this cycle.
    fn begin(&mut self, now: Instant) {
        let until = now + Duration::from_millis(CLOSING_MS);
        for closing in self.line.iter_mut().rev() {
            if closing.until.is_some() {
                return;
            }
            closing.until = Some(until);
        }
    }

    /// Takes the first one that is to be closed now.
    fn overdue(&mut self, now: Instant) -> Option<SocketId> {
        while let Some(front) = self.line.front() {
            if front.socket.is_some() && front.until.is_none_or(|until| now < until) {
                return None;
            }
            if let Some(socket) = self.leave() {
                return Some(socket);
            }
        }
        None
    }

    /// The first in line leaves it.
    fn leave(&mut self) -> Option<SocketId> {
        let front = self.line.pop_front()?;
        self.first += 1;
        front.socket
    }
}

impl<B: Backend> Worker<B> {
    /// Closes a connection so that what was written to it still arrives.
    pub(super) fn close_softly(&mut self, socket: SocketId) {
        self.send();
        if self.closings.line.len() >= CLOSING_CONNECTIONS
            && let Some(first) = self.closings.leave()
        {
            self.close_socket(first);
        }
        let place = self.closings.join(socket);
        let mark = Mark::new(Owner::Closing(place));
        self.backend.set_token(socket, Token(mark.0));
        self.backend.shutdown(socket);
    }

    /// The far end closed a connection that is half-closed, or it broke.
    pub(super) fn closing_closed(&mut self, place: SlotRef) {
        if let Some(socket) = self.closings.take(place) {
            self.close_socket(socket);
        }
    }

    /// Closes what has had its time.
    pub(super) fn finish_closings(&mut self, now: Instant) {
        self.closings.begin(now);
        while let Some(socket) = self.closings.overdue(now) {
            self.close_socket(socket);
        }
    }

    /// Closes all of them, whatever their time.
    pub(super) fn close_all_closings(&mut self) {
        while !self.closings.line.is_empty() {
            if let Some(socket) = self.closings.leave() {
                self.close_socket(socket);
            }
        }
    }
}
