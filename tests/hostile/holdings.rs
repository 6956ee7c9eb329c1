//! What processes hold by their open files, and how they hide it.

use crate::deeds::{BELOW_KILL, LIMIT, PATIENCE, choices, fill_without_writing};
use crate::harness::{
    Eater, FakeMeminfo, Guard, Journal, NOBODY, SCRATCH, in_namespace, in_namespace_with_users,
};
use crate::{actor, chosen, line_within, map, mount_many, rest, set_comm};
use std::ffi::{CString, c_char};
use std::fs::File;
use std::ptr::null;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// Fills a tmpfs in a mount namespace of its own, which `mount` makes; a steady process
/// is larger than that.
fn judge_hidden_tmpfs(mount: impl FnOnce()) {
    in_namespace(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(600);
        let large = Eater::named("large").mib(120).start(&journal);
        let guard = Guard::watching(&mut journal, &[BELOW_KILL]);
        guard.look(&mut journal);
        actor("hider", mount);
        meminfo.set(400, 100);
        let line = line_within(PATIENCE, &mut journal, "killing pid", "").expect("somebody is chosen");
        guard.end();
        assert!(chosen(&line).contains("\"hider\""), "{line:?}");
        large.expect_unharmed(&mut journal);
    });
}

/// A mount of a tmpfs on `path`, in a mount namespace of our own, with these options.
fn mount_tmpfs(path: &str, source: &str) {
    let (path, source) = (c_string(path), c_string(source));
    // SAFETY: C strings, and no data.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0, "unshare");
        let private = libc::MS_REC | libc::MS_PRIVATE;
        let none: *const c_char = c"none".as_ptr();
        assert_eq!(libc::mount(none, c"/".as_ptr(), null(), private, null()), 0);
        assert_eq!(libc::mount(source.as_ptr(), path.as_ptr(), c"tmpfs".as_ptr(), 0, null()), 0, "mount");
    }
}

fn c_string(text: &str) -> CString {
    CString::new(text).expect("no NUL")
}

fn fill(path: &str) {
    let file = File::create(path).expect("a file");
    fill_without_writing(&file);
    std::mem::forget(file);
}

/// The hole: a tmpfs that is mounted nowhere any more is in no mountinfo.
#[test]
fn a_tmpfs_that_was_unmounted_is_one_all_the_same() {
    judge_hidden_tmpfs(|| {
        mount_tmpfs("/mnt", "none");
        fill("/mnt/filled");
        // SAFETY: a C string.
        assert_eq!(unsafe { libc::umount2(c"/mnt".as_ptr(), libc::MNT_DETACH) }, 0, "umount");
    });
}

/// The hole: lines of mountinfo that are longer than a buffer were passed over.
#[test]
fn nor_does_a_long_name_hide_one() {
    judge_hidden_tmpfs(|| {
        mount_tmpfs("/mnt", &"n".repeat(1000));
        fill("/mnt/filled");
    });
}

/// The hole: two thousand lines of mountinfo are read, and a namespace may have fifty
/// times as many.
#[test]
fn nor_do_many_mounts() {
    judge_hidden_tmpfs(|| {
        mount_many(3000);
        mount_tmpfs("/mnt/2999", "none");
        fill("/mnt/2999/filled");
    });
}

/// Becomes an ordinary user, who may not be traced from then on.
fn become_nobody() {
    // SAFETY: no pointers; the system call, for this process alone.
    unsafe { assert_eq!(libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY), 0, "setresuid") };
}

/// The hole: what is open was taken to be its user's by who owns the links to it in
/// /proc; and that is root where a process hides from ptrace(2), as any may.
#[test]
fn who_hides_from_ptrace_hides_no_file() {
    in_namespace_with_users(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(600);
        let large = Eater::named("large").mib(120).start(&journal);
        let guard = Guard::watching(&mut journal, &[BELOW_KILL]);
        guard.look(&mut journal);
        actor("hider", || {
            become_nobody();
            // SAFETY: a C string; ours, and open.
            let raw = unsafe { libc::memfd_create(c"filled".as_ptr(), 0) };
            // SAFETY: ours, and open.
            let file = unsafe { <File as std::os::fd::FromRawFd>::from_raw_fd(raw) };
            fill_without_writing(&file);
            std::mem::forget(file);
        });
        meminfo.set(400, 100);
        let line = line_within(PATIENCE, &mut journal, "killing pid", "").expect("somebody is chosen");
        guard.end();
        assert!(chosen(&line).contains("\"hider\""), "{line:?}");
        large.expect_unharmed(&mut journal);
    });
}

