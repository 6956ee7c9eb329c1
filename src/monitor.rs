//! The loop: it owns time and state, and calls each stage in turn.

use crate::act::capability::Capabilities;
use crate::act::hook::{Children, Ended, Purpose};
use crate::act::signal::{self, Companions, Group, HOLD_US, Kill, Members, Progress, Refusal, SignalContext};
use crate::choose::survey::{Known, Scope, TABLE, Writers, survey, survey_spawn_burst, survey_writers};
use crate::decide::attribution::{Attribution, Baseline, Culprit, Loss, attribute};
use crate::decide::verdict::{
    FLOOR_SPAN_US, Levels, Limits, Readings, Rule, THRASH_REFAULT_PCT, Thrash, Urgency, Verdict, decide,
};
use crate::decide::victim::{Candidate, Policy, Ranking, min_freeable_kib};
use crate::read::kfile::{ReadError, Tree};
use crate::read::memory::{self, Meminfo, MeminfoFile, SysinfoReading};
use crate::read::process::{Identity, Pid};
use crate::read::psi::{Stall, StallWindow};
use crate::read::window::Window;
use crate::sys::event::{self, Sources, Woken};
use crate::sys::{self, Notice};
use crate::tell::log::{Line, Log};
use crate::tell::stats::Stats;
use core::ffi::CStr;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// What the user asked for.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// When to act.
    pub limits: Limits,
    /// Whom to choose.
    pub policy: Policy<'a>,
    /// From SIGTERM to SIGKILL.
    pub grace_us: u64,
    /// Kill the victim's process group with it.
    pub kill_pgroup: bool,
    /// Decide and log, but never signal.
    pub dry_run: bool,
    /// End after one decision and what comes of it.
    pub once: bool,
    /// Log every change of state.
    pub verbose: bool,
    /// Run before the first signal.
    pub before_kill: Option<&'a CStr>,
    /// Run after the victim is gone.
    pub on_kill: Option<&'a CStr>,
    /// Tell of kills in this file; see [`Stats`].
    pub stats: Option<&'a CStr>,
}

const MS: u64 = 1000;
const SECOND: u64 = 1_000_000;

/// The window of the pressure and thrash rules, the one avg10 is named for.
const STALL_SPAN_US: u64 = 10 * SECOND;

/// Fastest plausible fill rates, in KiB per ms: 6 GiB/s for RAM is what several
/// processes touching fresh pages reach, 0.8 GiB/s for swap what zram does.
const RAM_FILL_KIB_PER_MS: u64 = 6 * 1024 * 1024 / 1000;
const SWAP_FILL_KIB_PER_MS: u64 = 8 * 1024 * 1024 / 10_000;

/// Shortest sleep: a leak of 1 GiB/s moves 20 MiB in it.
const MIN_SLEEP_US: u64 = 20 * MS;
/// Longest sleep while memory is low: a quarter of the floor's window.
const LOW_SLEEP_US: u64 = FLOOR_SPAN_US / 4;
/// Processor time that still counts as idle: ourselves and a few timers.
const IDLE_BUSY_PCT: u64 = 3;
const IDLE_SPAN_US: u64 = SECOND;
/// Longest sleep without a trigger, and what an idle machine sleeps at least.
const IDLE_SLEEP_US: u64 = SECOND;
/// Longest sleep with a trigger to wake us.
const TRIGGER_SLEEP_US: u64 = 10 * SECOND;

/// A victim not gone this long after SIGKILL has its memory released for it.
/// Not at once: that takes a fork, which takes memory.
const RELEASE_AFTER_US: u64 = 100 * MS;

/// Longest rest between two rounds through a swarm.
const REST_US: u64 = 200 * MS;

/// After a death, for the kernel's counters to show what was freed.
const SETTLE_US: u64 = 50 * MS;
/// When there is nobody to kill, look again this often.
const HOLD_NO_VICTIM_US: u64 = SECOND;
/// When the kernel failed us, try again after this.
const HOLD_FAILED_US: u64 = 100 * MS;
/// In a dry run, decide again this often.
const HOLD_DRY_RUN_US: u64 = 10 * SECOND;

/// Victims that would not die, remembered so that another is chosen.
const SET_ASIDE: usize = 8;

/// Below so many times the TERM limit it is noted who grows, as often as
/// memory gets less.
const WATCH_TERMS: u64 = 3;
/// For noting that, at most this share of one processor: after a survey, so
/// many times as long without.
const WATCH_REST: u64 = 50;
const WATCH_MIN_US: u64 = 100 * MS;
/// Above, so often, for there to be something to compare with.
const WATCH_IDLE_US: u64 = 30 * SECOND;

/// A survey this young will do where there is no time for another.
const FRESH_US: u64 = 2 * SECOND;

/// Younger processes belong to a swarm that is growing now.
const YOUNG_TICKS: u64 = 60 * 100;

/// Time between two looks at who writes to tmpfs.
const WRITERS_SPAN_US: u64 = 100 * MS;
/// And what is too long between them.
const WRITERS_STALE_US: u64 = 10 * SECOND;

/// A kill under way and what led to it.
#[derive(Debug)]
struct ActiveKill {
    kill: Kill,
    rule: Rule,
    /// How many die; see [`Culprit::members`].
    members: u32,
    before: Free,
    releasing: bool,
}

/// What there was to be had.
#[derive(Clone, Copy, Debug)]
struct Free {
    mem_available_kib: u64,
    swap_kib: u64,
}

/// The last survey.
#[derive(Clone, Copy, Debug)]
struct Surveyed {
    /// When the next is due if memory gets less.
    due_us: u64,
    at_us: u64,
    taken_kib: u64,
}

/// What the loop does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Sleep { us: u64 },
    End,
}

/// What a look at memory showed.
#[derive(Clone, Copy, Debug)]
enum Look {
    /// Free memory alone is so plenty that nothing past sysinfo(2) was read.
    Plenty { headroom_kib: u64 },
    /// Everything there is to read.
    Whole,
    /// `/proc/meminfo` cannot be read.
    Unreadable,
}

