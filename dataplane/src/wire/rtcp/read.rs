//! What is in a compound RTCP packet. Bytes that don't fit end the reading; nothing is guessed.

use super::{
    APPLICATION, BYE, FULL_INTRA_REQUEST, NACK, PADDING, PAYLOAD_FEEDBACK, PICTURE_LOSS,
    RECEIVER_REPORT, REMB, REMB_MANTISSA_BITS, ReportBlock, SENDER_REPORT, SenderInfo,
    TRANSPORT_FEEDBACK, VERSION,
};
use crate::wire::rtp::{Seq, Ssrc};

/// One RTCP packet.
#[derive(Debug, Clone, Copy)]
pub enum Packet<'a> {
    /// A report of who sends (RFC 3550 §6.4.1).
    SenderReport {
        /// Whose.
        ssrc: Ssrc,
        /// Its clock and counts.
        info: SenderInfo,
        /// What it receives.
        blocks: Blocks<'a>,
    },
    /// A report of who only receives (RFC 3550 §6.4.2).
    ReceiverReport {
        /// Whose.
        ssrc: Ssrc,
        /// What it receives.
        blocks: Blocks<'a>,
    },
    /// Sources that are gone (RFC 3550 §6.6).
    Bye {
        /// Which.
        sources: Ssrcs<'a>,
    },
    /// Packets are missing (RFC 4585 §6.2.1).
    Nack {
        /// Whose.
        media: Ssrc,
        /// Which.
        lost: Losses<'a>,
    },
    /// A picture is missing (RFC 4585 §6.3.1).
    PictureLoss {
        /// Whose.
        media: Ssrc,
    },
    /// A decoder refresh point is asked for (RFC 5104 §4.3.1).
    FullIntraRequest {
        /// Of whom.
        sources: Firs<'a>,
    },
    /// At most so much is to be sent (draft-alvestrand-rmcat-remb-03).
    Remb {
        /// Bits per second.
        bitrate: u64,
        /// By whom.
        sources: Ssrcs<'a>,
    },
    /// Any other, by its packet type.
    Other(u8),
}

/// The packets of a datagram, up to the first that doesn't fit.
pub fn packets(datagram: &[u8]) -> impl Iterator<Item = Packet<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let (packet, after) = next(rest)?;
        rest = after;
        Some(packet)
    })
}

fn next(bytes: &[u8]) -> Option<(Packet<'_>, &[u8])> {
    let (&[flags, kind, high, low], rest) = bytes.split_first_chunk::<4>()?;
    if flags >> 6 != VERSION || !(192..=223).contains(&kind) {
        return None;
    }
    let len = usize::from(u16::from_be_bytes([high, low])).checked_mul(4)?;
    let (mut body, rest) = rest.split_at_checked(len)?;
    if flags & PADDING != 0 {
        // RFC 3550 §6.4.1: the last octet counts the padding, itself included.
        let padding = usize::from(*body.last()?);
        body = body.get(..body.len().checked_sub(padding)?)?;
    }
    let count = flags & 0x1f;
    Some((read(kind, count, body).unwrap_or(Packet::Other(kind)), rest))
}

/// Reads a packet whose header counts `count`, or says that in its format.
fn read(kind: u8, count: u8, body: &[u8]) -> Option<Packet<'_>> {
    match (kind, count) {
        (SENDER_REPORT, _) => {
            let (ssrc, rest) = word(body)?;
            let (seconds, rest) = word(rest)?;
            let (fraction, rest) = word(rest)?;
            let (timestamp, rest) = word(rest)?;
            let (packets, rest) = word(rest)?;
            let (octets, blocks) = word(rest)?;
            let info = SenderInfo {
                ntp: u64::from(seconds) << 32 | u64::from(fraction),
                timestamp,
                packets,
                octets,
            };
            Some(Packet::SenderReport {
                ssrc: Ssrc(ssrc),
                info,
                blocks: Blocks {
                    count,
                    bytes: blocks,
                },
            })
        }
        (RECEIVER_REPORT, _) => {
            let (ssrc, bytes) = word(body)?;
            Some(Packet::ReceiverReport {
                ssrc: Ssrc(ssrc),
                blocks: Blocks { count, bytes },
            })
        }
        (BYE, _) => {
            let len = usize::from(count).checked_mul(4)?;
            Some(Packet::Bye {
                sources: Ssrcs(body.get(..len)?),
            })
        }
        (TRANSPORT_FEEDBACK, NACK) => {
            let (_, rest) = word(body)?;
            let (media, lost) = word(rest)?;
            Some(Packet::Nack {
                media: Ssrc(media),
                lost: Losses(lost),
            })
        }
        (PAYLOAD_FEEDBACK, PICTURE_LOSS) => {
            let (_, rest) = word(body)?;
            Some(Packet::PictureLoss {
                media: Ssrc(word(rest)?.0),
            })
        }
        (PAYLOAD_FEEDBACK, FULL_INTRA_REQUEST) => Some(Packet::FullIntraRequest {
            sources: Firs(body.get(8..)?),
        }),
        (PAYLOAD_FEEDBACK, APPLICATION) => remb(body.get(8..)?),
        _ => None,
    }
}

