//! What is known of one cgroup.

use crate::decide::rules::rank::Preference;
use crate::decide::rules::senpai::Watched;
use crate::read::cgroup_values::Stat;
use crate::read::psi::PressureLine;

/// Files with one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// `memory.current`; of the root, what is not free.
    Current,
    /// `memory.min`.
    Min,
    /// `memory.low`.
    Low,
    /// `memory.swap.current`.
    Swap,
}

/// A value that has not been asked for yet, or what came of asking.
type Asked<T> = Option<Option<T>>;

/// What was read of one cgroup in this tick, and what is remembered of the last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    pub(super) amounts: [Asked<u64>; 4],
    pub(super) stat: Option<Stat>,
    pub(super) pressure: [Asked<PressureLine>; 2],
    pub(super) protection: Asked<u64>,
    pub(super) average: Option<u64>,
    pub(super) io_cost: Asked<u64>,
    pub(super) preference: Option<Preference>,
    pub(super) last: Last,
    /// What senpai remembers.
    pub(super) senpai: Option<Watched>,
}

/// Of the last tick, if there it was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Last {
    pub(super) average: Option<u64>,
    pub(super) pgscan: Option<u64>,
    pub(super) io_cost: Option<u64>,
}

impl Known {
    /// Forgets what was read. What was averaged is remembered if the tick that it is of
    /// was the last.
    pub(super) fn begin_tick(&mut self, was_last: bool) {
        let last = Last {
            average: self.average,
            pgscan: self.stat.and_then(|stat| stat.pgscan),
            io_cost: self.io_cost.flatten(),
        };
        let last = if was_last { last } else { Last::default() };
        *self = Self { last, senpai: self.senpai.filter(|_| was_last), ..Self::default() };
    }
}
