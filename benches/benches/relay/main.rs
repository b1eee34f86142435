//! What a packet costs on its way, part by part and whole.
//!
//! | group | what is measured |
//! |---|---|
//! | `wire` | reading heads; cutting a connection into frames |
//! | `table` | finding a leg among many |
//! | `path` | a packet from its frame to its way out; a cycle over sockets in memory |
//! | `recording` | a message that is relayed, and recorded or not |
//! | `switch` | a talker's packet of video to all who watch it |
//! | `order` | an order to a worker and back |
//! | `live` | a started worker over real sockets on loopback, per backend |
//!
//! The live ones pin the worker to core 1 and the far ends to core 0 where there are two.

mod live;
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
        recording::message,
        switching::talker,
        order::round_trip,
        live::rtp,
        live::msrp,
}
criterion_main!(benches);
