//! Group sessions in the simulated world.

use std::time::Duration;

use tests::world::Weather;
use tests::world::gathering::{Agreed, Gathering, Plan};

#[test]
fn in_fair_weather_everybody_knows_who_takes_part_with_what() {
    let mut agreed = Agreed::default();
    for seed in 1..=40 {
        eprintln!("seed {seed}");
        let plan = Plan {
            guests: 8,
            members: 5,
            acts: 8,
            lasts: Duration::from_secs(60),
            weather: Weather::FAIR,
        };
        let mut gathering = Gathering::play(plan, seed);
        agreed.add(gathering.assert_agreed());
        gathering.end();
    }
    assert!(
        agreed.participants >= 80 && agreed.watchers >= 50,
        "{agreed:?}"
    );
}

#[test]
fn after_a_storm_everybody_knows_who_takes_part_with_what() {
    let mut agreed = Agreed::default();
    for seed in 1..=40 {
        eprintln!("seed {seed}");
        let plan = Plan {
            guests: 6,
            members: 4,
            acts: 10,
            lasts: Duration::from_secs(30),
            weather: Weather::STORM,
        };
        let mut gathering = Gathering::play(plan, seed);
        agreed.add(gathering.assert_agreed());
        gathering.end();
    }
    assert!(
        agreed.participants >= 65 && agreed.watchers >= 40,
        "{agreed:?}"
    );
}
