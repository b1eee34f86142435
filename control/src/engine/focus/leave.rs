//! Who leaves, who is released, and the session's end (LVE, REL; three steps: the media, then the
//! BYE, then its answer).

use dataplane::api::{MemberId, SessionId, StreamSet};

use super::begin::{INVITER, dialog_key};
use super::orders::After;
use super::state::{Departed, Focus, Parting, Stage, State};
use crate::engine::{Engine, Output};
use crate::limits::DEPARTED_REMEMBERED;
use crate::sip::{Message, Method, Name, ServerKey};

impl Engine {
    /// A participant leaves: its media are released, then its BYE is answered (LVE-03).
    pub(super) fn on_member_bye(
        &mut self,
        focus: &mut Focus,
        id: MemberId,
        key: ServerKey,
        request: Message,
    ) {
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        match &mut member.state {
            State::Connected => {
                member.end = Parting::Left;
                member.state = State::Leaving {
                    bye: Some((key, request)),
                };
                self.order_leave(focus, id);
            }
            State::Leaving { bye: bye @ None } => *bye = Some((key, request)),
            // Our own BYE has crossed it.
            State::Parting { .. } | State::Cancelled { .. } | State::Leaving { .. } => {
                self.reply(key, &request, 200, "OK");
            }
            // RFC 3261 §15: a BYE in an early dialog ends the INVITE.
            State::Asking(_) => {
                self.reply(key, &request, 200, "OK");
                if id == INVITER {
                    self.end_group(focus, Parting::Cancelled);
                }
            }
            // Its 200 is on its way; it is asked to say so again then.
            State::Answering(_) => self.reply(key, &request, 500, "Server Internal Error"),
            // Only after its 2xx, which was lost then: when that comes again it is ended.
            State::Inviting { .. } => {
                self.reply(key, &request, 200, "OK");
                self.tell_referrers(focus, id, 480);
                self.cancel_invitation(focus, id, Parting::Left);
                self.after_refusal(focus, 480);
            }
            State::Opening { .. } => {
                self.reply(key, &request, 481, "Call/Transaction Does Not Exist");
            }
        }
    }

    /// The inviter gives up before anybody has accepted.
    pub(super) fn on_member_cancel(&mut self, focus: &mut Focus, id: MemberId, _invite: ServerKey) {
        let is_asking = focus
            .members
            .get(&id)
            .is_some_and(|member| matches!(member.state, State::Asking(_)));
        if is_asking && id == INVITER {
            self.end_group(focus, Parting::Cancelled);
        }
    }

    fn order_leave(&mut self, focus: &mut Focus, id: MemberId) {
        if matches!(focus.stage, Stage::Ending { .. }) {
            // All media are being released, or are released.
            if focus.stage == (Stage::Ending { is_released: true }) {
                self.on_media_left(focus, id);
            }
            return;
        }
        let act = self.leave_act(focus.settings.drain, id, StreamSet::ALL);
        self.order_group(focus, act.into_iter().collect(), After::Left(id));
    }

    /// Releases a participant: the media first, then it is told (REL-01 to REL-03).
    pub(super) fn release(&mut self, focus: &mut Focus, id: MemberId, why: Parting) {
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        match &member.state {
            State::Connected => {
                member.end = why;
                member.state = State::Leaving { bye: None };
                self.order_leave(focus, id);
            }
            State::Inviting { .. } => self.cancel_invitation(focus, id, why),
            // The worker binds its ports: they go, and it is never asked.
            State::Opening { .. } => {
                member.end = why;
                let act = self.leave_act(focus.settings.drain, id, StreamSet::ALL);
                self.order_group(focus, act.into_iter().collect(), After::Nothing);
                self.remove(focus, id);
            }
            State::Asking(_) => {
                member.end = why;
                self.refuse_waiting(focus, id);
            }
            // It follows its 200, which is on its way.
            State::Answering(_) => member.end = why,
            State::Leaving { .. } | State::Parting { .. } | State::Cancelled { .. } => {}
        }
    }

