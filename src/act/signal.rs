//! Signals. `signal_process` is the one function of this crate that signals a
//! process somebody else started; everything it must never do is refused there,
//! whoever asks.

use crate::choose::claim::read_preference;
use crate::config::policy::{Policy, Preference};
use crate::read::ancestry::{Ancestry, is_descendant};
use crate::read::kfile::ReadError;
use crate::read::listing::list_processes;
use crate::read::process::{self, Identity, NEVER_KILL_ADJ, Pid, Stat};
use crate::read::status::read_status;
use crate::sys::command::{send, send_everybody};
use crate::sys::{may_signal, pidfd, time};
use core::ffi::c_int;
use core::ops::ControlFlow;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal};

/// Why a process was not signalled.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is process 1.
    Init,
    /// It is us, or one of our ancestors.
    Ancestor,
    /// It is a kernel thread.
    KernelThread,
    /// Its `oom_score_adj` is −1000 now.
    Protected,
    /// The user's patterns say that it must never be killed: it has executed
    /// another program since it was chosen.
    Unkillable,
    /// It is the command that we run, and another is to die.
    Command,
    /// It has exited.
    Gone,
    /// Its pid is another process's now, or cannot be identified.
    Unverified,
    /// We lack the right.
    NotPermitted,
    /// The kernel refuses for another reason.
    Failed(Errno),
}

impl Refusal {
    /// For the log.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Init => "it is process 1",
            Self::Ancestor => "it is this process or an ancestor",
            Self::KernelThread => "it is a kernel thread",
            Self::Protected => "its oom_score_adj is -1000",
            Self::Unkillable => "its name is one of --unkillables now",
            Self::Command => "it is the command",
            Self::Gone => "it has exited",
            Self::Unverified => "it can no longer be identified",
            Self::NotPermitted => "not permitted",
            Self::Failed(_) => "the kernel refused",
        }
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::SRCH => Self::Gone,
            Errno::PERM | Errno::ACCESS => Self::NotPermitted,
            other => Self::Failed(other),
        }
    }
}

/// What a round of signals needs to know.
#[derive(Clone, Copy, Debug)]
pub struct SignalContext<'a> {
    /// `/proc` of our own pid namespace.
    pub proc: BorrowedFd<'a>,
    /// Whether pidfd_open(2) and pidfd_send_signal(2) are there.
    pub pidfd: bool,
    /// Ourselves.
    pub own: Pid,
    /// Who is never killed by name.
    pub policy: &'a Policy<'a>,
    /// The command that we run, unless it is the victim.
    pub command: Option<Pid>,
    /// Ourselves and our parents, who are never signalled.
    pub ancestry: Ancestry,
}

impl<'a> SignalContext<'a> {
    /// Reads who our ancestors are now: good for one round of signals.
    pub fn new(proc: BorrowedFd<'a>, pidfd: bool, own: Pid, policy: &'a Policy<'a>) -> Self {
        Self { proc, pidfd, own, policy, command: None, ancestry: Ancestry::read(proc, Some(own)) }
    }

    /// Do the user's patterns say that it must never be killed?
    pub fn is_unkillable(&self, pid: Pid, stat: &Stat, uid: u32) -> bool {
        read_preference(self.proc, pid, &stat.comm, uid, self.policy) == Preference::Unkillable
    }

    /// Is this process to live, or beyond our reach?
    pub fn is_spared(&self, pid: Pid) -> bool {
        let is_protected = || process::read_oom_score_adj(self.proc, pid) == Ok(NEVER_KILL_ADJ);
        pid == Pid::INIT
            || self.command == Some(pid)
            || self.ancestry.has(self.proc, pid)
            || is_protected()
            || !may_signal(pid)
    }
}

/// A process held for signalling: through a pidfd, which keeps meaning that
/// one process, where the kernel has them.
#[derive(Debug)]
pub struct Target {
    id: Identity,
    pidfd: Option<OwnedFd>,
}

impl Target {
    /// Takes hold of the process, without having verified it yet.
    ///
    /// # Errors
    /// [`Refusal::Gone`], or another error of pidfd_open(2).
    pub fn open(context: &SignalContext<'_>, id: Identity) -> Result<Self, Refusal> {
        let pidfd = match context.pidfd {
            true => Some(rustix::process::pidfd_open(id.pid, PidfdFlags::empty())?),
            false => None,
        };
        Ok(Self { id, pidfd })
    }

