//! Requests for key frames, lost packets, bounds on the bit rate, reports.

use crate::api::VideoCodec;

use super::scene::{Encoder, Room, formats, nack, parts, pli};

const NACK: (u8, u8) = (205, 1);
const PLI: (u8, u8) = (206, 1);
const FIR: (u8, u8) = (206, 4);
const REMB: (u8, u8) = (206, 15);

/// A room of so many, where the first one is shown to all others.
fn shown(members: usize) -> (Room, Encoder) {
    let mut room = Room::new(members);
    let mut encoder = Encoder::new(room.seats[0], VideoCodec::Vp8);
    room.send(&mut encoder, true);
    room.send(&mut encoder, false);
    (room, encoder)
}

fn told(room: &mut Room, seat: usize, (kind, format): (u8, u8)) -> Vec<Vec<u8>> {
    let seat = room.seats[seat];
    room.told(seat, kind, format)
}

#[test]
fn a_key_frame_is_asked_for_once_for_all_who_wait_and_again_until_it_comes() {
    let (mut room, mut first) = shown(100);
    let mut second = Encoder::new(room.seats[1], VideoCodec::Vp8);
    room.send(&mut second, true);
    room.sent.rtcp.clear();
    room.speak(room.seats[1]);
    room.send(&mut second, false);
    let asked = told(&mut room, 1, FIR);
    assert_eq!(asked.len(), 1);
    let number = asked[0][16];
    assert_eq!(asked[0][12..16], second.ssrc.to_be_bytes());
    for _ in 0..60 {
        room.pass(33);
        room.send(&mut first, false);
        room.send(&mut second, false);
    }
    let again = told(&mut room, 1, FIR);
    assert_eq!(again.len(), 3, "each half second");
    assert!(
        again.iter().all(|fir| fir[16] == number),
        "the same command"
    );
    room.send(&mut second, true);
    room.pass(400);
    room.sent.rtcp.clear();
    for _ in 0..60 {
        room.pass(33);
        room.send(&mut second, false);
    }
    assert_eq!(told(&mut room, 1, FIR).len(), 0, "it has come");
}

#[test]
fn many_receivers_that_lost_a_picture_make_one_request_a_second() {
    let (mut room, mut encoder) = shown(100);
    let streams: Vec<u32> = (1..100)
        .map(|seat| room.got(room.seats[seat])[0].ssrc)
        .collect();
    room.pass(1000);
    room.sent.rtcp.clear();
    for _ in 0..30 {
        for (ssrc, seat) in streams.iter().zip(room.seats.clone().iter().skip(1)) {
            room.tell(*seat, &pli(*ssrc));
        }
        room.pass(100);
        room.send(&mut encoder, false);
    }
    let asked = told(&mut room, 0, PLI).len();
    assert!((3..=4).contains(&asked), "{asked} in three seconds");
    room.send(&mut encoder, true);
    room.pass(2000);
    assert_eq!(told(&mut room, 0, PLI).len(), 0, "it was answered");
    let stranger = room.seats[1];
    room.tell(stranger, &pli(streams[5]));
    assert_eq!(told(&mut room, 0, PLI).len(), 0, "not its stream");
}

#[test]
fn a_source_is_asked_in_the_way_that_it_takes() {
    for (full_intra, picture_loss, expected) in [
        (true, true, [1, 0]),
        (true, false, [1, 0]),
        (false, true, [0, 1]),
        (false, false, [0, 0]),
    ] {
        let mut room = Room::new(2);
        let mut takes = formats();
        takes.video[0].feedback.full_intra = full_intra;
        takes.video[0].feedback.picture_loss = picture_loss;
        let seat = room.join(&takes);
        let mut encoder = Encoder::new(seat, VideoCodec::Vp8);
        room.send(&mut encoder, false);
        let sent = std::mem::take(&mut room.sent.rtcp);
        let count = |(kind, format): (u8, u8)| {
            let parts = sent.iter().flat_map(|(_, compound)| parts(compound));
            parts
                .filter(|part| part[1] == kind && part[0] & 31 == format)
                .count()
        };
        assert_eq!([count(FIR), count(PLI)], expected);
    }
}

#[test]
fn lost_packets_are_sent_again_as_they_were() {
    let (mut room, mut encoder) = shown(3);
    room.send(&mut encoder, false);
    let got = room.got(room.seats[1]);
    let others = room.got(room.seats[2]);
    let lost = &got[2];
    room.tell(room.seats[1], &nack(lost.ssrc, lost.seq, 0b101));
    let again = room.got(room.seats[1]);
    assert_eq!(again, [got[2].clone(), got[3].clone(), got[5].clone()]);
    assert_eq!(room.got(room.seats[2]), []);
    assert_eq!(told(&mut room, 0, NACK).len(), 0, "the source isn't asked");
    assert_eq!(others.len(), 9);
    assert_eq!(room.switch.counts().resent, 3);
}

