//! What others hear of kills: the file for Prometheus, and what `--status`
//! says of the guard that runs.

use crate::harness::{
    Eater, FORCE, FakeMeminfo, Guard, Journal, NOBODY, ONCE, PROGRAM, QUIET, bustd, in_namespace,
    in_namespace_with_users, limit_files, mount,
};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

const DIR: &str = "/run/stats";
const FILE: &str = "/run/stats/bustd.prom";
const STATS: &[&str] = &["--stats", FILE];
/// Short of memory below this, and only then.
const BELOW_8500: &[&str] = &["--no-daemon", "--mem", "8500M,1M"];
const PIDFILE: &str = "/run/guard.pid";
const LOCKED: &[&str] = &["--pidfile", PIDFILE];

/// Parses the Prometheus text format, less of it than is allowed but nothing
/// that is not: each family's HELP and TYPE, in this order, before its samples;
/// sample names with their labels, to values.
fn parse(text: &str) -> BTreeMap<String, u64> {
    let mut samples = BTreeMap::new();
    let mut family = String::new();
    let mut helped = String::new();
    assert!(text.ends_with('\n'), "{text:?}");
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("words");
            assert!(!words.is_empty());
            helped = name.to_owned();
        } else if let Some(job) = line.strip_prefix("# TYPE ") {
            let (name, job) = job.split_once(' ').expect("a type");
            assert!(["counter", "gauge"].contains(&job) && name == helped, "{line:?}");
            family = name.to_owned();
        } else {
            let (sample, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = sample.split_once('{').map_or((sample, None), |(n, l)| (n, Some(l)));
            assert_eq!(name, family, "{line:?}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line:?}");
            if let Some(labels) = labels {
                check_labels(labels.strip_suffix('}').expect("an end"));
            }
            let value = value.parse().expect("a number");
            assert_eq!(samples.insert(sample.to_owned(), value), None, "{line:?} twice");
        }
    }
    samples
}

/// `name="value",…`, a backslash in a value before `\`, `"` or `n` only.
fn check_labels(mut labels: &str) {
    while !labels.is_empty() {
        let (name, rest) = labels.split_once("=\"").expect("a label");
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase()), "{labels:?}");
        let mut bytes = rest.bytes().enumerate();
        let end = loop {
            match bytes.next().expect("a closing quote") {
                (_, b'\\') => assert!(matches!(bytes.next(), Some((_, b'\\' | b'"' | b'n'))), "{rest:?}"),
                (at, b'"') => break at,
                (_, byte) => assert!(byte != b'\n'),
            }
        };
        labels = rest[end + 1..].strip_prefix(',').unwrap_or(&rest[end + 1..]);
    }
}

fn read_stats() -> BTreeMap<String, u64> {
    parse(&fs::read_to_string(FILE).expect("the file"))
}

fn kills(rule: &str, signal: &str) -> String {
    format!("bustd_kills_total{{rule=\"{rule}\",signal=\"{signal}\"}}")
}

/// `--status --json`, as far as it tells of the guard that runs.
fn running_guard() -> (Option<u64>, Option<u64>) {
    let output = Command::new(PROGRAM).args(["--status", "--json"]).args(LOCKED).output().expect("it runs");
    assert!(output.status.success());
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let guard = &status["guard"];
    (guard["daemon"].as_u64(), guard["kills"].as_u64())
}

