//! Sessions by the thousand in the simulated world: whatever the weather, nothing is left behind.

use std::time::Duration;

use tests::world::{Fate, Script, Weather, Who, World};

#[test]
fn in_fair_weather_every_call_ends_as_its_script_says_and_every_word_is_heard() {
    for seed in seeds(10) {
        let mut world = played(seed, Weather::FAIR, 100);
        assert_all_is_over(seed, &mut world);
        let mut talks = 0;
        for pair in world.phones().chunks(2) {
            let (a, b) = (&pair[0], &pair[1]);
            match a.script() {
                Script::Talk { reinvite, .. } => {
                    talks += 1;
                    assert_eq!(
                        (a.fate(), b.fate()),
                        (Some(Fate::Ended), Some(Fate::Ended)),
                        "seed {seed}"
                    );
                    if !reinvite {
                        assert!(
                            a.heard.len() + 12 >= usize::try_from(b.spoken).unwrap(),
                            "seed {seed}: {} of {}",
                            a.heard.len(),
                            b.spoken
                        );
                    }
                }
                Script::Refuse(code) => {
                    assert_eq!(a.fate(), Some(Fate::Refused(code)), "seed {seed}");
                }
                Script::GiveUp => assert_eq!(a.fate(), Some(Fate::Refused(487)), "seed {seed}"),
                Script::Nobody => assert_eq!(a.fate(), Some(Fate::Refused(408)), "seed {seed}"),
            }
        }
        assert!(talks > 20, "seed {seed}: {talks}");
    }
}

#[test]
fn in_a_storm_nothing_is_left_behind_and_nobody_hears_another_call() {
    for seed in seeds(20) {
        let mut world = played(seed, Weather::STORM, 100);
        assert_all_is_over(seed, &mut world);
    }
}

#[test]
fn ten_thousand_failed_invites_leave_no_session_and_no_port() {
    let mut failed = 0;
    for seed in seeds(10) {
        let mut world = World::new(seed, Weather::FAIR);
        for call in 0..1_000_u16 {
            let script = match call % 4 {
                0 => Script::Refuse(486),
                1 => Script::Refuse(603),
                2 => Script::GiveUp,
                _ => Script::Nobody,
            };
            world.add_call(script);
        }
        world.run(Duration::from_secs(200));
        assert_all_is_over(seed, &mut world);
        failed += world.relay.records.len();
        assert!(
            world
                .relay
                .records
                .iter()
                .all(|record| record.answered.is_none()),
            "seed {seed}"
        );
    }
    assert_eq!(failed, 10_000);
}

fn played(seed: u64, weather: Weather, calls: u64) -> World {
    let mut world = World::new(seed, weather);
    for call in 0..calls {
        world.add_call(script(seed.wrapping_mul(31).wrapping_add(call)));
    }
    world.run(Duration::from_secs(300));
    world
}

fn script(number: u64) -> Script {
    let hangs_up = match number % 3 {
        0 => Who::Caller,
        1 => Who::Callee,
        _ => Who::Both,
    };
    match number % 10 {
        0 => Script::Refuse(486),
        1 => Script::GiveUp,
        2 => Script::Nobody,
        3..6 => Script::Talk {
            reinvite: true,
            hangs_up,
        },
        _ => Script::Talk {
            reinvite: false,
            hangs_up,
        },
    }
}

/// Nothing is left of any call, and whoever heard something heard their own far side.
fn assert_all_is_over(seed: u64, world: &mut World) {
    world.run(Duration::from_secs(300));
    assert!(
        world.relay.is_idle(),
        "seed {seed}: {}",
        world.relay.leftovers()
    );
    assert_eq!(world.relay.media_sockets(), 0, "seed {seed}");
    for (number, pair) in world.phones().chunks(2).enumerate() {
        for (phone, far) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
            assert!(
                !phone.is_waiting(),
                "seed {seed}, call {number}: {:?} {:?}",
                phone.script(),
                phone.fate()
            );
            let mark = far.call_mark();
            for heard in &phone.heard {
                assert!(
                    heard.starts_with(mark.as_bytes()),
                    "seed {seed}, call {number}: not {mark}"
                );
            }
        }
    }
}

/// Seeds from 1 on; a failure names the one that it was.
fn seeds(count: u64) -> std::ops::RangeInclusive<u64> {
    1..=count
}
