//! Payloads of RFC 4867 §4.3 and §4.4.
//!
//! ```text
//! bandwidth-efficient  CMR(4) │ F FT(4) Q │ ... │ bits of each frame, without gaps    │ padding
//! octet-aligned        CMR(4) 0(4) │ F FT(4) Q 0 0 │ ... │ octets of each frame
//! ```

/// Octets of the longest frame, its head before it, and room that the libraries may read.
pub(super) const FRAME_BYTES: usize = 64;
/// No data, or a frame that is lost.
const NO_DATA: u8 = 15;
/// A frame that isn't damaged.
const GOOD: u8 = 4;
/// No mode is asked for.
const NO_REQUEST: u8 = 15;

/// Bits of each frame type (RFC 4867 tables 1 to 3; 3GPP TS 26.101, 26.201).
const NARROW_BITS: [usize; 9] = [95, 103, 118, 134, 148, 159, 204, 244, 39];
const WIDE_BITS: [usize; 10] = [132, 177, 253, 285, 317, 365, 397, 461, 477, 40];

/// Which of the two codecs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::codec) enum Band {
    Narrow,
    Wide,
}

impl Band {
    /// Samples of a frame.
    pub(super) fn samples(self) -> usize {
        match self {
            Self::Narrow => 160,
            Self::Wide => 320,
        }
    }

    pub(super) fn mode_max(self) -> u8 {
        match self {
            Self::Narrow => 7,
            Self::Wide => 8,
        }
    }

    /// Bits of a frame; `None`: there is no such type.
    fn bits(self, frame_type: u8) -> Option<usize> {
        let table: &[usize] = match self {
            Self::Narrow => &NARROW_BITS,
            Self::Wide => &WIDE_BITS,
        };
        match (self, frame_type) {
            (_, NO_DATA) | (Self::Wide, 14) => Some(0),
            _ => table.get(usize::from(frame_type)).copied(),
        }
    }

    /// What a library is given for a frame that is missing or damaged.
    pub(super) fn lost(self) -> [u8; FRAME_BYTES] {
        let frame_type = match self {
            Self::Narrow => NO_DATA,
            Self::Wide => 14,
        };
        let mut frame = [0; FRAME_BYTES];
        frame[0] = frame_type << 3;
        frame
    }
}

/// How a payload's parts are aligned (`octet-align`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::codec) enum Layout {
    BandwidthEfficient,
    OctetAligned,
}

impl Layout {
    pub(in crate::codec) fn new(octet_aligned: bool) -> Self {
        if octet_aligned {
            Self::OctetAligned
        } else {
            Self::BandwidthEfficient
        }
    }

    /// Bits of the head, and of an entry of the table of contents.
    fn heads(self) -> (usize, usize) {
        match self {
            Self::BandwidthEfficient => (4, 6),
            Self::OctetAligned => (8, 8),
        }
    }

    /// Bits that a part takes.
    fn span(self, bits: usize) -> usize {
        match self {
            Self::BandwidthEfficient => bits,
            Self::OctetAligned => bits.next_multiple_of(8),
        }
    }
}

/// The frames of a payload, as the libraries take them.
#[derive(Debug, Clone)]
pub(super) struct Frames<'a> {
    band: Band,
    layout: Layout,
    payload: &'a [u8],
    left: usize,
    /// Where the next entry and the next frame begin, in bits.
    entry: usize,
    frame: usize,
}

impl<'a> Frames<'a> {
    /// Looks through the table of contents; `None`: the payload isn't whole.
    pub(super) fn new(band: Band, layout: Layout, payload: &'a [u8]) -> Option<Self> {
        let (head, entry) = layout.heads();
        let (mut at, mut count, mut bits) = (head, 0, 0);
        loop {
            // Behind the end there are zeros, the last entry among them; `bits` won't fit then.
            let octet = octet_at(payload, at);
            bits += layout.span(band.bits((octet >> 3) & 0x0f)?);
            at += entry;
            count += 1;
            if octet & 0x80 == 0 {
                break;
            }
        }
        (at + bits <= payload.len() * 8).then_some(Self {
            band,
            layout,
            payload,
            left: count,
            entry: head,
            frame: at,
        })
    }

    pub(super) fn left(&self) -> usize {
        self.left
    }
}

impl Iterator for Frames<'_> {
    type Item = [u8; FRAME_BYTES];

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let head = octet_at(self.payload, self.entry) & 0x7c;
        let bits = self.band.bits(head >> 3)?;
        let begin = self.frame;
        self.entry += self.layout.heads().1;
        self.frame += self.layout.span(bits);
        if head & GOOD == 0 || bits == 0 {
            return Some(self.band.lost());
        }
        let mut frame = [0; FRAME_BYTES];
        frame[0] = head;
        let octets = bits.div_ceil(8);
        for (at, octet) in frame[1..=octets].iter_mut().enumerate() {
            *octet = octet_at(self.payload, begin + at * 8);
        }
        // What follows in a payload without gaps isn't this frame's.
        frame[octets] &= last_mask(bits);
        Some(frame)
    }
}

/// The eight bits from bit `at` on; zeros behind the end.
fn octet_at(payload: &[u8], at: usize) -> u8 {
    let octet = |at: usize| payload.get(at).copied().unwrap_or(0);
    let both = u16::from_be_bytes([octet(at / 8), octet(at / 8 + 1)]);
    (both << (at % 8)).to_be_bytes()[0]
}

/// The bits of a frame's last octet that it uses.
fn last_mask(bits: usize) -> u8 {
    match bits % 8 {
        0 => 0xff,
        used => !(0xff >> used),
    }
}

