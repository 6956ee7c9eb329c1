//! What a process holds by its open files: memory that is in no process's own
//! figures. `/proc/PID/fd` and `fdinfo` (proc(5)).

use super::kfile::{self, ReadError, open_dir};
use super::listing::{Listed, list_names};
use super::process::{Pid, path_of};
use super::status::{FIRST_ORDINARY_UID, read_status};
use crate::sys::file::is_on_tmpfs;
use crate::sys::time::{SECOND, now_us};
use core::ffi::CStr;
use core::ops::ControlFlow;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, FileType, Mode, statat};

/// What the files that a process has open hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Ends of pipes.
    pub pipes: u32,
    /// Sockets.
    pub sockets: u32,
    /// Files on a tmpfs that are open for writing, memfds and System V segments
    /// included.
    pub tmpfs_kib: u64,
    /// When a small one of those was changed last, in microseconds since 1970, or 0.
    pub small_file_us: u64,
    /// Buffers that devices share (dma-buf, `size` in fdinfo), and memory of graphics
    /// devices (`drm-resident-*`, before that `drm-total-*`, Linux 5.19).
    pub device_kib: u64,
}

/// Larger ones are not small.
const SMALL_FILE_KIB: u64 = 64;

/// A pipe holds 64 KiB unless it was made larger, and has two ends.
const PIPE_END_KIB: u64 = 32;
/// A socket's buffers hold 208 KiB each way by default (`wmem_default`); a pair
/// that fills one way has two ends.
const SOCKET_KIB: u64 = 104;

impl Holdings {
    /// What the kernel may keep for them, in no process's name: an estimate, since
    /// how full a pipe or a socket of another process is cannot be asked.
    pub fn kernel_kib(&self) -> u64 {
        let pipes_kib = u64::from(self.pipes) * PIPE_END_KIB;
        let sockets_kib = u64::from(self.sockets) * SOCKET_KIB;
        self.device_kib.saturating_add(pipes_kib + sockets_kib)
    }

    /// What they hold of `Shmem`, where graphics devices without memory of their own
    /// have theirs.
    pub fn shmem_kib(&self) -> u64 {
        self.tmpfs_kib.saturating_add(self.device_kib)
    }
}

/// Is the file that is open as `name` open for writing, and on a tmpfs? Told without
/// reading its `fdinfo`, which lists every lock on the file, and without asking what may
/// be a dead network disk.
fn is_writable_tmpfs(files: BorrowedFd<'_>, name: &CStr) -> bool {
    let link = statat(files, name, AtFlags::SYMLINK_NOFOLLOW);
    let is_writable = link.is_ok_and(|link| link.st_mode & Mode::WUSR.as_raw_mode() != 0);
    is_writable && is_on_tmpfs(files, name)
}

/// Parses the fdinfo of a dma-buf (`size`, bytes) or of a client of a graphics
/// device (`drm-resident-REGION` or `drm-total-REGION`, with a unit) into KiB. Of
/// a device that tells both, what is resident counts.
pub fn parse_device_kib(text: &[u8]) -> u64 {
    let (mut size_kib, mut resident_kib, mut total_kib) = (0_u64, None, None);
    for line in kfile::lines(text) {
        let Some((key, value)) = kfile::split_key(line) else { continue };
        let kib = parse_amount_kib(value);
        if key == b"size" {
            size_kib = kib;
        } else if key.starts_with(b"drm-resident-") {
            resident_kib = Some(kib.saturating_add(resident_kib.unwrap_or(0)));
        } else if key.starts_with(b"drm-total-") {
            total_kib = Some(kib.saturating_add(total_kib.unwrap_or(0)));
        }
    }
    size_kib.max(resident_kib.or(total_kib).unwrap_or(0))
}

/// `123 KiB`, `4 MiB`, or bytes.
fn parse_amount_kib(value: &[u8]) -> u64 {
    let Some(number) = kfile::parse_leading_u64(value) else { return 0 };
    if value.ends_with(b"KiB") {
        number
    } else if value.ends_with(b"MiB") {
        number.saturating_mul(1024)
    } else {
        number / 1024
    }
}

/// What a descriptor is, by what `/proc/PID/fd/N` points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pipe,
    Socket,
    Device,
    /// Something with a path, a memfd included.
    File,
    Other,
}

fn kind_of(target: &[u8]) -> Kind {
    if target.starts_with(b"pipe:") {
        Kind::Pipe
    } else if target.starts_with(b"socket:") {
        Kind::Socket
    } else if target.starts_with(b"/dmabuf") || target.starts_with(b"/dev/dri/") {
        Kind::Device
    } else if target.starts_with(b"/") {
        Kind::File
    } else {
        Kind::Other
    }
}

/// Of more descriptors than this only a part is looked at, and what it holds stands
/// for the others: a process may have a million.
const SAMPLE: u32 = 128;
/// So many are looked at however late it is: less than that tells nothing.
const LEAST_SAMPLE: u32 = 32;

