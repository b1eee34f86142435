//! Participants who are invited (SGN-05 to SGN-10, SGN-15, ADD-04).

use std::time::Duration;

use dataplane::api::{Act, MemberId, Refusal, StreamSet};

use super::Seat;
use super::begin::{INVITER, SESSION_EXPIRES_MIN_S, dialog_key, identity_of, rooms_for};
use super::orders::After;
use super::state::{Focus, Member, Parting, Stage, State, union};
use crate::cpm::{body, passing};
use crate::engine::requests::{ALLOW, Next};
use crate::engine::{Engine, Output, Purpose};
use crate::sip::{ClientKey, Dialog, Flow, Message, Method, Name, Text};

impl Engine {
    /// Has the legs of an invited user made; `referral` is told of the outcome.
    pub(super) fn invite_user(&mut self, focus: &mut Focus, address: &str, referral: Option<u32>) {
        let flow = focus.origin.flow;
        let mut member = self.new_member(focus, Text::copied(address), flow);
        member.call_id = self.tx.new_call_id();
        member.local_tag = self.tx.new_tag();
        member.referrals.extend(referral);
        let id = member.id;
        // While nobody has accepted, all that the inviter offered is asked; later what is used.
        let wanted = match focus.stage {
            Stage::Running => union(focus.members.sums().used(), focus.rooms.floors()),
            Stage::Opening | Stage::Inviting | Stage::Ending { .. } | Stage::Ended => {
                focus.rooms.all()
            }
        };
        let draft = member.media.draft_offer(&focus.rooms, wanted);
        let acts = draft.joins(id, &identity_of(&member));
        member.state = State::Opening {
            draft: Box::new(draft),
        };
        let seat = Seat::Member(focus.id, id);
        self.focus.dialogs.insert(dialog_key(&member), seat);
        focus.admit(member);
        self.order_group(focus, acts, After::Bound(id));
    }

    /// The legs of an invited user are made: the INVITE goes out.
    pub(super) fn on_bound(
        &mut self,
        focus: &mut Focus,
        id: MemberId,
        acts: &[Act],
        refused: Option<Refusal>,
    ) {
        if matches!(focus.stage, Stage::Ending { .. }) {
            return;
        }
        if refused.is_some() {
            self.counters.full_ports += 1;
            self.on_refused(focus, id, 503);
            return;
        }
        if self.send_invitation(focus, id, acts).is_none() {
            self.on_refused(focus, id, 503);
        }
    }

    fn send_invitation(&mut self, focus: &mut Focus, id: MemberId, acts: &[Act]) -> Option<()> {
        let until = match focus.stage {
            Stage::Running => self.now + focus.group.rules.validity,
            Stage::Opening | Stage::Inviting | Stage::Ending { .. } | Stage::Ended => {
                focus.origin.until
            }
        };
        let key = focus.members.get(&id)?.key.clone();
        let rights = focus.rights(id, &key);
        let member = focus.members.get_mut(&id)?;
        let State::Opening { draft } = &mut member.state else {
            return Some(());
        };
        draft.opened(id, acts);
        let sdp = member.media.offer(&focus.rooms, draft, rights)?;
        let member = focus.members.get(&id)?;
        let mut invite = self.invitation(focus, member, until.saturating_duration_since(self.now));
        invite.set_body("application/sdp", sdp);
        let flow = self.way_to(&invite, focus.origin.flow);
        let client = self.tx.request(self.now, invite, flow).ok()?;
        self.clients.insert(client, Purpose::Member(focus.id, id));
        let member = focus.members.get_mut(&id)?;
        member.flow = flow;
        let state = std::mem::replace(&mut member.state, State::Connected);
        if let State::Opening { draft } = state {
            member.state = State::Inviting {
                client,
                draft,
                until,
            };
        }
        Some(())
    }

