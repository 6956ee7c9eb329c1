//! The loop: it owns time, and calls each part in turn.

/// From a verdict to a victim.
mod killing;

use crate::act::capability::Capabilities;
use crate::act::executor::{Executor, Means};
use crate::choose::observer::{Observer, StallSource};
use crate::choose::selector::Selector;
use crate::config::Config;
use crate::config::policy::Believed;
use crate::decide::levels::Levels;
use crate::decide::pacing::{self, Headroom};
use crate::decide::snapshot::Snapshot;
use crate::decide::verdict::{Verdict, decide};
use crate::read::kfile::{ReadError, Tree};
use crate::sys::event::{self, Sources, Woken};
use crate::sys::program::renew_stack;
use crate::sys::sandbox::{Filter, Standing};
use crate::sys::signals::{Notice, take_notice};
use crate::sys::time::now_us as read_clock;
use crate::tell::log::Log;
use crate::tell::report::{self, Start};
use crate::tell::stats::Stats;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

/// How much of the stack a step takes; CI measures it.
const STEP_STACK: usize = 6144;

/// A snapshot, its limits, and what they call for: decided once.
struct Judged {
    snapshot: Snapshot,
    levels: Levels,
    verdict: Verdict,
}

/// What the loop does next.
enum Next {
    Sleep { us: u64 },
    End,
}

/// What has been said since memory became low, so that it is not said again.
#[derive(Debug, Default)]
struct Said {
    is_low: bool,
    no_victim: bool,
    unreadable: bool,
}

/// The guard.
#[derive(Debug)]
pub struct Monitor<'a> {
    config: Config<'a>,
    capabilities: Capabilities,
    signals: &'a OwnedFd,
    observer: Observer<'a>,
    selector: Selector<'a>,
    executor: Executor<'a>,
    stats: Stats<'a>,
    log: &'a mut Log,
    said: Said,
    /// The last victim was gone before it was signalled.
    has_slipped: bool,
    /// Asleep for a second although memory could be filled in less.
    is_idle: bool,
}

impl<'a> Monitor<'a> {
    /// A guard over `tree`.
    // Out of line, so that its parts are off the stack once they are put together.
    #[inline(never)]
    pub fn new(
        tree: &'a Tree,
        mut config: Config<'a>,
        capabilities: Capabilities,
        signals: &'a OwnedFd,
        log: &'a mut Log,
    ) -> Self {
        config.policy.only_uid = capabilities.only_uid;
        config.policy.believed = capabilities.believed;
        config.dry_run |= !tree.live;
        let own = rustix::process::getpid();
        let source = if config.once { StallSource::KernelAverage } else { StallSource::Windows };
        let observer = Observer::new(tree, source);
        let means = Means {
            proc: tree.proc.as_fd(),
            own,
            pidfd: capabilities.pidfd,
            release: capabilities.release,
            inherited: capabilities.inherited,
        };
        Self {
            selector: Selector::new(tree, config.policy, own, observer.page_kib()),
            observer,
            executor: Executor::new(config, means),
            stats: Stats::new(config.stats),
            config,
            capabilities,
            signals,
            log,
            said: Said::default(),
            has_slipped: false,
            is_idle: false,
        }
    }

    /// Tells for the first time that there were no kills, on our pidfile too.
    pub fn begin_stats(&mut self, pidfile: Option<BorrowedFd<'a>>) {
        self.stats.pidfile = pidfile;
        self.publish_stats();
    }

    /// The line that says what is watched and how, once, at start.
    ///
    /// # Errors
    /// Memory cannot be read: nothing could be guarded.
    // Out of line, so that the loop does not run below its stack.
    #[inline(never)]
    pub fn announce(&mut self, sandbox: Standing) -> Result<(), ReadError> {
        let Judged { snapshot, levels, .. } = self.look(read_clock())?;
        let start = Start {
            snapshot: &snapshot,
            levels: &levels,
            has_pressure: self.observer.has_pressure(),
            has_doubted_names: self.config.policy.believed == Believed::SystemUsers
                && self.config.policy.has_bare_names(),
            is_dry_run: self.config.dry_run,
            sandbox,
        };
        report::announce(self.log, &start, &self.capabilities);
        Ok(())
    }

    /// See [`Log::let_go_of_stderr`].
    pub fn let_go_of_stderr(&mut self) {
        self.log.let_go_of_stderr();
    }

    /// Gives up what start-up has used of the stack, and makes resident what a
    /// step takes. Before the sandbox, for it may take CAP_IPC_LOCK.
    pub fn renew_stack(&self) {
        renew_stack::<STEP_STACK>(self.observer.page_kib() as usize * 1024);
    }

    /// Puts `filter` into force, then runs until a signal ends it, or with `once`
    /// until the decision is made and carried out.
    pub fn run(&mut self, filter: &mut Filter) {
        if filter.install().is_err() {
            self.log.warn_of("cannot install the seccomp filter");
        }
        let mut woken = Woken::default();
        loop {
            match self.step(woken, read_clock()) {
                Next::End => return,
                Next::Sleep { us } => woken = self.wait(us),
            }
        }
    }

    fn wait(&self, sleep_us: u64) -> Woken {
        let sources = Sources {
            signals: self.signals,
            trigger: self.capabilities.trigger.as_ref().ok().map(|trigger| trigger.fd.as_fd()),
            victim: self.executor.victim_pidfd(),
        };
        let faults = self.capabilities.faults.as_ref().filter(|_| self.is_idle);
        if let Some(faults) = faults {
            faults.count(true);
        }
        let woken = event::wait(&sources, sleep_us);
        if let Some(faults) = faults {
            faults.count(false);
        }
        woken
    }

