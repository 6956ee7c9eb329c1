use core::ffi::c_int;
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::process::{Flock, FlockType, fcntl_getlk};

/// Where a guard tells how many it has killed: not in the pidfile, which holds
/// its pid and nothing else, but by which byte of that it has locked. Whoever
/// may read the file can ask; the kernel answers with the holder's pid too, and
/// forgets both when the holder ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteLock {
    /// Which byte.
    pub at: u64,
    /// Who holds it; 0 where that is outside our pid namespace.
    pub pid: i32,
}

/// Locks byte `at` of `file` for this process and lets go of those before it.
/// The lock is not inherited, and is lost when any descriptor of the file is
/// closed by this process. It locks nobody out who does not ask for it.
/// rustix locks whole files only.
pub fn lock_byte(file: BorrowedFd<'_>, at: u64) {
    for (kind, start, len) in [(libc::F_WRLCK, at, 1), (libc::F_UNLCK, 0, at)] {
        // A length of 0 would mean up to the end.
        if len > 0 {
            let lock = flock_of(kind, start, len);
            // SAFETY: reads one flock. Where it is refused, the number is not told.
            let _ = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const lock) };
        }
    }
}

fn flock_of(kind: c_int, start: u64, len: u64) -> libc::flock {
    // SAFETY: all zero is a valid flock, from the start of the file.
    let mut lock: libc::flock = unsafe { core::mem::zeroed() };
    lock.l_type = kind as _;
    lock.l_start = start as _;
    lock.l_len = len as _;
    lock
}

/// The first byte of `file` that another process has locked.
pub fn find_locked_byte(file: BorrowedFd<'_>) -> Option<ByteLock> {
    let held = fcntl_getlk(file, &Flock::from(FlockType::ReadLock)).ok()??;
    Some(ByteLock { at: held.start, pid: held.pid.map_or(0, |pid| pid.as_raw_pid()) })
}
