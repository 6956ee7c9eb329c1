//! `--oom`: what the kernel's own killer knows of single processes.

use crate::cli::parse_pid_or_self;
use crate::describe;
use crate::page::{Page, UNKNOWN};
use bustd::kfile::{ReadError, Tree};
use bustd::memory::read_overcommit;
use bustd::process::{self, Status};
use bustd::sys::Arguments;
use core::ffi::c_int;
use rustix::fd::AsFd;

/// Tells it on standard output, a row for each of `pids`.
#[cold]
#[inline(never)]
pub fn show(pids: Arguments, tree: &Tree) -> c_int {
    let page = &mut Page::new(false);
    page.begin_table("", "pid oom_score oom_score_adj stake_kib overcommit$ comm~");
    let proc = tree.proc.as_fd();
    let overcommit = read_overcommit(proc).map_or("-", |mode| mode.name());
    for pid in pids.filter_map(|pid| parse_pid_or_self(pid.to_bytes())) {
        page.begin_row("");
        page.number(pid.as_raw_pid().into());
        page.number(process::read_oom_score(proc, pid).map_or(UNKNOWN, i64::from));
        page.number(process::read_oom_score_adj(proc, pid).map_or(UNKNOWN, i64::from));
        page.number(process::read_status(proc, pid).map_or(UNKNOWN, |status| stake_kib(&status)));
        page.text(overcommit.as_bytes());
        // Last, so that one which has vanished meanwhile is told to have.
        match process::read_stat(proc, pid) {
            Ok(stat) => page.text(stat.comm.as_bytes()),
            Err(error) => {
                let is_gone = error == ReadError::Missing;
                page.text(if is_gone { "(no such process)" } else { describe(error) }.as_bytes());
                page.fail();
            }
        }
        page.end_row();
    }
    page.finish()
}

/// What its death would give back, shared memory left out; not known of kernel
/// threads, and before Linux 4.5.
fn stake_kib(status: &Status) -> i64 {
    let swap_kib = status.swap_kib.unwrap_or(0);
    status.anon_kib.map_or(UNKNOWN, |anon_kib| anon_kib.saturating_add(swap_kib) as i64)
}
