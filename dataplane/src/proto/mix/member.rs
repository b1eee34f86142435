//! A member of a mixed room: what it may send, what it gets, and its stream of packets.

use super::forward::{Forwarded, Pressed};
use super::gain::Gain;
use super::jitter::Kind;
use super::loudness::Loudness;
use super::talker::Talker;
use super::voice::Voice;
use super::{HZ_MIN, Refused, TalkCounts};
use crate::api::{AudioCodec, AudioFormat, Direction, RtpFormats};
use crate::codec::samples_of;
use crate::limits::MIX_PAYLOAD_BYTES;
use crate::wire::media::{Fields, Head, RtpTime, View};
use crate::wire::rtp::{Seq, Ssrc};

/// A member; what is boxed is made when it is first needed.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) direction: Direction,
    pub(super) formats: Box<[AudioFormat]>,
    /// Payload type and clock rate of telephone events.
    pub(super) events: Option<(u8, u32)>,
    /// Payload type of comfort noise that it gets in place of silence, and when it is due again.
    pub(super) noise: Option<u8>,
    pub(super) noise_due_us: i64,
    /// Extensions for levels, in and out.
    pub(super) client_level: Option<u8>,
    pub(super) mixer_level: Option<u8>,
    /// What it gets, and the voice that all share.
    pub(super) listens: Option<Listens>,
    pub(super) outgoing: Outgoing,
    pub(super) talker: Option<Box<Talker>>,
    /// What came of it before that one.
    pub(super) talked_before: TalkCounts,
    pub(super) loudness: Loudness,
    pub(super) gain: Gain,
    pub(super) is_heard: bool,
    /// The mix without itself; made when it is heard for the first time.
    pub(super) own: Option<Box<Voice>>,
    /// Whether it gets that one.
    pub(super) gets_own: bool,
    pub(super) forwarded: Forwarded,
    pub(super) pressed: Pressed,
}

/// How a member listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listens {
    pub(super) format: AudioFormat,
    pub(super) voice: usize,
}

impl Member {
    pub(super) fn new(outgoing: Outgoing) -> Self {
        Self {
            direction: Direction {
                may_send: false,
                may_receive: false,
            },
            formats: Box::default(),
            events: None,
            noise: None,
            noise_due_us: i64::MIN,
            client_level: None,
            mixer_level: None,
            listens: None,
            outgoing,
            talker: None,
            talked_before: TalkCounts::default(),
            loudness: Loudness::default(),
            gain: Gain::default(),
            is_heard: false,
            own: None,
            gets_own: false,
            forwarded: Forwarded::default(),
            pressed: Pressed::default(),
        }
    }

    /// What it sends and gets beside audio, once it is known how it listens.
    pub(super) fn take(&mut self, formats: &RtpFormats) {
        self.events = formats.telephone_event.filter(|(_, hz)| *hz >= 1000);
        self.client_level = formats.client_level;
        self.mixer_level = formats.mixer_level;
        // RFC 3389 §4: payload type 13 is of 8 kHz, and for codecs without a way of their own.
        let codec = self.listens.map(|listens| listens.format.codec);
        self.noise = formats
            .comfort_noise
            .filter(|_| matches!(codec, Some(AudioCodec::Pcmu | AudioCodec::Pcma)));
    }

    /// What came of it, of talkers that are gone as well.
    pub(super) fn talked(&self) -> TalkCounts {
        let now = self.talker.as_ref().map(|talker| talker.counts());
        self.talked_before.and(now.unwrap_or_default())
    }

    /// What is in hand of it is given up.
    pub(super) fn drop_talker(&mut self) {
        self.talked_before = self.talked();
        self.talker = None;
        self.is_heard = false;
    }

    /// The number of the format with a payload type, and the format.
    pub(super) fn format_of(&self, payload_type: u8) -> Option<(u8, AudioFormat)> {
        let mut formats = (0..).zip(&self.formats);
        formats
            .find(|(_, format)| format.payload_type == payload_type)
            .map(|(index, format)| (index, *format))
    }

