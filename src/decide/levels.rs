//! The user's limits in KiB, for the memory there is now.

use crate::config::limits::{Amount, DEFAULT_MEM, DEFAULT_MEM_CAP_KIB, Limits};
use crate::decide::snapshot::Snapshot;
use crate::read::psi::ShareBp;

/// The original bustd looks at pressure only below this share of free memory.
const FAST_PATH_BP: ShareBp = 1500;

/// Pressure is believed only where available memory is at or below one and a
/// half times the TERM limit: stalls with plenty available come from I/O and
/// reclaim, and killed innocents elsewhere (nohang#33, systemd#23606).
const CONFIRM_NUM: u64 = 3;
const CONFIRM_DEN: u64 = 2;

/// The limits in KiB, for the memory there is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// TERM at or below this much available memory.
    pub mem_term_kib: u64,
    /// KILL at or below this much.
    pub mem_kill_kib: u64,
    /// TERM at or below this much effective free swap, with memory.
    pub swap_term_kib: u64,
    /// KILL at or below this much, with memory.
    pub swap_kill_kib: u64,
    /// Pressure and thrash count at or below this much available memory.
    pub confirm_kib: u64,
    /// The fast path: nothing needs looking at while free memory exceeds this.
    pub fast_path_kib: u64,
    /// `some` stall over 10 s.
    pub psi_bp: ShareBp,
}

impl Levels {
    /// The limits in KiB for the memory that `snapshot` tells of. What tmpfs and
    /// the kernel have just taken counts as if it could still be had: otherwise the
    /// limits would fall as fast as what is available. And however little there is
    /// to be had, no limit falls below what the kernel needs to work: its reserve to
    /// ask, and half of that to force, unless it was set lower. Shares are counted from
    /// where the kernel itself would kill, once it has raised its watermarks.
    pub fn of(limits: &Limits, snapshot: &Snapshot) -> Self {
        let Snapshot { mem, loss, reserve_kib, boost_kib, .. } = snapshot;
        let base_kib = mem.reclaimable_kib().saturating_add(loss.pinned_kib).min(mem.total_kib());
        let limit_kib = |amount: Amount, needed_kib: u64| {
            amount.of_kib(base_kib).max(needed_kib.min(amount.of_kib(mem.total_kib())))
        };
        let (term, kill, cap_kib) = match limits.mem {
            Some(pair) => (pair.term, pair.kill, u64::MAX),
            None => (DEFAULT_MEM.term, DEFAULT_MEM.kill, DEFAULT_MEM_CAP_KIB),
        };
        let raised_kib = |amount: Amount, kib: u64| match amount {
            Amount::Share(_) => kib.saturating_add(*boost_kib),
            Amount::Kib(_) => kib,
        };
        let mem_term_kib = raised_kib(term, limit_kib(term, *reserve_kib).min(cap_kib));
        let mem_kill_kib = raised_kib(kill, limit_kib(kill, reserve_kib / 2).min(cap_kib / 2));
        let confirm_kib = (mem_term_kib / CONFIRM_DEN).saturating_mul(CONFIRM_NUM);
        Self {
            mem_term_kib,
            mem_kill_kib,
            swap_term_kib: limits.swap.term.of_kib(mem.swap_total_kib),
            swap_kill_kib: limits.swap.kill.of_kib(mem.swap_total_kib),
            confirm_kib,
            fast_path_kib: confirm_kib.max(Amount::Share(FAST_PATH_BP).of_kib(mem.mem_total_kib)),
            psi_bp: limits.psi_bp,
        }
    }

    /// With more than this available no rule calls for anything.
    pub fn plenty_kib(&self) -> u64 {
        self.confirm_kib.max(self.mem_term_kib)
    }
}
