//! A mixed room takes no memory once everyone has talked.

use std::time::{Duration, Instant};

use dataplane::api::{AudioCodec, AudioFormat, Direction, MixSpec, RtpFormats};
use dataplane::codec::Encoder;
use dataplane::proto::mix::{Mixer, Scratch, Seat};

use super::taken;

const CODECS: [AudioCodec; 4] = [
    AudioCodec::Pcmu,
    AudioCodec::Pcma,
    AudioCodec::G722,
    AudioCodec::Opus {
        bitrate: 32_000,
        fec: true,
        dtx: false,
    },
];

struct Talker {
    seat: Seat,
    codec: AudioCodec,
    encoder: Encoder,
    seq: u16,
    timestamp: u32,
}

impl Talker {
    fn packet(&mut self, tick: u32) -> Vec<u8> {
        let hz = self.codec.sample_rate();
        let samples: Vec<i16> = (0..hz / 50)
            .map(|n| i16::try_from((n * (7 + tick % 5)) % 6000).unwrap() - 3000)
            .collect();
        let mut payload = vec![0; 1400];
        let length = self.encoder.encode(&samples, &mut payload);
        self.seq = self.seq.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(self.codec.clock_rate() / 50);
        let mut packet = vec![0x80, 96];
        packet.extend(self.seq.to_be_bytes());
        packet.extend(self.timestamp.to_be_bytes());
        packet.extend(u32::try_from(self.seat.index()).unwrap().to_be_bytes());
        packet.extend(&payload[..length]);
        packet
    }
}

fn room() -> (Mixer, Vec<Talker>) {
    let spec = MixSpec {
        talkers: 3,
        jitter_max_ms: 200,
        auto_gain: true,
    };
    let mut mixer = Mixer::new(spec, 1);
    let talkers = CODECS.into_iter().cycle().take(8).map(|codec| {
        let seat = mixer.add().unwrap();
        let formats = RtpFormats {
            audio: vec![AudioFormat {
                payload_type: 96,
                codec,
                ptime_ms: 20,
            }],
            mixer_level: Some(1),
            ..RtpFormats::default()
        };
        assert!(mixer.set(seat, &formats, Direction::BOTH));
        Talker {
            seat,
            codec,
            encoder: Encoder::new(codec, 20).unwrap(),
            seq: 0,
            timestamp: 0,
        }
    });
    let talkers = talkers.collect();
    (mixer, talkers)
}

#[test]
fn mixing_takes_no_memory() {
    let (mut mixer, mut talkers) = room();
    let mut scratch = Scratch::default();
    let (mut octets, mut counted) = (0, 0);
    let mut out = |_: Seat, head: &[u8], payload: &[u8]| octets += head.len() + payload.len();
    let start = Instant::now();
    for tick in 0..600_u32 {
        let now = start + Duration::from_millis(20 * u64::from(tick));
        // Some are lost, and who is loudest changes, so that everyone is heard in its turn.
        let packets: Vec<_> = (0..)
            .zip(&mut talkers)
            .map(|(n, talker)| {
                let is_lost = (tick + n * 3) % 17 == 0;
                let is_away = tick / 40 % 8 == n;
                let packet = talker.packet(tick);
                (talker.seat, Some(packet).filter(|_| !is_lost && !is_away))
            })
            .collect();
        let before = taken();
        for (seat, packet) in &packets {
            if let Some(packet) = packet {
                mixer.receive(now, *seat, packet, &mut out).ok();
            }
        }
        mixer.tick(now, &mut scratch, &mut out);
        if tick >= 400 {
            counted += taken() - before;
        }
    }
    assert!(mixer.counts().sent > 3000);
    assert_eq!(counted, 0, "allocations while a room was mixed");
}
