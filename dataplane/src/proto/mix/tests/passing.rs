//! What isn't mixed: the audio of two who have the same codec, and telephone events.

use super::rig::{RECEIVE_ONLY, SPEC, World, assert_continuous, codecs, formats};
use crate::api::{AudioCodec, MixSpec, RtpFormats};

fn pcma() -> RtpFormats {
    formats(AudioCodec::Pcma, 20)
}

fn telephone(world: &mut World, phone: usize, event: [u8; 4], timestamp: u32) {
    let kept = std::mem::replace(&mut world.phones[phone].timestamp, timestamp);
    let packet = world.phones[phone].packet(101, &event);
    world.phones[phone].timestamp = kept;
    let now = world.instant();
    world.deliver(phone, now, &packet);
}

#[test]
fn two_with_the_same_codec_get_each_other_s_packets_as_they_are() {
    for codec in codecs() {
        let mut world = World::new(SPEC);
        world.join(formats(codec, 20), 400.0);
        world.join(formats(codec, 20), 600.0);
        world.run(2000);
        let counts = world.mixer.counts();
        assert_eq!((counts.encoded, counts.ticks), (0, 0), "{codec:?}");
        assert_eq!(world.mixer.poll_timeout(), None);
        let sent = world.phones[0].sent + world.phones[1].sent;
        assert_eq!(counts.forwarded, u64::from(sent));
        for (own, other) in [(0, 1), (1, 0)] {
            let got = &world.phones[own].got;
            assert_continuous(got, codec.clock_rate() / 50);
            assert_ne!(
                got[0].ssrc, world.phones[other].ssrc,
                "the mixer's own source"
            );
            assert_eq!(got[0].csrcs, [world.phones[other].ssrc]);
        }
        assert!(world.phones[0].hears(600.0, 500) > 4500.0, "{codec:?}");
        assert!(world.phones[0].hears(400.0, 500) < 500.0, "{codec:?}");
    }
}

#[test]
fn two_who_differ_are_mixed() {
    let differs = [formats(AudioCodec::Pcmu, 20), formats(AudioCodec::Pcma, 40)];
    for other in differs {
        let mut world = World::new(SPEC);
        world.join(pcma(), 400.0);
        world.join(other, 600.0);
        world.run(2000);
        assert!(world.mixer.counts().encoded > 100);
        assert!(world.phones[0].hears(600.0, 500) > 5000.0);
        assert!(world.phones[1].hears(400.0, 500) > 5000.0);
    }
    let mut world = World::new(MixSpec {
        auto_gain: true,
        ..SPEC
    });
    world.join(pcma(), 400.0);
    world.join(pcma(), 600.0);
    world.run(500);
    assert_eq!(
        world.mixer.counts().forwarded,
        0,
        "nobody is made louder unheard"
    );
}

#[test]
fn what_is_lost_or_disordered_between_two_goes_on_so() {
    let mut world = World::new(SPEC);
    world.join(pcma(), 400.0);
    world.join_as(pcma(), 0.0, RECEIVE_ONLY);
    let packets: Vec<Vec<u8>> = (0..10_u8)
        .map(|n| {
            world.phones[0].timestamp += 160;
            world.phones[0].packet(96, &[n; 160])
        })
        .collect();
    world.phones[0].tone_hz = 0.0;
    let now = world.instant();
    for at in [0, 1, 3, 2, 5, 6, 6, 9] {
        world.deliver(0, now, &packets[at]);
    }
    let got = &world.phones[1].got;
    let first = world.phones[1].got[0].clone();
    for (got, n) in got.iter().zip([0_u16, 1, 3, 2, 5, 6, 6, 9]) {
        assert_eq!(got.seq, first.seq.wrapping_add(n));
        assert_eq!(
            got.timestamp,
            first.timestamp.wrapping_add(160 * u32::from(n))
        );
        assert_eq!(u16::from(got.payload[0]), n);
    }
}

#[test]
fn a_third_member_makes_two_a_mix_and_its_leaving_unmakes_it_without_a_gap() {
    for codec in [AudioCodec::Pcmu, *codecs().last().unwrap()] {
        let mut world = World::new(SPEC);
        world.join(formats(codec, 20), 400.0);
        world.join(formats(codec, 20), 600.0);
        world.run(1000);
        assert_eq!(world.mixer.counts().encoded, 0);
        let third = world.join(formats(codec, 20), 800.0);
        world.run(1500);
        assert!(world.phones[0].hears(800.0, 500) > 4500.0);
        assert!(world.phones[0].hears(600.0, 500) > 4500.0);
        assert!(world.mixer.counts().encoded > 0);
        world.leave(third);
        // What sounds is mixed on until it is quiet for a moment.
        world.run(200);
        for phone in 0..2 {
            assert_continuous(&world.phones[phone].got, codec.clock_rate() / 50);
        }
        for phone in 0..2 {
            world.phones[phone].tone_hz = -1.0;
        }
        world.run(300);
        for (phone, tone) in [(0, 400.0), (1, 600.0)] {
            world.phones[phone].tone_hz = tone;
        }
        let before = world.mixer.counts();
        world.run(1000);
        let after = world.mixer.counts();
        assert!(after.forwarded >= before.forwarded + 98, "{codec:?}");
        assert_eq!(after.ticks, before.ticks, "{codec:?}");
        assert!(world.phones[0].hears(600.0, 500) > 4500.0);
        for phone in 0..2 {
            let got = &world.phones[phone].got;
            for two in got.windows(2) {
                assert_eq!(two[1].seq, two[0].seq.wrapping_add(1), "{codec:?}");
                assert!(two[1].timestamp.wrapping_sub(two[0].timestamp) < 48_000);
            }
        }
    }
}

