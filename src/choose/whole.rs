//! A cgroup that dies as a whole: because its owner says so (`memory.oom.group`, Linux
//! 4.19), or because the user does (`--kill-cgroup`).

use super::scope::Scope;
use crate::read::cgroup::{Cgroup, Version, path_below};
use crate::read::kfile::{ReadError, read_lines, read_number};
use crate::read::membership::{MAX_PATH, reader};
use crate::read::process::{Leader, Pid, is_in_first_pid_namespace, read_stat};
use crate::sys::file::open;
use crate::sys::line::text_in;
use core::ops::ControlFlow;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, OFlags, statat};
use rustix::io::Errno;

/// Names of cgroups that are asked below the guarded one. A user may nest as many as
/// the length of a path allows.
const MAX_DEPTH: u32 = 64;

/// A cgroup below the guarded one, by its path.
#[derive(Clone, Copy, Debug)]
pub struct Whole {
    version: Version,
    /// Zero behind the path.
    path: [u8; MAX_PATH + 1],
    /// Where the part begins that is below the guarded cgroup.
    below: usize,
    /// Whose directory it is: a user to whom it was delegated decides who of their own is
    /// in it, and root decides about everybody.
    pub owner: u32,
    /// Whether its own `memory.oom.group` says so.
    pub is_declared: bool,
    /// Whether we are in it, or process 1.
    pub is_ours: bool,
}

impl Whole {
    /// Its path, as `/proc/PID/cgroup` tells it.
    pub fn path(&self) -> &[u8] {
        text_in(&self.path).to_bytes()
    }

