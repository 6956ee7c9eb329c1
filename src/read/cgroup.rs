//! Memory cgroups of either version: where ours is, and what its files say. See the
//! kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst, and
//! cgroups(7). Sizes in KiB.

use crate::read::kfile::{self, ReadError};
use crate::read::listing::parse_pid;
use crate::read::process::Pid;
use crate::sys::file::open;
use crate::sys::line::{Line, Word, text_in};
use core::ffi::CStr;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, OFlags, statat};
use rustix::io::Errno;

/// Which of the two kinds of hierarchy has the memory controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy of its own, before systemd 232 everywhere.
    V1,
    /// The unified hierarchy (Linux 4.5).
    V2,
}

/// Levels above a cgroup that are looked at. systemd and Kubernetes make four or five.
pub const MAX_LEVELS: u32 = 24;

// ------------------------------------------------------------------ parsing

/// A mount of a hierarchy that has, or could have, the memory controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hierarchy<'t> {
    /// Which kind it is.
    pub version: Version,
    /// The cgroup at its root, as `/proc/PID/cgroup` tells paths, but escaped.
    pub root: &'t [u8],
    /// Where it is mounted, escaped.
    pub point: &'t [u8],
}

/// Parses a line of `/proc/self/mountinfo`, `ID parent major:minor root point
/// options [tags] - type source options`; `None` for what mounts no such hierarchy.
pub fn parse_hierarchy(line: &[u8]) -> Option<Hierarchy<'_>> {
    let mut fields = kfile::fields(line);
    let root = fields.nth(3)?;
    let point = fields.next()?;
    fields.find(|field| *field == b"-")?;
    let version = match fields.next()? {
        b"cgroup2" => Version::V2,
        // The source may be empty, and the options of the file system are last.
        b"cgroup" if has_memory(fields.last()?) => Version::V1,
        _ => return None,
    };
    Some(Hierarchy { version, root, point })
}

/// Is the memory controller one of these?
pub(super) fn has_memory(list: &[u8]) -> bool {
    list.split(|&byte| byte == b',').any(|name| name == b"memory")
}

/// What is left of the cgroup path `path` below the cgroup `root`: empty for that one
/// itself, else with a slash in front. `None` where it is not below it.
pub fn path_below<'p>(root: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    let root = root.strip_suffix(b"/").unwrap_or(root);
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let below = path.strip_prefix(root)?;
    // What is above our namespace has no name here.
    let is_above = below == b"/.." || below.starts_with(b"/../");
    ((below.is_empty() || below[0] == b'/') && !is_above).then_some(below)
}

/// Appends `text` without the octal escapes of mountinfo, `\040` for a blank. Anything
/// else behind a backslash stays as it is.
pub fn push_unescaped(path: &mut Line, text: &[u8]) {
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = match after {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if byte == b'\\' => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        path.bytes(&[octal.unwrap_or(byte)]);
        rest = if octal.is_some() { &after[3..] } else { after };
    }
}

/// More bytes than any machine has: what version 1 shows where there is no limit is
/// `i64::MAX` rounded down to a page.
const UNLIMITED: u64 = 1 << 62;

/// Parses a limit in bytes; `Some(None)` is `max` and its like.
pub fn parse_limit_kib(text: &[u8]) -> Option<Option<u64>> {
    match text.trim_ascii_end() {
        b"max" => Some(None),
        number => kfile::parse_u64(number).map(|bytes| (bytes < UNLIMITED).then_some(bytes / 1024)),
    }
}

/// `memory.stat`, of a cgroup and all below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupStat {
    /// Process memory without a file.
    pub anon_kib: u64,
    /// tmpfs, memfd, shared anonymous.
    pub shmem_kib: u64,
    /// File pages that are reclaimed next.
    pub inactive_file_kib: u64,
    /// File pages in use. Locked ones and tmpfs are in neither.
    pub active_file_kib: u64,
    /// Kernel objects that can be freed; version 1 does not tell.
    pub slab_reclaimable_kib: u64,
    /// Kernel stacks and page tables; version 1 does not tell.
    pub overhead_kib: u64,
    /// What is in swap, where this file tells: version 1 only.
    pub swap_kib: u64,
    /// Pages read back soon after they were reclaimed.
    pub refault_pages: u64,
}

impl CgroupStat {
    /// The page cache proper.
    pub fn file_kib(&self) -> u64 {
        self.inactive_file_kib.saturating_add(self.active_file_kib)
    }

    /// File pages in use that reclaim does not give back at once: those that are active,
    /// but no more than half, since the kernel keeps few of them inactive where there is
    /// much memory (mm/vmscan.c, `inactive_is_low`).
    pub fn busy_file_kib(&self) -> u64 {
        self.active_file_kib.min(self.file_kib() / 2)
    }

    /// What reclaim gives back without swap.
    pub fn reclaimable_kib(&self) -> u64 {
        (self.file_kib() - self.busy_file_kib()).saturating_add(self.slab_reclaimable_kib)
    }
}

