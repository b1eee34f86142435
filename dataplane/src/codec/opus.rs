//! Opus (RFC 6716, RFC 7587) by libopus, one channel at 48 kHz.

use opus::{Application, Bitrate, Channels, packet};

use super::{Malformed, Unavailable};
use crate::limits;

const RATE_HZ: u32 = 48_000;
/// Samples of the shortest frame: all durations are multiples of 2.5 ms (RFC 6716 §2.1.4).
const SHORTEST: usize = 120;
/// Samples of a SILK frame of 20 ms.
const SILK_FRAME: usize = 960;
/// Per cent of packets that the redundancy is made for: what a mobile network loses in a bad cell.
const LOSS_PERCENT: i32 = 10;
/// From this bit rate on CELT alone is at least as near to the samples as SILK with CELT is, at a
/// third of the cost. Frequency-weighted segmental SNR of flite's speech, complexity 5, libopus
/// 1.6.1, SILK with CELT then CELT: one voice at 24 kbit/s 22.1 and 21.8 dB, at 28 22.6 and 23.0,
/// at 32 23.3 and 23.7; four at once at 32 20.9 and 24.1, as SILK's model is one of a single voice.
const WAVEFORM_BITRATE: u32 = 28_000;
/// What CELT takes pains with where many speak at once: to look for the pitch, and for where the sound
/// changes within a band, costs two fifths of all, and helps the less the more voices there are.
/// Frequency-weighted segmental SNR as above, complexity 5 then 1 at 32 kbit/s: one voice 23.7 and
/// 22.4 dB, three 24.1 and 23.2, four 24.1 and 23.4, nine 24.2 and 23.8; SILK with CELT has 21.4,
/// 20.9 and 19.6 of three, four and nine.
const COMPLEXITY_OF_MANY: i32 = 1;
/// The first configuration number without SILK (RFC 6716 table 2).
const CELT_CONFIG: u8 = 16;

#[derive(Debug)]
pub(super) struct Decoder(opus::Decoder);

impl Decoder {
    pub(super) fn new() -> Result<Self, Unavailable> {
        let decoder = opus::Decoder::new(RATE_HZ, Channels::Mono);
        decoder.map(Self).map_err(|_| Unavailable)
    }

    pub(super) fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, Malformed> {
        // libopus takes nothing for a loss.
        if payload.is_empty() {
            return Err(Malformed);
        }
        self.0.decode(payload, out, false).map_err(|_| Malformed)
    }

    pub(super) fn conceal(&mut self, out: &mut [i16]) -> usize {
        let length = out.len() - out.len() % SHORTEST;
        if length == 0 {
            return 0;
        }
        self.0.decode(&[], &mut out[..length], false).unwrap_or(0)
    }

    pub(super) fn recover(&mut self, next: &[u8], out: &mut [i16]) -> Option<usize> {
        if !has_redundancy(next) {
            return None;
        }
        let frame = packet::get_samples_per_frame(next, RATE_HZ).ok()?;
        let last = self.0.get_last_packet_duration().ok()?;
        let lost = usize::try_from(last).ok()?.max(frame);
        let out = out.get_mut(..lost)?;
        self.0.decode(next, out, true).ok()
    }
}

/// Whether a payload says the one before it again: a flag in the head of its first SILK frame
/// (RFC 6716 §4.2.3, §4.2.4).
fn has_redundancy(payload: &[u8]) -> bool {
    let Some((toc, _)) = payload.split_first() else {
        return false;
    };
    if toc >> 3 >= CELT_CONFIG {
        return false;
    }
    let Some(head) = first_frame(payload).and_then(|at| payload.get(at)) else {
        return false;
    };
    let frame = packet::get_samples_per_frame(payload, RATE_HZ).unwrap_or(SILK_FRAME);
    let frames = (frame / SILK_FRAME).clamp(1, 3);
    let middle = head >> (7 - frames) & 1 == 1;
    let is_stereo = toc & 4 != 0;
    middle || (is_stereo && head >> (6 - 2 * frames) & 1 == 1)
}

