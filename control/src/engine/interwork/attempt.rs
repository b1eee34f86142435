//! An offer of the session to the functions, and the one answer that comes of it (IWM-01..08).
//!
//! ```text
//! offer ─▶ the functions whose streams it changes, new streams to the first
//!   ├─▶ refused lines: INVITE to the next function that can carry them, until none is left
//!   └─▶ all settled: one answer, each line from the function that has taken it
//! ```

use std::collections::BTreeMap;

use super::describe::{self, Said};
use super::far::{Attempt, Before, Far, Line, What};
use crate::cpm::body;
use crate::cpm::interworking::Wish;
use crate::engine::Engine;
use crate::engine::Purpose;
use crate::engine::session::Session;
use crate::sdp::Sdp;
use crate::sip::{ClientKey, Message, Method, Text};

impl Engine {
    pub(super) fn begin_attempt(
        &mut self,
        session: &Session,
        far: &mut Far,
        client: ClientKey,
        request: Message,
    ) {
        let offer = body::sdp(&request).and_then(|sdp| Sdp::parse(&sdp).ok());
        let Some(offer) = offer.filter(|_| far.attempt.is_none()) else {
            let refusal = far.response(&request, 491, "Request Pending", None);
            far.ready.push_back((client, refusal));
            return;
        };
        let is_first = far.legs.is_empty() && far.invite.is_none();
        if is_first {
            far.invite = Some(request.clone());
        }
        for line in offer.media().iter().skip(far.lines.len()) {
            far.lines.push(Line {
                owner: None,
                answer: line.disabled(),
            });
        }
        // The session's own deadline watches over its first INVITE.
        let due = self.now + self.settings.ringing_max;
        if !is_first {
            self.wake_far(session.id, due);
        }
        far.attempt = Some(Attempt {
            client,
            request,
            asked: vec![Vec::new(); offer.media_count()],
            offer,
            is_first,
            success: None,
            refusal: None,
            is_over: false,
            is_void: false,
            told: Vec::new(),
            due,
        });
        if !is_first {
            self.offer_to_legs(far);
        }
        self.advance_attempt(session, far);
    }

    /// Offers each leg its part where that changes; new streams go to the first leg, without any
    /// selection (003 st. 2-6).
    fn offer_to_legs(&mut self, far: &mut Far) {
        let Some(attempt) = far.attempt.as_mut() else {
            return;
        };
        let new: Vec<usize> = unowned(attempt, &far.lines);
        let legs: Vec<u32> = far
            .legs
            .iter()
            .filter(|leg| leg.is_live())
            .map(|leg| leg.id)
            .collect();
        let all = legs.len();
        let legs = self.leave_emptied(far, legs, &new);
        let has_left = legs.len() != all;
        let mut changed = Vec::new();
        for (place, id) in legs.iter().enumerate() {
            let takes = if place == 0 { new.as_slice() } else { &[] };
            changed.push(self.next_part(far, *id, takes));
        }
        let is_refresh = !has_left && changed.iter().flatten().all(|(_, _, is_same)| *is_same);
        let request = far.attempt.as_ref().map(|attempt| attempt.request.clone());
        let (Some(request), parts) = (request, legs.into_iter().zip(changed)) else {
            return;
        };
        for (id, part) in parts {
            let Some((said, before, is_same)) = part else {
                continue;
            };
            if is_same && !is_refresh {
                continue;
            }
            let mut message = request.clone();
            message.body = body::replace_sdp(&request, said.bytes());
            if let Some(leg) = far.leg_mut(id) {
                leg.said = said;
            }
            let what = What::Offer {
                before: Some(before),
            };
            self.send_in_leg(far, id, (&message, what));
        }
    }

