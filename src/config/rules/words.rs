//! The language in one table: every key with how its value is read and what counts
//! without it, every plugin with the keys that it takes and with what it does in plain
//! words.

use crate::sys::line::lit;

/// Words, each ended by a newline and known by its place.
#[derive(Clone, Copy, Debug)]
pub struct Words(pub &'static [u8]);

impl Words {
    /// The place of the first word of which `is_it` holds, which gets places and words.
    #[inline(never)]
    pub fn find(self, is_it: &mut dyn FnMut(usize, &'static [u8]) -> bool) -> Option<usize> {
        let (mut place, mut from) = (0, 0);
        for (at, &byte) in self.0.iter().enumerate() {
            if byte == b'\n' {
                if is_it(place, self.0.get(from..at).unwrap_or_default()) {
                    return Some(place);
                }
                place += 1;
                from = at + 1;
            }
        }
        None
    }

    /// The word at a place.
    #[inline(never)]
    pub fn at(self, place: usize) -> &'static [u8] {
        let mut found = &b""[..];
        self.find(&mut |at, word| {
            found = word;
            at == place
        });
        found
    }
}

/// How a value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A list of patterns of cgroups.
    Cgroups,
    /// A program with its arguments.
    Command,
    /// The name of a unit.
    Unit,
    /// The name of an extended attribute.
    Xattr,
    /// Any text.
    Text,
    /// Any text, which does not count.
    Ignored,
    /// A list, an object: what it is about is read elsewhere.
    Part,
    /// A whole number of 32 bits.
    Int,
    /// The same, not below zero.
    Unsigned,
    /// The same, of seconds.
    Seconds,
    /// From 0 to 99.
    Percentile,
    /// A whole number of 64 bits.
    Wide,
    /// Yes or no.
    Bool,
    /// Yes or no as JSON has it.
    Flag,
    /// `io` (1) or `memory`.
    Resource,
    /// A size or a percentage; see [`Amount`](super::model::Amount).
    Amount,
    /// A real number, in millionths.
    Ratio,
    /// The same, of the seconds that a program may take.
    Timeout,
    /// Who is silent, a bit for each.
    Silence,
}

macro_rules! keys {
    ($($name:ident $word:literal $form:ident $usual:expr,)*) => {
        /// A key of an object.
        #[allow(missing_docs, reason = "the words say it")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Key { $($name,)* }

        /// How each is read, by place.
        static FORMS: [Form; KEY_COUNT] = [$(Form::$form,)*];

        static USUAL: [i32; KEY_COUNT] = [$($usual,)*];

        /// Each by place.
        static KEYS: [Key; KEY_COUNT] = [$(Key::$name,)*];

        /// How many keys there are.
        pub const KEY_COUNT: usize = [$($word,)*].len();

        const KEY_WORDS: Words = Words(lit!(concat!($($word, "\n",)*)));
    };
}

