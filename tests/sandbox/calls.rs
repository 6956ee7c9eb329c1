//! The filter lets through the calls of the loop, all of them and no others: every
//! path is played under strace(1), and what is called from the moment the filter
//! is in force is compared with the list.

use crate::harness::{
    Confined, Guard, Hierarchy, Journal, PROGRAM, bustd, eventually, in_namespace, refuse, skip,
};
use crate::scenes::{self, Start};
use bustd::sys::sandbox::{CALLS, Whose};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};

const TRACE: &str = "/run/trace";

/// A guard that is followed by strace(1), which is not its parent.
fn traced(journal: &Journal, options: &[&[&str]]) -> Command {
    let _ = fs::remove_file(TRACE);
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-n", "-o", TRACE]).arg(PROGRAM).args(bustd(journal, options).get_args());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen());
    command
}

fn start_traced(journal: &Journal, options: &[&[&str]]) -> Guard {
    Guard::spawn(traced(journal, options))
}

fn start_without_pidfds(journal: &Journal, options: &[&[&str]]) -> Guard {
    let mut command = traced(journal, options);
    refuse(&mut command, &[libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal], libc::ENOSYS);
    Guard::spawn(command)
}

fn start_without_signalfd(journal: &Journal, options: &[&[&str]]) -> Guard {
    let mut command = traced(journal, options);
    refuse(&mut command, &[libc::SYS_signalfd4], libc::ENOSYS);
    Guard::spawn(command)
}

/// The calls of a scene, by number, and an example of each.
type Calls = BTreeMap<u16, String>;

/// What was called from the moment the filter was in force, by the guard and by
/// its children. A line is `PID [NUMBER] CALL(ARGUMENTS) = ANSWER`.
fn calls_behind_filter(trace: &str) -> Calls {
    let mut calls = Calls::new();
    let mut before = BTreeSet::new();
    let mut guard = None;
    for line in trace.lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let Some((number, call)) = rest.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("] "))
        else {
            continue;
        };
        if call.starts_with("<... ") {
            // The end of one that was told of.
        } else if call.contains("SECCOMP_MODE_FILTER, {") {
            guard = Some(pid);
        } else if guard.is_none() {
            before.insert(pid);
        } else if guard == Some(pid) || !before.contains(pid) {
            calls.entry(number.trim().parse().expect("a number")).or_insert_with(|| call.to_owned());
        }
    }
    assert!(guard.is_some(), "no filter in\n{trace}");
    calls
}

/// Plays a scene and returns its calls, none of which may be refused.
fn play(scene: fn(&mut Journal, Start<'_>), start: Start<'_>, whose: &[Whose]) -> Calls {
    let mut journal = Journal::new();
    scene(&mut journal, start);
    let trace = || fs::read_to_string(TRACE).unwrap_or_default();
    eventually("the trace is whole", || {
        trace().lines().last().is_some_and(|line| line.contains("+++ exited"))
    });
    let calls = calls_behind_filter(&trace());
    let is_let_through = |number: u16| {
        CALLS.iter().any(|&(of, call)| call == number && (of == Whose::Every || whose.contains(&of)))
    };
    let refused: Vec<_> = calls.iter().filter(|(number, _)| !is_let_through(**number)).collect();
    assert!(refused.is_empty(), "refused: {refused:?}");
    calls
}

/// Are there counters of page faults?
fn has_counters() -> bool {
    let trace = fs::read_to_string(TRACE).unwrap_or_default();
    trace.lines().any(|line| line.contains("F_SETOWN") && line.ends_with("= 0"))
}

#[test]
fn the_filter_lets_through_what_the_loop_calls_and_no_more() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("no strace(1)");
    }
    in_namespace(|| {
        use Whose::{WithCommand, WithCounters, WithFiles, WithHandler, WithRules, WithSyslog};
        let mut seen = Calls::new();
        let with_counters = [WithCounters];
        for scene in [
            scenes::stuck,
            scenes::patterns_and_a_process_group,
            scenes::whole_cgroup,
            scenes::twins,
            scenes::writer,
            scenes::burst,
            scenes::growing_group,
            scenes::pressure_and_floor,
            scenes::thrash,
            scenes::once,
            scenes::kernel_log,
        ] {
            seen.extend(play(scene, &start_traced, &with_counters));
        }
        seen.extend(play(scenes::steady_then_kill, &start_traced, &[WithCounters, WithFiles]));
        seen.extend(play(scenes::daemon, &start_traced, &[WithCounters, WithFiles]));
        seen.extend(play(scenes::system_log, &start_traced, &[WithCounters, WithSyslog]));
        seen.extend(play(scenes::twins, &start_without_pidfds, &with_counters));
        seen.extend(play(scenes::twins, &start_without_signalfd, &[WithCounters, WithHandler]));
        seen.extend(play(scenes::command, &start_traced, &[WithCounters, WithCommand]));
        seen.extend(play(scenes::idle, &start_traced, &with_counters));
        seen.extend(play(scenes::rules, &start_traced, &[WithCounters, WithRules]));
        let has_cgroups = Confined::new(Hierarchy::V2).is_some();
        if has_cgroups {
            seen.extend(play(scenes::rules_that_kill, &start_traced, &[WithCounters, WithRules]));
        }

        // The first is called only where the kernel's own page does not tell the
        // time, the second only by a guard that cannot go on.
        let mut unseen_by_right = vec![libc::SYS_clock_gettime as u16, libc::SYS_getpid as u16];
        // Only a machine's init switches that off.
        unseen_by_right.extend([libc::SYS_sync as u16, libc::SYS_reboot as u16]);
        if !has_cgroups {
            unseen_by_right.extend([libc::SYS_fgetxattr as u16, libc::SYS_fsetxattr as u16]);
        }
        if !has_counters() {
            unseen_by_right.push(libc::SYS_ioctl as u16);
        }
        let unseen: Vec<_> = CALLS
            .iter()
            .map(|&(_, call)| call)
            .filter(|call| !seen.contains_key(call) && !unseen_by_right.contains(call))
            .collect();
        assert!(unseen.is_empty(), "let through and never called: {unseen:?}, of {seen:#?}");
    });
}
