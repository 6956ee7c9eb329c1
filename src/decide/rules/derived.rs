//! Figures of a cgroup that are made of others.

use crate::config::rules::model::Millionths;

/// So much of `amount` as `part` is of `whole`, rounded down and as far as numbers go;
/// nothing of nothing.
///
/// Divides bit by bit: the library's division of numbers that are twice as wide is long.
#[inline(never)]
pub fn proportion(amount: u64, part: u64, whole: u64) -> u64 {
    let product = u128::from(amount) * u128::from(part);
    let (mut high, mut low) = ((product >> 64) as u64, product as u64);
    if high >= whole {
        return if whole == 0 { 0 } else { u64::MAX };
    }
    for _ in 0..u64::BITS {
        let is_wider = high >> 63 == 1;
        high = high << 1 | low >> 63;
        low <<= 1;
        if is_wider || high >= whole {
            high = high.wrapping_sub(whole);
            low |= 1;
        }
    }
    low
}

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
    let sum = u128::from(last) * 3 + u128::from(current);
    (sum / 4) as u64
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

    #[test]
    fn a_share_is_that_of_exact_numbers() {
        let numbers =
            [0, 1, 3, 1000, u64::from(u32::MAX), 1 << 32, 1 << 63, u64::MAX / 3, u64::MAX - 1, u64::MAX];
        for (amount, part) in numbers.iter().flat_map(|&amount| numbers.map(|part| (amount, part))) {
            for whole in numbers {
                let exact = (u128::from(amount) * u128::from(part)).checked_div(whole.into()).unwrap_or(0);
                let most = u64::try_from(exact).unwrap_or(u64::MAX);
                assert_eq!(proportion(amount, part, whole), most, "{amount} * {part} / {whole}");
            }
        }
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
