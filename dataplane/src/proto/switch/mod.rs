//! Full-duplex video of a group session: each member gets the picture of the one who speaks, the
//! speaker that of who spoke before; nothing is decoded (RFC 7667 §3.6.2, a switching mixer).
//!
//! ```text
//! packet of a member ─▶ Source: is it new? who watches it, who waits for its key frame?
//!                          ├▶ each watcher: Receiver's head ─▶ Outlet::rtp
//!                          └▶ History: for NACKs, and for those who join at a key frame
//! who is shown            choose ─▶ each Receiver waits for the source that it is to get
//! ```
//!
//! A receiver goes on with what it has until the new source's key frame is here; that is asked for,
//! once for all who wait. What receivers say of what they got ends here: lost packets are sent
//! again, requests for pictures and bounds on the bit rate go on to the source, once for all.

mod arrivals;
mod choice;
mod feedback;
mod history;
mod packet;
mod passing;
mod payload;
mod receiver;
mod reports;
mod source;

use std::time::Instant;

use crate::api::{Direction, RtpFormats, VideoCodec};
use crate::limits::SWITCH_SEATS;
use crate::stats::DropReason;
use crate::wire::rtp::Ssrc;

pub use arrivals::NtpClock;

use history::History;
use packet::Incoming;
use passing::Passing;
use payload::Descriptor;
use receiver::Receiver;
use source::{Source, Taken};

/// A member's place in a room of switched video; free again once the member is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seat(u32);

impl Seat {
    /// Its place in a table of seats; less than `limits::SWITCH_SEATS`.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where packets leave.
pub trait Outlet {
    /// An RTP packet for a member, in two pieces: its header with what is rewritten of the payload,
    /// and the rest of the payload.
    fn rtp(&mut self, to: Seat, head: &[u8], body: &[u8]);
    /// A compound RTCP packet for a member.
    fn rtcp(&mut self, to: Seat, packet: &[u8]);
}

/// What a room of switched video is made with.
#[derive(Debug, Clone)]
pub struct SwitchSpec {
    /// Where its random numbers begin: SSRCs, first sequence numbers and timestamps.
    pub seed: u64,
    /// The clock of its reports; the same for all rooms of a worker.
    pub clock: NtpClock,
    /// The relay's canonical name in all its streams to a session's members (RFC 3550 §6.5.1);
    /// 64 octets at most.
    pub cname: Box<[u8]>,
    /// Who is shown stays for this long at least, in milliseconds, unless it sends no more.
    pub dwell_ms: u32,
}

/// What a room has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SwitchCounts {
    /// Packets sent to receivers.
    pub forwarded: u64,
    /// Of those: sent again, as a NACK asked for them.
    pub resent: u64,
    /// Packets that a NACK asked for too many of.
    pub resends_refused: u64,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Key frames asked for, each in one packet.
    pub key_requests: u64,
    /// Receivers that were given another source.
    pub switches: u64,
    /// Sources of which no history could be kept, as too many are shown.
    pub histories_full: u64,
}

/// A room of switched video.
#[derive(Debug)]
pub struct Switch {
    spec: SwitchSpec,
    random: u64,
    sources: Vec<Source>,
    receivers: Vec<Receiver>,
    free: Vec<u32>,
    /// Who is shown to all others, and who to that one.
    shown: [Option<u32>; 2],
    /// When `shown` was decided, and when the choice is looked at again that came too early.
    chosen_at: Option<Instant>,
    choose_at: Option<Instant>,
    speaker: Option<u32>,
    /// The order in which sources spoke and began.
    order: u64,
    /// Sources that somebody watches or waits for.
    wanted: Vec<u32>,
    spare: Vec<History>,
    histories: usize,
    /// Members whose report is due; a list that is kept as its memory is.
    due: Vec<u32>,
    counts: SwitchCounts,
}

