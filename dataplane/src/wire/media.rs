//! RTP as a mixer reads and writes it: every field, audio levels in header extensions
//! (RFC 8285, RFC 6464, RFC 6465), telephone events (RFC 4733).
//!
//! ```text
//!  12 octets   4 × CSRC    BEDE, words   id·len−1  level…  0-padding
//! │ fixed    │ CSRCs      │ extension   │ element                   │ payload
//! ```

use super::rtp::{Header, Seq, Ssrc};

/// A media timestamp as the wire has it; it wraps at 2^32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpTime(pub u32);

/// An RTP packet, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View<'a> {
    /// The marker bit: the first packet of a talkspurt (RFC 3551 §4.1).
    pub marker: bool,
    /// The payload type, 0 to 127.
    pub payload_type: u8,
    /// The sequence number.
    pub seq: Seq,
    /// The timestamp.
    pub timestamp: RtpTime,
    /// Who it comes from.
    pub ssrc: Ssrc,
    /// The header extension; empty where there is none.
    extension: Extension<'a>,
    /// The payload without padding.
    pub payload: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Extension<'a> {
    profile: u16,
    elements: &'a [u8],
}

impl<'a> View<'a> {
    /// Reads a packet that isn't encrypted; `None` where RFC 3550 A.1 calls it invalid, its
    /// padding included.
    #[must_use]
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let header = Header::parse(datagram)?;
        let (&[flags, kind, _, _, t0, t1, t2, t3, _, _, _, _], rest) =
            datagram.split_first_chunk::<FIXED_BYTES>()?;
        let body = datagram.get(header.header_len..)?;
        let payload = if flags & PADDING == 0 {
            body
        } else {
            let count = usize::from(*body.last()?);
            if count == 0 {
                return None;
            }
            body.get(..body.len().checked_sub(count)?)?
        };
        let extension = if flags & EXTENSION == 0 {
            Extension::default()
        } else {
            let csrcs = usize::from(flags & CSRC_COUNT).checked_mul(4)?;
            let (&[high, low, _, _], _) = rest.get(csrcs..)?.split_first_chunk::<4>()?;
            let from = csrcs.checked_add(FIXED_BYTES)?.checked_add(4)?;
            Extension {
                profile: u16::from_be_bytes([high, low]),
                elements: datagram.get(from..header.header_len)?,
            }
        };
        Some(Self {
            marker: kind & MARKER != 0,
            payload_type: kind & !MARKER,
            seq: header.seq,
            timestamp: RtpTime(u32::from_be_bytes([t0, t1, t2, t3])),
            ssrc: header.ssrc,
            extension,
            payload,
        })
    }

    /// The data of the extension element with this id, in either form of RFC 8285 §4.2, §4.3.
    #[must_use]
    pub fn element(&self, id: u8) -> Option<&'a [u8]> {
        let mut rest = self.extension.elements;
        let is_short = self.extension.profile == ONE_BYTE;
        if !is_short && self.extension.profile & 0xfff0 != TWO_BYTE {
            return None;
        }
        while let Some((&first, after)) = rest.split_first() {
            if first == 0 {
                rest = after;
                continue;
            }
            let (found, length, after) = if is_short {
                let length = usize::from(first & 0x0f).checked_add(1)?;
                (first >> 4, length, after)
            } else {
                let (&length, after) = after.split_first()?;
                (first, usize::from(length), after)
            };
            // RFC 8285 §4.2: id 15 ends what can be read.
            if is_short && found == 15 {
                return None;
            }
            let data = after.get(..length)?;
            if found == id {
                return Some(data);
            }
            rest = after.get(length..)?;
        }
        None
    }

    /// The sender's level in −dBov, 0 to 127, where the extension `id` tells it (RFC 6464 §3).
    #[must_use]
    pub fn client_level(&self, id: u8) -> Option<u8> {
        let (&level, _) = self.element(id)?.split_first()?;
        Some(level & 0x7f)
    }
}

