//! Messages out of a TCP stream: their ends are found by Content-Length (RFC 3261 §18.3).

use bytes::{Buf, Bytes, BytesMut};

use super::name::Name;
use crate::limits::SIP_MESSAGE_BYTES;

/// What a stream holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// One whole message.
    Message(Bytes),
    /// An empty double line: it is answered with one CRLF (RFC 5626 §3.5.1).
    Ping,
}

/// Why nothing more can be read from a stream; the connection must be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// A message is longer than the limit, or its head doesn't end.
    TooLong,
    /// Content-Length is missing, malformed or contradicts itself, so the end can't be known.
    ContentLength,
}

/// Cuts a stream into messages; holds one message at most beyond what was pushed last.
#[derive(Debug, Default)]
pub struct StreamFramer {
    buffer: BytesMut,
    /// Bytes at the start that hold no end of a head.
    searched: usize,
    /// The length of the first message, once its head is whole.
    length: Option<usize>,
    failed: Option<FrameError>,
}

impl StreamFramer {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Takes the next message, if it is whole. After an error nothing comes but the error.
    ///
    /// # Errors
    /// Says why the stream is of no further use.
    #[expect(
        clippy::should_implement_trait,
        reason = "it goes on after None when more is pushed"
    )]
    pub fn next(&mut self) -> Option<Result<Frame, FrameError>> {
        if let Some(error) = self.failed {
            return Some(Err(error));
        }
        let found = self.find();
        if let Some(Err(error)) = found {
            self.failed = Some(error);
            self.buffer = BytesMut::new();
        }
        found
    }

    fn find(&mut self) -> Option<Result<Frame, FrameError>> {
        if self.length.is_none() {
            if self.skip_line_ends() {
                return Some(Ok(Frame::Ping));
            }
            match self.measure()? {
                Ok(length) => self.length = Some(length),
                Err(error) => return Some(Err(error)),
            }
        }
        let length = self.length.filter(|length| *length <= self.buffer.len())?;
        self.length = None;
        self.searched = 0;
        Some(Ok(Frame::Message(self.buffer.split_to(length).freeze())))
    }

    /// Takes line ends off the front; true for a double one, which is a ping.
    fn skip_line_ends(&mut self) -> bool {
        loop {
            if self.buffer.starts_with(b"\r\n\r\n") {
                self.buffer.advance(4);
                self.searched = 0;
                return true;
            }
            // One line end may be the first half of a ping.
            if b"\r\n\r\n".starts_with(&self.buffer) {
                return false;
            }
            if !self.buffer.starts_with(b"\r\n") {
                return false;
            }
            self.buffer.advance(2);
            self.searched = 0;
        }
    }

    /// The length of the message at the front, once its head is whole.
    fn measure(&mut self) -> Option<Result<usize, FrameError>> {
        if b"\r\n\r\n".starts_with(&self.buffer) {
            return None;
        }
        let from = self.searched.saturating_sub(3);
        let rest = self.buffer.get(from..).unwrap_or(&[]);
        let Some(at) = rest.windows(4).position(|four| four == b"\r\n\r\n") else {
            self.searched = self.buffer.len();
            return (self.buffer.len() > SIP_MESSAGE_BYTES).then_some(Err(FrameError::TooLong));
        };
        let head_end = from + at + 4;
        // Before anything else, so that it doesn't matter how much came at once.
        if head_end > SIP_MESSAGE_BYTES {
            return Some(Err(FrameError::TooLong));
        }
        let head = self.buffer.get(..head_end).unwrap_or(&[]);
        let Some(body) = content_length(head) else {
            return Some(Err(FrameError::ContentLength));
        };
        match head_end
            .checked_add(body)
            .filter(|length| *length <= SIP_MESSAGE_BYTES)
        {
            Some(length) => Some(Ok(length)),
            None => Some(Err(FrameError::TooLong)),
        }
    }
}

/// Content-Length of a head. RFC 3261 §20.14 demands it on streams; all of them must agree.
fn content_length(head: &[u8]) -> Option<usize> {
    let mut found = None;
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = line.split_at_checked(colon)?;
        let is_length = std::str::from_utf8(name.trim_ascii_end())
            .is_ok_and(|name| Name::of(name) == Name::ContentLength);
        if !is_length {
            continue;
        }
        let digits = value.get(1..)?.trim_ascii();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
        if found.is_some_and(|before| before != length) {
            return None;
        }
        found = Some(length);
    }
    found
}
