//! The mixer of one room: each member gets the sum of the others (RFC 3550 §7; System Description
//! 5.2.3.9).
//!
//! ```text
//! receive ─▶ talker: jitter ─▶ decoder ─▶ rate ─┐          ┌─ all ───────▶ voice ─▶ who isn't heard
//! receive ─▶ talker: …                          ├─▶ sum ─▶ ┤                        (one encoding)
//! receive ─▶ talker: …                          ┘          └─ less own ──▶ voice ─▶ each who is
//! ```
//!
//! The first packet starts a clock of 20 ms, and it stops when nobody sends: an idle room costs
//! nothing. At most `MixSpec::talkers` are heard, the loudest. What two members with the same codec
//! and packet time send is passed as it comes, and not decoded; telephone events always are.

mod counts;
mod delay;
mod fifo;
mod forward;
mod gain;
mod jitter;
mod loudness;
mod member;
pub mod sum;
mod talker;
#[cfg(test)]
mod tests;
mod tick;
mod voice;

pub use counts::{MixCounts, TalkCounts};
pub use tick::Scratch;

use std::time::{Duration, Instant};

use forward::Forward;
use jitter::{Arrival, Kind};
use loudness::Speaker;
use member::{Listens, Member, NOISE, Outgoing};
use talker::{QUIET_LEVEL, Talker};
use voice::Voice;

use crate::api::{AudioCodec, AudioFormat, Direction, MixSpec, RtpFormats};
use crate::codec::samples_of;
use crate::limits::{MIX_FORMATS, MIX_JITTER_MS_MAX, MIX_JITTER_MS_MIN, MIX_MEMBERS};
use crate::wire::media::View;
use crate::wire::rtp::Ssrc;

/// A member's place in a mixer; given anew once its member is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seat(u16);

impl Seat {
    /// Its number, below `limits::MIX_MEMBERS`.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Why a packet isn't taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It isn't RTP, or nobody sits there.
    NotRtp,
    /// The member isn't to send.
    Direction,
    /// The member has no such payload type, or the payload isn't one of its codec.
    Format,
    /// It came after its time, or is from another one altogether.
    Late,
    /// It was there already.
    Duplicate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clock {
    Stopped,
    Running {
        next_us: i64,
        /// Since it was started, below the least time in which all packets begin together.
        phase_ms: u32,
        quiet_ticks: u8,
    },
}

/// The mixer of one room.
#[derive(Debug)]
pub struct Mixer {
    spec: MixSpec,
    random: u64,
    /// What times are counted from: the first that was ever told.
    epoch: Option<Instant>,
    clock: Clock,
    rate: Rate,
    members: Vec<Option<Box<Member>>>,
    /// One for each codec and packet time.
    voices: Vec<Option<Voice>>,
    pair: Pair,
    speaker: Speaker,
    counts: MixCounts,
}

/// The rate at which is mixed: the highest that somebody listens at. It changes in a pause, as
/// those who are listening hear it.
#[derive(Debug, Clone, Copy)]
struct Rate {
    hz: u32,
    wanted_hz: u32,
    waited_ticks: u8,
}

impl Rate {
    /// A tick in which somebody sounds, or nobody does.
    fn follow(&mut self, is_quiet: bool) {
        if self.hz == self.wanted_hz {
            return;
        }
        self.waited_ticks += 1;
        if is_quiet || self.waited_ticks >= RATE_TICKS_MAX {
            self.hz = self.wanted_hz;
            self.waited_ticks = 0;
        }
    }
}

/// Whether two members' packets can be passed as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pair {
    /// There are others, or fewer, or their codecs differ, or their packets did.
    No,
    /// These two.
    Of(Seat, Seat),
}

impl Mixer {
    /// A mixer without members. `seed` is random: sources, numbers and timestamps come of it.
    #[must_use]
    pub fn new(spec: MixSpec, seed: u64) -> Self {
        Self {
            spec,
            random: seed,
            epoch: None,
            clock: Clock::Stopped,
            rate: Rate {
                hz: HZ_MIN,
                wanted_hz: HZ_MIN,
                waited_ticks: 0,
            },
            members: Vec::new(),
            voices: Vec::new(),
            pair: Pair::No,
            speaker: Speaker::default(),
            counts: MixCounts::default(),
        }
    }

    /// Adds a member, who neither sends nor gets anything yet; `None`: there are
    /// `limits::MIX_MEMBERS`.
    pub fn add(&mut self) -> Option<Seat> {
        let index = match self.members.iter().position(Option::is_none) {
            Some(index) => index,
            None if self.members.len() < MIX_MEMBERS => {
                self.members.push(None);
                self.members.len() - 1
            }
            None => {
                self.counts.full += 1;
                return None;
            }
        };
        let outgoing = Outgoing::new([(); 3].map(|()| self.random()));
        *self.members.get_mut(index)? = Some(Box::new(Member::new(outgoing)));
        self.pair_up();
        u16::try_from(index).ok().map(Seat)
    }

