use crate::decide::attribution::{Baseline, Culprit, weighted_kib};
use crate::decide::victim::{Candidate, Policy, Preference, Ranking, min_freeable_kib, score_kib};
use crate::read::kfile::{self, ReadError, open_dir};
use crate::read::process::{self, Identity, JobKey, Pid, Stat, Statm, Status, path_of};
use crate::sys;
use rustix::fd::{AsFd, BorrowedFd};

/// Ancestors that are remembered; a chain longer than this is walked each time.
const KIN: usize = 32;
/// No chain of parents is longer; it ends there should /proc ever show a loop.
const MAX_ANCESTORS: usize = 4096;

/// Ourselves and our ancestors, which would take us with them or are what we
/// guard. To be read anew for each decision and each round of signals: pids are
/// reused. Within one it can only be too many: whom an orphan is given to was
/// an ancestor before.
#[derive(Clone, Copy, Debug)]
pub struct Ancestry {
    own: Option<Pid>,
    pids: [Option<Pid>; KIN],
}

impl Ancestry {
    /// Reads the parents of `own`; `None` has no kin.
    pub fn read(proc: BorrowedFd<'_>, own: Option<Pid>) -> Self {
        let mut ancestry = Self { own, pids: [None; KIN] };
        let mut next = own;
        for place in &mut ancestry.pids {
            *place = next;
            next = next.and_then(|pid| parent(proc, pid));
        }
        ancestry
    }

    /// Is `pid` one of them?
    pub fn has(&self, proc: BorrowedFd<'_>, pid: Pid) -> bool {
        let is_cut = self.pids[KIN - 1].is_some();
        self.pids.contains(&Some(pid))
            || is_cut
                && core::iter::successors(self.own, |&child| parent(proc, child))
                    .take(MAX_ANCESTORS)
                    .any(|ancestry| ancestry == pid)
    }
}

fn parent(proc: BorrowedFd<'_>, child: Pid) -> Option<Pid> {
    sys::positive_pid(process::read_stat(proc, child).ok()?.ppid)
}

/// Processes remembered from one survey to the next: those that matter, and a
/// swarm's worth.
pub const TABLE: usize = 32;

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
    /// The survey before, which tells what is usual; `None` where this is the
    /// first: then everything is.
    pub before: Option<&'a Known>,
    /// How much `Shmem` has grown: no process's shared memory has by more.
    pub shmem_growth_kib: u64,
    /// Now.
    pub now_us: u64,
}

impl Scope<'_> {
    fn min_freeable_kib(&self) -> u64 {
        min_freeable_kib(self.total_kib)
    }

    /// The most that a process could have had unnoticed at the survey before.
    fn unnoticed_kib(&self, before: &Known) -> u64 {
        before.unranked_kib.max(self.min_freeable_kib())
    }

    /// No process of this pid has a lower usual stake.
    fn least_baseline_kib(&self, pid: Pid) -> u64 {
        let Some(before) = self.before else { return u64::MAX };
        let held = before.held.iter().flatten().find(|(id, _)| id.pid == pid);
        held.map_or(u64::MAX, |(_, baseline)| baseline.kib).min(self.unnoticed_kib(before))
    }

    fn baseline_of(&self, id: Identity, freeable_kib: u64) -> Baseline {
        let Some(before) = self.before else { return Baseline::new(freeable_kib, self.now_us) };
        match before.held.iter().flatten().find(|held| held.0 == id) {
            Some((_, baseline)) => baseline.after(freeable_kib, self.now_us),
            None => Baseline::new(freeable_kib.min(self.unnoticed_kib(before)), self.now_us),
        }
    }
}

/// What a survey needs of the one before: a third of the ranking, which the
/// new one can then be made in place of.
#[derive(Clone, Debug)]
pub struct Known {
    held: [Option<(Identity, Baseline)>; TABLE],
    /// Nobody who was not ranked had a higher score.
    unranked_kib: u64,
}

impl Known {
    /// What `ranking` tells.
    // Out of line, for it to be made where it is to stay.
    #[inline(never)]
    pub fn of(ranking: &Ranking<TABLE>) -> Self {
        let last = ranking.last();
        let unranked_kib = last.map_or(0, |last| u64::try_from(last.score_kib).unwrap_or(0));
        let mut known = Self { held: [None; TABLE], unranked_kib };
        for (place, ranked) in known.held.iter_mut().zip(ranking.all()) {
            *place = Some((ranked.id, ranked.baseline));
        }
        known
    }
}

