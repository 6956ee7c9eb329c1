//! `--oom`: what the kernel's own killer knows of single processes.

use crate::EXIT_FAILURE;
use crate::cli::parse_pid_or_self;
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
    page.begin_table("", "overcommit$ pid comm$ oom_score oom_score_adj stake_kib");
    let proc = tree.proc.as_fd();
    let overcommit = read_overcommit(proc).map_or("-", |mode| mode.name());
    for pid in pids.filter_map(|pid| parse_pid_or_self(pid.to_bytes())) {
        let score = process::read_oom_score(proc, pid).map_or(UNKNOWN, i64::from);
        let adj = process::read_oom_score_adj(proc, pid).map_or(UNKNOWN, i64::from);
        let stake_kib = process::read_status(proc, pid).map_or(UNKNOWN, |status| stake_kib(&status));
        page.begin_row("");
        page.text(overcommit.as_bytes());
        page.number(pid.as_raw_pid().into());
        // Read last, so that one which has vanished meanwhile is told to have.
        match process::read_stat(proc, pid) {
            Ok(stat) => page.text(stat.comm.as_bytes()),
            Err(error) => {
                let is_gone = error == ReadError::Missing;
                page.text(if is_gone { "no such process" } else { error.reason() }.as_bytes());
                page.end_with(EXIT_FAILURE);
            }
        }
        page.number(score);
        page.number(adj);
        page.number(stake_kib);
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
