//! What one talker sends, turned into 20 ms of samples a tick: its jitter buffer, its decoder, and
//! where in time it is.
//!
//! ```text
//!            first packet's time has come
//!   Silent ──────────────────────────────▶ Playing ──▶ a packet is lost: concealed, goes on
//!     ▲  ▲                                  │   ▲
//!     │  └── a gap in time, none in numbers ┘   │ the next packet's time has come
//!     └──── concealed for long enough ── Starved ◀── nothing is there
//! ```
//!
//! A packet's time has come when it has waited for the target (see `delay`), so each talkspurt
//! begins with the delay that is right by then. In between, what is too much is cut out, and what
//! is too little filled in, where it is quiet; a packet that is late is played all the same where
//! nothing else is there, and with it the delay has grown at once.

use super::fifo::Fifo;
use super::jitter::{Arrival, Jitter, Kind, Next, Waiting, micros};
use super::{Refused, TalkCounts};
use crate::api::{AudioCodec, AudioFormat};
use crate::codec::{Decoder, Noise, Resampler, SILENCE, level};
use crate::limits::CODEC_SAMPLES;
use crate::wire::rtp::Ssrc;

/// Where in its time a talker is; times are those of the next packet, in its clock's units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Playout {
    Silent,
    Playing { time: i64, duration: u32 },
    Starved { time: i64, since_us: i64 },
}

/// How 20 ms are asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pull<'a> {
    pub(super) now_us: i64,
    /// The rate of the room.
    pub(super) hz: u32,
    pub(super) formats: &'a [AudioFormat],
    /// Whether it is heard: else nothing is decoded but what its level is taken from.
    pub(super) is_heard: bool,
}

#[derive(Debug)]
struct Codec {
    format: u8,
    hz: u32,
    /// Whether its encoders may leave out silence by themselves.
    leaves_out: bool,
    decoder: Decoder,
    resampler: Option<(u32, Resampler)>,
}

/// One talker.
#[derive(Debug)]
pub(super) struct Talker {
    jitter: Jitter,
    playout: Playout,
    codec: Option<Codec>,
    fifo: Fifo,
    /// What it wants its silence filled with, and until when.
    noise: Option<(Noise, i64)>,
    /// The level of what was decoded last, or what the talker says it is.
    level: u8,
    /// Packets passed over since one was decoded.
    passed: u8,
    was_heard: bool,
    /// Ticks until a cut in loud sound is allowed again.
    cut_pause: u8,
}

impl Talker {
    /// Begins with a talker's first packet.
    pub(super) fn new(first: &Arrival<'_>, clock_hz: u32, wait_max_us: i64) -> Self {
        Self {
            jitter: Jitter::new(first, clock_hz, wait_max_us),
            playout: Playout::Silent,
            codec: None,
            fifo: Fifo::new(0),
            noise: None,
            level: SILENCE,
            passed: PASSED_MAX,
            was_heard: false,
            cut_pause: 0,
        }
    }

    /// Takes a packet.
    ///
    /// # Errors
    /// Says why it isn't kept.
    pub(super) fn receive(&mut self, arrival: &Arrival<'_>, clock_hz: u32) -> Result<(), Refused> {
        let restarts = self.jitter.counts.restarts;
        let taken = self.jitter.put(arrival, clock_hz);
        if self.jitter.counts.restarts != restarts {
            self.playout = Playout::Silent;
            self.noise = None;
        }
        taken
    }

    /// Whether there is anything to be played, now or soon.
    pub(super) fn is_active(&self) -> bool {
        self.playout != Playout::Silent
            || self.fifo.len() > 0
            || self.noise.is_some()
            || !matches!(self.jitter.next(), Next::Nothing)
    }

    /// Its level in −dBov; what it says of the packet that is next, where it does.
    pub(super) fn level(&self) -> u8 {
        match (self.playout, self.jitter.next()) {
            (_, Next::Here(waiting) | Next::Gap(waiting)) => waiting.level.unwrap_or(self.level),
            (Playout::Silent, Next::Nothing) => SILENCE,
            (Playout::Playing { .. } | Playout::Starved { .. }, Next::Nothing) => self.level,
        }
    }

    pub(super) fn ssrc(&self) -> Ssrc {
        self.jitter.ssrc()
    }

