//! Reading files again, as a guard does, and drop-ins that come and go.

use super::tree::Tree;
use bustd::config::rules::drop_ins::{DropIns, MAX_DROP_INS, is_drop_in};
use bustd::config::rules::load::{MAX_FILE, Reloaded, load, reload};
use bustd::config::rules::merge::merge;
use bustd::config::rules::model::Rules;
use bustd::config::rules::reader::Permits;
use bustd::config::rules::settings::Settings;
use bustd::config::rules::shelf::Shelf;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use std::ffi::{CStr, CString};
use std::fs;
use std::os::unix::ffi::OsStrExt;

struct Place {
    tree: Tree,
    dir: OwnedFd,
    said: Vec<String>,
}

impl Place {
    fn new() -> Self {
        let tree = Tree::new();
        let path = tree.path().as_os_str().as_bytes();
        let dir = rustix::fs::openat(CWD, path, OFlags::DIRECTORY, Mode::empty()).unwrap();
        Self { tree, dir, said: Vec::new() }
    }

    /// Adds a drop-in.
    fn add(&mut self, drop_ins: &mut DropIns, base: &Rules<'_>, name: &CStr) -> Reloaded<()> {
        let said = &mut self.said;
        drop_ins.add(self.dir.as_fd(), name, Permits::default(), base, &mut |_, line| {
            said.push(String::from_utf8(line.as_bytes().to_vec()).unwrap());
        })
    }
}

fn rules(name: &str, action: &str) -> String {
    format!(
        r#"{{"rulesets": [{{"name": "{name}", "drop-in": {{"actions": true}}, "detectors": [["g", {{"name": "stop"}}]],
        "actions": [{{"name": "{action}"}}]}}]}}"#
    )
}

