//! Victims that do not die of SIGKILL: here a tracer stops them on their way
//! out, as a device that does not answer would.

use crate::harness::{Eater, FakeMeminfo, Guard, Journal, OnTerm, bustd, in_namespace, refuse};
use rustix::process::Pid;
use std::fs;
use std::time::Instant;

/// Below the TERM limit, whatever dies; the grace is over at once.
const STUBBORN: &[&str] = &["--no-daemon", "--mem", "512M,256M", "--grace", "0"];
const SHORT_MIB: u64 = 400;

/// Keeps `pid` from ending as long as this thread, its tracer, lives.
pub fn stop_at_exit(pid: Pid) {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: the pid of our own child; no memory is read or written.
    let answer =
        unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid.as_raw_pid(), none, libc::PTRACE_O_TRACEEXIT) };
    assert_eq!(answer, 0, "ptrace");
}

/// How often the guard has gone to sleep.
pub fn sleeps(guard: &Guard) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", guard.pid())).unwrap();
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:\t"));
    count.unwrap().parse().unwrap()
}

#[test]
fn it_is_set_aside_and_another_one_chosen() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(SHORT_MIB);
        let stuck = Eater::named("stuck").mib(100).start(&journal);
        let mut next = Eater::named("next").start(&journal);
        stop_at_exit(stuck.pid());
        let mut command = bustd(&journal, &[STUBBORN]);
        // It keeps its memory too, and would be the best choice again.
        refuse(&mut command, &[libc::SYS_process_mrelease], libc::ENOSYS);
        let guard = Guard::spawn(command);
        journal.expect("\"stuck\" with SIGKILL");
        let killed = Instant::now();
        journal.expect("\"stuck\" is still alive 2 s after SIGKILL; choosing another");
        let waited_ms = killed.elapsed().as_millis();
        assert!((1900..4000).contains(&waited_ms), "after {waited_ms} ms");
        journal.expect("\"next\" with SIGKILL");
        journal.expect("\"next\" died ");
        assert_eq!(next.death(), Some(libc::SIGKILL));
        guard.end();
        drop(meminfo);
    });
}

#[test]
fn while_memory_comes_back_it_is_waited_for_without_haste() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(SHORT_MIB);
        let stuck = Eater::named("stuck").mib(100).on_term(OnTerm::Ignore).start(&journal);
        let _next = Eater::named("next").start(&journal);
        stop_at_exit(stuck.pid());
        let guard = Guard::start(&journal, &[STUBBORN]);
        journal.expect("\"stuck\" with SIGKILL");
        let (killed, before) = (Instant::now(), sleeps(&guard));
        // Not enough yet, but more than a quarter of what it holds.
        meminfo.set_available(SHORT_MIB + 50);
        journal.expect("\"stuck\" is still alive 10 s after SIGKILL; choosing another");
        let waited_ms = killed.elapsed().as_millis() as u64;
        assert!((9900..14_000).contains(&waited_ms), "after {waited_ms} ms");
        // One look every 20 ms.
        let slept = sleeps(&guard) - before;
        assert!(slept < waited_ms / 10, "{slept} looks in {waited_ms} ms");
        guard.end();
    });
}
