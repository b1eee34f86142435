//! Who is shown, and who gets whom.
//!
//! All get the live source that spoke last; that one gets who spoke before it. Who never spoke comes
//! after all who did, in the order of their first packets.

use std::cmp::Reverse;
use std::mem;
use std::time::{Duration, Instant};

use crate::limits::SWITCH_HISTORIES;

use super::Switch;
use super::history::History;
use super::receiver::Wait;

impl Switch {
    /// Decides who is shown; says whether that changed.
    pub(super) fn choose(&mut self, now: Instant) -> bool {
        let mut best = self.best(now);
        self.choose_at = None;
        if let [Some(first), _] = self.shown
            && best[0] != Some(first)
            && let Some(until) = self.stays_until(first)
            && now < until
        {
            self.choose_at = Some(until);
            best = [Some(first), best[0]];
        }
        if best == self.shown {
            return false;
        }
        if best[0] != self.shown[0] {
            self.chosen_at = Some(now);
        }
        self.shown = best;
        self.assign_all(now);
        true
    }

    /// Until when the one who is shown stays so; who never spoke makes way at once.
    fn stays_until(&self, first: u32) -> Option<Instant> {
        let source = &self.sources[first as usize];
        let dwell = Duration::from_millis(self.spec.dwell_ms.into());
        let chosen = self.chosen_at.filter(|_| source.live && source.spoke > 0)?;
        Some(chosen + dwell)
    }

    /// The two that are to be shown first.
    fn best(&mut self, now: Instant) -> [Option<u32>; 2] {
        let mut best = [None; 2];
        for (source, seat) in self.sources.iter_mut().zip(0_u32..) {
            source.live &= source.silent_at().is_none_or(|at| now < at);
            if !source.live {
                continue;
            }
            let one = Some((source.spoke, Reverse(source.since), seat));
            let [first, second] = best;
            if one > first {
                best = [one, first];
            } else if one > second {
                best[1] = one;
            }
        }
        best.map(|found| found.map(|(_, _, seat)| seat))
    }

    /// Gives every member the source that it is to get.
    fn assign_all(&mut self, now: Instant) {
        for seat in (0_u32..).take(self.receivers.len()) {
            self.assign(seat, now);
        }
    }

    /// Lets a member wait for the source that it is to get, or leaves it what it has.
    pub(super) fn assign(&mut self, seat: u32, now: Instant) {
        let receiver = &self.receivers[seat as usize];
        if !receiver.may_receive {
            self.unwait(seat);
            self.unwatch(seat);
            return;
        }
        let Some(source) = self.source_for(seat) else {
            self.unwait(seat);
            return;
        };
        if receiver
            .watching
            .is_some_and(|watch| watch.source == source)
        {
            self.unwait(seat);
        } else if receiver.waiting.is_none_or(|wait| wait.source != source) {
            self.unwait(seat);
            self.wait(seat, source, now);
        }
    }

    /// The first of those who are shown that isn't the member itself and has a format it takes.
    fn source_for(&self, seat: u32) -> Option<u32> {
        let receiver = &self.receivers[seat as usize];
        let mut shown = self.shown.iter().flatten().copied();
        shown.find(|&source| {
            let stream = self.sources[source as usize].stream.as_ref();
            let format = stream.map(|stream| stream.payload.format);
            source != seat && format.is_some_and(|format| receiver.payload_type(format).is_some())
        })
    }

    /// A source's packets come again, or in another format.
    pub(super) fn goes_live(&mut self, seat: u32, now: Instant) {
        let source = &mut self.sources[seat as usize];
        let was_live = mem::replace(&mut source.live, true);
        if !was_live {
            self.order += 1;
            source.since = self.order;
        }
        if source.is_wanted() {
            self.keep_history(seat);
        }
        if !self.choose(now) && was_live {
            self.assign_all(now);
        }
    }

    /// Takes note of sources that are silent, and says whether there are some.
    pub(super) fn forget_silent(&mut self, now: Instant) -> bool {
        let mut found = false;
        for place in 0..self.wanted.len() + self.shown.len() {
            let shown = place.checked_sub(self.wanted.len());
            let seat = match shown {
                Some(place) => self.shown[place],
                None => Some(self.wanted[place]),
            };
            let Some(seat) = seat else {
                continue;
            };
            if self.sources[seat as usize]
                .silent_at()
                .is_some_and(|at| now >= at)
            {
                self.stops(seat);
                found = true;
            }
        }
        found
    }

