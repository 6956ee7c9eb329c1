//! What rules want of the machine as a whole, read once a tick and only if somebody asks.

use crate::read::kfile::{ReadError, Tree, fields, parse_u64, read_lines, read_number};
use crate::read::memory::{Meminfo, read_meminfo};
use crate::read::proportion::proportion;
use crate::sys::time::SECOND;
use core::ops::ControlFlow;
use rustix::fd::{AsFd, BorrowedFd};

/// Of this tick, and of the last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine {
    mem: Option<Meminfo>,
    /// Pages swapped out so far, when that was read.
    swapout: Option<(u64, u64)>,
    rate_bps: Option<u64>,
}

/// Bytes in what `pswpout` counts: a page of the machine.
fn page_bytes() -> u64 {
    crate::sys::program::page_kib() * 1024
}

impl Machine {
    /// Forgets what was read.
    pub fn begin_tick(&mut self) {
        self.mem = None;
        self.rate_bps = None;
    }

    /// Memory and swap; nothing where that cannot be read.
    pub fn mem(&mut self, tree: &Tree) -> Meminfo {
        *self.mem.get_or_insert_with(|| read_meminfo(tree.proc.as_fd()).unwrap_or_default())
    }

    /// How many bytes a second were swapped out since this was asked before; 0 for the
    /// first time.
    pub fn swapout_bps(&mut self, tree: &Tree, now_us: u64) -> u64 {
        if let Some(rate) = self.rate_bps {
            return rate;
        }
        let pages = read_vmstat_line(tree.proc.as_fd(), b"pswpout").unwrap_or(0);
        let rate = self.swapout.map_or(0, |(last, when_us)| {
            let bytes = pages.saturating_sub(last).saturating_mul(page_bytes());
            proportion(bytes, SECOND, now_us.saturating_sub(when_us).max(1))
        });
        self.swapout = Some((pages, now_us));
        self.rate_bps = Some(rate);
        rate
    }

    /// Does the kernel swap anonymous memory out?
    pub fn swaps(&mut self, tree: &Tree) -> bool {
        self.mem(tree).swap_total_kib > 0
            && read_number(tree.proc.as_fd(), c"sys/vm/swappiness").is_ok_and(|swappiness| swappiness > 0)
    }
}

/// Reads one line of `/proc/vmstat`; 0 where it is missing.
///
/// # Errors
/// See [`ReadError`].
// Out of line, so that its buffer is not on the stack of who asks.
#[inline(never)]
pub fn read_vmstat_line(proc: BorrowedFd<'_>, key: &[u8]) -> Result<u64, ReadError> {
    let mut found = 0;
    read_lines(proc, c"vmstat", &mut [0; 1024], &mut |line| {
        let mut words = fields(line);
        if words.next() == Some(key) {
            found = words.next().and_then(parse_u64).unwrap_or(0);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}
