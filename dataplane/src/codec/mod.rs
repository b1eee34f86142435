//! Encoders and decoders of audio, and what a mixer needs beside them: other rates, levels, noise.
//!
//! ```text
//! payload ─▶ Decoder ─▶ samples ─▶ Resampler ─▶ the mixer ─▶ Resampler ─▶ samples ─▶ Encoder ─▶ payload
//! nothing ─▶ conceal ─▶    │
//! the next payload ─▶ recover
//! ```
//!
//! All memory is taken in `new`; what is decoded and encoded allocates nothing.

mod conceal;
mod g711;
mod level;
mod resample;

pub use level::{SILENCE, level};
pub use resample::Resampler;

use conceal::Concealment;

use crate::api::AudioCodec;
use crate::limits;

/// The codec, or its setting, isn't one that this build has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

/// The payload isn't one of the codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Turns one source's payloads into samples.
#[derive(Debug)]
pub struct Decoder {
    state: Decoding,
}

#[derive(Debug)]
enum Decoding {
    MuLaw(Concealment),
    ALaw(Concealment),
}

impl Decoder {
    /// A decoder for one source.
    ///
    /// # Errors
    /// For a codec that this build hasn't.
    pub fn new(codec: AudioCodec) -> Result<Self, Unavailable> {
        let rate = codec.sample_rate();
        let state = match codec {
            AudioCodec::Pcmu => Decoding::MuLaw(Concealment::new(rate)),
            AudioCodec::Pcma => Decoding::ALaw(Concealment::new(rate)),
            _ => return Err(Unavailable),
        };
        Ok(Self { state })
    }

    /// Decodes one payload to `out` at the codec's sample rate, and says how many samples that
    /// are. `out` has room for `limits::CODEC_SAMPLES`.
    ///
    /// # Errors
    /// For a payload that isn't one of the codec, or whose samples don't fit.
    pub fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, Malformed> {
        match &mut self.state {
            Decoding::MuLaw(concealment) => {
                let out = out.get_mut(..payload.len()).ok_or(Malformed)?;
                g711::decode_mu_law(payload, out);
                concealment.take(out);
                Ok(out.len())
            }
            Decoding::ALaw(concealment) => {
                let out = out.get_mut(..payload.len()).ok_or(Malformed)?;
                g711::decode_a_law(payload, out);
                concealment.take(out);
                Ok(out.len())
            }
        }
    }

    /// Makes up `samples` samples for a packet that didn't come, and says how many it made.
    pub fn conceal(&mut self, samples: usize, out: &mut [i16]) -> usize {
        let length = samples.min(out.len());
        let out = &mut out[..length];
        match &mut self.state {
            Decoding::MuLaw(concealment) | Decoding::ALaw(concealment) => {
                concealment.fill(out);
                length
            }
        }
    }

    /// Decodes what `next`, the payload after a lost one, says of it; `None`: nothing. Then
    /// `next` itself is decoded as always.
    pub fn recover(&mut self, _next: &[u8], _out: &mut [i16]) -> Option<usize> {
        match &mut self.state {
            Decoding::MuLaw(_) | Decoding::ALaw(_) => None,
        }
    }
}

/// Turns samples into payloads for one receiver, or for many that get the same.
#[derive(Debug)]
pub struct Encoder {
    state: Encoding,
}

#[derive(Debug)]
enum Encoding {
    MuLaw,
    ALaw,
}

impl Encoder {
    /// An encoder of packets of `ptime_ms`: 10, 20, 30, 40 or 60.
    ///
    /// # Errors
    /// For a codec or a packet time that this build hasn't.
    pub fn new(codec: AudioCodec, ptime_ms: u8) -> Result<Self, Unavailable> {
        if !matches!(ptime_ms, 10 | 20 | 30 | 40 | 60) {
            return Err(Unavailable);
        }
        let state = match codec {
            AudioCodec::Pcmu => Encoding::MuLaw,
            AudioCodec::Pcma => Encoding::ALaw,
            _ => return Err(Unavailable),
        };
        Ok(Self { state })
    }

    /// Encodes the samples of one packet, at the codec's sample rate, to `out`, which has room
    /// for `limits::CODEC_PAYLOAD_BYTES`; says how many octets they are. 0: there is nothing to
    /// send, as nobody speaks, or as the samples aren't those of one packet.
    pub fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> usize {
        match &mut self.state {
            Encoding::MuLaw => {
                let length = samples.len().min(out.len());
                g711::encode_mu_law(&samples[..length], &mut out[..length]);
                length
            }
            Encoding::ALaw => {
                let length = samples.len().min(out.len());
                g711::encode_a_law(&samples[..length], &mut out[..length]);
                length
            }
        }
    }
}

/// How many samples a payload holds at the codec's sample rate, without decoding it; `None`: it
/// isn't one of the codec, or longer than `limits::CODEC_SAMPLES`.
#[must_use]
pub fn samples_of(codec: AudioCodec, payload: &[u8]) -> Option<usize> {
    let samples = match codec {
        AudioCodec::Pcmu | AudioCodec::Pcma => payload.len(),
        AudioCodec::G722 => payload.len() * 2,
        _ => return None,
    };
    (1..=limits::CODEC_SAMPLES)
        .contains(&samples)
        .then_some(samples)
}

#[cfg(test)]
mod tests;
