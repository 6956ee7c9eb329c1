//! What users may put in its way.

use crate::harness::{
    Confined, Eater, FakeMeminfo, Hierarchy, Journal, SCRATCH, Writes, actor, eventually, living, map,
    mount_many, rest, script, set_comm, skip,
};
use crate::tracer::Traced;
use crate::{measured, measured_with_rules};
use std::ffi::CString;
use std::fs::File;
use std::io::{PipeReader, Read, Write, pipe};
use std::mem::forget;
use std::os::fd::AsRawFd;
use std::thread::{self, sleep};
use std::time::Duration;

/// SIGTERM at half a gigabyte, and SIGKILL never.
const LIMIT: &[&str] = &["--no-daemon", "--verbose", "--mem", "512M,1M"];
const PLENTY_MIB: u64 = 600;
const SHORT_MIB: u64 = 500;

/// As many as an ordinary user may have.
const CROWD: usize = 5000;

/// Forks of its own, that do nothing more when they have done `part`; returns when all
/// have.
fn fork_many(count: usize, part: impl Fn(usize)) {
    let (mut ready, mut done) = pipe().expect("pipe");
    for number in 0..count {
        // SAFETY: what the child does needs no thread but its own.
        if unsafe { libc::fork() } == 0 {
            part(number);
            done.write_all(b"1").expect("the test lives");
            rest()
        }
    }
    drop(done);
    ready.read_exact(&mut vec![0; count]).expect("all get there");
}

/// Lets memory fall from plenty to what is short, slowly enough for scans that note who
/// is how large.
fn fall(meminfo: &FakeMeminfo) {
    for mib in (SHORT_MIB..=1200).rev().step_by(20) {
        meminfo.set_available(mib);
        sleep(Duration::from_millis(50));
    }
}

/// Waits until a guard has been at it for so long.
fn go_on(seconds: u64) {
    sleep(Duration::from_secs(seconds));
}

#[test]
fn crowd() {
    measured(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(1200);
        fork_many(CROWD, |_| {});
        let mut hog = Eater::named("hog").start(&journal);
        let guard = Traced::watching(&mut journal, &[LIMIT]);
        fall(&meminfo);
        journal.expect("\"hog\" died ");
        hog.death();
        guard.end()
    });
}

/// The same in search of who writes to a tmpfs.
#[test]
fn crowd_beside_a_full_tmpfs() {
    measured(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(PLENTY_MIB);
        fork_many(CROWD, |_| {});
        let guard = Traced::watching(&mut journal, &[LIMIT]);
        meminfo.set(SHORT_MIB, PLENTY_MIB - SHORT_MIB);
        journal.expect("nobody is writing there");
        guard.end()
    });
}

/// Together they hold what is missing.
#[test]
fn spawn_burst() {
    measured(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(PLENTY_MIB);
        let guard = Traced::watching(&mut journal, &[LIMIT]);
        actor("mite", || fork_many(CROWD, |_| {}));
        meminfo.set_available(SHORT_MIB);
        journal.expect(" more of its job with SIGKILL");
        // As long as that takes.
        go_on(5);
        guard.end()
    });
}

#[test]
fn process_group() {
    measured(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(PLENTY_MIB);
        let leader = Eater::named("leader").mib(1).growing_by(60).group(0).start(&journal);
        let pgrp = leader.pid().as_raw_pid();
        // With a name each, so that they are no spawn burst.
        fork_many(1000, |number| {
            set_comm(&CString::new(format!("member {number}")).expect("no NUL"));
            // SAFETY: takes integers.
            assert_eq!(unsafe { libc::setpgid(0, pgrp) }, 0, "setpgid");
        });
        fork_many(CROWD - 1000, |_| {});
        let guard = Traced::watching(&mut journal, &[LIMIT, &["--kill-pgroup"]]);
        leader.grow(&mut journal);
        meminfo.set_available(SHORT_MIB);
        journal.expect("\"leader\" with SIGTERM");
        go_on(5);
        guard.end()
    });
}

/// Shared memory of as many that have nothing else.
#[test]
fn shared_memory() {
    measured(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(PLENTY_MIB);
        let guard = Traced::watching(&mut journal, &[LIMIT]);
        actor("sharers", || {
            let shared = map(20, libc::MAP_SHARED) as usize;
            // SAFETY: as long as that.
            fork_many(1000, |_| unsafe { *(shared as *mut [u8; 20 << 20]) = [2; 20 << 20] });
        });
        meminfo.set(SHORT_MIB, PLENTY_MIB - SHORT_MIB);
        go_on(3);
        guard.end()
    });
}

#[test]
fn mounts() {
    measured(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(PLENTY_MIB);
        let guard = Traced::watching(&mut journal, &[LIMIT]);
        actor("mounter", || {
            mount_many(5000);
            fork_many(20, |number| {
                for mount in 4000 + number * 50..4050 + number * 50 {
                    forget(File::create(format!("/mnt/{mount}/file")).expect("a file"));
                }
            });
        });
        meminfo.set(SHORT_MIB, PLENTY_MIB - SHORT_MIB);
        go_on(3);
        guard.end()
    });
}

