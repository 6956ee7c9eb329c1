//! The kill in progress, hold-off after it, hooks and other children. Does things
//! and tells what came of them; logs nothing.

use super::companions::{Companions, Group, Members};
use super::hook::{Children, Purpose, Reaped, StartHook, TIMEOUT_US};
use super::kill::{HOOK_HOLD_US, Kill, Outlook, Progress, Timeline};
use super::signal::{Refusal, SignalContext, may_kill_group};
use crate::choose::scope::Scope;
use crate::choose::spawn_burst::young_since;
use crate::choose::whole::Whole;
use crate::config::Config;
use crate::config::policy::Policy;
use crate::decide::attribution::{self, Culprit};
use crate::decide::snapshot::Snapshot;
use crate::decide::verdict::{Rule, Urgency, Verdict};
use crate::decide::victim::{Candidate, TABLE, VACANT};
use crate::read::process::Pid;
use crate::sys::child::Inherited;
use crate::sys::positive_pid;
use crate::sys::time::{self, MS, SECOND};
use core::ffi::CStr;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

#[cfg(feature = "rules")]
pub mod rules;

/// A victim not gone this long after SIGKILL has its memory released for it.
/// Not at once: that takes a fork, which takes memory.
const RELEASE_AFTER_US: u64 = 100 * MS;

/// Whoever started so long before a group is killed may take part and not have been seen
/// to grow, in clock ticks: 5 s.
const LOOKED_AT_TICKS: u64 = 5 * 100;

/// After a death, for the kernel's counters to show what was freed.
pub const SETTLE_US: u64 = 50 * MS;
/// When there is nobody to kill, look again this often; below the KILL limit,
/// this often.
const HOLD_NO_VICTIM_US: u64 = SECOND;
const HOLD_NO_VICTIM_URGENT_US: u64 = 200 * MS;
/// When the kernel failed us, try again after this.
pub const HOLD_FAILED_US: u64 = 100 * MS;
/// In a dry run, decide again this often.
pub const HOLD_DRY_RUN_US: u64 = 10 * SECOND;

/// What there was to be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FreeMemory {
    /// Available memory.
    pub mem_available_kib: u64,
    /// Effective free swap.
    pub swap_free_kib: u64,
}

impl From<&Snapshot> for FreeMemory {
    fn from(snapshot: &Snapshot) -> Self {
        Self { mem_available_kib: snapshot.mem.mem_available_kib, swap_free_kib: snapshot.swap_free_kib }
    }
}

/// A kill in progress and what led to it.
#[derive(Debug)]
struct ActiveKill {
    kill: Kill,
    rule: Rule,
    /// How many die; see [`Culprit::members`].
    members: u32,
    is_of_many: bool,
    before: FreeMemory,
    /// What the victim's end gives back.
    freeable_kib: u64,
    is_releasing: bool,
}

/// A kill that is over.
#[derive(Clone, Copy, Debug)]
pub struct Death {
    /// How many died.
    pub members: u32,
    /// See [`Culprit::is_of_many`].
    pub is_of_many: bool,
    /// Why.
    pub rule: Rule,
    /// When and how it was signalled.
    pub timeline: Timeline,
    /// What there was to be had before.
    pub before: FreeMemory,
    /// How many of the cgroup that was to die with it are to live.
    pub spared: u32,
    /// How many were signalled, with itself.
    pub signalled: u32,
    /// Why itself was not, where only the others died.
    pub refusal: Option<Refusal>,
}

impl Death {
    /// Was anybody signalled? Else it was the victim's own end.
    pub fn was_killed(&self) -> bool {
        self.signalled > 0
    }

    /// What has become available since before.
    pub fn gained_kib(&self, after: &Snapshot) -> u64 {
        after.mem.mem_available_kib.saturating_sub(self.before.mem_available_kib)
    }

    /// What is left in tmpfs, if the victim's end gave back next to nothing and that
    /// is where the memory is: a file outlives whoever filled it.
    pub fn left_in_tmpfs_kib(&self, after: &Snapshot) -> Option<u64> {
        let Snapshot { mem, .. } = after;
        let gained_kib = self.gained_kib(after);
        let is_much = mem.shmem_kib > mem.total_kib() / 4;
        (is_much && gained_kib < mem.shmem_kib / 4).then_some(mem.shmem_kib)
    }
}

