//! Killing. [`signal_process`] is the one function of this crate that signals
//! a process somebody else started; everything it must never do is refused
//! there, whoever asks.

use crate::choose::survey::{Ancestry, NEVER_KILL_ADJ, TABLE};
use crate::decide::victim::{Candidate, Policy, Preference};
use crate::read::kfile::ReadError;
use crate::read::process::{self, Identity, JobKey, Pid, Stat};
use crate::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
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
    Ancestry,
    /// It is a kernel thread.
    KernelThread,
    /// Its `oom_score_adj` is −1000 now.
    Protected,
    /// It has exited.
    Gone,
    /// Its pid is another process's now, or it cannot be told.
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
            Self::Ancestry => "it is this process or an ancestor",
            Self::KernelThread => "it is a kernel thread",
            Self::Protected => "its oom_score_adj is -1000",
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

/// How we reach processes.
#[derive(Clone, Copy, Debug)]
pub struct SignalContext<'a> {
    /// `/proc` of our own pid namespace.
    pub proc: BorrowedFd<'a>,
    /// Whether pidfd_open(2) and pidfd_send_signal(2) are there.
    pub pidfd: bool,
    /// Ourselves.
    pub own: Pid,
    /// Who must not be signalled with us.
    pub ancestry: Ancestry,
}

