//! Comfort noise (RFC 3389).

use super::level::SILENCE;

/// Reflection coefficients that are used; those behind them are left out.
const ORDER: usize = 12;

/// Noise as a far end describes its silence.
#[derive(Debug)]
pub struct Noise {
    /// The state of the generator: xorshift, never zero.
    state: u32,
    /// The amplitude of evenly spread samples.
    amplitude: f32,
    /// Reflection coefficients, and the delays of their filter.
    reflections: [f32; ORDER],
    delays: [f32; ORDER + 1],
}

impl Noise {
    /// Silence until a payload says more; `seed` makes two of them differ.
    #[must_use]
    pub fn new(seed: u32) -> Self {
        Self {
            state: seed | 1,
            amplitude: 0.0,
            reflections: [0.0; ORDER],
            delays: [0.0; ORDER + 1],
        }
    }

    /// Takes what a payload says: a level and, maybe, a spectrum (RFC 3389 §3). An empty one
    /// changes nothing.
    pub fn describe(&mut self, payload: &[u8]) {
        let Some((level, spectrum)) = payload.split_first() else {
            return;
        };
        self.reflections = [0.0; ORDER];
        let mut gain = 1.0;
        for (reflection, octet) in self.reflections.iter_mut().zip(spectrum) {
            // §3.2: 127 is zero; 255 is reserved.
            let k = f32::from(i16::from(*octet) - 127) * 258.0 / 32_768.0;
            *reflection = k.clamp(-0.99, 0.99);
            gain *= 1.0 - *reflection * *reflection;
        }
        self.amplitude = match level & 0x7f {
            SILENCE => 0.0,
            // Evenly spread samples have a third of the square of their amplitude.
            level => {
                let rms = f32::from(i16::MAX) * 10.0_f32.powf(-f32::from(level) / 20.0);
                rms * (3.0 * gain).sqrt()
            }
        };
    }

    /// Writes noise.
    pub fn fill(&mut self, out: &mut [i16]) {
        for sample in out {
            let mut forward = self.random() * self.amplitude;
            // The lattice form of the synthesis filter, from the last coefficient on.
            for at in (0..ORDER).rev() {
                let k = self.reflections[at];
                forward -= k * self.delays[at];
                self.delays[at + 1] = self.delays[at] + k * forward;
            }
            self.delays[0] = forward;
            let bounded = forward.clamp(f32::from(i16::MIN), f32::from(i16::MAX));
            #[expect(clippy::cast_possible_truncation, reason = "clamped")]
            let whole = bounded as i16;
            *sample = whole;
        }
    }

    /// Evenly spread in −1..1.
    fn random(&mut self) -> f32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        let upper = i16::from_le_bytes([self.state.to_le_bytes()[2], self.state.to_le_bytes()[3]]);
        f32::from(upper) / 32_768.0
    }
}

#[cfg(test)]
mod tests {
    use super::Noise;
    use crate::codec::level::{SILENCE, level};

    #[test]
    fn noise_is_as_loud_as_it_is_described() {
        for wanted in [20, 40, 60, 70] {
            // White, sloping like a room's, and with all coefficients there may be.
            for spectrum in [&[][..], &[10, 140, 127], &[90; 20]] {
                let mut noise = Noise::new(7);
                let mut payload = vec![wanted];
                payload.extend(spectrum);
                noise.describe(&payload);
                let mut out = [0; 8_000];
                noise.fill(&mut out);
                let heard = level(&out[800..]);
                assert!(
                    heard.abs_diff(wanted) <= 2,
                    "{heard}, not {wanted}: {spectrum:?}"
                );
            }
        }
    }

    #[test]
    fn there_is_silence_before_a_description_and_at_its_bottom() {
        let mut noise = Noise::new(0);
        let mut out = [1; 160];
        noise.fill(&mut out);
        assert_eq!(level(&out), SILENCE);
        noise.describe(&[127]);
        noise.describe(&[]);
        noise.fill(&mut out);
        assert_eq!(level(&out), SILENCE);
    }

    #[test]
    fn no_description_makes_it_overflow() {
        let mut noise = Noise::new(1);
        for octet in 0..=255 {
            noise.describe(&[
                0,
                octet,
                255 - octet,
                octet,
                0,
                255,
                octet,
                254,
                1,
                255,
                0,
                octet,
                octet,
            ]);
            noise.fill(&mut [0; 320]);
        }
        noise.describe(&[60]);
        let mut out = [0; 8_000];
        noise.fill(&mut out);
        assert!(level(&out[1_600..]).abs_diff(60) <= 2, "{}", level(&out));
    }
}