    /// Hertz of its timestamps.
    pub(super) fn clock_hz(&self) -> u32 {
        u32::try_from(self.jitter.clock_hz()).unwrap_or(0)
    }

    pub(super) fn counts(&self) -> TalkCounts {
        self.jitter.counts
    }

    /// Its target, for the records, in microseconds.
    pub(super) fn target_us(&self, now_us: i64) -> i64 {
        self.jitter.target_us(now_us)
    }

    /// Writes its next 20 ms at the room's rate; says whether there is anything but silence.
    pub(super) fn pull(&mut self, pull: &Pull<'_>, out: &mut [i16]) -> bool {
        let sounds = self.gather(pull);
        if let Playout::Playing { time, duration } = self.playout {
            self.keep_pace(pull, time, duration);
        }
        let Some(codec) = &mut self.codec else {
            return false;
        };
        let need = samples_of_tick(codec.hz);
        let was_heard = std::mem::replace(&mut self.was_heard, pull.is_heard);
        if !sounds || !pull.is_heard {
            self.fifo.drop_front(need);
            return false;
        }
        if !was_heard {
            fade_in(self.fifo.front_mut(need / 4));
        }
        let samples = self.fifo.front(need);
        let written = match &mut codec.resampler {
            Some((_, resampler)) => resampler.process(samples, out),
            None => {
                let length = samples.len().min(out.len());
                out[..length].copy_from_slice(&samples[..length]);
                length
            }
        };
        out[written..].fill(0);
        self.fifo.drop_front(need);
        true
    }

    /// Decodes and makes up until there are 20 ms; says whether any of it is sound.
    fn gather(&mut self, pull: &Pull<'_>) -> bool {
        let mut sounds = self.fifo.len() > 0;
        loop {
            let need = self
                .codec
                .as_ref()
                .map_or(0, |codec| samples_of_tick(codec.hz));
            if need > 0 && self.fifo.len() >= need {
                return sounds;
            }
            match self.playout {
                Playout::Playing { time, duration } => match self.jitter.next() {
                    Next::Here(waiting) if self.follows(&waiting, time) => {
                        sounds |= self.play(&waiting, pull);
                    }
                    Next::Here(_) => self.playout = Playout::Silent,
                    Next::Gap(waiting) => sounds |= self.lose(&waiting, (time, duration), pull),
                    Next::Nothing => {
                        let since_us = pull.now_us;
                        self.playout = Playout::Starved { time, since_us };
                    }
                },
                Playout::Silent | Playout::Starved { .. } => {
                    let Some(waiting) = self.due(pull) else {
                        return self.fill(need, pull) || sounds;
                    };
                    self.note_late(&waiting);
                    sounds |= self.play(&waiting, pull);
                }
            }
        }
    }

    /// Whether a packet is the one that is expected: sound goes on with it, however its sender
    /// rounds.
    fn follows(&self, waiting: &Waiting, time: i64) -> bool {
        micros(waiting.time - time, self.jitter.clock_hz()) <= ROUNDING_US
    }

    /// The packet to begin with, once its time has come.
    fn due(&mut self, pull: &Pull<'_>) -> Option<Waiting> {
        while let Next::Here(waiting) | Next::Gap(waiting) = self.jitter.next() {
            let duration = match waiting.kind {
                Kind::Audio { duration, .. } => i64::from(duration),
                Kind::Noise => 0,
                Kind::Other => {
                    self.jitter.played(waiting.seq);
                    continue;
                }
            };
            let lead_us = lead_us(micros(duration, self.jitter.clock_hz()));
            let due_us = self.jitter.due_us(waiting.time, pull.now_us) + lead_us;
            return (due_us <= pull.now_us).then_some(waiting);
        }
        None
    }

    /// A packet that comes when nothing was left of those before it came too late.
    fn note_late(&mut self, waiting: &Waiting) {
        if let Playout::Starved { time, since_us } = self.playout
            && waiting.at_us > since_us
            && self.follows(waiting, time)
        {
            self.jitter.was_late(waiting.time, waiting.at_us);
        }
    }

