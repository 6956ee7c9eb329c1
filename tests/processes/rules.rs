//! Rules that kill, in cgroups of the kernel's. Whom they kill is told by attributes, for
//! memory is short nowhere.

use crate::harness::{
    Confined, Eater, FakeMeminfo, Guard, Hierarchy, Journal, NOBODY, OnTerm, PROGRAM, eventually,
    in_namespace, in_namespace_with_users, mount, script, skip,
};
use crate::stuck::{sleeps, stop_at_exit};
use rustix::fs::{XattrFlags, getxattr, setxattr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const FILE: &str = "/run/rules.json";
const PIDFILE: &str = "/run/rules.pid";

/// A cgroup with some below it, and rules about those.
struct Slice(Confined);

impl Slice {
    fn new() -> Option<Self> {
        Confined::new(Hierarchy::V2).map(Self)
    }

    fn path(&self) -> &str {
        self.0.path.trim_start_matches('/')
    }

    /// Writes a file of rules: these sets, and one that tells that there was a tick.
    fn rules(&self, sets: &[String]) {
        let beat = set(
            "beat",
            r#"{"name": "continue"}"#,
            &[plugin("dump_cgroup_overview", &format!(r#""cgroup": "{}", "always": true"#, self.path()))],
        );
        let text = format!("{{\"rulesets\": [{}, {beat}]}}", sets.join(", "));
        fs::write(FILE, text).expect("a file in scratch");
    }

    /// A kill of what is in it.
    fn kill(&self, more: &str) -> String {
        let args = format!(r#""cgroup": "{}/*", "resource": "memory"{more}"#, self.path());
        plugin("kill_by_pressure", &args)
    }

    /// Starts a guard that has no rules but these.
    fn guard(&self, journal: &mut Journal, options: &[&str]) -> Guard {
        self.guard_each("1", journal, options)
    }

    /// The same with so many seconds between two ticks.
    fn guard_each(&self, interval_s: &str, journal: &mut Journal, options: &[&str]) -> Guard {
        let own: &[&str] = &["--no-daemon", "--no-default-rules", "--rules", FILE, "--interval", interval_s];
        Guard::watching(journal, &[own, options])
    }

    /// Waits for the end of two ticks: one that is just begun, and the next.
    fn tick(&self, journal: &mut Journal) {
        for _ in 0..2 {
            journal.expect(&format!("cgroup \"{}\"", self.path()));
        }
    }
}

fn plugin(name: &str, args: &str) -> String {
    format!(r#"{{"name": "{name}", "args": {{{args}}}}}"#)
}

fn set(name: &str, detector: &str, actions: &[String]) -> String {
    format!(
        r#"{{"name": "{name}", "detectors": [["group", {detector}]], "actions": [{}]}}"#,
        actions.join(", ")
    )
}

/// A set that acts at once.
fn act(actions: &[String]) -> String {
    set("act", r#"{"name": "continue"}"#, actions)
}

/// The same after a hook that has so many seconds.
fn act_after(hook_s: u32, actions: &[String]) -> String {
    let mut set = act(actions);
    set.insert_str(set.len() - 1, &format!(r#", "prekill_hook_timeout": "{hook_s}""#));
    set
}

/// A hook that does not end by itself.
const ENDLESS: &str = "#!/bin/sh\necho hook: started >&2\nexec sleep 1000\n";

/// A process that is in a cgroup.
fn member(cgroup: &Confined, name: &str, journal: &Journal) -> Eater {
    let eater = Eater::named(name).mib(1).start(journal);
    cgroup.take(eater.pid());
    eater
}

/// Sets an attribute; false where the kernel has none for cgroups.
fn mark(cgroup: &Confined, name: &str) -> bool {
    let is_set = setxattr(cgroup.dir.as_os_str().as_bytes(), name, b"1", XattrFlags::empty()).is_ok();
    if !is_set {
        skip("cgroups have no attributes here");
    }
    is_set
}

/// How many have died is written after it has been told.
fn expect_attribute(cgroup: &Confined, name: &str, value: &str) {
    eventually(name, || attribute(cgroup, name) == value);
}

fn attribute(cgroup: &Confined, name: &str) -> String {
    let mut buf = [0; 64];
    let len = getxattr(cgroup.dir.as_os_str().as_bytes(), name, &mut buf[..]).unwrap_or(0);
    String::from_utf8_lossy(&buf[..len]).into_owned()
}

/// The namespaces of the attributes that can be set here: what is trusted takes root of the
/// machine. The first user namespace always has this number (PROC_USER_INIT_INO).
fn namespaces() -> &'static [&'static str] {
    let namespace = fs::read_link("/proc/self/ns/user").expect("/proc");
    let is_machines_root =
        rustix::process::geteuid().is_root() && namespace == Path::new("user:[4026531837]");
    if is_machines_root { &["user", "trusted"] } else { &["user"] }
}

/// Lets a process end that was to stop at its exit, once it has.
fn let_end(pid: rustix::process::Pid) {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: the pid of our own child; no memory is read or written.
    let is_let = || unsafe { libc::ptrace(libc::PTRACE_DETACH, pid.as_raw_pid(), none, none) } == 0;
    eventually("it is let go of", is_let);
}

/// What `--status` says of the guard's rules, once one has acted.
fn status_tells_of_them() {
    let ask = |more: &[&str]| {
        let asked = Command::new(PROGRAM).args(["--status", "--pidfile", PIDFILE]).args(more).output();
        let answer = asked.expect("it runs");
        assert!(answer.status.success());
        String::from_utf8(answer.stdout).expect("text")
    };
    let status: serde_json::Value = serde_json::from_str(&ask(&["--json"])).expect("JSON");
    let [act, beat] = &status["rules"].as_array().expect("a list")[..] else { panic!("{status}") };
    assert!(act["ago_s"].as_u64().is_some_and(|ago_s| ago_s < 600), "{act}");
    assert_eq!((&act["ruleset"], &act["fired"], &act["acted"]), (&"act".into(), &1.into(), &1.into()));
    assert_eq!((&beat["ruleset"], &beat["acted"]), (&"beat".into(), &0.into()));
    assert!(beat["ago_s"].is_null() && act["drop_in"].is_null(), "{status}");
    let told = ask(&[]);
    assert!(told.contains(&format!("\nthe guard's rules are those of {FILE}\n")), "{told}");
    assert!(told.lines().any(|line| line.ends_with(" act") && line.starts_with("      1      1 ")), "{told}");
}

fn a_cgroup_dies_as_a_whole(more: &str) {
    let Some(slice) = Slice::new() else { return };
    let (doomed, spared) = (slice.0.below("doomed"), slice.0.below("spared"));
    let nested = doomed.below("nested");
    if !mark(&doomed, "user.oomd_prefer") {
        return;
    }
    let mut journal = Journal::new();
    let plans = ["one", "two", "three"].map(|name| Eater::named(name).mib(1).on_term(OnTerm::Ignore));
    let mut dying = plans.map(|plan| plan.start(&journal));
    doomed.take(dying[0].pid());
    nested.take(dying[1].pid());
    doomed.take(dying[2].pid());
    let living = member(&spared, "living", &journal);
    slice.rules(&[act(&[slice.kill(more)])]);
    let guard = slice.guard(&mut journal, &["--stats", "/run/kills.prom", "--pidfile", PIDFILE]);
    let line = format!(
        "0.00 0.00 0.00 {}/doomed 0 ruleset:[act] detectorgroup:[group] killer:kill_by_pressure v2",
        slice.path()
    );
    journal.expect(&line);
    assert_eq!(dying.each_mut().map(Eater::death), [Some(libc::SIGKILL); 3]);
    journal.expect(" died ");
    // The set rests now.
    slice.tick(&mut journal);
    slice.tick(&mut journal);
    living.expect_unharmed(&mut journal);
    assert_eq!(journal.count("killer:"), 1);
    guard.look(&mut journal);
    let standing = journal.expect("rule set \"act\": fired 1 times, acted 1, last ");
    assert!(standing.contains(" s ago; rests for 1"), "{standing}");
    let stats = fs::read_to_string("/run/kills.prom").expect("statistics");
    for line in [
        "bustd_kills_total{rule=\"file\",signal=\"kill\"} 1",
        "bustd_ruleset_fired_total{ruleset=\"act\"} 1",
        "bustd_ruleset_actions_total{ruleset=\"act\"} 1",
        "bustd_ruleset_actions_total{ruleset=\"beat\"} 0",
    ] {
        assert!(stats.lines().any(|found| found == line), "{line}\n{stats}");
    }
    status_tells_of_them();
    for namespace in namespaces() {
        let of = |name: &str| attribute(&doomed, &format!("{namespace}.oomd_{name}"));
        expect_attribute(&doomed, &format!("{namespace}.oomd_kill"), "3");
        assert_eq!(of("ooms"), "1", "{namespace}");
        assert_eq!(of("kill_uuid").len(), 32);
    }
    guard.end();
}

#[test]
fn a_rule_kills_whoever_is_in_a_cgroup() {
    in_namespace(|| a_cgroup_dies_as_a_whole(""));
}

#[test]
fn a_rule_kills_them_at_once() {
    in_namespace(|| a_cgroup_dies_as_a_whole(r#", "kernelkill": true, "recursive": false"#));
}

/// Garbage in its attributes, which its owner may write, does not save a cgroup.
#[test]
fn a_cgroup_whose_attributes_are_nonsense_dies() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let doomed = slice.0.below("doomed");
        if !mark(&doomed, "user.oomd_prefer") {
            return;
        }
        let set = |name: &str, value: &[u8]| {
            setxattr(doomed.dir.as_os_str().as_bytes(), name, value, XattrFlags::empty())
                .expect("an attribute");
        };
        set("user.oomd_ooms", b"x");
        set("user.oomd_kill", &[b'9'; 200]);
        let mut journal = Journal::new();
        let mut dying = member(&doomed, "dying", &journal);
        slice.rules(&[act(&[slice.kill("")])]);
        let guard = slice.guard(&mut journal, &[]);
        journal.expect("killer:kill_by_pressure");
        assert_eq!(dying.death(), Some(libc::SIGKILL));
        journal.expect(" died ");
        expect_attribute(&doomed, "user.oomd_kill", "1");
        assert_eq!(attribute(&doomed, "user.oomd_ooms"), "1");
        guard.end();
    });
}

/// Those that are never to be killed live, and the others of their cgroup do not.
#[test]
fn the_unkillable_live() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let doomed = slice.0.below("doomed");
        let mut journal = Journal::new();
        let living = Eater::named("living").mib(1).start(&journal);
        let shielded = Eater::named("shielded").mib(1).oom_score_adj(-1000).start(&journal);
        let mut dying = Eater::named("dying").mib(1).start(&journal);
        for eater in [&living, &shielded, &dying] {
            doomed.take(eater.pid());
        }
        slice.rules(&[act(&[slice.kill(r#", "kernelkill": true"#)])]);
        let guard = slice.guard(&mut journal, &["--unkillables", "any:living"]);
        assert_eq!(dying.death(), Some(libc::SIGKILL));
        journal.expect(" died ");
        living.expect_unharmed(&mut journal);
        shielded.expect_unharmed(&mut journal);
        guard.end();
    });
}

/// A user cannot hide behind names: what is nested so deep that its path cannot be told dies
/// with what is above it and is theirs.
#[test]
fn long_names_save_nobody() {
    in_namespace_with_users(|| {
        let Some(slice) = Slice::new() else { return };
        let long = "x".repeat(250);
        let outer = slice.0.below(&long);
        let inner = outer.below(&long);
        let living = Eater::named("living").mib(1).uid(NOBODY);
        for cgroup in [&outer, &inner] {
            std::os::unix::fs::chown(&cgroup.dir, Some(NOBODY), None).expect("root");
        }
        let mut journal = Journal::new();
        let mut dying = Eater::named("dying").mib(1).uid(NOBODY).start(&journal);
        inner.take(dying.pid());
        let other = slice.0.below("other");
        let living = living.start(&journal);
        other.take(living.pid());
        slice.rules(&[act(&[plugin(
            "kill_by_pressure",
            &format!(r#""cgroup": "{}/x*", "resource": "memory", "recursive": true"#, slice.path()),
        )])]);
        let guard = slice.guard(&mut journal, &[]);
        journal.expect("killer:kill_by_pressure");
        assert_eq!(dying.death(), Some(libc::SIGKILL));
        journal.expect(" died ");
        living.expect_unharmed(&mut journal);
        guard.end();
    });
}

/// A cgroup that the guard is in is not killed, and the next one is.
#[test]
fn the_guards_own_cgroup_is_passed_over() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let (ours, doomed) = (slice.0.below("ours"), slice.0.below("doomed"));
        if !mark(&ours, "user.oomd_prefer") {
            return;
        }
        let mut journal = Journal::new();
        let mut dying = Eater::named("dying").mib(1).start(&journal);
        let living = Eater::named("living").mib(1).start(&journal);
        doomed.take(dying.pid());
        ours.take(living.pid());
        slice.rules(&[act(&[slice.kill("")])]);
        let guard = slice.guard(&mut journal, &[]);
        ours.take(guard.pid());
        journal.expect("not killed, for bustd or process 1 is in it");
        assert_eq!(dying.death(), Some(libc::SIGKILL));
        living.expect_unharmed(&mut journal);
        guard.end();
    });
}

/// Of one whose only process has died and was not waited for, nobody is killed again and
/// again: the next one is.
#[test]
fn the_dead_are_not_killed_again() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let (dead, doomed) = (slice.0.below("dead"), slice.0.below("doomed"));
        if !mark(&dead, "user.oomd_prefer") {
            return;
        }
        let mut journal = Journal::new();
        let zombie = member(&dead, "zombie", &journal);
        rustix::process::kill_process(zombie.pid(), rustix::process::Signal::KILL).expect("our child");
        eventually("it is a zombie", || zombie.stat().is_gone());
        let mut dying = member(&doomed, "dying", &journal);
        slice.rules(&[act(&[slice.kill("")])]);
        let guard = slice.guard(&mut journal, &[]);
        journal.expect("/doomed ");
        assert_eq!(dying.death(), Some(libc::SIGKILL));
        guard.end();
    });
}

/// What a hook does comes before the kill, for as long as the set lets it.
#[test]
fn a_hook_comes_first() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let doomed = slice.0.below("doomed");
        let mut journal = Journal::new();
        let mut dying = Eater::named("dying").mib(1).on_term(OnTerm::Ignore).start(&journal);
        doomed.take(dying.pid());
        let text =
            "#!/bin/sh\nkill -0 $BUSTD_PID && sleep 0.5 && echo \"hook: $BUSTD_RULE $BUSTD_PID\" >&2\n";
        let hook = script("hook", text);
        slice.rules(&[act(&[slice.kill("")])]);
        let guard = slice.guard(&mut journal, &["--before-kill", &hook]);
        journal.expect(&format!("hook: file {}", dying.pid().as_raw_pid()));
        journal.expect(" died ");
        assert_eq!(dying.death(), Some(libc::SIGKILL));
        guard.end();
    });
}

/// A hook that does not end holds a kill up for as long as its set says, and no longer.
#[test]
fn a_hook_holds_a_kill_up_for_so_long() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let doomed = slice.0.below("doomed");
        let mut journal = Journal::new();
        let mut dying = member(&doomed, "dying", &journal);
        let endless = script("endless", ENDLESS);
        slice.rules(&[act_after(2, &[slice.kill("")])]);
        let guard = slice.guard(&mut journal, &["--before-kill", &endless]);
        journal.expect("hook: started");
        let started = Instant::now();
        assert_eq!(dying.death(), Some(libc::SIGKILL));
        // From when it was started, which was not seen at once.
        let held = started.elapsed();
        assert!((Duration::from_secs(1)..Duration::from_secs(60)).contains(&held), "{held:?}");
        guard.end();
    });
}

