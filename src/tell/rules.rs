//! What is told of rules while a guard runs them.

use super::log::Log;
use crate::config::rules::merge::Active;
use crate::config::rules::model::{Plugin, Rules};
use crate::config::rules::shelf::Shelf;
use crate::config::rules::teller::Severity;
use crate::decide::rules::chain::Outcome;
use crate::decide::rules::standing::SetState;
use crate::read::psi::PressureLine;
use crate::sys::line::{Line, lit, named};
use crate::sys::time::{SECOND, realtime_s};
use core::ffi::CStr;

/// What is wrong with a file.
pub fn file(log: &mut Log, severity: Severity, text: &Line) {
    let build = |line: &mut Line| _ = line.bytes(text.as_bytes());
    match severity {
        Severity::Warning => log.info(build),
        Severity::Error => log.warn(build),
    }
}

/// The rules were read again, and are others.
#[inline(never)]
pub fn reread(log: &mut Log, rules: &Rules<'_>) {
    log.info(|line| {
        line.bytes(lit!("the rules were read again: ")).escaped(rules.file);
        line.bytes(lit!(" has ")).number(rules.sets.len() as u64).bytes(lit!(" rule sets"));
    });
}

/// What was dropped in has changed.
#[inline(never)]
pub fn changed(log: &mut Log, shelf: &Shelf<'_>) {
    log.info(|line| {
        line.bytes(lit!("what was dropped in beside the rules has changed; in force:"));
        shelf.for_each(&mut |active| {
            line.bytes(b" ").quoted(active.set.name);
            if let Some(tag) = active.tag {
                line.bytes(lit!(" by ")).escaped(tag);
            }
        });
    });
}

/// They are the same.
#[inline(never)]
pub fn same(log: &mut Log) {
    log.info(|line| _ = line.bytes(lit!("the rules were read again, and are the same")));
}

/// They cannot be used.
#[inline(never)]
pub fn kept(log: &mut Log) {
    log.warn(|line| _ = line.bytes(lit!("the new rules cannot be used: those that were there stay")));
}

/// Cgroups were passed over.
#[inline(never)]
pub fn passed_over(log: &mut Log, count: u64) {
    log.warn(|line| {
        line.bytes(lit!("rules: there are more cgroups than are looked at; passed over with less memory: "));
        line.number(count);
    });
}

fn push_set(line: &mut Line, active: &Active<'_>) {
    line.bytes(lit!("rule set ")).quoted(active.set.name);
    if let Some(tag) = active.tag {
        line.bytes(lit!(" by ")).escaped(tag);
    }
    line.bytes(b": ");
}

fn tell(log: &mut Log, active: &Active<'_>, text: &[u8]) {
    log.warn(|line| {
        push_set(line, active);
        line.bytes(text);
    });
}

/// A group of detectors has fired.
#[inline(never)]
pub fn fired(log: &mut Log, active: &Active<'_>, group: u16) {
    log.info(|line| {
        push_set(line, active);
        if let Some(group) = active.groups.get(usize::from(group)) {
            line.quoted(group.name);
        }
        line.bytes(lit!(" has fired"));
    });
}

/// What an action has returned.
#[inline(never)]
pub fn acted(log: &mut Log, active: &Active<'_>, action: &Plugin<'_>, outcome: Outcome) {
    log.info(|line| {
        push_set(line, active);
        line.bytes(action.name.word());
        line.bytes(match outcome {
            Outcome::Continue => lit!(" goes on"),
            Outcome::Stop { .. } => lit!(" is the end of it"),
            Outcome::Later => lit!(" is not over yet"),
        });
    });
}

/// The largest of the cgroups that were compared.
#[inline(never)]
pub fn largest(log: &mut Log, active: &Active<'_>, bytes: u64) {
    log.info(|line| {
        push_set(line, active);
        line.bytes(lit!("the largest has ")).number(bytes).bytes(lit!(" bytes"));
    });
}

/// How many of a cgroup's are dying.
#[inline(never)]
pub fn dying(log: &mut Log, active: &Active<'_>, count: u64) {
    log.info(|line| {
        push_set(line, active);
        line.bytes(lit!("dying descendants: ")).number(count);
    });
}

/// A cgroup at a glance.
#[inline(never)]
pub fn overview(log: &mut Log, path: &[u8], current: u64, pressure: &PressureLine) {
    log.info(|line| {
        line.bytes(lit!("cgroup ")).quoted(path).bytes(b": ").size(current / 1024);
        line.bytes(lit!(", full pressure "));
        for (at, share_bp) in
            [pressure.avg10_bp, pressure.avg60_bp, pressure.avg300_bp].into_iter().enumerate()
        {
            line.bytes(if at > 0 { b" " } else { b"" }).percent(share_bp.into());
        }
    });
}

/// A program would be run.
#[inline(never)]
pub fn would_run(log: &mut Log, active: &Active<'_>, program: &[u8]) {
    log.warn(|line| {
        push_set(line, active);
        line.bytes(lit!("would run ")).escaped(program.strip_suffix(b"\0").unwrap_or(program));
    });
}

/// A cgroup would be sized.
#[inline(never)]
pub fn would_size(log: &mut Log, active: &Active<'_>, file: &CStr, bytes: u64) {
    log.info(|line| {
        push_set(line, active);
        line.bytes(lit!("would write ")).number(bytes).bytes(lit!(" to ")).bytes(file.to_bytes());
    });
}

