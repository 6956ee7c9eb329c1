//! How much counters grew over a sliding span of time.

/// Samples a [`Window`] keeps: its span is covered in steps of a fifteenth,
/// fine enough for a share in whole per cents.
const SAMPLES: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Sample {
    at_us: u64,
    counters: [u64; 2],
}

/// How much two counters grew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// By how much; a counter that went backwards did not grow.
    pub counters: [u64; 2],
    /// Over how long: the window's span, or longer where samples are sparse.
    pub elapsed_us: u64,
}

/// Two counters of the kernel, sampled whenever the loop wakes.
#[derive(Clone, Debug)]
pub struct Window {
    span_us: u64,
    /// Oldest first.
    samples: [Sample; SAMPLES],
    len: usize,
}

impl Window {
    /// An empty window over `span_us`, which is not zero.
    pub const fn new(span_us: u64) -> Self {
        let none = Sample { at_us: 0, counters: [0; 2] };
        Self { span_us, samples: [none; SAMPLES], len: 0 }
    }

    /// Forgets everything: the next reading starts a new count.
    pub fn restart(&mut self) {
        self.len = 0;
    }

    /// Takes a reading made at `now_us` and returns the growth over the span
    /// that ends there. Before the first reading nothing grew.
    pub fn push(&mut self, now_us: u64, counters: [u64; 2]) -> Growth {
        let age_us = |sample: &Sample| now_us.saturating_sub(sample.at_us);
        // Keep one sample at least a whole span old, drop those before it.
        while self.len > 1 && age_us(&self.samples[1]) >= self.span_us {
            self.drop_oldest();
        }
        let step_us = self.span_us / (SAMPLES as u64 - 1);
        let newest = self.samples[..self.len].last();
        if newest.is_none_or(|newest| age_us(newest) >= step_us) {
            if self.len == SAMPLES {
                self.drop_oldest();
            }
            self.samples[self.len] = Sample { at_us: now_us, counters };
            self.len += 1;
        }
        let first = &self.samples[0];
        Growth {
            counters: [
                counters[0].saturating_sub(first.counters[0]),
                counters[1].saturating_sub(first.counters[1]),
            ],
            elapsed_us: age_us(first).max(self.span_us),
        }
    }

    fn drop_oldest(&mut self) {
        self.samples.copy_within(1..self.len, 0);
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_over_the_span_at_any_cadence() {
        for step_us in [20_000_u64, 100_000, 667_000, 1_000_000, 3_000_000, 10_000_000, 25_000_000] {
            let mut window = Window::new(10_000_000);
            let mut last = Growth { counters: [0; 2], elapsed_us: 0 };
            for n in 0..(60_000_000 / step_us + 2) {
                // Grows by 3 in 10 µs, and by 1 in 10.
                last = window.push(n * step_us, [n * step_us * 3 / 10, n * step_us / 10]);
            }
            let rate = |grown: u64| grown * 100 / last.elapsed_us;
            assert!((28..=30).contains(&rate(last.counters[0])), "{step_us}: {last:?}");
            assert!((9..=10).contains(&rate(last.counters[1])), "{step_us}: {last:?}");
        }
    }

    #[test]
    fn what_is_older_than_the_span_is_forgotten() {
        let mut window = Window::new(10_000_000);
        let mut last = window.push(0, [0, 0]);
        for tenth in 0..400_u64 {
            last = window.push(tenth * 100_000, [tenth.min(50), 0]);
        }
        assert_eq!(last.counters, [0, 0]);
    }

    #[test]
    fn backwards_is_no_growth_and_restart_forgets() {
        let mut window = Window::new(1_000_000);
        let _ = window.push(0, [100, 0]);
        assert_eq!(window.push(900_000, [10, 7]).counters, [0, 7]);
        window.restart();
        assert_eq!(window.push(950_000, [500, 500]).counters, [0, 0]);
        // A clock that steps back does not panic either.
        assert_eq!(window.push(1, [600, 500]).counters, [100, 0]);
    }
}
