//! Offers of participants inside the session (MOD-06, MOD-09; System Description 5.2.3.8.2).
//!
//! ```text
//! drop = used(O) - offered(O)                  rm  = those that O may remove from all
//! new  = offered(O) that nobody uses           add = those that O may add
//! answer(O) = offered(O) that somebody uses + add
//! offer(T)  = used(T) - rm + add               to those alone whom it changes
//! ```

use std::time::Duration;

use dataplane::api::{MemberId, Refusal, StreamId, StreamSet};

use super::begin::{identity_of, open_room, rooms_for};
use super::join::room_for;
use super::offers::is_lasting;
use super::orders::After;
use super::state::{Asked, Focus, State, both, union, without};
use crate::config::StreamDrop;
use crate::cpm::body;
use crate::engine::Engine;
use crate::engine::invite::not_acceptable;
use crate::media::Refused;
use crate::media::group::{Offer, Rights};
use crate::sdp::Kind;
use crate::sip::{Message, Method, Name, ServerKey};

/// What an offer asks for.
struct Wish {
    /// The room of each line.
    fates: Vec<Option<StreamId>>,
    /// Rooms that nobody uses yet.
    added: StreamSet,
    /// Of those: that the worker doesn't have.
    opened: StreamSet,
    /// Rooms that end for everybody.
    removed: StreamSet,
}

impl Engine {
    /// A re-INVITE or UPDATE of a participant.
    pub(super) fn on_member_offer(
        &mut self,
        focus: &mut Focus,
        id: MemberId,
        key: ServerKey,
        request: Message,
    ) {
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        if !matches!(member.state, State::Connected) || !is_lasting(focus.stage) {
            self.reply(key, &request, 481, "Call/Transaction Does Not Exist");
            return;
        }
        // RFC 3261 §14.2, RFC 3311 §5.2.
        let is_waiting = member
            .exchange
            .as_ref()
            .is_some_and(|one| one.client.is_some());
        if is_waiting || member.late.is_some() {
            self.reply(key, &request, 491, "Request Pending");
            return;
        }
        if member.asked.is_some() || member.exchange.is_some() {
            return self.put_off(key, &request);
        }
        if let Some(dialog) = member.dialog.as_mut() {
            dialog.refresh_target(&request);
            member.contact = dialog.remote_target.clone();
        }
        match body::sdp(&request) {
            Some(sdp) => self.take_offer(focus, id, (key, request), &sdp),
            None if request.method() == Some(&Method::Invite) => {
                self.answer_with_offer(focus, id, key, &request);
            }
            None => self.answer_offer(focus, id, (key, &request), None),
        }
    }

    fn put_off(&mut self, key: ServerKey, request: &Message) {
        let mut response = Message::response(request, 500, "Server Internal Error");
        response.headers.push(Name::RetryAfter, "1");
        self.refuse(key, response);
    }

    fn take_offer(
        &mut self,
        focus: &mut Focus,
        id: MemberId,
        (key, request): (ServerKey, Message),
        sdp: &[u8],
    ) {
        let Some(member) = focus.members.get(&id) else {
            return;
        };
        let offer = match member.media.read(sdp) {
            Ok(offer) => offer,
            Err(refused) => return self.refuse_offer(key, &request, &refused),
        };
        let wish = wish_of(focus, id, &offer);
        self.counters.full_group_streams += focus.rooms.take_full();
        let opened = wish.opened;
        let (asked, rights) = match asked_of(focus, id, (key, request), (&offer, wish)) {
            Ok(asked) => asked,
            Err(refused) => {
                let (key, request, opened, why) = *refused;
                focus.rooms.close(opened);
                return self.refuse_offer(key, &request, &why);
            }
        };
        let drain = focus.settings.drain;
        focus.rooms.close(without(opened, asked.opened));
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        let mut asked = asked;
        let identity = identity_of(member);
        let mut acts = focus.rooms.plans(asked.opened);
        let replaced = member.media.replaced_by(&asked.draft);
        acts.extend(self.leave_act(Duration::ZERO, id, replaced));
        acts.extend(asked.draft.joins(id, &identity));
        acts.extend(asked.draft.connects(&focus.rooms, id, rights));
        acts.extend(self.leave_act(drain, id, asked.dropped));
        if request_is_invite(&asked.request) {
            self.tx.trying(asked.server);
        }
        member.asked = Some(asked);
        if acts.is_empty() {
            self.on_modified(focus, id, &[], None);
        } else {
            self.order_group(focus, acts, After::Modified(id));
        }
    }