impl Switch {
    /// Makes a room without members.
    #[must_use]
    pub fn new(spec: SwitchSpec) -> Self {
        Self {
            random: spec.seed,
            spec,
            sources: Vec::new(),
            receivers: Vec::new(),
            free: Vec::new(),
            shown: [None; 2],
            chosen_at: None,
            choose_at: None,
            speaker: None,
            order: 0,
            wanted: Vec::new(),
            spare: Vec::new(),
            histories: 0,
            due: Vec::new(),
            counts: SwitchCounts::default(),
        }
    }

    /// Adds a member, who sends and gets nothing until [`Self::set_formats`] and
    /// [`Self::set_direction`]; `None` when the room is full.
    pub fn add(&mut self, now: Instant) -> Option<Seat> {
        let receiver = self.receiver(now);
        let seat = match self.free.pop() {
            Some(seat) => {
                self.receivers[seat as usize] = receiver;
                seat
            }
            None if self.receivers.len() < SWITCH_SEATS => {
                self.receivers.push(receiver);
                self.sources.push(Source::default());
                u32::try_from(self.receivers.len() - 1).ok()?
            }
            None => return None,
        };
        self.sources[seat as usize].is_taken = true;
        self.due.reserve(self.receivers.len());
        Some(Seat(seat))
    }

    fn receiver(&mut self, now: Instant) -> Receiver {
        let random = self.next_random();
        let ssrc = Ssrc(arrivals::low_32(self.next_random()));
        Receiver::new(random, ssrc, self.report_time(now))
    }

    /// Says what a member sends and gets from now on.
    pub fn set_formats(
        &mut self,
        seat: Seat,
        formats: &RtpFormats,
        now: Instant,
        out: &mut impl Outlet,
    ) {
        if self.is_taken(seat) {
            self.receivers[seat.index()].set_formats(formats);
            self.assign(seat.0, now);
            self.ask_all(now, out);
        }
    }

    /// Says whether a member may send and is to get anything from now on. Who may send no more,
    /// as a floor's holder gave it back, makes way at once.
    pub fn set_direction(
        &mut self,
        seat: Seat,
        direction: Direction,
        now: Instant,
        out: &mut impl Outlet,
    ) {
        if !self.is_taken(seat) {
            return;
        }
        self.sources[seat.index()].may_send = direction.may_send;
        if !direction.may_send {
            self.stops(seat.0);
        }
        self.receivers[seat.index()].may_receive = direction.may_receive;
        if !self.choose(now) {
            self.assign(seat.0, now);
        }
        self.ask_all(now, out);
    }

    /// Removes a member: its stream ends with a BYE, and others get another source.
    pub fn remove(&mut self, seat: Seat, now: Instant, out: &mut impl Outlet) {
        if !self.is_taken(seat) {
            return;
        }
        let receiver = &mut self.receivers[seat.index()];
        receiver.may_receive = false;
        if receiver.sent > 0 {
            self.report(seat.0, now, out, |writer, ssrc| writer.bye(ssrc));
        }
        self.assign(seat.0, now);
        self.part_all(seat.0);
        if self.speaker == Some(seat.0) {
            self.speaker = None;
        }
        self.sources[seat.index()] = Source::default();
        self.receivers[seat.index()].payloads = Box::default();
        self.choose(now);
        self.ask_all(now, out);
        self.free.push(seat.0);
        if self.free.len() == self.sources.len() {
            // A room that was large once is small again.
            (self.sources, self.receivers) = Default::default();
            (self.free, self.due) = Default::default();
        }
    }

    fn is_taken(&self, seat: Seat) -> bool {
        let source = self.sources.get(seat.index());
        source.is_some_and(|source| source.is_taken)
    }

    /// Names who speaks; `None` changes nothing, as the last speaker stays.
    pub fn set_speaker(&mut self, speaker: Option<Seat>, now: Instant, out: &mut impl Outlet) {
        let Some(seat) = speaker.filter(|seat| self.speaker != Some(seat.0)) else {
            return;
        };
        if self.is_taken(seat) {
            self.order += 1;
            self.sources[seat.index()].spoke = self.order;
            self.speaker = Some(seat.0);
            self.choose(now);
            self.ask_all(now, out);
        }
    }

