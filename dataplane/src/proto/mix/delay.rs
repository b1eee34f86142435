//! How long a talker's packets have to wait so that nearly all of them are there in time.
//!
//! A packet's *transit* is its arrival less its timestamp, both in microseconds; only differences
//! of transits mean anything. The fastest packets of the last seconds are the base, which follows
//! a talker's clock that drifts; how much slower the others were is kept as a histogram, the old
//! of which fades.
//!
//! ```text
//! transit ─┬─▶ least of two windows ─▶ base
//!          └─▶ − base ─▶ histogram ─▶ 98 % of it ─┬─▶ target: the greater one, bounded
//!                            late packets ─▶ peak ┘   (fades by 20 ms a second)
//! ```

/// The measured delays of one talker.
#[derive(Debug)]
pub(super) struct Delay {
    /// The least transit of this window and of the one before.
    least: [i64; 2],
    window_end_us: i64,
    /// The base that the histogram is relative to.
    counted_from_us: i64,
    bins: [u16; BINS],
    counted: u32,
    until_quantile: u8,
    quantile_us: i64,
    peak_us: i64,
    peak_at_us: i64,
    target_max_us: i64,
}

impl Delay {
    /// Begins with a talker's first packet, whose transit is all that is known.
    pub(super) fn new(at_us: i64, transit_us: i64, target_max_us: i64) -> Self {
        let mut delay = Self {
            least: [transit_us; 2],
            window_end_us: at_us + WINDOW_US,
            counted_from_us: transit_us,
            bins: [0; BINS],
            counted: 0,
            until_quantile: 0,
            quantile_us: 0,
            peak_us: 0,
            peak_at_us: at_us,
            target_max_us: target_max_us.max(TARGET_MIN_US),
        };
        delay.observe(at_us, transit_us);
        delay
    }

    /// The transit of the fastest packets.
    pub(super) fn base_us(&self) -> i64 {
        self.least[0].min(self.least[1])
    }

    /// Takes note of a packet that came at `at_us`.
    pub(super) fn observe(&mut self, at_us: i64, transit_us: i64) {
        if at_us >= self.window_end_us {
            self.least = [transit_us, self.least[0]];
            if at_us >= self.window_end_us + WINDOW_US {
                self.least[1] = transit_us;
            }
            self.window_end_us = at_us + WINDOW_US;
        }
        self.least[0] = self.least[0].min(transit_us);
        self.follow_base();
        let over = transit_us - self.counted_from_us;
        let bin = usize::try_from(over / BIN_US).unwrap_or(0).min(BINS - 1);
        self.bins[bin] += 1;
        self.counted += 1;
        if self.counted >= COUNTED_MAX {
            self.fade();
        }
        if self.until_quantile == 0 || self.counted < FIRST {
            self.quantile_us = self.quantile();
            self.until_quantile = QUANTILE_EVERY;
        }
        self.until_quantile -= 1;
    }

    /// A packet came too late: from now on they wait for as long as it took.
    pub(super) fn late(&mut self, at_us: i64, transit_us: i64) {
        let over = transit_us - self.base_us();
        if over > self.peak_now_us(at_us) {
            (self.peak_us, self.peak_at_us) = (over, at_us);
        }
    }

    /// How long the fastest packets are to wait, in microseconds.
    pub(super) fn target_us(&self, now_us: i64) -> i64 {
        let wanted = self.quantile_us.max(self.peak_now_us(now_us));
        let least = if self.counted < FIRST {
            FIRST_US
        } else {
            TARGET_MIN_US
        };
        wanted.max(least).min(self.target_max_us)
    }

    fn peak_now_us(&self, now_us: i64) -> i64 {
        self.peak_us - (now_us - self.peak_at_us).max(0) / PEAK_FADE
    }

    /// Moves the histogram where the base went, by whole bins.
    fn follow_base(&mut self) {
        let bins = (self.counted_from_us - self.base_us()) / BIN_US;
        if bins == 0 {
            return;
        }
        self.counted_from_us -= bins * BIN_US;
        let count = usize::try_from(bins.unsigned_abs()).map_or(BINS, |count| count.min(BINS));
        let moved = if bins > 0 {
            self.bins.rotate_right(count);
            let (low, _) = self.bins.split_at_mut(count);
            let moved = low.iter().fold(0, |sum: u16, bin| sum.saturating_add(*bin));
            low.fill(0);
            (BINS - 1, moved)
        } else {
            self.bins.rotate_left(count);
            let (_, high) = self.bins.split_at_mut(BINS - count);
            let moved = high
                .iter()
                .fold(0, |sum: u16, bin| sum.saturating_add(*bin));
            high.fill(0);
            (0, moved)
        };
        self.bins[moved.0] = self.bins[moved.0].saturating_add(moved.1);
    }

