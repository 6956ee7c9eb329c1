//! What real processes do.

use crate::harness::{
    ASK, Breeder, Eater, FORCE, FakeMeminfo, Guard, Journal, NOBODY, ONCE, in_namespace,
    in_namespace_with_users, living, within,
};
use crate::{actor, chosen, count, line_within, map, mount_many, rest, set_comm};
use rustix::process::Pid;
use std::ffi::c_void;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(10);
/// The processor time that a guard may need between two looks, without optimisation.
const PROMPT: Duration = Duration::from_millis(150);
/// Between two questions, for a journal that can be read.
const LOOKS: Duration = Duration::from_millis(20);
pub const LIMIT: &[&str] = &["--no-daemon", "--verbose", "--mem", "512M,1M"];

/// The hole: shared anonymous memory of two is nobody's, since neither maps
/// twice as much as the other, so the first innocent in the ranking dies, and
/// the next, and the memory stays.
#[test]
fn mappers_of_shared_memory_die_before_innocents() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let share = || {
            let memory = map(200, libc::MAP_SHARED);
            // SAFETY: there is one thread, and the memory is as long as that.
            unsafe {
                if libc::fork() == 0 {
                    // What a child does not touch it does not map.
                    libc::memset(memory, 2, 200 << 20);
                    rest();
                }
                let last = memory.cast::<u8>().add((200 << 20) - 1);
                while last.read_volatile() != 2 {
                    libc::sched_yield();
                }
            }
        };
        actor("sharer", share);
        assert_eq!(living("sharer").len(), 2);
        let mut innocent = Eater::named("innocent").start(&journal);
        // Memory stays short, so that in the end everybody dies.
        let guard = Guard::start(&journal, &[FORCE]);
        assert!(innocent.death().is_some());
        line_within(PATIENCE, &mut journal, "\"innocent\"", " died ").expect("the guard tells of it");
        let lines = journal.lines();
        let of_innocent = lines.iter().position(|line| chosen(line).contains("\"innocent\""));
        let before = &lines[..of_innocent.expect("it was killed")];
        let is_death = |line: &&String| line.contains("\"sharer\"") && line.contains(" died ");
        let dead = before.iter().filter(is_death).map(|line| if line.contains(" more ") { 2 } else { 1 });
        let dead: i32 = dead.sum();
        assert_eq!(dead, 2, "of two sharers so many died before the innocent");
        guard.end();
    });
}

/// The hole: two processes with one address space are two candidates, each with
/// all of the memory, and killing one frees nothing.
#[test]
fn who_shares_an_address_space_dies_as_one() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let double = || {
            map(80, libc::MAP_PRIVATE);
            let stack = Box::leak(vec![0_u8; 64 << 10].into_boxed_slice());
            let flags = libc::CLONE_VM | libc::SIGCHLD;
            // SAFETY: the child has a stack of its own, and its end.
            let pid = unsafe {
                let end = stack.as_mut_ptr().add(stack.len()).cast();
                libc::clone(twin, end, flags, std::ptr::null_mut())
            };
            assert!(pid > 0, "clone");
        };
        actor("twin", double);
        let is_there = || living("twin").len() == 2;
        within(PATIENCE, is_there).expect("both are called so");
        let innocent = Eater::named("innocent").start(&journal);
        Guard::start(&journal, &[ASK, ONCE]).finish();
        let line = journal.expect("killing pid");
        assert!(chosen(&line).contains("\"twin\""), "{line:?}");
        // It was reported dead only once the memory was free.
        let alive = living("twin").len();
        assert!(line.contains("; next: pid") && line.contains("\"innocent\""), "counted twice: {line:?}");
        assert_eq!(alive, 0, "so many still have the memory after\n{}", journal.lines().join("\n"));
        innocent.expect_unharmed(&mut journal);
    });
}

extern "C" fn twin(_: *mut c_void) -> i32 {
    set_comm(c"twin");
    rest()
}

