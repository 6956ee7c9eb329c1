//! What a file of rules says, in plain types.
//!
//! Everything lies in one block of memory that was sized by the file, and is
//! referred to from `Rules` down. A value here has passed every
//! check that can be made without looking at the machine.

use super::words::{Key, Name};
use crate::sys::block::Lent;

/// The file as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules<'b> {
    /// The file's name without its directories: the tag of what is dropped in.
    pub file: &'b [u8],
    /// In the order of the file.
    pub sets: &'b [RuleSet<'b>],
    /// In the order of the file. They do nothing.
    pub prekill_hooks: &'b [Plugin<'b>],
    /// How many warnings were given.
    pub warnings: u32,
    /// Of the text of the file.
    pub fingerprint: u64,
}

/// [`Rules`] in a block of their own: `Block<Book>`.
#[derive(Debug)]
pub struct Book;

impl Lent for Book {
    type For<'b> = Rules<'b>;

    fn shorten<'s, 'b: 's>(value: &'s Rules<'b>) -> &'s Rules<'s> {
        value
    }
}

/// When one of the groups fires, the actions are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleSet<'b> {
    /// Never empty.
    pub name: &'b [u8],
    /// One of them is enough. Empty only in what is dropped in: the base's count.
    pub groups: &'b [Group<'b>],
    /// One after the other. Empty only in what is dropped in: the base's count.
    pub actions: &'b [Plugin<'b>],
    /// What is not logged.
    pub silence: Silence,
    /// How long the set rests after an action has said stop, in seconds.
    pub post_action_delay_s: u32,
    /// How long a hook may hold a kill up, in seconds.
    pub prekill_hook_timeout_s: u32,
    /// With patterns, there is one instance of the set for each cgroup that matches.
    pub cgroup: Patterns<'b>,
    /// Only for those of them that have this extended attribute, if it is not empty.
    pub xattr_filter: &'b [u8],
    /// What may be dropped in.
    pub drop_in: DropIn,
    /// Of its text in the file: who reloads keeps the timers of a set that has the same
    /// name and the same text as before.
    pub fingerprint: u64,
}

/// Detectors of which every one must say continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group<'b> {
    /// Never empty.
    pub name: &'b [u8],
    /// Never empty.
    pub detectors: &'b [Plugin<'b>],
}

/// What a rule set does not log. A kill is told to the kernel's log all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Silence {
    /// That it fired, and what its actions returned.
    pub engine: bool,
    /// What its plugins say.
    pub plugins: bool,
}

/// What drop-ins may replace of a rule set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropIn {
    /// Its groups of detectors.
    pub detectors: bool,
    /// Its actions.
    pub actions: bool,
    /// It rests while there is a drop-in for it.
    pub disable_on_drop_in: bool,
}

/// A list has at most this many patterns.
pub const MAX_PATTERNS: usize = 256;

/// Cgroups by their paths below the root of the hierarchy, as patterns. Each
/// once, without empty segments: `a/b*`, and "" for the root itself. They are
/// resolved whenever they are used.
pub type Patterns<'b> = &'b [&'b [u8]];

/// Which cgroups a plugin looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cgroups<'b> {
    /// Below the root: argument `cgroup`.
    pub cgroup: Patterns<'b>,
    /// Below the cgroup of the rule set's instance: argument `ruleset_cgroup`.
    /// Outside of an instance they match nothing.
    pub ruleset_cgroup: Patterns<'b>,
}

/// A detector or an action: any may be used as either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plugin<'b> {
    /// What it does.
    pub name: Name,
    /// The cgroups it is about.
    pub cgroups: Cgroups<'b>,
    /// Which keys it takes, and which of them were given, a bit for each.
    pub(super) takes: u64,
    pub(super) given: u64,
    /// One for each key that it takes, in their order.
    pub(super) numbers: &'b [i64],
    /// A program, an absolute path, and its arguments; or the name of a unit, which is never
    /// empty, and never an option. Each with its ending NUL.
    pub words: &'b [&'b [u8]],
}

impl<'b> Plugin<'b> {
    /// One that takes nothing.
    pub const fn without_keys(name: Name) -> Self {
        let cgroups = Cgroups { cgroup: &[], ruleset_cgroup: &[] };
        Self { name, cgroups, takes: 0, given: 0, numbers: &[], words: &[] }
    }

