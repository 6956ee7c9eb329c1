//! One process read for a survey, no further than it still matters.

use super::claim::read_preference;
use super::scope::Scope;
use super::vigil::Vigil;
use crate::config::policy::{Believed, FIRST_ORDINARY_UID, Policy, Preference};
use crate::decide::baseline::weighted_kib;
use crate::decide::growth::{Growth, History, Reading};
use crate::decide::victim::{
    Candidate, Ranking, TABLE, min_freeable_kib, most_weighted_kib, score_bound_kib, score_kib,
};
use crate::read::ancestry::Ancestry;
use crate::read::kfile::ReadError;
use crate::read::process::{self, HIDING, Identity, JobKey, Leader, NEVER_KILL_ADJ, Pid, Statm};
use crate::read::status::{Status, read_status};
use crate::sys::time::now_us;
use crate::sys::{may_signal, positive_pid};
use core::cell::Cell;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// What a survey needs to know besides /proc.
#[derive(Clone, Copy, Debug)]
pub struct SurveyContext<'a> {
    /// What the user and the machine rule out or favour.
    pub policy: &'a Policy<'a>,
    /// All memory, for negative `oom_score_adj` and the least worth a kill.
    pub total_kib: u64,
    /// Swap in use: none means that resident memory is all there is.
    pub swap_used_kib: u64,
    /// What the kernel keeps for all processes, page tables most of all.
    pub overhead_kib: u64,
    /// What programs keep in memory: none means that nobody's mapped files are freeable.
    pub locked_kib: u64,
    /// KiB in a page.
    pub page_kib: u64,
    /// Ourselves; `None` where the tree is not the running kernel's.
    pub own: Option<Pid>,
    /// Processes that were killed and would not die.
    pub set_aside: &'a [Option<Identity>],
    /// The command that we run: no spawn burst begins with it.
    pub command: Option<Pid>,
    /// The survey before, which tells the baselines; `None` where this is the first:
    /// then nobody has grown.
    pub before: Option<&'a Remembered>,
    /// How much `Shmem` has grown: no process's shared memory has by more.
    pub shmem_growth_kib: u64,
    /// Which memory is guarded, and so whose processes may be chosen.
    pub scope: &'a Scope<'a>,
    /// Watches memory meanwhile.
    pub vigil: &'a Vigil<'a>,
    /// Now.
    pub now_us: u64,
}

impl SurveyContext<'_> {
    pub(super) fn min_freeable_kib(&self) -> u64 {
        min_freeable_kib(self.total_kib)
    }

    /// The most freeable memory that a process which was not ranked can have had
    /// at the survey before.
    fn most_unranked_kib(&self, before: &Remembered, adj: i16, preference: Preference) -> u64 {
        let unranked_kib = |last| most_weighted_kib(last, adj, preference, self.total_kib);
        let most_kib = before.last_score_kib.map_or(0, unranked_kib);
        most_kib.max(self.min_freeable_kib())
    }

    /// No process of this pid has a lower baseline.
    fn least_baseline_kib(&self, pid: Pid) -> u64 {
        let Some(before) = self.before else { return u64::MAX };
        let held = before.held.iter().flatten().find(|(id, _)| id.pid == pid);
        // What lets a process score most makes its unranked memory least.
        let unranked_kib = self.most_unranked_kib(before, i16::MAX, self.policy.best_preference());
        held.map_or(u64::MAX, |(_, history)| history.minutes.kib).min(unranked_kib)
    }

    fn history_of(&self, killable: &Killable, reading: Reading) -> History {
        let Some(before) = self.before else { return History::steady(reading, self.now_us) };
        let &Killable { id, oom_score_adj: adj, preference, inherited_kib, .. } = killable;
        match before.held.iter().flatten().find(|held| held.0 == id) {
            Some((_, history)) => history.after(reading, self.now_us),
            None => {
                let most_kib = self.most_unranked_kib(before, adj, preference).max(inherited_kib);
                let known = Reading {
                    freeable_kib: reading.freeable_kib.min(most_kib),
                    private_kib: reading.private_kib.min(most_kib),
                    // Below its peak it has had that some time ago.
                    peak_kib: if reading.is_at_peak() { most_kib } else { reading.peak_kib },
                };
                History::steady(known, before.at_us).after(reading, self.now_us)
            }
        }
    }
}

/// What a survey needs of the one before: a third of its ranking, in place of
/// which the new one is made.
#[derive(Clone, Debug)]
pub struct Remembered {
    held: [Option<(Identity, History)>; TABLE],
    at_us: u64,
    /// Nobody who was not ranked had a higher score; `None` where everybody was
    /// ranked who was worth it.
    last_score_kib: Option<i64>,
}