/// The hole: a survey that fails, for want of a descriptor, leaves an empty
/// table, and to the next everybody has grown by all that they have. So the
/// largest dies instead of who grew.
#[test]
fn a_survey_that_fails_forgets_nobody() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(620);
        let large = Eater::named("large").mib(120).start(&journal);
        let mut culprit = Eater::named("culprit").mib(20).growing_by(40).start(&journal);
        let guard = Guard::watching(&mut journal, &[LIMIT]);
        guard.look(&mut journal);
        guard.look(&mut journal);

        let before = limit_open_files(&guard, 4);
        // So much less that it has to look who has grown, and cannot.
        meminfo.set_available(600);
        // A survey is due 100 ms after the last at the earliest; when it takes
        // place nobody tells.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(400) {
            guard.look(&mut journal);
            sleep(LOOKS);
        }
        limit_open_files(&guard, before);

        culprit.grow(&mut journal);
        meminfo.set_available(500);
        let line = line_within(PATIENCE, &mut journal, "killing pid", "").expect("somebody is chosen");
        assert!(chosen(&line).contains("\"culprit\""), "{line:?}");
        assert_eq!(culprit.death(), Some(libc::SIGTERM));
        guard.end();
        large.expect_unharmed(&mut journal);
    });
}

/// Sets the guard's soft limit of open files; returns what it was.
fn limit_open_files(guard: &Guard, most: u64) -> u64 {
    let pid = guard.pid().as_raw_pid();
    // SAFETY: valid limits, read and written.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &mut limit), 0);
        let before = limit.rlim_cur;
        limit.rlim_cur = most;
        assert_eq!(libc::prlimit(pid, libc::RLIMIT_NOFILE, &limit, std::ptr::null_mut()), 0);
        before
    }
}

/// The hole: after "nobody to kill" nothing is decided for a second, though
/// memory falls below the KILL limit in it.
#[test]
fn below_the_kill_limit_nothing_is_waited_for() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(400);
        let mut large = Eater::named("large").mib(100).start(&journal);
        let mut middle = Eater::named("middle").mib(60).start(&journal);
        let guard = Guard::start(&journal, &[&["--no-daemon", "--verbose", "--mem", "512M,256M"]]);
        journal.expect("\"large\" died ");
        journal.expect("but memory has not become less since the last kill");
        meminfo.set_available(100);
        let is_middle = |line: &String| chosen(line).contains("\"middle\"");
        let took = within(PATIENCE, || journal.lines().iter().any(is_middle)).expect("the next is killed");
        assert_eq!((large.death(), middle.death()), (Some(libc::SIGTERM), Some(libc::SIGKILL)));
        guard.end();
        assert!(took < Duration::from_millis(700), "it took {took:?}");
    });
}

/// The hole: the mounts of a writer's namespace are read once for each of its
/// first 256 files, however many they are, and nobody is looked after meanwhile.
#[test]
fn many_mounts_of_a_writer_do_not_hold_the_guard() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(600);
        // On no tmpfs, so that the search goes through all of them.
        let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/hostile-mounts");
        let files = (0..256).map(|_| {
            let mut file = File::create(path).expect("a file");
            file.seek(SeekFrom::Start(8192)).expect("a position past the first page");
            file
        });
        let files: Vec<File> = files.collect();
        let mut nowhere = File::options().write(true).open("/dev/null").expect("/dev/null");
        let writer = actor("writer", || {
            mount_many(3000);
            // It goes on writing what no disk sees.
            // SAFETY: there is one thread.
            if unsafe { libc::fork() } != 0 {
                return;
            }
            let block = [1; 256 << 10];
            loop {
                let _ = nowhere.write_all(&block);
                sleep(Duration::from_millis(1));
            }
        });
        drop(files);
        assert!(std::fs::read_to_string(format!("/proc/{writer}/mountinfo")).unwrap().lines().count() > 3000);
        let guard = Guard::watching(&mut journal, &[LIMIT]);
        guard.look(&mut journal);
        // All that is gone went to tmpfs, so it looks for who writes there.
        meminfo.set(500, 100);
        let mut worst = Duration::ZERO;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(3) && worst < PROMPT {
            sleep(LOOKS);
            let before = guard.processor_time();
            guard.look(&mut journal);
            worst = worst.max(guard.processor_time() - before);
        }
        journal.expect_none("killing pid");
        guard.end();
        assert!(worst < PROMPT, "{worst:?} between two looks");
    });
}

