//! Mixed rooms: a tick of all that it takes, and the sums alone.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use dataplane::api::{AudioCodec, AudioFormat, Direction, MixSpec, RtpFormats};
use dataplane::codec::Encoder;
use dataplane::proto::mix::sum::{self, Limiter};
use dataplane::proto::mix::{Mixer, Scratch, Seat};

const OPUS: AudioCodec = AudioCodec::Opus {
    bitrate: 24_000,
    fec: false,
    dtx: false,
};
/// 20 ms at 48 kHz.
const FRAME: usize = 960;
/// Packets that are made beforehand and sent over and over.
const PACKETS: usize = 50;

/// A room whose members all send, and their packets.
struct Room {
    mixer: Mixer,
    scratch: Scratch,
    seats: Vec<Seat>,
    payloads: Vec<Vec<u8>>,
    talking: usize,
    units: u32,
    tick: u32,
    now: Instant,
}

impl Room {
    fn new(codec: AudioCodec, members: usize, talking: usize) -> Self {
        let spec = MixSpec {
            talkers: 8,
            jitter_max_ms: 200,
            auto_gain: false,
        };
        let mut mixer = Mixer::new(spec, 1);
        let formats = RtpFormats {
            audio: vec![AudioFormat {
                payload_type: 96,
                codec,
                ptime_ms: 20,
            }],
            client_level: Some(1),
            ..RtpFormats::default()
        };
        let seat = || {
            let seat = mixer.add().expect("there is a seat");
            assert!(mixer.set(seat, &formats, Direction::BOTH));
            seat
        };
        let seats = std::iter::repeat_with(seat).take(members).collect();
        #[expect(clippy::disallowed_methods, reason = "a time to begin with")]
        let now = Instant::now();
        Self {
            mixer,
            scratch: Scratch::default(),
            seats,
            payloads: payloads(codec),
            talking,
            units: codec.clock_rate() / 50,
            tick: 0,
            now,
        }
    }

    /// Everyone's packet, and what becomes of them.
    fn turn(&mut self) -> usize {
        let mut octets = 0;
        let mut out = |_: Seat, head: &[u8], payload: &[u8]| octets += head.len() + payload.len();
        self.tick += 1;
        self.now += Duration::from_millis(20);
        let payload = &self.payloads[self.tick as usize % PACKETS];
        let mut packet = [0; 1500];
        for (number, seat) in (0..).zip(&self.seats[..self.talking]) {
            let seq = self.tick.to_be_bytes();
            packet[..4].copy_from_slice(&[0x90, 96, seq[2], seq[3]]);
            packet[4..8].copy_from_slice(&(self.tick * self.units).to_be_bytes());
            packet[8..12].copy_from_slice(&u32::to_be_bytes(number));
            let level = u8::try_from(number % 30).unwrap_or(0);
            packet[12..20].copy_from_slice(&[0xbe, 0xde, 0, 1, 0x10, 20 + level, 0, 0]);
            packet[20..20 + payload.len()].copy_from_slice(payload);
            let whole = &packet[..20 + payload.len()];
            self.mixer.receive(self.now, *seat, whole, &mut out).ok();
        }
        self.mixer.tick(self.now, &mut self.scratch, &mut out);
        octets
    }
}

/// Something like a voice: three harmonics that go up and down.
fn payloads(codec: AudioCodec) -> Vec<Vec<u8>> {
    let hz = codec.sample_rate();
    let mut encoder = Encoder::new(codec, 20).expect("the codec is there");
    let mut at = 0_u32;
    let mut one = || {
        let samples: Vec<i16> = (at..at + hz / 50)
            .map(|n| {
                let t = f64::from(n) / f64::from(hz);
                let pitch = 140.0 + 30.0 * (t * 9.0).sin();
                let voice = |k: f64| (std::f64::consts::TAU * pitch * k * t).sin() / k;
                let sample = 6000.0 * (voice(1.0) + voice(3.0) + voice(7.0));
                #[expect(clippy::cast_possible_truncation, reason = "it fits 16 bits")]
                let sample = sample as i16;
                sample
            })
            .collect();
        at += hz / 50;
        let mut payload = vec![0; 1400];
        let length = encoder.encode(&samples, &mut payload);
        payload.truncate(length);
        payload
    };
    (0..PACKETS).map(|_| one()).collect()
}

