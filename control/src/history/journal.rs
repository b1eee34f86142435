//! The journal of a recorded session: what was heard of it, in the order in which it came.
//!
//! ```text
//! ┌────────────┬───────────────┬──────────────┬─────────┐
//! │ octets of  │ octets of the │ head: an     │ payload │   lengths: 4 octets, little-endian
//! │ the head   │ payload       │ Entry, JSON  │         │
//! └────────────┴───────────────┴──────────────┴─────────┘
//! ```
//!
//! A frame is written with one call. A process that is killed in it leaves a torn last frame, which
//! reading leaves out. Nothing is forced to the disk: what survives is the end of the process.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::Facts;
use crate::limits::HISTORY_HEAD_BYTES;

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Entry {
    /// What is known of the session; the last one counts. The payload is its SDP.
    Facts(Box<Facts>),
    /// A message begins.
    Message(Box<Begun>),
    /// Octets of a message that are kept in the journal: the payload.
    Data { message: u32, offset: u64 },
    /// A message has ended.
    End { message: u32, is_complete: bool },
    /// There was no room for all of a message.
    Dropped { message: u32 },
    /// The worker's end mark.
    Closed,
    /// The engine's.
    Finish { ended: SystemTime },
    /// An object is in the store.
    Stored { object: u32, uid: Uid },
    /// All are, and this is the session's UID.
    Done { uid: Uid },
}

/// What is known of a message when it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) message: u32,
    pub(super) stream: u8,
    /// Whether the session's first side sent it.
    pub(super) is_from_a: bool,
    pub(super) message_id: String,
    pub(super) content_type: String,
    /// Its octets are in a file of their own.
    pub(super) has_file: bool,
    pub(super) at: SystemTime,
}

/// An object's number in its mailbox (RFC 3501 §2.3.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Uid {
    /// UIDVALIDITY: another one means that the mailbox was made anew.
    pub validity: u32,
    /// The number, which only grows.
    pub number: u32,
}

/// Where a payload is in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) position: u64,
    pub(super) octets: u64,
}

/// Appends an entry; returns the octets that it took.
///
/// # Errors
///
/// The disk's.
pub(super) fn append(to: &mut impl Write, entry: &Entry, payload: &[u8]) -> io::Result<u64> {
    let head = serde_json::to_vec(entry).map_err(io::Error::other)?;
    let length = |octets: usize| u32::try_from(octets).map_err(io::Error::other);
    let mut frame = Vec::with_capacity(FRAME + head.len() + payload.len());
    frame.extend(length(head.len())?.to_le_bytes());
    frame.extend(length(payload.len())?.to_le_bytes());
    frame.extend(&head);
    frame.extend(payload);
    to.write_all(&frame)?;
    Ok(octets(frame.len()))
}

/// Reads a journal from its beginning.
#[derive(Debug)]
pub(super) struct Journal {
    file: BufReader<File>,
    position: u64,
    length: u64,
}

impl Journal {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self {
            file: BufReader::new(file),
            position: 0,
            length,
        })
    }

    /// The next entry and where its payload is; `None` after the last whole one.
    pub(super) fn next(&mut self) -> io::Result<Option<(Entry, Span)>> {
        let mut lengths = [0; FRAME];
        if self.length - self.position < octets(FRAME) {
            return Ok(None);
        }
        self.file.read_exact(&mut lengths)?;
        let [a, b, c, d, e, f, g, h] = lengths;
        let head_octets = u64::from(u32::from_le_bytes([a, b, c, d]));
        let payload = u64::from(u32::from_le_bytes([e, f, g, h]));
        let position = self.position + octets(FRAME) + head_octets;
        let end = position + payload;
        if head_octets > octets(HISTORY_HEAD_BYTES) || end > self.length {
            return Ok(None);
        }
        let mut head = vec![0; usize::try_from(head_octets).map_err(io::Error::other)?];
        self.file.read_exact(&mut head)?;
        let entry = serde_json::from_slice(&head).map_err(io::Error::other)?;
        self.file
            .seek_relative(i64::try_from(payload).map_err(io::Error::other)?)?;
        self.position = end;
        let span = Span {
            position,
            octets: payload,
        };
        Ok(Some((entry, span)))
    }

    /// Reads a payload; the next entry can't be read after it.
    pub(super) fn payload(&mut self, span: Span) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(span.octets).map_err(io::Error::other)?];
        self.file.seek(SeekFrom::Start(span.position))?;
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

fn octets(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Octets of the two lengths.
const FRAME: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_frame_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut whole = Vec::new();
        let data = Entry::Data {
            message: 1,
            offset: 7,
        };
        append(&mut whole, &data, b"hello").unwrap();
        let first = whole.len();
        append(&mut whole, &Entry::Closed, b"").unwrap();
        for end in first..=whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let mut journal = Journal::open(&path).unwrap();
            let (entry, span) = journal.next().unwrap().unwrap();
            assert_eq!(entry, data);
            let last = journal.next().unwrap();
            assert_eq!(last.is_some(), end == whole.len(), "cut at {end}");
            assert_eq!(journal.payload(span).unwrap(), b"hello");
        }
    }
}
