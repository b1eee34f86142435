//! The subscriptions to a session, and when each of them is to be looked at.
//!
//! A change looks at all of them once, and not again before `notify_interval` is over; in between,
//! a subscription is looked at when its own NOTIFY is answered, its own time is up or there is
//! something for it alone. So what a session does for its subscribers follows from the time that
//! passes, not from how much happens in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dataplane::api::MemberId;

use crate::engine::Map;
use crate::engine::session::DialogKey;
use crate::sip::{ClientKey, Dialog};

/// A subscription.
pub(in crate::engine) struct Watcher {
    pub id: u32,
    /// Whose it is: the address in one spelling.
    pub user: String,
    pub usage: Usage,
    pub watched: Watched,
    /// The NOTIFY that isn't answered.
    pub client: Option<ClientKey>,
    /// The last NOTIFY is out: nothing follows.
    pub is_over: bool,
}

/// Which dialog a subscription is in.
pub(in crate::engine) enum Usage {
    /// One of its own.
    Own(Box<Dialog>),
    /// That of a participant's session.
    Member(MemberId),
}

/// What is told.
pub(in crate::engine) enum Watched {
    /// Who takes part.
    Conference {
        until: Instant,
        version: u32,
        /// What was told; `None`: all is due.
        seen: Option<Seen>,
        not_before: Instant,
        /// Something waits for `not_before`.
        waits: bool,
        /// It ends as soon as all is told: who asked wants to know once, or no longer.
        ends: bool,
    },
    /// What becomes of a REFER.
    Referral {
        /// Its CSeq number, where it came in a dialog that others may be in, too.
        id: Option<u32>,
        /// Status lines that are to be told.
        told: VecDeque<Bytes>,
        /// Outcomes that are still to come.
        owed: usize,
    },
}

/// What a subscriber was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Seen {
    /// The last change.
    pub upto: u64,
    /// The change at which everything began to be told; that may take several documents, in the
    /// order in which things changed.
    pub begun: u64,
}

impl Seen {
    /// Of those who left up to this change it needs no word: it was told, or never heard of them.
    pub fn left(self) -> u64 {
        self.upto.max(self.begun)
    }
}

impl Watcher {
    /// When it is to be looked at.
    fn due(&self) -> Option<Instant> {
        match &self.watched {
            Watched::Conference {
                until,
                not_before,
                waits,
                ..
            } => {
                let waits = *waits && self.client.is_none();
                Some(if waits {
                    *not_before.min(until)
                } else {
                    *until
                })
            }
            Watched::Referral { .. } => None,
        }
    }

    fn is_referral(&self) -> bool {
        matches!(self.watched, Watched::Referral { .. })
    }

    /// Its time is up.
    pub fn is_up(&self, now: Instant) -> bool {
        matches!(&self.watched, Watched::Conference { until, .. } if *until <= now)
    }

    pub fn dialog_key(&self) -> Option<DialogKey> {
        match &self.usage {
            Usage::Own(dialog) => Some(DialogKey::kept(&dialog.call_id, &dialog.local_tag)),
            Usage::Member(_) => None,
        }
    }
}

/// The subscriptions to a session.
#[derive(Default)]
pub(in crate::engine) struct Watchers {
    all: BTreeMap<u32, Watcher>,
    /// Those of each user.
    by_user: Map<String, Vec<u32>>,
    ever: u32,
    referrals: usize,
    /// Those to be looked at now.
    ready: BTreeSet<u32>,
    deadlines: BTreeSet<(Instant, u32)>,
    /// The change that everybody was looked at for.
    round_of: u64,
    /// Not before then is everybody looked at for another one.
    round_at: Option<Instant>,
}

impl Watchers {
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Of them: those that are told what becomes of a REFER.
    pub fn referrals(&self) -> usize {
        self.referrals
    }

    /// The number of the next one.
    pub fn next_id(&mut self) -> u32 {
        self.ever += 1;
        self.ever
    }

    pub fn ids(&self) -> Vec<u32> {
        self.all.keys().copied().collect()
    }

    /// A user's subscriptions to participant information.
    pub fn of_user(&self, user: &str) -> Vec<u32> {
        let all = self.by_user.get(user).into_iter().flatten();
        let watching = all.filter(|id| self.get(**id).is_some_and(|one| !one.is_referral()));
        watching.copied().collect()
    }

    pub fn get(&self, id: u32) -> Option<&Watcher> {
        self.all.get(&id)
    }

    /// A new one, or one that was taken out.
    pub fn put(&mut self, watcher: Watcher) {
        self.referrals += usize::from(watcher.is_referral());
        if let Some(at) = watcher.due() {
            self.deadlines.insert((at, watcher.id));
        }
        let of_user = self.by_user.entry(watcher.user.clone()).or_default();
        of_user.push(watcher.id);
        self.all.insert(watcher.id, watcher);
    }

    /// The same, and it is looked at.
    pub fn put_ready(&mut self, watcher: Watcher) {
        self.ready.insert(watcher.id);
        self.put(watcher);
    }

    pub fn take(&mut self, id: u32) -> Option<Watcher> {
        let watcher = self.all.remove(&id)?;
        self.referrals -= usize::from(watcher.is_referral());
        if let Some(at) = watcher.due() {
            self.deadlines.remove(&(at, id));
        }
        if let Some(of_user) = self.by_user.get_mut(&watcher.user) {
            of_user.retain(|one| *one != id);
            if of_user.is_empty() {
                self.by_user.remove(&watcher.user);
            }
        }
        self.ready.remove(&id);
        Some(watcher)
    }

    /// Changes one, which is then looked at.
    pub fn with<R>(&mut self, id: u32, change: impl FnOnce(&mut Watcher) -> R) -> Option<R> {
        let mut watcher = self.take(id)?;
        let result = change(&mut watcher);
        self.put_ready(watcher);
        Some(result)
    }

    /// Has everybody looked at, where something has changed since that was done last; whether it
    /// was time for it.
    pub fn begin_round(&mut self, change: u64, now: Instant, interval: Duration) -> bool {
        let is_early = self.round_at.is_some_and(|at| at > now);
        if change == self.round_of || is_early {
            return false;
        }
        self.round_of = change;
        self.round_at = Some(now + interval);
        self.ready.extend(self.all.keys());
        true
    }

    /// The change up to which nobody needs to be told who left; `None`: nobody is told anything.
    pub fn told_to_all(&self) -> Option<u64> {
        let seen = self
            .all
            .values()
            .filter_map(|watcher| match &watcher.watched {
                Watched::Conference { seen, .. } => seen.map(Seen::left),
                Watched::Referral { .. } => None,
            });
        seen.min()
    }

    pub fn next_ready(&mut self) -> Option<u32> {
        self.ready.pop_first()
    }

    /// Those whose own time has come.
    pub fn due(&self, now: Instant) -> Vec<u32> {
        let due = self.deadlines.iter().take_while(|(at, _)| *at <= now);
        due.map(|(_, id)| *id).collect()
    }

    /// When one of them is to be looked at.
    pub fn next_deadline(&self, change: u64) -> Option<Instant> {
        let own = self.deadlines.first().map(|(at, _)| *at);
        let is_behind = change != self.round_of && !self.all.is_empty();
        let round = self.round_at.filter(|_| is_behind);
        own.into_iter().chain(round).min()
    }
}
