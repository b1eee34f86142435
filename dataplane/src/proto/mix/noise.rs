//! Comfort noise of a level (RFC 3389 §3): white, as the spectrum that may follow is optional.

/// A source of noise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noise {
    amplitude: i32,
    state: u32,
}

impl Noise {
    /// Noise of the payload's level; `None` for an empty payload, or one of silence.
    pub(super) fn new(payload: &[u8]) -> Option<Self> {
        let level = f64::from(payload.first()? & 0x7f);
        // Evenly spread samples have the square root of a third of their greatest as their mean.
        let amplitude = f64::from(i16::MAX) * 10.0_f64.powf(-level / 20.0) * 3.0_f64.sqrt();
        #[expect(clippy::cast_possible_truncation, reason = "clamped to 16 bits")]
        let amplitude = amplitude.clamp(0.0, f64::from(i16::MAX)) as i32;
        (amplitude > 0).then_some(Self {
            amplitude,
            state: 0x2545_f491,
        })
    }

    /// Fills in noise.
    pub(super) fn fill(&mut self, out: &mut [i16]) {
        for sample in out {
            self.state = self
                .state
                .wrapping_mul(1_664_525)
                .wrapping_add(1_013_904_223);
            let random = i32::from((self.state >> 16).to_be_bytes()[3])
                | i32::from((self.state >> 24).to_be_bytes()[3].cast_signed()) << 8;
            *sample = i16::try_from((random * self.amplitude) >> 15).unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Noise;
    use crate::codec::level;

    #[test]
    fn noise_has_the_level_that_the_payload_says() {
        for wanted in [20, 40, 60] {
            let mut samples = [0; 8000];
            Noise::new(&[wanted]).unwrap().fill(&mut samples);
            assert!(level(&samples).abs_diff(wanted) <= 1, "{wanted}");
        }
        assert!(Noise::new(&[127]).is_none());
        assert!(Noise::new(&[]).is_none());
    }
}
