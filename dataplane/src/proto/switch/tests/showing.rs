//! Who gets whom, and when.

use crate::api::VideoCodec;
use crate::stats::DropReason;

use super::scene::{Encoder, Got, Room, formats, payload};

fn vp8(room: &Room) -> Vec<Encoder> {
    let seats = room.seats.iter();
    seats
        .map(|seat| Encoder::new(*seat, VideoCodec::Vp8))
        .collect()
}

/// Everybody sends a frame.
fn all_send(room: &mut Room, encoders: &mut [Encoder], is_key: bool) {
    for encoder in encoders {
        room.send(encoder, is_key);
    }
    room.pass(33);
}

/// A picture that doesn't end.
fn unmarked(room: &mut Room, encoder: &mut Encoder) {
    for mut packet in encoder.frame(false) {
        packet[1] &= 0x7f;
        room.give(encoder.seat, &packet);
    }
}

fn seats(got: &[Got]) -> Vec<usize> {
    let mut seats: Vec<usize> = got.iter().map(|got| got.seat).collect();
    seats.dedup();
    seats
}

#[test]
fn the_speaker_is_shown_to_all_and_who_spoke_before_to_the_speaker() {
    let mut room = Room::new(4);
    let mut encoders = vp8(&room);
    let all = room.seats.clone();
    all_send(&mut room, &mut encoders, true);
    for speaker in [1, 2, 3] {
        room.speak(all[speaker]);
        room.pass(1000);
        all_send(&mut room, &mut encoders, true);
    }
    room.sent.rtp.clear();
    all_send(&mut room, &mut encoders, false);
    let shown: Vec<_> = all.iter().map(|seat| seats(&room.got(*seat))).collect();
    assert_eq!(shown, [[3], [3], [3], [2]]);
}

#[test]
fn who_sent_first_is_shown_until_somebody_speaks() {
    let mut room = Room::new(3);
    let mut encoders = vp8(&room);
    let all = room.seats.clone();
    encoders.rotate_left(1);
    all_send(&mut room, &mut encoders, true);
    all_send(&mut room, &mut encoders, true);
    let shown: Vec<_> = all.iter().map(|seat| seats(&room.got(*seat))).collect();
    assert_eq!(shown, [vec![1], vec![2], vec![1]]);
}

#[test]
fn a_receiver_keeps_what_it_has_until_the_new_sources_key_frame() {
    let mut room = Room::new(3);
    let mut encoders = vp8(&room);
    let all = room.seats.clone();
    all_send(&mut room, &mut encoders, true);
    room.got(all[2]);
    room.speak(all[1]);
    for _ in 0..5 {
        all_send(&mut room, &mut encoders, false);
    }
    assert_eq!(seats(&room.got(all[2])), [0], "no key frame yet");
    all_send(&mut room, &mut encoders, true);
    let got = room.got(all[2]);
    // The key frame of the old source came first, as it sent first.
    assert_eq!(seats(&got), [0, 1]);
    let first = got.iter().find(|got| got.seat == 1).unwrap();
    assert!(first.is_key && first.index == 0);
    room.send(&mut encoders[0], false);
    assert_eq!(room.got(all[2]), [], "the old source is no longer sent");
}

#[test]
fn an_h264_receiver_begins_with_the_parameters_of_the_key_frame() {
    let mut room = Room::new(3);
    let all = room.seats.clone();
    let mut old = Encoder::new(all[0], VideoCodec::H264);
    let mut new = Encoder::new(all[1], VideoCodec::H264);
    new.packets = 5;
    room.send(&mut old, true);
    room.send(&mut new, true);
    room.speak(all[1]);
    room.send(&mut new, false);
    room.got(all[2]);
    room.send(&mut new, true);
    let got = room.got(all[2]);
    let parts: Vec<_> = got.iter().map(|got| (got.is_key, got.index)).collect();
    assert_eq!(
        parts,
        [(true, 0), (true, 1), (true, 2), (true, 3), (true, 4)]
    );
    assert!(
        got.windows(2)
            .all(|two| two[1].seq == two[0].seq.wrapping_add(1))
    );
}

