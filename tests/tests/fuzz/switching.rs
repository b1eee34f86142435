//! A room of switched video under random packets, requests, joins and leaves: what leaves it is RTP
//! and RTCP as the RFCs lay it out, no number twice, and not much more than what came.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dataplane::api::{
    Direction, PayloadFormat, RtpFormats, VideoCodec, VideoFeedback, VideoFormat,
};
use dataplane::proto::switch::{NtpClock, Outlet, Seat, Switch, SwitchSpec};
use rand::RngExt;
use rand::rngs::StdRng;

use super::campaign::rounds;
use super::spoil::{noise, spoil};

/// What left since it was looked at, and each receiver's stream.
#[derive(Default)]
struct Left {
    packets: usize,
    ssrcs: BTreeMap<Seat, u32>,
    bodies: BTreeMap<(Seat, u16, u32), Vec<u8>>,
}

impl Outlet for Left {
    fn rtp(&mut self, to: Seat, head: &[u8], body: &[u8]) {
        self.packets += 1;
        let packet = [head, body].concat();
        assert!(packet.len() >= 12 && packet[0] >> 6 == 2);
        assert_eq!(packet[0] & 0x0f, 0, "no CSRC");
        let word = |at: usize| u32::from_be_bytes(std::array::from_fn(|index| packet[at + index]));
        let ssrc = *self.ssrcs.entry(to).or_insert_with(|| word(8));
        assert_eq!(word(8), ssrc, "one stream for each receiver");
        let seq = u16::from_be_bytes([packet[2], packet[3]]);
        let extension = usize::from(packet[0] >> 4 & 1) * 8;
        let payload = packet[12 + extension..].to_vec();
        let twin = self.bodies.insert((to, seq, word(4)), payload.clone());
        assert!(twin.is_none_or(|twin| twin == payload), "a number twice");
    }

    fn rtcp(&mut self, _: Seat, packet: &[u8]) {
        self.packets += 1;
        let mut rest = packet;
        assert!(matches!(rest[1], 200 | 201), "a report comes first");
        while !rest.is_empty() {
            assert!(rest[0] >> 6 == 2 && (200..=206).contains(&rest[1]));
            let words = u16::from_be_bytes([rest[2], rest[3]]);
            rest = &rest[4 + 4 * usize::from(words)..];
        }
    }
}

fn formats(random: &mut StdRng) -> RtpFormats {
    let codecs = [VideoCodec::Vp8, VideoCodec::H264, VideoCodec::H265];
    let known = (96_u8..)
        .zip(codecs)
        .map(|(payload_type, codec)| VideoFormat {
            payload_type,
            codec,
            feedback: VideoFeedback {
                nack: random.random(),
                picture_loss: random.random(),
                full_intra: random.random(),
                remb: random.random(),
            },
        });
    RtpFormats {
        video: known.collect(),
        payloads: (96..100)
            .map(|payload_type| PayloadFormat {
                payload_type,
                format: payload_type.into(),
                clock_rate: 90_000,
            })
            .collect(),
        orientation: random.random_ratio(1, 2).then_some(4),
        ..RtpFormats::default()
    }
}

/// A packet of video that is nearly right.
fn video(random: &mut StdRng, seq: u16, timestamp: u32, ssrc: u8) -> Vec<u8> {
    let mut bytes = vec![0x80, random.random_range(96..100)];
    bytes.extend(seq.to_be_bytes());
    bytes.extend(timestamp.to_be_bytes());
    bytes.extend([0, 0, 0, ssrc]);
    let begins: [&[u8]; 5] = [
        &[
            0x90, 0xe0, 0x80, 0x01, 7, 0x20, 0x10, 0, 0, 0x9d, 0x01, 0x2a,
        ],
        &[0x78, 0, 2, 0x67, 0x42, 0, 2, 0x68, 0xce],
        &[0x7c, 0x85, 0x88],
        &[38, 1, 0x80],
        &[0x10, 0x11],
    ];
    bytes.extend(begins[random.random_range(0..begins.len())]);
    bytes.extend(noise(random, 40));
    bytes
}