/// Puts a payload together.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    layout: Layout,
    out: &'a mut [u8],
    left: usize,
    entry: usize,
    frame: usize,
}

impl<'a> Writer<'a> {
    /// `None`: `out` is too short for that many frames.
    pub(super) fn new(layout: Layout, frames: usize, out: &'a mut [u8]) -> Option<Self> {
        let out = out.get_mut(..(frames + 1) * FRAME_BYTES)?;
        out.fill(0);
        let (head, entry) = layout.heads();
        let mut writer = Self {
            layout,
            out,
            left: frames,
            entry: head,
            frame: head + entry * frames,
        };
        writer.put(0, NO_REQUEST << 4);
        Some(writer)
    }

    /// Adds a frame as a library wrote it.
    pub(super) fn frame(&mut self, band: Band, frame: &[u8; FRAME_BYTES]) {
        self.left = self.left.saturating_sub(1);
        let head = frame[0] & 0x78;
        let follows = if self.left > 0 { 0x80 } else { 0 };
        self.put(self.entry, follows | head | GOOD);
        self.entry += self.layout.heads().1;
        let bits = band.bits(head >> 3).unwrap_or(0);
        let octets = bits.div_ceil(8);
        for (at, octet) in frame[1..=octets].iter().enumerate() {
            let mask = if at + 1 == octets {
                last_mask(bits)
            } else {
                0xff
            };
            self.put(self.frame + at * 8, octet & mask);
        }
        self.frame += self.layout.span(bits);
    }

    pub(super) fn length(&self) -> usize {
        self.frame.div_ceil(8)
    }

    /// Adds the bits of an octet from bit `at` on.
    fn put(&mut self, at: usize, octet: u8) {
        let [high, low] = (u16::from_be_bytes([octet, 0]) >> (at % 8)).to_be_bytes();
        if let Some(out) = self.out.get_mut(at / 8) {
            *out |= high;
        }
        if let Some(out) = self.out.get_mut(at / 8 + 1) {
            *out |= low;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Band, FRAME_BYTES, Frames, Layout, Writer};

    fn frame(frame_type: u8, bits: usize) -> [u8; FRAME_BYTES] {
        let mut frame = [0; FRAME_BYTES];
        frame[0] = frame_type << 3 | 4;
        for bit in (0..bits).filter(|bit| bit % 3 != 1) {
            frame[1 + bit / 8] |= 0x80 >> (bit % 8);
        }
        frame
    }

    #[test]
    fn a_bandwidth_efficient_payload_is_as_the_rfc_draws_it() {
        // RFC 4867 §4.3.5.1: one frame of 6.7 kbit/s, 134 bits: 18 octets, CMR 15, F 0, FT 3, Q 1.
        let mut out = [0; 256];
        let mut writer = Writer::new(Layout::BandwidthEfficient, 1, &mut out).unwrap();
        writer.frame(Band::Narrow, &frame(3, 134));
        assert_eq!(writer.length(), 18);
        assert_eq!(out[0], 0b1111_0001);
        assert_eq!(out[1], 0b1110_1101);
        assert_eq!(out[2], 0b1011_0110);
    }

    #[test]
    fn an_octet_aligned_payload_is_as_the_rfc_draws_it() {
        // RFC 4867 §4.4.5.1, without CRC: one frame of 5.9 kbit/s, 118 bits in 15 octets.
        let mut out = [0; 256];
        let mut writer = Writer::new(Layout::OctetAligned, 1, &mut out).unwrap();
        writer.frame(Band::Narrow, &frame(2, 118));
        assert_eq!(writer.length(), 17);
        assert_eq!(&out[..3], [0xf0, 0b0001_0100, 0b1011_0110]);
    }

    #[test]
    fn frames_come_out_as_they_went_in() {
        for layout in [Layout::BandwidthEfficient, Layout::OctetAligned] {
            for (band, types) in [(Band::Narrow, 0..=8), (Band::Wide, 0..=9)] {
                for first in types {
                    let frames = [first, 0, 1].map(|t| frame(t, band.bits(t).unwrap()));
                    let mut out = [0xff; 256];
                    let mut writer = Writer::new(layout, 3, &mut out).unwrap();
                    for frame in &frames {
                        writer.frame(band, frame);
                    }
                    let length = writer.length();
                    let read = Frames::new(band, layout, &out[..length]).unwrap();
                    assert_eq!(read.left(), 3);
                    assert!(read.eq(frames), "{band:?} {layout:?} {first}");
                    let short = Frames::new(band, layout, &out[..length - 1]);
                    assert!(short.is_none(), "{band:?} {layout:?} {first}");
                }
            }
        }
    }

    #[test]
    fn damaged_and_missing_frames_are_lost_ones_and_unknown_types_are_refused() {
        let layout = Layout::OctetAligned;
        let mut payload = vec![0xf0, 0x10];
        payload.extend([0xff; 15]);
        let mut frames = Frames::new(Band::Narrow, layout, &payload).unwrap();
        assert_eq!(frames.next(), Some(Band::Narrow.lost()));
        let frames = Frames::new(Band::Wide, layout, &[0xf0, 0xfc, 0x7c]).unwrap();
        assert_eq!(frames.left(), 2);
        for unknown in 9..15 {
            assert!(
                Frames::new(Band::Narrow, layout, &[0xf0, unknown << 3, 0, 0, 0, 0, 0]).is_none()
            );
        }
        assert!(Frames::new(Band::Wide, layout, &[]).is_none());
        assert!(Frames::new(Band::Narrow, layout, &[0xff; 40]).is_none());
    }
}
