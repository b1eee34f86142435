//! What a member sends: its stream, who gets it, who waits for its next key frame.

use std::time::{Duration, Instant};

use crate::limits::{
    SWITCH_KEY_ASKED_MS, SWITCH_KEY_WAIT_MS, SWITCH_PICTURE_MS, SWITCH_SILENT_MS, SWITCH_SSRC_MS,
    SWITCH_UNKNOWN_MS,
};
use crate::wire::rtp::Ssrc;

use super::arrivals::{Arrival, Arrivals, ticks};
use super::history::History;
use super::packet::{Facts, Incoming};
use super::payload::{Content, Descriptor};
use super::receiver::Payload;

/// What a member sends.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// Somebody sits there.
    pub(super) is_taken: bool,
    pub(super) may_send: bool,
    /// It may be shown: packets came lately.
    pub(super) live: bool,
    /// When it was named as the speaker last, in the order of all; 0: never.
    pub(super) spoke: u64,
    /// When it became live last, in the order of all.
    pub(super) since: u64,
    pub(super) stream: Option<Stream>,
    /// Receivers that get it.
    pub(super) watchers: Vec<u32>,
    /// Receivers that get it from its next key frame on.
    pub(super) waiting: Vec<u32>,
    /// When the first of those began to wait.
    pub(super) waited_since: Option<Instant>,
    /// Where those begin who wait for the end of another source's picture.
    pub(super) door: Option<Door>,
    pub(super) history: Option<History>,
    pub(super) key: KeyRequest,
    pub(super) bound: Bound,
}

/// Where receivers begin with a source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Door {
    /// The number of the first packet that they get; `None`: it isn't kept any more.
    first: Option<u64>,
    /// Until when they may wait for the end of another source's picture.
    until: Instant,
}

/// What came with one SSRC.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) ssrc: Ssrc,
    pub(super) arrivals: Arrivals,
    begun: Instant,
    pub(super) heard: Instant,
    /// The format of its last packet.
    pub(super) payload: Payload,
    pub(super) newest: Newest,
    /// The middle of the NTP time of its last report, and when that came.
    pub(super) report: Option<(u32, Instant)>,
    /// It has its parameters within.
    pub(super) has_parameters: bool,
}

/// The newest picture of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Newest {
    pub(super) timestamp: u32,
    /// When its first packet came.
    pub(super) at: Instant,
    /// Its last packet came: the one with the marker, in all codecs that are known here.
    is_whole: bool,
    /// VP8's counters, where there are some.
    pub(super) picture: Option<u16>,
    pub(super) base_layer: Option<u8>,
}

impl Newest {
    /// Takes note of a packet that is the newest of its stream.
    fn take(&mut self, facts: &Facts, descriptor: Option<&Descriptor>, now: Instant) {
        let ahead = facts.timestamp.wrapping_sub(self.timestamp);
        if ahead != 0 && ahead < 1 << 31 {
            (self.timestamp, self.at) = (facts.timestamp, now);
        }
        self.is_whole = facts.marker;
        if let Some((_, id)) = descriptor.and_then(|descriptor| descriptor.picture) {
            self.picture = Some(id.number());
        }
        if let Some((_, index)) = descriptor.and_then(|descriptor| descriptor.base_layer) {
            self.base_layer = Some(index);
        }
    }
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It has this number with its cycles.
    Next(u64),
    /// A new stream begins with it.
    Begins,
    /// It was there.
    Duplicate,
    /// It is too old, or of a stream that isn't believed yet.
    Stray,
}

impl Source {
    /// Takes note of a packet in one of the formats that the member may send.
    pub(super) fn take(
        &mut self,
        packet: &Incoming<'_>,
        payload: Payload,
        descriptor: Option<&Descriptor>,
        now: Instant,
    ) -> Taken {
        let Some(stream) = &mut self.stream else {
            return Taken::Begins;
        };
        let facts = &packet.facts;
        if stream.ssrc != packet.ssrc {
            // Two streams at a time would take turns otherwise.
            let believed = stream.heard + Duration::from_millis(SWITCH_SSRC_MS);
            return match now < believed {
                true => Taken::Stray,
                false => Taken::Begins,
            };
        }
        match stream.arrivals.take(facts.seq) {
            Arrival::New(number) => {
                stream.heard = now;
                let arrival = ticks(now.saturating_duration_since(stream.begun));
                stream.arrivals.time(arrival, facts.timestamp);
                if number == stream.arrivals.highest() {
                    stream.payload = payload;
                    stream.newest.take(facts, descriptor, now);
                }
                Taken::Next(number)
            }
            Arrival::Duplicate => Taken::Duplicate,
            Arrival::Stray => Taken::Stray,
            Arrival::Restart => Taken::Begins,
        }
    }

    /// Begins a stream with its first packet, which has the number returned.
    pub(super) fn begin(
        &mut self,
        packet: &Incoming<'_>,
        payload: Payload,
        descriptor: Option<&Descriptor>,
        now: Instant,
    ) -> u64 {
        let arrivals = Arrivals::new(packet.facts.seq);
        let number = arrivals.highest();
        let mut newest = Newest {
            timestamp: packet.facts.timestamp,
            at: now,
            is_whole: false,
            picture: None,
            base_layer: None,
        };
        newest.take(&packet.facts, descriptor, now);
        self.stream = Some(Stream {
            ssrc: packet.ssrc,
            arrivals,
            begun: now,
            heard: now,
            payload,
            newest,
            report: None,
            has_parameters: false,
        });
        self.door = None;
        if let Some(history) = &mut self.history {
            history.clear();
        }
        number
    }

