//! `--check --rules`: rules in plain words, and whom they would be about now.

use crate::cli::Options;
use crate::console::{EXIT_FAILURE, print};
use crate::rules::{end_without_memory, load_or_end, raise_descriptors, read_drop_ins};
use bustd::choose::rules::forest::{Forest, Id, Span, open_hierarchy};
use bustd::config::rules::merge::Active;
use bustd::config::rules::model::{Cgroups, Patterns, Plugin};
use bustd::config::rules::teller::push_path;
use bustd::config::rules::words::Name;
use bustd::read::kfile::{ReadError, Tree, open_dir, read_lines};
use bustd::read::listing::{list_names, parse_pid};
use bustd::read::process::read_stat;
use bustd::sys::line::{Line, lit};
use bustd::tell::plain::{push_action, push_condition, push_rest};
use core::ffi::c_int;
use core::ops::ControlFlow;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Access, AtFlags, CWD, accessat};

/// Names are listed as long as a row has room for them.
const ROW_LEN: usize = 78;
/// So many cgroups are shown of those that match a pattern.
const SHOWN_CGROUPS: usize = 8;
/// Deeper than this nobody looks: names can be nested without end.
const MAX_DEPTH: usize = 64;

/// Tells on standard output what the rules say, and whom they would be about.
// Out of line, so that the guard does not run below its stack.
#[inline(never)]
pub fn show(options: &Options, tree: &Tree, warnings: &mut u64) -> c_int {
    let Some(mut shelf) = load_or_end(options) else { return 0 };
    let mut screen = Screen { tree, forest: None, last: Cgroups::default(), status: 0, warnings: 0 };
    let opened = screen.open_cgroups();
    let mut line = Line::default();
    let rules = shelf.base();
    push_path(&mut line, rules.file);
    line.bytes(lit!(": ")).number(rules.sets.len() as u64).bytes(lit!(" rule sets, looked at every "));
    screen.print(line.number(shelf.settings.interval_s.into()).bytes(lit!(" s")));
    screen.warnings += u64::from(rules.warnings);
    screen.status |= read_drop_ins(&mut shelf, &mut screen.warnings);
    shelf.for_each(&mut |active| screen.put_set(&active));
    let passed_over = screen.forest.as_ref().map_or(0, |forest| forest.passed_over);
    if passed_over > 0 {
        screen.print(line.bytes(lit!("there are too many cgroups; passed over: ")).number(passed_over));
    }
    if let Err(error) = opened {
        screen.print(line.bytes(lit!("cannot look for cgroups: ")).text(error.reason()));
        screen.status |= EXIT_FAILURE;
    }
    let status = screen.status;
    *warnings += screen.warnings;
    // The program ends next, and what closes each cgroup would be code for nothing.
    core::mem::forget(screen);
    status
}

struct Screen<'t, 'r> {
    tree: &'t Tree,
    /// The cgroups as the guard would find them, if they can be had.
    forest: Option<Forest<'t>>,
    /// The cgroups that were told of last.
    last: Cgroups<'r>,
    status: c_int,
    warnings: u64,
}

impl<'r> Screen<'_, 'r> {
    /// Lets cgroups be looked for, or ends the program for want of memory.
    fn open_cgroups(&mut self) -> Result<(), ReadError> {
        let root = open_hierarchy(self.tree)?;
        let mut lack = None;
        self.forest = Some(Forest::new(self.tree, root, raise_descriptors(), &mut lack));
        if lack.is_some() {
            end_without_memory();
        }
        Ok(())
    }

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
            self.warnings += 1;
            self.print(line.bytes(lit!("    warning: cannot execute ")).quoted(path.as_bytes()));
        }
        if core::mem::replace(&mut self.last, plugin.cgroups) == plugin.cgroups {
            return;
        }
        let Cgroups { cgroup, ruleset_cgroup } = plugin.cgroups;
        for pattern in cgroup {
            self.put_pattern(None, pattern);
        }
        let Some(forest) = &mut self.forest else { return };
        let instances = if ruleset_cgroup.is_empty() { &[] } else { instances };
        let found = forest.find_patterns(instances, &mut no_breath);
        for at in 0..found.len() {
            let instance = self.forest.as_ref().map(|forest| forest.at(found, at));
            for pattern in ruleset_cgroup {
                self.put_pattern(instance, pattern);
            }
        }
    }

    /// Whom one pattern matches, below `instance` if there is one.
    #[inline(never)]
    fn put_pattern(&mut self, instance: Option<Id>, pattern: &[u8]) {
        let Some(forest) = &mut self.forest else { return };
        let (patterns, none) = (&[pattern][..], &[][..]);
        let (cgroup, ruleset_cgroup) = if instance.is_some() { (none, patterns) } else { (patterns, none) };
        let found = forest.find_all(&Cgroups { cgroup, ruleset_cgroup }, instance, &mut no_breath);
        let mut processes = 0_u64;
        for at in 0..found.len() {
            if let Some(dir) = forest.dir(forest.at(found, at)) {
                for_each_process(dir, MAX_DEPTH, &mut |_| processes += 1);
            }
        }
        let mut line = Line::default();
        line.bytes(lit!("      "));
        push_below(&mut line, &path_of(forest, instance), pattern);
        line.bytes(lit!(": cgroups ")).number(found.len() as u64);
        if !found.is_empty() {
            line.bytes(lit!(", processes ")).number(processes);
        }
        self.print(&mut line);
        for at in 0..found.len().min(SHOWN_CGROUPS) {
            self.put_cgroup(found, at);
        }
        if found.len() > SHOWN_CGROUPS {
            let more = (found.len() - SHOWN_CGROUPS) as u64;
            self.print(line.bytes(lit!("        and ")).number(more).bytes(lit!(" more")));
        }
    }

    /// One of the cgroups that were found, and the processes in it and below.
    fn put_cgroup(&mut self, found: Span, at: usize) {
        let Some(forest) = &self.forest else { return };
        let id = forest.at(found, at);
        let Some(dir) = forest.dir(id) else { return };
        let mut row = Line::default();
        push_below(row.bytes(lit!("        ")), &path_of(forest, Some(id)), b"");
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

/// Memory need not be looked at meanwhile.
fn no_breath() {}

/// The path of a cgroup below the root of all, unless it is too long to be told.
fn path_of(forest: &Forest<'_>, id: Option<Id>) -> Line {
    let mut path = Line::default();
    if let Some(id) = id
        && !forest.push_path(id, &mut path)
    {
        path.text("...");
    }
    path
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
