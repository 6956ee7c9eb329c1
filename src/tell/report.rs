//! Every sentence that people read: what is guarded, who was chosen and why, what
//! came of it. A log line says what happened, to whom and why, in that order.

use super::log::Log;
use crate::act::capability::Capabilities;
use crate::act::executor::{Begun, Death};
use crate::act::hook::{Ended, Purpose};
use crate::act::signal::Refusal;
use crate::choose::selector::NoVictim;
use crate::decide::attribution::Culprit;
use crate::decide::levels::Levels;
use crate::decide::snapshot::Snapshot;
use crate::decide::verdict::{Rule, THRASH_REFAULT_PCT, Urgency};
use crate::decide::victim::Candidate;
use crate::read::holdings::Holdings;
use crate::read::kfile::ReadError;
use crate::read::process::Pid;
use crate::sys::line::Line;
use crate::sys::sandbox::Standing;
use crate::sys::time::{MS, SECOND};
use rustix::io::Errno;

/// A decision that somebody should die, with all it rests on.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'s> {
    /// Why.
    pub rule: Rule,
    /// How hard.
    pub urgency: Urgency,
    /// What it was decided on.
    pub snapshot: &'s Snapshot,
    /// The limits.
    pub levels: &'s Levels,
    /// Whether it can be known who grew.
    pub has_history: bool,
}

// ---------------------------------------------------------------- start

/// What the start-up line tells besides what was granted.
#[derive(Clone, Copy, Debug)]
pub struct Start<'s> {
    /// Memory as it is.
    pub snapshot: &'s Snapshot,
    /// The limits.
    pub levels: &'s Levels,
    /// Is there pressure information?
    pub has_pressure: bool,
    /// Are there bare names that are not believed of ordinary users?
    pub has_doubted_names: bool,
    /// Is nobody killed?
    pub is_dry_run: bool,
    /// What was given up.
    pub sandbox: Standing,
}

/// The line that says what is watched and how, once, at start; before it one line
/// for each thing that could not be had.
pub fn announce(log: &mut Log, start: &Start<'_>, capabilities: &Capabilities) {
    warn_of_missing(log, start.has_pressure, capabilities);
    if start.has_doubted_names {
        log.info(|line| {
            line.text("a bare name spares no ordinary user's process; see any:NAME and UID:NAME");
        });
    }
    let Start { snapshot: Snapshot { mem, .. }, levels, .. } = start;
    let has_swap = mem.swap_total_kib > 0;
    log.info(|line| {
        line.text("version ").text(env!("CARGO_PKG_VERSION")).text(", watching ");
        line.size(mem.mem_total_kib).text(" of memory and ").size(mem.swap_total_kib).text(" of swap");
        line.text("; SIGTERM at ").size(levels.mem_term_kib).text(" available");
        if has_swap {
            line.text(" and ").size(levels.swap_term_kib).text(" swap free");
        }
        line.text(", SIGKILL at ").size(levels.mem_kill_kib);
        if has_swap {
            line.text(" and ").size(levels.swap_kill_kib);
        }
        line.text("; rules: exhaustion");
        if start.has_pressure {
            line.text(", pressure (").percent(levels.psi_bp.into()).text(" of 10 s, at ");
            line.size(levels.confirm_kib).text("), floor (").size(levels.mem_kill_kib).text(")");
        } else {
            line.text(", thrash (at ").size(levels.confirm_kib).text(")");
        }
        match &capabilities.trigger {
            Ok(trigger) => {
                line.text("; trigger: ").number((trigger.window_ms / 1000).into()).text(" s window")
            }
            Err(_) => line.text("; no trigger, polling"),
        };
        line.text(if capabilities.lock.is_ok() { "; memory locked" } else { "; memory not locked" });
        line.text("; sandbox: ").text(match start.sandbox {
            Standing::Off => "off",
            Standing::CapabilitiesOnly => "capabilities only",
            Standing::NoSeccomp => "no seccomp",
            Standing::Whole => "on",
        });
        if start.is_dry_run {
            line.text("; dry run, nobody is killed");
        }
    });
}