/// The hole: a name is what any user calls a process. To be so called must
/// protect a user's own from that user's guard only; from root's guard a bare
/// name protects root's processes and those of system users, below uid 1000.
#[test]
fn a_name_protects_no_ordinary_user_from_root() {
    in_namespace_with_users(|| {
        let mut journal = Journal::new();
        let roots = Eater::named("roots").comm("sshd").mib(120).start(&journal);
        let systems = Eater::named("systems").comm("sshd").mib(110).uid(101).start(&journal);
        let mut hog = Eater::named("hog").comm("sshd").mib(80).uid(NOBODY).start(&journal);
        let innocent = Eater::named("innocent").start(&journal);
        Guard::start(&journal, &[ASK, ONCE, &["--unkillables", "sshd"]]).finish();
        let line = journal.expect("killing pid");
        assert!(line.contains(&format!("killing pid {} ", hog.pid())), "not the hog: {line:?}");
        assert_eq!(hog.death(), Some(libc::SIGTERM));
        [roots, systems, innocent].iter().for_each(|eater| eater.expect_unharmed(&mut journal));
    });
}

/// The hole: within a session any process joins any group, so --kill-pgroup
/// kills the processes of other users that the victim has joined.
#[test]
fn a_group_is_killed_for_its_user_only() {
    in_namespace_with_users(|| {
        let mut journal = Journal::new();
        let roots = Eater::named("roots").mib(1).group(0).start(&journal);
        let group = roots.pid().as_raw_pid();
        let mut hog = Eater::named("hog").mib(80).uid(NOBODY).group(group).start(&journal);
        let mut helper = Eater::named("helper").mib(1).uid(NOBODY).group(group).start(&journal);
        Guard::start(&journal, &[ASK, ONCE, &["--kill-pgroup"]]).finish();
        journal.expect("\"hog\" died ");
        assert_eq!((hog.death(), helper.death()), (Some(libc::SIGTERM), Some(libc::SIGTERM)));
        journal.expect_none("roots: SIGTERM");
        roots.expect_unharmed(&mut journal);
    });
}

/// A breeder's children are one job; that of another user is none of it.
/// Nothing fails here today: it guards what the two above must not break.
#[test]
fn a_spawn_burst_is_still_found_by_name_and_group() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(600);
        let breeder = Breeder::start(&journal, "mite", 0, 50);
        let guard = Guard::watching(&mut journal, &[LIMIT]);
        guard.look(&mut journal);
        meminfo.set_available(500);
        journal.expect("\"mite\" and 49 more of its job died ");
        guard.end();
        assert_eq!(living("breeder"), [breeder.pid()]);
    });
}

/// What a user does who keeps a hog's memory: traces one of its threads and waits
/// for none. Returns once the hog has `mib` MiB and is traced.
fn traced_hog(mib: usize, traced: Traced) {
    actor("holder", move || {
        let (mut ready, mut told) = std::io::pipe().expect("pipe");
        // SAFETY: what the child does needs no thread of its parent's.
        let hog = unsafe { libc::fork() };
        if hog == 0 {
            set_comm(c"hog");
            map(mib, libc::MAP_PRIVATE);
            let thread = std::thread::spawn(move || {
                // SAFETY: takes nothing.
                let tid = unsafe { libc::gettid() };
                told.write_all(&tid.to_ne_bytes()).expect("the tracer lives");
                rest()
            });
            thread.join().expect("it never ends");
        }
        let mut tid = [0; 4];
        std::io::Read::read_exact(&mut ready, &mut tid).expect("the hog lives");
        let (whom, option) = match traced {
            Traced::AtExit => (hog, libc::PTRACE_O_TRACEEXIT),
            Traced::Thread => (i32::from_ne_bytes(tid), 0),
            Traced::ThreadAtExit => (i32::from_ne_bytes(tid), libc::PTRACE_O_TRACEEXIT),
        };
        let none = std::ptr::null_mut::<c_void>();
        // SAFETY: no memory is read or written.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SEIZE, whom, none, option) }, 0, "ptrace");
    });
}

/// Which thread is traced, and what for.
#[derive(Clone, Copy, PartialEq)]
enum Traced {
    /// The first, to be stopped on its way out.
    AtExit,
    /// A second one, which stays a zombie.
    Thread,
    /// A second one, to be stopped on its way out.
    ThreadAtExit,
}

/// Below the KILL limit, until the hog is dead.
fn judge_traced_hog(traced: Traced) {
    in_namespace(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(400);
        traced_hog(100, traced);
        let innocent = Eater::named("innocent").start(&journal);
        let guard = Guard::start(&journal, &[&["--no-daemon", "--mem", "512M,500M"]]);
        let line = line_within(PATIENCE, &mut journal, "killing pid", "").expect("somebody is chosen");
        assert!(chosen(&line).contains("\"hog\""), "{line:?}");
        let died = line_within(PATIENCE, &mut journal, "\"hog\"", " died ");
        meminfo.set_available(900);
        died.expect("a hog that is not held for ever");
        let lines = journal.lines().join("\n");
        assert_eq!(lines.contains("is held by its tracer; killed pid"), traced != Traced::Thread, "{lines}");
        guard.end();
        innocent.expect_unharmed(&mut journal);
    });
}

