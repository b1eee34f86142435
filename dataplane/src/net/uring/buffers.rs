//! A provided-buffer ring: frames lent to the kernel, which fills them as bytes come.
//!
//! ```text
//! pool ── refill ─▶ ring (the kernel's) ── completion names one ─▶ claim ─▶ receiver ─▶ pool
//! ```
#![expect(unsafe_code, reason = "memory that is shared with the kernel")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::cqueue;
use io_uring::types::BufRingEntry;

use crate::frame::{Class, Frame, Pool};
use crate::limits::RX_BATCH;

use super::ring::Ring;

pub(super) struct Buffers {
    memory: RingMemory,
    class: Class,
    group: u16,
    /// Octets of each frame, from its first on, that the kernel is not given.
    lead: usize,
    /// Where the next frame is put, modulo the entries.
    tail: u16,
    /// What the kernel has, by the frames' indices.
    lent: Box<[Option<Frame>]>,
    lent_count: usize,
    /// Frames of the pool that are never lent: whoever makes a packet of his own needs some.
    reserve: usize,
}

impl Buffers {
    /// Registers a ring for at most half of the pool's frames of a class.
    pub(super) fn new(
        ring: &Ring,
        group: u16,
        of: (Class, usize),
        pool: &Pool,
    ) -> io::Result<Self> {
        let (class, lead) = of;
        let total = pool.total(class);
        // The kernel names a buffer by 16 bits.
        if total < 2 || u16::try_from(total - 1).is_err() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let most = match class {
            Class::Datagram => DATAGRAMS_LENT_MAX,
            Class::Stream => STREAMS_LENT_MAX,
        };
        let entries = 1_u16 << (total / 2).min(most).ilog2();
        let memory = RingMemory::new(entries);
        ring.register_buffers(memory.base.as_ptr() as u64, entries, group)?;
        Ok(Self {
            memory,
            class,
            group,
            lead,
            tail: 0,
            lent: (0..total).map(|_| None).collect(),
            lent_count: 0,
            reserve: total / 8,
        })
    }

    pub(super) fn group(&self) -> u16 {
        self.group
    }

    /// Whether the kernel has no frame left.
    pub(super) fn is_empty(&self) -> bool {
        self.lent_count == 0
    }

    /// Lends frames until the ring is full or the pool has none to spare.
    pub(super) fn refill(&mut self, pool: &mut Pool) {
        let before = self.tail;
        while self.lent_count < usize::from(self.memory.entries)
            && pool.free(self.class) > self.reserve
            && let Some(frame) = pool.take(self.class)
        {
            self.lend(frame, pool);
        }
        if self.tail != before {
            self.memory.publish(self.tail);
        }
    }

    fn lend(&mut self, frame: Frame, pool: &mut Pool) {
        let buffer = pool
            .buffer_mut(&frame)
            .get_mut(self.lead..)
            .unwrap_or_default();
        let (Ok(id), Ok(len)) = (u16::try_from(frame.index()), u32::try_from(buffer.len())) else {
            return pool.give(frame);
        };
        self.memory
            .write(self.tail, buffer.as_mut_ptr() as u64, len, id);
        if let Some(place) = self.lent.get_mut(usize::from(id)) {
            *place = Some(frame);
        }
        self.lent_count += 1;
        self.tail = self.tail.wrapping_add(1);
    }

    /// Takes back the frame that a completion's flags name.
    pub(super) fn claim(&mut self, flags: u32) -> Option<Frame> {
        let id = cqueue::buffer_select(flags)?;
        let frame = self.lent.get_mut(usize::from(id))?.take()?;
        self.lent_count -= 1;
        Some(frame)
    }
}

/// The memory of the ring itself, on a page of its own as the kernel wants it.
struct RingMemory {
    base: NonNull<BufRingEntry>,
    layout: Layout,
    entries: u16,
}

impl RingMemory {
    fn new(entries: u16) -> Self {
        let bytes = usize::from(entries) * size_of::<BufRingEntry>();
        let layout = Layout::from_size_align(bytes, PAGE_BYTES)
            .expect("a page is a power of two and 32,768 entries are half a megabyte");
        // SAFETY: the layout is not empty, as there is one entry at least.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(memory.cast()) else {
            handle_alloc_error(layout)
        };
        Self {
            base,
            layout,
            entries,
        }
    }

    fn write(&mut self, at: u16, address: u64, len: u32, id: u16) {
        let index = usize::from(at & (self.entries - 1));
        // SAFETY: the index is below the entries, for which the memory was made.
        let entry = unsafe { self.base.add(index) };
        // SAFETY: the kernel only reads entries below the published tail, and this one is not:
        // fewer frames are lent than there are entries.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(address);
        entry.set_len(len);
        entry.set_bid(id);
    }

    fn publish(&self, tail: u16) {
        // SAFETY: the base is the ring's first entry, and zeroed memory is an entry.
        let place = unsafe { BufRingEntry::tail(self.base.as_ptr()) };
        // SAFETY: the tail is two octets, aligned, in memory that lives as long as `self`; all who
        // share it, the kernel and we, use it as an atomic.
        let shared = unsafe { AtomicU16::from_ptr(place.cast_mut()) };
        shared.store(tail, Ordering::Release);
    }
}

impl Drop for RingMemory {
    fn drop(&mut self) {
        // SAFETY: the memory was allocated with this layout and is freed once. The kernel was told
        // before: `Uring` unregisters its rings when it is dropped, and a ring that was not
        // registered is not known to it.
        unsafe { dealloc(self.base.as_ptr().cast(), self.layout) };
    }
}

/// Datagram frames lent at most: what two cycles can receive. All work is done in our own calls and
/// the ring is refilled before each, so more would only wander through more memory.
const DATAGRAMS_LENT_MAX: usize = 512;
/// Stream frames lent at most: a connection reads one frame a cycle.
const STREAMS_LENT_MAX: usize = 256;
const _: () = assert!(DATAGRAMS_LENT_MAX >= 2 * RX_BATCH && STREAMS_LENT_MAX >= RX_BATCH);
const PAGE_BYTES: usize = 4096;
