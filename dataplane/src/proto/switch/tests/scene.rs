//! A room, encoders that say in each packet whose and which it is, and what receivers got.

use std::time::{Duration, Instant};

use crate::api::{Direction, PayloadFormat, RtpFormats, VideoCodec, VideoFeedback, VideoFormat};
use crate::proto::switch::{NtpClock, Outlet, Seat, Switch, SwitchSpec};

#[expect(
    clippy::disallowed_methods,
    reason = "a test needs an instant to begin with"
)]
pub(crate) fn start() -> Instant {
    Instant::now()
}

/// An RTP packet of payload type 96 and SSRC 1.
pub(crate) fn rtp(seq: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80, 96];
    bytes.extend(seq.to_be_bytes());
    bytes.extend(timestamp.to_be_bytes());
    bytes.extend([0, 0, 0, 1]);
    bytes.extend(payload);
    bytes
}

/// Everything that is taken, VP8 as 96 and H.264 as 97.
pub(super) fn formats() -> RtpFormats {
    let feedback = VideoFeedback {
        nack: true,
        picture_loss: true,
        full_intra: true,
        remb: true,
    };
    RtpFormats {
        payloads: vec![payload(96, 1), payload(97, 2), payload(98, 3)],
        video: vec![
            VideoFormat {
                payload_type: 96,
                codec: VideoCodec::Vp8,
                feedback,
            },
            VideoFormat {
                payload_type: 97,
                codec: VideoCodec::H264,
                feedback,
            },
        ],
        feedback: true,
        ..RtpFormats::default()
    }
}

pub(super) fn payload(payload_type: u8, format: u16) -> PayloadFormat {
    PayloadFormat {
        payload_type,
        format,
        clock_rate: 90_000,
    }
}

/// What left the room: to whom and when.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) rtp: Vec<(Seat, Vec<u8>)>,
    pub(super) rtcp: Vec<(Seat, Vec<u8>)>,
}

impl Outlet for Sent {
    fn rtp(&mut self, to: Seat, head: &[u8], body: &[u8]) {
        self.rtp.push((to, [head, body].concat()));
    }

    fn rtcp(&mut self, to: Seat, packet: &[u8]) {
        self.rtcp.push((to, packet.to_vec()));
    }
}

/// A room and its members' time.
pub(super) struct Room {
    pub(super) switch: Switch,
    pub(super) now: Instant,
    pub(super) seats: Vec<Seat>,
    pub(super) sent: Sent,
}

impl Room {
    /// A room of so many members who take everything.
    pub(super) fn new(members: usize) -> Self {
        let now = start();
        let mut room = Self {
            switch: Switch::new(SwitchSpec {
                seed: 7,
                clock: NtpClock { at: now, ntp: 0 },
                cname: b"relay".as_slice().into(),
                dwell_ms: 1000,
            }),
            now,
            seats: Vec::new(),
            sent: Sent::default(),
        };
        for _ in 0..members {
            room.join(&formats());
        }
        room
    }

    pub(super) fn join(&mut self, formats: &RtpFormats) -> Seat {
        let seat = self.switch.add(self.now).unwrap();
        self.seats.push(seat);
        self.switch
            .set_formats(seat, formats, self.now, &mut self.sent);
        self.direct(seat, true, true);
        seat
    }

    pub(super) fn direct(&mut self, seat: Seat, may_send: bool, may_receive: bool) {
        let direction = Direction {
            may_send,
            may_receive,
        };
        self.switch
            .set_direction(seat, direction, self.now, &mut self.sent);
    }

    pub(super) fn speak(&mut self, seat: Seat) {
        self.switch
            .set_speaker(Some(seat), self.now, &mut self.sent);
    }

    /// Time passes, with what is due in between.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        let mut calls = 0;
        while let Some(at) = self.switch.poll_timeout(self.now).filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.switch.handle_timeout(self.now, &mut self.sent);
            calls += 1;
            assert!(calls < 1000, "a timeout that stays due");
        }
        self.now = end;
    }

    pub(super) fn give(&mut self, seat: Seat, packet: &[u8]) {
        self.switch
            .receive(seat, packet, self.now, &mut self.sent)
            .unwrap();
    }

    pub(super) fn tell(&mut self, seat: Seat, rtcp: &[u8]) {
        self.switch
            .receive_rtcp(seat, rtcp, self.now, &mut self.sent);
    }

    /// All packets of a frame.
    pub(super) fn send(&mut self, encoder: &mut Encoder, is_key: bool) {
        for packet in encoder.frame(is_key) {
            self.give(encoder.seat, &packet);
        }
    }

    /// What a member got since it was asked last.
    pub(super) fn got(&mut self, seat: Seat) -> Vec<Got> {
        let all = std::mem::take(&mut self.sent.rtp);
        let (own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(to, _)| *to == seat);
        self.sent.rtp = others;
        own.iter().map(|(_, packet)| Got::read(packet)).collect()
    }

    /// The RTCP packets of a type and format that a member was sent since it was asked last.
    pub(super) fn told(&mut self, seat: Seat, kind: u8, format: u8) -> Vec<Vec<u8>> {
        let all = std::mem::take(&mut self.sent.rtcp);
        let (own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(to, _)| *to == seat);
        self.sent.rtcp = others;
        let parts = own.iter().flat_map(|(_, compound)| parts(compound));
        parts
            .filter(|part| part[1] == kind && part[0] & 0x1f == format)
            .collect()
    }
}

/// The packets of a compound one, by their lengths (RFC 3550 §6.1).
pub(super) fn parts(compound: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = compound;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let len = 4 + 4 * usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        found.push(rest[..len].to_vec());
        rest = &rest[len..];
    }
    found
}

