//! Readings and limits in, verdict out. Pure: no clock, no files.

use crate::read::memory::Meminfo;
use crate::read::psi::{ShareBp, Stall};

/// An amount of memory as people give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// A share of what there is, in basis points.
    Share(ShareBp),
    /// So many KiB.
    Kib(u64),
}

impl Amount {
    /// The amount in KiB where there are `whole_kib`.
    #[inline(never)]
    pub fn of_kib(self, total_kib: u64) -> u64 {
        match self {
            // In two steps, so that the product fits.
            Self::Share(bp) => {
                total_kib / 10_000 * u64::from(bp) + total_kib % 10_000 * u64::from(bp) / 10_000
            }
            Self::Kib(kib) => kib,
        }
    }

    /// Half as much.
    pub fn half(self) -> Self {
        match self {
            Self::Share(bp) => Self::Share(bp / 2),
            Self::Kib(kib) => Self::Kib(kib / 2),
        }
    }
}

/// A pair of limits: ask below the first, force below the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// SIGTERM at or below this.
    pub term: Amount,
    /// SIGKILL at or below this.
    pub kill: Amount,
}

/// What the user set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Available memory; `None` is [`DEFAULT_MEM`] with [`DEFAULT_MEM_CAP_KIB`].
    pub mem: Option<Pair>,
    /// Effective free swap.
    pub swap: Pair,
    /// `some` stall over the last 10 s.
    pub psi_bp: ShareBp,
}

/// 10 % available, killed by force at 5 %: the figures earlyoom's users have
/// lived with for years.
pub const DEFAULT_MEM: Pair = Pair { term: Amount::Share(1000), kill: Amount::Share(500) };

/// On a large machine 10 % is more than any leak eats in the time a kill takes:
/// the default never asks for more than 2 GiB to stay available.
pub const DEFAULT_MEM_CAP_KIB: u64 = 2 << 20;

/// The same shares of swap.
pub const DEFAULT_SWAP: Pair = DEFAULT_MEM;

/// The original bustd's limit: 25 % of wall time.
pub const DEFAULT_PSI_BP: ShareBp = 2500;

/// The original bustd looks at pressure only below this share of free memory.
const PRESSURE_GATE_BP: ShareBp = 1500;

/// Pressure is believed only where available memory is at or below one and a
/// half times the TERM limit: stalls with plenty available come from I/O and
/// reclaim, and killed innocents elsewhere (nohang#33, systemd#23606).
const CONFIRM_NUM: u64 = 3;
const CONFIRM_DEN: u64 = 2;

/// The window of the floor rule. Where all tasks stall for a quarter of this, the
/// default of `--psi`, with memory below the KILL limit, they will for seconds:
/// swap takes pages in more slowly than they are asked for.
pub const FLOOR_SPAN_US: u64 = 200_000;

/// Pages read back within 10 s, in proportion to the page cache, that count as
/// thrashing where there is no PSI: the whole cache once over, as for lmkd.
pub const THRASH_REFAULT_PCT: u64 = 100;

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
    /// Nothing needs looking at while free memory exceeds this.
    pub gate_kib: u64,
    /// `some` stall over 10 s.
    pub psi_bp: ShareBp,
}

impl Limits {
    /// The limits in KiB for the memory `mem` tells of. What tmpfs has just
    /// taken counts as if it could still be had: else the limits would fall
    /// as fast as what is available, to below what the kernel itself needs.
    #[inline(never)]
    pub fn levels(&self, mem: &Meminfo, shmem_growth_kib: u64) -> Levels {
        let base_kib = mem.reclaimable_kib().saturating_add(shmem_growth_kib).min(mem.total_kib());
        let (term, kill, cap_kib) = match self.mem {
            Some(pair) => (pair.term, pair.kill, u64::MAX),
            None => (DEFAULT_MEM.term, DEFAULT_MEM.kill, DEFAULT_MEM_CAP_KIB),
        };
        let mem_term_kib = term.of_kib(base_kib).min(cap_kib);
        let mem_kill_kib = kill.of_kib(base_kib).min(cap_kib / 2);
        let confirm_kib = (mem_term_kib / CONFIRM_DEN).saturating_mul(CONFIRM_NUM);
        Levels {
            mem_term_kib,
            mem_kill_kib,
            swap_term_kib: self.swap.term.of_kib(mem.swap_total_kib),
            swap_kill_kib: self.swap.kill.of_kib(mem.swap_total_kib),
            confirm_kib,
            gate_kib: confirm_kib.max(Amount::Share(PRESSURE_GATE_BP).of_kib(mem.mem_total_kib)),
            psi_bp: self.psi_bp,
        }
    }
}

/// Refaults and direct reclaim over the last 10 s, where there is no PSI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thrash {
    /// Pages read back, per cent of the page cache.
    pub refault_pct: u64,
    /// Times a task had to reclaim for itself.
    pub allocstalls: u64,
}