impl Default for Remembered {
    fn default() -> Self {
        Self { held: [None; TABLE], at_us: 0, last_score_kib: None }
    }
}

impl Remembered {
    /// Becomes what `ranking` tells.
    pub fn renew(&mut self, ranking: &Ranking<TABLE>, now_us: u64) {
        self.at_us = now_us;
        self.last_score_kib = ranking.last().map(|last| last.score_kib);
        self.held = [None; TABLE];
        for (place, ranked) in self.held.iter_mut().zip(ranking.all()) {
            *place = Some((ranked.id, ranked.history));
        }
    }
}

/// Does a process's shared memory count as freeable?
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Shared {
    Ignored,
    Counts,
}

/// A process that may be killed, and how it is seen.
pub(super) struct Killable {
    /// Who it is.
    pub id: Identity,
    /// What tells which job it belongs to.
    pub job: JobKey,
    /// Its `oom_score_adj`.
    pub oom_score_adj: i16,
    /// How the user's patterns see it.
    pub preference: Preference,
    /// Its page faults.
    pub faults: u64,
    /// What it has of its parent's memory, as far as is known.
    pub inherited_kib: u64,
}

/// Reads processes for one survey.
pub(super) struct Surveyor<'a> {
    pub(super) proc: BorrowedFd<'a>,
    pub(super) context: &'a SurveyContext<'a>,
    ancestry: Ancestry,
    /// Why processes could not be read that are there.
    pub(super) failure: Cell<Option<Errno>>,
    /// What is left of [`THREADS_US`].
    threads_left_us: Cell<u64>,
    /// Large ones outside of the guarded cgroup, each by [`OUTSIDE_COST`], less all whose
    /// size was read.
    surplus_outside: Cell<i32>,
}

/// To be asked of everybody where it is costs half as much again as its size does, so it
/// is asked first only where more than a third of all are large and outside.
const OUTSIDE_COST: i32 = 3;
/// And with so many of those.
const MANY_OUTSIDE: i32 = 16;

/// So long a survey looks at the threads of processes whose leader has exited:
/// users decide how many there are.
const THREADS_US: u64 = 10_000;

impl<'a> Surveyor<'a> {
    pub(super) fn new(proc: BorrowedFd<'a>, context: &'a SurveyContext<'a>) -> Self {
        Self {
            proc,
            context,
            ancestry: Ancestry::read(proc, context.own),
            failure: Cell::new(None),
            threads_left_us: Cell::new(THREADS_US),
            surplus_outside: Cell::new(0),
        }
    }

    /// The reading, if there is one. Notes where it failed for a reason that has
    /// nothing to do with the process.
    fn known<T>(&self, reading: Result<T, ReadError>) -> Option<T> {
        if let Err(ReadError::Io(errno)) = reading {
            self.failure.set(Some(errno));
        }
        reading.ok()
    }

    /// The process's `statm`; `None` for kernel threads and what has vanished.
    pub(super) fn read_living_statm(&self, pid: Pid) -> Option<Statm> {
        let statm = self.known(process::read_statm(self.proc, pid))?;
        if statm.resident_pages > 0 || statm.size_pages > 0 {
            return Some(statm);
        }
        // A kernel thread, a zombie, or a leader that exited before its threads.
        // Only the last has a score.
        match self.known(process::read_oom_score(self.proc, pid)) {
            Some(score) if score > 0 => self.read_statm_of_threads(pid, score),
            _ => None,
        }
    }

    /// By its threads, or where there is no time for all of them by what the kernel
    /// makes of it: nobody is to be worth less for being hard to read.
    fn read_statm_of_threads(&self, pid: Pid, oom_score: u32) -> Option<Statm> {
        let began_us = now_us();
        let until_us = began_us + self.threads_left_us.get();
        let statm = process::read_statm_of_threads(self.proc, pid, until_us);
        self.threads_left_us.set(until_us.saturating_sub(now_us()));
        if !matches!(statm, Err(ReadError::Missing | HIDING)) {
            return self.known(statm);
        }
        let adj = self.known(process::read_oom_score_adj(self.proc, pid))?;
        let thousandths = process::thousandths_of_score(oom_score, adj);
        let kib = (self.context.total_kib / 1000).saturating_mul(thousandths);
        let pages = kib / self.context.page_kib;
        Some(Statm { size_pages: pages, resident_pages: pages, shared_pages: 0 })
    }

    /// The most anonymous memory, swap, page tables and locked files a process can hold.
    pub(super) fn private_bound_kib(&self, statm: &Statm) -> u64 {
        self.bound_kib(statm, self.context.locked_kib)
    }

