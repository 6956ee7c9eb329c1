//! senpai: how small a cgroup's memory can be without those in it waiting. It moves the
//! limit `memory.high` a little down where nobody waits, and up where somebody does, or
//! has a little reclaimed at once. Sizes in bytes.

use crate::config::rules::model::{Millionths, Plugin};
use crate::config::rules::words::Key;
use crate::read::proportion::proportion;

/// A limit is a whole number of these.
const PAGE: u64 = 4096;
const MILLION: u64 = 1_000_000;

/// What is remembered of one cgroup from tick to tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// What was written to `memory.high`.
    limit: u64,
    /// `total=` of the `some` line at the last tick.
    stalled_us: u64,
    /// By how much that has grown since the limit was changed.
    waited_us: u64,
    /// Ticks until memory may be taken again.
    countdown: u32,
}

/// What is read of a cgroup. What could not be read is as if it did not bind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// `memory.current`.
    pub current: u64,
    /// `memory.high`; [`u64::MAX`] is no limit, as below.
    pub high: u64,
    /// `memory.min`.
    pub min: u64,
    /// `memory.max`.
    pub max: u64,
    /// `active_file` and `inactive_file` of `memory.stat`.
    pub file: u64,
    /// `active_anon` and `inactive_anon`.
    pub anon: u64,
    /// `total=` of the `some` line of `memory.pressure`.
    pub stalled_us: u64,
    /// The larger of `avg10` and `avg60` of that line, in hundredths of a per cent.
    pub pressure_bp: u32,
    /// The same of `io.pressure`.
    pub io_pressure_bp: u32,
    /// How much may still be swapped out, here and in all cgroups above.
    pub swap_free: u64,
    /// The largest share of swap in use, here or in any cgroup above.
    pub swap_used: Millionths,
}

/// What is read of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine {
    /// `MemTotal`.
    pub memory: u64,
    /// Is there swap, and does the kernel use it for anonymous memory?
    pub swaps: bool,
    /// How much is swapped out in a second.
    pub swapout_bps: u64,
}

/// What is to be done to a cgroup.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Wait,
    /// Write this to `memory.high`.
    Limit(u64),
    /// Have so much reclaimed now.
    Reclaim(u64),
}

/// What one tick does to a cgroup, which has `past` if it was there at the last one.
#[inline(never)]
pub fn step(past: &mut Option<Watched>, args: &Plugin<'_>, now: &Figures, machine: &Machine) -> Step {
    let Some(watched) = past else { return begin(past, args, now) };
    if args.flag(Key::ImmediateBackoff) {
        return reclaim(watched, args, now, machine);
    }
    // Somebody else has set it, or it is another cgroup by now.
    if now.high != watched.limit {
        return begin(past, args, now);
    }
    watched.waited_us += now.stalled_us.saturating_sub(watched.stalled_us);
    watched.stalled_us = now.stalled_us;
    let aim_us = u64::from(args.unsigned(Key::PressureMs)) * 1000;
    let limit = if watched.waited_us >= aim_us {
        let more = part_of(
            watched.limit,
            watched.waited_us,
            aim_us,
            args.ratio(Key::CoeffBackoff),
            args.ratio(Key::MaxBackoff),
        );
        watched.limit.saturating_add(more)
    } else if watched.countdown > 0 {
        watched.countdown -= 1;
        return Step::Wait;
    } else if !may_swap(args, now, machine) {
        return Step::Wait;
    } else {
        let waited_us = watched.waited_us.max(1);
        watched.limit
            - part_of(
                watched.limit,
                aim_us,
                waited_us,
                args.ratio(Key::CoeffProbe),
                args.ratio(Key::MaxProbe),
            )
    };
    let (least, most) = bounds(args, now, machine);
    // Where they cross, what is needed comes first.
    let limit = whole_pages(limit.min(most).max(least));
    *watched = Watched { limit, waited_us: 0, countdown: args.unsigned(Key::Interval), ..*watched };
    Step::Limit(limit)
}

/// The first tick only takes note, and in place of a limit that is not ours sets the
/// present usage.
fn begin(past: &mut Option<Watched>, args: &Plugin<'_>, now: &Figures) -> Step {
    let limit = whole_pages(now.current);
    *past = Some(Watched {
        limit,
        stalled_us: now.stalled_us,
        waited_us: 0,
        countdown: args.unsigned(Key::Interval),
    });
    if args.flag(Key::ImmediateBackoff) { Step::Wait } else { Step::Limit(limit) }
}

