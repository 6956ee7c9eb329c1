//! Files that are dropped in beside the rules while these are in force.

use super::fixture::Machine;
use super::{CONTINUE, STOP, Scene, kill, plugin, set};

fn three(machine: &Machine) {
    for (name, current) in [("s/a", 100), ("s/b", 200), ("s/c", 300)] {
        machine.sized(name, current);
    }
}

/// A set R that kills a at each tick, and lets itself be changed.
fn base(permits: &str) -> String {
    let more = format!(r#""post_action_delay": 0, "drop-in": {{{permits}}}"#);
    set("R", &[&[CONTINUE]], &[kill("s/a", "")], &more)
}

const ALL: &str = r#""detectors": true, "actions": true"#;

/// A file with a set of that name that has these keys.
fn file(name: &str, keys: &str) -> String {
    format!(r#"{{"rulesets": [{{"name": "{name}"{keys}}}]}}"#)
}

/// One by which R kills another.
fn instead(cgroup: &str) -> String {
    file("R", &format!(r#", "actions": [{}]"#, kill(cgroup, "")))
}

pub fn scenes() -> Vec<Scene> {
    let [a, b, c] = ["R/A s/a", "R/A s/b", "R/A s/c"];
    let all = vec![
        Scene::new(
            "what is dropped in runs first, the newest before all others",
            base(ALL),
            three,
            &[&[a], &[b, a], &[c, b, a], &[b, c, a], &[c, a], &[a]],
        )
        .after(1, |machine| machine.drop_in("one", &instead("s/b")))
        .after(2, |machine| machine.drop_in("two", &instead("s/c")))
        // The same file again is the newest, if it says something else.
        .after(3, |machine| machine.drop_in("one", &(instead("s/b") + "\n")))
        .after(4, |machine| machine.take_out("one"))
        .after(5, |machine| machine.take_out("two")),
        Scene::new(
            "files that are there already come by their names",
            base(ALL),
            |machine| {
                three(machine);
                machine.drop_in("b", &instead("s/b"));
                machine.drop_in("a", &instead("s/c"));
                machine.drop_in(".hidden", &instead("s/a"));
            },
            &[&[b, c, a]],
        ),
        Scene::new(
            "the base rests while there is one",
            base(r#""actions": true, "disable-on-drop-in": true"#),
            three,
            &[&[a], &[b], &[a]],
        )
        .after(1, |machine| machine.drop_in("one", &instead("s/b")))
        .after(2, |machine| machine.take_out("one")),
        Scene::new("what has neither detectors nor actions is a copy", base(""), three, &[&[a], &[a, a]])
            .after(1, |machine| machine.drop_in("one", &file("R", ""))),
        Scene::new(
            "detectors can be changed alone",
            set(
                "R",
                &[&[STOP]],
                &[kill("s/a", "")],
                r#""post_action_delay": 0, "drop-in": {"detectors": true}"#,
            ),
            three,
            &[&[], &["R/new s/a"]],
        )
        .after(1, |machine| {
            machine.drop_in("one", &file("R", &format!(r#", "detectors": [["new", {CONTINUE}]]"#)));
        }),
        Scene::new(
            "what the base does not allow is left out",
            base(r#""detectors": true"#),
            three,
            &[&[a], &[a], &[a]],
        )
        .after(1, |machine| machine.drop_in("one", &instead("s/b")))
        .after(2, |machine| machine.drop_in("two", &instead("s/b").replace("\"R\"", "\"other\""))),
        Scene::new(
            "a file that cannot be used leaves what was there",
            base(ALL),
            three,
            &[&[a], &[b, a], &[b, a], &[b, a]],
        )
        .after(1, |machine| machine.drop_in("one", &instead("s/b")))
        .after(2, |machine| {
            let unknown = plugin("nothing", "");
            machine.drop_in("one", &file("R", &format!(r#", "actions": [{unknown}]"#)));
        })
        .after(3, |machine| {
            machine.drop_in("one", &file("R", r#", "actions": [{"name": "exists", "args": {"x": 1}}]"#))
        }),
        Scene::new(
            "rests are those of the base",
            set(
                "R",
                &[&[CONTINUE]],
                &[kill("s/a", "")],
                r#""post_action_delay": 2, "drop-in": {"actions": true, "disable-on-drop-in": true}"#,
            ),
            |machine| {
                three(machine);
                let keys = format!(r#", "post_action_delay": 0, "actions": [{}]"#, kill("s/b", ""));
                machine.drop_in("one", &file("R", &keys));
            },
            &[&[b], &[], &[b]],
        ),
        // oomd ends there.
        Scene::new(
            "a delay that is no number, and no JSON, leave what was there",
            base(ALL),
            three,
            &[&[a], &[b, a], &[b, a], &[b, a]],
        )
        .after(1, |machine| machine.drop_in("one", &instead("s/b")))
        .after(2, |machine| machine.drop_in("one", &file("R", r#", "post_action_delay": "soon""#)))
        .after(3, |machine| machine.drop_in("one", "{"))
        .not_for_oomd(),
    ];
    all.into_iter().map(Scene::with_drop_ins).collect()
}
