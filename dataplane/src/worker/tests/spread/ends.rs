//! Roads that end, by order or with a worker, and who is told.

use std::time::Duration;

use crate::api::{
    Act, Event, LegSpec, MemberId, MemberPlan, Outcome, OutpostId, Refusal, RoadEnd, RoadRoom,
    RoomKind, RoomPlan, StreamId, StreamSet, road_with,
};
use crate::limits::{HOUSEKEEPING_MS, ROADS_PER_WORKER};

use super::super::fake::{LOCAL, World};
use super::super::rooms::{TALKS, connect, join, leave, only};
use super::{AUDIO, OUTPOST, Spread, join_away};

const SMALL: RoadRoom = RoadRoom { out: 1, home: 1 };

fn refused(why: Refusal) -> Outcome {
    Outcome::Refused(why)
}

/// A road between the two workers of a group; home's end comes first.
fn road(group: &Spread) -> (RoadEnd, RoadEnd) {
    road_with(&group.home.control, &group.outpost.control, SMALL)
}

fn open_road(outpost: u32, end: RoadEnd) -> Act {
    Act::OpenRoad {
        outpost: OutpostId(outpost),
        end: Some(Box::new(end)),
    }
}

fn join_by(member: u32, outpost: u32) -> Act {
    let mut act = join_away(member);
    if let Act::Join(MemberPlan { leg, .. }) = &mut act {
        *leg = LegSpec::Away(OutpostId(outpost));
    }
    act
}

fn obey(world: &mut World, acts: Vec<Act>) {
    assert_eq!(world.order(1, acts).outcome, Outcome::Done);
}

fn lost(world: &mut World) -> Vec<MemberId> {
    let news = std::mem::take(&mut world.news).into_iter();
    let lost = news.filter_map(|event| match event {
        Event::MemberLost { member, .. } => Some(member),
        _ => None,
    });
    lost.collect()
}

#[test]
fn a_road_whose_outpost_has_ended_goes_while_its_session_goes_on() {
    let mut group = Spread::forward(SMALL);
    group.join(0, TALKS);
    for round in 0..300 {
        let outpost = if round == 0 { 1 } else { round + 10 };
        if round > 0 {
            let (here, there) = road(&group);
            let room = RoomPlan {
                stream: StreamId(AUDIO),
                kind: RoomKind::Outpost(OutpostId(outpost)),
                floor: None,
            };
            let acts = vec![open_road(outpost, there), Act::OpenRoom(room)];
            obey(&mut group.outpost, acts);
            obey(&mut group.home, vec![open_road(outpost, here)]);
        }
        obey(&mut group.home, vec![join_by(100, outpost)]);
        obey(&mut group.home, vec![leave(Some(100), only(AUDIO))]);
        obey(&mut group.outpost, vec![leave(None, StreamSet::ALL)]);
        assert!(group.outpost.worker.roads.is_empty());
        group.outpost.pass(HOUSEKEEPING_MS);
        group.home.pass(2 * HOUSEKEEPING_MS);
        let roads = group.home.worker.roads.len();
        assert_eq!(roads, 0, "after {round} rounds");
    }
    assert_eq!(lost(&mut group.home), [], "who has left isn't lost");
    obey(&mut group.home, vec![leave(None, StreamSet::ALL)]);
}

#[test]
fn a_lost_road_stays_for_as_long_as_somebody_has_joined_by_it() {
    let mut group = Spread::forward(SMALL);
    group.join(100, TALKS);
    group.join(101, TALKS);
    obey(&mut group.outpost, vec![leave(None, StreamSet::ALL)]);
    group.outpost.pass(HOUSEKEEPING_MS);
    group.home.pass(20 * HOUSEKEEPING_MS);
    assert_eq!(lost(&mut group.home), [MemberId(100), MemberId(101)]);
    for (member, roads) in [(100, 1), (101, 0)] {
        obey(&mut group.home, vec![leave(Some(member), only(AUDIO))]);
        group.home.pass(2 * HOUSEKEEPING_MS);
        assert_eq!(group.home.worker.roads.len(), roads);
    }
    assert_eq!(lost(&mut group.home), []);
}