/// What a mixer's packet says before its payload.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    /// The marker bit.
    pub marker: bool,
    /// The payload type, 0 to 127.
    pub payload_type: u8,
    /// The sequence number.
    pub seq: Seq,
    /// The timestamp.
    pub timestamp: RtpTime,
    /// The stream's source.
    pub ssrc: Ssrc,
    /// Who is heard in it, [`CSRCS`] at most.
    pub csrcs: &'a [Ssrc],
    /// The id of the extension for their levels, 1 to 14, and the levels in −dBov in the order
    /// of the CSRCs (RFC 6465 §3).
    pub levels: Option<(u8, &'a [u8])>,
}

/// CSRCs that one packet can hold (RFC 3550 §5.1).
pub const CSRCS: usize = 15;
/// Octets of the longest header that is written.
pub const HEAD_BYTES: usize = FIXED_BYTES + 4 * CSRCS + 4 + 16;

/// A written header.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    bytes: [u8; HEAD_BYTES],
    length: usize,
}

impl Head {
    /// Writes a header; CSRCs and levels beyond what fits are left out.
    #[must_use]
    pub fn write(fields: &Fields<'_>) -> Self {
        let mut head = Self {
            bytes: [0; HEAD_BYTES],
            length: 0,
        };
        let csrcs = fields.csrcs.get(..CSRCS).unwrap_or(fields.csrcs);
        let levels = fields.levels.filter(|(id, levels)| {
            (1..15).contains(id) && !levels.is_empty() && levels.len() <= CSRCS
        });
        let count = u8::try_from(csrcs.len()).unwrap_or(0);
        let extension = if levels.is_some() { EXTENSION } else { 0 };
        let marker = if fields.marker { MARKER } else { 0 };
        head.put(&[
            VERSION_2 | extension | count,
            marker | (fields.payload_type & !MARKER),
        ]);
        head.put(&fields.seq.0.to_be_bytes());
        head.put(&fields.timestamp.0.to_be_bytes());
        head.put(&fields.ssrc.0.to_be_bytes());
        for csrc in csrcs {
            head.put(&csrc.0.to_be_bytes());
        }
        if let Some((id, levels)) = levels {
            let last = u8::try_from(levels.len().saturating_sub(1)).unwrap_or(0);
            let words = levels.len().saturating_add(1).div_ceil(4);
            head.put(&ONE_BYTE.to_be_bytes());
            head.put(&u16::try_from(words).unwrap_or(0).to_be_bytes());
            head.put(&[id << 4 | last]);
            head.put(levels);
            let spare = words
                .saturating_mul(4)
                .saturating_sub(levels.len().saturating_add(1));
            head.put([0; 3].get(..spare).unwrap_or_default());
        }
        head
    }

    /// Its octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn put(&mut self, octets: &[u8]) {
        let end = self.length.saturating_add(octets.len());
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(octets);
            self.length = end;
        }
    }
}

/// A telephone event (RFC 4733 §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// Event, E bit, reserved bit and volume, as they came.
    pub what: [u8; 2],
    /// How long it has lasted, in timestamp units.
    pub duration: u16,
}

impl TelephoneEvent {
    /// Octets of one event.
    pub const BYTES: usize = 4;

    /// Reads the first event of a payload.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (&[event, flags, high, low], _) = payload.split_first_chunk::<4>()?;
        Some(Self {
            what: [event, flags],
            duration: u16::from_be_bytes([high, low]),
        })
    }

    /// Its octets.
    #[must_use]
    pub fn octets(self) -> [u8; Self::BYTES] {
        let ([event, flags], [high, low]) = (self.what, self.duration.to_be_bytes());
        [event, flags, high, low]
    }
}

