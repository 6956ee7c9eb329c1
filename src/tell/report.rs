//! Every sentence that people read: what is guarded, who was chosen and why, what
//! came of it. A log line says what happened, to whom and why, in that order.

use super::log::Log;
use super::stats::Stats;
use crate::act::executor::{Begun, Death};
use crate::act::hook::{Ended, Purpose};
use crate::act::signal::Refusal;
use crate::choose::no_victim::NoVictim;
use crate::choose::scope::Scope;
use crate::decide::attribution::Culprit;
use crate::decide::levels::Levels;
use crate::decide::snapshot::Snapshot;
use crate::decide::verdict::{Rule, THRASH_REFAULT_PCT, Urgency};
use crate::decide::victim::Candidate;
use crate::read::holdings::{FilePath, Holdings};
use crate::read::kfile::ReadError;
use crate::read::process::Pid;
use crate::sys::line::{Line, named};
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

/// Something else is guarded now.
// Out of line, so that the loop does not run below its stack.
#[inline(never)]
pub fn moved(log: &mut Log, scope: &Scope<'_>) {
    log.warn(|line| {
        let machine = named!("now guarding the machine");
        line.text(if scope.is_machine() { machine } else { named!("now guarding cgroup ") });
        scope.push_path(line);
    });
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
pub fn status(
    log: &mut Log,
    now: Result<(&Snapshot, &Levels), ReadError>,
    has_trigger: bool,
    stats: &Stats<'_>,
) {
    log.info(|line| {
        line.text("status: ");
        match now {
            Ok((snapshot, levels)) => {
                push_memory(line, snapshot);
                line.text("; SIGTERM at ").size(levels.mem_term_kib);
            }
            Err(error) => {
                line.text("cannot read memory, ").text(error.reason());
            }
        }
        line.text("; ").text(if has_trigger { "trigger armed" } else { "polling" });
        stats.push_kills(line.text("; kills so far: "));
    });
}

/// The answer to SIGHUP as far as the log goes. `has_read` tells whether something else
/// was read again.
pub fn reopened(log: &mut Log, has_read: bool) {
    match log.reopen() {
        Some(Ok(())) => {}
        Some(Err(errno)) => log.warn(|line| {
            line.text("cannot open the log again, ").text(ReadError::from(errno).reason());
        }),
        None if has_read => {}
        None => log.info(|line| {
            line.text("SIGHUP: there is nothing to read again");
        }),
    }
}

/// Memory cannot be read.
pub fn unreadable(log: &mut Log, error: ReadError) {
    log.warn(|line| {
        line.text("cannot read memory, ").text(error.reason());
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
    let Culprit { victim, members, is_of_many, written_kib, held, .. } = culprit;
    log.warn(|line| {
        line.text(if is_dry_run { "would kill " } else { "killing " });
        push_victims(line, victim, *members, *is_of_many);
        line.text(" with ").text(signal).text(" (");
        push_reason(line, decision);
        line.text("): uid ").number(victim.job.uid.into());
        line.text(if victim.is_shared { ", frees up to " } else { ", frees " }).size(victim.freeable_kib);
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
        if let Some(next) = next {
            line.text("; next: ");
            push_process(line, next);
            line.text(" score ");
            push_score(line, next.score_kib);
        } else {
            line.text("; no other candidate");
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
pub fn begun(log: &mut Log, begun: &Begun) {
    if begun.has_hook_failed {
        hook_not_started(log, Purpose::BeforeKill);
    }
    if let Some(pgrp) = begun.spared_group {
        log.warn(|line| {
            line.text("process group ").signed(pgrp.into());
            line.text(NOT_WHOLE);
        });
    }
    if let Some(whole) = &begun.cgroup {
        log.warn(|line| {
            line.text("cgroup ").quoted(whole.path());
            if whole.is_ours {
                line.text(NOT_WHOLE);
            } else {
                line.text(" is killed as a whole");
                line.text(if whole.is_declared { ": its memory.oom.group says so" } else { "" });
            }
        });
    }
}

const NOT_WHOLE: &str = " is not killed as a whole: it is ours or init's";

// ---------------------------------------------------------------- outcome

/// The victim is gone; `after` is memory as it is now, if it can be read. If it was
/// the command, the guard ends too, and this is the last that is heard of why.
pub fn death(
    log: &mut Log,
    victim: &Candidate,
    death: &Death,
    after: Option<&Snapshot>,
    is_command: bool,
    now_us: u64,
) {
    let Death { members, is_of_many, rule, timeline, before, spared, refusal, .. } = death;
    log.warn(|line| {
        let signalled_us = timeline.signalled_us.filter(|_| death.was_killed());
        if let Some(refusal) = *refusal {
            push_refused(line, victim, refusal);
            line.text("; the others died ");
        } else {
            push_victims(line, victim, *members, *is_of_many);
            line.text(if signalled_us.is_some() { " died " } else { " was gone before it was signalled" });
        }
        if let Some(signalled_us) = signalled_us {
            line.number(now_us.saturating_sub(signalled_us) / MS).text(" ms after ");
            line.text(match (timeline.is_asked, timeline.forced_us.is_some()) {
                (true, true) => "SIGTERM, of SIGKILL",
                (true, false) => "SIGTERM",
                (false, _) => "SIGKILL",
            });
        }
        if let Some(after) = after {
            line.text("; available ").size(before.mem_available_kib);
            line.text(" -> ").size(after.mem.mem_available_kib);
            if after.mem.swap_total_kib > 0 {
                line.text(", swap free ").size(before.swap_free_kib).text(" -> ").size(after.swap_free_kib);
            }
        }
        if *spared > 0 {
            line.text("; ").number((*spared).into()).text(" more of its cgroup are to live");
        }
        if is_command {
            line.text("; memory ran out (")
                .text(rule.name())
                .text("), and only the command's end would help");
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
pub fn left_in_tmpfs(log: &mut Log, left_kib: u64, file: &FilePath) {
    log.warn(|line| {
        line.size(left_kib).text(" stay in tmpfs and shared memory");
        if !file.as_bytes().is_empty() {
            line.text(", of it ").quoted(file.as_bytes());
        }
        line.text("; nobody else is killed for them");
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
    log.warn(|line| push_refused(line, victim, refusal));
}

fn push_refused(line: &mut Line, victim: &Candidate, refusal: Refusal) {
    push_process(line, victim);
    line.text(" was not signalled: ").text(refusal.reason());
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
    // What a rule's program exits with is its answer.
    let is_answer = |code| code == 0 || purpose.is_of_rules() && code != 127;
    if *purpose == Purpose::Release || status.exit_status().is_some_and(is_answer) {
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
        line.text(option_of(purpose)).text(": the program did not end in time and was killed");
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
        #[cfg(feature = "rules")]
        _ => "rules",
    }
}

// ---------------------------------------------------------------- pieces

fn push_process(line: &mut Line, candidate: &Candidate) {
    let pid = candidate.id.pid.as_raw_pid();
    line.text("pid ").signed(pid.into()).text(" ").quoted(candidate.job.comm.as_bytes());
}

fn push_victims(line: &mut Line, victim: &Candidate, members: u32, is_of_many: bool) {
    push_process(line, victim);
    if members > 1 {
        line.text(" and ").number(u64::from(members - 1)).text(" more ");
        line.text(if is_of_many { "that grow" } else { "of its job" });
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
        _ => levels.confirm_kib,
    });
    match rule {
        Rule::Exhaustion if snapshot.mem.swap_total_kib > 0 => {
            line.text("; ").size(snapshot.swap_free_kib).text(" swap free, limit ");
            line.size(if is_urgent { levels.swap_kill_kib } else { levels.swap_term_kib });
        }
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
        _ => {}
    }
}
