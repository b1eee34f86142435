//! What is sent: a mix, gathered to packets of the wanted length and encoded once for all who get
//! the same.
//!
//! A member changes from the voice of all to one of its own and back, and its decoder goes on with
//! what another encoder says. AMR adds each frame to the excitation of those before, so an encoder
//! that takes over has to know that: it encodes the last packets first, for nobody. One that begins
//! with silence makes up for what it thinks is missing, and steady tones become a roar.

use super::sum::Limiter;
use super::talker::samples_of_tick;
use crate::api::{AudioCodec, AudioFormat};
use crate::codec::{Encoder, Resampler, Unavailable};

/// An encoder and what it needs before it.
#[derive(Debug)]
pub(super) struct Voice {
    pub(super) format: AudioFormat,
    /// Members that get it.
    pub(super) users: u16,
    /// Made when there is first something to encode.
    encoder: Option<Encoder>,
    resampler: Option<(u32, Resampler)>,
    limiter: Limiter,
    /// Samples that don't make a packet yet, at the codec's rate.
    samples: Vec<i16>,
    sounds: bool,
    /// How many can be heard in them, other than sending silence.
    audible: usize,
    /// Packets in a row in which nobody could be.
    inaudible: u8,
    /// The samples of the last packets, where the codec counts on what it has encoded.
    past: Vec<i16>,
    /// The encoder has encoded all that was sent before.
    is_current: bool,
    /// Somebody who gets it has lost packets: until then more losses are expected.
    lossy_until_us: Option<i64>,
}

/// Samples on their way from the room's rate to a codec's.
pub(super) type Between = [i16; 960];

impl Voice {
    /// A voice of this codec and packet time; the payload type is each receiver's own.
    ///
    /// # Errors
    /// For a codec or a packet time that can't be encoded.
    pub(super) fn new(format: AudioFormat) -> Result<Self, Unavailable> {
        // Only whether there is one: a room in which nobody talks needs none.
        Encoder::new(format.codec, format.ptime_ms)?;
        Ok(Self {
            format,
            users: 0,
            encoder: None,
            resampler: None,
            limiter: Limiter::default(),
            samples: Vec::new(),
            sounds: false,
            audible: 0,
            inaudible: 0,
            past: Vec::new(),
            is_current: false,
            lossy_until_us: None,
        })
    }

    /// Whether it serves a format: the same codec, set the same, and the same packet time.
    pub(super) fn serves(&self, format: &AudioFormat) -> bool {
        self.format.codec == format.codec && self.format.ptime_ms == format.ptime_ms
    }

    /// Whether one who goes on with it needs what it has by then: part of a packet, or the past.
    pub(super) fn is_needed_later(&self) -> bool {
        !TICK_MS.is_multiple_of(u32::from(self.format.ptime_ms)) || self.remembers()
    }

    fn remembers(&self) -> bool {
        matches!(
            self.format.codec,
            AudioCodec::AmrNb { .. } | AudioCodec::AmrWb { .. }
        )
    }

    /// Whether silence needn't be sent: all who get it have agreed.
    fn leaves_out_silence(&self) -> bool {
        matches!(self.format.codec, AudioCodec::Opus { dtx: true, .. })
    }

    /// Forgets what it holds, and holds as much silence as those do that began with the clock.
    pub(super) fn align(&mut self, phase_ms: u32) {
        self.samples.clear();
        (self.sounds, self.audible) = (false, 0);
        let hz = self.format.codec.sample_rate();
        let held = phase_ms % u32::from(self.format.ptime_ms) * (hz / 1000);
        self.samples.resize(usize::try_from(held).unwrap_or(0), 0);
    }

    /// Goes on with what another one holds.
    pub(super) fn adopt(&mut self, other: &Self) {
        self.samples.clear();
        self.samples.extend_from_slice(&other.samples);
        (self.sounds, self.audible) = (other.sounds, other.audible);
        self.inaudible = other.inaudible;
        if other.lossy_until_us.is_some() {
            self.lossy_until_us = other.lossy_until_us;
            self.expect_loss(true);
        }
        self.past.clear();
        if other.remembers() {
            self.past.reserve_exact(other.samples_of_past());
            self.past.extend_from_slice(&other.past);
        }
        self.is_current = false;
    }

    /// Somebody who gets it has lost packets.
    pub(super) fn hear_of_loss(&mut self, now_us: i64) {
        self.lossy_until_us = Some(now_us + LOSSY_US);
        self.expect_loss(true);
    }

    /// Nobody has lost any for long enough.
    pub(super) fn forget_loss(&mut self, now_us: i64) {
        let is_over = |until: &mut i64| *until <= now_us;
        if self.lossy_until_us.take_if(is_over).is_some() {
            self.expect_loss(false);
        }
    }

