//! The participants of a session, and what all of them come to.
//!
//! A session of a thousand is asked after every message who is due, what is used and when
//! something is to be done next. So each participant's share in that is kept, and only the shares
//! of those who were touched since are taken anew: a message costs the same in a small session and
//! in a large one.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Bound;
use std::time::Instant;

use dataplane::api::{MemberId, StreamSet};

use super::state::{Member, State, union};
use crate::engine::Map;
use crate::media::group::Draft;

/// The participants by their numbers.
#[derive(Default)]
pub(in crate::engine) struct Roll {
    entries: BTreeMap<MemberId, Entry>,
    /// Whoever has an address: a user may be leaving by one dialog and be in by another.
    by_key: Map<String, Vec<MemberId>>,
    /// Who is who in floor control.
    users: HashSet<u16>,
    /// Those whose shares may not be as counted, each once.
    touched: Vec<MemberId>,
    sums: Sums,
    /// Those to whom an offer is due, or will be when they may be asked.
    due: BTreeSet<MemberId>,
    deadlines: BTreeSet<(Instant, MemberId)>,
    /// Everybody, in the order of the changes that touched them last.
    by_change: BTreeSet<(u64, MemberId)>,
}

struct Entry {
    member: Member,
    counted: Share,
    is_touched: bool,
}

/// What one participant adds to the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is counted by itself")]
struct Share {
    is_in: bool,
    is_pending: bool,
    is_invited: bool,
    is_leaving: bool,
    used: StreamSet,
    wanted: StreamSet,
    is_due: bool,
    deadline: Option<Instant>,
    changed_at: u64,
}

/// What all participants come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::engine) struct Sums {
    /// Those who take part.
    pub present: usize,
    /// Those who may still come to take part.
    pub pending: usize,
    /// Those who were invited and have not answered.
    pub invited: usize,
    /// Those whose media are being released.
    pub leaving: usize,
    used: Uses,
    wanted: Uses,
}

/// How many participants have each stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Uses([u32; 32]);

impl Uses {
    fn change(&mut self, streams: StreamSet, by: i8) {
        for (bit, count) in (0_u32..).zip(&mut self.0) {
            if streams.0 >> bit & 1 == 1 {
                *count = count.saturating_add_signed(i32::from(by));
            }
        }
    }

    fn set(&self) -> StreamSet {
        let used = (0_u32..)
            .zip(&self.0)
            .filter(|(_, count)| **count > 0)
            .fold(0, |set, (bit, _)| set | 1 << bit);
        StreamSet(used)
    }
}

impl Sums {
    fn change(&mut self, share: &Share, by: i8) {
        let counts = [
            (share.is_in, &mut self.present),
            (share.is_pending, &mut self.pending),
            (share.is_invited, &mut self.invited),
            (share.is_leaving, &mut self.leaving),
        ];
        for (is_counted, count) in counts {
            if is_counted {
                *count = count.saturating_add_signed(isize::from(by));
            }
        }
        self.used.change(share.used, by);
        self.wanted.change(share.wanted, by);
    }

    /// The rooms that anybody uses.
    pub fn used(&self) -> StreamSet {
        self.used.set()
    }

    /// The rooms that somebody uses, or was offered, or is to be offered.
    pub fn wanted(&self) -> StreamSet {
        self.wanted.set()
    }
}

impl Share {
    fn of(member: &Member) -> Self {
        let is_connected = matches!(member.state, State::Connected);
        let is_behind = member.goal != member.media.used();
        let is_idle = member.exchange.is_none() && member.asked.is_none() && member.late.is_none();
        Self {
            is_in: member.is_in(),
            is_pending: member.is_pending(),
            is_invited: matches!(member.state, State::Opening { .. } | State::Inviting { .. }),
            is_leaving: matches!(member.state, State::Leaving { .. }),
            used: used_by(member),
            wanted: wanted_by(member),
            is_due: is_connected && is_behind && is_idle,
            deadline: member.deadline(),
            changed_at: member.changed_at,
        }
    }
}

