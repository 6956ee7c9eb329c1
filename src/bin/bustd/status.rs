//! `--status`: what a guard would see, how it would run, and whom it would
//! choose first.

use crate::cli::Options;
use crate::console::{EXIT_FAILURE, Table, UNKNOWN, fail, print};
use crate::daemon::{DEFAULT_PIDFILE, find_holder};
use crate::start::acquire;
use bustd::act::capability::Capabilities;
use bustd::decide::verdict::{Levels, Readings, nearest_rule};
use bustd::decide::victim::{ADJ_CAP, Candidate, Policy, Preference};
use bustd::monitor::{Monitor, Sight};
use bustd::read::kfile::Tree;
use bustd::read::psi::{Pressure, PressureLine, ShareBp, Stall};
use bustd::sys::line::Line;
use bustd::tell::log::{Log, Sink};
use core::ffi::{CStr, c_int};
use core::mem::ManuallyDrop;

/// How long pressure is watched for; the averages are the kernel's.
const WINDOW_US: u64 = 500_000;

/// How many candidates are shown.
const SHOWN: usize = 10;

/// What the names of the columns so far do not tell.
const LEGEND: &[u8] = b"\
SIGTERM at term, SIGKILL at kill, where memory and swap both are down to it;
to_*: how far to there. A stall counts while ram's avail is at most below.
";

/// Tells it all on standard output.
pub fn show(options: &Options, tree: &Tree) -> c_int {
    // It waits for no signal: any descriptor will do. Nothing is given back,
    // for we end.
    let mut log = Log::open(Sink::Stderr);
    let monitor = Monitor::new(tree, options.settings, acquire(tree), &tree.proc, &mut log);
    let mut monitor = ManuallyDrop::new(monitor);
    let Some(Sight { readings, levels }) = &mut monitor.examine(if tree.live { WINDOW_US } else { 0 }) else {
        fail(EXIT_FAILURE, "cannot read /proc/meminfo");
    };
    let table = &mut Table::new(options.json);
    put_memory(table, readings, levels);
    put_pressure(table, readings, levels, monitor.capabilities(), tree.live);
    if !options.json {
        table.end_with(print(LEGEND));
    }
    table.begin_table("plan", "nearest_rule$ trigger_ms can_lock? can_kill? can_free? daemon kills");
    table.begin_row("guard");
    table.text(nearest_rule(readings, levels).name().as_bytes());
    put_guard(table, monitor.capabilities(), options.pidfile.or(tree.live.then_some(DEFAULT_PIDFILE)));
    put_candidates(table, monitor.candidates(), &options.settings.policy);
    table.finish()
}

fn put_memory(table: &mut Table, readings: &Readings, levels: &Levels) {
    let columns = "total_kib free_kib avail_kib term_kib to_term_kib kill_kib to_kill_kib";
    let Readings { mem, swap_free_kib, .. } = readings;
    table.begin_table("memory", columns);
    table.begin_row("ram");
    table.number(mem.mem_total_kib as i64);
    table.number(mem.mem_free_kib as i64);
    table.number(mem.mem_available_kib as i64);
    table.limit(mem.mem_available_kib, levels.mem_term_kib);
    table.limit(mem.mem_available_kib, levels.mem_kill_kib);
    table.end_row();
    table.begin_row("swap");
    table.number(mem.swap_total_kib as i64);
    table.number(mem.swap_free_kib as i64);
    table.number(*swap_free_kib as i64);
    table.limit(*swap_free_kib, levels.swap_term_kib);
    table.limit(*swap_free_kib, levels.swap_kill_kib);
    table.end_row();
}

