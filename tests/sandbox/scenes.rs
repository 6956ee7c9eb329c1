//! Every path of the loop, each played with a guard that the caller starts.

use crate::harness::{
    ASK, Breeder, Confined, Eater, FORCE, FakeMeminfo, Guard, Hierarchy, Journal, OnTerm, Plan, SCRATCH,
    Writes, eventually, living, mount,
};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::c_void;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

/// Starts a guard with these options.
pub type Start<'a> = &'a dyn Fn(&Journal, &[&[&str]]) -> Guard;

/// SIGTERM at half a gigabyte, and SIGKILL never.
const LIMIT: &[&str] = &["--no-daemon", "--verbose", "--mem", "512M,1M"];
const PLENTY_MIB: u64 = 600;
const SHORT_MIB: u64 = 500;
const LOSS_MIB: u64 = PLENTY_MIB - SHORT_MIB;

fn begin(journal: &mut Journal, start: Start<'_>, options: &[&[&str]]) -> Guard {
    let guard = start(journal, options);
    journal.expect("watching");
    guard.look(journal);
    guard.look(journal);
    guard
}

/// Nothing is the matter, then SIGTERM, then SIGKILL; pidfile and stats file.
pub fn steady_then_kill(journal: &mut Journal, start: Start<'_>) {
    let meminfo = FakeMeminfo::mount(PLENTY_MIB);
    let mut victim = Eater::named("victim").mib(20).growing_by(30).on_term(OnTerm::Ignore).start(journal);
    let files = ["--pidfile", "/run/guard.pid", "--stats", "/run/kills.prom", "--grace", "40"];
    let guard = begin(journal, start, &[LIMIT, &files]);
    victim.grow(journal);
    meminfo.set_available(SHORT_MIB);
    journal.expect("\"victim\" died ");
    assert_eq!(victim.death(), Some(libc::SIGKILL));
    guard.look(journal);
    guard.end();
}

/// A victim that a tracer keeps from ending: its memory is released for it, and
/// another is chosen.
pub fn stuck(journal: &mut Journal, start: Start<'_>) {
    let _meminfo = FakeMeminfo::mount(SHORT_MIB - 100);
    let mut stuck = Eater::named("stuck").mib(100).start(journal);
    let mut next = Eater::named("next").start(journal);
    let none = std::ptr::null_mut::<c_void>();
    let stop_at_exit = |pid: Pid| {
        // SAFETY: the pid of our own child; no memory is read or written.
        unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid.as_raw_pid(), none, libc::PTRACE_O_TRACEEXIT) }
    };
    assert_eq!(stop_at_exit(stuck.pid()), 0, "ptrace");
    let guard = start(journal, &[&["--no-daemon", "--mem", "512M,256M", "--grace", "0"]]);
    journal.expect("\"stuck\" with SIGKILL");
    journal.expect("\"next\" died ");
    assert_eq!(next.death(), Some(libc::SIGKILL));
    guard.end();
    // SAFETY: our tracee, which goes on to its end.
    unsafe { libc::ptrace(libc::PTRACE_DETACH, stuck.pid().as_raw_pid(), none, none) };
    stuck.kill();
}

/// Patterns of every sort, and a whole process group.
pub fn patterns_and_a_process_group(journal: &mut Journal, start: Start<'_>) {
    let mut leader = Eater::named("leader").group(0).start(journal);
    let mut member = Eater::named("member").mib(1).group(leader.pid().as_raw_pid()).start(journal);
    let patterns =
        ["--avoid", "any:exe:/bin/*|root:x*", "--unkillables", "exe:/sbin/*|cgroup:/x", "--prefer", "leader"];
    let guard = start(journal, &[ASK, &["--kill-pgroup"], &patterns]);
    journal.expect("\"leader\" died ");
    assert_eq!((leader.death(), member.death()), (Some(libc::SIGTERM), Some(libc::SIGTERM)));
    guard.end();
}

