//! The queue of sessions that are due: each is tried until it is stored once.
//!
//! ```text
//!            ┌──────────────── refused: this one later, 1 s to 10 min ◀──┐
//!            ▼                                                           │
//! due ─▶ waiting ─▶ attempts, a few at a time ─▶ stored ─▶ Told, its folder is removed
//!            ▲                                                           │
//!            └──── out: one probe at a time, 1 s to 1 min, until it works ◀──┘
//! ```
//!
//! The queue itself is the spool's folders, so it outlives the process.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::counts::Counts;
use super::journal::Uid;
use super::spool::{Due, JOURNAL, remove, size_of};
use super::store::{Failure, Store};
use super::{NotYet, Told};
use crate::limits::{HISTORY_ENDING_S, HISTORY_OUTAGE_S, HISTORY_REFUSED_S};

/// What the queue works with.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) store: Arc<Store>,
    /// The folder with the sessions' folders.
    pub(super) spool: PathBuf,
    /// Where sessions go whose record can't be read.
    pub(super) aside: PathBuf,
    /// Attempts at a time.
    pub(super) at_a_time: usize,
    /// How long the embedded store keeps what it has.
    pub(super) retention: Option<Duration>,
    pub(super) counts: Arc<Counts>,
    pub(super) told: mpsc::Sender<Told>,
    pub(super) wall_clock: fn() -> SystemTime,
}

#[derive(Debug)]
pub(super) struct Keeper {
    tools: Tools,
    /// By when they may be tried, and their order.
    waiting: BTreeMap<(Instant, u64), Waiting>,
    attempts: JoinSet<Result<Option<Uid>, Failure>>,
    tried: HashMap<Id, (u64, Waiting)>,
    /// Since when each session is due, in their order.
    since: BTreeMap<u64, u64>,
    next: u64,
    outage: Option<Outage>,
}

#[derive(Debug)]
struct Waiting {
    due: Due,
    failures: u32,
}

/// The store can't be reached.
#[derive(Debug)]
struct Outage {
    failures: u32,
    probe_at: Instant,
}

impl Keeper {
    pub(super) fn new(tools: Tools) -> Self {
        Self {
            tools,
            waiting: BTreeMap::new(),
            attempts: JoinSet::new(),
            tried: HashMap::new(),
            since: BTreeMap::new(),
            next: 0,
            outage: None,
        }
    }

    /// Stores what is due until nobody can say so any more, and then what still can be.
    pub(super) async fn run(mut self, mut due: mpsc::Receiver<Due>) {
        let mut purge_at = Instant::now();
        let mut end_at = None;
        loop {
            self.try_some();
            let is_over = end_at.is_some_and(|at| at <= Instant::now());
            let is_idle = self.attempts.is_empty() && self.ready_at().is_none_or(is_later);
            if end_at.is_some() && (is_over || is_idle) {
                return;
            }
            let wake_at = [self.ready_at(), Some(purge_at), end_at];
            let wake_at = wake_at.into_iter().flatten().min().unwrap_or(purge_at);
            tokio::select! {
                next = due.recv(), if end_at.is_none() => match next {
                    Some(due) => self.take(due).await,
                    None => end_at = Some(Instant::now() + Duration::from_secs(HISTORY_ENDING_S)),
                },
                Some(done) = self.attempts.join_next_with_id() => self.settle(done).await,
                () = sleep_until(wake_at) => {}
            }
            if purge_at <= Instant::now() {
                purge_at = Instant::now() + PURGE;
                self.purge();
            }
        }
    }

    /// Puts a session into the queue.
    async fn take(&mut self, due: Due) {
        let number = self.next;
        self.next += 1;
        let journal = self.tools.spool.join(&due.key).join(JOURNAL);
        let heard = std::fs::metadata(journal).and_then(|of| of.modified());
        self.since.insert(
            number,
            seconds(heard.unwrap_or_else(|_| (self.tools.wall_clock)())),
        );
        self.show_oldest();
        if self.outage.is_some() {
            self.tell(due.session, Err(NotYet::Queued)).await;
        }
        let waiting = Waiting { due, failures: 0 };
        self.waiting.insert((Instant::now(), number), waiting);
    }

    /// When something can be tried; `None`: nothing waits, or as much is tried as may be.
    fn ready_at(&self) -> Option<Instant> {
        let places = match self.outage {
            Some(_) => 1,
            None => self.tools.at_a_time,
        };
        if self.attempts.len() >= places {
            return None;
        }
        let ((first, _), _) = self.waiting.first_key_value()?;
        let probe_at = self.outage.as_ref().map(|outage| outage.probe_at);
        Some(probe_at.map_or(*first, |at| at.max(*first)))
    }

    fn try_some(&mut self) {
        while self.ready_at().is_some_and(|at| !is_later(at)) {
            let Some(((_, number), waiting)) = self.waiting.pop_first() else {
                return;
            };
            let folder = self.tools.spool.join(&waiting.due.key);
            let key = waiting.due.key.clone();
            let store = Arc::clone(&self.tools.store);
            let is_retried = waiting.failures > 0 || waiting.due.session.is_none();
            let attempt = self
                .attempts
                .spawn(async move { store.keep(&folder, &key, is_retried).await });
            self.tried.insert(attempt.id(), (number, waiting));
        }
    }

