//! Samples from one rate to another: 8, 16 and 48 kHz, by a polyphase filter.
//!
//! ```text
//! up by 3    x0 ──▶ phase 0 ─▶ y0        each phase: TAPS coefficients over the newest samples
//!               ├─▶ phase 1 ─▶ y1
//!               └─▶ phase 2 ─▶ y2
//! down by 3  x0 x1 x2 ──▶ one filter of 3 × TAPS coefficients ─▶ y0
//! ```
//!
//! The prototype is a sinc under a Kaiser window: flat to 85 % of the lower rate's half, 70 dB down
//! from 115 % of it on. The delay is half of `TAPS` samples of the lower rate.

use super::Unavailable;

/// Coefficients per phase.
const TAPS: usize = 40;
/// Samples taken over at a time.
const CHUNK: usize = 480;
/// Bits behind the point of a coefficient: no sum of a phase overflows 32 bits.
const POINT: u32 = 14;
/// Kaiser's β for a stop band 70 dB down.
const BETA: f64 = 6.76;

/// Turns samples of one rate into samples of another; nothing is allocated after `new`.
#[derive(Debug)]
pub struct Resampler {
    way: Way,
    /// Phase by phase, the coefficient of the oldest sample first.
    filter: Box<[i16]>,
    /// The newest samples of what came before, then the chunk in hand.
    window: Box<[i16]>,
    /// Samples kept from before.
    kept: usize,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Same,
    /// This many samples for each.
    Up(usize),
    /// One sample for this many; what the next one still waits for.
    Down {
        factor: usize,
        missing: usize,
    },
}

impl Resampler {
    /// A resampler between two of 8,000, 16,000 and 48,000 Hz.
    ///
    /// # Errors
    /// For any other rate.
    pub fn new(from_hz: u32, to_hz: u32) -> Result<Self, Unavailable> {
        let known = |hz| matches!(hz, 8_000 | 16_000 | 48_000);
        if !known(from_hz) || !known(to_hz) {
            return Err(Unavailable);
        }
        let factor = |high: u32, low: u32| usize::try_from(high / low).unwrap_or(1);
        let (way, kept) = match from_hz.cmp(&to_hz) {
            std::cmp::Ordering::Equal => (Way::Same, 0),
            std::cmp::Ordering::Less => (Way::Up(factor(to_hz, from_hz)), TAPS - 1),
            std::cmp::Ordering::Greater => {
                let factor = factor(from_hz, to_hz);
                let way = Way::Down {
                    factor,
                    missing: factor,
                };
                (way, factor * TAPS - 1)
            }
        };
        let filter = match way {
            Way::Same => Box::default(),
            Way::Up(factor) => phases(factor),
            Way::Down { factor, .. } => whole(factor),
        };
        let length = if filter.is_empty() { 0 } else { kept + CHUNK };
        Ok(Self {
            way,
            filter,
            window: vec![0; length].into_boxed_slice(),
            kept,
        })
    }

    /// Samples that come out for `samples` in, at most.
    #[must_use]
    pub fn length_max(&self, samples: usize) -> usize {
        match self.way {
            Way::Same => samples,
            Way::Up(factor) => samples * factor,
            Way::Down { factor, .. } => samples.div_ceil(factor),
        }
    }

    /// Takes over `samples` and writes them at the other rate; says how many. What `out` has no
    /// room for is lost.
    pub fn process(&mut self, samples: &[i16], out: &mut [i16]) -> usize {
        if matches!(self.way, Way::Same) {
            let length = samples.len().min(out.len());
            out[..length].copy_from_slice(&samples[..length]);
            return length;
        }
        let mut written = 0;
        for chunk in samples.chunks(CHUNK) {
            let end = self.kept + chunk.len();
            self.window[self.kept..end].copy_from_slice(chunk);
            written += match &mut self.way {
                Way::Same => 0,
                Way::Up(factor) => up(
                    *factor,
                    &self.filter,
                    &self.window[..end],
                    &mut out[written..],
                ),
                Way::Down { factor, missing } => down(
                    (*factor, missing),
                    &self.filter,
                    &self.window[..end],
                    &mut out[written..],
                ),
            };
            self.window.copy_within(chunk.len()..end, 0);
        }
        written
    }
}

