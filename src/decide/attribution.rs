//! Who makes it worse. Growth is what a reading is above its usual level;
//! whoever grew took what is missing, and counts for more than who is big. Pure.

use crate::decide::victim::Candidate;

/// What is usual follows what is: a process that grew is forgiven two thirds of
/// it after this long. Long enough that a leak of a megabyte a minute shows,
/// short enough that a service restarted an hour ago is as good as any.
pub const BASELINE_TIME_CONSTANT_US: u64 = 300_000_000;

/// In steps no smaller, so that what is rounded off does not add up.
const LEAST_STEP_KIB: u64 = 16;

/// A usual level, as of some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    /// The level.
    pub kib: u64,
    at_us: u64,
}

impl Baseline {
    /// `kib` is usual from `now_us` on.
    pub const fn new(kib: u64, now_us: u64) -> Self {
        Self { kib, at_us: now_us }
    }

    /// The level after a reading of `kib`: up slowly, down at once.
    #[must_use]
    pub fn after(self, kib: u64, now_us: u64) -> Self {
        let above_kib = kib.saturating_sub(self.kib);
        let passed_us = now_us.saturating_sub(self.at_us).min(BASELINE_TIME_CONSTANT_US);
        let step_kib = above_kib.saturating_mul(passed_us) / BASELINE_TIME_CONSTANT_US;
        if above_kib > 0 && step_kib < LEAST_STEP_KIB {
            // Too little to be told from nothing: the time counts with the next
            // reading's.
            return self;
        }
        Self::new(self.kib.min(kib) + step_kib, now_us)
    }

    /// How much a reading of `kib` is above the level.
    pub fn growth_kib(self, kib: u64) -> u64 {
        kib.saturating_sub(self.kib)
    }
}

/// A KiB of growth counts as so many more of stake: a leak is found beside a
/// steady process of up to four fifths of memory, for it has grown by the rest
/// up to the limit, a tenth: 0.1 + 8 x 0.1 > 0.8.
pub const GROWTH_WEIGHT: u64 = 8;

/// Stake and growth in one figure, before patterns and `oom_score_adj`.
pub fn weighted_kib(freeable_kib: u64, growth_kib: u64) -> u64 {
    freeable_kib.saturating_add(growth_kib.saturating_mul(GROWTH_WEIGHT))
}

/// Fewer than this are judged one by one: a job of four compilers is not a swarm.
pub const GROWING_GROUP_MIN: u32 = 5;

/// Who is to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Culprit {
    /// The process, or the first of many that die together. Stake, growth and
    /// score are those of all.
    pub victim: Candidate,
    /// How many that is.
    pub members: u32,
    /// Of a crowd every process of its kind dies, the old ones too.
    pub is_spawn_burst: bool,
    /// What it has just written to tmpfs.
    pub written_kib: u64,
}

impl Culprit {
    /// One process.
    pub fn one(victim: Candidate) -> Self {
        Self { victim, members: 1, is_spawn_burst: false, written_kib: 0 }
    }
}

/// How much more is gone than usual, and where it can be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Of memory and swap together.
    pub total_kib: u64,
    /// The part that is in tmpfs and shared memory.
    pub shmem_kib: u64,
}

/// Who is to blame.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribution {
    /// One process, or many of a kind that grew together.
    Known(Culprit),
    /// Whoever writes to tmpfs.
    Writer,
    /// Processes too small for the ranking, if there are enough of them, for so
    /// many KiB.
    SpawnBurst(u64),
    /// Nobody that can be killed.
    Nobody,
}

/// The swarm that grew most, if there is one.
#[inline(never)]
pub fn select_growing_group(ranked: &[Candidate]) -> Option<Culprit> {
    let mut most = GrowingGroup::default();
    let mut first_of_most = None;
    for first in ranked {
        let growing_group = GrowingGroup::around(first, ranked);
        // Of equal ones the first: they are the same swarm.
        let is_more = first_of_most.is_none() || growing_group.growth_kib > most.growth_kib;
        if growing_group.members >= GROWING_GROUP_MIN && is_more {
            most = growing_group;
            first_of_most = Some(first);
        }
    }
    let GrowingGroup { members, freeable_kib, growth_kib, score_kib } = most;
    let victim = Candidate { freeable_kib, growth_kib, score_kib, ..*first_of_most? };
    Some(Culprit { members, ..Culprit::one(victim) })
}

/// What many of a kind have together.
#[derive(Clone, Copy, Default)]
struct GrowingGroup {
    members: u32,
    freeable_kib: u64,
    growth_kib: u64,
    score_kib: i64,
}

