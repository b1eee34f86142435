//! A compound RTCP packet, written into a buffer; what doesn't fit is left out as a whole.

use super::{
    APPLICATION, BYE, FULL_INTRA_REQUEST, NACK, PAYLOAD_FEEDBACK, PICTURE_LOSS, RECEIVER_REPORT,
    REMB, REMB_MANTISSA_BITS, ReportBlock, SENDER_REPORT, SOURCE_DESCRIPTION, SenderInfo,
    TRANSPORT_FEEDBACK, VERSION,
};
use crate::wire::rtp::{Seq, Ssrc};

/// Writes one compound packet.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// Begins one in a buffer.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    /// What was written.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }

    /// Writes a report of who sends, with what it receives (RFC 3550 §6.4.1).
    pub fn sender_report(&mut self, ssrc: Ssrc, info: &SenderInfo, block: Option<&ReportBlock>) {
        self.packet(block.is_some().into(), SENDER_REPORT, |body| {
            body.put(&ssrc.0.to_be_bytes())?;
            body.put(&info.ntp.to_be_bytes())?;
            body.put(&info.timestamp.to_be_bytes())?;
            body.put(&info.packets.to_be_bytes())?;
            body.put(&info.octets.to_be_bytes())?;
            block.map_or(Some(()), |block| body.block(block))
        });
    }

    /// Writes a report of who only receives (RFC 3550 §6.4.2).
    pub fn receiver_report(&mut self, ssrc: Ssrc, block: Option<&ReportBlock>) {
        self.packet(block.is_some().into(), RECEIVER_REPORT, |body| {
            body.put(&ssrc.0.to_be_bytes())?;
            block.map_or(Some(()), |block| body.block(block))
        });
    }

    /// Writes the canonical name of a source (RFC 3550 §6.5.1); 255 octets at most.
    pub fn cname(&mut self, ssrc: Ssrc, name: &[u8]) {
        self.packet(1, SOURCE_DESCRIPTION, |body| {
            body.put(&ssrc.0.to_be_bytes())?;
            body.put(&[1, u8::try_from(name.len()).ok()?])?;
            body.put(name)?;
            // The list of items ends with a null octet, and the chunk with a word.
            body.put(&[0])?;
            while body.len % 4 != 0 {
                body.put(&[0])?;
            }
            Some(())
        });
    }

    /// Writes that a source is gone (RFC 3550 §6.6).
    pub fn bye(&mut self, ssrc: Ssrc) {
        self.packet(1, BYE, |body| body.put(&ssrc.0.to_be_bytes()));
    }

    /// Writes that a picture is missing (RFC 4585 §6.3.1).
    pub fn picture_loss(&mut self, sender: Ssrc, media: Ssrc) {
        self.packet(PICTURE_LOSS, PAYLOAD_FEEDBACK, |body| {
            body.put(&sender.0.to_be_bytes())?;
            body.put(&media.0.to_be_bytes())
        });
    }

    /// Writes that a decoder refresh point is asked for; a repetition has the number of the
    /// command that it repeats (RFC 5104 §4.3.1).
    pub fn full_intra_request(&mut self, sender: Ssrc, media: Ssrc, number: u8) {
        self.packet(FULL_INTRA_REQUEST, PAYLOAD_FEEDBACK, |body| {
            body.put(&sender.0.to_be_bytes())?;
            body.put(&[0; 4])?;
            body.put(&media.0.to_be_bytes())?;
            body.put(&[number, 0, 0, 0])
        });
    }

    /// Writes which packets are missing, in their order (RFC 4585 §6.2.1).
    pub fn nack(&mut self, sender: Ssrc, media: Ssrc, lost: &[Seq]) {
        self.packet(NACK, TRANSPORT_FEEDBACK, |body| {
            body.put(&sender.0.to_be_bytes())?;
            body.put(&media.0.to_be_bytes())?;
            let mut rest = lost.iter().peekable();
            while let Some(first) = rest.next() {
                let mut mask = 0_u16;
                let offset = |seq: &&Seq| match seq.0.wrapping_sub(first.0) {
                    0 => Some(0),
                    offset @ 1..=16 => Some(1 << offset.saturating_sub(1)),
                    _ => None,
                };
                while let Some(bit) = rest.peek().and_then(offset) {
                    mask |= bit;
                    rest.next();
                }
                body.put(&first.0.to_be_bytes())?;
                body.put(&mask.to_be_bytes())?;
            }
            Some(())
        });
    }

    /// Writes how much a source is to send at most, in bits per second
    /// (draft-alvestrand-rmcat-remb-03).
    pub fn remb(&mut self, sender: Ssrc, media: Ssrc, bitrate: u64) {
        self.packet(APPLICATION, PAYLOAD_FEEDBACK, |body| {
            body.put(&sender.0.to_be_bytes())?;
            body.put(&[0; 4])?;
            body.put(&REMB)?;
            let bits = u64::BITS.saturating_sub(bitrate.leading_zeros());
            let exponent = bits.saturating_sub(REMB_MANTISSA_BITS);
            let mantissa = u32::try_from(bitrate >> exponent).ok()?;
            let [_, a, b, c] = (exponent << REMB_MANTISSA_BITS | mantissa).to_be_bytes();
            body.put(&[1, a, b, c])?;
            body.put(&media.0.to_be_bytes())
        });
    }

    /// Writes a packet's header and body, or nothing where they don't fit.
    fn packet(
        &mut self,
        count: u8,
        kind: u8,
        write: impl FnOnce(&mut Body<'_>) -> Option<()>,
    ) -> Option<()> {
        let (header, rest) = self
            .buffer
            .get_mut(self.len..)?
            .split_first_chunk_mut::<4>()?;
        let mut body = Body {
            bytes: rest,
            len: 0,
        };
        write(&mut body)?;
        let [high, low] = u16::try_from(body.len / 4).ok()?.to_be_bytes();
        *header = [VERSION << 6 | count, kind, high, low];
        self.len = self.len.checked_add(4)?.checked_add(body.len)?;
        Some(())
    }
}

