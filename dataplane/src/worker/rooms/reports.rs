//! RTCP of rooms that are forwarded or mixed: the relay is a source and a receiver of its own
//! towards each member (RFC 3550 §7.3), so reports end here and are made here.
//!
//! Reports go with packets that come or leave, so that a quiet room sends none.

use std::time::{Duration, Instant};

use rand::RngExt;

use crate::frame::Frame;
use crate::limits::ROOM_REPORT_MS;
use crate::net::Backend;
use crate::proto::forward::{Forward, Track};
use crate::session::{Machine, MemberLeg, RoomRef};
use crate::wire::rewrite::Fields;
use crate::wire::rtcp::{Blocks, Packet, ReportBlock, SenderInfo, Writer, packets};
use crate::wire::rtp::{Seq, Ssrc};

use super::super::Worker;
use super::machines::Open;

impl<B: Backend> Worker<B> {
    /// Takes note of a member's packet, and of whether it is due a report.
    pub(super) fn note_reception(&mut self, now: Instant, place: (RoomRef, u32), frame: &Frame) {
        let ((room_ref, index), clock) = (place, self.ticks.clock);
        let Some(room) = self.rooms.find_mut(room_ref) else {
            return;
        };
        let reports_itself = matches!(room.machine, Machine::Switch(_) | Machine::Outpost(_));
        let fields = Fields::read(self.pool.bytes(frame));
        if let (Some(fields), Some(seat), false) = (fields, room.seat_mut(index), reports_itself) {
            let since = now.saturating_duration_since(clock.at).as_micros();
            let units = since * u128::from(seat.clock_rate) / 1_000_000;
            let arrival = u32::try_from(units & u128::from(u32::MAX)).unwrap_or(0);
            seat.reception.took(fields.ssrc, arrival, fields.time);
            if seat.is_due(now) {
                self.ticks.desk.due.push(index);
            }
        }
    }

    /// Sends the reports that are due to members of a room.
    pub(super) fn report_due(&mut self, now: Instant, room_ref: RoomRef) {
        while let Some(index) = self.ticks.desk.due.pop() {
            let wait = ROOM_REPORT_MS / 2 + self.random.random_range(0..ROOM_REPORT_MS);
            let Some(room) = self.rooms.find_mut(room_ref) else {
                continue;
            };
            let session = room.session;
            let Some(seat) = room.seat_mut(index) else {
                continue;
            };
            // Half to one and a half of the interval, so that those of many members don't come at
            // once (RFC 3550 §6.3.1).
            seat.report_at = Some(now + Duration::from_millis(wait));
            let stream = self.streams.find_mut(seat.slot);
            let member = stream.and_then(|stream| stream.member_mut());
            let loss = match member.map(|member| &member.leg) {
                Some(MemberLeg::Rtp(leg)) => Some(leg.loss()),
                Some(MemberLeg::Away(leg)) => Some(leg.loss()),
                Some(MemberLeg::Msrp(_) | MemberLeg::Bfcp(_)) | None => None,
            };
            let block = loss.and_then(|loss| seat.reception.block(now, loss));
            let (name, ntp) = (self.cname_of(session), self.ticks.clock.read(now));
            if let Some(mut open) = self.open(now, room_ref) {
                open.report(now, index, (block.as_ref(), ntp, &name));
            }
        }
    }
}

