//! What a packet of video carries, by the first octets of its payload: whether a key frame begins,
//! and VP8's counters of pictures.

use crate::api::VideoCodec;

/// What a packet begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Content {
    /// The first packet of a picture that needs no other one.
    pub(super) key_frame: bool,
    /// What a decoder must have before that picture; VP8 has it within.
    pub(super) parameters: bool,
}

impl Content {
    /// Looks into a payload; one that breaks its format begins nothing.
    pub(super) fn of(codec: VideoCodec, payload: &[u8]) -> Self {
        match codec {
            VideoCodec::Vp8 => Self::vp8(payload),
            VideoCodec::H264 => Self::h264(payload),
            VideoCodec::H265 => Self::h265(payload),
        }
        .unwrap_or_default()
    }

    /// RFC 7741 §4.3, RFC 6386 §9.1: the first partition's begin, its P bit and its start code.
    fn vp8(payload: &[u8]) -> Option<Self> {
        let descriptor = Descriptor::parse(payload)?;
        let frame = payload.get(descriptor.len..)?;
        let begins = payload.first()? & 0b0001_0111 == 0b0001_0000;
        let is_key = begins && frame.first()? & 1 == 0 && frame.get(3..6)? == [0x9d, 0x01, 0x2a];
        Some(Self {
            key_frame: is_key,
            parameters: is_key,
        })
    }

    /// RFC 6184 §5.2: a NAL unit, several of them (STAP-A), or a part of one (FU-A).
    fn h264(payload: &[u8]) -> Option<Self> {
        let (&indicator, rest) = payload.split_first()?;
        match indicator & 0x1f {
            H264_STAP_A => Some(units(rest, Self::h264_unit)),
            H264_FU_A => {
                let (&header, slice) = rest.split_first()?;
                let is_first = header & 0x80 != 0;
                Some(match is_first && header & 0x1f == H264_IDR {
                    true => Self::slice(slice),
                    false => Self::default(),
                })
            }
            _ => Some(Self::h264_unit(payload)),
        }
    }

    fn h264_unit(unit: &[u8]) -> Self {
        match unit.split_first().map(|(head, rest)| (head & 0x1f, rest)) {
            Some((H264_IDR, slice)) => Self::slice(slice),
            Some((H264_PARAMETERS, _)) => Self {
                key_frame: false,
                parameters: true,
            },
            Some(_) | None => Self::default(),
        }
    }

    /// RFC 7798 §4.4: a NAL unit, several of them (AP), or a part of one (FU).
    fn h265(payload: &[u8]) -> Option<Self> {
        let (&[first, _], rest) = payload.split_first_chunk::<2>()?;
        match first >> 1 & 0x3f {
            H265_AP => Some(units(rest, Self::h265_unit)),
            H265_FU => {
                let (&header, slice) = rest.split_first()?;
                let is_first = header & 0x80 != 0;
                Some(match is_first && begins_anew(header & 0x3f) {
                    true => Self::slice(slice),
                    false => Self::default(),
                })
            }
            _ => Some(Self::h265_unit(payload)),
        }
    }

    fn h265_unit(unit: &[u8]) -> Self {
        match unit.split_first_chunk::<2>() {
            Some(([first, _], slice)) if begins_anew(first >> 1 & 0x3f) => Self::slice(slice),
            Some(([first, _], _)) => Self {
                key_frame: false,
                parameters: first >> 1 & 0x3f == H265_PARAMETERS,
            },
            None => Self::default(),
        }
    }

    /// Both codecs: the first bit of a slice's header says whether it is its picture's first.
    fn slice(slice: &[u8]) -> Self {
        Self {
            key_frame: slice.first().is_some_and(|first| first & 0x80 != 0),
            parameters: false,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            key_frame: self.key_frame || other.key_frame,
            parameters: self.parameters || other.parameters,
        }
    }
}

/// What units that are aggregated begin, each with its length in front of it.
fn units(mut rest: &[u8], unit: impl Fn(&[u8]) -> Content) -> Content {
    let mut found = Content::default();
    while let Some((&[high, low], after)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes([high, low]));
        let Some((one, after)) = after.split_at_checked(len) else {
            break;
        };
        found = found.and(unit(one));
        rest = after;
    }
    found
}

