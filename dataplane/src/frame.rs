//! A frame: bytes on their way through the relay, and the fixed pool it lives in.
//!
//! ```text
//! 0            start              start+len           capacity
//! │  headroom   │      bytes        │     tailroom      │
//! ```
//!
//! A [`Frame`] is a handle without `Drop`: whoever holds it hands it on or gives it back to the
//! pool. The pool is made once; taking and giving never allocates.

use crate::limits::{
    DATAGRAM_FRAME_BYTES, DATAGRAM_FRAMES, DATAGRAM_HEADROOM_BYTES, STREAM_FRAME_BYTES,
    STREAM_FRAMES,
};

/// Which of the two sizes a frame has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// [`DATAGRAM_FRAME_BYTES`] long.
    Datagram,
    /// [`STREAM_FRAME_BYTES`] long.
    Stream,
}

/// A handle to one buffer of the pool and the part of it that holds bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    class: Class,
    index: u32,
    start: u16,
    len: u16,
}

impl Frame {
    /// Length of the bytes held, in octets.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether it holds no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Which size it has.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// Its place in the pool's arena of its class.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }
}

/// How many frames of each class a pool is made with.
#[derive(Debug, Clone, Copy)]
pub struct PoolSize {
    /// Datagram frames.
    pub datagrams: usize,
    /// Stream frames.
    pub streams: usize,
}

impl Default for PoolSize {
    fn default() -> Self {
        Self {
            datagrams: DATAGRAM_FRAMES,
            streams: STREAM_FRAMES,
        }
    }
}

struct Arena {
    class: Class,
    frame_bytes: usize,
    memory: Box<[u8]>,
    free: Vec<u32>,
    /// Which frames are taken, to catch one that is given twice.
    #[cfg(debug_assertions)]
    taken: Box<[bool]>,
}

impl Arena {
    fn new(class: Class, frame_bytes: usize, frames: usize) -> Self {
        let count = u32::try_from(frames).unwrap_or(u32::MAX);
        Self {
            class,
            frame_bytes,
            memory: vec![0; frame_bytes * frames].into_boxed_slice(),
            free: (0..count).rev().collect(),
            #[cfg(debug_assertions)]
            taken: vec![false; frames].into_boxed_slice(),
        }
    }

    fn take(&mut self) -> Option<u32> {
        let index = self.free.pop()?;
        self.mark(index, true);
        Some(index)
    }

    fn give(&mut self, index: u32) {
        self.mark(index, false);
        self.free.push(index);
    }

    #[cfg(debug_assertions)]
    fn mark(&mut self, index: u32, taken: bool) {
        if let Some(mark) = self.taken.get_mut(index as usize) {
            debug_assert!(*mark != taken, "frame {index} given twice");
            *mark = taken;
        }
    }

    #[cfg(not(debug_assertions))]
    fn mark(&self, _: u32, _: bool) {}

    fn range(&self, index: u32) -> std::ops::Range<usize> {
        let from = index as usize * self.frame_bytes;
        from..from + self.frame_bytes
    }
}

/// The frames of one worker.
pub struct Pool {
    datagrams: Arena,
    streams: Arena,
}

impl Pool {
    /// Makes a pool; the only allocation of its life.
    #[must_use]
    pub fn new(size: PoolSize) -> Self {
        Self {
            datagrams: Arena::new(Class::Datagram, DATAGRAM_FRAME_BYTES, size.datagrams),
            streams: Arena::new(Class::Stream, STREAM_FRAME_BYTES, size.streams),
        }
    }

    /// Takes a free frame, empty, with the class's headroom before its bytes.
    pub fn take(&mut self, class: Class) -> Option<Frame> {
        let start = match class {
            Class::Datagram => DATAGRAM_HEADROOM_BYTES,
            Class::Stream => 0,
        };
        let arena = self.arena_mut(class);
        let index = arena.take()?;
        Some(Frame {
            class: arena.class,
            index,
            start: u16::try_from(start).unwrap_or(0),
            len: 0,
        })
    }

    /// Gives a frame back.
    pub fn give(&mut self, frame: Frame) {
        self.arena_mut(frame.class).give(frame.index);
    }

    /// Frames of a class that are free.
    #[must_use]
    pub fn free(&self, class: Class) -> usize {
        self.arena(class).free.len()
    }

    /// Frames of a class, free or not.
    #[must_use]
    pub fn total(&self, class: Class) -> usize {
        let arena = self.arena(class);
        arena.memory.len() / arena.frame_bytes
    }

    /// The bytes a frame holds.
    #[must_use]
    pub fn bytes(&self, frame: &Frame) -> &[u8] {
        let arena = self.arena(frame.class);
        let whole = arena
            .memory
            .get(arena.range(frame.index))
            .unwrap_or_default();
        let start = usize::from(frame.start);
        whole.get(start..start + frame.len()).unwrap_or_default()
    }

