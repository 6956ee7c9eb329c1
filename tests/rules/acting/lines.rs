//! What is told besides of kills, and when.

use super::fixture::Machine;
use super::{CONTINUE, Running, STOP, always, bustd, bustd_each, kill, plugin, set, with_beat};
use std::fs;
use std::time::{Duration, Instant};

/// A machine with these sets.
fn machine(sets: &str) -> Machine {
    let machine = Machine::new();
    machine.sized("beat", 1);
    machine.tree.write("rules.json", with_beat(sets));
    machine
}

/// A guard there, with these options besides.
fn start(machine: &Machine, options: &[&str]) -> Running {
    let mut bustd = bustd(machine);
    bustd.args(options);
    Running::new(bustd)
}

fn has(told: &[String], part: &str) -> bool {
    told.iter().any(|line| line.contains(part))
}

#[test]
fn an_overview_is_of_those_under_pressure() {
    let overview = |more: &str| plugin("dump_cgroup_overview", more);
    let pressed = overview(r#""cgroup": "watched/*""#);
    let root = overview(r#""cgroup": "/", "always": "1""#);
    let machine = machine(&set("R", &[&[&pressed, &root]], &[CONTINUE.into()], ""));
    for (name, averages) in [
        ("enough", ["1.00", "0.01"]),
        ("short", ["0.99", "9.00"]),
        ("sudden", ["50.00", "0.00"]),
        ("none", ["0.00", "0.00"]),
    ] {
        machine.sized(&format!("watched/{name}"), 3 << 20);
        let line = |word, [a, b]: [&str; 2]| format!("{word} avg10={a} avg60={b} avg300=12.34 total=0\n");
        let text = line("some", ["99.00"; 2]) + &line("full", averages);
        machine.write(&format!("watched/{name}"), "memory.pressure", &text);
    }
    let told = start(&machine, &[]).told();
    let lines: Vec<_> = told.iter().filter(|line| line.contains("full pressure")).collect();
    assert_eq!(lines.len(), 2, "{told:#?}");
    let said = "cgroup \"watched/enough\": 3072 KiB, full pressure 1% 0.01% 12.34%";
    assert!(lines[0].ends_with(said) && lines[1].contains("cgroup \"\": "), "{told:#?}");
}

/// What is found is told only where that is asked for and the set is not silent.
#[test]
fn figures_are_told_for_debugging() {
    let detectors = |debug: &str| {
        let above = format!(r#""cgroup": "s/*", "threshold": 1, "duration": 0{debug}"#);
        let dying = format!(r#""cgroup": "s/*", "count": 3{debug}"#);
        [plugin("memory_above", &above), plugin("nr_dying_descendants", &dying)]
    };
    let sets = |more: [&str; 3], silence: [&str; 3]| {
        let each = |(at, (more, silence)): (usize, (&str, &str))| {
            let [above, dying] = detectors(more);
            set(&format!("R{at}"), &[&[&above, &dying]], &[CONTINUE.into()], silence)
        };
        more.into_iter().zip(silence).enumerate().map(each).collect::<Vec<_>>().join(", ")
    };
    let debug = r#", "debug": true"#;
    let machine = machine(&sets([debug, "", debug], ["", "", r#""silence-logs": "plugins""#]));
    machine.sized("s/a", 2 << 20);
    machine.write("s/a", "cgroup.stat", "nr_dying_descendants 2\n");
    let told = start(&machine, &[]).told();
    for part in ["the largest has 2097152 bytes", "dying descendants: 2"] {
        assert!(has(&told, &format!("rule set \"R0\": {part}")), "{told:#?}");
        assert_eq!(told.iter().filter(|line| line.contains(part)).count(), 1, "{told:#?}");
    }
}

#[test]
fn the_engine_tells_what_it_does_unless_it_is_silent() {
    let act = |name: &str, more: &str| set(name, &[&[CONTINUE]], &[kill("s/a", "")], more);
    let machine = machine(&[act("loud", ""), act("silent", r#""silence-logs": "engine""#)].join(", "));
    machine.sized("s/a", 1000);
    let told = start(&machine, &["--verbose"]).told();
    for part in [": \"A\" has fired", ": kill_by_memory_size_or_growth is the end of it"] {
        assert!(has(&told, &format!("rule set \"loud\"{part}")), "{told:#?}");
        assert!(!has(&told, &format!("rule set \"silent\"{part}")), "{told:#?}");
    }
    assert!(has(&told, "ruleset:[silent]"), "{told:#?}");
    assert!(!has(&start(&machine, &[]).told(), "has fired"));
}

#[test]
fn rules_are_looked_at_after_an_interval_for_the_first_time() {
    let machine = machine(&always(kill("s/*", "")));
    machine.sized("s/a", 1);
    let started = Instant::now();
    let mut running = Running::new(bustd_each(&machine, 2));
    for tick in 1..=2 {
        assert!(has(&running.told(), "ruleset:[R]"));
        assert!(started.elapsed() >= Duration::from_secs(2 * tick), "{:?}", started.elapsed());
    }
}

#[test]
fn what_would_be_done_is_told_and_counts() {
    let sets = [
        set(
            "restart",
            &[&[CONTINUE]],
            &[plugin("systemd_restart", r#""service": "a.service", "dry": true"#)],
            "",
        ),
        set("run", &[&[CONTINUE]], &[plugin("exec", r#""command": ["/bin/false", "x"]"#)], ""),
        set("panic", &[&[CONTINUE]], &[plugin("kernel_panic", "")], ""),
        set("root", &[&[CONTINUE]], &[kill("/", "")], ""),
    ];
    let machine = machine(&sets.join(", "));
    let mut running = start(&machine, &["--allow-panic"]);
    let told = running.told();
    for part in [
        "restarted systemd service=a.service (dry)",
        "rule set \"run\": would run /bin/false",
        "rule set \"panic\": would crash the machine",
    ] {
        assert!(has(&told, part), "{part}: {told:#?}");
    }
    let root = "rule set \"root\": the root is not killed, for everybody is in it";
    assert!(has(&told, root), "{told:#?}");
    // The others rest now.
    let told = running.told();
    assert!(has(&told, root), "{told:#?}");
    assert!(["restarted", "would run", "would crash"].iter().all(|part| !has(&told, part)), "{told:#?}");
}

/// What programs are told of each set, whatever it is called, and of what is dropped in.
#[test]
fn statistics_are_of_each_set() {
    let drops = r#""drop-in": {"actions": true}, "post_action_delay": 0"#;
    let sets = [
        set(r#"a\"b\\c"#, &[&[CONTINUE]], &[kill("s/a", "")], drops),
        set("idle", &[&[STOP]], &[kill("s/a", "")], ""),
        set("vain", &[&[CONTINUE]], &[kill("nowhere", "")], ""),
    ];
    let machine = machine(&sets.join(", "));
    machine.sized("s/a", 5);
    fs::create_dir(machine.drop_ins()).unwrap();
    let text = format!(r#"{{"rulesets": [{{"name": "a\"b\\c", "actions": [{}]}}]}}"#, kill("nowhere", ""));
    machine.drop_in("one", &text);
    let stats = machine.tree.path().join("stats.prom");
    let [dir, file] = [machine.drop_ins(), stats.clone()].map(|path| path.to_str().unwrap().to_owned());
    let mut running = start(&machine, &["--rules-dir", &dir, "--stats", &file]);
    running.told();
    running.told();
    // Written at the end of each tick in which somebody acted; the second may not be over.
    let text = fs::read_to_string(&stats).unwrap();
    let figure = |what: &str, labels: &str| -> u64 {
        let start = format!("bustd_ruleset_{what}{{ruleset=\"{labels}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("{start}\n{text}")).parse().unwrap()
    };
    let first = r#"a\"b\\c"#;
    let fired = figure("fired_total", first);
    assert!((1..=2).contains(&fired) && figure("actions_total", first) == fired, "{text}");
    assert!(figure("last_action_timestamp_seconds", first) > 1_000_000_000);
    let dropped = format!(r#"{first}",drop_in="one"#);
    assert_eq!((figure("fired_total", &dropped), figure("actions_total", &dropped)), (fired, 0), "{text}");
    for (name, fires) in [("idle", 0), ("vain", fired)] {
        let told =
            ["fired_total", "actions_total", "last_action_timestamp_seconds"].map(|what| figure(what, name));
        assert_eq!(told, [fires, 0, 0], "{name}\n{text}");
    }
}

/// The limits of an idle cgroup as they were measured with oomd.
#[test]
fn a_cgroup_is_sized() {
    let machine = machine(&always(plugin("senpai", r#""cgroup": "s/*", "interval": "2""#)));
    machine.tree.write("proc/meminfo", "MemTotal: 8000000 kB\nMemFree: 1 kB\nMemAvailable: 4000000 kB\n");
    machine.sized("s/a", 1 << 30);
    machine.write("s/a", "memory.stat", &format!("anon 4096\npgscan 0\nactive_file {}\n", 1 << 30));
    let mut running = start(&machine, &["--verbose"]);
    let mut limits = Vec::new();
    for _ in 0..7 {
        let told = running.told();
        let limit =
            told.iter().find_map(|line| line.split_once("would write ")?.1.strip_suffix(" to memory.high"));
        // The first gives it all that it has; that is not worth a word.
        let limit = limit.map(str::to_owned).unwrap_or_default();
        if !limit.is_empty() {
            machine.write("s/a", "memory.high", &format!("{limit}\n"));
        } else if limits.is_empty() {
            machine.write("s/a", "memory.high", "1073741824\n");
        }
        limits.push(limit);
    }
    assert_eq!(limits, ["", "", "", "1063002112", "", "", "1052368896"]);
}

/// What Debian and others install acts: by pressure, without the wait, and by swap.
#[test]
fn the_installed_rules_act() {
    let desktop = include_str!("../files/desktop.json");
    let at_once = desktop.replace(r#""duration": "30""#, r#""duration": "1""#);
    assert_ne!(desktop, at_once);
    let sets = at_once[at_once.find("[\n").unwrap() + 1..].trim_end().trim_end_matches('}').trim_end();
    let machine = machine(sets.strip_suffix(']').unwrap());
    for (name, current, swap) in [
        ("user.slice", 900, 90),
        ("user.slice/user-1000.slice", 900, 90),
        ("user.slice/user-1000.slice/session-1.scope", 100, 80),
        ("user.slice/user-1000.slice/user@1000.service", 800, 10),
        ("user.slice/user-1000.slice/user@1000.service/app.slice", 800, 10),
        ("user.slice/user-1000.slice/user@1000.service/session.slice", 1, 0),
        ("system.slice", 500, 9),
        ("system.slice/a.service", 500, 9),
    ] {
        machine.sized(name, current << 20);
        machine.write(name, "memory.swap.current", &format!("{}\n", swap << 20));
    }
    machine.press("user.slice", "memory.pressure", [99; 3], [61, 0, 0]);
    machine.write("user.slice", "memory.stat", "anon 4096\npgscan 7\n");
    let swap = |free_kib: u64| {
        let text = format!(
            "MemTotal: 4000000 kB\nMemFree: 1 kB\nMemAvailable: 2000000 kB\nSwapTotal: 8000000 kB\nSwapFree: {free_kib} kB\n"
        );
        machine.tree.write("proc/meminfo", text);
    };
    swap(800_000);
    let mut running = start(&machine, &[]);
    assert_eq!(running.tick(), Ok(vec![]));
    swap(799_999);
    let told: Vec<_> = running.tick().unwrap().iter().map(|line| super::short(line)).collect();
    let expected = [
        "sessions/users wait user.slice/user-1000.slice/user@1000.service/app.slice",
        "swap/a tenth is left user.slice/user-1000.slice/session-1.scope",
    ];
    assert_eq!(told, expected);
}
