//! What the loop does for rules: a tick, in which every rule set is looked at. Whatever
//! takes long in it looks at memory in between.

use super::Monitor;
use crate::act::executor::Death;
use crate::act::hook::{Ended, Purpose};
use crate::choose::rules::forest::{Barren, Forest, Id, Span, open_hierarchy};
use crate::choose::rules::machine::Machine;
use crate::choose::rules::walk::Walk;
use crate::config::rules::load::Reloaded;
use crate::config::rules::merge::Active;
use crate::config::rules::model::Plugin;
use crate::config::rules::shelf::Shelf;
use crate::decide::rules::chain::Outcome;
use crate::decide::rules::standing::{MAX_INSTANCES, Run, Standing};
use crate::read::kfile::{Tree, forget_shortage, had_shortage};
use crate::sys::line::Line;
use crate::sys::table::Table;
use crate::sys::time::{MS, SECOND, now_us as read_clock};
use crate::tell::rules::{self as report, Figure};
use crate::tell::stats::Out;
use rustix::fd::OwnedFd;
use rustix::io::Errno;

/// What an action does to a cgroup.
mod killing;

/// What each plugin does.
mod plugins;

/// Sizing cgroups.
mod sizing;

/// Memory is looked at again after so much of a tick.
const PART_US: u64 = 10 * MS;

/// The clock is read once for so many steps, each of which takes some ten microseconds.
const STEPS: u32 = 64;

/// How much of the stack a step takes where there are rules.
pub(super) const RULES_STACK: usize = 12_288;

/// Rules, how far they are, and when they are looked at next.
#[derive(Debug)]
pub(super) struct Ruled<'a> {
    pub(super) shelf: Shelf<'a>,
    due_us: u64,
    pub(super) engine: Engine<'a>,
}

/// What runs them.
#[derive(Debug)]
pub(super) struct Engine<'a> {
    forest: Forest<'a>,
    walk: Walk,
    machine: Machine,
    pub(super) standing: Standing,
    /// How often other rules came into force: programs of rules before are nobody's.
    generation: u32,
    /// An action has done something since that was told last.
    has_acted: bool,
    /// An action waits for a kill to be over.
    waits: bool,
    /// How many cgroups were passed over in the last tick, as far as that was told.
    told_passed_over: bool,
    /// The path of the cgroup at the root of the hierarchy, which is empty unless only a
    /// part of it is mounted.
    prefix: Line,
    /// The kernel's log, for the line that programs read.
    kmsg: Option<OwnedFd>,
}

/// A program is known by the number of its plugin and, above that, of the generation of
/// rules that it is of.
const PLUGIN_BITS: u32 = 20;
const GENERATIONS: u32 = 1 << (u32::BITS - PLUGIN_BITS);