/// Everything there is to read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sight {
    /// What there is.
    pub readings: Readings,
    /// The limits it is held against.
    pub levels: Levels,
}

/// While sysinfo(2) tells of more than this nothing else need be read.
#[derive(Clone, Copy, Debug)]
struct Plenty {
    free_kib: u64,
    mem_term_kib: u64,
    total_kib: u64,
    swap_total_kib: u64,
}

/// The guard.
// In this order: what is within 128 bytes of the start is reached in shorter
// instructions.
#[repr(C)]
#[derive(Debug)]
pub struct Monitor<'a> {
    log: &'a mut Log,
    tree: &'a Tree,
    proc: BorrowedFd<'a>,
    own: Pid,
    /// No new kill before this.
    hold_until_us: u64,
    was_low: bool,
    /// Asleep for a second although memory could be filled in less.
    idle: bool,
    /// Somebody was killed and memory is still low.
    has_killed: bool,
    said_no_victim: bool,
    said_unreadable: bool,
    page_kib: u64,
    active: Option<ActiveKill>,
    settings: Settings<'a>,
    capabilities: Capabilities,
    signals: &'a OwnedFd,
    meminfo: MeminfoFile,
    stall: StallWindow,
    recent_stall: StallWindow,
    thrash: Window,
    busy: Window,
    /// As of the last look at meminfo.
    plenty: Option<Plenty>,
    surveyed: Option<Surveyed>,
    /// What is usually taken of memory and swap, and of that by tmpfs.
    baseline: Option<[Baseline; 2]>,
    writers: Writers,
    children: Children,
    set_aside: [Option<Identity>; SET_ASIDE],
    stats: Stats<'a>,
    /// The largest processes, as of the last survey.
    table: Ranking<TABLE>,
}

impl<'a> Monitor<'a> {
    /// A guard over `tree`.
    // Out of line, for its parts to be off the stack once they are put together.
    #[inline(never)]
    pub fn new(
        tree: &'a Tree,
        settings: Settings<'a>,
        capabilities: Capabilities,
        signals: &'a OwnedFd,
        log: &'a mut Log,
    ) -> Self {
        let only_uid = capabilities.only_uid;
        let mut monitor = Self {
            tree,
            proc: tree.proc.as_fd(),
            settings,
            capabilities,
            signals,
            log,
            own: rustix::process::getpid(),
            page_kib: if tree.live { crate::sys::page_kib() } else { CAPTURED_PAGE_KIB },
            meminfo: MeminfoFile::default(),
            stall: StallWindow::new(STALL_SPAN_US),
            recent_stall: StallWindow::new(FLOOR_SPAN_US),
            thrash: Window::new(STALL_SPAN_US),
            busy: Window::new(IDLE_SPAN_US),
            plenty: None,
            table: Ranking::default(),
            surveyed: None,
            baseline: None,
            writers: Writers::default(),
            active: None,
            children: Children::default(),
            set_aside: [None; SET_ASIDE],
            hold_until_us: 0,
            idle: false,
            was_low: false,
            has_killed: false,
            said_no_victim: false,
            said_unreadable: false,
            stats: Stats::new(settings.stats),
        };
        monitor.settings.policy.only_uid = only_uid;
        monitor.settings.dry_run |= !tree.live;
        monitor
    }

    /// Runs until a signal ends it, or with `once` until the decision is made
    /// and carried out.
    #[inline(never)]
    pub fn run(&mut self) {
        touch_stack();
        let mut woken = Woken::default();
        loop {
            match self.step(woken, event::now_us()) {
                Next::End => return,
                Next::Sleep { us } => woken = self.wait(us),
            }
        }
    }

    #[inline(never)]
    fn wait(&self, sleep_us: u64) -> Woken {
        // A group is waited for by looking: its leader's end is not the end.
        let victim = self.active.as_ref().filter(|active| active.kill.is_of_one());
        let sources = Sources {
            signals: self.signals,
            trigger: self.capabilities.trigger.as_ref().ok().map(|trigger| trigger.fd.as_fd()),
            victim: victim.and_then(|active| active.kill.pidfd()),
        };
        let faults = self.capabilities.faults.as_ref().filter(|_| self.idle);
        if let Some(faults) = faults {
            faults.count(true);
        }
        let woken = event::wait(&sources, sleep_us);
        if let Some(faults) = faults {
            faults.count(false);
        }
        woken
    }

    /// Looks twice, `window_us` apart, and at every process, as a guard would
    /// that has just started: what it sees, and whom it would choose, best
    /// first ([`Self::candidates`]). `None` where `/proc/meminfo` cannot be read.
    #[inline(never)]
    #[cold]
    pub fn examine(&mut self, window_us: u64) -> Option<Sight> {
        let mut seen = Sight::default();
        self.read_all(&mut seen, event::now_us());
        sys::pause(window_us);
        let now_us = event::now_us();
        if !self.read_all(&mut seen, now_us) {
            return None;
        }
        self.survey(&seen.readings.mem, now_us);
        Some(seen)
    }

    /// The largest processes as of the last survey, best first.
    pub fn candidates(&self) -> &[Candidate] {
        self.table.all()
    }