/// The hole: a hook was ended after five seconds, however long its set let it hold the kill up.
#[test]
fn a_hook_has_as_long_as_its_set_says() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let doomed = slice.0.below("doomed");
        let mut journal = Journal::new();
        let mut dying = member(&doomed, "dying", &journal);
        let slow = script("slow", "#!/bin/sh\nsleep 7\necho hook: done >&2\n");
        slice.rules(&[act_after(60, &[slice.kill("")])]);
        let guard = slice.guard(&mut journal, &["--before-kill", &slow]);
        journal.expect("hook: done");
        journal.expect(" died ");
        assert_eq!(dying.death(), Some(libc::SIGKILL));
        guard.end();
    });
}

/// What a set lets hooks take is for all kills of one chain together.
#[test]
fn hooks_hold_all_kills_of_a_chain_together() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let cgroups = ["one", "two"].map(|name| slice.0.below(name));
        if !mark(&cgroups[0], "user.oomd_prefer") {
            return;
        }
        let mut journal = Journal::new();
        let mut dying = cgroups.each_ref().map(|cgroup| member(cgroup, "dying", &journal));
        let endless = script("endless", ENDLESS);
        slice.rules(&[act_after(6, &[slice.kill(r#", "always_continue": true"#), slice.kill("")])]);
        let guard = slice.guard(&mut journal, &["--before-kill", &endless]);
        journal.expect("hook: started");
        assert_eq!(dying[0].death(), Some(libc::SIGKILL));
        let began = Instant::now();
        assert_eq!(dying[1].death(), Some(libc::SIGKILL));
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        // It is run before each of them all the same.
        journal.expect("hook: started");
        guard.end();
    });
}

/// The hole: a minute that a hook has was one in which memory could run out, for only one
/// kill is under way at a time.
#[test]
fn a_hook_holds_no_kill_up_below_the_kill_limit() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let doomed = slice.0.below("doomed");
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(600);
        let mut member = member(&doomed, "member", &journal);
        let mut large = Eater::named("large").mib(60).on_term(OnTerm::Ignore).start(&journal);
        let endless = script("endless", ENDLESS);
        slice.rules(&[act_after(60, &[slice.kill("")])]);
        let rules = ["--no-daemon", "--rules", FILE, "--interval", "1", "--before-kill", &endless];
        let guard = Guard::watching(&mut journal, &[&rules, &["--mem", "512M,256M"]]);
        journal.expect("hook: started");
        meminfo.set_available(100);
        assert_eq!(member.death(), Some(libc::SIGKILL));
        // Nor was it the hook's end that let the kill go on.
        assert_eq!(journal.count("--before-kill"), 0);
        assert_eq!(large.death(), Some(libc::SIGKILL));
        guard.end();
    });
}