/// Everything a verdict rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    /// `/proc/meminfo`.
    pub mem: Meminfo,
    /// Swap that can really take something in; see
    /// [`Swaps::effective_free_kib`](crate::read::memory::Swaps::effective_free_kib).
    pub swap_free_kib: u64,
    /// Stall over the last 10 s; `None` without PSI.
    pub stall: Option<Stall>,
    /// Stall over the last [`FLOOR_SPAN_US`]; `None` without PSI.
    pub recent_stall: Option<Stall>,
    /// Its stand-in; `None` with PSI.
    pub thrash: Option<Thrash>,
}

/// Why to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Tasks stall for memory, and little is available.
    Pressure,
    /// Memory and swap are used up.
    Exhaustion,
    /// Below the hard floor, and everything stalls.
    Floor,
    /// The page cache is read again and again, and little is available.
    Thrash,
}

impl Rule {
    /// All of them, each at the place of its number.
    pub const ALL: [Self; 4] = [Self::Pressure, Self::Exhaustion, Self::Floor, Self::Thrash];

    /// The rule's name in log and environment.
    #[inline(never)]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pressure => "pressure",
            Self::Exhaustion => "exhaustion",
            Self::Floor => "floor",
            Self::Thrash => "thrash",
        }
    }
}

/// How hard to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// SIGTERM, then SIGKILL after the grace.
    Term,
    /// SIGKILL at once.
    Kill,
}

/// What the readings call for.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Enough,
    /// Looking again soon.
    Low,
    /// A victim.
    Act(Rule, Urgency),
}

/// Is available memory at or below `level_kib`?
pub fn mem_available_below(readings: &Readings, level_kib: u64) -> bool {
    readings.mem.mem_available_kib <= level_kib
}

/// Is effective free swap at or below `level_kib`? Always so without swap.
pub fn swap_free_below(readings: &Readings, level_kib: u64) -> bool {
    readings.swap_free_kib <= level_kib
}

/// Did tasks stall for at least `limit_bp` of the last 10 s?
pub fn pressure_above(readings: &Readings, limit_bp: ShareBp) -> bool {
    readings.stall.is_some_and(|stall| stall.some_bp >= limit_bp)
}

/// Did all tasks stall at once for at least `limit_bp` of the last 200 ms?
pub fn fully_stalled(readings: &Readings, limit_bp: ShareBp) -> bool {
    readings.recent_stall.is_some_and(|stall| stall.full_bp >= limit_bp)
}

fn thrashing(readings: &Readings) -> bool {
    readings.thrash.is_some_and(|thrash| thrash.refault_pct >= THRASH_REFAULT_PCT && thrash.allocstalls > 0)
}

/// Weighs the readings; the rule that forces most decides.
pub fn decide(readings: &Readings, levels: &Levels) -> Verdict {
    let exhausted =
        |mem_kib, swap_kib| mem_available_below(readings, mem_kib) && swap_free_below(readings, swap_kib);
    // Half a page of memory known is not knowledge to kill on.
    if readings.mem.reclaimable_kib() == 0 {
        return Verdict::Enough;
    }
    if exhausted(levels.mem_kill_kib, levels.swap_kill_kib) {
        return Verdict::Act(Rule::Exhaustion, Urgency::Kill);
    }
    if mem_available_below(readings, levels.mem_kill_kib) && fully_stalled(readings, levels.psi_bp) {
        return Verdict::Act(Rule::Floor, Urgency::Kill);
    }
    if exhausted(levels.mem_term_kib, levels.swap_term_kib) {
        return Verdict::Act(Rule::Exhaustion, Urgency::Term);
    }
    if !mem_available_below(readings, levels.confirm_kib) {
        return Verdict::Enough;
    }
    if pressure_above(readings, levels.psi_bp) {
        return Verdict::Act(Rule::Pressure, Urgency::Term);
    }
    if thrashing(readings) {
        return Verdict::Act(Rule::Thrash, Urgency::Term);
    }
    Verdict::Low
}

