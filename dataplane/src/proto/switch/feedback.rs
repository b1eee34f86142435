//! What members say of what they get: lost packets are sent again, the rest goes on to the source,
//! once for all who said it.

use std::time::{Duration, Instant};

use crate::limits::{SWITCH_HISTORY_PACKETS, SWITCH_NACKS};
use crate::wire::rtcp::{self, Losses, Packet};
use crate::wire::rtp::{Seq, Ssrc};

use super::source::Ask;
use super::{Outlet, Switch};

impl Switch {
    /// Takes what a member says.
    pub(super) fn take_rtcp(
        &mut self,
        seat: u32,
        datagram: &[u8],
        now: Instant,
        out: &mut impl Outlet,
    ) {
        let ssrc = self.receivers[seat as usize].ssrc;
        for packet in rtcp::packets(datagram) {
            match packet {
                Packet::SenderReport { ssrc, info, .. } => {
                    let stream = self.sources[seat as usize].stream.as_mut();
                    if let Some(stream) = stream.filter(|stream| stream.ssrc == ssrc) {
                        let [_, _, a, b, c, d, _, _] = info.ntp.to_be_bytes();
                        stream.report = Some((u32::from_be_bytes([a, b, c, d]), now));
                    }
                }
                Packet::Bye { sources } => {
                    for gone in sources.iter() {
                        self.ends(seat, gone, now);
                    }
                }
                Packet::Nack { media, lost } if media == ssrc => {
                    self.take_nack(seat, lost, now, out);
                }
                Packet::PictureLoss { media } if media == ssrc => self.want_key(seat),
                Packet::FullIntraRequest { sources } => {
                    if sources.iter().any(|(media, _)| media == ssrc) {
                        self.want_key(seat);
                    }
                }
                Packet::Remb { bitrate, sources } => {
                    if sources.iter().any(|media| media == ssrc) {
                        self.take_rate(seat, bitrate, now, out);
                    }
                }
                Packet::ReceiverReport { .. }
                | Packet::Nack { .. }
                | Packet::PictureLoss { .. }
                | Packet::Other(_) => {}
            }
        }
        self.ask_all(now, out);
    }

    /// Asks for the key frames that are wanted and may be asked for.
    pub(super) fn ask_all(&mut self, now: Instant, out: &mut impl Outlet) {
        for place in 0..self.wanted.len() {
            let seat = self.wanted[place];
            let source = &mut self.sources[seat as usize];
            if source.key_at(now).is_none_or(|at| now < at) {
                continue;
            }
            let is_for_new = !source.waiting.is_empty();
            let Some(stream) = &source.stream else {
                continue;
            };
            let media = stream.ssrc;
            let ask = source.key.make(stream.payload, is_for_new, now);
            self.counts.key_requests += 1;
            self.report(seat, now, out, |writer, own| match ask {
                Ask::PictureLoss => writer.picture_loss(own, media),
                Ask::FullIntra(number) => writer.full_intra_request(own, media, number),
            });
        }
    }

    /// A member's stream ends.
    fn ends(&mut self, seat: u32, ssrc: Ssrc, now: Instant) {
        let source = &mut self.sources[seat as usize];
        if source
            .stream
            .as_ref()
            .is_some_and(|stream| stream.ssrc == ssrc)
        {
            source.live = false;
            self.choose(now);
        }
    }

    /// A receiver can't decode what it gets.
    fn want_key(&mut self, seat: u32) {
        if let Some(watch) = self.receivers[seat as usize].watching {
            self.sources[watch.source as usize].key.asked = true;
        }
    }

    /// A receiver has lost packets: they are sent again, or asked of the source.
    fn take_nack(&mut self, seat: u32, lost: Losses<'_>, now: Instant, out: &mut impl Outlet) {
        let Some(watch) = self.receivers[seat as usize].watching else {
            return;
        };
        let mut missing = [Seq(0); SWITCH_NACKS];
        let mut count = 0;
        for seq in lost.iter().take(LOOKS_MAX) {
            let receiver = &self.receivers[seat as usize];
            let stream = self.sources[watch.source as usize].stream.as_ref();
            let (Some(stream), Some(own)) = (stream, receiver.source_seq(seq.0)) else {
                return;
            };
            let number = stream.arrivals.extend(Seq(own));
            let highest = stream.arrivals.highest();
            let takes_nack = stream.payload.feedback.nack;
            let is_recent = number <= highest && highest - number < SWITCH_HISTORY_PACKETS as u64;
            if number < watch.first || !is_recent || self.send_again(seat, number, now, out) {
                continue;
            }
            let history = self.sources[watch.source as usize].history.as_mut();
            if let Some(place) = missing.get_mut(count)
                && takes_nack
                && history.is_some_and(|history| history.ask(number, now))
            {
                *place = Seq(own);
                count += 1;
            }
        }
        let stream = self.sources[watch.source as usize].stream.as_ref();
        let missing = missing.get(..count).unwrap_or_default();
        if let Some(media) = stream.map(|stream| stream.ssrc)
            && !missing.is_empty()
        {
            self.report(watch.source, now, out, |writer, own| {
                writer.nack(own, media, missing);
            });
        }
    }

    /// A receiver says what bit rate it bears: the source is told the least of all.
    fn take_rate(&mut self, seat: u32, rate: u64, now: Instant, out: &mut impl Outlet) {
        let receiver = &mut self.receivers[seat as usize];
        receiver.set_rate(rate, now);
        let Some(watch) = receiver.watching else {
            return;
        };
        let source = &self.sources[watch.source as usize];
        let Some(stream) = source.stream.as_ref() else {
            return;
        };
        let pause = if rate < source.bound.told {
            RATE_DOWN
        } else {
            RATE_UP
        };
        let is_due = source.bound.at.is_none_or(|at| now >= at + pause);
        if !stream.payload.feedback.remb || !is_due {
            return;
        }
        let watchers = source.watchers.iter();
        let rates = watchers.filter_map(|&seat| self.receivers[seat as usize].rate(now));
        let least = rates.min().unwrap_or(rate);
        let media = stream.ssrc;
        let source = &mut self.sources[watch.source as usize];
        (source.bound.told, source.bound.at) = (least, Some(now));
        self.report(watch.source, now, out, |writer, own| {
            writer.remb(own, media, least);
        });
    }
}

/// Packets that are looked for of those that one NACK names.
const LOOKS_MAX: usize = 256;
/// Between two bounds on the bit rate that a source is told, where it has to send less, and where it
/// may send more.
const RATE_DOWN: Duration = Duration::from_millis(100);
const RATE_UP: Duration = Duration::from_secs(1);
