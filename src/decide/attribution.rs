//! Who took what is missing. Pure.

use crate::decide::growth::{Growth, OLD_DEN, STOPPED_DEN};
use crate::decide::many::Many;
use crate::decide::snapshot::Loss;
use crate::decide::victim::{Candidate, TABLE, pace_of_all};
use crate::read::holdings::Holdings;
use crate::read::process::{Identity, JobKey};

/// Fewer of one job than this are judged one by one: four compilers at once are
/// an ordinary build.
pub const GROWING_GROUP_MIN: u32 = 5;

/// Who is to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Culprit {
    /// The process, or the first of many that die together. Freeable memory,
    /// growth and score are those of all.
    pub victim: Candidate,
    /// How many that is.
    pub members: u32,
    /// Of a spawn burst every young process of the job dies.
    pub is_spawn_burst: bool,
    /// Those that die with it grow as it does and have nothing else in common.
    pub is_of_many: bool,
    /// It has just taken the place of one that had gone, and will be gone too.
    pub is_fleeing: bool,
    /// What it has just written to tmpfs.
    pub written_kib: u64,
    /// What its open files hold, where it is chosen for that.
    pub held: Holdings,
    /// Who shares its memory and dies with it.
    pub sharers: Sharers,
}

/// Processes that share the memory of another.
pub type Sharers = [Option<Identity>; MAX_SHARERS];

/// As many of those that share one memory are killed at a time.
pub const MAX_SHARERS: usize = 8;

/// A memory that several processes share, and that is counted once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// Who stands for all in the ranking.
    pub first: Identity,
    /// The others.
    pub others: Sharers,
    /// Who is to die alone, before all do: where it is a client whose server has mapped
    /// what it made, the server lets go of that.
    pub guest: Option<(Identity, JobKey)>,
}

impl Culprit {
    /// One process.
    pub fn one(victim: Candidate) -> Self {
        Self {
            victim,
            members: 1,
            is_spawn_burst: false,
            is_of_many: false,
            is_fleeing: false,
            written_kib: 0,
            held: Holdings::default(),
            sharers: [None; MAX_SHARERS],
        }
    }

    /// Becomes this process. It stays where it is, for each copy of it is code.
    // Out of line: inlined it is larger.
    #[inline(never)]
    pub fn become_one(&mut self, victim: &Candidate) {
        *self = Self::one(*victim);
    }

    /// Takes another along.
    pub fn add(&mut self, other: &Candidate) {
        if let Some(place) = self.sharers.iter_mut().find(|place| place.is_none()) {
            *place = Some(other.id);
            self.members += 1;
        }
    }

    /// Becomes these.
    pub fn become_all_of(&mut self, takers: &Takers<'_>) {
        self.become_one(takers.first);
        self.members = takers.members;
        self.victim.freeable_kib = takers.freeable_kib;
        self.victim.growth.kib = takers.growth_kib;
        self.victim.score_kib = takers.score_kib;
    }
}

/// Who took what is missing.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribution<'r> {
    /// One process, or a growing group.
    Known(Takers<'r>),
    /// One of many that grow and have nothing else in common.
    OneOf(Many<'r>),
    /// Whoever writes to tmpfs.
    Writer,
    /// Processes too small for the ranking, if there are enough of them to
    /// explain `unexplained_kib`.
    SpawnBurst {
        /// What no process that is ranked and no tmpfs has taken.
        unexplained_kib: u64,
    },
    /// Nobody that can be killed.
    Nobody,
}

/// Fewer that process 1 has started are judged one by one: what a machine has of
/// shells and daemons is started by it too.
pub const INITS_GROUP_MIN: u32 = 8;

/// Those that process 1 started further apart than this, in clock ticks, were not
/// started as one: 2 s.
const TOGETHER_TICKS: u64 = 2 * 100;

/// Do these grow as one? Those of one job do. What process 1 has started may have
/// nothing to do with each other; what was started together, of one program, and
/// grows together is a server's workers all the same.
fn is_one_group(first: &Candidate, other: &Candidate) -> bool {
    let (mine, theirs) = (&first.job, &other.job);
    mine.same_job(theirs)
        || mine.is_of_init()
            && theirs.is_of_init()
            && mine.same_program(theirs)
            && first.id.starttime.abs_diff(other.id.starttime) <= TOGETHER_TICKS
}

/// The candidates that grow as one with `first`.
struct Members<'r> {
    first: &'r Candidate,
    /// Whether one of them grows faster than all others together: it leaks, and they
    /// have merely grown.
    is_led: bool,
    /// How much the fastest grew over the longer of the short horizons.
    fastest_kib: u64,
}