    /// What we could get.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// One turn: what happened, what it means, what to do about it.
    #[inline(never)]
    fn step(&mut self, woken: Woken, now_us: u64) -> Next {
        if woken.trigger_gone {
            self.capabilities.trigger = Err(rustix::io::Errno::NODEV);
            self.log.warn_of("the pressure trigger is gone, polling from now on");
        }
        while woken.signal
            && let Some(notice) = event::take_notice(self.signals)
        {
            match notice {
                Notice::End => return Next::End,
                Notice::Status => self.log_status(now_us),
                Notice::Child => self.reap_children(),
                // Woken to look, which comes next.
                Notice::Faults => {}
            }
        }
        self.end_overdue_children(now_us);
        self.idle = false;
        let mut seen = Sight::default();
        let look = self.look(woken.trigger_fired, &mut seen, now_us);
        let sleep_us = match (look, self.active.is_some()) {
            (Look::Whole, true) => self.pursue(Some(&seen), now_us),
            (_, true) => self.pursue(None, now_us),
            (Look::Whole, false) => self.judge(&seen, now_us),
            (Look::Plenty { headroom_kib }, false) => {
                self.leave_low();
                self.healthy_sleep_us(headroom_kib, 0, now_us)
            }
            (Look::Unreadable, false) => {
                self.say_unreadable();
                IDLE_SLEEP_US
            }
        };
        if self.settings.once && self.active.is_none() && !self.children.hooks_running() {
            return Next::End;
        }
        Next::Sleep { us: sleep_us.min(self.children.deadline_us().saturating_sub(now_us)) }
    }

    // -------------------------------------------------------- readings

    /// Reads as much as it takes to decide.
    fn look(&mut self, trigger_fired: bool, seen: &mut Sight, now_us: u64) -> Look {
        let note_due = self.surveyed.is_none_or(|last| now_us >= last.at_us + WATCH_IDLE_US);
        let idle =
            self.tree.live && !(trigger_fired || self.settings.once || note_due) && self.active.is_none();
        if let (true, Some(plenty)) = (idle, &self.plenty) {
            let now = memory::read_sysinfo();
            if (now.total_kib, now.swap_total_kib) == (plenty.total_kib, plenty.swap_total_kib)
                && now.free_kib > plenty.free_kib
            {
                return Look::Plenty { headroom_kib: now.free_kib.saturating_sub(plenty.mem_term_kib) };
            }
        }
        if self.read_all(seen, now_us) { Look::Whole } else { Look::Unreadable }
    }

    /// Reads everything into `seen`; false where that cannot be.
    #[inline(never)]
    fn read_all(&mut self, seen: &mut Sight, now_us: u64) -> bool {
        let Ok(mem) = self.meminfo.read(self.proc) else { return false };
        let Sight { readings, levels } = seen;
        *readings = Readings { mem, ..Readings::default() };
        let mem = &readings.mem;
        readings.swap_free_kib = self.read_swap_free_kib(mem);
        let pressure = self.capabilities.pressure.as_ref().ok().and_then(|file| file.read().ok());
        if let Some(pressure) = pressure {
            readings.stall = Some(self.stall.push(now_us, &pressure));
            readings.recent_stall = Some(self.recent_stall.push(now_us, &pressure));
            if self.settings.once {
                // No window of our own yet: the kernel's has to do.
                let average = Stall { some_bp: pressure.some.avg10_bp, full_bp: pressure.full.avg10_bp };
                readings.stall = Some(average);
                readings.recent_stall = Some(average);
            }
        } else if let Ok(vmstat) = memory::read_vmstat(self.proc) {
            let growth = self.thrash.push(now_us, [vmstat.refault_pages, vmstat.allocstalls]);
            let refault_kib = growth.counters[0].saturating_mul(self.page_kib);
            readings.thrash = Some(Thrash {
                refault_pct: refault_kib.saturating_mul(100) / mem.file_lru_kib.max(1),
                allocstalls: growth.counters[1],
            });
        }
        let now = [taken_kib(mem), mem.shmem_kib];
        self.baseline = Some(match self.baseline {
            Some(baseline) => core::array::from_fn(|at| baseline[at].after(now[at], now_us)),
            None => now.map(|kib| Baseline::new(kib, now_us)),
        });
        *levels = self.settings.limits.levels(mem, self.loss(mem).shmem_kib);
        let SysinfoReading { total_kib, swap_total_kib, .. } = memory::read_sysinfo();
        let Levels { gate_kib: free_kib, mem_term_kib, .. } = *levels;
        self.plenty = Some(Plenty { free_kib, mem_term_kib, total_kib, swap_total_kib });
        true
    }

    #[inline(never)]
    fn read_swap_free_kib(&self, mem: &Meminfo) -> u64 {
        if mem.swap_total_kib == 0 {
            return 0;
        }
        match memory::read_swaps(self.tree) {
            // In a container /proc/swaps may be the host's, or empty.
            Ok(swaps) if swaps.areas > 0 => swaps.effective_free_kib(mem).min(mem.swap_free_kib),
            _ => mem.swap_free_kib,
        }
    }

    // -------------------------------------------------------- judgement

    #[inline(never)]
    fn judge(&mut self, seen: &Sight, now_us: u64) -> u64 {
        let Sight { readings, levels } = seen;
        self.watch(&readings.mem, levels, now_us);
        match decide(readings, levels) {
            Verdict::Enough => {
                self.leave_low();
                if self.settings.once {
                    self.log_readings("nothing to do: ", readings);
                }
                let mem_kib = readings.mem.mem_available_kib.saturating_sub(levels.mem_term_kib);
                let swap_kib = readings.swap_free_kib.saturating_sub(levels.swap_term_kib);
                self.healthy_sleep_us(mem_kib, swap_kib, now_us)
            }
            Verdict::Low => {
                if !self.was_low && (self.settings.verbose || self.settings.once) {
                    self.log_readings("memory is low: ", readings);
                }
                self.was_low = true;
                let mem_kib = readings.mem.mem_available_kib.saturating_sub(levels.mem_term_kib);
                let swap_kib = readings.swap_free_kib.saturating_sub(levels.swap_term_kib);
                let sleep_us = fill_time_us(mem_kib, swap_kib).clamp(MIN_SLEEP_US, LOW_SLEEP_US);
                if self.is_idle(now_us) { IDLE_SLEEP_US } else { sleep_us }
            }
            Verdict::Act(..) if now_us < self.hold_until_us => self.hold_until_us - now_us,
            Verdict::Act(rule, _) => {
                self.was_low = true;
                self.act(rule, &readings.mem, now_us)
            }
        }
    }

