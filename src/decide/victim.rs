//! Candidates in, ranking out. Pure: it never looks at /proc itself, but tells
//! the [`survey`](crate::choose::survey) which processes are worth reading.

use crate::config::policy::{Policy, Preference};
use crate::decide::baseline::{GROWTH_WEIGHT, weighted_kib};
use crate::decide::growth::{Growth, History, OLD_DEN, Pace, pace_of};
use crate::read::process::{Comm, Identity, JobKey, Pid};

/// A process that could be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who it is.
    pub id: Identity,
    /// What tells which job it belongs to.
    pub job: JobKey,
    /// Its `oom_score_adj`.
    pub oom_score_adj: i16,
    /// How the user's patterns see it.
    pub preference: Preference,
    /// Freeable memory, what its death gives back: anonymous memory and swap, and
    /// shared memory that nobody else can be mapping.
    pub freeable_kib: u64,
    /// Much of that is shared memory, which stays where it is a file on a tmpfs.
    pub is_shared: bool,
    /// Most of it is its parent's, which forked it, and is free only when both are gone.
    pub is_copy: bool,
    /// The levels its freeable memory has had.
    pub history: History,
    /// How much freeable memory it has above those; nothing where that is too
    /// little to tell from chance.
    pub growth: Growth,
    /// Others grow, and this one does not any more.
    pub has_stopped: bool,
    /// What it is ranked by; see [`score_kib`].
    pub score_kib: i64,
}

/// A factor, not a sum: preferring `firefox` must not turn a 5 MB helper of
/// that name into a better victim than a 5 GB leak (earlyoom#261).
pub const PREFERENCE_FACTOR: u64 = 4;

/// A positive `oom_score_adj` adds a thousandth of the weight per point, at most
/// half of it: Chromium's 300 and VS Code's 200 say "me first", not "only me".
pub const ADJ_CAP: i16 = 500;

/// Least freeable memory worth a kill: half a per cent of memory, within these
/// bounds.
/// A peer once killed a 17 MiB bystander while the culprit was still exiting
/// (earlyoom#309).
const MIN_FREEABLE_DEN: u64 = 200;
const MIN_FREEABLE_FLOOR_KIB: u64 = 256;
const MIN_FREEABLE_CEILING_KIB: u64 = 16 * 1024;

/// The least freeable memory worth a kill where there are `total_kib` of memory.
// Out of line: inlined it is larger.
#[inline(never)]
pub fn min_freeable_kib(total_kib: u64) -> u64 {
    (total_kib / MIN_FREEABLE_DEN).clamp(MIN_FREEABLE_FLOOR_KIB, MIN_FREEABLE_CEILING_KIB)
}

/// The score in KiB: freeable memory and growth
/// ([`weighted_kib`]), multiplied or
/// divided for the user's patterns. A positive `oom_score_adj` adds up to half; a
/// negative one subtracts its thousandth of all memory per point, as in the
/// kernel's own badness, so a score may be below 0.
pub fn score_kib(weighted_kib: u64, oom_score_adj: i16, preference: Preference, total_kib: u64) -> i64 {
    let preferred_kib = match preference {
        Preference::Preferred => weighted_kib.saturating_mul(PREFERENCE_FACTOR),
        Preference::Ordinary | Preference::Unkillable => weighted_kib,
        Preference::Avoided => weighted_kib / PREFERENCE_FACTOR,
    };
    if oom_score_adj >= 0 {
        let bonus_kib = thousandths(preferred_kib, oom_score_adj.min(ADJ_CAP));
        signed(preferred_kib.saturating_add(bonus_kib))
    } else {
        signed(preferred_kib).saturating_sub(signed(thousandths(total_kib, oom_score_adj)))
    }
}

/// The other way round: the most that freeable memory and growth can weigh of a
/// process whose score is no more than `score_kib`.
pub fn most_weighted_kib(score_kib: i64, oom_score_adj: i16, preference: Preference, total_kib: u64) -> u64 {
    let preferred_kib = if oom_score_adj >= 0 {
        // Half a thousandth is lost to rounding at the most.
        let score_kib = u64::try_from(score_kib).unwrap_or(0);
        let points = u64::from(oom_score_adj.min(ADJ_CAP).unsigned_abs());
        score_kib.saturating_add(1).saturating_mul(1000) / (1000 + points)
    } else {
        let restored_kib = score_kib.saturating_add(signed(thousandths(total_kib, oom_score_adj)));
        u64::try_from(restored_kib).unwrap_or(0)
    };
    match preference {
        Preference::Preferred => preferred_kib / PREFERENCE_FACTOR,
        Preference::Ordinary | Preference::Unkillable => preferred_kib,
        Preference::Avoided => {
            preferred_kib.saturating_mul(PREFERENCE_FACTOR).saturating_add(PREFERENCE_FACTOR - 1)
        }
    }
}

