//! The options of rules.

use super::{Complete, Group, Opt, OptionSpec, ROW};

/// In the order in which they are shown.
pub const ROWS: [OptionSpec; 8] = [
    OptionSpec {
        id: Opt::Rules,
        name: "rules",
        value: Some("FILE"),
        group: Group::Rules,
        help: "run the rules in FILE",
        detail: "Run the rules in FILE, which is a configuration of oomd(1) and may have comments. The \
            guard's own rules stay on. SIGHUP has FILE read again; if it cannot be used, the rules that are \
            there stay. With --check the rules are checked and told in plain words, with the cgroups and \
            processes that each would be about now. A guard needs an absolute path.",
        complete: Complete::Files,
        sample: "/dev/null",
        ..ROW
    },
    OptionSpec {
        id: Opt::RulesDir,
        name: "rules-dir",
        value: Some("DIR"),
        group: Group::Rules,
        help: "watch DIR for files that change these rules",
        detail: "Watch the directory DIR, an absolute path, for files of rules that replace the detectors or \
            the actions of rule sets in FILE which allow that, as oomd does with drop-ins. Names that begin \
            with a dot are passed over.",
        complete: Complete::Directories,
        sample: "/",
        ..ROW
    },
    OptionSpec {
        id: Opt::NoDefaultRules,
        name: "no-default-rules",
        group: Group::Rules,
        help: "act by these rules alone",
        detail: "Switch the guard's own rules off, so that only those of FILE make it act.",
        ..ROW
    },
    OptionSpec {
        id: Opt::Interval,
        letter: Some('i'),
        name: "interval",
        value: Some("SECONDS"),
        default: Some("5"),
        group: Group::Rules,
        help: "look at these rules so often",
        detail: "How often the rules of FILE are looked at, in whole seconds, at most 3600. The guard's own \
            rules have their own pace.",
        complete: Complete::Anything,
        sample: "1",
    },
    OptionSpec {
        id: Opt::Device,
        name: "device",
        value: Some("MAJ:MIN,..."),
        group: Group::Rules,
        help: "devices whose io costs in kill_by_io_cost",
        detail: "For which devices io counts in kill_by_io_cost, at most 16, each by its numbers as in \
            /proc/partitions. Without it that action kills nobody.",
        complete: Complete::Anything,
        sample: "8:0",
        ..ROW
    },
    OptionSpec {
        id: Opt::SsdCoeffs,
        name: "ssd-coeffs",
        value: Some("NUMBERS"),
        group: Group::Rules,
        help: "what io costs on a device that does not rotate",
        detail: "What io costs on devices that do not rotate: up to six numbers with commas between them, for \
            each read, byte read, write, byte written, trim and byte trimmed; those left out are 0. The \
            default is 1.21e-2,6.25e-7,1.07e-3,2.61e-7,2.37e-2,9.10e-10.",
        complete: Complete::Anything,
        sample: "1,1e-6",
        ..ROW
    },
    OptionSpec {
        id: Opt::HddCoeffs,
        name: "hdd-coeffs",
        value: Some("NUMBERS"),
        group: Group::Rules,
        help: "and on one that does",
        detail: "The same for devices that rotate. The default is 1.31e-3,1.13e-7,2.58e-1,5.04e-7.",
        complete: Complete::Anything,
        sample: "1,1e-6",
        ..ROW
    },
    OptionSpec {
        id: Opt::AllowPanic,
        name: "allow-panic",
        group: Group::Rules,
        help: "let rules crash the machine (kernel_panic)",
        detail: "Let the action kernel_panic crash the machine at once, without syncing disks. Without this \
            option a file with that action is refused.",
        ..ROW
    },
];