    /// The bytes a frame holds, to change in place.
    pub fn bytes_mut(&mut self, frame: &Frame) -> &mut [u8] {
        let arena = self.arena_mut(frame.class);
        let range = arena.range(frame.index);
        let whole = arena.memory.get_mut(range).unwrap_or_default();
        let start = usize::from(frame.start);
        whole
            .get_mut(start..start + usize::from(frame.len))
            .unwrap_or_default()
    }

    /// The whole buffer of a frame, headroom and tailroom included, for a backend to fill.
    pub fn buffer_mut(&mut self, frame: &Frame) -> &mut [u8] {
        let arena = self.arena_mut(frame.class);
        let range = arena.range(frame.index);
        arena.memory.get_mut(range).unwrap_or_default()
    }

    /// The whole buffers of several stream frames, for one read to fill; `None` when two of them
    /// are the same.
    pub fn stream_buffers_mut<const N: usize>(
        &mut self,
        frames: &[Frame; N],
    ) -> Option<[&mut [u8]; N]> {
        let ranges = frames
            .each_ref()
            .map(|frame| self.streams.range(frame.index));
        self.streams.memory.get_disjoint_mut(ranges).ok()
    }

    /// Says which part of its buffer a frame's bytes are; cut to the buffer's end.
    pub fn set_range(&self, frame: &mut Frame, start: usize, len: usize) {
        let capacity = self.arena(frame.class).frame_bytes;
        let start = start.min(capacity);
        let len = len.min(capacity - start);
        frame.start = u16::try_from(start).unwrap_or(0);
        frame.len = u16::try_from(len).unwrap_or(0);
    }

    /// Drops `count` bytes from the front of a frame: they have been written.
    pub fn advance(&self, frame: &mut Frame, count: usize) {
        let count = u16::try_from(count.min(frame.len())).unwrap_or(0);
        frame.start += count;
        frame.len -= count;
    }

    /// Appends as much of `bytes` as fits and says how much that was.
    pub fn append(&mut self, frame: &mut Frame, bytes: &[u8]) -> usize {
        let from = usize::from(frame.start) + frame.len();
        let buffer = self.buffer_mut(frame);
        let room = buffer.get_mut(from..).unwrap_or_default();
        let count = room.len().min(bytes.len());
        if let (Some(to), Some(part)) = (room.get_mut(..count), bytes.get(..count)) {
            to.copy_from_slice(part);
        }
        frame.len += u16::try_from(count).unwrap_or(0);
        count
    }

    /// Appends the bytes of `from` to `to` when all of them fit, and says whether they did.
    pub fn join(&mut self, to: &mut Frame, from: &Frame) -> bool {
        let (at, count) = (usize::from(to.start) + to.len(), from.len());
        if self.arena(to.class).frame_bytes < at + count {
            return false;
        }
        if to.class == from.class {
            let arena = self.arena_mut(to.class);
            let source = arena.range(from.index).start + usize::from(from.start);
            let target = arena.range(to.index).start + at;
            arena.memory.copy_within(source..source + count, target);
        } else {
            let (source, target) = match to.class {
                Class::Datagram => (&self.streams, &mut self.datagrams),
                Class::Stream => (&self.datagrams, &mut self.streams),
            };
            let source_at = source.range(from.index).start + usize::from(from.start);
            let target_at = target.range(to.index).start + at;
            if let (Some(source), Some(target)) = (
                source.memory.get(source_at..source_at + count),
                target.memory.get_mut(target_at..target_at + count),
            ) {
                target.copy_from_slice(source);
            }
        }
        to.len += from.len;
        true
    }

    /// Where a class's memory begins; frame `i` is at `i` times the class's frame size.
    ///
    /// For a backend that registers the memory with the kernel. The memory never moves.
    pub fn base(&mut self, class: Class) -> *mut u8 {
        self.arena_mut(class).memory.as_mut_ptr()
    }

    fn arena(&self, class: Class) -> &Arena {
        match class {
            Class::Datagram => &self.datagrams,
            Class::Stream => &self.streams,
        }
    }

    fn arena_mut(&mut self, class: Class) -> &mut Arena {
        match class {
            Class::Datagram => &mut self.datagrams,
            Class::Stream => &mut self.streams,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_holds_what_was_appended_and_gives_it_back_in_parts() {
        let mut pool = Pool::new(PoolSize {
            datagrams: 1,
            streams: 1,
        });
        let mut frame = pool.take(Class::Stream).unwrap();
        assert!(pool.take(Class::Stream).is_none());
        assert_eq!(pool.append(&mut frame, b"abcdef"), 6);
        pool.advance(&mut frame, 2);
        assert_eq!(pool.bytes(&frame), b"cdef");
        assert_eq!(
            pool.append(&mut frame, &[b'x'; STREAM_FRAME_BYTES]),
            STREAM_FRAME_BYTES - 6
        );
        pool.give(frame);
        assert_eq!(pool.free(Class::Stream), 1);
    }
}