fn drop_in(action: &str) -> String {
    format!(r#"{{"rulesets": [{{"name": "n", "actions": [{{"name": "{action}"}}]}}]}}"#)
}

#[test]
fn a_bad_file_leaves_the_old_rules() {
    let place = Place::new();
    let dir = place.dir.as_fd();
    let permits = Permits::default();
    let silent: &mut dyn FnMut(_, &_) = &mut |_, _| panic!("nothing is wrong");
    place.tree.write("r.json", rules("n", "stop"));
    let mut block = load(dir, c"r.json", permits, silent).unwrap();
    assert_eq!(block.get().file, b"r.json");
    assert!(matches!(reload(dir, c"r.json", permits, &block, silent), Reloaded::Same));
    let mut said = Vec::new();
    for bad in ["", "{", "[]", r#"{"rulesets": [{}]}"#] {
        place.tree.write("r.json", bad);
        let kept =
            reload(dir, c"r.json", permits, &block, &mut |_, line| said.push(line.as_bytes().to_vec()));
        assert!(matches!(kept, Reloaded::Kept));
    }
    fs::remove_file(place.tree.path().join("r.json")).unwrap();
    let kept = reload(dir, c"r.json", permits, &block, &mut |_, line| said.push(line.as_bytes().to_vec()));
    assert!(matches!(kept, Reloaded::Kept));
    assert_eq!(said.len(), 5);
    assert_eq!(said[4], b"r.json: no such file or directory");
    place.tree.write("r.json", rules("m", "stop"));
    match reload(dir, c"r.json", permits, &block, silent) {
        Reloaded::New(new) => block = new,
        other => panic!("{other:?}"),
    }
    assert_eq!(block.get().sets[0].name, b"m");
}

#[test]
fn a_file_may_be_as_long_as_it_may() {
    let place = Place::new();
    let mut said = Vec::new();
    for (len, is_read) in [(MAX_FILE, true), (MAX_FILE + 1, false)] {
        let mut text = rules("n", "stop");
        text.push_str(&" ".repeat(len - text.len()));
        place.tree.write("r.json", text);
        let read = load(place.dir.as_fd(), c"r.json", Permits::default(), &mut |_, line| {
            said.push(line.as_bytes().to_vec());
        });
        assert_eq!(read.is_some(), is_read);
    }
    assert_eq!(said, [b"r.json: longer than 256 KiB"]);
}

/// The tags of what is in force.
fn tags(base: &Rules<'_>, drop_ins: &DropIns) -> Vec<String> {
    let mut tags = Vec::new();
    merge(base, drop_ins.list(&mut [base; MAX_DROP_INS]), &mut |active| {
        tags.push(active.tag.map_or("-".into(), |tag| String::from_utf8_lossy(tag).into_owned()));
    });
    tags
}

#[test]
fn drop_ins_come_and_go() {
    let mut place = Place::new();
    place.tree.write("base", rules("n", "stop"));
    let base = load(place.dir.as_fd(), c"base", Permits::default(), &mut |_, _| {}).unwrap();
    let base = base.get();
    let mut drop_ins = DropIns::default();
    for name in ["a", "b", "c"] {
        place.tree.write(name, drop_in("stop"));
        let name = CString::new(name).unwrap();
        assert_eq!(place.add(&mut drop_ins, base, &name), Reloaded::New(()));
    }
    assert_eq!(tags(base, &drop_ins), ["c", "b", "a", "-"]);
    // The same again changes nothing, a change makes it the newest.
    assert_eq!(place.add(&mut drop_ins, base, c"a"), Reloaded::Same);
    assert_eq!(tags(base, &drop_ins), ["c", "b", "a", "-"]);
    place.tree.write("a", drop_in("continue"));
    assert_eq!(place.add(&mut drop_ins, base, c"a"), Reloaded::New(()));
    assert_eq!(tags(base, &drop_ins), ["a", "c", "b", "-"]);
    // What is damaged leaves what was there.
    place.tree.write("b", "{");
    assert_eq!(place.add(&mut drop_ins, base, c"b"), Reloaded::Kept);
    place.tree.write("c", drop_in("stop").replace("\"n\"", "\"m\""));
    assert_eq!(place.add(&mut drop_ins, base, c"c"), Reloaded::Kept);
    assert_eq!(tags(base, &drop_ins), ["a", "c", "b", "-"]);
    assert_eq!(place.said.len(), 2);
    assert_eq!(place.said[1], "c: rule set \"m\" is not in the file of rules");
    assert!(drop_ins.remove(b"c") && !drop_ins.remove(b"c"));
    assert_eq!(tags(base, &drop_ins), ["a", "b", "-"]);
    assert!(drop_ins.remove(b"a") && drop_ins.remove(b"b"));
    assert_eq!(tags(base, &drop_ins), ["-"]);
}

#[test]
fn there_is_an_end_to_drop_ins() {
    let mut place = Place::new();
    place.tree.write("base", rules("n", "stop"));
    let base = load(place.dir.as_fd(), c"base", Permits::default(), &mut |_, _| {}).unwrap();
    let mut drop_ins = DropIns::default();
    for number in 0..=MAX_DROP_INS {
        let name = format!("{number:02}");
        place.tree.write(&name, drop_in("stop"));
        let added = place.add(&mut drop_ins, base.get(), &CString::new(name).unwrap());
        assert_eq!(added == Reloaded::New(()), number < MAX_DROP_INS);
    }
    assert_eq!(place.said, ["32: there are 32 files already"]);
    // One that is there can still change.
    place.tree.write("00", drop_in("continue"));
    assert_eq!(place.add(&mut drop_ins, base.get(), c"00"), Reloaded::New(()));
    assert_eq!(tags(base.get(), &drop_ins)[..2], ["00", "31"]);
    assert!(is_drop_in(b"a") && !is_drop_in(b".a") && !is_drop_in(b""));
}

/// A shelf with a file and a directory, and what was said of them.
struct Shelved {
    tree: Tree,
    shelf: Shelf<'static>,
    said: Vec<String>,
}

impl Shelved {
    fn new() -> Self {
        let tree = Tree::new();
        tree.write("r.json", rules("n", "stop"));
        fs::create_dir(tree.path().join("d")).unwrap();
        // As an option's value, which stays as long as the program.
        let path = |name: &str| {
            let path = CString::new(tree.path().join(name).into_os_string().into_encoded_bytes()).unwrap();
            &*Box::leak(path.into_boxed_c_str())
        };
        let settings = Settings { dir: Some(path("d")), ..Settings::of(path("r.json")) };
        let base = load(CWD, settings.file, settings.permits(), &mut |_, _| {}).unwrap();
        let mut shelf = Shelf::new(settings, base);
        shelf.watch_dir(&mut |_, _| panic!("nothing is wrong")).unwrap();
        Self { tree, shelf, said: Vec::new() }
    }

    /// Has anything changed by a tick?
    fn tick(&mut self) -> bool {
        let said = &mut self.said;
        self.shelf
            .take_events(&mut |_, line| said.push(String::from_utf8_lossy(line.as_bytes()).into_owned()))
    }

    fn tags(&self) -> Vec<String> {
        let mut tags = Vec::new();
        self.shelf.for_each(&mut |active| {
            tags.push(active.tag.map_or("-".into(), |tag| String::from_utf8_lossy(tag).into_owned()));
        });
        tags
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.tree.path().join(name)).unwrap();
    }
}

