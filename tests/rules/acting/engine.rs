//! Groups, chains and rests.

use super::fixture::Machine;
use super::{CONTINUE, STOP, Scene, always, kill, kill_by, plugin, set};

/// Two, of which b is larger.
fn two(machine: &Machine) {
    machine.sized("s/a", 1000);
    machine.sized("s/b", 2000);
}

/// A set R with this chain.
fn chain(actions: &[String], more: &str) -> String {
    set("R", &[&[CONTINUE]], actions, more)
}

pub fn scenes() -> Vec<Scene> {
    let b: &[&'static str] = &["R/A s/b"];
    let nobody: &[&'static str] = &[];
    // Kills nobody, and so continues.
    let fails = || kill_by("swap_usage", "s/*", r#""threshold": "1G""#);
    let kills = || kill("s/*", "");
    vec![
        Scene::new(
            "a set rests after a kill",
            chain(&[kills()], r#""post_action_delay": 2"#),
            two,
            &[b, nobody, b, nobody, b],
        ),
        Scene::new("it rests for 15 seconds", chain(&[kills()], ""), two, &[b, nobody, nobody, nobody]),
        Scene::new(
            "an action's own time comes before the set's",
            chain(&[kill("s/*", r#""post_action_delay": "3""#)], r#""post_action_delay": 0"#),
            two,
            &[b, nobody, nobody, b, nobody],
        ),
        Scene::new(
            "an action that always continues does not make the set rest",
            chain(&[kill("s/*", r#""always_continue": true"#), kill("s/a", r#""always_continue": 1"#)], ""),
            two,
            &[&["R/A s/b", "R/A s/a"], &["R/A s/b", "R/A s/a"]],
        ),
        Scene::new(
            "the next action comes where one kills nobody",
            chain(&[fails(), kills(), kill("s/a", "")], r#""post_action_delay": 0"#),
            two,
            &[b, b],
        ),
        Scene::new(
            "a stop ends the chain and the set rests",
            chain(
                &[kill("s/a", r#""always_continue": true"#), STOP.into(), kills()],
                r#""post_action_delay": 2"#,
            ),
            two,
            &[&["R/A s/a"], nobody, &["R/A s/a"], nobody],
        ),
        Scene::new(
            "no detector of a group may stop",
            set("R", &[&[CONTINUE, STOP], &[STOP, CONTINUE]], &[kills()], ""),
            two,
            &[nobody, nobody],
        ),
        Scene::new(
            "the first group that fires gives its name",
            set("R", &[&[STOP], &[CONTINUE], &[CONTINUE]], &[kills()], r#""post_action_delay": 0"#),
            two,
            &[&["R/B s/b"], &["R/B s/b"]],
        ),
        Scene::new(
            "sets run in their order and rest on their own",
            [
                set("one", &[&[CONTINUE]], &[kill("s/b", "")], r#""post_action_delay": 2"#),
                set("two", &[&[CONTINUE]], &[kill("s/a", "")], r#""post_action_delay": 0"#),
            ]
            .join(", "),
            two,
            &[&["one/A s/b", "two/A s/a"], &["two/A s/a"], &["one/A s/b", "two/A s/a"]],
        ),
        Scene::new(
            "a detector's time goes on while the set rests",
            set(
                "R",
                &[&[&plugin("memory_above", r#""cgroup": "s/b", "threshold": "1K", "duration": 2"#)]],
                &[kills()],
                r#""post_action_delay": 3"#,
            ),
            two,
            &[nobody, nobody, b, nobody, nobody, b],
        ),
        Scene::new(
            "a suspended kill goes on although nothing fires any more",
            set(
                "R",
                &[&[&plugin("exists", r#""cgroup": "trouble""#)]],
                &[kill_by("pg_scan", "s/*", "")],
                r#""post_action_delay": 0"#,
            ),
            |machine| {
                two(machine);
                machine.add("trouble", &[]);
            },
            &[nobody, b, nobody, nobody],
        )
        .after(1, |machine| {
            machine.remove("trouble");
            machine.write("s/b", "memory.stat", "anon 4096\npgscan 9\n");
        }),
        Scene::new(
            "what is silent is told to the kernel's log",
            set("R", &[&[CONTINUE]], &[kills()], r#""silence-logs": "engine", "post_action_delay": 0"#),
            two,
            &[b, b],
        ),
        Scene::new(
            "a kill among the detectors kills, and its group does not hold",
            set("R", &[&[&kill("s/b", "")]], &[kill("s/a", "")], r#""post_action_delay": 15"#),
            two,
            &[&["R/ s/b"], &["R/ s/b"]],
        )
        // Its line does not even name the set.
        .but_oomd(&[&["/ s/b"], &["/ s/b"]]),
        Scene::new(
            "a kill among the detectors that continues has its group hold",
            set(
                "R",
                &[&[&kill("s/b", r#""always_continue": true"#)]],
                &[kill("s/a", "")],
                r#""post_action_delay": 0"#,
            ),
            two,
            &[&["R/ s/b", "R/A s/a"], &["R/ s/b", "R/A s/a"]],
        )
        .but_oomd(&[&["/ s/b", "R/A s/a"], &["/ s/b", "R/A s/a"]]),
        Scene::new(
            "a detector that is not over yet holds",
            set("R", &[&[&kill_by("pg_scan", "s/*", "")]], &[kill("s/a", "")], r#""post_action_delay": 0"#),
            two,
            &[&["R/A s/a"], &["R/ s/b"]],
        )
        .after(1, |machine| machine.write("s/b", "memory.stat", "anon 4096\npgscan 9\n"))
        .but_oomd(&[&["R/A s/a"], &["/ s/b"]]),
        Scene::new(
            "a detector among the actions ends them where it says no",
            chain(
                &[
                    kill("s/a", r#""always_continue": true"#),
                    plugin("exists", r#""cgroup": "s/a""#),
                    kill("s/b", r#""always_continue": true"#),
                    plugin("exists", r#""cgroup": "s/c""#),
                    kill("s/a", ""),
                ],
                r#""post_action_delay": 2"#,
            ),
            two,
            &[&["R/A s/a", "R/A s/b"], nobody, &["R/A s/a", "R/A s/b"]],
        ),
        Scene::new(
            "sets are suspended on their own",
            [
                set("one", &[&[CONTINUE]], &[kill_by("pg_scan", "s/*", "")], ""),
                set("two", &[&[CONTINUE]], &[kill_by("pg_scan", "s/b", ""), kill("s/a", "")], ""),
            ]
            .join(", "),
            two,
            &[nobody, &["one/A s/b", "two/A s/b"], nobody],
        )
        .after(1, |machine| machine.write("s/b", "memory.stat", "anon 4096\npgscan 9\n")),
        Scene::new(
            "a suspended kill keeps its own time",
            set(
                "R",
                &[&[&plugin("exists", r#""cgroup": "trouble""#)]],
                &[kill_by("pg_scan", "s/*", r#""post_action_delay": 3"#)],
                r#""post_action_delay": 0"#,
            ),
            |machine| {
                two(machine);
                machine.add("trouble", &[]);
            },
            // It takes a tick to tell a rate.
            &[nobody, b, nobody, nobody, nobody, b],
        )
        .after(1, |machine| {
            machine.remove("trouble");
            machine.write("s/b", "memory.stat", "anon 4096\npgscan 9\n");
        })
        .after(2, |machine| {
            machine.add("trouble", &[]);
            machine.write("s/b", "memory.stat", "anon 4096\npgscan 10\n");
        })
        .after(5, |machine| machine.write("s/b", "memory.stat", "anon 4096\npgscan 11\n"))
        // The set's own is taken for it, where nothing fires any more.
        .but_oomd(&[nobody, b, b, nobody, nobody, nobody]),
        Scene::new(
            "after a restart the set rests for the action's time and for its own",
            chain(
                &[
                    kill("s/b", r#""always_continue": true"#),
                    plugin(
                        "systemd_restart",
                        r#""service": "a.service", "dry": true, "post_action_delay": 1"#,
                    ),
                    kill("s/a", ""),
                ],
                r#""post_action_delay": 2"#,
            ),
            two,
            &[b, nobody, nobody, b],
        )
        // It sleeps for the first of them, and so there is no tick.
        .but_oomd(&[b, nobody, b, nobody]),
        Scene::new("nobody is there", always(kill("nowhere/*", "")), two, &[nobody, nobody]),
        Scene::new(
            "the line tells pressure and usage",
            always(kills()),
            |machine| {
                two(machine);
                machine.write(
                    "s/b",
                    "memory.pressure",
                    "some avg10=9.00 avg60=9.00 avg300=9.00 total=9\nfull avg10=1.25 avg60=0.50 avg300=12.07 total=5\n",
                );
            },
            &[b],
        ),
        Scene::new(
            "who is gone is not killed, and who comes back is another",
            always(kills()),
            two,
            &[b, &["R/A s/a"], b],
        )
        .after(1, |machine| machine.remove("s/b"))
        .after(2, |machine| machine.sized("s/b", 2000)),
    ]
}