    /// An INVITE to a user (SGN-06), without its body.
    fn invitation(&self, focus: &Focus, member: &Member, validity: Duration) -> Message {
        let mut invite = Message::request(Method::Invite, member.address.clone());
        let own = focus.group.address.as_deref().unwrap_or(&focus.uri);
        let headers = &mut invite.headers;
        headers.push(Name::MaxForwards, "70");
        headers.push(Name::From, format!("<{own}>;tag={}", member.local_tag));
        headers.push(Name::To, format!("<{}>", member.address));
        headers.push(Name::CallId, member.call_id.clone());
        headers.push(Name::CSeq, "1 INVITE");
        headers.push(Name::Contact, self.focus_contact(focus));
        headers.push(Name::PAssertedIdentity, format!("<{own}>"));
        headers.push(Name::ReferredBy, format!("<{}>", focus.origin.inviter));
        for header in focus.origin.carried.iter() {
            headers.push_line(header.clone());
        }
        passing::name_the_service(headers);
        headers.push(Name::Allow, ALLOW);
        headers.push(Name::Supported, "timer, norefersub");
        let lasts = focus.group.rules.session_expires.as_secs();
        headers.push(Name::SessionExpires, format!("{lasts};refresher=uas"));
        headers.push(Name::MinSe, SESSION_EXPIRES_MIN_S.to_string());
        headers.push(Name::Expires, validity.as_secs().max(1).to_string());
        self.server_header(&mut invite, Name::UserAgent);
        invite
    }

    /// The session's identity as a Contact (SGN-07, RFC 4579 §4.1).
    pub(super) fn focus_contact(&self, focus: &Focus) -> String {
        let service = focus.origin.carried.get(Name::PAssertedService);
        let tag = service.unwrap_or_default().trim().replace(':', "%3A");
        format!("<{}>;isfocus;+g.3gpp.icsi-ref=\"{tag}\"", focus.uri)
    }

    /// Where an INVITE goes: the configured hop, else the address itself, else the core that the
    /// session's first INVITE came from.
    pub(in crate::engine) fn way_to(&mut self, request: &Message, core: Flow) -> Flow {
        match self.next(request, core) {
            Next::To(flow) => flow,
            Next::Lookup(host) => {
                self.outputs.push_back(Output::Resolve(host));
                core
            }
            Next::Refuse(..) => core,
        }
    }

    /// A response to an invitation, or its end without any.
    pub(super) fn on_invited_response(
        &mut self,
        focus: &mut Focus,
        id: MemberId,
        (client, code): (ClientKey, u16),
        response: Option<&Message>,
    ) {
        match (code, response) {
            (180, _) => self.on_alerted(focus, id),
            (200..300, Some(response)) => self.on_accepted(focus, id, client, response),
            (300.., _) => self.on_refused(focus, id, code),
            _ => {}
        }
    }

