//! How far each rule set is, from one tick to the next. Sets and plugins are counted in
//! the order in which they run; of a set with cgroups of its own there is one instance
//! for each cgroup.

use super::chain::Chain;
use super::detector::Past;
use crate::sys::table::Table;
use rustix::io::Errno;

/// Cgroups that one rule set can be instantiated for.
pub const MAX_INSTANCES: u32 = 64;

/// A set of rules.
#[derive(Clone, Copy, Debug)]
pub struct SetState {
    /// What it says, as a number.
    pub identity: u64,
    /// How many plugins it has.
    pub plugins: u32,
    first_instance: u32,
    instances: u32,
    first_plugin: u32,
    /// How often it has fired.
    pub fired: u64,
    /// How often one of its actions has done something.
    pub acted: u64,
    /// When that was last, in seconds of the wall clock; 0 for never.
    pub acted_s: u64,
}

/// One instance of a set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Instance {
    /// The number of its cgroup in the file system; 0 for the only one.
    cgroup: u64,
    /// The tick it was last met in; 0 for one that is not there.
    tick: u32,
    /// Where its actions are.
    pub chain: Chain,
}

/// What one plugin of one instance remembers.
#[derive(Clone, Copy, Debug, Default)]
pub struct PluginState {
    /// What a detector remembers.
    pub past: Past,
    /// The tick at which it last had what it wanted read.
    pub tick: u32,
    /// What became of the program that it runs.
    pub run: Run,
}

/// A program that a plugin runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Run {
    /// None yet.
    #[default]
    None,
    /// It runs.
    Running,
    /// It has ended, and was successful or not.
    Ended(bool),
}

/// All of them.
#[derive(Debug)]
pub struct Standing {
    /// By their places.
    pub sets: Table<SetState>,
    instances: Table<Instance>,
    plugins: Table<PluginState>,
}

/// What a set needs: what it says as a number, how many plugins it has, and whether it is
/// instantiated for cgroups.
pub type Need = (u64, u32, bool);

/// Hands on what each set needs, in their order.
pub type Needs<'n> = dyn Fn(&mut dyn FnMut(Need)) + 'n;

impl Standing {
    /// Room for what `each` hands on, one need after the other. What is not told of in
    /// `old` begins anew. Without memory there is no room, and `lack` says why.
    pub fn new(each: &Needs<'_>, old: Option<&Self>, lack: &mut Option<Errno>) -> Self {
        let (mut sets, mut instances, mut plugins) = (0, 0, 0);
        each(&mut |(_, count, is_many)| {
            let many = if is_many { MAX_INSTANCES } else { 1 };
            sets += 1;
            instances += many as usize;
            plugins += (many * count) as usize;
        });
        let mut standing = Self {
            sets: Table::with_room_or(sets, lack),
            instances: Table::with_room_or(instances, lack),
            plugins: Table::with_room_or(plugins, lack),
        };
        each(&mut |need| standing.add(need, old));
        standing
    }

    fn add(&mut self, (identity, plugins, is_many): Need, old: Option<&Self>) {
        let instances = if is_many { MAX_INSTANCES } else { 1 };
        let (first_instance, first_plugin) = (self.instances.len() as u32, self.plugins.len() as u32);
        let known = old.and_then(|old| {
            let same = |set: &&SetState| {
                (set.identity, set.plugins, set.instances) == (identity, plugins, instances)
            };
            old.sets.iter().find(same).map(|set| (old, set))
        });
        let (mut fired, mut acted, mut acted_s) = (0, 0, 0);
        let (mut old_instances, mut old_plugins) = (&[][..], &[][..]);
        if let Some((old, set)) = known {
            (fired, acted, acted_s) = (set.fired, set.acted, set.acted_s);
            old_instances = old.instances.get(set.first_instance as usize..).unwrap_or_default();
            old_plugins = old.plugins.get(set.first_plugin as usize..).unwrap_or_default();
        }
        for at in 0..instances as usize {
            let _ = self.instances.push(old_instances.get(at).copied().unwrap_or_default());
        }
        for at in 0..(instances * plugins) as usize {
            let _ = self.plugins.push(old_plugins.get(at).copied().unwrap_or_default());
        }
        let set =
            SetState { identity, plugins, first_instance, instances, first_plugin, fired, acted, acted_s };
        let _ = self.sets.push(set);
    }

    /// The instance of a set for a cgroup, 0 for the only one, which is made if it is not
    /// there: its place. `None` where there is no room for one more.
    pub fn meet(&mut self, set: usize, cgroup: u64, tick: u32) -> Option<u32> {
        let state = *self.sets.get(set)?;
        let all = self.of(&state);
        let is_there = |instance: &Instance| instance.tick > 0 && instance.cgroup == cgroup;
        let place = all.iter().position(is_there).or_else(|| all.iter().position(|one| one.tick == 0))?;
        let instance = &mut all[place];
        if instance.tick == 0 {
            *instance = Instance { cgroup, ..Instance::default() };
            for at in 0..state.plugins {
                if let Some(plugin) = self.plugin(set, place as u32, at) {
                    *plugin = PluginState::default();
                }
            }
        }
        self.of(&state)[place].tick = tick;
        Some(place as u32)
    }

