//! Memory and pressure, read into a snapshot. Judges nothing and changes nothing
//! but its own windows and baselines.

use super::scope::Scope;
use crate::decide::baseline::Baseline;
use crate::decide::levels::Levels;
use crate::decide::pacing::Headroom;
use crate::decide::snapshot::{Loss, Snapshot, Thrash};
use crate::decide::verdict::FLOOR_SPAN_US;
use crate::read::kfile::{ReadError, Tree};
use crate::read::memory::{self, Meminfo, MeminfoFile, SysinfoReading, Vmstat};
use crate::read::psi::{Pressure, PressureFile, Stall, StallWindow};
use crate::read::swap;
use crate::read::window::Window;
use crate::sys::program;
use crate::sys::time::SECOND;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::OFlags;

/// The window of the pressure and thrash rules, the one that avg10 is named for.
const STALL_SPAN_US: u64 = 10 * SECOND;

/// The share of processor time that still counts as idle: ourselves and a few
/// timers.
const IDLE_BUSY_PCT: u64 = 3;
const IDLE_SPAN_US: u64 = SECOND;

/// Captured trees are taken to come from a machine with pages of this size.
const CAPTURED_PAGE_KIB: u64 = 4;

/// Where the shares of time stalled come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StallSource {
    /// Our own windows over the counters.
    Windows,
    /// The kernel's average over 10 s, for who looks only once.
    KernelAverage,
}

/// What must hold for the fast path, as of the last look at meminfo.
#[derive(Clone, Copy, Debug)]
struct FastPath {
    /// While more than this is free, nothing else need be read.
    free_kib: u64,
    mem_term_kib: u64,
    totals: Totals,
}

/// Sizes that say whether sysinfo(2) and meminfo tell of the same machine, and
/// whether it is still the same size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Totals {
    mem_kib: u64,
    swap_kib: u64,
}

impl From<SysinfoReading> for Totals {
    fn from(sysinfo: SysinfoReading) -> Self {
        Self { mem_kib: sysinfo.total_kib, swap_kib: sysinfo.swap_total_kib }
    }
}

const NEVER_US: u64 = u64::MAX;

/// What is read of memory, and the windows and baselines that grow from it.
#[derive(Debug)]
pub struct Observer<'a> {
    tree: &'a Tree,
    scope: &'a Scope<'a>,
    /// What [`Scope::changes`] said last.
    changes: u32,
    page_kib: u64,
    source: StallSource,
    meminfo: MeminfoFile,
    pressure: Result<PressureFile, ReadError>,
    stall: StallWindow,
    recent_stall: StallWindow,
    thrash: Window,
    busy: Window,
    fast_path: Option<FastPath>,
    /// What the kernel keeps free, as of when the guard began.
    reserve_kib: u64,
    /// How far it may raise that.
    boost_kib: u64,
    /// The levels of what is taken of memory and swap, and of that by tmpfs.
    taken: Baseline,
    shmem: Baseline,
    /// That of what no kill gives back, which lowers the limits, ...
    pinned: Baseline,
    /// ... and when what is read then becomes it; never, where that is over.
    pinned_anew_us: u64,
}

fn open_pressure(scope: &Scope<'_>) -> Result<PressureFile, ReadError> {
    PressureFile::of(scope.open_pressure(OFlags::RDONLY)?)
}

impl<'a> Observer<'a> {
    /// An observer of `scope` in `tree` that has seen nothing yet.
    pub fn new(tree: &'a Tree, scope: &'a Scope<'a>, source: StallSource) -> Self {
        Self {
            tree,
            scope,
            changes: scope.changes(),
            page_kib: if tree.live { program::page_kib() } else { CAPTURED_PAGE_KIB },
            source,
            meminfo: MeminfoFile::default(),
            pressure: open_pressure(scope),
            stall: StallWindow::new(STALL_SPAN_US),
            recent_stall: StallWindow::new(FLOOR_SPAN_US),
            thrash: Window::new(STALL_SPAN_US),
            busy: Window::new(IDLE_SPAN_US),
            fast_path: None,
            reserve_kib: memory::read_reserve_kib(tree.proc.as_fd()).unwrap_or(0),
            boost_kib: memory::read_boost_kib(tree).unwrap_or(0),
            taken: Baseline::UNKNOWN,
            shmem: Baseline::UNKNOWN,
            pinned: Baseline::UNKNOWN,
            pinned_anew_us: NEVER_US,
        }
    }

