//! Companions: who dies with the victim.

use super::signal::{SignalContext, Target, kill_whole, signal_process};
use crate::choose::whole::Whole;
use crate::decide::attribution::Sharers;
use crate::decide::victim::TABLE;
use crate::read::kfile::ReadError;
use crate::read::listing::{Listed, list_processes};
use crate::read::process::{self, HIDING, Identity, JobKey, Pid, Stat};
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
    /// A cgroup and all below it.
    Cgroup(Whole),
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
    /// Who started them: a master is no worker, and lives unless it grew as well. One
    /// of a spawn burst would go on.
    pub master: Option<Pid>,
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
    pub signal: Option<Signal>,
    /// Nobody is sent it before it is known whether all may be killed at once.
    is_first_counted: bool,
    /// How far it is: everybody up to this pid has been looked at.
    after: i32,
    /// When the round before it began, in clock ticks since boot.
    since: u64,
    /// Members found alive that could be signalled.
    pub living: u32,
    /// Those of them that were born since the round before.
    pub newborn: u32,
    /// Members that were signalled.
    pub signalled: u32,
    /// Members that are to live.
    pub spared: u32,
}

impl Round {
    /// A round from the start. The one before it began at `since`, in clock ticks since
    /// boot; 0 where there was none.
    pub fn new(signal: Option<Signal>, since: u64) -> Self {
        Self { signal, is_first_counted: signal == Some(Signal::KILL), since, ..Self::default() }
    }
}

impl Companions {
    /// Is the process one of them, if it is `uid`'s?
    pub(super) fn has(&self, pid: Pid, stat: &Stat, uid: u32) -> bool {
        match self {
            // A user's group may hold another user's processes, by setpgid(2) within
            // a session: only root's victim takes those along.
            Self::Group(group) => stat.pgrp == group.pgrp && (group.uid == 0 || group.uid == uid),
            Self::Job(members) => {
                let id = Identity { pid, starttime: stat.starttime };
                let job = stat.job_key(uid);
                let is_young = (members.born_after..=members.born_before).contains(&stat.starttime);
                members.job.same_job(&job) && is_young && members.master != Some(pid)
                    || members.job.same_program(&job) && members.grown.contains(&Some(id))
            }
            Self::Sharers(sharers) => sharers.contains(&Some(Identity { pid, starttime: stat.starttime })),
            Self::Cgroup(_) => true,
        }
    }

    /// The uid that would make the process one of them.
    fn wanted_uid(&self) -> u32 {
        match self {
            Self::Group(group) => group.uid,
            Self::Job(members) => members.job.uid,
            Self::Sharers(_) | Self::Cgroup(_) => 0,
        }
    }

    /// The process, if it is one of them and lives, and whether it is to stay so.
    ///
    /// # Errors
    /// It cannot be told.
    fn look_at(&self, context: &SignalContext<'_>, pid: Pid) -> Result<Option<(Stat, bool)>, ReadError> {
        let stat = process::read_stat(context.proc, pid)?;
        // Who owns it is read only where all else agrees.
        if stat.is_gone() || !self.has(pid, &stat, self.wanted_uid()) {
            return Ok(None);
        }
        if let Self::Cgroup(whole) = self
            && !whole.has(context.proc, pid, stat.leader())?
        {
            return Ok(None);
        }
        let uid = read_status(context.proc, pid)?.uid;
        // Root decides who is in a cgroup of root's; a user, about their own.
        let is_foreign = matches!(self, Self::Cgroup(whole) if whole.owner != 0 && whole.owner != uid);
        let is_spared = is_foreign || context.is_unkillable(pid, &stat, uid)? || context.is_spared(pid);
        Ok(self.has(pid, &stat, uid).then_some((stat, is_spared)))
    }

    fn is_counted_first(&self, round: &Round) -> bool {
        matches!(self, Self::Cgroup(_)) && round.is_first_counted
    }

    /// How many of a cgroup that was gone through are to live.
    pub fn spared(&self, round: &Round) -> u32 {
        if let Self::Cgroup(_) = self { round.spared } else { 0 }
    }

    /// After a round through a cgroup that only counted: kills it as a whole where nobody
    /// in it is to live, and tells whether that was done. Else they are signalled one by
    /// one, in another round.
    pub fn kill_at_once(&self, context: &SignalContext<'_>, round: &mut Round) -> bool {
        let Self::Cgroup(whole) = self else { return true };
        if !core::mem::take(&mut round.is_first_counted) {
            return true;
        }
        if round.spared == 0 && context.sees_everybody && kill_whole(context, whole).is_ok() {
            round.signalled += round.living;
            return true;
        }
        *round = Round { signal: round.signal, since: round.since, ..Round::default() };
        false
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
            let counts_only = self.is_counted_first(round);
            // The victim itself may have been refused, and is to live then.
            if pid == victim && !counts_only {
                return ControlFlow::Continue(());
            }
            let seen = self.look_at(context, pid);
            match seen {
                Ok(None) | Err(ReadError::Missing | HIDING) => {}
                Ok(Some((stat, is_spared))) => {
                    let id = Identity { pid, starttime: stat.starttime };
                    let is_to_die = !is_spared && pid != victim;
                    round.living += u32::from(is_to_die);
                    round.newborn += u32::from(is_to_die && stat.starttime >= round.since);
                    round.spared += u32::from(is_spared);
                    if let Some(signal) = round.signal
                        && !counts_only
                        && !is_spared
                        && signal_member(context, id, signal, round.signalled, until_us)
                    {
                        round.signalled += 1;
                    }
                }
                // Who cannot be looked at may be one who is to live, too, or one who lives.
                Err(why) => {
                    round.spared += u32::from(counts_only);
                    round.living += u32::from(matches!(why, ReadError::Io(_)));
                }
            }
            if time::now_us() >= until_us { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }
}

/// Signals one member and waits for its end a little, no longer than until then; false
/// if it was refused.
fn signal_member(
    context: &SignalContext<'_>,
    id: Identity,
    signal: Signal,
    before: u32,
    until_us: u64,
) -> bool {
    let Ok(member) = Target::open(context, id) else { return false };
    let is_signalled = signal_process(context, &member, signal).is_ok();
    if is_signalled {
        let wait_us = if before >= TABLE as u32 { SMALL_MEMBER_WAIT_US } else { MEMBER_WAIT_US };
        member.is_gone_within(context, wait_us.min(until_us.saturating_sub(time::now_us())));
    }
    time::pause(PAUSE_US);
    is_signalled
}

fn starttime_of(context: &SignalContext<'_>, raw_pid: i32) -> Option<u64> {
    let pid = positive_pid(raw_pid)?;
    process::read_stat(context.proc, pid).ok().map(|stat| stat.starttime)
}
