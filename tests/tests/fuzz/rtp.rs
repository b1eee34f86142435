//! RTP and RTCP header views, against readers written the slow obvious way from RFC 3550.

use dataplane::wire::rtcp;
use dataplane::wire::rtp::{self, Header, Packet};
use rand::RngExt;
use rand::rngs::StdRng;

use super::campaign::rounds;
use super::spoil::{noise, spoil};

/// A datagram of the RTP family that is nearly right.
fn datagram(random: &mut StdRng) -> Vec<u8> {
    let mut bytes = noise(random, 80);
    if bytes.len() >= 4 && random.random_ratio(7, 8) {
        bytes[0] = 0x80 | bytes[0] & 0x3f;
        if random.random() {
            // Lengths that often add up.
            bytes[1] = random.random_range(190..226);
            bytes[2] = 0;
            bytes[3] = random.random_range(0..20);
        } else if bytes[0] & 0x10 != 0 {
            let at = 12 + 4 * usize::from(bytes[0] & 0x0f) + 2;
            if let Some(length) = bytes.get_mut(at..at + 2) {
                length.copy_from_slice(&[0, random.random_range(0..8)]);
            }
        }
    }
    bytes
}

/// RFC 3550 §5.1, §5.3.1: where the payload begins.
fn payload_start(bytes: &[u8]) -> Option<usize> {
    let flags = *bytes.first()?;
    if bytes.len() < 12 || flags >> 6 != 2 {
        return None;
    }
    let mut at = 12 + 4 * usize::from(flags % 16);
    if flags & 16 != 0 {
        let length = bytes.get(at + 2..at + 4)?;
        at += 4 + 4 * (256 * usize::from(length[0]) + usize::from(length[1]));
    }
    let is_padded = flags & 32 != 0;
    (at < bytes.len() || at == bytes.len() && !is_padded).then_some(at)
}

/// RFC 3550 A.2, with room for SRTCP's trailer after the first packet.
fn is_compound(bytes: &[u8]) -> bool {
    let mut at = 0;
    let mut is_padded = false;
    while let Some(head) = bytes.get(at..at + 4) {
        let is_packet = head[0] >> 6 == 2 && (192..224).contains(&head[1]);
        let end = at + 4 + 4 * (256 * usize::from(head[2]) + usize::from(head[3]));
        if !is_packet || end > bytes.len() {
            break;
        }
        if is_padded {
            return false;
        }
        is_padded = head[0] & 32 != 0;
        at = end;
    }
    at > 0 && (at == bytes.len() || bytes.len() - at >= 4)
}

fn look(bytes: &[u8]) {
    let start = payload_start(bytes);
    let header = Header::parse(bytes);
    assert_eq!(
        header.map(|header| header.header_len),
        start,
        "{bytes:02x?}"
    );
    if let Some(header) = header {
        assert_eq!(header.header_len + header.payload_len, bytes.len());
        assert_eq!(header.seq.0.to_be_bytes(), bytes[2..4]);
        assert_eq!(header.ssrc.0.to_be_bytes(), bytes[8..12]);
    }
    assert_eq!(rtcp::is_valid(bytes), is_compound(bytes), "{bytes:02x?}");
    match rtp::packet(bytes) {
        Some(Packet::Rtcp) => assert!(is_compound(bytes) && (192..224).contains(&bytes[1])),
        Some(Packet::Rtp(_)) => assert!(start.is_some() && !(192..224).contains(&bytes[1])),
        Some(Packet::Dtls) => assert!((20..64).contains(&bytes[0])),
        None => {}
    }
}

#[test]
fn rtp_and_rtcp_headers_are_read_as_the_rfc_says() {
    rounds("rtp", 2000, |random| {
        for _ in 0..100 {
            let mut bytes = datagram(random);
            look(&bytes);
            let other = datagram(random);
            spoil(random, &mut bytes, &other);
            look(&bytes);
        }
    });
}
