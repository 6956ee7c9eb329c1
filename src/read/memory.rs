//! Memory readings: sysinfo(2), `/proc/meminfo`, `/proc/vmstat`, and how the
//! kernel promises memory. One internal unit: KiB.

use crate::read::kfile::{self, ReadError, Tree};
use crate::sys::file::open;
use crate::sys::line::Word;
use core::ops::ControlFlow;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;

/// A reading of sysinfo(2), 0.3 µs a call. It does not count cache, so it can
/// only show that nothing needs looking at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SysinfoReading {
    /// Usable RAM; balloons and hotplug change it.
    pub total_kib: u64,
    /// RAM in no use at all.
    pub free_kib: u64,
    /// All swap.
    pub swap_total_kib: u64,
    /// Swap in no use.
    pub swap_free_kib: u64,
}

/// Asks sysinfo(2).
pub fn read_sysinfo() -> SysinfoReading {
    let info = rustix::system::sysinfo();
    // mem_unit exceeds 1 where 32 bits cannot hold the bytes.
    let kib = |units: u64| units.saturating_mul(u64::from(info.mem_unit.max(1))) / 1024;
    SysinfoReading {
        total_kib: kib(info.totalram as u64),
        free_kib: kib(info.freeram as u64),
        swap_total_kib: kib(info.totalswap as u64),
        swap_free_kib: kib(info.freeswap as u64),
    }
}

/// The lines of `/proc/meminfo` a verdict needs, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meminfo {
    /// `MemTotal`; lxcfs has been seen to say 0.
    pub mem_total_kib: u64,
    /// `MemFree`.
    pub mem_free_kib: u64,
    /// `MemAvailable` (Linux 3.14), estimated where there is none, less
    /// `CmaFree`: that is free, but not for most allocations. [`MeminfoFile`] withholds
    /// names that are in use, too.
    pub mem_available_kib: u64,
    /// `SReclaimable`: what the kernel remembers of files, much of which it can give up.
    pub slab_reclaimable_kib: u64,
    /// `AnonPages`: process memory without a file.
    pub anon_kib: u64,
    /// `KernelStack` and `PageTables`: what the kernel keeps for each process.
    pub overhead_kib: u64,
    /// `Mlocked` (2.6.28): what programs keep in memory, files among it.
    pub locked_kib: u64,
    /// `Shmem`: tmpfs, memfd, shared anonymous; it survives its writer.
    pub shmem_kib: u64,
    /// `Active(file)` and `Inactive(file)`: the page cache proper.
    pub file_lru_kib: u64,
    /// The part of those that is in use, and so not counted as available: of cgroups
    /// only, since the kernel counts it for the machine.
    pub busy_file_kib: u64,
    /// `SwapTotal`.
    pub swap_total_kib: u64,
    /// `SwapFree`, never more than `SwapTotal`.
    pub swap_free_kib: u64,
    /// What others have of the memory that is short, who cannot be chosen: of cgroups only,
    /// where the limit that is reached first is above the guarded one.
    pub outside_kib: u64,
}

impl Meminfo {
    /// All memory; where the kernel does not say, what could be available.
    // Out of line: inlined it is larger.
    #[inline(never)]
    pub fn total_kib(&self) -> u64 {
        if self.mem_total_kib == 0 { self.reclaimable_kib() } else { self.mem_total_kib }
    }

    /// What could be available if every process were killed: the base of all
    /// percentages, so that a full tmpfs does not put them out of reach.
    // Out of line: inlined it is larger.
    #[inline(never)]
    pub fn reclaimable_kib(&self) -> u64 {
        let held = self.anon_kib.saturating_add(self.overhead_kib).saturating_add(self.busy_file_kib);
        let base = self.mem_available_kib.saturating_add(held);
        if self.mem_total_kib == 0 { base } else { base.min(self.mem_total_kib) }
    }

    /// What no process and no tmpfs claims: the kernel's own, pipes and sockets among it.
    pub fn unclaimed_kib(&self) -> u64 {
        self.total_kib().saturating_sub(self.reclaimable_kib()).saturating_sub(self.shmem_kib)
    }

    /// Swap in use.
    pub fn swap_used_kib(&self) -> u64 {
        self.swap_total_kib.saturating_sub(self.swap_free_kib)
    }

    /// What processes, tmpfs and the kernel have taken of memory and swap.
    pub fn taken_kib(&self) -> u64 {
        let had_kib = self.mem_available_kib.saturating_add(self.busy_file_kib);
        self.total_kib().saturating_sub(had_kib).saturating_add(self.swap_used_kib())
    }
}

