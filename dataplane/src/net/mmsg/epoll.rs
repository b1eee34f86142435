//! epoll(7), level-triggered, with each event's socket and generation.
#![expect(unsafe_code, reason = "system calls")]

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::super::SocketId;

/// What a socket is watched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interest {
    pub(super) read: bool,
    pub(super) write: bool,
}

impl Interest {
    /// Only whether it broke, which can't be left out.
    pub(super) const NONE: Self = Self {
        read: false,
        write: false,
    };
    pub(super) const READ: Self = Self {
        read: true,
        write: false,
    };

    fn bits(self) -> u32 {
        let mut bits = 0;
        if self.read {
            bits |= READABLE;
        }
        if self.write {
            bits |= WRITABLE;
        }
        bits
    }
}

/// What a socket is ready for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Readiness {
    pub(super) id: SocketId,
    pub(super) generation: u32,
    pub(super) read: bool,
    pub(super) write: bool,
    /// Both directions are gone, or it has an error.
    pub(super) broken: bool,
}

pub(super) struct Epoll {
    fd: OwnedFd,
    bell: RawFd,
    events: Box<[libc::epoll_event]>,
    /// Those of `events` that are not served yet.
    found: Range<usize>,
}

impl Epoll {
    pub(super) fn new(bell: RawFd) -> io::Result<Self> {
        // SAFETY: epoll_create1 takes no pointer.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let epoll = Self {
            // SAFETY: the kernel just gave us this descriptor, so nobody else owns it.
            fd: unsafe { OwnedFd::from_raw_fd(fd) },
            bell,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS].into_boxed_slice(),
            found: 0..0,
        };
        epoll.control(libc::EPOLL_CTL_ADD, bell, READABLE, BELL)?;
        Ok(epoll)
    }

    pub(super) fn add(
        &self,
        fd: RawFd,
        id: SocketId,
        generation: u32,
        interest: Interest,
    ) -> io::Result<()> {
        let mark = mark(id, generation);
        self.control(libc::EPOLL_CTL_ADD, fd, interest.bits(), mark)
    }

    pub(super) fn change(
        &self,
        fd: RawFd,
        id: SocketId,
        generation: u32,
        interest: Interest,
    ) -> io::Result<()> {
        let mark = mark(id, generation);
        self.control(libc::EPOLL_CTL_MOD, fd, interest.bits(), mark)
    }

    /// Watches a socket no more, not even for having broken.
    pub(super) fn remove(&self, fd: RawFd) {
        // The socket was added and is still open: there is nothing to fail.
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, 0);
    }

    fn control(&self, operation: i32, fd: RawFd, events: u32, mark: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: mark };
        // SAFETY: the kernel reads the event, which outlives the call.
        let done = unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd, &raw mut event) };
        if done == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Whether there are events that are not served yet.
    pub(super) fn has_events(&self) -> bool {
        !self.found.is_empty()
    }

    /// Looks for events, for at most that long.
    pub(super) fn poll(&mut self, at_most: Duration) -> io::Result<()> {
        let room = i32::try_from(self.events.len()).unwrap_or(i32::MAX);
        let (fd, events) = (self.fd.as_raw_fd(), self.events.as_mut_ptr());
        // SAFETY: the kernel writes at most `room` events, and the array has that many.
        let found = unsafe { libc::epoll_wait(fd, events, room, milliseconds(at_most)) };
        self.found = 0..usize::try_from(found).unwrap_or(0);
        if found < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Sleeps until the bell rings or the time is up, whatever else is ready.
    pub(super) fn wait_for_bell(&self, at_most: Duration) -> io::Result<()> {
        let mut bell = libc::pollfd {
            fd: self.bell,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: the kernel reads and writes this one pollfd, which outlives the call.
        if unsafe { libc::poll(&raw mut bell, 1, milliseconds(at_most)) } < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        Ok(())
    }

    /// The next event that is not served yet.
    pub(super) fn next(&mut self) -> Option<Readiness> {
        loop {
            let event = *self.events.get(self.found.next()?)?;
            let (bits, mark) = (event.events, event.u64);
            if mark == BELL {
                continue;
            }
            let (generation, index) = (mark >> 32, mark & u64::from(u32::MAX));
            return Some(Readiness {
                id: SocketId(u32::try_from(index).ok()?),
                generation: u32::try_from(generation).ok()?,
                read: bits & READABLE != 0,
                write: bits & WRITABLE != 0,
                broken: bits & BROKEN != 0,
            });
        }
    }
}

fn mark(id: SocketId, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(id.0)
}

/// Rounded up, as a timer must not find that it was woken too soon.
fn milliseconds(time: Duration) -> i32 {
    i32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
}

/// Events looked for at a time.
const EVENTS: usize = 256;
/// The bell's mark: no socket has it, as their numbers are below it.
const BELL: u64 = u64::MAX;
const READABLE: u32 = 0x001;
const WRITABLE: u32 = 0x004;
const BROKEN: u32 = 0x008 | 0x010;
const _: () = assert!(libc::EPOLLIN == 0x001 && libc::EPOLLOUT == 0x004);
const _: () = assert!(libc::EPOLLERR == 0x008 && libc::EPOLLHUP == 0x010);
