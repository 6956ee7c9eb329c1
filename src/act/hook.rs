//! The user's programs around a kill, and every other child of ours: started
//! without a shell, bounded in time, never waited for.

use crate::act::signal::end_child;
use crate::decide::verdict::Rule;
use crate::decide::victim::Candidate;
use crate::read::process::Pid;
use crate::sys::child::{self, Inherited};
use crate::sys::line::{Joined, Line};
use core::ffi::CStr;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::process::{WaitOptions, WaitStatus};

/// A hook is ended after this.
pub const TIMEOUT_US: u64 = 5_000_000;

/// Why a child was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `--before-kill`.
    BeforeKill,
    /// `--on-kill`.
    OnKill,
    /// process_mrelease(2).
    Release,
}

#[derive(Clone, Copy, Debug)]
struct Child {
    pid: Pid,
    purpose: Purpose,
    until_us: u64,
}

/// A child that has ended.
#[must_use]
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// What it was for.
    pub purpose: Purpose,
    /// How it ended.
    pub status: WaitStatus,
}

/// Children at once: two hooks and a release each for the active kill and the one
/// before.
const MAX_CHILDREN: usize = 6;
/// Releases among them: one that waits for its victim's lock cannot be ended, and
/// hooks must find a place.
const MAX_RELEASES: usize = 2;

/// Our running children.
#[derive(Debug, Default)]
pub struct Children {
    running: [Option<Child>; MAX_CHILDREN],
}

impl Children {
    /// Starts `program` for `victim`.
    ///
    /// # Errors
    /// Those of fork(2); EAGAIN when too many children are running.
    pub fn start_hook(
        &mut self,
        purpose: Purpose,
        program: &CStr,
        victim: &Candidate,
        rule: Rule,
        inherited: &Inherited,
        now_us: u64,
    ) -> Result<(), Errno> {
        let place = self.free_place()?;
        let victim_pid = victim.id.pid.as_raw_pid().unsigned_abs();
        let pid = Joined::with_number("BUSTD_PID=", victim_pid.into());
        let uid = Joined::with_number("BUSTD_UID=", victim.job.uid.into());
        let freeable = Joined::with_number("BUSTD_FREEABLE_KIB=", victim.freeable_kib);
        let rule = Joined::new([b"BUSTD_RULE=", rule.name().as_bytes()]);
        let mut comm = Line::default();
        comm.text("BUSTD_COMM=").escaped(victim.job.comm.as_bytes());
        let variables = [pid.as_cstr(), uid.as_cstr(), comm.as_cstr(), freeable.as_cstr(), rule.as_cstr()];
        let pid = child::spawn(program, &variables, inherited)?;
        *place = Some(Child { pid, purpose, until_us: now_us + TIMEOUT_US });
        Ok(())
    }

    /// Starts the release of a killed process's memory.
    ///
    /// # Errors
    /// Those of fork(2); EAGAIN when too many children are running.
    pub fn start_release(&mut self, pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
        let releases = self.running.iter().flatten().filter(|child| child.purpose == Purpose::Release);
        if releases.count() >= MAX_RELEASES {
            return Err(Errno::AGAIN);
        }
        let place = self.free_place()?;
        let pid = child::spawn_release(pidfd)?;
        // It cannot be ended while it waits for the victim's lock.
        *place = Some(Child { pid, purpose: Purpose::Release, until_us: u64::MAX });
        Ok(())
    }

    fn free_place(&mut self) -> Result<&mut Option<Child>, Errno> {
        self.running.iter_mut().find(|place| place.is_none()).ok_or(Errno::AGAIN)
    }

    /// Reaps one child that has ended; as process 1, orphans as well, of which
    /// nothing is told.
    // Out of line: inlined it is larger.
    #[inline(never)]
    pub fn reap(&mut self) -> Option<Ended> {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let ours = |place: &&mut Option<Child>| place.is_some_and(|child| child.pid == pid);
            if let Some(child) = self.running.iter_mut().find(ours).and_then(Option::take) {
                return Some(Ended { purpose: child.purpose, status });
            }
        }
        None
    }

    /// Ends one child that has overstayed, and tells which.
    pub fn end_overdue(&mut self, now_us: u64) -> Option<Purpose> {
        let overdue = |child: &&mut Child| now_us >= child.until_us;
        let child = self.running.iter_mut().flatten().find(overdue)?;
        end_child(child.pid);
        child.until_us = u64::MAX;
        Some(child.purpose)
    }

    /// When the next child overstays.
    pub fn deadline_us(&self) -> u64 {
        self.running.iter().flatten().map(|child| child.until_us).fold(u64::MAX, u64::min)
    }

    /// Is any hook still running?
    pub fn hooks_running(&self) -> bool {
        self.running.iter().flatten().any(|child| child.purpose != Purpose::Release)
    }
}
