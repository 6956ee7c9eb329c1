use super::file::open;
use super::pidfd::release_memory;
use super::ready::let_go_of_name;
use super::signals::unblock_all;
use core::ffi::{CStr, c_char};
use rustix::fd::BorrowedFd;
use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::runtime_448b8ad740e2a26f as runtime;

/// The side of fork(2) we are on.
#[derive(Debug)]
pub enum Forked {
    /// In the new process.
    Child,
    /// In the old one.
    Parent(Pid),
}

/// fork(2). A vfork would be cheaper, but would have us wait for the child's
/// exec, which reads from disks that may be thrashing.
///
/// # Safety
/// This process has one thread, so that the child finds no lock held by
/// another. The C library's cached thread id is the parent's in the child:
/// neither side may ever call raise(3), abort(3) or anything else of the C
/// library that signals "this thread". The entry point defines `abort` itself
/// for that reason.
///
/// # Errors
/// Those of fork(2).
pub unsafe fn fork() -> Result<Forked, Errno> {
    #[cfg(target_arch = "s390x")]
    {
        // clone(2) takes the stack before the flags there, which rustix does not know: its
        // child would run on a stack at a signal's number.
        let (stack, flags, rest) = (0_usize, libc::SIGCHLD as usize, 0_usize);
        // SAFETY: the caller's promise; without CLONE_VM a stack of 0 is a copy of ours.
        let answer = unsafe { libc::syscall(libc::SYS_clone, stack, flags, rest, rest, rest) };
        let pid = super::result_of(answer)?;
        Ok(super::positive_pid(pid as i32).map_or(Forked::Child, Forked::Parent))
    }
    #[cfg(not(target_arch = "s390x"))]
    // SAFETY: the caller's promise.
    match unsafe { runtime::kernel_fork() }? {
        runtime::Fork::Child(_) => Ok(Forked::Child),
        runtime::Fork::ParentOf(pid) => Ok(Forked::Parent(pid)),
    }
}

/// Forks a child of the guard's own. It may outlive the guard, and then is not to keep
/// the next one away.
// Out of line: inlined it is larger.
#[inline(never)]
fn fork_without_name() -> Result<Forked, Errno> {
    // SAFETY: one thread, and what is forked here executes a program, or makes a system
    // call or two and exits.
    let forked = unsafe { fork() }?;
    if let Forked::Child = forked {
        let_go_of_name();
    }
    Ok(forked)
}

/// Ends the process at once, running nothing registered for its exit.
// Out of line: inlined it is larger.
#[inline(never)]
pub fn exit_now(status: i32) -> ! {
    runtime::exit_group(status)
}

/// The environment this process was started with.
#[derive(Clone, Copy, Debug)]
pub struct Environment(*const *const c_char);

/// The arguments of a program: strings with a null pointer after the last, too.
pub type Arguments = Environment;

/// The environment of nobody: a null pointer and nothing before it.
struct Nothing([*const c_char; 1]);

// SAFETY: it is never written to, and what it points to is nothing.
unsafe impl Sync for Nothing {}

static NOTHING: Nothing = Nothing([core::ptr::null()]);

impl Default for Environment {
    fn default() -> Self {
        Self(NOTHING.0.as_ptr())
    }
}

impl Environment {
    /// What main(3) is given as its third argument.
    ///
    /// # Safety
    /// `environ` points to NUL-terminated strings with a null pointer after the
    /// last, and neither the array nor a string is ever written to or freed.
    pub unsafe fn new(environ: *const *const c_char) -> Self {
        Self(environ)
    }

