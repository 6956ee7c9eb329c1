//! `make bench`: what rules cost, with bustd and beside it with oomd if that is there.
//! Both look once a second at 300 cgroups by 20 rule sets of which none fires, and each
//! of which looks at all of them. The cgroups are plain files, for not every machine has
//! the memory controller to spare; the kernel's own files cost both the same.

#[path = "../rules/peer.rs"]
mod peer;

use peer::Hierarchy;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const CGROUPS: usize = 300;
const RULES: usize = 20;
/// Until both have read everything for the first time.
const SETTLE: Duration = Duration::from_secs(4);
const WATCH: Duration = Duration::from_secs(20);

fn main() {
    // `cargo test --all-targets` runs benchmarks too, without this.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let tree = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{}", std::process::id()));
    make(&tree);
    let missed = measure(&tree);
    let _ = fs::remove_dir_all(&tree);
    std::process::exit(i32::from(missed));
}

fn measure(tree: &Path) -> bool {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/static/bustd");
    let bustd = if shipped.exists() { shipped } else { env!("CARGO_BIN_EXE_bustd").into() };
    let oomd = peer::find_oomd();
    println!("\n{CGROUPS} cgroups, {RULES} rule sets over all of them, looked at once a second\n");
    row("", "bustd", "oomd");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules/files/desktop.json");
    let example = Guard::bustd(&bustd, tree, &example);
    let mut guards = vec![Guard::bustd(&bustd, tree, &tree.join("rules.json"))];
    let hierarchy = Hierarchy::below_mount(&tree.join("sys/fs/cgroup"));
    if let (Some(oomd), Ok(hierarchy)) = (&oomd, hierarchy) {
        guards.push(Guard(peer::oomd(oomd, &hierarchy, tree).stderr(Stdio::null()).spawn().expect("oomd")));
    }
    sleep(SETTLE);
    let (since, before) = (Instant::now(), guards.iter().map(Guard::cpu_ns).collect::<Vec<_>>());
    sleep(WATCH);
    let spent_ns = since.elapsed().as_nanos() as f64;
    let pct: Vec<_> = guards
        .iter()
        .zip(before)
        .map(|(guard, before)| (guard.cpu_ns() - before) / spent_ns * 100.0)
        .collect();
    let cell =
        |at: usize, value: &dyn Fn(usize) -> String| guards.get(at).map_or("-".to_owned(), |_| value(at));
    let both = |what, value: &dyn Fn(usize) -> String| row(what, &cell(0, value), &cell(1, value));
    both("CPU time, of one processor", &|at| format!("{:.2} %", pct[at]));
    both("resident memory (VmRSS)", &|at| format!("{} kB", guards[at].rss_kb()));
    row("  with the desktop's rules", &format!("{} kB", example.rss_kb()), "");
    both("threads", &|at| guards[at].threads().to_string());
    let files = [Some(bustd), oomd.map(|oomd| peer::program_of(&oomd))];
    let file = |at: usize| files[at].as_ref().map_or("-".to_owned(), |path| format!("{} B", peer::len(path)));
    row("file", &file(0), &file(1));
    let whole =
        |at: usize| files[at].as_ref().map_or("-".to_owned(), |path| format!("{} B", peer::whole_len(path)));
    row("  with its libraries", &whole(0), &whole(1));
    let goals = [
        ("less than 1 % of one processor", pct[0] < 1.0),
        ("at most 128 kB with the desktop's rules", example.rss_kb() <= 128),
    ];
    println!();
    for (goal, is_met) in goals {
        println!("goal {goal}: {}", if is_met { "ok" } else { "MISSED" });
    }
    false
}

fn row(what: &str, bustd: &str, oomd: &str) {
    println!("{what:<32}{bustd:>16}{oomd:>16}");
}

/// One that runs; it is ended when this is dropped.
struct Guard(Child);

impl Guard {
    fn bustd(path: &Path, tree: &Path, rules: &Path) -> Self {
        let mut bustd = Command::new(path);
        bustd.arg("--root").arg(tree).args(["--dry-run", "-n", "--no-default-rules", "--interval", "1"]);
        bustd.arg("--rules").arg(rules).env_clear();
        bustd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(bustd.spawn().expect("bustd"))
    }

    /// Of all its threads.
    fn cpu_ns(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0.id())).expect("a guard has ended");
        let each = tasks.flatten().map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(f64::NAN)
        });
        each.sum()
    }

    fn status(&self, key: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("a guard has ended");
        let line = text.lines().find_map(|line| line.strip_prefix(key)).expect("a line of status");
        line.trim_start_matches(':').split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number")
    }

    fn rss_kb(&self) -> u64 {
        self.status("VmRSS")
    }

    fn threads(&self) -> u64 {
        self.status("Threads")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The machine, its cgroups and the rules.
fn make(tree: &Path) {
    let write = |path: &str, content: &str| {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().expect("a file")).expect("a directory");
        fs::write(path, content).expect("a file");
    };
    for file in ["meminfo", "swaps", "vmstat", "sys/vm/swappiness", "pressure/memory", "pressure/io"] {
        write(&format!("proc/{file}"), &fs::read_to_string(format!("/proc/{file}")).unwrap_or_default());
    }
    let vmstat = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let mut names = vec![String::new(), "work.slice/".to_owned()];
    names.extend((0..CGROUPS).map(|at| format!("work.slice/job-{at}.service/")));
    for (at, name) in names.iter().enumerate() {
        let pressure = "some avg10=0.12 avg60=0.05 avg300=0.01 total=123456\n\
                        full avg10=0.10 avg60=0.04 avg300=0.00 total=98765\n";
        for (file, content) in [
            ("cgroup.controllers", "memory io pids\n"),
            ("cgroup.events", "populated 1\nfrozen 0\n"),
            ("cgroup.procs", "1\n"),
            ("memory.current", &format!("{}\n", 1_000_000 + at * 4096)),
            ("memory.min", "0\n"),
            ("memory.low", "0\n"),
            ("memory.high", "max\n"),
            ("memory.max", "max\n"),
            ("memory.swap.current", "0\n"),
            ("memory.swap.max", "max\n"),
            ("memory.oom.group", "0\n"),
            // As many lines as the kernel's has, of which one is looked for.
            (
                "memory.stat",
                &format!(
                    "anon 500000\n{}pgscan 5\n",
                    vmstat.lines().take(50).fold(String::new(), |all, line| all + line + "\n")
                ),
            ),
            ("memory.pressure", pressure),
            ("io.pressure", pressure),
        ] {
            write(&format!("sys/fs/cgroup/{name}{file}"), content);
        }
    }
    let set = |at: usize| {
        let resource = if at.is_multiple_of(2) { "memory" } else { "io" };
        format!(
            r#"{{"name": "rule {at}", "detectors": [["waits",
                {{"name": "pressure_above", "args": {{"cgroup": "work.slice/*", "resource": "{resource}", "threshold": "{}", "duration": "30"}}}},
                {{"name": "memory_reclaim", "args": {{"cgroup": "work.slice/*", "duration": "10"}}}}]],
              "actions": [{{"name": "kill_by_memory_size_or_growth", "args": {{"cgroup": "work.slice/*", "dry": true}}}}]}}"#,
            60 + at
        )
    };
    let sets: Vec<_> = (0..RULES).map(set).collect();
    write("rules.json", &format!("{{\"rulesets\": [{}]}}", sets.join(",\n")));
}