// Their words, how they are read, and the usual number: millionths for a ratio, 1 for yes, and
// of what may be large so many times 1 MiB.
keys! {
    Cgroup "cgroup" Cgroups 0,
    RulesetCgroup "ruleset_cgroup" Cgroups 0,
    Resource "resource" Resource 0,
    Threshold "threshold" Int 0,
    // A byte.
    ThresholdAmount "threshold" Amount 1,
    ThresholdAnon "threshold_anon" Amount 0,
    Duration "duration" Int 0,
    FastFallRatio "fast_fall_ratio" Ratio 850_000,
    Debug "debug" Bool 0,
    MeminfoLocation "meminfo_location" Ignored 0,
    ThresholdPct "threshold_pct" Int 0,
    SwapoutBpsThreshold "swapout_bps_threshold" Wide 0,
    Negate "negate" Bool 0,
    Count "count" Unsigned 0,
    Lte "lte" Bool 1,
    Always "always" Bool 0,
    Recursive "recursive" Bool 0,
    PostActionDelay "post_action_delay" Seconds 15,
    Dry "dry" Bool 0,
    AlwaysContinue "always_continue" Bool 0,
    ReapMemory "reap_memory" Bool 1,
    Kernelkill "kernelkill" Bool 0,
    LogKmemalloc "log_kmemalloc_prekill" Bool 0,
    SizeThreshold "size_threshold" Unsigned 50,
    GrowingSizePercentile "growing_size_percentile" Percentile 80,
    MinGrowthRatio "min_growth_ratio" Ratio 1_250_000,
    BiasedSwapKill "biased_swap_kill" Bool 0,
    Service "service" Unit 0,
    MachineType "machine_type" Ignored 0,
    LimitMinBytes "limit_min_bytes" Wide 100,
    LimitMaxBytes "limit_max_bytes" Wide 10 << 10,
    Interval "interval" Unsigned 6,
    PressureMs "pressure_ms" Unsigned 10,
    PressurePct "pressure_pct" Ratio 100_000,
    IoPressurePct "io_pressure_pct" Ratio 100_000,
    MaxProbe "max_probe" Ratio 10_000,
    MaxBackoff "max_backoff" Ratio 1_000_000,
    CoeffProbe "coeff_probe" Ratio 10_000_000,
    CoeffBackoff "coeff_backoff" Ratio 20_000_000,
    ImmediateBackoff "immediate_backoff" Bool 0,
    MemoryHighTimeoutMs "memory_high_timeout_ms" Unsigned 0,
    SwapThreshold "swap_threshold" Ratio 800_000,
    SenpaiSwapout "swapout_bps_threshold" Wide 1,
    SwapValidation "swap_validation" Bool 0,
    ModulateSwappiness "modulate_swappiness" Bool 0,
    LogInterval "log_interval" Unsigned 60,
    Command "command" Command 0,
    Timeout "timeout" Timeout 5_000_000,
    Xattr "xattr" Xattr 0,
    // Of plugins and of the objects around them.
    Name "name" Text 0,
    Args "args" Part 0,
    Detectors "detectors" Part 0,
    Actions "actions" Part 0,
    DropIn "drop-in" Part 0,
    SilenceLogs "silence-logs" Silence 0,
    PrekillHookTimeout "prekill_hook_timeout" Seconds 5,
    XattrFilter "xattr_filter" Xattr 0,
    ReplaceDetectors "detectors" Flag 0,
    ReplaceActions "actions" Flag 0,
    DisableOnDropIn "disable-on-drop-in" Flag 0,
    Rulesets "rulesets" Part 0,
    PrekillHooks "prekill_hooks" Part 0,
    Version "version" Part 0,
}

/// What counts where a key is not given, as a number, by place.
#[inline(never)]
pub fn usual() -> [i64; KEY_COUNT] {
    let mut numbers = [0; KEY_COUNT];
    for (at, slot) in numbers.iter_mut().enumerate() {
        let shift = if FORMS[at] == Form::Wide { 20 } else { 0 };
        *slot = i64::from(USUAL[at]) << shift;
    }
    numbers
}

impl Key {
    /// How it is read.
    pub fn form(self) -> Form {
        FORMS[self as usize]
    }

    /// Its word.
    pub fn word(self) -> &'static [u8] {
        KEY_WORDS.at(self as usize)
    }
}

macro_rules! objects {
    ($($name:ident $word:literal
        takes [$($take:expr),*] needs [$($need:ident),*] when $when:literal then $then:literal,)*) => {
        /// A plugin, or another object with keys.
        #[allow(missing_docs, reason = "the words say it")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Name { $($name,)* }

        static NAMES: [Name; NAME_COUNT] = [$(Name::$name,)*];

        const NAME_COUNT: usize = [$($word,)*].len();

        const NAME_WORDS: Words = Words(lit!(concat!($($word, "\n",)*)));

        static SIGNATURES: [Signature; NAME_COUNT] = [$(Signature {
            takes: bits(&[$(Key::$need),*]) $(| $take)*,
            needs: bits(&[$(Key::$need),*]),
        },)*];

        const WHEN: Words = Words(lit!(concat!($($when, "\n",)*)));
        const THEN: Words = Words(lit!(concat!($($then, "\n",)*)));
    };
}

/// Which keys an object takes and which of them it needs, one bit for each.
struct Signature {
    takes: u64,
    needs: u64,
}

const fn bits(keys: &[Key]) -> u64 {
    let (mut bits, mut at) = (0, 0);
    while at < keys.len() {
        bits |= 1 << keys[at] as u32;
        at += 1;
    }
    bits
}

