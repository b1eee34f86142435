//! The spool's reading side: a recorded session, as it is put into the store.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Facts;
use super::journal::{Begun, Entry, Journal, Span, Uid, append};
use super::spool::{JOURNAL, body_name};
use crate::limits::HISTORY_INLINE_BYTES;

/// A session that is to be stored.
#[derive(Debug)]
pub(super) struct Job {
    /// Its own in all runs.
    pub(super) key: String,
    pub(super) folder: PathBuf,
    pub(super) facts: Facts,
    /// When it ended; of one whose end nobody told, when it was heard of last.
    pub(super) ended: SystemTime,
    /// In the order in which they began.
    pub(super) messages: Vec<Message>,
    /// Messages that aren't there, or not whole.
    pub(super) missing: usize,
    /// Objects that an earlier attempt stored.
    pub(super) stored: BTreeMap<u32, Uid>,
    /// The session's UID, where all is stored.
    pub(super) done: Option<Uid>,
    /// An earlier attempt may have stored more than it could note.
    pub(super) is_retried: bool,
}

/// A message of a session.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) begun: Begun,
    pub(super) is_complete: bool,
    spans: Vec<(u64, Span)>,
}

/// A message's octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    Small(Vec<u8>),
    Large {
        path: PathBuf,
        octets: u64,
        /// Its beginning.
        head: Vec<u8>,
    },
}

impl Job {
    /// Reads a session's folder; `None`: it has no facts, so there is nothing to store.
    ///
    /// # Errors
    ///
    /// The disk's, and a journal that is none.
    pub(super) fn read(folder: &Path, key: &str) -> io::Result<Option<Self>> {
        let path = folder.join(JOURNAL);
        let mut journal = match Journal::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut reading = Reading::default();
        while let Some((entry, span)) = journal.next()? {
            reading.take(entry, span);
        }
        let Some((mut facts, sdp)) = reading.facts else {
            return Ok(None);
        };
        facts.sdp = (sdp.octets > 0)
            .then(|| journal.payload(sdp).map(Into::into))
            .transpose()?;
        let heard = || std::fs::metadata(&path).and_then(|of| of.modified());
        let whole = reading.messages.values().filter(|one| one.is_complete);
        Ok(Some(Self {
            missing: reading.messages.len() - whole.count() + reading.dropped,
            key: key.to_owned(),
            folder: folder.to_owned(),
            facts,
            ended: reading.ended.map_or_else(heard, Ok)?,
            messages: reading.messages.into_values().collect(),
            is_retried: !reading.stored.is_empty(),
            stored: reading.stored,
            done: reading.done,
        }))
    }

    /// Adds to the journal what has come of the attempt.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub(super) fn note(folder: &Path, entry: &Entry) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(folder.join(JOURNAL))?;
        append(&mut file, entry, &[]).map(|_| ())
    }

    /// The octets of a message; `None`: some are missing.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub(super) fn body(&self, message: &Message) -> io::Result<Option<Body>> {
        if message.begun.has_file {
            return self.body_in_file(message.begun.message);
        }
        let journal = File::open(self.folder.join(JOURNAL))?;
        let mut bytes = Vec::new();
        let mut spans: Vec<&(u64, Span)> = message.spans.iter().collect();
        spans.sort_by_key(|(offset, _)| *offset);
        for (offset, span) in spans {
            let at = usize::try_from(*offset).map_err(io::Error::other)?;
            let octets = usize::try_from(span.octets).map_err(io::Error::other)?;
            // What was sent again is there twice; what is missing leaves a gap.
            if at > bytes.len() || at + octets > HISTORY_INLINE_BYTES {
                return Ok(None);
            }
            let end = at + octets;
            if end > bytes.len() {
                bytes.resize(end, 0);
            }
            if let Some(place) = bytes.get_mut(at..end) {
                journal.read_exact_at(place, span.position)?;
            }
        }
        Ok(Some(Body::Small(bytes)))
    }

    fn body_in_file(&self, message: u32) -> io::Result<Option<Body>> {
        let path = self.folder.join(body_name(message));
        let file = match File::open(&path) {
            // A message of unknown size that had no octets.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Some(Body::Small(Vec::new())));
            }
            opened => opened?,
        };
        let octets = file.metadata()?.len();
        let inline = u64::try_from(HISTORY_INLINE_BYTES).unwrap_or(u64::MAX);
        let mut head = Vec::new();
        file.take(inline).read_to_end(&mut head)?;
        if octets <= inline {
            return Ok(Some(Body::Small(head)));
        }
        Ok(Some(Body::Large { path, octets, head }))
    }
}

/// A journal half read.
#[derive(Default)]
struct Reading {
    facts: Option<(Facts, Span)>,
    messages: BTreeMap<u32, Message>,
    dropped: usize,
    ended: Option<SystemTime>,
    stored: BTreeMap<u32, Uid>,
    done: Option<Uid>,
}

impl Reading {
    fn take(&mut self, entry: Entry, span: Span) {
        match entry {
            Entry::Facts(facts) => self.facts = Some((*facts, span)),
            Entry::Message(begun) => {
                let message = Message {
                    begun: *begun,
                    is_complete: false,
                    spans: Vec::new(),
                };
                self.messages.insert(message.begun.message, message);
            }
            Entry::Data { message, offset } => {
                if let Some(message) = self.messages.get_mut(&message) {
                    message.spans.push((offset, span));
                }
            }
            Entry::End {
                message,
                is_complete,
            } => {
                if let Some(message) = self.messages.get_mut(&message) {
                    message.is_complete = is_complete;
                }
            }
            Entry::Dropped { message } => {
                self.messages.remove(&message);
                self.dropped += 1;
            }
            Entry::Closed => {}
            Entry::Finish { ended } => self.ended = Some(ended),
            Entry::Stored { object, uid } => {
                self.stored.insert(object, uid);
            }
            Entry::Done { uid } => self.done = Some(uid),
        }
    }
}
