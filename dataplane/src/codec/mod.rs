//! Encoders and decoders of audio, and what a mixer needs beside them: other rates, levels, noise.
//!
//! ```text
//! payload ─▶ Decoder ─▶ samples ─▶ Resampler ─▶ the mixer ─▶ Resampler ─▶ samples ─▶ Encoder ─▶ payload
//! nothing ─▶ conceal ─▶    │
//! the next payload ─▶ recover
//! ```
//!
//! All memory is taken in `new`; what is decoded and encoded allocates nothing.

#[cfg(feature = "amr")]
mod amr;
mod conceal;
mod g711;
mod g722;
mod level;
mod noise;
mod opus;
mod resample;

pub use level::{SILENCE, level};
pub use noise::Noise;
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
    G722(Box<g722::Decoder>, Concealment),
    Opus(opus::Decoder),
    #[cfg(feature = "amr")]
    Amr(amr::Decoder),
}

impl Decoder {
    /// A decoder for one source.
    ///
    /// # Errors
    /// For a codec that this build hasn't.
    pub fn new(codec: AudioCodec) -> Result<Self, Unavailable> {
        let concealment = || Concealment::new(codec.sample_rate());
        let state = match codec {
            AudioCodec::Pcmu => Decoding::MuLaw(concealment()),
            AudioCodec::Pcma => Decoding::ALaw(concealment()),
            AudioCodec::G722 => Decoding::G722(Box::new(g722::Decoder::new()), concealment()),
            AudioCodec::Opus { .. } => Decoding::Opus(opus::Decoder::new()?),
            #[cfg(feature = "amr")]
            AudioCodec::AmrNb { octet_aligned, .. } => {
                let layout = amr::Layout::new(octet_aligned);
                Decoding::Amr(amr::Decoder::new(amr::Band::Narrow, layout)?)
            }
            #[cfg(feature = "amr")]
            AudioCodec::AmrWb { octet_aligned, .. } => {
                let layout = amr::Layout::new(octet_aligned);
                Decoding::Amr(amr::Decoder::new(amr::Band::Wide, layout)?)
            }
            #[cfg(not(feature = "amr"))]
            AudioCodec::AmrNb { .. } | AudioCodec::AmrWb { .. } => return Err(Unavailable),
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
                let out = room(out, payload.len())?;
                g711::decode_mu_law(payload, out);
                concealment.take(out);
                Ok(out.len())
            }
            Decoding::ALaw(concealment) => {
                let out = room(out, payload.len())?;
                g711::decode_a_law(payload, out);
                concealment.take(out);
                Ok(out.len())
            }
            Decoding::G722(decoder, concealment) => {
                let out = room(out, payload.len() * 2)?;
                decoder.decode(payload, out);
                concealment.take(out);
                Ok(out.len())
            }
            Decoding::Opus(decoder) => decoder.decode(payload, out),
            #[cfg(feature = "amr")]
            Decoding::Amr(decoder) => decoder.decode(payload, out),
        }
    }

    /// Makes up `samples` samples for a packet that didn't come, and says how many it made: whole
    /// frames of the codec, 2.5 ms for Opus and 20 ms for AMR.
    pub fn conceal(&mut self, samples: usize, out: &mut [i16]) -> usize {
        let length = samples.min(out.len());
        let out = &mut out[..length];
        match &mut self.state {
            Decoding::MuLaw(concealment)
            | Decoding::ALaw(concealment)
            | Decoding::G722(_, concealment) => {
                concealment.fill(out);
                length
            }
            Decoding::Opus(decoder) => decoder.conceal(out),
            #[cfg(feature = "amr")]
            Decoding::Amr(decoder) => decoder.conceal(out),
        }
    }

    /// Decodes what `next`, the payload after a lost one, says of it; `None`: nothing. Then
    /// `next` itself is decoded as always.
    pub fn recover(&mut self, next: &[u8], out: &mut [i16]) -> Option<usize> {
        match &mut self.state {
            Decoding::Opus(decoder) => decoder.recover(next, out),
            Decoding::MuLaw(_) | Decoding::ALaw(_) | Decoding::G722(..) => None,
            #[cfg(feature = "amr")]
            Decoding::Amr(_) => None,
        }
    }
}