/// The rooms that a participant uses, once it takes part.
fn used_by(member: &Member) -> StreamSet {
    match &member.state {
        State::Answering(pending) => pending.draft.streams(),
        State::Connected => member.media.used(),
        State::Opening { .. }
        | State::Inviting { .. }
        | State::Asking(_)
        | State::Leaving { .. }
        | State::Parting { .. }
        | State::Cancelled { .. } => StreamSet::default(),
    }
}

/// The rooms that a participant uses, or was offered, or is to be offered.
fn wanted_by(member: &Member) -> StreamSet {
    let own = match &member.state {
        State::Opening { draft } | State::Inviting { draft, .. } => draft.streams(),
        State::Asking(pending) | State::Answering(pending) => pending.draft.streams(),
        State::Connected
        | State::Leaving { .. }
        | State::Parting { .. }
        | State::Cancelled { .. } => StreamSet::default(),
    };
    let asked = member.asked.as_ref().map(|asked| asked.draft.streams());
    let offered = member.exchange.as_ref().map(|one| one.draft.streams());
    let late = member.late.as_ref().map(Draft::streams);
    let sets = [asked, offered, late, Some(own), Some(member.goal)];
    let sets = sets.into_iter().flatten().chain([member.media.all()]);
    sets.fold(StreamSet::default(), union)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "it is asked as a map is")]
impl Roll {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn get(&self, id: &MemberId) -> Option<&Member> {
        self.entries.get(id).map(|entry| &entry.member)
    }

    /// A participant who is about to change.
    pub fn get_mut(&mut self, id: &MemberId) -> Option<&mut Member> {
        if self.touched.len() >= TOUCHED_MAX {
            self.count();
        }
        let entry = self.entries.get_mut(id)?;
        if !std::mem::replace(&mut entry.is_touched, true) {
            self.touched.push(*id);
        }
        Some(&mut entry.member)
    }

    pub fn insert(&mut self, id: MemberId, member: Member) {
        self.remove(&id);
        self.users.insert(member.media.user());
        let of_user = self.by_key.entry(member.key.clone()).or_default();
        of_user.push(id);
        let counted = Share::of(&member);
        self.put(id, &counted);
        let entry = Entry {
            member,
            counted,
            is_touched: false,
        };
        self.entries.insert(id, entry);
    }

    pub fn remove(&mut self, id: &MemberId) -> Option<Member> {
        let entry = self.entries.remove(id)?;
        self.take(*id, &entry.counted);
        self.users.remove(&entry.member.media.user());
        if entry.is_touched {
            self.touched.retain(|one| one != id);
        }
        if let Some(of_user) = self.by_key.get_mut(&entry.member.key) {
            of_user.retain(|one| one != id);
            if of_user.is_empty() {
                self.by_key.remove(&entry.member.key);
            }
        }
        Some(entry.member)
    }

    /// Who somebody is to be in floor control: nobody else of those whose legs the worker may still
    /// have, and as seldom as can be somebody who was there before.
    pub fn free_user(&self, id: MemberId) -> u16 {
        let first = id.0.wrapping_sub(1) % USERS;
        let users = (0..USERS).map(|step| (first + step) % USERS + 1);
        let mut users = users.filter_map(|user| u16::try_from(user).ok());
        // There are fewer participants than numbers.
        let free = users.find(|user| !self.users.contains(user));
        free.unwrap_or(u16::MAX)
    }

    pub fn keys(&self) -> impl Iterator<Item = &MemberId> {
        self.entries.keys()
    }

    pub fn values(&self) -> impl Iterator<Item = &Member> {
        self.entries.values().map(|entry| &entry.member)
    }