    /// Decodes a packet, or passes over it; says whether it is sound.
    fn play(&mut self, waiting: &Waiting, pull: &Pull<'_>) -> bool {
        let (format, duration) = match waiting.kind {
            Kind::Audio { format, duration } => (format, duration),
            Kind::Noise => {
                self.describe_noise(waiting, pull.now_us);
                self.jitter.played(waiting.seq);
                self.playout = Playout::Silent;
                return false;
            }
            Kind::Other => {
                self.jitter.played(waiting.seq);
                return false;
            }
        };
        self.noise = None;
        self.playout = Playout::Playing {
            time: waiting.time + i64::from(duration),
            duration,
        };
        let known = self.prepare(format, pull);
        let clock_hz = self.jitter.clock_hz();
        if let Some(codec) = self.codec.as_mut().filter(|_| known) {
            let samples = units_to_samples(duration, codec.hz, clock_hz).max(1);
            if pull.is_heard || (waiting.level.is_none() && self.passed >= PASSED_MAX) {
                self.passed = 0;
                let payload = self.jitter.payload(waiting);
                match codec.decoder.decode(payload, self.fifo.room()) {
                    Ok(count) if count > 0 => {
                        let new = self.fifo.room().get(..count).unwrap_or_default();
                        self.level = waiting.level.unwrap_or_else(|| level(new));
                        self.fifo.wrote(count);
                    }
                    Ok(_) | Err(_) => {
                        self.jitter.counts.malformed += 1;
                        made_up(codec, samples, None, &mut self.fifo);
                    }
                }
            } else {
                self.passed = (self.passed + 1).min(PASSED_MAX);
                self.level = waiting.level.unwrap_or(self.level);
                self.fifo.zeros(samples);
            }
        }
        self.jitter.played(waiting.seq);
        known
    }

    /// The talker says what its silence sounds like.
    fn describe_noise(&mut self, waiting: &Waiting, now_us: i64) {
        let payload = self.jitter.payload(waiting);
        let (mut noise, _) = self
            .noise
            .take()
            .unwrap_or_else(|| (Noise::new(self.jitter.ssrc().0), 0));
        noise.describe(payload);
        self.level = payload.first().map_or(SILENCE, |level| level & 0x7f);
        // RFC 3389 §4: how often it is told is the talker's choice; who tells no more is gone.
        self.noise = (self.level < SILENCE).then_some((noise, now_us + NOISE_US));
    }

    /// Conceals one packet before `next`, or leaves off where the talker paused meanwhile.
    fn lose(&mut self, next: &Waiting, at: (i64, u32), pull: &Pull<'_>) -> bool {
        let (time, duration) = at;
        let missing = next.seq - self.jitter.next_seq();
        let gap = next.time - time;
        if gap > (missing + 1) * i64::from(duration) || duration == 0 {
            // RFC 3550 §5.1: the timestamp says how long it is, the numbers how much is lost.
            self.jitter.played(next.seq - 1);
            self.playout = Playout::Silent;
            return false;
        }
        let lost = self.jitter.next_seq();
        self.playout = Playout::Playing {
            time: (time + i64::from(duration)).min(next.time.max(time)),
            duration,
        };
        let clock_hz = self.jitter.clock_hz();
        if let Some(codec) = &mut self.codec {
            let samples = units_to_samples(duration, codec.hz, clock_hz);
            let next = (missing == 1 && pull.is_heard).then(|| self.jitter.payload(next));
            let made = made_up(codec, samples, next, &mut self.fifo);
            self.jitter.counts.concealed_ms += ms_of(made, codec.hz);
        }
        self.jitter.counts.lost += 1;
        self.jitter.played(lost);
        true
    }

    /// Makes up the rest of 20 ms where nothing is to be played; says whether it is sound.
    fn fill(&mut self, need: usize, pull: &Pull<'_>) -> bool {
        let missing = need.saturating_sub(self.fifo.len());
        let Some(codec) = &mut self.codec else {
            self.playout = Playout::Silent;
            return false;
        };
        if let Playout::Starved { since_us, .. } = self.playout {
            // Out of quiet a codec that leaves silence out makes up its noise, until it tells more.
            let is_pause = codec.leaves_out && self.level >= QUIET_LEVEL;
            let limit_us = if is_pause { PAUSED_US } else { STARVED_US };
            if pull.now_us - since_us < limit_us {
                let made = made_up(codec, missing, None, &mut self.fifo);
                if !is_pause {
                    self.jitter.counts.concealed_ms += ms_of(made, codec.hz);
                }
                return true;
            }
            self.playout = Playout::Silent;
        }
        self.noise = self.noise.take().filter(|(_, until)| *until > pull.now_us);
        if let Some((noise, _)) = &mut self.noise {
            let room = self.fifo.room();
            let missing = missing.min(room.len());
            noise.fill(&mut room[..missing]);
            self.fifo.wrote(missing);
            return true;
        }
        self.level = SILENCE;
        self.fifo.zeros(missing);
        false
    }

