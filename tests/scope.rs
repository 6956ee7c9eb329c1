//! Which memory is guarded, on captured trees that hold cgroup files: through the
//! real program, which is asked, decides once, or watches a tree that changes.

mod tree;

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tree::{Process, Tree};

const BUSTD: &str = env!("CARGO_BIN_EXE_bustd");
const MIB: u64 = 1024;

/// A machine of 4000 MiB with plenty, and half as much swap.
const MACHINE: &str = "MemTotal: 4096000 kB\nMemFree: 3072000 kB\nMemAvailable: 3276800 kB\n\
                       AnonPages: 512000 kB\nSwapTotal: 2048000 kB\nSwapFree: 1024000 kB\n";

const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

/// Made of memory in KiB.
#[derive(Clone, Copy, Default)]
struct Figures {
    limit_kib: Option<u64>,
    current_kib: u64,
    anon_kib: u64,
    inactive_file_kib: u64,
    active_file_kib: u64,
    slab_kib: u64,
    shmem_kib: u64,
    /// Limit and use.
    swap_kib: Option<(u64, u64)>,
}

struct Machine(Tree);

impl Machine {
    /// Whose mounts and own cgroup are these.
    fn new(mountinfo: &str, own: &str) -> Self {
        let tree = Tree::new();
        tree.write("proc/meminfo", MACHINE);
        tree.write("proc/self/mountinfo", mountinfo);
        tree.write("proc/self/cgroup", own);
        Self(tree)
    }

    /// Adds a cgroup of version 2.
    fn v2(&self, dir: &str, figures: Figures) -> &Self {
        let Figures { limit_kib, current_kib, anon_kib, swap_kib, .. } = figures;
        let Figures { inactive_file_kib, active_file_kib, slab_kib, shmem_kib, .. } = figures;
        let write = |name: &str, text: String| self.0.write(&format!("{dir}/{name}"), text);
        write("cgroup.procs", String::new());
        write("memory.max", limit_kib.map_or("max\n".into(), |kib| format!("{}\n", kib * 1024)));
        write("memory.current", format!("{}\n", current_kib * 1024));
        let stat = [
            ("anon", anon_kib),
            ("file", inactive_file_kib + active_file_kib + shmem_kib),
            ("kernel_stack", 0),
            ("shmem", shmem_kib),
            ("inactive_file", inactive_file_kib),
            ("active_file", active_file_kib),
            ("unevictable", 777),
            ("slab_reclaimable", slab_kib),
        ];
        write("memory.stat", stat.map(|(key, kib)| format!("{key} {}\n", kib * 1024)).concat());
        if let Some((most_kib, used_kib)) = swap_kib {
            write("memory.swap.max", format!("{}\n", most_kib * 1024));
            write("memory.swap.current", format!("{}\n", used_kib * 1024));
        }
        self
    }

    /// The same of version 1, whose own figures are not those of the hierarchy.
    fn v1(&self, dir: &str, figures: Figures) -> &Self {
        let Figures { limit_kib, current_kib, anon_kib, swap_kib, .. } = figures;
        let Figures { inactive_file_kib, active_file_kib, shmem_kib, .. } = figures;
        let write = |name: &str, text: String| self.0.write(&format!("{dir}/{name}"), text);
        let limit = limit_kib.map_or(0x7fff_ffff_ffff_f000, |kib| kib * 1024);
        write("cgroup.procs", String::new());
        write("memory.limit_in_bytes", format!("{limit}\n"));
        write("memory.usage_in_bytes", format!("{}\n", current_kib * 1024));
        write("memory.failcnt", "0\n".into());
        let (both, used_kib) = swap_kib.unwrap_or_default();
        let stat = [
            ("rss", 1),
            ("swap", 1),
            ("inactive_file", 1),
            ("total_rss", anon_kib),
            ("total_shmem", shmem_kib),
            ("total_swap", used_kib),
            ("total_inactive_file", inactive_file_kib),
            ("total_active_file", active_file_kib),
        ];
        write("memory.stat", stat.map(|(key, kib)| format!("{key} {}\n", kib * 1024)).concat());
        if swap_kib.is_some() {
            write("memory.memsw.limit_in_bytes", format!("{}\n", both * 1024));
        }
        self
    }

    /// Adds a process in a cgroup.
    fn process(&self, pid: u32, comm: &str, anon_mib: u64, cgroup: &str) -> &Self {
        let anon_kib = anon_mib * MIB;
        self.0.add(&Process { pid, comm: comm.into(), anon_kib, ..Process::default() });
        self.0.write(&format!("proc/{pid}/cgroup"), cgroup);
        self
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(BUSTD).arg("--root").arg(self.0.path()).args(args).output().unwrap()
    }

