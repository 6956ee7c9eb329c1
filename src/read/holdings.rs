//! What a process holds by its open files: memory that is in no process's own
//! figures. `/proc/PID/fd`, `fdinfo` and `mountinfo` (proc(5)).

use super::kfile::{self, ReadError, open_dir};
use super::listing::{Listed, list_names};
use super::process::{Pid, path_of};
use super::status::read_status;
use crate::sys::line::{Joined, Word};
use crate::sys::time::now_us;
use core::ffi::CStr;
use core::ops::ControlFlow;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{AtFlags, FileType, MemfdFlags, memfd_create, statat};

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
    /// Buffers that devices share (dma-buf, `size` in fdinfo), and memory of graphics
    /// devices (`drm-resident-*`, before that `drm-total-*`, Linux 5.19).
    pub device_kib: u64,
}

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

/// Mounts that are told apart.
const MOUNTS: usize = 16;
/// Lines of mountinfo, and time spent on it. A user namespace may have 100,000
/// mounts by default, and reading three thousand takes 36 ms.
const MAX_MOUNTINFO_LINES: u32 = 2000;
const MAX_MOUNTINFO_US: u64 = 10_000;

/// Which mounts are a tmpfs, as far as has been asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mounts {
    known: [Option<(u64, bool)>; MOUNTS],
    /// The place of the next that is not known.
    next: usize,
}

impl Mounts {
    /// Knows the kernel's own mount, which is in no mountinfo: memfds and System V
    /// segments are there.
    pub fn with_internal(proc: BorrowedFd<'_>) -> Self {
        let mut mounts = Self::default();
        if let Some(id) = read_internal_mount(proc) {
            mounts.note(id, true);
        }
        mounts
    }

    fn note(&mut self, id: u64, is_tmpfs: bool) {
        self.known[self.next] = Some((id, is_tmpfs));
        // The first place stays with the kernel's own mount.
        self.next = if self.next + 1 < MOUNTS { self.next + 1 } else { 1 };
    }