    /// Makes the delay smaller or greater where it isn't what it should be.
    fn keep_pace(&mut self, pull: &Pull<'_>, time: i64, duration: u32) {
        self.cut_pause = self.cut_pause.saturating_sub(1);
        let is_quiet = self.level >= QUIET_LEVEL;
        let (excess_us, lack_us) = self.pace(pull.now_us, time, duration);
        let may_cut = is_quiet || (excess_us > LOUD_EXCESS_US && self.cut_pause == 0);
        if excess_us > SLACK_US && may_cut {
            self.cut(excess_us.min(TICK_US), time, pull);
        } else if is_quiet
            && lack_us > LACK_US
            && let Some(codec) = &mut self.codec
        {
            let wanted = us_to_samples(lack_us.clamp(STRETCH_US, TICK_US / 2), codec.hz);
            let made = made_up(codec, wanted, None, &mut self.fifo);
            self.jitter.counts.stretched_ms += ms_of(made, codec.hz);
        }
    }

    /// How much longer than wanted what plays now has waited, and how much shorter than wanted
    /// the next packet will have, in microseconds.
    fn pace(&self, now_us: i64, time: i64, duration: u32) -> (i64, i64) {
        let hz = self.codec.as_ref().map_or(1, |codec| codec.hz);
        let clock_hz = self.jitter.clock_hz();
        let kept_us = i64::try_from(self.fifo.len()).unwrap_or(0) * 1_000_000 / i64::from(hz);
        let wanted_us = self.jitter.base_us()
            + self.jitter.target_us(now_us)
            + lead_us(micros(i64::from(duration), clock_hz));
        // What plays now is as much older than the next packet as there are samples.
        let playing_us = micros(time, clock_hz) - kept_us;
        let excess_us = now_us - playing_us - wanted_us - TICK_US;
        let decoded_us = now_us + kept_us / TICK_US * TICK_US;
        let lack_us = wanted_us - (decoded_us - micros(time, clock_hz));
        (excess_us, lack_us)
    }

    /// Cuts out what is too much, if it is there.
    fn cut(&mut self, excess_us: i64, time: i64, pull: &Pull<'_>) {
        let hz = self.codec.as_ref().map_or(1, |codec| codec.hz);
        let (need, wanted) = (samples_of_tick(hz), us_to_samples(excess_us, hz));
        if self.fifo.len() < need + wanted
            && let Next::Here(waiting) = self.jitter.next()
            && self.follows(&waiting, time)
        {
            self.play(&waiting, pull);
        }
        let count = wanted.min(self.fifo.len().saturating_sub(need));
        self.jitter.counts.cut_ms += ms_of(self.fifo.cut(count, need / 4), hz);
        self.cut_pause = CUT_PAUSE;
    }

    /// Makes ready to decode a format; says whether it can be.
    fn prepare(&mut self, format: u8, pull: &Pull<'_>) -> bool {
        if self
            .codec
            .as_ref()
            .is_none_or(|codec| codec.format != format)
        {
            let Some(wanted) = pull.formats.get(usize::from(format)) else {
                return false;
            };
            let Ok(decoder) = Decoder::new(wanted.codec) else {
                return false;
            };
            let hz = wanted.codec.sample_rate();
            let capacity = (PACKET_TICKS + 4) * samples_of_tick(hz);
            if self.codec.as_ref().is_none_or(|codec| codec.hz != hz) {
                self.fifo.clear();
            }
            if self.fifo.capacity() < capacity {
                self.fifo = Fifo::new(capacity);
            }
            self.codec = Some(Codec {
                format,
                hz,
                leaves_out: leaves_out(wanted.codec),
                decoder,
                resampler: None,
            });
        }
        let Some(codec) = &mut self.codec else {
            return false;
        };
        let at = codec.resampler.as_ref().map_or(codec.hz, |(to, _)| *to);
        if at != pull.hz {
            codec.resampler = Resampler::new(codec.hz, pull.hz)
                .ok()
                .filter(|_| codec.hz != pull.hz)
                .map(|resampler| (pull.hz, resampler));
        }
        true
    }
}

