//! Packets that didn't come, for codecs that have no means of their own: the last pitch period is
//! repeated and fades, in the manner of ITU-T G.711 appendix I, but without its delay.
//!
//! ```text
//! history  ...───────────────┤lost├──────┤good
//!                     ╰─pitch╯╰─pitch╯╰─…╯╲╱ cross-faded into what comes again
//! ```

/// Milliseconds of the shortest and of the longest pitch period that is looked for: 200 to 66 Hz.
const PITCH_MS: (usize, usize) = (5, 15);
/// Milliseconds that are compared to find it.
const COMPARE_MS: usize = 20;
/// Milliseconds that are repeated unchanged before they fade.
const STEADY_MS: usize = 10;
/// Milliseconds after which nothing is left.
const GONE_MS: usize = 60;
/// Milliseconds of the cross-fade after a short gap, and the most of it.
const MERGE_MS: (usize, usize) = (4, 10);

/// What a decoder remembers to fill gaps.
#[derive(Debug)]
pub(super) struct Concealment {
    /// Samples of a millisecond.
    per_ms: usize,
    /// The newest samples, the oldest first.
    history: Box<[i16]>,
    /// The period that is repeated, and its length.
    period: Box<[i16]>,
    pitch: usize,
    /// Samples that were made up since the last good one; `None`: there is no gap.
    gap: Option<usize>,
}

impl Concealment {
    pub(super) fn new(rate_hz: u32) -> Self {
        let per_ms = usize::try_from(rate_hz / 1_000).unwrap_or(8);
        Self {
            per_ms,
            history: vec![0; (PITCH_MS.1 + COMPARE_MS) * per_ms].into_boxed_slice(),
            period: vec![0; PITCH_MS.1 * per_ms].into_boxed_slice(),
            pitch: PITCH_MS.0 * per_ms,
            gap: None,
        }
    }

    /// Takes samples that came, and joins them to what was made up before them.
    pub(super) fn take(&mut self, samples: &mut [i16]) {
        if let Some(gap) = self.gap.take() {
            let merge = (MERGE_MS.0 * self.per_ms + gap / 5).min(MERGE_MS.1 * self.per_ms);
            let merge = merge.min(samples.len());
            for (at, sample) in samples.iter_mut().take(merge).enumerate() {
                let made = self.made_up(gap + at);
                *sample = cross(made, *sample, at, merge);
            }
        }
        self.remember(samples);
    }

    /// Makes up samples for what didn't come.
    pub(super) fn fill(&mut self, out: &mut [i16]) {
        let gap = match self.gap {
            Some(gap) => gap,
            None => {
                self.find_period();
                0
            }
        };
        for (at, sample) in out.iter_mut().enumerate() {
            *sample = self.made_up(gap + at);
        }
        self.gap = Some(gap.saturating_add(out.len()));
        self.remember(out);
    }

    /// The sample `at` samples into a gap.
    fn made_up(&self, at: usize) -> i16 {
        let (steady, gone) = (STEADY_MS * self.per_ms, GONE_MS * self.per_ms);
        let left = gone.saturating_sub(at.max(steady));
        let sample = self.period[at % self.pitch];
        share(sample, left, gone - steady)
    }

    /// Finds the lag at which the newest samples look most like those before, and keeps the
    /// period; its end is faded so that it meets its beginning.
    fn find_period(&mut self) {
        let compare = COMPARE_MS * self.per_ms;
        let (low, high) = (PITCH_MS.0 * self.per_ms, PITCH_MS.1 * self.per_ms);
        // Every 4 kHz is enough for the search; the neighbours are looked at closely.
        let step = self.per_ms / 4;
        let coarse = self.best((low..=high).step_by(step), step, compare);
        let near = coarse.saturating_sub(step).max(low)..=(coarse + step).min(high);
        self.pitch = self.best(near, 1, compare);
        let end = self.history.len();
        let pitch = self.pitch;
        self.period[..pitch].copy_from_slice(&self.history[end - pitch..]);
        let quarter = pitch / 4;
        for at in 0..quarter {
            let before = self.history[end - pitch - quarter + at];
            let sample = &mut self.period[pitch - quarter + at];
            *sample = cross(*sample, before, at, quarter);
        }
    }

