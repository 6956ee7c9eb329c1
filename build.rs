//! What is made of the table of options, how a musl program is linked, which commit
//! it is, and how it is packed.
//!
//! `--help` goes to OUT_DIR for the program to include; the manual page
//! and the shells' completions go to share/ beside the program.

#[path = "src/bin/bustd/options.rs"]
#[allow(dead_code, reason = "the parser uses the rest")]
mod options;
#[path = "src/bin/loader/pack.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod pack;

use options::{Complete, Group, OPTIONS, Opt, OptionSpec};
use pack::model::Code;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What only start-up and questions use, as parts of symbols' names: modules and
/// functions with their lengths before them, as both manglings of Rust have
/// them. In the small build the linker refuses to link a loop that refers to any
/// of it.
const STARTUP: &[&str] = &[
    // The program's own modules.
    "5bustd3cli",
    "5bustd5asked",
    "5bustd6reader",
    "5bustd6answer",
    "5bustd4conf",
    "5bustd4sole",
    "5bustd5check",
    "5bustd5place",
    "5bustd6amount",
    "5bustd5again",
    "5bustd6glance",
    "5bustd6values",
    "5bustd7foreign",
    "5bustd7concern",
    "5bustd7console",
    "5bustd6daemon",
    "7Pidfile6create",
    "7Pidfile13write_own_pid",
    "7pidfile11find_holder",
    "7pidfile14open_or_create",
    "5bustd3oom",
    "5bustd4rows",
    "5bustd5rules",
    "5bustd5start",
    "5bustd6status",
    "5bustd8standing",
    // Who allocates; nobody does once the arena is sealed.
    "6lexopt",
    "5alloc",
    "3std",
    "5arena",
    // Parts of the library.
    "5Globs5parse",
    "27names_of_regular_expression",
    "3sys4kept",
    "3sys5ready",
    "20eq_ignore_ascii_case",
    "10capability",
    "6Faults4open",
    "7Monitor8announce",
    "7Monitor3new",
    "7Monitor10take_rules",
    "4Walk3new",
    "6Forest3new",
    "14open_hierarchy",
    "8Observer3new",
    "8Selector3new",
    "8Executor3new",
    "4tell8announce",
    // Text as lexopt handles it; ours is bytes.
    "4core3fmt",
    "4core3str",
    "12open_signals",
    "21fill_standard_streams",
    "3log*4open",
    "4Tree9open_live",
    "4Tree13open_captured",
    "14read_boost_kib",
    "15read_overcommit",
    "4read9hierarchy8find_own",
    "4read9hierarchy7find_at",
    "4read9hierarchy16read_hierarchies",
    "14push_unescaped",
    "10membership12read_version",
    "6cgroup15parse_hierarchy",
    "4Tree9open_path",
    "5scope11machine_kib",
    "5scope10find_place",
    "5Scope4find",
    "5Scope15push_limit_file",
    "5scope5judge",
    "14can_be_limited",
    "12read_own_pid",
    "12nearest_rule",
    "5pidfd5probe",
    "13probe_release",
    "4lock11find_holder",
    "4lock8lock_all",
    "14has_bare_names",
    "3sys7command5start",
    "3sys7command7execute",
    "13take_terminal",
    "16is_in_foreground",
    "12close_others",
    "6config7command12parse_signal",
    "6config7command5NAMES",
    "6config7command7NUMBERS",
    "13drop_in_place*5kfile4Tree",
    "13drop_in_place*6faults6Faults",
    "7ExitMap5parse",
    "7sandbox5enter",
    "18clear_bounding_set",
    "20give_up_capabilities",
    "11has_filters",
    "6Filter5build",
    "4tell5plain",
    "5words4WHEN",
    "5words4THEN",
    "5words11KILL_B",
    "4Name4when",
    "11Environment5value",
    "7signals6set_of",
    "5Scope4name",
    "3Why6reason",
    "7Monitor11begin_stats",
    "7Monitor10trim_stack",
    "3sys7program10trim_stack",
    "16set_parent_death",
    "3sys7command5prctl",
    "16for_each_process",
];

