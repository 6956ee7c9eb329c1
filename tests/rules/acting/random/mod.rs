//! Random rules on random cgroups, beside oomd 0.5.0. RANDOM_CASES says how many there are,
//! RANDOM_SEED which is the first; RANDOM_SETS names those sets that are to be tried alone, and
//! RANDOM_TELL has all cgroups told where there is a difference.

mod sets;
mod states;

use super::fixture::Machine;
use super::{CONTINUE, Hierarchy, Running, bustd, kill, kill_by, oomd, peer, set};
use crate::tree::dice::Dice;
use rustix::fs::{XattrFlags, setxattr};
use sets::Sets;
use states::{Maker, State};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

/// So many without RANDOM_CASES.
const CASES: u64 = 16;

/// So many are tried at the same time: what takes time is the ticks.
const AT_ONCE: usize = 10;

const TICKS: usize = 8;
/// No set of these rests longer than for 3 s: so many ticks after one that is meant to differ it
/// is the same again.
const APART: usize = 4;
const SETS: usize = 10;

/// The set that may kill among its detectors.
const FIRST: &str = "R0";

/// What there is on this machine.
struct Place {
    oomd: String,
    has_trusted: bool,
    /// oomd can be shown another /proc.
    has_own_proc: bool,
    /// What `--device` takes, and of what kind that is.
    device: Option<(String, Vec<u8>)>,
}

struct Case {
    seed: u64,
    sets: Vec<String>,
    /// Before each tick.
    states: Vec<State>,
    drop_ins: Vec<DropIns>,
}

/// Files by their names.
type DropIns = BTreeMap<&'static str, String>;

type Ticks = Vec<Vec<String>>;

/// What came of one case.
#[derive(Default)]
struct Found {
    /// The machine was busy: nothing is known.
    is_late: bool,
    /// Where both differ and that is not meant.
    differ: String,
    /// How many lines are the same, and how often a set differs as is meant.
    same: usize,
    meant: usize,
}

/// Cgroups that `*` does not match.
const FIRST_READ: &str = ".first";
const LAST_READ: &str = ".last";

/// A change came after the tick that it is for, or a tick after its time.
const LATE: &str = "late";

/// After so many times the machine is too busy.
const TRIES: usize = 5;

fn find_place(oomd: String) -> Place {
    let machine = Machine::new();
    let path = machine.cgroups();
    let mark = |name| setxattr(path.as_os_str().as_bytes(), name, b"1", XattrFlags::empty());
    mark("user.oomd_prefer").expect("extended attributes");
    let has_own_proc =
        Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success());
    let devices = fs::read_dir("/sys/dev/block").into_iter().flatten().flatten();
    let mut devices: Vec<_> = devices
        .filter_map(|entry| {
            let kind = fs::read(entry.path().join("queue/rotational")).ok()?;
            Some((entry.file_name().into_string().ok()?, kind))
        })
        .collect();
    devices.sort();
    Place { oomd, has_trusted: mark("trusted.oomd_prefer").is_ok(), has_own_proc, device: devices.pop() }
}

fn make(seed: u64, place: &Place) -> Case {
    let mut dice = Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let mut maker = Maker::new(&mut dice, place.has_trusted);
    let mut states = vec![maker.first()];
    for at in 1..TICKS {
        states.push(maker.next(&states[at - 1]));
    }
    let mut paths: Vec<_> = states.iter().flat_map(|state| state.cgroups.keys().cloned()).collect();
    paths.sort();
    paths.dedup();
    let has_device = place.device.is_some();
    let mut maker =
        Sets { dice: &mut dice, paths, has_device, may_kill_among_detectors: false, targets: Vec::new() };
    let mut sets = maker.make(SETS);
    maker.may_kill_among_detectors = false;
    let mut drop_ins = vec![DropIns::new(); TICKS];
    if !maker.targets.is_empty() && maker.dice.chance(40) {
        for at in 0..TICKS {
            drop_ins[at] = drop_ins[at.saturating_sub(1)].clone();
            for name in ["p", "q"] {
                match maker.dice.below(10) {
                    0 => _ = drop_ins[at].remove(name),
                    1..3 => _ = drop_ins[at].insert(name, maker.drop_in()),
                    _ => {}
                }
            }
        }
    }
    if let Ok(wanted) = std::env::var("RANDOM_SETS") {
        let wanted: Vec<_> = wanted.split(',').map(|name| format!("{{\"name\": \"{name}\"")).collect();
        sets.retain(|set| wanted.iter().any(|start| set.starts_with(start)));
    }
    Case { seed, sets, states, drop_ins }
}

