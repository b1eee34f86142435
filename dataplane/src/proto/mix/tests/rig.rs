//! Phones around a mixer, and a network between them with a seed.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::api::{AudioCodec, AudioFormat, Direction, MixSpec, RtpFormats};
use crate::codec::{Decoder, Encoder};
use crate::limits::CODEC_SAMPLES;
use crate::proto::mix::{Mixer, Scratch, Seat};

pub(super) const SPEC: MixSpec = MixSpec {
    talkers: 15,
    jitter_max_ms: 200,
    auto_gain: false,
};

pub(super) const SEND_ONLY: Direction = Direction {
    may_send: true,
    may_receive: false,
};
pub(super) const RECEIVE_ONLY: Direction = Direction {
    may_send: false,
    may_receive: true,
};

/// All codecs that this build has.
pub(super) fn codecs() -> Vec<AudioCodec> {
    let all = [
        AudioCodec::Pcmu,
        AudioCodec::Pcma,
        AudioCodec::G722,
        OPUS,
        AudioCodec::AmrNb {
            octet_aligned: true,
            mode: 7,
        },
        AudioCodec::AmrWb {
            octet_aligned: false,
            mode: 8,
        },
    ];
    let there = |codec: &AudioCodec| Encoder::new(*codec, 20).is_ok();
    all.into_iter().filter(there).collect()
}

pub(super) const OPUS: AudioCodec = AudioCodec::Opus {
    bitrate: 32_000,
    fec: false,
    dtx: false,
};

pub(super) fn formats(codec: AudioCodec, ptime_ms: u8) -> RtpFormats {
    RtpFormats {
        audio: vec![AudioFormat {
            payload_type: 96,
            codec,
            ptime_ms,
        }],
        telephone_event: Some((101, codec.clock_rate())),
        client_level: None,
        mixer_level: Some(3),
        ..RtpFormats::default()
    }
}

/// A packet that a phone got, read field by field.
#[derive(Debug, Clone)]
pub(super) struct Got {
    pub(super) at_us: i64,
    pub(super) marker: bool,
    pub(super) payload_type: u8,
    pub(super) seq: u16,
    pub(super) timestamp: u32,
    pub(super) ssrc: u32,
    pub(super) csrcs: Vec<u32>,
    pub(super) levels: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

impl Got {
    fn read(at_us: i64, packet: &[u8]) -> Self {
        let word = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
        assert_eq!(packet[0] >> 6, 2, "RTP's version");
        assert_eq!(packet[0] & 0x20, 0, "no padding");
        let count = usize::from(packet[0] & 15);
        let mut at = 12 + 4 * count;
        let mut levels = Vec::new();
        if packet[0] & 0x10 != 0 {
            assert_eq!(packet[at..at + 2], [0xbe, 0xde]);
            let words = usize::from(packet[at + 3]);
            let element = packet[at + 4];
            assert_eq!(element >> 4, 3, "the id that was agreed");
            let length = usize::from(element & 15) + 1;
            assert_eq!(words, (length + 1).div_ceil(4));
            levels.extend(&packet[at + 5..at + 5 + length]);
            at += 4 + 4 * words;
        }
        Self {
            at_us,
            marker: packet[1] & 0x80 != 0,
            payload_type: packet[1] & 0x7f,
            seq: u16::from_be_bytes([packet[2], packet[3]]),
            timestamp: word(4),
            ssrc: word(8),
            csrcs: (0..count).map(|n| word(12 + 4 * n)).collect(),
            levels,
            payload: packet[at..].to_vec(),
        }
    }
}

/// What a phone's packets meet on their way.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Network {
    pub(super) delay_us: i64,
    pub(super) jitter_us: i64,
    /// In thousands.
    pub(super) lost: u32,
    pub(super) doubled: u32,
}

pub(super) struct Phone {
    pub(super) seat: Seat,
    pub(super) formats: RtpFormats,
    pub(super) ssrc: u32,
    pub(super) seq: u16,
    pub(super) timestamp: u32,
    /// The tone that it sends; 0: it sends nothing; below 0: silence.
    pub(super) tone_hz: f64,
    pub(super) amplitude: f64,
    pub(super) level: Option<u8>,
    pub(super) network: Network,
    /// How much too fast its clock is, in millionths.
    pub(super) drift: i64,
    pub(super) sent: u32,
    pub(super) got: Vec<Got>,
    pub(super) heard: Vec<i16>,
    next_us: i64,
    sample: u32,
    encoder: Encoder,
    decoder: Decoder,
}

impl Phone {
    pub(super) fn codec(&self) -> AudioCodec {
        self.formats.audio[0].codec
    }