    /// Whoever waits for an answer is refused; the session doesn't begin without its inviter.
    fn refuse_waiting(&mut self, focus: &mut Focus, id: MemberId) {
        if id == INVITER {
            self.end_group(focus, Parting::Cancelled);
        } else {
            self.refuse_comer(focus, id);
        }
    }

    /// A participant's media are released: its BYE is answered, or it gets one.
    pub(super) fn on_media_left(&mut self, focus: &mut Focus, id: MemberId) {
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        let State::Leaving { bye } = &mut member.state else {
            return;
        };
        match bye.take() {
            Some((key, request)) => {
                self.reply(key, &request, 200, "OK");
                self.remove(focus, id);
            }
            None => self.send_bye(focus, id),
        }
    }

    /// Sends a participant its BYE; without a way to do so it is gone.
    fn send_bye(&mut self, focus: &mut Focus, id: MemberId) {
        let session = focus.id;
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        let reason = member.end.reason();
        let bye = member.dialog.as_mut().map(|dialog| {
            let mut bye = dialog.request(Method::Bye);
            bye.headers.push(Name::Reason, reason);
            bye
        });
        let client = bye.and_then(|bye| self.send_in_dialog(member, session, bye));
        match client {
            Some(client) => {
                member.state = State::Parting { client };
                focus.touch(id);
            }
            None => self.remove(focus, id),
        }
    }

    /// Ends the session: all media first, then everybody is told (LVE-04).
    pub(super) fn end_group(&mut self, focus: &mut Focus, why: Parting) {
        if matches!(focus.stage, Stage::Ending { .. } | Stage::Ended) {
            return;
        }
        for member in focus.members.values_mut() {
            if member.end == Parting::Stays {
                member.end = why;
            }
        }
        focus.stage = Stage::Ending { is_released: false };
        let act = self.close_act(focus.settings.drain, StreamSet::ALL);
        self.order_group(focus, vec![act], After::Released);
    }

    /// The same where the worker has nothing of it.
    pub(super) fn drop_all(&mut self, focus: &mut Focus, why: Parting) {
        for member in focus.members.values_mut() {
            member.end = why;
        }
        focus.stage = Stage::Ending { is_released: true };
        self.part_all(focus);
    }

    /// All media are released: everybody is told.
    pub(super) fn part_all(&mut self, focus: &mut Focus) {
        let ids: Vec<MemberId> = focus.members.keys().copied().collect();
        for id in ids {
            let Some(member) = focus.members.get_mut(&id) else {
                continue;
            };
            match &mut member.state {
                State::Connected => self.send_bye(focus, id),
                State::Leaving { .. } => self.on_media_left(focus, id),
                State::Inviting { .. } => {
                    let why = member.end;
                    self.cancel_invitation(focus, id, why);
                }
                State::Opening { .. } => self.remove(focus, id),
                State::Asking(_) | State::Answering(_) => self.refuse_comer(focus, id),
                State::Parting { .. } | State::Cancelled { .. } => {}
            }
        }
    }

    /// A participant whose INVITE waits is refused.
    fn refuse_comer(&mut self, focus: &mut Focus, id: MemberId) {
        let Some(member) = focus.members.get(&id) else {
            return;
        };
        let (code, reason) = match member.end {
            Parting::Refused(code) | Parting::Lost(code) => (code, reason_of(code)),
            Parting::Disconnected | Parting::Silent => (408, "Request Timeout"),
            Parting::Cancelled => (487, "Request Terminated"),
            Parting::WorkerLost | Parting::Drained => (503, "Service Unavailable"),
            Parting::Stays
            | Parting::Left
            | Parting::Removed
            | Parting::Replaced
            | Parting::TooFew => (480, "Temporarily Unavailable"),
        };
        if let State::Asking(pending) | State::Answering(pending) = &member.state {
            let mut response = Message::response(&pending.request, code, reason);
            response.set_to_tag(&member.local_tag);
            if code == 503 {
                let after = self.settings.retry_after_s.to_string();
                response.headers.push(Name::RetryAfter, after);
            }
            let server = pending.server;
            self.respond(server, response);
        }
        self.remove(focus, id);
    }

