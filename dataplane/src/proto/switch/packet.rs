//! An RTP packet of video as it came, and its header as it goes out.

use crate::wire::rtp::{Header, Seq, Ssrc};

/// What is needed of a packet; it may come from the wire or from a history.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incoming<'a> {
    pub(super) facts: Facts,
    pub(super) ssrc: Ssrc,
    pub(super) payload: &'a [u8],
}

/// What a packet has beside its payload, without what changes for each receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) seq: Seq,
    pub(super) timestamp: u32,
    pub(super) payload_type: u8,
    pub(super) marker: bool,
    pub(super) padding: bool,
    /// How the picture is turned (3GPP TS 26.114 7.4.5), where the packet says that.
    pub(super) orientation: Option<u8>,
}

impl<'a> Incoming<'a> {
    /// Reads a packet; `orientation` is the identifier of that header extension.
    pub(super) fn parse(datagram: &'a [u8], orientation: Option<u8>) -> Option<Self> {
        let header = Header::parse(datagram)?;
        let (head, payload) = datagram.split_at_checked(header.header_len)?;
        let (&[flags, second, _, _, t0, t1, t2, t3], _) = head.split_first_chunk::<8>()?;
        let extension = orientation.filter(|_| flags & EXTENSION != 0);
        Some(Self {
            facts: Facts {
                seq: header.seq,
                timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
                payload_type: second & 0x7f,
                marker: second & MARKER != 0,
                padding: flags & PADDING != 0,
                orientation: extension.and_then(|id| one_byte(head, id)),
            },
            ssrc: header.ssrc,
            payload,
        })
    }
}

/// The first octet of an element of a one-byte header extension (RFC 8285 §4.2).
fn one_byte(head: &[u8], id: u8) -> Option<u8> {
    let csrcs = usize::from(head.first()? & 0x0f) * 4;
    let (&[0xbe, 0xde, _, _], mut rest) = head.get(FIXED_BYTES + csrcs..)?.split_first_chunk()?
    else {
        return None;
    };
    while let Some((&first, after)) = rest.split_first() {
        // Zero is padding without a length, 15 ends the reading.
        if first == 0 {
            rest = after;
            continue;
        }
        if first >> 4 == 15 {
            break;
        }
        if first >> 4 == id {
            return after.first().copied();
        }
        rest = after.get(usize::from(first & 0x0f) + 1..)?;
    }
    None
}

/// A header for one receiver, and what of the payload is rewritten for it.
#[derive(Debug)]
pub(super) struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    len: usize,
}

/// What a packet's header has for one receiver.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rewrite {
    pub(super) ssrc: Ssrc,
    pub(super) seq: u16,
    pub(super) timestamp: u32,
    pub(super) payload_type: u8,
    /// The receiver's identifier for the orientation of video.
    pub(super) orientation: Option<u8>,
}

impl Head {
    /// Writes a header. Extensions other than the orientation are not negotiated and stay behind,
    /// and so do CSRCs; none is added either, as a packet must not outgrow the path that it came by.
    pub(super) fn new(facts: &Facts, rewrite: &Rewrite) -> Self {
        let mut head = Self {
            bytes: [0; HEAD_BYTES_MAX],
            len: 0,
        };
        let orientation = rewrite.orientation.zip(facts.orientation);
        let mut flags = VERSION_2;
        if facts.padding {
            flags |= PADDING;
        }
        if orientation.is_some() {
            flags |= EXTENSION;
        }
        let marker = if facts.marker { MARKER } else { 0 };
        head.put([flags, marker | rewrite.payload_type]);
        head.put(rewrite.seq.to_be_bytes());
        head.put(rewrite.timestamp.to_be_bytes());
        head.put(rewrite.ssrc.0.to_be_bytes());
        if let Some((id, value)) = orientation {
            head.put([0xbe, 0xde, 0, 1, id << 4, value, 0, 0]);
        }
        head
    }

    /// Appends octets of the payload and gives them to be changed.
    pub(super) fn append(&mut self, octets: &[u8]) -> &mut [u8] {
        let from = self.len;
        let room = self.bytes.get_mut(from..).unwrap_or_default();
        let len = octets.len().min(room.len());
        let (to, _) = room.split_at_mut(len);
        to.copy_from_slice(octets.get(..len).unwrap_or_default());
        self.len += len;
        to
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn put<const N: usize>(&mut self, octets: [u8; N]) {
        self.append(&octets);
    }
}

/// Octets of the header that every RTP packet has.
const FIXED_BYTES: usize = 12;
/// Those, the orientation, and a VP8 descriptor.
const HEAD_BYTES_MAX: usize = FIXED_BYTES + 8 + super::payload::Descriptor::BYTES_MAX;
const VERSION_2: u8 = 0x80;
const PADDING: u8 = 0x20;
const EXTENSION: u8 = 0x10;
const MARKER: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(extension: &[u8]) -> Vec<u8> {
        let words = u8::try_from(extension.len() / 4).unwrap();
        let mut bytes = vec![0x91, 0xe0, 0, 9, 0, 0, 0, 5, 1, 2, 3, 4, 9, 9, 9, 9];
        bytes.extend([0xbe, 0xde, 0, words]);
        bytes.extend(extension);
        bytes.extend([7, 8]);
        bytes
    }

    #[test]
    fn the_orientation_is_found_among_other_extensions() {
        let bytes = packet(&[0x21, 5, 5, 0, 0x40, 0x03, 0, 0]);
        let read = Incoming::parse(&bytes, Some(4)).unwrap();
        assert_eq!(read.facts.orientation, Some(3));
        assert_eq!(read.payload, [7, 8]);
        assert_eq!((read.facts.seq, read.facts.timestamp), (Seq(9), 5));
        assert!(read.facts.marker);
        for (bytes, id) in [
            (packet(&[0x21, 5, 5, 0, 0x40, 0x03, 0, 0]), Some(3)),
            (packet(&[0xf1, 5, 5, 0, 0x40, 0x03, 0, 0]), Some(4)),
            (packet(&[0x2f, 5, 5, 0]), Some(4)),
            (packet(&[0, 0, 0, 0x40]), Some(4)),
            (packet(&[0x40, 3, 0, 0]), None),
        ] {
            let read = Incoming::parse(&bytes, id).unwrap();
            assert_eq!(read.facts.orientation, None, "{bytes:02x?}");
        }
    }

    #[test]
    fn a_header_goes_out_with_the_receivers_numbers() {
        let bytes = packet(&[0x40, 0x03, 0, 0]);
        let read = Incoming::parse(&bytes, Some(4)).unwrap();
        let mut rewrite = Rewrite {
            ssrc: Ssrc(0x0a0b_0c0d),
            seq: 0x0102,
            timestamp: 0x0304_0506,
            payload_type: 100,
            orientation: Some(7),
        };
        let mut head = Head::new(&read.facts, &rewrite);
        head.append(&read.payload[..1]);
        let expected = [0x90, 0xe4, 1, 2, 3, 4, 5, 6, 10, 11, 12, 13];
        assert_eq!(head.bytes()[..12], expected);
        assert_eq!(head.bytes()[12..], [0xbe, 0xde, 0, 1, 0x70, 3, 0, 0, 7]);
        rewrite.orientation = None;
        assert_eq!(Head::new(&read.facts, &rewrite).bytes()[0], 0x80);
    }
}
