//! The mixer under anything that may come as RTP, and members that come and go.

use std::time::{Duration, Instant};

use dataplane::api::{AudioCodec, AudioFormat, Direction, MixSpec, RtpFormats};
use dataplane::limits::MIX_TALKERS;
use dataplane::proto::mix::{Mixer, Scratch, Seat};
use dataplane::wire::media::View;
use rand::RngExt;
use rand::rngs::StdRng;

use super::campaign::rounds;
use super::spoil::{noise, pick, spoil};

const CODECS: [AudioCodec; 4] = [
    AudioCodec::Pcmu,
    AudioCodec::Pcma,
    AudioCodec::G722,
    AudioCodec::Opus {
        bitrate: 24_000,
        fec: true,
        dtx: true,
    },
];

fn formats(random: &mut StdRng) -> RtpFormats {
    let count = random.random_range(0..4_u8);
    let format = |n| AudioFormat {
        payload_type: 96 + n,
        codec: *pick(random, &CODECS),
        ptime_ms: *pick(random, &[10, 20, 30, 40, 60, 0, 25]),
    };
    RtpFormats {
        audio: (0..count).map(format).collect(),
        telephone_event: Some((101, 8000)).filter(|_| count % 2 == 0),
        client_level: Some(1),
        mixer_level: Some(2),
        ..RtpFormats::default()
    }
}

/// A packet that is nearly the next one of its stream.
fn packet(random: &mut StdRng, seq: &mut u16, time: &mut u32) -> Vec<u8> {
    *seq = seq.wrapping_add(random.random_range(0..3));
    *time = time.wrapping_add(*pick(random, &[0, 80, 160, 160, 160, 320, 960]));
    if random.random_ratio(1, 60) {
        (*seq, *time) = (random.random(), random.random());
    }
    let kind = *pick(random, &[96, 96, 97, 98, 13, 101, 0x80 | 96]);
    let mut bytes = vec![0x80, kind];
    bytes.extend(seq.to_be_bytes());
    bytes.extend(time.to_be_bytes());
    bytes.extend(random.random_range(0..3_u32).to_be_bytes());
    if random.random_ratio(1, 3) {
        bytes[0] |= 0x10;
        bytes.extend([0xbe, 0xde, 0, 1, 0x10, random.random(), 0, 0]);
    }
    bytes.extend(noise(random, 400));
    if random.random_ratio(1, 8) {
        let other = noise(random, 60);
        spoil(random, &mut bytes, &other);
    }
    bytes
}

fn round(random: &mut StdRng, start: Instant) {
    let spec = MixSpec {
        talkers: random.random(),
        jitter_max_ms: random.random(),
        auto_gain: random.random(),
    };
    let mut mixer = Mixer::new(spec, random.random());
    let mut scratch = Scratch::default();
    let mut seats: Vec<Seat> = Vec::new();
    let (mut now, mut seq, mut time) = (start, 0, 0);
    let mut out = |_: Seat, head: &[u8], payload: &[u8]| {
        let packet = [head, payload].concat();
        let view = View::parse(&packet).expect("what is sent is RTP");
        assert_eq!(view.payload, payload);
        assert!(usize::from(packet[0] & 15) <= MIX_TALKERS);
    };
    for _ in 0..400 {
        match random.random_range(0..20) {
            0 => seats.extend(mixer.add()),
            1 if !seats.is_empty() => {
                let seat = seats.swap_remove(random.random_range(0..seats.len()));
                mixer.remove(seat);
            }
            2 | 3 if !seats.is_empty() => {
                let (seat, formats) = (*pick(random, &seats), formats(random));
                let direction = Direction {
                    may_send: random.random_ratio(7, 8),
                    may_receive: random.random_ratio(7, 8),
                };
                mixer.set(seat, &formats, direction);
            }
            _ if !seats.is_empty() => {
                let seat = *pick(random, &seats);
                let packet = packet(random, &mut seq, &mut time);
                mixer.receive(now, seat, &packet, &mut out).ok();
            }
            _ => {}
        }
        now += Duration::from_millis(*pick(random, &[0, 1, 5, 20, 20, 700]));
        mixer.tick(now, &mut scratch, &mut out);
        assert!(mixer.poll_timeout().is_none_or(|due| due > now));
    }
    for seat in seats {
        mixer.remove(seat);
    }
    for _ in 0..100 {
        now += Duration::from_millis(20);
        mixer.tick(now, &mut scratch, &mut out);
    }
    assert_eq!(mixer.poll_timeout(), None, "nobody is there");
}

#[test]
fn a_mixer_takes_whatever_comes() {
    let start = Instant::now();
    rounds("mix", 60, move |random| round(random, start));
}
