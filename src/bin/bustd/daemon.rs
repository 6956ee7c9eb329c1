//! Becoming a daemon, and being the only one.

use bustd::sys::child::{self, Forked, exit_now};
use bustd::sys::file::{open, openat};
use bustd::sys::line::Line;
use bustd::sys::lock::{self, Held, lock_all};
use bustd::sys::signals::block_hangup;
use bustd::sys::time;
use core::ffi::CStr;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, OFlags, fstat, statat, unlink};
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
    /// Another instance holds it, with this pid; 0 is one outside of our pid
    /// namespace.
    Held(i32),
    /// It is not a file of its own: a directory, a device, or one that has another
    /// name besides, which must not be emptied.
    NotAFile,
    /// It cannot be opened or written.
    Io(Errno),
}

impl From<Errno> for PidfileError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno)
    }
}

/// Others may be starting, ending or locking at the same time; it is tried this
/// often.
const ATTEMPTS: u32 = 100;
/// So often a file that is locked, but by no guard, may be one that a guard is
/// about to hold.
const STARTING_ATTEMPTS: u32 = 10;
const STARTING_PAUSE_US: u64 = 10_000;

impl Pidfile {
    /// Creates `path`, or takes over one that its owner left behind: the lock
    /// tells, not the file.
    ///
    /// # Errors
    /// See [`PidfileError`].
    pub fn create(path: &'static CStr) -> Result<Self, PidfileError> {
        for attempt in 0..ATTEMPTS {
            let pidfile = Self { file: open_or_create(path)?, path };
            let stat = fstat(&pidfile.file)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink > 1 {
                return Err(PidfileError::NotAFile);
            }
            let locked = lock_all(pidfile.file.as_fd());
            if !pidfile.is_still_named()? {
                // Its last owner has removed it between our open and lock.
                continue;
            }
            match (locked, lock::find_holder(pidfile.file.as_fd())) {
                (Ok(()), _) => {
                    pidfile.write_own_pid()?;
                    return Ok(pidfile);
                }
                (Err(_), Some(held)) => return Err(PidfileError::Held(held.pid)),
                // A guard that is starting too takes its second lock next.
                (Err(Errno::AGAIN | Errno::ACCESS), None) if attempt < STARTING_ATTEMPTS => {
                    time::pause(STARTING_PAUSE_US);
                }
                // Somebody who may only read it has locked it for reading, which
                // no guard does: they may keep that file. It may be gone by now.
                (Err(Errno::AGAIN | Errno::ACCESS), None) => match unlink(path) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(errno.into()),
                },
                (Err(errno), None) => return Err(errno.into()),
            }
        }
        Err(PidfileError::Io(Errno::BUSY))
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

    /// The file, for [`unlock_before`](bustd::sys::lock::unlock_before).
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Removes it, unless it was replaced by another's.
    pub fn remove(self) {
        if self.is_still_named() == Ok(true) {
            let _ = unlink(self.path);
        }
    }
}

/// The guard that holds `path`, its pid and its kills, without so much as
/// trying to lock it: one that starts just now must not be told that it is
/// held.
pub fn find_holder(path: &CStr) -> Option<Held> {
    let file = open(CWD, path, OFlags::RDONLY | OFlags::NOFOLLOW).ok()?;
    lock::find_holder(file.as_fd())
}

fn open_or_create(path: &CStr) -> Result<OwnedFd, Errno> {
    // O_NOFOLLOW: never write where somebody's link points.
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match openat(CWD, path, flags | OFlags::CREATE | OFlags::EXCL) {
        Err(Errno::EXIST) => openat(CWD, path, flags),
        created => created,
    }
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
///
/// # Safety
/// That of [`child::fork`].
#[allow(unsafe_code)]
pub unsafe fn fork_and_leave() -> Result<Parent, Errno> {
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
            exit_now(await_child(&ours, child))
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
    if let Ok(null) = open(CWD, c"/dev/null", OFlags::RDWR) {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}
