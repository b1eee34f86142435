//! The spool's writing side: each recorded session has a folder, until its history is stored.
//!
//! ```text
//! spool/RUN-SESSION/journal     what was heard of the session, and its small messages
//!                   m7          the octets of message 7, which is large or of unknown size
//! ```
//!
//! Where there is no room for content, content is dropped and the journal says so; the session
//! itself goes on untouched.

use std::collections::{HashMap, VecDeque};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use dataplane::api::{Record, RecordPart, Side};

use super::Facts;
use super::counts::Counts;
use super::journal::{Begun, Entry, append};
use crate::limits::{HISTORY_INLINE_BYTES, HISTORY_REMEMBERED, HISTORY_TEXT_BYTES};

/// How much may be recorded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) session_octets: u64,
    pub(super) session_messages: u32,
    pub(super) octets: u64,
    pub(super) waiting: usize,
}

/// A session that can be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    /// The name of its folder, its own in all runs.
    pub(super) key: String,
    /// Its number in this run; `None`: it is of an earlier one.
    pub(super) session: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    /// What tells this run's sessions from those of others.
    run: String,
    bounds: Bounds,
    sessions: HashMap<u64, Session>,
    /// Sessions that were handed on or dropped: what still comes of them is nobody's.
    gone: VecDeque<u64>,
    /// The file that was written last, as the next record is often for it, too.
    last: Option<(PathBuf, File)>,
    /// The last write failed.
    is_failing: bool,
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Session {
    folder: PathBuf,
    /// Octets of content.
    octets: u64,
    /// Messages so far.
    count: u32,
    /// Those that have not ended.
    messages: HashMap<u32, Kept>,
    has_facts: bool,
    is_closed: bool,
    is_finished: bool,
}

/// Where a message's octets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Journal {
        octets: u64,
    },
    /// Those that came, and where the last of them ends.
    File {
        octets: u64,
        end: u64,
    },
    Dropped,
}

