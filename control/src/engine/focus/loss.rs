//! What the worker tells of participants' media: silence, and connections that are lost (REL-01:
//! inactivity).
//!
//! A lost connection takes the stream from its participant, who has `reconnect` to offer it anew;
//! after that the stream is taken out of the participant's description, or the participant is
//! released where nothing else is left of its media.

use dataplane::api::{Event, MemberId, SessionId, StreamId, StreamSet};

use super::state::{Focus, Member, Parting, State, both, union, without};
use crate::engine::Engine;

impl Engine {
    /// A worker's news of a group session.
    pub(in crate::engine) fn on_member_news(&mut self, event: Event) {
        match event {
            Event::MemberSilent {
                session,
                stream,
                member,
            } => self.on_member_silence(session, (member, stream), true),
            Event::MemberHeard {
                session,
                stream,
                member,
            } => self.on_member_silence(session, (member, stream), false),
            Event::MemberLost {
                session,
                stream,
                member,
            } => self.on_member_lost(session, (member, stream)),
            Event::Speaking {
                session,
                stream,
                member,
            } => self.on_speaking(session, stream, member),
            Event::FloorChanged {
                session,
                floor,
                holders,
            } => self.on_floor_changed(session, floor, &holders),
            // What is left isn't of groups.
            Event::Done(_)
            | Event::ConnectionLost { .. }
            | Event::Silent { .. }
            | Event::Heard { .. } => {}
        }
    }

    /// A participant's connection is lost.
    fn on_member_lost(&mut self, id: SessionId, (member, stream): (MemberId, StreamId)) {
        self.with_focus(id, |engine, focus| {
            // Its client makes that of floor control anew by itself (RFC 8855 §7).
            let is_floors = focus.rooms.floors().contains(stream);
            let Some(found) = focus.members.get_mut(&member).filter(|_| !is_floors) else {
                return;
            };
            match &mut found.state {
                State::Connected if found.media.used().contains(stream) => {
                    tracing::info!(session = id.0, member = member.0, "a connection is lost");
                    engine.counters.group_connections_lost += 1;
                    let is_known = found.media.gone().contains(stream);
                    found.disconnected(stream);
                    engine.has_lost(focus, member, StreamSet::default().with(stream));
                    if !is_known {
                        engine.bring_back(focus, member);
                    }
                }
                // What it has agreed to by then is brought back.
                State::Opening { draft } | State::Inviting { draft, .. } => {
                    draft.disconnected(stream);
                }
                State::Asking(pending) | State::Answering(pending) => {
                    pending.draft.disconnected(stream);
                }
                State::Connected
                | State::Leaving { .. }
                | State::Parting { .. }
                | State::Cancelled { .. } => {}
            }
        });
    }

    /// A participant has so long to have streams again.
    fn has_lost(&self, focus: &mut Focus, id: MemberId, streams: StreamSet) {
        let until = focus.group.rules.reconnect.map(|time| self.now + time);
        if let Some(member) = focus.members.get_mut(&id) {
            member.lost = union(member.lost, streams);
            member.lost_until = member.lost_until.or(until);
            focus.touch(id);
        }
    }

    /// Offers a participant anew what has gone with its worker, of which nothing else tells it; once,
    /// where it was just found out or something else was agreed since.
    pub(super) fn bring_back(&mut self, focus: &mut Focus, id: MemberId) {
        let Some(member) = focus.members.get(&id) else {
            return;
        };
        let gone = member.media.gone();
        if matches!(member.state, State::Connected) && !gone.is_empty() {
            self.has_lost(focus, id, gone);
            self.offer_again(focus, id);
        }
    }

    /// A participant has not offered anew in time what it has lost.
    pub(super) fn give_up_lost(&mut self, focus: &mut Focus, id: MemberId) {
        let floors = focus.rooms.floors();
        let Some(member) = focus.members.get_mut(&id) else {
            return;
        };
        member.lost_until = None;
        let lost = std::mem::take(&mut member.lost);
        if without(member.media.used(), StreamSet(lost.0 | floors.0)).is_empty() {
            self.release(focus, id, Parting::Disconnected);
        } else {
            member.goal = without(member.goal, lost);
        }
    }