    /// Sleeps as long as the headroom lasts against the fastest leak, up to the
    /// trigger's limit where there is one. Where the headroom is small that
    /// would be many times a second; a machine whose processors do nothing is
    /// left alone for a second all the same.
    fn healthy_sleep_us(&mut self, mem_headroom_kib: u64, swap_headroom_kib: u64, now_us: u64) -> u64 {
        let longest_us = if self.capabilities.trigger.is_ok() { TRIGGER_SLEEP_US } else { IDLE_SLEEP_US };
        let sleep_us = fill_time_us(mem_headroom_kib, swap_headroom_kib).clamp(MIN_SLEEP_US, longest_us);
        if sleep_us >= IDLE_SLEEP_US {
            sleep_us
        } else if self.is_idle(now_us) {
            IDLE_SLEEP_US
        } else {
            sleep_us
        }
    }

    /// Did the processors do next to nothing during the last second? Then what
    /// fills memory from now on wakes us, where the kernel lets it.
    #[inline(never)]
    fn is_idle(&mut self, now_us: u64) -> bool {
        let Ok(busy_us) = memory::read_busy_us(self.proc) else {
            return false;
        };
        let growth = self.busy.push(now_us, [busy_us, now_us]);
        // The second counter is the time itself: how much of the span was seen.
        self.idle = growth.counters[1] >= IDLE_SPAN_US
            && growth.counters[0] < growth.elapsed_us / 100 * IDLE_BUSY_PCT;
        self.idle
    }

    fn say_unreadable(&mut self) {
        if !self.said_unreadable {
            self.log.warn_of("cannot read /proc/meminfo, nothing can be decided");
        }
        self.said_unreadable = true;
    }

    fn leave_low(&mut self) {
        if self.was_low && self.settings.verbose {
            self.log.info(|line| {
                line.text("memory is no longer low");
            });
        }
        self.was_low = false;
        self.has_killed = false;
        self.said_no_victim = false;
    }

    // -------------------------------------------------------- victim

    /// Notes who is how large, so that it can be told who grew: now and then
    /// where there is plenty, and as memory gets less.
    fn watch(&mut self, mem: &Meminfo, levels: &Levels, now_us: u64) {
        if self.settings.once {
            return;
        }
        let is_due = self.surveyed.is_none_or(|last| {
            let near = mem.mem_available_kib <= levels.mem_term_kib.saturating_mul(WATCH_TERMS);
            let less = taken_kib(mem) > last.taken_kib.saturating_add(min_freeable_kib(mem.total_kib()));
            (near && less && now_us >= last.due_us) || now_us >= last.at_us + WATCH_IDLE_US
        });
        if is_due {
            self.survey(mem, now_us);
        }
    }

    fn loss(&self, mem: &Meminfo) -> Loss {
        let [taken, shmem] = self.baseline.unwrap_or_default();
        Loss { total_kib: taken.growth_kib(taken_kib(mem)), shmem_kib: shmem.growth_kib(mem.shmem_kib) }
    }

