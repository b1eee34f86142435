//! Bytes that pass from one connection to another within the kernel (splice(2)), and busy
//! connections' reads.
//!
//! ```text
//! connection ──fill──▶ pipe ──empty──▶ connection
//!                       └─ kept by the one that takes no more, until it does
//! ```
//!
//! Only a connection whose last read filled a frame is busy: for a few octets a pipe costs more
//! calls than a frame does.
#![expect(unsafe_code, reason = "system calls")]

use std::io::{self, IoSliceMut, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::frame::{Class, Frame, Pool};
use crate::limits::{PIPE_BYTES, PIPES, READ_FRAMES, STREAM_FRAME_BYTES};

use super::SocketId;

/// A pipe (pipe(7)) and how much is in it.
#[derive(Debug)]
pub(super) struct Pipe {
    outlet: OwnedFd,
    inlet: OwnedFd,
    held: usize,
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let mut ends = [-1; 2];
        // SAFETY: the kernel writes two descriptors, and the array has room for them.
        let made = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) };
        if made < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            // SAFETY: the kernel just gave us this descriptor, so nobody else owns it.
            outlet: unsafe { OwnedFd::from_raw_fd(ends[0]) },
            // SAFETY: the same for the other end.
            inlet: unsafe { OwnedFd::from_raw_fd(ends[1]) },
            held: 0,
        })
    }

    /// Octets in it.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Takes what waits on a connection, which must not block; 0: it has ended.
    ///
    /// # Errors
    ///
    /// What the kernel said; `WouldBlock`: nothing waits.
    pub(super) fn fill(&mut self, from: RawFd) -> io::Result<usize> {
        let count = move_octets(from, self.inlet.as_raw_fd(), PIPE_BYTES)?;
        self.held += count;
        Ok(count)
    }

    /// Gives a connection, which must not block, as much as it takes.
    ///
    /// # Errors
    ///
    /// What the kernel said; that it takes no more is none.
    pub(super) fn empty(&mut self, to: RawFd) -> io::Result<()> {
        while self.held > 0 {
            match move_octets(self.outlet.as_raw_fd(), to, self.held) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.held = self.held.saturating_sub(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn move_octets(from: RawFd, to: RawFd, most: usize) -> io::Result<usize> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    let none = std::ptr::null_mut();
    // SAFETY: neither side has an offset, so the kernel is given no memory of ours.
    let count = unsafe { libc::splice(from, none, to, none, most, flags) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Pipes that are empty, and how many there are in all.
#[derive(Debug)]
pub(super) struct Pipes {
    free: Vec<Pipe>,
    made: usize,
}

impl Pipes {
    /// None yet: each is made when it is first needed.
    pub(super) fn new() -> Self {
        Self {
            free: Vec::with_capacity(PIPES),
            made: 0,
        }
    }

    /// An empty pipe; none when [`PIPES`] are in use, or the process may have no more descriptors.
    pub(super) fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.free.pop() {
            return Some(pipe);
        }
        if self.made >= PIPES {
            return None;
        }
        let pipe = Pipe::new().ok()?;
        self.made += 1;
        Some(pipe)
    }

    /// Takes a pipe back; one that still holds something is closed, and that is lost.
    pub(super) fn give(&mut self, pipe: Pipe) {
        if pipe.held == 0 {
            self.free.push(pipe);
        } else {
            self.made -= 1;
        }
    }
}

/// Whether a connection takes bytes without frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// It does.
    Now,
    /// Once what waits for it is written.
    Later,
    /// It doesn't.
    Never,
}

/// A socket and how often its number was used before.
pub(super) type Place = (SocketId, u32);

/// What a connection knows of those that its bytes go to and come from within the kernel.
#[derive(Debug, Default)]
pub(super) struct Passage {
    /// Where what comes may go.
    pub(super) to: Option<Place>,
    /// Whose bytes may come.
    pub(super) from: Option<Place>,
    /// The last read brought as much as it could.
    pub(super) is_busy: bool,
    /// It isn't read before the connection that its bytes go to has taken what waits there.
    pub(super) is_held: bool,
    /// What is to be written before anything that is queued.
    pub(super) pipe: Option<Pipe>,
}

impl Passage {
    /// Octets in the pipe.
    pub(super) fn waiting(&self) -> usize {
        self.pipe.as_ref().map_or(0, Pipe::held)
    }

    /// Notes what a read brought.
    pub(super) fn note(&mut self, octets: usize) {
        self.is_busy = octets >= STREAM_FRAME_BYTES;
    }

    /// Ends it in both directions; what is in the pipe stays.
    pub(super) fn end(&mut self) {
        self.to = None;
        self.is_held = false;
    }
}

/// Reads one frame from a connection, which must not block, and hands it on; 0: it has ended.
///
/// # Errors
///
/// What the kernel said; `OutOfMemory`: no frame is free.
pub(super) fn read_frame(
    from: &mut impl Read,
    pool: &mut Pool,
    mut bring: impl FnMut(Frame),
) -> io::Result<usize> {
    let Some(mut frame) = pool.take(Class::Stream) else {
        return Err(io::ErrorKind::OutOfMemory.into());
    };
    let result = from.read(pool.buffer_mut(&frame));
    match result {
        Ok(count @ 1..) => {
            pool.set_range(&mut frame, 0, count);
            bring(frame);
        }
        Ok(0) | Err(_) => pool.give(frame),
    }
    result
}

/// Reads up to [`READ_FRAMES`] frames in one call; fewer are handed on when less waits.
///
/// # Errors
///
/// What the kernel said; `OutOfMemory`: no frame is free.
pub(super) fn read_frames(
    from: &mut impl Read,
    pool: &mut Pool,
    mut bring: impl FnMut(Frame),
) -> io::Result<usize> {
    if pool.free(Class::Stream) < READ_FRAMES {
        return read_frame(from, pool, bring);
    }
    let mut frames = [const { None::<Frame> }; READ_FRAMES];
    frames.fill_with(|| pool.take(Class::Stream));
    let [Some(a), Some(b), Some(c), Some(d)] = frames else {
        return Err(io::ErrorKind::OutOfMemory.into());
    };
    let frames = [a, b, c, d];
    let buffers = pool.stream_buffers_mut(&frames);
    let result = match buffers {
        Some(buffers) => from.read_vectored(&mut buffers.map(IoSliceMut::new)),
        None => Err(io::ErrorKind::InvalidInput.into()),
    };
    let mut left = *result.as_ref().unwrap_or(&0);
    for mut frame in frames {
        let count = left.min(STREAM_FRAME_BYTES);
        left -= count;
        if count == 0 {
            pool.give(frame);
        } else {
            pool.set_range(&mut frame, 0, count);
            bring(frame);
        }
    }
    result
}

const _: () = assert!(READ_FRAMES == 4 && READ_FRAMES * STREAM_FRAME_BYTES <= PIPE_BYTES);
