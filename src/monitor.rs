//! The loop: it owns time, and calls each part in turn.

/// From a verdict to a victim.
mod killing;

use crate::act::capability::Capabilities;
use crate::act::command::{Command, Outcome};
use crate::act::executor::{Executor, Means};
use crate::act::hook::Reaped;
use crate::choose::observer::{Observer, StallSource};
use crate::choose::scope::{Scope, Wakers};
use crate::choose::selector::Selector;
use crate::config::Config;
use crate::config::policy::Believed;
use crate::decide::levels::Levels;
use crate::decide::pacing::{self, Headroom, Headrooms, Hunts};
use crate::decide::snapshot::Snapshot;
use crate::decide::verdict::{Verdict, decide};
use crate::read::holdings::FilePath;
use crate::read::kfile::{ReadError, Tree};
use crate::sys::event::{self, Sources, Woken};
use crate::sys::power::Power;
use crate::sys::program::{renew_stack, trim_stack};
use crate::sys::sandbox::{Filter, Standing};
use crate::sys::signals::{Notice, Signals, take_signal};
use crate::sys::time::{MS, now_us as read_clock};
use crate::tell::announce::{Start, announce};
use crate::tell::log::Log;
use crate::tell::report;
use crate::tell::stats::Stats;
use rustix::fd::{AsFd, BorrowedFd};

mod others;
#[cfg(feature = "rules")]
mod rules;

/// How much of the stack a step takes; CI measures it.
const STEP_STACK: usize = 8192;

/// A snapshot, its limits, and what they call for: decided once.
struct Judged {
    snapshot: Snapshot,
    levels: Levels,
    verdict: Verdict,
}

/// What the loop does next.
enum Next {
    Sleep { us: u64 },
    End(Outcome),
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
    signals: &'a Signals,
    scope: &'a Scope<'a>,
    /// What [`Scope::changes`] said when it was told.
    told_changes: u32,
    /// What is done then.
    turn: Option<fn(&mut Self)>,
    observer: Observer<'a>,
    selector: Selector<'a>,
    executor: Executor<'a>,
    command: Option<Command<'a>>,
    /// What rules there are.
    #[cfg(feature = "rules")]
    ruled: Option<&'a mut rules::Ruled<'a>>,
    /// What the loop calls of theirs, where there are any.
    #[cfg(feature = "rules")]
    rules_entry: Option<rules::Entry<'a>>,
    /// The rules act alone.
    #[cfg(feature = "rules")]
    is_alone: bool,
    /// The rules are being looked at, and there is something to be told of it after that.
    #[cfg(feature = "rules")]
    is_ticking: bool,
    #[cfg(feature = "rules")]
    has_news: bool,
    /// Steps of ticks so far, and when memory was looked at last in one.
    #[cfg(feature = "rules")]
    steps: u32,
    #[cfg(feature = "rules")]
    looked_us: u64,
    /// Who was reaped last, or why nobody was.
    reaped: Reaped,
    stats: Stats<'a>,
    log: &'a mut Log,
    said: Said,
    /// The last victim was gone before it was signalled.
    has_slipped: bool,
    /// How often in a row whoever took such a one's place has been gone after.
    hunts: Hunts,
    /// A file on a tmpfs that the victim had open, if much of what is missing is there.
    victims_file: FilePath,
    is_in_tmpfs: bool,
    /// When the log is told next how things stand.
    report_at_us: Option<u64>,
    /// Asleep for a second although memory could be filled in less.
    is_idle: bool,
    /// The headroom of memory at looks before.
    headrooms: Headrooms,
    /// What was available, in KiB, and when, at the last two looks that went further.
    available: [(u64, u64); 2],
    /// Until then the events of a cgroup are not listened to: one whose limit is
    /// reached by its page cache has a hundred a second.
    deaf_until_us: u64,
}

/// So long after one event of a cgroup the next is not listened to.
const DEAF_US: u64 = 200 * MS;