/// ITU-T H.265 table 7-1: BLA and IDR pictures. A CRA picture is one to begin with, too, but counts
/// on from the pictures before it, which are another source's (found with x265 and ffmpeg).
fn begins_anew(kind: u8) -> bool {
    (16..=20).contains(&kind)
}

const H264_IDR: u8 = 5;
const H264_PARAMETERS: u8 = 7;
const H264_STAP_A: u8 = 24;
const H264_FU_A: u8 = 28;
const H265_PARAMETERS: u8 = 33;
const H265_AP: u8 = 48;
const H265_FU: u8 = 49;

/// VP8's payload descriptor (RFC 7741 §4.2).
///
/// ```text
/// |X|R|N|S|R| PID |   |I|L|T|K| RSV |   |M| PictureID (7 or 15 bits) |   | TL0PICIDX |   |TID|Y|KEYIDX|
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Descriptor {
    /// Its octets.
    pub(super) len: usize,
    /// The picture's number and where it is.
    pub(super) picture: Option<(usize, PictureId)>,
    /// The running number of base layer pictures and where it is.
    pub(super) base_layer: Option<(usize, u8)>,
}

/// A picture's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PictureId {
    /// 7 bits.
    Short(u8),
    /// 15 bits.
    Long(u16),
}

impl PictureId {
    pub(super) fn number(self) -> u16 {
        match self {
            Self::Short(number) => number.into(),
            Self::Long(number) => number,
        }
    }
}

impl Descriptor {
    /// The most octets that one has.
    pub(super) const BYTES_MAX: usize = 6;

