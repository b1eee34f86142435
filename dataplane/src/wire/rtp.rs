//! RTP headers (RFC 3550 §5.1), and what a datagram is by its first bytes (RFC 7983, RFC 5761).
//!
//! ```text
//!  0                   1                   2                   3
//! |V=2|P|X|  CC   |M|     PT      |       sequence number         |
//! |                           timestamp                           |
//! |                             SSRC                              |
//! |                          CSRC × CC                            |
//! |     (X) profile               |     length in 32-bit words    |
//! ```

use super::rtcp;

/// A sequence number as the wire has it; it wraps at 2^16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seq(pub u16);

/// A synchronisation source (RFC 3550 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ssrc(pub u32);

/// Which protocol a datagram belongs to, by its first byte (RFC 7983 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// 0..=3.
    Stun,
    /// 16..=19.
    Zrtp,
    /// 20..=63.
    Dtls,
    /// 64..=79.
    TurnChannel,
    /// 128..=191: version 2 of RTP or RTCP.
    Rtp,
    /// Any other, or no byte at all.
    Unknown,
}

/// Says which protocol a datagram belongs to (RFC 7983 §7).
#[must_use]
pub fn protocol(datagram: &[u8]) -> Protocol {
    match datagram.first() {
        Some(0..=3) => Protocol::Stun,
        Some(16..=19) => Protocol::Zrtp,
        Some(20..=63) => Protocol::Dtls,
        Some(64..=79) => Protocol::TurnChannel,
        Some(128..=191) => Protocol::Rtp,
        Some(_) | None => Protocol::Unknown,
    }
}

/// What a datagram of the RTP family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet {
    /// RTP with a header that fits.
    Rtp(Header),
    /// A compound RTCP packet that fits (RFC 3550 A.2), or a reduced-size one (RFC 5506).
    Rtcp,
    /// Records of DTLS (RFC 5764 §5.1.2): both far ends' business, not looked into.
    Dtls,
}

/// Reads a datagram of a port that carries RTP and RTCP both (RFC 5761 §4).
///
/// The second byte of RTCP is 192..=223; RTP payload types 64 to 95 must not be used there.
#[must_use]
pub fn packet(datagram: &[u8]) -> Option<Packet> {
    match datagram.get(1)? {
        192..=223 => rtcp::is_valid(datagram).then_some(Packet::Rtcp),
        _ => Header::parse(datagram).map(Packet::Rtp),
    }
}

/// What the relay needs of an RTP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its sequence number.
    pub seq: Seq,
    /// Who it comes from.
    pub ssrc: Ssrc,
    /// Octets before the payload: the fixed header, CSRCs and the extension.
    pub header_len: usize,
    /// Octets of the payload, with padding.
    pub payload_len: usize,
}

impl Header {
    /// Reads the header of a datagram; `None` where RFC 3550 A.1 calls it invalid: another
    /// version, or CSRCs, an extension or padding that don't fit.
    #[must_use]
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let (&[flags, _, seq_high, seq_low, _, _, _, _, s0, s1, s2, s3], rest) =
            datagram.split_first_chunk::<FIXED_BYTES>()?;
        if protocol(&[flags]) != Protocol::Rtp {
            return None;
        }
        let csrc_len = usize::from(flags & CSRC_COUNT).checked_mul(4)?;
        let after_csrc = rest.get(csrc_len..)?;
        let after_extension = match flags & EXTENSION {
            0 => after_csrc,
            _ => skip_extension(after_csrc)?,
        };
        // The padding's count is the last octet, but SRTP encrypts it, and the relay can't know
        // which of both this is: all that is asked is that there is one.
        if flags & PADDING != 0 && after_extension.is_empty() {
            return None;
        }
        Some(Self {
            seq: Seq(u16::from_be_bytes([seq_high, seq_low])),
            ssrc: Ssrc(u32::from_be_bytes([s0, s1, s2, s3])),
            header_len: datagram.len().checked_sub(after_extension.len())?,
            payload_len: after_extension.len(),
        })
    }
}

fn skip_extension(bytes: &[u8]) -> Option<&[u8]> {
    let (&[_, _, high, low], rest) = bytes.split_first_chunk::<4>()?;
    let words = usize::from(u16::from_be_bytes([high, low]));
    rest.get(words.checked_mul(4)?..)
}

/// Octets of the header that every RTP packet has.
const FIXED_BYTES: usize = 12;
const PADDING: u8 = 0b0010_0000;
const EXTENSION: u8 = 0b0001_0000;
const CSRC_COUNT: u8 = 0b0000_1111;

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const PLAIN: [u8; 16] = [
        0x80, 8, 0x12, 0x34, 0, 0, 0, 9, 1, 2, 3, 4, 0xd5, 0xd5, 0xd5, 2,
    ];

    #[test]
    fn a_plain_header_is_read() {
        let header = Header::parse(&PLAIN).unwrap();
        assert_eq!(header.seq, Seq(0x1234));
        assert_eq!(header.ssrc, Ssrc(0x0102_0304));
        assert_eq!((header.header_len, header.payload_len), (12, 4));
    }

    #[test]
    fn a_header_that_does_not_fit_is_refused() {
        assert_eq!(Header::parse(&PLAIN[..11]), None, "shorter than the header");
        let with = |first: u8| [&[first], &PLAIN[1..]].concat();
        assert_eq!(Header::parse(&with(0x40)), None, "version 1");
        assert_eq!(Header::parse(&with(0xc0)), None, "version 3");
        assert_eq!(Header::parse(&with(0x82)), None, "two CSRCs in four octets");
        assert_eq!(
            Header::parse(&with(0x90)),
            None,
            "an extension past the end"
        );
        let padded = with(0xa0);
        assert!(Header::parse(&padded).is_some());
        assert_eq!(
            Header::parse(&padded[..12]),
            None,
            "padding without payload"
        );
    }

    #[test]
    fn csrcs_and_an_extension_are_passed_over() {
        let mut bytes = PLAIN[..12].to_vec();
        bytes[0] = 0x91;
        bytes.extend([9, 9, 9, 9, 0xbe, 0xde, 0, 1, 1, 2, 3, 4, 7]);
        let header = Header::parse(&bytes).unwrap();
        assert_eq!((header.header_len, header.payload_len), (24, 1));
    }

    #[test]
    fn the_first_bytes_say_what_a_datagram_is() {
        let all = (0..=255_u8).map(|first| protocol(&[first]));
        assert_eq!(all.filter(|kind| *kind == Protocol::Rtp).count(), 64);
        assert_eq!(protocol(&[0, 1]), Protocol::Stun);
        assert_eq!(protocol(&[22]), Protocol::Dtls);
        assert_eq!(protocol(&[]), Protocol::Unknown);
        let report = [0x80, 201, 0, 1, 1, 2, 3, 4];
        assert_eq!(packet(&report), Some(Packet::Rtcp));
        assert!(matches!(packet(&PLAIN), Some(Packet::Rtp(_))));
        assert_eq!(packet(&[0x80]), None);
    }
}
