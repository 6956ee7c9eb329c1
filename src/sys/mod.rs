//! The kernel's calls that rustix lacks, text in fixed buffers, waiting, time.
//!
//! The only unsafe code of the library is here, each block with the reason why
//! it is sound. Whatever the locked rustix wraps goes through rustix, but for the
//! clock and the size of a page, which it asks in a roundabout way.

/// Memory for start-up, and none after it.
pub mod arena;

/// Memory taken once, sized beforehand, and given back whole.
#[cfg(feature = "rules")]
pub mod block;
/// Text that stays when that memory is given back.
pub mod kept;

/// Tables in memory of their own.
#[cfg(feature = "rules")]
pub mod pool;

/// Lists in memory that was taken once.
#[cfg(feature = "rules")]
pub mod table;

/// Signals blocked for good and read from a descriptor.
pub mod signals;

/// Children: forked, given an environment, executed.
pub mod child;

/// The command that the guard runs.
pub mod command;

/// The end of a machine.
pub mod power;

/// Counters of page faults that wake the guard.
pub mod faults;

/// Text built in place: a log line, a path, an environment string.
pub mod line;

/// The program's own memory: locked, and given back where nobody needs it.
pub mod program;

/// What the guard gives up once it has started.
pub mod sandbox;

/// Telling that we are watching, and being the only one.
pub mod ready;

/// What processes have in common.
pub mod process;

/// Processes through their pidfds.
pub mod pidfd;

/// A number for everybody, told by a locked byte.
pub mod lock;

/// Opening files.
pub mod file;

/// A terminal whose keys are read one by one.
pub mod terminal;

/// Clocks and pauses.
pub mod time;

/// The one place that waits.
pub mod event;

use core::ffi::c_void;
use core::ptr::NonNull;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::process::Pid;

/// The pid, unless it is 0 or negative: those mean groups, or everything.
pub fn positive_pid(raw: i32) -> Option<Pid> {
    if raw > 0 { Pid::from_raw(raw) } else { None }
}

/// Would the kernel let us signal this process? Sends nothing.
pub fn may_signal(pid: Pid) -> bool {
    rustix::process::test_kill_process(pid) != Err(Errno::PERM)
}

/// A new private mapping of so many bytes, all zero, for reading and writing.
///
/// # Errors
/// Those of mmap(2).
fn map_private(len: usize) -> Result<NonNull<c_void>, Errno> {
    // SAFETY: at an address that the kernel chooses.
    let mapped = unsafe {
        mmap_anonymous(core::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
    };
    NonNull::new(mapped?).ok_or(Errno::NOMEM)
}

/// What the C library left behind after a failed call of ours.
fn last_errno() -> Errno {
    // SAFETY: errno's address is valid for the calling thread.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

/// Turns the answer of libc::syscall(3) into a result.
fn result_of(answer: core::ffi::c_long) -> Result<core::ffi::c_long, Errno> {
    if answer < 0 { Err(last_errno()) } else { Ok(answer) }
}