    /// Says what a member may send and what it gets, at first or anew. What it gets is the first
    /// format that can be encoded; whether there is one is answered.
    pub fn set(&mut self, seat: Seat, formats: &RtpFormats, direction: Direction) -> bool {
        let before = self.listens(seat);
        let count = formats.audio.len().min(MIX_FORMATS);
        let audio = formats.audio.get(..count).unwrap_or_default();
        let listens = if direction.may_receive {
            audio.iter().find_map(|format| self.voice_for(*format))
        } else {
            None
        };
        let Some(member) = self.member_mut(seat) else {
            return false;
        };
        if *member.formats != *audio {
            member.formats = audio.into();
            member.drop_talker();
        }
        if !direction.may_send {
            member.drop_talker();
        }
        let clock = |listens: Listens| listens.format.codec.clock_rate();
        if before.map(clock) != listens.map(clock) && before.is_some() {
            member.outgoing.begin_anew();
        }
        if let Some(listens) = listens
            && member
                .own
                .as_ref()
                .is_some_and(|own| !own.serves(&listens.format))
        {
            (member.own, member.gets_own) = (None, false);
        }
        member.direction = direction;
        member.listens = listens;
        member.take(formats);
        if let Some(listens) = before {
            self.leave_voice(listens.voice);
        }
        self.changed();
        listens.is_some() || !direction.may_receive
    }

    /// Removes a member.
    pub fn remove(&mut self, seat: Seat) {
        if let Some(listens) = self.listens(seat) {
            self.leave_voice(listens.voice);
        }
        if let Some(member) = self.members.get_mut(seat.index()) {
            *member = None;
        }
        self.speaker.forget(seat);
        self.changed();
    }

    /// Forgets what waits of a member: it isn't to be heard any more, as it has lost the floor.
    pub fn hush(&mut self, seat: Seat) {
        if let Some(member) = self.member_mut(seat) {
            member.drop_talker();
        }
    }

    /// Takes a member's packet. What isn't mixed is passed to `out` at once, as `tick` does.
    ///
    /// # Errors
    /// Says why it isn't taken.
    pub fn receive(
        &mut self,
        now: Instant,
        seat: Seat,
        packet: &[u8],
        out: &mut impl FnMut(Seat, &[u8], &[u8]),
    ) -> Result<(), Refused> {
        let at_us = self.micros(now);
        let view = View::parse(packet).ok_or(Refused::NotRtp)?;
        let again = self.random();
        let member = self.member_mut(seat).ok_or(Refused::NotRtp)?;
        if !member.direction.may_send {
            return Err(Refused::Direction);
        }
        if member.outgoing.ssrc == view.ssrc {
            // RFC 3550 §8.2: the far end has the same source by chance.
            member.outgoing.ssrc = Ssrc(again);
        }
        let (kind, clock_hz) = member.kind_of(&view)?;
        let level = member.client_level.and_then(|id| view.client_level(id));
        if self.forward(seat, &view, at_us, out) {
            self.heard_of(seat, level);
            return Ok(());
        }
        if kind == Kind::Other {
            self.press(seat, &view, at_us, out);
        }
        let arrival = Arrival {
            at_us,
            seq: view.seq.0,
            timestamp: view.timestamp.0,
            ssrc: view.ssrc,
            kind,
            level,
            payload: view.payload,
        };
        self.keep(seat, &arrival, clock_hz)
    }

    /// A member says how much it has lost of late of what it gets, in 256ths (RFC 3550 §6.4.1): who
    /// gets the same is sent redundancy from now on, where its codec has it.
    pub fn hear_of_loss(&mut self, seat: Seat, now: Instant, fraction: u8) {
        let at_us = self.micros(now);
        let Some(listens) = self.listens(seat).filter(|_| fraction >= LOST) else {
            return;
        };
        if let Some(Some(voice)) = self.voices.get_mut(listens.voice) {
            voice.hear_of_loss(at_us);
        }
        if let Some(own) = self.member_mut(seat).and_then(|member| member.own.as_mut()) {
            own.hear_of_loss(at_us);
        }
    }

