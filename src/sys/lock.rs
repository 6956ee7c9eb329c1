use core::ffi::{c_int, c_long};
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, fcntl_getlk};

/// What a guard has locked of its pidfile: every byte from the number of its
/// kills on. So the lock keeps a second guard away, and tells whoever may read
/// the file how many were killed and, by the kernel's answer, whose it is. It is
/// forgotten when the holder ends.
///
/// A lock for writing, by fcntl(2): that takes a descriptor open for writing. A
/// lock of flock(2) can be had by anybody who may read the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The first byte that is locked.
    pub from: u64,
    /// Who holds it; 0 where that is outside our pid namespace.
    pub pid: i32,
}

/// Locks `file` from the first byte on for this process. The lock is not
/// inherited, and is lost when any descriptor of the file is closed by this
/// process. rustix does not lock parts of files.
///
/// # Errors
/// Those of fcntl(2): EAGAIN or EACCES where anybody holds a lock, for reading
/// too.
pub fn lock_all(file: BorrowedFd<'_>) -> Result<(), Errno> {
    set(file, libc::F_WRLCK, 0, 0)
}

/// Lets go of the bytes before `from`, which cannot fail as taking more could.
pub fn unlock_before(file: BorrowedFd<'_>, from: u64) {
    // A length of 0 would mean up to the end.
    if from > 0 {
        let _ = set(file, libc::F_UNLCK, 0, from);
    }
}

/// The call that takes a flock with offsets of 64 bits.
#[cfg(target_pointer_width = "64")]
pub(super) const SYS_FCNTL: c_long = libc::SYS_fcntl;
#[cfg(target_pointer_width = "32")]
pub(super) const SYS_FCNTL: c_long = libc::SYS_fcntl64;

fn set(file: BorrowedFd<'_>, kind: c_int, start: u64, len: u64) -> Result<(), Errno> {
    // SAFETY: all zero is a valid flock, from the start of the file.
    let mut lock: libc::flock = unsafe { core::mem::zeroed() };
    lock.l_type = kind as _;
    lock.l_start = start as _;
    lock.l_len = len as _;
    // SAFETY: reads one flock, of the shape that the C library gives this call.
    let answer = unsafe { libc::syscall(SYS_FCNTL, file.as_raw_fd(), libc::F_SETLK, &raw const lock) };
    super::result_of(answer).map(|_| ())
}

/// Who has locked `file` for writing; whoever has only locked it for reading is
/// passed over.
pub fn find_holder(file: BorrowedFd<'_>) -> Option<Held> {
    let held = fcntl_getlk(file, &Flock::from(FlockType::ReadLock)).ok()??;
    Some(Held { from: held.start, pid: held.pid.map_or(0, |pid| pid.as_raw_pid()) })
}