impl Case {
    fn machine(&self, place: &Place) -> Machine {
        let machine = Machine::new();
        for cgroup in [FIRST_READ, LAST_READ, states::END] {
            machine.sized(cgroup, 1);
        }
        fs::create_dir(machine.drop_ins()).unwrap();
        self.drop_in(0, &machine);
        if let Some((device, kind)) = &place.device {
            machine.tree.write(&format!("sys/dev/block/{device}/queue/rotational"), kind);
        }
        self.states[0].apply(None, &machine, device_of(place));
        machine.tree.write("rules.json", self.file());
        machine
    }

    /// What is read first at a tick, and last, tells which state it is of.
    fn file(&self) -> String {
        let first = kill(FIRST_READ, r#""always_continue": true"#);
        let first = set("first", &[&[CONTINUE]], &[first], "");
        let last = kill_by("pressure", LAST_READ, r#""always_continue": true, "resource": "memory""#);
        let last = set("beat", &[&[CONTINUE]], &[last], "");
        format!("{{\"rulesets\": [{first}, {}, {last}]}}", self.sets.join(", "))
    }

    fn play(&self, machine: &Machine, mut command: Command, place: &Place) -> Result<Ticks, String> {
        if let Some(device) = device_of(place) {
            command.args(["--device", device]);
        }
        let mut running = Running::new(command);
        let mut ticks = Vec::new();
        let mut began = Instant::now();
        for at in 0..TICKS {
            let mut kills = running.tick()?;
            if at == 0 {
                began = Instant::now();
            }
            let first = kills.remove(0);
            let last = running.told.last().unwrap();
            let is_of = |line: &str, cgroup| line.contains(&format!(" {cgroup} {} ruleset:[", at + 1));
            // A part of a second more than there are ticks may be passed over.
            let is_late = began.elapsed().as_millis() > at as u128 * 1000 + 900;
            if is_late || !is_of(&first, FIRST_READ) || !is_of(last, LAST_READ) {
                return Err(LATE.into());
            }
            running.told.clear();
            ticks.push(kills);
            if let Some(next) = self.states.get(at + 1) {
                machine.write(LAST_READ, "memory.current", &format!("{}\n", at + 2));
                self.drop_in(at + 1, machine);
                next.apply(Some(&self.states[at]), machine, device_of(place));
                machine.write(FIRST_READ, "memory.current", &format!("{}\n", at + 2));
            }
        }
        Ok(ticks)
    }

    /// Changes the drop-ins to those of that tick.
    fn drop_in(&self, at: usize, machine: &Machine) {
        let nothing = DropIns::new();
        let old = at.checked_sub(1).map_or(&nothing, |last| &self.drop_ins[last]);
        for name in old.keys().filter(|name| !self.drop_ins[at].contains_key(*name)) {
            machine.take_out(name);
        }
        for (name, text) in &self.drop_ins[at] {
            if old.get(name) != Some(text) {
                machine.drop_in(name, text);
            }
        }
    }

    fn play_bustd(&self, place: &Place) -> Result<Ticks, String> {
        let machine = self.machine(place);
        let mut command = bustd(&machine);
        command.arg("--rules-dir").arg(machine.drop_ins());
        self.play(&machine, command, place)
    }

    fn play_oomd(&self, place: &Place) -> Result<Ticks, String> {
        let machine = self.machine(place);
        let hierarchy = Hierarchy::below_mount(&machine.cgroups())?;
        let mut command = peer::oomd(&place.oomd, &hierarchy, machine.tree.path());
        command.arg("--drop-in-dir").arg(machine.drop_ins());
        if place.has_own_proc {
            command = elsewhere(&command, machine.tree.path());
        }
        command.env("INLINE_LOGGING", "1");
        self.play(&machine, command, place)
    }

    fn compare(&self, place: &Place) -> Found {
        let (ours, theirs) = thread::scope(|scope| {
            let ours = scope.spawn(|| play_in_time(|| self.play_bustd(place)));
            let theirs = play_in_time(|| self.play_oomd(place));
            (ours.join().unwrap(), theirs)
        });
        let (ours, theirs) = match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => (ours, theirs),
            (ours, theirs) => {
                let is_late = [&ours, &theirs].iter().any(|played| **played == Err(LATE.into()));
                let failed = format!("seed {}\nbustd {ours:#?}\noomd {theirs:#?}", self.seed);
                return Found {
                    is_late,
                    differ: if is_late { String::new() } else { failed },
                    ..Found::default()
                };
            }
        };
        let (mut same, mut meant) = (0, 0);
        let mut differ = String::new();
        let names: Vec<_> = (0..SETS).map(name_of).collect();
        for name in names {
            let mut last_meant = None;
            for tick in 0..TICKS {
                let [our, their] = [&ours, &theirs].map(|ticks| of_set(&ticks[tick], &name));
                if our == their {
                    same += our.len();
                    continue;
                }
                let is_meant = self.has_rested(&name, tick)
                    || their.iter().any(|line| self.is_without_rate(line, tick, place))
                    || our.iter().chain(&their).any(|line| self.is_of_other_past(line, &name, tick))
                    // It may rest meanwhile, when the other one does not.
                    || last_meant.is_some_and(|last| tick <= last + APART);
                if is_meant {
                    meant += 1;
                    last_meant = Some(tick);
                    continue;
                }
                let file = self.sets.iter().find(|set| set.starts_with(&format!("{{\"name\": \"{name}\"")));
                differ += &format!(
                    "set {name:?} at tick {tick}\n  bustd {our:#?}\n  oomd  {their:#?}\n{file:?}\n{:?}\n",
                    self.drop_ins[tick]
                );
                if std::env::var_os("RANDOM_TELL").is_some() {
                    for (at, state) in self.states[..=tick].iter().enumerate() {
                        differ += &format!("tick {at}\n{}", state.told());
                    }
                }
                break;
            }
        }
        if !differ.is_empty() {
            differ.insert_str(0, &format!("seed {}\n", self.seed));
        }
        Found { is_late: false, differ, same, meant }
    }

    /// Has a drop-in taken the place of a set not long ago? Its timers go on there as if none
    /// had.
    fn has_rested(&self, name: &str, tick: usize) -> bool {
        let set = format!("{{\"name\": \"{name}\",");
        let is_replaced =
            |text: &&String| text.starts_with(&set) && text.contains("\"disable-on-drop-in\": true");
        self.sets.iter().any(|text| is_replaced(&text))
            && self.has_changed(name, tick.saturating_sub(APART), tick)
    }

    /// Does such a line tell of a kill by what a cgroup had before, of one that was not looked at
    /// all the time? What it had may be known there by the way of a log.
    fn is_of_other_past(&self, line: &str, name: &str, tick: usize) -> bool {
        // An average goes back a long way, and a rate to the tick before.
        let since = match line.rsplit_once("killer:(dry)kill_by_").map(|(_, kind)| kind) {
            Some("memory_size_or_growth") => 0,
            Some("pg_scan" | "io_cost") => tick.saturating_sub(1),
            _ => return false,
        };
        self.has_changed(name, since, tick) || self.was_whole(line, since, tick)
    }

    /// Have drop-ins for a set changed since then?
    fn has_changed(&self, name: &str, since: usize, tick: usize) -> bool {
        let name = format!("\"name\": \"{name}\"");
        let about =
            |at: usize| self.drop_ins[at].values().filter(|text| text.contains(&name)).collect::<Vec<_>>();
        (since + 1..=tick).any(|at| about(at - 1) != about(at))
    }

    /// Was that one, or one above it, one that nobody goes into?
    fn was_whole(&self, line: &str, since: usize, tick: usize) -> bool {
        let path = path_of(line);
        self.states[since..=tick].iter().flat_map(|state| &state.cgroups).any(|(above, cgroup)| {
            cgroup.is_whole && (path == *above || path.starts_with(&format!("{above}/")))
        })
    }

    /// Does such a line tell of a kill by a rate that is 0, or unknown, of the cgroup or of
    /// one above it? Nobody is killed for that here.
    fn is_without_rate(&self, line: &str, tick: usize, place: &Place) -> bool {
        let of_scans = line.ends_with("kill_by_pg_scan");
        if !of_scans && !line.ends_with("kill_by_io_cost") {
            return false;
        }
        // Neither is known of what a set looks at for the first time.
        let last = tick.checked_sub(1);
        if !of_scans && last.is_none_or(|last| self.drop_ins[last] != self.drop_ins[tick]) {
            return true;
        }
        let path = path_of(line);
        let figure = |state: &State, path: &str| {
            let cgroup = state.cgroups.get(path)?;
            Some((cgroup.identity, cgroup.rate_base(of_scans, device_of(place).is_some())?))
        };
        let mut above = path.as_str();
        loop {
            let now = figure(&self.states[tick], above);
            let last = last.and_then(|last| figure(&self.states[last], above));
            let is_risen = match (last, now) {
                (Some((was, last)), Some((is, now))) => was == is && now > last,
                _ => false,
            };
            if !is_risen {
                return true;
            }
            match above.rsplit_once('/') {
                Some((parent, _)) => above = parent,
                None => return false,
            }
        }
    }
}

/// Plays until the machine was quick enough.
fn play_in_time(play: impl Fn() -> Result<Ticks, String>) -> Result<Ticks, String> {
    let mut played = Err(LATE.into());
    for _ in 0..TRIES {
        played = play();
        if played != Err(LATE.into()) {
            break;
        }
    }
    played
}

fn name_of(set: usize) -> String {
    format!("R{set}")
}

fn device_of(place: &Place) -> Option<&str> {
    place.device.as_ref().map(|(device, _)| device.as_str())
}

/// The same with files of a tree over some of /proc.
fn elsewhere(command: &Command, tree: &Path) -> Command {
    let mut unshare = Command::new("unshare");
    let script = "for file in meminfo swaps vmstat pressure; do mount --bind \"$1/proc/$file\" /proc/$file || exit; \
                  done; shift; exec \"$@\"";
    unshare.args(["--mount", "sh", "-c", script, "sh"]).arg(tree).arg(command.get_program());
    unshare.args(command.get_args()).current_dir(command.get_current_dir().unwrap());
    unshare
}

/// Which cgroup is killed.
fn path_of(line: &str) -> String {
    let line = super::short(line);
    line.split_once(' ').map_or("", |(_, path)| path).replace("\\xc3\\xa9", "é")
}

/// The lines of one set. Kills among detectors, which only the first has, oomd tells without
/// a set or by the group that fired before; other letters than ASCII are escaped here.
fn of_set(lines: &[String], name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in lines {
        let (head, rest) = line.split_once(" ruleset:[").unwrap();
        let (set, rest) = rest.split_once(']').unwrap();
        let (_, end) = rest.split_once("] ").unwrap();
        let head: String = head.chars().map(told_as).collect();
        if name == FIRST && (set == FIRST || set.is_empty()) {
            found.push(format!("{head} ruleset:[{FIRST}] detectorgroup:[?] {end}"));
        } else if set == name {
            found.push(format!("{head} ruleset:[{name}]{rest}"));
        }
    }
    found
}

fn told_as(letter: char) -> String {
    let mut bytes = [0; 4];
    let text = letter.encode_utf8(&mut bytes);
    if text.is_ascii() { text.into() } else { text.bytes().map(|byte| format!("\\x{byte:02x}")).collect() }
}

fn number_of(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn random_rules_act_as_with_oomd() {
    let Some(oomd) = oomd() else { return };
    let place = find_place(oomd);
    let first = number_of("RANDOM_SEED", 1);
    let seeds: Vec<_> = (first..first + number_of("RANDOM_CASES", CASES)).collect();
    let (mut same, mut meant, mut late) = (0, 0, 0);
    let mut failures = Vec::new();
    let try_one = |seed| make(seed, &place).compare(&place);
    for seeds in seeds.chunks(AT_ONCE) {
        let found: Vec<_> = thread::scope(|scope| {
            let playing: Vec<_> = seeds.iter().map(|&seed| scope.spawn(move || try_one(seed))).collect();
            playing.into_iter().map(|one| one.join().unwrap()).collect()
        });
        for found in found {
            late += usize::from(found.is_late);
            same += found.same;
            meant += found.meant;
            if !found.differ.is_empty() {
                println!("{}", found.differ);
                failures.push(found.differ);
            }
        }
    }
    println!(
        "{} cases were tried, {late} of them too slowly: {same} kills are the same, {meant} times a set differs as is meant",
        seeds.len()
    );
    assert!(failures.is_empty(), "{} differ\n{}", failures.len(), failures.join("\n"));
}
