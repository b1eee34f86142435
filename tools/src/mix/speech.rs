//! What the members say: packets of speech, of silence, and of noise, by ffmpeg.

use std::fs;
use std::process::Command;

use tests::live::process::Folder;
use tests::live::{find, ogg};

use super::Codec;
use crate::test;

const TEXT: &str = "flite=voice=slt:text='Whoever takes part in a conference hears all the others, \
                    but never himself. That is what a mixer is for, and what it has to do fifty \
                    times a second for each of them.'";

/// Payloads of 20 ms.
#[derive(Debug)]
pub struct Speech {
    /// A voice, over and over.
    pub voice: Vec<Vec<u8>>,
    /// Digital silence.
    pub silence: Vec<Vec<u8>>,
    /// Loud noise.
    pub noise: Vec<Vec<u8>>,
}

impl Speech {
    /// Says it in a codec.
    ///
    /// # Errors
    ///
    /// ffmpeg isn't installed or fails.
    pub fn new(codec: Codec) -> Result<Self, String> {
        if find("ffmpeg").is_none() {
            test::install(&["ffmpeg"]);
        }
        let folder = Folder::new("speech");
        Ok(Self {
            voice: packets(&folder, codec, TEXT)?,
            silence: packets(&folder, codec, "anullsrc=duration=2")?,
            noise: packets(&folder, codec, "anoisesrc=duration=2:amplitude=0.9:seed=1")?,
        })
    }
}

fn packets(folder: &Folder, codec: Codec, source: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-loglevel", "error", "-y", "-f", "lavfi", "-i"]);
    command.arg(source).args(["-ac", "1"]);
    match codec {
        Codec::G711 => command.args(["-ar", "8000", "-f", "mulaw", "said"]),
        Codec::Opus => command
            .args(["-ar", "48000", "-c:a", "libopus", "-b:a", "32k"])
            .args([
                "-application",
                "voip",
                "-frame_duration",
                "20",
                "-f",
                "ogg",
                "said",
            ]),
    };
    let output = command.current_dir(folder.path()).output();
    let output = output.map_err(|error| format!("ffmpeg: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "ffmpeg: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let file = fs::read(folder.path().join("said")).map_err(|error| error.to_string())?;
    let packets: Vec<Vec<u8>> = match codec {
        Codec::G711 => file.chunks_exact(160).map(<[u8]>::to_vec).collect(),
        Codec::Opus => ogg::read(&file),
    };
    if packets.len() < 50 {
        return Err(format!("ffmpeg wrote {} packets", packets.len()));
    }
    Ok(packets)
}

/// A listener that tells the loud noise from silence.
pub struct Ear {
    /// None for µ-law.
    decoder: Option<opus::Decoder>,
}

impl Ear {
    /// One for a codec.
    ///
    /// # Errors
    ///
    /// libopus has no memory.
    pub fn new(codec: Codec) -> Result<Self, String> {
        let decoder = match codec {
            Codec::G711 => None,
            Codec::Opus => {
                let decoder = opus::Decoder::new(48_000, opus::Channels::Mono);
                Some(decoder.map_err(|error| error.to_string())?)
            }
        };
        Ok(Self { decoder })
    }

    /// Whether a packet is loud: of many samples above 2,000 of 32,768.
    pub fn hears(&mut self, payload: &[u8]) -> bool {
        let Some(decoder) = &mut self.decoder else {
            return is_loud(Codec::G711, payload);
        };
        let mut samples = [0; 5_760];
        let count = decoder.decode(payload, &mut samples, false).unwrap_or(0);
        let samples = samples.get(..count).unwrap_or_default();
        samples
            .iter()
            .filter(|sample| sample.unsigned_abs() > 2_000)
            .count()
            > 120
    }
}

/// Whether a payload is of somebody who talks, by itself: by its samples, or by its length, which
/// libopus makes the longer the more there is to say.
#[must_use]
pub fn is_loud(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        // Of the upper half of µ-law's segments: above 2,000 of 32,768.
        Codec::G711 => payload.iter().filter(|octet| **octet & 0x70 < 0x40).count() > 20,
        Codec::Opus => payload.len() > 60,
    }
}

#[cfg(test)]
mod loudness {
    use super::Ear;
    use crate::mix::Codec;

    #[test]
    fn noise_is_told_from_silence() {
        let mut ear = Ear::new(Codec::G711).unwrap();
        assert!(!ear.hears(&[0xff; 160]));
        assert!(ear.hears(&[0x90; 160]));
        let mut ear = Ear::new(Codec::Opus).unwrap();
        let mode = opus::Application::Audio;
        let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, mode).unwrap();
        let loud = |n: i16| if n % 2 == 0 { 9_000 } else { -9_000 };
        let noise: Vec<i16> = (0..960).map(|n: i16| loud(n / 7)).collect();
        let mut hears = |samples: &[i16]| ear.hears(&encoder.encode_vec(samples, 500).unwrap());
        assert!(!hears(&[0; 960]));
        assert!(hears(&noise) || hears(&noise));
    }
}
