//! Rounds with a seed each, and a watchdog over them.

use std::env;
use std::panic;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rand::rngs::{StdRng, SysRng};
use rand::{SeedableRng, TryRng};

/// Runs `count` rounds, or as many times more as the environment says, each with its own seed.
///
/// # Panics
///
/// When a round panics or takes longer than [`ROUND_MAX`]; the message names its seed.
pub fn rounds(name: &str, count: u64, round: impl Fn(&mut StdRng) + Send + 'static) {
    let first = first_seed();
    let count = count * factor();
    let (say, hear) = mpsc::channel();
    let work = move || {
        for seed in (0..count).map(|round| first.wrapping_add(round)) {
            if say.send(seed).is_err() {
                return;
            }
            round(&mut StdRng::seed_from_u64(seed));
        }
    };
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
    let thread = thread.expect("a thread can be started");
    let mut seed = first;
    loop {
        match hear.recv_timeout(ROUND_MAX) {
            Ok(next) => seed = next,
            Err(RecvTimeoutError::Timeout) => {
                panic!("{name} hangs: {}", again(seed));
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if let Err(cause) = thread.join() {
        eprintln!("{name} failed: {}", again(seed));
        panic::resume_unwind(cause);
    }
}

fn again(seed: u64) -> String {
    format!("run it again with MIDPATH_FUZZ_SEED={seed}")
}

fn first_seed() -> u64 {
    match env::var("MIDPATH_FUZZ_SEED").as_deref() {
        Err(_) => 1,
        Ok("random") => SysRng.try_next_u64().expect("the system has entropy"),
        Ok(seed) => seed
            .parse()
            .expect("MIDPATH_FUZZ_SEED is a number or `random`"),
    }
}

fn factor() -> u64 {
    env::var("MIDPATH_FUZZ_ROUNDS").map_or(1, |factor| {
        factor.parse().expect("MIDPATH_FUZZ_ROUNDS is a number")
    })
}

/// A round takes milliseconds; on a machine that does much else, some seconds.
const ROUND_MAX: Duration = Duration::from_secs(60);