/// What reads a file of rules, written in the same way. The guard gives it up when it
/// has, but its loop may come back to it: a page comes back from the file, if that is
/// not packed.
const PARSER: &[&str] = &[
    "5rules4json",
    "5rules4load",
    "5rules5parse",
    "5rules5value",
    // Not the names of plugins, which are told with what they have done.
    "5words4KEYS",
    "5words5FORMS",
    "5words5NAMES",
    "5words5USUAL",
    "5words9KEY_WORDS",
    "5words10SIGNATURES",
    "4Name3key",
    "5rules6fields",
    "5rules6reader",
    "5rules6teller",
    "5rules8drop_ins",
    "5rules8unescape",
    // What rules do that kills nobody, and how they come to stand.
    "5rules6sizing",
    "5rules6senpai",
    "14senpai_figures",
    "9swap_room",
    "8set_high",
    "8run_exec",
    "11run_program",
    "13start_program",
    "12restart_unit",
    "8Standing3new",
    "11standing_of",
    "10stand_anew",
    "12reread_rules",
    "10tell_rules",
    "5Ruled4tell",
    "11push_figure",
    "5rules8standing",
];

/// What else only rules use: a guard without `--rules` gives it up as well, and the
/// linker refuses to link a loop that refers to any of it but by what the rules have
/// told it. The program's own part of them is start-up's.
const RULES: &[&str] = &[
    "6config5rules",
    "6decide5rules",
    "6choose5rules",
    "8executor5rules",
    "4tell5rules",
    "7monitor5rules",
    "3sys5block",
    "3sys5table",
    "13cgroup_values",
    "8Executor12begin_cgroup",
    "8Executor13start_program",
    "8Executor13start_writing",
    "8Children15place_for_rules",
    "5Scope8whole_at",
    "7Monitor13finish_cgroup",
    "7Monitor18note_end_for_rules",
    "7Monitor10tick_rules",
    "7Monitor12reread_rules",
    // Start-up and they alone.
    "6memory12read_meminfo",
    "9hierarchy14push_real_path",
    "4CStr19from_bytes_with_nul",
    "2at8accessat",
    "20specialized_div_rem12u128_div_rem",
    "__udivti3",
    "7Monitor11renew_stack",
    "3sys7program11renew_stack",
    "3sys7program11touch_stack",
    "3sys7program12end_of_stack",
    "3sys7program13give_up_stack",
    "7program5Pages7give_up",
];

/// What not every guard uses, by the name of its section. A guard gives up what it does
/// not use, and the linker refuses to link a loop that refers to any of it, but by what
/// the one who uses it has been told.
const SELDOM_USED: &[(&str, &[&str])] = &[
    ("command", COMMAND),
    ("stats", STATS),
    ("patterns", PATTERNS),
    ("hooks", HOOKS),
    ("cgroup", CGROUP),
    ("parser", PARSER),
    ("rules", RULES),
];

/// What a guard that runs a command does for it.
const COMMAND: &[&str] = &[
    "7Command14forward_or_end",
    "7Command12begin_to_end",
    "7Command11step_to_end",
    "7Command3end",
    "7Command4send",
    "3sys7command4send",
    "15return_terminal",
    "18signal_descendants",
    "7termios",
];

/// What tells of kills in a file or on a pidfile.
const STATS: &[&str] = &[
    "5Stats8tell_all",
    "5Stats7replace",
    "5Stats5write",
    "5stats3Out",
    "4tell5stats*4TEXT",
    "4lock13unlock_before",
];

/// What holds patterns against processes.
const PATTERNS: &[&str] = &["6config7pattern", "8any_item"];

/// What runs programs at a kill.
const HOOKS: &[&str] = &[
    "8Children10start_hook",
    "5child5spawn",
    "5child7execute",
    "5child12execute_with",
    "5child17child_environment",
    "5child7restore",
    "11unblock_all",
];

