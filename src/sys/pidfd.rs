use super::result_of;
use core::ffi::{c_int, c_long};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, getpid, pidfd_open};

/// Asks through `pidfd` whether its process has not been reaped, without
/// signalling it: while this holds its pid cannot be reused. rustix's signals
/// are never 0.
///
/// # Errors
/// Those of pidfd_send_signal(2): ESRCH after the process was reaped.
pub fn test(pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    let (no_signal, no_info, no_flags): (c_int, c_long, c_int) = (0, 0, 0);
    // SAFETY: signal 0 without a siginfo only checks; the fd outlives the call.
    let answer = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), no_signal, no_info, no_flags)
    };
    result_of(answer).map(|_| ())
}

/// Frees a process's memory without waiting for it to get that far itself
/// (process_mrelease(2), Linux 5.15). Valid only once SIGKILL is pending. May
/// wait for the process's mmap lock, so call it where waiting does no harm.
///
/// # Errors
/// EINVAL without a pending SIGKILL, ESRCH when there is nothing left to free.
pub fn release_memory(pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    process_mrelease(pidfd.as_raw_fd())
}

/// The same number on every architecture since 5.1, but for MIPS's offsets;
/// the libc crate lacks it for some.
pub(super) const SYS_PROCESS_MRELEASE: c_long = 448
    + if cfg!(target_arch = "mips") {
        4000
    } else if cfg!(target_arch = "mips64") {
        5000
    } else {
        0
    };

fn process_mrelease(raw_pidfd: c_int) -> Result<(), Errno> {
    let no_flags: c_int = 0;
    // SAFETY: takes two integers; a bad fd is answered with EBADF.
    result_of(unsafe { libc::syscall(SYS_PROCESS_MRELEASE, raw_pidfd, no_flags) }).map(|_| ())
}

/// Is process_mrelease(2) there? Asked at start, so that a sandbox that ends
/// callers of unknown system calls does so then and not at the kill
/// (earlyoom#315).
pub fn probe_release() -> bool {
    process_mrelease(-1) == Err(Errno::BADF)
}

/// Are pidfd_open(2) (Linux 5.3) and pidfd_send_signal(2) (5.1) there?
pub fn probe() -> bool {
    pidfd_open(getpid(), PidfdFlags::empty()).is_ok_and(|own| test(own.as_fd()).is_ok())
}
