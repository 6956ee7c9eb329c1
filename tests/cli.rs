//! The command line, through the real program: what it refuses and how, what
//! it takes and what that means.
//!
//! Everything runs over a captured tree with `--once`, so that a bad line that
//! is wrongly taken starts no guard over the machine that runs the tests.

#[path = "../src/bin/bustd/options.rs"]
#[allow(dead_code, reason = "the program and its build script use the rest")]
mod options;
mod tree;

use options::{Complete, Group, OPTIONS, Opt, OptionSpec};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tree::Tree;

const BUSTD: &str = env!("CARGO_BIN_EXE_bustd");

/// Low on memory, half stalled, half of the swap free: the limits decide.
fn low_tree() -> Tree {
    let tree = Tree::new();
    let meminfo = "MemTotal: 4000000 kB\nMemAvailable: 100000 kB\nAnonPages: 3900000 kB\n\
                   SwapTotal: 1000000 kB\nSwapFree: 500000 kB\n";
    tree.write("proc/meminfo", meminfo);
    tree.write("proc/pressure/memory", "some avg10=50.00 avg60=0.00 avg300=0.00 total=1\n");
    tree
}

fn bustd_once(tree: &Tree) -> Command {
    let mut bustd = Command::new(BUSTD);
    bustd.arg("--root").arg(tree.path()).arg("--once");
    bustd
}

/// Asserts that a run ended with `status` and said exactly `stderr`.
#[track_caller]
fn assert_ends(command: &mut Command, status: i32, stderr: &str) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*said), (Some(status), stderr), "{command:?}");
    assert!(output.stdout.is_empty(), "{command:?} wrote to standard output");
}

/// Asserts that `args` are refused with the one line `message`.
#[track_caller]
fn assert_refused<Arg: AsRef<OsStr>>(args: &[Arg], message: &str) {
    assert_ends(bustd_once(&Tree::new()).args(args), 2, &format!("bustd: {message}\n"));
}

/// Asserts that `option` refuses each of `values` for the reason `why`.
#[track_caller]
fn assert_refuses_values(option: &str, values: &[&str], why: &str) {
    for value in values {
        assert_refused(&[option, value], &format!("{option} \"{value}\": {why}"));
    }
}

const LIMIT_OPTIONS: [&str; 2] = ["--mem", "--swap"];
const GLOB_OPTIONS: [&str; 3] = ["--prefer", "--avoid", "--unkillables"];
const HOOK_OPTIONS: [&str; 2] = ["--before-kill", "--on-kill"];

// ---------------------------------------------------------------- refused

#[test]
fn limits_have_a_shape() {
    let shapeless = [
        "",
        "x",
        "ten",
        "-5",
        "+5",
        "0x10",
        " 5",
        "5 ",
        "5 %",
        "10%%",
        "%",
        "G",
        "1.",
        ".5",
        "1e1",
        "1P",
        "10kBB",
        "1.G",
        ".5G",
        "1.5.5G",
        "1 G",
        "1GiBs",
        "1Gi",
        "0.1234567891G",
        "-1G",
        ",",
        "10,",
        ",5",
        "10,x",
        "10,5,2",
    ];
    // More than everything, 1 EiB, and past 64 bits.
    let out_of_range = [
        "101%",
        "100.01%",
        "100.01",
        "1125899906842624K",
        "1073741824G",
        "1048576T",
        "18446744073709551616G",
        "99999999999999999999999%",
    ];
    let why = "not TERM[,KILL], each a percentage up to 100 or a size with K, M, G or T";
    for option in LIMIT_OPTIONS {
        for (number, size) in
            [("101", "101M"), ("10,101", "10M,101M"), ("512,256", "512M,256M"), ("512,1%", "512M,1%")]
        {
            assert_refuses_values(option, &[number], &format!("not a percentage; {size}?"));
        }
        assert_refuses_values(option, &shapeless, why);
        assert_refuses_values(option, &out_of_range, why);
    }
}

#[test]
fn limits_do_not_contradict_each_other() {
    for option in LIMIT_OPTIONS {
        let above = ["5,10", "5%,5.01%", "99.99,100%", "256M,512M", "1G,1048577K", "1023K,1M"];
        assert_refuses_values(option, &above, "KILL is above TERM");
        let mixed = ["10%,512M", "10,1K", "512M,10%", "512M,5"];
        assert_refuses_values(option, &mixed, "TERM and KILL must both be percentages or both be sizes");
    }
    assert_refuses_values("--swap", &["0,1", "0K,1K"], "KILL is above TERM");
    assert_refuses_values("--mem", &["0", "0%", "0.001%", "0K", "0,0", "000G"], "TERM must be above 0");
}

#[test]
fn numbers_have_a_range() {
    let bad = ["", "0", "0.00", "0.009", "100.01", "101", "-5", "25%%", "25,5", "1e1", "x", "25 ", "٢٥"];
    for value in bad {
        let shown: String = value.bytes().map(|byte| byte.escape_ascii().to_string()).collect();
        assert_refused(
            &["--psi", value],
            &format!("--psi \"{shown}\": not a percentage above 0 and up to 100"),
        );
    }
    let bad = ["", "-1", "60001", "1.5", "1s", "x", "18446744073709551616", "99999999999999999999999"];
    assert_refuses_values("--grace", &bad, "not a number of milliseconds up to 60000");
}

