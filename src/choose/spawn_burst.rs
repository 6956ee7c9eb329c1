//! Spawn bursts: many small, young processes of one job that took memory
//! together.

use super::surveyor::{Killable, SurveyContext, Surveyor};
use crate::decide::attribution::Culprit;
use crate::decide::baseline::weighted_kib;
use crate::decide::growth::{Growth, History};
use crate::decide::victim::{Candidate, score_kib};
use crate::read::kfile::ReadError;
use crate::read::listing::list_processes;
use crate::read::process::{self, JobKey, Pid};
use crate::read::status::read_status;
use crate::sys::time::boottime_ticks;
use core::ops::ControlFlow;
use rustix::fd::BorrowedFd;

/// Jobs that are told apart while their young processes are counted.
const JOBS: usize = 8;
/// A spawn burst has at least this many members: no make -j of ordinary size does.
pub const SPAWN_BURST_MIN: u32 = 48;

/// What the kernel keeps for one process besides its pages: stack, page tables,
/// descriptors; and pages that it has not counted yet, up to 63 before Linux 6.2.
const KERNEL_SHARE_KIB: u64 = 128;

/// One job, how many young processes it has and what they hold.
struct Counted {
    /// One that may be killed, looked for once there are enough.
    pid: Option<Pid>,
    job: JobKey,
    members: u32,
    held_kib: u64,
}

/// Processes younger than this belong to a spawn burst or a growing group that
/// is at work now.
const YOUNG_TICKS: u64 = 60 * 100;

/// What started since then is young, in clock ticks since boot.
pub fn young_since() -> u64 {
    boottime_ticks().saturating_sub(YOUNG_TICKS)
}

/// Finds a spawn burst: many processes of one job born since `born_after`, each
/// too small for the ranking, that together hold at least half of
/// `unexplained_kib`. What more is missing is somebody else's, a driver's say, and
/// to be many is no crime; nor is what those of `ranked` have grown by, which explains
/// something else that is missing. True if there is one and `culprit` has become it.
///
/// # Errors
/// `/proc` cannot be listed.
pub fn survey_spawn_burst(
    proc: BorrowedFd<'_>,
    context: &SurveyContext<'_>,
    born_after: u64,
    unexplained_kib: u64,
    ranked: &[Candidate],
    culprit: &mut Culprit,
) -> Result<bool, ReadError> {
    let surveyor = Surveyor::new(proc, context);
    let mut jobs: [Option<Counted>; JOBS] = [const { None }; JOBS];
    // Of a list that is cut short, what was counted counts.
    let _ = list_processes(proc, &mut |pid| {
        if context.vigil.is_over() {
            return ControlFlow::Break(());
        }
        let next = ControlFlow::Continue(());
        if pid == Pid::INIT || context.own == Some(pid) {
            return next;
        }
        let Ok(stat) = process::read_stat(proc, pid) else { return next };
        if stat.starttime < born_after || stat.is_kernel_thread() || stat.is_gone() {
            return next;
        }
        if !surveyor.is_in_scope(pid) {
            return next;
        }
        // Not the owner of /proc/PID, which is root for who hides from ptrace(2).
        let Ok(status) = read_status(proc, pid) else { return next };
        let job = stat.job_key(status.uid);
        let anon_kib = || {
            let statm = process::read_statm(proc, pid).unwrap_or_default();
            statm.resident_pages.saturating_sub(statm.shared_pages).saturating_mul(context.page_kib)
        };
        // Linux before 4.5 does not tell in status.
        let private_kib = status.private_kib(if status.anon_kib.is_none() { anon_kib() } else { 0 });
        let explained = ranked.iter().find(|held| held.id.pid == pid);
        let explained_kib = explained.map_or(0, |held| held.growth.kib);
        let held_kib = private_kib.saturating_sub(explained_kib).saturating_add(KERNEL_SHARE_KIB);
        if let Some(counted) = jobs.iter_mut().flatten().find(|counted| counted.job.same_job(&job)) {
            counted.members += 1;
            counted.held_kib = counted.held_kib.saturating_add(held_kib);
            if counted.members >= SPAWN_BURST_MIN && counted.pid.is_none() && context.command != Some(pid) {
                counted.pid = surveyor.read_killable(pid).map(|_| pid);
            }
        } else if let Some(rarest) = jobs.iter_mut().min_by_key(|place| members(place)) {
            // The rarest makes room: a spawn burst is not the rarest for long.
            *rarest = Some(Counted { pid: None, job, members: 1, held_kib });
        }
        next
    })?;
    // By reference: what is moved is copied, field by field, for each that is compared.
    let most = jobs.iter().flatten().max_by_key(|job| job.members);
    let Some(&Counted { pid: Some(pid), members, held_kib, .. }) = most else { return Ok(false) };
    if held_kib < unexplained_kib / 2 {
        return Ok(false);
    }
    let Some((killable, _)) = surveyor.read_killable(pid) else { return Ok(false) };
    // Each is weighed on its own, so that what protects each protects all.
    let freeable_kib = held_kib.min(unexplained_kib);
    let share_kib = freeable_kib / u64::from(members);
    let Killable { oom_score_adj, preference, .. } = killable;
    let score_kib =
        score_kib(weighted_kib(share_kib, share_kib), oom_score_adj, preference, context.total_kib);
    if score_kib <= 0 {
        return Ok(false);
    }
    let growth = Growth { kib: freeable_kib, ..Growth::NONE };
    let first = surveyor.candidate(&killable, freeable_kib, History::NONE, growth);
    culprit.become_one(&first);
    culprit.victim.score_kib = score_kib.saturating_mul(members.into());
    culprit.members = members;
    culprit.is_spawn_burst = true;
    Ok(true)
}

fn members(place: &Option<Counted>) -> u32 {
    place.as_ref().map_or(0, |counted| counted.members)
}