/// draft-alvestrand-rmcat-remb-03 §2.2: `REMB`, a count, 6 bits of exponent, 18 of mantissa, SSRCs.
fn remb(body: &[u8]) -> Option<Packet<'_>> {
    let (name, rest) = body.split_first_chunk::<4>()?;
    let (&[count, a, b, c], rest) = rest.split_first_chunk::<4>()?;
    if *name != REMB {
        return None;
    }
    let packed = u32::from_be_bytes([0, a, b, c]);
    let mantissa = u64::from(packed & ((1 << REMB_MANTISSA_BITS) - 1));
    let exponent = packed >> REMB_MANTISSA_BITS;
    let bitrate = match mantissa.leading_zeros() >= exponent {
        true => mantissa << exponent,
        false => u64::MAX,
    };
    let len = usize::from(count).checked_mul(4)?;
    Some(Packet::Remb {
        bitrate,
        sources: Ssrcs(rest.get(..len)?),
    })
}

/// The report blocks of a report.
#[derive(Debug, Clone, Copy)]
pub struct Blocks<'a> {
    count: u8,
    bytes: &'a [u8],
}

impl<'a> Blocks<'a> {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        let (chunks, _) = self.bytes.as_chunks::<BLOCK_BYTES>();
        chunks.iter().take(self.count.into()).filter_map(block)
    }
}

fn block(bytes: &[u8; BLOCK_BYTES]) -> Option<ReportBlock> {
    let (ssrc, rest) = word(bytes)?;
    let (lost, rest) = word(rest)?;
    let (highest, rest) = word(rest)?;
    let (jitter, rest) = word(rest)?;
    let (last_report, rest) = word(rest)?;
    let [fraction_lost, a, b, c] = lost.to_be_bytes();
    Some(ReportBlock {
        ssrc: Ssrc(ssrc),
        fraction_lost,
        lost: u32::from_be_bytes([0, a, b, c]),
        highest,
        jitter,
        last_report,
        since_last_report: word(rest)?.0,
    })
}

/// A list of sources.
#[derive(Debug, Clone, Copy)]
pub struct Ssrcs<'a>(&'a [u8]);

impl<'a> Ssrcs<'a> {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Ssrc> + use<'a> {
        let (words, _) = self.0.as_chunks::<4>();
        words.iter().map(|word| Ssrc(u32::from_be_bytes(*word)))
    }
}

/// The entries of a full intra request.
#[derive(Debug, Clone, Copy)]
pub struct Firs<'a>(&'a [u8]);

impl<'a> Firs<'a> {
    /// Of whom, and the number of the command.
    pub fn iter(&self) -> impl Iterator<Item = (Ssrc, u8)> + use<'a> {
        let (entries, _) = self.0.as_chunks::<8>();
        entries
            .iter()
            .map(|&[a, b, c, d, number, _, _, _]| (Ssrc(u32::from_be_bytes([a, b, c, d])), number))
    }
}

/// The packets that a NACK names.
#[derive(Debug, Clone, Copy)]
pub struct Losses<'a>(&'a [u8]);

