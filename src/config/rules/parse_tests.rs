use super::model::*;
use super::parse::parse_rules;
use super::reader::Permits;
use super::teller::Severity;
use super::words::{Key, Name};
use crate::sys::block::Block;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

pub fn permitted(text: &str, permits: Permits) -> (Option<Block<Book>>, Vec<String>) {
    let mut said = Vec::new();
    let parsed = parse_rules(b"/etc/r.json", text.as_bytes(), permits, &mut |severity, line| {
        let text = String::from_utf8(line.as_bytes().to_vec()).unwrap();
        assert_eq!(text.contains(": warning: "), severity == Severity::Warning, "{text}");
        said.push(text.strip_prefix("/etc/r.json:").unwrap().to_string());
    });
    (parsed, said)
}

fn parse(text: &str) -> (Option<Block<Book>>, Vec<String>) {
    permitted(text, Permits { devices: true, ..Permits::default() })
}

/// What is said of a text that is refused.
pub fn refused(text: &str) -> String {
    let (parsed, mut said) = parse(text);
    assert!(parsed.is_none(), "{text}");
    said.pop().unwrap_or_else(|| panic!("{text}: nothing was said"))
}

/// The rules of a text that is good, and without a warning.
fn good(text: &str) -> Block<Book> {
    let (parsed, said) = parse(text);
    assert!(said.is_empty(), "{text}: {said:?}");
    parsed.unwrap()
}

/// Warnings about a text that is good.
fn warned(text: &str) -> Vec<String> {
    let (parsed, said) = parse(text);
    let parsed = parsed.unwrap_or_else(|| panic!("{text}: {said:?}"));
    assert_eq!(parsed.get().warnings as usize, said.len());
    said
}

/// A file with one rule set, with these keys besides the usual ones.
fn with_keys(keys: &str) -> String {
    format!(
        r#"{{"rulesets": [{{"name": "n", "detectors": [["g", {{"name": "continue"}}]], "actions": [{{"name": "stop"}}], {keys}}}]}}"#
    )
}

/// A file whose only action is this.
pub fn with_action(name: &str, args: &str) -> String {
    format!(
        r#"{{"rulesets": [{{"name": "n", "detectors": [["g", {{"name": "continue"}}]], "actions": [{{"name": "{name}", "args": {args}}}]}}]}}"#
    )
}