    /// The first alerting is told to the inviter, later ones aren't (SGN-08).
    fn on_alerted(&mut self, focus: &mut Focus, id: MemberId) {
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut member.is_alerted, true) {
            return;
        }
        focus.touch(id);
        if focus.stage != Stage::Inviting || std::mem::replace(&mut focus.has_rung, true) {
            return;
        }
        let contact = self.focus_contact(focus);
        let Some(inviter) = focus.members.get(&INVITER) else {
            return;
        };
        if let State::Asking(pending) = &inviter.state {
            let mut ringing = Message::response(&pending.request, 180, "Ringing");
            ringing.set_to_tag(&inviter.local_tag);
            ringing
                .headers
                .copy_from(&pending.request.headers, &[Name::RecordRoute]);
            ringing.headers.push(Name::Contact, contact);
            let server = pending.server;
            self.respond(server, ringing);
        }
    }

    /// An invited user has accepted (SGN-09).
    fn on_accepted(
        &mut self,
        focus: &mut Focus,
        id: MemberId,
        client: ClientKey,
        response: &Message,
    ) {
        let sent = self.tx.invite_of(client).zip(self.tx.flow_of(client));
        let dialog = sent.and_then(|(sent, flow)| Dialog::uac(sent, response, flow).ok());
        let Some(dialog) = dialog.map(Dialog::kept) else {
            self.on_refused(focus, id, 502);
            return;
        };
        self.send_focus_ack(&dialog, response);
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        let State::Inviting { draft, .. } = std::mem::replace(&mut member.state, State::Connected)
        else {
            return;
        };
        member.contact = dialog.remote_target.clone();
        member.dialog = Some(dialog);
        member.facts.answered = Some(self.now);
        self.note_timer_of_answer(member, response);
        let (key, mut settled) = (member.key.clone(), None);
        let rights = focus.rights(id, &key);
        if let Some(member) = focus.members.get_mut(&id)
            && let Some(sdp) = body::sdp(response)
        {
            settled = member
                .media
                .settle(&focus.rooms, *draft, &sdp, (id, rights))
                .ok();
            member.goal = member.media.used();
        }
        let is_used = focus
            .members
            .get(&id)
            .is_some_and(|member| !member.media.used().is_empty());
        let Some(settled) = settled.filter(|_| is_used) else {
            self.release(focus, id, Parting::Refused(488));
            self.after_refusal(focus, 488);
            return;
        };
        focus.touch(id);
        let mut acts = settled.connects;
        acts.extend(self.leave_act(focus.settings.drain, id, settled.leaves));
        self.order_group(focus, acts, After::Nothing);
        self.tell_referrers(focus, id, 200);
        self.after_acceptance(focus, id);
        self.bring_back(focus, id);
    }

    /// Somebody takes part besides the inviter.
    pub(super) fn after_acceptance(&mut self, focus: &mut Focus, id: MemberId) {
        if focus.stage == Stage::Inviting {
            self.accept_inviter(focus, Some(id));
        } else {
            self.widen(focus, id);
        }
        // Rooms that were opened while it was asked.
        let used = focus.members.sums().used();
        if let Some(member) = focus.members.get_mut(&id) {
            let since = member.missed;
            let may = rooms_for(&focus.rooms, member.allowed);
            member.goal.0 |= used.0 & since.0 & may.0;
        }
    }

    /// An invitation was refused, or nobody answered it.
    pub(super) fn on_refused(&mut self, focus: &mut Focus, id: MemberId, code: u16) {
        let acts = self.leave_act(focus.settings.drain, id, StreamSet::ALL);
        self.order_group(focus, acts.into_iter().collect(), After::Nothing);
        self.tell_referrers(focus, id, code);
        if let Some(member) = focus.members.get_mut(&id) {
            member.end = Parting::Refused(code);
        }
        self.remove(focus, id);
        self.after_refusal(focus, code);
    }

    /// Where nobody is left who could accept, the inviter is refused (SGN-10).
    pub(super) fn after_refusal(&mut self, focus: &mut Focus, code: u16) {
        let best = focus.refusal.map_or(code, |known| better(known, code));
        focus.refusal = Some(best);
        if focus.stage == Stage::Inviting && !focus.is_inviting() {
            self.end_group(focus, Parting::Refused(best));
        }
    }

    /// Nobody answers an invitation in time, or it isn't wanted any more.
    pub(super) fn give_up_inviting(&mut self, focus: &mut Focus, id: MemberId, code: u16) {
        self.tell_referrers(focus, id, code);
        self.cancel_invitation(focus, id, Parting::Lost(code));
        self.after_refusal(focus, code);
    }

    /// Cancels an invitation and frees what was bound for it.
    pub(super) fn cancel_invitation(&mut self, focus: &mut Focus, id: MemberId, why: Parting) {
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        member.end = why;
        let State::Inviting { client, .. } = member.state else {
            return;
        };
        member.state = State::Cancelled { client };
        focus.touch(id);
        let reason = Text::from(why.reason());
        self.tx.cancel(self.now, client, &[reason]);
        if !matches!(focus.stage, Stage::Ending { .. }) {
            let acts = self.leave_act(focus.settings.drain, id, StreamSet::ALL);
            self.order_group(focus, acts.into_iter().collect(), After::Nothing);
        }
    }

    /// Acknowledges a 2xx.
    pub(super) fn send_focus_ack(&mut self, dialog: &Dialog, response: &Message) {
        let Some((seq, _)) = response.cseq() else {
            return;
        };
        let routed = !dialog.route_set.is_empty();
        let flow = self.flow_in_dialog(dialog.next_hop(), dialog.flow, routed);
        self.tx.send_ack(dialog.ack(seq), flow);
    }
}

/// The better one of two refusals (RFC 3261 §16.7 item 6): a 6xx, else the lowest class; what
/// somebody said before what nobody said.
fn better(one: u16, other: u16) -> u16 {
    let rank = |code: u16| {
        let class = code / 100;
        let silent = u16::from(matches!(code, 408 | 503));
        (if class == 6 { 0 } else { class }, silent, code)
    };
    if rank(other) < rank(one) { other } else { one }
}