/// The hole: one process that ends while a hook runs saved all the others.
#[test]
fn who_ends_before_the_kill_saves_nobody() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let doomed = slice.0.below("doomed");
        let mut journal = Journal::new();
        let _first = member(&doomed, "first", &journal);
        let mut second = member(&doomed, "second", &journal);
        let hook = script("hook", "#!/bin/sh\nkill -9 $BUSTD_PID\nsleep 0.5\n");
        slice.rules(&[act(&[slice.kill("")])]);
        let guard = slice.guard(&mut journal, &["--before-kill", &hook]);
        journal.expect(" died ");
        assert_eq!(second.death(), Some(libc::SIGKILL));
        for namespace in namespaces() {
            expect_attribute(&doomed, &format!("{namespace}.oomd_kill"), "1");
        }
        guard.end();
    });
}

#[test]
fn who_takes_long_to_die_is_counted_once() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let doomed = slice.0.below("doomed");
        let mut journal = Journal::new();
        let mut first = member(&doomed, "first", &journal);
        let mut slow = member(&doomed, "slow", &journal);
        stop_at_exit(slow.pid());
        slice.rules(&[act(&[slice.kill("")])]);
        let guard = slice.guard(&mut journal, &[]);
        assert_eq!(first.death(), Some(libc::SIGKILL));
        // So many rounds find it alive.
        let before = sleeps(&guard);
        eventually("it was looked at", || sleeps(&guard) > before + 5);
        let_end(slow.pid());
        journal.expect(" died ");
        assert_eq!(slow.death(), Some(libc::SIGKILL));
        let names: Vec<_> = namespaces().iter().map(|namespace| format!("{namespace}.oomd_kill")).collect();
        names.iter().for_each(|name| expect_attribute(&doomed, name, "2"));
        guard.end();
        names.iter().for_each(|name| assert_eq!(attribute(&doomed, name), "2", "{name}"));
    });
}

