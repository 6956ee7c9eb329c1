use crate::kfile::ReadError;
use crate::process::{self, Identity, Pid, Stat, Statm};
use crate::sys;
use crate::victim::{Candidate, Policy, Ranking, Standing, min_stake_kib, score_kib};
use rustix::fd::BorrowedFd;

/// No chain of parents is longer; it ends there should /proc ever show a loop.
const MAX_ANCESTORS: usize = 4096;

/// Is `pid` ourselves, `own`, or one of our ancestors, which would take us with
/// them or are what we guard? Read each time: pids are reused.
pub fn is_kin(proc: BorrowedFd<'_>, own: Pid, pid: Pid) -> bool {
    let parent = |&child: &Pid| sys::positive_pid(process::read_stat(proc, child).ok()?.ppid);
    core::iter::successors(Some(own), parent).take(MAX_ANCESTORS).any(|kin| kin == pid)
}

/// What a survey needs to know besides the policy.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// What the user and the machine rule out or favour.
    pub policy: Policy<'a>,
    /// All memory, for negative `oom_score_adj` and the least useful stake.
    pub total_kib: u64,
    /// Swap in use: none means that resident memory is all there is.
    pub swap_used_kib: u64,
    /// KiB in a page.
    pub page_kib: u64,
    /// Ourselves; `None` where the tree is not the running kernel's.
    pub own: Option<Pid>,
    /// Processes that were killed and would not die.
    pub set_aside: &'a [Option<Identity>],
}

/// What a survey found.
#[derive(Clone, Debug, Default)]
pub struct Survey<const N: usize> {
    /// The best candidates.
    pub ranking: Ranking<N>,
    /// Processes listed, kernel threads included.
    pub processes: u32,
}

/// Lists every process and ranks those that could be chosen. One file each
/// bounds what a process can score; more is read only of those that can still
/// get in. A process that vanishes meanwhile is passed over.
///
/// # Errors
/// `/proc` cannot be listed.
pub fn survey<const N: usize>(proc: BorrowedFd<'_>, scope: &Scope<'_>) -> Result<Survey<N>, ReadError> {
    let mut found = Survey::default();
    let mut shared = LargestShared::default();
    let listed = process::list_processes(proc, &mut |pid| {
        found.processes += 1;
        if pid == Pid::INIT || scope.own == Some(pid) {
            return;
        }
        let Some(statm) = read_living_statm(proc, pid) else {
            return;
        };
        shared.note(pid, &statm);
        let bound_kib = private_bound_kib(&statm, scope);
        if let Some(candidate) = read_candidate(proc, pid, &statm, bound_kib, 0, scope, &found.ranking) {
            found.ranking.enter(candidate);
        }
    });
    listed?;
    // Shared memory is freed with its last mapper. Whoever maps most is that
    // for certain only where nobody else maps half as much of anything.
    if let Some((pid, statm)) = shared.sole_mapper() {
        let bound_kib = whole_bound_kib(&statm, scope);
        if let Some(candidate) = read_candidate(proc, pid, &statm, bound_kib, u64::MAX, scope, &found.ranking)
        {
            found.ranking.enter(candidate);
        }
    }
    Ok(found)
}

/// The process's `statm`; `None` for kernel threads and what has vanished.
fn read_living_statm(proc: BorrowedFd<'_>, pid: Pid) -> Option<Statm> {
    let statm = process::read_statm(proc, pid).ok()?;
    if statm.resident_pages > 0 || statm.size_pages > 0 {
        return Some(statm);
    }
    // A kernel thread, a zombie, or a leader that exited before its threads.
    // Only the last has a score.
    match process::read_oom_score(proc, pid) {
        Ok(score) if score > 0 => process::read_statm_of_threads(proc, pid).ok(),
        _ => None,
    }
}

/// The most anonymous memory and swap a process can hold.
fn private_bound_kib(statm: &Statm, scope: &Scope<'_>) -> u64 {
    let anon_pages = statm.resident_pages.saturating_sub(statm.shared_pages);
    let absent_pages = statm.size_pages.saturating_sub(statm.resident_pages);
    let swap_kib = absent_pages.saturating_mul(scope.page_kib).min(scope.swap_used_kib);
    anon_pages.saturating_mul(scope.page_kib).saturating_add(swap_kib)
}

