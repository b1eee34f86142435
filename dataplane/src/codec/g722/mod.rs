//! G.722 at 64 kbit/s (ITU-T G.722 §3 to §6, mode 1; RFC 3551 §4.5.2).
//!
//! ```text
//! 16 kHz ─▶ filter pair ─┬─ low band ──▶ 6 bits ─┐
//!                        └─ high band ─▶ 2 bits ─┴▶ an octet for two samples
//! ```
//!
//! The recommendation's own fixed-point arithmetic, with every saturation, so that its digital
//! test sequences come out bit by bit. Its names are kept where it has them.

mod tables;

use tables::{ILA, LOW_LEVELS, LOW_NEGATIVE, LOW_POSITIVE, OUT_HIGH, OUT_LOW_4, OUT_LOW_6, QMF};
use tables::{WEIGHT_HIGH, WEIGHT_LOW};

/// The predictor and the scale of one band (blocks 3 and 4), the same at both ends.
#[derive(Debug)]
struct Band {
    /// The quantizer's scale, and its logarithm.
    scale: i16,
    log_scale: i16,
    /// The prediction, and the part of it that comes from the zeros.
    prediction: i16,
    zeros: i16,
    /// Coefficients of the poles and of the zeros.
    a: [i16; 2],
    b: [i16; 6],
    /// Newest first: quantized differences, partial reconstructions, reconstructions.
    d: [i16; 6],
    p: [i16; 2],
    r: [i16; 2],
}

impl Band {
    fn new(scale: i16) -> Self {
        Self {
            scale,
            log_scale: 0,
            prediction: 0,
            zeros: 0,
            a: [0; 2],
            b: [0; 6],
            d: [0; 6],
            p: [0; 2],
            r: [0; 2],
        }
    }

    /// Scales the low band by its newest code, without the two bits that may be lost (LOGSCL,
    /// SCALEL).
    fn scale_low(&mut self, code: usize) {
        let grown = multiply(self.log_scale, 32_512).saturating_add(WEIGHT_LOW[code >> 2]);
        self.log_scale = grown.clamp(0, 18_432);
        self.scale = antilogarithm(self.log_scale, 64);
    }

    /// Scales the high band by its newest code (LOGSCH, SCALEH).
    fn scale_high(&mut self, code: usize) {
        let grown = multiply(self.log_scale, 32_512).saturating_add(WEIGHT_HIGH[code]);
        self.log_scale = grown.clamp(0, 22_528);
        self.scale = antilogarithm(self.log_scale, 0);
    }

    /// Takes a quantized difference and predicts the next sample; the sample as it was rebuilt.
    fn adapt(&mut self, difference: i16) -> i16 {
        let partial = difference.saturating_add(self.zeros);
        let rebuilt = self.prediction.saturating_add(difference);
        self.adapt_zeros(difference);
        self.adapt_poles(partial);
        self.d.copy_within(0..5, 1);
        self.d[0] = difference;
        self.p = [partial, self.p[0]];
        self.r = [rebuilt, self.r[0]];
        // FILTEZ adds from the oldest on: the sums saturate, so the order counts.
        self.zeros = 0;
        for (b, d) in self.b.iter().zip(&self.d).rev() {
            let term = multiply(d.saturating_add(*d), *b);
            self.zeros = self.zeros.saturating_add(term);
        }
        let pole = |at: usize| multiply(self.a[at], self.r[at].saturating_add(self.r[at]));
        let poles = pole(0).saturating_add(pole(1));
        self.prediction = poles.saturating_add(self.zeros);
        rebuilt
    }

    /// UPZERO.
    fn adapt_zeros(&mut self, difference: i16) {
        let gain = if difference == 0 { 0 } else { 128 };
        for (b, d) in self.b.iter_mut().zip(&self.d) {
            let alike = (difference ^ d) >= 0;
            let step = if alike { gain } else { -gain };
            *b = multiply(*b, 32_640).saturating_add(step);
        }
    }

    /// UPPOL2, UPPOL1.
    fn adapt_poles(&mut self, partial: i16) {
        let alike = [(partial ^ self.p[0]) >= 0, (partial ^ self.p[1]) >= 0];
        let four = self.a[0].saturating_mul(4);
        let first = if alike[0] {
            0_i16.saturating_sub(four)
        } else {
            four
        };
        let second = if alike[1] { 128 } else { -128 };
        let grown = (first >> 7).saturating_add(second);
        let grown = grown.saturating_add(multiply(self.a[1], 32_512));
        self.a[1] = grown.clamp(-12_288, 12_288);
        let step = if alike[0] { 192 } else { -192 };
        let bound = 15_360 - self.a[1];
        let grown = multiply(self.a[0], 32_640).saturating_add(step);
        self.a[0] = grown.clamp(-bound, bound);
    }
}

/// A × B in Q15.
fn multiply(a: i16, b: i16) -> i16 {
    i16::try_from((i32::from(a) * i32::from(b)) >> 15).unwrap_or(i16::MAX)
}

