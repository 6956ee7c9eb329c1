use super::result_of;
use core::ffi::{c_int, c_long, c_ulong, c_void};
use core::sync::atomic::{AtomicI32, Ordering::Relaxed};
use rustix::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal};
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
    /// SIGHUP: open and read anew what may have been replaced.
    Reread,
    /// SIGCHLD: a child has changed state.
    Child,
    /// Nothing but a look at memory: SIGIO, which is sent when it is being filled
    /// (see [`Faults`](super::faults::Faults)), or what the kernel sent us for a
    /// write of our own.
    Look,
    /// Of this number, for the command that we run.
    Forward(c_int),
}

/// A signal as signalfd(2) tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its number.
    pub number: c_int,
    /// Above 0 if the kernel sent it by itself.
    pub code: c_int,
    /// Who sent it.
    pub pid: c_int,
}

impl Taken {
    /// What it means to a guard, or to one with the pid `own` that runs a command:
    /// then all is the command's but what the kernel tells the guard.
    pub fn notice(self, own: Option<Pid>) -> Notice {
        let Self { number, code, pid } = self;
        match (number, own) {
            (libc::SIGCHLD, _) => Notice::Child,
            (libc::SIGIO, _) if code > 0 => Notice::Look,
            // SIGPIPE and SIGXFSZ come in our own name.
            (_, Some(own)) if pid == own.as_raw_pid() => Notice::Look,
            (_, Some(_)) => Notice::Forward(number),
            (libc::SIGTERM | libc::SIGINT, None) => Notice::End,
            (libc::SIGUSR1, None) => Notice::Status,
            (libc::SIGHUP, None) => Notice::Reread,
            _ => Notice::Look,
        }
    }
}

fn set_of(signals: &[Signal]) -> KernelSigSet {
    let mut set = KernelSigSet::empty();
    for &signal in signals {
        set.insert(signal);
    }
    set
}

/// Blocks signals, which none of our code has a handler for.
fn block(signals: &KernelSigSet) {
    // SAFETY: the C library sends none of its own to a process with one thread.
    let _ = unsafe { runtime::kernel_sigprocmask(How::BLOCK, Some(signals)) };
}

/// Unblocks every signal, for a program about to be executed.
pub(super) fn unblock_all() {
    // SAFETY: no signal has a handler of ours; this process has one thread.
    let _ = unsafe { runtime::kernel_sigprocmask(How::SETMASK, Some(&KernelSigSet::empty())) };
}

/// A set of signals as the kernel has it.
type Mask = [c_ulong; size_of::<KernelSigSet>() / size_of::<c_ulong>()];

/// Signals that have been blocked since the program began, and were not before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held(Mask);

impl Held {
    /// Blocks every signal, for process 1: what it has neither a handler for nor blocked,
    /// the kernel throws away, and a container may be told to stop as soon as it is
    /// started. A loader that unpacked us, which takes longest, did the same and says in
    /// this entry what it blocked, where the kernel says nothing.
    pub fn hold() -> Self {
        let mut before: Mask = Mask::default();
        change_mask(libc::SIG_BLOCK, &Mask::default().map(|_| c_ulong::MAX), &raw mut before);
        let mut held = before.map(|word| !word);
        // SAFETY: asks for a number that the kernel or the loader has put on the stack.
        held[0] |= unsafe { libc::getauxval(libc::AT_FLAGS) };
        Self(held)
    }

    /// Unblocks them.
    pub fn release(&self) {
        change_mask(libc::SIG_UNBLOCK, &self.0, core::ptr::null_mut());
    }
}

fn change_mask(how: c_int, mask: &Mask, before: *mut Mask) {
    // SAFETY: reads a set and writes one, if it is told to, of the size it says. None of
    // these signals has a handler of ours.
    let _ = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, mask, before, size_of::<Mask>()) };
}

/// Undoes an ignored SIGCHLD, which a parent may leave us with: children would
/// be reaped behind our back, and a pid we still hold could be another's.
fn reset_sigchld() {
    // SAFETY: the default action runs no code of ours. The C library keeps no
    // record of this signal.
    let _ = unsafe { runtime::kernel_sigaction(Signal::CHILD, Some(KernelSigaction::default())) };
}

/// SIGUSR2 means nothing to a guard, and is not to end it.
const NOTICES: [Signal; 7] =
    [Signal::TERM, Signal::INT, Signal::USR1, Signal::CHILD, Signal::IO, Signal::HUP, Signal::USR2];

/// Where the signals that the loop acts on are read from.
#[derive(Debug)]
pub enum Signals {
    /// A signalfd(2).
    Signalfd(OwnedFd),
    /// A pipe that a handler writes to, in the same shape: the kernel has no signalfd.
    Handler(OwnedFd),
}

impl Signals {
    /// The descriptor that they are read from.
    pub fn as_fd(&self) -> &OwnedFd {
        match self {
            Self::Signalfd(fd) | Self::Handler(fd) => fd,
        }
    }

    /// Does a handler take them?
    pub fn are_handled(&self) -> bool {
        matches!(self, Self::Handler(_))
    }
}

