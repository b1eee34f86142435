//! The mixer's arithmetic: everyone's samples are added up once, and each talker gets the sum less
//! its own (RFC 3550 §7.1).
//!
//! Loops over whole slices of equal length, so that the compiler makes them eight or more samples
//! at a time.

/// Adds a talker's samples to the sum.
pub fn add(sum: &mut [i32], samples: &[i16]) {
    for (sum, sample) in sum.iter_mut().zip(samples) {
        *sum += i32::from(*sample);
    }
}

/// Takes a talker's samples out of the sum again.
pub fn take_out(sum: &[i32], own: &[i16], rest: &mut [i32]) {
    for ((rest, sum), own) in rest.iter_mut().zip(sum).zip(own) {
        *rest = *sum - i32::from(*own);
    }
}

/// What keeps a sum within 16 bits: it is made quieter as a whole before it would clip, and comes
/// back slowly.
#[derive(Debug, Clone, Copy)]
pub struct Limiter {
    /// In 1/32,768.
    gain: i32,
}

impl Default for Limiter {
    fn default() -> Self {
        Self { gain: UNITY }
    }
}

impl Limiter {
    /// Writes the sum as samples.
    pub fn limit(&mut self, sum: &[i32], out: &mut [i16]) {
        let mut peak = 0;
        for (out, sum) in out.iter_mut().zip(sum) {
            peak = peak.max(sum.abs());
            *out = clamped(*sum);
        }
        if peak > i32::from(i16::MAX) || self.gain < UNITY {
            self.turn(sum, peak, out);
        }
    }

    /// Goes from the last gain to the one that this sum needs: down within an eighth of the
    /// frame, up over all of it.
    #[cold]
    fn turn(&mut self, sum: &[i32], peak: i32, out: &mut [i16]) {
        let needed = match i64::from(peak) {
            0 => UNITY,
            peak => {
                let fits = i64::from(i16::MAX) * i64::from(UNITY) / peak;
                i32::try_from(fits).unwrap_or(UNITY).min(UNITY)
            }
        };
        let from = self.gain;
        let to = needed.min(from + from / RELEASE + 1);
        let steps = if to < from { out.len() / 8 } else { out.len() };
        let steps = i32::try_from(steps).unwrap_or(1).max(1);
        let (mut at, step) = (
            i64::from(from) << 16,
            (i64::from(to - from) << 16) / i64::from(steps),
        );
        for (n, (out, sum)) in (0..).zip(out.iter_mut().zip(sum)) {
            at = if n < steps {
                at + step
            } else {
                i64::from(to) << 16
            };
            let sample = (i64::from(*sum) * (at >> 16)) >> 15;
            *out = clamped(i32::try_from(sample).unwrap_or(0));
        }
        self.gain = to;
    }
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to 16 bits")]
fn clamped(sum: i32) -> i16 {
    sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

const UNITY: i32 = 1 << 15;
/// A frame of 20 ms gives back a sixteenth: half a decibel.
const RELEASE: i32 = 16;

#[cfg(test)]
mod tests {
    use super::{Limiter, UNITY, add, take_out};

    #[test]
    fn everyone_less_oneself_is_the_sum_of_the_others() {
        let talkers: Vec<Vec<i16>> = (0..5)
            .map(|n| {
                (0..160)
                    .map(|at| (at * 31 + n * 977) % 4000 - 2000)
                    .collect()
            })
            .collect();
        let mut sum = [0; 160];
        for talker in &talkers {
            add(&mut sum, talker);
        }
        for (own, talker) in talkers.iter().enumerate() {
            let mut rest = [0; 160];
            take_out(&sum, talker, &mut rest);
            let mut out = [0; 160];
            Limiter::default().limit(&rest, &mut out);
            for at in 0..160 {
                let others = (0..5).filter(|other| *other != own);
                let expected: i32 = others.map(|other| i32::from(talkers[other][at])).sum();
                assert_eq!(i32::from(out[at]), expected);
            }
        }
    }

    #[test]
    fn a_sum_that_would_clip_is_made_quieter_and_never_wraps() {
        let sine = |at: usize| {
            f64::from(u32::try_from(at).unwrap())
                .mul_add(0.05, 0.0)
                .sin()
        };
        #[expect(clippy::cast_possible_truncation, reason = "16 bits of a sine")]
        let loud: Vec<i32> = (0..960).map(|at| (90_000.0 * sine(at)) as i32).collect();
        let mut limiter = Limiter::default();
        let mut out = vec![0; 960];
        limiter.limit(&loud, &mut out);
        for (out, sum) in out.iter().zip(&loud) {
            assert!(i64::from(*out) * i64::from(*sum) >= 0, "{out} of {sum}");
        }
        limiter.limit(&loud, &mut out);
        // A square would have far more samples at its top than this.
        let flat = out
            .iter()
            .filter(|sample| sample.unsigned_abs() >= 32_766)
            .count();
        assert!(flat <= 30, "{flat}");
        assert!(limiter.gain < UNITY / 2);
    }

    #[test]
    fn the_limiter_lets_go_again() {
        let mut limiter = Limiter::default();
        let mut out = [0; 160];
        limiter.limit(&[100_000; 160], &mut out);
        for _ in 0..100 {
            limiter.limit(&[10_000; 160], &mut out);
        }
        assert_eq!(out, [10_000; 160]);
        assert_eq!(limiter.gain, UNITY);
        // All talkers there may be, as loud as can be.
        limiter.limit(&[15 * i32::from(i16::MIN); 160], &mut out);
        assert!(out.iter().all(|sample| *sample < 0));
    }
}