/// In a cgroup whose limit is its own, who dies takes a whole cgroup along.
pub fn whole_cgroup(journal: &mut Journal, start: Start<'_>) {
    // Where none can be made, what is left of it.
    let Some(confined) = Hierarchy::BOTH.into_iter().rev().find_map(Confined::new) else {
        return once(journal, start);
    };
    let job = confined.below("job");
    let mut worker = Eater::named("worker").mib(60).start(journal);
    let mut helper = Eater::named("helper").mib(1).start(journal);
    job.take(worker.pid());
    job.take(helper.pid());
    let scope = ["--kill-cgroup", "--scope", confined.dir.to_str().unwrap()];
    let guard = start(journal, &[FORCE, &scope]);
    journal.expect("is killed as a whole");
    journal.expect("\"worker\" died ");
    assert_eq!([worker.death(), helper.death()], [Some(libc::SIGKILL); 2]);
    guard.end();
}

/// Two processes with one address space.
pub fn twins(journal: &mut Journal, start: Start<'_>) {
    extern "C" fn rest(_: *mut c_void) -> i32 {
        loop {
            // SAFETY: takes nothing.
            unsafe { libc::pause() };
        }
    }
    // SAFETY: what the child does needs no thread but its own, and its own child
    // has a stack of its own.
    let first = unsafe { libc::fork() };
    if first == 0 {
        let memory = vec![1_u8; 80 << 20].leak();
        let stack = vec![0_u8; 64 << 10].leak();
        // SAFETY: as above.
        unsafe {
            libc::prctl(libc::PR_SET_NAME, c"twin".as_ptr());
            libc::clone(
                rest,
                stack.as_mut_ptr_range().end.cast(),
                libc::CLONE_VM | libc::SIGCHLD,
                memory.as_mut_ptr().cast(),
            );
        }
        rest(std::ptr::null_mut());
    }
    eventually("both are called so", || living("twin").len() == 2);
    let guard = start(journal, &[ASK]);
    journal.expect("\"twin\" and 1 more of its job died ");
    guard.end();
    assert!(living("twin").is_empty());
    // SAFETY: reaps our child, which has died.
    unsafe { libc::waitpid(first, std::ptr::null_mut(), 0) };
}

/// Who fills a tmpfs.
pub fn writer_dies(journal: &mut Journal, plan: Plan, options: &[&str]) {
    fill(journal, &|journal, with| Guard::start(journal, &[with, &[options]].concat()), plan);
}

pub fn writer(journal: &mut Journal, start: Start<'_>) {
    fill(journal, start, Eater::named("writer").mib(1).writes(Writes::On));
}

fn fill(journal: &mut Journal, start: Start<'_>, plan: Plan) {
    const MORE_MIB: u64 = 20;
    let meminfo = FakeMeminfo::mount(PLENTY_MIB);
    let _large = Killed(Eater::named("large").mib(80).start(journal));
    let mut writer = plan.start(journal);
    let guard = begin(journal, start, &[LIMIT]);
    meminfo.set(SHORT_MIB, LOSS_MIB);
    guard.look(journal);
    let path = format!("/proc/{}/io", writer.pid());
    let written = || {
        let io = fs::read_to_string(&path).expect("it lives");
        io.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse::<u64>().ok()).expect("a number")
    };
    let before = written();
    eventually("the writer writes on", || written() >= before + ((MORE_MIB + 4) << 20));
    meminfo.set(SHORT_MIB - MORE_MIB, LOSS_MIB + MORE_MIB);
    guard.look(journal);
    let line = journal.expect(" with SIGTERM (exhaustion: ");
    assert!(line.contains("\"writer\" with ") && line.contains(" to tmpfs just now"), "{line:?}");
    journal.expect("\"writer\" died ");
    assert_eq!(writer.death(), Some(libc::SIGTERM));
    guard.end();
}

/// Gone at the end of its scene.
struct Killed(Eater);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// Many small and young processes.
pub fn burst(journal: &mut Journal, start: Start<'_>) {
    let meminfo = FakeMeminfo::mount(PLENTY_MIB);
    let breeder = Breeder::start(journal, "mite", 0, 50);
    let guard = begin(journal, start, &[LIMIT]);
    meminfo.set_available(SHORT_MIB);
    journal.expect("\"mite\" and 49 more of its job died ");
    guard.end();
    kill_process(breeder.pid(), Signal::KILL).expect("our child");
}

