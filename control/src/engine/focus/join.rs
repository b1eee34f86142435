//! Participants who come themselves: by the group's address or by the session's identity (SGN-12,
//! SGN-13), and how who has come is answered.

use std::time::Duration;

use dataplane::api::{Act, MemberId, Refusal, SessionId, StreamSet};

use super::Seat;
use super::begin::{INVITER, allows, dialog_key};
use super::state::{Focus, Member, Parting, Pending, Stage, State};
use crate::config::JoinConflict;
use crate::cpm::participating::Role;
use crate::cpm::policy::{Streams, user_key};
use crate::cpm::{body, identity};
use crate::engine::Engine;
use crate::engine::invite::not_acceptable;
use crate::engine::requests::ALLOW;
use crate::media::Refused;
use crate::media::group::{Draft, Offer};
use crate::sip::{Flow, Message, Name, ServerKey};

impl Engine {
    /// An INVITE to a session that there is.
    ///
    /// A user of this server is under the Participating Function's control first (SGN-03).
    pub(super) fn on_join(
        &mut self,
        id: SessionId,
        key: ServerKey,
        request: &Message,
        (flow, own_route): (Flow, Option<&str>),
    ) {
        let Some(own) = self.allowed_by_policy(key, request, own_route) else {
            return;
        };
        self.with_focus(id, |engine, focus| {
            engine.join(focus, (key, request), (flow, own));
        });
    }

    /// The streams that a user of this server may have; refuses who is barred.
    pub(super) fn allowed_by_policy(
        &mut self,
        key: ServerKey,
        request: &Message,
        own_route: Option<&str>,
    ) -> Option<Streams> {
        let role = Role::of(request, own_route, self.settings.role);
        if role != Role::Originating {
            return Some(Streams::ALL);
        }
        let policy = self.policy_of(role, request);
        if policy.barred {
            self.counters.barred += 1;
            self.reply(key, request, 403, "Forbidden");
            return None;
        }
        Some(policy.streams)
    }

    fn join(
        &mut self,
        focus: &mut Focus,
        (key, request): (ServerKey, &Message),
        (flow, own): (Flow, Streams),
    ) {
        let caller = user_key(identity::caller(request).unwrap_or_default());
        if let Some((code, reason)) = refusal(focus, &caller, request) {
            self.counters.groups_refused += 1;
            self.reply(key, request, code, reason);
            return;
        }
        let Some(mut member) = self.new_comer(focus, request, flow) else {
            self.reply(key, request, 400, "Bad Request");
            return;
        };
        member.allowed = member.allowed.within(own);
        let draft = match joiners_draft(focus, &member, request) {
            Ok(draft) => draft,
            Err(refused) => {
                self.counters.offers_refused += 1;
                let response = not_acceptable(request, &refused);
                self.refuse(key, response);
                return;
            }
        };
        // By now it is certain that it takes part: whoever it was before gives way.
        if let Some(before) = focus.member_of(&caller) {
            self.release(focus, before, Parting::Replaced);
        }
        self.tx.trying(key);
        let id = member.id;
        let seat = Seat::Member(focus.id, id);
        self.focus.invites.insert(key, seat);
        member.invites.push(key);
        self.focus.dialogs.insert(dialog_key(&member), seat);
        member.state = State::Asking(Box::new(Pending {
            server: key,
            request: request.clone(),
            draft,
            is_bound: false,
        }));
        focus.admit(member);
        self.accept_comer(focus, id, StreamSet::default());
    }

