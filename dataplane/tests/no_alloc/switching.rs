//! A room of switched video takes no memory while its speaker stays.

use std::time::{Duration, Instant};

use dataplane::api::{
    Direction, PayloadFormat, RtpFormats, VideoCodec, VideoFeedback, VideoFormat,
};
use dataplane::proto::switch::{NtpClock, Outlet, Seat, Switch, SwitchSpec};

use super::taken;

/// What left the room, and one receiver's last packet.
#[derive(Default)]
struct Left {
    packets: u64,
    last: [u8; 12],
}

impl Outlet for Left {
    fn rtp(&mut self, _: Seat, head: &[u8], _: &[u8]) {
        self.packets += 1;
        self.last.copy_from_slice(&head[..12]);
    }

    fn rtcp(&mut self, _: Seat, _: &[u8]) {
        self.packets += 1;
    }
}

fn room(out: &mut Left, now: Instant) -> (Switch, Vec<Seat>) {
    let mut switch = Switch::new(SwitchSpec {
        seed: 1,
        clock: NtpClock { at: now, ntp: 0 },
        cname: b"relay".as_slice().into(),
        dwell_ms: 1000,
    });
    let formats = RtpFormats {
        payloads: vec![PayloadFormat {
            payload_type: 96,
            format: 1,
            clock_rate: 90_000,
        }],
        video: vec![VideoFormat {
            payload_type: 96,
            codec: VideoCodec::Vp8,
            feedback: VideoFeedback {
                nack: true,
                picture_loss: true,
                full_intra: true,
                remb: true,
            },
        }],
        ..RtpFormats::default()
    };
    let seats = (0..20).map(|_| {
        let seat = switch.add(now).unwrap();
        switch.set_formats(seat, &formats, now, out);
        switch.set_direction(seat, Direction::BOTH, now, out);
        seat
    });
    let seats = seats.collect();
    (switch, seats)
}

fn video(seq: u16, sender: u8) -> Vec<u8> {
    let inter = u8::from(seq % 50 != 1);
    let mut packet = vec![0x80, 0xe0];
    packet.extend(seq.to_be_bytes());
    packet.extend((u32::from(seq) * 3000).to_be_bytes());
    packet.extend([0, 0, 0, sender]);
    packet.extend([0x90, 0x80, 0x80, 1, 0x10 | inter, 0, 0, 0x9d, 0x01, 0x2a]);
    packet.resize(1000, 0x55);
    packet
}

#[test]
fn switching_takes_no_memory() {
    let (mut out, start) = (Left::default(), Instant::now());
    let (mut switch, seats) = room(&mut out, start);
    let mut counted = 0;
    for seq in 1..1000_u16 {
        let now = start + Duration::from_millis(33 * u64::from(seq));
        let sent = [video(seq, 0), video(seq, 1), video(seq, 2)];
        let before = taken();
        for (seat, packet) in seats.iter().zip(&sent) {
            switch.receive(*seat, packet, now, &mut out).unwrap();
        }
        let [_, _, q0, q1, _, _, _, _, s0, s1, s2, s3] = out.last;
        // For the one who got the last packet; to all others it is somebody else's stream.
        let nack = [0x81, 205, 0, 3, 0, 0, 0, 1, s0, s1, s2, s3, q0, q1, 0, 0];
        let pli = [0x81, 206, 0, 2, 0, 0, 0, 1, s0, s1, s2, s3];
        for seat in &seats {
            switch.receive_rtcp(*seat, &nack, now, &mut out);
            switch.receive_rtcp(*seat, &pli, now, &mut out);
        }
        if switch.poll_timeout(now).is_some_and(|at| now >= at) {
            switch.handle_timeout(now, &mut out);
        }
        if seq >= 200 {
            counted += taken() - before;
        }
    }
    assert!(out.packets > 19_000, "{}", out.packets);
    assert!(switch.counts().resent > 500);
    assert_eq!(counted, 0, "allocations while a speaker was shown");
}

#[test]
fn waiting_for_the_end_of_a_picture_takes_no_memory() {
    let (mut out, start) = (Left::default(), Instant::now());
    let (mut switch, seats) = room(&mut out, start);
    let (one, other) = (seats[0], seats[1]);
    let mut now = start;
    for seq in 1..=10 {
        now += Duration::from_millis(33);
        switch.receive(one, &video(seq, 0), now, &mut out).unwrap();
    }
    switch.receive(other, &video(10, 1), now, &mut out).unwrap();
    switch.set_speaker(Some(other), now, &mut out);
    let counted = (51..=61_u16).map(|seq| {
        let [mut held, mut next] = [video(seq - 40, 0), video(seq, 1)];
        (held[1], next[1]) = (96, 96);
        let before = taken();
        switch.receive(one, &held, now, &mut out).unwrap();
        switch.receive(other, &next, now, &mut out).unwrap();
        now += Duration::from_millis(5);
        taken() - before
    });
    let counted: Vec<u64> = counted.collect();
    assert_eq!(switch.watches(seats[2]), Some(one), "within its picture");
    // Who had no picture yet came in with the first packet.
    assert_eq!(counted[1..], [0; 10]);
}
