//! Against an implementation that its authors hold to the recommendation's digital test sequences.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Decoder, Encoder};

const SEED: u64 = 0x6722;

/// Signals that reach every saturation: noise at several levels, steps, and silence.
fn signals() -> Vec<Vec<i16>> {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut noise = |peak: i16| -> Vec<i16> {
        (0..16_000)
            .map(|_| random.random_range(-peak..=peak))
            .collect()
    };
    let mut all: Vec<Vec<i16>> = [3, 100, 4_000, i16::MAX].map(&mut noise).into();
    let square = |period: usize| {
        let level = move |n: usize| {
            if (n / period).is_multiple_of(2) {
                i16::MAX
            } else {
                i16::MIN
            }
        };
        (0..8_000).map(level).collect()
    };
    all.extend([1, 2, 8, 100].map(square));
    all.push(vec![0; 4_000]);
    all
}

#[test]
fn samples_become_the_octets_of_the_recommendation() {
    for (at, samples) in signals().into_iter().enumerate() {
        let expected = sipx_audio::g722::Encoder::new().encode(&samples);
        let mut octets = vec![0; samples.len() / 2];
        Encoder::new().encode(&samples, &mut octets);
        let differ = octets.iter().zip(&expected).position(|(a, b)| a != b);
        assert_eq!(differ, None, "signal {at}, seed {SEED:#x}");
    }
}

#[test]
fn octets_become_the_samples_of_the_recommendation() {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut inputs: Vec<Vec<u8>> = signals()
        .iter()
        .map(|samples| sipx_audio::g722::Encoder::new().encode(samples))
        .collect();
    // No encoder writes these.
    inputs.push((0..40_000).map(|_| random.random()).collect());
    inputs.extend((0..=255).map(|octet| vec![octet; 400]));
    for (at, octets) in inputs.into_iter().enumerate() {
        let expected = sipx_audio::g722::Decoder::new().decode(&octets);
        let mut samples = vec![0; octets.len() * 2];
        Decoder::new().decode(&octets, &mut samples);
        let differ = samples.iter().zip(&expected).position(|(a, b)| a != b);
        assert_eq!(differ, None, "input {at}, seed {SEED:#x}");
    }
}