    /// Leaves the functions that the offer leaves no stream; the others' names. One stays in any
    /// case: a session may go on without streams.
    fn leave_emptied(&mut self, far: &mut Far, legs: Vec<u32>, new: &[usize]) -> Vec<u32> {
        let Some(attempt) = &far.attempt else {
            return legs;
        };
        let offer = attempt.offer.media();
        let is_used = |id: &u32| {
            let owned = far.owned(*id);
            let mut used = owned.iter().filter_map(|index| offer.get(*index));
            used.any(|line| line.port() != 0)
        };
        let keeps: Vec<u32> = legs.iter().copied().filter(is_used).collect();
        let keeps = match legs.first() {
            Some(first) if keeps.is_empty() || (!new.is_empty() && !keeps.contains(first)) => {
                std::iter::once(*first).chain(keeps).collect()
            }
            Some(_) | None => keeps,
        };
        for id in legs.into_iter().filter(|id| !keeps.contains(id)) {
            self.leave_function(far, id, &[]);
        }
        keeps
    }

    /// A leg's part of the offer with new lines, what it was before, and whether it is the same.
    fn next_part(&self, far: &mut Far, id: u32, new: &[usize]) -> Option<(Said, Before, bool)> {
        let owned = far.owned(id);
        let attempt = far.attempt.as_mut()?;
        let leg = far.legs.iter_mut().find(|leg| leg.id == id)?;
        let lines = leg.lines.len();
        for index in new {
            if !leg.lines.contains(index) {
                leg.lines.push(*index);
            }
            if let Some(asked) = attempt.asked.get_mut(*index) {
                asked.push(leg.function);
            }
        }
        let in_use = |index: usize| owned.contains(&index) || new.contains(&index);
        let mut part = describe::part(&attempt.offer, &leg.lines, in_use);
        let old = describe::part(&attempt.offer, &leg.lines[..lines], |index| {
            owned.contains(&index)
        });
        let before = Before {
            said: leg.said.clone(),
            lines,
            is_addition: old.media() == leg.in_force,
        };
        let is_same = part.media() == leg.in_force;
        let said = leg.said.next(&mut part);
        Some((said, before, is_same))
    }

    /// Goes on once every function that was asked has answered: asks others for what was refused,
    /// or answers.
    pub(super) fn advance_attempt(&mut self, session: &Session, far: &mut Far) {
        while !far.is_offering() {
            let Some(attempt) = &far.attempt else { return };
            let may_ask = !attempt.is_over && attempt.request.method() == Some(&Method::Invite);
            let next = if may_ask {
                Self::select(far)
            } else {
                BTreeMap::new()
            };
            if next.is_empty() {
                Self::finish_attempt(far);
                return;
            }
            for (function, lines) in next {
                self.invite_function(session, far, function, lines);
            }
        }
    }

    /// Which function is asked next for which lines (IWM-04). Each is asked once for a line.
    fn select(far: &mut Far) -> BTreeMap<usize, Vec<usize>> {
        let mut chosen: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let Some(attempt) = far.attempt.as_mut() else {
            return chosen;
        };
        for index in unowned(attempt, &far.lines) {
            let wish = Wish::of(&attempt.offer.media()[index]);
            let asked = &mut attempt.asked[index];
            let settings = &far.settings;
            if let Some(function) = settings.select(&far.target, wish, asked) {
                asked.push(function);
                chosen.entry(function).or_default().push(index);
            }
        }
        chosen
    }

