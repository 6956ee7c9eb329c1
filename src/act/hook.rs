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

/// A hook is ended after this, or when it may not hold a kill up any longer, if that is later.
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
    /// A rule's program, by the number of its plugin.
    #[cfg(feature = "rules")]
    Program(u32),
    /// A write of a rule's to a file of a cgroup.
    #[cfg(feature = "rules")]
    Writing,
}

impl Purpose {
    /// Is it a rule's?
    pub fn is_of_rules(self) -> bool {
        !matches!(self, Self::BeforeKill | Self::OnKill | Self::Release)
    }
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

/// Who was reaped.
#[must_use]
#[derive(Clone, Copy, Debug)]
pub enum Reaped {
    /// A child that was started for a kill.
    Ours(Ended),
    /// The command, or an orphan that was given to us.
    Other(Pid, WaitStatus),
    /// All children are alive.
    Nobody,
    /// There are no children.
    NobodyIsLeft,
}

/// Children at once: two hooks and a release each for the active kill and the one
/// before, and those of rules.
const MAX_CHILDREN: usize = 6 + MAX_OF_RULES;
/// Those of rules: the rest of them wait for the next tick.
const MAX_OF_RULES: usize = if cfg!(feature = "rules") { 8 } else { 0 };
/// Releases among them: one that waits for its victim's lock cannot be ended, and
/// hooks must find a place.
const MAX_RELEASES: usize = 2;

/// What starts a hook: [`Children::start_hook`]. Not called by name: so the linker can
/// refuse a loop that refers to it, which is given up where there are no hooks.
pub type StartHook =
    fn(&mut Children, Purpose, &CStr, &Candidate, Rule, &Inherited, u64) -> Result<(), Errno>;

/// Our running children.
#[derive(Debug, Default)]
pub struct Children {
    running: [Option<Child>; MAX_CHILDREN],
}

impl Children {
    /// Starts `program` for `victim`. It is ended at `until_us`.
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
        until_us: u64,
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
        *place = Some(Child { pid, purpose, until_us });
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

    /// Starts the program `arguments[0]`, each of which ends with a NUL, for the plugin with
    /// this number. It is ended at `until_us`.
    ///
    /// # Errors
    /// Those of fork(2); EAGAIN when too many programs of rules are running.
    #[cfg(feature = "rules")]
    pub fn start_program(
        &mut self,
        number: u32,
        arguments: &[&[u8]],
        variables: &[&CStr],
        inherited: &Inherited,
        until_us: u64,
    ) -> Result<(), Errno> {
        let place = self.place_for_rules()?;
        let pid = child::spawn_with(arguments, variables, inherited)?;
        *place = Some(Child { pid, purpose: Purpose::Program(number), until_us });
        Ok(())
    }

    /// Has a child write `text` to a file below `dir`, for writing to files of a cgroup can
    /// take as long as reclaiming its memory does. It is ended at `until_us`.
    ///
    /// # Errors
    /// As for [`Self::start_program`].
    #[cfg(feature = "rules")]
    pub fn start_writing(
        &mut self,
        dir: BorrowedFd<'_>,
        file: &CStr,
        text: &[u8],
        until_us: u64,
    ) -> Result<(), Errno> {
        let place = self.place_for_rules()?;
        let pid = child::spawn_writing(dir, file, text)?;
        *place = Some(Child { pid, purpose: Purpose::Writing, until_us });
        Ok(())
    }

    #[cfg(feature = "rules")]
    fn place_for_rules(&mut self) -> Result<&mut Option<Child>, Errno> {
        let theirs = self.running.iter().flatten().filter(|child| child.purpose.is_of_rules());
        if theirs.count() >= MAX_OF_RULES {
            return Err(Errno::AGAIN);
        }
        self.free_place()
    }

    fn free_place(&mut self) -> Result<&mut Option<Child>, Errno> {
        self.running.iter_mut().find(|place| place.is_none()).ok_or(Errno::AGAIN)
    }

    /// Reaps one child that has ended, if there is one.
    // Out of line: inlined it is larger.
    #[inline(never)]
    pub fn reap(&mut self) -> Reaped {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let ours = |place: &&mut Option<Child>| place.is_some_and(|child| child.pid == pid);
                match self.running.iter_mut().find(ours).and_then(Option::take) {
                    Some(child) => Reaped::Ours(Ended { purpose: child.purpose, status }),
                    None => Reaped::Other(pid, status),
                }
            }
            Ok(None) => Reaped::Nobody,
            Err(_) => Reaped::NobodyIsLeft,
        }
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
        let is_hook = |child: &Child| child.purpose != Purpose::Release && !child.purpose.is_of_rules();
        self.running.iter().flatten().any(is_hook)
    }
}
