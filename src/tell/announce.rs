//! The start-up line, and what could not be had: said once.

use super::log::Log;
use crate::act::capability::Capabilities;
use crate::choose::scope::Scope;
use crate::decide::levels::Levels;
use crate::decide::snapshot::Snapshot;
use crate::sys::line::{Line, named};
use crate::sys::sandbox::Standing;

/// What the start-up line tells besides what was granted.
#[derive(Clone, Copy, Debug)]
pub struct Start<'s> {
    /// Which memory it is.
    pub scope: &'s Scope<'s>,
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
            line.text(named!("a bare name spares no ordinary user's process; see any:NAME and UID:NAME"));
        });
    }
    if !start.scope.is_machine() {
        limit(log, start.scope);
    }
    let Start { snapshot: Snapshot { mem, .. }, levels, .. } = start;
    let has_swap = mem.swap_total_kib > 0;
    log.info(|line| {
        line.text(named!("version ")).text(env!("CARGO_PKG_VERSION")).text(named!(", watching "));
        line.size(mem.mem_total_kib)
            .text(named!(" of memory and "))
            .size(mem.swap_total_kib)
            .text(named!(" of swap"));
        line.text(named!("; SIGTERM at ")).size(levels.mem_term_kib).text(named!(" available"));
        if has_swap {
            line.text(" and ").size(levels.swap_term_kib).text(named!(" swap free"));
        }
        line.text(named!(", SIGKILL at ")).size(levels.mem_kill_kib);
        if has_swap {
            line.text(" and ").size(levels.swap_kill_kib);
        }
        line.text(named!("; rules: exhaustion"));
        if start.has_pressure {
            line.text(named!(", pressure (")).percent(levels.psi_bp.into()).text(named!(" of 10 s, at "));
            line.size(levels.confirm_kib).text(named!("), floor (")).size(levels.mem_kill_kib).text(")");
        } else {
            line.text(named!(", thrash (at ")).size(levels.confirm_kib).text(")");
        }
        match &capabilities.wakers.trigger {
            Ok(trigger) => line
                .text(named!("; trigger: "))
                .number((trigger.window_ms / 1000).into())
                .text(named!(" s window")),
            Err(_) => line.text(named!("; no trigger, polling")),
        };
        line.text(if capabilities.lock.is_ok() {
            named!("; memory locked")
        } else {
            named!("; memory not locked")
        });
        line.text(named!("; sandbox: ")).text(match start.sandbox {
            Standing::Off => "off",
            Standing::CapabilitiesOnly => named!("capabilities only"),
            Standing::NoSeccomp => named!("no seccomp"),
            Standing::Whole => "on",
        });
        line.text("; scope: ").text(start.scope.name());
        line.text(" (").text(start.scope.why().reason()).text(")");
        if start.is_dry_run {
            line.text(named!("; dry run, nobody is killed"));
        }
    });
}

/// Which cgroup is guarded, and which file sets its limit.
fn limit(log: &mut Log, scope: &Scope<'_>) {
    log.info(|line| {
        let mut text = Line::default();
        line.text("guarding cgroup ");
        scope.push_path(line);
        if scope.push_limit_file(&mut text) {
            line.text(", limit by ").quoted(text.as_bytes());
        }
    });
}

/// One line for each thing that could not be had, and what that means.
fn warn_of_missing(log: &mut Log, has_pressure: bool, capabilities: &Capabilities) {
    let Capabilities { lock, wakers, only_uid, .. } = capabilities;
    let &Capabilities { spared, pidfd, release, hidepid, .. } = capabilities;
    let mut check = |is_missing: bool, what: &str| {
        if is_missing {
            log.warn_of(what);
        }
    };
    check(!spared, named!("cannot lower our own oom_score_adj: the kernel might end the guard"));
    check(lock.is_err(), named!("cannot lock memory: may be slow to answer when memory runs out"));
    check(!has_pressure, named!("no pressure information (PSI): judging by vmstat and meminfo"));
    check(has_pressure && wakers.trigger.is_err(), named!("cannot arm a pressure trigger: polling"));
    check(!pidfd, named!("no pidfd: processes are verified by their start time alone"));
    check(pidfd && !release, named!("no process_mrelease: victims free their memory themselves"));
    check(only_uid.is_some(), named!("cannot signal other users' processes: choosing among our own"));
    check(hidepid, named!("process 1 is hidden (hidepid): what is not visible is not chosen"));
}