impl Spool {
    /// Opens the spool and finds what other runs left.
    ///
    /// # Errors
    ///
    /// The folder can't be made or read.
    pub(super) fn open(
        folder: &Path,
        run: String,
        bounds: Bounds,
        counts: Arc<Counts>,
    ) -> io::Result<(Self, Vec<Due>)> {
        private(folder)?;
        let mut left = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                counts.add_octets(size_of(&entry.path())?);
                left.push(Due {
                    key: entry.file_name().to_string_lossy().into_owned(),
                    session: None,
                });
            }
        }
        left.sort_by(|one, other| one.key.cmp(&other.key));
        counts.queued.fetch_add(left.len(), Ordering::Relaxed);
        let spool = Self {
            folder: folder.to_owned(),
            run,
            bounds,
            sessions: HashMap::new(),
            gone: VecDeque::new(),
            last: None,
            is_failing: false,
            counts,
        };
        Ok((spool, left))
    }

    /// Takes what is known of a session.
    pub(super) fn begin(&mut self, facts: &Facts) {
        let begun = self.write_facts(facts);
        self.note(begun);
    }

    fn write_facts(&mut self, facts: &Facts) -> io::Result<()> {
        let Some(session) = self.session(facts.session)? else {
            return Ok(());
        };
        session.has_facts = true;
        let sdp = facts.sdp.clone().unwrap_or_default();
        let entry = Entry::Facts(Box::new(facts.clone()));
        self.write(facts.session, &entry, &sdp)
    }

    /// The session has ended, as the engine knows; due where the worker has said so, too.
    pub(super) fn finish(&mut self, session: u64, ended: SystemTime) -> Option<Due> {
        self.sessions.get_mut(&session)?.is_finished = true;
        let written = self.write(session, &Entry::Finish { ended }, &[]);
        self.note(written);
        self.due(session)
    }

    /// No end mark comes any more.
    pub(super) fn close(&mut self, session: u64) -> Option<Due> {
        self.sessions.get_mut(&session)?.is_closed = true;
        self.due(session)
    }

    /// Whether a session waits for its end mark alone.
    pub(super) fn awaits_end_mark(&self, session: u64) -> bool {
        let open = self.sessions.get(&session);
        open.is_some_and(|open| open.is_finished && !open.is_closed)
    }

    /// Takes what a worker recorded.
    pub(super) fn record(&mut self, record: Record, at: SystemTime) -> Option<Due> {
        let session = record.session.0;
        let written = match record.part {
            RecordPart::Closed => {
                if self
                    .sessions
                    .get(&session)
                    .is_some_and(|one| !one.has_facts)
                {
                    // It was never answered: there is no history.
                    self.forget(session);
                }
                return self.close(session);
            }
            RecordPart::Begin { .. } => self.message_begins(session, record.part, at),
            RecordPart::Data {
                message,
                offset,
                bytes,
            } => self.data(session, message, offset, &bytes),
            RecordPart::End {
                message,
                is_complete,
            } => self.message_ends(session, message, is_complete),
        };
        self.note(written);
        None
    }

    /// Counts what the disk didn't take, and says so once.
    fn note(&mut self, written: io::Result<()>) {
        match written {
            Ok(()) => self.is_failing = false,
            Err(error) => {
                self.last = None;
                self.counts.unwritten.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut self.is_failing, true) {
                    let folder = self.folder.display();
                    tracing::error!(%error, %folder, "histories can't be recorded");
                }
            }
        }
    }

    fn message_begins(&mut self, id: u64, part: RecordPart, at: SystemTime) -> io::Result<()> {
        let RecordPart::Begin {
            stream,
            from,
            message,
            message_id,
            content_type,
            total,
        } = part
        else {
            return Ok(());
        };
        let most = self.bounds.session_messages;
        let Some(session) = self.session(id)? else {
            return Ok(());
        };
        session.count = session.count.saturating_add(1);
        if session.count > most {
            // Said once for all of them.
            let is_first = session.count == most.saturating_add(1);
            return self.drop_message(id, message, is_first);
        }
        let has_file = total.is_none_or(|total| total > inline());
        let kept = match has_file {
            true => Kept::File { octets: 0, end: 0 },
            false => Kept::Journal { octets: 0 },
        };
        session.messages.insert(message, kept);
        let begun = Begun {
            message,
            stream: stream.0,
            is_from_a: from == Side::A,
            message_id: text(&message_id),
            content_type: text(&content_type),
            has_file,
            at,
        };
        self.write(id, &Entry::Message(Box::new(begun)), &[])
    }

    fn data(&mut self, id: u64, message: u32, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let octets = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let has_room = self.counts.octets() + octets <= self.bounds.octets;
        let Some(session) = self.sessions.get_mut(&id) else {
            self.counts.strays.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        let most = self.bounds.session_octets;
        // A gap costs nothing to make and much to read.
        let is_near = offset.checked_add(octets).is_some_and(|end| end <= most);
        let fits = has_room && is_near && session.octets + octets <= most;
        match session.messages.get_mut(&message) {
            None | Some(Kept::Dropped) => Ok(()),
            Some(_) if !fits => self.drop_message(id, message, true),
            Some(Kept::Journal { octets: kept }) => {
                *kept += octets;
                if *kept > inline() {
                    // More than it said that it has.
                    return self.drop_message(id, message, true);
                }
                session.octets += octets;
                self.write(id, &Entry::Data { message, offset }, bytes)
            }
            Some(Kept::File { octets: came, end }) => {
                *came += octets;
                *end = (*end).max(offset + octets);
                session.octets += octets;
                let path = session.folder.join(body_name(message));
                self.counts.add_octets(octets);
                let written = self.write_at(path, offset, bytes);
                written.or_else(|error| self.drop_message(id, message, true).and(Err(error)))
            }
        }
    }

    fn message_ends(&mut self, id: u64, message: u32, is_complete: bool) -> io::Result<()> {
        let Some(session) = self.sessions.get_mut(&id) else {
            return Ok(());
        };
        let has_gaps = match session.messages.remove(&message) {
            // It had ended, and its failure was reported since: the last end counts.
            None if !is_complete && message < self.bounds.session_messages => false,
            None | Some(Kept::Dropped) => return Ok(()),
            Some(Kept::Journal { .. }) => false,
            Some(Kept::File { octets, end }) => octets < end,
        };
        let entry = Entry::End {
            message,
            is_complete: is_complete && !has_gaps,
        };
        self.write(id, &entry, &[])
    }

    fn drop_message(&mut self, id: u64, message: u32, is_said: bool) -> io::Result<()> {
        if let Some(session) = self.sessions.get_mut(&id)
            && session.messages.contains_key(&message)
        {
            session.messages.insert(message, Kept::Dropped);
        }
        self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        if is_said {
            return self.write(id, &Entry::Dropped { message }, &[]);
        }
        Ok(())
    }

    /// The session, with its folder; `None`: it is over, or there is no room for one more.
    fn session(&mut self, id: u64) -> io::Result<Option<&mut Session>> {
        if !self.sessions.contains_key(&id) {
            if self.gone.contains(&id) {
                self.counts.strays.fetch_add(1, Ordering::Relaxed);
                return Ok(None);
            }
            let waiting = self.counts.queued.load(Ordering::Relaxed) + self.sessions.len();
            if waiting >= self.bounds.waiting {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                self.remember(id);
                return Ok(None);
            }
            let folder = self.folder.join(format!("{}-{id}", self.run));
            private(&folder)?;
            let session = Session {
                folder,
                octets: 0,
                count: 0,
                messages: HashMap::new(),
                has_facts: false,
                is_closed: false,
                is_finished: false,
            };
            self.sessions.insert(id, session);
        }
        Ok(self.sessions.get_mut(&id))
    }

    fn write(&mut self, id: u64, entry: &Entry, payload: &[u8]) -> io::Result<()> {
        let Some(session) = self.sessions.get(&id) else {
            return Ok(());
        };
        let path = session.folder.join(JOURNAL);
        let file = self.file(path)?;
        let octets = append(file, entry, payload)?;
        self.counts.add_octets(octets);
        Ok(())
    }

    fn write_at(&mut self, path: PathBuf, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(path)?.write_all_at(bytes, offset)
    }

    fn file(&mut self, path: PathBuf) -> io::Result<&mut File> {
        if self.last.as_ref().is_none_or(|(last, _)| *last != path) {
            let mut options = OpenOptions::new();
            options.create(true).mode(0o600);
            // Octets of a file of their own go to their place: appending would ignore it.
            match path.ends_with(JOURNAL) {
                true => options.append(true),
                false => options.write(true).truncate(false),
            };
            self.last = Some((path.clone(), options.open(&path)?));
        }
        let (_, file) = self.last.as_mut().ok_or(io::ErrorKind::NotFound)?;
        Ok(file)
    }

    fn due(&mut self, id: u64) -> Option<Due> {
        let session = self.sessions.get(&id)?;
        if !(session.is_finished && session.is_closed) {
            return None;
        }
        self.last = None;
        self.remember(id);
        self.sessions.remove(&id);
        self.counts.queued.fetch_add(1, Ordering::Relaxed);
        Some(Due {
            key: format!("{}-{id}", self.run),
            session: Some(id),
        })
    }

    fn forget(&mut self, id: u64) {
        self.last = None;
        self.remember(id);
        if let Some(session) = self.sessions.remove(&id)
            && let Err(error) = remove(&session.folder, &self.counts)
        {
            tracing::warn!(%error, "what was recorded of a call that failed isn't removed yet");
        }
    }

    fn remember(&mut self, id: u64) {
        if self.gone.len() == HISTORY_REMEMBERED {
            self.gone.pop_front();
        }
        self.gone.push_back(id);
    }
}