/// Reads what the open files of `pid` hold, until it is known or the time is up.
/// Asks no file system but tmpfs, and so cannot hang on one.
///
/// # Errors
/// See [`ReadError`]; [`ReadError::NotPermitted`] where we may not trace it.
pub fn read_holdings(proc: BorrowedFd<'_>, pid: Pid, until_us: u64) -> Result<(Holdings, Listed), ReadError> {
    let files = open_dir(proc, path_of(pid, "/fd").as_cstr())?;
    let mut descriptors: u32 = 0;
    let counted = list_names(files.as_fd(), &mut |_| {
        descriptors += 1;
        let is_over = descriptors.is_multiple_of(64) && now_us() >= until_us;
        if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if descriptors == 0 {
        return Ok((Holdings::default(), counted));
    }
    let infos = open_dir(proc, path_of(pid, "/fdinfo").as_cstr())?;
    let owner = Owner::of(proc, pid)?;
    if counted == Listed::Stopped {
        // To list them for the first time may take longer than there is. The table
        // doubles when it is full.
        let fd_size = read_status(proc, pid).ok().and_then(|status| status.fd_size).unwrap_or(0);
        descriptors = descriptors.max((fd_size / 2) as u32);
    }
    let every = descriptors / SAMPLE + 1;
    // Of each run of so many, one that nobody can tell before: the others may be made to
    // look harmless. The clock is the seed, and a step of a linear congruential generator
    // (Knuth's MMIX) is chance enough for each.
    let mut chance = now_us();
    let mut pick = move || {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) as u32 % every
    };
    let (mut at, mut looked_at) = (0u32, 0);
    let mut chosen = 0;
    let mut held = Holdings::default();
    let listed = list_names(files.as_fd(), &mut |name| {
        let place = at % every;
        at += 1;
        if place == 0 {
            chosen = pick();
        }
        if place != chosen {
            return ControlFlow::Continue(());
        }
        looked_at += 1;
        let mut target = [0; 16];
        let Ok(len) = rustix::fs::readlinkat_raw(files.as_fd(), name, &mut target[..]) else {
            return ControlFlow::Continue(());
        };
        match kind_of(&target[..len]) {
            Kind::Pipe if owner.made(files.as_fd(), name).is_some() => held.pipes += every,
            Kind::Socket if owner.made(files.as_fd(), name).is_some() => held.sockets += every,
            Kind::Device => {
                let mut buf = [0; 512];
                let info = kfile::read_small(infos.as_fd(), name, &mut buf);
                // Several descriptors may be one client's: the largest counts.
                held.device_kib = held.device_kib.max(info.map_or(0, parse_device_kib));
            }
            Kind::File => {
                if is_writable_tmpfs(files.as_fd(), name)
                    && let Some(File { kib, changed_us }) = File::read(files.as_fd(), name, owner)
                {
                    held.tmpfs_kib = held.tmpfs_kib.saturating_add(kib.saturating_mul(every.into()));
                    if kib <= SMALL_FILE_KIB {
                        held.small_file_us = held.small_file_us.max(changed_us);
                    }
                }
            }
            Kind::Pipe | Kind::Socket | Kind::Other => {}
        }
        let is_over = looked_at >= LEAST_SAMPLE && now_us() >= until_us;
        if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if listed == Listed::Stopped {
        // What was not reached is taken to be alike.
        let scaled = |count: u64| count.saturating_mul(descriptors.into()) / u64::from(at.max(1));
        held.pipes = scaled(held.pipes.into()) as u32;
        held.sockets = scaled(held.sockets.into()) as u32;
        held.tmpfs_kib = scaled(held.tmpfs_kib);
    }
    Ok((held, listed))
}

/// Longer paths are cut off.
const MAX_PATH: usize = 128;

/// A file by its path.
#[derive(Clone, Copy, Debug)]
pub struct FilePath {
    bytes: [u8; MAX_PATH],
    len: usize,
}

impl FilePath {
    /// No path.
    pub const NONE: Self = Self { bytes: [0; MAX_PATH], len: 0 };

    /// The path, as the kernel tells it; empty where there is none.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Reads into `largest` the path of the largest file on a tmpfs that `pid` has open
/// for writing, as far as that is known in time.
///
/// # Errors
/// See [`ReadError`]; [`ReadError::NotPermitted`] where we may not trace it.
// Out of line, so that kills do not run below it.
#[inline(never)]
pub fn read_largest_tmpfs_file(
    proc: BorrowedFd<'_>,
    pid: Pid,
    until_us: u64,
    largest: &mut FilePath,
) -> Result<(), ReadError> {
    let files = open_dir(proc, path_of(pid, "/fd").as_cstr())?;
    let owner = Owner::of(proc, pid)?;
    let mut most_kib = 0;
    let _ = list_names(files.as_fd(), &mut |name| {
        if is_writable_tmpfs(files.as_fd(), name) {
            let kib = File::read(files.as_fd(), name, owner).map_or(0, |file| file.kib);
            if kib > most_kib
                && let Ok(len) = rustix::fs::readlinkat_raw(files.as_fd(), name, &mut largest.bytes[..])
            {
                (most_kib, largest.len) = (kib, len);
            }
        }
        if now_us() >= until_us { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(())
}

/// A file on a tmpfs.
struct File {
    /// What it takes up.
    kib: u64,
    /// When it was changed last, in microseconds since 1970.
    changed_us: u64,
}

impl File {
    /// What is open as `name`, if it is a regular file that `owner` made.
    #[allow(clippy::unnecessary_cast, reason = "kinds of machines differ in how wide nanoseconds are")]
    fn read(files: BorrowedFd<'_>, name: &CStr, owner: Owner) -> Option<Self> {
        let stat = owner.made(files, name)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return None;
        }
        let changed_us = (stat.st_ctime as u64).saturating_mul(SECOND);
        Some(Self {
            // Blocks are of 512 bytes, whatever the file system's own are. Kinds of machines
            // differ in whether their number has a sign.
            kib: stat.st_blocks as u64 / 2,
            changed_us: changed_us.saturating_add(stat.st_ctime_nsec as u64 / 1000),
        })
    }
}

/// The user whose process has something open.
#[derive(Clone, Copy)]
struct Owner {
    uid: u32,
}

impl Owner {
    /// By the process's `status`: its links are root's where it hides from ptrace(2).
    fn of(proc: BorrowedFd<'_>, pid: Pid) -> Result<Self, ReadError> {
        Ok(Self { uid: read_status(proc, pid)?.uid })
    }

    /// What is open as `name`, if it is this user's: a pipe or socket, or a file of a
    /// tmpfs, none of which can hang. What another has passed on is not what this one
    /// filled, but for ordinary users, one of whom may have many numbers (subuid(5)).
    fn made(self, files: BorrowedFd<'_>, name: &CStr) -> Option<rustix::fs::Stat> {
        let stat = statat(files, name, AtFlags::empty()).ok()?;
        let is_own = stat.st_uid == self.uid || stat.st_uid.min(self.uid) >= FIRST_ORDINARY_UID;
        is_own.then_some(stat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::kfile::Tree;
    use rustix::fs::{MemfdFlags, memfd_create};
    use rustix::process::getpid;

    #[test]
    fn device_memory_is_told_in_three_ways() {
        let buffer =
            b"pos:\t0\nflags:\t02000002\nmnt_id:\t15\nsize:\t8294400\ncount:\t2\nexp_name:\tsystem\n";
        assert_eq!(parse_device_kib(buffer), 8100);
        let client = b"pos:\t0\ndrm-driver:\ti915\ndrm-total-system0:\t9 MiB\ndrm-shared-system0:\t1 MiB\n\
            drm-resident-system0:\t4 MiB\ndrm-resident-stolen:\t300 KiB\ndrm-engine-render:\t5 ns\n";
        assert_eq!(parse_device_kib(client), 4 * 1024 + 300);
        assert_eq!(parse_device_kib(b"drm-total-memory:\t12 KiB\n"), 12);
        assert_eq!(parse_device_kib(b"drm-resident-memory:\t\nsize\n"), 0);
    }

    #[test]
    fn its_own_are_seen() {
        let tree = Tree::open_live().unwrap();
        let read = || {
            let (held, listed) = read_holdings(tree.proc.as_fd(), getpid(), u64::MAX).unwrap();
            assert_eq!(listed, Listed::All);
            held
        };
        let open = || {
            let pipes: [_; 5] = std::array::from_fn(|_| rustix::pipe::pipe().unwrap());
            let sockets = std::os::unix::net::UnixStream::pair().unwrap();
            let memory = memfd_create(c"test", MemfdFlags::CLOEXEC).unwrap();
            assert_eq!(rustix::io::write(&memory, &[1; 300 << 10]), Ok(300 << 10));
            (pipes, sockets, memory)
        };
        // Other tests of this process open files meanwhile, and close them.
        let is_seen = |_| {
            let before = read();
            let _files = open();
            let now = read();
            now.pipes >= before.pipes + 10
                && now.sockets >= before.sockets + 2
                && now.tmpfs_kib >= before.tmpfs_kib + 300
        };
        assert!((0..1000).any(is_seen));
        let _files = open();
        let mut path = FilePath::NONE;
        let read = read_largest_tmpfs_file(tree.proc.as_fd(), getpid(), u64::MAX, &mut path);
        assert_eq!(read, Ok(()));
        assert_eq!(path.as_bytes(), b"/memfd:test (deleted)");
    }
}
