//! `make bench`: what guarding costs with bustd, and beside it with each peer
//! that is installed. Times are processor time and worth comparing only within
//! one run. A goal that is missed is said; it is not an error.

mod clock;
mod herd;
mod program;
mod scan;
mod shortage;

use bustd::choose::scope::Scope;
use bustd::config::scope::Asked;
use bustd::read::hierarchy::{find_own, push_real_path};
use bustd::read::kfile::ReadError;
use bustd::read::kfile::Tree;
use bustd::read::memory;
use bustd::read::psi::PressureFile;
use bustd::sys::line::Line;
use clock::median;
use herd::Idle;
use program::Program;
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags, mkdir, rmdir};
use scan::Pair;
use shortage::Taken;
use std::ffi::CString;
use std::hint::black_box;
use std::time::Duration;

const IDLE: Duration = Duration::from_secs(30);
const WATCH: Duration = Duration::from_secs(12);
const HERD: usize = 5000;
/// Rounds of scans: in each, all programs take their turn.
const ROUNDS: usize = 5;
const PAIRS_A_ROUND: usize = 6;
const DECISIONS_A_ROUND: usize = 5;
const PEER_SCANS_A_ROUND: usize = 3;

fn main() {
    // `cargo test --all-targets` runs benchmarks too, without this.
    if std::env::args().any(|arg| arg == "--bench") {
        std::process::exit(herd::in_own_namespace(run));
    }
}

fn run() {
    let bustd = program::find_bustd();
    let peers = program::find_peers();
    let programs: Vec<_> = std::iter::once(&bustd).chain(&peers).collect();
    let tree = Tree::open_live().expect("/proc");
    let table = Table { columns: programs.len() };
    table.head(&programs);
    measure_idle(&table, &programs);
    measure_samples(&table, &tree);
    measure_scans(&table, &tree, &bustd, &peers);
}

// --------------------------------------------------------- measurements

fn measure_idle(table: &Table, programs: &[&Program]) {
    let seconds = IDLE.as_secs_f64();
    let idle = program::watch_idle(programs, IDLE);
    let rss = cells(&idle, |idle| unit(idle.rss_kb, "kB"));
    table.row("resident memory (VmRSS)", &rss, Some(("<= 96 kB", idle[0].rss_kb <= 96.0)));
    let locked = cells(&idle, |idle| if idle.locked { "yes" } else { "no" }.to_owned());
    table.row("  locked", &locked, None);
    let cpu = cells(&idle, |idle| unit(idle.cpu_ns / 1e3, "us"));
    table.row(&format!("CPU time in {seconds} idle seconds"), &cpu, None);
    let wakeups = cells(&idle, |idle| unit(idle.wakeups, ""));
    let calm = idle[0].wakeups <= seconds;
    table.row(&format!("wake-ups in {seconds} idle seconds"), &wakeups, Some(("<= 1 a second", calm)));
    let each = cells(&idle, |idle| unit(idle.cpu_ns / 1e3 / idle.wakeups, "us"));
    table.row("  CPU time each", &each, None);
}

/// In this process, through the library.
fn measure_samples(table: &Table, tree: &Tree) {
    let proc = tree.proc.as_fd();
    let gate_ns = clock::each_ns(|| {
        black_box(memory::read_sysinfo());
    });
    table.row("one healthy sample: sysinfo", &[unit(gate_ns / 1e3, "us")], None);
    let pressure = Scope::of_machine(tree).open_pressure(OFlags::RDONLY).map(PressureFile::of);
    let pressure = pressure.unwrap_or(Err(ReadError::Missing));
    let whole_ns = clock::each_ns(|| {
        let _ = black_box((memory::read_meminfo(proc), pressure.as_ref().map(PressureFile::read)));
    });
    table.row("one full reading: meminfo and pressure", &[unit(whole_ns / 1e3, "us")], None);
}

/// earlyoom reads the less of a process the worse the worst before it was, so
/// it makes a difference where in the list the culprit stands.
fn measure_scans(table: &Table, tree: &Tree, bustd: &Program, peers: &[Program]) {
    let oldest = Idle::fork_culprit();
    let herd: Vec<_> = (0..HERD).map_while(|_| Idle::fork()).collect();
    let processes = scan::scan_floor(tree.proc.as_fd());
    println!("\nScanning {processes} processes, of which one is worth killing: CPU time per process");
    measure_survey(table, tree, &Scope::of_machine(tree), "", processes);
    // As in a container, whose processes are all that can be seen.
    if let Ok(own) = Scope::find(tree, Asked::Cgroup, false) {
        measure_survey(table, tree, &own, ", own cgroup", processes);
    }
    if let Some(empty) = Empty::new(tree) {
        let scope = Scope::find(tree, Asked::Path(&empty.dir), false).expect("a cgroup");
        measure_survey(table, tree, &scope, ", all outside", processes);
    }
    measure_decisions(table, "oldest", processes, bustd, peers);
    drop(oldest);
    let youngest = Idle::fork_culprit();
    measure_decisions(table, "youngest", processes, bustd, peers);
    drop(youngest);
    measure_watch(table, processes, bustd);
    drop(herd);
}

