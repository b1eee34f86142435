//! What 20 ms of audio cost: decoding, encoding, another rate, a level.

use std::hint::black_box;

use criterion::Criterion;
use dataplane::api::AudioCodec;
use dataplane::codec::{Decoder, Encoder, Noise, Resampler, level};
use dataplane::limits::{CODEC_PAYLOAD_BYTES, CODEC_SAMPLES};

const OPUS: AudioCodec = AudioCodec::Opus {
    bitrate: 32_000,
    fec: false,
    dtx: false,
};

fn codecs() -> Vec<(&'static str, AudioCodec)> {
    let octet_aligned = true;
    let wide = AudioCodec::AmrWb {
        octet_aligned,
        mode: 8,
    };
    let narrow = AudioCodec::AmrNb {
        octet_aligned,
        mode: 7,
    };
    let all = [
        ("pcmu", AudioCodec::Pcmu),
        ("pcma", AudioCodec::Pcma),
        ("g722", AudioCodec::G722),
        ("opus 32k", OPUS),
        ("amr 12.2k", narrow),
        ("amr-wb 23.85k", wide),
    ];
    let built = all.into_iter().filter(|(_, codec)| codec.is_available());
    built.collect()
}

/// One second of a voice-like signal: a pitch that moves, with harmonics.
#[expect(
    clippy::cast_possible_truncation,
    reason = "16 bits hold the amplitude"
)]
fn voice(rate: u32) -> Vec<i16> {
    let sample = |n: u32| {
        let t = f64::from(n) / f64::from(rate);
        let phase = std::f64::consts::TAU * (130.0 * t + 20.0 * (2.0 * t).sin());
        let harmonics = (1..20).map(|k| (phase * f64::from(k)).sin() / f64::from(k));
        (4_000.0 * harmonics.sum::<f64>()) as i16
    };
    (0..rate).map(sample).collect()
}

/// Each codec's two directions, and a lost packet.
pub(crate) fn codecs_20_ms(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec, 20 ms");
    for (name, codec) in codecs() {
        let rate = codec.sample_rate();
        let voice = voice(rate);
        let length = voice.len() / 50;
        let mut encoder = Encoder::new(codec, 20).expect("the codec is built in");
        let mut out = [0; CODEC_PAYLOAD_BYTES];
        let mut packets = voice.chunks_exact(length).cycle();
        group.bench_function(format!("{name} encode"), |bencher| {
            bencher.iter(|| {
                let samples = packets.next().expect("it goes round");
                encoder.encode(black_box(samples), &mut out)
            });
        });
        let payloads: Vec<Vec<u8>> = voice
            .chunks_exact(length)
            .map(|samples| {
                let octets = encoder.encode(samples, &mut out);
                out[..octets].to_vec()
            })
            .collect();
        let mut decoder = Decoder::new(codec).expect("the codec is built in");
        let mut samples = [0; CODEC_SAMPLES];
        let mut packets = payloads.iter().cycle();
        group.bench_function(format!("{name} decode"), |bencher| {
            bencher.iter(|| {
                let payload = packets.next().expect("it goes round");
                decoder.decode(black_box(payload), &mut samples)
            });
        });
        group.bench_function(format!("{name} conceal"), |bencher| {
            bencher.iter(|| decoder.conceal(black_box(length), &mut samples));
        });
    }
    group.finish();
}

/// What a mixer needs beside codecs.
pub(crate) fn samples_20_ms(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("samples, 20 ms");
    for (from, to) in [
        (8_000, 48_000),
        (48_000, 8_000),
        (16_000, 48_000),
        (48_000, 16_000),
        (8_000, 16_000),
        (16_000, 8_000),
    ] {
        let voice = voice(from);
        let samples = &voice[..voice.len() / 50];
        let mut resampler = Resampler::new(from, to).expect("the rates are known");
        let mut out = [0; 960];
        group.bench_function(format!("{from} to {to} Hz"), |bencher| {
            bencher.iter(|| resampler.process(black_box(samples), &mut out));
        });
    }
    let voice = voice(48_000);
    group.bench_function("level at 48 kHz", |bencher| {
        bencher.iter(|| level(black_box(&voice[..960])));
    });
    let mut noise = Noise::new(1);
    noise.describe(&[60, 130, 120]);
    let mut out = [0; 160];
    group.bench_function("comfort noise at 8 kHz", |bencher| {
        bencher.iter(|| noise.fill(black_box(&mut out)));
    });
    group.finish();
}