/// The keys that are wanted, as far as a word has room: the last are those of
/// `slab_reclaimable` and `workingset_refault_*`. Version 1 says `rss` for `anon`.
const STAT_KEYS: [Word; 10] = [
    Word::new("anon"),
    Word::new("shmem"),
    Word::new("inactive_file"),
    Word::new("active_file"),
    Word::new("swap"),
    Word::new("kernel_stack"),
    Word::new("pagetables"),
    Word::new("rss"),
    Word::new("slab_reclaimable"),
    Word::new("workingset_refau"),
];

/// Parses `memory.stat`: `key bytes`, in version 1 `total_key bytes` for what is below
/// as well. Lines that are missing or malformed count as 0.
pub fn parse_stat(version: Version, text: &[u8]) -> CgroupStat {
    let mut numbers = [None; STAT_KEYS.len()];
    for line in kfile::lines(text) {
        // What a cgroup of version 1 has without those below it is not wanted.
        let line = if version == Version::V1 { line.strip_prefix(b"total_") } else { Some(line) };
        kfile::add_number(line.unwrap_or_default(), &STAT_KEYS, &mut numbers);
    }
    let [anon, shmem, inactive_file, active_file, swap, kernel_stack, page_tables, rss, slab, refault_pages] =
        numbers.map(|number| number.unwrap_or(0));
    CgroupStat {
        anon_kib: anon.max(rss) / 1024,
        shmem_kib: shmem / 1024,
        inactive_file_kib: inactive_file / 1024,
        active_file_kib: active_file / 1024,
        slab_reclaimable_kib: slab / 1024,
        overhead_kib: kernel_stack.saturating_add(page_tables) / 1024,
        swap_kib: swap / 1024,
        refault_pages,
    }
}

/// The number of the line that begins with `key`, which ends with a blank.
pub fn parse_flat_key(text: &[u8], key: &str) -> Option<u64> {
    kfile::lines(text).find_map(|line| kfile::parse_u64(line.strip_prefix(key.as_bytes())?))
}

// ------------------------------------------------------------------ reading

/// A cgroup by its directory, which stays the same one however it is renamed.
#[derive(Debug)]
pub struct Cgroup {
    /// Its directory, opened with O_PATH.
    pub dir: OwnedFd,
    /// Which kind of hierarchy it is in.
    pub version: Version,
    /// How many cgroups above it can be seen.
    pub levels_above: u32,
}

/// Room for the way up and the name of a file.
const RELATIVE_LEN: usize = "../".len() * MAX_LEVELS as usize + 40;

/// The path of a file of the cgroup some levels above another.
struct Relative([u8; RELATIVE_LEN]);

impl Relative {
    // Out of line: inlined it is larger.
    #[inline(never)]
    fn new(up: u32, name: &str) -> Self {
        let mut bytes = [0; RELATIVE_LEN];
        let way = "../".len() * up.min(MAX_LEVELS) as usize;
        for (at, byte) in bytes[..way].iter_mut().enumerate() {
            *byte = b"../"[at % 3];
        }
        for (place, &byte) in bytes[way..RELATIVE_LEN - 1].iter_mut().zip(name.as_bytes()) {
            *place = byte;
        }
        Self(bytes)
    }

    fn as_cstr(&self) -> &CStr {
        text_in(&self.0)
    }
}

/// Room for `memory.stat` as far as it is wanted.
const STAT_LEN: usize = 2048;

impl Cgroup {
    /// The cgroup whose directory this is.
    ///
    /// # Errors
    /// [`ReadError::Missing`] where it is none, or is no more.
    pub fn of(dir: OwnedFd, version: Version, levels_above: u32) -> Result<Self, ReadError> {
        let cgroup = Self { dir, version, levels_above: levels_above.min(MAX_LEVELS) };
        cgroup.check()?;
        Ok(cgroup)
    }

    /// Is it still there?
    ///
    /// # Errors
    /// [`ReadError::Missing`] where it is not.
    pub fn check(&self) -> Result<(), ReadError> {
        self.open_file(0, "cgroup.procs", OFlags::PATH)?;
        Ok(())
    }

    /// Opens a file of the cgroup `up` levels above, or that one's directory as `.`.
    ///
    /// # Errors
    /// Those of openat(2).
    pub fn open_file(&self, up: u32, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        open(self.dir.as_fd(), Relative::new(up, name).as_cstr(), flags)
    }

