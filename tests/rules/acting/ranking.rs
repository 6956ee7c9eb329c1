//! Who is killed first.

use super::fixture::Machine;
use super::{CONTINUE, Scene, always, kill, kill_by, plugin, set};

const MIB: u64 = 1 << 20;

fn protected(machine: &Machine, cgroup: &str, current: u64, low: u64) {
    machine.add(cgroup, &[("memory.current", &format!("{current}\n")), ("memory.low", &format!("{low}\n"))]);
}

fn swapping(machine: &Machine, cgroup: &str, swap: u64) {
    machine.add(cgroup, &[("memory.swap.current", &format!("{swap}\n"))]);
}

/// t has half of what both have, though next to nothing that is not protected.
fn overlapping(machine: &Machine) {
    protected(machine, "t", 120 * MIB, 115 * MIB);
    protected(machine, "s", 101 * MIB, 0);
    protected(machine, "s/a", 100 * MIB, 0);
}

/// A set that kills whatever grows, and rests for a tick then.
fn growing(args: &str) -> String {
    let args = format!(r#"{args}, "dry": true, "size_threshold": 90, "growing_size_percentile": 1"#);
    let kill = plugin("kill_by_memory_size_or_growth", &args);
    set("R", &[&[CONTINUE]], &[kill], r#""post_action_delay": 2"#)
}

fn three(machine: &Machine) {
    machine.sized("s/a", 100 * MIB);
    machine.sized("s/b", 300 * MIB);
    machine.sized("s/c", 200 * MIB);
}

/// One is preferred, one is not wanted.
fn marked(name: &'static str, prefer: &'static str, avoid: &'static str) -> Scene {
    let build: fn(&Machine) = match (prefer, avoid) {
        ("user", "none") => |machine| {
            three(machine);
            machine.mark("s/a", "user.oomd_prefer");
        },
        ("none", "user") => |machine| {
            three(machine);
            machine.mark("s/b", "user.oomd_avoid");
        },
        ("trusted", _) => |machine| {
            three(machine);
            machine.mark("s/a", "trusted.oomd_prefer");
            machine.mark("s/c", "user.oomd_prefer");
            machine.mark("s/b", "trusted.oomd_avoid");
        },
        _ => |machine| {
            three(machine);
            machine.mark("s/a", "user.oomd_prefer");
            machine.mark("s/a", "trusted.oomd_avoid");
        },
    };
    let victim: &[&'static str] = match prefer {
        "user" | "both" => &["R/A s/a"],
        _ => &["R/A s/c"],
    };
    Scene::new(name, always(kill("s/*", "")), build, &[victim])
}

pub fn scenes() -> Vec<Scene> {
    let mut all = by_size();
    all.extend(by_others());
    all.extend([
        marked("one that is preferred comes first", "user", "none"),
        marked("one that is to be avoided comes last", "none", "user"),
        marked("among those that are preferred the larger", "trusted", "trusted"),
        marked("one that is preferred and avoided comes first", "both", "both"),
        Scene::new(
            "one that is to be avoided dies where there is no other",
            always(kill("s/*", "")),
            |machine| {
                machine.sized("s/b", 300 * MIB);
                machine.mark("s/b", "trusted.oomd_avoid");
            },
            &[&["R/A s/b"]],
        ),
    ]);
    all
}

fn by_size() -> Vec<Scene> {
    vec![
        Scene::new("the largest", always(kill("s/*", "")), three, &[&["R/A s/b"]]),
        Scene::new(
            "what is protected does not count",
            always(kill("s/*", r#""size_threshold": 10"#)),
            |machine| {
                protected(machine, "s", 600 * MIB, 600 * MIB);
                protected(machine, "s/a", 100 * MIB, 0);
                protected(machine, "s/b", 300 * MIB, 250 * MIB);
                protected(machine, "s/c", 200 * MIB, 0);
            },
            &[&["R/A s/c"]],
        ),
        Scene::new(
            "protection is shared where it does not suffice",
            always(kill("s/*", r#""size_threshold": 10"#)),
            |machine| {
                protected(machine, "s", 4096 * MIB, 300 * MIB);
                // Has a third of that, and the other two thirds.
                protected(machine, "s/a", 350 * MIB, 150 * MIB);
                protected(machine, "s/b", 440 * MIB, 300 * MIB);
                protected(machine, "s/c", 245 * MIB, 0);
            },
            &[&["R/A s/a"]],
        ),
        Scene::new(
            "one that has half of all, however protected, comes before the rest",
            always(kill("s/*", "")),
            |machine| {
                protected(machine, "s", 100 * MIB, 100 * MIB);
                protected(machine, "s/a", 50 * MIB, 45 * MIB);
                protected(machine, "s/b", 40 * MIB, 0);
                protected(machine, "s/c", 10 * MIB, 0);
            },
            &[&["R/A s/a"]],
        ),
        Scene::new(
            "without protection files a cgroup at the top uses nothing",
            always(kill("a,b", "")),
            |machine| {
                machine.sized("a", 100 * MIB);
                machine.sized("b", 300 * MIB);
                machine.delete("b", "memory.low");
                // That is the smaller one, as far as can be told.
                machine.write("a", "memory.current", "314572801\n");
            },
            &[&["R/A a"]],
        ),
        Scene::new(
            "one that grows comes before one that is larger",
            always(kill("s/*", r#""size_threshold": 90, "growing_size_percentile": 1"#)),
            |machine| {
                machine.sized("s/a", 10 * MIB);
                machine.sized("s/b", 20 * MIB);
            },
            // At first everybody looks as if it grew.
            &[&["R/A s/b"], &["R/A s/a"]],
        )
        .after(1, |machine| machine.write("s/a", "memory.current", "20000000\n")),
        Scene::new(
            "growth is watched while the set rests",
            growing(r#""cgroup": "s/*""#),
            |machine| {
                machine.sized("s/a", 10 * MIB);
                machine.sized("s/b", 20 * MIB);
            },
            // New to it they would grow alike, and b were the larger.
            &[&["R/A s/b"], &[], &["R/A s/a"]],
        )
        .after(1, |machine| machine.write("s/a", "memory.current", "20000000\n")),
        Scene::new(
            "growth is watched of leaves too",
            growing(r#""cgroup": "s", "recursive": true"#),
            |machine| {
                machine.sized("s", 30 * MIB);
                machine.sized("s/a", 10 * MIB);
                machine.sized("s/b", 20 * MIB);
            },
            &[&["R/A s/b"], &[], &["R/A s/a"]],
        )
        .after(1, |machine| machine.write("s/a", "memory.current", "20000000\n")),
        Scene::new(
            "growth counts of the largest only",
            always(kill("s/*", r#""size_threshold": 90"#)),
            |machine| {
                machine.sized("s/a", 10 * MIB);
                machine.sized("s/b", 20 * MIB);
            },
            &[&["R/A s/b"], &["R/A s/b"]],
        )
        .after(1, |machine| machine.write("s/a", "memory.current", "20000000\n")),
        Scene::new(
            "a parent and its child both count",
            always(kill("t,s,s/a", "")),
            overlapping,
            &[&["R/A s"]],
        ),
        Scene::new(
            "without the child one has half of all",
            always(kill("t,s", "")),
            overlapping,
            &[&["R/A t"]],
        ),
        Scene::new(
            "one that stands there twice counts once",
            always(kill("t,s,t,/s/,[st]", "")),
            overlapping,
            &[&["R/A t"]],
        ),
        Scene::new(
            "memory that is not told is none",
            always(kill("s/*", "")),
            |machine| {
                three(machine);
                machine.delete("s/b", "memory.current");
            },
            &[&["R/A s/c"]],
        ),
    ]
}

fn by_others() -> Vec<Scene> {
    let nobody: &[&'static str] = &[];
    vec![
        Scene::new(
            "most swap",
            always(kill_by("swap_usage", "s/*", "")),
            |machine| {
                swapping(machine, "s/a", 5000);
                swapping(machine, "s/b", 9000);
                swapping(machine, "s/c", 0);
            },
            &[&["R/A s/b"]],
        ),
        Scene::new(
            "swap has to be above",
            always(kill_by("swap_usage", "s/*", r#""threshold": "8K""#)),
            |machine| {
                swapping(machine, "s/a", 5000);
                swapping(machine, "s/b", 8191);
            },
            &[nobody, &["R/A s/b"]],
        )
        .after(1, |machine| machine.write("s/b", "memory.swap.current", "8193\n")),
        Scene::new(
            "swap has to be strictly above",
            always(kill_by("swap_usage", "s/*", r#""threshold": "8K""#)),
            |machine| swapping(machine, "s/b", 8192),
            &[nobody],
        )
        // The newer ones do as we do.
        .but_oomd(&[&["R/A s/b"]]),
        Scene::new(
            "one that is preferred and has too little is no candidate",
            always(kill_by("swap_usage", "s/*", r#""threshold": "8K""#)),
            |machine| {
                swapping(machine, "s/a", 5000);
                machine.mark("s/a", "user.oomd_prefer");
                swapping(machine, "s/b", 9000);
            },
            &[&["R/A s/b"]],
        ),
        Scene::new(
            "most pressure, of two averages",
            always(kill_by("pressure", "s/*", r#""resource": "io""#)),
            |machine| {
                three(machine);
                machine.press("s/a", "io.pressure", [0; 3], [50, 40, 0]);
                machine.press("s/b", "io.pressure", [99; 3], [70, 10, 99]);
                machine.press("s/c", "memory.pressure", [99; 3], [99; 3]);
            },
            &[&["R/A s/a"]],
        ),
        Scene::new(
            "without a device io costs nothing",
            always(kill_by("io_cost", "s/*", "")),
            |machine| {
                machine.add("s/a", &[("io.stat", "8:0 rbytes=0 wbytes=0 rios=1 wios=1 dbytes=0 dios=0\n")]);
            },
            &[nobody, nobody],
        )
        .after(1, |machine| {
            machine.write("s/a", "io.stat", "8:0 rbytes=9 wbytes=9 rios=9 wios=9 dbytes=9 dios=9\n");
        })
        // It kills whoever there is.
        .but_oomd(&[&["R/A s/a"], &["R/A s/a"]]),
        Scene::new(
            "most scanning, at the second tick",
            always(kill_by("pg_scan", "s/*", "")),
            three,
            &[nobody, &["R/A s/a"], &["R/A s/c"]],
        )
        .after(1, |machine| {
            machine.write("s/a", "memory.stat", "anon 4096\npgscan 50\n");
            machine.write("s/b", "memory.stat", "anon 4096\npgscan 10\n");
        })
        .after(2, |machine| {
            machine.write("s/c", "memory.stat", "anon 4096\npgscan 20\n");
        }),
        Scene::new(
            "where nobody's pages are scanned nobody is killed",
            always(kill_by("pg_scan", "s/*", "")),
            |machine| machine.sized("s/a", 100),
            &[nobody, nobody],
        )
        // The newer ones do as we do.
        .but_oomd(&[&[], &["R/A s/a"]]),
    ]
}