/// What only a guarded cgroup is asked.
const CGROUP: &[&str] = &[
    "5scope7guarded",
    "5Scope11open_events",
    "11arm_trigger",
    "5Scope3arm",
    "7Monitor13turn_to_scope",
    "6report5moved",
    "8Selector6forget",
    "6Cgroup9read_stat",
    "6Cgroup14read_limit_kib",
    "6Cgroup13read_limit_of",
    "6Cgroup16read_current_kib",
    "6Cgroup2of",
    "6Cgroup5check",
    "5Found6reopen",
    "13read_own_path",
    "10open_below",
    "8names_in",
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/bin/bustd/options.rs");
    println!("cargo:rerun-if-changed=src/bin/bustd/options");
    println!("cargo:rerun-if-changed=src/bin/bustd/rule_options.rs");
    println!("cargo:rustc-check-cfg=cfg(startup_section)");
    let out = PathBuf::from(var("OUT_DIR"));
    prepare_loader(&out);
    let target = var("TARGET");
    let commit = Commit::find();
    let build = commit.as_ref().map_or_else(String::new, |commit| format!("{}, ", commit.id)) + &target;
    println!("cargo:rustc-env=BUSTD_BUILD={build}");

    write(&out.join("help.rs"), &source_of(&help()));
    // OUT_DIR is …/release/build/bustd-HASH/out.
    let release = out.ancestors().nth(3).expect("cargo's directories");
    let share = release.join("share");
    write(&share.join("man/man8/bustd.8"), &manual(&date(commit.as_ref())));
    write(&share.join("bash-completion/completions/bustd"), &bash());
    write(&share.join("zsh/site-functions/_bustd"), &zsh());
    write(&share.join("fish/vendor_completions.d/bustd.fish"), &fish());

    if target.contains("-linux-musl") && var("CARGO_CFG_TARGET_FEATURE").contains("crt-static") {
        link_small(&out, release);
    }
}

fn var(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

fn write(path: &Path, text: &str) {
    let dir = path.parent().expect("a file's path");
    fs::create_dir_all(dir).and_then(|()| fs::write(path, text)).unwrap_or_else(|error| {
        panic!("{}: {error}", path.display());
    });
}

// ------------------------------------------------------------------ linking

/// Has the linker make one small static program: one mapping for what is read
/// and executed, one for what is written, and one for start-up, which the guard
/// gives up. Nothing unwinds, so the tables for that are left out.
fn link_small(out: &Path, release: &Path) {
    println!("cargo:rerun-if-env-changed=RUSTC_LINKER");
    let script = out.join("bustd.ld");
    let is_lld = is_lld();
    write(&script, &linker_script(is_lld));
    let link = |option: &str| pass_to_linker("bustd", option);
    link("--build-id=none");
    link("--no-eh-frame-hdr");
    link("-znorelro");
    link(if is_lld { "--no-rosegment" } else { "-znoseparate-code" });
    if has_small_pages() {
        link("-zmax-page-size=4096");
    }
    // Keeps ld from filling up the last page before the data.
    link("-zcommon-page-size=16");
    if var("CARGO_CFG_TARGET_ARCH") == "riscv64" && !is_lld {
        link("--no-relax");
    }
    link(&format!("--script={}", script.display()));
    // Tells .ci/check-static which parts of the C library were linked.
    link(&format!("-Map={}", release.join("bustd.map").display()));
}

fn is_lld() -> bool {
    let linker = var("RUSTC_LINKER");
    Path::new(&linker).file_stem().is_some_and(|stem| stem.to_string_lossy().contains("lld"))
}

/// An option for the linker of one program. lld takes options bare, a C compiler
/// behind -Wl.
fn pass_to_linker(program: &str, option: &str) {
    println!("cargo:rustc-link-arg-bin={program}={}{option}", if is_lld() { "" } else { "-Wl," });
}

/// Packs the program that .ci/static has built and names, for its loader, which is
/// built next.
fn prepare_loader(out: &Path) {
    println!("cargo:rustc-check-cfg=cfg(packed)");
    println!("cargo:rerun-if-env-changed=BUSTD_PLAIN");
    let Some(plain) = env::var_os("BUSTD_PLAIN").map(PathBuf::from) else { return };
    if env::var_os("CARGO_FEATURE_LOADER").is_none() {
        return;
    }
    println!("cargo:rustc-cfg=packed");
    println!("cargo:rerun-if-changed=src/bin/loader");
    println!("cargo:rerun-if-changed={}", plain.display());
    let code = match &*var("CARGO_CFG_TARGET_ARCH") {
        "x86" => Code::X86,
        "x86_64" => Code::X86Wide,
        _ => Code::Words,
    };
    if let Err(error) = pack::prepare(out, &plain, code) {
        panic!("{error}");
    }
    println!("cargo:rustc-link-arg-bin=loader=-nostdlib");
    pass_to_linker("loader", "--build-id=none");
    pass_to_linker("loader", "-znorelro");
    pass_to_linker("loader", &format!("--script={}", out.join("loader.ld").display()));
}

/// What of the C library runs before `main` and after it.
const LIBC_STARTUP: &[&str] =
    &["__libc_start_main", "libc_start_main_stage2", "__init_libc", "static_init_tls", "__init_tls"];

/// Parts of the C library that only start-up uses, by file.
const LIBC_STARTUP_FILES: &[&str] =
    &["__libc_start_main", "__init_tls", "exit", "sigaction", "sigfillset", "__lock", "block"];

/// Is this a kind of machine whose pages are always of 4 KiB? Others have larger ones too.
fn has_small_pages() -> bool {
    matches!(&*var("CARGO_CFG_TARGET_ARCH"), "x86" | "x86_64" | "arm" | "riscv64" | "s390x")
}

/// Augments the linker's own script. Nothing unwinds, so there are no tables for
/// that, nor what the compiler's crtbegin.o does with them before and after main;
/// nor does anything else run before main: on aarch64 that would look for faster
/// atomics, which one thread does without.
fn linker_script(is_lld: bool) -> String {
    let startup = if is_silent() { startup_script(is_lld) } else { String::new() };
    // The data begins with a page, or it might take two; packed, the gap before it is next
    // to nothing.
    let data = match has_small_pages() && !is_lld {
        true => "SECTIONS { . = ALIGN(CONSTANT(MAXPAGESIZE)); } INSERT BEFORE .tdata;",
        false => "",
    };
    format!(
        "SECTIONS {{
  /DISCARD/ : {{
    *crtbegin*.o(.init .init.* .init_array .fini .fini.* .fini_array .ctors .dtors .text .text.__do_*)
    *(.eh_frame) *(.eh_frame_hdr) *(.gcc_except_table*) *(.comment) *(.note.*)
    *(.ARM.exidx*) *(.ARM.extab*) *(.init_array.*)
  }}
}}
INSERT BEFORE .text;
{data}
{startup}"
    )
}

