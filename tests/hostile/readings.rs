//! What the guard is shown.

use crate::harness::{
    Eater, FakeMeminfo, Guard, Journal, PROGRAM, SCRATCH, ends_within, has_begun, in_namespace, mount,
    pid_of, skip, within,
};
use crate::tree::{Process, Tree};
use crate::{chosen, line_within};
use rustix::process::{Signal, kill_process};
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
const LOW_MEMINFO: &str = "MemTotal: 320000 kB\nMemAvailable: 20000 kB\nAnonPages: 280000 kB\n";

/// Over `tree`, where nobody can be killed.
fn over(tree: &Tree, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bustd"));
    command.arg("--root").arg(tree.path()).args(options);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// The hole: a stat line that does not fit is cut at its last newline, and where
/// that stands in the name nothing is left to parse: the process is not there.
/// Signal masks and counters make the line as long as it is here.
#[test]
fn a_newline_in_a_name_and_a_long_line_hide_nobody() {
    let mut wrong = Vec::new();
    for comm in ["a\nb", "\n", ") S 1 1\n(", "x) R 1\n2 3 4 5 6", "hog"] {
        for len in [300, 383, 384, 385, 500, 511, 512, 513, 640, 1023, 1100] {
            let tree = Tree::new();
            tree.write("proc/meminfo", LOW_MEMINFO);
            tree.add(&Process { pid: 100, comm: b"innocent".into(), anon_kib: 60_000, ..Process::default() });
            tree.add(&Process { pid: 200, comm: comm.into(), anon_kib: 180_000, ..Process::default() });
            tree.write("proc/200/stat", long_stat(comm, len));
            let output = over(&tree, &["--once", "--dry-run"]).output().expect("bustd");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if !said.contains("would kill pid 200 ") {
                wrong.push(format!("{comm:?}, {len} bytes: {said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} times:\n{}", wrong.len(), wrong.concat());
}

/// A line of 52 fields that is `len` bytes long, or as near to that as 20 digits
/// a field get.
fn long_stat(comm: &str, len: usize) -> String {
    let mut fields: Vec<String> = vec!["S", "1", "200", "200", "0", "-1", "4194304"]
        .into_iter()
        .map(str::to_owned)
        .chain((10..=52).map(|_| "0".to_owned()))
        .collect();
    // Fields 20 and 22: one thread, and the start.
    fields[17] = "1".to_owned();
    fields[19] = "1000".to_owned();
    let of = |fields: &[String]| format!("200 ({comm}) {}\n", fields.join(" "));
    // Fault and time counters first: they stand before the start.
    let growing = (7..15).chain(20..50);
    for at in growing {
        let missing = len.saturating_sub(of(&fields).len());
        fields[at] = "1".repeat((1 + missing).min(20));
    }
    of(&fields)
}

/// The hole: who is in the table of 32 has a usual size, who is not is taken to
/// have had no more than the last of them. A large process that is protected,
/// and so ranked behind 32 small ones, is then said to have grown by all it has.
#[test]
fn who_is_protected_has_not_grown_by_being_forgotten() {
    in_namespace(|| {
        let tree = Tree::new();
        let meminfo = |available_kib: u64| {
            let anon_kib = 3_800_000 - available_kib;
            let text = format!(
                "MemTotal: 4000000 kB\nMemFree: 1000 kB\nMemAvailable: {available_kib:9} kB\n\
                 AnonPages: {anon_kib:9} kB\n"
            );
            // The same length in one write: nobody reads half of it.
            let mut options = fs::File::options();
            let file = options.create(true).truncate(false).write(true);
            let file = file.open(tree.path().join("proc/meminfo")).expect("a file");
            file.write_all_at(text.as_bytes(), 0).expect("write");
        };
        let process = |pid, comm: &str, anon_kib, oom_score_adj| {
            let comm = comm.into();
            tree.add(&Process { pid, comm, anon_kib, oom_score_adj, starttime: 100, ..Process::default() });
        };
        meminfo(800_000);
        process(50, "protected", 520_000, -900);
        (100..131).for_each(|pid| process(pid, &format!("small{pid}"), 24_000, 0));
        process(200, "culprit", 24_000, 0);

        let mut journal = Journal::new();
        let root = tree.path().to_str().expect("a path");
        let options = ["--root", root, "--no-daemon", "--verbose", "--dry-run", "--mem", "400M,100M"];
        let guard = Guard::start(&journal, &[&options]);
        within(PATIENCE, || has_begun(guard.pid())).expect("it starts");
        guard.look(&mut journal);
        guard.look(&mut journal);
        process(200, "culprit", 88_000, 0);
        meminfo(400_000);
        guard.look(&mut journal);
        let line = line_within(PATIENCE, &mut journal, "would kill", "").expect("somebody is chosen");
        guard.end();
        assert!(chosen(&line).contains("\"culprit\""), "{line:?}");
    });
}

/// The hole: where sysinfo(2) tells of the host and meminfo of the container,
/// the host's plenty is taken for the container's, and nothing is read for half
/// a minute.
#[test]
fn a_container_is_not_judged_by_its_host() {
    in_namespace(|| {
        let text = |available_mib: u64| {
            let (available_kib, total_kib) = (available_mib << 10, 1 << 20);
            let free = format!("MemFree: {available_kib:8} kB\nMemAvailable: {available_kib:8} kB\n");
            let anon_kib = total_kib - available_kib - (16 << 10);
            format!("MemTotal: {total_kib} kB\n{free}AnonPages: {anon_kib:8} kB\n")
        };
        let path = format!("{SCRATCH}/meminfo");
        fs::write(&path, text(900)).expect("a file in scratch");
        mount(&["--bind", &path, "/proc/meminfo"]);
        let mut journal = Journal::new();
        let mut victim = Eater::named("victim").start(&journal);
        let guard = Guard::watching(&mut journal, &[&["--no-daemon", "--verbose"]]);
        guard.look(&mut journal);
        guard.look(&mut journal);
        let file = fs::File::options().write(true).open(&path).expect("the same file");
        file.write_all_at(text(10).as_bytes(), 0).expect("write");
        let took = within(Duration::from_secs(2), || journal.count("killing pid") > 0);
        // It may wait for as long as half a minute.
        if took.is_none() {
            guard.send(Signal::KILL);
            guard.exit();
            panic!("nothing is seen of 10 MiB being left for 2 s");
        }
        assert_eq!(victim.death(), Some(libc::SIGKILL));
        guard.end();
    });
}

/// The hole: a guard that cannot read meminfo, for one where /proc was mounted
/// with subset=pid, watches nothing and looks as if all was well.
#[test]
fn without_meminfo_there_is_no_guard() {
    in_namespace(|| {
        let mut mount = Command::new("mount");
        mount.args(["-t", "proc", "-o", "subset=pid", "proc", "/proc"]);
        let output = mount.output().expect("mount(8)");
        if !output.status.success() || fs::metadata("/proc/meminfo").is_ok() {
            return skip("/proc cannot be mounted with subset=pid here (Linux 5.8)");
        }
        let mut journal = Journal::new();
        let mut command = Command::new(PROGRAM);
        command.args(["--no-daemon", "--dry-run"]).stdin(Stdio::null()).stderr(journal.pen());
        let mut guard = command.spawn().expect("the guard starts");
        let status = ends_within(Duration::from_secs(2), &mut guard);
        let code = status.and_then(|status| status.code());
        assert_eq!((code, journal.lines().len()), (Some(1), 1), "{:#?}", journal.lines());
    });
}

const ENDLESS: [&str; 7] =
    ["meminfo", "vmstat", "swaps", "stat", "pressure/memory", "200/status", "200/stat"];

/// A tree with an endless file.
fn endless(name: &str) -> Tree {
    let tree = Tree::new();
    tree.write("proc/meminfo", format!("{LOW_MEMINFO}SwapTotal: 1000 kB\n"));
    tree.add(&Process { pid: 200, comm: b"hog".into(), anon_kib: 180_000, ..Process::default() });
    let path = tree.path().join("proc").join(name);
    let _ = fs::remove_file(&path);
    fs::create_dir_all(path.parent().expect("a directory")).unwrap();
    symlink("/dev/zero", path).unwrap();
    tree
}

/// The names of those that `misses` what it should.
fn missing(mut misses: impl FnMut(&Tree) -> bool) -> Vec<&'static str> {
    ENDLESS.into_iter().filter(|name| misses(&endless(name))).collect()
}

fn start(tree: &Tree, options: &[&str]) -> Child {
    over(tree, options).stderr(Stdio::null()).spawn().expect("bustd")
}

/// The hole: a file that is read to its end and has none is read for ever.
#[test]
fn an_endless_file_is_not_read_for_ever() {
    for option in ["--once", "--status"] {
        let endless =
            missing(|tree| ends_within(Duration::from_secs(2), &mut start(tree, &[option])).is_none());
        assert!(endless.is_empty(), "{option} does not end with {endless:?}");
    }
}

/// The hole: and while it is read no signal is heeded.
#[test]
fn an_endless_file_does_not_keep_from_heeding_a_signal() {
    let deaf = missing(|tree| {
        let mut guard = start(tree, &["--no-daemon"]);
        let pid = pid_of(&guard);
        within(PATIENCE, || has_begun(pid)).expect("it starts");
        kill_process(pid, Signal::TERM).expect("our child");
        ends_within(Duration::from_secs(2), &mut guard).is_none_or(|status| !status.success())
    });
    assert!(deaf.is_empty(), "SIGTERM is not heeded with {deaf:?}");
}

/// The same with real memory: the machine of a [`FakeMeminfo`] is larger than
/// any, and there all is seen. Nothing fails here today.
#[test]
fn a_machine_larger_than_its_sysinfo_is_watched() {
    in_namespace(|| {
        let meminfo = FakeMeminfo::mount(900_000);
        let mut journal = Journal::new();
        let options = ["--no-daemon", "--dry-run", "--mem", "512M,256M"];
        let _eater = Eater::named("eater").start(&journal);
        let guard = Guard::watching(&mut journal, &[&options]);
        meminfo.set_available(100);
        guard.send(Signal::USR1);
        line_within(PATIENCE, &mut journal, "would kill", "eater").expect("it is seen");
        guard.end();
    });
}
