//! Reading the rules that were asked for, for a guard and for `--check`.

use crate::cli::Options;
use crate::console::{EXIT_FAILURE, EXIT_USAGE, complaint, fail, fail_about, leave};
use crate::program::parser_pages;
use bustd::choose::rules::forest::{Barren, MAX_CGROUPS, open_hierarchy};
use bustd::config::rules::load::load;
use bustd::config::rules::model::Plugin;
use bustd::config::rules::settings::Device;
use bustd::config::rules::shelf::Shelf;
use bustd::config::rules::teller::Severity;
use bustd::config::rules::words::Name;
use bustd::monitor::Monitor;
use bustd::read::hierarchy::{find_at, push_real_path};
use bustd::read::kfile::{ReadError, Tree, read_number};
use bustd::sys::file::{open, stderr};
use bustd::sys::line::{Line, named};
use core::ffi::c_int;
use rustix::fd::AsFd;
use rustix::fs::{CWD, OFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Reads the file of rules if there is one, and tells of what looks wrong in it, or
/// ends the program.
// Out of line: inlined it is larger.
#[inline(never)]
pub fn load_or_end(options: &Options) -> Option<Shelf<'static>> {
    let settings = options.rules.as_ref()?;
    match load(CWD, settings.file, settings.permits(), &mut complain) {
        Some(base) => Some(Shelf::new(*settings, base)),
        None => leave(EXIT_USAGE),
    }
}

/// Reads all the rules that there are for a guard, or ends the program.
// Out of line: inlined it is larger.
#[inline(never)]
pub fn open_shelf(options: &Options, tree: &Tree) -> Option<Shelf<'static>> {
    let mut shelf = load_or_end(options)?;
    shelf.settings.parser = parser_pages();
    for device in shelf.settings.devices.list_mut() {
        let Device { major, minor, .. } = *device;
        let mut path = Line::default();
        path.text("dev/block/").number(major.into()).text(":").number(minor.into()).text("/queue/rotational");
        let sys = tree.sys.as_ref().ok_or(ReadError::Missing);
        let read = sys.and_then(|sys| match read_number(sys.as_fd(), path.as_cstr())? {
            kind @ 0..=1 => Ok(kind == 1),
            _ => Err(ReadError::Malformed),
        });
        match read {
            Ok(is_rotational) => device.is_rotational = is_rotational,
            Err(error) => fail_about(EXIT_FAILURE, "--device: /sys/", path.as_bytes(), error.reason()),
        }
    }
    let watched = shelf.watch_dir(&mut complain);
    end_without_dir(&shelf, watched);
    Some(shelf)
}

/// Reads what is in the directory of drop-ins, to show it, and counts what looks wrong; the
/// exit status.
#[inline(never)]
pub fn read_drop_ins(shelf: &mut Shelf<'_>, warnings: &mut u64) -> c_int {
    let mut status = 0;
    let read = shelf.read_dir(&mut |severity, text| {
        match severity {
            Severity::Error => status = EXIT_USAGE,
            Severity::Warning => *warnings += 1,
        }
        complain(severity, text);
    });
    end_without_dir(shelf, read);
    status
}

/// Ends the program if the directory of drop-ins cannot be had.
#[inline(never)]
fn end_without_dir(shelf: &Shelf<'_>, read: Result<(), ReadError>) {
    if let Err(error) = read {
        let path = shelf.settings.dir.unwrap_or_default();
        fail_about(EXIT_FAILURE, named!("--rules-dir "), path.to_bytes(), error.reason());
    }
}

/// Descriptors that a guard needs for everything else.
const OTHER_DESCRIPTORS: u64 = 64;

/// Ends the program where there is no room for cgroups.
pub fn end_without_memory() -> ! {
    fail(EXIT_FAILURE, named!("--rules: no memory"))
}

/// Hands the rules to the guard, if there are any, or ends the program.
// Out of line, and taken there, for what is on the caller's stack the guard keeps.
#[inline(never)]
pub fn start<'a>(monitor: &mut Monitor<'a>, shelf: &mut Option<Shelf<'a>>, tree: &'a Tree, is_kmsg: bool) {
    let Some(shelf) = shelf.take() else { return };
    // Where the log is the kernel's, the line is in it already.
    let kmsg = (tree.live && !is_kmsg).then(|| open(CWD, c"/dev/kmsg", OFlags::WRONLY).ok());
    let started = monitor.take_rules(shelf, tree, raise_descriptors(), root_path(tree), kmsg.flatten());
    match started {
        Ok(()) => {}
        Err(Barren::NoHierarchy) => {
            fail(EXIT_FAILURE, named!("--rules: cgroups of version 2 are not mounted"))
        }
        Err(Barren::NoMemory(_)) => end_without_memory(),
    }
}

/// The path of the cgroup that is mounted, without a slash behind it.
fn root_path(tree: &Tree) -> Line {
    let mut place = Line::default();
    if let Ok(root) = open_hierarchy(tree) {
        push_real_path(&mut place, root.as_fd());
    }
    let mut path = Line::default();
    if tree.live
        && let Ok(found) = find_at(tree, place.as_cstr())
    {
        let root = found.path.as_bytes();
        path.bytes(root.strip_suffix(b"/").unwrap_or(root));
    }
    path
}

/// Does any rule that is in force run a program?
pub fn runs_programs(shelf: &Shelf<'_>) -> bool {
    let mut runs = false;
    let mut look = |plugins: &[Plugin<'_>]| {
        for plugin in plugins {
            runs |= matches!(plugin.name, Name::Exec | Name::SystemdRestart);
        }
    };
    shelf.for_each(&mut |active| {
        active.groups.iter().for_each(|group| look(group.detectors));
        look(active.actions);
    });
    runs
}

/// Raises the limit of descriptors as far as it may be of use; how many cgroups may be
/// held open.
pub fn raise_descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(MAX_CGROUPS as u64 + OTHER_DESCRIPTORS);
    let present = limit.current.unwrap_or(u64::MAX);
    let is_raised =
        present < wanted && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).is_ok();
    let descriptors = if is_raised { wanted } else { present };
    descriptors.saturating_sub(OTHER_DESCRIPTORS) as usize
}

/// Says on standard error what is wrong with a file.
#[inline(never)]
fn complain(_: Severity, text: &Line) {
    let mut line = complaint();
    line.bytes(text.as_bytes()).end_line();
    let _ = rustix::io::write(stderr(), line.as_bytes());
}
