//! `--status`: what a guard would see, how it would run, and whom it would
//! choose first. A question: it changes nothing.

use crate::again;
use crate::cli::Options;
use crate::console::{
    Column, Console, EXIT_FAILURE, Kind, Table, Value, column, fail, fail_because, has_screen,
};
use crate::glance::{self, StallOf};
use crate::pidfile::{Running, USUAL_PIDFILES, find_holder};
use crate::sole;
use bustd::act::capability::Prospects;
use bustd::choose::observer::{Observer, StallSource};
use bustd::choose::scope::Scope;
use bustd::choose::selector::Selector;
use bustd::config::policy::Preference;
use bustd::decide::levels::Levels;
use bustd::decide::snapshot::Snapshot;
use bustd::decide::verdict::{Verdict, decide, nearest_rule};
use bustd::decide::victim::{ADJ_CAP, Candidate};
use bustd::read::kfile::Tree;
use bustd::read::psi::{Pressure, PressureLine, ShareBp, Stall};
use bustd::sys::child::Environment;
use bustd::sys::line::{Line, named};
use bustd::sys::time::{now_us, pause};
use core::ffi::{CStr, c_int};
use rustix::process::getpid;

/// How long pressure is watched for; the averages are the kernel's.
const WINDOW_US: u64 = 500_000;

/// How many candidates are shown, so that all fits a screen of 24 lines.
const SHOWN: usize = 10;
/// The same where there is more to say of the scope.
const SHOWN_OF_CGROUP: usize = 8;

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

static SCOPE_COLUMNS: [Column; 2] = [column("guards", Kind::Name), column("why", Kind::Rest)];

static SCOPE: Table = Table { title: "scope", is_list: false, columns: &SCOPE_COLUMNS };

static CGROUP_COLUMNS: [Column; 1] = [column("path", Kind::Rest)];

/// Without headings, for it follows those of memory.
static CGROUP: Table = Table { title: "cgroup", is_list: false, columns: &CGROUP_COLUMNS };

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
static LEGEND: [u8; 78] = *b"\
SIGTERM at term, SIGKILL at kill, of both; stalls count while avail <= below.
";

/// Tells it all on standard output, with `--watch` again and again.
// Out of line, so that the guard does not run below its stack.
#[inline(never)]
pub fn show(options: &Options, tree: &Tree, scope: &Scope<'_>, environment: Environment) -> c_int {
    let Some(every_s) = options.watch_s else {
        return show_once(options, tree, scope, Console::new(options.json, environment));
    };
    let is_live = has_screen(environment) && !options.json;
    let shown_us = if tree.live { WINDOW_US } else { 0 };
    again::repeat(every_s, shown_us, is_live, &mut || {
        let console =
            if is_live { Console::live(environment) } else { Console::new(options.json, environment) };
        show_once(options, tree, scope, console)
    })
}

fn show_once(options: &Options, tree: &Tree, scope: &Scope<'_>, mut console: Console) -> c_int {
    let config = &options.config;
    let mut policy = config.policy;
    let prospects = if tree.live { Prospects::probe(tree, scope) } else { Prospects::default() };
    policy.only_uid = prospects.only_uid;
    policy.believed = prospects.believed;
    let mut observer = Observer::new(tree, scope, StallSource::Windows);
    let Some(mut snapshot) = look_twice(&mut observer, tree.live) else {
        fail(EXIT_FAILURE, "cannot read memory");
    };
    let levels = Levels::of(&config.limits, &snapshot);
    let mut selector = Selector::new(tree, scope, policy, getpid(), observer.page_kib());
    if let Err(error) = selector.survey(&snapshot, now_us()) {
        fail_because(EXIT_FAILURE, "cannot look at the processes", error.reason());
    }

    let stalls = stalls_of(&mut snapshot, &levels, observer.read_pressure(), tree.live);
    let running = find_guard(options.pidfile, tree, scope);
    let nearest_rule = nearest_rule(&snapshot, &levels).name();
    if options.json || config.verbose {
        put_memory(&mut console, &snapshot, &levels);
        put_scope(&mut console, scope);
        console.begin(&PRESSURE);
        console.row(&PRESSURE, "some", &stalls[0].values(levels.psi_bp));
        console.row(&PRESSURE, "full", &stalls[1].values(levels.psi_bp));
        console.note(&LEGEND);
        put_plan(&mut console, nearest_rule, &prospects, running.as_ref());
    } else {
        glance::put_memory(&mut console, &snapshot, &levels);
        glance::put_scope(&mut console, scope);
        let [some, full] = stalls.map(|stall| stall.at_a_glance(levels.psi_bp));
        glance::put_stalls(&mut console, &some, &full);
        let acts_now = matches!(decide(&snapshot, &levels), Verdict::Act(..));
        glance::put_guard(&mut console, nearest_rule, acts_now, running.as_ref());
    }
    let shown = if scope.is_machine() { SHOWN } else { SHOWN_OF_CGROUP };
    put_candidates(&mut console, selector.candidates(), shown);
    if let Some(uid) = prospects.only_uid {
        let mut line = Line::default();
        line.text(named!("without CAP_KILL only processes of uid ")).number(uid.into());
        line.text(named!(" can be killed")).end_line();
        console.note(line.as_bytes());
    }
    if selector.candidates().is_empty() {
        console.note(named!("nobody: no process that can be killed has enough to help\n").as_bytes());
    }
    #[cfg(feature = "rules")]
    if let Some(running) = &running {
        crate::standing::put(&mut console, options, tree, running.pid);
    }
    console.finish()
}

