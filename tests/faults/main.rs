//! What if the kernel says no? Every system call of the guard's loop fails in
//! every plausible way, once, twice in a row and for good, while nothing is the
//! matter and while somebody is killed: injected with strace(1) into a guard
//! that watches already.
//!
//! Which calls those are is seen in a run without faults. A short selection is
//! played; `BUSTD_FAULTS=all` plays everything, and `BUSTD_FAULTS=openat` those
//! whose names hold that.

#[path = "../processes/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what the other tests with processes need besides")]
mod harness;

mod cases;
mod scene;

use cases::{Calls, Case, Phase, calls_of, cases};
use harness::{Confined, FakeMeminfo, Hierarchy, in_namespace, inside, skip};
use rustix::process::Signal;
use scene::{NEAR_MIB, Scene, TRACE, within};
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

/// How a case went well.
enum Outcome {
    /// The fault never came.
    Missed,
    /// Nobody died, and it was said why.
    Spared,
    /// Somebody died after so long.
    Died(Duration),
}

/// Plays one, and tells what is wrong.
fn play(case: &Case, scene: &mut Scene) -> Result<Outcome, String> {
    let open_before = scene.open_files();
    let inject = format!("inject={}:error={}:when={}", case.call, case.error, case.when);
    scene.attach(&["-e", &inject]);
    let began = Instant::now();
    let mut died_after = None;
    if case.phase != Phase::Steady {
        scene.shorten();
        // For good, a kill may never come to its end.
        let patience_ms = match case.phase {
            // They are looked at once a second.
            Phase::Rules => 10_000,
            _ if case.is_for_good() => 2500,
            _ => 4000,
        };
        let (victim, innocent) = (&scene.victim, &scene.innocent);
        let somebody = within(patience_ms, || victim.stat().is_gone() || innocent.stat().is_gone());
        check_innocent(case, scene)?;
        if scene.victim.stat().is_gone() {
            died_after = Some(began.elapsed());
        } else if !somebody && !case.is_believed() && !scene.is_explained() && case.call != "write" {
            return Err("nobody died, and nothing was said of it".to_owned());
        }
    } else {
        // What is done once a second has to come round.
        let wanted = if case.is_for_good() { 3 } else { 1 };
        within(1200, || scene.hits() >= wanted);
    }
    if !scene.is_alive() {
        return Err("the guard ended".to_owned());
    }
    let answered = scene.answers(if case.is_for_good() { 300 } else { 3000 });
    if !answered && !case.is_for_good() {
        return Err("the guard does not answer any more".to_owned());
    }
    let hits = scene.hits();
    if hits == 0 {
        return Ok(Outcome::Missed);
    }
    check_innocent(case, scene)?;
    scene.detach();
    // When the fault is over, all is as it was.
    if !scene.answers(3000) {
        return Err("the guard does not answer once the fault is over".to_owned());
    }
    let began_again = Instant::now();
    if died_after.is_none() {
        if case.phase == Phase::Steady {
            scene.shorten();
        }
        let (victim, innocent) = (&scene.victim, &scene.innocent);
        let somebody = || victim.stat().is_gone() || innocent.stat().is_gone();
        if within(4000, somebody) {
            died_after = Some(began_again.elapsed());
        } else if !case.is_believed() && !scene.is_explained() {
            return Err("nobody dies although the fault is over".to_owned());
        }
        check_innocent(case, scene)?;
    }
    // A close that did not take place leaves something open, and not by us.
    let unclosed = if case.call == "close" { hits } else { 0 };
    let settled = within(1500, || scene.open_files() <= open_before + unclosed);
    if !settled {
        return Err(format!("{open_before} files were open, and {} are", scene.open_files()));
    }
    scene.guard().send(Signal::TERM);
    let guard = scene.guard.take().expect("it lives");
    let status = guard.exit();
    if !status.success() {
        return Err(format!("the guard ended with {status}"));
    }
    Ok(died_after.map_or(Outcome::Spared, Outcome::Died))
}

/// The innocent lives, unless it was said that the victim cannot be signalled.
fn check_innocent(case: &Case, scene: &mut Scene) -> Result<(), String> {
    // For the death of those whom the user has ruled out there is one excuse.
    if let Some(inside) = &scene.inside
        && let Some(who) = inside.dead(case.says_gone())
    {
        return Err(format!("{who} died"));
    }
    let excused = case.is_believed() || scene.journal.count("\"victim\" was not signalled") > 0;
    if scene.innocent.stat().is_gone() && !excused { Err("the innocent died".to_owned()) } else { Ok(()) }
}

/// The calls of each phase, in a run without faults.
fn discover(phase: Phase) -> Option<Calls> {
    if phase.is_in_cgroup() && Confined::new(Hierarchy::V2).is_none() {
        return None;
    }
    let mut scene = Scene::set(phase, FakeMeminfo::mount(NEAR_MIB));
    scene.attach(&[]);
    if phase == Phase::Steady {
        // More than a second, for what is done once in one.
        within(1500, || false);
        assert!(scene.answers(5000), "no answer without a fault");
    } else {
        scene.shorten();
        scene.journal.expect("\"victim\" died ");
        assert!(scene.answers(5000), "no answer without a fault");
    }
    scene.detach();
    Some(calls_of(&fs::read_to_string(TRACE).expect("a trace"), scene.pid()))
}

/// What a worker is to do: `discover`, or `NUMBER/WORKERS` and what was found.
const WORK: &str = "TEST_BUSTD_FAULTS";
const TEST: &str = "the_guard_outlives_every_fault";

