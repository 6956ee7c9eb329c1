//! When to act, and whom to kill.

use super::{Complete, Group, Opt, OptionSpec, ROW};

pub const CHOOSING: [OptionSpec; 12] = [
    OptionSpec {
        id: Opt::Scope,
        name: "scope",
        value: Some("SCOPE"),
        default: Some("auto"),
        group: Group::When,
        help: "guard auto, machine, cgroup, or that at PATH",
        detail: "The memory to guard. auto is the cgroup of bustd, or one above it, that has the tightest \
            limit below the machine's memory, else the machine, also where nobody but bustd is in that \
            cgroup. Where no limit was set at first, one that is set later is guarded as long as it is \
            there. machine is the machine; cgroup is the cgroup of bustd; a path is that of the directory \
            of a cgroup. In a cgroup, memory, swap and pressure are those of the cgroup and of those above \
            it, and nobody outside of it is killed.",
        complete: Complete::Words(&["auto", "machine", "cgroup"]),
        sample: "machine",
        ..ROW
    },
    OptionSpec {
        id: Opt::Mem,
        letter: Some('m'),
        name: "mem",
        value: Some("TERM[,KILL]"),
        default: Some("10%,5%, at most 2G,1G"),
        group: Group::When,
        help: "limits of available memory",
        detail: "Send SIGTERM when available memory is at or below TERM, and SIGKILL when it is at or \
            below KILL. Each is a percentage up to 100 (the sign may be left out) or a size with K, M, G \
            or T, as 512M, 0.5G or 512MiB (M, MB and MiB are the same), and both are of one kind. KILL is half of TERM unless it is given. Percentages \
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
            in /proc/PID/comm, which is 15 bytes at most; *, ? and [...] mean what they mean in a shell. \
            What is plainly a regular expression is refused; [(] is the character itself. 1000:NAME is \
            about the processes of one user, root:NAME about those of root and any:NAME about those of \
            everybody. Without any of these a pattern of --avoid or --unkillables is believed by the guard \
            of root only of users below 1000. exe:PATH is about the file that is executed, and cgroup:PATH \
            about the processes in that cgroup and below it, by its path in /proc/PID/cgroup: that of the \
            line 0::, or with version 1 of the memory controller. In paths * stands for slashes too. They \
            can be combined, as in any:cgroup:/machine.slice.",
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
        id: Opt::KillCgroup,
        name: "kill-cgroup",
        group: Group::Whom,
        help: "kill the victim's whole cgroup",
        detail: "Kill every process of the victim's cgroup, and of those below it, if that is below the \
            guarded one. Where memory.oom.group is 1 for a cgroup that the victim is in, that cgroup is \
            killed as a whole without this option too.",
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
];
