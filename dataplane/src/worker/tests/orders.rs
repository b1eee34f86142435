use crate::api::{
    Act, Learn, LegFacts, LegLocal, LegSpec, Outcome, Refusal, Side, StreamId, StreamSet,
};
use crate::limits::{ORDERS_PER_CYCLE, SESSIONS_PER_WORKER};

use super::fake::{LOCAL, World, address, config, connect, locals, open, release, rtp, rtp_spec};

fn audio() -> Act {
    open(0, &rtp_spec(false, Learn::Never))
}

fn only(stream: u8) -> StreamSet {
    StreamSet::default().with(StreamId(stream))
}

#[test]
fn one_stream_is_released_and_the_other_goes_on() {
    let mut world = World::new(&config(10_000, 10_099));
    let video = open(1, &rtp_spec(false, Learn::Never));
    let opened = world.order(1, vec![audio(), video]);
    let audio_at = locals(&opened.acts[0]);
    let (a, b) = (address("192.0.2.1:4000"), address("192.0.2.2:6000"));
    for stream in [0, 1] {
        let acts = vec![
            connect(stream, Side::A, a, a),
            connect(stream, Side::B, b, b),
        ];
        assert_eq!(world.order(1, acts).outcome, Outcome::Done);
    }
    assert_eq!(world.datagram(a, audio_at[0].0, &rtp(1, 1)).len(), 1);
    let released = world.order(1, vec![release(only(1), 1000)]);
    assert_eq!(released.outcome, Outcome::Done);
    assert_eq!(released.returned.len(), 1);
    assert_eq!(released.returned[0].stream, StreamId(1));
    assert_eq!(
        world.net.borrow().sockets.len(),
        1 + 4,
        "the listener, audio"
    );
    assert_eq!(world.datagram(a, audio_at[0].0, &rtp(4, 1)).len(), 1);

    let ended = world.order(1, vec![release(StreamSet::ALL, 0)]);
    let Act::Release { facts, .. } = &ended.acts[0] else {
        panic!()
    };
    let from_a = facts[0].legs[0];
    let want = LegFacts {
        packets: 2,
        bytes: 28,
        lost: 2,
        source: Some(a),
        ..LegFacts::default()
    };
    assert_eq!(from_a, want);
    assert!(world.worker.sessions.is_empty());
    assert_eq!(world.worker.stats.sockets, 1);
}

#[test]
fn ports_come_back_after_the_quiet_time() {
    let mut world = World::new(&config(10_000, 10_003));
    assert_eq!(world.order(1, vec![audio()]).outcome, Outcome::Done);
    let full = world.order(2, vec![audio()]);
    assert_eq!(full.outcome, Outcome::Refused(Refusal::NoPort));
    assert_eq!(world.worker.stats.full_ports, 1);
    world.order(1, vec![release(StreamSet::ALL, 0)]);
    let early = world.order(2, vec![audio()]);
    assert_eq!(early.outcome, Outcome::Refused(Refusal::NoPort));
    world.pass(5000);
    assert_eq!(world.order(2, vec![audio()]).outcome, Outcome::Done);
}

#[test]
fn ten_thousand_failed_opens_leave_no_session_and_every_port() {
    let mut world = World::new(&config(10_000, 10_019));
    world.net.borrow_mut().bad_ip = Some("10.9.9.9".parse().unwrap());
    let bad = LegSpec::Rtp {
        local_ip: "10.9.9.9".parse().unwrap(),
        rtcp_mux: false,
        learn: Learn::Never,
    };
    for session in 0..10_000 {
        // The first stream binds, the second can't.
        let refused = world.order(session, vec![audio(), open(1, &bad)]);
        assert_eq!(refused.outcome, Outcome::Refused(Refusal::Socket));
        let Act::Open(plan) = &refused.acts[0] else {
            panic!()
        };
        assert_eq!(plan.local, [LegLocal::Unbound, LegLocal::Unbound]);
    }
    assert!(world.worker.sessions.is_empty() && world.worker.streams.is_empty());
    assert_eq!(world.worker.ports.free(world.now), 20);
    assert_eq!(world.net.borrow().sockets.len(), 1, "the listener");
}

#[test]
fn ports_that_others_took_are_passed_over() {
    let mut world = World::new(&config(10_000, 10_009));
    let taken = address("10.0.0.1:10001");
    world.net.borrow_mut().taken.insert(taken);
    let opened = world.order(1, vec![audio()]);
    let [a, b] = locals(&opened.acts[0]);
    assert_eq!((a.0.port(), b.0.port()), (10_002, 10_004));
    assert_eq!(world.net.borrow().sockets.len(), 1 + 4, "10000 was closed");
}