    /// One without cgroups and words, with the usual numbers and these.
    #[cfg(test)]
    pub fn with_numbers(name: Name, given: &[(Key, i64)]) -> Plugin<'static> {
        let usual = super::words::usual().into_iter().enumerate();
        let usual = usual.filter(|(at, _)| name.takes() >> at & 1 == 1).map(|(_, number)| number);
        let numbers = std::boxed::Box::leak(usual.collect::<std::boxed::Box<[_]>>());
        let mut plugin = Plugin { takes: name.takes(), ..Plugin::without_keys(name) };
        for &(key, number) in given {
            numbers[plugin.place_of(key)] = number;
            plugin.given |= 1 << key as u32;
        }
        Plugin { numbers, ..plugin }
    }

    /// The number of a key, given or usual; 0 of one that it does not take.
    // Out of line: many ask.
    #[inline(never)]
    pub fn number(&self, key: Key) -> i64 {
        match self.takes >> key as u32 & 1 {
            0 => 0,
            _ => self.numbers.get(self.place_of(key)).copied().unwrap_or(0),
        }
    }

    /// A key's place among those that it takes: how many come before.
    fn place_of(&self, key: Key) -> usize {
        let before = (1 << key as u32) - 1;
        ones(self.takes & before)
    }

    /// The same of one of `Form::Int`, of 32 bits.
    pub fn int(&self, key: Key) -> i32 {
        self.number(key) as i32
    }

    /// The same where it is never below zero and has at most 32 bits.
    pub fn unsigned(&self, key: Key) -> u32 {
        self.number(key) as u32
    }

    /// The same where it has more; below zero it is 0.
    pub fn unsigned_wide(&self, key: Key) -> u64 {
        self.number(key).max(0).unsigned_abs()
    }

    /// Is it yes?
    pub fn flag(&self, key: Key) -> bool {
        self.number(key) != 0
    }

    /// A real number.
    pub fn ratio(&self, key: Key) -> Millionths {
        Millionths(self.number(key).unsigned_abs())
    }

    /// A size or a percentage.
    pub fn amount(&self, key: Key) -> Amount {
        Amount::of(self.number(key))
    }

    /// Which resource it is about.
    pub fn resource(&self) -> Resource {
        if self.flag(Key::Resource) { Resource::Io } else { Resource::Memory }
    }

    /// Was the key given?
    pub fn is_given(&self, key: Key) -> bool {
        self.given >> key as u32 & 1 == 1
    }

    /// What counts in place of the rule set's delay, in seconds.
    pub fn post_action_delay_s(&self) -> Option<u32> {
        let key = Key::PostActionDelay;
        self.is_given(key).then(|| self.unsigned(key))
    }

    /// How long a program may run.
    pub fn timeout_ms(&self) -> u32 {
        (self.ratio(Key::Timeout).0 / 1000) as u32
    }

    /// Which of the cgroups it kills; `None` if it kills none.
    #[inline(never)]
    pub fn rank(&self) -> Option<Rank> {
        Some(match self.name {
            Name::KillByMemorySizeOrGrowth => Rank::MemorySizeOrGrowth {
                size_threshold_pct: self.unsigned(Key::SizeThreshold),
                growing_size_percentile: self.unsigned(Key::GrowingSizePercentile) as u8,
                min_growth_ratio: self.ratio(Key::MinGrowthRatio),
            },
            Name::KillBySwapUsage => Rank::SwapUsage {
                threshold: self.amount(Key::ThresholdAmount),
                biased: self.flag(Key::BiasedSwapKill),
            },
            Name::KillByPressure => Rank::Pressure { resource: self.resource() },
            Name::KillByIoCost => Rank::IoCost,
            Name::KillByPgScan => Rank::PgScan,
            _ => return None,
        })
    }
}

/// How many of the bits are set.
// Out of line: few machines that this is built for have an instruction for it.
#[inline(never)]
pub(super) fn ones(bits: u64) -> usize {
    bits.count_ones() as usize
}

/// Which resource's pressure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `memory.pressure`.
    Memory,
    /// `io.pressure`.
    Io,
}

/// An amount to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many bytes; below zero everything is above it.
    Bytes(i64),
    /// So many hundredths of all memory, or of all swap; at most 100.
    Percent(u8),
}

impl Amount {
    /// As a number among others a percentage is so far above this.
    const NO_PERCENT: i64 = i64::MIN;
    /// The least that is a number of bytes.
    pub const LEAST_BYTES: i64 = Self::NO_PERCENT + 101;

    /// What such a number stands for.
    pub fn of(number: i64) -> Self {
        match number < Self::LEAST_BYTES {
            true => Self::Percent((number - Self::NO_PERCENT) as u8),
            false => Self::Bytes(number),
        }
    }

    /// The number that stands for it.
    pub fn number(self) -> i64 {
        match self {
            Self::Bytes(bytes) => bytes.max(Self::LEAST_BYTES),
            Self::Percent(pct) => Self::NO_PERCENT + i64::from(pct),
        }
    }
}

/// A real number in millionths, never below zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millionths(pub u64);

/// Which of the cgroups is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// By size, then by growth.
    MemorySizeOrGrowth {
        /// Per cent of what all siblings have.
        size_threshold_pct: u32,
        /// 0 to 99; 0 is no floor.
        growing_size_percentile: u8,
        /// Present usage to the average.
        min_growth_ratio: Millionths,
    },
    /// By swap.
    SwapUsage {
        /// Above this; of all swap, where it is a percentage.
        threshold: Amount,
        /// Less what protection covers.
        biased: bool,
    },
    /// By full pressure.
    Pressure {
        /// Whose.
        resource: Resource,
    },
    /// By the cost of its io.
    IoCost,
    /// By the rate of pages scanned.
    PgScan,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_small() {
        assert!(size_of::<Plugin<'_>>() <= 88, "{}", size_of::<Plugin<'_>>());
    }

    #[test]
    fn numbers_are_known_by_their_keys() {
        let given = [(Key::ThresholdPct, 10), (Key::SwapoutBpsThreshold, -1)];
        let plugin = Plugin::with_numbers(Name::SwapFree, &given);
        assert_eq!((plugin.int(Key::ThresholdPct), plugin.number(Key::SwapoutBpsThreshold)), (10, -1));
        assert!(plugin.is_given(Key::ThresholdPct));
        // These it does not take, though one comes before and one behind its own.
        assert_eq!((plugin.number(Key::Cgroup), plugin.number(Key::Timeout)), (0, 0));
        assert_eq!(Plugin::without_keys(Name::Stop).number(Key::ThresholdPct), 0);
    }

    #[test]
    fn an_amount_is_a_number() {
        for amount in [0, 1, -1, 1 << 40, i64::MAX, Amount::LEAST_BYTES].map(Amount::Bytes) {
            assert_eq!(Amount::of(amount.number()), amount);
        }
        for percent in [0, 1, 100].map(Amount::Percent) {
            assert_eq!(Amount::of(percent.number()), percent);
        }
    }
}
