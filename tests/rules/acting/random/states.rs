//! What cgroups and the machine say of themselves at each tick. Nothing by which an action
//! ranks is the same for two of them, for oomd has those in no order.

use super::super::fixture::Machine;
use crate::tree::dice::Dice;
use rustix::fs::{XattrFlags, setxattr};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MIB: u64 = 1 << 20;
const PAGE: u64 = 4096;

/// Of the machine, less than 2 GiB each: oomd 0.5.0 counts in 32 bits.
const MEMORY_KIB: u64 = 2_000_000;
const SWAP_KIB: u64 = 1_000_000;

/// One that `*` does not match, for what always has some memory.
pub const END: &str = ".end";

const NAMES: [&str; 16] = [
    "a",
    "b",
    "c",
    "d",
    "ab",
    "ac",
    "bc",
    "a.slice",
    "b.slice",
    "c.scope",
    "a-1",
    "a b",
    "x.service",
    "y",
    "é",
    ".h",
];

const PREFERENCES: [&str; 4] =
    ["trusted.oomd_prefer", "user.oomd_prefer", "trusted.oomd_avoid", "user.oomd_avoid"];

/// What may be missing.
const MISSABLE: [&str; 11] = [
    "memory.current",
    "memory.low",
    "memory.min",
    "memory.pressure",
    "io.pressure",
    "memory.swap.current",
    "memory.stat",
    "cgroup.events",
    "cgroup.stat",
    "memory.oom.group",
    "io.stat",
];

/// One cgroup at one tick.
#[derive(Clone, Debug)]
pub struct Cgroup {
    /// Another one of the same name is another one.
    pub identity: u64,
    pub current_mib: u64,
    low: u64,
    min: u64,
    swap_pages: u64,
    anon: u64,
    pub pgscan: u64,
    /// By resource: what the averages of 10 and 60 s are together, in units of 2 %, and the
    /// three averages in quarters of a per cent.
    pressure: [(u64, [u64; 3]); 2],
    dying: u64,
    is_populated: bool,
    pub is_whole: bool,
    /// Bytes and operations: read, written, discarded.
    pub io: [u64; 6],
    /// Nobody reclaims from it, and it does no io.
    is_idle: bool,
    missing: Option<&'static str>,
    attributes: BTreeSet<&'static str>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub cgroups: BTreeMap<String, Cgroup>,
    swap_used_kib: u64,
    free_kib: u64,
    /// Memory and io, as of a cgroup.
    pressure: [[u64; 3]; 2],
}

/// What makes them.
pub struct Maker<'d> {
    pub dice: &'d mut Dice,
    sizes: BTreeSet<u64>,
    made: u64,
    /// There is one that is odd.
    has_odd: bool,
    attributes: &'static [&'static str],
}

impl<'d> Maker<'d> {
    pub fn new(dice: &'d mut Dice, has_trusted: bool) -> Self {
        let attributes: &[_] =
            if has_trusted { &PREFERENCES } else { &["user.oomd_prefer", "user.oomd_avoid"] };
        Self { dice, sizes: BTreeSet::new(), made: 0, has_odd: false, attributes }
    }

    /// What there is before the first tick.
    pub fn first(&mut self) -> State {
        let mut state = State::default();
        let count = self.dice.between(10, 40);
        while (state.cgroups.len() as u64) < count {
            self.add(&mut state);
        }
        self.change_machine(&mut state);
        state
    }

