//! Memory looked at again while something else takes its time.

use super::scope::Scope;
use crate::read::memory::MeminfoFile;
use crate::sys::time::now_us;
use core::cell::Cell;
use rustix::fd::BorrowedFd;

/// Memory is looked at again after this long, whatever else goes on; what is read of one
/// process takes up to 15 ms more, where its user has made that long. Unit tests need not
/// be slow to see that.
const VIGIL_US: u64 = if cfg!(test) { 1 } else { 20_000 };

/// Watches memory during a scan of all processes, which takes longer the more
/// there are, and users decide how many there are.
#[derive(Debug)]
pub struct Vigil<'a> {
    scope: &'a Scope<'a>,
    meminfo: MeminfoFile,
    until: Cell<Until>,
    looked_us: Cell<u64>,
    has_come_back: Cell<bool>,
}

/// How much memory must be available for a scan to go on.
#[derive(Clone, Copy, Debug)]
pub struct Until {
    /// With less there is no time for more.
    pub least_kib: u64,
    /// With more there is no need for more.
    pub enough_kib: u64,
}

impl<'a> Vigil<'a> {
    /// A vigil over `scope` that never ends anything.
    pub fn new(proc: BorrowedFd<'_>, scope: &'a Scope<'a>) -> Self {
        Self {
            scope,
            meminfo: MeminfoFile::open(proc),
            until: Cell::new(Until { least_kib: 0, enough_kib: u64::MAX }),
            looked_us: Cell::new(0),
            has_come_back: Cell::new(false),
        }
    }

    /// Begins a vigil: memory was looked at just now.
    pub fn begin(&self, until: Until) {
        self.until.set(until);
        self.looked_us.set(now_us());
        self.has_come_back.set(false);
    }

    /// Has there been enough memory since the vigil began?
    pub fn has_come_back(&self) -> bool {
        self.has_come_back.get()
    }

    /// Is a scan to end here? Looks at memory only when it has not been looked at for a
    /// while.
    pub fn is_over(&self) -> bool {
        let now_us = now_us();
        if now_us.saturating_sub(self.looked_us.get()) < VIGIL_US {
            return false;
        }
        self.looked_us.set(now_us);
        let available_kib = if self.scope.is_machine() {
            self.meminfo.read_available_kib()
        } else {
            self.scope.read_available_kib()
        };
        let Until { least_kib, enough_kib } = self.until.get();
        let Some(available_kib) = available_kib else { return false };
        self.has_come_back.set(self.has_come_back.get() || available_kib > enough_kib);
        available_kib < least_kib || available_kib > enough_kib
    }
}