fn work(work: &str) {
    if work == "discover" {
        for (phase, name) in Phase::ALL {
            let calls = discover(phase).unwrap_or_default();
            calls.iter().for_each(|(call, count)| println!("call {name} {call} {count}"));
        }
        return;
    }
    let (share, found) = work.split_once('\n').expect("two parts");
    let (number, workers) = share.split_once('/').expect("two numbers");
    let (number, workers): (usize, usize) = (number.parse().unwrap(), workers.parse().unwrap());
    for case in selection(found).into_iter().skip(number).step_by(workers) {
        let mut scene = Scene::set(case.phase, FakeMeminfo::mount(NEAR_MIB));
        let outcome = catch_unwind(AssertUnwindSafe(|| play(&case, &mut scene)))
            .unwrap_or_else(|_| Err("the test itself gave up".to_owned()));
        let name = case.name();
        match outcome {
            Ok(Outcome::Missed) => println!("missed {name}"),
            Ok(Outcome::Spared) => println!("spared {name}"),
            Ok(Outcome::Died(took)) => println!("played {:06} {name}", took.as_millis()),
            Err(wrong) => {
                println!("failed {name}: {wrong}");
                scene.journal.lines().iter().for_each(|line| println!("| {line}"));
            }
        }
        let _ = std::io::stdout().flush();
        drop(scene);
        // A child that the guard has forked outlives it for a moment, with what it had open.
        let unmount = || Command::new("umount").arg("/proc/meminfo").stderr(Stdio::null()).status();
        assert!(within(5000, || unmount().is_ok_and(|status| status.success())), "somebody has it open");
    }
}

/// What is played of what was found.
fn selection(found: &str) -> Vec<Case> {
    let calls_in = |phase: &str| {
        let words = found.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let mine = words.filter(|words| words[1] == phase);
        mine.map(|words| (words[2].to_owned(), words[3].parse().expect("a number"))).collect::<Calls>()
    };
    let all = Phase::ALL.into_iter().flat_map(|(phase, name)| cases(phase, &calls_in(name)));
    let mut all: Vec<_> = all.collect();
    // Those that cgroups have nothing to do with are played without them.
    all.retain(|case| match case.phase {
        Phase::Steady | Phase::Kill => true,
        Phase::Whole | Phase::Spared => OF_CGROUPS.contains(&case.call),
        Phase::Rules => OF_RULES.contains(&case.call),
    });
    match env::var("BUSTD_FAULTS") {
        Ok(word) if word == "all" => all,
        Ok(word) => all.into_iter().filter(|case| case.name().contains(&word)).collect(),
        // A number that has nothing in common with how many cases a call has.
        Err(_) => {
            let spread = |case: &Case| if case.phase.is_in_cgroup() { 3 * SPREAD } else { SPREAD };
            let chosen = all.into_iter().enumerate().filter(|(at, case)| at % spread(case) == 0);
            chosen.map(|(_, case)| case).collect()
        }
    }
}

const SPREAD: usize = 3;

/// The calls that cgroups take.
const OF_CGROUPS: [&str; 9] =
    ["openat", "openat2", "read", "pread64", "getdents64", "write", "newfstatat", "fstat", "close"];

/// Those that only rules make: tests/rules has others fail while they are looked at.
const OF_RULES: [&str; 2] = ["fgetxattr", "fsetxattr"];

#[test]
fn the_guard_outlives_every_fault() {
    if let Ok(what) = env::var(WORK) {
        return in_namespace(|| work(&what));
    }
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("no strace(1)");
    }
    let run = |what: String| {
        let mut command = inside(TEST)?;
        Some(command.env(WORK, what).stdin(Stdio::null()).output().expect("unshare(1)"))
    };
    let Some(found) = run("discover".to_owned()) else { return };
    let told = |output: &[u8]| String::from_utf8_lossy(output).into_owned();
    assert!(found.status.success(), "{}{}", told(&found.stdout), told(&found.stderr));
    let found: String = told(&found.stdout).lines().filter(|line| line.starts_with("call ")).fold(
        String::new(),
        |mut all, line| {
            writeln!(all, "{line}").expect("a string");
            all
        },
    );
    let _ = writeln!(std::io::stderr(), "{found}{} to play", selection(&found).len());
    // They mostly wait.
    let workers = thread::available_parallelism().map_or(2, usize::from) * 3;
    let told: String = thread::scope(|scope| {
        let start = |number| {
            let what = format!("{number}/{workers}\n{found}");
            scope.spawn(move || {
                let output = run(what).expect("as before");
                let (mut said, errors) = (told(&output.stdout), told(&output.stderr));
                if !output.status.success() {
                    said.push_str(&format!("\nfailed worker {number}\n"));
                    errors.lines().for_each(|line| said.push_str(&format!("| {line}\n")));
                }
                said
            })
        };
        let running: Vec<_> = (0..workers).map(start).collect();
        running.into_iter().map(|worker| worker.join().expect("a worker")).collect()
    });
    if env::var_os("BUSTD_FAULTS").is_some() {
        let _ = fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/faults"), &told);
    }
    let of = |kind: &str| told.lines().filter_map(|line| line.strip_prefix(kind)).collect::<Vec<_>>();
    let [played, spared, missed, failed] = ["played ", "spared ", "missed ", "failed "].map(of);
    let worst = played.iter().max().map_or("none", |line| line.trim_start_matches('0'));
    let mut err = std::io::stderr();
    let total = played.len() + spared.len() + failed.len();
    let _ = writeln!(
        err,
        "{total} faults played, and nobody died, with a word, in {}; {} never came; slowest, in ms: {worst}",
        spared.len(),
        missed.len()
    );
    assert!(total > 0, "nothing was played:\n{told}");
    let said = told.lines().filter(|line| line.starts_with("failed ") || line.starts_with("| "));
    let said: Vec<_> = said.collect();
    assert!(failed.is_empty(), "{} of {total} failed:\n{}", failed.len(), said.join("\n"));
}