/// What the loop calls. Not by name: so the linker can refuse a loop that refers to the
/// code of rules, which is given up where there are none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) tick: fn(&mut Monitor<'a>, u64) -> u64,
    pub(super) reread: fn(&mut Monitor<'a>),
    pub(super) note_end: fn(&mut Monitor<'a>, &Ended),
    pub(super) finish_kill: fn(&mut Monitor<'a>, &Death, u64),
    pub(super) tell: fn(&Ruled<'a>, &mut Out),
    pub(super) tell_standing: fn(&mut Monitor<'a>, u64),
}

/// The part that a plugin plays.
#[derive(Clone, Copy, Debug)]
struct Role<'r> {
    active: &'r Active<'r>,
    /// The set's place, the instance's, and the plugin's.
    set: usize,
    place: u32,
    plugin: u32,
    /// The cgroup of the instance.
    instance: Option<Id>,
    /// The group that fired, for an action.
    group: Option<u16>,
    now_us: u64,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// Everything, as at every tick.
    Tick,
    /// Actions that had to wait for another kill, as soon as that is over.
    Waiting,
}

#[inline(never)]
fn standing_of(shelf: &Shelf<'_>, old: Option<&Standing>, lack: &mut Option<Errno>) -> Standing {
    let each = |told: &mut dyn FnMut((u64, u32, bool))| {
        shelf.for_each(&mut |active| {
            let detectors: usize = active.groups.iter().map(|group| group.detectors.len()).sum();
            let plugins = (detectors + active.actions.len()) as u32;
            told((active.identity(), plugins, !active.set.cgroup.is_empty()));
        });
    };
    Standing::new(&each, old, lack)
}

impl<'a> Monitor<'a> {
    /// Runs these rules too. `descriptors` is how many may be held open for them.
    ///
    /// # Errors
    /// There is nothing to run them on.
    // Out of line, so that the loop does not run below its stack.
    #[inline(never)]
    pub fn take_rules(
        &mut self,
        shelf: Shelf<'a>,
        tree: &'a Tree,
        descriptors: usize,
        prefix: Line,
        kmsg: Option<OwnedFd>,
    ) -> Result<(), Barren> {
        let root = open_hierarchy(tree).map_err(|_| Barren::NoHierarchy)?;
        let mut lack = None;
        let engine = Engine {
            forest: Forest::new(tree, root, descriptors, &mut lack),
            walk: Walk::new(&mut lack),
            machine: Machine::default(),
            standing: standing_of(&shelf, None, &mut lack),
            generation: 0,
            has_acted: false,
            waits: false,
            told_passed_over: false,
            prefix,
            kmsg,
        };
        self.is_alone = shelf.settings.alone;
        let mut kept = Table::with_room_or(1, &mut lack);
        let _ = kept.push(Ruled { shelf, due_us: 0, engine });
        if let Some(errno) = lack {
            return Err(Barren::NoMemory(errno));
        }
        // For as long as the guard runs; it is too large to be moved about.
        self.ruled = kept.leak().first_mut();
        self.rules_entry = Some(Entry {
            tick: Self::tick_rules,
            reread: Self::reread_rules,
            note_end: Self::note_end_for_rules,
            finish_kill: Self::finish_cgroup,
            tell: Ruled::tell,
            tell_standing: Self::tell_rules,
        });
        Ok(())
    }

    /// Makes so much of the stack resident as a tick takes.
    pub(super) fn renew_stack_for_rules(&self) {
        if self.ruled.is_some() {
            crate::sys::program::renew_stack::<RULES_STACK>(self.observer.page_kib() as usize * 1024);
        }
    }

    /// Looks at the rules if that is due; when it is next.
    fn tick_rules(&mut self, now_us: u64) -> u64 {
        // Taken out meanwhile: what a tick calls is the loop's.
        let Some(ruled) = self.ruled.take() else { return u64::MAX };
        self.is_ticking = true;
        let due_us = self.tick_if_due(ruled, now_us);
        self.is_ticking = false;
        self.ruled = Some(ruled);
        if core::mem::take(&mut self.has_news) {
            self.publish_stats();
        }
        due_us
    }

    /// Tells how far each rule set is.
    #[inline(never)]
    fn tell_rules(&mut self, now_us: u64) {
        let Some(Ruled { shelf, engine, .. }) = self.ruled.as_deref_mut() else { return };
        let mut set = 0;
        shelf.for_each(&mut |active| {
            let (is_suspended, rest_us) = engine.standing.rest_us(set, now_us);
            if let Some(state) = engine.standing.sets.get(set) {
                report::standing(self.log, &active, state, is_suspended, rest_us);
            }
            set += 1;
        });
    }

    fn tick_if_due(&mut self, ruled: &mut Ruled<'a>, now_us: u64) -> u64 {
        let interval_us = u64::from(ruled.shelf.settings.interval_s) * SECOND;
        if ruled.due_us == 0 {
            // For the first time after one interval. What has read them is not needed now.
            ruled.due_us = now_us + interval_us;
            ruled.shelf.settings.parser.give_up();
        }
        if now_us >= ruled.due_us {
            ruled.due_us = now_us + interval_us;
            if ruled.shelf.take_events(&mut |severity, line| report::file(self.log, severity, line)) {
                report::changed(self.log, &ruled.shelf);
                ruled.shelf.settings.parser.give_up();
                ruled.engine.stand_anew(&ruled.shelf);
            }
            self.run_rules(ruled, Pass::Tick, now_us);
        } else if ruled.engine.waits && !self.executor.is_killing() {
            self.run_rules(ruled, Pass::Waiting, now_us);
        }
        self.has_news |= core::mem::take(&mut ruled.engine.has_acted);
        ruled.due_us
    }

    /// Looks at every rule set.
    fn run_rules(&mut self, ruled: &mut Ruled<'a>, pass: Pass, now_us: u64) {
        let Ruled { shelf, engine, .. } = ruled;
        engine.waits = false;
        if pass == Pass::Tick {
            engine.forest.begin_tick();
            forget_shortage();
            engine.machine.begin_tick();
            shelf.for_each(&mut |active| self.sample_set(engine, shelf, &active));
        }
        let mut set = 0;
        shelf.for_each(&mut |active| {
            self.run_set(engine, shelf, set, &active, pass, now_us);
            set += 1;
        });
        if pass == Pass::Tick {
            let passed_over = engine.forest.passed_over;
            if passed_over > 0 && !core::mem::replace(&mut engine.told_passed_over, true) {
                report::passed_over(self.log, passed_over);
            }
            engine.told_passed_over = passed_over > 0;
        }
    }

    /// Has what its kills want to know of each tick read, whether they are run or not.
    #[inline(never)]
    fn sample_set(&mut self, engine: &mut Engine<'a>, shelf: &Shelf<'_>, active: &Active<'_>) {
        let instances = if active.set.cgroup.is_empty() {
            None
        } else {
            Some(engine.forest.find_patterns(active.set.cgroup, &mut || self.breathe()))
        };
        for group in active.groups {
            self.sample_plugins(engine, shelf, group.detectors, instances);
        }
        self.sample_plugins(engine, shelf, active.actions, instances);
    }

    #[inline(never)]
    fn sample_plugins(
        &mut self,
        engine: &mut Engine<'a>,
        shelf: &Shelf<'_>,
        plugins: &[Plugin<'_>],
        instances: Option<Span>,
    ) {
        for plugin in plugins {
            if !plugin.name.is_kill() {
                continue;
            }
            let instances = instances.filter(|span| !span.is_empty());
            for at in 0..instances.map_or(1, |span| span.len()) {
                let instance = instances.map(|span| engine.forest.at(span, at));
                let span = engine.forest.find_all(&plugin.cgroups, instance, &mut || self.breathe());
                engine.forest.sample(plugin, &shelf.settings, span, &mut || self.breathe());
            }
        }
    }

    #[inline(never)]
    fn run_set(
        &mut self,
        engine: &mut Engine<'a>,
        shelf: &Shelf<'_>,
        set: usize,
        active: &Active<'_>,
        pass: Pass,
        now_us: u64,
    ) {
        let tick = engine.forest.tick;
        if active.set.cgroup.is_empty() {
            if let Some(place) = engine.standing.meet(set, 0, tick) {
                let role = Role { active, set, place, plugin: 0, instance: None, group: None, now_us };
                self.run_instance(engine, shelf, role, pass);
            }
            return;
        }
        let mut span = engine.forest.find_patterns(active.set.cgroup, &mut || self.breathe());
        // Whoever makes many small ones is in nobody's way.
        if span.len() > MAX_INSTANCES as usize {
            span = engine.forest.largest_first(span);
        }
        let mut name = Line::default();
        name.bytes(active.set.xattr_filter);
        let mut left = MAX_INSTANCES;
        for at in 0..span.len() {
            let id = engine.forest.at(span, at);
            let is_wanted = active.set.xattr_filter.is_empty() || engine.forest.is_marked(id, name.as_cstr());
            if !is_wanted {
                continue;
            }
            let inode = engine.forest.inode(id);
            let place = if left > 0 { engine.standing.meet(set, inode, tick) } else { None };
            left = left.saturating_sub(1);
            match place {
                Some(place) => {
                    let instance = Some(id);
                    let role = Role { active, set, place, plugin: 0, instance, group: None, now_us };
                    self.run_instance(engine, shelf, role, pass);
                }
                None => engine.forest.passed_over += 1,
            }
        }
        engine.standing.forget_others(set, tick);
    }

    /// Every detector is asked, whether that can change anything or not, for time goes on
    /// for each of them. Then the actions are run.
    fn run_instance(&mut self, engine: &mut Engine<'a>, shelf: &Shelf<'_>, mut role: Role<'_>, pass: Pass) {
        let Role { active, set, place: instance, now_us, .. } = role;
        let mut fired = None;
        for (at, group) in active.groups.iter().enumerate() {
            let mut is_all = true;
            for detector in group.detectors {
                if pass == Pass::Tick {
                    let outcome = self.run_plugin(engine, shelf, detector, role);
                    is_all &= !matches!(outcome, Outcome::Stop { .. });
                }
                role.plugin += 1;
            }
            // For want of a descriptor, say, what is there may seem not to be.
            if is_all && pass == Pass::Tick && fired.is_none() && !had_shortage() {
                fired = Some(at as u16);
            }
        }
        let first_action = role.plugin;
        let Some(chain) = engine.standing.chain(set, instance) else { return };
        if pass == Pass::Waiting && !chain.is_suspended() {
            return;
        }
        let mut place = chain.begin(fired, now_us);
        if let Some(begun) = place
            && begun.fired_us == now_us
        {
            if let Some(state) = engine.standing.sets.get_mut(set) {
                state.fired += 1;
            }
            if !active.set.silence.engine && self.config.verbose {
                report::fired(self.log, active, begun.group);
            }
        }
        while let Some(here) = place {
            let Some(action) = active.actions.get(usize::from(here.action)) else { return };
            role.plugin = first_action + u32::from(here.action);
            role.group = Some(here.group);
            let outcome = self.run_plugin(engine, shelf, action, role);
            if !active.set.silence.engine && self.config.verbose {
                report::acted(self.log, active, action, outcome);
            }
            let count = active.actions.len() as u16;
            let delay_s = active.set.post_action_delay_s;
            let Some(chain) = engine.standing.chain(set, instance) else { return };
            place = chain.advance(here, outcome, count, delay_s, now_us);
        }
    }

    /// Called again and again by what takes long: looks at memory if it was not looked at
    /// for a while.
    pub(super) fn breathe(&mut self) {
        self.steps = self.steps.wrapping_add(1);
        if !self.steps.is_multiple_of(STEPS) {
            return;
        }
        let now_us = read_clock();
        if now_us.saturating_sub(self.looked_us) < PART_US {
            return;
        }
        if self.executor.is_killing() {
            let judged = self.look(now_us).ok();
            let _ = self.pursue(judged.as_ref(), now_us);
        } else {
            let _ = self.watch(true, now_us);
        }
        self.looked_us = read_clock();
    }

    /// Takes note of the end of a rule's program.
    fn note_end_for_rules(&mut self, ended: &Ended) {
        let Purpose::Program(number) = ended.purpose else { return };
        let Some(Ruled { engine, .. }) = self.ruled.as_deref_mut() else { return };
        if number >> PLUGIN_BITS != engine.generation % GENERATIONS {
            return;
        }
        if let Some(state) = engine.standing.by_number(number & ((1 << PLUGIN_BITS) - 1)) {
            state.run = Run::Ended(ended.status.exit_status() == Some(0));
        }
    }

    /// Reads the rules again, as SIGHUP asks for.
    fn reread_rules(&mut self) {
        let Some(Ruled { shelf, engine, .. }) = self.ruled.as_deref_mut() else { return };
        let reread = shelf.reload(&mut |severity, line| report::file(self.log, severity, line));
        match reread {
            Reloaded::New(()) => {
                engine.stand_anew(shelf);
                report::reread(self.log, shelf.base());
            }
            Reloaded::Same => report::same(self.log),
            Reloaded::Kept => report::kept(self.log),
        }
        shelf.settings.parser.give_up();
        // It has used more of the stack than a step does.
        self.renew_stack();
    }
}

impl Ruled<'_> {
    /// Writes what programs may want to know of each rule set.
    #[inline(never)]
    fn tell(&self, out: &mut Out) {
        for figure in [Figure::Fired, Figure::Acted, Figure::Last] {
            out.line.text(figure.head());
            out.flush();
            let mut set = 0;
            self.shelf.for_each(&mut |active| {
                if let Some(state) = self.engine.standing.sets.get(set) {
                    let (mut alike, mut at) = (0, 0);
                    self.shelf.for_each(&mut |other| {
                        let is_alike = (other.set.name, other.tag) == (active.set.name, active.tag);
                        alike += u64::from(is_alike && at < set);
                        at += 1;
                    });
                    report::push_figure(&mut out.line, figure, &active, state, alike);
                    out.flush();
                }
                set += 1;
            });
        }
    }
}

impl Engine<'_> {
    /// Other rules are in force. Programs that run are forgotten, for their numbers are
    /// others' now.
    fn stand_anew(&mut self, shelf: &Shelf<'_>) {
        // Without memory the old ones' places are taken as they are.
        let mut lack = None;
        let standing = standing_of(shelf, Some(&self.standing), &mut lack);
        if lack.is_none() {
            self.standing = standing;
            self.standing.forget_programs();
            self.generation += 1;
        }
    }
}
