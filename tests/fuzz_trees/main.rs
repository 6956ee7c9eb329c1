//! Whole trees gone wrong, through the real program: whatever the files below
//! `--root` hold or are, it says so in a line or two and ends in peace.
//!
//! A tree is a function of its number. `BUSTD_FUZZ=5000` plays so many instead
//! of [`TREES`], `BUSTD_FUZZ_FROM=17` begins with that one.

mod grow;
#[path = "../tree/mod.rs"]
mod tree;
#[path = "../processes/harness/wait.rs"]
#[allow(dead_code, reason = "what waits in the tests with processes")]
mod wait;

use grow::{Node, Nodes, grown_wild, sound};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Signal, kill_process};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{env, thread};
use tree::Tree;
use wait::{ends_within, has_begun, pid_of, within};

/// How many are played by default.
const TREES: u64 = 500;
/// `--status` waits half a second for pressure, and a guard has to be waited for:
/// every so many trees are enough.
const STATUS_EVERY: u64 = 8;
/// Everything ends in so long.
const PATIENCE: Duration = Duration::from_secs(2);

fn plant(nodes: &Nodes) -> Tree {
    let tree = Tree::new();
    for (path, node) in nodes {
        let full = tree.path().join(path);
        // A directory may be a link by now, or a file.
        if fs::create_dir_all(full.parent().expect("below the root")).is_err() {
            continue;
        }
        // What is there already stays.
        let _ = match node {
            Node::File(text) => fs::write(&full, text),
            Node::Locked(text) => fs::write(&full, text)
                .and_then(|()| fs::set_permissions(&full, fs::Permissions::from_mode(0o0))),
            Node::Directory => fs::create_dir(&full),
            Node::Fifo => mkfifo(&full),
            Node::Link(target) => symlink(target, &full),
        };
    }
    tree
}

fn mkfifo(path: &Path) -> std::io::Result<()> {
    let path = path.to_str().expect("text");
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0)
        .map_err(|errno| std::io::Error::from_raw_os_error(errno.raw_os_error()))
}

/// How a run ended, in time or not, and what it wrote.
struct Run {
    status: Option<ExitStatus>,
    out: Vec<u8>,
    err: Vec<u8>,
}

