//! What each plugin says or does.

use super::super::Monitor;
use super::{Engine, GENERATIONS, PLUGIN_BITS, Role};
use crate::choose::rules::forest::{Forest, Id, Span};
use crate::config::rules::merge::Active;
use crate::config::rules::model::{Amount, Plugin, Resource};
use crate::config::rules::shelf::Shelf;
use crate::config::rules::words::{Key, Name};
use crate::decide::rules::chain::Outcome;
use crate::decide::rules::detector::{self, Past, worse};
use crate::decide::rules::standing::{PluginState, Run};
use crate::read::psi::PressureLine;
use crate::sys::line::{Joined, Line};
use crate::sys::time::SECOND;
use crate::tell::rules as report;

/// Yes or no.
fn say(holds: bool) -> Outcome {
    if holds { Outcome::Continue } else { Outcome::Stop { delay_s: None } }
}

/// What a detector has found so far in the cgroups that it looks at.
#[derive(Default)]
struct Found {
    /// The pressure that weighs most.
    worst: PressureLine,
    /// The most that one of them has, in bytes.
    largest: u64,
    /// Pages scanned for all of them.
    sum: u64,
    /// Is any as is asked?
    has_any: bool,
}

/// What memory_above compares with.
fn threshold_of(plugin: &Plugin<'_>) -> Key {
    match plugin.is_given(Key::ThresholdAnon) {
        true => Key::ThresholdAnon,
        false => Key::ThresholdAmount,
    }
}

/// What systemd_restart runs; each ends with a NUL. It only asks for the restart.
const SYSTEMCTL: [&[u8]; 4] = [b"/usr/bin/systemctl\0", b"--no-block\0", b"restart\0", b"--\0"];
const SYSTEMCTL_US: u64 = 10 * SECOND;

impl<'a> Monitor<'a> {
    /// Asks a detector, or does what an action says.
    // Out of line: it is called for either.
    #[inline(never)]
    pub(super) fn run_plugin(
        &mut self,
        engine: &mut Engine<'a>,
        shelf: &Shelf<'_>,
        plugin: &Plugin<'_>,
        role: Role<'_>,
    ) -> Outcome {
        let now_us = role.now_us;
        let span = match plugin.name {
            Name::Continue => return Outcome::Continue,
            Name::Stop => return say(false),
            Name::SwapFree => {
                let threshold_pct = plugin.int(Key::ThresholdPct);
                let swapout_bps_threshold = plugin.number(Key::SwapoutBpsThreshold);
                let tree = engine.forest.tree();
                let is_asked = swapout_bps_threshold > 0;
                let rate_bps = if is_asked { engine.machine.swapout_bps(tree, now_us) } else { 0 };
                let mem = engine.machine.mem(tree);
                let (total, used) = (mem.swap_total_kib, mem.swap_used_kib());
                return say(detector::swap_free(total, used, threshold_pct, rate_bps, swapout_bps_threshold));
            }
            Name::Exec => return self.run_exec(engine, plugin, role),
            Name::SystemdRestart => return self.restart_unit(engine, plugin, role),
            Name::KernelPanic => return self.crash(role),
            _ => engine.forest.find_all(&plugin.cgroups, role.instance, &mut || self.breathe()),
        };
        let mut state = PluginState::default();
        if let Some(remembered) = engine.standing.plugin(role.set, role.place, role.plugin) {
            state = *remembered;
        }
        let outcome = match plugin.name {
            name if name.is_kill() => self.run_kill(engine, shelf, plugin, span, role, &mut state),
            Name::Senpai => self.run_senpai(engine, plugin, span, role),
            _ => say(self.holds(engine, plugin, span, role, &mut state.past)),
        };
        if let Some(remembered) = engine.standing.plugin(role.set, role.place, role.plugin) {
            *remembered = state;
        }
        outcome
    }

