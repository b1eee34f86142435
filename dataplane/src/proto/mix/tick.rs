//! 20 ms of a room: who is heard, the sum, and what everyone gets of it.

use std::time::Instant;

use super::loudness::{Loudest, Loudness};
use super::member::{Listens, Member, Packet};
use super::talker::{Pull, QUIET_LEVEL, samples_of_tick};
use super::voice::{Between, Voice};
use super::{Clock, Mixer, Seat, TICK_US, sum};
use crate::codec::SILENCE;
use crate::limits::{CODEC_PAYLOAD_BYTES, MIX_TALKERS};
use crate::wire::rtp::Ssrc;

/// What a tick works with: one for all rooms of a worker.
pub struct Scratch {
    frames: Box<[[i16; FRAME]; MIX_TALKERS]>,
    sum: Box<[i32; FRAME]>,
    rest: Box<[i32; FRAME]>,
    between: Box<Between>,
    payload: Box<[u8; CODEC_PAYLOAD_BYTES]>,
    heard: Heard,
}

/// Samples of 20 ms at the highest rate.
const FRAME: usize = 960;

/// Who is heard in this tick, in the order of their frames.
#[derive(Debug, Clone, Copy)]
struct Heard {
    /// Who sends, and be it silence: others are sent that, too, as a stream that stops is taken
    /// for one that is lost.
    senders: usize,
    /// The level of the loudest of those that nobody hears.
    silence: u8,
    count: usize,
    seats: [Seat; MIX_TALKERS],
    ssrcs: [Ssrc; MIX_TALKERS],
    levels: [u8; MIX_TALKERS],
}

impl Heard {
    const NOBODY: Self = Self {
        senders: 0,
        silence: SILENCE,
        count: 0,
        seats: [Seat(u16::MAX); MIX_TALKERS],
        ssrcs: [Ssrc(0); MIX_TALKERS],
        levels: [0; MIX_TALKERS],
    };

    fn push(&mut self, seat: Seat, ssrc: Ssrc, level: u8) {
        if self.count < MIX_TALKERS {
            self.seats[self.count] = seat;
            self.ssrcs[self.count] = ssrc;
            self.levels[self.count] = level;
            self.count += 1;
        }
    }

    fn place(&self, seat: Seat) -> Option<usize> {
        self.seats[..self.count].iter().position(|one| *one == seat)
    }

    /// How many are not drowned by the loudest of them, by their levels before any gain.
    fn voices(&self) -> usize {
        let levels = &self.levels[..self.count];
        let Some(loudest) = levels.iter().min() else {
            return 0;
        };
        let drowned = loudest.saturating_add(DROWNED_DB);
        levels.iter().filter(|level| **level < drowned).count()
    }

    /// All but the one of this place.
    fn without(mut self, place: usize) -> Self {
        self.seats.copy_within(place + 1..self.count, place);
        self.ssrcs.copy_within(place + 1..self.count, place);
        self.levels.copy_within(place + 1..self.count, place);
        self.count -= 1;
        self
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            frames: Box::new([[0; FRAME]; MIX_TALKERS]),
            sum: Box::new([0; FRAME]),
            rest: Box::new([0; FRAME]),
            between: Box::new([0; FRAME]),
            payload: Box::new([0; CODEC_PAYLOAD_BYTES]),
            heard: Heard::NOBODY,
        }
    }
}

impl Mixer {
    /// Does what is due by now, and gives every packet to `out`: whose it is, its header, its
    /// payload.
    pub fn tick(
        &mut self,
        now: Instant,
        scratch: &mut Scratch,
        out: &mut impl FnMut(Seat, &[u8], &[u8]),
    ) {
        let now_us = self.micros(now);
        while let Clock::Running { next_us, .. } = self.clock {
            if next_us > now_us {
                return;
            }
            // A worker that was held up doesn't make up for what nobody waits for any more.
            let at_us = if now_us - next_us > STALL_US {
                now_us
            } else {
                next_us
            };
            self.one_tick(at_us, scratch, out);
        }
    }