/// The hole: where one does not die of it, the attributes told of nobody.
#[test]
fn who_does_not_die_is_counted() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let doomed = slice.0.below("doomed");
        if !mark(&doomed, "user.oomd_prefer") {
            return;
        }
        let mut journal = Journal::new();
        let mut first = member(&doomed, "first", &journal);
        let stuck = member(&doomed, "stuck", &journal);
        stop_at_exit(stuck.pid());
        slice.rules(&[act(&[slice.kill("")])]);
        let guard = slice.guard(&mut journal, &[]);
        assert_eq!(first.death(), Some(libc::SIGKILL));
        journal.expect("s after SIGKILL");
        expect_attribute(&doomed, "user.oomd_kill", "2");
        assert_eq!(attribute(&doomed, "user.oomd_ooms"), "1");
        guard.end();
        let_end(stuck.pid());
    });
}

/// Nobody is told to have been killed while a hook still holds the kill up.
#[test]
fn what_a_hook_holds_up_is_not_told_yet() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let doomed = slice.0.below("doomed");
        if !mark(&doomed, "user.oomd_prefer") {
            return;
        }
        let mut journal = Journal::new();
        let mut dying = member(&doomed, "dying", &journal);
        let hook = script(
            "hook",
            &format!("#!/bin/sh\necho hook: started >&2\nuntil [ -e {0} ]; do sleep 0.1; done\n", "/run/go"),
        );
        slice.rules(&[act_after(60, &[slice.kill("")])]);
        let guard = slice.guard(&mut journal, &["--before-kill", &hook]);
        journal.expect("hook: started");
        let of = |name: &str| attribute(&doomed, &format!("user.oomd_{name}"));
        assert_eq!([of("ooms"), of("kill_uuid"), of("kill")], [""; 3]);
        fs::write("/run/go", "").expect("a file");
        assert_eq!(dying.death(), Some(libc::SIGKILL));
        journal.expect(" died ");
        expect_attribute(&doomed, "user.oomd_kill", "1");
        assert_eq!(of("ooms"), "1");
        guard.end();
    });
}