fn reclaim(watched: &mut Watched, args: &Plugin<'_>, now: &Figures, machine: &Machine) -> Step {
    if watched.countdown > 0 {
        watched.countdown -= 1;
        return Step::Wait;
    }
    let is_below = |bp: u32, limit: Millionths| u64::from(bp) * (MILLION / 100) < limit.0;
    let is_calm = is_below(now.pressure_bp, args.ratio(Key::PressurePct))
        && is_below(now.io_pressure_bp, args.ratio(Key::IoPressurePct))
        && may_swap(args, now, machine);
    let spare = now.current.saturating_sub(bounds(args, now, machine).0);
    let part = whole_pages(proportion(spare, args.ratio(Key::MaxProbe).0, MILLION));
    if !is_calm || part == 0 {
        return Step::Wait;
    }
    watched.countdown = args.unsigned(Key::Interval);
    Step::Reclaim(part)
}

/// Of `limit` the square of how many times `much` is `little`, by `coefficient`, and no
/// more than `most`.
fn part_of(limit: u64, much: u64, little: u64, coefficient: Millionths, most: Millionths) -> u64 {
    // An aim of nothing is missed by all there is.
    let times = much.checked_div(little).unwrap_or(u64::MAX);
    let factor = if coefficient.0 == 0 {
        most.0
    } else {
        let steepness = proportion(times, MILLION * MILLION, coefficient.0);
        let square = proportion(steepness, steepness, MILLION);
        proportion(square, most.0, MILLION).min(most.0)
    };
    proportion(limit, factor, MILLION)
}

fn whole_pages(bytes: u64) -> u64 {
    bytes / PAGE * PAGE
}

/// No limit below, and none above.
#[inline(never)]
fn bounds(args: &Plugin<'_>, now: &Figures, machine: &Machine) -> (u64, u64) {
    let swappable = if machine.swaps { now.anon.min(now.swap_free) } else { 0 };
    let reclaimable = now.file.saturating_add(swappable);
    let rest = now.current.saturating_sub(reclaimable);
    let least = args.unsigned_wide(Key::LimitMinBytes).saturating_add(rest).max(now.min);
    let most =
        args.unsigned_wide(Key::LimitMaxBytes).saturating_add(now.current).min(machine.memory).min(now.max);
    (least, most)
}