/// A growing group.
pub fn growing_group(journal: &mut Journal, start: Start<'_>) {
    let meminfo = FakeMeminfo::mount(PLENTY_MIB);
    let worker = |name: &str| Eater::named(name).comm("worker").mib(18).growing_by(18);
    let leader = Killed(Eater::named("leader").mib(1).group(0).start(journal));
    let group = leader.0.pid().as_raw_pid();
    let mut workers: Vec<_> =
        (0..5).map(|number| worker(&format!("worker {number}")).group(group).start(journal)).collect();
    let guard = begin(journal, start, &[LIMIT]);
    workers.iter().for_each(|worker| worker.grow(journal));
    meminfo.set_available(SHORT_MIB);
    journal.expect("\"worker\" and 4 more of its job died ");
    guard.end();
    workers.iter_mut().for_each(|worker| assert_eq!(worker.death(), Some(libc::SIGTERM)));
}

/// Puts `text` in the place of a file of /proc.
fn fake(path: &str, text: &str) -> fs::File {
    let file = format!("{SCRATCH}/fake{}", path.replace('/', "."));
    fs::write(&file, text).expect("a file in scratch");
    mount(&["--bind", &file, path]);
    OpenOptions::new().write(true).open(file).expect("the same file")
}

fn uncover(path: &str) {
    assert!(Command::new("umount").args(["-l", path]).status().expect("umount(8)").success());
}

/// Behind a line that the trigger is written over, which a file keeps.
fn pressure(some_us: u64, full_us: u64) -> String {
    let line = |kind: &str, us: u64| format!("{kind} avg10=0.00 avg60=0.00 avg300=0.00 total={us:012}\n");
    format!("{:40}\n{}{}", "", line("some", some_us), line("full", full_us))
}

const SWAPS: &str = "Filename\tType\tSize\tUsed\tPriority\n\
    /dev/zram0 partition 1048576 0 100\n/dev/sda2 partition 2097152 0 -2\n";

fn meminfo_with_swap(available_mib: u64) -> String {
    format!(
        "MemTotal: {} kB\nMemFree: 1024 kB\nMemAvailable: {:16} kB\nSwapTotal: 3145728 kB\nSwapFree: 3145728 kB\n\
         Active(file): 100 kB\nInactive(file): 100 kB\n",
        1_u64 << 40,
        available_mib * 1024
    )
}

/// What makes a counter of 10 s pass any limit.
const STALLED_US: u64 = 9_000_000;

/// Pressure, then the floor, with swap on zram and on a disk.
pub fn pressure_and_floor(journal: &mut Journal, start: Start<'_>) {
    let meminfo = fake("/proc/meminfo", &meminfo_with_swap(700));
    let _swaps = fake("/proc/swaps", SWAPS);
    let psi = fake("/proc/pressure/memory", &pressure(0, 0));
    let mut first = Eater::named("first").mib(80).start(journal);
    let mut second = Eater::named("second").start(journal);
    let guard = begin(journal, start, &[LIMIT]);
    psi.write_all_at(pressure(STALLED_US, 1).as_bytes(), 0).expect("room");
    journal.expect("killing pid");
    journal.expect("\"first\" died ");
    assert_eq!(first.death(), Some(libc::SIGTERM));
    guard.look(journal);
    meminfo.write_all_at(meminfo_with_swap(1).as_bytes(), 0).expect("room");
    guard.look(journal);
    let mut full_us = 1;
    let stall = || {
        full_us += STALLED_US;
        psi.write_all_at(pressure(STALLED_US + full_us, full_us).as_bytes(), 0).expect("room");
        journal.count("\"second\" died ") > 0
    };
    eventually("the floor rule acts", stall);
    assert_eq!(journal.count("SIGKILL (floor: "), 1);
    assert_eq!(second.death(), Some(libc::SIGKILL));
    guard.end();
    ["/proc/pressure/memory", "/proc/swaps", "/proc/meminfo"].into_iter().for_each(uncover);
}