const CGROUPS: u64 = bits(&[Key::Cgroup, Key::RulesetCgroup]);
const DEBUG: u64 = bits(&[Key::Debug]);
const KILL: u64 = CGROUPS
    | DEBUG
    | bits(&[
        Key::Recursive,
        Key::PostActionDelay,
        Key::Dry,
        Key::AlwaysContinue,
        Key::ReapMemory,
        Key::Kernelkill,
        Key::LogKmemalloc,
    ]);

/// What every kill says before and behind its own words.
pub const KILL_BEFORE: &[u8] = lit!("kill the one ");
/// The same behind.
pub const KILL_BEHIND: &[u8] = lit!(
    " of @<recursive?, or below it><kernelkill?, by cgroup.kill><dry?, in the log only>\
     <always_continue?, and go on><post_action_delay!, and rest {post_action_delay} s>"
);

// Of the plugins also when they say continue, and then what they do; see [`Name::when`].
objects! {
    // These take anything, and look at none of it.
    Continue "continue" takes [] needs [] when "always" then "do nothing",
    Stop "stop" takes [] needs [] when "never" then "stop here",
    PressureAbove "pressure_above" takes [CGROUPS] needs [Resource, Threshold, Duration]
        when "full {resource} pressure of the worst of @ is above {threshold}% over 10 s\
            <duration?, for {duration} s>"
        then "",
    PressureRisingBeyond "pressure_rising_beyond"
        takes [CGROUPS, bits(&[Key::FastFallRatio])] needs [Resource, Threshold, Duration]
        when "full {resource} pressure of the worst of @ is above {threshold}% over 60 s\
            <duration?, for {duration} s>, and over 10 s too, where it is no less than {fast_fall_ratio} \
            of what it was"
        then "",
    MemoryAbove "memory_above"
        takes [CGROUPS, DEBUG, bits(&[Key::ThresholdAmount, Key::ThresholdAnon, Key::MeminfoLocation])]
        needs [Duration]
        when "<threshold_anon!anonymous >memory of one of @ is above \
            <threshold_anon!{threshold_anon}|{threshold}><duration?, for {duration} s>"
        then "",
    MemoryReclaim "memory_reclaim" takes [CGROUPS] needs [Duration]
        when "memory of @ was reclaimed within {duration} s" then "",
    SwapFree "swap_free" takes [bits(&[Key::SwapoutBpsThreshold])] needs [ThresholdPct]
        when "less than {threshold_pct}% of swap is free<swapout_bps_threshold? and \
            {swapout_bps_threshold} bytes a second or more are swapped out>"
        then "",
    Exists "exists" takes [CGROUPS, DEBUG, bits(&[Key::Negate])] needs []
        when "@ is <negate?not >there" then "",
    NrDyingDescendants "nr_dying_descendants"
        takes [CGROUPS, DEBUG, bits(&[Key::Lte, Key::Negate])] needs [Count]
        when "<negate?none|one> of @ has <lte?at most|more than> {count} dying descendants" then "",
    DumpCgroupOverview "dump_cgroup_overview" takes [CGROUPS, bits(&[Key::Always])] needs []
        when "always, and @ is logged<always?| if it is under pressure>" then "log @",
    KillByMemorySizeOrGrowth "kill_by_memory_size_or_growth"
        takes [KILL, bits(&[Key::SizeThreshold, Key::GrowingSizePercentile, Key::MinGrowthRatio])] needs []
        when ""
        then "with most memory if it has {size_threshold}% of it all, or else that grew to \
            {min_growth_ratio} times as much,",
    KillBySwapUsage "kill_by_swap_usage"
        takes [KILL, bits(&[Key::ThresholdAmount, Key::BiasedSwapKill, Key::MeminfoLocation])] needs []
        when ""
        then "with most swap<biased_swap_kill? beyond its protection>, more than {threshold},",
    KillByPressure "kill_by_pressure" takes [KILL] needs [Resource]
        when "" then "with most full {resource} pressure",
    KillByIoCost "kill_by_io_cost" takes [KILL] needs []
        when "" then "whose io costs most",
    KillByPgScan "kill_by_pg_scan" takes [KILL] needs []
        when "" then "for which most pages are scanned",
    SystemdRestart "systemd_restart"
        takes [bits(&[Key::PostActionDelay, Key::Dry, Key::MachineType])] needs [Service]
        when "" then "restart {service} and rest {post_action_delay} s more<dry?, in the log only>",
    KernelPanic "kernel_panic" takes [] needs [] when "" then "crash the machine",
    Senpai "senpai"
        takes [bits(&[
            Key::LimitMinBytes, Key::LimitMaxBytes, Key::Interval, Key::PressureMs, Key::PressurePct,
            Key::IoPressurePct, Key::MaxProbe, Key::MaxBackoff, Key::CoeffProbe, Key::CoeffBackoff,
            Key::ImmediateBackoff, Key::MemoryHighTimeoutMs, Key::SwapThreshold, Key::SenpaiSwapout,
            Key::SwapValidation, Key::ModulateSwappiness, Key::LogInterval
        ])]
        needs [Cgroup]
        when "" then "keep the memory of @ as small as it can be without stalls",
    Exec "exec"
        takes [CGROUPS, bits(&[Key::Timeout, Key::PostActionDelay, Key::AlwaysContinue, Key::Dry])]
        needs [Command]
        when "{command} for {timeout} ms at most<dry?, in the log only,> exits with 0"
        then "run {command} for {timeout} ms at most<dry?, in the log only,>",
    DummyPrekillHook "dummy_prekill_hook" takes [bits(&[Key::Cgroup, Key::Xattr])] needs [] when "" then "",
    // What these do not take they ignore.
    Plugin "a plugin" takes [bits(&[Key::Args])] needs [Name] when "" then "",
    DropIn "an object" takes [bits(&[Key::ReplaceDetectors, Key::ReplaceActions, Key::DisableOnDropIn])]
        needs [] when "" then "",
    RuleSet "a rule set"
        takes [bits(&[
            Key::Detectors, Key::Actions, Key::DropIn, Key::SilenceLogs, Key::PostActionDelay,
            Key::PrekillHookTimeout, Key::Cgroup, Key::XattrFilter
        ])]
        needs [Name] when "" then "",
    File "a file" takes [bits(&[Key::Rulesets, Key::PrekillHooks, Key::Version])] needs [] when "" then "",
}