/// One line for each thing that could not be had, and what that means.
fn warn_of_missing(log: &mut Log, has_pressure: bool, capabilities: &Capabilities) {
    let Capabilities { lock, trigger, only_uid, .. } = capabilities;
    let &Capabilities { spared, pidfd, release, hidepid, .. } = capabilities;
    let mut check = |is_missing: bool, what: &str| {
        if is_missing {
            log.warn_of(what);
        }
    };
    check(!spared, "cannot lower our own oom_score_adj: the kernel might end the guard");
    check(lock.is_err(), "cannot lock memory: may be slow to answer when memory runs out");
    check(!has_pressure, "no pressure information (PSI): judging by vmstat and meminfo");
    check(has_pressure && trigger.is_err(), "cannot arm a pressure trigger: polling");
    check(!pidfd, "no pidfd: processes are verified by their start time alone");
    check(pidfd && !release, "no process_mrelease: victims free their memory themselves");
    check(only_uid.is_some(), "cannot signal other users' processes: choosing among our own");
    check(hidepid, "process 1 is hidden (hidepid): what is not visible is not chosen");
}

// ---------------------------------------------------------------- memory

/// A sentence and how memory stands.
pub fn memory(log: &mut Log, what: &str, snapshot: &Snapshot) {
    log.info(|line| {
        line.text(what).text(": ");
        push_memory(line, snapshot);
    });
}

/// The answer to SIGUSR1.
pub fn status(log: &mut Log, now: Result<(&Snapshot, &Levels), ReadError>, has_trigger: bool, kills: u64) {
    log.info(|line| {
        line.text("status: ");
        match now {
            Ok((snapshot, levels)) => {
                push_memory(line, snapshot);
                line.text("; SIGTERM at ").size(levels.mem_term_kib);
            }
            Err(error) => {
                line.text("cannot read /proc/meminfo, ").text(error.reason());
            }
        }
        line.text("; ").text(if has_trigger { "trigger armed" } else { "polling" });
        line.text("; kills so far: ").number(kills);
    });
}

/// Memory cannot be read.
pub fn unreadable(log: &mut Log, error: ReadError) {
    log.warn(|line| {
        line.text("cannot read /proc/meminfo, ").text(error.reason());
        line.text(": nothing can be decided");
    });
}

/// Memory came back between the decision and the kill.
pub fn came_back(log: &mut Log, rule: Rule) {
    log.info(|line| {
        line.text(rule.name()).text(": memory came back while choosing, nobody is killed");
    });
}

// ---------------------------------------------------------------- choice