const FIXED_BYTES: usize = 12;
const VERSION_2: u8 = 0b1000_0000;
const PADDING: u8 = 0b0010_0000;
const EXTENSION: u8 = 0b0001_0000;
const CSRC_COUNT: u8 = 0b0000_1111;
const MARKER: u8 = 0b1000_0000;
/// RFC 8285 §4.2.
const ONE_BYTE: u16 = 0xbede;
/// RFC 8285 §4.3, with any application bits.
const TWO_BYTE: u16 = 0x1000;

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::{Fields, Head, RtpTime, Seq, Ssrc, TelephoneEvent, View};

    fn fields<'a>(csrcs: &'a [Ssrc], levels: Option<(u8, &'a [u8])>) -> Fields<'a> {
        Fields {
            marker: true,
            payload_type: 8,
            seq: Seq(0x1234),
            timestamp: RtpTime(0xa0b0_c0d0),
            ssrc: Ssrc(0x0102_0304),
            csrcs,
            levels,
        }
    }

    #[test]
    fn a_header_is_written_as_rfc_3550_draws_it() {
        let head = Head::write(&fields(&[Ssrc(9)], None));
        let expected = [
            0x81, 0x88, 0x12, 0x34, 0xa0, 0xb0, 0xc0, 0xd0, 1, 2, 3, 4, 0, 0, 0, 9,
        ];
        assert_eq!(head.octets(), expected);
    }

    #[test]
    fn levels_are_one_element_in_the_order_of_the_csrcs() {
        let csrcs = [Ssrc(9), Ssrc(10)];
        let head = Head::write(&fields(&csrcs, Some((3, &[20, 127]))));
        assert_eq!(head.octets()[0], 0x92);
        // RFC 6465 §3: the length is one less than there are levels.
        assert_eq!(head.octets()[20..], [0xbe, 0xde, 0, 1, 0x31, 20, 127, 0]);
    }

    #[test]
    fn what_was_written_is_read_whatever_the_number_of_csrcs() {
        for count in 0..=15_u8 {
            let csrcs: Vec<Ssrc> = (0..count).map(|n| Ssrc(u32::from(n))).collect();
            let levels: Vec<u8> = (0..count).collect();
            let head = Head::write(&fields(&csrcs, Some((1, &levels))));
            let packet = [head.octets(), b"payload"].concat();
            let view = View::parse(&packet).unwrap();
            assert_eq!(view.payload, b"payload");
            assert!(view.marker);
            assert_eq!((view.payload_type, view.timestamp.0), (8, 0xa0b0_c0d0));
            assert_eq!(view.element(1).unwrap_or_default(), levels);
        }
    }

    #[test]
    fn a_client_s_level_is_found_in_both_forms_of_extensions() {
        let fixed = [0x90, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7];
        let short = [0xbe, 0xde, 0, 2, 0x20, 9, 0, 0x10, 0x80 | 33, 0, 0, 0];
        let packet = [fixed.as_slice(), &short].concat();
        assert_eq!(View::parse(&packet).unwrap().client_level(1), Some(33));
        assert_eq!(View::parse(&packet).unwrap().client_level(3), None);
        let long = [0x10, 0x00, 0, 2, 2, 0, 1, 1, 0x80 | 33, 0, 0, 0];
        let packet = [fixed.as_slice(), &long].concat();
        assert_eq!(View::parse(&packet).unwrap().client_level(1), Some(33));
        let past_the_end = [0xbe, 0xde, 0, 1, 0x1f, 1, 2, 3];
        let packet = [fixed.as_slice(), &past_the_end].concat();
        assert_eq!(View::parse(&packet).unwrap().client_level(1), None);
    }

    #[test]
    fn padding_is_no_payload_and_must_fit() {
        let padded = |count: u8| {
            [
                &[0xa0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7],
                &[1, 2, 0, count][..],
            ]
            .concat()
        };
        assert_eq!(View::parse(&padded(2)).unwrap().payload, [1, 2]);
        assert_eq!(View::parse(&padded(4)).unwrap().payload, []);
        assert_eq!(View::parse(&padded(5)), None);
        assert_eq!(View::parse(&padded(0)), None);
    }

    #[test]
    fn a_telephone_event_is_read_and_written() {
        let event = TelephoneEvent::parse(&[5, 0x8a, 0x03, 0x20]).unwrap();
        assert_eq!((event.what, event.duration), ([5, 0x8a], 800));
        assert_eq!(event.octets(), [5, 0x8a, 0x03, 0x20]);
        assert_eq!(TelephoneEvent::parse(&[5, 0x8a, 0x03]), None);
    }
}
