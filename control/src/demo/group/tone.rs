//! Tones in G.711 (RFC 3551 §4.5.14), and who is heard in a mix of them.

use std::f64::consts::TAU;

use super::{NAMES, SEATS};

/// Samples of a packet: 20 ms at 8,000 in a second.
pub(super) const SAMPLES: u32 = 160;
/// Tones that are apart by whole waves in a packet, in hertz: each packet tells them apart.
const TONES: [u32; SEATS] = [400, 600, 800, 1000, 1200];
/// How loud a tone is sent, of 32,768.
const LOUDNESS: f64 = 4_000.0;
/// How loud it has to be to be heard.
const HEARD: f64 = 1_200.0;

/// A law of G.711.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Law {
    Mu,
    A,
}

impl Law {
    /// What a participant speaks.
    pub(super) fn of(number: usize) -> Self {
        if number.is_multiple_of(2) {
            Self::Mu
        } else {
            Self::A
        }
    }

    /// RTP's payload type.
    pub(super) fn payload_type(self) -> u8 {
        match self {
            Self::Mu => 0,
            Self::A => 8,
        }
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mu => "PCMU",
            Self::A => "PCMA",
        }
    }

    /// The code of silence.
    fn silence(self) -> u8 {
        match self {
            Self::Mu => 0xff,
            Self::A => 0xd5,
        }
    }

    /// A code's sample, of 32,768 (ITU-T G.711).
    fn sample(self, code: u8) -> f64 {
        let bits = match self {
            Self::Mu => !code,
            Self::A => code ^ 0x55,
        };
        let (segment, step) = (u32::from(bits >> 4 & 7), u32::from(bits & 0x0f));
        let (size, is_negative) = match self {
            Self::Mu => ((((step << 3) + 0x84) << segment) - 0x84, bits & 0x80 != 0),
            Self::A if segment == 0 => ((step << 4) + 8, bits & 0x80 == 0),
            Self::A => (((step << 4) + 0x108) << (segment - 1), bits & 0x80 == 0),
        };
        let size = f64::from(size);
        if is_negative { -size } else { size }
    }

    /// The code that is nearest to a sample.
    fn code(self, sample: f64) -> u8 {
        let off = |code: &u8| (self.sample(*code) - sample).abs();
        let nearest = (0..=u8::MAX).min_by(|one, other| off(one).total_cmp(&off(other)));
        nearest.unwrap_or_else(|| self.silence())
    }
}

/// What a participant says: 20 ms of its tone, over and over, or of silence.
#[derive(Debug)]
pub(super) struct Mouth {
    tone: Vec<u8>,
    silence: Vec<u8>,
}

impl Mouth {
    pub(super) fn new(number: usize, law: Law) -> Self {
        let hertz = TONES.get(number).copied().unwrap_or(0);
        let wave = |at: u32| LOUDNESS * (TAU * f64::from(hertz * at) / 8_000.0).sin();
        Self {
            tone: (0..SAMPLES).map(|at| law.code(wave(at))).collect(),
            silence: (0..SAMPLES).map(|_| law.silence()).collect(),
        }
    }

    pub(super) fn payload(&self, is_talking: bool) -> &[u8] {
        if is_talking {
            &self.tone
        } else {
            &self.silence
        }
    }
}

/// Who was heard.
#[derive(Debug, Clone, Default)]
pub(super) struct Ear {
    /// Packets that came.
    pub(super) packets: u64,
    /// Packets in which each one was heard.
    pub(super) heard: [u64; SEATS],
    /// Who was heard in the last one.
    pub(super) now: [bool; SEATS],
}

impl Ear {
    pub(super) fn hear(&mut self, law: Law, payload: &[u8]) {
        let samples: Vec<f64> = payload.iter().map(|code| law.sample(*code)).collect();
        self.packets += 1;
        for ((hertz, heard), now) in TONES.iter().zip(&mut self.heard).zip(&mut self.now) {
            *now = loudness(*hertz, &samples) > HEARD;
            *heard += u64::from(*now);
        }
    }

    /// The names of those who are heard now.
    pub(super) fn names(&self) -> Vec<&'static str> {
        let all = NAMES.iter().zip(self.now);
        all.filter(|(_, is_heard)| *is_heard)
            .map(|(name, _)| *name)
            .collect()
    }
}

/// How loud a tone is among others.
fn loudness(hertz: u32, samples: &[f64]) -> f64 {
    let (mut real, mut imaginary) = (0.0, 0.0);
    for (at, sample) in (0..).zip(samples) {
        let angle = TAU * f64::from(hertz * at) / 8_000.0;
        real += sample * angle.cos();
        imaginary += sample * angle.sin();
    }
    f64::hypot(real, imaginary) / (f64::from(SAMPLES) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::{Ear, Law, Mouth};

    #[test]
    fn a_tone_is_told_from_the_others_in_both_laws() {
        for number in 0..5 {
            for law in [Law::Mu, Law::A] {
                let mut ear = Ear::default();
                let mouth = Mouth::new(number, law);
                ear.hear(law, mouth.payload(true));
                ear.hear(law, mouth.payload(false));
                let mut only = [0; 5];
                only[number] = 1;
                assert_eq!(ear.heard, only, "{law:?}");
                assert!(ear.names().is_empty());
            }
        }
    }

    #[test]
    fn codes_are_those_of_g711() {
        // ITU-T G.711, tables 1a and 2a: the largest samples, and those nearest to nothing.
        assert_eq!(
            (Law::Mu.sample(0x80), Law::Mu.sample(0xff)),
            (32_124.0, 0.0)
        );
        assert_eq!((Law::A.sample(0xaa), Law::A.sample(0xd5)), (32_256.0, 8.0));
        assert_eq!((Law::Mu.code(-32_124.0), Law::A.code(-8.0)), (0x00, 0x55));
    }
}
