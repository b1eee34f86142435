use std::time::{Duration, Instant};

use crate::api::PayloadFormat;
use crate::limits::{FORWARD_IDLE_MS, FORWARD_TRACKS};
use crate::stats::DropReason;
use crate::wire::rewrite::Fields;
use crate::wire::rtp::{Seq, Ssrc};

use super::{Forward, Turn};

const VOICE: u16 = 1;
const OTHER: u16 = 2;

fn format(payload_type: u8, format: u16) -> PayloadFormat {
    PayloadFormat {
        payload_type,
        format,
        clock_rate: 8000,
    }
}

fn room(members: usize) -> (Forward, Instant) {
    let mut room = Forward::new(std::array::from_fn(|at| {
        Ssrc(0xa000 + u32::try_from(at).unwrap())
    }));
    for seat in 0..members {
        room.set(seat, &[format(8, VOICE)], true);
    }
    #[expect(clippy::disallowed_methods, reason = "a time to begin with")]
    let now = Instant::now();
    (room, now)
}

fn packet(seq: u16, time: u32, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80; 172];
    Fields {
        marker: false,
        payload_type: 8,
        seq: Seq(seq),
        time,
        ssrc: Ssrc(ssrc),
    }
    .write(&mut packet);
    packet
}

fn heard(room: &mut Forward, seat: usize, turn: &Turn) -> (u16, u32) {
    let fields = room.head_for(seat, turn).unwrap();
    assert_eq!(fields.ssrc, Ssrc(0xa000));
    (fields.seq.0, fields.time)
}

#[test]
fn numbers_go_on_when_another_member_sends() {
    let (mut room, mut now) = room(3);
    for step in 0..3_u16 {
        let sent = packet(65_535_u16.wrapping_add(step), 160 * u32::from(step), 7);
        let turn = room.receive(now, 0, &sent).unwrap();
        assert_eq!(
            heard(&mut room, 2, &turn),
            (65_535_u16.wrapping_add(step), 160 * u32::from(step))
        );
        assert_eq!(room.head_for(0, &turn), None, "it doesn't hear itself");
        now += Duration::from_millis(20);
    }
    room.mute(0);
    now += Duration::from_millis(980);
    let turn = room.receive(now, 1, &packet(500, 9_000, 8)).unwrap();
    // 320 was sent a second ago.
    assert_eq!(heard(&mut room, 2, &turn), (2, 320 + 8_000));
    let turn = room.receive(now, 1, &packet(501, 9_160, 8)).unwrap();
    assert_eq!(heard(&mut room, 2, &turn), (3, 320 + 8_160));
    let old = room.receive(now, 1, &packet(499, 8_840, 8));
    assert_eq!(old, Err(DropReason::Stale), "the number is another's");
}

#[test]
fn a_receiver_sees_no_gap_for_what_was_its_own_or_came_during_its_hold() {
    let (mut room, now) = room(3);
    for seq in 10..13 {
        let turn = room.receive(now, 0, &packet(seq, 1, 7)).unwrap();
        assert_eq!(heard(&mut room, 1, &turn).0, seq);
        room.head_for(0, &turn);
    }
    room.mute(0);
    let turn = room.receive(now, 1, &packet(700, 1, 8)).unwrap();
    assert_eq!(heard(&mut room, 0, &turn).0, 13);
    room.set(0, &[format(8, VOICE)], false);
    for seq in 701..720 {
        let turn = room.receive(now, 1, &packet(seq, 1, 8)).unwrap();
        assert_eq!(room.head_for(0, &turn), None);
    }
    room.set(0, &[format(8, VOICE)], true);
    let turn = room.receive(now, 1, &packet(720, 1, 8)).unwrap();
    assert_eq!(heard(&mut room, 0, &turn).0, 14);
    let late = room.receive(now, 1, &packet(719, 1, 8)).unwrap();
    assert_eq!(room.head_for(0, &late), None);
}

#[test]
fn payload_types_are_the_receivers() {
    let (mut room, now) = room(2);
    room.set(1, &[format(96, OTHER), format(97, VOICE)], true);
    room.set(2, &[format(96, OTHER)], true);
    let turn = room.receive(now, 0, &packet(1, 1, 7)).unwrap();
    assert_eq!(room.head_for(1, &turn).unwrap().payload_type, 97);
    assert_eq!(room.head_for(2, &turn), None);
    let unknown = room.receive(now, 2, &packet(1, 1, 7));
    assert_eq!(unknown, Err(DropReason::Format));
    room.set(0, &[], true);
    let turn = room.receive(now, 0, &packet(1, 1, 7)).unwrap();
    assert_eq!(room.head_for(1, &turn).unwrap().payload_type, 8);
}