    /// Whether its newest picture is still on its way.
    pub(super) fn is_within_picture(&self, now: Instant) -> bool {
        let most = Duration::from_millis(SWITCH_PICTURE_MS);
        self.stream
            .as_ref()
            .is_some_and(|stream| !stream.newest.is_whole && now < stream.heard + most)
    }

    /// Those who wait may begin with the packet `first`. Where they could have begun before, they
    /// wait no longer for that.
    pub(super) fn set_door(&mut self, first: u64, now: Instant) {
        let most = Duration::from_millis(SWITCH_PICTURE_MS);
        let until = self.door.map_or(now + most, |door| door.until);
        let first = Some(first);
        self.door = Some(Door { first, until });
    }

    /// Where those who wait may begin now, and until when they needn't: what they begin with is this
    /// packet, or it is kept.
    pub(super) fn open_door(&mut self, number: u64) -> Option<(u64, Instant)> {
        self.door = self.door.filter(|_| !self.waiting.is_empty());
        let kept = |first| self.history.as_ref()?.find(first);
        let door = self.door.as_mut()?;
        door.first = door
            .first
            .filter(|first| *first == number || kept(*first).is_some());
        Some((door.first?, door.until))
    }

    /// When it counts as silent, while it is live.
    pub(super) fn silent_at(&self) -> Option<Instant> {
        let stream = self.stream.as_ref().filter(|_| self.live)?;
        Some(stream.heard + Duration::from_millis(SWITCH_SILENT_MS))
    }

    /// Whether anybody gets it or waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        !self.watchers.is_empty() || !self.waiting.is_empty()
    }

    /// When it may be asked for a key frame next, where one is wanted.
    pub(super) fn key_at(&self, now: Instant) -> Option<Instant> {
        let is_wanted = self.key.asked || !self.waiting.is_empty();
        let feedback = self.stream.as_ref()?.payload.feedback;
        if !is_wanted || !self.live || !(feedback.picture_loss || feedback.full_intra) {
            return None;
        }
        let pause = match self.waiting.is_empty() {
            true => SWITCH_KEY_ASKED_MS,
            false => SWITCH_KEY_WAIT_MS,
        };
        Some(
            self.key
                .last
                .map_or(now, |last| last + Duration::from_millis(pause)),
        )
    }

    /// Where receivers that wait for this source begin, now that the packet `number` is here: at the
    /// first packet of a key frame that a decoder can do with, or anywhere where key frames can't be
    /// told and it has taken long enough.
    pub(super) fn entrance(&self, number: u64, packet: &Incoming<'_>, now: Instant) -> Option<u64> {
        let stream = self.stream.as_ref()?;
        let kept = |number| self.history.as_ref()?.find(number);
        let is_same = |before: &Incoming<'_>| before.facts.timestamp == packet.facts.timestamp;
        let Some(codec) = stream.payload.codec else {
            let is_time = now >= self.waited_since? + Duration::from_millis(SWITCH_UNKNOWN_MS);
            // Between two pictures, where that can be seen.
            let is_within = kept(number - 1).is_some_and(|before| is_same(&before));
            return (is_time && !is_within).then_some(number);
        };
        let mut found = Content::of(codec, packet.payload);
        if !found.key_frame {
            return None;
        }
        // Parameters come in packets before the picture's, with its timestamp.
        let mut first = number;
        while let Some(before) = kept(first - 1).filter(is_same) {
            found.parameters |= Content::of(codec, before.payload).parameters;
            first -= 1;
        }
        (found.parameters || !stream.has_parameters).then_some(first)
    }

    /// Takes note of whether a packet has parameters, for [`Self::entrance`].
    pub(super) fn note_parameters(&mut self, payload: &[u8]) {
        if let Some(stream) = &mut self.stream
            && !stream.has_parameters
            && let Some(codec) = stream.payload.codec
        {
            stream.has_parameters = Content::of(codec, payload).parameters;
        }
    }
}

/// What a source was asked for in the way of key frames.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct KeyRequest {
    /// A receiver asked for one since the last request.
    pub(super) asked: bool,
    pub(super) last: Option<Instant>,
    /// No key frame came since the last request.
    pub(super) open: bool,
    /// RFC 5104 §4.3.1.1: a number for each command, the same for its repetitions.
    pub(super) number: u8,
}

/// How a key frame is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    PictureLoss,
    FullIntra(u8),
}

impl KeyRequest {
    /// Notes a request and says how it is made: RFC 5104 §3.5.1 has FIR for those who come to a
    /// stream, and PLI (RFC 4585) for those who lost some of it.
    pub(super) fn make(&mut self, payload: Payload, is_for_new: bool, now: Instant) -> Ask {
        let feedback = payload.feedback;
        self.asked = false;
        self.last = Some(now);
        // Where key frames can't be told, each request is a command of its own.
        if !self.open || payload.codec.is_none() {
            self.number = self.number.wrapping_add(1);
        }
        self.open = true;
        match (feedback.full_intra, feedback.picture_loss) {
            (true, false) => Ask::FullIntra(self.number),
            (true, true) if is_for_new => Ask::FullIntra(self.number),
            (true | false, _) => Ask::PictureLoss,
        }
    }
}

/// The bound on its bit rate that the source was told.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bound {
    pub(super) told: u64,
    pub(super) at: Option<Instant>,
}