/// Makes up samples for a packet that didn't come, from the next one's payload where it tells.
fn made_up(codec: &mut Codec, samples: usize, next: Option<&[u8]>, fifo: &mut Fifo) -> usize {
    let room = fifo.room();
    let samples = samples.min(room.len());
    let made = match next.and_then(|next| codec.decoder.recover(next, room)) {
        Some(count) => count,
        None => conceal(codec, samples, room),
    };
    fifo.wrote(made);
    // Never less than asked for, or nobody's time would go on.
    fifo.zeros(samples.saturating_sub(made));
    made.max(samples)
}

/// Codecs make up whole frames: as many as have `samples` or more.
fn conceal(codec: &mut Codec, samples: usize, room: &mut [i16]) -> usize {
    let tick = samples_of_tick(codec.hz);
    let whole = samples.next_multiple_of((tick / 8).max(1));
    match codec.decoder.conceal(whole, room) {
        made if made >= samples => made,
        made => {
            let rest = (samples - made).next_multiple_of(tick.max(1));
            made + codec
                .decoder
                .conceal(rest, room.get_mut(made..).unwrap_or_default())
        }
    }
}

fn fade_in(samples: &mut [i16]) {
    let whole = i32::try_from(samples.len()).unwrap_or(1).max(1);
    for (at, sample) in (0..whole).zip(samples) {
        *sample = i16::try_from(i32::from(*sample) * at / whole).unwrap_or(0);
    }
}

/// RFC 7587 §3.1.3, RFC 4867 §3.3: discontinuous transmission is part of the codec.
fn leaves_out(codec: AudioCodec) -> bool {
    match codec {
        AudioCodec::Opus { .. } | AudioCodec::AmrNb { .. } | AudioCodec::AmrWb { .. } => true,
        AudioCodec::Pcmu | AudioCodec::Pcma | AudioCodec::G722 => false,
    }
}

/// How much earlier than the last packet of a tick its first one is needed.
fn lead_us(duration_us: i64) -> i64 {
    (TICK_US - duration_us).max(0)
}

/// Samples of 20 ms.
pub(super) fn samples_of_tick(hz: u32) -> usize {
    usize::try_from(hz / 50).unwrap_or(0)
}

fn ms_of(samples: usize, hz: u32) -> u64 {
    u64::try_from(samples).unwrap_or(0) * 1000 / u64::from(hz.max(1))
}

fn us_to_samples(us: i64, hz: u32) -> usize {
    usize::try_from(us * i64::from(hz) / 1_000_000).unwrap_or(0)
}

fn units_to_samples(units: u32, hz: u32, clock_hz: i64) -> usize {
    usize::try_from(i64::from(units) * i64::from(hz) / clock_hz).unwrap_or(0)
}

const TICK_US: i64 = 20_000;
/// Ticks of the longest packet.
const PACKET_TICKS: usize = CODEC_SAMPLES / 960;
/// Timestamps this far off are the sender's rounding; more is a pause.
const ROUNDING_US: i64 = 5_000;
/// How long a talker of whom nothing comes is made up, before it counts as silent.
const STARVED_US: i64 = 100_000;
/// How long it may leave out: Opus tells more every 400 ms, AMR every 160 ms.
const PAUSED_US: i64 = 600_000;
/// How long comfort noise lasts that isn't told anew.
const NOISE_US: i64 = 2_000_000;
/// From this level on, −dBov, what is cut out or filled in isn't heard.
pub(super) const QUIET_LEVEL: u8 = 45;
/// How much longer than wanted the delay may be, and how much shorter.
const SLACK_US: i64 = 5_000;
const LACK_US: i64 = 1_000;
/// What is filled in at least: two frames of any codec that has such short ones.
const STRETCH_US: i64 = 5_000;
/// How much too long it may be before sound that isn't quiet is cut, and ticks between two cuts.
const LOUD_EXCESS_US: i64 = 40_000;
const CUT_PAUSE: u8 = 5;
/// Packets of one who isn't heard that are passed over before one is decoded for its level.
const PASSED_MAX: u8 = 4;