/// Makes frames of `packets` packets each; their last octets say whose and which they are.
pub(super) struct Encoder {
    pub(super) seat: Seat,
    pub(super) codec: VideoCodec,
    pub(super) seq: u16,
    pub(super) timestamp: u32,
    pub(super) ssrc: u32,
    pub(super) frame: u16,
    pub(super) picture: u16,
    pub(super) base_layer: u8,
    pub(super) packets: u8,
}

impl Encoder {
    pub(super) fn new(seat: Seat, codec: VideoCodec) -> Self {
        let number = u16::try_from(seat.index()).unwrap();
        Self {
            seat,
            codec,
            seq: number.wrapping_mul(21_000).wrapping_add(65_500),
            timestamp: 0xffff_0000_u32.wrapping_add(u32::from(number) * 1_000_000),
            ssrc: 1000 + u32::from(number),
            frame: 0,
            picture: 0x7ff0_u16.wrapping_add(number * 77) & 0x7fff,
            base_layer: 250,
            packets: 3,
        }
    }

    /// The next frame, 33 ms after the one before.
    pub(super) fn frame(&mut self, is_key: bool) -> Vec<Vec<u8>> {
        self.timestamp = self.timestamp.wrapping_add(3000);
        self.frame += 1;
        self.picture = (self.picture + 1) & 0x7fff;
        self.base_layer = self.base_layer.wrapping_add(1);
        let packets = (0..self.packets).map(|index| self.packet(is_key, index));
        packets.collect()
    }

    fn packet(&mut self, is_key: bool, index: u8) -> Vec<u8> {
        let is_last = index + 1 == self.packets;
        let (payload_type, mut payload) = match self.codec {
            VideoCodec::Vp8 => (96, self.vp8(is_key, index)),
            VideoCodec::H264 | VideoCodec::H265 => (97, h264(is_key, index, is_last)),
        };
        let [high, low] = self.frame.to_be_bytes();
        let seat = u8::try_from(self.seat.index()).unwrap();
        payload.extend([seat, u8::from(is_key), high, low, index, self.packets]);
        let mut packet = rtp(self.seq, self.timestamp, &payload);
        self.seq = self.seq.wrapping_add(1);
        packet[1] = payload_type | u8::from(is_last) << 7;
        packet[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        packet
    }

    /// RFC 7741 §4.2: X, S of the first packet; I with 15 bits, L.
    fn vp8(&self, is_key: bool, index: u8) -> Vec<u8> {
        let [high, low] = self.picture.to_be_bytes();
        let begin = if index == 0 { 0x10 } else { 0 };
        let mut payload = vec![0x80 | begin, 0xc0, high | 0x80, low, self.base_layer];
        let inter = u8::from(!is_key);
        payload.extend([0x10 | inter, 0, 0, 0x9d, 0x01, 0x2a]);
        payload
    }
}

/// SPS and PPS, then an IDR picture in pieces; or a picture in pieces (RFC 6184 §5.8).
fn h264(is_key: bool, index: u8, is_last: bool) -> Vec<u8> {
    if is_key && index == 0 {
        return vec![0x78, 0, 2, 0x67, 0x42, 0, 2, 0x68, 0xce];
    }
    let kind = if is_key { 5 } else { 1 };
    let is_first = index == u8::from(is_key);
    let begin = if is_first { 0x80 } else { 0 };
    let end = if is_last { 0x40 } else { 0 };
    vec![0x7c, begin | end | kind, if is_first { 0x88 } else { 0x11 }]
}

/// A packet that a receiver got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) payload_type: u8,
    pub(super) marker: bool,
    pub(super) seq: u16,
    pub(super) timestamp: u32,
    pub(super) ssrc: u32,
    pub(super) payload: Vec<u8>,
    /// Whose it is, as the encoder said.
    pub(super) seat: usize,
    pub(super) is_key: bool,
    pub(super) frame: u16,
    pub(super) index: u8,
    pub(super) packets: u8,
}

impl Got {
    fn read(packet: &[u8]) -> Self {
        assert_eq!(packet[0], 0x80, "no padding, extension or CSRC");
        let [.., seat, is_key, high, low, index, packets] = *packet else {
            panic!("a short packet")
        };
        Self {
            payload_type: packet[1] & 0x7f,
            marker: packet[1] & 0x80 != 0,
            seq: u16::from_be_bytes([packet[2], packet[3]]),
            timestamp: u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]),
            ssrc: u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]]),
            payload: packet[12..].to_vec(),
            seat: seat.into(),
            is_key: is_key == 1,
            frame: u16::from_be_bytes([high, low]),
            index,
            packets,
        }
    }

    /// VP8's PictureID of 15 bits, and TL0PICIDX.
    pub(super) fn picture(&self) -> (u16, u8) {
        assert_eq!(self.payload[1], 0xc0);
        let id = u16::from_be_bytes([self.payload[2], self.payload[3]]);
        assert!(id & 0x8000 != 0, "15 bits");
        (id & 0x7fff, self.payload[4])
    }
}

/// Requests of a receiver for its stream `media`.
pub(super) fn pli(media: u32) -> Vec<u8> {
    let mut bytes = vec![0x81, 206, 0, 2, 0, 0, 0, 99];
    bytes.extend(media.to_be_bytes());
    bytes
}

pub(super) fn nack(media: u32, first: u16, mask: u16) -> Vec<u8> {
    let mut bytes = vec![0x81, 205, 0, 3, 0, 0, 0, 99];
    bytes.extend(media.to_be_bytes());
    bytes.extend(first.to_be_bytes());
    bytes.extend(mask.to_be_bytes());
    bytes
}