/// The lines of `/proc/meminfo` that are wanted.
const MEMINFO_KEYS: [Word; 16] = [
    Word::new("MemTotal"),
    Word::new("MemFree"),
    Word::new("MemAvailable"),
    Word::new("AnonPages"),
    Word::new("Shmem"),
    Word::new("Active(file)"),
    Word::new("Inactive(file)"),
    Word::new("SwapTotal"),
    Word::new("SwapFree"),
    Word::new("KernelStack"),
    Word::new("PageTables"),
    Word::new("CmaFree"),
    Word::new("Buffers"),
    Word::new("Cached"),
    Word::new("SReclaimable"),
    Word::new("Mlocked"),
];

/// Parses `/proc/meminfo`. `None` without so much as a `MemFree` or
/// `MemAvailable` line; other lines that are missing or malformed count as 0.
pub fn parse_meminfo(text: &[u8]) -> Option<Meminfo> {
    let lines = kfile::numbers_of(text, &MEMINFO_KEYS);
    let [_, mem_free, mem_available, ..] = lines;
    let [
        total_kib,
        free_kib,
        _,
        anon_kib,
        shmem_kib,
        active_file_kib,
        inactive_file_kib,
        swap_total_kib,
        swap_free_kib,
        kernel_stack_kib,
        page_tables_kib,
        cma_free_kib,
        buffers_kib,
        cached_kib,
        slab_kib,
        locked_kib,
    ] = lines.map(Option::unwrap_or_default);
    // Where the kernel does not say what is available, before 3.14: half of the
    // cache counts, as in its own estimate where cache is scarce. Cached includes
    // Shmem, which cannot be dropped.
    let cache_kib = buffers_kib.saturating_add(cached_kib).saturating_sub(shmem_kib).saturating_add(slab_kib);
    let estimate_kib = free_kib.saturating_add(cache_kib / 2);
    let available_kib = mem_available.or(mem_free.map(|_| estimate_kib))?;
    let most_kib = if total_kib == 0 { u64::MAX } else { total_kib };
    Some(Meminfo {
        mem_total_kib: total_kib,
        mem_free_kib: free_kib.min(most_kib),
        mem_available_kib: available_kib.min(most_kib).saturating_sub(cma_free_kib),
        slab_reclaimable_kib: slab_kib,
        anon_kib,
        overhead_kib: kernel_stack_kib.saturating_add(page_tables_kib),
        locked_kib,
        shmem_kib,
        file_lru_kib: active_file_kib.saturating_add(inactive_file_kib).min(most_kib),
        busy_file_kib: 0,
        swap_total_kib,
        swap_free_kib: swap_free_kib.min(swap_total_kib),
        outside_kib: 0,
    })
}

/// All that is needed stands in the first 1.6 KB, CmaFree near their end.
const MEMINFO_LEN: usize = 2048;

/// Reads `/proc/meminfo`, about 6 µs.
///
/// # Errors
/// Those of [`kfile::read_small`], and [`ReadError::Malformed`].
pub fn read_meminfo(proc: BorrowedFd<'_>) -> Result<Meminfo, ReadError> {
    let mut buf = [0; MEMINFO_LEN];
    parse_meminfo(kfile::read_small(proc, c"meminfo", &mut buf)?).ok_or(ReadError::Malformed)
}

const MEM_AVAILABLE: [Word; 1] = [Word::new("MemAvailable")];

/// It is the third line.
const MEMINFO_START_LEN: usize = 192;

/// What the kernel takes for the name of a file (struct dentry): 192 bytes where addresses
/// are of 64 bits.
const NAME_BYTES: u64 = size_of::<usize>() as u64 * 24;

/// Parses `/proc/sys/fs/dentry-state` (names, unused ones, and more) into what names take that are
/// in use. Those of files on a tmpfs always are, and an initramfs has them for its root.
pub fn parse_names_in_use_kib(text: &[u8]) -> Option<u64> {
    let mut fields = kfile::fields(text);
    let [names, unused] = [fields.next()?, fields.next()?].map(kfile::parse_u64);
    Some(names?.saturating_sub(unused?).saturating_mul(NAME_BYTES) / 1024)
}

/// `/proc/meminfo`, kept open: where memory has run out, opening a file waits
/// for the kernel to find some.
#[derive(Debug, Default)]
pub struct MeminfoFile {
    meminfo: Option<OwnedFd>,
    /// `/proc/sys/fs/dentry-state`, beside it.
    names: Option<OwnedFd>,
}

impl MeminfoFile {
    /// The file, open if it can be.
    pub fn open(proc: BorrowedFd<'_>) -> Self {
        Self { meminfo: open(proc, c"meminfo", OFlags::RDONLY).ok(), names: None }
    }