    fn fade(&mut self) {
        for bin in &mut self.bins {
            *bin -= *bin / 2;
            // A single one would stay for ever.
            if *bin == 1 {
                *bin = 0;
            }
        }
        self.counted = self.bins.iter().map(|bin| u32::from(*bin)).sum();
    }

    fn quantile(&self) -> i64 {
        let enough = self.counted - self.counted / ONE_IN;
        let mut sum = 0;
        let mut upper = 0;
        for bin in self.bins {
            upper += BIN_US;
            sum += u32::from(bin);
            if sum >= enough {
                break;
            }
        }
        upper
    }
}

const BIN_US: i64 = 4_000;
const BINS: usize = 128;
/// Two windows of this length hold the base; within both, 200 ppm are below a bin.
const WINDOW_US: i64 = 4_000_000;
/// Packets after which the histogram is halved: some ten seconds of 20 ms each.
const COUNTED_MAX: u32 = 512;
/// One packet in so many may be late: 2 %.
const ONE_IN: u32 = 50;
/// Packets until the histogram is believed, and the target until then.
const FIRST: u32 = 16;
const FIRST_US: i64 = 20_000;
const TARGET_MIN_US: i64 = BIN_US;
/// Packets between two looks at the quantile.
const QUANTILE_EVERY: u8 = 8;
/// A peak fades by a microsecond in so many.
const PEAK_FADE: i64 = 50;

#[cfg(test)]
mod tests {
    use super::{BIN_US, Delay};

    fn fed(transits: impl IntoIterator<Item = i64>) -> (Delay, i64) {
        let mut delay: Option<Delay> = None;
        let mut at = 0;
        for transit in transits {
            match &mut delay {
                Some(delay) => delay.observe(at, transit),
                None => delay = Some(Delay::new(at, transit, 200_000)),
            }
            at += 20_000;
        }
        (delay.unwrap(), at)
    }

    #[test]
    fn packets_that_come_evenly_wait_for_next_to_nothing() {
        let (delay, now) = fed([5000; 100]);
        assert_eq!(delay.target_us(now), BIN_US);
    }

    #[test]
    fn the_target_covers_nearly_all_of_the_jitter_and_no_more() {
        let (delay, now) = fed((0..1000).map(|n| 7000 + (n * 37 % 41) * 1000));
        let target = delay.target_us(now);
        assert!((38_000..=44_000).contains(&target), "{target}");
    }

    #[test]
    fn it_falls_again_when_the_jitter_is_over() {
        let rough = (0..500).map(|n| (n * 37 % 61) * 1000);
        let (delay, now) = fed(rough.chain([0; 3000]));
        assert_eq!(delay.target_us(now), BIN_US);
    }

    #[test]
    fn a_late_packet_raises_the_target_at_once_and_for_a_while() {
        let (mut delay, now) = fed([0; 100]);
        delay.late(now, 60_000);
        assert_eq!(delay.target_us(now), 60_000);
        assert_eq!(delay.target_us(now + 1_000_000), 40_000);
        assert_eq!(delay.target_us(now + 10_000_000), BIN_US);
    }

    #[test]
    fn the_target_has_a_bound() {
        let (mut delay, now) = fed([0; 100]);
        delay.late(now, 900_000);
        assert_eq!(delay.target_us(now), 200_000);
    }

    #[test]
    fn the_base_follows_a_clock_that_drifts_both_ways() {
        for drift in [-4, 4] {
            // 200 ppm of 20 ms are 4 µs a packet.
            let (delay, now) = fed((0..30_000).map(|n| n * drift));
            let newest = 29_999 * drift;
            let off = (delay.base_us() - newest).abs();
            assert!(off <= 1700, "{drift}: {off}");
            assert!(delay.target_us(now) <= 2 * BIN_US, "{drift}");
        }
    }
}