    /// Does a detector hold that looks at cgroups?
    #[inline(never)]
    fn holds(
        &mut self,
        engine: &mut Engine<'a>,
        plugin: &Plugin<'_>,
        span: Span,
        role: Role<'_>,
        past: &mut Past,
    ) -> bool {
        let mut found = Found::default();
        for at in 0..span.len() {
            self.breathe();
            let id = engine.forest.at(span, at);
            self.find_out(&mut engine.forest, plugin, id, role.active, &mut found);
        }
        let now_us = role.now_us;
        let threshold_pct = plugin.int(Key::Threshold);
        let duration_s = plugin.int(Key::Duration);
        match plugin.name {
            Name::PressureAbove => {
                detector::pressure_above(past, &found.worst, threshold_pct, duration_s, now_us)
            }
            Name::PressureRisingBeyond => {
                let (worst, ratio) = (&found.worst, plugin.ratio(Key::FastFallRatio));
                detector::pressure_rising_beyond(past, worst, threshold_pct, duration_s, ratio, now_us)
            }
            Name::MemoryAbove => {
                let threshold = plugin.amount(threshold_of(plugin));
                if plugin.flag(Key::Debug) && !role.active.set.silence.plugins {
                    report::largest(self.log, role.active, found.largest);
                }
                let total = match threshold {
                    Amount::Percent(_) => engine.machine.mem(engine.forest.tree()).mem_total_kib * 1024,
                    Amount::Bytes(_) => 0,
                };
                detector::memory_above(past, found.largest, threshold, total, duration_s, now_us)
            }
            Name::MemoryReclaim => detector::memory_reclaim(past, found.sum, duration_s, now_us),
            Name::Exists => span.is_empty() == plugin.flag(Key::Negate),
            Name::NrDyingDescendants => found.has_any != plugin.flag(Key::Negate),
            _ => true,
        }
    }

    /// Reads of one cgroup what a detector wants to know.
    #[inline(never)]
    fn find_out(
        &mut self,
        forest: &mut Forest<'_>,
        plugin: &Plugin<'_>,
        id: Id,
        active: &Active<'_>,
        found: &mut Found,
    ) {
        let may_log = !active.set.silence.plugins;
        match plugin.name {
            Name::PressureAbove | Name::PressureRisingBeyond => {
                found.worst = worse(found.worst, forest.pressure(id, plugin.resource()).unwrap_or_default());
            }
            Name::MemoryAbove => {
                let of_anon = threshold_of(plugin) == Key::ThresholdAnon;
                let has = if of_anon { forest.stat(id).anon } else { forest.current(id) };
                found.largest = found.largest.max(has.unwrap_or(0));
            }
            Name::MemoryReclaim => {
                found.sum = found.sum.saturating_add(forest.stat(id).pgscan.unwrap_or(0));
            }
            Name::NrDyingDescendants => {
                let (count, lte) = (plugin.unsigned(Key::Count).into(), plugin.flag(Key::Lte));
                // One that is going away tells nothing; that is not few.
                let Some(dying) = forest.dying(id) else { return };
                if may_log && plugin.flag(Key::Debug) {
                    report::dying(self.log, active, dying);
                }
                found.has_any |= detector::has_dying(dying, count, lte);
            }
            Name::DumpCgroupOverview => {
                let line = forest.pressure(id, Resource::Memory).unwrap_or_default();
                let is_pressed = line.avg10_bp >= 100 && line.avg60_bp > 0;
                if may_log && (is_pressed || plugin.flag(Key::Always)) {
                    let current = forest.current(id).unwrap_or(0);
                    let mut path = Line::default();
                    forest.push_path(id, &mut path);
                    report::overview(self.log, path.as_bytes(), current, &line);
                }
            }
            _ => {}
        }
    }

    /// Runs a program. A detector tells what the last run said, and runs it again; an action
    /// waits for its end.
    #[inline(never)]
    fn run_exec(&mut self, engine: &mut Engine<'a>, exec: &Plugin<'_>, role: Role<'_>) -> Outcome {
        let is_action = role.group.is_some();
        let delay_s = exec.post_action_delay_s();
        let done = |success: bool| match (is_action, success) {
            (false, success) => say(success),
            (true, true) if !exec.flag(Key::AlwaysContinue) => Outcome::Stop { delay_s },
            (true, _) => Outcome::Continue,
        };
        // A detector changes nothing, and a captured machine is none to run programs for.
        let is_dry = exec.flag(Key::Dry) || self.config.dry_run && (is_action || !engine.forest.tree().live);
        if is_dry {
            if is_action && !role.active.set.silence.plugins {
                let program = exec.words.first().copied().unwrap_or_default();
                report::would_run(self.log, role.active, program);
            }
            return done(is_action);
        }
        let timeout_us = u64::from(exec.timeout_ms()) * 1000;
        let outcome = self.run_program(engine, exec.words, timeout_us, role, &done);
        if is_action && matches!(outcome, Outcome::Stop { .. }) {
            engine.count_action(role.set);
        }
        outcome
    }