#[test]
fn what_the_source_lost_is_asked_of_it_once_for_all() {
    let (mut room, mut encoder) = shown(50);
    let frame = encoder.frame(false);
    room.give(room.seats[0], &frame[0]);
    room.give(room.seats[0], &frame[2]);
    room.sent.rtcp.clear();
    for seat in room.seats.clone().iter().skip(1) {
        let got = room.got(*seat).pop().unwrap();
        room.tell(*seat, &nack(got.ssrc, got.seq.wrapping_sub(1), 0));
    }
    let asked = told(&mut room, 0, NACK);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0][8..12], encoder.ssrc.to_be_bytes());
    assert_eq!(asked[0][12..14], frame[1][2..4]);
    room.give(room.seats[0], &frame[1]);
    for seat in room.seats.clone().iter().skip(1) {
        assert_eq!(room.got(*seat).len(), 1, "all get what was missing");
    }
}

#[test]
fn a_nack_does_not_make_the_relay_a_flood() {
    let (mut room, mut encoder) = shown(2);
    for _ in 0..100 {
        room.send(&mut encoder, false);
    }
    let last = room.got(room.seats[1]).pop().unwrap();
    for offset in 0..15 {
        let first = last.seq.wrapping_sub(255 - offset * 17);
        room.tell(room.seats[1], &nack(last.ssrc, first, 0xffff));
    }
    assert_eq!(room.got(room.seats[1]).len(), 64);
    assert!(room.switch.counts().resends_refused > 100);
    room.pass(100);
    room.tell(room.seats[1], &nack(last.ssrc, last.seq, 0));
    assert_eq!(room.got(room.seats[1]).len(), 1);
}

#[test]
fn packets_of_the_source_before_are_not_sent_again_as_others() {
    let (mut room, _) = shown(3);
    let mut second = Encoder::new(room.seats[1], VideoCodec::Vp8);
    let before = room.got(room.seats[2]).pop().unwrap();
    room.speak(room.seats[1]);
    room.send(&mut second, true);
    room.got(room.seats[2]);
    room.tell(room.seats[2], &nack(before.ssrc, before.seq, 0));
    assert_eq!(room.got(room.seats[2]), []);
}

#[test]
fn the_source_is_told_the_least_bit_rate_of_those_who_watch_it() {
    let (mut room, _) = shown(4);
    let remb = |ssrc: u32, mantissa: u8| {
        let mut bytes = vec![0x8f, 206, 0, 5, 0, 0, 0, 9, 0, 0, 0, 0];
        bytes.extend(b"REMB");
        // Exponent 10.
        bytes.extend([1, 10 << 2, 0, mantissa]);
        bytes.extend(ssrc.to_be_bytes());
        bytes
    };
    room.sent.rtcp.clear();
    for (seat, rate) in [(1, 200), (2, 100), (3, 150)] {
        let ssrc = room.got(room.seats[seat])[0].ssrc;
        room.tell(room.seats[seat], &remb(ssrc, rate));
        room.pass(100);
    }
    let told = told(&mut room, 0, REMB);
    // 204,800 bit/s as 18 bits, then 102,400; 153,600 would be more than that.
    let rates: Vec<_> = told.iter().map(|remb| &remb[17..20]).collect();
    assert_eq!(rates, [[3, 0x20, 0], [1, 0x90, 0]]);
    assert_eq!(told[0][20..24], 1000_u32.to_be_bytes());
}

#[test]
fn reports_tell_senders_what_came_and_receivers_the_time() {
    let (mut room, mut encoder) = shown(2);
    // The source's report: NTP time 0x0102_0304.
    let mut report = vec![0x80, 200, 0, 6];
    report.extend(encoder.ssrc.to_be_bytes());
    report.extend([0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    room.tell(room.seats[0], &report);
    let began = room.got(room.seats[1]).pop().unwrap();
    room.sent.rtcp.clear();
    for frame in 0..300 {
        room.pass(33);
        let lost = usize::from(frame % 10 == 0);
        for packet in encoder.frame(false).iter().skip(lost) {
            room.give(encoder.seat, packet);
        }
    }
    let to_source = told(&mut room, 0, (201, 1));
    assert!((1..=4).contains(&to_source.len()), "{}", to_source.len());
    let block = &to_source[0][8..];
    assert_eq!(block[..4], encoder.ssrc.to_be_bytes());
    assert!(
        (5..=12).contains(&block[4]),
        "one in thirty of 256: {}",
        block[4]
    );
    assert_eq!(block[16..20], [1, 2, 3, 4]);

    let got = room.got(room.seats[1]);
    let to_receiver = told(&mut room, 1, (200, 0));
    assert!(!to_receiver.is_empty());
    for report in to_receiver {
        assert_eq!(report[4..8], began.ssrc.to_be_bytes());
        let word = |at| u32::from_be_bytes(std::array::from_fn(|index| report[at + index]));
        let (seconds, fraction, timestamp) = (word(8), word(12), word(16));
        let ms = u64::from(seconds) * 1000 + ((u64::from(fraction) * 1000) >> 32);
        // The picture of that instant has that timestamp: 90 to a millisecond since the first one.
        let expected = began
            .timestamp
            .wrapping_add(u32::try_from(ms * 90).unwrap());
        let apart = expected.wrapping_sub(timestamp).cast_signed();
        // Frames of 3000 each 33 ms are ahead of the clock by 30 each.
        assert!((-30 * 301..=180).contains(&apart), "{apart}");
        assert!(usize::try_from(word(20)).unwrap() <= got.len() + 6);
    }
}
