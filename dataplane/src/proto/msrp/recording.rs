//! Recording: a copy of the content that a session's legs send, for control.
//!
//! What is recorded, and when a message ends, is told at [`crate::api::Record`].
//!
//! ```text
//! a body's octets ──▶ record ──▶ waiting ──next_record──▶ the worker's ring ──▶ control
//!                                  │ full
//!                                  ▼
//!                  sources of recorded content wait whole, `Wait::Recorder`
//! ```
//!
//! A source waits before the head of a SEND, or in its body: then the chunk is ended with `+` on a
//! sink that others use as well, if it may be cut. What came before on the same connection has been
//! taken by then; what comes behind it waits with it, as TCP is one stream.

use std::collections::VecDeque;

use super::connection::{Connection, Cut, Forward, Wait};
use super::legs::LegRef;
use super::track::Track;
use super::transactions::ShortText;
use super::{ConnectionKey, Connections, Egress, LegKey};
use crate::api::{Record, RecordPart, SessionId, Side, StreamId};
use crate::limits::{RECORD_BYTES, RECORDS_WAITING, RECORDS_WAITING_BYTES, RECORDS_WAITING_MAX};
use crate::stats::Stats;
use crate::wire::msrp::{Flag, Head, Method, Return};

/// The recording of one session, as [`Connections`] numbers it; used again once it was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordingKey(u32);

#[derive(Debug)]
struct Recording {
    session: SessionId,
    next_message: u32,
    /// Who may still have something to record: the session itself, and each of its streams.
    holders: u32,
}

/// The recordings of one worker, and the records that wait for room in its ring.
#[derive(Debug, Default)]
pub(super) struct Recordings {
    places: Vec<Option<Recording>>,
    free: Vec<u32>,
    waiting: VecDeque<Record>,
    /// Octets of what waits.
    octets: usize,
    /// Connections whose content waits for room.
    sources: VecDeque<ConnectionKey>,
    /// Octets of bodies that were recorded.
    recorded_octets: u64,
    /// Times that a source had to wait.
    full: u64,
    /// Messages that were ended for newer ones.
    full_messages: u64,
}

impl Recordings {
    fn push(&mut self, session: SessionId, part: RecordPart) {
        let record = Record { session, part };
        self.octets += record.octets();
        self.waiting.push_back(record);
    }

    fn end(&mut self, session: SessionId, message: u32, is_complete: bool) {
        let end = RecordPart::End {
            message,
            is_complete,
        };
        self.push(session, end);
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= RECORDS_WAITING || self.octets >= RECORDS_WAITING_BYTES
    }

    fn next_message(&mut self, key: RecordingKey) -> Option<u32> {
        let recording = self.places.get_mut(key.0 as usize)?.as_mut()?;
        let number = recording.next_message;
        recording.next_message = number.wrapping_add(1);
        Some(number)
    }

    /// A connection is closed: it waits no more.
    pub(super) fn forget_source(&mut self, key: ConnectionKey) {
        self.sources.retain(|source| *source != key);
    }
}

impl Connections {
    /// Begins to record a session; whoever asked for it holds the recording.
    pub fn begin_recording(&mut self, session: SessionId) -> RecordingKey {
        let recording = Some(Recording {
            session,
            next_message: 0,
            holders: 1,
        });
        let recordings = &mut self.recordings;
        let free = recordings.free.pop();
        let place = free.and_then(|at| Some((at, recordings.places.get_mut(at as usize)?)));
        if let Some((at, place)) = place {
            *place = recording;
            return RecordingKey(at);
        }
        recordings.places.push(recording);
        RecordingKey(u32::try_from(recordings.places.len() - 1).unwrap_or(u32::MAX))
    }

    /// One more holds a recording.
    pub fn hold_recording(&mut self, key: RecordingKey) {
        let place = self.recordings.places.get_mut(key.0 as usize);
        if let Some(recording) = place.and_then(Option::as_mut) {
            recording.holders += 1;
        }
    }

    /// One less holds a recording; with the last one the session's content has ended, which is said
    /// behind all of it.
    pub fn let_go_recording(&mut self, key: RecordingKey) {
        let Some(place) = self.recordings.places.get_mut(key.0 as usize) else {
            return;
        };
        let Some(recording) = place else {
            return;
        };
        recording.holders -= 1;
        if recording.holders > 0 {
            return;
        }
        let session = recording.session;
        *place = None;
        self.recordings.free.push(key.0);
        self.recordings.push(session, RecordPart::Closed);
    }

