//! In which cgroup a process is: `/proc/PID/cgroup` (cgroups(7)).

use crate::read::cgroup::{Version, has_memory};
use crate::read::kfile::{self, ReadError};
use crate::read::process::{Leader, Pid, ask_threads, path_of, read_stat};
use crate::sys::time::now_us;
use core::ffi::CStr;
use core::ops::ControlFlow;
use rustix::fd::BorrowedFd;

/// Parses a line of `/proc/PID/cgroup`, `ID:controllers:path`: which version it is
/// about, and the path of the process's cgroup below the root of our cgroup
/// namespace, or with `/..` above it. `None` for hierarchies without memory. Nothing
/// in the path is escaped; a newline cannot be in it.
pub fn parse_membership(line: &[u8]) -> Option<(Version, &[u8])> {
    let (id, rest) = kfile::split_at(line, b':')?;
    let (controllers, path) = kfile::split_at(rest, b':')?;
    let version = match controllers {
        b"" if id == b"0" => Version::V2,
        _ if has_memory(controllers) => Version::V1,
        _ => return None,
    };
    (path.first() == Some(&b'/')).then_some((version, path))
}

/// Longer paths of cgroups are not kept. Kubernetes makes about two hundred bytes.
pub const MAX_PATH: usize = 384;

/// Longer than any path that is kept: what comes behind the start of a line is of no
/// matter.
const LINE_LEN: usize = MAX_PATH + 48;

/// So long a living thread is looked for.
const THREADS_US: u64 = 1000;

/// Hands the path of the cgroup of `pid` to `told`: that of the hierarchy of `version`,
/// with `None` of version 1 if that has the memory controller, and not the end of one
/// that is long.
///
/// # Errors
/// See [`ReadError`]; [`ReadError::Malformed`] where there is no such hierarchy, and
/// [`HIDING`](crate::read::process::HIDING).
pub fn read_membership(
    proc: BorrowedFd<'_>,
    pid: Pid,
    version: Option<Version>,
    told: &mut dyn FnMut(&[u8]),
) -> Result<(), ReadError> {
    // Version 1 shows at the root whoever has exited, living threads or not.
    let mut is_at_root = false;
    read_line(proc, path_of(pid, "/cgroup").as_cstr(), version, &mut |found, path| {
        is_at_root = found == Version::V1 && path == b"/";
        if !is_at_root {
            told(path);
        }
    })?;
    if !is_at_root {
        return Ok(());
    }
    if read_stat(proc, pid)?.has_leader_exited() {
        return read_membership_of_threads(proc, pid, version, told);
    }
    told(b"/");
    Ok(())
}

/// What tells where a process is.
pub type Reader = fn(BorrowedFd<'_>, Pid, Option<Version>, &mut dyn FnMut(&[u8])) -> Result<(), ReadError>;

/// What tells where a process with such a first thread is. After one that has exited the
/// others may have been moved, and version 2 shows it where it was.
pub fn reader(leader: Leader) -> Reader {
    match leader {
        Leader::TakenToLive => read_membership,
        Leader::Exited => read_membership_of_threads,
    }
}

/// The same, told by the first thread that lives.
///
/// # Errors
/// The same.
// Out of line: it is hardly ever called.
#[inline(never)]
pub fn read_membership_of_threads(
    proc: BorrowedFd<'_>,
    pid: Pid,
    version: Option<Version>,
    told: &mut dyn FnMut(&[u8]),
) -> Result<(), ReadError> {
    ask_threads(proc, pid, now_us() + THREADS_US, &mut |tasks, tid| {
        if read_stat(tasks, tid)?.has_leader_exited() {
            return Err(ReadError::Missing);
        }
        read_line(tasks, path_of(tid, "/cgroup").as_cstr(), version, &mut |_, path| told(path))
    })
}

/// Hands the path of our own cgroup to `told`.
///
/// # Errors
/// Those of [`read_membership`].
pub fn read_own_membership(
    proc: BorrowedFd<'_>,
    version: Version,
    told: &mut dyn FnMut(&[u8]),
) -> Result<(), ReadError> {
    read_line(proc, c"self/cgroup", Some(version), &mut |_, path| told(path))
}

// Out of line, so that its buffer is not on the stack of who asks.
#[inline(never)]
fn read_line(
    dir: BorrowedFd<'_>,
    path: &CStr,
    version: Option<Version>,
    told: &mut dyn FnMut(Version, &[u8]),
) -> Result<(), ReadError> {
    let mut buf = [0; LINE_LEN];
    let mut result = Err(ReadError::Malformed);
    kfile::read_line_starts(dir, path, &mut buf, &mut |line| match parse_membership(line) {
        // Version 2 is told last.
        Some((found, path)) if version.is_none_or(|version| version == found) => {
            told(found, path);
            result = Ok(());
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    })?;
    result
}

/// Which version has the memory controller, for all that `/proc/self/cgroup` tells: the
/// first where that is mounted at all, in hybrids too.
///
/// # Errors
/// See [`ReadError`]; [`ReadError::Malformed`] where there are no cgroups.
pub fn read_version(proc: BorrowedFd<'_>) -> Result<Version, ReadError> {
    read_own_membership(proc, Version::V1, &mut |_| {})
        .map(|()| Version::V1)
        .or_else(|_| read_own_membership(proc, Version::V2, &mut |_| {}).map(|()| Version::V2))
}