/// Does a panic say nothing? Where it may print, everything refers to what prints,
/// and there is no telling what only start-up uses. Compilers before 1.91 know it by
/// a word of .ci/static's.
fn is_silent() -> bool {
    var("CARGO_CFG_PANIC").split(',').any(|way| way == "immediate-abort")
        || env::var_os("CARGO_CFG_PANIC_IMMEDIATE_ABORT").is_some()
}

/// The sections of start-up and of rules stand behind everything, where another kind of
/// page begins and so a segment. It begins as far into its page in memory as the data
/// ends in theirs, and so follows them in the file without a gap. Their ends are plain
/// numbers: symbols in them would count as references to them. The guard unmaps start-up
/// when its loop begins, so nothing else may refer to that, but for the tables of
/// virtual functions of what only start-up uses.
fn startup_script(is_lld: bool) -> String {
    println!("cargo:rustc-cfg=startup_section");
    let mut inputs = String::from("    *crt1.o(.text .text.*)\n    *(.text.main)\n");
    for name in LIBC_STARTUP {
        let _ = writeln!(inputs, "    *(.text.{name})");
    }
    for name in LIBC_STARTUP_FILES {
        let _ = writeln!(inputs, "    *{name}.*o(.text .text.* .rodata .rodata.*)");
    }
    push_parts(&mut inputs, STARTUP);
    // Start-up first, for what it makes of the types of others goes by their names too.
    let (mut sections, mut begins, mut refused) = (String::new(), String::new(), String::new());
    for (at, (name, parts)) in SELDOM_USED.iter().enumerate() {
        let _ = writeln!(sections, "  .{name} : {{");
        push_parts(&mut sections, parts);
        sections.push_str("  }\n");
        // Rules may use all the rest.
        let others: Vec<_> = SELDOM_USED
            .iter()
            .enumerate()
            .filter(|(other, (kind, _))| *other != at && *kind != "rules" && *kind != "parser")
            .map(|(_, (kind, _))| format!(" .{kind}"))
            .collect();
        let _ = writeln!(refused, "NOCROSSREFS_TO(.{name} .text .data{})", others.concat());
        let _ = writeln!(begins, "__{name}_begin = ABSOLUTE(ADDR(.{name}));");
    }
    let others: String = SELDOM_USED.iter().map(|(name, _)| format!(" .{name}")).collect();
    // On mips there is more behind .data. lld, which links for none of those here, does
    // not know the symbol yet.
    let data_end = if is_lld { "(ADDR(.data) + SIZEOF(.data))" } else { "_edata" };
    // As far into its page in memory as the data ends in theirs.
    let place = format!("(ALIGN(CONSTANT(MAXPAGESIZE)) + ({data_end} & (CONSTANT(MAXPAGESIZE) - 1)))");
    // What position-independent code of a C library for i686 calls, from wherever.
    format!(
        "SECTIONS {{
  .thunks : {{ *(.text.__x86.get_pc_thunk.*) }}
}}
INSERT AFTER .text;
SECTIONS {{
  .startup {place} : {{
{inputs}  }}
{sections}}}
INSERT AFTER .bss;
{begins}__startup_begin = ABSOLUTE(ADDR(.startup));
__sections_end = ABSOLUTE(ADDR(.rules) + SIZEOF(.rules));
NOCROSSREFS_TO(.startup .text .data{others})
{refused}"
    )
}

