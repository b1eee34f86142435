//! Jitter, loss, drift and new beginnings: what a listener hears of a talker whose packets come
//! as networks bring them.

use rand::RngExt;

use super::rig::{
    Network, RECEIVE_ONLY, SEND_ONLY, SPEC, World, amplitude, assert_continuous, codecs, formats,
};
use crate::api::{AudioCodec, RtpFormats};

fn pcmu(ptime_ms: u8) -> RtpFormats {
    formats(AudioCodec::Pcmu, ptime_ms)
}

/// One talker and two listeners: nothing is passed as it is.
fn room(seed: u64, codec: AudioCodec, network: Network) -> World {
    let mut world = World::seeded(SPEC, seed);
    let talker = world.join(formats(codec, 20), 500.0);
    world.phones[talker].network = network;
    for _ in 0..2 {
        world.join(formats(codec, 20), 0.0);
    }
    world
}

#[test]
fn jitter_within_the_buffer_costs_next_to_nothing() {
    for seed in 1..=6 {
        for codec in codecs() {
            let network = Network {
                delay_us: 30_000,
                jitter_us: 60_000,
                ..Network::default()
            };
            let mut world = room(seed, codec, network);
            world.run(5000);
            let before = world.mixer.talked(world.phones[0].seat);
            world.run(20_000);
            let after = world.mixer.talked(world.phones[0].seat);
            let concealed = after.concealed_ms - before.concealed_ms;
            assert!(concealed <= 500, "seed {seed}, {codec:?}: {concealed} ms");
            assert_eq!(after.overflowed, 0, "seed {seed}, {codec:?}");
            assert!(
                world.phones[1].hears(500.0, 500) > 4000.0,
                "seed {seed}, {codec:?}"
            );
        }
    }
}

#[test]
fn what_is_lost_is_made_up_and_no_more_than_that() {
    for seed in 1..=6 {
        for codec in codecs() {
            let network = Network {
                delay_us: 30_000,
                jitter_us: 10_000,
                lost: 50,
                doubled: 20,
            };
            let mut world = room(seed, codec, network);
            world.run(20_000);
            let talked = world.mixer.talked(world.phones[0].seat);
            // 5 % of 20 s are a second.
            let made = talked.concealed_ms;
            assert!(
                (500..1600).contains(&made),
                "seed {seed}, {codec:?}: {made} ms"
            );
            assert!(talked.duplicates > 5, "seed {seed}");
            let loud = world.phones[1].hears(500.0, 2000);
            // A frame that is lost stays in AMR's excitation for as long as a tone is steady.
            let is_amr = matches!(codec, AudioCodec::AmrNb { .. } | AudioCodec::AmrWb { .. });
            let least = if is_amr { 3000.0 } else { 4500.0 };
            assert!(loud > least, "seed {seed}, {codec:?}: {loud}");
            assert_continuous(&world.phones[1].got, codec.clock_rate() / 50);
        }
    }
}

#[test]
fn a_network_without_jitter_is_hardly_waited_for() {
    let network = Network {
        delay_us: 30_000,
        ..Network::default()
    };
    for codec in codecs() {
        let mut world = room(1, codec, network);
        world.run(10_000);
        let talked = world.mixer.talked(world.phones[0].seat);
        assert_eq!((talked.concealed_ms, talked.late, talked.lost), (0, 0, 0));
        let target = world.mixer.target_us(world.phones[0].seat, world.instant());
        assert!(target <= 5000, "{target}");
    }
}

/// How long after their sending and the fastest way a talker's first loud samples are given to a
/// listener, for words with pauses between them, in microseconds; and the target by then.
fn delays(world: &mut World, words: u32) -> Vec<(i64, i64)> {
    let fastest_us = world.phones[0].network.delay_us;
    let mut delays = Vec::new();
    for _ in 0..words {
        world.phones[0].tone_hz = -1.0;
        world.run(600);
        let sent = world.phones[0].sent;
        world.phones[0].tone_hz = 1000.0;
        let from = world.phones[1].got.len();
        while world.phones[0].sent == sent {
            world.run(1);
        }
        // A phone sends what it has recorded by then.
        let begun_us = world.now_us;
        let target_us = world.mixer.target_us(world.phones[0].seat, world.instant());
        world.run(400);
        let loud = |payload: &[u8]| payload.iter().any(|octet| octet & 0x7f < 0x60);
        let first = world.phones[1].got[from..]
            .iter()
            .find(|got| loud(&got.payload));
        let after = world.mixer.target_us(world.phones[0].seat, world.instant());
        let target_us = target_us.max(after);
        let Some(first) = first else { continue };
        delays.push((
            first.at_us - begun_us - fastest_us,
            i64::try_from(target_us).unwrap(),
        ));
    }
    delays
}