    /// Opens its directory below the guarded cgroup's.
    fn open(&self, root: &OwnedFd) -> Result<OwnedFd, Errno> {
        let below = self.path.get(self.below..).map_or(c"", text_in);
        open(root.as_fd(), below, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// Makes it the topmost cgroup on its path that is declared to be one; its own where
    /// none is.
    fn rise(&mut self, root: &OwnedFd) {
        let mut at = self.below;
        for _ in 0..MAX_DEPTH {
            let Some(len) = self.path[at..].iter().position(|&byte| byte == b'/' || byte == 0) else {
                return;
            };
            let end = at + len;
            let behind = core::mem::take(&mut self.path[end]);
            let dir = self.open(root).map_err(ReadError::from);
            let declared = dir.and_then(|dir| read_number(dir.as_fd(), c"memory.oom.group"));
            self.is_declared = declared == Ok(1);
            if self.is_declared || behind == 0 {
                return;
            }
            self.path[end] = behind;
            at = end + 1;
        }
    }

    /// Is the process in this cgroup, or in one below it?
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn has(&self, proc: BorrowedFd<'_>, pid: Pid, leader: Leader) -> Result<bool, ReadError> {
        let mut is_in = false;
        reader(leader)(proc, pid, Some(self.version), &mut |path| {
            is_in = path_below(self.path(), path).is_some();
        })?;
        Ok(is_in)
    }

    /// Are we in it, or process 1? When in doubt we are.
    fn may_hold_us(&self, proc: BorrowedFd<'_>, own: Pid) -> bool {
        [own, Pid::INIT].into_iter().any(|pid| self.has(proc, pid, Leader::TakenToLive) != Ok(false))
    }
}

impl Scope<'_> {
    /// Finds the cgroup that dies with `pid`: of those below the guarded one that it is
    /// in, the topmost that is declared to be one, as for the kernel; else with
    /// `is_wanted` its own. `None` where there is none, also for who is in the guarded
    /// cgroup itself.
    // Out of line, so that kills do not run below what it reads.
    #[inline(never)]
    pub fn find_whole(&self, proc: BorrowedFd<'_>, pid: Pid, own: Pid, is_wanted: bool) -> Option<Whole> {
        self.with_root(|cgroup, up, root| {
            let mut whole = Whole {
                version: cgroup.version,
                path: [0; MAX_PATH + 1],
                below: 0,
                owner: 0,
                is_declared: false,
                is_ours: false,
            };
            let leader = read_stat(proc, pid).map_or(Leader::TakenToLive, |stat| stat.leader());
            let _ = reader(leader)(proc, pid, Some(cgroup.version), &mut |path| {
                let below = path_below(root, path).filter(|below| !below.is_empty());
                if let (Some(below), Some(place)) = (below, whole.path[..MAX_PATH].get_mut(..path.len())) {
                    place.copy_from_slice(path);
                    whole.below = path.len() - below.len() + 1;
                }
            });
            // Who is in the guarded cgroup itself has no other.
            if whole.below == 0 {
                return None;
            }
            let root = open_root(cgroup, up)?;
            whole.rise(&root);
            if !whole.is_declared && !is_wanted {
                return None;
            }
            let dir = whole.open(&root).ok()?;
            whole.owner = statat(&dir, c".", AtFlags::empty()).ok()?.st_uid;
            whole.is_ours = whole.may_hold_us(proc, own);
            Some(whole)
        })
    }

    /// The cgroup of version 2 with this path, as `/proc/PID/cgroup` tells it: what rules have
    /// found. It is root who decides who dies with it, whoever it was delegated to, for a
    /// user may have many numbers (subuid(5)). `None` where the path is too long.
    #[cfg(feature = "rules")]
    // Out of line, so that kills do not run below what it reads.
    #[inline(never)]
    pub fn whole_at(&self, proc: BorrowedFd<'_>, own: Pid, path: &[u8]) -> Option<Whole> {
        let mut whole = Whole {
            version: Version::V2,
            path: [0; MAX_PATH + 1],
            below: path.len(),
            owner: 0,
            is_declared: false,
            is_ours: false,
        };
        whole.path[..MAX_PATH].get_mut(..path.len())?.copy_from_slice(path);
        whole.is_ours = whole.may_hold_us(proc, own);
        // Elsewhere it cannot be killed at once, and they are signalled one by one.
        let _ = self.with_root(|cgroup, _, root| {
            let below = path_below(root, path).filter(|_| cgroup.version == Version::V2)?;
            whole.below = path.len() - below.len() + 1;
            Some(())
        });
        Some(whole)
    }

    /// Opens the file that kills whoever is in this cgroup or below it (Linux 5.14).
    ///
    /// # Errors
    /// Those of openat(2): there is none in version 1. EPERM where somebody whom our pid
    /// namespace does not show is in it, or may be.
    pub fn open_kill(&self, proc: BorrowedFd<'_>, whole: &Whole) -> Result<OwnedFd, Errno> {
        let open = |cgroup: &Cgroup, up: u32| {
            let dir = whole.open(&open_root(cgroup, up).ok_or(Errno::NOENT)?)?;
            let file = open(dir.as_fd(), c"cgroup.kill", OFlags::WRONLY)?;
            if is_in_first_pid_namespace(proc) || shows_all_of(&dir) { Ok(file) } else { Err(Errno::PERM) }
        };
        self.with_root(|cgroup, up, _| Some(open(cgroup, up))).unwrap_or(Err(Errno::NOENT))
    }
}

/// Does our pid namespace show everybody in the cgroup with this directory? `cgroup.procs`
/// tells of others as 0. What is below it is not gone through, so there must be nothing.
fn shows_all_of(dir: &OwnedFd) -> bool {
    let mut buf = [0; 64];
    let mut is_shown = statat(dir, c".", AtFlags::empty()).is_ok_and(|stat| stat.st_nlink <= 2);
    let read = read_lines(dir.as_fd(), c"cgroup.procs", &mut buf, &mut |line| {
        is_shown &= line != b"0";
        ControlFlow::Continue(())
    });
    is_shown && read.is_ok()
}

fn open_root(cgroup: &Cgroup, up: u32) -> Option<OwnedFd> {
    cgroup.open_file(up, ".", OFlags::PATH).ok()
}