impl<'a> SignalContext<'a> {
    /// Reads who is kin now: good for one round of signals.
    pub fn new(proc: BorrowedFd<'a>, pidfd: bool, own: Pid) -> Self {
        Self { proc, pidfd, own, ancestry: Ancestry::read(proc, Some(own)) }
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

    fn is_gone_within(&self, context: &SignalContext<'_>, us: u64) -> bool {
        if let Some(pidfd) = &self.pidfd {
            // Readable once the last thread has exited, not at the leader's exit.
            let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
            let time = Timespec { tv_sec: 0, tv_nsec: (us * 1000) as _ };
            return poll(&mut fds, Some(&time)).is_ok_and(|ready| ready > 0);
        }
        sys::pause(us);
        match process::read_stat(context.proc, self.id.pid) {
            Ok(stat) => stat.starttime != self.id.starttime || stat.is_gone(),
            Err(error) => error == ReadError::Missing,
        }
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
            return Err(Refusal::Ancestry);
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
        match process::read_oom_score_adj(context.proc, pid) {
            Ok(NEVER_KILL_ADJ) => return Err(Refusal::Protected),
            Ok(_) => {}
            Err(_) => return Err(Refusal::Unverified),
        }
        match &self.pidfd {
            Some(pidfd) => Ok(sys::pidfd_test(pidfd.as_fd())?),
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

/// Who dies with the victim.
// There is no heap to put the larger one on.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, Debug)]
pub enum Companions {
    /// A process group.
    Group(Group),
    /// A swarm.
    GrowingGroup(Members),
}

/// A process group, told from a later one of the same number: that is taken as
/// long as the group has members, so a process of that pid which was not its
/// leader from the start can only lead another.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    pgrp: i32,
    leader_starttime: Option<u64>,
}

impl Group {
    /// The group `pgrp` as it is now.
    pub fn find(context: &SignalContext<'_>, pgrp: i32) -> Self {
        Self { pgrp, leader_starttime: starttime_of(context, pgrp) }
    }

    fn is_another_now(&self, context: &SignalContext<'_>) -> bool {
        let now = starttime_of(context, self.pgrp);
        now.is_some() && now != self.leader_starttime
    }
}

/// The members of a swarm: of one kind, and seen to grow or young.
#[derive(Clone, Copy, Debug)]
pub struct Members {
    /// What they have in common.
    pub job: JobKey,
    /// Those that grew.
    pub grown: [Option<Identity>; TABLE],
    /// Whoever started since, in clock ticks since boot, ...
    pub born_after: u64,
    /// ... but not after this: who is started anew in place of the dead has not
    /// grown, and there would be no end.
    pub born_before: u64,
}

impl Companions {
    fn has(&self, pid: Pid, stat: &Stat) -> bool {
        match self {
            Self::Group(group) => stat.pgrp == group.pgrp,
            Self::GrowingGroup(members) => {
                let id = Identity { pid, starttime: stat.starttime };
                members.job.same_job(&stat.job())
                    && ((members.born_after..=members.born_before).contains(&stat.starttime)
                        || members.grown.contains(&Some(id)))
            }
        }
    }

    /// Calls `member` with every process of it that still lives.
    fn for_each_member(
        &self,
        context: &SignalContext<'_>,
        policy: &Policy<'_>,
        member: &mut dyn FnMut(Pid, &Stat),
    ) {
        if let Self::Group(group) = self
            && group.is_another_now(context)
        {
            return;
        }
        // A /proc that cannot be listed has no members to tell of.
        let _ = process::list_processes(context.proc, &mut |pid| {
            if let Ok(stat) = process::read_stat(context.proc, pid)
                && self.has(pid, &stat)
                && !stat.is_gone()
                && policy.preference(&stat.comm) != Preference::Unkillable
            {
                member(pid, &stat);
            }
        });
    }

    /// Signals every member but `first`, who has been: asked twice, a program may
    /// end without what it wanted to save. Each is verified on its own, unlike
    /// with kill(2) on a group, and one that cannot be had does not keep the
    /// others alive.
    fn signal(&self, context: &SignalContext<'_>, policy: &Policy<'_>, signal: Signal, first: Pid) {
        let mut patient = TABLE;
        self.for_each_member(context, policy, &mut |pid, stat| {
            let id = Identity { pid, starttime: stat.starttime };
            if pid != first
                && let Ok(member) = Target::open(context, id)
                && signal_process(context, &member, signal).is_ok()
            {
                member
                    .is_gone_within(context, if patient > 0 { MEMBER_WAIT_US } else { SMALL_MEMBER_WAIT_US });
                patient = patient.saturating_sub(1);
            }
            sys::pause(PAUSE_US);
        });
    }

    /// Lives any member that could be signalled?
    fn is_left(&self, context: &SignalContext<'_>, policy: &Policy<'_>) -> bool {
        let mut left = false;
        self.for_each_member(context, policy, &mut |pid, _| left |= !is_spared(context, pid));
        left
    }
}

/// How long each member of a swarm is waited for before the next is signalled, and
/// how long everybody else is left alone then: a thousand that die at once, or on
/// each other's heels, would have the processor to themselves.
const MEMBER_WAIT_US: u64 = 10_000;
const PAUSE_US: u64 = 500;
/// The same past the first [`TABLE`], where only a crowd has any: they have less to
/// give back, and all of them must be got at.
const SMALL_MEMBER_WAIT_US: u64 = 2000;

fn starttime_of(context: &SignalContext<'_>, raw_pid: i32) -> Option<u64> {
    let pid = sys::positive_pid(raw_pid)?;
    process::read_stat(context.proc, pid).ok().map(|stat| stat.starttime)
}

/// Is this process to live, or beyond our reach?
fn is_spared(context: &SignalContext<'_>, pid: Pid) -> bool {
    let protected = || process::read_oom_score_adj(context.proc, pid) == Ok(NEVER_KILL_ADJ);
    pid == Pid::INIT || context.ancestry.has(context.proc, pid) || protected() || !sys::may_signal(pid)
}

/// How a kill stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing sent: a hook has until then.
    Held { until_us: u64 },
    /// SIGTERM sent; SIGKILL follows then.
    Asked { until_us: u64 },
    /// SIGKILL sent; given up then.
    Forced { until_us: u64 },
}

/// What became of a kill in one step.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing yet.
    Waiting,
    /// A signal has just been sent.
    Signalled(Signal),
    /// The victim is gone.
    Dead,
    /// It took SIGKILL and does not die: uninterruptible.
    Stuck,
    /// It could not be signalled.
    Refused(Refusal),
}

/// A hook may hold a kill no longer than this.
pub const HOLD_US: u64 = 200_000;

/// After SIGKILL a process that can die is gone in far less, even with
/// gigabytes to free; one that cannot is waiting for a device.
pub const STUCK_AFTER_US: u64 = 2_000_000;

/// How long a victim may take whose memory is visibly coming back.
pub const SLOW_AFTER_US: u64 = 10_000_000;

/// A kill under way, stepped by the loop.
#[derive(Debug)]
pub struct Kill {
    /// Who dies.
    pub victim: Candidate,
    target: Target,
    companions: Option<Companions>,
    grace_us: u64,
    stage: Stage,
    /// When the first signal went out.
    pub signalled_us: Option<u64>,
    /// Whether SIGTERM was sent.
    pub asked: bool,
    /// When SIGKILL went out.
    pub forced_us: Option<u64>,
}

impl Kill {
    /// Takes hold of the victim. Nothing is sent before [`Self::step`], and
    /// that not before `hold_us` have passed or [`Self::release_hold`].
    ///
    /// # Errors
    /// See [`Target::open`].
    pub fn begin(
        context: &SignalContext<'_>,
        victim: Candidate,
        companions: Option<Companions>,
        grace_us: u64,
        now_us: u64,
        hold_us: u64,
    ) -> Result<Self, Refusal> {
        let target = Target::open(context, victim.id)?;
        let stage = Stage::Held { until_us: now_us + hold_us };
        Ok(Self {
            victim,
            target,
            companions,
            grace_us,
            stage,
            signalled_us: None,
            asked: false,
            forced_us: None,
        })
    }