    fn refuse_offer(&mut self, key: ServerKey, request: &Message, refused: &Refused) {
        self.counters.offers_refused += 1;
        let response = not_acceptable(request, refused);
        self.refuse(key, response);
    }

    /// The worker does what was offered: the participant gets its answer, and the others who are
    /// affected get their offers.
    pub(super) fn on_modified(
        &mut self,
        focus: &mut Focus,
        id: MemberId,
        acts: &[dataplane::api::Act],
        refused: Option<Refusal>,
    ) {
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        let Some(mut asked) = member.asked.take() else {
            return;
        };
        if refused.is_some() {
            self.counters.full_ports += 1;
            focus.rooms.close(asked.opened);
            self.unavailable(asked.server, &asked.request);
            return;
        }
        let key = member.key.clone();
        let rights = focus.rights(id, &key);
        let sent_before = (focus.sending(id), asked.draft.opened_streams());
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        asked.draft.opened(id, acts);
        let before = member.media.streams(&focus.rooms, rights);
        let answer = member.media.answer(&focus.rooms, asked.draft, rights);
        member.goal = member.media.used();
        let is_back = member.has_back(asked.back);
        let is_changed = is_back || before != member.media.streams(&focus.rooms, rights);
        let sent = answer.or_else(|| focus.sent_to(id));
        self.answer_offer(focus, id, (asked.server, &asked.request), sent);
        if is_changed {
            focus.touch(id);
        }
        self.spread(focus, id, asked.added, asked.removed);
        self.listen_anew(focus, id, sent_before);
        self.bring_back(focus, id);
    }

    /// What others are to use follows from what one has added and removed (OMD-06).
    fn spread(&self, focus: &mut Focus, by: MemberId, added: StreamSet, removed: StreamSet) {
        if added.is_empty() && removed.is_empty() {
            return;
        }
        let others = focus.members.values_mut().filter(|member| member.id != by);
        for member in others {
            let added = both(added, rooms_for(&focus.rooms, member.allowed));
            match &member.state {
                State::Connected => {
                    member.goal = union(without(member.goal, removed), added);
                }
                State::Opening { .. } | State::Inviting { .. } => {
                    member.missed = union(member.missed, added);
                }
                State::Asking(_)
                | State::Answering(_)
                | State::Leaving { .. }
                | State::Parting { .. }
                | State::Cancelled { .. } => {}
            }
        }
    }

    /// Gives a participant the 200 to its re-INVITE or UPDATE.
    fn answer_offer(
        &mut self,
        focus: &mut Focus,
        id: MemberId,
        (key, request): (ServerKey, &Message),
        sdp: Option<bytes::Bytes>,
    ) {
        let contact = self.focus_contact(focus);
        let own = focus.group.rules.session_expires;
        let session = focus.id;
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        let mut response = self.acceptance(member, request, &contact);
        self.note_timer_of_request(member, request, (&mut response, own));
        if let Some(sdp) = sdp {
            response.set_body("application/sdp", sdp);
        }
        if request_is_invite(request) {
            let seat = super::Seat::Member(session, id);
            self.focus.invites.insert(key, seat);
            member.invites.push(key);
        }
        self.respond(key, response);
    }

    /// A re-INVITE without an offer gets the relay's, as it stands; the answer comes in the ACK.
    fn answer_with_offer(
        &mut self,
        focus: &mut Focus,
        id: MemberId,
        key: ServerKey,
        request: &Message,
    ) {
        let Some(owner) = focus.members.get(&id).map(|member| member.key.clone()) else {
            return;
        };
        let rights = focus.rights(id, &owner);
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        if !member.media.gone().is_empty() {
            // Its ports are to be bound anew, by an offer of either.
            return self.put_off(key, request);
        }
        let draft = member.media.draft_offer(&focus.rooms, member.media.used());
        let offer = member.media.offer(&focus.rooms, &draft, rights);
        member.late = Some(draft);
        self.answer_offer(focus, id, (key, request), offer);
    }

    /// An ACK: of a 2xx whose offer was the relay's, it has the answer.
    pub(super) fn on_member_ack(&mut self, focus: &mut Focus, id: MemberId, ack: &Message) {
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        let Some(draft) = member.late.take() else {
            return;
        };
        let key = member.key.clone();
        let rights = focus.rights(id, &key);
        if let Some(sdp) = body::sdp(ack) {
            self.settle_offer(focus, id, (draft, rights), &sdp);
        }
    }
}

