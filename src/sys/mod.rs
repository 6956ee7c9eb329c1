//! What rustix does not wrap: the only unsafe code of the library, each block
//! with the reason it is sound.

pub mod arena;
/// Waiting.
pub mod event;
/// Text built in place.
pub mod line;

use core::ffi::{CStr, c_char, c_int, c_long, c_ulong};
use core::ops::Range;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::Pid;

// -------------------------------------------------------------- files

/// Opens `path` below `dir`, closed on exec. Never waits: a captured tree may
/// hold a fifo, and kernel files ignore O_NONBLOCK. Kept out of line, for it is
/// called from everywhere.
///
/// # Errors
/// Those of openat(2).
#[inline(never)]
pub fn open(dir: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat(dir, path, flags | OFlags::CLOEXEC | OFlags::NONBLOCK)
}

/// The same with no other flags than those asked for. What it creates everybody
/// may read.
///
/// # Errors
/// Those of openat(2).
#[inline(never)]
pub fn openat(dir: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    use rustix::fs::Mode;
    rustix::fs::openat(dir, path, flags, Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH)
}

// ------------------------------------------------------------- killing

/// A system call of up to four arguments, each a whole register.
///
/// # Safety
/// That of the call.
unsafe fn syscall(number: c_long, [one, two, three, four]: [c_long; 4]) -> Result<c_long, Errno> {
    let none: c_long = 0;
    // SAFETY: the caller's.
    let answer = unsafe { libc::syscall(number, one, two, three, four, none) };
    if answer < 0 { Err(last_errno()) } else { Ok(answer) }
}

/// fcntl(2), without the C library's: that one knows of every command, in four
/// hundred bytes.
///
/// # Safety
/// That of the command.
unsafe fn fcntl(file: BorrowedFd<'_>, command: c_int, arg: c_long) -> Result<c_long, Errno> {
    if cfg!(target_pointer_width = "64") {
        // SAFETY: the caller's.
        return unsafe { syscall(libc::SYS_fcntl, [file.as_raw_fd().into(), command.into(), arg, 0]) };
    }
    // SAFETY: the caller's.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), command, arg) };
    if answer < 0 { Err(last_errno()) } else { Ok(answer.into()) }
}