    /// What has come of an attempt.
    async fn settle(&mut self, done: Result<(Id, Result<Option<Uid>, Failure>), JoinError>) {
        let (id, result) = match done {
            Ok(done) => done,
            Err(error) => (error.id(), Err(Failure::Refused(error.to_string()))),
        };
        let Some((number, waiting)) = self.tried.remove(&id) else {
            return;
        };
        let counts = Arc::clone(&self.tools.counts);
        if !matches!(result, Err(Failure::Out(_))) && self.outage.take().is_some() {
            counts.is_out.store(false, Ordering::Relaxed);
            tracing::info!("the store of histories is back");
        }
        match result {
            Ok(uid) => {
                self.leave(number);
                if let Some(uid) = uid {
                    counts.stored.fetch_add(1, Ordering::Relaxed);
                    self.tell(waiting.due.session, Ok(uid)).await;
                }
                self.remove(&waiting.due);
            }
            Err(Failure::Unreadable(error)) => {
                self.leave(number);
                self.set_aside(&waiting.due, &error);
            }
            Err(failure) => {
                counts.failed.fetch_add(1, Ordering::Relaxed);
                if waiting.failures == 0 {
                    self.tell(waiting.due.session, Err(NotYet::Queued)).await;
                }
                self.again(number, waiting, &failure);
            }
        }
    }

    /// Puts a session back into the queue.
    fn again(&mut self, number: u64, mut waiting: Waiting, failure: &Failure) {
        let now = Instant::now();
        let key = &waiting.due.key;
        waiting.failures = waiting.failures.saturating_add(1);
        let at = if matches!(failure, Failure::Out(_)) {
            self.go_out(now, failure);
            // If it is this session that the store breaks on, others come first.
            now + pause(waiting.failures, HISTORY_OUTAGE_S)
        } else {
            if waiting.failures == 1 {
                tracing::warn!(session = key, %failure, "the store refuses a history");
            }
            now + pause(waiting.failures, HISTORY_REFUSED_S)
        };
        self.waiting.insert((at, number), waiting);
    }

    fn go_out(&mut self, now: Instant, failure: &Failure) {
        let failures = match &self.outage {
            None => {
                self.tools.counts.is_out.store(true, Ordering::Relaxed);
                tracing::error!(%failure, "the store of histories is out; they wait on the disk");
                1
            }
            // Of those that were tried together, the first has told.
            Some(outage) if outage.probe_at > now => return,
            Some(outage) => outage.failures.saturating_add(1),
        };
        let probe_at = now + pause(failures, HISTORY_OUTAGE_S);
        self.outage = Some(Outage { failures, probe_at });
    }

    fn remove(&self, due: &Due) {
        let folder = self.tools.spool.join(&due.key);
        if let Err(error) = remove(&folder, &self.tools.counts) {
            // It is known as stored: the next start removes it.
            tracing::warn!(session = due.key, %error, "a stored history's record isn't removed");
        }
    }

    fn set_aside(&self, due: &Due, error: &std::io::Error) {
        self.tools.counts.unreadable.fetch_add(1, Ordering::Relaxed);
        tracing::error!(session = due.key, %error, "the record of a session can't be read");
        let from = self.tools.spool.join(&due.key);
        let octets = size_of(&from).unwrap_or(0);
        let moved = std::fs::create_dir_all(&self.tools.aside)
            .and_then(|()| std::fs::rename(from, self.tools.aside.join(&due.key)));
        match moved {
            Ok(()) => self.tools.counts.take_octets(octets),
            Err(error) => tracing::warn!(session = due.key, %error, "it isn't set aside either"),
        }
    }

    /// A session leaves the queue.
    fn leave(&mut self, number: u64) {
        self.since.remove(&number);
        let queued = &self.tools.counts.queued;
        let _always_some = queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |all| {
            Some(all.saturating_sub(1))
        });
        self.show_oldest();
    }

    fn show_oldest(&self) {
        let oldest = self.since.first_key_value().map_or(0, |(_, since)| *since);
        self.tools.counts.oldest_s.store(oldest, Ordering::Relaxed);
    }

    /// Tells the engine, unless the session is of an earlier run.
    async fn tell(&self, session: Option<u64>, uid: Result<Uid, NotYet>) {
        if let Some(session) = session {
            let uid = uid.map(|uid| uid.number.to_string());
            // Nobody listens at the end of a run.
            let _unheard = self.tools.told.send(Told { session, uid }).await;
        }
    }

    fn purge(&self) {
        let (Some(age), Store::Embedded(store)) = (self.tools.retention, &*self.tools.store) else {
            return;
        };
        let (store, now) = (Arc::clone(store), (self.tools.wall_clock)());
        drop(tokio::task::spawn_blocking(move || {
            match store.purge(now, age) {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "old histories are removed"),
                Err(error) => tracing::warn!(%error, "old histories can't be removed"),
            }
        }));
    }
}

/// Twice as long after each failure.
fn pause(failures: u32, seconds_max: u64) -> Duration {
    let doubled = 1_u64 << failures.saturating_sub(1).min(16);
    Duration::from_secs(doubled.min(seconds_max))
}

fn is_later(at: Instant) -> bool {
    at > Instant::now()
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(1, |since| since.as_secs())
}

/// How often what is old is looked for.
const PURGE: Duration = Duration::from_secs(3600);
