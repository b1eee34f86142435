//! What silence costs, and what is left of it.

use super::rig::{Got, SPEC, World, formats};
use crate::api::{AudioCodec, RtpFormats};

/// One who takes comfort noise.
fn with_noise(codec: AudioCodec) -> RtpFormats {
    RtpFormats {
        comfort_noise: Some(13),
        ..formats(codec, 20)
    }
}

/// Packets of a payload type that a phone got since it had `from`.
fn count(world: &World, phone: usize, from: usize, payload_type: u8) -> usize {
    let got = world.phones[phone].got[from..].iter();
    got.filter(|got| got.payload_type == payload_type).count()
}

#[test]
fn nobody_is_encoded_for_more_than_once_but_who_is_heard() {
    let mut world = World::new(SPEC);
    for _ in 0..9 {
        world.join(formats(AudioCodec::Pcmu, 20), -1.0);
    }
    world.join(formats(AudioCodec::Pcmu, 20), 500.0);
    world.run(2000);
    let before = world.mixer.counts();
    world.run(1000);
    let after = world.mixer.counts();
    assert_eq!(after.encoded - before.encoded, 50 * 2);
    assert_eq!(after.sent - before.sent, 50 * 10);
}

#[test]
fn who_takes_comfort_noise_gets_that_in_place_of_silence_and_the_others_all_of_it() {
    for codec in [AudioCodec::Pcmu, AudioCodec::Pcma] {
        let mut world = World::new(SPEC);
        let talker = world.join(with_noise(codec), 500.0);
        let listener = world.join(with_noise(codec), -1.0);
        let plain = world.join(formats(codec, 20), -1.0);
        world.run(2000);
        assert_eq!(count(&world, listener, 0, 13), 0, "nobody is silent yet");
        world.phones[talker].tone_hz = -1.0;
        // What was loud is heard for another second.
        world.run(2000);
        let from = [talker, listener, plain].map(|phone| world.phones[phone].got.len());
        let encoded = world.mixer.counts().encoded;
        world.run(2000);
        for (phone, from) in [(talker, from[0]), (listener, from[1])] {
            let noise = count(&world, phone, from, 13);
            assert!((4..=6).contains(&noise), "{codec:?}: {noise}");
            assert_eq!(world.phones[phone].got[from..].len(), noise, "nothing else");
            let payload = &world.phones[phone].got[from].payload;
            assert_eq!(payload.len(), 1);
            assert!((70..128).contains(&payload[0]), "{payload:?}");
        }
        assert_eq!(count(&world, plain, from[2], 96), 100);
        assert_eq!(world.mixer.counts().encoded - encoded, 100, "for one");
    }
}

#[test]
fn silence_that_everybody_takes_noise_for_is_not_encoded() {
    let mut world = World::new(SPEC);
    let talker = world.join(with_noise(AudioCodec::Pcmu), 500.0);
    world.join(with_noise(AudioCodec::Pcmu), -1.0);
    world.join(with_noise(AudioCodec::Pcmu), -1.0);
    world.run(1000);
    world.phones[talker].tone_hz = -1.0;
    world.run(2000);
    let encoded = world.mixer.counts().encoded;
    world.run(2000);
    assert_eq!(world.mixer.counts().encoded, encoded);
}

#[test]
fn the_first_word_after_silence_is_whole_and_marked() {
    for opus in [false, true] {
        let codec = if opus {
            AudioCodec::Opus {
                bitrate: 32_000,
                fec: false,
                dtx: true,
            }
        } else {
            AudioCodec::Pcma
        };
        let mut world = World::new(SPEC);
        let talker = world.join(with_noise(codec), -1.0);
        let listener = world.join(with_noise(codec), -1.0);
        world.join(with_noise(codec), -1.0);
        world.run(3000);
        let heard = world.phones[listener].heard.len();
        let from = world.phones[listener].got.len();
        let sent = world.phones[talker].sent;
        world.phones[talker].tone_hz = 500.0;
        world.run(400);
        let sent = usize::try_from(world.phones[talker].sent - sent).unwrap();
        world.phones[talker].tone_hz = 0.0;
        world.run(200);
        let got = &world.phones[listener].got[from..];
        let audio: Vec<_> = got.iter().filter(|got| got.payload_type == 96).collect();
        assert!(audio[0].marker, "{codec:?}");
        let samples = &world.phones[listener].heard[heard..];
        let packet = usize::try_from(codec.sample_rate() / 50).unwrap();
        let loud = |samples: &&[i16]| samples.iter().any(|sample| sample.abs() > 3000);
        let loud = samples.chunks_exact(packet).filter(loud).count();
        assert!(loud >= sent, "{codec:?}: {loud} of {sent}");
    }
}

