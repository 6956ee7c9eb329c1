//! `--check --rules`: rules in plain words, and whom they would be about now.

use crate::cli::Options;
use crate::console::{EXIT_FAILURE, print};
use crate::rules::{load_or_end, read_drop_ins};
use bustd::choose::rules::forest::open_hierarchy;
use bustd::config::rules::glob::{MAX_NAME, is_wild, literal, segment_matches, segments};
use bustd::config::rules::merge::Active;
use bustd::config::rules::model::{Cgroups, Patterns, Plugin};
use bustd::config::rules::teller::push_path;
use bustd::config::rules::words::Name;
use bustd::read::kfile::{Tree, open_dir, read_lines};
use bustd::read::listing::{list_names, parse_pid};
use bustd::read::process::read_stat;
use bustd::sys::line::{Line, lit};
use bustd::tell::plain::{push_action, push_condition, push_rest};
use core::ffi::{CStr, c_int};
use core::ops::ControlFlow;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Access, AtFlags, CWD, accessat};

/// Names are listed as long as a row has room for them.
const ROW_LEN: usize = 78;
/// So many cgroups are shown of those that match a pattern.
const SHOWN_CGROUPS: u64 = 8;
/// Deeper than this nobody looks: names can be nested without end.
const MAX_DEPTH: usize = 64;

/// Tells on standard output what the rules say, and whom they would be about.
// Out of line, so that the guard does not run below its stack.
#[inline(never)]
pub fn show(options: &Options, tree: &Tree) -> c_int {
    let Some(mut shelf) = load_or_end(options) else { return 0 };
    let root = open_hierarchy(tree);
    let last = Cgroups::default();
    let mut screen = Screen { tree, root: root.as_ref().ok().map(AsFd::as_fd), last, status: 0 };
    let mut line = Line::default();
    let rules = shelf.base();
    push_path(&mut line, rules.file);
    line.bytes(lit!(": ")).number(rules.sets.len() as u64).bytes(lit!(" rule sets, looked at every "));
    screen.print(line.number(shelf.settings.interval_s.into()).bytes(lit!(" s")));
    screen.status |= read_drop_ins(&mut shelf);
    shelf.for_each(&mut |active| screen.put_set(&active));
    if let Err(error) = root {
        screen.print(line.bytes(lit!("cannot look for cgroups: ")).text(error.reason()));
        screen.status |= EXIT_FAILURE;
    }
    screen.status
}

struct Screen<'t, 'r> {
    tree: &'t Tree,
    /// The root of the cgroups, if they can be had.
    root: Option<BorrowedFd<'t>>,
    /// The cgroups that were told of last.
    last: Cgroups<'r>,
    status: c_int,
}