#[test]
fn a_new_source_between_two_goes_on_in_the_same_stream() {
    let mut world = World::new(SPEC);
    world.join(pcma(), 400.0);
    world.join(pcma(), 0.0);
    world.run(500);
    world.phones[0].ssrc = 5;
    world.phones[0].seq = 9;
    world.phones[0].timestamp = 77;
    world.run(500);
    let got = &world.phones[1].got;
    assert_continuous(got, 160);
    assert_eq!(got.last().unwrap().csrcs, [5]);
}

#[test]
fn a_far_end_with_the_mixer_s_own_source_meets_another_one() {
    let mut world = World::new(SPEC);
    world.join(pcma(), 400.0);
    world.join(pcma(), 400.0);
    world.run(300);
    let own = world.phones[1].got[0].ssrc;
    world.phones[1].ssrc = own;
    world.run(300);
    assert_ne!(world.phones[1].got.last().unwrap().ssrc, own);
}

/// A key that is pressed for 100 ms: three packets on, and the end three times (RFC 4733 §2.5).
fn press(world: &mut World, phone: usize) {
    let timestamp = world.phones[phone].timestamp;
    for n in 1..=5_u16 {
        let [high, low] = (n * 160).to_be_bytes();
        telephone(world, phone, [5, 10, high, low], timestamp);
        world.run(20);
    }
    for _ in 0..3 {
        telephone(world, phone, [5, 0x80 | 10, 3, 32], timestamp);
    }
}

#[test]
fn a_telephone_event_reaches_all_others_in_the_time_of_their_streams() {
    let mut world = World::new(SPEC);
    world.join(pcma(), 400.0);
    world.join(pcma(), 0.0);
    world.join(pcma(), 0.0);
    let mut deaf = pcma();
    deaf.telephone_event = None;
    world.join(deaf, 0.0);
    world.run(500);
    world.phones[0].tone_hz = 0.0;
    press(&mut world, 0);
    world.run(300);
    for phone in [1, 2] {
        let got = &world.phones[phone].got;
        let events: Vec<_> = got.iter().filter(|got| got.payload_type == 101).collect();
        assert_eq!(events.len(), 8);
        for (event, duration) in events.iter().zip([160, 320, 480, 640, 800, 800, 800, 800]) {
            assert_eq!(
                event.timestamp, events[0].timestamp,
                "that of its beginning"
            );
            let told = u16::from_be_bytes([event.payload[2], event.payload[3]]);
            assert_eq!((event.payload[0], told), (5, duration));
        }
        assert!(
            got.windows(2)
                .all(|two| two[1].seq == two[0].seq.wrapping_add(1))
        );
        // The audio before it was sent at the time that its timestamp says, so was the event.
        let at = got.iter().position(|got| got.payload_type == 101).unwrap();
        let (before, event) = (&got[at - 1], &got[at]);
        let passed_us = event.at_us - before.at_us;
        let units = i64::from(event.timestamp.wrapping_sub(before.timestamp).cast_signed());
        assert!(
            (units - passed_us / 125).abs() <= 400,
            "{units} in {passed_us}"
        );
    }
    assert!(
        world.phones[0]
            .got
            .iter()
            .all(|got| got.payload_type != 101)
    );
    assert!(
        world.phones[3]
            .got
            .iter()
            .all(|got| got.payload_type != 101)
    );
    assert_eq!(world.mixer.talked(world.phones[0].seat).lost, 0);
}

#[test]
fn a_telephone_event_between_two_is_passed_in_their_stream_or_leaves_no_gap() {
    for takes_events in [true, false] {
        let mut world = World::new(SPEC);
        world.join(pcma(), 400.0);
        let mut other = pcma();
        other.telephone_event = takes_events.then_some((99, 8000));
        world.join(other, 0.0);
        world.run(500);
        world.phones[0].tone_hz = 0.0;
        press(&mut world, 0);
        world.phones[0].tone_hz = 400.0;
        world.run(500);
        let got = &world.phones[1].got;
        let events = got.iter().filter(|got| got.payload_type == 99).count();
        assert_eq!(events, if takes_events { 8 } else { 0 });
        assert!(
            got.windows(2)
                .all(|two| two[1].seq == two[0].seq.wrapping_add(1))
        );
        let (first, last) = (&got[0], got.last().unwrap());
        let units = i64::from(last.timestamp.wrapping_sub(first.timestamp));
        assert!((units - (last.at_us - first.at_us) / 125).abs() <= 160);
    }
}

#[test]
fn a_telephone_event_counts_in_each_member_s_clock() {
    let mut world = World::new(SPEC);
    world.join(pcma(), 0.0);
    world.join(formats(AudioCodec::Pcma, 40), 0.0);
    let mut fast = pcma();
    fast.telephone_event = Some((110, 48_000));
    world.join(fast, 0.0);
    press(&mut world, 0);
    let last = world.phones[2].got.last().unwrap();
    assert_eq!(last.payload_type, 110);
    assert_eq!(
        last.payload,
        [5, 0x80 | 10, 0x12, 0xc0],
        "4,800 units are 100 ms"
    );
}