    /// Nothing comes from a participant in a room, or something comes again.
    fn on_member_silence(
        &mut self,
        id: SessionId,
        (member, stream): (MemberId, StreamId),
        is_silent: bool,
    ) {
        self.with_focus(id, |engine, focus| {
            let Some(found) = focus.members.get_mut(&member) else {
                return;
            };
            let one = StreamSet::default().with(stream);
            found.silent = if is_silent {
                found.silent.with(stream)
            } else {
                without(found.silent, one)
            };
            engine.release_if_silent(focus, member);
        });
    }

    /// A participant's streams have changed. Where it didn't send before or doesn't now, and in legs
    /// that are new, the worker listens anew; and what is left may be silent.
    pub(super) fn listen_anew(
        &mut self,
        focus: &mut Focus,
        id: MemberId,
        (before, opened): (StreamSet, StreamSet),
    ) {
        let sending = focus.sending(id);
        if let Some(member) = focus.members.get_mut(&id) {
            member.silent = both(member.silent, without(both(before, sending), opened));
        }
        self.release_if_silent(focus, id);
    }

    fn release_if_silent(&mut self, focus: &mut Focus, id: MemberId) {
        if focus.group.rules.release_silent && is_all_silent(focus, id) {
            self.counters.group_members_silent += 1;
            self.release(focus, id, Parting::Silent);
        }
    }
}

/// Whether a participant is gone by all that can be heard of it: it may send in some rooms of RTP,
/// is silent in each of them, and has no other stream that shows that it is there. Where a floor
/// says who sends, silence says nothing.
fn is_all_silent(focus: &Focus, id: MemberId) -> bool {
    let Some(member) = focus.members.get(&id) else {
        return false;
    };
    let rights = focus.rights(id, &member.key);
    let (mut is_any, mut is_all) = (false, true);
    for stream in member.media.streams(&focus.rooms, rights) {
        let room = focus.rooms.find(stream.id);
        let is_gated = room.is_some_and(|room| room.floor.is_some());
        let is_free = stream.direction.may_send && !is_gated;
        match room.is_some_and(crate::media::group::Room::is_rtp) {
            true if is_free => {
                is_any = true;
                is_all &= member.silent.contains(stream.id);
            }
            true => {}
            false => is_all &= focus.rooms.floors().contains(stream.id),
        }
    }
    is_any && is_all && matches!(member.state, State::Connected)
}

impl Focus {
    /// The rooms in which a participant may send.
    pub(super) fn sending(&self, id: MemberId) -> StreamSet {
        let Some(member) = self.members.get(&id) else {
            return StreamSet::default();
        };
        let streams = member
            .media
            .streams(&self.rooms, self.rights(id, &member.key));
        let sent = streams.iter().filter(|stream| stream.direction.may_send);
        sent.fold(StreamSet::default(), |set, stream| set.with(stream.id))
    }
}

impl Member {
    /// A stream is lost, in what is being agreed, too.
    fn disconnected(&mut self, stream: StreamId) {
        self.media.disconnected(stream);
        if let Some(asked) = &mut self.asked {
            asked.back = without(asked.back, StreamSet::default().with(stream));
        }
        let asked = self.asked.as_mut().map(|asked| &mut asked.draft);
        let offered = self.exchange.as_mut().map(|one| &mut one.draft);
        let drafts = [asked, offered, self.late.as_mut()];
        for draft in drafts.into_iter().flatten() {
            draft.disconnected(stream);
        }
    }

    /// Streams were agreed anew: their connections can be made again. Whether any was lost.
    pub(super) fn has_back(&mut self, streams: StreamSet) -> bool {
        let before = self.lost;
        self.lost = without(self.lost, streams);
        if self.lost.is_empty() {
            self.lost_until = None;
        }
        before != self.lost
    }
}
