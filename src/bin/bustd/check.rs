//! `--check`: what the command line would mean now.

use crate::cli::Options;
use crate::console::print;
use bustd::config::pattern::{Globs, glob_matches};
use bustd::decide::verdict::{Amount, Pair};
use bustd::monitor::Settings;
use bustd::read::kfile::Tree;
use bustd::read::memory::read_meminfo;
use bustd::read::process::{self, Comm, Pid};
use bustd::sys::line::Line;
use core::ffi::c_int;
use rustix::fd::AsFd;

/// Names are listed as long as a row has room for them.
const ROW_LEN: usize = 66;

/// Tells on standard output whom each pattern matches, and what looks wrong.
/// That the command line can be read at all has been checked by then.
pub fn show(options: &Options, tree: &Tree) -> c_int {
    let Settings { policy, limits, .. } = &options.settings;
    let mut status = put_globs("--prefer ", &policy.prefer, tree)
        | put_globs("--avoid ", &policy.avoid, tree)
        | put_globs("--unkillables ", &policy.unkillables, tree);
    if let Some(Pair { term: Amount::Kib(term_kib), .. }) = limits.mem
        && read_meminfo(tree.proc.as_fd()).is_ok_and(|mem| term_kib > mem.total_kib())
    {
        status |= print(b"--mem: warning: above all memory\n");
    }
    status | print(b"the options are sound\n")
}

/// Tells of each pattern of a list; the exit status.
fn put_globs(option: &str, globs: &Option<Globs<'_>>, tree: &Tree) -> c_int {
    let mut status = 0;
    if let Some(globs) = globs {
        for glob in globs.items() {
            let row = &mut Line::default();
            row.text(option).quoted(glob).text(": ");
            push_matches(row, glob, tree);
            row.end_line();
            status |= print(row.as_bytes());
        }
    }
    status
}

/// Whom `glob` matches, kernel threads and ourselves left out.
fn push_matches(row: &mut Line, glob: &[u8], tree: &Tree) {
    let (mut matched, mut shown, mut others) = (0_u64, 0, 0);
    let own = tree.live.then(rustix::process::getpid);
    let _ = process::list_processes(tree.proc.as_fd(), &mut |pid| {
        let Ok(stat) = process::read_stat(tree.proc.as_fd(), pid) else { return };
        if stat.is_kernel_thread() || own == Some(pid) {
            return;
        }
        if !glob_matches(glob, stat.comm.as_bytes()) {
            others += 1;
            return;
        }
        matched += 1;
        let mut entry = Line::default();
        entry
            .text(if matched > 1 { ", " } else { "" })
            .number(raw(pid))
            .text(" ")
            .escaped(stat.comm.as_bytes());
        // Once there is no room, none is shown: they stand in order.
        if shown + 1 == matched && row.as_bytes().len() + entry.as_bytes().len() <= ROW_LEN {
            row.bytes(entry.as_bytes());
            shown += 1;
        }
    });
    if matched > shown {
        row.text(" and ").number(matched - shown).text(" more");
    }
    let is_literal = glob.iter().all(|byte| !matches!(byte, b'*' | b'?' | b'['));
    row.text(if is_literal && glob.len() > Comm::MAX_LEN {
        "warning: no name is longer than 15 bytes"
    } else if matched == 0 {
        "warning: matches nothing now"
    } else if others == 0 {
        "; warning: matches everything"
    } else {
        ""
    });
}

fn raw(pid: Pid) -> u64 {
    pid.as_raw_pid().unsigned_abs().into()
}
