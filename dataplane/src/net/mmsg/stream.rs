//! One TCP connection of the mmsg backend.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use crate::frame::{Class, Frame, Pool};

use super::super::queue::{Outlet, WriteQueue};
use super::epoll::Interest;

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

/// What became of a connection that was ready to be written.
pub(super) enum Progress {
    Nothing,
    Connected,
    Drained,
    Failed,
}

/// What came of a connection that was ready to be read.
pub(super) enum Read {
    Nothing,
    /// No frame was free.
    Starved,
    Bytes(Frame),
    Ended,
}

pub(super) struct Stream {
    socket: TcpStream,
    state: State,
    pub(super) paused: bool,
    /// What epoll was told last.
    watched: Interest,
    outlet: Outlet,
    queue: WriteQueue,
}

impl Stream {
    pub(super) fn new(socket: TcpStream, state: State) -> Self {
        Self {
            socket,
            state,
            paused: false,
            watched: Interest::NONE,
            outlet: Outlet::Open,
            queue: WriteQueue::new(),
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.bytes()
    }

    pub(super) fn adopt(&mut self) {
        if self.state == State::Accepted {
            self.state = State::Open;
        }
    }

    /// What the connection waits for, when that is not what epoll was told last.
    pub(super) fn changed_interest(&mut self) -> Option<Interest> {
        let wanted = match self.state {
            State::Connecting => Interest {
                read: false,
                write: true,
            },
            State::Accepted => Interest {
                read: false,
                write: !self.queue.is_empty(),
            },
            State::Open => Interest {
                read: !self.paused,
                write: !self.queue.is_empty(),
            },
            State::Ended => return None,
        };
        if wanted == self.watched {
            return None;
        }
        self.watched = wanted;
        Some(wanted)
    }

    /// Goes on with what waited for the socket to be writable.
    pub(super) fn progress(&mut self, pool: &mut Pool) -> Progress {
        match self.state {
            State::Connecting => match self.socket.take_error() {
                Ok(None) => {
                    self.state = State::Open;
                    match self.flush(pool) {
                        Ok(_) => Progress::Connected,
                        Err(_) => Progress::Failed,
                    }
                }
                _ => Progress::Failed,
            },
            State::Accepted | State::Open => match self.flush(pool) {
                Ok(true) => Progress::Drained,
                Ok(false) => Progress::Nothing,
                Err(_) => Progress::Failed,
            },
            State::Ended => Progress::Nothing,
        }
    }

    /// Writes what waits until the kernel takes no more; says whether the queue drained.
    fn flush(&mut self, pool: &mut Pool) -> io::Result<bool> {
        let mut drained = false;
        while let Some(frame) = self.queue.front() {
            match self.socket.write(pool.bytes(frame)) {
                Ok(count) => drained |= self.queue.written(count, pool),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.end_outlet();
        Ok(drained)
    }

    /// Ends the writing half once nothing waits, and reads on. False when the connection has ended.
    pub(super) fn shutdown(&mut self) -> bool {
        self.adopt();
        self.paused = false;
        if self.outlet == Outlet::Open {
            self.outlet = Outlet::Ending;
        }
        if self.state == State::Open {
            self.end_outlet();
        }
        self.state != State::Ended
    }

    fn end_outlet(&mut self) {
        if self.outlet.ends_now(self.queue.is_empty()) {
            // A connection that broke can't be ended; reading it says so.
            let _ = self.socket.shutdown(Shutdown::Write);
        }
    }

    /// Reads one frame. A broken connection ends here even when it is paused, as it would be found
    /// broken in every cycle.
    pub(super) fn read(&mut self, broken: bool, pool: &mut Pool) -> Read {
        if self.state != State::Open || self.paused {
            return if broken { Read::Ended } else { Read::Nothing };
        }
        let Some(mut frame) = pool.take(Class::Stream) else {
            return Read::Starved;
        };
        match self.socket.read(pool.buffer_mut(&frame)) {
            Ok(0) => {
                pool.give(frame);
                Read::Ended
            }
            Ok(count) => {
                pool.set_range(&mut frame, 0, count);
                Read::Bytes(frame)
            }
            Err(error) => {
                pool.give(frame);
                match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Read::Nothing,
                    _ => Read::Ended,
                }
            }
        }
    }

    /// Writes a frame now or queues what the kernel does not take. False when that breaks the
    /// connection, or its queue is full.
    pub(super) fn write(&mut self, mut frame: Frame, pool: &mut Pool) -> bool {
        if self.state == State::Ended || self.outlet != Outlet::Open {
            pool.give(frame);
            return true;
        }
        if self.queue.is_empty() && self.state != State::Connecting {
            match self.socket.write(pool.bytes(&frame)) {
                Ok(count) => pool.advance(&mut frame, count),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                Err(_) => {
                    pool.give(frame);
                    return false;
                }
            }
        }
        match self.queue.push(frame, pool) {
            Ok(()) => true,
            Err(frame) => {
                pool.give(frame);
                false
            }
        }
    }

    /// Ends the connection; false when it had ended already.
    pub(super) fn end(&mut self) -> bool {
        let first = self.state != State::Ended;
        self.state = State::Ended;
        first
    }

    /// Gives back the frames that wait.
    pub(super) fn discard(&mut self, pool: &mut Pool) {
        self.queue.clear(pool);
    }
}
