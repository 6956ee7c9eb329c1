//! `--status`: what a guard would see, how it would run, and whom it would
//! choose first.

use crate::cli::Options;
use crate::daemon::{DEFAULT_PIDFILE, find_holder};
use crate::page::{Page, UNKNOWN};
use crate::{EXIT_FAILURE, acquire, fail, print};
use bustd::capability::Capabilities;
use bustd::kfile::Tree;
use bustd::line::Line;
use bustd::log::{Log, Sink};
use bustd::monitor::{Monitor, Seen};
use bustd::psi::{Pressure, PressureLine, ShareBp, Stall};
use bustd::verdict::{Levels, Readings, nearest_rule};
use bustd::victim::{ADJ_CAP, Candidate, Policy, Standing};
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
#[cold]
#[inline(never)]
pub fn show(options: &Options, tree: &Tree) -> c_int {
    // It waits for no signal: any descriptor will do. Nothing is given back,
    // for we end.
    let mut log = Log::open(Sink::Stderr);
    let monitor = Monitor::new(tree, options.settings, acquire(tree), &tree.proc, &mut log);
    let mut monitor = ManuallyDrop::new(monitor);
    let Some(Seen { readings, levels }) = &mut monitor.examine(if tree.live { WINDOW_US } else { 0 }) else {
        fail(EXIT_FAILURE, "cannot read /proc/meminfo");
    };
    let page = &mut Page::new(options.json);
    put_memory(page, readings, levels);
    put_pressure(page, readings, levels, monitor.capabilities(), tree.live);
    if !options.json {
        page.end_with(print(LEGEND));
    }
    page.begin_table("plan", "nearest_rule$ trigger_ms can_lock? can_kill? can_free? daemon kills");
    page.begin_row("guard");
    page.text(nearest_rule(readings, levels).name().as_bytes());
    put_guard(page, monitor.capabilities(), options.pidfile.or(tree.live.then_some(DEFAULT_PIDFILE)));
    put_candidates(page, monitor.candidates(), &options.settings.policy);
    page.finish()
}

#[inline(never)]
#[cold]
fn put_memory(page: &mut Page, readings: &Readings, levels: &Levels) {
    let columns = "total_kib free_kib avail_kib term_kib to_term_kib kill_kib to_kill_kib";
    let Readings { mem, swap_free_kib, .. } = readings;
    page.begin_table("memory", columns);
    page.begin_row("ram");
    page.number(mem.mem_total_kib as i64);
    page.number(mem.mem_free_kib as i64);
    page.number(mem.mem_available_kib as i64);
    page.limit(mem.mem_available_kib, levels.mem_term_kib);
    page.limit(mem.mem_available_kib, levels.mem_kill_kib);
    page.end_row();
    page.begin_row("swap");
    page.number(mem.swap_total_kib as i64);
    page.number(mem.swap_free_kib as i64);
    page.number(*swap_free_kib as i64);
    page.limit(*swap_free_kib, levels.swap_term_kib);
    page.limit(*swap_free_kib, levels.swap_kill_kib);
    page.end_row();
}

/// Tells of pressure, and leaves in `readings` what a guard that had watched
/// for ten seconds would know.
#[inline(never)]
#[cold]
fn put_pressure(
    page: &mut Page,
    readings: &mut Readings,
    levels: &Levels,
    capabilities: &Capabilities,
    is_live: bool,
) {
    page.begin_table("psi", "avg10_bp avg60_bp avg300_bp 500ms_bp limit_bp to_limit_bp below_kib");
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
    put_stall(page, "some", is_known, some, own_some, some.avg10_bp, levels.psi_bp, levels.confirm_kib);
    put_stall(page, "full", is_known, full, own_full, now_bp, levels.psi_bp, levels.mem_kill_kib);
}

#[allow(clippy::too_many_arguments)]
#[inline(never)]
#[cold]
fn put_stall(
    page: &mut Page,
    name: &str,
    is_known: bool,
    line: &PressureLine,
    own_bp: i64,
    now_bp: ShareBp,
    limit_bp: ShareBp,
    below_kib: u64,
) {
    page.begin_row(name);
    for average_bp in [line.avg10_bp, line.avg60_bp, line.avg300_bp] {
        page.number(if is_known { average_bp.into() } else { UNKNOWN });
    }
    page.number(own_bp);
    page.number(limit_bp.into());
    page.number(limit_bp.saturating_sub(now_bp).into());
    page.number(below_kib as i64);
    page.end_row();
}

/// What a guard would have, and the one that is running.
#[inline(never)]
#[cold]
fn put_guard(page: &mut Page, capabilities: &Capabilities, pidfile: Option<&CStr>) {
    page.number(match &capabilities.trigger {
        Ok(trigger) => trigger.window_ms.into(),
        Err(_) => UNKNOWN,
    });
    page.number(capabilities.lock.is_ok().into());
    page.number(capabilities.only_uid.is_none().into());
    page.number(capabilities.release.into());
    if let Some(holder) = pidfile.and_then(find_holder) {
        page.number(holder.pid.into());
        page.number(holder.at as i64);
    } else {
        page.number(UNKNOWN);
        page.number(UNKNOWN);
    }
    page.end_row();
}

#[inline(never)]
#[cold]
fn put_candidates(page: &mut Page, candidates: &[Candidate], policy: &Policy<'_>) {
    page.begin_table("candidates", "pid uid stake_kib score_kib adj comm$ why~");
    for (place, candidate) in candidates.iter().take(SHOWN).enumerate() {
        page.begin_row("");
        page.number(candidate.id.pid.as_raw_pid().into());
        page.number(candidate.uid.into());
        page.number(candidate.stake_kib as i64);
        page.number(candidate.score_kib);
        page.number(candidate.oom_score_adj.into());
        page.text(candidate.kind.comm.as_bytes());
        let why = &mut Line::default();
        push_why(why, candidate, policy.standing(&candidate.kind.comm), candidates.get(place + 1));
        page.text(why.as_bytes());
        page.end_row();
    }
}

/// How the score follows from the stake, and what puts it before the next one
/// of the same score.
#[cold]
fn push_why(why: &mut Line, candidate: &Candidate, standing: Standing, next: Option<&Candidate>) {
    let adj = candidate.oom_score_adj;
    why.text("stake").text(match standing {
        Standing::Preferred => " x4",
        Standing::Avoided => " /4",
        Standing::Ordinary | Standing::Unkillable => "",
    });
    if adj != 0 {
        let of_ram = adj < 0;
        why.text(if of_ram { " -" } else { " +" });
        why.percent(u64::from(adj.min(ADJ_CAP).unsigned_abs()) * 10).text(if of_ram { " RAM" } else { "" });
    }
    if next.is_some_and(|next| (next.score_kib, next.stake_kib) == (candidate.score_kib, candidate.stake_kib))
    {
        why.text(", younger");
    }
}