/// The hole: who traces a hog stops it on its way out with all its memory; two
/// seconds later an innocent is chosen in its place.
#[test]
fn a_tracer_does_not_keep_its_users_hog_alive() {
    judge_traced_hog(Traced::AtExit);
}

/// The same with a thread that is not the first.
#[test]
fn nor_does_one_that_traces_a_thread() {
    judge_traced_hog(Traced::ThreadAtExit);
}

/// The hole: a zombie thread whose tracer does not wait for it keeps the pidfd
/// silent, though all memory is free; and an innocent is chosen.
#[test]
fn a_zombie_that_has_no_memory_left_is_dead() {
    judge_traced_hog(Traced::Thread);
}

/// The hole: two processes with one memory were taken for two where their user
/// was not the same, or where the memory changed between the two readings.
#[test]
fn who_shares_an_address_space_dies_as_one_whoever_it_is() {
    in_namespace_with_users(|| {
        let mut journal = Journal::new();
        let double = || {
            map(80, libc::MAP_PRIVATE);
            let stack = Box::leak(vec![0_u8; 64 << 10].into_boxed_slice());
            // SAFETY: the child has a stack of its own, and its end.
            let pid = unsafe {
                let end = stack.as_mut_ptr().add(stack.len()).cast();
                libc::clone(twin_of_nobody, end, libc::CLONE_VM | libc::SIGCHLD, std::ptr::null_mut())
            };
            assert!(pid > 0, "clone");
        };
        actor("twin", double);
        let is_nobodys = |pid: &Pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
            status.is_ok_and(|status| status.contains(&format!("Uid:\t{NOBODY}\t")))
        };
        within(PATIENCE, || living("twin").iter().any(is_nobodys)).expect("it is another user's");
        let innocent = Eater::named("innocent").start(&journal);
        Guard::start(&journal, &[ASK, ONCE]).finish();
        let line = journal.expect("killing pid");
        assert!(chosen(&line).contains("\"twin\""), "{line:?}");
        assert!(line.contains("; next: pid") && line.contains("\"innocent\""), "counted twice: {line:?}");
        assert_eq!(living("twin"), []);
        innocent.expect_unharmed(&mut journal);
    });
}

extern "C" fn twin_of_nobody(_: *mut c_void) -> i32 {
    set_comm(c"twin");
    // SAFETY: no pointers; the system call, for this process alone.
    unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
    rest()
}

/// The hole: only the first threads were looked at for memory once the leader had
/// exited, and a tracer that waits for none keeps as many zombies before the one
/// that has it as it likes.
#[test]
fn zombie_threads_hide_no_memory() {
    in_namespace(|| {
        const ZOMBIES: usize = 150;
        let mut journal = Journal::new();
        actor("holder", || {
            let (mut ready, mut told) = std::io::pipe().expect("pipe");
            let (go, mut start) = std::io::pipe().expect("pipe");
            // SAFETY: what the child does needs no thread of its parent's.
            if unsafe { libc::fork() } == 0 {
                set_comm(c"hog");
                map(100, libc::MAP_PRIVATE);
                let zombie = |go: std::io::PipeReader| {
                    let _ = std::io::Read::read(&mut &go, &mut [0]);
                    // SAFETY: ends this thread only.
                    unsafe { libc::syscall(libc::SYS_exit, 0) };
                };
                for _ in 0..ZOMBIES {
                    let (mut told, go) = (told.try_clone().unwrap(), go.try_clone().unwrap());
                    std::thread::spawn(move || {
                        // SAFETY: takes nothing.
                        let tid = unsafe { libc::gettid() };
                        told.write_all(&tid.to_ne_bytes()).expect("the tracer lives");
                        zombie(go);
                    });
                }
                std::thread::spawn(|| rest());
                // SAFETY: takes nothing.
                let tid = unsafe { libc::gettid() };
                told.write_all(&tid.to_ne_bytes()).expect("the tracer lives");
                zombie(go);
            }
            let mut tids = vec![0; 4 * (ZOMBIES + 1)];
            std::io::Read::read_exact(&mut ready, &mut tids).expect("the hog lives");
            let none = std::ptr::null_mut::<c_void>();
            for tid in tids.chunks(4) {
                let tid = i32::from_ne_bytes(tid.try_into().unwrap());
                // SAFETY: no memory is read or written.
                assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SEIZE, tid, none, 0) }, 0, "ptrace");
            }
            start.write_all(&[1; ZOMBIES + 1]).expect("write");
        });
        let hog = living("hog")[0];
        let zombies = || {
            let tasks = std::fs::read_dir(format!("/proc/{hog}/task")).expect("it lives");
            let stat = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("stat"));
            tasks.flatten().filter_map(|task| stat(task).ok()).filter(|s| s.contains(") Z ")).count()
        };
        within(PATIENCE, || zombies() == ZOMBIES + 1).expect("all are zombies");
        let innocent = Eater::named("innocent").start(&journal);
        Guard::start(&journal, &[ASK, ONCE]).finish();
        let line = journal.expect("killing pid");
        assert!(chosen(&line).contains("\"hog\""), "{line:?}");
        innocent.expect_unharmed(&mut journal);
    });
}

