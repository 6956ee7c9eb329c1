//! Ourselves and our parents: who would take us along, or is what we guard.

use crate::read::process::{self, Pid};
use crate::sys::positive_pid;
use rustix::fd::BorrowedFd;

/// Ancestors that are remembered; a longer chain is walked each time it is asked.
const REMEMBERED: usize = 32;
/// No chain of parents is longer; it ends there should /proc ever show a loop.
const MAX_ANCESTORS: usize = 4096;

/// Our own process and its ancestors. Rebuilt for each survey and each round of
/// signals, because pids are reused. Within one it can only be too large: whoever
/// an orphan is given to was an ancestor before.
#[derive(Clone, Copy, Debug)]
pub struct Ancestry {
    own: Option<Pid>,
    pids: [Option<Pid>; REMEMBERED],
}

impl Ancestry {
    /// Reads the parents of `own`; `None` has no ancestors.
    pub fn read(proc: BorrowedFd<'_>, own: Option<Pid>) -> Self {
        let mut ancestry = Self { own, pids: [None; REMEMBERED] };
        let mut next = own;
        for place in &mut ancestry.pids {
            *place = next;
            next = next.and_then(|pid| parent(proc, pid));
        }
        ancestry
    }

    /// Is `pid` one of them?
    pub fn has(&self, proc: BorrowedFd<'_>, pid: Pid) -> bool {
        let is_cut = self.pids[REMEMBERED - 1].is_some();
        self.pids.contains(&Some(pid))
            || is_cut
                && core::iter::successors(self.own, |&child| parent(proc, child))
                    .take(MAX_ANCESTORS)
                    .any(|ancestor| ancestor == pid)
    }
}

/// Is `own` an ancestor of `pid`?
pub fn is_descendant(proc: BorrowedFd<'_>, pid: Pid, own: Pid) -> bool {
    core::iter::successors(parent(proc, pid), |&child| parent(proc, child))
        .take(MAX_ANCESTORS)
        .take_while(|&ancestor| ancestor != Pid::INIT || own == Pid::INIT)
        .any(|ancestor| ancestor == own)
}

fn parent(proc: BorrowedFd<'_>, child: Pid) -> Option<Pid> {
    positive_pid(process::read_stat(proc, child).ok()?.ppid)
}
