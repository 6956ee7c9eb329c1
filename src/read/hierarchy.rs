//! Which directory is a process's cgroup, and which cgroup a directory is:
//! `/proc/self/mountinfo` (proc(5)) between `/proc/PID/cgroup` and the file system.

use crate::read::cgroup::{Cgroup, Version, parse_hierarchy, path_below, push_unescaped};
use crate::read::kfile::{self, ReadError, Tree};
use crate::read::membership::{MAX_PATH, read_own_membership, read_version};
use crate::sys::file::open;
use crate::sys::line::{Joined, Line};
use core::ffi::CStr;
use core::ops::ControlFlow;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, OFlags, readlinkat_raw};
use rustix::io::Errno;

/// Longer lines of mountinfo are passed over: those of overlays are, as a rule.
const MOUNT_LEN: usize = 1024;

/// A cgroup that was found.
#[derive(Debug)]
pub struct Found {
    /// Its directory.
    pub cgroup: Cgroup,
    /// Its path, as `/proc/PID/cgroup` tells it.
    pub path: Line,
    /// Where its hierarchy is mounted.
    mount: OwnedFd,
    /// How much of the path is that of the cgroup at the root of the mount.
    root_len: usize,
}

impl Found {
    /// Opens the cgroup at its path anew; with `own`, which is /proc, that at our own path
    /// now, unless that is what it was. Tells whether anything changed.
    ///
    /// # Errors
    /// See [`ReadError`]; [`ReadError::Missing`] where it is not below the mount. Then
    /// nothing changed.
    // Out of line: it is hardly ever called.
    #[inline(never)]
    pub fn reopen(&mut self, own: Option<BorrowedFd<'_>>) -> Result<bool, ReadError> {
        let mut path = self.path.clone();
        if let Some(proc) = own {
            read_own_path(proc, self.cgroup.version, &mut path)?;
            if path.as_bytes() == self.path.as_bytes() {
                return Ok(false);
            }
        }
        let below = path_below(&self.path.as_bytes()[..self.root_len], path.as_bytes());
        let below = below.ok_or(ReadError::Missing)?;
        self.cgroup = open_below(&self.mount, &path, self.root_len, self.cgroup.version, below)?;
        self.path = path;
        Ok(true)
    }
}

/// Opens the cgroup with this path, of which `below` is what is below the mount.
fn open_below(
    mount: &OwnedFd,
    path: &Line,
    root_len: usize,
    version: Version,
    below: &[u8],
) -> Result<Cgroup, ReadError> {
    let name = if below.is_empty() { c"." } else { &path.as_cstr()[root_len + 1..] };
    let dir = open(mount.as_fd(), name, OFlags::PATH | OFlags::DIRECTORY)?;
    Cgroup::of(dir, version, names_in(below))
}

/// Reads the path of our own cgroup in the hierarchy of `version`.
///
/// # Errors
/// See [`read_own_membership`]; ENAMETOOLONG for more than [`MAX_PATH`].
pub fn read_own_path(proc: BorrowedFd<'_>, version: Version, own: &mut Line) -> Result<(), ReadError> {
    own.clear();
    read_own_membership(proc, version, &mut |path| {
        own.bytes(path);
    })?;
    if own.as_bytes().len() > MAX_PATH { Err(ReadError::Io(Errno::NAMETOOLONG)) } else { Ok(()) }
}

/// Hands each mounted hierarchy of memory to `told` as its version, the cgroup at its
/// root and where it is mounted.
fn read_hierarchies(
    proc: BorrowedFd<'_>,
    told: &mut dyn FnMut(Version, &[u8], &Line),
) -> Result<(), ReadError> {
    let mut buf = [0; MOUNT_LEN];
    let (mut root, mut point) = (Line::default(), Line::default());
    kfile::read_lines(proc, c"self/mountinfo", &mut buf, &mut |line| {
        if let Some(hierarchy) = parse_hierarchy(line) {
            root.clear();
            push_unescaped(&mut root, hierarchy.root);
            point.clear();
            push_unescaped(&mut point, hierarchy.point);
            // The root's own path ends with its slash.
            let root = root.as_bytes();
            told(hierarchy.version, root.strip_suffix(b"/").unwrap_or(root), &point);
        }
        ControlFlow::Continue(())
    })
}

/// How many names there are in a path that begins with a slash, or is empty.
fn names_in(path: &[u8]) -> u32 {
    path.iter().filter(|&&byte| byte == b'/').count() as u32
}

/// Finds our own cgroup, in the hierarchy that has the memory controller.
///
/// # Errors
/// [`ReadError::Missing`] where it is not below any mount that we can see.
// Out of line: it is hardly ever called, and its buffers are large.
#[inline(never)]
pub fn find_own(tree: &Tree) -> Result<Found, ReadError> {
    let proc = tree.proc.as_fd();
    let version = read_version(proc)?;
    let mut path = Line::default();
    read_own_path(proc, version, &mut path)?;
    let mut found = Err(ReadError::Missing);
    read_hierarchies(proc, &mut |kind, root, point| {
        let Some(below) = path_below(root, path.as_bytes()).filter(|_| kind == version) else {
            return;
        };
        // Of mounts over each other the last is seen.
        if let Ok(mount) = tree.open_path(point.as_cstr())
            && let Ok(cgroup) = open_below(&mount, &path, root.len(), version, below)
        {
            found = Ok((cgroup, mount, root.len()));
        }
    })?;
    found.map(|(cgroup, mount, root_len)| Found { cgroup, path, mount, root_len })
}

/// Finds the cgroup whose directory is `place`.
///
/// # Errors
/// Those of openat(2), and [`ReadError::Malformed`] where it is no cgroup of a
/// hierarchy that has memory.
#[inline(never)]
pub fn find_at(tree: &Tree, place: &CStr) -> Result<Found, ReadError> {
    let dir = tree.open_path(place)?;
    let mut real = Line::default();
    if tree.live {
        push_real_path(&mut real, dir.as_fd());
    } else {
        real.bytes(place.to_bytes());
    }
    // The mount with the longest path is the one that it is below.
    let (mut best, mut longest) = (None, 0);
    let mut path = Line::default();
    read_hierarchies(tree.proc.as_fd(), &mut |version, root, point| {
        if let Some(below) = path_below(point.as_bytes(), real.as_bytes())
            && point.as_bytes().len() >= longest
        {
            longest = point.as_bytes().len();
            path.clear();
            path.bytes(root).bytes(below);
            let levels_above = names_in(below);
            best =
                tree.open_path(point.as_cstr()).ok().map(|mount| (version, levels_above, mount, root.len()));
        }
    })?;
    let (version, levels_above, mount, root_len) = best.ok_or(ReadError::Malformed)?;
    if path.as_bytes().len() > MAX_PATH {
        return Err(ReadError::Io(Errno::NAMETOOLONG));
    }
    if path.as_bytes().is_empty() {
        path.text("/");
    }
    let cgroup = Cgroup::of(dir, version, levels_above).map_err(|_| ReadError::Malformed)?;
    Ok(Found { cgroup, path, mount, root_len })
}

/// Appends where an open directory is.
pub fn push_real_path(path: &mut Line, dir: BorrowedFd<'_>) {
    let link = Joined::with_number("/proc/self/fd/", dir.as_raw_fd().unsigned_abs().into());
    let mut buf = [0; MAX_PATH];
    if let Ok(len) = readlinkat_raw(CWD, link.as_cstr(), &mut buf[..]) {
        path.bytes(&buf[..len]);
    }
}