impl<'r> Members<'r> {
    fn of(first: &'r Candidate, ranked: &[Candidate]) -> Self {
        let (mut all_kib, mut most_kib, mut fastest_kib) = (0_u64, 0, 0);
        for held in ranked.iter().filter(|held| is_one_group(first, held)) {
            let [now_kib, lately_kib] = held.growth.recent_kib;
            all_kib = all_kib.saturating_add(now_kib);
            most_kib = now_kib.max(most_kib);
            fastest_kib = lately_kib.max(fastest_kib);
        }
        Self { first, is_led: most_kib > all_kib / 2, fastest_kib }
    }

    /// Is it one of them? Many that take turns in growing are all at it.
    fn has(&self, held: &Candidate) -> bool {
        let has_stopped = match self.is_led {
            true => held.has_stopped,
            false => held.growth.recent_kib[1] < self.fastest_kib / STOPPED_DEN,
        };
        held.growth.kib > 0 && !has_stopped && is_one_group(self.first, held)
    }
}

/// Those of `ranked` that die with the culprit, if it is a growing group.
// Out of line, so that no kill runs below its table.
#[inline(never)]
pub fn members_of(culprit: &Culprit, ranked: &[Candidate]) -> [Option<Identity>; TABLE] {
    let group = Members::of(&culprit.victim, ranked);
    let mut members = [None; TABLE];
    for (place, held) in members.iter_mut().zip(ranked) {
        *place = Some(held.id).filter(|_| group.has(held));
    }
    members
}

/// Does `held` die with the culprit?
pub fn dies_with(culprit: &Culprit, held: &Candidate) -> bool {
    held.id == culprit.victim.id
        || culprit.sharers.contains(&Some(held.id))
        || culprit.members > 1 && is_one_group(&culprit.victim, held)
}

/// The growing group that grew most, if there is one. `loss_kib` is what is missing
/// of memory.
// Out of line: inlined it is larger.
#[inline(never)]
pub fn select_growing_group(ranked: &[Candidate], loss_kib: u64) -> Option<Takers<'_>> {
    let mut most: Option<Takers<'_>> = None;
    for first in ranked {
        let group = Takers::around(first, ranked);
        let is_group = match first.job.is_of_init() {
            true => group.members >= INITS_GROUP_MIN && group.growth_kib >= loss_kib / 2,
            false => group.members >= GROWING_GROUP_MIN,
        };
        // Of equal ones the first: they are the same group.
        let is_more = most.as_ref().is_none_or(|most| group.growth_kib > most.growth_kib);
        if is_group && is_more {
            most = Some(group);
        }
    }
    // One that has taken more than all others of them is to blame by itself.
    most.filter(|group| group.first.growth.kib <= group.growth_kib / 2)
}

/// One process, or many that grow as one, and what they have together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Takers<'r> {
    /// The first of them.
    pub first: &'r Candidate,
    /// How many they are.
    pub members: u32,
    /// What their death gives back.
    pub freeable_kib: u64,
    /// By how much they grew.
    pub growth_kib: u64,
    /// What they are ranked by.
    pub score_kib: i64,
}

impl<'r> Takers<'r> {
    fn one(first: &'r Candidate) -> Self {
        let Candidate { freeable_kib, growth, score_kib, .. } = *first;
        Self { first, members: 1, freeable_kib, growth_kib: growth.kib, score_kib }
    }

    /// Those that grow with `first`.
    fn around(first: &'r Candidate, ranked: &[Candidate]) -> Self {
        let mut group = Self { first, members: 0, freeable_kib: 0, growth_kib: 0, score_kib: 0 };
        let members = Members::of(first, ranked);
        for held in ranked {
            if members.has(held) {
                group.members += 1;
                group.freeable_kib = group.freeable_kib.saturating_add(held.freeable_kib);
                group.growth_kib = group.growth_kib.saturating_add(held.growth.kib);
                group.score_kib = group.score_kib.saturating_add(held.score_kib);
            }
        }
        group
    }
}

