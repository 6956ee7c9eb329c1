//! What rules do to cgroups that are plain files and change while they are watched:
//! as the language's description says, and where oomd is installed as oomd does.

mod detectors;
mod drop_ins;
mod each;
mod engine;
pub mod fixture;
mod lines;
mod patterns;
mod random;
mod ranking;
mod walking;

use super::BUSTD;
use super::oracle::oomd;
use super::peer::{self, Hierarchy};
use fixture::Machine;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What changes after which tick, counted from 1.
type Change = (usize, fn(&Machine));

/// What is tried with one file of rules.
pub struct Scene {
    name: &'static str,
    /// Rule sets, with commas between.
    sets: String,
    build: fn(&Machine),
    changes: Vec<Change>,
    /// Whom they kill at each tick, as `SET/GROUP PATH`.
    expected: Vec<Vec<&'static str>>,
    /// What oomd 0.5.0 does, where that is not the same.
    oomd: Oomd,
    /// More options for bustd.
    options: &'static [&'static str],
    /// There is a directory in which drop-ins come and go.
    has_drop_ins: bool,
}

/// What is known of oomd 0.5.0.
pub enum Oomd {
    Same,
    /// What it does instead, and why that is not done here.
    Other(Vec<Vec<&'static str>>),
    /// It has no such thing.
    Lacks,
}

impl Scene {
    fn new(name: &'static str, sets: String, build: fn(&Machine), expected: &[&[&'static str]]) -> Self {
        let expected = expected.iter().map(|tick| tick.to_vec()).collect();
        let (oomd, options, has_drop_ins) = (Oomd::Same, &[][..], false);
        Self { name, sets, build, changes: Vec::new(), expected, oomd, options, has_drop_ins }
    }

    fn after(mut self, tick: usize, change: fn(&Machine)) -> Self {
        self.changes.push((tick, change));
        self
    }

    fn but_oomd(mut self, expected: &[&[&'static str]]) -> Self {
        self.oomd = Oomd::Other(expected.iter().map(|tick| tick.to_vec()).collect());
        self
    }

    fn not_for_oomd(mut self) -> Self {
        self.oomd = Oomd::Lacks;
        self
    }

    fn options(mut self, options: &'static [&'static str]) -> Self {
        self.options = options;
        self
    }

    fn with_drop_ins(mut self) -> Self {
        self.has_drop_ins = true;
        self
    }

    /// The file. At the end of each tick its last set tells that there was one.
    fn file(&self) -> String {
        with_beat(&self.sets)
    }
}

