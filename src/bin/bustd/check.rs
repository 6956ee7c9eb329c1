//! `--check`: what the command line would mean now.

use crate::cli::Options;
use crate::console::{EXIT_FAILURE, print};
use bustd::act::capability::believed_by_us;
use bustd::config::limits::{Amount, Pair};
use bustd::config::pattern::{Globs, Item};
use bustd::config::policy::{Believed, Claim, Policy, matches};
use bustd::read::kfile::{ReadError, Tree};
use bustd::read::listing::for_each_process;
use bustd::read::memory::read_meminfo;
use bustd::read::process::{self, Comm, MAX_EXE};
use bustd::read::status::read_status;
use bustd::sys::line::Line;
use core::ffi::c_int;
use rustix::fd::AsFd;

/// Names are listed as long as a row has room for them.
const ROW_LEN: usize = 66;

/// Tells on standard output whom each pattern matches, and what looks wrong.
/// That the command line can be read at all has been checked by then.
// Out of line, so that the guard does not run below its stack.
#[inline(never)]
pub fn show(options: &Options, tree: &Tree) -> c_int {
    let believed = if tree.live { believed_by_us() } else { Believed::Everybody };
    let policy = Policy { believed, ..options.config.policy };
    let mut status =
        put_globs("--prefer", &policy.prefer, &Policy { believed: Believed::Everybody, ..policy }, tree)
            | put_globs("--avoid", &policy.avoid, &policy, tree)
            | put_globs("--unkillables", &policy.unkillables, &policy, tree);
    if let Some(Pair { term: Amount::Kib(term_kib), .. }) = options.config.limits.mem
        && read_meminfo(tree.proc.as_fd()).is_ok_and(|mem| term_kib > mem.total_kib())
    {
        status |= print(b"--mem: warning: above all memory\n");
    }
    status | print(b"the options are sound\n")
}

/// Tells of each pattern of a list; the exit status.
fn put_globs(option: &str, globs: &Option<Globs<'_>>, policy: &Policy<'_>, tree: &Tree) -> c_int {
    let mut status = 0;
    if let Some(globs) = globs {
        for item in globs.items() {
            let mut row = Line::default();
            row.text(option).text(" ").quoted(item.text).text(": ");
            if let Err(error) = push_matches(&mut row, &item, policy, tree) {
                row.text("cannot look at the processes: ").text(error.reason());
                status |= EXIT_FAILURE;
            }
            row.end_line();
            status |= print(row.as_bytes());
        }
    }
    status
}

/// Whom `item` matches, kernel threads and ourselves left out, and how many of
/// them it is not believed of.
fn push_matches(row: &mut Line, item: &Item<'_>, policy: &Policy<'_>, tree: &Tree) -> Result<(), ReadError> {
    let (mut matched, mut shown, mut others, mut doubted) = (0_u64, 0_u64, 0_u64, 0_u64);
    let own = tree.live.then(rustix::process::getpid);
    let proc = tree.proc.as_fd();
    for_each_process(proc, &mut |pid| {
        let Ok(stat) = process::read_stat(proc, pid) else { return };
        if stat.is_kernel_thread() || own == Some(pid) {
            return;
        }
        let uid = read_status(proc, pid).map_or(0, |status| status.uid);
        let mut buf = [0; MAX_EXE];
        let exe = if item.is_exe { process::read_exe(proc, pid, &mut buf).ok() } else { None };
        let claim = Claim { comm: &stat.comm, uid, exe };
        if !matches(item, &claim) {
            others += 1;
            return;
        }
        matched += 1;
        doubted += u64::from(!policy.believes(item, &claim));
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
        row.text(" and ").number(matched - shown).text(" more");
    }
    let is_literal = item.glob.iter().all(|byte| !matches!(byte, b'*' | b'?' | b'['));
    row.text(if is_literal && !item.is_exe && item.glob.len() > Comm::MAX_LEN {
        "warning: no name is longer than 15 bytes"
    } else if matched == 0 {
        "warning: matches nothing now"
    } else if others == 0 {
        "; warning: matches everything"
    } else {
        ""
    });
    if doubted > 0 {
        row.text("; warning: does not protect ").number(doubted).text(" of ordinary users (write any:NAME)");
    }
    Ok(())
}