impl Name {
    /// The plugin of this name, or else the hook.
    pub fn of(word: &[u8], is_hook: bool) -> Option<Self> {
        let mut is_it = |at, known: &[u8]| known == word && Self::is_plugin(at, is_hook);
        NAMES.get(NAME_WORDS.find(&mut is_it)?).copied()
    }

    /// The name.
    pub fn word(self) -> &'static [u8] {
        NAME_WORDS.at(self as usize)
    }

    /// Hands on the names of all plugins, or else of all hooks.
    pub fn for_all(is_hook: bool, each: &mut dyn FnMut(&'static [u8])) {
        NAME_WORDS.find(&mut |at, word| {
            if Self::is_plugin(at, is_hook) {
                each(word);
            }
            false
        });
    }

    /// Is there a plugin at this place, or else a hook?
    fn is_plugin(at: usize, is_hook: bool) -> bool {
        let hook = Self::DummyPrekillHook as usize;
        if is_hook { at == hook } else { at < hook }
    }

    /// Is it one of the objects around plugins? Keys that those do not take are ignored,
    /// and so are null and empty texts.
    pub fn is_lenient(self) -> bool {
        self > Self::DummyPrekillHook
    }

    /// Does it take any arguments at all without looking at them?
    pub fn takes_anything(self) -> bool {
        self <= Self::Stop
    }

    /// Does it take [`Key::Cgroup`]?
    pub fn looks_at_cgroups(self) -> bool {
        self.takes() & CGROUPS != 0
    }

    /// Does it kill a cgroup?
    pub fn is_kill(self) -> bool {
        (Self::KillByMemorySizeOrGrowth..=Self::KillByPgScan).contains(&self)
    }

    /// When it says continue. In `{…}` stands a key for its value, `@` for the cgroups; what stands in
    /// `<key?…|…>` is said if its number is above zero, or else what stands behind the bar;
    /// with `!` if it is given. Empty where it says continue if its action did not help.
    pub fn when(self) -> &'static [u8] {
        WHEN.at(self as usize)
    }

    /// What it does as an action, in the same way. Empty where it goes on when it says so.
    pub fn then(self) -> &'static [u8] {
        THEN.at(self as usize)
    }

    /// The keys that it takes, a bit for each.
    pub fn takes(self) -> u64 {
        SIGNATURES[self as usize].takes
    }

    /// A key that it needs and that is not among those `given`, of which each has its bit.
    pub fn lacks(self, given: u64) -> Option<Key> {
        KEYS.get((SIGNATURES[self as usize].needs & !given).trailing_zeros() as usize).copied()
    }

    /// The key that it takes and of whose word `is_it` holds.
    #[inline(never)]
    pub fn key(self, is_it: &mut dyn FnMut(&'static [u8]) -> bool) -> Option<Key> {
        let takes = self.takes();
        KEYS.get(KEY_WORDS.find(&mut |at, word| takes >> at & 1 == 1 && is_it(word))?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(word: &str) -> Option<Name> {
        Name::of(word.as_bytes(), false)
    }

    #[test]
    fn words_have_places() {
        assert_eq!((NAMES.len(), SIGNATURES.len(), FORMS.len()), (24, 24, KEY_COUNT));
        const { assert!(KEY_COUNT <= 64) };
        for plugin in NAMES.into_iter().filter(|name| !name.is_lenient()) {
            assert_eq!(Name::of(plugin.word(), plugin == Name::DummyPrekillHook), Some(plugin));
            assert!(!plugin.word().is_empty());
        }
        for key in KEYS {
            assert!(!key.word().is_empty() && !key.word().contains(&b' '), "{key:?}");
        }
        assert_eq!((name("kill_by_pg_scan"), name("kill"), name("")), (Some(Name::KillByPgScan), None, None));
        assert_eq!((name("dummy_prekill_hook"), name("a rule set")), (None, None));
    }

    #[test]
    fn keys_belong_to_plugins() {
        let form = |plugin: &str, key: &str| {
            name(plugin).unwrap().key(&mut |word| word == key.as_bytes()).map(Key::form)
        };
        assert_eq!(form("pressure_above", "threshold"), Some(Form::Int));
        assert_eq!(form("memory_above", "threshold"), Some(Form::Amount));
        assert_eq!(form("kill_by_swap_usage", "threshold"), Some(Form::Amount));
        assert_eq!(form("kill_by_pressure", "threshold"), None);
        assert_eq!(form("swap_free", "cgroup"), None);
        assert_eq!(form("kernel_panic", "dry"), None);
        assert_eq!(form("senpai", "ruleset_cgroup"), None);
        assert_eq!(Name::PressureAbove.lacks(0), Some(Key::Resource));
        assert_eq!(Name::PressureAbove.lacks(bits(&[Key::Resource, Key::Duration])), Some(Key::Threshold));
        assert_eq!(Name::PressureAbove.lacks(bits(&[Key::Resource, Key::Duration, Key::Threshold])), None);
        assert_eq!(Name::Exists.lacks(0), None);
        for (is_hook, expected) in [(true, 1), (false, 19)] {
            let mut count = 0;
            Name::for_all(is_hook, &mut |_| count += 1);
            assert_eq!(count, expected);
        }
    }

    #[test]
    fn plain_words_are_about_keys_that_there_are() {
        for name in NAMES {
            let kill = if name.is_kill() { KILL_BEHIND } else { b"" };
            for words in [name.when(), name.then(), kill] {
                let opened = words.split(|byte| matches!(byte, b'{' | b'<')).skip(1);
                for word in opened.map(|part| part.split(|byte| matches!(byte, b'}' | b'?' | b'!'))) {
                    let word = { word }.next().unwrap_or_default();
                    assert!(name.key(&mut |known| known == word).is_some(), "{name:?}: {word:?}");
                }
            }
            // What is a plugin does something.
            let is_plugin = !name.is_lenient() && name != Name::DummyPrekillHook;
            assert_eq!(is_plugin, !(name.when().is_empty() && name.then().is_empty()), "{name:?}");
        }
    }
}