/// The hole: pipes that a user has sent to a server were counted as the server's.
#[test]
fn who_was_sent_pipes_does_not_die_for_them() {
    in_namespace_with_users(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(600);
        let guard = Guard::watching(&mut journal, &[LIMIT]);
        guard.look(&mut journal);
        let server = actor("server", || {
            let limit = libc::rlimit { rlim_cur: 9000, rlim_max: 9000 };
            // SAFETY: a valid limit, for this process alone.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0, "setrlimit");
            // As if they had come through a socket: made by the user, and held by both.
            // SAFETY: takes no pointers; there is one thread.
            unsafe { assert_eq!(libc::seteuid(NOBODY), 0, "seteuid") };
            (0..2000).for_each(|_| std::mem::forget(std::io::pipe().expect("pipe")));
            // SAFETY: the same.
            unsafe {
                assert_eq!(libc::seteuid(0), 0, "seteuid");
                if libc::fork() == 0 {
                    set_comm(c"hog");
                    become_nobody();
                    rest();
                }
            }
            // And some of its own, so that it holds the most of all.
            (0..100).for_each(|_| std::mem::forget(std::io::pipe().expect("pipe")));
            map(1, libc::MAP_PRIVATE);
        });
        meminfo.set_available(500);
        let line = line_within(PATIENCE, &mut journal, "killing pid", "").expect("somebody is chosen");
        guard.end();
        assert!(chosen(&line).contains("\"hog\""), "not {server}: {line:?}");
        assert!(choices(&mut journal).iter().all(|line| !line.contains("\"server\"")));
    });
}

/// The hole: a file on a tmpfs outlives whoever maps it, and the line promised all of it.
#[test]
fn what_a_file_keeps_is_not_promised() {
    in_namespace(|| {
        let mut journal = Journal::new();
        actor("mapper", || {
            use std::os::fd::AsRawFd;
            const LEN: usize = 80 << 20;
            let file = File::create_new(format!("{SCRATCH}/mapped")).expect("a file");
            drop(file);
            let file = File::options().read(true).write(true).open(format!("{SCRATCH}/mapped")).expect("it");
            file.set_len(LEN as u64).expect("room");
            let access = libc::PROT_READ | libc::PROT_WRITE;
            // SAFETY: a new mapping, written to within its length.
            unsafe {
                let at = libc::mmap(std::ptr::null_mut(), LEN, access, libc::MAP_SHARED, file.as_raw_fd(), 0);
                assert_ne!(at, libc::MAP_FAILED, "mmap");
                libc::memset(at, 1, LEN);
            }
        });
        Guard::start(&journal, &[crate::harness::ASK, crate::harness::ONCE]).finish();
        let line = journal.expect("killing pid");
        assert!(chosen(&line).contains("\"mapper\"") && line.contains("frees up to "), "{line:?}");
    });
}

/// Where a client dies for memory that its server has mapped, the server has a second to let go of it.
#[test]
fn a_dead_clients_server_has_time_to_let_go() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(600);
        let guard = Guard::watching(&mut journal, &[LIMIT]);
        guard.look(&mut journal);
        actor("server", || {
            let at = map(80, libc::MAP_SHARED);
            let (mut told, mut tell) = std::io::pipe().expect("pipe");
            // SAFETY: there is one thread; the mapping is that long.
            unsafe {
                if libc::fork() == 0 {
                    set_comm(c"client");
                    libc::memset(at, 2, 80 << 20);
                    std::io::Write::write_all(&mut tell, b"1").expect("the server lives");
                    rest();
                }
            }
            std::io::Read::read_exact(&mut told, &mut [0]).expect("the client lives");
        });
        let began = Instant::now();
        meminfo.set(500, 100);
        let line = line_within(PATIENCE, &mut journal, "killing pid", "").expect("somebody is chosen");
        assert!(chosen(&line).contains("\"client\""), "{line:?}");
        assert!(line_within(PATIENCE, &mut journal, "\"client\"", " died ").is_some());
        assert!(line_within(PATIENCE, &mut journal, "\"server\" with SIG", "").is_some());
        assert!(began.elapsed() >= SECOND, "only {:?} after memory was short", began.elapsed());
        guard.end();
    });
}