/// Somebody takes memory that is in no process's figures, while a large one is
/// steady; `part` is what it does, and `shmem_mib` what shows of it as `Shmem`.
fn judge_hidden(shmem_mib: u64, what: &str, part: impl FnOnce()) {
    in_namespace(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(600);
        let large = Eater::named("large").mib(80).start(&journal);
        let guard = Guard::watching(&mut journal, &[LIMIT]);
        guard.look(&mut journal);
        let hider = actor("hider", part);
        meminfo.set(500, shmem_mib);
        let line = line_within(PATIENCE, &mut journal, "killing pid", "").expect("somebody is chosen");
        assert!(chosen(&line).contains("\"hider\"") && line.contains(what), "{line:?}");
        let status = rustix::process::waitpid(Some(hider), rustix::process::WaitOptions::empty());
        assert!(status.is_ok());
        guard.end();
        large.expect_unharmed(&mut journal);
    });
}

/// The hole: what pipes hold is nobody's, and the largest died for it.
#[test]
fn who_fills_pipes_dies_and_not_who_is_large() {
    judge_hidden(0, "ends of pipes and sockets", || {
        let limit = libc::rlimit { rlim_cur: 5000, rlim_max: 5000 };
        // SAFETY: a valid limit, for this process alone.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0, "setrlimit");
        (0..2000).for_each(|_| std::mem::forget(std::io::pipe().expect("pipe")));
    });
}

/// What nothing is written to with write(2) and its like.
pub fn fill_without_writing(file: &File) {
    use std::os::fd::AsRawFd;
    // SAFETY: an open file.
    assert_eq!(unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, 80 << 20) }, 0, "fallocate");
}

/// The hole: who fills a tmpfs without writing to it was nobody.
#[test]
fn who_fills_a_tmpfs_without_writing_dies() {
    judge_hidden(100, "of tmpfs open", || {
        let file = File::create(format!("{}/filled", crate::harness::SCRATCH)).expect("a file");
        fill_without_writing(&file);
        std::mem::forget(file);
    });
}

/// A memfd is on a tmpfs that no mountinfo lists.
#[test]
fn who_fills_a_memfd_dies() {
    judge_hidden(100, "of tmpfs open", || {
        // SAFETY: a C string.
        let raw = unsafe { libc::memfd_create(c"filled".as_ptr(), 0) };
        assert!(raw >= 0, "memfd_create");
        // SAFETY: ours, and open.
        let file = unsafe { <File as std::os::fd::FromRawFd>::from_raw_fd(raw) };
        fill_without_writing(&file);
        std::mem::forget(file);
    });
}

// What follows falls into holes that were open when it was written.

pub const BELOW_KILL: &[&str] = &["--no-daemon", "--verbose", "--mem", "512M,500M"];

/// Whom the guard began to kill so far, in order.
pub fn choices(journal: &mut Journal) -> Vec<String> {
    journal.lines().iter().map(|line| chosen(line).to_owned()).filter(|line| !line.is_empty()).collect()
}

