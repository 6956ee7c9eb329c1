//! From a verdict to a victim, and to what came of it.

use super::{Judged, Monitor};
use crate::act::executor::{Death, Event, FreeMemory, HOLD_DRY_RUN_US, HOLD_FAILED_US, SETTLE_US};
use crate::act::signal::Refusal;
use crate::choose::no_victim::NoVictim;
use crate::decide::pacing::{self, LOOK_AGAIN_US, MIN_SLEEP_US};
use crate::decide::verdict::{Rule, Urgency, Verdict};
use crate::read::holdings::FilePath;
use crate::sys::time::{SECOND, now_us as read_clock};
use crate::tell::report::{self, Decision};

/// So long nobody else is killed for what a victim has left in tmpfs.
const PINNED_US: u64 = 10 * SECOND;

/// So long those who have what a victim had may let go of it, above the KILL limit.
const LET_GO_US: u64 = SECOND;

/// Was the victim gone before it was signalled?
fn is_too_late(event: Option<&Event>) -> bool {
    match event {
        Some(Event::Died(death)) => !death.was_killed(),
        Some(Event::Refused(refusal)) => *refusal == Refusal::Gone,
        _ => false,
    }
}

impl Monitor<'_> {
    /// Chooses a victim and begins its kill, unless memory has come back in
    /// the time that took.
    pub(super) fn act(&mut self, rule: Rule, urgency: Urgency, judged: &Judged, now_us: u64) -> u64 {
        let Judged { snapshot, levels, .. } = judged;
        // Once it has been said that there is no reason, looking at memory is enough.
        if self.said.no_victim && self.selector.is_steady(rule, urgency, snapshot, now_us) {
            return pacing::LOW_SLEEP_US;
        }
        let changes = self.scope.changes();
        let mut surveyed = self.selector.survey_for(rule, snapshot, levels, now_us);
        if surveyed.is_err() && urgency == Urgency::Kill {
            surveyed = self.selector.survey_for(rule, snapshot, levels, now_us);
        }
        // Choosing took time: is there still a reason?
        let now_us = read_clock();
        let Ok(judged) = self.look(now_us) else { return MIN_SLEEP_US };
        // And were they those who are guarded now?
        if self.scope.changes() != changes {
            return MIN_SLEEP_US;
        }
        let Judged { snapshot, levels, verdict } = &judged;
        let Verdict::Act(rule, urgency) = *verdict else {
            if self.config.verbose || self.config.once {
                report::came_back(self.log, rule);
            }
            return MIN_SLEEP_US;
        };
        let has_history = self.selector.has_history();
        let decision = Decision { rule, urgency, snapshot, levels, has_history };
        if let Err(error) = surveyed {
            return self.spare_all(&decision, NoVictim::Unreadable(error), now_us);
        }
        let wait_us = if self.config.once {
            0
        } else {
            let after = (snapshot.mem.mem_available_kib, now_us);
            pacing::put_off_us(self.available, after, levels.mem_kill_kib)
        };
        if let Err(why) = self.selector.select_victim(rule, urgency, snapshot, now_us, wait_us) {
            return self.spare_all(&decision, why, now_us);
        }
        self.selector.replace_command();
        if self.config.dry_run {
            self.report_choice(&decision);
            self.executor.hold_off(Urgency::Kill, HOLD_DRY_RUN_US, now_us);
            return MIN_SLEEP_US;
        }
        self.strike(&decision, now_us)
    }

    /// Goes after whoever took the place of a victim that was gone before it could
    /// be signalled: to look at everybody again takes longer than to fork. `None`
    /// where nobody did.
    // Out of line, so that surveys do not run below what is put together here.
    #[inline(never)]
    pub(super) fn hunt(&mut self, rule: Rule, urgency: Urgency, judged: &Judged, now_us: u64) -> Option<u64> {
        let Judged { snapshot, levels, .. } = judged;
        if !self.selector.find_successor(self.executor.victim(), snapshot, now_us) {
            return None;
        }
        let decision = Decision { rule, urgency, snapshot, levels, has_history: true };
        Some(self.strike(&decision, now_us))
    }

    /// Begins to kill the culprit, and heeds what comes of it.
    fn strike(&mut self, decision: &Decision<'_>, now_us: u64) -> u64 {
        let is_alone = self.selector.culprit().members == 1;
        let (has_slipped, sleep_us) = match self.begin(decision, now_us) {
            Ok(event) => (is_too_late(event.as_ref()) && is_alone, self.heed_event(event, now_us)),
            Err(refusal) => {
                self.note_refusal(refusal, now_us);
                (refusal == Refusal::Gone, MIN_SLEEP_US)
            }
        };
        self.has_slipped = has_slipped;
        if has_slipped { 0 } else { sleep_us }
    }

    /// Begins to kill the culprit, and says so.
    // Out of line, so that nothing else runs below what is put together here.
    #[inline(never)]
    fn begin(&mut self, decision: &Decision<'_>, now_us: u64) -> Result<Option<Event>, Refusal> {
        let Decision { rule, urgency, snapshot, .. } = *decision;
        // Asked now, for soon it has none open.
        self.is_in_tmpfs = snapshot.loss.shmem_kib > snapshot.loss.total_kib / 2;
        self.victims_file = FilePath::NONE;
        if self.is_in_tmpfs {
            self.selector.find_tmpfs_file(&mut self.victims_file);
        }
        let (culprit, ranked) = (self.selector.culprit(), self.selector.candidates());
        let is_fleeing = culprit.is_fleeing;
        match self.executor.begin(culprit, rule, ranked, FreeMemory::from(snapshot), now_us) {
            Ok(begun) => {
                // Below the KILL limit the signal comes first: a line takes time.
                let now = Some((snapshot, Verdict::Act(rule, urgency)));
                let is_first = urgency == Urgency::Kill || is_fleeing;
                let stepped = is_first.then(|| self.executor.step(now, now_us));
                self.report_choice(decision);
                report::begun(self.log, &begun);
                Ok(stepped.unwrap_or_else(|| self.executor.step(now, now_us)))
            }
            Err(refusal) => {
                self.report_choice(decision);
                Err(refusal)
            }
        }
    }

    fn report_choice(&mut self, decision: &Decision<'_>) {
        let culprit = self.selector.culprit();
        let is_forced = decision.urgency == Urgency::Kill || self.executor.grace_us(culprit) == 0;
        let signal = if is_forced { "SIGKILL" } else { "SIGTERM" };
        let next = self.selector.next();
        report::choice(self.log, decision, culprit, next, signal, self.config.dry_run);
    }

    fn spare_all(&mut self, decision: &Decision<'_>, why: NoVictim, now_us: u64) -> u64 {
        match why {
            NoVictim::TooSoon => {
                self.executor.hold_off(decision.urgency, LOOK_AGAIN_US, now_us);
                return MIN_SLEEP_US;
            }
            NoVictim::StillLooking => return MIN_SLEEP_US,
            NoVictim::Unreadable(_) => self.executor.hold_off(decision.urgency, HOLD_FAILED_US, now_us),
            // To see whether it becomes less takes no more than a look at memory.
            NoVictim::Steady => {}
            NoVictim::NoCandidate { .. } | NoVictim::NoWriter { .. } => {
                self.executor.hold_off_without_victim(decision.urgency, now_us);
            }
        }
        if !core::mem::replace(&mut self.said.no_victim, true) {
            report::no_victim(self.log, decision, why);
        }
        MIN_SLEEP_US
    }

    /// One step of the active kill.
    pub(super) fn pursue(&mut self, judged: Option<&Judged>, now_us: u64) -> u64 {
        let now = judged.map(|judged| (&judged.snapshot, judged.verdict));
        let event = self.executor.step(now, now_us);
        self.heed_event(event, now_us)
    }

    pub(super) fn heed_event(&mut self, event: Option<Event>, now_us: u64) -> u64 {
        match event {
            Some(Event::GoesOn { left_us, round_us }) => return pacing::kill_sleep_us(left_us, round_us),
            Some(Event::Busy) => return 0,
            Some(Event::Died(death)) => self.finish(&death, now_us),
            Some(Event::TracerKilled(tracer)) => {
                report::tracer_killed(self.log, self.executor.victim(), tracer);
            }
            Some(Event::Stuck { after_us }) => {
                self.selector.set_aside(self.executor.victim().id);
                report::stuck(self.log, self.executor.victim(), after_us);
                self.observer.restart_windows();
            }
            Some(Event::Refused(refusal)) => self.note_refusal(refusal, now_us),
            None => {}
        }
        MIN_SLEEP_US
    }

    fn finish(&mut self, death: &Death, now_us: u64) {
        self.observer.restart_windows();
        #[cfg(feature = "rules")]
        if death.rule == Rule::File
            && let Some(entry) = self.rules_entry
        {
            return (entry.finish_kill)(self, death, now_us);
        }
        let was_killed = death.was_killed();
        let after = self.observer.read(now_us);
        let mut has_it_gone = true;
        if was_killed {
            self.said.no_victim = false;
            // Else what is missing is still to be answered for.
            has_it_gone =
                !after.as_ref().is_ok_and(|after| self.selector.have_others_it(death.gained_kib(after)));
        }
        let left_kib = after.as_ref().ok().filter(|_| self.is_in_tmpfs && has_it_gone);
        let left_kib = left_kib.and_then(|after| death.left_in_tmpfs_kib(after));
        let pinned_until_us = now_us + left_kib.map_or(0, |_| PINNED_US);
        if was_killed && has_it_gone {
            // Others may be filling it as well, and are to be found before there is nothing left.
            self.observer.restart_baselines(pinned_until_us);
        }
        let is_command = was_killed && death.refusal.is_none() && self.blame_command();
        report::death(self.log, self.executor.victim(), death, after.as_ref().ok(), is_command, now_us);
        if let Some(command) = self.command.as_ref().filter(|_| is_command) {
            command.write_termination_log(self.log.line());
        }
        if was_killed {
            self.selector.settle(pinned_until_us);
        }
        if let Some(left_kib) = left_kib {
            report::left_in_tmpfs(self.log, left_kib, &self.victims_file);
        }
        self.count(death, now_us);
        // Whoever shares it may let go of it, now that the victim is gone.
        if !has_it_gone {
            self.executor.hold_off(Urgency::Term, LET_GO_US, now_us);
        }
    }

    /// The same for a cgroup that rules killed: what it had was not looked for.
    #[cfg(feature = "rules")]
    #[inline(never)]
    pub(super) fn finish_cgroup(&mut self, death: &Death, now_us: u64) {
        let after = self.observer.read(now_us);
        self.observer.restart_baselines(0);
        let is_command = death.was_killed() && death.refusal.is_none() && self.blame_command();
        report::death(self.log, self.executor.victim(), death, after.as_ref().ok(), is_command, now_us);
        self.selector.settle(now_us);
        self.count(death, now_us);
    }

    /// Counts who was killed, and has the hook know. Then memory is left to settle.
    fn count(&mut self, death: &Death, now_us: u64) {
        if death.was_killed() {
            let is_forced = death.timeline.forced_us.is_some();
            let urgency = if is_forced { Urgency::Kill } else { Urgency::Term };
            self.stats.count(death.rule, urgency, &self.executor.victim().job.comm);
            self.publish_stats();
            if !self.executor.start_on_kill(death, now_us) {
                report::hook_not_started(self.log, crate::act::hook::Purpose::OnKill);
            }
        }
        self.executor.hold_off(Urgency::Kill, SETTLE_US, now_us);
    }

    fn note_refusal(&mut self, refusal: Refusal, now_us: u64) {
        match refusal {
            // The next survey sees what is there now.
            Refusal::Gone | Refusal::Unverified => {}
            // Possibly transient (ENOMEM for the pidfd): retry.
            Refusal::Failed(_) => self.executor.hold_off(Urgency::Kill, HOLD_FAILED_US, now_us),
            _ => self.selector.set_aside(self.executor.victim().id),
        }
        report::refused(self.log, self.executor.victim(), refusal);
    }
}
