//! Orders step by step, with workers that are told what they answer: outposts that come, go and are
//! lost.

use super::*;

/// Two workers of which none does anything.
struct Idle {
    links: Vec<dataplane::api::ControlEnd>,
    runs: [bool; 2],
}

impl Ground for Idle {
    fn len(&self) -> usize {
        2
    }

    fn is_running(&self, worker: usize) -> bool {
        self.runs[worker]
    }

    fn road(&self, home: usize, outpost: usize) -> Option<(RoadEnd, RoadEnd)> {
        Some(dataplane::api::road(
            &self.links[home],
            &self.links[outpost],
        ))
    }
}

fn idle() -> Idle {
    let bell = Doorbell::new().unwrap();
    let ends = [(); 2].map(|()| dataplane::api::ring_pair(&bell).unwrap().0);
    Idle {
        links: ends.into(),
        runs: [true; 2],
    }
}

/// The next order that is done, and its home.
fn next_done(spread: &mut Spread) -> Option<(usize, Box<Order>)> {
    match spread.next_news()? {
        (home, Event::Done(order)) => Some((home, order)),
        (_, other) => panic!("nothing else is told: {other:?}"),
    }
}

fn answer(mut order: Box<Order>) -> Box<Order> {
    order.outcome = Outcome::Done;
    order
}

/// A session with one member at home and one at an outpost.
fn two(spread: &mut Spread, ground: &Idle) {
    spread.set_members_max(1);
    spread.order(0, order(1, vec![open(), join(0), join(1)]), ground);
    let mut workers = Vec::new();
    while let Some((worker, order)) = spread.next_order() {
        workers.push(worker);
        assert!(spread.take(worker, answer(order), ground).is_none());
    }
    assert_eq!(workers, [1, 0], "where it joins first");
    assert_eq!(
        next_done(spread).map(|(home, order)| (home, order.mark)),
        Some((0, 1))
    );
}

/// Has an order done; whose turns it took.
fn through(spread: &mut Spread, ground: &Idle, acts: Vec<Act>) -> Vec<usize> {
    spread.order(0, order(1, acts), ground);
    let mut workers = Vec::new();
    while let Some((worker, order)) = spread.next_order() {
        workers.push(worker);
        spread.take(worker, answer(order), ground);
    }
    while next_done(spread).is_some() {}
    workers
}

#[test]
fn outposts_come_and_go_as_often_as_a_session_likes() {
    let (mut spread, ground) = (Spread::default(), idle());
    spread.set_members_max(1);
    assert_eq!(through(&mut spread, &ground, vec![open_in(OTHER)]), [0]);
    for round in 0..300 {
        let begun = through(&mut spread, &ground, vec![open(), join(0), join(1)]);
        assert_eq!(begun, [1, 0], "round {round}");
        let acts = vec![leave_of(plan::only(ROOM), None)];
        assert_eq!(through(&mut spread, &ground, acts), [0, 1]);
    }
}

#[test]
fn members_stay_at_home_where_no_outpost_can_be_named_any_more() {
    let (mut spread, ground) = (Spread::default(), idle());
    spread.set_members_max(1);
    through(&mut spread, &ground, vec![open(), join(0)]);
    let session = spread.sessions.get_mut(&SESSION).unwrap();
    session.outposts_ever = u32::MAX;
    assert_eq!(through(&mut spread, &ground, vec![join(1)]), [0]);
    let session = &spread.sessions[&SESSION];
    assert_eq!(session.count(Place::Home), 2);
    assert_eq!(through(&mut spread, &ground, vec![leave(None)]), [0]);
    assert!(spread.sessions.is_empty());
}

#[test]
fn who_joins_as_its_outpost_is_lost_is_refused_and_nowhere() {
    let (mut spread, mut ground) = (Spread::default(), idle());
    two(&mut spread, &ground);
    through(&mut spread, &ground, vec![leave(Some(1))]);
    spread.order(0, order(2, vec![join(2)]), &ground);
    let (worker, joining) = spread.next_order().unwrap();
    assert_eq!(worker, 1);
    spread.take(1, answer(joining), &ground);
    let (worker, mut joining) = spread.next_order().unwrap();
    assert_eq!(worker, 0);
    // Home has seen it first.
    joining.outcome = Outcome::Refused(Refusal::Unknown);
    spread.take(0, joining, &ground);
    ground.runs[1] = false;
    let _unread = spread.next_order();
    spread.lost(1, &ground);
    let (_, done) = next_done(&mut spread).unwrap();
    let refused = Outcome::Refused(Refusal::Unknown);
    assert_eq!((done.mark, done.outcome), (2, refused));
    let session = &spread.sessions[&SESSION];
    assert_eq!((session.state.members.len(), session.is_at(1)), (1, false));
}

#[test]
fn nobody_is_told_of_the_end_before_every_worker_has_let_go() {
    let (mut spread, ground) = (Spread::default(), idle());
    two(&mut spread, &ground);
    spread.order(0, order(2, vec![leave(None)]), &ground);
    let (worker, first) = spread.next_order().unwrap();
    assert_eq!(worker, 0);
    assert!(spread.take(0, answer(first), &ground).is_none());
    assert!(next_done(&mut spread).is_none(), "the outpost hasn't yet");
    let (worker, second) = spread.next_order().unwrap();
    assert_eq!(worker, 1);
    assert!(spread.take(1, answer(second), &ground).is_none());
    let (home, done) = next_done(&mut spread).unwrap();
    assert_eq!((home, done.mark, done.outcome), (0, 2, Outcome::Done));
    assert!(spread.sessions.is_empty());
}

