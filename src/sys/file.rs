use core::ffi::{CStr, c_int};
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

/// A handle as file systems make them (struct file_handle).
#[repr(C)]
struct Handle {
    /// Room, and what was taken of it.
    bytes: u32,
    kind: c_int,
    words: [u32; 3],
}

/// FILEID_INO32_GEN of linux/exportfs.h, which tmpfs gives its handles.
const TMPFS_HANDLE: c_int = 1;

/// Is the file on a tmpfs to which `path` below `dir` points? Told by its handle, from
/// name_to_handle_at(2) (Linux 2.6.39), which asks no server. That of a tmpfs is three
/// words: a random one, and the two halves of a number that counts files from 1
/// (mm/shmem.c), in whichever namespace it is mounted, or in none. Others have the
/// kind or the length in common, ZFS and OCFS2 both, but they end in the time or the
/// generation of the file, which is not 0. False for file systems without handles, and
/// for kernels without the call.
pub fn is_on_tmpfs(dir: BorrowedFd<'_>, path: &CStr) -> bool {
    let mut handle = Handle { bytes: size_of::<[u32; 3]>() as u32, kind: 0, words: [0; 3] };
    let mut mount: c_int = -1;
    // SAFETY: a directory, a C string, a handle that says how long it is, and room
    // for the number. rustix does not wrap this call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            rustix::fd::AsRawFd::as_raw_fd(&dir),
            path.as_ptr(),
            &raw mut handle,
            &raw mut mount,
            libc::AT_SYMLINK_FOLLOW,
        )
    };
    let is_whole = answer == 0 && handle.bytes == size_of::<[u32; 3]>() as u32;
    is_whole && handle.kind == TMPFS_HANDLE && handle.words[1] != 0 && handle.words[2] == 0
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
