//! What a member gets: one stream of the relay's, whichever source is behind it.
//!
//! Sequence numbers, timestamps and VP8's counters of pictures go on when the source changes. They
//! are those of the source plus a difference, and so the same for a packet that is sent again.

use std::time::{Duration, Instant};

use crate::api::{RtpFormats, VideoCodec, VideoFeedback};
use crate::limits::{SWITCH_RATE_MS, SWITCH_RESEND_MS, SWITCH_RESENDS};
use crate::wire::rtp::Ssrc;

use super::arrivals::{low_16, ticks};
use super::packet::{Facts, Head, Incoming, Rewrite};
use super::payload::Descriptor;
use super::source::Stream;

/// A payload type of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) payload_type: u8,
    pub(super) format: u16,
    pub(super) codec: Option<VideoCodec>,
    pub(super) feedback: VideoFeedback,
}

/// What a member gets, and what it may send and get.
#[derive(Debug)]
pub(super) struct Receiver {
    /// Of the one stream that it gets; requests to it come from this one, too.
    pub(super) ssrc: Ssrc,
    pub(super) may_receive: bool,
    pub(super) payloads: Box<[Payload]>,
    pub(super) orientation: Option<u8>,
    pub(super) watching: Option<Watch>,
    pub(super) waiting: Option<Wait>,
    past: Past,
    pub(super) sent: u64,
    pub(super) octets: u64,
    /// What was sent at the last two reports.
    pub(super) sent_at_reports: [u64; 2],
    pub(super) report_at: Instant,
    resends: (Option<Instant>, u16),
    /// The bit rate that it bears, and when it said so.
    rate: Option<(u64, Instant)>,
}

/// The source that it waits for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    pub(super) source: u32,
    /// Its place among those who wait.
    pub(super) at: usize,
}

/// The source that it gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    pub(super) source: u32,
    /// Its place among those who watch.
    pub(super) at: usize,
    /// The first packet that it gets.
    pub(super) first: u64,
    format: u16,
    payload_type: u8,
    seq: u16,
    timestamp: u32,
    pictures: u16,
    base_layers: u8,
}

/// Where its stream was when it lost its source.
#[derive(Debug, Clone, Copy)]
struct Past {
    seq: u16,
    timestamp: u32,
    /// When that timestamp was sent; `None`: nothing was.
    at: Option<Instant>,
    picture: u16,
    base_layer: u8,
}

impl Receiver {
    /// Makes one that may do nothing yet. Its numbers begin anywhere (RFC 3550 §5.1).
    pub(super) fn new(random: u64, ssrc: Ssrc, report_at: Instant) -> Self {
        let [a, b, c, d, e, f, g, h] = random.to_be_bytes();
        Self {
            ssrc,
            may_receive: false,
            payloads: Box::default(),
            orientation: None,
            watching: None,
            waiting: None,
            past: Past {
                seq: u16::from_be_bytes([a, b]),
                timestamp: u32::from_be_bytes([c, d, e, f]),
                at: None,
                picture: u16::from_be_bytes([g, h]),
                base_layer: h,
            },
            sent: 0,
            octets: 0,
            sent_at_reports: [0; 2],
            report_at,
            resends: (None, 0),
            rate: None,
        }
    }

    /// Says what the member may send and get.
    pub(super) fn set_formats(&mut self, formats: &RtpFormats) {
        let payloads = formats.payloads.iter().map(|payload| {
            let mut video = formats.video.iter();
            let known = video.find(|video| video.payload_type == payload.payload_type);
            let unknown = VideoFeedback {
                picture_loss: formats.feedback,
                ..VideoFeedback::default()
            };
            Payload {
                payload_type: payload.payload_type,
                format: payload.format,
                codec: known.map(|known| known.codec),
                feedback: known.map_or(unknown, |known| known.feedback),
            }
        });
        self.payloads = payloads.collect();
        self.orientation = formats.orientation.filter(|id| (1..15).contains(id));
        if let Some(watch) = &self.watching
            && let Some(payload_type) = self.payload_type(watch.format)
            && let Some(watch) = &mut self.watching
        {
            watch.payload_type = payload_type;
        }
    }

    /// What the member says with a payload type.
    pub(super) fn payload(&self, payload_type: u8) -> Option<Payload> {
        let mut payloads = self.payloads.iter();
        payloads
            .find(|payload| payload.payload_type == payload_type)
            .copied()
    }

    /// Its payload type of a format.
    pub(super) fn payload_type(&self, format: u16) -> Option<u8> {
        let mut payloads = self.payloads.iter();
        let found = payloads.find(|payload| payload.format == format)?;
        Some(found.payload_type)
    }

    /// It loses its source, whose stream is as it was when it got the last packet of it.
    pub(super) fn part(&mut self, stream: &Stream) -> Option<Watch> {
        let watch = self.watching.take()?;
        let newest = &stream.newest;
        self.past = Past {
            seq: low_16(stream.arrivals.highest())
                .wrapping_add(watch.seq)
                .wrapping_add(1),
            timestamp: newest.timestamp.wrapping_add(watch.timestamp),
            at: Some(newest.at),
            picture: newest
                .picture
                .map_or(self.past.picture, |id| id.wrapping_add(watch.pictures)),
            base_layer: newest.base_layer.map_or(self.past.base_layer, |index| {
                index.wrapping_add(watch.base_layers)
            }),
        };
        Some(watch)
    }