    fn scope<'s>(&self, mem: &Meminfo, set_aside: &'s [Option<Identity>], now_us: u64) -> Scope<'s>
    where
        'a: 's,
    {
        Scope {
            policy: self.settings.policy,
            total_kib: mem.total_kib(),
            swap_used_kib: mem.swap_total_kib - mem.swap_free_kib,
            page_kib: self.page_kib,
            own: self.tree.live.then_some(self.own),
            set_aside,
            before: None,
            shmem_growth_kib: self.loss(mem).shmem_kib,
            now_us,
        }
    }

    /// Brings the table up to date; returns how many processes there are.
    #[inline(never)]
    fn survey(&mut self, mem: &Meminfo, now_us: u64) -> u32 {
        let known = Known::of(&self.table);
        let set_aside = self.set_aside;
        let mut scope = self.scope(mem, &set_aside, now_us);
        scope.before = self.surveyed.map(|_| &known);
        self.table.clear();
        let processes = survey(self.proc, &scope, &mut self.table).unwrap_or(0);
        let loss = self.loss(mem);
        if loss.shmem_kib > loss.total_kib / 2 {
            self.look_for_writers(&loss, now_us);
        }
        let end_us = event::now_us();
        let rest_us = end_us.saturating_sub(now_us).saturating_mul(WATCH_REST).max(WATCH_MIN_US);
        self.surveyed = Some(Surveyed { due_us: end_us + rest_us, at_us: now_us, taken_kib: taken_kib(mem) });
        processes
    }

    #[inline(never)]
    fn look_for_writers(&mut self, loss: &Loss, now_us: u64) {
        // Whoever filled it has written as much.
        let least_kib = loss.shmem_kib / 4;
        survey_writers(self.proc, &mut self.writers, least_kib, now_us);
    }

    /// Chooses a victim and begins its kill, unless memory has come back in
    /// the time that took.
    #[inline(never)]
    fn act(&mut self, rule: Rule, mem: &Meminfo, now_us: u64) -> u64 {
        // Below the floor everything stalls, a survey too: who grew is known.
        let known = rule == Rule::Floor
            && self.surveyed.is_some_and(|last| now_us < last.at_us + FRESH_US)
            && self.table.all().iter().any(|held| held.growth_kib > 0);
        let processes = if known { 0 } else { self.survey(mem, now_us) };
        // Choosing took time: is there still a reason?
        let now_us = event::now_us();
        let mut seen = Sight::default();
        if !self.read_all(&mut seen, now_us) {
            return MIN_SLEEP_US;
        }
        let (rule, urgency) = match decide(&seen.readings, &seen.levels) {
            Verdict::Act(rule, urgency) => (rule, urgency),
            Verdict::Enough | Verdict::Low => {
                if self.settings.verbose || self.settings.once {
                    self.log.info(|line| {
                        line.text(rule.name()).text(": memory came back while choosing, nobody is killed");
                    });
                }
                return MIN_SLEEP_US;
            }
        };
        let culprit = match self.select_victim(rule, urgency, &seen.readings.mem, now_us) {
            Ok(culprit) => culprit,
            Err(why) => {
                self.hold(now_us, if why == NoVictim::TooSoon { WRITERS_SPAN_US } else { HOLD_NO_VICTIM_US });
                self.say_no_victim(why, rule, urgency, &seen, processes);
                return MIN_SLEEP_US;
            }
        };
        self.log_choice(rule, urgency, &seen, &culprit);
        if self.settings.dry_run {
            self.hold(now_us, HOLD_DRY_RUN_US);
            return MIN_SLEEP_US;
        }
        let before = Free {
            mem_available_kib: seen.readings.mem.mem_available_kib,
            swap_kib: seen.readings.swap_free_kib,
        };
        match self.begin(&culprit, rule, before, now_us) {
            Ok(()) => self.pursue(Some(&seen), now_us),
            Err(refusal) => {
                self.refused(&culprit.victim, refusal, now_us);
                MIN_SLEEP_US
            }
        }
    }

    /// Who is to die, or why nobody is.
    #[inline(never)]
    fn select_victim(
        &mut self,
        rule: Rule,
        urgency: Urgency,
        mem: &Meminfo,
        now_us: u64,
    ) -> Result<Culprit, NoVictim> {
        let least_kib = min_freeable_kib(mem.total_kib());
        let loss = self.loss(mem);
        // Exhaustion alone is a state; it takes a reason to kill once more.
        let may_wait = rule == Rule::Exhaustion && urgency == Urgency::Term;
        let found_any = !self.table.all().is_empty();
        if found_any && may_wait && self.has_killed && loss.total_kib < least_kib {
            return Err(NoVictim::Steady);
        }
        let scope = self.scope(mem, &self.set_aside, now_us);
        let proc = self.proc;
        let found = match attribute(self.table.all(), &loss, least_kib) {
            Attribution::Known(culprit) => return Ok(culprit),
            Attribution::Nobody => None,
            Attribution::SpawnBurst(kib) => survey_spawn_burst(proc, &scope, young_since(), kib),
            Attribution::Writer => {
                let writer = self.writers.select(proc, &scope);
                if writer.is_none() {
                    // Whoever writes now may not have been there, or not have
                    // written enough, when it was looked last.
                    let Writers { at_us, before_us, .. } = self.writers;
                    if now_us.saturating_sub(at_us) > 2 * WRITERS_SPAN_US
                        || at_us.saturating_sub(before_us) > WRITERS_STALE_US
                    {
                        self.look_for_writers(&loss, now_us);
                        return Err(NoVictim::TooSoon);
                    }
                    if may_wait {
                        return Err(NoVictim::Tmpfs);
                    }
                }
                writer
            }
        };
        let first = || self.table.all().first().map(|first| Culprit::one(*first));
        found.or_else(first).ok_or(NoVictim::NoCandidate)
    }

    #[inline(never)]
    fn say_no_victim(&mut self, why: NoVictim, rule: Rule, urgency: Urgency, seen: &Sight, processes: u32) {
        if why == NoVictim::TooSoon || core::mem::replace(&mut self.said_no_victim, true) {
            return;
        }
        let loss = self.loss(&seen.readings.mem);
        self.log.warn(|line| {
            push_reason(line, rule, urgency, seen);
            match why {
                NoVictim::Steady => line.text(", but memory has not become less since the last kill"),
                NoVictim::Tmpfs => line
                    .text_size(", but ", loss.shmem_kib)
                    .text(" went to tmpfs and nobody is writing there"),
                NoVictim::NoCandidate | NoVictim::TooSoon => {
                    line.text(", but no process is worth killing among ").number(processes.into())
                }
            };
        });
    }

    // -------------------------------------------------------- kill

    fn context(&self) -> SignalContext<'a> {
        SignalContext::new(self.proc, self.capabilities.pidfd, self.own)
    }

    #[inline(never)]
    fn begin(&mut self, culprit: &Culprit, rule: Rule, before: Free, now_us: u64) -> Result<(), Refusal> {
        let context = self.context();
        let victim = culprit.victim;
        let companions = self.companions_of(culprit);
        let hook = self.settings.before_kill;
        let held =
            hook.is_some_and(|program| self.start_hook(Purpose::BeforeKill, program, &victim, rule, now_us));
        let hold_us = if held { HOLD_US } else { 0 };
        // A thousand signal handlers would take more memory, not less.
        let grace_us = if culprit.is_spawn_burst { 0 } else { self.settings.grace_us };
        let kill = Kill::begin(&context, victim, companions, grace_us, now_us, hold_us)?;
        self.active = Some(ActiveKill { kill, rule, members: culprit.members, before, releasing: false });
        Ok(())
    }

    /// Who dies with the culprit.
    #[inline(never)]
    fn companions_of(&mut self, culprit: &Culprit) -> Option<Companions> {
        if culprit.members > 1 {
            Some(Companions::GrowingGroup(self.members(culprit)))
        } else if self.settings.kill_pgroup {
            self.group_of(&culprit.victim)
        } else {
            None
        }
    }

    fn members(&self, culprit: &Culprit) -> Members {
        let job = culprit.victim.job;
        let mut grown = [None; TABLE];
        for (place, held) in grown.iter_mut().zip(self.table.all()) {
            *place = Some(held.id).filter(|_| held.growth_kib > 0);
        }
        let born =
            if culprit.is_spawn_burst { (0, u64::MAX) } else { (young_since(), sys::boottime_ticks()) };
        Members { job, grown, born_after: born.0, born_before: born.1 }
    }

    fn group_of(&mut self, victim: &Candidate) -> Option<Companions> {
        let context = self.context();
        let pgrp = victim.job.pgrp;
        if signal::may_kill_group(&context, pgrp) {
            return Some(Companions::Group(Group::find(&context, pgrp)));
        }
        self.log.warn(|line| {
            line.text("process group ")
                .signed(pgrp.into())
                .text(" is not killed as a whole: it is ours or init's");
        });
        None
    }

    /// One step of the kill under way.
    fn pursue(&mut self, seen: Option<&Sight>, now_us: u64) -> u64 {
        let context = self.context();
        let Some(active) = &mut self.active else { return MIN_SLEEP_US };
        let force = seen.is_some_and(|seen| {
            matches!(decide(&seen.readings, &seen.levels), Verdict::Act(_, Urgency::Kill))
        });
        let gained_kib = seen.map_or(0, |seen| {
            let before_kib = active.before.mem_available_kib;
            seen.readings.mem.mem_available_kib.saturating_sub(before_kib)
        });
        let recovering = gained_kib > active.kill.victim.freeable_kib / 4;
        let progress = active.kill.step(&context, &self.settings.policy, now_us, force, recovering);
        let victim = active.kill.victim;
        let left_us = active.kill.deadline_us().saturating_sub(now_us);
        match progress {
            Progress::Waiting => self.release_if_slow(now_us),
            Progress::Signalled(_) => {}
            Progress::Dead => return self.finish(&victim, now_us),
            Progress::Stuck => {
                self.active = None;
                self.set_aside(victim.id);
                self.log.warn(|line| {
                    push_process(line, &victim);
                    line.text(" does not die of SIGKILL, it is set aside");
                });
                self.restart_windows();
                return MIN_SLEEP_US;
            }
            Progress::Refused(refusal) => {
                self.active = None;
                self.refused(&victim, refusal, now_us);
                return MIN_SLEEP_US;
            }
        }
        // Looking for the members of a swarm takes its time, which is theirs too.
        let rest_us = (event::now_us().saturating_sub(now_us) * 2).min(REST_US);
        // Past its deadline it is waited for because memory is coming back.
        if left_us == 0 { MIN_SLEEP_US } else { left_us.min(MIN_SLEEP_US) }.max(rest_us)
    }

    /// A victim frees its memory itself; one that has not in a while gets help.
    fn release_if_slow(&mut self, now_us: u64) {
        let Some(active) = &mut self.active else { return };
        let slow = active.kill.forced_us.is_some_and(|forced_us| now_us >= forced_us + RELEASE_AFTER_US);
        if slow && self.capabilities.release && !active.releasing {
            active.releasing = true;
            if let Some(pidfd) = active.kill.pidfd() {
                let _ = self.children.start_release(pidfd);
            }
        }
    }

    #[inline(never)]
    fn finish(&mut self, victim: &Candidate, now_us: u64) -> u64 {
        self.restart_windows();
        if self.active.as_ref().is_some_and(|active| active.kill.signalled_us.is_some()) {
            self.settle();
        }
        let mut after = Sight::default();
        let is_seen = self.read_all(&mut after, now_us);
        self.log_outcome(is_seen.then_some(&after.readings), now_us);
        if let Some(ActiveKill { kill, rule, .. }) = self.active.take()
            && kill.signalled_us.is_some()
        {
            let urgency = if kill.forced_us.is_some() { Urgency::Kill } else { Urgency::Term };
            self.stats.count(rule, urgency, &victim.job.comm);
            self.publish();
            if let Some(program) = self.settings.on_kill {
                let _ = self.start_hook(Purpose::OnKill, program, victim, rule, now_us);
            }
        }
        self.hold(now_us, SETTLE_US);
        MIN_SLEEP_US
    }

    /// What is gone now has been answered for: what is read next is usual.
    fn settle(&mut self) {
        self.has_killed = true;
        self.baseline = None;
        self.said_no_victim = false;
    }

    /// Tells for the first time that there were no kills, on our pidfile too.
    pub fn begin_stats(&mut self, pidfile: Option<BorrowedFd<'a>>) {
        self.stats.pidfile = pidfile;
        self.publish();
    }

    fn publish(&mut self) {
        if let Some(errno) = self.stats.publish() {
            self.log.warn(|line| {
                line.text("--stats: cannot be written, ").text(ReadError::from(errno).reason());
            });
        }
    }

    fn refused(&mut self, victim: &Candidate, refusal: Refusal, now_us: u64) {
        match refusal {
            // The next survey sees what is there now.
            Refusal::Gone | Refusal::Unverified => {}
            // Out of memory for the pidfd, say: it may do next time.
            Refusal::Failed(_) => self.hold(now_us, HOLD_FAILED_US),
            _ => self.set_aside(victim.id),
        }
        self.log.warn(|line| {
            push_process(line, victim);
            line.text(" was not signalled: ").text(refusal.reason());
        });
    }

    fn set_aside(&mut self, id: Identity) {
        self.set_aside.rotate_right(1);
        self.set_aside[0] = Some(id);
    }

    fn hold(&mut self, now_us: u64, for_us: u64) {
        self.hold_until_us = now_us + for_us;
    }

    /// What stalled before says nothing about the memory that is free now.
    fn restart_windows(&mut self) {
        self.stall.restart();
        self.recent_stall.restart();
        self.thrash.restart();
    }

    // -------------------------------------------------------- children

    fn start_hook(
        &mut self,
        purpose: Purpose,
        program: &CStr,
        victim: &Candidate,
        rule: Rule,
        now_us: u64,
    ) -> bool {
        let inherited = &self.capabilities.inherited;
        let started = self.children.start_hook(purpose, program, victim, rule, inherited, now_us);
        if started.is_err() {
            self.log.warn(|line| {
                line.text(option_of(purpose)).text(": cannot be started");
            });
        }
        started.is_ok()
    }

    #[inline(never)]
    fn reap_children(&mut self) {
        while let Some(Ended { purpose, status }) = self.children.reap() {
            if let (Purpose::BeforeKill, Some(active)) = (purpose, &mut self.active) {
                active.kill.release_hold();
            }
            if purpose == Purpose::Release || status.exit_status() == Some(0) {
                continue;
            }
            self.log.warn(|line| {
                line.text(option_of(purpose)).text(": the program ");
                match (status.exit_status(), status.terminating_signal()) {
                    (Some(127), _) => line.text("could not be executed, or exited with 127"),
                    (Some(code), _) => line.text("exited with ").signed(code.into()),
                    (_, signal) => line.text("was ended by signal ").signed(signal.unwrap_or(0).into()),
                };
            });
        }
    }

    fn end_overdue_children(&mut self, now_us: u64) {
        while let Some(purpose) = self.children.end_overdue(now_us) {
            self.log.warn(|line| {
                line.text(option_of(purpose)).text(": the program did not end in 5 s and was killed");
            });
        }
    }

    // -------------------------------------------------------- log

    /// See [`Log::let_go_of_stderr`].
    pub fn let_go_of_stderr(&mut self) {
        self.log.let_go_of_stderr();
    }

    /// The line that says what is watched and how, once, at start.
    #[inline(never)]
    #[cold]
    pub fn announce(&mut self) {
        let now_us = event::now_us();
        let mut seen = Sight::default();
        let is_seen = self.read_all(&mut seen, now_us);
        let Sight { readings: Readings { mem, .. }, levels } = &seen;
        let Self { log, capabilities, settings, .. } = self;
        warn_of_missing(log, capabilities);
        log.info(|line| {
            line.text("version ").text(env!("CARGO_PKG_VERSION")).text(", watching ");
            if !is_seen {
                line.text("without being able to read /proc/meminfo");
                return;
            }
            line.size(mem.mem_total_kib)
                .text_size(" of memory and ", mem.swap_total_kib)
                .text(" of swap; SIGTERM at ");
            line.size(levels.mem_term_kib).text(" available");
            if mem.swap_total_kib > 0 {
                line.text_size(" and ", levels.swap_term_kib).text(" swap free");
            }
            line.text_size(", SIGKILL at ", levels.mem_kill_kib);
            if mem.swap_total_kib > 0 {
                line.text_size(" and ", levels.swap_kill_kib);
            }
            line.text("; rules: exhaustion");
            if capabilities.pressure.is_ok() {
                line.text(", pressure (").percent(levels.psi_bp.into()).text(" of 10 s, at ");
                line.size(levels.confirm_kib).text_size("), floor (", levels.mem_kill_kib).text(")");
            } else {
                line.text_size(", thrash (at ", levels.confirm_kib).text(")");
            }
            match &capabilities.trigger {
                Ok(trigger) => {
                    line.text("; trigger: ").number((trigger.window_ms / 1000).into()).text(" s window")
                }
                Err(_) => line.text("; no trigger, polling"),
            };
            line.text(if capabilities.lock.is_ok() { "; memory locked" } else { "; memory not locked" });
            if settings.dry_run {
                line.text("; dry run, nobody is killed");
            }
        });
    }

    fn log_readings(&mut self, what: &str, readings: &Readings) {
        self.log.info(|line| {
            line.text(what);
            push_readings(line, readings);
        });
    }

    #[inline(never)]
    fn log_status(&mut self, now_us: u64) {
        let mut seen = Sight::default();
        let is_seen = self.read_all(&mut seen, now_us);
        let (kills, trigger) = (self.stats.total(), self.capabilities.trigger.is_ok());
        self.log.info(|line| {
            line.text("status: ");
            if is_seen {
                push_readings(line, &seen.readings);
                line.text_size("; SIGTERM at ", seen.levels.mem_term_kib);
            }
            line.text("; ").text(if trigger { "trigger armed" } else { "polling" });
            line.text("; kills so far: ").number(kills);
        });
    }

    #[inline(never)]
    fn log_choice(&mut self, rule: Rule, urgency: Urgency, seen: &Sight, culprit: &Culprit) {
        let Culprit { victim, members, written_kib, .. } = culprit;
        let is_other =
            |held: &&Candidate| held.id != victim.id && (*members == 1 || !held.job.same_job(&victim.job));
        let next = self.table.all().iter().find(is_other);
        let forced = urgency == Urgency::Kill || self.settings.grace_us == 0 || culprit.is_spawn_burst;
        let signal = if forced { "SIGKILL" } else { "SIGTERM" };
        let verb = if self.settings.dry_run { "would kill " } else { "killing " };
        self.log.warn(|line| {
            line.text(verb);
            push_culprit(line, victim, *members);
            line.text(" with ").text(signal).text(" (");
            push_reason(line, rule, urgency, seen);
            line.text("): uid ").number(victim.uid.into());
            line.text_size(", stake ", victim.freeable_kib);
            if victim.growth_kib > 0 {
                line.text_size(" grown by ", victim.growth_kib);
            }
            if *written_kib > 0 {
                line.text_size(", wrote ", *written_kib).text(" to tmpfs just now");
            }
            line.text(", score ");
            push_score(line, victim.score_kib);
            line.text(", oom_score_adj ").signed(victim.oom_score_adj.into());
            match next {
                Some(next) => {
                    line.text("; next: ");
                    push_process(line, next);
                    line.text(" score ");
                    push_score(line, next.score_kib);
                }
                None => {
                    line.text("; no other candidate");
                }
            }
        });
    }

    #[inline(never)]
    fn log_outcome(&mut self, after: Option<&Readings>, now_us: u64) {
        let Some(ActiveKill { kill, before, members, .. }) = &self.active else { return };
        self.log.warn(|line| {
            push_culprit(line, &kill.victim, *members);
            match kill.signalled_us {
                Some(signalled_us) => {
                    line.text(" died ").number(now_us.saturating_sub(signalled_us) / MS).text(" ms after ");
                    line.text(match (kill.asked, kill.forced_us.is_some()) {
                        (true, true) => "SIGTERM, of SIGKILL",
                        (true, false) => "SIGTERM",
                        (false, _) => "SIGKILL",
                    });
                }
                None => {
                    line.text(" was gone before it was signalled");
                }
            }
            if let Some(after) = after {
                line.text_size("; available ", before.mem_available_kib);
                line.text_size(" -> ", after.mem.mem_available_kib);
                if after.mem.swap_total_kib > 0 {
                    line.text_size(", swap free ", before.swap_kib).text_size(" -> ", after.swap_free_kib);
                }
            }
        });
    }
}