/// What became of the active kill in one step.
// Made once in a step and taken apart at once; there is no heap.
#[allow(clippy::large_enum_variant)]
#[must_use]
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// It goes on; the next step is due within this time.
    GoesOn {
        /// How long until its next deadline.
        left_us: u64,
        /// How long this step took.
        round_us: u64,
    },
    /// It goes on at once: memory is to be looked at in between, and no more.
    Busy,
    /// It is over.
    Died(Death),
    /// The victim took SIGKILL and does not die.
    Stuck {
        /// How long ago it was sent.
        after_us: u64,
    },
    /// The process that held the victim back was killed; the kill goes on.
    TracerKilled(Pid),
    /// The victim could not be signalled.
    Refused(Refusal),
}

/// What did not go as asked when a kill began; it goes on without.
#[must_use]
#[derive(Clone, Copy, Debug, Default)]
pub struct Begun {
    /// The before-kill hook could not be started.
    pub has_hook_failed: bool,
    /// This process group is ours or init's and is not killed as a whole.
    pub spared_group: Option<i32>,
    /// The cgroup that is to die with the victim, unless it is ours or init's.
    pub cgroup: Option<Whole>,
}

/// No new kill before this, unless it is more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hold {
    until_us: u64,
    /// Binds decisions up to this urgency.
    urgency: Urgency,
}

impl Hold {
    /// Until when a decision of this urgency is held off, if it is.
    fn until_us(self, urgency: Urgency, now_us: u64) -> Option<u64> {
        (urgency <= self.urgency && now_us < self.until_us).then_some(self.until_us)
    }
}

/// How processes and children are got at; the same for every kill.
#[derive(Clone, Copy, Debug)]
pub struct Means<'a> {
    /// Whose processes may be signalled.
    pub scope: &'a Scope<'a>,
    /// Is nobody hidden from us, and may we signal everybody?
    pub sees_everybody: bool,
    /// `/proc` of our own pid namespace.
    pub proc: BorrowedFd<'a>,
    /// Ourselves.
    pub own: Pid,
    /// Whether pidfds are there.
    pub pidfd: bool,
    /// Whether process_mrelease(2) is there.
    pub release: bool,
    /// What children get back.
    pub inherited: Inherited,
}

impl Means<'_> {
    /// For a kill of `victim`. The command that we run does not die with others.
    fn context<'s>(
        &'s self,
        policy: &'s Policy<'_>,
        command: Option<Pid>,
        victim: &Candidate,
    ) -> SignalContext<'s> {
        let command = command.filter(|&command| command != victim.id.pid);
        let context = SignalContext::new(self.proc, self.pidfd, self.own, policy, self.scope);
        SignalContext { command, sees_everybody: self.sees_everybody, ..context }
    }
}

/// Owns the active kill, the hold-off and the children.
#[derive(Debug)]
pub struct Executor<'a> {
    config: Config<'a>,
    means: Means<'a>,
    active: Option<ActiveKill>,
    victim: Candidate,
    hold: Option<Hold>,
    children: Children,
    /// Where there are hooks.
    start_hook: Option<StartHook>,
    /// The command that we run, which does not die with others.
    pub command: Option<Pid>,
}

impl<'a> Executor<'a> {
    /// An executor without anything to do.
    pub fn new(config: Config<'a>, means: Means<'a>) -> Self {
        let has_hooks = config.has_hooks();
        Self {
            config,
            means,
            active: None,
            victim: VACANT,
            hold: None,
            children: Children::default(),
            start_hook: has_hooks.then_some(Children::start_hook),
            command: None,
        }
    }

    /// Whom the kill in progress, or the last one, was for.
    pub fn victim(&self) -> &Candidate {
        &self.victim
    }

    /// Is a kill in progress?
    pub fn is_killing(&self) -> bool {
        self.active.is_some()
    }

    /// Is there a kill or a hook that `--once` waits for?
    pub fn is_busy(&self) -> bool {
        self.is_killing() || self.children.hooks_running()
    }

