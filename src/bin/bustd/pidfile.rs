//! Being the only guard: the pidfile.

use bustd::sys::file::{open, openat};
use bustd::sys::line::Line;
use bustd::sys::lock::{self, Held, lock_all};
use bustd::sys::time;
use core::ffi::CStr;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, OFlags, fstat, statat, unlink};
use rustix::io::Errno;

/// Where root's daemon keeps its pid.
pub const DEFAULT_PIDFILE: &CStr = c"/run/bustd.pid";

/// Where a guard that a service manager runs as another user keeps it.
const SERVICE_PIDFILE: &CStr = c"/run/bustd/bustd.pid";

/// Where a guard that nobody told otherwise may have its pid.
pub const USUAL_PIDFILES: [&CStr; 2] = [DEFAULT_PIDFILE, SERVICE_PIDFILE];

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
    pub fn remove(&self) {
        if self.is_still_named() == Ok(true) {
            let _ = unlink(self.path);
        }
    }
}

/// A guard that is running.
pub struct Running {
    /// 0 where it is outside of our pid namespace.
    pub pid: i32,
    /// What it tells on its pidfile, if it has one.
    pub kills: Option<u64>,
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
