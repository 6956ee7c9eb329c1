//! What rules have the executor do: killing a cgroup, running a program, writing to a
//! file of a cgroup.

use super::{ActiveKill, Begun, Executor, FreeMemory};
use crate::act::kill::{Kill, Timeline};
use crate::act::signal::Refusal;
use crate::choose::whole::Whole;
use crate::decide::verdict::Rule;
use crate::decide::victim::Candidate;
use core::ffi::CStr;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;

/// A cgroup that rules have chosen, and how it is to die.
#[derive(Debug)]
pub struct Doomed {
    /// Which it is.
    pub whole: Whole,
    /// Its directory, which one of the same path that is made later has not.
    pub dir: Option<OwnedFd>,
    /// Is its memory to be released if it takes long to die?
    pub reaps: bool,
    /// A hook may hold the kill up for so long, as long as memory lasts.
    pub hold_us: u64,
}

impl Executor<'_> {
    /// Begins to kill everybody in a cgroup, as rules ask for, with SIGKILL at once:
    /// `victim` is one of them, from whom the others are told.
    ///
    /// # Errors
    /// The victim cannot be had; nothing was done.
    // Out of line, so that rules do not run below what is put together here.
    #[inline(never)]
    pub fn begin_cgroup(
        &mut self,
        victim: Candidate,
        doomed: Doomed,
        before: FreeMemory,
        now_us: u64,
    ) -> Result<Begun, Refusal> {
        let context = self.means.context(&self.config.policy, self.command, &victim);
        let kill = Kill::begin(&context, &victim, Timeline::new(0, now_us))?;
        self.victim = victim;
        let active = self.active.insert(ActiveKill {
            kill,
            rule: Rule::File,
            members: 1,
            is_of_many: false,
            before,
            freeable_kib: victim.freeable_kib,
            is_releasing: !doomed.reaps,
        });
        active.kill.take_all_of(doomed.whole, doomed.dir);
        let has_hook_failed = !self.start_before_kill(Rule::File, doomed.hold_us, now_us);
        Ok(Begun { cgroup: Some(doomed.whole), has_hook_failed, ..Begun::default() })
    }

    /// Starts a program for a rule; see
    /// [`Children::start_program`](crate::act::hook::Children::start_program).
    ///
    /// # Errors
    /// See there.
    pub fn start_program(
        &mut self,
        number: u32,
        arguments: &[&[u8]],
        variables: &[&CStr],
        timeout_us: u64,
        now_us: u64,
    ) -> Result<(), Errno> {
        let inherited = &self.means.inherited;
        self.children.start_program(number, arguments, variables, inherited, now_us + timeout_us)
    }

    /// Has a child write to a file of a cgroup; see
    /// [`Children::start_writing`](crate::act::hook::Children::start_writing).
    ///
    /// # Errors
    /// See there.
    pub fn start_writing(
        &mut self,
        dir: BorrowedFd<'_>,
        file: &CStr,
        text: &[u8],
        timeout_us: u64,
        now_us: u64,
    ) -> Result<(), Errno> {
        self.children.start_writing(dir, file, text, now_us + timeout_us)
    }
}