/// What the only action is parsed into, and what is warned of.
pub fn action(name: &str, args: &str, check: impl FnOnce(&Plugin<'_>, &[String])) {
    let (parsed, said) = parse(&with_action(name, args));
    let parsed = parsed.unwrap_or_else(|| panic!("{name} {args}: {said:?}"));
    check(&parsed.get().sets[0].actions[0], &said);
}

/// The only action, of which nothing is said: its numbers are the usual ones, but for these.
pub fn has(name: &str, args: &str, numbers: &[(Key, i64)]) {
    action(name, args, |plugin, said| {
        assert!(said.is_empty(), "{said:?}");
        let expected = Plugin::with_numbers(plugin.name, numbers);
        let Plugin { cgroups, given, words, .. } = *plugin;
        assert_eq!(*plugin, Plugin { cgroups, given, words, ..expected }, "{name} {args}");
        assert_eq!(plugin.name.word(), name.as_bytes());
    });
}

#[test]
fn a_whole_file_is_parsed() {
    let block = good(
        r#"// Comments, and commas behind the last.
        {"version": "1.0.0", "rulesets": [{
            "name": "low on swap", "silence-logs": " engine , plugins,", "post_action_delay": "30",
            "prekill_hook_timeout": 7, "drop-in": {"detectors": true, "actions": 0, "disable-on-drop-in": 1},
            "cgroup": "a.slice/*", "xattr_filter": "user.x",
            "detectors": [
                ["one", {"name": "swap_free", "args": {"threshold_pct": 10}}],
                ["two", {"name": "continue"}, {"name": "stop", "args": {"any": ["thing"]}},],
            ],
            "actions": [{"name": "kill_by_swap_usage", "args": {"cgroup": "/b//c/,d,,/b/c", "dry": true}}],
        }]}"#,
    );
    let rules = block.get();
    assert_eq!((rules.file, rules.sets.len(), rules.warnings), (&b"r.json"[..], 1, 0));
    let set = &rules.sets[0];
    assert_eq!(set.name, b"low on swap");
    assert_eq!(set.silence, Silence { engine: true, plugins: true });
    assert_eq!((set.post_action_delay_s, set.prekill_hook_timeout_s), (30, 7));
    assert_eq!(set.drop_in, DropIn { detectors: true, actions: false, disable_on_drop_in: true });
    assert_eq!((set.cgroup, set.xattr_filter), (&[&b"a.slice/*"[..]][..], &b"user.x"[..]));
    let groups: Vec<_> = set.groups.iter().map(|group| (group.name, group.detectors.len())).collect();
    assert_eq!(groups, [(&b"one"[..], 1), (b"two", 2)]);
    let swap = Plugin::with_numbers(Name::SwapFree, &[(Key::ThresholdPct, 10)]);
    assert_eq!(set.groups[0].detectors[0], swap);
    assert_eq!(
        [set.groups[1].detectors[0], set.groups[1].detectors[1]],
        [Name::Continue, Name::Stop].map(Plugin::without_keys)
    );
    assert_eq!(set.actions[0].cgroups.cgroup, [&b"b/c"[..], b"d"]);
    let kill = &set.actions[0];
    assert_eq!(kill.rank(), Some(Rank::SwapUsage { threshold: Amount::Bytes(1), biased: false }));
    assert!(kill.flag(Key::Dry) && kill.flag(Key::ReapMemory) && !kill.flag(Key::Recursive));
    assert_eq!(kill.post_action_delay_s(), None);
}

#[test]
fn what_is_no_list_is_an_empty_one() {
    for text in
        ["{}", r#"{"rulesets": null}"#, r#"{"rulesets": "x"}"#, r#"{"rulesets": 5}"#, r#"{"rulesets": []}"#]
    {
        let said = warned(text);
        assert!(said.last().unwrap().ends_with("there are no rule sets"), "{text}: {said:?}");
    }
    // An object stands for the list of its values, by key.
    let set = |name: &str| {
        format!(
            r#"{{"name": "{name}", "detectors": [["g", {{"name": "stop"}}]], "actions": [{{"name": "stop"}}]}}"#
        )
    };
    let (y, x, z) = (set("y"), set("x"), set("z"));
    let block = good(&format!(r#"{{"rulesets": {{"b": {y}, "a": {x}, "c": {z}}}}}"#));
    assert_eq!(block.get().sets.iter().map(|set| set.name[0]).collect::<Vec<_>>(), b"xyz");
    let block = good(
        r#"{"rulesets": [{"name": 5, "detectors": {"q": ["g", {"name": "stop"}]}, "actions": {"z": {"name": "stop"}, "a": {"name": "continue"}}}]}"#,
    );
    assert_eq!(block.get().sets[0].name, b"5");
    assert_eq!(block.get().sets[0].actions[0].name, Name::Continue);
}

#[test]
fn errors_say_where_and_what_is_allowed() {
    for (text, said) in [
        (
            "",
            "1:1: found the end of the file, allowed: a text in double quotes, a number, true, false, null, [ or {",
        ),
        (
            "\u{feff}{\n \"é\": #}",
            "2:7: found \"#\", allowed: a text in double quotes, a number, true, false, null, [ or {",
        ),
        ("{\"a\"\n}", "2:1: found \"}\", allowed: a colon"),
        ("[]", "1:1: found an array, allowed: an object with the key \"rulesets\""),
        ("\"x\"", "1:1: found \"x\", allowed: an object with the key \"rulesets\""),
        (r#"{"rulesets": [7]}"#, "1:15: found 7, allowed: a rule set, which is an object"),
        (r#"{"rulesets": [null]}"#, "1:15: found null, allowed: a rule set, which is an object"),
        (
            r#"{"rulesets": [{}]}"#,
            "1:15: found a rule set without \"name\", which has to be there and not to be empty",
        ),
        (r#"{"rulesets": [{"name": []}]}"#, "1:24: found an array, allowed: a text, a number, true or false"),
        (
            r#"{"rulesets": [{"name": "a"}]}"#,
            "1:15: found a rule set without \"detectors\", which has to be there and not to be empty",
        ),
        (
            r#"{"rulesets": [{"name": "a", "detectors": [5]}]}"#,
            "1:43: found 5, allowed: a group, which is an array of its name and of detectors",
        ),
        (
            r#"{"rulesets": [{"name": "a", "detectors": [[]]}]}"#,
            "1:43: found an array, allowed: the name of a group, a text",
        ),
        (
            r#"{"rulesets": [{"name": "a", "detectors": [[{"name": "stop"}]]}]}"#,
            "1:44: found an object, allowed: the name of a group, a text",
        ),
        (
            r#"{"rulesets": [{"name": "a", "detectors": [[""]]}]}"#,
            "1:44: found \"\", allowed: a name that is not empty",
        ),
        (
            r#"{"rulesets": [{"name": "a", "detectors": [["g"]]}]}"#,
            "1:43: found an array, allowed: a group, which is an array of its name and of detectors",
        ),
        (
            r#"{"rulesets": [{"name": "a", "detectors": [["g", "h"]]}]}"#,
            "1:49: found \"h\", allowed: an object with \"name\" and \"args\"",
        ),
        (
            r#"{"rulesets": [{"name": "a", "detectors": [["g", {}]]}]}"#,
            "1:49: found a plugin without \"name\", which has to be there and not to be empty",
        ),
        (
            r#"{"rulesets": [{"name": "a", "detectors": [["g", {"name": 5}]]}]}"#,
            "1:58: found \"5\", allowed: continue, stop, ",
        ),
        (
            r#"{"rulesets": [{"name": "a", "detectors": [["g", {"name": "stop"}]]}]}"#,
            "1:15: found a rule set without \"actions\", which has to be there and not to be empty",
        ),
        (
            &with_keys(r#""silence-logs": " ""#),
            "1:120: found \" \", allowed: engine, plugins, or both with a comma",
        ),
        (
            &with_keys(r#""silence-logs": "engines""#),
            "1:120: found \"engines\", allowed: engine, plugins, or both with a comma",
        ),
        (
            &with_keys(r#""silence-logs": ["engine"]"#),
            "1:120: found an array, allowed: a text, a number, true or false",
        ),
        (
            &with_keys(r#""post_action_delay": -1"#),
            "1:125: found -1, allowed: a whole number of seconds, 0 or more",
        ),
        (
            &with_keys(r#""post_action_delay": "soon""#),
            "1:125: found \"soon\", allowed: a whole number of seconds, 0 or more",
        ),
        (
            &with_keys(r#""prekill_hook_timeout": {}"#),
            "1:128: found an object, allowed: a text, a number, true or false",
        ),
        (&with_keys(r#""drop-in": "true""#), "1:115: found \"true\", allowed: an object"),
        (&with_keys(r#""drop-in": {"actions": "true"}"#), "1:127: found \"true\", allowed: true or false"),
        (
            &with_keys(r#""cgroup": "a/../b""#),
            "1:114: found \"a/../b\", allowed: paths of cgroups without \"..\"",
        ),
        (
            &with_action("kill", "{}"),
            "1:94: found \"kill\", allowed: continue, stop, pressure_above, pressure_rising_beyond, memory_above, memory_reclaim, swap_free, exists, nr_dying_descendants, dump_cgroup_overview, kill_by_memory_size_or_growth, kill_by_swap_usage, kill_by_pressure, kill_by_io_cost, kill_by_pg_scan, systemd_restart, kernel_panic, senpai, exec, which runs a program for all else",
        ),
        (
            &with_action("dummy_prekill_hook", "{}"),
            "1:94: found \"dummy_prekill_hook\", allowed: continue, stop, ",
        ),
        (
            &with_action("swap_free", "{}"),
            "1:85: found swap_free without \"threshold_pct\", which has to be there and not to be empty",
        ),
        (
            &with_action("swap_free", r#"{"cgroup": "a"}"#),
            "1:116: found the argument \"cgroup\" of swap_free, allowed: threshold_pct, swapout_bps_threshold",
        ),
        (
            &with_action("swap_free", r#"{"threshold_pct": [1]}"#),
            "1:133: found an array, allowed: a text, a number, true or false",
        ),
        (
            &with_action("swap_free", r#"{"threshold_pct": null}"#),
            "1:133: found null, allowed: a text, a number, true or false",
        ),
        (
            &with_action("swap_free", r#"{"threshold_pct": "much"}"#),
            "1:133: found \"much\", allowed: a whole number",
        ),
        (
            &with_action("kernel_panic", r#"{"dry": true}"#),
            "1:119: found the argument \"dry\" of kernel_panic, allowed: none",
        ),
        (&with_action("kernel_panic", "{}"), "1:85: found kernel_panic, allowed: only with --allow-panic"),
        (r#"{"prekill_hooks": [{"name": "stop"}]}"#, "1:29: found \"stop\", allowed: dummy_prekill_hook"),
    ] {
        let found = refused(text);
        assert!(found == said || said.ends_with(", ") && found.starts_with(said), "{text}\n{found}\n{said}");
    }
}

#[test]
fn what_looks_wrong_is_warned_of() {
    let long = "x".repeat(200);
    for (text, said) in [
        (with_keys(r#""nam": 1"#), r#"key "nam" is ignored"#),
        (with_keys(r#""name": "m""#), r#"key "name" comes again below, and that counts"#),
        (with_keys(r#""post_action_delay": "10s""#), r#""10s" is read as 10"#),
        (with_keys(r#""post_action_delay": 7200"#), "7200 is more than an hour: it is in seconds"),
        (with_keys(r#""prekill_hook_timeout": 5000"#), "5000 is more than an hour: it is in seconds"),
        (
            with_keys(r#""xattr_filter": "user.x""#),
            r#"key "xattr_filter" counts only together with "cgroup""#,
        ),
        (
            with_keys(r#""cgroup": "a", "xattr_filter": "oomd_x""#),
            r#""oomd_x" begins neither with user. nor with trusted., and matches nothing"#,
        ),
        (with_keys(r#""cgroup": "a, b""#), r#""a, b": a blank beside a comma is part of the name"#),
        (
            with_keys(r#""cgroup": "a/{b,c}""#),
            r#""a/{b,c}": braces mean only themselves; write each pattern out"#,
        ),
        (with_keys("") + " x", "text behind the end is not read"),
        (with_action("stop", "5"), "5 is no object, and counts as no arguments"),
        (with_action("exists", "{}"), "exists looks at no cgroup at all"),
        (
            with_action("exists", r#"{"ruleset_cgroup": "a"}"#),
            r#""ruleset_cgroup" matches nothing in a rule set without "cgroup""#,
        ),
        (
            with_action("exists", r#"{"cgroup": "a", "cgroup": "b"}"#),
            r#"key "cgroup" comes again below, and that counts"#,
        ),
        (
            with_action("kill_by_pg_scan", r#"{"cgroup": "/"}"#),
            "kill_by_pg_scan includes the root, which is every process there is",
        ),
        (
            with_action("kill_by_pg_scan", r#"{"cgroup": "a", "log_kmemalloc_prekill": true}"#),
            "true: log_kmemalloc_prekill is ignored",
        ),
        (
            with_action("kill_by_swap_usage", r#"{"cgroup": "a", "threshold": "1.5"}"#),
            r#""1.5" is read as 1 byte"#,
        ),
        (
            with_action("kill_by_swap_usage", r#"{"cgroup": "a", "threshold": "5 "}"#),
            r#""5 " is read as 5 bytes"#,
        ),
        (
            with_action("kill_by_swap_usage", r#"{"cgroup": "a", "threshold": 1536.0}"#),
            "1536.0 is read as 1536 bytes",
        ),
        (
            with_action("kill_by_swap_usage", r#"{"cgroup": "a", "threshold": "10.5%"}"#),
            r#""10.5%" is read as 10%"#,
        ),
        (
            with_action("kill_by_swap_usage", r#"{"cgroup": "a", "threshold": "-5"}"#),
            r#""-5" is read as -5242880 bytes, and everything is above that"#,
        ),
        (
            with_action("kill_by_swap_usage", r#"{"cgroup": "a", "threshold": 1073741824}"#),
            "1073741824 is read as 1048576.0 GiB: a number without suffix is mebibytes",
        ),
        (
            with_action(
                "pressure_above",
                r#"{"cgroup": "a", "resource": "io", "threshold": 100, "duration": 1}"#,
            ),
            "100: no pressure is above 100",
        ),
        (
            with_action(
                "pressure_above",
                r#"{"cgroup": "a", "resource": "io", "threshold": "0.6", "duration": 1}"#,
            ),
            r#""0.6" is read as 0"#,
        ),
        (
            with_action(
                "pressure_above",
                r#"{"cgroup": "a", "resource": "io", "threshold": 6, "duration": 30000}"#,
            ),
            "30000 is more than an hour: it is in seconds",
        ),
        (with_action("swap_free", r#"{"threshold_pct": 101}"#), "101 is above 100 per cent"),
        (with_action("swap_free", r#"{"threshold_pct": -1}"#), "-1 is below 0"),
        (
            with_action("kill_by_memory_size_or_growth", r#"{"cgroup": "a", "min_growth_ratio": "1.5x"}"#),
            r#""1.5x": what stands behind the number does not count"#,
        ),
        (
            with_action(
                "memory_above",
                r#"{"cgroup": "a", "threshold": 60, "duration": 1, "meminfo_location": "/x"}"#,
            ),
            r#"key "meminfo_location" is ignored"#,
        ),
        (with_keys(&format!(r#""{long}": 1"#)), &format!(r#"key "{}" is ignored"#, &long[..64])),
    ] {
        let found = warned(&text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].ends_with(&format!(": warning: {said}")), "{text}: {found:?}");
    }
    let hook =
        r#"{"prekill_hooks": [{"name": "dummy_prekill_hook", "args": {"cgroup": "/", "xattr": "user.x"}}]}"#;
    assert!(warned(hook)[0].ends_with("dummy_prekill_hook does nothing; see --before-kill"));
    let (parsed, _) = parse(hook);
    let parsed = parsed.unwrap();
    let hook = &parsed.get().prekill_hooks[0];
    assert_eq!((hook.name, hook.cgroups.cgroup), (Name::DummyPrekillHook, &[&b""[..]][..]));
    // Without devices io costs nothing.
    let (_, said) = permitted(&with_action("kill_by_io_cost", r#"{"cgroup": "a"}"#), Permits::default());
    assert!(said[0].ends_with("warning: kill_by_io_cost kills nobody without --device"), "{said:?}");
    let detector = with_keys(r#""detectors": [["g", {"name": "kill_by_pg_scan", "args": {"cgroup": "a"}}]]"#);
    assert!(warned(&detector)[1].ends_with("kill_by_pg_scan kills each time that the group is looked at"));
}

#[test]
fn what_is_dropped_in_may_be_incomplete() {
    let text = r#"{"rulesets": [{"name": "n"}]}"#;
    let drop_in = Permits { is_drop_in: true, ..Permits::default() };
    let (parsed, said) = permitted(text, drop_in);
    assert!(said.is_empty() && parsed.unwrap().get().sets[0].groups.is_empty());
    assert!(parse(text).0.is_none());
}

#[test]
fn there_is_an_end_to_patterns() {
    let list = |count: usize| (0..count).map(|n| format!("{n},")).collect::<String>();
    let args = |count| format!(r#"{{"cgroup": "{}"}}"#, list(count));
    action("exists", &args(256), |plugin, _| assert_eq!(plugin.cgroups.cgroup.len(), 256));
    assert!(
        refused(&with_action("exists", &args(257))).ends_with("allowed: at most 256 patterns of cgroups")
    );
    action("exists", r#"{"cgroup": "/,a//b/./c/,////,a/b/c,.x"}"#, |plugin, _| {
        assert_eq!(plugin.cgroups.cgroup, [&b""[..], b"a/b/c", b".x"]);
    });
}

#[test]
fn the_largest_parts_have_room() {
    // What takes most memory for the bytes it has in the file.
    let patterns = (0..200).map(|n| char::from(b'!' + (n % 90) as u8)).filter(|c| !"\",/\\{}".contains(*c));
    let list: String = patterns.flat_map(|c| [c, ',']).collect();
    let many = |part: &str, count| format!("{part},").repeat(count);
    for part in [
        r#"{"name":"stop"}"#.to_string(),
        r#"{"name":"senpai","args":{"cgroup":"a"}}"#.to_string(),
        r#"{"name":"exec","args":{"command":["/",0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}}"#
            .to_string(),
        format!(r#"{{"name":"exists","args":{{"cgroup":"{list}"}}}}"#),
    ] {
        let count = 200_000 / part.len();
        let actions = many(&part, count);
        let text = with_keys(&format!(r#""actions":[{actions}]"#));
        let (parsed, said) = parse(&text);
        let parsed = parsed.unwrap_or_else(|| panic!("{part}: {said:?}"));
        assert_eq!(parsed.get().sets[0].actions.len(), count);
    }
}
