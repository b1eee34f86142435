//! Who hears whom, and in what.

use super::rig::{
    RECEIVE_ONLY, SEND_ONLY, SPEC, World, amplitude, assert_continuous, codecs, formats,
};
use crate::api::{AudioCodec, Direction, MixSpec};
use crate::codec::Encoder;

const TONES: [f64; 3] = [400.0, 600.0, 800.0];

/// Each hears the two others and not itself.
const N_MINUS_1: [[bool; 3]; 3] = [
    [false, true, true],
    [true, false, true],
    [true, true, false],
];

fn pcma() -> crate::api::RtpFormats {
    formats(AudioCodec::Pcma, 20)
}

#[test]
fn upl_02_each_member_hears_all_others_but_not_itself() {
    for codec in codecs() {
        let mut world = World::new(SPEC);
        for tone in TONES {
            world.join(formats(codec, 20), tone);
        }
        world.run(2000);
        assert_eq!(world.who_hears_what(&TONES), N_MINUS_1, "{codec:?}");
    }
}

#[test]
fn upl_02_members_with_different_codecs_hear_each_other() {
    let all = codecs();
    for (n, first) in all.iter().enumerate() {
        let others = [all[(n + 1) % all.len()], all[(n + 2) % all.len()]];
        let mut world = World::new(SPEC);
        for (codec, tone) in [*first, others[0], others[1]].into_iter().zip(TONES) {
            world.join(formats(codec, 20), tone);
        }
        world.run(2000);
        assert_eq!(
            world.who_hears_what(&TONES),
            N_MINUS_1,
            "{first:?} {others:?}"
        );
    }
}

#[test]
fn upl_02_each_member_gets_packets_of_the_length_it_wants() {
    let mut world = World::new(SPEC);
    let ptimes = [10, 20, 30, 40, 60];
    let tones = [400.0, 600.0, 800.0, 1000.0, 1200.0];
    for (ptime, tone) in ptimes.into_iter().zip(tones) {
        world.join(formats(AudioCodec::Pcmu, ptime), tone);
    }
    world.run(3000);
    for (own, hears) in world.who_hears_what(&tones).into_iter().enumerate() {
        let expected: Vec<bool> = (0..5).map(|other| other != own).collect();
        assert_eq!(hears, expected, "with {} ms", ptimes[own]);
    }
    for (phone, ptime) in world.phones.iter().zip(ptimes) {
        assert_continuous(&phone.got, 8 * u32::from(ptime));
        assert!(
            phone
                .got
                .iter()
                .all(|got| got.payload.len() == 8 * usize::from(ptime))
        );
    }
}

#[test]
fn upl_02_who_only_listens_hears_everyone_and_who_only_sends_gets_nothing() {
    let mut world = World::new(SPEC);
    world.join(pcma(), 400.0);
    world.join_as(pcma(), 600.0, SEND_ONLY);
    world.join_as(pcma(), 800.0, RECEIVE_ONLY);
    world.join(pcma(), 0.0);
    world.run(2000);
    let heard = world.who_hears_what(&TONES);
    assert_eq!(heard[0], [false, true, false]);
    assert_eq!(
        heard[2],
        [true, true, false],
        "its own packets aren't taken"
    );
    assert_eq!(heard[3], [true, true, false]);
    assert!(world.phones[1].got.is_empty());
}

#[test]
fn a_mix_is_as_loud_as_what_was_sent() {
    for codec in codecs() {
        let mut world = World::new(SPEC);
        world.join(formats(codec, 20), 400.0);
        world.join(formats(codec, 20), 600.0);
        world.join(formats(codec, 20), 0.0);
        world.run(2000);
        for tone in [400.0, 600.0] {
            let loud = world.phones[2].hears(tone, 500);
            assert!((4500.0..7500.0).contains(&loud), "{codec:?} {tone}: {loud}");
        }
    }
}

#[test]
fn who_begins_and_ends_to_talk_hears_the_others_as_loud_as_before() {
    for codec in codecs() {
        let mut world = World::new(SPEC);
        world.join(formats(codec, 20), 400.0);
        world.join(formats(codec, 20), 600.0);
        let guest = world.join(formats(codec, 20), -1.0);
        for round in 0..4 {
            world.phones[guest].tone_hz = if round % 2 == 0 { -1.0 } else { 800.0 };
            for _ in 0..8 {
                world.run(250);
                let hz = codec.sample_rate();
                let heard = &world.phones[guest].heard;
                let last = &heard[heard.len().saturating_sub(hz as usize / 5)..];
                let loud = [400.0, 600.0].map(|tone| amplitude(last, tone, hz));
                let as_before = loud.iter().all(|loud| (4000.0..8000.0).contains(loud));
                assert!(
                    as_before || world.now_us < 400_000,
                    "{codec:?}, {round}: {loud:?}"
                );
            }
        }
    }
}

