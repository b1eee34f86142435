//! The thread that has the file, and the bounded queue to it.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use super::Cdr;
use crate::admin::CdrMetrics;
use crate::config;
use crate::limits::CDR_WAITING;

/// Writes session records, a JSON line each, and never makes its caller wait.
#[derive(Debug)]
pub struct CdrWriter {
    to: Destination,
    counts: Arc<Counts>,
}

#[derive(Debug)]
enum Destination {
    Log,
    File {
        lines: SyncSender<Box<Cdr>>,
        thread: JoinHandle<()>,
        parties: bool,
    },
}

#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    diverted: AtomicU64,
}

impl CdrWriter {
    /// Opens the file, if there is one, and starts the thread that writes it.
    ///
    /// The file is appended to, and opened again by name when it was moved away.
    ///
    /// # Errors
    ///
    /// When the file can't be opened or the thread can't be started.
    pub fn open(settings: &config::Cdr) -> io::Result<Self> {
        let counts = Arc::new(Counts::default());
        let Some(path) = &settings.file else {
            let to = Destination::Log;
            return Ok(Self { to, counts });
        };
        let mut book = Book::open(path)?;
        let (lines, waiting) = sync_channel(CDR_WAITING);
        let seen = Arc::clone(&counts);
        let thread = thread::Builder::new()
            .name("cdr".to_owned())
            .spawn(move || book.keep(&waiting, &seen))?;
        let to = Destination::File {
            lines,
            thread,
            parties: settings.parties,
        };
        Ok(Self { to, counts })
    }

    /// Writes a record.
    pub fn write(&self, mut cdr: Cdr) {
        match &self.to {
            Destination::Log => {
                cdr.parties = None;
                self.counts.written.fetch_add(1, Ordering::Relaxed);
                tracing::info!(target: "cdr", "{}", line_of(&cdr));
            }
            Destination::File { lines, parties, .. } => {
                if !parties {
                    cdr.parties = None;
                }
                match lines.try_send(Box::new(cdr)) {
                    Ok(()) => {}
                    Err(TrySendError::Full(cdr) | TrySendError::Disconnected(cdr)) => {
                        self.counts.divert(*cdr);
                    }
                }
            }
        }
    }

    /// What was written so far.
    #[must_use]
    pub fn counts(&self) -> CdrMetrics {
        CdrMetrics {
            written: self.counts.written.load(Ordering::Relaxed),
            diverted: self.counts.diverted.load(Ordering::Relaxed),
        }
    }

    /// Writes what still waits, and brings it to the disk. Waits for it: for the end of a run.
    pub fn finish(self) -> CdrMetrics {
        let counts = Arc::clone(&self.counts);
        if let Destination::File { lines, thread, .. } = self.to {
            drop(lines);
            if thread.join().is_err() {
                tracing::warn!("the thread that wrote session records had ended with a panic");
            }
        }
        CdrMetrics {
            written: counts.written.load(Ordering::Relaxed),
            diverted: counts.diverted.load(Ordering::Relaxed),
        }
    }
}

impl Counts {
    /// Keeps a record that the file could not take: in the log, where parties are not named.
    fn divert(&self, mut cdr: Cdr) {
        cdr.parties = None;
        self.diverted.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(target: "cdr", "{}", line_of(&cdr));
    }
}

/// The file, as the writing thread has it.
#[derive(Debug)]
pub(super) struct Book {
    path: Box<Path>,
    file: File,
    /// A write failed and may have left half a line.
    torn: bool,
}

impl Book {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.into(),
            file: append_to(path)?,
            torn: false,
        })
    }

    /// Writes what comes, all that waits at once, until nobody can send any more.
    fn keep(&mut self, waiting: &Receiver<Box<Cdr>>, counts: &Counts) {
        while let Ok(first) = waiting.recv() {
            let batch: Vec<Box<Cdr>> = std::iter::once(first)
                .chain(waiting.try_iter().take(CDR_WAITING))
                .collect();
            match self.write(&batch) {
                Ok(()) => {
                    let written = u64::try_from(batch.len()).unwrap_or(u64::MAX);
                    counts.written.fetch_add(written, Ordering::Relaxed);
                }
                Err(error) => {
                    tracing::warn!(%error, "session records can't be written to the file");
                    for cdr in batch {
                        counts.divert(*cdr);
                    }
                }
            }
        }
        if let Err(error) = self.file.sync_all() {
            tracing::warn!(%error, "session records may not be on the disk");
        }
    }

    pub(super) fn write(&mut self, batch: &[Box<Cdr>]) -> io::Result<()> {
        self.reopen_if_moved()?;
        let mut text = String::new();
        if self.torn {
            text.push('\n');
        }
        for cdr in batch {
            text.push_str(&line_of(cdr));
            text.push('\n');
        }
        self.torn = true;
        self.file.write_all(text.as_bytes())?;
        self.torn = false;
        Ok(())
    }

    /// A file that was moved away is left, and one of its name begun: rotation needs no signal.
    fn reopen_if_moved(&mut self) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt;
        let opened = self.file.metadata()?;
        let same = std::fs::metadata(&self.path)
            .is_ok_and(|named| (named.dev(), named.ino()) == (opened.dev(), opened.ino()));
        if !same {
            self.file = append_to(&self.path)?;
            self.torn = false;
        }
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// A record as JSON, without the line's end.
pub(super) fn line_of(cdr: &Cdr) -> String {
    serde_json::to_string(cdr).unwrap_or_else(|error| {
        // Only a map with keys that are no text makes this fail, and a record has none.
        let mut line = String::new();
        let _ = write!(
            line,
            "{{\"session\":{},\"error\":\"{error}\"}}",
            cdr.session
        );
        line
    })
}