fn trace_exit(whom: i32) {
    let none = std::ptr::null_mut::<c_void>();
    // SAFETY: no memory is read or written.
    let answer = unsafe { libc::ptrace(libc::PTRACE_SEIZE, whom, none, libc::PTRACE_O_TRACEEXIT) };
    assert_eq!(answer, 0, "ptrace");
}

/// The hole: the tracer of a hog is itself stopped on its way out by another. It is
/// killed anew in every step, before it is asked whether the victim is to be given
/// up, so the kill never ends and nobody else is ever chosen.
#[test]
fn a_tracer_that_is_traced_itself_does_not_hold_the_guard_for_ever() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let _meminfo = FakeMeminfo::mount(400);
        actor("warden", || {
            let (mut ready, mut told) = std::io::pipe().expect("pipe");
            // SAFETY: there is one thread.
            let holder = unsafe { libc::fork() };
            if holder == 0 {
                set_comm(c"holder");
                let (mut hog_ready, mut hog_told) = std::io::pipe().expect("pipe");
                // SAFETY: there is one thread.
                let hog = unsafe { libc::fork() };
                if hog == 0 {
                    set_comm(c"hog");
                    map(100, libc::MAP_PRIVATE);
                    hog_told.write_all(b"1").expect("the tracer lives");
                    rest();
                }
                std::io::Read::read_exact(&mut hog_ready, &mut [0]).expect("the hog lives");
                trace_exit(hog);
                told.write_all(b"1").expect("the warden lives");
                rest();
            }
            std::io::Read::read_exact(&mut ready, &mut [0]).expect("the holder lives");
            trace_exit(holder);
        });
        let _other = Eater::named("other").start(&journal);
        let guard = Guard::start(&journal, &[BELOW_KILL]);
        let line = line_within(PATIENCE, &mut journal, "killing pid", "").expect("somebody is chosen");
        assert!(chosen(&line).contains("\"hog\""), "{line:?}");
        let is_over = || choices(&mut journal).len() > 1 || count(&mut journal, "\"hog\"", " died ") > 0;
        let is_over = within(PATIENCE, is_over).is_some();
        let signalled = count(&mut journal, "is held by its tracer; killed pid", "");
        guard.end();
        assert!(is_over, "after {PATIENCE:?} the hog lives, {signalled} times its tracer was killed");
    });
}

/// The hole: a search through open files that takes longer than two seconds begins
/// anew, for ever; nobody is killed meanwhile, not even below the KILL limit.
#[test]
fn many_descriptors_do_not_put_a_kill_off_for_ever() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(600);
        let hider = || {
            // SAFETY: a C string; ours, and open.
            let raw = unsafe { libc::memfd_create(c"filled".as_ptr(), 0) };
            // SAFETY: ours, and open.
            let file = unsafe { <File as std::os::fd::FromRawFd>::from_raw_fd(raw) };
            fill_without_writing(&file);
            std::mem::forget(file);
        };
        let guard = Guard::watching(&mut journal, &[BELOW_KILL]);
        guard.look(&mut journal);
        actor("hider", hider);
        actor("crowd", || {
            // SAFETY: a valid limit; descriptors of our own; children that share them.
            unsafe {
                let limit = libc::rlimit { rlim_cur: 19_000, rlim_max: 19_000 };
                assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0, "setrlimit");
                let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY);
                while libc::dup(null) >= 0 {}
                for _ in 0..400 {
                    let flags = libc::CLONE_FILES | libc::SIGCHLD;
                    if libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) == 0 {
                        rest();
                    }
                }
            }
        });
        meminfo.set(400, 100);
        let line = line_within(PATIENCE, &mut journal, "killing pid", "");
        guard.end();
        let line = line.expect("somebody is chosen");
        assert!(chosen(&line).contains("\"hider\""), "{line:?}");
    });
}