    /// A function has taken its part of the offer, or some of it.
    pub(super) fn on_function_answer(
        &mut self,
        far: &mut Far,
        (id, before): (u32, Option<Before>),
        (client, response): (ClientKey, Message),
    ) {
        let is_new = before.is_none();
        let is_unwanted = is_new && far.attempt.as_ref().is_none_or(|attempt| attempt.is_over);
        if is_unwanted {
            self.end_fork(client, &response);
            self.remove_leg(far, id);
            return;
        }
        if is_new && !self.make_dialog(far, id, client, &response) {
            self.remove_leg(far, id);
            return;
        }
        if matches!(response.cseq(), Some((_, Method::Invite))) {
            self.acknowledge_function(far, id, &response);
        }
        if !is_new && let Some(dialog) = far.leg_mut(id).and_then(|leg| leg.dialog.as_mut()) {
            dialog.refresh_target(&response);
        }
        let answer = body::sdp(&response).and_then(|sdp| Sdp::parse(&sdp).ok());
        let fits = |leg: &super::far::Leg| {
            let count = answer.as_ref().map(Sdp::media_count);
            count == Some(leg.lines.len())
        };
        if !far.leg(id).is_some_and(fits) {
            // What can't be read is no answer: the function is left.
            far.disown(id);
            self.leave_function(far, id, &[]);
            return;
        }
        if let (Some(answer), Some(attempt)) = (answer, far.attempt.as_mut()) {
            if let Some(leg) = far.legs.iter_mut().find(|leg| leg.id == id) {
                take_lines((id, &leg.lines), &mut far.lines, &attempt.offer, &answer);
                leg.in_force = describe::in_force(leg.said.bytes(), &answer);
            }
            far.template
                .get_or_insert_with(|| answer.with_media(Vec::new()));
            attempt.success.get_or_insert(response);
        }
        let owned = far.owned(id);
        if owned.is_empty() {
            self.leave_function(far, id, &[]);
        } else if let Some(leg) = far.leg_mut(id) {
            leg.held = owned;
        }
    }

    /// A function has refused its part of the offer, or has not answered.
    pub(super) fn on_function_refusal(
        &mut self,
        far: &mut Far,
        (id, before): (u32, Option<Before>),
        (code, response): (u16, Option<Message>),
    ) {
        let Some(attempt) = &far.attempt else {
            self.remove_new_leg(far, id);
            return;
        };
        let reason = response.as_ref().map(Message::reason);
        let reason = reason.unwrap_or_else(|| super::invite::reason_of(code).into());
        let refusal = far.response(&attempt.request, code, &reason, response.as_ref());
        if let Some(attempt) = far.attempt.as_mut() {
            attempt.refusal = Some(refusal);
        }
        let Some(before) = before else {
            self.remove_leg(far, id);
            return;
        };
        if let Some(leg) = far.leg_mut(id) {
            leg.said = before.said;
            leg.lines.truncate(before.lines);
        }
        // RFC 3261 §12.2.1.2: such a dialog is over.
        if matches!(code, 408 | 481) {
            far.disown(id);
            self.leave_function(far, id, &[]);
        } else if !before.is_addition {
            // Its streams are as they were, which is not what is offered: others' agreement
            // can't stand beside that.
            if let Some(attempt) = far.attempt.as_mut() {
                attempt.is_over = true;
                attempt.is_void = true;
            }
        }
    }

    fn finish_attempt(far: &mut Far) {
        let Some(attempt) = far.attempt.take() else {
            return;
        };
        let lines = far.lines.iter().zip(attempt.offer.media());
        let is_taken = lines
            .clone()
            .any(|(line, offered)| line.owner.is_some() && offered.port() != 0);
        let has_refused = attempt.refusal.is_some() && !attempt.is_first;
        let succeeds = match (&attempt.success, attempt.is_first) {
            // Nobody had to be asked, or everybody has refused.
            (None, is_first) => !is_first && attempt.refusal.is_none(),
            (Some(_), true) => is_taken,
            (Some(_), false) => is_taken || !has_refused,
        };
        let mut response = match attempt.refusal {
            _ if succeeds && !attempt.is_void => {
                let media = lines.map(|(line, offered)| match line.owner {
                    Some(_) if offered.port() != 0 => line.answer.clone(),
                    Some(_) | None => offered.disabled(),
                });
                let template = far.template.as_ref().unwrap_or(&attempt.offer);
                let mut sdp = describe::whole(template, media.collect(), far.session.0);
                far.described = far.described.next(&mut sdp);
                let mut response =
                    far.response(&attempt.request, 200, "OK", attempt.success.as_ref());
                if response.content_type().is_some() {
                    response.body = body::replace_sdp(&response, far.described.bytes());
                } else {
                    response.set_body("application/sdp", far.described.bytes().clone());
                }
                response
            }
            Some(refusal) => refusal,
            None => far.response(&attempt.request, 488, "Not Acceptable Here", None),
        };
        if response.to_tag().is_none() {
            response.set_to_tag(&far.tag);
        }
        far.ready.push_back((attempt.client, response));
    }

