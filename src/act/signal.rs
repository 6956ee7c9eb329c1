//! Signals. `signal_process` is the one function of this crate that signals a
//! process somebody else started; everything it must never do is refused there,
//! whoever asks.

use crate::choose::claim::read_preference;
use crate::choose::scope::Scope;
use crate::choose::whole::Whole;
use crate::config::policy::{Policy, Preference};
use crate::read::ancestry::{Ancestry, is_descendant};
use crate::read::kfile::ReadError;
use crate::read::listing::list_processes;
use crate::read::process::{self, Identity, Leader, NEVER_KILL_ADJ, Pid, Stat};
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
    /// It is not in the guarded cgroup.
    Outside,
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
            Self::Outside => "it is outside of the guarded cgroup",
            Self::Gone => "it has exited",
            Self::Unverified => "it can no longer be identified",
            Self::NotPermitted => "not permitted",
            Self::Failed(_) => "the kernel refused",
        }
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        match ReadError::from(errno) {
            ReadError::Missing => Self::Gone,
            ReadError::NotPermitted => Self::NotPermitted,
            _ => Self::Failed(errno),
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
    /// Whose processes may be signalled.
    pub scope: &'a Scope<'a>,
    /// The command that we run, unless it is the victim.
    pub command: Option<Pid>,
    /// Is nobody hidden from us, and may we signal all of them?
    pub sees_everybody: bool,
    /// Ourselves and our parents, who are never signalled.
    pub ancestry: Ancestry,
}

impl<'a> SignalContext<'a> {
    /// Reads who our ancestors are now: good for one round of signals.
    pub fn new(
        proc: BorrowedFd<'a>,
        pidfd: bool,
        own: Pid,
        policy: &'a Policy<'a>,
        scope: &'a Scope<'a>,
    ) -> Self {
        let ancestry = Ancestry::read(proc, Some(own));
        Self { proc, pidfd, own, policy, scope, command: None, sees_everybody: false, ancestry }
    }

    /// Do the user's patterns say that it must never be killed?
    ///
    /// # Errors
    /// See [`read_preference`].
    pub fn is_unkillable(&self, pid: Pid, stat: &Stat, uid: u32) -> Result<bool, ReadError> {
        let preference = read_preference(self.proc, pid, &stat.comm, uid, self.policy)?;
        Ok(preference == Preference::Unkillable)
    }

    /// Is this process to live, or beyond our reach?
    pub fn is_spared(&self, pid: Pid) -> bool {
        let is_protected = || process::read_oom_score_adj(self.proc, pid) == Ok(NEVER_KILL_ADJ);
        pid == Pid::INIT
            || self.command == Some(pid)
            || self.ancestry.has(self.proc, pid) != Ok(false)
            || is_protected()
            || !may_signal(pid)
            || self.scope.has(pid, Leader::TakenToLive) != Ok(true)
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
        match context.ancestry.has(context.proc, pid) {
            Ok(false) => {}
            Ok(true) => return Err(Refusal::Ancestor),
            Err(_) => return Err(Refusal::Unverified),
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
        match context.scope.has(pid, stat.leader()) {
            Ok(true) => {}
            Ok(false) => return Err(Refusal::Outside),
            Err(ReadError::Missing) => return Err(Refusal::Gone),
            Err(_) => return Err(Refusal::Unverified),
        }
        // It may have executed another program since it was chosen.
        let Ok(status) = read_status(context.proc, pid) else { return Err(Refusal::Unverified) };
        match context.is_unkillable(pid, &stat, status.uid) {
            Ok(false) => {}
            Ok(true) => return Err(Refusal::Unkillable),
            Err(_) => return Err(Refusal::Unverified),
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

/// Kills everybody in a cgroup at once (`cgroup.kill`), whoever has just been born
/// included. Only after a round through all processes has found nobody in it who is to
/// live, nor anybody who could not be asked.
///
/// # Errors
/// Before Linux 5.14, in version 1, where the file is not ours to write, and where
/// somebody whom we cannot see may be in it.
pub fn kill_whole(context: &SignalContext<'_>, whole: &Whole) -> Result<(), Errno> {
    let file = context.scope.open_kill(context.proc, whole)?;
    rustix::io::write(&file, b"1").map(drop)
}

/// May the group `pgrp` be killed as a whole? Never group 0 or 1 (led from
/// outside the namespace, or by init), our own, or init's, unless that is hidden from
/// us.
pub fn may_kill_group(context: &SignalContext<'_>, pgrp: i32) -> bool {
    let group_of = |pid| process::read_stat(context.proc, pid).map(|stat| stat.pgrp);
    let is_inits = match group_of(Pid::INIT) {
        Ok(init) => init == pgrp,
        Err(error) => !matches!(error, ReadError::Missing | ReadError::NotPermitted),
    };
    pgrp > 1 && group_of(context.own).is_ok_and(|own| own != pgrp) && !is_inits
}

/// Ends a child of ours that has overstayed, with the session it leads. It has
/// not been waited for, so its pid is nobody else's.
pub fn end_child(child: Pid) {
    let _ = rustix::process::kill_process_group(child, Signal::KILL);
    let _ = rustix::process::kill_process(child, Signal::KILL);
}

/// Signals everything that the command we ran has left behind: all but process 1,
/// if that is us, else whoever descends from us, since orphans are given to us. Those who
/// are in `group` are signalled at once, so that they cannot fork meanwhile: as long as one
/// of them descends from us, its number is nobody else's.
pub fn signal_descendants(proc: BorrowedFd<'_>, own: Pid, group: Pid, number: c_int) {
    if own.is_init() {
        return send_everybody(number);
    }
    let mut is_group_told = false;
    // Who cannot be listed dies with its parent, or is left alone.
    let _ = list_processes(proc, &mut |pid| {
        if pid != own && is_descendant(proc, pid, own) {
            let stat = process::read_stat(proc, pid);
            if !stat.is_ok_and(|stat| stat.pgrp == group.as_raw_pid()) {
                send(pid, number, false);
            } else if !core::mem::replace(&mut is_group_told, true) {
                send(group, number, true);
            }
        }
        ControlFlow::Continue(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::kfile::Tree;
    use rustix::fd::AsFd;
    use std::ffi::CString;
    use std::{format, fs};

    /// The hole: where init's group could not be read for want of a descriptor, say, any
    /// group was taken to be another.
    #[test]
    fn a_group_is_spared_where_inits_cannot_be_read() {
        let dir = std::env::temp_dir().join(format!("bustd-group-{}", std::process::id()));
        let stat = |pid: i32| dir.join(format!("proc/{pid}/stat"));
        let write = |pid: i32, pgrp: i32| {
            fs::create_dir_all(stat(pid).parent().unwrap()).unwrap();
            let text = format!("{pid} (a) S 0 {pgrp} 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0\n");
            fs::write(stat(pid), text).unwrap();
        };
        write(100, 100);
        write(1, 50);
        let tree = Tree::open_captured(&CString::new(dir.to_str().unwrap()).unwrap()).unwrap();
        let policy = Policy::default();
        let (own, scope) = (Pid::from_raw(100).unwrap(), Scope::of_machine(&tree));
        let context = SignalContext::new(tree.proc.as_fd(), true, own, &policy, &scope);
        assert!(may_kill_group(&context, 60) && !may_kill_group(&context, 50));
        fs::remove_file(stat(1)).unwrap();
        assert!(may_kill_group(&context, 60), "hidden from us");
        fs::create_dir(stat(1)).unwrap();
        assert!(!may_kill_group(&context, 60), "there, and cannot be read");
        fs::remove_dir_all(dir).unwrap();
    }
}