/// Tells of pressure, and leaves in `readings` what a guard that had watched
/// for ten seconds would know.
fn put_pressure(
    table: &mut Table,
    readings: &mut Readings,
    levels: &Levels,
    capabilities: &Capabilities,
    is_live: bool,
) {
    table.begin_table("psi", "avg10_bp avg60_bp avg300_bp 500ms_bp limit_bp to_limit_bp below_kib");
    let own = readings.recent_stall.filter(|_| is_live);
    let read = capabilities.pressure.as_ref().ok().and_then(|file| file.read().ok());
    let Pressure { some, full } = &read.unwrap_or_default();
    readings.stall = read.map(|_| Stall { some_bp: some.avg10_bp, full_bp: full.avg10_bp });
    readings.recent_stall = own.or(readings.stall);
    let [own_some, own_full] = match own {
        Some(own) => [own.some_bp.into(), own.full_bp.into()],
        None => [UNKNOWN; 2],
    };
    let is_known = read.is_some();
    let now_bp = readings.recent_stall.unwrap_or_default().full_bp;
    put_stall(table, "some", is_known, some, own_some, some.avg10_bp, levels.psi_bp, levels.confirm_kib);
    put_stall(table, "full", is_known, full, own_full, now_bp, levels.psi_bp, levels.mem_kill_kib);
}

#[allow(clippy::too_many_arguments)]
fn put_stall(
    table: &mut Table,
    name: &str,
    is_known: bool,
    line: &PressureLine,
    own_bp: i64,
    now_bp: ShareBp,
    limit_bp: ShareBp,
    below_kib: u64,
) {
    table.begin_row(name);
    for average_bp in [line.avg10_bp, line.avg60_bp, line.avg300_bp] {
        table.number(if is_known { average_bp.into() } else { UNKNOWN });
    }
    table.number(own_bp);
    table.number(limit_bp.into());
    table.number(limit_bp.saturating_sub(now_bp).into());
    table.number(below_kib as i64);
    table.end_row();
}

/// What a guard would have, and the one that is running.
fn put_guard(table: &mut Table, capabilities: &Capabilities, pidfile: Option<&CStr>) {
    table.number(match &capabilities.trigger {
        Ok(trigger) => trigger.window_ms.into(),
        Err(_) => UNKNOWN,
    });
    table.number(capabilities.lock.is_ok().into());
    table.number(capabilities.only_uid.is_none().into());
    table.number(capabilities.release.into());
    if let Some(holder) = pidfile.and_then(find_holder) {
        table.number(holder.pid.into());
        table.number(holder.at as i64);
    } else {
        table.number(UNKNOWN);
        table.number(UNKNOWN);
    }
    table.end_row();
}

fn put_candidates(table: &mut Table, candidates: &[Candidate], policy: &Policy<'_>) {
    table.begin_table("candidates", "pid uid freeable_kib score_kib adj comm$ why~");
    for (place, candidate) in candidates.iter().take(SHOWN).enumerate() {
        table.begin_row("");
        table.number(candidate.id.pid.as_raw_pid().into());
        table.number(candidate.uid.into());
        table.number(candidate.freeable_kib as i64);
        table.number(candidate.score_kib);
        table.number(candidate.oom_score_adj.into());
        table.text(candidate.job.comm.as_bytes());
        let why = &mut Line::default();
        push_why(why, candidate, policy.preference(&candidate.job.comm), candidates.get(place + 1));
        table.text(why.as_bytes());
        table.end_row();
    }
}

/// How the score follows from the stake, and what puts it before the next one
/// of the same score.
fn push_why(why: &mut Line, candidate: &Candidate, preference: Preference, next: Option<&Candidate>) {
    let adj = candidate.oom_score_adj;
    why.text("stake").text(match preference {
        Preference::Preferred => " x4",
        Preference::Avoided => " /4",
        Preference::Ordinary | Preference::Unkillable => "",
    });
    if adj != 0 {
        let of_ram = adj < 0;
        why.text(if of_ram { " -" } else { " +" });
        why.percent(u64::from(adj.min(ADJ_CAP).unsigned_abs()) * 10).text(if of_ram { " RAM" } else { "" });
    }
    if next.is_some_and(|next| {
        (next.score_kib, next.freeable_kib) == (candidate.score_kib, candidate.freeable_kib)
    }) {
        why.text(", younger");
    }
}
