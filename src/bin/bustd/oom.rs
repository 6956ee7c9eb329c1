//! `--oom`: what the kernel's own killer knows of single processes.

use crate::cli::Options;
use crate::console::{Column, Console, EXIT_FAILURE, Kind, Table, Value, column};
use bustd::read::kfile::{ReadError, Tree};
use bustd::read::memory::read_overcommit;
use bustd::read::process::{self, Pid};
use bustd::read::status::read_status;
use bustd::sys::child::Environment;
use core::ffi::c_int;
use rustix::fd::AsFd;

static STATES_COLUMNS: [Column; 6] = [
    column("overcommit", Kind::Name),
    column("pid", Kind::Count),
    column("comm", Kind::Name),
    column("oom_score", Kind::Count),
    column("oom_score_adj", Kind::Count),
    column("freeable", Kind::Size),
];

static STATES: Table = Table { title: "processes", is_list: true, columns: &STATES_COLUMNS };

/// Tells it on standard output, a row for each of `pids`.
// Out of line, so that the guard does not run below its stack.
#[inline(never)]
pub fn show(pids: &[Pid], options: &Options, tree: &Tree, environment: Environment) -> c_int {
    let mut console = Console::new(options.json, environment);
    console.begin(&STATES);
    let proc = tree.proc.as_fd();
    let overcommit = read_overcommit(proc).map_or("-", |mode| mode.name());
    for &pid in pids {
        let score = process::read_oom_score(proc, pid).ok();
        let adj = process::read_oom_score_adj(proc, pid).ok();
        let freeable_kib = read_status(proc, pid).ok().and_then(|status| status.freeable_kib());
        // Read last, so that one which has vanished meanwhile is told to have.
        let stat = process::read_stat(proc, pid);
        if stat.is_err() {
            console.end_with(EXIT_FAILURE);
        }
        let comm = match &stat {
            Ok(stat) => stat.comm.as_bytes(),
            Err(ReadError::Missing) => b"no such process",
            Err(error) => error.reason().as_bytes(),
        };
        let values = [
            Value::Text(overcommit.as_bytes()),
            Value::Number(pid.as_raw_pid().into()),
            Value::Text(comm),
            score.into(),
            adj.map_or(Value::Unknown, |adj| Value::Number(adj.into())),
            freeable_kib.into(),
        ];
        console.row(&STATES, "", &values);
    }
    console.finish()
}
