//! Questions, how to run, and what is about COMMAND.

use super::{Complete, Group, Opt, OptionSpec, ROW};

pub const RUNNING: [OptionSpec; 23] = [
    OptionSpec {
        id: Opt::Status,
        name: "status",
        group: Group::Questions,
        help: "show what a guard would see and whom it would choose",
        detail: "Print memory, stalls and limits, the guard that is running, and whom a guard would choose, \
            best first; see STATUS. With --verbose it prints all numbers, in tables.",
        ..ROW
    },
    OptionSpec {
        id: Opt::Json,
        name: "json",
        group: Group::Questions,
        help: "print --status or --oom as one JSON object",
        detail: "With --status or --oom: print one JSON object, with sizes in KiB and shares in hundredths \
            of a per cent.",
        ..ROW
    },
    OptionSpec {
        id: Opt::Watch,
        name: "watch",
        value: Some("[SECONDS]"),
        default: Some("2"),
        group: Group::Questions,
        help: "show --status again and again, until q",
        detail: "With --status: show it again every so many seconds, in place on a terminal, until q or \
            Ctrl-C; elsewhere one after the other.",
        complete: Complete::Anything,
        sample: "1",
        ..ROW
    },
    OptionSpec {
        id: Opt::Check,
        name: "check",
        group: Group::Questions,
        help: "check the options and show whom the GLOBS match now",
        detail: "Check the other options and the file of --config, print whom each pattern matches now, and \
            warn of what looks wrong. The exit status is 0, 2 if the options would be refused, or 1 if the file \
            of --config or the cgroup of --scope cannot be opened.",
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
        id: Opt::Config,
        name: "config",
        value: Some("FILE"),
        default: Some("/etc/bustd.conf"),
        help: "read options from FILE",
        detail: "Read options from FILE, or from /etc/bustd.conf if that is there: one a line, as on the command line but without the dashes, as in \
            mem 15%,8%. What follows a # at the start of a word is a comment. The command line wins. \
            Questions, --root, --once and what is about COMMAND stand on the command line only. With \
            --root no file is read unless it is named.",
        complete: Complete::Files,
        sample: "/dev/null",
        ..ROW
    },
    OptionSpec {
        id: Opt::NoDaemon,
        letter: Some('n'),
        name: "no-daemon",
        help: "stay in the foreground",
        detail: "Stay in the foreground and log to standard error, but as process 1 see --log. Otherwise the \
            command returns as soon as the guard is watching.",
        ..ROW
    },
    OptionSpec {
        id: Opt::NoSandbox,
        name: "no-sandbox",
        help: "keep all rights after start",
        detail: "Keep all capabilities and do not restrict system calls. Otherwise a guard that has started \
            keeps CAP_KILL, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, sets no_new_privs, and has a seccomp \
            filter that lets through the calls of its loop and no others. It also keeps CAP_SYS_ADMIN where \
            fs.file-max can be reached, CAP_DAC_OVERRIDE for --stats or a file of --log in another user's \
            directory, and both with --rules. With --before-kill, --on-kill or rules that run programs it only \
            gives up capabilities, and the programs get all of them.",
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
        help: "log to stderr, kmsg, syslog or file:PATH",
        detail: "Where lines go: stderr, kmsg (the kernel's log), syslog, or file:PATH with an absolute \
            path, which is appended to and opened anew at SIGHUP. The default is standard error in the \
            foreground and with COMMAND; for a daemon, for process 1 without COMMAND, and where standard error \
            is /dev/null it is the kernel's log or else syslog. A daemon has no standard error. Where the \
            kernel's log or syslog cannot be opened, lines go to standard error. Put the file on a tmpfs if a \
            disk may stall.",
        complete: Complete::Words(&["stderr", "kmsg", "syslog", "file:/"]),
        sample: "kmsg",
        ..ROW
    },
    OptionSpec {
        id: Opt::Report,
        name: "report",
        value: Some("SECONDS"),
        help: "log how things stand every so often",
        detail: "Log the line that SIGUSR1 asks for every so many seconds, up to a week.",
        complete: Complete::Anything,
        sample: "3600",
        ..ROW
    },
    OptionSpec {
        id: Opt::Stats,
        name: "stats",
        value: Some("FILE"),
        help: "count kills for Prometheus in FILE",
        detail: "Write counts of kills in the Prometheus text format to FILE, an absolute path, at start \
            and after each kill. FILE.new is written and renamed over FILE, which must be neither a \
            device nor a link.",
        complete: Complete::Files,
        sample: "/nonexistent/bustd.prom",
        ..ROW
    },
    OptionSpec {
        id: Opt::ReadyFd,
        name: "ready-fd",
        value: Some("NUMBER"),
        help: "write a newline there once it watches (s6)",
        detail: "Write a newline to this open descriptor once the guard is watching, and close it unless it is \
            a standard stream. systemd needs no option: it sets NOTIFY_SOCKET.",
        complete: Complete::Anything,
        sample: "2",
        ..ROW
    },
    OptionSpec {
        id: Opt::Verbose,
        letter: Some('V'),
        name: "verbose",
        help: "log changes of state",
        detail: "Log changes of state, and not only kills. As -V it does not stand alone: most programs tell \
            their version for that.",
        ..ROW
    },
    OptionSpec {
        id: Opt::Forward,
        name: "forward",
        value: Some("WHOM"),
        default: Some("child"),
        group: Group::Command,
        help: "send signals on to the child, or to its group",
        detail: "Who gets the signals that are sent to the guard: child is COMMAND itself, group its whole \
            process group.",
        complete: Complete::Words(&["child", "group"]),
        sample: "group",
        ..ROW
    },
    OptionSpec {
        id: Opt::MapExit,
        name: "map-exit",
        value: Some("FROM:TO"),
        group: Group::Command,
        help: "end with TO where COMMAND ends with FROM",
        detail: "End with status TO where COMMAND ends with FROM, which is 128+N for signal N. A command that was killed for want of memory has 137 all the same.",
        complete: Complete::Anything,
        sample: "143:0",
        ..ROW
    },
    OptionSpec {
        id: Opt::Pdeathsig,
        name: "pdeathsig",
        value: Some("SIGNAL"),
        group: Group::Command,
        help: "take SIGNAL when the parent dies",
        detail: "Have the kernel send SIGNAL, a name or a number, to the guard when its parent dies, and to \
            COMMAND when the guard does.",
        complete: Complete::Words(&["HUP", "INT", "TERM", "KILL"]),
        sample: "TERM",
        ..ROW
    },
    OptionSpec {
        id: Opt::TerminationLog,
        name: "termination-log",
        value: Some("PATH"),
        group: Group::Command,
        help: "say in PATH why COMMAND was killed",
        detail: "Where to write why COMMAND was killed for want of memory, besides the log. The default is \
            /dev/termination-log, which Kubernetes shows, where that exists.",
        complete: Complete::Files,
        sample: "/nonexistent/log",
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
