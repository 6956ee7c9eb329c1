//! Who holds memory that is in no process's own figures: by pipes, sockets and
//! buffers of devices, or by files on a tmpfs that were filled without writing.

use super::surveyor::{SurveyContext, Surveyor};
use crate::decide::attribution::Culprit;
use crate::decide::growth::{Growth, History};
use crate::read::holdings::{Holdings, Mounts, read_holdings};
use crate::read::listing::{Listed, list_processes};
use crate::read::process::{Identity, Pid, read_stat};
use crate::sys::time;
use core::ops::ControlFlow;
use rustix::fd::BorrowedFd;

/// Memory is looked at again after this much of a search.
const PART_US: u64 = 30_000;
/// No process is looked at for longer: one may have a million files open.
const PROCESS_US: u64 = 15_000;
/// What was found this long ago is looked for anew.
const STALE_US: u64 = 2_000_000;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sought {
    /// Memory that the kernel keeps, in nobody's name.
    Kernel,
    /// Memory in tmpfs and shared memory.
    Shmem,
}

impl Sought {
    fn kib(self, held: &Holdings) -> u64 {
        match self {
            Self::Kernel => held.kernel_kib(),
            Self::Shmem => held.shmem_kib(),
        }
    }
}

/// A process and what its open files hold.
#[derive(Clone, Copy, Debug)]
struct Holder {
    id: Identity,
    held: Holdings,
}

/// Looks through the open files of all processes, a part at a time.
#[derive(Debug)]
pub struct Holders {
    /// Which mounts are a tmpfs.
    pub mounts: Mounts,
    /// What the search under way is for, and since when.
    sought: Option<(Sought, u64)>,
    /// Processes up to this pid have been looked at.
    after: i32,
    most: Option<Holder>,
}

/// What a part of a search came to.
// Made once and taken apart at once; there is no heap.
#[allow(clippy::large_enum_variant)]
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Not everybody has been looked at.
    GoesOn,
    /// The process that holds most, if it holds at least half of what is missing and
    /// may be killed.
    All(Option<Culprit>),
}

impl Holders {
    /// A search that has not begun.
    pub fn new(proc: BorrowedFd<'_>) -> Self {
        Self { mounts: Mounts::with_internal(proc), sought: None, after: 0, most: None }
    }

    /// Goes on looking for who holds `missing_kib`.
    // Out of line, so that other ways to a victim do not run below its tables.
    #[inline(never)]
    pub fn search(
        &mut self,
        proc: BorrowedFd<'_>,
        context: &SurveyContext<'_>,
        sought: Sought,
        missing_kib: u64,
    ) -> Found {
        let is_under_way = |(what, since_us): (Sought, u64)| {
            what == sought && context.now_us.saturating_sub(since_us) < STALE_US
        };
        if !self.sought.is_some_and(is_under_way) {
            self.sought = Some((sought, context.now_us));
            self.after = 0;
            self.most = None;
        }
        let surveyor = Surveyor::new(proc, context);
        let until_us = time::now_us() + PART_US;
        let Self { mounts, after, most, .. } = self;
        let listed = list_processes(proc, &mut |pid| {
            if pid.as_raw_pid() > *after && pid != Pid::INIT {
                *after = pid.as_raw_pid();
                let process_until_us = until_us.min(time::now_us() + PROCESS_US);
                let most_kib = most.map_or(missing_kib / 2, |most: Holder| sought.kib(&most.held) + 1);
                if let Ok((held, _)) = read_holdings(proc, pid, mounts, process_until_us)
                    && sought.kib(&held) >= most_kib.max(1)
                    && surveyor.read_killable(pid).is_some()
                    && let Ok(stat) = read_stat(proc, pid)
                {
                    *most = Some(Holder { id: Identity { pid, starttime: stat.starttime }, held });
                }
            }
            if time::now_us() >= until_us { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if listed == Ok(Listed::Stopped) {
            return Found::GoesOn;
        }
        self.sought = None;
        Found::All(self.most.and_then(|most| culprit_of(&surveyor, &most, sought, missing_kib)))
    }
}

fn culprit_of(surveyor: &Surveyor<'_>, most: &Holder, sought: Sought, missing_kib: u64) -> Option<Culprit> {
    let (killable, _) = surveyor.read_killable(most.id.pid)?;
    if killable.id != most.id {
        return None;
    }
    let kib = sought.kib(&most.held).min(missing_kib);
    let victim = surveyor.candidate(&killable, kib, History::NONE, Growth { kib, ..Growth::NONE });
    // What protects a process protects it here too.
    (victim.score_kib > 0).then_some(Culprit { held: most.held, ..Culprit::one(victim) })
}
