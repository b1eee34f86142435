//! Sessions that end, with both Participating Functions between their clients: whatever the
//! network, the clients and the switches, the procedures hold and nothing is left.

use rand::RngExt;
use tests::world::closing::{Plan, play};

use super::campaign::rounds;

#[test]
fn however_a_session_ends_the_procedures_hold_and_nothing_is_left() {
    rounds("closings", 1_500, |random| {
        let plan = Plan::random(random);
        play(plan, random.random()).assert_well();
    });
}