    /// The same with shared memory.
    pub(super) fn total_bound_kib(&self, statm: &Statm) -> u64 {
        self.bound_kib(statm, u64::MAX)
    }

    /// The same with so much at most of what is mapped of files and shared memory.
    fn bound_kib(&self, statm: &Statm, most_mapped_kib: u64) -> u64 {
        let page_kib = self.context.page_kib;
        let anon_pages = statm.resident_pages.saturating_sub(statm.shared_pages);
        let absent_pages = statm.size_pages.saturating_sub(statm.resident_pages);
        let swap_kib = absent_pages.saturating_mul(page_kib).min(self.context.swap_used_kib);
        // A page of tables maps 512 pages, and their own tables are few.
        let tables_kib = statm.size_pages.saturating_mul(page_kib) / 256;
        let tables_kib = tables_kib.min(self.context.overhead_kib);
        let mapped_kib = statm.shared_pages.saturating_mul(page_kib).min(most_mapped_kib);
        let anon_kib = anon_pages.saturating_mul(page_kib);
        anon_kib.saturating_add(swap_kib).saturating_add(tables_kib).saturating_add(mapped_kib)
    }

    /// Its `status`, which takes 15 ms where a user has made it as long as can be: memory is
    /// looked at before.
    fn read_status(&self, pid: Pid) -> Option<Status> {
        self.context.vigil.is_over();
        self.known(read_status(self.proc, pid))
    }

    /// Is the process in the guarded cgroup?
    pub(super) fn is_in_scope(&self, pid: Pid) -> bool {
        let is_in = self.known(self.context.scope.has(pid, Leader::TakenToLive)).unwrap_or(false);
        let cost = if is_in { 0 } else { OUTSIDE_COST };
        self.surplus_outside.set(self.surplus_outside.get() + cost);
        is_in
    }

    /// Is it worth asking where a process is before anything else, and is it outside?
    pub(super) fn is_passed_over(&self, pid: Pid) -> bool {
        self.surplus_outside.set(self.surplus_outside.get() - 1);
        self.surplus_outside.get() > MANY_OUTSIDE && !self.is_in_scope(pid)
    }

    /// Reads whether a process may be killed, and its `status` on the way. `None`
    /// also for what has vanished.
    pub(super) fn read_killable(&self, pid: Pid) -> Option<(Killable, Status)> {
        self.read_killable_if(pid, &|_, _| true)
    }

    /// The same, cheapest first, and only as long as `could_enter` says that it
    /// still matters.
    fn read_killable_if(
        &self,
        pid: Pid,
        could_enter: &dyn Fn(i16, Preference) -> bool,
    ) -> Option<(Killable, Status)> {
        let Self { proc, context, ancestry, .. } = self;
        if !self.is_in_scope(pid) {
            return None;
        }
        let oom_score_adj = self.known(process::read_oom_score_adj(*proc, pid))?;
        if oom_score_adj == NEVER_KILL_ADJ || !could_enter(oom_score_adj, context.policy.best_preference()) {
            return None;
        }
        if self.known(ancestry.has(*proc, pid))? {
            return None;
        }
        let stat = self.known(process::read_stat(*proc, pid)).filter(|stat| !stat.is_kernel_thread())?;
        let id = Identity { pid, starttime: stat.starttime };
        if context.set_aside.contains(&Some(id)) {
            return None;
        }
        let status = self.read_status(pid)?;
        let preference = read_preference(*proc, pid, &stat.comm, status.uid, context.policy);
        let preference = self.known(preference)?;
        if preference == Preference::Unkillable || !could_enter(oom_score_adj, preference) {
            return None;
        }
        // Root of a user namespace has every capability, over its own only.
        let is_foreign = context.policy.only_uid.is_some_and(|uid| uid != status.uid)
            || (context.own.is_some() && !may_signal(pid));
        let job = stat.job_key(status.uid);
        let faults = stat.faults;
        let killable = Killable { id, job, oom_score_adj, preference, faults, inherited_kib: 0 };
        (!is_foreign).then_some((killable, status))
    }

