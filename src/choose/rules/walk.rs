//! The cgroup that an action is to kill: ranked among its siblings, then below the best
//! of them, and back up where nobody can be killed there.

use super::forest::{Breath, Forest, Id, Span};
use super::known::Amount;
use crate::config::rules::model::{Plugin, Rank};
use crate::config::rules::settings::Settings;
use crate::config::rules::words::{Key, Name};
use crate::decide::rules::detector::exceeds;
use crate::decide::rules::rank::{Contender, Machine, rank, swap_beyond, whole_pressure};
use crate::sys::table::Table;
use rustix::io::Errno;

/// Longer lists of those that come next are cut.
const MAX_NEXT: usize = 8192;

/// Deeper than this there are no leaves: what is there dies as a whole.
const MAX_DEPTH: u16 = 32;

/// What is needed to find one.
#[derive(Debug)]
pub struct Walk {
    contenders: Table<Contender>,
    /// The best last.
    next: Table<Id>,
}

/// What ranking is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// The action.
    pub kill: &'q Plugin<'q>,
    /// By whom it ranks.
    pub rank: Rank,
    /// What io costs.
    pub settings: &'q Settings<'q>,
    /// All memory and swap.
    pub machine: Machine,
}

impl Walk {
    /// One with nothing to do. Without memory it has no room, and `lack` says why.
    pub fn new(lack: &mut Option<Errno>) -> Self {
        Self {
            contenders: Table::with_room_or(super::forest::MAX_CGROUPS, lack),
            next: Table::with_room_or(MAX_NEXT, lack),
        }
    }

    /// Begins with these, as if they were siblings.
    pub fn begin(
        &mut self,
        forest: &mut Forest<'_>,
        ask: &Question<'_>,
        span: Span,
        breath: &mut Breath<'_>,
    ) {
        self.next.clear();
        self.push_ranked(forest, ask, span, breath);
    }

    /// The next that may be killed. A cgroup is gone into where the action is to go down to
    /// the leaves, unless it dies as a whole; then it is not killed itself, though nobody in
    /// it may be.
    pub fn advance(
        &mut self,
        forest: &mut Forest<'_>,
        ask: &Question<'_>,
        breath: &mut Breath<'_>,
    ) -> Option<Id> {
        loop {
            breath();
            let id = self.next.pop()?;
            let depth = forest.node(id).map_or(0, |node| node.depth);
            if ask.kill.flag(Key::Recursive) && depth < MAX_DEPTH && !forest.is_whole(id) {
                let children = forest.children(id, breath);
                if !children.is_empty() {
                    self.push_ranked(forest, ask, children, breath);
                    continue;
                }
            }
            if !forest.is_empty(id) {
                return Some(id);
            }
        }
    }

    fn push_ranked(
        &mut self,
        forest: &mut Forest<'_>,
        ask: &Question<'_>,
        span: Span,
        breath: &mut Breath<'_>,
    ) {
        self.contenders.clear();
        for at in 0..span.len() {
            breath();
            let id = forest.at(span, at);
            let Some(key) = key_of(forest, ask, id, breath) else { continue };
            let (preference, inode) = (forest.preference(id), forest.inode(id));
            if !self.contenders.push(Contender { preference, key, inode, id }) {
                forest.passed_over += 1;
            }
        }
        forest.doubt(&mut self.contenders);
        rank(&mut self.contenders, &ask.rank);
        for contender in self.contenders.iter().rev() {
            if !self.next.push(contender.id) {
                break;
            }
        }
    }
}

/// What a cgroup is ranked by; `None` where it may not be killed. What the rank does not
/// ask for is not read, and what cannot be read is 0.
// Out of line: it is read for each.
#[inline(never)]
fn key_of(forest: &mut Forest<'_>, ask: &Question<'_>, id: Id, breath: &mut Breath<'_>) -> Option<[u64; 3]> {
    let figure = match ask.rank {
        Rank::MemorySizeOrGrowth { .. } => {
            let effective = forest.effective(id, breath).unwrap_or(0);
            return Some([forest.current(id).unwrap_or(0), forest.growth(id).0, effective]);
        }
        Rank::SwapUsage { threshold, biased } => {
            let swap = forest.amount(id, Amount::Swap).unwrap_or(0);
            if !exceeds(swap, threshold, ask.machine.swap) {
                return None;
            }
            let protection = if biased { forest.protection(id, breath).unwrap_or(0) } else { 0 };
            swap_beyond(swap, protection, &ask.machine)
        }
        Rank::Pressure { resource } => whole_pressure(&forest.pressure(id, resource).unwrap_or_default()),
        Rank::IoCost => forest.io_cost(id, ask.settings),
        Rank::PgScan => forest.pgscan_rate(id).unwrap_or(0),
    };
    // Without a device that costs something, everybody would be alike.
    let has_to_be_above_zero = matches!(ask.rank, Rank::IoCost | Rank::PgScan);
    (figure > 0 || !has_to_be_above_zero).then_some([figure, 0, 0])
}

impl Forest<'_> {
    /// Reads of the cgroups that an action may kill what it has to know of each tick: with
    /// `recursive` of those below them too, but not below one that dies as a whole.
    // Out of line, so that what it calls is not on the stack of the whole tick.
    #[inline(never)]
    pub fn sample(
        &mut self,
        kill: &Plugin<'_>,
        settings: &Settings<'_>,
        span: Span,
        breath: &mut Breath<'_>,
    ) {
        for at in 0..span.len() {
            breath();
            let id = self.at(span, at);
            match kill.name {
                Name::KillByMemorySizeOrGrowth => _ = self.average(id),
                Name::KillByIoCost => _ = self.io_cost(id, settings),
                Name::KillByPgScan => _ = self.stat(id),
                _ => return,
            }
            let depth = self.node(id).map_or(MAX_DEPTH, |node| node.depth);
            if kill.flag(Key::Recursive) && depth < MAX_DEPTH && !self.is_whole(id) {
                let children = self.children(id, breath);
                if !children.is_empty() {
                    self.sample(kill, settings, children, breath);
                }
            }
        }
    }
}
