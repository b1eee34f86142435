//! RTCP (RFC 3550 §6): whether a datagram is a compound packet that fits, what is in one, and one
//! written.

mod read;
mod write;

pub use read::{Blocks, Losses, Packet, Ssrcs, packets};
pub use write::Writer;

use super::rtp::Ssrc;

/// What a sender says of its clock and of what it sent (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// NTP time: seconds in the upper half, their fraction in the lower.
    pub ntp: u64,
    /// The same instant in the stream's timestamps.
    pub timestamp: u32,
    /// Packets sent, modulo 2^32.
    pub packets: u32,
    /// Octets of payload sent, modulo 2^32.
    pub octets: u32,
}

/// What a receiver says of one source (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    /// Of whom.
    pub ssrc: Ssrc,
    /// Lost since the report before, in 256ths of what was expected.
    pub fraction_lost: u8,
    /// Lost in all, 24 bits; more than that is said as the greatest.
    pub lost: u32,
    /// The highest sequence number, with its cycles above.
    pub highest: u32,
    /// Variation of the packets' transit time, in timestamp units.
    pub jitter: u32,
    /// The middle 32 bits of the NTP time of the source's last report; 0: none came.
    pub last_report: u32,
    /// Time since that report came, in 65536ths of a second.
    pub since_last_report: u32,
}

/// Whether a datagram is RTCP: every packet in it is version 2 and ends within it, the lengths
/// add up to the whole, and only the last one is padded (RFC 3550 A.2).
///
/// The first packet may be of any type: reduced-size RTCP has no report first (RFC 5506 §4.1),
/// and SRTCP's trailer is allowed for, as its length is in no header (RFC 3711 §3.4).
#[must_use]
pub fn is_valid(datagram: &[u8]) -> bool {
    let Some((first, mut rest)) = split(datagram) else {
        return false;
    };
    let mut padded = first;
    while let Some((next, after)) = split(rest) {
        if padded {
            return false;
        }
        (padded, rest) = (next, after);
    }
    // What is left is encrypted or a trailer; plain RTCP leaves nothing.
    rest.is_empty() || rest.len() >= TRAILER_BYTES_MIN
}

/// The packet type of a datagram that [`is_valid`].
#[must_use]
pub fn packet_type(datagram: &[u8]) -> Option<u8> {
    datagram.get(1).copied()
}

/// Whether the first packet is padded, and what comes after it.
fn split(bytes: &[u8]) -> Option<(bool, &[u8])> {
    let (&[flags, kind, high, low], _) = bytes.split_first_chunk::<4>()?;
    if flags >> 6 != VERSION || !(192..=223).contains(&kind) {
        return None;
    }
    let words = usize::from(u16::from_be_bytes([high, low])).checked_add(1)?;
    let rest = bytes.get(words.checked_mul(4)?..)?;
    Some((flags & PADDING != 0, rest))
}

const VERSION: u8 = 2;
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
/// Feedback on transport (RFC 4585 §6.2); its format NACK.
const TRANSPORT_FEEDBACK: u8 = 205;
const NACK: u8 = 1;
/// Feedback on a payload (RFC 4585 §6.3); its formats.
const PAYLOAD_FEEDBACK: u8 = 206;
const PICTURE_LOSS: u8 = 1;
/// RFC 5104 §4.3.1.
const FULL_INTRA_REQUEST: u8 = 4;
/// Of an application (RFC 4585 §6.4).
const APPLICATION: u8 = 15;
/// draft-alvestrand-rmcat-remb-03 §2.2: its unique identifier.
const REMB: [u8; 4] = *b"REMB";
/// Bits of a REMB's mantissa.
const REMB_MANTISSA_BITS: u32 = 18;
const PADDING: u8 = 0b0010_0000;
/// SRTCP's E flag with its index; a tag follows (RFC 3711 §3.4).
const TRAILER_BYTES_MIN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: [u8; 8] = [0x80, 201, 0, 1, 1, 2, 3, 4];

    #[test]
    fn a_compound_packet_is_valid_when_its_lengths_add_up() {
        assert!(is_valid(&REPORT));
        assert!(is_valid(&[REPORT, REPORT].concat()));
        assert_eq!(packet_type(&REPORT), Some(201));
        assert!(!is_valid(&[REPORT.as_slice(), &[1, 2, 3]].concat()));
        assert!(!is_valid(&REPORT[..7]), "longer than the datagram");
        assert!(!is_valid(&[0x40, 201, 0, 0]), "version 1");
        assert!(!is_valid(&[0x80, 8, 0, 0]), "a payload type of RTP");
        assert!(!is_valid(&[]));
    }

    #[test]
    fn only_the_last_packet_may_be_padded() {
        let padded = [0xa0, 201, 0, 1, 0, 0, 0, 4];
        assert!(is_valid(&[REPORT, padded].concat()));
        assert!(!is_valid(&[padded, REPORT].concat()));
    }
}