    fn encode(&mut self) -> Vec<u8> {
        let format = self.formats.audio[0];
        let hz = format.codec.sample_rate();
        let count = hz / 1000 * u32::from(format.ptime_ms);
        let samples: Vec<i16> = (self.sample..self.sample + count)
            .map(|n| {
                let angle = std::f64::consts::TAU * self.tone_hz * f64::from(n) / f64::from(hz);
                #[expect(clippy::cast_possible_truncation, reason = "16 bits of a sine")]
                let sample = (self.amplitude * angle.sin()) as i16;
                if self.tone_hz > 0.0 { sample } else { 0 }
            })
            .collect();
        self.sample += count;
        let mut payload = vec![0; 1400];
        let length = self.encoder.encode(&samples, &mut payload);
        payload.truncate(length);
        payload
    }

    /// The next packet, as RFC 3550 §5.1 draws it.
    pub(super) fn packet(&mut self, payload_type: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x80, payload_type];
        packet.extend(self.seq.to_be_bytes());
        packet.extend(self.timestamp.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        if let Some((id, level)) = self.formats.client_level.zip(self.level) {
            packet[0] |= 0x10;
            packet.extend([0xbe, 0xde, 0, 1, id << 4, level | 0x80, 0, 0]);
        }
        packet.extend(payload);
        self.seq = self.seq.wrapping_add(1);
        packet
    }

    fn take(&mut self, got: Got) {
        let format = self.formats.audio[0];
        if got.payload_type == format.payload_type {
            let mut samples = vec![0; CODEC_SAMPLES];
            let count = self.decoder.decode(&got.payload, &mut samples).unwrap();
            self.heard.extend(&samples[..count]);
        }
        self.got.push(got);
    }

    /// How loud a tone is in the last `ms` that it heard: its amplitude.
    pub(super) fn hears(&self, tone_hz: f64, ms: u32) -> f64 {
        let hz = self.codec().sample_rate();
        let count = usize::try_from(hz / 1000 * ms).unwrap();
        let from = self.heard.len().saturating_sub(count);
        amplitude(&self.heard[from..], tone_hz, hz)
    }
}

/// The amplitude of a tone in samples (Goertzel).
pub(super) fn amplitude(samples: &[i16], tone_hz: f64, hz: u32) -> f64 {
    let turn = 2.0 * (std::f64::consts::TAU * tone_hz / f64::from(hz)).cos();
    let (mut one, mut two) = (0.0, 0.0);
    for sample in samples {
        (one, two) = (f64::from(*sample) + turn * one - two, one);
    }
    let power = one * one + two * two - turn * one * two;
    let count = f64::from(u32::try_from(samples.len().max(1)).unwrap());
    2.0 * power.max(0.0).sqrt() / count
}

pub(super) struct World {
    pub(super) mixer: Mixer,
    pub(super) phones: Vec<Phone>,
    pub(super) now_us: i64,
    pub(super) random: StdRng,
    start: Instant,
    scratch: Scratch,
    on_the_way: Vec<(i64, usize, Vec<u8>)>,
}

impl World {
    pub(super) fn new(spec: MixSpec) -> Self {
        Self::seeded(spec, 1)
    }

    #[expect(clippy::disallowed_methods, reason = "a time to begin with")]
    pub(super) fn seeded(spec: MixSpec, seed: u64) -> Self {
        Self {
            mixer: Mixer::new(spec, seed),
            phones: Vec::new(),
            now_us: 0,
            random: StdRng::seed_from_u64(seed),
            start: Instant::now(),
            scratch: Scratch::default(),
            on_the_way: Vec::new(),
        }
    }

    /// Adds a phone that sends a tone in packets of its packet time; 0: it sends nothing.
    pub(super) fn join(&mut self, formats: RtpFormats, tone_hz: f64) -> usize {
        self.join_as(formats, tone_hz, Direction::BOTH)
    }

    pub(super) fn join_as(&mut self, formats: RtpFormats, tone_hz: f64, way: Direction) -> usize {
        let seat = self.mixer.add().unwrap();
        assert!(self.mixer.set(seat, &formats, way));
        self.sit(seat, formats, tone_hz)
    }

    /// Another phone in the place of one, which was set already.
    pub(super) fn join_again(&mut self, number: usize, formats: RtpFormats, tone_hz: f64) -> usize {
        self.sit(self.phones[number].seat, formats, tone_hz)
    }

    fn sit(&mut self, seat: Seat, formats: RtpFormats, tone_hz: f64) -> usize {
        let format = formats.audio[0];
        let number = u32::try_from(self.phones.len()).unwrap();
        self.phones.push(Phone {
            seat,
            ssrc: 1000 + number,
            seq: self.random.random(),
            timestamp: self.random.random(),
            tone_hz,
            amplitude: 6000.0,
            level: None,
            network: Network::default(),
            drift: 0,
            sent: 0,
            got: Vec::new(),
            heard: Vec::new(),
            // Nobody's packets come at the same time as another's.
            next_us: self.now_us + 1000 + i64::from(number * 3 % 20) * 1000,
            sample: 0,
            encoder: Encoder::new(format.codec, format.ptime_ms).unwrap(),
            decoder: Decoder::new(format.codec).unwrap(),
            formats,
        });
        self.phones.len() - 1
    }

