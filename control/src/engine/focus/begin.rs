//! A group session from its first INVITE on (SGN-01 to SGN-10).

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use dataplane::api::{Act, MemberId, Refusal, SessionId, StreamSet};

use super::floors::{floor_of, open_floors};
use super::orders::After;
use super::roll::Roll;
use super::state::{
    Facts, Focus, Member, Origin, Parting, Pending, Stage, State, both, union, without,
};
use super::watchers::Watchers;
use super::{IDENTITY_PREFIX, Seat};
use crate::config::{AcceptSet, GroupAnswer, StreamKind};
use crate::cpm::groups::Group;
use crate::cpm::policy::{Streams, user_key};
use crate::cpm::{body, identity, resource_list};
use crate::engine::Engine;
use crate::engine::invite::not_acceptable;
use crate::engine::session::DialogKey;
use crate::limits::REMEMBERED_USERS;
use crate::media::Refused;
use crate::media::group::{MemberMedia, Offer, Rooms};
use crate::sdp::Kind;
use crate::sip::{Dialog, Flow, Message, Name, Protocol, ServerKey, Text, Uri};

/// Who begins a session is its first participant.
pub(super) const INVITER: MemberId = MemberId(1);

impl Engine {
    /// An INVITE to the factory: the group is who is listed in it (RFC 5366).
    pub(super) fn begin_ad_hoc(
        &mut self,
        key: ServerKey,
        request: &Message,
        way: (Flow, Option<&str>),
    ) {
        let listed = match resource_list::of(request) {
            Ok(listed) if !listed.is_empty() => listed,
            Ok(_) | Err(_) => {
                self.reply(key, request, 400, "No List Of Users");
                return;
            }
        };
        let inviter = identity::caller(request).unwrap_or_default();
        let own = user_key(inviter);
        let others = listed.into_iter().map(|uri| {
            // What follows the `?` is for the INVITE to that user, and not ours to believe.
            uri.split('?').next().unwrap_or_default().to_owned()
        });
        let others = others.filter(|uri| user_key(uri) != own).collect();
        let group = self.settings.groups.ad_hoc(inviter, others);
        if group.members.len() >= group.rules.participants_max {
            self.counters.groups_refused += 1;
            self.reply(key, request, 486, "Too Many Participants");
            return;
        }
        self.begin_group(key, request, Arc::new(group), way);
    }

    /// An INVITE that begins a session of a group.
    pub(super) fn begin_group(
        &mut self,
        key: ServerKey,
        request: &Message,
        group: Arc<Group>,
        (flow, own_route): (Flow, Option<&str>),
    ) {
        let Some(allowed) = self.may_take_part(key, request, &group, own_route) else {
            return;
        };
        let all = self.sessions.len() + self.focus.len();
        let worker = self.choose_worker();
        let Some(worker) = worker.filter(|_| !self.draining && all < self.settings.sessions_max)
        else {
            self.counters.full_sessions += 1;
            self.unavailable(key, request);
            return;
        };
        let origin = self.origin(request, &group, flow);
        let mut focus = self.new_focus(group, origin, flow);
        focus.worker = worker;
        let Some(mut member) = self.new_comer(&focus, request, flow) else {
            self.reply(key, request, 400, "Bad Request");
            return;
        };
        member.allowed = allowed;
        let opened = open_rooms(&mut focus, &member, request);
        self.counters.full_group_streams += focus.rooms.take_full();
        match opened {
            Err(refused) => {
                self.counters.offers_refused += 1;
                let response = not_acceptable(request, &refused);
                self.refuse(key, response);
            }
            Ok(draft) => {
                let pending = Pending {
                    server: key,
                    request: request.clone(),
                    draft,
                    is_bound: false,
                };
                self.start(focus, member, pending);
            }
        }
    }

    /// Has the session's rooms and the inviter's legs made.
    fn start(&mut self, mut focus: Box<Focus>, mut member: Member, pending: Pending) {
        self.tx.trying(pending.server);
        self.counters.groups_begun += 1;
        let id = focus.id;
        let mut acts = focus.rooms.plans(focus.rooms.all());
        acts.extend(pending.draft.joins(INVITER, &identity_of(&member)));
        focus.origin.offered = focus.rooms.all();
        let seat = Seat::Member(id, INVITER);
        self.focus.invites.insert(pending.server, seat);
        member.invites.push(pending.server);
        self.focus.dialogs.insert(dialog_key(&member), seat);
        member.state = State::Asking(Box::new(pending));
        focus.admit(member);
        self.focus.identities.insert(focus.token.clone(), id);
        if let Some(address) = &focus.group.address {
            self.focus.by_group.insert(user_key(address), id);
        }
        if let Some(load) = self.workers.get_mut(focus.worker) {
            load.sessions += 1;
        }
        self.order_group(&focus, acts, After::Begun);
        self.focus.sessions.insert(id.0, focus);
    }