    /// What there is after one more tick.
    pub fn next(&mut self, last: &State) -> State {
        let mut state = last.clone();
        let paths: Vec<_> = state.cgroups.keys().cloned().collect();
        for path in &paths {
            let in_use = in_use(&state);
            let Some(cgroup) = state.cgroups.get_mut(path) else { continue };
            if self.dice.chance(40) {
                cgroup.current_mib = self.size();
                // Those that have no more than what is promised to them are alike.
                for promise in [&mut cgroup.low, &mut cgroup.min] {
                    if *promise != u64::MAX && *promise >= cgroup.current_mib * MIB {
                        *promise = self.protection(cgroup.current_mib);
                    }
                }
            }
            for (resource, in_use) in in_use.into_iter().enumerate() {
                if self.dice.chance(30) {
                    cgroup.pressure[resource] = self.pressure(&in_use);
                }
            }
            if self.dice.chance(20) {
                cgroup.swap_pages = self.swap_pages();
            }
            if self.dice.chance(10) {
                cgroup.low = self.protection(cgroup.current_mib);
            }
            if self.dice.chance(5) {
                cgroup.is_populated = !cgroup.is_populated;
            }
            if self.dice.chance(5) {
                cgroup.is_whole = !cgroup.is_whole;
            }
            if self.dice.chance(2) {
                cgroup.attributes.insert(self.dice.pick(self.attributes));
            }
            cgroup.dying = self.dice.below(10);
            if !cgroup.is_idle {
                cgroup.pgscan += self.dice.between(1, 1_000_000);
                for counter in &mut cgroup.io {
                    *counter += self.dice.below(1_000_000_000);
                }
            }
        }
        if self.dice.chance(25) {
            let path = self.dice.pick(&paths);
            let is_again = self.dice.chance(40);
            let below = format!("{path}/");
            state.cgroups.retain(|other, _| *other != path && !other.starts_with(&below));
            if is_again {
                let cgroup = self.cgroup(&state);
                state.cgroups.insert(path, cgroup);
            }
        }
        if self.dice.chance(50) {
            self.add(&mut state);
        }
        if self.dice.chance(60) {
            self.change_machine(&mut state);
        }
        state
    }

    fn change_machine(&mut self, state: &mut State) {
        // Some are whole hundredths of it.
        state.swap_used_kib = match self.dice.chance(50) {
            true => SWAP_KIB / 100 * self.dice.below(101),
            false => self.dice.below(SWAP_KIB + 1),
        };
        state.free_kib = self.dice.below(MEMORY_KIB);
        state.pressure = [0; 2].map(|_| self.pressure(&BTreeSet::new()).1);
    }

    fn add(&mut self, state: &mut State) {
        let mut path = String::new();
        let parents: Vec<_> =
            state.cgroups.iter().filter(|(path, _)| path.matches('/').count() < 4).collect();
        if !parents.is_empty() && self.dice.chance(75) {
            let (parent, cgroup) = self.dice.pick(&parents);
            // Below an odd one nobody would be ranked.
            if cgroup.missing.is_some() || cgroup.low == u64::MAX {
                return;
            }
            path = format!("{parent}/");
        }
        path.push_str(self.dice.pick(&NAMES));
        if !state.cgroups.contains_key(&path) {
            let cgroup = self.cgroup(state);
            state.cgroups.insert(path, cgroup);
        }
    }

    fn cgroup(&mut self, state: &State) -> Cgroup {
        self.made += 1;
        let current_mib = self.size();
        let pressure = in_use(state).map(|in_use| self.pressure(&in_use));
        let mut cgroup = Cgroup {
            identity: self.made,
            current_mib,
            low: self.protection(current_mib),
            min: self.protection(current_mib),
            swap_pages: self.swap_pages(),
            anon: self.dice.between(1, current_mib * 256) * PAGE,
            pgscan: self.dice.below(1_000_000),
            pressure,
            dying: self.dice.below(10),
            is_populated: !self.dice.chance(10),
            is_whole: self.dice.chance(12),
            io: [0; 6].map(|_| self.dice.below(1_000_000_000)),
            is_idle: self.dice.chance(5),
            missing: None,
            attributes: BTreeSet::new(),
        };
        while self.dice.chance(12) {
            cgroup.attributes.insert(self.dice.pick(self.attributes));
        }
        if !self.has_odd && self.dice.chance(4) {
            self.has_odd = true;
            if self.dice.chance(20) {
                cgroup.low = u64::MAX;
            } else {
                cgroup.missing = Some(self.dice.pick(&MISSABLE));
            }
        }
        cgroup
    }

