//! What each detector sees.

use super::fixture::Machine;
use super::{Scene, kill, plugin, set, when};

/// One that is killed when the detector fires.
fn victim(machine: &Machine) {
    machine.sized("s/a", 2000);
    machine.sized("watched/a", 1 << 20);
    machine.sized("watched/b", 1 << 20);
}

/// The pressure of the machine.
fn press_all(machine: &Machine, full: u32) {
    let line = |word, avg10| format!("{word} avg10={avg10}.00 avg60=0.00 avg300=0.00 total=0\n");
    machine.tree.write("proc/pressure/memory", line("some", 99) + &line("full", full));
}

fn above(resource: &str, threshold: i32, duration: i32) -> String {
    let args = format!(
        r#""cgroup": "watched/*", "resource": "{resource}", "threshold": {threshold}, "duration": {duration}"#
    );
    when(&[&plugin("pressure_above", &args)])
}

fn rising(args: &str) -> String {
    let args =
        format!(r#""cgroup": "watched/*", "resource": "memory", "threshold": 60, "duration": 0{args}"#);
    when(&[&plugin("pressure_rising_beyond", &args)])
}

fn memory_above(args: &str) -> String {
    when(&[&plugin("memory_above", &format!(r#""cgroup": "watched/*", {args}"#))])
}

fn reclaim(duration: i32) -> String {
    when(&[&plugin("memory_reclaim", &format!(r#""cgroup": "watched/*", "duration": {duration}"#))])
}

fn exists(args: &str) -> String {
    when(&[&plugin("exists", args)])
}

fn dying(args: &str) -> String {
    when(&[&plugin("nr_dying_descendants", &format!(r#""cgroup": "watched/*", {args}"#))])
}

pub fn scenes() -> Vec<Scene> {
    let mut all = of_pressure();
    all.extend(of_memory());
    all
}

fn of_pressure() -> Vec<Scene> {
    let a: &[&'static str] = &["R/A s/a"];
    let nobody: &[&'static str] = &[];
    vec![
        Scene::new(
            "only full pressure counts, strictly above",
            above("memory", 60, 0),
            victim,
            &[nobody, nobody, a, nobody],
        )
        .after(1, |machine| {
            machine.press("watched/a", "memory.pressure", [99, 99, 99], [60, 99, 99]);
            machine.press("watched/a", "io.pressure", [99, 99, 99], [99, 99, 99]);
        })
        .after(2, |machine| machine.press("watched/a", "memory.pressure", [99; 3], [61, 0, 0]))
        .after(3, |machine| machine.press("watched/a", "memory.pressure", [99; 3], [10; 3])),
        Scene::new("pressure on io", above("io", 60, 0), victim, &[nobody, a])
            .after(1, |machine| machine.press("watched/b", "io.pressure", [0; 3], [61, 0, 0])),
        Scene::new(
            "pressure has to last, and starts again",
            above("memory", 60, 2),
            victim,
            &[nobody, nobody, nobody, nobody, nobody, a, a],
        )
        .after(1, |machine| machine.press("watched/a", "memory.pressure", [0; 3], [61, 0, 0]))
        .after(2, |machine| machine.press("watched/a", "memory.pressure", [0; 3], [60, 0, 0]))
        .after(3, |machine| machine.press("watched/a", "memory.pressure", [0; 3], [61, 0, 0]))
        // The worst may be another meanwhile.
        .after(4, |machine| {
            machine.press("watched/a", "memory.pressure", [0; 3], [0; 3]);
            machine.press("watched/b", "memory.pressure", [0; 3], [70, 0, 0]);
        }),
        Scene::new(
            "the worst by weight hides one that is worse now",
            above("memory", 60, 0),
            |machine| {
                victim(machine);
                machine.press("watched/a", "memory.pressure", [0; 3], [50, 100, 100]);
                machine.press("watched/b", "memory.pressure", [0; 3], [90, 0, 0]);
            },
            &[nobody, nobody],
        ),
        Scene::new(
            "no pressure file is no pressure",
            above("memory", 0, 0),
            |machine| {
                victim(machine);
                machine.delete("watched/a", "memory.pressure");
                machine.write(
                    "watched/b",
                    "memory.pressure",
                    "some avg10=9.00 avg60=9.00 avg300=9.00 total=0\n",
                );
            },
            &[nobody, nobody],
        ),
        Scene::new(
            "pressure on the root is the machine's",
            when(&[&plugin(
                "pressure_above",
                r#""cgroup": "/", "resource": "memory", "threshold": 60, "duration": 0"#,
            )]),
            |machine| {
                victim(machine);
                machine.press("", "memory.pressure", [99; 3], [99; 3]);
                press_all(machine, 60);
            },
            &[nobody, a],
        )
        .after(1, |machine| press_all(machine, 61))
        .not_for_oomd(),
        Scene::new("a threshold below zero is always exceeded", above("memory", -1, 0), victim, &[a, a]),
        Scene::new(
            "rising fires from the second tick",
            rising(""),
            |machine| {
                victim(machine);
                machine.press("watched/a", "memory.pressure", [0; 3], [70; 3]);
            },
            &[nobody, a, a],
        ),
        Scene::new(
            "rising fires at once if it is high",
            rising(""),
            |machine| {
                victim(machine);
                machine.press("watched/a", "memory.pressure", [0; 3], [85, 70, 0]);
            },
            &[a, nobody, a],
        )
        .after(1, |machine| machine.press("watched/a", "memory.pressure", [0; 3], [72, 70, 0])),
        Scene::new(
            "rising falls fast by its ratio",
            rising(r#", "fast_fall_ratio": "0.5""#),
            |machine| {
                victim(machine);
                machine.press("watched/a", "memory.pressure", [0; 3], [99, 70, 0]);
            },
            &[a, a, nobody, nobody],
        )
        .after(1, |machine| machine.press("watched/a", "memory.pressure", [0; 3], [61, 70, 0]))
        .after(2, |machine| machine.press("watched/a", "memory.pressure", [0; 3], [60, 70, 0]))
        .after(3, |machine| machine.press("watched/a", "memory.pressure", [0; 3], [99, 60, 0])),
    ]
}

fn of_memory() -> Vec<Scene> {
    let a: &[&'static str] = &["R/A s/a"];
    let nobody: &[&'static str] = &[];
    vec![
        Scene::new(
            "memory strictly above",
            memory_above(r#""threshold": 1, "duration": 0"#),
            victim,
            &[nobody, a],
        )
        .after(1, |machine| machine.write("watched/b", "memory.current", "1048577\n")),
        Scene::new(
            "the largest counts, and not the sum",
            memory_above(r#""threshold": "1.5M", "duration": 0"#),
            victim,
            &[nobody, nobody],
        ),
        Scene::new(
            "anonymous memory comes first",
            memory_above(r#""threshold": "1K", "threshold_anon": "8K", "duration": 1"#),
            victim,
            &[nobody, nobody, a],
        )
        .after(1, |machine| machine.write("watched/a", "memory.stat", "anon 8193\npgscan 0\n")),
        Scene::new(
            "memory that is not told is none",
            memory_above(r#""threshold": 0, "duration": 0"#),
            |machine| {
                machine.sized("s/a", 2000);
                machine.add("watched/a", &[]);
                machine.delete("watched/a", "memory.current");
            },
            &[nobody, nobody],
        ),
        Scene::new("reclaim is remembered", reclaim(1), victim, &[nobody, a, a, nobody, nobody, a])
            .after(1, |machine| machine.write("watched/a", "memory.stat", "anon 4096\npgscan 5\n"))
            // Fewer are no reclaim.
            .after(4, |machine| machine.write("watched/a", "memory.stat", "anon 4096\npgscan 2\n"))
            .after(5, |machine| machine.write("watched/b", "memory.stat", "anon 4096\npgscan 9\n")),
        Scene::new(
            "reclaim is seen at the first tick",
            reclaim(0),
            |machine| {
                victim(machine);
                machine.write("watched/a", "memory.stat", "anon 4096\npgscan 5\n");
            },
            &[a, nobody],
        ),
        Scene::new(
            "one that is there",
            exists(r#""cgroup": "nowhere,watched/c""#),
            victim,
            &[nobody, a, nobody],
        )
        .after(1, |machine| machine.add("watched/c", &[]))
        .after(2, |machine| machine.remove("watched/c")),
        Scene::new(
            "one that is not there",
            exists(r#""cgroup": "watched/c", "negate": true"#),
            victim,
            &[a, nobody],
        )
        .after(1, |machine| machine.add("watched/c", &[])),
        Scene::new(
            "few are dying",
            dying(r#""count": 3"#),
            |machine| {
                victim(machine);
                for name in ["watched/a", "watched/b"] {
                    machine.write(name, "cgroup.stat", "nr_descendants 0\nnr_dying_descendants 4\n");
                }
            },
            &[nobody, a, a],
        )
        .after(1, |machine| {
            machine.write("watched/b", "cgroup.stat", "nr_descendants 0\nnr_dying_descendants 3\n");
        })
        .after(2, |machine| machine.write("watched/b", "cgroup.stat", "nr_descendants 0\n")),
        Scene::new(
            "of one that tells nothing neither few nor many are dying",
            format!(
                "{}, {}",
                dying(r#""count": 3"#),
                set(
                    "S",
                    &[&[&plugin(
                        "nr_dying_descendants",
                        r#""cgroup": "watched/*", "count": 0, "lte": false"#
                    )]],
                    &[kill("s/*", "")],
                    r#""post_action_delay": 0"#
                )
            ),
            |machine| {
                victim(machine);
                for name in ["watched/a", "watched/b"] {
                    machine.delete(name, "cgroup.stat");
                }
            },
            &[nobody, a],
        )
        .after(1, |machine| machine.write("watched/b", "cgroup.stat", "nr_dying_descendants 0\n")),
        Scene::new("many are dying", dying(r#""count": 3, "lte": false"#), victim, &[nobody, nobody, a])
            .after(1, |machine| machine.write("watched/b", "cgroup.stat", "nr_dying_descendants 3\n"))
            .after(2, |machine| machine.write("watched/b", "cgroup.stat", "nr_dying_descendants 4\n")),
        Scene::new(
            "what the root has is what is not free",
            when(&[
                &plugin("memory_above", r#""cgroup": "/", "threshold": "1M", "duration": 0"#),
                &plugin("exists", r#""cgroup": "watched/a""#),
            ]),
            victim,
            &[a],
        ),
        Scene::new(
            "and that is no more than there is",
            when(&[&plugin("memory_above", r#""cgroup": "/", "threshold": "100%", "duration": 0"#)]),
            victim,
            &[nobody],
        ),
        Scene::new(
            "a share is one of all memory",
            memory_above(r#""threshold": "100%", "duration": 0"#),
            victim,
            &[nobody, a],
        )
        .after(1, |machine| machine.write("watched/b", "memory.current", "1125899906842624\n")),
        Scene::new(
            "few are dying, turned round",
            dying(r#""count": 3, "negate": true"#),
            victim,
            &[nobody, a],
        )
        .after(1, |machine| {
            for name in ["watched/a", "watched/b"] {
                machine.write(name, "cgroup.stat", "nr_dying_descendants 4\n");
            }
        })
        .not_for_oomd(),
        Scene::new(
            "an overview holds always",
            when(&[&plugin("dump_cgroup_overview", r#""cgroup": "watched/*", "always": true"#)]),
            victim,
            &[a, a],
        ),
    ]
}