    /// Reads the rest of what makes a candidate, as long as `bound_kib`, the most
    /// freeable memory it can have, could still take it into the ranking. `None`
    /// for what must never be chosen, is not worth it, cannot get in, or has
    /// vanished.
    pub(super) fn read_candidate<const N: usize>(
        &self,
        pid: Pid,
        statm: &Statm,
        bound_kib: u64,
        shared: Shared,
        ranking: &Ranking<N>,
    ) -> Option<Candidate> {
        let context = self.context;
        let most_growth_kib = bound_kib.saturating_sub(context.least_baseline_kib(pid));
        let most_kib = weighted_kib(bound_kib, most_growth_kib);
        if bound_kib < context.min_freeable_kib()
            || !ranking.admits(score_bound_kib(context.policy, most_kib))
        {
            return None;
        }
        let could_enter =
            |adj, preference| ranking.admits(score_kib(most_kib, adj, preference, context.total_kib));
        let (mut killable, status) = self.read_killable_if(pid, &could_enter)?;
        // statm holds the same number as RssAnon, which Linux before 4.5 lacks and
        // a zombie leader's status too.
        let anon_pages = statm.resident_pages.saturating_sub(statm.shared_pages);
        let private_kib = status.private_kib(anon_pages.saturating_mul(context.page_kib));
        let private_kib = private_kib.saturating_add(status.page_tables_kib.unwrap_or(0));
        killable.inherited_kib = self.read_inherited_kib(&killable, statm, private_kib);
        let shmem_kib = match shared {
            Shared::Ignored => 0,
            Shared::Counts => status.shmem_kib.unwrap_or(0),
        };
        // Whoever maps a file often for a moment has any peak it likes, so it is believed
        // no further than a name.
        let is_believed = context.policy.believed == Believed::Everybody || status.uid < FIRST_ORDINARY_UID;
        let most_kib = if is_believed { status.most_kib(private_kib) } else { private_kib };
        let most_kib = most_kib.saturating_add(shmem_kib);
        self.grown_candidate(&killable, private_kib, shmem_kib, most_kib)
    }

    /// How much of its memory is still that of its parent, which forked it: it has not
    /// made it by page faults of its own, and the parent has as much, in as much address
    /// space. Huge pages take few faults, too; but then the parent is another.
    fn read_inherited_kib(&self, killable: &Killable, statm: &Statm, private_kib: u64) -> u64 {
        let page_kib = self.context.page_kib;
        let born_kib = private_kib.saturating_sub(killable.faults.saturating_mul(page_kib));
        let Some(parent) = positive_pid(killable.job.ppid) else { return 0 };
        if self.context.own.is_none() || born_kib < private_kib / 2 {
            return 0;
        }
        let Ok(parents) = process::read_statm(self.proc, parent) else { return 0 };
        let has_as_much = self.bound_kib(&parents, 0) >= born_kib - born_kib / 8;
        let is_alike = parents.size_pages.abs_diff(statm.size_pages) <= parents.size_pages / 8;
        if has_as_much && is_alike { born_kib } else { 0 }
    }

    /// A candidate that has grown by what it has above its levels, and that once had
    /// `peak_kib`; `None` where all of it is not worth a kill.
    pub(super) fn grown_candidate(
        &self,
        killable: &Killable,
        private_kib: u64,
        shmem_kib: u64,
        peak_kib: u64,
    ) -> Option<Candidate> {
        let freeable_kib = private_kib.saturating_add(shmem_kib);
        if freeable_kib < self.context.min_freeable_kib() {
            return None;
        }
        let reading = Reading { freeable_kib, private_kib, peak_kib };
        let history = self.context.history_of(killable, reading);
        // Who maps the shared memory may be new; the memory is no newer than Shmem's
        // growth.
        let private_growth_kib = history.minutes.growth_kib(private_kib);
        let most_kib = private_growth_kib.saturating_add(self.context.shmem_growth_kib);
        let growth = history.growth(freeable_kib, most_kib);
        let candidate = self.candidate(killable, freeable_kib, history, growth);
        Some(Candidate { is_shared: shmem_kib > freeable_kib / 8, ..candidate })
    }

    pub(super) fn candidate(
        &self,
        killable: &Killable,
        freeable_kib: u64,
        history: History,
        growth: Growth,
    ) -> Candidate {
        // Growth that is not worth a kill is chance.
        let growth = if growth.kib < self.context.min_freeable_kib() { Growth::NONE } else { growth };
        let Killable { id, job, oom_score_adj, preference, inherited_kib, .. } = *killable;
        let weighted_kib = weighted_kib(freeable_kib, growth.kib);
        Candidate {
            id,
            job,
            oom_score_adj,
            preference,
            freeable_kib,
            is_shared: false,
            is_copy: inherited_kib > 0,
            history,
            growth,
            has_stopped: false,
            score_kib: score_kib(weighted_kib, oom_score_adj, preference, self.context.total_kib),
        }
    }

    /// Is it certain that the process maps less shared memory than that?
    pub(super) fn maps_little_shmem(&self, pid: Pid, less_than_kib: u64) -> bool {
        self.read_status(pid).and_then(|status| status.shmem_kib).is_some_and(|kib| kib < less_than_kib)
    }
}
