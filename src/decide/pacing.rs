//! How long to sleep. Pure.

use crate::decide::levels::Levels;
use crate::decide::snapshot::Snapshot;
use crate::decide::verdict::FLOOR_SPAN_US;
use crate::sys::time::{MS, SECOND};

/// The fastest plausible leaks, in KiB per ms: 6 GiB/s for RAM is what several
/// processes touching fresh pages reach, 0.8 GiB/s for swap what zram does.
const RAM_FILL_KIB_PER_MS: u64 = 6 * 1024 * 1024 / 1000;
const SWAP_FILL_KIB_PER_MS: u64 = 8 * 1024 * 1024 / 10_000;

/// Shortest sleep: a leak of 1 GiB/s takes 20 MiB in it.
pub const MIN_SLEEP_US: u64 = 20 * MS;
/// Longest sleep while memory is low: a quarter of the floor's window.
pub const LOW_SLEEP_US: u64 = FLOOR_SPAN_US / 4;
/// Longest sleep without a trigger, and the sleep of an idle machine.
pub const IDLE_SLEEP_US: u64 = SECOND;
/// Longest sleep with a trigger to wake us.
pub const TRIGGER_SLEEP_US: u64 = 10 * SECOND;

/// Longest rest between two rounds through a victim's companions: with the part
/// of a round that goes before it, memory is looked at every 50 ms.
const ROUND_REST_US: u64 = 30 * MS;

/// How much may still be taken before the TERM limits are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headroom {
    /// Of memory.
    pub mem_kib: u64,
    /// Of swap.
    pub swap_kib: u64,
}

impl Headroom {
    /// The headroom of a snapshot above the TERM limits.
    pub fn of(snapshot: &Snapshot, levels: &Levels) -> Self {
        Self {
            mem_kib: snapshot.mem.mem_available_kib.saturating_sub(levels.mem_term_kib),
            swap_kib: snapshot.swap_free_kib.saturating_sub(levels.swap_term_kib),
        }
    }

    /// How long it lasts against the fastest leak.
    pub fn fill_time_us(self) -> u64 {
        let ram_ms = self.mem_kib / RAM_FILL_KIB_PER_MS;
        let swap_ms = self.swap_kib / SWAP_FILL_KIB_PER_MS;
        ram_ms.saturating_add(swap_ms).saturating_mul(MS)
    }
}

/// Sleep while memory is plenty: as long as the headroom lasts against the
/// fastest leak, up to what the trigger allows.
pub fn healthy_sleep_us(headroom: Headroom, has_trigger: bool) -> u64 {
    let longest_us = if has_trigger { TRIGGER_SLEEP_US } else { IDLE_SLEEP_US };
    headroom.fill_time_us().clamp(MIN_SLEEP_US, longest_us)
}

/// Sleep while memory is low but no rule holds.
pub fn low_sleep_us(headroom: Headroom) -> u64 {
    headroom.fill_time_us().clamp(MIN_SLEEP_US, LOW_SLEEP_US)
}

/// Sleep between two steps of an active kill: until its deadline, but no longer
/// than [`MIN_SLEEP_US`]. A round through companions that took `round_us` is
/// followed by a rest of twice that, so that others get to run.
pub fn kill_sleep_us(left_us: u64, round_us: u64) -> u64 {
    let rest_us = (round_us * 2).min(ROUND_REST_US);
    // Past its deadline the victim is waited for because memory is coming back.
    let sleep_us = if left_us == 0 { MIN_SLEEP_US } else { left_us.min(MIN_SLEEP_US) };
    sleep_us.max(rest_us)
}

/// The least time between two looks that tell who grows or writes.
pub const LOOK_AGAIN_US: u64 = 100 * MS;

/// Where memory lasts so long, there is time to search for who holds it after looking again, too.
pub const SEARCH_US: u64 = SECOND;

/// How fast memory fell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fall {
    /// By so much, ...
    pub kib: u64,
    /// ... in this time.
    pub in_us: u64,
    /// What is left, ...
    pub left_kib: u64,
}

impl Fall {
    /// Between two looks, each with when it was; no less than `least_kib` is to be left.
    pub fn between(before: (u64, u64), after: (u64, u64), least_kib: u64) -> Self {
        Self {
            kib: before.0.saturating_sub(after.0),
            in_us: after.1.saturating_sub(before.1),
            left_kib: after.0.saturating_sub(least_kib),
        }
    }

    /// ... and would that last so long?
    // Out of line: inlined it is larger.
    #[inline(never)]
    pub fn lasts_us(&self, for_us: u64) -> bool {
        self.kib.saturating_mul(for_us) / self.in_us.max(MS) <= self.left_kib
    }
}

/// How long may a choice be put off, and everybody be looked at again then? 0 where memory
/// would not last, at the pace at which it fell `lately` and in the `survey` just made. Where there
/// are many processes, looking takes long; where few, memory fell by chance.
fn time_to_look_again_us(lately: &Fall, survey: &Fall) -> u64 {
    let lasts = |for_us: u64| {
        let needed_us = for_us + 2 * survey.in_us;
        survey.lasts_us(needed_us) && lately.lasts_us(needed_us)
    };
    [SEARCH_US, LOOK_AGAIN_US, MIN_SLEEP_US].into_iter().find(|&for_us| lasts(for_us)).unwrap_or(0)
}

