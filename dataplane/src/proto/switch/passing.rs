//! A packet on its way: to those who watch its source, and to those whom it lets in.

use std::mem;
use std::ops::Range;
use std::time::Instant;

use super::packet::Incoming;
use super::payload::Descriptor;
use super::receiver::{First, Receiver, Wait};
use super::{Outlet, Seat, Switch, descriptor};

/// A packet on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passing<'a> {
    /// Its number among those of its source.
    pub(super) number: u64,
    pub(super) packet: Incoming<'a>,
    pub(super) descriptor: Option<Descriptor>,
    pub(super) format: u16,
    pub(super) now: Instant,
}

impl Passing<'_> {
    /// Sends it to a receiver, and says whether it is for that one.
    fn send(&self, to: u32, receiver: &mut Receiver, out: &mut impl Outlet) -> bool {
        let descriptor = self.descriptor.as_ref();
        let head = receiver.head(self.number, &self.packet, self.format, descriptor);
        let Some((head, within)) = head else {
            return false;
        };
        let payload = self.packet.payload;
        out.rtp(
            Seat(to),
            head.bytes(),
            payload.get(within..).unwrap_or_default(),
        );
        receiver.sent += 1;
        receiver.octets += payload.len() as u64;
        true
    }
}

impl Switch {
    /// Passes a packet on.
    pub(super) fn pass(&mut self, at: u32, passing: &Passing<'_>, out: &mut impl Outlet) {
        let source = &mut self.sources[at as usize];
        if !source.is_wanted() {
            return;
        }
        if let Some(history) = &mut source.history {
            history.keep(passing.number, &passing.packet);
        }
        source.note_parameters(passing.packet.payload);
        let watchers = source.watchers.len();
        self.forward(at, 0..watchers, passing, out);
        let source = &mut self.sources[at as usize];
        let is_awaited = !source.waiting.is_empty() || source.key.open || source.key.asked;
        if is_awaited
            && let Some(first) = source.entrance(passing.number, &passing.packet, passing.now)
        {
            source.key.open = false;
            source.key.asked = false;
            source.set_door(first, passing.now);
        }
        if source.door.is_some()
            && let Some(door) = source.open_door(passing.number)
        {
            self.enter(at, door, passing, out);
        }
        self.report_due(passing.now, out);
    }

    /// Sends a packet again that a receiver has lost, where it is kept; says whether it is.
    pub(super) fn send_again(
        &mut self,
        to: u32,
        number: u64,
        now: Instant,
        out: &mut impl Outlet,
    ) -> bool {
        let Some(watch) = self.receivers[to as usize].watching else {
            return false;
        };
        let history = self.sources[watch.source as usize].history.as_ref();
        let Some(packet) = history.and_then(|history| history.find(number)) else {
            return false;
        };
        let member = &self.receivers[watch.source as usize];
        let Some(payload) = member.payload(packet.facts.payload_type) else {
            return false;
        };
        let passing = Passing {
            number,
            packet,
            descriptor: descriptor(payload.codec, &packet),
            format: payload.format,
            now,
        };
        let receiver = &mut self.receivers[to as usize];
        if !receiver.may_resend(now) {
            self.counts.resends_refused += 1;
        } else if passing.send(to, receiver, out) {
            self.counts.forwarded += 1;
            self.counts.resent += 1;
        }
        true
    }

    /// Sends a packet to some of those who watch its source.
    fn forward(
        &mut self,
        at: u32,
        watchers: Range<usize>,
        passing: &Passing<'_>,
        out: &mut impl Outlet,
    ) {
        let all = &self.sources[at as usize].watchers;
        for &watcher in all.get(watchers).unwrap_or_default() {
            let receiver = &mut self.receivers[watcher as usize];
            if passing.send(watcher, receiver, out) {
                self.counts.forwarded += 1;
                if passing.now >= receiver.report_at {
                    self.due.push(watcher);
                }
            }
        }
    }

    /// Lets those in who wait and aren't within a picture of another source: they get all of the
    /// source that is kept from `first` on. From `until` on nobody is waited for.
    fn enter(
        &mut self,
        at: u32,
        (first, until): (u64, Instant),
        passing: &Passing<'_>,
        out: &mut impl Outlet,
    ) {
        let source = &mut self.sources[at as usize];
        let mut waiting = mem::take(&mut source.waiting);
        let joined = source.watchers.len();
        let kept = source
            .history
            .as_ref()
            .and_then(|history| history.find(first));
        let begin = kept.unwrap_or(passing.packet);
        let payload = self.receivers[at as usize].payload(begin.facts.payload_type);
        let codec = payload.and_then(|payload| payload.codec);
        let format = payload.map_or(passing.format, |payload| payload.format);
        let begins = descriptor(codec, &begin);
        let begin = First::new(first, &begin.facts, format, begins.as_ref());
        let may_stay = passing.now < until;
        let mut place = 0;
        waiting.retain(|&watcher| {
            let stays = may_stay && self.is_within_picture(watcher, passing.now);
            self.receivers[watcher as usize].waiting = stays.then_some(Wait {
                source: at,
                at: place,
            });
            if stays {
                place += 1;
            } else {
                self.let_in(watcher, at, (&begin, passing.now));
            }
            stays
        });
        let source = &mut self.sources[at as usize];
        source.waiting = waiting;
        if source.waiting.is_empty() {
            source.door = None;
            source.waited_since = None;
        }
        self.catch_up(at, (first, joined), passing, out);
    }

    /// Whether a receiver has got a part of a picture, and the rest is on its way.
    fn is_within_picture(&self, watcher: u32, now: Instant) -> bool {
        let watching = self.receivers[watcher as usize].watching;
        watching.is_some_and(|watch| self.sources[watch.source as usize].is_within_picture(now))
    }

    /// Gives a receiver another source from a packet on.
    fn let_in(&mut self, watcher: u32, at: u32, (begin, now): (&First, Instant)) {
        self.unwatch(watcher);
        let watchers = &mut self.sources[at as usize].watchers;
        let receiver = &mut self.receivers[watcher as usize];
        if receiver.join((at, watchers.len()), begin, now) {
            watchers.push(watcher);
            self.counts.switches += 1;
        }
    }

    /// Sends what is kept from the number `first` on to the watchers from the place `joined` on.
    fn catch_up(
        &mut self,
        at: u32,
        (first, joined): (u64, usize),
        passing: &Passing<'_>,
        out: &mut impl Outlet,
    ) {
        let Self {
            sources, receivers, ..
        } = self;
        let source = &sources[at as usize];
        let highest = source
            .stream
            .as_ref()
            .map(|stream| stream.arrivals.highest());
        let highest = highest.unwrap_or(passing.number);
        for number in first..=highest {
            let kept = source
                .history
                .as_ref()
                .and_then(|history| history.find(number));
            let packet = match kept {
                Some(packet) => packet,
                None if number == passing.number => passing.packet,
                None => continue,
            };
            let payload = receivers[at as usize].payload(packet.facts.payload_type);
            let Some(payload) = payload else {
                continue;
            };
            let one = Passing {
                number,
                packet,
                descriptor: descriptor(payload.codec, &packet),
                format: payload.format,
                now: passing.now,
            };
            for &watcher in source.watchers.get(joined..).unwrap_or_default() {
                if one.send(watcher, &mut receivers[watcher as usize], out) {
                    self.counts.forwarded += 1;
                }
            }
        }
    }
}