/// The rule for kernels without PSI.
pub fn thrash(journal: &mut Journal, start: Start<'_>) {
    let _meminfo = fake("/proc/meminfo", &meminfo_with_swap(700));
    mount(&["-t", "tmpfs", "none", "/proc/pressure"]);
    let vmstat = |pages: u64| format!("workingset_refault_file {pages:12}\nallocstall_normal {pages:12}\n");
    let counters = fake("/proc/vmstat", &vmstat(0));
    let mut victim = Eater::named("victim").start(journal);
    let guard = begin(journal, start, &[LIMIT]);
    counters.write_all_at(vmstat(1000).as_bytes(), 0).expect("room");
    guard.look(journal);
    journal.expect("\"victim\" died ");
    assert_eq!(journal.count("(thrash: "), 1);
    assert_eq!(victim.death(), Some(libc::SIGTERM));
    guard.end();
    ["/proc/vmstat", "/proc/pressure", "/proc/meminfo"].into_iter().for_each(uncover);
}

/// A processor that does nothing, and memory that could be full in less than a
/// second: the counters of page faults are switched on, where there are any.
pub fn idle(journal: &mut Journal, start: Start<'_>) {
    let _meminfo = FakeMeminfo::mount(PLENTY_MIB);
    let _stat = fake("/proc/stat", "cpu 1 1 1 1000 1 1 1 1 0 0\n");
    let guard = begin(journal, start, &[LIMIT]);
    std::thread::sleep(std::time::Duration::from_millis(2500));
    guard.look(journal);
    guard.end();
    uncover("/proc/stat");
}

/// More lines than the kernel's log takes of one open file.
pub fn kernel_log(journal: &mut Journal, start: Start<'_>) {
    let log = fake("/dev/kmsg", "");
    let lines = || fs::read_to_string("/dev/kmsg").expect("a file");
    let guard = start(journal, &[LIMIT, &["--log", "kmsg"]]);
    eventually("it watches", || lines().contains("watching"));
    for wanted in 1..12 {
        guard.send(Signal::USR1);
        // A file that is opened anew is written from its start.
        let text = || lines().matches("status: ").count();
        let _ = crate::harness::within(std::time::Duration::from_millis(100), || text() >= wanted);
    }
    guard.end();
    drop(log);
    uncover("/dev/kmsg");
}

/// A system log that is restarted.
pub fn system_log(journal: &mut Journal, start: Start<'_>) {
    let dev = format!("{SCRATCH}/dev");
    let null = format!("{dev}/null");
    fs::create_dir(&dev).expect("scratch");
    mount(&["-t", "tmpfs", "none", &dev]);
    fs::write(&null, "").expect("room");
    mount(&["--bind", "/dev/null", &null]);
    mount(&["--rbind", &dev, "/dev"]);
    let bind = || {
        let socket = UnixDatagram::bind("/dev/log").expect("a socket");
        socket.set_read_timeout(Some(crate::harness::PATIENCE)).expect("a socket");
        socket
    };
    let hear = |socket: &UnixDatagram, part: &str| {
        let mut line = [0; 1024];
        loop {
            let len = socket.recv(&mut line).expect("a line in time");
            if String::from_utf8_lossy(&line[..len]).contains(part) {
                return;
            }
        }
    };
    let socket = bind();
    let guard = start(journal, &[LIMIT, &["--log", "syslog"]]);
    hear(&socket, "watching");
    guard.send(Signal::USR1);
    hear(&socket, "status: ");
    drop(socket);
    fs::remove_file("/dev/log").expect("our socket");
    let socket = bind();
    guard.send(Signal::USR1);
    hear(&socket, "status: ");
    guard.end();
    uncover("/dev");
}

/// One decision, then the end.
pub fn once(journal: &mut Journal, start: Start<'_>) {
    let mut victim = Eater::named("victim").start(journal);
    start(journal, &[ASK, &["--once"]]).finish();
    journal.expect("\"victim\" died ");
    assert_eq!(victim.death(), Some(libc::SIGTERM));
}

