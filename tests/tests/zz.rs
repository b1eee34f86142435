use std::time::Duration;
use tests::world::*;
#[test]
fn trace() {
    let seed: u64 = std::env::var("SEED").unwrap().parse().unwrap();
    let storm = std::env::var("STORM").is_ok();
    let mut world = World::new(seed, if storm { Weather::STORM } else { Weather::FAIR });
    for call in 0..100u64 {
        world.add_call(script(seed.wrapping_mul(31).wrapping_add(call)));
    }
    let which: usize = std::env::var("CALL").ok().map_or(usize::MAX, |c| c.parse().unwrap());
    world.trace = Some(which);
    world.run(Duration::from_secs(300));
    for (n, pair) in world.phones().chunks(2).enumerate() {
        println!("{n} {:?} {:?} {:?} {}", pair[0].script(), pair[0].fate(), pair[1].fate(), pair[0].is_waiting() || pair[1].is_waiting());
    }
}
fn script(number: u64) -> Script {
    let hangs_up = match number % 3 { 0 => Who::Caller, 1 => Who::Callee, _ => Who::Both };
    match number % 10 {
        0 => Script::Refuse(486), 1 => Script::GiveUp, 2 => Script::Nobody,
        3..6 => Script::Talk { reinvite: true, hangs_up },
        _ => Script::Talk { reinvite: false, hangs_up },
    }
}
