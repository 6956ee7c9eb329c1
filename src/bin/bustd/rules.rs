//! `--rules` and what goes with it: options, reading the file, and `--check`.

use crate::cli::{Options, Reader};
use crate::console::{EXIT_FAILURE, EXIT_USAGE, complaint, fail, fail_about, leave};
use crate::options::Opt;
use crate::place::refuse;
use crate::values::parse_any_path;
use bustd::choose::rules::forest::{Barren, MAX_CGROUPS, open_hierarchy};
use bustd::config::rules::load::load;
use bustd::config::rules::model::Plugin;
use bustd::config::rules::settings::{Coefficients, Device, Devices, Settings, parse_coefficients};
use bustd::config::rules::shelf::Shelf;
use bustd::config::rules::teller::Severity;
use bustd::config::rules::words::Name;
use bustd::monitor::Monitor;
use bustd::read::hierarchy::{find_at, push_real_path};
use bustd::read::kfile::{ReadError, Tree, parse_u64, read_number};
use bustd::sys::file::{open, stderr};
use bustd::sys::line::{Line, named};
use core::ffi::{CStr, c_int};
use rustix::fd::AsFd;
use rustix::fs::{CWD, OFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the options say; `None` without `--rules`.
pub type Asked = Option<Settings<'static>>;

/// The options as they are read, in any order.
pub struct Given {
    settings: Settings<'static>,
    has_file: bool,
    /// One that needs a file.
    needs_file: Option<&'static [u8]>,
}

impl Default for Given {
    fn default() -> Self {
        Self { settings: Settings::of(c""), has_file: false, needs_file: None }
    }
}

impl Given {
    /// Takes the option that is being read, which is one of these.
    pub fn take(&mut self, id: Opt, reader: &mut Reader<'_>) {
        let settings = &mut self.settings;
        match id {
            Opt::Rules => {
                settings.file = reader.value(parse_any_path);
                self.has_file = true;
                return;
            }
            Opt::RulesDir => settings.dir = Some(reader.value(parse_any_path)),
            Opt::NoDefaultRules => settings.alone = true,
            Opt::Interval => settings.interval_s = reader.value(parse_interval_s),
            Opt::Device => {
                let shape = named!("not MAJ:MIN with commas between, 16 at most");
                settings.devices = reader.value(|text| Devices::parse(text.to_bytes()).ok_or(shape));
            }
            Opt::SsdCoeffs => settings.ssd = reader.value(parse_numbers),
            Opt::HddCoeffs => settings.hdd = reader.value(parse_numbers),
            _ => settings.allow_panic = true,
        }
        self.needs_file = Some(reader.name());
    }

    /// The options as a whole. `is_guard` tells whether the file will be read again,
    /// `has_limits` whether the guard's own rules were given any.
    pub fn finish(self, options: &mut Options, is_guard: bool, has_limits: bool) {
        let settings = self.settings;
        if let Some(name) = self.needs_file.filter(|_| !self.has_file) {
            refuse(name, None, named!("only with --rules"));
        }
        if !self.has_file {
            return;
        }
        if options.config.once {
            refuse(b"once", None, named!("not with --rules, which take their time"));
        }
        for (name, path) in [(&b"rules"[..], Some(settings.file)), (b"rules-dir", settings.dir)] {
            if is_guard && path.is_some_and(|path| !path.to_bytes().starts_with(b"/")) {
                refuse(name, None, named!("not an absolute path, by which a guard reads it again"));
            }
        }
        if settings.alone && has_limits {
            refuse(b"no-default-rules", None, named!("not with --mem, --swap and --psi, which are theirs"));
        }
        options.rules = Some(settings);
    }
}

/// An hour: whoever looks more seldom than that does not watch.
const MAX_INTERVAL_S: u64 = 3600;

fn parse_interval_s(text: &'static CStr) -> Result<u32, &'static str> {
    parse_u64(text.to_bytes())
        .filter(|seconds| (1..=MAX_INTERVAL_S).contains(seconds))
        .map(|seconds| seconds as u32)
        .ok_or(named!("not a whole number of seconds from 1 to 3600"))
}

fn parse_numbers(text: &'static CStr) -> Result<Coefficients, &'static str> {
    parse_coefficients(text.to_bytes()).ok_or(named!("not up to six numbers with commas between"))
}

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
    shelf.settings.parser = crate::parser_pages();
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

/// Reads what is in the directory of drop-ins, to show it; the exit status.
#[inline(never)]
pub fn read_drop_ins(shelf: &mut Shelf<'_>) -> c_int {
    let mut status = 0;
    let read = shelf.read_dir(&mut |severity, text| {
        status |= if severity == Severity::Error { EXIT_USAGE } else { 0 };
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