fn last_errno() -> Errno {
    // SAFETY: errno's address is valid for the calling thread.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

/// Asks through `pidfd` whether its process has not been reaped, without
/// signalling it: while this holds its pid cannot be reused.
///
/// # Errors
/// Those of pidfd_send_signal(2): ESRCH after the process was reaped.
pub fn pidfd_test(pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    let (no_signal, no_info, no_flags) = (0, 0, 0);
    // SAFETY: signal 0 without a siginfo only checks; the fd outlives the call.
    unsafe {
        syscall(libc::SYS_pidfd_send_signal, [pidfd.as_raw_fd().into(), no_signal, no_info, no_flags])
    }?;
    Ok(())
}

/// Frees a process's memory without waiting for it to get that far itself
/// (process_mrelease(2), Linux 5.15). Valid only once SIGKILL is pending. May
/// wait for the process's mmap lock, so call it where waiting does no harm.
///
/// # Errors
/// EINVAL without a pending SIGKILL, ESRCH when there is nothing left to free.
pub fn process_mrelease(pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    mrelease(pidfd.as_raw_fd())
}

/// The same number on every architecture since 5.1, but for MIPS's offsets;
/// the libc crate lacks it for some.
const SYS_PROCESS_MRELEASE: c_long = 448
    + if cfg!(target_arch = "mips") {
        4000
    } else if cfg!(target_arch = "mips64") {
        5000
    } else {
        0
    };

fn mrelease(raw_pidfd: c_int) -> Result<(), Errno> {
    // SAFETY: takes two integers; a bad fd is answered with EBADF.
    unsafe { syscall(SYS_PROCESS_MRELEASE, [raw_pidfd.into(), 0, 0, 0]) }?;
    Ok(())
}

/// Is process_mrelease(2) there? Asked at start, so that a sandbox that ends
/// callers of unknown system calls does so then and not at the kill
/// (earlyoom#315).
pub fn probe_process_mrelease() -> bool {
    mrelease(-1) == Err(Errno::BADF)
}

/// Are pidfd_open(2) (Linux 5.3) and pidfd_send_signal(2) (5.1) there?
pub fn probe_pidfd() -> bool {
    use rustix::process::{PidfdFlags, getpid, pidfd_open};
    pidfd_open(getpid(), PidfdFlags::empty()).is_ok_and(|own| pidfd_test(own.as_fd()).is_ok())
}

/// CLOCK_MONOTONIC in microseconds. Where the C library's `timespec` is the
/// kernel's, without the vDSO: parsing that is a kilobyte of code, to save a
/// tenth of a microsecond a turn.
pub fn monotonic_us() -> u64 {
    clock_us(libc::CLOCK_MONOTONIC)
}

/// Seconds since 1970.
pub fn realtime_s() -> u64 {
    clock_us(libc::CLOCK_REALTIME) / 1_000_000
}

/// Now, as `/proc/PID/stat` tells of the start of a process: in clock ticks of
/// a hundredth of a second since boot.
pub fn boottime_ticks() -> u64 {
    clock_us(libc::CLOCK_BOOTTIME) / 10_000
}

fn clock_us(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec to write to; the clock exists.
    unsafe {
        if cfg!(target_pointer_width = "64") {
            let _ = syscall(libc::SYS_clock_gettime, [clock.into(), &raw mut now as c_long, 0, 0]);
        } else {
            libc::clock_gettime(clock, &mut now);
        }
    }
    (now.tv_sec as u64).saturating_mul(1_000_000).saturating_add(now.tv_nsec as u64 / 1000)
}

/// Sleeps for less than a second, or until a signal.
pub fn pause(us: u64) {
    let time = rustix::event::Timespec { tv_sec: 0, tv_nsec: (us * 1000) as _ };
    let _ = rustix::event::poll(&mut [], Some(&time));
}

// ------------------------------------------------------------ page faults

/// Processors watched for page faults; with more there is more memory, too.
const MAX_FAULT_CPUS: usize = 16;

/// Counters of page faults, one a processor, that raise SIGIO each time so many
/// have happened (perf_event_open(2), Linux 2.6.31, with CAP_PERFMON or
/// perf_event_paranoid at 0): whoever fills memory wakes us, and nobody else
/// does. Huge pages count once, so a leak of those is found by the timer.
#[derive(Debug, Default)]
pub struct Faults {
    counters: [Option<OwnedFd>; MAX_FAULT_CPUS],
}

/// `struct perf_event_attr` as far as its first version went.
#[repr(C)]
struct PerfEventAttr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    /// Sample and read format, flags, wake-up, breakpoint: all none.
    rest: [u64; 5],
}

const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_COUNT_SW_PAGE_FAULTS: u64 = 2;
const PERF_FLAG_FD_CLOEXEC: c_long = 8;
/// `_IO('$', 0)` and `_IO('$', 1)`; those without data are the same everywhere
/// but where the direction bits differ.
const NO_DIRECTION: c_long = if cfg!(any(
    target_arch = "mips",
    target_arch = "mips64",
    target_arch = "powerpc",
    target_arch = "powerpc64",
    target_arch = "sparc64"
)) {
    1 << 29
} else {
    0
};
const PERF_EVENT_IOC_ENABLE: c_long = NO_DIRECTION | 0x2400;
const PERF_EVENT_IOC_DISABLE: c_long = NO_DIRECTION | 0x2401;