    /// What a packet is, and the clock rate of its timestamps.
    pub(super) fn kind_of(&self, view: &View<'_>) -> Result<(Kind, u32), Refused> {
        if let Some((index, format)) = self.format_of(view.payload_type) {
            let (rate, clock_hz) = (format.codec.sample_rate(), format.codec.clock_rate());
            let samples = samples_of(format.codec, view.payload).ok_or(Refused::Format)?;
            let units = u64::try_from(samples).unwrap_or(0) * u64::from(clock_hz) / u64::from(rate);
            let duration = u32::try_from(units).unwrap_or(0);
            if duration == 0
                || duration > clock_hz / 1000 * PACKET_MS
                || view.payload.len() > MIX_PAYLOAD_BYTES
            {
                return Err(Refused::Format);
            }
            let kind = Kind::Audio {
                format: index,
                duration,
            };
            return Ok((kind, clock_hz));
        }
        let talks_hz = self.talker.as_ref().map(|talker| talker.clock_hz());
        match self.events {
            Some((payload_type, _)) if payload_type == view.payload_type => {
                let first_hz = || self.formats.first().map(|format| format.codec.clock_rate());
                Ok((Kind::Other, talks_hz.or_else(first_hz).unwrap_or(HZ_MIN)))
            }
            // RFC 3551 §4.5.2, table 4: 13 is comfort noise, at 8 kHz.
            _ if view.payload_type == NOISE && view.payload.len() <= NOISE_BYTES => {
                Ok((Kind::Noise, talks_hz.unwrap_or(HZ_MIN)))
            }
            _ => Err(Refused::Format),
        }
    }
}

/// A member's stream of packets: one source, numbers without gaps, timestamps that go with the
/// room's clock (RFC 3550 §5.1, §7.1).
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing {
    pub(super) ssrc: Ssrc,
    pub(super) seq: u16,
    offset: u32,
    /// The timestamp after what was sent last.
    end: Option<u32>,
    /// Whether that was somebody else's packet, passed as it came.
    is_forwarded: bool,
    /// Whether that was comfort noise.
    is_noise: bool,
}

/// What is sent of one packet besides its payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'a> {
    pub(super) payload_type: u8,
    pub(super) is_noise: bool,
    pub(super) start_us: i64,
    pub(super) clock_hz: u32,
    pub(super) duration_ms: u8,
    pub(super) csrcs: &'a [Ssrc],
    pub(super) levels: Option<(u8, &'a [u8])>,
}

impl Outgoing {
    /// A stream that begins with what `random` says.
    pub(super) fn new(random: [u32; 3]) -> Self {
        let [ssrc, seq, offset] = random;
        Self {
            ssrc: Ssrc(ssrc),
            seq: u16::try_from(seq >> 17).unwrap_or(0),
            offset,
            end: None,
            is_forwarded: false,
            is_noise: false,
        }
    }

    /// The timestamp at a time of the room's clock; never one that was sent already.
    pub(super) fn timestamp(&mut self, at_us: i64, clock_hz: u32) -> u32 {
        let at = self.offset.wrapping_add(units(at_us, clock_hz));
        match self.end {
            Some(end) if at.wrapping_sub(end).cast_signed() < 0 => {
                self.offset = self.offset.wrapping_add(end.wrapping_sub(at));
                end
            }
            Some(_) | None => at,
        }
    }

    /// The timestamp of something that began at a time of the room's clock.
    pub(super) fn time_of(&self, at_us: i64, clock_hz: u32) -> u32 {
        self.offset.wrapping_add(units(at_us, clock_hz))
    }

    /// What was passed as it came lasts until this timestamp; says whether it is the first after
    /// comfort noise.
    pub(super) fn forwarded_until(&mut self, end: u32, is_noise: bool) -> bool {
        self.end = Some(end);
        self.is_forwarded = true;
        std::mem::replace(&mut self.is_noise, is_noise) && !is_noise
    }

    /// Another clock rate: the timestamps have nothing to do with those before.
    pub(super) fn begin_anew(&mut self) {
        self.end = None;
    }

    /// The next sequence number.
    pub(super) fn next_seq(&mut self) -> Seq {
        let seq = self.seq;
        self.seq = self.seq.wrapping_add(1);
        Seq(seq)
    }

    /// A mix has waited for its talkers where what was passed has not: it follows without a gap.
    fn join(&mut self, packet: &Packet<'_>) {
        let at = self.time_of(packet.start_us, packet.clock_hz);
        let Some(gap) = self.end.map(|end| at.wrapping_sub(end)) else {
            return;
        };
        if gap <= packet.clock_hz / 1000 * JOINED_MS {
            self.offset = self.offset.wrapping_sub(gap);
        }
    }

