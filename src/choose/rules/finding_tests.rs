use super::super::forest::{MAX_SIBLINGS, open_hierarchy};
use super::*;
use crate::decide::rules::rank::Preference;
use crate::read::kfile::Tree;
use crate::read::memory::Meminfo;
use rustix::fs::{XattrFlags, setxattr};
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::string::String;
use std::sync::atomic::{AtomicU32, Ordering};
use std::vec::Vec;
use std::{format, fs};

/// A hierarchy of plain files.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let place = std::env::temp_dir().join(format!("bustd-forest-{}-{number}", std::process::id()));
        fs::create_dir_all(place.join("proc")).unwrap();
        fs::create_dir_all(place.join("sys/fs/cgroup")).unwrap();
        fs::write(place.join("sys/fs/cgroup/cgroup.controllers"), "").unwrap();
        Self(place)
    }

    fn root(&self) -> PathBuf {
        self.0.join("sys/fs/cgroup")
    }

    fn add(&self, path: &str, current: u64) {
        let dir = self.root().join(path);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("memory.current"), format!("{current}\n")).unwrap();
    }

    fn tree(&self) -> Tree {
        Tree::open_captured(&CString::new(self.0.to_str().unwrap()).unwrap()).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn forest(tree: &Tree, descriptors: usize) -> Forest<'_> {
    let mut lack = None;
    let forest = Forest::new(tree, open_hierarchy(tree).unwrap(), descriptors, &mut lack);
    assert_eq!(lack, None);
    forest
}

fn paths(forest: &mut Forest<'_>, patterns: &[&[u8]]) -> Vec<String> {
    let span = forest.find_patterns(patterns, &mut || {});
    let mut paths: Vec<_> = (0..span.len())
        .map(|at| {
            let mut line = Line::default();
            assert!(forest.push_path(forest.at(span, at), &mut line));
            String::from_utf8(line.as_bytes().to_vec()).unwrap()
        })
        .collect();
    paths.sort();
    paths
}

#[test]
fn each_is_found_once() {
    let place = Place::new();
    for path in ["a/x", "a/y", "b/x", "a/.hidden", "c"] {
        place.add(path, 1);
    }
    let tree = place.tree();
    let mut forest = forest(&tree, 100);
    forest.begin_tick();
    assert_eq!(paths(&mut forest, &[b"a/*", b"*/x", b"a/x", b"missing/*"]), ["a/x", "a/y", "b/x"]);
    assert_eq!(paths(&mut forest, &[b"", b"*"]), ["", "a", "b", "c"]);
    assert_eq!(paths(&mut forest, &[b"a/.*", b"c/memory.current"]), ["a/.hidden"]);
    assert_eq!(paths(&mut forest, &[b"a/*/*/*"]), [""; 0]);
    // The same list again is the same.
    let first = forest.find_patterns(&[b"a/*"], &mut || {});
    assert_eq!(forest.find_patterns(&[b"a/*"], &mut || panic!("it was made")), first);
    // A link is no cgroup.
    std::os::unix::fs::symlink(place.root().join("a"), place.root().join("link")).unwrap();
    assert_eq!(paths(&mut forest, &[b"l*", b"link"]), [""; 0]);
}

#[test]
fn one_that_comes_again_is_another() {
    let place = Place::new();
    place.add("a", 1);
    let tree = place.tree();
    let mut forest = forest(&tree, 100);
    let look = |forest: &mut Forest<'_>| {
        forest.begin_tick();
        let span = forest.find_patterns(&[b"a"], &mut || {});
        (forest.inode(forest.at(span, 0)), forest.average(forest.at(span, 0)))
    };
    let first = look(&mut forest);
    assert_eq!((first.1, look(&mut forest)), (0, (first.0, 0)));
    fs::rename(place.root().join("a"), place.root().join("gone")).unwrap();
    place.add("a", 4000);
    let (inode, average) = look(&mut forest);
    assert!(inode != first.0 && average == 1000);
    assert_eq!(look(&mut forest), (inode, 1750));
    // What was not asked for at the last tick is not remembered.
    forest.begin_tick();
    assert_eq!(look(&mut forest), (inode, 1000));
}

/// Whoever fills a directory with cgroups hides none that has more memory.
#[test]
fn of_too_many_those_with_most_memory_are_seen() {
    let place = Place::new();
    for at in 0..MAX_SIBLINGS as u64 + 300 {
        place.add(&format!("a/{at}"), 1000 + at * 7919 % 1500);
    }
    place.add("a/large", 5000);
    place.add("a/larger", 6000);
    let tree = place.tree();
    let mut forest = forest(&tree, 4000);
    forest.begin_tick();
    let all = forest.find_patterns(&[b"a/*"], &mut || {});
    assert_eq!((all.len(), forest.passed_over), (MAX_SIBLINGS, 302));
    let mut has: Vec<u64> = (0..all.len()).map(|at| forest.current(forest.at(all, at)).unwrap()).collect();
    has.sort();
    let mut expected: Vec<u64> = (0..MAX_SIBLINGS as u64 + 300).map(|at| 1000 + at * 7919 % 1500).collect();
    expected.extend([5000, 6000]);
    expected.sort();
    assert_eq!(has, expected[302..]);
    // The same at the next tick, without any being forgotten wrongly.
    forest.begin_tick();
    assert_eq!(forest.find_patterns(&[b"a/*"], &mut || {}).len(), MAX_SIBLINGS);
    let mut ids: Vec<_> = (0..all.len()).map(|at| forest.at(all, at)).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), MAX_SIBLINGS);
}