#[test]
fn an_h264_key_frame_whose_parameters_were_lost_is_not_switched_to() {
    let mut room = Room::new(3);
    let all = room.seats.clone();
    let mut old = Encoder::new(all[0], VideoCodec::H264);
    let mut new = Encoder::new(all[1], VideoCodec::H264);
    room.send(&mut old, true);
    room.send(&mut new, true);
    room.speak(all[1]);
    room.send(&mut new, true);
    room.speak(all[0]);
    room.pass(2000);
    room.send(&mut old, true);
    room.speak(all[1]);
    room.pass(2000);
    room.send(&mut old, false);
    room.got(all[2]);
    for packet in new.frame(true).iter().skip(1) {
        room.give(all[1], packet);
    }
    assert_eq!(room.got(all[2]), []);
    room.send(&mut new, true);
    assert_eq!(room.got(all[2]).len(), 3);
}

#[test]
fn packets_of_a_key_frame_that_overtook_its_first_one_are_sent_after_it() {
    let mut room = Room::new(3);
    let all = room.seats.clone();
    let mut old = Encoder::new(all[0], VideoCodec::Vp8);
    let mut new = Encoder::new(all[1], VideoCodec::Vp8);
    room.send(&mut old, true);
    room.send(&mut new, false);
    room.speak(all[1]);
    room.got(all[2]);
    let frame = new.frame(true);
    for index in [1, 2, 0] {
        room.give(all[1], &frame[index]);
    }
    let got = room.got(all[2]);
    let indexes: Vec<u8> = got.iter().map(|got| got.index).collect();
    assert_eq!(indexes, [0, 1, 2]);
    assert!(
        got.windows(2)
            .all(|two| two[1].seq == two[0].seq.wrapping_add(1))
    );
}

#[test]
fn an_unknown_codec_is_switched_after_a_while_between_two_pictures() {
    let mut room = Room::new(3);
    let all = room.seats.clone();
    let send = |room: &mut Room, encoder: &mut Encoder| {
        for mut packet in encoder.frame(false) {
            packet[1] = packet[1] & 0x80 | 98;
            room.give(encoder.seat, &packet);
        }
    };
    let mut old = Encoder::new(all[0], VideoCodec::Vp8);
    let mut new = Encoder::new(all[1], VideoCodec::Vp8);
    room.send(&mut old, true);
    send(&mut room, &mut new);
    room.speak(all[1]);
    room.got(all[2]);
    let mut frames = 0;
    loop {
        room.pass(33);
        send(&mut room, &mut new);
        frames += 1;
        let got = room.got(all[2]);
        if let Some(first) = got.first() {
            assert_eq!((first.seat, first.index, got.len()), (1, 0, 3));
            break;
        }
        assert!(frames < 100);
    }
    assert_eq!(frames, 16, "half a second");
}

#[test]
fn who_is_shown_stays_for_the_dwell_time() {
    let mut room = Room::new(4);
    let mut encoders = vp8(&room);
    let all = room.seats.clone();
    all_send(&mut room, &mut encoders, true);
    room.speak(all[1]);
    all_send(&mut room, &mut encoders, true);
    room.speak(all[2]);
    all_send(&mut room, &mut encoders, true);
    assert_eq!(room.switch.watches(all[3]), Some(all[1]), "too early");
    assert_eq!(
        room.switch.watches(all[1]),
        Some(all[2]),
        "who was shown sees the new one"
    );
    room.pass(1000);
    all_send(&mut room, &mut encoders, true);
    assert_eq!(room.switch.watches(all[3]), Some(all[2]));
}