    /// Each string, `NAME=VALUE` as a rule.
    pub fn strings(self) -> impl Iterator<Item = &'static CStr> {
        let mut next = self.0;
        core::iter::from_fn(move || {
            // SAFETY: by the promise made to `new` there is a string or the null
            // pointer here, and one place more behind a string.
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

    /// What comes after the first `count` strings, or the end if there are fewer.
    pub fn skip(self, count: usize) -> Self {
        let here = self.strings().take(count).count();
        // SAFETY: so many strings were found, and the null pointer is behind them.
        Self(unsafe { self.0.add(here) })
    }

    /// For execve(2).
    pub(super) fn as_ptr(self) -> *const *const u8 {
        self.0.cast()
    }

    /// The value of the variable `name`, if it is set.
    pub fn value(self, name: &str) -> Option<&'static [u8]> {
        self.strings().find_map(|string| string.to_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }
}

/// What we changed about ourselves at start, and children get back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inherited {
    /// `oom_score_adj`; `None` when it was not changed.
    pub oom_score_adj: Option<i16>,
    /// Nice value.
    pub nice: i32,
    /// The environment, which was not changed.
    pub environment: Environment,
}

/// The largest environment a child is given.
const MAX_ENV: usize = 96;

/// Environment strings, a null pointer after the last.
type Env = [*const c_char; MAX_ENV];

/// What our variables begin with.
const OWN_PREFIX: &[u8] = b"BUSTD_";

/// `own` variables, then as much of the environment as there is room for,
/// without any that look like ours.
fn child_environment(own: &[&CStr], environment: Environment) -> Env {
    let mut env: Env = [core::ptr::null(); MAX_ENV];
    // The last place stays null.
    let mut places = env[..MAX_ENV - 1].iter_mut();
    let mut add = |string: &CStr| {
        if let Some(place) = places.next() {
            *place = string.as_ptr();
        }
    };
    for string in own {
        add(string);
    }
    for string in environment.strings() {
        if !string.to_bytes().starts_with(OWN_PREFIX) {
            add(string);
        }
    }
    env
}

/// Starts `program` with no arguments, with `extra` in our own environment, in
/// a session of its own, standard input from /dev/null, with the priority and
/// `oom_score_adj` we were started with and no signal blocked.
///
/// # Errors
/// Those of fork(2). A program that cannot be executed exits with 127.
pub fn spawn(program: &CStr, extra: &[&CStr], inherited: &Inherited) -> Result<Pid, Errno> {
    match fork_without_name()? {
        Forked::Parent(pid) => Ok(pid),
        Forked::Child => execute(program, extra, inherited),
    }
}

/// The most arguments that a program is started with.
#[cfg(feature = "rules")]
const MAX_ARGUMENTS: usize = 64;

/// The same with arguments, of which the first is the program. Each ends with a NUL.
///
/// # Errors
/// Those of fork(2), and EINVAL for arguments that are no strings, none or too many.
#[cfg(feature = "rules")]
pub fn spawn_with(arguments: &[&[u8]], extra: &[&CStr], inherited: &Inherited) -> Result<Pid, Errno> {
    let mut argv = [core::ptr::null::<u8>(); MAX_ARGUMENTS + 1];
    if arguments.is_empty() || arguments.len() > MAX_ARGUMENTS {
        return Err(Errno::INVAL);
    }
    for (place, argument) in argv.iter_mut().zip(arguments) {
        *place = CStr::from_bytes_with_nul(argument).map_err(|_| Errno::INVAL)?.as_ptr().cast();
    }
    match fork_without_name()? {
        Forked::Parent(pid) => Ok(pid),
        Forked::Child => execute_with(&argv, extra, inherited),
    }
}

/// Starts a child that writes `text` to a file below `dir` and ends.
///
/// # Errors
/// Those of fork(2).
#[cfg(feature = "rules")]
pub fn spawn_writing(dir: BorrowedFd<'_>, file: &CStr, text: &[u8]) -> Result<Pid, Errno> {
    match fork_without_name()? {
        Forked::Parent(pid) => Ok(pid),
        Forked::Child => {
            let done = open(dir, file, OFlags::WRONLY).and_then(|file| rustix::io::write(&file, text));
            exit_now(i32::from(done.is_err()))
        }
    }
}

fn execute(program: &CStr, extra: &[&CStr], inherited: &Inherited) -> ! {
    execute_with(&[program.as_ptr().cast::<u8>(), core::ptr::null()], extra, inherited)
}

/// `argv` is of strings, with a null pointer after the last.
fn execute_with(argv: &[*const u8], extra: &[&CStr], inherited: &Inherited) -> ! {
    let env = child_environment(extra, inherited.environment);
    restore(inherited);
    // SAFETY: a NUL-terminated string and null-terminated arrays of such, alive
    // until the call replaces this process or fails.
    let _ = unsafe {
        let program = CStr::from_ptr(argv[0].cast());
        runtime::execve(program, argv.as_ptr(), env.as_ptr().cast())
    };
    exit_now(127)
}

fn restore(inherited: &Inherited) {
    if let Some(adj) = inherited.oom_score_adj
        && let Ok(file) = open(CWD, c"/proc/self/oom_score_adj", OFlags::WRONLY)
    {
        let mut text = super::line::Line::default();
        let _ = rustix::io::write(&file, text.signed(adj.into()).as_bytes());
    }
    let _ = rustix::process::setpriority_process(None, inherited.nice);
    let _ = rustix::process::setsid();
    if let Ok(null) = open(CWD, c"/dev/null", OFlags::RDONLY) {
        let _ = rustix::stdio::dup2_stdin(&null);
    }
    unblock_all();
}

/// Starts a child that frees the memory of the process behind `pidfd` and
/// ends. A child, because process_mrelease(2) can wait for the victim's mmap
/// lock, and the loop never waits.
///
/// # Errors
/// Those of fork(2).
pub fn spawn_release(pidfd: BorrowedFd<'_>) -> Result<Pid, Errno> {
    match fork_without_name()? {
        Forked::Parent(pid) => Ok(pid),
        Forked::Child => exit_now(i32::from(release_memory(pidfd).is_err())),
    }
}
