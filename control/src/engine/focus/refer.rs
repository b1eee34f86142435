//! Who is added and removed by others: REFER, inside a participant's dialog or outside of it
//! (ADD, REM; RFC 3515, RFC 4488, RFC 4579 §5.5, RFC 5368; CON-25).

use bytes::Bytes;
use dataplane::api::{MemberId, SessionId};

use super::state::{Focus, Parting, Stage, State};
use super::watchers::{Usage, Watched};
use crate::cpm::identity;
use crate::cpm::policy::user_key;
use crate::cpm::referral::{self, Referral, Referred};
use crate::engine::Engine;
use crate::limits::REMEMBERED_USERS;
use crate::sip::{Dialog, Flow, Message, Name, ServerKey};

impl Engine {
    /// A REFER by the session's identity.
    pub(super) fn on_refer(
        &mut self,
        id: SessionId,
        key: ServerKey,
        request: &Message,
        flow: Flow,
    ) {
        self.with_focus(id, |engine, focus| {
            let tag = engine.tx.new_tag();
            let dialog = Dialog::uas(request, &tag, flow).ok();
            let dialog = dialog.map(|dialog| Usage::Own(Box::new(dialog.kept())));
            let caller = user_key(identity::caller(request).unwrap_or_default());
            engine.refer(focus, (key, request), &caller, dialog);
        });
    }

    /// A REFER of a participant in its dialog.
    pub(super) fn on_member_refer(
        &mut self,
        focus: &mut Focus,
        id: MemberId,
        key: ServerKey,
        request: &Message,
    ) {
        let Some(member) = focus.members.get(&id) else {
            return;
        };
        let caller = member.key.clone();
        self.refer(focus, (key, request), &caller, Some(Usage::Member(id)));
    }

    fn refer(
        &mut self,
        focus: &mut Focus,
        (key, request): (ServerKey, &Message),
        caller: &str,
        usage: Option<Usage>,
    ) {
        let Ok(referral) = referral::of(request) else {
            self.reply(key, request, 400, "Bad Request");
            return;
        };
        if let Some((code, reason)) = refusal(focus, caller, &referral) {
            self.counters.groups_refused += 1;
            self.reply(key, request, code, reason);
            return;
        }
        let is_silent = referral.is_silent;
        let watcher = match usage.filter(|_| !is_silent) {
            None => None,
            Some(usage) => {
                let watcher =
                    self.watch_referral(focus, (caller, usage), request, referral.users.len());
                if watcher.is_none() {
                    // What is accepted has its outcome told (RFC 3515 §2.4.4).
                    self.unavailable(key, request);
                    return;
                }
                watcher
            }
        };
        self.accept_referral(focus, (key, request), watcher, is_silent);
        for user in &referral.users {
            match user.leaves {
                true => self.remove_referred(focus, user, watcher),
                false => self.add_referred(focus, user, watcher),
            }
        }
    }

    /// 202, or 200 where the outcome isn't told (RFC 4488 §4).
    fn accept_referral(
        &mut self,
        focus: &Focus,
        (key, request): (ServerKey, &Message),
        watcher: Option<u32>,
        is_silent: bool,
    ) {
        let (code, reason) = if is_silent {
            (200, "OK")
        } else {
            (202, "Accepted")
        };
        let mut response = Message::response(request, code, reason);
        let tag = watcher.and_then(|id| focus.watcher_tag(id));
        if let Some(tag) = tag.filter(|_| response.to_tag().is_none()) {
            response.set_to_tag(&tag);
        }
        response
            .headers
            .copy_from(&request.headers, &[Name::RecordRoute]);
        let contact = self.focus_contact(focus);
        response.headers.push(Name::Contact, contact);
        if is_silent {
            response.headers.push(Name::ReferSub, "false");
        }
        self.refuse(key, response);
    }

    fn remove_referred(&mut self, focus: &mut Focus, user: &Referred, watcher: Option<u32>) {
        let key = user_key(&user.address);
        let found = focus.member_of(&key);
        if let Some(id) = found {
            if focus.expelled.len() < REMEMBERED_USERS {
                focus.expelled.insert(key);
            }
            let is_waiting = focus
                .members
                .get(&id)
                .is_some_and(|member| matches!(member.state, State::Inviting { .. }));
            self.release(focus, id, Parting::Removed);
            if is_waiting {
                self.after_refusal(focus, 487);
            }
        }
        let code = if found.is_some() { 200 } else { 404 };
        self.tell_referrer(focus, watcher, code);
    }

    fn add_referred(&mut self, focus: &mut Focus, user: &Referred, watcher: Option<u32>) {
        let key = user_key(&user.address);
        if focus.member_of(&key).is_some() {
            self.tell_referrer(focus, watcher, 200);
            return;
        }
        if !focus.group.may_be_added(&key) {
            self.tell_referrer(focus, watcher, 403);
            return;
        }
        focus.expelled.remove(&key);
        self.invite_user(focus, &user.address, watcher);
    }

    /// Tells who asked for a participant what has become of it.
    pub(super) fn tell_referrers(&self, focus: &mut Focus, id: MemberId, code: u16) {
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        for referral in std::mem::take(&mut member.referrals) {
            self.tell_referrer(focus, Some(referral), code);
        }
    }

    pub(super) fn tell_referrer(&self, focus: &mut Focus, watcher: Option<u32>, code: u16) {
        let Some(id) = watcher else { return };
        focus.watchers.with(id, |watcher| {
            if let Watched::Referral { told, owed, .. } = &mut watcher.watched {
                *owed = owed.saturating_sub(1);
                let line = Bytes::from(format!("SIP/2.0 {code} {}\r\n", phrase(code)));
                told.push_back(line);
            }
        });
    }
}

/// Why a REFER is refused as a whole (ADD-03, REM-03).
fn refusal(focus: &Focus, caller: &str, referral: &Referral) -> Option<(u16, &'static str)> {
    if !matches!(focus.stage, Stage::Running | Stage::Inviting) {
        return Some((480, "Temporarily Unavailable"));
    }
    let is_in = focus
        .member_of(caller)
        .and_then(|id| focus.members.get(&id))
        .is_some_and(|member| member.is_in() || matches!(member.state, State::Asking(_)));
    let group = &focus.group;
    let adds = referral.users.iter().filter(|user| !user.leaves);
    let new = adds.filter(|user| focus.member_of(&user_key(&user.address)).is_none());
    let new: Vec<&Referred> = new.collect();
    let removes = referral.users.iter().filter(|user| user.leaves);
    // Everybody may remove oneself.
    let mut others = removes.filter(|user| user_key(&user.address) != caller);
    let may_remove = others.next().is_none() || group.grants(group.rules.remove, caller);
    let may_add = new.is_empty() || group.grants(group.rules.add, caller);
    let is_barred = new.len() == 1
        && new
            .iter()
            .all(|user| !group.may_be_added(&user_key(&user.address)));
    if !is_in && !group.is_owner(caller) || !may_remove || !may_add || is_barred {
        return Some((403, "Forbidden"));
    }
    if focus.participants() + new.len() > group.rules.participants_max {
        return Some((486, "Too Many Participants"));
    }
    None
}

fn phrase(code: u16) -> &'static str {
    match code {
        200 => "OK",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        486 => "Busy Here",
        487 => "Request Terminated",
        603 => "Decline",
        _ => "Result",
    }
}