/// Who was chosen, why now, why this one.
pub fn choice(
    log: &mut Log,
    decision: &Decision<'_>,
    culprit: &Culprit,
    next: Option<&Candidate>,
    signal: &str,
    is_dry_run: bool,
) {
    let Culprit { victim, members, written_kib, held, .. } = culprit;
    log.warn(|line| {
        line.text(if is_dry_run { "would kill " } else { "killing " });
        push_victims(line, victim, *members);
        line.text(" with ").text(signal).text(" (");
        push_reason(line, decision);
        line.text("): uid ").number(victim.job.uid.into());
        line.text(", frees ").size(victim.freeable_kib);
        if victim.growth.kib > 0 {
            line.text(", grew by ").size(victim.growth.kib);
        }
        if !decision.has_history {
            line.text(", chosen by size alone");
        }
        if *written_kib > 0 {
            line.text(", wrote ").size(*written_kib).text(" to tmpfs just now");
        }
        push_holdings(line, held);
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

fn push_holdings(line: &mut Line, held: &Holdings) {
    let descriptors = u64::from(held.pipes) + u64::from(held.sockets);
    if descriptors > 0 {
        line.text(", holds ").number(descriptors).text(" ends of pipes and sockets");
    }
    if held.device_kib > 0 {
        line.text(", holds ").size(held.device_kib).text(" of device memory");
    }
    if held.tmpfs_kib > 0 {
        line.text(", holds ").size(held.tmpfs_kib).text(" of tmpfs open");
    }
}

/// Why nobody dies.
pub fn no_victim(log: &mut Log, decision: &Decision<'_>, why: NoVictim) {
    log.warn(|line| {
        push_reason(line, decision);
        line.text(", but ");
        match why {
            NoVictim::NoCandidate { processes } => {
                line.text("no process is worth killing among ").number(processes.into())
            }
            NoVictim::Steady => line.text("memory has not become less since the last kill"),
            NoVictim::NoWriter { shmem_growth_kib } => {
                line.size(shmem_growth_kib).text(" went to tmpfs and nobody is writing there")
            }
            NoVictim::StillLooking => line.text("open files are still being looked through"),
            NoVictim::TooSoon => line.text("it is not known yet who takes it"),
            NoVictim::Unreadable(error) => line.text("/proc cannot be read, ").text(error.reason()),
        };
    });
}

/// What did not go as asked when a kill began.
pub fn begun(log: &mut Log, begun: Begun) {
    if begun.has_hook_failed {
        hook_not_started(log, Purpose::BeforeKill);
    }
    if let Some(pgrp) = begun.spared_group {
        log.warn(|line| {
            line.text("process group ").signed(pgrp.into());
            line.text(" is not killed as a whole: it is ours or init's");
        });
    }
}

// ---------------------------------------------------------------- outcome

/// The victim is gone; `after` is memory as it is now, if it can be read.
pub fn death(log: &mut Log, victim: &Candidate, death: &Death, after: Option<&Snapshot>, now_us: u64) {
    let Death { members, timeline, before, .. } = death;
    log.warn(|line| {
        push_victims(line, victim, *members);
        match timeline.signalled_us {
            Some(signalled_us) => {
                line.text(" died ").number(now_us.saturating_sub(signalled_us) / MS).text(" ms after ");
                line.text(match (timeline.is_asked, timeline.forced_us.is_some()) {
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
            line.text("; available ").size(before.mem_available_kib);
            line.text(" -> ").size(after.mem.mem_available_kib);
            if after.mem.swap_total_kib > 0 {
                line.text(", swap free ").size(before.swap_free_kib).text(" -> ").size(after.swap_free_kib);
            }
        }
    });
}

/// The victim took SIGKILL and does not die.
pub fn stuck(log: &mut Log, victim: &Candidate, after_us: u64) {
    log.warn(|line| {
        push_process(line, victim);
        line.text(" is still alive ").number(after_us / SECOND);
        line.text(" s after SIGKILL; choosing another");
    });
}

/// The victim's end gave back next to nothing.
pub fn left_in_tmpfs(log: &mut Log, left_kib: u64) {
    log.warn(|line| {
        line.size(left_kib).text(" stay in tmpfs and shared memory; nobody else is killed for them");
    });
}

/// Its tracer holds the victim back and was killed for it.
pub fn tracer_killed(log: &mut Log, victim: &Candidate, tracer: Pid) {
    log.warn(|line| {
        push_process(line, victim);
        line.text(" is held by its tracer; killed pid ").number(tracer.as_raw_pid().unsigned_abs().into());
        line.text(" with SIGKILL too");
    });
}

/// The victim could not be signalled.
pub fn refused(log: &mut Log, victim: &Candidate, refusal: Refusal) {
    log.warn(|line| {
        push_process(line, victim);
        line.text(" was not signalled: ").text(refusal.reason());
    });
}

// ---------------------------------------------------------------- others

/// A hook could not be started.
pub fn hook_not_started(log: &mut Log, purpose: Purpose) {
    log.warn(|line| {
        line.text(option_of(purpose)).text(": cannot be started");
    });
}

/// A child has ended; only hooks that failed are worth a line.
// Out of line: inlined it is larger.
#[inline(never)]
pub fn ended(log: &mut Log, ended: &Ended) {
    let Ended { purpose, status } = ended;
    if *purpose == Purpose::Release || status.exit_status() == Some(0) {
        return;
    }
    log.warn(|line| {
        line.text(option_of(*purpose)).text(": the program ");
        match (status.exit_status(), status.terminating_signal()) {
            (Some(127), _) => line.text("could not be executed, or exited with 127"),
            (Some(code), _) => line.text("exited with ").signed(code.into()),
            (_, signal) => line.text("was ended by signal ").signed(signal.unwrap_or(0).into()),
        };
    });
}

/// A child has overstayed.
pub fn overdue(log: &mut Log, purpose: Purpose) {
    log.warn(|line| {
        line.text(option_of(purpose)).text(": the program did not end in 5 s and was killed");
    });
}

/// The stats file cannot be written.
pub fn stats_not_written(log: &mut Log, errno: Errno) {
    log.warn(|line| {
        line.text("--stats: cannot be written, ").text(ReadError::from(errno).reason());
    });
}

fn option_of(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::BeforeKill => "--before-kill",
        Purpose::OnKill => "--on-kill",
        Purpose::Release => "release",
    }
}

// ---------------------------------------------------------------- pieces

fn push_process(line: &mut Line, candidate: &Candidate) {
    let pid = candidate.id.pid.as_raw_pid();
    line.text("pid ").signed(pid.into()).text(" ").quoted(candidate.job.comm.as_bytes());
}

fn push_victims(line: &mut Line, victim: &Candidate, members: u32) {
    push_process(line, victim);
    if members > 1 {
        line.text(" and ").number(u64::from(members - 1)).text(" more of its job");
    }
}

fn push_score(line: &mut Line, score_kib: i64) {
    line.text(if score_kib < 0 { "-" } else { "" }).size(score_kib.unsigned_abs());
}

fn push_memory(line: &mut Line, snapshot: &Snapshot) {
    let mem = &snapshot.mem;
    line.size(mem.mem_available_kib).text(" available of ").size(mem.mem_total_kib);
    if mem.swap_total_kib > 0 {
        line.text(", ").size(snapshot.swap_free_kib).text(" swap free");
    }
    if let Some(stall) = snapshot.stall {
        line.text(", stalled ").percent(stall.some_bp.into());
    }
    if let Some(thrash) = snapshot.thrash {
        line.text(", ").number(thrash.refault_pct).text("% of the cache read again");
    }
}

/// The rule and the readings that decided, beside the limits they passed.
fn push_reason(line: &mut Line, decision: &Decision<'_>) {
    let Decision { rule, urgency, snapshot, levels, .. } = *decision;
    let is_urgent = urgency == Urgency::Kill;
    line.text(rule.name()).text(": ").size(snapshot.mem.mem_available_kib).text(" available, limit ");
    line.size(match rule {
        Rule::Exhaustion if is_urgent => levels.mem_kill_kib,
        Rule::Exhaustion => levels.mem_term_kib,
        Rule::Floor => levels.mem_kill_kib,
        Rule::Pressure | Rule::Thrash => levels.confirm_kib,
    });
    match rule {
        Rule::Exhaustion if snapshot.mem.swap_total_kib > 0 => {
            line.text("; ").size(snapshot.swap_free_kib).text(" swap free, limit ");
            line.size(if is_urgent { levels.swap_kill_kib } else { levels.swap_term_kib });
        }
        Rule::Exhaustion => {}
        Rule::Pressure => {
            let some_bp = snapshot.stall.map_or(0, |stall| stall.some_bp);
            line.text("; stalled ").percent(some_bp.into()).text(" of 10 s, limit ");
            line.percent(levels.psi_bp.into());
        }
        Rule::Floor => {
            let full_bp = snapshot.recent_stall.map_or(0, |stall| stall.full_bp);
            line.text("; all stalled ").percent(full_bp.into()).text(" of 200 ms, limit ");
            line.percent(levels.psi_bp.into());
        }
        Rule::Thrash => {
            let refault_pct = snapshot.thrash.map_or(0, |thrash| thrash.refault_pct);
            line.text("; ").number(refault_pct).text("% of the cache read again in 10 s, limit ");
            line.number(THRASH_REFAULT_PCT).text("%");
        }
    }
}