    /// Takes an RTP packet of a member.
    ///
    /// # Errors
    ///
    /// Why it is dropped: it isn't RTP, in no negotiated format, too late, of a second stream of one
    /// member, or the member may not send.
    /// Duplicates are counted in [`Self::counts`] and are no errors.
    pub fn receive(
        &mut self,
        seat: Seat,
        datagram: &[u8],
        now: Instant,
        out: &mut impl Outlet,
    ) -> Result<(), DropReason> {
        let at = seat.index();
        let member = self.receivers.get(at).ok_or(DropReason::NoLeg)?;
        let source = self.sources.get_mut(at).ok_or(DropReason::NoLeg)?;
        if !source.may_send {
            return Err(DropReason::Direction);
        }
        let packet = Incoming::parse(datagram, member.orientation).ok_or(DropReason::NotRtp)?;
        let payload = member.payload(packet.facts.payload_type);
        let payload = payload.ok_or(DropReason::Format)?;
        let descriptor = descriptor(payload.codec, &packet);
        let was = source.stream.as_ref().map(|stream| stream.payload.format);
        let number = match source.take(&packet, payload, descriptor.as_ref(), now) {
            Taken::Next(number) => number,
            Taken::Begins => {
                // Watchers part from the old stream while it is still there.
                self.restart(seat.0, now);
                self.sources[at].begin(&packet, payload, descriptor.as_ref(), now)
            }
            Taken::Duplicate => {
                self.counts.duplicates += 1;
                return Ok(());
            }
            Taken::Stray => return Err(DropReason::Stale),
        };
        if !self.sources[at].live || was != Some(payload.format) {
            self.goes_live(seat.0, now);
        }
        let passing = Passing {
            number,
            packet,
            descriptor,
            format: payload.format,
            now,
        };
        self.pass(seat.0, &passing, out);
        // Not before that: who waits may have got a key frame just now.
        self.ask_all(now, out);
        if now >= self.receivers[at].report_at {
            self.report(seat.0, now, out, |_, _| {});
        }
        Ok(())
    }

    /// Takes a compound RTCP packet of a member.
    pub fn receive_rtcp(
        &mut self,
        seat: Seat,
        datagram: &[u8],
        now: Instant,
        out: &mut impl Outlet,
    ) {
        if self.is_taken(seat) {
            self.take_rtcp(seat.0, datagram, now, out);
        }
    }

    /// When [`Self::handle_timeout`] is to be called; `None`: not before something else happens.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let wanted = self.wanted.iter().flat_map(|&source| {
            let source = &self.sources[source as usize];
            [source.silent_at(), source.key_at(now)]
        });
        let shown = self.shown.iter().flatten();
        let shown = shown.map(|&source| self.sources[source as usize].silent_at());
        wanted.chain(shown).chain([self.choose_at]).flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut impl Outlet) {
        let choose_is_due = self.choose_at.is_some_and(|at| now >= at);
        if self.forget_silent(now) || choose_is_due {
            self.choose(now);
        }
        self.ask_all(now, out);
    }

    /// What was done.
    #[must_use]
    pub fn counts(&self) -> &SwitchCounts {
        &self.counts
    }

    /// Packets sent to a member.
    #[must_use]
    pub fn sent(&self, seat: Seat) -> u64 {
        let receiver = self.receivers.get(seat.index());
        receiver.map_or(0, |receiver| receiver.sent)
    }

    /// Whose picture a member gets.
    #[must_use]
    pub fn watches(&self, seat: Seat) -> Option<Seat> {
        let receiver = self.receivers.get(seat.index())?;
        Some(Seat(receiver.watching.as_ref()?.source))
    }
}

/// VP8's payload descriptor.
fn descriptor(codec: Option<VideoCodec>, packet: &Incoming<'_>) -> Option<Descriptor> {
    match codec {
        Some(VideoCodec::Vp8) => Descriptor::parse(packet.payload),
        Some(VideoCodec::H264 | VideoCodec::H265) | None => None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
