//! Which of several cgroups is killed first.

use super::detector::percent_of;
use crate::config::rules::model::Rank;
use crate::read::proportion::proportion;
use crate::read::psi::PressureLine;
use core::cmp::Ordering;

/// What the owner of a cgroup wants, by an extended attribute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Preference {
    /// After all others.
    Avoid,
    /// Nothing.
    #[default]
    Normal,
    /// Before all others.
    Prefer,
}

/// A cgroup that may be killed, among its siblings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Contender {
    /// What its owner wants.
    pub preference: Preference,
    /// What is compared, largest first. For `memory_size_or_growth` before it is ranked:
    /// `memory.current`, that by its average, and that without what is promised.
    pub key: [u64; 3],
    /// Of those that are alike the one with the least comes first: its number in the file
    /// system, so the one that was made first.
    pub inode: u64,
    /// The caller's number for it.
    pub id: u16,
}

/// All memory and swap of the machine, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine {
    /// `MemTotal`.
    pub memory: u64,
    /// `SwapTotal`.
    pub swap: u64,
}

/// Puts the contender to be killed first in front.
pub fn rank(contenders: &mut [Contender], by: &Rank) {
    if let Rank::MemorySizeOrGrowth { size_threshold_pct, growing_size_percentile, min_growth_ratio } = *by {
        let all = contenders.iter().fold(0, |sum: u64, one| sum.saturating_add(one.key[0]));
        let size_threshold = percent_of(all, size_threshold_pct.into());
        let growth_floor = growth_floor(contenders, growing_size_percentile);
        for contender in &mut *contenders {
            let [current, growth, effective] = contender.key;
            let is_large = current >= size_threshold;
            let grows = growth >= min_growth_ratio.0 && effective >= growth_floor;
            contender.key = [if is_large { effective } else { 0 }, if grows { growth } else { 0 }, effective];
        }
    }
    sort(contenders);
}

/// Those that are preferred first, then those with the largest key.
// Out of line: levels of a pattern are put in order by it too.
#[inline(never)]
pub fn sort(contenders: &mut [Contender]) {
    contenders.sort_unstable_by(compare);
}

fn compare(a: &Contender, b: &Contender) -> Ordering {
    (b.preference, b.key, a.inode).cmp(&(a.preference, a.key, b.inode))
}

/// How much has to be used, without what is promised, to be killed for growth: what the
/// last of those does that are among the largest by this percentile.
fn growth_floor(contenders: &[Contender], percentile: u8) -> u64 {
    if percentile == 0 {
        return 0;
    }
    let share = 100 - usize::from(percentile.min(99));
    let wanted = (contenders.len() * share).div_ceil(100);
    // The largest number that so many reach, from its highest bit on.
    let mut floor = 0;
    for bit in (0..u64::BITS).rev() {
        let higher = floor | 1 << bit;
        let reach_it = contenders.iter().filter(|one| one.key[2] >= higher).count();
        if wanted > 0 && reach_it >= wanted {
            floor = higher;
        }
    }
    floor
}

/// What is used of swap beyond what is promised in memory, taken in the proportion of swap
/// to memory.
pub fn swap_beyond(swap: u64, protection: u64, machine: &Machine) -> u64 {
    swap.saturating_sub(proportion(protection, machine.swap, machine.memory))
}

