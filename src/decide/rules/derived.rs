//! Figures of a cgroup that are made of others.

use crate::config::rules::model::Millionths;
use crate::read::proportion::proportion;

/// What a cgroup is promised, without regard to those above: the larger of `memory.min`
/// and `memory.low`, but no more than it has.
pub fn raw_protection(current: u64, min: u64, low: u64) -> u64 {
    current.min(min.max(low))
}

/// What it is promised in truth: those below one cgroup share what that is promised, in
/// the proportion of `raw`, if it is not enough for all of them.
pub fn protection(raw: u64, of_parent: u64, raw_of_all: u64) -> u64 {
    if raw_of_all <= of_parent {
        return if raw_of_all == 0 { 0 } else { raw };
    }
    proportion(raw, of_parent, raw_of_all)
}

/// A moving average, where what was not seen at the last tick was 0.
pub fn average(last: u64, current: u64) -> u64 {
    last.saturating_mul(3).saturating_add(current) / 4
}

/// Usage by its average; 0 where that is 0.
pub fn growth_ratio(current: u64, average: u64) -> Millionths {
    Millionths(proportion(current, 1_000_000, average))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn siblings_share_what_is_promised_above_them() {
        let of_a = raw_protection(4 * GIB, 0, 2 * GIB);
        let (a1, a2) = (raw_protection(2 * GIB, 0, GIB), raw_protection(2 * GIB, 0, 4 * GIB));
        assert_eq!((of_a, a1, a2), (2 * GIB, GIB, 2 * GIB));
        assert_eq!(protection(a1, of_a, a1 + a2) >> 20, 682);
        assert_eq!(protection(a2, of_a, a1 + a2) >> 20, 1365);
        // Enough for all; and nothing for anybody.
        assert_eq!(protection(a1, 4 * GIB, a1 + a2), a1);
        assert_eq!((protection(0, GIB, 0), protection(a1, 0, a1)), (0, 0));
        assert_eq!(raw_protection(10, 7, 3), 7);
    }

    /// Whatever is new looks as if it were growing.
    #[test]
    fn what_is_new_grows_for_five_ticks() {
        let mut last = 0;
        let ratios: std::vec::Vec<u64> = (0..6)
            .map(|_| {
                last = average(last, 1_000_000);
                growth_ratio(1_000_000, last).0 / 10_000
            })
            .collect();
        assert_eq!(ratios, [400, 228, 172, 146, 131, 121]);
        assert_eq!(growth_ratio(5, 0), Millionths(0));
        assert_eq!(growth_ratio(u64::MAX, 1), Millionths(u64::MAX));
    }
}
