//! What keeps a guard from starting, and what should.

use crate::actor;
use crate::harness::{
    Guard, Journal, NOBODY, QUIET, SCRATCH, in_namespace, in_namespace_with_users, skip, within,
};
use rustix::process::{Signal, WaitOptions, kill_process, waitpid};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
const PIDFILE: &str = "/run/guard.pid";
const LOCKED: &[&str] = &["--pidfile", PIDFILE];

/// How a file is locked by who may only read it.
#[derive(Clone, Copy, Debug)]
enum Lock {
    /// flock(2), for oneself or with others.
    Whole(i32),
    /// fcntl(2), with others; for oneself it takes a right to write.
    Bytes,
}

impl Lock {
    fn take(self, file: &fs::File) {
        let locked = match self {
            // SAFETY: an open file.
            Self::Whole(operation) => unsafe { libc::flock(file.as_raw_fd(), operation) },
            Self::Bytes => {
                // SAFETY: all zero is a valid flock: from the start, to the end.
                let mut lock: libc::flock = unsafe { std::mem::zeroed() };
                lock.l_type = libc::F_RDLCK as _;
                // SAFETY: an open file and a valid lock.
                unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &lock) }
            }
        };
        assert_eq!(locked, 0, "{self:?}: {}", std::io::Error::last_os_error());
    }
}

/// The hole: flock(2) needs no more than a descriptor to read with, so any user
/// keeps every guard from starting by locking a pidfile that all may read, as
/// one left behind.
#[test]
fn a_lock_of_just_anybody_keeps_no_guard_from_starting() {
    in_namespace_with_users(|| {
        let mut kept = Vec::new();
        for lock in [Lock::Whole(libc::LOCK_EX), Lock::Whole(libc::LOCK_SH), Lock::Bytes] {
            let mut journal = Journal::new();
            fs::write(PIDFILE, "1234567\n").expect("a file in scratch");
            fs::set_permissions(PIDFILE, fs::Permissions::from_mode(0o644)).expect("ours");
            let locker = actor("locker", || {
                // SAFETY: no pointers.
                unsafe {
                    assert_eq!(libc::setresgid(NOBODY, NOBODY, NOBODY), 0);
                    assert_eq!(libc::setresuid(NOBODY, NOBODY, NOBODY), 0);
                }
                let file = fs::File::open(PIDFILE).expect("all may read it");
                lock.take(&file);
                std::mem::forget(file);
            });
            let guard = Guard::start(&journal, &[QUIET, LOCKED]);
            let is_refused = |journal: &mut Journal| journal.count("already running") > 0;
            let said = within(PATIENCE, || is_refused(&mut journal) || journal.count("watching") > 0);
            assert!(said.is_some(), "it says nothing");
            if is_refused(&mut journal) {
                kept.push(lock);
            } else {
                guard.end();
            }
            kill_process(locker, Signal::KILL).expect("our child");
            let _ = waitpid(Some(locker), WaitOptions::empty());
            let _ = fs::remove_file(PIDFILE);
        }
        assert!(kept.is_empty(), "a guard is kept from starting by {kept:?}");
    });
}

/// The hole: a hard link is opened like any file, and emptied, so that who may
/// write to the pidfile's directory has root's guard empty what is not theirs.
#[test]
fn a_pidfile_with_another_name_is_refused() {
    in_namespace(|| {
        let mut journal = Journal::new();
        let precious = format!("{SCRATCH}/precious");
        fs::write(&precious, "text").expect("a file in scratch");
        fs::hard_link(&precious, PIDFILE).expect("a link");
        let guard = Guard::start(&journal, &[QUIET, LOCKED]);
        let said = within(PATIENCE, || journal.count("--pidfile") > 0 || journal.count("watching") > 0);
        assert!(said.is_some(), "it says nothing");
        let kept = fs::read_to_string(&precious).expect("it is there");
        if journal.count("watching") > 0 {
            guard.end();
            panic!("not refused, and of \"text\" is left {kept:?}");
        }
        assert_eq!((guard.exit().code(), kept.as_str()), (Some(1), "text"));
    });
}

/// Somebody else's file is none of root's guard's either way; where it is just
/// left behind by that user's own guard it may be taken over. Whatever comes of
/// it, it ends or watches: nothing fails here today.
#[test]
fn a_pidfile_of_another_user_does_not_hang_it() {
    in_namespace(|| {
        let mut journal = Journal::new();
        fs::write(PIDFILE, "17\n").expect("a file in scratch");
        if chown(PIDFILE, Some(NOBODY), Some(NOBODY)).is_err() {
            return skip("there is only one user here");
        }
        let guard = Guard::start(&journal, &[QUIET, LOCKED]);
        let said = within(PATIENCE, || journal.count("--pidfile") > 0 || journal.count("watching") > 0);
        assert!(said.is_some(), "it says nothing");
        if journal.count("watching") > 0 {
            guard.end();
        } else {
            assert_eq!(guard.exit().code(), Some(1));
        }
    });
}