/// Constants and code each by themselves, for each is packed best beside its like: the loop ends
/// with its constants.
fn push_parts(sections: &mut String, parts: &[&str]) {
    for kind in [".rodata", ".text"] {
        for part in parts {
            let _ = writeln!(sections, "    *({kind}.*{part}*)");
        }
    }
}

// ------------------------------------------------------------------- commit

/// What HEAD was when this was built; none in a tarball.
struct Commit {
    id: String,
    seconds: i64,
}

impl Commit {
    fn find() -> Option<Self> {
        // Not the commit of a repository that this was unpacked into.
        if !Path::new(".git").exists() {
            return None;
        }
        let head_ref = git(&["symbolic-ref", "-q", "HEAD"]);
        for name in ["HEAD", "logs/HEAD", "packed-refs"].into_iter().chain(head_ref.as_deref()) {
            if let Some(path) = git(&["rev-parse", "--git-path", name])
                && Path::new(&path).exists()
            {
                println!("cargo:rerun-if-changed={path}");
            }
        }
        Some(Self {
            id: git(&["rev-parse", "--short=12", "HEAD"])?,
            seconds: git(&["show", "-s", "--format=%ct", "HEAD"])?.parse().ok()?,
        })
    }
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim_end().to_owned())
}

/// The manual's date: never that of the build, which would make each different.
fn date(commit: Option<&Commit>) -> String {
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let epoch = var("SOURCE_DATE_EPOCH").parse().ok();
    epoch.or(commit.map(|commit| commit.seconds)).map_or_else(String::new, |seconds: i64| {
        let (year, month, day) = civil(seconds.div_euclid(86_400));
        format!("{year:04}-{month:02}-{day:02}")
    })
}

/// Year, month and day of a number of days since 1970, counted in eras of 400
/// years that begin in March, so that a leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

// --------------------------------------------------------------------- help

fn in_group(group: Group) -> impl Iterator<Item = &'static OptionSpec> {
    OPTIONS.iter().filter(move |spec| spec.group == group)
}

const SCREEN_WIDTH: usize = 80;

/// To where the second column of `--help` begins.
const NEXT_LINE: &str = "\n                         ";