fn thousandths(whole_kib: u64, points: i16) -> u64 {
    whole_kib.saturating_mul(points.unsigned_abs().into()) / 1000
}

fn signed(kib: u64) -> i64 {
    i64::try_from(kib).unwrap_or(i64::MAX)
}

/// The highest score a process could reach with at most `weighted_kib`.
pub fn score_bound_kib(policy: &Policy<'_>, weighted_kib: u64) -> i64 {
    score_kib(weighted_kib, ADJ_CAP, policy.best_preference(), 0)
}

/// Candidates remembered from one survey to the next: those that matter, and a
/// growing group's worth.
pub const TABLE: usize = 32;

/// The `N` best candidates seen so far, best first.
#[derive(Clone, Debug)]
pub struct Ranking<const N: usize> {
    places: [Candidate; N],
    taken: usize,
}

impl<const N: usize> Default for Ranking<N> {
    fn default() -> Self {
        Self { places: [VACANT; N], taken: 0 }
    }
}

/// Fills a place that nobody has taken.
pub const VACANT: Candidate = Candidate {
    id: Identity { pid: Pid::INIT, starttime: 0 },
    job: JobKey { uid: 0, comm: Comm::NONE, ppid: 0, pgrp: 0 },
    oom_score_adj: 0,
    preference: Preference::Ordinary,
    freeable_kib: 0,
    is_shared: false,
    is_copy: false,
    history: History::NONE,
    growth: Growth::NONE,
    has_stopped: false,
    score_kib: 0,
};

/// At what pace these grow.
// Out of line: inlined it is larger.
#[inline(never)]
pub fn pace_of_all(ranked: &[Candidate], least_kib: u64) -> Pace {
    pace_of(ranked.iter().map(|held| held.growth), least_kib)
}

/// The score where this is the pace.
// Out of line: inlined it is larger.
#[inline(never)]
fn paced_score_kib(held: &Candidate, pace: Pace, total_kib: u64) -> i64 {
    let weighted_kib = weighted_kib(held.freeable_kib, pace.blamed_kib(&held.growth));
    score_kib(weighted_kib, held.oom_score_adj, held.preference, total_kib)
}

/// Does `one` rank before `other`? The higher score; of equal ones the one
/// with more freeable memory, then the younger, then the higher pid.
fn ranks_before(one: &Candidate, other: &Candidate) -> bool {
    let key = |candidate: &Candidate| {
        let Candidate { id, freeable_kib, score_kib, .. } = *candidate;
        (score_kib, freeable_kib, id.starttime, id.pid.as_raw_pid())
    };
    key(one) > key(other)
}

impl<const N: usize> Ranking<N> {
    /// Could a candidate with this score still get in?
    pub fn admits(&self, score_kib: i64) -> bool {
        match self.last() {
            Some(last) => score_kib >= last.score_kib,
            None => N > 0,
        }
    }

    /// Puts `candidate` where it belongs, if it does; a process already there
    /// is replaced.
    pub fn enter(&mut self, candidate: Candidate) {
        self.remove(candidate.id);
        let before = self.all().iter().take_while(|held| !ranks_before(&candidate, held)).count();
        if before < N {
            self.taken = (self.taken + 1).min(N);
            self.places[before..self.taken].rotate_right(1);
            self.places[before] = candidate;
        }
    }

    /// Takes out one candidate, if it is there.
    pub fn remove(&mut self, id: Identity) {
        if let Some(at) = self.all().iter().position(|held| held.id == id) {
            self.places[at..self.taken].rotate_left(1);
            self.taken -= 1;
        }
    }