    /// KiB in a page of the machine that is observed.
    pub fn page_kib(&self) -> u64 {
        self.page_kib
    }

    /// Is there pressure information (PSI)?
    pub fn has_pressure(&self) -> bool {
        self.pressure.is_ok()
    }

    fn proc(&self) -> BorrowedFd<'a> {
        self.tree.proc.as_fd()
    }

    /// The fast path: is free memory alone so plentiful that nothing past
    /// sysinfo(2), or a cgroup's limits and use, need be read? Then the headroom that is
    /// certain.
    pub fn read_fast_path(&self) -> Option<Headroom> {
        let fast_path = self.fast_path.as_ref().filter(|_| self.tree.live)?;
        let free_kib = if self.scope.is_machine() {
            let now = memory::read_sysinfo();
            (fast_path.totals == Totals::from(now)).then_some(now.free_kib)
        } else {
            // Never sysinfo(2), which tells of the machine.
            self.scope.read_free_kib(fast_path.totals.mem_kib)
        };
        let free_kib = free_kib.filter(|&free_kib| free_kib > fast_path.free_kib)?;
        Some(Headroom { mem_kib: free_kib.saturating_sub(fast_path.mem_term_kib), swap_kib: 0 })
    }

    /// Reads everything.
    ///
    /// # Errors
    /// `/proc/meminfo` or the cgroup's memory cannot be read; what else cannot be is left
    /// out.
    pub fn read(&mut self, now_us: u64) -> Result<Snapshot, ReadError> {
        let mut mem = self.meminfo.read(self.proc())?;
        let refault_pages = self.scope.read_memory(&mut mem)?;
        self.follow_scope();
        let is_machine = self.scope.is_machine();
        // What a page costs that goes to zram is the machine's, and not the cgroup's.
        let swap_free_kib = if is_machine { self.read_swap_free_kib(&mem) } else { mem.swap_free_kib };
        let mut snapshot = Snapshot { mem, swap_free_kib, ..Snapshot::default() };
        if let Some(pressure) = self.read_pressure() {
            self.note_pressure(&pressure, &mut snapshot, now_us);
        } else {
            let counters = if is_machine {
                memory::read_vmstat(self.proc()).ok()
            } else {
                let hits = self.scope.read_limit_hits();
                hits.map(|allocstalls| Vmstat { refault_pages, allocstalls })
            };
            snapshot.thrash = counters.map(|counters| self.note_thrash(&counters, &mem, now_us));
        }
        snapshot.loss = self.note_taken(&mem, now_us);
        // In a cgroup the last page is as good as any.
        if is_machine {
            snapshot.reserve_kib = self.reserve_kib;
            snapshot.boost_kib = memory::boost_of_kib(self.boost_kib, mem.mem_total_kib);
        }
        Ok(snapshot)
    }

    /// Where something else is guarded now, what is known is about something else.
    fn follow_scope(&mut self) {
        let changes = self.scope.changes();
        if core::mem::replace(&mut self.changes, changes) != changes {
            self.pressure = open_pressure(self.scope);
            self.fast_path = None;
            self.busy.restart();
            self.restart_windows();
            self.restart_baselines(0);
        }
    }

    /// What the pressure file says now.
    pub fn read_pressure(&self) -> Option<Pressure> {
        self.pressure.as_ref().ok().and_then(|file| file.read().ok())
    }

    fn note_pressure(&mut self, pressure: &Pressure, snapshot: &mut Snapshot, now_us: u64) {
        let stall = self.stall.push(now_us, pressure);
        let recent_stall = self.recent_stall.push(now_us, pressure);
        let average = Stall { some_bp: pressure.some.avg10_bp, full_bp: pressure.full.avg10_bp };
        (snapshot.stall, snapshot.recent_stall) = match self.source {
            StallSource::Windows => (Some(stall), Some(recent_stall)),
            StallSource::KernelAverage => (Some(average), Some(average)),
        };
    }

    fn note_thrash(&mut self, counters: &Vmstat, mem: &Meminfo, now_us: u64) -> Thrash {
        let growth = self.thrash.push(now_us, [counters.refault_pages, counters.allocstalls]);
        let [refault_pages, allocstalls] = growth.counters;
        let refault_kib = refault_pages.saturating_mul(self.page_kib);
        Thrash { refault_pct: refault_kib.saturating_mul(100) / mem.file_lru_kib.max(1), allocstalls }
    }

    fn note_taken(&mut self, mem: &Meminfo, now_us: u64) -> Loss {
        let pinned_kib = mem.total_kib().saturating_sub(mem.reclaimable_kib());
        if now_us >= self.pinned_anew_us {
            (self.pinned, self.pinned_anew_us) = (Baseline::UNKNOWN, NEVER_US);
        }
        let grown_kib = |baseline: &mut Baseline, kib: u64| {
            *baseline = baseline.after(kib, now_us);
            baseline.growth_kib(kib)
        };
        Loss {
            total_kib: grown_kib(&mut self.taken, mem.taken_kib()),
            shmem_kib: grown_kib(&mut self.shmem, mem.shmem_kib),
            pinned_kib: grown_kib(&mut self.pinned, pinned_kib),
        }
    }

    fn read_swap_free_kib(&self, mem: &Meminfo) -> u64 {
        if mem.swap_total_kib == 0 {
            return 0;
        }
        match swap::read_swaps(self.tree) {
            // In a container /proc/swaps may be the host's, or empty.
            Ok(swaps) if swaps.areas > 0 => swaps.effective_free_kib(mem).min(mem.swap_free_kib),
            _ => mem.swap_free_kib,
        }
    }

    /// Arms the fast path for the memory that `snapshot` tells of. Not where
    /// sysinfo(2) tells of another machine than meminfo, the host's below lxcfs
    /// for one.
    pub fn arm_fast_path(&mut self, snapshot: &Snapshot, levels: &Levels) {
        let told = Totals { mem_kib: snapshot.mem.mem_total_kib, swap_kib: snapshot.mem.swap_total_kib };
        let is_machine = self.scope.is_machine();
        let totals = if is_machine { Totals::from(memory::read_sysinfo()) } else { told };
        self.fast_path = (told == totals).then_some(FastPath {
            free_kib: levels.fast_path_kib,
            mem_term_kib: levels.mem_term_kib,
            totals,
        });
    }

    /// Did the processors do next to nothing during the last second?
    pub fn is_idle(&mut self, now_us: u64) -> bool {
        let Ok(busy_us) = self.scope.read_busy_us() else {
            return false;
        };
        let growth = self.busy.push(now_us, [busy_us, now_us]);
        // The second counter is the time itself: how much of the span was seen.
        let [busy_us, seen_us] = growth.counters;
        seen_us >= IDLE_SPAN_US && busy_us < growth.elapsed_us / 100 * IDLE_BUSY_PCT
    }

    /// What stalled before a kill says nothing about the memory that is free now.
    pub fn restart_windows(&mut self) {
        self.stall.restart();
        self.recent_stall.restart();
        self.thrash.restart();
    }

    /// After a kill: what is gone now has been answered for, and what is read
    /// next is the baseline. What no kill gives back lowers the limits from then on.
    pub fn restart_baselines(&mut self, from_us: u64) {
        (self.taken, self.shmem) = (Baseline::UNKNOWN, Baseline::UNKNOWN);
        self.pinned_anew_us = from_us;
    }
}
