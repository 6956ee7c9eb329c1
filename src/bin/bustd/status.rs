//! `--status`: what a guard would see, how it would run, and whom it would
//! choose first. A question: it changes nothing.

use crate::cli::Options;
use crate::console::{Column, Console, EXIT_FAILURE, Kind, Table, Value, column, fail, fail_because};
use crate::daemon::{DEFAULT_PIDFILE, find_holder};
use bustd::act::capability::Prospects;
use bustd::choose::observer::{Observer, StallSource};
use bustd::choose::selector::Selector;
use bustd::config::policy::Preference;
use bustd::decide::levels::Levels;
use bustd::decide::snapshot::Snapshot;
use bustd::decide::verdict::nearest_rule;
use bustd::decide::victim::{ADJ_CAP, Candidate};
use bustd::read::kfile::Tree;
use bustd::read::psi::{Pressure, PressureLine, ShareBp, Stall};
use bustd::sys::child::Environment;
use bustd::sys::line::Line;
use bustd::sys::time::{now_us, pause};
use core::ffi::{CStr, c_int};
use rustix::process::getpid;

/// How long pressure is watched for; the averages are the kernel's.
const WINDOW_US: u64 = 500_000;

/// How many candidates are shown.
const SHOWN: usize = 10;

static MEMORY_COLUMNS: [Column; 7] = [
    column("total", Kind::Size),
    column("free", Kind::Size),
    column("avail", Kind::Size),
    column("term", Kind::Size),
    column("to_term", Kind::Size),
    column("kill", Kind::Size),
    column("to_kill", Kind::Size),
];

static MEMORY: Table = Table { title: "memory", is_list: false, columns: &MEMORY_COLUMNS };

static PRESSURE_COLUMNS: [Column; 7] = [
    column("avg10", Kind::Share),
    column("avg60", Kind::Share),
    column("avg300", Kind::Share),
    column("500ms", Kind::Share),
    column("limit", Kind::Share),
    column("to_limit", Kind::Share),
    column("below", Kind::Size),
];

static PRESSURE: Table = Table { title: "psi", is_list: false, columns: &PRESSURE_COLUMNS };

static PLAN_COLUMNS: [Column; 7] = [
    column("nearest_rule", Kind::Name),
    column("trigger_ms", Kind::Count),
    column("can_lock", Kind::Flag),
    column("can_kill", Kind::Flag),
    column("can_free", Kind::Flag),
    column("daemon", Kind::Count),
    column("kills", Kind::Count),
];

static PLAN: Table = Table { title: "plan", is_list: false, columns: &PLAN_COLUMNS };

static CANDIDATES_COLUMNS: [Column; 7] = [
    column("pid", Kind::Count),
    column("uid", Kind::Count),
    column("freeable", Kind::Size),
    column("score", Kind::Size),
    column("adj", Kind::Count),
    column("comm", Kind::Name),
    column("why", Kind::Rest),
];

static CANDIDATES: Table = Table { title: "candidates", is_list: true, columns: &CANDIDATES_COLUMNS };

/// What the names of the columns do not tell.
static LEGEND: [u8; 152] = *b"\
SIGTERM at term, SIGKILL at kill, where memory and swap are both down to it;
to_*: how far from there. Stalls count while available memory is <= below.
";

/// Tells it all on standard output.
// Out of line, so that the guard does not run below its stack.
#[inline(never)]
pub fn show(options: &Options, tree: &Tree, environment: Environment) -> c_int {
    let config = &options.config;
    let mut policy = config.policy;
    let prospects = if tree.live { Prospects::probe(tree) } else { Prospects::default() };
    policy.only_uid = prospects.only_uid;
    policy.believed = prospects.believed;
    let mut observer = Observer::new(tree, StallSource::Windows);
    let Some(mut snapshot) = look_twice(&mut observer, tree.live) else {
        fail(EXIT_FAILURE, "cannot read /proc/meminfo");
    };
    let levels = Levels::of(&config.limits, &snapshot);
    let mut selector = Selector::new(tree, policy, getpid(), observer.page_kib());
    if let Err(error) = selector.survey(&snapshot, now_us()) {
        fail_because(EXIT_FAILURE, "cannot look at the processes", error.reason());
    }

    let mut console = Console::new(options.json, environment);
    put_memory(&mut console, &snapshot, &levels);
    put_pressure(&mut console, &mut snapshot, &levels, observer.read_pressure(), tree.live);
    console.note(&LEGEND);
    let pidfile = options.pidfile.or(tree.live.then_some(DEFAULT_PIDFILE));
    put_plan(&mut console, nearest_rule(&snapshot, &levels).name(), &prospects, pidfile);
    put_candidates(&mut console, selector.candidates());
    console.finish()
}

/// Looks twice, so that there is a window of pressure, as a guard would see it
/// that has just started.
fn look_twice(observer: &mut Observer<'_>, is_live: bool) -> Option<Snapshot> {
    let _ = observer.read(now_us());
    if is_live {
        pause(WINDOW_US);
    }
    observer.read(now_us()).ok()
}