struct Body<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl Body<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len.checked_add(bytes.len())?;
        self.bytes.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }

    fn block(&mut self, block: &ReportBlock) -> Option<()> {
        let [_, a, b, c] = block.lost.min(LOST_MAX).to_be_bytes();
        self.put(&block.ssrc.0.to_be_bytes())?;
        self.put(&[block.fraction_lost, a, b, c])?;
        self.put(&block.highest.to_be_bytes())?;
        self.put(&block.jitter.to_be_bytes())?;
        self.put(&block.last_report.to_be_bytes())?;
        self.put(&block.since_last_report.to_be_bytes())
    }
}

/// The most that 24 bits with a sign hold.
const LOST_MAX: u32 = 0x7f_ffff;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::rtcp::is_valid;

    fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut buffer = [0xee; 128];
        let mut writer = Writer::new(&mut buffer);
        write(&mut writer);
        assert!(is_valid(writer.bytes()));
        writer.bytes().to_vec()
    }

    #[test]
    fn requests_for_pictures_are_laid_out_as_the_rfcs_say() {
        assert_eq!(
            written(|writer| writer.picture_loss(Ssrc(1), Ssrc(7))),
            [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 7]
        );
        assert_eq!(
            written(|writer| writer.full_intra_request(Ssrc(1), Ssrc(7), 3)),
            [
                0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 3, 0, 0, 0
            ]
        );
    }

    #[test]
    fn a_nack_packs_losses_into_masks() {
        let lost = [0xffff, 0, 2, 15, 16, 40].map(Seq);
        assert_eq!(
            written(|writer| writer.nack(Ssrc(1), Ssrc(2), &lost)),
            [
                0x81, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xff, 0x80, 0x05, 0, 16, 0, 0, 0,
                40, 0, 0
            ]
            .map(u8::from)
            .to_vec()
        );
    }

    #[test]
    fn remb_keeps_eighteen_bits_of_a_bitrate() {
        let remb = |bitrate| written(|writer| writer.remb(Ssrc(1), Ssrc(7), bitrate));
        assert_eq!(
            remb(1_048_576),
            [
                0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 0x0e, 0, 0, 0,
                0, 0, 7
            ]
        );
        assert_eq!(remb(1000).get(16..20), Some([1, 0, 3, 0xe8].as_slice()));
        assert_eq!(remb(u64::MAX).len(), 24);
    }

    #[test]
    fn a_report_has_its_block_and_its_name() {
        let block = ReportBlock {
            ssrc: Ssrc(2),
            fraction_lost: 64,
            lost: 0x0100_0000,
            highest: 0x1_0004,
            jitter: 6,
            last_report: 0x0102_0304,
            since_last_report: 0x1_0000,
        };
        let info = SenderInfo {
            ntp: 9 << 32 | 1 << 31,
            timestamp: 90,
            packets: 5,
            octets: 256,
        };
        let bytes = written(|writer| {
            writer.sender_report(Ssrc(1), &info, Some(&block));
            writer.cname(Ssrc(1), b"ab");
            writer.bye(Ssrc(1));
        });
        let mut expected = vec![0x81, 200, 0, 12, 0, 0, 0, 1];
        expected.extend([
            0, 0, 0, 9, 0x80, 0, 0, 0, 0, 0, 0, 90, 0, 0, 0, 5, 0, 0, 1, 0,
        ]);
        expected.extend([0, 0, 0, 2, 64, 0x7f, 0xff, 0xff, 0, 1, 0, 4, 0, 0, 0, 6]);
        expected.extend([1, 2, 3, 4, 0, 1, 0, 0]);
        expected.extend([0x81, 202, 0, 3, 0, 0, 0, 1, 1, 2, b'a', b'b', 0, 0, 0, 0]);
        expected.extend([0x81, 203, 0, 1, 0, 0, 0, 1]);
        assert_eq!(bytes, expected);
        let empty = written(|writer| writer.receiver_report(Ssrc(1), None));
        assert_eq!(empty, [0x80, 201, 0, 1, 0, 0, 0, 1]);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut buffer = [0; 20];
        let mut writer = Writer::new(&mut buffer);
        writer.receiver_report(Ssrc(1), None);
        writer.full_intra_request(Ssrc(1), Ssrc(2), 0);
        assert_eq!(writer.bytes().len(), 8);
        writer.picture_loss(Ssrc(1), Ssrc(2));
        assert_eq!(writer.bytes().len(), 20);
    }
}