    fn one_tick(
        &mut self,
        at_us: i64,
        scratch: &mut Scratch,
        out: &mut impl FnMut(Seat, &[u8], &[u8]),
    ) {
        let Clock::Running {
            phase_ms,
            quiet_ticks,
            ..
        } = self.clock
        else {
            return;
        };
        self.counts.ticks += 1;
        let is_anybody_there = self.add_up(at_us, scratch);
        self.follow_speaker();
        let heard = &scratch.heard;
        let is_quiet = heard.levels[..heard.count]
            .iter()
            .all(|level| *level >= QUIET_LEVEL);
        self.speak_to_heard((at_us, phase_ms), scratch, out);
        self.speak_to_all((at_us, phase_ms), scratch, out);
        self.rate.follow(is_quiet);
        let quiet_ticks = if is_anybody_there { 0 } else { quiet_ticks + 1 };
        if quiet_ticks >= QUIET_TICKS {
            self.stop();
            return;
        }
        self.clock = Clock::Running {
            next_us: at_us + TICK_US,
            phase_ms: (phase_ms + TICK_MS) % ROUND_MS,
            quiet_ticks,
        };
    }

    fn stop(&mut self) {
        self.clock = Clock::Stopped;
        self.rate.hz = self.rate.wanted_hz;
        self.speaker.stop();
        for member in self.members.iter_mut().flatten() {
            member.gets_own = false;
            member.is_heard = false;
            member.loudness = Loudness::default();
        }
    }

    /// Takes 20 ms of everyone who sends, and adds up those of the loudest; says whether anybody
    /// sends.
    fn add_up(&mut self, at_us: i64, scratch: &mut Scratch) -> bool {
        let loudest = self.find_loudest();
        let length = samples_of_tick(self.rate.hz).min(FRAME);
        scratch.heard = Heard::NOBODY;
        scratch.sum[..length].fill(0);
        let mut is_anybody_there = false;
        for (index, member) in (0..).zip(&mut self.members) {
            let Some(member) = member else { continue };
            let Some(talker) = member.talker.as_mut().filter(|talker| talker.is_active()) else {
                member.is_heard = false;
                continue;
            };
            is_anybody_there = true;
            let seat = Seat(index);
            let pull = Pull {
                now_us: at_us,
                hz: self.rate.hz,
                formats: &member.formats,
                is_heard: loudest.has(seat),
            };
            let frame = &mut scratch.frames[scratch.heard.count.min(MIX_TALKERS - 1)][..length];
            let sounds = talker.pull(&pull, frame);
            member.is_heard = pull.is_heard;
            scratch.heard.senders += usize::from(pull.is_heard && sounds);
            // As soon as it is louder: who is heard was found by the packet before.
            let is_silence = member.loudness.is_silence() && talker.level() >= SILENT_LEVEL;
            if pull.is_heard && sounds && is_silence {
                scratch.heard.silence = scratch.heard.silence.min(talker.level());
            } else if pull.is_heard && sounds {
                if self.spec.auto_gain {
                    member.gain.apply(talker.level(), frame);
                }
                sum::add(&mut scratch.sum[..length], frame);
                scratch.heard.push(seat, talker.ssrc(), talker.level());
            }
        }
        is_anybody_there
    }

    fn find_loudest(&mut self) -> Loudest {
        let mut loudest = Loudest::new(self.spec.talkers);
        for (index, member) in (0..).zip(&mut self.members) {
            let Some(member) = member else { continue };
            let talker = member.talker.as_ref().filter(|talker| talker.is_active());
            let Some(talker) = talker else {
                member.loudness = Loudness::default();
                continue;
            };
            member.loudness.follow(talker.level());
            loudest.offer(Seat(index), member.loudness, member.is_heard);
        }
        loudest
    }

    fn follow_speaker(&mut self) {
        let mut loudest: Option<(Seat, Loudness)> = None;
        for (index, member) in (0..).zip(&self.members) {
            if let Some(member) = member
                && loudest.is_none_or(|(_, loudness)| member.loudness > loudness)
            {
                loudest = Some((Seat(index), member.loudness));
            }
        }
        let current = self.speaker.current().and_then(|seat| self.member(seat));
        let of_current = current.map(|member| member.loudness).unwrap_or_default();
        self.speaker.follow(loudest, of_current);
    }

