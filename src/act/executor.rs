//! The kill in progress, hold-off after it, hooks and other children. Does things
//! and tells what came of them; logs nothing.

use super::companions::{Companions, Group, Members};
use super::hook::{Children, Ended, Purpose};
use super::kill::{HOOK_HOLD_US, Kill, Outlook, Progress, Timeline};
use super::signal::{Refusal, SignalContext, may_kill_group};
use crate::choose::selector::young_since;
use crate::config::Config;
use crate::decide::attribution::Culprit;
use crate::decide::snapshot::Snapshot;
use crate::decide::verdict::{Rule, Urgency, Verdict};
use crate::decide::victim::{Candidate, TABLE, VACANT};
use crate::read::process::{Identity, Pid};
use crate::sys::child::Inherited;
use crate::sys::time::{self, MS, SECOND};
use rustix::fd::BorrowedFd;

/// A victim not gone this long after SIGKILL has its memory released for it.
/// Not at once: that takes a fork, which takes memory.
const RELEASE_AFTER_US: u64 = 100 * MS;

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
    /// Why.
    pub rule: Rule,
    /// When and how it was signalled.
    pub timeline: Timeline,
    /// What there was to be had before.
    pub before: FreeMemory,
}

impl Death {
    /// What is left in tmpfs, if the victim's end gave back next to nothing and that
    /// is where the memory is: a file outlives whoever filled it.
    pub fn left_in_tmpfs_kib(&self, after: &Snapshot) -> Option<u64> {
        let Snapshot { mem, .. } = after;
        let gained_kib = mem.mem_available_kib.saturating_sub(self.before.mem_available_kib);
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// The before-kill hook could not be started.
    pub has_hook_failed: bool,
    /// This process group is ours or init's and is not killed as a whole.
    pub spared_group: Option<i32>,
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

/// Owns the active kill, the hold-off and the children.
#[derive(Debug)]
pub struct Executor<'a> {
    config: Config<'a>,
    means: Means<'a>,
    active: Option<ActiveKill>,
    victim: Candidate,
    hold: Option<Hold>,
    children: Children,
}

impl<'a> Executor<'a> {
    /// An executor without anything to do.
    pub fn new(config: Config<'a>, means: Means<'a>) -> Self {
        Self { config, means, active: None, victim: VACANT, hold: None, children: Children::default() }
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

    fn context(&self) -> SignalContext<'a> {
        SignalContext::new(self.means.proc, self.means.pidfd, self.means.own, self.config.policy)
    }

    /// Begins to kill `culprit`; `grown` are those of the survey that grew with it.
    ///
    /// # Errors
    /// The victim cannot be had; nothing was done.
    // Out of line, so that surveys do not run below what is put together here.
    #[inline(never)]
    pub fn begin(
        &mut self,
        culprit: &Culprit,
        rule: Rule,
        grown: &[Option<Identity>; TABLE],
        before: FreeMemory,
        now_us: u64,
    ) -> Result<Begun, Refusal> {
        let context = self.context();
        let victim = culprit.victim;
        self.victim = victim;
        let mut begun = Begun::default();
        let companions = if culprit.sharers[0].is_some() {
            Some(Companions::Sharers(culprit.sharers))
        } else if culprit.members > 1 {
            Some(Companions::Job(members_of(culprit, grown)))
        } else if self.config.kill_pgroup {
            let group = victim.job.pgrp;
            let may_kill = may_kill_group(&context, group);
            begun.spared_group = (!may_kill).then_some(group);
            may_kill.then(|| Companions::Group(Group::find(&context, group, victim.job.uid)))
        } else {
            None
        };
        let grace_us = self.grace_us(culprit);
        let kill = Kill::begin(&context, &victim, companions, Timeline::new(grace_us, 0, now_us))?;
        let members = culprit.members;
        let active = self.active.insert(ActiveKill {
            kill,
            rule,
            members,
            before,
            freeable_kib: victim.freeable_kib,
            is_releasing: false,
        });
        if let Some(program) = self.config.before_kill {
            let inherited = &self.means.inherited;
            let started =
                self.children.start_hook(Purpose::BeforeKill, program, &victim, rule, inherited, now_us);
            match started {
                Ok(()) => active.kill.timeline = Timeline::new(grace_us, HOOK_HOLD_US, now_us),
                Err(_) => begun.has_hook_failed = true,
            }
        }
        Ok(begun)
    }

    /// One step of the active kill; `None` where there is none. `snapshot` and
    /// `verdict` are those of this turn, if memory could be read.
    pub fn step(&mut self, now: Option<(&Snapshot, Verdict)>, now_us: u64) -> Option<Event> {
        let context = self.context();
        let active = self.active.as_mut()?;
        let progress = active.kill.step(&context, outlook(active, now), now_us);
        let event = match progress {
            Progress::Waiting => {
                let event = goes_on(active, now_us);
                self.release_if_slow(now_us);
                return Some(event);
            }
            Progress::Signalled(_) if !active.kill.is_of_one() => return Some(Event::Busy),
            Progress::Signalled(_) => return Some(goes_on(active, now_us)),
            Progress::Busy => return Some(Event::Busy),
            Progress::TracerKilled(tracer) => return Some(Event::TracerKilled(tracer)),
            Progress::Dead => Event::Died(Death {
                members: active.members,
                rule: active.rule,
                timeline: active.kill.timeline,
                before: active.before,
            }),
            Progress::Stuck => {
                let forced_us = active.kill.timeline.forced_us.unwrap_or(now_us);
                Event::Stuck { after_us: now_us.saturating_sub(forced_us) }
            }
            Progress::Refused(refusal) => Event::Refused(refusal),
        };
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
        let Some(program) = self.config.on_kill else { return true };
        let inherited = &self.means.inherited;
        let started =
            self.children.start_hook(Purpose::OnKill, program, &self.victim, death.rule, inherited, now_us);
        started.is_ok()
    }

