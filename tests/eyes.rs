//! `--status`, `--oom` and `--check` over captured trees: what they print, to
//! the byte, and that it stays what it is whatever processes are called.

mod terminal;
mod tree;

use serde_json::Value;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};
use terminal::terminal;
use tree::{Process, Tree};

const BUSTD: &str = env!("CARGO_BIN_EXE_bustd");

fn run(tree: &Tree, args: &[&str]) -> Output {
    Command::new(BUSTD).arg("--root").arg(tree.path()).args(args).output().unwrap()
}

/// What a run that ended with `status` wrote to standard output, and nothing
/// to standard error.
#[track_caller]
fn told(tree: &Tree, args: &[&str], status: i32) -> String {
    let output = run(tree, args);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
    assert_eq!(output.status.code(), Some(status), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Asserts the whole of it; where lines differ, those are what is seen.
#[track_caller]
fn assert_told(tree: &Tree, args: &[&str], status: i32, expected: &str) {
    let told = told(tree, args, status);
    assert!(told == expected, "{args:?}\n--- expected\n{expected}--- told\n{told}");
}

/// A machine of 4 GiB with half of its swap free, a fifth stalled.
fn busy_tree() -> Tree {
    let tree = Tree::new();
    let meminfo = "MemTotal: 4096000 kB\nMemFree: 512000 kB\nMemAvailable: 2048000 kB\n\
                   AnonPages: 2048000 kB\nSwapTotal: 1024000 kB\nSwapFree: 512000 kB\n";
    tree.write("proc/meminfo", meminfo);
    let pressure = "some avg10=5.00 avg60=2.50 avg300=0.12 total=1000000\n\
                    full avg10=1.00 avg60=0.50 avg300=0.00 total=500000\n";
    tree.write("proc/pressure/memory", pressure);
    tree.write("proc/sys/vm/overcommit_memory", "1\n");
    for (pid, comm, anon_kib, oom_score_adj) in [
        (100, &b"leak"[..], 1_024_000, 0),
        (200, b"browser", 819_200, 300),
        (300, b"webserver", 204_800, 0),
        (400, b"database", 614_400, -100),
        (500, b"editor", 409_600, 0),
        (501, b"editor", 409_600, 0),
        (600, b"sshd", 204_800, -1000),
        (700, b"small", 100, 0),
    ] {
        let comm = comm.to_vec();
        tree.add(&Process { pid, comm, anon_kib, oom_score_adj, ..Process::default() });
    }
    tree
}

/// As a member of a container sees it that may not look at others.
fn add_oom_score(tree: &Tree, pid: u32, score: &str) {
    tree.write(&format!("proc/{pid}/oom_score"), score);
}

// ---------------------------------------------------------------- --status

#[test]
fn the_status_of_a_busy_machine() {
    let policy = ["--status", "--prefer", "web*", "--avoid", "leak", "--verbose"];
    assert_told(
        &busy_tree(),
        &policy,
        0,
        "\
memory     total      free     avail      term   to_term      kill   to_kill
ram     4000 MiB   500 MiB  2000 MiB   400 MiB  1600 MiB   200 MiB  1800 MiB
swap    1000 MiB   500 MiB   500 MiB   100 MiB   400 MiB    50 MiB   450 MiB
scope   machine          our cgroup cannot be seen

psi     avg10  avg60 avg300  500ms  limit to_limit     below
some       5%   2.5%  0.12%      -    25%      20%   600 MiB
full       1%   0.5%     0%      -    25%      24%   200 MiB
SIGTERM at term, SIGKILL at kill, of both; stalls count while avail <= below.

plan    nearest_rule    trigger_ms can_lock can_kill can_free daemon  kills
guard   exhaustion               -       no      yes       no      -      -

    pid    uid  freeable     score    adj  comm             why
    200   1000   800 MiB  1040 MiB    300  browser          freeable +30%
    300   1000   200 MiB   800 MiB      0  webserver        freeable x4
    501   1000   400 MiB   400 MiB      0  editor           freeable, younger
    500   1000   400 MiB   400 MiB      0  editor           freeable
    100   1000  1000 MiB   250 MiB      0  leak             freeable /4
    400   1000   600 MiB   200 MiB   -100  database         freeable -10% RAM
",
    );
}

const GLANCE: &str = "\
memory   [##############...........TK.] 2000 MiB available of 4000 MiB
         SIGTERM (T) at 400 MiB, SIGKILL (K) at 200 MiB; 1600 MiB to go
swap     [##############...........TK.] 500 MiB free of 1000 MiB
         SIGTERM (T) at 100 MiB, SIGKILL (K) at 50 MiB; 400 MiB to go
         signals are sent where memory and swap are both so low
stall    some tasks 5% of 10 s, limit 25%, counts at 600 MiB available
         all tasks 1% of 10 s, limit 25%, counts at 200 MiB available
nearest  rule exhaustion
guard    none holds a pidfile

    pid    uid  freeable     score    adj  comm             why
    200   1000   800 MiB  1040 MiB    300  browser          freeable +30%
    100   1000  1000 MiB  1000 MiB      0  leak             freeable
    501   1000   400 MiB   400 MiB      0  editor           freeable, younger
    500   1000   400 MiB   400 MiB      0  editor           freeable
    400   1000   600 MiB   200 MiB   -100  database         freeable -10% RAM
    300   1000   200 MiB   200 MiB      0  webserver        freeable
";

#[test]
fn the_same_at_a_glance() {
    assert_told(&busy_tree(), &["--status"], 0, GLANCE);
}

/// However small, large or odd the machine, there is a T before a K in each bar, and
/// nothing is wider than a screen.
#[test]
fn bars_hold_both_limits_whatever_the_numbers_are() {
    let tree = Tree::new();
    for (total, available, limits) in [
        (1_u64, 1_u64, "10%"),
        (1, 0, "100%,100%"),
        (32_768, 1_000, "1K,1K"),
        (1 << 30, 1 << 29, "2G,1G"),
        (1 << 40, 1 << 10, "4T,0K"),
        (1 << 42, (1 << 42) - 1, "100%,0"),
        (4_000_000, 9_000_000, "1%,0%"),
        (0, 0, "5%"),
    ] {
        let swap = total / 2;
        tree.write(
            "proc/meminfo",
            format!(
                "MemTotal: {total} kB\nMemAvailable: {available} kB\nSwapTotal: {total} kB\nSwapFree: {swap} kB\n"
            ),
        );
        let screen = told(&tree, &["--status", "--mem", limits, "--swap", limits], 0);
        let bars: Vec<_> = screen.lines().filter(|line| line.contains('[')).collect();
        assert_eq!(bars.len(), if total > 0 { 2 } else { 1 }, "{screen}");
        for bar in bars {
            let cells = bar.split(['[', ']']).nth(1).unwrap();
            assert_eq!(cells.len(), 28, "{screen}");
            let at = |letter| cells.find(letter);
            // Where both are the same amount there is room for one.
            assert!(
                at('T').is_some() && at('K').is_none_or(|kill| at('T') < Some(kill)),
                "{limits}\n{screen}"
            );
        }
        assert!(screen.lines().all(|line| line.len() <= 80), "{screen}");
    }
}

#[test]
fn every_word_on_it_is_explained() {
    let manual = std::path::Path::new(BUSTD).with_file_name("share/man/man8/bustd.8");
    let manual = std::fs::read_to_string(manual).unwrap();
    let words = |text: &str| -> Vec<String> {
        text.replace("\\-", "-")
            .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
            .map(str::to_owned)
            .collect()
    };
    let known = words(&manual);
    let names = ["browser", "leak", "editor", "webserver", "database", "MiB", "TK"];
    for word in words(GLANCE) {
        let is_one = word.len() > 1 && !word.starts_with(|letter: char| letter.is_ascii_digit());
        assert!(!is_one || names.contains(&&*word) || known.contains(&word), "{word}");
    }
}

/// Shown again and again: one after the other, until nobody reads.
#[test]
fn a_status_is_repeated_for_pipes_and_programs() {
    for args in [&["--status", "--watch", "1"][..], &["--status", "--watch=1", "--json"]] {
        let tree = busy_tree();
        let once = told(
            &tree,
            &args
                .iter()
                .filter(|arg| !arg.starts_with("--watch") && **arg != "1")
                .copied()
                .collect::<Vec<_>>(),
            0,
        );
        let mut bustd = Command::new(BUSTD);
        bustd.arg("--root").arg(tree.path()).args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = bustd.spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut text = vec![0; (once.len() + 1) * 2];
        out.read_exact(&mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), format!("{once}\n{once}\n"));
        drop(out);
        assert_eq!(child.wait().unwrap().code(), Some(1));
    }
}

/// What a terminal shows that is written to until `key` is pressed, and how it ended.
fn watched(through: &[&str], term: &str, key: &[u8]) -> (String, Option<i32>) {
    let tree = busy_tree();
    let (mut master, slave) = terminal();
    let mut bustd = Command::new("setsid");
    bustd.args(["--ctty", "--wait"]).args(through).args([BUSTD, "--root"]).arg(tree.path());
    bustd.args(["--status", "--watch", "1"]);
    bustd.env("TERM", term).env("NO_COLOR", "1");
    bustd.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap());
    let settings = || {
        // SAFETY: all zero are valid settings, which are then written to.
        unsafe {
            let mut settings: libc::termios = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(slave.as_raw_fd(), &mut settings), 0);
            settings.c_lflag
        }
    };
    let before = settings();
    let mut child = bustd.spawn().unwrap();
    drop(bustd);
    let (mut told, mut buf) = (Vec::new(), [0; 4096]);
    // Until the last line of the second is whole.
    while !String::from_utf8_lossy(&told).split("webserver").nth(2).is_some_and(|rest| rest.contains('\n')) {
        let mut polled = libc::pollfd { fd: master.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one of them, of ours.
        assert_eq!(unsafe { libc::poll(&mut polled, 1, 20_000) }, 1, "it tells nothing more");
        let len = master.read(&mut buf).unwrap();
        told.extend_from_slice(&buf[..len]);
    }
    master.write_all(key).unwrap();
    let status = child.wait().unwrap().code();
    // It is left as it was.
    assert_eq!(settings(), before);
    (String::from_utf8(told).unwrap().replace("\r\n", "\n"), status)
}

#[test]
fn a_terminal_shows_it_in_place_until_q_or_ctrl_c() {
    for key in [b"q", b"\x03"] {
        let (told, status) = watched(&[], "xterm", key);
        assert_eq!(status, Some(0));
        let frame = GLANCE.replace('\n', "\x1b[K\n");
        assert!(told.starts_with(&format!("\x1b[H\x1b[J{frame}\x1b[J\x1b[H{frame}")), "{told:?}");
    }
}

/// Where our process group is of another pid namespace, it has no number here.
#[test]
fn it_ends_at_q_in_a_pid_namespace_of_its_own() {
    let (_, status) = watched(&["unshare", "--user", "--map-root-user", "--pid", "--fork"], "xterm", b"q");
    assert_eq!(status, Some(0));
}

#[test]
fn a_dumb_terminal_gets_text_alone() {
    let (told, status) = watched(&[], "dumb", b"q");
    assert_eq!(status, Some(0));
    assert!(told.starts_with(&format!("{GLANCE}\n{GLANCE}")) && !told.contains('\x1b'), "{told:?}");
}

#[test]
fn the_same_facts_for_programs() {
    let json = told(&busy_tree(), &["--status", "--json", "--avoid", "leak"], 0);
    let status: Value = serde_json::from_str(&json).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    // In no order of their own.
    assert_eq!(keys(&status), "candidates full guard ram scope some swap");
    for part in ["ram", "swap"] {
        assert_eq!(
            keys(&status[part]),
            "avail_kib free_kib kill_kib term_kib to_kill_kib to_term_kib total_kib"
        );
    }
    for part in ["some", "full"] {
        assert_eq!(
            keys(&status[part]),
            "500ms_bp avg10_bp avg300_bp avg60_bp below_kib limit_bp to_limit_bp"
        );
    }
    assert_eq!(keys(&status["guard"]), "can_free can_kill can_lock daemon kills nearest_rule trigger_ms");
    assert_eq!(status["ram"]["to_term_kib"], 2_048_000 - 409_600);
    assert_eq!(status["some"]["avg60_bp"], 250);
    assert_eq!(status["some"]["500ms_bp"], Value::Null);
    assert_eq!(status["guard"]["can_lock"], false);
    assert_eq!(status["guard"]["nearest_rule"], "exhaustion");
    let candidates = status["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 6);
    assert_eq!(keys(&candidates[0]), "adj comm freeable_kib pid score_kib uid why");
    let last = candidates.iter().find(|one| one["comm"] == "database").unwrap();
    assert_eq!(
        (&last["pid"], &last["adj"], &last["freeable_kib"]),
        (&400.into(), &(-100).into(), &614_400.into())
    );
    assert_eq!(last["why"], "freeable -10% RAM");
}

#[test]
fn a_rule_that_is_half_way_there_is_the_nearest() {
    let tree = busy_tree();
    let nearest = |tree: &Tree| {
        let status: Value = serde_json::from_str(&told(tree, &["--status", "--json"], 0)).unwrap();
        status["guard"]["nearest_rule"].as_str().unwrap().to_owned()
    };
    let stall = |some: &str, full: &str| {
        let text = format!(
            "some avg10={some} avg60=0.00 avg300=0.00 total=1\nfull avg10={full} avg60=0.00 avg300=0.00 total=1\n"
        );
        tree.write("proc/pressure/memory", text);
    };
    for (some, full, rule) in [
        ("12.49", "12.00", "exhaustion"),
        ("12.50", "12.00", "pressure"),
        ("60.00", "12.49", "pressure"),
        ("60.00", "12.50", "floor"),
    ] {
        stall(some, full);
        assert_eq!(nearest(&tree), rule, "{some} {full}");
    }
}

/// A container: no PSI, no swap, nobody but itself.
#[test]
fn where_nothing_is_known_it_says_so() {
    let tree = Tree::new();
    tree.write("proc/meminfo", "MemTotal: 320000 kB\nMemFree: 100000 kB\nMemAvailable: 200000 kB\n");
    assert_told(
        &tree,
        &["--status", "--verbose"],
        0,
        "\
memory     total      free     avail      term   to_term      kill   to_kill
ram      312 MiB    97 MiB   195 MiB    19 MiB   175 MiB 10000 KiB   185 MiB
swap       0 KiB     0 KiB     0 KiB     0 KiB     0 KiB     0 KiB     0 KiB
scope   machine          our cgroup cannot be seen

psi     avg10  avg60 avg300  500ms  limit to_limit     below
some        -      -      -      -    25%      25%    29 MiB
full        -      -      -      -    25%      25% 10000 KiB
SIGTERM at term, SIGKILL at kill, of both; stalls count while avail <= below.

plan    nearest_rule    trigger_ms can_lock can_kill can_free daemon  kills
guard   exhaustion               -       no      yes       no      -      -

    pid    uid  freeable     score    adj  comm             why
nobody: no process that can be killed has enough to help
",
    );
    assert_told(
        &tree,
        &["--status"],
        0,
        "\
memory   [##########................TK] 195 MiB available of 312 MiB
         SIGTERM (T) at 19 MiB, SIGKILL (K) at 10000 KiB; 175 MiB to go
swap     none
stall    some tasks not known, limit 25%, counts at 29 MiB available
         all tasks not known, limit 25%, counts at 10000 KiB available
nearest  rule exhaustion
guard    none holds a pidfile

    pid    uid  freeable     score    adj  comm             why
nobody: no process that can be killed has enough to help
",
    );
    let status: Value = serde_json::from_str(&told(&tree, &["--status", "--json"], 0)).unwrap();
    assert_eq!(status["candidates"], Value::Array(Vec::new()));
    assert_eq!(status["full"]["avg10_bp"], Value::Null);

    let output = run(&Tree::new(), &["--status"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "bustd: cannot read memory\n");
}

/// What comes out of a terminal that is standard output, and NO_COLOR that.
fn told_to_terminal(tree: &Tree, args: &[&str], no_color: Option<&str>) -> String {
    let (mut master, slave) = terminal();
    let mut bustd = Command::new(BUSTD);
    bustd.arg("--root").arg(tree.path()).args(args).stdout(slave).env_remove("NO_COLOR").env("TERM", "xterm");
    if let Some(value) = no_color {
        bustd.env("NO_COLOR", value);
    }
    assert!(bustd.status().unwrap().success());
    // Our own copy of the other end, without which reading comes to an end.
    drop(bustd);
    let mut told = Vec::new();
    // The end of a terminal is an error (EIO), behind all that was written.
    let _ = master.read_to_end(&mut told);
    String::from_utf8(told).unwrap().replace("\r\n", "\n")
}

#[test]
fn headings_are_bold_on_a_terminal_unless_no_color_is_set() {
    let tree = busy_tree();
    let plain = told(&tree, &["--status"], 0);
    let bold = told_to_terminal(&tree, &["--status"], None);
    assert_eq!(bold.matches("\x1b[1m").count(), 6, "{bold:?}");
    assert!(bold.starts_with("\x1b[1mmemory\x1b[m   [###"), "{bold:?}");
    assert_eq!(bold.replace("\x1b[1m", "").replace("\x1b[m", ""), plain);
    let tables = told_to_terminal(&tree, &["--status", "-V"], None);
    assert_eq!(tables.matches("\x1b[1m").count(), 4, "{tables:?}");
    assert!(tables.starts_with("\x1b[1mmemory ") && tables.contains("to_kill\x1b[m\nram "), "{tables:?}");
    assert_eq!(told_to_terminal(&tree, &["--status"], Some("1")), plain);
    // Set to nothing is not set.
    assert_eq!(told_to_terminal(&tree, &["--status"], Some("")), bold);
    let json = told(&tree, &["--status", "--json"], 0);
    assert_eq!(told_to_terminal(&tree, &["--status", "--json"], None), json);
}

#[test]
fn hostile_names_break_neither_screen_nor_json() {
    let tree = busy_tree();
    let names: [&[u8]; 8] = [
        b"\"},{\"pid\":1,\"",
        b"\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\",
        b"\n\n\x1b[2J\x1b[31m",
        b"\xff\xfe\x80\xc3\x28\xa0\xa1\xe2\x28\xa1\xf0\x28\x8c\xbc\xff",
        b"\x01\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x7f",
        b") R 1 1 1",
        b"   ",
        b"a\tb{}%@,='|*?[",
    ];
    for (pid, name) in (1000..).zip(names) {
        tree.add(&Process { pid, comm: name.to_vec(), anon_kib: 1_000_000, ..Process::default() });
    }
    let screen = told(&tree, &["--status"], 0);
    assert!(screen.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')), "{screen:?}");
    assert!(screen.lines().count() <= 24 && screen.lines().all(|line| line.len() <= 80), "{screen}");
    // What is too wide is cut, but no escape in half.
    for (pid, cut) in [("1001", r"\\\\\\\\\\\\\\"), ("1003", r"\xff\xfe\x80"), ("1004", r"\x01\x02\x03")] {
        assert!(told(&tree, &["--oom", pid], 0).contains(&format!("  {cut}  ")), "{cut}");
    }
    let status: Value = serde_json::from_str(&told(&tree, &["--status", "--json"], 0)).unwrap();
    let comm = |pid: u32| {
        let candidates = status["candidates"].as_array().unwrap();
        let found = candidates.iter().find(|one| one["pid"] == pid).unwrap();
        found["comm"].as_str().unwrap().to_owned()
    };
    for (pid, name) in (1000..).zip(names) {
        // A byte is the character of that number.
        let expected: String = name.iter().map(|&byte| char::from(byte)).collect();
        assert_eq!(comm(pid), expected);
    }
}

#[test]
fn of_thousands_the_right_ten_are_shown() {
    let tree = Tree::new();
    tree.write("proc/meminfo", "MemTotal: 4096000 kB\nMemAvailable: 2048000 kB\nAnonPages: 2000000 kB\n");
    tree.add(&Process { pid: 2, comm: "idle".into(), anon_kib: 30_000, ..Process::default() });
    let large: Vec<u32> = (0..11).map(|nth| 37 + nth * 430).collect();
    for (nth, &pid) in (0..).zip(&large) {
        let anon_kib = 40_000 + nth * 4000;
        tree.add(&Process { pid, comm: "large".into(), anon_kib, ..Process::default() });
    }
    for pid in (3..5002).filter(|pid| !large.contains(pid)) {
        symlink("2", tree.path().join(format!("proc/{pid}"))).unwrap();
    }
    let status: Value = serde_json::from_str(&told(&tree, &["--status", "--json"], 0)).unwrap();
    let shown: Vec<_> =
        status["candidates"].as_array().unwrap().iter().map(|one| one["pid"].clone()).collect();
    let expected: Vec<Value> = large.iter().rev().take(10).map(|&pid| pid.into()).collect();
    assert_eq!(shown, expected);
}

#[test]
fn one_that_vanishes_is_passed_over() {
    let tree = busy_tree();
    tree.write("proc/900/statm", "900000 900000 0 1 0 0 0\n");
    tree.write("proc/900/oom_score_adj", "0\n");
    assert!(!told(&tree, &["--status"], 0).contains(" 900 "));
    assert!(told(&tree, &["--oom", "900"], 1).contains("no such process "));
}

// ---------------------------------------------------------------- --oom

#[test]
fn the_oom_state_of_any_process() {
    let tree = busy_tree();
    add_oom_score(&tree, 200, "812\n");
    add_oom_score(&tree, 400, "0\n");
    add_oom_score(&tree, 700, "x\n");
    let expected = "  \
overcommit         pid  comm            oom_score oom_score_adj  freeable
  always             200  browser               812           300   800 MiB
  always             400  database                0          -100   600 MiB
  always         4194304  no such process         -             -         -
  always             700  small                   -             0   100 KiB
";
    let told = told(&tree, &["--oom", "200", "400", "4194304", "700"], 1);
    assert!(told == expected, "--- expected\n{expected}--- told\n{told}");
    assert_told_ok(&tree, &["--oom", "200", "400"]);
}

#[track_caller]
fn assert_told_ok(tree: &Tree, args: &[&str]) {
    assert!(!told(tree, args, 0).is_empty());
}

#[test]
fn overcommit_has_four_names() {
    let tree = busy_tree();
    add_oom_score(&tree, 100, "1\n");
    for (mode, name) in [("0", "heuristic"), ("1", "always"), ("2", "never"), ("7", "unknown"), ("x", "-")] {
        tree.write("proc/sys/vm/overcommit_memory", format!("{mode}\n"));
        let row = told(&tree, &["--oom", "100"], 0);
        assert_eq!(row.lines().nth(1).unwrap().split_whitespace().next(), Some(name), "{row}");
    }
}

#[test]
fn self_is_whoever_asks() {
    let output = Command::new(BUSTD).args(["--oom", "self"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.lines().count() == 2, "{told}");
    assert!(told.contains(" bustd"), "{told}");
}

#[test]
fn every_row_fits_and_there_may_be_any_number() {
    let tree = busy_tree();
    let mut args = vec!["--oom"];
    args.extend(std::iter::repeat_n("300", 5000));
    let told = told(&tree, &args, 0);
    assert_eq!(told.lines().count(), 5001);
    assert!(told.lines().all(|line| line.len() <= 80));
}

// ---------------------------------------------------------------- --check

#[test]
fn patterns_are_checked_against_what_runs() {
    let tree = busy_tree();
    tree.add(&Process { pid: 2, comm: "kthreadd".into(), flags: 0x20_0000, ..Process::default() });
    for pid in 1000..1020 {
        tree.add(&Process { pid, comm: b"work\n".to_vec(), anon_kib: 10, ..Process::default() });
    }
    let args = [
        "--check",
        "--mem",
        "5000000K",
        "--prefer",
        "web*|editor|nobody|k*",
        "--avoid",
        "*",
        "--unkillables",
        "work*|averylongproce*",
    ];
    // A captured tree is listed in any order.
    let one_of_many = |line: &str, start: &str, end: &str| {
        assert!(line.starts_with(start) && line.ends_with(end) && line.contains(" and "), "{line}");
    };
    let told = told(&tree, &args, 0);
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines.len(), 9, "{told}");
    assert_eq!(lines[0], r#"--prefer "web*": 300 webserver"#);
    assert!(["500 editor, 501 editor", "501 editor, 500 editor"].iter().any(|both| lines[1].ends_with(both)));
    assert_eq!(lines[2], r#"--prefer "nobody": warning: matches nothing now"#);
    assert_eq!(lines[3], r#"--prefer "k*": warning: matches nothing now"#);
    one_of_many(lines[4], r#"--avoid "*": "#, " more; warning: matches everything");
    one_of_many(lines[5], r#"--unkillables "work*": 10"#, r" work\x0a and 17 more");
    assert_eq!(
        lines[6..],
        [
            r#"--unkillables "averylongproce*": warning: matches nothing now"#,
            "--mem: warning: above all memory",
            "sound, 5 warnings",
        ]
    );
}

#[test]
fn what_cannot_be_used_is_refused_as_at_start() {
    for args in [
        &["--check", "--prefer", "[x"][..],
        &["--psi", "0", "--check"],
        &["--check", "--on-kill", "/nowhere/true"],
    ] {
        let output = run(&Tree::new(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    assert_told(&busy_tree(), &["--check"], 0, "sound, 0 warnings\n");
}
