//! Bytes: heads that are read, connections that are cut into frames.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use dataplane::limits::STREAM_FRAME_BYTES;
use dataplane::wire::msrp::{Framer, Head, Shared, Step};
use dataplane::wire::{rtcp, rtp};

/// An RTP packet of 20 ms of G.711.
pub(crate) const RTP: [u8; 172] = {
    let mut packet = [0xd5; 172];
    let head = [0x80, 8, 0, 1, 0, 0, 0, 160, 0xca, 0xfe, 0xba, 0xbe];
    let mut at = 0;
    while at < head.len() {
        packet[at] = head[at];
        at += 1;
    }
    packet
};

/// A SEND with `body` octets.
pub(crate) fn send(to: &str, from: &str, body: usize) -> Vec<u8> {
    let mut frame = format!(
        "MSRP d93kswow SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\n\
         Message-ID: 12339sdqwer\r\nByte-Range: 1-{body}/{body}\r\nSuccess-Report: no\r\n\
         Content-Type: text/plain\r\n\r\n"
    )
    .into_bytes();
    frame.resize(frame.len() + body, b'm');
    frame.extend_from_slice(b"\r\n-------d93kswow$\r\n");
    frame
}

const TO: &str = "msrp://192.0.2.1:2855/0123456789abcdefghijklmnopqrstuv;tcp";
const FROM: &str = "msrp://alicepc.example.com:7777/iau39soe2843z;tcp";

pub(crate) fn heads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire");
    group.bench_function("rtp head", |bencher| {
        bencher.iter(|| rtp::packet(black_box(&RTP)));
    });
    let mut extended = RTP;
    extended[0] = 0x92;
    extended[20..24].copy_from_slice(&[0xbe, 0xde, 0, 2]);
    assert!(rtp::packet(&extended).is_some(), "CSRCs and an extension");
    group.bench_function("rtp head, CSRCs and extension", |bencher| {
        bencher.iter(|| rtp::packet(black_box(&extended)));
    });
    let report = [
        [0x80, 200, 0, 6].as_slice(),
        &[0; 24],
        &[0x81, 202, 0, 4],
        &[0; 16],
    ]
    .concat();
    assert!(rtcp::is_valid(&report));
    group.bench_function("rtcp compound", |bencher| {
        bencher.iter(|| rtcp::is_valid(black_box(&report)));
    });
    let frame = send(TO, FROM, 0);
    let end = frame.windows(4).position(|four| four == b"\r\n\r\n");
    let head = &frame[..end.expect("a head has an end") + 2];
    assert!(Head::parse(head).is_ok());
    group.bench_function("msrp head", |bencher| {
        bencher.iter(|| Head::parse(black_box(head)).is_ok());
    });
    group.finish();
}

pub(crate) fn framing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("framing");
    for body in [1 << 10, 64 << 10, 1 << 20] {
        let frame = send(TO, FROM, body);
        group.throughput(Throughput::Bytes(frame.len() as u64));
        group.bench_with_input(BenchmarkId::new("body", body), &frame, |bencher, frame| {
            let (mut framer, mut shared) = (Framer::new(), Shared::default());
            bencher.iter(|| frames_of(&mut framer, &mut shared, black_box(frame)));
        });
    }
    group.finish();
}

/// Cuts what came, a read at a time, and says how many octets of bodies there were.
fn frames_of(framer: &mut Framer, shared: &mut Shared, octets: &[u8]) -> usize {
    let (mut body, mut ends) = (0, 0);
    for read in octets.chunks(STREAM_FRAME_BYTES) {
        let mut input = read;
        while let Some(step) = framer.next(&mut input, shared).expect("it is a frame") {
            match step {
                Step::Body(octets) | Step::Collision(octets) => body += octets.len(),
                Step::Head { octets, .. } => {
                    black_box(octets);
                }
                Step::End(_) => ends += 1,
            }
        }
    }
    assert_eq!(ends, 1);
    body
}
