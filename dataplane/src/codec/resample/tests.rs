//! Tones at one rate, measured at the other.

use std::f64::consts::TAU;

use super::Resampler;

const RATES: [u32; 3] = [8_000, 16_000, 48_000];

#[expect(
    clippy::cast_possible_truncation,
    reason = "16 bits hold the amplitude"
)]
fn tone(hz: f64, rate: u32, samples: u32) -> Vec<i16> {
    let step = TAU * hz / f64::from(rate);
    (0..samples)
        .map(|n| (16_000.0 * (f64::from(n) * step).sin()).round() as i16)
        .collect()
}

/// The tone after the resampler, fed in packets of 20 ms, without its beginning.
fn through(hz: f64, from: u32, to: u32) -> Vec<i16> {
    let mut resampler = Resampler::new(from, to).unwrap();
    let mut all = Vec::new();
    let packet = usize::try_from(from / 50).unwrap();
    for samples in tone(hz, from, from).chunks(packet) {
        let mut out = [0; 960];
        let length = resampler.process(samples, &mut out);
        assert_eq!(length, usize::try_from(to / 50).unwrap());
        all.extend(&out[..length]);
    }
    // Whole periods of all tones here: 900 ms.
    all.split_off(usize::try_from(to / 10).unwrap())
}

/// The amplitude of a frequency in the samples.
fn amplitude(samples: &[i16], hz: f64, rate: u32) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in (0_u32..).zip(samples) {
        let (sin, cos) = (TAU * hz * f64::from(n) / f64::from(rate)).sin_cos();
        re += f64::from(*sample) * cos;
        im += f64::from(*sample) * sin;
    }
    2.0 * re.hypot(im) / f64::from(u32::try_from(samples.len()).unwrap())
}

fn decibels(ratio: f64) -> f64 {
    20.0 * ratio.log10()
}

#[test]
fn tones_keep_their_frequency_and_their_level() {
    for from in RATES {
        for to in RATES {
            let band = f64::from(from.min(to)) / 2.0 * 0.85;
            for hz in [50.0, 300.0, 1_000.0, 2_500.0, 3_400.0, 5_000.0, 6_800.0] {
                if hz > band {
                    continue;
                }
                let out = through(hz, from, to);
                let change = decibels(amplitude(&out, hz, to) / 16_000.0);
                assert!(
                    change.abs() <= 0.1,
                    "{hz} Hz, {from} to {to}: {change:.3} dB"
                );
            }
        }
    }
}

#[test]
fn images_and_aliases_are_sixty_decibels_down() {
    for (from, to) in [(8_000, 16_000), (8_000, 48_000), (16_000, 48_000)] {
        for hz in [300.0, 1_000.0, 3_000.0, 3_400.0] {
            let out = through(hz, from, to);
            for multiple in 1..to / from {
                let centre = f64::from(from * multiple);
                for image in [centre - hz, centre + hz] {
                    let level = decibels(amplitude(&out, image, to) / 16_000.0);
                    assert!(
                        level <= -60.0,
                        "{image} Hz of {hz}, {from} to {to}: {level:.1} dB"
                    );
                }
            }
        }
    }
    for (from, to) in [(16_000, 8_000), (48_000, 8_000), (48_000, 16_000)] {
        // What is beyond the transition band, up to half of the higher rate.
        for part in [1.16, 1.3, 1.5, 1.9] {
            let hz = f64::from(to) / 2.0 * part;
            let out = through(hz, from, to);
            let loudest = out.iter().map(|s| f64::from(s.abs())).fold(0.0, f64::max);
            let level = decibels(loudest.max(1.0) / 16_000.0);
            assert!(level <= -60.0, "{hz} Hz, {from} to {to}: {level:.1} dB");
        }
    }
}

#[test]
fn lengths_add_up_however_samples_are_cut() {
    for (from, to) in [
        (48_000, 8_000),
        (48_000, 16_000),
        (16_000, 8_000),
        (8_000, 48_000),
    ] {
        let samples = tone(440.0, from, 4_800);
        let mut whole = vec![0; 48_000];
        let length = Resampler::new(from, to)
            .unwrap()
            .process(&samples, &mut whole);
        let mut resampler = Resampler::new(from, to).unwrap();
        let mut pieces: Vec<i16> = Vec::new();
        for piece in samples.chunks(7) {
            let mut out = [0; 64];
            let length = resampler.process(piece, &mut out);
            assert!(length <= resampler.length_max(piece.len()));
            pieces.extend(&out[..length]);
        }
        assert_eq!(pieces, whole[..length], "{from} to {to}");
        assert_eq!(
            length,
            usize::try_from(4_800 * u64::from(to) / u64::from(from)).unwrap()
        );
    }
}

#[test]
fn loud_samples_are_bounded_and_silence_is_silent() {
    for from in RATES {
        for to in RATES {
            let mut resampler = Resampler::new(from, to).unwrap();
            let mut out = [1; 5_760];
            let length = resampler.process(&[0; 960], &mut out);
            assert!(out[..length].iter().all(|sample| *sample == 0));
            // A square wave overshoots: it must not wrap.
            let square: Vec<i16> = (0..960)
                .map(|n| if n / 40 % 2 == 0 { i16::MAX } else { i16::MIN })
                .collect();
            let length = resampler.process(&square, &mut out);
            let turns = out[..length]
                .windows(2)
                .filter(|pair| pair[0].abs_diff(pair[1]) > 60_000);
            assert!(turns.count() <= 24, "{from} to {to}");
        }
    }
}

#[test]
fn other_rates_are_refused() {
    assert!(Resampler::new(44_100, 48_000).is_err());
    assert!(Resampler::new(8_000, 24_000).is_err());
}
