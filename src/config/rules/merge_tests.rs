use super::merge::*;
use super::model::Book;
use super::parse::parse_rules;
use super::reader::Permits;
use super::words::Name;
use crate::sys::block::Block;
use std::format;
use std::string::String;
use std::vec::Vec;

fn read(name: &str, text: &str, is_drop_in: bool) -> Block<Book> {
    let permits = Permits { is_drop_in, ..Permits::default() };
    parse_rules(name.as_bytes(), text.as_bytes(), permits, &mut |severity, line| {
        panic!("{severity:?} {}", String::from_utf8_lossy(line.as_bytes()));
    })
    .unwrap()
}

/// A rule set whose detector and action are told apart from the base's.
fn set(name: &str, keys: &str) -> String {
    format!(r#"{{"name": "{name}", {keys}}},"#)
}

const CONTINUE: &str = r#""detectors": [["new", {"name": "continue"}]], "#;
const STOP: &str = r#""detectors": [["old", {"name": "stop"}]], "#;
const ACT: &str = r#""actions": [{"name": "continue"}], "#;
const REST: &str = r#""actions": [{"name": "stop"}], "#;

fn base(permits: [&str; 3]) -> Block<Book> {
    let sets: String = ["a", "b", "c"]
        .iter()
        .zip(permits)
        .map(|(name, drop_in)| {
            set(name, &format!(r#"{STOP}{REST}"post_action_delay": 7, "drop-in": {{{drop_in}}}"#))
        })
        .collect();
    read("base", &format!(r#"{{"rulesets": [{sets}]}}"#), false)
}

fn drop_in(name: &str, sets: &[String]) -> Block<Book> {
    read(name, &format!(r#"{{"rulesets": [{}]}}"#, sets.concat()), true)
}

/// `name:tag:group:action` of what is in force.
fn in_force(base: &Block<Book>, drop_ins: &[&Block<Book>]) -> Vec<String> {
    let files: Vec<_> = drop_ins.iter().map(|file| file.get()).collect();
    let mut shown = Vec::new();
    merge(base.get(), &files, &mut |active| {
        assert_eq!(active.set.post_action_delay_s, 7);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let does = if active.actions[0].name == Name::Stop { "stop" } else { "continue" };
        let tag = active.tag.map_or("-".into(), text);
        shown.push(format!("{}:{tag}:{}:{does}", text(active.set.name), text(active.groups[0].name)));
    });
    shown
}

const ALL: &str = r#""detectors": true, "actions": true"#;

#[test]
fn without_drop_ins_the_file_is_in_force() {
    assert_eq!(in_force(&base([""; 3]), &[]), ["a:-:old:stop", "b:-:old:stop", "c:-:old:stop"]);
}

#[test]
fn the_newest_runs_first_and_before_its_base() {
    let base = base([ALL; 3]);
    let old = drop_in("old.json", &[set("b", ACT), set("b", CONTINUE)]);
    let new = drop_in("new.json", &[set("b", &format!("{CONTINUE}{ACT}")), set("a", "")]);
    assert_eq!(
        in_force(&base, &[&new, &old]),
        [
            // With neither it is a copy.
            "a:new.json:old:stop",
            "a:-:old:stop",
            "b:new.json:new:continue",
            "b:old.json:new:stop",
            "b:old.json:old:continue",
            "b:-:old:stop",
            "c:-:old:stop"
        ]
    );
}

#[test]
fn a_base_can_rest_while_there_is_one() {
    let base = base([r#""actions": true, "disable-on-drop-in": true"#, r#""disable-on-drop-in": true"#, ""]);
    let file = drop_in("d", &[set("a", ACT)]);
    assert_eq!(in_force(&base, &[&file]), ["a:d:old:continue", "b:-:old:stop", "c:-:old:stop"]);
}

#[test]
fn what_does_not_fit_is_left_out_as_a_whole() {
    let base = base([r#""actions": true"#, r#""detectors": true"#, ALL]);
    for (sets, misfit) in [
        ([set("c", ACT), set("d", ACT)], Misfit::NoSuchSet(b"d")),
        ([set("c", ACT), set("a", CONTINUE)], Misfit::Detectors(b"a")),
        ([set("b", ACT), set("c", ACT)], Misfit::Actions(b"b")),
    ] {
        let file = drop_in("d", &sets);
        assert_eq!(check_drop_in(base.get(), file.get()), Err(misfit));
        assert_eq!(in_force(&base, &[&file]).len(), 3);
    }
    let file = drop_in("d", &[set("a", ACT), set("b", CONTINUE), set("c", "")]);
    assert_eq!(check_drop_in(base.get(), file.get()), Ok(()));
    assert_eq!(in_force(&base, &[&file]).len(), 6);
}

#[test]
fn what_says_the_same_is_equal_across_files() {
    let (base, again) = (base([ALL; 3]), base([ALL; 3]));
    let (one, other) = (drop_in("d", &[set("a", ACT)]), drop_in("d", &[set("a", ACT)]));
    let collect = |base: &Block<Book>, file: &Block<Book>| {
        let mut shown = Vec::new();
        merge(base.get(), &[file.get()], &mut |active| shown.push(format!("{active:?}")));
        shown
    };
    assert_eq!(collect(&base, &one), collect(&again, &other));
    let mut firsts = Vec::new();
    merge(base.get(), &[one.get()], &mut |active| firsts.push(active));
    let mut seconds = Vec::new();
    merge(again.get(), &[other.get()], &mut |active| seconds.push(active));
    assert!(firsts.iter().zip(&seconds).all(|(one, other)| one.is_same(other)));
    assert!(!firsts[0].is_same(&firsts[1]) && !firsts[1].is_same(&firsts[2]));
    let changed = drop_in("d", &[set("a", CONTINUE)]);
    merge(base.get(), &[changed.get()], &mut |active| {
        let is_new = active.tag.is_some();
        assert_eq!(firsts.iter().any(|first| first.is_same(&active)), !is_new);
    });
}
