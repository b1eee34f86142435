//! Finding a leg's stream by the mark that its packets carry, among few and many.

use std::hint::black_box;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion};
use dataplane::api::{
    Component, Direction, Learn, LegLocal, LegSpec, RtpRemote, SessionId, Side, StreamId,
    StreamPlan,
};
use dataplane::session::{
    Mark, Media, Owner, Phase, Ports, RtpLeg, Sessions, Socket, Stream, Streams,
};

use crate::calls;

/// Legs of the tables that are looked into.
pub(crate) const LEGS: [u32; 3] = [2, 1_000, 30_000];

/// Streams of two RTP legs each, and the legs' marks in an order that no cache foresees.
pub(crate) fn streams(legs: u32, now: Instant) -> (Streams, Vec<Mark>) {
    let mut ports = Ports::new(&calls::config(), 0);
    let mut streams = Streams::new();
    let mut marks = Vec::new();
    for number in 0..legs / 2 {
        let slot = streams.reserve().expect("there is room");
        let media = Side::BOTH.map(|side| {
            let pair = ports.take(now).expect("a port is free");
            ports.give_unused(pair);
            let index = u32::try_from(side.index()).expect("it is 0 or 1");
            let mut leg = RtpLeg::new(Socket(2 * number + index), None, pair, Learn::Never);
            let at = far_end(side);
            leg.connect(now, &RtpRemote { rtp: at, rtcp: at }, Direction::BOTH);
            marks.push(Mark::new(Owner::Rtp(slot, side, Component::Rtp)));
            leg
        });
        let spec = LegSpec::Rtp {
            local_ip: calls::LOCAL,
            rtcp_mux: true,
            learn: Learn::Never,
        };
        let stream = Stream {
            media: Media::Rtp(media),
            phase: Phase::Open,
            session: SessionId(u64::from(number)),
            id: StreamId(0),
            opened: now,
            silence: None,
            recording: None,
            plan: Some(StreamPlan {
                stream: StreamId(0),
                legs: [spec.clone(), spec],
                local: [LegLocal::Unbound, LegLocal::Unbound],
                silence_ms: 0,
                record: false,
            }),
        };
        streams.fill(slot, stream);
    }
    // A step that shares no factor with the length visits all of them.
    let count = marks.len();
    let step = 7_919;
    let mixed = (0..count).map(|at| marks[at * step % count]).collect();
    (streams, mixed)
}

/// Where the clients of a side are.
pub(crate) fn far_end(side: Side) -> std::net::SocketAddr {
    let last = [1, 2][side.index()];
    (std::net::Ipv4Addr::new(192, 0, 2, last), 4000).into()
}

#[expect(clippy::disallowed_methods, reason = "a bench needs some instant")]
pub(crate) fn legs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("table");
    for legs in LEGS {
        let (mut streams, marks) = streams(legs, Instant::now());
        let mut at = 0;
        group.bench_function(BenchmarkId::new("leg by mark", legs), |bencher| {
            bencher.iter(|| {
                at = (at + 1) % marks.len();
                let Some(Owner::Rtp(slot, side, _)) = black_box(marks[at]).owner() else {
                    return None;
                };
                let stream = streams.find_mut(slot)?;
                Some((stream.phase, side))
            });
        });
        let mut sessions = Sessions::new(usize::MAX);
        for id in 0..u64::from(legs) / 2 {
            sessions.add(SessionId(id)).expect("there is room");
        }
        let count = u64::from(legs) / 2;
        let mut id = 0;
        group.bench_function(BenchmarkId::new("session by id", legs), |bencher| {
            bencher.iter(|| {
                id = (id + 7_919) % count;
                sessions.find(black_box(SessionId(id)))
            });
        });
    }
    group.finish();
}
