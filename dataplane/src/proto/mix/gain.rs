//! Making quiet talkers louder, where it is asked for.

/// A talker's gain, in half decibels.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gain {
    halves: u8,
    ticks: u8,
}

impl Gain {
    /// Takes note of a level in −dBov and makes the samples louder by what is right by now.
    pub(super) fn apply(&mut self, level: u8, samples: &mut [i16]) {
        self.ticks += 1;
        if self.ticks >= STEP_TICKS && (1..NOISE_LEVEL).contains(&level) {
            self.ticks = 0;
            let louder = level.saturating_sub(self.halves / 2);
            if louder > WANTED_LEVEL + 2 && usize::from(self.halves) + 1 < FACTORS.len() {
                self.halves += 1;
            } else if louder < WANTED_LEVEL - 2 {
                self.halves = self.halves.saturating_sub(1);
            }
        }
        self.ticks = self.ticks.min(STEP_TICKS);
        let factor = FACTORS[usize::from(self.halves)];
        if self.halves == 0 {
            return;
        }
        for sample in samples {
            let louder = (i32::from(*sample) * factor) >> 12;
            *sample = i16::try_from(louder).unwrap_or(if louder < 0 { i16::MIN } else { i16::MAX });
        }
    }
}

/// Half a decibel a tenth of a second.
const STEP_TICKS: u8 = 5;
const WANTED_LEVEL: u8 = 26;
/// What is quieter is no speech, and isn't made louder.
const NOISE_LEVEL: u8 = 50;
/// 0 to 12 dB in steps of a half, in 1/4096.
const FACTORS: [i32; 25] = [
    4096, 4339, 4596, 4868, 5157, 5462, 5786, 6129, 6492, 6876, 7284, 7715, 8173, 8657, 9170, 9713,
    10_289, 10_898, 11_544, 12_228, 12_953, 13_720, 14_533, 15_394, 16_306,
];

#[cfg(test)]
mod tests {
    use super::{FACTORS, Gain};

    #[test]
    fn each_step_is_half_a_decibel() {
        for (halves, factor) in (0_u32..).zip(FACTORS) {
            let exact = 4096.0 * 10.0_f64.powf(f64::from(halves) / 40.0);
            assert!((f64::from(factor) - exact).abs() < 1.0, "{halves}");
        }
    }

    #[test]
    fn a_quiet_talker_is_made_louder_and_a_loud_one_is_left() {
        let mut gain = Gain::default();
        let mut samples = [100_i16; 4];
        for _ in 0..200 {
            samples = [100; 4];
            gain.apply(36, &mut samples);
        }
        assert!((220..=330).contains(&samples[0]), "{samples:?}");
        let mut gain = Gain::default();
        for _ in 0..200 {
            samples = [100; 4];
            gain.apply(20, &mut samples);
        }
        assert_eq!(samples, [100; 4]);
    }
}