    /// The worker knows who has come: the participant gets its 200, with the session's identity.
    pub(super) fn on_comer_ready(
        &mut self,
        focus: &mut Focus,
        id: MemberId,
        acts: &[Act],
        refused: Option<Refusal>,
    ) {
        let Some(key) = focus.members.get(&id).map(|member| member.key.clone()) else {
            return;
        };
        let rights = focus.rights(id, &key);
        let contact = self.focus_contact(focus);
        let rules = focus.group.rules.session_expires;
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        let state = std::mem::replace(&mut member.state, State::Connected);
        let State::Answering(mut pending) = state else {
            member.state = state;
            return;
        };
        pending.draft.opened(id, acts);
        let answer = match refused {
            None => member.media.answer(&focus.rooms, pending.draft, rights),
            Some(_) => None,
        };
        let Some(sdp) = answer else {
            self.counters.full_ports += 1;
            self.unavailable(pending.server, &pending.request);
            member.end = Parting::Refused(503);
            if id == INVITER {
                self.end_group(focus, Parting::Refused(503));
            }
            self.remove(focus, id);
            return;
        };
        let mut response = self.acceptance(member, &pending.request, &contact);
        self.note_timer_of_request(member, &pending.request, (&mut response, rules));
        response.set_body("application/sdp", sdp);
        member.goal = member.media.used();
        member.facts.answered = Some(self.now);
        self.respond(pending.server, response);
        focus.touch(id);
        if id == INVITER {
            self.counters.groups_answered += 1;
            self.catch_up(focus);
        } else {
            self.after_acceptance(focus, id);
        }
        self.release_accepted(focus, id);
        self.bring_back(focus, id);
    }

    /// Whoever was to be released while its 200 was on its way is released now.
    fn release_accepted(&mut self, focus: &mut Focus, id: MemberId) {
        let end = focus.members.get(&id).map(|member| member.end);
        if let Some(why) = end.filter(|end| *end != Parting::Stays) {
            self.release(focus, id, why);
        }
    }

    /// Others may have accepted while the inviter's answer was on its way.
    fn catch_up(&self, focus: &mut Focus) {
        let present = focus.members.values().filter(|member| member.is_in());
        let present: Vec<MemberId> = present.map(|member| member.id).collect();
        for id in present {
            self.widen(focus, id);
        }
    }

    /// A 200 in a participant's dialog, without its body.
    pub(super) fn acceptance(&self, member: &Member, request: &Message, contact: &str) -> Message {
        let mut response = Message::response(request, 200, "OK");
        if response.to_tag().is_none() {
            response.set_to_tag(&member.local_tag);
        }
        response
            .headers
            .copy_from(&request.headers, &[Name::RecordRoute]);
        response.headers.push(Name::Contact, contact.to_owned());
        response.headers.push(Name::Allow, ALLOW);
        response.headers.push(
            Name::Supported,
            "timer, norefersub, recipient-list-invite, multiple-refer",
        );
        response
    }

    /// A session timer that a participant's request asks for, in our 200 to it (RFC 4028 §9).
    pub(super) fn note_timer_of_request(
        &self,
        member: &mut Member,
        request: &Message,
        (response, own): (&mut Message, Duration),
    ) {
        let mut options = request.headers.values(Name::Supported);
        let knows = options.any(|option| option.eq_ignore_ascii_case("timer"));
        let asked = timer(request);
        if asked.is_none() && !knows {
            (member.expires, member.refresh_at) = (None, None);
            return;
        }
        let own_s = u32::try_from(own.as_secs()).unwrap_or(u32::MAX);
        let (seconds, refresher) = asked.unwrap_or((own_s, None));
        let is_ours = refresher == Some(Refresher::Uas) || !knows;
        let name = if is_ours { "uas" } else { "uac" };
        response
            .headers
            .push(Name::SessionExpires, format!("{seconds};refresher={name}"));
        if !is_ours {
            response.headers.push(Name::Require, "timer");
        }
        self.set_timer(member, seconds, is_ours);
    }

    /// The session timer in a participant's 2xx.
    pub(super) fn note_timer_of_answer(&self, member: &mut Member, response: &Message) {
        match timer(response) {
            Some((seconds, refresher)) => {
                self.set_timer(member, seconds, refresher != Some(Refresher::Uas));
            }
            None => (member.expires, member.refresh_at) = (None, None),
        }
    }

