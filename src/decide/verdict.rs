//! A snapshot and limits in, verdict out. Pure: no clock, no files.

use crate::decide::levels::Levels;
use crate::decide::snapshot::Snapshot;
use crate::read::psi::ShareBp;

/// The window of the floor rule. Where all tasks stall for a quarter of this, the
/// default of `--psi`, with memory below the KILL limit, they will for seconds:
/// swap takes pages in more slowly than they are asked for.
pub const FLOOR_SPAN_US: u64 = 200_000;

/// Pages read back within 10 s, in proportion to the page cache, that count as
/// thrashing where there is no PSI: the whole cache once over, as for lmkd.
pub const THRASH_REFAULT_PCT: u64 = 100;

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
    /// One of the rules for cgroups says so.
    #[cfg(feature = "rules")]
    File,
}

impl Rule {
    /// All of them, each at the place of its number.
    pub const ALL: &[Self] = &[
        Self::Pressure,
        Self::Exhaustion,
        Self::Floor,
        Self::Thrash,
        #[cfg(feature = "rules")]
        Self::File,
    ];

    /// The rule's name in log and environment.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pressure => "pressure",
            Self::Exhaustion => "exhaustion",
            Self::Floor => "floor",
            Self::Thrash => "thrash",
            #[cfg(feature = "rules")]
            Self::File => "file",
        }
    }
}

/// How hard to act; the lower comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// SIGTERM, then SIGKILL after the grace.
    Term,
    /// SIGKILL at once.
    Kill,
}

/// What the snapshot calls for.
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
pub fn mem_available_below(snapshot: &Snapshot, level_kib: u64) -> bool {
    snapshot.mem.mem_available_kib <= level_kib
}

/// Is effective free swap at or below `level_kib`? Always so without swap.
pub fn swap_free_below(snapshot: &Snapshot, level_kib: u64) -> bool {
    snapshot.swap_free_kib <= level_kib
}

/// Did tasks stall for at least `limit_bp` of the last 10 s?
pub fn pressure_above(snapshot: &Snapshot, limit_bp: ShareBp) -> bool {
    snapshot.stall.is_some_and(|stall| stall.some_bp >= limit_bp)
}

/// Did all tasks stall at once for at least `limit_bp` of the last 200 ms?
pub fn fully_stalled(snapshot: &Snapshot, limit_bp: ShareBp) -> bool {
    snapshot.recent_stall.is_some_and(|stall| stall.full_bp >= limit_bp)
}

fn thrashing(snapshot: &Snapshot) -> bool {
    snapshot.thrash.is_some_and(|thrash| thrash.refault_pct >= THRASH_REFAULT_PCT && thrash.allocstalls > 0)
}

/// Weighs the snapshot; of several rules that hold, the most urgent decides.
// Out of line: inlined it is larger.
#[inline(never)]
pub fn decide(snapshot: &Snapshot, levels: &Levels) -> Verdict {
    let exhausted =
        |mem_kib, swap_kib| mem_available_below(snapshot, mem_kib) && swap_free_below(snapshot, swap_kib);
    // Where nothing is known of memory, nobody is killed for want of it.
    if snapshot.mem.reclaimable_kib() == 0 {
        return Verdict::Enough;
    }
    if exhausted(levels.mem_kill_kib, levels.swap_kill_kib) {
        return Verdict::Act(Rule::Exhaustion, Urgency::Kill);
    }
    if mem_available_below(snapshot, levels.mem_kill_kib) && fully_stalled(snapshot, levels.psi_bp) {
        return Verdict::Act(Rule::Floor, Urgency::Kill);
    }
    if exhausted(levels.mem_term_kib, levels.swap_term_kib) {
        return Verdict::Act(Rule::Exhaustion, Urgency::Term);
    }
    if !mem_available_below(snapshot, levels.confirm_kib) {
        return Verdict::Enough;
    }
    if pressure_above(snapshot, levels.psi_bp) {
        return Verdict::Act(Rule::Pressure, Urgency::Term);
    }
    if thrashing(snapshot) {
        return Verdict::Act(Rule::Thrash, Urgency::Term);
    }
    Verdict::Low
}

