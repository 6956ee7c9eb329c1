//! What rules have the executor do: killing a cgroup, running a program, writing to a
//! file of a cgroup.

use super::{ActiveKill, Begun, Executor, FreeMemory};
use crate::act::companions::Companions;
use crate::act::hook::Purpose;
use crate::act::kill::{Kill, Timeline};
use crate::act::signal::{Refusal, SignalContext};
use crate::choose::whole::Whole;
use crate::decide::verdict::Rule;
use crate::decide::victim::Candidate;
use core::ffi::CStr;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

impl Executor<'_> {
    /// Begins to kill everybody in a cgroup, as rules ask for, with SIGKILL at once:
    /// `victim` is one of them, from whom the others are told. A hook may hold that up for
    /// so long. With `reaps` its memory is released if it takes long to die.
    ///
    /// # Errors
    /// The victim cannot be had; nothing was done.
    // Out of line, so that rules do not run below what is put together here.
    #[inline(never)]
    pub fn begin_cgroup(
        &mut self,
        victim: Candidate,
        whole: Whole,
        reaps: bool,
        hold_us: u64,
        before: FreeMemory,
        now_us: u64,
    ) -> Result<Begun, Refusal> {
        let command = self.command.filter(|&command| command != victim.id.pid);
        let context = SignalContext { command, ..self.means.context(&self.config.policy) };
        let kill = Kill::begin(&context, &victim, Timeline::new(0, 0, now_us))?;
        self.victim = victim;
        let freeable_kib = victim.freeable_kib;
        let active = ActiveKill {
            kill,
            rule: Rule::File,
            members: 1,
            is_of_many: false,
            before,
            freeable_kib,
            is_releasing: !reaps,
        };
        let active = self.active.insert(active);
        active.kill.take_along(Companions::Cgroup(whole));
        let mut begun = Begun { cgroup: Some(whole), ..Begun::default() };
        if let Some(program) = self.config.before_kill {
            let inherited = &self.means.inherited;
            let (purpose, rule) = (Purpose::BeforeKill, Rule::File);
            match self.children.start_hook(purpose, program, &victim, rule, inherited, now_us) {
                Ok(()) => active.kill.timeline = Timeline::new(0, hold_us, now_us),
                Err(_) => begun.has_hook_failed = true,
            }
        }
        Ok(begun)
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