    /// The same for any program.
    fn run_program(
        &mut self,
        engine: &mut Engine<'a>,
        arguments: &[&[u8]],
        timeout_us: u64,
        role: Role<'_>,
        done: &dyn Fn(bool) -> Outcome,
    ) -> Outcome {
        let is_action = role.group.is_some();
        let number = engine.standing.number_of(role.set, role.place, role.plugin);
        let run = engine.standing.by_number(number).map_or(Run::None, |state| state.run);
        let outcome = match run {
            Run::Running if is_action => return Outcome::Later,
            // It has been running for more than a tick.
            Run::Running => return done(false),
            Run::Ended(success) => done(success),
            Run::None if is_action => Outcome::Later,
            Run::None => done(false),
        };
        let next = if is_action && run != Run::None {
            Run::None
        } else {
            match self.start_program(engine, number, arguments, timeout_us, role) {
                Ok(()) => Run::Running,
                // There is no place for it: a detector's answer stands, an action is asked
                // again.
                Err(_) => run,
            }
        };
        if let Some(state) = engine.standing.by_number(number) {
            state.run = next;
        }
        outcome
    }

    #[inline(never)]
    fn start_program(
        &mut self,
        engine: &mut Engine<'a>,
        number: u32,
        arguments: &[&[u8]],
        timeout_us: u64,
        role: Role<'_>,
    ) -> Result<(), rustix::io::Errno> {
        let set = Joined::new([b"BUSTD_RULESET=", role.active.set.name]);
        let group = role.group.and_then(|group| role.active.groups.get(usize::from(group)));
        let group = Joined::new([b"BUSTD_GROUP=", group.map_or(&b""[..], |group| group.name)]);
        let mut path = Line::default();
        path.text("BUSTD_CGROUP=");
        // Without its path it would be taken for the root.
        if role.instance.is_some_and(|instance| !engine.forest.push_path(instance, &mut path)) {
            return Err(rustix::io::Errno::NAMETOOLONG);
        }
        let variables = [set.as_cstr(), group.as_cstr(), path.as_cstr()];
        let number = (engine.generation % GENERATIONS) << PLUGIN_BITS | number;
        self.executor.start_program(number, arguments, &variables, timeout_us, role.now_us)
    }

    #[inline(never)]
    fn restart_unit(&mut self, engine: &mut Engine<'a>, plugin: &Plugin<'_>, role: Role<'_>) -> Outcome {
        let service = plugin.words.first().copied().unwrap_or_default();
        // The set's own comes behind it: whoever made that long wants few restarts.
        let delay_s = plugin.unsigned(Key::PostActionDelay);
        let delay_s = Some(delay_s.saturating_add(role.active.set.post_action_delay_s));
        let mut outcome = Outcome::Stop { delay_s };
        let is_dry = plugin.flag(Key::Dry) || self.config.dry_run;
        if !is_dry {
            let [program, no_block, restart, end] = SYSTEMCTL;
            let done = |success| if success { Outcome::Stop { delay_s } } else { Outcome::Continue };
            let arguments = [program, no_block, restart, end, service];
            outcome = self.run_program(engine, &arguments, SYSTEMCTL_US, role, &done);
        }
        if matches!(outcome, Outcome::Stop { .. }) {
            engine.count_action(role.set);
            let mut line = Line::default();
            let name = service.strip_suffix(b"\0").unwrap_or(service);
            line.text("restarted systemd service=").escaped(name);
            self.tell_programs(engine, line.text(if is_dry { " (dry)" } else { "" }), role);
        }
        outcome
    }

    /// Crashes the machine. That was allowed, or the file could not have been read.
    #[inline(never)]
    fn crash(&mut self, role: Role<'_>) -> Outcome {
        report::crash(self.log, role.active, self.config.dry_run);
        if self.config.dry_run || crate::act::panic::crash().is_ok() {
            return Outcome::Stop { delay_s: None };
        }
        Outcome::Continue
    }
}
