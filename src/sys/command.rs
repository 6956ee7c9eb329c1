use super::child::{Arguments, Environment, Forked, exit_now, fork};
use super::file::stdin;
use super::line::Line;
use super::pidfd::SYS_PROCESS_MRELEASE;
use super::signals::Held;
use super::terminal::{is_in_foreground, own_group};
use core::ffi::{CStr, c_int, c_long, c_uint, c_ulong};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, getpid, getppid, setpgid};
use rustix::runtime_448b8ad740e2a26f as runtime;
use rustix::termios::{tcgetpgrp, tcsetpgrp};

/// What to run, and how.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name, looked for in PATH unless there is a slash in it, and arguments.
    pub arguments: Arguments,
    /// Its environment.
    pub environment: Environment,
    /// The signal that we are sent when our parent dies, and it when we do; or 0.
    pub parent_death: u8,
    /// What it is not to have blocked.
    pub held: Held,
}

/// A command that has been forked and waits to be told to begin. It was made before
/// we changed anything about ourselves, and so there is nothing to give back. If we
/// end before that, so does it.
#[derive(Debug)]
pub struct Waiting {
    /// Its pid, and the number of its process group.
    pub pid: Pid,
    /// The group that had the terminal's foreground before, if it was ours.
    pub terminal: Option<Pid>,
    /// What it waits for to be written to.
    pub gate: OwnedFd,
    /// That there can be one.
    pub licence: Licence,
}

/// Where this was built without the init there is none, so no command either, and the
/// compiler leaves out all that would deal with one.
#[cfg(feature = "init")]
#[derive(Clone, Copy, Debug)]
pub struct Licence;
#[cfg(not(feature = "init"))]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "see above")]
pub enum Licence {}

impl Licence {
    /// One, if there are any.
    pub fn get() -> Option<Self> {
        #[cfg(feature = "init")]
        return Some(Self);
        #[cfg(not(feature = "init"))]
        None
    }
}

impl Waiting {
    /// Lets it begin.
    pub fn release(&self) {
        let _ = rustix::io::write(&self.gate, b"1");
    }
}

/// Forks a process that is to become `program`, in a group of its own, which takes
/// over the foreground of the terminal if that is ours. Where that cannot be
/// executed, `complain` is called in it.
///
/// # Errors
/// Those of pipe(2) and fork(2).
///
/// # Safety
/// That of [`fork`].
pub unsafe fn start(program: &Program, complain: fn(&CStr, Errno) -> !) -> Result<Waiting, Errno> {
    let licence = Licence::get().ok_or(Errno::NOSYS)?;
    // Orphans are given to us.
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
    set_parent_death(program);
    let (theirs, gate) = pipe_with(PipeFlags::CLOEXEC)?;
    let guard = getpid();
    // SAFETY: the caller's promise.
    match unsafe { fork() }? {
        Forked::Parent(pid) => {
            let own = own_group();
            let _ = setpgid(Some(pid), Some(pid));
            Ok(Waiting { pid, terminal: take_terminal(own, pid), gate, licence })
        }
        Forked::Child => {
            drop(gate);
            set_parent_death(program);
            // It is asked for after that: nobody tells of a death before.
            if getppid() != Some(guard) || rustix::io::read(&theirs, &mut [0]) != Ok(1) {
                exit_now(1)
            }
            close_others();
            program.held.release();
            let name = program.arguments.strings().next().unwrap_or_default();
            complain(name, execute(name, program))
        }
    }
}

fn set_parent_death(program: &Program) {
    // 0 would undo what our parent has set.
    if program.parent_death > 0 {
        prctl(libc::PR_SET_PDEATHSIG, program.parent_death.into());
    }
}

fn prctl(what: c_int, value: c_ulong) {
    // SAFETY: of these two, both take a number.
    let _ = unsafe { libc::syscall(libc::SYS_prctl, what, value) };
}

/// Has `group` be in the foreground of the terminal that is standard input, if
/// `own` was; that, where it can be named.
fn take_terminal(own: c_int, group: Pid) -> Option<Pid> {
    let is_ours = is_in_foreground(own);
    if is_ours {
        let _ = tcsetpgrp(stdin(), group);
    }
    super::positive_pid(own).filter(|_| is_ours)
}

/// Gives the foreground back to `own`, unless somebody else has taken it from
/// `group`.
pub fn return_terminal(own: Pid, group: Pid) {
    if tcgetpgrp(stdin()) == Ok(group) {
        let _ = tcsetpgrp(stdin(), own);
    }
}

/// The same number on every architecture, but for MIPS's offsets.
const SYS_CLOSE_RANGE: c_long = SYS_PROCESS_MRELEASE - 448 + 436;

/// Closes whatever is open above standard error (Linux 5.9); what is ours
/// execve(2) closes too.
fn close_others() {
    let (first, last, flags): (c_uint, c_uint, c_uint) = (3, c_uint::MAX, 0);
    // SAFETY: what is left of this process uses no descriptor but the standard
    // streams.
    let _ = unsafe { libc::syscall(SYS_CLOSE_RANGE, first, last, flags) };
}

/// Where programs are if PATH is not set, as for the C library.
const USUAL_PATH: &[u8] = b"/usr/local/bin:/bin:/usr/bin";

/// Becomes `program`; why not, if that fails.
fn execute(name: &CStr, program: &Program) -> Errno {
    let Program { arguments, environment, .. } = program;
    // SAFETY: a NUL-terminated string and null-terminated arrays of such, alive
    // until the call replaces this process or fails.
    let become_file =
        |file: &CStr| unsafe { runtime::execve(file, arguments.as_ptr(), environment.as_ptr()) };
    let bytes = name.to_bytes();
    let slashes = bytes.iter().filter(|&&byte| byte == b'/').count();
    if bytes.is_empty() || slashes > 0 {
        return become_file(name);
    }
    let mut why = Errno::NOENT;
    for dir in environment.value("PATH").unwrap_or(USUAL_PATH).split(|&byte| byte == b':') {
        let mut file = Line::default();
        // An empty one is where we are.
        if !dir.is_empty() {
            file.bytes(dir).text("/");
        }
        file.bytes(bytes);
        // What is too long was cut.
        let error = if file.is_full() { Errno::NAMETOOLONG } else { become_file(file.as_cstr()) };
        if status_of(error) != NOT_FOUND {
            why = error;
        }
    }
    why
}

/// How a shell ends where there is no such program.
const NOT_FOUND: i32 = 127;

/// How a shell ends that cannot execute a program: is it not there?
pub fn status_of(why: Errno) -> i32 {
    if matches!(why, Errno::NOENT | Errno::NOTDIR) { NOT_FOUND } else { 126 }
}

/// Signals one process of ours, or the group that it leads.
pub fn send(pid: Pid, number: c_int, to_group: bool) {
    let target = if to_group { -pid.as_raw_pid() } else { pid.as_raw_pid() };
    // SAFETY: takes numbers. rustix knows no signals of real time.
    let _ = unsafe { libc::kill(target, number) };
}

/// Signals everybody but process 1, who we are.
pub fn send_everybody(number: c_int) {
    // SAFETY: takes numbers.
    let _ = unsafe { libc::kill(-1, number) };
}