    /// Gives everyone who is heard the sum without itself.
    fn speak_to_heard(
        &mut self,
        at: (i64, u32),
        scratch: &mut Scratch,
        out: &mut impl FnMut(Seat, &[u8], &[u8]),
    ) {
        let (hz, length) = (self.rate.hz, samples_of_tick(self.rate.hz).min(FRAME));
        for (index, member) in (0..).zip(&mut self.members) {
            let Some(member) = member else { continue };
            let place = scratch.heard.place(Seat(index));
            let Some(listens) = member.listens else {
                continue;
            };
            let shared = self.voices.get(listens.voice).and_then(Option::as_ref);
            member.choose(place.is_some(), listens, shared, at.1);
            let Some(mut own) = member.own.take_if(|_| member.gets_own) else {
                continue;
            };
            let heard = match place {
                Some(place) => {
                    let frame = &scratch.frames[place][..length];
                    sum::take_out(&scratch.sum[..length], frame, &mut scratch.rest[..length]);
                    scratch.heard.without(place)
                }
                None => {
                    scratch.rest[..length].copy_from_slice(&scratch.sum[..length]);
                    scratch.heard
                }
            };
            let others = heard.senders - usize::from(place.is_some());
            let rest = Some(&scratch.rest[..length]).filter(|_| others > 0);
            own.forget_loss(at.0);
            own.push(rest, heard.voices(), hz, &mut scratch.between);
            let is_silence = others > 0 && heard.count == 0;
            let is_listened_to = !(is_silence && member.noise.is_some());
            while let Some((start_us, octets)) =
                packet(&mut own, at.0, is_listened_to, &mut scratch.payload[..])
            {
                let payload = scratch.payload.get(..octets).unwrap_or_default();
                self.counts.encoded += u64::from(octets > 0);
                let sent = Sent {
                    start_us,
                    heard: &heard,
                    is_silence,
                    payload,
                };
                self.counts.sent += send(Seat(index), member, &sent, out);
            }
            member.own = Some(own);
        }
    }

    /// Gives everyone else the whole sum, encoded once for all who get the same.
    fn speak_to_all(
        &mut self,
        at: (i64, u32),
        scratch: &mut Scratch,
        out: &mut impl FnMut(Seat, &[u8], &[u8]),
    ) {
        let (hz, length) = (self.rate.hz, samples_of_tick(self.rate.hz).min(FRAME));
        for (number, voice) in self.voices.iter_mut().enumerate() {
            let Some(voice) = voice else { continue };
            voice.forget_loss(at.0);
            let gets = |member: &Member| {
                !member.gets_own
                    && member
                        .listens
                        .is_some_and(|listens| listens.voice == number)
            };
            let mut users = self.members.iter().flatten().filter(|member| gets(member));
            let is_used = users.clone().next().is_some();
            // What one who is heard goes on with has to be there, too.
            if !is_used && !voice.is_needed_later() {
                continue;
            }
            let is_silence = scratch.heard.senders > 0 && scratch.heard.count == 0;
            let is_listened_to = users.any(|member| !is_silence || member.noise.is_none());
            let sum = Some(&scratch.sum[..length]).filter(|_| scratch.heard.senders > 0);
            voice.push(sum, scratch.heard.voices(), hz, &mut scratch.between);
            while let Some((start_us, octets)) =
                packet(voice, at.0, is_listened_to, &mut scratch.payload[..])
            {
                self.counts.encoded += u64::from(octets > 0);
                let sent = Sent {
                    start_us,
                    heard: &scratch.heard,
                    is_silence,
                    payload: scratch.payload.get(..octets).unwrap_or_default(),
                };
                for (index, member) in (0..).zip(&mut self.members) {
                    if let Some(member) = member.as_mut().filter(|member| gets(member)) {
                        self.counts.sent += send(Seat(index), member, &sent, out);
                    }
                }
            }
        }
    }
}

