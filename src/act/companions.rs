//! Companions: who dies with the victim.

use super::signal::{SignalContext, Target, signal_process};
use crate::decide::attribution::Sharers;
use crate::decide::victim::TABLE;
use crate::read::kfile::ReadError;
use crate::read::listing::{Listed, list_processes};
use crate::read::process::{self, Identity, JobKey, Pid, Stat};
use crate::read::status::read_status;
use crate::sys::{positive_pid, time};
use core::ops::ControlFlow;
use rustix::process::Signal;

/// How long each member of a group is waited for before the next is signalled,
/// and how long everybody else is left alone after that: a thousand that die at
/// once, or right after each other, would have the processor to themselves.
const MEMBER_WAIT_US: u64 = 10_000;
const PAUSE_US: u64 = 500;
/// The same past the first [`TABLE`] members, which only a spawn burst has: they
/// have less to give back, and all of them must be reached.
const SMALL_MEMBER_WAIT_US: u64 = 2000;

/// Memory is looked at again after this much of a round.
const PART_US: u64 = 20_000;

/// Who dies with the victim.
// There is no heap to put the larger one on.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, Debug)]
pub enum Companions {
    /// A process group.
    Group(Group),
    /// A growing group or a spawn burst.
    Job(Members),
    /// Those that share the victim's memory, which is free only once all are dead.
    Sharers(Sharers),
}

/// A process group, told from a later one of the same number: that is taken as
/// long as the group has members, so a process of that pid which was not its
/// leader from the start can only lead another.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    pgrp: i32,
    /// The victim's user.
    uid: u32,
    leader_starttime: Option<u64>,
}

impl Group {
    /// The group `pgrp` of a victim of `uid` as it is now.
    // Out of line: inlined it is larger.
    #[inline(never)]
    pub fn find(context: &SignalContext<'_>, pgrp: i32, uid: u32) -> Self {
        Self { pgrp, uid, leader_starttime: starttime_of(context, pgrp) }
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
    /// Those that grew with the victim.
    pub grown: [Option<Identity>; TABLE],
    /// Whoever started since, in clock ticks since boot, ...
    pub born_after: u64,
    /// ... but not after this: whoever is started anew in place of the dead has
    /// not grown, and there would be no end.
    pub born_before: u64,
}

/// A round through all processes for the members among them. It is made in parts,
/// so that memory is looked at in between: users decide how many there are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// What each member is sent; `None` only counts them.
    signal: Option<Signal>,
    /// How far it is: everybody up to this pid has been looked at.
    after: i32,
    /// Members found alive that could be signalled.
    pub living: u32,
    /// Members that were signalled.
    pub signalled: u32,
}

impl Round {
    /// A round from the start.
    pub fn new(signal: Option<Signal>) -> Self {
        Self { signal, ..Self::default() }
    }
}

impl Companions {
    /// Is the process one of them, if it is `uid`'s?
    fn has(&self, pid: Pid, stat: &Stat, uid: u32) -> bool {
        match self {
            // A user's group may hold another user's processes, by setpgid(2) within
            // a session: only root's victim takes those along.
            Self::Group(group) => stat.pgrp == group.pgrp && (group.uid == 0 || group.uid == uid),
            Self::Job(members) => {
                let id = Identity { pid, starttime: stat.starttime };
                let job = stat.job_key(uid);
                let is_young = (members.born_after..=members.born_before).contains(&stat.starttime);
                members.job.same_job(&job) && is_young
                    || members.job.same_program(&job) && members.grown.contains(&Some(id))
            }
            Self::Sharers(sharers) => sharers.contains(&Some(Identity { pid, starttime: stat.starttime })),
        }
    }

    /// The uid that would make the process one of them.
    fn wanted_uid(&self) -> u32 {
        match self {
            Self::Group(group) => group.uid,
            Self::Job(members) => members.job.uid,
            Self::Sharers(_) => 0,
        }
    }

    fn is_living_member(&self, context: &SignalContext<'_>, pid: Pid) -> Option<Stat> {
        let stat = process::read_stat(context.proc, pid).ok()?;
        // Who owns it is read only where all else agrees.
        if stat.is_gone() || !self.has(pid, &stat, self.wanted_uid()) {
            return None;
        }
        let uid = read_status(context.proc, pid).ok()?.uid;
        let is_member = self.has(pid, &stat, uid) && !context.is_unkillable(pid, &stat, uid);
        is_member.then_some(stat)
    }

    /// Goes on with a round, until it is over or its time is up. Members are sent
    /// the round's signal, but for `victim`, who has been: asked twice, a program
    /// may end without what it wanted to save. Each is verified on its own, unlike
    /// with kill(2) on a group, and one that cannot be signalled does not keep the
    /// others alive.
    ///
    /// # Errors
    /// `/proc` cannot be listed; the round can be gone on with.
    pub fn advance(
        &self,
        context: &SignalContext<'_>,
        round: &mut Round,
        victim: Pid,
    ) -> Result<Listed, ReadError> {
        if let Self::Group(group) = self
            && group.is_another_now(context)
        {
            return Ok(Listed::All);
        }
        let until_us = time::now_us() + PART_US;
        list_processes(context.proc, &mut |pid| {
            if pid.as_raw_pid() <= round.after {
                return ControlFlow::Continue(());
            }
            round.after = pid.as_raw_pid();
            if pid != victim
                && let Some(stat) = self.is_living_member(context, pid)
            {
                let id = Identity { pid, starttime: stat.starttime };
                round.living += u32::from(!context.is_spared(pid));
                if let Some(signal) = round.signal
                    && signal_member(context, id, signal, round.signalled)
                {
                    round.signalled += 1;
                }
            }
            if time::now_us() >= until_us { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }
}

/// Signals one member and waits for its end a little; false if it was refused.
fn signal_member(context: &SignalContext<'_>, id: Identity, signal: Signal, before: u32) -> bool {
    let Ok(member) = Target::open(context, id) else { return false };
    let is_signalled = signal_process(context, &member, signal).is_ok();
    if is_signalled {
        let is_small = before >= TABLE as u32;
        member.is_gone_within(context, if is_small { SMALL_MEMBER_WAIT_US } else { MEMBER_WAIT_US });
    }
    time::pause(PAUSE_US);
    is_signalled
}

fn starttime_of(context: &SignalContext<'_>, raw_pid: i32) -> Option<u64> {
    let pid = positive_pid(raw_pid)?;
    process::read_stat(context.proc, pid).ok().map(|stat| stat.starttime)
}