/// Where the first frame of a payload begins (RFC 6716 §3.2).
fn first_frame(payload: &[u8]) -> Option<usize> {
    let length_octets = |at: usize| Some(if *payload.get(at)? < 252 { 1 } else { 2 });
    match payload.first()? & 3 {
        0 | 1 => Some(1),
        2 => Some(1 + length_octets(1)?),
        _ => {
            let head = *payload.get(1)?;
            let mut at = 2;
            if head & 0x40 != 0 {
                while *payload.get(at)? == 255 {
                    at += 1;
                }
                at += 1;
            }
            if head & 0x80 != 0 {
                for _ in 1..head & 0x3f {
                    at += length_octets(at)?;
                }
            }
            Some(at)
        }
    }
}

#[derive(Debug)]
pub(super) struct Encoder {
    encoder: opus::Encoder,
    /// Samples of a packet.
    samples: usize,
    dtx: bool,
    /// libopus's complexity where many speak at once.
    complexity_of_many: i32,
    expects_loss: bool,
    of_many: bool,
}

impl Encoder {
    pub(super) fn new(
        bitrate: u32,
        (fec, dtx): (bool, bool),
        ptime_ms: u8,
    ) -> Result<Self, Unavailable> {
        // libopus has no frame of 30 ms.
        let bits = i32::try_from(bitrate).map_err(|_| Unavailable)?;
        if ptime_ms == 30 || !(6_000..=510_000).contains(&bits) {
            return Err(Unavailable);
        }
        let (application, complexity_of_many) = if bitrate < WAVEFORM_BITRATE {
            (Application::Voip, limits::OPUS_COMPLEXITY)
        } else {
            (Application::Audio, COMPLEXITY_OF_MANY)
        };
        let set = || {
            let mut encoder = opus::Encoder::new(RATE_HZ, Channels::Mono, application)?;
            encoder.set_bitrate(Bitrate::Bits(bits))?;
            encoder.set_complexity(limits::OPUS_COMPLEXITY)?;
            encoder.set_inband_fec(fec)?;
            encoder.set_dtx(dtx)?;
            Ok(encoder)
        };
        let encoder = set().map_err(|_: opus::Error| Unavailable)?;
        let samples = usize::from(ptime_ms) * 48;
        Ok(Self {
            encoder,
            samples,
            dtx,
            complexity_of_many,
            expects_loss: false,
            of_many: false,
        })
    }

    /// Redundancy is SILK's: who gets it gets SILK at any bit rate.
    pub(super) fn expect_loss(&mut self, expected: bool) {
        let percent = if expected { LOSS_PERCENT } else { 0 };
        // A number within its bounds is never refused; without `fec` it changes nothing.
        let _ = self.encoder.set_packet_loss_perc(percent);
        self.expects_loss = expected && self.encoder.get_inband_fec().unwrap_or(false);
        self.take_pains();
    }

    pub(super) fn expect_many(&mut self, expected: bool) {
        if std::mem::replace(&mut self.of_many, expected) != expected {
            self.take_pains();
        }
    }

    fn take_pains(&mut self) {
        // Redundancy is SILK's, which needs them.
        let complexity = if self.of_many && !self.expects_loss {
            self.complexity_of_many
        } else {
            limits::OPUS_COMPLEXITY
        };
        // One of 0 to 10 is never refused.
        let _ = self.encoder.set_complexity(complexity);
    }

    pub(super) fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> usize {
        if samples.len() != self.samples || out.is_empty() {
            return 0;
        }
        let octets = self.encoder.encode(samples, out).unwrap_or(0);
        // libopus: two octets or fewer needn't be sent.
        if self.dtx && octets <= 2 { 0 } else { octets }
    }
}

pub(super) fn samples_of(payload: &[u8]) -> Option<usize> {
    packet::get_nb_samples(payload, RATE_HZ).ok()
}

#[cfg(test)]
mod tests {
    use super::{CELT_CONFIG, Decoder, Encoder, has_redundancy};
    use crate::codec::level::{SILENCE, level};

