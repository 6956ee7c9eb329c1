//! What is made of the table of options, how a musl program is linked, and
//! which commit it is.
//!
//! `--help` goes to OUT_DIR, folded, for the program to include; the manual page
//! and the shells' completions go to share/ beside the program.

#[path = "src/bin/bustd/options.rs"]
#[allow(dead_code, reason = "the parser uses the rest")]
mod options;

use options::{Complete, Group, OPTIONS, Opt, OptionSpec};
use std::collections::BTreeMap;
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
    "5bustd5check",
    "5bustd7console",
    "5bustd6daemon",
    "5bustd3oom",
    "5bustd5start",
    "5bustd6status",
    // Who allocates; nobody does once the arena is sealed.
    "6lexopt",
    "5alloc",
    "3std",
    "5arena",
    // Parts of the library.
    "5Globs5parse",
    "10capability",
    "6Faults4open",
    "7Monitor8announce",
    "7Monitor3new",
    "8Observer3new",
    "8Selector3new",
    "8Executor3new",
    "6report8announce",
    "15warn_of_missing",
    // Text as lexopt handles it; ours is bytes.
    "4core3fmt",
    "4core3str",
    "12open_signals",
    "21fill_standard_streams",
    "3log*4open",
    "4Tree9open_live",
    "4Tree13open_captured",
    "14read_overcommit",
    "13read_own_pid",
    "12nearest_rule",
    "5pidfd5probe",
    "13probe_release",
    "4lock11find_holder",
    "4lock8lock_all",
    "14has_bare_names",
    "7sandbox5enter",
    "17clear_bounding_set",
    "20give_up_capabilities",
    "11has_filters",
    "6Filter5build",
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/bin/bustd/options.rs");
    println!("cargo:rustc-check-cfg=cfg(startup_section)");
    let out = PathBuf::from(var("OUT_DIR"));
    let target = var("TARGET");
    let commit = Commit::find();
    let build = commit.as_ref().map_or_else(String::new, |commit| format!("{}, ", commit.id)) + &target;
    println!("cargo:rustc-env=BUSTD_BUILD={build}");

    write(&out.join("help.rs"), &folded(&help()));
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
    println!("cargo:rustc-cfg=startup_section");
    let script = out.join("bustd.ld");
    write(&script, &linker_script());
    // lld takes options bare, a C compiler behind -Wl.
    let linker = var("RUSTC_LINKER");
    let is_lld = Path::new(&linker).file_stem().is_some_and(|stem| stem.to_string_lossy().contains("lld"));
    let link = |option: &str| {
        println!("cargo:rustc-link-arg-bins={}{option}", if is_lld { "" } else { "-Wl," });
    };
    link("--build-id=none");
    link("--no-eh-frame-hdr");
    link("-znorelro");
    link(if is_lld { "--no-rosegment" } else { "-znoseparate-code" });
    // Pages are 4 KiB here; other kinds of machine have larger ones too. The
    // second number keeps ld from filling up the last page before the data.
    if matches!(&*var("CARGO_CFG_TARGET_ARCH"), "x86" | "x86_64") {
        link("-zmax-page-size=4096");
        link("-zcommon-page-size=16");
    }
    link(&format!("--script={}", script.display()));
    // Tells .ci/check-static which parts of the C library were linked.
    link(&format!("-Map={}", release.join("bustd.map").display()));
}

/// What of the C library runs before `main` and after it.
const LIBC_STARTUP: &[&str] =
    &["__libc_start_main", "libc_start_main_stage2", "__init_libc", "static_init_tls", "__init_tls"];

/// Parts of the C library that only start-up uses, by file.
const LIBC_STARTUP_FILES: &[&str] = &["__libc_start_main", "__init_tls", "exit"];