/// The pressure of a cgroup as a whole number of per cent.
pub fn whole_pressure(line: &PressureLine) -> u64 {
    u64::from(line.avg10_bp + line.avg60_bp) / 200
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::rules::model::{Millionths, Resource};
    use std::vec::Vec;

    fn ranked(mut contenders: Vec<Contender>, by: Rank) -> Vec<u16> {
        rank(&mut contenders, &by);
        contenders.iter().map(|contender| contender.id).collect()
    }

    fn sized(id: u16, current: u64, protection: u64, growth: u64) -> Contender {
        Contender {
            id,
            key: [current, growth, current - protection],
            inode: id.into(),
            ..Contender::default()
        }
    }

    fn by_size(size_threshold_pct: u32, growing_size_percentile: u8) -> Rank {
        let min_growth_ratio = Millionths(1_250_000);
        Rank::MemorySizeOrGrowth { size_threshold_pct, growing_size_percentile, min_growth_ratio }
    }

    #[test]
    fn the_large_come_before_the_growing_and_these_before_the_rest() {
        let all = std::vec![
            sized(1, 100, 0, 1_000_000),
            sized(2, 600, 0, 1_000_000),
            sized(3, 140, 0, 3_000_000),
            sized(4, 160, 0, 1_000_000),
        ];
        assert_eq!(ranked(all.clone(), by_size(50, 20)), [2, 3, 4, 1]);
        // With a high percentile only the largest may grow.
        assert_eq!(ranked(all, by_size(50, 80)), [2, 4, 3, 1]);
    }

    /// The present usage is what is compared with the threshold, the effective one what
    /// is compared with each other.
    #[test]
    fn a_protected_large_one_comes_first_all_the_same() {
        let all = std::vec![sized(1, 50, 45, 0), sized(2, 40, 0, 0), sized(3, 10, 0, 0)];
        assert_eq!(ranked(all, by_size(50, 0)), [1, 2, 3]);
    }

    #[test]
    fn the_percentile_is_one_of_the_effective_usage() {
        let floor = |percentile: u8, count: u64| {
            let all: Vec<_> = (1..=count).map(|at| sized(at as u16, at, 0, 0)).collect();
            count - growth_floor(&all, percentile)
        };
        assert_eq!([80, 67, 50, 20].map(|percentile| floor(percentile, 3)), [0, 0, 1, 2]);
        assert_eq!([80, 99, 1].map(|percentile| floor(percentile, 10)), [1, 0, 9]);
        assert_eq!((growth_floor(&[], 80), growth_floor(&[sized(1, 7, 0, 0)], 0)), (0, 0));
        let alike = [sized(1, u64::MAX, 0, 0), sized(2, u64::MAX, 0, 0), sized(3, 5, 0, 0)];
        assert_eq!([80, 50, 20].map(|percentile| growth_floor(&alike, percentile)), [u64::MAX, u64::MAX, 5]);
    }

    #[test]
    fn a_preference_comes_before_every_figure() {
        let with = |preference, contender| Contender { preference, ..contender };
        let all = std::vec![
            with(Preference::Avoid, sized(1, 900, 0, 0)),
            sized(2, 50, 0, 0),
            with(Preference::Prefer, sized(3, 1, 0, 0)),
        ];
        assert_eq!(ranked(all, by_size(50, 80)), [3, 2, 1]);
    }

    #[test]
    fn those_that_are_alike_come_in_their_order() {
        let alike = || (1..=5).rev().map(|id| sized(id, 7, 0, 0)).collect();
        assert_eq!(ranked(alike(), by_size(50, 80)), [1, 2, 3, 4, 5]);
        assert_eq!(ranked(alike(), Rank::Pressure { resource: Resource::Memory }), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn half_of_what_is_promised_in_memory_counts_as_promised_in_swap() {
        let machine = Machine { memory: 1000, swap: 500 };
        let beyond = |swap, protection| swap_beyond(swap, protection, &machine);
        assert_eq!([beyond(30, 30), beyond(20, 0), beyond(20, 500)], [15, 20, 0]);
        assert_eq!(swap_beyond(7, 7, &Machine::default()), 7);
    }

    #[test]
    fn pressure_is_a_whole_number() {
        let line = |avg10_bp, avg60_bp| PressureLine { avg10_bp, avg60_bp, ..PressureLine::default() };
        let all = [line(1090, 990), line(1000, 1080), line(2000, 2000)];
        assert_eq!(all.map(|line| whole_pressure(&line)), [10, 10, 20]);
    }
}
