//! Detectors: what each remembers from one tick to the next, and when it says continue.
//! Times are those of the monotonic clock.

use crate::config::rules::model::{Amount, Millionths};
use crate::read::proportion::proportion;
use crate::read::psi::PressureLine;

/// What a detector remembers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Past {
    /// Since when its condition holds without interruption.
    since_us: Option<u64>,
    /// A figure of the last tick, once there was one.
    last: Option<u64>,
}

impl Past {
    /// Has a condition held for so many whole seconds? With 0 at once.
    #[inline(never)]
    fn has_held(&mut self, holds: bool, duration_s: i32, now_us: u64) -> bool {
        if !holds {
            self.since_us = None;
            return false;
        }
        let since_us = *self.since_us.get_or_insert(now_us);
        whole_seconds(now_us, since_us) >= i64::from(duration_s)
    }
}

fn whole_seconds(now_us: u64, since_us: u64) -> i64 {
    (now_us.saturating_sub(since_us) / 1_000_000) as i64
}

fn is_above(share_bp: u32, threshold_pct: i32) -> bool {
    i64::from(share_bp) > i64::from(threshold_pct) * 100
}

/// Of the pressures of two cgroups the one that weighs more, where the last ten seconds
/// count three times and the last minute twice; the first of equals.
pub fn worse(first: PressureLine, second: PressureLine) -> PressureLine {
    let weight = |line: &PressureLine| 3 * line.avg10_bp + 2 * line.avg60_bp + line.avg300_bp;
    if weight(&second) > weight(&first) { second } else { first }
}

/// `pressure_above`: avg10 of the worst cgroup above the threshold for so long.
pub fn pressure_above(
    past: &mut Past,
    worst: &PressureLine,
    threshold_pct: i32,
    duration_s: i32,
    now_us: u64,
) -> bool {
    past.has_held(is_above(worst.avg10_bp, threshold_pct), duration_s, now_us)
}

/// `pressure_rising_beyond`: avg60 above the threshold for so long, avg10 above it, and
/// not much lower than at the last tick. At the first tick the last one counts as 100 %.
pub fn pressure_rising_beyond(
    past: &mut Past,
    worst: &PressureLine,
    threshold_pct: i32,
    duration_s: i32,
    fast_fall_ratio: Millionths,
    now_us: u64,
) -> bool {
    let last_bp = past.last.replace(worst.avg10_bp.into()).unwrap_or(10_000);
    let has_held = past.has_held(is_above(worst.avg60_bp, threshold_pct), duration_s, now_us);
    let least = last_bp.saturating_mul(fast_fall_ratio.0);
    has_held && is_above(worst.avg10_bp, threshold_pct) && u64::from(worst.avg10_bp) * 1_000_000 >= least
}

/// `memory_above`: the largest of the cgroups above a threshold for so long. A share is
/// one of `total_bytes`.
pub fn memory_above(
    past: &mut Past,
    largest_bytes: u64,
    threshold: Amount,
    total_bytes: u64,
    duration_s: i32,
    now_us: u64,
) -> bool {
    past.has_held(exceeds(largest_bytes, threshold, total_bytes), duration_s, now_us)
}

/// Is an amount above a threshold? A share is one of `total_bytes`.
pub fn exceeds(bytes: u64, threshold: Amount, total_bytes: u64) -> bool {
    match threshold {
        Amount::Bytes(threshold) => threshold < 0 || bytes > threshold as u64,
        Amount::Percent(pct) => bytes > percent_of(total_bytes, pct.into()),
    }
}

/// So many hundredths, rounded down.
pub fn percent_of(amount: u64, pct: u64) -> u64 {
    proportion(amount, pct, 100)
}

/// `memory_reclaim`: pages were scanned within the last so many seconds. `pgscan` is the
/// sum of all cgroups; one that is less than before is that of fewer cgroups. Before
/// any, booting counts as one.
pub fn memory_reclaim(past: &mut Past, pgscan: u64, duration_s: i32, now_us: u64) -> bool {
    if pgscan > past.last.replace(pgscan).unwrap_or(0) {
        past.since_us = Some(now_us);
    }
    whole_seconds(now_us, past.since_us.unwrap_or(0)) <= i64::from(duration_s)
}

/// `swap_free`: less than a share of all swap is free, and so much is written to it.
/// Without swap nothing is less.
pub fn swap_free(
    total_kib: u64,
    used_kib: u64,
    threshold_pct: i32,
    swapout_bytes_per_s: u64,
    swapout_bps_threshold: i64,
) -> bool {
    let free_kib = total_kib.saturating_sub(used_kib);
    let pct = u64::try_from(threshold_pct).unwrap_or(0);
    let is_fast = swapout_bps_threshold < 0 || swapout_bytes_per_s >= swapout_bps_threshold as u64;
    free_kib < percent_of(total_kib, pct) && is_fast
}