#[test]
fn a_kill_is_told_in_the_file_and_by_status() {
    in_namespace(|| {
        let mut journal = Journal::new();
        fs::create_dir(DIR).unwrap();
        let meminfo = FakeMeminfo::mount(9000);
        let now_s = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let before_s = now_s();
        assert_eq!(running_guard(), (None, None));
        let guard = Guard::watching(&mut journal, &[BELOW_8500, STATS, LOCKED]);
        let pid = u64::from(guard.pid().as_raw_pid().unsigned_abs());

        let mut victim = Eater::named("a\"b\\c\n\u{7f}").start(&journal);
        meminfo.set_available(8000);
        journal.expect(" died ");
        assert_eq!(victim.death(), Some(libc::SIGTERM));
        // The next line is written after the file is.
        assert!(guard.look(&mut journal).contains("kills so far: 1 (1 exhaustion), the last of "));
        let stats = read_stats();
        assert_eq!(stats.len(), 1 + 10 + 2);
        assert_eq!(stats[&kills("exhaustion", "term")], 1);
        assert_eq!(stats[&kills("exhaustion", "kill")] + stats[&kills("floor", "kill")], 0);
        let started_s = stats["bustd_start_time_seconds"];
        assert!((before_s..=now_s()).contains(&started_s));
        assert!((started_s..=now_s()).contains(&stats["bustd_last_kill_timestamp_seconds"]));
        assert_eq!(stats[r#"bustd_last_kill_info{comm="a\"b\\c\\x0a\\x7f"}"#], 1);
        assert_eq!(running_guard(), (Some(pid), Some(1)));
        // Asking takes nothing away.
        assert_eq!(running_guard(), (Some(pid), Some(1)));
        assert_eq!(fs::read_to_string(PIDFILE).unwrap(), format!("{pid}\n"));

        // As long as memory does not get less still it is left alone.
        let mut second = Eater::named("second").start(&journal);
        meminfo.set_available(7000);
        journal.expect("\"second\" died ");
        assert_eq!(second.death(), Some(libc::SIGTERM));
        assert!(guard.look(&mut journal).contains("kills so far: 2 ("));
        assert_eq!(running_guard(), (Some(pid), Some(2)));
        assert_eq!(read_stats()[&kills("exhaustion", "term")], 2);
        let files: Vec<_> = fs::read_dir(DIR).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(files, ["bustd.prom"]);

        guard.end();
        fs::write(PIDFILE, "1\n").unwrap();
        assert_eq!(running_guard(), (None, None));
    });
}

#[test]
fn a_kill_by_force_is_told_as_one() {
    in_namespace(|| {
        let journal = Journal::new();
        fs::create_dir(DIR).unwrap();
        let mut victim = Eater::named("victim").start(&journal);
        Guard::start(&journal, &[FORCE, ONCE, STATS]).finish();
        assert_eq!(victim.death(), Some(libc::SIGKILL));
        assert_eq!(read_stats()[&kills("exhaustion", "kill")], 1);
    });
}

#[test]
fn before_a_kill_there_is_none() {
    in_namespace(|| {
        let mut journal = Journal::new();
        fs::create_dir(DIR).unwrap();
        // Whose link it is, and where to, is not asked.
        std::os::unix::fs::symlink("/run/precious", format!("{FILE}.new")).unwrap();
        let guard = Guard::watching(&mut journal, &[QUIET, STATS]);
        guard.look(&mut journal);
        let stats = read_stats();
        assert_eq!(stats.len(), 1 + 10);
        assert_eq!(stats.values().filter(|&&value| value == 0).count(), 10);
        assert!(!Path::new("/run/precious").exists());
        guard.end();
    });
}

/// As on a disk with room for a part of it.
#[test]
fn half_a_file_never_takes_the_place_of_a_whole_one() {
    in_namespace(|| {
        let mut journal = Journal::new();
        fs::create_dir(DIR).unwrap();
        fs::write(FILE, "old\n").unwrap();
        let mut command = bustd(&journal, &[QUIET, STATS]);
        limit_files(&mut command, 300);
        let guard = Guard::spawn(command);
        journal.expect("bustd: --stats: cannot be written, no space left");
        journal.expect("watching");
        assert_eq!(fs::read_to_string(FILE).unwrap(), "old\n");
        guard.end();
    });
}

/// It goes on killing, and complains once until it has worked again.
#[test]
fn a_full_disk_and_a_directory_that_is_gone_are_told_once() {
    in_namespace(|| {
        let mut journal = Journal::new();
        fs::create_dir(DIR).unwrap();
        mount(&["-t", "tmpfs", "-o", "size=4k", "none", DIR]);
        fs::write(format!("{DIR}/filler"), [0; 4096]).unwrap();
        let meminfo = FakeMeminfo::mount(9000);
        let guard = Guard::watching(&mut journal, &[BELOW_8500, STATS]);
        let mut available_mib = 9000;
        let mut kill_one = |journal: &mut Journal, name: &str| {
            let mut victim = Eater::named(name).start(journal);
            // Less each time: else nobody would be killed.
            available_mib -= 1000;
            meminfo.set_available(available_mib);
            journal.expect(&format!("\"{name}\" died "));
            assert_eq!(victim.death(), Some(libc::SIGTERM));
            guard.look(journal);
        };
        kill_one(&mut journal, "first");
        let complaint = "bustd: --stats: cannot be written, no space left";
        assert_eq!((journal.count("--stats"), journal.count(complaint)), (1, 1));
        assert!(!Path::new(FILE).exists() && !Path::new("/run/stats/bustd.prom.new").exists());

        fs::remove_file(format!("{DIR}/filler")).unwrap();
        kill_one(&mut journal, "second");
        assert_eq!(read_stats()[&kills("exhaustion", "term")], 2);

        mount(&["-t", "tmpfs", "none", "/run/stats"]);
        let unmount = |path: &str| assert!(Command::new("umount").arg(path).status().unwrap().success());
        unmount(DIR);
        unmount(DIR);
        fs::remove_dir(DIR).unwrap();
        kill_one(&mut journal, "third");
        kill_one(&mut journal, "fourth");
        assert_eq!(journal.count("--stats: cannot be written, no such file or directory"), 1);
        assert_eq!(journal.count("--stats"), 2);
        guard.end();
    });
}

/// Where /proc hides other users' processes from each other.
#[test]
fn without_permission_a_row_says_so() {
    in_namespace_with_users(|| {
        mount(&["-t", "proc", "-o", "hidepid=1", "none", "/proc"]);
        let output =
            Command::new(PROGRAM).args(["--oom", "1", "self"]).uid(NOBODY).gid(NOBODY).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<_> = told.lines().collect();
        assert_eq!((output.status.code(), lines.len()), (Some(1), 3), "{told}");
        assert!(lines[1].contains(" 1  not permitted "), "{told}");
        assert!(lines[2].contains("  bustd "), "{told}");
        // Nor does the screen need to see anybody else.
        let output = Command::new(PROGRAM).arg("--status").uid(NOBODY).gid(NOBODY).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("\nguard "), "{told}");
    });
}