    /// Polls readable at the victim's end. A group is waited for by looking: its
    /// leader's end is not the end.
    pub fn victim_pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.active.as_ref().filter(|active| active.kill.is_of_one())?.kill.pidfd()
    }

    /// Until when a decision of this urgency is held off, if it is.
    pub fn held_until_us(&self, urgency: Urgency, now_us: u64) -> Option<u64> {
        self.hold?.until_us(urgency, now_us)
    }

    /// Holds off decisions of this urgency and lower ones.
    pub fn hold_off(&mut self, urgency: Urgency, for_us: u64, now_us: u64) {
        self.hold = Some(Hold { until_us: now_us + for_us, urgency });
    }

    /// Holds off because there is nobody to kill.
    pub fn hold_off_without_victim(&mut self, urgency: Urgency, now_us: u64) {
        let for_us = match urgency {
            Urgency::Term => HOLD_NO_VICTIM_US,
            Urgency::Kill => HOLD_NO_VICTIM_URGENT_US,
        };
        self.hold_off(urgency, for_us, now_us);
    }

    /// From SIGTERM to SIGKILL for this culprit; with 0 it gets SIGKILL at once.
    pub fn grace_us(&self, culprit: &Culprit) -> u64 {
        // A thousand signal handlers would take more memory, not less.
        if culprit.is_spawn_burst || culprit.is_fleeing { 0 } else { self.config.grace_us }
    }

    /// Begins to kill `culprit`; `ranked` are those of the survey, some of which grew
    /// with it.
    ///
    /// # Errors
    /// The victim cannot be had; nothing was done.
    // Out of line, so that surveys do not run below what is put together here.
    #[inline(never)]
    pub fn begin(
        &mut self,
        culprit: &Culprit,
        rule: Rule,
        ranked: &[Candidate],
        before: FreeMemory,
        now_us: u64,
    ) -> Result<Begun, Refusal> {
        let victim = culprit.victim;
        self.victim = victim;
        let context = self.means.context(&self.config.policy, self.command, &victim);
        let grace_us = self.grace_us(culprit);
        let kill = Kill::begin(&context, &victim, Timeline::new(grace_us, now_us))?;
        let active = self.active.insert(ActiveKill {
            kill,
            rule,
            members: culprit.members,
            is_of_many: culprit.is_of_many,
            before,
            freeable_kib: victim.freeable_kib,
            is_releasing: false,
        });
        let mut begun = Begun::default();
        let Means { scope, proc, own, .. } = self.means;
        begun.cgroup = scope.find_whole(proc, victim.id.pid, own, self.config.kill_cgroup);
        // Each written where it is to stay, for they are large.
        if let Some(whole) = begun.cgroup.as_ref().filter(|whole| !whole.is_ours) {
            active.kill.take_along(Companions::Cgroup(*whole));
        } else if culprit.sharers[0].is_some() {
            active.kill.take_along(Companions::Sharers(culprit.sharers));
        } else if culprit.members > 1 {
            active.kill.take_along(Companions::Job(members_of(culprit, ranked)));
        } else if self.config.kill_pgroup {
            let group = victim.job.pgrp;
            if may_kill_group(&context, group) {
                let group = Group::find(&context, group, victim.job.uid);
                active.kill.take_along(Companions::Group(group));
            } else {
                begun.spared_group = Some(group);
            }
        }
        begun.has_hook_failed = !self.start_before_kill(rule, HOOK_HOLD_US, now_us);
        Ok(begun)
    }

    /// Starts the before-kill hook, which may hold the active kill up for so long; false if
    /// it cannot be started.
    fn start_before_kill(&mut self, rule: Rule, hold_us: u64, now_us: u64) -> bool {
        let started = self.run_hook(Purpose::BeforeKill, self.config.before_kill, rule, hold_us, now_us);
        if started == Ok(true)
            && let Some(active) = &mut self.active
        {
            active.kill.timeline.hold(hold_us, now_us);
        }
        started.is_ok()
    }

    /// One step of the active kill; `None` where there is none. `snapshot` and
    /// `verdict` are those of this turn, if memory could be read.
    pub fn step(&mut self, now: Option<(&Snapshot, Verdict)>, now_us: u64) -> Option<Event> {
        let context = self.means.context(&self.config.policy, self.command, &self.victim);
        let active = self.active.as_mut()?;
        let progress = active.kill.step(&context, outlook(active, now), now_us);
        let event = match progress {
            Progress::Waiting => {
                let event = goes_on(active, now_us);
                self.release_if_slow(now_us);
                return Some(event);
            }
            Progress::Signalled(_) if !active.kill.is_of_one() => {
                active.kill.mark(None);
                return Some(Event::Busy);
            }
            Progress::Signalled(_) => return Some(goes_on(active, now_us)),
            Progress::Busy => return Some(Event::Busy),
            Progress::TracerKilled(tracer) => return Some(Event::TracerKilled(tracer)),
            Progress::Dead => Event::Died(Death {
                members: active.members,
                is_of_many: active.is_of_many,
                rule: active.rule,
                timeline: active.kill.timeline,
                before: active.before,
                spared: active.kill.spared,
                signalled: active.kill.signalled,
                refusal: active.kill.refusal,
            }),
            Progress::Stuck => {
                let forced_us = active.kill.timeline.forced_us.unwrap_or(now_us);
                Event::Stuck { after_us: now_us.saturating_sub(forced_us) }
            }
            Progress::Refused(refusal) => Event::Refused(refusal),
        };
        // Those that do not die of it count, too.
        if active.kill.signalled > 0 {
            active.kill.mark(Some(active.kill.signalled));
        }
        self.active = None;
        Some(event)
    }

    /// A victim frees its memory itself; one that has not in a while gets help.
    fn release_if_slow(&mut self, now_us: u64) {
        let Some(active) = &mut self.active else { return };
        let forced_us = active.kill.timeline.forced_us;
        let is_slow = forced_us.is_some_and(|forced_us| now_us >= forced_us + RELEASE_AFTER_US);
        if is_slow && self.means.release && !active.is_releasing {
            active.is_releasing = true;
            if let Some(pidfd) = active.kill.pidfd() {
                // Where there is no child to be had, the victim goes on by itself.
                let _ = self.children.start_release(pidfd);
            }
        }
    }

    /// Starts the on-kill hook; false if it cannot be started.
    pub fn start_on_kill(&mut self, death: &Death, now_us: u64) -> bool {
        self.run_hook(Purpose::OnKill, self.config.on_kill, death.rule, 0, now_us).is_ok()
    }

    /// Starts a hook for the victim, which has at least so long; `Ok(false)` where there is none.
    fn run_hook(
        &mut self,
        purpose: Purpose,
        program: Option<&CStr>,
        rule: Rule,
        least_us: u64,
        now_us: u64,
    ) -> Result<bool, Errno> {
        let (Some(program), Some(start)) = (program, self.start_hook) else { return Ok(false) };
        let inherited = &self.means.inherited;
        let until_us = now_us + least_us.max(TIMEOUT_US);
        start(&mut self.children, purpose, program, &self.victim, rule, inherited, until_us).map(|()| true)
    }

    /// Reaps one child that has ended, if there is one.
    pub fn reap(&mut self) -> Reaped {
        let reaped = self.children.reap();
        if let (Reaped::Ours(ended), Some(active)) = (reaped, &mut self.active)
            && ended.purpose == Purpose::BeforeKill
        {
            active.kill.release_hold();
        }
        reaped
    }

    /// Ends one child that has overstayed, and tells which.
    pub fn end_overdue(&mut self, now_us: u64) -> Option<Purpose> {
        self.children.end_overdue(now_us)
    }

    /// When the next child overstays.
    pub fn children_deadline_us(&self) -> u64 {
        self.children.deadline_us()
    }
}

