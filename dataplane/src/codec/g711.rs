//! G.711 µ-law and A-law (ITU-T G.711, RFC 3551 §4.5.14): one octet a sample, no state.

/// Adds to a magnitude so that each µ-law segment begins at a power of two.
const MU_BIAS: u32 = 132;
/// The largest magnitude that µ-law has a code for, before the bias.
const MU_CLIP: u32 = 32_635;
/// Even bits of an A-law octet are sent inverted.
const A_INVERT: u8 = 0x55;

static MU_LAW: [i16; 256] = table(false);
static A_LAW: [i16; 256] = table(true);

/// What each octet stands for, in 16 bits.
const fn table(a_law: bool) -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0_u8;
    loop {
        table[code as usize] = if a_law {
            a_sample(code)
        } else {
            mu_sample(code)
        };
        if code == u8::MAX {
            return table;
        }
        code += 1;
    }
}

const fn mu_sample(code: u8) -> i16 {
    let code = !code;
    let magnitude = (((code & 0x0f) as i16) << 3) + 132;
    let magnitude = (magnitude << ((code >> 4) & 7)) - 132;
    if code & 0x80 == 0 {
        magnitude
    } else {
        -magnitude
    }
}

const fn a_sample(code: u8) -> i16 {
    let code = code ^ A_INVERT;
    let step = ((code & 0x0f) as i16) << 4;
    let magnitude = match (code >> 4) & 7 {
        0 => step + 8,
        segment => (step + 0x108) << (segment - 1),
    };
    if code & 0x80 == 0 {
        -magnitude
    } else {
        magnitude
    }
}

fn mu_code(sample: i16) -> u8 {
    let magnitude = u32::from(sample.unsigned_abs()).min(MU_CLIP) + MU_BIAS;
    let segment = 24 - magnitude.leading_zeros();
    let step = (magnitude >> (segment + 3)) & 0x0f;
    let sign = if sample < 0 { 0x80 } else { 0 };
    !((step as u8) | (((segment & 7) as u8) << 4) | sign)
}

fn a_code(sample: i16) -> u8 {
    // −1 is as far from zero as 0: the two codes of the smallest step share the origin.
    let magnitude = u32::from((sample ^ (sample >> 15)).unsigned_abs()) >> 4;
    let segment = 28_u32.saturating_sub((magnitude | 1).leading_zeros());
    let step = (magnitude >> segment.saturating_sub(1)) & 0x0f;
    let sign = if sample < 0 { 0 } else { 0x80 };
    ((step as u8) | (((segment & 7) as u8) << 4) | sign) ^ A_INVERT
}

/// Writes what the octets stand for; the two are as long as each other.
pub(super) fn decode_mu_law(payload: &[u8], out: &mut [i16]) {
    for (sample, code) in out.iter_mut().zip(payload) {
        *sample = MU_LAW[usize::from(*code)];
    }
}

/// Writes what the octets stand for; the two are as long as each other.
pub(super) fn decode_a_law(payload: &[u8], out: &mut [i16]) {
    for (sample, code) in out.iter_mut().zip(payload) {
        *sample = A_LAW[usize::from(*code)];
    }
}

/// Writes the samples' octets; the two are as long as each other.
pub(super) fn encode_mu_law(samples: &[i16], out: &mut [u8]) {
    for (code, sample) in out.iter_mut().zip(samples) {
        *code = mu_code(*sample);
    }
}

/// Writes the samples' octets; the two are as long as each other.
pub(super) fn encode_a_law(samples: &[i16], out: &mut [u8]) {
    for (code, sample) in out.iter_mut().zip(samples) {
        *code = a_code(*sample);
    }
}

#[cfg(test)]
mod tests {
    use super::{a_code, a_sample, mu_code, mu_sample};

    /// An interval of magnitudes, in 16 bits, and the value that its code stands for, in the order
    /// of the codes without their sign (ITU-T G.711 tables 1 and 2, by their rule).
    struct Step {
        low: i32,
        high: i32,
        value: i32,
    }

    /// 16 steps a segment, each twice as wide as in the one before; the first of all is cut in
    /// half by zero.
    fn mu_law() -> Vec<Step> {
        let mut steps = Vec::new();
        let mut low = -4;
        for segment in 0..8 {
            for _ in 0..16 {
                let width = 8 << segment;
                let (high, value) = (low + width, low + width / 2);
                steps.push(Step { low, high, value });
                low = high;
            }
        }
        steps
    }

    /// 16 steps a segment, each twice as wide as in the one before, but for the first two.
    fn a_law() -> Vec<Step> {
        let mut steps = Vec::new();
        let mut low = 0;
        for segment in [1, 1, 2, 3, 4, 5, 6, 7] {
            for _ in 0..16 {
                let width = 8 << segment;
                let (high, value) = (low + width, low + width / 2);
                steps.push(Step { low, high, value });
                low = high;
            }
        }
        steps
    }

    fn search(steps: &[Step], magnitude: i32) -> u8 {
        let found = |step: &Step| (step.low..step.high).contains(&magnitude);
        u8::try_from(steps.iter().position(found).unwrap_or(127)).unwrap()
    }

    #[test]
    fn each_mu_law_octet_stands_for_the_value_of_the_recommendation() {
        let steps = mu_law();
        for code in 0..=255_u8 {
            let value = steps[usize::from(!code & 0x7f)].value;
            let expected = if code & 0x80 == 0 { -value } else { value };
            assert_eq!(i32::from(mu_sample(code)), expected, "{code:#x}");
        }
        assert_eq!(mu_sample(0x80), 32_124);
    }

    #[test]
    fn each_a_law_octet_stands_for_the_value_of_the_recommendation() {
        let steps = a_law();
        for code in 0..=255_u8 {
            let value = steps[usize::from((code ^ 0x55) & 0x7f)].value;
            let expected = if code & 0x80 == 0 { -value } else { value };
            assert_eq!(i32::from(a_sample(code)), expected, "{code:#x}");
        }
        assert_eq!(a_sample(0xaa), 32_256);
    }

    #[test]
    fn every_sample_gets_the_octet_of_its_interval() {
        let (mu, a) = (mu_law(), a_law());
        for sample in i16::MIN..=i16::MAX {
            let wide = i32::from(sample);
            let expected = search(&mu, wide.abs());
            assert_eq!(!mu_code(sample) & 0x7f, expected, "µ-law of {sample}");
            assert_eq!(mu_code(sample) & 0x80 == 0, sample < 0, "µ-law of {sample}");
            let expected = search(&a, if wide < 0 { -wide - 1 } else { wide });
            assert_eq!(
                (a_code(sample) ^ 0x55) & 0x7f,
                expected,
                "A-law of {sample}"
            );
            assert_eq!(a_code(sample) & 0x80 == 0, sample < 0, "A-law of {sample}");
        }
    }

    #[test]
    fn octets_come_back_as_they_were() {
        for code in 0..=255_u8 {
            assert_eq!(a_code(a_sample(code)), code, "A-law {code:#x}");
            // µ-law has two zeros; the positive one is sent.
            let expected = if code == 0x7f { 0xff } else { code };
            assert_eq!(mu_code(mu_sample(code)), expected, "µ-law {code:#x}");
        }
    }
}