    /// Whether a user may begin a session of a group, or join one; which streams the user may have.
    /// Answers the request where not.
    ///
    /// A user of this server is under the Participating Function's control first (SGN-03).
    pub(super) fn may_take_part(
        &mut self,
        key: ServerKey,
        request: &Message,
        group: &Group,
        own_route: Option<&str>,
    ) -> Option<Streams> {
        let own = self.allowed_by_policy(key, request, own_route)?;
        let allowed = group.streams().within(own);
        let caller = user_key(identity::caller(request).unwrap_or_default());
        if !group.admits(&caller) {
            self.counters.groups_refused += 1;
            self.reply(key, request, 403, "Forbidden");
            return None;
        }
        if let Some(least) = too_short(request) {
            let mut response = Message::response(request, 422, "Session Interval Too Small");
            response.headers.push(Name::MinSe, least.to_string());
            self.refuse(key, response);
            return None;
        }
        Some(allowed)
    }

    fn origin(&self, request: &Message, group: &Group, flow: Flow) -> Origin {
        let mut carried = request.headers.kept(&CARRIED);
        if carried.get(Name::PAssertedService).is_none() {
            carried.push(Name::PAssertedService, SERVICE);
        }
        let expires = request.headers.get(Name::Expires);
        let expires = expires.and_then(|value| value.trim().parse::<u32>().ok());
        let validity = expires.map_or(group.rules.validity, |seconds| {
            Duration::from_secs(u64::from(seconds)).min(group.rules.validity)
        });
        Origin {
            inviter: Text::copied(identity::caller(request).unwrap_or_default()),
            carried,
            flow,
            offered: StreamSet::default(),
            until: self.now + validity,
        }
    }

    fn new_focus(&mut self, group: Arc<Group>, origin: Origin, flow: Flow) -> Box<Focus> {
        let id = SessionId(self.next_session);
        self.next_session += 1;
        let token = Text::from(format!("{IDENTITY_PREFIX}{}", self.tx.new_call_id()));
        let transport = match flow.protocol {
            Protocol::Udp => "",
            Protocol::Tcp => ";transport=tcp",
        };
        let uri = Text::from(format!("sip:{token}@{}{transport}", flow.local));
        // Who speaks to the group names it as it was called, or by the session's identity.
        let called = group.address.as_deref().or(group.factory.as_deref());
        let addresses = called.into_iter().chain([&*uri]).map(Box::from).collect();
        let mut rooms = Rooms::new(Arc::clone(&self.settings.media), addresses);
        if !group.rules.floors.is_empty() {
            rooms.expect_floors();
        }
        Box::new(Focus {
            id,
            worker: 0,
            settings: Arc::clone(&self.settings),
            rooms,
            group,
            token,
            uri,
            stage: Stage::Opening,
            refusal: None,
            members: Roll::default(),
            members_ever: 0,
            origin,
            known: HashSet::new(),
            expelled: HashSet::new(),
            change: 0,
            departed: VecDeque::new(),
            forgotten: 0,
            holders: BTreeMap::new(),
            speakers: BTreeMap::new(),
            watchers: Watchers::default(),
            has_rung: false,
            armed: None,
            begun: self.now,
        })
    }

    /// Somebody who has sent an INVITE, and is no participant yet; `None` where that makes no
    /// dialog.
    pub(super) fn new_comer(
        &mut self,
        focus: &Focus,
        request: &Message,
        flow: Flow,
    ) -> Option<Member> {
        let tag = self.tx.new_tag();
        let dialog = Dialog::uas(request, &tag, flow).ok()?.kept();
        let address = Text::copied(identity::caller(request).unwrap_or_default());
        let mut member = self.new_member(focus, address, flow);
        member.call_id = dialog.call_id.clone();
        member.local_tag = tag;
        member.contact = dialog.remote_target.clone();
        member.dialog = Some(dialog);
        member.has_come = true;
        Some(member)
    }

    /// Somebody of whom nothing is known but the address, and who is no participant yet.
    pub(super) fn new_member(&self, focus: &Focus, address: Text, flow: Flow) -> Member {
        let id = MemberId(focus.members_ever + 1);
        let user = focus.members.free_user(id);
        let host = Uri::parse(&address).map_or("", |uri| uri.host).to_owned();
        let trunk = self.settings.media.msrp.trunk_of(flow.remote.ip(), &host);
        let origin = focus.id.0.wrapping_mul(4096) + u64::from(id.0);
        let key = user_key(&address);
        Member {
            id,
            key,
            address,
            contact: Text::default(),
            flow,
            call_id: Text::default(),
            local_tag: Text::default(),
            dialog: None,
            media: MemberMedia::new(&focus.rooms, trunk, (user, origin)),
            state: State::Connected,
            allowed: focus.group.streams(),
            has_come: false,
            is_alerted: false,
            goal: StreamSet::default(),
            missed: StreamSet::default(),
            exchange: None,
            asked: None,
            silent: StreamSet::default(),
            lost: StreamSet::default(),
            lost_until: None,
            quiet_until: None,
            late: None,
            expires: None,
            refresh_at: None,
            changed_at: focus.change,
            facts: Facts::new(self.now),
            invites: Vec::new(),
            referrals: Vec::new(),
            end: Parting::Stays,
        }
    }

