//! Who grows now. A level is kept over minutes and over shorter horizons: who grew
//! a while ago and has stopped, as whoever has just been started, is less to blame
//! than who grows while memory vanishes; and who only takes again what it had
//! before is less to blame than who is in territory that is new to it. Pure.

use super::baseline::Baseline;
use crate::sys::time::{MS, SECOND};

/// Horizons shorter than the minutes of [`BASELINE_TIME_CONSTANT_US`].
///
/// [`BASELINE_TIME_CONSTANT_US`]: super::baseline::BASELINE_TIME_CONSTANT_US
pub const HORIZONS_US: [u64; HORIZONS] = [500 * MS, 10 * SECOND];
/// How many those are.
pub const HORIZONS: usize = 2;

/// Over a horizon somebody must have grown by this part of what is worth a kill, or
/// it tells nothing: a leak of a megabyte a minute grows by chance in half a second.
pub const TELLING_DEN: [u64; HORIZONS] = [8, 2];

/// Growth of who has stopped, and regained memory, count for this part. Not for
/// nothing: memory is short because of them too, and a culprit may pause.
pub const OLD_DEN: u64 = 4;

/// Who has less by this part of the most that it had has given that back.
const GIVEN_BACK_DEN: Kib = 8;

/// Who grows at less than this part of the pace of the fastest has stopped.
pub const STOPPED_DEN: u64 = 4;

/// Up to 4 TiB in half the room, for there are many.
type Kib = u32;

fn as_kib(kib: u64) -> Kib {
    Kib::try_from(kib).unwrap_or(Kib::MAX)
}

/// The freeable memory of one process over time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Its level over minutes.
    pub minutes: Baseline,
    /// The most that it had until minutes ago.
    peak: Baseline,
    /// The most that it was seen to have since it last gave some back, in KiB, ...
    top_kib: Kib,
    /// ... and the most that it may have had before it did.
    had_kib: Kib,
    /// Its levels over the shorter horizons, in KiB, ...
    recent_kib: [Kib; HORIZONS],
    /// ... as of this time.
    at_us: u64,
}

/// What a process has now, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Freeable memory.
    pub freeable_kib: u64,
    /// The part of it that nobody else can have made.
    pub private_kib: u64,
    /// The most of it there has been; never less than `freeable_kib`.
    pub peak_kib: u64,
}

impl Growth {
    /// Of who is steady.
    pub const NONE: Self = Self { kib: 0, regained_kib: 0, recent_kib: [0; HORIZONS] };
}

impl Reading {
    /// A process that never had more than it has.
    pub fn at_peak(freeable_kib: u64) -> Self {
        Self { freeable_kib, private_kib: freeable_kib, peak_kib: freeable_kib }
    }

    /// What was taken of all memory. Nobody gives that back and takes it again: each time
    /// somebody else may have it.
    pub fn of_all(taken_kib: u64) -> Self {
        Self { private_kib: 0, ..Self::at_peak(taken_kib) }
    }

    /// Has it about as much as ever?
    pub fn is_at_peak(&self) -> bool {
        self.freeable_kib >= self.peak_kib - self.peak_kib / 8
    }
}

/// How much a process has above its levels, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Above the level over minutes.
    pub kib: u64,
    /// The part of it that the process had before.
    pub regained_kib: u64,
    /// Above the levels of the shorter horizons, without what it had before.
    pub recent_kib: [u64; HORIZONS],
}

impl History {
    /// Of nobody.
    pub const NONE: Self = Self {
        minutes: Baseline::new(0, 0),
        peak: Baseline::new(0, 0),
        top_kib: 0,
        had_kib: 0,
        recent_kib: [0; HORIZONS],
        at_us: 0,
    };

    /// Of a process that had as much for long.
    pub fn steady(reading: Reading, now_us: u64) -> Self {
        let Reading { freeable_kib, private_kib, peak_kib } = reading;
        Self {
            minutes: Baseline::new(freeable_kib, now_us),
            peak: Baseline::new(peak_kib.max(freeable_kib), now_us),
            top_kib: as_kib(private_kib),
            had_kib: 0,
            recent_kib: [as_kib(freeable_kib); HORIZONS],
            at_us: now_us,
        }
    }

    /// The history after a reading.
    #[must_use]
    pub fn after(mut self, reading: Reading, now_us: u64) -> Self {
        let Reading { freeable_kib, private_kib, peak_kib } = reading;
        let passed_us = now_us.saturating_sub(self.at_us);
        for (level_kib, horizon_us) in self.recent_kib.iter_mut().zip(HORIZONS_US) {
            // As the baseline does: up slowly, down at once.
            let above_kib = freeable_kib.saturating_sub((*level_kib).into());
            let step_kib = above_kib.saturating_mul(passed_us.min(horizon_us)) / horizon_us;
            *level_kib = as_kib(freeable_kib.min((*level_kib).into()).saturating_add(step_kib));
        }
        self.minutes = self.minutes.after(freeable_kib, now_us);
        self.peak = self.peak.after(peak_kib.max(freeable_kib), now_us);
        // A heap is emptied and filled again. Whoever leaks has never given anything back.
        let held_kib = as_kib(private_kib);
        if held_kib < self.top_kib - self.top_kib / GIVEN_BACK_DEN {
            // It may have had somewhat more between two looks.
            self.had_kib = self.had_kib.max(self.top_kib.saturating_add(self.top_kib / GIVEN_BACK_DEN));
            self.top_kib = held_kib;
        }
        self.top_kib = self.top_kib.max(held_kib);
        self.at_us = now_us;
        self
    }