/// `nr_dying_descendants`, of one cgroup.
pub fn has_dying(dying: u64, count: u64, lte: bool) -> bool {
    if lte { dying <= count } else { dying > count }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    fn line(avg10: u32, avg60: u32, avg300: u32) -> PressureLine {
        PressureLine { avg10_bp: avg10 * 100, avg60_bp: avg60 * 100, avg300_bp: avg300 * 100, total_us: 0 }
    }

    #[test]
    fn the_worst_is_told_by_its_weight() {
        let (minute, now) = (line(50, 100, 100), line(90, 0, 0));
        // And so the one with more in the last ten seconds is masked.
        assert_eq!((worse(minute, now), worse(now, minute)), (minute, minute));
        assert_eq!(worse(line(1, 0, 0), line(0, 1, 1)), line(1, 0, 0));
    }

    #[test]
    fn pressure_has_to_be_above_for_so_long() {
        let mut past = Past::default();
        let mut above = |avg10, now_us| pressure_above(&mut past, &line(avg10, 0, 0), 60, 10, now_us);
        assert!(!above(61, 100 * S));
        assert!(!above(61, 110 * S - 1));
        assert!(above(61, 110 * S));
        // Strictly above, and from the start again.
        assert!(!above(60, 111 * S));
        assert!(!above(61, 112 * S));
        assert!(!above(61, 121 * S));
        assert!(above(61, 122 * S));
    }

    #[test]
    fn no_duration_fires_at_once() {
        assert!(pressure_above(&mut Past::default(), &line(61, 0, 0), 60, 0, 9));
        assert!(pressure_above(&mut Past::default(), &line(0, 0, 0), -1, 0, 9));
        assert!(!pressure_above(&mut Past::default(), &line(60, 0, 0), 60, 0, 9));
    }

    const RATIO: Millionths = Millionths(850_000);

    #[test]
    fn rising_counts_the_minute_and_not_a_fast_fall() {
        let mut past = Past::default();
        let mut rising = |avg10, avg60, now| {
            pressure_rising_beyond(&mut past, &line(avg10, avg60, 0), 60, 0, RATIO, now * S)
        };
        // The tick before the first counts as 100.
        assert!(!rising(70, 70, 1));
        assert!(rising(70, 70, 2));
        assert!(!rising(59, 70, 3));
        assert!(rising(61, 70, 4));
        assert!(!rising(80, 60, 5));
        assert!(rising(90, 70, 6));
        assert!(!rising(76, 70, 7));
        assert!(rising(65, 70, 8));
        assert!(pressure_rising_beyond(&mut Past::default(), &line(85, 70, 0), 60, 0, RATIO, 1));
    }

    #[test]
    fn rising_needs_its_time_of_the_minute_only() {
        let mut past = Past::default();
        let mut rising = |avg10, avg60, now| {
            pressure_rising_beyond(&mut past, &line(avg10, avg60, 0), 60, 10, RATIO, now * S)
        };
        assert!(!rising(99, 61, 1));
        assert!(!rising(10, 61, 5));
        assert!(rising(61, 61, 11));
        assert!(!rising(99, 10, 12));
        assert!(!rising(99, 99, 13));
    }

    #[test]
    fn memory_has_to_be_above_for_so_long() {
        let mut past = Past::default();
        let mut above = |bytes, now| memory_above(&mut past, bytes, Amount::Bytes(1000), 0, 2, now * S);
        assert!(!above(1001, 1));
        assert!(above(1001, 3));
        assert!(!above(1000, 4));
    }

    #[test]
    fn shares_are_rounded_down() {
        assert!(exceeds(11, Amount::Percent(10), 109) && !exceeds(11, Amount::Percent(10), 110));
        assert!(!exceeds(100, Amount::Percent(100), 100) && exceeds(1, Amount::Percent(0), 100));
        assert!(exceeds(0, Amount::Bytes(-1), 0) && !exceeds(0, Amount::Bytes(0), 0));
        // More than 32 bits, which oomd gets wrong.
        assert!(!exceeds(3 << 30, Amount::Percent(50), 8 << 30));
        assert!(exceeds((4 << 30) + 1, Amount::Percent(50), 8 << 30));
        assert_eq!(percent_of(u64::MAX, 100), u64::MAX);
    }

    #[test]
    fn reclaim_is_remembered_for_so_long() {
        let mut past = Past::default();
        let mut reclaims = |pgscan, now| memory_reclaim(&mut past, pgscan, 10, now * S);
        // Soon after booting; then not, as nothing was scanned.
        assert!(reclaims(0, 10));
        assert!(!reclaims(0, 11));
        // The first that are seen count.
        assert!(reclaims(5, 100));
        assert!(reclaims(5, 110));
        assert!(!reclaims(5, 111));
        // Fewer are those of fewer cgroups.
        assert!(!reclaims(2, 112));
        assert!(reclaims(3, 113));
    }

    #[test]
    fn free_swap_is_a_share_of_all() {
        assert!(swap_free(100, 91, 10, 0, 0));
        assert!(!swap_free(100, 90, 10, 0, 0));
        assert!(!swap_free(0, 0, 100, 0, 0));
        assert!(!swap_free(100, 0, -5, 0, 0));
        assert!(!swap_free(100, 91, 10, 9, 10) && swap_free(100, 91, 10, 10, 10));
        assert!(swap_free(100, 91, 10, 0, -1));
        assert!(swap_free(8 << 20, (8 << 20) - 1, 10, 0, 0));
    }

    #[test]
    fn dying_are_at_most_or_more() {
        assert!(has_dying(3, 3, true) && !has_dying(4, 3, true));
        assert!(has_dying(4, 3, false) && !has_dying(3, 3, false));
    }
}