    /// Everybody, as everybody is about to change.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.touched.clear();
        self.touched.extend(self.entries.keys());
        self.entries.values_mut().map(|entry| {
            entry.is_touched = true;
            &mut entry.member
        })
    }

    /// The dialogs of who has an address.
    pub fn of_user(&self, key: &str) -> impl Iterator<Item = &Member> {
        let ids = self.by_key.get(key).into_iter().flatten();
        ids.filter_map(|id| self.get(id))
    }

    /// What all of them come to now.
    pub fn sums(&self) -> Sums {
        let mut sums = self.sums;
        for entry in self.touched.iter().filter_map(|id| self.entries.get(id)) {
            sums.change(&entry.counted, -1);
            sums.change(&Share::of(&entry.member), 1);
        }
        sums
    }

    /// Takes the shares anew of those who were touched.
    pub fn count(&mut self) {
        for id in std::mem::take(&mut self.touched) {
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            entry.is_touched = false;
            let share = Share::of(&entry.member);
            let before = std::mem::replace(&mut entry.counted, share);
            if before != share {
                self.take(id, &before);
                self.put(id, &share);
            }
        }
    }

    /// What is kept is what there is, counted from the beginning.
    #[cfg(test)]
    pub fn assert_counted(&self) {
        let mut fresh = Self::default();
        for (id, entry) in self.entries.iter().take(64) {
            assert!(!entry.is_touched && self.touched.is_empty());
            assert_eq!(entry.counted, Share::of(&entry.member), "{id:?}");
            fresh.put(*id, &entry.counted);
            assert!(self.of_user(&entry.member.key).any(|one| one.id == *id));
        }
        if self.entries.len() <= 64 {
            assert_eq!(fresh.sums, self.sums);
            assert_eq!(fresh.due, self.due);
            assert_eq!(fresh.deadlines, self.deadlines);
            assert_eq!(fresh.by_change, self.by_change);
        }
    }

    fn put(&mut self, id: MemberId, share: &Share) {
        self.sums.change(share, 1);
        if share.is_due {
            self.due.insert(id);
        }
        if let Some(at) = share.deadline {
            self.deadlines.insert((at, id));
        }
        self.by_change.insert((share.changed_at, id));
    }

    fn take(&mut self, id: MemberId, share: &Share) {
        self.sums.change(share, -1);
        self.due.remove(&id);
        if let Some(at) = share.deadline {
            self.deadlines.remove(&(at, id));
        }
        self.by_change.remove(&(share.changed_at, id));
    }

    /// Those to whom an offer is due now, as of the last count.
    pub fn due_offers(&self, now: Instant) -> Vec<MemberId> {
        let due = self.due.iter().filter(|id| {
            let member = self.get(id);
            member.is_some_and(|member| member.quiet_until.is_none_or(|until| until <= now))
        });
        due.copied().collect()
    }

    /// When something is due, as of the last count.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Those for whom something is due now, as of the last count.
    pub fn due(&self, now: Instant) -> Vec<MemberId> {
        let due = self.deadlines.iter().take_while(|(at, _)| *at <= now);
        due.map(|(_, id)| *id).collect()
    }

    /// Those who were touched by changes after one, in the order of these changes, as of the last
    /// count.
    pub fn changed_since(&self, change: u64) -> impl Iterator<Item = &Member> {
        let after = Bound::Excluded((change, MemberId(u32::MAX)));
        let changed = self.by_change.range((after, Bound::Unbounded));
        changed.filter_map(|(_, id)| self.get(id))
    }
}

/// So many are counted together.
const TOUCHED_MAX: usize = 16;
/// Numbers of users in floor control, from 1 on (RFC 8855 §5.1).
const USERS: u32 = 65_535;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_floor_control_are_counted_from_one_again_past_those_who_are_there() {
        let mut roll = Roll::default();
        let user = |roll: &Roll, id| roll.free_user(MemberId(id));
        assert_eq!((user(&roll, 1), user(&roll, 65_535)), (1, 65_535));
        assert_eq!((user(&roll, 65_536), user(&roll, 65_537)), (1, 2));
        roll.users.extend([1, 2, 4, 65_535]);
        assert_eq!((user(&roll, 65_535), user(&roll, 65_536)), (3, 3));
        assert_eq!((user(&roll, 65_539), user(&roll, 131_073)), (5, 3));
        assert_eq!(user(&roll, u32::MAX), 3);
    }
}
