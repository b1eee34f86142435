//! All codecs by one measure.

use super::{Decoder, Encoder, samples_of};
use crate::api::AudioCodec;
use crate::limits;

const ALL: [AudioCodec; 2] = [AudioCodec::Pcmu, AudioCodec::Pcma];

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
    for codec in ALL {
        for ptime in [10_u8, 20, 30, 40, 60] {
            let length = usize::try_from(codec.sample_rate()).unwrap() / 1_000 * usize::from(ptime);
            let mut encoder = Encoder::new(codec, ptime).unwrap();
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
fn a_packet_time_of_nobody_is_refused() {
    for ptime in [0, 5, 25, 80, 255] {
        assert!(Encoder::new(AudioCodec::Pcmu, ptime).is_err(), "{ptime} ms");
    }
}