    /// One turn: what happened, what it means, what to do about it.
    fn step(&mut self, woken: Woken, now_us: u64) -> Next {
        if woken.trigger_gone {
            self.capabilities.trigger = Err(Errno::NODEV);
            self.log.warn_of("the pressure trigger is gone, polling from now on");
        }
        while woken.signal
            && let Some(notice) = take_notice(self.signals.as_fd())
        {
            match notice {
                Notice::End => return Next::End,
                Notice::Status => self.answer_status(now_us),
                Notice::Child => self.reap_children(),
                // Woken to look, which comes next.
                Notice::Faults => {}
            }
        }
        while let Some(purpose) = self.executor.end_overdue(now_us) {
            report::overdue(self.log, purpose);
        }
        self.is_idle = false;
        let sleep_us = if self.executor.is_killing() {
            let judged = self.look(now_us).ok();
            self.pursue(judged.as_ref(), now_us)
        } else {
            self.watch(woken.trigger_fired, now_us)
        };
        if self.config.once && !self.executor.is_busy() {
            return Next::End;
        }
        Next::Sleep { us: sleep_us.min(self.executor.children_deadline_us().saturating_sub(now_us)) }
    }

    /// Reads memory and judges it.
    fn look(&mut self, now_us: u64) -> Result<Judged, ReadError> {
        let snapshot = self.observer.read(now_us)?;
        let levels = Levels::of(&self.config.limits, &snapshot);
        self.observer.arm_fast_path(&snapshot, &levels);
        let verdict = decide(&snapshot, &levels);
        Ok(Judged { snapshot, levels, verdict })
    }

    // -------------------------------------------------------- watching

    fn watch(&mut self, trigger_fired: bool, now_us: u64) -> u64 {
        let must_read = trigger_fired || self.config.once || self.selector.is_note_due(now_us);
        if !must_read && let Some(headroom) = self.observer.read_fast_path() {
            self.leave_low();
            return self.healthy_sleep_us(headroom, now_us);
        }
        match self.look(now_us) {
            Ok(judged) => self.heed(&judged, now_us),
            Err(error) => {
                if !core::mem::replace(&mut self.said.unreadable, true) {
                    report::unreadable(self.log, error);
                }
                pacing::IDLE_SLEEP_US
            }
        }
    }

    /// Does what the verdict calls for, if no hold speaks against it.
    fn heed(&mut self, judged: &Judged, now_us: u64) -> u64 {
        let Judged { snapshot, levels, verdict } = judged;
        self.said.unreadable = false;
        if !self.config.once {
            self.selector.note_growth(snapshot, levels, now_us);
        }
        let is_chatty = self.config.verbose || self.config.once;
        let headroom = Headroom::of(snapshot, levels);
        match *verdict {
            Verdict::Enough => {
                self.leave_low();
                if self.config.once {
                    report::memory(self.log, "nothing to do", snapshot);
                }
                self.healthy_sleep_us(headroom, now_us)
            }
            Verdict::Low => {
                if !self.said.is_low && is_chatty {
                    report::memory(self.log, "memory is low", snapshot);
                }
                self.said.is_low = true;
                self.sleep_us_unless_idle(pacing::low_sleep_us(headroom), now_us)
            }
            Verdict::Act(rule, urgency) => {
                if core::mem::take(&mut self.has_slipped)
                    && let Some(sleep_us) = self.hunt(rule, urgency, judged, now_us)
                {
                    return sleep_us;
                }
                match self.executor.held_until_us(urgency, now_us) {
                    // Looked at in between, for it may become more urgent.
                    Some(until_us) => (until_us - now_us).min(pacing::LOW_SLEEP_US),
                    None => {
                        self.said.is_low = true;
                        self.act(rule, urgency, judged, now_us)
                    }
                }
            }
        }
    }

    fn healthy_sleep_us(&mut self, headroom: Headroom, now_us: u64) -> u64 {
        let sleep_us = pacing::healthy_sleep_us(headroom, self.capabilities.trigger.is_ok());
        self.sleep_us_unless_idle(sleep_us, now_us)
    }

    /// A whole second where the processors do nothing: what fills memory from now
    /// on wakes us, where the kernel lets it.
    fn sleep_us_unless_idle(&mut self, sleep_us: u64, now_us: u64) -> u64 {
        self.is_idle = pacing::is_worth_asking_if_idle(sleep_us) && self.observer.is_idle(now_us);
        if self.is_idle { pacing::IDLE_SLEEP_US } else { sleep_us }
    }

    fn leave_low(&mut self) {
        if self.said.is_low && self.config.verbose {
            self.log.info(|line| {
                line.text("memory is no longer low");
            });
        }
        self.said.is_low = false;
        self.said.no_victim = false;
        self.selector.leave_low();
    }

    // -------------------------------------------------------- others

    fn answer_status(&mut self, now_us: u64) {
        let judged = self.look(now_us);
        let now = judged.as_ref().map(|judged| (&judged.snapshot, &judged.levels));
        report::status(
            self.log,
            now.map_err(|error| *error),
            self.capabilities.trigger.is_ok(),
            self.stats.total(),
        );
    }

    fn publish_stats(&mut self) {
        if let Some(errno) = self.stats.publish() {
            report::stats_not_written(self.log, errno);
        }
    }

    fn reap_children(&mut self) {
        while let Some(ended) = self.executor.reap() {
            report::ended(self.log, &ended);
        }
    }
}
