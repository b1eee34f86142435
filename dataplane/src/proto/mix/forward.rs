//! What isn't mixed: the audio of two who use the same codec, and telephone events (RFC 4733).
//!
//! Packets are passed as they come, with the mixer's source, numbers and timestamps; what was
//! lost stays lost, and what came in another order goes on so.

use super::member::{Member, Outgoing};
use super::{Mixer, Seat, TICK_US};
use crate::api::AudioFormat;
use crate::wire::media::{Fields, Head, RtpTime, TelephoneEvent, View};
use crate::wire::rtp::{Seq, Ssrc};

/// Where a packet goes as it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forward {
    /// To whom.
    pub(super) to: Seat,
    /// As which format; `None`: the far end has none for it.
    pub(super) format: Option<AudioFormat>,
}

/// How a member's packets are counted towards the one other member.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Forwarded {
    way: Option<Way>,
}

/// What is added to one source's numbers and timestamps.
#[derive(Debug, Clone, Copy)]
struct Way {
    from: Ssrc,
    newest_seq: u16,
    newest_time: u32,
    newest_us: i64,
    /// The first one with this difference.
    oldest_seq: u16,
    add_seq: u16,
    add_time: u32,
}

impl Forwarded {
    /// What is forwarded next begins anew.
    pub(super) fn stop(&mut self) {
        self.way = None;
    }

    /// The number and the timestamp that a packet goes on with; `None`: it is older than what
    /// the far end can tell from a restart.
    fn map(&mut self, view: &View<'_>, at: (u32, i64), to: &mut Outgoing) -> Option<(u16, u32)> {
        let (clock_hz, at_us) = at;
        let way = match &mut self.way {
            Some(way) if way.goes_on(view, clock_hz, at_us) => way,
            way => way.insert(Way::begin(view, clock_hz, at_us, to)),
        };
        let (seq, time) = (view.seq.0, view.timestamp.0);
        let mapped = (
            seq.wrapping_add(way.add_seq),
            time.wrapping_add(way.add_time),
        );
        if seq.wrapping_sub(way.newest_seq).cast_signed() >= 0 {
            (way.newest_seq, way.newest_time, way.newest_us) = (seq, time, at_us);
            to.seq = mapped.0.wrapping_add(1);
        } else if !way.has(seq) {
            return None;
        }
        Some(mapped)
    }

    /// A packet isn't passed on, and leaves no gap in the numbers.
    fn leave_out(&mut self, view: &View<'_>) {
        if let Some(way) = &mut self.way
            && view.ssrc == way.from
            && view.seq.0 == way.newest_seq.wrapping_add(1)
        {
            way.newest_seq = view.seq.0;
            way.add_seq = way.add_seq.wrapping_sub(1);
            way.oldest_seq = view.seq.0.wrapping_add(1);
        }
    }
}

impl Way {
    fn begin(view: &View<'_>, clock_hz: u32, at_us: i64, to: &mut Outgoing) -> Self {
        let first = to.timestamp(at_us, clock_hz);
        Self {
            from: view.ssrc,
            newest_seq: view.seq.0.wrapping_sub(1),
            newest_time: view.timestamp.0,
            newest_us: at_us,
            oldest_seq: view.seq.0,
            add_seq: to.seq.wrapping_sub(view.seq.0),
            add_time: first.wrapping_sub(view.timestamp.0),
        }
    }

    /// Whether an older packet belongs to what was passed with these numbers.
    fn has(&self, seq: u16) -> bool {
        seq.wrapping_sub(self.oldest_seq).cast_signed() >= 0
    }

    /// Whether a packet goes on with this source's numbers, and its time with the clock.
    fn goes_on(&self, view: &View<'_>, clock_hz: u32, at_us: i64) -> bool {
        let seq = view.seq.0.wrapping_sub(self.newest_seq).cast_signed();
        let units = view
            .timestamp
            .0
            .wrapping_sub(self.newest_time)
            .cast_signed();
        let media_us = i64::from(units) * 1_000_000 / i64::from(clock_hz);
        let off_us = media_us - (at_us - self.newest_us);
        view.ssrc == self.from && (-OLD..JUMP).contains(&seq) && off_us.abs() < OFF_US
    }
}

/// The telephone event that a member is sending.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pressed {
    event: Option<Event>,
}

#[derive(Debug, Clone, Copy)]
struct Event {
    newest_seq: u16,
    /// The timestamp of its beginning, and when that was for the room.
    timestamp: u32,
    start_us: i64,
    duration: u16,
}