#[test]
fn as_many_send_at_a_time_as_there_are_tracks() {
    let (mut room, now) = room(FORWARD_TRACKS + 2);
    let mut ssrcs = Vec::new();
    for seat in 0..FORWARD_TRACKS {
        let turn = room.receive(now, seat, &packet(1, 1, 7)).unwrap();
        let fields = room.head_for(FORWARD_TRACKS, &turn).unwrap();
        ssrcs.push(fields.ssrc.0);
    }
    ssrcs.dedup();
    assert_eq!(ssrcs.len(), FORWARD_TRACKS);
    let one_more = room.receive(now, FORWARD_TRACKS, &packet(1, 1, 7));
    assert_eq!(one_more, Err(DropReason::Crowded));
    let later = now + Duration::from_millis(FORWARD_IDLE_MS);
    for seat in 1..FORWARD_TRACKS {
        room.receive(later, seat, &packet(2, 1, 7)).unwrap();
    }
    let turn = room.receive(later, FORWARD_TRACKS, &packet(1, 1, 7));
    assert!(turn.is_ok(), "the first has sent nothing for long");
    room.remove(1);
    assert!(
        room.receive(later, FORWARD_TRACKS + 1, &packet(1, 1, 7))
            .is_ok()
    );
}

#[test]
fn a_sender_that_begins_anew_is_another_source() {
    let (mut room, now) = room(2);
    let turn = room.receive(now, 0, &packet(100, 50, 7)).unwrap();
    assert_eq!(heard(&mut room, 1, &turn), (100, 50));
    let turn = room.receive(now, 0, &packet(9, 9_000, 70)).unwrap();
    assert_eq!(heard(&mut room, 1, &turn), (101, 51));
    let fields = room.head_for(1, &turn).unwrap();
    assert!(fields.marker, "a decoder is told");
}

/// What is to go to some of the seats goes there.
fn hand_out(room: &mut Forward, seats: std::ops::Range<usize>, turn: &Turn) {
    for seat in seats {
        room.head_for(seat, turn);
    }
}

/// Asks for packets that a receiver lacks: who is asked, for which of its own.
fn ask_again(
    room: &mut Forward,
    now: Instant,
    seat: usize,
    lost: &[u16],
) -> Option<(usize, Vec<u16>)> {
    let lost = lost.iter().copied().map(Seq);
    let missing = room.ask_again(now, (seat, Ssrc(0xa000)), lost)?;
    assert_eq!(missing.source, Ssrc(8));
    let numbers = missing.numbers().iter().map(|seq| seq.0).collect();
    Some((missing.seat, numbers))
}

#[test]
fn what_receivers_lack_is_asked_for_once_and_comes_to_them_alone() {
    let (mut room, now) = room(5);
    room.set_takes_nack(1, true);
    // Another source came first, so that all numbers are shifted by then.
    let turn = room.receive(now, 0, &packet(99, 1, 7)).unwrap();
    hand_out(&mut room, 1..5, &turn);
    room.mute(0);
    for seq in 5000..5010 {
        let turn = room.receive(now, 1, &packet(seq, 1, 8)).unwrap();
        hand_out(&mut room, 0..5, &turn);
    }
    // 5000 left as 100; who had sent before has 99 of its own to leave out.
    assert_eq!(
        ask_again(&mut room, now, 2, &[103, 104]),
        Some((1, vec![5003, 5004]))
    );
    assert_eq!(
        ask_again(&mut room, now, 3, &[104, 105]),
        Some((1, vec![5005])),
        "once for all"
    );
    let again = room.receive(now, 1, &packet(5004, 1, 8)).unwrap();
    let got: Vec<_> = (0..5)
        .filter_map(|seat| Some((seat, room.head_for(seat, &again)?.seq.0)))
        .collect();
    assert_eq!(got, [(2, 104), (3, 104)], "not to those who have it");
    let again = room.receive(now, 1, &packet(5004, 1, 8)).unwrap();
    assert!((0..5).all(|seat| room.head_for(seat, &again).is_none()));
    // One that was lost on its way here is new to everybody.
    let turn = room.receive(now, 1, &packet(5012, 1, 8)).unwrap();
    hand_out(&mut room, 0..5, &turn);
    let late = room.receive(now, 1, &packet(5011, 1, 8)).unwrap();
    assert_eq!(
        (2..5)
            .filter(|seat| room.head_for(*seat, &late).is_some())
            .count(),
        3
    );
}

#[test]
fn nobody_is_asked_for_what_no_source_of_now_has_sent_or_sends_again() {
    let (mut room, now) = room(4);
    for seq in 10..20 {
        let turn = room.receive(now, 0, &packet(seq, 1, 7)).unwrap();
        hand_out(&mut room, 1..4, &turn);
    }
    assert_eq!(
        ask_again(&mut room, now, 2, &[12]),
        None,
        "it takes no NACK"
    );
    room.mute(0);
    room.set_takes_nack(1, true);
    let turn = room.receive(now, 1, &packet(700, 1, 8)).unwrap();
    hand_out(&mut room, 0..4, &turn);
    assert_eq!(
        ask_again(&mut room, now, 2, &[19]),
        None,
        "another source's"
    );
    assert_eq!(
        ask_again(&mut room, now, 2, &[21, 500]),
        None,
        "not sent yet"
    );
    assert_eq!(ask_again(&mut room, now, 1, &[20]), None, "its own");
    assert_eq!(ask_again(&mut room, now, 2, &[20]), Some((1, vec![700])));
    room.set(3, &[format(8, VOICE)], false);
    assert_eq!(ask_again(&mut room, now, 3, &[20]), None, "on hold");
}
