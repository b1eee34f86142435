//! What is due in group sessions, after every message and in time.

use std::time::Instant;

use dataplane::api::SessionId;

use super::state::{Focus, Parting, Stage, State};
use crate::cpm::policy::user_key;
use crate::engine::Engine;

impl Engine {
    /// Works on a group session; then does what has become due in it, and forgets it when it has
    /// ended.
    pub(super) fn with_focus<R>(
        &mut self,
        id: SessionId,
        work: impl FnOnce(&mut Self, &mut Focus) -> R,
    ) -> Option<R> {
        let mut focus = self.focus.sessions.remove(&id.0)?;
        let result = work(self, &mut focus);
        self.settle_focus(&mut focus);
        if matches!(focus.stage, Stage::Ended) {
            self.forget_focus(*focus);
        } else {
            self.focus.sessions.insert(id.0, focus);
        }
        Some(result)
    }

    /// Does what follows from whatever has happened: offers that are due, notifications, the end.
    fn settle_focus(&mut self, focus: &mut Focus) {
        self.check_end(focus);
        focus.members.count();
        if matches!(focus.stage, Stage::Running) {
            self.close_unused(focus);
            for id in focus.members.due_offers(self.now) {
                self.offer_to(focus, id);
            }
            focus.members.count();
        }
        self.notify_watchers(focus);
        focus.members.count();
        #[cfg(test)]
        focus.members.assert_counted();
        let next = focus.next_deadline();
        if next != focus.armed {
            let deadlines = &mut self.focus.deadlines;
            if let Some(at) = std::mem::replace(&mut focus.armed, next) {
                deadlines.remove(&(at, focus.id.0));
            }
            deadlines.extend(next.map(|at| (at, focus.id.0)));
        }
    }

    /// Does what is due in group sessions.
    pub(in crate::engine) fn handle_focus_timeout(&mut self, now: Instant) {
        self.handle_notices_timeout(now);
        let due = self.focus.deadlines.iter();
        let due = due.take_while(|(at, _)| *at <= now);
        let due: Vec<u64> = due.map(|(_, id)| *id).collect();
        for id in due {
            self.with_focus(SessionId(id), Self::on_focus_deadline);
        }
    }

    fn on_focus_deadline(&mut self, focus: &mut Focus) {
        let now = self.now;
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        focus.members.count();
        for id in focus.members.due(now) {
            let Some(member) = focus.members.get_mut(&id) else {
                continue;
            };
            member.quiet_until.take_if(|until| *until <= now);
            if let Some(exchange) = &mut member.exchange
                && exchange.until.take_if(|until| *until <= now).is_some()
                && let Some(client) = exchange.client
            {
                // One that only ever rings is given up.
                self.tx.cancel(now, client, &[]);
            }
            match &member.state {
                State::Inviting { until, .. } if *until <= now => {
                    self.give_up_inviting(focus, id, 408);
                }
                State::Connected if is_due(member.expires) => {
                    self.counters.expired += 1;
                    self.release(focus, id, Parting::Lost(408));
                }
                State::Connected if is_due(member.lost_until) => self.give_up_lost(focus, id),
                State::Connected if is_due(member.refresh_at) => {
                    self.refresh_member(focus, id);
                }
                State::Inviting { .. }
                | State::Connected
                | State::Opening { .. }
                | State::Asking(_)
                | State::Answering(_)
                | State::Leaving { .. }
                | State::Parting { .. }
                | State::Cancelled { .. } => {}
            }
        }
        self.look_at_due_watchers(focus);
    }

    fn forget_focus(&mut self, mut focus: Focus) {
        self.end_watchers(&mut focus);
        if let Some(at) = focus.armed {
            self.focus.deadlines.remove(&(at, focus.id.0));
        }
        self.focus.identities.remove(&focus.token);
        if let Some(address) = &focus.group.address {
            let key = user_key(address);
            if self.focus.by_group.get(&key) == Some(&focus.id) {
                self.focus.by_group.remove(&key);
            }
        }
        if let Some(load) = self.workers.get_mut(focus.worker) {
            load.sessions = load.sessions.saturating_sub(1);
        }
        self.counters.groups_ended += 1;
    }
}
