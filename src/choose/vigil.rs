//! Memory looked at again while something else takes its time.

use crate::read::memory::MeminfoFile;
use crate::sys::time::now_us;
use core::cell::Cell;
use rustix::fd::BorrowedFd;

/// Memory is looked at again after this long, whatever else goes on. Unit tests
/// need not be slow to see that.
const VIGIL_US: u64 = if cfg!(test) { 1 } else { 40_000 };

/// Watches memory during a scan of all processes, which takes longer the more
/// there are, and users decide how many there are.
#[derive(Debug)]
pub struct Vigil {
    meminfo: MeminfoFile,
    /// At or below this much available memory there is no time for more.
    stop_kib: Cell<Option<u64>>,
    looked_us: Cell<u64>,
}

impl Vigil {
    /// A vigil that never ends anything.
    pub fn new(proc: BorrowedFd<'_>) -> Self {
        Self { meminfo: MeminfoFile::open(proc), stop_kib: Cell::new(None), looked_us: Cell::new(0) }
    }

    /// Begins a vigil: memory was looked at just now. `None` where it is urgent
    /// already, and nothing can become more urgent.
    pub fn begin(&self, stop_kib: Option<u64>) {
        self.stop_kib.set(stop_kib);
        self.looked_us.set(now_us());
    }

    /// Has memory become so short that there is no time for more? Looks at it only
    /// when it has not been looked at for a while.
    pub fn is_urgent(&self) -> bool {
        let now_us = now_us();
        if now_us.saturating_sub(self.looked_us.get()) < VIGIL_US {
            return false;
        }
        self.looked_us.set(now_us);
        let Some(stop_kib) = self.stop_kib.get() else { return false };
        let available_kib = self.meminfo.read_available_kib();
        available_kib.is_some_and(|available_kib| available_kib <= stop_kib)
    }
}