/// Rules that are read again while a hook holds a kill up leave that as it was begun.
#[test]
fn a_kill_that_a_hook_holds_up_outlives_its_rules() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let (doomed, spared) = (slice.0.below("doomed"), slice.0.below("spared"));
        if !mark(&doomed, "user.oomd_prefer") {
            return;
        }
        let mut journal = Journal::new();
        let mut dying = member(&doomed, "dying", &journal);
        let living = member(&spared, "living", &journal);
        let hook =
            script("hook", "#!/bin/sh\necho hook: started >&2\nuntil [ -e /run/go ]; do sleep 0.1; done\n");
        slice.rules(&[act_after(60, &[slice.kill(r#", "always_continue": true"#), slice.kill("")])]);
        let guard = slice.guard(&mut journal, &["--before-kill", &hook]);
        journal.expect("hook: started");
        for said in ["the rules were read again", "those that were there stay"] {
            match said.starts_with("the") {
                true => slice.rules(&[set("other", r#"{"name": "stop"}"#, &[r#"{"name": "stop"}"#.into()])]),
                false => fs::write(FILE, "{").expect("a file in scratch"),
            }
            guard.send(rustix::process::Signal::HUP);
            journal.expect(said);
        }
        slice.tick(&mut journal);
        fs::write("/run/go", "").expect("a file");
        assert_eq!(dying.death(), Some(libc::SIGKILL));
        journal.expect(" died ");
        expect_attribute(&doomed, "user.oomd_kill", "1");
        slice.tick(&mut journal);
        // Its second action was forgotten.
        living.expect_unharmed(&mut journal);
        guard.end();
    });
}

/// Whoever reads the statistics refuses two lines with the same labels.
#[test]
fn sets_of_one_name_are_told_apart() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let mut journal = Journal::new();
        let stop = |name| set(name, r#"{"name": "stop"}"#, &[r#"{"name": "stop"}"#.into()]);
        slice.rules(&[stop("one"), stop("two"), stop("one"), stop("one")]);
        let guard = slice.guard(&mut journal, &["--stats", "/run/kills.prom"]);
        slice.tick(&mut journal);
        let stats = fs::read_to_string("/run/kills.prom").expect("statistics");
        let fired = stats.lines().filter_map(|line| line.strip_prefix("bustd_ruleset_fired_total{ruleset="));
        let fired: Vec<_> = fired.map(|line| line.split('}').next().unwrap()).collect();
        let all = ["\"one\"", "\"two\"", "\"one\",again=\"1\"", "\"one\",again=\"2\"", "\"beat\""];
        assert_eq!(fired, all);
        guard.end();
    });
}

/// A service that is started anew while a hook runs has a cgroup of the same path.
#[test]
fn a_cgroup_that_was_made_anew_lives() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let doomed = slice.0.below("doomed");
        let mut journal = Journal::new();
        let _first = member(&doomed, "first", &journal);
        let anew = Eater::named("anew").mib(1).start(&journal);
        let dir = doomed.dir.display();
        let hook = format!(
            "#!/bin/sh\nkill -9 $BUSTD_PID\nuntil rmdir {dir}; do sleep 0.1; done\n\
             mkdir {dir} && echo {} >{dir}/cgroup.procs && sleep 1 && echo hook: done >&2\n",
            anew.pid().as_raw_pid()
        );
        slice.rules(&[act(&[slice.kill("")])]);
        let guard = slice.guard(&mut journal, &["--before-kill", &script("hook", &hook)]);
        journal.expect("\"first\" was gone before it was signalled");
        journal.expect("hook: done");
        slice.tick(&mut journal);
        assert!(!anew.stat().is_gone());
        guard.end();
    });
}