    /// Scores all anew by who of them grows now, which takes all of them to tell.
    /// Nobody scores more than before.
    // Out of line: inlined it is larger.
    #[inline(never)]
    pub fn weigh_growth(&mut self, total_kib: u64) {
        let pace = pace_of_all(self.all(), min_freeable_kib(total_kib));
        for at in 0..self.taken {
            let held = &mut self.places[at];
            held.has_stopped = pace.has_stopped(&held.growth);
            held.score_kib = paced_score_kib(held, pace, total_kib);
            let held = &self.places[at];
            let before = self.places[..at].iter().take_while(|other| !ranks_before(held, other)).count();
            self.places[before..=at].rotate_right(1);
        }
    }

    /// The place that one has.
    pub fn find(&mut self, id: Identity) -> Option<&mut Candidate> {
        self.places[..self.taken].iter_mut().find(|held| held.id == id)
    }

    /// Has one of the others grown so much more over minutes that it would rank before
    /// `first` if nobody grew now, and nothing counted that `first` had before?
    pub fn has_worse_than(&self, first: &Candidate, total_kib: u64) -> bool {
        let score_kib = |held: &Candidate| paced_score_kib(held, Pace::NONE, total_kib);
        // Where nobody grows now, growth counts so often and what was had before for a part.
        let regained_kib = first.growth.regained_kib.wrapping_mul(GROWTH_WEIGHT / OLD_DEN);
        let first_kib = score_kib(first).wrapping_sub_unsigned(regained_kib);
        let mut others = self.all().iter().filter(|held| held.id != first.id);
        others.any(|held| held.growth.kib > 0 && score_kib(held) > first_kib)
    }

    /// Forgets all candidates.
    pub fn clear(&mut self) {
        self.taken = 0;
    }

    /// The candidates, best first.
    pub fn all(&self) -> &[Candidate] {
        &self.places[..self.taken]
    }

