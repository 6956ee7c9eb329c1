//! All that a decision may see.

use crate::read::memory::Meminfo;
use crate::read::psi::Stall;

/// Refaults and direct reclaim over the last 10 s, where there is no PSI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thrash {
    /// Pages read back, per cent of the page cache.
    pub refault_pct: u64,
    /// Times a task had to reclaim for itself.
    pub allocstalls: u64,
}

/// How much more memory is gone than the baseline, and where it can be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Of memory and swap together.
    pub total_kib: u64,
    /// The part that is in tmpfs and shared memory.
    pub shmem_kib: u64,
    /// The part that no kill gives back, as far as is known: tmpfs, and what the
    /// kernel keeps for itself and in the name of processes.
    pub pinned_kib: u64,
}

/// How memory stands at one time, with what the observer's windows and baselines
/// tell of the time before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// `/proc/meminfo`.
    pub mem: Meminfo,
    /// Swap that can really take something in; see
    /// [`Swaps::effective_free_kib`](crate::read::swap::Swaps::effective_free_kib).
    pub swap_free_kib: u64,
    /// Stall over the last 10 s; `None` without PSI.
    pub stall: Option<Stall>,
    /// Stall over the last [`FLOOR_SPAN_US`](super::verdict::FLOOR_SPAN_US);
    /// `None` without PSI.
    pub recent_stall: Option<Stall>,
    /// What stands in for pressure; `None` with PSI.
    pub thrash: Option<Thrash>,
    /// What is gone above the baseline.
    pub loss: Loss,
    /// What the kernel keeps free for itself and does not count as available.
    pub reserve_kib: u64,
    /// By how much it may keep more than that for a while; see
    /// [`read_boost_kib`](crate::read::memory::read_boost_kib).
    pub boost_kib: u64,
}
