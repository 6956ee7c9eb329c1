//! Random rules on random cgroups, beside oomd 0.5.0. RANDOM_CASES says how many there are,
//! RANDOM_SEED which is the first; RANDOM_SETS names those sets that are to be tried alone.

mod dice;
mod sets;
mod states;

use super::fixture::Machine;
use super::{Hierarchy, Running, bustd, oomd, peer, with_beat};
use dice::Dice;
use rustix::fs::{XattrFlags, setxattr};
use sets::Sets;
use states::{Maker, State};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::thread;

/// So many without RANDOM_CASES.
const CASES: u64 = 40;

/// So many are tried at the same time: what takes time is the ticks.
const AT_ONCE: usize = 20;

const TICKS: usize = 6;
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
}

type Ticks = Vec<Vec<String>>;

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
    let mut dice = Dice::new(seed);
    let mut maker = Maker::new(&mut dice, place.has_trusted);
    let mut states = vec![maker.first()];
    for at in 1..TICKS {
        states.push(maker.next(&states[at - 1]));
    }
    let mut paths: Vec<_> = states.iter().flat_map(|state| state.cgroups.keys().cloned()).collect();
    paths.sort();
    paths.dedup();
    let mut sets =
        Sets { dice: &mut dice, paths, has_device: place.device.is_some(), may_kill_among_detectors: false }
            .make(SETS);
    if let Ok(wanted) = std::env::var("RANDOM_SETS") {
        let wanted: Vec<_> = wanted.split(',').map(|name| format!("{{\"name\": \"{name}\"")).collect();
        sets.retain(|set| wanted.iter().any(|start| set.starts_with(start)));
    }
    Case { seed, sets, states }
}

impl Case {
    fn machine(&self, place: &Place) -> Machine {
        let machine = Machine::new();
        machine.sized("beat", 1);
        machine.sized("end", 1);
        if let Some((device, kind)) = &place.device {
            machine.tree.write(&format!("sys/dev/block/{device}/queue/rotational"), kind);
        }
        self.states[0].apply(None, &machine, device_of(place));
        machine.tree.write("rules.json", with_beat(&self.sets.join(", ")));
        machine
    }

    fn play(&self, machine: &Machine, mut command: Command, place: &Place) -> Result<Ticks, String> {
        if let Some(device) = device_of(place) {
            command.args(["--device", device]);
        }
        let mut running = Running::new(command);
        let mut ticks = Vec::new();
        for at in 0..TICKS {
            ticks.push(running.tick()?);
            if let Some(next) = self.states.get(at + 1) {
                next.apply(Some(&self.states[at]), machine, device_of(place));
            }
        }
        Ok(ticks)
    }

    fn play_bustd(&self, place: &Place) -> Result<Ticks, String> {
        let machine = self.machine(place);
        self.play(&machine, bustd(&machine), place)
    }

    fn play_oomd(&self, place: &Place) -> Result<Ticks, String> {
        let machine = self.machine(place);
        let hierarchy = Hierarchy::below_mount(&machine.cgroups())?;
        let plain = peer::oomd(&place.oomd, &hierarchy, machine.tree.path());
        let mut command = plain;
        if place.has_own_proc {
            command = elsewhere(&command, machine.tree.path());
        }
        command.env("INLINE_LOGGING", "1");
        self.play(&machine, command, place)
    }

    /// Where both differ and that is not meant, and how many lines are the same or meant.
    fn compare(&self, place: &Place) -> (Option<String>, usize, usize) {
        let (ours, theirs) = thread::scope(|scope| {
            let ours = scope.spawn(|| self.play_bustd(place));
            (ours_of(ours), self.play_oomd(place))
        });
        let (ours, theirs) = match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => (ours, theirs),
            (ours, theirs) => return (Some(format!("bustd {ours:#?}\noomd {theirs:#?}")), 0, 0),
        };
        let (mut same, mut meant) = (0, 0);
        let mut differ = String::new();
        let names: Vec<_> = (0..SETS).map(|number| format!("R{number}")).collect();
        for name in names {
            for tick in 0..TICKS {
                let [our, their] = [&ours, &theirs].map(|ticks| of_set(&ticks[tick], &name));
                if our == their {
                    same += our.len();
                    continue;
                }
                if their.iter().any(|line| self.is_without_rate(line, tick, place)) {
                    // It may rest from now on, when the other one does not.
                    meant += 1;
                    break;
                }
                let file = self.sets.iter().find(|set| set.starts_with(&format!("{{\"name\": \"{name}\"")));
                differ +=
                    &format!("set {name:?} at tick {tick}\n  bustd {our:#?}\n  oomd  {their:#?}\n{file:?}\n");
                break;
            }
        }
        ((!differ.is_empty()).then(|| format!("seed {}\n{differ}", self.seed)), same, meant)
    }

    /// Does such a line tell of a kill by a rate that is 0, or unknown, of the cgroup or of
    /// one above it? Nobody is killed for that here.
    fn is_without_rate(&self, line: &str, tick: usize, place: &Place) -> bool {
        let of_scans = line.ends_with("kill_by_pg_scan");
        if !of_scans && !line.ends_with("kill_by_io_cost") {
            return false;
        }
        let path = super::short(line);
        let path = path.split_once(' ').map_or("", |(_, path)| path);
        let figure = |state: &State, path: &str| {
            let cgroup = state.cgroups.get(path)?;
            Some((cgroup.identity, cgroup.rate_base(of_scans, device_of(place).is_some())?))
        };
        let mut above = path;
        loop {
            let now = figure(&self.states[tick], above);
            let last = tick.checked_sub(1).and_then(|last| figure(&self.states[last], above));
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

fn ours_of(ours: thread::ScopedJoinHandle<'_, Result<Ticks, String>>) -> Result<Ticks, String> {
    ours.join().unwrap()
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
    let (mut same, mut meant, mut again) = (0, 0, 0);
    let mut failures = Vec::new();
    for seeds in seeds.chunks(AT_ONCE) {
        let try_one = |seed| {
            let case = make(seed, &place);
            let found = case.compare(&place);
            (case, found)
        };
        let found: Vec<_> = thread::scope(|scope| {
            let playing: Vec<_> = seeds.iter().map(|&seed| scope.spawn(move || try_one(seed))).collect();
            playing.into_iter().map(|one| one.join().unwrap()).collect()
        });
        for (case, mut found) in found {
            if found.0.is_some() {
                // A busy machine may have a change come after the tick that it is for.
                again += 1;
                found = case.compare(&place);
            }
            same += found.1;
            meant += found.2;
            failures.extend(found.0);
        }
    }
    println!(
        "{} cases were tried, {again} of them again: {same} kills are the same, {meant} sets differ as is meant",
        seeds.len()
    );
    assert!(failures.is_empty(), "{} differ\n{}", failures.len(), failures.join("\n"));
}
