//! What recording adds to relaying MSRP: a copy of each octet, and a record for each read.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use dataplane::api::{Doorbell, SessionId, Side, StreamId, ring_pair};
use dataplane::limits::STREAM_FRAME_BYTES;
use dataplane::proto::msrp::{Config, ConnectionKey, Connections, Egress, Leg, LegKey};
use dataplane::stats::Stats;

use super::wire::send;

/// Takes what is written and forgets it.
struct Nowhere;

impl Egress for Nowhere {
    fn write(&mut self, _to: ConnectionKey, bytes: &[u8]) {
        std::hint::black_box(bytes);
    }

    fn is_full(&self, _to: ConnectionKey) -> bool {
        false
    }
}

const FAR: &str = "msrp://alicepc.example.com:7777/iau39soe2843z;tcp";

fn leg(relay: &mut Connections, letter: u8) -> (LegKey, String) {
    let id = char::from(letter).to_string().repeat(32);
    let path = format!("msrp://192.0.2.1:2855/{id};tcp");
    let leg = Leg {
        session_id: [letter; 32],
        local_path: &path,
        match_session_id_only: false,
    };
    let key = relay.add_leg(leg).expect("there is room for two legs");
    relay.set_remote(key, FAR, None);
    (key, path)
}

/// A message of 1 MiB passes, a read at a time; control takes its records in between.
pub(crate) fn message(criterion: &mut Criterion) {
    const OCTETS: usize = 1 << 20;
    let mut group = criterion.benchmark_group("recording");
    group.throughput(Throughput::Bytes(OCTETS as u64));
    #[expect(clippy::disallowed_methods, reason = "a time to begin with")]
    let now = Instant::now();
    for is_recorded in [false, true] {
        let config = Config {
            transactions: 64,
            timeout: Duration::from_secs(30),
        };
        let mut relay = Connections::new(config, 1);
        let ((a, path), (b, _)) = (leg(&mut relay, b'a'), leg(&mut relay, b'b'));
        relay.join(a, b);
        if is_recorded {
            let recording = relay.begin_recording(SessionId(1));
            relay.record_leg(a, recording, (StreamId(0), Side::A));
        }
        let from = relay.connected(now, a, &mut Nowhere).expect("it is new");
        relay.connected(now, b, &mut Nowhere).expect("it is new");
        let bell = Doorbell::new().expect("a descriptor is free");
        let (mut control, mut worker) = ring_pair(&bell).expect("a descriptor is free");
        let frame = send(&path, FAR, OCTETS);
        let text = String::from_utf8(frame).expect("it is text");
        let frame = text.replace("Success-Report: no", "Failure-Report: no");
        let (mut stats, mut octets) = (Stats::default(), 0);
        group.bench_function(BenchmarkId::new("recorded", is_recorded), |bencher| {
            bencher.iter(|| {
                for read in frame.as_bytes().chunks(STREAM_FRAME_BYTES) {
                    let _ = relay.receive(now, from, read, &mut Nowhere, &mut stats);
                    while let Some(record) = relay.next_record() {
                        worker.record(record).expect("control takes them");
                    }
                    while let Some(record) = control.record() {
                        octets += record.octets();
                    }
                }
            });
        });
        assert_eq!(octets > 0, is_recorded);
    }
    group.finish();
}