    fn set_timer(&self, member: &mut Member, seconds: u32, is_ours: bool) {
        let lasts = Duration::from_secs(u64::from(seconds.max(90)));
        member.expires = Some(self.now + lasts);
        member.refresh_at = is_ours.then(|| self.now + lasts / 2);
    }
}

/// Who refreshes a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refresher {
    Uac,
    Uas,
}

/// The seconds and the refresher of Session-Expires (RFC 4028 §4).
fn timer(message: &Message) -> Option<(u32, Option<Refresher>)> {
    let value = message.headers.get(Name::SessionExpires)?;
    let mut parts = value.split(';');
    let seconds = parts.next()?.trim().parse().ok()?;
    let refresher = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        let is_meant = name.trim().eq_ignore_ascii_case("refresher");
        is_meant.then(|| value.trim().to_ascii_lowercase())
    });
    let refresher = match refresher.as_deref() {
        Some("uac") => Some(Refresher::Uac),
        Some("uas") => Some(Refresher::Uas),
        _ => None,
    };
    Some((seconds, refresher))
}

/// Why a user can't come in.
fn refusal(focus: &Focus, caller: &str, request: &Message) -> Option<(u16, &'static str)> {
    if matches!(focus.stage, Stage::Ending { .. } | Stage::Ended) {
        return Some((404, "Not Found"));
    }
    if focus.stage == Stage::Opening {
        return Some((480, "Temporarily Unavailable"));
    }
    let is_known = focus.group.admits(caller) || focus.known.contains(caller);
    let is_allowed = focus.group.may_be_added(caller) && !focus.expelled.contains(caller);
    if !is_known || !is_allowed {
        return Some((403, "Forbidden"));
    }
    let before = focus
        .member_of(caller)
        .and_then(|id| focus.members.get(&id));
    // Its own INVITE begins the session, and nobody has accepted yet.
    if before.is_some_and(|member| matches!(member.state, State::Asking(_))) {
        return Some((480, "Temporarily Unavailable"));
    }
    let is_again = before.is_some();
    if !is_again && focus.participants() >= focus.group.rules.participants_max {
        return Some((486, "Too Many Participants"));
    }
    let own = request.headers.get(Name::ConversationId);
    let known = focus.origin.carried.get(Name::ConversationId);
    let differs = own.is_some() && known.is_some() && own != known;
    if differs && focus.group.rules.join_conflict == JoinConflict::Reject488 {
        return Some((488, "Another Conversation"));
    }
    None
}

/// The rooms that a joiner's offer leads to: those that the session has.
fn joiners_draft(focus: &Focus, member: &Member, request: &Message) -> Result<Draft, Refused> {
    let sdp = body::sdp(request)
        .ok_or_else(|| Refused::not_acceptable(399, "an SDP offer is needed in the INVITE"))?;
    let offer = member.media.read(&sdp)?;
    let mut taken = StreamSet::default();
    let lines = 0..offer.lines().len();
    let fates: Vec<_> = lines
        .map(|index| {
            let room = room_for(focus, (&offer, index), taken, member.allowed)?;
            taken = taken.with(room);
            Some(room)
        })
        .collect();
    let draft = member.media.draft_answer(&focus.rooms, &offer, &fates);
    if draft.streams().is_empty() {
        return Err(Refused::not_acceptable(305, "Incompatible media format"));
    }
    Ok(draft)
}

/// The room that a line is to be in, among those there are.
pub(super) fn room_for(
    focus: &Focus,
    (offer, index): (&Offer, usize),
    taken: StreamSet,
    allowed: Streams,
) -> Option<dataplane::api::StreamId> {
    let line = offer.line(index)?;
    let is_allowed = allows(allowed, line.kind);
    let found = focus.rooms.matching(offer, index, taken)?;
    let is_floors = focus.rooms.floors().contains(found);
    (line.is_on && line.is_supported && (is_allowed || is_floors)).then_some(found)
}