    /// It gets a source from a packet on, at a place among its watchers; not where it doesn't take
    /// the format.
    pub(super) fn join(&mut self, source: (u32, usize), first: &First, now: Instant) -> bool {
        let Some(payload_type) = self.payload_type(first.format) else {
            return false;
        };
        let past = &self.past;
        // The wall clock's time between two pictures is that between their timestamps; not less
        // than a millisecond, as no two pictures have the same one.
        let timestamp = past.at.map_or(past.timestamp, |at| {
            let since = ticks(now.saturating_duration_since(at));
            past.timestamp.wrapping_add(since.max(TICKS_MIN))
        });
        self.watching = Some(Watch {
            source: source.0,
            at: source.1,
            first: first.number,
            format: first.format,
            payload_type,
            seq: past.seq.wrapping_sub(low_16(first.number)),
            timestamp: timestamp.wrapping_sub(first.timestamp),
            pictures: (past.picture.wrapping_add(1)).wrapping_sub(first.picture),
            base_layers: (past.base_layer.wrapping_add(1)).wrapping_sub(first.base_layer),
        });
        true
    }

    /// The head of a packet for this receiver, and how much of the payload is in it; `None` where it
    /// comes before what the receiver gets, or in a format that it doesn't take.
    pub(super) fn head(
        &self,
        number: u64,
        packet: &Incoming<'_>,
        format: u16,
        descriptor: Option<&Descriptor>,
    ) -> Option<(Head, usize)> {
        let watch = self
            .watching
            .as_ref()
            .filter(|watch| number >= watch.first)?;
        let payload_type = match watch.format == format {
            true => watch.payload_type,
            false => self.payload_type(format)?,
        };
        let rewrite = Rewrite {
            ssrc: self.ssrc,
            seq: packet.facts.seq.0.wrapping_add(watch.seq),
            timestamp: packet.facts.timestamp.wrapping_add(watch.timestamp),
            payload_type,
            orientation: self.orientation,
        };
        let mut head = Head::new(&packet.facts, &rewrite);
        let Some(descriptor) = descriptor.filter(|descriptor| descriptor.counts()) else {
            return Some((head, 0));
        };
        let octets = packet.payload.get(..descriptor.len)?;
        descriptor.shift(head.append(octets), watch.pictures, watch.base_layers);
        Some((head, descriptor.len))
    }

    /// Which of its source's numbers a sequence number of its own stream stands for; the source's
    /// sequence number, not yet with its cycles.
    pub(super) fn source_seq(&self, seq: u16) -> Option<u16> {
        Some(seq.wrapping_sub(self.watching.as_ref()?.seq))
    }

    /// The timestamp of its stream that belongs to now.
    pub(super) fn timestamp(&self, stream: Option<&Stream>, now: Instant) -> u32 {
        let (timestamp, at) = match (&self.watching, stream) {
            (Some(watch), Some(stream)) => (
                stream.newest.timestamp.wrapping_add(watch.timestamp),
                stream.newest.at,
            ),
            _ => (self.past.timestamp, self.past.at.unwrap_or(now)),
        };
        timestamp.wrapping_add(ticks(now.saturating_duration_since(at)))
    }

    /// Whether it may be sent one more packet again.
    pub(super) fn may_resend(&mut self, now: Instant) -> bool {
        let (since, count) = &mut self.resends;
        let is_over = since.is_none_or(|since| now >= since + RESEND_SPAN);
        if is_over {
            (*since, *count) = (Some(now), 0);
        }
        *count += 1;
        *count <= SWITCH_RESENDS
    }

    /// It says what bit rate it bears.
    pub(super) fn set_rate(&mut self, rate: u64, now: Instant) {
        self.rate = Some((rate, now));
    }

    /// The bit rate that it bears, where it said so lately.
    pub(super) fn rate(&self, now: Instant) -> Option<u64> {
        let (rate, at) = self.rate?;
        (now < at + Duration::from_millis(SWITCH_RATE_MS)).then_some(rate)
    }
}

/// The first packet that receivers get of a source.
#[derive(Debug, Clone, Copy)]
pub(super) struct First {
    pub(super) number: u64,
    format: u16,
    timestamp: u32,
    picture: u16,
    base_layer: u8,
}

impl First {
    pub(super) fn new(
        number: u64,
        facts: &Facts,
        format: u16,
        descriptor: Option<&Descriptor>,
    ) -> Self {
        let picture = descriptor.and_then(|descriptor| descriptor.picture);
        let base_layer = descriptor.and_then(|descriptor| descriptor.base_layer);
        Self {
            number,
            format,
            timestamp: facts.timestamp,
            picture: picture.map_or(0, |(_, id)| id.number()),
            base_layer: base_layer.map_or(0, |(_, index)| index),
        }
    }
}

const RESEND_SPAN: Duration = Duration::from_millis(SWITCH_RESEND_MS);
/// A millisecond at 90 kHz.
const TICKS_MIN: u32 = 90;
