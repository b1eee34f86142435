//! Members that come, go, change and send anything at all, by seeds.

use rand::RngExt;

use super::rig::{RECEIVE_ONLY, SEND_ONLY, SPEC, World, codecs, formats};
use crate::api::{Direction, MixSpec};
use crate::limits::MIX_TALKERS;

const SECONDS: u32 = 12;

fn spoilt(world: &mut World) -> Vec<u8> {
    let length = world.random.random_range(0..400);
    let mut bytes: Vec<u8> = (0..length).map(|_| world.random.random()).collect();
    if let [first, second, ..] = bytes.as_mut_slice() {
        *first = 0x80 | *first & 0x1f;
        *second = if *second < 200 { 96 } else { *second };
    }
    bytes
}

fn something_happens(world: &mut World, there: &mut Vec<usize>) {
    let all = codecs();
    let codec = all[world.random.random_range(0..all.len())];
    let ptime = [10, 20, 40, 60][world.random.random_range(0..4)];
    let direction = [Direction::BOTH, SEND_ONLY, RECEIVE_ONLY][world.random.random_range(0..3)];
    let tone = [0.0, -1.0, 400.0, 700.0][world.random.random_range(0..4)];
    match world.random.random_range(0..6) {
        0 if there.len() < 12 => {
            let mut formats = formats(codec, ptime.max(20));
            formats.client_level = world.random.random_bool(0.5).then_some(1);
            let phone = world.join_as(formats, tone, direction);
            world.phones[phone].level = Some(world.random.random_range(0..128));
            world.phones[phone].network.jitter_us = world.random.random_range(0..120_000);
            world.phones[phone].network.lost = world.random.random_range(0..200);
            there.push(phone);
        }
        1 if !there.is_empty() => {
            let at = world.random.random_range(0..there.len());
            world.leave(there.swap_remove(at));
        }
        2 if !there.is_empty() => {
            let phone = there[world.random.random_range(0..there.len())];
            let formats = world.phones[phone].formats.clone();
            let seat = world.phones[phone].seat;
            assert!(world.mixer.set(seat, &formats, direction));
        }
        3 if !there.is_empty() => {
            let phone = there[world.random.random_range(0..there.len())];
            let (now, packet) = (world.instant(), spoilt(world));
            world.deliver(phone, now, &packet);
        }
        4 if !there.is_empty() => {
            let phone = there[world.random.random_range(0..there.len())];
            world.phones[phone].ssrc = world.random.random();
            world.phones[phone].timestamp = world.random.random();
        }
        _ => {
            for phone in there.iter() {
                world.phones[*phone].tone_hz = tone;
            }
        }
    }
}

#[test]
fn whatever_happens_streams_go_on_and_the_clock_stops_in_the_end() {
    for seed in 1..=25 {
        let spec = MixSpec {
            talkers: u8::try_from(1 + seed % 4).unwrap(),
            auto_gain: seed % 5 == 0,
            ..SPEC
        };
        let mut world = World::seeded(spec, seed);
        let mut there = Vec::new();
        for _ in 0..SECONDS * 10 {
            something_happens(&mut world, &mut there);
            let pause = world.random.random_range(1..200);
            world.run(pause);
        }
        for phone in &world.phones {
            for two in phone.got.windows(2) {
                let [one, next] = two else { continue };
                assert!(next.csrcs.len() <= MIX_TALKERS, "seed {seed}");
                if one.ssrc == next.ssrc {
                    let ahead = next.seq.wrapping_sub(one.seq).cast_signed();
                    assert!(ahead.abs() < 200, "seed {seed}: {one:?} {next:?}");
                }
            }
        }
        for phone in &mut world.phones {
            phone.tone_hz = 0.0;
        }
        world.run(5000);
        assert_eq!(world.mixer.poll_timeout(), None, "seed {seed}");
    }
}

#[test]
fn noise_on_the_wire_changes_nothing_for_the_others() {
    let mut world = World::seeded(SPEC, 3);
    world.join(formats(codecs()[0], 20), 500.0);
    world.join(formats(codecs()[0], 20), 0.0);
    let stranger = world.join(formats(codecs()[1], 20), 0.0);
    for _ in 0..3000 {
        let (now, packet) = (world.instant(), spoilt(&mut world));
        let short = packet.get(..packet.len().min(11)).unwrap_or_default();
        world.deliver(stranger, now, short);
        world.run(1);
    }
    assert!(world.phones[1].hears(500.0, 1000) > 5500.0);
}