/// Lists every process and ranks those that could be chosen. One file each
/// bounds what a process can score; more is read only of those that can still
/// get in. A process that vanishes meanwhile is passed over. Returns how many
/// were listed, kernel threads included.
///
/// # Errors
/// `/proc` cannot be listed.
pub fn survey<const N: usize>(
    proc: BorrowedFd<'_>,
    scope: &Scope<'_>,
    ranking: &mut Ranking<N>,
) -> Result<u32, ReadError> {
    let mut processes = 0;
    let mut shared = LargestShared::default();
    let ancestry = Ancestry::read(proc, scope.own);
    let listed = process::list_processes(proc, &mut |pid| {
        processes += 1;
        if pid == Pid::INIT || scope.own == Some(pid) {
            return;
        }
        let Some(statm) = read_living_statm(proc, pid) else {
            return;
        };
        shared.note(pid, &statm);
        let bound_kib = private_bound_kib(&statm, scope);
        if let Some(candidate) = read_candidate(proc, pid, &statm, bound_kib, 0, scope, &ancestry, ranking) {
            ranking.enter(candidate);
        }
    });
    listed?;
    // Shared memory is freed with its last mapper. Whoever maps most is that
    // for certain only where nobody else maps half as much of anything.
    if let Some((pid, statm)) = shared.sole_mapper() {
        let bound_kib = whole_bound_kib(&statm, scope);
        let candidate = read_candidate(proc, pid, &statm, bound_kib, u64::MAX, scope, &ancestry, ranking);
        if let Some(candidate) = candidate {
            ranking.enter(candidate);
        }
    }
    Ok(processes)
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
#[inline(never)]
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

/// A process that may be killed.
struct Killable {
    stat: Stat,
    status: Status,
    oom_score_adj: i16,
    preference: Preference,
}

/// Reads what tells whether a process may be killed, cheapest first, and only
/// as long as `could_enter` says that it still matters. `None` also for what
/// has vanished.
fn read_killable(
    proc: BorrowedFd<'_>,
    pid: Pid,
    scope: &Scope<'_>,
    ancestry: &Ancestry,
    could_enter: &dyn Fn(i16, Preference) -> bool,
) -> Option<Killable> {
    let oom_score_adj = process::read_oom_score_adj(proc, pid).ok()?;
    if oom_score_adj == NEVER_KILL_ADJ || !could_enter(oom_score_adj, scope.policy.best_preference()) {
        return None;
    }
    if ancestry.has(proc, pid) {
        return None;
    }
    let stat = process::read_stat(proc, pid).ok().filter(|stat| !stat.is_kernel_thread())?;
    let id = Identity { pid, starttime: stat.starttime };
    let preference = scope.policy.preference(&stat.comm);
    if preference == Preference::Unkillable
        || scope.set_aside.contains(&Some(id))
        || !could_enter(oom_score_adj, preference)
    {
        return None;
    }
    let status = process::read_status(proc, pid).ok()?;
    // Root of a user namespace has every capability, over its own only.
    let foreign = scope.policy.only_uid.is_some_and(|uid| uid != status.uid)
        || (scope.own.is_some() && !sys::may_signal(pid));
    (!foreign).then_some(Killable { stat, status, oom_score_adj, preference })
}

/// Reads the rest of what makes a candidate, no further than `bound_kib`, the
/// most its stake can be, could still take it into the ranking. Up to
/// `shmem_cap_kib` of shared memory counts. `None` for what must never be
/// chosen, is not worth it, cannot get in, or has vanished.
#[allow(clippy::too_many_arguments)]
fn read_candidate<const N: usize>(
    proc: BorrowedFd<'_>,
    pid: Pid,
    statm: &Statm,
    bound_kib: u64,
    shmem_cap_kib: u64,
    scope: &Scope<'_>,
    ancestry: &Ancestry,
    ranking: &Ranking<N>,
) -> Option<Candidate> {
    let most_kib = weighted_kib(bound_kib, bound_kib.saturating_sub(scope.least_baseline_kib(pid)));
    if bound_kib < scope.min_freeable_kib() || !ranking.admits(scope.policy.score_bound_kib(most_kib)) {
        return None;
    }
    let could_enter = |adj, preference| ranking.admits(score_kib(most_kib, adj, preference, scope.total_kib));
    let game = read_killable(proc, pid, scope, ancestry, &could_enter)?;
    // statm holds the same number as RssAnon, which Linux before 4.5 lacks and
    // a zombie leader's status too.
    let anon_pages = statm.resident_pages.saturating_sub(statm.shared_pages);
    let anon_kib = game.status.anon_kib.unwrap_or(anon_pages.saturating_mul(scope.page_kib));
    let private_kib = anon_kib.saturating_add(game.status.swap_kib.unwrap_or(0));
    let shmem_kib = game.status.shmem_kib.unwrap_or(0).min(shmem_cap_kib);
    let freeable_kib = private_kib.saturating_add(shmem_kib);
    if freeable_kib < scope.min_freeable_kib() {
        return None;
    }
    let baseline = scope.baseline_of(Identity { pid, starttime: game.stat.starttime }, freeable_kib);
    // That it is the only one to map its shared memory may be new; the memory
    // is no newer than Shmem's growth.
    let most_growth_kib = baseline.growth_kib(private_kib).saturating_add(scope.shmem_growth_kib);
    let growth_kib = baseline.growth_kib(freeable_kib).min(most_growth_kib);
    Some(candidate(pid, &game, freeable_kib, baseline, growth_kib, scope))
}

fn candidate(
    pid: Pid,
    game: &Killable,
    freeable_kib: u64,
    baseline: Baseline,
    growth_kib: u64,
    scope: &Scope<'_>,
) -> Candidate {
    // Below what is worth a kill, growth is chance.
    let growth_kib = if growth_kib < scope.min_freeable_kib() { 0 } else { growth_kib };
    let Killable { oom_score_adj, preference, .. } = *game;
    Candidate {
        id: Identity { pid, starttime: game.stat.starttime },
        job: game.stat.job(),
        uid: game.status.uid,
        oom_score_adj,
        freeable_kib,
        baseline,
        growth_kib,
        score_kib: score_kib(
            weighted_kib(freeable_kib, growth_kib),
            oom_score_adj,
            preference,
            scope.total_kib,
        ),
    }
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

/// Kinds of young processes told apart while counting them.
const KINDS: usize = 8;
/// A crowd has at least so many members: no make -j of ordinary size does.
const SPAWN_BURST_MIN: u32 = 48;

/// One kind of process and how many there are.
struct Counted {
    /// One that may be killed, looked for once there are enough.
    pid: Option<Pid>,
    job: JobKey,
    members: u32,
}

/// Finds a crowd: many processes of a kind born since `born_after`, each too
/// small for the ranking, who are to blame for `untold_kib`. Reads one file of
/// every process: they are many, and everybody waits.
#[inline(never)]
pub fn survey_spawn_burst(
    proc: BorrowedFd<'_>,
    scope: &Scope<'_>,
    born_after: u64,
    unexplained_kib: u64,
) -> Option<Culprit> {
    let mut kinds: [Option<Counted>; KINDS] = [const { None }; KINDS];
    let ancestry = Ancestry::read(proc, scope.own);
    let killable = |pid| read_killable(proc, pid, scope, &ancestry, &|_, _| true);
    let listed = process::list_processes(proc, &mut |pid| {
        if pid == Pid::INIT || scope.own == Some(pid) {
            return;
        }
        let Ok(stat) = process::read_stat(proc, pid) else { return };
        if stat.starttime < born_after || stat.is_kernel_thread() || stat.is_gone() {
            return;
        }
        let job = stat.job();
        if let Some(counted) = kinds.iter_mut().flatten().find(|counted| counted.job.same_job(&job)) {
            counted.members += 1;
            if counted.members >= SPAWN_BURST_MIN && counted.pid.is_none() {
                counted.pid = killable(pid).map(|_| pid);
            }
        } else if let Some(rarest) = kinds.iter_mut().min_by_key(|place| members(place)) {
            // The rarest makes room: a crowd is not the rarest for long.
            *rarest = Some(Counted { pid: None, job, members: 1 });
        }
    });
    listed.ok()?;
    let most = kinds.iter().max_by_key(|place| members(place))?.as_ref();
    let &Counted { pid, members, .. } = most?;
    let pid = pid?;
    // Where that is more than so many small ones can have, most of it is
    // somebody else's, a driver's say.
    if u64::from(members).saturating_mul(scope.min_freeable_kib()) < unexplained_kib / 2 {
        return None;
    }
    let game = killable(pid)?;
    let first = candidate(pid, &game, unexplained_kib, Baseline::default(), unexplained_kib, scope);
    Some(Culprit { members, is_spawn_burst: true, ..Culprit::one(first) })
}

fn members(place: &Option<Counted>) -> u32 {
    place.as_ref().map_or(0, |counted| counted.members)
}

/// Writers compared between two readings.
const WRITERS: usize = 32;

#[derive(Clone, Copy, Debug)]
struct Writer {
    pid: Pid,
    bytes: u64,
    /// Since the reading before; 0 if it was not in that.
    since_bytes: u64,
}

/// Who has written most to what is not a disk, at one time.
#[derive(Clone, Debug, Default)]
pub struct Writers {
    table: [Option<Writer>; WRITERS],
    /// When that was.
    pub at_us: u64,
    /// When the reading before was, 0 where there was none.
    pub before_us: u64,
}

/// Reads `/proc/PID/io` of every process and keeps those that wrote most since
/// `writers` was read; of those it does not know, those that ever wrote most,
/// but at least `least_kib`.
pub fn survey_writers(proc: BorrowedFd<'_>, writers: &mut Writers, least_kib: u64, now_us: u64) {
    let before = writers.table;
    *writers = Writers { at_us: now_us, before_us: writers.at_us, ..Writers::default() };
    let _ = process::list_processes(proc, &mut |pid| {
        let Ok(bytes) = process::read_undisked_bytes(proc, pid) else {
            return;
        };
        if bytes / 1024 < least_kib {
            return;
        }
        let known = before.iter().flatten().find(|held| held.pid == pid && held.bytes <= bytes);
        let writer = Writer { pid, bytes, since_bytes: known.map_or(0, |held| bytes - held.bytes) };
        let key = |place: &Option<Writer>| place.map(|held| (held.since_bytes, held.bytes));
        if let Some(least) = writers.table.iter_mut().min_by_key(|place| key(place))
            && key(least) < key(&Some(writer))
        {
            *least = Some(writer);
        }
    });
}

impl Writers {
    /// The process that wrote most between the two readings, if it may be
    /// killed and holds a file on tmpfs open for writing.
    #[inline(never)]
    pub fn select(&self, proc: BorrowedFd<'_>, scope: &Scope<'_>) -> Option<Culprit> {
        let ancestry = Ancestry::read(proc, scope.own);
        let mut below = u64::MAX;
        loop {
            let key = |held: &&Writer| held.since_bytes;
            let next = self.table.iter().flatten().filter(|held| key(held) < below).max_by_key(key)?;
            below = key(&next);
            let written_kib = below / 1024;
            if written_kib == 0 {
                return None;
            }
            if let Some(game) = read_killable(proc, next.pid, scope, &ancestry, &|_, _| true)
                && writes_to_tmpfs(proc, next.pid)
            {
                let anon_kib = game.status.anon_kib.unwrap_or(0);
                let victim = candidate(next.pid, &game, anon_kib, Baseline::default(), 0, scope);
                return Some(Culprit { written_kib, ..Culprit::one(victim) });
            }
        }
    }
}

/// Open files looked at for one on tmpfs.
const MAX_FILES: usize = 256;

/// Does this process hold a file of a tmpfs open for writing? By the numbers of
/// mounts in `/proc/PID/fdinfo` (`mnt_id`, Linux 3.15), which asks no file
/// system and so cannot hang on one.
#[inline(never)]
fn writes_to_tmpfs(proc: BorrowedFd<'_>, pid: Pid) -> bool {
    let Ok(files) = open_dir(proc, path_of(pid, "/fdinfo").as_cstr()) else {
        return false;
    };
    let mut found = false;
    let mut looked_at = 0;
    let _ = process::list_names(files.as_fd(), &mut |name| {
        looked_at += 1;
        let mut buf = [0; 512];
        if found || looked_at > MAX_FILES {
            return;
        }
        let info = kfile::read_small(files.as_fd(), name, &mut buf).ok();
        let Some(mount) = info.and_then(process::parse_written_mount) else { return };
        let mut buf = [0; 1024];
        let _ = kfile::read_lines(proc, path_of(pid, "/mountinfo").as_cstr(), &mut buf, &mut |line| {
            found |= process::is_tmpfs_mount(line, mount);
        });
    });
    found
}
