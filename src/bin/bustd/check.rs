//! `--check`: what the command line would mean now.

use crate::cli::Options;
use crate::console::{EXIT_FAILURE, print};
use crate::pidfile::find_holder;
use crate::values::directory_of;
use bustd::act::capability::believed_by_us;
use bustd::choose::claim::read_claim;
use bustd::choose::observer::{Observer, StallSource};
use bustd::choose::scope::Scope;
use bustd::config::Config;
use bustd::config::limits::{Amount, Limits, Pair};
use bustd::config::pattern::{Globs, Item};
use bustd::config::policy::{Believed, Policy, matches};
use bustd::decide::levels::Levels;
use bustd::decide::verdict::{Verdict, decide};
use bustd::read::kfile::{ReadError, Tree};
use bustd::read::listing::for_each_process;
use bustd::read::process;
use bustd::read::status::read_status;
use bustd::sys::file::open;
use bustd::sys::line::{Line, named};
use bustd::sys::time::now_us;
use bustd::tell::log::Sink;
use core::ffi::{CStr, c_int};
use rustix::fd::AsFd;
use rustix::fs::{Access, AtFlags, CWD, OFlags, accessat};
use rustix::io::Errno;

/// Names are listed as long as a row has room for them.
const ROW_LEN: usize = 66;

/// What has been found so far.
#[derive(Default)]
struct Found {
    status: c_int,
    warnings: u64,
}

impl Found {
    fn print(&mut self, line: &mut Line) {
        line.end_line();
        self.status |= print(line.as_bytes());
    }

    /// Begins a line about `option` that tells what looks wrong with it.
    fn warn(&mut self, option: &str) -> Line {
        self.warnings += 1;
        let mut line = Line::default();
        line.text(option).text(named!(": warning: "));
        line
    }
}

/// Tells on standard output whom each pattern matches, and what looks wrong.
/// That the command line can be read at all has been checked by then.
// Out of line, so that the guard does not run below its stack.
#[inline(never)]
pub fn show(options: &Options, tree: &Tree, scope: &Scope<'_>) -> c_int {
    let believed = if tree.live { believed_by_us() } else { Believed::Everybody };
    let Config { policy, limits, stats, .. } = options.config;
    let policy = Policy { believed, ..policy };
    let mut found = Found::default();
    put_globs(
        "--prefer",
        &policy.prefer,
        &Policy { believed: Believed::Everybody, ..policy },
        tree,
        &mut found,
    );
    put_globs("--avoid", &policy.avoid, &policy, tree, &mut found);
    put_globs("--unkillables", &policy.unkillables, &policy, tree, &mut found);
    put_limits(&limits, tree, scope, &mut found);
    #[cfg(feature = "rules")]
    if options.rules.is_some() {
        found.status |= crate::concern::show(options, tree, &mut found.warnings);
    }
    put_directory("--pidfile", options.pidfile, &mut found);
    put_directory("--stats", stats, &mut found);
    if let Some(Sink::File(path)) = options.sink {
        put_log(path, &mut found);
    }
    let mut end = Line::default();
    // Of a file that cannot be used nothing else would tell at the end.
    end.text(if found.status == 0 { "" } else { "not " });
    end.text(named!("sound, ")).number(found.warnings);
    end.text(if found.warnings == 1 { named!(" warning") } else { named!(" warnings") });
    found.print(&mut end);
    found.status
}

/// Tells of limits that mean something else than they seem to here, or that are
/// passed already.
fn put_limits(limits: &Limits, tree: &Tree, scope: &Scope<'_>, found: &mut Found) {
    let mut observer = Observer::new(tree, scope, StallSource::KernelAverage);
    let Ok(snapshot) = observer.read(now_us()) else { return };
    let levels = Levels::of(limits, &snapshot);
    let mut check = |option, limit: Option<Pair>, total_kib: u64, what: &str| {
        if let Some(Pair { term: Amount::Kib(term_kib), .. }) = limit
            && term_kib > total_kib
            && total_kib > 0
        {
            let mut line = found.warn(option);
            found.print(line.text(named!("above all ")).text(what));
        }
    };
    check("--mem", limits.mem, snapshot.mem.total_kib(), named!("memory"));
    check("--swap", Some(limits.swap), snapshot.mem.swap_total_kib, named!("swap"));
    if let Verdict::Act(rule, _) = decide(&snapshot, &levels) {
        let mut line = found.warn("limits");
        found.print(line.text(named!("a guard would act now: ")).text(rule.name()));
    }
}

