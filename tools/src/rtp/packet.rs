//! What a packet of the load carries: an RTP header (RFC 3550 §5.1), a stamp, and a filling that
//! the far end can check.
//!
//! ```text
//!  0            12            16           20              28
//!  | RTP header | stream u32 | seq u32 | sent u64 ns | filling ... |
//! ```

use clap::ValueEnum;

/// Bytes of the RTP header and of the stamp behind it.
const HEAD: usize = 12;
const STAMPED: usize = HEAD + 16;
/// The longest packet of any codec here.
pub const PACKET_BYTES: usize = 256;

/// What the calls speak; it decides the size of packets and, without `--rate`, how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Codec {
    /// PCMU: 160 bytes of sound every 20 ms.
    G711,
    /// 20 bytes of sound every 20 ms.
    G729,
    /// 23.85 kbit/s, octet-aligned: 62 bytes every 20 ms (RFC 4867).
    AmrWb,
    /// 24 kbit/s: 60 bytes every 20 ms.
    Opus,
}

impl Codec {
    /// Bytes of one packet, RTP header included.
    #[must_use]
    pub const fn packet_bytes(self) -> usize {
        match self {
            Self::G711 => HEAD + 160,
            Self::G729 => HEAD + 20,
            Self::AmrWb => HEAD + 62,
            Self::Opus => HEAD + 60,
        }
    }

    /// Packets per second in one direction.
    #[must_use]
    pub const fn packets_per_second(self) -> u64 {
        50
    }

    /// The payload type in the header and in the description.
    #[must_use]
    pub const fn payload_type(self) -> u8 {
        match self {
            Self::G711 => 0,
            Self::G729 => 18,
            Self::AmrWb => 98,
            Self::Opus => 111,
        }
    }

    /// How much the RTP timestamp grows per packet.
    const fn timestamp_step(self) -> u32 {
        match self {
            Self::G711 | Self::G729 => 160,
            Self::AmrWb => 320,
            Self::Opus => 960,
        }
    }

    /// The value of `a=rtpmap` after the payload type.
    #[must_use]
    pub const fn rtpmap(self) -> &'static str {
        match self {
            Self::G711 => "PCMU/8000",
            Self::G729 => "G729/8000",
            Self::AmrWb => "AMR-WB/16000",
            Self::Opus => "opus/48000/2",
        }
    }
}

/// Who sent a packet and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The leg that sent it: call and direction.
    pub stream: u32,
    /// Its number among the stream's packets, from 0.
    pub seq: u32,
    /// When it was sent: nanoseconds of the system's real-time clock.
    pub sent_ns: u64,
}

/// Writes a whole packet into `bytes`, as long as `codec` says.
pub fn write(bytes: &mut [u8; PACKET_BYTES], codec: Codec, stamp: Stamp) -> &[u8] {
    let length = codec.packet_bytes();
    bytes[..HEAD].copy_from_slice(&header(codec, stamp));
    bytes[HEAD..HEAD + 4].copy_from_slice(&stamp.stream.to_be_bytes());
    bytes[HEAD + 4..HEAD + 8].copy_from_slice(&stamp.seq.to_be_bytes());
    bytes[HEAD + 8..STAMPED].copy_from_slice(&stamp.sent_ns.to_be_bytes());
    bytes[STAMPED..length].copy_from_slice(filling(stamp, length - STAMPED));
    &bytes[..length]
}

/// Reads the stamp of a packet; `None` when any byte of it isn't what was sent.
#[must_use]
pub fn read(bytes: &[u8], codec: Codec) -> Option<Stamp> {
    if bytes.len() != codec.packet_bytes() {
        return None;
    }
    let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let stamp = Stamp {
        stream: word(HEAD)?,
        seq: word(HEAD + 4)?,
        sent_ns: u64::from_be_bytes(bytes.get(HEAD + 8..STAMPED)?.try_into().ok()?),
    };
    let whole = bytes[..HEAD] == header(codec, stamp)
        && bytes[STAMPED..] == *filling(stamp, bytes.len() - STAMPED);
    whole.then_some(stamp)
}

fn header(codec: Codec, stamp: Stamp) -> [u8; HEAD] {
    let mut header = [0; HEAD];
    header[0] = 0x80;
    header[1] = codec.payload_type();
    header[2..4].copy_from_slice(&stamp.seq.to_be_bytes()[2..]);
    let time = stamp.seq.wrapping_mul(codec.timestamp_step());
    header[4..8].copy_from_slice(&time.to_be_bytes());
    header[8..].copy_from_slice(&(0x4D50_0000 ^ stamp.stream).to_be_bytes());
    header
}

/// Bytes that differ from packet to packet and from stream to stream.
fn filling(stamp: Stamp, length: usize) -> &'static [u8] {
    let [.., mixed] = (stamp.stream.wrapping_mul(31) ^ stamp.seq).to_be_bytes();
    let from = usize::from(mixed);
    &FILLING[from..from + length]
}

static FILLING: [u8; 512] = {
    let mut bytes = [0; 512];
    let mut state = 0x9E37_79B9_u32;
    let mut at = 0;
    while at < bytes.len() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes[at] = state.to_be_bytes()[0];
        at += 1;
    }
    bytes
};

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::{Codec, PACKET_BYTES, Stamp, read, write};

    const STAMP: Stamp = Stamp {
        stream: 999,
        seq: 70_000,
        sent_ns: 1_700_000_000_000_000_001,
    };

    #[test]
    fn a_packet_of_every_codec_reads_as_it_was_written() {
        for codec in Codec::value_variants() {
            let mut bytes = [0; PACKET_BYTES];
            let packet = write(&mut bytes, *codec, STAMP);
            assert_eq!(packet.len(), codec.packet_bytes());
            assert_eq!(read(packet, *codec), Some(STAMP), "{codec:?}");
        }
    }

    #[test]
    fn a_changed_byte_outside_of_the_stamp_is_seen() {
        let mut bytes = [0; PACKET_BYTES];
        let packet = write(&mut bytes, Codec::G711, STAMP).to_vec();
        for at in (0..12).chain(28..packet.len()) {
            let mut changed = packet.clone();
            changed[at] ^= 1;
            assert_eq!(read(&changed, Codec::G711), None, "byte {at}");
        }
        assert_eq!(read(&packet[1..], Codec::G711), None);
    }
}