#[test]
fn a_directory_is_watched() {
    let mut shelved = Shelved::new();
    assert!(!shelved.tick());
    shelved.tree.write("d/a", drop_in("continue"));
    assert!(shelved.tick() && !shelved.tick());
    assert_eq!(shelved.tags(), ["a", "-"]);
    // Written elsewhere and moved there, as it should be.
    shelved.tree.write("new", drop_in("stop"));
    fs::rename(shelved.tree.path().join("new"), shelved.tree.path().join("d/b")).unwrap();
    shelved.tree.write("d/.hidden", drop_in("stop"));
    assert!(shelved.tick());
    assert_eq!(shelved.tags(), ["b", "a", "-"]);
    shelved.tree.write("d/a", "{");
    assert!(!shelved.tick());
    assert_eq!(shelved.tags(), ["b", "a", "-"]);
    assert_eq!(shelved.said.len(), 1);
    fs::rename(shelved.tree.path().join("d/b"), shelved.tree.path().join("gone")).unwrap();
    assert!(shelved.tick());
    shelved.remove("d/a");
    assert!(shelved.tick());
    assert_eq!(shelved.tags(), ["-"]);
    shelved.remove("d/.hidden");
    assert!(!shelved.tick());
}

#[test]
fn many_changes_are_taken_a_part_at_a_time() {
    let mut shelved = Shelved::new();
    for number in 0..MAX_DROP_INS {
        shelved.tree.write(&format!("d/a-file-with-a-long-name-{number}"), drop_in("continue"));
    }
    let ticks = (0..100).take_while(|_| shelved.tick()).count();
    assert!((3..MAX_DROP_INS).contains(&ticks), "{ticks}");
    assert_eq!(shelved.tags().len(), MAX_DROP_INS + 1);
}

#[test]
fn a_directory_can_go_and_come_back() {
    let mut shelved = Shelved::new();
    let dir = shelved.tree.path().join("d");
    shelved.tree.write("d/a", drop_in("continue"));
    assert!(shelved.tick());
    fs::remove_dir_all(&dir).unwrap();
    assert!(shelved.tick());
    assert_eq!(shelved.tags(), ["-"]);
    assert!(!shelved.tick());
    shelved.tree.write("d/b", drop_in("continue"));
    assert!(shelved.tick());
    assert_eq!(shelved.tags(), ["b", "-"]);
    // Another in its place.
    fs::rename(&dir, shelved.tree.path().join("old")).unwrap();
    shelved.tree.write("d/c", drop_in("continue"));
    assert!(shelved.tick());
    shelved.tick();
    assert_eq!(shelved.tags(), ["c", "-"]);
    shelved.tree.write("old/b", "{");
    shelved.tree.write("d/e", drop_in("stop"));
    assert!(shelved.tick());
    assert_eq!(shelved.tags(), ["e", "c", "-"]);
    assert!(shelved.said.is_empty());
}

#[test]
fn new_rules_leave_out_what_does_not_go_with_them() {
    let mut shelved = Shelved::new();
    shelved.tree.write("d/a", drop_in("continue"));
    assert!(shelved.tick());
    shelved.tree.write("r.json", rules("m", "stop"));
    let said = &mut shelved.said;
    let reread =
        shelved.shelf.reload(&mut |_, line| said.push(String::from_utf8_lossy(line.as_bytes()).into_owned()));
    assert_eq!(reread, Reloaded::New(()));
    assert_eq!(shelved.said, ["a: rule set \"n\" is not in the file of rules"]);
    assert_eq!(shelved.tags(), ["-"]);
    // It is in force again with the old ones.
    shelved.tree.write("r.json", rules("n", "continue"));
    assert_eq!(shelved.shelf.reload(&mut |_, _| panic!("nothing is wrong")), Reloaded::New(()));
    assert_eq!(shelved.tags(), ["a", "-"]);
}
