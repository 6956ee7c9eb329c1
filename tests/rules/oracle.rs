//! Beside oomd 0.5.0 where `make setup` has fetched it, where it is installed, or where
//! OOMD names it.

use super::peer::find_oomd;
use super::tree::Tree;
use super::{check, machine};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The program that is asked, if there is one.
pub fn oomd() -> Option<String> {
    let found = find_oomd();
    if found.is_none() {
        println!("skipped: oomd is not installed here, nor named by OOMD");
    }
    found
}

/// Does oomd take these rules?
fn takes(oomd: &str, tree: &Tree, path: &Path) -> bool {
    let mut oomd = Command::new(oomd);
    oomd.arg("--kmsg-override").arg(tree.path().join("kmsg")).arg("--check-config").arg(path);
    oomd.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

/// A file with these keys in its rule set, besides the usual ones.
fn set(keys: &str) -> String {
    format!(
        r#"{{"rulesets": [{{"name": "n", "detectors": [["g", {{"name": "continue"}}]], "actions": [{{"name": "stop"}}]{keys}}}]}}"#
    )
}

/// A file whose only action is this.
fn action(name: &str, args: &str) -> String {
    format!(
        r#"{{"rulesets": [{{"name": "n", "detectors": [["g", {{"name": "continue"}}]], "actions": [{{"name": "{name}", "args": {args}}}]}}]}}"#
    )
}

/// What is the same in both.
fn alike() -> Vec<String> {
    let mut texts: Vec<String> = [
        "{}",
        "{} x",
        "{",
        "}",
        "",
        "[]",
        "\"x\"",
        "5",
        "null",
        "{\"rulesets\": null}",
        "{\"rulesets\": 5}",
        "{\"rulesets\": [5]}",
        "{\"rulesets\": [null]}",
        "{\"rulesets\": {}}",
        "{\"rulesets\": [{}]}",
        "{\"rulesets\": [,]}",
        "{\"rulesets\": 1,,}",
        "{,}",
        "{\"a\" 1}",
        "{a: 1}",
        "{\"a\": tru}",
        "{\"a\": truex}",
        "{\"a\": 1x}",
        "{\"a\": .5}",
        "{\"a\": 1.}",
        "{\"a\": 1e}",
        "{\"a\": 01}",
        "{\"a\": +1}",
        "{\"a\": '1'}",
        "# x\n{}",
        "// x\n{}",
        "/* x */{}",
        "/* x {}",
        "{/*}",
        "{} /*",
        "\u{feff}{}",
        "{\"a\": \"\\q\"}",
        "{\"a\": \"\\ud800\"}",
        "{\"a\": \"\\udc00\"}",
        "{\"a\": \"x\ny\"}",
        "{\"a\": NaN}",
        "{\"a\": Infinity}",
        "{\"a\": -Infinity}",
        "{\"a\": [1,],}",
        "{\"prekill_hooks\": 5}",
        "{\"prekill_hooks\": [{\"name\": \"stop\"}]}",
    ]
    .map(str::to_owned)
    .into();
    texts.push(format!("{{\"a\": {}{}}}", "[".repeat(999), "]".repeat(999)));
    texts.push(format!("{{\"a\": {}{}}}", "[".repeat(1000), "]".repeat(1000)));
    for keys in [
        r#", "name": """#,
        r#", "name": 5"#,
        r#", "name": true"#,
        r#", "name": null"#,
        r#", "name": []"#,
        r#", "name": 1.5"#,
        r#", "detectors": []"#,
        r#", "detectors": {}"#,
        r#", "detectors": [[]]"#,
        r#", "detectors": [5]"#,
        r#", "detectors": [["g"]]"#,
        r#", "detectors": [["", {"name": "stop"}]]"#,
        r#", "detectors": [["g", "h"]]"#,
        r#", "detectors": [[5, {"name": "stop"}]]"#,
        r#", "detectors": [["g", {"name": "stop"}, {"name": "continue"}],]"#,
        r#", "detectors": [["g", {}]]"#,
        r#", "detectors": {"x": ["g", {"name": "stop"}]}"#,
        r#", "actions": []"#,
        r#", "actions": [{}]"#,
        r#", "actions": [{"name": 5}]"#,
        r#", "actions": {"x": {"name": "stop"}}"#,
        r#", "actions": [{"name": "stop", "args": 5}]"#,
        r#", "actions": [{"name": "stop", "args": {"x": "y"}}]"#,
        r#", "actions": [{"name": "kill"}]"#,
        r#", "actions": [{"name": "stop", "args": null}]"#,
        r#", "actions": [{"name": "stop", "args": [1]}]"#,
        r#", "actions": [{"name": "swap_free", "args": null}]"#,
        r#", "actions": [{"name": "adjust_cgroup"}]"#,
        r#", "actions": [{"name": "senpai_poking"}]"#,
        r#", "actions": [{"name": "senpai_hold"}]"#,
        // These came later.
        r#", "actions": [{"name": "swap_above_memory_max"}]"#,
        r#", "actions": [{"name": "xattr_glob"}]"#,
        r#", "actions": [{"name": "stop", "more": 1}]"#,
        r#", "silence-logs": "engine""#,
        r#", "silence-logs": " engine , plugins ""#,
        r#", "silence-logs": "engine,,plugins,""#,
        r#", "silence-logs": "all""#,
        r#", "silence-logs": """#,
        r#", "silence-logs": ["engine"]"#,
        r#", "post_action_delay": 10"#,
        r#", "post_action_delay": "10""#,
        r#", "post_action_delay": "10s""#,
        r#", "post_action_delay": 10.5"#,
        r#", "post_action_delay": """#,
        r#", "post_action_delay": -1"#,
        r#", "post_action_delay": "x""#,
        r#", "post_action_delay": []"#,
        r#", "prekill_hook_timeout": "7""#,
        r#", "prekill_hook_timeout": -7"#,
        r#", "drop-in": {}"#,
        r#", "drop-in": {"detectors": true, "x": 1}"#,
        r#", "drop-in": {"actions": 1}"#,
        r#", "drop-in": {"actions": "true"}"#,
        r#", "drop-in": "true""#,
        r#", "drop-in": []"#,
        r#", "more": [1]"#,
        r#", "name": "a", "name": """#,
        r#", "name": "", "name": "a""#,
    ] {
        texts.push(set(keys));
    }
    for value in [
        "10",
        "\"10\"",
        "\"10%\"",
        "\"10.5\"",
        "10.5",
        "\" 10\"",
        "\"x\"",
        "\"\"",
        "-1",
        "\"-1\"",
        "1e1",
        "true",
        "99999999999",
        "\"99999999999\"",
        "\"+5\"",
        "\"5 \"",
        "\"0x10\"",
    ] {
        texts.push(action("swap_free", &format!(r#"{{"threshold_pct": {value}}}"#)));
    }
    for value in [
        "1536",
        "\"1536M\"",
        "\"1.5G\"",
        "\"1G 128M\"",
        "\"1.5M 32K 512\"",
        "\"1t\"",
        "\"2K3\"",
        "\"1e3\"",
        "\"1e3K\"",
        "\"0x10\"",
        "\"1.5\"",
        "\"5 \"",
        "\" 5\"",
        "1536.0",
        "\"-5\"",
        "\"5MB\"",
        "\"1.5MK\"",
        "\"??\"",
        "\".5G\"",
        "\"10%\"",
        "\"10.5%\"",
        "\"101%\"",
        "\"-1%\"",
        "\"%\"",
        "\"\"",
        "\"K\"",
        "\"100%\"",
        "\"0%\"",
        "\"1 K\"",
        "\"1g2\"",
        "\"+5M\"",
        "\"1 2 3\"",
        "\"1K 2K\"",
    ] {
        texts.push(action("kill_by_swap_usage", &format!(r#"{{"cgroup": "a", "threshold": {value}}}"#)));
        texts.push(action(
            "memory_above",
            &format!(r#"{{"cgroup": "a", "threshold": {value}, "duration": 1}}"#),
        ));
    }
    for value in [
        "true",
        "\"true\"",
        "\"True\"",
        "\"1\"",
        "1",
        "0",
        "\"yes\"",
        "\"TRUE\"",
        "\"on\"",
        "\"\"",
        "2",
        "\" true\"",
    ] {
        texts.push(action("exists", &format!(r#"{{"cgroup": "a", "negate": {value}}}"#)));
    }
    for value in ["\"io\"", "\"memory\"", "\"IO\"", "\"cpu\"", "\"\"", "5"] {
        texts.push(action("kill_by_pressure", &format!(r#"{{"cgroup": "a", "resource": {value}}}"#)));
    }
    for (name, args) in [
        ("pressure_above", r#"{"cgroup": "a", "resource": "io", "threshold": 1, "duration": 1}"#),
        ("pressure_above", r#"{"cgroup": "a", "resource": "io", "threshold": 1}"#),
        (
            "pressure_above",
            r#"{"cgroup": "a", "resource": "io", "threshold": 1, "duration": 1, "debug": true}"#,
        ),
        (
            "pressure_rising_beyond",
            r#"{"cgroup": "a", "resource": "io", "threshold": 1, "duration": 1, "fast_fall_ratio": "x"}"#,
        ),
        (
            "pressure_rising_beyond",
            r#"{"cgroup": "a", "resource": "io", "threshold": 1, "duration": 1, "fast_fall_ratio": ".5x"}"#,
        ),
        ("memory_above", r#"{"cgroup": "a", "duration": 1}"#),
        ("memory_above", r#"{"cgroup": "a", "duration": 1, "threshold": "??", "threshold_anon": 5}"#),
        ("memory_reclaim", r#"{"cgroup": "a"}"#),
        ("memory_reclaim", r#"{"cgroup": "a", "duration": "1"}"#),
        ("swap_free", "{}"),
        ("swap_free", r#"{"cgroup": "a", "threshold_pct": 1}"#),
        ("nr_dying_descendants", r#"{"cgroup": "a", "count": 5}"#),
        ("nr_dying_descendants", r#"{"cgroup": "a", "count": -5}"#),
        ("dump_cgroup_overview", r#"{"cgroup": "a", "always": "maybe"}"#),
        (
            "kill_by_memory_size_or_growth",
            r#"{"cgroup": "a", "size_threshold": "50%", "min_growth_ratio": "1.25"}"#,
        ),
        ("kill_by_memory_size_or_growth", r#"{"cgroup": "a", "size_threshold": -1}"#),
        ("kill_by_memory_size_or_growth", r#"{"cgroup": "a", "growing_size_percentile": -1}"#),
        ("kill_by_memory_size_or_growth", r#"{"cgroup": "a", "min_growth_ratio": "x"}"#),
        ("kill_by_io_cost", r#"{"cgroup": "a"}"#),
        ("kill_by_pg_scan", r#"{"cgroup": "a", "recursive": true, "post_action_delay": "5", "dry": 1}"#),
        ("kill_by_pg_scan", r#"{"cgroup": "a", "post_action_delay": -5}"#),
        ("kill_by_pg_scan", r#"{"cgroup": "a", "resource": "io"}"#),
        ("kill_by_pressure", r#"{"cgroup": "a"}"#),
        ("systemd_restart", r#"{"service": "a.service"}"#),
        ("systemd_restart", r#"{"service": ""}"#),
        ("systemd_restart", "{}"),
        ("kernel_panic", "{}"),
        ("senpai", r#"{"cgroup": "a", "interval": "2", "max_probe": 0.01}"#),
        ("senpai", r#"{"cgroup": "a", "more": "2"}"#),
        ("senpai", "{}"),
    ] {
        texts.push(action(name, args));
    }
    texts
}

/// What only the older one takes, for its successors refuse it, or no file can mean it.
fn refused_here() -> Vec<String> {
    let mut texts = Vec::new();
    for keys in [r#", "silence-logs": " ""#, r#", "silence-logs": "engine, ""#] {
        texts.push(set(keys));
    }
    texts.push(action("kill_by_memory_size_or_growth", r#"{"cgroup": "a", "growing_size_percentile": 100}"#));
    // It stops reading there, and uses what it has got.
    texts.push(action("swap_free", r#"{"threshold_pct": 1, "zzz": [1]}"#));
    texts.push(action("exists", r#"{"cgroup": "a", "negate": null}"#));
    texts.push(r#"{"rulesets": "\u0000"}"#.to_owned());
    texts.push(action("exists", r#"{"cgroup": "../a"}"#));
    texts.push(action("systemd_restart", r#"{"service": "--now"}"#));
    texts
}

/// What only bustd takes: arguments that came later, that are documented and refused,
/// or that are its own.
fn taken_here() -> Vec<String> {
    [
        ("exists", "{}"),
        ("exists", r#"{"cgroup": "a", "ruleset_cgroup": "b"}"#),
        ("kill_by_pg_scan", r#"{"cgroup": "a", "reap_memory": false, "kernelkill": true}"#),
        ("kill_by_swap_usage", r#"{"cgroup": "a", "biased_swap_kill": true}"#),
        ("swap_free", r#"{"threshold_pct": 1, "swapout_bps_threshold": 5}"#),
        ("nr_dying_descendants", r#"{"cgroup": "a", "count": 5, "negate": true}"#),
        ("exec", r#"{"command": "/bin/true"}"#),
    ]
    .map(|(name, args)| action(name, args))
    .into()
}

#[test]
fn both_take_and_refuse_the_same() {
    let Some(oomd) = oomd() else { return };
    let tree = machine();
    let path = tree.path().join("rules.json");
    let mut differ = Vec::new();
    // With whether oomd and bustd are to take them; both as each other where neither is
    // said.
    let lists = [(alike(), None), (refused_here(), Some((true, false))), (taken_here(), Some((false, true)))];
    let count: usize = lists.iter().map(|(texts, _)| texts.len()).sum();
    for (texts, expected) in &lists {
        for text in texts {
            fs::write(&path, text).unwrap();
            let ours = check(&tree, &path, &[]);
            let found = (takes(&oomd, &tree, &path), ours.status.success());
            if found != expected.unwrap_or((found.0, found.0)) {
                differ.push(format!("{found:?} {text}\n    {}", String::from_utf8_lossy(&ours.stderr)));
            }
        }
    }
    println!("{count} files were given to both");
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