    /// Forgets the instances of a set that were not met in this tick: their cgroups do not
    /// match any more.
    pub fn forget_others(&mut self, set: usize, tick: u32) {
        let Some(state) = self.sets.get(set).copied() else { return };
        for instance in self.of(&state) {
            if instance.tick != tick {
                instance.tick = 0;
            }
        }
    }

    fn of(&mut self, set: &SetState) -> &mut [Instance] {
        let first = set.first_instance as usize;
        self.instances.get_mut(first..first + set.instances as usize).unwrap_or_default()
    }

    /// Where the actions of an instance are.
    pub fn chain(&mut self, set: usize, place: u32) -> Option<&mut Chain> {
        let state = *self.sets.get(set)?;
        self.of(&state).get_mut(place as usize).map(|instance| &mut instance.chain)
    }

    /// What a plugin of an instance remembers.
    pub fn plugin(&mut self, set: usize, place: u32, plugin: u32) -> Option<&mut PluginState> {
        let state = self.sets.get(set)?;
        let at = state.first_plugin + place * state.plugins + plugin;
        self.plugins.get_mut(at as usize)
    }

    /// The number of that plugin among all of them, and the plugin of a number.
    pub fn number_of(&self, set: usize, place: u32, plugin: u32) -> u32 {
        self.sets.get(set).map_or(0, |state| state.first_plugin + place * state.plugins + plugin)
    }

    /// Takes programs that run for such as were never begun.
    pub fn forget_programs(&mut self) {
        for plugin in self.plugins.iter_mut() {
            plugin.run = Run::None;
        }
    }

    /// The plugin with that number.
    pub fn by_number(&mut self, number: u32) -> Option<&mut PluginState> {
        self.plugins.get_mut(number as usize)
    }

    /// Is any action of a set suspended, and for how long does it rest, whichever of its
    /// instances is longest?
    pub fn rest_us(&mut self, set: usize, now_us: u64) -> (bool, u64) {
        let Some(state) = self.sets.get(set).copied() else { return (false, 0) };
        let mut told = (false, 0);
        for instance in self.of(&state).iter().filter(|instance| instance.tick > 0) {
            told.0 |= instance.chain.is_suspended();
            told.1 = told.1.max(instance.chain.rest_us(now_us));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::super::chain::{Outcome, Place};
    use super::*;

    const S: u64 = 1_000_000;

    fn standing(needs: &[Need], old: Option<&Standing>) -> Standing {
        let mut lack = None;
        let standing = Standing::new(&|each| needs.iter().for_each(|&need| each(need)), old, &mut lack);
        assert_eq!(lack, None);
        standing
    }

    fn rest(standing: &mut Standing, set: usize, place: u32) {
        let from = Place { action: 0, group: 0, fired_us: 0 };
        let chain = standing.chain(set, place).unwrap();
        assert_eq!(chain.advance(from, Outcome::Stop { delay_s: None }, 1, 15, 0), None);
    }

    #[test]
    fn an_instance_is_met_again_until_its_cgroup_is_gone() {
        let mut all = standing(&[(1, 2, false), (2, 3, true)], None);
        assert_eq!(all.meet(0, 0, 1), Some(0));
        let (a, b) = (all.meet(1, 70, 1).unwrap(), all.meet(1, 71, 1).unwrap());
        assert_ne!(a, b);
        rest(&mut all, 1, a);
        all.plugin(1, a, 2).unwrap().tick = 9;
        assert_eq!(all.meet(1, 70, 2), Some(a));
        all.forget_others(1, 2);
        assert_eq!(all.rest_us(1, 0).1, 15 * S);
        // Its place is another's, and nothing is left of it.
        assert_eq!(all.meet(1, 72, 3), Some(b));
        all.forget_others(1, 3);
        assert_eq!(all.meet(1, 71, 4), Some(a));
        assert_eq!((all.rest_us(1, 0).1, all.plugin(1, a, 2).unwrap().tick), (0, 0));
        for cgroup in 100..200 {
            let _ = all.meet(1, cgroup, 4);
        }
        assert_eq!(all.meet(1, 300, 4), None);
    }

    #[test]
    fn sets_that_say_the_same_go_on() {
        let mut old = standing(&[(1, 2, false), (2, 1, false)], None);
        for set in 0..2 {
            assert_eq!(old.meet(set, 0, 1), Some(0));
            rest(&mut old, set, 0);
        }
        old.plugin(1, 0, 0).unwrap().tick = 7;
        old.sets[1].acted = 3;
        let mut new = standing(&[(9, 1, false), (2, 1, false), (1, 3, false)], Some(&old));
        let rests = [0, 1, 2].map(|set| new.rest_us(set, 5 * S).1 / S);
        assert_eq!(rests, [0, 10, 0]);
        assert_eq!((new.plugin(1, 0, 0).unwrap().tick, new.sets[1].acted), (7, 3));
        assert_eq!(new.number_of(2, 0, 2), 4);
        assert!(new.by_number(5).is_none());
    }
}
