//! The two threads of the history, and the run loop's end of them.
//!
//! ```text
//!           bounded                      bounded
//! run loop ═════════▶ "history": spool ═════════▶ "history-store": queue, store
//! run loop ◀═════════════════ Told ═══════════════════════╛
//! ```
//!
//! Writing what is heard never waits for a store. What the first thread can't take yet stays with
//! the run loop: records in their ring, where their sender is held back, and the engine's questions,
//! of which a session has two, in a list here.

use std::collections::VecDeque;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use dataplane::api::Record;
use tokio::sync::mpsc;

use super::counts::Counts;
use super::embedded::Embedded;
use super::imap::{Imap, ImapError};
use super::keeper::{Keeper, Tools};
use super::spool::{Bounds, Due, Spool, private};
use super::store::Store;
use super::{Ask, Told};
use crate::admin::HistoryMetrics;
use crate::config::{self, HistoryStore};
use crate::limits::{HISTORY_ANSWERS, HISTORY_END_MARK_S, HISTORY_RECORDS};

/// The users' histories, as the run loop has them.
#[derive(Debug)]
pub struct History {
    inlet: SyncSender<Heard>,
    held: VecDeque<Ask>,
    told: mpsc::Receiver<Told>,
    counts: Arc<Counts>,
    threads: [JoinHandle<()>; 2],
    /// Whoever has it has the folder.
    _lock: File,
}

#[derive(Debug)]
enum Heard {
    Record(Record),
    Ask(Ask),
}

/// Why there can be no histories.
#[derive(Debug)]
pub enum HistoryError {
    /// The folder can't be used.
    Folder(PathBuf, io::Error),
    /// Another relay uses the folder.
    InUse(PathBuf),
    /// The IMAP server's settings can't be used.
    Imap(ImapError),
    /// A thread can't be started.
    Thread(io::Error),
}

impl fmt::Display for HistoryError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path, error) => write!(out, "history.path {}: {error}", path.display()),
            Self::InUse(path) => write!(
                out,
                "history.path {}: another relay uses it; each needs a folder of its own",
                path.display()
            ),
            Self::Imap(error) => error.fmt(out),
            Self::Thread(error) => write!(out, "a thread can't be started: {error}"),
        }
    }
}

impl std::error::Error for HistoryError {}

/// Looks whether the files are there that the settings name.
///
/// # Errors
///
/// [`HistoryError::Imap`].
pub fn check(settings: &config::History, imap: &config::HistoryImap) -> Result<(), HistoryError> {
    if settings.store == HistoryStore::Imap {
        Imap::new(imap).map_err(HistoryError::Imap)?;
    }
    Ok(())
}

impl History {
    /// Opens the spool and the store, and starts the threads; `None`: nothing is recorded.
    ///
    /// What another run left is stored at once.
    ///
    /// # Errors
    ///
    /// [`HistoryError`]; a server that can't be reached now is none.
    pub fn open(
        settings: &config::History,
        imap: &config::HistoryImap,
    ) -> Result<Option<Self>, HistoryError> {
        let Some(path) = (settings.path.as_deref()).filter(|_| settings.store != HistoryStore::Off)
        else {
            return Ok(None);
        };
        let of_folder = |error| HistoryError::Folder(path.to_owned(), error);
        private(path).map_err(of_folder)?;
        let lock = lock(path)?;
        let store = match settings.store {
            HistoryStore::Imap => {
                Store::Imap(Box::new(Imap::new(imap).map_err(HistoryError::Imap)?))
            }
            HistoryStore::Embedded | HistoryStore::Off => {
                let embedded = Embedded::open(&embedded_in(path)).map_err(of_folder)?;
                Store::Embedded(Arc::new(embedded))
            }
        };
        let counts = Arc::new(Counts::default());
        let bounds = Bounds {
            session_octets: settings.session_octets_max,
            session_messages: settings.session_messages_max,
            octets: settings.octets_max,
            waiting: settings.waiting_max,
        };
        let folder = path.join("spool");
        let (spool, left) =
            Spool::open(&folder, run_name(), bounds, Arc::clone(&counts)).map_err(of_folder)?;
        let (tell, told) = mpsc::channel(HISTORY_ANSWERS);
        let tools = Tools {
            store: Arc::new(store),
            spool: folder,
            aside: path.join("unreadable"),
            at_a_time: match settings.store {
                HistoryStore::Imap => imap.connections_max,
                HistoryStore::Embedded | HistoryStore::Off => EMBEDDED_AT_A_TIME,
            },
            retention: settings.retention,
            counts: Arc::clone(&counts),
            told: tell,
            wall_clock,
        };
        let (inlet, heard) = sync_channel(HISTORY_RECORDS);
        let (hand_on, due) = mpsc::channel(HISTORY_RECORDS);
        let listener = Listener {
            spool,
            hand_on,
            ended: VecDeque::new(),
            counts: Arc::clone(&counts),
        };
        let threads = [
            start("history", move || listener.run(left, &heard))?,
            start("history-store", move || keep(tools, due))?,
        ];
        Ok(Some(Self {
            inlet,
            held: VecDeque::new(),
            told,
            counts,
            threads,
            _lock: lock,
        }))
    }

    /// Takes what the engine asks.
    pub fn ask(&mut self, ask: Ask) {
        self.held.push_back(ask);
        self.flush();
    }

