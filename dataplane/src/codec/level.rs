//! How loud samples are, as RTP tells it (RFC 6464, RFC 6465).

/// The level of silence.
pub const SILENCE: u8 = 127;

/// The level of the samples in −dBov, 0 (the loudest square wave) to 127 (silence)
/// (RFC 6464 §3, RFC 6465 appendix A). No samples are silence.
#[must_use]
pub fn level(samples: &[i16]) -> u8 {
    let mut energy = 0_u64;
    for sample in samples {
        let amplitude = u64::from(sample.unsigned_abs());
        energy += amplitude * amplitude;
    }
    let Ok(count) = u32::try_from(samples.len()) else {
        return SILENCE;
    };
    of_energy(energy, count)
}

/// The level of `count` samples whose squares make up `energy`.
#[must_use]
pub fn of_energy(energy: u64, count: u32) -> u8 {
    if energy == 0 || count == 0 {
        return SILENCE;
    }
    let overload = f64::from(i16::MAX) * f64::from(i16::MAX);
    #[expect(clippy::cast_precision_loss, reason = "a level has seven bits")]
    let mean = energy as f64 / f64::from(count);
    let below = -10.0 * (mean / overload).log10();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=127"
    )]
    let level = below.round().clamp(0.0, f64::from(SILENCE)) as u8;
    level
}

#[cfg(test)]
mod tests {
    use super::{SILENCE, level};

    fn sine(amplitude: f64) -> Vec<i16> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "16 bits hold the amplitude"
        )]
        let sample =
            |n: i32| (amplitude * (f64::from(n) * 0.05 * std::f64::consts::PI).sin()) as i16;
        (0..960).map(sample).collect()
    }

    #[test]
    fn a_square_wave_at_the_overload_point_is_at_zero() {
        let square: Vec<i16> = (0..160)
            .map(|n| if n % 8 < 4 { i16::MAX } else { -i16::MAX })
            .collect();
        assert_eq!(level(&square), 0);
        assert_eq!(level(&[i16::MIN; 160]), 0);
    }

    #[test]
    fn a_sine_is_three_below_the_square_wave_of_its_amplitude() {
        assert_eq!(level(&sine(32_767.0)), 3);
        assert_eq!(level(&sine(3_276.7)), 23);
        assert_eq!(level(&sine(327.67)), 43);
    }

    #[test]
    fn silence_and_nothing_are_at_the_bottom() {
        assert_eq!(level(&[0; 160]), SILENCE);
        assert_eq!(level(&[]), SILENCE);
        assert_eq!(level(&[1; 160]), 90);
    }
}