/// The same for a choice made `after` two looks, each what was available and when; the last is the
/// one `before` it began. Memory is to stay above the KILL limit, or, for the shortest time, above half
/// of it: what goes on that fast is below the limit at the next look, and dies of SIGKILL then.
pub fn put_off_us(before: [(u64, u64); 2], after: (u64, u64), kill_kib: u64) -> u64 {
    let above = |least_kib| {
        let [survey, lately] = before.map(|before| Fall::between(before, after, least_kib));
        time_to_look_again_us(&lately, &survey)
    };
    match above(kill_kib) {
        0 => above(kill_kib / 2).min(MIN_SLEEP_US),
        us => us,
    }
}

/// After so many hunts in a row everybody is looked at again: by now somebody else may
/// be to blame.
const MAX_HUNTS: u32 = 8;

/// How often in a row whoever took the place of a victim that was gone too soon has
/// been gone after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hunts(u32);

impl Hunts {
    /// Is one more to be made, of a victim that was gone if `has_slipped`?
    pub fn may_go_on(&mut self, has_slipped: bool) -> bool {
        let may_go_on = has_slipped && self.0 < MAX_HUNTS;
        self.0 = if may_go_on { self.0 + 1 } else { 0 };
        may_go_on
    }
}

/// May the sleep of `sleep_us` become a second where the processors do next to
/// nothing? Where the headroom is small, memory would otherwise be looked at
/// many times a second for no reason.
pub fn is_worth_asking_if_idle(sleep_us: u64) -> bool {
    sleep_us < IDLE_SLEEP_US
}

/// Headroom must last so long for an idle machine to be left alone for a second, at the pace
/// at which it became less. What takes memory without page faults wakes
/// nobody, and takes next to no processor.
const LASTING_US: u64 = 4 * SECOND;

/// The pace of less time than this is chance: whoever fills memory may pause between two looks.
const PACE_US: u64 = 500 * MS;

/// The headroom of memory at looks before, each in KiB and when that was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headrooms {
    last: (u64, u64),
    /// At the last look that was so long after the one below, ...
    recent: (u64, u64),
    /// ... and at that one.
    earlier: (u64, u64),
}

