//! What waits to be written to one connection.

use std::collections::VecDeque;

use crate::frame::{Class, Frame, Pool};
use crate::limits::{
    STREAM_FRAME_BYTES, STREAM_QUEUE_FRAMES, STREAM_QUEUE_HIGH_BYTES, STREAM_QUEUE_LOW_BYTES,
};

/// Frames in the order they are to be written, at most [`STREAM_QUEUE_FRAMES`].
///
/// Little frames are copied together, and from the middle of the queue on into stream frames: two
/// neighbours there hold more than one stream frame could, so that the limit in frames is reached
/// long after the high mark in octets, whatever the sizes.
pub(super) struct WriteQueue {
    frames: VecDeque<Frame>,
    bytes: usize,
    was_high: bool,
    /// So many frames at the front are read by the kernel: nothing may be appended to them.
    in_flight: usize,
}

impl WriteQueue {
    pub(super) fn new() -> Self {
        Self {
            // It grows where it is needed: most connections never have two frames waiting.
            frames: VecDeque::new(),
            bytes: 0,
            was_high: false,
            in_flight: 0,
        }
    }

    /// Octets that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Appends a frame; gives it back when the queue is full.
    pub(super) fn push(&mut self, frame: Frame, pool: &mut Pool) -> Result<(), Frame> {
        let count = frame.len();
        if count == 0 {
            pool.give(frame);
            return Ok(());
        }
        match self.join_tail(frame, pool) {
            Ok(()) => {}
            Err(frame) if self.frames.len() < STREAM_QUEUE_FRAMES => {
                let frame = if self.frames.len() < STREAM_QUEUE_FRAMES / 2 {
                    frame
                } else {
                    roomy(frame, pool)
                };
                self.frames.push_back(frame);
            }
            Err(frame) => return Err(frame),
        }
        self.bytes += count;
        self.was_high |= self.bytes > STREAM_QUEUE_HIGH_BYTES;
        Ok(())
    }

    /// Copies a frame behind the last one's bytes, when all of it fits there.
    fn join_tail(&mut self, frame: Frame, pool: &mut Pool) -> Result<(), Frame> {
        if self.in_flight >= self.frames.len() {
            return Err(frame);
        }
        let Some(tail) = self.frames.back_mut() else {
            return Err(frame);
        };
        if pool.join(tail, &frame) {
            pool.give(frame);
            Ok(())
        } else {
            Err(frame)
        }
    }

    /// Frames that wait.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// The frame to be written next.
    pub(super) fn front(&self) -> Option<&Frame> {
        self.frames.front()
    }

    /// The frames to be written next, at most [`WRITE_FRAMES`].
    pub(super) fn fronts(&self) -> impl Iterator<Item = &Frame> {
        self.frames.iter().take(WRITE_FRAMES)
    }

    /// The kernel was given [`WriteQueue::fronts`] to read from.
    pub(super) fn lend_fronts(&mut self) {
        self.in_flight = self.frames.len().min(WRITE_FRAMES);
    }

    /// Whether the kernel reads frames of it.
    pub(super) fn is_lent(&self) -> bool {
        self.in_flight > 0
    }

    /// `count` octets from the front on were written. Says whether the queue fell below the low
    /// mark after it was above the high one.
    pub(super) fn written(&mut self, mut count: usize, pool: &mut Pool) -> bool {
        self.in_flight = 0;
        while count > 0
            && let Some(front) = self.frames.front_mut()
        {
            let part = count.min(front.len());
            pool.advance(front, part);
            self.bytes -= part;
            count -= part;
            if !front.is_empty() {
                break;
            }
            if let Some(done) = self.frames.pop_front() {
                pool.give(done);
            }
        }
        let drained = self.was_high && self.bytes < STREAM_QUEUE_LOW_BYTES;
        if drained {
            self.was_high = false;
        }
        drained
    }

    /// Drops everything.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        for frame in self.frames.drain(..) {
            pool.give(frame);
        }
        self.bytes = 0;
        self.was_high = false;
        self.in_flight = 0;
    }
}

/// How far a connection's writing half is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlet {
    /// It is written to.
    Open,
    /// It ends once what waits is written.
    Ending,
    /// It has ended.
    Ended,
}

