//! WAV files and G.711 (ITU-T G.711 µ-law), enough to make audio and to know it again.

/// `samples` of 16 bits at 8 kHz: two tones whose loudness changes, so that no part is like another.
#[must_use]
pub fn tone(samples: u32) -> Vec<i16> {
    (0..samples)
        .map(|at| {
            let time = f64::from(at) / 8000.0;
            let loud = 0.55 + 0.45 * (time * 1.7).sin();
            let wave = (time * 440.0 * std::f64::consts::TAU).sin()
                + 0.5 * (time * (613.0 + 40.0 * time) * std::f64::consts::TAU).sin();
            whole(wave * loud * 9000.0)
        })
        .collect()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the wave stays within 14,000"
)]
fn whole(value: f64) -> i16 {
    value as i16
}

/// A WAV file of 16-bit samples, mono, 8 kHz.
#[must_use]
pub fn linear(samples: &[i16]) -> Vec<u8> {
    let bytes: Vec<u8> = samples
        .iter()
        .flat_map(|sample| sample.to_le_bytes())
        .collect();
    file(1, 16, &bytes)
}

/// A WAV file of µ-law samples, mono, 8 kHz.
#[must_use]
pub fn pcmu(samples: &[i16]) -> Vec<u8> {
    let bytes: Vec<u8> = samples.iter().map(|sample| encode(*sample)).collect();
    file(7, 8, &bytes)
}

fn file(format: u16, bits: u16, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX - 36);
    let frame = bits / 8;
    let mut file = Vec::with_capacity(data.len() + 44);
    file.extend(b"RIFF");
    file.extend((length + 36).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    file.extend(format.to_le_bytes());
    file.extend(1_u16.to_le_bytes());
    file.extend(8000_u32.to_le_bytes());
    file.extend((8000 * u32::from(frame)).to_le_bytes());
    file.extend(frame.to_le_bytes());
    file.extend(bits.to_le_bytes());
    file.extend(b"data");
    file.extend(length.to_le_bytes());
    file.extend(data);
    file
}

/// One sample as µ-law.
#[must_use]
pub fn encode(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(32_635) + 132;
    let exponent = (0..8)
        .rev()
        .find(|bit| magnitude & (0x80 << bit) != 0)
        .unwrap_or(0);
    let mantissa = (magnitude >> (exponent + 3)) & 0x0F;
    let byte = sign | (exponent << 4) | mantissa;
    !u8::try_from(byte & 0xFF).unwrap_or(0)
}

/// The samples of a WAV file of 16 bits; empty when it isn't one.
#[must_use]
pub fn samples(file: &[u8]) -> Vec<i16> {
    let Some(data) = file.windows(4).position(|word| word == b"data") else {
        return Vec::new();
    };
    file.get(data + 8..)
        .unwrap_or(&[])
        .chunks_exact(2)
        .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{encode, linear, samples, tone};

    #[test]
    fn a_file_gives_its_samples_back() {
        let audio = tone(800);
        assert_eq!(samples(&linear(&audio)), audio);
    }

    #[test]
    fn mu_law_has_its_known_values() {
        assert_eq!(
            [encode(0), encode(32_635), encode(-32_635)],
            [0xFF, 0x80, 0x00]
        );
        assert_eq!([encode(1000), encode(-1000)], [0xCE, 0x4E]);
    }
}