    fn expect_loss(&mut self, expected: bool) {
        if let Some(encoder) = &mut self.encoder {
            encoder.expect_loss(expected);
        }
    }

    /// Adds 20 ms at the room's rate; `None`: nobody sends. `audible`: how many are heard in it.
    pub(super) fn push(
        &mut self,
        sum: Option<&[i32]>,
        audible: usize,
        hz: u32,
        between: &mut Between,
    ) {
        let own_hz = self.format.codec.sample_rate();
        let from = self.samples.len();
        let to = from + samples_of_tick(own_hz);
        if self.samples.capacity() < to {
            let most = samples_of_tick(own_hz) + self.samples_of_packet();
            self.samples.reserve_exact(most - from);
        }
        self.samples.resize(to, 0);
        let Some((sum, new)) = sum.zip(self.samples.get_mut(from..)) else {
            return;
        };
        self.sounds = true;
        self.audible = self.audible.max(audible);
        if own_hz == hz {
            self.limiter.limit(sum, new);
            return;
        }
        if self.resampler.as_ref().is_none_or(|(at, _)| *at != hz) {
            self.resampler = Resampler::new(hz, own_hz)
                .ok()
                .map(|resampler| (hz, resampler));
        }
        let length = sum.len().min(between.len());
        self.limiter.limit(sum, &mut between[..length]);
        if let Some((_, resampler)) = &mut self.resampler {
            resampler.process(&between[..length], new);
        }
    }

    fn samples_of_packet(&self) -> usize {
        let tick = samples_of_tick(self.format.codec.sample_rate());
        usize::from(self.format.ptime_ms) * tick / 20
    }

    /// Microseconds of what it holds.
    pub(super) fn held_us(&self) -> i64 {
        let hz = i64::from(self.format.codec.sample_rate());
        i64::try_from(self.samples.len()).unwrap_or(0) * 1_000_000 / hz
    }

    /// Takes a packet's samples, once there are as many, and encodes them where anybody listens
    /// and there is sound; says how many octets that gave.
    pub(super) fn packet(&mut self, listened_to: bool, payload: &mut [u8]) -> Option<usize> {
        let need = self.samples_of_packet();
        if self.samples.len() < need {
            return None;
        }
        self.inaudible = if self.audible > 0 {
            0
        } else {
            self.inaudible.saturating_add(1)
        };
        let is_left_out = self.leaves_out_silence() && self.inaudible > SILENT_PACKETS;
        let is_sent = self.sounds && !is_left_out;
        let mut written = 0;
        if is_sent && listened_to {
            written = self.encode(need, payload);
        } else if is_sent {
            self.is_current = false;
        }
        self.remember(need);
        self.samples.copy_within(need.., 0);
        self.samples.truncate(self.samples.len() - need);
        let goes_on = !self.samples.is_empty();
        if !goes_on {
            (self.sounds, self.audible) = (false, 0);
        }
        Some(written)
    }

    fn encode(&mut self, need: usize, payload: &mut [u8]) -> usize {
        if self.encoder.is_none() {
            self.encoder = Encoder::new(self.format.codec, self.format.ptime_ms).ok();
            self.is_current = false;
            self.expect_loss(self.lossy_until_us.is_some());
        }
        let (Some(encoder), Some(samples)) = (&mut self.encoder, self.samples.get(..need)) else {
            return 0;
        };
        if !std::mem::replace(&mut self.is_current, true) {
            for before in self.past.chunks_exact(need) {
                encoder.encode(before, payload);
            }
        }
        encoder.expect_many(self.audible >= MANY);
        encoder.encode(samples, payload)
    }

    fn remember(&mut self, need: usize) {
        if !self.remembers() {
            return;
        }
        let most = self.samples_of_past();
        if self.past.capacity() < most {
            self.past.reserve_exact(most - self.past.len());
        }
        if self.past.len() + need > most {
            self.past.copy_within(need.., 0);
            self.past.truncate(self.past.len() - need);
        }
        self.past
            .extend_from_slice(self.samples.get(..need).unwrap_or_default());
    }

    /// Whole packets of [`PAST_MS`], one at least.
    fn samples_of_past(&self) -> usize {
        let packets = usize::from(PAST_MS / self.format.ptime_ms).max(1);
        packets * self.samples_of_packet()
    }
}

const TICK_MS: u32 = 20;
/// Losses come in bursts; a report comes every few seconds.
const LOSSY_US: i64 = 20_000_000;
/// So many at once are no single voice any more.
const MANY: usize = 3;
/// What an encoder that takes over hears of before.
const PAST_MS: u8 = 80;
/// Packets of silence that are still sent, so that the far end knows what it sounds like.
const SILENT_PACKETS: u8 = 10;
