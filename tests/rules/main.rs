//! Rules in oomd's language: what its users have is read, what is damaged is
//! refused, and where oomd is installed both say the same.

#[path = "../tree/mod.rs"]
mod tree;

mod acting;
mod faults;
mod hostile;
mod loading;
mod oracle;
mod peer;
mod properties;

use acting::STOP;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tree::{Process, Tree};

const BUSTD: &str = env!("CARGO_BIN_EXE_bustd");

fn dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules").join(name)
}

/// The files of a directory here, by name.
fn files(name: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Checks a file of rules against a captured machine.
fn check(tree: &Tree, rules: &Path, args: &[&str]) -> Output {
    let mut bustd = Command::new(BUSTD);
    bustd.arg("--check").arg("--root").arg(tree.path()).arg("--rules").arg(rules).args(args);
    bustd.output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A machine with cgroups, some of which have processes.
fn machine() -> Tree {
    let tree = Tree::new();
    tree.write("sys/fs/cgroup/cgroup.controllers", "memory io\n");
    for (pid, comm, cgroup) in [
        (101, "cron", "system.slice/cron.service"),
        (102, "my \"job\"", "system.slice/cron.service/job"),
        (201, "firefox", "user.slice/user-1000.slice/user@1000.service/app.slice"),
        (202, "bash", "user.slice/user-1000.slice/session-1.scope"),
    ] {
        tree.add(&Process { pid, comm: comm.into(), ..Process::default() });
        tree.write(&format!("sys/fs/cgroup/{cgroup}/cgroup.procs"), format!("{pid}\n"));
    }
    tree.write(r"sys/fs/cgroup/system.slice/a\x2db.service/cgroup.procs", "");
    tree.write("sys/fs/cgroup/system.slice/.hidden/cgroup.procs", "");
    tree
}

// ------------------------------------------------------------- good files

#[test]
fn what_users_have_is_read() {
    let tree = machine();
    for file in files("files") {
        let output = check(&tree, &file, &[]);
        let text = stdout(&output);
        assert!(text.lines().last().is_some_and(|line| line.starts_with("sound, ")), "{text}");
        let warnings = stderr(&output);
        let expected = match file.file_name().unwrap().to_str().unwrap() {
            "hooks.json" => "dummy_prekill_hook does nothing",
            "arguments.json" => "kill_by_io_cost kills nobody without --device",
            _ => {
                assert_eq!(warnings, "", "{}", file.display());
                continue;
            }
        };
        assert!(warnings.lines().count() == 1 && warnings.contains(expected), "{warnings}");
    }
    let output = check(&tree, &dir("files/arguments.json"), &["--device", "8:0"]);
    assert_eq!(stderr(&output), "");
}

/// The documentation's own: the whole file, and what it shows of one.
#[test]
fn what_is_documented_is_read() {
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules.md")).unwrap();
    let blocks: Vec<_> = docs.split("```").skip(1).step_by(2).map(str::trim).collect();
    let tree = machine();
    let path = tree.path().join("rules.json");
    let mut count = 0;
    for block in blocks.iter().filter(|block| block.starts_with(['{', '"'])) {
        let set = |detector: &str, rest: &str| {
            format!(r#"{{"rulesets": [{{"name": "n", "detectors": [["g", {detector}]], {rest}}}]}}"#)
        };
        let text = match block {
            block if block.contains("rulesets") => (*block).to_owned(),
            block if block.starts_with('{') => set(block, r#""actions": [{"name": "stop"}]"#),
            block => set(r#"{"name": "stop"}"#, block),
        };
        fs::write(&path, text).unwrap();
        let output = check(&tree, &path, &[]);
        assert!(output.status.success() && output.stderr.is_empty(), "{block}: {output:?}");
        count += 1;
    }
    assert_eq!(count, 3);
}

/// The programs that are shown there are programs.
#[test]
fn what_is_documented_can_be_run() {
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules.md")).unwrap();
    let programs: Vec<_> =
        docs.split("```").skip(1).step_by(2).map(str::trim).filter(|block| block.starts_with("#!")).collect();
    assert_eq!(programs.len(), 2);
    let tree = Tree::new();
    for text in programs {
        let path = tree.path().join("program");
        fs::write(&path, text).unwrap();
        let mut checker = match text.lines().next() {
            Some("#!/bin/sh") => Command::new("sh"),
            Some("#!/usr/bin/python3") => Command::new("python3"),
            other => panic!("who runs {other:?}?"),
        };
        let compile = "import sys; compile(open(sys.argv[1]).read(), sys.argv[1], 'exec')";
        let args: &[&str] = if text.starts_with("#!/bin/sh") { &["-n"] } else { &["-c", compile] };
        match checker.args(args).arg(&path).output() {
            Ok(output) => assert!(output.status.success(), "{text}\n{output:?}"),
            Err(error) => println!("skipped: {checker:?}: {error}"),
        }
    }
}

/// The file that Debian and others install, where it is there or was fetched.
#[test]
fn what_is_installed_is_read() {
    let fetched = concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers/etc/oomd/oomd.json");
    let Some(installed) = ["/etc/oomd/oomd.json", fetched].into_iter().find(|path| Path::new(path).exists())
    else {
        println!("skipped: oomd is not installed here, nor fetched by make setup");
        return;
    };
    let output = check(&machine(), Path::new(installed), &[]);
    assert!(stdout(&output).contains(": 3 rule sets, "));
    assert_eq!(stderr(&output), "");
}

#[test]
fn rules_are_told_in_plain_words() {
    let text = stdout(&check(&machine(), &dir("files/desktop.json"), &["--interval", "1"]));
    let start = "desktop.json: 3 rule sets, looked at every 1 s
rule set \"overview\"
  when \"always\": all of these hold
    always, and system.slice is logged if it is under pressure
      system.slice: cgroups 1, processes 2
        system.slice: 101 cron, 102 my \\\"job\\\"
  then do nothing
  after an action has done something, rest 15 s
rule set \"sessions\"
  when \"users wait\": all of these hold
    full memory pressure of the worst of user.slice is above 60% over 10 s, for 30 s
      user.slice: cgroups 1, processes 2
        user.slice: 201 firefox, 202 bash
    memory of user.slice was reclaimed within 10 s
  or when \"services wait\": all of these hold
";
    assert!(text.contains(start), "{text}");
    for line in [
        "      user.slice/user-*.slice/session-*.scope: cgroups 1, processes 1",
        "        user.slice/user-1000.slice/session-1.scope: 202 bash",
        "      user.slice/user-*.slice/user@*.service/*: cgroups 1, processes 1",
        "      system.slice/*: cgroups 2, processes 2",
        "        system.slice/cron.service: 101 cron, 102 my \\\"job\\\"",
        "        system.slice/a\\\\x2db.service",
        "    less than 10% of swap is free",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn every_plugin_has_its_words() {
    let args: &[&str] = &["--device", "8:0"];
    let told: String = files("files").iter().map(|file| stdout(&check(&machine(), file, args))).collect();
    for part in [
        "full io pressure of the worst of workload.slice/workload-*.slice, system.slice is above 80% over 60 s, for 30 s, and over 10 s too, where it is no less than 0.85 of what it was\n",
        "memory of one of / is above 1568 KiB, for 10 s\n",
        "anonymous memory of one of / is above 60% of all memory, for 10 s\n",
        "memory of one of the rule set's cgroup is above 1024 MiB, for 5 s\n",
        "less than 10% of swap is free and 1048576 bytes a second or more are swapped out\n",
        "a.slice, b*.slice is not there\n",
        "one of / has more than 1000 dying descendants\n",
        "  then stop here\n",
        "  then kill the one with most memory if it has 50% of it all, or else that grew to 1.25 times as much, of workload.slice/workload-*.slice/*, system.slice/*, and rest 15 s\n",
        "  or else kill the one with most swap, more than 1024 KiB, of workload.slice/workload-*.slice, system.slice, or below it, and rest 15 s\n",
        "  or else kill the one with most full io pressure of system.slice/*, or below it, and go on, and rest 15 s\n",
        "  or else kill the one for which most pages are scanned of system.slice/*, in the log only\n",
        "  or else kill the one whose io costs most of system.slice/*, in the log only\n",
        "  or else restart a.service and rest 15 s more, in the log only\n",
        "  then kill the one with most swap beyond its protection, more than 1 byte, of the rule set's cgroup/*\n",
        "  then keep the memory of workload.slice/* as small as it can be without stalls\n",
        "    /bin/sh -c exit 1 for 500 ms at most exits with 0\n",
        "  then run /bin/true for 5000 ms at most\n",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
}

#[test]
fn a_rule_set_of_cgroups_is_told_for_each() {
    let tree = machine();
    tree.write(
        "rules.json",
        r#"{"rulesets": [{"name": "each", "cgroup": "user.slice/*", "detectors": [["g", {"name": "exists",
            "args": {"ruleset_cgroup": "session*,/"}}]], "actions": [{"name": "stop"}]}]}"#,
    );
    let text = stdout(&check(&tree, &tree.path().join("rules.json"), &[]));
    for line in [
        "      user.slice/user-1000.slice/session*: cgroups 1, processes 1",
        "      user.slice/user-1000.slice: cgroups 1, processes 2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn programs_that_are_not_there_are_warned_of() {
    let tree = machine();
    tree.write(
        "rules.json",
        r#"{"rulesets": [{"name": "n", "detectors": [["g", {"name": "exec", "args": {"command": "/nonexistent/x"}}]],
            "actions": [{"name": "exec", "args": {"command": "/proc/meminfo"}}]}]}"#,
    );
    let text = stdout(&check(&tree, &tree.path().join("rules.json"), &[]));
    for path in ["/nonexistent/x", "/proc/meminfo"] {
        assert!(text.contains(&format!("    warning: cannot execute \"{path}\"\n")), "{text}");
    }
}

