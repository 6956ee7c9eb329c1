//! A hierarchy that somebody has filled who may: rules take longer there, and nothing
//! else does.

use super::BUSTD;
use super::acting::fixture::Machine;
use super::acting::{CONTINUE, kill, kill_by, plugin, set};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

const MANY: usize = 10_000;
const LEVELS: usize = 200;
/// No step takes longer without a look at memory.
const STEP: Duration = Duration::from_millis(50);
/// For what the kernel does on our account meanwhile, and for rounding.
const SLACK: Duration = Duration::from_millis(10);
const WATCH: Duration = Duration::from_secs(12);

/// Rules that look at everything there is.
fn rules() -> String {
    let everywhere = ["*", "*/*", "*/*/*", "*/*/*/*"].join(",");
    let of_all = |name: &str, more: &str| plugin(name, &format!(r#""cgroup": "{everywhere}"{more}"#));
    let pressure = of_all("pressure_above", r#", "resource": "memory", "threshold": -1, "duration": 0"#);
    let reclaim = of_all("memory_reclaim", r#", "duration": 1"#);
    let quick = r#""post_action_delay": 0"#;
    [
        set("watch", &[&[&pressure, &reclaim]], &[kill(&everywhere, "")], quick),
        set("deep", &[&[CONTINUE]], &[kill(&everywhere, r#""recursive": true, "debug": true"#)], quick),
        set("scans", &[&[CONTINUE]], &[kill_by("pg_scan", &everywhere, r#""recursive": true"#)], quick),
        set("beat", &[&[CONTINUE]], &[kill("beat", r#""always_continue": true"#)], ""),
    ]
    .join(", ")
}

/// A guard for which memory is low all the time, so that it looks again and again.
struct Guard {
    child: Child,
    lines: Receiver<Vec<u8>>,
}

impl Guard {
    fn start(machine: &Machine) -> Self {
        let mut bustd = Command::new(BUSTD);
        bustd.arg("--root").arg(machine.tree.path()).args(["--dry-run", "-n", "--mem", "50%,1%"]);
        bustd.args(["--interval", "1", "--rules"]).arg(machine.tree.path().join("rules.json"));
        bustd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = bustd.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (to, lines) = channel();
        thread::spawn(move || {
            for line in stderr.split(b'\n').map_while(Result::ok) {
                if to.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// Processor time so far, which what else this machine does does not add to.
    fn cpu(&self) -> Duration {
        let text = fs::read_to_string(format!("/proc/{}/schedstat", self.child.id())).unwrap();
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    }

    fn rss_kib(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmRSS")).expect("it lives");
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A machine whose memory is low, but not so low that anybody would be killed for it.
fn low_on_memory() -> Machine {
    let machine = Machine::new();
    machine.tree.write(
        "proc/meminfo",
        "MemTotal: 4000000 kB\nMemFree: 1900000 kB\nMemAvailable: 2100000 kB\nAnonPages: 1800000 kB\n",
    );
    machine.tree.write("rules.json", format!("{{\"rulesets\": [{}]}}", rules()));
    machine.sized("beat", 1);
    machine
}

/// How much processor time each took between two looks at memory, the worst, and how many
/// ticks ended meanwhile.
fn watch(machine: &Machine, guard: &Guard, span: Duration) -> (Duration, usize, Vec<Vec<u8>>) {
    let events = inotify::init(CreateFlags::NONBLOCK).unwrap();
    let meminfo = machine.tree.path().join("proc/meminfo");
    inotify::add_watch(&events, meminfo.as_os_str().as_bytes(), WatchFlags::OPEN | WatchFlags::ACCESS)
        .unwrap();
    let mut buf = [MaybeUninit::<u8>::uninit(); 4096];
    let mut reader = inotify::Reader::new(&events, &mut buf);
    let (mut last, mut worst, mut looks) = (guard.cpu(), Duration::ZERO, 0);
    let deadline = Instant::now() + span;
    let mut seen = Instant::now();
    while Instant::now() < deadline {
        // Who had no processor in between cannot tell which look was when.
        let was_away = seen.elapsed() > Duration::from_millis(4);
        seen = Instant::now();
        let mut looked = false;
        while reader.next().is_ok() {
            looked = true;
        }
        let now = guard.cpu();
        if was_away {
            last = now;
        }
        worst = worst.max(now.saturating_sub(last));
        if looked {
            (last, looks) = (now, looks + 1);
        }
        thread::sleep(Duration::from_millis(1));
    }
    assert!(looks > 10, "it does not look at memory: {looks} times");
    let lines: Vec<_> = guard.lines.try_iter().collect();
    let is_beat = |line: &&Vec<u8>| String::from_utf8_lossy(line).contains("ruleset:[beat]");
    let ticks = lines.iter().filter(is_beat).count();
    (worst, ticks, lines)
}

#[track_caller]
fn assert_holds(machine: &Machine, what: &str) {
    let guard = Guard::start(machine);
    let (worst, ticks, lines) = watch(machine, &guard, WATCH);
    let rss_kib = guard.rss_kib();
    println!("{what}: {} us between two looks at worst, {ticks} ticks, {rss_kib} KiB", worst.as_micros());
    assert!(worst <= STEP + SLACK, "{what}: {worst:?} without a look at memory");
    assert!(ticks > 0, "{what}: no tick ended: {:?}", lines.len());
    for line in &lines {
        let is_plain = line.iter().all(|&byte| (b' '..=b'~').contains(&byte));
        assert!(is_plain, "{what}: {:?}", String::from_utf8_lossy(line));
    }
}

#[test]
fn ten_thousand_cgroups_take_no_more_at_once() {
    let machine = low_on_memory();
    for at in 0..MANY {
        let dir = machine.cgroups().join(format!("many/{at}"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("memory.current"), format!("{at}\n")).unwrap();
        fs::write(dir.join("memory.stat"), "anon 4096\npgscan 3\n").unwrap();
    }
    assert_holds(&machine, "many");
}

#[test]
fn two_hundred_levels_take_no_more_at_once() {
    let machine = low_on_memory();
    for width in 0..20 {
        let mut cgroup = format!("deep{width}");
        for _ in 0..LEVELS {
            machine.write(&cgroup, "memory.current", "4096\n");
            machine.write(&cgroup, "cgroup.controllers", "memory\n");
            cgroup += "/d";
        }
    }
    assert_holds(&machine, "deep");
}

#[test]
fn names_may_have_every_byte() {
    let machine = low_on_memory();
    for byte in (1..=255).filter(|&byte| byte != b'/') {
        for name in [vec![byte, byte, b'a'], vec![b'a', byte], vec![byte; 255]] {
            let dir = machine.cgroups().join("s").join(OsStr::from_bytes(&name));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("memory.current"), "4096\n").unwrap();
            fs::write(dir.join("cgroup.controllers"), "memory\n").unwrap();
        }
    }
    assert_holds(&machine, "names");
}

/// Files with no end, with nothing in them, that are directories, and that lead elsewhere.
#[test]
fn files_may_hold_anything() {
    let machine = low_on_memory();
    let long = "9".repeat(1 << 20) + "\n";
    let lines = "anon 1\n".repeat(1 << 16);
    for (at, content) in [long.as_str(), &lines, "", "\n", "max\n", "-1\n", "\0\0\0"].iter().enumerate() {
        let cgroup = format!("s/{at}");
        for name in [
            "cgroup.controllers",
            "cgroup.events",
            "cgroup.stat",
            "cgroup.procs",
            "memory.current",
            "memory.min",
            "memory.low",
            "memory.stat",
            "memory.pressure",
            "memory.oom.group",
            "memory.swap.current",
            "io.stat",
        ] {
            machine.write(&cgroup, name, content);
        }
    }
    for name in ["memory.current", "memory.stat", "memory.pressure", "cgroup.events"] {
        fs::create_dir_all(machine.cgroups().join("s/directories").join(name)).unwrap();
    }
    assert_holds(&machine, "files");
}

#[test]
fn cgroups_may_come_and_go() {
    let machine = low_on_memory();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                for at in 0..500 {
                    let cgroup = format!("s/{at}");
                    machine.write(&cgroup, "memory.current", "4096\n");
                    machine.write(&cgroup, "cgroup.controllers", "memory\n");
                }
                let _ = fs::remove_dir_all(machine.cgroups().join("s"));
            }
        });
        let guard = Guard::start(&machine);
        let (worst, ticks, _) = watch(&machine, &guard, WATCH);
        ended.store(true, Ordering::Relaxed);
        assert!(worst <= STEP + SLACK && ticks > 0, "{worst:?} without a look at memory, {ticks} ticks");
    });
}
