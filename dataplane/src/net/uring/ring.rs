//! The ring itself: operations go in, completions come out.
//!
//! Every operation carries what it is and for whom: 4 bits of operation, 28 of the socket's
//! generation, 32 of its number.
#![expect(unsafe_code, reason = "operations that name memory")]

use std::io;
use std::os::fd::RawFd;
use std::ptr;
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{CancelBuilder, Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, cqueue, opcode};

use crate::limits::{SOCKETS_PER_WORKER, TX_BATCH};

use super::super::SocketId;
use super::super::queue::WRITE_FRAMES;
use super::super::sys::{self, RAW_V6_BYTES, RawAddress, STAMP_BYTES};

/// What an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// The bell rang.
    Bell,
    /// Datagrams, until it ends.
    Receive,
    /// Connections, until it ends.
    Accept,
    /// Bytes, once.
    Read,
    /// A connection is made.
    Connect,
    /// Bytes are written.
    Write,
    /// A datagram is sent; completes only when it is refused.
    Send,
    /// Another operation is cancelled; of no interest.
    Cancel,
    /// A connection can be written to.
    Writable,
    /// Datagrams that lie in a socket, until there is none.
    Collect,
}

impl Op {
    const ALL: [Self; 10] = [
        Self::Bell,
        Self::Receive,
        Self::Accept,
        Self::Read,
        Self::Connect,
        Self::Write,
        Self::Send,
        Self::Cancel,
        Self::Writable,
        Self::Collect,
    ];
}

/// An operation's owner: a socket, and how often its number was used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) id: SocketId,
    pub(super) generation: u32,
}

impl Owner {
    pub(super) fn new(id: SocketId, generation: u32) -> Self {
        Self {
            id,
            generation: generation & GENERATION_MASK,
        }
    }

    fn mark(self, op: Op) -> u64 {
        (op as u64) << 60 | u64::from(self.generation) << 32 | u64::from(self.id.0)
    }
}

/// What became of an operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Completion {
    pub(super) op: Op,
    pub(super) owner: Owner,
    /// Octets, a descriptor, or a negative error number.
    pub(super) result: i32,
    pub(super) flags: u32,
}

impl Completion {
    fn new(entry: &cqueue::Entry) -> Option<Self> {
        let mark = entry.user_data();
        let op = Op::ALL.get(usize::try_from(mark >> 60).ok()?)?;
        Some(Self {
            op: *op,
            owner: Owner {
                id: SocketId(u32::try_from(mark & u64::from(u32::MAX)).ok()?),
                generation: u32::try_from(mark >> 32).ok()? & GENERATION_MASK,
            },
            result: entry.result(),
            flags: entry.flags(),
        })
    }

    /// Whether the operation goes on.
    pub(super) fn more(&self) -> bool {
        cqueue::more(self.flags)
    }
}

/// Frames to be written together, as the kernel wants them named. It reads this while it writes.
pub(super) struct Pieces {
    /// The first of them, which mostly is the only one.
    first: libc::iovec,
    /// All, for a connection that had several waiting once.
    all: Option<Box<Message>>,
    count: usize,
}

struct Message {
    header: libc::msghdr,
    vectors: [libc::iovec; WRITE_FRAMES],
}

const NONE: libc::iovec = libc::iovec {
    iov_base: ptr::null_mut(),
    iov_len: 0,
};

impl Message {
    fn new() -> Self {
        Self {
            // SAFETY: a msghdr is integers and pointers, for which zeros are values.
            header: unsafe { std::mem::zeroed() },
            vectors: [NONE; WRITE_FRAMES],
        }
    }
}

impl Pieces {
    pub(super) fn new() -> Self {
        Self {
            first: NONE,
            all: None,
            count: 0,
        }
    }

    /// Names `bytes`, at most [`WRITE_FRAMES`] pieces. Not while the kernel reads it.
    pub(super) fn gather<'a>(&mut self, bytes: impl Iterator<Item = &'a [u8]>) {
        self.count = 0;
        for bytes in bytes.take(WRITE_FRAMES) {
            let vector = libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len(),
            };
            if self.count == 0 {
                self.first = vector;
            } else {
                let all = self.all.get_or_insert_with(|| Box::new(Message::new()));
                all.vectors[0] = self.first;
                if let Some(place) = all.vectors.get_mut(self.count) {
                    *place = vector;
                }
            }
            self.count += 1;
        }
    }
}

pub(super) struct Ring {
    uring: IoUring,
    /// Places of the table of registered files.
    files: usize,
    /// What every receive of datagrams is told: room for a name, none for control messages.
    header: Box<libc::msghdr>,
    /// The same with room for a stamp.
    stamped: Box<libc::msghdr>,
}