    /// A participant is gone, and its record is written.
    pub(super) fn remove(&mut self, focus: &mut Focus, id: MemberId) {
        let Some(mut member) = focus.members.remove(&id) else {
            return;
        };
        self.focus.dialogs.remove(&dialog_key(&member));
        for key in &member.invites {
            self.focus.invites.remove(key);
        }
        if let Some(asked) = member.asked.take() {
            self.reply(asked.server, &asked.request, 487, "Request Terminated");
        }
        if let Some(client) = member.exchange.take().and_then(|exchange| exchange.client) {
            self.tx.cancel(self.now, client, &[]);
            self.clients
                .insert(client, crate::engine::Purpose::Abandoned);
        }
        for referral in std::mem::take(&mut member.referrals) {
            // One who came by another dialog is there, as was asked for.
            let code = if member.end == Parting::Replaced {
                200
            } else {
                487
            };
            self.tell_referrer(focus, Some(referral), code);
        }
        focus.change += 1;
        if focus.departed.len() >= DEPARTED_REMEMBERED {
            let oldest = focus.departed.pop_front();
            focus.forgotten = oldest.map_or(focus.forgotten, |one| one.at);
        }
        focus.departed.push_back(Departed {
            address: member.address.clone(),
            key: member.key.clone(),
            contact: member.contact.clone(),
            status: member.end.status(),
            at: focus.change,
        });
        let record = self.record_of(focus, &member);
        self.outputs.push_back(Output::Cdr(Box::new(record)));
        self.end_watching(focus, &member.key);
        self.after_parting(focus, &member.key, member.end, id);
    }

    /// Whether the session goes on without who is gone (LVE-04, LVE-05).
    fn after_parting(&mut self, focus: &mut Focus, key: &str, end: Parting, id: MemberId) {
        if focus.stage != Stage::Running || end == Parting::Replaced {
            return;
        }
        let is_originator =
            id == INVITER || *key == crate::cpm::policy::user_key(&focus.origin.inviter);
        if is_originator && focus.group.rules.originator_leaves_ends {
            self.end_group(focus, Parting::TooFew);
        }
    }

    /// Ends a session that has too few participants left, or nobody.
    pub(super) fn check_end(&mut self, focus: &mut Focus) {
        match focus.stage {
            Stage::Running => {
                let sums = focus.members.sums();
                let waits = sums.pending + sums.leaving > 0;
                let least = focus.group.rules.participants_min;
                if sums.present == 0 || (sums.present < least && !waits) {
                    self.end_group(focus, Parting::TooFew);
                }
            }
            Stage::Ending { is_released: true } if focus.members.is_empty() => {
                focus.stage = Stage::Ended;
            }
            Stage::Opening | Stage::Inviting | Stage::Ending { .. } | Stage::Ended => {}
        }
    }

    /// Rooms that nobody uses, was offered or is to be offered end.
    pub(super) fn close_unused(&mut self, focus: &mut Focus) {
        if focus.is_inviting() {
            return;
        }
        let kept = super::state::union(focus.members.sums().wanted(), focus.rooms.floors());
        let unused = super::state::without(focus.rooms.all(), kept);
        if !unused.is_empty() {
            focus.rooms.end(unused);
            let act = self.close_act(focus.settings.drain, unused);
            self.order_group(focus, vec![act], After::Ended(unused));
        }
    }

    /// Ends every group session.
    pub(in crate::engine) fn end_all_groups(&mut self) {
        self.give_all_gathered();
        let ids: Vec<u64> = self.focus.sessions.keys().copied().collect();
        for id in ids {
            self.with_focus(SessionId(id), |engine, focus| {
                engine.end_group(focus, Parting::Drained);
            });
        }
    }
}

/// What a refusal that somebody gave is called.
fn reason_of(code: u16) -> &'static str {
    match code {
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        480 => "Temporarily Unavailable",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        503 => "Service Unavailable",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ => "Refused",
    }
}