    /// The rooms and the inviter's legs are made: the others are invited.
    pub(super) fn on_begun(&mut self, focus: &mut Focus, acts: &[Act], refused: Option<Refusal>) {
        if refused.is_some() {
            self.counters.full_ports += 1;
            focus.refusal = Some(503);
            self.drop_all(focus, Parting::Refused(503));
            return;
        }
        if let Some(pending) = focus.pending(INVITER) {
            pending.draft.opened(INVITER, acts);
            pending.is_bound = true;
        }
        if focus.stage != Stage::Opening {
            return;
        }
        focus.stage = Stage::Inviting;
        let inviter = user_key(&focus.origin.inviter);
        let places = focus.group.rules.participants_max.saturating_sub(1);
        let group = Arc::clone(&focus.group);
        let invited = group.members.iter().filter(|address| {
            let key = user_key(address);
            key != inviter && group.may_be_added(&key)
        });
        for address in invited.take(places) {
            self.invite_user(focus, address, None);
        }
        if !focus.is_inviting() || group.rules.answer == GroupAnswer::Immediate {
            self.accept_inviter(focus, None);
        }
    }

    /// The inviter is accepted: with what the first one has taken who accepted, or with all.
    pub(super) fn accept_inviter(&mut self, focus: &mut Focus, first: Option<MemberId>) {
        let taken = first
            .and_then(|id| focus.members.get(&id))
            .filter(|_| focus.group.rules.accept_set == AcceptSet::FirstAccept)
            .map(|member| member.media.used());
        if let Some(member) = first.and_then(|id| focus.members.get(&id)) {
            focus.rooms.narrow(&member.media);
        }
        let rooms = &focus.rooms;
        let Some(member) = focus.members.get_mut(&INVITER) else {
            return;
        };
        let mut lost = StreamSet::default();
        if let State::Asking(pending) = &mut member.state {
            if let Some(taken) = taken {
                lost = pending.draft.keep(union(taken, rooms.floors()));
            }
            lost.0 |= pending.draft.keep_agreed(rooms).0;
        }
        focus.stage = Stage::Running;
        self.accept_comer(focus, INVITER, lost);
    }

    /// A participant that waits for an answer gets it, when the worker was told of its far ends.
    pub(super) fn accept_comer(&mut self, focus: &mut Focus, id: MemberId, lost: StreamSet) {
        let Some(key) = focus.members.get(&id).map(|member| member.key.clone()) else {
            return;
        };
        let rights = focus.rights(id, &key);
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        let state = std::mem::replace(&mut member.state, State::Connected);
        let State::Asking(mut pending) = state else {
            member.state = state;
            return;
        };
        let mut acts = Vec::new();
        if !pending.is_bound {
            acts.extend(pending.draft.joins(id, &identity_of(member)));
        }
        acts.extend(pending.draft.connects(&focus.rooms, id, rights));
        acts.extend(self.leave_act(focus.settings.drain, id, lost));
        let member_state = State::Answering(pending);
        if let Some(member) = focus.members.get_mut(&id) {
            member.state = member_state;
        }
        self.order_group(focus, acts, After::Answered(id));
    }

    /// What a later one has taken is offered to the inviter, too (OFR-09, CON-17).
    pub(super) fn widen(&self, focus: &mut Focus, by: MemberId) {
        let used = focus.members.get(&by).map(|member| member.media.used());
        let offered = focus.origin.offered;
        let (Some(used), Some(inviter)) = (used, focus.members.get_mut(&INVITER)) else {
            return;
        };
        if matches!(inviter.state, State::Connected) && by != INVITER {
            let may = rooms_for(&focus.rooms, inviter.allowed);
            let more = without(both(both(used, offered), may), inviter.goal);
            inviter.goal.0 |= more.0;
        }
    }
}

impl Focus {
    /// Somebody takes part or is invited from now on.
    pub(super) fn admit(&mut self, mut member: Member) {
        self.members_ever = member.id.0;
        self.change += 1;
        member.changed_at = self.change;
        // A group's members are known by the group itself.
        if self.known.len() < REMEMBERED_USERS && !self.group.admits(&member.key) {
            self.known.insert(member.key.clone());
        }
        self.members.insert(member.id, member);
    }