    /// Writes the head of the next packet of a mix.
    pub(super) fn head(&mut self, packet: &Packet<'_>) -> Head {
        let before = self.end;
        if std::mem::take(&mut self.is_forwarded) {
            self.join(packet);
        }
        let timestamp = self.timestamp(packet.start_us, packet.clock_hz);
        let duration = packet.clock_hz / 1000 * u32::from(packet.duration_ms);
        self.end = Some(timestamp.wrapping_add(duration));
        let was_noise = std::mem::replace(&mut self.is_noise, packet.is_noise);
        Head::write(&Fields {
            // RFC 3551 §4.1: the first packet after silence, also after one that was told of.
            marker: !packet.is_noise && (was_noise || before != Some(timestamp)),
            payload_type: packet.payload_type,
            seq: self.next_seq(),
            timestamp: RtpTime(timestamp),
            ssrc: self.ssrc,
            csrcs: packet.csrcs,
            levels: packet.levels,
        })
    }
}

/// RFC 3551 table 4: comfort noise, at 8 kHz.
pub(super) const NOISE: u8 = 13;
/// Octets of a level and of all coefficients that anybody sends (RFC 3389 §3.2).
const NOISE_BYTES: usize = 32;
/// The longest packet of audio (RFC 6716: 120 ms).
const PACKET_MS: u32 = 120;
/// A gap up to this is the mixer's own doing.
const JOINED_MS: u32 = 100;

/// A time in a clock's units, wrapped as timestamps are.
fn units(at_us: i64, clock_hz: u32) -> u32 {
    let units = at_us * i64::from(clock_hz) / 1_000_000;
    let [.., a, b, c, d] = units.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::{Outgoing, Packet};
    use crate::wire::media::View;

    fn sent(outgoing: &mut Outgoing, start_ms: i64) -> (u16, u32, bool) {
        sent_as(outgoing, start_ms, false)
    }

    fn sent_as(outgoing: &mut Outgoing, start_ms: i64, is_noise: bool) -> (u16, u32, bool) {
        let head = outgoing.head(&Packet {
            payload_type: if is_noise { 13 } else { 0 },
            is_noise,
            start_us: start_ms * 1000,
            clock_hz: 8000,
            duration_ms: 20,
            csrcs: &[],
            levels: None,
        });
        let view = View::parse(head.octets()).unwrap();
        (view.seq.0, view.timestamp.0, view.marker)
    }

    #[test]
    fn timestamps_go_on_through_silence_and_numbers_do_not() {
        let mut outgoing = Outgoing::new([7, u32::MAX, 100]);
        let packets = [0, 20, 40, 1000, 1020].map(|at| sent(&mut outgoing, at));
        let expected = [
            (32_767, 100, true),
            (32_768, 260, false),
            (32_769, 420, false),
            (32_770, 8100, true),
            (32_771, 8260, false),
        ];
        assert_eq!(packets, expected);
    }

    #[test]
    fn a_word_is_marked_that_begins_where_comfort_noise_ends_and_the_noise_is_not() {
        let mut outgoing = Outgoing::new([7, 0, 0]);
        let packets = [
            (0, true),
            (400, true),
            (420, false),
            (440, false),
            (460, true),
        ];
        let markers = packets.map(|(at, is_noise)| sent_as(&mut outgoing, at, is_noise).2);
        assert_eq!(markers, [false, false, true, false, false]);
        assert!(outgoing.forwarded_until(3840, false), "passed after noise");
        assert!(!outgoing.forwarded_until(4000, true));
        assert!(sent(&mut outgoing, 500).2, "mixed after noise");
    }

    #[test]
    fn a_timestamp_is_never_sent_twice() {
        let mut outgoing = Outgoing::new([7, 0, 0]);
        sent(&mut outgoing, 100);
        let (_, again, marker) = sent(&mut outgoing, 110);
        assert_eq!((again, marker), (960, false));
        let (_, next, _) = sent(&mut outgoing, 130);
        assert_eq!(next, 1120, "and the ones after it go on from there");
    }
}