    pub(super) fn instant(&self) -> Instant {
        self.start + Duration::from_micros(u64::try_from(self.now_us).unwrap())
    }

    /// Lets time pass, a millisecond at a time.
    pub(super) fn run(&mut self, ms: u32) {
        for _ in 0..ms {
            self.now_us += 1000;
            self.send_due();
            self.deliver_due();
            self.tick_due();
        }
    }

    fn send_due(&mut self) {
        for number in 0..self.phones.len() {
            while self.phones[number].next_us <= self.now_us {
                let at_us = self.phones[number].next_us;
                self.send_at(number, at_us);
            }
        }
    }

    fn send_at(&mut self, number: usize, at_us: i64) {
        let phone = &mut self.phones[number];
        let format = phone.formats.audio[0];
        let ptime_us = i64::from(format.ptime_ms) * 1000;
        phone.next_us += ptime_us - ptime_us * phone.drift / 1_000_000;
        let units = format.codec.clock_rate() / 1000 * u32::from(format.ptime_ms);
        if phone.tone_hz != 0.0 {
            let payload = phone.encode();
            if !payload.is_empty() {
                let packet = phone.packet(format.payload_type, &payload);
                phone.sent += 1;
                self.post(number, at_us, packet);
            }
        }
        let phone = &mut self.phones[number];
        phone.timestamp = phone.timestamp.wrapping_add(units);
    }

    /// Hands a phone's packet to the network.
    pub(super) fn post(&mut self, number: usize, at_us: i64, packet: Vec<u8>) {
        let network = self.phones[number].network;
        if self.random.random_ratio(network.lost, 1000) {
            return;
        }
        let copies = 1 + u32::from(self.random.random_ratio(network.doubled, 1000));
        for _ in 0..copies {
            let jitter_us = self.random.random_range(0..=network.jitter_us);
            let due_us = at_us + network.delay_us + jitter_us;
            self.on_the_way.push((due_us, number, packet.clone()));
        }
    }

    fn deliver_due(&mut self) {
        let now_us = self.now_us;
        let (mut due, rest) = std::mem::take(&mut self.on_the_way)
            .into_iter()
            .partition::<Vec<_>, _>(|(due_us, ..)| *due_us <= now_us);
        self.on_the_way = rest;
        due.sort_by_key(|(due_us, ..)| *due_us);
        for (due_us, number, packet) in due {
            let at = self.start + Duration::from_micros(u64::try_from(due_us).unwrap());
            self.deliver(number, at, &packet);
        }
    }

    /// Gives a phone's packet to the mixer.
    pub(super) fn deliver(&mut self, number: usize, at: Instant, packet: &[u8]) {
        let (seat, at_us) = (self.phones[number].seat, self.now_us);
        let phones = &mut self.phones;
        let mut out =
            |seat: Seat, head: &[u8], payload: &[u8]| give(phones, at_us, seat, &[head, payload]);
        self.mixer.receive(at, seat, packet, &mut out).ok();
    }

    fn tick_due(&mut self) {
        let now = self.instant();
        let at_us = self.now_us;
        if self.mixer.poll_timeout().is_some_and(|due| due <= now) {
            let phones = &mut self.phones;
            let mut out = |seat: Seat, head: &[u8], payload: &[u8]| {
                give(phones, at_us, seat, &[head, payload]);
            };
            self.mixer.tick(now, &mut self.scratch, &mut out);
        }
    }

    pub(super) fn leave(&mut self, number: usize) {
        self.phones[number].tone_hz = 0.0;
        self.mixer.remove(self.phones[number].seat);
        self.on_the_way.retain(|(_, from, _)| *from != number);
    }

    /// Which of the tones each phone hears: a letter for each.
    pub(super) fn who_hears_what(&self, tones: &[f64]) -> Vec<Vec<bool>> {
        let hears = |phone: &Phone| {
            let tones = tones.iter();
            tones.map(|tone| phone.hears(*tone, 500) > 1500.0).collect()
        };
        self.phones.iter().map(hears).collect()
    }
}

fn give(phones: &mut [Phone], at_us: i64, seat: Seat, parts: &[&[u8]]) {
    let phone = phones.iter_mut().rev().find(|phone| phone.seat == seat);
    phone.unwrap().take(Got::read(at_us, &parts.concat()));
}

/// Numbers and timestamps of a stream go on without a gap.
pub(super) fn assert_continuous(got: &[Got], units: u32) {
    for pair in got.windows(2) {
        let [one, next] = pair else { continue };
        assert_eq!(next.ssrc, one.ssrc);
        assert_eq!(next.seq, one.seq.wrapping_add(1), "{one:?} {next:?}");
        assert_eq!(
            next.timestamp.wrapping_sub(one.timestamp),
            units,
            "{one:?} {next:?}"
        );
    }
}
