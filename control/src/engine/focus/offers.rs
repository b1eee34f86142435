//! Offers to participants: what others have added or removed, and refreshes (MOD-03, MOD-07,
//! OMD-06, OMD-12, OMD-13).

use std::time::{Duration, Instant};

use dataplane::api::{Act, MemberId, Refusal, StreamSet};

use super::begin::identity_of;
use super::orders::After;
use super::state::{Exchange, Focus, Member, Parting, Stage, State, without};
use crate::cpm::body;
use crate::engine::Engine;
use crate::engine::requests::ALLOW;
use crate::media::group::{Draft, Rights};
use crate::sip::{ClientKey, Message, Method, Name};

impl Engine {
    /// Offers a participant the rooms that it is to use.
    pub(super) fn offer_to(&mut self, focus: &mut Focus, id: MemberId) {
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        let draft = member.media.draft_offer(&focus.rooms, member.goal);
        let removed = without(member.media.used(), draft.streams());
        if draft.streams() == member.media.used() && draft.opened_streams().is_empty() {
            // What it lacks can't be had over its transports.
            member.goal = member.media.used();
            return;
        }
        self.make_offer(focus, id, draft, removed);
    }

    /// Has the legs made that an offer needs; what has gone with its worker is let go first.
    fn make_offer(&mut self, focus: &mut Focus, id: MemberId, draft: Draft, removed: StreamSet) {
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        let replaced = member.media.replaced_by(&draft);
        let leave = self.leave_act(Duration::ZERO, id, replaced);
        let mut acts: Vec<Act> = leave.into_iter().collect();
        acts.extend(draft.joins(id, &identity_of(member)));
        member.exchange = Some(Exchange {
            client: None,
            until: None,
            draft,
            removed,
        });
        if acts.is_empty() {
            self.on_offer_bound(focus, id, &[], None);
        } else {
            self.order_group(focus, acts, After::Offered(id));
        }
    }

    /// A session timer is half over: the same offer again (RFC 4028 §10).
    pub(super) fn refresh_member(&mut self, focus: &mut Focus, id: MemberId) {
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        // A 2xx says anew when the session expires; after all else it is refreshed once more.
        let expires = member.expires;
        member.refresh_at = expires.and_then(|expires| refresh_again(self.now, expires));
        self.offer_again(focus, id);
    }

    /// Offers a participant what it has, where nothing else is being agreed.
    pub(super) fn offer_again(&mut self, focus: &mut Focus, id: MemberId) {
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        if !is_lasting(focus.stage) {
            return;
        }
        if member.exchange.is_some() || member.asked.is_some() || member.late.is_some() {
            // Whatever is under way refreshes it, too, unless it is refused.
            return;
        }
        let draft = member.media.draft_offer(&focus.rooms, member.media.used());
        self.make_offer(focus, id, draft, StreamSet::default());
    }

    /// The ports of an offer are bound: it goes out.
    pub(super) fn on_offer_bound(
        &mut self,
        focus: &mut Focus,
        id: MemberId,
        acts: &[Act],
        refused: Option<Refusal>,
    ) {
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        if refused.is_some() {
            self.counters.full_ports += 1;
            member.exchange = None;
            member.goal = member.media.used();
            if !member.media.gone().is_empty() {
                // The place of a worker that is gone is soon another one's.
                member.refresh_by(self.now + BRING_BACK_AGAIN);
            }
            return;
        }
        if self.send_offer(focus, id, acts).is_none() {
            self.undo_offer(focus, id);
        }
    }

