//! The floors of a group session (RFC 8855, RFC 8856): which there are and how they are given, who
//! holds them, and who speaks. The worker decides; what is known here is what others are told.

use std::time::Duration;

use dataplane::api::{FloorId, FloorRule, MemberId, SessionId, StreamId, StreamSet};

use super::begin::INVITER;
use super::state::Focus;
use crate::config::{Controlling, FloorChair, StreamKind};
use crate::engine::Engine;
use crate::media::group::{Offer, Room};

impl Engine {
    /// A floor has other holders: participant information tells it with the next notification.
    pub(in crate::engine) fn on_floor_changed(
        &mut self,
        id: SessionId,
        floor: FloorId,
        holders: &[MemberId],
    ) {
        self.with_focus(id, |_, focus| focus.take_holders(floor, holders));
    }

    /// Somebody else speaks. That changes with every sentence, so the operator sees it and nobody is
    /// notified: who listens hears it, and has it in the mixer's levels (RFC 6465).
    pub(in crate::engine) fn on_speaking(
        &mut self,
        id: SessionId,
        stream: StreamId,
        member: Option<MemberId>,
    ) {
        let Some(focus) = self.focus.sessions.get_mut(&id.0) else {
            return;
        };
        match member.filter(|_| focus.rooms.find(stream).is_some()) {
            Some(member) => focus.speakers.insert(stream, member),
            None => focus.speakers.remove(&stream),
        };
    }
}

impl Focus {
    /// Those who have or had the floor have changed by it.
    fn take_holders(&mut self, floor: FloorId, holders: &[MemberId]) {
        let before = self.holders.insert(floor, holders.to_vec());
        let before = before.unwrap_or_default();
        let lost = before.iter().filter(|member| !holders.contains(member));
        let won = holders.iter().filter(|member| !before.contains(member));
        for member in lost.chain(won) {
            // Who is gone is told of as such.
            if self.members.get(member).is_some() {
                self.touch(*member);
            }
        }
    }

    /// Whether a participant holds the floor that governs a room; `None` where none does.
    pub fn holds(&self, room: &Room, member: MemberId) -> Option<bool> {
        let holders = self.holders.get(&room.floor?);
        Some(holders.is_some_and(|holders| holders.contains(&member)))
    }
}

/// The room of the session's floors, where the group has any.
pub(super) fn open_floors(focus: &mut Focus, offer: &Offer) -> StreamSet {
    let rules = rules_of(&focus.group.rules);
    if !rules.is_empty() {
        let conference = u32::try_from(focus.id.0 % u64::from(u32::MAX)).unwrap_or(1);
        let offered = offer.floor_control();
        focus.rooms.open_floors(conference, rules, offered);
    }
    focus.rooms.floors()
}

/// How each floor is given.
fn rules_of(policy: &Controlling) -> Vec<FloorRule> {
    let millis = |time: Option<Duration>| {
        let millis = time.map_or(0, |time| time.as_millis());
        u32::try_from(millis).unwrap_or(u32::MAX)
    };
    let mut rules: Vec<FloorRule> = Vec::new();
    for kind in &policy.floors {
        let floor = floor_of(*kind);
        if rules.iter().all(|rule| rule.floor != floor) {
            rules.push(FloorRule {
                floor,
                chair: match policy.floor_chair {
                    FloorChair::Nobody => None,
                    FloorChair::Originator => Some(INVITER),
                },
                holders: policy.floor_holders,
                silence_ms: millis(policy.floor_silence),
                held_max_ms: millis(policy.floor_held),
            });
        }
    }
    rules
}

/// The floor that governs a kind of stream.
pub(super) fn floor_of(kind: StreamKind) -> FloorId {
    match kind {
        StreamKind::Audio => FloorId(1),
        StreamKind::Video => FloorId(2),
        StreamKind::Message => FloorId(3),
        StreamKind::Application | StreamKind::Other => FloorId(4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_stream_has_a_floor_given_as_the_policy_says() {
        let mut policy = Controlling {
            floors: vec![StreamKind::Video, StreamKind::Audio, StreamKind::Video],
            floor_silence: None,
            floor_held: Some(Duration::from_secs(7)),
            floor_holders: 3,
            ..Controlling::default()
        };
        let given = |policy: &Controlling| -> Vec<_> {
            let rules = rules_of(policy).into_iter();
            rules
                .map(|rule| (rule.floor.0, rule.chair, rule.holders))
                .collect()
        };
        assert_eq!(given(&policy), [(2, None, 3), (1, None, 3)]);
        let rule = &rules_of(&policy)[0];
        assert_eq!((rule.silence_ms, rule.held_max_ms), (0, 7_000));
        policy.floor_chair = FloorChair::Originator;
        let chair = Some(INVITER);
        assert_eq!(given(&policy), [(2, chair, 3), (1, chair, 3)]);
        policy.floors.clear();
        assert_eq!(given(&policy), []);
    }
}