/// Who took most of what is missing? Where nothing is missing, or nobody can be
/// seen to have taken it, the ranking decides. Less than `least_kib` is not
/// worth looking into.
// Out of line: inlined it is larger.
#[inline(never)]
pub fn attribute<'r>(ranked: &'r [Candidate], loss: &Loss, lost: &Growth, least_kib: u64) -> Attribution<'r> {
    let group = select_growing_group(ranked, loss.total_kib);
    let largest_growth_kib = ranked.iter().map(|held| held.growth.kib).max().unwrap_or(0);
    let group_growth_kib = group.map_or(0, |group| group.growth_kib);
    let many = Many::of(ranked);
    let known_kib = least_kib.max(largest_growth_kib).max(group_growth_kib).max(many.new_kib);
    let growths = ranked.iter().map(|held| held.growth);
    // Where those that grow now take what is being lost, who took the rest has stopped.
    let is_old = pace_of_all(ranked, least_kib).explains(growths.clone(), &lost.recent_kib);
    let known_kib = known_kib.saturating_mul(if is_old { OLD_DEN } else { 1 });
    // A process that fills a segment of its own has grown by nearly as much.
    if loss.shmem_kib / 2 > known_kib {
        return Attribution::Writer;
    }
    let explained_kib = growths.fold(loss.shmem_kib, |all_kib, growth| all_kib.saturating_add(growth.kib));
    let unexplained_kib = loss.total_kib.saturating_sub(explained_kib);
    if unexplained_kib > known_kib {
        return Attribution::SpawnBurst { unexplained_kib };
    }
    let Some(first) = ranked.first() else { return Attribution::Nobody };
    match group {
        Some(group) if group.score_kib > first.score_kib => Attribution::Known(group),
        _ if many.outweighs(first, loss.total_kib) => Attribution::OneOf(many),
        _ => Attribution::Known(Takers::one(first)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::policy::Preference;
    use crate::decide::baseline::weighted_kib;
    use crate::decide::victim::{VACANT, score_kib};
    use crate::read::process::{Comm, Pid};
    use std::vec::Vec;

    const MIB: u64 = 1024;
    const LEAST_KIB: u64 = 1337;
    const NO_LOSS: Loss = Loss { total_kib: 0, shmem_kib: 0, pinned_kib: 0 };

    /// What a survey would have made of one process.
    fn process(pid: i32, pgrp: i32, name: &str, freeable_mib: u64, growth_mib: u64) -> Candidate {
        let (freeable_kib, growth_kib) = (freeable_mib * MIB, growth_mib * MIB);
        Candidate {
            id: Identity { pid: Pid::from_raw(pid).unwrap(), starttime: 100 },
            job: JobKey { uid: 0, comm: Comm::new(name.as_bytes()), ppid: 1, pgrp },
            freeable_kib,
            growth: Growth { kib: growth_kib, ..Growth::NONE },
            score_kib: score_kib(weighted_kib(freeable_kib, growth_kib), 0, Preference::Ordinary, 267 * MIB),
            ..VACANT
        }
    }

    fn ranked(mut table: Vec<Candidate>) -> Vec<Candidate> {
        table.sort_by_key(|held| core::cmp::Reverse(held.score_kib));
        table
    }

    fn known(attribution: Attribution<'_>) -> (i32, u32) {
        match attribution {
            Attribution::Known(takers) => (takers.first.id.pid.as_raw_pid(), takers.members),
            Attribution::OneOf(many) => (many.first.unwrap().id.pid.as_raw_pid(), 1),
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
        let loss = Loss { total_kib: 31 * MIB, ..NO_LOSS };
        assert_eq!(known(attribute(&table, &loss, &Growth::NONE, LEAST_KIB)), (110, 1));
        // Without a history there is only size.
        let table = ranked(
            table
                .iter()
                .map(|held| process(held.id.pid.as_raw_pid(), 9, "x", held.freeable_kib / MIB, 0))
                .collect(),
        );
        assert_eq!(known(attribute(&table, &NO_LOSS, &Growth::NONE, LEAST_KIB)), (98, 1));
    }

    /// Recorded in the lab, scene leakers.
    #[test]
    fn thirty_small_leaks_are_one_culprit() {
        let mut table: Vec<_> = (109..139).map(|pid| process(pid, 108, "leak", 5, 3)).collect();
        table.push(process(98, 98, "database", 52, 0));
        table.push(process(99, 99, "canary", 8, 0));
        let loss = Loss { total_kib: 110 * MIB, ..NO_LOSS };
        let table = ranked(table);
        let Attribution::Known(takers) = attribute(&table, &loss, &Growth::NONE, LEAST_KIB) else { panic!() };
        let mut growing_group = Culprit::one(table[0]);
        growing_group.become_all_of(&takers);
        assert_eq!(
            (growing_group.members, growing_group.victim.freeable_kib, growing_group.victim.growth.kib),
            (30, 150 * MIB, 90 * MIB)
        );
        assert!(!growing_group.is_spawn_burst);
    }

    /// Recorded in the lab, scene strangers.
    #[test]
    fn thirty_leaks_that_nothing_connects_are_to_blame_together() {
        let leak = |pid, grown_mib| process(pid, pid, &std::format!("leak{pid}"), 5, grown_mib);
        let mut table: Vec<_> = (109..139).map(|pid| leak(pid, 3)).collect();
        table.push(process(98, 98, "database", 52, 0));
        let first = |table: &[Candidate], loss_mib: u64| {
            let table = ranked(table.to_vec());
            let loss = Loss { total_kib: loss_mib * MIB, ..NO_LOSS };
            let pid = known(attribute(&table, &loss, &Growth::NONE, LEAST_KIB)).0;
            if pid == 98 { "database" } else { "leak" }
        };
        assert_eq!(first(&table, 110), "leak");
        // Two that grow together as much as one would have to.
        assert_eq!(first(&[process(98, 98, "database", 60, 0), leak(1, 4), leak(2, 4)], 8), "leak");
        assert_eq!(first(&[process(98, 98, "database", 60, 0), leak(1, 2), leak(2, 2)], 4), "database");
        // What they grew by is not what is missing, or they have stopped.
        assert_eq!(first(&table, 180), "leak");
        table[..29].iter_mut().for_each(|held| held.has_stopped = true);
        assert_eq!(first(&table, 6), "database");
        // Unless they take turns.
        table[..30].iter_mut().for_each(|held| held.growth.recent_kib[1] = 3 * MIB);
        assert_eq!(first(&table, 110), "leak");
        // What has been started meanwhile, and has stopped, is not one of them.
        table.push(process(97, 97, "fresh", 60, 60));
        table[31].has_stopped = true;
        table[31].growth.recent_kib[1] = 60 * MIB;
        assert_eq!(first(&table, 170), "leak");
    }

    #[test]
    fn a_growing_group_is_of_one_job_and_grew() {
        // Four of one job are judged one by one.
        let four: Vec<_> = (10..14).map(|pid| process(pid, 9, "cc1", 20, 10)).collect();
        assert_eq!(select_growing_group(&four, 0), None);
        // So are many that did not grow, ...
        let steady: Vec<_> = (10..30).map(|pid| process(pid, 9, "postgres", 20, 0)).collect();
        assert_eq!(select_growing_group(&steady, 0), None);
        // ... many of one group with names of their own, ...
        let desktop: Vec<_> =
            (10..30).map(|pid| process(pid, 9, &std::format!("app{pid}"), 20, 10)).collect();
        assert_eq!(select_growing_group(&desktop, 0), None);
        // ... and what init, or who is outside of the namespace, has started.
        for pgrp in [0, 1] {
            let started = |pid: i32, starttime| {
                let daemon = process(pid, pgrp, "sh", 20, 10);
                Candidate { id: Identity { starttime, ..daemon.id }, ..daemon }
            };
            let daemons: Vec<_> = (10..30).map(|pid| started(pid, pid as u64 * 200)).collect();
            assert_eq!(select_growing_group(&daemons, 0), None);
            // Nor a few that it started together, ...
            let few: Vec<_> = (10..17).map(|pid| started(pid, 100)).collect();
            assert_eq!(select_growing_group(&few, 0), None);
            // ... nor many that took less than half of what is missing.
            let workers: Vec<_> = (10..18).map(|pid| started(pid, 100)).collect();
            assert_eq!(select_growing_group(&workers, 161 * MIB), None);
            let mut culprit = Culprit::one(VACANT);
            culprit.become_all_of(&select_growing_group(&workers, 160 * MIB).unwrap());
            assert_eq!(culprit.members, 8);
            let ranked = [&workers[..], &daemons[..]].concat();
            assert_eq!(members_of(&culprit, &ranked).iter().flatten().count(), 8);
            assert!(dies_with(&culprit, &workers[7]) && !dies_with(&culprit, &daemons[9]));
        }
        // Nor those of which one leaks while the others have stopped, ...
        let grown = |pid, recent_kib| {
            let held = process(pid, 9, "worker", 20, 10);
            let growth = Growth { recent_kib, ..held.growth };
            Candidate { growth, has_stopped: recent_kib[0] < MIB, ..held }
        };
        let warmed_up = |pid| grown(pid, if pid == 10 { [9 * MIB, 9 * MIB] } else { [100, 8 * MIB] });
        let server: Vec<_> = (10..22).map(warmed_up).collect();
        assert_eq!(select_growing_group(&server, 0), None);
        // ... but those that take turns are all members.
        let in_turns = |pid| grown(pid, if pid % 5 == 0 { [MIB, 3 * MIB] } else { [0, 2 * MIB] });
        let leakers: Vec<_> = (10..40).map(in_turns).collect();
        assert_eq!(select_growing_group(&leakers, 0).map(|group| group.members), Some(30));
        // Nor where one has taken more than all others: a compiler that balloons.
        let build = |most_mib| {
            let mut build: Vec<_> = (11..18).map(|pid| process(pid, 9, "cc1plus", 6, 5)).collect();
            build.push(process(10, 9, "cc1plus", most_mib, most_mib));
            select_growing_group(&ranked(build), 0).map_or(1, |group| group.members)
        };
        assert_eq!([35, 36].map(build), [8, 1]);
        // Children of one parent in groups of their own are one too.
        let jobs: Vec<_> = (10..15)
            .map(|pid| {
                let job = process(pid, pid, "job", 20, 10);
                Candidate { job: JobKey { ppid: 7, ..job.job }, ..job }
            })
            .collect();
        assert_eq!(select_growing_group(&jobs, 0).map(|growing_group| growing_group.members), Some(5));
    }

    #[test]
    fn one_that_grew_more_than_a_group_is_the_culprit() {
        let mut table: Vec<_> = (10..16).map(|pid| process(pid, 9, "worker", 4, 2)).collect();
        table.push(process(50, 50, "leak", 90, 80));
        let loss = Loss { total_kib: 92 * MIB, ..NO_LOSS };
        assert_eq!(known(attribute(&ranked(table), &loss, &Growth::NONE, LEAST_KIB)), (50, 1));
    }

    /// Recorded in the lab, scenes tmpfs and fork-storm.
    #[test]
    fn what_no_process_took_is_looked_for_elsewhere() {
        let table = ranked(std::vec![process(98, 98, "database", 52, 0), process(99, 99, "canary", 8, 0)]);
        let filled = Loss { total_kib: 171 * MIB, shmem_kib: 168 * MIB, ..NO_LOSS };
        assert_eq!(attribute(&table, &filled, &Growth::NONE, LEAST_KIB), Attribution::Writer);
        let unexplained = Loss { total_kib: 160 * MIB, ..NO_LOSS };
        assert_eq!(
            attribute(&table, &unexplained, &Growth::NONE, LEAST_KIB),
            Attribution::SpawnBurst { unexplained_kib: 160 * MIB }
        );
        // One that fills a segment of its own was read a moment before Shmem.
        let segment =
            ranked(std::vec![process(98, 98, "database", 52, 0), process(110, 110, "segment", 160, 155)]);
        assert_eq!(known(attribute(&segment, &filled, &Growth::NONE, LEAST_KIB)), (110, 1));
        // A leak beside a tmpfs that took more than twice as much, and not quite.
        let beside = |growth_mib| {
            ranked(std::vec![process(98, 98, "database", 52, 0), process(110, 110, "leak", 70, growth_mib)])
        };
        let more = Loss { total_kib: 160 * MIB, shmem_kib: 100 * MIB, ..NO_LOSS };
        assert_eq!(attribute(&beside(49), &more, &Growth::NONE, LEAST_KIB), Attribution::Writer);
        assert_eq!(known(attribute(&beside(50), &more, &Growth::NONE, LEAST_KIB)), (110, 1));
        // What is too little to be worth a kill is not looked into.
        let little = Loss { total_kib: LEAST_KIB, shmem_kib: LEAST_KIB, ..NO_LOSS };
        assert_eq!(known(attribute(&table, &little, &Growth::NONE, LEAST_KIB)), (98, 1));
        // A leak beside a tmpfs that took less is the leak's.
        let table = ranked(std::vec![process(98, 98, "database", 52, 0), process(110, 110, "leak", 90, 85)]);
        let both = Loss { total_kib: 130 * MIB, shmem_kib: 40 * MIB, ..NO_LOSS };
        assert_eq!(known(attribute(&table, &both, &Growth::NONE, LEAST_KIB)), (110, 1));
    }

    #[test]
    fn nobody_is_nobody() {
        assert_eq!(attribute(&[], &NO_LOSS, &Growth::NONE, LEAST_KIB), Attribution::Nobody);
    }
}