/// The guard that holds the pidfile that was named; else one of the usual ones, or none
/// and is our own user's.
fn find_guard(asked: Option<&CStr>, tree: &Tree, scope: &Scope<'_>) -> Option<Running> {
    let held = match asked {
        Some(path) => find_holder(path),
        None if tree.live => USUAL_PIDFILES.into_iter().find_map(find_holder),
        None => return None,
    };
    if let Some(held) = held {
        return Some(Running { pid: held.pid, kills: Some(held.from) });
    }
    let pid = asked.is_none().then(|| sole::find(tree, scope))??;
    Some(Running { pid: pid.as_raw_pid(), kills: None })
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

/// As much of a path as a line has room for, however it is escaped.
fn fitting(path: &[u8]) -> &[u8] {
    const ROOM: usize = 560;
    let mut left = ROOM;
    let fits = |byte: &&u8| {
        let is_plain = byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        let width = if is_plain { 1 } else { "\\u00ff".len() };
        let has_room = left >= width;
        left = left.saturating_sub(width);
        has_room
    };
    &path[..path.iter().take_while(fits).count()]
}

/// Which memory is guarded, and why. Of a cgroup its path and the file that sets its
/// limit.
fn put_scope(console: &mut Console, scope: &Scope<'_>) {
    let values = [Value::Text(scope.name().as_bytes()), Value::Text(scope.why().reason().as_bytes())];
    console.row(&SCOPE, "scope", &values);
    let mut file = Line::default();
    let has_limit = scope.push_limit_file(&mut file);
    let limit = if has_limit { Value::Text(fitting(file.as_bytes())) } else { Value::Unknown };
    scope.with_path(|path| {
        console.row(&CGROUP, "cgroup", &[Value::Text(fitting(path))]);
        console.row(&CGROUP, "limit", &[limit]);
    });
}

/// Stalls, some tasks' and all tasks'; leaves in `snapshot` what a guard that had
/// watched for ten seconds would know.
fn stalls_of(
    snapshot: &mut Snapshot,
    levels: &Levels,
    pressure: Option<Pressure>,
    is_live: bool,
) -> [StallRow; 2] {
    let own = snapshot.recent_stall.filter(|_| is_live);
    let average = pressure.map(|read| Stall { some_bp: read.some.avg10_bp, full_bp: read.full.avg10_bp });
    snapshot.stall = average;
    snapshot.recent_stall = own.or(average);
    let some = StallRow {
        line: pressure.map(|read| read.some),
        own_bp: own.map(|own| own.some_bp),
        now_bp: average.map(|stall| stall.some_bp),
        span: "10 s",
        below_kib: levels.confirm_kib,
    };
    let full = StallRow {
        line: pressure.map(|read| read.full),
        own_bp: own.map(|own| own.full_bp),
        now_bp: snapshot.recent_stall.map(|stall| stall.full_bp),
        span: if own.is_some() { "500 ms" } else { "10 s" },
        below_kib: levels.mem_kill_kib,
    };
    [some, full]
}

/// One kind of stall.
struct StallRow {
    line: Option<PressureLine>,
    /// Over our own window.
    own_bp: Option<ShareBp>,
    /// What is held against the limit, and of what span that is.
    now_bp: Option<ShareBp>,
    span: &'static str,
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
            limit_bp.saturating_sub(self.now_bp.unwrap_or(0)).into(),
            self.below_kib.into(),
        ]
    }

    fn at_a_glance(&self, limit_bp: ShareBp) -> StallOf {
        StallOf { span: self.span, share_bp: self.now_bp, limit_bp, below_kib: self.below_kib }
    }
}

/// What a guard would have, and the one that is running.
fn put_plan(console: &mut Console, nearest_rule: &str, prospects: &Prospects, running: Option<&Running>) {
    let values = [
        Value::Text(nearest_rule.as_bytes()),
        prospects.trigger_ms.into(),
        Value::Flag(prospects.can_lock),
        Value::Flag(prospects.only_uid.is_none()),
        Value::Flag(prospects.can_release),
        running.map_or(Value::Unknown, |running| Value::Number(running.pid.into())),
        running.and_then(|running| running.kills).into(),
    ];
    console.begin(&PLAN);
    console.row(&PLAN, "guard", &values);
}

fn put_candidates(console: &mut Console, candidates: &[Candidate], shown: usize) {
    console.begin(&CANDIDATES);
    for (place, candidate) in candidates.iter().take(shown).enumerate() {
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
    why.text(named!("freeable")).text(match candidate.preference {
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
        why.text(named!(", younger"));
    }
}
