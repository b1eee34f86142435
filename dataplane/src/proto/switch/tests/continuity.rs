//! A receiver's stream is one stream, whoever is behind it.

use std::collections::BTreeSet;

use crate::api::VideoCodec;
use crate::stats::DropReason;

use super::scene::{Encoder, Room};

fn vp8(room: &Room) -> Vec<Encoder> {
    let seats = room.seats.iter();
    seats
        .map(|seat| Encoder::new(*seat, VideoCodec::Vp8))
        .collect()
}

#[test]
fn sequence_numbers_pictures_and_time_go_on_over_switches() {
    let mut room = Room::new(4);
    let mut encoders = vp8(&room);
    let all = room.seats.clone();
    for round in 0..40 {
        for _ in 0..33 {
            for encoder in &mut encoders {
                let is_key = encoder.frame % 33 == 5;
                room.send(encoder, is_key);
            }
            room.pass(33);
        }
        room.speak(all[round % 3]);
    }
    let got = room.got(all[3]);
    assert!(got.len() > 3800, "{}", got.len());
    let sources: BTreeSet<usize> = got.iter().map(|got| got.seat).collect();
    assert_eq!(sources, BTreeSet::from([0, 1, 2]));
    for two in got.windows(2) {
        let [before, after] = two else { panic!() };
        assert_eq!(after.ssrc, before.ssrc);
        assert_eq!(after.seq, before.seq.wrapping_add(1));
        let same_picture = (after.seat, after.frame) == (before.seat, before.frame);
        let passed = after.timestamp.wrapping_sub(before.timestamp);
        if same_picture {
            assert_eq!(passed, 0);
            assert_eq!(after.picture(), before.picture());
            continue;
        }
        if after.seat == before.seat {
            assert_eq!(passed, 3000);
        } else {
            // 33 ms of the wall clock where the old source sent before the new one, or none.
            assert!((90..=2970).contains(&passed), "{passed}");
            assert!(after.is_key && after.index == 0);
            assert_eq!(before.index + 1, before.packets, "the old frame is whole");
        }
        let (id, base) = before.picture();
        assert_eq!(after.picture(), ((id + 1) & 0x7fff, base.wrapping_add(1)));
    }
}

#[test]
fn a_pause_is_a_pause_in_timestamps() {
    let mut room = Room::new(2);
    let all = room.seats.clone();
    let mut encoder = Encoder::new(all[0], VideoCodec::Vp8);
    room.send(&mut encoder, true);
    let before = room.got(all[1]).pop().unwrap();
    room.direct(all[1], true, false);
    room.pass(2000);
    room.direct(all[1], true, true);
    room.send(&mut encoder, true);
    let after = room.got(all[1]).remove(0);
    assert_eq!(after.seq, before.seq.wrapping_add(1));
    assert_eq!(after.timestamp.wrapping_sub(before.timestamp), 180_000);
}

#[test]
fn what_a_source_lost_is_missing_and_nothing_else() {
    let mut room = Room::new(2);
    let all = room.seats.clone();
    let mut encoder = Encoder::new(all[0], VideoCodec::Vp8);
    room.send(&mut encoder, true);
    let frame = encoder.frame(false);
    room.give(all[0], &frame[0]);
    room.give(all[0], &frame[2]);
    room.give(all[0], &frame[2]);
    room.send(&mut encoder, false);
    // It comes late, twice.
    room.give(all[0], &frame[1]);
    room.give(all[0], &frame[1]);
    let got = room.got(all[1]);
    let first = got[0].seq;
    let seqs: Vec<u16> = got.iter().map(|got| got.seq.wrapping_sub(first)).collect();
    assert_eq!(seqs, [0, 1, 2, 3, 5, 6, 7, 8, 4]);
    assert_eq!(room.switch.counts().duplicates, 2);
}

#[test]
fn a_source_that_restarts_is_shown_again_from_a_key_frame_on() {
    let mut room = Room::new(2);
    let all = room.seats.clone();
    let mut encoder = Encoder::new(all[0], VideoCodec::Vp8);
    room.send(&mut encoder, true);
    let before = room.got(all[1]).pop().unwrap();
    let mut anew = Encoder::new(all[0], VideoCodec::Vp8);
    (anew.ssrc, anew.seq, anew.timestamp) = (5, 9, 77);
    for packet in anew.frame(true) {
        let refused = room
            .switch
            .receive(all[0], &packet, room.now, &mut room.sent);
        assert_eq!(
            refused,
            Err(DropReason::Stale),
            "a second stream of the same member"
        );
    }
    assert_eq!(room.got(all[1]), []);
    room.pass(200);
    room.sent.rtcp.clear();
    room.send(&mut anew, false);
    assert_eq!(room.got(all[1]), []);
    assert_eq!(
        room.told(all[0], 206, 4).len(),
        1,
        "a key frame is asked for"
    );
    room.send(&mut anew, true);
    let got = room.got(all[1]);
    assert_eq!((got[0].seq, got.len()), (before.seq.wrapping_add(1), 3));
    assert_eq!(got[0].ssrc, before.ssrc);
    assert_eq!(got[0].timestamp.wrapping_sub(before.timestamp), 18_000);
}

#[test]
fn the_orientation_goes_to_those_who_take_it() {
    let mut room = Room::new(0);
    let mut formats = super::scene::formats();
    formats.orientation = Some(4);
    let from = room.join(&formats);
    formats.orientation = Some(9);
    let takes = room.join(&formats);
    formats.orientation = None;
    let does_not = room.join(&formats);
    let mut encoder = Encoder::new(from, VideoCodec::Vp8);
    let packet = encoder.frame(true).remove(0);
    let (head, payload) = packet.split_at(12);
    let mut extended = head.to_vec();
    extended[0] |= 0x10;
    extended.extend([0xbe, 0xde, 0, 2, 0x10, 7, 0x40, 0x03, 0, 0, 0, 0]);
    extended.extend(payload);
    room.give(from, &extended);
    let sent = std::mem::take(&mut room.sent.rtp);
    let to = |seat| &sent.iter().find(|(to, _)| *to == seat).unwrap().1;
    assert_eq!(to(takes)[0], 0x90);
    assert_eq!(to(takes)[12..20], [0xbe, 0xde, 0, 1, 0x90, 3, 0, 0]);
    assert_eq!(to(takes).len(), 20 + payload.len());
    assert_eq!(to(does_not)[0], 0x80);
    assert_eq!(to(does_not).len(), 12 + payload.len());
}