/// How much of the stack a step takes: 6.3 KB where it surveys before a kill, by
/// the frames of the static build, and a margin.
const STEP_STACK: usize = 7 * 1024;

/// Makes the stack resident as far down as any step will go: where memory has
/// run out, a page more may be long in coming.
#[inline(never)]
fn touch_stack() {
    core::hint::black_box(&mut [0_u8; STEP_STACK]);
}

/// What captured trees are taken to come from.
const CAPTURED_PAGE_KIB: u64 = 4;

/// What processes, tmpfs and the kernel have of memory and swap.
fn taken_kib(mem: &Meminfo) -> u64 {
    let swap_used_kib = mem.swap_total_kib - mem.swap_free_kib;
    mem.total_kib().saturating_sub(mem.mem_available_kib).saturating_add(swap_used_kib)
}

/// What started since then is young.
fn young_since() -> u64 {
    sys::boottime_ticks().saturating_sub(YOUNG_TICKS)
}

/// Why nobody dies although a rule says that somebody should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoVictim {
    /// Nobody is worth it.
    NoCandidate,
    /// Since the last kill nothing has got worse.
    Steady,
    /// Memory went to tmpfs, and nobody writes there now.
    Tmpfs,
    /// It is not known yet who writes.
    TooSoon,
}

/// How long headroom lasts against the fastest leak.
fn fill_time_us(mem_kib: u64, swap_kib: u64) -> u64 {
    let ms = (mem_kib / RAM_FILL_KIB_PER_MS).saturating_add(swap_kib / SWAP_FILL_KIB_PER_MS);
    ms.saturating_mul(MS)
}