#[test]
fn what_is_about_a_command_has_a_shape() {
    assert_refuses_values("--forward", &["", "CHILD", "all", "child,group"], "not child or group");
    let bad = ["", "1", "1:", ":1", "1:2:3", "256:0", "0:256", "-1:0", "1:2,3:4"];
    assert_refuses_values("--map-exit", &bad, "not FROM:TO, both up to 255");
    assert_refuses_values("--pdeathsig", &["", "0", "65", "-9", "term", "SIG9", "SIG"], "not a signal");
    assert_refuses_values("--termination-log", &["x", "./x"], "not an absolute path");
    // Over a captured tree nothing is run, nor where a question is asked.
    assert_refused(&["--forward", "group", "--", "true"], "\"true\": unexpected argument, see --help");
    let refused = "bustd: \"true\": unexpected argument, see --help\n";
    for question in ["--status", "--check"] {
        assert_ends(Command::new(BUSTD).args([question, "true"]), 2, refused);
    }
}

#[test]
fn sinks_have_names() {
    let bad = ["", "STDERR", "stdout", "kmsg ", "/dev/kmsg", "stderr,kmsg", "file", "File:/x"];
    assert_refuses_values("--log", &bad, "not stderr, kmsg, syslog or file:PATH");
    assert_refuses_values("--log", &["file:x", "file:./x"], "not an absolute path");
    assert_refuses_values("--log", &["file:"], "the path is empty");
    // A daemon has no standard error. Were it taken, it would kill nobody.
    assert_ends(
        Command::new(BUSTD).args(["--dry-run", "--log", "stderr"]),
        2,
        "bustd: --log \"stderr\": a daemon has none, add --no-daemon\n",
    );
}

#[test]
fn regular_expressions_are_told_what_to_write() {
    for option in GLOB_OPTIONS {
        let why = "( is of a regular expression; write \"init|sshd\"";
        assert_refuses_values(option, &["(^|/)(init|sshd)$"], why);
        let why = "^ is of a regular expression; write \"sshd\"";
        assert_refuses_values(option, &["^sshd$"], why);
        let why = "+ is of a regular expression; write whole names with | between, * for any text, [+] for \
                   the character";
        assert_refuses_values(option, &["a|g++"], why);
        let why = "/ is of a regular expression; write whole names with | between, * for any text, [/] for \
                   the character, exe:PATH for a file";
        assert_refuses_values(option, &["/usr/bin/java"], why);
        // What is too long to be shown whole says so, and is not taken for the whole.
        let names = "name|".repeat(50) + "last";
        let list = format!("^({names})$");
        let why = format!(
            "{option} \"{}\"...: ^ is of a regular expression; write \"{}\"...",
            &list[..160],
            &names[..160]
        );
        assert_refused(&[option, &list], &why);
        let why = "the kernel cuts names after 15 bytes; write 'gnome-shell-ca*'";
        assert_refuses_values(option, &["gnome-shell-calendar", "a|root:gnome-shell-calendar"], why);
    }
    assert_decides(&["--avoid", "[(]sd-pam[)]|g[+][+]|exe:/usr/bin/g++"], "pressure: ");
}

/// As in the unit files and manuals of earlyoom 1.7 and 1.8.
#[test]
fn options_of_earlyoom_are_answered_with_ours() {
    for (args, answer) in [
        (&["-M", "1048576,524288"][..], "-M: unknown option (here: --mem 1024M,512M)"),
        (&["-M=1000"], "-M: unknown option (here: --mem 1000K)"),
        (&["-M", "x"], "-M: unknown option (here: --mem)"),
        (&["-M"], "-M: unknown option (here: --mem)"),
        (&["-S204800"], "-S: unknown option (here: --swap 200M)"),
        (&["-r", "3600"], "-r: unknown option (here: --report 3600)"),
        (&["-N", "/a/b"], "-N: unknown option (here: --on-kill /a/b)"),
        (&["-P", "/a/b"], "-P: unknown option (here: --before-kill /a/b)"),
        (&["-d"], "-d: unknown option (here: --verbose)"),
        (&["-v"], "-v: unknown option (here: --version)"),
        (&["--dryrun"], "--dryrun: unknown option (here: --dry-run)"),
        (&["--ignore", "^a"], "--ignore: unknown option (here: --unkillables 'NAME|NAME')"),
        (&["--ignore-root-user"], "--ignore-root-user: unknown option (here: --unkillables 'root:*')"),
        (&["--syslog"], "--syslog: unknown option (here: --log syslog)"),
        (&["--sort-by-rss"], "--sort-by-rss: unknown option, leave it out"),
        (&["-p"], "--psi: needs a value; what -p is to earlyoom is always done here"),
    ] {
        assert_refused(args, answer);
    }
    assert_refuses_values(
        "--psi",
        &["-r", "--avoid"],
        "needs a value; what -p is to earlyoom is always done here",
    );
}