impl Ring {
    /// Sets a ring up, for the calling thread only.
    ///
    /// Needs Linux 6.1: all work is then done in our own calls, never between them.
    pub(super) fn new() -> io::Result<Self> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        let mut probe = Probe::new();
        uring.submitter().register_probe(&mut probe)?;
        let needed = [
            opcode::PollAdd::CODE,
            opcode::RecvMsgMulti::CODE,
            opcode::AcceptMulti::CODE,
            opcode::Recv::CODE,
            opcode::Send::CODE,
            opcode::Connect::CODE,
            opcode::AsyncCancel::CODE,
        ];
        if !needed.into_iter().all(|code| probe.is_supported(code)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // The kernel wants no larger a table than the process may have descriptors.
        let files = SOCKETS_PER_WORKER.min(sys::descriptors_allowed());
        let count = u32::try_from(files).map_err(io::Error::other)?;
        uring.submitter().register_files_sparse(count)?;
        // SAFETY: a msghdr is integers and pointers, for which zeros are values.
        let mut header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        header.msg_namelen = RAW_V6_BYTES;
        let mut stamped = header.clone();
        stamped.msg_controllen = STAMP_BYTES;
        Ok(Self {
            uring,
            files,
            header,
            stamped,
        })
    }

    /// Sockets that may be open at a time.
    pub(super) fn files(&self) -> usize {
        self.files
    }

    /// Puts a descriptor in a socket's place of the table; -1 clears it.
    pub(super) fn set_file(&self, id: SocketId, fd: RawFd) -> io::Result<()> {
        self.uring
            .submitter()
            .register_files_update(id.0, &[fd])
            .map(drop)
    }

    /// Cancels all that is in flight and takes every socket out of the table.
    pub(super) fn forget_files(&mut self) {
        let at_most = Timespec::from(FORGET_MAX);
        let submitter = self.uring.submitter();
        // What can't be cancelled or taken back now goes with the ring, only later.
        let _ = submitter.register_sync_cancel(Some(at_most), CancelBuilder::any());
        self.reap_all();
        let _ = self.uring.submitter().unregister_files();
        self.reap_all();
    }

    /// Reaps until nothing more completes: what was cancelled lets go of its socket in such a call.
    fn reap_all(&mut self) {
        for _ in 0..FORGET_ROUNDS {
            while self.next().is_some() {}
            if !matches!(self.wait(FORGET_PAUSE), Ok(false)) {
                return;
            }
        }
    }

    pub(super) fn register_buffers(&self, base: u64, entries: u16, group: u16) -> io::Result<()> {
        // SAFETY: the memory at `base` is held by `Buffers`, which `Uring` keeps until it has
        // unregistered the group.
        unsafe {
            self.uring
                .submitter()
                .register_buf_ring_with_flags(base, entries, group, 0)
        }
    }

    pub(super) fn unregister_buffers(&self, group: u16) {
        // A group that is not registered any more is what is wanted.
        let _ = self.uring.submitter().unregister_buf_ring(group);
    }

    pub(super) fn watch_bell(&mut self, bell: RawFd) -> io::Result<()> {
        let poll = opcode::PollAdd::new(Fd(bell), READABLE).build();
        self.push(&poll, Owner::new(SocketId(0), 0), Op::Bell)
    }

    pub(super) fn receive(&mut self, owner: Owner, group: u16) -> io::Result<()> {
        let header = &raw const *self.header;
        let receive = opcode::RecvMsgMulti::new(Fixed(owner.id.0), header, group).build();
        self.push(&receive, owner, Op::Receive)
    }

    /// Receives what lies in a socket with its stamps, and waits for nothing: it has completed
    /// when it is submitted.
    pub(super) fn collect(&mut self, owner: Owner, group: u16) -> io::Result<()> {
        let header = &raw const *self.stamped;
        let receive = opcode::RecvMsgMulti::new(Fixed(owner.id.0), header, group)
            .flags(libc::MSG_DONTWAIT.unsigned_abs())
            .build();
        self.push(&receive, owner, Op::Collect)
    }