    /// The session gives its offer up.
    pub(super) fn cancel_attempt(&mut self, far: &mut Far, client: ClientKey, reasons: &[Text]) {
        let Some(attempt) = far.attempt.as_mut().filter(|own| own.client == client) else {
            return;
        };
        attempt.is_over = true;
        let request = attempt.request.clone();
        let terminated = Message::response(&request, 487, "Request Terminated");
        attempt.refusal = Some(terminated);
        if attempt.is_first {
            far.attempt = None;
            self.let_go(far, reasons);
            let response = far.response(&request, 487, "Request Terminated", None);
            far.ready.push_back((client, response));
        } else {
            for sent in offers(far) {
                self.tx.cancel(self.now, sent, reasons);
            }
        }
    }

    /// The near side doesn't wait any longer: what rings is cancelled, what is settled is answered.
    pub(super) fn expire_attempt(&mut self, far: &mut Far) {
        let now = self.now;
        let is_due = |attempt: &&mut Attempt| attempt.due <= now && !attempt.is_first;
        let Some(attempt) = far.attempt.as_mut().filter(is_due) else {
            return;
        };
        attempt.is_over = true;
        for sent in offers(far) {
            self.tx.cancel(self.now, sent, &[]);
        }
    }

    /// A function rings: the near side of a session that begins is told, once for each code.
    pub(super) fn on_function_rings(far: &mut Far, client: ClientKey, response: &Message) {
        let is_offer = offers(far).contains(&client);
        let code = response.code().unwrap_or(0);
        let Some(attempt) = far.attempt.as_mut().filter(|own| is_offer && own.is_first) else {
            return;
        };
        if code <= 100 || attempt.told.contains(&code) {
            return;
        }
        attempt.told.push(code);
        let (own, request) = (attempt.client, attempt.request.clone());
        let mut rings = far.response(&request, code, &response.reason(), Some(response));
        // Media before the answer would be those of a part of the session.
        rings.set_body("", bytes::Bytes::new());
        far.ready.push_back((own, rings));
    }

    /// A function that was asked is forgotten, and what it may still answer is ended.
    pub(super) fn abandon_request(&mut self, client: ClientKey, reasons: &[Text]) {
        self.tx.cancel(self.now, client, reasons);
        self.clients.insert(client, Purpose::Abandoned);
    }
}

/// The lines that are offered and have no function.
fn unowned(attempt: &Attempt, lines: &[Line]) -> Vec<usize> {
    let offered = attempt.offer.media().iter().zip(lines).enumerate();
    let open = offered.filter(|(_, (offered, line))| offered.port() != 0 && line.owner.is_none());
    open.map(|(index, _)| index).collect()
}

/// Transactions of the parts of the attempt's offer.
fn offers(far: &Far) -> Vec<ClientKey> {
    let sent = far.sent.iter();
    let offers = sent.filter(|sent| matches!(sent.what, What::Offer { .. }));
    offers.map(|sent| sent.client).collect()
}

/// Takes over what a leg's answer says of the lines that it was offered.
fn take_lines((id, own): (u32, &[usize]), lines: &mut [Line], offer: &Sdp, answer: &Sdp) {
    for (index, answered) in own.iter().zip(answer.media()) {
        let is_offered = offer
            .media()
            .get(*index)
            .is_some_and(|line| line.port() != 0);
        let Some(line) = lines.get_mut(*index) else {
            continue;
        };
        let is_others = line.owner.is_some_and(|owner| owner != id);
        if is_others {
            continue;
        }
        let is_taken = is_offered && answered.port() != 0;
        line.owner = is_taken.then_some(id);
        if is_taken {
            line.answer = describe::alone(answer, answered);
        }
    }
}