impl GrowingGroup {
    /// Those of the kind of `first` that grew.
    fn around(first: &Candidate, ranked: &[Candidate]) -> Self {
        let mut growing_group = Self::default();
        for held in ranked {
            if held.growth_kib > 0 && held.job.same_job(&first.job) {
                growing_group.members += 1;
                growing_group.freeable_kib = growing_group.freeable_kib.saturating_add(held.freeable_kib);
                growing_group.growth_kib = growing_group.growth_kib.saturating_add(held.growth_kib);
                growing_group.score_kib = growing_group.score_kib.saturating_add(held.score_kib);
            }
        }
        growing_group
    }
}

/// Who took most of what is missing? Where nothing is, or nobody can be seen to
/// have taken it, the ranking decides. `least_kib` is not worth looking into.
#[inline(never)]
pub fn attribute(ranked: &[Candidate], loss: &Loss, least_kib: u64) -> Attribution {
    let growing_group = select_growing_group(ranked);
    let mut known_kib =
        growing_group.map_or(least_kib, |growing_group| growing_group.victim.growth_kib.max(least_kib));
    let mut explained_kib = loss.shmem_kib;
    for held in ranked {
        known_kib = known_kib.max(held.growth_kib);
        explained_kib = explained_kib.saturating_add(held.growth_kib);
    }
    // A process that fills a segment of its own has grown by nearly as much.
    if loss.shmem_kib / 2 > known_kib {
        return Attribution::Writer;
    }
    let unexplained_kib = loss.total_kib.saturating_sub(explained_kib);
    if unexplained_kib > known_kib {
        return Attribution::SpawnBurst(unexplained_kib);
    }
    match (growing_group, ranked.first()) {
        (_, None) => Attribution::Nobody,
        (Some(growing_group), Some(first)) if growing_group.victim.score_kib > first.score_kib => {
            Attribution::Known(growing_group)
        }
        (_, Some(first)) => Attribution::Known(Culprit::one(*first)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::victim::{Preference, VACANT, score_kib};
    use crate::read::process::{Comm, Identity, JobKey, Pid};
    use std::vec::Vec;

    const SECOND: u64 = 1_000_000;
    const MIB: u64 = 1024;
    const LEAST_KIB: u64 = 1337;
    const NO_LOSS: Loss = Loss { total_kib: 0, shmem_kib: 0 };

    #[test]
    fn usual_follows_slowly_upwards_and_at_once_downwards() {
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

    /// What a survey would have made of one process.
    fn process(pid: i32, pgrp: i32, name: &str, stake_mib: u64, growth_mib: u64) -> Candidate {
        let (freeable_kib, growth_kib) = (stake_mib * MIB, growth_mib * MIB);
        Candidate {
            id: Identity { pid: Pid::from_raw(pid).unwrap(), starttime: 100 },
            job: JobKey { comm: Comm::new(name.as_bytes()), ppid: 1, pgrp },
            freeable_kib,
            growth_kib,
            score_kib: score_kib(weighted_kib(freeable_kib, growth_kib), 0, Preference::Ordinary, 267 * MIB),
            ..VACANT
        }
    }

    fn ranked(mut table: Vec<Candidate>) -> Vec<Candidate> {
        table.sort_by_key(|held| core::cmp::Reverse(held.score_kib));
        table
    }

    fn known(accused: Attribution) -> (i32, u32) {
        match accused {
            Attribution::Known(culprit) => (culprit.victim.id.pid.as_raw_pid(), culprit.members),
            other => panic!("{other:?}"),
        }
    }

    /// Recorded in the lab, scene giant: the protected one is not in the table.
    #[test]
    fn a_leak_smaller_than_the_database_is_found() {
        let table = ranked(std::vec![
            process(98, 98, "database", 52, 0),
            process(99, 99, "canary", 8, 0),
            process(110, 110, "leak", 30, 28),
        ]);
        let loss = Loss { total_kib: 31 * MIB, shmem_kib: 0 };
        assert_eq!(known(attribute(&table, &loss, LEAST_KIB)), (110, 1));
        // Without a history there is only size.
        let table = ranked(
            table
                .iter()
                .map(|held| process(held.id.pid.as_raw_pid(), 9, "x", held.freeable_kib / MIB, 0))
                .collect(),
        );
        assert_eq!(known(attribute(&table, &NO_LOSS, LEAST_KIB)), (98, 1));
    }

    /// Recorded in the lab, scene leakers.
    #[test]
    fn thirty_small_leaks_are_one_culprit() {
        let mut table: Vec<_> = (109..139).map(|pid| process(pid, 108, "leak", 5, 3)).collect();
        table.push(process(98, 98, "database", 52, 0));
        table.push(process(99, 99, "canary", 8, 0));
        let loss = Loss { total_kib: 110 * MIB, shmem_kib: 0 };
        let Attribution::Known(growing_group) = attribute(&ranked(table), &loss, LEAST_KIB) else { panic!() };
        assert_eq!(
            (growing_group.members, growing_group.victim.freeable_kib, growing_group.victim.growth_kib),
            (30, 150 * MIB, 90 * MIB)
        );
        assert!(!growing_group.is_spawn_burst);
    }

    #[test]
    fn a_swarm_is_of_a_kind_and_grew() {
        // Four of a kind are judged one by one.
        let four: Vec<_> = (10..14).map(|pid| process(pid, 9, "cc1", 20, 10)).collect();
        assert_eq!(select_growing_group(&four), None);
        // So are many that did not grow, ...
        let steady: Vec<_> = (10..30).map(|pid| process(pid, 9, "postgres", 20, 0)).collect();
        assert_eq!(select_growing_group(&steady), None);
        // ... many of one group with names of their own, ...
        let desktop: Vec<_> =
            (10..30).map(|pid| process(pid, 9, &std::format!("app{pid}"), 20, 10)).collect();
        assert_eq!(select_growing_group(&desktop), None);
        // ... and what init, or who is outside of the namespace, has started.
        for pgrp in [0, 1] {
            let daemons: Vec<_> = (10..30).map(|pid| process(pid, pgrp, "sh", 20, 10)).collect();
            assert_eq!(select_growing_group(&daemons), None);
        }
        // Children of one parent in groups of their own are a swarm.
        let jobs: Vec<_> = (10..15)
            .map(|pid| {
                let job = process(pid, pid, "job", 20, 10);
                Candidate { job: JobKey { ppid: 7, ..job.job }, ..job }
            })
            .collect();
        assert_eq!(select_growing_group(&jobs).map(|growing_group| growing_group.members), Some(5));
    }

    #[test]
    fn one_that_grew_more_than_a_swarm_is_the_culprit() {
        let mut table: Vec<_> = (10..16).map(|pid| process(pid, 9, "worker", 4, 2)).collect();
        table.push(process(50, 50, "leak", 90, 80));
        let loss = Loss { total_kib: 92 * MIB, shmem_kib: 0 };
        assert_eq!(known(attribute(&ranked(table), &loss, LEAST_KIB)), (50, 1));
    }

    /// Recorded in the lab, scenes tmpfs and fork-storm.
    #[test]
    fn what_no_process_took_is_looked_for_elsewhere() {
        let table = ranked(std::vec![process(98, 98, "database", 52, 0), process(99, 99, "canary", 8, 0)]);
        let filled = Loss { total_kib: 171 * MIB, shmem_kib: 168 * MIB };
        assert_eq!(attribute(&table, &filled, LEAST_KIB), Attribution::Writer);
        let unexplained = Loss { total_kib: 160 * MIB, shmem_kib: 0 };
        assert_eq!(attribute(&table, &unexplained, LEAST_KIB), Attribution::SpawnBurst(160 * MIB));
        // One that fills a segment of its own was read a moment before Shmem.
        let segment =
            ranked(std::vec![process(98, 98, "database", 52, 0), process(110, 110, "segment", 160, 155)]);
        assert_eq!(known(attribute(&segment, &filled, LEAST_KIB)), (110, 1));
        // What is too little to be worth a kill is not looked into.
        let little = Loss { total_kib: LEAST_KIB, shmem_kib: LEAST_KIB };
        assert_eq!(known(attribute(&table, &little, LEAST_KIB)), (98, 1));
        // A leak beside a tmpfs that took less is the leak's.
        let table = ranked(std::vec![process(98, 98, "database", 52, 0), process(110, 110, "leak", 90, 85)]);
        let both = Loss { total_kib: 130 * MIB, shmem_kib: 40 * MIB };
        assert_eq!(known(attribute(&table, &both, LEAST_KIB)), (110, 1));
    }

    #[test]
    fn nobody_is_nobody() {
        assert_eq!(attribute(&[], &NO_LOSS, LEAST_KIB), Attribution::Nobody);
    }

    #[test]
    fn blame_outweighs_a_steady_giant() {
        // Four fifths of memory against a tenth, all of it new.
        assert!(weighted_kib(100, 100) > weighted_kib(800, 0));
        assert_eq!(weighted_kib(u64::MAX, u64::MAX), u64::MAX);
    }
}