impl Outlet {
    /// Has it end once what waits is written.
    pub(super) fn end(&mut self) {
        if *self == Self::Open {
            *self = Self::Ending;
        }
    }

    /// Has it end; says whether it is to be ended now, as nothing waits.
    pub(super) fn ends_now(&mut self, nothing_waits: bool) -> bool {
        let now = *self == Self::Ending && nothing_waits;
        if now {
            *self = Self::Ended;
        }
        now
    }
}

/// Frames that one call writes: what fills the largest segment that the kernel makes.
pub(super) const WRITE_FRAMES: usize = 64 * 1024 / STREAM_FRAME_BYTES;
const _: () = assert!(WRITE_FRAMES > 1 && WRITE_FRAMES < STREAM_QUEUE_FRAMES / 2);
const _: () = assert!(STREAM_QUEUE_FRAMES / 4 * STREAM_FRAME_BYTES > STREAM_QUEUE_HIGH_BYTES);

/// A frame with the same bytes and room for more, where the pool has one.
fn roomy(frame: Frame, pool: &mut Pool) -> Frame {
    if frame.class() == Class::Stream {
        return frame;
    }
    let Some(mut larger) = pool.take(Class::Stream) else {
        return frame;
    };
    if pool.join(&mut larger, &frame) {
        pool.give(frame);
        larger
    } else {
        pool.give(larger);
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PoolSize;

    fn pool() -> Pool {
        Pool::new(PoolSize {
            datagrams: 64,
            streams: 80,
        })
    }

    fn frame(pool: &mut Pool, class: Class, bytes: &[u8]) -> Frame {
        let mut frame = pool.take(class).unwrap();
        assert_eq!(pool.append(&mut frame, bytes), bytes.len());
        frame
    }

    #[test]
    fn many_tiny_frames_do_not_fill_the_queue() {
        let mut pool = pool();
        let mut queue = WriteQueue::new();
        for _ in 0..20_000 {
            let tiny = frame(&mut pool, Class::Datagram, b"0123456789");
            queue.push(tiny, &mut pool).unwrap();
        }
        assert_eq!(queue.bytes(), 200_000);
        queue.clear(&mut pool);
        assert_eq!(pool.free(Class::Datagram), 64);
        assert_eq!(pool.free(Class::Stream), 80);
    }

    #[test]
    fn a_frame_the_kernel_reads_is_not_appended_to() {
        let mut pool = pool();
        let mut queue = WriteQueue::new();
        let first = frame(&mut pool, Class::Stream, b"ab");
        queue.push(first, &mut pool).unwrap();
        queue.lend_fronts();
        let second = frame(&mut pool, Class::Stream, b"cd");
        queue.push(second, &mut pool).unwrap();
        assert_eq!(pool.bytes(queue.front().unwrap()), b"ab");
        assert!(!queue.written(2, &mut pool));
        assert_eq!(pool.bytes(queue.front().unwrap()), b"cd");
    }

    #[test]
    fn what_was_written_may_end_within_any_frame() {
        let mut pool = pool();
        let mut queue = WriteQueue::new();
        for _ in 0..3 {
            let half = frame(&mut pool, Class::Stream, &[7; 10_000]);
            queue.push(half, &mut pool).unwrap();
        }
        queue.written(12_000, &mut pool);
        assert_eq!((queue.len(), queue.bytes()), (2, 18_000));
        assert_eq!(queue.front().map(Frame::len), Some(8_000));
        queue.written(18_000, &mut pool);
        assert!(queue.is_empty());
        assert_eq!(pool.free(Class::Stream), 80);
    }

    #[test]
    fn the_limit_in_frames_is_above_the_high_mark_and_draining_is_told_once() {
        let mut pool = pool();
        let mut queue = WriteQueue::new();
        loop {
            let half = frame(&mut pool, Class::Stream, &[7; 8_193]);
            if let Err(refused) = queue.push(half, &mut pool) {
                pool.give(refused);
                break;
            }
        }
        assert!(queue.bytes() >= 2 * STREAM_QUEUE_HIGH_BYTES);
        let mut told = 0;
        while !queue.is_empty() {
            told += u32::from(queue.written(4_096, &mut pool));
        }
        assert_eq!(told, 1);
        assert_eq!(pool.free(Class::Stream), 80);
    }
}