    /// The last one, where all places are taken.
    pub fn last(&self) -> Option<&Candidate> {
        if self.taken < N { None } else { self.all().last() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::pattern::Globs;
    use crate::config::policy::Claim;

    const TOTAL_KIB: u64 = 1_000_000;

    fn candidate(pid: i32, freeable_kib: u64, adj: i16) -> Candidate {
        Candidate {
            id: Identity { pid: Pid::from_raw(pid).unwrap(), starttime: 100 },
            job: JobKey { uid: 0, comm: Comm::new(b"x"), ppid: 1, pgrp: pid },
            oom_score_adj: adj,
            preference: Preference::Ordinary,
            freeable_kib,
            is_shared: false,
            is_copy: false,
            history: History::NONE,
            growth: Growth::NONE,
            has_stopped: false,
            score_kib: score_kib(freeable_kib, adj, Preference::Ordinary, TOTAL_KIB),
        }
    }

    fn pids<const N: usize>(ranking: &Ranking<N>) -> std::vec::Vec<i32> {
        ranking.all().iter().map(|held| held.id.pid.as_raw_pid()).collect()
    }

    #[test]
    fn positive_adj_is_a_capped_preference() {
        assert_eq!(score_kib(1000, 300, Preference::Ordinary, TOTAL_KIB), 1300);
        assert_eq!(score_kib(1000, 1000, Preference::Ordinary, TOTAL_KIB), 1500);
        // A 5 MB tab that offers itself is no match for a 5.4 GB leak.
        let tab = score_kib(5_000, 1000, Preference::Preferred, TOTAL_KIB);
        assert!(tab < score_kib(5_400_000, 0, Preference::Ordinary, TOTAL_KIB));
    }

    #[test]
    fn negative_adj_protects_as_in_the_kernel() {
        assert_eq!(score_kib(300_000, -250, Preference::Ordinary, TOTAL_KIB), 50_000);
        assert_eq!(score_kib(100_000, -500, Preference::Ordinary, TOTAL_KIB), -400_000);
        assert_eq!(
            score_kib(u64::MAX, -1, Preference::Preferred, u64::MAX),
            i64::MAX - (u64::MAX / 1000) as i64
        );
    }

    #[test]
    fn patterns_multiply_and_divide() {
        assert_eq!(score_kib(1000, 0, Preference::Preferred, TOTAL_KIB), 4000);
        assert_eq!(score_kib(1000, 0, Preference::Avoided, TOTAL_KIB), 250);
        let policy = Policy {
            prefer: Globs::parse(b"web*").ok(),
            avoid: Globs::parse(b"db|webdb").ok(),
            unkillables: Globs::parse(b"sshd").ok(),
            ..Policy::default()
        };
        for (name, preference) in [
            ("webx", Preference::Preferred),
            ("db", Preference::Avoided),
            ("webdb", Preference::Ordinary),
            ("sshd", Preference::Unkillable),
            ("sh", Preference::Ordinary),
        ] {
            let claim = Claim { comm: &Comm::new(name.as_bytes()), uid: 0, exe: None, cgroup: None };
            assert_eq!(policy.preference(&claim), preference, "{name}");
        }
        assert_eq!(score_bound_kib(&policy, 1000), 6000);
        assert_eq!(score_bound_kib(&Policy { prefer: None, ..policy }, 1000), 1500);
    }

    /// What a process weighs is never more than what its score allows.
    #[test]
    fn scores_can_be_undone() {
        for preference in [Preference::Preferred, Preference::Ordinary, Preference::Avoided] {
            for adj in [-900, -1, 0, 1, 300, 1000] {
                for weighted_kib in [0, 1, 999, 60_000, 123_456_789] {
                    let score = score_kib(weighted_kib, adj, preference, TOTAL_KIB);
                    let most = most_weighted_kib(score, adj, preference, TOTAL_KIB);
                    assert!(most >= weighted_kib, "{preference:?} {adj} {weighted_kib}: {most}");
                    assert!(most <= weighted_kib + 8, "{preference:?} {adj} {weighted_kib}: {most}");
                }
            }
        }
    }

    #[test]
    fn the_bound_holds() {
        let policy = Policy::default();
        for adj in [-1000, -1, 0, 1, 499, 500, 501, 1000] {
            for freeable_kib in [0, 1, 999, 123_456_789, u64::MAX] {
                let score = score_kib(freeable_kib, adj, Preference::Ordinary, TOTAL_KIB);
                assert!(score <= score_bound_kib(&policy, freeable_kib), "{adj} {freeable_kib}");
            }
        }
    }

    #[test]
    fn ranks_and_keeps_the_best() {
        let mut ranking = Ranking::<2>::default();
        assert!(ranking.admits(i64::MIN));
        for candidate in
            [candidate(10, 50, 0), candidate(11, 70, 0), candidate(12, 60, 0), candidate(13, 10, 0)]
        {
            ranking.enter(candidate);
        }
        assert_eq!(pids(&ranking), [11, 12]);
        assert!(ranking.admits(60) && !ranking.admits(59));
        // The same process again, now worth more.
        ranking.enter(candidate(12, 90, 0));
        assert_eq!(pids(&ranking), [12, 11]);
    }

    #[test]
    fn ties_go_to_more_freeable_memory_then_younger_then_higher_pid() {
        let mut ranking = Ranking::<4>::default();
        let mut younger = candidate(5, 100, 0);
        younger.id.starttime = 200;
        let mut larger = candidate(3, 400, 0);
        larger.score_kib = 100;
        for candidate in [candidate(7, 100, 0), younger, larger, candidate(8, 100, 0)] {
            ranking.enter(candidate);
        }
        assert_eq!(pids(&ranking), [3, 5, 8, 7]);
    }

    /// As in the lab's scene gc-heap, where a heap at the top of its swing scored 238 MiB, and the leak 236.
    #[test]
    fn what_the_first_had_before_is_a_reason_to_wait() {
        let grown = |pid, freeable_kib, kib, regained_kib| {
            let growth = Growth { kib, regained_kib, ..Growth::NONE };
            Candidate { growth, ..candidate(pid, freeable_kib, 0) }
        };
        let mut ranking = Ranking::<4>::default();
        let heap = grown(5, 120, 60, 60);
        ranking.enter(heap);
        assert!(!ranking.has_worse_than(&heap, TOTAL_KIB), "there is nobody else");
        ranking.enter(grown(6, 28, 26, 0));
        assert!(ranking.has_worse_than(&heap, TOTAL_KIB));
        // Where that is new to it, or the other is too small, there is none.
        assert!(!ranking.has_worse_than(&grown(5, 120, 60, 0), TOTAL_KIB));
        assert!(!ranking.has_worse_than(&grown(5, 240, 60, 60), TOTAL_KIB));
    }

    #[test]
    fn the_least_worth_a_kill_follows_the_machine() {
        assert_eq!(min_freeable_kib(32 * 1024), 256);
        assert_eq!(min_freeable_kib(320_000), 1600);
        assert_eq!(min_freeable_kib(1 << 30), 16 * 1024);
    }
}
