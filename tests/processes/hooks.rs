//! `--before-kill` and `--on-kill`.

use crate::harness::{
    ASK, Eater, Guard, Journal, ONCE, OnTerm, PROGRAM, REPORT, ROLE, Role, SCRATCH, bustd, eventually,
    in_namespace, number_before, script, skip,
};
use bustd::read::kfile::Tree;
use bustd::read::listing::for_each_process;
use bustd::read::process::{Stat, read_stat};
use rustix::fd::AsFd;
use std::collections::HashMap;
use std::ffi::c_long;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{env, fs, io};

#[test]
fn a_hook_is_told_of_the_victim_and_gets_back_what_the_guard_changed() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let mut victim = Eater::named("a\nb\"\\ é").on_term(OnTerm::Die).start(&journal);
        let reporter = env::current_exe().unwrap();
        let mut command = bustd(&journal, &[ASK, ONCE, &["--on-kill", reporter.to_str().unwrap()]]);
        // As for a guard that a hook started.
        command.env(ROLE, Role::Reporter.script()).env("BUSTD_PID", "1").env("BUSTD_RULE", "none");
        command.stdin(fs::File::open(PROGRAM).unwrap());
        // SAFETY: system calls only.
        unsafe { command.pre_exec(start_humbly) };
        Guard::spawn(command).finish();
        assert_eq!(victim.death(), Some(libc::SIGTERM));
        let line = journal.expect(r#" "a\x0ab\"\\ \xc3\xa9" with SIGTERM"#);

        let report = fs::read_to_string(REPORT).expect("the hook ran");
        let told: HashMap<&str, &str> = report.lines().filter_map(|line| line.split_once('=')).collect();
        let freeable_kib = number_before(told["BUSTD_FREEABLE_KIB"], "\")");
        assert_eq!(freeable_kib / 1024, number_before(&line[line.find("frees").unwrap()..], " MiB"));
        for (key, value) in [
            ("BUSTD_PID", format!("{:?}", Some(victim.pid().to_string()))),
            ("BUSTD_UID", "Some(\"0\")".to_owned()),
            // Escaped by the guard, and once more by the report.
            ("BUSTD_COMM", format!("{:?}", Some(r#"a\x0ab\"\\ \xc3\xa9"#))),
            ("BUSTD_RULE", "Some(\"exhaustion\")".to_owned()),
            ("PATH", format!("{:?}", env::var_os("PATH"))),
            ("blocked", "\"0000000000000000\"".to_owned()),
            ("oom_score_adj", "\"100\"".to_owned()),
            ("nice", "19".to_owned()),
            ("stdin", "\"/dev/null\"".to_owned()),
            ("leads its session", "true".to_owned()),
            ("open", "3".to_owned()),
        ] {
            assert_eq!(told[key], value, "{key} in\n{report}");
        }
    });
}

/// With a nice value and an `oom_score_adj` a guard has every reason to change,
/// and none of the open files cargo and make hand down.
fn start_humbly() -> io::Result<()> {
    // SAFETY: no pointers.
    unsafe {
        // What anybody may set, whatever it was before.
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
        let (first, last, flags): (c_long, c_long, c_long) = (3, -1, libc::CLOSE_RANGE_CLOEXEC.into());
        libc::syscall(libc::SYS_close_range, first, last, flags);
    }
    fs::write("/proc/self/oom_score_adj", "100")
}

#[test]
fn before_kill_goes_first_and_on_kill_last() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let mut victim = Eater::named("victim").start(&journal);
        let before = script("before", "#!/bin/sh\necho before: $BUSTD_PID >&2\n");
        let after = script("after", "#!/bin/sh\necho after: $BUSTD_PID >&2\n");
        Guard::start(&journal, &[ASK, ONCE, &["--before-kill", &before, "--on-kill", &after]]).finish();
        let pid = victim.pid();
        assert_eq!(victim.death(), Some(libc::SIGTERM));
        journal.expect(&format!("after: {pid}"));
        let said = journal.lines();
        let at = |part: &str| said.iter().position(|line| line.contains(part)).expect(part);
        let asked = at("victim: SIGTERM");
        // The hook may be faster than what the guard says of its choice.
        assert!(at("killing pid") < asked && at(&format!("before: {pid}")) < asked, "{said:?}");
        assert!(asked < at("\"victim\" died ") && at("\"victim\" died ") < at("after: "), "{said:?}");
        journal.expect_none("--before-kill");
    });
}