/// Tells if a file could not be written where it is to be, by who asks; and of a
/// guard that holds it.
fn put_directory(option: &str, path: Option<&CStr>, found: &mut Found) {
    let Some(path) = path else { return };
    let directory = directory_of(path);
    let access = Access::WRITE_OK | Access::EXEC_OK;
    if let Err(errno) = accessat(CWD, directory.as_cstr(), access, AtFlags::EACCESS) {
        put_unwritable(option, directory.as_cstr(), errno, found);
    }
    if let Some(holder) = find_holder(path) {
        let mut line = found.warn(option);
        found.print(line.text(named!("held by a guard with pid ")).signed(holder.pid.into()));
    }
}

fn put_unwritable(option: &str, path: &CStr, errno: Errno, found: &mut Found) {
    let mut line = found.warn(option);
    line.quoted(path.to_bytes()).text(named!(" cannot be written to: "));
    found.print(line.text(ReadError::from(errno).reason()));
}

/// The same of a file that is appended to, and so need not be created.
fn put_log(path: &CStr, found: &mut Found) {
    match open(CWD, path, OFlags::WRONLY | OFlags::NOCTTY) {
        Ok(_) => {}
        Err(Errno::NOENT) => put_directory("--log", Some(path), found),
        Err(errno) => put_unwritable("--log", path, errno, found),
    }
}

/// Tells of each pattern of a list.
fn put_globs(option: &str, globs: &Option<Globs<'_>>, policy: &Policy<'_>, tree: &Tree, found: &mut Found) {
    if let Some(globs) = globs {
        for item in globs.items() {
            let mut row = Line::default();
            row.text(option).text(" ").quoted(item.text).text(": ");
            match push_matches(&mut row, &item, policy, tree) {
                Ok(has_warning) => found.warnings += u64::from(has_warning),
                Err(error) => {
                    row.text(named!("cannot look at the processes: ")).text(error.reason());
                    found.status |= EXIT_FAILURE;
                }
            }
            found.print(&mut row);
        }
    }
}

/// Whom `item` matches, kernel threads and ourselves left out, and how many of
/// them it is not believed of. Is there a warning in it?
fn push_matches(
    row: &mut Line,
    item: &Item<'_>,
    policy: &Policy<'_>,
    tree: &Tree,
) -> Result<bool, ReadError> {
    let (mut matched, mut shown, mut others, mut doubted) = (0_u64, 0_u64, 0_u64, 0_u64);
    let own = tree.live.then(rustix::process::getpid);
    let proc = tree.proc.as_fd();
    for_each_process(proc, &mut |pid| {
        let Ok(stat) = process::read_stat(proc, pid) else { return };
        if stat.is_kernel_thread() || own == Some(pid) {
            return;
        }
        let uid = read_status(proc, pid).map_or(0, |status| status.uid);
        let (mut is_matched, mut is_believed) = (false, false);
        let asks_for = |about| item.about == about;
        let _ = read_claim(proc, pid, (&stat.comm, uid), &asks_for, &mut |claim| {
            is_matched = matches(item, claim);
            is_believed = policy.believes(item, claim);
        });
        if !is_matched {
            others += 1;
            return;
        }
        matched += 1;
        doubted += u64::from(!is_believed);
        let mut entry = Line::default();
        let pid = pid.as_raw_pid().unsigned_abs();
        entry.text(if matched > 1 { ", " } else { "" }).number(pid.into());
        entry.text(" ").escaped(stat.comm.as_bytes());
        // Once there is no room, none is shown: they stand in order.
        if shown + 1 == matched && row.as_bytes().len() + entry.as_bytes().len() <= ROW_LEN {
            row.bytes(entry.as_bytes());
            shown += 1;
        }
    })?;
    if matched > shown {
        row.text(named!(" and ")).number(matched - shown).text(named!(" more"));
    }
    row.text(if matched == 0 {
        named!("warning: matches nothing now")
    } else if others == 0 {
        named!("; warning: matches everything")
    } else {
        ""
    });
    if doubted > 0 {
        row.text(named!("; warning: does not protect ")).number(doubted);
        row.text(named!(" of ordinary users (write any:NAME)"));
    }
    Ok(matched == 0 || others == 0 || doubted > 0)
}
