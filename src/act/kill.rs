//! An active kill: which signal is due when, and the processes it goes to.

use super::companions::{Companions, Round};
use super::signal::{Refusal, SignalContext, Target, signal_process};
use super::tracer::kill_tracers;
use crate::choose::whole::Whole;
use crate::decide::victim::Candidate;
use crate::read::listing::Listed;
use crate::read::process::{Identity, Pid};
use crate::sys::file::open;
use crate::sys::time::boottime_ticks;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::Signal;

/// A hook may hold a kill no longer than this.
pub const HOOK_HOLD_US: u64 = 200_000;

/// After SIGKILL a process that can die is gone in far less, even with gigabytes
/// to free; one that cannot is waiting for a device.
pub const STUCK_AFTER_US: u64 = 2_000_000;

/// A victim that is still there this long after SIGKILL may be held by a tracer.
const HELD_AFTER_US: u64 = 500_000;

/// How long a victim may take whose memory is visibly coming back.
pub const SLOW_AFTER_US: u64 = 10_000_000;

/// How far a kill is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing sent: a hook has until then, or until memory is below the KILL limit and
    /// that other time has come.
    Held { until_us: u64, urgent_us: u64 },
    /// SIGTERM sent; SIGKILL follows then.
    Asked { until_us: u64 },
    /// SIGKILL sent; given up then.
    Forced { until_us: u64 },
}

/// What memory tells an active kill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Memory is below the KILL limit: there is no time to ask.
    pub is_urgent: bool,
    /// The victim's memory is coming back.
    pub is_recovering: bool,
}

/// What is due now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    Send(Signal),
    /// Companions that were born while the others were being signalled.
    SweepCompanions,
    GiveUp,
}

/// When which signal is due. Pure.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    stage: Stage,
    grace_us: u64,
    /// When the first signal went out.
    pub signalled_us: Option<u64>,
    /// Whether SIGTERM was sent.
    pub is_asked: bool,
    /// When SIGKILL went out.
    pub forced_us: Option<u64>,
}

impl Timeline {
    /// The first signal is due at once.
    pub const fn new(grace_us: u64, now_us: u64) -> Self {
        let stage = Stage::Held { until_us: now_us, urgent_us: now_us };
        Self { stage, grace_us, signalled_us: None, is_asked: false, forced_us: None }
    }

    /// Nothing is sent before `hold_us` have passed or the hold is released; below the KILL
    /// limit [`HOOK_HOLD_US`] are enough.
    pub fn hold(&mut self, hold_us: u64, now_us: u64) {
        self.stage = Stage::Held { until_us: now_us + hold_us, urgent_us: now_us + HOOK_HOLD_US };
    }

    /// The hook has ended: no reason to wait.
    fn release_hold(&mut self) {
        if let Stage::Held { until_us, .. } = &mut self.stage {
            *until_us = 0;
        }
    }

    /// When the next step is due at the latest.
    fn deadline_us(&self) -> u64 {
        match self.stage {
            Stage::Held { until_us, .. } | Stage::Asked { until_us } | Stage::Forced { until_us } => until_us,
        }
    }

    fn due(&self, outlook: Outlook, now_us: u64) -> Due {
        let is_overdue = now_us >= self.deadline_us();
        match self.stage {
            Stage::Held { urgent_us, .. } => {
                let is_over = is_overdue || outlook.is_urgent && now_us >= urgent_us;
                if !is_over {
                    Due::Nothing
                } else if outlook.is_urgent || self.grace_us == 0 {
                    Due::Send(Signal::KILL)
                } else {
                    Due::Send(Signal::TERM)
                }
            }
            Stage::Asked { .. } if is_overdue || outlook.is_urgent => Due::Send(Signal::KILL),
            Stage::Asked { .. } => Due::Nothing,
            Stage::Forced { until_us } if is_overdue => {
                let since_us = now_us.saturating_sub(until_us - STUCK_AFTER_US);
                // What comes back may be somebody else's: below the KILL limit it is
                // not waited for.
                let is_worth_waiting = outlook.is_recovering && !outlook.is_urgent;
                if is_worth_waiting && since_us < SLOW_AFTER_US { Due::Nothing } else { Due::GiveUp }
            }
            Stage::Forced { .. } => Due::SweepCompanions,
        }
    }