    /// Polls readable when the process is gone; `None` without pidfds.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(|fd| fd.as_fd())
    }

    /// Is the process gone, all its threads included?
    pub fn is_gone(&self, context: &SignalContext<'_>) -> bool {
        self.is_gone_within(context, 0)
    }

    /// The same, waiting up to `us` microseconds for it.
    pub fn is_gone_within(&self, context: &SignalContext<'_>, us: u64) -> bool {
        if let Some(pidfd) = &self.pidfd {
            // Readable once the last thread has exited, not at the leader's exit.
            let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
            return poll(&mut fds, Some(&time::timespec(us))).is_ok_and(|ready| ready > 0);
        }
        time::pause(us);
        match process::read_stat(context.proc, self.id.pid) {
            Ok(stat) => stat.starttime != self.id.starttime || stat.is_gone(),
            Err(error) => error == ReadError::Missing,
        }
    }

    /// Has it died and given its memory back, although it is not gone? A thread
    /// that its tracer does not wait for keeps the process a zombie.
    pub fn has_no_memory(&self, context: &SignalContext<'_>) -> bool {
        let pid = self.id.pid;
        let is_it = |stat: Stat| stat.starttime == self.id.starttime && stat.has_leader_exited();
        process::read_stat(context.proc, pid).is_ok_and(is_it)
            && process::read_oom_score(context.proc, pid) == Ok(0)
    }

    /// Is this still the process that was chosen, and one that may die? Holds
    /// for as long as the process is not reaped, which the last check shows it
    /// was not.
    fn verify(&self, context: &SignalContext<'_>) -> Result<(), Refusal> {
        let pid = self.id.pid;
        if pid.as_raw_pid() <= 1 {
            return Err(Refusal::Init);
        }
        if context.ancestry.has(context.proc, pid) {
            return Err(Refusal::Ancestor);
        }
        if context.command == Some(pid) {
            return Err(Refusal::Command);
        }
        let stat = match process::read_stat(context.proc, pid) {
            Ok(stat) => stat,
            Err(ReadError::Missing) => return Err(Refusal::Gone),
            Err(_) => return Err(Refusal::Unverified),
        };
        if stat.starttime != self.id.starttime {
            return Err(Refusal::Unverified);
        }
        if stat.is_kernel_thread() {
            return Err(Refusal::KernelThread);
        }
        // It may have executed another program since it was chosen.
        let Ok(status) = read_status(context.proc, pid) else { return Err(Refusal::Unverified) };
        if context.is_unkillable(pid, &stat, status.uid) {
            return Err(Refusal::Unkillable);
        }
        match process::read_oom_score_adj(context.proc, pid) {
            Ok(NEVER_KILL_ADJ) => return Err(Refusal::Protected),
            Ok(_) => {}
            Err(_) => return Err(Refusal::Unverified),
        }
        match &self.pidfd {
            Some(pidfd) => Ok(pidfd::test(pidfd.as_fd())?),
            None => Ok(()),
        }
    }
}

/// Signals one process, after making sure that it is the one that was chosen
/// and one that may be signalled at all.
///
/// # Errors
/// Whatever speaks against it; then nothing was sent.
pub fn signal_process(context: &SignalContext<'_>, target: &Target, signal: Signal) -> Result<(), Refusal> {
    target.verify(context)?;
    match &target.pidfd {
        Some(pidfd) => rustix::process::pidfd_send_signal(pidfd, signal)?,
        // Before 5.3: the window between the check and this is microseconds.
        None => rustix::process::kill_process(target.id.pid, signal)?,
    }
    Ok(())
}

/// May the group `pgrp` be killed as a whole? Never group 0 or 1 (led from
/// outside the namespace, or by init), our own, or init's.
pub fn may_kill_group(context: &SignalContext<'_>, pgrp: i32) -> bool {
    let group_of = |pid| process::read_stat(context.proc, pid).map(|stat| stat.pgrp);
    pgrp > 1
        && group_of(context.own).is_ok_and(|own| own != pgrp)
        && group_of(Pid::INIT).map_or_else(|error| error != ReadError::Malformed, |init| init != pgrp)
}

/// Ends a child of ours that has overstayed, with the session it leads. It has
/// not been waited for, so its pid is nobody else's.
pub fn end_child(child: Pid) {
    let _ = rustix::process::kill_process_group(child, Signal::KILL);
    let _ = rustix::process::kill_process(child, Signal::KILL);
}

/// Signals everything that the command we ran has left behind: all but process 1,
/// if that is us, else whoever descends from us, since orphans are given to us.
pub fn signal_descendants(proc: BorrowedFd<'_>, own: Pid, number: c_int) {
    if own.is_init() {
        return send_everybody(number);
    }
    // Who cannot be listed dies with its parent, or is left alone.
    let _ = list_processes(proc, &mut |pid| {
        if pid != own && is_descendant(proc, pid, own) {
            send(pid, number, false);
        }
        ControlFlow::Continue(())
    });
}
