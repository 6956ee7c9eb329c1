//! What if the kernel says no while rules are read again? The guard goes on, with the
//! rules that it had.

use super::acting::fixture::Machine;
use super::acting::{CONTINUE, kill, kill_by, plugin, set};
use super::{BUSTD, machine};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::Duration;

/// A child that is ended with its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            // With the guard, which would outlive a strace that is killed.
            // SAFETY: the group of a child that has not been waited for.
            unsafe { libc::kill(-self.0.id().cast_signed(), libc::SIGKILL) };
            let _ = self.0.wait();
        }
    }
}

fn spawn(command: &mut Command) -> (Ended, BufReader<ChildStderr>) {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.process_group(0).spawn().unwrap();
    let said = BufReader::new(child.stderr.take().unwrap());
    (Ended(child), said)
}

/// The next line in which there is one of these.
fn expect(said: &mut BufReader<ChildStderr>, parts: &[&str]) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "it ended before it said {parts:?}");
        if parts.iter().any(|part| line.contains(part)) {
            return line;
        }
    }
}

fn send(child: &Ended, signal: i32) {
    // SAFETY: a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(child.0.id().cast_signed(), signal) }, 0);
}

#[test]
fn what_fails_while_rules_are_read_leaves_the_old_ones() {
    const ANSWERS: [&str; 2] = ["the rules were read again", "those that were there stay"];
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: no strace(1)");
        return;
    }
    let tree = machine();
    let (file, dir) = (tree.path().join("rules.json"), tree.path().join("rules.d"));
    let rules = |action: &str| {
        format!(
            r#"{{"rulesets": [{{"name": "n", "detectors": [["g", {{"name": "stop"}}]], "actions": [{{"name": "{action}"}}]}}]}}"#
        )
    };
    fs::write(&file, rules("stop")).unwrap();
    fs::create_dir(&dir).unwrap();
    let mut guard = Command::new(BUSTD);
    guard.args(["--no-daemon", "--dry-run", "--interval", "1", "--rules"]).arg(&file);
    let (guard, mut said) = spawn(guard.arg("--rules-dir").arg(&dir));
    expect(&mut said, &["watching"]);
    let mut is_stop = true;
    for (call, error) in [
        ("openat", "EMFILE"),
        ("openat", "ENOENT"),
        ("fstat", "EIO"),
        ("read", "EIO"),
        ("mmap", "ENOMEM"),
        ("munmap", "ENOMEM"),
        ("mlock", "EPERM"),
        ("mlock2", "EPERM"),
        ("munlock", "ENOMEM"),
        ("madvise", "EINVAL"),
        ("inotify_add_watch", "ENOSPC"),
    ] {
        for when in ["1", "2", "1..2", "1+"] {
            // The signal is taken by a read.
            if call == "read" && when != "2" {
                continue;
            }
            is_stop = !is_stop;
            fs::write(&file, rules(if is_stop { "stop" } else { "continue" })).unwrap();
            let mut strace = Command::new("strace");
            strace.args(["-p", &guard.0.id().to_string(), "-o", "/dev/null"]);
            strace.args(["-e", &format!("inject={call}:error={error}:when={when}")]);
            let (tracer, mut notes) = spawn(&mut strace);
            let note = expect(&mut notes, &["attached", "ptrace", "PTRACE"]);
            if !note.contains("attached") {
                println!("skipped: {note}");
                return;
            }
            send(&guard, libc::SIGHUP);
            let answer = expect(&mut said, &ANSWERS);
            let is_vital = ["openat", "fstat", "mmap"].contains(&call) && when == "1+";
            assert!(!is_vital || answer.contains(ANSWERS[1]), "{call} {error} {when}: {answer}");
            send(&tracer, libc::SIGTERM);
            drop(tracer);
            // And it can be read the next time.
            send(&guard, libc::SIGHUP);
            let answer = expect(&mut said, &ANSWERS);
            assert!(answer.contains(ANSWERS[0]), "{call} {error} {when}: {answer}");
        }
    }
}

/// Whatever fails while rules are looked at, for once or for good, the guard goes on; and
/// where it fails for once, so do its ticks.
#[test]
fn what_fails_in_a_tick_is_not_the_end() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: no strace(1)");
        return;
    }
    // Each with so many of the call as there are at least until the second tick.
    let cases: Vec<(&str, &str, String)> = [
        ("openat", 150, &["EMFILE", "ENOMEM", "ENOENT", "EACCES"][..]),
        ("read", 150, &["EIO", "EINTR", "ENODEV"]),
        ("getdents64", 8, &["EIO", "ENOENT", "EINTR"]),
        ("fgetxattr", 12, &["EIO", "EOPNOTSUPP"]),
        ("readlinkat", 10, &["ENOENT", "EACCES"]),
    ]
    .into_iter()
    .flat_map(|(call, from, errors)| errors.iter().map(move |&error| (call, from, error)))
    .flat_map(|(call, from, error)| {
        [format!("{from}..{}", from + 3), format!("{from}+")].map(|when| (call, error, when))
    })
    .filter(|(_, error, when)| *error != "EINTR" || !when.ends_with('+'))
    .collect();
    thread::scope(|scope| {
        let running: Vec<_> = cases
            .iter()
            .map(|(call, error, when)| scope.spawn(move || outlasts(call, error, when)))
            .collect();
        for (one, case) in running.into_iter().zip(&cases) {
            if let Err(why) = one.join().unwrap() {
                panic!("{case:?}: {why}");
            }
        }
    });
    println!("{} cases", cases.len());
}