    /// The stream that a member gets, if only for its source: who gets nothing is reported to as well;
    /// and what its timestamp is now.
    pub fn stream_of(&mut self, seat: Seat, now: Instant) -> Option<(Ssrc, u32)> {
        let at_us = self.micros(now);
        let member = self.member(seat)?;
        let clock_hz = member
            .listens
            .map_or(CLOCK_HZ, |listens| listens.format.codec.clock_rate());
        Some((
            member.outgoing.ssrc,
            member.outgoing.time_of(at_us, clock_hz),
        ))
    }

    /// When `tick` is due; `None`: nobody sends.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let Clock::Running { next_us, .. } = self.clock else {
            return None;
        };
        let since = Duration::from_micros(u64::try_from(next_us).unwrap_or(0));
        self.epoch?.checked_add(since)
    }

    /// Whether what comes may as well be taken just before the next tick: its clock runs, and
    /// nobody's packets are passed as they come.
    #[must_use]
    pub fn takes_its_time(&self) -> bool {
        self.clock != Clock::Stopped && self.pair == Pair::No
    }

    /// Who speaks: the loudest, and not by a moment's noise; `None` after a second of silence.
    #[must_use]
    pub fn speaker(&self) -> Option<Seat> {
        self.speaker.current()
    }

    /// What came of a member.
    #[must_use]
    pub fn talked(&self, seat: Seat) -> TalkCounts {
        self.member(seat).map(Member::talked).unwrap_or_default()
    }

    /// How long a member's packets are to wait by now, in microseconds; 0: it sends none.
    #[must_use]
    pub fn target_us(&self, seat: Seat, now: Instant) -> u64 {
        let talker = self.member(seat).and_then(|member| member.talker.as_ref());
        let target = talker.map_or(0, |talker| talker.target_us(self.since_epoch(now)));
        u64::try_from(target).unwrap_or(0)
    }

    /// What it did.
    #[must_use]
    pub fn counts(&self) -> MixCounts {
        self.counts
    }

    fn keep(&mut self, seat: Seat, arrival: &Arrival<'_>, clock_hz: u32) -> Result<(), Refused> {
        if !self.somebody_listens_to(seat) {
            return Ok(());
        }
        let wait_max = self
            .spec
            .jitter_max_ms
            .clamp(MIX_JITTER_MS_MIN, MIX_JITTER_MS_MAX);
        let wait_max_us = i64::from(wait_max) * 1000;
        let member = self.member_mut(seat).ok_or(Refused::NotRtp)?;
        let talker = match &mut member.talker {
            Some(talker) => {
                talker.receive(arrival, clock_hz)?;
                talker
            }
            None if arrival.kind == Kind::Other => return Ok(()),
            none => none.insert(Box::new(Talker::new(arrival, clock_hz, wait_max_us))),
        };
        let first_us = arrival.at_us + talker.target_us(arrival.at_us);
        if self.clock == Clock::Stopped {
            self.clock = Clock::Running {
                next_us: first_us,
                phase_ms: 0,
                quiet_ticks: 0,
            };
            for voice in self.voices.iter_mut().flatten() {
                voice.align(0);
            }
        }
        Ok(())
    }

    /// Of somebody whose packets are passed as they are, its own word is all that is known.
    fn heard_of(&mut self, seat: Seat, level: Option<u8>) {
        let Some((level, member)) = level.zip(self.member_mut(seat)) else {
            return;
        };
        member.loudness.follow(level);
        let loudness = member.loudness;
        let current = self.speaker.current().and_then(|seat| self.member(seat));
        let of_current = current.map(|member| member.loudness).unwrap_or_default();
        self.speaker.follow(Some((seat, loudness)), of_current);
    }

    fn somebody_listens_to(&self, seat: Seat) -> bool {
        (0..).zip(&self.members).any(|(index, member)| {
            index != seat.0 && member.as_ref().is_some_and(|m| m.listens.is_some())
        })
    }

    /// Where a packet of a pair goes as it is; else the two are mixed until something changes.
    fn forwards(&mut self, from: Seat, view: &View<'_>) -> Option<Forward> {
        let Pair::Of(one, other) = self.pair else {
            return None;
        };
        let to = if from == one { other } else { one };
        let [talker, listener] = [self.member(from)?, self.member(to)?];
        // What is sounding goes on in the same way until it is quiet.
        let is_sounding = |talker: &Talker| talker.is_active() && talker.level() < QUIET_LEVEL;
        if talker
            .talker
            .as_ref()
            .is_some_and(|talker| is_sounding(talker))
        {
            return None;
        }
        let Some(listens) = listener.listens else {
            return Some(Forward { to, format: None });
        };
        let is_event =
            |events: Option<(u8, u32)>| events.is_some_and(|(pt, _)| pt == view.payload_type);
        if is_event(talker.events) {
            let fits = listener
                .events
                .filter(|(_, hz)| *hz == listens.format.codec.clock_rate());
            let format = fits.map(|(payload_type, _)| AudioFormat {
                payload_type,
                ..listens.format
            });
            return Some(Forward { to, format });
        }
        if let Some(payload_type) = listener.noise.filter(|_| view.payload_type == NOISE) {
            let format = Some(AudioFormat {
                payload_type,
                ..listens.format
            });
            return Some(Forward { to, format });
        }
        let format = talker.format_of(view.payload_type)?.1;
        let samples = samples_of(format.codec, view.payload).and_then(|n| u32::try_from(n).ok());
        let lasts = format.codec.sample_rate() / 1000 * u32::from(listens.format.ptime_ms);
        if is_same(format.codec, listens.format.codec) && samples == Some(lasts) {
            return Some(Forward {
                to,
                format: Some(listens.format),
            });
        }
        self.pair = Pair::No;
        None
    }

    /// The voice of a format, made where there is none; it counts as used.
    fn voice_for(&mut self, format: AudioFormat) -> Option<Listens> {
        let serves = |voice: &Option<Voice>| voice.as_ref().is_some_and(|v| v.serves(&format));
        let index = match self.voices.iter().position(serves) {
            Some(index) => index,
            None => {
                let mut voice = Voice::new(format).ok()?;
                if let Clock::Running { phase_ms, .. } = self.clock {
                    voice.align(phase_ms);
                }
                match self.voices.iter().position(Option::is_none) {
                    Some(free) => {
                        self.voices[free] = Some(voice);
                        free
                    }
                    None => {
                        self.voices.push(Some(voice));
                        self.voices.len() - 1
                    }
                }
            }
        };
        self.voices.get_mut(index)?.as_mut()?.users += 1;
        Some(Listens {
            format,
            voice: index,
        })
    }

    fn leave_voice(&mut self, index: usize) {
        let Some(slot) = self.voices.get_mut(index) else {
            return;
        };
        if let Some(voice) = slot {
            voice.users = voice.users.saturating_sub(1);
            if voice.users == 0 {
                *slot = None;
            }
        }
    }

    /// Somebody came, went, or is to be served otherwise.
    fn changed(&mut self) {
        let rates = self.voices.iter().flatten();
        let rates = rates.map(|voice| voice.format.codec.sample_rate());
        self.rate.wanted_hz = rates.max().unwrap_or(HZ_MIN);
        if self.clock == Clock::Stopped {
            self.rate.hz = self.rate.wanted_hz;
        }
        self.pair_up();
    }

    fn pair_up(&mut self) {
        let mut seats = (0..)
            .zip(&self.members)
            .filter(|(_, member)| member.is_some());
        let two = [seats.next(), seats.next(), seats.next()];
        self.pair = match two {
            [Some((one, _)), Some((other, _)), None] if !self.spec.auto_gain => {
                Pair::Of(Seat(one), Seat(other))
            }
            _ => Pair::No,
        };
        for member in self.members.iter_mut().flatten() {
            member.forwarded.stop();
        }
    }

    fn listens(&self, seat: Seat) -> Option<Listens> {
        self.member(seat)?.listens
    }

    fn member(&self, seat: Seat) -> Option<&Member> {
        self.members.get(seat.index())?.as_deref()
    }

    fn member_mut(&mut self, seat: Seat) -> Option<&mut Member> {
        self.members.get_mut(seat.index())?.as_deref_mut()
    }

    fn micros(&mut self, now: Instant) -> i64 {
        self.epoch.get_or_insert(now);
        self.since_epoch(now)
    }

    fn since_epoch(&self, now: Instant) -> i64 {
        let epoch = self.epoch.unwrap_or(now);
        i64::try_from(now.saturating_duration_since(epoch).as_micros()).unwrap_or(i64::MAX)
    }

    /// SplitMix64: the seed is what nobody can guess.
    fn random(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(0)
    }
}

/// Whether what is encoded by one is as good as by the other. How it is sent, the bit rate aside,
/// is each sender's own choice.
fn is_same(one: AudioCodec, other: AudioCodec) -> bool {
    match (one, other) {
        (AudioCodec::Opus { bitrate: one, .. }, AudioCodec::Opus { bitrate: other, .. }) => {
            one == other
        }
        (one, other) => one == other,
    }
}

const TICK_US: i64 = 20_000;
/// 2 %: less is hardly heard, and redundancy takes bits from all.
const LOST: u8 = 5;
/// The clock of a stream without packets.
const CLOCK_HZ: u32 = 8_000;
const HZ_MIN: u32 = 8000;
/// Four seconds without a pause are no speech.
const RATE_TICKS_MAX: u8 = 200;