#[test]
fn many_cgroups_are_counted_and_some_are_shown() {
    let tree = machine();
    for number in 0..30 {
        tree.write(&format!("sys/fs/cgroup/many/{number}/cgroup.procs"), "1\n2\n3\n");
    }
    tree.write(
        "rules.json",
        r#"{"rulesets": [{"name": "n", "detectors": [["g", {"name": "exists", "args": {"cgroup": "many/*,nowhere"}}]],
            "actions": [{"name": "stop"}]}]}"#,
    );
    let text = stdout(&check(&tree, &tree.path().join("rules.json"), &[]));
    assert!(text.contains("      many/*: cgroups 30, processes 90\n"), "{text}");
    assert!(text.contains("        and 22 more\n      nowhere: cgroups 0\n"), "{text}");
}

#[test]
fn cgroups_that_a_guard_has_no_descriptor_for_are_not_counted() {
    let tree = machine();
    for number in 0..30 {
        tree.write(&format!("sys/fs/cgroup/many/{number}/memory.current"), format!("{number}\n"));
    }
    tree.write(
        "rules.json",
        r#"{"rulesets": [{"name": "n", "detectors": [["g", {"name": "exists", "args": {"cgroup": "many/*"}}]],
            "actions": [{"name": "stop"}]}]}"#,
    );
    let mut bustd = Command::new("sh");
    bustd.args(["-c", "ulimit -n 72 && exec \"$@\"", "sh", BUSTD, "--check", "--root"]).arg(tree.path());
    let text = stdout(&bustd.arg("--rules").arg(tree.path().join("rules.json")).output().unwrap());
    // Of the eight the root and the one above take two.
    assert!(text.contains("      many/*: cgroups 6, processes 0\n"), "{text}");
    assert!(text.contains("        many/29\n"), "{text}");
    assert!(text.contains("\nthere are too many cgroups; passed over: 24\n"), "{text}");
}

