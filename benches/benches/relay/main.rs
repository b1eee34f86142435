//! What a packet costs on its way, part by part and whole.
//!
//! | group | what is measured |
//! |---|---|
//! | `wire` | reading heads; cutting a connection into frames |
//! | `table` | finding a leg among many |
//! | `path` | a packet from its frame to its way out; a cycle over sockets in memory |
//! | `mix` | a tick of a mixed room; its sums, and the same written plainly |
//! | `recording` | a message that is relayed, and recorded or not |
//! | `switch` | a talker's packet of video to all who watch it |
//! | `order` | an order to a worker and back |
//! | `codec`, `samples` | 20 ms of audio: codecs, other rates, levels |
//! | `live` | a started worker over real sockets on loopback, per backend |
//!
//! The live ones pin the worker to core 1 and the far ends to core 0 where there are two.

mod codec;
mod live;
mod mixing;
mod order;
mod path;
mod recording;
mod switching;
mod table;
mod wire;

mod calls;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    targets =
        wire::heads,
        wire::framing,
        table::legs,
        path::packet,
        path::cycle,
        mixing::ticks,
        mixing::sums,
        recording::message,
        switching::talker,
        order::round_trip,
        codec::codecs_20_ms,
        codec::samples_20_ms,
        live::rtp,
        live::msrp,
}
criterion_main!(benches);
