//! Reports of the relay's to its members (RFC 3550 §6.4): on the stream that a member gets, and on
//! what came from it. They go with packets that come or leave, so a quiet room sends none.

use std::time::{Duration, Instant};

use crate::limits::SWITCH_REPORT_MS;
use crate::wire::rtcp::{ReportBlock, SenderInfo, Writer};
use crate::wire::rtp::Ssrc;

use super::arrivals::low_32;
use super::source::Stream;
use super::{Outlet, Seat, Switch};

impl Switch {
    /// Sends a member a report, with what else there is to say in the same compound packet.
    pub(super) fn report(
        &mut self,
        seat: u32,
        now: Instant,
        out: &mut impl Outlet,
        more: impl FnOnce(&mut Writer<'_>, Ssrc),
    ) {
        let report_at = self.report_time(now);
        let own = self.sources[seat as usize].stream.as_mut();
        let block = own.and_then(|stream| stream.block(now));
        let receiver = &mut self.receivers[seat as usize];
        let ssrc = receiver.ssrc;
        let mut buffer = [0; REPORT_BYTES];
        let mut writer = Writer::new(&mut buffer);
        // RFC 3550 §6.4: a sender is who has sent since the last report but one.
        if receiver.sent == receiver.sent_at_reports[0] {
            writer.receiver_report(ssrc, block.as_ref());
        } else {
            let watched = receiver.watching.map(|watch| watch.source as usize);
            let stream = watched.and_then(|source| self.sources[source].stream.as_ref());
            let info = SenderInfo {
                ntp: self.spec.clock.read(now),
                timestamp: receiver.timestamp(stream, now),
                packets: low_32(receiver.sent),
                octets: low_32(receiver.octets),
            };
            writer.sender_report(ssrc, &info, block.as_ref());
        }
        writer.cname(ssrc, &self.spec.cname);
        more(&mut writer, ssrc);
        receiver.sent_at_reports = [receiver.sent_at_reports[1], receiver.sent];
        receiver.report_at = report_at;
        out.rtcp(Seat(seat), writer.bytes());
    }

    /// Sends the reports that are due.
    pub(super) fn report_due(&mut self, now: Instant, out: &mut impl Outlet) {
        while let Some(seat) = self.due.pop() {
            self.report(seat, now, out, |_, _| {});
        }
    }

    /// When a report is due: half to one and a half of the interval from now, so that those of many
    /// members don't come at once (RFC 3550 §6.3.1).
    pub(super) fn report_time(&mut self, now: Instant) -> Instant {
        let span = self.next_random() % SWITCH_REPORT_MS;
        now + Duration::from_millis(SWITCH_REPORT_MS / 2 + span)
    }

    /// A number that isn't to be guessed by chance; SSRCs and first sequence numbers need no more
    /// (splitmix64).
    pub(super) fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

impl Stream {
    /// What is reported of it.
    fn block(&mut self, now: Instant) -> Option<ReportBlock> {
        let (fraction_lost, lost, highest, jitter) = self.arrivals.report()?;
        let (last_report, since) = self.report.map_or((0, 0), |(middle, at)| {
            let since = now.saturating_duration_since(at).as_nanos();
            let units = since.saturating_mul(1 << 16) / 1_000_000_000;
            (middle, u32::try_from(units).unwrap_or(u32::MAX))
        });
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost,
            lost,
            highest,
            jitter,
            last_report,
            since_last_report: since,
        })
    }
}

/// A sender report with a block, a name of 64 octets, and the longest NACK.
const REPORT_BYTES: usize = 512;