#[test]
fn without_cgroups_the_rules_are_told_all_the_same() {
    let tree = Tree::new();
    let output = check(&tree, &dir("files/desktop.json"), &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("  then do nothing\n"), "{text}");
    assert!(text.contains("cannot look for cgroups: no such file or directory\n"), "{text}");
}

// ------------------------------------------------------------- drop-ins

#[test]
fn drop_ins_are_merged() {
    let tree = machine();
    let drop_ins = dir("drop-ins");
    let args = ["--rules-dir", drop_ins.to_str().unwrap()];
    let output = check(&tree, &dir("files/drop-in-base.json"), &args);
    let text = stdout(&output);
    assert!(text.contains("rule set \"sessions\", changed by services.json\n"), "{text}");
    // The base rests meanwhile.
    assert_eq!(text.matches("rule set ").count(), 1);
    assert_eq!(stderr(&output), "");
    // There it may not.
    let output = check(&tree, &dir("files/desktop.json"), &args);
    assert_eq!(output.status.code(), Some(2));
    let said =
        "bustd: services.json: rule set \"sessions\" does not let its detectors be replaced (\"drop-in\")\n";
    assert_eq!(stderr(&output), said);
    assert!(String::from_utf8(output.stdout).unwrap().contains("  then do nothing\n"));
}

