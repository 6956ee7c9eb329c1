//! The options, each in one row: the parser, `--help`, the manual page and the
//! shells' completions are made of them. Data only, for the build script reads
//! this file too.

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opt {
    Mem,
    Swap,
    Psi,
    Grace,
    Prefer,
    Avoid,
    Unkillables,
    KillPgroup,
    BeforeKill,
    OnKill,
    Status,
    Json,
    Check,
    Oom,
    DryRun,
    Once,
    Root,
    NoDaemon,
    NoSandbox,
    Pidfile,
    Log,
    Stats,
    Verbose,
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
}

impl Group {
    pub const ALL: [Self; 4] = [Self::When, Self::Whom, Self::Questions, Self::Running];

    pub const fn title(self) -> &'static str {
        match self {
            Self::When => "When to act",
            Self::Whom => "Whom to kill",
            Self::Questions => "Questions and trials",
            Self::Running => "Running",
        }
    }

    /// What stands behind the title in `--help`.
    pub const fn note(self) -> &'static str {
        match self {
            Self::When => " (amounts: 10%, 512M, 2G)",
            Self::Whom => " (GLOBS match whole names: 'sshd|tmux*|[Xx]org')",
            Self::Questions => " (none of these kills anybody but --once)",
            Self::Running => "",
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

/// Every option, in the order in which they are shown.
pub const OPTIONS: [OptionSpec; 25] = [
    OptionSpec {
        id: Opt::Mem,
        letter: Some('m'),
        name: "mem",
        value: Some("TERM[,KILL]"),
        default: Some("10%,5%, at most 2G,1G"),
        group: Group::When,
        help: "limits of available memory",
        detail: "Send SIGTERM when available memory is at or below TERM, and SIGKILL when it is at or \
            below KILL. Each is a percentage up to 100 (the sign may be left out) or a whole size with \
            K, M or G, and both are of one kind. KILL is half of TERM unless it is given. Percentages \
            are of what killing can give back, so the limits move a little with it. The default is \
            never more than 2 GiB and 1 GiB; a limit that is given has no such bound.",
        complete: Complete::Anything,
        sample: "10%,5%",
    },
    OptionSpec {
        id: Opt::Swap,
        letter: Some('s'),
        name: "swap",
        value: Some("TERM[,KILL]"),
        default: Some("10%,5%"),
        group: Group::When,
        help: "free-swap limits; memory and swap must both be below",
        detail: "Limits of free swap, written as for --mem. A signal is sent only when memory and swap \
            are both at or below their limits. 0 means never while there is swap, 100 means that swap \
            does not matter.",
        complete: Complete::Anything,
        sample: "10%,5%",
    },
    OptionSpec {
        id: Opt::Psi,
        letter: Some('p'),
        name: "psi",
        value: Some("PERCENT"),
        default: Some("25"),
        group: Group::When,
        help: "stall share of 10 s that is too much",
        detail: "Act as well when tasks were stalled for want of memory for this share of the last 10 \
            seconds and available memory is at or below one and a half times the TERM limit. Stalls \
            alone kill nobody.",
        complete: Complete::Anything,
        sample: "30",
    },
    OptionSpec {
        id: Opt::Grace,
        name: "grace",
        value: Some("MS"),
        default: Some("1000"),
        group: Group::When,
        help: "milliseconds from SIGTERM to SIGKILL",
        detail: "How long a victim has to end by itself after SIGTERM, in milliseconds, at most 60000. It \
            is sent SIGKILL earlier when memory falls below the KILL limit.",
        complete: Complete::Anything,
        sample: "500",
        ..ROW
    },
    OptionSpec {
        id: Opt::Prefer,
        name: "prefer",
        value: Some("GLOBS"),
        group: Group::Whom,
        help: "count the memory of these four times",
        detail: "Processes with these names are more likely to be chosen: their memory counts four \
            times. GLOBS is a list of patterns with | between them. Each must match the whole name as \
            in /proc/PID/comm, which is 15 bytes at most; *, ? and [...] mean what they mean in a shell.",
        complete: Complete::ProcessNames,
        sample: "a*|b",
        ..ROW
    },
    OptionSpec {
        id: Opt::Avoid,
        name: "avoid",
        value: Some("GLOBS"),
        group: Group::Whom,
        help: "count a quarter of the memory of these",
        detail: "Processes with these names are less likely to be chosen: a quarter of their memory counts.",
        complete: Complete::ProcessNames,
        sample: "a*|b",
        ..ROW
    },
    OptionSpec {
        id: Opt::Unkillables,
        letter: Some('u'),
        name: "unkillables",
        value: Some("GLOBS"),
        group: Group::Whom,
        help: "never kill these",
        detail: "Processes with these names are never chosen.",
        complete: Complete::ProcessNames,
        sample: "sshd",
        ..ROW
    },
    OptionSpec {
        id: Opt::KillPgroup,
        letter: Some('g'),
        name: "kill-pgroup",
        group: Group::Whom,
        help: "signal the victim's whole process group",
        detail: "Signal every process of the victim's process group, and not the victim alone.",
        ..ROW
    },
    OptionSpec {
        id: Opt::BeforeKill,
        name: "before-kill",
        value: Some("PROG"),
        group: Group::Whom,
        help: "run PROG before the first signal",
        detail: "Run PROG, an absolute path, before the first signal of a kill. It is started without a \
            shell and without arguments, with BUSTD_PID, BUSTD_UID, BUSTD_COMM, BUSTD_FREEABLE_KIB and \
            BUSTD_RULE in its environment. It holds the signal up for 200 ms at most and is ended \
            after 5 s.",
        complete: Complete::Executables,
        sample: "/bin/sh",
        ..ROW
    },
    OptionSpec {
        id: Opt::OnKill,
        name: "on-kill",
        value: Some("PROG"),
        group: Group::Whom,
        help: "run PROG once the victim is gone",
        detail: "Run PROG once the victim is gone, in the same way as for --before-kill.",
        complete: Complete::Executables,
        sample: "/bin/sh",
        ..ROW
    },
    OptionSpec {
        id: Opt::Status,
        name: "status",
        group: Group::Questions,
        help: "show what a guard would see and whom it would choose",
        detail: "Print memory, stalls and limits, how far it is from acting, the daemon that is running, \
            and whom a guard would choose, best first.",
        ..ROW
    },
    OptionSpec {
        id: Opt::Json,
        name: "json",
        group: Group::Questions,
        help: "print --status as one JSON object",
        detail: "With --status: print one JSON object, with sizes in KiB and shares in hundredths of a per \
            cent.",
        ..ROW
    },
    OptionSpec {
        id: Opt::Check,
        name: "check",
        group: Group::Questions,
        help: "check the options and show whom the GLOBS match now",
        detail: "Check the other options, print the processes that each pattern matches now, and warn of \
            what looks wrong.",
        ..ROW
    },
    OptionSpec {
        id: Opt::Oom,
        name: "oom",
        value: Some("PID..."),
        group: Group::Questions,
        help: "show what the kernel's OOM killer knows of these",
        detail: "Print the kernel's OOM state of these processes; self means this one. The rest of the \
            command line is read as pids. The exit status is 1 if one of them could not be read.",
        complete: Complete::Pids,
        sample: "self",
        ..ROW
    },
    OptionSpec {
        id: Opt::DryRun,
        name: "dry-run",
        group: Group::Questions,
        help: "guard, but only log what would be killed",
        detail: "Decide and log as usual, but send no signal and run no program.",
        ..ROW
    },
    OptionSpec {
        id: Opt::Once,
        name: "once",
        group: Group::Questions,
        help: "decide once, carry that out, then exit",
        detail: "Decide once, carry the decision out, then exit with 0 whatever it was. It stays in the \
            foreground. With --dry-run it kills nobody.",
        ..ROW
    },
    OptionSpec {
        id: Opt::Root,
        name: "root",
        value: Some("DIR"),
        group: Group::Questions,
        help: "read DIR/proc and DIR/sys, and kill nobody",
        detail: "Read the files of a captured machine below DIR. It implies --dry-run.",
        complete: Complete::Directories,
        sample: "/",
        ..ROW
    },
    OptionSpec {
        id: Opt::NoDaemon,
        letter: Some('n'),
        name: "no-daemon",
        help: "stay in the foreground",
        detail: "Stay in the foreground and log to standard error. Otherwise the command returns as soon \
            as the guard is watching.",
        ..ROW
    },
    OptionSpec {
        id: Opt::NoSandbox,
        name: "no-sandbox",
        help: "keep all rights after start",
        detail: "Keep all capabilities and do not restrict system calls. Otherwise a guard that has started \
            keeps CAP_KILL, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, sets no_new_privs, and has a seccomp \
            filter that lets through the calls of its loop and no others. It also keeps CAP_SYS_ADMIN where \
            fs.file-max can be reached, and CAP_DAC_OVERRIDE for --stats in another user's directory. With \
            --before-kill or --on-kill it only gives up capabilities, and the programs get all of them.",
        ..ROW
    },
    OptionSpec {
        id: Opt::Pidfile,
        name: "pidfile",
        value: Some("PATH"),
        default: Some("/run/bustd.pid for root's daemon"),
        help: "write and lock PATH",
        detail: "Write the pid to PATH, an absolute path, and lock it. If another guard holds the lock, the \
            program ends and says which. A daemon of root uses /run/bustd.pid unless told otherwise.",
        complete: Complete::Files,
        sample: "/nonexistent/bustd.pid",
        ..ROW
    },
    OptionSpec {
        id: Opt::Log,
        name: "log",
        value: Some("SINK"),
        help: "log to stderr, kmsg or syslog",
        detail: "Where lines go: stderr, kmsg (the kernel's log) or syslog. The default is standard error \
            in the foreground; for a daemon it is the kernel's log or else syslog. A daemon has no \
            standard error.",
        complete: Complete::Words(&["stderr", "kmsg", "syslog"]),
        sample: "kmsg",
        ..ROW
    },
    OptionSpec {
        id: Opt::Stats,
        name: "stats",
        value: Some("FILE"),
        help: "write counts of kills for Prometheus to FILE",
        detail: "Write counts of kills in the Prometheus text format to FILE, an absolute path, at start \
            and after each kill. FILE.new is written and renamed over FILE, which must be neither a \
            device nor a link.",
        complete: Complete::Files,
        sample: "/nonexistent/bustd.prom",
        ..ROW
    },
    OptionSpec {
        id: Opt::Verbose,
        letter: Some('V'),
        name: "verbose",
        help: "log changes of state",
        detail: "Log changes of state, and not only kills.",
        ..ROW
    },
    OptionSpec {
        id: Opt::Help,
        letter: Some('h'),
        name: "help",
        help: "print this and exit",
        detail: "Print a summary of the options and exit.",
        ..ROW
    },
    OptionSpec {
        id: Opt::Version,
        name: "version",
        help: "print the version and exit",
        detail: "Print the version, the commit it was built from and the machine it was built for, and exit.",
        ..ROW
    },
];
