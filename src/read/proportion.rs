//! Shares of numbers as wide as they can be. Pure.

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