    /// Reads the descriptor of a payload.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let mut found = Self {
            len: 1,
            picture: None,
            base_layer: None,
        };
        if first & 0x80 != 0 {
            let extension = *payload.get(found.len)?;
            found.len += 1;
            if extension & 0x80 != 0 {
                let at = found.len;
                let high = *payload.get(at)?;
                let id = match high & 0x80 {
                    0 => PictureId::Short(high),
                    _ => PictureId::Long(u16::from_be_bytes([high & 0x7f, *payload.get(at + 1)?])),
                };
                found.len += if matches!(id, PictureId::Short(_)) {
                    1
                } else {
                    2
                };
                found.picture = Some((at, id));
            }
            if extension & 0x40 != 0 {
                found.base_layer = Some((found.len, *payload.get(found.len)?));
                found.len += 1;
            }
            if extension & 0x30 != 0 {
                payload.get(found.len)?;
                found.len += 1;
            }
        }
        Some(found)
    }

    /// Whether anything in it is counted.
    pub(super) fn counts(&self) -> bool {
        self.picture.is_some() || self.base_layer.is_some()
    }

    /// Moves the counters of a copy of its octets.
    pub(super) fn shift(&self, octets: &mut [u8], pictures: u16, base_layers: u8) {
        match self.picture {
            Some((at, PictureId::Short(id))) => {
                let [low, _] = pictures.to_le_bytes();
                if let Some(octet) = octets.get_mut(at) {
                    *octet = id.wrapping_add(low) & 0x7f;
                }
            }
            Some((at, PictureId::Long(id))) => {
                let [high, low] = id.wrapping_add(pictures).to_be_bytes();
                if let Some(pair) = octets.get_mut(at..at + 2) {
                    pair.copy_from_slice(&[high | 0x80, low]);
                }
            }
            None => {}
        }
        if let Some((at, index)) = self.base_layer
            && let Some(octet) = octets.get_mut(at)
        {
            *octet = index.wrapping_add(base_layers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Content = Content {
        key_frame: true,
        parameters: false,
    };
    const PARAMETERS: Content = Content {
        key_frame: false,
        parameters: true,
    };
    const BOTH: Content = Content {
        key_frame: true,
        parameters: true,
    };
    const NEITHER: Content = Content {
        key_frame: false,
        parameters: false,
    };

    #[test]
    fn a_vp8_key_frame_begins_with_its_start_code() {
        let of = |payload: &[u8]| Content::of(VideoCodec::Vp8, payload);
        let key = [0x10, 0x50, 0, 0, 0x9d, 0x01, 0x2a, 64, 0];
        assert_eq!(of(&key), BOTH);
        assert_eq!(of(&[0x90, 0x80, 9, 0x50, 0, 0, 0x9d, 0x01, 0x2a]), BOTH);
        assert_eq!(of(&[0x10, 0x51, 0, 0, 0x9d, 0x01, 0x2a]), NEITHER, "inter");
        assert_eq!(of(&[0x00, 0x50, 0, 0, 0x9d, 0x01, 0x2a]), NEITHER, "middle");
        assert_eq!(of(&[0x11, 0x50, 0, 0, 0x9d, 0x01, 0x2a]), NEITHER, "part 1");
        for len in 0..7 {
            assert_eq!(of(&key[..len]), NEITHER);
        }
    }

    #[test]
    fn an_h264_key_frame_is_a_first_slice_of_an_idr_picture() {
        let of = |payload: &[u8]| Content::of(VideoCodec::H264, payload);
        assert_eq!(of(&[0x65, 0x88]), KEY);
        assert_eq!(of(&[0x65, 0x08]), NEITHER, "a later slice");
        assert_eq!(of(&[0x41, 0x9a]), NEITHER);
        assert_eq!(of(&[0x67, 0x42]), PARAMETERS);
        assert_eq!(of(&[0x7c, 0x85, 0x88]), KEY, "FU-A, start");
        assert_eq!(of(&[0x7c, 0x05, 0x88]), NEITHER, "FU-A, middle");
        let stap = [0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68, 0, 2, 0x65, 0x88];
        assert_eq!(of(&stap), BOTH);
        assert_eq!(of(&stap[..9]), PARAMETERS, "cut");
        assert_eq!(of(&[]), NEITHER);
    }

    #[test]
    fn an_h265_key_frame_is_a_first_slice_of_a_picture_that_begins_anew() {
        let of = |payload: &[u8]| Content::of(VideoCodec::H265, payload);
        assert_eq!(of(&[19 << 1, 1, 0x80]), KEY);
        assert_eq!(of(&[21 << 1, 1, 0x80]), NEITHER, "CRA");
        assert_eq!(of(&[19 << 1, 1, 0x00]), NEITHER, "a later slice");
        assert_eq!(of(&[1 << 1, 1, 0x80]), NEITHER);
        assert_eq!(of(&[33 << 1, 1, 0]), PARAMETERS);
        assert_eq!(of(&[49 << 1, 1, 0x80 | 19, 0x80]), KEY, "FU, start");
        assert_eq!(of(&[49 << 1, 1, 19, 0x80]), NEITHER, "FU, middle");
        let ap = [48 << 1, 1, 0, 3, 33 << 1, 1, 0, 0, 3, 19 << 1, 1, 0x80];
        assert_eq!(of(&ap), BOTH);
    }

    #[test]
    fn a_vp8_descriptor_is_read_and_its_counters_are_moved() {
        let payload = [0x90, 0xe0, 0xff, 0xfe, 7, 0x20, 0xaa];
        let descriptor = Descriptor::parse(&payload).unwrap();
        assert_eq!(descriptor.len, 6);
        assert_eq!(descriptor.picture, Some((2, PictureId::Long(0x7ffe))));
        assert_eq!(descriptor.base_layer, Some((4, 7)));
        let mut copy = payload;
        descriptor.shift(&mut copy, 3, 250);
        assert_eq!(copy, [0x90, 0xe0, 0x80, 0x01, 1, 0x20, 0xaa]);

        let short = [0x90, 0x80, 0x7f, 0xaa];
        let descriptor = Descriptor::parse(&short).unwrap();
        assert_eq!(descriptor.picture, Some((2, PictureId::Short(0x7f))));
        let mut copy = short;
        descriptor.shift(&mut copy, 0xff02, 0);
        assert_eq!(copy, [0x90, 0x80, 0x01, 0xaa]);

        assert_eq!(Descriptor::parse(&[0x90]), None);
        assert_eq!(Descriptor::parse(&[0x90, 0x80, 0x80]), None);
        assert!(!Descriptor::parse(&[0x10]).unwrap().counts());
    }
}