pub(crate) fn ticks(criterion: &mut Criterion) {
    for (name, codec) in [("G.711", AudioCodec::Pcma), ("Opus", OPUS)] {
        let mut group = criterion.benchmark_group(format!("mix {name}"));
        for members in [3, 10, 50] {
            group.throughput(Throughput::Elements(members as u64));
            for (who, talking) in [("all talk", members), ("one talks", 1)] {
                let mut room = Room::new(codec, members, talking);
                for _ in 0..100 {
                    room.turn();
                }
                group.bench_function(BenchmarkId::new(who, members), |bencher| {
                    bencher.iter(|| room.turn());
                });
            }
        }
        group.finish();
    }
}

/// Each listener's sum of all others, one sample after another, as it is written first: 32 bits,
/// clamped once. `black_box` keeps the compiler from doing several at a time, which is what is
/// compared with; without it the same loop would still add up everybody for everybody.
fn plain(talkers: &[[i16; FRAME]], mixes: &mut [[i16; FRAME]]) {
    for (listener, mix) in mixes.iter_mut().enumerate() {
        for (at, out) in mix.iter_mut().enumerate() {
            let mut sum = 0_i32;
            for (talker, samples) in talkers.iter().enumerate() {
                if talker != listener {
                    sum += i32::from(black_box(samples[at]));
                }
            }
            *out = i16::try_from(sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX))).unwrap_or(0);
        }
    }
}

/// The same without `black_box`: the compiler does with it what it can.
fn plain_optimized(talkers: &[[i16; FRAME]], mixes: &mut [[i16; FRAME]]) {
    for (listener, mix) in mixes.iter_mut().enumerate() {
        for (at, out) in mix.iter_mut().enumerate() {
            let mut sum = 0_i32;
            for (talker, samples) in talkers.iter().enumerate() {
                if talker != listener {
                    sum += i32::from(samples[at]);
                }
            }
            *out = i16::try_from(sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX))).unwrap_or(0);
        }
    }
}

/// As the mixer does it.
fn once(talkers: &[[i16; FRAME]], mixes: &mut [[i16; FRAME]], limiters: &mut [Limiter]) {
    let (mut all, mut rest) = ([0; FRAME], [0; FRAME]);
    for samples in talkers {
        sum::add(&mut all, samples);
    }
    for ((samples, mix), limiter) in talkers.iter().zip(mixes).zip(limiters) {
        sum::take_out(&all, samples, &mut rest);
        limiter.limit(&rest, mix);
    }
}

pub(crate) fn sums(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mix sums");
    for members in [3, 8, 15] {
        let talker = |n: usize| {
            let sample = |at: usize| i16::try_from((at * (31 + n)) % 2000).unwrap_or(0) - 1000;
            std::array::from_fn(sample)
        };
        let talkers: Vec<[i16; FRAME]> = (0..members).map(talker).collect();
        let (mut mixes, mut expected) = (vec![[0; FRAME]; members], vec![[0; FRAME]; members]);
        let mut limiters = vec![Limiter::default(); members];
        plain(&talkers, &mut expected);
        once(&talkers, &mut mixes, &mut limiters);
        assert!(mixes == expected, "both are the same sums");
        group.throughput(Throughput::Elements((members * FRAME) as u64));
        group.bench_function(BenchmarkId::new("plain", members), |bencher| {
            bencher.iter(|| plain(black_box(&talkers), black_box(&mut mixes)));
        });
        group.bench_function(BenchmarkId::new("plain, optimized", members), |bencher| {
            bencher.iter(|| plain_optimized(black_box(&talkers), black_box(&mut mixes)));
        });
        group.bench_function(BenchmarkId::new("once for all", members), |bencher| {
            bencher.iter(|| once(black_box(&talkers), black_box(&mut mixes), &mut limiters));
        });
    }
    group.finish();
}
