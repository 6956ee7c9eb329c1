use super::result_of;
use core::ffi::{c_int, c_long};
use rustix::fd::{BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::Signal;
// rustix exempts this module from its promise of compatibility and renames it
// in every release, which is why Cargo.toml names one release of rustix.
use runtime::{How, KernelSigSet, KernelSigaction};
use rustix::runtime_448b8ad740e2a26f as runtime;

/// Signals the loop acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// SIGTERM or SIGINT: end.
    End,
    /// SIGUSR1: say how things stand.
    Status,
    /// SIGCHLD: a child has changed state.
    Child,
    /// SIGIO: memory is being filled; see [`Faults`](super::faults::Faults).
    Faults,
}

fn set_of(signals: &[Signal]) -> KernelSigSet {
    let mut set = KernelSigSet::empty();
    for &signal in signals {
        set.insert(signal);
    }
    set
}

/// Blocks signals, which none of our code has a handler for.
fn block(signals: &[Signal]) {
    // SAFETY: none of these is one of the C library's own, and this process has
    // one thread.
    let _ = unsafe { runtime::kernel_sigprocmask(How::BLOCK, Some(&set_of(signals))) };
}

/// Unblocks every signal, for a program about to be executed.
pub(super) fn unblock_all() {
    // SAFETY: no signal has a handler of ours; this process has one thread.
    let _ = unsafe { runtime::kernel_sigprocmask(How::SETMASK, Some(&KernelSigSet::empty())) };
}

/// Undoes an ignored SIGCHLD, which a parent may leave us with: children would
/// be reaped behind our back, and a pid we still hold could be another's.
fn reset_sigchld() {
    // SAFETY: the default action runs no code of ours. The C library keeps no
    // record of this signal.
    let _ = unsafe { runtime::kernel_sigaction(Signal::CHILD, Some(KernelSigaction::default())) };
}

const NOTICES: [Signal; 5] = [Signal::TERM, Signal::INT, Signal::USR1, Signal::CHILD, Signal::IO];

/// Blocks the signals the loop acts on and returns a descriptor they are read
/// from. PID 1 of a namespace is sent none it has no handler for, unless they
/// are blocked. Three are blocked and never taken: SIGPIPE and SIGXFSZ, so that a
/// log nobody reads, or that may not grow, is an error of write(2) and no more,
/// and SIGTTOU, so that a terminal which stops background jobs that write does
/// not stop us.
///
/// # Errors
/// Those of signalfd(2).
pub fn open_signals() -> Result<OwnedFd, Errno> {
    reset_sigchld();
    block(&NOTICES);
    block(&[Signal::PIPE, Signal::TTOU, Signal::XFSZ]);
    let set = set_of(&NOTICES);
    let (new, flags): (c_int, c_int) = (-1, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC);
    // SAFETY: reads a signal set of the size it says.
    let answer = unsafe {
        libc::syscall(libc::SYS_signalfd4, new, &raw const set, size_of_val(&set) as c_long, flags)
    };
    let fd = result_of(answer)?;
    // SAFETY: a descriptor just made and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

/// Keeps SIGHUP, the end of a session that is not ours, from ending us.
pub fn block_hangup() {
    block(&[Signal::HUP]);
}

/// Takes the next pending signal, if any.
// Out of line: inlined it is larger.
#[inline(never)]
pub fn take_notice(signals: BorrowedFd<'_>) -> Option<Notice> {
    // ssi_signo is the first field of signalfd_siginfo.
    let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
    let len = rustix::io::read(signals, &mut info).ok()?;
    let signal = u32::from_ne_bytes(*info.first_chunk()?) as c_int;
    (len == info.len()).then_some(match signal {
        libc::SIGTERM | libc::SIGINT => Notice::End,
        libc::SIGUSR1 => Notice::Status,
        libc::SIGIO => Notice::Faults,
        _ => Notice::Child,
    })
}