/// What the guard last waited for before it sent SIGTERM came, rather than that its time
/// was up: told by strace(1), for on a busy machine a clock tells of the others.
#[test]
fn a_hook_that_ends_early_holds_up_the_kill_no_longer() {
    in_namespace(|| {
        if Command::new("strace").arg("-V").output().is_err() {
            return skip("no strace(1)");
        }
        let trace = format!("{SCRATCH}/trace");
        let is_woken = |_| {
            let mut journal = Journal::new();
            let mut victim = Eater::named("victim").on_term(OnTerm::Die).start(&journal);
            let mut strace = Command::new("strace");
            strace.args(["-o", &trace, "-e", "trace=ppoll,pidfd_send_signal,kill", PROGRAM]);
            strace.args([ASK, ONCE].concat()).args(["--before-kill", "/bin/true"]);
            strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal.pen());
            Guard::spawn(strace).finish();
            journal.expect("\"victim\" died ");
            assert_eq!(victim.death(), Some(libc::SIGTERM));
            let trace = fs::read_to_string(&trace).expect("a trace");
            // The loop's own, which waits for several things.
            let is_wait = |line: &&str| line.contains("ppoll") && line.contains("}, {fd=");
            let lines: Vec<_> = trace.lines().take_while(|line| !line.contains("SIGTERM")).collect();
            let wait = lines.into_iter().rfind(is_wait).expect("it waits for the hook");
            wait.contains("revents=")
        };
        // A hook that the machine did not let end in 200 ms tells nothing.
        assert!((0..20).any(is_woken));
    });
}

#[test]
fn a_hook_without_end_delays_no_kill_and_is_ended_itself() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let mut victim = Eater::named("victim").start(&journal);
        // Deaf to everything but SIGKILL, with a child in its session.
        let endless = script("endless", "#!/bin/sh\ntrap '' TERM HUP\necho hook: started >&2\nsleep 1000\n");
        let guard = Guard::start(&journal, &[ASK, ONCE, &["--before-kill", &endless]]);
        journal.expect("hook: started");
        let started = Instant::now();
        journal.expect("victim: SIGTERM");
        // 200 ms are promised; the rest is for a busy machine.
        assert!(started.elapsed().as_millis() < 2000, "held up for {:?}", started.elapsed());
        journal.expect("\"victim\" died ");
        journal.expect("--before-kill: the program did not end in time and was killed");
        assert_eq!(victim.death(), Some(libc::SIGTERM));
        journal.expect("--before-kill: the program was ended by signal 9");
        guard.finish();
        eventually("the hook's own child is gone with it", || {
            let proc = Tree::open_live().unwrap().proc;
            let is_sleep = |stat: Stat| stat.comm.as_bytes() == b"sleep" && !stat.is_gone();
            let mut sleeping = false;
            let mut look = |pid| sleeping |= read_stat(proc.as_fd(), pid).is_ok_and(is_sleep);
            for_each_process(proc.as_fd(), &mut look).unwrap();
            !sleeping
        });
    });
}

#[test]
fn hooks_that_fail_are_told_of() {
    in_namespace(|| {
        for (text, complaint) in [
            ("#!/nonexistent\n", "could not be executed, or exited with 127"),
            ("#!/bin/sh\nexit 3\n", "exited with 3"),
            ("#!/bin/sh\nkill -KILL $$\n", "was ended by signal 9"),
        ] {
            let mut journal = Journal::new();
            let mut victim = Eater::named("victim").start(&journal);
            let hook = script("hook", text);
            Guard::start(&journal, &[ASK, ONCE, &["--on-kill", &hook]]).finish();
            assert_eq!(victim.death(), Some(libc::SIGTERM));
            journal.expect(&format!("--on-kill: the program {complaint}"));
        }
    });
}

#[test]
fn hooks_end_for_a_guard_started_with_sigchld_ignored() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let mut victim = Eater::named("victim").start(&journal);
        let hook = script("hook", "#!/bin/sh\nexit 3\n");
        let mut command = bustd(&journal, &[ASK, ONCE, &["--before-kill", &hook]]);
        // SAFETY: one system call. Ignored signals survive execve(2).
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGCHLD, libc::SIG_IGN);
                Ok(())
            });
        }
        Guard::spawn(command).finish();
        journal.expect("--before-kill: the program exited with 3");
        assert_eq!(victim.death(), Some(libc::SIGTERM));
    });
}