    /// Reads all that a verdict needs. `MemAvailable` counts names as if they could be given
    /// up (`SReclaimable`), in use or not: the kernel was seen to kill with five per cent of memory
    /// available, all of it names on a tmpfs.
    ///
    /// # Errors
    /// See [`read_meminfo`].
    pub fn read(&mut self, proc: BorrowedFd<'_>) -> Result<Meminfo, ReadError> {
        let mut mem = self.read_meminfo(proc)?;
        // Below lxcfs meminfo is a container's, and names are the host's.
        let withheld_kib = self.read_names_in_use_kib().unwrap_or(0).min(mem.slab_reclaimable_kib / 2);
        mem.mem_available_kib = mem.mem_available_kib.saturating_sub(withheld_kib);
        Ok(mem)
    }

    fn read_names_in_use_kib(&self) -> Option<u64> {
        let mut buf = [0; 64];
        let len = rustix::io::pread(self.names.as_ref()?, &mut buf, 0).ok()?;
        parse_names_in_use_kib(&buf[..len])
    }

    /// Reads the file from its start, opening it where it is not or is no
    /// longer readable (a restarted lxcfs).
    ///
    /// # Errors
    /// See [`read_meminfo`].
    fn read_meminfo(&mut self, proc: BorrowedFd<'_>) -> Result<Meminfo, ReadError> {
        let mut buf = [0; MEMINFO_LEN];
        if let Some(file) = &self.meminfo
            && let Ok(len) = rustix::io::pread(file, &mut buf, 0)
            && let Some(mem) = parse_meminfo(kfile::whole_lines(&buf, len))
        {
            return Ok(mem);
        }
        let file = open(proc, c"meminfo", OFlags::RDONLY)?;
        let len = rustix::io::pread(&file, &mut buf, 0)?;
        self.meminfo = Some(file);
        self.names = open(proc, c"sys/fs/dentry-state", OFlags::RDONLY).ok();
        parse_meminfo(kfile::whole_lines(&buf, len)).ok_or(ReadError::Malformed)
    }

    /// Reads no more than `MemAvailable`, for a look in between; `None` where that
    /// cannot be had.
    pub fn read_available_kib(&self) -> Option<u64> {
        let mut buf = [0; MEMINFO_START_LEN];
        let len = rustix::io::pread(self.meminfo.as_ref()?, &mut buf, 0).ok()?;
        let [available_kib] = kfile::numbers_of(kfile::whole_lines(&buf, len), &MEM_AVAILABLE);
        available_kib
    }
}

/// Counters of `/proc/vmstat` that stand in for pressure where there is no PSI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vmstat {
    /// Pages read back soon after they were reclaimed: `workingset_refault`,
    /// since 5.9 `workingset_refault_file` and `_anon`.
    pub refault_pages: u64,
    /// Times a task had to reclaim for itself: `allocstall`, since 4.10 one
    /// counter for each zone.
    pub allocstalls: u64,
}

impl Vmstat {
    /// Adds one line of the file.
    pub fn add_line(&mut self, line: &[u8]) {
        let mut fields = kfile::fields(line);
        let (Some(key), Some(value)) = (fields.next(), fields.next()) else {
            return;
        };
        let counter = if key.starts_with(b"workingset_refault") {
            &mut self.refault_pages
        } else if key.starts_with(b"allocstall") {
            &mut self.allocstalls
        } else {
            return;
        };
        *counter = counter.saturating_add(kfile::parse_u64(value).unwrap_or(0));
    }
}

/// Reads `/proc/vmstat`.
///
/// # Errors
/// Those of [`kfile::read_lines`].
pub fn read_vmstat(proc: BorrowedFd<'_>) -> Result<Vmstat, ReadError> {
    let mut buf = [0; 1024];
    let mut vmstat = Vmstat::default();
    kfile::read_lines(proc, c"vmstat", &mut buf, &mut |line| {
        vmstat.add_line(line);
        ControlFlow::Continue(())
    })?;
    Ok(vmstat)
}

/// Parses the first line of `/proc/stat`, `cpu user nice system idle iowait irq
/// softirq steal …` in hundredths of a second, into the microseconds all
/// processors together have been busy.
pub fn parse_busy_us(text: &[u8]) -> Option<u64> {
    const TICK_US: u64 = 10_000;
    const IDLE: usize = 3;
    const IOWAIT: usize = 4;
    const STEAL: usize = 7;
    let mut busy = 0_u64;
    let mut count = 0;
    for number in kfile::fields(text.strip_prefix(b"cpu ")?).map_while(kfile::parse_u64).take(STEAL + 1) {
        if count != IDLE && count != IOWAIT {
            busy = busy.saturating_add(number);
        }
        count += 1;
    }
    // What comes after iowait old kernels do not tell.
    if count > IOWAIT { Some(busy.saturating_mul(TICK_US)) } else { None }
}

