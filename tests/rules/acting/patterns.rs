//! Which cgroups a pattern means.

use super::fixture::Machine;
use super::{Scene, always, kill, plugin, when};

fn several(machine: &Machine) {
    for (name, current) in [("s/a1", 100), ("s/a2", 200), ("s/b1", 300), ("t/a3", 400), ("s/.hidden", 900)] {
        machine.sized(name, current);
    }
}

fn scene(name: &'static str, pattern: &str, victim: &'static [&'static str]) -> Scene {
    Scene::new(name, always(kill(pattern, "")), several, &[victim])
}

pub fn scenes() -> Vec<Scene> {
    vec![
        scene("a star is one level and nothing hidden", "s/*", &["R/A s/b1"]),
        scene("a star within a name", "s/a*", &["R/A s/a2"]),
        scene("two stars are one", "**/a*", &["R/A t/a3"]),
        scene("a question mark", "s/?1", &["R/A s/b1"]),
        scene("a class", "s/[!b]1", &["R/A s/a1"]),
        scene("several", "s/b1,t/*", &["R/A t/a3"]),
        scene("slashes do not matter", "/s//a1/", &["R/A s/a1"]),
        scene("a blank belongs to the name", " s/a1", &[]),
        scene("braces are cut at the comma", "s/{a1,b1}", &[]),
        scene("nothing between commas", ",,s/a1,", &["R/A s/a1"]),
        scene("a range of them", "s/a[2-9]", &["R/A s/a2"]),
        scene("one that is hidden by its name", "s/.hidden", &["R/A s/.hidden"]),
        scene("one that is not a directory", "s/a1/memory.current", &[]),
        scene("a parent beside its children", "s,t/*", &["R/A t/a3"]),
        Scene::new(
            "a name with a backslash through a star",
            always(kill("s/*", "")),
            |machine| machine.sized(r"s/foo\x2dbar.service", 500),
            &[&[r"R/A s/foo\x2dbar.service"]],
        ),
        Scene::new(
            "a name with a backslash, escaped",
            always(kill(r"s/foo\\\\x2dbar.service", "")),
            |machine| machine.sized(r"s/foo\x2dbar.service", 500),
            &[&[r"R/A s/foo\x2dbar.service"]],
        ),
        Scene::new(
            "a name with a backslash as it is",
            always(kill(r"s/foo\\x2dbar.service", "")),
            |machine| machine.sized(r"s/foo\x2dbar.service", 500),
            &[&[r"R/A s/foo\x2dbar.service"]],
        )
        .but_oomd(&[&[]]),
        Scene::new(
            "the root is there",
            when(&[&plugin("exists", r#""cgroup": "/""#)]),
            several,
            &[&["R/A s/b1"]],
        ),
        Scene::new(
            "slashes alone are the root",
            when(&[&plugin("exists", r#""cgroup": "////""#)]),
            several,
            &[&["R/A s/b1"]],
        ),
        Scene::new(
            "they are looked for at each tick",
            always(kill("s/a*", "")),
            several,
            &[&["R/A s/a2"], &["R/A s/a9"], &["R/A s/a2"]],
        )
        .after(1, |machine| machine.sized("s/a9", 900))
        .after(2, |machine| machine.remove("s/a9")),
    ]
}