fn up(factor: usize, filter: &[i16], window: &[i16], out: &mut [i16]) -> usize {
    let mut written = 0;
    for (newest, group) in window.windows(TAPS).zip(out.chunks_exact_mut(factor)) {
        for (sample, phase) in group.iter_mut().zip(filter.chunks_exact(TAPS)) {
            *sample = weigh(phase, newest);
        }
        written += factor;
    }
    written
}

fn down(
    (factor, missing): (usize, &mut usize),
    filter: &[i16],
    window: &[i16],
    out: &mut [i16],
) -> usize {
    let fresh = window.len() + 1 - filter.len();
    let mut written = 0;
    let mut at = *missing;
    while at <= fresh {
        if let Some(sample) = out.get_mut(written) {
            *sample = weigh(filter, &window[at - 1..at - 1 + filter.len()]);
            written += 1;
        }
        at += factor;
    }
    *missing = at - fresh;
    written
}

/// The sum of samples by their coefficients.
fn weigh(coefficients: &[i16], samples: &[i16]) -> i16 {
    let products = coefficients.iter().zip(samples);
    let sum: i32 = products.map(|(c, s)| i32::from(*c) * i32::from(*s)).sum();
    let rounded = (sum + (1 << (POINT - 1))) >> POINT;
    let bounded = rounded.clamp(i32::from(i16::MIN), i32::from(i16::MAX));
    i16::try_from(bounded).expect("clamped")
}

/// The prototype filter of the higher rate, with a gain of `factor`.
fn prototype(factor: usize) -> Vec<f64> {
    let length = factor * TAPS;
    let middle = real(length - 1) / 2.0;
    let window = |at: f64| {
        let x = at / middle;
        bessel(BETA * (1.0 - x * x).max(0.0).sqrt()) / bessel(BETA)
    };
    let tap = |n: usize| {
        let at = real(n) - middle;
        let x = std::f64::consts::PI * at / real(factor);
        let sinc = if x.abs() < 1e-9 { 1.0 } else { x.sin() / x };
        sinc * window(at)
    };
    (0..length).map(tap).collect()
}

/// The filter of each phase, each with a gain of one at 0 Hz.
fn phases(factor: usize) -> Box<[i16]> {
    let prototype = prototype(factor);
    let mut filter = Vec::with_capacity(prototype.len());
    for phase in 0..factor {
        let taps: Vec<f64> = prototype
            .iter()
            .skip(phase)
            .step_by(factor)
            .copied()
            .collect();
        // The newest sample comes last in the window, and the first tap is its.
        filter.extend(quantized(&taps).into_iter().rev());
    }
    filter.into_boxed_slice()
}

fn whole(factor: usize) -> Box<[i16]> {
    quantized(&prototype(factor)).into_boxed_slice()
}

/// The taps in whole numbers whose sum is exactly one: errors of rounding are carried on.
fn quantized(taps: &[f64]) -> Vec<i16> {
    let one = f64::from(1_i32 << POINT) / taps.iter().sum::<f64>();
    let mut whole: Vec<i16> = taps
        .iter()
        .map(|tap| {
            #[expect(clippy::cast_possible_truncation, reason = "taps are at most one")]
            let tap = (tap * one).round() as i16;
            tap
        })
        .collect();
    let sum: i32 = whole.iter().map(|tap| i32::from(*tap)).sum();
    let middle = whole.len() / 2;
    let rest = i16::try_from((1_i32 << POINT) - sum).unwrap_or(0);
    whole[middle] = whole[middle].saturating_add(rest);
    whole
}

/// The modified Bessel function of order zero, by its series.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..32 {
        let half = x / (2.0 * f64::from(k));
        term *= half * half;
        sum += term;
    }
    sum
}

fn real(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