    /// Records what a leg sends from now on, until it is removed.
    pub fn record_leg(&mut self, leg: LegKey, recording: RecordingKey, of: (StreamId, Side)) {
        let place = self.recordings.places.get(recording.0 as usize);
        let Some(session) = place.and_then(|place| Some(place.as_ref()?.session)) else {
            return;
        };
        if let Some(state) = self.legs.get_mut(leg) {
            let track = Track::new(recording, session, of.0, of.1);
            state.track = Some(Box::new(track));
        }
    }

    /// Takes the next record.
    pub fn next_record(&mut self) -> Option<Record> {
        let record = self.recordings.waiting.pop_front()?;
        self.recordings.octets -= record.octets();
        Some(record)
    }

    /// Gives back a record that found no room: it is the next one again.
    pub fn return_record(&mut self, record: Record) {
        self.recordings.octets += record.octets();
        self.recordings.waiting.push_front(record);
    }

    /// Whether records wait to be taken.
    #[must_use]
    pub fn has_records(&self) -> bool {
        !self.recordings.waiting.is_empty()
    }

    /// Whether so many records wait that no more sessions should be recorded.
    #[must_use]
    pub fn is_recorder_stuck(&self) -> bool {
        self.recordings.waiting.len() >= RECORDS_WAITING_MAX
    }

    /// Lets sources go on that waited for room for their records, at most so many of them; to be
    /// called after records were taken, and before [`Self::handle_timeout`].
    pub fn resume_recorded(&mut self, at_most: usize) {
        for _ in 0..at_most.min(self.recordings.sources.len()) {
            if self.recordings.is_full() {
                return;
            }
            let Some(key) = self.recordings.sources.pop_front() else {
                return;
            };
            if self.connection(key).map(|state| state.wait) == Some(Wait::Recorder) {
                self.wake(Some(key));
            }
        }
    }

    /// Tells what is counted of recordings.
    pub fn publish_recordings(&self, stats: &mut Stats) {
        stats.recorded_octets = self.recordings.recorded_octets;
        stats.full_records = self.recordings.full;
        stats.full_recorded_messages = self.recordings.full_messages;
        stats.records_waiting = self.recordings.waiting.len() as u64;
    }

    /// Whether a SEND of a leg has to wait for room for its records; its connection does then.
    pub(super) fn must_wait_for_recorder(&mut self, key: ConnectionKey, leg: LegKey) -> bool {
        let is_recorded = self.legs.get(leg).is_some_and(|leg| leg.track.is_some());
        let must_wait = is_recorded && self.recordings.is_full();
        if must_wait {
            self.wait_for_recorder(key);
        }
        must_wait
    }

    /// The same for a chunk that has begun. It makes way for others where it can.
    pub(super) fn chunk_must_wait_for_recorder(
        &mut self,
        key: ConnectionKey,
        out: &mut impl Egress,
    ) -> bool {
        if !self.recordings.is_full() {
            return false;
        }
        let forward = self.connection(key).and_then(Connection::forward);
        let Some(forward) = forward.filter(|forward| forward.recorded.is_some()) else {
            return false;
        };
        let sink = forward.sink;
        let is_shared = self
            .connection(sink)
            .is_some_and(|sink| sink.legs.len() > 1 && sink.owner == Some(key));
        if is_shared && self.suspend_owner(sink, out) {
            self.release(sink, key, out);
        }
        self.wait_for_recorder(key);
        true
    }

    fn wait_for_recorder(&mut self, key: ConnectionKey) {
        if let Some(state) = self.connection_mut(key)
            && state.wait == Wait::No
        {
            state.wait = Wait::Recorder;
            self.recordings.sources.push_back(key);
            self.recordings.full += 1;
        }
    }

    /// A SEND is going to be relayed: the message that it belongs to, where it is recorded.
    pub(super) fn record_head(&mut self, from: LegRef, head: &Head<'_>) -> Option<u32> {
        if head.kind != Return::Request(Method::Send) {
            return None;
        }
        let id = head.message_id?;
        let track = self.legs.live_mut(from)?.track.as_deref_mut()?;
        if let Some(open) = track.find(id) {
            return Some(open);
        }
        let starts_within = head.byte_range.is_some_and(|range| range.start > 1);
        if starts_within && track.has_ended(id) {
            return None;
        }
        let message = self.recordings.next_message(track.recording)?;
        if let Some(oldest) = track.open(ShortText::new(id), message) {
            self.recordings.end(track.session, oldest.number, false);
            self.recordings.full_messages += 1;
        }
        let begin = RecordPart::Begin {
            stream: track.stream,
            from: track.from,
            message,
            message_id: id.to_vec(),
            content_type: head.content_type.unwrap_or_default().to_vec(),
            total: head.byte_range.and_then(|range| range.total),
        };
        self.recordings.push(track.session, begin);
        Some(message)
    }

