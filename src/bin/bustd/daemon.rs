//! Becoming a daemon, and being the only one.

use bustd::read::kfile::parse_leading_u64;
use bustd::sys::line::Line;
use bustd::sys::{self, ByteLock, Forked};
use core::ffi::CStr;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FlockOperation, OFlags, fstat, statat};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};

/// Where root's daemon keeps its pid.
pub const DEFAULT_PIDFILE: &CStr = c"/run/bustd.pid";

/// A pidfile we hold.
pub struct Pidfile {
    /// Holds the lock.
    file: OwnedFd,
    path: &'static CStr,
}

/// Why a pidfile cannot be had.
pub enum PidfileError {
    /// Another instance, with this pid if it could be read, holds it.
    Held(Option<u64>),
    /// It cannot be opened or written.
    Io(Errno),
}

impl From<Errno> for PidfileError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno)
    }
}

impl Pidfile {
    /// Creates `path`, or takes over one that its owner left behind: the lock
    /// tells, not the file.
    ///
    /// # Errors
    /// See [`PidfileError`].
    pub fn create(path: &'static CStr) -> Result<Self, PidfileError> {
        loop {
            let file = open_or_create(path)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(PidfileError::Held(read_pid(&file))),
                Err(errno) => return Err(errno.into()),
            }
            let pidfile = Self { file, path };
            // Its last owner may have removed it between our open and lock.
            if pidfile.is_still_named()? {
                pidfile.write_own_pid()?;
                return Ok(pidfile);
            }
        }
    }

    /// Is what we locked still what the path names?
    fn is_still_named(&self) -> Result<bool, Errno> {
        let ours = fstat(&self.file)?;
        match statat(CWD, self.path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) => Ok((named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    fn write_own_pid(&self) -> Result<(), Errno> {
        let mut text = Line::default();
        text.signed(rustix::process::getpid().as_raw_pid().into()).text("\n");
        rustix::fs::ftruncate(&self.file, 0)?;
        rustix::io::pwrite(&self.file, text.as_bytes(), 0)?;
        Ok(())
    }

    /// The file, for [`sys::lock_byte`].
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Removes it, unless it was replaced by another's.
    pub fn remove(self) {
        if self.is_still_named() == Ok(true) {
            let _ = rustix::fs::unlink(self.path);
        }
    }
}

/// The guard that holds `path`, its pid and its kills, without so much as
/// trying to lock it: one that starts just now must not be told that it is
/// held.
pub fn find_holder(path: &CStr) -> Option<ByteLock> {
    let file = sys::open(CWD, path, OFlags::RDONLY | OFlags::NOFOLLOW).ok()?;
    sys::find_locked_byte(file.as_fd())
}

fn open_or_create(path: &CStr) -> Result<OwnedFd, Errno> {
    // O_NOFOLLOW: never write where somebody's link points.
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match sys::openat(CWD, path, flags | OFlags::CREATE | OFlags::EXCL) {
        Err(Errno::EXIST) => sys::openat(CWD, path, flags),
        created => created,
    }
}

fn read_pid(file: &OwnedFd) -> Option<u64> {
    let mut buf = [0; 16];
    let len = rustix::io::pread(file, &mut buf, 0).ok()?;
    parse_leading_u64(&buf[..len])
}

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
pub fn fork_and_leave() -> Result<Parent, Errno> {
    let (ours, childs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    match sys::fork()? {
        Forked::Child => {
            rustix::process::setsid()?;
            sys::block_hangup();
            Ok(Parent(childs))
        }
        Forked::Parent(child) => {
            drop(childs);
            sys::exit_now(await_child(&ours, child))
        }
    }
}

fn await_child(pipe: &OwnedFd, child: Pid) -> i32 {
    let mut byte = [0];
    let read = rustix::io::retry_on_intr(|| rustix::io::read(pipe, &mut byte));
    if read == Ok(1) {
        return 0;
    }
    // It said why on standard error, which it still shares with us.
    let _ = rustix::process::waitpid(Some(child), WaitOptions::empty());
    1
}

/// Leaves the directory and the streams we were started with.
pub fn detach() {
    let _ = rustix::process::chdir(c"/");
    if let Ok(null) = sys::open(CWD, c"/dev/null", OFlags::RDWR) {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}