fn option_of(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::BeforeKill => "--before-kill",
        Purpose::OnKill => "--on-kill",
        Purpose::Release => "release",
    }
}

/// One line for each thing that could not be had, and what that means.
fn warn_of_missing(log: &mut Log, capabilities: &Capabilities) {
    let Capabilities { lock, pressure, trigger, only_uid, .. } = capabilities;
    let &Capabilities { spared, pidfd, release, hidepid, .. } = capabilities;
    let mut check = |is_missing: bool, what: &str| {
        if is_missing {
            log.warn_of(what);
        }
    };
    check(!spared, "cannot lower our own oom_score_adj: the kernel might end the guard");
    check(lock.is_err(), "cannot lock memory: may be slow to answer when memory runs out");
    check(pressure.is_err(), "no pressure information (PSI): judging by vmstat and meminfo");
    check(pressure.is_ok() && trigger.is_err(), "cannot arm a pressure trigger: polling");
    check(!pidfd, "no pidfd: processes are verified by their start time alone");
    check(pidfd && !release, "no process_mrelease: victims free their memory themselves");
    check(only_uid.is_some(), "cannot signal other users' processes: choosing among our own");
    check(hidepid, "process 1 is hidden (hidepid): what is not visible is not chosen");
}

fn push_process(line: &mut Line, candidate: &Candidate) {
    let pid = candidate.id.pid.as_raw_pid();
    line.text("pid ").signed(pid.into()).text(" ").quoted(candidate.job.comm.as_bytes());
}

