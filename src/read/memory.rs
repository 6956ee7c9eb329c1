//! Memory readings: sysinfo(2), `/proc/meminfo`, `/proc/vmstat`, and what swap
//! on zram is really worth. One internal unit: KiB.

use crate::read::kfile::{self, ReadError, Tree};
use crate::sys;
use crate::sys::line::Joined;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;

/// What sysinfo(2) tells, 0.3 µs a call. It does not count cache, so it can
/// only show that nothing needs looking at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SysinfoReading {
    /// Usable RAM; balloons and hotplug move it.
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
    /// `CmaFree`: that is free, but not for most allocations.
    pub mem_available_kib: u64,
    /// `AnonPages`: process memory without a file.
    pub anon_kib: u64,
    /// `KernelStack` and `PageTables`: what the kernel keeps for each process.
    pub overhead_kib: u64,
    /// `Shmem`: tmpfs, memfd, shared anonymous; it survives its writer.
    pub shmem_kib: u64,
    /// `Active(file)` and `Inactive(file)`: the page cache proper.
    pub file_lru_kib: u64,
    /// `SwapTotal`.
    pub swap_total_kib: u64,
    /// `SwapFree`, never more than `SwapTotal`.
    pub swap_free_kib: u64,
}

impl Meminfo {
    /// All memory; where it is not told, what could be available.
    #[inline(never)]
    pub fn total_kib(&self) -> u64 {
        if self.mem_total_kib == 0 { self.reclaimable_kib() } else { self.mem_total_kib }
    }

    /// What could be available if every process were killed: the base of all
    /// percentages, so that a full tmpfs does not put them out of reach.
    #[inline(never)]
    pub fn reclaimable_kib(&self) -> u64 {
        let held = self.anon_kib.saturating_add(self.overhead_kib);
        let base = self.mem_available_kib.saturating_add(held);
        if self.mem_total_kib == 0 { base } else { base.min(self.mem_total_kib) }
    }
}