fn put_memory(console: &mut Console, snapshot: &Snapshot, levels: &Levels) {
    let Snapshot { mem, swap_free_kib, .. } = snapshot;
    let left = |now_kib: u64, limit_kib: u64| now_kib.saturating_sub(limit_kib);
    let ram = [
        mem.mem_total_kib,
        mem.mem_free_kib,
        mem.mem_available_kib,
        levels.mem_term_kib,
        left(mem.mem_available_kib, levels.mem_term_kib),
        levels.mem_kill_kib,
        left(mem.mem_available_kib, levels.mem_kill_kib),
    ];
    let swap = [
        mem.swap_total_kib,
        mem.swap_free_kib,
        *swap_free_kib,
        levels.swap_term_kib,
        left(*swap_free_kib, levels.swap_term_kib),
        levels.swap_kill_kib,
        left(*swap_free_kib, levels.swap_kill_kib),
    ];
    console.begin(&MEMORY);
    console.row(&MEMORY, "ram", &ram.map(Value::from));
    console.row(&MEMORY, "swap", &swap.map(Value::from));
}

/// Tells of pressure, and leaves in `snapshot` what a guard that had watched for
/// ten seconds would know.
fn put_pressure(
    console: &mut Console,
    snapshot: &mut Snapshot,
    levels: &Levels,
    pressure: Option<Pressure>,
    is_live: bool,
) {
    let own = snapshot.recent_stall.filter(|_| is_live);
    let average = pressure.map(|read| Stall { some_bp: read.some.avg10_bp, full_bp: read.full.avg10_bp });
    snapshot.stall = average;
    snapshot.recent_stall = own.or(average);
    let now = snapshot.recent_stall.map_or(0, |stall| stall.full_bp);
    let some = StallRow {
        line: pressure.map(|read| read.some),
        own_bp: own.map(|own| own.some_bp),
        now_bp: average.map_or(0, |stall| stall.some_bp),
        below_kib: levels.confirm_kib,
    };
    let full = StallRow {
        line: pressure.map(|read| read.full),
        own_bp: own.map(|own| own.full_bp),
        now_bp: now,
        below_kib: levels.mem_kill_kib,
    };
    console.begin(&PRESSURE);
    console.row(&PRESSURE, "some", &some.values(levels.psi_bp));
    console.row(&PRESSURE, "full", &full.values(levels.psi_bp));
}

/// One kind of stall.
struct StallRow {
    line: Option<PressureLine>,
    /// Over our own window.
    own_bp: Option<ShareBp>,
    /// What is held against the limit.
    now_bp: ShareBp,
    below_kib: u64,
}

impl StallRow {
    fn values(&self, limit_bp: ShareBp) -> [Value<'static>; 7] {
        [
            self.line.map(|line| line.avg10_bp).into(),
            self.line.map(|line| line.avg60_bp).into(),
            self.line.map(|line| line.avg300_bp).into(),
            self.own_bp.into(),
            limit_bp.into(),
            limit_bp.saturating_sub(self.now_bp).into(),
            self.below_kib.into(),
        ]
    }
}

/// What a guard would have, and the one that is running.
fn put_plan(console: &mut Console, nearest_rule: &str, prospects: &Prospects, pidfile: Option<&CStr>) {
    let holder = pidfile.and_then(find_holder);
    let values = [
        Value::Text(nearest_rule.as_bytes()),
        prospects.trigger_ms.into(),
        Value::Flag(prospects.can_lock),
        Value::Flag(prospects.only_uid.is_none()),
        Value::Flag(prospects.can_release),
        holder.map_or(Value::Unknown, |holder| Value::Number(holder.pid.into())),
        holder.map(|holder| holder.from).into(),
    ];
    console.begin(&PLAN);
    console.row(&PLAN, "guard", &values);
}

fn put_candidates(console: &mut Console, candidates: &[Candidate]) {
    console.begin(&CANDIDATES);
    for (place, candidate) in candidates.iter().take(SHOWN).enumerate() {
        let mut why = Line::default();
        push_why(&mut why, candidate, candidates.get(place + 1));
        let values = [
            Value::Number(candidate.id.pid.as_raw_pid().into()),
            candidate.job.uid.into(),
            candidate.freeable_kib.into(),
            Value::Number(candidate.score_kib),
            Value::Number(candidate.oom_score_adj.into()),
            Value::Text(candidate.job.comm.as_bytes()),
            Value::Text(why.as_bytes()),
        ];
        console.row(&CANDIDATES, "", &values);
    }
}

/// How the score follows from freeable memory, and what puts it before the next
/// one of the same score.
fn push_why(why: &mut Line, candidate: &Candidate, next: Option<&Candidate>) {
    let adj = candidate.oom_score_adj;
    why.text("freeable").text(match candidate.preference {
        Preference::Preferred => " x4",
        Preference::Avoided => " /4",
        Preference::Ordinary | Preference::Unkillable => "",
    });
    if adj != 0 {
        let is_of_ram = adj < 0;
        why.text(if is_of_ram { " -" } else { " +" });
        why.percent(u64::from(adj.min(ADJ_CAP).unsigned_abs()) * 10);
        why.text(if is_of_ram { " RAM" } else { "" });
    }
    let is_equal = |next: &Candidate| {
        (next.score_kib, next.freeable_kib) == (candidate.score_kib, candidate.freeable_kib)
    };
    if next.is_some_and(is_equal) {
        why.text(", younger");
    }
}
