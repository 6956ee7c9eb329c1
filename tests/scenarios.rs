//! Captured trees in, log lines out, through the real program.
//!
//! Each directory of tests/scenarios is one scenario:
//!
//! | file       | what it holds                                              |
//! |------------|------------------------------------------------------------|
//! | `proc/`    | what bustd reads, as the kernel would show it; also `sys/` |
//! | `args`     | arguments besides `--root DIR --once`, one a line; optional |
//! | `expected` | what bustd then writes to standard error, to the byte      |
//! | `why`      | how that follows from the rules, for whoever sees it fail  |
//!
//! `BLESS=1 cargo test --test scenarios` writes `expected` anew, for changes of
//! wording: read the diff.

mod tree;

use std::fs;
use std::iter;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tree::{Process, Tree};

/// `--root` is enough to spare everybody, as one test shows. Should that break,
/// the others must not kill whoever has the pids in their trees here.
const HARMLESS: &str = "--dry-run";

/// Decides once over the tree `root`.
fn decide_once(root: &Path, args: &[&str]) -> Output {
    let mut bustd = Command::new(env!("CARGO_BIN_EXE_bustd"));
    bustd.arg("--root").arg(root).arg("--once").args(args).output().unwrap()
}

/// The lines of a decision that ended well; what went wrong otherwise.
fn lines_of(output: &Output) -> Result<String, String> {
    let lines = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(format!("{}, after\n{lines}", output.status));
    }
    if !output.stdout.is_empty() {
        return Err("there is something on standard output".to_owned());
    }
    Ok(lines)
}

/// The directories in `dir`, in order.
fn scenarios_in(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    found.sort();
    if found.is_empty() { Err(format!("{}: no scenario in it", dir.display())) } else { Ok(found) }
}

/// Runs one scenario; what to print if it fails.
fn check(dir: &Path) -> Result<(), String> {
    let name = dir.file_name().unwrap_or_default().display();
    let read = |file: &str| {
        fs::read_to_string(dir.join(file)).map_err(|error| format!("{name}: cannot read {file}: {error}"))
    };
    let why = read("why")?.trim_end().to_owned();
    let args = if dir.join("args").exists() { read("args")? } else { String::new() };
    let args: Vec<_> = iter::once(HARMLESS).chain(args.lines()).collect();
    let actual = lines_of(&decide_once(dir, &args)).map_err(|wrong| format!("{name}: {wrong}\n{why}"))?;
    if std::env::var_os("BLESS").is_some() {
        fs::write(dir.join("expected"), &actual).unwrap();
    }
    let expected = read("expected")?;
    if actual == expected {
        return Ok(());
    }
    Err(format!("{name}:\n- {expected}+ {actual}{why}"))
}

#[test]
fn every_scenario_ends_as_expected() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let failures: Vec<_> =
        scenarios_in(&dir).unwrap().iter().filter_map(|scenario| check(scenario).err()).collect();
    assert!(failures.is_empty(), "- expected, + actual\n\n{}", failures.join("\n\n"));
}

/// 320 MB of which 20 are left, far below the TERM limit.
const LOW_MEMINFO: &str = "MemTotal: 320000 kB\nMemAvailable: 20000 kB\nAnonPages: 280000 kB\n";

#[test]
fn a_wrong_or_missing_fixture_fails() {
    let tree = Tree::new();
    let failure = || check(tree.path()).unwrap_err();
    assert!(scenarios_in(&tree.path().join("proc")).unwrap_err().ends_with("no scenario in it"));
    assert!(failure().contains("cannot read why"));
    tree.write("why", "Because.");
    tree.write("proc/meminfo", LOW_MEMINFO);
    assert!(failure().contains("cannot read expected"));
    tree.write("expected", "bustd: all is well\n");
    let diff = failure();
    assert!(diff.contains("\n- bustd: all is well\n+ bustd: exhaustion: "), "{diff}");
    assert!(diff.ends_with("among 0\nBecause."), "{diff}");
    tree.write("args", "--psi\n0\n");
    assert!(failure().contains("exit status: 2, after\nbustd: --psi \"0\""));
}

#[test]
fn five_thousand_processes() {
    let tree = Tree::new();
    tree.write("proc/meminfo", LOW_MEMINFO);
    // Equally large ones before the largest and after it, should order matter.
    for (pid, comm, anon_kib) in
        [(2, "idle", 4000), (40, "second", 50_000), (2600, "leak", 60_000), (4960, "second", 50_000)]
    {
        tree.add(&Process { pid, comm: comm.into(), anon_kib, ..Process::default() });
    }
    for pid in (3..5002).filter(|pid| ![40, 2600, 4960].contains(pid)) {
        // All idle alike: one link each instead of four files.
        symlink("2", tree.path().join(format!("proc/{pid}"))).unwrap();
    }
    assert_eq!(
        lines_of(&decide_once(tree.path(), &[HARMLESS])).unwrap(),
        "bustd: would kill pid 2600 \"leak\" with SIGTERM (exhaustion: 19 MiB available, limit 29 MiB): \
         uid 1000, frees 58 MiB, chosen by size alone, score 58 MiB, oom_score_adj 0; next: pid 4960 \"second\" score 48 MiB\n"
    );
}

/// The pids of a captured tree belong to somebody else here.
#[test]
fn a_captured_tree_harms_nobody() {
    let tree = Tree::new();
    tree.write("hook", "#!/bin/sh\n: > \"$0.ran\"\n");
    let hook = tree.path().join("hook");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let mut bystander = Command::new("sleep").arg("60").spawn().unwrap();
    tree.write("proc/meminfo", LOW_MEMINFO);
    tree.add(&Process { pid: bystander.id(), comm: "leak".into(), anon_kib: 200_000, ..Process::default() });
    let hook = hook.to_str().unwrap();
    let output = decide_once(tree.path(), &["--grace", "0", "--before-kill", hook, "--on-kill", hook]);
    let survived = bystander.try_wait().unwrap().is_none();
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    let lines = lines_of(&output).unwrap();
    assert!(lines.starts_with("bustd: would kill pid "), "{lines}");
    assert!(survived && !tree.path().join("hook.ran").exists());
}