/// Augments the linker's own script. Nothing unwinds, so there are no tables for
/// that, nor what the compiler's crtbegin.o does with them before and after main.
/// The section of start-up stands behind everything, where another
/// kind of page begins and so a segment. It begins as far into its page in
/// memory as the data ends in theirs, and so follows them in the file without a
/// gap. Its ends are plain numbers: symbols in it would count as references to it.
fn linker_script() -> String {
    let mut inputs = String::from("    *crt1.o(.text .text.*)\n    *(.text.main)\n");
    for name in LIBC_STARTUP {
        let _ = writeln!(inputs, "    *(.text.{name})");
    }
    for name in LIBC_STARTUP_FILES {
        let _ = writeln!(inputs, "    *{name}.*o(.text .text.* .rodata .rodata.*)");
    }
    for part in STARTUP {
        let _ = writeln!(inputs, "    *(.text.*{part}* .rodata.*{part}*)");
    }
    // Where a panic may print, everything refers to what prints.
    let is_silent = var("CARGO_CFG_PANIC") == "immediate-abort";
    let check = if is_silent { "NOCROSSREFS_TO(.startup .text)\n" } else { "" };
    format!(
        "SECTIONS {{
  /DISCARD/ : {{
    *crtbegin*.o(.init .init.* .init_array .fini .fini.* .fini_array .ctors .dtors .text .text.*)
    *(.eh_frame) *(.eh_frame_hdr) *(.gcc_except_table*) *(.comment) *(.note.*)
  }}
}}
INSERT BEFORE .text;
SECTIONS {{
  .startup (ALIGN(CONSTANT(MAXPAGESIZE)) + ((ADDR(.data) + SIZEOF(.data)) & (CONSTANT(MAXPAGESIZE) - 1))) : {{
{inputs}  }}
}}
INSERT AFTER .bss;
__startup_begin = ABSOLUTE(ADDR(.startup));
__startup_end = ABSOLUTE(ADDR(.startup) + SIZEOF(.startup));
{check}"
    )
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
        "Usage: bustd [OPTION]...\n\
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

/// Rust source of a text in three fifths of its length: again and again, a byte
/// that no ASCII text has takes the place of the pair which is there most often.
fn folded(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut pairs = Vec::new();
    for code in 0x80..=0xff {
        let mut counts = BTreeMap::<[u8; 2], usize>::new();
        for pair in bytes.windows(2) {
            *counts.entry([pair[0], pair[1]]).or_default() += 1;
        }
        // The pair itself takes two bytes.
        let Some((pair, 4..)) = counts.into_iter().max_by_key(|&(_, count)| count) else { break };
        let mut rest = bytes.as_slice();
        let mut shorter = Vec::new();
        while let [first, tail @ ..] = rest {
            let is_pair = rest.starts_with(&pair);
            shorter.push(if is_pair { code } else { *first });
            rest = if is_pair { &tail[1..] } else { tail };
        }
        bytes = shorter;
        pairs.push(pair);
    }
    let (len, pair_count, folded_len) = (text.len(), pairs.len(), bytes.len());
    format!(
        "const HELP_LEN: usize = {len};\n\
         static HELP_PAIRS: [[u8; 2]; {pair_count}] = {pairs:?};\n\
         static HELP: [u8; {folded_len}] = {bytes:?};\n"
    )
}

// ------------------------------------------------------------------- manual

const DESCRIPTION: &str = "\
bustd ends the process at fault when memory runs out, before the kernel stalls the machine or its own \
OOM killer picks another. Without options it starts to guard at once, as a daemon: the command prints \
nothing and returns once the guard is watching. It locks its memory and runs at nice -20, so that it \
gets to act when nobody else gets to run.
It acts when available memory and free swap are both at or below their limits; when tasks are stalled for \
memory and memory is low; and when everything is stalled and hardly any memory is left, however much swap \
is free. It chooses the process that holds and has lately taken most memory.
A pattern of --prefer, --avoid and --unkillables matches a whole process name, with *, ? and [...], and | \
between patterns. Root's guard believes a bare name in --avoid and --unkillables only of processes with a uid \
below 1000, because a program chooses its own name. 1000:NAME is about one user's processes, root:NAME about \
root's, any:NAME about everybody's, and exe:PATH about the file that is executed; 1000:exe:PATH combines them.
Each log line says what happened, to whom and why. To try it without killing anybody, run \
bustd -n --dry-run.";

const SIGNALS: &[(&str, &str)] = &[
    ("SIGTERM, SIGINT", "End. A pidfile is removed."),
    ("SIGUSR1", "Log a line that says how things stand."),
];

const EXIT_STATUS: &[(&str, &str)] = &[
    ("0", "The guard was told to end, the daemon is watching, or the question was answered."),
    (
        "1",
        "Something else than the command line kept the guard from starting, or a question could not be answered whole.",
    ),
    ("2", "The command line was refused; standard error says why."),
];

const FILES: &[(&str, &str)] = &[
    ("/run/bustd.pid", "The pid of root's daemon, locked while it lives."),
    ("/proc/meminfo, /proc/pressure/memory", "What it watches."),
    ("/dev/kmsg", "Where a daemon logs, unless told otherwise."),
];

const EXAMPLES: &[(&str, &str)] = &[
    ("bustd --status", "Show what a guard would see, and whom it would choose."),
    ("bustd -n --dry-run", "Watch in this terminal, and kill nobody."),
    ("bustd --check --unkillables 'sshd|tmux*'", "Show whom the patterns match, and start nothing."),
    ("bustd --mem 512M,256M --avoid 'postgres*'", "Guard with limits of one's own."),
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
    page.push_str(".B bustd\n.RI [ option ]...\n");
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