/// A file of rules, which is read again when it is asked for, and a directory beside it,
/// in which files come and go and which does so itself.
pub fn rules(journal: &mut Journal, start: Start<'_>) {
    const FILE: &str = "/run/rules.json";
    const DIR: &str = "/run/rules.d";
    let set = |keys: &str| format!(r#"{{"rulesets": [{{"name": "n", {keys}}}]}}"#);
    let base = |action: &str| {
        let detectors = r#""detectors": [["g", {"name": "stop"}]], "drop-in": {"actions": true}"#;
        set(&format!(r#"{detectors}, "actions": [{{"name": "{action}"}}]"#))
    };
    let drop_in = set(r#""actions": [{"name": "continue"}]"#);
    let write = |path: &str, text: &str| fs::write(path, text).expect(path);
    let _meminfo = FakeMeminfo::mount(PLENTY_MIB);
    write(FILE, &base("stop"));
    fs::create_dir(DIR).expect(DIR);
    let guard = begin(journal, start, &[LIMIT, &["--rules", FILE, "--rules-dir", DIR, "--interval", "1"]]);
    guard.send(Signal::HUP);
    journal.expect("read again, and are the same");
    write(FILE, &base("continue"));
    guard.send(Signal::HUP);
    journal.expect("the rules were read again: ");
    write(FILE, "{");
    guard.send(Signal::HUP);
    journal.expect("rules.json:1:2: found the end of the file");
    journal.expect("those that were there stay");
    write("/run/rules.d/a", &drop_in);
    journal.expect("in force: \"n\" by a \"n\"");
    fs::remove_file("/run/rules.d/a").expect("a file");
    journal.expect("in force: \"n\"");
    write("/run/rules.d/b", "[]");
    journal.expect("b:1:1: found an array");
    fs::remove_dir_all(DIR).expect(DIR);
    fs::create_dir(DIR).expect(DIR);
    write("/run/rules.d/c", &drop_in);
    journal.expect("in force: \"n\" by c \"n\"");
    guard.look(journal);
    guard.end();
}

/// A command that is sent a signal and ends. It starts no process: what those call
/// would be taken for the guard's.
pub fn command(journal: &mut Journal, start: Start<'_>) {
    let guard = start(journal, &[&["--dry-run", "--", "sleep", "1000"]]);
    journal.expect("watching");
    eventually("it sleeps", || !living("sleep").is_empty());
    guard.send(Signal::TERM);
    assert_eq!(guard.exit().code(), Some(143));
}

/// In the background, as root's daemon: with a pidfile.
pub fn daemon(journal: &mut Journal, start: Start<'_>) {
    let _log = fake("/dev/kmsg", "");
    start(journal, &[&["--dry-run"]]).finish();
    let text = fs::read_to_string("/run/bustd.pid").expect("a pidfile");
    let pid = text.trim().parse().ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, Signal::USR1).expect("it lives");
    kill_process(pid, Signal::TERM).expect("it lives");
    // SAFETY: reaps an orphan that became our child.
    eventually(
        "it has ended",
        || unsafe { libc::waitpid(pid.as_raw_pid(), std::ptr::null_mut(), libc::WNOHANG) } != 0,
    );
    uncover("/dev/kmsg");
}

/// A rule that kills a cgroup, and tells so in its attributes; nothing where no cgroup can
/// be made.
pub fn rules_that_kill(journal: &mut Journal, start: Start<'_>) {
    const FILE: &str = "/run/rules.json";
    let Some(slice) = Confined::new(Hierarchy::V2) else { return };
    let _meminfo = FakeMeminfo::mount(PLENTY_MIB);
    let doomed = slice.below("doomed");
    let mut dying = Eater::named("dying").mib(1).start(journal);
    doomed.take(dying.pid());
    let path = slice.path.trim_start_matches('/');
    let action = format!(
        r#"{{"name": "kill_by_pressure", "args": {{"cgroup": "{path}/*", "resource": "memory", "recursive": true}}}}"#
    );
    let group = r#"["g", {"name": "swap_free", "args": {"threshold_pct": 1}}], ["h", {"name": "continue"}]"#;
    let set = format!(r#"{{"name": "n", "detectors": [{group}], "actions": [{action}]}}"#);
    fs::write(FILE, format!(r#"{{"rulesets": [{set}]}}"#)).expect(FILE);
    let guard = begin(journal, start, &[LIMIT, &["--rules", FILE, "--interval", "1"]]);
    journal.expect("killer:kill_by_pressure");
    assert_eq!(dying.death(), Some(libc::SIGKILL));
    journal.expect(" died ");
    guard.look(journal);
    guard.end();
}