    /// How much more `freeable_kib` is, of which no more than `most_kib` can be new.
    pub fn growth(&self, freeable_kib: u64, most_kib: u64) -> Growth {
        let had_kib = self.peak.kib.max(self.had_kib.into());
        let above = |level_kib: u64| freeable_kib.saturating_sub(level_kib.max(had_kib)).min(most_kib);
        let kib = self.minutes.growth_kib(freeable_kib).min(most_kib);
        Growth {
            kib,
            regained_kib: kib - above(self.minutes.kib),
            recent_kib: self.recent_kib.map(|level_kib| above(level_kib.into())),
        }
    }
}

/// At what pace those grow whose growth this is. `least_kib` is the least worth a kill.
pub fn pace_of(growths: impl Iterator<Item = Growth> + Clone, least_kib: u64) -> Pace {
    let fastest = |at: usize| growths.clone().map(|growth| growth.recent_kib[at]).max().unwrap_or(0);
    let horizon = (0..HORIZONS).find(|&at| fastest(at) > 0 && fastest(at) >= least_kib / TELLING_DEN[at]);
    Pace(horizon.map(|at| (at, fastest(at))))
}

/// The shortest horizon over which somebody grew, and how much the fastest did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace(Option<(usize, u64)>);

impl Pace {
    /// Where nobody grows now.
    pub const NONE: Self = Self(None);

    /// Has it stopped growing, while others go on?
    pub fn has_stopped(self, growth: &Growth) -> bool {
        self.0.is_some_and(|(at, fastest_kib)| growth.recent_kib[at] < fastest_kib / STOPPED_DEN)
    }

    /// Do those whose growth this is take half of what is being lost, of which so much is
    /// gone since each horizon?
    pub fn explains(self, growths: impl Iterator<Item = Growth>, lost_kib: &[u64; HORIZONS]) -> bool {
        self.0.is_some_and(|(at, _)| {
            growths.fold(0, |all_kib: u64, growth| all_kib.saturating_add(growth.recent_kib[at]))
                >= lost_kib[at] / 2
        })
    }