fn request_is_invite(request: &Message) -> bool {
    request.method() == Some(&Method::Invite)
}

/// What an offer asks for, by the rules of 5.2.3.8.2.
fn wish_of(focus: &mut Focus, id: MemberId, offer: &Offer) -> Wish {
    let none = StreamSet::default;
    let mut wish = Wish {
        fates: Vec::new(),
        added: none(),
        opened: none(),
        removed: none(),
    };
    let Some(member) = focus.members.get(&id) else {
        return wish;
    };
    let own: Vec<Option<StreamId>> = member.media.lines().collect();
    let (used, allowed) = (member.media.used(), member.allowed);
    let key = member.key.clone();
    let all = union(focus.members.sums().used(), focus.rooms.floors());
    let may_add = focus.group.grants(focus.group.rules.add_streams, &key);
    // Lines that go on come first: a new one is not to take their rooms.
    let mut taken = none();
    for (index, line) in offer.lines().iter().enumerate() {
        let kept = own.get(index).copied().flatten();
        let kept = kept.filter(|room| line.is_on && is_of(focus, *room, line.kind));
        taken = kept.map_or(taken, |room| taken.with(room));
    }
    let mut offered = none();
    for index in 0..offer.lines().len() {
        let line = offer.line(index).copied();
        let is_on = line.is_some_and(|line| line.is_on);
        // A line that carries something else now is another stream.
        let is_same = |room: &StreamId| line.is_some_and(|line| is_of(focus, *room, line.kind));
        let known = own.get(index).copied().flatten();
        let known = known.filter(|room| is_on && is_same(room));
        let fate = match known {
            Some(room) => {
                offered = offered.with(room);
                line.filter(|line| line.is_supported).map(|_| room)
            }
            None => {
                let found = room_for(focus, (offer, index), taken, allowed);
                match found {
                    Some(room) if all.contains(room) => Some(room),
                    Some(room) if may_add => {
                        wish.added = wish.added.with(room);
                        Some(room)
                    }
                    None if may_add => {
                        let room = open_room(focus, offer, index, (id, allowed));
                        wish.added = room.map_or(wish.added, |room| wish.added.with(room));
                        wish.opened = room.map_or(wish.opened, |room| wish.opened.with(room));
                        room
                    }
                    Some(_) | None => None,
                }
            }
        };
        taken = fate.map_or(taken, |room| taken.with(room));
        wish.fates.push(fate);
    }
    let rules = &focus.group.rules;
    let gone = without(without(used, offered), focus.rooms.floors());
    let may_remove = rules.stream_drop == StreamDrop::RemoveForAllIfAuthorised
        && focus.group.grants(rules.remove_streams, &key);
    wish.removed = if may_remove { gone } else { none() };
    wish
}

/// Whether a room carries a kind of stream.
fn is_of(focus: &Focus, room: StreamId, kind: Kind) -> bool {
    focus.rooms.find(room).is_some_and(|room| room.kind == kind)
}

type Refusing = Box<(ServerKey, Message, StreamSet, Refused)>;

/// The offer with its draft, where anything of it can be had.
fn asked_of(
    focus: &Focus,
    id: MemberId,
    (server, request): (ServerKey, Message),
    (offer, wish): (&Offer, Wish),
) -> Result<(Asked, Rights), Refusing> {
    let Some(member) = focus.members.get(&id) else {
        let why = Refused::not_acceptable(399, "nobody");
        return Err(Box::new((server, request, wish.opened, why)));
    };
    let rights = focus.rights(id, &member.key);
    let draft = member.media.draft_answer(&focus.rooms, offer, &wish.fates);
    let is_offered = offer.lines().iter().any(|line| line.is_on);
    if is_offered && draft.streams().is_empty() {
        let why = Refused::not_acceptable(305, "Incompatible media format");
        return Err(Box::new((server, request, wish.opened, why)));
    }
    let kept = draft.streams();
    let added = both(wish.added, kept);
    let asked = Asked {
        server,
        request,
        added,
        opened: both(wish.opened, kept),
        dropped: without(member.media.all(), kept),
        removed: both(wish.removed, without(member.media.all(), kept)),
        back: member.lost,
        draft,
    };
    Ok((asked, rights))
}