/// Feedback that is nearly right, on a stream that may be there.
fn feedback(random: &mut StdRng, left: &Left, seat: Seat) -> Vec<u8> {
    let media = left.ssrcs.get(&seat).copied().unwrap_or_default();
    let (format, kind) =
        [(1, 205), (1, 206), (4, 206), (15, 206), (1, 203)][random.random_range(0..5)];
    let mut body = vec![0, 0, 0, 9];
    body.extend(media.to_be_bytes());
    if format == 15 {
        body.extend(b"REMB");
        body.extend([1, random.random(), random.random(), random.random()]);
    }
    body.extend(media.to_be_bytes());
    for _ in 0..random.random_range(0..20) {
        body.extend(random.random::<u32>().to_be_bytes());
    }
    let words = u8::try_from(body.len() / 4).unwrap();
    let mut bytes = vec![0x80 | format, kind, 0, words];
    bytes.extend(body);
    bytes
}

/// A packet that is nearly the next one of its stream.
fn packet(random: &mut StdRng, (seq, timestamp): &mut (u16, u32)) -> Vec<u8> {
    *seq = seq.wrapping_add(random.random_range(0..4));
    *timestamp = timestamp.wrapping_add(random.random_range(0..2) * 3000);
    let ssrc = u8::from(random.random_ratio(1, 30));
    let mut bytes = video(random, *seq, *timestamp, ssrc);
    let other = bytes.clone();
    if random.random_ratio(1, 10) {
        spoil(random, &mut bytes, &other);
    }
    bytes
}

fn round(random: &mut StdRng) {
    let mut now = Instant::now();
    let mut switch = Switch::new(SwitchSpec {
        seed: random.random(),
        clock: NtpClock { at: now, ntp: 0 },
        cname: b"relay".as_slice().into(),
        dwell_ms: random.random_range(0..2000),
    });
    let mut left = Left::default();
    let mut seats: Vec<Seat> = Vec::new();
    let mut seqs: BTreeMap<Seat, (u16, u32)> = BTreeMap::new();
    for _ in 0..300 {
        if seats.len() < 2 || random.random_ratio(1, 60) {
            let seat = switch.add(now).unwrap();
            left.ssrcs.remove(&seat);
            left.bodies.retain(|(to, ..), _| *to != seat);
            seqs.remove(&seat);
            switch.set_formats(seat, &formats(random), now, &mut left);
            switch.set_direction(seat, Direction::BOTH, now, &mut left);
            seats.push(seat);
        }
        let place = random.random_range(0..seats.len());
        let seat = seats[place];
        left.packets = 0;
        match random.random_range(0..40) {
            0 => {
                seats.swap_remove(place);
                switch.remove(seat, now, &mut left);
            }
            1 => switch.set_speaker(Some(seat), now, &mut left),
            2 => {
                let direction = Direction {
                    may_send: random.random(),
                    may_receive: random.random(),
                };
                switch.set_direction(seat, direction, now, &mut left);
            }
            3 => switch.set_formats(seat, &formats(random), now, &mut left),
            4..12 => {
                let mut bytes = feedback(random, &left, seat);
                let other = bytes.clone();
                if random.random_ratio(1, 3) {
                    spoil(random, &mut bytes, &other);
                }
                switch.receive_rtcp(seat, &bytes, now, &mut left);
            }
            _ => {
                let first = (random.random(), 0);
                let bytes = packet(random, seqs.entry(seat).or_insert(first));
                let _refused = switch.receive(seat, &bytes, now, &mut left);
            }
        }
        // A history of 256 packets for each who joins at a key frame is the most there is at once.
        assert!(left.packets <= 260 * (seats.len() + 1), "{}", left.packets);
        now += Duration::from_millis(random.random_range(0..300));
        if switch.poll_timeout(now).is_some_and(|at| now >= at) {
            switch.handle_timeout(now, &mut left);
            let next = switch.poll_timeout(now);
            assert!(next.is_none_or(|at| at > now), "a timeout that stays due");
        }
    }
    for seat in seats {
        switch.remove(seat, now, &mut left);
    }
    assert_eq!(
        switch.poll_timeout(now),
        None,
        "an empty room waits for nothing"
    );
}

#[test]
fn a_room_of_switched_video_bears_whatever_comes() {
    rounds("switch", 300, round);
}