fn antilogarithm(logarithm: i16, offset: usize) -> i16 {
    let at = usize::from(logarithm.unsigned_abs() >> 6) + offset;
    (ILA[at] + 1) << 2
}

/// The range of a band's sample.
fn limit(sample: i32) -> i16 {
    i16::try_from(sample.clamp(-16_384, 16_383)).unwrap_or(0)
}

/// The samples that a filter of the pair still needs, the newest last.
#[derive(Debug)]
struct Delay([i16; 24]);

impl Delay {
    /// Takes two samples; the sums of every second one, those that begin with the older first.
    fn sums(&mut self, older: i16, newer: i16) -> (i32, i32) {
        self.0.copy_within(2.., 0);
        self.0[22] = older;
        self.0[23] = newer;
        let (mut odd, mut even) = (0, 0);
        for (pair, taps) in self.0.chunks_exact(2).zip(QMF.chunks_exact(2)) {
            odd += i32::from(pair[0]) * i32::from(taps[0]);
            even += i32::from(pair[1]) * i32::from(taps[1]);
        }
        (odd, even)
    }
}

/// An encoder in the recommendation's reset state.
#[derive(Debug)]
pub(super) struct Encoder {
    low: Band,
    high: Band,
    delay: Delay,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self {
            low: Band::new(32),
            high: Band::new(8),
            delay: Delay([0; 24]),
        }
    }

    /// Writes an octet for each two samples.
    pub(super) fn encode(&mut self, samples: &[i16], out: &mut [u8]) {
        for (pair, octet) in samples.chunks_exact(2).zip(out) {
            let (odd, even) = self.delay.sums(pair[0], pair[1]);
            let low = self.encode_low(limit((even + odd) >> 15));
            let high = self.encode_high(limit((even - odd) >> 15));
            *octet = (high << 6) | low;
        }
    }

    fn encode_low(&mut self, sample: i16) -> u8 {
        let difference = sample.saturating_sub(self.low.prediction);
        let magnitude = if difference < 0 {
            !difference
        } else {
            difference
        };
        let scale = self.low.scale;
        let level = LOW_LEVELS.partition_point(|level| multiply(*level << 3, scale) <= magnitude);
        let codes = if difference < 0 {
            &LOW_NEGATIVE
        } else {
            &LOW_POSITIVE
        };
        let code = codes[level];
        let at = usize::from(code);
        let quantized = multiply(scale, OUT_LOW_4[at >> 2]);
        self.low.scale_low(at);
        self.low.adapt(quantized);
        code
    }

    fn encode_high(&mut self, sample: i16) -> u8 {
        let difference = sample.saturating_sub(self.high.prediction);
        let magnitude = if difference < 0 {
            !difference
        } else {
            difference
        };
        let scale = self.high.scale;
        let outer = magnitude >= multiply(564 << 3, scale);
        let code: u8 = match (difference < 0, outer) {
            (true, false) => 1,
            (true, true) => 0,
            (false, false) => 3,
            (false, true) => 2,
        };
        let quantized = multiply(OUT_HIGH[usize::from(code)], scale);
        self.high.scale_high(usize::from(code));
        self.high.adapt(quantized);
        code
    }
}

/// A decoder in the recommendation's reset state.
#[derive(Debug)]
pub(super) struct Decoder {
    low: Band,
    high: Band,
    delay: Delay,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            low: Band::new(32),
            high: Band::new(8),
            delay: Delay([0; 24]),
        }
    }

    /// Writes two samples for each octet.
    pub(super) fn decode(&mut self, payload: &[u8], out: &mut [i16]) {
        for (octet, pair) in payload.iter().zip(out.chunks_exact_mut(2)) {
            let low = self.decode_low(usize::from(octet & 0x3f));
            let high = self.decode_high(usize::from(octet >> 6));
            let (odd, even) = self
                .delay
                .sums(low.saturating_add(high), low.saturating_sub(high));
            pair[0] = output(even);
            pair[1] = output(odd);
        }
    }

    fn decode_low(&mut self, code: usize) -> i16 {
        let scale = self.low.scale;
        let fine = multiply(scale, OUT_LOW_6[code]);
        let sample = i32::from(self.low.prediction.saturating_add(fine));
        let quantized = multiply(scale, OUT_LOW_4[code >> 2]);
        self.low.scale_low(code);
        self.low.adapt(quantized);
        limit(sample)
    }

    fn decode_high(&mut self, code: usize) -> i16 {
        let quantized = multiply(OUT_HIGH[code], self.high.scale);
        self.high.scale_high(code);
        limit(i32::from(self.high.adapt(quantized)))
    }
}

fn output(sum: i32) -> i16 {
    let sample = (sum >> 12).clamp(i32::from(i16::MIN), i32::from(i16::MAX));
    i16::try_from(sample).unwrap_or(0)
}

#[cfg(test)]
mod tests;
