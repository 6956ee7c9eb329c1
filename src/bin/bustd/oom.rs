//! `--oom`: what the kernel's own killer knows of single processes.

use crate::console::{EXIT_FAILURE, Table, UNKNOWN};
use bustd::read::kfile::{ReadError, Tree};
use bustd::read::memory::read_overcommit;
use bustd::read::process::{self, Pid, Status};
use core::ffi::c_int;
use rustix::fd::AsFd;

/// Tells it on standard output, a row for each of `pids`.
pub fn show(pids: &[Pid], tree: &Tree) -> c_int {
    let table = &mut Table::new(false);
    table.begin_table("", "overcommit$ pid comm$ oom_score oom_score_adj freeable_kib");
    let proc = tree.proc.as_fd();
    let overcommit = read_overcommit(proc).map_or("-", |mode| mode.name());
    for &pid in pids {
        let score = process::read_oom_score(proc, pid).map_or(UNKNOWN, i64::from);
        let adj = process::read_oom_score_adj(proc, pid).map_or(UNKNOWN, i64::from);
        let freeable_kib = process::read_status(proc, pid).map_or(UNKNOWN, |status| freeable_kib(&status));
        table.begin_row("");
        table.text(overcommit.as_bytes());
        table.number(pid.as_raw_pid().into());
        // Read last, so that one which has vanished meanwhile is told to have.
        match process::read_stat(proc, pid) {
            Ok(stat) => table.text(stat.comm.as_bytes()),
            Err(error) => {
                let is_gone = error == ReadError::Missing;
                table.text(if is_gone { "no such process" } else { error.reason() }.as_bytes());
                table.end_with(EXIT_FAILURE);
            }
        }
        table.number(score);
        table.number(adj);
        table.number(freeable_kib);
        table.end_row();
    }
    table.finish()
}

/// What its death would give back, shared memory left out; not known of kernel
/// threads, and before Linux 4.5.
fn freeable_kib(status: &Status) -> i64 {
    let swap_kib = status.swap_kib.unwrap_or(0);
    status.anon_kib.map_or(UNKNOWN, |anon_kib| anon_kib.saturating_add(swap_kib) as i64)
}