/// Reads how long all processors together have been busy, in microseconds.
///
/// # Errors
/// Those of [`kfile::read_small`], and [`ReadError::Malformed`].
pub fn read_busy_us(proc: BorrowedFd<'_>) -> Result<u64, ReadError> {
    let mut buf = [0; 256];
    parse_busy_us(kfile::read_small(proc, c"stat", &mut buf)?).ok_or(ReadError::Malformed)
}

/// Whether the kernel promises more memory than there is,
/// `/proc/sys/vm/overcommit_memory` (mode 2 since Linux 2.5.30).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overcommit {
    /// 0: unless it is obviously too much.
    Heuristic,
    /// 1: always.
    Always,
    /// 2: never more than swap and `overcommit_ratio` of RAM: whoever asks for
    /// more is refused, and seldom anybody has to be killed.
    Never,
    /// A mode this crate does not know.
    Other(i32),
}

impl Overcommit {
    /// The mode with this number.
    pub const fn from_number(number: i32) -> Self {
        match number {
            0 => Self::Heuristic,
            1 => Self::Always,
            2 => Self::Never,
            other => Self::Other(other),
        }
    }

    /// Its name in proc_sys_vm(5).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Heuristic => "heuristic",
            Self::Always => "always",
            Self::Never => "never",
            Self::Other(_) => "unknown",
        }
    }
}

/// Reads `/proc/sys/vm/overcommit_memory`.
///
/// # Errors
/// Those of [`kfile::read_number`].
pub fn read_overcommit(proc: BorrowedFd<'_>) -> Result<Overcommit, ReadError> {
    kfile::read_number(proc, c"sys/vm/overcommit_memory").map(Overcommit::from_number)
}

/// Reads `/proc/sys/vm/panic_on_oom` (Linux 2.6.18): 0 where the kernel kills
/// a process when memory runs out, 1 where it panics unless only a cpuset or a
/// memory policy ran out, 2 (2.6.22) where it always panics.
///
/// # Errors
/// Those of [`kfile::read_number`].
pub fn read_panic_on_oom(proc: BorrowedFd<'_>) -> Result<i32, ReadError> {
    kfile::read_number(proc, c"sys/vm/panic_on_oom")
}

/// Reads what the kernel keeps free: `/proc/sys/vm/min_free_kbytes` (Linux 2.6),
/// and as much above it as its zones' high watermarks are (mm/page_alloc.c,
/// `__setup_per_zone_wmarks`), which `MemAvailable` does not count. Not from
/// zoneinfo, which grows with the number of processors.
///
/// # Errors
/// Those of [`kfile::read_number`].
pub fn read_reserve_kib(proc: BorrowedFd<'_>) -> Result<u64, ReadError> {
    let min_free_kib = kfile::read_number(proc, c"sys/vm/min_free_kbytes")?;
    let min_free_kib = u64::from(min_free_kib.unsigned_abs());
    Ok(min_free_kib + min_free_kib / 2)
}

/// Where a page is of 4 KiB a huge one is of 2 MiB, which is within the reserve.
const SMALL_BLOCK_KIB: u64 = 2048;

/// Reads by how much the kernel may raise its watermarks once it had to break into a
/// block of pages of another kind (`boost_watermark` in mm/page_alloc.c, Linux 5.0). A
/// block is a huge page, of `/sys/kernel/mm/transparent_hugepage/hpage_pmd_size`: 32 MiB
/// where pages are of 16 KiB, and 512 MiB where they are of 64 KiB. Below it the kernel
/// kills, with all of that free, and `MemAvailable` does not tell of it. 0 where a block
/// is small, or `/proc/sys/vm/watermark_boost_factor` forbids it.
///
/// # Errors
/// Those of [`kfile::read_number`].
pub fn read_boost_kib(tree: &Tree) -> Result<u64, ReadError> {
    let sys = tree.sys.as_ref().ok_or(ReadError::Missing)?;
    let bytes = kfile::read_number(sys.as_fd(), c"kernel/mm/transparent_hugepage/hpage_pmd_size")?;
    let factor = kfile::read_number(tree.proc.as_fd(), c"sys/vm/watermark_boost_factor")?;
    let block_kib = u64::from(bytes.unsigned_abs()) / 1024;
    Ok(if factor == 0 || block_kib <= SMALL_BLOCK_KIB { 0 } else { block_kib })
}

/// By how much it may where there are `total_kib` of memory: not at all in a zone that
/// has fewer than four such blocks.
pub fn boost_of_kib(block_kib: u64, total_kib: u64) -> u64 {
    if block_kib > total_kib / 4 { 0 } else { block_kib }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
