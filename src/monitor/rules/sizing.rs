//! senpai: sizes cgroups, and kills nobody.

use super::super::Monitor;
use super::{Engine, Role};
use crate::choose::rules::forest::{ROOT, Span};
use crate::config::rules::model::Plugin;
use crate::config::rules::words::Key;
use crate::decide::rules::chain::Outcome;
use crate::decide::rules::senpai::{Machine, Step, step};
use crate::sys::line::Line;
use crate::sys::time::{MS, SECOND};
use crate::tell::rules as report;
use core::ffi::CStr;

/// A write that takes memory from a cgroup is ended after this unless the rule says
/// otherwise.
const WRITING_US: u64 = 5 * SECOND;

impl<'a> Monitor<'a> {
    #[inline(never)]
    pub(super) fn run_senpai(
        &mut self,
        engine: &mut Engine<'a>,
        args: &Plugin<'_>,
        span: Span,
        role: Role<'_>,
    ) -> Outcome {
        let now_us = role.now_us;
        let tree = engine.forest.tree();
        let machine = Machine {
            memory: engine.machine.mem(tree).mem_total_kib * 1024,
            swaps: engine.machine.swaps(tree),
            swapout_bps: engine.machine.swapout_bps(tree, now_us),
        };
        let swap_kib = engine.machine.mem(tree);
        for at in 0..span.len() {
            self.breathe();
            let id = engine.forest.at(span, at);
            if id == ROOT {
                continue;
            }
            let Some(figures) = engine.forest.senpai_figures(id, &swap_kib) else { continue };
            let mut past = engine.forest.senpai(id);
            let before = past;
            let done = match step(&mut past, args, &figures, &machine) {
                Step::Wait => true,
                // Giving back never waits.
                Step::Limit(limit) if limit >= figures.current => {
                    self.config.dry_run || engine.forest.set_high(id, limit).is_ok()
                }
                Step::Limit(limit) => self.start_taking(engine, id, c"memory.high", limit, args, role),
                Step::Reclaim(bytes) => self.start_taking(engine, id, c"memory.reclaim", bytes, args, role),
            };
            engine.forest.set_senpai(id, if done { past } else { before });
        }
        Outcome::Continue
    }

    /// Has a child take memory from a cgroup, for that can take long; false where there is
    /// no place for it now.
    fn start_taking(
        &mut self,
        engine: &mut Engine<'a>,
        id: crate::choose::rules::forest::Id,
        file: &CStr,
        bytes: u64,
        args: &Plugin<'_>,
        role: Role<'_>,
    ) -> bool {
        if self.config.dry_run {
            if !role.active.set.silence.plugins && self.config.verbose {
                report::would_size(self.log, role.active, file, bytes);
            }
            return true;
        }
        let mut text = Line::default();
        text.number(bytes);
        let timeout_us = match args.unsigned(Key::MemoryHighTimeoutMs) {
            0 => WRITING_US,
            ms => u64::from(ms) * MS,
        };
        let Some(dir) = engine.forest.dir(id) else { return false };
        self.executor.start_writing(dir, file, text.as_bytes(), timeout_us, role.now_us).is_ok()
    }
}
