//! What a report to a member says of what came from it (RFC 3550 §6.4.1, A.3, A.8).

use std::time::Instant;

use crate::proto::rtp::Loss;
use crate::wire::rtcp::ReportBlock;
use crate::wire::rtp::Ssrc;

/// What came from one member, as far as reports need it beside its leg's counts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reception {
    ssrc: Option<Ssrc>,
    /// Arrival against timestamp, and how much that varies, in sixteenths of a timestamp unit.
    transit: Option<u32>,
    jitter: u32,
    /// Expected and received at the last report.
    reported: (u32, u32),
    /// The middle of the NTP time of its last report, and when that came.
    report: Option<(u32, Instant)>,
}

impl Reception {
    /// Takes note of a packet: when it came, in units of its timestamps.
    pub fn took(&mut self, ssrc: Ssrc, arrival: u32, timestamp: u32) {
        if self.ssrc != Some(ssrc) {
            *self = Self {
                ssrc: Some(ssrc),
                ..Self::default()
            };
        }
        let transit = arrival.wrapping_sub(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let forth = transit.wrapping_sub(before);
            let change = forth.min(forth.wrapping_neg()).min(JITTER_MAX);
            self.jitter = self.jitter + change - ((self.jitter + 8) >> 4);
        }
    }

    /// Takes note of its sender report with this NTP time.
    pub fn reported(&mut self, now: Instant, ntp: u64) {
        let [_, _, a, b, c, d, _, _] = ntp.to_be_bytes();
        self.report = Some((u32::from_be_bytes([a, b, c, d]), now));
    }

    /// What is to be reported; nothing where nothing came since the last time.
    pub fn block(&mut self, now: Instant, loss: &Loss) -> Option<ReportBlock> {
        let (ssrc, highest, expected, received) = loss.counted()?;
        if self.ssrc != Some(ssrc) {
            return None;
        }
        let (expected_before, received_before) = self.reported;
        let came = received.wrapping_sub(received_before);
        // Numbers that begin anew are another count.
        let is_anew = expected < expected_before || received < received_before;
        if came == 0 && !is_anew {
            return None;
        }
        self.reported = (expected, received);
        let (expected_since, came) = if is_anew {
            (expected, received)
        } else {
            (expected - expected_before, came)
        };
        let lost_since = expected_since.saturating_sub(came);
        let fraction = (u64::from(lost_since) * 256).checked_div(u64::from(expected_since));
        let (last_report, since_last_report) = self.report.map_or((0, 0), |(middle, at)| {
            let since = now.saturating_duration_since(at).as_nanos();
            let units = since.saturating_mul(1 << 16) / 1_000_000_000;
            (middle, u32::try_from(units).unwrap_or(u32::MAX))
        });
        Some(ReportBlock {
            ssrc,
            fraction_lost: u8::try_from(fraction.unwrap_or(0)).unwrap_or(u8::MAX),
            lost: expected.saturating_sub(received),
            highest,
            jitter: self.jitter >> 4,
            last_report,
            since_last_report,
        })
    }
}

/// Two seconds of video: no packet is late by more, and sums stay small.
const JITTER_MAX: u32 = 180_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wire::rtp::{Header, Seq};

    fn header(seq: u16) -> Header {
        Header {
            seq: Seq(seq),
            ssrc: Ssrc(7),
            header_len: 12,
            payload_len: 160,
        }
    }

    #[test]
    fn a_block_says_what_was_lost_since_the_last_one_and_in_all() {
        #[expect(clippy::disallowed_methods, reason = "a time to begin with")]
        let now = Instant::now();
        let (mut reception, mut loss) = (Reception::default(), Loss::default());
        let mut receive = |reception: &mut Reception, seq: u16| {
            loss.received(&header(seq));
            reception.took(Ssrc(7), 160 * u32::from(seq), 160 * u32::from(seq));
            loss
        };
        for seq in [1, 2, 4] {
            receive(&mut reception, seq);
        }
        let counted = receive(&mut reception, 5);
        reception.reported(now, 0x0001_0203_0405_0607);
        let later = now + Duration::from_millis(500);
        let block = reception.block(later, &counted).unwrap();
        assert_eq!((block.ssrc, block.highest), (Ssrc(7), 5));
        assert_eq!((block.fraction_lost, block.lost), (51, 1), "one of five");
        assert_eq!(
            (block.last_report, block.since_last_report),
            (0x0203_0405, 1 << 15)
        );
        assert_eq!(block.jitter, 0);
        assert_eq!(reception.block(later, &counted), None, "nothing came since");
        let counted = receive(&mut reception, 6);
        let block = reception.block(later, &counted).unwrap();
        assert_eq!((block.fraction_lost, block.lost), (0, 1));
    }

    #[test]
    fn jitter_is_how_much_the_transit_varies() {
        let mut reception = Reception::default();
        reception.took(Ssrc(7), 0, 0);
        reception.took(Ssrc(7), 160 + 16, 160);
        // RFC 3550 A.8: a sixteenth of the change.
        assert_eq!(reception.jitter, 16);
        reception.took(Ssrc(8), 0, 9_999);
        assert_eq!(reception.jitter, 0, "another source");
    }
}