    #[expect(
        clippy::cast_possible_truncation,
        reason = "16 bits hold the amplitude"
    )]
    fn voice_at(pitch_hz: f64, packets: u32) -> Vec<i16> {
        let sample = |n: u32| {
            let t = f64::from(n) / 48_000.0;
            let pitch = pitch_hz + 30.0 * (t * 2.0).sin();
            let harmonics = (1..24)
                .map(|k| (t * pitch * f64::from(k) * std::f64::consts::TAU).sin() / f64::from(k));
            (5_000.0 * harmonics.sum::<f64>()) as i16
        };
        (0..packets * 960).map(sample).collect()
    }

    fn voice(packets: u32) -> Vec<i16> {
        voice_at(130.0, packets)
    }

    fn payloads(bitrate: u32, fec: bool, samples: &[i16]) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new(bitrate, (fec, false), 20).unwrap();
        encoder.expect_loss(fec);
        all(&mut encoder, samples)
    }

    fn all(encoder: &mut Encoder, samples: &[i16]) -> Vec<Vec<u8>> {
        let encode = |samples: &[i16]| {
            let mut out = [0; 1_400];
            let octets = encoder.encode(samples, &mut out);
            out[..octets].to_vec()
        };
        samples.chunks(960).map(encode).collect()
    }

    fn difference(a: &[i16], b: &[i16]) -> u8 {
        let all: Vec<i16> = a.iter().zip(b).map(|(a, b)| a.saturating_sub(*b)).collect();
        level(&all)
    }

    #[test]
    fn a_lost_packet_is_recovered_from_the_next_one() {
        let payloads = payloads(24_000, true, &voice(50));
        let redundant = payloads.iter().filter(|p| has_redundancy(p)).count();
        assert!(redundant > 25, "{redundant} of 50");
        let (mut whole, mut lossy) = (Decoder::new().unwrap(), Decoder::new().unwrap());
        let mut blind = Decoder::new().unwrap();
        let (mut recovered, mut concealed) = (0, 0);
        let mut lost = false;
        for (at, payload) in payloads.iter().enumerate() {
            let mut expected = [0; 960];
            whole.decode(payload, &mut expected).unwrap();
            let mut out = [0; 960];
            if at > 10 && at % 5 == 0 && has_redundancy(&payloads[at + 1 - at / 49]) {
                assert_eq!(lossy.recover(&payloads[at + 1], &mut out), Some(960));
                recovered += u32::from(difference(&expected, &out));
                assert_eq!(blind.conceal(&mut out), 960);
                concealed += u32::from(difference(&expected, &out));
                lost = true;
            } else {
                lossy.decode(payload, &mut out).unwrap();
                blind.decode(payload, &mut out).unwrap();
            }
        }
        assert!(lost);
        assert!(
            recovered > concealed,
            "{recovered} recovered, {concealed} concealed"
        );
    }

    #[test]
    fn speech_is_modelled_where_bits_are_few_or_packets_are_lost_and_else_its_waveform_is_sent() {
        let is_modelled = |payload: &Vec<u8>| payload[0] >> 3 < CELT_CONFIG;
        for (bitrate, fec, modelled) in [
            (24_000, false, true),
            (32_000, false, false),
            (40_000, false, false),
            (40_000, true, true),
        ] {
            let payloads = payloads(bitrate, fec, &voice(50));
            let count = payloads
                .iter()
                .filter(|payload| is_modelled(payload))
                .count();
            let expected = if modelled { 50 } else { 0 };
            assert_eq!(count, expected, "{bitrate} {fec}");
        }
        let redundant = payloads(40_000, true, &voice(50));
        let redundant = redundant.iter().filter(|payload| has_redundancy(payload));
        assert!(redundant.count() > 25);
    }

    #[test]
    fn fewer_pains_are_taken_with_many_voices_but_not_with_silk_or_where_packets_are_lost() {
        let samples = voice(50);
        for (bitrate, fec, lossy, fewer) in [
            (24_000, false, false, false),
            (32_000, false, false, true),
            (32_000, false, true, true),
            (40_000, true, false, true),
            (40_000, true, true, false),
        ] {
            let payloads = |many| {
                let mut encoder = Encoder::new(bitrate, (fec, false), 20).unwrap();
                encoder.expect_loss(lossy);
                encoder.expect_many(many);
                all(&mut encoder, &samples)
            };
            assert_eq!(
                payloads(true) != payloads(false),
                fewer,
                "{bitrate} {fec} {lossy}"
            );
        }
    }

    #[test]
    fn many_voices_lose_little_where_fewer_pains_are_taken() {
        // CELT's look-ahead and the delay that makes up for SILK's (RFC 6716 §2).
        const DELAY: usize = 312;
        let voices = [110.0, 145.0, 190.0, 260.0].map(|pitch_hz| voice_at(pitch_hz, 50));
        let sum: Vec<i16> = (0..50 * 960)
            .map(|at| voices.iter().map(|voice| voice[at] / 4).sum())
            .collect();
        let noise = |many: bool| {
            let mut encoder = Encoder::new(32_000, (false, false), 20).unwrap();
            encoder.expect_many(many);
            let mut decoder = Decoder::new().unwrap();
            let mut heard = Vec::new();
            for payload in all(&mut encoder, &sum) {
                let mut out = [0; 960];
                decoder.decode(&payload, &mut out).unwrap();
                heard.extend_from_slice(&out);
            }
            let end = sum.len() - DELAY;
            let (before, after) = (&sum[9_600..end], &heard[9_600 + DELAY..]);
            difference(before, after) - level(before)
        };
        let (all, fewer) = (noise(false), noise(true));
        assert!(all > 12, "{all} dB below the voices");
        assert!(fewer + 3 >= all, "{fewer} and {all} dB below the voices");
    }

    #[test]
    fn nothing_is_recovered_where_nothing_is_redundant() {
        let payloads = payloads(24_000, false, &voice(5));
        let mut decoder = Decoder::new().unwrap();
        for payload in payloads {
            assert_eq!(decoder.recover(&payload, &mut [0; 960]), None);
            decoder.decode(&payload, &mut [0; 960]).unwrap();
        }
        assert_eq!(decoder.recover(&[], &mut [0; 960]), None);
    }

    #[test]
    fn a_gap_is_filled_and_fades() {
        let mut decoder = Decoder::new().unwrap();
        let mut out = [0; 960];
        for payload in payloads(24_000, false, &voice(20)) {
            decoder.decode(&payload, &mut out).unwrap();
        }
        let before = level(&out);
        assert_eq!(decoder.conceal(&mut out), 960);
        let first = level(&out);
        assert!(first.abs_diff(before) < 12, "{before} then {first}");
        for _ in 0..100 {
            decoder.conceal(&mut out);
        }
        assert!(level(&out) > first + 20, "{first} then {}", level(&out));
    }

    #[test]
    fn silence_is_not_sent_where_the_receiver_agreed() {
        let mut encoder = Encoder::new(24_000, (false, true), 20).unwrap();
        let mut sent = 0;
        for _ in 0..100 {
            let mut out = [0; 1_400];
            sent += usize::from(encoder.encode(&[0; 960], &mut out) > 0);
        }
        assert!(sent < 40, "{sent} of 100");
        let mut decoder = Decoder::new().unwrap();
        assert_eq!(decoder.conceal(&mut [0; 960]), 960);
        let mut out = [1; 960];
        decoder.conceal(&mut out);
        assert_eq!(level(&out), SILENCE);
    }

    #[test]
    fn a_payload_fits_the_room_that_it_gets() {
        let mut encoder = Encoder::new(510_000, (false, false), 60).unwrap();
        let samples = voice(3);
        let mut out = [0; 1_400];
        let octets = encoder.encode(&samples, &mut out);
        assert!((1_000..=1_400).contains(&octets), "{octets}");
        assert_eq!(encoder.encode(&samples[..960], &mut out), 0);
    }
}