impl Headrooms {
    /// Takes what it is now. Does it last, at the pace since each of those?
    pub fn do_last(&mut self, now: (u64, u64)) -> bool {
        let lasts = |before| Fall::between(before, now, 0).lasts_us(LASTING_US);
        let all_last = lasts(self.last) && lasts(self.recent) && lasts(self.earlier);
        self.last = now;
        if now.1.saturating_sub(self.recent.1) >= PACE_US {
            (self.recent, self.earlier) = (now, self.recent);
        }
        all_last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::memory::Meminfo;

    const GIB: u64 = 1 << 20;

    #[test]
    fn there_is_another_look_only_while_memory_lasts() {
        let fall = |kib, in_ms, left_kib| Fall { kib, in_us: in_ms * MS, left_kib };
        let time_us = |survey| time_to_look_again_us(&Fall::default(), &survey);
        // 40 KiB per ms, for 100 ms and twice five, ...
        assert_eq!(time_us(fall(200, 5, 4400)), LOOK_AGAIN_US);
        // ... or for 20.
        assert_eq!(time_us(fall(200, 5, 4399)), MIN_SLEEP_US);
        assert_eq!(time_us(fall(200, 5, 1200)), MIN_SLEEP_US);
        assert_eq!(time_us(fall(200, 5, 1199)), 0);
        // As fast, and each look takes a quarter of a second.
        assert_eq!(time_us(fall(10_000, 250, 12_000)), 0);
        assert_eq!(time_us(fall(0, 250, 1)), SEARCH_US);
        assert_eq!((time_us(fall(1, 5, 202)), time_us(fall(1, 5, 201))), (SEARCH_US, LOOK_AGAIN_US));
        assert_eq!(time_us(fall(10, 0, 1000)), LOOK_AGAIN_US);
        // Nothing was taken while everybody was looked at, for there is one processor.
        assert_eq!(time_to_look_again_us(&fall(5000, 25, 6000), &fall(0, 5, 6000)), MIN_SLEEP_US);
        assert_eq!(time_to_look_again_us(&fall(5000, 25, 5999), &fall(0, 5, 5999)), 0);
    }

    /// Recorded in the lab, scene late-heap: 45 MiB in 180 ms leave 16 MiB, and SIGKILL is sent at 11.
    #[test]
    fn half_of_the_kill_limit_is_for_a_short_wait() {
        let put_off_us = |taken_mib: u64, left_mib: u64| {
            let before = [(left_mib * 1024, 175 * MS), ((left_mib + taken_mib) * 1024, 0)];
            put_off_us(before, (left_mib * 1024, 180 * MS), 11 * 1024)
        };
        assert_eq!(put_off_us(45, 16), MIN_SLEEP_US);
        assert_eq!(put_off_us(45, 12), 0);
        assert_eq!(put_off_us(45, 60), LOOK_AGAIN_US);
        // However long that would last, it is not looked for longer.
        assert_eq!((put_off_us(1, 11), put_off_us(1, 12)), (MIN_SLEEP_US, LOOK_AGAIN_US));
        assert_eq!(put_off_us(0, 5), SEARCH_US);
    }

    fn headroom(mem_kib: u64, swap_kib: u64) -> Headroom {
        Headroom { mem_kib, swap_kib }
    }

    #[test]
    fn headroom_is_what_is_left_above_the_term_limits() {
        let mem = Meminfo { mem_available_kib: 500, ..Meminfo::default() };
        let snapshot = Snapshot { mem, swap_free_kib: 70, ..Snapshot::default() };
        let levels = Levels { mem_term_kib: 400, swap_term_kib: 100, ..Levels::default() };
        assert_eq!(Headroom::of(&snapshot, &levels), headroom(100, 0));
    }

    #[test]
    fn a_healthy_machine_sleeps_as_long_as_the_fastest_leak_takes() {
        assert_eq!(healthy_sleep_us(headroom(0, 0), true), MIN_SLEEP_US);
        let third_of_a_second = healthy_sleep_us(headroom(2 * GIB, 0), true);
        assert!((330 * MS..340 * MS).contains(&third_of_a_second), "{third_of_a_second}");
        // Swap takes longer to fill.
        assert!(headroom(0, GIB).fill_time_us() > 7 * headroom(GIB, 0).fill_time_us());
        assert_eq!(healthy_sleep_us(headroom(1024 * GIB, 0), true), TRIGGER_SLEEP_US);
        assert_eq!(healthy_sleep_us(headroom(1024 * GIB, 0), false), IDLE_SLEEP_US);
        assert_eq!(healthy_sleep_us(headroom(u64::MAX, u64::MAX), true), TRIGGER_SLEEP_US);
    }

    #[test]
    fn low_memory_is_looked_at_within_a_quarter_of_the_floors_window() {
        assert_eq!(low_sleep_us(headroom(64 * GIB, 0)), LOW_SLEEP_US);
        assert_eq!(low_sleep_us(headroom(1, 0)), MIN_SLEEP_US);
        assert!(is_worth_asking_if_idle(LOW_SLEEP_US) && !is_worth_asking_if_idle(IDLE_SLEEP_US));
    }

    #[test]
    fn an_active_kill_is_stepped_often_but_others_get_to_run() {
        assert_eq!(kill_sleep_us(5 * MS, 0), 5 * MS);
        assert_eq!(kill_sleep_us(SECOND, 0), MIN_SLEEP_US);
        assert_eq!(kill_sleep_us(0, 0), MIN_SLEEP_US);
        assert_eq!(kill_sleep_us(SECOND, 12 * MS), 24 * MS);
        assert_eq!(kill_sleep_us(SECOND, 5 * SECOND), ROUND_REST_US);
    }

    /// The hole: a leak that forks and exits for ever was gone after for ever, and
    /// nobody else was looked at.
    #[test]
    fn hunts_in_a_row_have_an_end() {
        let mut hunts = Hunts::default();
        assert!((0..MAX_HUNTS).all(|_| hunts.may_go_on(true)));
        assert!(!hunts.may_go_on(true));
        assert!(hunts.may_go_on(true) && !hunts.may_go_on(false));
        assert!((0..MAX_HUNTS).all(|_| hunts.may_go_on(true)));
    }

    /// Recorded in the lab, scene wide-pipes: the guard slept for a second while it went on.
    #[test]
    fn a_pause_of_who_fills_memory_is_no_reason_to_sleep() {
        let mut headrooms = Headrooms::default();
        assert!(headrooms.do_last((200_000, SECOND)));
        assert!(!headrooms.do_last((190_000, SECOND + 100 * MS)));
        (1..8).for_each(|at| {
            assert!(!headrooms.do_last((190_000 - at * 10_000, SECOND + (at + 1) * 100 * MS)))
        });
        for paused_ms in [30, 60] {
            assert!(!headrooms.do_last((120_000, SECOND + 800 * MS + paused_ms * MS)), "{paused_ms}");
        }
        // When it has stopped for longer, there is one.
        for at in 2..14 {
            let _ = headrooms.do_last((120_000, SECOND + at * PACE_US));
        }
        assert!(headrooms.do_last((120_000, 10 * SECOND)));
    }

    #[test]
    fn an_idle_machine_is_left_alone_while_memory_lasts() {
        let does_it_last = |kib, in_us, left_kib| Fall { kib, in_us, left_kib }.lasts_us(LASTING_US);
        assert!(does_it_last(0, 0, 100) && does_it_last(25, SECOND, 100));
        assert!(!does_it_last(26, SECOND, 100) && !does_it_last(1, 20 * MS, 100));
        assert!(!does_it_last(100, SECOND, 0) && does_it_last(0, SECOND, 0));
        assert!(does_it_last(0, 1, u64::MAX) && !does_it_last(u64::MAX, 1, 0));
    }
}
