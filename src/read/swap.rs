//! What swap is really worth: `/proc/swaps`, and what zram devices tell of
//! themselves. Sizes in KiB.

use crate::read::kfile::{self, ReadError, Tree};
use crate::read::memory::Meminfo;
use crate::sys::line::Joined;
use core::ops::ControlFlow;
use rustix::fd::AsFd;

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

/// More areas than any kernel has.
const MAX_AREAS: u32 = 64;

impl Swaps {
    fn add(&mut self, tree: &Tree, path: &[u8], free_kib: u64) {
        self.areas += 1;
        let Some(name) = zram_name(path) else {
            self.disk_free_kib = self.disk_free_kib.saturating_add(free_kib);
            return;
        };
        self.zram_free_kib = self.zram_free_kib.saturating_add(free_kib);
        if let Some(zram) = read_zram(tree, name) {
            self.zram.stored_kib = self.zram.stored_kib.saturating_add(zram.stored_kib);
            self.zram.used_kib = self.zram.used_kib.saturating_add(zram.used_kib);
        }
    }

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
        if let Some((path, free_kib)) = parse_swap_line(line) {
            swaps.add(tree, path, free_kib);
        }
        // Linux allows 29 areas; lxcfs tells of as many as it likes.
        if swaps.areas < MAX_AREAS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
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