    /// One that none other had.
    fn size(&mut self) -> u64 {
        loop {
            let most = self.dice.pick(&[60, 300, 2000]);
            let size = self.dice.between(1, most);
            if self.sizes.insert(size) || self.sizes.len() > 1000 {
                return size;
            }
        }
    }

    fn swap_pages(&mut self) -> u64 {
        // Odd, so that it is no threshold.
        if self.dice.chance(40) { 0 } else { self.dice.below(100_000) * 2 + 1 }
    }

    fn protection(&mut self, current_mib: u64) -> u64 {
        // Less than it has.
        if self.dice.chance(60) { 0 } else { self.dice.below(current_mib * 256) * PAGE }
    }

    /// What none of these have.
    fn pressure(&mut self, in_use: &BTreeSet<u64>) -> (u64, [u64; 3]) {
        let sum = loop {
            let sum = self.dice.below(100);
            if !in_use.contains(&sum) || in_use.len() > 90 {
                break sum;
            }
        };
        // Quarters of a per cent, which are exact in any number of bits.
        let quarters = sum * 8 + self.dice.below(8);
        let of_10 = self.dice.between(quarters.saturating_sub(400), quarters.min(400));
        let of_300 = self.dice.below(401);
        (sum, [of_10, quarters - of_10, of_300])
    }
}

fn in_use(state: &State) -> [BTreeSet<u64>; 2] {
    [0, 1].map(|resource| state.cgroups.values().map(|cgroup| cgroup.pressure[resource].0).collect())
}

fn pressure_text([of_10, of_60, of_300]: [u64; 3]) -> String {
    let share = |quarters: u64| format!("{}.{:02}", quarters / 4, quarters % 4 * 25);
    let line = |word, [a, b, c]: [u64; 3]| {
        format!("{word} avg10={} avg60={} avg300={} total=0\n", share(a), share(b), share(c))
    };
    // Nobody is to look at the first one.
    line("some", [400 - of_10 / 2, 400 - of_60 / 2, 400 - of_300 / 2]) + &line("full", [of_10, of_60, of_300])
}

impl Cgroup {
    /// What tells of scanned pages, or of io; `None` where that is missing.
    pub fn rate_base(&self, of_scans: bool, has_device: bool) -> Option<u64> {
        let missing = self.missing.unwrap_or_default();
        if of_scans {
            (missing != "memory.stat").then_some(self.pgscan)
        } else {
            // It rises with each of them, unless the device costs nothing.
            (has_device && missing != "io.stat").then(|| self.io.iter().sum())
        }
    }

    fn files(&self, device: Option<&str>) -> BTreeMap<&'static str, String> {
        let number = |number: u64| format!("{number}\n");
        let low = if self.low == u64::MAX { "max\n".to_owned() } else { number(self.low) };
        let [rbytes, wbytes, rios, wios, dbytes, dios] = self.io;
        let io = device.map_or(String::new(), |device| {
            format!(
                "{device} rbytes={rbytes} wbytes={wbytes} rios={rios} wios={wios} dbytes={dbytes} dios={dios}\n"
            )
        });
        let mut files = BTreeMap::from([
            ("cgroup.controllers", "memory io pids\n".to_owned()),
            ("cgroup.events", format!("populated {}\nfrozen 0\n", u8::from(self.is_populated))),
            ("cgroup.stat", format!("nr_descendants 0\nnr_dying_descendants {}\n", self.dying)),
            ("cgroup.procs", String::new()),
            ("memory.current", number(self.current_mib * MIB)),
            ("memory.min", number(self.min)),
            ("memory.low", low),
            ("memory.high", "max\n".to_owned()),
            ("memory.max", "max\n".to_owned()),
            ("memory.swap.current", number(self.swap_pages * PAGE)),
            ("memory.swap.max", "max\n".to_owned()),
            ("memory.oom.group", number(self.is_whole.into())),
            ("memory.stat", format!("anon {}\nfile 0\npgscan {}\n", self.anon, self.pgscan)),
            ("memory.pressure", pressure_text(self.pressure[0].1)),
            ("io.pressure", pressure_text(self.pressure[1].1)),
            ("io.stat", io),
        ]);
        if let Some(missing) = self.missing {
            files.remove(missing);
        }
        files
    }
}