/// What is only to be told kills nobody and leaves no attributes, though its set rests.
#[test]
fn what_is_dry_kills_nobody() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let spared = slice.0.below("spared");
        let mut journal = Journal::new();
        let living = member(&spared, "living", &journal);
        slice.rules(&[act(&[slice.kill(r#", "dry": true"#)])]);
        let guard = slice.guard(&mut journal, &["--stats", "/run/kills.prom"]);
        journal.expect("/spared 0 ruleset:[act] detectorgroup:[group] killer:(dry)kill_by_pressure v2");
        slice.tick(&mut journal);
        slice.tick(&mut journal);
        assert_eq!(journal.count("killer:"), 1);
        living.expect_unharmed(&mut journal);
        for name in ["ooms", "kill", "kill_uuid"] {
            let set = ["user", "trusted"].map(|of| attribute(&spared, &format!("{of}.oomd_{name}")));
            assert_eq!(set, ["", ""], "{name}");
        }
        let stats = fs::read_to_string("/run/kills.prom").expect("statistics");
        let counts = stats.lines().filter(|line| line.starts_with("bustd_kills_total{rule=\"file\""));
        assert!(counts.clone().count() > 0 && counts.clone().all(|line| line.ends_with(" 0")), "{stats}");
        guard.end();
    });
}

/// The kernel's log has the line with what programs look for before it, whatever a set is
/// silent about; and the attributes go on from what they were.
#[test]
fn the_kernels_log_is_told_by_silent_sets_too() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let doomed = slice.0.below("doomed");
        if !mark(&doomed, "user.oomd_prefer") {
            return;
        }
        for (name, value) in [("user.oomd_ooms", &b"41"[..]), ("user.oomd_kill", b"5")] {
            setxattr(doomed.dir.as_os_str().as_bytes(), name, value, XattrFlags::empty())
                .expect("an attribute");
        }
        const LOG: &str = "/run/kernel.log";
        fs::write(LOG, "").expect("a file");
        mount(&["--bind", LOG, "/dev/kmsg"]);
        let mut journal = Journal::new();
        let mut dying = member(&doomed, "dying", &journal);
        let mut set = act(&[slice.kill("")]);
        set.insert_str(set.len() - 1, r#", "silence-logs": "plugins""#);
        slice.rules(&[set]);
        let guard = slice.guard(&mut journal, &[]);
        assert_eq!(dying.death(), Some(libc::SIGKILL));
        journal.expect(" died ");
        let line = format!(
            "<4>oomd kill: 0.00 0.00 0.00 {}/doomed 0 ruleset:[act] detectorgroup:[group] killer:kill_by_pressure v2\n",
            slice.path()
        );
        assert_eq!(fs::read_to_string(LOG).expect("a file"), line);
        assert_eq!(journal.count("killer:"), 0);
        expect_attribute(&doomed, "user.oomd_kill", "6");
        assert_eq!(attribute(&doomed, "user.oomd_ooms"), "42");
        guard.end();
    });
}

