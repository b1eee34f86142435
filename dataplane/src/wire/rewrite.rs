//! What a relay that is a source of its own writes anew in a fixed RTP header (RFC 3550 §5.1).

use super::rtp::{Seq, Ssrc};

/// The fields of a fixed RTP header that differ from one side of a mixer or translator to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields {
    /// The marker bit.
    pub marker: bool,
    /// The payload type, 0 to 127.
    pub payload_type: u8,
    /// The sequence number.
    pub seq: Seq,
    /// The timestamp.
    pub time: u32,
    /// The source.
    pub ssrc: Ssrc,
}

impl Fields {
    /// Reads them from a packet; `None` where it is shorter than a header.
    #[must_use]
    pub fn read(packet: &[u8]) -> Option<Self> {
        let (&[_, second, q0, q1, t0, t1, t2, t3, s0, s1, s2, s3], _) =
            packet.split_first_chunk::<FIXED_BYTES>()?;
        Some(Self {
            marker: second & MARKER != 0,
            payload_type: second & !MARKER,
            seq: Seq(u16::from_be_bytes([q0, q1])),
            time: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: Ssrc(u32::from_be_bytes([s0, s1, s2, s3])),
        })
    }

    /// Writes them into a packet; one that is shorter than a header stays as it is.
    pub fn write(&self, packet: &mut [u8]) {
        let Some((head, _)) = packet.split_first_chunk_mut::<FIXED_BYTES>() else {
            return;
        };
        let [q0, q1] = self.seq.0.to_be_bytes();
        let [t0, t1, t2, t3] = self.time.to_be_bytes();
        let [s0, s1, s2, s3] = self.ssrc.0.to_be_bytes();
        let second = self.payload_type & !MARKER | if self.marker { MARKER } else { 0 };
        let [first, ..] = *head;
        *head = [first, second, q0, q1, t0, t1, t2, t3, s0, s1, s2, s3];
    }
}

const FIXED_BYTES: usize = 12;
const MARKER: u8 = 0b1000_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_changes() {
        let mut packet = [0xb1, 0xe0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9, 9];
        let fields = Fields::read(&packet).unwrap();
        assert_eq!((fields.marker, fields.payload_type), (true, 96));
        assert_eq!((fields.seq, fields.time, fields.ssrc), (Seq(1), 2, Ssrc(3)));
        let new = Fields {
            marker: false,
            payload_type: 8,
            seq: Seq(0x0102),
            time: 0x0304_0506,
            ssrc: Ssrc(0x0708_090a),
        };
        new.write(&mut packet);
        assert_eq!(packet, [0xb1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 9, 9]);
        assert_eq!(Fields::read(&packet), Some(new));
        assert_eq!(Fields::read(&packet[..11]), None);
    }
}
