//! Random rooms and random bytes; a failure names its seed.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::api::VideoCodec;
use crate::proto::switch::Seat;

use super::scene::{Encoder, Got, Room, formats, nack, pli};

/// Checks one receiver's stream: in the order of its sequence numbers, whatever came when.
fn check(got: &[Got], seed: u64) {
    let Some(first) = got.first() else {
        return;
    };
    let mut by_seq: BTreeMap<u64, &Got> = BTreeMap::new();
    let mut highest = 1_u64 << 20;
    let mut last = first.seq;
    for packet in got {
        assert_eq!(packet.ssrc, first.ssrc, "seed {seed}");
        let ahead = packet.seq.wrapping_sub(last).cast_signed();
        let number = highest.checked_add_signed(ahead.into()).unwrap();
        if number > highest {
            (highest, last) = (number, packet.seq);
        }
        if let Some(twin) = by_seq.insert(number, packet) {
            assert_eq!(twin, packet, "seed {seed}: two packets with one number");
        }
    }
    let packets: Vec<&Got> = by_seq.into_values().collect();
    for two in packets.windows(2) {
        let [before, after] = two else { panic!() };
        let passed = after.timestamp.wrapping_sub(before.timestamp).cast_signed();
        assert!(passed >= 0, "seed {seed}: time goes back by {passed}");
        let same_frame = (after.seat, after.frame) == (before.seat, before.frame);
        assert_eq!(same_frame, passed == 0, "seed {seed}");
        if after.seat != before.seat {
            assert!(after.is_key, "seed {seed}: {after:?} after {before:?}");
        }
    }
    assert!(packets[0].is_key, "seed {seed}");
}

#[test]
fn whoever_speaks_and_whatever_is_lost_each_receivers_stream_is_sound() {
    let switches: u64 = (0..60).map(play).sum();
    assert!(switches > 2500, "{switches} switches");
}

fn play(seed: u64) -> u64 {
    let mut random = StdRng::seed_from_u64(seed);
    let members = random.random_range(2..8);
    let codec = [VideoCodec::Vp8, VideoCodec::H264][usize::from(random.random::<bool>())];
    let mut room = Room::new(members);
    let all = room.seats.clone();
    let mut encoders: Vec<Encoder> = all.iter().map(|seat| Encoder::new(*seat, codec)).collect();
    let mut ssrcs: BTreeMap<Seat, (u32, u16)> = BTreeMap::new();
    let mut late: Vec<(Seat, Vec<u8>)> = Vec::new();
    for _ in 0..400 {
        for encoder in &mut encoders {
            encoder.packets = random.random_range(2..6);
            let is_key = random.random_ratio(1, 12);
            for packet in encoder.frame(is_key) {
                match random.random_range(0..40) {
                    0 => {}
                    1 | 2 => late.push((encoder.seat, packet)),
                    3 => {
                        offer(&mut room, encoder.seat, &packet);
                        offer(&mut room, encoder.seat, &packet);
                    }
                    _ => offer(&mut room, encoder.seat, &packet),
                }
                while !late.is_empty() && random.random_ratio(1, 4) {
                    let (seat, packet) = late.remove(random.random_range(0..late.len()));
                    offer(&mut room, seat, &packet);
                }
            }
        }
        room.pass(random.random_range(10..60));
        disturb(&mut room, &mut random, &ssrcs);
        for (to, packet) in &room.sent.rtp {
            let word = std::array::from_fn(|index| packet[8 + index]);
            let seq = u16::from_be_bytes([packet[2], packet[3]]);
            ssrcs.insert(*to, (u32::from_be_bytes(word), seq));
        }
    }
    for seat in all {
        check(&room.got(seat), seed);
    }
    room.switch.counts().switches
}

/// Gives a packet to a room that may refuse it: not everybody may send always.
fn offer(room: &mut Room, seat: Seat, packet: &[u8]) {
    let _refused = room.switch.receive(seat, packet, room.now, &mut room.sent);
}

fn disturb(room: &mut Room, random: &mut StdRng, ssrcs: &BTreeMap<Seat, (u32, u16)>) {
    let seat = room.seats[random.random_range(0..room.seats.len())];
    match random.random_range(0..30) {
        0..3 => room.speak(seat),
        3 => room.direct(seat, random.random(), random.random()),
        4 => room.direct(seat, true, true),
        5 => room.pass(random.random_range(0..5000)),
        _ => {}
    }
    for seat in room.seats.clone() {
        if random.random_ratio(1, 4) {
            room.direct(seat, true, true);
        }
    }
    if let Some((ssrc, seq)) = ssrcs.get(&seat) {
        match random.random_range(0..6) {
            0 => room.tell(seat, &pli(*ssrc)),
            1 => {
                let first = seq.wrapping_sub(random.random_range(0..40));
                room.tell(seat, &nack(*ssrc, first, random.random()));
            }
            _ => {}
        }
    }
}

#[test]
fn any_bytes_are_borne() {
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut room = Room::new(4);
        let mut encoder = Encoder::new(room.seats[0], VideoCodec::Vp8);
        let mut rate = 0;
        for _ in 0..200 {
            let seat = room.seats[random.random_range(0..4)];
            let mut bytes = match random.random_range(0..4) {
                0 => (0..random.random_range(0..60))
                    .map(|_| random.random())
                    .collect(),
                1 => nack(random.random(), random.random(), random.random()),
                _ => {
                    encoder.codec = [VideoCodec::Vp8, VideoCodec::H264][random.random_range(0..2)];
                    encoder.frame(random.random()).swap_remove(0)
                }
            };
            for _ in 0..random.random_range(0..4) {
                if !bytes.is_empty() {
                    let at = random.random_range(0..bytes.len());
                    bytes[at] = random.random();
                }
            }
            bytes.truncate(random.random_range(0..=bytes.len()));
            let before = room.sent.rtp.len() + room.sent.rtcp.len();
            let _refused = room.switch.receive(seat, &bytes, room.now, &mut room.sent);
            room.tell(seat, &bytes);
            if random.random_ratio(1, 20) {
                room.speak(seat);
            }
            if random.random_ratio(1, 50) {
                room.switch.remove(seat, room.now, &mut room.sent);
                let again = room.join(&formats());
                room.seats.pop();
                assert_eq!(again, seat);
            }
            rate = rate.max(room.sent.rtp.len() + room.sent.rtcp.len() - before);
            room.pass(random.random_range(0..200));
        }
        assert!(rate < 1100, "seed {seed}: {rate} packets for one");
    }
}

#[test]
fn a_room_takes_thousands_of_members_and_no_more_than_its_limit() {
    let mut room = Room::new(3000);
    let mut encoder = Encoder::new(room.seats[0], VideoCodec::Vp8);
    room.send(&mut encoder, true);
    let got: BTreeSet<Seat> = room.sent.rtp.iter().map(|(to, _)| *to).collect();
    assert_eq!(got.len(), 2999);
    assert_eq!(room.sent.rtp.len(), 3 * 2999);
    while room.switch.add(room.now).is_some() {}
    assert_eq!(room.switch.receivers.len(), crate::limits::SWITCH_SEATS);
}