impl State {
    /// Changes the machine from one state, or from nothing, to this one.
    pub fn apply(&self, last: Option<&Self>, machine: &Machine, device: Option<&str>) {
        let nothing = Self::default();
        let old = last.unwrap_or(&nothing);
        let root = machine.cgroups();
        let is_same = |path: &str, cgroup: &Cgroup| {
            self.cgroups.get(path).is_some_and(|new| new.identity == cgroup.identity)
        };
        for (path, cgroup) in &old.cgroups {
            let dir = root.join(path);
            if !is_same(path, cgroup) && dir.exists() {
                fs::remove_dir_all(dir).unwrap();
            }
        }
        for (path, cgroup) in &self.cgroups {
            let files = cgroup.files(device);
            let known = old.cgroups.get(path).filter(|old| old.identity == cgroup.identity);
            if let Some(known) = known {
                let before = known.files(device);
                for (name, content) in files {
                    if before[name] != content {
                        machine.write(path, name, &content);
                    }
                }
                mark(&root.join(path), cgroup);
                continue;
            }
            // Made beside it, so that nobody sees half of one.
            let dir = root.join(path);
            let made = dir.with_file_name(".made");
            fs::create_dir(&made).unwrap();
            for (name, content) in files {
                fs::write(made.join(name), content).unwrap();
            }
            mark(&made, cgroup);
            fs::rename(made, dir).unwrap();
        }
        self.apply_to_machine(machine, last.is_none());
    }

    /// All of it, a line for each cgroup.
    pub fn told(&self) -> String {
        let lines = self.cgroups.iter().map(|(path, cgroup)| format!("  {path}: {cgroup:?}\n"));
        format!(
            "  swap used {}, pressure {:?}\n{}",
            self.swap_used_kib,
            self.pressure,
            lines.collect::<String>()
        )
    }

    fn apply_to_machine(&self, machine: &Machine, is_first: bool) {
        let proc = machine.tree.path().join("proc");
        let write = |name: &str, text: &str| {
            if is_first {
                fs::create_dir_all(proc.join(name).parent().unwrap()).unwrap();
                fs::write(proc.join(name), text).unwrap();
            } else {
                // In its place and of the same length: it may be mounted elsewhere.
                let file = File::options().write(true).open(proc.join(name)).unwrap();
                file.write_all_at(text.as_bytes(), 0).unwrap();
            }
        };
        let free_kib = SWAP_KIB - self.swap_used_kib;
        let rows = [
            ("MemTotal", MEMORY_KIB),
            ("MemFree", self.free_kib),
            ("MemAvailable", self.free_kib),
            ("Buffers", 0),
            ("Cached", 0),
            ("SwapCached", 0),
            ("SwapTotal", SWAP_KIB),
            ("SwapFree", free_kib),
            ("Shmem", 0),
            ("SReclaimable", 0),
        ];
        let meminfo: String = rows.iter().map(|(name, kib)| format!("{name}: {kib:>12} kB\n")).collect();
        write("meminfo", &meminfo);
        let used_kib = self.swap_used_kib;
        write(
            "swaps",
            &format!(
                "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
                 /dev/swap                               partition\t{SWAP_KIB}\t\t{used_kib:07}\t\t-2\n"
            ),
        );
        write("vmstat", "pgscan_kswapd 0\npgscan_direct 0\npswpout 0\n");
        for (name, pressure) in ["memory", "io"].iter().zip(self.pressure) {
            let path = proc.join("pressure");
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("new"), pressure_text(pressure)).unwrap();
            fs::rename(path.join("new"), path.join(name)).unwrap();
        }
    }
}

fn mark(dir: &Path, cgroup: &Cgroup) {
    for &name in &cgroup.attributes {
        setxattr(dir.as_os_str().as_bytes(), name, b"1", XattrFlags::empty()).unwrap();
    }
}