#[test]
fn loud_talkers_together_are_limited_and_do_not_clip() {
    let mut world = World::new(SPEC);
    for n in 0..6_u32 {
        let phone = world.join(pcma(), 300.0 + f64::from(n) * 130.0);
        world.phones[phone].amplitude = 14_000.0;
    }
    let listener = world.join(pcma(), 0.0);
    world.run(3000);
    let heard = &world.phones[listener].heard;
    let last = &heard[heard.len() - 8000..];
    // Clipped six tones would have a third of their power elsewhere, 1,777 Hz among it.
    let elsewhere = amplitude(last, 1777.0, 8000);
    assert!(elsewhere < 150.0, "{elsewhere}");
    for n in 0..6_u32 {
        let loud = amplitude(last, 300.0 + f64::from(n) * 130.0, 8000);
        assert!(loud > 3000.0, "{n}: {loud}");
    }
}

#[test]
fn joining_and_leaving_is_no_glitch_for_the_others() {
    let mut world = World::new(SPEC);
    let talker = world.join(pcma(), 500.0);
    let listeners: Vec<usize> = (0..3).map(|_| world.join(pcma(), 0.0)).collect();
    world.run(1000);
    let from = world.phones[listeners[0]].heard.len();
    for n in 0..10 {
        let codec = codecs()[n % codecs().len()];
        let guest = world.join(formats(codec, 20), if n % 2 == 0 { -1.0 } else { 0.0 });
        world.run(70);
        world.leave(guest);
        world.run(50);
    }
    for listener in listeners {
        let phone = &world.phones[listener];
        assert_continuous(&phone.got, 160);
        assert_eq!(phone.got.iter().filter(|got| got.marker).count(), 1);
        for (n, window) in phone.heard[from..].chunks_exact(160).enumerate() {
            let loud = amplitude(window, 500.0, 8000);
            assert!((5300.0..6700.0).contains(&loud), "frame {n}: {loud}");
        }
    }
    assert_eq!(world.mixer.talked(world.phones[talker].seat).lost, 0);
}

#[test]
fn becoming_a_talker_is_no_glitch_in_what_one_hears() {
    let mut world = World::new(SPEC);
    world.join(pcma(), 500.0);
    let member = world.join(pcma(), 0.0);
    world.join(pcma(), 0.0);
    world.run(500);
    for turn in 0..10 {
        world.phones[member].tone_hz = if turn % 2 == 0 { 900.0 } else { 0.0 };
        world.run(333);
    }
    let phone = &world.phones[member];
    assert_continuous(&phone.got, 160);
    for window in phone.heard[800..].chunks_exact(160) {
        let loud = amplitude(window, 500.0, 8000);
        assert!((5300.0..6700.0).contains(&loud), "{loud}");
        assert!(amplitude(window, 900.0, 8000) < 200.0, "hears itself");
    }
}

#[test]
fn only_the_loudest_are_heard() {
    let spec = MixSpec { talkers: 2, ..SPEC };
    let tones = [400.0, 600.0, 800.0, 1000.0];
    for signals_level in [false, true] {
        let mut world = World::new(spec);
        for (tone, loudness) in tones.into_iter().zip([2500.0, 9000.0, 2000.0, 8000.0]) {
            let mut formats = pcma();
            formats.client_level = signals_level.then_some(1);
            let phone = world.join(formats, tone);
            world.phones[phone].amplitude = loudness;
            world.phones[phone].level = Some(if loudness > 5000.0 { 15 } else { 27 });
        }
        let listener = world.join(pcma(), 0.0);
        world.run(2000);
        let heard = tones.map(|tone| world.phones[listener].hears(tone, 500) > 1000.0);
        assert_eq!(heard, [false, true, false, true], "{signals_level}");
        // Who isn't heard hears both that are.
        assert!(world.phones[0].hears(600.0, 500) > 5000.0);
        world.phones[1].tone_hz = 0.0;
        world.run(2000);
        assert!(
            world.phones[listener].hears(400.0, 500) > 1500.0,
            "there is room for another"
        );
    }
}