    /// Is the mount `id`, of the process's namespace, a tmpfs? One of so many that it
    /// cannot be told is taken to be: nobody is to be safe by having many.
    fn is_tmpfs(&mut self, proc: BorrowedFd<'_>, pid: Pid, id: u64) -> bool {
        if let Some((_, is_tmpfs)) = self.known.iter().flatten().find(|known| known.0 == id) {
            return *is_tmpfs;
        }
        let until_us = now_us() + MAX_MOUNTINFO_US;
        let (mut is_tmpfs, mut lines) = (false, 0);
        let mut buf = [0; 512];
        let _ = kfile::read_lines(proc, path_of(pid, "/mountinfo").as_cstr(), &mut buf, &mut |line| {
            lines += 1;
            let found = parse_mount(line, id);
            let is_over = lines > MAX_MOUNTINFO_LINES || lines % 64 == 0 && now_us() > until_us;
            is_tmpfs = found.unwrap_or(is_over);
            if found.is_some() || is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        self.note(id, is_tmpfs);
        is_tmpfs
    }
}

/// The number of the mount that memfds are on (Linux 3.17, fdinfo's `mnt_id` 3.15).
fn read_internal_mount(proc: BorrowedFd<'_>) -> Option<u64> {
    let file = memfd_create(c"bustd", MemfdFlags::CLOEXEC).ok()?;
    let path = Joined::with_number("self/fdinfo/", file.as_raw_fd().unsigned_abs().into());
    let mut buf = [0; 256];
    parse_writable_mount(kfile::read_small(proc, path.as_cstr(), &mut buf).ok()?)
}

/// Is this line of `/proc/PID/mountinfo`, `ID parent major:minor root point
/// options [tags] - type source options`, that of mount `id`, and then a tmpfs?
pub fn parse_mount(line: &[u8], id: u64) -> Option<bool> {
    let mut fields = kfile::fields(line);
    if fields.next().and_then(kfile::parse_u64) != Some(id) {
        return None;
    }
    let has_type = fields.any(|field| field == b"-");
    Some(has_type && matches!(fields.next(), Some(b"tmpfs" | b"rootfs")))
}

/// Parses `/proc/PID/fdinfo/FD` into the number of the mount that the file is on, if
/// it is open for writing.
pub fn parse_writable_mount(text: &[u8]) -> Option<u64> {
    const KEYS: [Word; 2] = [Word::new("flags"), Word::new("mnt_id")];
    let [flags, mount] = kfile::numbers_of(text, &KEYS);
    // Flags are octal; read as decimal the last digit is the same, and its
    // lower two bits are O_ACCMODE, 0 for reading.
    let last_digit = flags? % 10;
    if last_digit & 3 == 0 { None } else { mount }
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
pub fn read_holdings(
    proc: BorrowedFd<'_>,
    pid: Pid,
    mounts: &mut Mounts,
    until_us: u64,
) -> Result<(Holdings, Listed), ReadError> {
    let files = open_dir(proc, path_of(pid, "/fd").as_cstr())?;
    let infos = open_dir(proc, path_of(pid, "/fdinfo").as_cstr())?;
    let mut descriptors: u32 = 0;
    let counted = list_names(files.as_fd(), &mut |_| {
        descriptors += 1;
        let is_over = descriptors.is_multiple_of(64) && now_us() >= until_us;
        if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if counted == Listed::Stopped {
        // To list them for the first time may take longer than there is. The table
        // doubles when it is full.
        let fd_size = read_status(proc, pid).ok().and_then(|status| status.fd_size).unwrap_or(0);
        descriptors = descriptors.max((fd_size / 2) as u32);
    }
    let every = descriptors / SAMPLE + 1;
    let (mut at, mut looked_at) = (0, 0);
    let mut held = Holdings::default();
    let listed = list_names(files.as_fd(), &mut |name| {
        at += 1;
        if at % every != 0 {
            return ControlFlow::Continue(());
        }
        looked_at += 1;
        let mut target = [0; 16];
        let Ok(len) = rustix::fs::readlinkat_raw(files.as_fd(), name, &mut target[..]) else {
            return ControlFlow::Continue(());
        };
        match kind_of(&target[..len]) {
            Kind::Pipe => held.pipes += every,
            Kind::Socket => held.sockets += every,
            Kind::Device => {
                let mut buf = [0; 512];
                let info = kfile::read_small(infos.as_fd(), name, &mut buf);
                // Several descriptors may be one client's: the largest counts.
                held.device_kib = held.device_kib.max(info.map_or(0, parse_device_kib));
            }
            Kind::File => {
                let mut buf = [0; 256];
                let info = kfile::read_small(infos.as_fd(), name, &mut buf);
                let mount = info.ok().and_then(parse_writable_mount);
                if mount.is_some_and(|mount| mounts.is_tmpfs(proc, pid, mount)) {
                    let file_kib = read_file_kib(files.as_fd(), name);
                    held.tmpfs_kib = held.tmpfs_kib.saturating_add(file_kib.saturating_mul(every.into()));
                }
            }
            Kind::Other => {}
        }
        let is_over = looked_at >= LEAST_SAMPLE && now_us() >= until_us;
        if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if listed == Listed::Stopped {
        // What was not reached is taken to be alike.
        let scaled = |count: u64| count.saturating_mul(descriptors.into()) / u64::from(at);
        held.pipes = scaled(held.pipes.into()) as u32;
        held.sockets = scaled(held.sockets.into()) as u32;
        held.tmpfs_kib = scaled(held.tmpfs_kib);
    }
    Ok((held, listed))
}

/// What a file on a tmpfs takes up.
fn read_file_kib(files: BorrowedFd<'_>, name: &CStr) -> u64 {
    let stat = statat(files, name, AtFlags::empty());
    let is_file = |mode| FileType::from_raw_mode(mode) == FileType::RegularFile;
    // Blocks are of 512 bytes, whatever the file system's own are.
    stat.ok().filter(|stat| is_file(stat.st_mode)).map_or(0, |stat| stat.st_blocks.unsigned_abs() / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::kfile::Tree;
    use rustix::process::getpid;
    use std::vec::Vec;

    #[test]
    fn a_mount_is_found_by_its_number() {
        let line = b"36 35 0:31 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,size=1k";
        assert_eq!(parse_mount(line, 36), Some(true));
        assert_eq!(parse_mount(line, 35), None);
        assert_eq!(parse_mount(b"36 1 8:1 / / rw - ext4 /dev/tmpfs rw", 36), Some(false));
        assert_eq!(parse_mount(b"36 1 8:1 / /tmpfs", 36), Some(false));
        assert_eq!(parse_mount(b"", 36), None);
    }

    #[test]
    fn a_file_that_is_open_for_writing_tells_its_mount() {
        let info = |flags: &str| std::format!("pos:\t0\nflags:\t{flags}\nmnt_id:\t29\nino:\t5\n");
        for (flags, mount) in [("0100000", None), ("0100001", Some(29)), ("02102002", Some(29))] {
            assert_eq!(parse_writable_mount(info(flags).as_bytes()), mount, "{flags}");
        }
        assert_eq!(parse_writable_mount(b"pos:\t0\nmnt_id:\t29\n"), None);
    }

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
        let mut mounts = Mounts::with_internal(tree.proc.as_fd());
        let mut read = || {
            let (held, listed) = read_holdings(tree.proc.as_fd(), getpid(), &mut mounts, u64::MAX).unwrap();
            assert_eq!(listed, Listed::All);
            held
        };
        let before = read();
        let pipes: Vec<_> = (0..5).map(|_| rustix::pipe::pipe().unwrap()).collect();
        let sockets = std::os::unix::net::UnixStream::pair().unwrap();
        let memory = memfd_create(c"test", MemfdFlags::CLOEXEC).unwrap();
        assert_eq!(rustix::io::write(&memory, &[1; 300 << 10]), Ok(300 << 10));
        let now = read();
        assert!(now.pipes >= before.pipes + 10, "{now:?} after {before:?}");
        assert!(now.sockets >= before.sockets + 2, "{now:?} after {before:?}");
        assert!(now.tmpfs_kib >= before.tmpfs_kib + 300, "{now:?} after {before:?}");
        drop((pipes, sockets, memory));
    }
}
