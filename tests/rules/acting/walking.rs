//! Down to the leaves, and who is left out.

use super::fixture::Machine;
use super::{CONTINUE, Scene, always, kill, kill_by, set};

/// `s/a` has more in all, `s/b` the largest leaf.
fn branches(machine: &Machine) {
    for (name, current) in
        [("s/a", 500), ("s/a/one", 200), ("s/a/two", 250), ("s/b", 400), ("s/b/one", 400), ("s/c", 100)]
    {
        machine.sized(name, current);
    }
}

fn leaves() -> String {
    always(kill("s/*", r#""recursive": true"#))
}

pub fn scenes() -> Vec<Scene> {
    let nobody: &[&'static str] = &[];
    vec![
        Scene::new("the cgroup itself", always(kill("s/*", "")), branches, &[&["R/A s/a"]]),
        Scene::new("only siblings are compared", leaves(), branches, &[&["R/A s/a/two"]]),
        Scene::new(
            "one without children is a leaf",
            always(kill("s/c", r#""recursive": true"#)),
            branches,
            &[&["R/A s/c"]],
        ),
        Scene::new(
            "one that is a whole is not divided",
            leaves(),
            |machine| {
                branches(machine);
                machine.write("s/a", "memory.oom.group", "1\n");
            },
            &[&["R/A s/a"]],
        ),
        Scene::new(
            "the empty are passed over, up the tree too",
            leaves(),
            |machine| {
                branches(machine);
                for name in ["s/a/one", "s/a/two"] {
                    machine.write(name, "cgroup.events", "populated 0\nfrozen 0\n");
                }
            },
            &[&["R/A s/b/one"], nobody],
        )
        .after(1, |machine| {
            for name in ["s/b/one", "s/c"] {
                machine.write(name, "cgroup.events", "populated 0\nfrozen 0\n");
            }
        }),
        Scene::new(
            "what cannot be told empty is not",
            always(kill("s/*", "")),
            |machine| {
                branches(machine);
                machine.delete("s/a", "cgroup.events");
                machine.delete("s/a", "memory.stat");
            },
            &[&["R/A s/a"]],
        ),
        Scene::new(
            "one without anonymous memory is passed over",
            always(kill("s/*", "")),
            |machine| {
                branches(machine);
                machine.write("s/a", "memory.stat", "anon 0\npgscan 0\n");
            },
            &[&["R/A s/b"]],
        )
        // The newer ones do as we do.
        .but_oomd(&[&["R/A s/a"]]),
        Scene::new(
            "a parent is never killed for its children",
            always(kill_by("swap_usage", "s/*", r#""recursive": true"#)),
            |machine| {
                branches(machine);
                machine.write("s/a", "memory.swap.current", "9000\n");
                machine.write("s/c", "memory.swap.current", "1000\n");
            },
            &[&["R/A s/c"]],
        ),
        Scene::new(
            "a preference is one among siblings",
            leaves(),
            |machine| {
                branches(machine);
                machine.mark("s/b", "user.oomd_prefer");
                machine.mark("s/a/one", "user.oomd_prefer");
            },
            &[&["R/A s/b/one"], &["R/A s/a/one"]],
        )
        .after(1, |machine| machine.write("s/b/one", "cgroup.events", "populated 0\n")),
        Scene::new(
            "a deep one",
            always(kill("s", r#""recursive": true"#)),
            |machine| {
                let mut path = "s".to_owned();
                for _ in 0..30 {
                    path += "/deep";
                    machine.sized(&path, 100);
                }
            },
            &[&[
                "R/A s/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep",
            ]],
        ),
        Scene::new("the root is not killed", always(kill("/", "")), branches, &[nobody, nobody])
            .but_oomd(&[&["R/A "], &["R/A "]]),
        Scene::new(
            "from the root down to the leaves",
            always(kill("/", r#""recursive": true"#)),
            |machine| {
                for name in ["s", "s/a", "t"] {
                    machine.sized(name, 100 << 20);
                    machine.write(name, "memory.low", "0\n");
                }
                machine.mark("s", "user.oomd_prefer");
            },
            &[&["R/A s/a"]],
        ),
        Scene::new(
            "what is hidden is no child",
            always(kill("s/c", r#""recursive": true"#)),
            |machine| {
                branches(machine);
                machine.sized("s/c/.hidden", 50);
            },
            &[&["R/A s/c"]],
        ),
        Scene::new(
            "of one that is a whole nothing is counted below",
            always(kill_by("pg_scan", "s", r#""recursive": true"#)),
            |machine| {
                machine.sized("s", 100);
                machine.sized("s/a", 100);
                machine.write("s", "memory.oom.group", "1\n");
            },
            &[nobody, nobody, &["R/A s/a"]],
        )
        .after(1, |machine| {
            machine.write("s", "memory.oom.group", "0\n");
            for name in ["s", "s/a"] {
                machine.write(name, "memory.stat", "anon 4096\npgscan 50\n");
            }
        })
        .after(2, |machine| {
            for name in ["s", "s/a"] {
                machine.write(name, "memory.stat", "anon 4096\npgscan 80\n");
            }
        })
        // It takes who has no rate too.
        .but_oomd(&[nobody, &["R/A s/a"], &["R/A s/a"]]),
        Scene::new(
            "pages are counted of leaves too",
            set(
                "R",
                &[&[CONTINUE]],
                &[kill_by("pg_scan", "s/*", r#""recursive": true"#)],
                r#""post_action_delay": 0"#,
            ),
            branches,
            &[nobody, &["R/A s/a/one"]],
        )
        .after(1, |machine| {
            for name in ["s/a", "s/a/one"] {
                machine.write(name, "memory.stat", "anon 4096\npgscan 50\n");
            }
        }),
    ]
}