/// Where there are few descriptors, those below the largest are seen first.
#[test]
fn there_is_room_for_some() {
    let place = Place::new();
    for at in 0..40 {
        place.add(&format!("a/{at}"), 10 + at);
        place.add(&format!("a/{at}/x"), 10 + at);
    }
    let tree = place.tree();
    let mut forest = forest(&tree, 50);
    forest.begin_tick();
    let found = paths(&mut forest, &[b"a/*/x"]);
    assert_eq!(found.len(), 50 - 42);
    assert!(found.contains(&"a/39/x".into()) && forest.passed_over > 0, "{found:?}");
    // What is not looked at any more makes room.
    forest.begin_tick();
    forest.begin_tick();
    assert_eq!(paths(&mut forest, &[b"a/1", b"a/1/x"]).len(), 2);
}

/// The only one that is called so.
fn one(forest: &mut Forest<'_>, path: &[u8]) -> Id {
    let span = forest.find_patterns(&[path], &mut || {});
    assert_eq!(span.len(), 1);
    forest.at(span, 0)
}

/// Only that an attribute is there counts, and being preferred before being avoided.
#[test]
fn every_preference_is_known() {
    const NAMES: [&str; 4] =
        ["trusted.oomd_prefer", "user.oomd_prefer", "trusted.oomd_avoid", "user.oomd_avoid"];
    let place = Place::new();
    for set in 0..16 {
        let name = format!("a{set}");
        place.add(&name, 1);
        for (at, attribute) in NAMES.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1) {
            let value: &[u8] = if set % 3 == 0 { b"" } else { b"0" };
            let path = place.root().join(&name);
            let path = path.to_str().unwrap();
            if setxattr(path, *attribute, value, XattrFlags::empty()).is_err() {
                std::println!("skipped: {} cannot be set here", NAMES[at]);
                return;
            }
        }
    }
    let tree = place.tree();
    let mut forest = forest(&tree, 100);
    forest.begin_tick();
    for set in 0..16 {
        let id = one(&mut forest, format!("a{set}").as_bytes());
        let expected = match set {
            0 => Preference::Normal,
            _ if set & 3 != 0 => Preference::Prefer,
            _ => Preference::Avoid,
        };
        assert_eq!(forest.preference(id), expected, "{set:04b}");
    }
}

/// What may be swapped out of a cgroup is bounded by all above it, and by what there is.
#[test]
fn swap_is_bounded_at_each_level() {
    let place = Place::new();
    for (path, swap, max) in [
        ("a", 600, "1000"),
        ("a/b", 300, "max"),
        ("a/b/c", 100, "200"),
        ("a/b/d", 0, "0"),
        ("a/b/e", 100, "800"),
        ("f", 50, "max"),
    ] {
        place.add(path, 4096);
        let dir = place.root().join(path);
        fs::write(dir.join("memory.swap.current"), format!("{swap}\n")).unwrap();
        fs::write(dir.join("memory.swap.max"), format!("{max}\n")).unwrap();
    }
    let tree = place.tree();
    let mut forest = forest(&tree, 100);
    forest.begin_tick();
    let machine = |total_kib, free_kib| Meminfo {
        swap_total_kib: total_kib,
        swap_free_kib: free_kib,
        ..Meminfo::default()
    };
    let mut room = |path: &str, mem: &Meminfo| {
        let id = one(&mut forest, path.as_bytes());
        let figures = forest.senpai_figures(id, mem).unwrap();
        (figures.swap_free, figures.swap_used.0 / 10_000)
    };
    let much = machine(100, 90);
    assert_eq!(room("a", &much), (400, 60));
    assert_eq!(room("a/b", &much), (400, 60));
    assert_eq!(room("a/b/c", &much), (100, 60));
    // None may be, and so none of it is used.
    assert_eq!(room("a/b/d", &much), (0, 60));
    assert_eq!(room("a/b/e", &much), (400, 60));
    assert_eq!(room("f", &much), (90 * 1024, 10));
    // The machine has less than the cgroup may have.
    assert_eq!(room("a/b", &machine(10_000, 0)), (0, 100));
    assert_eq!(room("f", &machine(0, 0)), (0, 0));
}

/// Only exactly one line with a 1 says that a cgroup is to die as a whole.
#[test]
fn one_is_a_whole_if_it_says_so() {
    let place = Place::new();
    for (name, text, expected) in [
        ("a", "1\n", true),
        ("b", "1", true),
        ("c", "0\n", false),
        ("d", "2\n", false),
        ("e", "", false),
        ("f", "1\n1\n", false),
        ("g", "11\n", false),
        ("h", " 1\n", false),
    ] {
        place.add(name, 1);
        fs::write(place.root().join(name).join("memory.oom.group"), text).unwrap();
        let tree = place.tree();
        let mut forest = forest(&tree, 100);
        forest.begin_tick();
        let id = one(&mut forest, name.as_bytes());
        assert_eq!(forest.is_whole(id), expected, "{text:?}");
    }
    place.add("none", 1);
    let tree = place.tree();
    let mut forest = forest(&tree, 100);
    forest.begin_tick();
    let id = one(&mut forest, b"none");
    assert!(!forest.is_whole(id));
}

#[test]
fn without_a_hierarchy_there_is_nothing() {
    let place = Place::new();
    fs::remove_file(place.root().join("cgroup.controllers")).unwrap();
    let tree = place.tree();
    assert_eq!(open_hierarchy(&tree).err(), Some(crate::read::kfile::ReadError::Missing));
    assert!(Path::new(&place.0).exists());
}