fn outlasts(call: &str, error: &str, when: &str) -> Result<(), String> {
    let machine = Machine::new();
    for name in ["s/a", "s/b", "s/b/deep", "beat"] {
        machine.sized(name, 1000);
    }
    let recursive = kill("s/*", r#""recursive": true"#);
    let pressure =
        plugin("pressure_above", r#""cgroup": "s/*", "resource": "memory", "threshold": -1, "duration": 0"#);
    let sets = [
        set("one", &[&[&pressure]], &[recursive], r#""post_action_delay": 0"#),
        set("each", &[&[CONTINUE]], &[kill_by("pg_scan", "s/*", "")], r#""cgroup": "s/*""#),
        set("beat", &[&[CONTINUE]], &[kill("beat", r#""always_continue": true"#)], ""),
    ];
    machine.tree.write("rules.json", format!("{{\"rulesets\": [{}]}}", sets.join(", ")));
    let root = machine.tree.path();
    let mut guard = Command::new("strace");
    guard
        .arg("-qqo")
        .arg(root.join("trace"))
        .arg("-e")
        .arg(format!("inject={call}:error={error}:when={when}"));
    guard.arg(BUSTD).arg("--root").arg(root).args(["--dry-run", "-n", "--no-default-rules"]);
    let (mut guard, mut said) =
        spawn(guard.args(["--interval", "1", "--rules"]).arg(root.join("rules.json")));
    if when.ends_with('+') {
        // There may be no ticks any more. It lives, and ends when it is told to.
        thread::sleep(Duration::from_secs(4));
    } else {
        for _ in 0..3 {
            expect(&mut said, &["ruleset:[beat]"]);
        }
    }
    if let Some(status) = guard.0.try_wait().unwrap() {
        return Err(format!("it ended: {status}"));
    }
    send(&guard, libc::SIGTERM);
    Ok(())
}

/// The hole: where what the worst cgroup has could not be read for once, another was killed in
/// its place.
#[test]
fn nobody_else_is_killed_where_the_worst_cannot_be_read() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: no strace(1)");
        return;
    }
    let cases: Vec<_> = ["EMFILE", "ENFILE", "ENOMEM"]
        .into_iter()
        .flat_map(|error| (1..=4).map(move |when| (error, when)))
        .collect();
    thread::scope(|scope| {
        let running: Vec<_> =
            cases.iter().map(|&(error, when)| scope.spawn(move || first_killed(error, when))).collect();
        for (one, case) in running.into_iter().zip(&cases) {
            let line = one.join().unwrap();
            assert!(line.contains("s/worst"), "{case:?}: {line}");
        }
    });
}

/// What is killed first where one opening of a `memory.current` fails.
fn first_killed(error: &str, when: u32) -> String {
    let machine = Machine::new();
    for (name, size) in [("s/a", 1 << 20), ("s/worst", 2_u64 << 30), ("s/z", 1 << 20)] {
        machine.sized(name, size);
    }
    let set = set("one", &[&[CONTINUE]], &[kill("s/*", "")], "");
    machine.tree.write("rules.json", format!("{{\"rulesets\": [{set}]}}"));
    let root = machine.tree.path();
    let mut guard = Command::new("strace");
    guard.args(["-qqo"]).arg(root.join("trace")).args(["-P", "memory.current"]);
    guard.args(["-e", &format!("inject=openat:error={error}:when={when}")]);
    guard.arg(BUSTD).arg("--root").arg(root).args(["--dry-run", "-n", "--no-default-rules"]);
    let (guard, mut said) = spawn(guard.args(["--interval", "1", "--rules"]).arg(root.join("rules.json")));
    let line = expect(&mut said, &["ruleset:[one]"]);
    let trace = fs::read_to_string(root.join("trace")).unwrap();
    assert!(trace.contains("INJECTED"), "{error} {when}: {trace}");
    send(&guard, libc::SIGTERM);
    line
}

/// The hole: where a cgroup could not be opened for once, it was taken not to exist, and
/// another was killed for that.
#[test]
fn what_cannot_be_opened_for_once_exists_all_the_same() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: no strace(1)");
        return;
    }
    let machine = Machine::new();
    for name in ["calm", "s/a", "beat"] {
        machine.sized(name, 1000);
    }
    let is_wild = plugin("exists", r#""cgroup": "calm", "negate": true"#);
    let sets = [
        set("one", &[&[&is_wild]], &[kill("s/*", "")], ""),
        set("beat", &[&[CONTINUE]], &[kill("beat", r#""always_continue": true"#)], ""),
    ];
    machine.tree.write("rules.json", format!("{{\"rulesets\": [{}]}}", sets.join(", ")));
    let root = machine.tree.path();
    let mut guard = Command::new("strace");
    guard.args(["-qqo"]).arg(root.join("trace")).args([
        "-P",
        "calm",
        "-e",
        "inject=openat:error=ENFILE:when=1",
    ]);
    guard.arg(BUSTD).arg("--root").arg(root).args(["--dry-run", "-n", "--no-default-rules"]);
    let (guard, mut said) = spawn(guard.args(["--interval", "1", "--rules"]).arg(root.join("rules.json")));
    for _ in 0..2 {
        let line = expect(&mut said, &["ruleset:["]);
        assert!(line.contains("ruleset:[beat]"), "{line}");
    }
    assert!(fs::read_to_string(root.join("trace")).unwrap().contains("INJECTED"));
    send(&guard, libc::SIGTERM);
}