impl Member {
    /// Whether it gets a mix of its own: from when it is heard until a packet ends after that.
    fn choose(&mut self, is_heard: bool, listens: Listens, shared: Option<&Voice>, phase_ms: u32) {
        if !is_heard {
            let begins = phase_ms.is_multiple_of(u32::from(listens.format.ptime_ms));
            self.gets_own &= !begins;
        } else if !self.gets_own {
            if self.own.is_none() {
                self.own = Voice::new(listens.format).ok().map(Box::new);
            }
            if let Some((own, shared)) = self.own.as_mut().zip(shared) {
                own.adopt(shared);
                self.gets_own = true;
            }
        }
    }
}

/// A packet for one or for many.
struct Sent<'a> {
    start_us: i64,
    heard: &'a Heard,
    /// Others send, and none of them can be heard.
    is_silence: bool,
    payload: &'a [u8],
}

/// Sends a packet, where there is one; says how many that were. Who has agreed on comfort noise gets
/// that in place of silence (RFC 3389 §4: how often is the sender's choice).
fn send(
    seat: Seat,
    member: &mut Member,
    sent: &Sent<'_>,
    out: &mut impl FnMut(Seat, &[u8], &[u8]),
) -> u64 {
    let Some(Listens { format, .. }) = member.listens else {
        return 0;
    };
    let heard = sent.heard;
    let noise = member.noise.filter(|_| sent.is_silence);
    let level = [heard.silence];
    let (payload_type, payload) = match noise {
        Some(noise) if sent.start_us >= member.noise_due_us => (noise, &level[..]),
        Some(_) => return 0,
        None if sent.payload.is_empty() => return 0,
        None => (format.payload_type, sent.payload),
    };
    member.noise_due_us = noise.map_or(i64::MIN, |_| sent.start_us + NOISE_EVERY_US);
    let levels = member
        .mixer_level
        .map(|id| (id, &heard.levels[..heard.count]));
    let head = member.outgoing.head(&Packet {
        payload_type,
        is_noise: noise.is_some(),
        start_us: sent.start_us,
        clock_hz: format.codec.clock_rate(),
        duration_ms: format.ptime_ms,
        csrcs: &heard.ssrcs[..heard.count],
        levels,
    });
    out(seat, head.octets(), payload);
    1
}

/// The next packet of a voice that has got all of the tick at `at_us`: when it begins, and how
/// many octets were encoded.
fn packet(
    voice: &mut Voice,
    at_us: i64,
    is_listened_to: bool,
    payload: &mut [u8],
) -> Option<(i64, usize)> {
    let start_us = at_us + TICK_US - voice.held_us();
    let octets = voice.packet(is_listened_to, payload)?;
    Some((start_us, octets))
}

const TICK_MS: u32 = 20;
/// So much quieter than the loudest, and an encoder has nothing to do for it.
const DROWNED_DB: u8 = 20;
/// −70 dBov.
const SILENT_LEVEL: u8 = 70;
/// Between two packets of comfort noise: a far end that has lost one isn't without for long.
const NOISE_EVERY_US: i64 = 400_000;
/// A worker that is later than this begins anew.
const STALL_US: i64 = 100_000;
/// Ticks without anybody until the clock is stopped: the longest packet is out by then.
const QUIET_TICKS: u8 = 4;
/// After so long packets of 10, 20, 30, 40 and 60 ms begin at once.
const ROUND_MS: u32 = 120;

#[cfg(test)]
mod tests {
    use super::Heard;
    use crate::proto::mix::Seat;
    use crate::wire::rtp::Ssrc;

    #[test]
    fn who_is_drowned_by_the_loudest_is_no_further_voice() {
        let mut heard = Heard::NOBODY;
        assert_eq!(heard.voices(), 0);
        for (seat, level, voices) in [(0, 60, 1), (1, 45, 2), (2, 30, 2), (3, 12, 2), (4, 0, 2)] {
            heard.push(Seat(seat), Ssrc(1), level);
            assert_eq!(heard.voices(), voices, "{level}");
        }
        assert_eq!(heard.without(4).without(3).voices(), 2);
    }
}