    /// What its growth counts for: all of it for the fastest, and for others less
    /// the slower they grow.
    pub fn blamed_kib(self, growth: &Growth) -> u64 {
        let Growth { kib, regained_kib, .. } = *growth;
        let (new_kib, old_kib) = (kib - regained_kib, regained_kib / OLD_DEN);
        let Some((at, fastest_kib)) = self.0 else { return new_kib + old_kib };
        // In parts of 256, so that no product is too large.
        let parts = growth.recent_kib[at].min(fastest_kib).saturating_mul(256) / fastest_kib;
        let stopped_kib = new_kib / OLD_DEN;
        let growing_kib = (new_kib - stopped_kib).saturating_mul(parts) / 256;
        old_kib.saturating_add(stopped_kib).saturating_add(growing_kib)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024;
    const LEAST_KIB: u64 = 1337;

    /// A history of one reading after the other, each `step_us` later.
    fn history(readings_mib: &[u64], step_us: u64) -> History {
        let at = |mib| Reading::at_peak(mib * MIB);
        let mut now_us = 0;
        let mut history = History::steady(at(readings_mib[0]), 0);
        for &mib in &readings_mib[1..] {
            now_us += step_us;
            history = history.after(at(mib), now_us);
        }
        history
    }

    fn blamed(growths: &[Growth]) -> std::vec::Vec<u64> {
        let pace = pace_of(growths.iter().copied(), LEAST_KIB);
        growths.iter().map(|growth| pace.blamed_kib(growth) / MIB).collect()
    }

    #[test]
    fn who_grows_now_counts_for_more_than_who_has_stopped() {
        // A database that was started two seconds ago, and a leak since then.
        let database = history(&[0, 60, 60, 60, 60, 60, 60, 60, 60], 250 * MS).growth(60 * MIB, u64::MAX);
        let leak = history(&[0, 0, 5, 10, 15, 20, 25, 30, 35], 250 * MS).growth(35 * MIB, u64::MAX);
        assert!(blamed(&[database, leak])[1] >= 34, "{:?}", blamed(&[database, leak]));
        assert!(blamed(&[database, leak])[0] <= 30, "{:?}", blamed(&[database, leak]));
        // Where nobody grows any more, each has what it grew by.
        let stopped = history(&[0, 35, 35, 35], 20 * SECOND).growth(35 * MIB, u64::MAX);
        assert!(blamed(&[stopped, stopped])[0] > 25);
    }

    #[test]
    fn what_it_had_before_is_no_new_territory() {
        let mut heap = History::steady(Reading { peak_kib: 80 * MIB, ..Reading::at_peak(20 * MIB) }, 0);
        for second in 1..60 {
            let freeable_kib = (20 + second % 7 * 10) * MIB;
            heap =
                heap.after(Reading { peak_kib: 80 * MIB, ..Reading::at_peak(freeable_kib) }, second * SECOND);
        }
        let swung = heap.growth(80 * MIB, u64::MAX);
        assert_eq!(swung.regained_kib, swung.kib);
        assert_eq!(swung.recent_kib, [0, 0]);
        // A leak of half of that is the culprit, however slow.
        let leak = Growth { kib: 30 * MIB, ..Growth::default() };
        let told = blamed(&[swung, leak]);
        assert!(told[0] <= 15 && told[1] == 30, "{told:?}");
        // Well above its peak it is new again.
        assert_eq!(heap.growth(100 * MIB, u64::MAX).recent_kib, [10 * MIB; 2]);
    }

    /// The kernel's mark does not tell it of ordinary users, nor of who is seen for the
    /// first time when it is full.
    #[test]
    fn who_was_seen_to_give_memory_back_takes_it_again() {
        let swing = [0, 30, 58, 2, 20, 40, 60, 1, 30, 57];
        let heap = history(&swing, 250 * MS).growth(57 * MIB, u64::MAX);
        assert_eq!(heap.regained_kib, heap.kib);
        assert_eq!(history(&swing, 250 * MS).growth(67 * MIB, u64::MAX).recent_kib, [0; 2]);
        assert_eq!(history(&swing, 250 * MS).growth(75 * MIB, u64::MAX).recent_kib, [7 * MIB + 512; 2]);
        // A leak beside it that is half as large, and a little less of it each time that
        // it collects what it can.
        let leak = [0, 5, 10, 9, 14, 19, 18, 23, 28, 27].map(|mib| mib + 20);
        let leak = history(&leak, 250 * MS).growth(47 * MIB, u64::MAX);
        assert_eq!(leak.regained_kib, 0);
        let told = blamed(&[heap, leak]);
        assert!(told[0] <= 15 && told[1] > 20, "{told:?}");
    }

    /// Whoever maps another's file on a tmpfs has not had that memory.
    #[test]
    fn what_was_shared_was_nobodys_own() {
        let reading = |shared_mib: u64, private_mib: u64| {
            let at_peak = Reading::at_peak((shared_mib + private_mib) * MIB);
            Reading { private_kib: private_mib * MIB, ..at_peak }
        };
        let history = History::steady(reading(0, 10), 0).after(reading(500, 10), SECOND);
        let history = history.after(reading(0, 10), 2 * SECOND);
        assert!(history.growth(200 * MIB, u64::MAX).regained_kib < 20 * MIB);
    }

    #[test]
    fn a_horizon_over_which_little_grew_tells_nothing() {
        let chance =
            Growth { kib: 2 * MIB, regained_kib: 0, recent_kib: [LEAST_KIB / 8 - 1, LEAST_KIB / 2 - 1] };
        let leak = Growth { kib: 100 * MIB, ..Growth::default() };
        assert_eq!(blamed(&[chance, leak]), [2, 100]);
        let telling = Growth { recent_kib: [LEAST_KIB / 8, 0], ..chance };
        assert_eq!(blamed(&[telling, leak]), [2, 25]);
        let later = Growth { recent_kib: [0, LEAST_KIB / 2], ..chance };
        assert_eq!(blamed(&[later, leak]), [2, 25]);
        assert!(blamed(&[]).is_empty());
        let huge = Growth { kib: u64::MAX, regained_kib: 0, recent_kib: [u64::MAX; 2] };
        assert!(blamed(&[huge])[0] > 0);
    }

    #[test]
    fn what_is_being_lost_is_explained_by_who_grows_now() {
        let leak = Growth { kib: 30 * MIB, regained_kib: 0, recent_kib: [4 * MIB, 20 * MIB] };
        let explains = |growths: &[Growth], lost_kib| {
            pace_of(growths.iter().copied(), LEAST_KIB).explains(growths.iter().copied(), &lost_kib)
        };
        assert!(explains(&[leak], [8 * MIB, 0]) && !explains(&[leak], [8 * MIB + 2, 0]));
        assert!(explains(&[leak, leak], [16 * MIB, u64::MAX]));
        // Who grows by next to nothing now is looked at over a longer time, ...
        let slow = Growth { recent_kib: [9, 20 * MIB], ..leak };
        assert!(explains(&[slow], [u64::MAX, 40 * MIB]) && !explains(&[slow], [0, 41 * MIB]));
        // ... and who does not grow takes nothing.
        assert!(!explains(&[Growth { recent_kib: [0; 2], ..leak }], [0; 2]) && !explains(&[], [0; 2]));
    }
}