    fn best(&self, lags: impl Iterator<Item = usize>, step: usize, compare: usize) -> usize {
        let newest = &self.history[self.history.len() - compare..];
        let mut best = (0.0, PITCH_MS.0 * self.per_ms);
        for lag in lags {
            let from = self.history.len() - compare - lag;
            let older = &self.history[from..from + compare];
            let (mut product, mut energy) = (0_i64, 1_i64);
            for (a, b) in newest.iter().zip(older).step_by(step) {
                product += i64::from(*a) * i64::from(*b);
                energy += i64::from(*b) * i64::from(*b);
            }
            #[expect(clippy::cast_precision_loss, reason = "only compared")]
            let likeness = product as f64 / (energy as f64).sqrt();
            if likeness > best.0 {
                best = (likeness, lag);
            }
        }
        best.1
    }

    fn remember(&mut self, samples: &[i16]) {
        let kept = self.history.len();
        if samples.len() >= kept {
            self.history
                .copy_from_slice(&samples[samples.len() - kept..]);
        } else {
            self.history.copy_within(samples.len().., 0);
            self.history[kept - samples.len()..].copy_from_slice(samples);
        }
    }
}

/// From `old` at 0 to `new` at `length`.
fn cross(old: i16, new: i16, at: usize, length: usize) -> i16 {
    share(old, length - at, length).saturating_add(share(new, at, length))
}

/// The part of a sample; `part` is at most `whole`.
fn share(sample: i16, part: usize, whole: usize) -> i16 {
    let (part, whole) = (i32::try_from(part), i32::try_from(whole.max(1)));
    let (Ok(part), Ok(whole)) = (part, whole) else {
        return 0;
    };
    i16::try_from(i32::from(sample) * part / whole).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::Concealment;
    use crate::codec::level::level;

    #[expect(
        clippy::cast_possible_truncation,
        reason = "16 bits hold the amplitude"
    )]
    fn tone(hz: f64, from: u32, samples: u32) -> Vec<i16> {
        let step = std::f64::consts::TAU * hz / 8_000.0;
        (from..from + samples)
            .map(|n| (10_000.0 * (f64::from(n) * step).sin()) as i16)
            .collect()
    }

    #[test]
    fn a_lost_packet_of_a_tone_is_hardly_heard() {
        for hz in [80.0, 120.0, 200.0, 440.0] {
            let mut concealment = Concealment::new(8_000);
            concealment.take(&mut tone(hz, 0, 800));
            let mut filled = [0; 80];
            concealment.fill(&mut filled);
            let wanted = tone(hz, 800, 80);
            let differences = filled
                .iter()
                .zip(&wanted)
                .map(|(a, b)| a.saturating_sub(*b));
            let differences: Vec<i16> = differences.collect();
            assert!(
                level(&differences) >= level(&wanted) + 9,
                "{hz} Hz: {} beside {}",
                level(&differences),
                level(&wanted)
            );
        }
    }

    #[test]
    fn a_long_gap_fades_to_silence() {
        let mut concealment = Concealment::new(16_000);
        concealment.take(&mut tone(200.0, 0, 1_600));
        let mut levels = Vec::new();
        for _ in 0..4 {
            let mut filled = [0; 320];
            concealment.fill(&mut filled);
            levels.push(level(&filled));
        }
        assert!(levels.is_sorted(), "{levels:?}");
        assert_eq!(levels[3], 127, "{levels:?}");
    }

    #[test]
    fn what_comes_after_a_gap_is_joined_without_a_step() {
        let mut concealment = Concealment::new(8_000);
        concealment.take(&mut tone(150.0, 0, 800));
        let mut heard = vec![0; 160];
        concealment.fill(&mut heard);
        let mut good = tone(150.0, 960, 160);
        let last_good = good[159];
        concealment.take(&mut good);
        heard.extend(&good);
        let steps = heard.windows(2).map(|pair| pair[0].abs_diff(pair[1]));
        // The steepest step of the tone itself is 1,180.
        assert!(steps.clone().max().unwrap() < 2_400, "{:?}", steps.max());
        assert_eq!(good[159], last_good);
    }

    #[test]
    fn silence_stays_silent() {
        let mut concealment = Concealment::new(8_000);
        let mut filled = [1; 160];
        concealment.fill(&mut filled);
        assert_eq!(filled, [0; 160]);
    }
}