#[test]
fn an_outpost_that_is_lost_holds_nothing_up() {
    let (mut spread, mut ground) = (Spread::default(), idle());
    two(&mut spread, &ground);
    spread.order(0, order(2, vec![join(2)]), &ground);
    // One outpost is full, and there is no third worker: it joins at home.
    let (worker, joining) = spread.next_order().unwrap();
    assert_eq!(worker, 0);
    assert!(spread.take(0, answer(joining), &ground).is_some());
    spread.order(0, order(3, vec![leave(None)]), &ground);
    let (_, first) = spread.next_order().unwrap();
    assert!(spread.take(0, answer(first), &ground).is_none());
    ground.runs[1] = false;
    let _unread = spread.next_order();
    spread.lost(1, &ground);
    let (home, done) = next_done(&mut spread).unwrap();
    assert_eq!((home, done.mark, done.outcome), (0, 3, Outcome::Done));
    assert!(spread.sessions.is_empty());
}

#[test]
fn who_was_at_an_outpost_that_is_lost_gets_a_place_anew() {
    let (mut spread, mut ground) = (Spread::default(), idle());
    spread.set_members_max(1);
    let in_other = |act: Act| match act {
        Act::Join(plan) => Act::Join(MemberPlan {
            stream: StreamId(1),
            ..plan
        }),
        Act::OpenRoom(plan) => Act::OpenRoom(RoomPlan {
            stream: StreamId(1),
            ..plan
        }),
        other => other,
    };
    let mut acts = vec![open(), in_other(open()), join(0), join(1)];
    acts.push(in_other(join(1)));
    spread.order(0, order(1, acts), &ground);
    while let Some((worker, order)) = spread.next_order() {
        assert!(spread.take(worker, answer(order), &ground).is_none());
    }
    ground.runs[1] = false;
    spread.lost(1, &ground);
    // One of its two streams comes back: of the other one nobody has heard yet.
    let mut leaves = leave(Some(1));
    if let Act::Leave { streams, .. } = &mut leaves {
        *streams = plan::only(ROOM);
    }
    spread.order(0, order(2, vec![leaves, join(1)]), &ground);
    let (worker, parted) = spread.next_order().unwrap();
    assert_eq!(worker, 0);
    let joins = parted
        .acts
        .iter()
        .any(|act| matches!(act, Act::Join(plan) if matches!(plan.leg, LegSpec::Rtp { .. })));
    assert!(joins, "its leg is at home: {parted:?}");
    let mut next = Some((worker, parted));
    while let Some((worker, order)) = next {
        spread.take(worker, answer(order), &ground);
        next = spread.next_order();
    }
    let session = &spread.sessions[&SESSION];
    assert_eq!(session.count(Place::Home), 2, "and it counts there");
}

#[test]
fn nobody_is_sent_to_an_outpost_that_has_ended_and_is_not_told_to_be_lost() {
    let (mut spread, mut ground) = (Spread::default(), idle());
    two(&mut spread, &ground);
    spread.order(0, order(2, vec![leave(Some(1))]), &ground);
    while let Some((worker, order)) = spread.next_order() {
        assert!(spread.take(worker, answer(order), &ground).is_none());
    }
    ground.runs[1] = false;
    spread.order(0, order(3, vec![join(2)]), &ground);
    let (worker, joining) = spread.next_order().unwrap();
    assert_eq!(worker, 0);
    let joined = spread.take(0, answer(joining), &ground).unwrap();
    assert!(matches!(&joined.acts[0], Act::Join(plan) if matches!(plan.leg, LegSpec::Rtp { .. })));
    assert!(spread.next_order().is_none());
}

#[test]
fn who_was_to_join_at_an_outpost_that_is_lost_is_refused() {
    let (mut spread, mut ground) = (Spread::default(), idle());
    spread.set_members_max(1);
    spread.order(0, order(1, vec![open(), join(0)]), &ground);
    let (_, opened) = spread.next_order().unwrap();
    assert!(spread.take(0, answer(opened), &ground).is_some());
    spread.order(0, order(2, vec![join(1)]), &ground);
    let (worker, _unread) = spread.next_order().unwrap();
    assert_eq!(worker, 1);
    ground.runs[1] = false;
    spread.lost(1, &ground);
    let (_, done) = next_done(&mut spread).unwrap();
    assert_eq!(
        (done.mark, done.outcome),
        (2, Outcome::Refused(Refusal::Unknown))
    );
    assert!(spread.next_order().is_none(), "home never heard of it");
}

#[test]
fn outposts_of_a_session_whose_home_is_lost_are_released() {
    let (mut spread, mut ground) = (Spread::default(), idle());
    two(&mut spread, &ground);
    ground.runs[0] = false;
    spread.lost(0, &ground);
    let (worker, order) = spread.next_order().unwrap();
    assert_eq!(worker, 1);
    assert!(matches!(
        order.acts[..],
        [Act::Leave {
            member: None,
            streams: StreamSet::ALL,
            ..
        }]
    ));
    let mark = order.mark;
    let told = spread
        .take(1, answer(order), &ground)
        .map(|order| order.mark);
    assert_eq!(told, Some(mark), "of which the engine knows nothing");
    assert!(spread.sessions.is_empty());
}