    fn send_offer(&mut self, focus: &mut Focus, id: MemberId, acts: &[Act]) -> Option<()> {
        let contact = self.focus_contact(focus);
        let own = focus.group.rules.session_expires.as_secs();
        let session = focus.id;
        let key = focus.members.get(&id)?.key.clone();
        let rights = focus.rights(id, &key);
        let member = focus.members.get_mut(&id)?;
        let exchange = member.exchange.as_mut()?;
        exchange.draft.opened(id, acts);
        let sdp = member.media.offer(&focus.rooms, &exchange.draft, rights)?;
        let mut invite = member.dialog.as_mut()?.request(Method::Invite);
        invite.headers.push(Name::Contact, contact);
        invite.headers.push(Name::Allow, ALLOW);
        invite.headers.push(Name::Supported, "timer, norefersub");
        if member.expires.is_some() {
            let value = format!("{own};refresher=uas");
            invite.headers.push(Name::SessionExpires, value);
        }
        invite.set_body("application/sdp", sdp);
        let client = self.send_in_dialog(member, session, invite)?;
        let exchange = member.exchange.as_mut()?;
        exchange.client = Some(client);
        exchange.until = Some(self.now + focus.group.rules.validity);
        Some(())
    }

    /// An offer that could not be sent.
    fn undo_offer(&mut self, focus: &mut Focus, id: MemberId) {
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        member.goal = member.media.used();
        let opened = member.exchange.take().map(|one| one.draft.opened_streams());
        let acts = self.leave_act(focus.settings.drain, id, opened.unwrap_or_default());
        self.order_group(focus, acts.into_iter().collect(), After::Nothing);
    }

    /// A response to an offer inside the dialog, or none in time.
    pub(super) fn on_offer_response(
        &mut self,
        focus: &mut Focus,
        id: MemberId,
        (client, code): (ClientKey, u16),
        response: Option<&Message>,
    ) {
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        let of_this = |one: &mut Exchange| one.client == Some(client);
        if code < 200 {
            return;
        }
        let is_connected = matches!(member.state, State::Connected);
        let Some(exchange) = member.exchange.take_if(of_this) else {
            return;
        };
        if !is_connected || !is_lasting(focus.stage) {
            self.acknowledge_late(focus, id, response.filter(|_| code < 300));
            return;
        }
        match (code, response) {
            (200..300, Some(response)) => self.on_offer_accepted(focus, id, exchange, response),
            // RFC 5057: the dialog is gone.
            (408 | 481, _) => self.release(focus, id, Parting::Lost(code)),
            (491, _) => self.try_later(focus, id, exchange.draft.opened_streams()),
            _ => self.on_offer_refused(focus, id, &exchange),
        }
    }

    /// An answer that comes while its participant is being released changes nothing any more.
    fn acknowledge_late(&mut self, focus: &Focus, id: MemberId, response: Option<&Message>) {
        let member = focus.members.get(&id);
        let dialog = member.and_then(|member| member.dialog.clone());
        if let Some((dialog, response)) = dialog.zip(response) {
            self.send_focus_ack(&dialog, response);
        }
    }

    fn on_offer_accepted(
        &mut self,
        focus: &mut Focus,
        id: MemberId,
        exchange: Exchange,
        response: &Message,
    ) {
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        if let Some(dialog) = member.dialog.as_mut() {
            dialog.refresh_target(response);
        }
        self.note_timer_of_answer(member, response);
        let (dialog, key) = (member.dialog.clone(), member.key.clone());
        if let Some(dialog) = dialog {
            self.send_focus_ack(&dialog, response);
        }
        let rights = focus.rights(id, &key);
        match body::sdp(response) {
            Some(sdp) => self.settle_offer(focus, id, (exchange.draft, rights), &sdp),
            None => self.on_offer_refused(focus, id, &exchange),
        }
    }