fn push_culprit(line: &mut Line, victim: &Candidate, members: u32) {
    push_process(line, victim);
    if members > 1 {
        line.text(" and ").number(u64::from(members - 1)).text(" more of its job");
    }
}

fn push_score(line: &mut Line, score_kib: i64) {
    line.text(if score_kib < 0 { "-" } else { "" }).size(score_kib.unsigned_abs());
}

fn push_readings(line: &mut Line, readings: &Readings) {
    line.size(readings.mem.mem_available_kib).text_size(" available of ", readings.mem.mem_total_kib);
    if readings.mem.swap_total_kib > 0 {
        line.text_size(", ", readings.swap_free_kib).text(" swap free");
    }
    if let Some(stall) = readings.stall {
        line.text(", stalled ").percent(stall.some_bp.into());
    }
    if let Some(thrash) = readings.thrash {
        line.text(", ").number(thrash.refault_pct).text("% of the cache read again");
    }
}

/// The rule and the readings that decided, beside the limits they passed.
fn push_reason(line: &mut Line, rule: Rule, urgency: Urgency, seen: &Sight) {
    let Sight { readings, levels } = seen;
    line.text(rule.name()).text_size(": ", readings.mem.mem_available_kib).text(" available, limit ");
    line.size(match rule {
        Rule::Exhaustion if urgency == Urgency::Kill => levels.mem_kill_kib,
        Rule::Exhaustion => levels.mem_term_kib,
        Rule::Floor => levels.mem_kill_kib,
        Rule::Pressure | Rule::Thrash => levels.confirm_kib,
    });
    match rule {
        Rule::Exhaustion if readings.mem.swap_total_kib > 0 => {
            line.text_size("; ", readings.swap_free_kib).text(" swap free, limit ");
            line.size(if urgency == Urgency::Kill { levels.swap_kill_kib } else { levels.swap_term_kib });
        }
        Rule::Exhaustion => {}
        Rule::Pressure => {
            let some_bp = readings.stall.unwrap_or_default().some_bp;
            line.text("; stalled ")
                .percent(some_bp.into())
                .text(" of 10 s, limit ")
                .percent(levels.psi_bp.into());
        }
        Rule::Floor => {
            let full_bp = readings.recent_stall.unwrap_or_default().full_bp;
            line.text("; all stalled ")
                .percent(full_bp.into())
                .text(" of 200 ms, limit ")
                .percent(levels.psi_bp.into());
        }
        Rule::Thrash => {
            let refault_pct = readings.thrash.unwrap_or_default().refault_pct;
            line.text("; ").number(refault_pct).text("% of the cache read again in 10 s, limit ");
            line.number(THRASH_REFAULT_PCT).text("%");
        }
    }
}