#[test]
fn drop_ins_come_by_name_and_hidden_ones_not_at_all() {
    let tree = machine();
    tree.write(
        "rules.json",
        r#"{"rulesets": [{"name": "n", "drop-in": {"actions": true}, "detectors": [["g", {"name": "stop"}]],
            "actions": [{"name": "stop"}]}]}"#,
    );
    let drop_in = r#"{"rulesets": [{"name": "n", "actions": [{"name": "continue"}]}]}"#;
    for name in ["b", "a.json", ".hidden", "c~"] {
        tree.write(&format!("dropped/{name}"), drop_in);
    }
    tree.write("dropped/bad", "{");
    tree.write("dropped/.bad", "{");
    let dropped = tree.path().join("dropped");
    let output = check(&tree, &tree.path().join("rules.json"), &["--rules-dir", dropped.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        stderr(&output),
        "bustd: bad:1:2: found the end of the file, allowed: a key in double quotes, or }\n"
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let sets: Vec<_> = text.lines().filter(|line| line.starts_with("rule set ")).collect();
    let expected = [", changed by c~", ", changed by b", ", changed by a.json", ""];
    assert_eq!(sets, expected.map(|tag| format!("rule set \"n\"{tag}")));
}

// ------------------------------------------------------------- bad files

#[test]
fn what_is_wrong_is_one_line_and_status_2() {
    let tree = machine();
    let path = tree.path().join("rules.json");
    for (text, said) in [
        ("", ":1:1: found the end of the file, allowed: a text in double quotes"),
        ("{\n  \"rulesets\": [}\n", ":2:16: found \"}\", allowed: a text in double quotes"),
        ("[]", ":1:1: found an array, allowed: an object with the key \"rulesets\""),
        ("\u{feff}// é\n{\"é\": 'x'}", ":2:7: found \"'\", allowed: a text in double quotes"),
    ] {
        fs::write(&path, text).unwrap();
        let output = check(&tree, &path, &[]);
        let found = stderr(&output);
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty() && found.lines().count() == 1, "{output:?}");
        assert!(found.starts_with("bustd: ") && found.contains(&format!("rules.json{said}")), "{found}");
    }
    for (path, why) in [("nowhere", "no such file or directory"), ("proc", "not a file")] {
        let output = check(&tree, &tree.path().join(path), &[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).ends_with(&format!("{path}: {why}\n")), "{output:?}");
    }
    for len in [256 * 1024 + 1, 10_000_000] {
        fs::write(&path, " ".repeat(len)).unwrap();
        assert!(stderr(&check(&tree, &path, &[])).ends_with("rules.json: longer than 256 KiB\n"));
    }
    fs::write(&path, "// one\n/* two\n */ // three").unwrap();
    assert!(stderr(&check(&tree, &path, &[])).contains("rules.json:3:13: found the end of the file"));
    // Nobody writes to it.
    fs::remove_file(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, path.to_str().unwrap(), rustix::fs::Mode::RWXU).unwrap();
    assert!(stderr(&check(&tree, &path, &[])).ends_with("rules.json: not a file\n"));
}