    /// Octets of the body of a chunk that is relayed have come.
    pub(super) fn record_body(&mut self, key: ConnectionKey, octets: &[u8]) {
        let forward = self.connection(key).and_then(Connection::forward);
        let Some((forward, message)) = forward.and_then(|one| Some((one, one.recorded?))) else {
            return;
        };
        let (from, mut offset) = (forward.from, forward.came());
        let track = self.legs.live_mut(from).and_then(|leg| leg.track.as_mut());
        let Some(track) = track else {
            return;
        };
        if !track.add(message, offset, octets.len() as u64) {
            return;
        }
        self.recordings.recorded_octets += octets.len() as u64;
        for part in octets.chunks(RECORD_BYTES) {
            let part_octets = part.len() as u64;
            let data = RecordPart::Data {
                message,
                offset,
                bytes: part.to_vec(),
            };
            self.recordings.push(track.session, data);
            offset = offset.saturating_add(part_octets);
        }
    }

    /// A chunk that was relayed has ended.
    pub(super) fn record_end(&mut self, forward: &Forward, flag: Flag) {
        let size = match flag {
            Flag::Complete => Some(forward.came()),
            Flag::More => None,
            Flag::Aborted => return self.record_abort(forward),
        };
        let leg = self.legs.live_mut(forward.from);
        let track = leg.and_then(|leg| leg.track.as_mut());
        if let Some((track, message)) = track.zip(forward.recorded)
            && let Some(is_complete) = track.end_chunk(message, size)
        {
            self.recordings.end(track.session, message, is_complete);
        }
    }

    /// A chunk that was being relayed is given up.
    pub(super) fn record_abort(&mut self, forward: &Forward) {
        let leg = self.legs.live_mut(forward.from);
        let track = leg.and_then(|leg| leg.track.as_mut());
        if let Some((track, message)) = track.zip(forward.recorded)
            && track.take(message).is_some()
        {
            self.recordings.end(track.session, message, false);
        }
    }

    /// A request is refused: if it is a chunk of a message that has begun, that one has ended.
    pub(super) fn record_refusal(&mut self, from: LegRef, head: &Head<'_>) {
        let leg = self.legs.live_mut(from);
        let Some(track) = leg.and_then(|leg| leg.track.as_mut()) else {
            return;
        };
        let is_send = head.kind == Return::Request(Method::Send);
        let id = head.message_id.filter(|_| is_send);
        if let Some(message) = id.and_then(|id| track.find(id)) {
            track.take(message);
            self.recordings.end(track.session, message, false);
        }
    }

    /// A message that came from a leg has failed at its far end.
    pub(super) fn record_failure(&mut self, from: LegRef, message_id: &[u8]) {
        let leg = self.legs.live_mut(from);
        if let Some(track) = leg.and_then(|leg| leg.track.as_mut())
            && let Some(message) = track.fail(message_id)
        {
            self.recordings.end(track.session, message, false);
        }
    }

    /// A leg reports on a message that came from its peer.
    pub(super) fn record_report(&mut self, from: LegRef, head: &Head<'_>) {
        let peer = self.legs.live(from).and_then(|leg| leg.peer);
        let to = peer.and_then(|peer| self.legs.reference(peer));
        if let (Some(to), Some(id)) = (to, head.message_id)
            && head.status.is_some_and(is_failure)
        {
            self.record_failure(to, id);
        }
    }

    /// A leg is removed: what it sent has ended.
    pub(super) fn end_track(&mut self, track: Option<Box<Track>>) {
        let Some(mut track) = track else {
            return;
        };
        while let Some(message) = track.take_oldest() {
            self.recordings.end(track.session, message.number, false);
        }
    }
}

impl Forward {
    /// Octets of the message up to where the chunk that comes in has come.
    fn came(&self) -> u64 {
        let gathered = match &self.cut {
            Cut::Exact { gathered, .. } => gathered.len() as u64,
            Cut::AsItComes | Cut::AtMost(_) => 0,
        };
        let front = self.range.start.saturating_sub(1);
        front.saturating_add(self.sent).saturating_add(gathered)
    }
}

/// Whether a Status (RFC 4975 §7.1.2: `000`, a code, a comment) says that a message has failed.
fn is_failure(status: &[u8]) -> bool {
    let mut words = status.split(|byte| *byte == b' ');
    words.next() == Some(b"000") && words.next().is_some_and(|code| !code.starts_with(b"2"))
}