#[test]
fn who_may_send_no_more_makes_way_at_once() {
    let mut room = Room::new(3);
    let mut encoders = vp8(&room);
    let all = room.seats.clone();
    all_send(&mut room, &mut encoders, true);
    room.speak(all[0]);
    room.speak(all[1]);
    room.direct(all[0], false, true);
    room.send(&mut encoders[1], true);
    assert_eq!(room.switch.watches(all[2]), Some(all[1]));
    let packet = &encoders[0].frame(true)[0];
    let refused = room
        .switch
        .receive(all[0], packet, room.now, &mut room.sent);
    assert_eq!(refused, Err(DropReason::Direction));
}

#[test]
fn who_falls_silent_is_replaced_and_who_has_nobody_else_keeps_its_source() {
    let mut room = Room::new(3);
    let mut encoders = vp8(&room);
    let all = room.seats.clone();
    all_send(&mut room, &mut encoders[..2], true);
    room.speak(all[0]);
    all_send(&mut room, &mut encoders[..2], true);
    assert_eq!(room.switch.watches(all[2]), Some(all[0]));
    for _ in 0..100 {
        all_send(&mut room, &mut encoders[1..2], true);
    }
    assert_eq!(room.switch.watches(all[2]), Some(all[1]));
    assert_eq!(
        room.switch.watches(all[1]),
        Some(all[0]),
        "there is nobody else"
    );
    room.got(all[1]);
    // It goes on where it was, without a key frame.
    room.send(&mut encoders[0], false);
    assert_eq!(room.got(all[1]).len(), 3);
}

#[test]
fn a_member_that_is_not_to_get_video_gets_none() {
    let mut room = Room::new(3);
    let mut encoders = vp8(&room);
    let all = room.seats.clone();
    room.direct(all[2], true, false);
    all_send(&mut room, &mut encoders, true);
    all_send(&mut room, &mut encoders, true);
    assert_eq!(room.got(all[2]), []);
    room.direct(all[2], true, true);
    all_send(&mut room, &mut encoders, false);
    assert_eq!(room.got(all[2]), []);
    all_send(&mut room, &mut encoders, true);
    assert_eq!(room.got(all[2]).len(), 3);
}

#[test]
fn formats_go_out_with_the_receivers_payload_types_or_not_at_all() {
    let mut room = Room::new(1);
    let mut other = formats();
    other.payloads = vec![payload(120, 1)];
    let mapped = room.join(&other);
    other.payloads = vec![payload(97, 2)];
    let foreign = room.join(&other);
    let mut encoder = Encoder::new(room.seats[0], VideoCodec::Vp8);
    room.send(&mut encoder, true);
    let got = room.got(mapped);
    assert!(got.iter().all(|got| got.payload_type == 120));
    assert_eq!(got.iter().filter(|got| got.marker).count(), 1);
    assert_eq!(room.got(foreign), [], "it can't decode that");
    let mut packet = encoder.frame(true).remove(0);
    packet[1] = 111;
    let refused = room
        .switch
        .receive(encoder.seat, &packet, room.now, &mut room.sent);
    assert_eq!(refused, Err(DropReason::Format));
}

#[test]
fn a_member_that_leaves_is_forgotten_and_its_seat_used_again() {
    let mut room = Room::new(3);
    let mut encoders = vp8(&room);
    let all = room.seats.clone();
    all_send(&mut room, &mut encoders, true);
    room.speak(all[0]);
    all_send(&mut room, &mut encoders, true);
    room.switch.remove(all[2], room.now, &mut room.sent);
    assert_eq!(
        room.told(all[2], 203, 1).len(),
        1,
        "its stream ends with a BYE"
    );
    room.switch.remove(all[0], room.now, &mut room.sent);
    assert_eq!(room.switch.watches(all[1]), None);
    let seat = room.join(&formats());
    assert_eq!(seat, all[0]);
    room.sent.rtp.clear();
    room.send(&mut encoders[1], true);
    assert_eq!(room.got(seat).len(), 3);
    assert_eq!(room.got(all[1]), []);
}