/// What memory tells the active kill.
fn outlook(active: &ActiveKill, now: Option<(&Snapshot, Verdict)>) -> Outlook {
    let Some((snapshot, verdict)) = now else { return Outlook::default() };
    let gained_kib = snapshot.mem.mem_available_kib.saturating_sub(active.before.mem_available_kib);
    Outlook {
        is_urgent: matches!(verdict, Verdict::Act(_, Urgency::Kill)),
        is_recovering: gained_kib > active.freeable_kib / 4,
    }
}

fn goes_on(active: &ActiveKill, began_us: u64) -> Event {
    Event::GoesOn {
        left_us: active.kill.deadline_us().saturating_sub(began_us),
        round_us: time::now_us().saturating_sub(began_us),
    }
}

fn members_of(culprit: &Culprit, ranked: &[Candidate]) -> Members {
    let (job, grown) = (culprit.victim.job, attribution::members_of(culprit, ranked));
    let now = time::boottime_ticks();
    // Whoever is old did not take part. A spawn burst goes on while it is killed.
    if culprit.is_spawn_burst {
        return Members { job, master: None, grown, born_after: young_since(), born_before: u64::MAX };
    }
    // Where all that grew are known, who was there before and did not grow is none of them.
    let is_cut = ranked.len() >= TABLE;
    let born_after = if is_cut { young_since() } else { now.saturating_sub(LOOKED_AT_TICKS) };
    Members { job, master: positive_pid(job.ppid), grown, born_after, born_before: now }
}

#[cfg(test)]
#[path = "executor_tests.rs"]
mod tests;