/// Where the samples of a payload that isn't empty go.
fn room(out: &mut [i16], samples: usize) -> Result<&mut [i16], Malformed> {
    if samples == 0 {
        return Err(Malformed);
    }
    out.get_mut(..samples).ok_or(Malformed)
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
    G722(Box<g722::Encoder>),
    Opus(opus::Encoder),
    #[cfg(feature = "amr")]
    Amr(amr::Encoder),
}

impl Encoder {
    /// An encoder of packets of `ptime_ms`: 10, 20, 30, 40 or 60, but for Opus not 30, and for
    /// AMR multiples of 20.
    ///
    /// # Errors
    /// For a codec, a setting or a packet time that this build hasn't.
    pub fn new(codec: AudioCodec, ptime_ms: u8) -> Result<Self, Unavailable> {
        if !matches!(ptime_ms, 10 | 20 | 30 | 40 | 60) {
            return Err(Unavailable);
        }
        let state = match codec {
            AudioCodec::Pcmu => Encoding::MuLaw,
            AudioCodec::Pcma => Encoding::ALaw,
            AudioCodec::G722 => Encoding::G722(Box::new(g722::Encoder::new())),
            AudioCodec::Opus { bitrate, fec, dtx } => {
                Encoding::Opus(opus::Encoder::new(bitrate, (fec, dtx), ptime_ms)?)
            }
            #[cfg(feature = "amr")]
            AudioCodec::AmrNb {
                octet_aligned,
                mode,
            } => {
                let layout = amr::Layout::new(octet_aligned);
                Encoding::Amr(amr::Encoder::new(
                    amr::Band::Narrow,
                    layout,
                    mode,
                    ptime_ms,
                )?)
            }
            #[cfg(feature = "amr")]
            AudioCodec::AmrWb {
                octet_aligned,
                mode,
            } => {
                let layout = amr::Layout::new(octet_aligned);
                Encoding::Amr(amr::Encoder::new(amr::Band::Wide, layout, mode, ptime_ms)?)
            }
            #[cfg(not(feature = "amr"))]
            AudioCodec::AmrNb { .. } | AudioCodec::AmrWb { .. } => return Err(Unavailable),
        };
        Ok(Self { state })
    }

    /// Says whether who gets this loses packets: then Opus sends redundancy, where it was agreed.
    pub fn expect_loss(&mut self, expected: bool) {
        if let Encoding::Opus(encoder) = &mut self.state {
            encoder.expect_loss(expected);
        }
    }

    /// Says whether many speak at once from here on: then Opus takes fewer pains to model a voice.
    pub fn expect_many(&mut self, expected: bool) {
        if let Encoding::Opus(encoder) = &mut self.state {
            encoder.expect_many(expected);
        }
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
            Encoding::G722(encoder) => {
                let length = (samples.len() / 2).min(out.len());
                encoder.encode(samples, &mut out[..length]);
                length
            }
            Encoding::Opus(encoder) => encoder.encode(samples, out),
            #[cfg(feature = "amr")]
            Encoding::Amr(encoder) => encoder.encode(samples, out),
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
        AudioCodec::Opus { .. } => opus::samples_of(payload)?,
        #[cfg(feature = "amr")]
        AudioCodec::AmrNb { octet_aligned, .. } => {
            amr::samples_of(amr::Band::Narrow, amr::Layout::new(octet_aligned), payload)?
        }
        #[cfg(feature = "amr")]
        AudioCodec::AmrWb { octet_aligned, .. } => {
            amr::samples_of(amr::Band::Wide, amr::Layout::new(octet_aligned), payload)?
        }
        #[cfg(not(feature = "amr"))]
        AudioCodec::AmrNb { .. } | AudioCodec::AmrWb { .. } => return None,
    };
    (1..=limits::CODEC_SAMPLES)
        .contains(&samples)
        .then_some(samples)
}

#[cfg(test)]
mod tests;