/// The rule that would act first if all went on as it does: one whose stall is
/// half way to its limit, else exhaustion.
pub fn nearest_rule(snapshot: &Snapshot, levels: &Levels) -> Rule {
    let half_way = |share_bp, limit_bp: ShareBp| share_bp >= limit_bp.div_ceil(2);
    let refault_pct = snapshot.thrash.unwrap_or_default().refault_pct;
    if half_way(snapshot.recent_stall.unwrap_or_default().full_bp, levels.psi_bp) {
        Rule::Floor
    } else if half_way(snapshot.stall.unwrap_or_default().some_bp, levels.psi_bp) {
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
    use crate::config::limits::{Amount, Pair};
    use crate::config::limits::{DEFAULT_MEM, Limits};
    use crate::decide::snapshot::Loss;
    use crate::decide::snapshot::Thrash;
    use crate::read::memory::Meminfo;
    use crate::read::psi::Stall;

    fn levels_of(mem: &Meminfo, pinned_kib: u64) -> Levels {
        let loss = Loss { pinned_kib, ..Loss::default() };
        Levels::of(&Limits::default(), &Snapshot { mem: *mem, loss, ..Snapshot::default() })
    }

    /// 320 MB of RAM, half of it anonymous, so much available.
    fn readings(available_kib: u64) -> Snapshot {
        Snapshot {
            mem: Meminfo {
                mem_total_kib: 320_000,
                mem_available_kib: available_kib,
                anon_kib: 300_000 - available_kib,
                ..Meminfo::default()
            },
            ..Snapshot::default()
        }
    }

    fn verdict(readings: &Snapshot) -> Verdict {
        decide(readings, &levels_of(&readings.mem, 0))
    }

    fn stalled(some_bp: ShareBp, full_bp: ShareBp) -> Option<Stall> {
        Some(Stall { some_bp, full_bp })
    }

    #[test]
    fn levels_follow_what_killing_can_give_back() {
        let levels = levels_of(&readings(100_000).mem, 0);
        assert_eq!((levels.mem_term_kib, levels.mem_kill_kib), (30_000, 15_000));
        assert_eq!((levels.confirm_kib, levels.fast_path_kib), (45_000, 48_000));
        // A full tmpfs leaves 20 MB to win: the limits shrink with it.
        let tmpfs = Meminfo {
            mem_total_kib: 320_000,
            mem_available_kib: 5_000,
            anon_kib: 15_000,
            ..Meminfo::default()
        };
        assert_eq!(levels_of(&tmpfs, 0).mem_term_kib, 2_000);
        // One that is still filling does not make them.
        assert_eq!(levels_of(&tmpfs, 100_000).mem_term_kib, 12_000);
        assert_eq!(levels_of(&tmpfs, u64::MAX).mem_term_kib, 32_000);
        // However little is left to win, the kernel needs what it keeps.
        let reserved = Snapshot { mem: tmpfs, reserve_kib: 4_000, ..Snapshot::default() };
        let levels = Levels::of(&Limits::default(), &reserved);
        assert_eq!((levels.mem_term_kib, levels.mem_kill_kib), (4_000, 2_000));
        // But no limit is above its share of all memory, nor above what was set.
        let absurd = Snapshot { reserve_kib: 300_000, ..reserved };
        assert_eq!(Levels::of(&Limits::default(), &absurd).mem_term_kib, 32_000);
        let set = Pair { term: Amount::Kib(900), kill: Amount::Kib(700) };
        let set = Limits { mem: Some(set), ..Limits::default() };
        assert_eq!(Levels::of(&set, &absurd).mem_term_kib, 900);
        // Where the kernel itself kills with more than that free, shares begin there.
        let boosted = Snapshot { boost_kib: 32_000, ..reserved };
        let levels = Levels::of(&Limits::default(), &boosted);
        assert_eq!((levels.mem_term_kib, levels.mem_kill_kib), (36_000, 34_000));
        assert_eq!((levels.confirm_kib, levels.fast_path_kib), (54_000, 54_000));
        assert_eq!(Levels::of(&set, &boosted).mem_term_kib, 900);
        // A terabyte does not keep 100 GB idle, unless told to.
        let huge = Meminfo { mem_total_kib: 1 << 30, mem_available_kib: 1 << 30, ..Meminfo::default() };
        assert_eq!(levels_of(&huge, 0).mem_term_kib, 2 << 20);
        assert_eq!(levels_of(&huge, 0).mem_kill_kib, 1 << 20);
        let told = Limits { mem: Some(DEFAULT_MEM), ..Limits::default() };
        assert_eq!(
            Levels::of(&told, &Snapshot { mem: huge, ..Snapshot::default() }).mem_term_kib,
            (1 << 30) / 10
        );
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
        let patient = Limits { psi_bp: 10_000, ..Limits::default() };
        assert_eq!(decide(&deep, &Levels::of(&patient, &deep)), Verdict::Low);
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
        assert_eq!(verdict(&Snapshot::default()), Verdict::Enough);
    }
}