/// Where two kills come at once, by one set or by two, the second begins when the first is
/// over, and finds whoever is left.
#[test]
fn kills_come_one_after_the_other() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let cgroups = ["one", "two", "three"].map(|name| slice.0.below(name));
        if !mark(&cgroups[0], "user.oomd_prefer") || !mark(&cgroups[2], "user.oomd_avoid") {
            return;
        }
        let mut journal = Journal::new();
        let mut dying = ["a", "b", "c"].map(|name| Eater::named(name).mib(1).start(&journal));
        for (cgroup, eater) in cgroups.iter().zip(&dying) {
            cgroup.take(eater.pid());
        }
        let twice = act(&[slice.kill(r#", "always_continue": true"#), slice.kill("")]);
        let once = set("again", r#"{"name": "continue"}"#, &[slice.kill("")]);
        slice.rules(&[twice, once]);
        let guard = slice.guard_each("4", &mut journal, &[]);
        for cgroup in ["one", "two", "three"] {
            journal.expect(&format!("/{cgroup} 0 ruleset:["));
            journal.expect(" died ");
        }
        assert_eq!(dying.each_mut().map(Eater::death), [Some(libc::SIGKILL); 3]);
        assert_eq!((journal.count("ruleset:[act]"), journal.count("ruleset:[again]")), (2, 1));
        // Nobody waits for the next tick.
        assert!(journal.count(&format!("cgroup \"{}\"", slice.path())) <= 1);
        guard.end();
    });
}

/// A unit is restarted by systemctl(1), and where that fails the next action has its turn.
#[test]
fn a_unit_is_restarted() {
    const SYSTEMCTL: &str = "/usr/bin/systemctl";
    in_namespace(|| {
        if fs::metadata(SYSTEMCTL).is_err() {
            return skip("no systemctl(1) to put another in the place of");
        }
        let Some(slice) = Slice::new() else { return };
        let fake = script("systemctl", "#!/bin/sh\necho \"asked: $*\" >&2; [ \"$4\" != bad.service ]\n");
        mount(&["--bind", &fake, SYSTEMCTL]);
        let mut journal = Journal::new();
        let restart = |unit: &str| plugin("systemd_restart", &format!(r#""service": "{unit}""#));
        let third = plugin("systemd_restart", r#""service": "never.service", "dry": true"#);
        slice.rules(&[act(&[restart("bad.service"), restart("good.service"), third])]);
        let guard = slice.guard(&mut journal, &[]);
        journal.expect("asked: --no-block restart -- bad.service");
        journal.expect("asked: --no-block restart -- good.service");
        let line = journal.expect("restarted systemd service=");
        assert!(line.ends_with("restarted systemd service=good.service"), "{line}");
        // The set rests now.
        slice.tick(&mut journal);
        slice.tick(&mut journal);
        assert_eq!((journal.count("asked: "), journal.count("restarted systemd")), (2, 1));
        guard.end();
    });
}

/// A program can be a detector and an action, and knows the facts.
#[test]
fn programs_are_run() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let _job = slice.0.below("job");
        let mut journal = Journal::new();
        let script = |name: &str, text: &str| {
            let path = format!("/run/{name}");
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a file");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(&path, mode).expect("a mode");
            path
        };
        let detector = script("detector", "echo \"asked $1 in $BUSTD_CGROUP\" >&2; [ -e /run/trouble ]");
        let failing = script("failing", "exit 3");
        let action = script("action", "echo \"acts for $BUSTD_RULESET, $BUSTD_GROUP\" >&2");
        let exec = |command: &str| plugin("exec", &format!(r#""command": {command}"#));
        let quoted = |path: &str| format!("\"{path}\"");
        let mut each = set(
            "each",
            &exec(&format!(r#"["{detector}", "a b"]"#)),
            &[exec(&quoted(&failing)), exec(&quoted(&action))],
        );
        each.insert_str(each.len() - 1, &format!(r#", "cgroup": "{}/*""#, slice.path()));
        let slow = set(
            "slow",
            r#"{"name": "continue"}"#,
            &[plugin("exec", r#""command": ["/bin/sleep", "60"], "timeout": 0.1"#)],
        );
        slice.rules(&[each, slow]);
        let guard = slice.guard(&mut journal, &[]);
        journal.expect(&format!("asked a b in {}/job", slice.path()));
        journal.expect("did not end in time and was killed");
        journal.expect_none("acts for");
        fs::write("/run/trouble", "").expect("a file");
        journal.expect("acts for each, group");
        // The set rests after that.
        slice.tick(&mut journal);
        slice.tick(&mut journal);
        assert_eq!(journal.count("acts for each"), 1);
        guard.end();
    });
}

/// The hole: of the cgroups below one, 256 were looked through for somebody, so that whoever
/// made more of them that were empty lived, and the next cgroup died.
#[test]
fn empty_cgroups_are_no_shelter() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let (doomed, other) = (slice.0.below("doomed"), slice.0.below("other"));
        if !mark(&doomed, "user.oomd_prefer") {
            return;
        }
        let names: Vec<String> = (0..400).map(|number| format!("empty{number}")).collect();
        let empty: Vec<Confined> = names.iter().map(|name| doomed.below(name)).collect();
        // As the guard is told of them.
        let listed =
            fs::read_dir(&doomed.dir).expect("a cgroup").map(|entry| entry.expect("a name").file_name());
        let last = listed.filter(|name| name.as_bytes().starts_with(b"empty")).last().expect("a cgroup");
        let last = empty.iter().find(|cgroup| cgroup.dir.ends_with(&last)).expect("it is one of ours");
        a_rule_finds_who_is_in(&slice, "", [(last, None), (&other, None)]);
    });
}

/// The same for one below the other.
#[test]
fn three_hundred_levels_are_no_shelter() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let (doomed, other) = (slice.0.below("doomed"), slice.0.below("other"));
        if !mark(&doomed, "user.oomd_prefer") {
            return;
        }
        let mut levels = vec![doomed.below("d")];
        for _ in 0..300 {
            levels.push(levels[levels.len() - 1].below("d"));
        }
        a_rule_finds_who_is_in(&slice, "", [(levels.last().expect("a cgroup"), None), (&other, None)]);
    });
}

/// Whoever is in the first of these dies by a kill with `more` arguments, and whoever is in the
/// other lives; each is a process of that user, or of our own.
fn a_rule_finds_who_is_in(slice: &Slice, more: &str, cgroups: [(&Confined, Option<u32>); 2]) {
    let mut journal = Journal::new();
    let [(doomed, dying_uid), (other, living_uid)] = cgroups;
    let eater = |name, uid| {
        let mut plan = Eater::named(name).mib(1);
        plan.uid = uid;
        plan.start(&journal)
    };
    let mut dying = eater("dying", dying_uid);
    doomed.take(dying.pid());
    let living = eater("living", living_uid);
    other.take(living.pid());
    slice.rules(&[act(&[slice.kill(more)])]);
    let guard = slice.guard(&mut journal, &[]);
    journal.expect("killer:kill_by_pressure");
    journal.expect(" died ");
    living.expect_unharmed(&mut journal);
    assert_eq!(dying.death(), Some(libc::SIGKILL));
    guard.end();
}

/// The hole: of a cgroup that is a user's only that user's processes died, and a user has many
/// numbers (subuid(5)): whoever was there under another of them lived.
#[test]
fn a_users_many_numbers_are_no_shelter_from_rules() {
    in_namespace_with_users(|| {
        let Some(slice) = Slice::new() else { return };
        let doomed = slice.0.below("doomed");
        let inner = doomed.below("inner");
        for cgroup in [&doomed, &inner] {
            std::os::unix::fs::chown(&cgroup.dir, Some(NOBODY), None).expect("root");
        }
        let mut journal = Journal::new();
        let mut dying = [("first", NOBODY), ("second", 100_000)]
            .map(|(name, uid)| Eater::named(name).mib(1).uid(uid).start(&journal));
        doomed.take(dying[0].pid());
        inner.take(dying[1].pid());
        slice.rules(&[act(&[slice.kill("")])]);
        let guard = slice.guard(&mut journal, &[]);
        let line = journal.expect(" died ");
        assert!(!line.contains("spared") && !line.contains("live"), "{line}");
        assert_eq!(dying.each_mut().map(Eater::death), [Some(libc::SIGKILL); 2]);
        guard.end();
    });
}

/// The hole: paths too long to be told saved whoever has the number of root, in a container
/// whose cgroup is theirs to write, and the next one died.
#[test]
fn long_names_do_not_save_a_containers_root() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let (container, other) = (slice.0.below("container"), slice.0.below("other"));
        if !mark(&container, "user.oomd_prefer") {
            return;
        }
        let long = "x".repeat(250);
        let outer = container.below(&long);
        let inner = outer.below(&long);
        a_rule_finds_who_is_in(&slice, r#", "recursive": true"#, [(&inner, None), (&other, None)]);
    });
}

/// The hole: among cgroups of several users, which patterns make one list of, whoever wrote an
/// attribute to his own had another user's die.
#[test]
fn a_user_does_not_avoid_himself_at_anothers_cost() {
    in_namespace_with_users(|| {
        let Some(slice) = Slice::new() else { return };
        let (large, small) = (slice.0.below("large"), slice.0.below("small"));
        if !mark(&large, "user.oomd_avoid") {
            return;
        }
        for (cgroup, uid) in [(&large, NOBODY), (&small, 1000)] {
            std::os::unix::fs::chown(&cgroup.dir, Some(uid), None).expect("root");
        }
        // As neither has anything, the first that was made is first.
        a_rule_finds_who_is_in(&slice, "", [(&large, Some(NOBODY)), (&small, Some(1000))]);
    });
}

/// The hole: a program for each cgroup was told of the root in place of one whose path is too
/// long to be told.
#[test]
fn no_program_is_run_for_a_path_that_cannot_be_told() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let short = slice.0.below("short");
        let _job = short.below("job");
        let long = "x".repeat(250);
        let outer = slice.0.below(&long);
        let _inner = outer.below(&long);
        let mut journal = Journal::new();
        let action = script("action", "#!/bin/sh\necho \"acts in '$BUSTD_CGROUP'\" >&2\n");
        let exec = plugin("exec", &format!(r#""command": "{action}""#));
        let mut each = set("each", r#"{"name": "continue"}"#, &[exec]);
        each.insert_str(each.len() - 1, &format!(r#", "cgroup": "{}/*/*""#, slice.path()));
        slice.rules(&[each]);
        let guard = slice.guard(&mut journal, &[]);
        journal.expect(&format!("acts in '{}/short/job'", slice.path()));
        slice.tick(&mut journal);
        slice.tick(&mut journal);
        assert_eq!(journal.count("acts in ''"), 0);
        guard.end();
    });
}

/// The hole: a rule that was choosing when memory became short began its own kill in the middle
/// of the guard's, which was forgotten.
#[test]
fn a_rule_waits_for_a_kill_that_begins_while_it_chooses() {
    in_namespace(|| {
        let Some(slice) = Slice::new() else { return };
        let doomed = slice.0.below("doomed");
        let names: Vec<String> = (0..1000).map(|number| format!("empty{number}")).collect();
        let _empty: Vec<Confined> = names.iter().map(|name| slice.0.below(name)).collect();
        let mut journal = Journal::new();
        let meminfo = FakeMeminfo::mount(600);
        let mut large = Eater::named("large").mib(60).on_term(OnTerm::Ignore).start(&journal);
        let mut member = member(&doomed, "member", &journal);
        let tell =
            plugin("dump_cgroup_overview", &format!(r#""cgroup": "{}", "always": true"#, slice.path()));
        slice.rules(&[act(&[tell, slice.kill("")])]);
        let rules = ["--no-daemon", "--rules", FILE, "--interval", "1"];
        let guard = Guard::watching(&mut journal, &[&rules, &["--mem", "512M,1M", "--grace", "300"]]);
        // What is killed is chosen next, among a thousand.
        journal.expect(&format!("cgroup \"{}\"", slice.path()));
        meminfo.set_available(400);
        journal.expect("\"large\" died ");
        assert_eq!(journal.count("killing pid"), 1);
        assert_eq!(large.death(), Some(libc::SIGKILL));
        meminfo.set_available(600);
        journal.expect("\"member\" died ");
        assert_eq!(member.death(), Some(libc::SIGKILL));
        guard.end();
    });
}