#[test]
fn an_unknown_session_or_stream_is_refused_and_nothing_is_done() {
    let mut world = World::new(&config(10_000, 10_099));
    let a = address("192.0.2.1:4000");
    let unknown = Outcome::Refused(Refusal::Unknown);
    for acts in [
        vec![connect(0, Side::A, a, a)],
        vec![release(StreamSet::ALL, 0)],
        vec![Act::Report { facts: Vec::new() }],
        vec![],
        vec![audio(), connect(1, Side::A, a, a)],
        vec![audio(), audio()],
    ] {
        assert_eq!(world.order(9, acts).outcome, unknown);
    }
    assert!(world.worker.sessions.is_empty());
    assert_eq!(world.net.borrow().sockets.len(), 1);
    world.order(9, vec![audio()]);
    assert_eq!(world.order(9, vec![audio()]).outcome, unknown);
    let ended = world.order(
        9,
        vec![release(only(5), 0), Act::Report { facts: Vec::new() }],
    );
    let Act::Report { facts } = &ended.acts[1] else {
        panic!()
    };
    assert_eq!(facts.len(), 1);
}

#[test]
fn a_stream_may_be_replaced_in_one_order() {
    let mut world = World::new(&config(10_000, 10_099));
    world.order(1, vec![audio()]);
    let acts = vec![release(only(0), 0), audio()];
    let replaced = world.order(1, acts);
    assert_eq!(replaced.outcome, Outcome::Done);
    assert_eq!(replaced.returned.len(), 1);
    assert_eq!(world.worker.streams.len(), 1);
    assert_eq!(world.worker.sessions.len(), 1);
}

#[test]
fn a_full_table_refuses() {
    let mut world = World::new(&config(10_000, 60_000));
    world.worker.sessions = crate::session::Sessions::new(2);
    world.order(1, vec![audio()]);
    world.order(2, vec![audio()]);
    let refused = world.order(3, vec![audio()]);
    assert_eq!(refused.outcome, Outcome::Refused(Refusal::Full));
    assert_eq!(world.worker.stats.full_sessions, 1);
    let many = (1..9).map(|id| open(id, &rtp_spec(true, Learn::Never)));
    let refused = world.order(1, many.collect());
    assert_eq!(refused.outcome, Outcome::Refused(Refusal::Full));
    assert_eq!(world.worker.streams.len(), 2);
    const { assert!(SESSIONS_PER_WORKER > 2) };
}

#[test]
fn orders_come_back_in_order_some_per_cycle() {
    let mut world = World::new(&config(10_000, 20_000));
    for session in 0..100 {
        world.send(session, vec![audio()]);
    }
    world.cycle();
    assert_eq!(world.news.len(), ORDERS_PER_CYCLE);
    for _ in 0..20 {
        world.cycle();
    }
    let marks: Vec<u64> = world.done().iter().map(|order| order.mark).collect();
    assert_eq!(marks, (0..100).collect::<Vec<_>>());
}

#[test]
fn an_order_waits_while_control_takes_no_news() {
    let mut world = World::new(&config(10_000, 20_000));
    let room = world.worker.link.room();
    for _ in 0..room {
        let event = crate::api::Event::Silent {
            session: crate::api::SessionId(1),
            stream: StreamId(0),
            side: Side::A,
        };
        world.worker.link.tell(event).unwrap();
    }
    world.send(1, vec![audio()]);
    let now = world.now;
    world.worker.cycle(now);
    assert_eq!(world.control.waiting(), 1);
    while world.control.news().is_some() {}
    world.cycle();
    assert_eq!(world.done().len(), 1);
}

#[test]
fn what_it_did_is_published() {
    let mut world = World::new(&config(10_000, 10_099));
    world.order(1, vec![audio()]);
    world.pass(200);
    let stats = world.board.load();
    assert_eq!((stats.sessions, stats.sockets), (1, 5));
    assert_eq!((stats.ports_free, stats.ports_total), (96, 100));
    assert!(stats.cycles > 2 && stats.frames_free == 1024);
    let now = world.now;
    world.worker.shut_down(now);
    assert!(world.net.borrow().sockets.is_empty());
    assert_eq!(LOCAL, "10.0.0.1");
}
