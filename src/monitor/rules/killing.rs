//! From an action to the end of a cgroup.

use super::super::Monitor;
use super::{Engine, Role};
use crate::act::executor::FreeMemory;
use crate::act::executor::rules::Doomed;
use crate::choose::rules::forest::{Id, ROOT, Span};
use crate::choose::rules::walk::Question;
use crate::choose::whole::Whole;
use crate::config::rules::model::{Plugin, Resource};
use crate::config::rules::shelf::Shelf;
use crate::config::rules::words::{Key, Name};
use crate::decide::rules::chain::Outcome;
use crate::decide::rules::rank::Machine;
use crate::decide::rules::standing::PluginState;
use crate::decide::victim::{Candidate, VACANT};
use crate::read::kfile::had_shortage;
use crate::read::listing::list_processes;
use crate::read::process::{Identity, Pid, read_stat};
use crate::read::status::read_status;
use crate::sys::file::open;
use crate::sys::line::Line;
use crate::sys::time::{self, SECOND, realtime_s};
use crate::tell::rules as report;
use core::ops::ControlFlow;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;

/// Hooks may hold the kills of a chain up for as long as its set says, but no longer than
/// this: memory is short.
const MAX_HOLD_US: u64 = 60 * SECOND;

impl Engine<'_> {
    /// Opens a cgroup's directory once more, for as long as its kill takes.
    fn open_dir(&self, id: Id) -> Option<OwnedFd> {
        open(self.forest.dir(id)?, c".", OFlags::DIRECTORY).ok()
    }

    /// An action of this set has done something.
    pub(super) fn count_action(&mut self, set: usize) {
        self.has_acted = true;
        if let Some(state) = self.standing.sets.get_mut(set) {
            state.acted += 1;
            state.acted_s = realtime_s();
        }
    }
}

impl<'a> Monitor<'a> {
    #[inline(never)]
    pub(super) fn run_kill(
        &mut self,
        engine: &mut Engine<'a>,
        shelf: &Shelf<'_>,
        kill: &Plugin<'_>,
        span: Span,
        role: Role<'_>,
        state: &mut PluginState,
    ) -> Outcome {
        // It takes two ticks in a row to tell a rate.
        if kill.name == Name::KillByPgScan {
            let last = core::mem::replace(&mut state.tick, engine.forest.tick);
            if last + 1 < engine.forest.tick {
                return Outcome::Later;
            }
        }
        let is_dry = kill.flag(Key::Dry) || self.config.dry_run;
        let mem = engine.machine.mem(engine.forest.tree());
        let machine = Machine { memory: mem.mem_total_kib * 1024, swap: mem.swap_total_kib * 1024 };
        let Some(rank) = kill.rank() else { return Outcome::Continue };
        let ask = Question { kill, rank, settings: &shelf.settings, machine };
        engine.walk.begin(&mut engine.forest, &ask, span, &mut || self.breathe());
        loop {
            // Asked again and again, for memory is looked at meanwhile, and a kill may begin.
            if !is_dry && self.executor.is_killing() {
                engine.waits = true;
                return Outcome::Later;
            }
            let next = engine.walk.advance(&mut engine.forest, &ask, &mut || self.breathe());
            // For want of a descriptor, say, the worst may not have been seen: nobody else is
            // to die in its place.
            if had_shortage() {
                return Outcome::Later;
            }
            let Some(id) = next else { return Outcome::Continue };
            if id == ROOT {
                // Everybody is in there.
                report::root(self.log, role.active);
                continue;
            }
            if is_dry || self.strike_cgroup(engine, kill, id, span, role) {
                self.tell_kill(engine, id, kill.name.word(), is_dry, role);
                let delay_s = kill.post_action_delay_s();
                return if kill.flag(Key::AlwaysContinue) {
                    Outcome::Continue
                } else {
                    Outcome::Stop { delay_s }
                };
            }
        }
    }

