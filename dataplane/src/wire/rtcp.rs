//! RTCP headers (RFC 3550 §6): whether a datagram is a compound packet that fits.

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
const PADDING: u8 = 0b0010_0000;
/// SRTCP's E flag with its index; a tag follows (RFC 3711 §3.4).
const TRAILER_BYTES_MIN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const RECEIVER_REPORT: [u8; 8] = [0x80, 201, 0, 1, 1, 2, 3, 4];

    #[test]
    fn a_compound_packet_is_valid_when_its_lengths_add_up() {
        assert!(is_valid(&RECEIVER_REPORT));
        assert!(is_valid(&[RECEIVER_REPORT, RECEIVER_REPORT].concat()));
        assert_eq!(packet_type(&RECEIVER_REPORT), Some(201));
        assert!(!is_valid(
            &[RECEIVER_REPORT.as_slice(), &[1, 2, 3]].concat()
        ));
        assert!(!is_valid(&RECEIVER_REPORT[..7]), "longer than the datagram");
        assert!(!is_valid(&[0x40, 201, 0, 0]), "version 1");
        assert!(!is_valid(&[0x80, 8, 0, 0]), "a payload type of RTP");
        assert!(!is_valid(&[]));
    }

    #[test]
    fn only_the_last_packet_may_be_padded() {
        let padded = [0xa0, 201, 0, 1, 0, 0, 0, 4];
        assert!(is_valid(&[RECEIVER_REPORT, padded].concat()));
        assert!(!is_valid(&[padded, RECEIVER_REPORT].concat()));
    }
}