impl<'r> Screen<'_, 'r> {
    /// Prints a line, which is empty then.
    #[inline(never)]
    fn print(&mut self, line: &mut Line) {
        line.end_line();
        self.status |= print(line.as_bytes());
        line.clear();
    }

    fn put_set(&mut self, active: &Active<'r>) {
        let Active { set, groups, actions, tag, .. } = *active;
        let mut line = Line::default();
        line.bytes(lit!("rule set ")).quoted(set.name);
        if let Some(tag) = tag {
            push_path(line.bytes(lit!(", changed by ")), tag);
        }
        self.print(&mut line);
        let mut when = lit!("  when ");
        for group in groups {
            line.bytes(core::mem::replace(&mut when, lit!("  or when ")));
            self.print(line.quoted(group.name).bytes(lit!(": all of these hold")));
            for detector in group.detectors {
                push_condition(line.bytes(lit!("    ")), detector);
                self.put_plugin(&mut line, detector, set.cgroup);
            }
        }
        let mut then = lit!("  then ");
        for action in actions {
            push_action(line.bytes(core::mem::replace(&mut then, lit!("  or else "))), action);
            self.put_plugin(&mut line, action, set.cgroup);
        }
        self.print(push_rest(line.bytes(lit!("  ")), set));
    }

    /// What a plugin does, and the cgroups it is about. `instances` are those of the
    /// rule set.
    #[inline(never)]
    fn put_plugin(&mut self, line: &mut Line, plugin: &Plugin<'r>, instances: Patterns<'r>) {
        self.print(line);
        let mut path = Line::default();
        path.bytes(plugin.words.first().copied().unwrap_or_default());
        let is_there = || accessat(CWD, path.as_cstr(), Access::EXEC_OK, AtFlags::empty()).is_ok();
        if plugin.name == Name::Exec && !is_there() {
            self.print(line.bytes(lit!("    warning: cannot execute ")).quoted(path.as_bytes()));
        }
        let Some(root) = self.root else { return };
        if core::mem::replace(&mut self.last, plugin.cgroups) == plugin.cgroups {
            return;
        }
        let Cgroups { cgroup, ruleset_cgroup } = plugin.cgroups;
        for pattern in cgroup {
            self.put_pattern(root, &Line::default(), pattern);
        }
        for instance in if ruleset_cgroup.is_empty() { &[] } else { instances } {
            descend(root, &Line::default(), instance, &mut |dir, path| {
                for pattern in ruleset_cgroup {
                    self.put_pattern(dir, path, pattern);
                }
            });
        }
    }

    /// Whom one pattern matches below the cgroup `dir`, which is called `above`.
    #[inline(never)]
    fn put_pattern(&mut self, dir: BorrowedFd<'_>, above: &Line, pattern: &[u8]) {
        let (mut cgroups, mut processes) = (0_u64, 0_u64);
        descend(dir, above, pattern, &mut |dir, _| {
            cgroups += 1;
            for_each_process(dir, MAX_DEPTH, &mut |_| processes += 1);
        });
        let mut line = Line::default();
        line.bytes(lit!("      "));
        push_below(&mut line, above, pattern);
        line.bytes(lit!(": cgroups ")).number(cgroups);
        if cgroups > 0 {
            line.bytes(lit!(", processes ")).number(processes);
        }
        self.print(&mut line);
        let mut shown = 0;
        descend(dir, above, pattern, &mut |dir, path| {
            shown += 1;
            if shown <= SHOWN_CGROUPS {
                self.put_cgroup(dir, path);
            }
        });
        if cgroups > SHOWN_CGROUPS {
            self.print(line.bytes(lit!("        and ")).number(cgroups - SHOWN_CGROUPS).bytes(lit!(" more")));
        }
    }

    /// A cgroup and the processes in it and below.
    fn put_cgroup(&mut self, dir: BorrowedFd<'_>, path: &Line) {
        let mut row = Line::default();
        push_below(row.bytes(lit!("        ")), path, b"");
        let (mut count, mut shown) = (0_u64, 0_u64);
        let proc = self.tree.proc.as_fd();
        for_each_process(dir, MAX_DEPTH, &mut |text| {
            count += 1;
            let mut entry = Line::default();
            entry.bytes(if count > 1 { lit!(", ") } else { lit!(": ") }).bytes(text);
            if let Some(Ok(stat)) = parse_pid(text).map(|pid| read_stat(proc, pid)) {
                entry.text(" ").escaped(stat.comm.as_bytes());
            }
            // Once there is no room, none is shown: they stand in order.
            if shown + 1 == count && row.as_bytes().len() + entry.as_bytes().len() <= ROW_LEN {
                row.bytes(entry.as_bytes());
                shown += 1;
            }
        });
        if count > shown {
            row.bytes(if shown > 0 { lit!(" and ") } else { lit!(": ") }).number(count - shown);
            row.bytes(if shown > 0 { lit!(" more") } else { lit!(" processes") });
        }
        self.print(&mut row);
    }
}

/// Appends a path below another; the root of all is `/`.
fn push_below(line: &mut Line, above: &Line, below: &[u8]) {
    let above = above.as_bytes();
    let is_between = above.is_empty() == below.is_empty();
    line.escaped(above).bytes(if is_between { b"/" } else { b"" }).escaped(below);
}

/// Hands on the pid of each process in a cgroup and below it, as text.
#[inline(never)]
fn for_each_process(dir: BorrowedFd<'_>, depth: usize, found: &mut dyn FnMut(&[u8])) {
    let _ = read_lines(dir, c"cgroup.procs", &mut [0; 1024], &mut |pid| {
        found(pid);
        ControlFlow::Continue(())
    });
    if depth == 0 {
        return;
    }
    let _ = list_names(dir, &mut |name| {
        if !name.to_bytes().starts_with(b".")
            && let Ok(child) = open_dir(dir, name)
        {
            for_each_process(child.as_fd(), depth - 1, found);
        }
        ControlFlow::Continue(())
    });
}

/// What is done with each cgroup that is found: its directory and its path.
type Found<'f> = dyn FnMut(BorrowedFd<'_>, &Line) + 'f;

/// Hands on each cgroup that `pattern` matches below `dir`, which is called `path`:
/// goes one segment further, and so on.
#[inline(never)]
fn descend(dir: BorrowedFd<'_>, path: &Line, pattern: &[u8], found: &mut Found<'_>) {
    let mut rest = segments(pattern);
    let Some(segment) = rest.next() else { return found(dir, path) };
    let rest = rest.rest();
    let mut enter = |name: &CStr| {
        let mut below = path.clone();
        below.bytes(if path.as_bytes().is_empty() { b"" } else { b"/" }).bytes(name.to_bytes());
        if let Ok(child) = open_dir(dir, name) {
            descend(child.as_fd(), &below, rest, found);
        }
    };
    if !is_wild(segment) {
        let mut name = Line::default();
        return enter(name.bytes(literal(segment, &mut [0; MAX_NAME])).as_cstr());
    }
    let _ = list_names(dir, &mut |name| {
        let is_self = matches!(name.to_bytes(), b"." | b"..");
        if !is_self && segment_matches(segment, name.to_bytes()) {
            enter(name);
        }
        ControlFlow::Continue(())
    });
}
