//! Becoming a daemon.

use crate::console::complaint;
use bustd::sys::child::{self, Forked, exit_now};
use bustd::sys::file::{open, stderr};
use bustd::sys::line::named;
use bustd::sys::signals::block_hangup;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};

/// The child's end of the pipe its parent waits on.
pub struct Parent(OwnedFd);

impl Parent {
    /// Tells the parent that we are watching: it returns 0.
    pub fn release(self) {
        let _ = rustix::io::write(&self.0, b"1");
    }
}

/// Forks. The parent does not return from here: it exits 0 once the child says
/// that it is watching, 1 if it never does. The child leads a new session.
///
/// # Errors
/// Those of pipe(2) and fork(2).
///
/// # Safety
/// That of [`child::fork`].
#[allow(unsafe_code)]
pub unsafe fn fork_and_leave(dry_run: bool) -> Result<Parent, Errno> {
    let (ours, childs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // SAFETY: the caller's promise.
    match unsafe { child::fork() }? {
        Forked::Child => {
            rustix::process::setsid()?;
            block_hangup();
            Ok(Parent(childs))
        }
        Forked::Parent(child) => {
            drop(childs);
            exit_now(await_child(&ours, child, dry_run))
        }
    }
}

fn await_child(pipe: &OwnedFd, child: Pid, dry_run: bool) -> i32 {
    let mut byte = [0];
    let read = rustix::io::retry_on_intr(|| rustix::io::read(pipe, &mut byte));
    if read == Ok(1) {
        if rustix::termios::isatty(stderr()) {
            say_how_to_stop(child, dry_run);
        }
        return 0;
    }
    // It said why on standard error, which it still shares with us.
    let _ = rustix::process::waitpid(Some(child), WaitOptions::empty());
    1
}

/// Whoever started it may not have known that this starts a guard.
fn say_how_to_stop(child: Pid, dry_run: bool) {
    let pid = child.as_raw_pid().into();
    let mut line = complaint();
    line.text(named!("guarding in the background as pid ")).signed(pid);
    line.text(if dry_run { named!("; it kills nobody") } else { named!("; it kills when memory runs out") });
    line.text(named!(". Stop it: kill ")).signed(pid);
    line.text(named!("; ask it: bustd --status\n"));
    let _ = rustix::io::write(stderr(), line.as_bytes());
}

/// Leaves the directory and the streams we were started with.
pub fn detach() {
    let _ = rustix::process::chdir(c"/");
    if let Ok(null) = open(CWD, c"/dev/null", OFlags::RDWR) {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

/// Are we process 1?
pub fn is_init() -> bool {
    rustix::process::getpid().is_init()
}