/// The hole: a pipe may be made sixteen times as large as it is counted, and how full it
/// is cannot be asked; so few that hold much were nobody's, and the largest died. A server
/// has many more of them, which it had before.
#[test]
fn who_fills_a_few_large_pipes_dies() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(700);
        let open_many = |pipes: usize| {
            let limit = libc::rlimit { rlim_cur: 5000, rlim_max: 5000 };
            // SAFETY: a valid limit, for this process alone.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0, "setrlimit");
            (0..pipes).for_each(|_| std::mem::forget(std::io::pipe().expect("pipe")));
        };
        actor("server", || open_many(300));
        let large = Eater::named("large").mib(120).start(&journal);
        let guard = Guard::watching(&mut journal, &[LIMIT]);
        guard.look(&mut journal);
        let (mut go, mut start) = std::io::pipe().expect("pipe");
        let (mut told, mut tell) = std::io::pipe().expect("pipe");
        actor("starter", move || {
            // SAFETY: there is one thread.
            if unsafe { libc::fork() } != 0 {
                return;
            }
            set_comm(c"hider");
            open_many(40);
            std::io::Write::write_all(&mut tell, b"1").expect("the test lives");
            std::io::Read::read_exact(&mut go, &mut [0]).expect("the test lives");
            open_many(120);
            std::io::Write::write_all(&mut tell, b"1").expect("the test lives");
            rest();
        });
        std::io::Read::read_exact(&mut told, &mut [0]).expect("the hider lives");
        // It is near the limit, and what is missing is nobody's.
        meminfo.set_available(640);
        let began = std::time::Instant::now();
        while began.elapsed() < std::time::Duration::from_millis(600) {
            guard.look(&mut journal);
        }
        std::io::Write::write_all(&mut start, b"1").expect("the hider lives");
        std::io::Read::read_exact(&mut told, &mut [0]).expect("the hider lives");
        meminfo.set_available(500);
        let line = line_within(PATIENCE, &mut journal, "killing pid", "").expect("somebody is chosen");
        assert!(chosen(&line).contains("\"hider\""), "{line:?}");
        // The file does not say that memory is back, as if another still had the pipes; who
        // does cannot be found.
        let restraint = "but memory has not become less since the last kill";
        assert!(line_within(PATIENCE, &mut journal, "\"hider\"", " died ").is_some());
        assert!(line_within(PATIENCE, &mut journal, "exhaustion", restraint).is_some());
        guard.end();
        large.expect_unharmed(&mut journal);
    });
}

/// The hole: what is open through an overlay is on the overlay, whatever is below that.
/// Any user may mount one over a tmpfs, in a user namespace.
#[test]
fn who_fills_a_tmpfs_through_an_overlay_dies() {
    in_namespace_with_users(|| {
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(700);
        let large = Eater::named("large").mib(120).start(&journal);
        let guard = Guard::watching(&mut journal, &[LIMIT]);
        guard.look(&mut journal);
        let (mut told, mut tell) = std::io::pipe().expect("pipe");
        actor("starter", move || {
            // SAFETY: there is one thread.
            if unsafe { libc::fork() } != 0 {
                return;
            }
            set_comm(c"hider");
            mount_tmpfs("/mnt", "none");
            for name in ["lower", "upper", "work", "merged"] {
                std::fs::create_dir(format!("/mnt/{name}")).expect("a directory");
            }
            let options = c"lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work";
            let (kind, target) = (c"overlay".as_ptr(), c"/mnt/merged".as_ptr());
            // SAFETY: C strings.
            let answer = unsafe { libc::mount(kind, target, kind, 0, options.as_ptr().cast()) };
            assert_eq!(answer, 0, "mount");
            let mut file = File::create("/mnt/merged/filled").expect("a file");
            become_nobody();
            std::io::Write::write_all(&mut tell, b"1").expect("the test lives");
            // Over and over, so that this machine need not have as much.
            let block = vec![1; 1 << 20];
            for at in 0.. {
                std::io::Seek::seek(&mut file, std::io::SeekFrom::Start((at % 8) << 20)).expect("seek");
                std::io::Write::write_all(&mut file, &block).expect("write");
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        std::io::Read::read_exact(&mut told, &mut [0]).expect("the hider lives");
        for shmem_mib in (20..=200).step_by(20) {
            meminfo.set(700 - shmem_mib, shmem_mib);
            let began = std::time::Instant::now();
            while began.elapsed() < std::time::Duration::from_millis(150) {
                guard.look(&mut journal);
            }
        }
        let line = line_within(PATIENCE, &mut journal, "killing pid", "").expect("somebody is chosen");
        guard.end();
        assert!(chosen(&line).contains("\"hider\""), "{line:?}");
        large.expect_unharmed(&mut journal);
    });
}