#[test]
fn a_quiet_room_has_no_timeout_and_keeps_nothing() {
    let mut room = Room::new(3);
    assert_eq!(room.switch.poll_timeout(room.now), None);
    let mut encoders = vp8(&room);
    all_send(&mut room, &mut encoders, true);
    all_send(&mut room, &mut encoders, true);
    assert!(room.switch.poll_timeout(room.now).is_some());
    room.pass(10_000);
    assert_eq!(room.switch.poll_timeout(room.now), None);
    assert_eq!(room.switch.histories, 0);
}

#[test]
fn a_picture_is_sent_whole_before_another_source_is_shown() {
    for codec in [VideoCodec::Vp8, VideoCodec::H264] {
        let mut room = Room::new(3);
        let all = room.seats.clone();
        let [mut old, mut new] = [all[0], all[1]].map(|seat| Encoder::new(seat, codec));
        room.send(&mut old, true);
        room.speak(all[0]);
        room.pass(1000);
        room.speak(all[1]);
        room.send(&mut new, false);
        room.pass(1000);
        room.got(all[2]);
        // The key frame comes between two packets of the other one's picture.
        let picture = old.frame(false);
        room.give(all[0], &picture[0]);
        room.send(&mut new, true);
        room.give(all[0], &picture[1]);
        room.give(all[0], &picture[2]);
        room.send(&mut new, false);
        let got = room.got(all[2]);
        let order: Vec<_> = got.iter().map(|got| (got.seat, got.index)).collect();
        let due = [0, 1, 1].map(|seat| [0, 1, 2].map(|index| (seat, index)));
        assert_eq!(order, due.concat(), "{codec:?}");
        assert!(got[3].is_key && !got[8].is_key, "{codec:?}");
        let is_next = |pair: &[Got]| pair[1].seq == pair[0].seq.wrapping_add(1);
        assert!(got.windows(2).all(is_next), "{codec:?}: {got:?}");
    }
}

#[test]
fn a_picture_that_does_not_end_holds_nobody_for_long() {
    let mut room = Room::new(3);
    let mut encoders = vp8(&room);
    let all = room.seats.clone();
    all_send(&mut room, &mut encoders[..1], true);
    room.speak(all[1]);
    room.send(&mut encoders[1], false);
    room.pass(1000);
    // Its packets come on and on, and none has the marker.
    unmarked(&mut room, &mut encoders[0]);
    room.send(&mut encoders[1], true);
    room.got(all[2]);
    let mut rounds = 0;
    let got = loop {
        room.pass(20);
        unmarked(&mut room, &mut encoders[0]);
        room.send(&mut encoders[1], false);
        rounds += 1;
        let got = room.got(all[2]);
        if seats(&got) != [0] {
            break got;
        }
        assert!(rounds < 20, "it stays for ever");
    };
    assert_eq!(rounds, 5, "a tenth of a second");
    assert_eq!(seats(&got), [0, 1]);
    let first = got.iter().find(|got| got.seat == 1).unwrap();
    assert!(first.is_key && first.index == 0, "from the key frame on");
}

#[test]
fn who_missed_a_key_frame_for_the_end_of_a_picture_takes_the_next_one_at_once() {
    let mut room = Room::new(3);
    let mut encoders = vp8(&room);
    let all = room.seats.clone();
    all_send(&mut room, &mut encoders[..1], true);
    room.speak(all[1]);
    room.send(&mut encoders[1], false);
    room.pass(1000);
    unmarked(&mut room, &mut encoders[0]);
    // So much follows at once that the key frame isn't kept.
    room.send(&mut encoders[1], true);
    for _ in 0..100 {
        room.send(&mut encoders[1], false);
    }
    for _ in 0..10 {
        room.pass(50);
        unmarked(&mut room, &mut encoders[0]);
        room.send(&mut encoders[1], false);
    }
    assert_eq!(seats(&room.got(all[2])), [0]);
    unmarked(&mut room, &mut encoders[0]);
    room.send(&mut encoders[1], true);
    let got = room.got(all[2]);
    assert_eq!(seats(&got), [0, 1]);
    let first = got.iter().find(|got| got.seat == 1).unwrap();
    assert!(first.is_key && first.index == 0);
}