/// Removes a session's folder, its journal last: what is left of a removal that didn't end is
/// still known as what it is.
///
/// # Errors
///
/// The disk's.
pub(super) fn remove(folder: &Path, counts: &Counts) -> io::Result<()> {
    let octets = size_of(folder)?;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.ends_with(JOURNAL) {
            std::fs::remove_file(path)?;
        }
    }
    match std::fs::remove_file(folder.join(JOURNAL)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    std::fs::remove_dir(folder)?;
    counts.take_octets(octets);
    Ok(())
}

/// The name of the file with a message's octets.
pub(super) fn body_name(message: u32) -> String {
    format!("m{message}")
}

/// Makes a folder that nobody else may look into.
pub(super) fn private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Octets of a session's folder.
pub(super) fn size_of(folder: &Path) -> io::Result<u64> {
    let mut octets = 0;
    for entry in std::fs::read_dir(folder)? {
        octets += entry?.metadata()?.len();
    }
    Ok(octets)
}

/// What a far end wrote, as text that isn't too long.
fn text(bytes: &[u8]) -> String {
    let cut = bytes.get(..HISTORY_TEXT_BYTES).unwrap_or(bytes);
    String::from_utf8_lossy(cut).into_owned()
}

/// [`HISTORY_INLINE_BYTES`], as messages are counted.
fn inline() -> u64 {
    u64::try_from(HISTORY_INLINE_BYTES).unwrap_or(u64::MAX)
}

/// The journal's name.
pub(super) const JOURNAL: &str = "journal";
