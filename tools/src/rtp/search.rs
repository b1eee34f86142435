//! The highest rate that a relay takes without losing a packet.

use serde_json::{Value, json};

use super::Shape;
use super::figures::Figures;
use super::generator::Load;
use super::subject::Contender;
use crate::load::count;

/// Where the search begins, in packets per second.
const FIRST: u64 = 60_000;
/// Where it ends at the latest.
const LAST: u64 = 1_000_000;
/// Seconds of one try, and before it.
const TRY_S: u64 = 4;
const WARMUP_S: u64 = 1;
/// The share of the rate asked that must have come through.
const WHOLE: f64 = 0.995;
/// Tries of one rate before it counts as too high: one loss may be the machine's.
const TRIES: u32 = 2;

/// The end of a search.
#[derive(Debug, Clone)]
pub struct Highest {
    /// The highest rate, in packets per second, at which nothing was lost.
    pub rate: u64,
    /// The lowest above it that failed; the true figure is between both.
    pub failed: u64,
    /// Why the generator and not the relay ended the search, if so.
    pub generator_limit: Option<String>,
    /// Each try: rate asked, packets lost, why the generator was the limit.
    pub tries: Vec<(u64, u64, Option<String>)>,
}

impl Highest {
    /// The search as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let tried = |(rate, lost, limit): &(u64, u64, Option<String>)| json!({ "rate": rate, "lost": lost, "generator_limit": limit });
        json!({
            "rate": self.rate,
            "failed_at": self.failed,
            "generator_limit": self.generator_limit,
            "tries": self.tries.iter().map(tried).collect::<Vec<_>>(),
        })
    }
}

/// How a rate went.
enum Verdict {
    Held,
    Lost,
    GeneratorLimit(String),
}

/// Searches one relay, first upwards by quarters, then between the last two to 3 %.
///
/// # Errors
///
/// The relay can't be started or refuses calls.
pub fn highest(contender: Contender, shape: &Shape, quiet: bool) -> Result<Highest, String> {
    let load = |rate| Load {
        codec: shape.codec,
        rate,
        seconds: TRY_S,
        warmup_s: WARMUP_S,
        coalesce_us: shape.coalesce_us,
    };
    let subject = shape.start(contender, &load(FIRST))?;
    let mut found = Highest {
        rate: 0,
        failed: LAST,
        generator_limit: None,
        tries: Vec::new(),
    };
    let mut next = FIRST;
    while next < LAST && found.failed > found.rate + found.rate / 32 {
        let run = |rate| super::measure(contender, &subject, &load(rate), quiet);
        match verdict(next, run, &mut found.tries)? {
            Verdict::Held => found.rate = next,
            Verdict::Lost => (found.failed, found.generator_limit) = (next, None),
            Verdict::GeneratorLimit(why) => {
                (found.failed, found.generator_limit) = (next, Some(why));
            }
        }
        next = following(found.rate, found.failed);
        if next < 1000 {
            break;
        }
    }
    subject.end()?;
    Ok(found)
}

/// The rate after `held` went well and `failed` didn't.
const fn following(held: u64, failed: u64) -> u64 {
    let upwards = held + held / 4;
    let middle = u64::midpoint(held, failed);
    // Nothing has failed yet, or nothing has held: then by quarters or by halves.
    if failed == LAST { upwards } else { middle }
}

fn verdict(
    rate: u64,
    mut run: impl FnMut(u64) -> Result<Figures, String>,
    tries: &mut Vec<(u64, u64, Option<String>)>,
) -> Result<Verdict, String> {
    let mut last = Verdict::Lost;
    for _ in 0..TRIES {
        let figures = run(rate)?;
        let (limit, lost) = (figures.generator_limit(), figures.tally.lost);
        tries.push((rate, lost, limit.clone()));
        // A late generator sends bursts, which are harder to take than the paced load: a run
        // without loss counts all the same if it had the whole rate.
        let whole = figures.relayed_per_second() >= count(rate) * WHOLE;
        if lost == 0 && whole {
            return Ok(Verdict::Held);
        }
        last = limit.map_or(Verdict::Lost, Verdict::GeneratorLimit);
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::{LAST, Verdict, following, verdict};
    use crate::rtp::figures::tests::sample;
    use crate::rtp::subject::Target;

    #[test]
    fn the_search_goes_up_by_quarters_until_something_fails() {
        assert_eq!(following(60_000, LAST), 75_000);
        assert_eq!(following(60_000, 75_000), 67_500);
        assert_eq!(following(0, 60_000), 30_000);
    }

    #[test]
    fn one_loss_is_tried_again_and_a_second_one_counts() {
        for (losses, held) in [(1, true), (2, false)] {
            let mut left = losses;
            let mut tries = Vec::new();
            let run = |rate| {
                let mut figures = sample(Target::Floor, rate);
                figures.tally.lost = u64::from(left > 0);
                left -= 1;
                Ok(figures)
            };
            let verdict = verdict(1000, run, &mut tries).unwrap();
            assert_eq!(matches!(verdict, Verdict::Held), held);
            assert_eq!(tries.len(), 2);
        }
    }
}