/// Parses `/proc/meminfo`. `None` without so much as a `MemFree` or
/// `MemAvailable` line; other lines missing or malformed count as 0.
pub fn parse_meminfo(text: &[u8]) -> Option<Meminfo> {
    const KEYS: [&str; 15] = [
        "MemTotal",
        "MemFree",
        "MemAvailable",
        "AnonPages",
        "Shmem",
        "Active(file)",
        "Inactive(file)",
        "SwapTotal",
        "SwapFree",
        "KernelStack",
        "PageTables",
        "CmaFree",
        "Buffers",
        "Cached",
        "SReclaimable",
    ];
    let picked = kfile::pick_numbers(text, &KEYS);
    let [_, free, available, ..] = picked;
    let [mem_total_kib, mem_free_kib, _, anon_kib, shmem_kib, rest @ ..] =
        picked.map(|number| number.unwrap_or(0));
    let [active_file, inactive_file, swap_total_kib, swap_free_kib, rest @ ..] = rest;
    let [stacks, tables, cma_free, buffers, cached, slab] = rest;
    let total = if mem_total_kib == 0 { u64::MAX } else { mem_total_kib };
    // Before 3.14: the cache counts for half, as the kernel's own estimate
    // does where cache is scarce. Cached holds Shmem, which cannot be dropped.
    let estimate = |free: u64| {
        let cache = u64::saturating_add(buffers, cached).saturating_sub(shmem_kib);
        free.saturating_add(cache.saturating_add(slab) / 2)
    };
    let available = match (available, free) {
        (Some(available), _) => available,
        (None, Some(free)) => estimate(free),
        (None, None) => return None,
    };
    Some(Meminfo {
        mem_total_kib,
        mem_free_kib: mem_free_kib.min(total),
        mem_available_kib: available.min(total).saturating_sub(cma_free),
        anon_kib,
        overhead_kib: u64::saturating_add(stacks, tables),
        shmem_kib,
        file_lru_kib: active_file.saturating_add(inactive_file).min(total),
        swap_total_kib,
        swap_free_kib: swap_free_kib.min(swap_total_kib),
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

/// `/proc/meminfo`, kept open: where memory has run out, opening a file waits
/// for the kernel to find some.
#[derive(Debug, Default)]
pub struct MeminfoFile(Option<OwnedFd>);

impl MeminfoFile {
    /// Reads the file from its start, opening it where it is not or is no
    /// longer readable (a restarted lxcfs).
    ///
    /// # Errors
    /// See [`read_meminfo`].
    #[inline(never)]
    pub fn read(&mut self, proc: BorrowedFd<'_>) -> Result<Meminfo, ReadError> {
        let mut buf = [0; MEMINFO_LEN];
        if let Some(file) = &self.0
            && let Ok(len) = rustix::io::pread(file, &mut buf, 0)
            && let Some(mem) = parse_meminfo(kfile::whole_lines(&buf, len))
        {
            return Ok(mem);
        }
        let file = sys::open(proc, c"meminfo", OFlags::RDONLY)?;
        let len = rustix::io::pread(&file, &mut buf, 0)?;
        self.0 = Some(file);
        parse_meminfo(kfile::whole_lines(&buf, len)).ok_or(ReadError::Malformed)
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
#[inline(never)]
pub fn read_vmstat(proc: BorrowedFd<'_>) -> Result<Vmstat, ReadError> {
    let mut buf = [0; 1024];
    let mut vmstat = Vmstat::default();
    kfile::read_lines(proc, c"vmstat", &mut buf, &mut |line| vmstat.add_line(line))?;
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

/// What a zram device stores and what that costs it, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zram {
    /// Size of what was swapped out to it.
    pub stored_kib: u64,
    /// RAM it takes to hold that.
    pub used_kib: u64,
}

/// Parses `/sys/block/zramN/mm_stat` (4.1): `orig_data_size compr_data_size
/// mem_used_total …`, in bytes.
pub fn parse_zram_mm_stat(text: &[u8]) -> Option<Zram> {
    let mut numbers = kfile::fields(text).map(kfile::parse_u64);
    let stored = numbers.next()??;
    let used = numbers.nth(1)??;
    Some(Zram { stored_kib: stored / 1024, used_kib: used / 1024 })
}

/// Swap areas by what backs them, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swaps {
    /// How many there are.
    pub areas: u32,
    /// Free on disks and files.
    pub disk_free_kib: u64,
    /// Free on zram devices.
    pub zram_free_kib: u64,
    /// What all zram devices hold.
    pub zram: Zram,
}

/// Below this much stored, a compression ratio is chance; assume 2 to 1, which
/// lz4 and zstd exceed on ordinary process memory.
const RATIO_KNOWN_FROM_KIB: u64 = 4096;

impl Swaps {
    /// How much more anonymous memory swap can really take in. A page that
    /// goes to zram gives back only what compression saves, and no more can go
    /// there than processes have or could still get.
    pub fn effective_free_kib(&self, mem: &Meminfo) -> u64 {
        let Zram { stored_kib, used_kib } = self.zram;
        let (stored, used) = if stored_kib < RATIO_KNOWN_FROM_KIB { (2, 1) } else { (stored_kib, used_kib) };
        let movable_kib = self.zram_free_kib.min(mem.reclaimable_kib());
        // In thousandths, so that the product fits.
        let saved_permille = stored.saturating_sub(used).saturating_mul(1000) / stored;
        let gain_kib = movable_kib / 1000 * saved_permille;
        self.disk_free_kib.saturating_add(gain_kib)
    }
}

/// Parses one line of `/proc/swaps` (`Filename Type Size Used Priority`, KiB):
/// the device's name and what is free on it.
fn parse_swap_line(line: &[u8]) -> Option<(&[u8], u64)> {
    let mut fields = kfile::fields(line);
    let name = fields.next()?;
    let _type = fields.next()?;
    let size = kfile::parse_u64(fields.next()?)?;
    let used = kfile::parse_u64(fields.next()?)?;
    Some((name, size.saturating_sub(used)))
}

/// The device's name if it is a zram, as `/dev/zram0` or `/dev/block/zram0`.
fn zram_name(path: &[u8]) -> Option<&[u8]> {
    let name = path.rsplit(|&byte| byte == b'/').next()?;
    let number = name.strip_prefix(b"zram")?;
    kfile::parse_u64(number).map(|_| name)
}

/// Reads `/proc/swaps`, and `mm_stat` of each zram device in it. A zram whose
/// `mm_stat` cannot be read counts as holding nothing.
///
/// # Errors
/// Those of [`kfile::read_lines`] on `/proc/swaps`.
pub fn read_swaps(tree: &Tree) -> Result<Swaps, ReadError> {
    let mut buf = [0; 512];
    let mut swaps = Swaps::default();
    kfile::read_lines(tree.proc.as_fd(), c"swaps", &mut buf, &mut |line| {
        let Some((path, free_kib)) = parse_swap_line(line) else {
            return;
        };
        swaps.areas += 1;
        let Some(name) = zram_name(path) else {
            swaps.disk_free_kib = swaps.disk_free_kib.saturating_add(free_kib);
            return;
        };
        swaps.zram_free_kib = swaps.zram_free_kib.saturating_add(free_kib);
        if let Some(zram) = read_zram(tree, name) {
            swaps.zram.stored_kib = swaps.zram.stored_kib.saturating_add(zram.stored_kib);
            swaps.zram.used_kib = swaps.zram.used_kib.saturating_add(zram.used_kib);
        }
    })?;
    Ok(swaps)
}

fn read_zram(tree: &Tree, name: &[u8]) -> Option<Zram> {
    let block = kfile::open_dir(tree.sys.as_ref()?.as_fd(), c"block").ok()?;
    let path = Joined::new([name, b"/mm_stat"]);
    let mut buf = [0; 256];
    parse_zram_mm_stat(kfile::read_small(block.as_fd(), path.as_cstr(), &mut buf).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_real_meminfo() {
        let text = b"MemTotal:         327680 kB\nMemFree:           10240 kB\n\
            MemAvailable:      51200 kB\nBuffers:            1024 kB\nCached:            61440 kB\n\
            Active(file):      20480 kB\nInactive(file):    30720 kB\nAnonPages:        204800 kB\n\
            KernelStack:        1024 kB\nPageTables:         2048 kB\n\
            Shmem:              2048 kB\nSwapTotal:        131072 kB\nSwapFree:         100000 kB\n";
        let info = parse_meminfo(text).unwrap();
        assert_eq!(info.mem_total_kib, 327_680);
        assert_eq!(info.mem_available_kib, 51_200);
        assert_eq!(info.file_lru_kib, 51_200);
        assert_eq!(info.reclaimable_kib(), 259_072);
        assert_eq!((info.swap_total_kib, info.swap_free_kib), (131_072, 100_000));
    }

    #[test]
    fn survives_meminfo_in_the_wild() {
        // lxcfs: MemTotal 0; no blank after the colon; leading zeros.
        let info = parse_meminfo(b"MemTotal:0 kB\nMemFree:00012 kB\nMemAvailable:000034kB\n").unwrap();
        assert_eq!(info.mem_available_kib, 34);
        assert_eq!(info.reclaimable_kib(), 34);
        // SwapFree above SwapTotal, MemAvailable above MemTotal.
        let info = parse_meminfo(b"MemTotal: 10 kB\nMemAvailable: 99 kB\nSwapTotal: 5 kB\nSwapFree: 7 kB\n")
            .unwrap();
        assert_eq!((info.mem_available_kib, info.swap_free_kib), (10, 5));
        // Numbers past 64 bits saturate; CMA is not available.
        let info = parse_meminfo(
            b"MemTotal: 100 kB\nMemFree: 99999999999999999999999 kB\nMemAvailable: 60 kB\nCmaFree: 20 kB\n",
        )
        .unwrap();
        assert_eq!((info.mem_free_kib, info.mem_available_kib), (100, 40));
        let info = parse_meminfo(b"MemFree: 5 kB\nCmaFree: 50 kB\n").unwrap();
        assert_eq!(info.mem_available_kib, 0);
        // Malformed lines are passed over.
        let info =
            parse_meminfo(b"garbage\n:\nMemFree:\nMemFree: x\nMemFree: 5 kB\nMemTotal: -3 kB\n").unwrap();
        assert_eq!((info.mem_free_kib, info.mem_total_kib), (5, 0));
        for bad in [&b""[..], b"MemTotal: 5 kB\n", b"\0\0\0"] {
            assert_eq!(parse_meminfo(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn estimates_available_before_3_14() {
        let text = b"MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 40 kB\nCached: 300 kB\nShmem: 200 kB\nSReclaimable: 60 kB\n";
        assert_eq!(parse_meminfo(text).unwrap().mem_available_kib, 100 + (40 + 300 - 200 + 60) / 2);
    }

    #[test]
    fn vmstat_knows_both_spellings() {
        let read = |text: &[u8]| {
            let mut vmstat = Vmstat::default();
            kfile::lines(text).for_each(|line| vmstat.add_line(line));
            vmstat
        };
        let old = read(b"nr_free_pages 5\nworkingset_refault 7\nallocstall 2\n");
        assert_eq!((old.refault_pages, old.allocstalls), (7, 2));
        let new = read(b"workingset_refault_anon 3\nworkingset_refault_file 4\nallocstall_normal 1\nallocstall_movable 8\noom_kill 6\n");
        assert_eq!((new.refault_pages, new.allocstalls), (7, 9));
        let odd = read(b"workingset_refault_file\nallocstall x\nallocstall 99999999999999999999\n\n");
        assert_eq!(odd, Vmstat { allocstalls: u64::MAX, ..Vmstat::default() });
    }

    #[test]
    fn busy_time_leaves_out_idle_and_iowait() {
        assert_eq!(parse_busy_us(b"cpu  1 2 3 1000 1000 10 20 30 5 5\ncpu0 9 9 9 9\n"), Some(66 * 10_000));
        assert_eq!(parse_busy_us(b"cpu  1 2 3 1000 1000\n"), Some(6 * 10_000));
        for bad in [&b""[..], b"cpu", b"cpu 1 2 3 4", b"cpu0 1 2 3 4 5 6", b"intr 5 5 5 5 5"] {
            assert_eq!(parse_busy_us(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn zram_is_worth_what_it_saves() {
        let mem = Meminfo {
            mem_total_kib: 300_000,
            anon_kib: 200_000,
            mem_available_kib: 50_000,
            ..Meminfo::default()
        };
        let swaps = |stored_kib, used_kib| Swaps {
            zram_free_kib: 1_000_000,
            zram: Zram { stored_kib, used_kib },
            ..Swaps::default()
        };
        // Nothing stored yet: 2 to 1, of what could be moved there.
        assert_eq!(swaps(0, 0).effective_free_kib(&mem), 125_000);
        assert_eq!(swaps(40_000, 10_000).effective_free_kib(&mem), 187_500);
        // Incompressible: worth nothing, whatever SwapFree says.
        assert_eq!(swaps(40_000, 41_000).effective_free_kib(&mem), 0);
        let disk = Swaps { disk_free_kib: 7, ..swaps(40_000, 40_000) };
        assert_eq!(disk.effective_free_kib(&mem), 7);
    }

    #[test]
    fn swap_lines() {
        assert_eq!(parse_swap_line(b"/dev/zram0 partition 1000 300 100"), Some((&b"/dev/zram0"[..], 700)));
        assert_eq!(parse_swap_line(b"/swap\\040file file 10 30 -2"), Some((&b"/swap\\040file"[..], 0)));
        assert_eq!(parse_swap_line(b"Filename Type Size Used Priority"), None);
        assert_eq!(zram_name(b"/dev/zram12"), Some(&b"zram12"[..]));
        assert_eq!(zram_name(b"/dev/sda2"), None);
        assert_eq!(zram_name(b"/mnt/zram"), None);
        assert_eq!(
            parse_zram_mm_stat(b"  1048576 2048 524288 0 1 0 0\n"),
            Some(Zram { stored_kib: 1024, used_kib: 512 })
        );
        assert_eq!(parse_zram_mm_stat(b"1 2"), None);
    }
}