    /// Others are still being signalled for the first time, so it is not stuck; but there
    /// is an end to that.
    fn note_progress(&mut self, now_us: u64) {
        if let (Stage::Forced { until_us }, Some(forced_us)) = (&mut self.stage, self.forced_us) {
            *until_us = (now_us + STUCK_AFTER_US).min(forced_us + SLOW_AFTER_US).max(*until_us);
        }
    }

    fn note_sent(&mut self, signal: Signal, now_us: u64) {
        self.signalled_us = self.signalled_us.or(Some(now_us));
        if signal == Signal::KILL {
            self.forced_us = self.forced_us.or(Some(now_us));
            self.stage = Stage::Forced { until_us: now_us + STUCK_AFTER_US };
        } else {
            self.is_asked = true;
            self.stage = Stage::Asked { until_us: now_us + self.grace_us };
        }
    }
}

/// What became of a kill in one step.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing yet.
    Waiting,
    /// A signal has just been sent to the victim.
    Signalled(Signal),
    /// A round through the companions is to be gone on with at once.
    Busy,
    /// SIGKILL was sent to the process that held the victim back.
    TracerKilled(Pid),
    /// The victim is gone, and its companions.
    Dead,
    /// It took SIGKILL and does not die: uninterruptible.
    Stuck,
    /// It could not be signalled.
    Refused(Refusal),
}

