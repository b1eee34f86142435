//! What rooms count is the worker's, and each counter moves.

use crate::api::BfcpTransport;
use crate::limits::{FLOOR_REQUESTS, HOUSEKEEPING_MS};
use crate::stats::Stats;

use super::floors::{
    ERROR, FLOOR, RELEASE, REQUEST, STATUS, STATUS_ACK, group, message, request, talker, user,
};
use super::mixed::mixed;
use super::switched::session;

/// The counters with one of some beginnings that have not moved.
fn still(stats: &Stats, beginnings: &[&str]) -> Vec<&'static str> {
    let named = stats.named().into_iter();
    let ours = named.filter(|(name, _)| beginnings.iter().any(|one| name.starts_with(one)));
    let all: Vec<_> = ours.collect();
    assert!(all.len() > 3, "{all:?}");
    let still = all.into_iter().filter(|(_, count)| *count == 0);
    still.map(|(name, _)| name).collect()
}

#[test]
fn every_counter_of_floors_moves() {
    let mut group = group(3, BfcpTransport::Udp, 3_000);
    let asked = message(2, (REQUEST, 1, 0), &FLOOR);
    group.tells(0, &asked);
    group.tells(0, &asked);
    group.tells(1, &message(2, (REQUEST, 1, 1), &FLOOR));
    // Unknown, and nothing at all.
    group.tells(2, &message(2, (RELEASE, 3, 2), &request(99)));
    let [high, low] = user(2).to_be_bytes();
    group.tells(2, &[0x40, 200, 0, 9, 0, 0, 0, 77, 0, 7, high, low]);
    group.tells(2, &message(2, (STATUS_ACK, 9, 2), &[]));
    // From before what was answered last.
    group.tells(2, &message(2, (RELEASE, 2, 2), &request(99)));
    // The first falls silent, the second doesn't acknowledge that it is its turn.
    group.world.pass(20_000);
    let stats = group.world.worker.stats;
    // A full room is refused by the order that would fill it: `full_rooms` says so.
    let rest = still(&stats, &["floor_", "floors_"]);
    assert!(rest.is_empty(), "{rest:?}");
    assert_eq!(stats.floors_granted, 2);
    assert_eq!(stats.floors_revoked, 2);
}

#[test]
fn a_request_too_many_is_answered_with_an_error_and_counted() {
    let members = u32::try_from(FLOOR_REQUESTS).unwrap() + 1;
    let mut group = group(members, BfcpTransport::Udp, 0);
    let mut last = Vec::new();
    for member in 0..members {
        last = group.tells(member, &message(2, (REQUEST, 1, member), &FLOOR));
    }
    assert_eq!(last, [(talker(members - 1), (ERROR, 1, 0, 0))]);
    group.world.pass(2 * HOUSEKEEPING_MS);
    assert_eq!(group.world.worker.stats.full_floors, 1);
    // One that is taken back makes room.
    group.tells(7, &message(2, (RELEASE, 2, 7), &request(8)));
    let again = message(2, (REQUEST, 2, members - 1), &FLOOR);
    let taken = group.tells(members - 1, &again);
    let is_it = |one: &&(_, (u8, u16, u8, u8))| one.0 == talker(members - 1);
    assert_eq!(taken.iter().find(is_it).unwrap().1.0, STATUS);
}

#[test]
fn what_a_room_counted_last_is_counted_when_it_ends() {
    let mut group = group(1, BfcpTransport::Udp, 0);
    group.world.pass(2 * HOUSEKEEPING_MS);
    group.tells(0, &message(2, (REQUEST, 1, 0), &FLOOR));
    group.end();
    assert_eq!(group.world.worker.stats.floors_granted, 1);
}

#[test]
fn every_counter_of_mixed_and_switched_rooms_moves() {
    let mut room = mixed(3, None);
    room.speak(&[0, 1], 50);
    room.world.pass(2 * HOUSEKEEPING_MS);
    let stats = room.world.worker.stats;
    assert_eq!(still(&stats, &["mix_"]), ["mix_forwarded"]);
    let mut room = mixed(2, None);
    room.speak(&[0], 50);
    room.world.pass(2 * HOUSEKEEPING_MS);
    assert!(room.world.worker.stats.mix_forwarded > 0, "nothing to mix");

    let mut session = session(3);
    session.speaks(0, 60);
    session.speaks(1, 100);
    session.twice(1);
    session.lacks(2);
    session.world.pass(2 * HOUSEKEEPING_MS);
    let rest = still(&session.world.worker.stats, &["switch"]);
    assert!(rest.is_empty(), "{rest:?}");
    assert!(session.world.worker.stats.full_switch_resends > 0);
}
