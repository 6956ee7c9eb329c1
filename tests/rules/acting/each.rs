//! Sets that have an instance for each cgroup, which oomd 0.5.0 does not have, and what else
//! only its successors have or we.

use super::fixture::Machine;
use super::{Scene, kill, kill_by, plugin, set};

/// Two jobs, each with somebody to be killed; there is trouble in the first.
fn jobs(machine: &Machine) {
    for name in ["s/a", "s/a/victim", "s/a/trouble", "s/b", "s/b/victim"] {
        machine.sized(name, 1000);
    }
}

/// A set that kills the victim where there is trouble.
fn each(more: &str) -> String {
    let trouble = plugin("exists", r#""ruleset_cgroup": "trouble""#);
    let kill = plugin("kill_by_memory_size_or_growth", r#""ruleset_cgroup": "victim,missing", "dry": true"#);
    set("R", &[&[&trouble]], &[kill], more)
}

/// A set that kills for swap beyond what is promised in memory.
fn biased() -> String {
    let kill = kill_by("swap_usage", "s/*", r#""biased_swap_kill": true"#);
    set("R", &[&[super::CONTINUE]], &[kill], r#""post_action_delay": 0"#)
}

pub fn scenes() -> Vec<Scene> {
    let nobody: &[&'static str] = &[];
    let all = vec![
        Scene::new(
            "one for each cgroup, and each rests on its own",
            each(r#""cgroup": "s/*""#),
            jobs,
            &[&["R/A s/a/victim"], &["R/A s/b/victim"], nobody],
        )
        .after(1, |machine| machine.sized("s/b/trouble", 1)),
        Scene::new(
            "one that is gone is forgotten, and nobody falls",
            each(r#""cgroup": "s/*", "post_action_delay": 0"#),
            jobs,
            &[&["R/A s/a/victim"], &["R/A s/b/victim"], &["R/A s/b/victim"], nobody, &["R/A s/a/victim"]],
        )
        .after(1, |machine| {
            machine.remove("s/a");
            machine.sized("s/b/trouble", 1);
        })
        .after(3, |machine| machine.remove("s/b"))
        .after(4, jobs),
        Scene::new(
            "a new one has a past of its own",
            set(
                "R",
                &[&[&plugin("memory_above", r#""ruleset_cgroup": "/", "threshold": "1K", "duration": 2"#)]],
                &[plugin("kill_by_memory_size_or_growth", r#""ruleset_cgroup": "/", "dry": true"#)],
                r#""cgroup": "s/*", "post_action_delay": 15"#,
            ),
            |machine| machine.sized("s/a", 2000),
            &[nobody, nobody, &["R/A s/a"], &["R/A s/b"], nobody],
        )
        .after(1, |machine| machine.sized("s/b", 2000)),
        Scene::new(
            "only those with an attribute",
            each(r#""cgroup": "s/*", "xattr_filter": "user.mine", "post_action_delay": 0"#),
            jobs,
            &[nobody, &["R/A s/a/victim"]],
        )
        .after(1, |machine| machine.mark("s/a", "user.mine")),
        Scene::new(
            "of too many those with the most memory have one",
            set(
                "R",
                &[&[&plugin("memory_above", r#""ruleset_cgroup": "/", "threshold": 1, "duration": 0"#)]],
                &[plugin("kill_by_memory_size_or_growth", r#""ruleset_cgroup": "/", "dry": true"#)],
                r#""cgroup": "s/*""#,
            ),
            |machine| {
                for at in 0..70 {
                    machine.sized(&format!("s/{at}"), 1000);
                }
            },
            // One of the others makes room first.
            &[nobody, nobody, &["R/A s/large"], nobody],
        )
        .after(1, |machine| machine.sized("s/large", 2 << 20)),
        Scene::new(
            "an attribute without its namespace is nobody's",
            each(r#""cgroup": "s/*", "xattr_filter": "mine", "post_action_delay": 0"#),
            |machine| {
                jobs(machine);
                machine.mark("s/a", "user.mine");
            },
            &[nobody],
        ),
        Scene::new("outside of an instance there is nothing below it", each(""), jobs, &[nobody, nobody]),
        Scene::new(
            "what is below an instance and what is not are one",
            set(
                "R",
                &[&[&plugin("exists", r#""ruleset_cgroup": "trouble""#)]],
                &[plugin(
                    "kill_by_memory_size_or_growth",
                    r#""ruleset_cgroup": "victim", "cgroup": "t", "dry": true"#,
                )],
                r#""cgroup": "s/*", "post_action_delay": 0"#,
            ),
            |machine| {
                jobs(machine);
                machine.sized("t", 5000);
            },
            &[&["R/A t"], &["R/A s/a/victim"]],
        )
        .after(1, |machine| machine.write("t", "memory.current", "10\n")),
        Scene::new(
            "no cgroups at all are none",
            set(
                "R",
                &[&[&plugin("exists", r#""negate": true"#)]],
                &[kill("s/*", "")],
                r#""post_action_delay": 0"#,
            ),
            |machine| machine.sized("s/a", 5),
            &[&["R/A s/a"]],
        ),
        Scene::new(
            "swap beyond what is promised in memory",
            biased(),
            |machine| {
                for (name, swap, low) in [("s", 0, 1_u64 << 40), ("s/a", 9000, 1 << 40), ("s/b", 8000, 0)] {
                    machine.sized(name, 1 << 30);
                    machine.write(name, "memory.swap.current", &format!("{swap}\n"));
                    machine.write(name, "memory.low", &format!("{low}\n"));
                }
                // As much swap as memory.
                machine.tree.write(
                    "proc/meminfo",
                    "MemTotal: 4000000 kB\nMemFree: 1 kB\nMemAvailable: 2000000 kB\nSwapTotal: 4000000 kB\nSwapFree: 9 kB\n",
                );
            },
            &[&["R/A s/b"]],
        ),
        Scene::new(
            "one that has no swap beyond that may be killed all the same",
            biased(),
            |machine| {
                for name in ["s", "s/a"] {
                    machine.sized(name, 1 << 30);
                    machine.write(name, "memory.swap.current", "9000\n");
                    machine.write(name, "memory.low", &format!("{}\n", 1_u64 << 40));
                }
                free_swap(machine, 900_000);
            },
            &[&["R/A s/a"]],
        ),
        Scene::new(
            "so much is swapped out in a second",
            set(
                "R",
                &[&[&plugin("swap_free", r#""threshold_pct": 100, "swapout_bps_threshold": "400000""#)]],
                &[kill("s/*", "")],
                r#""post_action_delay": 0"#,
            ),
            |machine| {
                machine.sized("s/a", 5);
                free_swap(machine, 900_000);
                machine.tree.write("proc/vmstat", "pswpin 7\npswpout 5000\n");
            },
            // At first there is nothing to compare with.
            &[nobody, &["R/A s/a"], nobody],
        )
        .after(1, |machine| machine.tree.write("proc/vmstat", "pswpin 7\npswpout 1005000\n"))
        .after(2, |machine| machine.tree.write("proc/vmstat", "pswpin 9999999\npswpout 1005001\n")),
        Scene::new(
            "io costs by its device",
            set("R", &[&[super::CONTINUE]], &[kill_by("io_cost", "s/*", "")], r#""post_action_delay": 0"#),
            |machine| {
                machine.tree.write("sys/dev/block/8:0/queue/rotational", "1\n");
                machine.tree.write("sys/dev/block/8:16/queue/rotational", "0\n");
                for name in ["s/a", "s/b", "s/c"] {
                    machine.add(name, &[("io.stat", "")]);
                }
                spend(machine, "s/c", "8:0", 90_000, 90_000);
            },
            // What was spent before is no rate; nor does what there is no device for cost.
            &[nobody, &["R/A s/a"], &["R/A s/b"], &["R/A s/a"], nobody],
        )
        // A write costs the disk that rotates more than a hundred.
        .after(1, |machine| {
            spend(machine, "s/a", "8:0", 0, 10);
            spend(machine, "s/b", "8:16", 0, 900);
            spend(machine, "s/c", "8:32", 0, 9_000_000);
        })
        // And a read the other one.
        .after(2, |machine| {
            spend(machine, "s/a", "8:0", 10, 10);
            spend(machine, "s/b", "8:16", 2, 900);
        })
        // One line that is odd leaves the others.
        .after(3, |machine| {
            machine.write("s/a", "io.stat", "8:16 \n8:0 rbytes=0 wbytes=0 rios=90 wios=90 dbytes=0 dios=0\n");
        })
        .options(&["--device", "8:0,8:16"]),
        Scene::new(
            "what io costs can be said",
            set("R", &[&[super::CONTINUE]], &[kill_by("io_cost", "s/*", "")], r#""post_action_delay": 0"#),
            |machine| {
                machine.tree.write("sys/dev/block/8:0/queue/rotational", "1\n");
                machine.add("s/a", &[("io.stat", "")]);
                machine.add("s/b", &[("io.stat", "")]);
            },
            &[nobody, &["R/A s/b"]],
        )
        .after(1, |machine| {
            spend(machine, "s/a", "8:0", 0, 9000);
            spend(machine, "s/b", "8:0", 1, 0);
        })
        .options(&["--device", "8:0", "--hdd-coeffs", "1"]),
        Scene::new(
            "free swap of more than 32 bits",
            set(
                "R",
                &[&[&plugin("swap_free", r#""threshold_pct": 10"#)]],
                &[kill("s/*", "")],
                r#""post_action_delay": 0"#,
            ),
            |machine| {
                machine.sized("s/a", 5);
                free_swap(machine, 900_000);
            },
            &[nobody, &["R/A s/a"]],
        )
        .after(1, |machine| free_swap(machine, 799_999)),
        Scene::new(
            "growth is a real number",
            set(
                "R",
                &[&[super::CONTINUE]],
                &[kill(
                    "s/*",
                    r#""size_threshold": 90, "growing_size_percentile": 1, "min_growth_ratio": "3.9""#,
                )],
                r#""post_action_delay": 0"#,
            ),
            |machine| {
                machine.sized("s/a", 10 << 20);
                machine.sized("s/b", 20 << 20);
            },
            // At the second tick a grows by 1.6 times, which as a whole number were 1.
            &[&["R/A s/b"], &["R/A s/b"]],
        )
        .after(1, |machine| machine.write("s/a", "memory.current", "11000000\n")),
    ];
    all.into_iter().map(Scene::not_for_oomd).collect()
}

/// So many reads and writes so far.
fn spend(machine: &Machine, cgroup: &str, device: &str, reads: u64, writes: u64) {
    let line = format!("{device} rbytes=0 wbytes=0 rios={reads} wios={writes} dbytes=0 dios=0\n");
    machine.write(cgroup, "io.stat", &line);
}

fn free_swap(machine: &Machine, kib: u64) {
    machine.tree.write(
        "proc/meminfo",
        format!(
            "MemTotal: 4000000 kB\nMemFree: 1 kB\nMemAvailable: 2000000 kB\nSwapTotal: 8000000 kB\nSwapFree: {kib} kB\n"
        ),
    );
}