#[test]
fn those_who_get_the_same_share_one_encoding() {
    let mut world = World::new(SPEC);
    for n in 0..10 {
        world.join(
            formats(AudioCodec::Pcma, 20),
            if n < 2 { 400.0 } else { 0.0 },
        );
    }
    world.run(1000);
    let before = world.mixer.counts();
    world.run(1000);
    let after = world.mixer.counts();
    let ticks = after.ticks - before.ticks;
    assert!((49..=51).contains(&ticks));
    assert_eq!(
        after.encoded - before.encoded,
        3 * ticks,
        "two talkers, and all others"
    );
    assert_eq!(after.sent - before.sent, 10 * ticks);
}

#[test]
fn nobody_is_sent_anything_and_no_clock_runs_where_nobody_talks() {
    let mut world = World::new(SPEC);
    assert_eq!(world.mixer.poll_timeout(), None);
    for _ in 0..3 {
        world.join(pcma(), 0.0);
    }
    assert_eq!(world.mixer.poll_timeout(), None);
    world.phones[0].tone_hz = 400.0;
    world.run(500);
    assert!(world.mixer.poll_timeout().is_some());
    world.phones[0].tone_hz = 0.0;
    world.run(500);
    assert_eq!(world.mixer.poll_timeout(), None, "the clock stopped");
    let got = world.phones.iter().map(|phone| phone.got.len());
    let before: Vec<usize> = got.collect();
    assert!(before[0] == 0 && before[1] > 20);
    world.run(5000);
    let after: Vec<usize> = world.phones.iter().map(|phone| phone.got.len()).collect();
    assert_eq!(after, before);
}

#[test]
fn those_who_send_silence_share_one_encoding_of_it_and_are_heard_from_their_first_word_on() {
    let mut world = World::new(SPEC);
    for _ in 0..5 {
        world.join(pcma(), -1.0);
    }
    world.run(2000);
    let before = world.mixer.counts();
    world.run(1000);
    let after = world.mixer.counts();
    let ticks = after.ticks - before.ticks;
    assert_eq!(after.encoded - before.encoded, ticks);
    assert_eq!(after.sent - before.sent, 5 * ticks);
    assert!(world.phones[0].got.last().unwrap().csrcs.is_empty());
    world.phones[0].tone_hz = 500.0;
    let (sent, from) = (world.phones[0].sent, world.phones[1].heard.len());
    world.run(400);
    let words = usize::try_from(world.phones[0].sent - sent).unwrap();
    let heard = world.phones[1].heard[from..].chunks_exact(160);
    let loud = heard
        .filter(|frame| amplitude(frame, 500.0, 8000) > 4000.0)
        .count();
    // What is still on its way, and a frame in which the word begins.
    assert!(loud + 3 >= words, "{loud} of {words}");
    for phone in &world.phones {
        assert_continuous(&phone.got[10..], 160);
    }
}

#[test]
fn a_stream_goes_on_after_silence_with_a_marker_and_the_time_that_has_passed() {
    let mut world = World::new(SPEC);
    let talker = world.join(pcma(), 400.0);
    for _ in 0..2 {
        world.join(pcma(), 0.0);
    }
    world.run(500);
    world.phones[talker].tone_hz = 0.0;
    world.run(3000);
    let before = world.phones[1].got.len();
    world.phones[talker].tone_hz = 400.0;
    world.run(500);
    let got = &world.phones[1].got;
    let (last, first) = (&got[before - 1], &got[before]);
    assert!(first.marker && !got[before + 1].marker);
    assert_eq!(first.seq, last.seq.wrapping_add(1));
    let passed_us = first.at_us - last.at_us;
    let units = i64::from(first.timestamp.wrapping_sub(last.timestamp));
    assert!(
        (units - passed_us / 125).abs() <= 160,
        "{units} in {passed_us}"
    );
    assert_continuous(&got[before..], 160);
}

#[test]
fn packets_name_who_is_heard_and_how_loud() {
    let mut world = World::new(SPEC);
    for (tone, loudness) in [(400.0, 20_000.0), (600.0, 2000.0), (0.0, 1.0)] {
        let phone = world.join(pcma(), tone);
        world.phones[phone].amplitude = loudness;
    }
    let formats = crate::api::RtpFormats {
        mixer_level: None,
        ..pcma()
    };
    world.join(formats, 0.0);
    world.run(1000);
    let last = |phone: usize| world.phones[phone].got.last().unwrap();
    assert_eq!(last(0).csrcs, [1001]);
    assert_eq!(last(1).csrcs, [1000]);
    assert_eq!(last(2).csrcs, [1000, 1001]);
    assert_eq!(last(3).csrcs, [1000, 1001]);
    // A sine is 3 dB below the square of its amplitude.
    assert_eq!(last(0).levels, [27]);
    assert_eq!(last(2).levels, [7, 27]);
    assert!(last(3).levels.is_empty(), "it doesn't take them");
}