/// The hole: fdinfo lists the locks that a process has on the file, as many as it
/// likes, and is read of 32 files however late it is.
#[test]
fn many_locks_do_not_hold_the_guard() {
    in_namespace(|| {
        const LOCKS: i64 = 30_000;
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(600);
        let guard = Guard::watching(&mut journal, &[LIMIT]);
        guard.look(&mut journal);
        actor("locker", || {
            use std::os::fd::AsRawFd;
            let file = File::create(format!("{}/locked", crate::harness::SCRATCH)).expect("a file");
            // The last first: then each finds its place at once.
            for at in (0..LOCKS).rev() {
                // SAFETY: a valid lock.
                unsafe {
                    let mut lock: libc::flock = std::mem::zeroed();
                    (lock.l_type, lock.l_start, lock.l_len) = (libc::F_WRLCK as i16, at * 2, 1);
                    assert_eq!(libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &lock), 0, "fcntl");
                }
            }
            // SAFETY: ours, and open.
            (0..200).for_each(|_| assert!(unsafe { libc::dup(file.as_raw_fd()) } > 0, "dup"));
            std::mem::forget(file);
        });
        meminfo.set(500, 100);
        let mut worst = Duration::ZERO;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(3) {
            sleep(LOOKS);
            let before = guard.processor_time();
            guard.look(&mut journal);
            worst = worst.max(guard.processor_time() - before);
        }
        guard.end();
        assert!(worst < PROMPT, "{worst:?} between two looks");
    });
}

/// The hole: what is known of a mount is remembered by its number for everybody. Who
/// holds a file of the disk's mount, in a namespace where that is not, with so many
/// mounts that it cannot be told, has the disk taken for a tmpfs; and whoever has a
/// large file there dies.
#[test]
fn a_disk_is_not_taken_for_a_tmpfs_because_of_somebodys_mounts() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(600);
        const PATHS: [&str; 2] = [
            concat!(env!("CARGO_TARGET_TMPDIR"), "/hostile-poison"),
            concat!(env!("CARGO_TARGET_TMPDIR"), "/hostile-database"),
        ];
        actor("poisoner", || {
            std::mem::forget(File::create(PATHS[0]).expect("a file"));
            mount_many(3000);
        });
        let server = actor("server", || {
            let file = File::create(PATHS[1]).expect("a file");
            fill_without_writing(&file);
            std::mem::forget(file);
            map(20, libc::MAP_PRIVATE);
        });
        let guard = Guard::watching(&mut journal, &[BELOW_KILL]);
        guard.look(&mut journal);
        // Somebody had a file on a tmpfs, and closed it.
        let _hog = Eater::named("larger").mib(60).start(&journal);
        meminfo.set(400, 150);
        let line = line_within(PATIENCE, &mut journal, "killing pid", "").expect("somebody is chosen");
        guard.end();
        PATHS.iter().for_each(|path| drop(std::fs::remove_file(path)));
        assert!(!line.contains("of tmpfs open"), "{server} has a file on a disk: {line:?}");
    });
}

/// The hole: of many descriptors each nth is looked at, and anybody can work out which.
#[test]
fn who_knows_which_descriptors_are_looked_at_does_not_hide_the_others() {
    judge_hidden(0, "ends of pipes and sockets", || {
        const DESCRIPTORS: i32 = 2000;
        let every = (DESCRIPTORS + 2) / 128 + 1;
        // The two before them are the directory and its parent; one of the actor's own
        // is closed in the end.
        let is_seen = |fd: i32| (fd + 2) % every == 0;
        // SAFETY: a valid limit; descriptors of our own.
        unsafe {
            let limit = libc::rlimit { rlim_cur: 5000, rlim_max: 5000 };
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0, "setrlimit");
            let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY);
            loop {
                let next = libc::dup(null);
                if next >= DESCRIPTORS - 1 {
                    break;
                }
                if !is_seen(next) && !is_seen(next + 1) {
                    libc::close(next);
                    let mut ends = [0; 2];
                    assert_eq!(libc::pipe(ends.as_mut_ptr()), 0, "pipe");
                }
            }
        }
    });
}

/// The hole: two that hold the same pipes free them only when both are dead. After the
/// first the account is settled, nothing is missing, and the largest dies.
#[test]
fn who_holds_the_same_pipes_dies_before_an_innocent() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(600);
        let _large = Eater::named("large").mib(80).start(&journal);
        let guard = Guard::watching(&mut journal, &[BELOW_KILL]);
        guard.look(&mut journal);
        actor("hider", || {
            let limit = libc::rlimit { rlim_cur: 5000, rlim_max: 5000 };
            // SAFETY: a valid limit, for this process alone.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0, "setrlimit");
            (0..2000).for_each(|_| std::mem::forget(std::io::pipe().expect("pipe")));
            // SAFETY: there is one thread.
            if unsafe { libc::fork() } == 0 {
                rest();
            }
        });
        meminfo.set_available(400);
        within(PATIENCE, || choices(&mut journal).len() > 1).expect("two are chosen");
        guard.end();
        let choices = choices(&mut journal);
        assert!(choices[..2].iter().all(|line| line.contains("\"hider\"")), "{choices:#?}");
    });
}