impl<'a> Losses<'a> {
    /// Each of them: a packet identifier, and those of the 16 after it whose bits are set.
    pub fn iter(&self) -> impl Iterator<Item = Seq> + use<'a> {
        let (entries, _) = self.0.as_chunks::<4>();
        entries.iter().flat_map(|&[a, b, c, d]| {
            let first = u16::from_be_bytes([a, b]);
            let mask = u32::from(u16::from_be_bytes([c, d])) << 1 | 1;
            (0_u16..=16)
                .filter(move |offset| mask >> offset & 1 == 1)
                .map(move |offset| Seq(first.wrapping_add(offset)))
        })
    }
}

fn word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*word), rest))
}

const BLOCK_BYTES: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn only(bytes: &[u8]) -> Packet<'_> {
        let mut all = packets(bytes);
        let first = all.next().unwrap();
        assert!(all.next().is_none());
        first
    }

    #[test]
    fn a_nack_names_a_packet_and_a_mask_of_those_after_it() {
        let bytes = [
            0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xff, 0x80, 0x05,
        ];
        let Packet::Nack { media, lost } = only(&bytes) else {
            panic!()
        };
        assert_eq!(media, Ssrc(2));
        let lost: Vec<u16> = lost.iter().map(|seq| seq.0).collect();
        assert_eq!(lost, [0xffff, 0, 2, 15]);
    }

    #[test]
    fn requests_for_pictures_name_their_source() {
        let pli = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 7];
        assert!(matches!(only(&pli), Packet::PictureLoss { media: Ssrc(7) }));
        let fir = [
            0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 3, 0, 0, 0,
        ];
        let Packet::FullIntraRequest { sources } = only(&fir) else {
            panic!()
        };
        assert_eq!(sources.iter().collect::<Vec<_>>(), [(Ssrc(7), 3)]);
    }

    #[test]
    fn remb_is_a_mantissa_and_an_exponent() {
        // 0b000011 exponent 3, mantissa 0x20000: 131072 << 3.
        let bytes = [
            0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 0x0e, 0, 0, 0, 0,
            0, 7,
        ];
        let Packet::Remb { bitrate, sources } = only(&bytes) else {
            panic!()
        };
        assert_eq!(bitrate, 1_048_576);
        assert_eq!(sources.iter().collect::<Vec<_>>(), [Ssrc(7)]);
        let mut most = bytes;
        most[17..20].copy_from_slice(&[0xff; 3]);
        assert!(matches!(
            only(&most),
            Packet::Remb {
                bitrate: u64::MAX,
                ..
            }
        ));
    }

    #[test]
    fn reports_are_read_with_their_blocks() {
        let mut bytes = vec![0x81, 200, 0, 12, 0, 0, 0, 1];
        bytes.extend([
            0, 0, 0, 9, 0x80, 0, 0, 0, 0, 0, 0, 90, 0, 0, 0, 5, 0, 0, 1, 0,
        ]);
        bytes.extend([0, 0, 0, 2, 64, 0, 0, 3, 0, 1, 0, 4, 0, 0, 0, 6]);
        bytes.extend([1, 2, 3, 4, 0, 1, 0, 0]);
        let Packet::SenderReport { ssrc, info, blocks } = only(&bytes) else {
            panic!()
        };
        assert_eq!((ssrc, info.ntp), (Ssrc(1), 9 << 32 | 1 << 31));
        assert_eq!((info.timestamp, info.packets, info.octets), (90, 5, 256));
        let block = blocks.iter().next().unwrap();
        assert_eq!(
            (block.ssrc, block.fraction_lost, block.lost),
            (Ssrc(2), 64, 3)
        );
        assert_eq!((block.highest, block.jitter), (0x1_0004, 6));
        assert_eq!(
            (block.last_report, block.since_last_report),
            (0x0102_0304, 0x1_0000)
        );
        assert_eq!(blocks.iter().count(), 1);
    }

    #[test]
    fn bytes_that_do_not_fit_are_other_packets_or_none() {
        assert!(matches!(only(&[0x81, 205, 0, 0]), Packet::Other(205)));
        assert!(matches!(
            only(&[0x83, 203, 0, 1, 0, 0, 0, 1]),
            Packet::Other(203)
        ));
        assert!(packets(&[0x81, 205, 0, 1]).next().is_none());
        // Padding longer than the packet.
        assert!(packets(&[0xa1, 203, 0, 1, 0, 0, 0, 9]).next().is_none());
    }
}
