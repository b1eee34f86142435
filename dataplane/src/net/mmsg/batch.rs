//! recvmmsg(2) into frames of the pool and sendmmsg(2) out of them.
#![expect(unsafe_code, reason = "system calls")]

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::ptr;
use std::time::Duration;

use crate::frame::{Class, Frame, Pool};
use crate::limits::{DATAGRAM_FRAME_BYTES, DATAGRAM_HEADROOM_BYTES};

use super::super::sys::{RAW_V6_BYTES, RawAddress, read_address};
use super::super::{RxBatch, RxItem, Token};

/// Datagrams of one call.
pub(super) const BATCH: usize = 32;

/// The arrays of one call. Each header points to its own name and vector for good, so the three
/// live in boxes that are never replaced.
struct Headers {
    headers: Box<[libc::mmsghdr; BATCH]>,
    vectors: Box<[libc::iovec; BATCH]>,
    names: Box<[RawAddress; BATCH]>,
}

impl Headers {
    fn new() -> Self {
        let mut names = Box::new([RawAddress::EMPTY; BATCH]);
        let mut vectors = Box::new([EMPTY_VECTOR; BATCH]);
        // SAFETY: an mmsghdr is integers and pointers, for which zeros are values.
        let empty: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let mut headers = Box::new([empty; BATCH]);
        for ((header, name), vector) in headers.iter_mut().zip(&mut *names).zip(&mut *vectors) {
            header.msg_hdr.msg_name = name.as_mut_ptr();
            header.msg_hdr.msg_namelen = RAW_V6_BYTES;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
        }
        Self {
            headers,
            vectors,
            names,
        }
    }
}

/// Frames that wait to be filled. They stay here between calls, so that a call for one datagram
/// costs the set-up of one.
pub(super) struct Inbox {
    frames: [Option<Frame>; BATCH],
    kernel: Headers,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            frames: [const { None }; BATCH],
            kernel: Headers::new(),
        }
    }

    /// Receives what one socket has, at most [`BATCH`] datagrams. False when no frame was free.
    pub(super) fn receive(
        &mut self,
        fd: RawFd,
        token: Token,
        rx: &mut RxBatch,
        pool: &mut Pool,
    ) -> bool {
        let room = self.fill(pool);
        if room == 0 {
            rx.starved += 1;
            return false;
        }
        let headers = self.kernel.headers.as_mut_ptr();
        // SAFETY: the first `room` headers point to names and vectors in our boxes, and these to
        // frames that the inbox holds, so nobody else reads or writes them.
        let count =
            unsafe { libc::recvmmsg(fd, headers, room, libc::MSG_DONTWAIT, ptr::null_mut()) };
        // An error means that nothing came: the socket is empty, or the call was interrupted.
        for index in 0..usize::try_from(count).unwrap_or(0) {
            self.take(index, token, rx, pool);
        }
        true
    }

    /// Puts a frame where there is none; says how many there are from the first on.
    fn fill(&mut self, pool: &mut Pool) -> u32 {
        let mut filled = 0;
        for (place, vector) in self.frames.iter_mut().zip(&mut *self.kernel.vectors) {
            if place.is_none() {
                let Some(frame) = pool.take(Class::Datagram) else {
                    break;
                };
                let buffer = pool.buffer_mut(&frame);
                let room = buffer
                    .get_mut(DATAGRAM_HEADROOM_BYTES..)
                    .unwrap_or_default();
                vector.iov_base = room.as_mut_ptr().cast();
                vector.iov_len = room.len();
                *place = Some(frame);
            }
            filled += 1;
        }
        filled
    }

    fn take(&mut self, index: usize, token: Token, rx: &mut RxBatch, pool: &Pool) {
        let (Some(header), Some(name)) = (
            self.kernel.headers.get_mut(index),
            self.kernel.names.get(index),
        ) else {
            return;
        };
        header.msg_hdr.msg_namelen = RAW_V6_BYTES;
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            rx.truncated += 1;
            return;
        }
        let Some(from) = read_address(name.bytes()) else {
            return;
        };
        if let Some(mut frame) = self.frames.get_mut(index).and_then(Option::take) {
            let len = usize::try_from(header.msg_len).unwrap_or(0);
            pool.set_range(&mut frame, DATAGRAM_HEADROOM_BYTES, len);
            rx.items.push(RxItem::Datagram {
                token,
                from,
                frame,
                waited: Duration::ZERO,
            });
        }
    }
}