    /// A source sends no more, for now. Nothing of it is kept: a room where nobody sends has no
    /// history.
    pub(super) fn stops(&mut self, seat: u32) {
        let source = &mut self.sources[seat as usize];
        source.live = false;
        if source.history.take().is_some() {
            self.histories -= 1;
        }
        self.histories -= self.spare.len();
        self.spare = Vec::new();
    }

    /// A source's stream is about to be replaced: those who watch it wait for the new one.
    pub(super) fn restart(&mut self, seat: u32, now: Instant) {
        let source = &mut self.sources[seat as usize];
        let watchers = mem::take(&mut source.watchers);
        for watcher in watchers {
            let receiver = &mut self.receivers[watcher as usize];
            if let Some(stream) = &self.sources[seat as usize].stream {
                receiver.part(stream);
            }
            if receiver.waiting.is_none() {
                self.wait(watcher, seat, now);
            }
        }
        self.release(seat);
    }

    /// A source goes: nobody watches it or waits for it any more.
    pub(super) fn part_all(&mut self, seat: u32) {
        let source = &mut self.sources[seat as usize];
        for watcher in mem::take(&mut source.watchers) {
            let receiver = &mut self.receivers[watcher as usize];
            match &source.stream {
                Some(stream) => _ = receiver.part(stream),
                None => receiver.watching = None,
            }
        }
        for waiter in mem::take(&mut source.waiting) {
            self.receivers[waiter as usize].waiting = None;
        }
        self.release(seat);
    }

    fn wait(&mut self, seat: u32, source: u32, now: Instant) {
        let from = &mut self.sources[source as usize];
        if from.waiting.is_empty() {
            from.waited_since = Some(now);
        }
        self.receivers[seat as usize].waiting = Some(Wait {
            source,
            at: from.waiting.len(),
        });
        from.waiting.push(seat);
        if !self.wanted.contains(&source) {
            self.wanted.push(source);
        }
        self.keep_history(source);
    }

    fn unwait(&mut self, seat: u32) {
        let Some(wait) = self.receivers[seat as usize].waiting.take() else {
            return;
        };
        let waiting = &mut self.sources[wait.source as usize].waiting;
        waiting.swap_remove(wait.at);
        if let Some(&moved) = waiting.get(wait.at)
            && let Some(moved) = &mut self.receivers[moved as usize].waiting
        {
            moved.at = wait.at;
        }
        self.release(wait.source);
    }

    pub(super) fn unwatch(&mut self, seat: u32) {
        let receiver = &mut self.receivers[seat as usize];
        let Some(watch) = receiver.watching else {
            return;
        };
        let source = &mut self.sources[watch.source as usize];
        match &source.stream {
            Some(stream) => _ = receiver.part(stream),
            None => receiver.watching = None,
        }
        source.watchers.swap_remove(watch.at);
        if let Some(&moved) = source.watchers.get(watch.at)
            && let Some(moved) = &mut self.receivers[moved as usize].watching
        {
            moved.at = watch.at;
        }
        self.release(watch.source);
    }

    /// Keeps the last packets of a source from now on, as far as there may be histories.
    fn keep_history(&mut self, seat: u32) {
        let source = &mut self.sources[seat as usize];
        if source.history.is_some() {
            return;
        }
        source.history = self.spare.pop();
        if source.history.is_none() && self.histories < SWITCH_HISTORIES {
            self.histories += 1;
            source.history = Some(History::new());
        }
        if source.history.is_none() {
            self.counts.histories_full += 1;
        }
    }

    /// Gives back what a source has that nobody wants any more.
    fn release(&mut self, seat: u32) {
        let source = &mut self.sources[seat as usize];
        if source.is_wanted() {
            return;
        }
        source.watchers = Vec::new();
        source.waiting = Vec::new();
        source.waited_since = None;
        source.door = None;
        source.key.asked = false;
        if let Some(mut history) = source.history.take() {
            history.clear();
            self.spare.push(history);
        }
        self.wanted.retain(|wanted| *wanted != seat);
    }
}