    /// A participant's INVITE that waits for its answer.
    pub(super) fn pending(&mut self, id: MemberId) -> Option<&mut Pending> {
        match &mut self.members.get_mut(&id)?.state {
            State::Asking(pending) | State::Answering(pending) => Some(pending),
            State::Opening { .. }
            | State::Inviting { .. }
            | State::Connected
            | State::Leaving { .. }
            | State::Parting { .. }
            | State::Cancelled { .. } => None,
        }
    }
}

/// Reads an INVITE's offer: a room for each stream that the session may have (OFR-05).
fn open_rooms(
    focus: &mut Focus,
    member: &Member,
    request: &Message,
) -> Result<crate::media::group::Draft, Refused> {
    let sdp = body::sdp(request)
        .ok_or_else(|| Refused::not_acceptable(399, "an SDP offer is needed in the INVITE"))?;
    let offer = member.media.read(&sdp)?;
    let mut fates = Vec::with_capacity(offer.lines().len());
    for index in 0..offer.lines().len() {
        fates.push(open_room(focus, &offer, index, (member.id, member.allowed)));
    }
    let floors = open_floors(focus, &offer);
    for (index, fate) in fates.iter_mut().enumerate() {
        let found = focus.rooms.matching(&offer, index, StreamSet::default());
        *fate = fate.or(found.filter(|id| floors.contains(*id)));
    }
    let draft = member.media.draft_answer(&focus.rooms, &offer, &fates);
    let unused = without(focus.rooms.all(), draft.streams());
    focus.rooms.close(without(unused, floors));
    if without(draft.streams(), floors).is_empty() {
        let is_barred = offer
            .lines()
            .iter()
            .any(|line| line.is_on && line.is_supported && !allows(member.allowed, line.kind));
        return Err(if is_barred {
            Refused::not_acceptable(304, "Media type not available")
        } else {
            Refused::not_acceptable(305, "Incompatible media format")
        });
    }
    Ok(draft)
}

/// A room of what a line offers, where the session may have it.
pub(super) fn open_room(
    focus: &mut Focus,
    offer: &Offer,
    index: usize,
    (by, allowed): (MemberId, Streams),
) -> Option<dataplane::api::StreamId> {
    let line = *offer.line(index)?;
    if !line.is_on || !line.is_supported || !allows(allowed, line.kind) {
        return None;
    }
    let kind = kind_of_line(line.kind);
    let floor = focus.group.has_floor(kind).then(|| floor_of(kind));
    focus.rooms.open(offer, index, by, floor)
}

/// The rooms that streams of allowed kinds have, and those of floors.
pub(super) fn rooms_for(rooms: &Rooms, allowed: Streams) -> StreamSet {
    let may_have = rooms.iter().filter(|room| allows(allowed, room.kind));
    may_have.fold(rooms.floors(), |set, room| set.with(room.id))
}

/// Whether streams of a kind are allowed.
pub(super) fn allows(streams: Streams, kind: Kind) -> bool {
    match kind {
        Kind::Audio => streams.audio,
        Kind::Video => streams.video,
        Kind::Message => streams.message,
        Kind::Application => streams.application,
        Kind::Image | Kind::Text | Kind::Other => streams.other,
    }
}

fn kind_of_line(kind: Kind) -> StreamKind {
    match kind {
        Kind::Audio => StreamKind::Audio,
        Kind::Video => StreamKind::Video,
        Kind::Message => StreamKind::Message,
        Kind::Application => StreamKind::Application,
        Kind::Image | Kind::Text | Kind::Other => StreamKind::Other,
    }
}

/// What a CPIM From is set to: nobody speaks for another one.
pub(super) fn identity_of(member: &Member) -> String {
    format!("<{}>", member.address)
}

pub(super) fn dialog_key(member: &Member) -> DialogKey {
    DialogKey::kept(&member.call_id, &member.local_tag)
}

/// What Session-Expires would have to be at least, where it is less (RFC 4028 §5).
fn too_short(request: &Message) -> Option<u32> {
    let value = request.headers.get(Name::SessionExpires)?;
    let seconds = value.split(';').next()?.trim().parse::<u32>().ok()?;
    (seconds < SESSION_EXPIRES_MIN_S).then_some(SESSION_EXPIRES_MIN_S)
}

/// The least that a session may last without a refresh, in seconds (RFC 4028 §5).
pub(super) const SESSION_EXPIRES_MIN_S: u32 = 90;

/// What goes to every participant as it came (CNV-06).
const CARRIED: [Name; 6] = [
    Name::ConversationId,
    Name::ContributionId,
    Name::InReplyToContributionId,
    Name::SessionReplaces,
    Name::Subject,
    Name::PAssertedService,
];

/// The service of group sessions where the INVITE names none.
const SERVICE: &str = "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session.group";