/// What tells in the attributes of a cgroup that it is killed, or how many were.
pub type Mark = fn(BorrowedFd<'_>, Option<u32>);

/// A kill in progress, stepped by the loop.
#[derive(Debug)]
pub struct Kill {
    /// Who dies.
    pub id: Identity,
    /// Whose it is.
    uid: u32,
    target: Target,
    companions: Option<Companions>,
    /// The cgroup whose members are all meant, where the victim is any of them and may be
    /// gone before it is signalled.
    dir: Option<(OwnedFd, Mark)>,
    /// The round through the companions that is under way.
    round: Option<Round>,
    /// When it began, or the last one that did, in clock ticks since boot.
    round_ticks: u64,
    /// Why the victim itself could not be signalled.
    pub refusal: Option<Refusal>,
    /// Whether any companion was signalled, in whichever round.
    has_signalled_companions: bool,
    /// Not everybody has been signalled once.
    is_first_round: bool,
    /// Companions that are to live, as of the last whole round.
    pub spared: u32,
    /// How many were signalled so far.
    pub signalled: u32,
    /// Who held the victim back and was killed for it.
    tracer: Option<Pid>,
    /// When which signal is due, and was sent.
    pub timeline: Timeline,
}

impl Kill {
    /// Takes hold of the victim. Nothing is sent before [`Self::step`].
    ///
    /// # Errors
    /// See [`Target::open`].
    pub fn begin(
        context: &SignalContext<'_>,
        victim: &Candidate,
        timeline: Timeline,
    ) -> Result<Self, Refusal> {
        let target = Target::open(context, victim.id)?;
        Ok(Self {
            id: victim.id,
            uid: victim.job.uid,
            target,
            companions: None,
            dir: None,
            round: None,
            round_ticks: 0,
            refusal: None,
            has_signalled_companions: false,
            is_first_round: true,
            spared: 0,
            signalled: 0,
            tracer: None,
            timeline,
        })
    }

    /// Has others die with the victim. To be told before the first step.
    pub fn take_along(&mut self, companions: Companions) {
        self.companions = Some(companions);
    }

    /// Everybody in a cgroup dies, and `victim` is any of them, as long as the cgroup with
    /// this directory is there, which has its attributes. To be told before the first step.
    pub fn take_all_of(&mut self, whole: Whole, dir: Option<(OwnedFd, Mark)>) {
        self.companions = Some(Companions::Cgroup(whole));
        self.dir = dir;
    }

    /// Tells in the attributes of the cgroup that it is killed, or how many were.
    pub fn mark(&self, killed: Option<u32>) {
        if let Some((dir, mark)) = &self.dir {
            mark(dir.as_fd(), killed);
        }
    }

    /// Is there more to kill than the victim?
    fn is_of_more(&self) -> bool {
        // One that was made anew has the same path, but nothing is in this directory then.
        let is_there = |(dir, _): &(OwnedFd, Mark)| {
            !matches!(open(dir.as_fd(), c"cgroup.procs", OFlags::PATH), Err(Errno::NOENT))
        };
        self.timeline.signalled_us.is_some() && self.companions.is_some()
            || self.dir.as_ref().is_some_and(is_there)
    }

    /// The hook has ended: no reason to wait.
    pub fn release_hold(&mut self) {
        self.timeline.release_hold();
    }

    /// When the next step is due at the latest.
    pub fn deadline_us(&self) -> u64 {
        self.timeline.deadline_us()
    }

    /// Polls readable when the victim is gone; `None` without pidfds.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.target.pidfd()
    }

    /// Does the victim die alone? Otherwise its end is not the end.
    pub fn is_of_one(&self) -> bool {
        self.companions.is_none()
    }

    /// Does what is due.
    pub fn step(&mut self, context: &SignalContext<'_>, outlook: Outlook, now_us: u64) -> Progress {
        let has_signalled = self.timeline.signalled_us.is_some();
        let is_victim_done = self.is_victim_done(context);
        if is_victim_done && !self.is_of_more() {
            return Progress::Dead;
        }
        let due = self.timeline.due(outlook, now_us);
        // It may have been for want of a descriptor: else its companions would die for it.
        if due == Due::SweepCompanions && self.refusal.is_some() {
            self.refusal = signal_process(context, &self.target, Signal::KILL).err();
            self.signalled += u32::from(self.refusal.is_none());
        }
        // Nobody may be left who could be sent anything.
        if has_signalled && matches!(due, Due::Send(_)) && is_victim_done {
            self.round = None;
            if let Progress::Dead = self.go_round(context, None, now_us) {
                return Progress::Dead;
            }
        }
        let is_held = |forced_us| now_us >= forced_us + HELD_AFTER_US;
        if self.timeline.forced_us.is_some_and(is_held)
            && !is_victim_done
            && due != Due::GiveUp
            && let Some(tracer) = kill_tracers(context, self.id, self.uid)
            && self.tracer.replace(tracer) != Some(tracer)
        {
            return Progress::TracerKilled(tracer);
        }
        match due {
            Due::Send(signal) => self.send(context, signal, now_us),
            // For want of a descriptor, say, it was not signalled: it is not stuck, and nobody
            // else is to die in its place. Nor is it where only companions are left.
            Due::GiveUp => match self.refusal {
                Some(refusal) => Progress::Refused(refusal),
                None if is_victim_done => Progress::Dead,
                None => Progress::Stuck,
            },
            // Whoever was born while the others were being signalled is killed in
            // the next round; while they were only asked, they are counted.
            Due::Nothing | Due::SweepCompanions if has_signalled => {
                let signal = self.timeline.forced_us.map(|_| Signal::KILL);
                self.go_round(context, signal, now_us)
            }
            Due::Nothing | Due::SweepCompanions => Progress::Waiting,
        }
    }

    fn send(&mut self, context: &SignalContext<'_>, signal: Signal, now_us: u64) -> Progress {
        // The dead are not signalled, even where nobody has waited for them.
        let is_gone = self.target.is_gone(context);
        let sent = if is_gone { Err(Refusal::Gone) } else { signal_process(context, &self.target, signal) };
        self.refusal = match sent {
            Ok(()) => None,
            Err(Refusal::Gone) if self.companions.is_none() => return Progress::Dead,
            // The companions may live on.
            Err(Refusal::Gone) => None,
            Err(refusal) if self.companions.is_none() => return Progress::Refused(refusal),
            Err(refusal) => Some(refusal),
        };
        self.signalled += u32::from(sent.is_ok() && self.timeline.signalled_us.is_none());
        self.timeline.note_sent(signal, now_us);
        self.is_first_round = true;
        self.round_ticks = boottime_ticks();
        self.round = self.companions.is_some().then(|| Round::new(Some(signal), 0));
        Progress::Signalled(signal)
    }

    /// Goes on with the round through the companions, or begins one.
    // Out of line: inlined it is larger.
    #[inline(never)]
    fn go_round(&mut self, context: &SignalContext<'_>, signal: Option<Signal>, now_us: u64) -> Progress {
        let Some(companions) = &self.companions else { return Progress::Waiting };
        let mut round = self.round.take().unwrap_or_else(|| {
            Round::new(signal, core::mem::replace(&mut self.round_ticks, boottime_ticks()))
        });
        let before = round.signalled;
        let listed = companions.advance(context, &mut round, self.id.pid);
        let is_over = listed == Ok(Listed::All) && companions.kill_at_once(context, &mut round);
        if round.signalled > before {
            self.has_signalled_companions = true;
            // Who is signalled again in a later round does not die of it.
            if self.is_first_round {
                self.timeline.note_progress(now_us);
            }
        }
        // Who takes more than one round to die is one process all the same.
        if listed == Ok(Listed::All) {
            self.signalled += round.signalled.min(round.newborn);
        }
        match listed {
            Ok(Listed::All) if is_over => {
                self.is_first_round = false;
                self.spared = companions.spared(&round);
            }
            // They are to be signalled one by one.
            Ok(Listed::All) => {
                self.round = Some(round);
                return Progress::Busy;
            }
            Ok(Listed::Stopped) => {
                self.round = Some(round);
                return Progress::Busy;
            }
            // Without a descriptor or memory to list them with, at once again would
            // be as often as the processor can.
            Err(_) => {
                self.round = Some(round);
                return Progress::Waiting;
            }
        }
        match self.refusal {
            // Nobody at all could be signalled.
            Some(refusal) if round.living == 0 && !self.has_signalled_companions => {
                Progress::Refused(refusal)
            }
            _ if round.living == 0 && self.is_victim_done(context) => Progress::Dead,
            _ => Progress::Waiting,
        }
    }

    /// Need the victim itself not be waited for any more?
    // Out of line: inlined it is larger.
    #[inline(never)]
    fn is_victim_done(&self, context: &SignalContext<'_>) -> bool {
        let is_forced = self.timeline.forced_us.is_some();
        self.refusal.is_some()
            || self.target.is_gone(context)
            || is_forced && self.target.has_no_memory(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Outlook = Outlook { is_urgent: false, is_recovering: false };
    const URGENT: Outlook = Outlook { is_urgent: true, is_recovering: false };
    const RECOVERING: Outlook = Outlook { is_urgent: false, is_recovering: true };
    const GRACE_US: u64 = 1_000_000;

    fn after(signals: &[(Signal, u64)]) -> Timeline {
        let mut timeline = Timeline::new(GRACE_US, 0);
        for &(signal, now_us) in signals {
            timeline.note_sent(signal, now_us);
        }
        timeline
    }

    #[test]
    fn sigterm_comes_first_and_sigkill_after_the_grace() {
        let timeline = Timeline::new(GRACE_US, 5);
        assert_eq!(timeline.due(CALM, 5), Due::Send(Signal::TERM));
        let asked = after(&[(Signal::TERM, 5)]);
        assert_eq!(asked.due(CALM, 5 + GRACE_US - 1), Due::Nothing);
        assert_eq!(asked.due(CALM, 5 + GRACE_US), Due::Send(Signal::KILL));
        assert_eq!((asked.signalled_us, asked.is_asked, asked.forced_us), (Some(5), true, None));
    }

    #[test]
    fn below_the_kill_limit_there_is_no_time_to_ask() {
        assert_eq!(Timeline::new(GRACE_US, 5).due(URGENT, 5), Due::Send(Signal::KILL));
        assert_eq!(after(&[(Signal::TERM, 5)]).due(URGENT, 6), Due::Send(Signal::KILL));
        // Nor without a grace.
        assert_eq!(Timeline::new(0, 5).due(CALM, 5), Due::Send(Signal::KILL));
    }

    /// The hole: of a thousand, on a slow machine, most had not been signalled after two
    /// seconds, and were let go.
    #[test]
    fn as_long_as_others_are_signalled_it_is_not_stuck() {
        let mut timeline = after(&[(Signal::KILL, 5)]);
        timeline.note_progress(5 + STUCK_AFTER_US / 2);
        assert_eq!(timeline.due(CALM, 5 + STUCK_AFTER_US), Due::SweepCompanions);
        assert_eq!(timeline.due(CALM, 5 + STUCK_AFTER_US / 2 * 3), Due::GiveUp);
        // But not for ever.
        timeline.note_progress(5 + SLOW_AFTER_US - 1);
        assert_eq!(timeline.due(CALM, 5 + SLOW_AFTER_US), Due::GiveUp);
    }

    #[test]
    fn a_hook_holds_the_kill_until_it_ends_or_its_time_is_up() {
        let mut timeline = Timeline::new(GRACE_US, 0);
        timeline.hold(HOOK_HOLD_US, 0);
        // However urgent: the hook was promised its time.
        assert_eq!(timeline.due(URGENT, HOOK_HOLD_US - 1), Due::Nothing);
        assert_eq!(timeline.due(CALM, HOOK_HOLD_US), Due::Send(Signal::TERM));
        timeline.release_hold();
        assert_eq!(timeline.due(CALM, 1), Due::Send(Signal::TERM));
    }

    /// The hole: for a rule's kill a hook may have a minute, in which nobody else could be
    /// killed.
    #[test]
    fn a_long_hold_ends_where_memory_does() {
        let mut timeline = Timeline::new(GRACE_US, 0);
        timeline.hold(100 * HOOK_HOLD_US, 0);
        assert_eq!(timeline.due(URGENT, HOOK_HOLD_US - 1), Due::Nothing);
        assert_eq!(timeline.due(CALM, 100 * HOOK_HOLD_US - 1), Due::Nothing);
        assert_eq!(timeline.due(URGENT, HOOK_HOLD_US), Due::Send(Signal::KILL));
    }

    #[test]
    fn a_victim_that_does_not_die_is_given_up_unless_memory_comes_back() {
        let forced = after(&[(Signal::TERM, 0), (Signal::KILL, 7)]);
        assert_eq!(forced.due(CALM, 8), Due::SweepCompanions);
        assert_eq!(forced.due(CALM, 7 + STUCK_AFTER_US), Due::GiveUp);
        assert_eq!(forced.due(RECOVERING, 7 + STUCK_AFTER_US), Due::Nothing);
        assert_eq!(forced.due(RECOVERING, 7 + SLOW_AFTER_US), Due::GiveUp);
        let short_again = Outlook { is_urgent: true, is_recovering: true };
        assert_eq!(forced.due(short_again, 7 + STUCK_AFTER_US), Due::GiveUp);
        assert_eq!((forced.signalled_us, forced.forced_us), (Some(0), Some(7)));
    }
}