/// The same with shared memory.
fn whole_bound_kib(statm: &Statm, scope: &Scope<'_>) -> u64 {
    let shared_kib = statm.shared_pages.saturating_mul(scope.page_kib);
    private_bound_kib(statm, scope).saturating_add(shared_kib)
}

/// Reads the rest of what makes a candidate, cheapest first, and no further
/// than `bound_kib`, the most its stake can be, could still take it into the
/// ranking. Up to `shmem_cap_kib` of shared memory counts. `None` for what must
/// never be chosen, is not worth it, cannot get in, or has vanished.
fn read_candidate<const N: usize>(
    proc: BorrowedFd<'_>,
    pid: Pid,
    statm: &Statm,
    bound_kib: u64,
    shmem_cap_kib: u64,
    scope: &Scope<'_>,
    ranking: &Ranking<N>,
) -> Option<Candidate> {
    if bound_kib < min_stake_kib(scope.total_kib) || !ranking.admits(scope.policy.score_bound_kib(bound_kib))
    {
        return None;
    }
    let could_enter = |adj, standing| ranking.admits(score_kib(bound_kib, adj, standing, scope.total_kib));
    let oom_score_adj = process::read_oom_score_adj(proc, pid).ok()?;
    if oom_score_adj == NEVER_KILL_ADJ || !could_enter(oom_score_adj, scope.policy.best_standing()) {
        return None;
    }
    if scope.own.is_some_and(|own| is_kin(proc, own, pid)) {
        return None;
    }
    let Stat { comm, pgrp, starttime, .. } =
        process::read_stat(proc, pid).ok().filter(|stat| !stat.is_kernel_thread())?;
    let id = Identity { pid, starttime };
    let standing = scope.policy.standing(&comm);
    if standing == Standing::Unkillable || scope.set_aside.contains(&Some(id)) {
        return None;
    }
    if !could_enter(oom_score_adj, standing) {
        return None;
    }
    let status = process::read_status(proc, pid).ok()?;
    if scope.policy.only_uid.is_some_and(|uid| uid != status.uid) {
        return None;
    }
    // statm holds the same number as RssAnon, which Linux before 4.5 lacks and
    // a zombie leader's status too.
    let anon_pages = statm.resident_pages.saturating_sub(statm.shared_pages);
    let anon_kib = status.anon_kib.unwrap_or(anon_pages.saturating_mul(scope.page_kib));
    let stake_kib = anon_kib
        .saturating_add(status.swap_kib.unwrap_or(0))
        .saturating_add(status.shmem_kib.unwrap_or(0).min(shmem_cap_kib));
    if stake_kib < min_stake_kib(scope.total_kib) {
        return None;
    }
    // Root of a user namespace has every capability, over its own only.
    if scope.own.is_some() && !sys::may_signal(pid) {
        return None;
    }
    let score_kib = score_kib(stake_kib, oom_score_adj, standing, scope.total_kib);
    Some(Candidate { id, pgrp, uid: status.uid, comm, oom_score_adj, stake_kib, score_kib })
}

/// `oom_score_adj` of what is never killed.
pub const NEVER_KILL_ADJ: i16 = -1000;

/// Who maps most file and shared memory, and how much the next one does.
#[derive(Default)]
struct LargestShared {
    first: Option<(Pid, Statm)>,
    second_pages: u64,
}

impl LargestShared {
    fn note(&mut self, pid: Pid, statm: &Statm) {
        match self.first {
            Some((_, first)) if first.shared_pages >= statm.shared_pages => {
                self.second_pages = self.second_pages.max(statm.shared_pages);
            }
            first => {
                self.second_pages = first.map_or(0, |(_, first)| first.shared_pages);
                self.first = Some((pid, *statm));
            }
        }
    }

    fn sole_mapper(&self) -> Option<(Pid, Statm)> {
        self.first.filter(|(_, statm)| self.second_pages < statm.shared_pages / 2)
    }
}