    fn status_with(&self, args: &[&str]) -> Value {
        let output = self.run(&[&["--status", "--json"], args].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn status(&self) -> Value {
        self.status_with(&[])
    }

    /// Total and available memory, in KiB.
    fn memory(&self) -> (u64, u64) {
        let status = self.status();
        let ram = |key: &str| status["ram"][key].as_u64().unwrap();
        (ram("total_kib"), ram("avail_kib"))
    }

    /// Total and free swap, in KiB.
    fn swap(&self) -> (u64, u64) {
        let status = self.status();
        let swap = |key: &str| status["swap"][key].as_u64().unwrap();
        (swap("total_kib"), swap("avail_kib"))
    }
}

/// The pids that could be chosen, best first.
fn pids(status: &Value) -> Vec<u64> {
    status["candidates"].as_array().unwrap().iter().map(|one| one["pid"].as_u64().unwrap()).collect()
}

/// 128 MiB, of which 40 are free, 10 + 2 can be reclaimed.
const SMALL: Figures = Figures {
    limit_kib: Some(128 * MIB),
    current_kib: 88 * MIB,
    anon_kib: 60 * MIB,
    inactive_file_kib: 10 * MIB,
    active_file_kib: 4 * MIB,
    slab_kib: 2 * MIB,
    shmem_kib: 8 * MIB,
    swap_kib: None,
};
/// The same, of which nothing can be had back.
const FULL: Figures = Figures { inactive_file_kib: 0, slab_kib: 0, swap_kib: Some((0, 0)), ..SMALL };
const FREE: Figures = Figures {
    limit_kib: None,
    current_kib: 900 * MIB,
    anon_kib: 700 * MIB,
    inactive_file_kib: 0,
    active_file_kib: 0,
    slab_kib: 0,
    shmem_kib: 0,
    swap_kib: None,
};

#[test]
fn the_limit_of_our_own_cgroup_is_guarded() {
    let machine = Machine::new(V2, "0::/app\n");
    machine.v2("sys/fs/cgroup/app", SMALL);
    let status = machine.status();
    assert_eq!(machine.memory(), (128 * MIB, (40 + 10 + 2) * MIB));
    assert_eq!(status["scope"]["guards"], "cgroup");
    assert_eq!(status["scope"]["why"], "it has the tightest limit");
    assert_eq!(status["cgroup"]["path"], "/app");
    assert!(status["limit"]["path"].as_str().unwrap().ends_with("/sys/fs/cgroup/app/memory.max"));
    // A tenth and a twentieth of what the processes have and could have.
    assert_eq!(status["ram"]["term_kib"], (52 + 60 + 4) * MIB / 10);
}

#[test]
fn the_machine_is_guarded_where_no_limit_is_lower() {
    for limit_kib in [None, Some(4_096_000), Some(1 << 40)] {
        let machine = Machine::new(V2, "0::/app\n");
        machine.v2("sys/fs/cgroup/app", Figures { limit_kib, ..SMALL });
        let status = machine.status();
        assert_eq!(status["scope"]["guards"], "machine", "{limit_kib:?}");
        assert_eq!(status["scope"]["why"], "our cgroup has no lower limit, one that is set is seen");
        assert_eq!(machine.memory(), (4_096_000, 3_276_800));
    }
    let hidden = Machine::new("", "0::/app\n").status();
    assert_eq!(hidden["scope"]["why"], "our cgroup cannot be seen");
}

#[test]
fn the_tightest_limit_up_the_tree_is_guarded_with_all_below_it() {
    let machine = Machine::new(V2, "0::/pod/app/guard\n");
    machine.v2("sys/fs/cgroup/pod", Figures { limit_kib: Some(256 * MIB), current_kib: 100 * MIB, ..SMALL });
    machine.v2("sys/fs/cgroup/pod/app", Figures { limit_kib: Some(512 * MIB), ..SMALL });
    machine.v2("sys/fs/cgroup/pod/app/guard", FREE);
    machine.v2("sys/fs/cgroup", FREE);
    machine.process(10, "outside", 500, "0::/other\n").process(11, "root", 500, "0::/\n");
    machine.process(12, "namesake", 500, "0::/podium\n").process(13, "gone", 500, "0::/pod (deleted)\n");
    machine.process(14, "sibling", 90, "0::/pod/other\n").process(15, "app", 80, "0::/pod/app\n");
    machine.process(16, "deep", 70, "0::/pod/app/guard/x/y\n").process(17, "pod", 60, "0::/pod\n");
    machine.0.write("proc/18/statm", "100000 100000 0 0 0 0 0\n");
    let status = machine.status();
    assert_eq!(status["cgroup"]["path"], "/pod");
    assert_eq!(machine.memory(), (256 * MIB, (156 + 12) * MIB));
    assert_eq!(pids(&status), [14, 15, 16, 17]);
}

#[test]
fn what_is_available_is_the_least_of_all_levels() {
    let machine = Machine::new(V2, "0::/pod/app\n");
    machine.v2("sys/fs/cgroup/pod/app", SMALL);
    let full = Figures { limit_kib: Some(200 * MIB), current_kib: 195 * MIB, ..SMALL };
    machine.v2("sys/fs/cgroup/pod", Figures { inactive_file_kib: MIB, active_file_kib: MIB, ..full });
    // The tightest limit is ours, the least that is available is above.
    assert_eq!(machine.status()["cgroup"]["path"], "/pod/app");
    assert_eq!(machine.memory(), (128 * MIB, (5 + 1 + 2) * MIB));
    // More is used than may be: as after a limit was lowered.
    machine.v2("sys/fs/cgroup/pod", Figures { limit_kib: Some(150 * MIB), inactive_file_kib: 0, ..full });
    assert_eq!(machine.memory().1, (2 + 2) * MIB);
}

#[test]
fn file_pages_in_use_count_for_half_at_most_where_few_are_inactive() {
    let machine = Machine::new(V2, "0::/app\n");
    let hot = Figures { inactive_file_kib: 2 * MIB, active_file_kib: 18 * MIB, ..SMALL };
    machine.v2("sys/fs/cgroup/app", hot);
    assert_eq!(machine.memory().1, (40 + 10 + 2) * MIB);
}

#[test]
fn swap_is_what_cgroup_ancestors_and_machine_leave() {
    let machine = Machine::new(V2, "0::/pod/app\n");
    let with = |swap_kib| Figures { swap_kib, ..SMALL };
    machine.v2("sys/fs/cgroup/pod", FREE);
    machine.v2("sys/fs/cgroup/pod/app", with(None));
    assert_eq!(machine.swap(), (2_048_000, 1_024_000));
    machine.v2("sys/fs/cgroup/pod/app", with(Some((64 * MIB, 24 * MIB))));
    assert_eq!(machine.swap(), (64 * MIB, 40 * MIB));
    machine.v2("sys/fs/cgroup/pod", Figures { swap_kib: Some((32 * MIB, 30 * MIB)), ..FREE });
    assert_eq!(machine.swap(), (32 * MIB, 2 * MIB));
    machine.v2("sys/fs/cgroup/pod/app", with(Some((0, 0))));
    assert_eq!(machine.swap(), (0, 0));
    machine.0.write("sys/fs/cgroup/pod/app/memory.swap.max", "max\n");
    machine.0.write("sys/fs/cgroup/pod/memory.swap.max", "max\n");
    assert_eq!(machine.swap(), (2_048_000, 1_024_000));
}

const V1: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                  32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                  35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                  41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
const IN_V1: &str = "9:name=systemd:/x\n4:memory:/pod/app\n2:cpu,cpuacct:/\n0::/elsewhere\n";

#[test]
fn version_1_and_hybrids() {
    let machine = Machine::new(V1, IN_V1);
    machine.v2("sys/fs/cgroup/unified/elsewhere", Figures { limit_kib: Some(MIB), ..SMALL });
    machine.v1("sys/fs/cgroup/memory", FREE).v1("sys/fs/cgroup/memory/pod/app", FREE);
    assert_eq!(machine.status()["scope"]["guards"], "machine");
    let limited = Figures { swap_kib: Some((192 * MIB, 20 * MIB)), ..SMALL };
    machine.v1("sys/fs/cgroup/memory/pod", limited);
    machine.process(10, "inside", 90, IN_V1).process(11, "outside", 90, "4:memory:/poc\n0::/elsewhere\n");
    let status = machine.status();
    assert_eq!(machine.memory(), (128 * MIB, (40 + 10) * MIB));
    // memsw is of both.
    assert_eq!(machine.swap(), (64 * MIB, 44 * MIB));
    assert_eq!(status["cgroup"]["path"], "/pod");
    assert!(status["limit"]["path"].as_str().unwrap().ends_with("/memory/pod/memory.limit_in_bytes"));
    assert_eq!(pids(&status), [10]);
    // Without swap accounting the machine's counts.
    machine.v1("sys/fs/cgroup/memory/pod", SMALL);
    fs::remove_file(machine.0.path().join("sys/fs/cgroup/memory/pod/memory.memsw.limit_in_bytes")).unwrap();
    assert_eq!(machine.swap(), (2_048_000, 1_024_000));
}

#[test]
fn with_a_cgroup_namespace_and_without() {
    // Of the container's own mount the root is what we are in.
    let machine = Machine::new(V2, "0::/\n");
    machine.v2("sys/fs/cgroup", SMALL).process(10, "inside", 90, "0::/\n");
    machine.process(11, "below", 80, "0::/job\n").process(12, "above", 99, "0::/../other\n");
    machine.process(13, "up", 99, "0::/..\n");
    assert_eq!(machine.status()["cgroup"]["path"], "/");
    assert_eq!(pids(&machine.status()), [10, 11]);
    // Without a namespace the mount shows a part of the hierarchy.
    let part = "30 23 0:26 /docker/ab /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
    let machine = Machine::new(part, "0::/docker/ab\n");
    machine.v2("sys/fs/cgroup", SMALL).process(10, "inside", 90, "0::/docker/ab\n");
    machine.process(11, "below", 80, "0::/docker/ab/c\n").process(12, "other", 99, "0::/docker/abc\n");
    assert_eq!(machine.memory().0, 128 * MIB);
    assert_eq!(machine.status()["cgroup"]["path"], "/docker/ab");
    assert_eq!(pids(&machine.status()), [10, 11]);
    // A mount from outside of the namespace does not tell where we are in it.
    let outside = "30 23 0:26 /../.. /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
    let machine = Machine::new(outside, "0::/\n");
    machine.v2("sys/fs/cgroup", SMALL);
    assert_eq!(machine.status()["scope"]["why"], "our cgroup cannot be seen");
}

#[test]
fn odd_names_are_no_obstacle() {
    let mount = "30 23 0:26 / /my\\040cgroups\\134\\011 rw - cgroup2 none rw\n";
    let own = "a:b \\040\u{1b}[31m\"x";
    let machine = Machine::new(mount, &format!("0::/{own}\n"));
    machine.v2(&format!("my cgroups\\\t/{own}"), SMALL);
    machine.process(10, "inside", 90, &format!("0::/{own}/sub\n"));
    assert_eq!(machine.status()["cgroup"]["path"], format!("/{own}"));
    assert_eq!(pids(&machine.status()), [10]);
    let screen = machine.run(&["--status"]).stdout;
    assert!(screen.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')));
}

#[test]
fn long_paths_are_bounded_and_long_lines_no_shelter() {
    // As deep as a user may nest: the prefix decides, whatever is behind it.
    let deep = "/n".repeat(1900);
    let machine = Machine::new(V2, "0::/app\n");
    machine.v2("sys/fs/cgroup/app", SMALL);
    machine.process(10, "deep", 90, &format!("0::/app{deep}\n"));
    machine.process(11, "deep", 99, &format!("0::/other{deep}\n"));
    let before = format!("7:name=systemd:{deep}{deep}\n6:cpu:/{}\n", "m".repeat(4000));
    machine.process(12, "behind", 80, &format!("{before}0::/app\n"));
    assert_eq!(pids(&machine.status()), [10, 12]);
    // Our own path, if it is too long to be kept, is as good as none.
    let machine = Machine::new(V2, &format!("0::{}\n", &deep[..1000]));
    machine.v2("sys/fs/cgroup", SMALL);
    assert_eq!(machine.status()["scope"]["why"], "our cgroup cannot be seen");
    // Of limits far above us none is looked for.
    let own = "/n".repeat(100);
    let machine = Machine::new(V2, &format!("0::{own}\n"));
    machine.v2("sys/fs/cgroup/n", SMALL).v2(&format!("sys/fs/cgroup{own}"), FREE);
    assert_eq!(machine.status()["scope"]["guards"], "machine");
}

/// For what every process costs: of those that are not worth it nobody is asked where
/// they are. A file that cannot be read shows it.
#[test]
fn of_small_ones_it_is_not_asked_where_they_are() {
    let asked = |large_mib: u64| {
        let machine = Machine::new(V2, "0::/app\n");
        machine.v2("sys/fs/cgroup/app", SMALL).process(10, "inside", 60, "0::/app\n");
        for pid in 20..60 {
            machine.process(pid, "outside", large_mib, "0::/db\n");
            let file = machine.0.path().join(format!("proc/{pid}/cgroup"));
            fs::remove_file(&file).unwrap();
            fs::create_dir(&file).unwrap();
        }
        machine.run(&["--status", "--json"])
    };
    assert_eq!(pids(&serde_json::from_slice(&asked(0).stdout).unwrap()), [10]);
    let told = asked(50).stderr;
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("cannot look at the processes: a directory"), "{told}");
}

#[test]
fn patterns_may_name_cgroups() {
    let machine = Machine::new(V2, "0::/app\n");
    machine.v2(
        "sys/fs/cgroup/app",
        Figures { limit_kib: SMALL.limit_kib, current_kib: 127 * MIB, swap_kib: Some((0, 0)), ..FREE },
    );
    machine
        .process(10, "large", 60, "0::/app/db/worker\n")
        .process(11, "small", 30, "0::/app/batch\n")
        .process(12, "least", 20, "0::/app/dbs\n");
    let best = |options: &[&str]| {
        let output = machine.run(&[&["--once", "--dry-run"], options].concat());
        let lines = String::from_utf8_lossy(&output.stderr).into_owned();
        lines.split("would kill pid ").nth(1).map_or(lines.clone(), |rest| rest[..2].to_owned())
    };
    assert_eq!(best(&[]), "10");
    assert_eq!(best(&["--prefer", "cgroup:/app/batch"]), "11");
    assert_eq!(best(&["--prefer", "cgroup:*/batch|cgroup:/app/db*"]), "10");
    assert_eq!(best(&["--avoid", "cgroup:/app/db/"]), "11");
    assert_eq!(best(&["--avoid", "cgroup:/app/d"]), "10");
    assert_eq!(best(&["--unkillables", "1000:cgroup:/app/db|any:cgroup:*/batch"]), "12");
    assert_eq!(best(&["--unkillables", "1001:cgroup:/app/db"]), "10");
    // Of version 1 it is where the memory controller has it.
    machine.0.write("proc/10/cgroup", "4:memory:/else\n1:cpu:/app/db\n0::/app/db\n");
    assert_eq!(best(&["--unkillables", "cgroup:/app/db"]), "10");
    assert_eq!(best(&["--unkillables", "cgroup:/else"]), "11");
    let told = machine.run(&["--check", "--unkillables", "cgroup:/app/batch|any:cgroup:*/none"]).stdout;
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(told.contains("\"cgroup:/app/batch\": 11 small\n"), "{told}");
    assert!(told.contains("\"any:cgroup:*/none\": warning: matches nothing now"), "{told}");
}

/// Where it cannot be told, who could be spared is, and that is no way to be preferred.
#[test]
fn when_in_doubt_a_cgroup_is_to_be_spared() {
    let machine = Machine::new(V2, "0::/\n");
    machine.0.write(
        "proc/meminfo",
        "MemTotal: 4096000 kB\nMemAvailable: 1024 kB\nAnonPages: 3000000 kB\nSwapTotal: 0 kB\n",
    );
    machine.process(10, "large", 900, "").process(11, "small", 300, "0::/batch\n");
    let file = machine.0.path().join("proc/10/cgroup");
    let told = |options: &[&str]| {
        let output = machine.run(&[&["--once", "--dry-run", "--scope", "machine"], options].concat());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    // In none at all, or without such a file.
    let expect = |options: &[&str], what: &str| assert!(told(options).contains(what), "{}", told(options));
    expect(&["--unkillables", "cgroup:/db"], "would kill pid 10");
    fs::remove_file(&file).unwrap();
    expect(&["--unkillables", "cgroup:/db"], "would kill pid 10");
    fs::create_dir(&file).unwrap();
    for list in ["--unkillables", "--avoid"] {
        let lines = told(&[list, "cgroup:/db"]);
        assert!(!lines.contains("would kill"), "{lines}");
    }
    expect(&["--prefer", "cgroup:/batch"], "would kill pid 11");
    expect(&["--prefer", "cgroup:/db"], "would kill pid 10");
}

#[test]
fn another_scope_may_be_asked_for() {
    let machine = Machine::new(V2, "0::/app\n");
    machine
        .v2("sys/fs/cgroup/app", SMALL)
        .v2("sys/fs/cgroup/db", Figures { limit_kib: Some(MIB * 64), ..SMALL });
    machine.v2("sys/fs/cgroup/db/free", FREE).v2("sys/fs/cgroup/user", FREE);
    machine.process(10, "app", 90, "0::/app\n").process(11, "db", 80, "0::/db\n");
    machine.process(12, "user", 70, "0::/user/1000\n").process(13, "free", 60, "0::/db/free\n");
    let asked = |scope: &str| machine.status_with(&["--scope", scope]);
    let told = |status: &Value| {
        (status["scope"]["guards"].clone(), status["ram"]["total_kib"].as_u64().unwrap(), pids(status))
    };
    assert_eq!(told(&asked("auto")), ("cgroup".into(), 128 * MIB, vec![10]));
    assert_eq!(told(&asked("machine")), ("machine".into(), 4_096_000, vec![10, 11, 12, 13]));
    assert_eq!(asked("machine")["scope"]["why"], "as asked");
    assert_eq!(told(&asked("cgroup")), ("cgroup".into(), 128 * MIB, vec![10]));
    assert_eq!(told(&asked("/sys/fs/cgroup/db")), ("cgroup".into(), 64 * MIB, vec![11, 13]));
    // The limit is above it.
    let below = asked("/sys/fs/cgroup/db/free");
    assert_eq!(told(&below), ("cgroup".into(), 64 * MIB, vec![13]));
    assert!(below["limit"]["path"].as_str().unwrap().ends_with("/db/memory.max"));
    // No limit at all: all of the machine's memory is to be had.
    let user = asked("/sys/fs/cgroup/user");
    assert_eq!(told(&user), ("cgroup".into(), 4_096_000, vec![12]));
    assert_eq!(user["limit"]["path"], Value::Null);
    for (scope, what) in [
        ("/sys/fs/cgroup/nothing", "bustd: --scope \"/sys/fs/cgroup/nothing\": no such file or directory\n"),
        ("/proc/10", "bustd: --scope \"/proc/10\": no cgroup with memory\n"),
    ] {
        let output = machine.run(&["--status", "--scope", scope]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8_lossy(&output.stderr), what);
    }
    let bare = Machine::new("", "");
    let output = bare.run(&["--status", "--scope", "cgroup"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "bustd: cannot find our own cgroup: no cgroup with memory\n"
    );
}

#[test]
fn pressure_is_that_of_the_cgroup() {
    let machine = Machine::new(V2, "0::/app\n");
    let stall = |avg: &str| {
        format!(
            "some avg10={avg} avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"
        )
    };
    machine.0.write("proc/pressure/memory", stall("77.00"));
    machine.v2("sys/fs/cgroup/app", SMALL);
    // Without one of its own nothing is known; the machine's is about others.
    assert_eq!(machine.status()["some"]["avg10_bp"], Value::Null);
    machine.0.write("sys/fs/cgroup/app/memory.pressure", stall("5.00"));
    assert_eq!(machine.status()["some"]["avg10_bp"], 500);
    assert_eq!(machine.status_with(&["--scope", "machine"])["some"]["avg10_bp"], 7700);
}

#[test]
fn a_cgroup_decides_by_its_own_figures() {
    let machine = Machine::new(V2, "0::/app\n");
    let short = Figures {
        current_kib: 126 * MIB,
        anon_kib: 110 * MIB,
        inactive_file_kib: MIB,
        active_file_kib: 0,
        slab_kib: 0,
        swap_kib: Some((0, 0)),
        ..SMALL
    };
    machine.v2("sys/fs/cgroup/app", short);
    machine.process(10, "database", 500, "0::/db\n").process(11, "worker", 60, "0::/app\n");
    let output = machine.run(&["--once", "--dry-run"]);
    let lines = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        lines.starts_with("bustd: would kill pid 11 \"worker\" with SIGKILL (exhaustion: 3072 KiB available"),
        "{lines}"
    );
    // The machine has enough.
    let output = machine.run(&["--once", "--dry-run", "--scope", "machine"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing to do"));
}

#[test]
fn damaged_files_are_no_limit_and_no_crash() {
    let machine = Machine::new(V2, "0::/app\n");
    for text in ["", "-1\n", "128M\n", "max max\n", "\u{0}\n"] {
        machine.v2("sys/fs/cgroup/app", SMALL);
        machine.0.write("sys/fs/cgroup/app/memory.max", text);
        assert_eq!(machine.status()["scope"]["guards"], "machine", "{text:?}");
    }
    machine.v2("sys/fs/cgroup/app", SMALL);
    for text in [
        "",
        "anon\ninactive_file -5\n",
        "inactive_file 99999999999999999999999\nactive_file 99999999999999999999999\n",
    ] {
        machine.0.write("sys/fs/cgroup/app/memory.stat", text);
        let (total_kib, available_kib) = machine.memory();
        assert!(total_kib == 128 * MIB && (40 * MIB..=128 * MIB).contains(&available_kib), "{text:?}");
    }
    // What is used cannot be told: nothing can be decided.
    machine.0.write("sys/fs/cgroup/app/memory.current", "many\n");
    let output = machine.run(&["--once", "--dry-run"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "bustd: cannot read memory, malformed: nothing can be decided\n"
    );
}

// ------------------------------------------------- trees that change

/// A dry run that watches.
struct Watch {
    guard: Child,
    lines: BufReader<ChildStderr>,
    /// What it has said so far.
    all: String,
    /// Dropped with it, which tells whoever waits that the test is over.
    _is_on: Sender<()>,
}

/// After that it does not say what is expected.
const PATIENCE: Duration = Duration::from_secs(60);

impl Watch {
    fn over(machine: &Machine, args: &[&str]) -> Self {
        let mut bustd = Command::new(BUSTD);
        bustd.arg("--root").arg(machine.0.path()).args(["--no-daemon", "--dry-run", "--verbose"]).args(args);
        let mut guard = bustd.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(guard.stderr.take().unwrap());
        // Until then a signal would end it.
        let status = format!("/proc/{}/status", guard.id());
        let is_deaf = || fs::read_to_string(&status).unwrap().contains("SigBlk:\t0000000000000000");
        while is_deaf() {
            std::thread::yield_now();
        }
        // Its end ends the reading of its lines.
        let (is_on, is_over) = channel::<()>();
        let pid = rustix::process::Pid::from_raw(guard.id() as i32).unwrap();
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        std::thread::spawn(move || {
            if is_over.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
            }
        });
        Self { guard, lines, all: String::new(), _is_on: is_on }
    }

    /// Reads on until there is a line with `what` in it.
    fn expect(&mut self, what: &str) -> String {
        loop {
            let start = self.all.len();
            assert!(self.lines.read_line(&mut self.all).unwrap() > 0, "no {what:?} in\n{}", self.all);
            if self.all[start..].contains(what) {
                return self.all[start..].to_owned();
            }
        }
    }

    /// Has it tell how memory is now.
    fn look(&mut self) -> String {
        let pid = rustix::process::Pid::from_raw(self.guard.id() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::USR1).unwrap();
        self.expect("status: ")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.guard.kill().unwrap();
        self.guard.wait().unwrap();
    }
}

#[test]
fn a_limit_that_changes_is_followed() {
    let machine = Machine::new(V2, "0::/app\n");
    machine.v2("sys/fs/cgroup/app", SMALL).process(11, "worker", 60, "0::/app\n");
    let mut watch = Watch::over(&machine, &[]);
    assert!(watch.look().contains("52 MiB available of 128 MiB"));
    machine.0.write("sys/fs/cgroup/app/memory.max", format!("{}\n", (256 * MIB) << 10));
    assert!(watch.look().contains("180 MiB available of 256 MiB"));
    // Below what is used: there is only what can be reclaimed.
    machine.0.write("sys/fs/cgroup/app/memory.max", format!("{}\n", (80 * MIB) << 10));
    assert!(watch.look().contains("12 MiB available of 80 MiB"));
    machine.v2("sys/fs/cgroup/app", Figures { limit_kib: Some(80 * MIB), ..FULL });
    watch.expect("would kill pid 11 \"worker\"");
    machine.0.write("sys/fs/cgroup/app/memory.max", "max\n");
    assert!(watch.look().contains("3200 MiB available of 4000 MiB"));
}

/// What a kernel's `memory.max` is when Kubernetes limits one container of a pod later, or
/// `docker update` one of a group of them.
#[test]
fn a_limit_that_is_set_below_the_guarded_cgroup_is_followed() {
    let machine = Machine::new(V2, "0::/pod/app\n");
    machine.v2("sys/fs/cgroup/pod", Figures { limit_kib: Some(1000 * MIB), swap_kib: Some((0, 0)), ..FREE });
    machine.v2("sys/fs/cgroup/pod/app", Figures { limit_kib: None, swap_kib: Some((0, 0)), ..SMALL });
    machine.process(11, "worker", 60, "0::/pod/app\n").process(12, "sibling", 640, "0::/pod/other\n");
    let mut watch = Watch::over(&machine, &[]);
    assert!(watch.look().contains("100 MiB available of 1000 MiB"));
    machine.0.write("sys/fs/cgroup/pod/app/memory.max", format!("{}\n", (128 * MIB) << 10));
    assert!(watch.look().contains("52 MiB available of 128 MiB"));
    machine.v2("sys/fs/cgroup/pod/app", Figures { current_kib: 126 * MIB, ..FULL });
    watch.expect("now guarding cgroup \"/pod/app\"");
    watch.expect("would kill pid 11 \"worker\"");
    // One that is set further up changes nothing for those who are there.
    machine.0.write("sys/fs/cgroup/pod/memory.max", format!("{}\n", (100 * MIB) << 10));
    assert!(watch.look().contains("of 100 MiB"));
    let line = watch.expect("would kill pid");
    assert!(line.contains("pid 11 \"worker\""), "{line}");
}

/// Beside the guarded cgroup somebody eats the limit of both, whom only the kernel can find.
#[test]
fn nobody_dies_for_what_others_took_below_the_same_limit() {
    let machine = Machine::new(V2, "0::/pod/app\n");
    let pod = Figures { limit_kib: Some(300 * MIB), ..FULL };
    machine.v2("sys/fs/cgroup/pod", Figures { current_kib: 100 * MIB, ..pod });
    machine.v2("sys/fs/cgroup/pod/app", Figures { swap_kib: Some((0, 0)), ..SMALL }).process(
        11,
        "worker",
        60,
        "0::/pod/app\n",
    );
    machine.process(12, "sibling", 200, "0::/pod/other\n");
    let mut watch = Watch::over(&machine, &[]);
    assert!(watch.look().contains("52 MiB available of 128 MiB"));
    machine.v2("sys/fs/cgroup/pod", Figures { current_kib: 299 * MIB, ..pod });
    let line = watch.expect("exhaustion: ");
    assert!(line.contains("no process is worth killing"), "{line}");
    // But for what was taken in there, by somebody who was not there before.
    machine.process(13, "leak", 50, "0::/pod/app\n");
    machine.v2("sys/fs/cgroup/pod", Figures { current_kib: 100 * MIB, ..pod });
    assert!(watch.look().contains("52 MiB available of 128 MiB"));
    machine.v2("sys/fs/cgroup/pod", Figures { current_kib: 299 * MIB, ..pod });
    let full = Figures { current_kib: 127 * MIB, anon_kib: 110 * MIB, ..FULL };
    machine.v2("sys/fs/cgroup/pod/app", full);
    watch.expect("would kill pid 13 \"leak\"");
}

#[test]
fn a_cgroup_that_is_removed_and_made_anew_is_guarded_again() {
    let machine = Machine::new(V2, "0::/\n");
    machine.v2("sys/fs/cgroup", FREE).v2("sys/fs/cgroup/service", SMALL);
    let mut watch = Watch::over(&machine, &["--scope", "/sys/fs/cgroup/service"]);
    let dir = machine.0.path().join("sys/fs/cgroup/service");
    // Renamed first, so that no file is missing while others are still there.
    let gone = machine.0.path().join("gone");
    fs::rename(&dir, &gone).unwrap();
    fs::remove_dir_all(&gone).unwrap();
    watch.expect("cannot read memory, no such file or directory: nothing can be decided");
    let again = machine.0.path().join("again");
    machine.v2("again", Figures { limit_kib: Some(200 * MIB), ..SMALL });
    fs::rename(&again, &dir).unwrap();
    watch.expect("now guarding cgroup \"/service\"");
    assert!(watch.look().contains("124 MiB available of 200 MiB"));
}

/// The hole: it went on asking for what was not there any more.
#[test]
fn a_guard_whose_cgroup_is_removed_once_it_was_moved_guards_where_it_is() {
    let machine = Machine::new(V2, "0::/one\n");
    machine.v2("sys/fs/cgroup", FREE).v2("sys/fs/cgroup/one", SMALL);
    machine.v2("sys/fs/cgroup/two", Figures { limit_kib: Some(200 * MIB), ..SMALL });
    let mut watch = Watch::over(&machine, &[]);
    assert!(watch.look().contains("52 MiB available of 128 MiB"));
    machine.0.write("proc/self/cgroup", "0::/two\n");
    let gone = machine.0.path().join("gone");
    fs::rename(machine.0.path().join("sys/fs/cgroup/one"), &gone).unwrap();
    fs::remove_dir_all(&gone).unwrap();
    watch.expect("now guarding cgroup \"/two\"");
    assert!(watch.look().contains("124 MiB available of 200 MiB"));
}

#[test]
fn a_guard_that_is_moved_guards_where_it_is() {
    let machine = Machine::new(V2, "0::/one\n");
    machine
        .v2("sys/fs/cgroup/one", SMALL)
        .v2("sys/fs/cgroup/pod", Figures { limit_kib: Some(300 * MIB), ..SMALL });
    machine.v2("sys/fs/cgroup/pod/two", FREE);
    machine.process(11, "worker", 60, "0::/pod/three\n").process(12, "left", 70, "0::/one\n");
    let mut watch = Watch::over(&machine, &[]);
    machine.0.write("proc/self/cgroup", "0::/pod/two\n");
    // What it has becomes less, so everybody is looked at.
    machine.v2("sys/fs/cgroup/one", Figures { current_kib: 127 * MIB, ..FULL });
    watch.expect("now guarding cgroup \"/pod\"");
    assert!(watch.look().contains("224 MiB available of 300 MiB"));
    machine.v2("sys/fs/cgroup/pod", Figures { limit_kib: Some(300 * MIB), current_kib: 299 * MIB, ..FULL });
    watch.expect("would kill pid 11 \"worker\"");
}

// ------------------------------------------------ a limit that is set later

/// The machine's memory, once next to nothing is left.
const SHORT_MACHINE: &str = "MemTotal: 4096000 kB\nMemFree: 10240 kB\nMemAvailable: 10240 kB\n\
                             AnonPages: 4000000 kB\nSwapTotal: 0 kB\n";

fn limit_to(mib: u64) -> String {
    format!("{}\n", mib << 20)
}

/// `docker update --memory`, `kubectl patch --subresource resize`, `systemctl set-property`:
/// who had no limit is given one, and loses it again.
#[test]
fn a_limit_that_is_set_later_is_guarded_as_long_as_there_is_one() {
    let namespace = ("sys/fs/cgroup", V2, "0::/\n", "/", "0::/\n");
    let service = ("sys/fs/cgroup/app", V2, "0::/app\n", "/app", "0::/app/worker\n");
    let above = ("sys/fs/cgroup/pod", V2, "0::/pod/app\n", "/pod", "0::/pod/other\n");
    let v1 = ("sys/fs/cgroup/memory/pod", V1, IN_V1, "/pod", "4:memory:/pod/x\n0::/\n");
    // At once, for each waits for what a dry run holds off.
    std::thread::scope(|threads| {
        for case in [namespace, service, above, v1] {
            threads.spawn(move || limit_later(case));
        }
    });
}

/// Where the limit is, among which mounts, in which cgroup the guard is, the path of the
/// one with the limit, and where somebody is who is below it.
fn limit_later((dir, mounts, own, path, inside): (&str, &str, &str, &str, &str)) {
    let machine = Machine::new(mounts, own);
    let make = |figures| match mounts {
        V1 => machine.v1(dir, figures),
        _ => machine.v2(dir, figures),
    };
    let limit = format!("{dir}/{}", if mounts == V1 { "memory.limit_in_bytes" } else { "memory.max" });
    machine.v2("sys/fs/cgroup/pod/app", FREE).v1("sys/fs/cgroup/memory/pod/app", FREE);
    make(Figures { limit_kib: None, slab_kib: 0, ..SMALL });
    machine.process(11, "worker", 60, inside).process(12, "database", 700, "4:memory:/db\n0::/../db\n");
    assert_eq!(machine.status()["scope"]["why"], "our cgroup has no lower limit, one that is set is seen");
    let mut watch = Watch::over(&machine, &[]);
    assert!(watch.look().contains("3200 MiB available of 4000 MiB"));
    machine.0.write(&limit, limit_to(128));
    watch.expect(&format!("now guarding cgroup \"{path}\""));
    assert!(watch.look().contains("50 MiB available of 128 MiB"));
    make(Figures { current_kib: 126 * MIB, ..FULL });
    watch.expect("would kill pid 11 \"worker\"");
    machine.0.write("proc/meminfo", SHORT_MACHINE);
    machine.0.write(&limit, if mounts == V1 { "9223372036854771712\n" } else { "max\n" });
    watch.expect("now guarding the machine");
    watch.expect("would kill pid 12 \"database\"");
    machine.0.write(&limit, limit_to(128));
    watch.expect(&format!("now guarding cgroup \"{path}\""));
    watch.expect("would kill pid 11 \"worker\"");
}

/// As long as a file tells nothing, the limit that it told before is what is guarded.
#[test]
fn what_cannot_be_read_is_no_limit_taken_away() {
    let machine = Machine::new(V2, "0::/app\n");
    machine.v2("sys/fs/cgroup/app", Figures { limit_kib: None, ..SMALL });
    let mut watch = Watch::over(&machine, &[]);
    machine.0.write("sys/fs/cgroup/app/memory.max", limit_to(128));
    watch.expect("now guarding cgroup \"/app\"");
    machine.0.write("sys/fs/cgroup/app/memory.max", "many\n");
    watch.expect("cannot read memory, malformed");
    for _ in 0..3 {
        assert!(watch.look().contains("cannot read memory"));
    }
    machine.0.write("sys/fs/cgroup/app/memory.max", limit_to(256));
    let mut line = String::new();
    while !line.contains("180 MiB available of 256 MiB") {
        line = watch.look();
        assert!(!watch.all.contains("now guarding the machine"), "{}", watch.all);
    }
}

/// Who was started for a cgroup guards nobody else when that loses its limit.
#[test]
fn who_began_with_a_cgroup_stays_there() {
    let machine = Machine::new(V2, "0::/app\n");
    machine.v2("sys/fs/cgroup/app", SMALL);
    machine.process(11, "worker", 60, "0::/app\n").process(12, "database", 700, "0::/db\n");
    let mut watch = Watch::over(&machine, &[]);
    machine.0.write("sys/fs/cgroup/app/memory.max", "max\n");
    assert!(watch.look().contains("3200 MiB available of 4000 MiB"));
    machine.0.write("proc/meminfo", SHORT_MACHINE);
    let line = watch.expect("would kill pid ");
    assert!(line.contains("pid 11 \"worker\""), "{line}");
    assert!(!watch.all.contains("now guarding"), "{}", watch.all);
}

#[test]
fn who_is_moved_to_where_a_limit_is_guards_there() {
    let machine = Machine::new(V2, "0::/one\n");
    machine.v2("sys/fs/cgroup/one", FREE).v2("sys/fs/cgroup/two", SMALL).v2("sys/fs/cgroup/three", FREE);
    let mut watch = Watch::over(&machine, &[]);
    // The first survey follows, and is over with the second answer.
    watch.look();
    watch.look();
    let began = std::time::Instant::now();
    machine.0.write("proc/self/cgroup", "0::/two\n");
    watch.expect("now guarding cgroup \"/two\"");
    // Before the next survey is due, which would see it too.
    assert!(began.elapsed() < Duration::from_secs(20));
    assert!(watch.look().contains("52 MiB available of 128 MiB"));
}

/// Nor does it keep what it would need for that.
#[test]
fn at_the_root_no_limit_can_be_set() {
    let root = Machine::new(V2, "0::/\n");
    root.0.write("sys/fs/cgroup/cgroup.procs", "");
    let v1 = Machine::new(V1, "4:memory:/\n0::/x\n");
    v1.v1("sys/fs/cgroup/memory", FREE);
    v1.0.write("sys/fs/cgroup/memory/release_agent", "\n");
    for machine in [root, v1] {
        assert_eq!(machine.status()["scope"]["why"], "our cgroup has no lower limit");
    }
    let asked = Machine::new(V2, "0::/app\n");
    asked.v2("sys/fs/cgroup/app", FREE);
    assert_eq!(asked.status_with(&["--scope", "machine"])["scope"]["why"], "as asked");
    let mut watch = Watch::over(&asked, &["--scope", "machine"]);
    asked.0.write("sys/fs/cgroup/app/memory.max", limit_to(128));
    for _ in 0..4 {
        assert!(watch.look().contains("of 4000 MiB"));
    }
}