    /// Takes a participant's answer to an offer: the worker is told, and what it has refused isn't
    /// asked again.
    pub(super) fn settle_offer(
        &mut self,
        focus: &mut Focus,
        id: MemberId,
        (draft, rights): (Draft, Rights),
        sdp: &[u8],
    ) {
        let sent_before = focus.sending(id);
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        let before = (member.media.used(), member.goal);
        let streams = member.media.streams(&focus.rooms, rights);
        let opened = draft.opened_streams();
        let settled = member.media.settle(&focus.rooms, draft, sdp, (id, rights));
        let (used, is_settled) = (member.media.used(), settled.is_ok());
        // What has been added or removed meanwhile is still to be offered.
        let offered_now = before.1;
        let since = without(offered_now, StreamSet(before.0.0 | opened.0));
        member.goal = StreamSet(used.0 & offered_now.0 | since.0);
        let mut is_back = false;
        let acts = match settled {
            Ok(settled) => {
                is_back = member.has_back(without(opened, member.media.gone()));
                let mut acts = settled.connects;
                acts.extend(self.leave_act(focus.settings.drain, id, settled.leaves));
                acts
            }
            Err(_) => {
                let act = self.leave_act(focus.settings.drain, id, opened);
                act.into_iter().collect()
            }
        };
        if is_back || streams != member.media.streams(&focus.rooms, rights) {
            focus.touch(id);
        }
        self.order_group(focus, acts, After::Nothing);
        self.widen(focus, id);
        self.listen_anew(focus, id, (sent_before, opened));
        if is_settled {
            self.bring_back(focus, id);
        }
    }

    /// A participant refuses an offer: what was added it does not get (OMD-13); what was removed
    /// isn't forwarded to it any more (OMD-12).
    fn on_offer_refused(&mut self, focus: &mut Focus, id: MemberId, exchange: &Exchange) {
        let Some(key) = focus.members.get(&id).map(|member| member.key.clone()) else {
            return;
        };
        let rights = focus.rights(id, &key);
        let drain = focus.settings.drain;
        let sent_before = focus.sending(id);
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        let mut acts = member
            .media
            .stop(&focus.rooms, exchange.removed, (id, rights));
        member.goal = member.media.used();
        acts.extend(self.leave_act(drain, id, exchange.draft.opened_streams()));
        if !exchange.removed.is_empty() {
            focus.touch(id);
        }
        self.order_group(focus, acts, After::Nothing);
        self.listen_anew(focus, id, (sent_before, StreamSet::default()));
    }

    /// Both sides offer at a time: ours again after a while (RFC 3261 §14.1).
    fn try_later(&mut self, focus: &mut Focus, id: MemberId, opened: StreamSet) {
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        // Whoever gave the Call-ID waits 2.1 to 4 s, the other one up to 2 s.
        let spread = u64::from(member.id.0 % 16) * 100;
        let wait = if member.has_come { 100 } else { 2_100 } + spread;
        let until = self.now + Duration::from_millis(wait);
        member.quiet_until = Some(until);
        if !member.media.gone().is_empty() {
            member.refresh_by(until);
        }
        let acts = self.leave_act(focus.settings.drain, id, opened);
        self.order_group(focus, acts.into_iter().collect(), After::Nothing);
    }
}

impl Member {
    /// It is offered what it has at that time, if not before.
    fn refresh_by(&mut self, at: Instant) {
        let known = self.refresh_at.unwrap_or(at);
        self.refresh_at = Some(known.min(at));
    }
}

/// When a session is refreshed where no 2xx comes until then: half of what is left before it
/// expires.
fn refresh_again(now: Instant, expires: Instant) -> Option<Instant> {
    let left = expires.saturating_duration_since(now);
    let wait = (left / 2).max(REFRESH_AGAIN_MIN);
    (wait < left).then(|| now + wait)
}

/// How long what has gone with its worker waits where no worker can have it.
const BRING_BACK_AGAIN: Duration = Duration::from_secs(2);

/// More than an offer that was refused with 491 waits (RFC 3261 §14.1).
const REFRESH_AGAIN_MIN: Duration = Duration::from_secs(5);

/// Whether a session still makes and takes offers.
pub(super) fn is_lasting(stage: Stage) -> bool {
    match stage {
        Stage::Running | Stage::Inviting => true,
        Stage::Opening | Stage::Ending { .. } | Stage::Ended => false,
    }
}