#[test]
fn the_added_delay_is_the_target_and_a_packet_at_most() {
    for (seed, jitter_us) in [(1, 0), (2, 15_000), (3, 40_000), (4, 80_000)] {
        let network = Network {
            delay_us: 20_000,
            jitter_us,
            ..Network::default()
        };
        let mut world = room(seed, AudioCodec::Pcmu, network);
        world.run(5000);
        let delays = delays(&mut world, 20);
        assert!(delays.len() >= 18, "seed {seed}: {}", delays.len());
        for (delay_us, target_us) in &delays {
            // The rig looks once a millisecond, and what is up to 5 ms too much is left alone.
            let most_us = target_us + 20_000 + 6_000;
            assert!(*delay_us <= most_us, "seed {seed}: {delay_us} > {most_us}");
            assert!(*target_us <= jitter_us + 30_000, "seed {seed}: {target_us}");
        }
    }
}

#[test]
fn a_clock_that_is_off_neither_overflows_nor_starves_in_a_quarter_of_an_hour() {
    for drift in [-200, 200] {
        let network = Network {
            delay_us: 20_000,
            jitter_us: 8000,
            ..Network::default()
        };
        let mut world = room(5, AudioCodec::Pcmu, network);
        world.phones[0].drift = drift;
        // 200 ppm of 900 s are 180 ms, which no buffer could hold back.
        for _ in 0..300 {
            world.phones[0].tone_hz = 500.0;
            world.run(2400);
            world.phones[0].tone_hz = -1.0;
            world.run(600);
            world.phones[1].heard.clear();
            world.phones[1].got.clear();
            world.phones[2].heard.clear();
            world.phones[2].got.clear();
        }
        let talked = world.mixer.talked(world.phones[0].seat);
        assert_eq!((talked.overflowed, talked.restarts), (0, 0), "{drift}");
        assert!(talked.late < 45, "{drift}: {talked:?}");
        assert!(talked.concealed_ms < 1000, "{drift}: {talked:?}");
        let slipped = if drift > 0 {
            talked.cut_ms
        } else {
            talked.stretched_ms
        };
        assert!(slipped > 80, "{drift}: {talked:?}");
        let delays = delays(&mut world, 10);
        assert!(
            delays
                .iter()
                .all(|(delay, target)| *delay <= target + 26_000),
            "{delays:?}"
        );
    }
}

#[test]
fn a_clock_that_is_off_does_no_harm_to_one_who_never_pauses() {
    for drift in [-500, 500] {
        let mut world = room(6, AudioCodec::Pcmu, Network::default());
        world.phones[0].drift = drift;
        for _ in 0..60 {
            world.run(5000);
            world.phones[1].heard.drain(..39_000);
            world.phones[2].heard.clear();
        }
        let talked = world.mixer.talked(world.phones[0].seat);
        // 500 ppm of 300 s are 150 ms.
        assert!(talked.concealed_ms <= 400, "{drift}: {talked:?}");
        assert_eq!(talked.overflowed, 0, "{drift}: {talked:?}");
        assert!(world.phones[1].hears(500.0, 100) > 5000.0, "{drift}");
    }
}

#[test]
fn a_pause_is_no_loss() {
    for codec in codecs() {
        let mut world = room(7, codec, Network::default());
        for _ in 0..10 {
            world.phones[0].tone_hz = 500.0;
            world.run(700);
            world.phones[0].tone_hz = 0.0;
            world.run(900);
        }
        let talked = world.mixer.talked(world.phones[0].seat);
        assert_eq!(
            (talked.lost, talked.late, talked.restarts),
            (0, 0, 0),
            "{codec:?}"
        );
    }
}

#[test]
fn a_talker_that_begins_anew_is_heard_again_soon() {
    let mut world = room(8, AudioCodec::Pcmu, Network::default());
    for turn in 0..3_u32 {
        world.run(1000);
        let phone = &mut world.phones[0];
        match turn {
            0 => phone.ssrc += 77,
            1 => phone.timestamp = phone.timestamp.wrapping_add(2_000_000_000),
            _ => phone.seq = phone.seq.wrapping_add(30_000),
        }
        let from = world.phones[1].heard.len();
        world.run(400);
        let heard = &world.phones[1].heard[from..];
        let last = &heard[heard.len() - 1600..];
        assert!(amplitude(last, 500.0, 8000) > 5000.0, "turn {turn}");
        assert!(heard.len() > 8 * 250, "turn {turn}");
    }
    let talked = world.mixer.talked(world.phones[0].seat);
    assert_eq!(talked.restarts, 3);
}