impl Faults {
    /// Opens the counters, not counting yet. `None` where the kernel does not
    /// let us, or where there are too many processors.
    pub fn open(every_pages: u64) -> Option<Self> {
        let mut faults = Self::default();
        let attr = PerfEventAttr {
            kind: PERF_TYPE_SOFTWARE,
            size: size_of::<PerfEventAttr>() as u32,
            config: PERF_COUNT_SW_PAGE_FAULTS,
            sample_period: every_pages.max(1),
            rest: [0; 5],
        };
        let own = rustix::process::getpid().as_raw_pid();
        let (any_pid, no_group) = (-1, -1);
        for cpu in 0..=MAX_FAULT_CPUS {
            // SAFETY: reads one perf_event_attr of the size it says.
            let opened = unsafe {
                let address = &raw const attr as c_long;
                libc::syscall(
                    libc::SYS_perf_event_open,
                    address,
                    any_pid as c_long,
                    cpu as c_long,
                    no_group as c_long,
                    PERF_FLAG_FD_CLOEXEC,
                )
            };
            if opened < 0 {
                match last_errno() {
                    Errno::NODEV => continue,
                    // There is no such processor.
                    Errno::INVAL if cpu > 0 => return Some(faults),
                    _ => return None,
                }
            }
            // SAFETY: a descriptor just made and owned by nobody else.
            let counter = unsafe { OwnedFd::from_raw_fd(opened as c_int) };
            // SAFETY: these take integers.
            unsafe {
                let _ = syscall(libc::SYS_ioctl, [opened, PERF_EVENT_IOC_DISABLE, 0, 0]);
                fcntl(counter.as_fd(), libc::F_SETOWN, own.into()).ok()?;
                fcntl(counter.as_fd(), libc::F_SETFL, libc::O_ASYNC.into()).ok()?;
            }
            *faults.counters.get_mut(cpu)? = Some(counter);
        }
        None
    }

    /// Starts or stops counting.
    pub fn count(&self, on: bool) {
        let request = if on { PERF_EVENT_IOC_ENABLE } else { PERF_EVENT_IOC_DISABLE };
        for counter in self.counters.iter().flatten() {
            // SAFETY: takes an integer.
            let _ = unsafe { syscall(libc::SYS_ioctl, [counter.as_raw_fd().into(), request, 0, 0]) };
        }
    }
}

// -------------------------------------------------------- standard streams

/// Standard error, as [`fill_standard_streams`] left it.
pub fn stderr() -> BorrowedFd<'static> {
    // SAFETY: nothing in this crate closes descriptor 2.
    unsafe { BorrowedFd::borrow_raw(2) }
}

/// Which standard streams were closed when we started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// Descriptor 2: what is written there reaches nobody.
    pub stderr: bool,
}

/// Opens something harmless in place of each standard stream that is closed,
/// as for process 1 of an initramfs without a console: else the next file we
/// open would become standard error.
pub fn fill_standard_streams() -> Closed {
    use rustix::fs::CWD;
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

/// Makes pages of the program resident and keeps them so, those too that
/// nothing has touched yet: a page of the kill path read from a disk that is
/// thrashing would be seconds late. No harm where it is refused.
///
/// # Safety
/// `pages` are addresses of the program's own mappings.
pub unsafe fn lock_program(pages: Range<usize>) {
    // SAFETY: mlock(2) locks what is mapped there and changes none of it.
    unsafe { libc::mlock(pages.start as _, pages.len()) };
}

/// Gives up pages of the program that nothing touches once the guard watches.
/// No harm where it is refused.
///
/// # Safety
/// `pages` begin on a page, are mapped from the program's file, and are never
/// written to, the last one up to its end: one that is dropped comes back from
/// the file when it is touched.
pub unsafe fn release_startup(pages: Range<usize>) {
    // SAFETY: the caller's.
    unsafe {
        libc::munlock(pages.start as _, pages.len());
        libc::madvise(pages.start as _, pages.len(), libc::MADV_DONTNEED);
    }
}

/// Gives up the vDSO's pages, which locking makes resident and nothing here
/// calls: two of the two dozen a guard has. No harm where it is refused.
pub fn drop_vdso() {
    const VDSO_LEN: usize = 2 * 4096;
    // SAFETY: the kernel maps the vDSO there, shared and read-only: a page that
    // is dropped comes back as it was when it is touched.
    unsafe { libc::madvise(libc::getauxval(libc::AT_SYSINFO_EHDR) as _, VDSO_LEN, libc::MADV_DONTNEED) };
}

/// Would the kernel let us signal this process? Sends nothing.
pub fn may_signal(pid: Pid) -> bool {
    rustix::process::test_kill_process(pid) != Err(Errno::PERM)
}

/// KiB in a page.
pub fn page_kib() -> u64 {
    // SAFETY: asks for a constant.
    let bytes = unsafe { libc::getauxval(libc::AT_PAGESZ) };
    (bytes as u64 / 1024).max(4)
}

// ------------------------------------------------- a number for everybody

/// Where a guard tells how many it has killed: not in the pidfile, which holds
/// its pid and nothing else, but by which byte of that it has locked. Whoever
/// may read the file can ask; the kernel answers with the holder's pid too, and
/// forgets both when that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteLock {
    /// Which byte.
    pub at: u64,
    /// Who holds it; not positive where it is outside our pid namespace.
    pub pid: i32,
}