    /// The hook has ended: no reason to wait.
    pub fn release_hold(&mut self) {
        if let Stage::Held { until_us } = &mut self.stage {
            *until_us = 0;
        }
    }

    /// When the next step is due at the latest.
    pub fn deadline_us(&self) -> u64 {
        match self.stage {
            Stage::Held { until_us } | Stage::Asked { until_us } | Stage::Forced { until_us } => until_us,
        }
    }

    /// Polls readable when the victim is gone; `None` without pidfds.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.target.pidfd()
    }

    /// Does the victim die alone? Else its end is not the end.
    pub fn is_of_one(&self) -> bool {
        self.companions.is_none()
    }

    /// Moves on: `force` once memory is below the KILL limit; `recovering`
    /// while the victim's memory is coming back.
    pub fn step(
        &mut self,
        context: &SignalContext<'_>,
        policy: &Policy<'_>,
        now_us: u64,
        force: bool,
        recovering: bool,
    ) -> Progress {
        if self.is_done(context, policy) {
            return Progress::Dead;
        }
        let due = now_us >= self.deadline_us();
        match self.stage {
            Stage::Held { .. } if !due => Progress::Waiting,
            Stage::Held { .. } if force || self.grace_us == 0 => self.force(context, policy, now_us),
            Stage::Held { .. } => self.send(
                context,
                policy,
                now_us,
                Signal::TERM,
                Stage::Asked { until_us: now_us + self.grace_us },
            ),
            Stage::Asked { .. } if due || force => self.force(context, policy, now_us),
            Stage::Forced { until_us } if due => {
                let since_us = now_us.saturating_sub(until_us - STUCK_AFTER_US);
                if !recovering || since_us >= SLOW_AFTER_US { Progress::Stuck } else { Progress::Waiting }
            }
            Stage::Forced { .. } => {
                // Those that were born while the others were being signalled.
                if let Some(companions) = &self.companions {
                    companions.signal(context, policy, Signal::KILL, self.victim.id.pid);
                }
                Progress::Waiting
            }
            Stage::Asked { .. } => Progress::Waiting,
        }
    }

    fn force(&mut self, context: &SignalContext<'_>, policy: &Policy<'_>, now_us: u64) -> Progress {
        self.send(context, policy, now_us, Signal::KILL, Stage::Forced { until_us: now_us + STUCK_AFTER_US })
    }

    fn send(
        &mut self,
        context: &SignalContext<'_>,
        policy: &Policy<'_>,
        now_us: u64,
        signal: Signal,
        next: Stage,
    ) -> Progress {
        let sent = signal_process(context, &self.target, signal);
        if let Some(companions) = &self.companions {
            companions.signal(context, policy, signal, self.victim.id.pid);
        }
        match sent {
            Ok(()) => {}
            // The rest may live on.
            Err(Refusal::Gone) if self.companions.is_some() => {}
            Err(Refusal::Gone) => return Progress::Dead,
            Err(refusal) => return Progress::Refused(refusal),
        }
        self.stage = next;
        self.asked |= signal == Signal::TERM;
        if signal == Signal::KILL {
            self.forced_us = self.forced_us.or(Some(now_us));
        }
        self.signalled_us = self.signalled_us.or(Some(now_us));
        Progress::Signalled(signal)
    }

    /// Is there nobody left to wait for?
    fn is_done(&self, context: &SignalContext<'_>, policy: &Policy<'_>) -> bool {
        let is_left =
            |companions: &Companions| self.signalled_us.is_some() && companions.is_left(context, policy);
        self.target.is_gone(context) && !self.companions.as_ref().is_some_and(is_left)
    }
}

/// Ends a child of ours that has overstayed, with the session it leads. It has
/// not been waited for, so its pid is nobody else's.
pub fn end_child(child: Pid) {
    let _ = rustix::process::kill_process_group(child, Signal::KILL);
    let _ = rustix::process::kill_process(child, Signal::KILL);
}
