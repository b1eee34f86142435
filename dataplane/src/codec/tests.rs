//! All codecs by one measure.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Decoder, Encoder, samples_of};
use crate::api::AudioCodec;
use crate::limits;

const OPUS: AudioCodec = AudioCodec::Opus {
    bitrate: 32_000,
    fec: true,
    dtx: false,
};

fn all() -> Vec<AudioCodec> {
    let mut all = vec![AudioCodec::Pcmu, AudioCodec::Pcma, AudioCodec::G722, OPUS];
    if cfg!(feature = "amr") {
        for octet_aligned in [false, true] {
            all.push(AudioCodec::AmrNb {
                octet_aligned,
                mode: 7,
            });
            all.push(AudioCodec::AmrWb {
                octet_aligned,
                mode: 8,
            });
        }
    }
    all
}

/// A voice-like signal: a pitch of 120 Hz with harmonics, louder and softer.
#[expect(
    clippy::cast_possible_truncation,
    reason = "16 bits hold the amplitude"
)]
fn voice(rate: u32, ms: u32) -> Vec<i16> {
    let sample = |n: u32| {
        let t = f64::from(n) / f64::from(rate);
        let harmonics = (1..20).map(|k| {
            let k = f64::from(k);
            (std::f64::consts::TAU * 120.0 * k * t + k * k).sin() / k
        });
        let loudness = 0.6 + 0.4 * (std::f64::consts::TAU * 3.0 * t).sin();
        (6_000.0 * loudness * harmonics.sum::<f64>()) as i16
    };
    (0..rate * ms / 1_000).map(sample).collect()
}

#[test]
fn payloads_of_all_packet_times_come_back_as_samples() {
    for codec in all() {
        for ptime in [10_u8, 20, 30, 40, 60] {
            let length = usize::try_from(codec.sample_rate()).unwrap() / 1_000 * usize::from(ptime);
            let Ok(mut encoder) = Encoder::new(codec, ptime) else {
                assert!(ptime % 20 != 0, "{codec:?} {ptime} ms");
                continue;
            };
            let mut decoder = Decoder::new(codec).unwrap();
            for samples in voice(codec.sample_rate(), 240).chunks(length) {
                let mut payload = [0; limits::CODEC_PAYLOAD_BYTES];
                let octets = encoder.encode(samples, &mut payload);
                let payload = &payload[..octets];
                let mut out = [0; limits::CODEC_SAMPLES];
                assert_eq!(
                    samples_of(codec, payload),
                    Some(length),
                    "{codec:?} {ptime} ms"
                );
                assert_eq!(
                    decoder.decode(payload, &mut out),
                    Ok(length),
                    "{codec:?} {ptime} ms"
                );
            }
        }
    }
}

#[test]
fn settings_of_nobody_are_refused() {
    for ptime in [0, 5, 25, 80, 255] {
        assert!(Encoder::new(AudioCodec::Pcmu, ptime).is_err(), "{ptime} ms");
    }
    for bitrate in [0, 5_999, 510_001, u32::MAX] {
        let codec = AudioCodec::Opus {
            bitrate,
            fec: false,
            dtx: false,
        };
        assert!(Encoder::new(codec, 20).is_err(), "{bitrate} bit/s");
    }
    let narrow = AudioCodec::AmrNb {
        octet_aligned: true,
        mode: 8,
    };
    let wide = AudioCodec::AmrWb {
        octet_aligned: true,
        mode: 9,
    };
    assert!(Encoder::new(narrow, 20).is_err());
    assert!(Encoder::new(wide, 20).is_err());
}

#[test]
fn an_empty_payload_is_malformed_and_so_is_one_that_does_not_fit() {
    for codec in all() {
        let mut decoder = Decoder::new(codec).unwrap();
        let mut out = [0; limits::CODEC_SAMPLES];
        assert!(decoder.decode(&[], &mut out).is_err(), "{codec:?}");
        assert_eq!(samples_of(codec, &[]), None, "{codec:?}");
        let mut payload = [0; limits::CODEC_PAYLOAD_BYTES];
        let length = usize::try_from(codec.sample_rate() / 50).unwrap();
        let octets = Encoder::new(codec, 20)
            .unwrap()
            .encode(&vec![0; length], &mut payload);
        assert!(
            decoder
                .decode(&payload[..octets], &mut out[..length - 1])
                .is_err(),
            "{codec:?}"
        );
        assert!(
            decoder
                .decode(&payload[..octets], &mut out[..length])
                .is_ok(),
            "{codec:?}"
        );
    }
}

#[test]
fn no_payload_makes_a_decoder_panic_or_lie_about_its_length() {
    let seed = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    for codec in all() {
        let mut decoder = Decoder::new(codec).unwrap();
        for _ in 0..3_000 {
            let mut payload = vec![0_u8; random.random_range(0..200)];
            random.fill(&mut payload[..]);
            if random.random_range(0..20) == 0 {
                payload.resize(random.random_range(0..3_000), 0xff);
            }
            let said = samples_of(codec, &payload);
            let mut out = [0; limits::CODEC_SAMPLES];
            match random.random_range(0..8) {
                0 => assert!(decoder.conceal(960, &mut out) <= 960),
                1 => drop(decoder.recover(&payload, &mut out)),
                _ => {
                    if let Ok(samples) = decoder.decode(&payload, &mut out) {
                        assert_eq!(said, Some(samples), "{codec:?}, seed {seed}");
                    }
                }
            }
        }
    }
}
