//! The options, each in one row: the parser, `--help`, the manual page and the
//! shells' completions are made of them. Data only, for the build script reads
//! this file too.

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opt {
    Rules,
    RulesDir,
    NoDefaultRules,
    Interval,
    Device,
    SsdCoeffs,
    HddCoeffs,
    AllowPanic,
    Scope,
    Mem,
    Swap,
    Psi,
    Grace,
    Prefer,
    Avoid,
    Unkillables,
    KillPgroup,
    KillCgroup,
    BeforeKill,
    OnKill,
    Status,
    Json,
    Watch,
    Check,
    Oom,
    DryRun,
    Once,
    Root,
    Config,
    NoDaemon,
    NoSandbox,
    Pidfile,
    Log,
    Report,
    Stats,
    ReadyFd,
    Verbose,
    Forward,
    MapExit,
    Pdeathsig,
    TerminationLog,
    Help,
    Version,
}

/// The heading under which `--help` and the manual show an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    When,
    Whom,
    Questions,
    Running,
    Command,
    Rules,
}

impl Group {
    pub const ALL: [Self; 6] =
        [Self::When, Self::Whom, Self::Questions, Self::Rules, Self::Running, Self::Command];

    pub const fn title(self) -> &'static str {
        match self {
            Self::When => "When to act",
            Self::Whom => "Whom to kill",
            Self::Questions => "Questions and trials",
            Self::Running => "Running",
            Self::Command => "With COMMAND",
            Self::Rules => "Rules for cgroups",
        }
    }

    /// What stands behind the title in `--help`.
    pub const fn note(self) -> &'static str {
        match self {
            Self::When => " (amounts: 10%, 512M, 1.5G)",
            Self::Whom => " (GLOBS match whole names: 'sshd|tmux*|[Xx]org')",
            Self::Questions => " (of these only --once kills)",
            Self::Running => "",
            Self::Command => " (guard, run it, and end as it ends)",
            Self::Rules => " (oomd's language, beside the guard's own rules)",
        }
    }
}

/// What a shell offers as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complete {
    /// The option takes no value.
    Flag,
    /// Nothing: only who types knows.
    Anything,
    /// Names of running processes.
    ProcessNames,
    Pids,
    Files,
    Directories,
    Executables,
    Words(&'static [&'static str]),
}

/// All there is to know of an option.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    pub id: Opt,
    pub letter: Option<char>,
    pub name: &'static str,
    /// What its value is called; `None` for one that takes none.
    pub value: Option<&'static str>,
    pub default: Option<&'static str>,
    pub group: Group,
    /// One line for `--help` and for shells.
    pub help: &'static str,
    /// The manual's paragraph.
    pub detail: &'static str,
    pub complete: Complete,
    /// A value that is taken on any machine.
    pub sample: &'static str,
}

#[path = "rule_options.rs"]
mod rule_options;

/// What most rows have; each says the rest.
const ROW: OptionSpec = OptionSpec {
    id: Opt::Help,
    letter: None,
    name: "",
    value: None,
    default: None,
    group: Group::Running,
    help: "",
    detail: "",
    complete: Complete::Flag,
    sample: "",
};

// By path, for the build script and a test read this file by its path too.
#[path = "options/choosing.rs"]
mod choosing;
#[path = "options/running.rs"]
mod running;

use choosing::CHOOSING;
use running::RUNNING;

/// Every option; those of a group in the order in which they are shown.
pub const OPTIONS: [OptionSpec; rule_options::ROWS.len() + CHOOSING.len() + RUNNING.len()] = {
    let mut options = [ROW; rule_options::ROWS.len() + CHOOSING.len() + RUNNING.len()];
    let (rules, rest) = options.split_at_mut(rule_options::ROWS.len());
    rules.copy_from_slice(&rule_options::ROWS);
    let (choosing, running) = rest.split_at_mut(CHOOSING.len());
    choosing.copy_from_slice(&CHOOSING);
    running.copy_from_slice(&RUNNING);
    options
};