#[test]
fn files_have_an_option_a_line() {
    let tree = low_tree();
    tree.write(
        "conf",
        "# All of it.\n\nmem 10,0\n  swap = 100 # Whatever is free.\n--psi=100\nverbose\n\
                        prefer 'a b|#c'\n#psi 1\nlog=stderr",
    );
    let conf = tree.path().join("conf");
    let said = |args: &[&str]| {
        let mut bustd = bustd_once(&tree);
        let output = bustd.arg("--config").arg(&conf).args(args).output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let by_file = said(&[]);
    assert!(by_file.starts_with("bustd: exhaustion: 97 MiB available, limit 390 MiB;"), "{by_file}");
    // The command line wins, on whichever side of --config it stands.
    assert!(said(&["--mem", "2%"]).starts_with("bustd: memory is low: "));
    tree.write("conf", "mem 2%\nswap 100\n");
    assert!(said(&["-m10,0", "-p100"]).starts_with("bustd: exhaustion: 97 MiB available, limit 390 MiB;"));
    let args = ["--mem", "10,0", "-p100", "-s100", "--once", "--root"];
    let output = Command::new(BUSTD).args(args).arg(tree.path()).arg("--config").arg(&conf).output().unwrap();
    assert!(output.stderr.starts_with(b"bustd: exhaustion: 97 MiB"), "{output:?}");
}

#[test]
fn files_are_refused_by_line() {
    let tree = low_tree();
    let conf = tree.path().join("conf");
    let shown = conf.to_str().unwrap();
    let refused = |text: &str, why: &str| {
        tree.write("conf", text);
        let message = format!("bustd: {shown}:{why}\n");
        assert_ends(bustd_once(&tree).arg("--config").arg(&conf), 2, &message);
    };
    refused("mem 5,10", "1: --mem \"5,10\": KILL is above TERM");
    refused("\n# x\npsi 0\n", "3: --psi \"0\": not a percentage above 0 and up to 100");
    refused("mem 10\nmem 10\n", "2: --mem: given twice");
    refused("bogus 1", "1: --bogus: unknown option, see --help");
    refused("r 60", "1: --r: unknown option (here: --report 60)");
    refused("mem", "1: --mem: needs a value");
    refused("prefer=", "1: --prefer \"\": the list is empty");
    refused("verbose yes", "1: --verbose \"yes\": takes no value");
    refused("= 3", "1: --: unknown option, see --help");
    refused("avoid ^x$", "1: --avoid \"^x$\": ^ is of a regular expression; write \"x\"");
    for name in
        ["status", "check", "once", "root /", "config /dev/null", "help", "version", "forward group", "oom 1"]
    {
        let option = name.split(' ').next().unwrap();
        refused(name, &format!("1: --{option}: only on the command line"));
    }
    let cannot = |path: &str, status: i32, why: &str| {
        let message = format!("bustd: --config \"{path}\": {why}\n");
        assert_ends(bustd_once(&tree).args(["--config", path]), status, &message);
    };
    cannot("/nonexistent", 1, "no such file or directory");
    cannot("/", 1, "a directory");
    tree.write("conf", "verbose\0");
    cannot(shown, 2, "not a text, or longer than 64 KiB");
    tree.write("conf", "#\n".repeat(33_000));
    cannot(shown, 2, "not a text, or longer than 64 KiB");
}

/// More than there is room for in the program's own pages.
#[test]
fn values_of_files_are_kept_however_many() {
    let tree = low_tree();
    let conf = tree.path().join("conf");
    let names: Vec<String> = (0..300).map(|number| format!("name{number}")).collect();
    tree.write("conf", format!("prefer {}\navoid {}\nunkillables z\n", names.join("|"), names.join("|")));
    let output = bustd_once(&tree).arg("--check").arg("--config").arg(&conf).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for line in ["--prefer \"name0\"", "--prefer \"name299\"", "--avoid \"name299\"", "--unkillables \"z\""] {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.ends_with("sound, 602 warnings\n"), "{text}");
}

#[test]
fn a_check_counts_its_warnings() {
    let tree = low_tree();
    tree.write("proc/1/stat", "");
    let check = |args: &[&str]| {
        let output =
            Command::new(BUSTD).arg("--check").arg("--root").arg(tree.path()).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(check(&["--psi", "100"]), "sound, 0 warnings\n");
    let now = "limits: warning: a guard would act now: ";
    assert_eq!(check(&["--psi", "10"]), format!("{now}pressure\nsound, 1 warning\n"));
    assert_eq!(
        check(&["-m", "8G", "-s", "2G"]),
        format!(
            "--mem: warning: above all memory\n--swap: warning: above all swap\n{now}exhaustion\nsound, 3 warnings\n"
        )
    );
    assert_eq!(
        check(&["-p100", "--pidfile", "/nonexistent/pid", "--stats", "/nonexistent/a/b"]),
        "--pidfile: warning: \"/nonexistent\" cannot be written to: no such file or directory\n\
         --stats: warning: \"/nonexistent/a\" cannot be written to: no such file or directory\n\
         sound, 2 warnings\n"
    );
    let log = |path: &str| check(&["-p100", "--log", &format!("file:{path}")]);
    let unwritable = |path: &str, why: &str| {
        format!("--log: warning: \"{path}\" cannot be written to: {why}\nsound, 1 warning\n")
    };
    assert_eq!(log("/nonexistent/log"), unwritable("/nonexistent", "no such file or directory"));
    let dir = tree.path().to_str().unwrap();
    assert_eq!(log(dir), unwritable(dir, "a directory"));
    // It is not created by a question.
    let path = format!("{dir}/log");
    assert_eq!(log(&path), "sound, 0 warnings\n");
    assert!(!fs::exists(&path).unwrap());
    tree.write("log", "");
    assert_eq!(log(&path), "sound, 0 warnings\n");
}

#[test]
fn globs_are_checked() {
    for option in GLOB_OPTIONS {
        assert_refuses_values(option, &[""], "the list is empty");
        assert_refuses_values(option, &["|", "a|", "|a", "a||b", "[|]|"], "an item of the list is empty");
        assert_refuses_values(option, &["[", "a[b", "[]", "[!]", "[^", "a|[b|c"], "a [ is not closed");
        assert_refuses_values(option, &["exe:sshd", "a|any:cgroup:b*"], "a path begins with / or *");
    }
}

#[test]
fn programs_are_checked() {
    let no_program = "/proc/version";
    for option in HOOK_OPTIONS {
        assert_refuses_values(option, &[""], "the path is empty");
        assert_refuses_values(option, &["true", "./true", "../bin/true"], "not an absolute path");
        assert_refuses_values(option, &["/nowhere/true", "/", no_program], "not an executable file");
    }
}

#[test]
fn paths_are_checked() {
    for option in ["--pidfile", "--root"] {
        let mut bustd = Command::new(BUSTD);
        let bustd = bustd.args(["--once", "--dry-run", option, ""]);
        assert_ends(bustd, 2, &format!("bustd: {option} \"\": the path is empty\n"));
    }
    for option in ["--pidfile", "--stats"] {
        assert_refuses_values(option, &["bustd", "./bustd"], "not an absolute path");
    }
    let long = format!("/{}", "x".repeat(500));
    let shown = &long[..160];
    for option in ["--stats", "--pidfile"] {
        assert_refused(&[option, &long], &format!("{option} \"{shown}\"...: the path is too long"));
    }
    // Behind each of these stand its four letters.
    let long = format!("/{}", "\n".repeat(500));
    let shown = format!("/{}", "\\x0a".repeat(39));
    assert_refused(&["--stats", &long], &format!("--stats \"{shown}\"...: the path is too long"));
}

/// It would be replaced by a file, or emptied. None of the machine's own is tried: where
/// this goes wrong, it is gone.
#[test]
fn stats_and_pidfiles_replace_nothing_but_files() {
    let tree = Tree::new();
    let [fifo, dir, link] = ["fifo", "dir", "link"].map(|name| tree.path().join(name));
    let fifo_path = CString::new(fifo.as_os_str().as_bytes()).unwrap();
    mknodat(CWD, fifo_path.as_c_str(), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    std::fs::create_dir(&dir).unwrap();
    std::os::unix::fs::symlink("/nonexistent", &link).unwrap();
    for path in [fifo, dir, link] {
        let path = path.to_str().unwrap();
        for option in ["--stats", "--pidfile"] {
            assert_refused(&[option, path], &format!("{option} \"{path}\": not a file"));
        }
    }
    // A question says so too.
    let mut bustd = Command::new(BUSTD);
    assert_ends(bustd.args(["--check", "--pidfile", "/"]), 2, "bustd: --pidfile \"/\": not a file\n");
}

#[test]
fn values_are_needed_once_and_only_where_they_belong() {
    let with_value =
        ["mem", "swap", "psi", "grace", "prefer", "avoid", "unkillables", "before-kill", "on-kill"];
    for name in with_value.iter().chain(&["pidfile", "log", "stats"]) {
        let why = if *name == "psi" { "; what -p is to earlyoom is always done here" } else { "" };
        assert_refused(&[format!("--{name}")], &format!("--{name}: needs a value{why}"));
    }
    assert_refused(&["-Vnp"], "--psi: needs a value; what -p is to earlyoom is always done here");
    assert_refused(&["--psi", "30", "-p30"], "--psi: given twice");
    assert_refused(&["--psi=30", "--psi"], "--psi: given twice");
    assert_refused(&["-VV"], "--verbose: given twice");
    assert_refused(&["--once"], "--once: given twice");
    for name in ["kill-pgroup", "dry-run", "no-daemon", "verbose", "help", "version", "status", "oom"] {
        assert_refused(&[format!("--{name}=x")], &format!("--{name} \"x\": takes no value"));
        assert_refused(&[format!("--{name}=")], &format!("--{name} \"\": takes no value"));
    }
    assert_refused(&["-V=x"], "--verbose \"x\": takes no value");
}

#[test]
fn questions_are_asked_one_at_a_time() {
    assert_refused(&["--json"], "--json: only with --status or --oom");
    assert_refused(&["--check", "--json"], "--json: only with --status or --oom");
    assert_refused(&["--watch"], "--watch: only with --status");
    assert_refused(&["--oom", "1", "--watch"], "--oom \"--watch\": needs PIDs");
    assert_refused(&["--status", "--check"], "--check: one question at a time");
    assert_refused(&["--check", "--oom", "1"], "--oom: one question at a time");
    assert_refused(&["1", "--oom"], "\"1\": unexpected argument, see --help");
    assert_refused(&["--oom"], "--oom: needs PIDs");
    for no_pid in ["", "0", "-1", "Self", "1x", "4294967297", "--jsonx", "1 "] {
        assert_refused(&["--oom", "self", no_pid], &format!("--oom \"{no_pid}\": needs PIDs"));
    }
}

#[test]
fn unknown_arguments_are_named() {
    for option in ["--bogus", "-x", "--Psi", "--ps", "--verbose ", "-E", "-0", "---psi"] {
        assert_refused(&[option], &format!("{option}: unknown option, see --help"));
    }
    assert_refused(&["-Vx"], "-x: unknown option, see --help");
    assert_refused(&["--bogus=3"], "--bogus: unknown option, see --help");
    for positional in ["extra", "-", "", "10%"] {
        assert_refused(&[positional], &format!("\"{positional}\": unexpected argument, see --help"));
        assert_refused(&["--", positional], &format!("\"{positional}\": unexpected argument, see --help"));
    }
    assert_refused(&["--", "-V"], "\"-V\": unexpected argument, see --help");
    // The first mistake is the one that is told.
    assert_refused(&["-x", "--psi", "0", "extra"], "-x: unknown option, see --help");
}

#[test]
fn what_is_not_text_is_escaped() {
    let bytes = |bytes: &[u8]| OsString::from(OsStr::from_bytes(bytes));
    let percentage = "not a percentage above 0 and up to 100";
    assert_refused(&[bytes(b"--psi"), bytes(b"2\xff")], &format!(r#"--psi "2\xff": {percentage}"#));
    assert_refused(&[bytes(b"--psi=\xff5")], &format!(r#"--psi "\xff5": {percentage}"#));
    assert_refused(&[bytes(b"-p\xc3\x28")], &format!(r#"--psi "\xc3(": {percentage}"#));
    assert_refused(&["-p5\n\x1b[31m\"\\"], &format!(r#"--psi "5\x0a\x1b[31m\"\\": {percentage}"#));
    assert_refused(&[bytes(b"\xfe")], r#""\xfe": unexpected argument, see --help"#);
    assert_refused(&["--a\nb"], r"--a\x0ab: unknown option, see --help");
    assert_refused(&["-é"], r"-\xc3\xa9: unknown option, see --help");
    // Names of options are text to the parser: what is none is U+FFFD.
    assert_refused(&[bytes(b"--ps\xff")], r"--ps\xef\xbf\xbd: unknown option, see --help");
    assert_refused(&[bytes(b"-\xff")], r"-\xef\xbf\xbd: unknown option, see --help");
}

/// However long and odd a value is, its line says what is wrong with it.
#[test]
fn long_values_leave_room_for_the_reason() {
    let refusal = |args: &[OsString]| {
        let output = bustd_once(&Tree::new()).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_eq!(said.matches('\n').count(), 1, "{said}");
        said
    };
    for byte in [b'x', b'"', 0xff] {
        for len in [40, 41, 160, 161, 1000, 16_000] {
            let long = OsString::from(OsStr::from_bytes(&vec![byte; len]));
            let said = refusal(&["--psi".into(), long.clone()]);
            assert!(said.starts_with("bustd: --psi \""), "{said}");
            let dots = if len > 160 || byte == 0xff && len > 40 { "..." } else { "" };
            assert!(said.ends_with(&format!("\"{dots}: not a percentage above 0 and up to 100\n")), "{said}");
            assert!(refusal(&[long]).ends_with(": unexpected argument, see --help\n"));
        }
    }
    // More than there is room for: still a line, not a crash.
    let said = refusal(&vec!["extra".into(); 100_000]);
    assert_eq!(said, "bustd: the command line is too long\n");
    let said = refusal(&["--psi".into(), "9".repeat(125_000).into()]);
    assert!(said.ends_with("9\"...: not a percentage above 0 and up to 100\n"), "{said}");
}

#[test]
fn a_refused_line_starts_nothing() {
    let tree = Tree::new();
    let pidfile = tree.path().join("bustd.pid");
    let mut bustd = bustd_once(&tree);
    let bustd = bustd.arg("--pidfile").arg(&pidfile).args(["--psi", "0"]);
    assert_ends(bustd, 2, "bustd: --psi \"0\": not a percentage above 0 and up to 100\n");
    assert!(!pidfile.exists());
}

// ---------------------------------------------------------------- taken

/// Asserts what a decision over [`low_tree`] starts with.
#[track_caller]
fn assert_decides(args: &[&str], expected: &str) {
    let Output { status, stderr, .. } = bustd_once(&low_tree()).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&stderr);
    let expected = format!("bustd: {expected}");
    assert!(status.success() && said.starts_with(&expected), "{args:?}\n- {expected}…\n+ {said}");
}

/// 100000 kB are available of the 4000000 that can be won.
#[test]
fn limits_take_percentages_and_sizes() {
    let mem_limit = |mem: &[&str], limit: &str| {
        let any_swap = [mem, &["-s", "100"]].concat();
        assert_decides(&any_swap, &format!("exhaustion: 97 MiB available, limit {limit}; 488 MiB swap free"));
    };
    // At or below KILL: half of TERM, unless it is given.
    for ten_and_five in [
        &["-m", "10"][..],
        &["-m10%"],
        &["-m=10"],
        &["--mem", "10%,5%"],
        &["--mem=10.00,5"],
        &["-m", "400000K"],
        &["-m", "400000k,200000k"],
    ] {
        mem_limit(ten_and_five, "195 MiB");
    }
    mem_limit(&["-m", "1G"], "512 MiB");
    mem_limit(&["-m", "512M,256m"], "256 MiB");
    // Only at or below TERM.
    mem_limit(&["-m", "10,2%"], "390 MiB");
    mem_limit(&["-m", "100,0"], "3906 MiB");
    mem_limit(&["-m", "2.5%"], "97 MiB");
    mem_limit(&["-m", "2g,0K"], "2048 MiB");
    mem_limit(&["-m", "1125899906842623K,0K"], "1073741823.9 GiB");
    let low = "memory is low: 97 MiB available of 3906 MiB, 488 MiB swap free, stalled 50%\n";
    assert_decides(&["-m", "2.49%", "-s", "100", "-p", "100"], low);
}

/// Half of the 1000000 kB of swap are free.
#[test]
fn swap_limits_reach_from_never_to_always() {
    let low = "memory is low: ";
    for never in [&["-s", "0"][..], &["-s0,0"], &["--swap=49.99"], &["-s", "499999K"]] {
        assert_decides(&[never, &["-p", "100"]].concat(), low);
    }
    for (reached, limit) in
        [("50", "488 MiB"), ("50%,1%", "488 MiB"), ("100,0", "976 MiB"), ("2G,1M", "2048 MiB")]
    {
        let expected =
            format!("exhaustion: 97 MiB available, limit 390 MiB; 488 MiB swap free, limit {limit}");
        assert_decides(&["-s", reached, "-m10,0"], &expected);
    }
}

#[test]
fn options_combine_as_usual() {
    for (args, limit) in [
        (&["-p", "12.5"][..], "12.5%"),
        (&["-p12"], "12%"),
        (&["-p=12"], "12%"),
        (&["-p", "50"], "50%"),
        (&["-Vnp", "30"], "30%"),
        (&["-Vgnp30"], "30%"),
        (&["--psi=30"], "30%"),
        (&["--psi", "30%"], "30%"),
        (&["--psi=0.01", "--verbose", "--dry-run", "--kill-pgroup", "--no-daemon"], "0.01%"),
        (&["--grace=60000", "--log", "stderr"], "25%"),
        (&["-u", "sshd|getty?|[Xx]org", "--avoid=[a|b]*", "--prefer", "-dash"], "25%"),
    ] {
        let pressure = "pressure: 97 MiB available, limit 585 MiB; stalled 50% of 10 s, limit ";
        assert_decides(args, &format!("{pressure}{limit}, but no process"));
    }
    for too_much in ["50.01", "100", "100%"] {
        assert_decides(&["--psi", too_much], "memory is low: ");
    }
}

/// Names of processes are bytes, and so are globs.
#[test]
fn globs_need_not_be_text() {
    let glob = OsStr::from_bytes(b"caf\xe9*");
    let output = bustd_once(&low_tree()).arg("--avoid").arg(glob).output().unwrap();
    assert!(output.status.success());
}

// ---------------------------------------------------------------- printed

fn printed(args: &[&str]) -> String {
    let output = bustd_once(&Tree::new()).args(args).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn help_fits_a_screen_and_names_every_option() {
    let text = printed(&["--help"]);
    assert!(text.lines().count() <= 54, "{text}");
    for line in text.lines() {
        assert!(line.len() <= 80, "{line}");
    }
    assert!(text.lines().nth(1).unwrap().contains("Without options it guards at once, in the background"));
    let words: Vec<&str> = text.split([' ', '\n', ',']).collect();
    for spec in &OPTIONS {
        assert!(words.contains(&&*format!("--{}", spec.name)), "{}", spec.name);
        if let Some(letter) = spec.letter {
            assert!(words.contains(&&*format!("-{letter}")), "{letter}");
        }
    }
    assert_eq!(printed(&["-h"]), text);
    assert_eq!(printed(&["-V", "--help", "--bogus"]), text);
}

/// Version, commit if it is known, and target.
#[test]
fn the_version_says_what_was_built() {
    let version = printed(&["--version"]);
    let build = version.strip_prefix(concat!("bustd ", env!("CARGO_PKG_VERSION"), " (")).unwrap();
    let build = build.strip_suffix(")\n").unwrap();
    let target = match build.split_once(", ") {
        Some((commit, target)) => {
            assert!(commit.len() >= 12 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{version}");
            target
        }
        None => build,
    };
    assert!(target.starts_with(std::env::consts::ARCH) && target.contains("linux"), "{version}");
}

// ---------------------------------------------------------------- the table

#[test]
fn every_option_has_one_row() {
    // The last of them: they are numbered from 0.
    assert_eq!(Opt::Version as usize + 1, OPTIONS.len());
    for (at, spec) in OPTIONS.iter().enumerate() {
        for other in &OPTIONS[..at] {
            assert!(spec.id != other.id && spec.name != other.name, "{}", spec.name);
            assert!(spec.letter.is_none() || spec.letter != other.letter, "{}", spec.name);
        }
        assert_eq!(spec.value.is_none(), spec.complete == Complete::Flag, "{}", spec.name);
        assert_eq!(spec.value.is_none(), spec.sample.is_empty(), "{}", spec.name);
        assert!(Group::ALL.contains(&spec.group), "{}", spec.name);
        assert!(!spec.help.is_empty() && spec.detail.ends_with('.'), "{}", spec.name);
    }
}

/// The parser takes each option as its row says, by name and by letter, and
/// refuses a value where none belongs.
#[test]
fn the_parser_takes_every_row() {
    let tree = low_tree();
    let run = |spec: &OptionSpec, given: &[&str]| {
        let mut bustd = Command::new(BUSTD);
        if spec.id != Opt::Root {
            bustd.arg("--root").arg(tree.path());
        }
        if spec.id != Opt::Once {
            bustd.arg("--once");
        }
        if spec.id == Opt::Json {
            bustd.arg("--status");
        }
        bustd.args(given).output().unwrap()
    };
    for spec in &OPTIONS {
        let letter = spec.letter.map(|letter| format!("-{letter}"));
        for spelling in [Some(format!("--{}", spec.name)), letter].into_iter().flatten() {
            let value = spec.value.map(|_| spec.sample);
            let given: Vec<&str> = [&*spelling].into_iter().chain(value).collect();
            let output = run(spec, &given);
            if spec.id == Opt::Watch {
                // With --status it would not end.
                assert_eq!(output.stderr, b"bustd: --watch: only with --status\n");
                continue;
            }
            // Taken, but not what they belong to.
            let lacks = match (spec.group, spec.id) {
                (Group::Command, _) => format!("bustd: --{}: only with COMMAND\n", spec.name),
                (_, Opt::Rules) => "bustd: --once: not with --rules, which take their time\n".to_owned(),
                (Group::Rules, _) => format!("bustd: --{}: only with --rules\n", spec.name),
                _ => String::new(),
            };
            if !lacks.is_empty() {
                assert_eq!(String::from_utf8_lossy(&output.stderr), lacks);
                continue;
            }
            assert_ne!(output.status.code(), Some(2), "{given:?}: {output:?}");
            assert!(output.status.code().is_some(), "{given:?}: {output:?}");
            if value.is_none() {
                let output = run(spec, &[&format!("{spelling}=x")]);
                let said = String::from_utf8_lossy(&output.stderr);
                assert_eq!(said, format!("bustd: --{} \"x\": takes no value\n", spec.name));
                assert_eq!(output.status.code(), Some(2));
            }
        }
    }
}

/// A file that the build script rendered beside the program.
fn rendered(path: &str) -> PathBuf {
    Path::new(BUSTD).with_file_name("share").join(path)
}

#[test]
fn completions_know_every_option() {
    for (path, letter_sign, name_sign) in [
        ("bash-completion/completions/bustd", "-", "--"),
        ("zsh/site-functions/_bustd", "-", "--"),
        ("fish/vendor_completions.d/bustd.fish", "-s ", "-l "),
    ] {
        let text = fs::read_to_string(rendered(path)).unwrap();
        let is_whole = |word: &str| {
            let ends = |at: usize| {
                text[at + word.len()..].starts_with([' ', '\'', '|', '=', '[', '}', ')', '+', ','])
            };
            text.match_indices(word).any(|(at, _)| ends(at))
        };
        for spec in &OPTIONS {
            assert!(is_whole(&format!("{name_sign}{}", spec.name)), "{path}: --{}", spec.name);
            if let Some(letter) = spec.letter {
                assert!(is_whole(&format!("{letter_sign}{letter}")), "{path}: -{letter}");
            }
        }
    }
}

/// Runs a program that checks a rendered file; `None` where there is none.
fn check_with(program: &str, args: &[&str], path: &str) -> Option<Output> {
    match Command::new(program).args(args).arg(rendered(path)).env("MANWIDTH", "80").output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("skipped: there is no {program}(1)");
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

#[test]
fn completions_are_sound_shell() {
    for (shell, path) in [
        ("bash", "bash-completion/completions/bustd"),
        ("zsh", "zsh/site-functions/_bustd"),
        ("fish", "fish/vendor_completions.d/bustd.fish"),
    ] {
        if let Some(output) = check_with(shell, &["-n"], path) {
            assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        }
    }
}

/// What bash would offer for a line, asked of the rendered function.
#[test]
fn bash_completes_names_and_values() {
    let offered = |words: &[&str]| {
        let script = "source \"$0\"; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _bustd; \
                      printf '%s\\n' \"${COMPREPLY[@]}\"";
        let mut bash = Command::new("bash");
        bash.args(["-c", script]).arg(rendered("bash-completion/completions/bustd")).args(words);
        String::from_utf8(bash.output().unwrap().stdout).unwrap()
    };
    if Command::new("bash").arg("--version").output().is_err() {
        println!("skipped: there is no bash(1)");
        return;
    }
    assert_eq!(offered(&["bustd", "--un"]), "--unkillables\n");
    assert_eq!(offered(&["bustd", "--log", ""]), "stderr\nkmsg\nsyslog\nfile:/\n");
    assert_eq!(offered(&["bustd", "--log", "=", "k"]), "kmsg\n");
    assert_eq!(offered(&["bustd", "--oom", "1", "se"]), "self\n");
    assert_eq!(offered(&["bustd", "-p", "-"]), "\n");
}

#[test]
fn the_manual_renders() {
    let page = "man/man8/bustd.8";
    let Some(output) =
        check_with("man", &["--warnings", "-l"], page).or_else(|| check_with("mandoc", &[], page))
    else {
        return;
    };
    assert!(output.status.success(), "{output:?}");
    if output.stdout.is_empty() {
        println!("skipped: man(1) is here without a formatter");
        return;
    }
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    for section in [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "OPTIONS",
        "SIGNALS",
        "EXIT STATUS",
        "FILES",
        "EXAMPLES",
        "SEE ALSO",
    ] {
        assert!(text.lines().any(|line| line.trim_end() == section), "{section}: {text}");
    }
    for spec in &OPTIONS {
        // Hyphens may be typeset as others.
        assert!(text.replace(['‐', '−'], "-").contains(&format!("--{}", spec.name)), "{}", spec.name);
    }
}

// ---------------------------------------------------------------- cannot start

#[test]
fn a_root_without_proc_is_an_error() {
    let tree = Tree::new();
    tree.write("empty/file", "");
    tree.write("odd/proc", "");
    for (root, why) in [
        ("nowhere", "no such file or directory"),
        ("empty", "no such file or directory"),
        ("empty/file", "not a directory"),
        ("odd", "not a directory"),
    ] {
        let mut bustd = Command::new(BUSTD);
        let bustd = bustd.current_dir(tree.path()).args(["--once", "--root", root]);
        assert_ends(bustd, 1, &format!("bustd: cannot open proc below \"{root}\": {why}\n"));
    }
}

#[test]
fn relative_roots_are_taken() {
    let tree = low_tree();
    let output =
        Command::new(BUSTD).current_dir(tree.path()).args(["--once", "--root", "."]).output().unwrap();
    assert!(output.status.success() && output.stderr.starts_with(b"bustd: pressure: "));
}

/// As under an init that gives its children no standard streams.
#[test]
fn closed_streams_do_no_harm() {
    let tree = low_tree();
    let end_of = |redirections: &str, args: &[&str]| {
        let script = format!("exec \"$0\" --root \"$1\" --once --log stderr \"$2\" {redirections}");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script, BUSTD]).arg(tree.path()).args(args);
        shell.output().unwrap()
    };
    for redirections in ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"] {
        for (arg, status) in [("--dry-run", 0), ("--help", 0), ("--version", 0), ("--psi=0", 2)] {
            let output = end_of(redirections, &[arg]);
            assert_eq!(output.status.code(), Some(status), "{arg} {redirections}: {output:?}");
        }
    }
    let said = |redirections| String::from_utf8(end_of(redirections, &["--dry-run"]).stderr).unwrap();
    assert!(said("<&- >&-").starts_with("bustd: pressure: "));
    // What it opens itself does not take a stream's place and get its lines.
    assert_eq!(said("2>&-"), "");
}

/// The README shows what `--help` prints.
#[test]
fn the_readme_shows_the_help() {
    let output = Command::new(BUSTD).arg("--help").output().unwrap();
    let readme = include_str!("../README.md");
    let (_, rest) = readme.split_once("<!-- help -->\n```\n").expect("the help's place");
    let (shown, _) = rest.split_once("```\n<!-- /help -->").expect("its end");
    assert_eq!(shown, String::from_utf8(output.stdout).unwrap());
}

/// Each command line in the README is one that is taken. What it names need not be here.
#[test]
fn the_readme_recipes_are_taken() {
    let readme = include_str!("../README.md");
    let mut tried = 0;
    for line in readme.lines().filter_map(|line| line.strip_prefix("    ")) {
        let mut command = Command::new(BUSTD);
        if let Some((_, words)) = line.split_once("[\"/bustd\"") {
            let words: Vec<String> = serde_json::from_str(&format!("[\"--check\"{words}")).unwrap();
            // A question takes no COMMAND.
            command.args(words.iter().take_while(|word| *word != "--"));
        } else if let Some(words) = line.strip_prefix("bustd -") {
            // A shell takes the quotes away.
            let script = format!("exec \"$0\" --check -{words}");
            command = Command::new("sh");
            command.args(["-c", &script, BUSTD]);
        } else {
            continue;
        }
        let output = command.output().unwrap();
        let refused = output.status.code() == Some(2);
        let said = String::from_utf8_lossy(&output.stderr);
        let is_absent =
            said.ends_with(": not an executable file\n") || said.ends_with(": no such file or directory\n");
        assert!(!refused || is_absent, "{line}: {output:?}");
        tried += 1;
    }
    assert!(tried >= 9, "{tried} recipes");
}