#[test]
fn descriptors() {
    measured(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(PLENTY_MIB);
        let guard = Traced::watching(&mut journal, &[LIMIT]);
        actor("holder", || {
            let limit = libc::rlimit { rlim_cur: 19_000, rlim_max: 19_000 };
            // SAFETY: a valid limit; children that share our descriptors.
            unsafe {
                assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0, "setrlimit");
                let file = File::create(format!("{SCRATCH}/file")).expect("a file");
                while libc::dup(file.as_raw_fd()) >= 0 {}
                forget(file);
                for _ in 0..400 {
                    if libc::syscall(libc::SYS_clone, libc::CLONE_FILES | libc::SIGCHLD, 0, 0, 0, 0) == 0 {
                        rest();
                    }
                }
            }
        });
        meminfo.set(SHORT_MIB, PLENTY_MIB - SHORT_MIB);
        go_on(3);
        guard.end()
    });
}

/// In a user namespace with a range of group ids anybody may have so many; `status`
/// lists them, in half a megabyte.
#[test]
fn groups() {
    measured(|| {
        let mut journal = Journal::new();
        let _meminfo = FakeMeminfo::mount_small();
        let groups: Vec<libc::gid_t> = (100_000..165_536).collect();
        fork_many(60, |_| {
            // SAFETY: as many as there are.
            assert_eq!(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) }, 0, "setgroups");
            map(1, libc::MAP_PRIVATE);
        });
        let guard = Traced::watching(&mut journal, &[&["--no-daemon", "--mem", "100%,1%"]]);
        go_on(5);
        guard.end()
    });
}

/// Zombies, before the one that has memory.
#[test]
fn threads() {
    measured(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(1200);
        for _ in 0..4 {
            actor("tracer", || keep_zombies(3000));
        }
        let guard = Traced::watching(&mut journal, &[LIMIT]);
        fall(&meminfo);
        journal.expect("killing pid");
        guard.end()
    });
}

/// Has a child whose threads have ended, but for the last, and traces them, so that
/// nobody else can wait for them.
fn keep_zombies(threads: usize) {
    let (mut ready, mut told) = pipe().expect("pipe");
    let (go, mut start) = pipe().expect("pipe");
    let gettid = || {
        // SAFETY: takes nothing.
        unsafe { libc::gettid() }.to_ne_bytes()
    };
    // SAFETY: what the child does needs no thread of its parent's.
    if unsafe { libc::fork() } == 0 {
        set_comm(c"hog");
        map(30, libc::MAP_PRIVATE);
        let end = |go: PipeReader| {
            let _ = (&go).read(&mut [0]);
            // SAFETY: ends this thread only.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
        };
        for _ in 1..threads {
            let (mut told, go) = (told.try_clone().expect("dup"), go.try_clone().expect("dup"));
            let part = move || {
                told.write_all(&gettid()).expect("the tracer lives");
                forget(told);
                end(go);
            };
            thread::Builder::new().stack_size(32 << 10).spawn(part).expect("a thread");
        }
        thread::spawn(|| rest());
        told.write_all(&gettid()).expect("the tracer lives");
        end(go);
    }
    let mut tids = vec![0; 4 * threads];
    ready.read_exact(&mut tids).expect("they live");
    for tid in tids.chunks(4) {
        let tid = i32::from_ne_bytes(tid.try_into().expect("four"));
        // SAFETY: no memory is read or written.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SEIZE, tid, 0, 0) }, 0, "ptrace");
    }
    start.write_all(&vec![1; threads]).expect("they read");
}

/// Who writes to a tmpfs dies, and the file that stays is told.
#[test]
fn writer() {
    measured(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(PLENTY_MIB);
        let writer = Eater::named("writer").mib(1).writes(Writes::On).start(&journal);
        let guard = Traced::watching(&mut journal, &[LIMIT]);
        meminfo.set(SHORT_MIB, PLENTY_MIB - SHORT_MIB);
        guard.look(&mut journal);
        // It is seen to write while that becomes fuller.
        let written = || number_in(&format!("/proc/{}/io", writer.pid()), "wchar: ");
        let before = written();
        eventually("the writer writes on", || written() >= before + (24 << 20));
        meminfo.set(SHORT_MIB - 20, PLENTY_MIB - SHORT_MIB + 20);
        journal.expect("\"writer\" died ");
        guard.end()
    });
}

/// The number behind `key` in a file of /proc.
fn number_in(path: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(path).expect("it lives");
    let line = text.lines().find_map(|line| line.strip_prefix(key)).expect("the key");
    line.parse().expect("a number")
}