/// Blocks the signals the loop acts on and returns a descriptor they are read
/// from; all of them for a guard that forwards them. PID 1 of a namespace is sent
/// none it has no handler for, unless they are blocked. Three are blocked and
/// never taken by others: SIGPIPE and SIGXFSZ, so that a log nobody reads, or that
/// may not grow, is an error of write(2) and no more, and SIGTTOU, so that a
/// terminal which stops background jobs that write does not stop us.
///
/// # Errors
/// Those of signalfd(2), and where there is none, those of pipe(2).
pub fn open_signals(forwards: bool) -> Result<Signals, Errno> {
    reset_sigchld();
    let set = if forwards { KernelSigSet::all() } else { set_of(&NOTICES) };
    block(&set);
    block(&set_of(&[Signal::PIPE, Signal::TTOU, Signal::XFSZ]));
    let (new, flags): (c_int, c_int) = (-1, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC);
    // SAFETY: reads a signal set of the size it says.
    let answer = unsafe {
        libc::syscall(libc::SYS_signalfd4, new, &raw const set, size_of_val(&set) as c_long, flags)
    };
    match result_of(answer) {
        // SAFETY: a descriptor just made and owned by nobody else.
        Ok(fd) => Ok(Signals::Signalfd(unsafe { OwnedFd::from_raw_fd(fd as c_int) })),
        Err(Errno::NOSYS) => handle_signals(&set).map(Signals::Handler),
        Err(errno) => Err(errno),
    }
}

/// Where the handler writes to.
static HEARD: AtomicI32 = AtomicI32::new(-1);

/// Has a handler take `signals` down the pipe that is returned, and unblocks them, but
/// for those that nobody is to take and those that tell of a fault of our own.
fn handle_signals(signals: &KernelSigSet) -> Result<OwnedFd, Errno> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    HEARD.store(writer.into_raw_fd(), Relaxed);
    let mut handled = KernelSigSet::empty();
    let untaken = [libc::SIGPIPE, libc::SIGXFSZ, libc::SIGTTOU];
    let faults = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGABRT];
    for number in (1..=64).filter(|number| !untaken.contains(number) && !faults.contains(number)) {
        // SAFETY: a number below 65; the C library's own are not for a process with
        // one thread.
        let signal = unsafe { Signal::from_raw_unchecked(number) };
        if !signals.contains(signal) {
            continue;
        }
        // SAFETY: all zero is a valid action, and the handler is of the kind that the
        // flags say. It does what a handler may: it writes.
        let answer = unsafe {
            let mut action: libc::sigaction = core::mem::zeroed();
            action.sa_sigaction = write_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
            libc::sigfillset(&mut action.sa_mask);
            libc::sigaction(number, &action, core::ptr::null_mut())
        };
        // SIGKILL and SIGSTOP have none.
        if answer == 0 {
            handled.insert(signal);
        }
    }
    // SAFETY: as in `block`.
    let _ = unsafe { runtime::kernel_sigprocmask(How::UNBLOCK, Some(&handled)) };
    Ok(reader)
}

/// The handler: a record like one of signalfd(2)'s.
extern "C" fn write_signal(number: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    let mut record = [0_u8; size_of::<libc::signalfd_siginfo>()];
    // SAFETY: the kernel gives the handler one, with a sender where there is one.
    let (code, pid) = unsafe { ((*info).si_code, (*info).si_pid()) };
    for (at, value) in [(0, number), (8, code), (12, pid)] {
        record[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    // SAFETY: the descriptor is open for good.
    let _ = rustix::io::write(unsafe { BorrowedFd::borrow_raw(HEARD.load(Relaxed)) }, &record);
}

/// Keeps SIGHUP, the end of a session that is not ours, from ending us.
pub fn block_hangup() {
    block(&set_of(&[Signal::HUP]));
}

/// Takes the next pending signal, if any.
// Out of line: inlined it is larger.
#[inline(never)]
pub fn take_signal(signals: BorrowedFd<'_>) -> Option<Taken> {
    let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
    let len = rustix::io::read(signals, &mut info).ok()?;
    // ssi_signo, ssi_errno, ssi_code and ssi_pid are its first fields.
    let field = |at: usize| c_int::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
    (len == info.len()).then(|| Taken { number: field(0), code: field(8), pid: field(12) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(number: c_int, code: c_int, pid: c_int) -> Taken {
        Taken { number, code, pid }
    }

    #[test]
    fn a_guard_by_itself_ends_looks_and_tells() {
        for (number, notice) in [
            (libc::SIGTERM, Notice::End),
            (libc::SIGINT, Notice::End),
            (libc::SIGUSR1, Notice::Status),
            (libc::SIGHUP, Notice::Reread),
            (libc::SIGUSR2, Notice::Look),
            (libc::SIGCHLD, Notice::Child),
            (libc::SIGIO, Notice::Look),
        ] {
            assert_eq!(taken(number, 0, 7).notice(None), notice, "{number}");
        }
    }

    #[test]
    fn whoever_runs_a_command_forwards_all_but_what_the_kernel_tells_it() {
        let own = Pid::from_raw(1);
        for number in (1..=64).filter(|&number| number != libc::SIGCHLD) {
            assert_eq!(taken(number, 0, 7).notice(own), Notice::Forward(number));
        }
        assert_eq!(taken(libc::SIGCHLD, 1, 7).notice(own), Notice::Child);
        // A terminal's hangup is the kernel's too, and the command's.
        assert_eq!(taken(libc::SIGHUP, 128, 0).notice(own), Notice::Forward(libc::SIGHUP));
        assert_eq!(taken(libc::SIGIO, 128, 0).notice(own), Notice::Look);
        assert_eq!(taken(libc::SIGPIPE, 0, 1).notice(own), Notice::Look);
    }
}
