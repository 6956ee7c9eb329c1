//! After its start-up line the guard allocates nothing, a kill and hooks
//! included: seen from the kernel's side, with strace(1).

#[path = "processes/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what the other tests with processes need besides")]
mod harness;

use harness::{ASK, Eater, Guard, Journal, OnTerm, PROGRAM, eventually, in_namespace, script, skip};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::process::{Command, Stdio};

const TRACE: &str = "/run/trace";
const PIDFILE: &str = "/run/guard.pid";

/// Whatever gives a process more memory.
const ALLOCATING: [&str; 4] = ["brk", "mmap", "mmap2", "mremap"];

/// A line of `strace -f -o`: `PID NAME(…`, or `PID <... NAME resumed>…`.
struct Call<'t> {
    pid: &'t str,
    name: &'t str,
    line: &'t str,
}

fn parse(line: &str) -> Option<Call<'_>> {
    let (pid, rest) = line.split_once(' ')?;
    let rest = rest.trim_start();
    let name = rest.strip_prefix("<... ").unwrap_or(rest).split(['(', ' ']).next()?;
    Some(Call { pid, name, line })
}

/// The allocating calls of the guard and of its children before they execute
/// another program: before and after the line that says it is watching.
fn allocations(trace: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut is_watching = false;
    let mut others = Vec::new();
    for Call { pid, name, line } in trace.lines().filter_map(parse) {
        if name == "write" && line.contains("watching") {
            is_watching = true;
        } else if name == "execve" && is_watching && line.ends_with(" = 0") {
            others.push(pid);
        } else if ALLOCATING.contains(&name) && !others.contains(&pid) {
            let found = if is_watching { &mut after } else { &mut before };
            found.push(line);
        }
    }
    (before, after)
}

#[test]
fn traces_are_understood() {
    let trace = "\
7  execve(\"/run/bustd\", [\"bustd\"], 0x7ffd /* 9 vars */) = 0
7  brk(NULL) = 0x55
7  write(2, \"bustd: version 0.2.0, watching\"..., 300) = 300
7  mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 3, 0 <unfinished ...>
7  clone(child_stack=NULL, flags=SIGCHLD) = 8
8  <... mremap resumed>) = 0x7f
8  execve(\"/nonexistent\", [\"x\"], 0x7ffd /* 9 vars */) = -1 ENOENT (No such file or directory)
8  brk(NULL) = 0x55
8  execve(\"/run/hook\", [\"x\"], 0x7ffd /* 9 vars */ <unfinished ...>
7  +++ exited with 0 +++
8  <... execve resumed>) = 0
8  brk(NULL) = 0x55
";
    let lines: Vec<&str> = trace.lines().collect();
    assert_eq!(allocations(trace), (vec![lines[1]], vec![lines[3], lines[5], lines[7]]));
}

/// The calls of a guard from its start to its end, with a kill and hooks; `None`, with a
/// word, where they cannot be told.
fn traced_life() -> Option<String> {
    if Command::new("strace").arg("-V").output().is_err() {
        skip("no strace(1)");
        return None;
    }
    let mut journal = Journal::new();
    let hooks = ["before", "after"].map(|name| script(name, &format!("#!/bin/sh\necho {name} >&2\n")));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o", TRACE]).arg(PROGRAM).args(ASK).args(["--verbose", "--grace", "100"]);
    strace.args([
        "--stats",
        "/run/kills.prom",
        "--pidfile",
        PIDFILE,
        "--before-kill",
        &hooks[0],
        "--on-kill",
        &hooks[1],
    ]);
    strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen());
    let strace = Guard::spawn(strace);
    journal.expect("watching");

    let mut victim = Eater::named("victim").on_term(OnTerm::Ignore).start_guarded(&journal);
    // On a busy machine the hook may be slower than the guard waits.
    for line in ["killing", "before", "victim: SIGTERM", "of SIGKILL", "after"] {
        eventually(line, || journal.count(line) > 0);
    }
    assert_eq!(victim.death(), Some(libc::SIGKILL));
    let pid = fs::read_to_string(PIDFILE).expect("a pidfile").trim().parse().expect("a pid");
    let guard = Pid::from_raw(pid).expect("not 0");
    kill_process(guard, Signal::USR1).expect("it lives");
    journal.expect("status: ");
    kill_process(guard, Signal::TERM).expect("it lives");
    strace.finish();

    let trace = fs::read_to_string(TRACE).expect("a trace");
    for deed in
        ["pidfd_send_signal", "process_mrelease", "/run/kills.prom.new", "F_SETLK", &hooks[0], &hooks[1]]
    {
        assert!(trace.contains(deed), "no {deed} in\n{trace}");
    }
    Some(trace)
}

#[test]
fn nothing_is_allocated_after_start_up() {
    in_namespace(|| {
        let Some(trace) = traced_life() else { return };
        let (before, after) = allocations(&trace);
        // What start-up does shows that such calls would be seen.
        assert!(!before.is_empty(), "{trace}");
        assert!(after.is_empty(), "{after:#?}");
    });
}

/// What takes a lock of the process that it is about, and what opens another process's
/// file. The guard's own is nobody else's.
#[test]
fn nothing_is_read_that_another_process_can_hold() {
    in_namespace(|| {
        let Some(trace) = traced_life() else { return };
        let opened: Vec<_> = trace
            .lines()
            .filter(|line| line.contains("openat("))
            .filter_map(|line| line.split('"').nth(1))
            .collect();
        assert!(opened.iter().any(|path| path.ends_with("/statm")), "{opened:?}");
        let is_held = |path: &&str| {
            let name = path.rsplit('/').next().unwrap_or_default();
            let is_locked =
                ["cmdline", "environ", "maps", "smaps", "smaps_rollup", "numa_maps", "mem", "stack"]
                    .contains(&name);
            let is_file = path.contains("/fd/") || path.contains("/map_files/") || path.ends_with("/exe");
            is_locked || is_file && !path.contains("self")
        };
        let held: Vec<_> = opened.into_iter().filter(is_held).collect();
        assert!(held.is_empty(), "{held:?}");
    });
}