/// The rule that would act first if all went on as it does: one whose stall is
/// half way to its limit, else exhaustion.
#[inline(never)]
pub fn nearest_rule(readings: &Readings, levels: &Levels) -> Rule {
    let half_way = |share_bp, limit_bp: ShareBp| share_bp >= limit_bp.div_ceil(2);
    let refault_pct = readings.thrash.unwrap_or_default().refault_pct;
    if half_way(readings.recent_stall.unwrap_or_default().full_bp, levels.psi_bp) {
        Rule::Floor
    } else if half_way(readings.stall.unwrap_or_default().some_bp, levels.psi_bp) {
        Rule::Pressure
    } else if refault_pct >= THRASH_REFAULT_PCT / 2 {
        Rule::Thrash
    } else {
        Rule::Exhaustion
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { mem: None, swap: DEFAULT_SWAP, psi_bp: DEFAULT_PSI_BP };

    /// 320 MB of RAM, half of it anonymous, so much available.
    fn readings(available_kib: u64) -> Readings {
        Readings {
            mem: Meminfo {
                mem_total_kib: 320_000,
                mem_available_kib: available_kib,
                anon_kib: 300_000 - available_kib,
                ..Meminfo::default()
            },
            ..Readings::default()
        }
    }

    fn verdict(readings: &Readings) -> Verdict {
        decide(readings, &LIMITS.levels(&readings.mem, 0))
    }

    fn stalled(some_bp: ShareBp, full_bp: ShareBp) -> Option<Stall> {
        Some(Stall { some_bp, full_bp })
    }

    #[test]
    fn levels_follow_what_killing_can_give_back() {
        let levels = LIMITS.levels(&readings(100_000).mem, 0);
        assert_eq!((levels.mem_term_kib, levels.mem_kill_kib), (30_000, 15_000));
        assert_eq!((levels.confirm_kib, levels.gate_kib), (45_000, 48_000));
        // A full tmpfs leaves 20 MB to win: the limits shrink with it.
        let tmpfs = Meminfo {
            mem_total_kib: 320_000,
            mem_available_kib: 5_000,
            anon_kib: 15_000,
            ..Meminfo::default()
        };
        assert_eq!(LIMITS.levels(&tmpfs, 0).mem_term_kib, 2_000);
        // One that is still filling does not make them.
        assert_eq!(LIMITS.levels(&tmpfs, 100_000).mem_term_kib, 12_000);
        assert_eq!(LIMITS.levels(&tmpfs, u64::MAX).mem_term_kib, 32_000);
        // A terabyte does not keep 100 GB idle, unless told to.
        let huge = Meminfo { mem_total_kib: 1 << 30, mem_available_kib: 1 << 30, ..Meminfo::default() };
        assert_eq!(LIMITS.levels(&huge, 0).mem_term_kib, 2 << 20);
        assert_eq!(LIMITS.levels(&huge, 0).mem_kill_kib, 1 << 20);
        let told = Limits { mem: Some(DEFAULT_MEM), ..LIMITS };
        assert_eq!(told.levels(&huge, 0).mem_term_kib, (1 << 30) / 10);
    }

    #[test]
    fn exhaustion_needs_memory_and_swap() {
        assert_eq!(verdict(&readings(100_000)), Verdict::Enough);
        assert_eq!(verdict(&readings(45_000)), Verdict::Low);
        assert_eq!(verdict(&readings(30_001)), Verdict::Low);
        assert_eq!(verdict(&readings(30_000)), Verdict::Act(Rule::Exhaustion, Urgency::Term));
        assert_eq!(verdict(&readings(15_000)), Verdict::Act(Rule::Exhaustion, Urgency::Kill));
        let mut swapping = readings(15_000);
        swapping.mem.swap_total_kib = 100_000;
        swapping.swap_free_kib = 10_001;
        assert_eq!(verdict(&swapping), Verdict::Low);
        swapping.swap_free_kib = 10_000;
        assert_eq!(verdict(&swapping), Verdict::Act(Rule::Exhaustion, Urgency::Term));
        swapping.swap_free_kib = 5_000;
        assert_eq!(verdict(&swapping), Verdict::Act(Rule::Exhaustion, Urgency::Kill));
    }

    #[test]
    fn pressure_alone_never_kills() {
        let mut plenty = readings(150_000);
        plenty.stall = stalled(10_000, 10_000);
        plenty.recent_stall = stalled(10_000, 10_000);
        assert_eq!(verdict(&plenty), Verdict::Enough);
        let mut low = readings(40_000);
        low.stall = stalled(2_499, 0);
        assert_eq!(verdict(&low), Verdict::Low);
        low.stall = stalled(2_500, 0);
        assert_eq!(verdict(&low), Verdict::Act(Rule::Pressure, Urgency::Term));
    }

    #[test]
    fn floor_needs_full_stall_and_ignores_free_swap() {
        let mut deep = readings(15_000);
        deep.mem.swap_total_kib = 1_000_000;
        deep.swap_free_kib = 900_000;
        assert_eq!(verdict(&deep), Verdict::Low);
        deep.recent_stall = stalled(9_000, 2_499);
        assert_eq!(verdict(&deep), Verdict::Low);
        deep.recent_stall = stalled(9_000, 2_500);
        assert_eq!(verdict(&deep), Verdict::Act(Rule::Floor, Urgency::Kill));
        // Who asks for more patience has it here too.
        let patient = Limits { psi_bp: 10_000, ..LIMITS };
        assert_eq!(decide(&deep, &patient.levels(&deep.mem, 0)), Verdict::Low);
        deep.mem.mem_available_kib = 16_000;
        assert_eq!(verdict(&deep), Verdict::Low);
    }

    #[test]
    fn thrash_stands_in_for_pressure() {
        let mut low = readings(40_000);
        low.thrash = Some(Thrash { refault_pct: 100, allocstalls: 0 });
        assert_eq!(verdict(&low), Verdict::Low);
        low.thrash = Some(Thrash { refault_pct: 100, allocstalls: 1 });
        assert_eq!(verdict(&low), Verdict::Act(Rule::Thrash, Urgency::Term));
        let mut plenty = readings(200_000);
        plenty.thrash = low.thrash;
        assert_eq!(verdict(&plenty), Verdict::Enough);
    }

    #[test]
    fn nothing_known_is_no_reason() {
        assert_eq!(verdict(&Readings::default()), Verdict::Enough);
    }
}