fn flock_of(kind: c_int, start: u64, len: u64) -> libc::flock {
    // SAFETY: all zero is a valid flock, from the start of the file.
    let mut lock: libc::flock = unsafe { core::mem::zeroed() };
    lock.l_type = kind as _;
    lock.l_start = start as _;
    lock.l_len = len as _;
    lock
}

/// Locks byte `at` of `file` for this process and lets go of those before it.
/// The lock is not inherited, and is lost when any descriptor of the file is
/// closed by this process. It locks nobody out who does not ask for it.
pub fn lock_byte(file: BorrowedFd<'_>, at: u64) {
    for (kind, start, len) in [(libc::F_WRLCK, at, 1), (libc::F_UNLCK, 0, at)] {
        // No length would mean up to the end.
        if len > 0 {
            let lock = flock_of(kind, start, len);
            // SAFETY: reads one flock. Refused, it is not told.
            let _ = unsafe { fcntl(file, libc::F_SETLK, &raw const lock as c_long) };
        }
    }
}

/// The first byte of `file` that another process has locked.
pub fn find_locked_byte(file: BorrowedFd<'_>) -> Option<ByteLock> {
    let mut lock = flock_of(libc::F_RDLCK, 0, 0);
    // SAFETY: reads and writes one flock.
    let answer = unsafe { fcntl(file, libc::F_GETLK, &raw mut lock as c_long) };
    let held = answer.is_ok() && i32::from(lock.l_type) != libc::F_UNLCK;
    held.then_some(ByteLock { at: lock.l_start as u64, pid: lock.l_pid })
}

// ------------------------------------------------------------- signals

/// Signals the loop acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// SIGTERM or SIGINT: end.
    End,
    /// SIGUSR1: say how things stand.
    Status,
    /// SIGCHLD: a child has changed state.
    Child,
    /// SIGIO: memory is being filled; see [`Faults`].
    Faults,
}

/// The kernel's signal set, of machine words with the lowest signals first: 64
/// signals, or 128 on MIPS.
type SignalSet = [c_ulong; 128 / c_ulong::BITS as usize];

/// How much of one the kernel wants to be given, in bytes.
const SIGNAL_SET_LEN: c_long = if cfg!(any(target_arch = "mips", target_arch = "mips64")) { 16 } else { 8 };

/// A set of signals below 32, as all with a name are.
const fn signal_set(signals: &[c_int]) -> SignalSet {
    let mut set: SignalSet = [0; 128 / c_ulong::BITS as usize];
    let mut at = 0;
    while at < signals.len() {
        set[0] |= 1 << (signals[at] - 1);
        at += 1;
    }
    set
}

static NOTICES: SignalSet =
    signal_set(&[libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGCHLD, libc::SIGIO]);