#[test]
fn a_network_that_stalls_is_caught_up_with() {
    let mut world = room(9, AudioCodec::Pcmu, Network::default());
    world.run(3000);
    // 600 ms of packets come at once.
    world.phones[0].network.delay_us = 600_000;
    world.run(590);
    world.phones[0].network.delay_us = 0;
    world.run(6000);
    let before = world.mixer.talked(world.phones[0].seat);
    world.run(2000);
    let after = world.mixer.talked(world.phones[0].seat);
    assert_eq!(before.concealed_ms, after.concealed_ms);
    assert!(world.phones[1].hears(500.0, 500) > 5500.0);
    world.phones[0].tone_hz = -1.0;
    world.run(12_000);
    let delays = delays(&mut world, 3);
    assert!(
        delays.iter().all(|(delay, _)| *delay <= 60_000),
        "{delays:?}"
    );
}

#[test]
fn packets_of_every_length_are_taken() {
    for ptime in [10, 20, 30, 40, 60] {
        let mut world = World::new(SPEC);
        world.join_as(pcmu(ptime), 500.0, SEND_ONLY);
        for _ in 0..2 {
            world.join_as(pcmu(20), 0.0, RECEIVE_ONLY);
        }
        let talker = &mut world.phones[0];
        talker.network.jitter_us = 10_000;
        world.run(6000);
        let before = world.mixer.talked(world.phones[0].seat);
        world.run(6000);
        let talked = world.mixer.talked(world.phones[0].seat);
        let made = talked.concealed_ms - before.concealed_ms;
        assert!(made <= 60 + u64::from(ptime), "{ptime} ms: {made}");
        assert!(world.phones[1].hears(500.0, 1000) > 5500.0, "{ptime} ms");
    }
}

#[test]
fn a_talker_may_change_its_payload_type_as_it_goes() {
    let all = codecs();
    let mut world = World::new(SPEC);
    let mut many = formats(all[0], 20);
    many.audio = (90..)
        .zip(&all)
        .map(|(payload_type, codec)| crate::api::AudioFormat {
            payload_type,
            codec: *codec,
            ptime_ms: 20,
        })
        .collect();
    let talker = world.join(many.clone(), 0.0);
    world.join(pcmu(20), 0.0);
    world.join(pcmu(20), 0.0);
    for n in 0..all.len() {
        many.audio.rotate_left(usize::from(n > 0));
        let phone = world.join_again(talker, many.clone(), 500.0);
        world.phones[phone].ssrc = 7;
        world.run(1500);
        assert!(
            world.phones[1].hears(500.0, 300) > 4000.0,
            "{:?}",
            many.audio[0]
        );
        world.phones[phone].tone_hz = 0.0;
        world.run(u32::try_from(n).unwrap() * 17);
    }
}

#[test]
fn comfort_noise_is_heard_as_loud_as_it_is_said_to_be() {
    let mut world = room(10, AudioCodec::Pcmu, Network::default());
    world.run(500);
    world.phones[0].tone_hz = 0.0;
    for _ in 0..5 {
        let packet = world.phones[0].packet(13, &[40]);
        let now = world.instant();
        world.deliver(0, now, &packet);
        world.run(200);
    }
    let heard = &world.phones[1].heard;
    let level = crate::codec::level(&heard[heard.len() - 1600..]);
    assert!(level.abs_diff(40) <= 3, "{level}");
    world.run(4000);
    assert_eq!(world.mixer.poll_timeout(), None, "no noise for ever");
    assert_eq!(world.mixer.talked(world.phones[0].seat).lost, 0);
}

#[test]
fn what_an_opus_encoder_leaves_out_of_silence_is_no_loss() {
    let dtx = AudioCodec::Opus {
        bitrate: 24_000,
        fec: false,
        dtx: true,
    };
    let mut world = room(12, dtx, Network::default());
    for _ in 0..5 {
        world.phones[0].tone_hz = 500.0;
        world.run(1000);
        world.phones[0].tone_hz = -1.0;
        world.run(3000);
    }
    let talked = world.mixer.talked(world.phones[0].seat);
    assert!(talked.received < 700, "silence is left out: {talked:?}");
    assert_eq!((talked.lost, talked.late), (0, 0));
    // Of 15 s of silence next to nothing is taken for packets that are missing.
    assert!(talked.concealed_ms <= 100, "{talked:?}");
    world.phones[0].tone_hz = 500.0;
    world.run(1000);
    assert!(world.phones[1].hears(500.0, 500) > 4500.0);
}

#[test]
fn a_worker_that_was_held_up_goes_on_with_the_present() {
    let mut world = room(11, AudioCodec::Pcmu, Network::default());
    world.run(1000);
    world.now_us += 700_000;
    let sent: u32 = world.random.random_range(1..3);
    world.run(3000 + sent);
    assert!(world.phones[1].hears(500.0, 1000) > 5500.0);
    let got = &world.phones[1].got;
    let jumps = got
        .windows(2)
        .filter(|two| two[1].timestamp.wrapping_sub(two[0].timestamp) != 160);
    assert!(jumps.count() <= 2);
}
