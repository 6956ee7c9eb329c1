//! Companions: who dies with the victim.

use super::signal::{SignalContext, Target, signal_process};
use crate::config::policy::Preference;
use crate::decide::victim::TABLE;
use crate::read::kfile::ReadError;
use crate::read::listing::list_processes;
use crate::read::process::{self, Identity, JobKey, Pid, Stat};
use crate::sys::{positive_pid, time};
use rustix::process::Signal;

/// How long each member of a group is waited for before the next is signalled,
/// and how long everybody else is left alone after that: a thousand that die at
/// once, or right after each other, would have the processor to themselves.
const MEMBER_WAIT_US: u64 = 10_000;
const PAUSE_US: u64 = 500;
/// The same past the first [`TABLE`] members, which only a spawn burst has: they
/// have less to give back, and all of them must be reached.
const SMALL_MEMBER_WAIT_US: u64 = 2000;

/// Who dies with the victim.
// There is no heap to put the larger one on.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, Debug)]
pub enum Companions {
    /// A process group.
    Group(Group),
    /// A growing group or a spawn burst.
    Job(Members),
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

/// The members of a growing group or spawn burst: of one job, and seen to grow or
/// young.
#[derive(Clone, Copy, Debug)]
pub struct Members {
    /// What they have in common.
    pub job: JobKey,
    /// Those that grew.
    pub grown: [Option<Identity>; TABLE],
    /// Whoever started since, in clock ticks since boot, ...
    pub born_after: u64,
    /// ... but not after this: whoever is started anew in place of the dead has
    /// not grown, and there would be no end.
    pub born_before: u64,
}

impl Companions {
    fn has(&self, pid: Pid, stat: &Stat) -> bool {
        match self {
            Self::Group(group) => stat.pgrp == group.pgrp,
            Self::Job(members) => {
                let id = Identity { pid, starttime: stat.starttime };
                members.job.same_job(&stat.job_key())
                    && ((members.born_after..=members.born_before).contains(&stat.starttime)
                        || members.grown.contains(&Some(id)))
            }
        }
    }

    /// Calls `member` with every process of it that still lives.
    fn for_each_member(
        &self,
        context: &SignalContext<'_>,
        member: &mut dyn FnMut(Pid, &Stat),
    ) -> Result<(), ReadError> {
        if let Self::Group(group) = self
            && group.is_another_now(context)
        {
            return Ok(());
        }
        list_processes(context.proc, &mut |pid| {
            if let Ok(stat) = process::read_stat(context.proc, pid)
                && self.has(pid, &stat)
                && !stat.is_gone()
                && context.policy.preference(&stat.comm) != Preference::Unkillable
            {
                member(pid, &stat);
            }
        })
    }

    /// Signals every member but `first`, who has been: asked twice, a program may
    /// end without what it wanted to save. Each is verified on its own, unlike
    /// with kill(2) on a group, and one that cannot be signalled does not keep
    /// the others alive. Returns how many were signalled.
    pub fn signal(&self, context: &SignalContext<'_>, signal: Signal, first: Pid) -> u32 {
        let mut signalled = 0;
        // Whoever could not be listed is found in the next round.
        let _ = self.for_each_member(context, &mut |pid, stat| {
            let id = Identity { pid, starttime: stat.starttime };
            if pid != first
                && let Ok(member) = Target::open(context, id)
                && signal_process(context, &member, signal).is_ok()
            {
                let is_small = signalled >= TABLE as u32;
                member.is_gone_within(context, if is_small { SMALL_MEMBER_WAIT_US } else { MEMBER_WAIT_US });
                signalled += 1;
            }
            time::pause(PAUSE_US);
        });
        signalled
    }

    /// Is any member alive that could be signalled? Where /proc cannot be listed
    /// there may be.
    pub fn is_left(&self, context: &SignalContext<'_>) -> bool {
        let mut is_left = false;
        let listed = self.for_each_member(context, &mut |pid, _| is_left |= !context.is_spared(pid));
        is_left || listed.is_err()
    }
}

fn starttime_of(context: &SignalContext<'_>, raw_pid: i32) -> Option<u64> {
    let pid = positive_pid(raw_pid)?;
    process::read_stat(context.proc, pid).ok().map(|stat| stat.starttime)
}