fn change_mask(how: c_int, set: &SignalSet) {
    let (set, no_old_set) = (&raw const *set as c_long, 0);
    // SAFETY: reads a signal set and writes nowhere.
    let _ = unsafe { syscall(libc::SYS_rt_sigprocmask, [how.into(), set, no_old_set, SIGNAL_SET_LEN]) };
}

fn block(set: &SignalSet) {
    change_mask(libc::SIG_BLOCK, set);
}

/// Undoes an ignored SIGCHLD, which a parent may leave us with: children would
/// be reaped behind our back, and a pid we still hold could be another's.
fn reset_sigchld() {
    // All zero is SIG_DFL without flags, in the kernel's layout of any
    // architecture; the C library's sigaction is five times this code.
    let default = [0_u64; 8];
    // SAFETY: reads no more than `default` from its address and writes nowhere.
    let _ = unsafe {
        let default = &raw const default as c_long;
        syscall(libc::SYS_rt_sigaction, [libc::SIGCHLD.into(), default, 0, SIGNAL_SET_LEN])
    };
}

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
    block(const { &signal_set(&[libc::SIGPIPE, libc::SIGTTOU, libc::SIGXFSZ]) });
    let (new, set) = (-1, &raw const NOTICES as c_long);
    let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
    // SAFETY: reads a signal set.
    let fd = unsafe { syscall(libc::SYS_signalfd4, [new, set, SIGNAL_SET_LEN, flags.into()]) }?;
    // SAFETY: a descriptor just made and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

/// Keeps SIGHUP, the end of a session that is not ours, from ending us.
pub fn block_hangup() {
    block(const { &signal_set(&[libc::SIGHUP]) });
}

/// Takes the next pending signal, if any.
pub fn take_signal(signals: BorrowedFd<'_>) -> Option<Notice> {
    // ssi_signo is the first field, ssi a multiple of 4 bytes.
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

// ------------------------------------------------------------ children

/// The side of fork(2) we are on.
#[derive(Debug)]
pub enum Forked {
    /// In the new process.
    Child,
    /// In the old one.
    Parent(Pid),
}

/// The pid, unless it is 0 or negative: those mean groups, or everything.
pub fn positive_pid(raw: i32) -> Option<Pid> {
    if raw > 0 { Pid::from_raw(raw) } else { None }
}

/// fork(2), for a process of one thread. A vfork would be cheaper, but would have us wait for the child's
/// exec, which reads from disks that may be thrashing.
///
/// # Errors
/// Those of fork(2).
pub fn fork() -> Result<Forked, Errno> {
    // The system call and not the C library's fork: that one takes every lock
    // of a heap and of threads we do not have, 2 KB of code. s390 has the
    // arguments the other way round.
    let (flags, stack) = (libc::SIGCHLD.into(), 0);
    let (first, second) = if cfg!(target_arch = "s390x") { (stack, flags) } else { (flags, stack) };
    // SAFETY: no flag shares memory with the child, which goes on from here on
    // a copy of the stack; one thread, so no lock is held by another.
    let pid = unsafe { syscall(libc::SYS_clone, [first, second, 0, 0]) }?;
    Ok(positive_pid(pid as i32).map_or(Forked::Child, Forked::Parent))
}

/// Ends the process at once, running nothing registered for its exit.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: does not return and touches no memory.
    unsafe { libc::_exit(status) }
}

/// What we changed about ourselves at start, and children get back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inherited {
    /// `oom_score_adj` as text, NUL-padded; empty when it was not changed.
    pub oom_score_adj: [u8; 8],
    /// Nice value.
    pub nice: i32,
}

/// The largest environment a child is given.
const MAX_ENV: usize = 96;

/// Environment strings, `NAME=VALUE`, a null pointer after the last.
type Env = [*const c_char; MAX_ENV];

/// What our variables begin with.
const OWN_PREFIX: &[u8] = b"BUSTD_";

