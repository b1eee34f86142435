//! AMR and AMR-WB (3GPP TS 26.071, 26.171) by opencore-amr and vo-amrwbenc, in the payload formats of
//! RFC 4867 without interleaving, CRC and robust sorting.

mod library;
mod payload;

pub(super) use payload::{Band, Layout};

use library::{NarrowDecoder, NarrowEncoder, WideDecoder, WideEncoder};
use payload::{FRAME_BYTES, Frames, Writer};

use super::{Malformed, Unavailable};

/// Milliseconds of a frame.
const FRAME_MS: u8 = 20;

#[derive(Debug)]
pub(super) struct Decoder {
    layout: Layout,
    library: Decoding,
}

#[derive(Debug)]
enum Decoding {
    Narrow(NarrowDecoder),
    Wide(WideDecoder),
}

impl Decoding {
    fn frame(&mut self, frame: &[u8; FRAME_BYTES], out: &mut [i16]) {
        match self {
            Self::Narrow(decoder) => decoder.decode(frame, out),
            Self::Wide(decoder) => decoder.decode(frame, out),
        }
    }
}

impl Decoder {
    pub(super) fn new(band: Band, layout: Layout) -> Result<Self, Unavailable> {
        let library = match band {
            Band::Narrow => Decoding::Narrow(NarrowDecoder::new()?),
            Band::Wide => Decoding::Wide(WideDecoder::new()?),
        };
        Ok(Self { layout, library })
    }

    fn band(&self) -> Band {
        match self.library {
            Decoding::Narrow(_) => Band::Narrow,
            Decoding::Wide(_) => Band::Wide,
        }
    }

    pub(super) fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, Malformed> {
        let band = self.band();
        let frames = Frames::new(band, self.layout, payload).ok_or(Malformed)?;
        let length = frames.left() * band.samples();
        let out = out.get_mut(..length).ok_or(Malformed)?;
        for (frame, out) in frames.zip(out.chunks_exact_mut(band.samples())) {
            self.library.frame(&frame, out);
        }
        Ok(length)
    }

    pub(super) fn conceal(&mut self, out: &mut [i16]) -> usize {
        let band = self.band();
        let mut length = 0;
        for out in out.chunks_exact_mut(band.samples()) {
            self.library.frame(&band.lost(), out);
            length += out.len();
        }
        length
    }
}

#[derive(Debug)]
pub(super) struct Encoder {
    layout: Layout,
    mode: u8,
    /// Frames of a packet.
    frames: usize,
    library: Encoding,
}

#[derive(Debug)]
enum Encoding {
    Narrow(NarrowEncoder),
    Wide(WideEncoder),
}

impl Encoder {
    pub(super) fn new(
        band: Band,
        layout: Layout,
        mode: u8,
        ptime_ms: u8,
    ) -> Result<Self, Unavailable> {
        if !ptime_ms.is_multiple_of(FRAME_MS) || mode > band.mode_max() {
            return Err(Unavailable);
        }
        let library = match band {
            Band::Narrow => Encoding::Narrow(NarrowEncoder::new()?),
            Band::Wide => Encoding::Wide(WideEncoder::new()?),
        };
        let frames = usize::from(ptime_ms / FRAME_MS);
        Ok(Self {
            layout,
            mode,
            frames,
            library,
        })
    }

    pub(super) fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> usize {
        let band = match self.library {
            Encoding::Narrow(_) => Band::Narrow,
            Encoding::Wide(_) => Band::Wide,
        };
        if samples.len() != self.frames * band.samples() {
            return 0;
        }
        let Some(mut writer) = Writer::new(self.layout, self.frames, out) else {
            return 0;
        };
        for samples in samples.chunks_exact(band.samples()) {
            let mut frame = [0; FRAME_BYTES];
            match &mut self.library {
                Encoding::Narrow(encoder) => encoder.encode(self.mode, samples, &mut frame),
                Encoding::Wide(encoder) => encoder.encode(self.mode, samples, &mut frame),
            }
            writer.frame(band, &frame);
        }
        writer.length()
    }
}

/// Samples that a payload holds; `None`: it isn't one.
pub(super) fn samples_of(band: Band, layout: Layout, payload: &[u8]) -> Option<usize> {
    Some(Frames::new(band, layout, payload)?.left() * band.samples())
}