/// A file with these sets, and one that tells of the end of each tick.
fn with_beat(sets: &str) -> String {
    let beat = set("beat", &[&[CONTINUE]], &[kill("beat", r#""always_continue": true"#)], "");
    format!("{{\"rulesets\": [{sets}, {beat}]}}")
}

// --------------------------------------------------------- files of rules

/// A plugin.
pub fn plugin(name: &str, args: &str) -> String {
    format!(r#"{{"name": "{name}", "args": {{{args}}}}}"#)
}

pub const CONTINUE: &str = r#"{"name": "continue"}"#;
pub const STOP: &str = r#"{"name": "stop"}"#;

/// A kill by size of these, in the log only.
pub fn kill(cgroup: &str, more: &str) -> String {
    kill_by("memory_size_or_growth", cgroup, more)
}

pub fn kill_by(what: &str, cgroup: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { ", " };
    plugin(&format!("kill_by_{what}"), &format!(r#""cgroup": "{cgroup}", "dry": true{comma}{more}"#))
}

/// A set. Its groups are called A, B and so on.
pub fn set(name: &str, groups: &[&[&str]], actions: &[String], more: &str) -> String {
    let groups: Vec<_> = groups
        .iter()
        .zip('A'..)
        .map(|(detectors, letter)| format!("[\"{letter}\", {}]", detectors.join(", ")))
        .collect();
    let comma = if more.is_empty() { "" } else { ", " };
    format!(
        r#"{{"name": "{name}", "detectors": [{}], "actions": [{}]{comma}{more}}}"#,
        groups.join(", "),
        actions.join(", ")
    )
}

/// A set R that kills of `s/*` at each tick at which `detectors` hold.
pub fn when(detectors: &[&str]) -> String {
    set("R", &[detectors], &[kill("s/*", "")], r#""post_action_delay": 0"#)
}

/// A set R that does `action` at each tick.
pub fn always(action: String) -> String {
    set("R", &[&[CONTINUE]], &[action], r#""post_action_delay": 0"#)
}

// ---------------------------------------------------------------- running

/// Far longer than any tick takes: the machine may have other things to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program that runs a scene, and the lines that it writes.
struct Running {
    child: Child,
    lines: Receiver<String>,
    told: Vec<String>,
}

impl Running {
    fn new(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (to, lines) = channel();
        thread::spawn(move || {
            for line in stderr.split(b'\n').map_while(Result::ok) {
                if to.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
        Self { child, lines, told: Vec::new() }
    }

    /// What was told until the end of the next tick.
    fn told(&mut self) -> Vec<String> {
        self.told.clear();
        self.tick().unwrap();
        std::mem::take(&mut self.told)
    }

    /// The kills of the next tick, or what was told instead.
    fn tick(&mut self) -> Result<Vec<String>, String> {
        let deadline = Instant::now() + PATIENCE;
        let mut kills = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = match self.lines.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => return Err(format!("no tick: {:#?}", self.told)),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("{:?}: {:#?}", self.child.wait(), self.told));
                }
            };
            self.told.push(line.clone());
            let Some(kill) = kill_line(&line) else { continue };
            if kill.contains("ruleset:[beat]") {
                return Ok(kills);
            }
            kills.push(kill);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The line that programs read, which each writes with something before it.
fn kill_line(line: &str) -> Option<String> {
    let end = line.find(" v2").filter(|_| line.contains(" ruleset:["))?;
    // What is before the three pressures ends with a blank.
    let words: Vec<_> = line[..end].split(' ').collect();
    let first = words.windows(3).position(|three| three.iter().all(|word| is_share(word)))?;
    Some(words[first..].join(" "))
}

/// Two decimals, as pressures are told.
fn is_share(word: &str) -> bool {
    word.split_once('.').is_some_and(|(whole, part)| {
        part.len() == 2 && [whole, part].iter().all(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

/// `SET/GROUP PATH` of such a line.
fn short(line: &str) -> String {
    let between = |start: &str| {
        let rest = &line[line.find(start).unwrap() + start.len()..];
        rest[..rest.find(']').unwrap()].to_owned()
    };
    let before = &line[..line.find(" ruleset:[").unwrap()];
    // Three pressures, the path, the usage.
    let path: Vec<_> = before.split(' ').skip(3).collect();
    let path = path[..path.len() - 1].join(" ");
    format!("{}/{} {path}", between("ruleset:["), between("detectorgroup:["))
}

fn play(scene: &Scene, machine: &Machine, command: Command) -> Result<Vec<Vec<String>>, String> {
    let mut running = Running::new(command);
    (1..=scene.expected.len())
        .map(|tick| {
            let kills = running.tick()?;
            for (_, change) in scene.changes.iter().filter(|(after, _)| *after == tick) {
                change(machine);
            }
            Ok(kills)
        })
        .collect()
}

fn prepare(scene: &Scene) -> Machine {
    let machine = Machine::new();
    machine.sized("beat", 1);
    fs::create_dir(machine.drop_ins()).unwrap();
    (scene.build)(&machine);
    machine.tree.write("rules.json", scene.file());
    machine
}

/// A guard that only tells what it would do.
fn bustd(machine: &Machine) -> Command {
    bustd_each(machine, 1)
}

/// The same with so many seconds between two ticks.
fn bustd_each(machine: &Machine, interval_s: u32) -> Command {
    let mut bustd = Command::new(BUSTD);
    bustd.arg("--root").arg(machine.tree.path()).args(["--dry-run", "-n", "--no-default-rules"]);
    bustd
        .args(["--interval", &interval_s.to_string(), "--rules"])
        .arg(machine.tree.path().join("rules.json"));
    bustd
}

fn play_bustd(scene: &Scene) -> Result<Vec<Vec<String>>, String> {
    let machine = prepare(scene);
    let mut bustd = bustd(&machine);
    bustd.args(scene.options);
    if scene.has_drop_ins {
        bustd.arg("--rules-dir").arg(machine.drop_ins());
    }
    let told = play(scene, &machine, bustd)?;
    let marked = machine.marked();
    if marked.is_empty() { Ok(told) } else { Err(format!("marked as killed: {marked:?}")) }
}

fn play_oomd(oomd: &str, scene: &Scene) -> Result<Vec<Vec<String>>, String> {
    let machine = prepare(scene);
    let hierarchy = Hierarchy::below_mount(&machine.cgroups())?;
    let mut command = peer::oomd(oomd, &hierarchy, machine.tree.path());
    command.env("INLINE_LOGGING", "1");
    if scene.has_drop_ins {
        command.arg("--drop-in-dir").arg(machine.drop_ins());
    }
    play(scene, &machine, command)
}

fn scenes() -> Vec<Scene> {
    let all: Vec<_> = [
        drop_ins::scenes(),
        each::scenes(),
        engine::scenes(),
        detectors::scenes(),
        ranking::scenes(),
        walking::scenes(),
        patterns::scenes(),
    ]
    .into_iter()
    .flatten()
    .collect();
    // SCENE names those to play.
    let wanted = std::env::var("SCENE").unwrap_or_default();
    all.into_iter().filter(|scene| scene.name.contains(&wanted)).collect()
}

fn shorten(ticks: &[Vec<String>]) -> Vec<Vec<String>> {
    ticks.iter().map(|kills| kills.iter().map(|line| short(line)).collect()).collect()
}

/// Plays all at the same time, for most of it is waiting; but not those of two tests. A
/// busy machine may have a change come after the tick that it is for: what failed is
/// played once more when nothing else is.
fn each_scene(judge: impl Fn(&Scene) -> Option<String> + Sync) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scenes = scenes();
    let failed: Vec<_> = thread::scope(|scope| {
        let playing: Vec<_> = scenes.iter().map(|scene| scope.spawn(|| judge(scene))).collect();
        playing
            .into_iter()
            .zip(&scenes)
            .filter_map(|(one, scene)| one.join().unwrap().map(|_| scene))
            .collect()
    });
    let again = failed.len();
    let failures: Vec<_> = failed
        .into_iter()
        .filter_map(|scene| judge(scene).map(|why| format!("{}\n{why}", scene.name)))
        .collect();
    println!("{} scenes were played, {again} of them again", scenes.len());
    assert!(failures.is_empty(), "{} fail\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn rules_act_as_they_say() {
    each_scene(|scene| match play_bustd(scene) {
        Err(why) => Some(why),
        Ok(ticks) => (shorten(&ticks) != scene.expected)
            .then(|| format!("  expected {:?}\n  found    {:?}", scene.expected, shorten(&ticks))),
    });
}

#[test]
fn rules_act_as_with_oomd() {
    let Some(oomd) = oomd() else { return };
    each_scene(|scene| {
        let expected = match &scene.oomd {
            Oomd::Lacks => return None,
            Oomd::Same => &scene.expected,
            Oomd::Other(expected) => expected,
        };
        let theirs = match play_oomd(&oomd, scene) {
            Err(why) => return Some(why),
            Ok(ticks) => ticks,
        };
        if shorten(&theirs) != *expected {
            return Some(format!("  expected of oomd {expected:?}\n  found {theirs:?}"));
        }
        if matches!(scene.oomd, Oomd::Other(_)) {
            return None;
        }
        // To the byte: the line is what programs read.
        match play_bustd(scene) {
            Err(why) => Some(why),
            Ok(ours) => (ours != theirs).then(|| format!("  oomd  {theirs:?}\n  bustd {ours:?}")),
        }
    });
}
