use core::ffi::CStr;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

/// Opens `path` below `dir`, closed on exec. Never waits: a captured tree may
/// hold a fifo, and kernel files ignore O_NONBLOCK.
///
/// # Errors
/// Those of openat(2).
pub fn open(dir: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat(dir, path, flags | OFlags::CLOEXEC | OFlags::NONBLOCK)
}

/// Opens with no other flags than those asked for. What it creates everybody
/// may read.
///
/// # Errors
/// Those of openat(2).
pub fn openat(dir: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, path, flags, Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH)
}

/// The number of the mount that the file is on which `path` below `dir` points to, by
/// name_to_handle_at(2) (Linux 2.6.39), which asks no server. `None` for what has no
/// mount, for file systems without handles, and for kernels without the call.
pub fn mount_of(dir: BorrowedFd<'_>, path: &CStr) -> Option<u64> {
    // struct file_handle with no room for a handle: it is not wanted.
    let mut handle = [0_u32; 2];
    let mut mount = -1_i32;
    // SAFETY: a directory, a C string, a handle that says how long it is, and room
    // for the number. rustix does not wrap this call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            rustix::fd::AsRawFd::as_raw_fd(&dir),
            path.as_ptr(),
            handle.as_mut_ptr(),
            &raw mut mount,
            libc::AT_SYMLINK_FOLLOW,
        )
    };
    // It tells the number although the handle did not fit.
    let is_told = super::result_of(answer) == Err(Errno::OVERFLOW);
    u64::try_from(mount).ok().filter(|_| is_told)
}

/// Standard error, as [`fill_standard_streams`] left it.
pub fn stderr() -> BorrowedFd<'static> {
    // SAFETY: nothing in this crate closes descriptor 2.
    unsafe { BorrowedFd::borrow_raw(2) }
}

/// Standard output, as [`fill_standard_streams`] left it.
pub fn stdout() -> BorrowedFd<'static> {
    // SAFETY: nothing in this crate closes descriptor 1.
    unsafe { BorrowedFd::borrow_raw(1) }
}

/// Standard input, as [`fill_standard_streams`] left it.
pub fn stdin() -> BorrowedFd<'static> {
    // SAFETY: nothing in this crate closes descriptor 0.
    unsafe { BorrowedFd::borrow_raw(0) }
}

/// Which standard streams were closed when we started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// Descriptor 2: what is written there reaches nobody.
    pub stderr: bool,
}

/// Opens something harmless in place of each standard stream that is closed,
/// as they are for process 1 of an initramfs without a console: otherwise the
/// next file we open would become standard error.
pub fn fill_standard_streams() -> Closed {
    let mut closed = Closed::default();
    for number in 0..3 {
        // SAFETY: asks for flags only; a closed descriptor is answered with EBADF.
        if rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) }).is_ok() {
            continue;
        }
        closed.stderr |= number == 2;
        // The lowest free number is the one that was missing.
        let filled = openat(CWD, c"/dev/null", OFlags::RDWR).or_else(|_| openat(CWD, c"/", OFlags::PATH));
        core::mem::forget(filled);
    }
    closed
}
