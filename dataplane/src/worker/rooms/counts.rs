//! What rooms count by themselves, added to the worker's counters: seldom, so that it costs packets
//! nothing, and once more when a room ends.

use crate::net::Backend;
use crate::proto::floor;
use crate::proto::mix::MixCounts;
use crate::proto::switch::SwitchCounts;
use crate::session::{Machine, Room, RoomRef};
use crate::stats::Stats;

use super::super::Worker;

impl<B: Backend> Worker<B> {
    /// Takes what all rooms have counted since they were asked last.
    pub(in super::super) fn count_rooms(&mut self) {
        for room in self.rooms.iter_mut() {
            count(room, &mut self.stats);
        }
    }

    /// The same of one that is about to end.
    pub(super) fn count_room(&mut self, room: RoomRef) {
        if let Some(room) = self.rooms.find_mut(room) {
            count(room, &mut self.stats);
        }
    }
}

fn count(room: &mut Room, stats: &mut Stats) {
    match &mut room.machine {
        Machine::Floors(room) => {
            let now = room.floors.counts();
            count_floors(&now, &std::mem::replace(&mut room.counted, now), stats);
        }
        Machine::Mix(mixing) => {
            let now = mixing.mixer.counts();
            count_mix(&now, &std::mem::replace(&mut mixing.counted, now), stats);
        }
        Machine::Switch(switching) => {
            let now = *switching.switch.counts();
            let before = std::mem::replace(&mut switching.counted, now);
            count_switch(&now, &before, stats);
        }
        // Theirs are counted where they are sent, or are the MSRP relay's.
        Machine::Forward(_) | Machine::Chat(_) | Machine::Outpost(_) => {}
    }
}

fn count_floors(now: &floor::Counts, before: &floor::Counts, stats: &mut Stats) {
    stats.floor_messages_in += now.received - before.received;
    stats.floor_messages_out += now.sent - before.sent;
    stats.floor_messages_again += now.resent - before.resent;
    stats.floor_requests_again += now.repeated - before.repeated;
    stats.floor_errors += now.errors - before.errors;
    stats.floor_dropped += now.dropped - before.dropped;
    stats.floors_granted += now.granted - before.granted;
    stats.floors_revoked += now.revoked - before.revoked;
    stats.floor_members_lost += now.lost - before.lost;
    stats.full_floors += now.full - before.full;
}

fn count_mix(now: &MixCounts, before: &MixCounts, stats: &mut Stats) {
    stats.mix_ticks += now.ticks - before.ticks;
    stats.mix_encoded += now.encoded - before.encoded;
    stats.mix_sent += now.sent - before.sent;
    stats.mix_forwarded += now.forwarded - before.forwarded;
}

fn count_switch(now: &SwitchCounts, before: &SwitchCounts, stats: &mut Stats) {
    stats.switch_sent += now.forwarded - before.forwarded;
    stats.switch_resent += now.resent - before.resent;
    stats.switch_duplicates += now.duplicates - before.duplicates;
    stats.switch_key_requests += now.key_requests - before.key_requests;
    stats.switches += now.switches - before.switches;
    stats.full_switch_resends += now.resends_refused - before.resends_refused;
    stats.full_switch_histories += now.histories_full - before.histories_full;
}