    /// Takes what a worker recorded; gives it back where there is no room now.
    ///
    /// # Errors
    ///
    /// The record itself, for the next time.
    pub fn record(&mut self, record: Record) -> Result<(), Record> {
        self.flush();
        if !self.held.is_empty() {
            // What was asked before comes first.
            return Err(record);
        }
        match self.inlet.try_send(Heard::Record(record)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(Heard::Record(record))) => Err(record),
            // The thread is gone only if it panicked: sessions go on without histories.
            Err(TrySendError::Full(Heard::Ask(_)) | TrySendError::Disconnected(_)) => Ok(()),
        }
    }

    /// Hands on what is held.
    pub fn flush(&mut self) {
        while let Some(ask) = self.held.pop_front() {
            match self.inlet.try_send(Heard::Ask(ask)) {
                Ok(()) => {}
                Err(TrySendError::Full(Heard::Ask(ask))) => {
                    self.held.push_front(ask);
                    return;
                }
                Err(TrySendError::Full(Heard::Record(_)) | TrySendError::Disconnected(_)) => {}
            }
        }
    }

    /// Whether something is held: it wants another [`Self::flush`] soon.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Waits for an answer to the engine.
    pub async fn told(&mut self) -> Option<Told> {
        self.told.recv().await
    }

    /// An answer to the engine, if there is one.
    pub fn try_told(&mut self) -> Option<Told> {
        self.told.try_recv().ok()
    }

    /// Its counters.
    #[must_use]
    pub fn metrics(&self) -> HistoryMetrics {
        let since = wall_clock().duration_since(SystemTime::UNIX_EPOCH);
        let now_s = since.map_or(0, |since| since.as_secs());
        self.counts.metrics(now_s, self.held.len())
    }

    /// Ends the threads, and waits a few seconds for what can still be stored. The rest is stored
    /// by the next run.
    pub fn finish(mut self) {
        while !self.held.is_empty() && !self.threads.iter().any(JoinHandle::is_finished) {
            self.flush();
            thread::yield_now();
        }
        // Answers are of no use any more, and must not hold the thread back.
        self.told.close();
        drop(self.inlet);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::warn!("a thread of the history had ended with a panic");
            }
        }
    }
}

/// The first thread's work.
struct Listener {
    spool: Spool,
    hand_on: mpsc::Sender<Due>,
    /// Sessions that have ended and wait for their workers' end marks, and until when.
    ended: VecDeque<(Instant, u64)>,
    counts: Arc<Counts>,
}

impl Listener {
    fn run(mut self, left: Vec<Due>, heard: &Receiver<Heard>) {
        for due in left {
            self.hand_on(Some(due));
        }
        loop {
            let due = match heard.recv_timeout(LOOK) {
                Ok(Heard::Record(record)) => self.spool.record(record, wall_clock()),
                Ok(Heard::Ask(Ask::Begin(facts))) => {
                    self.spool.begin(&facts);
                    None
                }
                Ok(Heard::Ask(Ask::Finish {
                    session,
                    ended,
                    worker_lost,
                })) => self.finish(session, ended, worker_lost),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.hand_on(due);
            self.give_up_waiting();
        }
    }

    fn finish(&mut self, session: u64, ended: SystemTime, worker_lost: bool) -> Option<Due> {
        let due = self.spool.finish(session, ended);
        if worker_lost {
            return due.or_else(|| self.spool.close(session));
        }
        if self.spool.awaits_end_mark(session) {
            let until = clock() + Duration::from_secs(HISTORY_END_MARK_S);
            self.ended.push_back((until, session));
        }
        due
    }

    /// An end mark that doesn't come must not keep a session from being stored.
    fn give_up_waiting(&mut self) {
        while let Some((until, session)) = self.ended.front().copied() {
            let is_waiting = self.spool.awaits_end_mark(session);
            if is_waiting && until > clock() {
                return;
            }
            self.ended.pop_front();
            if is_waiting {
                self.counts.unmarked.fetch_add(1, Ordering::Relaxed);
                let due = self.spool.close(session);
                self.hand_on(due);
            }
        }
    }

    fn hand_on(&self, due: Option<Due>) {
        if let Some(due) = due {
            // The other thread is gone only if it panicked; the next run finds the folder.
            let _left = self.hand_on.blocking_send(due);
        }
    }
}

/// Where the embedded store of a history's folder is.
#[must_use]
pub fn embedded_in(path: &Path) -> PathBuf {
    path.join("store")
}

/// The second thread's work.
fn keep(tools: Tools, due: mpsc::Receiver<Due>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(Keeper::new(tools).run(due)),
        Err(error) => tracing::error!(%error, "histories can't be stored; they wait on the disk"),
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, HistoryError> {
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(work).map_err(HistoryError::Thread)
}

fn lock(path: &Path) -> Result<File, HistoryError> {
    let of_folder = |error| HistoryError::Folder(path.to_owned(), error);
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true);
    let file = file.open(path.join("lock")).map_err(of_folder)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(HistoryError::InUse(path.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Err(of_folder(error)),
    }
}

/// What tells this run from all others: when it began.
fn run_name() -> String {
    let since = wall_clock().duration_since(SystemTime::UNIX_EPOCH);
    format!("{:016x}", since.map_or(0, |since| since.as_nanos()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own has no run loop to ask for the time"
)]
fn clock() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own has no run loop to ask for the time"
)]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// How often end marks are looked for that don't come.
const LOOK: Duration = Duration::from_secs(1);
/// Sessions that are brought to the disk at a time: their waits overlap.
const EMBEDDED_AT_A_TIME: usize = 8;
