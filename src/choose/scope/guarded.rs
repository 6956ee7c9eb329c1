//! What a guarded cgroup is asked; where the machine is guarded, nobody comes here.

use super::{Guards, Scope};
use crate::config::scope::Asked;
use crate::read::cgroup::{Cgroup, CgroupStat, path_below};
use crate::read::kfile::ReadError;
use crate::read::membership::reader;
use crate::read::memory::Meminfo;
use crate::read::process::{HIDING, Leader, Pid};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::process::getpid;

/// What the scope asks. Not by name: so the linker can refuse a loop that refers to this
/// code, which is given up where the machine is guarded.
#[derive(Debug)]
pub(super) struct Questions {
    pub(super) read_memory: fn(&Scope<'_>, &mut Meminfo) -> Result<u64, ReadError>,
    pub(super) read_available_kib: fn(&Scope<'_>) -> Option<u64>,
    pub(super) read_free_kib: fn(&Scope<'_>, u64) -> Option<u64>,
    pub(super) read_limit_hits: fn(&Scope<'_>) -> Option<u64>,
    pub(super) read_busy_us: fn(&Scope<'_>) -> Option<u64>,
    pub(super) has: fn(&Scope<'_>, Pid, Leader) -> Result<bool, ReadError>,
    pub(super) follow: fn(&Scope<'_>),
    pub(super) is_to_be_read: fn(&Scope<'_>) -> bool,
}

pub(super) static QUESTIONS: Questions = Questions {
    read_memory,
    read_available_kib,
    read_free_kib,
    read_limit_hits,
    read_busy_us,
    has,
    follow,
    is_to_be_read,
};

fn read_memory(scope: &Scope<'_>, mem: &mut Meminfo) -> Result<u64, ReadError> {
    let machine_kib = mem.total_kib();
    if scope.may_turn()
        && let Some(up) = find_limit(scope, machine_kib)
    {
        scope.place.borrow_mut().up = up;
        turn(scope, Guards::CgroupNow);
    }
    let mut told = read_memory_now(scope, mem);
    if told == Err(ReadError::Missing) {
        // It was removed. We may have been moved before that, or another is there by now.
        follow(scope);
        reopen(scope, None)?;
        told = read_memory_now(scope, mem);
    }
    // What cannot be read may be a limit.
    if scope.guards.get() == Guards::CgroupNow
        && told.is_ok()
        && mem.total_kib() == machine_kib
        && find_limit(scope, machine_kib).is_none()
    {
        turn(scope, Guards::MachineYet);
    }
    told
}

fn turn(scope: &Scope<'_>, to: Guards) {
    scope.guards.set(to);
    scope.changes.set(scope.changes.get() + 1);
}

/// How many levels above our own is the cgroup with the tightest limit, if one counts?
fn find_limit(scope: &Scope<'_>, machine_kib: u64) -> Option<u32> {
    let place = scope.place.borrow();
    tightest(&place.base.as_ref()?.cgroup, place.from, machine_kib)
}

// Out of line, so that it is here once.
#[inline(never)]
fn read_memory_now(scope: &Scope<'_>, mem: &mut Meminfo) -> Result<u64, ReadError> {
    let place = scope.place.borrow();
    match scope.guarded(&place) {
        None => Ok(0),
        Some((cgroup, up, _)) => read_memory_of(cgroup, place.from, up, mem),
    }
}

fn read_available_kib(scope: &Scope<'_>) -> Option<u64> {
    let mut mem = Meminfo { mem_total_kib: u64::MAX, ..Meminfo::default() };
    read_memory_now(scope, &mut mem).ok()?;
    (mem.mem_total_kib < u64::MAX).then_some(mem.mem_available_kib)
}

fn read_free_kib(scope: &Scope<'_>, total_kib: u64) -> Option<u64> {
    let place = scope.place.borrow();
    let (cgroup, ..) = scope.guarded(&place)?;
    let (mut lowest_kib, mut free_kib) = (u64::MAX, None);
    for up in place.from..=cgroup.levels_above {
        if let Some(limit_kib) = cgroup.read_limit_kib(up).ok().flatten() {
            let here_kib = limit_kib.saturating_sub(cgroup.read_current_kib(up).ok()?);
            lowest_kib = lowest_kib.min(limit_kib);
            free_kib = Some(free_kib.map_or(here_kib, |kib: u64| kib.min(here_kib)));
        }
    }
    // After a change of the limit everything is looked at.
    free_kib.filter(|_| lowest_kib == total_kib)
}

fn read_limit_hits(scope: &Scope<'_>) -> Option<u64> {
    let place = scope.place.borrow();
    let (cgroup, up, _) = scope.guarded(&place)?;
    cgroup.read_limit_hits(up).ok()
}

fn read_busy_us(scope: &Scope<'_>) -> Option<u64> {
    let place = scope.place.borrow();
    let (cgroup, up, _) = scope.guarded(&place)?;
    cgroup.read_busy_us(up).ok()
}

fn has(scope: &Scope<'_>, pid: Pid, leader: Leader) -> Result<bool, ReadError> {
    let place = scope.place.borrow();
    let Some((cgroup, _, guarded)) = scope.guarded(&place) else { return Ok(true) };
    let mut is_below = false;
    let told = reader(leader)(scope.tree.proc.as_fd(), pid, Some(cgroup.version), &mut |path| {
        is_below = path_below(guarded, path).is_some();
    });
    match told {
        // In no cgroup of that hierarchy.
        Err(ReadError::Malformed) => Ok(false),
        // Whoever is to be found nowhere is to be found here.
        Err(HIDING) => Ok(true),
        told => told.map(|()| is_below),
    }
}

fn follow(scope: &Scope<'_>) {
    if matches!(scope.asked, Asked::Path(_)) {
        return;
    }
    // As long as it cannot be seen, what was guarded is.
    let is_new = reopen(scope, Some(scope.tree.proc.as_fd())) == Ok(true);
    let mut place = scope.place.borrow_mut();
    // Else only a limit that was set below the guarded cgroup changes it: of one further up
    // others would have to answer for it who are not asked.
    if scope.asked == Asked::Auto
        && !scope.is_machine()
        && let Some(found) = &place.base
        && let Some(up) = tightest(&found.cgroup, place.from, u64::MAX)
        && (is_new || up < place.up)
    {
        place.up = up;
        scope.changes.set(scope.changes.get() + 1);
    }
}

fn reopen(scope: &Scope<'_>, own: Option<BorrowedFd<'_>>) -> Result<bool, ReadError> {
    let mut place = scope.place.borrow_mut();
    let found = place.base.as_mut().ok_or(ReadError::Missing)?;
    let has_changed = found.reopen(own)?;
    let levels_above = found.cgroup.levels_above;
    place.up = place.up.min(levels_above);
    place.from = place.from.min(levels_above);
    let is_other = has_changed && !scope.is_machine();
    scope.changes.set(scope.changes.get() + u32::from(is_other));
    Ok(has_changed)
}

/// Looks at each level's limit in turn, and at where we are.
fn is_to_be_read(scope: &Scope<'_>) -> bool {
    let mut place = scope.place.borrow_mut();
    let up = place.turn.max(place.from);
    let Some(found) = &place.base else { return false };
    if up <= found.cgroup.levels_above {
        let limit_kib = found.cgroup.read_limit_kib(up);
        place.turn = up + 1;
        return matches!(limit_kib, Ok(Some(_)));
    }
    place.turn = 0;
    drop(place);
    follow(scope);
    false
}

/// The cgroup with the lowest limit of those that are `from` levels above `cgroup` or
/// more, if that is below `most_kib`; of equals the nearest.
pub(super) fn tightest(cgroup: &Cgroup, from: u32, most_kib: u64) -> Option<u32> {
    let mut found = None;
    let mut lowest_kib = most_kib;
    for up in from..=cgroup.levels_above {
        if let Ok(Some(limit_kib)) = cgroup.read_limit_kib(up)
            && limit_kib < lowest_kib
        {
            lowest_kib = limit_kib;
            found = Some(up);
        }
    }
    found
}

/// The memory of the cgroup `guarded_up` levels above `cgroup`. What is available is what
/// is at the level that has least, `from` that many levels above on: a limit further up is no
/// less a limit, nor is one that was set below the guarded cgroup since.
fn read_memory_of(cgroup: &Cgroup, from: u32, guarded_up: u32, mem: &mut Meminfo) -> Result<u64, ReadError> {
    let most_kib = mem.total_kib();
    let mut total_kib = most_kib;
    let (mut swap_total_kib, mut swap_free_kib) = (mem.swap_total_kib, mem.swap_free_kib);
    let (mut free_kib, mut available_kib) = (u64::MAX, u64::MAX);
    let (mut least_up, mut least_current_kib) = (0, 0);
    let mut guarded: Option<CgroupStat> = None;
    for up in from..=cgroup.levels_above {
        // At the root there is none, and where the memory controller is off.
        let limit_kib = unless_missing(cgroup.read_limit_kib(up))?.flatten();
        let limit_kib = limit_kib.filter(|&limit_kib| limit_kib < most_kib);
        // Of levels without a limit only the guarded one tells something.
        let stat = match guarded {
            Some(stat) if limit_kib.is_none() && up != guarded_up => stat,
            _ => match unless_missing(cgroup.read_stat(up))? {
                Some(stat) => stat,
                None => {
                    // Those above can be seen from a cgroup that was removed.
                    cgroup.check()?;
                    continue;
                }
            },
        };
        guarded = if up <= guarded_up { Some(stat) } else { guarded };
        if let Ok((Some(most_kib), used_kib)) = cgroup.read_swap_kib(up, limit_kib, &stat) {
            swap_total_kib = swap_total_kib.min(most_kib);
            swap_free_kib = swap_free_kib.min(most_kib.saturating_sub(used_kib));
        }
        if let Some(limit_kib) = limit_kib {
            let current_kib = cgroup.read_current_kib(up)?;
            let here_kib = limit_kib.saturating_sub(current_kib);
            free_kib = free_kib.min(here_kib);
            let left_kib = here_kib.saturating_add(stat.reclaimable_kib()).min(limit_kib);
            if left_kib < available_kib {
                (available_kib, least_up, least_current_kib) = (left_kib, up, current_kib);
            }
            total_kib = total_kib.min(limit_kib);
        }
    }
    let Some(stat) = guarded.filter(|_| available_kib < u64::MAX) else {
        // Of the machine's memory it can have all that is there.
        return Ok(0);
    };
    // Process 1 sees nobody above its own cgroup.
    let seen_up = if least_up > 0 && getpid().is_init() { 0 } else { guarded_up };
    let seen_kib = if least_up > seen_up { cgroup.read_current_kib(seen_up).ok() } else { None };
    *mem = Meminfo {
        mem_total_kib: total_kib,
        mem_free_kib: free_kib,
        mem_available_kib: available_kib,
        slab_reclaimable_kib: stat.slab_reclaimable_kib,
        anon_kib: stat.anon_kib,
        overhead_kib: stat.overhead_kib,
        // No more than the machine's.
        locked_kib: mem.locked_kib,
        shmem_kib: stat.shmem_kib,
        file_lru_kib: stat.file_kib(),
        busy_file_kib: stat.busy_file_kib(),
        swap_total_kib,
        swap_free_kib,
        outside_kib: seen_kib.map_or(0, |seen_kib| least_current_kib.saturating_sub(seen_kib)),
    };
    Ok(stat.refault_pages)
}

fn unless_missing<T>(reading: Result<T, ReadError>) -> Result<Option<T>, ReadError> {
    match reading {
        Err(ReadError::Missing) => Ok(None),
        known => known.map(Some),
    }
}