impl<'a> Monitor<'a> {
    /// A guard over `tree`.
    // Out of line, so that its parts are off the stack once they are put together.
    #[inline(never)]
    pub fn new(
        tree: &'a Tree,
        scope: &'a Scope<'a>,
        mut config: Config<'a>,
        capabilities: Capabilities,
        signals: &'a Signals,
        log: &'a mut Log,
    ) -> Self {
        config.policy.only_uid = capabilities.only_uid;
        config.policy.believed = capabilities.believed;
        config.dry_run |= !tree.live;
        let own = rustix::process::getpid();
        let source = if config.once { StallSource::KernelAverage } else { StallSource::Windows };
        let observer = Observer::new(tree, scope, source);
        let means = Means {
            scope,
            sees_everybody: !capabilities.hidepid && capabilities.only_uid.is_none(),
            proc: tree.proc.as_fd(),
            own,
            pidfd: capabilities.pidfd,
            release: capabilities.release,
            inherited: capabilities.inherited,
        };
        Self {
            selector: Selector::new(tree, scope, config.policy, own, observer.page_kib()),
            scope,
            told_changes: scope.changes(),
            turn: scope.has_cgroup().then_some(Self::turn_to_scope as fn(&mut Self)),
            observer,
            executor: Executor::new(config, means),
            command: None,
            #[cfg(feature = "rules")]
            ruled: None,
            #[cfg(feature = "rules")]
            rules_entry: None,
            #[cfg(feature = "rules")]
            is_alone: false,
            #[cfg(feature = "rules")]
            is_ticking: false,
            #[cfg(feature = "rules")]
            has_news: false,
            #[cfg(feature = "rules")]
            steps: 0,
            #[cfg(feature = "rules")]
            looked_us: 0,
            reaped: Reaped::Nobody,
            stats: Stats::new(config.stats),
            config,
            capabilities,
            signals,
            log,
            said: Said::default(),
            has_slipped: false,
            hunts: Hunts::default(),
            victims_file: FilePath::NONE,
            is_in_tmpfs: false,
            report_at_us: config.report_us.map(|every_us| read_clock() + every_us),
            is_idle: false,
            headrooms: Headrooms::default(),
            available: [(0, 0); 2],
            deaf_until_us: 0,
        }
    }