    pub(super) fn accept(&mut self, owner: Owner) -> io::Result<()> {
        let accept = opcode::AcceptMulti::new(Fixed(owner.id.0))
            .flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)
            .build();
        self.push(&accept, owner, Op::Accept)
    }

    /// Reads once; `waiting` says that nothing is there yet as far as is known.
    pub(super) fn read(&mut self, owner: Owner, group: u16, waiting: bool) -> io::Result<()> {
        let read = opcode::Recv::new(Fixed(owner.id.0), ptr::null_mut(), 0)
            .buf_group(group)
            .ioprio(if waiting { POLL_FIRST } else { 0 })
            .build()
            .flags(Flags::BUFFER_SELECT);
        self.push(&read, owner, Op::Read)
    }

    /// Begins to connect, at once: the address need not outlive the call.
    pub(super) fn connect(&mut self, owner: Owner, to: std::net::SocketAddr) -> io::Result<()> {
        let (address, len) = RawAddress::new(to);
        let connect = opcode::Connect::new(Fixed(owner.id.0), address.as_ptr(), len).build();
        self.push(&connect, owner, Op::Connect)?;
        self.submit()
    }

    /// Writes all that `pieces` names; it and the bytes must stay as they are until the operation
    /// completes.
    pub(super) fn write(&mut self, owner: Owner, pieces: &mut Pieces) -> io::Result<()> {
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let file = Fixed(owner.id.0);
        let write = match &mut pieces.all {
            Some(all) if pieces.count > 1 => {
                all.header.msg_iov = all.vectors.as_mut_ptr();
                all.header.msg_iovlen = pieces.count;
                // MSG_NOSIGNAL and MSG_WAITALL are small and positive.
                opcode::SendMsg::new(file, &raw const all.header)
                    .flags(flags.unsigned_abs())
                    .build()
            }
            _ => {
                let only = pieces.first;
                let len = u32::try_from(only.iov_len).unwrap_or(u32::MAX);
                opcode::Send::new(file, only.iov_base.cast(), len)
                    .flags(flags)
                    .build()
            }
        };
        self.push(&write, owner, Op::Write)
    }

    /// Waits until a connection can be written to.
    pub(super) fn watch_writable(&mut self, owner: Owner) -> io::Result<()> {
        let poll = opcode::PollAdd::new(Fixed(owner.id.0), WRITABLE).build();
        self.push(&poll, owner, Op::Writable)
    }

    /// Sends a datagram with the next [`Ring::submit`]; the kernel is done with `bytes` and `to`
    /// when that returns, as it may not wait for room.
    pub(super) fn send(
        &mut self,
        owner: Owner,
        bytes: &[u8],
        to: Option<(&RawAddress, libc::socklen_t)>,
    ) -> io::Result<()> {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let (to, to_len) = to.map_or((ptr::null(), 0), |(to, len)| (to.as_ptr(), len));
        let send = opcode::Send::new(Fixed(owner.id.0), bytes.as_ptr(), len)
            .flags(libc::MSG_DONTWAIT)
            .dest_addr(to)
            .dest_addr_len(to_len)
            .build()
            .flags(Flags::SKIP_SUCCESS);
        self.push(&send, owner, Op::Send)
    }

    pub(super) fn cancel(&mut self, owner: Owner, op: Op) -> io::Result<()> {
        let cancel = opcode::AsyncCancel::new(owner.mark(op))
            .build()
            .flags(Flags::SKIP_SUCCESS);
        self.push(&cancel, owner, Op::Cancel)
    }

    fn push(&mut self, entry: &Entry, owner: Owner, op: Op) -> io::Result<()> {
        let entry = entry.clone().user_data(owner.mark(op));
        if self.uring.submission().is_full() {
            self.submit()?;
        }
        // SAFETY: what the entry names stays valid until it completes. The headers are boxed in
        // `self`; addresses and datagrams are needed until the submit only, before which their
        // owners do not let go of them; bytes to be written are in the front frames of the
        // connection's queue, which are not given back before the completion, and the pieces that
        // name them in its boxed `Stream`, which lives as long; and the memory of a pool never
        // moves.
        unsafe { self.uring.submission().push(&entry) }
            .map_err(|_| io::ErrorKind::ResourceBusy.into())
    }

    /// Whether the kernel has something to be done in a call of ours.
    pub(super) fn has_work(&mut self) -> bool {
        let queue = self.uring.submission();
        queue.taskrun() || queue.cq_overflow() || !queue.is_empty()
    }

    /// Hands over what was pushed and lets the kernel do its work; does not sleep.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        for _ in 0..SUBMITS_MAX {
            match self.uring.submit() {
                Ok(_) => {}
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
            if self.uring.submission().is_empty() {
                return Ok(());
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// The same, and sleeps until there is a completion or the time is up. Says whether it was up.
    pub(super) fn wait(&self, at_most: Duration) -> io::Result<bool> {
        let time = Timespec::from(at_most);
        let args = SubmitArgs::new().timespec(&time);
        match self.uring.submitter().submit_with_args(1, &args) {
            Ok(_) => Ok(false),
            Err(error) if error.raw_os_error() == Some(libc::ETIME) => Ok(true),
            Err(error) if is_passing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The next completion.
    pub(super) fn next(&mut self) -> Option<Completion> {
        loop {
            let entry = self.uring.completion().next()?;
            if let Some(completion) = Completion::new(&entry) {
                return Some(completion);
            }
        }
    }
}

/// Whether the same call may succeed once more is reaped or an interruption is over.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)
    )
}

/// Operations that can wait to be handed over: a batch to send, and what its cycle arms.
const SUBMISSIONS: u32 = 1024;
const _: () = assert!(SUBMISSIONS as usize >= 4 * TX_BATCH);
/// Completions that can wait to be reaped; the kernel keeps what is more.
const COMPLETIONS: u32 = 8192;
/// How long all that is in flight may take to be cancelled.
const FORGET_MAX: Duration = Duration::from_millis(500);
/// How long to wait for another completion of it, and how often.
const FORGET_PAUSE: Duration = Duration::from_millis(1);
const FORGET_ROUNDS: usize = 64;
/// Tries to hand over what was pushed.
const SUBMITS_MAX: usize = 64;
const GENERATION_MASK: u32 = (1 << 28) - 1;
/// `POLLIN` of poll(2).
const READABLE: u32 = 1;
/// `POLLOUT` of poll(2).
const WRITABLE: u32 = 4;
/// `IORING_RECVSEND_POLL_FIRST`: don't try before the socket is readable.
const POLL_FIRST: u16 = 1;
