//! One TCP connection of the mmsg backend.

use std::io::{self, IoSlice, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use crate::frame::{Frame, Pool};

use super::super::pipe::{self, Passage, Pipe, Pipes, Takes};
use super::super::queue::{Outlet, WRITE_FRAMES, WriteQueue};
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
    /// The far side ended its half; ours is written to still.
    HalfClosed,
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
    Bytes,
    /// The far side ended its half.
    Ended,
    /// The connection broke.
    Broken,
}

pub(super) struct Stream {
    socket: TcpStream,
    state: State,
    pub(super) paused: bool,
    /// What epoll was told last.
    watched: Interest,
    outlet: Outlet,
    queue: WriteQueue,
    /// It is in the list of those to be written to when the batch ends.
    pub(super) is_touched: bool,
    pub(super) passage: Passage,
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
            is_touched: false,
            passage: Passage::default(),
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.bytes() + self.passage.waiting()
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

    /// Whether it is to be read.
    pub(super) fn is_read(&self) -> bool {
        self.state == State::Open && !self.paused && !self.passage.is_held
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
            State::Accepted | State::HalfClosed => Interest {
                read: false,
                write: !self.is_written(),
            },
            State::Open => Interest {
                read: !self.paused && !self.passage.is_held,
                write: !self.is_written(),
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
    pub(super) fn progress(&mut self, pool: &mut Pool, pipes: &mut Pipes) -> Progress {
        match self.state {
            State::Connecting => match self.socket.take_error() {
                Ok(None) => {
                    self.state = State::Open;
                    match self.flush(pool, pipes) {
                        Ok(_) => Progress::Connected,
                        Err(_) => Progress::Failed,
                    }
                }
                _ => Progress::Failed,
            },
            State::Accepted | State::Open | State::HalfClosed => match self.flush(pool, pipes) {
                Ok(_) if self.is_over() => Progress::Failed,
                Ok(true) => Progress::Drained,
                Ok(false) => Progress::Nothing,
                Err(_) => Progress::Failed,
            },
            State::Ended => Progress::Nothing,
        }
    }

    /// Writes what waits until the kernel takes no more; says whether the queue drained.
    fn flush(&mut self, pool: &mut Pool, pipes: &mut Pipes) -> io::Result<bool> {
        if let Some(mut pipe) = self.passage.pipe.take() {
            let result = pipe.empty(self.fd());
            self.keep(pipe, pipes);
            result?;
        }
        let mut drained = false;
        while self.passage.pipe.is_none() && !self.queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); WRITE_FRAMES];
            for (slice, frame) in slices.iter_mut().zip(self.queue.fronts()) {
                *slice = IoSlice::new(pool.bytes(frame));
            }
            match self.socket.write_vectored(&slices) {
                Ok(count) => drained |= self.queue.written(count, pool),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.end_outlet();
        Ok(drained)
    }

    /// Keeps a pipe that holds what is to be written here, or gives it back.
    pub(super) fn keep(&mut self, pipe: Pipe, pipes: &mut Pipes) {
        if pipe.held() > 0 {
            self.passage.pipe = Some(pipe);
        } else {
            pipes.give(pipe);
        }
    }

    /// Ends the writing half once nothing waits, and reads on. False when the connection has ended.
    pub(super) fn shutdown(&mut self) -> bool {
        self.adopt();
        self.paused = false;
        self.passage.end();
        self.outlet.end();
        if matches!(self.state, State::Open | State::HalfClosed) {
            self.end_outlet();
        }
        self.state != State::Ended
    }

    /// The far side ended its half. Says whether ours is open, so that its owner is to be told.
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

    fn end_outlet(&mut self) {
        if self.outlet.ends_now(self.is_written()) {
            // A connection that broke can't be ended; reading it says so.
            let _ = self.socket.shutdown(Shutdown::Write);
        }
    }

    /// Reads a frame, or several while it is busy; `bring` is handed each. A broken connection ends
    /// here even when it is paused, as it would be found broken in every cycle.
    pub(super) fn read(&mut self, broken: bool, pool: &mut Pool, bring: impl FnMut(Frame)) -> Read {
        if !self.is_read() {
            return if broken { Read::Broken } else { Read::Nothing };
        }
        let result = match self.passage.is_busy {
            true => pipe::read_frames(&mut self.socket, pool, bring),
            false => pipe::read_frame(&mut self.socket, pool, bring),
        };
        match result {
            Ok(0) => Read::Ended,
            Ok(count) => {
                self.passage.note(count);
                Read::Bytes
            }
            Err(error) => match error.kind() {
                io::ErrorKind::OutOfMemory => Read::Starved,
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Read::Nothing,
                _ => Read::Broken,
            },
        }
    }

    /// Queues a frame to be written. False when the queue is full, which ends the connection.
    pub(super) fn push(&mut self, frame: Frame, pool: &mut Pool) -> bool {
        if self.state == State::Ended || self.outlet != Outlet::Open {
            pool.give(frame);
            return true;
        }
        match self.queue.push(frame, pool) {
            Ok(()) => true,
            Err(frame) => {
                pool.give(frame);
                false
            }
        }
    }

    /// Whether a call would write as much as one can.
    pub(super) fn fills_a_write(&self) -> bool {
        self.queue.len() >= WRITE_FRAMES
    }

    /// Whether it is to be written to now: not while the kernel takes no more.
    pub(super) fn can_write(&self) -> bool {
        let is_made = matches!(
            self.state,
            State::Accepted | State::Open | State::HalfClosed
        );
        !self.watched.write && is_made
    }

    /// Ends the connection; false when it had ended already.
    pub(super) fn end(&mut self) -> bool {
        let first = self.state != State::Ended;
        self.state = State::Ended;
        first
    }

    /// Gives back the frames that wait, and the pipe.
    pub(super) fn discard(&mut self, pool: &mut Pool, pipes: &mut Pipes) {
        self.queue.clear(pool);
        if let Some(pipe) = self.passage.pipe.take() {
            pipes.give(pipe);
        }
    }
}