#[test]
fn comfort_noise_is_not_marked_and_the_first_word_after_it_is() {
    // One of these words begins when the noise before it would have ended.
    for ticks in 0..20 {
        let mut world = World::new(SPEC);
        let talker = world.join(with_noise(AudioCodec::Pcma), -1.0);
        let listener = world.join(with_noise(AudioCodec::Pcma), -1.0);
        world.join(with_noise(AudioCodec::Pcma), -1.0);
        world.run(3000 + 20 * ticks);
        world.phones[talker].tone_hz = 500.0;
        world.run(600);
        let got = &world.phones[listener].got;
        let is_noise = |got: &&Got| got.payload_type == 13;
        assert!(got.iter().filter(is_noise).count() > 3);
        assert!(!got.iter().filter(is_noise).any(|got| got.marker));
        let last = got.iter().rposition(|got| is_noise(&got)).unwrap();
        let words: Vec<bool> = got[last + 1..].iter().map(|got| got.marker).collect();
        assert!(words.len() > 10, "{ticks}");
        assert!(words[0], "{ticks}: {:?}", &got[last..last + 2]);
        assert!(!words[1..].contains(&true), "{ticks}");
    }
}

#[test]
fn opus_listeners_who_agreed_are_sent_no_silence_and_it_is_not_encoded() {
    let codec = AudioCodec::Opus {
        bitrate: 32_000,
        fec: false,
        dtx: true,
    };
    let mut world = World::new(SPEC);
    let talker = world.join(formats(codec, 20), 500.0);
    let listener = world.join(formats(codec, 20), 0.0);
    let plain = world.join(formats(AudioCodec::G722, 20), -1.0);
    world.run(1000);
    assert!(world.phones[listener].hears(500.0, 500) > 4500.0);
    world.phones[talker].tone_hz = -1.0;
    world.run(2000);
    let from = world.phones[listener].got.len();
    let from_plain = world.phones[plain].got.len();
    let before = world.mixer.counts();
    world.run(1000);
    assert_eq!(world.phones[listener].got.len(), from);
    let plain = world.phones[plain].got.len() - from_plain;
    assert!(plain <= 50, "{plain}");
    let encoded = world.mixer.counts().encoded - before.encoded;
    assert!(encoded <= 50, "{encoded}: what G.722 gets, at most");
}

#[test]
fn comfort_noise_is_for_codecs_of_8_khz_without_their_own() {
    let mut world = World::new(SPEC);
    let talker = world.join(formats(AudioCodec::Pcmu, 20), -1.0);
    let g722 = world.join(with_noise(AudioCodec::G722), -1.0);
    world.run(2000);
    assert!(world.phones[talker].sent > 90);
    assert_eq!(count(&world, g722, 0, 13), 0);
    assert!(count(&world, g722, 0, 96) > 90);
}

#[test]
fn of_two_who_take_comfort_noise_it_is_passed_like_the_rest() {
    let mut world = World::new(SPEC);
    let one = world.join(with_noise(AudioCodec::Pcmu), 500.0);
    let other = world.join(with_noise(AudioCodec::Pcmu), -1.0);
    world.run(500);
    world.phones[one].tone_hz = 0.0;
    let noise = world.phones[one].packet(13, &[60]);
    let now_us = world.now_us;
    world.post(one, now_us, noise);
    world.run(400);
    assert_eq!(count(&world, other, 0, 13), 1);
    world.phones[one].tone_hz = 500.0;
    world.run(500);
    assert!(world.phones[other].hears(500.0, 300) > 4500.0);
    assert_eq!(world.mixer.counts().encoded, 0, "still passed as it comes");
}

#[test]
fn redundancy_is_sent_while_a_listener_loses_packets_and_no_longer() {
    let codec = AudioCodec::Opus {
        bitrate: 40_000,
        fec: true,
        dtx: false,
    };
    let mut world = World::new(SPEC);
    world.join(formats(codec, 20), 400.0);
    world.join(formats(codec, 20), 600.0);
    let listener = world.join(formats(codec, 20), 0.0);
    // Configurations from 16 on are without SILK, which has the redundancy (RFC 6716 table 2).
    let last_is_modelled = |world: &World| {
        let last = world.phones[listener].got.last().unwrap();
        last.payload[0] >> 3 < 16
    };
    world.run(1000);
    assert!(!last_is_modelled(&world));
    let (seat, now) = (world.phones[listener].seat, world.instant());
    world.mixer.hear_of_loss(seat, now, 4);
    world.run(500);
    assert!(
        !last_is_modelled(&world),
        "a packet of a hundred is no loss"
    );
    let now = world.instant();
    world.mixer.hear_of_loss(seat, now, 26);
    world.run(500);
    assert!(last_is_modelled(&world));
    world.run(21_000);
    assert!(!last_is_modelled(&world));
}