    /// Begins to kill everybody in a cgroup, which is one of `span` or below one; false
    /// where nobody in it can be killed, or another kill has begun meanwhile.
    #[inline(never)]
    fn strike_cgroup(
        &mut self,
        engine: &mut Engine<'a>,
        kill: &Plugin<'_>,
        mut id: Id,
        span: Span,
        role: Role<'_>,
    ) -> bool {
        let proc = engine.forest.tree().proc.as_fd();
        // Who makes paths longer than can be told has the one above die.
        let whole = loop {
            if let Some(whole) = self.whole_of(engine, id) {
                break whole;
            }
            match engine.forest.parent_in_charge(id, span) {
                Some(parent) => id = parent,
                None => {
                    report::not_told(self.log, role.active);
                    return false;
                }
            }
        };
        if whole.is_ours {
            report::ours(self.log, role.active, whole.path());
            return false;
        }
        let all_us = (u64::from(role.active.set.prekill_hook_timeout_s) * SECOND).min(MAX_HOLD_US);
        let current = engine.forest.current(id).unwrap_or(0);
        let reaps = kill.flag(Key::ReapMemory);
        let mut after = 0;
        while let Some(victim) = self.find_member(proc, &whole, after, current) {
            after = victim.id.pid.as_raw_pid();
            let now_us = time::now_us();
            let before = match self.look(now_us) {
                Ok(judged) => FreeMemory::from(&judged.snapshot),
                Err(_) => FreeMemory::default(),
            };
            // Among the detectors there is no chain.
            let chain = engine.standing.chain(role.set, role.place).filter(|_| role.group.is_some());
            let hold_us = chain.map_or(all_us, |chain| chain.hold_us(all_us, now_us));
            let doomed = Doomed { whole, dir: engine.open_dir(id), reaps, hold_us };
            if self.executor.begin_cgroup(victim, doomed, before, now_us).is_err() {
                continue;
            }
            let event = self.executor.step(None, now_us);
            let _ = self.heed_event(event, now_us);
            return true;
        }
        false
    }

    /// The first process past `after` that is in a cgroup, by where everybody is: of cgroups
    /// below it there may be any number, however deep. `None` once another kill has begun.
    #[inline(never)]
    fn find_member(
        &mut self,
        proc: BorrowedFd<'_>,
        whole: &Whole,
        after: i32,
        current: u64,
    ) -> Option<Candidate> {
        let mut found = None;
        let _ = list_processes(proc, &mut |pid| {
            if pid.as_raw_pid() <= after {
                return ControlFlow::Continue(());
            }
            self.breathe();
            if self.executor.is_killing() {
                return ControlFlow::Break(());
            }
            found = candidate(proc, pid, whole, current);
            if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        found
    }

    /// A cgroup by its path, if that can be told.
    #[inline(never)]
    fn whole_of(&mut self, engine: &Engine<'a>, id: Id) -> Option<Whole> {
        let mut path = engine.prefix.clone();
        path.text("/");
        let is_told = engine.forest.push_path(id, &mut path);
        if !is_told {
            return None;
        }
        let proc = engine.forest.tree().proc.as_fd();
        self.scope.whole_at(proc, rustix::process::getpid(), path.as_bytes())
    }

    /// The line that programs read.
    #[inline(never)]
    fn tell_kill(&mut self, engine: &mut Engine<'a>, id: Id, killer: &[u8], is_dry: bool, role: Role<'_>) {
        let Role { active, group, .. } = role;
        let pressure = engine.forest.pressure(id, Resource::Memory).unwrap_or_default();
        let current = engine.forest.current(id).unwrap_or(0);
        let mut path = Line::default();
        if !engine.forest.push_path(id, &mut path) {
            path.text("...");
        }
        let group = group.and_then(|group| active.groups.get(usize::from(group)));
        let mut line = Line::default();
        report::push_kill(
            &mut line,
            &report::Killed {
                pressure: &pressure,
                path: path.as_bytes(),
                current,
                set: active.set.name,
                group: group.map_or(b"", |group| group.name),
                killer,
                is_dry,
            },
        );
        engine.count_action(role.set);
        self.tell_programs(engine, &line, role);
    }

    /// A line for programs: to our log, and always to the kernel's.
    pub(super) fn tell_programs(&mut self, engine: &Engine<'a>, line: &Line, role: Role<'_>) {
        if !role.active.set.silence.plugins || engine.kmsg.is_none() {
            report::line(self.log, line);
        }
        if let Some(kmsg) = &engine.kmsg {
            let mut out = Line::default();
            out.text("<4>oomd kill: ").bytes(line.as_bytes()).end_line();
            let _ = rustix::io::write(kmsg, out.as_bytes());
        }
    }
}

// Out of line, as is what tells of a kill, so that what they read is not on the stack of who
// begins it.
#[inline(never)]
fn candidate(proc: BorrowedFd<'_>, pid: Pid, whole: &Whole, current: u64) -> Option<Candidate> {
    let stat = read_stat(proc, pid).ok().filter(|stat| !stat.is_gone())?;
    if whole.has(proc, pid, stat.leader()) != Ok(true) {
        return None;
    }
    let uid = read_status(proc, pid).ok()?.uid;
    let id = Identity { pid, starttime: stat.starttime };
    Some(Candidate { id, job: stat.job_key(uid), freeable_kib: current / 1024, ..VACANT })
}