/// What oomd has learned since its last release, and has forgotten, is refused with what is
/// there instead.
#[test]
fn plugins_that_there_are_not_are_refused_with_what_there_is() {
    let tree = machine();
    let path = tree.path().join("rules.json");
    for name in ["swap_above_memory_max", "xattr_glob", "adjust_cgroup", "senpai_poking", "Continue"] {
        let plugin = format!(r#"{{"name": "{name}", "args": {{"cgroup": "a", "threshold_pct": "5"}}}}"#);
        for (detector, action) in [(plugin.as_str(), STOP), (STOP, plugin.as_str())] {
            fs::write(&path, format!(r#"{{"rulesets": [{{"name": "n", "detectors": [["g", {detector}]], "actions": [{action}]}}]}}"#)).unwrap();
            let output = check(&tree, &path, &[]);
            let found = stderr(&output);
            assert_eq!((output.status.code(), found.lines().count()), (Some(2), 1), "{found}");
            assert!(found.contains(&format!(": found \"{name}\", allowed: continue, stop, ")), "{found}");
            assert!(found.ends_with(", exec, which runs a program for all else\n"), "{found}");
        }
    }
}

/// The last line counts what looks wrong in files of rules, too, and says so where one cannot be
/// used.
#[test]
fn the_end_tells_of_all_warnings() {
    let tree = machine();
    let path = tree.path().join("rules.json");
    let set = |more: &str| format!(r#"{{"rulesets": [{{"name": "n"{more}}}], "x": 1}}"#);
    let full =
        format!(r#", "detectors": [["g", {STOP}]], "actions": [{STOP}], "drop-in": {{"actions": true}}"#);
    fs::write(&path, set(&full)).unwrap();
    tree.write("d/one", set(""));
    let dir = tree.path().join("d");
    let end = || {
        let output = check(&tree, &path, &["--rules-dir", dir.to_str().unwrap()]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned())
    };
    assert_eq!(end(), (Some(0), "sound, 2 warnings".into()));
    tree.write("d/two", "{");
    assert_eq!(end(), (Some(2), "not sound, 2 warnings".into()));
}

#[test]
fn options_go_together_or_are_refused() {
    let tree = machine();
    let rules = dir("files/desktop.json");
    let rules = rules.to_str().unwrap();
    let refused = |args: &[&str], said: &str| {
        let output = Command::new(BUSTD).arg("--root").arg(tree.path()).args(args).output().unwrap();
        assert_eq!(stderr(&output), format!("bustd: {said}\n"), "{args:?}");
        assert_eq!(output.status.code(), Some(2));
    };
    for option in [["--interval", "1"], ["--rules-dir", "/"], ["--device", "8:0"], ["--hdd-coeffs", "1"]] {
        refused(&option, &format!("{}: only with --rules", option[0]));
    }
    refused(&["--no-default-rules"], "--no-default-rules: only with --rules");
    refused(&["--allow-panic"], "--allow-panic: only with --rules");
    refused(&["--once", "--rules", rules], "--once: not with --rules, which take their time");
    refused(&["--rules", "x"], "--rules: not an absolute path, by which a guard reads it again");
    refused(
        &["--rules", rules, "--rules-dir", "x"],
        "--rules-dir: not an absolute path, by which a guard reads it again",
    );
    refused(
        &["--rules", rules, "--no-default-rules", "--mem", "5"],
        "--no-default-rules: not with --mem, --swap and --psi, which are theirs",
    );
    for bad in ["0", "1.5", "abc", "-1", "3601", "99999999999999999999"] {
        let said = format!("--interval \"{bad}\": not a whole number of seconds from 1 to 3600");
        refused(&["--rules", rules, "-i", bad], &said);
    }
    refused(
        &["--rules", rules, "--device", "8"],
        "--device \"8\": not MAJ:MIN with commas between, 16 at most",
    );
    let said = "--ssd-coeffs \"1,x\": not up to six numbers with commas between";
    refused(&["--rules", rules, "--ssd-coeffs", "1,x"], said);
    refused(&["--rules", "/nonexistent/rules"], "/nonexistent/rules: no such file or directory");
}

/// What rules need has to be there: without it a guard does not start.
#[test]
fn a_guard_starts_with_what_it_needs_or_not_at_all() {
    let tree = Tree::new();
    let rules = dir("files/desktop.json");
    let refused = |args: &[&str], said: &str| {
        let mut bustd = Command::new(BUSTD);
        bustd.arg("--root").arg(tree.path()).args(["--dry-run", "-n", "--rules"]).arg(&rules).args(args);
        let output = bustd.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).lines().any(|line| line == format!("bustd: {said}")), "{output:?}");
    };
    refused(&[], "--rules: cgroups of version 2 are not mounted");
    tree.write("sys/fs/cgroup/cgroup.controllers", "memory\n");
    let rotational = "dev/block/8:0/queue/rotational";
    let device =
        |why: &str| refused(&["--device", "8:0"], &format!("--device: /sys/\"{rotational}\": {why}"));
    device("no such file or directory");
    for text in ["2\n", "x\n", "1 1\n"] {
        tree.write(&format!("sys/{rotational}"), text);
        device("malformed");
    }
    refused(&["--rules-dir", "/nonexistent"], "--rules-dir \"/nonexistent\": no such file or directory");
}

/// A program that is given no rules knows nothing of what is wrong with them.
#[test]
fn panic_has_to_be_allowed() {
    let tree = machine();
    let path = tree.path().join("rules.json");
    let text = r#"{"rulesets": [{"name": "n", "detectors": [["g", {"name": "stop"}]], "actions": [{"name": "kernel_panic"}]}]}"#;
    fs::write(&path, text).unwrap();
    assert!(
        stderr(&check(&tree, &path, &[])).ends_with("found kernel_panic, allowed: only with --allow-panic\n")
    );
    assert!(stdout(&check(&tree, &path, &["--allow-panic"])).contains("  then crash the machine\n"));
}
