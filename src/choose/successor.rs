//! Who took the place of a victim that was gone before it could be signalled. A
//! leak that forks and exits, over and over, is never there any more when a survey
//! has ended; the one that has its memory now was started last of all.

use super::surveyor::{SurveyContext, Surveyor};
use crate::decide::attribution::Culprit;
use crate::decide::growth::{Growth, History};
use crate::decide::victim::Candidate;
use crate::read::process::{self, Pid};
use crate::sys::positive_pid;
use rustix::fd::BorrowedFd;

/// Others may have started something meanwhile.
const LAST_STARTED: i32 = 4;

/// The process that was started after `gone` and has at least three quarters of its
/// memory, if it is the same user's and may be killed.
pub fn find_successor(
    proc: BorrowedFd<'_>,
    context: &SurveyContext<'_>,
    gone: &Candidate,
) -> Option<Culprit> {
    let surveyor = Surveyor::new(proc, context);
    let last = process::read_last_pid(proc).ok()?.as_raw_pid();
    let heir = |pid: Pid| {
        let (killable, status) = surveyor.read_killable(pid)?;
        let statm = process::read_statm(proc, pid).ok()?;
        let is_younger = pid != gone.id.pid && killable.id.starttime >= gone.id.starttime;
        let kib = status.private_kib(surveyor.private_bound_kib(&statm));
        let is_heir = is_younger && status.uid == gone.job.uid && kib >= gone.freeable_kib / 4 * 3;
        is_heir.then(|| surveyor.candidate(&killable, kib, History::NONE, Growth { kib, ..Growth::NONE }))
    };
    let victim = (0..LAST_STARTED).filter_map(|back| positive_pid(last - back)).find_map(heir)?;
    Some(Culprit { is_fleeing: true, ..Culprit::one(victim) })
}
