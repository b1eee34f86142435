//! A talker's packet of video to all who watch it: heads of their own, one copy of the payload each.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use dataplane::api::{
    Direction, PayloadFormat, RtpFormats, VideoCodec, VideoFeedback, VideoFormat,
};
use dataplane::proto::switch::{NtpClock, Outlet, Seat, Switch, SwitchSpec};

/// Frames as the worker's: one copy into each.
struct Frames {
    bytes: Vec<[u8; FRAME_BYTES]>,
    next: usize,
}

impl Outlet for Frames {
    fn rtp(&mut self, _: Seat, head: &[u8], body: &[u8]) {
        let count = self.bytes.len();
        let frame = &mut self.bytes[self.next % count];
        frame[..head.len()].copy_from_slice(head);
        frame[head.len()..head.len() + body.len()].copy_from_slice(body);
        self.next += 1;
    }

    fn rtcp(&mut self, _: Seat, packet: &[u8]) {
        black_box(packet);
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench needs some instant")]
pub(crate) fn talker(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("switch");
    for receivers in [1_u32, 10, 1_000] {
        let now = Instant::now();
        let mut frames = Frames {
            bytes: vec![[0; FRAME_BYTES]; 4096],
            next: 0,
        };
        let (mut switch, talker) = room(receivers, now, &mut frames);
        let mut packet = packet();
        let mut seq = 1_u16;
        group.throughput(Throughput::Elements(receivers.into()));
        group.bench_function(BenchmarkId::new("packet to all", receivers), |bencher| {
            bencher.iter(|| {
                seq = seq.wrapping_add(1);
                packet[2..4].copy_from_slice(&seq.to_be_bytes());
                let later = now + Duration::from_millis(10);
                switch.receive(talker, black_box(&packet), later, &mut frames)
            });
        });
        group.bench_function(BenchmarkId::new("copies alone", receivers), |bencher| {
            let seat = talker;
            bencher.iter(|| {
                let (head, body) = black_box(&packet).split_at(17);
                for _ in 0..receivers {
                    frames.rtp(seat, head, body);
                }
            });
        });
    }
    group.finish();
}

/// A talker and those who watch it.
fn room(receivers: u32, now: Instant, out: &mut Frames) -> (Switch, Seat) {
    let mut switch = Switch::new(SwitchSpec {
        seed: 1,
        clock: NtpClock { at: now, ntp: 0 },
        cname: b"relay".as_slice().into(),
        dwell_ms: 1000,
    });
    let formats = RtpFormats {
        payloads: vec![PayloadFormat {
            payload_type: 96,
            format: 1,
            clock_rate: 90_000,
        }],
        video: vec![VideoFormat {
            payload_type: 96,
            codec: VideoCodec::Vp8,
            feedback: VideoFeedback::default(),
        }],
        ..RtpFormats::default()
    };
    let mut join = |may_send| {
        let seat = switch.add(now).expect("there is room");
        let direction = Direction {
            may_send,
            may_receive: !may_send,
        };
        switch.set_formats(seat, &formats, now, out);
        switch.set_direction(seat, direction, now, out);
        seat
    };
    let talker = join(true);
    for _ in 0..receivers {
        join(false);
    }
    let mut first = packet();
    // A key frame lets all of them in.
    first[17] &= !1;
    switch
        .receive(talker, &first, now, out)
        .expect("it is taken");
    (switch, talker)
}

/// A packet of VP8 within an inter frame: X, S; I with 15 bits, L (RFC 7741 §4.2).
fn packet() -> Vec<u8> {
    let mut packet = vec![0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9];
    packet.extend([0x90, 0xc0, 0x80, 1, 1, 0x11, 0, 0, 0x9d, 0x01, 0x2a]);
    packet.resize(PACKET_BYTES, 0x55);
    packet
}

const FRAME_BYTES: usize = 2048;
/// What encoders of calls make: under a path's MTU with room for tunnels.
const PACKET_BYTES: usize = 1200;
