use super::file::open;
use super::pidfd::release_memory;
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
    // SAFETY: the caller's promise.
    match unsafe { runtime::kernel_fork() }? {
        runtime::Fork::Child(_) => Ok(Forked::Child),
        runtime::Fork::ParentOf(pid) => Ok(Forked::Parent(pid)),
    }
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
    // SAFETY: one thread; the child executes the program or exits.
    match unsafe { fork() }? {
        Forked::Parent(pid) => Ok(pid),
        Forked::Child => execute(program, extra, inherited),
    }
}

fn execute(program: &CStr, extra: &[&CStr], inherited: &Inherited) -> ! {
    let env = child_environment(extra, inherited.environment);
    restore(inherited);
    let argv = [program.as_ptr().cast::<u8>(), core::ptr::null()];
    // SAFETY: a NUL-terminated string and null-terminated arrays of such, alive
    // until the call replaces this process or fails.
    let _ = unsafe { runtime::execve(program, argv.as_ptr(), env.as_ptr().cast()) };
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
    // SAFETY: one thread; the child makes one system call and exits.
    match unsafe { fork() }? {
        Forked::Parent(pid) => Ok(pid),
        Forked::Child => exit_now(i32::from(release_memory(pidfd).is_err())),
    }
}
