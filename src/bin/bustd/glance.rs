//! `--status` for people: how full memory and swap are and where the limits stand in
//! that, stalls, and the guard that runs.

use crate::console::Console;
use crate::pidfile::Running;
use bustd::choose::scope::Scope;
use bustd::decide::levels::Levels;
use bustd::decide::snapshot::Snapshot;
use bustd::read::psi::ShareBp;
use bustd::sys::line::{Line, named};

/// How many cells a bar has. With names and sizes of any machine there are eighty
/// columns.
const CELLS: usize = 28;

/// A kind of memory, what is left of it, and at what the signals are sent.
struct Store {
    total_kib: u64,
    left_kib: u64,
    term_kib: u64,
    kill_kib: u64,
}

/// Memory and swap, a bar each.
pub fn put_memory(console: &mut Console, snapshot: &Snapshot, levels: &Levels) {
    let mem = &snapshot.mem;
    let ram = Store {
        total_kib: mem.total_kib(),
        left_kib: mem.mem_available_kib,
        term_kib: levels.mem_term_kib,
        kill_kib: levels.mem_kill_kib,
    };
    put_store(console, "memory", &ram, named!(" available"));
    let swap = Store {
        total_kib: mem.swap_total_kib,
        left_kib: snapshot.swap_free_kib,
        term_kib: levels.swap_term_kib,
        kill_kib: levels.swap_kill_kib,
    };
    if swap.total_kib > 0 {
        put_store(console, "swap", &swap, named!(" free"));
        console.entry("", |line| {
            line.text(named!("signals are sent where memory and swap are both so low"));
        });
    } else {
        console.entry("swap", |line| {
            line.text("none");
        });
    }
}

fn put_store(console: &mut Console, name: &str, store: &Store, what: &str) {
    console.entry(name, |line| {
        push_bar(line, store);
        line.text(" ").size(store.left_kib).text(what).text(" of ").size(store.total_kib);
    });
    console.entry("", |line| {
        line.text(named!("SIGTERM (T) at ")).size(store.term_kib);
        line.text(named!(", SIGKILL (K) at ")).size(store.kill_kib);
        let to_go_kib = store.left_kib.saturating_sub(store.term_kib);
        if to_go_kib > 0 {
            line.text("; ").size(to_go_kib).text(named!(" to go"));
        }
    });
}

/// What is used is filled from the left; T and K stand where that is at the limits.
fn push_bar(line: &mut Line, store: &Store) {
    let cell = |left_kib: u64| {
        let used_kib = store.total_kib.saturating_sub(left_kib);
        (used_kib.saturating_mul(CELLS as u64) / store.total_kib.max(1)) as usize
    };
    let filled = cell(store.left_kib);
    let kill = cell(store.kill_kib).min(CELLS - 1);
    // Beside each other at least, where each has a meaning of its own.
    let is_apart = store.term_kib > store.kill_kib;
    let term = cell(store.term_kib).min(if is_apart { kill.saturating_sub(1) } else { kill });
    line.text("[");
    for at in 0..CELLS {
        line.text(match at {
            _ if at == term => "T",
            _ if at == kill => "K",
            _ if at < filled => "#",
            _ => ".",
        });
    }
    line.text("]");
}

/// Which memory that is, where it is not the machine's: of which cgroup, and why.
pub fn put_scope(console: &mut Console, scope: &Scope<'_>) {
    scope.with_path(|path| {
        console.entry(named!("scope"), |line| {
            line.text(scope.name()).text(", ").text(scope.why().reason());
        });
        console.entry("", |line| {
            let mut escaped = Line::default();
            let escaped = escaped.escaped(path).as_bytes();
            line.bytes(&escaped[..escaped.len().min(PATH_WIDTH)]);
        });
    });
}

/// As much of a path as fits on a line.
const PATH_WIDTH: usize = 71;

/// A share of time that tasks have waited for memory, and its limit.
pub struct StallOf {
    /// In how much time.
    pub span: &'static str,
    /// `None` where the kernel does not tell.
    pub share_bp: Option<ShareBp>,
    pub limit_bp: ShareBp,
    /// Counts where so much is available, or less.
    pub below_kib: u64,
}

/// Stalls, some tasks' and all tasks'.
pub fn put_stalls(console: &mut Console, some: &StallOf, full: &StallOf) {
    for (name, who, stall) in [("stall", "some tasks ", some), ("", "all tasks ", full)] {
        console.entry(name, |line| {
            line.text(who);
            match stall.share_bp {
                Some(share_bp) => line.percent(share_bp.into()).text(" of ").text(stall.span),
                None => line.text(named!("not known")),
            };
            line.text(named!(", limit ")).percent(stall.limit_bp.into());
            line.text(named!(", counts at ")).size(stall.below_kib).text(named!(" available"));
        });
    }
}

/// The rule that is nearest to acting, and the guard that would.
pub fn put_guard(console: &mut Console, nearest_rule: &str, acts_now: bool, running: Option<&Running>) {
    console.entry(named!("nearest"), |line| {
        line.text(named!("rule ")).text(nearest_rule);
        line.text(if acts_now { named!(", a guard would act now") } else { "" });
    });
    console.entry(named!("guard"), |line| {
        let Some(running) = running else {
            line.text(named!("none holds a pidfile"));
            return;
        };
        if running.pid > 0 {
            line.text("pid ").signed(running.pid.into());
        } else {
            line.text(named!("outside of this pid namespace"));
        }
        match running.kills {
            Some(kills) => line.text(named!(", kills so far: ")).number(kills),
            None => line.text(named!(", without a pidfile")),
        };
    });
}