#[test]
fn the_loudest_is_who_speaks_but_not_by_a_moment() {
    let mut world = World::new(SPEC);
    for _ in 0..3 {
        world.join(pcma(), 0.0);
    }
    assert_eq!(world.mixer.speaker(), None);
    world.phones[0].tone_hz = 400.0;
    world.run(200);
    assert_eq!(world.mixer.speaker(), Some(world.phones[0].seat));
    world.phones[1].tone_hz = 500.0;
    world.phones[1].amplitude = 20_000.0;
    world.run(150);
    world.phones[1].tone_hz = -1.0;
    world.run(1000);
    assert_eq!(world.mixer.speaker(), Some(world.phones[0].seat), "a cough");
    world.phones[1].tone_hz = 500.0;
    world.run(600);
    assert_eq!(world.mixer.speaker(), Some(world.phones[1].seat));
    world.leave(1);
    world.run(200);
    assert_eq!(world.mixer.speaker(), Some(world.phones[0].seat));
    world.phones[0].tone_hz = 0.0;
    world.run(2000);
    assert_eq!(world.mixer.speaker(), None);
}

#[test]
fn what_cannot_be_encoded_is_passed_over_and_told() {
    let mut world = World::new(SPEC);
    let seat = world.mixer.add().unwrap();
    let impossible = formats(AudioCodec::Pcma, 25);
    assert!(Encoder::new(AudioCodec::Pcma, 25).is_err());
    assert!(!world.mixer.set(seat, &impossible, Direction::BOTH));
    let mut both = impossible.clone();
    both.audio.extend(pcma().audio);
    assert!(world.mixer.set(seat, &both, Direction::BOTH));
    assert!(
        world.mixer.set(seat, &impossible, SEND_ONLY),
        "nothing is to be encoded"
    );
}

#[test]
fn a_quiet_talker_is_made_louder_only_where_that_is_asked_for() {
    for auto_gain in [false, true] {
        let mut world = World::new(MixSpec { auto_gain, ..SPEC });
        let talker = world.join(pcma(), 400.0);
        world.phones[talker].amplitude = 700.0;
        for _ in 0..2 {
            world.join(pcma(), 0.0);
        }
        world.run(4000);
        let loud = world.phones[1].hears(400.0, 500);
        let expected = if auto_gain {
            1400.0..2800.0
        } else {
            600.0..800.0
        };
        assert!(expected.contains(&loud), "{auto_gain}: {loud}");
    }
}

#[test]
fn a_member_that_changes_its_codec_is_heard_and_hears_on() {
    let all = codecs();
    let mut world = World::new(SPEC);
    for tone in [400.0, 600.0, 0.0] {
        world.join(formats(all[0], 20), tone);
    }
    world.run(500);
    let seat = world.phones[0].seat;
    world.phones[0].tone_hz = 0.0;
    for codec in &all {
        let changed = formats(*codec, 20);
        assert!(world.mixer.set(seat, &changed, Direction::BOTH));
        let again = world.join_again(0, changed, 400.0);
        world.run(1500);
        assert!(world.phones[2].hears(400.0, 300) > 4000.0, "{codec:?}");
        assert!(world.phones[again].hears(600.0, 300) > 4000.0, "{codec:?}");
        world.phones[again].tone_hz = 0.0;
    }
}

#[test]
fn a_member_that_never_talks_is_small() {
    let small = size_of::<super::super::member::Member>();
    assert!(small <= 1024, "{small} octets");
}

#[test]
fn a_room_has_a_last_seat() {
    let mut world = World::new(SPEC);
    let seats: Vec<_> = (0..crate::limits::MIX_MEMBERS)
        .map(|_| world.mixer.add().unwrap())
        .collect();
    assert_eq!(world.mixer.add(), None);
    assert_eq!(world.mixer.counts().full, 1);
    world.mixer.remove(seats[7]);
    assert_eq!(world.mixer.add(), Some(seats[7]));
}