    /// Tells for the first time that there were no kills, on our pidfile too.
    pub fn begin_stats(&mut self, pidfile: Option<BorrowedFd<'a>>) {
        self.stats.begin(pidfile);
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
            scope: self.scope,
            snapshot: &snapshot,
            levels: &levels,
            has_pressure: self.observer.has_pressure(),
            has_doubted_names: self.config.policy.believed == Believed::SystemUsers
                && self.config.policy.has_bare_names(),
            is_dry_run: self.config.dry_run,
            sandbox,
        };
        announce(self.log, &start, &self.capabilities);
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
        #[cfg(feature = "rules")]
        self.renew_stack_for_rules();
    }

    /// Gives up what has been used since of the stack, further down than a step goes.
    pub fn trim_stack(&self) {
        #[cfg(feature = "rules")]
        let bytes = if self.ruled.is_some() { rules::RULES_STACK } else { STEP_STACK };
        #[cfg(not(feature = "rules"))]
        let bytes = STEP_STACK;
        trim_stack(bytes, self.observer.page_kib() as usize * 1024);
    }

    /// Puts `filter` into force, then runs until a signal or the command ends it, or
    /// with `once` until the decision is made and carried out.
    pub fn run(&mut self, filter: &mut Filter) -> Outcome {
        if filter.install().is_err() {
            self.log.warn_of("cannot install the seccomp filter");
        }
        if let Some(command) = &self.command {
            command.release();
            // It may have died before SIGCHLD was blocked.
            self.reap_children(read_clock());
        }
        let mut woken = Woken::default();
        loop {
            match self.step(woken, read_clock()) {
                Next::End(outcome) => return outcome,
                Next::Sleep { us } => woken = self.wait(us),
            }
        }
    }

    fn wait(&self, sleep_us: u64) -> Woken {
        let deaf_us = self.deaf_until_us.saturating_sub(read_clock());
        let sleep_us = if deaf_us > 0 { sleep_us.min(deaf_us) } else { sleep_us };
        let sources = Sources {
            signals: self.signals.as_fd(),
            trigger: self.trigger_fd().filter(|_| deaf_us == 0),
            victim: self.executor.victim_pidfd(),
        };
        // They count everybody's, who are none of a cgroup's business.
        let faults = self.capabilities.faults.as_ref().filter(|_| self.is_idle && self.scope.is_machine());
        if let Some(faults) = faults {
            faults.count(true);
        }
        let woken = event::wait(&sources, sleep_us);
        if let Some(faults) = faults {
            faults.count(false);
        }
        woken
    }

    fn trigger_fd(&self) -> Option<BorrowedFd<'_>> {
        let Wakers { trigger, events } = &self.capabilities.wakers;
        trigger.as_ref().map_or_else(|_| events.as_ref().map(AsFd::as_fd), |trigger| Some(trigger.fd.as_fd()))
    }

    /// Was it an event of a cgroup? Else what tells of pressure or events is gone.
    fn hear(&mut self, now_us: u64) -> bool {
        // Read, it polls readable for the next change; and it cannot be once it is gone.
        if self.capabilities.wakers.trigger.is_err()
            && let Some(events) = &self.capabilities.wakers.events
            && rustix::io::pread(events, &mut [0; 8], 0).is_ok()
        {
            self.deaf_until_us = now_us + DEAF_US;
            return true;
        }
        self.capabilities.wakers = Wakers::NONE;
        self.log.warn_of("the pressure trigger is gone, polling from now on");
        false
    }

    /// One turn: what happened, what it means, what to do about it.
    fn step(&mut self, woken: Woken, now_us: u64) -> Next {
        let mut has_fired = woken.trigger_fired;
        if woken.trigger_gone {
            has_fired = self.hear(now_us);
        }
        // A guard that nobody waits for ends like a machine's init that is told to.
        let by_itself = Outcome { status: 0, power: Power::Restart };
        let own = self.command.as_ref().map(Command::own);
        // After any signal: where a handler takes them, the one that tells of it may be lost.
        let has_dead = self.has_more_dead() || woken.signal;
        let most = if woken.signal { others::AT_ONCE } else { 0 };
        let signals = self.signals.as_fd().as_fd();
        for signal in (0..most).map_while(|_| take_signal(signals)) {
            match (signal.notice(own), &mut self.command) {
                (Notice::End, _) => return Next::End(by_itself),
                (Notice::Status, _) => self.answer_status(now_us),
                (Notice::Reread, _) => self.reread(),
                (Notice::Forward(number), Some(command)) => command.forward(number, now_us),
                // Woken to look, which comes next.
                _ => {}
            }
        }
        if has_dead {
            self.reap_children(now_us);
        }
        self.report_if_due(now_us);
        while let Some(purpose) = self.executor.end_overdue(now_us) {
            report::overdue(self.log, purpose);
        }
        #[cfg(feature = "rules")]
        let rules_us = match self.rules_entry {
            Some(entry) => (entry.tick)(self, now_us),
            None => u64::MAX,
        };
        #[cfg(not(feature = "rules"))]
        let rules_us = u64::MAX;
        self.is_idle = false;
        let sleep_us = if self.executor.is_killing() {
            let judged = self.look(now_us).ok();
            self.pursue(judged.as_ref(), now_us)
        } else {
            self.watch(has_fired, now_us)
        };
        if self.config.once && !self.executor.is_busy() {
            return Next::End(by_itself);
        }
        if let Some(outcome) = self.end_with_command(now_us) {
            return Next::End(outcome);
        }
        let deadline_us = self.others_deadline_us(now_us).min(rules_us);
        Next::Sleep { us: sleep_us.min(deadline_us.saturating_sub(now_us)) }
    }

    /// Reads memory and judges it.
    fn look(&mut self, now_us: u64) -> Result<Judged, ReadError> {
        let snapshot = self.observer.read(now_us)?;
        let changes = self.scope.changes();
        if core::mem::replace(&mut self.told_changes, changes) != changes {
            // Who guards nothing but the machine has none.
            if let Some(turn) = self.turn {
                turn(self);
            }
        }
        let levels = Levels::of(&self.config.limits, &snapshot);
        self.observer.arm_fast_path(&snapshot, &levels);
        let verdict = decide(&snapshot, &levels);
        #[cfg(feature = "rules")]
        let verdict = if self.is_alone { Verdict::Enough } else { verdict };
        Ok(Judged { snapshot, levels, verdict })
    }

    /// Something else is guarded now: what is known, and what wakes us, is about what was.
    fn turn_to_scope(&mut self) {
        report::moved(self.log, self.scope);
        self.selector.forget();
        self.scope.arm(&mut self.capabilities.wakers);
    }

    // -------------------------------------------------------- watching

    fn watch(&mut self, trigger_fired: bool, now_us: u64) -> u64 {
        let must_read = trigger_fired
            || self.config.once
            || self.selector.is_note_due(now_us)
            || self.scope.is_to_be_read();
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
                // For want of memory or descriptors it is tried again soon.
                let is_refused = matches!(error, ReadError::Io(_));
                if is_refused { pacing::LOW_SLEEP_US } else { pacing::IDLE_SLEEP_US }
            }
        }
    }

    /// Does what the verdict calls for, if no hold speaks against it.
    fn heed(&mut self, judged: &Judged, now_us: u64) -> u64 {
        let Judged { snapshot, levels, verdict } = judged;
        self.said.unreadable = false;
        self.available = [(snapshot.mem.mem_available_kib, now_us), self.available[0]];
        // Later it would be about somebody else.
        let may_hunt = self.hunts.may_go_on(core::mem::take(&mut self.has_slipped));
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
                self.sleep_us_unless_idle(pacing::low_sleep_us(headroom), headroom, now_us)
            }
            Verdict::Act(rule, urgency) => {
                if may_hunt && let Some(sleep_us) = self.hunt(rule, urgency, judged, now_us) {
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
        // A limit that is set wakes nobody.
        let is_woken = self.capabilities.wakers.trigger.is_ok() && !self.scope.may_turn();
        let sleep_us = pacing::healthy_sleep_us(headroom, is_woken);
        self.sleep_us_unless_idle(sleep_us, headroom, now_us)
    }

    /// A whole second where the processors do nothing, and memory has not become so much
    /// less that it would not last: what fills it from now on wakes us, where the kernel
    /// lets it.
    fn sleep_us_unless_idle(&mut self, sleep_us: u64, headroom: Headroom, now_us: u64) -> u64 {
        let do_last = self.headrooms.do_last((headroom.mem_kib, now_us));
        self.is_idle = pacing::is_worth_asking_if_idle(sleep_us) && self.observer.is_idle(now_us) && do_last;
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
}