/// What is told of a cgroup that was killed.
#[derive(Clone, Copy, Debug)]
pub struct Killed<'k> {
    /// Its full pressure on memory.
    pub pressure: &'k PressureLine,
    /// Its path below the root.
    pub path: &'k [u8],
    /// What it had, in bytes.
    pub current: u64,
    /// The rule set, the group that fired, and the action.
    pub set: &'k [u8],
    /// The group that fired.
    pub group: &'k [u8],
    /// The action.
    pub killer: &'k [u8],
    /// It was not killed in truth.
    pub is_dry: bool,
}

/// Appends the line that programs read, as oomd writes it.
#[inline(never)]
pub fn push_kill(line: &mut Line, killed: &Killed<'_>) {
    let Killed { pressure, path, current, set, group, killer, is_dry } = *killed;
    for share_bp in [pressure.avg10_bp, pressure.avg60_bp, pressure.avg300_bp] {
        line.number((share_bp / 100).into()).text(".");
        line.number((share_bp / 10 % 10).into()).number((share_bp % 10).into()).text(" ");
    }
    // A backslash is part of many names, and programs know it as it is.
    for part in path.chunk_by(|a, b| (*a == b'\\') == (*b == b'\\')) {
        if part.first() == Some(&b'\\') {
            line.bytes(part)
        } else {
            line.escaped(part)
        };
    }
    line.text(" ")
        .number(current)
        .text(named!(" ruleset:["))
        .escaped(set)
        .text(named!("] detectorgroup:["))
        .escaped(group);
    line.text(named!("] killer:")).text(if is_dry { "(dry)" } else { "" }).bytes(killer).text(" v2");
}

/// The machine is crashed.
#[inline(never)]
pub fn crash(log: &mut Log, active: &Active<'_>, is_dry: bool) {
    tell(log, active, if is_dry { lit!("would crash the machine") } else { lit!("crashes the machine") });
}

/// The root is not killed.
#[inline(never)]
pub fn root(log: &mut Log, active: &Active<'_>) {
    tell(log, active, lit!("the root is not killed, for everybody is in it"));
}

/// A cgroup whose path cannot be told is not killed.
#[inline(never)]
pub fn not_told(log: &mut Log, active: &Active<'_>) {
    tell(log, active, lit!("the path of the cgroup cannot be told; it is not killed"));
}

/// Ours is not killed.
#[inline(never)]
pub fn ours(log: &mut Log, active: &Active<'_>, path: &[u8]) {
    log.warn(|line| {
        push_set(line, active);
        line.bytes(lit!("not killed, for bustd or process 1 is in it: ")).escaped(path);
    });
}

/// A line as it is.
#[inline(never)]
pub fn line(log: &mut Log, text: &Line) {
    log.warn(|line| _ = line.bytes(text.as_bytes()));
}

/// How far a rule set is.
pub fn standing(log: &mut Log, active: &Active<'_>, state: &SetState, is_suspended: bool, rest_us: u64) {
    log.info(|line| {
        push_set(line, active);
        line.bytes(lit!("fired ")).number(state.fired).bytes(lit!(" times, acted ")).number(state.acted);
        if state.acted_s > 0 {
            let ago_s = realtime_s().saturating_sub(state.acted_s);
            line.bytes(lit!(", last ")).number(ago_s).bytes(lit!(" s ago"));
        }
        if is_suspended {
            line.bytes(lit!("; waits for an action to end"));
        } else if rest_us > 0 {
            line.bytes(lit!("; rests for ")).number(rest_us.div_ceil(SECOND)).bytes(lit!(" s more"));
        }
    });
}

/// What programs may want to know of a rule set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// How often it fired.
    Fired,
    /// How often it acted.
    Acted,
    /// When it acted last.
    Last,
}

impl Figure {
    /// What stands before the lines of all sets.
    pub fn head(self) -> &'static str {
        match self {
            Self::Fired => named!(FIRED),
            Self::Acted => named!(ACTED),
            Self::Last => named!(LAST),
        }
    }
}

const FIRED: &str = "\
# HELP bustd_ruleset_fired_total How often a rule set has fired.
# TYPE bustd_ruleset_fired_total counter
";

const ACTED: &str = "\
# HELP bustd_ruleset_actions_total How often one of its actions has done something.
# TYPE bustd_ruleset_actions_total counter
";

const LAST: &str = "\
# HELP bustd_ruleset_last_action_timestamp_seconds When that was last, or 0.
# TYPE bustd_ruleset_last_action_timestamp_seconds gauge
";

/// Appends the line of one rule set, before which there were so many of the same names.
pub fn push_figure(line: &mut Line, figure: Figure, active: &Active<'_>, state: &SetState, alike: u64) {
    let (name, number) = match figure {
        Figure::Fired => (lit!("bustd_ruleset_fired_total"), state.fired),
        Figure::Acted => (lit!("bustd_ruleset_actions_total"), state.acted),
        Figure::Last => (lit!("bustd_ruleset_last_action_timestamp_seconds"), state.acted_s),
    };
    // As in the stats of kills, a backslash takes two.
    line.bytes(name).bytes(lit!("{ruleset=\"")).escaped_as(active.set.name, "\\\\x");
    if let Some(tag) = active.tag {
        line.bytes(lit!("\",drop_in=\"")).escaped_as(tag, "\\\\x");
    }
    // Who reads them refuses a file in which two lines have the same labels.
    if alike > 0 {
        line.bytes(lit!("\",again=\"")).number(alike);
    }
    line.bytes(lit!("\"} ")).number(number).text("\n");
}