/// The environment we were started with.
fn environment() -> impl Iterator<Item = &'static CStr> {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    // SAFETY: the C library has it point to what the kernel put on the stack, an
    // array of C strings that ends with a null pointer; nothing changes it.
    let mut next = unsafe { environ };
    core::iter::from_fn(move || {
        // SAFETY: not past that end, so there is a C string and one place more.
        unsafe {
            if (*next).is_null() {
                return None;
            }
            let string = CStr::from_ptr(*next);
            next = next.add(1);
            Some(string)
        }
    })
}

/// Fills `env` with `own` variables, then with as much of the environment we
/// were started with as there is room for, without any that look like ours.
fn fill_env(env: &mut Env, own: &[&CStr]) {
    // The last place stays null.
    let mut places = env[..MAX_ENV - 1].iter_mut();
    let mut add = |string: &CStr| places.next().map(|place| *place = string.as_ptr());
    for string in own {
        add(string);
    }
    for string in environment() {
        if !string.to_bytes().starts_with(OWN_PREFIX) {
            add(string);
        }
    }
}

/// Are we to write in colour: to a terminal, for somebody who did not set
/// NO_COLOR (no-color.org)?
#[cold]
pub fn wants_colour() -> bool {
    const PREFIX: &[u8] = b"NO_COLOR=";
    // Asked for its size, as isatty(3) does in musl: four numbers of 16 bits.
    let mut size = 0_u64;
    let request = [1, libc::TIOCGWINSZ as c_long, (&raw mut size) as c_long, 0];
    // SAFETY: TIOCGWINSZ fills in one struct winsize.
    let is_terminal = unsafe { syscall(libc::SYS_ioctl, request).is_ok() };
    is_terminal
        && !environment().any(|string| matches!(string.to_bytes().strip_prefix(PREFIX), Some([_, ..])))
}

/// Starts `program` with no arguments, with `extra` in our own environment, in
/// a session of its own, standard input from /dev/null, with
/// the priority and `oom_score_adj` we were started with and no signal blocked.
///
/// # Errors
/// Those of fork(2). A program that cannot be executed exits with 127.
pub fn spawn(program: &CStr, extra: &[&CStr], inherited: &Inherited) -> Result<Pid, Errno> {
    match fork()? {
        Forked::Parent(pid) => Ok(pid),
        Forked::Child => exec(program, extra, inherited),
    }
}

fn exec(program: &CStr, extra: &[&CStr], inherited: &Inherited) -> ! {
    let mut env: Env = [core::ptr::null(); MAX_ENV];
    fill_env(&mut env, extra);
    restore(inherited);
    let argv = [program.as_ptr(), core::ptr::null()];
    // SAFETY: three NUL-terminated strings or null-terminated arrays of such,
    // alive until the call replaces this process or fails.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    exit_now(127)
}

fn restore(inherited: &Inherited) {
    use rustix::fs::CWD;
    let adj = &inherited.oom_score_adj;
    let adj_len = adj.iter().position(|&byte| byte == 0).unwrap_or(adj.len());
    if adj_len > 0
        && let Ok(file) = open(CWD, c"/proc/self/oom_score_adj", OFlags::WRONLY)
    {
        let _ = rustix::io::write(&file, &adj[..adj_len]);
    }
    let _ = rustix::process::setpriority_process(None, inherited.nice);
    let _ = rustix::process::setsid();
    if let Ok(null) = open(CWD, c"/dev/null", OFlags::RDONLY) {
        let _ = rustix::stdio::dup2_stdin(&null);
    }
    change_mask(libc::SIG_SETMASK, const { &signal_set(&[]) });
}

/// Starts a child that frees the memory of the process behind `pidfd` and
/// ends. A child, because process_mrelease(2) can wait for the victim's mmap
/// lock, and the loop never waits.
///
/// # Errors
/// Those of fork(2).
pub fn spawn_release(pidfd: BorrowedFd<'_>) -> Result<Pid, Errno> {
    match fork()? {
        Forked::Parent(pid) => Ok(pid),
        Forked::Child => exit_now(i32::from(process_mrelease(pidfd).is_err())),
    }
}
