//! An object's octets, a piece at a time: a file of gibibytes is never in memory.

use std::fs::File;
use std::io::{self, Cursor, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Object, Piece, Source};
use crate::limits::HISTORY_CHUNK_BYTES;

impl Object {
    /// Its octets in all.
    pub(in crate::history) fn octets(&self) -> u64 {
        self.pieces.iter().map(Piece::octets).sum()
    }
}

impl Piece {
    fn octets(&self) -> u64 {
        match self {
            Self::Plain(bytes) => count(bytes.len()),
            Self::Base64(sources) => {
                let raw: u64 = sources.iter().map(Source::octets).sum();
                let lines = raw.div_ceil(count(RAW_LINE));
                raw.div_ceil(3) * 4 + lines * 2
            }
        }
    }
}

impl Source {
    fn octets(&self) -> u64 {
        match self {
            Self::Octets(bytes) => count(bytes.len()),
            Self::File { octets, .. } => *octets,
        }
    }

    fn open(self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Octets(bytes) => Box::new(Cursor::new(bytes)),
            Self::File { path, octets } => Box::new(File::open(path)?.take(octets)),
        })
    }
}

/// Reads an object.
pub(in crate::history) struct ObjectReader {
    pieces: std::vec::IntoIter<Piece>,
    /// What is being encoded, and what comes after it.
    now: Option<(Box<dyn Read + Send>, std::vec::IntoIter<Source>)>,
}

impl ObjectReader {
    pub(in crate::history) fn new(object: Object) -> Self {
        Self {
            pieces: object.pieces.into_iter(),
            now: None,
        }
    }

    /// The next octets, at most a few of [`HISTORY_CHUNK_BYTES`] where they come from a file;
    /// `None` at the end.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub(in crate::history) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if self.now.is_some() {
                let raw = self.fill()?;
                if !raw.is_empty() {
                    return Ok(Some(lines(&raw)));
                }
                self.now = None;
            }
            match self.pieces.next() {
                None => return Ok(None),
                Some(Piece::Plain(bytes)) => return Ok(Some(bytes)),
                Some(Piece::Base64(sources)) => {
                    let mut sources = sources.into_iter();
                    let first = sources.next().map(Source::open).transpose()?;
                    self.now = first.map(|first| (first, sources));
                }
            }
        }
    }

    /// Whole lines' worth of octets, across sources; fewer only at the end.
    fn fill(&mut self) -> io::Result<Vec<u8>> {
        let mut raw = Vec::new();
        let most = HISTORY_CHUNK_BYTES / RAW_LINE * RAW_LINE;
        while let Some((now, rest)) = &mut self.now {
            let room = count(most - raw.len());
            now.by_ref().take(room).read_to_end(&mut raw)?;
            if raw.len() == most {
                break;
            }
            match rest.next() {
                Some(next) => *now = next.open()?,
                None => break,
            }
        }
        Ok(raw)
    }
}

fn lines(raw: &[u8]) -> Vec<u8> {
    let mut lines = String::with_capacity(raw.len() * 3 / 2);
    for line in raw.chunks(RAW_LINE) {
        STANDARD.encode_string(line, &mut lines);
        lines.push_str("\r\n");
    }
    lines.into_bytes()
}

fn count(octets: usize) -> u64 {
    u64::try_from(octets).unwrap_or(u64::MAX)
}

/// Octets of a line of base64: 76 characters (RFC 2045 §6.8).
const RAW_LINE: usize = 57;
