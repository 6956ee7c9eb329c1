//! What the loop does besides memory: questions by signal, numbers for others, the
//! dead, and the command that it runs.

use super::Monitor;
use crate::act::command::{Command, Outcome, Started};
use crate::act::hook::Reaped;
use crate::config::command::status_of;
use crate::read::kfile::Tree;
use crate::tell::report;
use rustix::fd::AsFd;

/// As many of those that died are reaped, and as many signals taken, before memory is
/// looked at again; it takes a few milliseconds.
pub(super) const AT_ONCE: u32 = 256;

impl<'a> Monitor<'a> {
    /// Runs a command meanwhile, and ends as it does.
    pub fn attend(&mut self, started: Started, tree: &'a Tree) {
        let own = rustix::process::getpid();
        let command = Command::new(started, &self.config, tree.proc.as_fd(), own);
        self.selector.spare(Some(command.pid()));
        self.executor.command = Some(command.pid());
        self.command = Some(command);
    }

    pub(super) fn answer_status(&mut self, now_us: u64) {
        let judged = self.look(now_us);
        let now = judged.as_ref().map(|judged| (&judged.snapshot, &judged.levels));
        report::status(
            self.log,
            now.map_err(|error| *error),
            self.capabilities.wakers.trigger.is_ok(),
            &self.stats,
        );
        #[cfg(feature = "rules")]
        if let Some(entry) = self.rules_entry {
            (entry.tell_standing)(self, now_us);
        }
    }

    /// Opens and reads again what may have been replaced: the log, and rules.
    pub(super) fn reread(&mut self) {
        #[cfg(feature = "rules")]
        if let Some(entry) = self.rules_entry {
            (entry.reread)(self);
            return report::reopened(self.log, true);
        }
        report::reopened(self.log, false);
    }

    /// Tells the log how things stand, if it is time.
    pub(super) fn report_if_due(&mut self, now_us: u64) {
        if let (Some(at_us), Some(every_us)) = (self.report_at_us, self.config.report_us)
            && now_us >= at_us
        {
            self.report_at_us = Some(now_us + every_us);
            self.answer_status(now_us);
        }
    }

    pub(super) fn publish_stats(&mut self) {
        #[cfg(feature = "rules")]
        if self.is_ticking {
            // What rules have done is told once they are done.
            self.has_news = true;
            return;
        }
        #[cfg(feature = "rules")]
        let told = self.rules_entry.zip(self.ruled.as_deref());
        let failure = self.stats.publish(&mut |out| {
            #[cfg(feature = "rules")]
            if let Some((entry, ruled)) = told {
                (entry.tell)(ruled, out);
            }
            let _ = out;
        });
        if let Some(errno) = failure {
            report::stats_not_written(self.log, errno);
        }
    }

    /// Reaps who has died, but not so many that memory would have to wait for it.
    pub(super) fn reap_children(&mut self, now_us: u64) {
        for _ in 0..AT_ONCE {
            self.reaped = self.executor.reap();
            match (&self.reaped, &mut self.command) {
                (Reaped::Ours(ended), _) => {
                    report::ended(self.log, ended);
                    #[cfg(feature = "rules")]
                    if let Some(entry) = self.rules_entry {
                        let ended = *ended;
                        (entry.note_end)(self, &ended);
                    }
                }
                (Reaped::Other(pid, status), Some(command)) if command.pid() == *pid => {
                    let status = status_of(status.exit_status(), status.terminating_signal());
                    command.note_end(status, now_us);
                    self.selector.spare(None);
                    self.executor.command = None;
                }
                (Reaped::Other(..), _) => {}
                _ => return,
            }
        }
    }

    /// Is there somebody left to be reaped, for all we know?
    pub(super) fn has_more_dead(&self) -> bool {
        matches!(self.reaped, Reaped::Ours(_) | Reaped::Other(..))
    }

    /// How the guard is to end, if the command has ended and left nobody behind.
    pub(super) fn end_with_command(&mut self, now_us: u64) -> Option<Outcome> {
        let is_anybody_left = !matches!(self.reaped, Reaped::NobodyIsLeft) || self.executor.is_busy();
        self.command.as_mut()?.step(is_anybody_left, now_us)
    }

    /// When there is something to do for children or the command.
    pub(super) fn others_deadline_us(&self, now_us: u64) -> u64 {
        if self.has_more_dead() {
            return now_us;
        }
        let command_us = self.command.as_ref().map_or(u64::MAX, Command::deadline_us);
        let report_us = self.report_at_us.unwrap_or(u64::MAX);
        self.executor.children_deadline_us().min(command_us).min(report_us)
    }

    /// Was it the command that died? Then the guard's status tells.
    pub(super) fn blame_command(&mut self) -> bool {
        let pid = self.executor.victim().id.pid;
        self.command.as_mut().filter(|command| command.pid() == pid).map(Command::blame).is_some()
    }
}