#[test]
fn control_frees_the_ends_of_roads() {
    let mut group = Spread::forward(SMALL);
    let (here, there) = road(&group);
    obey(&mut group.home, vec![open_road(2, here)]);
    group.home.send(1, vec![leave(None, StreamSet::ALL)]);
    for _ in 0..10 {
        group.home.now += Duration::from_millis(HOUSEKEEPING_MS);
        group.home.worker.cycle(group.home.now);
    }
    assert!(group.home.worker.roads.is_empty());
    assert!(!there.is_abandoned(), "the worker has freed it");
    group.home.cycle();
    assert!(there.is_abandoned(), "control hasn't");
}

#[test]
fn an_end_that_a_refused_order_never_came_to_goes_home_with_it() {
    let mut group = Spread::forward(SMALL);
    group.home.net.borrow_mut().bad_ip = Some(LOCAL.parse().unwrap());
    let (here, there) = road(&group);
    let acts = vec![join(0, AUDIO), open_road(2, here), join_by(100, 2)];
    let order = group.home.order(1, acts);
    assert_eq!(order.outcome, refused(Refusal::Socket));
    assert!(!there.is_abandoned(), "the worker has freed it");
    assert!(matches!(order.acts[1], Act::OpenRoad { end: Some(_), .. }));
    assert_eq!(group.home.worker.roads.len(), 1, "the one there was");
    group.end();
}

#[test]
fn roads_of_one_order_count_before_they_are_opened() {
    let mut group = Spread::forward(SMALL);
    let mut far_ends = Vec::new();
    for outpost in 2..=u32::try_from(ROADS_PER_WORKER).unwrap() - 1 {
        let (here, there) = road(&group);
        far_ends.push(there);
        obey(&mut group.home, vec![open_road(outpost, here)]);
    }
    let (one, other) = (road(&group), road(&group));
    let acts = vec![open_road(1000, one.0), open_road(1001, other.0)];
    let order = group.home.order(1, acts);
    assert_eq!(order.outcome, refused(Refusal::Full));
    assert_eq!(group.home.worker.roads.len(), ROADS_PER_WORKER - 1);
    let last = order.acts.into_iter().next().unwrap();
    obey(&mut group.home, vec![last]);
    assert_eq!(group.home.worker.roads.len(), ROADS_PER_WORKER);
    group.end();
}

#[test]
fn nobody_joins_by_a_lost_road() {
    let mut group = Spread::forward(SMALL);
    group.join(100, TALKS);
    obey(&mut group.outpost, vec![leave(None, StreamSet::ALL)]);
    group.outpost.pass(HOUSEKEEPING_MS);
    group.home.pass(2 * HOUSEKEEPING_MS);
    let order = group.home.order(1, vec![join_away(101)]);
    assert_eq!(order.outcome, refused(Refusal::Unknown));
    let (end, _far) = road(&group);
    let mut again = open_road(1, end);
    if let Act::OpenRoad { outpost, .. } = &mut again {
        *outpost = OUTPOST;
    }
    let order = group.home.order(1, vec![again]);
    assert_eq!(order.outcome, refused(Refusal::Unknown), "it is there yet");
}

#[test]
fn who_is_connected_over_a_lost_road_is_told_to_be_lost_again() {
    let mut group = Spread::forward(SMALL);
    obey(&mut group.home, vec![join_away(100)]);
    obey(&mut group.outpost, vec![leave(None, StreamSet::ALL)]);
    group.outpost.pass(HOUSEKEEPING_MS);
    group.home.pass(20 * HOUSEKEEPING_MS);
    assert_eq!(lost(&mut group.home), [MemberId(100)], "before it has come");
    obey(&mut group.home, vec![connect(100, AUDIO, TALKS)]);
    group.home.pass(20 * HOUSEKEEPING_MS);
    assert_eq!(lost(&mut group.home), [MemberId(100)]);
}