/// A cgroup below our own that nobody is in.
struct Empty {
    dir: CString,
}

impl Empty {
    fn new(tree: &Tree) -> Option<Self> {
        let own = find_own(tree).ok()?;
        let mut path = Line::default();
        push_real_path(&mut path, own.cgroup.dir.as_fd());
        let dir = CString::new([path.as_bytes(), b"/bench"].concat()).expect("no zero");
        mkdir(dir.as_c_str(), Mode::RWXU).ok().map(|()| Self { dir })
    }
}

impl Drop for Empty {
    fn drop(&mut self) {
        let _ = rmdir(self.dir.as_c_str());
    }
}

/// With the most processes there are, for a survey of them all is what it costs.
fn measure_watch(table: &Table, processes: usize, bustd: &Program) {
    println!("\nWatching memory get less, among {processes} processes: processor time");
    for (taken, whose) in [(Taken::ByProcess, "by a process"), (Taken::ByNobody, "by nobody")] {
        let pct = bustd.watching_pct(taken, WATCH);
        let name = format!("taken {whose}: of one processor");
        table.row(&name, &[unit(pct, "%")], Some(("<= 2 %", pct <= 2.0)));
    }
}

fn measure_survey(table: &Table, tree: &Tree, scope: &Scope<'_>, whose: &str, processes: usize) {
    let pairs = (0..ROUNDS * PAIRS_A_ROUND).map(|at| scan::measure_pair(tree, scope, at % 2 == 0));
    // The first one fills the kernel's caches.
    let pairs: Vec<_> = pairs.skip(1).collect();
    let median_of = |value: fn(&Pair) -> f64| median(pairs.iter().map(value).collect());
    let each = |ns: f64| [unit(ns / 1e3 / processes as f64, "us")];
    let floor_ns = median_of(|pair| pair.floor_ns);
    table.row("floor: getdents; open, read, close statm", &each(floor_ns), None);
    let survey_ns = median_of(|pair| pair.survey_ns);
    table.row(&format!("bustd's survey in this process{whose}"), &each(survey_ns), None);
    let ratio = median_of(|pair| pair.survey_ns / pair.floor_ns);
    table.row("  to the floor", &[times(ratio)], Some(("<= 1.4 x", ratio <= 1.4)));
}

fn measure_decisions(table: &Table, culprit: &str, processes: usize, bustd: &Program, peers: &[Program]) {
    let mut spent = vec![Vec::new(); 1 + peers.len()];
    for _ in 0..ROUNDS {
        spent[0].push(bustd.decision_ns(DECISIONS_A_ROUND));
        for (spent, peer) in spent[1..].iter_mut().zip(peers) {
            spent.push(peer.scan_ns(PEER_SCANS_A_ROUND));
        }
    }
    let each = cells(&spent, |spent| unit(median(spent.clone()) / 1e3 / processes as f64, "us"));
    table.row(&format!("whole program, culprit the {culprit}"), &each, None);
    let ratios = spent.iter().map(|spent_by_one| {
        let rounds = spent_by_one.iter().zip(&spent[0]);
        median(rounds.map(|(one_ns, bustd_ns)| one_ns / bustd_ns).collect())
    });
    let ratios: Vec<_> = ratios.collect();
    let goal = ratios.get(1).map(|&peer| (">= 3 x", peer >= 3.0));
    table.row("  to bustd's", &cells(&ratios, |&ratio| times(ratio)), goal);
}

// ---------------------------------------------------------------- table

/// Prints each row as soon as it is known: what is measured, a cell for each
/// program, a goal and whether it was reached.
struct Table {
    columns: usize,
}

impl Table {
    fn head(&self, programs: &[&Program]) {
        println!();
        for program in programs {
            let needs = if program.file().needs_libc { "needs a C library" } else { "static" };
            println!("{}, {needs}", program.version());
        }
        if !programs[0].path.ends_with("target/static/bustd") {
            println!("This bustd is the release build. What ships is what `make static` builds.");
        }
        println!();
        self.row("", &cells(programs, |program| program.name.to_owned()), None);
        self.row("file", &cells(programs, |program| unit(program.file().len as f64, "B")), None);
    }

    fn row(&self, what: &str, cells: &[String], goal: Option<(&str, bool)>) {
        print!("{what:<42}");
        for at in 0..self.columns {
            print!("{:>12}", cells.get(at).map_or("", String::as_str));
        }
        match goal {
            Some((goal, true)) => println!("   goal {goal}: ok"),
            Some((goal, false)) => println!("   goal {goal}: MISSED"),
            None => println!(),
        }
    }
}

fn cells<T>(values: &[T], cell: impl Fn(&T) -> String) -> Vec<String> {
    values.iter().map(cell).collect()
}

/// Three digits, more than a timing is good for; `-` for what is not known.
fn unit(value: f64, unit: &str) -> String {
    let decimals = if value.fract() == 0.0 || value >= 100.0 { 0 } else { 1 + usize::from(value < 10.0) };
    match value.is_nan() {
        true => "-".to_owned(),
        false => format!("{value:.decimals$} {unit}").trim_end().to_owned(),
    }
}

fn times(ratio: f64) -> String {
    unit(ratio, "x")
}
