//! From /proc to a ranking, reading no more than the ranking asks for.

use super::sharing::{LargestMappers, Sharings, fold_address_spaces};
use super::surveyor::{Shared, SurveyContext, Surveyor};
use crate::decide::victim::Ranking;
use crate::read::kfile::ReadError;
use crate::read::listing::{Listed, list_processes};
use crate::read::process::Pid;
use core::ops::ControlFlow;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// How a survey ended.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surveyed {
    /// Everybody was looked at.
    All {
        /// How many there are, kernel threads included.
        processes: u32,
    },
    /// Processes could not be read although they are there: whoever was not may
    /// be worth more than anybody who was.
    Incomplete {
        /// Why.
        errno: Errno,
    },
    /// Memory became so short meanwhile that there is no time for the rest.
    Interrupted,
}

/// Lists every process and ranks those that could be chosen; `sharings` becomes
/// who shares memory with one that is ranked. One file each
/// bounds what a process can score; more is read only of those that can still
/// get in. A process that vanishes meanwhile is passed over.
///
/// # Errors
/// `/proc` cannot be listed.
pub fn survey<const N: usize>(
    proc: BorrowedFd<'_>,
    context: &SurveyContext<'_>,
    ranking: &mut Ranking<N>,
    sharings: &mut Sharings,
) -> Result<Surveyed, ReadError> {
    let surveyor = Surveyor::new(proc, context);
    let mut processes = 0_u32;
    let mut mappers = LargestMappers::default();
    let listed = list_processes(proc, &mut |pid| {
        processes += 1;
        if context.vigil.is_over() {
            return ControlFlow::Break(());
        }
        if pid == Pid::INIT || context.own == Some(pid) || surveyor.is_passed_over(pid) {
            return ControlFlow::Continue(());
        }
        let Some(statm) = surveyor.read_living_statm(pid) else { return ControlFlow::Continue(()) };
        mappers.note(&surveyor, pid, &statm);
        let bound_kib = surveyor.private_bound_kib(&statm);
        if let Some(candidate) = surveyor.read_candidate(pid, &statm, bound_kib, Shared::Ignored, ranking) {
            ranking.enter(candidate);
        }
        ControlFlow::Continue(())
    })?;
    if listed == Listed::Stopped {
        return Ok(Surveyed::Interrupted);
    }
    *sharings = Sharings::default();
    // The pids of a captured tree are somebody else's here.
    if context.own.is_some() {
        fold_address_spaces(ranking, sharings);
    }
    // Shared memory is freed with its last mapper. Whoever maps most is that
    // for certain only where nobody else maps half as much of anything.
    if let Some((pid, statm)) = mappers.sole() {
        let bound_kib = surveyor.total_bound_kib(&statm);
        if let Some(candidate) = surveyor.read_candidate(pid, &statm, bound_kib, Shared::Counts, ranking) {
            ranking.enter(candidate);
        }
    } else {
        mappers.enter_related(&surveyor, ranking, sharings);
    }
    match surveyor.failure.get() {
        Some(errno) => Ok(Surveyed::Incomplete { errno }),
        None => Ok(Surveyed::All { processes }),
    }
}
