//! Group sessions whose participants and network do anything: everybody's view is the same
//! afterwards, and nothing is left.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::RngExt;
use tests::world::Weather;
use tests::world::gathering::{Agreed, Gathering, Plan};

use super::campaign::rounds;

#[test]
fn whatever_guests_do_they_agree_in_the_end_and_nothing_is_left() {
    let agreed = Arc::new(Mutex::new(Agreed::default()));
    let sum = Arc::clone(&agreed);
    rounds("gatherings", 150, move |random| {
        let guests = random.random_range(2..10);
        let plan = Plan {
            guests,
            members: random.random_range(1..=guests),
            acts: random.random_range(2..12),
            lasts: Duration::from_secs(random.random_range(2..90)),
            weather: Weather {
                lost_permille: random.random_range(0..200),
                doubled_permille: random.random_range(0..100),
                delay_ms_max: random.random_range(1..400),
            },
        };
        let mut gathering = Gathering::play(plan, random.random());
        sum.lock().unwrap().add(gathering.assert_agreed());
        gathering.end();
    });
    let agreed = *agreed.lock().unwrap();
    assert!(
        agreed.participants >= 250 && agreed.watchers >= 150,
        "{agreed:?}"
    );
}
