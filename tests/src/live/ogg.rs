//! Ogg files of Opus (RFC 3533, RFC 7845), enough to hand packets to other programs and to take theirs.

/// Samples at 48 kHz that an encoder's beginning takes: libopus's at its usual setting.
const PRE_SKIP: u16 = 312;

/// A file of one channel with the packets, each of `samples` at 48 kHz.
#[must_use]
pub fn write(packets: &[Vec<u8>], samples: u64) -> Vec<u8> {
    let mut head = b"OpusHead\x01\x01".to_vec();
    head.extend(PRE_SKIP.to_le_bytes());
    head.extend(48_000_u32.to_le_bytes());
    head.extend([0, 0, 0]);
    let tags = b"OpusTags\x05\0\0\0tests\0\0\0\0".to_vec();
    let mut file = Vec::new();
    page(&mut file, &head, (2, 0, 0));
    page(&mut file, &tags, (0, 0, 1));
    let last = packets.len().saturating_sub(1);
    for ((at, packet), number) in packets.iter().enumerate().zip(1..) {
        let flags = if at == last { 4 } else { 0 };
        let sequence = u32::try_from(number + 1).unwrap_or(u32::MAX);
        page(&mut file, packet, (flags, number * samples, sequence));
    }
    file
}

/// Adds a page with one packet: flags, granule position, sequence number.
fn page(file: &mut Vec<u8>, packet: &[u8], (flags, granule, sequence): (u8, u64, u32)) {
    let begin = file.len();
    file.extend(b"OggS\0");
    file.push(flags);
    file.extend(granule.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    file.extend(sequence.to_le_bytes());
    file.extend([0; 4]);
    let mut lacing = vec![255; packet.len() / 255];
    lacing.push(u8::try_from(packet.len() % 255).unwrap_or(0));
    file.push(u8::try_from(lacing.len()).unwrap_or(255));
    file.extend(lacing);
    file.extend(packet);
    let sum = checksum(&file[begin..]).to_le_bytes();
    file[begin + 22..begin + 26].copy_from_slice(&sum);
}

/// RFC 3533 §6: a CRC of 32 bits, neither inverted nor reflected.
fn checksum(page: &[u8]) -> u32 {
    page.iter().fold(0, |sum, octet| {
        (0..8).fold(sum ^ u32::from(*octet) << 24, |sum, _| {
            if sum >> 31 == 1 {
                sum << 1 ^ 0x04c1_1db7
            } else {
                sum << 1
            }
        })
    })
}

/// The packets of a file, without its two heads.
///
/// # Panics
///
/// It isn't an Ogg file.
#[must_use]
pub fn read(file: &[u8]) -> Vec<Vec<u8>> {
    let (mut packets, mut packet, mut at) = (Vec::new(), Vec::new(), 0);
    while at < file.len() {
        assert_eq!(&file[at..at + 4], b"OggS", "a page at {at}");
        let segments = usize::from(file[at + 26]);
        let lacing = &file[at + 27..at + 27 + segments];
        at += 27 + segments;
        for length in lacing {
            packet.extend(&file[at..at + usize::from(*length)]);
            at += usize::from(*length);
            if *length < 255 {
                packets.push(std::mem::take(&mut packet));
            }
        }
    }
    packets.split_off(2.min(packets.len()))
}

#[cfg(test)]
mod tests {
    use super::{read, write};

    #[test]
    fn packets_come_back_whatever_their_length() {
        let packets: Vec<Vec<u8>> = [1, 254, 255, 256, 510, 1_300].map(|n| vec![7; n]).into();
        assert_eq!(read(&write(&packets, 960)), packets);
    }
}