fn help() -> String {
    let mut text = String::from(
        "Usage: bustd [OPTION]... [[--] COMMAND [ARG]...]\n\
         Without options it guards at once, in the background, and kills when it must.\n",
    );
    for group in Group::ALL {
        let _ = writeln!(text, "{}{}:", group.title(), group.note());
        for spec in in_group(group) {
            let letter = spec.letter.map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
            let value = spec.value.map_or_else(String::new, |value| format!(" {value}"));
            let option = format!("{letter}--{}{value}", spec.name);
            let mut line = format!("{option:<24} {}", spec.help);
            if let Some(default) = spec.default {
                let fits = line.len() + default.len() + " []".len() <= SCREEN_WIDTH;
                let _ = write!(line, "{}[{default}]", if fits { " " } else { NEXT_LINE });
            }
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

/// Rust source of the text.
fn source_of(text: &str) -> String {
    format!("static HELP: [u8; {}] = *b{text:?};\n", text.len())
}

// ------------------------------------------------------------------- manual

const DESCRIPTION: &str = "\
bustd ends the process at fault when memory runs out, before the kernel stalls the machine or its own \
OOM killer picks another. Without options it starts to guard at once, as a daemon: the command prints \
nothing, but to a terminal how to stop the guard, and returns once that is watching. It locks its memory and runs at nice -20, so that it \
gets to act when nobody else gets to run.
It acts when available memory and free swap are both at or below their limits; when tasks are stalled for \
memory and memory is low; and when everything is stalled and hardly any memory is left, however much swap \
is free. It chooses the process that holds and has lately taken most memory.
A pattern of --prefer, --avoid and --unkillables matches a whole process name, with *, ? and [...], and | \
between patterns. Root's guard believes a bare name in --avoid and --unkillables only of processes with a uid \
below 1000, because a program chooses its own name. 1000:NAME is about one user's processes, root:NAME about \
root's, any:NAME about everybody's, and exe:PATH about the file that is executed; 1000:exe:PATH combines them.
With a COMMAND it stays in the foreground, logs to standard error, runs COMMAND, hands signals on to it, \
reaps orphans, and ends as COMMAND ends. What COMMAND leaves behind is sent SIGTERM, and SIGKILL after \
--grace. COMMAND itself is killed only if no other process below the guard would help.
With --rules it also runs rules for cgroups, written as for oomd: a rule set has groups of detectors and \
a list of actions, which are run when all detectors of one group say so.
Each log line says what happened, to whom and why. To try it without killing anybody, run \
bustd -n --dry-run.";

const STATUS: &[(&str, &str)] = &[
    (
        "memory, swap",
        "A bar is full as far as memory, or swap, is used. It is used up to the T where what is available of \
        memory, or free of swap, is down to where SIGTERM is sent, and up to the K for SIGKILL. What is to go \
        is what can still be used until then.",
    ),
    (
        "scope",
        "Where a cgroup is guarded: why, and its path. --verbose also tells which file sets its limit.",
    ),
    (
        "stall",
        "The share of the last 10 s, or of the half second that --status takes, in which some tasks or all \
        tasks waited for memory; its limit; and the available memory at and below which it counts. What is not \
        known is what the kernel does not tell.",
    ),
    (
        "nearest",
        "The rule that would act first: exhaustion of memory and swap; pressure, which is too long a stall of \
        some tasks; floor, of all tasks; thrash, where the kernel tells of no stalls.",
    ),
    (
        "guard",
        "The pid of the guard that holds the pidfile, and its kills so far; or else of your own user's guard of this memory, without a pidfile; none where there is neither. See --pidfile.",
    ),
    (
        "pid, uid, comm",
        "Whom a guard would choose, best first: process, user, and name. A guard that has watched for some time \
        knows besides who has grown.",
    ),
    ("freeable", "The memory that the end of the process gives back."),
    ("score", "What freeable memory counts; the highest is chosen."),
    ("adj", "The process's oom_score_adj, which it can be given to be chosen earlier or later."),
    (
        "why",
        "How score follows from freeable: x4 with --prefer, /4 with --avoid, +N% or -N% RAM by adj; younger \
        goes before another of the same score.",
    ),
];

const SIGNALS: &[(&str, &str)] = &[
    ("SIGTERM, SIGINT", "End. A pidfile is removed."),
    ("SIGUSR1", "Log a line that says how things stand."),
    (
        "SIGHUP",
        "Open the file of --log anew, and read the file of --rules again; if that cannot be used, the rules that are there stay. It never ends a guard, and SIGUSR2 does not either.",
    ),
    (
        "With COMMAND",
        "All of them are COMMAND's. For the init of a virtual machine, SIGTERM and SIGINT end everything and \
        restart it, SIGUSR1 halts it, and SIGUSR2 switches it off.",
    ),
];

const EXIT_STATUS: &[(&str, &str)] = &[
    ("0", "The guard was told to end, the daemon is watching, or the question was answered."),
    (
        "1",
        "Something else than the command line kept the guard from starting, or a question could not be answered whole.",
    ),
    ("2", "The command line or a file of rules was refused; standard error says why."),
    ("With COMMAND", "Its status, or 128+N if signal N ended it."),
    ("127, 126", "COMMAND was not found, or cannot be executed."),
    ("137", "COMMAND was killed for want of memory, or by SIGKILL."),
];

const FILES: &[(&str, &str)] = &[
    ("/etc/bustd.conf", "Options, unless --config names another file."),
    (
        "/run/bustd.pid, /run/bustd/bustd.pid",
        "The pid of root's daemon, and of the service; locked while it lives.",
    ),
    ("/proc/meminfo, /proc/pressure/memory", "What it watches."),
    ("/dev/kmsg", "Where a daemon logs, unless told otherwise."),
    ("/dev/termination-log", "Where it says why COMMAND was killed, if the file is there."),
];

const EXAMPLES: &[(&str, &str)] = &[
    ("bustd --status", "Show what a guard would see, and whom it would choose."),
    ("bustd -n --dry-run", "Watch in this terminal, and kill nobody."),
    (
        "bustd --check --rules /etc/oomd/oomd.json",
        "Tell these rules in plain words, and whom they are about.",
    ),
    ("bustd --check --unkillables 'sshd|tmux*'", "Show whom the patterns match, and start nothing."),
    ("bustd --mem 512M,256M --avoid 'postgres*'", "Guard with limits of one's own."),
    ("bustd -- /app --serve", "Run /app in a container, guard meanwhile, and end as it ends."),
];

/// Text as roff has to have it.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\(rs").replace('-', "\\-").replace('\'', "\\(aq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

fn manual(date: &str) -> String {
    let mut page = format!(".TH BUSTD 8 \"{date}\" \"bustd {VERSION}\" \"System administration\"\n");
    let section = |page: &mut String, title: &str| {
        let _ = writeln!(page, ".SH {title}");
    };
    let list = |page: &mut String, title: &str, entries: &[(&str, &str)]| {
        section(page, title);
        for (term, text) in entries {
            let _ = writeln!(page, ".TP\n.B {}\n{}", roff(term), roff(text));
        }
    };
    section(&mut page, "NAME");
    page.push_str("bustd \\- out-of-memory guard\n");
    section(&mut page, "SYNOPSIS");
    page.push_str(".B bustd\n.RI [ option ]...\n.RI [[ \\-\\- ]\n.I command\n.RI [ argument ]...]\n");
    section(&mut page, "DESCRIPTION");
    for paragraph in DESCRIPTION.lines() {
        let _ = writeln!(page, ".PP\n{}", roff(paragraph));
    }
    section(&mut page, "OPTIONS");
    page.push_str("No option may be given twice.\n");
    for group in Group::ALL {
        let _ = writeln!(page, ".SS {}", roff(group.title()));
        for spec in in_group(group) {
            let letter = spec.letter.map_or_else(String::new, |letter| format!("\\fB\\-{letter}\\fR, "));
            let value = spec.value.map_or_else(String::new, |value| format!(" \\fI{}\\fR", roff(value)));
            let _ = writeln!(
                page,
                ".TP\n{letter}\\fB\\-\\-{}\\fR{value}\n{}",
                roff(spec.name),
                roff(spec.detail)
            );
            if let Some(default) = spec.default {
                let _ = writeln!(page, "Default: {}.", roff(default));
            }
        }
    }
    list(&mut page, "STATUS", STATUS);
    list(&mut page, "SIGNALS", SIGNALS);
    list(&mut page, "EXIT STATUS", EXIT_STATUS);
    list(&mut page, "FILES", FILES);
    list(&mut page, "EXAMPLES", EXAMPLES);
    section(&mut page, "SEE ALSO");
    page.push_str(".BR dmesg (1),\n.BR proc (5),\n.BR signal (7)\n");
    page
}

// -------------------------------------------------------------- completions

/// How an option is written, each way.
fn spellings(spec: &OptionSpec) -> impl Iterator<Item = String> {
    spec.letter.map(|letter| format!("-{letter}")).into_iter().chain([format!("--{}", spec.name)])
}

fn bash() -> String {
    let words: Vec<String> = OPTIONS.iter().flat_map(spellings).collect();
    let mut cases = String::new();
    for spec in &OPTIONS {
        let action = match spec.complete {
            Complete::Flag => continue,
            Complete::Anything => String::new(),
            Complete::ProcessNames => "-W \"$(ps -eo comm= 2>/dev/null)\"".to_owned(),
            Complete::Pids => "-W \"self $(ps -eo pid= 2>/dev/null)\"".to_owned(),
            Complete::Files | Complete::Executables => "-f".to_owned(),
            Complete::Directories => "-d".to_owned(),
            Complete::Words(words) => format!("-W '{}'", words.join(" ")),
        };
        let labels: Vec<String> = spellings(spec).collect();
        let _ = writeln!(cases, "    {}) set -- {action} ;;", labels.join("|"));
    }
    format!(
        "# bash completion for bustd

_bustd() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} word
    # Bash splits --option=value into three words.
    if [[ $cur == = ]]; then
        cur=
    elif [[ $before == = ]]; then
        before=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    # All that stands behind --oom is a pid.
    for word in \"${{COMP_WORDS[@]:1:COMP_CWORD - 1}}\"; do
        [[ $word != --oom ]] || before=--oom
    done
    COMPREPLY=()
    case $before in
{cases}    *) set -- -W '{}' ;;
    esac
    [[ $# -eq 0 ]] || mapfile -t COMPREPLY < <(compgen \"$@\" -- \"$cur\")
}}
complete -o filenames -F _bustd bustd
",
        words.join(" ")
    )
}

fn zsh() -> String {
    let quote =
        |text: &str| text.replace('\'', "'\\''").replace('[', "\\[").replace(']', "\\]").replace(':', "\\:");
    let mut text = String::from("#compdef bustd\n\n_arguments -s -S");
    for spec in &OPTIONS {
        let takes_value = spec.value.is_some() && spec.id != Opt::Oom;
        let name = format!("--{}{}", spec.name, if takes_value { "=" } else { "" });
        let option = match spec.letter {
            Some(letter) => {
                let plus = if takes_value { "+" } else { "" };
                format!("'(-{letter} --{})'{{-{letter}{plus},{name}}}", spec.name)
            }
            None => format!("'{name}'"),
        };
        let action = match spec.complete {
            Complete::Flag | Complete::Anything => String::new(),
            Complete::ProcessNames => "_process_names".to_owned(),
            Complete::Pids => "_pids".to_owned(),
            Complete::Files | Complete::Executables => "_files".to_owned(),
            Complete::Directories => "_directories".to_owned(),
            Complete::Words(words) => format!("({})", words.join(" ")),
        };
        let value = match spec.value {
            None => String::new(),
            Some(value) if spec.id == Opt::Oom => format!(":*:{}:{action}", quote(value)),
            Some(value) => format!(":{}:{action}", quote(value)),
        };
        let _ = write!(text, " \\\n    {option}'[{}]{value}'", quote(spec.help));
    }
    text.push('\n');
    text
}

fn fish() -> String {
    let mut text = String::from("# fish completion for bustd\n\ncomplete -c bustd -f\n");
    for spec in &OPTIONS {
        let letter = spec.letter.map_or_else(String::new, |letter| format!(" -s {letter}"));
        let value = match spec.complete {
            Complete::Flag => String::new(),
            Complete::Anything => " -x".to_owned(),
            Complete::ProcessNames => " -x -a '(__fish_complete_proc)'".to_owned(),
            Complete::Pids => " -x -a 'self (__fish_complete_pids)'".to_owned(),
            Complete::Files | Complete::Executables => " -r -F".to_owned(),
            Complete::Directories => " -x -a '(__fish_complete_directories)'".to_owned(),
            Complete::Words(words) => format!(" -x -a '{}'", words.join(" ")),
        };
        let help = spec.help.replace('\\', "\\\\").replace('\'', "\\'");
        let _ = writeln!(text, "complete -c bustd{letter} -l {}{value} -d '{help}'", spec.name);
    }
    text
}