/// Datagrams of one socket that are sent together.
pub(super) struct Outbox {
    fd: RawFd,
    items: Vec<(Option<SocketAddr>, Frame)>,
    kernel: Headers,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            fd: -1,
            items: Vec::with_capacity(BATCH),
            kernel: Headers::new(),
        }
    }

    /// Whether a datagram of this socket may be pushed before the next flush.
    pub(super) fn fits(&self, fd: RawFd) -> bool {
        self.items.is_empty() || (self.fd == fd && self.items.len() < BATCH)
    }

    pub(super) fn push(&mut self, fd: RawFd, to: Option<SocketAddr>, frame: Frame) {
        self.fd = fd;
        self.items.push((to, frame));
    }

    /// Sends what was pushed; says how many of it the kernel refused.
    pub(super) fn flush(&mut self, pool: &mut Pool) -> u64 {
        let failed = match self.items.as_slice() {
            [] => return 0,
            [(to, frame)] => u64::from(!send_one(self.fd, *to, pool.bytes(frame))),
            _ => self.send_many(pool),
        };
        for (_, frame) in self.items.drain(..) {
            pool.give(frame);
        }
        failed
    }

    fn send_many(&mut self, pool: &mut Pool) -> u64 {
        let kernel = &mut self.kernel;
        for (index, (to, frame)) in self.items.iter().enumerate() {
            let bytes = pool.bytes_mut(frame);
            let (name, name_len) = to.map_or((RawAddress::EMPTY, 0), RawAddress::new);
            if let (Some(header), Some(vector), Some(place)) = (
                kernel.headers.get_mut(index),
                kernel.vectors.get_mut(index),
                kernel.names.get_mut(index),
            ) {
                *place = name;
                header.msg_hdr.msg_namelen = name_len;
                vector.iov_base = bytes.as_mut_ptr().cast();
                vector.iov_len = bytes.len();
            }
        }
        let mut failed = 0;
        let mut done = 0;
        while let Some(rest) = kernel.headers.get_mut(done..self.items.len())
            && let Ok(count @ 1..) = u32::try_from(rest.len())
        {
            let flags = libc::MSG_DONTWAIT;
            // SAFETY: `count` headers are left, which point to names and vectors in our boxes, and
            // these to frames that the outbox holds.
            let sent = unsafe { libc::sendmmsg(self.fd, rest.as_mut_ptr(), count, flags) };
            if let Ok(sent @ 1..) = usize::try_from(sent) {
                done += sent;
            } else {
                // It is the first one left that was refused (sendmmsg(2)).
                failed += 1;
                done += 1;
            }
        }
        failed
    }
}

fn send_one(fd: RawFd, to: Option<SocketAddr>, bytes: &[u8]) -> bool {
    let name = to.map(RawAddress::new);
    let (name, name_len) = name
        .as_ref()
        .map_or((ptr::null(), 0), |(name, len)| (name.as_ptr(), *len));
    // SAFETY: the kernel reads the bytes and the name, which both outlive the call.
    let sent = unsafe {
        libc::sendto(
            fd,
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT,
            name,
            name_len,
        )
    };
    sent >= 0
}

const EMPTY_VECTOR: libc::iovec = libc::iovec {
    iov_base: ptr::null_mut(),
    iov_len: 0,
};
const _: () = assert!(DATAGRAM_HEADROOM_BYTES < DATAGRAM_FRAME_BYTES);