impl<B: Backend> Open<'_, B> {
    /// Sends a member what the relay reports to it: of what it sends there, and of what came.
    fn report(&mut self, now: Instant, index: u32, what: (Option<&ReportBlock>, u64, &[u8])) {
        let (block, ntp, name) = what;
        let Some(Some(seat)) = self.egress.seats.get_mut(index as usize) else {
            return;
        };
        let has_sent = std::mem::replace(&mut seat.sent_reported, seat.sent) != seat.sent;
        let (sent, octets) = (low_32(seat.sent), low_32(seat.octets));
        let mut buffer = [0; REPORT_BYTES];
        let mut writer = Writer::new(&mut buffer);
        match &mut self.machine {
            Machine::Forward(forward) => {
                forward_report(forward, (now, ntp), (block, has_sent), &mut writer);
                // The first one is the receiver that reports, where nobody sends.
                let used = |track: &&Track| track.counts() != (0, 0);
                let mut named = forward.tracks().filter(used).peekable();
                if named.peek().is_none() {
                    let first = forward.tracks().take(1);
                    first.for_each(|track| writer.cname(track.ssrc(), name));
                }
                named.for_each(|track| writer.cname(track.ssrc(), name));
            }
            Machine::Mix(mixing) => {
                let theirs = mixing.seating.theirs(index);
                let stream = theirs.and_then(|theirs| mixing.mixer.stream_of(theirs, now));
                let Some((ssrc, timestamp)) = stream else {
                    return;
                };
                if has_sent {
                    let info = SenderInfo {
                        ntp,
                        timestamp,
                        packets: sent,
                        octets,
                    };
                    writer.sender_report(ssrc, &info, block);
                } else {
                    writer.receiver_report(ssrc, block);
                }
                writer.cname(ssrc, name);
            }
            Machine::Switch(_) | Machine::Chat(_) | Machine::Floors(_) | Machine::Outpost(_) => {
                return;
            }
        }
        self.egress.rtcp(Some(index), writer.bytes());
    }

    /// Takes a member's RTCP in a room that is forwarded or mixed: its clock, and that it misses a
    /// picture.
    pub(super) fn take_reports(&mut self, now: Instant, index: u32, frame: &Frame) {
        let datagram = self.desk.lay(self.egress.pool.bytes(frame));
        for packet in packets(datagram) {
            match packet {
                Packet::SenderReport { info, blocks, .. } => {
                    hear_of_loss(self.machine, now, index, &blocks);
                    if let Some(Some(seat)) = self.egress.seats.get_mut(index as usize) {
                        seat.reception.reported(now, info.ntp);
                    }
                }
                Packet::PictureLoss { media } => {
                    ask_for_picture(self.machine, now, media, &mut self.egress);
                }
                Packet::FullIntraRequest { sources } => {
                    for (media, _) in sources.iter() {
                        ask_for_picture(self.machine, now, media, &mut self.egress);
                    }
                }
                Packet::ReceiverReport { blocks, .. } => {
                    hear_of_loss(self.machine, now, index, &blocks);
                }
                Packet::Nack { media, lost } => {
                    let place = (index, media);
                    ask_again(self.machine, (now, place), lost.iter(), &mut self.egress);
                }
                Packet::Bye { .. } | Packet::Remb { .. } | Packet::Other(_) => {}
            }
        }
    }

    /// Tells a member that the relay's streams to it end (RFC 3550 §6.6).
    pub(super) fn say_bye(&mut self, now: Instant, index: u32) {
        let seat = self.egress.seats.get(index as usize).copied().flatten();
        if seat.is_none_or(|seat| seat.sent == 0) {
            return;
        }
        let mut buffer = [0; REPORT_BYTES];
        let mut writer = Writer::new(&mut buffer);
        let mut bye = |ssrc: Ssrc| {
            writer.receiver_report(ssrc, None);
            writer.bye(ssrc);
        };
        match &mut self.machine {
            Machine::Forward(forward) => {
                let used = forward.tracks().filter(|track| track.counts() != (0, 0));
                used.for_each(|track| bye(track.ssrc()));
            }
            Machine::Mix(mixing) => {
                let theirs = mixing.seating.theirs(index);
                let stream = theirs.and_then(|theirs| mixing.mixer.stream_of(theirs, now));
                if let Some((ssrc, _)) = stream {
                    bye(ssrc);
                }
            }
            Machine::Switch(_) | Machine::Chat(_) | Machine::Floors(_) | Machine::Outpost(_) => {
                return;
            }
        }
        self.egress.rtcp(Some(index), writer.bytes());
    }
}

/// A report of each track on which somebody sends, the first with what came from the member.
fn forward_report(
    forward: &Forward,
    at: (Instant, u64),
    what: (Option<&ReportBlock>, bool),
    writer: &mut Writer<'_>,
) {
    let ((now, ntp), (mut block, has_sent)) = (at, what);
    let lately = Duration::from_millis(2 * ROOM_REPORT_MS);
    let mut reported = false;
    for track in forward.tracks().filter(|_| has_sent) {
        if let Some(timestamp) = track.time_at(now).filter(|_| track.is_awake(now, lately)) {
            let (packets, octets) = track.counts();
            let info = SenderInfo {
                ntp,
                timestamp,
                packets,
                octets,
            };
            writer.sender_report(track.ssrc(), &info, block.take());
            reported = true;
        }
    }
    if let Some(track) = forward.tracks().next().filter(|_| !reported) {
        writer.receiver_report(track.ssrc(), block);
    }
}

/// A listener of a mix says what it has lost of it.
fn hear_of_loss(machine: &mut Machine, now: Instant, index: u32, blocks: &Blocks<'_>) {
    let lost = blocks.iter().map(|block| block.fraction_lost).max();
    if let (Machine::Mix(mixing), Some(lost)) = (machine, lost)
        && let Some(theirs) = mixing.seating.theirs(index)
    {
        mixing.mixer.hear_of_loss(theirs, now, lost);
    }
}

/// Asks who sends on a track for a whole picture, not more often than it helps.
fn ask_for_picture<B: Backend>(
    machine: &mut Machine,
    now: Instant,
    media: Ssrc,
    egress: &mut super::egress::Egress<'_, B>,
) {
    if let Machine::Forward(forward) = machine
        && let Some((seat, source)) = forward.ask(now, media)
    {
        let mut buffer = [0; REPORT_BYTES];
        let mut writer = Writer::new(&mut buffer);
        writer.receiver_report(media, None);
        writer.picture_loss(media, source);
        egress.rtcp(u32::try_from(seat).ok(), writer.bytes());
    }
}

/// Asks who sends on a track for packets that a receiver lacks.
fn ask_again<B: Backend>(
    machine: &mut Machine,
    (now, (index, media)): (Instant, (u32, Ssrc)),
    lost: impl Iterator<Item = Seq>,
    egress: &mut super::egress::Egress<'_, B>,
) {
    if let Machine::Forward(forward) = machine
        && let Some(missing) = forward.ask_again(now, (index as usize, media), lost)
    {
        let mut buffer = [0; REPORT_BYTES];
        let mut writer = Writer::new(&mut buffer);
        writer.receiver_report(media, None);
        writer.nack(media, missing.source, missing.numbers());
        egress.stats.room_nacks += 1;
        egress.rtcp(u32::try_from(missing.seat).ok(), writer.bytes());
    }
}

fn low_32(count: u64) -> u32 {
    u32::try_from(count & u64::from(u32::MAX)).unwrap_or(0)
}

/// A report and a name for each track there is.
const REPORT_BYTES: usize = 512;
