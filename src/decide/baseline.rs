//! The level that a process or the machine has had for minutes. Growth is what a
//! reading is above it: whoever grew took what is missing, and counts for more
//! than who is merely big. Pure.

/// The baseline follows the readings with this time constant: of what a process
/// grew, two thirds are part of its baseline after five minutes. Long enough
/// that a leak of a megabyte a minute shows, short enough that a service
/// restarted an hour ago is as good as any.
pub const BASELINE_TIME_CONSTANT_US: u64 = 300_000_000;

/// The baseline moves in steps no smaller than this, so that rounding errors do
/// not add up.
const LEAST_STEP_KIB: u64 = 16;

/// A level as of some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    /// The level.
    pub kib: u64,
    at_us: u64,
}

impl Baseline {
    /// Nothing has been read yet, and what is read next is the baseline: that is less than
    /// this, and down it goes at once.
    pub const UNKNOWN: Self = Self::new(u64::MAX, 0);

    /// The baseline is `kib` as of `now_us`.
    pub const fn new(kib: u64, now_us: u64) -> Self {
        Self { kib, at_us: now_us }
    }

    /// The baseline after a reading of `kib`: up slowly, down at once.
    #[must_use]
    pub fn after(self, kib: u64, now_us: u64) -> Self {
        let above_kib = kib.saturating_sub(self.kib);
        let passed_us = now_us.saturating_sub(self.at_us).min(BASELINE_TIME_CONSTANT_US);
        let step_kib = above_kib.saturating_mul(passed_us) / BASELINE_TIME_CONSTANT_US;
        if above_kib > 0 && step_kib < LEAST_STEP_KIB {
            // Too small a step to take: its time counts towards the next one.
            return self;
        }
        Self::new(self.kib.min(kib) + step_kib, now_us)
    }

    /// How much a reading of `kib` is above the baseline.
    pub fn growth_kib(self, kib: u64) -> u64 {
        kib.saturating_sub(self.kib)
    }
}

/// A KiB of growth weighs as much as this many KiB of freeable memory. With 8, a
/// leak is found beside a steady process of up to four fifths of memory: it has
/// grown by the rest up to the TERM limit, a tenth, and 0.1 + 8 x 0.1 > 0.8.
pub const GROWTH_WEIGHT: u64 = 8;

/// Freeable memory and growth in one figure, before patterns and
/// `oom_score_adj`.
pub fn weighted_kib(freeable_kib: u64, growth_kib: u64) -> u64 {
    freeable_kib.saturating_add(growth_kib.saturating_mul(GROWTH_WEIGHT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::time::SECOND;

    const MIB: u64 = 1024;

    #[test]
    fn the_baseline_follows_slowly_upwards_and_at_once_downwards() {
        let baseline = Baseline::new(1000, 0);
        assert_eq!(baseline.growth_kib(4000), 3000);
        // A tenth of the time forgives a tenth of the growth.
        assert_eq!(baseline.after(4000, BASELINE_TIME_CONSTANT_US / 10).kib, 1300);
        assert_eq!(baseline.after(4000, BASELINE_TIME_CONSTANT_US * 9).kib, 4000);
        assert_eq!(baseline.after(200, 1).kib, 200);
        // A clock that steps back forgives nothing.
        assert_eq!(Baseline::new(1000, SECOND).after(4000, 0).kib, 1000);
        let huge = Baseline::new(0, 0).after(u64::MAX, u64::MAX);
        assert!(huge.kib > 0);
    }

    /// However often it is looked at.
    #[test]
    fn small_steps_forgive_as_much_as_large_ones() {
        for step_us in [20_000, 100_000, SECOND, 10 * SECOND] {
            let mut baseline = Baseline::new(0, 0);
            let mut now_us = 0;
            while now_us < BASELINE_TIME_CONSTANT_US {
                now_us += step_us;
                baseline = baseline.after(60 * MIB, now_us);
            }
            // 1 - 1/e.
            assert!((36 * MIB..40 * MIB).contains(&baseline.kib), "{step_us}: {}", baseline.kib);
        }
    }

    /// A leak of a megabyte a minute is behind by what it grows in the time of
    /// forgiving, and a steady process by nothing.
    #[test]
    fn a_slow_leak_shows_for_ever() {
        let mut baseline = Baseline::new(10 * MIB, 0);
        let mut freeable_kib = 10 * MIB;
        for second in 1..7200 {
            freeable_kib += MIB / 60;
            baseline = baseline.after(freeable_kib, second * SECOND);
        }
        assert!((4 * MIB..6 * MIB).contains(&baseline.growth_kib(freeable_kib)), "{baseline:?}");
    }

    #[test]
    fn growth_outweighs_a_steady_giant() {
        // Four fifths of memory against a tenth, all of it new.
        assert!(weighted_kib(100, 100) > weighted_kib(800, 0));
        assert_eq!(weighted_kib(u64::MAX, u64::MAX), u64::MAX);
    }
}