fn start(tree: &Tree, args: &[&str]) -> Child {
    let [out, err] = ["out", "err"].map(|name| File::create(tree.path().join(name)).expect("a file"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_bustd"));
    command.arg("--root").arg(tree.path()).args(args);
    let drop_capabilities = || {
        // CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, with which nothing is locked.
        // SAFETY: no pointers; who has none is refused, and that is as good.
        unsafe {
            libc::prctl(libc::PR_CAPBSET_DROP, 1, 0, 0, 0);
            libc::prctl(libc::PR_CAPBSET_DROP, 2, 0, 0, 0);
        }
        Ok(())
    };
    // SAFETY: two system calls.
    unsafe { command.pre_exec(drop_capabilities) };
    command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().expect("bustd")
}

fn finish(tree: &Tree, mut child: Child) -> Run {
    let status = ends_within(PATIENCE, &mut child);
    let [out, err] = ["out", "err"].map(|name| fs::read(tree.path().join(name)).expect("what it wrote"));
    Run { status, out, err }
}

fn run(tree: &Tree, args: &[&str]) -> Run {
    finish(tree, start(tree, args))
}

/// A guard that sees tmpfs take what there is, and so looks who writes there.
fn run_guard(tree: &Tree, mut meminfo: Vec<u8>) -> Run {
    let guard = start(tree, &GUARD);
    let pid = pid_of(&guard);
    let said = |what: &str| {
        let err = fs::read_to_string(tree.path().join("err")).unwrap_or_default();
        err.matches(what).count()
    };
    within(Duration::from_secs(2), || has_begun(pid));
    for _ in 0..2 {
        let before = said("status: ");
        let _ = kill_process(pid, Signal::USR1);
        within(Duration::from_millis(500), || said("status: ") > before);
    }
    for (from, to) in [("   300000 kB", "   150000 kB"), ("Shmem: 100000", "Shmem: 900000")] {
        if let Some(at) = meminfo.windows(from.len()).position(|window| window == from.as_bytes()) {
            meminfo[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    }
    let file = File::options().write(true).open(tree.path().join("proc/meminfo"));
    let _ = file.and_then(|file| file.write_all_at(&meminfo, 0));
    let _ = kill_process(pid, Signal::USR1);
    within(Duration::from_millis(400), || said("would kill") + said("tmpfs") > 0);
    let _ = kill_process(pid, Signal::TERM);
    let mut run = finish(tree, guard);
    // What was asked for is no complaint.
    run.err = run
        .err
        .split_inclusive(|&byte| byte == b'\n')
        .filter(|line| !line.starts_with(b"bustd: status"))
        .flatten()
        .copied()
        .collect();
    run
}

/// 300 MB are not low.
const GUARD: [&str; 5] = ["--no-daemon", "--dry-run", "--verbose", "--mem", "200M,1M"];

/// Nothing but lines of printable characters, none of them endless.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|&byte| matches!(byte, b' '..=b'~' | b'\n'))
        && (text.is_empty() || text.ends_with(b"\n"))
        && text.split(|&byte| byte == b'\n').all(|line| line.len() <= 2000)
}

/// More is no word but a story.
const MOST_LINES: usize = 4;

/// What is wrong with how it went, if anything is.
fn judge(args: &[&str], run: &Run) -> Option<String> {
    let Some(status) = run.status else { return Some(format!("does not end in {PATIENCE:?}")) };
    let lines = run.err.iter().filter(|&&byte| byte == b'\n').count();
    match status.code() {
        None => return Some(format!("died of signal {:?}", status.signal())),
        // --oom and --check may have had something to tell all the same.
        Some(1) if lines == 1 || (lines == 0 && !args.contains(&"--once") && !run.out.is_empty()) => {}
        Some(0) => {}
        Some(code) => return Some(format!("exited with {code} after {lines} lines")),
    }
    if lines > MOST_LINES {
        return Some(format!("complains in {lines} lines"));
    }
    let is_json = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).is_ok();
    if args.contains(&"--json") && status.success() && !is_json(&run.out) {
        return Some("wrote what is not JSON".to_owned());
    }
    let plain = is_plain(&run.out) && is_plain(&run.err);
    (!plain).then(|| "wrote what is not plain lines".to_owned())
}

/// Plays tree `number`; all that went wrong.
fn play(number: u64) -> Vec<String> {
    let (nodes, deeds) = grown_wild(number);
    let tree = plant(&nodes);
    let globs = ["--prefer", "name*", "--avoid", "[a-c]*|x", "--unkillables", "?ame 101"];
    let mut runs = vec![
        vec!["--once", "--dry-run"],
        [&["--once", "--dry-run", "--verbose"], &globs[..]].concat(),
        [&["--check"], &globs[..]].concat(),
        vec!["--oom", "1", "2", "100", "200", "300", "4194303", "2147483647"],
    ];
    if number.is_multiple_of(STATUS_EVERY) {
        runs.push(vec!["--status"]);
        runs.push([&["--status", "--json"], &globs[..]].concat());
    }
    let mut wrong = Vec::new();
    let mut hear = |args: &[&str], run: &Run| {
        let Some(what) = judge(args, run) else { return };
        let [out, err] = [&run.out, &run.err].map(|text| text[..text.len().min(600)].escape_ascii());
        let command = args.join(" ");
        wrong.push(format!("tree {number}, {command}: {what}\n  {deeds:?}\n  out: {out}\n  err: {err}\n"));
    };
    for args in runs {
        hear(&args, &run(&tree, &args));
    }
    if let Some(Node::File(meminfo)) = nodes.get("proc/meminfo")
        && number.is_multiple_of(STATUS_EVERY)
    {
        hear(&GUARD, &run_guard(&tree, meminfo.clone()));
    }
    wrong
}

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}?")))
}

#[test]
fn trees_gone_wrong_are_survived() {
    let from = setting("BUSTD_FUZZ_FROM", 0);
    let end = from + setting("BUSTD_FUZZ", TREES);
    let next = AtomicU64::new(from);
    // Some wait, for --status.
    let workers = thread::available_parallelism().map_or(2, usize::from) * 2;
    let wrong: Vec<String> = thread::scope(|scope| {
        let work = || {
            let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
            numbers.take_while(|&number| number < end).flat_map(play).collect::<Vec<_>>()
        };
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        running.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    });
    let shown = wrong.len().min(30);
    assert!(wrong.is_empty(), "{} went wrong:\n{}", wrong.len(), wrong[..shown].concat());
}

/// The same tree untouched, so that it is seen what the others miss.
#[test]
fn a_sound_tree_is_judged() {
    let tree = plant(&sound());
    let run = run(&tree, &["--once", "--dry-run"]);
    let err = String::from_utf8_lossy(&run.err).into_owned();
    assert!(err.starts_with("bustd: would kill pid ") && run.out.is_empty(), "{err}");
    assert_eq!(judge(&["--once"], &run), None);
    let Node::File(meminfo) = &sound()["proc/meminfo"] else { panic!("no file") };
    let guard = run_guard(&tree, meminfo.clone());
    let err = String::from_utf8_lossy(&guard.err).into_owned();
    assert!(err.contains(" went to tmpfs and nobody is writing there"), "{err}");
    assert_eq!(judge(&GUARD, &guard), None);
}