    /// Reaps one child that has ended.
    pub fn reap(&mut self) -> Option<Ended> {
        let ended = self.children.reap()?;
        if let (Purpose::BeforeKill, Some(active)) = (ended.purpose, &mut self.active) {
            active.kill.release_hold();
        }
        Some(ended)
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

fn members_of(culprit: &Culprit, grown: &[Option<Identity>; TABLE]) -> Members {
    // Whoever is old did not take part. A spawn burst goes on while it is killed.
    let born_before = if culprit.is_spawn_burst { u64::MAX } else { time::boottime_ticks() };
    Members { job: culprit.victim.job, grown: *grown, born_after: young_since(), born_before }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::kfile::Tree;
    use crate::read::memory::Meminfo;
    use rustix::fd::AsFd;

    fn executor(tree: &Tree) -> Executor<'_> {
        let means = Means {
            proc: tree.proc.as_fd(),
            own: rustix::process::getpid(),
            pidfd: true,
            release: false,
            inherited: Inherited::default(),
        };
        Executor::new(Config::default(), means)
    }

    #[test]
    fn a_hold_binds_the_same_or_a_lower_urgency() {
        let tree = Tree::open_live().unwrap();
        let mut executor = executor(&tree);
        executor.hold_off_without_victim(Urgency::Term, 100);
        assert_eq!(executor.held_until_us(Urgency::Term, 100), Some(100 + HOLD_NO_VICTIM_US));
        assert_eq!(executor.held_until_us(Urgency::Kill, 100), None);
        assert_eq!(executor.held_until_us(Urgency::Term, 100 + HOLD_NO_VICTIM_US), None);
        executor.hold_off_without_victim(Urgency::Kill, 100);
        assert_eq!(executor.held_until_us(Urgency::Term, 100), Some(100 + HOLD_NO_VICTIM_URGENT_US));
        assert_eq!(executor.held_until_us(Urgency::Kill, 100), Some(100 + HOLD_NO_VICTIM_URGENT_US));
    }

    /// Whoever has that pid is not the one that was chosen.
    #[test]
    fn a_victim_that_is_another_now_is_refused() {
        let tree = Tree::open_live().unwrap();
        let mut executor = executor(&tree);
        let id = Identity { pid: rustix::process::getpid(), starttime: 1 };
        let culprit = Culprit::one(Candidate { id, ..VACANT });
        let begun = executor.begin(&culprit, Rule::Floor, &[None; TABLE], FreeMemory::default(), 0);
        assert_eq!(begun, Ok(Begun::default()));
        assert!(executor.is_killing() && executor.is_busy());
        let event = executor.step(None, 0);
        // Our own pid: refused for being ours before its start time is looked at.
        assert!(matches!(event, Some(Event::Refused(Refusal::Ancestor))), "{event:?}");
        assert!(!executor.is_killing() && executor.step(None, 0).is_none());
        let gone = Identity { pid: Pid::from_raw(i32::MAX).unwrap(), starttime: 1 };
        let culprit = Culprit::one(Candidate { id: gone, ..VACANT });
        let begun = executor.begin(&culprit, Rule::Floor, &[None; TABLE], FreeMemory::default(), 0);
        assert!(matches!(begun, Err(Refusal::Gone | Refusal::Failed(_))), "{begun:?}");
    }

    #[test]
    fn memory_tells_whether_to_hurry_and_whether_to_wait() {
        let tree = Tree::open_live().unwrap();
        let mut executor = executor(&tree);
        let id = Identity { pid: rustix::process::getpid(), starttime: 1 };
        let culprit = Culprit::one(Candidate { id, freeable_kib: 400, ..VACANT });
        let before = FreeMemory { mem_available_kib: 1000, swap_free_kib: 0 };
        let begun = executor.begin(&culprit, Rule::Floor, &[None; TABLE], before, 0);
        assert_eq!(begun, Ok(Begun::default()));
        let active = executor.active.as_ref().unwrap();
        let snapshot = |mem_available_kib| Snapshot {
            mem: Meminfo { mem_available_kib, ..Meminfo::default() },
            ..Snapshot::default()
        };
        let term = Verdict::Act(Rule::Exhaustion, Urgency::Term);
        let kill = Verdict::Act(Rule::Exhaustion, Urgency::Kill);
        let told = |available_kib, verdict| outlook(active, Some((&snapshot(available_kib), verdict)));
        assert_eq!(told(1100, term), Outlook { is_urgent: false, is_recovering: false });
        assert_eq!(told(1101, term), Outlook { is_urgent: false, is_recovering: true });
        assert_eq!(told(900, kill), Outlook { is_urgent: true, is_recovering: false });
        assert_eq!(outlook(active, None), Outlook::default());
    }
}
