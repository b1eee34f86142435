//! What is sent: a mix, gathered to packets of the wanted length and encoded once for all who get
//! the same.

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
}

/// Samples on their way from the room's rate to a codec's.
pub(super) type Between = [i16; 960];

impl Voice {
    /// A voice of this codec and packet time; the payload type is each receiver's own.
    ///
    /// # Errors
    /// For a codec or a packet time that can't be encoded.
    pub(super) fn new(format: AudioFormat) -> Result<Self, Unavailable> {
        if matches!(
            format.codec,
            AudioCodec::AmrNb { .. } | AudioCodec::AmrWb { .. }
        ) {
            // What AMR listeners of a mix got was found to be far too quiet for some sums: until
            // that is understood, nobody is promised it.
            return Err(Unavailable);
        }
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
        })
    }

    /// Whether it serves a format: the same codec, set the same, and the same packet time.
    pub(super) fn serves(&self, format: &AudioFormat) -> bool {
        self.format.codec == format.codec && self.format.ptime_ms == format.ptime_ms
    }

    /// Whether it holds part of a packet between two ticks.
    pub(super) fn is_long(&self) -> bool {
        !TICK_MS.is_multiple_of(u32::from(self.format.ptime_ms))
    }

    /// Forgets what it holds, and holds as much silence as those do that began with the clock.
    pub(super) fn align(&mut self, phase_ms: u32) {
        self.samples.clear();
        self.sounds = false;
        let hz = self.format.codec.sample_rate();
        let held = phase_ms % u32::from(self.format.ptime_ms) * (hz / 1000);
        self.samples.resize(usize::try_from(held).unwrap_or(0), 0);
    }

    /// Goes on with what another one holds.
    pub(super) fn adopt(&mut self, other: &Self) {
        self.samples.clear();
        self.samples.extend_from_slice(&other.samples);
        self.sounds = other.sounds;
    }

    /// Adds 20 ms at the room's rate; `None`: silence.
    pub(super) fn push(&mut self, sum: Option<&[i32]>, hz: u32, between: &mut Between) {
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
        let samples = self.samples.get(..need)?;
        let mut written = 0;
        if listened_to && self.sounds {
            if self.encoder.is_none() {
                self.encoder = Encoder::new(self.format.codec, self.format.ptime_ms).ok();
            }
            if let Some(encoder) = &mut self.encoder {
                written = encoder.encode(samples, payload);
            }
        }
        self.samples.copy_within(need.., 0);
        self.samples.truncate(self.samples.len() - need);
        self.sounds &= !self.samples.is_empty();
        Some(written)
    }
}

const TICK_MS: u32 = 20;