/// Is there swap to be had for what is taken, if that is asked?
fn may_swap(args: &Plugin<'_>, now: &Figures, machine: &Machine) -> bool {
    let is_writing = i64::try_from(machine.swapout_bps).unwrap_or(i64::MAX) > args.number(Key::SenpaiSwapout);
    !args.flag(Key::SwapValidation) || now.swap_used < args.ratio(Key::SwapThreshold) && !is_writing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::rules::words::Name;
    use std::vec::Vec;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    const MACHINE: Machine = Machine { memory: 64 * GIB, swaps: false, swapout_bps: 0 };

    fn args() -> Plugin<'static> {
        args_with(&[])
    }

    /// The usual ones, with these in their place.
    fn args_with(keys: &[(Key, i64)]) -> Plugin<'static> {
        let keys = [&[(Key::Interval, 2)], keys].concat();
        Plugin::with_numbers(Name::Senpai, &keys)
    }

    /// One that could do with next to nothing.
    fn idle() -> Figures {
        let all = Figures { current: GIB, high: u64::MAX, max: u64::MAX, file: GIB, ..Figures::default() };
        Figures { swap_free: u64::MAX, ..all }
    }

    /// So many ticks, in which the limit that is set is in force.
    fn play(args: &Plugin<'_>, mut now: Figures, ticks: usize) -> Vec<Step> {
        let mut past = None;
        (0..ticks)
            .map(|_| {
                let step = step(&mut past, args, &now, &MACHINE);
                if let Step::Limit(limit) = step {
                    now.high = limit;
                }
                step
            })
            .collect()
    }

    /// As it was measured.
    #[test]
    fn the_limit_of_one_that_is_idle_goes_down() {
        let steps = play(&args(), idle(), 7);
        let limits = [1_073_741_824, 1_063_002_112, 1_052_368_896].map(Step::Limit);
        let wait = Step::Wait;
        assert_eq!(steps, [limits[0], wait, wait, limits[1], wait, wait, limits[2]]);
    }

    #[test]
    fn one_that_waits_is_given_more_at_once() {
        let mut past = None;
        let mut now = idle();
        assert_eq!(step(&mut past, &args(), &now, &MACHINE), Step::Limit(GIB));
        (now.high, now.stalled_us) = (GIB, 9_999);
        assert_eq!(step(&mut past, &args(), &now, &MACHINE), Step::Wait);
        // 20 ms are twice the aim: (2 / 20)², a hundredth.
        now.stalled_us = 20_000;
        let more = whole_pages(GIB + GIB / 100);
        assert_eq!(step(&mut past, &args(), &now, &MACHINE), Step::Limit(more));
        // Two seconds are 200 times that, but no more than it has is added.
        (now.high, now.stalled_us) = (more, 2_020_000);
        assert_eq!(step(&mut past, &args(), &now, &MACHINE), Step::Limit(2 * more));
    }

    #[test]
    fn a_limit_that_is_not_ours_is_begun_with_anew() {
        let mut past = None;
        let mut now = Figures { current: GIB + 5, ..idle() };
        assert_eq!(step(&mut past, &args(), &now, &MACHINE), Step::Limit(GIB));
        now.high = 7 * PAGE;
        assert_eq!(step(&mut past, &args(), &now, &MACHINE), Step::Limit(GIB));
    }

    #[test]
    fn what_is_needed_stays_and_what_there_is_bounds() {
        let tight = Figures { file: 20 * MIB, ..idle() };
        assert_eq!(bounds(&args(), &tight, &MACHINE), (GIB + 80 * MIB, 11 * GIB));
        // Where that is more than it has, the limit does not bind.
        assert_eq!(play(&args(), tight, 4)[3], Step::Limit(GIB + 80 * MIB));
        let swapping = Machine { swaps: true, ..MACHINE };
        let anon = Figures { anon: 900 * MIB, swap_free: 400 * MIB, ..tight };
        assert_eq!(bounds(&args(), &anon, &swapping).0, GIB - 320 * MIB);
        assert_eq!(bounds(&args(), &anon, &MACHINE).0, GIB + 80 * MIB);
        let held = Figures { min: 3 * GIB, max: 2 * GIB, ..idle() };
        assert_eq!(bounds(&args(), &held, &MACHINE), (3 * GIB, 2 * GIB));
        assert_eq!(play(&args(), held, 4)[3], Step::Limit(3 * GIB));
        assert_eq!(bounds(&args(), &idle(), &Machine { memory: GIB, ..MACHINE }).1, GIB);
    }

    #[test]
    fn at_once_a_part_of_what_is_spare_is_reclaimed() {
        let now_and_then = args_with(&[(Key::ImmediateBackoff, 1)]);
        let part = whole_pages((GIB - 100 * MIB) / 100);
        let (wait, some) = (Step::Wait, Step::Reclaim(part));
        assert_eq!(play(&now_and_then, idle(), 8), [wait, wait, wait, some, wait, wait, some, wait]);
        for pressed in [
            Figures { pressure_bp: 10, ..idle() },
            Figures { io_pressure_bp: 10, ..idle() },
            Figures { current: 100 * MIB, file: 100 * MIB, ..idle() },
        ] {
            assert_eq!(play(&now_and_then, pressed, 8), [wait; 8], "{pressed:?}");
        }
        let calm = Figures { pressure_bp: 9, io_pressure_bp: 9, ..idle() };
        assert_eq!(play(&now_and_then, calm, 4)[3], some);
    }

    /// oomd has it the other way round.
    #[test]
    fn where_swap_is_short_nothing_is_taken() {
        let careful = args_with(&[(Key::SwapValidation, 1)]);
        let full = Figures { swap_used: Millionths(800_000), ..idle() };
        assert_eq!(play(&careful, full, 5)[3..], [Step::Wait; 2]);
        assert_ne!(play(&args(), full, 5)[3], Step::Wait);
        let part = Figures { swap_used: Millionths(799_999), ..idle() };
        assert_ne!(play(&careful, part, 5)[3], Step::Wait);
        let writing = Machine { swapout_bps: (1 << 20) + 1, ..MACHINE };
        assert!(!may_swap(&careful, &part, &writing) && may_swap(&args(), &part, &writing));
    }

    #[test]
    fn no_number_is_too_large() {
        for coefficient in [0, 1, i64::MAX] {
            let extreme = [
                (Key::CoeffProbe, coefficient),
                (Key::CoeffBackoff, coefficient),
                (Key::MaxBackoff, i64::MAX),
                (Key::MaxProbe, 1_000_000),
            ];
            let at_once = args_with(&[&extreme[..], &[(Key::PressureMs, 0)]].concat());
            let extreme = args_with(&extreme);
            for (current, stalled_us) in [(0, 0), (u64::MAX, u64::MAX), (u64::MAX, 0)] {
                let now = Figures { current, stalled_us, ..idle() };
                assert_eq!(play(&extreme, now, 9).len(), 9);
                let _ = play(&at_once, now, 9);
            }
        }
    }
}