/// Hooks and a file of statistics.
#[test]
fn hooks() {
    measured(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(PLENTY_MIB);
        let hook = script("hook", "#!/bin/sh\nsleep 0.1\n");
        let stats = format!("{SCRATCH}/stats");
        let options: &[&str] = &["--before-kill", &hook, "--on-kill", &hook, "--stats", &stats];
        let hog = Eater::named("hog").start(&journal);
        let guard = Traced::watching(&mut journal, &[LIMIT, options]);
        meminfo.set_available(SHORT_MIB);
        journal.expect("\"hog\" died ");
        eventually("the hook ends", || living("hook").is_empty());
        drop(hog);
        guard.end()
    });
}

/// Full ones, that nobody empties.
#[test]
fn pipes() {
    measured(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(PLENTY_MIB);
        let guard = Traced::watching(&mut journal, &[LIMIT]);
        actor("holder", || {
            let limit = libc::rlimit { rlim_cur: 5000, rlim_max: 5000 };
            // SAFETY: a valid limit, for this process alone.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0, "setrlimit");
            (0..2000).for_each(|_| forget(pipe().expect("pipe")));
        });
        meminfo.set_available(SHORT_MIB);
        journal.expect("\"holder\" died ");
        guard.end()
    });
}

/// It is another process each time it is looked at.
#[test]
fn fleeing() {
    measured(|| {
        let mut journal = Journal::new();
        let _meminfo = FakeMeminfo::mount(SHORT_MIB);
        let guard = Traced::watching(&mut journal, &[LIMIT]);
        actor("hopper", || {
            let memory = map(60, libc::MAP_PRIVATE);
            // SAFETY: what the child does needs no thread but its own.
            let mut is_next = unsafe { libc::fork() } == 0;
            if !is_next {
                return;
            }
            while is_next {
                // SAFETY: as long as that.
                unsafe { libc::memset(memory, 2, 1 << 20) };
                sleep(Duration::from_micros(500));
                // SAFETY: as before.
                is_next = unsafe { libc::fork() } == 0;
            }
            // SAFETY: nothing of ours is to be done at the end.
            unsafe { libc::_exit(0) }
        });
        go_on(2);
        guard.end()
    });
}

/// A hog that its tracer keeps from ending, after SIGKILL too.
#[test]
fn traced() {
    measured(|| {
        let mut journal = Journal::new();
        let _meminfo = FakeMeminfo::mount(SHORT_MIB);
        actor("tracer", || {
            let hog = actor("hog", || _ = map(60, libc::MAP_PRIVATE));
            let hog = hog.as_raw_pid();
            // SAFETY: no memory is read or written.
            let answer = unsafe { libc::ptrace(libc::PTRACE_SEIZE, hog, 0, libc::PTRACE_O_TRACEEXIT) };
            assert_eq!(answer, 0, "ptrace");
        });
        let guard = Traced::watching(&mut journal, &[LIMIT]);
        journal.expect("\"hog\" died ");
        guard.end()
    });
}

/// A rule looks for somebody to kill among a thousand cgroups, and memory gets short
/// meanwhile: the guard's own kill begins from there.
#[test]
fn rules() {
    measured_with_rules(|| {
        let Some(slice) = Confined::new(Hierarchy::V2) else {
            skip("needs cgroups of version 2");
            return None;
        };
        let names: Vec<String> = (0..1000).map(|number| format!("empty{number}")).collect();
        let _empty: Vec<Confined> = names.iter().map(|name| slice.below(name)).collect();
        let doomed = slice.below("doomed");
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(PLENTY_MIB);
        let mut large = Eater::named("large").mib(60).start(&journal);
        let mut member = Eater::named("member").mib(1).start(&journal);
        doomed.take(member.pid());
        let file = format!("{SCRATCH}/rules.json");
        let path = slice.path.trim_start_matches('/');
        let tell = format!(
            r#"{{"name": "dump_cgroup_overview", "args": {{"cgroup": "{path}", "always": "true"}}}}"#
        );
        let kill = format!(
            r#"{{"name": "kill_by_pressure", "args": {{"cgroup": "{path}/*", "resource": "memory"}}}}"#
        );
        let set = format!(
            r#"{{"name": "set", "detectors": [["group", {{"name": "continue"}}]], "actions": [{tell}, {kill}]}}"#
        );
        std::fs::write(&file, format!(r#"{{"rulesets": [{set}]}}"#)).expect("a file in scratch");
        let guard = Traced::watching(&mut journal, &[LIMIT, &["--rules", &file, "--interval", "1"]]);
        journal.expect(&format!("cgroup \"{path}\""));
        meminfo.set_available(SHORT_MIB);
        // Whichever is first, the other comes too.
        let dead = |journal: &mut Journal| {
            ["large", "member"].map(|name| journal.count(&format!("\"{name}\" died ")))
        };
        eventually("one has died", || dead(&mut journal) != [0, 0]);
        match dead(&mut journal) {
            [0, _] => meminfo.set_available(SHORT_MIB / 2),
            _ => meminfo.set_available(PLENTY_MIB),
        }
        eventually("both have died", || dead(&mut journal) == [1, 1]);
        let steps = guard.end();
        assert_eq!([large.death(), member.death()], [Some(libc::SIGTERM), Some(libc::SIGKILL)]);
        Some(steps)
    });
}