    /// Reads the start of one of those files.
    fn read_file<'b>(&self, up: u32, name: &str, buf: &'b mut [u8]) -> Result<&'b [u8], ReadError> {
        kfile::read_small(self.dir.as_fd(), Relative::new(up, name).as_cstr(), buf)
    }

    fn by_version<'n>(&self, v1: &'n str, v2: &'n str) -> &'n str {
        if self.version == Version::V1 { v1 } else { v2 }
    }

    /// The name of the file with the limit.
    pub fn limit_file(&self) -> &'static str {
        self.by_version("memory.limit_in_bytes", "memory.max")
    }

    // Out of line: several ask.
    #[inline(never)]
    fn read_limit_of(&self, up: u32, name: &str) -> Result<Option<u64>, ReadError> {
        let mut buf = [0; 32];
        parse_limit_kib(self.read_file(up, name, &mut buf)?).ok_or(ReadError::Malformed)
    }

    /// Reads `memory.max`, or `memory.limit_in_bytes`, `up` levels above; `None` is no
    /// limit.
    ///
    /// # Errors
    /// See [`ReadError`]; [`ReadError::Missing`] where the memory controller is off, and
    /// at the root of version 2.
    pub fn read_limit_kib(&self, up: u32) -> Result<Option<u64>, ReadError> {
        self.read_limit_of(up, self.limit_file())
    }

    /// Could it be given a limit, or one above it? The root of a hierarchy cannot, which in
    /// version 2 has no such file, and in version 1 one that no other has.
    pub fn can_be_limited(&self) -> bool {
        let has = |name| self.open_file(0, name, OFlags::PATH).is_ok();
        self.levels_above > 0 || has(self.limit_file()) && !has("release_agent")
    }

    /// Reads `memory.current`, or `memory.usage_in_bytes`, `up` levels above.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_current_kib(&self, up: u32) -> Result<u64, ReadError> {
        let name = self.by_version("memory.usage_in_bytes", "memory.current");
        self.read_limit_of(up, name).map(|kib| kib.unwrap_or(u64::MAX))
    }

    /// Reads `memory.stat`, `up` levels above.
    ///
    /// # Errors
    /// See [`ReadError`].
    // Out of line, so that its buffer is not on the stack of who asks.
    #[inline(never)]
    pub fn read_stat(&self, up: u32) -> Result<CgroupStat, ReadError> {
        let mut buf = [0; STAT_LEN];
        Ok(parse_stat(self.version, self.read_file(up, "memory.stat", &mut buf)?))
    }

    /// Reads how much swap may be used `up` levels above, `None` for no limit, and how
    /// much is: `memory.swap.max` and `memory.swap.current`. The limit of version 1
    /// (`memory.memsw.limit_in_bytes`) is of memory and swap together, so of swap there
    /// may be what it is above that of memory, `limit_kib`; `stat` tells how much is used.
    ///
    /// # Errors
    /// See [`ReadError`]; [`ReadError::Missing`] where swap is not accounted for.
    pub fn read_swap_kib(
        &self,
        up: u32,
        limit_kib: Option<u64>,
        stat: &CgroupStat,
    ) -> Result<(Option<u64>, u64), ReadError> {
        match self.version {
            Version::V2 => {
                let used_kib = self.read_limit_of(up, "memory.swap.current")?.unwrap_or(0);
                Ok((self.read_limit_of(up, "memory.swap.max")?, used_kib))
            }
            Version::V1 => {
                let both_kib = self.read_limit_of(up, "memory.memsw.limit_in_bytes")?;
                let most_kib = both_kib.zip(limit_kib).map(|(both, limit)| both.saturating_sub(limit));
                Ok((most_kib, stat.swap_kib))
            }
        }
    }

    /// Reads how often memory was at the limit: `max` of `memory.events`, or
    /// `memory.failcnt`.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_limit_hits(&self, up: u32) -> Result<u64, ReadError> {
        let mut buf = [0; 256];
        let text = self.read_file(up, self.by_version("memory.failcnt", "memory.events"), &mut buf)?;
        let hits = match self.version {
            Version::V1 => kfile::parse_u64(text.trim_ascii_end()),
            Version::V2 => parse_flat_key(text, "max "),
        };
        hits.ok_or(ReadError::Malformed)
    }

    /// Reads for how long its processes have run: `usage_usec` of `cpu.stat` (Linux
    /// 4.15), which version 1 has in another hierarchy.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_busy_us(&self, up: u32) -> Result<u64, ReadError> {
        let mut buf = [0; 256];
        parse_flat_key(self.read_file(up, "cpu.stat", &mut buf)?, "usage_usec ").ok_or(ReadError::Malformed)
    }

    /// Is there nobody in the cgroup `up` levels above, or below that one, but `pid`?
    /// The links of a directory tell whether there is one below it.
    pub fn has_only(&self, up: u32, pid: Pid) -> bool {
        let mut buf = [0; 64];
        let Ok(text) = self.read_file(up, "cgroup.procs", &mut buf) else { return false };
        let is_alone = kfile::lines(text).all(|line| parse_pid(line) == Some(pid));
        let stat = statat(self.dir.as_fd(), Relative::new(up, ".").as_cstr(), AtFlags::empty());
        is_alone && stat.is_ok_and(|stat| stat.st_nlink <= 2)
    }
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