/// The hole: where a quarter of memory is in tmpfs, for however long, and a victim that
/// has nothing to do with it was small, nobody else is killed below the KILL limit.
#[test]
fn a_tmpfs_that_was_there_before_spares_nobody() {
    in_namespace(|| {
        const MUCH_MIB: u64 = 300_000_000;
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(600);
        meminfo.set(600, MUCH_MIB);
        let _first = Eater::named("first").mib(80).start(&journal);
        let _second = Eater::named("second").mib(60).start(&journal);
        let guard = Guard::watching(&mut journal, &[BELOW_KILL]);
        guard.look(&mut journal);
        meminfo.set(400, MUCH_MIB);
        let is_second = within(PATIENCE, || choices(&mut journal).len() > 1).is_some();
        guard.end();
        assert!(is_second, "only {:?} was killed, and memory is below the KILL limit", choices(&mut journal));
    });
}

/// The hole: VmHWM counts pages of files as often as they are mapped. Who maps a small
/// one many times, and unmaps it, had as much memory "before" as it likes, and what it
/// takes from then on counts for a quarter.
#[test]
fn who_maps_a_file_often_has_not_had_that_memory() {
    in_namespace_with_users(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(600);
        let large = Eater::named("large").mib(200).start(&journal);
        let (mut go, mut start) = std::io::pipe().expect("pipe");
        let (mut told, mut tell) = std::io::pipe().expect("pipe");
        let starter = actor("starter", || {
            // SAFETY: there is one thread.
            if unsafe { libc::fork() } != 0 {
                return;
            }
            set_comm(c"hog");
            map(20, libc::MAP_PRIVATE);
            map_often(2 << 30);
            // SAFETY: no pointers; the system call, for this process alone.
            unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
            tell.write_all(b"1").expect("the test lives");
            std::io::Read::read_exact(&mut go, &mut [0]).expect("the test lives");
            map(50, libc::MAP_PRIVATE);
            tell.write_all(b"1").expect("the test lives");
            rest();
        });
        assert!(starter.as_raw_pid() > 1);
        std::io::Read::read_exact(&mut told, &mut [0]).expect("the hog lives");
        let guard = Guard::watching(&mut journal, &[LIMIT]);
        guard.look(&mut journal);
        start.write_all(b"1").expect("the hog lives");
        std::io::Read::read_exact(&mut told, &mut [0]).expect("the hog lives");
        // 70 MiB, 50 of them new: 470 against 200.
        meminfo.set_available(511);
        let line = line_within(PATIENCE, &mut journal, "killing pid", "").expect("somebody is chosen");
        guard.end();
        assert!(chosen(&line).contains("\"hog\""), "{line:?}");
        large.expect_unharmed(&mut journal);
    });
}

/// Maps the program's own file so often that so much of it is resident, and unmaps it.
fn map_often(bytes: usize) {
    use std::os::fd::AsRawFd;
    let file = File::open("/proc/self/exe").expect("a file");
    let len = file.metadata().expect("its length").len() as usize;
    let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
    let none = std::ptr::null_mut();
    // SAFETY: new mappings, and no others are unmapped.
    unsafe {
        let map_it = |_| libc::mmap(none, len, libc::PROT_READ, flags, file.as_raw_fd(), 0);
        let maps: Vec<_> = (0..bytes / len).map(map_it).collect();
        maps.into_iter().for_each(|memory| assert_eq!(libc::munmap(memory, len), 0));
    }
}

/// The hole: 32 files are looked at however late it is, and for each that is on a mount
/// of its own, mountinfo is read for 10 ms.
#[test]
fn files_on_many_mounts_do_not_hold_the_guard() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(600);
        let guard = Guard::watching(&mut journal, &[LIMIT]);
        guard.look(&mut journal);
        actor("mounter", || {
            mount_many(3000);
            for mount in 2800..3000 {
                std::mem::forget(File::create(format!("/mnt/{mount}/file")).expect("a file"));
            }
        });
        meminfo.set(500, 100);
        let mut worst = Duration::ZERO;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(3) {
            sleep(Duration::from_millis(5));
            let before = guard.processor_time();
            guard.look(&mut journal);
            worst = worst.max(guard.processor_time() - before);
        }
        guard.end();
        assert!(worst < PROMPT, "{worst:?} between two looks");
    });
}