impl Pressed {
    /// When the event of a packet began; `None`: the packet is older than one that was passed.
    fn begin_us(
        &mut self,
        view: &View<'_>,
        event: TelephoneEvent,
        clock: (u32, i64),
    ) -> Option<i64> {
        let (clock_hz, now_us) = clock;
        let (seq, timestamp) = (view.seq.0, view.timestamp.0);
        let start_us = match self.event {
            Some(last)
                if seq.wrapping_sub(last.newest_seq).cast_signed() <= 0
                    && seq.wrapping_sub(last.newest_seq).cast_signed() > -OLD =>
            {
                return None;
            }
            Some(last) if last.timestamp == timestamp => last.start_us,
            // RFC 4733 §2.5.1.3: a long event goes on in segments.
            Some(last) if last.timestamp.wrapping_add(u32::from(last.duration)) == timestamp => {
                last.start_us + i64::from(last.duration) * 1_000_000 / i64::from(clock_hz)
            }
            Some(_) | None => now_us,
        };
        self.event = Some(Event {
            newest_seq: seq,
            timestamp,
            start_us,
            duration: event.duration,
        });
        Some(start_us)
    }
}

impl Mixer {
    /// Passes a packet to the one other member where that can have it as it is; says whether.
    pub(super) fn forward(
        &mut self,
        from: Seat,
        view: &View<'_>,
        at_us: i64,
        out: &mut impl FnMut(Seat, &[u8], &[u8]),
    ) -> bool {
        let Some(Forward { to: other, format }) = self.forwards(from, view) else {
            return false;
        };
        let [Some(talker), Some(listener)] = self.both(from, other) else {
            return false;
        };
        if talker.talker.is_some() {
            talker.drop_talker();
        }
        let Some(format) = format else {
            talker.forwarded.leave_out(view);
            return true;
        };
        let (clock_hz, to) = (format.codec.clock_rate(), &mut listener.outgoing);
        let Some((seq, timestamp)) = talker.forwarded.map(view, (clock_hz, at_us), to) else {
            return true;
        };
        let mut marker = view.marker;
        if to.seq == seq.wrapping_add(1) {
            let end = timestamp.wrapping_add(clock_hz / 1000 * u32::from(format.ptime_ms));
            let is_noise = listener.noise == Some(format.payload_type);
            // One that sent silence goes on without a marker where it was told as noise.
            marker |= to.forwarded_until(end, is_noise);
        }
        let level = talker.client_level.and_then(|id| view.client_level(id));
        let head = Head::write(&Fields {
            marker,
            payload_type: format.payload_type,
            seq: Seq(seq),
            timestamp: RtpTime(timestamp),
            ssrc: to.ssrc,
            csrcs: &[view.ssrc],
            levels: listener
                .mixer_level
                .zip(level.as_ref().map(std::slice::from_ref)),
        });
        self.counts.forwarded += 1;
        out(other, head.octets(), view.payload);
        true
    }

    /// Passes a telephone event to all others that take them; it is no audio.
    pub(super) fn press(
        &mut self,
        from: Seat,
        view: &View<'_>,
        at_us: i64,
        out: &mut impl FnMut(Seat, &[u8], &[u8]),
    ) {
        let Some(event) = TelephoneEvent::parse(view.payload) else {
            return;
        };
        let Some(member) = self.member_mut(from) else {
            return;
        };
        let clock_hz = member.events.map_or(DEFAULT_HZ, |(_, hz)| hz.max(1));
        let Some(start_us) = member.pressed.begin_us(view, event, (clock_hz, at_us)) else {
            return;
        };
        let duration_us = i64::from(event.duration) * 1_000_000 / i64::from(clock_hz);
        for (index, member) in (0..).zip(&mut self.members) {
            let Some(member) = member.as_mut().filter(|_| index != from.0) else {
                continue;
            };
            let Some((payload_type, hz)) = member.events.filter(|_| member.direction.may_receive)
            else {
                continue;
            };
            let duration = duration_us * i64::from(hz) / 1_000_000;
            let event = TelephoneEvent {
                duration: u16::try_from(duration).unwrap_or(u16::MAX),
                ..event
            };
            let head = pressed_head(member, view, (payload_type, hz), start_us);
            self.counts.events += 1;
            out(Seat(index), head.octets(), &event.octets());
        }
    }

    fn both(&mut self, one: Seat, other: Seat) -> [Option<&mut Member>; 2] {
        match self.members.get_disjoint_mut([one.index(), other.index()]) {
            Ok([one, other]) => [one.as_deref_mut(), other.as_deref_mut()],
            Err(_) => [None, None],
        }
    }
}

fn pressed_head(member: &mut Member, view: &View<'_>, to: (u8, u32), start_us: i64) -> Head {
    let (payload_type, hz) = to;
    let to = &mut member.outgoing;
    let timestamp = to.time_of(start_us, hz);
    // Those of a forwarded stream go on behind this one.
    Head::write(&Fields {
        marker: view.marker,
        payload_type,
        seq: to.next_seq(),
        timestamp: RtpTime(timestamp),
        ssrc: to.ssrc,
        csrcs: &[view.ssrc],
        levels: None,
    })
}

/// RFC 3550 A.1.
const OLD: i16 = 100;
/// RFC 3550 A.1.
const JUMP: i16 = 3000;
/// How far a source's time may be off from the clock's before it has begun anew.
const OFF_US: i64 = 500 * TICK_US;
/// RFC 4733 §2.1: the usual rate, where none was agreed.
const DEFAULT_HZ: u32 = 8000;
